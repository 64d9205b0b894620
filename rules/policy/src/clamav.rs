//! What the virus scanner ClamAV found.

use crate::{Asked, Facts, Opinion, Policy};
use words_mail::{Check, Reason};

pub(crate) fn check(facts: &Facts<'_>, policy: &Policy) -> Opinion {
    let rule = &policy.clamav;
    let (found, millis) = match facts.clamav {
        Asked::Answered { answer, millis } => (answer, *millis),
        asked => return Opinion::unasked(Check::Clamav, asked, rule.without),
    };
    let Some(signature) = found else { return Opinion::pass(Check::Clamav).millis(millis) };
    let text = format!(
        "a virus scanner found {} in it ({}); nothing was stored",
        printable(signature),
        Reason::Virus
    );
    let opinion = Opinion::wish(Check::Clamav, rule.found, Reason::Virus, (5, 7, 1), &text);
    opinion.words(signature).millis(millis)
}

/// A name that can stand in an SMTP reply.
fn printable(text: &str) -> String {
    text.chars().take(100).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}
