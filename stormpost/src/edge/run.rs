//! `stormpost edge`: the process that mail comes in by.

use super::ask::Inside;
use super::door::Answering;
use super::lock::Lock;
use super::words::{Hello, Make};
use crate::compose::doors::{self, Ground};
use crate::compose::writers::Writers;
use crate::compose::{format, stores};
use crate::configuration::Configuration;
use crate::serve;
use crate::sockets::{self, Kept};
use anyhow::{Context, Result, bail};
use roads_accept::Door;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use stores_directory::Follower;
use stores_journal::{Journal, LogHealth};
use stores_log::LogKind;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use words_world::{Listener, World};

/// The environment variable by which `serve` says that it keeps this edge, and will stop it.
pub(crate) const KEPT: &str = "STORMPOST_EDGE_KEPT";
/// The environment variable by which `serve` says that standard input hands over the listening sockets.
pub(crate) const DOORS: &str = "STORMPOST_EDGE_DOORS";

/// How long the edge before this one may take to hand over: it finishes what is open.
pub(crate) const HAND_OVER_MAX: Duration = Duration::from_secs(30);
/// A door may be taken for so long by an edge that was started a moment ago and holds no lock yet.
const TAKEN_MAX: Duration = Duration::from_secs(2);
/// How often a door that is still taken is tried again.
const TRY_EVERY: Duration = Duration::from_millis(20);
/// How often the directory's file is looked at when nobody says that it changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A journal whose disk did not confirm is opened anew, in new files, after this long: senders hear a `451` till then.
const FAILED_REST: Duration = Duration::from_secs(5);

/// Takes mail in until SIGTERM or SIGINT, or until the inside asks it to end; then it finishes what is open.
///
/// # Errors
/// When something needed cannot be opened, in words that say what to do.
pub fn run(configuration: Configuration) -> Result<()> {
    let make = Make::ours(&configuration.path);
    format::check(&configuration.node.data)?;
    serve::begin(&configuration);
    let kept = Kept::default();
    match std::env::var_os(DOORS) {
        // What cannot be handed over is opened here.
        Some(_) => match sockets::receive(std::io::stdin()) {
            Ok((given, _)) => given.into_iter().for_each(|socket| kept.add(socket)),
            Err(why) => tracing::warn!(%why, "the listening sockets were not handed over"),
        },
        None => {
            sockets::given(&kept).map_err(anyhow::Error::msg)?;
        }
    }
    let runtime = serve::runtime()?;
    let ended = runtime.block_on(edge(&configuration, make, kept));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn edge(configuration: &Configuration, make: Make, kept: Kept) -> Result<()> {
    let world = crate::world::with_sockets(configuration.node.name_server, kept.clone());
    let started = world.clock.now();
    // The doors first: while the journal is opened, or an edge before this one finishes, whoever calls waits a moment
    // in the system's queue and is not turned away.
    let open = open_doors(&world, configuration).await?;
    let path = configuration.edge_lock();
    let lock = Lock::take(&path, HAND_OVER_MAX).await;
    let Some(lock) = lock.with_context(|| format!("locking {}", path.display()))? else {
        bail!("another edge writes in {}; stop it first", configuration.node.data.display());
    };

    let keys = stores::keys(&world, configuration)?;
    let trace_key = stores::trace_key(&world, configuration)?;
    let mut writers = Writers::default();
    let options = stores::log_options(configuration, LogKind::Journal);
    let (journal, writer, recovery) = Journal::open(&world, keys, options).context("opening the journal")?;
    stores::report("journal", &recovery);
    writers.start_log("journal", journal.log(), writer)?;

    let options = stores_directory::Options { learns: true, ..configuration.directory_options() };
    let directory = Arc::new(Follower::open(&world, options).context("opening the directory")?);
    let stop = watch::Sender::new(false);
    let mut running = JoinSet::new();
    let certificate =
        doors::certificate(doors::certificates(configuration)?, &stop.subscribe(), &mut running);
    let inside = Arc::new(Inside::new(&world, configuration.inside_socket()));
    let ground = Ground { journal: journal.clone(), directory: directory.watch(), trace_key };
    let accept =
        doors::accept(&world, configuration, ground, certificate, inside.clone(), Some(inside.clone()));
    running.spawn(follow(directory.clone(), stop.subscribe()));

    let ending = watch::Sender::new(false);

    let hello = Hello { make, pid: std::process::id(), started, kept: std::env::var_os(KEPT).is_some() };
    let answering = Answering {
        hello,
        journal: journal.clone(),
        directory,
        accept: accept.clone(),
        ending: ending.clone(),
    };
    let local = doors::open_local(&world, configuration).await?;
    let mut taking = JoinSet::new();
    for (door, listener) in open.into_iter().chain([local]) {
        taking.spawn(accept.clone().run(door, listener, stop.subscribe()));
    }
    let socket = configuration.edge_socket();
    let listener = world.net.listen_local(&socket).await;
    let listener = listener.with_context(|| format!("opening {}", socket.display()))?;
    // The inside is answered for as long as messages come in.
    let silent = watch::Sender::new(false);
    running.spawn(answering.serve(listener, silent.subscribe()));
    let path = configuration.edge_doors_socket();
    let out = sockets::hand_out(&path, kept.clone(), watch::Sender::new(false), false, silent.subscribe());
    running.spawn(out.with_context(|| format!("opening {}", path.display()))?);
    tracing::info!(node = %configuration.node.name, pid = std::process::id(), "the edge takes mail");

    let ended = until_the_end(&journal, &lock, ending.subscribe(), &mut taking, &mut running).await;
    // From now on only the edge that takes this one's place has them, if there is one.
    kept.close();
    stop.send_replace(true);
    while taking.join_next().await.is_some() {}
    silent.send_replace(true);
    while running.join_next().await.is_some() {}
    journal.checkpoint();
    drop((journal, accept));
    tokio::task::spawn_blocking(move || writers.finish()).await.context("closing the journal")?;
    drop(lock);
    ended
}

/// Waits for a reason to end. An error is one that a start anew may put right.
async fn until_the_end(
    journal: &Journal,
    lock: &Lock,
    mut ending: watch::Receiver<bool>,
    taking: &mut JoinSet<()>,
    running: &mut JoinSet<()>,
) -> Result<()> {
    let mut health = journal.watch_health();
    let failed = async {
        let failed = health.wait_for(|health| matches!(health, LogHealth::Failed(_))).await.is_ok();
        sleep(FAILED_REST).await;
        failed
    };
    let removed = async {
        while lock.stands() {
            sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        signal = serve::stop_signal() => tracing::info!(signal, "the edge stops: what is open is finished"),
        _ = ending.wait_for(|ending| *ending) => tracing::info!("the edge stops as it was asked to"),
        () = removed => bail!("edge.lock was removed, so that another edge may write by now; ending"),
        _ = failed => bail!("the disk did not confirm; starting anew"),
        ended = taking.join_next() => bail!("a door closed by itself: {ended:?}"),
        ended = running.join_next() => bail!("a part of the edge ended by itself: {ended:?}"),
    }
    Ok(())
}

/// Opens the doors to the network. One that the edge before this one still has is waited for.
async fn open_doors(world: &World, configuration: &Configuration) -> Result<Vec<(Door, Box<dyn Listener>)>> {
    let began = Instant::now();
    loop {
        let error = match doors::open(world, configuration).await {
            Ok(open) => return Ok(open),
            Err(error) => error,
        };
        let taken = error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::AddrInUse);
        let patience = match Lock::holder(&configuration.edge_lock()) {
            Some(_) => HAND_OVER_MAX,
            None => TAKEN_MAX,
        };
        if !taken || began.elapsed() >= patience {
            return Err(error);
        }
        sleep(TRY_EVERY).await;
    }
}

/// Follows the directory's file. What cannot be read leaves the last good state in force.
async fn follow(directory: Arc<Follower>, mut stop: watch::Receiver<bool>) {
    loop {
        let last = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => true,
            () = sleep(LOOK_EVERY) => false,
        };
        let looking = directory.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || looking.look()).await {
            tracing::warn!(%error, "the directory could not be read; the last state stays in force");
        }
        if last {
            return;
        }
    }
}
