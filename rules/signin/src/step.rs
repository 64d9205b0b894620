//! The dialogue of evidence.

use std::time::Duration;
use words_mail::State;

/// By which door a person comes. A second factor or a passkey can be shown at the web's only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Web mail and the console.
    Web,
    /// A mail program: IMAP or submission.
    Program,
}

/// What a person shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// A passkey's signature, already checked: whether it was good.
    Passkey(bool),
    /// A time-based code of an enrolled device, already checked: whether it was good.
    Totp(bool),
    /// A one-time code that an administrator handed out, already checked and used up: whether it was good.
    OneTimeCode(bool),
    /// A password.
    Password,
}

/// Whether the account may sign in at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountStanding {
    /// There is none by that name.
    Unknown,
    /// Live.
    Live,
    /// Suspended by a person, or disabled at the directory.
    Suspended,
}

/// What somebody outside said to the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is right.
    Yes,
    /// It is wrong: an authentication failure (RFC 5530 `AUTHENTICATIONFAILED`, SMTP `535 5.7.8`).
    No,
    /// Anything else: no connection, a time-out, `NO [UNAVAILABLE]`, a 4xx.
    NoAnswer,
    /// The directory only: the account is disabled there.
    Disabled,
}

/// What a stored password of ours says to the presented one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// There is none.
    None,
    /// It is the same.
    Same,
    /// It is another.
    Other,
}

/// Whether a password may be put to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// It may.
    Free,
    /// The primary has said no to this very password a short while ago, and would say so again.
    KnownWrong,
    /// As many wrong ones as may be were put to it lately: only one that was right before is.
    Spent,
}

/// What the captured verifier says to the presented password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// None was captured, or it is too old to count.
    None,
    /// It is the password the primary said yes to.
    Same {
        /// The primary has since said no to it.
        suspended: bool,
    },
    /// It is another password.
    Other,
}

/// All that is known at one moment of a sign-in. What has not been asked yet is `None`.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// By which door.
    pub door: Door,
    /// What is shown.
    pub presented: Presented,
    /// Whether the account may sign in.
    pub standing: AccountStanding,
    /// The account's password is known here alone: no primary is asked.
    pub ours_alone: bool,
    /// Whether a directory (LDAP, AD) may be asked.
    pub has_directory: bool,
    /// Where the sign-in plane of the account's primary stands.
    pub plane: State,
    /// Whether the order `captured-sign-in` is in force for the account.
    pub captured_allowed: bool,
    /// Whether so many verifiers were contradicted lately that the primary itself is in doubt
    /// ([`crate::many_noes`]).
    pub many_noes: bool,
    /// The rate limits let this attempt through.
    pub within_limits: Option<bool>,
    /// The keyed digest in memory knows this password from a check not long ago.
    pub digest: Option<bool>,
    /// A password of a device, issued by us.
    pub device: Option<Match>,
    /// The account's own password here.
    pub local: Option<Match>,
    /// Whether the primary may be asked about this password.
    pub allowance: Option<Allowance>,
    /// What the primary said.
    pub primary: Option<Answer>,
    /// What the captured verifier says.
    pub verifier: Option<Verifier>,
    /// What the directory said.
    pub directory: Option<Answer>,
}

/// What is to be found out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Do the rate limits let it through? Before anything slow, and before anything reaches the primary.
    Limits,
    /// Does the digest in memory know it?
    Digest,
    /// Is it a device's password?
    Device,
    /// Is it the account's own password here?
    Local,
    /// May it be put to the primary?
    Allowance,
    /// What does the primary say? Nobody waits longer than that for it.
    Primary(Duration),
    /// Is it the password captured earlier?
    Verifier,
    /// What does the directory say?
    Directory,
}

/// By what somebody was let in; recorded with the sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A passkey.
    Passkey,
    /// A time-based code.
    Totp,
    /// A one-time code.
    OneTimeCode,
    /// The same password, checked not long ago.
    Digest,
    /// A device's password.
    Device,
    /// The account's own password here.
    Local,
    /// The primary's yes.
    Primary,
    /// The verifier captured in peace.
    Verifier,
    /// The directory's yes.
    Directory,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong. Says no more, so that nobody learns which names exist.
    Wrong,
    /// The account is suspended.
    Suspended,
    /// Too many failures lately.
    TooMany,
    /// Too many wrong passwords of this account were put to the primary, and this one was never right here.
    Guarded,
    /// The primary gives no answer, and nothing here can stand in for it.
    CannotTell,
    /// The primary gives no answer, and the password is not the one that was right last.
    CannotTellChanged,
}

impl Refusal {
    /// Whether trying again later may help: a temporary failure to the client (`[UNAVAILABLE]`, `454 4.7.0`), which
    /// must not ask the person for another password.
    pub fn is_temporary(self) -> bool {
        matches!(self, Refusal::TooMany | Refusal::Guarded | Refusal::CannotTell | Refusal::CannotTellChanged)
    }

    /// The words for the person.
    pub fn words(self) -> &'static str {
        match self {
            Refusal::Wrong => "the name or the password is not right",
            Refusal::Suspended => "this account is suspended; ask your administrator",
            Refusal::TooMany => "too many failed sign-ins; wait some minutes and try again",
            Refusal::Guarded => {
                "somebody tried too many wrong passwords for this account, so none but the one that was right last is \
                 put to your mail system for half an hour; use that one, or wait"
            }
            Refusal::CannotTell => {
                "your mail system gives no answer, so your password cannot be checked now; try again, use your \
                 passkey, or ask your administrator for a one-time code"
            }
            Refusal::CannotTellChanged => {
                "your mail system is down, so a changed password cannot be checked; use your earlier password or \
                 your passkey, or ask your administrator for a one-time code"
            }
        }
    }
}

/// What follows from a sign-in, besides in or out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Follow {
    /// Keep (or renew) a verifier of the presented password; this also ends its suspension.
    pub capture: bool,
    /// Suspend the captured verifier.
    pub suspend_verifier: bool,
    /// Suspend the account: the directory has disabled it.
    pub suspend_account: bool,
    /// Count it as a failed attempt.
    pub count_failure: bool,
    /// A verifier was contradicted: count it, and tell the watch when it is one of many.
    pub contradicted: bool,
    /// The primary gave no answer: an observation "down" on the sign-in plane.
    pub no_answer: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Find this out, then ask again.
    Ask(Question),
    /// In.
    In(Evidence, Follow),
    /// Out.
    Out(Refusal, Follow),
}

/// What to do next, given all that is known. Each question is asked at most once, so the dialogue ends.
pub fn next(known: &Known) -> Step {
    match known.presented {
        Presented::Passkey(good) => shown(known, good, Evidence::Passkey),
        Presented::Totp(good) => shown(known, good, Evidence::Totp),
        Presented::OneTimeCode(good) => shown(known, good, Evidence::OneTimeCode),
        Presented::Password => password(known),
    }
}

const FAILED: Follow = Follow {
    capture: false,
    suspend_verifier: false,
    suspend_account: false,
    count_failure: true,
    contradicted: false,
    no_answer: false,
};

fn shown(known: &Known, good: bool, evidence: Evidence) -> Step {
    let usable = known.door == Door::Web || evidence == Evidence::OneTimeCode;
    match (known.within_limits, known.standing) {
        (None, _) => Step::Ask(Question::Limits),
        (Some(false), _) => Step::Out(Refusal::TooMany, Follow::default()),
        (_, AccountStanding::Live) if good && usable => Step::In(evidence, Follow::default()),
        // Who holds the key may be told that the account is suspended; nobody else is.
        (_, AccountStanding::Suspended) if good => Step::Out(Refusal::Suspended, Follow::default()),
        _ => Step::Out(Refusal::Wrong, FAILED),
    }
}

fn password(known: &Known) -> Step {
    match known.within_limits {
        None => return Step::Ask(Question::Limits),
        Some(false) => return Step::Out(Refusal::TooMany, Follow::default()),
        Some(true) => {}
    }
    // An unknown or suspended account reads like a wrong password, and asks nobody outside.
    if known.standing != AccountStanding::Live {
        return Step::Out(Refusal::Wrong, FAILED);
    }
    match known.digest {
        None => return Step::Ask(Question::Digest),
        Some(true) => return Step::In(Evidence::Digest, Follow::default()),
        Some(false) => {}
    }
    match known.device {
        None => return Step::Ask(Question::Device),
        Some(Match::Same) => return Step::In(Evidence::Device, Follow::default()),
        Some(Match::None | Match::Other) => {}
    }
    match known.local {
        None => return Step::Ask(Question::Local),
        Some(Match::Same) => return Step::In(Evidence::Local, Follow::default()),
        Some(Match::None | Match::Other) if known.ours_alone => return Step::Out(Refusal::Wrong, FAILED),
        Some(Match::None | Match::Other) => {}
    }
    match known.primary {
        None => may_ask(known),
        Some(Answer::Yes) => Step::In(Evidence::Primary, Follow { capture: true, ..Follow::default() }),
        Some(Answer::Disabled) => Step::Out(Refusal::Wrong, Follow { suspend_account: true, ..FAILED }),
        Some(Answer::No) => contradicted(known),
        Some(Answer::NoAnswer) => stand_in(known),
    }
}

/// A guess is put to the primary only so often; a password that it said yes to before is no guess.
fn may_ask(known: &Known) -> Step {
    let ask = Step::Ask(Question::Primary(patience(known.plane)));
    match (known.allowance, known.verifier) {
        (None, _) => Step::Ask(Question::Allowance),
        (Some(Allowance::Free), _) => ask,
        // Nothing was learned by it, so nothing is counted: most often it is a device with an old password.
        (Some(Allowance::KnownWrong), _) => Step::Out(Refusal::Wrong, Follow::default()),
        (Some(Allowance::Spent), None) => Step::Ask(Question::Verifier),
        (Some(Allowance::Spent), Some(Verifier::Same { suspended: false })) => ask,
        (Some(Allowance::Spent), Some(_)) => Step::Out(Refusal::Guarded, FAILED),
    }
}

/// How long the primary is waited for. When it is known to be down, people must not pay for asking.
fn patience(plane: State) -> Duration {
    Duration::from_millis(match plane {
        State::Ready => 10_000,
        State::Suspect | State::Returning | State::Pinned => 3_000,
        State::Active => 1_000,
    })
}

/// The primary said no. A no is an answer: nobody else is asked, whatever the state.
fn contradicted(known: &Known) -> Step {
    match known.verifier {
        None => Step::Ask(Question::Verifier),
        Some(Verifier::Same { suspended }) => {
            let suspend_verifier = !suspended && !known.many_noes;
            Step::Out(Refusal::Wrong, Follow { suspend_verifier, contradicted: true, ..FAILED })
        }
        Some(Verifier::None | Verifier::Other) => Step::Out(Refusal::Wrong, FAILED),
    }
}

/// The primary gave no answer.
fn stand_in(known: &Known) -> Step {
    let heard = Follow { no_answer: true, ..Follow::default() };
    if !known.captured_allowed {
        return Step::Out(Refusal::CannotTell, heard);
    }
    let verifier = match known.verifier {
        None => return Step::Ask(Question::Verifier),
        Some(Verifier::Same { suspended: false }) => return Step::In(Evidence::Verifier, heard),
        Some(verifier) => verifier,
    };
    if known.has_directory {
        match known.directory {
            None => return Step::Ask(Question::Directory),
            Some(Answer::Yes) => return Step::In(Evidence::Directory, heard),
            Some(Answer::No) => return Step::Out(Refusal::Wrong, Follow { no_answer: true, ..FAILED }),
            Some(Answer::Disabled) => {
                return Step::Out(
                    Refusal::Wrong,
                    Follow { no_answer: true, suspend_account: true, ..FAILED },
                );
            }
            Some(Answer::NoAnswer) => {}
        }
    }
    match verifier {
        // Guessing must cost something here, too: the primary does not count these.
        Verifier::Other => Step::Out(Refusal::CannotTellChanged, Follow { no_answer: true, ..FAILED }),
        Verifier::None | Verifier::Same { .. } => Step::Out(Refusal::CannotTell, heard),
    }
}
