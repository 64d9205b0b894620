//! Measuring from outside: one load client, one sink, and the servers to compare, on the same disk in the same run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod accept;
pub mod bars;
pub mod imap;
pub mod load;
pub mod peers;
pub mod sink;
pub mod small;
pub mod spam;
