//! A client's bytes in, events out: lines, literals, streamed messages (RFC 3501 §4.3, RFC 7888, RFC 3502).
//!
//! Sans I/O. Nothing that a client sends makes the reader hold more than [`Limits::command`] bytes: short literals
//! are collected into the command they stand in, the messages of an APPEND pass through as slices of the input, and
//! what is over a limit is refused and stepped over.
//!
//! A bare LF never ends a line: what follows it would be run as a command, though its sender may have meant it as
//! part of a string. The line is answered with BAD as soon as the LF is seen and dropped up to its CRLF.

use crate::append::{self, Place};
use crate::command::Tagged;
use crate::parse;
use crate::scan::Problem;
use crate::{Code, Flag, Status};
use words_mail::Time;

/// What a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one command with its literals, the messages of an APPEND apart.
    pub command: usize,
    /// Bytes of one message in an APPEND.
    pub message: u64,
    /// Bytes of a refused non-synchronising literal that are read and dropped; beyond that the connection ends.
    pub skip: u64,
}

impl Default for Limits {
    /// 64 KiB a command, 64 MiB a message, 256 MiB dropped.
    fn default() -> Limits {
        Limits { command: 64 << 10, message: 64 << 20, skip: 256 << 20 }
    }
}

/// What the client's bytes mean. Answer each before asking for the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// The client waits for `+ ` before it sends a literal.
    Continue,
    /// A whole command.
    Command(Tagged),
    /// A message of an APPEND begins. Send `+ ` if it is [`AppendBegin::sync`], or refuse it with
    /// [`CommandReader::refuse_append`] and a tagged NO.
    AppendBegin(AppendBegin),
    /// Bytes of that message.
    AppendData(&'i [u8]),
    /// The message is whole. Another may follow (MULTIAPPEND).
    AppendEnd,
    /// The APPEND is whole: now store its messages, all or none, and answer the tag.
    AppendDone {
        /// The tag.
        tag: String,
    },
    /// The line that [`CommandReader::expect_line`] asked for, without its CRLF.
    Line(Vec<u8>),
    /// A line that cannot be obeyed; messages of an unfinished APPEND are void.
    Fault(Fault),
}

/// The opening of one message in an APPEND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendBegin {
    /// The command's tag.
    pub tag: String,
    /// The mailbox, decoded.
    pub mailbox: String,
    /// Flags to set.
    pub flags: Vec<Flag>,
    /// INTERNALDATE to keep.
    pub date: Option<Time>,
    /// Bytes that follow. Zero takes back the whole command (RFC 3502 §6.3.11).
    pub size: u64,
    /// The client waits for `+ `.
    pub sync: bool,
    /// A literal8 (RFC 3516 §4.4): zero bytes may be in it.
    pub binary: bool,
    /// Header fields may hold UTF-8 (RFC 6855 §4).
    pub utf8: bool,
    /// The first of its command.
    pub first: bool,
}

/// Why a line was not obeyed, ready to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The tag to answer; untagged when none could be made out.
    pub tag: Option<String>,
    /// NO or BAD; BYE when the connection must end.
    pub status: Status,
    /// The response code.
    pub code: Option<Code>,
    /// The words.
    pub text: &'static str,
}

impl Fault {
    /// Whether the connection must be closed after the answer: the client is sending more than will be read.
    pub fn closes(&self) -> bool {
        self.status == Status::Bye
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    /// Collecting a line.
    Line,
    /// Collecting a short literal.
    Literal(u64),
    /// Passing a message on.
    Message(u64),
    /// A message was passed on; its end is still to be told.
    MessageEnd,
    /// Dropping a refused literal, then the rest of its command.
    Skip(u64),
    /// Dropping the rest of a command.
    SkipLine,
    /// A line that is no command.
    Raw,
    /// Reading no more.
    Closed,
}

/// How much of the end of a dropped line is kept: enough for `{18446744073709551615+}` CRLF.
const TAIL: usize = 32;

/// Reads what a client sends.
#[derive(Debug)]
pub struct CommandReader {
    limits: Limits,
    utf8: bool,
    mode: Mode,
    /// The command so far; while dropping a line, the end of what was dropped.
    buffer: Vec<u8>,
    /// Where the present line of the command begins in `buffer`: literals stand before it.
    line: usize,
    /// The APPEND that is under way: its latest message.
    append: Option<AppendBegin>,
}

impl CommandReader {
    /// A reader at the start of a connection.
    pub fn new(limits: Limits) -> CommandReader {
        CommandReader { limits, utf8: false, mode: Mode::Line, buffer: Vec::new(), line: 0, append: None }
    }

    /// Changes the limits, for instance once the client has signed in. Holds from the next line on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Mailbox names are UTF-8 from now on (`ENABLE UTF8=ACCEPT`, RFC 6855).
    pub fn set_utf8(&mut self, utf8: bool) {
        self.utf8 = utf8;
    }

    /// The next line is no command: it answers AUTHENTICATE, or ends IDLE. To be called between the command's event
    /// and the next call of [`CommandReader::next`]. If a [`Event::Fault`] comes instead, it has no tag: the command
    /// that asked for the line has failed and its own tag is to be answered.
    pub fn expect_line(&mut self) {
        if self.mode == Mode::Line {
            self.mode = Mode::Raw;
        }
    }

    /// Takes no part of the message just announced, nor of the rest of its command. To be called in answer to
    /// [`Event::AppendBegin`], beside a tagged NO.
    pub fn refuse_append(&mut self) {
        let Some(append) = self.append.take() else { return };
        self.mode = match self.mode {
            // Without its `+ ` the client sends nothing more of this command.
            Mode::Message(_) if append.sync => Mode::Line,
            Mode::Message(left) => Mode::Skip(left),
            Mode::MessageEnd => Mode::Skip(0),
            _ => Mode::SkipLine,
        };
        self.clear();
    }

    /// Whether no command is half read.
    pub fn is_idle(&self) -> bool {
        self.mode == Mode::Line && self.buffer.is_empty() && self.append.is_none()
    }

    /// The next event in `input`, which is shortened by what was read. `None`: everything was read, more is needed.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Option<Event<'i>> {
        loop {
            match self.mode {
                Mode::Closed => {
                    *input = &[];
                    return None;
                }
                Mode::MessageEnd => {
                    self.mode = Mode::Line;
                    return Some(Event::AppendEnd);
                }
                Mode::Message(0) => self.mode = Mode::MessageEnd,
                Mode::Message(left) => {
                    let data = take(input, left)?;
                    self.mode = Mode::Message(left - data.len() as u64);
                    return Some(Event::AppendData(data));
                }
                Mode::Literal(0) => self.mode = Mode::Line,
                Mode::Literal(left) => {
                    let data = take(input, left)?;
                    self.buffer.extend_from_slice(data);
                    self.line = self.buffer.len();
                    self.mode = Mode::Literal(left - data.len() as u64);
                }
                Mode::Skip(0) => self.mode = Mode::SkipLine,
                Mode::Skip(left) => {
                    let data = take(input, left)?;
                    self.mode = Mode::Skip(left - data.len() as u64);
                }
                Mode::SkipLine => {
                    if let Some(fault) = self.skip_line(input)? {
                        return Some(Event::Fault(fault));
                    }
                }
                Mode::Line | Mode::Raw => {
                    if let Some(event) = self.line(input)? {
                        return Some(event);
                    }
                }
            }
        }
    }

    fn clear(&mut self) {
        // A buffer that one long command made large is not kept for the life of an idle connection.
        if self.buffer.capacity() > 4_096 {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        self.line = 0;
    }

    /// Reads on in a line. Outer `None`: more input is needed; inner: nothing to tell yet.
    fn line(&mut self, input: &mut &[u8]) -> Option<Option<Event<'static>>> {
        let room = self.limits.command.saturating_sub(self.buffer.len());
        let scan = &input[..input.len().min(room.saturating_add(1))];
        let newline = memchr::memchr(b'\n', scan);
        let len = newline.map_or(scan.len(), |at| at + 1);
        if len == 0 {
            return None;
        }
        let piece = &input[..len];
        *input = &input[len..];
        self.buffer.extend_from_slice(piece);
        let content = &self.buffer[self.line..];
        if newline.is_none() {
            if self.buffer.len() > self.limits.command {
                return Some(Some(self.drop_line(Some(Code::TooBig), "the command is too long")));
            }
            return None;
        }
        let Some(content) = content.strip_suffix(b"\r\n") else {
            return Some(Some(self.drop_line(None, "lines end with CR LF, and a line feed stands alone")));
        };
        let literal = append::literal_at_end(content).filter(|_| self.mode == Mode::Line);
        if content.contains(&b'\r') || content.contains(&0) {
            let problem = Problem::bad("a carriage return or zero byte stands in the line");
            return Some(Some(match literal {
                Some(literal) => self.refuse(problem, &literal),
                None => self.fault(problem),
            }));
        }
        if self.mode == Mode::Raw {
            let line = content.to_vec();
            self.mode = Mode::Line;
            self.clear();
            return Some(Some(Event::Line(line)));
        }
        Some(match literal {
            Some(literal) => self.announced(literal),
            None => self.whole_line(),
        })
    }

    /// A line without a literal at its end: the command is whole.
    fn whole_line(&mut self) -> Option<Event<'static>> {
        let text = &self.buffer[..self.buffer.len() - 2];
        if let Some(append) = &self.append {
            let closed = if append.utf8 { text == b")" } else { text.is_empty() };
            let tag = append.tag.clone();
            if !closed {
                return Some(
                    self.fault(Problem::bad("a message of the APPEND is followed by something else")),
                );
            }
            self.append = None;
            self.clear();
            return Some(Event::AppendDone { tag });
        }
        // Blank lines are no commands; some clients send one after a literal.
        if text.is_empty() {
            self.clear();
            return None;
        }
        let Some((tag, len)) = parse::tag(text) else {
            return Some(self.fault(Problem::bad("a command starts with a tag and a space")));
        };
        let (tag, command) = (tag.to_owned(), parse::command(&text[len..], self.utf8));
        Some(match command {
            Ok(command) => {
                self.clear();
                Event::Command(Tagged { tag, command })
            }
            Err(problem) => self.fault(problem),
        })
    }

    /// A line that ends in the announcement of a literal.
    fn announced(&mut self, literal: append::Literal) -> Option<Event<'static>> {
        let place = match &self.append {
            Some(append) => append::following(&self.buffer, &literal, append),
            None => append::opening(&self.buffer, &literal, self.line == 0, self.utf8),
        };
        match place {
            Ok(Place::Message(begin)) => Some(self.message(begin)),
            Ok(Place::Argument) => {
                let after = (self.buffer.len() as u64).saturating_add(literal.size);
                if after > self.limits.command as u64 {
                    let problem = Problem::no(Code::TooBig, "a string of the command is too long");
                    return Some(self.refuse(problem, &literal));
                }
                self.mode = Mode::Literal(literal.size);
                self.line = self.buffer.len();
                literal.sync.then_some(Event::Continue)
            }
            Err(problem) => Some(self.refuse(problem, &literal)),
        }
    }

    fn message(&mut self, begin: AppendBegin) -> Event<'static> {
        if begin.size > self.limits.message {
            let literal = append::Literal { size: begin.size, sync: begin.sync, binary: begin.binary };
            return self
                .refuse(Problem::no(Code::TooBig, "the message is larger than this server takes"), &literal);
        }
        self.mode = Mode::Message(begin.size);
        self.append = Some(begin.clone());
        self.clear();
        Event::AppendBegin(begin)
    }

    /// Refuses a command whose literal has been announced.
    fn refuse(&mut self, problem: Problem, literal: &append::Literal) -> Event<'static> {
        let event = self.fault(problem);
        if literal.sync {
            return event;
        }
        match event {
            Event::Fault(_) if literal.size > self.limits.skip => Event::Fault(self.close()),
            event => {
                self.mode = Mode::Skip(literal.size);
                event
            }
        }
    }

    fn close(&mut self) -> Fault {
        self.mode = Mode::Closed;
        let text = "a literal was announced that is larger than this server reads";
        Fault { tag: None, status: Status::Bye, code: Some(Code::TooBig), text }
    }

    /// Refuses the command of which the line at hand is the last.
    fn fault(&mut self, problem: Problem) -> Event<'static> {
        let tag = match self.append.take() {
            Some(append) => Some(append.tag),
            None if self.mode == Mode::Raw => None,
            None => parse::tag(&self.buffer).map(|(tag, _)| tag.to_owned()),
        };
        self.mode = Mode::Line;
        self.clear();
        // RFC 3501 §7.1.2: NO without a tag is a warning only, so that a command without one is BAD.
        let status = if tag.is_none() { Status::Bad } else { problem.status };
        Event::Fault(Fault { tag, status, code: problem.code, text: problem.text })
    }

    /// Refuses a command in the middle of a line: what is left of the line is dropped.
    fn drop_line(&mut self, code: Option<Code>, text: &'static str) -> Event<'static> {
        let tail = self.buffer[self.buffer.len().saturating_sub(TAIL)..].to_vec();
        let event = self.fault(Problem { status: Status::Bad, code, text });
        self.buffer = tail;
        self.mode = Mode::SkipLine;
        event
    }

    /// Drops input up to the end of the command. Outer `None`: more input is needed.
    ///
    /// The literals in it are dropped too: their content must not be taken for commands.
    fn skip_line(&mut self, input: &mut &[u8]) -> Option<Option<Fault>> {
        if input.is_empty() {
            return None;
        }
        let len = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
        let piece = &input[..len];
        *input = &input[len..];
        self.buffer.extend_from_slice(&piece[piece.len().saturating_sub(TAIL)..]);
        self.buffer.drain(..self.buffer.len().saturating_sub(TAIL));
        let Some(content) = self.buffer.strip_suffix(b"\r\n") else {
            return Some(None);
        };
        let literal = append::literal_at_end(content);
        self.clear();
        Some(match literal {
            Some(literal) if !literal.sync && literal.size > self.limits.skip => Some(self.close()),
            Some(literal) if !literal.sync => {
                self.mode = Mode::Skip(literal.size);
                None
            }
            // A synchronising literal is never sent: the command was answered already.
            _ => {
                self.mode = Mode::Line;
                None
            }
        })
    }
}

/// At most `most` bytes from the front; `None` when there is nothing.
fn take<'i>(input: &mut &'i [u8], most: u64) -> Option<&'i [u8]> {
    let len = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    let (data, rest) = input.split_at(len);
    *input = rest;
    (len > 0).then_some(data)
}

#[cfg(test)]
mod tests;
