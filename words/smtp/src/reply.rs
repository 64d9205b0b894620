//! Replies as a server sends them: read in any chunking, bounded, tolerant of sloppy servers but never confused.

use std::fmt;
use words_mail::Reply;

/// The longest line of a reply that is read, without its line end. RFC 5321 §4.5.3.1.5 allows 512 octets; servers
/// that explain a refusal at length exceed it.
pub const REPLY_LINE_MAX: usize = 4096;
/// The most lines of one reply.
pub const REPLY_LINES_MAX: usize = 100;
/// The most bytes kept between two replies: a pipelining server answers many commands in one segment.
const BUFFER_MAX: usize = 256 * 1024;

/// One whole reply with its lines apart, as an `EHLO` answer needs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The three-digit code.
    pub code: u16,
    /// The enhanced status code of the last line that has one (RFC 2034), if its class fits the code.
    pub enhanced: Option<(u8, u16, u16)>,
    /// The words of each line, without codes, control bytes escaped.
    pub lines: Vec<String>,
}

impl Answer {
    /// The reply in the form that is kept.
    pub fn reply(&self) -> Reply {
        Reply { code: self.code, enhanced: self.enhanced, text: self.lines.join(" / ") }
    }

    /// 2xx.
    pub fn is_yes(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3xx: the server waits for more.
    pub fn wants_more(&self) -> bool {
        self.code / 100 == 3
    }
}

/// Why bytes are not a reply. The dialogue cannot go on after it: nobody knows any more which answer belongs to
/// which command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// A line longer than [`REPLY_LINE_MAX`].
    LineTooLong,
    /// More lines than [`REPLY_LINES_MAX`].
    TooManyLines,
    /// Not `nnn text` or `nnn-text`; the start of what came instead, escaped.
    NotAReply(String),
    /// A line of one reply carries another code than the line before.
    CodesDiffer(u16, u16),
    /// More came than any command can have been answered with.
    TooMuch,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyError::LineTooLong => write!(f, "a reply line is longer than {REPLY_LINE_MAX} bytes"),
            ReplyError::TooManyLines => write!(f, "a reply has more than {REPLY_LINES_MAX} lines"),
            ReplyError::NotAReply(what) => write!(f, "not an SMTP reply: \"{what}\""),
            ReplyError::CodesDiffer(first, other) => {
                write!(f, "one reply with two codes, {first} and {other}")
            }
            ReplyError::TooMuch => f.write_str("more bytes than any reply has"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// Reads replies out of bytes that arrive in any chunking.
#[derive(Debug, Default)]
pub struct ReplyReader {
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that belong to lines already read.
    used: usize,
    /// Bytes already searched for a line end, so that a server that sends one byte a second costs linear time.
    searched: usize,
    code: Option<u16>,
    enhanced: Option<(u8, u16, u16)>,
    lines: Vec<String>,
}

impl ReplyReader {
    /// A reader at the start of a connection.
    pub fn new() -> ReplyReader {
        ReplyReader::default()
    }

    /// Takes bytes that arrived.
    ///
    /// # Errors
    /// When the peer sent more than any reply can be; the connection is to be dropped.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ReplyError> {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.searched = self.searched.saturating_sub(self.used);
            self.used = 0;
        }
        if self.buffer.len() + bytes.len() > BUFFER_MAX {
            return Err(ReplyError::TooMuch);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole reply, if it has arrived.
    ///
    /// # Errors
    /// When what arrived is no reply; the connection is to be dropped.
    pub fn answer(&mut self) -> Result<Option<Answer>, ReplyError> {
        loop {
            let from = self.searched.max(self.used);
            let Some(end) = memchr::memchr(b'\n', &self.buffer[from..]).map(|at| from + at) else {
                self.searched = self.buffer.len();
                // One more for a CR whose LF is still on its way.
                return if self.buffer.len() - self.used > REPLY_LINE_MAX + 1 {
                    Err(ReplyError::LineTooLong)
                } else {
                    Ok(None)
                };
            };
            let line = &self.buffer[self.used..end];
            // A bare LF ends a line too: unlike in a message, nothing can be smuggled to us here.
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > REPLY_LINE_MAX {
                return Err(ReplyError::LineTooLong);
            }
            let (code, last, enhanced, words) = read_line(line)?;
            self.used = end + 1;
            self.searched = self.used;
            if let Some(first) = self.code.replace(code)
                && first != code
            {
                return Err(ReplyError::CodesDiffer(first, code));
            }
            self.enhanced = enhanced.or(self.enhanced);
            self.lines.push(words);
            if last {
                self.code = None;
                let lines = std::mem::take(&mut self.lines);
                return Ok(Some(Answer { code, enhanced: self.enhanced.take(), lines }));
            }
            if self.lines.len() >= REPLY_LINES_MAX {
                return Err(ReplyError::TooManyLines);
            }
        }
    }

    /// Forgets everything that arrived and was not read. To be called between the `220` of `STARTTLS` and the
    /// handshake: what stands here came in plain text and may be anybody's (response injection).
    pub fn discard(&mut self) -> usize {
        let dropped = self.buffer.len() - self.used;
        *self = ReplyReader::new();
        dropped
    }

    /// Whether bytes wait that are no whole reply yet, or a reply nobody asked for.
    pub fn has_rest(&self) -> bool {
        self.buffer.len() > self.used || self.code.is_some()
    }
}

type Line = (u16, bool, Option<(u8, u16, u16)>, String);

fn read_line(line: &[u8]) -> Result<Line, ReplyError> {
    let wrong = || ReplyError::NotAReply(escape(&line[..line.len().min(80)]));
    let (digits, rest) = line.split_at_checked(3).ok_or_else(wrong)?;
    if !(b'2'..=b'5').contains(&digits[0]) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let code = digits.iter().fold(0u16, |code, digit| code * 10 + u16::from(digit - b'0'));
    let (last, text) = match rest.split_first() {
        None => (true, rest),
        Some((b' ', text)) => (true, text),
        Some((b'-', text)) => (false, text),
        Some(_) => return Err(wrong()),
    };
    let (enhanced, text) = read_enhanced(text, digits[0] - b'0');
    Ok((code, last, enhanced, escape(text)))
}

/// RFC 2034 §4: the status code is the first word of the text, and its class repeats the first digit.
fn read_enhanced(text: &[u8], class: u8) -> (Option<(u8, u16, u16)>, &[u8]) {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let number = |part: &str| match part.len() {
        1..=3 if part.bytes().all(|b| b.is_ascii_digit()) => part.parse::<u16>().ok(),
        _ => None,
    };
    let read = || {
        let mut parts = std::str::from_utf8(&text[..end]).ok()?.split('.');
        let found = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
        (parts.next().is_none() && found.0 == u16::from(class)).then_some((class, found.1, found.2))
    };
    match read() {
        Some(enhanced) => (Some(enhanced), text.get(end + 1..).unwrap_or_default()),
        None => (None, text),
    }
}

/// Text from outside in a form that is safe in a log, a header or a terminal.
pub fn escape(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        // Besides control characters, those that reorder text on a screen.
        let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
        if c.is_control() || turns {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(bytes: &[u8]) -> Result<Vec<Answer>, ReplyError> {
        read_chunks(&[bytes])
    }

    fn read_chunks(chunks: &[&[u8]]) -> Result<Vec<Answer>, ReplyError> {
        let mut reader = ReplyReader::new();
        let mut answers = Vec::new();
        for chunk in chunks {
            reader.feed(chunk)?;
            while let Some(answer) = reader.answer()? {
                answers.push(answer);
            }
        }
        Ok(answers)
    }

    #[test]
    fn replies_are_read_as_servers_write_them() {
        for (bytes, code, enhanced, lines) in [
            ("220 mx.example.org ESMTP\r\n", 220, None, vec!["mx.example.org ESMTP"]),
            ("250 2.1.5 Ok\r\n", 250, Some((2, 1, 5)), vec!["Ok"]),
            ("250\r\n", 250, None, vec![""]),
            ("250 \r\n", 250, None, vec![""]),
            ("354 go\n", 354, None, vec!["go"]),
            ("250-a\r\n250-b\r\n250 c\r\n", 250, None, vec!["a", "b", "c"]),
            ("550-5.7.1 first\r\n550 5.7.1 second\r\n", 550, Some((5, 7, 1)), vec!["first", "second"]),
            ("450 5.1.1 the class does not fit\r\n", 450, None, vec!["5.1.1 the class does not fit"]),
            ("250 2.0.0\r\n", 250, Some((2, 0, 0)), vec![""]),
            ("250 2.0.0.1 four parts\r\n", 250, None, vec!["2.0.0.1 four parts"]),
            ("250 1.2\r\n", 250, None, vec!["1.2"]),
            ("550 \x1b[31mred\x07\r\n", 550, None, vec!["\\u{1b}[31mred\\u{7}"]),
            ("550 \u{202e}gro\r\n", 550, None, vec!["\\u{202e}gro"]),
            ("550 a\rb\r\n", 550, None, vec!["a\\rb"]),
        ] {
            let answers = read_all(bytes.as_bytes()).unwrap_or_else(|e| panic!("{bytes:?}: {e}"));
            assert_eq!(answers.len(), 1, "{bytes:?}");
            assert_eq!((answers[0].code, answers[0].enhanced), (code, enhanced), "{bytes:?}");
            assert_eq!(answers[0].lines, lines, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_reply_ends_the_dialogue() {
        for bytes in [
            "hello\r\n",
            "\r\n",
            "25\r\n",
            "25x ok\r\n",
            "199 low\r\n",
            "600 high\r\n",
            "250ok\r\n",
            "250-a\r\n251 b\r\n",
            "250-a\r\n\r\n",
            "\u{0}\u{0}\u{0}\n",
            "HTTP/1.1 400 Bad Request\r\n",
        ] {
            assert!(read_all(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_server_that_never_stops_is_stopped() {
        let long = vec![b'2'; REPLY_LINE_MAX + 2];
        assert_eq!(read_all(&long), Err(ReplyError::LineTooLong));
        let endless = "250-more\r\n".repeat(REPLY_LINES_MAX + 1);
        assert_eq!(read_all(endless.as_bytes()), Err(ReplyError::TooManyLines));
        let flood = vec![b'x'; BUFFER_MAX + 1];
        assert_eq!(read_all(&flood), Err(ReplyError::TooMuch));
        let fits = format!("250 {}\r\n", "x".repeat(REPLY_LINE_MAX - 4));
        assert_eq!(read_all(fits.as_bytes()).map(|a| a.len()), Ok(1));
    }

    #[test]
    fn pipelined_answers_come_out_one_by_one() {
        let answers = read_all(b"250 one\r\n250-two\r\n250 two\r\n354 three\r\n25").unwrap();
        assert_eq!(answers.iter().map(|a| a.code).collect::<Vec<_>>(), [250, 250, 354]);
    }

    #[test]
    fn what_was_injected_before_the_handshake_is_forgotten() {
        let mut reader = ReplyReader::new();
        reader.feed(b"220 go ahead\r\n250-evil\r\n250 AUTH PLAIN\r\n").unwrap();
        assert_eq!(reader.answer().unwrap().unwrap().code, 220);
        assert!(reader.has_rest());
        assert_eq!(reader.discard(), 26);
        assert!(!reader.has_rest());
        assert_eq!(reader.answer(), Ok(None));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_chunking_changes_nothing(
            bytes in proptest::collection::vec(prop_oneof![
                Just(b'2'), Just(b'5'), Just(b'0'), Just(b'-'), Just(b' '), Just(b'.'), Just(b'\r'), Just(b'\n'), any::<u8>()
            ], 0..200),
            cuts in proptest::collection::vec(0usize..200, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut from = 0;
            let mut chunks = Vec::new();
            for cut in cuts {
                chunks.push(&bytes[from..cut]);
                from = cut;
            }
            prop_assert_eq!(read_chunks(&chunks), read_all(&bytes));
        }

        #[test]
        fn nothing_a_server_says_can_carry_a_control_byte_out(text in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(!escape(&text).chars().any(char::is_control));
        }
    }
}
