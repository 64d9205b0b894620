//! What each primary last said it takes. The edge offers no more, also while the primary is gone.
//!
//! Never authoritative: a primary that was not heard yet takes everything. The process that probes writes the file,
//! the edge reads it; it may be lost at no cost but messages that come back from the primary.

use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use words_mail::{PrimaryId, Takes};
use words_world::Disk;

/// The file's name.
const FILE: &str = "takes.json";

/// What every primary takes; clones share it.
#[derive(Clone, Debug, Default)]
pub struct PrimariesTake(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    primaries: BTreeMap<PrimaryId, Takes>,
    generation: u64,
    written: u64,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    generation: u64,
    primaries: BTreeMap<PrimaryId, Takes>,
}

impl PrimariesTake {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Remembers what a primary said.
    pub fn learn(&self, primary: &PrimaryId, takes: Takes) {
        let mut state = self.lock();
        if state.primaries.get(primary) != Some(&takes) {
            state.primaries.insert(primary.clone(), takes);
            state.generation += 1;
        }
    }

    /// What it said last; `None` when it was never heard.
    pub fn of(&self, primary: &PrimaryId) -> Option<Takes> {
        self.lock().primaries.get(primary).copied()
    }

    /// Whether every primary that was heard says no to international addresses. Without any, nobody says no.
    pub fn nobody_takes_utf8(&self) -> bool {
        let state = self.lock();
        !state.primaries.is_empty() && state.primaries.values().all(|takes| !takes.utf8)
    }

    /// Octets of the largest message that any primary takes; `None` when one names no bound, or none was heard.
    pub fn most(&self) -> Option<u64> {
        let state = self.lock();
        let each: Option<Vec<u64>> = state.primaries.values().map(Takes::most).collect();
        each?.into_iter().max()
    }

    /// Forgets primaries that are not configured any more.
    pub fn keep(&self, wanted: impl Fn(&PrimaryId) -> bool) {
        let mut state = self.lock();
        let before = state.primaries.len();
        state.primaries.retain(|id, _| wanted(id));
        if state.primaries.len() != before {
            state.generation += 1;
        }
    }

    /// Reads the file of another process that does the probing.
    pub(crate) fn load(&self, disk: &dyn Disk, dir: &Path) -> Result<(), files::FileError> {
        let path = dir.join(FILE);
        let Some(generation) = files::generation(disk, &path)? else { return Ok(()) };
        if generation == self.lock().written && generation != 0 {
            return Ok(());
        }
        let Some(file) = files::load::<File>(disk, &path)? else { return Ok(()) };
        let mut state = self.lock();
        state.primaries = file.primaries;
        (state.generation, state.written) = (file.generation, file.generation);
        Ok(())
    }

    /// Writes the file if there is anything new.
    pub(crate) fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<(), files::FileError> {
        let file = {
            let state = self.lock();
            if state.generation == state.written {
                return Ok(());
            }
            File { format: files::FORMAT, generation: state.generation, primaries: state.primaries.clone() }
        };
        files::save(disk, &dir.join(FILE), &file)?;
        self.lock().written = file.generation;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::disk::MemoryDisk;

    fn takes(size: Option<u64>, utf8: bool) -> Takes {
        Takes { size, utf8 }
    }

    #[test]
    fn no_more_is_offered_than_somebody_takes() {
        let all = PrimariesTake::default();
        assert!(!all.nobody_takes_utf8() && all.most().is_none(), "nobody was heard yet");
        all.learn(&PrimaryId("hq".into()), takes(Some(10_000_000), false));
        assert!(all.nobody_takes_utf8());
        assert_eq!(all.most(), Some(10_000_000 - 4_096), "with our lines on top it still fits");
        all.learn(&PrimaryId("branch".into()), takes(Some(50_000_000), true));
        assert!(!all.nobody_takes_utf8());
        assert_eq!(all.most(), Some(50_000_000 - 4_096));
        all.learn(&PrimaryId("old".into()), takes(None, false));
        assert_eq!(all.most(), None);
        all.keep(|id| id.0 == "hq");
        assert!(all.nobody_takes_utf8());
    }

    #[test]
    fn another_process_reads_what_was_heard() {
        let disk = MemoryDisk::new();
        let disk = disk.as_ref();
        let dir = Path::new("/directory");
        disk.make_dir(dir).unwrap();
        let (prober, edge) = (PrimariesTake::default(), PrimariesTake::default());
        let hq = PrimaryId("hq".into());
        edge.load(disk, dir).unwrap();
        assert_eq!(edge.of(&hq), None);
        for said in [takes(Some(1_000_000), true), takes(None, false)] {
            prober.learn(&hq, said);
            prober.save(disk, dir).unwrap();
            edge.load(disk, dir).unwrap();
            assert_eq!(edge.of(&hq), Some(said));
        }
    }
}
