//! The real outside: wall clock, operating system's randomness, TCP, DNS, the disk.

mod dns;
mod proof;
mod tcp;

pub use dns::Resolver;
pub use tcp::Tcp;

use crate::sockets::Kept;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
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
    fn fill(&self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            match getrandom(&mut *bytes, GetRandomFlags::empty()) {
                Ok(filled) => bytes = &mut bytes[filled..],
                Err(Errno::INTR) => {}
                Err(_) => {
                    // Keys and trace ids made without randomness would be worse than no program at all.
                    eprintln!("stormpost: the operating system gives no random bytes; stopping");
                    std::process::abort();
                }
            }
        }
    }
}

/// Lets the library that encrypts connections gather its own randomness, which takes it some 50 ms the first time: on a
/// thread of its own, before anybody waits for it.
pub fn gather_randomness() {
    std::thread::spawn(|| aws_lc_rs::rand::fill(&mut [0; 1]));
}

/// The real world. `name_server` overrides the machine's own resolvers (tests and closed networks).
pub fn real(name_server: Option<SocketAddr>) -> World {
    with_sockets(name_server, Kept::default())
}

/// The real world with listening sockets that are there already.
pub fn with_sockets(name_server: Option<SocketAddr>, kept: Kept) -> World {
    World {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        disk: Arc::new(stores_log::FileDisk),
        net: Arc::new(Tcp { kept }),
        names: Arc::new(Resolver::new(name_server)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_asked_for_is_filled_with_something_else_each_time() {
        let mut long = [vec![0; 100_000], vec![0; 100_000]];
        long.iter_mut().for_each(|bytes| SystemRandom.fill(bytes));
        assert_ne!(long[0], long[1]);
        // Of as many bytes, one in 256 is nought.
        assert!(long.iter().all(|bytes| bytes.iter().filter(|byte| **byte == 0).count() < 1_000));
    }
}
