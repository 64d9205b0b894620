//! Two copies of a mailbox, brought together without losing anything and without doubling anything.
//!
//! Three questions, each pure:
//!
//! * *Is it the same message?* [`Identity`]: our trace id (K0), or the content (K1, [`ContentHash`]); [`pair`]
//!   matches two folders as multisets, so two equal messages stay two.
//! * *What has to happen?* [`merge`] compares what is here and what is at the primary with the state both last
//!   agreed on, and names the steps on either side and the state they agree on afterwards.
//! * *Which folder is which?* [`unite`] by special use, then by name, at the first meeting; afterwards by identity, and
//!   [`merge_folder`] says what becomes of it. [`join`] does for messages what [`unite`] does for folders.
//!
//! Two more decide whether and how hard: [`Brake`] stops what looks like a disaster at the primary from being followed,
//! [`Pace`] says how much may be asked of a primary.
//!
//! The rules of a merge, in the order in which they bite:
//!
//! 1. What only one side changed, that side wins.
//! 2. A delete loses against any touch since: the message lands in Trash, on both sides.
//! 3. A message put into different folders goes where it was put here; the other is listed.
//! 4. Flags are merged one by one; they cannot conflict, for two changes of one flag are the same change.
//! 5. Arrivals are a union, and so are drafts that were edited on both sides. What was received goes to the primary by
//!    transport, not by import.
//! 6. A folder is removed only where nothing that came or was touched since stands in it.

mod brake;
mod content;
mod folder;
#[cfg(test)]
mod histories;
mod identity;
mod join;
mod pace;
mod plan;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
mod tree;

pub use brake::{Brake, BrakeOptions, Tripped};
pub use content::{ContentHash, ContentHasher};
pub use folder::{Folder, United, Use, unite};
pub use identity::{Identity, Pairing, pair};
pub use join::{Joined, Known, Sighted, join};
pub use pace::{Answer, Pace, PaceOptions};
pub use plan::{FlagChange, Flags, Here, Listed, Merged, Origin, Place, Sides, Step, There, merge};
pub use tree::{At, FolderMerged, FolderSides, FolderStep, free_name, merge_folder};
