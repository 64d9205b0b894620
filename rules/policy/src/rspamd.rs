//! What the spam filter rspamd wants done with a message.

use crate::{Asked, Deed, Facts, Opinion, Policy, Spam};
use words_mail::{Check, Reason};

pub(crate) fn check(facts: &Facts<'_>, policy: &Policy) -> Opinion {
    let rule = &policy.rspamd;
    let (spam, millis) = match facts.rspamd {
        Asked::Answered { answer, millis } => (answer, *millis),
        asked => return Opinion::unasked(Check::Rspamd, asked, rule.without),
    };
    let (reason, deed) = match spam.wants {
        Spam::NOTHING => (None, Deed::Note),
        "soft reject" | "greylist" => (Some(Reason::ComeAgain), Deed::Defer),
        "add header" | "rewrite subject" => (Some(Reason::ProbablySpam), rule.probably_spam),
        "quarantine" => (Some(Reason::Spam), Deed::Quarantine),
        "reject" => (Some(Reason::Spam), rule.spam),
        // One that is not known here; the filter means something by it, and that is on record.
        _ => (Some(Reason::WrongAnswer), Deed::Note),
    };
    let opinion = match (reason, deed) {
        (None, _) => Opinion::pass(Check::Rspamd),
        (Some(reason), deed) => {
            let text = match reason {
                Reason::ComeAgain => {
                    "the spam filter here wants this to come again later; nothing was stored".to_owned()
                }
                reason => format!("the spam filter here takes this for spam ({reason}); nothing was stored"),
            };
            Opinion::wish(Check::Rspamd, deed, reason, (5, 7, 1), &text)
        }
    };
    let mut opinion = opinion.millis(millis);
    opinion.answer.score = Some(spam.score);
    let symbols = &spam.symbols;
    opinion.answer = opinion.answer.detail(&format!(
        "{} ({} of {}) {symbols}",
        spam.wants,
        points(spam.score),
        points(spam.required)
    ));
    opinion
}

/// Hundredths of a point as the filter writes them: `12.40`.
pub fn points(hundredths: i64) -> String {
    let sign = if hundredths < 0 { "-" } else { "" };
    let whole = hundredths.unsigned_abs();
    format!("{sign}{}.{:02}", whole / 100, whole % 100)
}
