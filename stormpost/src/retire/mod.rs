//! `stormpost retire`: takes a node out of service for good. Nothing unsettled, mail goes elsewhere and that was seen, everything
//! written out and read again, the keys destroyed, the files removed, and a receipt for all of it.
//!
//! How far it came stands in a file of the export's folder, written before and after each step: interrupted, it goes on where it
//! was. The same command is given again.

mod export;
mod moved;
mod progress;
mod receipt;
mod settled;
#[cfg(test)]
mod tests;
mod wipe;

use crate::command::{Desk, Ended, Failure, code, complain};
use crate::compose::stores;
use crate::configuration::{Configuration, visible};
use crate::control::client::{is_running, who};
use crate::edge::Lock;
use clap::Args;
use progress::{Progress, Step};
use std::path::PathBuf;

/// `stormpost retire`.
#[derive(Debug, Args)]
pub struct RetireArguments {
    /// The folder to write everything out to; on another disk, or to be copied away afterwards.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Why; recorded with your name and the time.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do not wait until the DNS shows that mail goes elsewhere, for this reason, which is recorded.
    #[arg(long, value_name = "REASON")]
    assume_moved: Option<String>,
    /// Only say what stands in the way and what would be written out; changes nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Goes as far as it can.
///
/// # Errors
/// When something is unsettled, or a step fails; what was done stays done.
pub(crate) fn run(desk: &Desk, arguments: &RetireArguments) -> Ended {
    let configuration = desk.configuration()?;
    if visible(arguments.reason.trim()).is_empty() {
        return Err(Failure { code: code::USAGE, words: "say why: --reason".to_owned() });
    }
    if arguments.dry_run {
        return dry_run(desk, &configuration);
    }
    std::fs::create_dir_all(&arguments.to)?;
    let mut progress = Progress::load(&arguments.to)?.unwrap_or_else(|| Progress {
        node: configuration.node.name.clone(),
        data: configuration.node.data.clone(),
        began: desk.now(),
        by: who(),
        reason: visible(arguments.reason.trim()),
        ..Progress::default()
    });
    if progress.node != configuration.node.name || progress.data != configuration.node.data {
        return Err(format!(
            "{} holds what was written out of {}; name another folder",
            arguments.to.display(),
            progress.node
        )
        .into());
    }
    match progress.step {
        Step::Begun => match settle(desk, &configuration, arguments, &mut progress)? {
            true => write_out(desk, &configuration, arguments, &mut progress),
            false => Ok(code::FOUND),
        },
        Step::Settled => write_out(desk, &configuration, arguments, &mut progress),
        Step::Exported | Step::Wiping | Step::Wiped => finish(desk, &configuration, arguments, &mut progress),
    }
}

fn dry_run(desk: &Desk, configuration: &Configuration) -> Ended {
    let out = desk.output;
    let unsettled = settled::look(desk)?;
    let there = moved::still_here(configuration);
    let size = export::size(configuration)?;
    out.value(
        &serde_json::json!({ "unsettled": unsettled.words, "mx_here": there, "messages": size.messages }),
    );
    for one in &unsettled.words {
        out.say(&format!("in the way: {one}"));
    }
    for domain in &there {
        out.say(&format!("in the way: the MX of {domain} leads here"));
    }
    out.say(&format!(
        "would be written out: {} messages of the journal, the ledger, every mailbox",
        size.messages
    ));
    out.say(&format!(
        "would be destroyed: {} and everything in {}",
        configuration.node.key_file.display(),
        configuration.node.data.display()
    ));
    Ok(if unsettled.words.is_empty() && there.is_empty() { code::WELL } else { code::FOUND })
}

/// Whether nothing stands in the way any more; the node is asked for it, so it must run.
fn settle(
    desk: &Desk,
    configuration: &Configuration,
    arguments: &RetireArguments,
    progress: &mut Progress,
) -> Result<bool, Failure> {
    let refuse = |unsettled: &settled::Unsettled| {
        let mut words = String::from("not everything is settled; nothing was changed:");
        for one in &unsettled.words {
            words.push_str("\n  ");
            words.push_str(one);
        }
        Failure { code: code::FAILED, words }
    };
    let first = settled::look(desk)?;
    if !first.words.is_empty() {
        return Err(refuse(&first));
    }
    match &arguments.assume_moved {
        Some(reason) => progress.assumed_moved = Some(visible(reason.trim())),
        None => {
            progress.save(&arguments.to)?;
            moved::wait(configuration, &arguments.to, progress)?;
        }
    }
    // What came meanwhile counts too. The end of the journal is read before the node is asked about what stands in it.
    let end = settled::end_of_journal(configuration)?;
    let second = settled::look(desk)?;
    if !second.words.is_empty() {
        return Err(refuse(&second));
    }
    progress.end = Some(end);
    progress.settled_at = Some(desk.now());
    progress.listed = second.listed;
    progress.step = Step::Settled;
    progress.save(&arguments.to)?;
    desk.output.say("everything is settled, and mail goes elsewhere");
    Ok(true)
}

/// The locks of a node that is stopped: while they are held nothing comes in and nothing is changed.
struct Stopped {
    _data: stores_log::DirLock,
    _edge: Lock,
}

fn stopped(configuration: &Configuration) -> Result<Option<Stopped>, Failure> {
    if is_running(&configuration.control_socket()) {
        return Ok(None);
    }
    let data = stores::lock(&configuration.node.data)?;
    let Some(edge) = Lock::try_take(&configuration.edge_lock())? else { return Ok(None) };
    Ok(Some(Stopped { _data: data, _edge: edge }))
}

fn write_out(
    desk: &Desk,
    configuration: &Configuration,
    arguments: &RetireArguments,
    progress: &mut Progress,
) -> Ended {
    let Some(locks) = stopped(configuration)? else {
        let config = configuration.path.display();
        desk.output.say("now stop the node, so that nothing more comes in, and give the same command again:");
        desk.output.say(&format!(
            "  systemctl stop stormpost && stormpost retire --config {config} --to {} --reason \"…\"",
            arguments.to.display()
        ));
        return Ok(code::FOUND);
    };
    let end = settled::end_of_journal(configuration)?;
    if progress.end != Some(end) {
        progress.step = Step::Begun;
        progress.save(&arguments.to)?;
        return Err("mail came in after everything was settled; start the node again, and begin again"
            .to_owned()
            .into());
    }
    complain("writing everything out");
    progress.exported = Some(export::write(configuration, &arguments.to, desk.now())?);
    progress.key = wipe::fingerprint(&configuration.node.key_file)?;
    progress.step = Step::Exported;
    progress.save(&arguments.to)?;
    words_world::crash_point("retire.exported");
    drop(locks);
    finish(desk, configuration, arguments, progress)
}

/// Whatever was set up in this place since must not be destroyed in its stead.
fn still_the_same(configuration: &Configuration, progress: &Progress) -> Result<(), Failure> {
    if is_running(&configuration.control_socket()) {
        return Err("a node runs here again; nothing was destroyed".to_owned().into());
    }
    let key = &configuration.node.key_file;
    match wipe::fingerprint(key)? {
        there if there.is_none() || there == progress.key => Ok(()),
        _ => Err(format!(
            "{} is another key than the one whose mail was written out: a new node? nothing was destroyed",
            key.display()
        )
        .into()),
    }
}

fn finish(
    desk: &Desk,
    configuration: &Configuration,
    arguments: &RetireArguments,
    progress: &mut Progress,
) -> Ended {
    if progress.step == Step::Exported {
        let Some(_locks) = stopped(configuration)? else {
            return Err("the node runs again; stop it first".to_owned().into());
        };
        if progress.end != Some(settled::end_of_journal(configuration)?) {
            progress.step = Step::Begun;
            progress.save(&arguments.to)?;
            return Err(
                "mail came in after everything was written out; start the node again, and begin again"
                    .to_owned()
                    .into(),
            );
        }
        // What was written out is believed only as it is read again, now.
        let exported = progress.exported.as_ref().ok_or("nothing was written out yet")?;
        export::verify(&arguments.to, exported)?;
        progress.verified_at = Some(desk.now());
        progress.step = Step::Wiping;
        progress.save(&arguments.to)?;
    }
    words_world::crash_point("retire.wiping");
    if progress.step == Step::Wiping {
        still_the_same(configuration, progress)?;
        progress.removed += wipe::wipe(configuration)?;
        progress.wiped_at = Some(desk.now());
        progress.step = Step::Wiped;
        progress.save(&arguments.to)?;
    }
    let receipt = receipt::write(&arguments.to, configuration, progress)?;
    desk.output.value(&*progress);
    desk.output.text(&receipt);
    Ok(code::WELL)
}
