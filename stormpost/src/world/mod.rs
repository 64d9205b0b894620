//! The real outside: wall clock, operating system's randomness, TCP, DNS, the disk.

mod dns;
mod tcp;

pub use dns::Resolver;
pub use tcp::Tcp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use words_mail::Time;
use words_world::{Clock, Random, World};

/// The wall clock of this machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        // A clock before 1970 is a broken clock; the epoch is as good a lie as any.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            // Keys and trace ids made without randomness would be worse than no program at all.
            eprintln!("stormpost: the operating system gives no random bytes; stopping");
            std::process::abort();
        }
    }
}

/// The real world. `name_server` overrides the machine's own resolvers (tests and closed networks).
pub fn real(name_server: Option<SocketAddr>) -> World {
    World {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        disk: Arc::new(stores_log::FileDisk),
        net: Arc::new(Tcp),
        names: Arc::new(Resolver::new(name_server)),
    }
}
