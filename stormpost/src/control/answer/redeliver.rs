//! What a primary lost after it had said yes is handed over again: looked for first, and ordered in the ledger, where delivery
//! reads it, asks once more, and sends.

use super::{Answers, Caller, Ended, No, off_loop, reason};
use crate::control::protocol::{Item, RedeliverStanding, Redelivered};
use roads_deliver::{Answer, Question};
use std::collections::{BTreeMap, HashMap};
use stores_directory::Resolved;
use stores_ledger::{Act, Entry, QueueAct};
use stores_log::Position;
use words_mail::{AccountId, Address, Destination, Outcome, PrimaryId, Time, TraceId};

/// Messages that are looked for at once.
const BATCH: usize = 500;
/// Messages that one call looks for; more are asked for in several calls, of an account or a time each.
const MOST: usize = 1_000_000;
/// What is written down without waiting for the disk each time.
const ACTS_AT_ONCE: usize = 256;

/// What is asked for.
pub(crate) struct Wanted {
    pub(crate) since: Time,
    pub(crate) primary: Option<PrimaryId>,
    pub(crate) account: Option<AccountId>,
    pub(crate) dry: bool,
    pub(crate) reason: String,
}

/// A message that was handed over for one recipient.
struct Handed {
    trace: TraceId,
    recipient: Address,
    settled: Time,
    /// It is being handed over again already.
    under_way: bool,
    account: Option<AccountId>,
    position: Option<Position>,
}

/// How many ended how.
#[derive(Default)]
struct Counts {
    there: usize,
    missing: usize,
    others: BTreeMap<&'static str, usize>,
}

impl Answers {
    pub(crate) async fn redeliver(&self, wanted: Wanted, caller: &Caller) -> Ended {
        let primary = self.primary(wanted.primary.as_ref())?;
        let why = reason(&wanted.reason)?;
        if why.is_empty() && !wanted.dry {
            return Err(No::wrong("say why: --reason; it is written down with your name and the time"));
        }
        let ask = self.parts.ask.clone();
        let (this, of, account, since) = (self.clone(), primary.clone(), wanted.account, wanted.since);
        caller.progress("reading what was handed over".to_owned()).await?;
        let handed = off_loop(move || this.handed_over(&of, since, account.as_ref())).await?;
        let all = handed.len();
        let mut counts = Counts::default();
        let mut rest = Vec::new();
        for one in handed {
            match self.standing(&one) {
                Some(standing) => counts.list(one, standing, caller).await?,
                None => rest.push(one),
            }
        }
        // Of one account together: its mailbox is opened once for each batch.
        rest.sort_by(|a, b| a.account.cmp(&b.account));
        let mut looked = 0;
        let mut rest = rest.into_iter();
        loop {
            let batch: Vec<Handed> = rest.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            looked += batch.len();
            let questions: Vec<Question> = batch
                .iter()
                .map(|one| Question {
                    trace: one.trace,
                    recipient: one.recipient.clone(),
                    account: one.account.clone(),
                })
                .collect();
            let answers = ask.ask(&primary, &questions).await;
            let mut missing = Vec::new();
            for (one, answer) in batch.into_iter().zip(answers) {
                match answer {
                    Answer::Found { .. } => counts.there += 1,
                    Answer::NotFound => missing.push(one),
                    Answer::CannotTell(why) => {
                        counts.list(one, RedeliverStanding::CannotTell { why }, caller).await?;
                    }
                }
            }
            if !wanted.dry {
                self.order(&primary, &missing, &why, &caller.by).await?;
            }
            for one in missing {
                counts.list(one, RedeliverStanding::Missing, caller).await?;
            }
            caller.progress(format!("looked for {looked} of {all}; {} are missing", counts.missing)).await?;
        }
        Ok(counts.words(all, &primary, wanted.dry))
    }

    /// What need not be looked for.
    fn standing(&self, one: &Handed) -> Option<RedeliverStanding> {
        if one.under_way {
            return Some(RedeliverStanding::UnderWay);
        }
        if one.position.is_none() {
            return Some(RedeliverStanding::NotKept);
        }
        let Some(account) = &one.account else {
            let why = "nobody knows whose mailbox to look into".to_owned();
            return Some(RedeliverStanding::CannotTell { why });
        };
        // Whoever removed it here does not want it back there.
        let copies = self.parts.mailboxes.copies(account, one.trace).ok()?;
        let folders = self.parts.mailboxes.folders(account).unwrap_or_default();
        let trash = |id| {
            folders
                .iter()
                .any(|folder| folder.id == id && folder.special == Some(stores_mailbox::SpecialUse::Trash))
        };
        copies.iter().all(|(id, _)| trash(*id)).then_some(RedeliverStanding::RemovedHere)
    }

    /// Everything that was handed over to a primary since then, each recipient once. Blocks.
    fn handed_over(
        &self,
        primary: &PrimaryId,
        since: Time,
        account: Option<&AccountId>,
    ) -> Result<Vec<Handed>, No> {
        let reader = self.parts.ledger.reader();
        let from = reader.position_at(since).map_err(No::failed)?;
        let to = Destination::Primary(primary.clone());
        let mut last: HashMap<(TraceId, Address), (Time, bool)> = HashMap::new();
        for entered in reader.scan_settlements(Some(from)) {
            match entered.map_err(No::failed)?.entry {
                Entry::Settlement(one) if one.destination == to && one.outcome.is_final() => {
                    let handed = matches!(one.outcome, Outcome::HandedOver { .. } | Outcome::Seen { .. });
                    let key = (one.trace, one.recipient);
                    if handed && one.at >= since {
                        last.insert(key, (one.at, false));
                    } else {
                        last.remove(&key);
                    }
                }
                Entry::QueueAct(QueueAct {
                    act: Act::Redeliver { .. },
                    trace: Some(trace),
                    recipient: Some(recipient),
                    at,
                    ..
                }) => {
                    last.insert((trace, recipient), (at, true));
                }
                _ => {}
            }
            if last.len() > MOST {
                let words = format!(
                    "more than {MOST} messages were handed over since then; ask for an account, or a later time"
                );
                return Err(No::wrong(words));
            }
        }
        let directory = self.parts.directory.snapshot();
        let mut handed: Vec<Handed> = last
            .into_iter()
            .map(|((trace, recipient), (settled, under_way))| {
                let account = match directory.resolve(&recipient) {
                    Resolved::Account { account, .. } => Some(account),
                    _ => None,
                };
                Handed { trace, recipient, settled, under_way, account, position: None }
            })
            .filter(|one| account.is_none_or(|account| one.account.as_ref() == Some(account)))
            .collect();
        handed.sort_by_key(|one| (one.trace, one.recipient.key()));
        self.place(&mut handed)?;
        Ok(handed)
    }

    /// Finds the messages in the journal; those whose bodies were let go are not there any more.
    fn place(&self, handed: &mut [Handed]) -> Result<(), No> {
        let Some(earliest) = handed.iter().map(|one| one.trace.time()).min() else { return Ok(()) };
        let journal = self.parts.journal.reader();
        let from = journal.position_at(earliest).map_err(No::failed)?;
        for entry in journal.scan(Some(from)) {
            let entry = entry.map_err(No::failed)?;
            let trace = entry.accepted.trace;
            let at = handed.partition_point(|one| one.trace < trace);
            for one in handed[at..].iter_mut().take_while(|one| one.trace == trace) {
                one.position = Some(entry.position);
            }
        }
        Ok(())
    }

    /// Writes down that these are to be handed over again; durable on return.
    async fn order(&self, primary: &PrimaryId, missing: &[Handed], reason: &str, by: &str) -> Result<(), No> {
        for part in missing.chunks(ACTS_AT_ONCE) {
            let acts = part.iter().filter_map(|one| {
                Some(Entry::QueueAct(QueueAct {
                    at: self.now(),
                    by: by.to_owned(),
                    reason: reason.to_owned(),
                    act: Act::Redeliver { position: one.position? },
                    trace: Some(one.trace),
                    recipient: Some(one.recipient.clone()),
                    destination: Some(Destination::Primary(primary.clone())),
                }))
            });
            for act in acts {
                self.parts.ledger.append(act).await.map_err(No::failed)?;
            }
        }
        Ok(())
    }
}

impl Counts {
    async fn list(&mut self, one: Handed, standing: RedeliverStanding, caller: &Caller) -> Result<(), No> {
        match &standing {
            RedeliverStanding::Missing => self.missing += 1,
            other => *self.others.entry(other.words()).or_default() += 1,
        }
        let item = Redelivered { trace: one.trace, recipient: one.recipient, settled: one.settled, standing };
        caller.item(Item::Redelivered(item)).await
    }

    fn words(&self, all: usize, primary: &PrimaryId, dry: bool) -> String {
        let Counts { there, missing, others } = self;
        let done = match (missing, dry) {
            (0, _) => "none is missing".to_owned(),
            (missing, true) => format!("{missing} are missing; nothing was done"),
            (missing, false) => format!(
                "{missing} are missing and are handed over again: each is asked about once more, and sent after the primary's \
                 own queue time"
            ),
        };
        let others: String = others.iter().map(|(words, count)| format!("; {count} {words}")).collect();
        format!("of {all} messages handed over to {primary}, {there} are there; {done}{others}")
    }
}
