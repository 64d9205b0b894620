//! Loops: parked, never refused and never bounced.

use crate::{Facts, Policy};
use words_mail::Action;

pub(crate) fn check(facts: &Facts<'_>, policy: &Policy) -> Action {
    if facts.returned {
        let reason = "loop: it came back to the same recipient with our own trace id".to_owned();
        return Action::Park { reason };
    }
    if facts.hops > policy.hops_max {
        let (hops, max) = (facts.hops, policy.hops_max);
        return Action::Park { reason: format!("loop: {hops} hops, more than {max}") };
    }
    Action::Deliver
}
