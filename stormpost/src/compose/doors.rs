//! The doors of the edge and of submission.

use super::relays::relays;
use super::stores::Stores;
use crate::certificates::Certificates;
use crate::configuration::Configuration;
use crate::world::Resolver;
use anyhow::{Context, Result};
use roads_accept::{Accept, AcceptLimits, AcceptParts, CallOut, Door, MailAuth, SignIn};
use roads_imap::{Door as ImapDoor, Imap, ImapOptions, Security};
use rules_policy::Policy;
use std::net::SocketAddr;
use std::sync::Arc;
use stores_directory::Snapshot;
use stores_journal::Journal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use words_mail::TraceKey;
use words_world::{Listener, World};

/// The certificate in use, for doors that may have none.
pub type Certificate = watch::Receiver<Option<Arc<rustls::ServerConfig>>>;

/// The bounds of the road in, out of the configuration.
pub fn accept_limits(configuration: &Configuration) -> AcceptLimits {
    let most = configuration.limits.message_size;
    let smaller = configuration.tenants.iter().filter(|tenant| tenant.message_size < most);
    let sizes = smaller.map(|tenant| (tenant.tenant.clone(), tenant.message_size)).collect();
    AcceptLimits { sizes, ..configuration.limits.accept() }
}

/// What the road in stands on.
pub struct Ground {
    /// Where messages are written.
    pub journal: Journal,
    /// Who is here.
    pub directory: watch::Receiver<Arc<Snapshot>>,
    /// Makes our trace ids ours.
    pub trace_key: TraceKey,
}

/// The certificate that is configured, or one of our own.
///
/// # Errors
/// When its files cannot be read or made.
pub fn certificates(configuration: &Configuration) -> Result<Certificates> {
    let (certificates, made) = Certificates::of(configuration)?;
    if made && configuration.acme.is_none() {
        tracing::warn!(
            "no certificate is configured: one was made and signed by itself. Other mail servers accept that, people's \
             mail programs warn; see [tls] in the configuration"
        );
    }
    Ok(certificates)
}

/// The certificate in use; a task in `running` rereads it when its files change.
pub fn certificate(
    certificates: Certificates,
    stop: &watch::Receiver<bool>,
    running: &mut JoinSet<()>,
) -> Certificate {
    let mut changes = certificates.subscribe();
    let (publish, certificate) = watch::channel(Some(changes.borrow_and_update().clone()));
    let mut stop = stop.clone();
    running.spawn(async move {
        let follow = async {
            while changes.changed().await.is_ok() {
                publish.send_replace(Some(changes.borrow_and_update().clone()));
            }
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = certificates.run() => {}
            () = follow => {}
        }
    });
    certificate
}

/// The road in, out of the configuration.
pub fn accept(
    world: &World,
    configuration: &Configuration,
    ground: Ground,
    tls: Certificate,
    sign_in: Arc<dyn SignIn>,
    call_out: Option<Arc<dyn CallOut>>,
) -> Arc<Accept> {
    let resolver = Resolver::new(configuration.node.name_server).library();
    let authentication = match resolver.map(|resolver| MailAuth::new(&configuration.node.name, resolver)) {
        Ok(mail_auth) => Some(Arc::new(mail_auth) as Arc<dyn roads_accept::Authentication>),
        Err(why) => {
            tracing::warn!(%why, "SPF, DKIM and DMARC are not checked: no usable name server");
            None
        }
    };
    Accept::new(AcceptParts {
        world: world.clone(),
        journal: ground.journal,
        directory: ground.directory,
        trace_key: ground.trace_key,
        host: configuration.node.name.clone(),
        tls,
        sign_in,
        call_out,
        authentication,
        scanners: configuration.filter.scanners.clone(),
        policy: Policy { hops_max: configuration.limits.hops, ..configuration.filter.policy.clone() },
        limits: accept_limits(configuration),
        relays: relays(configuration),
        devices: configuration.devices.clone(),
    })
}

/// Opens every door of the road in to the network. All or none: a node that serves half of its doors looks well and is not.
///
/// # Errors
/// When a port is taken or may not be used; the text names it.
pub async fn open(world: &World, configuration: &Configuration) -> Result<Vec<(Door, Box<dyn Listener>)>> {
    let mut doors = Vec::new();
    for (door, at) in places(configuration) {
        doors.push((door, open_one(world, at).await?));
    }
    Ok(doors)
}

/// Where the doors of the road in to the network are.
pub fn places(configuration: &Configuration) -> impl Iterator<Item = (Door, SocketAddr)> {
    let listen = &configuration.listen;
    let doors = [
        (Door::Edge, &listen.smtp),
        (Door::Submission, &listen.submission),
        (Door::Submissions, &listen.submissions),
        (Door::Internal, &listen.internal),
    ];
    doors.into_iter().flat_map(|(door, addresses)| addresses.iter().map(move |at| (door, *at)))
}

/// Opens the door by which the other parts of Stormpost hand in their own mail. It takes the place of one that stands
/// there: only who may write the journal opens it.
///
/// # Errors
/// When the socket cannot be made.
pub async fn open_local(world: &World, configuration: &Configuration) -> Result<(Door, Box<dyn Listener>)> {
    let path = &configuration.listen.lmtp_local;
    let local = world.net.listen_local(path).await.with_context(|| format!("opening {}", path.display()))?;
    Ok((Door::Local, local))
}

/// IMAP out of the configuration, with its doors open.
///
/// # Errors
/// When a port is taken or may not be used.
pub async fn imap(
    world: &World,
    configuration: &Configuration,
    stores: &Stores,
    tls: Certificate,
    sign_in: Arc<dyn roads_imap::SignIn>,
) -> Result<Imap> {
    let listen = &configuration.listen;
    let doors: Vec<ImapDoor> = [(&listen.imap, Security::StartTls), (&listen.imaps, Security::Implicit)]
        .into_iter()
        .flat_map(|(addresses, security)| addresses.iter().map(move |at| ImapDoor { at: *at, security }))
        .collect();
    let options = ImapOptions { host: configuration.node.name.clone(), limits: configuration.limits.imap() };
    Imap::open(world, stores.mailboxes.clone(), sign_in, tls, options, &doors).await.with_context(|| {
        let places: Vec<String> = doors.iter().map(|door| door.at.to_string()).collect();
        format!(
            "listening for IMAP on {} (ports below 1024 need root or CAP_NET_BIND_SERVICE)",
            places.join(", ")
        )
    })
}

/// Opens one door.
///
/// # Errors
/// When the port is taken or may not be used, with what to do.
pub async fn open_one(world: &World, at: SocketAddr) -> Result<Box<dyn Listener>> {
    let hint = match at.port() {
        1..1024 => " (ports below 1024 need root or the capability CAP_NET_BIND_SERVICE)",
        _ => "",
    };
    world.net.listen(at).await.with_context(|| format!("listening on {at}{hint}"))
}
