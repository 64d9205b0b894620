//! Whether this node does its work. That a primary is down is no fault of the node: it is what the node is for.

use super::Page;
use crate::control::answer::Answers;
use crate::control::protocol::Status;
use serde_json::json;
use std::collections::BTreeMap;
use words_mail::State;

/// The page: `200` while mail can be taken in, else `503`.
pub(super) fn page(answers: &Answers) -> Page {
    of(&answers.look())
}

pub(super) fn of(status: &Status) -> Page {
    let closed: Vec<&str> = status
        .disk
        .logs
        .iter()
        .filter(|(_, health)| *health != "open")
        .map(|(log, _)| log.as_str())
        .collect();
    let edge = status.edge.as_ref().filter(|edge| !edge.up);
    let full = status.disk.full;
    let well = closed.is_empty() && edge.is_none() && !full;
    let words = match (closed.as_slice(), edge) {
        ([], None) if full => {
            "mail is not taken in: as much waits as may wait; senders are told to come back".to_owned()
        }
        ([], None) => "mail is taken in".to_owned(),
        ([], Some(edge)) => format!("perhaps mail is not taken in; the edge: {}", edge.words),
        (logs, _) => {
            let names = logs.join(", ");
            format!("mail is not taken in: {names} takes nothing; senders are told to try again")
        }
    };
    let primaries: BTreeMap<&String, serde_json::Value> = status
        .primaries
        .iter()
        .map(|(id, primary)| {
            // Who pinned it is nobody's business here.
            let words = if primary.state == State::Pinned { "Pinned" } else { primary.words.as_str() };
            (id, json!({ "state": primary.state, "words": words, "waiting": primary.lag.messages }))
        })
        .collect();
    let value = json!({
        "well": well,
        "words": words,
        "node": status.node,
        "version": status.version,
        "up_seconds": status.now.since(status.started).as_secs(),
        "primaries": primaries,
        "queue": { "messages": status.queue.messages, "bytes": status.queue.bytes, "parked": status.queue.parked },
        "logs": status.disk.logs,
        "disk_free_bytes": status.disk.free,
        "spool_budget_bytes": status.disk.budget,
        "spool_full": full,
        // What they say may name people; `stormpost status` shows them.
        "warnings": status.warnings.len(),
    });
    let mut body = serde_json::to_string_pretty(&value).unwrap_or_default();
    body.push('\n');
    let code = if well { "200 OK" } else { "503 Service Unavailable" };
    Page { status: code, kind: "application/json", body }
}
