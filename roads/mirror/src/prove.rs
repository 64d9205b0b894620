//! The proof of an event: made by the road at its end, and by whoever asks for it at any time.

use crate::doors::{Doors, Right};
use crate::promises::{promises, sightings};
use crate::road::MirrorParts;
use crate::unsettled::Unsettled;
use crate::witness::{Case, Promise, Report, Sighting, reconcile};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use stores_directory::Snapshot;
use stores_journal::{Accepted, AppendError, JournalReader, ReadError};
use stores_ledger::{Entry, Ledger, Reconciliation};
use stores_primary::store::StoreError;
use tokio::sync::watch;
use tokio::time::Instant;
use words_mail::{AccountId, Address, Event, Outcome, PrimaryId, Time, TraceId};
use words_world::{World, crash_point};

/// Why a reconciliation could not be made now.
#[derive(Debug, thiserror::Error)]
pub enum Unproved {
    /// Journal or ledger cannot be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The primary does not tell.
    #[error("the primary: {0}")]
    Primary(#[from] StoreError),
    /// The comparison was made and could not be written down.
    #[error("the ledger: {0}")]
    Ledger(#[from] AppendError),
    /// Delivery is still at work.
    #[error("{0} messages are not settled yet")]
    Unsettled(usize),
    /// They may still be on their way inside the primary.
    #[error("{0} messages are not seen in the primary's mailboxes yet")]
    Unseen(usize),
    /// The mirror is still at work.
    #[error("changes of people are not carried over yet")]
    NotCarried,
}

/// How far a comparison has come.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// So many messages were promised.
    Promised(usize),
    /// An account is being looked into.
    Looking {
        /// Whose.
        account: &'a AccountId,
        /// The how many-th it is, from 1.
        nth: usize,
        /// Of how many.
        of: usize,
    },
}

/// Hears how far a comparison has come.
pub type Hear<'a> = &'a mut (dyn FnMut(Progress<'_>) + Send);

/// Who keeps what is not delivered yet: whether a message still waits for a recipient. `None`: not known at the moment.
pub type Waits = Arc<dyn Fn(TraceId, &Address) -> Option<bool> + Send + Sync>;

/// What was accepted a moment ago may not have been taken up by those who keep the queue.
const TAKEN_UP: Duration = Duration::from_secs(60);

/// Compares what was promised in an event with what stands in the primary. Cheap to clone.
#[derive(Clone)]
pub struct Prover {
    world: World,
    journal: JournalReader,
    ledger: Ledger,
    directory: watch::Receiver<Arc<Snapshot>>,
    doors: Arc<dyn Doors>,
    margin: Duration,
    waits: Option<Waits>,
}

/// What was promised in an event.
pub(crate) struct Promised {
    from: Time,
    until: Time,
    promises: Vec<Promise>,
}

impl Promised {
    /// How many are neither settled nor Sent copies, which nobody settles.
    pub(crate) fn unsettled(&self) -> usize {
        let open = |p: &&Promise| !p.written_here && !p.last.as_ref().is_some_and(Outcome::is_final);
        self.promises.iter().filter(open).count()
    }
}

impl Prover {
    /// One that looks at what the road looks at.
    pub fn new(parts: &MirrorParts) -> Prover {
        Prover {
            world: parts.world.clone(),
            journal: parts.journal.clone(),
            ledger: parts.ledger.clone(),
            directory: parts.directory.clone(),
            doors: parts.doors.clone(),
            margin: parts.options.margin,
            waits: None,
        }
    }

    /// The same, knowing what waits. Without this all that is not settled counts as waiting in an event that is open
    /// and as lost at its end.
    pub fn asking(self, waits: Waits) -> Prover {
        Prover { waits: Some(waits), ..self }
    }

    /// Compares at once, whatever state the event is in, and says so while it goes on. Of a closed event the outcome is
    /// written down; of an open one it is only told, for that proof is the road's own and ends the event.
    ///
    /// # Errors
    /// When something cannot be read or written.
    pub async fn reconcile_now(&self, event: &Event, hear: Hear<'_>) -> Result<Report, Unproved> {
        let open = event.closed.is_none();
        let promised = self.promised(event, event.closed, open, !open).await?;
        let report = self.compare(event, promised, hear).await?;
        if event.closed.is_some() {
            self.write_down(event, &report).await?;
        }
        Ok(report)
    }

    /// What was promised in an event until its end, or until now. `open`: where nobody can say, it waits. `carried`: what
    /// people wrote here is not on its way any more.
    pub(crate) async fn promised(
        &self,
        event: &Event,
        until: Option<Time>,
        open: bool,
        carried: bool,
    ) -> Result<Promised, ReadError> {
        let now = self.world.clock.now();
        let until = until.unwrap_or(now);
        let from = self.begin_of(event);
        let directory = self.directory.borrow().clone();
        let reader = self.ledger.reader();
        let waits = |accepted: &Accepted, recipient: &Address, written_here: bool| match &self.waits {
            _ if written_here => !carried,
            Some(_) if now.since(accepted.at) < TAKEN_UP => true,
            Some(waits) => waits(accepted.trace, recipient).unwrap_or(true),
            None => open,
        };
        let span = (from, until);
        let promises = promises(&self.journal, &reader, &directory, &event.primary, span, &waits).await?;
        Ok(Promised { from, until, promises })
    }

    /// What of an event is not settled, to be followed.
    pub(crate) fn unsettled(&self, event: &Event, until: Time) -> Result<Unsettled, ReadError> {
        let span = (self.begin_of(event), until);
        Unsettled::new(&self.journal, &self.ledger.reader(), &event.primary, span)
    }

    /// From when on messages count as of an event.
    fn begin_of(&self, event: &Event) -> Time {
        event.began.min(event.opened).before(self.margin)
    }

    /// Looks into the primary and compares.
    pub(crate) async fn compare(
        &self,
        event: &Event,
        promised: Promised,
        hear: Hear<'_>,
    ) -> Result<Report, Unproved> {
        let Promised { from, until, mut promises } = promised;
        hear(Progress::Promised(promises.len()));
        let began = Instant::now();
        let found = self.look(&event.primary, &promises, hear).await?;
        if found.is_none() {
            // Without a way into the mailboxes nobody promised to file there what people wrote here.
            promises.retain(|promise| !promise.written_here);
        }
        let looked = self.world.clock.now();
        let case = Case { event: event.id, primary: event.primary.clone(), from, until, looked };
        let mut report = reconcile(&case, &promises, found.as_deref());
        report.measured = measured(event, looked, began.elapsed());
        Ok(report)
    }

    /// Looks into every account that was promised something; `None` when nobody may look.
    async fn look(
        &self,
        primary: &PrimaryId,
        promises: &[Promise],
        hear: Hear<'_>,
    ) -> Result<Option<Vec<Sighting>>, StoreError> {
        let accounts: BTreeSet<&AccountId> = promises.iter().map(|promise| &promise.account).collect();
        let mut found = Vec::new();
        for (at, account) in accounts.iter().enumerate() {
            hear(Progress::Looking { account, nth: at + 1, of: accounts.len() });
            let Some(mut store) = self.doors.enter(primary, account, Right::Look).await? else {
                return Ok(None);
            };
            sightings(store.as_mut(), account, &mut found).await?;
            store.leave().await;
        }
        Ok(Some(found))
    }

    /// Writes a comparison into the ledger.
    pub(crate) async fn write_down(&self, event: &Event, report: &Report) -> Result<(), AppendError> {
        let value = serde_json::to_value(report).unwrap_or_default();
        let entry = Entry::Reconciliation(Reconciliation {
            at: report.looked,
            event: event.id,
            primary: event.primary.clone(),
            clean: report.is_clean(),
            report: value,
        });
        crash_point("mirror.before_reconciliation");
        self.ledger.append(entry).await?;
        crash_point("mirror.after_reconciliation");
        Ok(())
    }
}

/// The times of an event, seconds. A look at one that is over does not make its way back longer.
fn measured(event: &Event, looked: Time, took: Duration) -> BTreeMap<String, f64> {
    let proved = event.closed.map_or(looked, |closed| closed.min(looked));
    BTreeMap::from([
        ("began_to_opened".to_owned(), event.opened.since(event.began).as_secs_f64()),
        ("opened_to_reconciled".to_owned(), proved.since(event.opened).as_secs_f64()),
        ("reconciliation".to_owned(), took.as_secs_f64()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use words_mail::Reply;

    #[test]
    fn a_look_at_an_event_that_is_over_does_not_make_it_longer() {
        let mut event = Event {
            id: words_mail::EventId(1),
            primary: words_mail::PrimaryId("hq".into()),
            opened_by: words_mail::OrderNumber(1),
            opened: Time::from_seconds(220),
            began: Time::from_seconds(100),
            returned_by: None,
            closed_by: None,
            closed: None,
            planes: Vec::new(),
        };
        let way_back = |event: &Event, looked| measured(event, Time::from_seconds(looked), Duration::ZERO)["opened_to_reconciled"];
        assert!((way_back(&event, 1_220) - 1_000.0).abs() < 1e-9);
        event.closed = Some(Time::from_seconds(1_221));
        assert!((way_back(&event, 1_220) - 1_000.0).abs() < 1e-9);
        assert!((way_back(&event, 90_000) - 1_001.0).abs() < 1e-9);
    }

    #[test]
    fn what_a_person_wrote_is_not_waited_for_and_what_they_received_is() {
        let promise = |last, written_here| Promise {
            stamp: "A".into(),
            at: Time(1),
            from: "anna@company.example".into(),
            to: Address::parse("anna@company.example").unwrap(),
            account: AccountId::new("anna@company.example"),
            last,
            written_here,
            waits: false,
        };
        let yes = Outcome::HandedOver { reply: Reply::new(250, (2, 0, 0), "ok") };
        let cases =
            [(None, true, 0), (None, false, 1), (Some(Outcome::Unknown), false, 1), (Some(yes), false, 0)];
        for (last, written_here, unsettled) in cases {
            let promises = vec![promise(last.clone(), written_here)];
            let promised = Promised { from: Time(0), until: Time(2), promises };
            assert_eq!(promised.unsettled(), unsettled, "{last:?}");
        }
    }
}
