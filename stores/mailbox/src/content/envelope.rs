//! The ENVELOPE of RFC 3501 §7.4.2, decoded to Unicode.

use super::header::{Field, Fields, unfolded};
use mail_parser::parsers::MessageStream;
use mail_parser::{Addr, Address, HeaderValue};
use serde::{Deserialize, Serialize};

/// How many addresses of one field are kept.
const PARTIES_MAX: usize = 1_000;

/// How long a decoded text may be, in bytes.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// The host shown for an address without one; an empty host would say "group" to a client.
const NO_HOST: &str = "MISSING_DOMAIN";

/// What is shown for an address with nothing before the `@`.
const NO_LOCAL: &str = "MISSING_MAILBOX";

/// Who stands in an address field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Party {
    /// An address.
    #[serde(rename = "a")]
    Address {
        /// The display name.
        #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// What stands before the `@`.
        #[serde(rename = "l")]
        local: String,
        /// What stands after it.
        #[serde(rename = "h")]
        host: String,
    },
    /// A group begins; its name.
    #[serde(rename = "g")]
    Group(String),
    /// The group ends.
    #[serde(rename = "e")]
    GroupEnd,
}

/// RFC 3501's envelope: the fields a message list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImapEnvelope {
    /// The `Date:` line as it reads.
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The subject, decoded.
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// From.
    #[serde(rename = "f", skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Party>,
    /// Sender; the same as From when there is none.
    #[serde(rename = "e", skip_serializing_if = "Vec::is_empty")]
    pub sender: Vec<Party>,
    /// Reply-To; the same as From when there is none.
    #[serde(rename = "r", skip_serializing_if = "Vec::is_empty")]
    pub reply_to: Vec<Party>,
    /// To.
    #[serde(rename = "t", skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Party>,
    /// Cc.
    #[serde(rename = "c", skip_serializing_if = "Vec::is_empty")]
    pub cc: Vec<Party>,
    /// Bcc.
    #[serde(rename = "b", skip_serializing_if = "Vec::is_empty")]
    pub bcc: Vec<Party>,
    /// In-Reply-To as it reads.
    #[serde(rename = "i", skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
    /// Message-ID as it reads.
    #[serde(rename = "m", skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
}

impl ImapEnvelope {
    /// The envelope of a header block. Of a field that stands there twice the first counts; recipients of all of them
    /// belong together (RFC 5322 §4.5.3).
    pub fn of(header: &[u8]) -> ImapEnvelope {
        let mut envelope = ImapEnvelope::default();
        for field in Fields::of(header) {
            let (text, parties) = match field.name.to_ascii_lowercase().as_str() {
                "date" => (Some(&mut envelope.date), None),
                "in-reply-to" => (Some(&mut envelope.in_reply_to), None),
                "message-id" => (Some(&mut envelope.message_id), None),
                "subject" => {
                    if envelope.subject.is_none() {
                        envelope.subject = Some(unstructured(&field));
                    }
                    continue;
                }
                "from" => (None, Some(&mut envelope.from)),
                "sender" => (None, Some(&mut envelope.sender)),
                "reply-to" => (None, Some(&mut envelope.reply_to)),
                "to" => (None, Some(&mut envelope.to)),
                "cc" => (None, Some(&mut envelope.cc)),
                "bcc" => (None, Some(&mut envelope.bcc)),
                _ => continue,
            };
            if let Some(text @ None) = text {
                *text = Some(cut(unfolded(field.value).into_owned()));
            }
            if let Some(parties) = parties {
                let many = ["to", "cc", "bcc"].iter().any(|name| field.is(name));
                if parties.is_empty() {
                    *parties = addresses(&field);
                } else if many && parties.len() < PARTIES_MAX {
                    parties.extend(addresses(&field));
                }
            }
        }
        // RFC 3501 §7.4.2: the server sets these two from From when they are absent or empty.
        if envelope.sender.is_empty() {
            envelope.sender.clone_from(&envelope.from);
        }
        if envelope.reply_to.is_empty() {
            envelope.reply_to.clone_from(&envelope.from);
        }
        envelope
    }
}

/// The date of the `Date:` line as it reads there, without its zone: seconds since 1970.
pub fn sent(header: &[u8]) -> Option<i64> {
    let field = Fields::first(header, "date")?;
    match MessageStream::new(&ended(&field)).parse_date() {
        HeaderValue::DateTime(date) if date.is_valid() => Some(date.to_timestamp_local()),
        _ => None,
    }
}

/// The moment the `Date:` line names: seconds since 1970, UTC.
pub(super) fn sent_at(header: &[u8]) -> Option<i64> {
    let field = Fields::first(header, "date")?;
    match MessageStream::new(&ended(&field)).parse_date() {
        HeaderValue::DateTime(date) if date.is_valid() => Some(date.to_timestamp()),
        _ => None,
    }
}

/// What stands before the `@` of the first address of a field (RFC 5256 §3).
pub(super) fn first_local(header: &[u8], name: &str) -> String {
    let parties = Fields::first(header, name).map(|field| addresses(&field)).unwrap_or_default();
    let local = parties.into_iter().find_map(|party| match party {
        Party::Address { local, .. } => Some(local).filter(|local| local != NO_LOCAL),
        _ => None,
    });
    local.unwrap_or_default()
}

/// The parser reads up to a line end; a header cut short has none. Bytes that are no UTF-8 are most likely Latin-1, as
/// careless senders write it, and nothing is lost by taking them for it.
fn ended(field: &Field<'_>) -> Vec<u8> {
    let mut value = match std::str::from_utf8(field.value) {
        Ok(_) => field.value.to_vec(),
        Err(_) => field.value.iter().map(|byte| char::from(*byte)).collect::<String>().into_bytes(),
    };
    if value.last() != Some(&b'\n') {
        value.extend_from_slice(b"\r\n");
    }
    value
}

/// A field's text in one line, encoded words decoded.
pub fn unstructured(field: &Field<'_>) -> String {
    match MessageStream::new(&ended(field)).parse_unstructured() {
        HeaderValue::Text(text) => cut(one_line(&text)),
        _ => String::new(),
    }
}

fn addresses(field: &Field<'_>) -> Vec<Party> {
    let value = ended(field);
    let mut parties = Vec::new();
    let add = |parties: &mut Vec<Party>, list: &[Addr<'_>]| {
        let room = PARTIES_MAX.saturating_sub(parties.len());
        parties.extend(list.iter().take(room).filter_map(party));
    };
    match MessageStream::new(&value).parse_address() {
        HeaderValue::Address(Address::List(list)) => add(&mut parties, &list),
        HeaderValue::Address(Address::Group(groups)) => {
            for group in groups.iter().take(PARTIES_MAX) {
                // Addresses beside a group come as a group without a name.
                let name = group.name.as_ref().map(|name| cut(one_line(name)));
                if let Some(name) = &name {
                    parties.push(Party::Group(name.clone()));
                }
                add(&mut parties, &group.addresses);
                if name.is_some() {
                    parties.push(Party::GroupEnd);
                }
            }
        }
        _ => {}
    }
    parties
}

fn party(address: &Addr<'_>) -> Option<Party> {
    let name = address.name.as_ref().map(|name| cut(one_line(name))).filter(|name| !name.is_empty());
    let text = one_line(address.address.as_deref().unwrap_or_default());
    // RFC 5322 §4.4: a route before the address is to be ignored.
    let text = match text.rsplit_once(':') {
        Some((route, address)) if route.starts_with('@') => address.to_owned(),
        _ => text,
    };
    let (name, text) = match name {
        // A word alone is taken for the name; it is who it is from, as far as anybody knows.
        name if text.is_empty() => (None, name?),
        // The parser takes a quoted local part for a name.
        Some(name) if text.starts_with('@') => (None, name + &text),
        name => (name, text),
    };
    let (local, host) = text.rsplit_once('@').unwrap_or((&text, NO_HOST));
    let host = if host.is_empty() { NO_HOST } else { host };
    let local = if local.is_empty() { NO_LOCAL } else { local };
    Some(Party::Address { name, local: cut(local.to_owned()), host: cut(host.to_owned()) })
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

fn cut(text: String) -> String {
    cut_at(text, TEXT_BYTES_MAX)
}

/// A text of at most so many bytes.
pub(super) fn cut_at(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate((0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(name: Option<&str>, local: &str, host: &str) -> Party {
        Party::Address { name: name.map(str::to_owned), local: local.to_owned(), host: host.to_owned() }
    }

    #[test]
    fn an_ordinary_header_is_understood() {
        let envelope = ImapEnvelope::of(
            b"Date: Sun, 22 Nov 2026 10:37:07 +0100\r\nFrom: =?utf-8?q?Zo=C3=AB?= <zoe@example.org>\r\n\
              To: Anna B <anna@example.org>,\r\n bob@example.net\r\nSubject: =?utf-8?B?R3LDvMOfZQ==?=\r\n\
              Message-ID: <1@x>\r\nIn-Reply-To: <0@x>\r\n\r\nTo: not@header\r\n",
        );
        assert_eq!(envelope.date.as_deref(), Some("Sun, 22 Nov 2026 10:37:07 +0100"));
        assert_eq!(envelope.subject.as_deref(), Some("Grüße"));
        assert_eq!(envelope.from, [address(Some("Zoë"), "zoe", "example.org")]);
        assert_eq!((&envelope.sender, &envelope.reply_to), (&envelope.from, &envelope.from));
        let to = [address(Some("Anna B"), "anna", "example.org"), address(None, "bob", "example.net")];
        assert_eq!(envelope.to, to);
        assert_eq!(envelope.message_id.as_deref(), Some("<1@x>"));
        assert_eq!(envelope.in_reply_to.as_deref(), Some("<0@x>"));
    }

    #[test]
    fn groups_and_missing_hosts_are_shown() {
        let envelope =
            ImapEnvelope::of(b"To: Team: a@x, b@y;\r\nCc: undisclosed-recipients:;\r\nFrom: root\r\n\r\n");
        let team =
            [Party::Group("Team".into()), address(None, "a", "x"), address(None, "b", "y"), Party::GroupEnd];
        assert_eq!(envelope.to, team);
        assert_eq!(envelope.cc, [Party::Group("undisclosed-recipients".into()), Party::GroupEnd]);
        assert_eq!(envelope.from, [address(None, "root", NO_HOST)]);
    }

    #[test]
    fn routes_are_ignored_and_quoted_local_parts_are_no_names() {
        let envelope = ImapEnvelope::of(
            b"From: <@one.example,@two.example:a@x>\r\nTo: \"a b\"@x, \"C D\" <c@[IPv6:2001:db8::1]>, @y\r\n\r\n",
        );
        assert_eq!(envelope.from, [address(None, "a", "x")]);
        let to = [
            address(None, "a b", "x"),
            address(Some("C D"), "c", "[IPv6:2001:db8::1]"),
            address(None, NO_LOCAL, "y"),
        ];
        assert_eq!(envelope.to, to);
    }

    #[test]
    fn recipients_of_two_fields_belong_together() {
        let envelope = ImapEnvelope::of(b"To: a@x\r\nTo: b@x\r\nCc: c@x\r\nCC: d@x\r\n\r\n");
        assert_eq!(envelope.to, [address(None, "a", "x"), address(None, "b", "x")]);
        assert_eq!(envelope.cc, [address(None, "c", "x"), address(None, "d", "x")]);
    }

    #[test]
    fn eight_bits_without_a_word_about_them_are_not_lost() {
        let envelope =
            ImapEnvelope::of(b"Subject: Gr\xfc\xdfe\r\nFrom: J\xf6rg <j@x>\r\nTo: J\xc3\xb6rg <j@x>\r\n\r\n");
        assert_eq!(envelope.subject.as_deref(), Some("Gr\u{fc}\u{df}e"));
        assert_eq!(envelope.from, [address(Some("J\u{f6}rg"), "j", "x")]);
        assert_eq!(envelope.to, envelope.from);
    }

    #[test]
    fn the_first_of_two_fields_counts() {
        let envelope = ImapEnvelope::of(b"From: a@x\r\nFrom: b@x\r\nSubject: 1\r\nSubject: 2\r\n\r\n");
        assert_eq!(envelope.from, [address(None, "a", "x")]);
        assert_eq!(envelope.subject.as_deref(), Some("1"));
    }

    #[test]
    fn the_date_is_read_as_it_stands() {
        assert_eq!(sent(b"Date: Thu, 01 Jan 1970 01:00:00 +0500\r\n\r\n"), Some(3_600));
        assert_eq!(sent(b"Date: yesterday\r\n\r\n"), None);
    }

    proptest! {
        #[test]
        fn any_header_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), name in prop::sample::select(vec!["From: ", "Subject: ", "Date: ", "To: =?utf-8?q?"])) {
            let header = [name.as_bytes(), &bytes].concat();
            let envelope = ImapEnvelope::of(&header);
            sent(&header);
            let text = serde_json::to_string(&envelope).unwrap();
            prop_assert_eq!(serde_json::from_str::<ImapEnvelope>(&text).unwrap(), envelope);
        }
    }
}
