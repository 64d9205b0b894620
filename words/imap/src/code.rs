//! Status words and response codes (RFC 3501 §7.1, RFC 5530, RFC 4315, RFC 7162), for both sides.

use crate::{Flag, SequenceSet};
use std::fmt;

/// The word that opens a status response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done, or information.
    Ok,
    /// Understood and refused.
    No,
    /// Not understood.
    Bad,
    /// The greeting of a connection that needs no sign-in.
    PreAuth,
    /// The connection is about to end.
    Bye,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Ok => "OK",
            Status::No => "NO",
            Status::Bad => "BAD",
            Status::PreAuth => "PREAUTH",
            Status::Bye => "BYE",
        })
    }
}

/// A response code: what a program can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// A person must see the text.
    Alert,
    /// A name on the way exists already.
    AlreadyExists,
    /// The message or messages appended have these UIDs.
    AppendUid {
        /// The UIDVALIDITY of the mailbox.
        validity: u32,
        /// The UIDs, in the order of the messages.
        uids: SequenceSet,
    },
    /// Wrong name or password.
    AuthenticationFailed,
    /// Signed in, but not as whom was asked.
    AuthorizationFailed,
    /// The character set of a SEARCH is not one of these.
    BadCharset,
    /// What can never be done.
    Cannot,
    /// What the server can do.
    Capability(Vec<String>),
    /// The client is at fault.
    ClientBug,
    /// The previous mailbox is closed (RFC 7162 §3.2.11).
    Closed,
    /// The password is right but of no use any more.
    Expired,
    /// Messages were removed by somebody.
    ExpungeIssued,
    /// The messages copied or moved, and what they are called there.
    CopyUid {
        /// The UIDVALIDITY of the target.
        validity: u32,
        /// UIDs in the source, in order.
        source: SequenceSet,
        /// UIDs in the target, in the same order.
        target: SequenceSet,
    },
    /// The mailbox has children, so it cannot be deleted.
    HasChildren,
    /// The highest MODSEQ of the mailbox.
    HighestModSeq(u64),
    /// Somebody else is using it; try again.
    InUse,
    /// Too much at once.
    Limit,
    /// The lasting id of a mailbox (RFC 8474).
    MailboxId(String),
    /// These were changed by others and left alone (RFC 7162 §3.1.3).
    Modified(SequenceSet),
    /// The mailbox keeps no MODSEQs.
    NoModSeq,
    /// No such thing.
    NonExistent,
    /// Not permitted.
    NoPerm,
    /// No room for it.
    OverQuota,
    /// A message could not be parsed.
    Parse,
    /// Flags that can be changed for good.
    PermanentFlags {
        /// The flags.
        flags: Vec<Flag>,
        /// Whether new keywords can be made (`\*`).
        any: bool,
    },
    /// Only with TLS.
    PrivacyRequired,
    /// The mailbox may not be changed.
    ReadOnly,
    /// The mailbox may be changed.
    ReadWrite,
    /// The server is at fault.
    ServerBug,
    /// Asked too much; come back later (used by Exchange Online and others).
    Throttled,
    /// One message or literal is over the limit.
    TooBig,
    /// The target mailbox could be created first.
    TryCreate,
    /// The UID that the next message will have or exceed.
    UidNext(u32),
    /// The mailbox does not keep UIDs.
    UidNotSticky,
    /// The mailbox's UIDVALIDITY.
    UidValidity(u32),
    /// A part of the system does not answer; nothing is known about the question.
    Unavailable,
    /// A body part's transfer encoding cannot be undone (RFC 3516).
    UnknownCte,
    /// The first message not seen.
    Unseen(u32),
    /// The special use asked for cannot be given (RFC 6154).
    UseAttr,
    /// Any other, as it was written, without the brackets.
    Other(String),
}

/// Codes that are one word, and the word.
const WORDS: &[(&str, Code)] = &[
    ("ALERT", Code::Alert),
    ("ALREADYEXISTS", Code::AlreadyExists),
    ("AUTHENTICATIONFAILED", Code::AuthenticationFailed),
    ("AUTHORIZATIONFAILED", Code::AuthorizationFailed),
    ("BADCHARSET", Code::BadCharset),
    ("CANNOT", Code::Cannot),
    ("CLIENTBUG", Code::ClientBug),
    ("CLOSED", Code::Closed),
    ("EXPIRED", Code::Expired),
    ("EXPUNGEISSUED", Code::ExpungeIssued),
    ("HASCHILDREN", Code::HasChildren),
    ("INUSE", Code::InUse),
    ("LIMIT", Code::Limit),
    ("NOMODSEQ", Code::NoModSeq),
    ("NONEXISTENT", Code::NonExistent),
    ("NOPERM", Code::NoPerm),
    ("OVERQUOTA", Code::OverQuota),
    ("PARSE", Code::Parse),
    ("PRIVACYREQUIRED", Code::PrivacyRequired),
    ("READ-ONLY", Code::ReadOnly),
    ("READ-WRITE", Code::ReadWrite),
    ("SERVERBUG", Code::ServerBug),
    ("THROTTLED", Code::Throttled),
    ("TOOBIG", Code::TooBig),
    ("TRYCREATE", Code::TryCreate),
    ("UIDNOTSTICKY", Code::UidNotSticky),
    ("UNAVAILABLE", Code::Unavailable),
    ("UNKNOWN-CTE", Code::UnknownCte),
    ("USEATTR", Code::UseAttr),
];

impl Code {
    /// Reads what stands between the brackets; what is not known, or not well formed, is [`Code::Other`].
    pub fn read(inside: &str) -> Code {
        Code::known(inside).unwrap_or_else(|| Code::Other(inside.to_owned()))
    }

    fn known(inside: &str) -> Option<Code> {
        let (word, rest) = inside.split_once(' ').unwrap_or((inside, ""));
        let word = word.to_ascii_uppercase();
        if let Some((_, code)) = WORDS.iter().find(|(w, _)| *w == word) {
            return Some(code.clone());
        }
        let mut parts = rest.split(' ');
        Some(match word.as_str() {
            "APPENDUID" => Code::AppendUid {
                validity: parts.next()?.parse().ok()?,
                uids: SequenceSet::parse(parts.next()?.as_bytes())?,
            },
            "COPYUID" => Code::CopyUid {
                validity: parts.next()?.parse().ok()?,
                source: SequenceSet::parse(parts.next()?.as_bytes())?,
                target: SequenceSet::parse(parts.next()?.as_bytes())?,
            },
            "CAPABILITY" => Code::Capability(rest.split_ascii_whitespace().map(str::to_owned).collect()),
            "HIGHESTMODSEQ" => Code::HighestModSeq(rest.parse().ok()?),
            "MAILBOXID" => Code::MailboxId(rest.trim_matches(['(', ')']).to_owned()),
            "MODIFIED" => Code::Modified(SequenceSet::parse(rest.as_bytes())?),
            "PERMANENTFLAGS" => {
                let words = || rest.trim_matches(['(', ')']).split_ascii_whitespace();
                Code::PermanentFlags {
                    flags: words().filter(|f| *f != "\\*").filter_map(Flag::parse).collect(),
                    any: words().any(|f| f == "\\*"),
                }
            }
            "UIDNEXT" => Code::UidNext(rest.parse().ok()?),
            "UIDVALIDITY" => Code::UidValidity(rest.parse().ok()?),
            "UNSEEN" => Code::Unseen(rest.parse().ok()?),
            _ => return None,
        })
    }
}

/// As it stands between the brackets.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((word, _)) = WORDS.iter().find(|(_, code)| code == self) {
            // RFC 3501 lets the list of good character sets follow; it is short and saves the client a guess.
            return f.write_str(if *word == "BADCHARSET" { "BADCHARSET (US-ASCII UTF-8)" } else { word });
        }
        match self {
            Code::AppendUid { validity, uids } => write!(f, "APPENDUID {validity} {uids}"),
            Code::CopyUid { validity, source, target } => write!(f, "COPYUID {validity} {source} {target}"),
            Code::Capability(words) => write!(f, "CAPABILITY {}", words.join(" ")),
            Code::HighestModSeq(n) => write!(f, "HIGHESTMODSEQ {n}"),
            Code::MailboxId(id) => write!(f, "MAILBOXID ({id})"),
            Code::Modified(set) => write!(f, "MODIFIED {set}"),
            Code::PermanentFlags { flags, any } => {
                f.write_str("PERMANENTFLAGS (")?;
                for (at, flag) in flags.iter().enumerate() {
                    write!(f, "{}{flag}", if at == 0 { "" } else { " " })?;
                }
                let gap = if flags.is_empty() { "" } else { " " };
                if *any { write!(f, "{gap}\\*)") } else { f.write_str(")") }
            }
            Code::UidNext(n) => write!(f, "UIDNEXT {n}"),
            Code::UidValidity(n) => write!(f, "UIDVALIDITY {n}"),
            Code::Unseen(n) => write!(f, "UNSEEN {n}"),
            Code::Other(text) => f.write_str(text),
            _ => Ok(()),
        }
    }
}
