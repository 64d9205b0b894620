//! The digests of a body that DKIM signatures ask for, made while the body streams by.

use mail_auth::AuthenticatedMessage;
use mail_auth::common::crypto::{HashAlgorithm, HashContext, HashImpl, Sha1, Sha256};
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;
use std::fmt;

/// Different digests made for one message: more than two canonicalisations by two algorithms is an attack on our time.
const DIGESTS_MAX: usize = 4;

/// One digest: canonicalisation, algorithm, length limit, value.
pub(crate) type Digest = (Canonicalization, HashAlgorithm, u64, Vec<u8>);

/// Digests in the making.
#[derive(Default)]
pub struct BodyDigests {
    list: Vec<Making>,
}

struct Making {
    canonicalization: Canonicalization,
    length: u64,
    hasher: Hasher,
    blank: Blank,
}

enum Hasher {
    Sha1(BodyHasher<<Sha1 as HashImpl>::Context>),
    Sha256(BodyHasher<<Sha256 as HashImpl>::Context>),
}

/// Where a line stands that may turn out to be of white space only.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Blank {
    #[default]
    LineStart,
    White,
    Text,
}

impl fmt::Debug for BodyDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyDigests({})", self.list.len())
    }
}

impl BodyDigests {
    /// The digests that the signatures in `header` ask for; none when it has no signatures.
    pub fn of_header(header: &[u8]) -> BodyDigests {
        // Most mail on a private road has none, and reading the header for nothing costs more than looking.
        let small = header.to_ascii_lowercase();
        let has = |name: &[u8]| memchr::memmem::find(&small, name).is_some();
        if !has(b"dkim-signature") && !has(b"arc-message-signature") {
            return BodyDigests::default();
        }
        let wanted = AuthenticatedMessage::parse(header).map(|m| m.body_hashes).unwrap_or_default();
        let list =
            wanted.into_iter().take(DIGESTS_MAX).map(|(canonicalization, algorithm, length, _)| Making {
                canonicalization,
                length,
                hasher: match algorithm {
                    HashAlgorithm::Sha1 => {
                        Hasher::Sha1(BodyHasher::new(Sha1::hasher(), canonicalization, length))
                    }
                    HashAlgorithm::Sha256 => {
                        Hasher::Sha256(BodyHasher::new(Sha256::hasher(), canonicalization, length))
                    }
                },
                blank: Blank::default(),
            });
        BodyDigests { list: list.collect() }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The next bytes of the body.
    pub fn see(&mut self, bytes: &[u8]) {
        for making in &mut self.list {
            match making.canonicalization {
                Canonicalization::Simple => making.hasher.write(bytes),
                Canonicalization::Relaxed => making.see_relaxed(bytes),
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<Digest> {
        let finish = |making: Making| {
            let (algorithm, value) = match making.hasher {
                Hasher::Sha1(hasher) => (HashAlgorithm::Sha1, hasher.finish().0.complete()),
                Hasher::Sha256(hasher) => (HashAlgorithm::Sha256, hasher.finish().0.complete()),
            };
            (making.canonicalization, algorithm, making.length, value.as_ref().to_vec())
        };
        self.list.into_iter().map(finish).collect()
    }
}

impl Making {
    /// Takes white space out of lines that have nothing else. By RFC 6376 §3.4.4 such a line is an empty one, and empty
    /// lines at the end do not count; the library forgets the first half of that.
    fn see_relaxed(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            match self.blank {
                Blank::Text => {
                    let end = memchr::memchr(b'\n', bytes).map(|n| n + 1);
                    let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    self.hasher.write(line);
                    bytes = rest;
                    if end.is_some() {
                        self.blank = Blank::LineStart;
                    }
                }
                _ if matches!(first, b' ' | b'\t') => {
                    self.blank = Blank::White;
                    bytes = &bytes[1..];
                }
                Blank::White if *first != b'\r' => {
                    self.hasher.write(b" ");
                    self.blank = Blank::Text;
                }
                Blank::White | Blank::LineStart => self.blank = Blank::Text,
            }
        }
    }
}

impl Hasher {
    fn write(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha1(hasher) => hasher.write(bytes),
            Hasher::Sha256(hasher) => hasher.write(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &[u8] = b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=x.example; s=s; h=from; bh=AAAA; b=AAAA\r\n\
        DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=x.example; s=s; h=from; bh=AAAA; b=AAAA\r\n\
        From: a@x.example\r\n\r\n";

    fn digests(pieces: &[&[u8]]) -> Vec<Digest> {
        let mut digests = BodyDigests::of_header(HEADER);
        assert_eq!(digests.list.len(), 2);
        pieces.iter().for_each(|piece| digests.see(piece));
        digests.finish()
    }

    fn sha256(bytes: &[u8]) -> Vec<u8> {
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
    }

    /// The canonical bodies of RFC 6376 §3.4.3 and §3.4.4, written down plainly.
    fn plainly(body: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut simple = body.to_vec();
        while simple.ends_with(b"\r\n") {
            simple.truncate(simple.len() - 2);
        }
        simple.extend_from_slice(b"\r\n");
        let text = String::from_utf8(body.to_vec()).unwrap();
        let mut lines: Vec<String> = text
            .split("\r\n")
            .map(|line| {
                let mut out = String::new();
                for c in line.trim_end_matches([' ', '\t']).chars() {
                    match c {
                        ' ' | '\t' if out.ends_with(' ') => {}
                        ' ' | '\t' => out.push(' '),
                        c => out.push(c),
                    }
                }
                out
            })
            .collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        let relaxed: String = lines.iter().map(|l| format!("{l}\r\n")).collect();
        (relaxed.into_bytes(), simple)
    }

    #[test]
    fn white_lines_at_the_end_do_not_count() {
        let known = digests(&[b"a\r\n"]);
        assert_eq!(digests(&[b"a\r\n \t\r\n \r\n"])[0], known[0]);
        assert_ne!(digests(&[b"a\r\n \t\r\n \r\n"])[1], known[1], "but in simple they do");
        assert_ne!(digests(&[b"a\r\n \r\nb\r\n"])[0], digests(&[b"a\r\nb\r\n"])[0]);
    }

    #[test]
    fn a_header_without_signatures_asks_for_nothing() {
        assert!(BodyDigests::of_header(b"From: a@b\r\n\r\n").is_empty());
        assert!(BodyDigests::of_header(b"").is_empty());
    }

    proptest! {
        #[test]
        fn digests_are_those_of_the_plain_definition(
            body in "([a \t]{0,5}\r\n){0,8}",
            cuts in prop::collection::vec(0usize..60, 0..6),
        ) {
            let bytes = body.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let (relaxed, simple) = plainly(bytes);
            let made = digests(&pieces);
            prop_assert_eq!(&made[0].3, &sha256(&relaxed));
            prop_assert_eq!(&made[1].3, &sha256(&simple));
        }
    }
}
