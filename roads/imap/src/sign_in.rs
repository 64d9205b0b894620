//! Signing in; who may is decided elsewhere.

use std::net::IpAddr;
use std::sync::Arc;
use words_mail::AccountId;
use words_world::Boxed;

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignInRefusal {
    /// The name and the password do not go together, or the account is suspended: `NO [AUTHENTICATIONFAILED]`.
    /// Nothing else is told, so that nobody learns which names exist.
    Wrong,
    /// It cannot be decided now, in these words: `NO [UNAVAILABLE]`.
    Later(String),
}

/// The right of one session to go on, after its sign-in.
pub trait Pass: Send + Sync {
    /// Whether it still stands. Must not wait; it is asked every few seconds.
    ///
    /// # Errors
    /// Why the session ends, in words for the person.
    fn stands(&self) -> Result<(), String>;
}

/// Decides about sign-ins. It limits guessing by account; this road limits it by address.
pub trait SignIn: Send + Sync {
    /// Whether `user` with `password` from `peer` may read mail, and whose.
    fn check<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
        peer: IpAddr,
    ) -> Boxed<'a, Result<AccountId, SignInRefusal>>;

    /// What a session is held to that was let in as `account` with `password` a moment ago; `None` for nothing.
    fn pass(&self, account: &AccountId, password: &str) -> Option<Arc<dyn Pass>> {
        let _ = (account, password);
        None
    }
}
