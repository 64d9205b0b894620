//! What a client can ask (RFC 3501 §6 and the extensions named at each item).

use crate::{Date, Flag, SequenceSet};
use std::fmt;

/// A whole command with the tag that its answer must carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The client's tag.
    pub tag: String,
    /// What it asks.
    pub command: Command,
}

/// Bytes that no log may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A command. APPEND is not one of them: it comes in pieces, see [`crate::Event::AppendBegin`].
///
/// Mailbox names are decoded UTF-8, with INBOX in capitals. `uid` tells the UID form of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// CAPABILITY
    Capability,
    /// NOOP
    Noop,
    /// LOGOUT
    Logout,
    /// STARTTLS: what the client sent after it and before the handshake must be thrown away.
    StartTls,
    /// LOGIN
    Login {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// AUTHENTICATE (SASL-IR, RFC 4959)
    Authenticate {
        /// The mechanism in capitals.
        mechanism: String,
        /// The decoded initial response.
        initial: Option<Secret>,
    },
    /// ID (RFC 2971)
    Id(Vec<(String, Option<String>)>),
    /// ENABLE (RFC 5161), in capitals
    Enable(Vec<String>),
    /// NAMESPACE (RFC 2342)
    Namespace,
    /// SELECT or EXAMINE
    Select(Select),
    /// CREATE (with the special uses of RFC 6154)
    Create {
        /// The new mailbox.
        mailbox: String,
        /// Special uses it shall have, as written: `\Sent`.
        uses: Vec<String>,
    },
    /// DELETE
    Delete {
        /// The mailbox.
        mailbox: String,
    },
    /// RENAME
    Rename {
        /// Its name now.
        from: String,
        /// Its name afterwards.
        to: String,
    },
    /// SUBSCRIBE
    Subscribe {
        /// The mailbox.
        mailbox: String,
    },
    /// UNSUBSCRIBE
    Unsubscribe {
        /// The mailbox.
        mailbox: String,
    },
    /// LIST (with the extensions of RFC 5258, RFC 5819, RFC 6154)
    List(List),
    /// LSUB
    Lsub {
        /// Put before the pattern.
        reference: String,
        /// What is looked for.
        pattern: String,
    },
    /// STATUS
    Status {
        /// The mailbox.
        mailbox: String,
        /// What is asked of it.
        items: Vec<StatusItem>,
    },
    /// IDLE (RFC 2177); the client ends it with the line DONE
    Idle,
    /// CHECK
    Check,
    /// CLOSE
    Close,
    /// UNSELECT (RFC 3691)
    Unselect,
    /// EXPUNGE; UID EXPUNGE (RFC 4315) names the UIDs
    Expunge {
        /// Only these.
        uids: Option<SequenceSet>,
    },
    /// SEARCH
    Search(Search),
    /// SORT (RFC 5256)
    Sort(Sort),
    /// THREAD (RFC 5256)
    Thread(Thread),
    /// FETCH
    Fetch(Fetch),
    /// STORE
    Store(Store),
    /// COPY
    Copy {
        /// UID form.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// To where.
        mailbox: String,
    },
    /// MOVE (RFC 6851)
    Move {
        /// UID form.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// To where.
        mailbox: String,
    },
    /// GETQUOTA (RFC 9208)
    GetQuota {
        /// The quota root.
        root: String,
    },
    /// GETQUOTAROOT (RFC 9208)
    GetQuotaRoot {
        /// The mailbox.
        mailbox: String,
    },
}

/// SELECT and EXAMINE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// The mailbox.
    pub mailbox: String,
    /// EXAMINE: nothing may be changed.
    pub read_only: bool,
    /// CONDSTORE was asked for (RFC 7162 §3.1.8).
    pub condstore: bool,
    /// QRESYNC was asked for (RFC 7162 §3.2.5).
    pub qresync: Option<Qresync>,
}

/// What the client already knows of a mailbox (RFC 7162 §3.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qresync {
    /// The UIDVALIDITY it knows.
    pub validity: u32,
    /// The MODSEQ it knows.
    pub modseq: u64,
    /// The UIDs it knows; all when absent.
    pub known: Option<SequenceSet>,
    /// Message numbers and the UIDs they had, a hint to keep the VANISHED answer short.
    pub matching: Option<(SequenceSet, SequenceSet)>,
}

/// LIST, plain or extended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Only subscribed mailboxes, existing or not (RFC 5258 §3.1).
    pub subscribed: bool,
    /// Mailboxes elsewhere too.
    pub remote: bool,
    /// Also parents of mailboxes that match the selection.
    pub recursive_match: bool,
    /// Only mailboxes with a special use (RFC 6154).
    pub special_use: bool,
    /// Put before each pattern.
    pub reference: String,
    /// What is looked for; any of them.
    pub patterns: Vec<String>,
    /// What is told of each. `None` when the plain form was used, without RETURN.
    pub returns: Option<ListReturn>,
}

/// What an extended LIST tells of each mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListReturn {
    /// `\Subscribed`.
    pub subscribed: bool,
    /// `\HasChildren` or `\HasNoChildren`.
    pub children: bool,
    /// Special uses.
    pub special_use: bool,
    /// A STATUS response for each (RFC 5819).
    pub status: Option<Vec<StatusItem>>,
}

/// One thing that STATUS tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusItem {
    /// How many messages.
    Messages,
    /// How many with `\Recent`.
    Recent,
    /// The next UID.
    UidNext,
    /// UIDVALIDITY.
    UidValidity,
    /// How many without `\Seen`.
    Unseen,
    /// How many with `\Deleted` (RFC 9051).
    Deleted,
    /// Bytes in all (RFC 8438).
    Size,
    /// The highest MODSEQ (RFC 7162).
    HighestModSeq,
    /// The lasting id (RFC 8474).
    MailboxId,
    /// Bytes of the messages with `\Deleted` (RFC 9208 §4.1.4).
    DeletedStorage,
}

impl StatusItem {
    pub(crate) const ALL: [StatusItem; 10] = [
        StatusItem::Messages,
        StatusItem::Recent,
        StatusItem::UidNext,
        StatusItem::UidValidity,
        StatusItem::Unseen,
        StatusItem::Deleted,
        StatusItem::Size,
        StatusItem::HighestModSeq,
        StatusItem::MailboxId,
        StatusItem::DeletedStorage,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            StatusItem::Messages => "MESSAGES",
            StatusItem::Recent => "RECENT",
            StatusItem::UidNext => "UIDNEXT",
            StatusItem::UidValidity => "UIDVALIDITY",
            StatusItem::Unseen => "UNSEEN",
            StatusItem::Deleted => "DELETED",
            StatusItem::Size => "SIZE",
            StatusItem::HighestModSeq => "HIGHESTMODSEQ",
            StatusItem::MailboxId => "MAILBOXID",
            StatusItem::DeletedStorage => "DELETED-STORAGE",
        }
    }
}

/// SEARCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// UID form.
    pub uid: bool,
    /// The answer is an ESEARCH of these (RFC 4731); `None`: a plain SEARCH response.
    pub returns: Option<SearchReturn>,
    /// What is looked for.
    pub key: SearchKey,
}

/// What an ESEARCH response tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchReturn {
    /// The lowest.
    pub min: bool,
    /// The highest.
    pub max: bool,
    /// All, as a set.
    pub all: bool,
    /// How many.
    pub count: bool,
}

/// SORT (RFC 5256 §3): what is found, in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// UID form.
    pub uid: bool,
    /// By what, the first counting most.
    pub by: Vec<SortBy>,
    /// What is looked for.
    pub key: SearchKey,
}

/// One criterion of a SORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortBy {
    /// The greatest first.
    pub reverse: bool,
    /// What is compared.
    pub what: SortWhat,
}

/// What a SORT compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortWhat {
    /// INTERNALDATE with its time.
    Arrival,
    /// What stands before the `@` of the first `Cc:` address.
    Cc,
    /// The `Date:` line, in UTC; INTERNALDATE when there is none.
    Date,
    /// What stands before the `@` of the first `From:` address.
    From,
    /// Bytes.
    Size,
    /// The base subject.
    Subject,
    /// What stands before the `@` of the first `To:` address.
    To,
}

/// THREAD (RFC 5256 §3): what is found, as conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// UID form.
    pub uid: bool,
    /// By which rule.
    pub how: ThreadHow,
    /// What is looked for.
    pub key: SearchKey,
}

/// The rule by which messages become conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadHow {
    /// `ORDEREDSUBJECT`: the same base subject, by date.
    OrderedSubject,
    /// `REFERENCES`: who answers whom.
    References,
}

/// How a day is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Earlier than the day.
    Before,
    /// On the day.
    On,
    /// On the day or later.
    Since,
}

/// What a message must be like to be found. UNSEEN and the like arrive as `Not(Has(..))`, OLD as
/// `Not(Has(\Recent))`, NEW as both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchKey {
    /// Any message.
    All,
    /// All of these.
    And(Vec<SearchKey>),
    /// One or both.
    Or(Box<SearchKey>, Box<SearchKey>),
    /// Not this.
    Not(Box<SearchKey>),
    /// Has the flag or keyword.
    Has(Flag),
    /// Message numbers.
    Sequence(SequenceSet),
    /// UIDs.
    Uid(SequenceSet),
    /// A header field holds the text; an empty text finds any message with the field. FROM, TO, CC, BCC and
    /// SUBJECT arrive here too.
    Header {
        /// The field's name.
        name: String,
        /// The text, in any letter case.
        text: String,
    },
    /// The body holds the text.
    Body(String),
    /// Header or body hold the text.
    Text(String),
    /// INTERNALDATE, without regard to time and zone.
    Arrived(When, Date),
    /// The `Date:` field, without regard to time and zone.
    Sent(When, Date),
    /// More bytes than this.
    Larger(u64),
    /// Fewer bytes than this.
    Smaller(u64),
    /// Arrived more than so many seconds ago (RFC 5032).
    Older(u32),
    /// Arrived within so many seconds (RFC 5032).
    Younger(u32),
    /// MODSEQ is this or higher (RFC 7162 §3.1.5).
    ModSeq(u64),
    /// The message with this lasting id (RFC 8474).
    EmailId(String),
    /// The thread with this lasting id (RFC 8474).
    ThreadId(String),
}

impl SearchKey {
    /// Whether `of` holds for this key or one within it.
    pub fn any(&self, of: &impl Fn(&SearchKey) -> bool) -> bool {
        of(self)
            || match self {
                SearchKey::And(keys) => keys.iter().any(|k| k.any(of)),
                SearchKey::Or(a, b) => a.any(of) || b.any(of),
                SearchKey::Not(key) => key.any(of),
                _ => false,
            }
    }
}

/// FETCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// UID form.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// What of them; macros are written out, no item twice.
    pub items: Vec<FetchItem>,
    /// Only those with a higher MODSEQ (RFC 7162 §3.1.4).
    pub changed_since: Option<u64>,
    /// Also tell what is gone (RFC 7162 §3.2.6).
    pub vanished: bool,
}

/// One thing to fetch of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FetchItem {
    /// FLAGS
    Flags,
    /// UID
    Uid,
    /// INTERNALDATE
    InternalDate,
    /// RFC822.SIZE
    Size,
    /// ENVELOPE
    Envelope,
    /// BODY: the structure without extensions
    Body,
    /// BODYSTRUCTURE
    BodyStructure,
    /// MODSEQ (RFC 7162)
    ModSeq,
    /// EMAILID (RFC 8474)
    EmailId,
    /// THREADID (RFC 8474)
    ThreadId,
    /// Bytes of the message
    Section(Section),
    /// BINARY.SIZE (RFC 3516): the decoded size of a part
    BinarySize(Vec<u32>),
}

/// Which bytes of a message. `Display` gives the label that the response carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Section {
    /// The word it was asked by, which the answer repeats.
    pub name: SectionName,
    /// Leave `\Seen` as it is.
    pub peek: bool,
    /// The part: `[1, 2]` for `1.2`; empty for the message itself.
    pub part: Vec<u32>,
    /// What of the part.
    pub text: SectionText,
    /// First byte and at most so many.
    pub partial: Option<(u32, u32)>,
}

/// The word a section was asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionName {
    /// `BODY[..]`
    Body,
    /// `BINARY[..]` (RFC 3516): decoded
    Binary,
    /// `RFC822`, the same as `BODY[]`
    Rfc822,
    /// `RFC822.HEADER`, the same as `BODY.PEEK[HEADER]`
    Rfc822Header,
    /// `RFC822.TEXT`, the same as `BODY[TEXT]`
    Rfc822Text,
}

/// What of a part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SectionText {
    /// All of it.
    Whole,
    /// The RFC 5322 header.
    Header,
    /// Only these fields of the header, or all but these.
    Fields {
        /// The fields' names.
        names: Vec<String>,
        /// All but these.
        not: bool,
    },
    /// What follows the header.
    Text,
    /// The MIME header of the part.
    Mime,
}

impl Section {
    /// `BODY.PEEK[text]` of the whole message.
    pub fn peek(text: SectionText) -> Section {
        Section { name: SectionName::Body, peek: true, part: Vec::new(), text, partial: None }
    }

    /// The whole message: `BODY.PEEK[]`.
    pub fn message() -> Section {
        Section::peek(SectionText::Whole)
    }

    /// These header fields: `BODY.PEEK[HEADER.FIELDS (..)]`.
    pub fn fields<'a>(names: impl IntoIterator<Item = &'a str>) -> Section {
        let names = names.into_iter().map(str::to_owned).collect();
        Section::peek(SectionText::Fields { names, not: false })
    }

    /// Whether fetching it sets `\Seen` (RFC 3501 §6.4.5).
    pub fn sets_seen(&self) -> bool {
        !self.peek && self.name != SectionName::Rfc822Header
    }

    /// As a command asks for it.
    pub fn request(&self) -> String {
        let label = self.to_string();
        let origin = self.partial.map_or(0, |_| label.len() - label.rfind('<').unwrap_or(label.len()));
        let mut request = label[..label.len() - origin].to_owned();
        if let (true, Some(bracket)) = (self.peek, request.find('[')) {
            request.insert_str(bracket, ".PEEK");
        }
        if let Some((first, count)) = self.partial {
            request.push_str(&format!("<{first}.{count}>"));
        }
        request
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            SectionName::Rfc822 => return f.write_str("RFC822"),
            SectionName::Rfc822Header => return f.write_str("RFC822.HEADER"),
            SectionName::Rfc822Text => return f.write_str("RFC822.TEXT"),
            SectionName::Body => f.write_str("BODY[")?,
            SectionName::Binary => f.write_str("BINARY[")?,
        }
        for (at, number) in self.part.iter().enumerate() {
            write!(f, "{}{number}", if at == 0 { "" } else { "." })?;
        }
        if self.text != SectionText::Whole && !self.part.is_empty() {
            f.write_str(".")?;
        }
        match &self.text {
            SectionText::Whole => {}
            SectionText::Header => f.write_str("HEADER")?,
            SectionText::Text => f.write_str("TEXT")?,
            SectionText::Mime => f.write_str("MIME")?,
            SectionText::Fields { names, not } => {
                f.write_str(if *not { "HEADER.FIELDS.NOT (" } else { "HEADER.FIELDS (" })?;
                for (at, name) in names.iter().enumerate() {
                    let gap = if at == 0 { "" } else { " " };
                    if name.bytes().all(crate::scan::is_atom) {
                        write!(f, "{gap}{name}")?;
                    } else {
                        write!(f, "{gap}\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))?;
                    }
                }
                f.write_str(")")?;
            }
        }
        f.write_str("]")?;
        self.partial.map_or(Ok(()), |(first, _)| write!(f, "<{first}>"))
    }
}

/// STORE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// UID form.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// Leave those alone whose MODSEQ is higher (RFC 7162 §3.1.3).
    pub unchanged_since: Option<u64>,
    /// What to do with the flags.
    pub how: StoreHow,
    /// Answer nothing for a message that changed as asked.
    pub silent: bool,
    /// The flags.
    pub flags: Vec<Flag>,
}

/// What STORE does with flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreHow {
    /// These and no others.
    Set,
    /// These too.
    Add,
    /// These no more.
    Remove,
}
