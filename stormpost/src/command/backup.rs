//! Copies of everything in another place.

use super::output::{moment, span};
use super::{Desk, Ended, Failure, code};
use crate::compose::{elsewhere, stores};
use crate::configuration::{Configuration, write_size};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stores_backup::{BackupError, Copied, Depth, Manifest, Place};

/// How many full copies are kept when nobody says.
const KEEP: usize = 7;
/// How often a run is begun anew when another one was faster.
const RACES: usize = 20;
/// And how long it waits for that one.
const RACE_WAIT: Duration = Duration::from_millis(500);
/// The least time between two lines of progress.
const CALM: Duration = Duration::from_millis(200);

/// `stormpost backup`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BackupArguments {
    #[command(subcommand)]
    verb: Option<BackupVerb>,
    #[command(flatten)]
    run: RunArguments,
}

/// A run.
#[derive(Debug, Args)]
struct RunArguments {
    /// Where to: a folder, or s3://BUCKET/PREFIX. Without it, where `[offsite]` says.
    #[arg(long, value_name = "PLACE")]
    to: Option<String>,
    /// How many full copies are kept there. Without it, as `[offsite]` says, or 7.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    keep: Option<u32>,
}

/// What can be done with copies.
#[derive(Debug, Subcommand)]
pub(super) enum BackupVerb {
    /// The copies in a place, newest first.
    List {
        /// Where: a folder, or s3://BUCKET/PREFIX. Without it, where `[offsite]` says.
        #[arg(long, value_name = "PLACE")]
        from: Option<String>,
    },
    /// Read a copy again, and hold everything in it against its hash and its chain. Needs no key.
    Verify {
        /// Where: a folder, or s3://BUCKET/PREFIX. Without it, where `[offsite]` says.
        #[arg(long, value_name = "PLACE")]
        from: Option<String>,
        /// Which, as `list` names it; the newest when not given.
        #[arg(long, value_name = "NAME")]
        backup: Option<String>,
    },
}

pub(super) fn run(desk: &Desk, arguments: BackupArguments) -> Ended {
    match arguments.verb {
        None => make(desk, arguments.run),
        Some(BackupVerb::List { from }) => list(desk, from),
        Some(BackupVerb::Verify { from, backup }) => verify(desk, from, backup.as_deref()),
    }
}

/// The place that is meant, and its name.
fn place(configuration: &Configuration, named: Option<String>) -> Result<(Arc<dyn Place>, String), Failure> {
    let named = named.or_else(|| configuration.offsite.as_ref().map(|offsite| offsite.to.clone()));
    let Some(to) = named else {
        let words =
            "say where: a folder or s3://BUCKET/PREFIX, on the command line or as to = \"…\" in [offsite]";
        return Err(Failure { code: code::USAGE, words: words.to_owned() });
    };
    let world = crate::world::real(configuration.node.name_server);
    // A folder is the same wherever the command is given.
    let to = match to.starts_with("s3:") {
        true => to,
        false => std::path::absolute(&to)?.display().to_string(),
    };
    Ok((elsewhere::place(&world, &to, configuration.s3.as_ref())?, to))
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn make(desk: &Desk, arguments: RunArguments) -> Ended {
    let configuration = desk.configuration()?;
    let (place, to) = place(&configuration, arguments.to)?;
    let world = crate::world::real(configuration.node.name_server);
    if !configuration.node.key_file.exists() {
        // Opening the ring would make a new key.
        let words = format!("the key file {} is not there", configuration.node.key_file.display());
        return Err(words.into());
    }
    let keys = stores::keys(&world, &configuration)?;
    let keep = arguments.keep.and_then(|keep| usize::try_from(keep).ok());
    let keep = keep.or(configuration.offsite.as_ref().map(|offsite| offsite.keep)).unwrap_or(KEEP);
    let mut backup = elsewhere::backup(&world, &configuration, keys, keep);
    let mut progress = Progress::new("copied");
    let runtime = runtime()?;
    let mut run = || runtime.block_on(backup.run(&*place, Depth::Full, &mut |_, bytes| progress.step(bytes)));
    let mut copied = run();
    // The node itself may copy to the same place; what is there already is not copied again.
    for _ in 1..RACES {
        if !matches!(copied, Err(BackupError::Raced)) {
            break;
        }
        std::thread::sleep(RACE_WAIT);
        copied = run();
    }
    progress.end();
    let copied = copied.map_err(|error| {
        format!("{error}\nno backup was made; the one before, if there is one, is as good as it was")
    })?;
    elsewhere::remember(&world, &configuration.node.data, &to, &copied);
    tell(desk, &to, &copied);
    Ok(if faults(&copied.manifest) == 0 { code::WELL } else { code::FOUND })
}

fn faults(manifest: &Manifest) -> u64 {
    manifest.logs.values().map(|log| log.faults).sum()
}

#[derive(Serialize)]
struct Made<'a> {
    place: &'a str,
    backup: String,
    objects: u64,
    bytes: u64,
    amended: u64,
    removed: u64,
    former: &'a [String],
    manifest: &'a Manifest,
}

fn tell(desk: &Desk, to: &str, copied: &Copied) {
    let Copied { manifest, root, objects, bytes, amended, removed, former } = copied;
    let backup = format!("{root}/{}", manifest.sequence);
    let held: u64 = manifest.logs.values().map(|log| log.bytes).sum();
    let say = |words: &str| desk.output.say(words);
    say(&format!(
        "backup {backup} in {to}: {} copied anew ({objects} objects), {} in all",
        write_size(*bytes),
        write_size(held)
    ));
    say(&format!("everything accepted until {} (UTC) is in it", moment(manifest.until())));
    if *amended + *removed > 0 {
        say(&format!(
            "what was erased or sealed since went from {amended} earlier backups; {removed} objects were removed"
        ));
    }
    manifest.left_out.iter().for_each(|words| say(&format!("not in it: {words}")));
    for line in former {
        say(&format!(
            "{line} is a backup of an earlier life of this node; remove it when you trust this one: nothing is ever taken \
             out of it"
        ));
    }
    for (name, log) in manifest.logs.iter().filter(|(_, log)| log.faults > 0) {
        say(&format!("{} ranges of the {name} are damaged here; see stormpost journal verify", log.faults));
    }
    desk.output.value(&Made {
        place: to,
        backup,
        objects: *objects,
        bytes: *bytes,
        amended: *amended,
        removed: *removed,
        former,
        manifest,
    });
}

#[derive(Serialize)]
struct Listed {
    backup: String,
    made: words_mail::Time,
    until: words_mail::Time,
    full: bool,
    bytes: u64,
    keys: Vec<String>,
}

fn list(desk: &Desk, from: Option<String>) -> Ended {
    let configuration = desk.configuration()?;
    let (place, _) = place(&configuration, from)?;
    let listed = runtime()?.block_on(async {
        let mut listed = Vec::new();
        for line in stores_backup::lines(&*place).await? {
            for sequence in line.sequences {
                let backup = format!("{}/{sequence}", line.root);
                let manifest = stores_backup::find(&*place, Some(&backup)).await?.manifest;
                listed.push(Listed {
                    backup,
                    made: manifest.ended,
                    until: manifest.until(),
                    full: manifest.full,
                    bytes: manifest.logs.values().map(|log| log.bytes).sum(),
                    keys: manifest.keys,
                });
            }
        }
        Ok::<_, stores_backup::BackupError>(listed)
    });
    let mut listed = listed?;
    listed.sort_by_key(|one| std::cmp::Reverse(one.made));
    desk.output.value(&listed);
    let row = |one: &Listed| {
        let ago = format!("{} ago", span(one.made, desk.now()));
        vec![one.backup.clone(), moment(one.made), ago, write_size(one.bytes), one.keys.join(" ")]
    };
    let rows: Vec<_> = listed.iter().map(row).collect();
    match rows.is_empty() {
        true => desk.output.say("there is no backup"),
        false => desk.output.table(&["backup", "made (UTC)", "", "size", "key"], &rows),
    }
    Ok(if listed.is_empty() { code::FOUND } else { code::WELL })
}

fn verify(desk: &Desk, from: Option<String>, backup: Option<&str>) -> Ended {
    let configuration = desk.configuration()?;
    let (place, _) = place(&configuration, from)?;
    let mut progress = Progress::new("read");
    let checked = runtime()?.block_on(async {
        let found = stores_backup::find(&*place, backup).await?;
        let checked =
            stores_backup::check(&*place, &found.manifest, &mut |_, bytes| progress.step(bytes)).await?;
        Ok::<_, stores_backup::BackupError>((found, checked))
    });
    progress.end();
    let (found, checked) = checked?;
    desk.output.value(&checked);
    let name = format!("{}/{}", found.root, found.manifest.sequence);
    let ended = match checked.problem_count {
        0 => "all as it was copied".to_owned(),
        count => format!("{count} problems"),
    };
    desk.output.say(&format!(
        "{name}: {} objects, {}, {} records: {ended}",
        checked.objects,
        write_size(checked.bytes),
        checked.records
    ));
    for problem in &checked.problems {
        desk.output.say(&format!("  {}: {}", problem.object, problem.why));
    }
    Ok(if checked.problem_count == 0 { code::WELL } else { code::FOUND })
}

/// A line on a terminal that says how far it is.
pub(super) struct Progress {
    what: &'static str,
    shown: Option<Instant>,
    objects: u64,
    bytes: u64,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Progress {
        Progress { what, shown: None, objects: 0, bytes: 0 }
    }

    pub(super) fn step(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
        let mut out = std::io::stderr();
        if out.is_terminal() && self.shown.is_none_or(|shown| shown.elapsed() >= CALM) {
            self.shown = Some(Instant::now());
            let _ = write!(out, "\r{} {} objects, {}   ", self.what, self.objects, write_size(self.bytes));
            let _ = out.flush();
        }
    }

    pub(super) fn end(&self) {
        if self.shown.is_some() {
            let _ = writeln!(std::io::stderr());
        }
    }
}
