//! Reading a message's header: what the road must know, and the one thing it takes out.

use words_mail::{Address, TraceId, TraceKey, TraceTag};

/// Trace tags of our own that are looked at in one header; a message that carries more is in a loop anyway.
const TAGS_MAX: usize = 64;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeaderFacts {
    /// `Received:` fields.
    pub(crate) hops: u32,
    /// Trace ids of ours that the message carries already.
    pub(crate) tags: Vec<TraceId>,
    /// `From:` fields.
    pub(crate) from_fields: u32,
    /// The addresses in the first of them; `None` where one could not be read.
    pub(crate) authors: Vec<Option<Address>>,
    /// `Authentication-Results:` fields that claimed our name and were taken out (RFC 8601 §5).
    pub(crate) forged: u32,
}

/// One field: its name, its value with folds, and where it stands.
struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
    from: usize,
    to: usize,
}

/// The fields of a header, in order. A line that is no field has an empty name.
fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let from = at;
        if from >= header.len() || header[from..].starts_with(b"\r\n") {
            return None;
        }
        loop {
            at = memchr::memchr(b'\n', &header[at..]).map_or(header.len(), |n| at + n + 1);
            if !matches!(header.get(at), Some(b' ' | b'\t')) {
                break;
            }
        }
        let line = &header[from..at];
        let (name, value) = match memchr::memchr(b':', line) {
            // `Name :` is the obsolete form (RFC 5322 §4.5), which readers accept.
            Some(colon) => (line[..colon].trim_ascii_end(), &line[colon + 1..]),
            None => (&line[..0], line),
        };
        Some(Field { name, value, from, to: at })
    })
}

/// Where the header ends: behind its empty line. `searched` octets were looked at before.
pub(crate) fn end_of_header(content: &[u8], searched: usize) -> Option<usize> {
    if content.starts_with(b"\r\n") {
        return Some(2);
    }
    let from = searched.saturating_sub(3);
    memchr::memmem::find(&content[from..], b"\r\n\r\n").map(|n| from + n + 4)
}

/// Reads the header that begins `content` and ends at `end`, and takes out what claims to be a result of ours. Returns
/// where the header ends now. Nothing else is changed, so that signatures stay whole.
pub(crate) fn read(content: &mut Vec<u8>, end: usize, host: &str, key: &TraceKey) -> (HeaderFacts, usize) {
    let mut facts = HeaderFacts::default();
    let mut forged: Vec<(usize, usize)> = Vec::new();
    for field in fields(&content[..end]) {
        if field.name.eq_ignore_ascii_case(b"Received") {
            facts.hops += 1;
        } else if field.name.eq_ignore_ascii_case(TraceTag::HEADER.as_bytes()) {
            let tag = std::str::from_utf8(field.value).ok().and_then(|v| TraceTag::verify(v, key));
            if let Some(id) = tag.filter(|_| facts.tags.len() < TAGS_MAX) {
                facts.tags.push(id);
            }
        } else if field.name.eq_ignore_ascii_case(b"From") {
            facts.from_fields += 1;
            if facts.from_fields == 1 {
                facts.authors = addresses(field.value);
            }
        } else if field.name.eq_ignore_ascii_case(b"Authentication-Results")
            && authserv_id(field.value).is_some_and(|id| id.eq_ignore_ascii_case(host.as_bytes()))
        {
            forged.push((field.from, field.to));
        }
    }
    facts.forged = u32::try_from(forged.len()).unwrap_or(u32::MAX);
    let mut end = end;
    for (from, to) in forged.into_iter().rev() {
        content.drain(from..to);
        end -= to - from;
    }
    (facts, end)
}

/// The first word of an `Authentication-Results:` value (RFC 8601 §2.2), past white space and comments.
fn authserv_id(value: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    let mut depth = 0u32;
    while at < value.len() {
        match value[at] {
            b'\\' if depth > 0 => at += 1,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if depth > 0 => {}
            _ => break,
        }
        at += 1;
    }
    let rest = value.get(at..)?;
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        return quoted.split(|b| *b == b'"').next();
    }
    rest.split(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(')).next()
}

/// The addresses of a `From:` value.
fn addresses(value: &[u8]) -> Vec<Option<Address>> {
    use mail_parser::{HeaderValue, parsers::MessageStream};
    let HeaderValue::Address(list) = MessageStream::new(value).parse_address() else { return Vec::new() };
    list.iter().map(|entry| entry.address().and_then(|a| Address::parse(a.trim()).ok())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use words_mail::Time;

    const KEY: TraceKey = TraceKey([3; 32]);

    fn read_text(text: &str) -> (HeaderFacts, String) {
        let mut content = text.as_bytes().to_vec();
        let end = end_of_header(&content, 0).unwrap_or(content.len());
        let (facts, end) = read(&mut content, end, "mx.example.org", &KEY);
        assert!(end <= content.len());
        assert!(content.get(end..).is_some());
        (facts, String::from_utf8(content).unwrap())
    }

    #[test]
    fn the_end_of_the_header_is_found_at_every_split() {
        let text = b"A: b\r\nC: d\r\n\r\nbody\r\n\r\n";
        for split in 0..text.len() {
            let early = end_of_header(&text[..split], 0);
            assert_eq!(early, (split >= 14).then_some(14), "{split}");
            assert_eq!(end_of_header(text, split.min(13)), Some(14), "{split}");
        }
        assert_eq!(end_of_header(b"\r\nbody", 0), Some(2));
    }

    #[test]
    fn hops_and_authors_are_counted() {
        let (facts, text) = read_text(
            "Received: from a\r\n\tby b; date\r\nRECEIVED: from c\r\nX-Received: no\r\nFrom: Anna <Anna@example.org>,\r\n\
             \t\"B, C\" <b@example.org>\r\nSubject: From: x\r\n\r\nReceived: body\r\nFrom: body\r\n",
        );
        assert_eq!((facts.hops, facts.from_fields, facts.forged), (2, 1, 0));
        let authors: Vec<String> = facts.authors.iter().flatten().map(|a| a.to_string()).collect();
        assert_eq!(authors, ["Anna@example.org", "b@example.org"]);
        assert!(text.ends_with("From: body\r\n"));
        assert_eq!(read_text("From: a@b\r\nfrom : c@d\r\n\r\n").0.from_fields, 2);
        assert_eq!(read_text("Subject: x\r\n\r\n").0.from_fields, 0);
        assert_eq!(read_text("From: nobody\r\n\r\n").0.authors, [None]);
        assert_eq!(read_text("From: a@b\r\n").0.authors.len(), 1, "a header without an end");
    }

    #[test]
    fn results_that_claim_our_name_are_taken_out_and_nothing_else() {
        for (line, taken) in [
            ("Authentication-Results: mx.example.org; spf=pass\r\n", true),
            ("authentication-results:MX.EXAMPLE.ORG;\r\n\tdkim=pass\r\n", true),
            ("Authentication-Results : mx.example.org 1; none\r\n", true),
            ("Authentication-Results:\r\n (a (b) \\) c)\r\n\tmx.example.org (x); none\r\n", true),
            ("Authentication-Results: \"mx.example.org\"; none\r\n", true),
            ("Authentication-Results: mx.example.org(comment); none\r\n", true),
            ("Authentication-Results: other.example; spf=fail (mx.example.org)\r\n", false),
            ("Authentication-Results: mx.example.org.evil; none\r\n", false),
            ("Authentication-Results:\r\n", false),
            ("ARC-Authentication-Results: i=1; mx.example.org; none\r\n", false),
            ("Subject: Authentication-Results: mx.example.org\r\n", false),
        ] {
            let message = format!("A: 1\r\n{line}B: 2\r\n\r\n{line}body\r\n");
            let (facts, text) = read_text(&message);
            assert_eq!(facts.forged, u32::from(taken), "{line:?}");
            let expected =
                if taken { format!("A: 1\r\nB: 2\r\n\r\n{line}body\r\n") } else { message.clone() };
            assert_eq!(text, expected, "{line:?}");
        }
    }

    #[test]
    fn only_tags_of_our_own_making_are_seen() {
        let id = TraceId::new(Time::from_seconds(9), [1; 10]);
        let (ours, theirs) = (TraceTag::new(id, &KEY), TraceTag::new(id, &TraceKey([4; 32])));
        let text = format!("Stormpost-Trace: {theirs}\r\nX: y\r\nstormpost-trace: {ours}\r\n\r\n");
        assert_eq!(read_text(&text).0.tags, [id]);
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "([A-Za-z :;()\"\\\\<>@,.\r\n\t]{0,30}|From: |Received: |Authentication-Results: ){0,12}") {
            let mut content = text.as_bytes().to_vec();
            let end = end_of_header(&content, 0).unwrap_or(content.len());
            let (_, end) = read(&mut content, end, "mx", &KEY);
            prop_assert!(end <= content.len());
        }

        #[test]
        fn without_a_forged_result_no_byte_changes(lines in prop::collection::vec("[A-Z][a-z]{0,8}: [ -~]{0,40}\r\n", 0..10)) {
            let text = format!("{}\r\nbody", lines.concat());
            let (_, after) = read_text(&text);
            prop_assert_eq!(after, text);
        }
    }
}
