//! Continuity events and the comparison that closes them.

use super::output::{moment, parse_moment, span};
use super::{Desk, Ended, Failure, code};
use crate::control::protocol::{EventShown, Item, Request};
use clap::{Args, Subcommand};
use words_mail::{EventId, PrimaryId};

/// Continuity events and their reports.
#[derive(Debug, Subcommand)]
pub enum EventVerb {
    /// The latest events, newest first.
    List {
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// One event: its orders, who was told, its report.
    #[command(
        long_about = "One event: its orders, who was told, its report. Exit code 4 when the report lists something that a person \
                      must look at.",
        after_long_help = "Examples:\n  stormpost event show        the latest\n  stormpost event show 7 --json"
    )]
    Show {
        /// Its number; the latest when left out.
        event: Option<u64>,
    },
}

/// `stormpost reconcile`.
#[derive(Debug, Args)]
pub struct ReconcileArguments {
    /// Only this primary.
    primary: Option<String>,
    /// This event instead of the latest.
    #[arg(long, value_name = "NUMBER")]
    event: Option<u64>,
    /// Everything accepted since then instead of an event: 2h (ago), 2026-11-22, 2026-11-22T10:42 (UTC).
    #[arg(long, value_name = "WHEN", conflicts_with = "event")]
    since: Option<String>,
}

pub(super) fn run(desk: &Desk, verb: EventVerb) -> Ended {
    match verb {
        EventVerb::List { limit } => list(desk, limit),
        EventVerb::Show { event } => {
            let (items, _) = desk.call(Request::EventShow { event: event.map(EventId) })?;
            Ok(show_all(desk, items, false))
        }
    }
}

pub(super) fn reconcile(desk: &Desk, arguments: ReconcileArguments) -> Ended {
    let primary = arguments.primary.map(PrimaryId);
    let event = arguments.event.map(EventId);
    let request = match arguments.since {
        None => Request::Reconcile { primary, event },
        Some(since) => {
            let since =
                parse_moment(&since, desk.now()).map_err(|words| Failure { code: code::USAGE, words })?;
            Request::ReconcileSince { primary, since }
        }
    };
    let (items, words) = desk.call(request)?;
    let code = show_all(desk, items, true);
    words.lines().for_each(|line| desk.output.say(line));
    Ok(code)
}

fn list(desk: &Desk, limit: usize) -> Ended {
    let (items, _) = desk.call(Request::EventList { limit })?;
    let events: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            Item::Event(event) => Some(event),
            _ => None,
        })
        .collect();
    desk.output.value(&events);
    let now = desk.now();
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|event| {
            let planes: Vec<String> = event.planes.iter().map(ToString::to_string).collect();
            let closed = event.closed.map_or_else(|| "open".to_owned(), moment);
            vec![
                event.id.to_string(),
                event.primary.to_string(),
                moment(event.began),
                moment(event.opened),
                closed,
                span(event.began, event.closed.unwrap_or(now)),
                planes.join(", "),
            ]
        })
        .collect();
    if rows.is_empty() {
        desk.output.say("no event yet");
    } else {
        desk.output
            .table(&["event", "primary", "began (UTC)", "opened", "closed", "length", "planes"], &rows);
    }
    Ok(code::WELL)
}

/// Shows events; several as a JSON list where several may come.
fn show_all(desk: &Desk, items: Vec<Item>, many: bool) -> u8 {
    let shown: Vec<EventShown> = items
        .into_iter()
        .filter_map(|item| match item {
            Item::EventShown(shown) => Some(shown),
            _ => None,
        })
        .collect();
    match shown.as_slice() {
        [only] if !many => desk.output.value(only),
        all => desk.output.value(&all),
    }
    shown.iter().for_each(|shown| show(desk, shown));
    if shown.iter().all(|shown| shown.exceptions.is_empty()) { code::WELL } else { code::FOUND }
}

fn show(desk: &Desk, shown: &EventShown) {
    let out = desk.output;
    let event = &shown.event;
    let ended = event.closed.map_or_else(|| "open".to_owned(), |t| format!("closed {} UTC", moment(t)));
    match event.id {
        EventId(0) => out.say(&format!("{} since {} UTC", event.primary, moment(event.began))),
        id => {
            out.say(&format!("event {id} of {}: began {} UTC, {ended}", event.primary, moment(event.began)))
        }
    }
    let orders: Vec<Vec<String>> = shown
        .orders
        .iter()
        .map(|order| {
            vec![
                format!("  {}", moment(order.at)),
                format!("order {}", order.number),
                format!("{} {} -> {}", order.plane, order.from, order.to),
                order.by.clone(),
                order.why.clone(),
            ]
        })
        .collect();
    out.table(&["", "", "", "", ""], &orders);
    for notice in &shown.notices {
        out.say(&format!("  {notice}"));
    }
    match &shown.report {
        None => out.say("  not reconciled yet"),
        Some(report) => figures(desk, report),
    }
    for exception in &shown.exceptions {
        out.say(&format!("  to look at: {exception}"));
    }
    if let Some(page) = &shown.page {
        out.say(&format!("  report: {page}"));
    }
}

/// The figures of a report: its plain numbers and texts, and measured times.
fn figures(desk: &Desk, report: &serde_json::Value) {
    let Some(report) = report.as_object() else { return };
    const FIGURES: [&str; 9] =
        ["reach", "accepted", "settled", "waiting", "seen", "refused", "unseen", "lost", "doubled"];
    let known = FIGURES.iter().filter_map(|name| Some((*name, report.get(*name)?)));
    let parts: Vec<String> = known
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name} {text}"),
            None => format!("{name} {value}"),
        })
        .collect();
    desk.output.say(&format!("  {}", parts.join(", ")));
    let measured = report.get("measured").and_then(serde_json::Value::as_object);
    for (name, seconds) in measured.into_iter().flatten() {
        let words = match name.as_str() {
            "began_to_opened" => "from the first failure until the event was open",
            "opened_to_reconciled" => "from then until everything was given back and proved",
            "reconciliation" => "the comparison itself",
            other => other,
        };
        desk.output.say(&format!("  {words}: {:.1} s", seconds.as_f64().unwrap_or_default()));
    }
}
