//! Whether the envelope sender is believed. Without that, a report about the message would hit a stranger: most
//! senders of refused mail are forged.

use crate::Facts;
use words_mail::{Grade, Source};

pub(crate) fn check(facts: &Facts<'_>) -> bool {
    let Some(sender) = facts.sender.address() else { return false };
    match facts.source {
        Source::Submission | Source::Own | Source::Relay | Source::Internal => true,
        Source::Edge => {
            facts.spf == Grade::Pass || facts.dkim_domains.iter().any(|d| covers(d, sender.domain()))
        }
    }
}

/// Whether a signature of `signer` speaks for `domain`: the same one, or the one above it.
fn covers(signer: &str, domain: &str) -> bool {
    let signer = signer.to_lowercase();
    // A single label is a top-level domain, which speaks for nobody.
    signer.contains('.')
        && (domain == signer || domain.strip_suffix(&signer).is_some_and(|rest| rest.ends_with('.')))
}
