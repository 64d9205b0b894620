//! SEARCH (RFC 3501 §6.4.4) with RETURN (RFC 4731), WITHIN (RFC 5032) and MODSEQ (RFC 7162).

use super::fetch::thread_id;
use crate::select::Selected;
use crate::session::Session;
use std::io::{self, Read};
use stores_mailbox::content::{Fields, Keys, decoded, sent, unfolded, unstructured};
use stores_mailbox::{Flags, MailboxError, Mailboxes, Message, UidRanges};
use words_imap::{Date, Flag, Ranges, Search, SearchKey, SearchResult, SearchReturn, When};
use words_mail::Time;

/// How many messages are looked up at once.
const PAGE: u32 = 256;

/// As much of one text part is searched.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// As many text parts of one message are searched.
const TEXT_PARTS_MAX: usize = 50;

/// A search key made ready: sets as UIDs, texts in lower case.
enum Key {
    All,
    And(Vec<Key>),
    Or(Box<Key>, Box<Key>),
    Not(Box<Key>),
    Has(Flag),
    Uids(UidRanges),
    Header { name: String, text: String },
    Body(String),
    Text(String),
    Arrived(When, Date),
    Sent(When, Date),
    Larger(u64),
    Smaller(u64),
    Older(u32),
    Younger(u32),
    ModSeq(u64),
    EmailId(String),
    ThreadId(String),
}

impl Key {
    fn of(key: &SearchKey, selected: &Selected) -> Key {
        let of = |key: &SearchKey| Key::of(key, selected);
        match key {
            SearchKey::All => Key::All,
            SearchKey::And(keys) => Key::And(keys.iter().map(of).collect()),
            SearchKey::Or(a, b) => Key::Or(Box::new(of(a)), Box::new(of(b))),
            SearchKey::Not(key) => Key::Not(Box::new(of(key))),
            SearchKey::Has(flag) => Key::Has(flag.clone()),
            SearchKey::Sequence(set) => Key::Uids(selected.resolve(set, false)),
            SearchKey::Uid(set) => Key::Uids(selected.resolve(set, true)),
            SearchKey::Header { name, text } => Key::Header { name: name.clone(), text: text.to_lowercase() },
            SearchKey::Body(text) => Key::Body(text.to_lowercase()),
            SearchKey::Text(text) => Key::Text(text.to_lowercase()),
            SearchKey::Arrived(when, date) => Key::Arrived(*when, *date),
            SearchKey::Sent(when, date) => Key::Sent(*when, *date),
            SearchKey::Larger(size) => Key::Larger(*size),
            SearchKey::Smaller(size) => Key::Smaller(*size),
            SearchKey::Older(seconds) => Key::Older(*seconds),
            SearchKey::Younger(seconds) => Key::Younger(*seconds),
            SearchKey::ModSeq(modseq) => Key::ModSeq(*modseq),
            SearchKey::EmailId(id) => Key::EmailId(id.clone()),
            SearchKey::ThreadId(id) => Key::ThreadId(id.clone()),
        }
    }

    /// A set outside which nothing can be found.
    fn within(&self) -> Option<UidRanges> {
        match self {
            Key::Uids(uids) => Some(uids.clone()),
            Key::And(keys) => keys.iter().filter_map(Key::within).reduce(|a, b| a.common(&b)),
            _ => None,
        }
    }
}

/// What a search found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) uids: UidRanges,
    /// Whether it asked for MODSEQs.
    pub(crate) by_modseq: bool,
    /// The highest MODSEQ of what was found.
    pub(crate) modseq: Option<u64>,
    /// The MODSEQs of the first and the last.
    ends: Option<(u64, u64)>,
}

impl Found {
    fn add(&mut self, message: &Message) {
        self.uids.insert(message.uid);
        self.modseq = self.modseq.max(Some(message.modseq));
        self.ends = Some((self.ends.map_or(message.modseq, |(first, _)| first), message.modseq));
    }

    /// The MODSEQ that goes with what is told (RFC 4731 §3.2): of the ends alone when only they are told.
    fn told_modseq(&self, returns: Option<SearchReturn>) -> Option<u64> {
        let (first, last) = self.ends.filter(|_| self.by_modseq)?;
        match returns {
            Some(SearchReturn { all: false, count: false, min, max }) => {
                Some(first).filter(|_| min).max(Some(last).filter(|_| max))
            }
            _ => self.modseq,
        }
    }
}

impl Session {
    pub(crate) async fn search(&mut self, tag: String, search: Search) -> io::Result<()> {
        let Some(found) = self.find(&tag, &search.key).await else { return Ok(()) };
        self.tell_found(&tag, &search, &found.uids, found.told_modseq(search.returns));
        // A command with UIDs may be answered with removals (RFC 3501 §7.4.1).
        self.done(&tag, None, "done", search.uid).await
    }

    /// What a key finds in the selected mailbox; `None` when the command was refused.
    pub(crate) async fn find(&mut self, tag: &str, key: &SearchKey) -> Option<Found> {
        let by_modseq = key.any(&|key| matches!(key, SearchKey::ModSeq(_)));
        self.condstore |= by_modseq;
        let selected = self.selected.as_ref()?;
        let key = Key::of(key, selected);
        let candidates = match key.within() {
            Some(within) => selected.uids.common(&within),
            None => selected.uids.clone(),
        };
        let mut found = Found { by_modseq, ..Found::default() };
        for chunk in candidates.chunks(PAGE) {
            let messages = match self.messages(&chunk) {
                Ok(messages) => messages,
                Err(error) => {
                    self.refuse(tag, &error);
                    return None;
                }
            };
            for message in messages {
                let recent = self.selected.as_ref().is_some_and(|s| s.is_recent(message.uid));
                let mut probe = Probe::new(self.mailboxes(), &message, recent, self.shared.world.clock.now());
                match probe.matches(&key) {
                    Ok(true) => found.add(&message),
                    Ok(false) => {}
                    Err(error) => self.note_unreadable(&message, &error),
                }
                if probe.has_read() {
                    // Others are served meanwhile.
                    tokio::task::yield_now().await;
                }
            }
        }
        Some(found)
    }

    fn tell_found(&mut self, tag: &str, search: &Search, found: &UidRanges, modseq: Option<u64>) {
        let Some(selected) = &self.selected else { return };
        let mut numbers = Ranges::default();
        if search.uid {
            numbers = crate::select::ranges(found);
        } else {
            for (number, _) in selected.uids.numbered(found) {
                numbers.insert(number);
            }
        }
        match search.returns {
            Some(returns) => {
                let result = SearchResult { modseq, ..SearchResult::of(returns, &numbers) };
                self.out.esearch(tag, search.uid, &result);
            }
            None => self.out.search(numbers.iter(), modseq),
        }
    }
}

/// One message that is held against a key; it is read only when the key asks for it.
struct Probe<'a> {
    mailboxes: &'a Mailboxes,
    message: &'a Message,
    recent: bool,
    now: Time,
    header: Option<Vec<u8>>,
    texts: Option<Vec<String>>,
}

impl<'a> Probe<'a> {
    fn new(mailboxes: &'a Mailboxes, message: &'a Message, recent: bool, now: Time) -> Probe<'a> {
        Probe { mailboxes, message, recent, now, header: None, texts: None }
    }

    fn has_read(&self) -> bool {
        self.header.is_some() || self.texts.is_some()
    }

    fn matches(&mut self, key: &Key) -> Result<bool, MailboxError> {
        let message = self.message;
        let age = self.now.since(message.date).as_secs();
        Ok(match key {
            Key::All => true,
            Key::And(keys) => {
                for key in keys {
                    if !self.matches(key)? {
                        return Ok(false);
                    }
                }
                true
            }
            Key::Or(a, b) => self.matches(a)? || self.matches(b)?,
            Key::Not(key) => !self.matches(key)?,
            Key::Has(flag) => self.has(flag),
            Key::Uids(uids) => uids.contains(message.uid),
            Key::Header { name, text } => self.header_has(name, text)?,
            Key::Body(text) => self.body_has(text)?,
            Key::Text(text) => self.any_header_has(text)? || self.body_has(text)?,
            Key::Arrived(when, date) => compare(*when, Date::of(message.date), *date),
            Key::Sent(when, date) => {
                sent(self.header()?).is_some_and(|s| compare(*when, Date::of(Time::from_seconds(s)), *date))
            }
            Key::Larger(size) => message.size > *size,
            Key::Smaller(size) => message.size < *size,
            Key::Older(seconds) => age > u64::from(*seconds),
            Key::Younger(seconds) => age <= u64::from(*seconds),
            Key::ModSeq(modseq) => message.modseq >= *modseq,
            Key::EmailId(id) => message.email_id() == *id,
            Key::ThreadId(id) => thread_id(message, &Keys::of(self.header()?)) == *id,
        })
    }

    fn has(&self, flag: &Flag) -> bool {
        let flags = &self.message.flags;
        match flag {
            Flag::Seen => flags.has(Flags::SEEN),
            Flag::Answered => flags.has(Flags::ANSWERED),
            Flag::Flagged => flags.has(Flags::FLAGGED),
            Flag::Deleted => flags.has(Flags::DELETED),
            Flag::Draft => flags.has(Flags::DRAFT),
            Flag::Recent => self.recent,
            other => flags.has_keyword(other.as_str()),
        }
    }

    fn header(&mut self) -> Result<&[u8], MailboxError> {
        if self.header.is_none() {
            self.header = Some(self.mailboxes.header(&self.message.body)?);
        }
        Ok(self.header.as_deref().unwrap_or_default())
    }

    fn header_has(&mut self, name: &str, text: &str) -> Result<bool, MailboxError> {
        Ok(Fields::of(self.header()?).filter(|field| field.is(name)).any(|field| {
            text.is_empty()
                || unfolded(field.value).to_lowercase().contains(text)
                || unstructured(&field).to_lowercase().contains(text)
        }))
    }

    fn any_header_has(&mut self, text: &str) -> Result<bool, MailboxError> {
        Ok(Fields::of(self.header()?).any(|field| {
            unfolded(field.raw).to_lowercase().contains(text)
                || unstructured(&field).to_lowercase().contains(text)
        }))
    }

    fn body_has(&mut self, text: &str) -> Result<bool, MailboxError> {
        if self.texts.is_none() {
            self.texts = Some(self.read_texts()?);
        }
        Ok(self.texts.iter().flatten().any(|part| part.contains(text)))
    }

    /// The texts of the message in lower case.
    fn read_texts(&self) -> Result<Vec<String>, MailboxError> {
        let facts = self.mailboxes.facts(self.message)?;
        let leaves = facts.part.leaves();
        let texts = leaves.into_iter().filter(|part| part.is("text")).take(TEXT_PARTS_MAX);
        let mut read = Vec::new();
        for part in texts {
            let mut bytes = Vec::new();
            self.mailboxes
                .stretch(&self.message.body, part.body)?
                .take(TEXT_BYTES_MAX)
                .read_to_end(&mut bytes)
                .map_err(|e| MailboxError::Body(e.to_string()))?;
            read.push(decoded(part, &bytes).to_lowercase());
        }
        Ok(read)
    }
}

fn compare(when: When, day: Date, with: Date) -> bool {
    match when {
        When::Before => day < with,
        When::On => day == with,
        When::Since => day >= with,
    }
}
