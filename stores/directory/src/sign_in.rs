//! Signing in, as far as the directory can answer it. Whether a captured verifier counts is not decided here: that
//! is a rule, and depends on what the primary answered.

use crate::directory::{Directory, DirectoryError};
use crate::guard::{NoTurn, Turn};
use crate::password::{Busy, CapturedVerifier, PASSWORD_BYTES_MAX};
use std::net::IpAddr;
use std::time::Duration;
use words_mail::{AccountId, PrimaryId};

/// What the directory says to a name and a password.
#[derive(Debug)]
pub enum SignIn {
    /// The account's own password, or one that was right not long ago.
    Yes(AccountId),
    /// No. To the other side every reason reads the same.
    No(Refusal),
    /// The account's password is its primary's: ask there, then tell the directory what it said
    /// ([`Directory::primary_said_yes`], [`Directory::primary_said_no`]).
    Ask(Question),
}

/// Why not; for the log, not for the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such account, or not its password.
    Wrong,
    /// The account is suspended.
    Suspended,
    /// Too many failures; no password is looked at for so long.
    TooMany(Duration),
    /// Too many passwords wait to be checked: a temporary failure.
    Busy,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Wrong => f.write_str("no such account, or not its password"),
            Refusal::Suspended => f.write_str("the account is suspended"),
            Refusal::TooMany(wait) => write!(f, "too many failures, again in {} s", wait.as_secs()),
            Refusal::Busy => f.write_str("too many sign-ins at once"),
        }
    }
}

/// Whom to ask. While it lives nobody else tries this account from the same place: keep it until the answer is told.
#[derive(Debug)]
pub struct Question {
    /// The account that wants in.
    pub account: AccountId,
    /// The mail system that knows its password.
    pub primary: PrimaryId,
    _turn: Turn,
}

/// What the captured verifier of an account says to a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captured {
    /// There is none.
    None,
    /// It is the password the primary said yes to.
    Matches {
        /// The primary has since said no to it.
        suspended: bool,
    },
    /// It is another password.
    Differs,
}

/// Tells one password of an account from the one that was set after it, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordStamp([u8; 32]);

impl Directory {
    /// Checks a name and a password: limits first, then the short memory, then the account's own password.
    /// An unknown name takes as long as a wrong password.
    pub async fn sign_in(&self, name: &str, password: &str, from: IpAddr) -> SignIn {
        let snapshot = self.snapshot();
        let account = snapshot.login(name);
        // Names that exist and names that do not are counted alike, or the limit itself would tell them apart.
        let id = account.map_or_else(|| AccountId::new(name), |account| account.id());
        let turn = match self.guard().turn(&id, from).await {
            Ok(turn) => turn,
            Err(NoTurn::TooMany(wait)) => return SignIn::No(Refusal::TooMany(wait)),
            Err(NoTurn::Busy) => return SignIn::No(Refusal::Busy),
        };
        let Some(account) = account else {
            return self.refuse(&id, password, from, Refusal::Wrong).await;
        };
        if account.suspended {
            return self.refuse(&id, password, from, Refusal::Suspended).await;
        }
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return self.refuse(&id, "", from, Refusal::Wrong).await;
        }
        if self.digests().knows(&id, password) {
            self.guard().succeeded(&id, from);
            return SignIn::Yes(id);
        }
        let local = self.credentials(&id).local;
        if let Some(verifier) = &local {
            match self.mill().matches(verifier, password).await {
                Ok(true) => {
                    self.remember_if(&id, password, true, |now| now.local == local);
                    self.guard().succeeded(&id, from);
                    return SignIn::Yes(id);
                }
                Ok(false) => {}
                Err(Busy) => return SignIn::No(Refusal::Busy),
            }
        }
        match snapshot.primary_of(&id) {
            Some(primary) => SignIn::Ask(Question { account: id, primary: primary.clone(), _turn: turn }),
            None if local.is_some() => {
                self.guard().failed(&id, from);
                SignIn::No(Refusal::Wrong)
            }
            None => self.refuse(&id, password, from, Refusal::Wrong).await,
        }
    }

    async fn refuse(&self, id: &AccountId, password: &str, from: IpAddr, why: Refusal) -> SignIn {
        // Counted before the slow part, so that many guesses at once cannot all slip under the limit.
        self.guard().failed(id, from);
        match self.mill().waste(password).await {
            Ok(()) => SignIn::No(why),
            Err(Busy) => SignIn::No(Refusal::Busy),
        }
    }

    /// What the captured verifier of `account` from `source` says to this password. Slow: one argon2.
    ///
    /// # Errors
    /// [`Busy`], which decides nothing.
    pub async fn captured(
        &self,
        account: &AccountId,
        source: &PrimaryId,
        password: &str,
    ) -> Result<Captured, Busy> {
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Ok(Captured::None);
        }
        let Some(kept) = self.captured_verifier(account, source) else {
            self.mill().waste(password).await?;
            return Ok(Captured::None);
        };
        let matches = self.mill().matches(&kept.verifier, password).await?;
        Ok(if matches { Captured::Matches { suspended: kept.suspended } } else { Captured::Differs })
    }

    fn captured_verifier(&self, account: &AccountId, source: &PrimaryId) -> Option<CapturedVerifier> {
        self.credentials(account).captured.into_iter().find(|c| c.source == *source)
    }

    /// The primary said yes to this password: the sign-in counts, and the verifier is captured or renewed.
    ///
    /// The yes stands whatever becomes of the verifier; a failure to keep it is returned for the log only.
    ///
    /// # Errors
    /// When the verifier could not be made ([`Busy`]) or the account is gone.
    pub async fn primary_said_yes(
        &self,
        question: &Question,
        password: &str,
        from: IpAddr,
    ) -> Result<(), DirectoryError> {
        self.guard().succeeded(&question.account, from);
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Ok(());
        }
        let kept = self.captured_verifier(&question.account, &question.primary);
        if let Some(kept) = kept
            && !kept.suspended
            && self.mill().matches(&kept.verifier, password).await?
        {
            self.remember_if(&question.account, password, false, |_| true);
            return Ok(());
        }
        let verifier = self.mill().hash(password, self.random()).await?;
        let captured =
            CapturedVerifier { source: question.primary.clone(), at: self.now(), verifier, suspended: false };
        self.keep_captured(&question.account, captured)?;
        self.remember_if(&question.account, password, false, |_| true);
        Ok(())
    }

    /// The sign-in failed: counts against the account and the address. Whether the verifier is to be suspended is
    /// a rule's decision, see [`Directory::suspend_verifier`].
    pub fn primary_said_no(&self, question: &Question, from: IpAddr) {
        self.digests().forget(&question.account);
        self.guard().failed(&question.account, from);
    }

    /// The sign-in was let through by the captured verifier, because the primary gave no answer.
    pub fn verifier_said_yes(&self, question: &Question, password: &str, from: IpAddr) {
        self.guard().succeeded(&question.account, from);
        self.remember_if(&question.account, password, false, |now| {
            now.captured.iter().any(|c| c.source == question.primary && !c.suspended)
        });
    }

    /// By what a password was right that was let in a moment ago: the account's own password here, with its present
    /// stamp; `None` when it was its primary's, or that is not known any more.
    pub fn own_password(&self, account: &AccountId, password: &str) -> Option<PasswordStamp> {
        self.digests().knows_own(account, password).then(|| self.password_stamp(account)).flatten()
    }

    /// The stamp of the account's own password here; it changes with every password that is set.
    pub fn password_stamp(&self, account: &AccountId) -> Option<PasswordStamp> {
        self.credentials(account).local.map(|local| PasswordStamp(local.stamp()))
    }

    /// Remembers a right password for a short while, unless the account was changed while it was being checked.
    fn remember_if(
        &self,
        account: &AccountId,
        password: &str,
        own: bool,
        still: impl FnOnce(&crate::password::Credentials) -> bool,
    ) {
        let snapshot = self.snapshot();
        let open = snapshot.account(account).is_some_and(|a| !a.suspended);
        if open && still(&self.credentials(account)) {
            self.digests().remember(account, password, own);
        }
    }
}
