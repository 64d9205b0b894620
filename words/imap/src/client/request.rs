//! Commands, written so that nothing in an argument can become part of the grammar.

use crate::name::to_server;
use crate::{Flag, SequenceSet, format_date_time};
use std::fmt::{self, Display};
use words_mail::Time;

/// Which literals the server takes without being asked first (RFC 7888).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Literals {
    /// None: it says `+` before each.
    #[default]
    Synchronising,
    /// LITERAL-: those of at most 4,096 bytes.
    Short,
    /// LITERAL+: all.
    Any,
}

impl Literals {
    /// What these capabilities, in capitals, allow. IMAP4rev2 includes LITERAL- (RFC 9051).
    pub fn of<S: AsRef<str>>(capabilities: &[S]) -> Literals {
        let has = |word: &str| capabilities.iter().any(|c| c.as_ref() == word);
        if has("LITERAL+") {
            Literals::Any
        } else if has("LITERAL-") || has("IMAP4REV2") {
            Literals::Short
        } else {
            Literals::Synchronising
        }
    }

    fn waits(self, size: u64) -> bool {
        match self {
            Literals::Synchronising => true,
            Literals::Short => size > 4_096,
            Literals::Any => false,
        }
    }
}

/// An argument that no string of the protocol can hold: it has a zero byte, or is no flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsayable;

impl fmt::Display for Unsayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an argument holds what IMAP cannot carry")
    }
}

impl std::error::Error for Unsayable {}

/// A command being written. It falls into pieces where the server has to say `+` before the next.
#[derive(Clone, Debug)]
pub struct Request {
    pieces: Vec<Vec<u8>>,
    literals: Literals,
    unsayable: bool,
}

impl Request {
    /// `tag verb`. Both are words of the grammar.
    pub fn new(tag: &str, verb: &str, literals: Literals) -> Request {
        let mut request = Request { pieces: vec![Vec::new()], literals, unsayable: false };
        request.push(tag);
        request.word(verb)
    }

    fn last(&mut self) -> &mut Vec<u8> {
        if self.pieces.is_empty() {
            self.pieces.push(Vec::new());
        }
        let last = self.pieces.len() - 1;
        &mut self.pieces[last]
    }

    fn push(&mut self, text: &str) {
        self.unsayable |= text.bytes().any(|b| !(0x20..0x7f).contains(&b));
        self.last().extend_from_slice(text.as_bytes());
    }

    /// A space, and words of the grammar: never text from outside.
    pub fn word(mut self, word: impl Display) -> Request {
        self.push(&format!(" {word}"));
        self
    }

    /// A string argument, quoted where that is possible.
    pub fn string(mut self, text: &[u8]) -> Request {
        self.unsayable |= text.contains(&0);
        self.last().push(b' ');
        if text.len() <= 1_000 && text.iter().all(|b| (0x20..0x7f).contains(b)) {
            crate::write::string(self.last(), text);
        } else {
            let wait = self.literals.waits(text.len() as u64);
            let plus = if wait { "" } else { "+" };
            self.last().extend_from_slice(format!("{{{}{plus}}}\r\n", text.len()).as_bytes());
            if wait {
                self.pieces.push(Vec::new());
            }
            self.last().extend_from_slice(text);
        }
        self
    }

    /// A mailbox name as LIST gave it, or a new one.
    pub fn mailbox(self, name: &str) -> Request {
        match to_server(name) {
            Some(wire) => self.string(&wire),
            None => Request { unsayable: true, ..self },
        }
    }

    /// A sequence set.
    pub fn set(self, set: &SequenceSet) -> Request {
        let text = set.to_string();
        let empty = text.is_empty();
        let request = self.word(text);
        Request { unsayable: request.unsayable | empty, ..request }
    }

    /// Flags in parentheses. `\Recent` cannot be set and is left out.
    pub fn flags(mut self, flags: &[Flag]) -> Request {
        // Flags can be made without having been parsed; what would not parse must not be written.
        self.unsayable |= flags.iter().any(|f| Flag::parse(f.as_str()).is_none() || f.as_str().contains(']'));
        let words: Vec<&str> = flags.iter().filter(|f| **f != Flag::Recent).map(Flag::as_str).collect();
        self.word(format_args!("({})", words.join(" ")))
    }

    /// A date and time, quoted.
    pub fn date_time(self, time: Time) -> Request {
        self.word(format_args!("\"{}\"", format_date_time(time)))
    }

    /// Ends the command with the announcement of a message that the caller sends next, and CR LF after it. Tells
    /// whether the server has to say `+` first.
    ///
    /// # Errors
    /// When an argument cannot be written.
    pub fn message(mut self, size: u64) -> Result<(Vec<Vec<u8>>, bool), Unsayable> {
        let wait = self.literals.waits(size);
        self.push(&format!(" {{{size}{}}}", if wait { "" } else { "+" }));
        Ok((self.pieces()?, wait))
    }

    /// The command whole: pieces to send one by one, waiting for `+` between them.
    ///
    /// # Errors
    /// When an argument cannot be written.
    pub fn pieces(mut self) -> Result<Vec<Vec<u8>>, Unsayable> {
        self.last().extend_from_slice(b"\r\n");
        if self.unsayable { Err(Unsayable) } else { Ok(self.pieces) }
    }
}
