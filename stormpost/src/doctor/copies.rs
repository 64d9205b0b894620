//! Copies elsewhere: what is left when this machine burns.

use super::finding::Finding;
use super::patient::Patient;
use crate::command::moment;
use crate::compose::elsewhere::{LastCopy, last_copies};
use std::sync::Arc;
use std::time::Duration;
use words_mail::Time;
use words_world::Boxed;

/// A copy that somebody makes by hand or by a timer may be so old.
const BY_HAND: Duration = Duration::from_secs(2 * 86_400);
/// An older one is hardly one.
const HARDLY: Duration = Duration::from_secs(14 * 86_400);

/// Topic `copies`.
pub(super) fn look(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let node = &patient.configuration.node;
        let last = last_copies(&node.data);
        let offsite = patient.configuration.offsite.as_ref();
        let wanted = offsite.map(|offsite| (offsite.to.as_str(), offsite.behind));
        let mut found = judge(&last, wanted, patient.now);
        let key = node.key_file.display();
        found.push(Finding::unseen(
            "copy of the key",
            format!(
                "nobody can see from here whether {key} is kept elsewhere too; without it no copy can be read"
            ),
        ));
        found
    })
}

fn judge(last: &[LastCopy], wanted: Option<(&str, Duration)>, now: Time) -> Vec<Finding> {
    let lost = "when this machine is lost, so is what waited on it and what people did in an outage";
    let mend = match wanted {
        Some(_) => "stormpost backup; then look at why it does not run by itself (stormpost status)",
        None => {
            "[offsite] to = \"s3://BUCKET/PREFIX\" (or a folder on another machine); or daily: stormpost backup --to …"
        }
    };
    if last.is_empty() {
        return vec![Finding::warn("copies elsewhere", "none was ever made").today(lost).mend(mend)];
    }
    let mut found: Vec<Finding> = last
        .iter()
        .map(|copy| {
            let about = format!("copy at {}", copy.to);
            let age = now.since(copy.ended);
            let most = match wanted {
                Some((to, behind)) if to == copy.to => behind,
                _ => BY_HAND,
            };
            let words = format!("last made {} UTC, {} hours ago", moment(copy.ended), age.as_secs() / 3_600);
            match age {
                age if age > HARDLY => Finding::fail(about, words).today(lost).mend(mend),
                age if age > most => {
                    Finding::warn(about, words).today("what came since then is here only").mend(mend)
                }
                _ => Finding::ok(about, words),
            }
        })
        .collect();
    if let Some((to, _)) = wanted.filter(|(to, _)| last.iter().all(|copy| copy.to != **to)) {
        let words = "none was ever made, and [offsite] names it";
        found.push(Finding::warn(format!("copy at {to}"), words).today(lost).mend(mend));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;

    #[test]
    fn a_copy_is_judged_by_its_age_and_by_whether_it_was_wanted() {
        let now = Time::from_civil(2026, 11, 22, 0, 0, 0);
        let hours = |n: u64| Duration::from_secs(n * 3_600);
        let copy = |to: &str, age: u64| LastCopy {
            to: to.to_owned(),
            sequence: 1,
            ended: now.before(hours(age)),
            until: now.before(hours(age)),
        };
        let wanted = Some(("s3://b/p", hours(1)));
        for (last, wanted, worst, words) in [
            (vec![], None, Grade::Warn, "none was ever made"),
            (vec![copy("/mnt", 10)], None, Grade::Ok, "10 hours ago"),
            (vec![copy("/mnt", 60)], None, Grade::Warn, "60 hours ago"),
            (vec![copy("/mnt", 500)], None, Grade::Fail, "500 hours ago"),
            (vec![copy("s3://b/p", 0)], wanted, Grade::Ok, "0 hours ago"),
            (vec![copy("s3://b/p", 3)], wanted, Grade::Warn, "3 hours ago"),
            (vec![copy("/mnt", 1)], wanted, Grade::Warn, "[offsite] names it"),
        ] {
            let found = judge(&last, wanted, now);
            assert_eq!(found.iter().map(|f| f.grade).max(), Some(worst), "{found:?}");
            assert!(found.iter().any(|f| f.words.contains(words)), "{words}: {found:?}");
        }
    }
}
