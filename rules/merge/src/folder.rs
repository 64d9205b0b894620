//! Which folder here is which folder there.

use std::collections::BTreeMap;

/// What a folder is for (RFC 6154 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
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

/// A folder: its path, outermost first, already decoded, and its use. The separator differs between servers, so it
/// is not part of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The path.
    pub path: Vec<String>,
    /// What it is for, if the server says so.
    pub special: Option<Use>,
}

/// What [`unite`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct United {
    /// The path there of each path here that has one.
    pub there: BTreeMap<Vec<String>, Vec<String>>,
    /// Paths here that have to be made there, outer ones first.
    pub make: Vec<Vec<String>>,
}

type Same<'a> = &'a dyn Fn(&Folder, &Folder) -> bool;

/// Finds for each folder here the one there: INBOX is INBOX, then by use, then by the same path. No folder there
/// stands for two here. What is missing there is made under its own name.
pub fn unite(here: &[Folder], there: &[Folder]) -> United {
    let mut united = United::default();
    let mut free: Vec<&Folder> = there.iter().collect();
    let mut take = |wanted: &dyn Fn(&Folder) -> bool| -> Option<Vec<String>> {
        let at = free.iter().position(|folder| wanted(folder))?;
        Some(free.remove(at).path.clone())
    };
    let mut open: Vec<&Folder> = here.iter().collect();
    let rules: [Same<'_>; 3] = [
        &|a, b| is_inbox(a) && is_inbox(b),
        &|a, b| a.special.is_some() && a.special == b.special,
        // By name only where the uses do not contradict each other.
        &|a, b| a.path == b.path && (a.special.is_none() || b.special.is_none()),
    ];
    for same in rules {
        open.retain(|folder| match take(&|other| same(folder, other)) {
            Some(path) => {
                united.there.insert(folder.path.clone(), path);
                false
            }
            None => true,
        });
    }
    united.make = open.into_iter().map(|folder| folder.path.clone()).collect();
    united.make.sort_by_key(|path| path.len());
    united
}

/// RFC 9051 §5.1: INBOX has no letter case.
fn is_inbox(folder: &Folder) -> bool {
    matches!(&folder.path[..], [only] if only.eq_ignore_ascii_case("inbox"))
}
