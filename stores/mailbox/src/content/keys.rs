//! What messages are put in order and into conversations by (RFC 5256): small, so that a whole mailbox of them fits
//! into memory.

use super::envelope::{cut_at, first_local, sent_at, unstructured};
use super::header::{Fields, unfolded};
use serde::{Deserialize, Serialize};

/// How long a text to sort by is kept, in bytes.
const TEXT_BYTES_MAX: usize = 500;

/// How many of the messages that one refers to are kept: the first, and the last ones.
const REFERENCES_MAX: usize = 20;

/// The first bytes of a hash, for message ids: what is compared and never shown.
fn short(id: &str) -> u64 {
    let hash = blake3::hash(id.as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// What one message is put in order by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keys {
    /// When it was sent: seconds since 1970, UTC.
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    pub sent: Option<i64>,
    /// The subject, decoded.
    #[serde(rename = "s", skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// What stands before the `@` of the first `From:` address.
    #[serde(rename = "f", skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// The same of `To:`.
    #[serde(rename = "t", skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// The same of `Cc:`.
    #[serde(rename = "c", skip_serializing_if = "String::is_empty")]
    pub cc: String,
    /// Its Message-ID, hashed.
    #[serde(rename = "i", skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The messages it refers to, hashed, the oldest first; those of `In-Reply-To:` when there are no `References:`.
    #[serde(rename = "r", skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<u64>,
    /// The conversation it belongs to: an id made of the oldest message it names, which may be itself; empty when it
    /// names none. The header alone decides it, so that it never changes (RFC 8474 §5.2).
    #[serde(rename = "h", skip_serializing_if = "String::is_empty")]
    pub thread: String,
}

impl Keys {
    /// The keys of a header block.
    pub fn of(header: &[u8]) -> Keys {
        let ids = |name: &str| {
            let value = Fields::first(header, name).map(|field| unfolded(field.value).into_owned());
            message_ids(&value.unwrap_or_default())
        };
        let own = ids("Message-ID").into_iter().next();
        let mut references = ids("References");
        if references.is_empty() {
            // RFC 5256 §3: the first of them only.
            references = ids("In-Reply-To").into_iter().take(1).collect();
        }
        let thread = references.first().or(own.as_ref()).map_or_else(String::new, |oldest| {
            blake3::hash(oldest.as_bytes()).to_hex().as_str().split_at(32).0.to_owned()
        });
        if references.len() > REFERENCES_MAX {
            references.drain(1..=references.len() - REFERENCES_MAX);
        }
        let subject = Fields::first(header, "Subject").map(|field| unstructured(&field)).unwrap_or_default();
        Keys {
            sent: sent_at(header),
            subject: cut_at(subject, TEXT_BYTES_MAX),
            from: cut_at(first_local(header, "From"), TEXT_BYTES_MAX),
            to: cut_at(first_local(header, "To"), TEXT_BYTES_MAX),
            cc: cut_at(first_local(header, "Cc"), TEXT_BYTES_MAX),
            id: own.as_deref().map(short),
            references: references.iter().map(|id| short(id)).collect(),
            thread,
        }
    }
}

/// The message ids in a field: what stands between angle brackets and has an `@`, without white space and quotes.
fn message_ids(value: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for piece in value.split('<').skip(1) {
        let Some((id, _)) = piece.split_once('>') else { continue };
        let id: String = id.chars().filter(|c| !c.is_whitespace() && *c != '"').collect();
        if id.split_once('@').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty()) {
            ids.push(id);
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ordinary_header_gives_its_keys() {
        let keys = Keys::of(
            b"Date: Sun, 22 Nov 2026 10:00:00 +0100\r\nFrom: Zoe <zoe@x>, b@x\r\nTo: Team: ann@x;\r\n\
              Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <3@x>\r\nReferences: <1@x> nonsense\r\n <2@x>\r\n\
              In-Reply-To: <9@x>\r\n\r\n",
        );
        assert_eq!(keys.sent, Some(1_795_338_000));
        assert_eq!((&*keys.from, &*keys.to, &*keys.cc, &*keys.subject), ("zoe", "ann", "", "Grüße"));
        assert_eq!((keys.id, keys.references), (Some(short("3@x")), vec![short("1@x"), short("2@x")]));
        let first = Keys::of(b"Message-ID: < 1 @x>\r\n\r\n");
        assert_eq!((first.thread, first.references), (keys.thread, vec![]));
        let reply = Keys::of(b"In-Reply-To: message of Monday <1@x> <8@x>\r\n\r\n");
        assert_eq!((reply.id, reply.references), (None, vec![short("1@x")]));
        assert_eq!(Keys::of(b"Message-ID: none\r\n\r\n"), Keys::default());
    }

    #[test]
    fn a_long_list_of_references_keeps_its_ends() {
        let all: String = (0..500).map(|n| format!(" <{n}@x>\r\n")).collect();
        let keys = Keys::of(format!("References:{all}\r\n").as_bytes());
        let expected: Vec<u64> =
            [0].into_iter().chain(481..500).map(|n: u32| short(&format!("{n}@x"))).collect();
        assert_eq!(keys.references, expected);
    }

    proptest! {
        #[test]
        fn any_header_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), name in prop::sample::select(vec!["References: <", "Subject: ", "Date: ", "To: =?utf-8?q?"])) {
            let keys = Keys::of(&[name.as_bytes(), &bytes].concat());
            let text = serde_json::to_string(&keys).unwrap();
            prop_assert_eq!(serde_json::from_str::<Keys>(&text).unwrap(), keys);
        }
    }
}
