//! The journal: every accepted message. These verbs read the data folder, with or without a running node.

use super::output::{moment, parse_moment};
use super::{Desk, Ended, Failure, call_failure, code};
use crate::compose::stores;
use crate::configuration::{Configuration, reason, visible, write_size};
use crate::control::client::{CallError, call, who};
use crate::control::protocol::Request;
use crate::edge::{self, Lock};
use clap::{Args, Subcommand, ValueEnum};
use std::collections::HashSet;
use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use stores_journal::{Journal, JournalEntry, JournalReader};
use stores_ledger::{ContentAct, ContentDeed, Entry, Ledger, LedgerReader};
use stores_log::{Damage, Erasure, Problem};
use words_mail::{Time, TraceId};

/// The journal: every accepted message.
#[derive(Debug, Subcommand)]
pub enum JournalVerb {
    /// Read everything that is kept and check it.
    #[command(
        long_about = "Reads every record of the journal, the ledger and the mailbox log with its content, checks the check sums and \
                      counts. Exit code 4 when something is damaged. Safe beside a running node."
    )]
    Verify,
    /// One message: who handed it over, what was judged, where it stands.
    #[command(
        long_about = "One message: who handed it over, what was judged, where it stands. Whoever opens the message itself says why, \
                      and that is written into the ledger first.",
        after_long_help = "Examples:\n  stormpost journal show 01KAN8ZV9M6T4S2R0Q8P6N4M2K\n  stormpost journal show \
                           01KAN8ZV9M6T4S2R0Q8P6N4M2K --content --reason \"she asked for it\" > message.eml"
    )]
    Show {
        /// Its trace id.
        trace: TraceId,
        /// Write the message itself to the standard output.
        #[arg(long, requires = "reason")]
        content: bool,
        /// Why; recorded with your name and the time.
        #[arg(long, value_name = "TEXT", requires = "content")]
        reason: Option<String>,
    },
    /// Write messages out as mbox or .eml files.
    #[command(
        long_about = "Writes messages out as mbox or .eml files. Whoever does says why, and that is written into the ledger first.",
        after_long_help = "Examples:\n  stormpost journal export --to mail.mbox --since 24h --reason \"moving to another archive\"\n  \
                           stormpost journal export --to folder --format eml --recipient @example.org --reason \"a judge \
                           asked\""
    )]
    Export(ExportArguments),
    /// Throw away what is only derived from the logs; it is made anew at the next start. The node must not run.
    Rebuild,
    /// Take one message's content out for good. Its hash and a note of who, when and why stay.
    Erase {
        /// Its trace id.
        trace: TraceId,
        /// Why; recorded with your name and the time.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// `stormpost journal export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// The file (mbox) or folder (eml) to write; it must not be there yet.
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// One file of all messages, or one file each.
    #[arg(long, value_enum, default_value_t = Format::Mbox)]
    format: Format,
    /// Only this message.
    #[arg(long, value_name = "ID")]
    trace: Option<TraceId>,
    /// Accepted since then: 2h (ago), 2026-11-22, 2026-11-22T10:42 (UTC).
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Accepted before then.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only from this envelope sender: an address or @domain.
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Only to this envelope recipient: an address or @domain.
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Why; recorded with your name and the time.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl ExportArguments {
    /// Which messages are asked for, in words.
    fn which(&self) -> String {
        let ExportArguments { since, until, sender, recipient, .. } = self;
        let parts = [("since", since), ("until", until), ("sender", sender), ("recipient", recipient)];
        let given = parts.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
        match given.collect::<Vec<_>>() {
            none if none.is_empty() && self.trace.is_none() => "all".to_owned(),
            given => given.join(", "),
        }
    }
}

/// How messages are written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One file, `From ` lines quoted (mboxrd).
    Mbox,
    /// A file for each.
    Eml,
}

pub(super) fn run(desk: &Desk, verb: JournalVerb) -> Ended {
    match verb {
        JournalVerb::Verify => verify(desk),
        JournalVerb::Show { trace, content, reason } => show(desk, trace, reason.filter(|_| content)),
        JournalVerb::Export(arguments) => export(desk, &arguments),
        JournalVerb::Rebuild => rebuild(desk),
        JournalVerb::Erase { trace, reason } => erase(desk, trace, reason),
    }
}

fn reader(configuration: &Configuration) -> Result<JournalReader, Failure> {
    let world = crate::world::real(configuration.node.name_server);
    if !configuration.node.key_file.exists() {
        // Opening the ring would make a new key, with which nothing here could be read.
        let words = format!("the key file {} is not there", configuration.node.key_file.display());
        return Err(words.into());
    }
    let keys = stores::keys(&world, configuration)?;
    Ok(JournalReader::open(&world, keys, &configuration.node.data.join("journal"))?)
}

fn find(reader: &JournalReader, trace: TraceId) -> Result<JournalEntry, Failure> {
    reader.find(trace)?.ok_or_else(|| format!("the journal has no message {trace}, or it was erased").into())
}

/// Writes down who opens or erases content, and why, before it is done: through the node, or beside one that does not run.
fn note(
    desk: &Desk,
    configuration: &Configuration,
    deed: ContentDeed,
    (trace, which): (Option<TraceId>, String),
    reason: &str,
) -> Result<(), Failure> {
    let reason = visible(reason.trim());
    if reason.is_empty() {
        let words = "say why: --reason; it is written down with your name and the time".to_owned();
        return Err(Failure { code: code::USAGE, words });
    }
    if deed != ContentDeed::Erased {
        let (which, reason) = (which.clone(), reason.clone());
        match call(
            &configuration.control_socket(),
            Request::ContentOpened { deed, trace, which, reason },
            |_| {},
        ) {
            Ok(_) => return Ok(()),
            Err(CallError::NotRunning(_) | CallError::TooLong(_)) => {}
            Err(error) => return Err(call_failure(&error)),
        }
    }
    // Who erases has the lock already.
    let _lock = match deed {
        ContentDeed::Erased => None,
        _ => Some(stores::lock(&configuration.node.data)?),
    };
    let world = crate::world::real(configuration.node.name_server);
    let keys = stores::keys(&world, configuration)?;
    let options = stores::log_options(configuration, stores_log::LogKind::Ledger);
    let (ledger, writer, _) = Ledger::open(&world, keys, options)?;
    let act = ContentAct { at: desk.now(), by: who(), reason, deed, trace, which };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let written = runtime.block_on(async {
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        tokio::select! {
            biased;
            written = ledger.append(Entry::ContentAct(act)) => written.map(drop).map_err(|why| why.to_string()),
            () = writer.run(stopped) => Err("its writer ended".to_owned()),
        }
    });
    written
        .map_err(|why| format!("it could not be written down, so nothing was opened or erased: {why}").into())
}

fn show(desk: &Desk, trace: TraceId, opened: Option<String>) -> Ended {
    let configuration = desk.configuration()?;
    let reader = reader(&configuration)?;
    let entry = find(&reader, trace)?;
    if let Some(reason) = opened {
        note(desk, &configuration, ContentDeed::Shown, (Some(trace), String::new()), &reason)?;
        let mut message = reader.message(&entry)?;
        let mut out = io::stdout().lock();
        match io::copy(&mut message, &mut out).and_then(|_| out.flush()) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => return Err(e.into()),
            _ => return Ok(code::WELL),
        }
    }
    let accepted = &entry.accepted;
    desk.output.value(&serde_json::json!({ "position": entry.position, "accepted": accepted }));
    let out = desk.output;
    let envelope = &accepted.envelope;
    out.say(&format!("{trace}  {} UTC  {}", moment(accepted.at), write_size(accepted.size)));
    let peer = &envelope.peer;
    let tls = peer.tls.as_deref().unwrap_or("no TLS");
    out.say(&format!("  by {} ({}), {} with {tls}", peer.ip, peer.helo, peer.protocol));
    out.say(&format!("  from <{}>", envelope.sender));
    for recipient in &envelope.recipients {
        out.say(&format!("  to <{}>", recipient.address));
    }
    let primary = accepted.primary.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    out.say(&format!("  tenant {}, primary {primary}, at {}", accepted.tenant, entry.position));
    out.say(&format!("  verdict {}", accepted.verdict));
    out.say("what became of it: stormpost trace; the message itself: --content --reason ...");
    Ok(code::WELL)
}

/// Whether an address is meant by `anna@example.org` or `@example.org`.
fn is_meant(wanted: &str, address: Option<&words_mail::Address>) -> bool {
    let wanted = wanted.to_lowercase();
    match (wanted.strip_prefix('@'), address) {
        (Some(domain), Some(address)) => address.domain() == domain,
        (None, Some(address)) => address.key() == wanted,
        (_, None) => wanted == "<>",
    }
}

fn export(desk: &Desk, arguments: &ExportArguments) -> Ended {
    let configuration = desk.configuration()?;
    let usage = |words: String| Failure { code: code::USAGE, words };
    let moment = |text: &Option<String>| -> Result<Option<Time>, Failure> {
        text.as_ref().map(|text| parse_moment(text, desk.now()).map_err(usage)).transpose()
    };
    let (since, until) = (moment(&arguments.since)?, moment(&arguments.until)?);
    let reader = reader(&configuration)?;
    note(
        desk,
        &configuration,
        ContentDeed::Exported,
        (arguments.trace, arguments.which()),
        &arguments.reason,
    )?;
    let failed =
        |e: io::Error| Failure::from(format!("{} cannot be written: {}", arguments.to.display(), reason(&e)));
    let mut mbox = match arguments.format {
        Format::Mbox => Some(BufWriter::new(
            fs::OpenOptions::new().write(true).create_new(true).open(&arguments.to).map_err(failed)?,
        )),
        Format::Eml => {
            fs::create_dir(&arguments.to).map_err(failed)?;
            None
        }
    };
    let (mut written, mut skipped) = (0u64, Vec::new());
    for entry in reader.scan(None) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                skipped.push(error.to_string());
                break;
            }
        };
        let accepted = &entry.accepted;
        let wanted = arguments.trace.is_none_or(|trace| trace == accepted.trace)
            && since.is_none_or(|since| accepted.at >= since)
            && until.is_none_or(|until| accepted.at < until)
            && arguments.sender.as_deref().is_none_or(|s| is_meant(s, accepted.envelope.sender.address()))
            && arguments.recipient.as_deref().is_none_or(|wanted| {
                accepted.envelope.recipients.iter().any(|r| is_meant(wanted, Some(&r.address)))
            });
        if !wanted {
            continue;
        }
        let message = match reader.message(&entry) {
            Ok(message) => message,
            Err(error) => {
                skipped.push(format!("{}: {error}", accepted.trace));
                continue;
            }
        };
        let result = match &mut mbox {
            Some(mbox) => write_mbox(mbox, &entry, message),
            None => write_eml(&arguments.to, accepted.trace, message),
        };
        result.map_err(failed)?;
        written += 1;
    }
    if let Some(mut mbox) = mbox {
        mbox.flush().and_then(|()| mbox.get_ref().sync_all()).map_err(failed)?;
    }
    for one in &skipped {
        super::complain(&format!("not exported: {one}"));
    }
    desk.output.value(&serde_json::json!({ "exported": written, "failed": skipped }));
    desk.output.say(&format!("{written} messages written to {}", arguments.to.display()));
    Ok(if skipped.is_empty() { code::WELL } else { code::FOUND })
}

fn write_eml(folder: &Path, trace: TraceId, mut message: impl Read) -> io::Result<()> {
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).open(folder.join(format!("{trace}.eml")))?;
    io::copy(&mut message, &mut file)?;
    file.sync_all()
}

/// One message of an mbox (RFC 4155), with the `>From ` quoting that can be undone (mboxrd); lines end in LF.
fn write_mbox(out: &mut impl Write, entry: &JournalEntry, message: impl Read) -> io::Result<()> {
    let accepted = &entry.accepted;
    let sender =
        accepted.envelope.sender.address().map_or_else(|| "MAILER-DAEMON".to_owned(), ToString::to_string);
    writeln!(out, "From {} {}", sender.replace([' ', '\t'], "_"), asctime(accepted.at))?;
    quote_mbox(out, message)?;
    out.write_all(b"\n")
}

/// `Sun Nov 22 10:42:07 2026`, UTC.
fn asctime(at: Time) -> String {
    // "Sun, 22 Nov 2026 10:42:07 +0000" has the same parts.
    let text = at.rfc5322();
    let parts: Vec<&str> = text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [weekday, day, month, year, time, ..] => {
            format!("{weekday} {month} {:>2} {time} {year}", day.trim_start_matches('0'))
        }
        _ => text,
    }
}

/// Copies a message line by line: CRLF becomes LF, and a line of `>`s and `From ` gets one more `>`. A line is never held
/// whole: only its beginning decides.
fn quote_mbox(out: &mut impl Write, mut message: impl Read) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    // The beginning of a line while it may still become a `From ` line; None in its rest.
    let mut begin: Option<Vec<u8>> = Some(Vec::new());
    let mut carriage = false;
    let mut last = b'\n';
    loop {
        let read = message.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        for byte in buffer[..read].iter().copied() {
            if carriage {
                carriage = false;
                if byte != b'\n' {
                    put(out, &mut begin, b'\r')?;
                }
            }
            if byte == b'\r' {
                carriage = true;
                continue;
            }
            put(out, &mut begin, byte)?;
            last = byte;
            if byte == b'\n' {
                begin = Some(Vec::new());
            }
        }
    }
    if carriage {
        put(out, &mut begin, b'\r')?;
    }
    if let Some(rest) = begin {
        out.write_all(&rest)?;
    }
    if last == b'\n' { Ok(()) } else { out.write_all(b"\n") }
}

fn put(out: &mut impl Write, begin: &mut Option<Vec<u8>>, byte: u8) -> io::Result<()> {
    const MARK: &[u8] = b"From ";
    let Some(held) = begin else { return out.write_all(&[byte]) };
    held.push(byte);
    let quotes = held.iter().take_while(|b| **b == b'>').count();
    let rest = &held[quotes..];
    if rest == MARK {
        out.write_all(b">")?;
        out.write_all(held)?;
        *begin = None;
    } else if !MARK.starts_with(rest) || held.len() > 4_096 {
        out.write_all(held)?;
        *begin = None;
    }
    Ok(())
}

/// What one log held.
#[derive(Default, serde::Serialize)]
struct Held {
    segments: u64,
    records: u64,
    erased: u64,
    collected: u64,
    bodies: u64,
    /// Writes cut short by a crash and never acknowledged; no fault.
    torn: u64,
    problem_count: u64,
    problems: Vec<String>,
}

fn verify(desk: &Desk) -> Ended {
    let configuration = desk.configuration()?;
    let world = crate::world::real(configuration.node.name_server);
    if !configuration.node.key_file.exists() {
        return Err(format!("the key file {} is not there", configuration.node.key_file.display()).into());
    }
    let keys = stores::keys(&world, &configuration)?;
    let mut all = std::collections::BTreeMap::new();
    for (name, kind) in [
        ("journal", stores_log::LogKind::Journal),
        ("ledger", stores_log::LogKind::Ledger),
        ("mailbox", stores_log::LogKind::Mailbox),
    ] {
        let dir = configuration.node.data.join(name);
        if !dir.exists() {
            continue;
        }
        let reader = stores_log::Reader::open(&world, keys.clone(), &dir, kind)?;
        let verified = reader.verify(&mut |_| {}).map_err(|e| format!("{name}: {e}"))?;
        let problems = verified.problems.iter().map(problem).collect();
        let held = Held {
            segments: verified.segments,
            records: verified.records,
            erased: verified.erased,
            collected: verified.collected,
            bodies: verified.bodies,
            torn: verified.torn,
            problem_count: verified.problem_count,
            problems,
        };
        all.insert(name, held);
    }
    desk.output.value(&all);
    for (name, held) in &all {
        let Held { segments, records, erased, bodies, problem_count, .. } = held;
        desk.output.say(&format!(
            "{name}: {segments} segments, {records} records, {bodies} body files, {erased} erased: {}",
            match problem_count {
                0 => "all as it was written".to_owned(),
                count => format!("{count} problems"),
            }
        ));
        for problem in &held.problems {
            desk.output.say(&format!("  {problem}"));
        }
    }
    Ok(if all.values().all(|held| held.problem_count == 0) { code::WELL } else { code::FOUND })
}

/// A problem in a person's words.
fn problem(problem: &Problem) -> String {
    let place = |damage: &Damage| {
        format!("segment {}, bytes {} to {}: {}", damage.segment, damage.from, damage.to, damage.why)
    };
    match problem {
        Problem::Damaged(damage) => place(damage),
        Problem::Tail(damage) => format!("{} (the end of the log)", place(damage)),
        Problem::Missing { from, to } => format!("records {from} to {to} are missing"),
        Problem::Altered { seq, position, why } => format!("record {seq} at {position} was altered: {why}"),
        Problem::Chain { seq, position } => {
            format!("record {seq} at {position} does not follow from the one before")
        }
        Problem::Body { seq, position, why } => format!("the body of record {seq} at {position}: {why}"),
    }
}

fn rebuild(desk: &Desk) -> Ended {
    let configuration = desk.configuration()?;
    let _lock = stores::lock(&configuration.node.data)?;
    let mut removed = Vec::new();
    for name in ["mailbox.sqlite", "mailbox.sqlite-wal", "mailbox.sqlite-shm"] {
        let path = configuration.node.data.join(name);
        match fs::remove_file(&path) {
            Ok(()) => removed.push(name),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(format!("{} cannot be removed: {}", path.display(), reason(&e)).into()),
        }
    }
    Ok(desk.done(&match removed.is_empty() {
        true => "there was nothing derived; the next start makes it from the logs".to_owned(),
        false => format!("removed {}; the next start makes it anew from the logs", removed.join(", ")),
    }))
}

fn erase(desk: &Desk, trace: TraceId, reason: String) -> Ended {
    let configuration = desk.configuration()?;
    let request = Request::JournalErase { trace, reason: reason.clone() };
    match call(&configuration.control_socket(), request, |_| {}) {
        Ok(words) => return Ok(desk.done(&words)),
        Err(CallError::NotRunning(_) | CallError::TooLong(_)) => {}
        Err(error) => return Err(call_failure(&error)),
    }
    let _lock = stores::lock(&configuration.node.data)?;
    let world = crate::world::real(configuration.node.name_server);
    let entry = find(&reader(&configuration)?, trace)?;
    let keys = stores::keys(&world, &configuration)?;
    // A body leaves only when nobody waits for it.
    let ledger = LedgerReader::open(&world, keys.clone(), &configuration.node.data.join("ledger"))?;
    let settled: HashSet<String> = ledger
        .settlements(None)
        .filter(|s| s.trace == trace && s.outcome.is_final())
        .map(|s| s.recipient.key())
        .collect();
    let waits = entry.accepted.envelope.recipients.iter().find(|r| !settled.contains(&r.address.key()));
    if let Some(recipient) = waits {
        let address = &recipient.address;
        let words = format!(
            "{trace} is not settled for {address} yet; start the node, and stormpost queue delete {trace}"
        );
        return Err(words.into());
    }
    note(desk, &configuration, ContentDeed::Erased, (Some(trace), String::new()), &reason)?;
    // An edge may write with nobody else alive.
    match Lock::try_take(&configuration.edge_lock())? {
        None => {
            edge::erase_now(&configuration.edge_socket(), &[trace], &who(), &reason)?;
        }
        Some(_writing) => {
            let options = stores::log_options(&configuration, stores_log::LogKind::Journal);
            let erasure = Erasure { who: who(), why: reason, keep_meta: false };
            // Opening begins a new segment, so the one with the message is closed; nobody writes.
            let (journal, _writer, _) = Journal::open(&world, keys, options)?;
            journal.log().erase_closed(&[entry.position], &erasure)?;
        }
    }
    Ok(desk.done(&format!("the content of {trace} is erased; its hash and a note of who, when and why stay")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(message: &[u8], piece: usize) -> String {
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let n = self.1.min(self.0.len()).min(into.len());
                into[..n].copy_from_slice(&self.0[..n]);
                self.0 = &self.0[n..];
                Ok(n)
            }
        }
        let mut out = Vec::new();
        quote_mbox(&mut out, Pieces(message, piece)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn from_lines_are_quoted_so_that_it_can_be_undone_however_the_message_is_cut() {
        for (message, expected) in [
            (
                "A: b\r\n\r\nFrom x\r\n>From y\r\n>>From z\r\nFrom\r\n From w\r\n",
                "A: b\n\n>From x\n>>From y\n>>>From z\nFrom\n From w\n",
            ),
            ("From the start", ">From the start\n"),
            ("a\rb\r\r\nc\r", "a\rb\r\nc\r\n"),
            ("", ""),
            ("Fro", "Fro\n"),
            (">>\r\n", ">>\n"),
        ] {
            for piece in [1, 2, 3, 7, 1_000] {
                assert_eq!(quoted(message.as_bytes(), piece), expected, "{message:?} by {piece}");
            }
        }
        let long = ">".repeat(10_000) + "From x\r\n";
        assert!(quoted(long.as_bytes(), 5).ends_with("From x\n"));
    }

    #[test]
    fn senders_and_recipients_are_meant_by_address_or_domain() {
        let anna = words_mail::Address::parse("Anna@example.org").unwrap();
        for (wanted, meant) in [
            ("anna@example.org", true),
            ("@Example.org", true),
            ("bert@example.org", false),
            ("@sub.example.org", false),
            ("<>", false),
        ] {
            assert_eq!(is_meant(wanted, Some(&anna)), meant, "{wanted}");
        }
        assert!(is_meant("<>", None) && !is_meant("@example.org", None));
    }

    #[test]
    fn the_separator_line_has_the_time_as_mbox_wants_it() {
        assert_eq!(asctime(Time::from_civil(2026, 11, 2, 10, 42, 7)), "Mon Nov  2 10:42:07 2026");
        assert_eq!(asctime(Time::from_civil(2026, 11, 22, 10, 42, 7)), "Sun Nov 22 10:42:07 2026");
    }
}
