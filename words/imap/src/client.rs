//! The client's side: what servers say, and how they are asked.
//!
//! Responses are read tolerantly: what is not known is stepped over, what is malformed inside a known response is left
//! out. Bounds are never exceeded, whatever a server sends.

mod read;
mod request;
mod response;

pub use read::{Garbled, Heard, ResponseReader};
pub use request::{Literals, Request, Unsayable};
pub use response::{Fetched, Listed, Untagged};

#[cfg(test)]
mod tests;
