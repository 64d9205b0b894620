//! The directory of a running node, or of a command that has the data directory for itself.

use crate::account::{Account, Domain, NewAccount, Origin};
use crate::files::{self, FORMAT, FileError};
use crate::guard::{Guard, Guards};
use crate::learned::Learned;
use crate::password::{Busy, CapturedVerifier, Credentials, Digests, Hashing, Mill, PASSWORD_BYTES_MAX};
use crate::snapshot::{Conflict, Snapshot};
use crate::table::{ACCOUNTS_MAX, Row, TableFault};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use words_mail::{AccountId, PrimaryId, Time};
use words_world::{Random, World};

/// The file that the edge reads.
pub(crate) const ADDRESSES: &str = "directory.json";
/// The file that only sign-in reads.
pub(crate) const CREDENTIALS: &str = "credentials.json";
/// Sources whose verifiers are kept for one account; the oldest goes.
const SOURCES_MAX: usize = 8;

/// How a directory is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of its files.
    pub dir: PathBuf,
    /// Argon2id parameters and how many at once.
    pub hashing: Hashing,
    /// Limits on guessing.
    pub guards: Guards,
    /// For so long a password that was right is not hashed again; at most 15 minutes.
    pub digest_age: Duration,
    /// Learned recipients kept.
    pub learned_max: usize,
    /// For so long a learned recipient is believed.
    pub learned_age: Duration,
    /// How often learned recipients and captured verifiers are written to disk.
    pub flush_every: Duration,
    /// Whether this process asks primaries about recipients. The one that does writes `learned.json`, others read it.
    pub learns: bool,
}

impl Options {
    /// The defaults, with the files in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            hashing: Hashing::default(),
            guards: Guards::default(),
            digest_age: DIGEST_AGE_MAX,
            learned_max: 100_000,
            learned_age: Duration::from_secs(30 * 86_400),
            flush_every: Duration::from_secs(5),
            learns: true,
        }
    }
}

/// A disabled account is out after this long at the latest.
pub const DIGEST_AGE_MAX: Duration = Duration::from_secs(15 * 60);
/// Digests remembered.
const DIGESTS_MAX: usize = 100_000;

/// Why the directory did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file could not be read or written; nothing was changed.
    #[error("{0}; nothing was changed")]
    File(#[from] FileError),
    /// What was asked for contradicts itself or what is here; nothing was changed.
    #[error("{}", list(.0))]
    Conflicts(Vec<Conflict>),
    /// Lines of a table that contradict each other or what is here; nothing was changed.
    #[error("{}", list(.0))]
    Table(Vec<TableFault>),
    /// There is no such account.
    #[error("there is no account {0}")]
    NoAccount(AccountId),
    /// The account is listed in the configuration, so only that can remove it.
    #[error("{0} is listed in the configuration; remove it there and restart, or suspend it")]
    Listed(AccountId),
    /// More accounts than a directory holds.
    #[error("the directory would hold {0} accounts; the most is {ACCOUNTS_MAX}")]
    TooMany(usize),
    /// The password cannot be used.
    #[error("{0}")]
    Password(&'static str),
    /// Too many passwords are being hashed.
    #[error(transparent)]
    Busy(#[from] Busy),
}

fn list<T: std::fmt::Display>(faults: &[T]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What became of one account in an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// Its name, aliases or class changed.
    Changed,
    /// It was so already.
    Same,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// New accounts.
    pub added: usize,
    /// Accounts whose name, aliases or class changed.
    pub changed: usize,
    /// Accounts that were so already.
    pub same: usize,
}

/// Who could sign in right now if the primary were gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Accounts that are not suspended and not devices.
    pub accounts: usize,
    /// Those of them with a password of their own here or a captured verifier that is not suspended.
    pub able: usize,
}

/// `directory.json`. The generation stands near the beginning, see [`files::generation`].
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AddressFile {
    pub(crate) format: u32,
    pub(crate) generation: u64,
    pub(crate) domains: Vec<Domain>,
    pub(crate) accounts: Vec<Account>,
}

#[derive(Default)]
struct CredentialState {
    accounts: BTreeMap<AccountId, Credentials>,
    dirty: bool,
}

#[derive(Serialize)]
struct CredentialFileRef<'a> {
    format: u32,
    accounts: &'a BTreeMap<AccountId, Credentials>,
}

#[derive(Deserialize)]
struct CredentialFile {
    accounts: BTreeMap<AccountId, Credentials>,
}

struct Inner {
    world: World,
    options: Options,
    addresses: Mutex<AddressFile>,
    credentials: Mutex<CredentialState>,
    learned: Learned,
    snapshot: watch::Sender<Arc<Snapshot>>,
    mill: Mill,
    digests: Digests,
    guard: Guard,
}

/// The directory. Clones share it. Calls that write block until the disk has it.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let snapshot = self.snapshot();
        write!(f, "Directory({} accounts, generation {})", snapshot.accounts().len(), snapshot.generation())
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Directory {
    /// Opens the directory; an empty one where there are no files yet. Call [`Directory::configure`] before any
    /// door is opened, or every recipient is somebody else's.
    ///
    /// # Errors
    /// When a file is there but cannot be read or understood.
    pub fn open(world: &World, mut options: Options) -> Result<Directory, DirectoryError> {
        options.digest_age = options.digest_age.min(DIGEST_AGE_MAX);
        let disk = world.disk.as_ref();
        disk.make_dir(&options.dir).map_err(|error| FileError::Disk { path: options.dir.clone(), error })?;
        let addresses = files::load(disk, &options.dir.join(ADDRESSES))?.unwrap_or(AddressFile {
            format: FORMAT,
            generation: 0,
            domains: Vec::new(),
            accounts: Vec::new(),
        });
        let accounts = files::load::<CredentialFile>(disk, &options.dir.join(CREDENTIALS))?
            .map(|file| file.accounts)
            .unwrap_or_default();
        let learned = Learned::new(options.learned_max, options.learned_age);
        // A memory only: better to ask the primary again than not to start.
        if let Err(error) = learned.load(disk, &options.dir) {
            tracing::warn!(%error, "learned recipients are forgotten");
        }
        if let Err(error) = learned.takes().load(disk, &options.dir) {
            tracing::warn!(%error, "what primaries take is forgotten");
        }
        let (snapshot, _) = build(&addresses, &learned);
        let random = world.random.as_ref();
        Ok(Directory(Arc::new(Inner {
            mill: Mill::new(options.hashing, random),
            digests: Digests::new(random, options.digest_age, DIGESTS_MAX),
            guard: Guard::new(options.guards),
            world: world.clone(),
            options,
            addresses: Mutex::new(addresses),
            credentials: Mutex::new(CredentialState { accounts, dirty: false }),
            learned,
            snapshot: watch::Sender::new(Arc::new(snapshot)),
        })))
    }

    /// The present state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.borrow().clone()
    }

    /// The present state and every later one.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.snapshot.subscribe()
    }

    /// The recipients learned by asking primaries.
    pub fn learned(&self) -> &Learned {
        &self.0.learned
    }

    /// Writes a changed address file, then shows it. A failed write changes nothing.
    fn publish(&self, state: &mut AddressFile, mut next: AddressFile) -> Result<(), DirectoryError> {
        next.generation = state.generation + 1;
        let (snapshot, _) = build(&next, &self.0.learned);
        files::save(self.0.world.disk.as_ref(), &self.0.options.dir.join(ADDRESSES), &next)?;
        *state = next;
        self.0.snapshot.send_replace(Arc::new(snapshot));
        Ok(())
    }

    /// Takes over domains and accounts from the configuration. Accounts that people added stay; configured ones
    /// that are listed no more go. A suspension outlives it. Returns what of the added accounts no longer fits.
    ///
    /// # Errors
    /// When the configuration contradicts itself; nothing is changed then.
    pub fn configure(
        &self,
        domains: Vec<Domain>,
        accounts: Vec<NewAccount>,
    ) -> Result<Vec<Conflict>, DirectoryError> {
        let mut state = unpoisoned(&self.0.addresses);
        let before: HashMap<AccountId, &Account> = state.accounts.iter().map(|a| (a.id(), a)).collect();
        let mut listed = HashSet::with_capacity(accounts.len());
        let mut twice = Vec::new();
        let mut next = Vec::with_capacity(accounts.len());
        for new in accounts {
            let account = adopt(new, Origin::Configured, false);
            let suspended = before.get(&account.id()).is_some_and(|b| b.suspended);
            if !listed.insert(account.id()) {
                let words = "this account is listed twice; keep one".to_owned();
                let (subject, account) = (account.address.to_string(), Some(account.id()));
                twice.push(Conflict { subject, account, words });
                continue;
            }
            next.push(Account { suspended, ..account });
        }
        let stay = state.accounts.iter().filter(|a| a.origin == Origin::Added && !listed.contains(&a.id()));
        next.extend(stay.cloned());
        if next.len() > ACCOUNTS_MAX {
            return Err(DirectoryError::TooMany(next.len()));
        }
        let next = AddressFile { format: FORMAT, generation: state.generation, domains, accounts: next };
        let (_, conflicts) = build(&next, &self.0.learned);
        // What a person added may come to contradict a later configuration; that must not keep the node from starting.
        let (added, listed): (Vec<_>, Vec<_>) =
            conflicts.into_iter().partition(|c| c.account.as_ref().is_some_and(|id| !listed.contains(id)));
        let faults: Vec<_> = twice.into_iter().chain(listed).collect();
        if !faults.is_empty() {
            return Err(DirectoryError::Conflicts(faults));
        }
        let unchanged = next.domains == state.domains && next.accounts == state.accounts;
        if !unchanged || state.generation == 0 {
            self.publish(&mut state, next)?;
        }
        Ok(added)
    }

    /// Adds accounts, or changes name, aliases and class of those that are here. All of them or none.
    ///
    /// # Errors
    /// Every line that cannot be taken, with what is in its way.
    pub fn import(&self, rows: Vec<Row>) -> Result<Imported, DirectoryError> {
        let mut state = unpoisoned(&self.0.addresses);
        let mut next = state.clone();
        let mut places: HashMap<AccountId, usize> =
            next.accounts.iter().enumerate().map(|(at, a)| (a.id(), at)).collect();
        let mut imported = Imported::default();
        let mut lines = HashMap::with_capacity(rows.len());
        for Row { line, account } in rows {
            let new = adopt(account, Origin::Added, false);
            lines.insert(new.id(), line);
            match places.get(&new.id()) {
                Some(at) => {
                    let old = &mut next.accounts[*at];
                    let new = Account { suspended: old.suspended, origin: old.origin, ..new };
                    let same = new == *old && new.address.to_string() == old.address.to_string();
                    *if same { &mut imported.same } else { &mut imported.changed } += 1;
                    *old = new;
                }
                None => {
                    places.insert(new.id(), next.accounts.len());
                    next.accounts.push(new);
                    imported.added += 1;
                }
            }
        }
        if next.accounts.len() > ACCOUNTS_MAX {
            return Err(DirectoryError::TooMany(next.accounts.len()));
        }
        let (_, conflicts) = build(&next, &self.0.learned);
        let faults: Vec<TableFault> = conflicts
            .into_iter()
            .filter_map(|c| Some((*lines.get(c.account.as_ref()?)?, c)))
            .map(|(line, conflict)| TableFault { line, words: conflict.to_string() })
            .collect();
        if !faults.is_empty() {
            return Err(DirectoryError::Table(faults));
        }
        if imported.added + imported.changed > 0 {
            self.publish(&mut state, next)?;
        }
        Ok(imported)
    }

    /// Adds one account, or changes it if it is here.
    ///
    /// # Errors
    /// When one of its addresses belongs to somebody else or to no domain of ours.
    pub fn add(&self, account: NewAccount) -> Result<Change, DirectoryError> {
        let imported = self.import(vec![Row { line: 0, account }])?;
        Ok(match imported {
            Imported { added: 1, .. } => Change::Added,
            Imported { changed: 1, .. } => Change::Changed,
            _ => Change::Same,
        })
    }

    /// Removes an account that a person added, with its credentials. Its mail stays where it is.
    ///
    /// # Errors
    /// When there is no such account, or the configuration lists it.
    pub fn remove(&self, id: &AccountId) -> Result<(), DirectoryError> {
        let mut state = unpoisoned(&self.0.addresses);
        let mut next = state.clone();
        match next.accounts.iter().position(|a| a.id() == *id) {
            None => return Err(DirectoryError::NoAccount(id.clone())),
            Some(at) if next.accounts[at].origin == Origin::Configured => {
                return Err(DirectoryError::Listed(id.clone()));
            }
            Some(at) => next.accounts.remove(at),
        };
        self.publish(&mut state, next)?;
        drop(state);
        self.0.digests.forget(id);
        self.change_credentials(id, |credentials| *credentials = Credentials::default())
    }

    /// Suspends or resumes an account. A suspended one is refused at once, also by the short memory of passwords;
    /// its mail is still taken in.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn suspend(&self, id: &AccountId, suspended: bool) -> Result<(), DirectoryError> {
        let mut state = unpoisoned(&self.0.addresses);
        let mut next = state.clone();
        let account = next.accounts.iter_mut().find(|a| a.id() == *id);
        account.ok_or_else(|| DirectoryError::NoAccount(id.clone()))?.suspended = suspended;
        self.publish(&mut state, next)?;
        self.0.digests.forget(id);
        Ok(())
    }

    /// Sets an account's own password here.
    ///
    /// # Errors
    /// When there is no such account or the password is empty, too long, or has control characters.
    pub fn set_password(&self, id: &AccountId, password: &str) -> Result<(), DirectoryError> {
        if !unpoisoned(&self.0.addresses).accounts.iter().any(|a| a.id() == *id) {
            return Err(DirectoryError::NoAccount(id.clone()));
        }
        if password.is_empty() {
            return Err(DirectoryError::Password("the password is empty"));
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(DirectoryError::Password("the password is longer than 1,024 bytes"));
        }
        if password.chars().any(char::is_control) {
            return Err(DirectoryError::Password("the password has a control character"));
        }
        let verifier = self.0.mill.hash_now(password, self.random());
        let verifier = verifier.ok_or(DirectoryError::Password("the password could not be hashed"))?;
        self.change_credentials(id, |credentials| credentials.local = Some(verifier))?;
        self.0.digests.forget(id);
        Ok(())
    }

    /// Takes an account's own password here away; then only its primary's counts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn clear_password(&self, id: &AccountId) -> Result<(), DirectoryError> {
        self.change_credentials(id, |credentials| credentials.local = None)?;
        self.0.digests.forget(id);
        Ok(())
    }

    /// Suspends captured verifiers: a primary said no to the very password each one matches. Never deletes one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn suspend_verifier(&self, id: &AccountId, source: &PrimaryId) -> Result<(), DirectoryError> {
        self.0.digests.forget(id);
        self.change_credentials(id, |credentials| {
            let of_source = credentials.captured.iter_mut().filter(|c| c.source == *source);
            of_source.for_each(|c| c.suspended = true);
        })
    }

    /// Takes a suspension of a captured verifier back: many refusals at once were an outage, not people leaving.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn resume_verifier(&self, id: &AccountId, source: &PrimaryId) -> Result<(), DirectoryError> {
        self.change_credentials(id, |credentials| {
            let of_source = credentials.captured.iter_mut().filter(|c| c.source == *source);
            of_source.for_each(|c| c.suspended = false);
        })
    }

    /// Keeps a captured verifier; written at the next flush, since losing one costs one sign-in through the primary.
    pub(crate) fn keep_captured(
        &self,
        id: &AccountId,
        captured: CapturedVerifier,
    ) -> Result<(), DirectoryError> {
        if self.snapshot().account(id).is_none() {
            return Err(DirectoryError::NoAccount(id.clone()));
        }
        let mut state = unpoisoned(&self.0.credentials);
        let credentials = state.accounts.entry(id.clone()).or_default();
        credentials.captured.retain(|c| c.source != captured.source);
        credentials.captured.push(captured);
        if credentials.captured.len() > SOURCES_MAX {
            credentials.captured.remove(0);
        }
        state.dirty = true;
        Ok(())
    }

    /// Changes one account's credentials, durably before it returns. A failed write changes nothing.
    fn change_credentials(
        &self,
        id: &AccountId,
        change: impl FnOnce(&mut Credentials),
    ) -> Result<(), DirectoryError> {
        let mut state = unpoisoned(&self.0.credentials);
        let old = state.accounts.get(id).cloned();
        let mut new = old.clone().unwrap_or_default();
        change(&mut new);
        if Some(&new) == old.as_ref() || (old.is_none() && new.is_empty()) {
            return Ok(());
        }
        if new.is_empty() {
            state.accounts.remove(id);
        } else {
            state.accounts.insert(id.clone(), new);
        }
        let written = self.write_credentials(&mut state);
        if written.is_err() {
            match old {
                Some(old) => state.accounts.insert(id.clone(), old),
                None => state.accounts.remove(id),
            };
        }
        Ok(written?)
    }

    fn write_credentials(&self, state: &mut CredentialState) -> Result<(), FileError> {
        let file = CredentialFileRef { format: FORMAT, accounts: &state.accounts };
        files::save(self.0.world.disk.as_ref(), &self.0.options.dir.join(CREDENTIALS), &file)?;
        state.dirty = false;
        Ok(())
    }

    /// Writes what is not written yet: captured verifiers and learned recipients.
    ///
    /// # Errors
    /// When a file cannot be written; it is tried again at the next flush.
    pub fn flush(&self) -> Result<(), DirectoryError> {
        let disk = self.0.world.disk.as_ref();
        {
            let mut state = unpoisoned(&self.0.credentials);
            if state.dirty {
                self.write_credentials(&mut state)?;
            }
        }
        self.0.learned.expire(self.now());
        if self.0.options.learns {
            self.0.learned.save(disk, &self.0.options.dir)?;
        } else {
            self.0.learned.load(disk, &self.0.options.dir)?;
        }
        self.0.learned.takes().save(disk, &self.0.options.dir)?;
        Ok(())
    }

    /// Flushes again and again until told to stop, and once more then.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let stop = tokio::select! {
                biased;
                stopped = shutdown.wait_for(|stop| *stop) => { let _ = stopped; true }
                () = tokio::time::sleep(self.0.options.flush_every) => false,
            };
            let flushed = if self.0.options.hashing.inline {
                Ok(self.flush())
            } else {
                let directory = self.clone();
                tokio::task::spawn_blocking(move || directory.flush()).await
            };
            if let Ok(Err(error)) = flushed {
                tracing::warn!(%error, "the directory could not be written; it is tried again");
            }
            if stop {
                return;
            }
        }
    }

    /// Who could sign in here right now if the primary were gone.
    pub fn coverage(&self) -> Coverage {
        let snapshot = self.snapshot();
        let state = unpoisoned(&self.0.credentials);
        let mut coverage = Coverage::default();
        for account in snapshot.accounts() {
            let id = account.id();
            if account.suspended || account.class == crate::Class::Device || snapshot.account(&id).is_none() {
                continue;
            }
            coverage.accounts += 1;
            let primary = snapshot.primary_of(&id);
            coverage.able += usize::from(state.accounts.get(&id).is_some_and(|c| {
                c.local.is_some() || c.captured.iter().any(|v| !v.suspended && Some(&v.source) == primary)
            }));
        }
        coverage
    }

    pub(crate) fn credentials(&self, id: &AccountId) -> Credentials {
        unpoisoned(&self.0.credentials).accounts.get(id).cloned().unwrap_or_default()
    }

    /// Whether the account has a password of its own here.
    pub fn has_password(&self, id: &AccountId) -> bool {
        self.credentials(id).local.is_some()
    }

    /// Whether, for each source, a verifier was captured, when, and whether it is suspended.
    pub fn verifiers(&self, id: &AccountId) -> Vec<(PrimaryId, Time, bool)> {
        self.credentials(id).captured.into_iter().map(|c| (c.source, c.at, c.suspended)).collect()
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.0.guard
    }

    pub(crate) fn digests(&self) -> &Digests {
        &self.0.digests
    }

    pub(crate) fn mill(&self) -> &Mill {
        &self.0.mill
    }

    pub(crate) fn random(&self) -> &dyn Random {
        self.0.world.random.as_ref()
    }

    pub(crate) fn now(&self) -> Time {
        self.0.world.clock.now()
    }
}

fn adopt(new: NewAccount, origin: Origin, suspended: bool) -> Account {
    let NewAccount { address, name, aliases, class } = new;
    Account { address, name, aliases, class, suspended, origin }
}

pub(crate) fn build(file: &AddressFile, learned: &Learned) -> (Snapshot, Vec<Conflict>) {
    Snapshot::build(file.generation, &file.domains, file.accounts.clone(), learned.clone())
}
