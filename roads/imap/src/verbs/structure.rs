//! Envelope and structure as the wire wants them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;
use stores_mailbox::content::{ImapEnvelope, Nested, Part, Party};
use words_imap::{BodyStructure, Envelope, EnvelopeAddress, MultiPart, Parameter, PartExtra, SinglePart};

/// Bytes of text in one encoded word: RFC 2047 §2 allows 75 letters in all.
const WORD_BYTES: usize = 45;

/// Text as a header may carry it: ASCII as it is, else as encoded words (RFC 2047), which every client decodes. Clients
/// that take UTF-8 (RFC 6855) get that.
fn encoded(text: &str, utf8: bool) -> Vec<u8> {
    if utf8 || text.is_ascii() {
        return text.as_bytes().to_vec();
    }
    let mut words = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = (0..=WORD_BYTES.min(rest.len())).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0);
        let (word, after) = rest.split_at(end.max(1));
        let gap = if words.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = write!(words, "{gap}=?utf-8?B?{}?=", STANDARD.encode(word));
        rest = after;
    }
    words.into_bytes()
}

fn bytes(text: &Option<String>) -> Option<Vec<u8>> {
    text.as_ref().map(|text| text.as_bytes().to_vec())
}

pub(crate) fn envelope(from: &ImapEnvelope, utf8: bool) -> Envelope {
    let addresses = |parties: &[Party]| addresses(parties, utf8);
    Envelope {
        date: bytes(&from.date),
        subject: from.subject.as_deref().map(|subject| encoded(subject, utf8)),
        from: addresses(&from.from),
        sender: addresses(&from.sender),
        reply_to: addresses(&from.reply_to),
        to: addresses(&from.to),
        cc: addresses(&from.cc),
        bcc: addresses(&from.bcc),
        in_reply_to: bytes(&from.in_reply_to),
        message_id: bytes(&from.message_id),
    }
}

fn addresses(parties: &[Party], utf8: bool) -> Vec<EnvelopeAddress> {
    let encoded = |text: &str| encoded(text, utf8);
    let address = |party: &Party| match party {
        Party::Address { name, local, host } => EnvelopeAddress {
            name: name.as_deref().map(encoded),
            mailbox: Some(local.as_bytes().to_vec()),
            host: Some(host.as_bytes().to_vec()),
        },
        Party::Group(name) => EnvelopeAddress { mailbox: Some(encoded(name)), ..EnvelopeAddress::default() },
        Party::GroupEnd => EnvelopeAddress::default(),
    };
    parties.iter().map(address).collect()
}

pub(crate) fn structure(part: &Part, utf8: bool) -> BodyStructure {
    if part.is("multipart") {
        let parts = match &part.nested {
            Nested::Parts(parts) => parts.iter().map(|part| structure(part, utf8)).collect(),
            // A multipart without a boundary has no parts that could be told apart.
            _ => Vec::new(),
        };
        return BodyStructure::Multi(MultiPart {
            parts,
            subtype: upper(&part.subtype),
            parameters: parameters(&part.parameters, utf8),
            extra: extra(part, utf8),
        });
    }
    let message = match &part.nested {
        Nested::Message(message, own) => Some((envelope(own, utf8), structure(message, utf8))),
        _ => None,
    };
    // One that cannot be looked into must not promise an envelope.
    let opaque = message.is_none() && part.is("message") && part.subtype.eq_ignore_ascii_case("rfc822");
    let (kind, subtype) =
        if opaque { ("application", "octet-stream") } else { (&*part.kind, &*part.subtype) };
    BodyStructure::Single(Box::new(SinglePart {
        kind: upper(kind),
        subtype: upper(subtype),
        parameters: parameters(&part.parameters, utf8),
        id: bytes(&part.id),
        description: part.description.as_deref().map(|text| encoded(text, utf8)),
        encoding: upper(&part.encoding),
        size: part.body.len(),
        lines: part.lines,
        message,
        md5: bytes(&part.md5),
        extra: extra(part, utf8),
    }))
}

fn upper(text: &str) -> Vec<u8> {
    text.to_ascii_uppercase().into_bytes()
}

fn extra(part: &Part, utf8: bool) -> PartExtra {
    let disposition =
        part.disposition.as_ref().map(|d| (d.kind.as_bytes().to_vec(), parameters(&d.parameters, utf8)));
    PartExtra {
        disposition,
        language: part.language.iter().map(|l| l.as_bytes().to_vec()).collect(),
        location: bytes(&part.location),
    }
}

fn parameters(list: &[(String, String)], utf8: bool) -> Vec<Parameter> {
    list.iter().map(|(name, value)| parameter(name, value, utf8)).collect()
}

/// A value that is not ASCII in the form of RFC 2231 §4.
fn parameter(name: &str, value: &str, utf8: bool) -> Parameter {
    if utf8 || value.is_ascii() {
        return (upper(name), value.as_bytes().to_vec());
    }
    let mut escaped = String::from("utf-8''");
    for byte in value.bytes() {
        // Writing to a string cannot fail.
        let _ = match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'-' | b'_' => {
                write!(escaped, "{}", char::from(byte))
            }
            other => write!(escaped, "%{other:02X}"),
        };
    }
    (upper(&format!("{name}*")), escaped.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_ascii_is_encoded_in_short_words() {
        assert_eq!(encoded("plain", false), b"plain");
        assert_eq!(encoded("Grüße", false), b"=?utf-8?B?R3LDvMOfZQ==?=");
        let long = String::from_utf8(encoded(&"ü".repeat(60), false)).unwrap();
        assert_eq!(long.split(' ').count(), 3);
        assert!(long.split(' ').all(|word| word.len() <= 75));
        assert_eq!(parameter("name", "ü.txt", false), (b"NAME*".to_vec(), b"utf-8''%C3%BC.txt".to_vec()));
        assert_eq!(encoded("Grüße", true), "Grüße".as_bytes());
    }
}
