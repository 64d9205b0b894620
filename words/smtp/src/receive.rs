//! Receiving a message: streamed, unstuffed, and ended by `CRLF.CRLF` alone.

use memchr::memchr3;

/// What makes a message unacceptable as it stands. It is read to its true end and then refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A CR without LF (RFC 5321 §2.3.8).
    BareCr,
    /// A LF without CR (RFC 5321 §2.3.8).
    BareLf,
    /// A NUL (RFC 5322 §2.2): no IMAP literal can carry it (RFC 9051 §4.3), so nobody could read the message.
    Nul,
}

/// What a receiver made of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Bytes of the message; never empty.
    Content(&'a [u8]),
    /// The message ended; bytes behind it were not touched.
    End,
    /// All input is used up.
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    /// A dot at the start of a line: stuffing, or the end.
    Dot,
    DotCr,
    Line,
    Cr,
}

/// The DATA receiver. Every byte is given out as soon as it is read; none is held back or copied.
#[derive(Clone, Debug)]
pub(crate) struct DataReceiver {
    at: At,
    fault: Option<Fault>,
}

impl DataReceiver {
    pub(crate) fn new() -> DataReceiver {
        DataReceiver { at: At::LineStart, fault: None }
    }

    /// The first thing found wrong.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Looks at `input` and says how many of its bytes are used up.
    pub(crate) fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Piece<'a>) {
        let mut from = 0;
        // A dot that began a line is not content, whatever follows (RFC 5321 §4.5.2).
        loop {
            match (self.at, input.get(from)) {
                (At::LineStart, Some(b'.')) => (self.at, from) = (At::Dot, from + 1),
                (At::Dot, Some(b'\r')) => (self.at, from) = (At::DotCr, from + 1),
                (At::DotCr, Some(b'\n')) => {
                    self.at = At::LineStart;
                    return (from + 1, Piece::End);
                }
                (At::DotCr, Some(_)) => {
                    self.note(Fault::BareCr);
                    self.at = At::Line;
                }
                (_, None) => return (from, Piece::More),
                (At::Dot, Some(_)) => self.at = At::Line,
                (At::LineStart | At::Line | At::Cr, Some(_)) => break,
            }
        }
        let to = self.content(input, from);
        // A fault's own line may begin with an odd byte only: `to > from` holds because `from` was looked at.
        (to, Piece::Content(&input[from..to]))
    }

    /// The end of the content that begins at `from`: the end of the input, or a dot that begins a line.
    fn content(&mut self, input: &[u8], from: usize) -> usize {
        let mut to = from;
        while to < input.len() {
            match self.at {
                At::LineStart if input[to] == b'.' => return to,
                At::Cr if input[to] == b'\n' => (self.at, to) = (At::LineStart, to + 1),
                At::Cr => {
                    self.note(Fault::BareCr);
                    self.at = At::Line;
                }
                _ => {
                    self.at = At::Line;
                    let Some(n) = memchr3(b'\r', b'\n', 0, &input[to..]) else { return input.len() };
                    match input[to + n] {
                        b'\r' => self.at = At::Cr,
                        b'\n' => self.note(Fault::BareLf),
                        _ => self.note(Fault::Nul),
                    }
                    to += n + 1;
                }
            }
        }
        to
    }

    fn note(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

/// Watches line ends in a message that comes in counted chunks (BDAT), across all of its chunks.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineWatch {
    after_cr: bool,
    fault: Option<Fault>,
}

impl LineWatch {
    /// Looks at the next bytes.
    pub(crate) fn see(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            if self.after_cr {
                self.after_cr = false;
                if bytes[at] == b'\n' {
                    at += 1;
                    continue;
                }
                self.fault.get_or_insert(Fault::BareCr);
            }
            let Some(n) = memchr3(b'\r', b'\n', 0, &bytes[at..]) else { return };
            match bytes[at + n] {
                b'\r' => self.after_cr = true,
                b'\n' => {
                    self.fault.get_or_insert(Fault::BareLf);
                }
                _ => {
                    self.fault.get_or_insert(Fault::Nul);
                }
            }
            at += n + 1;
        }
    }

    /// What is wrong with the whole message, now that it has ended.
    pub(crate) fn finish(&self) -> Option<Fault> {
        self.fault.or(self.after_cr.then_some(Fault::BareCr))
    }

    /// What was found wrong so far.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Content, fault, and what was left behind the end (`None` when there was no end).
    fn receive(chunks: &[&[u8]]) -> (Vec<u8>, Option<Fault>, Option<Vec<u8>>) {
        let (mut receiver, mut content, mut rest) = (DataReceiver::new(), Vec::new(), None::<Vec<u8>>);
        for chunk in chunks {
            let mut input = *chunk;
            while !input.is_empty() && rest.is_none() {
                let (used, piece) = receiver.next(input);
                input = &input[used..];
                match piece {
                    Piece::Content(bytes) => {
                        assert!(!bytes.is_empty());
                        content.extend_from_slice(bytes);
                    }
                    Piece::End => rest = Some(Vec::new()),
                    Piece::More => assert!(input.is_empty()),
                }
            }
            if let Some(rest) = &mut rest {
                rest.extend_from_slice(input);
            }
        }
        (content, receiver.fault(), rest)
    }

    #[test]
    fn messages_end_at_the_first_true_end() {
        for (wire, content, rest) in [
            (".\r\n", "", ""),
            (".\r\nQUIT\r\n", "", "QUIT\r\n"),
            ("a\r\n.\r\n", "a\r\n", ""),
            ("a\r\n..\r\n.\r\n", "a\r\n.\r\n", ""),
            ("..\r\n.\r\nNOOP\r\n", ".\r\n", "NOOP\r\n"),
            (".x\r\n.\r\n", "x\r\n", ""),
            ("\r\n.\r\n", "\r\n", ""),
            ("a\r\n\r\n.\r\n.\r\n", "a\r\n\r\n", ".\r\n"),
            ("a.\r\n.\r\n", "a.\r\n", ""),
            ("\u{e9}\r\n.\r\n", "\u{e9}\r\n", ""),
        ] {
            for split in 0..=wire.len() {
                let (a, b) = wire.as_bytes().split_at(split);
                let (got, fault, left) = receive(&[a, b]);
                assert_eq!(got, content.as_bytes(), "{wire:?} split at {split}");
                assert_eq!(fault, None, "{wire:?}");
                assert_eq!(left.as_deref(), Some(rest.as_bytes()), "{wire:?} split at {split}");
            }
        }
    }

    /// The endings that some server or other has taken for the end of a message. None is; each makes the message
    /// refused; what follows is still the message.
    pub(crate) const SMUGGLING: [(&str, Fault); 18] = [
        ("\n.\n", Fault::BareLf),
        ("\n.\r\n", Fault::BareLf),
        ("\r\n.\n", Fault::BareLf),
        ("\r.\r", Fault::BareCr),
        ("\r.\r\n", Fault::BareCr),
        ("\r\n.\r", Fault::BareCr),
        ("\r.\n", Fault::BareCr),
        ("\n.\r", Fault::BareLf),
        ("\r\n.\r\r\n", Fault::BareCr),
        ("\r\r\n.\r\r\n", Fault::BareCr),
        ("\r\n\0.\r\n", Fault::Nul),
        ("\r\n.\0\r\n", Fault::Nul),
        ("\0\r\n.\0\r\n\r", Fault::Nul),
        ("\r\n.\r\0\n", Fault::BareCr),
        ("\r\0\n.\r\n", Fault::BareCr),
        ("\n\n.\n\n", Fault::BareLf),
        ("\n\r.\n\r", Fault::BareLf),
        ("\r\n.\n\r\n", Fault::BareLf),
    ];

    #[test]
    fn no_smuggling_ending_ends_a_message_at_any_split() {
        for (ending, fault) in SMUGGLING {
            let wire = format!("a{ending}MAIL FROM:<evil@example.net>\r\nx\r\n.\r\nQUIT\r\n");
            for split in 0..=wire.len() {
                let (a, b) = wire.as_bytes().split_at(split);
                let (content, found, rest) = receive(&[a, b]);
                assert_eq!(found, Some(fault), "{ending:?} split at {split}");
                assert_eq!(rest.as_deref(), Some(&b"QUIT\r\n"[..]), "{ending:?} split at {split}");
                assert!(content.ends_with(b"MAIL FROM:<evil@example.net>\r\nx\r\n"));
            }
        }
    }

    #[test]
    fn line_ends_are_watched_across_chunks() {
        for (body, fault) in [
            ("a\r\nb", None),
            ("", None),
            ("\r\n\r\n", None),
            ("a\nb", Some(Fault::BareLf)),
            ("a\rb", Some(Fault::BareCr)),
            ("a\r", Some(Fault::BareCr)),
            ("a\r\r\n", Some(Fault::BareCr)),
            ("\0", Some(Fault::Nul)),
        ] {
            for split in 0..=body.len() {
                let mut watch = LineWatch::default();
                let (a, b) = body.as_bytes().split_at(split);
                watch.see(a);
                watch.see(b);
                assert_eq!(watch.finish(), fault, "{body:?} split at {split}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_message(
            wire in "[a.\r\n\0]{0,60}",
            cuts in proptest::collection::vec(0usize..60, 0..8),
        ) {
            let bytes = wire.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(receive(&pieces), receive(&[bytes]));
        }

        #[test]
        fn what_is_stuffed_is_received_unchanged(body in "([a.]{0,4}\r\n){0,12}") {
            let mut wire = Vec::new();
            let mut stuffer = crate::Stuffer::new();
            stuffer.push(body.as_bytes(), &mut wire).unwrap();
            stuffer.finish(&mut wire).unwrap();
            wire.extend_from_slice(crate::END_OF_DATA);
            let (content, fault, rest) = receive(&[&wire]);
            prop_assert_eq!(content, body.as_bytes());
            prop_assert_eq!((fault, rest), (None, Some(Vec::new())));
        }
    }
}
