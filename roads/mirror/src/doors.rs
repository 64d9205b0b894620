//! How the road reaches a person's mail at the primary.

use stores_primary::store::{MailStore, StoreError};
use words_mail::{AccountId, PrimaryId};
use words_world::Boxed;

/// What a sign-in is for. The two have credentials of their own, so that one can be taken away without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To look.
    Look,
    /// To give back: append, flag, move, remove.
    Change,
}

/// The way into a primary's mailboxes.
pub trait Doors: Send + Sync {
    /// Opens a signed-in connection to one account's mail; `None` when no credential for that is configured.
    fn enter<'a>(
        &'a self,
        primary: &'a PrimaryId,
        account: &'a AccountId,
        right: Right,
    ) -> Boxed<'a, Result<Option<Box<dyn MailStore>>, StoreError>>;
}
