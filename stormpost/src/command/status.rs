//! `stormpost status`.

use super::output::{moment, span};
use super::{Desk, Ended, code};
use crate::configuration::write_size;
use crate::control::protocol::{EdgeStatus, Item, Request, Status};
use clap::Args;
use words_mail::{Finding, State};

/// `stormpost status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// End with exit code 4 when something is not well.
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn run(desk: &Desk, arguments: &StatusArguments) -> Ended {
    let (items, _) = desk.call(Request::Status)?;
    let mut well = true;
    for item in items {
        if let Item::Status(status) = item {
            well &= status.is_well();
            show(desk, &status);
        }
    }
    Ok(if arguments.exit_code && !well { code::FOUND } else { code::WELL })
}

fn edge_words(edge: &EdgeStatus, status: &Status) -> String {
    let process = edge.pid.map_or_else(String::new, |pid| format!("process {pid}, "));
    let since = edge.started.map_or_else(String::new, |at| format!(", up {}", span(at, status.now)));
    let version = match edge.version.as_str() {
        same if same.is_empty() || same == status.version => String::new(),
        other => format!(", stormpost {other}"),
    };
    format!("{process}{}{since}{version}", edge.words)
}

fn show(desk: &Desk, status: &Status) {
    let out = desk.output;
    out.value(status);
    let up = span(status.started, status.now);
    out.say(&format!("{}, stormpost {}, up {up}, {} UTC", status.node, status.version, moment(status.now)));
    for (id, primary) in &status.primaries {
        out.say("");
        out.say(&format!("{id}: {}", primary.words));
        if let Some(pinned) = &primary.pinned {
            let until = pinned.until.map_or_else(String::new, |t| format!(" until {} UTC", moment(t)));
            out.say(&format!("  pinned by {}{until}: {}", pinned.by, pinned.reason));
        }
        let rows: Vec<Vec<String>> = primary
            .planes
            .iter()
            .map(|(name, plane)| {
                let since =
                    if plane.since.0 == 0 { String::new() } else { format!("{} UTC", moment(plane.since)) };
                let found = match plane.finding {
                    None => "not measured",
                    Some(Finding::Up) => "works",
                    Some(Finding::Down) => "fails",
                };
                vec![
                    format!("  {name}"),
                    plane.state.to_string(),
                    since,
                    found.to_owned(),
                    plane.detail.clone(),
                ]
            })
            .collect();
        out.table(&["  plane", "state", "since", "last look", ""], &rows);
        let lag = primary.lag;
        if lag.messages > 0 || lag.changes > 0 || primary.state != State::Ready {
            let oldest =
                lag.oldest.map_or_else(String::new, |t| format!(", the oldest {} old", span(t, status.now)));
            out.say(&format!("  behind by {} messages and {} changes{oldest}", lag.messages, lag.changes));
        }
        if let Some(event) = primary.event {
            out.say(&format!("  event {event} is open; see: stormpost event show {event}"));
        }
        match primary.proved {
            Some(at) => out.say(&format!("  give-back last proved {} UTC", moment(at))),
            None => out.say("  give-back never proved yet"),
        }
    }
    let queue = &status.queue;
    let oldest =
        queue.oldest.map_or_else(String::new, |t| format!(", the oldest {} old", span(t, status.now)));
    let size = write_size(queue.bytes);
    out.say("");
    out.say(&format!("queue     {} messages, {size}{oldest}, {} parked", queue.messages, queue.parked));
    if let Some(edge) = &status.edge {
        out.say(&format!("edge      {}", edge_words(edge, status)));
    }
    let days = status.disk.days.map_or_else(String::new, |days| format!(", room for {days:.0} days"));
    let (free, budget) = (write_size(status.disk.free), write_size(status.disk.budget));
    out.say(&format!("disk      {free} free, at most {budget} may wait{days}"));
    for (log, health) in status.disk.logs.iter().filter(|(_, health)| *health != "open") {
        out.say(&format!("          {log}: {health}"));
    }
    if let Some(offsite) = &status.offsite {
        out.say(&format!("offsite   {}", offsite.words()));
    }
    let coverage = status.coverage;
    out.say(&format!("coverage  {} of {} people could sign in here now", coverage.able, coverage.accounts));
    for warning in &status.warnings {
        out.say(&format!("warning: {warning}"));
    }
}
