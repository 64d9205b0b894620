//! ENVELOPE and BODYSTRUCTURE as neutral facts (RFC 3501 §7.4.2), and how they are written.

use crate::write::{nstring, string};

/// The facts of an ENVELOPE. Text is as it stands in the header, unfolded, encoded words left as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `Date:`
    pub date: Option<Vec<u8>>,
    /// `Subject:`
    pub subject: Option<Vec<u8>>,
    /// `From:`
    pub from: Vec<EnvelopeAddress>,
    /// `Sender:`; the writer puts `from` when empty.
    pub sender: Vec<EnvelopeAddress>,
    /// `Reply-To:`; the writer puts `from` when empty.
    pub reply_to: Vec<EnvelopeAddress>,
    /// `To:`
    pub to: Vec<EnvelopeAddress>,
    /// `Cc:`
    pub cc: Vec<EnvelopeAddress>,
    /// `Bcc:`
    pub bcc: Vec<EnvelopeAddress>,
    /// `In-Reply-To:`
    pub in_reply_to: Option<Vec<u8>>,
    /// `Message-ID:`
    pub message_id: Option<Vec<u8>>,
}

/// An address of an ENVELOPE. A group begins with one that has only a `mailbox`, its name, and ends with one that
/// has nothing (RFC 3501 §7.4.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvelopeAddress {
    /// The display name.
    pub name: Option<Vec<u8>>,
    /// Before the `@`.
    pub mailbox: Option<Vec<u8>>,
    /// After the `@`.
    pub host: Option<Vec<u8>>,
}

/// The structure of a message or part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyStructure {
    /// A part without parts.
    Single(Box<SinglePart>),
    /// A multipart.
    Multi(MultiPart),
}

/// Name and value of a MIME parameter.
pub type Parameter = (Vec<u8>, Vec<u8>);

/// A part without parts; a message/rfc822 holds another message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinglePart {
    /// `TEXT`
    pub kind: Vec<u8>,
    /// `PLAIN`
    pub subtype: Vec<u8>,
    /// Parameters of the content type.
    pub parameters: Vec<Parameter>,
    /// `Content-ID:`
    pub id: Option<Vec<u8>>,
    /// `Content-Description:`
    pub description: Option<Vec<u8>>,
    /// `Content-Transfer-Encoding:`; `7BIT` when empty.
    pub encoding: Vec<u8>,
    /// Bytes as encoded.
    pub size: u64,
    /// Lines as encoded; written for text and message/rfc822.
    pub lines: u64,
    /// What a message/rfc822 holds.
    pub message: Option<(Envelope, BodyStructure)>,
    /// `Content-MD5:`
    pub md5: Option<Vec<u8>>,
    /// The extension fields that all parts have.
    pub extra: PartExtra,
}

/// A multipart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MultiPart {
    /// Its parts, at least one; the writer puts an empty text part when there is none.
    pub parts: Vec<BodyStructure>,
    /// `MIXED`
    pub subtype: Vec<u8>,
    /// Parameters of the content type.
    pub parameters: Vec<Parameter>,
    /// The extension fields that all parts have.
    pub extra: PartExtra,
}

/// Extension fields of BODYSTRUCTURE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartExtra {
    /// `Content-Disposition:` with its parameters.
    pub disposition: Option<(Vec<u8>, Vec<Parameter>)>,
    /// `Content-Language:`
    pub language: Vec<Vec<u8>>,
    /// `Content-Location:`
    pub location: Option<Vec<u8>>,
}

/// Parts within parts deeper than this are written as one opaque part: clients recurse too.
pub const PART_DEPTH_MAX: usize = 100;

impl Envelope {
    /// Writes the parenthesised list.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'(');
        nstring(out, self.date.as_deref());
        out.push(b' ');
        nstring(out, self.subject.as_deref());
        let or_from = |list: &'_ Vec<EnvelopeAddress>| list.is_empty();
        for list in [
            &self.from,
            if or_from(&self.sender) { &self.from } else { &self.sender },
            if or_from(&self.reply_to) { &self.from } else { &self.reply_to },
            &self.to,
            &self.cc,
            &self.bcc,
        ] {
            out.push(b' ');
            addresses(out, list);
        }
        out.push(b' ');
        nstring(out, self.in_reply_to.as_deref());
        out.push(b' ');
        nstring(out, self.message_id.as_deref());
        out.push(b')');
    }
}

fn addresses(out: &mut Vec<u8>, list: &[EnvelopeAddress]) {
    if list.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for address in list {
        out.push(b'(');
        nstring(out, address.name.as_deref());
        out.extend_from_slice(b" NIL ");
        nstring(out, address.mailbox.as_deref());
        out.push(b' ');
        nstring(out, address.host.as_deref());
        out.push(b')');
    }
    out.push(b')');
}

impl BodyStructure {
    /// Writes the parenthesised list; `extended` is BODYSTRUCTURE, else BODY.
    pub fn write(&self, out: &mut Vec<u8>, extended: bool) {
        self.write_at(out, extended, 0);
    }

    fn write_at(&self, out: &mut Vec<u8>, extended: bool, depth: usize) {
        if depth >= PART_DEPTH_MAX {
            out.extend_from_slice(b"(\"APPLICATION\" \"OCTET-STREAM\" NIL NIL NIL \"7BIT\" 0");
            return out.extend_from_slice(if extended { b" NIL NIL NIL NIL)" } else { b")" });
        }
        match self {
            BodyStructure::Single(part) => part.write(out, extended, depth),
            BodyStructure::Multi(part) => part.write(out, extended, depth),
        }
    }
}

impl MultiPart {
    fn write(&self, out: &mut Vec<u8>, extended: bool, depth: usize) {
        out.push(b'(');
        if self.parts.is_empty() {
            let nothing = b"(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 0 0";
            out.extend_from_slice(nothing);
            out.extend_from_slice(if extended { b" NIL NIL NIL NIL)" } else { b")" });
        }
        for part in &self.parts {
            part.write_at(out, extended, depth + 1);
        }
        out.push(b' ');
        string(out, or(&self.subtype, b"MIXED"));
        if extended {
            out.push(b' ');
            parameters(out, &self.parameters);
            self.extra.write(out);
        }
        out.push(b')');
    }
}

impl SinglePart {
    fn write(&self, out: &mut Vec<u8>, extended: bool, depth: usize) {
        out.push(b'(');
        string(out, or(&self.kind, b"TEXT"));
        out.push(b' ');
        string(out, if self.kind.is_empty() { b"PLAIN" } else { or(&self.subtype, b"X-UNKNOWN") });
        out.push(b' ');
        parameters(out, &self.parameters);
        out.push(b' ');
        nstring(out, self.id.as_deref());
        out.push(b' ');
        nstring(out, self.description.as_deref());
        out.push(b' ');
        string(out, or(&self.encoding, b"7BIT"));
        out.extend_from_slice(format!(" {}", self.size).as_bytes());
        if let Some((envelope, body)) = &self.message {
            out.push(b' ');
            envelope.write(out);
            out.push(b' ');
            body.write_at(out, extended, depth + 1);
        }
        if self.message.is_some() || self.kind.is_empty() || self.kind.eq_ignore_ascii_case(b"TEXT") {
            out.extend_from_slice(format!(" {}", self.lines).as_bytes());
        }
        if extended {
            out.push(b' ');
            nstring(out, self.md5.as_deref());
            self.extra.write(out);
        }
        out.push(b')');
    }
}

impl PartExtra {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b' ');
        match &self.disposition {
            None => out.extend_from_slice(b"NIL"),
            Some((kind, list)) => {
                out.push(b'(');
                string(out, kind);
                out.push(b' ');
                parameters(out, list);
                out.push(b')');
            }
        }
        out.push(b' ');
        match self.language.as_slice() {
            [] => out.extend_from_slice(b"NIL"),
            languages => {
                out.push(b'(');
                for (at, language) in languages.iter().enumerate() {
                    if at > 0 {
                        out.push(b' ');
                    }
                    string(out, language);
                }
                out.push(b')');
            }
        }
        out.push(b' ');
        nstring(out, self.location.as_deref());
    }
}

fn parameters(out: &mut Vec<u8>, list: &[Parameter]) {
    if list.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for (at, (name, value)) in list.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        string(out, name);
        out.push(b' ');
        string(out, value);
    }
    out.push(b')');
}

fn or<'a>(text: &'a [u8], otherwise: &'a [u8]) -> &'a [u8] {
    if text.is_empty() { otherwise } else { text }
}
