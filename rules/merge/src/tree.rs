//! What has to happen to folders so that both sides have the same.

use crate::Listed;
use std::collections::BTreeSet;

/// A folder on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// Under this name (as here).
    Named(String),
    /// It was there and somebody removed it.
    Gone,
    /// It has never been there.
    Never,
}

/// One folder as both sides and their last agreement know it. Which folder is which is known by its number here and its
/// UIDVALIDITY there, or by use and name at the first meeting ([`crate::unite`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderSides {
    /// The name both sides agreed on.
    pub agreed: Option<String>,
    /// Here.
    pub here: At,
    /// At the primary.
    pub there: At,
    /// Whether messages stand in it after the merge of messages, on either side: what was touched or came since.
    pub holds: bool,
}

/// One step with a folder on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderStep {
    /// Make it under this name.
    Create(String),
    /// Give it this name.
    Rename(String),
    /// Remove it; it is empty.
    Delete,
}

/// What has to happen to a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderMerged {
    /// Here.
    pub here: Option<FolderStep>,
    /// At the primary.
    pub there: Option<FolderStep>,
    /// The name both then agree on; `None`: it is gone.
    pub agreed: Option<String>,
    /// What is listed.
    pub listed: Option<Listed>,
}

/// Plans one folder, by the rules of messages: what one side changed, that side wins; both renamed it, the name given here
/// wins and the other is listed; a removal loses against a new name and against messages that came or were touched since.
pub fn merge_folder(sides: &FolderSides) -> FolderMerged {
    let FolderSides { agreed, here, there, holds } = sides;
    match (here, there) {
        (At::Named(here), At::Named(there)) => both(agreed.as_deref(), here, there),
        (At::Named(name), At::Never) => {
            FolderMerged { there: Some(FolderStep::Create(name.clone())), ..agree(name) }
        }
        (At::Never, At::Named(name)) => {
            FolderMerged { here: Some(FolderStep::Create(name.clone())), ..agree(name) }
        }
        (At::Named(name), At::Gone) => match *holds || agreed.as_deref() != Some(name) {
            true => FolderMerged {
                there: Some(FolderStep::Create(name.clone())),
                listed: Some(Listed::FolderRemovedThereUsedHere),
                ..agree(name)
            },
            false => FolderMerged { here: Some(FolderStep::Delete), ..FolderMerged::default() },
        },
        (At::Gone, At::Named(name)) => match *holds || agreed.as_deref() != Some(name) {
            true => FolderMerged {
                here: Some(FolderStep::Create(name.clone())),
                listed: Some(Listed::FolderRemovedHereUsedThere),
                ..agree(name)
            },
            false => FolderMerged { there: Some(FolderStep::Delete), ..FolderMerged::default() },
        },
        (At::Gone | At::Never, At::Gone | At::Never) => FolderMerged::default(),
    }
}

fn agree(name: &str) -> FolderMerged {
    FolderMerged { agreed: Some(name.to_owned()), ..FolderMerged::default() }
}

fn both(agreed: Option<&str>, here: &str, there: &str) -> FolderMerged {
    if here == there {
        return agree(here);
    }
    if agreed == Some(here) {
        return FolderMerged { here: Some(FolderStep::Rename(there.to_owned())), ..agree(there) };
    }
    let listed = (agreed != Some(there)).then_some(Listed::FolderRenamedTwice);
    FolderMerged { there: Some(FolderStep::Rename(here.to_owned())), listed, ..agree(here) }
}

/// A name that is not taken: the wanted one, or the same with a number behind it. For two folders that were given one name
/// on two sides and are not one folder.
pub fn free_name(wanted: &str, taken: &BTreeSet<String>) -> String {
    let numbered = (2u32..).map(|n| format!("{wanted} ({n})"));
    std::iter::once(wanted.to_owned())
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .unwrap_or_else(|| wanted.to_owned())
}
