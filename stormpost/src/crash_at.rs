//! Dying on purpose, for the stories that prove what a crash leaves.

use std::sync::atomic::{AtomicU32, Ordering};

/// In a build with debug assertions, `STORMPOST_CRASH_AT=name` in the environment makes the process kill itself
/// without warning when it passes that named place, `name:3` when it passes it the third time. In a release nothing
/// reads the variable.
pub fn arm() {
    if !cfg!(debug_assertions) {
        return;
    }
    let Ok(wish) = std::env::var("STORMPOST_CRASH_AT") else { return };
    let (name, time) = match wish.rsplit_once(':') {
        Some((name, time)) => (name.to_owned(), time.parse().unwrap_or(1)),
        None => (wish, 1),
    };
    let passed = AtomicU32::new(0);
    words_world::on_crash_point(true, move |place| {
        if place == name && passed.fetch_add(1, Ordering::Relaxed) + 1 == time {
            // No destructor runs and nothing is flushed: as if the machine's owner had killed it.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    });
}
