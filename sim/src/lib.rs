//! Whole lives of a Stormpost in milliseconds.
//!
//! The real logs, roads and stores run over a simulated disk, network, clock and randomness. One seed is one
//! life: peace, outage, return, crashes, torn writes, full disks, partitions, clock jumps. Checkers that share no
//! code with the product judge the end. A failing seed replays exactly.

pub mod clock;
pub mod dialogue;
pub mod dice;
pub mod fate;
pub mod judge;
pub mod life;
pub mod lives;
pub mod net;
pub mod node;
pub mod person;
pub mod power;
pub mod primary;
pub mod record;
pub mod sender;
pub mod supervisor;
pub mod ways;
