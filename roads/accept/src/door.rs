//! The doors: who is let in, and for how long the house stays open.

use crate::AcceptLimits;
use crate::authentication::{Authentication, Patience};
use crate::call_out::{CallOut, CallOuts};
use crate::counts::{Counts, count};
use crate::dialogue::Dialogue;
use crate::guests::{Full, Guest, Guests};
use crate::incoming::Budget;
use crate::returned::Returned;
use crate::scanners::{ScannerParts, Scanners};
use crate::senders::Senders;
use crate::sign_in::SignIn;
use crate::spool::Spool;
use crate::trusted::{DeviceParts, RelayParts, Relays};
use rules_policy::Policy;
use std::sync::Arc;
use std::time::Duration;
use stores_directory::Snapshot;
use stores_journal::Journal;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use words_mail::{PrimaryId, Source, Tenant, TraceKey};
use words_smtp::{Dialect, Extensions, ServerConfig};
use words_world::{Connected, Listener, World};

/// Which door it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// Mail from the internet and from the primary: port 25, STARTTLS.
    Edge,
    /// Mail from people: port 587, STARTTLS, then sign-in.
    Submission,
    /// Mail from people: port 465, TLS from the first byte, then sign-in.
    Submissions,
    /// Mail from devices that cannot sign in: from listed addresses, as listed senders only.
    Internal,
    /// Mail from the other parts of Stormpost, by LMTP on this machine. Whoever can open this door is believed, so it
    /// must be one that only Stormpost can open.
    Local,
}

impl Door {
    /// Through which door a message is said to have come.
    pub(crate) fn source(self) -> Source {
        match self {
            Door::Edge => Source::Edge,
            Door::Submission | Door::Submissions => Source::Submission,
            Door::Internal => Source::Internal,
            Door::Local => Source::Own,
        }
    }
}

/// What the road needs.
pub struct AcceptParts {
    /// The outside.
    pub world: World,
    /// Where messages go.
    pub journal: Journal,
    /// Who is here, as it stands now.
    pub directory: watch::Receiver<Arc<Snapshot>>,
    /// What makes a trace id ours.
    pub trace_key: TraceKey,
    /// The name we go by.
    pub host: String,
    /// The certificate in use; `None` while there is none, and then there is no TLS and nobody can sign in.
    pub tls: watch::Receiver<Option<Arc<rustls::ServerConfig>>>,
    /// Who may sign in.
    pub sign_in: Arc<dyn SignIn>,
    /// How a primary is asked about recipients; `None` never asks.
    pub call_out: Option<Arc<dyn CallOut>>,
    /// How senders are checked at the edge; `None` does not check.
    pub authentication: Option<Arc<dyn Authentication>>,
    /// Who else looks at messages.
    pub scanners: ScannerParts,
    /// What the organisation chooses.
    pub policy: Policy,
    /// Every bound.
    pub limits: AcceptLimits,
    /// Which mail systems of record may send to other organisations through us.
    pub relays: Vec<RelayParts>,
    /// Who may send through the door for devices; nobody when `None`.
    pub devices: Option<DeviceParts>,
}

/// The road in, shared by all of its doors.
pub struct Accept {
    pub(crate) parts: AcceptParts,
    pub(crate) call_outs: Option<CallOuts>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) receiving: Arc<Semaphore>,
    pub(crate) returned: Returned,
    pub(crate) counts: Counts,
    pub(crate) patience: Patience,
    /// For the names of addresses.
    pub(crate) reverse_patience: Patience,
    pub(crate) scanners: Scanners,
    pub(crate) senders: Senders,
    pub(crate) spool: Spool,
    /// Who stands at the edge; a crowd there keeps nobody from sending.
    edge: Arc<Guests>,
    /// Who stands at the doors for people.
    people: Arc<Guests>,
    /// Who stands at the door for devices.
    devices: Arc<Guests>,
    /// Who stands at the door on this machine.
    local: Arc<Guests>,
    pub(crate) relays: Relays,
}

/// After a failed `accept` (too many open files, for one) the door rests for so long, so that it does not spin.
const REST: Duration = Duration::from_millis(50);

impl Accept {
    /// A road that is ready to run.
    pub fn new(parts: AcceptParts) -> Arc<Accept> {
        let call_outs = parts.call_out.clone().map(|c| CallOuts::new(c, parts.world.clone()));
        let limits = &parts.limits;
        Arc::new(Accept {
            call_outs,
            budget: Budget::new(limits.body_memory),
            receiving: Arc::new(Semaphore::new(limits.receiving.min(Semaphore::MAX_PERMITS))),
            returned: Returned::new(),
            counts: Counts::default(),
            patience: Patience::new("the name servers"),
            reverse_patience: Patience::new("the names of addresses"),
            senders: Senders::default(),
            scanners: Scanners::new(&parts.world, &parts.scanners),
            spool: Spool::new(limits.spool),
            edge: Arc::default(),
            people: Arc::default(),
            devices: Arc::default(),
            local: Arc::default(),
            relays: Relays::new(parts.relays.clone()),
            parts,
        })
    }

    /// What was done since the start.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How much waits, and whether there is room for more.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Serves one door until `shutdown` says so. Then no new connection is taken, idle ones are told to come back, and
    /// open transactions get the time the limits give them. Dropping the future ends every connection at once.
    pub async fn run(
        self: Arc<Accept>,
        door: Door,
        listener: Box<dyn Listener>,
        shutdown: watch::Receiver<bool>,
    ) {
        tracing::info!(?door, at = %listener.address(), "open");
        let mut guests = JoinSet::new();
        let mut stop = shutdown.clone();
        loop {
            let connected = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(_) = guests.join_next(), if !guests.is_empty() => continue,
                connected = listener.accept() => connected,
            };
            match connected {
                Ok(connected) => self.welcome(door, connected, &shutdown, &mut guests).await,
                Err(error) => {
                    tracing::warn!(?door, %error, "a connection could not be taken");
                    sleep(REST).await;
                }
            }
        }
        drop(listener);
        let rest = async { while guests.join_next().await.is_some() {} };
        if timeout(self.parts.limits.shutdown_time, rest).await.is_err() {
            tracing::warn!(?door, "connections were cut off at the end of the shutdown");
        }
        tracing::info!(?door, "closed");
    }

    async fn welcome(
        self: &Arc<Accept>,
        door: Door,
        connected: Connected,
        shutdown: &watch::Receiver<bool>,
        guests: &mut JoinSet<()>,
    ) {
        let limits = &self.parts.limits;
        let (place, ip, max) = match door {
            Door::Edge => (&self.edge, Some(connected.peer.ip()), limits.connections),
            Door::Submission | Door::Submissions => {
                (&self.people, Some(connected.peer.ip()), limits.people_connections)
            }
            Door::Internal => (&self.devices, Some(connected.peer.ip()), limits.people_connections),
            Door::Local => (&self.local, None, limits.local_connections),
        };
        match place.enter(ip, max, limits) {
            Ok(guest) => {
                count(&self.counts.connections);
                let (accept, shutdown) = (self.clone(), shutdown.clone());
                guests.spawn(Dialogue::serve(accept, door, guest, connected, shutdown));
            }
            Err(full) => {
                count(&self.counts.turned_away);
                tracing::info!(?door, peer = %connected.peer.ip(), ?full, "turned away");
                turn_away(connected, door, full).await;
            }
        }
    }

    /// Messages of one address in a minute, at a door.
    pub(crate) fn messages_per_minute(&self, door: Door) -> u32 {
        match (door, &self.parts.devices) {
            (Door::Internal, Some(devices)) => devices.messages_per_minute,
            _ => self.parts.limits.messages_per_minute,
        }
    }

    /// How sessions at a door behave now.
    pub(crate) fn config(&self, door: Door) -> ServerConfig {
        let dialect = match door {
            Door::Edge | Door::Internal => Dialect::Smtp,
            Door::Submission | Door::Submissions => Dialect::Submission,
            Door::Local => Dialect::Lmtp,
        };
        let mut extensions = Extensions::default();
        let mut limits = self.parts.limits.session.clone();
        let directory = self.parts.directory.borrow();
        // People's mail goes everywhere; what comes in at the edge goes to the primaries, who take what they take.
        if door == Door::Edge && directory.lives_at_primaries() {
            let takes = directory.learned().takes();
            extensions.utf8 = !takes.nobody_takes_utf8();
            limits.size = takes.most().map_or(limits.size, |most| limits.size.min(most));
        }
        ServerConfig {
            dialect,
            host: self.parts.host.clone(),
            extensions,
            starttls: matches!(door, Door::Edge | Door::Submission | Door::Internal)
                && self.parts.tls.borrow().is_some(),
            limits,
        }
    }

    /// Octets of the largest message that this organisation wants and this primary takes; `None` without a bound.
    pub(crate) fn size_max(&self, tenant: &Tenant, primary: Option<&PrimaryId>) -> Option<u64> {
        let wanted = self.parts.limits.sizes.get(tenant).copied();
        let directory = self.parts.directory.borrow();
        let taken = primary.and_then(|id| directory.learned().takes().of(id)?.most());
        wanted.into_iter().chain(taken).min()
    }
}

/// Says why, without waiting for a peer that does not listen: the words fit into any socket's buffer.
async fn turn_away(mut connected: Connected, door: Door, full: Full) {
    if door == Door::Submissions {
        return;
    }
    let words: &[u8] = match full {
        Full::All => b"421 4.3.2 too many connections here; try again\r\n",
        Full::Address => b"421 4.7.0 too many connections from your address; close some and try again\r\n",
    };
    let _ = timeout(Duration::from_millis(10), connected.stream.write_all(words)).await;
}

/// A place among the guests, held by one dialogue.
pub(crate) type Seat = Guest;
