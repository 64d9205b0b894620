//! Reading the ledger.

use crate::entry::{Entry, Settlement, kind};
use crate::in_force::InForce;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use stores_log::{Damage, KeyRing, LogKind, Position, ReadError, Reader, Record, Scan};
use words_mail::Time;
use words_world::World;

/// How far an entry's time and its segment's may differ, because clocks jump.
const CLOCK_SLACK: Duration = Duration::from_secs(3_600);

/// What was in force at one moment, so that a start need not read all orders.
#[derive(Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// What stands before this is in it.
    pub(crate) since: Position,
    pub(crate) in_force: InForce,
}

/// One entry with where and when it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Entered {
    /// Where it stands.
    pub position: Position,
    /// Where the next one stands.
    pub next: Position,
    /// Its sequence number.
    pub seq: u64,
    /// When it was written.
    pub at: Time,
    /// What it says.
    pub entry: Entry,
}

/// Reads the ledger, in the process that writes it or in another. Cheap to clone; calls block on the disk.
#[derive(Clone)]
pub struct LedgerReader {
    reader: Reader,
    durable: bool,
}

impl LedgerReader {
    pub(crate) fn new(reader: Reader) -> LedgerReader {
        LedgerReader { reader, durable: true }
    }

    /// A reader of the ledger in `dir`, whichever process writes it.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open(world: &World, keys: KeyRing, dir: &Path) -> Result<LedgerReader, ReadError> {
        Ok(LedgerReader { reader: Reader::open(world, keys, dir, LogKind::Ledger)?, durable: false })
    }

    /// All entries from a position on, or from the first, in order.
    pub fn scan(&self, from: Option<Position>) -> LedgerScan {
        self.scan_kinds(from, &kind::ENTRIES)
    }

    /// Orders and requests only.
    pub fn scan_orders(&self, from: Option<Position>) -> LedgerScan {
        self.scan_kinds(from, &[kind::ORDER, kind::REQUEST])
    }

    /// Orders, requests, reconciliations and notices only: what is to be told, and what was told.
    pub fn scan_notices(&self, from: Option<Position>) -> LedgerScan {
        self.scan_kinds(from, &[kind::ORDER, kind::REQUEST, kind::NOTICE, kind::RECONCILIATION])
    }

    /// What people did with the content of mail only.
    pub fn scan_content(&self, from: Option<Position>) -> LedgerScan {
        self.scan_kinds(from, &[kind::CONTENT_ACT])
    }

    /// Settlements, what people did to the queue, and restorings only: what delivery reads at its start.
    pub fn scan_settlements(&self, from: Option<Position>) -> LedgerScan {
        self.scan_kinds(from, &[kind::SETTLEMENT, kind::QUEUE_ACT, kind::RESTORED])
    }

    /// Restorings only.
    pub fn scan_restored(&self, from: Option<Position>) -> LedgerScan {
        self.scan_kinds(from, &[kind::RESTORED])
    }

    /// Observations and heartbeats only.
    pub fn scan_observations(&self, from: Option<Position>) -> LedgerScan {
        self.scan_kinds(from, &[kind::OBSERVATION, kind::HEARTBEAT])
    }

    /// Reconciliations and the reports that close events only.
    pub fn scan_reports(&self, from: Option<Position>) -> LedgerScan {
        self.scan_kinds(from, &[kind::RECONCILIATION, kind::EVENT_REPORT])
    }

    /// Every settlement from a position on, up to where the ledger cannot be read: a scan that fails stays where it is
    /// and would fail for ever.
    pub fn settlements(&self, from: Option<Position>) -> impl Iterator<Item = Settlement> {
        let readable = self.scan_kinds(from, &[kind::SETTLEMENT]).map_while(Result::ok);
        readable.filter_map(|entered| match entered.entry {
            Entry::Settlement(settlement) => Some(settlement),
            _ => None,
        })
    }

    /// A position before every entry written at `from` or later, for a scan of a range of time: filter what the scan
    /// gives by `at`.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn position_at(&self, from: Time) -> Result<Position, ReadError> {
        let times = self.reader.segment_times()?;
        let wanted = from.before(CLOCK_SLACK);
        // The last segment begun before the range may hold its first entries. The earliest such boundary counts:
        // after a jump of the clock a later segment may seem older.
        let first_inside = times.iter().position(|(_, created)| *created >= wanted).unwrap_or(times.len());
        let number = times.get(first_inside.saturating_sub(1)).map_or(0, |(number, _)| *number);
        Ok(Position { segment: number, offset: 0 })
    }

    /// The entries written from `from` until before `to`.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn between(
        &self,
        from: Time,
        to: Time,
    ) -> Result<impl Iterator<Item = Result<Entered, ReadError>>, ReadError> {
        let scan = self.scan(Some(self.position_at(from)?));
        Ok(scan
            .take_while(move |entered| {
                entered.as_ref().map_or(true, |entered| entered.at < to.after(CLOCK_SLACK))
            })
            .filter(move |entered| {
                entered.as_ref().map_or(true, |entered| entered.at >= from && entered.at < to)
            }))
    }

    /// What is in force by what stands in the ledger now, and up to where it was read.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn in_force(&self) -> Result<(InForce, Position), ReadError> {
        let mut in_force = InForce::default();
        let mut from = None;
        for segment in self.reader.segments()?.into_iter().rev() {
            let start = Position { segment, offset: 0 };
            let mut newest = None;
            let end = Position { segment: segment + 1, offset: 0 };
            for record in self.raw(Some(start), &[kind::CHECKPOINT]).until(end) {
                newest = serde_json::from_slice::<Checkpoint>(&record?.meta).ok().or(newest);
            }
            if let Some(checkpoint) = newest {
                in_force = checkpoint.in_force;
                from = Some(checkpoint.since);
                break;
            }
        }
        let read_to = self.advance(&mut in_force, from.unwrap_or_default())?;
        Ok((in_force, read_to))
    }

    /// Adds to `in_force` what stands from `from` on; returns where it stopped.
    pub(crate) fn advance(&self, in_force: &mut InForce, from: Position) -> Result<Position, ReadError> {
        let mut scan = self.scan_orders(Some(from));
        for entered in &mut scan {
            let entered = entered?;
            match &entered.entry {
                Entry::Order(order) => in_force.obey(order),
                Entry::Request(request) => in_force.request(entered.seq, request),
                _ => {}
            }
        }
        Ok(scan.position())
    }

    /// The log underneath.
    pub fn log_reader(&self) -> &Reader {
        &self.reader
    }

    fn scan_kinds(&self, from: Option<Position>, kinds: &[u8]) -> LedgerScan {
        LedgerScan { scan: self.raw(from, kinds) }
    }

    fn raw(&self, from: Option<Position>, kinds: &[u8]) -> Scan {
        let scan = if self.durable { self.reader.scan_durable(from) } else { self.reader.scan(from) };
        scan.of_kinds(kinds)
    }
}

fn entered(record: &Record) -> Option<Entered> {
    if record.erased.is_some() {
        return None;
    }
    match serde_json::from_slice(&record.meta) {
        Ok(entry) => Some(Entered {
            position: record.position,
            next: record.next,
            seq: record.seq,
            at: record.at,
            entry,
        }),
        Err(error) => {
            tracing::warn!(position = %record.position, %error, "a ledger entry could not be understood");
            None
        }
    }
}

/// Goes through entries of the ledger; at the end it gives `None` and may be asked again later.
pub struct LedgerScan {
    scan: Scan,
}

impl LedgerScan {
    /// Where the scan goes on.
    pub fn position(&self) -> Position {
        self.scan.position()
    }

    /// The ranges that were passed over because no whole record is in them.
    pub fn damage(&self) -> &[Damage] {
        self.scan.damage()
    }
}

impl Iterator for LedgerScan {
    type Item = Result<Entered, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.scan.next()? {
                Ok(record) => {
                    if let Some(entered) = entered(&record) {
                        return Some(Ok(entered));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
