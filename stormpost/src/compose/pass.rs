//! Whether somebody who was let in may stay.

use super::questions::{Digest, Questions};
use rules_signin::evidence_serves;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stores_directory::{Directory, PasswordStamp};
use stores_ledger::Ledger;
use tokio::time::Instant;
use words_mail::{AccountId, Plane, State};

/// By what somebody was let in.
pub(super) enum Evidence {
    /// The account's own password here, as it was then.
    Own(PasswordStamp),
    /// Its primary's yes, or a verifier of it.
    Primary(Digest),
}

/// One session's right to go on.
pub(super) struct Pass {
    pub(super) directory: Directory,
    pub(super) ledger: Ledger,
    pub(super) questions: Arc<Questions>,
    pub(super) account: AccountId,
    pub(super) evidence: Evidence,
    /// How long the primary's yes serves; not the same for all, so that not everybody comes back in one second.
    pub(super) bound: Duration,
    /// When the primary could last not be asked.
    pub(super) unasked: Mutex<Option<Instant>>,
}

impl roads_imap::Pass for Pass {
    fn stands(&self) -> Result<(), String> {
        let snapshot = self.directory.snapshot();
        match snapshot.account(&self.account) {
            None => return Err("this account is not here any more".to_owned()),
            Some(account) if account.suspended => return Err("this account is suspended".to_owned()),
            Some(_) => {}
        }
        match &self.evidence {
            Evidence::Own(stamp) => match self.directory.password_stamp(&self.account) == Some(*stamp) {
                true => Ok(()),
                false => Err("the password was changed; sign in again".to_owned()),
            },
            Evidence::Primary(digest) => {
                let Some(primary) = snapshot.primary_of(&self.account) else { return Ok(()) };
                let plane = self.ledger.in_force().state_for(primary, Plane::SignIn, &self.account);
                let mut unasked = self.unasked.lock().unwrap_or_else(PoisonError::into_inner);
                if plane != State::Ready {
                    *unasked = Some(Instant::now());
                }
                let confirmed = self.questions.confirmed(digest).map_or(Duration::MAX, |at| at.elapsed());
                match evidence_serves(confirmed, unasked.map(|at| at.elapsed()), plane, self.bound) {
                    true => Ok(()),
                    false => Err("your password was checked a while ago; sign in again".to_owned()),
                }
            }
        }
    }
}
