//! Opening what is remembered: the three logs, the directory, the keys.

use super::format;
use super::writers::Writers;
use crate::configuration::Configuration;
use crate::edge::EdgeView;
use anyhow::{Context, Result, bail};
use std::io;
use std::path::Path;
use std::sync::Arc;
use stores_directory::Directory;
use stores_journal::{Journal, JournalReader};
use stores_ledger::Ledger;
use stores_log::{FileDisk, KeyRing, LogCounts, LogHealth, LogKind, LogOptions, Position, Recovery};
use stores_mailbox::{Applier, Bodies, MailboxOptions, Mailboxes, MessageReader, Ready, ViewPlace};
use tokio::sync::watch;
use words_mail::{TraceId, TraceKey};
use words_world::World;

/// Everything a node remembers.
pub struct Stores {
    /// Every accepted message.
    pub journal: JournalDesk,
    /// Observations, orders, settlements.
    pub ledger: Ledger,
    /// The mailboxes.
    pub mailboxes: Mailboxes,
    /// Who is here.
    pub directory: Directory,
    /// Makes our trace ids ours.
    pub trace_key: TraceKey,
}

/// The options of one of the three logs under a configuration.
pub fn log_options(configuration: &Configuration, kind: LogKind) -> LogOptions {
    let name = match kind {
        LogKind::Journal => "journal",
        LogKind::Mailbox => "mailbox",
        LogKind::Ledger => "ledger",
    };
    let limits = &configuration.limits;
    LogOptions {
        seal_bytes: limits.seal_size,
        seal_after: limits.seal_after,
        batch_bytes: limits.batch_size,
        queue_max: limits.queue_records,
        queue_bytes: limits.queue_size,
        reserve_bytes: limits.reserve,
        inline_max: limits.inline_size,
        ..LogOptions::new(configuration.node.data.join(name), kind, &configuration.node.name)
    }
}

/// The journal as this node works with it: written in this process, or by the edge in a process of its own.
#[derive(Clone)]
pub struct JournalDesk {
    reader: JournalReader,
    writer: JournalWriter,
}

#[derive(Clone)]
enum JournalWriter {
    Here(Journal),
    Edge(EdgeView),
}

impl JournalDesk {
    /// Reads the journal; of what is written only what is durable.
    pub fn reader(&self) -> JournalReader {
        self.reader.clone()
    }

    /// The end of what is durable.
    pub fn durable(&self) -> watch::Receiver<Position> {
        match &self.writer {
            JournalWriter::Here(journal) => journal.durable(),
            JournalWriter::Edge(edge) => edge.durable(),
        }
    }

    /// How the journal is.
    pub fn health(&self) -> LogHealth {
        match &self.writer {
            JournalWriter::Here(journal) => journal.health(),
            JournalWriter::Edge(edge) => edge.health(),
        }
    }

    /// What its writer has written since it was started.
    pub fn written(&self) -> LogCounts {
        match &self.writer {
            JournalWriter::Here(journal) => journal.log().counts(),
            JournalWriter::Edge(edge) => edge.written(),
        }
    }

    /// Its writer, when that is this process.
    pub fn here(&self) -> Option<&Journal> {
        match &self.writer {
            JournalWriter::Here(journal) => Some(journal),
            JournalWriter::Edge(_) => None,
        }
    }

    /// Its writer, when that is the edge.
    pub fn edge(&self) -> Option<&EdgeView> {
        match &self.writer {
            JournalWriter::Here(_) => None,
            JournalWriter::Edge(edge) => Some(edge),
        }
    }

    /// Removes messages for good; how many records there were.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn erase(&self, traces: &[TraceId], who: &str, why: &str) -> Result<u64, String> {
        match &self.writer {
            JournalWriter::Here(journal) => {
                let erased = journal.erase(traces, who, why).await;
                erased.map(|erased| erased.records).map_err(|why| why.to_string())
            }
            JournalWriter::Edge(edge) => edge.erase(traces, who, why).await,
        }
    }

    /// Lets go of the bodies of messages; of how many records.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn collect(&self, traces: &[TraceId], why: &str) -> Result<u64, String> {
        match &self.writer {
            JournalWriter::Here(journal) => {
                let erased = journal.collect(traces, why).await;
                erased.map(|erased| erased.records).map_err(|why| why.to_string())
            }
            JournalWriter::Edge(edge) => edge.collect(traces, why).await,
        }
    }
}

/// What must be there before the edge is started, so that both processes find the same.
pub struct Footing {
    /// The keys of everything stored.
    pub keys: KeyRing,
    /// Makes our trace ids ours.
    pub trace_key: TraceKey,
    /// Who is here, as the configuration says.
    pub directory: Directory,
}

/// Makes and opens what both processes need.
///
/// # Errors
/// When a file cannot be read or written; the text says which and what to do.
pub fn footing(world: &World, configuration: &Configuration) -> Result<Footing> {
    Ok(Footing {
        keys: keys(world, configuration)?,
        trace_key: trace_key(world, configuration)?,
        directory: directory(world, configuration)?,
    })
}

/// The journal, for reading while the edge writes it.
pub fn followed_journal(
    world: &World,
    configuration: &Configuration,
    footing: &Footing,
    edge: &EdgeView,
) -> JournalDesk {
    let dir = log_options(configuration, LogKind::Journal).dir;
    let reader = JournalReader::following(world, footing.keys.clone(), &dir, edge.durable());
    JournalDesk { reader, writer: JournalWriter::Edge(edge.clone()) }
}

/// The journal, for writing in this process.
///
/// # Errors
/// When it cannot be read or written.
pub fn own_journal(
    world: &World,
    configuration: &Configuration,
    footing: &Footing,
    writers: &mut Writers,
) -> Result<JournalDesk> {
    let options = log_options(configuration, LogKind::Journal);
    let (journal, writer, recovery) =
        Journal::open(world, footing.keys.clone(), options).context("opening the journal")?;
    report("journal", &recovery);
    writers.start_log("journal", journal.log(), writer)?;
    Ok(JournalDesk { reader: journal.reader(), writer: JournalWriter::Here(journal) })
}

/// Opens all other stores of a node. Blocks on the disk. The writers run already; the applier must be run, for it makes
/// visible in the mailboxes what their log has confirmed.
///
/// # Errors
/// When a file cannot be read or written; the text says which and what to do.
pub fn open(
    world: &World,
    configuration: &Configuration,
    footing: Footing,
    journal: JournalDesk,
    writers: &mut Writers,
) -> Result<(Stores, Applier)> {
    let Footing { keys, trace_key, directory } = footing;
    let options = log_options(configuration, LogKind::Ledger);
    let (ledger, writer, recovery) =
        Ledger::open(world, keys.clone(), options).context("opening the ledger")?;
    report("ledger", &recovery);
    writers.start_log("ledger", ledger.log(), writer)?;

    let options = MailboxOptions {
        log: log_options(configuration, LogKind::Mailbox),
        view: ViewPlace::File(configuration.node.data.join("mailbox.sqlite")),
        trace_key: Some(trace_key.clone()),
    };
    let bodies: Arc<dyn Bodies> = Arc::new(JournalBodies(journal.reader()));
    let Ready { mailboxes, writer, applier, recovery } =
        Mailboxes::open(world, keys, options, bodies).context("opening the mailboxes")?;
    report("mailbox log", &recovery);
    writers.start_log("mailbox", mailboxes.log(), writer)?;

    Ok((Stores { journal, ledger, mailboxes, directory, trace_key }, applier))
}

/// Opens the directory and brings it up to the configuration.
///
/// # Errors
/// When its files or the account tables cannot be read, with every fault.
pub fn directory(world: &World, configuration: &Configuration) -> Result<Directory> {
    let directory =
        Directory::open(world, configuration.directory_options()).context("opening the directory")?;
    let accounts = configuration.directory_accounts().map_err(|faults| anyhow::anyhow!(faults.join("\n")))?;
    let misfits = directory
        .configure(configuration.directory_domains(), accounts)
        .context("bringing the directory up to the configuration")?;
    for misfit in misfits {
        tracing::warn!(subject = %misfit.subject, "an account added by hand no longer fits: {}", misfit.words);
    }
    Ok(directory)
}

/// The keys that all stored mail is encrypted with.
///
/// # Errors
/// When the key file cannot be read or made.
pub fn keys(world: &World, configuration: &Configuration) -> Result<KeyRing> {
    match &configuration.node.key_file {
        path if path.exists() || path.parent().is_some_and(Path::is_dir) => {
            KeyRing::from_file(path, world.random.as_ref()).context("reading the key file")
        }
        path => bail!(
            "the folder of the key file {} does not exist; make it, or name another key_file",
            path.display()
        ),
    }
}

/// The key that makes our trace ids ours; made at the first start.
///
/// # Errors
/// When its file cannot be read or written.
pub fn trace_key(world: &World, configuration: &Configuration) -> Result<TraceKey> {
    let path = &configuration.node.data.join("trace.key");
    let name = || format!("the key of the trace ids {}", path.display());
    match world.disk.read(path) {
        Ok(bytes) => {
            let key = <[u8; 32]>::try_from(bytes.as_slice());
            Ok(TraceKey(
                key.ok().with_context(|| format!("{} is damaged; restore it from a backup", name()))?,
            ))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            world.random.fill(&mut key);
            world.disk.replace(path, &key).with_context(|| format!("writing {}", name()))?;
            Ok(TraceKey(key))
        }
        Err(e) => Err(e).with_context(|| format!("reading {}", name())),
    }
}

/// Holds the data folder, so that no second node writes in it. One of a later program is left as it is.
///
/// # Errors
/// When another process holds it, or it is of a later program.
pub fn lock(data: &Path) -> Result<stores_log::DirLock> {
    format::check(data)?;
    match FileDisk.lock(data) {
        Ok(lock) => {
            format::note(data)?;
            Ok(lock)
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            let holder = FileDisk.holder(data).map(|pid| format!(" (process {pid})")).unwrap_or_default();
            bail!(
                "another stormpost{holder} uses {}; stop it first, or talk to it with the other commands",
                data.display()
            )
        }
        Err(e) => Err(e).with_context(|| format!("locking {}", data.display())),
    }
}

/// Says what was found when a log was opened.
pub(crate) fn report(log: &str, recovery: &Recovery) {
    if recovery.tail_doubtful {
        tracing::warn!(
            log,
            "the end of the log was torn by a crash; what was acknowledged is whole, the rest is kept aside"
        );
    }
}

/// The bodies of mailboxes, out of a journal.
pub fn journal_bodies(journal: JournalReader) -> Arc<dyn Bodies> {
    Arc::new(JournalBodies(journal))
}

/// Bodies of the mailboxes that stand in the journal.
struct JournalBodies(JournalReader);

impl Bodies for JournalBodies {
    fn open(&self, trace: TraceId, position: stores_log::Position) -> io::Result<MessageReader> {
        let (entry, message) = self.0.read_with_message(position).map_err(io::Error::other)?;
        if entry.accepted.trace != trace {
            return Err(io::Error::other(format!("the journal holds another message at {position}")));
        }
        Ok(Box::new(message))
    }
}
