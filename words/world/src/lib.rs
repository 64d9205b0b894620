//! The outside as traits: clock, disk, network, names, randomness.
//!
//! Roads and stores reach the outside only through these, so that the simulation can put a whole Stormpost
//! through outages, torn writes and clock jumps in milliseconds. The program gives them their real
//! implementations. Sleeping and time-outs use the runtime's monotonic clock, which the simulation also controls.

mod crash;
mod disk;
mod http;
mod names;
mod net;

pub use crash::{crash_point, on_crash_point};
pub use disk::{Disk, DiskFile, Entry};
pub use http::{HttpAnswer, Url};
pub use names::{Mx, NameError, Names, Proved, Tlsa};
pub use net::{Connected, Listener, Net, Stream};

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use words_mail::Time;

/// A future that a trait object can return.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The wall clock. It may jump in either direction; nothing that must not jump is measured with it.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Time;
}

/// Unpredictable bytes, fit for keys.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// A number below `limit`, for jitter; `0` when `limit` is zero.
    fn below(&self, limit: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        if limit == 0 { 0 } else { u64::from_le_bytes(bytes) % limit }
    }
}

/// Everything outside, as one value that is handed to each road and store.
#[derive(Clone)]
pub struct World {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The network.
    pub net: Arc<dyn Net>,
    /// Look-ups in the DNS.
    pub names: Arc<dyn Names>,
}
