//! Whether anything is still inside that somebody waits for.

use crate::command::{Desk, Failure};
use crate::compose::stores;
use crate::configuration::Configuration;
use crate::control::protocol::{Item, QueueQuery, QueueState, Request};
use stores_journal::JournalReader;
use stores_log::Position;
use words_mail::State;

/// Things that are named one by one.
const NAMED_MAX: usize = 10;

/// What is not settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unsettled {
    /// Each in a sentence with what to do.
    pub(super) words: Vec<String>,
    /// Messages refused or expired: settled, and kept for a person.
    pub(super) listed: u64,
}

/// Asks the node; only it knows.
pub(super) fn look(desk: &Desk) -> Result<Unsettled, Failure> {
    let (items, _) = desk.call(Request::Status).map_err(|failure| Failure {
        words: format!("{}\nthe node must run, so that it can say what is settled", failure.words),
        ..failure
    })?;
    let mut found = Unsettled::default();
    for item in items {
        let Item::Status(status) = item else { continue };
        if status.warnings.iter().any(|warning| warning.contains("still being read")) {
            found.words.push("the queue is still being read; wait a moment".to_owned());
        }
        for (id, primary) in &status.primaries {
            if let Some(event) = primary.event {
                found.words.push(format!(
                    "event {event} of {id} is open: {}; stormpost event show {event}",
                    primary.words
                ));
            } else if primary.state != State::Ready {
                found.words.push(format!("{id}: {}", primary.words));
            }
            if primary.lag.changes > 0 {
                found.words.push(format!(
                    "{} changes that people made are not given back to {id} yet",
                    primary.lag.changes
                ));
            }
        }
        for warning in status.warnings.iter().filter(|warning| warning.contains("left something to look at"))
        {
            found.words.push(warning.clone());
        }
    }
    // Without a state: all that is neither refused nor expired. What is in quarantine belongs to it.
    let query = QueueQuery { limit: Some(NAMED_MAX + 1), ..QueueQuery::default() };
    let (mut waiting, _) = desk.call(Request::QueueList(query))?;
    for state in [QueueState::Quarantined, QueueState::Parked] {
        let query = QueueQuery { state: Some(state), limit: Some(NAMED_MAX + 1), ..QueueQuery::default() };
        for item in desk.call(Request::QueueList(query))?.0 {
            if !waiting.contains(&item) {
                waiting.push(item);
            }
        }
    }
    for item in waiting.iter().take(NAMED_MAX) {
        if let Item::Queued(queued) = item {
            let to: Vec<String> = queued.recipients.iter().take(3).map(|r| r.address.to_string()).collect();
            let state = serde_json::to_value(queued.state).ok().and_then(|v| v.as_str().map(str::to_owned));
            let state = state.unwrap_or_default();
            found.words.push(format!(
                "{} from <{}> to {} is {state}; stormpost queue show {}",
                queued.trace,
                queued.from,
                to.join(", "),
                queued.trace
            ));
        }
    }
    if waiting.len() > NAMED_MAX {
        found.words.push("and more; stormpost queue list".to_owned());
    }
    for state in [QueueState::Refused, QueueState::Expired] {
        let query = QueueQuery { state: Some(state), ..QueueQuery::default() };
        found.listed += desk.call(Request::QueueList(query))?.0.len() as u64;
    }
    Ok(found)
}

/// The journal, for reading.
pub(super) fn journal(configuration: &Configuration) -> Result<JournalReader, Failure> {
    if !configuration.node.key_file.exists() {
        return Err(format!("the key {} is not there", configuration.node.key_file.display()).into());
    }
    let world = crate::world::real(configuration.node.name_server);
    let keys = stores::keys(&world, configuration)?;
    Ok(JournalReader::open(&world, keys, &configuration.node.data.join("journal"))?)
}

/// The end of the last message of the journal. Other records may follow it: they are none of anybody's mail.
pub(super) fn end_of_journal(configuration: &Configuration) -> Result<Position, Failure> {
    let reader = journal(configuration)?;
    let mut end = Position::default();
    for entry in reader.scan(None) {
        end = end.max(entry?.next);
    }
    Ok(end)
}
