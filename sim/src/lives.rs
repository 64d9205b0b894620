//! Many lives, on as many threads as are wanted.

use crate::fate::Plan;
use crate::life::{Options, Verdict, live};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lives lived at once.
pub const THREADS: usize = 2;

/// Something that several threads add to.
#[derive(Debug, Default)]
pub struct Shared<T>(Mutex<T>);

impl<T: Default> Shared<T> {
    /// Holds it for a moment.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was gathered.
    pub fn take(&self) -> T {
        std::mem::take(&mut self.lock())
    }
}

/// Does `each` with every item, on [`THREADS`] threads.
pub fn in_turn<T: Send>(items: Vec<T>, each: impl Fn(T) + Sync) {
    let left = Mutex::new(VecDeque::from(items));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(item) = next else { return };
                    each(item);
                }
            });
        }
    });
}

/// Lives the lives of `count` seeds from `first` on, and hands each verdict to `each`, in no order, one at a time.
/// `each` says whether to go on.
pub fn lives(first: u64, count: u64, options: Options, each: impl FnMut(u64, Verdict) -> bool + Send) {
    let each = Mutex::new((each, true));
    in_turn((first..first + count).collect(), |seed| {
        let goes_on = || each.lock().unwrap_or_else(PoisonError::into_inner);
        if !goes_on().1 {
            return;
        }
        let verdict = live(&Plan::of(seed), options);
        let (each, on) = &mut *goes_on();
        *on = *on && each(seed, verdict);
    });
}
