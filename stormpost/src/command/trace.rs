//! `stormpost trace`.

use super::output::{moment, parse_moment};
use super::{Desk, Ended, Failure, code};
use crate::control::protocol::{Item, Request, TraceQuery, Traced};
use clap::Args;
use words_mail::{CheckResult, Outcome, TraceId};

/// `stormpost trace`.
#[derive(Debug, Args)]
pub struct TraceArguments {
    /// The trace id: in the `250`, in our `Received:` line, in the log.
    trace: Option<TraceId>,
    /// The envelope sender: an address, `@domain`, or `<>`.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// An envelope recipient: an address or `@domain`.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// The Message-ID.
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// Accepted since then: 2h (ago), 2026-11-22, 2026-11-22T10:42 (UTC).
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Accepted before then.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

pub(super) fn run(desk: &Desk, arguments: TraceArguments) -> Ended {
    let usage = |words: String| Failure { code: code::USAGE, words };
    let moment = |text: &Option<String>| {
        text.as_ref().map(|text| parse_moment(text, desk.now()).map_err(usage)).transpose()
    };
    let query = TraceQuery {
        trace: arguments.trace,
        since: moment(&arguments.since)?,
        until: moment(&arguments.until)?,
        from: arguments.from,
        to: arguments.to,
        message_id: arguments.message_id,
        limit: arguments.limit,
    };
    if query == (TraceQuery { limit: query.limit, ..TraceQuery::default() }) {
        return Err(usage("say which: a trace id, --from, --to, --message-id or --since".to_owned()));
    }
    tell(desk, query)
}

/// Asks, and tells what was found.
pub(super) fn tell(desk: &Desk, query: TraceQuery) -> Ended {
    let limit = query.limit;
    let (items, _) = desk.call(Request::Trace(query))?;
    let found: Vec<Traced> = items
        .into_iter()
        .filter_map(|item| match item {
            Item::Traced(traced) => Some(traced),
            _ => None,
        })
        .collect();
    desk.output.value(&found);
    for traced in &found {
        show(desk, traced);
    }
    if found.is_empty() {
        desk.output.say("no such message was accepted here");
        return Ok(code::FOUND);
    }
    if found.len() >= limit && limit > 1 {
        desk.output.say(&format!("({} shown, there may be more: --limit)", found.len()));
    }
    Ok(code::WELL)
}

fn show(desk: &Desk, traced: &Traced) {
    let out = desk.output;
    if let Some(erased) = &traced.erased {
        let (accepted, at) = (moment(traced.at), moment(erased.at));
        out.say(&format!("{}  {accepted} UTC", traced.trace));
        out.say(&format!("  erased {at} UTC by {}: {}", erased.by, erased.reason));
        steps(desk, traced);
        return;
    }
    out.say(&format!(
        "{}  {} UTC  from <{}>  {} bytes  by {}",
        traced.trace,
        moment(traced.at),
        traced.from,
        traced.size,
        traced.peer
    ));
    if let Some(id) = &traced.message_id {
        out.say(&format!("  Message-ID <{id}>"));
    }
    if !traced.verdict.is_empty() {
        out.say(&format!("  judged: {}", traced.verdict));
    }
    for answer in traced.checks.iter().filter(|answer| answer.result != CheckResult::NotAsked) {
        let reason = answer.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        let took = if answer.millis > 0 { format!(", {} ms", answer.millis) } else { String::new() };
        let detail = if answer.detail.is_empty() { String::new() } else { format!(": {}", answer.detail) };
        out.say(&format!("    {} {}{reason}{detail}{took}", answer.check, answer.result));
    }
    steps(desk, traced);
}

fn steps(desk: &Desk, traced: &Traced) {
    let out = desk.output;
    for recipient in &traced.recipients {
        out.say(&format!("  to <{}>", recipient.address));
        if recipient.steps.is_empty() {
            out.say("    waits");
        }
        for step in &recipient.steps {
            let what = outcome(&step.outcome);
            out.say(&format!(
                "    {} UTC  {}  {what} (attempt {})",
                moment(step.at),
                step.destination,
                step.attempt
            ));
        }
    }
}

/// An outcome in a person's words.
fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::HandedOver { reply } => format!("handed over: {reply}"),
        Outcome::Seen { folder } => format!("seen in {folder}"),
        Outcome::Refused { reply, bounced: true } => format!("refused, given back to the sender: {reply}"),
        Outcome::Refused { reply, bounced: false } => format!("refused, kept here: {reply}"),
        Outcome::Expired { reply } => format!("expired: {reply}"),
        Outcome::Parked { reason } => format!("parked: {reason}"),
        Outcome::Quarantined { reason } => format!("kept in quarantine: {reason}"),
        Outcome::Deleted { reason } => format!("deleted: {reason}"),
        Outcome::Deferred { reply } => format!("told later: {reply}"),
        Outcome::Unknown => "the connection broke after the message was sent; asked about".to_owned(),
    }
}
