//! What happened in a life, with the simulated time: one hash by which two lives are compared, and on wish the lines.

use std::fmt::Arguments;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// The events of one life.
#[derive(Clone)]
pub struct Record {
    began: Instant,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    hash: u64,
    count: u64,
    lines: Option<Vec<String>>,
    aloud: bool,
}

impl Record {
    /// An empty record. `keep` keeps the lines, `aloud` prints them as they come.
    pub fn new(keep: bool, aloud: bool) -> Record {
        let kept = Kept { hash: 0xCBF2_9CE4_8422_2325, count: 0, lines: keep.then(Vec::new), aloud };
        Record { began: Instant::now(), kept: Arc::new(Mutex::new(kept)) }
    }

    /// Notes an event.
    pub fn note(&self, who: &str, what: Arguments<'_>) {
        let line = format!("{:>11.6} {who}: {what}", self.seconds());
        let mut kept = self.kept();
        // FNV-1a: the hash only has to tell two lives apart.
        for byte in line.bytes() {
            kept.hash = (kept.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        kept.count += 1;
        if kept.aloud {
            println!("{line}");
        }
        if let Some(lines) = &mut kept.lines {
            lines.push(line);
        }
    }

    /// Simulated seconds since the life began.
    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// A hash over all events, and how many there were.
    pub fn hash(&self) -> (u64, u64) {
        let kept = self.kept();
        (kept.hash, kept.count)
    }

    /// The lines, if they were kept.
    pub fn lines(&self) -> Vec<String> {
        self.kept().lines.clone().unwrap_or_default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
