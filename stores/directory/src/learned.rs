//! Recipients that a primary said yes to when it was asked.
//!
//! Never authoritative: not being here proves nothing. Bounded in number and age; the file is only a memory of
//! them and may be lost at no cost but questions asked again.

use crate::files;
use crate::takes::PrimariesTake;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use words_mail::{Address, PrimaryId, Time};
use words_world::Disk;

/// The file's name.
pub(crate) const FILE: &str = "learned.json";

/// One learned recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedRecipient {
    /// Its address.
    pub address: Address,
    /// The primary that said yes.
    pub primary: PrimaryId,
    /// When it said so last.
    pub at: Time,
}

/// The learned recipients; clones share them.
#[derive(Clone)]
pub struct Learned {
    state: Arc<Mutex<State>>,
    recipients_max: usize,
    age_max: Duration,
    takes: PrimariesTake,
}

#[derive(Default)]
struct State {
    recipients: HashMap<String, LearnedRecipient>,
    generation: u64,
    written: u64,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    generation: u64,
    recipients: Vec<LearnedRecipient>,
}

impl Default for Learned {
    fn default() -> Learned {
        Learned::new(100_000, Duration::from_secs(30 * 86_400))
    }
}

impl fmt::Debug for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Learned({} recipients)", self.len())
    }
}

impl Learned {
    /// An empty memory of at most so many recipients, each forgotten when it was not confirmed for so long.
    pub fn new(recipients_max: usize, age_max: Duration) -> Learned {
        let takes = PrimariesTake::default();
        Learned { state: Arc::default(), recipients_max: recipients_max.max(1), age_max, takes }
    }

    /// What each primary last said it takes.
    pub fn takes(&self) -> &PrimariesTake {
        &self.takes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Remembers a primary's yes. When full, the sixteenth part that was confirmed longest ago goes.
    pub fn learn(&self, address: &Address, primary: &PrimaryId, now: Time) {
        let mut state = self.lock();
        let known = state.recipients.contains_key(&address.key());
        if !known && state.recipients.len() >= self.recipients_max {
            let mut times: Vec<Time> = state.recipients.values().map(|r| r.at).collect();
            let nth = (times.len() / 16).min(times.len() - 1);
            let cut = *times.select_nth_unstable(nth).1;
            let mut room = nth + 1;
            state.recipients.retain(|_, r| {
                let goes = r.at <= cut && room > 0;
                room -= usize::from(goes);
                !goes
            });
        }
        let recipient = LearnedRecipient { address: address.clone(), primary: primary.clone(), at: now };
        state.recipients.insert(address.key(), recipient);
        state.generation += 1;
    }

    /// Forgets a recipient: its primary said no for good.
    pub fn forget(&self, address: &Address) {
        let mut state = self.lock();
        if state.recipients.remove(&address.key()).is_some() {
            state.generation += 1;
        }
    }

    /// When that primary said yes to this recipient last, without its plus-tag if need be.
    pub fn find(&self, address: &Address, primary: &PrimaryId) -> Option<Time> {
        let state = self.lock();
        let find = |key: String| state.recipients.get(&key).filter(|r| r.primary == *primary).map(|r| r.at);
        find(address.key()).or_else(|| find(address.without_tag()?.key()))
    }

    /// Forgets what was not confirmed for too long.
    pub fn expire(&self, now: Time) {
        let oldest = now.before(self.age_max);
        let mut state = self.lock();
        let before = state.recipients.len();
        state.recipients.retain(|_, r| r.at >= oldest);
        if state.recipients.len() != before {
            state.generation += 1;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().recipients.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, by address.
    pub fn list(&self) -> Vec<LearnedRecipient> {
        let mut list: Vec<_> = self.lock().recipients.values().cloned().collect();
        list.sort_by_cached_key(|r| r.address.key());
        list
    }

    /// Reads the file of another process that does the learning. A file that cannot be read teaches nothing.
    pub(crate) fn load(&self, disk: &dyn Disk, dir: &Path) -> Result<(), files::FileError> {
        let path = dir.join(FILE);
        let Some(generation) = files::generation(disk, &path)? else { return Ok(()) };
        if generation == self.lock().written && generation != 0 {
            return Ok(());
        }
        let Some(file) = files::load::<File>(disk, &path)? else { return Ok(()) };
        let mut state = self.lock();
        state.recipients = file
            .recipients
            .into_iter()
            .take(self.recipients_max)
            .map(|recipient| (recipient.address.key(), recipient))
            .collect();
        state.generation = file.generation;
        state.written = file.generation;
        Ok(())
    }

    /// Writes the file if there is anything new.
    pub(crate) fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<(), files::FileError> {
        let generation = {
            let state = self.lock();
            if state.generation == state.written {
                return Ok(());
            }
            state.generation
        };
        let file = File { format: files::FORMAT, generation, recipients: self.list() };
        files::save(disk, &dir.join(FILE), &file)?;
        self.lock().written = generation;
        Ok(())
    }
}
