//! Flags and keywords (RFC 3501 §2.3.2).

use crate::scan::{Cursor, Parsed, Problem, is_atom};
use std::fmt;
use std::hash::{Hash, Hasher};

/// A flag of a message. Letter case does not tell flags apart.
#[derive(Clone, Debug)]
pub enum Flag {
    /// `\Seen`
    Seen,
    /// `\Answered`
    Answered,
    /// `\Flagged`
    Flagged,
    /// `\Deleted`
    Deleted,
    /// `\Draft`
    Draft,
    /// `\Recent`: said by servers only.
    Recent,
    /// A word without a backslash: `$Forwarded`, `Junk`.
    Keyword(String),
    /// A flag with a backslash that is none of the above, with its backslash.
    Extension(String),
}

const SYSTEM: [(&str, Flag); 6] = [
    ("\\Seen", Flag::Seen),
    ("\\Answered", Flag::Answered),
    ("\\Flagged", Flag::Flagged),
    ("\\Deleted", Flag::Deleted),
    ("\\Draft", Flag::Draft),
    ("\\Recent", Flag::Recent),
];

impl Flag {
    /// Reads a flag; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Flag> {
        if let Some((_, flag)) = SYSTEM.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Some(flag.clone());
        }
        let word = text.strip_prefix('\\').unwrap_or(text);
        // `]` is no atom character but stands in keywords that other programs have set.
        if word.is_empty() || !word.bytes().all(|b| is_atom(b) || b == b']') {
            return None;
        }
        let flag = text.to_owned();
        Some(if word.len() == text.len() { Flag::Keyword(flag) } else { Flag::Extension(flag) })
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Flag::Keyword(text) | Flag::Extension(text) => text,
            Flag::Seen => SYSTEM[0].0,
            Flag::Answered => SYSTEM[1].0,
            Flag::Flagged => SYSTEM[2].0,
            Flag::Deleted => SYSTEM[3].0,
            Flag::Draft => SYSTEM[4].0,
            Flag::Recent => SYSTEM[5].0,
        }
    }

    /// A flag that a client may set. `\Recent` is the server's own, and of flags with a backslash nobody but the
    /// RFCs may make new ones.
    pub(crate) fn scan(c: &mut Cursor<'_>) -> Parsed<Flag> {
        let start = c.rest();
        c.take(b'\\');
        let len = c.run(is_atom).len() + usize::from(start.first() == Some(&b'\\'));
        let flag = std::str::from_utf8(&start[..len]).ok().and_then(Flag::parse);
        match flag.ok_or(Problem::bad("a flag is missing or wrong"))? {
            Flag::Recent => Err(Problem::bad("\\Recent cannot be set")),
            Flag::Extension(_) => Err(Problem::bad("no such flag; a keyword has no backslash")),
            flag => Ok(flag),
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for Flag {
    fn eq(&self, other: &Flag) -> bool {
        self.as_str().eq_ignore_ascii_case(other.as_str())
    }
}

impl Eq for Flag {}

impl PartialOrd for Flag {
    fn partial_cmp(&self, other: &Flag) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flag {
    fn cmp(&self, other: &Flag) -> std::cmp::Ordering {
        let lower = |flag: &Flag| flag.as_str().to_ascii_lowercase();
        lower(self).cmp(&lower(other))
    }
}

impl Hash for Flag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().to_ascii_lowercase().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letter_case_does_not_tell_flags_apart() {
        assert_eq!(Flag::parse("\\sEEN"), Some(Flag::Seen));
        assert_eq!(Flag::parse("$forwarded"), Flag::parse("$Forwarded"));
        assert_ne!(Flag::parse("Seen"), Some(Flag::Seen));
        assert!(matches!(Flag::parse("\\Foo"), Some(Flag::Extension(_))));
        for text in ["", "\\", "a b", "a(", "\\*", "é", "a\\b"] {
            assert_eq!(Flag::parse(text), None, "{text}");
        }
        for (name, flag) in SYSTEM {
            assert_eq!(flag.as_str(), name);
        }
    }
}
