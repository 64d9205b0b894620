//! The threads that write the logs.
//!
//! A writer blocks in `fdatasync`. It has a thread and a small runtime of its own, so that no session waits behind it.

use anyhow::{Context, Result};
use std::thread::JoinHandle;
use std::time::Duration;
use stores_log::{Log, Sealer, Writer};
use tokio::sync::watch;
use tokio::time::sleep;

/// A running writer.
pub struct WriterThread {
    name: &'static str,
    thread: JoinHandle<()>,
}

impl WriterThread {
    /// Runs `work` on a thread called `name` until it ends.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start<F, W>(name: &'static str, work: W) -> Result<WriterThread>
    where
        F: Future<Output = ()>,
        W: FnOnce() -> F + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .with_context(|| format!("starting the {name} writer"))?;
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(work()))
            .with_context(|| format!("starting the {name} writer"))?;
        Ok(WriterThread { name, thread })
    }

    /// Waits until it has written everything and ended.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!(writer = self.name, "the writer of a log ended by a fault of its own");
        }
    }
}

/// What a former life left unsealed can wait: after a start the queue is read first.
const SEAL_AFTER: Duration = Duration::from_secs(15);

async fn seal(sealer: Sealer, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = sleep(SEAL_AFTER) => {}
    }
    sealer.run(stop).await;
}

/// All writers, and the word that ends them.
pub struct Writers {
    threads: Vec<WriterThread>,
    stop: watch::Sender<bool>,
}

impl Default for Writers {
    fn default() -> Writers {
        Writers { threads: Vec::new(), stop: watch::Sender::new(false) }
    }
}

impl Writers {
    /// The word that ends them, for those that listen to it.
    pub fn stop_signal(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Starts the writer of a log, the one of its long bodies, and the one that compresses what is closed.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start_log(&mut self, name: &'static str, log: &Log, mut writer: Writer) -> Result<()> {
        let (sealer, stop) = (log.sealer(), self.stop_signal());
        self.threads.push(WriterThread::start("sealer", move || seal(sealer, stop))?);
        let bodies = writer.split_bodies();
        let stop = self.stop_signal();
        self.threads.push(WriterThread::start(name, move || writer.run(stop))?);
        let stop = self.stop_signal();
        self.threads.push(WriterThread::start("bodies", move || bodies.run(stop))?);
        Ok(())
    }

    /// Ends all writers after everything handed to them is on the disk. To be called when nobody hands over any more.
    pub fn finish(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            thread.join();
        }
    }
}
