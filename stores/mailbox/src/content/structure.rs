//! The parts of a message and where they stand (RFC 2045–2049), found in one pass over its bytes.
//!
//! A message is never held whole: only the header of each part is, because a 30 MB message must not cost 30 MB. The
//! offsets let a section be served later by reading just that stretch.

use super::HEADER_BYTES_MAX;
use super::header::{Fields, unfolded};
use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};
use serde::{Deserialize, Serialize};

/// How deep parts may be nested; what lies deeper is shown as one opaque part.
const DEPTH_MAX: usize = 32;

/// How many parts are told apart; the rest belongs to the last of them.
const PARTS_MAX: usize = 1_000;

/// As much of a line as is compared with boundaries. RFC 2046 §5.1.1 allows 70 characters of boundary.
const LINE_BYTES: usize = 256;

/// How many parameters of one field are kept, and how long each may be.
const PARAMETERS_MAX: usize = 32;
const VALUE_BYTES_MAX: usize = 1_024;

/// A stretch of a message: from byte `start` to before byte `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Span {
    /// Its first byte.
    pub start: u64,
    /// The byte after its last.
    pub end: u64,
}

impl Span {
    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

impl From<(u64, u64)> for Span {
    fn from((start, end): (u64, u64)) -> Span {
        Span { start, end: end.max(start) }
    }
}

impl From<Span> for (u64, u64) {
    fn from(span: Span) -> (u64, u64) {
        (span.start, span.end)
    }
}

/// `Content-Disposition:` (RFC 2183).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disposition {
    /// `inline`, `attachment` …
    pub kind: String,
    /// Its parameters.
    pub parameters: Vec<(String, String)>,
}

/// What a part consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nested {
    /// Bytes.
    #[default]
    #[serde(rename = "-")]
    Nothing,
    /// Parts, one after another.
    #[serde(rename = "m")]
    Parts(Vec<Part>),
    /// A whole message with an envelope of its own.
    #[serde(rename = "r")]
    Message(Box<Part>, Box<super::ImapEnvelope>),
}

/// One part; the message itself is the outermost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its header, with the empty line.
    #[serde(rename = "h")]
    pub header: Span,
    /// Its body.
    #[serde(rename = "b")]
    pub body: Span,
    /// Line ends in the body.
    #[serde(rename = "l")]
    pub lines: u64,
    /// `text`, `multipart` …, as written.
    #[serde(rename = "t")]
    pub kind: String,
    /// `plain`, `mixed` …, as written.
    #[serde(rename = "s")]
    pub subtype: String,
    /// Parameters of `Content-Type:`, decoded.
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<(String, String)>,
    /// `Content-Transfer-Encoding:`; `7bit` when there is none.
    #[serde(rename = "e")]
    pub encoding: String,
    /// `Content-ID:`.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `Content-Description:`.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `Content-MD5:`.
    #[serde(rename = "5", default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// `Content-Disposition:`.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub disposition: Option<Disposition>,
    /// `Content-Language:`.
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    pub language: Vec<String>,
    /// `Content-Location:`.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What it consists of.
    #[serde(rename = "n", default)]
    pub nested: Nested,
}

impl Part {
    /// The value of a `Content-Type:` parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether it is of this type.
    pub fn is(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind)
    }

    /// The part of this *message* that an IMAP section number names (RFC 3501 §6.4.5); the message itself for an
    /// empty section. A message that is no multipart has one part, number 1. The parts of a message that lies in a
    /// part are counted right below that part.
    pub fn find(&self, section: &[u32]) -> Option<&Part> {
        let Some((number, rest)) = section.split_first() else { return Some(self) };
        let part = match &self.nested {
            Nested::Parts(parts) => numbered(parts, *number)?,
            // One whose boundary never comes is shown with an empty part, which is nowhere in it.
            _ => Some(self).filter(|part| *number == 1 && !part.is("multipart"))?,
        };
        part.within(rest)
    }

    fn within(&self, section: &[u32]) -> Option<&Part> {
        let Some((number, rest)) = section.split_first() else { return Some(self) };
        match &self.nested {
            Nested::Parts(parts) => numbered(parts, *number)?.within(rest),
            Nested::Message(message, _) => message.find(section),
            Nested::Nothing => None,
        }
    }

    /// All parts that hold bytes, in order.
    pub fn leaves(&self) -> Vec<&Part> {
        match &self.nested {
            Nested::Nothing => vec![self],
            Nested::Parts(parts) => parts.iter().flat_map(Part::leaves).collect(),
            Nested::Message(message, _) => message.leaves(),
        }
    }

    fn read_header(&mut self, header: &[u8], in_digest: bool) {
        let first = |name: &str| Fields::first(header, name).map(|field| field.value);
        let text = |name: &str| {
            let value = unfolded(first(name)?).chars().take(VALUE_BYTES_MAX).collect::<String>();
            Some(value).filter(|value| !value.is_empty())
        };
        match first("Content-Type").and_then(content_type) {
            Some((kind, Some(subtype), parameters)) => {
                (self.kind, self.subtype, self.parameters) = (kind, subtype, parameters);
            }
            // RFC 2045 §5.2: what cannot be understood is plain text; RFC 2046 §5.1.5: in a digest, a message.
            _ if in_digest => (self.kind, self.subtype) = ("message".into(), "rfc822".into()),
            _ => {
                (self.kind, self.subtype) = ("text".into(), "plain".into());
                self.parameters = vec![("charset".into(), "us-ascii".into())];
            }
        }
        self.encoding = text("Content-Transfer-Encoding").unwrap_or_else(|| "7bit".into());
        self.id = text("Content-ID");
        self.description = text("Content-Description");
        self.md5 = text("Content-MD5");
        self.location = text("Content-Location");
        self.language = text("Content-Language")
            .map(|list| list.split(',').map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect())
            .unwrap_or_default();
        self.disposition = first("Content-Disposition")
            .and_then(content_type)
            .map(|(kind, _, parameters)| Disposition { kind, parameters });
    }
}

fn numbered(parts: &[Part], number: u32) -> Option<&Part> {
    parts.get(usize::try_from(number).ok()?.checked_sub(1)?)
}

type Typed = (String, Option<String>, Vec<(String, String)>);

fn content_type(value: &[u8]) -> Option<Typed> {
    let mut value = value.to_vec();
    value.extend_from_slice(b"\r\n");
    let HeaderValue::ContentType(ContentType { c_type, c_subtype, attributes }) =
        MessageStream::new(&value).parse_content_type()
    else {
        return None;
    };
    let token = |text: &str| {
        let text = text.trim();
        (!text.is_empty() && text.len() <= 127 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"'))
            .then(|| text.to_owned())
    };
    let parameters = attributes.unwrap_or_default().into_iter().take(PARAMETERS_MAX).filter_map(|a| {
        let value = a.value.chars().filter(|c| !c.is_control()).take(VALUE_BYTES_MAX).collect();
        Some((token(&a.name)?, value))
    });
    let parameters = parameters.collect();
    Some((token(&c_type)?, c_subtype.and_then(|s| token(&s)), parameters))
}

/// One part while its end has not been seen.
struct Open {
    part: Part,
    /// Parts or the message inside, so far.
    inside: Vec<Part>,
    envelope: Option<super::ImapEnvelope>,
    /// `--` and the boundary, for a multipart whose last part has not ended.
    boundary: Option<Vec<u8>>,
    multipart: bool,
    in_header: bool,
    /// Line ends before its body.
    lines_before: u64,
}

/// Finds the parts of a message that is fed to it.
pub struct Structure {
    /// From the outermost part to the one that is being read.
    open: Vec<Open>,
    /// The outermost header, kept for the envelope.
    outer: Vec<u8>,
    /// The header being read.
    header: Vec<u8>,
    /// The beginning of the line being read.
    line: Vec<u8>,
    line_start: u64,
    line_len: u64,
    last_byte: u8,
    at: u64,
    lines: u64,
    /// How long the line end before the present line was: it belongs to a boundary that follows.
    end_before: u64,
    parts: usize,
}

impl Default for Structure {
    fn default() -> Structure {
        Structure::new()
    }
}

impl Structure {
    /// Begins before the first byte.
    pub fn new() -> Structure {
        let mut structure = Structure {
            open: Vec::new(),
            outer: Vec::new(),
            header: Vec::new(),
            line: Vec::with_capacity(LINE_BYTES),
            line_start: 0,
            line_len: 0,
            last_byte: 0,
            at: 0,
            lines: 0,
            end_before: 0,
            parts: 0,
        };
        structure.begin(0);
        structure
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
            let (piece, rest) = bytes.split_at(end);
            bytes = rest;
            let room = LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if self.in_header() && self.header.len() < HEADER_BYTES_MAX {
                let room = HEADER_BYTES_MAX - self.header.len();
                self.header.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            let before = if piece.len() > 1 { piece[piece.len() - 2] } else { self.last_byte };
            self.last_byte = piece[piece.len() - 1];
            self.line_len += piece.len() as u64;
            self.at += piece.len() as u64;
            if self.last_byte == b'\n' {
                self.lines += 1;
                let crlf = self.line_len > 1 && before == b'\r';
                self.line_done(if crlf { 2 } else { 1 });
            }
        }
    }

    /// The outermost part, and its header as far as it is looked at.
    pub fn finish(mut self) -> (Part, Vec<u8>) {
        if self.line_len > 0 {
            self.line_done(0);
        }
        let (end, lines) = (self.at, self.lines);
        let mut outermost = None;
        while !self.open.is_empty() {
            outermost = self.close(end, lines);
        }
        (outermost.unwrap_or_default(), self.outer)
    }

    fn in_header(&self) -> bool {
        self.open.last().is_some_and(|open| open.in_header)
    }

    fn begin(&mut self, at: u64) {
        self.header.clear();
        self.parts += 1;
        self.open.push(Open {
            part: Part {
                header: Span { start: at, end: at },
                body: Span { start: at, end: at },
                ..Part::default()
            },
            inside: Vec::new(),
            envelope: None,
            boundary: None,
            multipart: false,
            in_header: true,
            lines_before: 0,
        });
    }

    fn line_done(&mut self, end_len: u64) {
        let line = std::mem::take(&mut self.line);
        let fits = self.line_len <= LINE_BYTES as u64;
        if let Some((depth, last)) = fits.then(|| self.boundary_at(&line)).flatten() {
            // RFC 2046 §5.1.1: the line end before a boundary belongs to the boundary.
            let end = self.line_start - self.end_before;
            let lines = (self.lines - u64::from(end_len > 0)).saturating_sub(u64::from(self.end_before > 0));
            while self.open.len() > depth + 1 {
                self.close(end, lines);
            }
            if last || self.parts >= PARTS_MAX {
                self.open[depth].boundary = None;
            } else {
                self.begin(self.at);
            }
        } else if self.in_header() && matches!(line.as_slice(), b"\r\n" | b"\n") && fits {
            self.header_done(self.at);
        }
        self.line = line;
        self.line.clear();
        self.line_start = self.at;
        self.line_len = 0;
        self.end_before = end_len;
    }

    /// Which open multipart a line is the boundary of, innermost first, and whether it is its last.
    fn boundary_at(&self, line: &[u8]) -> Option<(usize, bool)> {
        if !line.starts_with(b"--") {
            return None;
        }
        self.open.iter().enumerate().rev().find_map(|(depth, open)| {
            let rest = line.strip_prefix(open.boundary.as_deref()?)?;
            let (rest, last) = rest.strip_prefix(b"--").map_or((rest, false), |rest| (rest, true));
            // White space may follow; anything else makes it a line of the body that only looks like a boundary.
            (last || rest.trim_ascii().is_empty()).then_some((depth, last))
        })
    }

    fn header_done(&mut self, at: u64) {
        let depth = self.open.len();
        let lines = self.lines;
        let in_digest = depth >= 2 && {
            let above = &self.open[depth - 2];
            above.multipart && above.part.subtype.eq_ignore_ascii_case("digest")
        };
        let header = std::mem::take(&mut self.header);
        let Some(open) = self.open.last_mut() else { return };
        open.in_header = false;
        open.lines_before = lines;
        open.part.header.end = at;
        open.part.body = Span { start: at, end: at };
        open.part.read_header(&header, in_digest);
        let mut message = false;
        if depth < DEPTH_MAX && self.parts < PARTS_MAX {
            if open.part.is("multipart") {
                let boundary =
                    open.part.parameter("boundary").filter(|b| !b.is_empty() && b.len() < LINE_BYTES - 8);
                open.boundary = boundary.map(|b| [b"--", b.as_bytes()].concat());
                open.multipart = open.boundary.is_some();
            } else if open.part.is("message") {
                let subtype = open.part.subtype.to_ascii_lowercase();
                let plain =
                    matches!(open.part.encoding.to_ascii_lowercase().as_str(), "7bit" | "8bit" | "binary");
                message = plain && matches!(subtype.as_str(), "rfc822" | "global");
            }
        }
        if depth == 1 {
            self.outer = header;
        } else if depth >= 2 && self.open[depth - 2].part.is("message") && !self.open[depth - 2].multipart {
            self.open[depth - 2].envelope = Some(super::ImapEnvelope::of(&header));
        }
        if message {
            self.begin(at);
        }
    }

    /// Ends the innermost part; gives it back when it was the outermost.
    fn close(&mut self, end: u64, lines: u64) -> Option<Part> {
        if self.in_header() {
            // A header that no empty line ended: there is no body.
            let start = self.open.last().map_or(end, |open| open.part.header.start);
            self.header.truncate(usize::try_from(end.max(start) - start).unwrap_or(usize::MAX));
            self.header_done(end.max(start));
            if self.in_header() {
                // It promised a message that has no byte.
                self.header_done(end.max(start));
            }
        }
        let Open { mut part, mut inside, envelope, multipart, lines_before, .. } = self.open.pop()?;
        part.body.end = end.max(part.body.start);
        part.lines = lines.saturating_sub(lines_before);
        if multipart {
            part.nested = Nested::Parts(inside);
        } else if let (Some(message), Some(envelope)) = (inside.pop(), envelope) {
            part.nested = Nested::Message(Box::new(message), Box::new(envelope));
        }
        match self.open.last_mut() {
            Some(above) => {
                above.inside.push(part);
                None
            }
            None => Some(part),
        }
    }
}

#[cfg(test)]
mod tests;
