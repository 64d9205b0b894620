//! The copy elsewhere, brought up to now again and again while the node runs.
//!
//! It has a thread of its own: it reads the disk for long, and no session waits behind it.

use super::elsewhere;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stores_backup::{Backup, BackupError, Depth, Place};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use words_mail::Time;
use words_world::World;

/// How often everything is compared, and what was erased long ago goes from the copy.
const FULL_EVERY: Duration = Duration::from_secs(3_600);
/// The longest wait after a failure.
const REST_MAX: Duration = Duration::from_secs(600);
/// After a start everything else comes first.
const FIRST_AFTER: Duration = Duration::from_secs(2);

/// How the copy elsewhere stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsiteStanding {
    /// Where it is.
    pub to: String,
    /// Until when accepted mail is in it; none before the first copy.
    pub until: Option<Time>,
    /// How many seconds it is behind now; since the node was started, before the first copy.
    pub seconds_behind: u64,
    /// How many records of the journal were written since.
    pub records_behind: u64,
    /// Whether that is more than it may be.
    pub late: bool,
    /// Why the last try failed, if it did.
    pub failing: Option<String>,
}

impl OffsiteStanding {
    /// For a person.
    pub fn words(&self) -> String {
        let OffsiteStanding { to, seconds_behind, records_behind, .. } = self;
        let mut words = match self.until {
            None => format!("{to}: no copy yet"),
            Some(_) => format!("{to}: {seconds_behind} s and {records_behind} journal records behind"),
        };
        if let Some(why) = &self.failing {
            words.push_str(&format!("; the last try failed: {why}"));
        }
        words
    }

    /// What somebody should see to.
    pub fn warning(&self) -> Option<String> {
        self.late.then(|| {
            format!(
                "the copy elsewhere is further behind than it may be: what came in since is lost if this machine is ({})",
                self.words()
            )
        })
    }
}

/// Looks at the copy elsewhere. Cheap to clone.
#[derive(Clone)]
pub struct OffsiteView {
    inner: Arc<Mutex<Inside>>,
    world: World,
    behind: Duration,
    written: Arc<dyn Fn() -> u64 + Send + Sync>,
}

struct Inside {
    to: String,
    started: Time,
    until: Option<Time>,
    /// What the journal had written when the last copy was begun.
    records: u64,
    failing: Option<String>,
}

impl OffsiteView {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands now.
    pub fn standing(&self) -> OffsiteStanding {
        let inside = self.inside();
        let behind = self.world.clock.now().since(inside.until.unwrap_or(inside.started));
        OffsiteStanding {
            to: inside.to.clone(),
            until: inside.until,
            seconds_behind: behind.as_secs(),
            records_behind: (self.written)().saturating_sub(inside.records),
            late: behind > self.behind,
            failing: inside.failing.clone(),
        }
    }
}

/// The loop that copies.
pub struct OffsiteCopy {
    backup: Backup,
    place: Arc<dyn Place>,
    every: Duration,
    view: OffsiteView,
}

impl OffsiteCopy {
    /// A loop that has not begun. `written` tells how many records the journal has written since the start.
    pub fn new(
        backup: Backup,
        place: Arc<dyn Place>,
        offsite: &crate::configuration::Offsite,
        written: Arc<dyn Fn() -> u64 + Send + Sync>,
    ) -> OffsiteCopy {
        let last = elsewhere::last_copies(&backup.data).into_iter().find(|last| last.to == offsite.to);
        let inside = Inside {
            to: offsite.to.clone(),
            started: backup.world.clock.now(),
            until: last.map(|last| last.until),
            records: 0,
            failing: None,
        };
        let view = OffsiteView {
            inner: Arc::new(Mutex::new(inside)),
            world: backup.world.clone(),
            behind: offsite.behind,
            written,
        };
        OffsiteCopy { backup, place, every: offsite.every, view }
    }

    /// Tells how it stands.
    pub fn view(&self) -> OffsiteView {
        self.view.clone()
    }

    /// Copies until `shutdown` says so. A copy under way is broken off then; the one before it is good.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut rest = FIRST_AFTER;
        let mut full_at = Instant::now();
        let mut failures = 0_u32;
        loop {
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = sleep(rest) => {}
            }
            let depth = if Instant::now() >= full_at { Depth::Full } else { Depth::Quick };
            let records = (self.view.written)();
            let mut hear = |_: &str, _: u64| {};
            let copied = tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                copied = self.backup.run(&*self.place, depth, &mut hear) => copied,
            };
            match copied {
                Ok(copied) => {
                    elsewhere::remember(
                        &self.backup.world,
                        &self.backup.data,
                        &self.view.inside().to,
                        &copied,
                    );
                    if std::mem::take(&mut failures) > 0 {
                        tracing::info!("the copy elsewhere goes on");
                    }
                    if depth == Depth::Full {
                        full_at = Instant::now() + FULL_EVERY;
                    }
                    let mut inside = self.view.inside();
                    inside.until = Some(copied.manifest.until());
                    inside.records = records;
                    inside.failing = None;
                    rest = self.every;
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.failed(&error, failures);
                    let wait =
                        self.every.max(Duration::from_secs(1)) * 2_u32.saturating_pow(failures.min(10));
                    rest = wait.min(REST_MAX).max(self.every);
                }
            }
        }
    }

    fn failed(&self, error: &BackupError, failures: u32) {
        let why = error.to_string();
        if failures == 1 {
            tracing::error!(
                %why, may_pass = error.may_pass(),
                "the copy elsewhere could not be brought up to now; it is tried again, and the one before is good"
            );
        }
        self.view.inside().failing = Some(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Offsite;
    use stores_backup::Folder;
    use stores_log::KeyRing;

    #[tokio::test]
    async fn a_place_that_says_no_is_told_of_and_one_that_is_well_again_is_caught_up_with() {
        let temporary = tempfile::tempdir().unwrap();
        let data = temporary.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let elsewhere = temporary.path().join("elsewhere");
        // A file stands where the folder is to be.
        std::fs::write(&elsewhere, "").unwrap();
        let world = crate::world::real(None);
        let backup = Backup {
            world,
            keys: KeyRing::new([1; 32], &[]),
            data,
            node: "mx".to_owned(),
            program: String::new(),
            extras: Vec::new(),
            left_out: Vec::new(),
            keep: 2,
            copied: std::collections::HashMap::new(),
        };
        let offsite = Offsite {
            to: elsewhere.display().to_string(),
            every: Duration::from_millis(10),
            keep: 2,
            behind: Duration::ZERO,
        };
        let place = Arc::new(Folder::new(&elsewhere));
        let copy = OffsiteCopy::new(backup, place, &offsite, Arc::new(|| 7));
        let view = copy.view();
        let (stop, stopped) = watch::channel(false);
        let watched = async {
            while view.standing().failing.is_none() {
                sleep(Duration::from_millis(10)).await;
            }
            let failing = view.standing();
            assert!(failing.late && failing.until.is_none() && failing.records_behind == 7, "{failing:?}");
            std::fs::remove_file(&elsewhere).unwrap();
            while view.standing().until.is_none() {
                sleep(Duration::from_millis(10)).await;
            }
            let well = view.standing();
            assert!(well.failing.is_none() && well.records_behind == 0, "{well:?}");
            stop.send_replace(true);
        };
        tokio::join!(copy.run(stopped), watched);
        let last = elsewhere::last_copies(&temporary.path().join("data"));
        assert_eq!(last.len(), 1);
    }
}
