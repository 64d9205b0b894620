//! Many lives, on as many threads as are wanted.

use crate::fate::Plan;
use crate::life::{Options, Verdict, live};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Lives the lives of `count` seeds from `first` on, and hands each verdict to `each`, in no order, one at a time.
/// `each` says whether to go on.
pub fn lives(
    first: u64,
    count: u64,
    threads: usize,
    options: Options,
    each: impl FnMut(u64, Verdict) -> bool + Send,
) {
    let next = AtomicU64::new(first);
    let each = Mutex::new(each);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let verdict = live(&Plan::of(seed), options);
                    if !each.lock().unwrap_or_else(PoisonError::into_inner)(seed, verdict) {
                        next.store(first + count, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}
