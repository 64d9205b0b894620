//! A mail store that somebody else owns: what can be asked of it, whatever it speaks.

use std::io::Read;
use std::time::Duration;
use words_imap::{Flag, StoreHow};
use words_mail::Time;
use words_world::Boxed;

/// Why a store did not do what it was asked.
///
/// All but [`StoreError::Unknown`] mean that nothing was changed there, so that asking again doubles nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No connection, no answer, or one that makes no sense. The connection is of no more use.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The store closed the connection and said why. The connection is of no more use.
    #[error("connection ended: {0}")]
    Bye(String),
    /// Name or password were refused: the account's own, or the master's.
    #[error("sign-in refused: {0}")]
    SignIn(String),
    /// A part of the store does not answer; nothing is known about the question.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Asked too much.
    #[error("throttled: {why}")]
    Throttled {
        /// The store's words.
        why: String,
        /// When it wants to be asked again, if it said.
        after: Option<Duration>,
    },
    /// The account is full.
    #[error("over quota: {0}")]
    OverQuota(String),
    /// There is no such folder.
    #[error("no such folder: {0}")]
    NoFolder(String),
    /// There is such a folder already.
    #[error("folder exists: {0}")]
    Exists(String),
    /// A no for any other reason.
    #[error("refused: {0}")]
    Refused(String),
    /// The store lacks what it takes to do this safely; nothing was asked of it.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// What was to be sent could not be read here; nothing was stored there.
    #[error("cannot be read here: {0}")]
    Source(String),
    /// It was sent, and no answer came: it may or may not have happened, in part or whole. Ask before repeating.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// A folder of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its name. To be given back as it is.
    pub name: String,
    /// What stands between the levels of its name.
    pub separator: Option<char>,
    /// Whether messages can be in it.
    pub selectable: bool,
    /// Its special use (RFC 6154), with the backslash: `\Sent`.
    pub special_use: Option<String>,
    /// Whether the person subscribed to it; `None` when that was not told.
    pub subscribed: Option<bool>,
}

/// A folder as it was when it was selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// UIDVALIDITY: with another, all UIDs are others.
    pub validity: u32,
    /// UIDNEXT.
    pub next: Option<u32>,
    /// How many messages.
    pub messages: u32,
    /// HIGHESTMODSEQ, if the store keeps MODSEQs.
    pub modseq: Option<u64>,
    /// Flags that can be changed for good.
    pub flags: Vec<Flag>,
    /// Whether keywords of one's own can be set.
    pub keywords: bool,
    /// Whether nothing can be changed.
    pub read_only: bool,
}

/// A folder's numbers, without selecting it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderStatus {
    /// UIDVALIDITY.
    pub validity: u32,
    /// UIDNEXT.
    pub next: u32,
    /// How many messages.
    pub messages: u32,
    /// How many without `\Seen`.
    pub unseen: u32,
    /// HIGHESTMODSEQ, if the store keeps MODSEQs.
    pub modseq: Option<u64>,
}

/// All folders of an account and how they stand, as far as that is told.
pub type Standing = Vec<(Folder, Option<FolderStatus>)>;

/// A message in a store, without its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Its UID in the selected folder.
    pub uid: u32,
    /// Its flags, without `\Recent`.
    pub flags: Vec<Flag>,
    /// When it arrived there.
    pub arrived: Option<Time>,
    /// Its bytes.
    pub size: u64,
    /// The header fields asked for, in the order in which they stand in the message, and an empty line.
    pub header: Vec<u8>,
    /// The header was longer than is read and was cut.
    pub cut: bool,
    /// Its MODSEQ, where that was asked for and the store keeps one.
    pub modseq: Option<u64>,
}

/// Of which messages [`MailStore::changes`] told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Of all that are there.
    All,
    /// Of those that are new or have other flags.
    Since {
        /// UIDs that are gone, from first to last; some of them may never have been there.
        vanished: Vec<(u32, u32)>,
    },
}

/// What comes when bodies are read one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A message of so many bytes begins.
    Begin(u64),
    /// Bytes of it.
    Data(Vec<u8>),
    /// It is whole, and this is what it is; without a header or size.
    End(Summary),
}

impl Summary {
    /// The value of the topmost field of this name, unfolded and trimmed (RFC 5322 §2.2.3).
    pub fn field(&self, name: &str) -> Option<String> {
        let mut found: Option<Vec<u8>> = None;
        for line in self.header.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match &mut found {
                Some(value) if matches!(line.first(), Some(b' ' | b'\t')) => value.extend_from_slice(line),
                Some(_) => break,
                None => {
                    let named =
                        line.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes()));
                    if let (true, Some(b':')) = (named, line.get(name.len())) {
                        found = Some(line[name.len() + 1..].to_vec());
                    }
                }
            }
        }
        found.map(|value| String::from_utf8_lossy(&value).trim().to_owned())
    }
}

/// Where a message now stands, if the store told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// UIDVALIDITY of the folder.
    pub validity: u32,
    /// The message's UID there.
    pub uid: u32,
}

/// Where copied or moved messages now stand, if the store told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// UIDVALIDITY of the target.
    pub validity: u32,
    /// Pairs of UIDs: in the source, in the target.
    pub uids: Vec<(u32, u32)>,
}

/// A message to be put into a folder.
pub struct NewCopy<'a> {
    /// The folder.
    pub folder: &'a str,
    /// Its flags.
    pub flags: &'a [Flag],
    /// When it arrived.
    pub arrived: Option<Time>,
    /// Its bytes, exactly.
    pub size: u64,
    /// Where they come from.
    pub content: &'a mut (dyn Read + Send),
}

/// One signed-in connection to one person's mail at a store. Commands go one at a time; a future dropped before its end
/// leaves the connection of no use, since nobody knows any more what was answered.
pub trait MailStore: Send {
    /// Whether the connection can still be used.
    fn is_usable(&self) -> bool;

    /// All folders.
    fn folders(&mut self) -> Boxed<'_, Result<Vec<Folder>, StoreError>>;

    /// Makes a folder the one that UIDs speak of.
    fn select<'a>(&'a mut self, folder: &'a str, read_only: bool) -> Boxed<'a, Result<Selected, StoreError>>;

    /// A folder's numbers.
    fn status<'a>(&'a mut self, folder: &'a str) -> Boxed<'a, Result<FolderStatus, StoreError>>;

    /// Tells of each message of the selected folder whose UID is above `uid`, with these header fields (none: no header
    /// is read). `each` is called as they come; nothing is gathered.
    fn headers_above<'a>(
        &'a mut self,
        uid: u32,
        fields: &'a [&'a str],
        each: &'a mut (dyn FnMut(Summary) + Send),
    ) -> Boxed<'a, Result<(), StoreError>>;

    /// The same for these UIDs, as far as they exist.
    fn headers_of<'a>(
        &'a mut self,
        uids: &'a [u32],
        fields: &'a [&'a str],
        each: &'a mut (dyn FnMut(Summary) + Send),
    ) -> Boxed<'a, Result<(), StoreError>>;

    /// UIDs in the selected folder of messages that have a header field with this text in it. Stores differ in how they
    /// search: look at the header of what is found before believing it.
    fn find_header<'a>(&'a mut self, name: &'a str, text: &'a str)
    -> Boxed<'a, Result<Vec<u32>, StoreError>>;

    /// Begins to read a whole message of the selected folder, without marking it read: its bytes, then
    /// [`MailStore::body_part`] until that gives `None`. `None`: there is no such message.
    fn open_body(&mut self, uid: u32) -> Boxed<'_, Result<Option<u64>, StoreError>>;

    /// The next part of the message begun, or `None` at its end.
    fn body_part(&mut self) -> Boxed<'_, Result<Option<Vec<u8>>, StoreError>>;

    /// Puts a message into a folder. Not to be repeated after [`StoreError::Unknown`] without asking.
    fn append<'a>(&'a mut self, new: NewCopy<'a>) -> Boxed<'a, Result<Option<Placed>, StoreError>>;

    /// Changes the flags of these messages of the selected folder. May be repeated.
    fn change_flags<'a>(
        &'a mut self,
        uids: &'a [u32],
        how: StoreHow,
        flags: &'a [Flag],
    ) -> Boxed<'a, Result<(), StoreError>>;

    /// Copies these messages to another folder. Not to be repeated after [`StoreError::Unknown`] without asking.
    fn copy<'a>(
        &'a mut self,
        uids: &'a [u32],
        folder: &'a str,
    ) -> Boxed<'a, Result<Option<Carried>, StoreError>>;

    /// Moves these messages to another folder. Not to be repeated after [`StoreError::Unknown`] without asking.
    fn move_to<'a>(
        &'a mut self,
        uids: &'a [u32],
        folder: &'a str,
    ) -> Boxed<'a, Result<Option<Carried>, StoreError>>;

    /// Removes these messages, and no others, for good. May be repeated.
    fn remove<'a>(&'a mut self, uids: &'a [u32]) -> Boxed<'a, Result<(), StoreError>>;

    /// Makes a folder. [`StoreError::Exists`] when it is there.
    fn create<'a>(&'a mut self, folder: &'a str) -> Boxed<'a, Result<(), StoreError>>;

    /// All folders and how they stand. From now on the connection may be told of removals by UID.
    fn look(&mut self) -> Boxed<'_, Result<Standing, StoreError>>;

    /// Tells of each message of the selected folder that is new or has other flags since a MODSEQ, or of all of them:
    /// UID and flags.
    fn changes<'a>(
        &'a mut self,
        since: Option<u64>,
        each: &'a mut (dyn FnMut(Summary) + Send),
    ) -> Boxed<'a, Result<Changes, StoreError>>;

    /// Begins to read these messages of the selected folder, without marking them read: [`MailStore::next_piece`] until
    /// that gives `None`. What is not there any more is passed over.
    fn begin_bodies<'a>(&'a mut self, uids: &'a [u32]) -> Boxed<'a, Result<(), StoreError>>;

    /// The next piece of the messages begun, or `None` after the last.
    fn next_piece(&mut self) -> Boxed<'_, Result<Option<Piece>, StoreError>>;

    /// Gives a folder another name.
    fn rename<'a>(&'a mut self, from: &'a str, to: &'a str) -> Boxed<'a, Result<(), StoreError>>;

    /// Removes a folder with all that is in it.
    fn delete<'a>(&'a mut self, folder: &'a str) -> Boxed<'a, Result<(), StoreError>>;

    /// Subscribes to a folder or no longer.
    fn subscribe<'a>(&'a mut self, folder: &'a str, on: bool) -> Boxed<'a, Result<(), StoreError>>;

    /// Asks for a sign of life.
    fn ping(&mut self) -> Boxed<'_, Result<(), StoreError>>;

    /// Waits until something changes in the selected folder, or `most` has passed; whether something changed.
    fn wait(&mut self, most: Duration) -> Boxed<'_, Result<bool, StoreError>>;

    /// Says goodbye.
    fn leave(self: Box<Self>) -> Boxed<'static, ()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_field_is_found_unfolded() {
        let header =
            b"Subject-X: no\r\nsubject: one\r\n two\r\n\tthree\r\nSubject: other\r\n\r\nSubject: body\r\n";
        let summary = Summary { header: header.to_vec(), ..Summary::default() };
        assert_eq!(summary.field("Subject").as_deref(), Some("one two\tthree"));
        assert_eq!(summary.field("Date"), None);
        assert_eq!(summary.field(""), None);
    }
}
