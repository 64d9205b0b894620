//! What the service manager is told, in the words of sd_notify(3): a datagram of `NAME=VALUE` lines to the socket that
//! `NOTIFY_SOCKET` names. Without that variable nothing is said to anybody.

use crate::edge::{EdgeView, Standing};
use crate::sockets::{self, Kept};
use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sendmsg_addr, socket_with,
};
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// The environment by which the service manager speaks to one process; not for those that it begins.
pub(crate) const ENVIRONMENT: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];
/// How often something is said at least, while there is something to say.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// While we start or stop, the service manager is asked for so much time after each word of ours.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whoever oversees this process: systemd, or what speaks like it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Overseer {
    ear: Option<Ear>,
}

#[derive(Clone, Debug)]
struct Ear {
    socket: Arc<OwnedFd>,
    address: SocketAddrUnix,
    /// It wants to hear of us so often, or takes us for hung.
    watchdog: Option<Duration>,
}

/// In which part of its life a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not every door is open yet.
    Starting,
    /// Every door is open.
    Ready,
    /// What is open is finished.
    Stopping,
}

impl Overseer {
    /// The one the environment names.
    pub fn from_environment() -> Overseer {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Overseer::default() };
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog =
            number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0).map(Duration::from_micros);
        match Overseer::at(&name, watchdog) {
            Ok(overseer) => overseer,
            Err(why) => {
                tracing::warn!(%why, socket = %name.display(), "NOTIFY_SOCKET cannot be used; nobody is told how we stand");
                Overseer::default()
            }
        }
    }

    /// The one who listens at `name`: a path, or with `@` in front an abstract name.
    fn at(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Overseer> {
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddrUnix::new_abstract_name(rest)?,
            [b'/', ..] => SocketAddrUnix::new(name)?,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(Overseer { ear: Some(Ear { socket: Arc::new(socket), address, watchdog }) })
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.ear.is_some()
    }

    /// Leaves the listening sockets in its keeping, so that a restart finds them as they were. It keeps each once.
    pub fn keep(&self, kept: &Kept) {
        for (at, socket) in kept.all() {
            let words = format!("FDSTORE=1\nFDNAME={}\nFDPOLL=0", sockets::name(at));
            self.say(&words, Some(socket.as_fd()));
        }
    }

    /// Takes out of its keeping what was left there under these names.
    pub fn let_go(&self, names: &[String]) {
        for name in names {
            self.say(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None);
        }
    }

    /// Tells how the node stands until `phase` is heard of no more. Watched by the same runtime that all roads run on.
    pub async fn hear(self, mut phase: watch::Receiver<Phase>, edge: Option<EdgeView>) {
        let Some(ear) = &self.ear else { return };
        // Twice in the time it gives us, as sd_watchdog_enabled(3) advises.
        let every = ear.watchdog.map_or(LOOK_EVERY, |limit| (limit / 2).min(LOOK_EVERY));
        let mut said: Option<(Phase, String)> = None;
        loop {
            let now = *phase.borrow_and_update();
            let status = status(now, edge.as_ref());
            let mut words = Vec::new();
            if said.as_ref().is_none_or(|(phase, words)| *phase != now || *words != status) {
                words.push(format!("STATUS={status}"));
            }
            match now {
                Phase::Ready if said.as_ref().is_none_or(|(phase, _)| *phase != now) => {
                    words.push("READY=1".to_owned());
                }
                Phase::Ready => {}
                Phase::Starting => words.push(format!("EXTEND_TIMEOUT_USEC={}", PATIENCE.as_micros())),
                Phase::Stopping => {
                    words.extend([
                        "STOPPING=1".to_owned(),
                        format!("EXTEND_TIMEOUT_USEC={}", PATIENCE.as_micros()),
                    ]);
                }
            }
            if ear.watchdog.is_some() {
                words.push("WATCHDOG=1".to_owned());
            }
            if !words.is_empty() {
                self.say(&words.join("\n"), None);
            }
            said = Some((now, status));
            tokio::select! {
                biased;
                changed = phase.changed() => if changed.is_err() { return },
                () = sleep(every) => {}
            }
        }
    }

    fn say(&self, words: &str, socket: Option<BorrowedFd<'_>>) {
        let Some(ear) = &self.ear else { return };
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let sockets = socket.map(|socket| [socket]);
        if let Some(sockets) = &sockets {
            beside.push(SendAncillaryMessage::ScmRights(sockets));
        }
        let bytes = [IoSlice::new(words.as_bytes())];
        if let Err(why) = sendmsg_addr(&*ear.socket, &ear.address, &bytes, &mut beside, SendFlags::NOSIGNAL) {
            tracing::debug!(%why, "the service manager was not told how we stand");
        }
    }
}

/// One line for `systemctl status`.
fn status(phase: Phase, edge: Option<&EdgeView>) -> String {
    match (phase, edge.map(EdgeView::standing)) {
        (Phase::Starting, Some(Standing::Up { .. })) => "starting; mail is taken already".to_owned(),
        (Phase::Starting, _) => "starting".to_owned(),
        (Phase::Stopping, _) => "stopping: what is open is finished".to_owned(),
        (Phase::Ready, None | Some(Standing::Starting)) => "mail is taken".to_owned(),
        (Phase::Ready, Some(Standing::Up { pid, version, .. })) => {
            format!("mail is taken by process {pid}, version {version}")
        }
        (Phase::Ready, Some(Standing::Away(why) | Standing::Failed(why))) => {
            format!("no mail is taken: {why}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use std::io::IoSliceMut;
    use std::net::SocketAddr;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::UnixDatagram;

    /// The other side, as systemd has it.
    fn hear(socket: &UnixDatagram) -> (String, Vec<OwnedFd>) {
        let mut text = [0; 4_096];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(4))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let heard = recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut beside, flags).unwrap();
        let mut sockets = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                sockets.extend(some);
            }
        }
        (String::from_utf8(text[..heard.bytes].to_vec()).unwrap(), sockets)
    }

    fn listen_at(folder: &tempfile::TempDir) -> (UnixDatagram, Overseer) {
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (socket, Overseer::at(path.as_os_str(), Some(Duration::from_millis(100))).unwrap())
    }

    #[tokio::test]
    async fn a_life_is_told_from_its_start_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, overseer) = listen_at(&folder);
        let (tell, phase) = watch::channel(Phase::Starting);
        let next = async || {
            let socket = socket.try_clone().unwrap();
            tokio::task::spawn_blocking(move || hear(&socket).0).await.unwrap()
        };
        let life = async {
            assert_eq!(next().await, "STATUS=starting\nEXTEND_TIMEOUT_USEC=60000000\nWATCHDOG=1");
            tell.send_replace(Phase::Ready);
            let mut ready = next().await;
            while ready.starts_with("EXTEND") {
                ready = next().await;
            }
            assert_eq!(ready, "STATUS=mail is taken\nREADY=1\nWATCHDOG=1");
            for _ in 0..3 {
                assert_eq!(next().await, "WATCHDOG=1", "it is said again and again, and nothing else");
            }
            tell.send_replace(Phase::Stopping);
            let mut stopping = next().await;
            while stopping == "WATCHDOG=1" {
                stopping = next().await;
            }
            assert!(stopping.contains("\nSTOPPING=1\n"), "{stopping}");
            drop(tell);
        };
        tokio::join!(overseer.clone().hear(phase, None), life);
    }

    #[test]
    fn listening_sockets_are_left_in_its_keeping_and_taken_out_again() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, overseer) = listen_at(&folder);
        let at: SocketAddr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let kept = Kept::default();
        drop(kept.listener(at).unwrap());
        overseer.keep(&kept);
        let (words, sockets) = hear(&socket);
        let name = format!("door_127.0.0.1_{}", at.port());
        assert_eq!(words, format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"));
        let [left] = <[OwnedFd; 1]>::try_from(sockets).unwrap();
        assert_eq!(std::net::TcpListener::from(left).local_addr().unwrap(), at);
        overseer.let_go(std::slice::from_ref(&name));
        assert_eq!(hear(&socket).0, format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    #[test]
    fn an_abstract_name_is_reached_and_a_foreign_kind_is_refused() {
        let name = format!("stormpost-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let overseer = Overseer::at(OsStr::new(&format!("@{name}")), None).unwrap();
        overseer.say("READY=1", None);
        assert_eq!(hear(&socket).0, "READY=1");
        assert!(Overseer::at(OsStr::new("vsock:2:1"), None).is_err());
    }

    #[test]
    fn nobody_there_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, overseer) = listen_at(&folder);
        drop(socket);
        overseer.say("READY=1", None);
        Overseer::default().say("READY=1", None);
    }
}
