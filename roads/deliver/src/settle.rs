//! The end of an errand: what the sender is told, what the mailbox shows, and the settlement in the ledger.

use crate::door::{Letter, NotTaken};
use crate::dsn::{self, Kind, Report};
use crate::queue::Key;
use crate::road::Road;
use crate::route;
use std::io::{Cursor, Read};
use std::sync::Arc;
use std::time::Duration;
use stores_journal::JournalEntry;
use stores_ledger::{Entry, Settlement};
use stores_mailbox::{Arrival, By, INBOX, MailboxError, SpecialUse, UidRanges};
use tokio::time::sleep;
use words_mail::{AccountId, Address, Destination, Outcome, Recipient, Reply, Sender, Time, TraceId};
use words_world::crash_point;

/// The longest pause between two tries to write a settlement, or what goes with one.
const PAUSE_MOST: Duration = Duration::from_secs(10);

/// One item that is to be settled.
pub(crate) struct ToSettle {
    pub(crate) key: Key,
    pub(crate) trace: TraceId,
    pub(crate) recipient: Address,
    pub(crate) destination: Destination,
    pub(crate) account: Option<AccountId>,
    pub(crate) number: u32,
    pub(crate) outcome: Outcome,
    /// Whether the server that took it sends reports of success itself.
    pub(crate) reports: bool,
    /// A person decided that the sender is told, believed or not.
    pub(crate) tell: bool,
    /// Another recipient who gets the message first.
    pub(crate) redirect: Option<Address>,
    pub(crate) entry: Option<Arc<JournalEntry>>,
}

/// How settling ended.
pub(crate) struct Settled {
    pub(crate) key: Key,
    /// The settlement as it is on record; `None` when it could not be settled so, and a person must look at it.
    pub(crate) settlement: Option<Settlement>,
    pub(crate) entry: Option<Arc<JournalEntry>>,
}

/// Settles one item. Returns when the settlement is durable.
pub(crate) async fn settle(road: Arc<Road>, mut what: ToSettle) -> Settled {
    if what.entry.is_none() {
        what.entry = road.parts.journal.read(what.key.position).ok().map(Arc::new);
    }
    let mut pause = Duration::from_millis(250);
    loop {
        match conclude(&road, &mut what).await {
            Ok(()) => break,
            Err(NotTaken::Never(why)) => {
                tracing::error!(trace = %what.trace, to = %what.recipient, %why, "it cannot be settled so; it waits for a person");
                return Settled { key: what.key, settlement: None, entry: what.entry };
            }
            Err(NotTaken::Later(why)) => {
                tracing::warn!(trace = %what.trace, to = %what.recipient, %why, "not settled yet; trying again");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MOST);
            }
        }
    }
    let settlement = Settlement {
        trace: what.trace,
        recipient: what.recipient,
        destination: what.destination,
        outcome: what.outcome,
        at: road.parts.world.clock.now(),
        attempt: what.number,
    };
    crash_point("deliver.settle.before");
    record(&road, &settlement).await;
    crash_point("deliver.settle.after");
    Settled { key: what.key, settlement: Some(settlement), entry: what.entry }
}

/// Writes the settlement, for as long as it takes: what happened has happened.
async fn record(road: &Road, settlement: &Settlement) {
    let mut pause = Duration::from_millis(100);
    loop {
        match road.parts.ledger.append(Entry::Settlement(settlement.clone())).await {
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(trace = %settlement.trace, %error, "a settlement was not written; trying again");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MOST);
            }
        }
    }
}

/// Everything that goes with an outcome, before it is on record: done again after a crash, so each step may be repeated.
async fn conclude(road: &Road, what: &mut ToSettle) -> Result<(), NotTaken> {
    let Some(entry) = what.entry.clone() else {
        // Without its content nobody can be told; what happened is still put on record.
        let unreadable = || Err(NotTaken::Never("its content cannot be read".to_owned()));
        return what.redirect.as_ref().map_or(Ok(()), |_| unreadable());
    };
    if let Some(to) = &what.redirect {
        hand_in_again(road, &entry, to).await?;
    }
    let (_, believed) = route::verdict(&entry);
    match what.outcome.clone() {
        Outcome::Refused { reply, .. } => {
            if let (Destination::Primary(_), Some(account)) = (&what.destination, &what.account) {
                withdraw(road, account, &entry).await?;
            }
            let bounced = tell(road, what, &entry, Kind::Failed, &reply, what.tell || believed, None).await?;
            what.outcome = Outcome::Refused { reply, bounced };
        }
        Outcome::Expired { reply } => {
            tell(road, what, &entry, Kind::Failed, &reply, believed, None).await?;
        }
        Outcome::HandedOver { reply } => {
            let kind = match &what.destination {
                // Where the primary gets a copy too, it is the one that counts.
                Destination::Mailbox if has_onward(road, &what.recipient) => None,
                Destination::Mailbox => Some(Kind::Delivered),
                _ => (!what.reports).then_some(Kind::Relayed),
            };
            let wanted = what.key.index != route::SENT && recipient_of(&entry, what).notify.is_some();
            if let Some(kind) = kind.filter(|_| wanted) {
                tell(road, what, &entry, kind, &reply, believed, None).await?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Hands a message in again, for another recipient. The edge knows it again if we do not hear its answer.
async fn hand_in_again(road: &Road, entry: &JournalEntry, to: &Address) -> Result<(), NotTaken> {
    let envelope = &entry.accepted.envelope;
    let message = road.parts.journal.message(entry);
    let message = message.map_err(|error| NotTaken::Never(error.to_string()))?;
    let letter = Letter {
        sender: envelope.sender.clone(),
        recipients: vec![Recipient::new(to.clone())],
        content: Box::new(message),
        utf8: envelope.utf8,
    };
    crash_point("deliver.redirect.before");
    road.parts.door.hand_in(letter).await
}

/// Whether a recipient's mail goes on to a primary, too.
pub(crate) fn has_onward(road: &Road, recipient: &Address) -> bool {
    use stores_directory::Resolved;
    let directory = road.parts.directory.borrow().clone();
    matches!(directory.resolve(recipient), Resolved::Account { primary: Some(_), .. })
}

fn recipient_of(entry: &JournalEntry, what: &ToSettle) -> Recipient {
    let given = entry.accepted.envelope.recipients.get(what.key.index as usize);
    given.cloned().unwrap_or_else(|| Recipient::new(what.recipient.clone()))
}

/// Tells the sender, if it is to be told. `true` when it was.
pub(crate) async fn tell(
    road: &Road,
    what: &ToSettle,
    entry: &JournalEntry,
    kind: Kind,
    reply: &Reply,
    believed: bool,
    until: Option<Time>,
) -> Result<bool, NotTaken> {
    let envelope = &entry.accepted.envelope;
    let recipient = recipient_of(entry, what);
    let Some(to) = dsn::addressee(&envelope.sender, believed) else { return Ok(false) };
    if !dsn::is_wanted(kind, recipient.notify.as_ref()) {
        return Ok(false);
    }
    let (message, whole) = quote(road, entry);
    let report = Report {
        kind,
        node: &road.settings.node,
        now: about_now(road.parts.world.clock.now()).max(entry.accepted.at),
        trace: what.trace,
        accepted: entry.accepted.at,
        to,
        recipient: &recipient,
        envid: envelope.envid.as_deref(),
        ret: envelope.ret,
        reply,
        until,
        message: &message,
        whole,
    };
    let letter = Letter {
        sender: Sender::NOBODY,
        recipients: vec![Recipient::new(to.clone())],
        content: Box::new(Cursor::new(report.compose())),
        utf8: report.is_international(),
    };
    crash_point("deliver.report.before");
    match road.parts.door.hand_in(letter).await {
        Ok(()) => {
            crash_point("deliver.report.after");
            tracing::info!(trace = %what.trace, to = %to, about = %what.recipient, kind = ?kind, "report sent");
            Ok(true)
        }
        Err(NotTaken::Never(why)) => {
            tracing::warn!(trace = %what.trace, to = %to, %why, "a report was refused at our own door");
            Ok(false)
        }
        Err(later) => Err(later),
    }
}

/// The moment to within ten minutes: a report made again after a crash shall be the same message, so that the edge knows
/// the repeat.
fn about_now(now: Time) -> Time {
    Time::from_seconds(now.seconds() / 600 * 600)
}

fn quote(road: &Road, entry: &JournalEntry) -> (Vec<u8>, bool) {
    let mut quoted = Vec::new();
    let most = dsn::quote_max() as u64;
    let read = road.parts.journal.message(entry).map(|message| message.take(most).read_to_end(&mut quoted));
    // A report without a quotation is better than none.
    let whole = matches!(read, Ok(Ok(_))) && quoted.len() as u64 == entry.accepted.size;
    (quoted, whole)
}

/// What the primary refused leaves INBOX: its judgement holds here too. A copy that a person filed elsewhere stays.
async fn withdraw(road: &Road, account: &AccountId, entry: &JournalEntry) -> Result<(), NotTaken> {
    match try_withdraw(road, account, entry).await {
        Err(error) if error.is_temporary() => Err(NotTaken::Later(error.to_string())),
        Err(error) => {
            tracing::warn!(trace = %entry.accepted.trace, %account, %error, "a refused message was not moved");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

async fn try_withdraw(road: &Road, account: &AccountId, entry: &JournalEntry) -> Result<(), MailboxError> {
    let mailboxes = &road.parts.mailboxes;
    let accepted = &entry.accepted;
    let mut arrival = Arrival::new(accepted.trace, entry.position, accepted.at, accepted.size);
    arrival.folder = "Junk".to_owned();
    arrival.by = By::Primary;
    // One that has not arrived yet arrives there; one that has, stays where it is for the moment.
    mailboxes.arrive(account, &arrival).await?;
    let folders = mailboxes.folders(account)?;
    let inbox = folders.iter().find(|folder| folder.name == INBOX).map(|folder| folder.id);
    let Some(junk) = folders.iter().find(|folder| folder.special == Some(SpecialUse::Junk)) else {
        return Ok(());
    };
    for (folder, uid) in mailboxes.copies(account, accepted.trace)? {
        if Some(folder) == inbox {
            crash_point("deliver.withdraw.before");
            let uids: UidRanges = std::iter::once(uid).collect();
            mailboxes.move_to(account, folder, &uids, &junk.name, By::Primary).await?;
        }
    }
    Ok(())
}

/// Tells a sender that a message is late. Nothing is settled by it.
pub(crate) async fn tell_delay(road: Arc<Road>, what: ToSettle, until: Time) {
    let Ok(entry) = road.parts.journal.read(what.key.position) else { return };
    let (_, believed) = route::verdict(&entry);
    let reply = match &what.outcome {
        Outcome::Deferred { reply } => reply.clone(),
        _ => Reply::new(451, (4, 4, 1), "no answer yet"),
    };
    let told = tell(&road, &what, &entry, Kind::Delayed, &reply, believed, Some(until)).await;
    if let Err(why) = told {
        tracing::warn!(trace = %what.trace, %why, "the sender was not told of the delay");
    }
}
