//! `stormpost trace`.

use super::output::{moment, parse_moment};
use super::{Desk, Ended, Failure, code};
use crate::control::protocol::{Item, Request, TraceQuery, Traced};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use words_mail::{Check, CheckResult, Outcome, TraceId};

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
    /// Tell only by which rules they were judged, and what each check answered how often: whether the policy held.
    #[arg(long)]
    policy: bool,
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
    if arguments.policy {
        return policy(desk, query);
    }
    tell(desk, query)
}

/// What is on record of the messages that were asked for.
fn found(desk: &Desk, query: TraceQuery) -> Result<Vec<Traced>, Failure> {
    let (items, _) = desk.call(Request::Trace(query))?;
    let traced = items.into_iter().filter_map(|item| match item {
        Item::Traced(traced) => Some(traced),
        _ => None,
    });
    Ok(traced.collect())
}

/// By which rules messages were judged, and what each check answered how often.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Policy {
    messages: usize,
    /// The versions of the rules.
    judged: BTreeMap<String, usize>,
    /// Each check with each of its answers.
    checks: BTreeMap<Check, BTreeMap<String, usize>>,
    /// Messages that a check was let past that should have answered.
    unanswered: usize,
}

impl Policy {
    fn of(found: &[Traced]) -> Policy {
        let mut policy = Policy { messages: found.len(), ..Policy::default() };
        for traced in found {
            // It begins with the version of the rules.
            let judged = match traced.verdict.split(',').next() {
                None | Some("") => "erased, or not on record",
                Some(rules) => rules,
            };
            *policy.judged.entry(judged.to_owned()).or_default() += 1;
            for answer in &traced.checks {
                let reason = answer.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                let answers = policy.checks.entry(answer.check).or_default();
                *answers.entry(format!("{}{reason}", answer.result)).or_default() += 1;
            }
            let silent = traced.checks.iter().any(|answer| answer.result == CheckResult::Unanswered);
            policy.unanswered += usize::from(silent);
        }
        policy
    }
}

fn policy(desk: &Desk, query: TraceQuery) -> Ended {
    let limit = query.limit;
    let policy = Policy::of(&found(desk, query)?);
    desk.output.value(&policy);
    let out = desk.output;
    out.say(&format!("{} messages", policy.messages));
    for (judged, count) in &policy.judged {
        out.say(&format!("  {count:>8}  {judged}"));
    }
    for (check, answers) in &policy.checks {
        out.say(&format!("{check}"));
        for (answer, count) in answers {
            out.say(&format!("  {count:>8}  {answer}"));
        }
    }
    if policy.messages >= limit {
        out.say(&format!("(the first {limit}; there may be more: --limit)"));
    }
    Ok(if policy.unanswered == 0 && policy.messages > 0 { code::WELL } else { code::FOUND })
}

/// Asks, and tells what was found.
pub(super) fn tell(desk: &Desk, query: TraceQuery) -> Ended {
    let limit = query.limit;
    let found = found(desk, query)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use words_mail::{CheckAnswer, Reason, Sender, Tenant, Time};

    #[test]
    fn whether_the_policy_held_is_counted_over_the_record() {
        let traced = |verdict: &str, checks: Vec<CheckAnswer>| Traced {
            trace: TraceId::new(Time(0), [0; 10]),
            at: Time(0),
            tenant: Tenant("default".into()),
            from: Sender::NOBODY,
            message_id: None,
            size: 1,
            peer: String::new(),
            verdict: verdict.to_owned(),
            checks,
            recipients: Vec::new(),
            erased: None,
        };
        let spf = CheckAnswer::new(Check::Spf, CheckResult::Pass, None);
        let silent = CheckAnswer::new(Check::Rspamd, CheckResult::Unanswered, Some(Reason::NoAnswer));
        let one = traced("rules 3, spf pass", vec![spf.clone(), silent]);
        let policy = Policy::of(&[one, traced("rules 3, spf pass", vec![spf]), traced("", Vec::new())]);
        assert_eq!((policy.messages, policy.unanswered), (3, 1));
        assert_eq!((policy.judged["rules 3"], policy.judged.len()), (2, 2));
        assert_eq!(policy.checks[&Check::Spf]["pass"], 2);
        assert_eq!(policy.checks[&Check::Rspamd]["unanswered (no-answer)"], 1);
    }
}
