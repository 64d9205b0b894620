//! What has to happen so that both sides agree again.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A message's flags: system flags (`\Seen`) and keywords, in lower case. `\Recent` is none of them.
pub type Flags = BTreeSet<String>;

/// Where a message stands: folder and flags. Folders are named as here; [`crate::unite`] translates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The folder.
    pub folder: String,
    /// The flags.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub flags: Flags,
}

impl Place {
    /// A place with these flags.
    pub fn new(folder: &str, flags: &[&str]) -> Place {
        Place { folder: folder.to_owned(), flags: flags.iter().map(|f| f.to_lowercase()).collect() }
    }
}

/// The message in our mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Here {
    /// Here.
    At(Place),
    /// It was here and a person removed it for good.
    Gone,
    /// It has never been here.
    Never,
}

/// The message at the primary, as far as that was looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum There {
    /// There.
    At(Place),
    /// It was seen there, and a whole look at all folders does not find it any more.
    Gone,
    /// It has never been seen there: not delivered yet, or not looked for yet. *Not* the same as gone.
    Never,
}

/// How a message came to be: decides by which door it may go to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It came by SMTP: it goes to the primary by transport, so that its filters, rules and journaling run.
    Received,
    /// A person wrote it (sent mail, drafts) or put it here: it goes there by import.
    Written,
}

/// One message as both sides and their last agreement know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sides {
    /// How it came to be.
    pub origin: Origin,
    /// Where both sides agreed it stands. For mail received in an event and delivered since: where it was shown here
    /// when it came, untouched. `None` when they never agreed on anything.
    pub agreed: Option<Place>,
    /// Here.
    pub here: Here,
    /// At the primary.
    pub there: There,
}

/// A change of flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagChange {
    /// Flags to set.
    pub add: Flags,
    /// Flags to clear.
    pub remove: Flags,
}

impl FlagChange {
    fn between(from: &Flags, to: &Flags) -> FlagChange {
        FlagChange {
            add: to.difference(from).cloned().collect(),
            remove: from.difference(to).cloned().collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

/// One step on one side. In this order they can be carried out one after the other, and each again after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put the message there, with its date: import at the primary, or a copy from the primary here.
    Append(Place),
    /// Change its flags.
    Flag(FlagChange),
    /// Move it to a folder.
    Move(String),
    /// Remove it: by UID, and only this one.
    Expunge,
}

/// What a person should be able to look up afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Listed {
    /// Both sides had moved it; it stands where it was moved here.
    MovedTwice,
    /// It was deleted here and touched at the primary; it is in Trash.
    DeletedHereTouchedThere,
    /// It was deleted at the primary and touched here; it is in Trash.
    DeletedThereTouchedHere,
    /// Both sides gave the folder another name; it has the one given here.
    FolderRenamedTwice,
    /// The folder was removed here and used at the primary; it stays.
    FolderRemovedHereUsedThere,
    /// The folder was removed at the primary and used here; it stays.
    FolderRemovedThereUsedHere,
}

/// What has to happen, and what both sides agree on once it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Steps here.
    pub here: Vec<Step>,
    /// Steps at the primary.
    pub there: Vec<Step>,
    /// The state both then agree on; `None`: the message is gone on both sides, or nothing is agreed yet.
    pub agreed: Option<Place>,
    /// It waits for transport: nothing may be done to it at the primary before it was seen there.
    pub waits: bool,
    /// What is listed.
    pub listed: Option<Listed>,
}

/// Plans one message. `trash` is the folder that a lost delete lands in.
///
/// Carrying the steps out and planning again gives no steps: the plan is its own proof of being whole.
pub fn merge(sides: &Sides, trash: &str) -> Merged {
    match (&sides.here, &sides.there) {
        (Here::At(here), There::At(there)) => both(sides.agreed.as_ref(), here, there),
        (Here::At(here), There::Gone) => one_gone(sides, here, trash, Listed::DeletedThereTouchedHere),
        (Here::Gone, There::At(there)) => one_gone(sides, there, trash, Listed::DeletedHereTouchedThere),
        (Here::At(here), There::Never) => match sides.origin {
            Origin::Received => Merged { agreed: sides.agreed.clone(), waits: true, ..Merged::default() },
            Origin::Written => Merged {
                there: vec![Step::Append(here.clone())],
                agreed: Some(here.clone()),
                ..Merged::default()
            },
        },
        (Here::Never, There::At(there)) => Merged {
            here: vec![Step::Append(there.clone())],
            agreed: Some(there.clone()),
            ..Merged::default()
        },
        // It is deleted here before it was delivered: it is delivered first, and removed when it is seen.
        (Here::Gone, There::Never) if sides.origin == Origin::Received => {
            Merged { agreed: sides.agreed.clone(), waits: true, ..Merged::default() }
        }
        (Here::Gone | Here::Never, There::Gone | There::Never) => Merged::default(),
    }
}

/// Both have it.
fn both(agreed: Option<&Place>, here: &Place, there: &Place) -> Merged {
    let (folder, listed) = match agreed {
        _ if here.folder == there.folder => (&here.folder, None),
        Some(base) if base.folder == here.folder => (&there.folder, None),
        Some(base) if base.folder == there.folder => (&here.folder, None),
        Some(_) | None => (&here.folder, Some(Listed::MovedTwice)),
    };
    let none = Flags::new();
    // Without an agreement a flag was set by somebody on one of the sides: none is lost.
    let base = agreed.map_or(&none, |place| &place.flags);
    let changed = |flag: &&String| here.flags.contains(*flag) != base.contains(*flag);
    let flags: Flags = here
        .flags
        .union(&there.flags)
        .chain(base)
        .filter(|flag| if changed(flag) { here.flags.contains(*flag) } else { there.flags.contains(*flag) })
        .cloned()
        .collect();
    let place = Place { folder: folder.clone(), flags };
    Merged {
        here: steps(here, &place),
        there: steps(there, &place),
        agreed: Some(place),
        waits: false,
        listed,
    }
}

/// One side removed it; the other has `left`. Either order of the sides reads the same.
fn one_gone(sides: &Sides, left: &Place, trash: &str, listed: Listed) -> Merged {
    let here_has_it = matches!(sides.here, Here::At(_));
    let mut merged = Merged::default();
    let touched = sides.agreed.as_ref() != Some(left);
    let (with, without) = if here_has_it {
        (&mut merged.here, &mut merged.there)
    } else {
        (&mut merged.there, &mut merged.here)
    };
    if touched {
        let place = Place { folder: trash.to_owned(), flags: left.flags.clone() };
        *with = steps(left, &place);
        *without = vec![Step::Append(place.clone())];
        merged.agreed = Some(place);
        merged.listed = Some(listed);
    } else {
        *with = vec![Step::Expunge];
    }
    merged
}

/// From one place to another. Flags first: a move gives a new UID.
fn steps(from: &Place, to: &Place) -> Vec<Step> {
    let change = FlagChange::between(&from.flags, &to.flags);
    let flag = (!change.is_empty()).then_some(Step::Flag(change));
    let moved = (from.folder != to.folder).then(|| Step::Move(to.folder.clone()));
    flag.into_iter().chain(moved).collect()
}
