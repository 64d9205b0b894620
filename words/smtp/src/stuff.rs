//! Writing a message body for DATA: dot-stuffing, and nothing that another server could take for its end.

use memchr::memchr2;
use std::fmt;

/// What ends a message after [`Stuffer::finish`] (RFC 5321 §4.1.1.4).
pub const END_OF_DATA: &[u8] = b".\r\n";

/// The message has a CR or LF that is not part of a CRLF. It must not be sent by DATA: some server further on would
/// take it for a line end, and a dot behind it for the end of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BareLine;

impl fmt::Display for BareLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message has a bare CR or LF and cannot be sent on safely")
    }
}

impl std::error::Error for BareLine {}

/// Doubles the dot at the beginning of lines (RFC 5321 §4.5.2), over any chunking.
#[derive(Clone, Debug, Default)]
pub struct Stuffer {
    at: At,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    LineStart,
    Line,
    AfterCr,
}

impl Stuffer {
    /// A writer at the beginning of a message.
    pub fn new() -> Stuffer {
        Stuffer::default()
    }

    /// Appends `bytes` to `out`, stuffed.
    ///
    /// # Errors
    /// At a bare CR or LF; what stands in `out` then must not be sent on, and the transaction is given up by
    /// closing the connection.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BareLine> {
        out.reserve(bytes.len() + 8);
        let mut at = 0;
        while at < bytes.len() {
            match self.at {
                At::LineStart => {
                    if bytes[at] == b'.' {
                        out.push(b'.');
                    }
                    self.at = At::Line;
                }
                At::AfterCr => {
                    if bytes[at] != b'\n' {
                        return Err(BareLine);
                    }
                    out.push(b'\n');
                    at += 1;
                    self.at = At::LineStart;
                }
                At::Line => match memchr2(b'\r', b'\n', &bytes[at..]) {
                    None => {
                        out.extend_from_slice(&bytes[at..]);
                        return Ok(());
                    }
                    Some(n) if bytes[at + n] == b'\r' => {
                        out.extend_from_slice(&bytes[at..=at + n]);
                        at += n + 1;
                        self.at = At::AfterCr;
                    }
                    Some(_) => return Err(BareLine),
                },
            }
        }
        Ok(())
    }

    /// Ends the last line if it is open. [`END_OF_DATA`] is written by the caller, because a durable record of the
    /// attempt has to come before it.
    ///
    /// # Errors
    /// When the message ends in a bare CR.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), BareLine> {
        match self.at {
            At::LineStart => Ok(()),
            At::Line => {
                out.extend_from_slice(b"\r\n");
                Ok(())
            }
            At::AfterCr => Err(BareLine),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(pieces: &[&[u8]]) -> Result<Vec<u8>, BareLine> {
        let (mut stuffer, mut out) = (Stuffer::new(), Vec::new());
        for piece in pieces {
            stuffer.push(piece, &mut out)?;
        }
        stuffer.finish(&mut out)?;
        Ok(out)
    }

    #[test]
    fn dots_are_doubled_at_line_starts_only() {
        for (plain, wire) in [
            ("", ""),
            (".", "..\r\n"),
            ("a.b\r\n.\r\n", "a.b\r\n..\r\n"),
            ("..\r\n", "...\r\n"),
            ("open", "open\r\n"),
            ("a\r\n\r\n.x", "a\r\n\r\n..x\r\n"),
        ] {
            assert_eq!(stuffed(&[plain.as_bytes()]), Ok(wire.as_bytes().to_vec()), "{plain:?}");
        }
    }

    #[test]
    fn what_could_be_taken_for_an_end_of_data_is_refused_at_every_split() {
        for body in
            ["a\n.\n", "a\r.\r", "a\n.\r\n", "a\r\n.\nb", "a\r.\r\nb", "a\r\r\n", "\n", "\r", "a\r\n\r"]
        {
            for split in 0..=body.len() {
                let (a, b) = body.as_bytes().split_at(split);
                assert_eq!(stuffed(&[a, b]), Err(BareLine), "{body:?} split at {split}");
            }
        }
    }

    proptest! {
        #[test]
        fn chunking_changes_nothing(body in "[a.\r\n]{0,40}", cuts in proptest::collection::vec(0usize..40, 0..6)) {
            let bytes = body.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(stuffed(&pieces), stuffed(&[bytes]));
        }

        #[test]
        fn what_goes_out_has_one_end_only(body in "([a.]{0,4}\r\n){0,12}") {
            let mut wire = stuffed(&[body.as_bytes()]).unwrap();
            wire.extend_from_slice(END_OF_DATA);
            let mut framed = b"\r\n".to_vec();
            framed.extend_from_slice(&wire);
            let ends = framed.windows(5).filter(|w| *w == b"\r\n.\r\n").count();
            prop_assert_eq!(ends, 1);
        }
    }
}
