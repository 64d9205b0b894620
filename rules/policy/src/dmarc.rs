//! SPF, DKIM, DMARC (RFC 9989 §7.4) and ARC (RFC 8617): recorded always; where the organisation wants DMARC enforced here,
//! what fails it is refused, unless somebody it trusts vouches that it passed before.

use crate::{DmarcAsks, Facts, Opinion, Policy};
use words_mail::{Check, CheckResult, Grade, Reason, Reply, Source};

pub(crate) fn spf(facts: &Facts<'_>) -> Opinion {
    graded(facts, Check::Spf, facts.spf, Reason::SpfFails)
}

pub(crate) fn dkim(facts: &Facts<'_>) -> Opinion {
    let mut opinion = graded(facts, Check::Dkim, facts.dkim, Reason::DkimFails);
    if !facts.dkim_domains.is_empty() {
        opinion.answer = opinion.answer.detail(&format!("{} {}", facts.dkim, facts.dkim_domains.join(" ")));
    }
    opinion
}

pub(crate) fn check(facts: &Facts<'_>, policy: &Policy) -> Opinion {
    let mut opinion = graded(facts, Check::Dmarc, facts.dmarc, Reason::DmarcFails);
    if facts.source == Source::Edge && facts.dmarc == Grade::Fail && is_vouched_for(facts, policy) {
        let vouchers = facts.arc_vouchers.join(" ");
        opinion = Opinion::new(Check::Dmarc, CheckResult::Noted, Reason::ArcVouches);
        opinion.answer = opinion.answer.detail(&format!("fail; passed before {vouchers} changed it"));
        return opinion;
    }
    let asks = facts.dmarc == Grade::Fail && facts.dmarc_asks == DmarcAsks::Reject;
    if policy.refuse_dmarc && facts.source == Source::Edge && asks {
        let text =
            "the author's domain asks to refuse mail that fails DMARC, as this does; nothing was stored";
        opinion.answer.result = CheckResult::Refuse;
        opinion = opinion.reply(Reply::new(550, (5, 7, 26), text));
    }
    opinion
}

pub(crate) fn arc(facts: &Facts<'_>) -> Opinion {
    let mut opinion = graded(facts, Check::Arc, facts.arc, Reason::ArcFails);
    if facts.arc == Grade::Pass && !facts.arc_vouchers.is_empty() {
        let words = format!("pass; {} vouch for DMARC", facts.arc_vouchers.join(" "));
        opinion.answer = opinion.answer.detail(&words);
    }
    opinion
}

/// Every server from the last back to the one that saw DMARC pass must be trusted: each could have written all that came
/// before it.
fn is_vouched_for(facts: &Facts<'_>, policy: &Policy) -> bool {
    let is_trusted = |domain: &String| policy.trusted_sealers.iter().any(|t| t.eq_ignore_ascii_case(domain));
    facts.arc == Grade::Pass && !facts.arc_vouchers.is_empty() && facts.arc_vouchers.iter().all(is_trusted)
}

fn graded(facts: &Facts<'_>, check: Check, grade: Grade, fails: Reason) -> Opinion {
    if facts.source != Source::Edge {
        return Opinion::not_asked(check, Reason::NotThisDoor);
    }
    let opinion = match grade {
        Grade::Fail | Grade::SoftFail => Opinion::new(check, CheckResult::Noted, fails),
        Grade::TempError => Opinion::new(check, CheckResult::Unanswered, Reason::NoAnswer),
        Grade::None | Grade::Pass | Grade::Neutral | Grade::PermError => Opinion::pass(check),
    };
    Opinion { answer: opinion.answer.detail(&grade.to_string()), ..opinion }
}
