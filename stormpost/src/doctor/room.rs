//! Room: whether mail can be taken in today, and for how many days of an outage.

use super::finding::Finding;
use super::patient::Patient;
use crate::configuration::write_size;
use crate::control::protocol::Status;
use std::sync::Arc;
use words_world::Boxed;

/// Less room than for so many days is a fault, …
const DAYS_FAIL: f64 = 1.0;
/// … and than for so many a warning: an outage begins on a Friday evening.
const DAYS_WARN: f64 = 4.0;
/// Less free disk than this above the reserve is a warning, bytes.
const FREE_LEAST: u64 = 1 << 30;

/// Topic `room`.
pub(super) fn look(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let limits = &patient.configuration.limits;
        let data = &patient.configuration.node.data;
        let folder = data.ancestors().find(|folder| folder.exists());
        let free = folder.and_then(|folder| patient.world.disk.free(folder).ok());
        let Some(free) = free else {
            return vec![Finding::unseen(
                "disk",
                format!("nobody can say how much is free below {}", data.display()),
            )];
        };
        let status = patient.node.as_ref().ok();
        judge(&data.display().to_string(), free, limits.reserve, limits.spool_size, status)
    })
}

fn judge(data: &str, free: u64, reserve: u64, spool: u64, status: Option<&Status>) -> Vec<Finding> {
    let about = format!("disk of {data}");
    let room = free.saturating_sub(reserve);
    let mend = "make room, or choose another disk for [node] data";
    let shown =
        format!("{} free, of which {} are kept in reserve", write_size(free), write_size(reserve.min(free)));
    let mut found = vec![match room {
        0 => Finding::fail(&about, shown)
            .today("no mail is taken in: senders are told to come back (452 4.3.1)")
            .mend(mend),
        room if room < FREE_LEAST => Finding::warn(&about, shown).today("nothing yet").mend(mend),
        _ => Finding::ok(&about, shown),
    }];
    if room < spool && room > 0 {
        let (room, spool) = (write_size(room), write_size(spool));
        found.push(
            Finding::warn(
                "room for mail that waits",
                format!("{spool} may wait (spool_size), and the disk has {room}"),
            )
            .today(format!("in a long outage mail is taken in only until {room} wait"))
            .mend(mend),
        );
    }
    let about = "days of mail there is room for";
    let Some(status) = status else {
        found.push(Finding::unseen(
            about,
            "the node does not run, so nobody measures how much comes in a day",
        ));
        return found;
    };
    found.push(match status.disk.days {
        None => Finding::unseen(about, "the node has not run long enough to measure how much comes in a day"),
        Some(days) if days < DAYS_FAIL => {
            Finding::fail(about, format!("{days:.1} days at the measured pace"))
                .today("an outage of a day fills it, and senders are told to come back")
                .mend(mend)
        }
        Some(days) if days < DAYS_WARN => {
            Finding::warn(about, format!("{days:.1} days at the measured pace"))
                .today("an outage over a long weekend fills it")
                .mend(mend)
        }
        Some(days) => Finding::ok(about, format!("{days:.0} days at the measured pace")),
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::DiskStatus;
    use crate::doctor::finding::Grade;

    #[test]
    fn room_is_judged_by_what_is_free_and_by_days() {
        const GIB: u64 = 1 << 30;
        let days = |days| Status { disk: DiskStatus { days, ..DiskStatus::default() }, ..Status::default() };
        for (free, reserve, spool, status, worst, words) in [
            (100 * GIB, GIB, 20 * GIB, Some(days(Some(40.0))), Grade::Ok, "40 days"),
            (GIB, GIB, 20 * GIB, None, Grade::Fail, "kept in reserve"),
            (GIB + 1_000_000, GIB, 500_000, None, Grade::Warn, "free"),
            (10 * GIB, GIB, 20 * GIB, None, Grade::Warn, "20GiB may wait"),
            (100 * GIB, GIB, 20 * GIB, Some(days(Some(3.0))), Grade::Warn, "3.0 days"),
            (100 * GIB, GIB, 20 * GIB, Some(days(Some(0.5))), Grade::Fail, "0.5 days"),
            (100 * GIB, GIB, 20 * GIB, Some(days(None)), Grade::Unseen, "long enough"),
        ] {
            let found = judge("/d", free, reserve, spool, status.as_ref());
            assert_eq!(found.iter().map(|f| f.grade).max(), Some(worst), "{found:?}");
            assert!(
                found.iter().any(|f| f.words.replace(' ', "").contains(&words.replace(' ', ""))),
                "{words}: {found:?}"
            );
        }
    }
}
