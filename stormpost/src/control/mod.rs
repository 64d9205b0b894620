//! How commands talk to the running node: one local socket, one JSON request a connection, a stream of JSON answers.
//!
//! The socket is `control.sock` in the data folder, mode 0600: who may open it may do everything. Formats in
//! [`protocol`], the caller's side in [`client`], the node's in [`answer`].

pub mod answer;
pub mod client;
pub mod protocol;
