//! Listening sockets that outlive the process that opened them.
//!
//! A restart or an upgrade refuses no connection because the socket itself is never closed: it goes from the old
//! process to the new one, and whoever calls in between waits in the system's queue. It is kept meanwhile by the
//! service manager ([`given`]), by the process that is being replaced ([`pass`]), or, for the edge, by the inside.
//! Two sockets on one port (`SO_REUSEPORT`) would not do: what waits in the queue of the one that closes is cut off.

mod given;
mod pass;

pub use given::given;
pub(crate) use given::name;
pub use pass::{Asked, ask, hand_out, receive, send};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections the kernel keeps for us while we are busy; beyond it clients see a slow answer, not a refusal.
const BACKLOG: i32 = 4_096;

/// The sockets of this process, by their addresses. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    sockets: BTreeMap<SocketAddr, TcpListener>,
    /// Asked for in this life: the others were left by another configuration.
    wanted: BTreeSet<SocketAddr>,
    /// Nothing is kept any more.
    closed: bool,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a socket that somebody else opened; what is no listening TCP socket, or is here already, is closed.
    pub fn add(&self, socket: OwnedFd) {
        // Whoever gave it may have a shorter queue in mind, and this tells too whether it is a listening one.
        let listens = sockopt::socket_acceptconn(&socket).unwrap_or(false);
        if !listens || listen(&socket, BACKLOG).is_err() {
            return;
        }
        let listener = TcpListener::from(socket);
        let ready = listener.set_nonblocking(true).and_then(|()| listener.local_addr());
        if let Ok(at) = ready {
            self.lock().sockets.entry(at).or_insert(listener);
        }
    }

    /// The socket at `at`: a second handle to the one that is kept, or a new one, which is kept from now on.
    ///
    /// # Errors
    /// The system's: the port is taken, or may not be used.
    pub fn listener(&self, at: SocketAddr) -> io::Result<TcpListener> {
        let mut inner = self.lock();
        if let Some(kept) = inner.sockets.get(&at) {
            let listener = kept.try_clone()?;
            inner.wanted.insert(at);
            return Ok(listener);
        }
        let listener = open(at)?;
        // Port 0 means any, and the next one who asks for it wants another.
        if at.port() != 0 && !inner.closed {
            inner.sockets.insert(at, listener.try_clone()?);
            inner.wanted.insert(at);
        }
        Ok(listener)
    }

    /// Says that the socket at `at` is for somebody, even when nobody here asks for it.
    pub fn want(&self, at: SocketAddr) {
        self.lock().wanted.insert(at);
    }

    /// Whether the socket at `at` is kept.
    pub fn has(&self, at: SocketAddr) -> bool {
        self.lock().sockets.contains_key(&at)
    }

    /// Handles to all of them, with their addresses.
    pub fn all(&self) -> Vec<(SocketAddr, OwnedFd)> {
        let inner = self.lock();
        let clone =
            |(at, kept): (&SocketAddr, &TcpListener)| Some((*at, OwnedFd::from(kept.try_clone().ok()?)));
        inner.sockets.iter().filter_map(clone).collect()
    }

    /// Closes those that nobody has asked for, and gives their addresses.
    pub fn close_unwanted(&self) -> Vec<SocketAddr> {
        let mut inner = self.lock();
        let unwanted: Vec<SocketAddr> =
            inner.sockets.keys().filter(|at| !inner.wanted.contains(at)).copied().collect();
        unwanted.iter().for_each(|at| drop(inner.sockets.remove(at)));
        unwanted
    }

    /// Keeps nothing any more: a door closes when the road behind it does.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.sockets.clear();
        inner.closed = true;
    }
}

fn open(at: SocketAddr) -> io::Result<TcpListener> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // A restart must not wait for the last connections of the process before it.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &at)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests;
