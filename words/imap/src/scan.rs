//! The small pieces every IMAP line is made of (RFC 3501 §9): atoms, strings, numbers, literals.

use crate::{Code, Status};
use std::borrow::Cow;

/// What is wrong with a line, in words for the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: Status,
    pub(crate) code: Option<Code>,
    pub(crate) text: &'static str,
}

impl Problem {
    /// The line is not IMAP.
    pub(crate) fn bad(text: &'static str) -> Problem {
        Problem { status: Status::Bad, code: None, text }
    }

    /// The line is IMAP, but asks for what cannot be.
    pub(crate) fn no(code: Code, text: &'static str) -> Problem {
        Problem { status: Status::No, code: Some(code), text }
    }
}

pub(crate) type Parsed<T> = Result<T, Problem>;

/// A place in one whole line; literals stand in it as `{n}`, CRLF and their bytes.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Mailbox names are UTF-8 instead of modified UTF-7 (RFC 6855 §3).
    pub(crate) utf8: bool,
    /// Reads what other servers write: any character may follow a backslash.
    lenient: bool,
}

/// ATOM-CHAR of RFC 3501 §9.
pub(crate) fn is_atom(byte: u8) -> bool {
    (0x21..0x7f).contains(&byte) && !b"(){%*\"\\]".contains(&byte)
}

/// ASTRING-CHAR, and bytes above 127, which old clients write in names and passwords.
fn is_astring(byte: u8) -> bool {
    is_atom(byte) || byte == b']' || byte >= 0x80
}

fn is_list(byte: u8) -> bool {
    is_astring(byte) || byte == b'*' || byte == b'%'
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], utf8: bool) -> Cursor<'a> {
        Cursor { bytes, at: 0, utf8, lenient: false }
    }

    pub(crate) fn lenient(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0, utf8: false, lenient: true }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(crate) fn at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Steps over `byte` if it is next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, byte: u8, text: &'static str) -> Parsed<()> {
        if self.take(byte) { Ok(()) } else { Err(Problem::bad(text)) }
    }

    pub(crate) fn space(&mut self) -> Parsed<()> {
        self.expect(b' ', "a space is missing, or an argument")
    }

    pub(crate) fn end(&self) -> Parsed<()> {
        if self.at_end() { Ok(()) } else { Err(Problem::bad("there is more than the command takes")) }
    }

    /// The longest run of bytes that `belongs` accepts; may be empty.
    pub(crate) fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest.iter().position(|b| !belongs(*b)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// Steps over `word`, in any letter case, if it is next.
    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let found = self.rest().get(..word.len()).is_some_and(|r| r.eq_ignore_ascii_case(word.as_bytes()));
        if found {
            self.at += word.len();
        }
        found
    }

    pub(crate) fn atom(&mut self) -> Parsed<&'a str> {
        let run = self.run(is_atom);
        match std::str::from_utf8(run) {
            Ok(text) if !text.is_empty() => Ok(text),
            _ => Err(Problem::bad("a word is missing")),
        }
    }

    /// An atom in upper case, for comparing with the keywords of the grammar.
    pub(crate) fn keyword(&mut self) -> Parsed<String> {
        Ok(self.atom()?.to_ascii_uppercase())
    }

    pub(crate) fn number64(&mut self) -> Parsed<u64> {
        let run = self.run(|b| b.is_ascii_digit());
        let text = std::str::from_utf8(run).unwrap_or("");
        text.parse().map_err(|_| Problem::bad("a number is missing or too large"))
    }

    pub(crate) fn number(&mut self) -> Parsed<u32> {
        u32::try_from(self.number64()?).map_err(|_| Problem::bad("a number is too large"))
    }

    pub(crate) fn nonzero(&mut self) -> Parsed<u32> {
        match self.number()? {
            0 => Err(Problem::bad("a number must not be zero")),
            n => Ok(n),
        }
    }

    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.expect(b'"', "a string is missing")?;
        let plain = self.run(|b| !matches!(b, b'"' | b'\\' | b'\r' | b'\n' | 0));
        if self.take(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_vec();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b @ (b'"' | b'\\')) => text.push(b),
                        Some(b) if self.lenient && !matches!(b, b'\r' | b'\n' | 0) => text.push(b),
                        _ => return Err(Problem::bad("only \\\" and \\\\ may follow a backslash")),
                    }
                    self.at += 1;
                }
                Some(0 | b'\r' | b'\n') | None => {
                    return Err(Problem::bad("a quoted string has no end"));
                }
                Some(b) => {
                    text.push(b);
                    self.at += 1;
                }
            }
        }
    }

    fn literal(&mut self) -> Parsed<&'a [u8]> {
        let binary = self.take(b'~');
        self.expect(b'{', "a string is missing")?;
        let len = self.number64()?;
        self.take(b'+');
        if !(self.take(b'}') && self.take(b'\r') && self.take(b'\n')) {
            return Err(Problem::bad("a literal is not announced as {n}"));
        }
        let len = usize::try_from(len).map_err(|_| Problem::bad("a literal is too long"))?;
        let content = self.rest().get(..len).ok_or(Problem::bad("a literal is cut short"))?;
        if !binary && !self.lenient && content.contains(&0) {
            return Err(Problem::bad("a literal holds a zero byte"));
        }
        self.at += len;
        Ok(content)
    }

    /// `string`: quoted or literal.
    pub(crate) fn string(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            _ => self.literal().map(Cow::Borrowed),
        }
    }

    /// `nstring`: NIL or a string.
    pub(crate) fn nstring(&mut self) -> Parsed<Option<Cow<'a, [u8]>>> {
        if self.take_word("NIL") { Ok(None) } else { self.string().map(Some) }
    }

    fn string_or(&mut self, belongs: fn(u8) -> bool) -> Parsed<Cow<'a, [u8]>> {
        match self.rest() {
            [b'"' | b'{', ..] | [b'~', b'{', ..] => self.string(),
            _ => match self.run(belongs) {
                [] => Err(Problem::bad("an argument is missing")),
                run => Ok(Cow::Borrowed(run)),
            },
        }
    }

    /// `astring`: an atom or a string.
    pub(crate) fn astring(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.string_or(is_astring)
    }

    /// `list-mailbox`: an astring in which `*` and `%` may stand.
    pub(crate) fn list_mailbox(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.string_or(is_list)
    }

    /// An astring that must be UTF-8.
    pub(crate) fn text(&mut self) -> Parsed<String> {
        utf8(self.astring()?)
    }

    /// A mailbox name, decoded; INBOX in capitals.
    pub(crate) fn mailbox(&mut self) -> Parsed<String> {
        let raw = self.astring()?;
        mailbox_name(&raw, self.utf8)
    }

    /// A list in parentheses, its items apart by one space; `()` only where `empty` says so.
    pub(crate) fn list<T>(
        &mut self,
        empty: bool,
        mut item: impl FnMut(&mut Cursor<'a>) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.expect(b'(', "an opening parenthesis is missing")?;
        let mut items = Vec::new();
        if empty && self.take(b')') {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.take(b')') {
                return Ok(items);
            }
            self.space()?;
        }
    }
}

/// The mailbox name that `raw` is on the wire.
pub(crate) fn mailbox_name(raw: &[u8], utf8: bool) -> Parsed<String> {
    crate::name::from_wire(raw, utf8)
        .ok_or(Problem::no(Code::Cannot, "the mailbox name is not valid modified UTF-7 (RFC 3501 5.1.3)"))
}

pub(crate) fn utf8(bytes: Cow<'_, [u8]>) -> Parsed<String> {
    String::from_utf8(bytes.into_owned()).map_err(|_| Problem::bad("a string is not UTF-8"))
}
