//! Flags and keywords of a message (RFC 3501 §2.3.2).

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How many keywords one message may carry; more are refused, so that a row stays small.
pub const KEYWORDS_MAX: usize = 64;

/// How long a keyword may be, in bytes.
pub const KEYWORD_BYTES_MAX: usize = 255;

/// The flags of one message. `\Recent` is not kept: it belongs to a session, not to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Flags {
    bits: u8,
    keywords: BTreeSet<String>,
}

/// The flags IMAP itself defines, in the order in which they are shown.
const SYSTEM: [&str; 5] = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];

impl Flags {
    /// `\Answered`.
    pub const ANSWERED: u8 = 1;
    /// `\Flagged`.
    pub const FLAGGED: u8 = 2;
    /// `\Deleted`.
    pub const DELETED: u8 = 4;
    /// `\Seen`.
    pub const SEEN: u8 = 8;
    /// `\Draft`.
    pub const DRAFT: u8 = 16;

    /// No flag at all.
    pub fn none() -> Flags {
        Flags::default()
    }

    /// Only system flags, as a sum of the constants.
    pub fn system(bits: u8) -> Flags {
        Flags { bits: bits & 31, keywords: BTreeSet::new() }
    }

    pub(crate) fn from_parts(bits: u8, keywords: &str) -> Flags {
        Flags { bits, keywords: keywords.split(' ').filter(|k| !k.is_empty()).map(str::to_owned).collect() }
    }

    /// The system flags as a sum of the constants.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The keywords joined by spaces: the form in which they are kept.
    pub(crate) fn keyword_text(&self) -> String {
        self.keywords.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Whether any of these system flags is set.
    pub fn has(&self, bits: u8) -> bool {
        self.bits & bits != 0
    }

    /// Whether a keyword is set; letter case does not matter (RFC 5788 §2).
    pub fn has_keyword(&self, name: &str) -> bool {
        self.keywords.iter().any(|k| k.eq_ignore_ascii_case(name))
    }

    /// Sets one flag or keyword by its name, as `\Seen` or `$Forwarded`. Unknown names that begin with a backslash,
    /// `\Recent` among them, are left out: nobody but IMAP itself may define those.
    pub fn insert(&mut self, name: &str) {
        if let Some(at) = SYSTEM.iter().position(|s| s.eq_ignore_ascii_case(name)) {
            self.bits |= 1 << at;
        } else if !name.starts_with('\\')
            && !name.is_empty()
            && name.len() <= KEYWORD_BYTES_MAX
            && !name.contains(|c: char| c.is_ascii_whitespace() || c.is_control())
            && !self.has_keyword(name)
            && self.keywords.len() < KEYWORDS_MAX
        {
            self.keywords.insert(name.to_owned());
        }
    }

    /// The keywords.
    pub fn keywords(&self) -> impl Iterator<Item = &str> {
        self.keywords.iter().map(String::as_str)
    }

    /// All names, system flags first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let system =
            SYSTEM.iter().enumerate().filter(|(at, _)| self.bits & 1 << at != 0).map(|(_, name)| *name);
        system.chain(self.keywords())
    }

    /// These flags after a change.
    pub fn changed(&self, how: How, by: &Flags) -> Flags {
        match how {
            How::Set => by.clone(),
            How::Add => {
                let mut flags = self.clone();
                flags.bits |= by.bits;
                for keyword in &by.keywords {
                    flags.insert(keyword);
                }
                flags
            }
            How::Remove => Flags {
                bits: self.bits & !by.bits,
                keywords: self.keywords.iter().filter(|k| !by.has_keyword(k)).cloned().collect(),
            },
        }
    }
}

impl<'a> FromIterator<&'a str> for Flags {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Flags {
        let mut flags = Flags::none();
        for name in names {
            flags.insert(name);
        }
        flags
    }
}

impl From<Vec<String>> for Flags {
    fn from(names: Vec<String>) -> Flags {
        names.iter().map(String::as_str).collect()
    }
}

impl From<Flags> for Vec<String> {
    fn from(flags: Flags) -> Vec<String> {
        flags.names().map(str::to_owned).collect()
    }
}

/// What a change does with the flags it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Sets them too (`+FLAGS`).
    Add,
    /// Takes them away (`-FLAGS`).
    Remove,
    /// Makes them the only ones (`FLAGS`).
    Set,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_change_as_store_says() {
        let flags = |names: &[&str]| names.iter().copied().collect::<Flags>();
        for (before, how, by, after) in [
            (
                &["\\Seen"][..],
                How::Add,
                &["\\deleted", "$Forwarded"][..],
                &["\\Deleted", "\\Seen", "$Forwarded"][..],
            ),
            (&["\\Seen", "work"], How::Remove, &["\\SEEN", "WORK"], &[]),
            (&["\\Seen", "work"], How::Set, &["\\Draft"], &["\\Draft"]),
            (&["Work"], How::Add, &["work"], &["Work"]),
            (&[], How::Add, &["\\Recent", "\\Unheard", "", "a b"], &[]),
        ] {
            assert_eq!(flags(before).changed(how, &flags(by)), flags(after), "{before:?} {how:?} {by:?}");
        }
    }

    #[test]
    fn they_are_written_as_names() {
        let flags: Flags = ["\\Seen", "b", "a"].into_iter().collect();
        assert_eq!(serde_json::to_string(&flags).unwrap(), r#"["\\Seen","a","b"]"#);
        assert_eq!(Flags::from_parts(flags.bits(), &flags.keyword_text()), flags);
    }
}
