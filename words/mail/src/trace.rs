//! The id that recognises our own messages inside somebody else's mailbox.

use crate::Time;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The id of one accepted message: 48 bits of milliseconds and 80 random bits, so that ids sort by time of
/// acceptance. Written as 26 characters of Crockford base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u128);

/// Letters that cannot be misread aloud over a telephone: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl TraceId {
    /// The id of a message accepted at `now`, with ten bytes that must be random.
    pub fn new(now: Time, random: [u8; 10]) -> TraceId {
        let millis = u128::try_from(now.millis()).unwrap_or(0) & 0xFFFF_FFFF_FFFF;
        let mut low = [0u8; 16];
        low[6..].copy_from_slice(&random);
        TraceId(millis << 80 | u128::from_be_bytes(low))
    }

    /// When the message was accepted, by the clock of the node that accepted it.
    pub fn time(self) -> Time {
        Time(i64::try_from(self.0 >> 80).unwrap_or(0) * 1_000)
    }

    /// The 16 bytes of the id.
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 26];
        for (at, letter) in text.iter_mut().enumerate() {
            *letter = ALPHABET[(self.0 >> (5 * (25 - at)) & 31) as usize];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or(""))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TraceId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<TraceId, &'static str> {
        if text.len() != 26 || text.as_bytes()[0] > b'7' {
            return Err("a trace id has 26 letters and digits, the first of them 0 to 7");
        }
        let mut value = 0u128;
        for letter in text.bytes() {
            let digit = ALPHABET.iter().position(|c| *c == letter.to_ascii_uppercase());
            value = value << 5
                | digit.ok_or("a trace id has only digits and letters, without I, L, O and U")? as u128;
        }
        Ok(TraceId(value))
    }
}

impl Serialize for TraceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<TraceId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The secret that makes a trace id ours: without it nobody outside can write a trace header we believe.
#[derive(Clone)]
pub struct TraceKey(pub [u8; 32]);

impl fmt::Debug for TraceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TraceKey(..)")
    }
}

/// A trace id with its authentication code: the value of the `Stormpost-Trace:` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceTag {
    /// The id.
    pub id: TraceId,
    code: u64,
}

impl TraceTag {
    /// The name of the header that carries a tag.
    pub const HEADER: &'static str = "Stormpost-Trace";

    /// The tag of `id` under `key`.
    pub fn new(id: TraceId, key: &TraceKey) -> TraceTag {
        let hash = blake3::keyed_hash(&key.0, &id.bytes());
        let mut code = [0u8; 8];
        code.copy_from_slice(&hash.as_bytes()[..8]);
        TraceTag { id, code: u64::from_be_bytes(code) }
    }

    /// Reads a header's value and believes it only if `key` made it.
    pub fn verify(value: &str, key: &TraceKey) -> Option<TraceId> {
        let (id, code) = value.trim().split_once('.')?;
        let expected = TraceTag::new(id.parse().ok()?, key);
        (code.len() == 16 && u64::from_str_radix(code, 16).ok()? == expected.code).then_some(expected.id)
    }

    /// The trace id of a message that carries a tag of ours: the topmost one that `key` made.
    ///
    /// Mail that went through us twice has the later one on top. Headers of the same name that somebody else made
    /// (another Stormpost behind us, a forger) are passed over.
    pub fn find(header: &[u8], key: &TraceKey) -> Option<TraceId> {
        let name = TraceTag::HEADER.as_bytes();
        for line in header.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                return None;
            }
            if line.len() > name.len()
                && line[..name.len()].eq_ignore_ascii_case(name)
                && line[name.len()] == b':'
            {
                let value = std::str::from_utf8(&line[name.len() + 1..]).ok();
                if let Some(id) = value.and_then(|value| TraceTag::verify(value, key)) {
                    return Some(id);
                }
            }
        }
        None
    }
}

impl fmt::Display for TraceTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:016x}", self.id, self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TraceKey = TraceKey([7; 32]);

    #[test]
    fn an_id_is_read_back_and_sorts_by_time() {
        let early = TraceId::new(Time::from_seconds(1_000), [255; 10]);
        let late = TraceId::new(Time::from_seconds(1_001), [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(early.to_string().to_lowercase().parse(), Ok(early));
        assert_eq!(early.time(), Time::from_seconds(1_000));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "0",
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "0000000000000000000000000U",
            "0000000000000000000000000é",
        ] {
            assert!(text.parse::<TraceId>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_header_of_our_own_is_believed() {
        let id = TraceId::new(Time::from_seconds(5), [1; 10]);
        let tag = TraceTag::new(id, &KEY).to_string();
        let forged = TraceTag::new(id, &TraceKey([8; 32])).to_string();
        let find = |text: String| TraceTag::find(text.as_bytes(), &KEY);
        assert_eq!(find(format!("Subject: x\r\nstormpost-trace: {tag}\r\n\r\n")), Some(id));
        assert_eq!(find(format!("Stormpost-Trace: {forged}\r\n\r\n")), None);
        assert_eq!(find(format!("Stormpost-Trace: {forged}\r\nStormpost-Trace: {tag}\r\n\r\n")), Some(id));
        let later = TraceTag::new(TraceId::new(Time::from_seconds(6), [2; 10]), &KEY);
        assert_eq!(
            find(format!("Stormpost-Trace: {later}\r\nStormpost-Trace: {tag}\r\n\r\n")),
            Some(later.id)
        );
        assert_eq!(
            find(format!("Subject: x\r\n\r\nStormpost-Trace: {tag}\r\n")),
            None,
            "a body is not a header"
        );
        assert_eq!(find("Stormpost-Trace:\r\n\r\n".into()), None);
    }
}
