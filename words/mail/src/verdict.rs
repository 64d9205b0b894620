//! What was decided about a message when it came in.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The result of one authentication check, in the words of RFC 8601 §2.7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Nothing to check was there, or nothing was checked.
    #[default]
    None,
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// It probably does not hold (SPF only).
    SoftFail,
    /// Nothing is said either way.
    Neutral,
    /// It could not be checked now.
    TempError,
    /// It cannot be checked at all.
    PermError,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Grade::None => "none",
            Grade::Pass => "pass",
            Grade::Fail => "fail",
            Grade::SoftFail => "softfail",
            Grade::Neutral => "neutral",
            Grade::TempError => "temperror",
            Grade::PermError => "permerror",
        })
    }
}

/// A check that looks at a message before it is accepted. The names are a closed list: they stand in the journal, in log
/// lines, in traces and in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Whether it goes round in a loop.
    Loop,
    /// Whether a person sends as themselves.
    Author,
    /// SPF of the envelope sender.
    Spf,
    /// The best DKIM signature.
    Dkim,
    /// DMARC.
    Dmarc,
    /// The chain of servers that vouch for what they saw before they changed the message (RFC 8617).
    Arc,
    /// Its length.
    Size,
    /// How much its sender sends.
    Rate,
    /// What is attached to it.
    Attachments,
    /// Lists of addresses that send spam, asked by the DNS.
    Dnsbl,
    /// The spam filter rspamd.
    Rspamd,
    /// The virus scanner ClamAV.
    Clamav,
}

impl Check {
    /// Every check, in the order in which they are recorded.
    pub const ALL: [Check; 12] = [
        Check::Loop,
        Check::Author,
        Check::Spf,
        Check::Dkim,
        Check::Dmarc,
        Check::Arc,
        Check::Size,
        Check::Rate,
        Check::Attachments,
        Check::Dnsbl,
        Check::Rspamd,
        Check::Clamav,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Check::Loop => "loop",
            Check::Author => "author",
            Check::Spf => "spf",
            Check::Dkim => "dkim",
            Check::Dmarc => "dmarc",
            Check::Arc => "arc",
            Check::Size => "size",
            Check::Rate => "rate",
            Check::Attachments => "attachments",
            Check::Dnsbl => "dnsbl",
            Check::Rspamd => "rspamd",
            Check::Clamav => "clamav",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one check says about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    /// It was not asked; the reason says why not.
    NotAsked,
    /// It finds nothing wrong.
    Pass,
    /// It finds something that is recorded and changes nothing.
    Noted,
    /// It did not answer, and the message was let through all the same.
    Unanswered,
    /// To be delivered with a mark.
    Tag,
    /// To be kept back.
    Quarantine,
    /// To be sent again later.
    Defer,
    /// To be refused for good.
    Refuse,
    /// To be set aside: it goes round in a loop.
    Park,
}

impl CheckResult {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            CheckResult::NotAsked => "not-asked",
            CheckResult::Pass => "pass",
            CheckResult::Noted => "noted",
            CheckResult::Unanswered => "unanswered",
            CheckResult::Tag => "tag",
            CheckResult::Quarantine => "quarantine",
            CheckResult::Defer => "defer",
            CheckResult::Refuse => "refuse",
            CheckResult::Park => "park",
        }
    }
}

impl fmt::Display for CheckResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        /// Why a check says what it says. A closed list: these names reach log lines, the header of tagged mail, traces
        /// and reports, and stay what they are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $name)] $reason,)*
            /// One that a later version knows.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl Reason {
            /// Every reason that this version gives.
            pub const ALL: &'static [Reason] = &[$(Reason::$reason,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Reason::$reason => $name,)*
                    Reason::Unknown => "unknown",
                }
            }
        }
    };
}

reasons! {
    /// It carries a trace id of ours from a time when it came for the same recipient.
    CameBack = "came-back",
    /// It went through too many servers.
    TooManyHops = "too-many-hops",
    /// Its `From:` names somebody else than who signed in.
    ForeignAuthor = "foreign-author",
    /// It has no `From:` that can be read.
    NoAuthor = "no-author",
    /// It has more than one `From:`.
    SeveralAuthors = "several-authors",
    /// It fails SPF.
    SpfFails = "spf-fails",
    /// Its signatures do not hold.
    DkimFails = "dkim-fails",
    /// It fails DMARC.
    DmarcFails = "dmarc-fails",
    /// The chain of those who vouch for it is broken.
    ArcFails = "arc-fails",
    /// It fails DMARC, and a server that is trusted here saw it pass before it changed it.
    ArcVouches = "arc-vouches",
    /// It is larger than its organisation wants.
    TooLarge = "too-large",
    /// Its sender sends too much.
    TooMuch = "too-much",
    /// A kind of file is attached that is not wanted.
    AttachmentType = "attachment-type",
    /// It has more parts, or deeper ones, than are looked at.
    TooManyParts = "too-many-parts",
    /// The address it comes from is on a list.
    Listed = "listed",
    /// The spam filter says that it is spam.
    Spam = "spam",
    /// The spam filter takes it for spam, not for certain.
    ProbablySpam = "probably-spam",
    /// The spam filter wants it to come again.
    ComeAgain = "come-again",
    /// The virus scanner found something.
    Virus = "virus",
    /// It is not configured.
    NotConfigured = "not-configured",
    /// It is our own: a report or a notice.
    OwnMail = "own-mail",
    /// It comes through a door where that is not asked.
    NotThisDoor = "not-this-door",
    /// Another check had decided already.
    Decided = "decided",
    /// It is larger than what that scanner is asked about.
    TooLargeToAsk = "too-large-to-ask",
    /// Nobody answered in time, or at all.
    NoAnswer = "no-answer",
    /// The answer was none that can be used.
    WrongAnswer = "wrong-answer",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one check answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// Which.
    pub check: Check,
    /// What it says.
    pub result: CheckResult,
    /// Why; a check that finds nothing wrong has no reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// A score, in hundredths of a point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<i64>,
    /// More about it, in words: at most [`DETAIL_MAX`] bytes of printable text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How long it took, in milliseconds; nothing for one that asked nobody.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub millis: u32,
}

/// Bytes of a check's words at most.
pub const DETAIL_MAX: usize = 300;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(millis: &u32) -> bool {
    *millis == 0
}

impl CheckAnswer {
    /// An answer without words.
    pub fn new(check: Check, result: CheckResult, reason: Option<Reason>) -> CheckAnswer {
        CheckAnswer { check, result, reason, score: None, detail: String::new(), millis: 0 }
    }

    /// With more about it. What comes from outside may have any bytes: only printable text is kept, and not too much.
    #[must_use]
    pub fn detail(mut self, words: &str) -> CheckAnswer {
        self.detail = words.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let mut most = self.detail.len().min(DETAIL_MAX);
        while !self.detail.is_char_boundary(most) {
            most -= 1;
        }
        self.detail.truncate(most);
        self
    }
}

/// What delivery is to do with an accepted message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "do")]
pub enum Action {
    /// Hand it to its destinations.
    Deliver,
    /// Hand it to its destinations, with a mark on top.
    Tag {
        /// Why, in words.
        reason: String,
    },
    /// Keep it back, out of people's mailboxes, until a person releases or deletes it.
    Quarantine {
        /// Why, in words.
        reason: String,
    },
    /// Set it aside for a person, and never bounce it: it goes round in a loop.
    Park {
        /// Why, in words.
        reason: String,
    },
}

impl Action {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Deliver => "deliver",
            Action::Tag { .. } => "tag",
            Action::Quarantine { .. } => "quarantine",
            Action::Park { .. } => "park",
        }
    }
}

/// The verdict that is stored with every accepted message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The version of the rules that made it.
    pub rules: u32,
    /// What to do.
    pub action: Action,
    /// Whether the envelope sender is believed, so that a report to it cannot hit a stranger.
    pub may_bounce: bool,
    /// SPF of the envelope sender (RFC 7208).
    #[serde(default)]
    pub spf: Grade,
    /// The best DKIM signature (RFC 6376).
    #[serde(default)]
    pub dkim: Grade,
    /// DMARC (RFC 9989).
    #[serde(default)]
    pub dmarc: Grade,
    /// `Received:` lines it came with.
    #[serde(default)]
    pub hops: u32,
    /// What each check answered. Empty in verdicts of rules before version 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckAnswer>,
}

impl Verdict {
    /// The answers that found something, in words that can be searched for: `rspamd=tag(probably-spam)`.
    pub fn findings(&self) -> String {
        findings(&self.checks)
    }
}

/// The answers that found something, in words that can be searched for: `rspamd=tag(probably-spam) …`; `-` when there is
/// none.
pub fn findings(checks: &[CheckAnswer]) -> String {
    let mut words = Vec::new();
    for answer in checks {
        if matches!(answer.result, CheckResult::Pass | CheckResult::NotAsked) {
            continue;
        }
        let reason = answer.reason.map(|reason| format!("({reason})")).unwrap_or_default();
        words.push(format!("{}={}{reason}", answer.check, answer.result));
    }
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_verdict_of_the_first_rules_is_still_read() {
        let old = r#"{"rules":1,"action":{"do":"park","reason":"loop"},"may_bounce":true,"spf":"pass"}"#;
        let verdict: Verdict = serde_json::from_str(old).unwrap();
        assert_eq!((verdict.rules, verdict.spf, verdict.checks.len()), (1, Grade::Pass, 0));
        assert_eq!(verdict.action, Action::Park { reason: "loop".into() });
        assert_eq!(serde_json::from_str::<Action>(r#"{"do":"deliver"}"#).unwrap(), Action::Deliver);
    }

    #[test]
    fn an_answer_is_read_back_and_a_reason_of_later_rules_is_no_error() {
        let answer =
            CheckAnswer::new(Check::Clamav, CheckResult::Quarantine, Some(Reason::Virus)).detail("Eicar");
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(text, r#"{"check":"clamav","result":"quarantine","reason":"virus","detail":"Eicar"}"#);
        assert_eq!(serde_json::from_str::<CheckAnswer>(&text).unwrap(), answer);
        let later = text.replace("virus", "moonstruck");
        assert_eq!(serde_json::from_str::<CheckAnswer>(&later).unwrap().reason, Some(Reason::Unknown));
    }

    #[test]
    fn every_reason_has_a_name_of_its_own_that_is_written_as_it_is_shown() {
        let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
        for check in Check::ALL {
            assert_eq!(serde_json::to_value(check).unwrap(), check.name());
        }
    }

    #[test]
    fn what_a_scanner_says_cannot_break_out_of_its_line_or_grow_without_end() {
        let answer = CheckAnswer::new(Check::Rspamd, CheckResult::Pass, None);
        assert_eq!(answer.clone().detail("a\r\nb\u{9b}c").detail, "a??b?c");
        assert_eq!(answer.detail(&"\u{e9}".repeat(1_000)).detail.len(), DETAIL_MAX);
    }
}
