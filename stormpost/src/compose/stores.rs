//! Opening what is remembered: the three logs, the directory, the keys.

use super::writers::Writers;
use crate::configuration::Configuration;
use anyhow::{Context, Result, bail};
use std::io;
use std::path::Path;
use std::sync::Arc;
use stores_directory::Directory;
use stores_journal::{Journal, JournalReader};
use stores_ledger::Ledger;
use stores_log::{FileDisk, KeyRing, LogKind, LogOptions, Recovery};
use stores_mailbox::{Applier, Bodies, MailboxOptions, Mailboxes, MessageReader, Ready, ViewPlace};
use words_mail::{TraceId, TraceKey};
use words_world::World;

/// Everything a node remembers.
pub struct Stores {
    /// Every accepted message.
    pub journal: Journal,
    /// The journal, for reading.
    pub reader: JournalReader,
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

/// Opens all stores of a node. Blocks on the disk. The writers run already; the applier must be run, for it makes visible
/// in the mailboxes what their log has confirmed.
///
/// # Errors
/// When a file cannot be read or written; the text says which and what to do.
pub fn open(world: &World, configuration: &Configuration) -> Result<(Stores, Writers, Applier)> {
    let data = &configuration.node.data;
    let keys = keys(world, configuration)?;
    let trace_key = trace_key(world, &data.join("trace.key"))?;
    let mut writers = Writers::default();

    let options = log_options(configuration, LogKind::Journal);
    let (journal, writer, recovery) =
        Journal::open(world, keys.clone(), options).context("opening the journal")?;
    report("journal", &recovery);
    writers.start_log("journal", journal.log(), writer)?;
    let reader = journal.reader();

    let options = log_options(configuration, LogKind::Ledger);
    let (ledger, writer, recovery) =
        Ledger::open(world, keys.clone(), options).context("opening the ledger")?;
    report("ledger", &recovery);
    writers.start_log("ledger", ledger.log(), writer)?;

    let options = MailboxOptions {
        log: log_options(configuration, LogKind::Mailbox),
        view: ViewPlace::File(data.join("mailbox.sqlite")),
        trace_key: Some(trace_key.clone()),
    };
    let bodies: Arc<dyn Bodies> = Arc::new(JournalBodies(reader.clone()));
    let Ready { mailboxes, writer, applier, recovery } =
        Mailboxes::open(world, keys, options, bodies).context("opening the mailboxes")?;
    report("mailbox log", &recovery);
    writers.start_log("mailbox", mailboxes.log(), writer)?;

    let directory = directory(world, configuration)?;
    let stores = Stores { journal, reader, ledger, mailboxes, directory, trace_key };
    Ok((stores, writers, applier))
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

fn trace_key(world: &World, path: &Path) -> Result<TraceKey> {
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

/// Holds the data folder, so that no second node writes in it.
///
/// # Errors
/// When another process holds it.
pub fn lock(data: &Path) -> Result<stores_log::DirLock> {
    match FileDisk.lock(data) {
        Ok(lock) => Ok(lock),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            bail!(
                "another stormpost uses {}; stop it first, or talk to it with the other commands",
                data.display()
            )
        }
        Err(e) => Err(e).with_context(|| format!("locking {}", data.display())),
    }
}

fn report(log: &str, recovery: &Recovery) {
    if recovery.tail_doubtful {
        tracing::warn!(
            log,
            "the end of the log was torn by a crash; what was acknowledged is whole, the rest is kept aside"
        );
    }
}

/// Bodies of the mailboxes that stand in the journal.
struct JournalBodies(JournalReader);

impl Bodies for JournalBodies {
    fn open(&self, trace: TraceId, position: stores_log::Position) -> io::Result<MessageReader> {
        let entry = self.0.read(position).map_err(io::Error::other)?;
        if entry.accepted.trace != trace {
            return Err(io::Error::other(format!("the journal holds another message at {position}")));
        }
        let message = self.0.message(&entry).map_err(io::Error::other)?;
        Ok(Box::new(message))
    }
}
