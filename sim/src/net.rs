//! A network in memory: connections with delay, refusals, partitions and broken cables.

use crate::dice::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use words_world::{Boxed, Connected, Listener, Mx, NameError, Names, Net, Stream};

/// Bytes in flight on one connection, each way.
const PIPE: usize = 16 * 1024;
/// How long a connection attempt into a partition takes to fail.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Wires {
    doors: BTreeMap<SocketAddr, mpsc::Sender<Connected>>,
    cut: BTreeSet<(IpAddr, IpAddr)>,
    /// Hosts without power: nothing that still runs there reaches anybody.
    dark: BTreeSet<IpAddr>,
    /// Connections opened between two hosts get this generation; a broken cable raises it.
    generation: BTreeMap<(IpAddr, IpAddr), u64>,
    next_port: u16,
    /// Who waits for bytes, by connection end, so that a broken cable is felt at once. Ordered, so that all are woken
    /// in the same order in every run.
    waiting: BTreeMap<u64, Waker>,
    next_end: u64,
}

impl Wires {
    fn is_cut(&self, ends: (IpAddr, IpAddr)) -> bool {
        self.cut.contains(&ends) || self.dark.contains(&ends.0) || self.dark.contains(&ends.1)
    }
}

/// The whole network. Each host gets its own view with [`Internet::host`].
#[derive(Clone)]
pub struct Internet {
    wires: Arc<Mutex<Wires>>,
    dice: Dice,
}

impl Internet {
    /// A network whose delays come from `dice`.
    pub fn new(dice: Dice) -> Internet {
        Internet { wires: Arc::new(Mutex::new(Wires { next_port: 40_000, ..Wires::default() })), dice }
    }

    /// The network as seen from the host at `ip`.
    pub fn host(&self, ip: IpAddr) -> Host {
        Host { internet: self.clone(), ip }
    }

    /// No bytes pass between the two hosts any more, and nobody is told.
    pub fn partition(&self, a: IpAddr, b: IpAddr) {
        self.wires().cut.insert(pair(a, b));
        self.wake();
    }

    /// Ends a partition. Connections that hung in it are found broken.
    pub fn heal(&self, a: IpAddr, b: IpAddr) {
        self.wires().cut.remove(&pair(a, b));
        self.break_cables(a, b);
    }

    /// Breaks every open connection between two hosts, at whatever byte it stands.
    pub fn break_cables(&self, a: IpAddr, b: IpAddr) {
        *self.wires().generation.entry(pair(a, b)).or_default() += 1;
        self.wake();
    }

    /// The host at `ip` loses its power: whatever it still says is not heard, and nobody is told.
    pub fn darken(&self, ip: IpAddr) {
        self.wires().dark.insert(ip);
        self.wake();
    }

    /// The host has power again. What was connected to it is broken.
    pub fn lighten(&self, ip: IpAddr) {
        self.break_all(ip);
        self.wires().dark.remove(&ip);
    }

    /// Breaks every open connection of a host, as the death of its process does.
    pub fn break_all(&self, ip: IpAddr) {
        for (ends, generation) in &mut self.wires().generation {
            if ends.0 == ip || ends.1 == ip {
                *generation += 1;
            }
        }
        self.wake();
    }

    fn wake(&self) {
        let waiting = std::mem::take(&mut self.wires().waiting);
        waiting.into_values().for_each(Waker::wake);
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Doors with a name in the file system are numbered from 60,000 by that name.
fn local_port(path: &Path) -> u16 {
    let sum =
        path.as_os_str().as_encoded_bytes().iter().fold(0u32, |sum, b| sum.wrapping_mul(31) + u32::from(*b));
    60_000 + (sum % 5_000) as u16
}

fn pair(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    if a <= b { (a, b) } else { (b, a) }
}

/// One host's view of the network.
#[derive(Clone)]
pub struct Host {
    internet: Internet,
    ip: IpAddr,
}

impl Host {
    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The door at `to` if one is open, this end's address, and the cable's generation; nothing in a partition.
    fn dial(
        &self,
        ends: (IpAddr, IpAddr),
        to: SocketAddr,
    ) -> Option<(Option<mpsc::Sender<Connected>>, SocketAddr, u64)> {
        let mut wires = self.internet.wires();
        if wires.is_cut(ends) {
            return None;
        }
        wires.next_port = wires.next_port.checked_add(1).unwrap_or(40_000);
        let peer = SocketAddr::new(self.ip, wires.next_port);
        let generation = *wires.generation.entry(ends).or_default();
        Some((wires.doors.get(&to).cloned(), peer, generation))
    }
}

impl Net for Host {
    fn connect(&self, to: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_micros(self.internet.dice.range(50, 5_000))).await;
            let ends = pair(self.ip, to.ip());
            let Some((door, peer, generation)) = self.dial(ends, to) else {
                tokio::time::sleep(CONNECT_PATIENCE).await;
                return Err(io::ErrorKind::TimedOut.into());
            };
            let door = door.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (ours, theirs) = tokio::io::duplex(PIPE);
            let cable = |end| Cable::new(end, self.internet.clone(), ends, generation);
            let connected = Connected { stream: Box::new(cable(theirs)), peer, local: to };
            door.send(connected).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(cable(ours)) as Box<dyn Stream>)
        })
    }

    fn listen(&self, at: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let at = SocketAddr::new(self.ip, at.port());
            let (door, coming) = mpsc::channel(64);
            let mut wires = self.internet.wires();
            if wires.doors.get(&at).is_some_and(|old| !old.is_closed()) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            wires.doors.insert(at, door);
            Ok(Box::new(Door { at, coming: tokio::sync::Mutex::new(coming) }) as Box<dyn Listener>)
        })
    }

    fn connect_local<'a>(&'a self, path: &'a Path) -> Boxed<'a, io::Result<Box<dyn Stream>>> {
        self.connect(SocketAddr::new(self.ip, local_port(path)))
    }

    fn listen_local<'a>(&'a self, path: &'a Path) -> Boxed<'a, io::Result<Box<dyn Listener>>> {
        self.listen(SocketAddr::new(self.ip, local_port(path)))
    }
}

struct Door {
    at: SocketAddr,
    coming: tokio::sync::Mutex<mpsc::Receiver<Connected>>,
}

impl Listener for Door {
    fn accept(&self) -> Boxed<'_, io::Result<Connected>> {
        Box::pin(
            async move { self.coming.lock().await.recv().await.ok_or(io::ErrorKind::NotConnected.into()) },
        )
    }

    fn address(&self) -> SocketAddr {
        self.at
    }
}

/// One end of a connection.
struct Cable {
    end: DuplexStream,
    internet: Internet,
    ends: (IpAddr, IpAddr),
    generation: u64,
    number: u64,
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.internet.wires().waiting.remove(&self.number);
    }
}

enum Condition {
    Whole,
    Cut,
    Broken,
}

impl Cable {
    fn condition(&self) -> Condition {
        let wires = self.internet.wires();
        if wires.generation.get(&self.ends).copied().unwrap_or_default() != self.generation {
            Condition::Broken
        } else if wires.is_cut(self.ends) {
            Condition::Cut
        } else {
            Condition::Whole
        }
    }

    fn new(end: DuplexStream, internet: Internet, ends: (IpAddr, IpAddr), generation: u64) -> Cable {
        let number = {
            let mut wires = internet.wires();
            wires.next_end += 1;
            wires.next_end
        };
        Cable { end, internet, ends, generation, number }
    }

    fn wait(&self, cx: &Context<'_>) {
        self.internet.wires().waiting.insert(self.number, cx.waker().clone());
    }
}

impl AsyncRead for Cable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.condition() {
            Condition::Broken => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Condition::Cut => {
                self.wait(cx);
                Poll::Pending
            }
            Condition::Whole => {
                let polled = Pin::new(&mut self.end).poll_read(cx, buf);
                if polled.is_pending() {
                    self.wait(cx);
                }
                polled
            }
        }
    }
}

impl AsyncWrite for Cable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.condition() {
            Condition::Broken => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            // What is written into a partition stands in the kernel's buffer and is lost with it.
            Condition::Cut => Poll::Ready(Ok(buf.len())),
            Condition::Whole => Pin::new(&mut self.end).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_shutdown(cx)
    }
}

/// A DNS in which every host has the address that was given, and every domain is its own mail exchanger.
#[derive(Clone, Default)]
pub struct SimNames {
    hosts: BTreeMap<String, IpAddr>,
}

impl SimNames {
    /// Adds a host.
    #[must_use]
    pub fn with(mut self, host: &str, ip: IpAddr) -> SimNames {
        self.hosts.insert(host.to_owned(), ip);
        self
    }
}

impl Names for SimNames {
    fn mx<'a>(&'a self, domain: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>> {
        Box::pin(async move {
            let known = self.hosts.contains_key(domain);
            if known {
                Ok(vec![Mx { preference: 10, host: domain.to_owned() }])
            } else {
                Err(NameError::NotFound)
            }
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Boxed<'a, Result<Vec<IpAddr>, NameError>> {
        Box::pin(async move {
            let literal = host.parse().ok();
            literal.or(self.hosts.get(host).copied()).map(|ip| vec![ip]).ok_or(NameError::NotFound)
        })
    }
}
