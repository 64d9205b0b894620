//! Byte streams between two parties.

use crate::Boxed;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection, plain or encrypted.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An accepted connection with the address of its other end.
pub struct Connected {
    /// The bytes.
    pub stream: Box<dyn Stream>,
    /// The other end.
    pub peer: SocketAddr,
    /// This end.
    pub local: SocketAddr,
}

/// A door that connections come in by.
pub trait Listener: Send + Sync {
    /// The next connection. Errors are of that one connection; the door stays open.
    fn accept(&self) -> Boxed<'_, io::Result<Connected>>;

    /// Where the door is, with the port that was really taken.
    fn address(&self) -> SocketAddr;
}

/// The network.
pub trait Net: Send + Sync {
    /// Opens a connection. `TCP_NODELAY` is set: a mail dialogue of small writes would else stall 40 ms a turn.
    fn connect(&self, to: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Stream>>>;

    /// Opens a door.
    fn listen(&self, at: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Listener>>>;

    /// Opens a connection to a door on this machine that is a name in the file system.
    fn connect_local<'a>(&'a self, path: &'a Path) -> Boxed<'a, io::Result<Box<dyn Stream>>>;

    /// Opens a door on this machine that only this user can enter. A name left by a dead process is replaced.
    fn listen_local<'a>(&'a self, path: &'a Path) -> Boxed<'a, io::Result<Box<dyn Listener>>>;
}
