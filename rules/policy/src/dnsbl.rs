//! Lists of addresses that send spam, asked by the DNS (RFC 5782).

use crate::{Asked, Facts, Opinion, Policy, Without};
use words_mail::{Check, Reason};

pub(crate) fn check(facts: &Facts<'_>, policy: &Policy) -> Opinion {
    let found = match facts.dnsbl {
        Asked::Answered { answer, millis } => match answer {
            None => return Opinion::pass(Check::Dnsbl).millis(*millis),
            Some(listing) => (listing, *millis),
        },
        // A list that cannot be asked holds up no mail.
        asked => return Opinion::unasked(Check::Dnsbl, asked, Without::Deliver),
    };
    let (listing, millis) = found;
    let text =
        format!("your address is on the list {} ({}); nothing was stored", listing.zone, Reason::Listed);
    let words = format!("{} {}", listing.zone, listing.code);
    Opinion::wish(Check::Dnsbl, policy.dnsbl, Reason::Listed, (5, 7, 1), &text).words(words).millis(millis)
}
