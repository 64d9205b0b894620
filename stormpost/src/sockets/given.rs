//! Sockets that the service manager hands to a process at its start (sd_listen_fds(3)): those of a socket unit, and
//! those that the life before this one left in its keeping.

use super::Kept;
use rustix::io::{FdFlags, fcntl_setfd};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// How the names begin under which we leave sockets in the service manager's keeping.
const OURS: &str = "door_";

/// The name of a socket in the service manager's keeping. It may hold no colon.
pub(crate) fn name(at: SocketAddr) -> String {
    format!("{OURS}{}", at.to_string().replace(':', "_"))
}

/// Takes what was given. Called once, before anything else is opened.
///
/// # Errors
/// When the environment does not mean what it should.
pub fn given(kept: &Kept) -> Result<Vec<String>, String> {
    let given = sd_listen_fds::get().map_err(|why| format!("LISTEN_FDS: {why}"))?;
    let mut names = Vec::new();
    for (name, socket) in given {
        let socket: OwnedFd = socket.into_std();
        // Not for the processes that we begin.
        fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(|why| format!("LISTEN_FDS: {why}"))?;
        names.extend(name.filter(|name| name.starts_with(OURS)));
        kept.add(socket);
    }
    Ok(names)
}
