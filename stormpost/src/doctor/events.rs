//! The node itself, and what people may have forgotten: open events, pins, pauses, drills.

use super::finding::Finding;
use super::patient::Patient;
use crate::command::{moment, span};
use crate::control::protocol::Status;
use std::sync::Arc;
use std::time::Duration;
use stores_ledger::{Act, Entry, LedgerReader, QueueAct};
use words_mail::{State, Time};
use words_world::Boxed;

/// A pin or a pause that is older was perhaps forgotten.
const FORGOTTEN: Duration = Duration::from_secs(7 * 86_400);
/// A give-back that was proved longer ago proves little about today.
const PROVED_OLD: Duration = Duration::from_secs(180 * 86_400);
/// So far back acts on the queue are read.
const READ_BACK: Duration = Duration::from_secs(400 * 86_400);
/// Warnings of the node that are told.
const WARNINGS_MAX: usize = 20;

/// Topic `node`.
pub(super) fn node(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let ours = env!("CARGO_PKG_VERSION");
        match &patient.node {
            Err(why) => vec![
                Finding::fail("node", format!("says nothing: {why}"))
                    .today("what is said below about the node itself could not be seen; perhaps no mail comes in")
                    .mend("systemctl start stormpost   (or: stormpost serve)"),
            ],
            Ok(status) => judge_node(status, ours),
        }
    })
}

fn judge_node(status: &Status, ours: &str) -> Vec<Finding> {
    let up = span(status.started, status.now);
    let mut found = vec![match status.version == ours {
        true => Finding::ok("node", format!("runs stormpost {ours}, up {up}")),
        false => {
            Finding::warn("node", format!("runs stormpost {}, and this program is {ours}", status.version))
                .today("what was installed last does not run yet")
                .mend("systemctl restart stormpost")
        }
    }];
    if let Some(edge) = &status.edge {
        found.push(match (edge.up, edge.version == status.version) {
            (false, _) => Finding::fail("edge", &edge.words)
                .today("perhaps no mail comes in")
                .mend("look at the log; it is started again by itself"),
            (true, false) => {
                Finding::warn("edge", format!("runs stormpost {}, the rest {}", edge.version, status.version))
                    .today("nothing")
                    .mend("systemctl restart stormpost")
            }
            (true, true) => Finding::ok("edge", &edge.words),
        });
    }
    let told = status.warnings.iter().take(WARNINGS_MAX);
    found.extend(told.map(|warning| Finding::warn("the node warns", warning).mend("stormpost status")));
    found
}

/// Topic `events`.
pub(super) fn events(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let mut found = Vec::new();
        match &patient.node {
            Ok(status) => found.extend(judge_events(status)),
            Err(_) => found.extend(from_ledger(&patient)),
        }
        let acts = patient.ledger.as_ref().map(|reader| pauses(reader, patient.now)).unwrap_or_default();
        found.extend(judge_pauses(&acts, patient.now));
        if found.is_empty() {
            found.push(Finding::ok("events", "none is open, and nothing is pinned or paused"));
        }
        found
    })
}

fn judge_events(status: &Status) -> Vec<Finding> {
    let mut found = Vec::new();
    for (id, primary) in &status.primaries {
        let proof = format!("give-back of {id}");
        found.push(match primary.proved {
            None => Finding::warn(&proof, "never proved")
                .today("nothing; what is not tried is not known to work")
                .mend(format!("a drill: stormpost failover {id} --reason drill; a quarter of an hour later: stormpost failback {id} --reason drill")),
            Some(at) if status.now.since(at) > PROVED_OLD => {
                let days = status.now.since(at).as_secs() / 86_400;
                Finding::warn(&proof, format!("last proved {} UTC, {days} days ago", moment(at)))
                    .today("nothing; what changed since then is not known to work")
                    .mend(format!("a drill: stormpost failover {id} --reason drill"))
            }
            Some(at) => Finding::ok(&proof, format!("last proved {} UTC", moment(at))),
        });
        let pinned = primary
            .planes
            .values()
            .filter(|plane| plane.state == State::Pinned)
            .map(|plane| plane.since)
            .min();
        if let Some(since) = pinned {
            let old = status.now.since(since) > FORGOTTEN;
            let by = primary
                .pinned
                .as_ref()
                .map(|pin| format!(" by {}: {}", pin.by, pin.reason))
                .unwrap_or_default();
            let finding = Finding::warn(format!("pin of {id}"), format!("since {} UTC{by}", moment(since)))
                .today(match old {
                    true => "nothing that is observed changes anything, for more than a week: perhaps it was forgotten",
                    false => "nothing that is observed changes anything",
                })
                .mend(format!("stormpost unpin {id} --reason \"…\""));
            found.push(finding);
        }
        if let Some(event) = primary.event {
            found.push(
                Finding::warn(format!("event {event} of {id}"), &primary.words)
                    .today("mail waits here or is being given back; people work here")
                    .mend(format!("stormpost event show {event}")),
            );
        }
    }
    found
}

/// What stands in the ledger when no node can be asked.
fn from_ledger(patient: &Patient) -> Vec<Finding> {
    let reader = match &patient.ledger {
        Ok(reader) => reader,
        Err(why) => return vec![Finding::unseen("events", why)],
    };
    match reader.in_force() {
        Err(why) => vec![Finding::unseen("events", why.to_string())],
        Ok((in_force, _)) => in_force
            .open_events()
            .map(|event| {
                Finding::warn(
                    format!("event {} of {}", event.id, event.primary),
                    format!("open since {}", event.opened),
                )
                .today("it goes on once the node runs")
                .mend("stormpost serve; stormpost event show")
            })
            .collect(),
    }
}

/// The pauses of the queue that nobody ended.
fn pauses(reader: &LedgerReader, now: Time) -> Vec<QueueAct> {
    let from = reader.position_at(now.before(READ_BACK)).unwrap_or_default();
    let mut open: Vec<QueueAct> = Vec::new();
    for entered in reader.scan_settlements(Some(from)).map_while(Result::ok) {
        let Entry::QueueAct(act) = entered.entry else { continue };
        match act.act {
            Act::Pause => open.push(act),
            Act::Resume => open.retain(|paused| !ends(&act, paused)),
            _ => {}
        }
    }
    open
}

/// Whether a resumption ends a pause: it names the same, or more.
fn ends(resume: &QueueAct, paused: &QueueAct) -> bool {
    let within = |wide: bool, same: bool| wide || same;
    within(resume.trace.is_none(), resume.trace == paused.trace)
        && within(resume.recipient.is_none(), resume.recipient == paused.recipient)
        && within(resume.destination.is_none(), resume.destination == paused.destination)
}

fn judge_pauses(acts: &[QueueAct], now: Time) -> Vec<Finding> {
    let mut found = Vec::new();
    for act in acts.iter().filter(|act| now.since(act.at) > FORGOTTEN).take(WARNINGS_MAX) {
        let days = now.since(act.at).as_secs() / 86_400;
        let reason = if act.reason.is_empty() { String::new() } else { format!(" ({})", act.reason) };
        found.push(
            Finding::warn(
                "pause of the queue",
                format!("{} paused something {days} days ago{reason}", act.by),
            )
            .today("that mail is not tried")
            .mend("stormpost status names it; then: stormpost queue resume"),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{EdgeStatus, Lag, Pinned, PlaneStatus, PrimaryStatus};
    use crate::doctor::finding::Grade;
    use words_mail::{EventId, Mode};

    fn status() -> Status {
        let now = Time::from_civil(2026, 11, 22, 0, 0, 0);
        let primary = PrimaryStatus {
            state: State::Ready,
            words: "All well".into(),
            mode: Mode::default(),
            planes: Default::default(),
            event: None,
            on: Vec::new(),
            lag: Lag::default(),
            pinned: None,
            proved: Some(now.before(Duration::from_secs(86_400))),
        };
        Status {
            version: "1".into(),
            now,
            primaries: [("office".to_owned(), primary)].into(),
            ..Status::default()
        }
    }

    #[test]
    fn what_was_forgotten_is_found() {
        let days = |n: u64| Duration::from_secs(n * 86_400);
        let with = |change: &dyn Fn(&mut PrimaryStatus, Time)| {
            let mut status = status();
            let now = status.now;
            change(status.primaries.get_mut("office").unwrap(), now);
            judge_events(&status)
        };
        let plane = |since| PlaneStatus {
            state: State::Pinned,
            since,
            finding: None,
            detail: String::new(),
            order: None,
        };
        for (found, worst, words) in [
            (with(&|_, _| {}), Grade::Ok, "last proved"),
            (with(&|p, _| p.proved = None), Grade::Warn, "never proved"),
            (with(&|p, now| p.proved = Some(now.before(days(200)))), Grade::Warn, "200 days ago"),
            (with(&|p, _| p.event = Some(EventId(3))), Grade::Warn, "All well"),
            (
                with(&|p, now| {
                    p.planes = [("inbound".to_owned(), plane(now.before(days(9))))].into();
                    p.pinned = Some(Pinned { by: "anna".into(), reason: "rack".into(), until: None });
                }),
                Grade::Warn,
                "by anna: rack",
            ),
        ] {
            assert_eq!(found.iter().map(|f| f.grade).max(), Some(worst), "{found:?}");
            assert!(found.iter().any(|f| f.words.contains(words)), "{words}: {found:?}");
        }
    }

    #[test]
    fn a_pause_counts_as_forgotten_after_a_week_and_ends_with_its_resumption() {
        let now = Time::from_civil(2026, 11, 22, 0, 0, 0);
        let act = |act, days: u64, recipient: Option<&str>| QueueAct {
            at: now.before(Duration::from_secs(days * 86_400)),
            by: "anna".into(),
            reason: String::new(),
            act,
            trace: None,
            recipient: recipient.map(|text| words_mail::Address::parse(text).unwrap()),
            destination: None,
        };
        assert_eq!(judge_pauses(&[act(Act::Pause, 8, None)], now).len(), 1);
        assert_eq!(judge_pauses(&[act(Act::Pause, 6, None)], now).len(), 0);
        assert!(ends(&act(Act::Resume, 1, None), &act(Act::Pause, 8, Some("b@example.org"))));
        assert!(!ends(
            &act(Act::Resume, 1, Some("c@example.org")),
            &act(Act::Pause, 8, Some("b@example.org"))
        ));
    }

    #[test]
    fn versions_that_differ_and_an_edge_that_is_down_are_found() {
        let edge = |up, version: &str| {
            Some(EdgeStatus { up, pid: None, started: None, version: version.into(), words: "x".into() })
        };
        for (version, edge, worst) in [
            ("1", edge(true, "1"), Grade::Ok),
            ("2", edge(true, "1"), Grade::Warn),
            ("1", edge(true, "0"), Grade::Warn),
            ("1", edge(false, ""), Grade::Fail),
        ] {
            let found = judge_node(&Status { edge, ..status() }, version);
            assert_eq!(found.iter().map(|f| f.grade).max(), Some(worst), "{found:?}");
        }
    }
}
