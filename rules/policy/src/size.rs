//! A message is no larger than its organisation wants (RFC 1870 §6.1: 552). What everybody's bound refuses is refused
//! before it is whole, and never comes here.

use crate::{Facts, Opinion};
use words_mail::{Check, CheckResult, Reason, Reply};

pub(crate) fn check(facts: &Facts<'_>) -> Opinion {
    match facts.size_max {
        Some(most) if facts.size > most => {
            Opinion::new(Check::Size, CheckResult::Refuse, Reason::TooLarge).reply(too_large(most))
        }
        _ => Opinion::pass(Check::Size),
    }
}

/// What the sender of a message is told that is larger than its organisation wants; also when only its announced size is
/// known.
pub fn too_large(most: u64) -> Reply {
    let text = format!("the message is larger than {most} octets, the most this organisation takes");
    Reply::new(552, (5, 3, 4), text)
}
