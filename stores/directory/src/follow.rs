//! The directory as a process of its own reads it: the edge, with everything else dead or alive.

use crate::directory::{ADDRESSES, AddressFile, DirectoryError, Options, build};
use crate::files::{self, FileError};
use crate::learned::Learned;
use crate::snapshot::Snapshot;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use words_world::World;

/// How often the file is asked whether it changed; a look at its first bytes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Follows `directory.json` of a directory that another process keeps.
pub struct Follower {
    world: World,
    options: Options,
    learned: Learned,
    snapshot: watch::Sender<Arc<Snapshot>>,
}

impl Follower {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not there or cannot be read: an edge that knows no domain would refuse everybody's mail for good,
    /// so it must not start.
    pub fn open(world: &World, options: Options) -> Result<Follower, DirectoryError> {
        let learned = Learned::new(options.learned_max, options.learned_age);
        if let Err(error) = learned.load(world.disk.as_ref(), &options.dir) {
            tracing::warn!(%error, "learned recipients are forgotten");
        }
        if let Err(error) = learned.takes().load(world.disk.as_ref(), &options.dir) {
            tracing::warn!(%error, "what primaries take is forgotten");
        }
        let path = options.dir.join(ADDRESSES);
        let Some(file) = files::load::<AddressFile>(world.disk.as_ref(), &path)? else {
            let error = io::Error::new(io::ErrorKind::NotFound, "not there yet; start the main process once");
            return Err(FileError::Disk { path, error }.into());
        };
        let snapshot = watch::Sender::new(Arc::new(build(&file, &learned).0));
        Ok(Follower { world: world.clone(), options, learned, snapshot })
    }

    /// The present state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// The present state and every later one.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.subscribe()
    }

    /// The recipients learned by asking primaries; this process writes them when `learns` is set.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Looks for a newer file once. What cannot be read leaves the last good state in force.
    ///
    /// # Errors
    /// The reason why it could not be read.
    pub fn look(&self) -> Result<(), DirectoryError> {
        let disk = self.world.disk.as_ref();
        let path = self.options.dir.join(ADDRESSES);
        let present = self.snapshot().generation();
        let written = files::generation(disk, &path)?;
        if written.is_some_and(|written| written != present || written == 0)
            && let Some(file) = files::load::<AddressFile>(disk, &path)?
        {
            self.snapshot.send_replace(Arc::new(build(&file, &self.learned).0));
        }
        self.learned.expire(self.world.clock.now());
        if self.options.learns {
            self.learned.save(disk, &self.options.dir)?;
        } else {
            self.learned.load(disk, &self.options.dir)?;
        }
        self.learned.takes().load(disk, &self.options.dir)?;
        Ok(())
    }

    /// Follows until told to stop.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let follower = Arc::new(self);
        loop {
            let stop = tokio::select! {
                biased;
                stopped = shutdown.wait_for(|stop| *stop) => { let _ = stopped; true }
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let looked = if follower.options.hashing.inline {
                Ok(follower.look())
            } else {
                let follower = follower.clone();
                tokio::task::spawn_blocking(move || follower.look()).await
            };
            if let Ok(Err(error)) = looked {
                tracing::warn!(%error, "the directory could not be read; the last state stays in force");
            }
            if stop {
                return;
            }
        }
    }
}
