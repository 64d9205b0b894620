//! What we promised: read from the journal and the ledger, nothing else.

use crate::piece::Piece;
use crate::witness::{Promise, Sighting};
use std::collections::{BTreeSet, HashMap};
use stores_directory::{Resolved, Snapshot};
use stores_journal::{Accepted, JournalReader, ReadError};
use stores_ledger::{LedgerReader, Settlement};
use stores_primary::store::{MailStore, StoreError, Summary};
use words_mail::{AccountId, Address, Destination, Outcome, PrimaryId, Source, Time, TraceId};

/// Whether a message still waits for a recipient; or, `true`, for its place among what its owner sent.
pub(crate) type Asked<'a> = &'a (dyn Fn(&Accepted, &Address, bool) -> bool + Sync);

/// The header whose value is compared.
const STAMP: &str = "Stormpost-Trace";

/// Messages of one primary accepted from `from` until `until`, each for each of its accounts there. `waits` is asked of
/// what is not settled. Others get their turns while it is read.
///
/// # Errors
/// When journal or ledger cannot be read.
pub(crate) async fn promises(
    journal: &JournalReader,
    ledger: &LedgerReader,
    directory: &Snapshot,
    primary: &PrimaryId,
    (from, until): (Time, Time),
    waits: Asked<'_>,
) -> Result<Vec<Promise>, ReadError> {
    let mut piece = Piece::default();
    let mut last = settled(ledger, primary, from, &mut piece).await?;
    let mut promises = Vec::new();
    for entry in journal.scan(Some(journal.position_at(from)?)) {
        piece.step().await;
        let accepted = entry?.accepted;
        if accepted.at < from || accepted.at > until {
            continue;
        }
        of_one(&accepted, directory, primary, &mut last, waits, &mut promises);
    }
    let nowhere = |one: &Made| !one.promise.written_here && !one.promise.waits && is_open(&one.promise);
    if promises.iter().any(nowhere) {
        // It may have been settled between the look into the ledger and the question whether it waits.
        let mut last = settled(ledger, primary, from, &mut piece).await?;
        for one in promises.iter_mut().filter(|one| nowhere(one)) {
            one.promise.last = last.remove(&(one.trace, one.promise.to.clone()));
        }
    }
    Ok(promises.into_iter().map(|one| one.promise).collect())
}

fn is_open(promise: &Promise) -> bool {
    !promise.last.as_ref().is_some_and(Outcome::is_final)
}

/// The last that is written down about each recipient at a primary.
async fn settled(
    ledger: &LedgerReader,
    primary: &PrimaryId,
    from: Time,
    piece: &mut Piece,
) -> Result<HashMap<(TraceId, Address), Outcome>, ReadError> {
    let mut last = HashMap::new();
    for Settlement { trace, recipient, destination, outcome, .. } in
        ledger.settlements(Some(ledger.position_at(from)?))
    {
        piece.step().await;
        if destination == Destination::Primary(primary.clone()) {
            last.insert((trace, recipient), outcome);
        }
    }
    Ok(last)
}

/// A promise, and the message it is about.
struct Made {
    trace: TraceId,
    promise: Promise,
}

fn of_one(
    accepted: &Accepted,
    directory: &Snapshot,
    primary: &PrimaryId,
    last: &mut HashMap<(TraceId, Address), Outcome>,
    waits: Asked<'_>,
    promises: &mut Vec<Made>,
) {
    let Some(stamp) = stamp(&accepted.prefix) else { return };
    let sender = &accepted.envelope.sender;
    let mut promise = |to: &Address, account: AccountId, last: Option<Outcome>, written_here: bool| {
        let mut promise = Promise {
            stamp: stamp.clone(),
            at: accepted.at,
            from: sender.to_string(),
            to: to.clone(),
            account,
            last,
            written_here,
            waits: false,
        };
        promise.waits = is_open(&promise) && waits(accepted, to, written_here);
        promises.push(Made { trace: accepted.trace, promise });
    };
    for recipient in &accepted.envelope.recipients {
        if let Resolved::Account { account, primary: Some(behind), .. } =
            directory.resolve(&recipient.address)
            && behind == *primary
        {
            let last = last.remove(&(accepted.trace, recipient.address.clone()));
            promise(&recipient.address, account, last, false);
        }
    }
    // What a person sent is to stand in the Sent folder there.
    if accepted.envelope.source == Source::Submission
        && let Some(account) = &accepted.envelope.peer.account
        && directory.primary_of(account) == Some(primary)
        && let Ok(own) = Address::parse(account.as_str())
    {
        promise(&own, account.clone(), None, true);
    }
}

/// The value of the trace header among the lines that we put on top.
fn stamp(prefix: &str) -> Option<String> {
    prefix.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(STAMP).then(|| value.trim().to_owned())
    })
}

/// Every value of the trace header in a message, each once: another Stormpost behind us puts its own on top.
fn stamps(header: &[u8]) -> BTreeSet<String> {
    let lines = header.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line));
    lines.filter_map(|line| stamp(&line)).collect()
}

/// Every message with a stamp in one account at the primary.
///
/// # Errors
/// When the primary does not tell.
pub(crate) async fn sightings(
    store: &mut dyn MailStore,
    account: &AccountId,
    found: &mut Vec<Sighting>,
) -> Result<(), StoreError> {
    for folder in store.folders().await? {
        if !folder.selectable {
            continue;
        }
        match store.select(&folder.name, true).await {
            Ok(_) => {}
            Err(StoreError::NoFolder(_)) => continue,
            Err(error) => return Err(error),
        }
        let mut each = |summary: Summary| {
            for stamp in stamps(&summary.header) {
                found.push(Sighting { account: account.clone(), folder: folder.name.clone(), stamp });
            }
        };
        store.headers_above(0, &[STAMP], &mut each).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_is_read_from_our_own_lines() {
        let prefix = "Received: from x\r\n\tby y\r\nStormpost-Trace: ABC.0123\r\n";
        assert_eq!(stamp(prefix).as_deref(), Some("ABC.0123"));
        assert_eq!(stamp("Received: from x\r\n"), None);
        let both: Vec<String> =
            stamps(b"Stormpost-Trace: A.1\r\nstormpost-trace: B.2\r\nStormpost-Trace: A.1\r\n")
                .into_iter()
                .collect();
        assert_eq!(both, ["A.1", "B.2"]);
    }
}
