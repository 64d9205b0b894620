//! The road: doors, and a session for everybody who comes in.

use crate::guests::Guests;
use crate::options::{Door, ImapOptions, Security};
use crate::session::{Session, Visit};
use crate::sign_in::SignIn;
use rustls::ServerConfig;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stores_mailbox::{FolderId, Mailboxes};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use words_world::{Connected, Listener, World};

/// After a connection could not be accepted, for instance for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) sign_in: Arc<dyn SignIn>,
    pub(crate) tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    pub(crate) options: ImapOptions,
    pub(crate) guests: Arc<Guests>,
    /// From which UID on messages of a folder are recent: no session has been told of them (RFC 3501 §2.3.2). Kept
    /// only while the program runs, as clients expect nothing better.
    pub(crate) recent: Mutex<HashMap<FolderId, u32>>,
    /// Turns to put messages in order: each takes memory that grows with the mailbox.
    pub(crate) sorting: Arc<Semaphore>,
}

/// IMAP for people's clients.
pub struct Imap {
    shared: Arc<Shared>,
    doors: Vec<(Box<dyn Listener>, Security)>,
}

impl Imap {
    /// Opens the doors. `tls` may be `None` until a certificate is there, and changes when it is renewed.
    ///
    /// # Errors
    /// When a door cannot be opened.
    pub async fn open(
        world: &World,
        mailboxes: Mailboxes,
        sign_in: Arc<dyn SignIn>,
        tls: watch::Receiver<Option<Arc<ServerConfig>>>,
        options: ImapOptions,
        doors: &[Door],
    ) -> io::Result<Imap> {
        let mut open = Vec::with_capacity(doors.len());
        for door in doors {
            open.push((world.net.listen(door.at).await?, door.security));
        }
        let shared = Shared {
            world: world.clone(),
            mailboxes,
            sign_in,
            tls,
            options,
            guests: Arc::default(),
            recent: Mutex::default(),
            sorting: Arc::new(Semaphore::new(crate::verbs::SORTS_AT_ONCE)),
        };
        Ok(Imap { shared: Arc::new(shared), doors: open })
    }

    /// Where the doors are, with the ports that were really taken, in the order given.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.doors.iter().map(|(door, _)| door.address()).collect()
    }

    /// Serves until `shutdown`; then everybody is told, and those in the middle of a command may end it.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let Imap { shared, doors } = self;
        let mut serving = JoinSet::new();
        for (door, security) in doors {
            serving.spawn(attend(shared.clone(), door, security, shutdown.clone()));
        }
        while serving.join_next().await.is_some() {}
        // Without a door there is nothing to do, which is no reason to end before the others.
        stopped(&mut shutdown).await;
    }
}

/// Lets people in by one door.
async fn attend(
    shared: Arc<Shared>,
    door: Box<dyn Listener>,
    security: Security,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut sessions = JoinSet::new();
    let told = shutdown.clone();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            Some(_) = sessions.join_next() => {}
            accepted = door.accept() => match accepted {
                Ok(connected) => {
                    sessions.spawn(attend_one(shared.clone(), connected, security, told.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, door = %door.address(), "an IMAP connection was not accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
    drop(door);
    let all = async { while sessions.join_next().await.is_some() {} };
    // Whoever is still in the middle of a command then is cut off; nothing that was acknowledged is lost by it.
    let _ = tokio::time::timeout(shared.options.limits.shutdown_time, all).await;
}

async fn attend_one(
    shared: Arc<Shared>,
    connected: Connected,
    security: Security,
    shutdown: watch::Receiver<bool>,
) {
    let visit = Visit { peer: connected.peer.ip(), security };
    Session::serve(shared, connected.stream, visit, shutdown).await;
}

/// Waits for the shutdown; one that can never come any more counts as come.
pub(crate) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}
