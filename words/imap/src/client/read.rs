//! A server's bytes in, responses out.

use super::response::{Untagged, status_text, status_word, untagged};
use crate::append::literal_at_end;
use crate::{Code, Status};
use std::fmt;

/// Bytes of one response, the messages in it apart. A SEARCH that finds a million messages is this long.
const RESPONSE_MAX: usize = 8 << 20;
/// Bytes kept of a section that is not the whole message; the rest is dropped. A message with an endless header must
/// not stop the reading of its mailbox.
const SECTION_MAX: u64 = 64 << 10;

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard<'i> {
    /// A command is answered.
    Tagged {
        /// Which command.
        tag: String,
        /// How.
        status: Status,
        /// The response code.
        code: Option<Code>,
        /// The words.
        text: String,
    },
    /// `+`: go on. The text is a challenge during AUTHENTICATE.
    Continue(String),
    /// Something else.
    Untagged(Untagged),
    /// The whole of a message begins, within the FETCH of this message number; the [`Untagged::Fetch`] comes after.
    BodyBegin {
        /// Message number.
        number: u32,
        /// Bytes to come.
        size: u64,
    },
    /// Bytes of it.
    BodyData(&'i [u8]),
    /// All of it was given.
    BodyEnd,
}

/// The server's bytes are beyond what is read; nothing after them can be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbled(&'static str);

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Garbled {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Line,
    /// In a literal: bytes to keep, then bytes to drop.
    Literal(u64, u64),
    /// In a whole message.
    Body(u64),
    BodyEnd,
}

/// Reads what a server sends. Holds at most one response, and no messages.
///
/// A line ends with CR LF; a line feed alone is part of the line, so that text a message's sender wrote cannot start a
/// response.
#[derive(Debug)]
pub struct ResponseReader {
    mode: Mode,
    buffer: Vec<u8>,
    /// Where the present line begins in `buffer`.
    line: usize,
    streamed: bool,
    cut: bool,
}

impl Default for ResponseReader {
    fn default() -> ResponseReader {
        ResponseReader::new()
    }
}

impl ResponseReader {
    /// A reader at the start of a connection.
    pub fn new() -> ResponseReader {
        ResponseReader { mode: Mode::Line, buffer: Vec::new(), line: 0, streamed: false, cut: false }
    }

    /// Whether no response is half read. After STARTTLS was answered this must hold, and no input be left.
    pub fn is_idle(&self) -> bool {
        self.mode == Mode::Line && self.buffer.is_empty()
    }

    /// The next response in `input`, which is shortened by what was read. `None`: more is needed.
    ///
    /// # Errors
    /// When a response is longer than is read. Nothing that follows can be understood.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Heard<'i>>, Garbled> {
        loop {
            match self.mode {
                Mode::BodyEnd => {
                    self.mode = Mode::Line;
                    return Ok(Some(Heard::BodyEnd));
                }
                Mode::Body(0) => self.mode = Mode::BodyEnd,
                Mode::Literal(0, 0) => self.mode = Mode::Line,
                _ if input.is_empty() => return Ok(None),
                Mode::Body(left) => {
                    let data = take(input, left);
                    self.mode = Mode::Body(left - data.len() as u64);
                    return Ok(Some(Heard::BodyData(data)));
                }
                Mode::Literal(0, drop) => {
                    let data = take(input, drop);
                    self.mode = Mode::Literal(0, drop - data.len() as u64);
                }
                Mode::Literal(keep, drop) => {
                    let data = take(input, keep);
                    self.buffer.extend_from_slice(data);
                    self.line = self.buffer.len();
                    self.mode = Mode::Literal(keep - data.len() as u64, drop);
                }
                Mode::Line => {
                    if let Some(heard) = self.line(input)? {
                        return Ok(Some(heard));
                    }
                }
            }
        }
    }

    fn line(&mut self, input: &mut &[u8]) -> Result<Option<Heard<'static>>, Garbled> {
        let len = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
        if self.buffer.len() + len > RESPONSE_MAX {
            return Err(Garbled("the server sent a line without end"));
        }
        self.buffer.extend_from_slice(take(input, len as u64));
        let Some(content) = self.buffer[self.line..].strip_suffix(b"\r\n") else {
            return Ok(None);
        };
        match literal_at_end(content) {
            Some(literal) if !is_prose(&self.buffer) => self.announced(literal.size),
            _ => Ok(self.whole()),
        }
    }

    /// A literal follows. Its announcement in the buffer is rewritten to what will be kept of it.
    fn announced(&mut self, size: u64) -> Result<Option<Heard<'static>>, Garbled> {
        let brace = memchr::memrchr(b'{', &self.buffer).unwrap_or(0);
        self.buffer.truncate(brace);
        if self.buffer.ends_with(b"~") {
            self.buffer.pop();
        }
        let number = fetch_number(&self.buffer);
        if let (Some(number), true) = (number, is_whole_message(&self.buffer)) {
            self.buffer.extend_from_slice(b"NIL");
            self.line = self.buffer.len();
            self.streamed = true;
            self.mode = Mode::Body(size);
            return Ok(Some(Heard::BodyBegin { number, size }));
        }
        let keep = if number.is_some() { size.min(SECTION_MAX) } else { size };
        self.cut |= keep < size;
        if (self.buffer.len() as u64).saturating_add(keep) > RESPONSE_MAX as u64 {
            return Err(Garbled("the server announced a string larger than is read"));
        }
        self.buffer.extend_from_slice(format!("{{{keep}}}\r\n").as_bytes());
        self.line = self.buffer.len();
        self.mode = Mode::Literal(keep, size - keep);
        Ok(None)
    }

    fn whole(&mut self) -> Option<Heard<'static>> {
        let buffer = std::mem::take(&mut self.buffer);
        self.line = 0;
        let (streamed, cut) = (std::mem::take(&mut self.streamed), std::mem::take(&mut self.cut));
        let line = buffer.strip_suffix(b"\r\n").unwrap_or(&buffer);
        let heard = match line {
            [] => None,
            [b'*', b' ', rest @ ..] => {
                let mut said = untagged(rest);
                if let Untagged::Fetch(fetched) = &mut said {
                    (fetched.streamed, fetched.cut) = (streamed, cut);
                }
                Some(Heard::Untagged(said))
            }
            [b'+', rest @ ..] => {
                let text = String::from_utf8_lossy(rest.strip_prefix(b" ").unwrap_or(rest)).into_owned();
                Some(Heard::Continue(text))
            }
            line => Some(tagged(line)),
        };
        // The memory serves the next response, unless this one was a giant.
        if buffer.capacity() <= 64 << 10 {
            self.buffer = buffer;
            self.buffer.clear();
        }
        heard
    }
}

fn tagged(line: &[u8]) -> Heard<'static> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.splitn(3, ' ');
    let tag = words.next().unwrap_or("").to_owned();
    let status = status_word(&words.next().unwrap_or("").to_ascii_uppercase());
    match status {
        Some(status) => {
            let (code, text) = status_text(words.next().unwrap_or("").as_bytes());
            Heard::Tagged { tag, status, code, text }
        }
        None => Heard::Untagged(Untagged::Other(tag)),
    }
}

/// Whether the line is for people to read, where `{5}` at the end is no literal.
fn is_prose(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"* ") else {
        return true;
    };
    let word = rest.split(|b| matches!(b, b' ' | b'\r')).next().unwrap_or(b"");
    std::str::from_utf8(word).is_ok_and(|word| status_word(&word.to_ascii_uppercase()).is_some())
}

/// The message number, when the line is a FETCH.
fn fetch_number(line: &[u8]) -> Option<u32> {
    let rest = line.strip_prefix(b"* ")?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let fetch = rest[digits..].get(..7)?.eq_ignore_ascii_case(b" FETCH ");
    let number = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    fetch.then_some(number)
}

/// Whether what was just named is a whole message: `BODY[] `, `BODY[]<0> `, `RFC822 `, `BINARY[] `.
fn is_whole_message(line: &[u8]) -> bool {
    let ends = |line: &[u8], word: &[u8]| {
        line.len() > word.len() && {
            let (before, end) = line.split_at(line.len() - word.len());
            end.eq_ignore_ascii_case(word) && matches!(before.last(), Some(b' ' | b'('))
        }
    };
    let Some(label) = line.strip_suffix(b" ") else { return false };
    let label = match label.strip_suffix(b">") {
        Some(partial) => {
            let digits = partial.iter().rev().take_while(|b| b.is_ascii_digit()).count();
            partial[..partial.len() - digits].strip_suffix(b"<").unwrap_or(label)
        }
        None => label,
    };
    ends(label, b"BODY[]") || ends(label, b"RFC822") || ends(label, b"BINARY[]")
}

fn take<'i>(input: &mut &'i [u8], most: u64) -> &'i [u8] {
    let len = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    let (data, rest) = input.split_at(len);
    *input = rest;
    data
}
