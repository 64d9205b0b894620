//! The mail that is kept back.

use super::output::span;
use super::trace;
use super::{Desk, Ended, Failure, code};
use crate::configuration::write_size;
use crate::control::protocol::{Item, QueueAct, QueueDeed, QueueQuery, QueueState, Request, TraceQuery};
use clap::{Args, Subcommand};
use words_mail::TraceId;

/// The mail that is kept back.
#[derive(Debug, Subcommand)]
pub enum QuarantineVerb {
    /// What is kept back, oldest first, and why.
    #[command(
        after_long_help = "Examples:\n  stormpost quarantine list\n  stormpost quarantine list --to @example.org --json"
    )]
    List(Which),
    /// One message: who sent it to whom, and what every check answered. Nothing of its content.
    Show {
        /// Its trace id.
        trace: TraceId,
    },
    /// Deliver messages after all, as if they had come in now; recorded with your name and the reason.
    #[command(
        after_long_help = "Example:\n  stormpost quarantine release 01KAN8ZV9M6T4S2R0Q8P6N4M2K --reason \"asked the sender by telephone\""
    )]
    Release(Act),
    /// Delete messages, telling nobody; recorded with your name and the reason.
    #[command(
        after_long_help = "Example:\n  stormpost quarantine delete --from @spam.example --reason \"spam\""
    )]
    Delete(Act),
    /// Tell each person by mail what of theirs is kept back: when it came, from whom, why. No subjects, no content.
    Digest,
}

/// Which messages.
#[derive(Debug, Clone, Default, Args)]
pub struct Which {
    /// From this address or @domain.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// To this address or @domain; only these recipients.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Which messages something is done to, and why.
#[derive(Debug, Clone, Args)]
pub struct Act {
    /// The trace id of one message.
    trace: Option<TraceId>,
    #[command(flatten)]
    which: Which,
    /// Everything that is kept back. Without it, a trace id or a condition is needed.
    #[arg(long)]
    all: bool,
    /// Why; recorded with your name and the time.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Which {
    fn query(self, trace: Option<TraceId>) -> QueueQuery {
        let Which { from, to, limit } = self;
        QueueQuery { trace, from, to, limit, state: Some(QueueState::Quarantined), ..QueueQuery::default() }
    }
}

pub(super) fn run(desk: &Desk, verb: QuarantineVerb) -> Ended {
    match verb {
        QuarantineVerb::List(which) => list(desk, which.query(None)),
        QuarantineVerb::Show { trace } => {
            let (kept, _) = desk.call(Request::QueueList(Which::default().query(Some(trace))))?;
            if kept.is_empty() {
                let words =
                    format!("{trace} is not in quarantine; what became of it says: stormpost trace {trace}");
                return Err(Failure { code: code::FAILED, words });
            }
            let query = TraceQuery { trace: Some(trace), limit: 1, ..TraceQuery::default() };
            trace::tell(desk, query)
        }
        QuarantineVerb::Release(act) => deed(desk, act, QueueDeed::Release),
        QuarantineVerb::Delete(act) => deed(desk, act, QueueDeed::Delete),
        QuarantineVerb::Digest => {
            let (_, words) = desk.call(Request::QuarantineDigest)?;
            Ok(desk.done(&words))
        }
    }
}

fn deed(desk: &Desk, act: Act, deed: QueueDeed) -> Ended {
    let Act { trace, which, all, reason } = act;
    let names = trace.is_some() || which.from.is_some() || which.to.is_some();
    if names == all {
        let words = match all {
            true => "--all and a condition: leave out one of the two",
            false => "say which: a trace id, --from, --to, or --all",
        };
        return Err(Failure { code: code::USAGE, words: words.to_owned() });
    }
    let (_, words) = desk.call(Request::QueueAct(QueueAct { which: which.query(trace), deed, reason }))?;
    Ok(desk.done(&words))
}

fn list(desk: &Desk, query: QueueQuery) -> Ended {
    let (items, _) = desk.call(Request::QueueList(query))?;
    let kept: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            Item::Queued(queued) => Some(queued),
            _ => None,
        })
        .collect();
    desk.output.value(&kept);
    let now = desk.now();
    let rows: Vec<Vec<String>> = kept
        .iter()
        .map(|queued| {
            let to: Vec<String> = queued.recipients.iter().map(|r| r.address.to_string()).collect();
            let why = queued.recipients.first().and_then(|r| r.last.clone()).unwrap_or_default();
            let (age, size) = (span(queued.at, now), write_size(queued.size));
            vec![queued.trace.to_string(), age, size, format!("<{}>", queued.from), to.join(" "), why]
        })
        .collect();
    match rows.is_empty() {
        true => desk.output.say("nothing"),
        false => desk.output.table(&["trace id", "age", "size", "from", "to", "why"], &rows),
    }
    Ok(code::WELL)
}
