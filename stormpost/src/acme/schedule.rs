//! When a certificate is fetched or renewed: a pure rule.

use std::time::Duration;
use words_mail::Time;

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) begin: Time,
    pub(super) end: Time,
}

/// What the plan is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// That of the certificate in use, if it is for all the names.
    pub(super) life: Option<Life>,
    /// The window in which the authority wants it renewed (RFC 9773 §4.1).
    pub(super) advice: Option<(Time, Time)>,
    /// Drawn once for this certificate, of `u32::MAX`.
    pub(super) draw: u64,
    /// Failures in a row.
    pub(super) failures: u32,
    /// When it was last tried.
    pub(super) last_try: Option<Time>,
    /// The authority wants to hear nothing before then.
    pub(super) not_before: Option<Time>,
    pub(super) retry_first: Duration,
    pub(super) retry_max: Duration,
}

/// An authority that wants to hear nothing for longer is asked after this all the same.
const SILENCE_MAX: Duration = Duration::from_secs(7 * 86_400);

impl Plan {
    /// The moment; one in the past means now.
    pub(super) fn next(&self) -> Time {
        let due = match (self.life, self.advice) {
            (None, _) => Time::from_seconds(0),
            (Some(_), Some((begin, end))) => begin.after(self.share(end.since(begin))),
            // A third of the life is left for whatever may fail, and a little more by the draw.
            (Some(Life { begin, end }), None) => {
                let life = end.since(begin);
                begin.after(life * 2 / 3).before(self.share(life / 30))
            }
        };
        let (Some(last), 1..) = (self.last_try, self.failures) else { return due };
        let doubled = self.retry_first.saturating_mul(1 << (self.failures - 1).min(20));
        let wait = doubled.min(self.retry_max.max(self.retry_first));
        let again = last.after(wait).max(self.not_before.unwrap_or(last).min(last.after(SILENCE_MAX)));
        due.max(again)
    }

    /// The drawn share of `whole`.
    fn share(&self, whole: Duration) -> Duration {
        let draw = self.draw.min(u64::from(u32::MAX)) as f64 / f64::from(u32::MAX);
        whole.mul_f64(draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn plan() -> Plan {
        Plan {
            life: None,
            advice: None,
            draw: 0,
            failures: 0,
            last_try: None,
            not_before: None,
            retry_first: Duration::from_secs(900),
            retry_max: Duration::from_secs(43_200),
        }
    }

    fn day(n: u32) -> Time {
        Time::from_seconds(1_000_000).after(DAY * n)
    }

    #[test]
    fn it_is_renewed_at_two_thirds_of_its_life_or_when_the_authority_wants() {
        let life = Some(Life { begin: day(0), end: day(90) });
        let last = u64::from(u32::MAX);
        for (plan, next) in [
            (plan(), Time::from_seconds(0)),
            (Plan { life, ..plan() }, day(60)),
            (Plan { life, draw: last, ..plan() }, day(57)),
            (Plan { life, advice: Some((day(20), day(22))), ..plan() }, day(20)),
            (Plan { life, advice: Some((day(20), day(22))), draw: last, ..plan() }, day(22)),
            // A success forgets the tries before it.
            (Plan { life, last_try: Some(day(0)), ..plan() }, day(60)),
        ] {
            assert_eq!(plan.next(), next, "{plan:?}");
        }
    }

    #[test]
    fn after_a_failure_it_waits_ever_longer_and_as_long_as_the_authority_says() {
        let failed = |failures, not_before| {
            let plan = Plan { failures, last_try: Some(day(1)), not_before, ..plan() };
            plan.next().since(day(1)).as_secs()
        };
        for (failures, seconds) in [(1, 900), (2, 1_800), (3, 3_600), (6, 28_800), (7, 43_200), (99, 43_200)]
        {
            assert_eq!(failed(failures, None), seconds, "{failures} failures");
        }
        assert_eq!(failed(1, Some(day(2))), 86_400, "a rate limit is respected");
        assert_eq!(failed(1, Some(day(99))), 7 * 86_400, "but not for ever");
        assert_eq!(failed(3, Some(day(0))), 3_600);
    }

    proptest! {
        /// However it fails, an authority is asked at most some fifty times in the last third of a certificate's life.
        #[test]
        fn an_authority_is_never_hammered(draw in 0..=u64::from(u32::MAX), life in 6u32..400) {
            let end = day(life);
            let mut plan = Plan { life: Some(Life { begin: day(0), end }), draw, ..plan() };
            let (mut tries, mut now) = (0, day(0));
            while now < end {
                now = plan.next().max(now);
                tries += 1;
                plan = Plan { failures: tries, last_try: Some(now), ..plan };
            }
            prop_assert!(tries <= 8 + 2 * (life / 3 + life / 30 + 1), "{} tries in {} days", tries, life);
        }
    }
}
