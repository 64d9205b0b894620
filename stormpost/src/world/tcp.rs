//! TCP as the network.

use crate::sockets::Kept;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use words_world::{Boxed, Connected, Listener, Net, Stream};

/// The TCP of this machine.
#[derive(Debug, Clone, Default)]
pub struct Tcp {
    /// The listening sockets of this process: those it was given are used again.
    pub kept: Kept,
}

impl Net for Tcp {
    fn connect(&self, to: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn listen(&self, at: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::from_std(self.kept.listener(at)?)?;
            let address = listener.local_addr()?;
            Ok(Box::new(Door { listener, address }) as Box<dyn Listener>)
        })
    }

    fn connect_local<'a>(&'a self, path: &'a Path) -> Boxed<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { Ok(Box::new(UnixStream::connect(path).await?) as Box<dyn Stream>) })
    }

    fn listen_local<'a>(&'a self, path: &'a Path) -> Boxed<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            Ok(Box::new(LocalDoor { listener }) as Box<dyn Listener>)
        })
    }
}

/// What a peer on this machine is called: it has no address.
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

struct LocalDoor {
    listener: UnixListener,
}

impl Listener for LocalDoor {
    fn accept(&self) -> Boxed<'_, io::Result<Connected>> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            Ok(Connected { stream: Box::new(stream), peer: HERE, local: HERE })
        })
    }

    fn address(&self) -> SocketAddr {
        HERE
    }
}

struct Door {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener for Door {
    fn accept(&self) -> Boxed<'_, io::Result<Connected>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            let local = stream.local_addr()?;
            Ok(Connected { stream: Box::new(stream), peer, local })
        })
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}
