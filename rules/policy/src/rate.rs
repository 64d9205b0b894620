//! How much one address sends. It is turned away at `MAIL`, before it has sent anything; here it is recorded how near to
//! the bound a message was.

use crate::{Facts, Opinion};
use words_mail::{Check, CheckResult, Reason, Reply};

pub(crate) fn check(facts: &Facts<'_>) -> Opinion {
    let Some((sent, most)) = facts.rate else {
        return Opinion::not_asked(Check::Rate, Reason::NotThisDoor);
    };
    if sent > most {
        return Opinion::new(Check::Rate, CheckResult::Defer, Reason::TooMuch).reply(too_much());
    }
    let opinion = Opinion::pass(Check::Rate);
    Opinion { answer: opinion.answer.detail(&format!("{sent} of {most} in this minute")), ..opinion }
}

/// What an address is told that sends too much.
pub fn too_much() -> Reply {
    let text = "too many messages from your address in this minute; slow down and try again";
    Reply::new(450, (4, 7, 1), text)
}
