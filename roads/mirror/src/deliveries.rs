//! What delivery did with one account's messages, as the journal and the ledger tell it.

use crate::replay::Trouble;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use stores_directory::{Resolved, Snapshot};
use stores_journal::JournalReader;
use stores_ledger::{Entry, Ledger, Settlement};
use stores_mailbox::BodyAt;
use tokio::time::Instant;
use words_mail::{AccountId, Address, Destination, Outcome, PrimaryId, Time, TraceId};
use words_world::{Boxed, crash_point};

/// How long what was set aside is waited for: a person may have it sent again, and then what its owner did to it is
/// carried over. Whoever never decides does not hold up for ever what else the owner did.
const UNDECIDED: Duration = Duration::from_secs(24 * 3_600);

/// What became of the delivery of a message to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was handed over, and so long ago that it would be seen if it were there: it was removed there. Or it was never
    /// to be delivered to this person, who sent it: it was filed there, and removed.
    Delivered,
    /// It will never be handed over.
    Never,
}

/// The deliveries to one account at one primary.
pub(crate) trait Deliveries: Send + Sync {
    /// What became of these messages, as far as it is final: handed over long ago, or never to be. One that went to
    /// several people has a fate of its own for each.
    fn fates(&self, missing: &[(TraceId, BodyAt)]) -> HashMap<TraceId, Fate>;

    /// Writes down that a message stands at the primary, where delivery did not hear what became of it. Durable on
    /// return: from then on nobody looks for it, and nobody sends it again.
    fn note_seen<'a>(&'a self, body: BodyAt, folder: &'a str) -> Boxed<'a, Result<(), Trouble>>;
}

/// As the journal and the ledger tell it.
pub(crate) struct Written<'a> {
    pub(crate) journal: &'a JournalReader,
    pub(crate) ledger: &'a Ledger,
    pub(crate) directory: &'a Snapshot,
    pub(crate) primary: &'a PrimaryId,
    pub(crate) account: &'a AccountId,
    pub(crate) now: Time,
    /// How long a message may take from the primary's yes into its mailbox.
    pub(crate) patience: Duration,
    /// Since when messages that the primary said yes to have been missed there: the clock may be set back meanwhile.
    pub(crate) missed: &'a Missed,
}

/// Messages that a primary said yes to and that are not found there, and since when that is known.
pub(crate) type Missed = Mutex<HashMap<TraceId, Instant>>;

impl Deliveries for Written<'_> {
    fn fates(&self, missing: &[(TraceId, BodyAt)]) -> HashMap<TraceId, Fate> {
        let mut fates = HashMap::new();
        let wanted: BTreeSet<TraceId> = missing.iter().map(|(trace, _)| *trace).collect();
        let long_ago = self.now.before(self.patience);
        let a_decision_ago = self.now.before(UNDECIDED);
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        missed.retain(|trace, _| wanted.contains(trace));
        for settlement in self.settlements(&wanted) {
            let fate = match settlement.outcome {
                Outcome::Parked { .. } if settlement.at >= a_decision_ago => None,
                Outcome::Refused { .. }
                | Outcome::Expired { .. }
                | Outcome::Deleted { .. }
                | Outcome::Quarantined { .. }
                | Outcome::Parked { .. } => Some(Fate::Never),
                Outcome::HandedOver { .. } | Outcome::Seen { .. } => {
                    let since = missed.entry(settlement.trace).or_insert_with(Instant::now);
                    let is_long_ago = settlement.at < long_ago || since.elapsed() >= self.patience;
                    is_long_ago.then_some(Fate::Delivered)
                }
                Outcome::Deferred { .. } | Outcome::Unknown => None,
            };
            // The last word counts: a person may have had it sent again.
            match fate {
                Some(fate) => fates.insert(settlement.trace, fate),
                None => fates.remove(&settlement.trace),
            };
        }
        for (trace, body) in missing {
            if let BodyAt::Journal { position, .. } = body
                && !fates.contains_key(trace)
                && let Ok(entry) = self.journal.read(*position)
                && !entry.accepted.envelope.recipients.iter().any(|to| self.is_mine(&to.address))
            {
                fates.insert(*trace, Fate::Delivered);
            }
        }
        fates
    }

    fn note_seen<'a>(&'a self, body: BodyAt, folder: &'a str) -> Boxed<'a, Result<(), Trouble>> {
        Box::pin(self.write_seen(body, folder))
    }
}

impl Written<'_> {
    async fn write_seen(&self, body: BodyAt, folder: &str) -> Result<(), Trouble> {
        let BodyAt::Journal { trace, position } = body else { return Ok(()) };
        let settled: BTreeSet<Address> = self
            .settlements(&BTreeSet::from([trace]))
            .into_iter()
            .filter(|settlement| settlement.outcome.is_final())
            .map(|settlement| settlement.recipient)
            .collect();
        for recipient in self.journal.read(position)?.accepted.envelope.recipients {
            if !self.is_mine(&recipient.address) || settled.contains(&recipient.address) {
                continue;
            }
            let seen = Settlement {
                trace,
                recipient: recipient.address,
                destination: Destination::Primary(self.primary.clone()),
                outcome: Outcome::Seen { folder: folder.to_owned() },
                at: self.now,
                attempt: 0,
            };
            crash_point("mirror.before_seen");
            self.ledger.append(Entry::Settlement(seen)).await?;
            crash_point("mirror.after_seen");
        }
        Ok(())
    }

    /// What is written about these messages for this account at this primary, oldest first.
    fn settlements(&self, wanted: &BTreeSet<TraceId>) -> Vec<Settlement> {
        let Some(oldest) = wanted.iter().map(|trace| trace.time()).min() else { return Vec::new() };
        let reader = self.ledger.reader();
        let Ok(from) = reader.position_at(oldest) else { return Vec::new() };
        let here = Destination::Primary(self.primary.clone());
        let all = reader.settlements(Some(from));
        all.filter(|s| wanted.contains(&s.trace) && s.destination == here && self.is_mine(&s.recipient))
            .collect()
    }

    fn is_mine(&self, recipient: &Address) -> bool {
        matches!(self.directory.resolve(recipient), Resolved::Account { account, .. } if account == *self.account)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Arc;
    use stores_directory::{Account, Class, Domain, Learned, Origin as Listed};
    use stores_journal::{IncomingBody, Journal, KeyRing, LogOptions, NewMessage};
    use stores_log::{FaultDisk, LogKind, TestClock, fault_world};
    use tokio::sync::watch;
    use words_mail::{Envelope, Peer, Recipient, Reply, Sender, Source, Tenant};
    use words_world::World;

    pub(crate) const NOW: Time = Time::from_seconds(1_795_343_827);

    fn address(who: &str) -> Address {
        Address::parse(&format!("{who}@company.example")).unwrap()
    }

    pub(crate) fn directory() -> Snapshot {
        let domain = Domain {
            name: "company.example".into(),
            tenant: Tenant("company".into()),
            primary: Some(PrimaryId("hq".into())),
            authoritative: true,
            catch_all: None,
            postmaster: None,
        };
        let account = |who: &str, alias: &str| Account {
            address: address(who),
            name: String::new(),
            aliases: vec![address(alias)],
            class: Class::Person,
            suspended: false,
            origin: Listed::Added,
        };
        Snapshot::build(1, &[domain], vec![account("anna", "a"), account("bert", "b")], Learned::default()).0
    }

    /// A message for an alias of Anna and for Bert.
    pub(crate) fn message(trace: TraceId) -> NewMessage {
        let envelope = Envelope {
            sender: Sender::NOBODY,
            recipients: vec![Recipient::new(address("a")), Recipient::new(address("bert"))],
            eight_bit: false,
            utf8: false,
            ret: None,
            envid: None,
            source: Source::Edge,
            peer: Peer {
                ip: "192.0.2.1".parse().unwrap(),
                helo: "x".into(),
                protocol: "ESMTP".into(),
                tls: None,
                account: None,
                name: None,
                port: None,
            },
        };
        let body = IncomingBody::Inline(b"Subject: x\r\n\r\n".to_vec());
        let (tenant, primary) = (Tenant("company".into()), Some(PrimaryId("hq".into())));
        NewMessage {
            trace,
            tenant,
            primary,
            envelope,
            verdict: serde_json::Value::Null,
            prefix: String::new(),
            body,
        }
    }

    pub(crate) fn settled(trace: TraceId, who: &str, outcome: Outcome) -> Entry {
        Entry::Settlement(Settlement {
            trace,
            recipient: address(who),
            destination: Destination::Primary(PrimaryId("hq".into())),
            outcome,
            at: NOW,
            attempt: 1,
        })
    }

    /// A journal and a ledger on a disk of their own; their writers end with it.
    pub(crate) struct Logs {
        pub(crate) world: World,
        pub(crate) journal: Journal,
        pub(crate) ledger: Ledger,
        _stop: watch::Sender<bool>,
    }

    pub(crate) fn logs() -> Logs {
        let world = fault_world(&FaultDisk::new(1), &Arc::new(TestClock::new(NOW)), 1);
        let options = |dir: &str, kind| LogOptions { reserve_bytes: 0, ..LogOptions::new(dir, kind, "node") };
        let keys = KeyRing::new([1; 32], &[]);
        let (journal, pen, _) =
            Journal::open(&world, keys.clone(), options("/journal", LogKind::Journal)).unwrap();
        let (ledger, other_pen, _) = Ledger::open(&world, keys, options("/ledger", LogKind::Ledger)).unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(pen.run(stopped.clone()));
        tokio::spawn(other_pen.run(stopped));
        Logs { world, journal, ledger, _stop: stop }
    }

    #[tokio::test(start_paused = true)]
    async fn each_person_has_a_fate_of_their_own_and_what_was_seen_is_written_down_once() {
        let Logs { journal, ledger, .. } = &logs();
        let trace = journal.trace_id();
        let position = journal.accept(message(trace)).await.unwrap().position;
        let (directory, hq, reader) = (directory(), PrimaryId("hq".into()), journal.reader());
        let (anna, bert) = (AccountId::new("anna@company.example"), AccountId::new("bert@company.example"));
        let missed = Missed::default();
        let of = |account| Written {
            journal: &reader,
            ledger,
            directory: &directory,
            primary: &hq,
            account,
            now: NOW.after(Duration::from_secs(3_600)),
            patience: Duration::from_secs(600),
            missed: &missed,
        };
        let yes = Outcome::HandedOver { reply: Reply::new(250, (2, 0, 0), "ok") };
        let no = Outcome::Refused { reply: Reply::new(550, (5, 2, 1), "disabled"), bounced: false };
        ledger.append(settled(trace, "bert", yes)).await.unwrap();
        let asked = [(trace, BodyAt::Journal { trace, position })];
        assert_eq!(of(&anna).fates(&asked).get(&trace), None, "Bert's delivery says nothing about Anna's");
        let cara = AccountId::new("cara@company.example");
        let fate = of(&cara).fates(&asked).get(&trace).copied();
        assert_eq!(fate, Some(Fate::Delivered), "nobody delivers to Cara what she sent to others");

        let message = BodyAt::Journal { trace, position };
        of(&bert).note_seen(message, "INBOX").await.unwrap();
        assert_eq!(ledger.reader().settlements(None).count(), 1, "Bert's is settled");
        of(&anna).note_seen(message, "INBOX").await.unwrap();
        of(&anna).note_seen(message, "INBOX").await.unwrap();
        let all: Vec<Settlement> = ledger.reader().settlements(None).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (&all[1].recipient, &all[1].outcome),
            (&address("a"), &Outcome::Seen { folder: "INBOX".into() })
        );
        ledger.append(settled(trace, "a", no)).await.unwrap();
        assert_eq!(of(&anna).fates(&asked).get(&trace), Some(&Fate::Never));
        assert_eq!(of(&bert).fates(&asked).get(&trace), Some(&Fate::Delivered));

        let parked = Outcome::Parked { reason: "nobody knows".into() };
        ledger.append(settled(trace, "a", parked)).await.unwrap();
        assert_eq!(of(&anna).fates(&asked).get(&trace), None, "somebody may have it sent again");
        let next_day = Written { now: NOW.after(UNDECIDED + Duration::from_secs(1)), ..of(&anna) };
        assert_eq!(next_day.fates(&asked).get(&trace), Some(&Fate::Never));

        // The clock was set back since: only how long it has been missed tells.
        let before = Written { now: NOW, missed: &Missed::default(), ..of(&bert) };
        assert_eq!(before.fates(&asked).get(&trace), None);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(before.fates(&asked).get(&trace), Some(&Fate::Delivered));
    }
}
