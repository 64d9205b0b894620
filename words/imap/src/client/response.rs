//! From a whole response to what it says (RFC 3501 §7).

use crate::name::from_server;
use crate::scan::{Cursor, Parsed, Problem};
use crate::{Code, Flag, SequenceSet, Status, StatusItem, parse_date_time};
use words_mail::Time;

/// A response that answers no tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untagged {
    /// OK, NO, BAD, BYE or PREAUTH.
    Status {
        /// Which.
        status: Status,
        /// Its code.
        code: Option<Code>,
        /// Its words.
        text: String,
    },
    /// What the server can do, in capitals.
    Capability(Vec<String>),
    /// What was enabled, in capitals.
    Enabled(Vec<String>),
    /// How many messages the mailbox has now.
    Exists(u32),
    /// How many of them are `\Recent`.
    Recent(u32),
    /// The message with this number is gone.
    Expunge(u32),
    /// These UIDs are gone (RFC 7162).
    Vanished {
        /// Before the mailbox was selected.
        earlier: bool,
        /// The UIDs.
        uids: SequenceSet,
    },
    /// Of a message.
    Fetch(Fetched),
    /// A mailbox, by LIST or LSUB.
    List(Listed),
    /// The answer to STATUS.
    StatusOf {
        /// The mailbox.
        name: String,
        /// Numbers told.
        items: Vec<(StatusItem, u64)>,
    },
    /// Message numbers or UIDs found.
    Search(Vec<u32>),
    /// The flags in use.
    Flags(Vec<Flag>),
    /// Who the server says it is.
    Id(Vec<(String, Option<String>)>),
    /// Anything else: its first word.
    Other(String),
}

/// A mailbox that a server listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// By LSUB.
    pub lsub: bool,
    /// `\HasNoChildren`, `\Sent`, `\Noselect`, as written.
    pub attributes: Vec<String>,
    /// What stands between the levels of its name; `None` when names have no levels.
    pub separator: Option<char>,
    /// Its name. Give it back as it is.
    pub name: String,
}

impl Listed {
    /// Whether it has this attribute, in any letter case.
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|a| a.eq_ignore_ascii_case(attribute))
    }

    /// Whether messages can be in it.
    pub fn is_selectable(&self) -> bool {
        !self.has("\\Noselect") && !self.has("\\NonExistent")
    }
}

/// What a FETCH told of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Its message number.
    pub number: u32,
    /// Its UID.
    pub uid: Option<u32>,
    /// Its flags.
    pub flags: Option<Vec<Flag>>,
    /// When it arrived.
    pub internal_date: Option<Time>,
    /// Its bytes.
    pub size: Option<u64>,
    /// Its MODSEQ.
    pub modseq: Option<u64>,
    /// Its lasting id (RFC 8474).
    pub email_id: Option<String>,
    /// Sections by their label (`BODY[HEADER]`, in capitals) and their content; `None` is NIL.
    pub sections: Vec<(String, Option<Vec<u8>>)>,
    /// The whole message passed by before as [`super::Heard::BodyData`].
    pub streamed: bool,
    /// A section was longer than is kept, and was cut.
    pub cut: bool,
}

impl Fetched {
    /// The content of the first section whose label starts with `start`.
    pub fn section(&self, start: &str) -> Option<&[u8]> {
        let (_, content) = self.sections.iter().find(|(label, _)| label.starts_with(start))?;
        content.as_deref()
    }
}

/// Reads what follows `* `.
pub(super) fn untagged(line: &[u8]) -> Untagged {
    let mut c = Cursor::lenient(line);
    let other = || {
        let word = line.split(|b| *b == b' ').next().unwrap_or(b"");
        Untagged::Other(String::from_utf8_lossy(word).into_owned())
    };
    if c.peek().is_some_and(|b| b.is_ascii_digit()) {
        return numbered(&mut c).unwrap_or_else(|_| other());
    }
    let Ok(word) = c.keyword() else { return other() };
    if let Some(status) = status_word(&word) {
        c.take(b' ');
        let (code, text) = status_text(c.rest());
        return Untagged::Status { status, code, text };
    }
    named(&word, &mut c).unwrap_or_else(|_| other())
}

pub(super) fn status_word(word: &str) -> Option<Status> {
    Some(match word {
        "OK" => Status::Ok,
        "NO" => Status::No,
        "BAD" => Status::Bad,
        "BYE" => Status::Bye,
        "PREAUTH" => Status::PreAuth,
        _ => return None,
    })
}

/// A response code, if one is there, and the words.
pub(super) fn status_text(rest: &[u8]) -> (Option<Code>, String) {
    let text = String::from_utf8_lossy(rest).into_owned();
    match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        Some((code, words)) => (Some(Code::read(code)), words.trim_start().to_owned()),
        None => (None, text),
    }
}

fn numbered(c: &mut Cursor<'_>) -> Parsed<Untagged> {
    let number = c.number()?;
    c.space()?;
    Ok(match c.keyword()?.as_str() {
        "EXISTS" => Untagged::Exists(number),
        "RECENT" => Untagged::Recent(number),
        "EXPUNGE" => Untagged::Expunge(number),
        "FETCH" => {
            c.space()?;
            Untagged::Fetch(fetched(c, number)?)
        }
        word => Untagged::Other(word.to_owned()),
    })
}

fn named(word: &str, c: &mut Cursor<'_>) -> Parsed<Untagged> {
    Ok(match word {
        "CAPABILITY" => Untagged::Capability(words(c)),
        "ENABLED" => Untagged::Enabled(words(c)),
        "FLAGS" => {
            c.space()?;
            Untagged::Flags(flags(c)?)
        }
        "LIST" | "LSUB" | "XLIST" => {
            c.space()?;
            Untagged::List(listed(c, word == "LSUB")?)
        }
        "SEARCH" => {
            let mut found = Vec::new();
            // The list may end in "(MODSEQ n)" (RFC 7162 §3.1.5), and some servers put a space at the end.
            while c.take(b' ') && c.peek().is_some_and(|b| b.is_ascii_digit()) {
                found.push(c.number()?);
            }
            Untagged::Search(found)
        }
        "STATUS" => {
            c.space()?;
            let name = from_server(&c.astring()?);
            c.space()?;
            Untagged::StatusOf { name, items: status_items(c)? }
        }
        "VANISHED" => {
            c.space()?;
            let earlier = c.take_word("(EARLIER) ");
            Untagged::Vanished { earlier, uids: SequenceSet::scan(c)? }
        }
        "ID" => {
            c.space()?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            if c.take_word("NIL") {
                return Ok(Untagged::Id(Vec::new()));
            }
            Untagged::Id(c.list(true, |c| {
                let name = text(&c.string()?);
                c.space()?;
                Ok((name, c.nstring()?.map(|v| text(&v))))
            })?)
        }
        word => Untagged::Other(word.to_owned()),
    })
}

fn words(c: &mut Cursor<'_>) -> Vec<String> {
    String::from_utf8_lossy(c.rest()).split_ascii_whitespace().map(str::to_ascii_uppercase).collect()
}

/// Words in parentheses; those that are no flags are left out.
fn flags(c: &mut Cursor<'_>) -> Parsed<Vec<Flag>> {
    Ok(attributes(c)?.iter().filter_map(|f| Flag::parse(f)).collect())
}

fn attributes(c: &mut Cursor<'_>) -> Parsed<Vec<String>> {
    c.expect(b'(', "a list is missing")?;
    let inside = c.run(|b| b != b')');
    c.expect(b')', "a list has no end")?;
    Ok(String::from_utf8_lossy(inside).split_ascii_whitespace().map(str::to_owned).collect())
}

fn listed(c: &mut Cursor<'_>, lsub: bool) -> Parsed<Listed> {
    let attributes = attributes(c)?;
    c.space()?;
    let separator = c.nstring()?.and_then(|s| s.first().map(|b| char::from(*b)));
    c.space()?;
    let name = from_server(&c.list_mailbox()?);
    Ok(Listed { lsub, attributes, separator, name })
}

fn status_items(c: &mut Cursor<'_>) -> Parsed<Vec<(StatusItem, u64)>> {
    c.expect(b'(', "a list is missing")?;
    let mut items = Vec::new();
    while !c.take(b')') {
        let word = c.keyword()?;
        c.space()?;
        match StatusItem::ALL.into_iter().find(|i| i.as_str() == word) {
            Some(item) if item != StatusItem::MailboxId => items.push((item, c.number64()?)),
            _ => value(c)?,
        }
        c.take(b' ');
    }
    Ok(items)
}

fn fetched(c: &mut Cursor<'_>, number: u32) -> Parsed<Fetched> {
    let mut fetched = Fetched { number, ..Fetched::default() };
    c.expect(b'(', "a list is missing")?;
    while !c.take(b')') {
        let mut label = String::from_utf8_lossy(c.run(|b| !matches!(b, b' ' | b'[' | b'(' | b')' | b'"')))
            .to_ascii_uppercase();
        if c.peek() == Some(b'[') {
            let section = c.run(|b| b != b']');
            label.push_str(&String::from_utf8_lossy(section).to_ascii_uppercase());
            c.expect(b']', "a section has no end")?;
            label.push(']');
            label.push_str(&String::from_utf8_lossy(c.run(|b| b != b' ')));
        }
        c.space()?;
        match label.as_str() {
            "UID" => fetched.uid = Some(c.number()?),
            "RFC822.SIZE" => fetched.size = Some(c.number64()?),
            "FLAGS" => fetched.flags = Some(flags(c)?),
            "INTERNALDATE" => {
                let text = c.nstring()?.unwrap_or_default();
                fetched.internal_date = parse_date_time(&String::from_utf8_lossy(&text));
            }
            "MODSEQ" => {
                c.expect(b'(', "a list is missing")?;
                fetched.modseq = Some(c.number64()?);
                c.expect(b')', "a list has no end")?;
            }
            "EMAILID" if c.take(b'(') => {
                let id = c.run(|b| b != b')');
                fetched.email_id = Some(String::from_utf8_lossy(id).into_owned());
                c.expect(b')', "a list has no end")?;
            }
            label if label.contains('[') || label.starts_with("RFC822") => {
                if label.starts_with("BINARY.SIZE") {
                    value(c)?;
                } else {
                    let content = c.nstring()?.map(|text| text.into_owned());
                    fetched.sections.push((label.to_owned(), content));
                }
            }
            _ => value(c)?,
        }
        c.take(b' ');
    }
    Ok(fetched)
}

/// Steps over a value of any kind. Lists within lists are counted, not recursed into.
fn value(c: &mut Cursor<'_>) -> Parsed<()> {
    let mut depth = 0usize;
    loop {
        match c.peek() {
            None => return Err(Problem::bad("a value has no end")),
            Some(b'(') => {
                c.take(b'(');
                depth += 1;
            }
            Some(b')') if depth == 0 => return Ok(()),
            Some(b')') => {
                c.take(b')');
                depth -= 1;
            }
            Some(b'"' | b'{') => {
                c.string()?;
            }
            Some(b' ') if depth > 0 => {
                c.take(b' ');
            }
            Some(b' ') => return Ok(()),
            Some(_) => {
                c.run(|b| !matches!(b, b'(' | b')' | b'"' | b'{' | b' '));
            }
        }
        if depth == 0 && matches!(c.peek(), None | Some(b' ' | b')')) {
            return Ok(());
        }
    }
}
