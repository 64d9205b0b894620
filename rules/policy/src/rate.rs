//! How much one sender sends. An address is turned away at `MAIL`, before it has sent anything, and here it is recorded how
//! near to the bound it was; an account is told when its message has come, as its recipients are counted.

use crate::{Facts, Opinion, Rate};
use words_mail::{Check, CheckResult, Reason, Reply};

pub(crate) fn check(facts: &Facts<'_>) -> Opinion {
    let (words, sent, most) = match facts.rate {
        Rate::Uncounted => return Opinion::not_asked(Check::Rate, Reason::NotThisDoor),
        Rate::Address { sent, most } => (format!("{sent} of {most} messages in this minute"), sent, most),
        Rate::Account { sent, most } => (format!("{sent} of {most} recipients in this hour"), sent, most),
    };
    if sent <= most {
        return Opinion::pass(Check::Rate).words(words);
    }
    let reply = match facts.rate {
        Rate::Account { .. } => {
            let text = format!(
                "your account has written to as many people in this hour as it may, {most} ({}); nothing was sent; \
                 send it later, or ask your administrator",
                Reason::TooMuch
            );
            Reply::new(450, (4, 7, 1), text)
        }
        _ => too_much(),
    };
    Opinion::new(Check::Rate, CheckResult::Defer, Reason::TooMuch).words(words).reply(reply)
}

/// What an address is told that sends too much.
pub fn too_much() -> Reply {
    let text = "too many messages from your address in this minute; slow down and try again";
    Reply::new(450, (4, 7, 1), text)
}
