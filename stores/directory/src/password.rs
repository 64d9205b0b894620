//! Passwords: how they are kept (argon2id), compared, and remembered for a short while.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use words_mail::{AccountId, PrimaryId, Time};
use words_world::Random;

/// A longer password is wrong without being looked at.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Bytes of salt, as RFC 9106 §3.1 recommends.
const SALT_BYTES: usize = 16;

/// How passwords are hashed, and how many at once.
#[derive(Clone, Copy, Debug)]
pub struct Hashing {
    /// Memory of one hash, KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// Hashes computed at the same time.
    pub parallel: usize,
    /// Checks that may wait for their turn; one more is told to come back later.
    pub waiting_max: usize,
    /// Compute on the caller's thread. Only for the simulation, where every thread would be a dice roll.
    pub inline: bool,
}

impl Default for Hashing {
    /// The OWASP recommendation: 19 MiB, two passes; two at a time.
    fn default() -> Hashing {
        Hashing { memory_kib: 19 * 1024, passes: 2, parallel: 2, waiting_max: 256, inline: false }
    }
}

/// Too many passwords wait to be checked; a temporary failure, nothing was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many sign-ins at once; try again in a moment")]
pub struct Busy;

/// An argon2id hash in PHC form. Never shown: `Debug` prints none of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Verifier(String);

impl Verifier {
    /// Changes with every password that is set.
    pub(crate) fn stamp(&self) -> [u8; 32] {
        *blake3::hash(self.0.as_bytes()).as_bytes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

impl Verifier {
    fn new(password: &str, salt: &[u8], hashing: &Hashing) -> Option<Verifier> {
        let params = Params::new(hashing.memory_kib, hashing.passes, 1, None).ok()?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash: PasswordHash = argon2.hash_password_with_salt(password.as_bytes(), salt).ok()?;
        Some(Verifier(hash.to_string()))
    }

    fn matches(&self, password: &str) -> bool {
        let Ok(hash) = PasswordHash::new(&self.0) else {
            tracing::error!("a kept password hash cannot be read; the password must be set again");
            return false;
        };
        Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
    }
}

/// A password for one device, made by Stormpost. Kept in the file's format from the beginning, so that a later
/// version can hand them out without a new format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppPassword {
    pub(crate) label: String,
    pub(crate) made: Time,
    pub(crate) verifier: Verifier,
}

/// A verifier made when a primary said yes to a password that was presented here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CapturedVerifier {
    pub(crate) source: PrimaryId,
    pub(crate) at: Time,
    pub(crate) verifier: Verifier,
    /// The primary has since said no to this very password.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) suspended: bool,
}

/// All that one account can prove itself by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) local: Option<Verifier>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) captured: Vec<CapturedVerifier>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) app_passwords: Vec<AppPassword>,
}

impl Credentials {
    pub(crate) fn is_empty(&self) -> bool {
        self.local.is_none() && self.captured.is_empty() && self.app_passwords.is_empty()
    }
}

/// Computes hashes, so many at a time, away from the threads that serve mail.
pub(crate) struct Mill {
    hashing: Hashing,
    permits: Semaphore,
    waiting: AtomicUsize,
    /// What a password is compared with when there is nothing to compare it with, so that the time an answer
    /// takes does not tell who exists.
    nobody: Option<Verifier>,
}

impl fmt::Debug for Mill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mill({:?})", self.hashing)
    }
}

impl Mill {
    pub(crate) fn new(hashing: Hashing, random: &dyn Random) -> Mill {
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt);
        Mill {
            hashing,
            permits: Semaphore::new(hashing.parallel.max(1)),
            waiting: AtomicUsize::new(0),
            nobody: Verifier::new("nobody", &salt, &hashing),
        }
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        /// Leaves the queue also when the caller gives up waiting.
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        if before >= self.hashing.waiting_max.saturating_add(self.hashing.parallel) {
            return Err(Busy);
        }
        let permit = self.permits.acquire().await.map_err(|_| Busy)?;
        let result = if self.hashing.inline {
            work()
        } else {
            tokio::task::spawn_blocking(work).await.map_err(|_| Busy)?
        };
        drop(permit);
        drop(waiting);
        Ok(result)
    }

    /// Hashes a password on this thread; for the command line.
    pub(crate) fn hash_now(&self, password: &str, random: &dyn Random) -> Option<Verifier> {
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt);
        Verifier::new(password, &salt, &self.hashing)
    }

    pub(crate) async fn hash(&self, password: &str, random: &dyn Random) -> Result<Verifier, Busy> {
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt);
        let (password, hashing) = (password.to_owned(), self.hashing);
        self.run(move || Verifier::new(&password, &salt, &hashing)).await?.ok_or(Busy)
    }

    pub(crate) async fn matches(&self, verifier: &Verifier, password: &str) -> Result<bool, Busy> {
        let (verifier, password) = (verifier.clone(), password.to_owned());
        self.run(move || verifier.matches(&password)).await
    }

    /// Takes as long as a comparison and is always wrong.
    pub(crate) async fn waste(&self, password: &str) -> Result<(), Busy> {
        if let Some(nobody) = &self.nobody {
            self.matches(nobody, password).await?;
        }
        Ok(())
    }
}

/// Digests of passwords that were right a short while ago, keyed by a secret that dies with the process.
pub(crate) struct Digests {
    key: [u8; 32],
    age_max: Duration,
    digests_max: usize,
    seen: Mutex<HashMap<AccountId, Digest>>,
}

/// One right password.
#[derive(Clone, Copy)]
struct Digest {
    hash: blake3::Hash,
    at: Instant,
    /// It is the account's own password here, and no primary's.
    own: bool,
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digests(..)")
    }
}

impl Digests {
    pub(crate) fn new(random: &dyn Random, age_max: Duration, digests_max: usize) -> Digests {
        let mut key = [0; 32];
        random.fill(&mut key);
        Digests { key, age_max, digests_max: digests_max.max(1), seen: Mutex::default() }
    }

    fn digest(&self, account: &AccountId, password: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(account.as_str().as_bytes()).update(&[0]).update(password.as_bytes());
        hasher.finalize()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<AccountId, Digest>> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn remember(&self, account: &AccountId, password: &str, own: bool) {
        let hash = self.digest(account, password);
        let now = Instant::now();
        let mut seen = self.lock();
        if seen.len() >= self.digests_max && !seen.contains_key(account) {
            seen.retain(|_, digest| now.duration_since(digest.at) < self.age_max);
            if seen.len() >= self.digests_max {
                // Only a cache: the next sign-in of those costs one more argon2.
                seen.clear();
            }
        }
        seen.insert(account.clone(), Digest { hash, at: now, own });
    }

    /// Whether this password was right for this account not long ago. Compared in constant time.
    pub(crate) fn knows(&self, account: &AccountId, password: &str) -> bool {
        self.look(account, password).is_some()
    }

    /// Whether it was right because it is the account's own password here.
    pub(crate) fn knows_own(&self, account: &AccountId, password: &str) -> bool {
        self.look(account, password).is_some_and(|digest| digest.own)
    }

    fn look(&self, account: &AccountId, password: &str) -> Option<Digest> {
        let hash = self.digest(account, password);
        let known = self.lock().get(account).copied();
        known.filter(|known| known.at.elapsed() < self.age_max && known.hash == hash)
    }

    pub(crate) fn forget(&self, account: &AccountId) {
        self.lock().remove(account);
    }
}
