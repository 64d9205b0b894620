//! Which files are in a message: a walk over its lines, as they come, through multiparts and messages in messages. Memory
//! and work are bounded whatever the message; what is beyond the bounds is said to be there.

use super::Pieces;
use mail_parser::{MessageParser, MimeHeaders};
use rules_policy::{AttachedFile, Attachments};
use std::io;

/// Boundaries that are open at once.
const DEPTH_MAX: usize = 32;
/// Files that are looked at.
const FILES_MAX: usize = 500;
/// Octets of one part's header.
const HEADER_MAX: usize = 64 << 10;
/// Octets of a line that are looked at; boundaries have at most 70 (RFC 2046 §5.1.1).
const LINE_MAX: usize = 1 << 10;
/// Octets of a part's content that tell what it is.
const BEGINNING: usize = 16;

/// Looks at a whole message.
pub(crate) fn look(mut pieces: Pieces<'_>) -> io::Result<Attachments> {
    let mut walk = Walk::default();
    while let Some(piece) = pieces.next()? {
        walk.push(piece);
    }
    Ok(walk.finish())
}

#[derive(Default)]
struct Walk {
    line: Vec<u8>,
    header: Option<Vec<u8>>,
    begun: bool,
    boundaries: Vec<String>,
    /// The part whose beginning is awaited.
    open: Option<Open>,
    found: Attachments,
}

struct Open {
    name: String,
    says: String,
    base64: bool,
    beginning: Vec<u8>,
}

impl Walk {
    fn push(&mut self, mut bytes: &[u8]) {
        if !self.begun {
            self.begun = true;
            self.header = Some(Vec::new());
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.add(&bytes[..=end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.take(&line);
            self.line = line;
            self.line.clear();
        }
        self.add(bytes);
    }

    /// In a header the whole line counts: a name may be long.
    fn add(&mut self, bytes: &[u8]) {
        let most = if self.header.is_some() { HEADER_MAX } else { LINE_MAX };
        let room = most.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(mut self) -> Attachments {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take(&line);
        }
        if let Some(header) = self.header.take() {
            self.read(&header);
        }
        self.close();
        self.found
    }

    fn take(&mut self, line: &[u8]) {
        let text = line.trim_ascii_end();
        if text.starts_with(b"--") && self.boundary(text) {
            return;
        }
        if let Some(header) = &mut self.header {
            if !text.is_empty() {
                if header.len() + line.len() > HEADER_MAX {
                    self.found.cut_short = true;
                } else {
                    header.extend_from_slice(line);
                }
                return;
            }
            let header = std::mem::take(header);
            self.header = None;
            self.read(&header);
            return;
        }
        if let Some(open) = &mut self.open {
            open.see(text, line);
            if open.beginning.len() >= BEGINNING {
                self.close();
            }
        }
    }

    /// Whether a line is a boundary that is open; then what it bounded has ended.
    fn boundary(&mut self, text: &[u8]) -> bool {
        let text = &text[2..];
        for at in (0..self.boundaries.len()).rev() {
            let boundary = self.boundaries[at].as_bytes();
            let Some(rest) = text.strip_prefix(boundary) else { continue };
            if !rest.is_empty() && rest != b"--" {
                continue;
            }
            if let Some(header) = self.header.take() {
                self.read(&header);
            }
            self.close();
            if rest.is_empty() {
                self.boundaries.truncate(at + 1);
                self.header = Some(Vec::new());
            } else {
                self.boundaries.truncate(at);
            }
            return true;
        }
        false
    }

    /// A part's header has ended: what comes is another part's, or a file.
    fn read(&mut self, header: &[u8]) {
        let mut block = header.to_vec();
        block.extend_from_slice(b"\r\n");
        let parsed = MessageParser::new().parse_headers(&block[..]);
        let part = parsed.as_ref().and_then(|message| message.parts.first());
        let kind = part.and_then(|part| part.content_type());
        let main = kind.map_or("text", |kind| kind.ctype()).to_ascii_lowercase();
        let sub = kind.map_or(Some("plain"), |kind| kind.subtype()).unwrap_or_default().to_ascii_lowercase();
        let encoding = part.and_then(|part| part.content_transfer_encoding()).unwrap_or_default();
        let base64 = encoding.trim().eq_ignore_ascii_case("base64");
        if main == "multipart"
            && let Some(boundary) = kind.and_then(|kind| kind.attribute("boundary"))
        {
            if self.boundaries.len() >= DEPTH_MAX {
                self.found.cut_short = true;
            } else {
                self.boundaries.push(boundary.trim_end().to_owned());
            }
            return;
        }
        // Encoded it cannot be (RFC 2046 §5.2.1), and one that is all the same is a file.
        if main == "message" && matches!(sub.as_str(), "rfc822" | "global" | "news") && !base64 {
            self.header = Some(Vec::new());
        }
        let name = part.and_then(|part| part.attachment_name()).unwrap_or_default().to_owned();
        let says = format!("{main}/{sub}");
        if self.found.files.len() >= FILES_MAX {
            self.found.cut_short = true;
        } else {
            let open = Open { name, says, base64, beginning: Vec::new() };
            match self.header {
                Some(_) => self.found.files.push(open.file()),
                None => self.open = Some(open),
            }
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.found.files.push(open.file());
        }
    }
}

impl Open {
    fn see(&mut self, text: &[u8], line: &[u8]) {
        if !self.base64 {
            self.beginning.extend_from_slice(&line[..line.len().min(BEGINNING)]);
            return;
        }
        // Four letters are three octets; what is no letter is passed over (RFC 2045 §6.8).
        let letters = text.iter().filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
        let letters: Vec<u8> = letters.take(BEGINNING.div_ceil(3) * 4 + 4).copied().collect();
        for four in letters.chunks_exact(4) {
            let mut number = 0u32;
            for letter in four {
                let value = match letter {
                    b'A'..=b'Z' => letter - b'A',
                    b'a'..=b'z' => letter - b'a' + 26,
                    b'0'..=b'9' => letter - b'0' + 52,
                    b'+' => 62,
                    _ => 63,
                };
                number = number << 6 | u32::from(value);
            }
            self.beginning.extend_from_slice(&number.to_be_bytes()[1..]);
        }
    }

    fn file(self) -> AttachedFile {
        AttachedFile { really: really(&self.beginning), name: self.name, says: self.says }
    }
}

/// What files that begin so are called. Only kinds that are worth refusing and cannot be mistaken.
fn really(beginning: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 9] = [
        (b"MZ", "exe"),
        (b"\x7fELF", "elf"),
        (b"#!", "sh"),
        (b"%PDF", "pdf"),
        (b"PK\x03\x04", "zip"),
        (b"Rar!\x1a\x07", "rar"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "doc"),
        (b"L\x00\x00\x00\x01\x14\x02\x00", "lnk"),
    ];
    KINDS.iter().find(|(begins, _)| beginning.starts_with(begins)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn walk(pieces: &[&[u8]]) -> Attachments {
        let mut walk = Walk::default();
        pieces.iter().for_each(|piece| walk.push(piece));
        walk.finish()
    }

    fn names(text: &str) -> Vec<(String, String, Option<&'static str>)> {
        let found = walk(&[text.as_bytes()]);
        assert!(!found.cut_short);
        found.files.into_iter().map(|f| (f.name, f.says, f.really)).collect()
    }

    const NESTED: &str = "From: a@b\r\nContent-Type: multipart/mixed; boundary=\"one\"\r\n\r\npreamble\r\n\
        --one\r\n\r\nwords\r\n\
        --one\r\nContent-Type: message/rfc822\r\n\r\n\
        Subject: inner\r\nContent-Type: multipart/mixed;\r\n boundary=two\r\n\r\n\
        --two\r\nContent-Type: image/jpeg; name=\"holiday.jpg\"\r\nContent-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA//8AALgAAAA=\r\n\
        --two--\r\nepilogue\r\n\
        --one\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment;\r\n filename*=UTF-8''r%C3%A9sum%C3%A9.exe\r\n\r\nhello\r\n\
        --one--\r\n";

    #[test]
    fn files_are_found_in_messages_inside_messages_by_what_they_are() {
        let file = |name: &str, says: &str, really| (name.to_owned(), says.to_owned(), really);
        assert_eq!(
            names(NESTED),
            [
                file("", "text/plain", None),
                file("", "message/rfc822", None),
                file("holiday.jpg", "image/jpeg", Some("exe")),
                file("r\u{e9}sum\u{e9}.exe", "application/octet-stream", None),
            ]
        );
    }

    #[test]
    fn a_message_that_is_one_file_is_looked_at_too() {
        let text = "Content-Disposition: attachment; filename=a.pdf\r\n\r\n%PDF-1.7\r\n";
        assert_eq!(names(text), [("a.pdf".to_owned(), "text/plain".to_owned(), Some("pdf"))]);
        assert_eq!(names("Subject: no body"), [(String::new(), "text/plain".to_owned(), None)]);
    }

    #[test]
    fn a_bomb_of_parts_is_cut_short_and_said_to_be() {
        let mut flat = String::from("Content-Type: multipart/mixed; boundary=b\r\n\r\n");
        for _ in 0..FILES_MAX + 1 {
            flat.push_str("--b\r\n\r\nx\r\n");
        }
        let found = walk(&[flat.as_bytes()]);
        assert!(found.cut_short && found.files.len() == FILES_MAX);
        let mut deep = String::new();
        for n in 0..=DEPTH_MAX {
            deep.push_str(&format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"));
        }
        assert!(walk(&[deep.as_bytes()]).cut_short);
        let long = format!("X: {}\r\n\r\n", "y".repeat(2 * HEADER_MAX));
        let many = "X: y\r\n".repeat(HEADER_MAX);
        assert!(walk(&[many.as_bytes()]).cut_short);
        assert!(walk(&[long.as_bytes()]).files.len() == 1);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(cuts in prop::collection::vec(0..NESTED.len(), 0..8)) {
            let bytes = NESTED.as_bytes();
            let mut cuts = cuts;
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(walk(&pieces), walk(&[bytes]));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            walk(&[&bytes]);
        }

        #[test]
        fn no_header_is_too_strange(text in "((Content-Type: (multipart/mixed; boundary=[ab\"]?|message/rfc822)|--[ab](--)?|[ -~]{0,9})\r?\n){0,40}") {
            walk(&[text.as_bytes()]);
        }
    }
}
