//! The log as its users see it, on a disk in memory.

use crate::*;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use words_mail::Time;

mod basics;
mod contract;
mod crashes;
mod faults;
mod following;
mod points;
mod real;
mod rewriting;
mod rot;

/// One log on a disk that can be crashed.
struct House {
    disk: FaultDisk,
    world: World,
    options: LogOptions,
}

const KEY: [u8; 32] = [42; 32];

fn keys() -> KeyRing {
    KeyRing::new(KEY, &[])
}

impl House {
    fn new(seed: u64) -> House {
        let disk = FaultDisk::new(seed);
        let clock = Arc::new(TestClock::new(Time::from_seconds(1_000_000)));
        let world = fault_world(&disk, &clock, seed);
        let mut options = LogOptions::new("/log", LogKind::Journal, "node-1");
        options.reserve_bytes = 0;
        House { disk, world, options }
    }

    fn open(&self) -> (Log, Writer, Recovery) {
        Log::open(&self.world, keys(), self.options.clone()).unwrap()
    }

    /// Runs `act` with an open log, then closes it.
    fn with<T, F: Future<Output = T>>(&self, act: impl FnOnce(Log) -> F) -> T {
        run(async {
            let (log, writer, _) = self.open();
            let (stop, shutdown) = watch::channel(false);
            let act = act(log);
            let work = async {
                let result = act.await;
                stop.send_replace(true);
                result
            };
            tokio::join!(work, writer.run(shutdown)).0
        })
    }

    fn records(&self) -> Vec<Record> {
        self.reader().scan(None).map(Result::unwrap).collect()
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.world, keys(), &self.options.dir, LogKind::Journal).unwrap()
    }

    fn segment(&self, number: u64) -> PathBuf {
        crate::segment::path(&self.options.dir, number)
    }
}

/// Runs a future with time that passes at once.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

fn draft(text: &str) -> Draft {
    Draft {
        kind: 7,
        meta: format!("{{\"n\":\"{text}\"}}").into_bytes(),
        body: Body::Inline(format!("body of {text}").into_bytes()),
    }
}

fn body(reader: &Reader, record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.body(record).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}
