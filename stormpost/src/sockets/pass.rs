//! Sockets on their way from one process to another of the same user, over a local socket (`SCM_RIGHTS`, unix(7)).

use super::Kept;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::time::timeout;

/// Sockets in one message; the system takes up to 253.
const SOCKETS_MAX: usize = 200;
/// How long the other side may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// By this byte the caller says that it has the sockets and takes the place of the process that gave them.
const LEAVE: u8 = b'L';

/// Sends sockets, all in one message, and whether the sender is overseen. More than there is room for are not sent: the
/// receiver opens them itself.
///
/// # Errors
/// The system's.
pub fn send(to: impl AsFd, sockets: &[OwnedFd], overseen: bool) -> io::Result<()> {
    let sockets: Vec<_> = sockets.iter().take(SOCKETS_MAX).map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let words = [u8::try_from(sockets.len()).unwrap_or(u8::MAX), u8::from(overseen)];
    sendmsg(to, &[IoSlice::new(&words)], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives what [`send`] sent: the sockets, and whether the sender is overseen.
///
/// # Errors
/// The system's, and [`io::ErrorKind::UnexpectedEof`] when there is nobody.
pub fn receive(from: impl AsFd) -> io::Result<(Vec<OwnedFd>, bool)> {
    let mut words = [0; 2];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [IoSliceMut::new(&mut words)];
    let heard = recvmsg(from, &mut bytes, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    if heard.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut sockets = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            sockets.extend(some);
        }
    }
    Ok((sockets, words[1] != 0))
}

/// A process that gave its sockets, and waits for what comes next.
pub struct Asked {
    stream: UnixStream,
    /// Whether somebody oversees it, who would start it again.
    pub overseen: bool,
}

impl Asked {
    /// Tells it to leave: it ends, and its place is taken.
    ///
    /// # Errors
    /// The system's: it is gone already.
    pub fn leave(mut self) -> io::Result<()> {
        self.stream.write_all(&[LEAVE])
    }
}

/// Asks the process behind `socket` for its sockets and keeps them. `None` when nobody is there.
///
/// # Errors
/// When somebody is there and does not answer as he should.
pub fn ask(socket: &Path, kept: &Kept) -> io::Result<Option<Asked>> {
    let stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (sockets, overseen) = receive(&stream)?;
    sockets.into_iter().for_each(|one| kept.add(one));
    Ok(Some(Asked { stream, overseen }))
}

/// Gives handles to the kept sockets to whoever asks by `socket`, until `stop` says so. Whoever may open that file is
/// believed: it stands in the data folder. `leave` is set when a caller takes this process's place; `overseen` tells
/// him that somebody would start this process again.
///
/// # Errors
/// When the socket cannot be made.
pub fn hand_out(
    socket: &Path,
    kept: Kept,
    leave: watch::Sender<bool>,
    overseen: bool,
    mut stop: watch::Receiver<bool>,
) -> io::Result<impl Future<Output = ()> + use<>> {
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(async move {
        let serve = async {
            loop {
                // One at a time: there is hardly ever one.
                match listener.accept().await {
                    Ok((stream, _)) => match one(stream, &kept, &leave, overseen).await {
                        Ok(()) => {}
                        Err(why) => tracing::warn!(%why, "the listening sockets could not be handed out"),
                    },
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = serve => {}
        }
    })
}

async fn one(
    mut stream: tokio::net::UnixStream,
    kept: &Kept,
    leave: &watch::Sender<bool>,
    overseen: bool,
) -> io::Result<()> {
    let sockets: Vec<OwnedFd> = kept.all().into_iter().map(|(_, socket)| socket).collect();
    // A message of two bytes has room in the buffer of a socket that was just opened.
    send(&stream, &sockets, overseen)?;
    let mut word = [0];
    match timeout(PATIENCE, stream.read(&mut word)).await {
        Ok(Ok(1)) if word[0] == LEAVE => {
            leave.send_replace(true);
        }
        _ => {}
    }
    Ok(())
}
