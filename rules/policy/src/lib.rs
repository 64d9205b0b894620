//! May a message come in, and what is to be done with it: facts in, verdict out.
//!
//! One file for each check. A check is a function of the [`Facts`] and the [`Policy`]; nothing here looks anything
//! up, so a check that needs a new fact gets a new field in [`Facts`], which `roads/accept` fills in.

mod author;
mod bounce;
mod dmarc;
mod hops;

use words_mail::{Action, Grade, Reply, Sender, Source, Verdict};

/// The version of these rules; every verdict carries it.
pub const RULES: u32 = 1;

/// What an organisation chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `Received:` lines beyond which a message is taken to go round in a loop (RFC 5321 §6.3). Default 50: two
    /// servers that hand a message to and fro are found out quickly, and no honest path is that long.
    pub hops_max: u32,
    /// Whether mail that fails DMARC is refused where its author's domain asks for that. Default no: the mail system
    /// behind us judges as before.
    pub refuse_dmarc: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { hops_max: 50, refuse_dmarc: false }
    }
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
}

/// What the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is taken.
    Accept(Verdict),
    /// It is refused with these words.
    Refuse(Reply),
}

/// Judges a message.
pub fn judge(facts: &Facts<'_>, policy: &Policy) -> Judgement {
    // A loop is never refused: the refusal would be bounced to and fro in its turn.
    let action = hops::check(facts, policy);
    if action == Action::Deliver
        && let Some(reply) = author::check(facts).or_else(|| dmarc::check(facts, policy))
    {
        return Judgement::Refuse(reply);
    }
    Judgement::Accept(Verdict {
        rules: RULES,
        action,
        may_bounce: bounce::check(facts),
        spf: facts.spf,
        dkim: facts.dkim,
        dmarc: facts.dmarc,
        hops: facts.hops,
    })
}

#[cfg(test)]
mod tests;
