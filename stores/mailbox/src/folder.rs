//! Folders of an account, by their names and their uses.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What separates the levels of a folder's name.
pub const SEPARATOR: char = '/';

/// How long a folder's name may be, in bytes.
pub const NAME_BYTES_MAX: usize = 1_000;

/// How many levels a folder's name may have.
pub const LEVELS_MAX: usize = 32;

/// How many folders an account may have.
pub const FOLDERS_MAX: usize = 10_000;

/// The number of a folder: one sequence over all accounts, never reused. A renamed folder keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FolderId(pub u64);

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a folder is for (RFC 6154 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpecialUse {
    /// `\Archive`.
    Archive,
    /// `\Drafts`.
    Drafts,
    /// `\Junk`.
    Junk,
    /// `\Sent`.
    Sent,
    /// `\Trash`.
    Trash,
}

impl SpecialUse {
    /// The attribute as LIST shows it.
    pub fn attribute(self) -> &'static str {
        match self {
            SpecialUse::Archive => "\\Archive",
            SpecialUse::Drafts => "\\Drafts",
            SpecialUse::Junk => "\\Junk",
            SpecialUse::Sent => "\\Sent",
            SpecialUse::Trash => "\\Trash",
        }
    }

    pub(crate) fn from_attribute(text: &str) -> Option<SpecialUse> {
        [SpecialUse::Archive, SpecialUse::Drafts, SpecialUse::Junk, SpecialUse::Sent, SpecialUse::Trash]
            .into_iter()
            .find(|u| u.attribute() == text)
    }
}

/// The folders every account opens with.
pub const STANDARD: [(&str, Option<SpecialUse>); 6] = [
    ("INBOX", None),
    ("Archive", Some(SpecialUse::Archive)),
    ("Drafts", Some(SpecialUse::Drafts)),
    ("Junk", Some(SpecialUse::Junk)),
    ("Sent", Some(SpecialUse::Sent)),
    ("Trash", Some(SpecialUse::Trash)),
];

/// The folder every account has and keeps.
pub const INBOX: &str = "INBOX";

/// The one spelling of a folder's name: `inbox` in any letter case is `INBOX` (RFC 3501 §5.1), and one separator at
/// the end, which some clients write to say "a folder for folders", is dropped.
///
/// # Errors
/// When the name cannot be a folder's; the words can be shown to the person.
pub fn canonical(name: &str) -> Result<String, &'static str> {
    let name = name.strip_suffix(SEPARATOR).unwrap_or(name);
    if name.is_empty() {
        return Err("a folder needs a name");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("the folder's name is longer than 1000 bytes");
    }
    if name.chars().any(|c| c.is_control() || c == '*' || c == '%') {
        return Err("a folder's name cannot hold control characters, * or %");
    }
    let levels = name.split(SEPARATOR).collect::<Vec<_>>();
    if levels.len() > LEVELS_MAX {
        return Err("a folder's name cannot have more than 32 levels");
    }
    if levels.iter().any(|level| level.is_empty()) {
        return Err("a level of the folder's name is empty");
    }
    if levels[0].eq_ignore_ascii_case(INBOX) {
        return Ok(format!("{INBOX}{}", &name[levels[0].len()..]));
    }
    Ok(name.to_owned())
}

/// Whether `name` lies below `above`.
pub fn is_below(name: &str, above: &str) -> bool {
    name.strip_prefix(above).is_some_and(|rest| rest.starts_with(SEPARATOR))
}

/// One folder as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its number.
    pub id: FolderId,
    /// Its whole name, levels separated by [`SEPARATOR`], in Unicode.
    pub name: String,
    /// What it is for.
    pub special: Option<SpecialUse>,
    /// RFC 3501 §2.3.1.1.
    pub uidvalidity: u32,
    /// The UID the next message gets at the earliest.
    pub uidnext: u32,
    /// RFC 7162 `HIGHESTMODSEQ`.
    pub modseq: u64,
}

/// The figures of a folder that `STATUS` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages in it.
    pub messages: u64,
    /// Of these, without `\Seen`.
    pub unseen: u64,
    /// Of these, with `\Deleted`.
    pub deleted: u64,
    /// The sum of their sizes in bytes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        for (given, kept) in [
            ("inbox", Ok("INBOX")),
            ("Inbox/Lists", Ok("INBOX/Lists")),
            ("Projects/2026/", Ok("Projects/2026")),
            ("Entwürfe", Ok("Entwürfe")),
            ("inboxes", Ok("inboxes")),
            ("", Err(())),
            ("/", Err(())),
            ("a//b", Err(())),
            ("/a", Err(())),
            ("a*", Err(())),
            ("a\r\nb", Err(())),
        ] {
            assert_eq!(canonical(given).map_err(|_| ()), kept.map(str::to_owned), "{given:?}");
        }
        assert!(canonical(&"a/".repeat(40)).is_err() && canonical(&"a".repeat(1001)).is_err());
    }

    #[test]
    fn below_means_a_level_below() {
        assert!(is_below("a/b", "a") && is_below("a/b/c", "a/b"));
        assert!(!is_below("ab", "a") && !is_below("a", "a"));
    }
}
