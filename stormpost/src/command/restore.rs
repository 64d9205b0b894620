//! `stormpost restore`: a copy becomes a data folder, on this machine or another.

use super::backup::{Progress, runtime};
use super::output::moment;
use super::{Desk, Ended, Failure, code};
use crate::compose::{elsewhere, stores};
use crate::configuration::{Configuration, reason, write_size};
use crate::control::client::who;
use clap::Args;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stores_backup::{Fetched, Found, LOGS};
use stores_journal::JournalReader;
use stores_ledger::{Entry, Ledger, Restored};
use stores_log::{KeyRing, LogKind, LogOptions, Reader};
use stores_mailbox::{MailboxOptions, Mailboxes, Ready, ViewPlace};
use tokio::sync::watch;
use words_mail::Time;
use words_world::{World, crash_point};

/// Room that must be left on the disk besides the copy itself, bytes.
const SPARE: u64 = 256 << 20;

/// `stormpost restore`.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// Where the copies are: a folder, or s3://BUCKET/PREFIX. The configuration says how an object store is spoken to.
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// Which copy, as `stormpost backup list` names it; the newest when not given.
    #[arg(long, value_name = "NAME")]
    backup: Option<String>,
    /// The new data folder. It must not be there, or be empty.
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// The key file of the node that the copy is of.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

#[derive(Serialize)]
struct Said {
    backup: String,
    node: String,
    made: Time,
    until: Time,
    objects: u64,
    bytes: u64,
    data: PathBuf,
    by_hand: Vec<String>,
    files: Vec<String>,
}

pub(super) fn run(desk: &Desk, arguments: &RestoreArguments) -> Ended {
    let data = std::path::absolute(&arguments.data)?;
    let shown = data.display();
    match fs::read_dir(&data).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Ok(false) => {
            let words = format!("{shown} is not empty; nothing is ever restored over something else");
            return Err(words.into());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{shown}: {}", reason(&error)).into()),
    }
    if !arguments.key_file.is_file() {
        let words = format!("the key file {} is not there", arguments.key_file.display());
        return Err(words.into());
    }
    // On a new machine there may be no configuration yet.
    let configuration = match arguments.from.starts_with("s3:") || desk.has_configuration() {
        true => Some(desk.configuration()?),
        false => None,
    };
    let world = crate::world::real(configuration.as_ref().and_then(|c| c.node.name_server));
    let keys = KeyRing::from_file(&arguments.key_file, world.random.as_ref())?;
    let s3 = configuration.as_ref().and_then(|configuration| configuration.s3.as_ref());
    let place = elsewhere::place(&world, &arguments.from, s3)?;
    let work = unfinished(&data)?;
    let mut progress = Progress::new("restored");
    let restored = runtime()?.block_on(async {
        let found = stores_backup::find(&*place, arguments.backup.as_deref()).await?;
        has_room(&world, &found, &work)?;
        let manifest = &found.manifest;
        let hear = &mut |_: &str, bytes| progress.step(bytes);
        let fetched = stores_backup::fetch(&*place, manifest, &keys, &world, &work, hear).await?;
        verify(&world, &keys, &work)?;
        settle_in(&world, &keys, &work, (&arguments.from, &found), configuration.as_ref()).await?;
        Ok::<_, Failure>((found, fetched))
    });
    progress.end();
    let (found, fetched) = restored.map_err(|failure| {
        let left = if work.exists() {
            format!("\nremove {} before you try again", work.display())
        } else {
            String::new()
        };
        Failure { words: format!("{}\nnothing was restored{left}", failure.words), ..failure }
    })?;
    crash_point("restore.before_rename");
    // An empty folder is replaced; whoever put something into it meanwhile keeps it.
    fs::rename(&work, &data).map_err(|error| format!("{shown}: {}", reason(&error)))?;
    if let Some(above) = data.parent() {
        world.disk.sync_dir(above)?;
    }
    let key_file = configuration.as_ref().map(|configuration| configuration.node.key_file.as_path());
    tell(desk, &data, &found, fetched, key_file.filter(|path| !path.exists()));
    Ok(code::WELL)
}

/// Where it is put together: beside its place, so that it gets there at once.
fn unfinished(data: &Path) -> Result<PathBuf, Failure> {
    let name = data.file_name().ok_or_else(|| format!("{} is no folder's name", data.display()))?;
    let work = data.with_file_name(format!("{}.restoring", name.to_string_lossy()));
    if work.exists() {
        let words = format!("{} is what an earlier try left behind; remove it and try again", work.display());
        return Err(words.into());
    }
    Ok(work)
}

fn has_room(world: &World, found: &Found, work: &Path) -> Result<(), Failure> {
    let bytes: u64 = found.manifest.logs.values().map(|log| log.bytes).sum();
    let Some(above) = work.ancestors().skip(1).find(|above| above.is_dir()) else { return Ok(()) };
    let free = world.disk.free(above)?;
    if free < bytes.saturating_add(SPARE) {
        let words = format!(
            "the copy has {}, and only {} are free in {}",
            write_size(bytes),
            write_size(free),
            above.display()
        );
        return Err(words.into());
    }
    Ok(())
}

/// Everything is read with its key, before it counts.
fn verify(world: &World, keys: &KeyRing, work: &Path) -> Result<(), Failure> {
    for (name, kind) in LOGS {
        let reader = Reader::open(world, keys.clone(), &work.join(name), kind)?;
        let verified = reader.verify(&mut |_| {})?;
        for problem in &verified.problems {
            tracing::warn!(log = name, ?problem, "the copy has a fault that the original had");
        }
        if !verified.is_clean() {
            super::complain(&format!(
                "the {name} has {} faults in the copy; they are kept as they are, see stormpost journal verify",
                verified.problem_count
            ));
        }
    }
    Ok(())
}

/// Writes down that this was restored, and moves every UID on: what was shown after the copy was made is not known here.
async fn settle_in(
    world: &World,
    keys: &KeyRing,
    work: &Path,
    (from, found): (&str, &Found),
    configuration: Option<&Configuration>,
) -> Result<(), Failure> {
    let manifest = &found.manifest;
    // Another life of the folder: its copies are kept apart from those of the life before.
    match world.disk.remove(&work.join("backup.line")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let node = configuration.map_or(manifest.node.as_str(), |configuration| &configuration.node.name);
    let options =
        |name: &str, kind| LogOptions { reserve_bytes: 0, ..LogOptions::new(work.join(name), kind, node) };
    let journal = JournalReader::open(world, keys.clone(), &work.join("journal"))?;
    let end = manifest.logs.get("journal").map(|log| log.end).unwrap_or_default();
    let (ledger, writer, _) = Ledger::open(world, keys.clone(), options("ledger", LogKind::Ledger))?;
    let entry = Entry::Restored(Restored {
        at: world.clock.now(),
        by: who(),
        from: from.to_owned(),
        sequence: manifest.sequence,
        until: manifest.until(),
        journal: end,
    });
    let (stop, stopped) = watch::channel(false);
    let write = async {
        let written = ledger.append(entry).await;
        stop.send_replace(true);
        written
    };
    let (written, ()) = tokio::join!(write, writer.run(stopped));
    written?;
    crash_point("restore.after_mark");
    let options = MailboxOptions {
        log: options("mailbox", LogKind::Mailbox),
        view: ViewPlace::File(work.join("mailbox.sqlite")),
        trace_key: None,
    };
    let bodies = stores::journal_bodies(journal);
    let ready = Mailboxes::open_restored(world, keys.clone(), options, Arc::clone(&bodies))?;
    let Ready { mailboxes, writer, applier, .. } = ready;
    let (stop, stopped) = watch::channel(false);
    let (_now, ended) = watch::channel(true);
    let jump = async {
        let jumped = applier.run(ended).await;
        drop(mailboxes);
        stop.send_replace(true);
        jumped
    };
    let (jumped, ()) = tokio::join!(jump, writer.run(stopped));
    Ok(jumped?)
}

fn tell(desk: &Desk, data: &Path, found: &Found, fetched: Fetched, key_file: Option<&Path>) {
    let manifest = &found.manifest;
    let Fetched { objects, bytes } = fetched;
    let said = Said {
        backup: format!("{}/{}", found.root, manifest.sequence),
        node: manifest.node.clone(),
        made: manifest.ended,
        until: manifest.until(),
        objects,
        bytes,
        data: data.to_owned(),
        by_hand: manifest.left_out.clone(),
        files: manifest.files.iter().map(|file| file.name.clone()).collect(),
    };
    let say = |words: &str| desk.output.say(words);
    say(&format!("{} of {} is restored into {}", said.backup, said.node, data.display()));
    say(&format!(
        "mail accepted until {} (UTC) is here; what was accepted after that, until the old machine died, is not, and its \
         senders were told yes: say so to the people concerned",
        moment(said.until)
    ));
    say(
        "what was not settled then may have been handed over since: the primary is asked for each such message before it is \
         sent, so nothing is delivered there twice; waiting mail for other organisations, where nobody can be asked, is \
         sent once more and may arrive twice",
    );
    say("the old machine must stay off: two of the same would both hand over what waits");
    say("no UID of a mailbox is given a second time: all go on a million higher");
    for file in said.files.iter().filter(|name| name.starts_with("restored/")) {
        say(&format!("look at {}, and put it where it belongs", data.join(file).display()));
    }
    for words in &said.by_hand {
        say(&format!("was not in the backup: {words}"));
    }
    if let Some(path) = key_file {
        say(&format!(
            "put the key file at {} before you start: without it a new one is made there, which opens nothing of this",
            path.display()
        ));
    }
    say("then: stormpost check, stormpost serve, and once the primary answers");
    say("      stormpost reconcile --since 7d     to see that everything accepted is there, once");
    desk.output.value(&said);
}
