//! This machine's clock: certificates, signatures, time limits and reports all go by it.
//!
//! Nobody here is asked for the exact time. The web servers that the configuration names anyway say theirs in every answer,
//! to the second; what was written down here shows a clock that went back.

use super::finding::Finding;
use super::patient::Patient;
use crate::compose::primaries::trust;
use crate::configuration::TrustWanted;
use roads_notify::Web;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;
use words_mail::Time;
use words_world::{Boxed, Url};

/// Further off than this is a warning, seconds; …
const OFF_WARN: i64 = 10;
/// … and than this a fault: signatures and certificates are taken for expired or not yet valid.
const OFF_FAIL: i64 = 300;
/// Web servers that are asked.
const ASKED_MAX: usize = 5;
/// What systemd-timesyncd makes once it has set the clock.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// Topic `clock`.
pub(super) fn look(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let mut asked = JoinSet::new();
        for (host, url) in webs(&patient).into_iter().take(ASKED_MAX) {
            let patient = patient.clone();
            asked.spawn(async move { (host, offset(&patient, &url).await) });
        }
        let mut offsets = Vec::new();
        while let Some(answer) = asked.join_next().await {
            if let Ok((host, Some(seconds))) = answer {
                offsets.push((host, seconds));
            }
        }
        let set = Path::new(SYNCHRONISED).exists();
        let mut found = vec![judge(&offsets, set)];
        found.extend(went_back(&patient));
        found
    })
}

/// The web servers that are asked anyway: of notices, of the heartbeat, of MTA-STS policies.
fn webs(patient: &Patient) -> Vec<(String, Url)> {
    let notify = &patient.configuration.notify;
    let mut hosts = BTreeSet::new();
    let mut all = Vec::new();
    for text in &notify.webhook {
        all.extend(Url::parse(text));
    }
    for domain in &patient.configuration.domains {
        all.extend(Url::parse(&format!("https://mta-sts.{}/", domain.domain.name)));
    }
    // The path may be a secret, and may do something: only the front page is asked for.
    let all = all.into_iter().map(|url| Url { target: "/".to_owned(), ..url });
    all.filter(|url| hosts.insert(url.host.clone())).map(|url| (url.host.clone(), url)).collect()
}

/// How far our clock is ahead of a web server's, seconds.
async fn offset(patient: &Patient, url: &Url) -> Option<i64> {
    let web = Web::new(patient.world.clone(), trust(&TrustWanted::Public).ok()?);
    let before = patient.world.clock.now();
    let answer = web.head(url).await.ok()?;
    let after = patient.world.clock.now();
    let theirs = mail_parser::DateTime::parse_rfc822(&answer.date?)?.to_timestamp();
    let ours = (before.seconds() + after.seconds()) / 2;
    Some(ours - theirs)
}

fn judge(offsets: &[(String, i64)], set: bool) -> Finding {
    let about = "clock against the web";
    let mend = "timedatectl set-ntp true   (or install chrony)";
    let mut sorted: Vec<i64> = offsets.iter().map(|(_, seconds)| *seconds).collect();
    sorted.sort_unstable();
    let Some(middle) = sorted.get(sorted.len() / 2).copied() else {
        return match set {
            true => Finding::ok(
                "clock",
                "set by systemd-timesyncd; no web server that the configuration names said its time",
            ),
            false => Finding::unseen(
                "clock",
                "no web server that the configuration names said its time, and systemd-timesyncd did not set it; chrony: chronyc tracking",
            ),
        };
    };
    let hosts: Vec<&str> = offsets.iter().map(|(host, _)| host.as_str()).collect();
    let words = format!("{middle:+} s against {}", hosts.join(", "));
    match middle.abs() {
        0..OFF_WARN => Finding::ok(about, words),
        OFF_WARN..OFF_FAIL => Finding::warn(about, words).today("times in reports and traces are off").mend(mend),
        _ => Finding::fail(about, words)
            .today("signatures and certificates are taken for expired or not yet valid; times in reports are wrong")
            .mend(mend),
    }
}

/// What was written down later than now shows that the clock went back.
fn went_back(patient: &Patient) -> Option<Finding> {
    let reader = patient.ledger.as_ref().ok()?;
    let times = reader.log_reader().segment_times().ok()?;
    let last = times.iter().map(|(_, begun)| *begun).max()?;
    let ahead = last.0.saturating_sub(patient.now.0) / 1_000_000;
    (ahead > OFF_WARN).then(|| judge_back(last, ahead))
}

fn judge_back(last: Time, ahead: i64) -> Finding {
    Finding::warn(
        "clock against what was written",
        format!("the ledger has entries of {last}, {ahead} s from now"),
    )
    .today("the clock went back: what was recorded stands in an order that no clock shows")
    .mend("timedatectl; then look at the times in the reports with care")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;

    #[test]
    fn the_middle_of_what_others_say_counts() {
        let said =
            |seconds: &[i64]| seconds.iter().map(|s| ("web.example".to_owned(), *s)).collect::<Vec<_>>();
        for (offsets, set, grade) in [
            (vec![], true, Grade::Ok),
            (vec![], false, Grade::Unseen),
            (vec![1], false, Grade::Ok),
            (vec![-2, 1, 4_000], false, Grade::Ok),
            (vec![60], true, Grade::Warn),
            (vec![-301], true, Grade::Fail),
        ] {
            assert_eq!(judge(&said(&offsets), set).grade, grade, "{offsets:?}");
        }
    }
}
