//! Mailbox names on the wire: modified UTF-7 (RFC 3501 §5.1.3), and INBOX.

use base64::Engine;
use base64::alphabet::Alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::sync::LazyLock;

/// BASE64 with `,` in place of `/`, and no padding.
static BASE64: LazyLock<Option<GeneralPurpose>> = LazyLock::new(|| {
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
    let config = GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone);
    Some(GeneralPurpose::new(&Alphabet::new(letters).ok()?, config))
});

/// The modified UTF-7 form of a name.
pub fn encode_utf7(name: &str) -> String {
    let mut wire = String::with_capacity(name.len());
    let mut shifted: Vec<u8> = Vec::new();
    let unshift = |wire: &mut String, shifted: &mut Vec<u8>| {
        if let (false, Some(base64)) = (shifted.is_empty(), BASE64.as_ref()) {
            wire.push('&');
            base64.encode_string(&shifted, wire);
            wire.push('-');
            shifted.clear();
        }
    };
    for letter in name.chars() {
        match letter {
            ' '..='~' => {
                unshift(&mut wire, &mut shifted);
                wire.push(letter);
                if letter == '&' {
                    wire.push('-');
                }
            }
            _ => {
                let mut units = [0; 2];
                for unit in letter.encode_utf16(&mut units) {
                    shifted.extend(unit.to_be_bytes());
                }
            }
        }
    }
    unshift(&mut wire, &mut shifted);
    wire
}

/// The name that a modified UTF-7 form stands for. `None` when it is not one, or not in the one form that
/// [`encode_utf7`] writes: two spellings of one name would be two mailboxes.
pub fn decode_utf7(wire: &str) -> Option<String> {
    let mut name = String::with_capacity(wire.len());
    let mut rest = wire;
    while let Some((plain, shifted)) = rest.split_once('&') {
        name.push_str(plain);
        let (shifted, after) = shifted.split_once('-')?;
        if shifted.is_empty() {
            name.push('&');
        } else {
            let bytes = BASE64.as_ref()?.decode(shifted).ok()?;
            if bytes.len() % 2 != 0 {
                return None;
            }
            let units: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
            name.push_str(&String::from_utf16(&units).ok()?);
        }
        rest = after;
    }
    name.push_str(rest);
    (encode_utf7(&name) == wire).then_some(name)
}

/// The name that a client wrote: modified UTF-7, or UTF-8 where the client enabled it or where bytes above 127
/// leave no other reading. INBOX comes back in capitals. Names that hold CR, LF or NUL are none.
pub(crate) fn from_wire(raw: &[u8], utf8: bool) -> Option<String> {
    let text = std::str::from_utf8(raw).ok()?;
    let name = if utf8 || !text.is_ascii() { text.to_owned() } else { decode_utf7(text)? };
    if name.contains(['\r', '\n', '\0']) {
        return None;
    }
    Some(if name.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { name })
}

/// Opens a name that a server wrote in a way that is not modified UTF-7: each letter after it is a byte.
const VERBATIM: char = '\u{FFFD}';

/// The name that a server wrote, so that [`to_server`] gives back the same bytes, whatever they were. A server's own
/// mailbox must stay reachable even if its name breaks the rules.
pub(crate) fn from_server(raw: &[u8]) -> String {
    match std::str::from_utf8(raw).ok().and_then(decode_utf7) {
        Some(name) if name.eq_ignore_ascii_case("INBOX") => "INBOX".to_owned(),
        Some(name) if !name.starts_with(VERBATIM) => name,
        _ => std::iter::once(VERBATIM).chain(raw.iter().map(|b| char::from(*b))).collect(),
    }
}

/// The bytes that name a mailbox at a server. `None` when no string of the protocol can hold them.
pub(crate) fn to_server(name: &str) -> Option<Vec<u8>> {
    let wire = match name.strip_prefix(VERBATIM) {
        Some(bytes) => bytes.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>()?,
        None => encode_utf7(name).into_bytes(),
    };
    (!wire.contains(&0)).then_some(wire)
}

/// Whether `name` matches a LIST pattern: `*` stands for anything, `%` for anything without `separator`.
/// INBOX matches in any letter case.
///
/// The work is at most the length of the one times the length of the other, whatever the pattern.
pub fn matches_pattern(pattern: &str, name: &str, separator: char) -> bool {
    let inbox = name == "INBOX";
    let pattern: Vec<char> = pattern.chars().collect();
    // `reached[i]`: the part of the name read so far can be matched by the first i letters of the pattern.
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    let skip_wildcards = |reached: &mut Vec<bool>| {
        for (at, letter) in pattern.iter().enumerate() {
            if matches!(letter, '*' | '%') && reached[at] {
                reached[at + 1] = true;
            }
        }
    };
    skip_wildcards(&mut reached);
    for letter in name.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for (at, expected) in pattern.iter().enumerate().filter(|(at, _)| reached[*at]) {
            match expected {
                '*' => next[at] = true,
                '%' => next[at] |= letter != separator,
                expected => {
                    next[at + 1] |= *expected == letter || inbox && expected.eq_ignore_ascii_case(&letter);
                }
            }
        }
        skip_wildcards(&mut next);
        reached = next;
        if !reached.contains(&true) {
            return false;
        }
    }
    reached[pattern.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_rfc_and_of_the_world() {
        for (wire, name) in [
            ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
            ("Entw&APw-rfe", "Entwürfe"),
            ("R&-D", "R&D"),
            ("&AOk-t&AOk-", "été"),
            ("&2D3eAA-", "😀"),
            ("&AAoADQ-", "\n\r"),
            ("plain name", "plain name"),
            ("", ""),
        ] {
            assert_eq!(decode_utf7(wire).as_deref(), Some(name), "{wire}");
            assert_eq!(encode_utf7(name), wire);
        }
    }

    #[test]
    fn a_second_spelling_of_a_name_is_no_name() {
        for wire in
            ["&", "R&D", "&AGE-", "&AOk", "&AOk-&AOk-", "&2D0-", "&U,BTFx-", "&//8-", "&AOk=-", "é", "&AA-"]
        {
            assert_eq!(decode_utf7(wire), None, "{wire}");
        }
        assert_eq!(from_wire("Entwürfe".as_bytes(), false).as_deref(), Some("Entwürfe"));
        assert_eq!(from_wire(b"R&D", true).as_deref(), Some("R&D"));
        assert_eq!(from_wire(b"iNbOx", false).as_deref(), Some("INBOX"));
        assert_eq!(from_wire(b"&AAoADQ-", false), None);
        assert_eq!(from_wire(b"\xff", false), None);
    }

    #[test]
    fn patterns_match_as_the_rfc_says() {
        for (pattern, name, expected) in [
            ("*", "a/b", true),
            ("%", "a/b", false),
            ("%", "a", true),
            ("%/%", "a/b", true),
            ("%/%", "a/b/c", false),
            ("a*c", "a/b/c", true),
            ("a%c", "a/b/c", false),
            ("a%c", "abbc", true),
            ("*%", "a/b", true),
            ("%*", "a/b", true),
            ("*/b", "a/b/b", true),
            ("inbox", "INBOX", true),
            ("inbox", "Inbox2", false),
            ("inb*", "INBOX", true),
            ("arc*", "ARCHIVE", false),
            ("", "a", false),
            ("", "", true),
            ("%a%/b*c", "xax/bxc/c", true),
            ("Entw%", "Entwürfe", true),
        ] {
            assert_eq!(matches_pattern(pattern, name, '/'), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_a_thousand_stars_is_answered_at_once() {
        let pattern = "*a%".repeat(300);
        assert!(!matches_pattern(&format!("{pattern}b"), &"a".repeat(400), '/'));
    }

    /// The same rule by plain recursion, to be compared with.
    fn slow(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => slow(rest, name) || (!name.is_empty() && slow(pattern, &name[1..])),
            (Some(('%', rest)), _) => {
                slow(rest, name) || name.first().is_some_and(|c| *c != '/') && slow(pattern, &name[1..])
            }
            (Some((p, rest)), Some((n, after))) => p == n && slow(rest, after),
            _ => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_survives_the_wire(name in "\\PC{0,20}[\u{1F600}\u{0}\u{10}]?") {
            let wire = encode_utf7(&name);
            proptest::prop_assert!(wire.bytes().all(|b| (0x20..0x7f).contains(&b)));
            proptest::prop_assert_eq!(decode_utf7(&wire), Some(name));
        }

        #[test]
        fn any_text_is_a_name_in_one_spelling_or_none(wire in "[&,a-c\\-A+/]{0,12}") {
            if let Some(name) = decode_utf7(&wire) {
                proptest::prop_assert_eq!(encode_utf7(&name), wire);
            }
        }

        #[test]
        fn a_name_given_by_a_server_goes_back_as_it_came(raw in proptest::collection::vec(1u8..=255, 0..12)) {
            let name = from_server(&raw);
            let back = to_server(&name);
            proptest::prop_assert!(back.as_ref() == Some(&raw) || name == "INBOX", "{:?}", back);
        }

        #[test]
        fn matching_agrees_with_the_plain_rule(pattern in "[ab/*%]{0,7}", name in "[ab/]{0,8}") {
            let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            proptest::prop_assert_eq!(matches_pattern(&pattern, &name, '/'), slow(&p, &n));
        }
    }
}
