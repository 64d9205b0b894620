//! A small world around a [`FaultDisk`], for the tests of stores: a clock that is set by hand, seeded randomness,
//! no network.

use crate::FaultDisk;
use crate::shared::lock;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use words_mail::Time;
use words_world::{Boxed, Clock, Listener, Mx, NameError, Names, Net, Random, Stream, World};

/// A clock that stands still until it is told.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// A clock that shows `now`.
    pub fn new(now: Time) -> TestClock {
        TestClock(AtomicI64::new(now.0))
    }

    /// Sets it.
    pub fn set(&self, now: Time) {
        self.0.store(now.0, Ordering::Release);
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().after(by));
    }
}

impl Clock for TestClock {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::Acquire))
    }
}

/// Bytes that follow from a seed.
#[derive(Debug)]
pub struct SeededRandom(Mutex<(u64, u64)>);

impl SeededRandom {
    /// The bytes of one seed.
    pub fn new(seed: u64) -> SeededRandom {
        SeededRandom(Mutex::new((seed, 0)))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = lock(&self.0);
        state.1 += 1;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&state.0.to_le_bytes());
        hasher.update(&state.1.to_le_bytes());
        hasher.finalize_xof().fill(bytes);
    }
}

struct Nowhere;

impl Net for Nowhere {
    fn connect(&self, _to: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(io::ErrorKind::NetworkUnreachable.into()) })
    }

    fn listen(&self, _at: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::NetworkUnreachable.into()) })
    }

    fn connect_local<'a>(&'a self, _to: &'a Path) -> Boxed<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }

    fn listen_local<'a>(&'a self, _at: &'a Path) -> Boxed<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

impl Names for Nowhere {
    fn mx<'a>(&'a self, _domain: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>> {
        Box::pin(async { Err(NameError::NotFound) })
    }

    fn addresses<'a>(&'a self, _host: &'a str) -> Boxed<'a, Result<Vec<IpAddr>, NameError>> {
        Box::pin(async { Err(NameError::NotFound) })
    }
}

/// A world of `disk` and a clock, with randomness from `seed`, without a network.
pub fn fault_world(disk: &FaultDisk, clock: &Arc<TestClock>, seed: u64) -> World {
    World {
        clock: clock.clone(),
        random: Arc::new(SeededRandom::new(seed)),
        disk: Arc::new(disk.clone()),
        net: Arc::new(Nowhere),
        names: Arc::new(Nowhere),
    }
}
