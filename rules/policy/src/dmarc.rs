//! DMARC (RFC 9989 §7.4), where the organisation wants it enforced here.

use crate::{DmarcAsks, Facts, Policy};
use words_mail::{Grade, Reply, Source};

pub(crate) fn check(facts: &Facts<'_>, policy: &Policy) -> Option<Reply> {
    let refused = policy.refuse_dmarc
        && facts.source == Source::Edge
        && facts.dmarc == Grade::Fail
        && facts.dmarc_asks == DmarcAsks::Reject;
    refused.then(|| {
        let text =
            "the author's domain asks to refuse mail that fails DMARC, as this does; nothing was stored";
        Reply::new(550, (5, 7, 26), text)
    })
}
