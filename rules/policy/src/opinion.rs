//! What one check says, on the way to the verdict.

use crate::{Asked, Deed, Without};
use words_mail::{Check, CheckAnswer, CheckResult, Reason, Reply};

/// What one check says about a message.
#[derive(Clone, Debug)]
pub(crate) struct Opinion {
    /// What is recorded.
    pub(crate) answer: CheckAnswer,
    /// What the sender hears when it is not taken.
    pub(crate) reply: Option<Reply>,
}

impl Opinion {
    pub(crate) fn new(check: Check, result: CheckResult, reason: Reason) -> Opinion {
        Opinion { answer: CheckAnswer::new(check, result, Some(reason)), reply: None }
    }

    pub(crate) fn pass(check: Check) -> Opinion {
        Opinion { answer: CheckAnswer::new(check, CheckResult::Pass, None), reply: None }
    }

    pub(crate) fn not_asked(check: Check, reason: Reason) -> Opinion {
        Opinion::new(check, CheckResult::NotAsked, reason)
    }

    /// What the organisation wants done about what was found. `enhanced` is the code of a refusal (RFC 3463).
    pub(crate) fn wish(
        check: Check,
        deed: Deed,
        reason: Reason,
        enhanced: (u8, u16, u16),
        text: &str,
    ) -> Opinion {
        let (_, subject, detail) = enhanced;
        let opinion = Opinion::new(check, deed.result(), reason);
        match deed {
            Deed::Defer => opinion.reply(Reply::new(451, (4, subject, detail), text)),
            Deed::Refuse => opinion.reply(Reply::new(550, enhanced, text)),
            Deed::Note | Deed::Tag | Deed::Quarantine => opinion,
        }
    }

    /// About a scanner that gave no answer that can be used.
    pub(crate) fn unasked<T>(check: Check, asked: &Asked<T>, without: Without) -> Opinion {
        let (reason, words, millis) = match asked {
            Asked::Not(reason) => return Opinion::not_asked(check, *reason),
            Asked::TooLarge { most } => {
                let words = format!("larger than {most} octets");
                return Opinion::not_asked(check, Reason::TooLargeToAsk).words(words);
            }
            Asked::Silent { why, millis } => (Reason::NoAnswer, why.as_str(), *millis),
            Asked::Wrong { why, millis } => (Reason::WrongAnswer, why.as_str(), *millis),
            Asked::Answered { millis, .. } => return Opinion::pass(check).millis(*millis),
        };
        let opinion = match without {
            Without::Deliver => Opinion::new(check, CheckResult::Unanswered, reason),
            Without::Defer => {
                let text =
                    format!("{check} cannot look at this now ({reason}); nothing was stored; try again");
                Opinion::new(check, CheckResult::Defer, reason).reply(Reply::new(451, (4, 7, 1), text))
            }
        };
        opinion.words(words).millis(millis)
    }

    pub(crate) fn reply(mut self, reply: Reply) -> Opinion {
        self.reply = Some(reply);
        self
    }

    pub(crate) fn words(mut self, words: impl AsRef<str>) -> Opinion {
        self.answer = self.answer.detail(words.as_ref());
        self
    }

    pub(crate) fn millis(mut self, millis: u32) -> Opinion {
        self.answer.millis = millis;
        self
    }
}

impl Deed {
    pub(crate) fn result(self) -> CheckResult {
        match self {
            Deed::Note => CheckResult::Noted,
            Deed::Tag => CheckResult::Tag,
            Deed::Quarantine => CheckResult::Quarantine,
            Deed::Defer => CheckResult::Defer,
            Deed::Refuse => CheckResult::Refuse,
        }
    }
}
