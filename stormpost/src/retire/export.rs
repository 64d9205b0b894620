//! Writing everything out in forms that other programs read, and reading it again.
//!
//! `journal.mbox` has every message that is still kept, `journal.jsonl` who handed each over and what was judged, `ledger.jsonl` every
//! entry of the ledger, `mailboxes/ACCOUNT/` a Maildir++ of each account. `manifest.json` has the hash of every file.

use super::settled::journal;
use crate::command::{Failure, complain};
use crate::compose::stores;
use crate::configuration::Configuration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use stores_ledger::LedgerReader;
use stores_log::{FileDisk, LogKind};
use stores_mailbox::{Flags, MailboxOptions, Mailboxes, Message, ViewPlace};
use words_mail::Time;
use words_world::{Disk, World, crash_point};

/// The folder of the export, and the one in which it is made.
const NAME: &str = "export";
const PARTIAL: &str = "export.partial";
/// The list of its files.
const MANIFEST: &str = "manifest.json";
/// Messages of a folder that are read at a time.
const PAGE: u32 = 500;
/// Changes that are counted; one is too many already.
const CHANGES_MAX: u32 = 1_000;

/// What was written out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exported {
    /// Messages of the journal.
    pub(super) messages: u64,
    /// Entries of the ledger.
    pub(super) entries: u64,
    /// Accounts, and messages in their folders.
    pub(super) accounts: u64,
    pub(super) filed: u64,
    /// Files.
    pub(super) files: u64,
    /// The BLAKE3 hash of the manifest.
    pub(super) manifest: String,
    /// What could not be read, and is missing.
    #[serde(default)]
    pub(super) unreadable: Vec<String>,
}

/// How much there is.
pub(super) struct Size {
    pub(super) messages: u64,
}

pub(super) fn size(configuration: &Configuration) -> Result<Size, Failure> {
    let reader = journal(configuration)?;
    Ok(Size { messages: reader.scan(None).map_while(Result::ok).count() as u64 })
}

/// Writes everything out. An export that was broken off is thrown away and made anew.
pub(super) fn write(configuration: &Configuration, to: &Path, now: Time) -> Result<Exported, Failure> {
    let (partial, whole) = (to.join(PARTIAL), to.join(NAME));
    for old in [&partial, &whole] {
        match fs::remove_dir_all(old) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    fs::create_dir_all(&partial)?;
    let world = crate::world::real(configuration.node.name_server);
    let mut exported = Exported::default();
    messages(configuration, &partial, &mut exported)?;
    crash_point("retire.exporting");
    ledger(&world, configuration, &partial, &mut exported)?;
    mailboxes(&world, configuration, &partial, now, &mut exported)?;
    let manifest = manifest(&partial)?;
    exported.files = manifest.len() as u64;
    let text = serde_json::to_vec_pretty(&manifest)?;
    exported.manifest = blake3::hash(&text).to_hex().to_string();
    FileDisk.replace(&partial.join(MANIFEST), &text)?;
    fs::rename(&partial, &whole)?;
    FileDisk.sync_dir(to)?;
    Ok(exported)
}

fn create(path: &Path) -> Result<BufWriter<File>, Failure> {
    let file = fs::OpenOptions::new().write(true).create_new(true).open(path);
    Ok(BufWriter::new(file.map_err(|why| format!("{}: {why}", path.display()))?))
}

/// Durable on return.
fn close(file: BufWriter<File>) -> Result<(), Failure> {
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(())
}

fn messages(configuration: &Configuration, folder: &Path, exported: &mut Exported) -> Result<(), Failure> {
    let reader = journal(configuration)?;
    let mut list = create(&folder.join("journal.jsonl"))?;
    let mut failed = None;
    let mut mbox = create(&folder.join("journal.mbox"))?;
    let mut note = |entry: &stores_journal::JournalEntry| {
        let line = serde_json::to_vec(&entry.accepted).map_err(io::Error::from);
        if let Err(why) = line.and_then(|line| list.write_all(&line).and_then(|()| list.write_all(b"\n"))) {
            failed.get_or_insert(why);
        }
        true
    };
    let done = reader.export_mbox(&mut note, &mut mbox, &mut |done| {
        if done.messages.is_multiple_of(10_000) {
            complain(&format!("{} messages of the journal", done.messages));
        }
    })?;
    if let Some(why) = failed {
        return Err(why.into());
    }
    exported.messages = done.messages;
    exported.unreadable.extend(done.unreadable.iter().map(ToString::to_string));
    close(list)?;
    close(mbox)
}

fn ledger(
    world: &World,
    configuration: &Configuration,
    folder: &Path,
    exported: &mut Exported,
) -> Result<(), Failure> {
    let keys = stores::keys(world, configuration)?;
    let reader = LedgerReader::open(world, keys, &configuration.node.data.join("ledger"))?;
    let mut out = create(&folder.join("ledger.jsonl"))?;
    for entered in reader.scan(None) {
        let entered = entered?;
        let line = serde_json::json!({ "seq": entered.seq, "at": entered.at, "is": entered.entry });
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
        exported.entries += 1;
    }
    close(out)
}

fn mailboxes(
    world: &World,
    configuration: &Configuration,
    folder: &Path,
    now: Time,
    exported: &mut Exported,
) -> Result<(), Failure> {
    let keys = stores::keys(world, configuration)?;
    let options = MailboxOptions {
        log: stores::log_options(configuration, LogKind::Mailbox),
        view: ViewPlace::File(configuration.node.data.join("mailbox.sqlite")),
        trace_key: Some(stores::trace_key(world, configuration)?),
    };
    let bodies = stores::journal_bodies(journal(configuration)?);
    // Nobody writes: what stands in the log is shown at once, and neither writer nor applier is needed.
    let ready = Mailboxes::open(world, keys, options, bodies)?;
    let mailboxes = ready.mailboxes;
    owed(world, configuration, &mailboxes)?;
    let root = folder.join("mailboxes");
    fs::create_dir_all(&root)?;
    for account in mailboxes.accounts()? {
        exported.accounts += 1;
        let home = root.join(file_name(account.as_str()));
        for mailbox in mailboxes.folders(&account)? {
            let dir = maildir(&home, &mailbox.name)?;
            let mut first = 1;
            loop {
                let page = mailboxes.page(mailbox.id, first, u32::MAX, PAGE)?;
                let Some(last) = page.last().map(|message| message.uid) else { break };
                for message in &page {
                    match put(&mailboxes, &dir, message, now) {
                        Ok(()) => exported.filed += 1,
                        Err(why) => exported
                            .unreadable
                            .push(format!("{account} {} {}: {why}", mailbox.name, message.uid)),
                    }
                }
                let Some(next) = last.checked_add(1) else { break };
                first = next;
            }
        }
    }
    Ok(())
}

/// What people did after everything was said to be settled would be lost to the primary.
fn owed(world: &World, configuration: &Configuration, mailboxes: &Mailboxes) -> Result<(), Failure> {
    let directory = stores::directory(world, configuration)?.snapshot();
    for account in mailboxes.accounts()? {
        let settings = directory.primary_of(&account).and_then(|id| configuration.primary(id));
        let gives_back =
            settings.and_then(|settings| settings.mailbox.as_ref()).is_some_and(|m| m.writer.is_some());
        if !gives_back {
            continue;
        }
        let replayed = mailboxes.replayed(&account)?;
        let changes = mailboxes.changes_since(&account, replayed, CHANGES_MAX)?.len();
        if changes > 0 {
            return Err(format!("{account} did {changes} things that are not given back yet; start the node, wait until stormpost status shows no changes, and begin again").into());
        }
    }
    Ok(())
}

/// A name that is safe as a file's, whatever an address holds.
fn file_name(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'@' | b'-' | b'_' | b'+' => out.push(char::from(byte)),
            b'.' if !out.is_empty() => out.push('.'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Makes the Maildir++ of a folder: `INBOX` is the home itself, `A/B` is `.A.B`.
fn maildir(home: &Path, name: &str) -> Result<PathBuf, Failure> {
    let dir = match name {
        "INBOX" => home.to_owned(),
        other => {
            let levels: Vec<String> = other
                .split(stores_mailbox::SEPARATOR)
                .map(|level| file_name(level).replace('.', "%2E"))
                .collect();
            home.join(format!(".{}", levels.join(".")))
        }
    };
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(dir.join(part))?;
    }
    if name != "INBOX" {
        fs::write(dir.join("maildirfolder"), b"")?;
    }
    Ok(dir)
}

/// One message, with its flags in its name and its date as the file's.
fn put(mailboxes: &Mailboxes, dir: &Path, message: &Message, now: Time) -> Result<(), String> {
    let said = |why: &dyn std::fmt::Display| why.to_string();
    let mut body = mailboxes.body(&message.body).map_err(|why| said(&why))?;
    let unique = format!("{}.U{}.stormpost", message.date.seconds(), message.uid);
    let temporary = dir.join("tmp").join(&unique);
    let mut file = BufWriter::new(File::create(&temporary).map_err(|why| said(&why))?);
    let copied = io::copy(&mut body, &mut file).map_err(|why| said(&why));
    let copied = match copied {
        Ok(copied) => copied,
        Err(why) => {
            let _ = fs::remove_file(&temporary);
            return Err(why);
        }
    };
    let file = file.into_inner().map_err(|why| said(&why.error()))?;
    let at = if message.date.0 > 0 { message.date } else { now };
    let moment = std::time::UNIX_EPOCH + std::time::Duration::from_micros(at.0.unsigned_abs());
    file.set_modified(moment).and_then(|()| file.sync_all()).map_err(|why| said(&why))?;
    let name = format!("{unique},S={copied}:2,{}", letters(&message.flags));
    fs::rename(temporary, dir.join("cur").join(name)).map_err(|why| said(&why))
}

/// Flags as a Maildir's names have them, in alphabetical order.
fn letters(flags: &Flags) -> String {
    [
        (Flags::DRAFT, 'D'),
        (Flags::FLAGGED, 'F'),
        (Flags::ANSWERED, 'R'),
        (Flags::SEEN, 'S'),
        (Flags::DELETED, 'T'),
    ]
    .into_iter()
    .filter(|(bit, _)| flags.has(*bit))
    .map(|(_, letter)| letter)
    .collect()
}

/// Every file below a folder with its hash, by its path.
fn manifest(folder: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
            if name != MANIFEST {
                files.insert(name, hash(&path)?);
            }
        }
        FileDisk.sync_dir(&next)?;
    }
    Ok(files)
}

fn hash(path: &Path) -> Result<String, Failure> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path)?;
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            read => _ = hasher.update(&piece[..read]),
        }
    }
}

/// Reads everything that was written out again: every file is there and as it was, and the counts are right.
pub(super) fn verify(to: &Path, exported: &Exported) -> Result<(), Failure> {
    let folder = to.join(NAME);
    let wrong = |what: String| {
        Failure::from(format!(
            "{what}; nothing was destroyed. Begin again: remove retire.json in {}",
            to.display()
        ))
    };
    let text = fs::read(folder.join(MANIFEST))
        .map_err(|why| wrong(format!("the manifest cannot be read: {why}")))?;
    if blake3::hash(&text).to_hex().as_str() != exported.manifest {
        return Err(wrong("the manifest is not the one that was written".to_owned()));
    }
    let wanted: BTreeMap<String, String> = serde_json::from_slice(&text)?;
    let there = manifest(&folder)?;
    if there != wanted {
        let differs =
            wanted.iter().find(|(name, hash)| there.get(*name) != Some(hash)).map(|(name, _)| name.clone());
        let more = there.keys().find(|name| !wanted.contains_key(*name)).cloned();
        return Err(wrong(format!("{} is not as it was written", differs.or(more).unwrap_or_default())));
    }
    let lines = |name: &str| -> Result<u64, Failure> {
        let text = io::BufReader::new(File::open(folder.join(name))?);
        Ok(io::BufRead::split(text, b'\n').filter(Result::is_ok).count() as u64)
    };
    let listed = lines("journal.jsonl")?;
    let unreadable = listed.saturating_sub(exported.messages);
    if listed < exported.messages || unreadable > exported.unreadable.len() as u64 {
        return Err(wrong(format!("{listed} messages are listed, and {} were written", exported.messages)));
    }
    if lines("ledger.jsonl")? != exported.entries {
        return Err(wrong("the ledger was not written out whole".to_owned()));
    }
    let mail = there.keys().filter(|name| name.contains("/cur/")).count() as u64;
    if mail != exported.filed {
        return Err(wrong(format!(
            "{mail} messages stand in mailboxes, and {} were written",
            exported.filed
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_and_no_folder_leads_out_of_the_export() {
        for (text, expected) in [
            ("anna@example.org", "anna@example.org"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            (".hidden", "%2Ehidden"),
            ("grüße", "gr%C3%BC%C3%9Fe"),
        ] {
            assert_eq!(file_name(text), expected);
        }
        let folder = tempfile::tempdir().unwrap();
        let made = maildir(folder.path(), "A.b/../C").unwrap();
        assert_eq!(made.file_name().unwrap().to_str().unwrap(), ".A%2Eb.%2E%2E.C");
        assert!(made.starts_with(folder.path()) && made.join("cur").is_dir());
    }

    #[test]
    fn flags_stand_in_the_name_in_order() {
        assert_eq!(letters(&Flags::system(Flags::SEEN | Flags::DRAFT | Flags::ANSWERED)), "DRS");
        assert_eq!(letters(&Flags::none()), "");
    }
}
