//! May a message come in, and what is to be done with it: facts in, verdict out.
//!
//! One file for each check. A check is a function of the [`Facts`] and the [`Policy`]; nothing here looks anything
//! up, so a check that needs a new fact gets a new field in [`Facts`], which `roads/accept` fills in.

mod attachments;
mod author;
mod bounce;
mod clamav;
mod dmarc;
mod dnsbl;
mod hops;
mod opinion;
mod rate;
mod rspamd;
mod size;

pub use rate::too_much;
pub use rspamd::points;
pub use size::too_large;

use opinion::Opinion;
use words_mail::{Action, CheckAnswer, CheckResult, Grade, Reason, Reply, Sender, Source, Verdict};

/// The version of these rules; every verdict carries it. Raised with every change that may judge a message differently.
pub const RULES: u32 = 3;

/// What an organisation chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `Received:` lines beyond which a message is taken to go round in a loop (RFC 5321 §6.3). Default 50: two
    /// servers that hand a message to and fro are found out quickly, and no honest path is that long.
    pub hops_max: u32,
    /// Whether mail that fails DMARC is refused where its author's domain asks for that. Default no: the mail system
    /// behind us judges as before.
    pub refuse_dmarc: bool,
    /// Domains whose servers are believed when they vouch, by ARC, that a message passed DMARC before they changed it:
    /// mailing lists, forwarders. Default nobody.
    pub trusted_sealers: Vec<String>,
    /// Files that are not wanted.
    pub attachments: AttachmentRule,
    /// What is done with mail from an address that is on a list. Default refused.
    pub dnsbl: Deed,
    /// What the spam filter's words mean here.
    pub rspamd: SpamRule,
    /// What the virus scanner's words mean here.
    pub clamav: VirusRule,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            hops_max: 50,
            refuse_dmarc: false,
            trusted_sealers: Vec::new(),
            attachments: AttachmentRule { unwanted: Vec::new(), deed: Deed::Refuse },
            dnsbl: Deed::Refuse,
            rspamd: SpamRule { without: Without::Deliver, probably_spam: Deed::Tag, spam: Deed::Refuse },
            clamav: VirusRule { without: Without::Defer, found: Deed::Refuse },
        }
    }
}

/// What is done about what a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It is recorded, and the message is delivered.
    Note,
    /// It is delivered with a mark on top.
    Tag,
    /// It is kept back until a person releases or deletes it.
    Quarantine,
    /// It is to come again later: 451.
    Defer,
    /// It is refused: 550.
    Refuse,
}

/// What is done when a scanner does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Fail open: the message is judged without it.
    Deliver,
    /// Fail closed: it is to come again later.
    Defer,
}

/// Files that are not wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentRule {
    /// The ends of their names, in small letters without the dot. Empty: nothing is looked at.
    pub unwanted: Vec<String>,
    /// What is done with a message that has one.
    pub deed: Deed,
}

/// What the spam filter's words mean here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpamRule {
    /// Without an answer.
    pub without: Without,
    /// What it would mark: `add header`, `rewrite subject`.
    pub probably_spam: Deed,
    /// What it would refuse: `reject`.
    pub spam: Deed,
}

/// What the virus scanner's words mean here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirusRule {
    /// Without an answer.
    pub without: Without,
    /// What it found something in.
    pub found: Deed,
}

/// A scanner's answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<T> {
    /// Nobody was asked, for this reason.
    Not(Reason),
    /// Messages of more octets are not sent to it.
    TooLarge {
        /// So many.
        most: u64,
    },
    /// Nothing was heard.
    Silent {
        /// Why.
        why: String,
        /// For how long.
        millis: u32,
    },
    /// What was heard is no answer.
    Wrong {
        /// Why.
        why: String,
        /// After so long.
        millis: u32,
    },
    /// It answered.
    Answered {
        /// This.
        answer: T,
        /// After so long.
        millis: u32,
    },
}

/// What the spam filter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spam {
    /// What it wants done, one of its own words; see [`Spam::action`].
    pub wants: &'static str,
    /// Its points, in hundredths.
    pub score: i64,
    /// From how many points on it takes a message for spam, in hundredths.
    pub required: i64,
    /// The names of the rules that matched, the heaviest first, as far as there is room.
    pub symbols: String,
}

impl Spam {
    /// It wants nothing.
    pub const NOTHING: &'static str = "no action";

    /// The filter's word for what it wants, if it is one that is known.
    pub fn action(word: &str) -> Option<&'static str> {
        [Spam::NOTHING, "greylist", "soft reject", "add header", "rewrite subject", "quarantine", "reject"]
            .into_iter()
            .find(|known| *known == word)
    }
}

/// An address that is on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The list's name in the DNS.
    pub zone: String,
    /// Its answer: why it is on it (RFC 5782 §2.1).
    pub code: std::net::Ipv4Addr,
}

/// How much a sender sends, this message included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Nobody counts at this door.
    Uncounted,
    /// An address, at the doors to the network: messages in this minute.
    Address {
        /// So many.
        sent: u32,
        /// So many there may be.
        most: u32,
    },
    /// A signed-in account: recipients in this hour.
    Account {
        /// So many.
        sent: u32,
        /// So many there may be.
        most: u32,
    },
}

/// One file in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedFile {
    /// Its name, decoded; empty when it has none.
    pub name: String,
    /// The content type that it says it has.
    pub says: String,
    /// The end of name that files which begin as this one does have, where that is known.
    pub really: Option<&'static str>,
}

/// The files in a message, those in messages inside it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachments {
    /// Each.
    pub files: Vec<AttachedFile>,
    /// There is more than is looked at.
    pub cut_short: bool,
}

/// Who stands in the `From:` field of a message that a person sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// The message did not come from a signed-in person.
    NotAsked,
    /// Only addresses of the person who signed in.
    Own,
    /// Somebody else, too or only.
    Foreign,
    /// There is no `From:` field, or none that can be read.
    Missing,
    /// There is more than one `From:` field (RFC 5322 §3.6).
    Several,
}

/// What the domain of the author asks for when DMARC fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DmarcAsks {
    /// Nothing.
    #[default]
    Nothing,
    /// To put it aside.
    Quarantine,
    /// To refuse it.
    Reject,
}

/// All that is known about a message.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Through which door it came.
    pub source: Source,
    /// The envelope sender.
    pub sender: &'a Sender,
    /// `Received:` lines it came with.
    pub hops: u32,
    /// It carries our own trace id from a time when it came for one of these recipients by the same door.
    pub returned: bool,
    /// Who stands in `From:`.
    pub author: Author,
    /// SPF of the envelope sender.
    pub spf: Grade,
    /// The best DKIM signature.
    pub dkim: Grade,
    /// The domains whose DKIM signatures hold.
    pub dkim_domains: &'a [String],
    /// DMARC.
    pub dmarc: Grade,
    /// What the author's domain asks for when it fails.
    pub dmarc_asks: DmarcAsks,
    /// The chain of those who vouch for it, by ARC.
    pub arc: Grade,
    /// Whose words it takes to believe that DMARC passed once: the domains of the chain's seals, the last first, back to
    /// the one who saw it. Empty when nobody says so.
    pub arc_vouchers: &'a [String],
    /// Its octets.
    pub size: u64,
    /// The most that its organisation takes, where that is less than everybody's bound.
    pub size_max: Option<u64>,
    /// How much its sender sends.
    pub rate: Rate,
    /// The files in it; `None` when nobody looked.
    pub attachments: Option<&'a Attachments>,
    /// Whether its sender's address is on a list.
    pub dnsbl: &'a Asked<Option<Listing>>,
    /// What the spam filter says.
    pub rspamd: &'a Asked<Spam>,
    /// The name of what the virus scanner found.
    pub clamav: &'a Asked<Option<String>>,
}

/// What the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is taken.
    Accept(Verdict),
    /// It is not taken.
    Refuse(Refusal),
}

/// Why a message is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What its sender hears: 4xx to come again, 5xx never.
    pub reply: Reply,
    /// The name of the reason.
    pub reason: Reason,
    /// What each check answered.
    pub checks: Vec<CheckAnswer>,
}

/// Judges a message: every check is asked, and the strongest answer counts.
pub fn judge(facts: &Facts<'_>, policy: &Policy) -> Judgement {
    let opinions = [
        hops::check(facts, policy),
        author::check(facts),
        dmarc::spf(facts),
        dmarc::dkim(facts),
        dmarc::check(facts, policy),
        dmarc::arc(facts),
        size::check(facts),
        rate::check(facts),
        attachments::check(facts, policy),
        dnsbl::check(facts, policy),
        rspamd::check(facts, policy),
        clamav::check(facts, policy),
    ];
    let mut action = Action::Deliver;
    let mut refusal = None;
    let mut strongest = CheckResult::Unanswered;
    for Opinion { answer, reply } in &opinions {
        if answer.result <= strongest {
            continue;
        }
        strongest = answer.result;
        let words = words(answer);
        // A loop is never refused: the refusal would be bounced to and fro in its turn. It is the strongest of all.
        (action, refusal) = match (answer.result, reply) {
            (CheckResult::Refuse | CheckResult::Defer, Some(reply)) => {
                (Action::Deliver, Some((reply.clone(), answer.reason.unwrap_or(Reason::Unknown))))
            }
            (CheckResult::Park, _) => (Action::Park { reason: answer.detail.clone() }, None),
            (CheckResult::Quarantine, _) => (Action::Quarantine { reason: words }, None),
            (CheckResult::Tag, _) => (Action::Tag { reason: words }, None),
            _ => continue,
        };
    }
    let checks: Vec<CheckAnswer> = opinions.into_iter().map(|opinion| opinion.answer).collect();
    if let Some((reply, reason)) = refusal {
        return Judgement::Refuse(Refusal { reply, reason, checks });
    }
    Judgement::Accept(Verdict {
        rules: RULES,
        action,
        may_bounce: bounce::check(facts),
        spf: facts.spf,
        dkim: facts.dkim,
        dmarc: facts.dmarc,
        hops: facts.hops,
        checks,
    })
}

/// A finding in words: `virus (clamav): Eicar-Test-Signature`.
fn words(answer: &CheckAnswer) -> String {
    let reason = answer.reason.map_or("found", Reason::name);
    match answer.detail.as_str() {
        "" => format!("{reason} ({})", answer.check),
        detail => format!("{reason} ({}): {detail}", answer.check),
    }
}

#[cfg(test)]
mod tests;
