//! Whether anybody hears when something happens: each way notices go, as it was last seen to work; and who hears when this node dies.

use super::finding::Finding;
use super::patient::Patient;
use crate::command::moment;
use crate::compose::notices::receivers;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use stores_ledger::{Entry, LedgerReader, Notice, NoticeResult};
use words_mail::{RequestKind, Time};
use words_world::Boxed;

/// A way that was last seen to work longer ago is a warning.
const TRIED_OLD: Duration = Duration::from_secs(90 * 86_400);
/// So far back the ledger is read.
const READ_BACK: Duration = Duration::from_secs(400 * 86_400);

/// What the ledger says about notices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    /// The last result of each way, by channel and receiver.
    last: BTreeMap<(String, String), (Time, NoticeResult)>,
    /// When each way last took one.
    took: BTreeMap<(String, String), Time>,
    /// When somebody last said that a notice was seen.
    acknowledged: Option<(Time, String)>,
    /// Until when nobody is told anything.
    muted: Option<(Time, String)>,
}

/// Topic `notices`.
pub(super) fn look(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let mut found = vec![heartbeat(&patient)];
        if patient.configuration.primaries.is_empty() {
            return found;
        }
        let ways: BTreeSet<(String, String)> = match receivers(&patient.world, &patient.configuration) {
            Ok(receivers) => receivers
                .others
                .iter()
                .chain(receivers.of.values().flatten())
                .map(|courier| (courier.channel().to_owned(), courier.to().to_owned()))
                .collect(),
            Err(why) => {
                found.push(
                    Finding::fail("notices", format!("{why:#}"))
                        .today("nobody is told anything")
                        .mend("stormpost check"),
                );
                return found;
            }
        };
        match &patient.ledger {
            Ok(reader) => found.extend(judge(&ways, &told(reader, patient.now), patient.now)),
            Err(_) if ways.is_empty() => found.extend(judge(&ways, &Told::default(), patient.now)),
            Err(why) => found.push(Finding::unseen("notices", why)),
        }
        found
    })
}

fn heartbeat(patient: &Patient) -> Finding {
    match patient.configuration.notify.heartbeat.as_slice() {
        [] => Finding::warn("heartbeat", "nobody outside is told regularly that this node lives")
            .today("when this machine dies, nobody hears of it from here")
            .mend("[notify] heartbeat = [\"https://…\"]   (a dead man's switch, such as healthchecks.io or your monitoring)"),
        targets => {
            let every = patient.configuration.notify.heartbeat_every.as_secs();
            Finding::ok("heartbeat", format!("goes to {} places every {every} s while all is well; misses stand in stormpost status", targets.len()))
        }
    }
}

fn told(reader: &LedgerReader, now: Time) -> Told {
    let from = reader.position_at(now.before(READ_BACK)).unwrap_or_default();
    let mut told = Told::default();
    for entered in reader.scan_notices(Some(from)).map_while(Result::ok) {
        match entered.entry {
            Entry::Notice(Notice { at, channel, to, result, .. }) => {
                let way = (channel, to);
                if result == NoticeResult::Sent {
                    told.took.insert(way.clone(), at);
                }
                if matches!(result, NoticeResult::Sent | NoticeResult::Failed { .. }) {
                    told.last.insert(way, (at, result));
                }
            }
            Entry::Request(request) => match request.kind {
                RequestKind::Acknowledge { .. } => told.acknowledged = Some((request.at, request.by)),
                RequestKind::Mute { until } => told.muted = Some((until, request.by)),
                _ => {}
            },
            _ => {}
        }
    }
    told
}

fn judge(ways: &BTreeSet<(String, String)>, told: &Told, now: Time) -> Vec<Finding> {
    if ways.is_empty() {
        return vec![
            Finding::fail("notices", "nobody is told when the primary fails")
                .today("an outage is noticed when somebody looks")
                .mend("[notify] mail = [\"you@provider.example\"]"),
        ];
    }
    let mut found = Vec::new();
    for way in ways {
        let about = format!("notices by {} to {}", way.0, way.1);
        let took = told.took.get(way);
        let test = "stormpost notice test";
        found.push(match (told.last.get(way), took) {
            (Some((at, NoticeResult::Failed { why })), _) => {
                Finding::fail(about, format!("the last one, {} UTC, did not go: {why}", moment(*at)))
                    .today("who should hear there hears nothing")
                    .mend(test)
            }
            (_, None) => Finding::warn(about, "never seen to work")
                .today("nothing; what is not tried is not known to work")
                .mend(test),
            (_, Some(at)) if now.since(*at) > TRIED_OLD => {
                let days = now.since(*at).as_secs() / 86_400;
                Finding::warn(about, format!("last seen to work {days} days ago"))
                    .today("nothing; what is not tried is not known to work")
                    .mend(test)
            }
            (_, Some(at)) => Finding::ok(about, format!("last taken {} UTC", moment(*at))),
        });
    }
    if let Some((until, by)) = told.muted.as_ref().filter(|(until, _)| *until > now) {
        found.push(
            Finding::warn("notices", format!("muted by {by} until {} UTC", moment(*until)))
                .today("nobody is told anything")
                .mend("it ends by itself"),
        );
    }
    if let Some((at, by)) = &told.acknowledged {
        found.push(Finding::ok("notices", format!("last acknowledged {} UTC by {by}", moment(*at))));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;

    #[test]
    fn each_way_is_judged_by_when_it_last_worked() {
        let now = Time::from_civil(2026, 11, 22, 0, 0, 0);
        let ago = |days: u64| now.before(Duration::from_secs(days * 86_400));
        let way = ("mail".to_owned(), "x@provider.example".to_owned());
        let ways: BTreeSet<_> = [way.clone()].into();
        let sent = |days| Told {
            last: [(way.clone(), (ago(days), NoticeResult::Sent))].into(),
            took: [(way.clone(), ago(days))].into(),
            ..Told::default()
        };
        let failed = Told {
            last: [(way.clone(), (ago(1), NoticeResult::Failed { why: "550 no".into() }))].into(),
            ..sent(2)
        };
        for (ways, told, worst, words) in [
            (&ways, sent(1), Grade::Ok, "last taken"),
            (&ways, sent(100), Grade::Warn, "100 days ago"),
            (&ways, Told::default(), Grade::Warn, "never seen to work"),
            (&ways, failed, Grade::Fail, "550 no"),
            (
                &ways,
                Told { muted: Some((now.after(TRIED_OLD), "anna".into())), ..sent(1) },
                Grade::Warn,
                "muted by anna",
            ),
            (&BTreeSet::new(), Told::default(), Grade::Fail, "nobody is told"),
        ] {
            let found = judge(ways, &told, now);
            assert_eq!(found.iter().map(|f| f.grade).max(), Some(worst), "{found:?}");
            assert!(found.iter().any(|f| f.words.contains(words)), "{words}: {found:?}");
        }
    }
}
