//! The mail that waits.

use super::output::{moment, span};
use super::{Desk, Ended, Failure, code};
use crate::configuration::write_size;
use crate::control::protocol::{Item, QueueAct, QueueDeed, QueueQuery, QueueState, Queued, Request};
use clap::{Args, Subcommand};
use words_mail::{Address, PrimaryId, TraceId};

/// The mail that waits.
#[derive(Debug, Subcommand)]
pub enum QueueVerb {
    /// What waits, oldest first.
    #[command(
        after_long_help = "Examples:\n  stormpost queue list\n  stormpost queue list --primary office --to @example.org\n  stormpost \
                           queue list --parked\n  stormpost queue list --refused --json"
    )]
    List(Filter),
    /// One message of the queue.
    Show {
        /// Its trace id.
        trace: TraceId,
    },
    /// Let messages wait until resumed: what is here, and with --all, --primary, --domain or --to ADDRESS also what comes
    /// later. The narrower word wins (message, address, primary or domain, all), then the newer.
    #[command(
        after_long_help = "Examples:\n  stormpost queue pause --domain slow.example --reason \"asked us to\"\n  stormpost queue pause \
                           --all --reason \"moving house\""
    )]
    Pause(Act),
    /// End such a wait, and say what still holds messages: an order, or a pause of another scope. Within a wider pause this
    /// makes an exception to it.
    Resume(Act),
    /// Try at once; a parked message is taken up again.
    #[command(
        after_long_help = "Examples:\n  stormpost queue retry 01KAN8ZV9M6T4S2R0Q8P6N4M2K\n  stormpost queue retry --parked"
    )]
    Retry(Act),
    /// Deliver to another address instead.
    #[command(
        after_long_help = "Example:\n  stormpost queue redirect 01KAN8ZV9M6T4S2R0Q8P6N4M2K --into bert@example.org --reason \"she left\""
    )]
    Redirect {
        #[command(flatten)]
        act: Act,
        /// That address.
        #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
        into: Address,
    },
    /// Remove messages, telling nobody. Their content stays in the journal as long as settled mail does.
    Delete(Act),
    /// Give messages back to their senders.
    Bounce(Act),
}

/// Which messages.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// For this primary.
    #[arg(long, value_name = "ID")]
    primary: Option<String>,
    /// For this other organisation's domain.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// From this address or @domain.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// To this address or @domain; only these recipients.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// In this state.
    #[arg(long, value_name = "STATE", value_parser = parse_state)]
    state: Option<QueueState>,
    /// Set aside for a person.
    #[arg(long, conflicts_with = "state")]
    parked: bool,
    /// Refused by the primary, kept and listed.
    #[arg(long, conflicts_with_all = ["state", "parked"])]
    refused: bool,
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl Filter {
    fn query(self, trace: Option<TraceId>) -> QueueQuery {
        let state = match (self.parked, self.refused) {
            (true, _) => Some(QueueState::Parked),
            (_, true) => Some(QueueState::Refused),
            _ => self.state,
        };
        QueueQuery {
            trace,
            primary: self.primary.map(PrimaryId),
            domain: self.domain,
            from: self.from,
            to: self.to,
            state,
            limit: self.limit,
        }
    }
}

/// Which messages something is done to, and why.
#[derive(Debug, Clone, Args)]
pub struct Act {
    /// The trace id of one message.
    trace: Option<TraceId>,
    #[command(flatten)]
    filter: Filter,
    /// All that wait. Without it, a trace id or a condition is needed.
    #[arg(long)]
    all: bool,
    /// Why; recorded with your name and the time.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

const STATES: [(QueueState, &str); 8] = [
    (QueueState::Waiting, "waiting"),
    (QueueState::Paused, "paused"),
    (QueueState::Trying, "trying"),
    (QueueState::Unknown, "unknown"),
    (QueueState::Parked, "parked"),
    (QueueState::Refused, "refused"),
    (QueueState::Expired, "expired"),
    (QueueState::Quarantined, "quarantined"),
];

pub(super) fn state_name(state: QueueState) -> &'static str {
    STATES.iter().find(|(known, _)| *known == state).map_or("waiting", |(_, name)| name)
}

fn parse_state(text: &str) -> Result<QueueState, String> {
    let found = STATES.iter().find(|(_, name)| *name == text).map(|(state, _)| *state);
    found.ok_or_else(|| {
        let names: Vec<&str> = STATES.iter().map(|(_, name)| *name).collect();
        format!("there are: {}", names.join(", "))
    })
}

fn parse_address(text: &str) -> Result<Address, String> {
    match Address::parse(text) {
        Ok(address) if !address.domain().is_empty() => Ok(address),
        Ok(_) => Err("it has no domain".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

pub(super) fn run(desk: &Desk, verb: QueueVerb) -> Ended {
    match verb {
        QueueVerb::List(filter) => list(desk, filter),
        QueueVerb::Show { trace } => {
            let (items, _) = desk.call(Request::QueueShow { trace })?;
            for queued in queued(items) {
                desk.output.value(&queued);
                show(desk, &queued);
            }
            Ok(code::WELL)
        }
        QueueVerb::Pause(act) => deed(desk, act, QueueDeed::Pause),
        QueueVerb::Resume(act) => deed(desk, act, QueueDeed::Resume),
        QueueVerb::Retry(act) => deed(desk, act, QueueDeed::Retry),
        QueueVerb::Redirect { act, into } => deed(desk, act, QueueDeed::Redirect(into)),
        QueueVerb::Delete(act) => deed(desk, act, QueueDeed::Delete),
        QueueVerb::Bounce(act) => deed(desk, act, QueueDeed::Bounce),
    }
}

fn queued(items: Vec<Item>) -> Vec<Queued> {
    items
        .into_iter()
        .filter_map(|item| match item {
            Item::Queued(queued) => Some(queued),
            _ => None,
        })
        .collect()
}

fn deed(desk: &Desk, act: Act, deed: QueueDeed) -> Ended {
    let which = act.filter.query(act.trace);
    if which.is_all() != act.all {
        let words = match act.all {
            true => "--all and a condition: leave out one of the two",
            false => "say which: a trace id, a condition such as --primary or --parked, or --all",
        };
        return Err(Failure { code: code::USAGE, words: words.to_owned() });
    }
    let (_, words) = desk.call(Request::QueueAct(QueueAct { which, deed, reason: act.reason }))?;
    Ok(desk.done(&words))
}

fn list(desk: &Desk, filter: Filter) -> Ended {
    let (items, _) = desk.call(Request::QueueList(filter.query(None)))?;
    let list = queued(items);
    desk.output.value(&list);
    let now = desk.now();
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|queued| {
            let to = match queued.recipients.as_slice() {
                [] => String::new(),
                [only] => only.address.to_string(),
                [first, rest @ ..] => format!("{} and {} more", first.address, rest.len()),
            };
            let first = queued.recipients.first();
            vec![
                queued.trace.to_string(),
                state_name(queued.state).to_owned(),
                span(queued.at, now),
                write_size(queued.size),
                format!("<{}>", queued.from),
                to,
                first.map(|r| r.destination.to_string()).unwrap_or_default(),
                first.and_then(|r| r.last.clone()).unwrap_or_default(),
            ]
        })
        .collect();
    if rows.is_empty() {
        desk.output.say("nothing");
    } else {
        desk.output.table(&["trace id", "state", "age", "size", "from", "to", "for", "last heard"], &rows);
    }
    Ok(code::WELL)
}

fn show(desk: &Desk, queued: &Queued) {
    let out = desk.output;
    let (at, size) = (moment(queued.at), write_size(queued.size));
    out.say(&format!("{}  {at} UTC  from <{}>  {size}", queued.trace, queued.from));
    for recipient in &queued.recipients {
        let next = recipient.next.map_or_else(String::new, |t| format!(", next {} UTC", moment(t)));
        out.say(&format!(
            "  to <{}> for {}: {}, {} attempts{next}",
            recipient.address,
            recipient.destination,
            state_name(recipient.state),
            recipient.attempts
        ));
        if let Some(last) = &recipient.last {
            out.say(&format!("    last heard: {last}"));
        }
    }
}
