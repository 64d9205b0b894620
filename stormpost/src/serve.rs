//! `stormpost serve`: one node, from opening its stores to closing its doors.

use crate::acme::Acme;
use crate::certificates::Certificates;
use crate::command::ServeArguments;
use crate::compose::doors::Ground;
use crate::compose::offsite::{OffsiteCopy, OffsiteView};
use crate::compose::owed::{self, Reconciled};
use crate::compose::primaries::Primaries;
use crate::compose::sign_in::Reception;
use crate::compose::stores::Stores;
use crate::compose::upkeep::Upkeep;
use crate::compose::writers::Writers;
use crate::compose::{deliver, doors, elsewhere, format, heartbeat, notices, spool, stores, transport};
use crate::configuration::{Configuration, EdgePlace, MirrorSettings};
use crate::control::answer::{self, Answers};
use crate::edge::{self, EdgeView, Knowing, Supervisor, TakenIn};
use crate::http::{self, Pages};
use crate::report::Reports;
use crate::sockets::{self, Kept};
use crate::systemd::{Overseer, Phase};
use anyhow::{Context, Result, anyhow, bail};
use roads_deliver::{Deliver, QueueView};
use roads_mirror::{
    Hands, Mirror, MirrorOptions, MirrorParts, PaceOptions, Prover, PullOptions, PullParts, Puller,
};
use roads_notify::{Notify, Worry};
use roads_watch::Watch;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stores_directory::Snapshot;
use stores_journal::Journal;
use stores_mailbox::Applier;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use words_mail::{Address, PrimaryId};
use words_world::World;

/// Serves until SIGTERM or SIGINT, then finishes what is open.
///
/// # Errors
/// When something needed cannot be opened, in words that say what to do.
pub fn serve(configuration: Configuration, arguments: ServeArguments) -> Result<()> {
    begin(&configuration);
    let kept = Kept::default();
    let left = sockets::given(&kept).map_err(anyhow::Error::msg)?;
    let doorway = Doorway { kept, left, overseer: Overseer::from_environment() };
    let runtime = runtime()?;
    let data = &configuration.node.data;
    // Before anything there is touched.
    format::check(data)?;
    std::fs::create_dir_all(data).with_context(|| format!("making the data folder {}", data.display()))?;
    let lock = match arguments.take_over {
        true => take_over(&configuration, &doorway)?,
        false => stores::lock(data)?,
    };
    let served = runtime.block_on(node(&configuration, &doorway));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    drop(lock);
    served
}

/// How long the node before this one may take to finish what is open.
const TAKE_OVER_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Gets the listening sockets from the node that runs, has it end, and takes its place. When none runs, this is a start
/// as any other.
fn take_over(configuration: &Configuration, doorway: &Doorway) -> Result<stores_log::DirLock> {
    // What would stop this start is found while the other node still runs.
    doors::certificates(configuration)?;
    let socket = configuration.doors_socket();
    let asked =
        sockets::ask(&socket, &doorway.kept).with_context(|| format!("asking at {}", socket.display()))?;
    if let Some(asked) = asked {
        if asked.overseen && !doorway.overseer.is_there() {
            bail!(
                "the node that runs is overseen by a service manager, which would start it again; upgrade it there: \
                 systemctl restart stormpost"
            );
        }
        tracing::info!("taking the place of the node that runs");
        asked.leave().context("the node that runs has just ended; start again")?;
    }
    let until = Instant::now() + TAKE_OVER_MAX;
    loop {
        match stores::lock(&configuration.node.data) {
            Err(_) if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
            locked => return locked,
        }
    }
}

/// What the world outside holds for this process, and hears of it.
struct Doorway {
    kept: Kept,
    /// Names of the sockets that the last life left in the overseer's keeping.
    left: Vec<String>,
    overseer: Overseer,
}

impl Doorway {
    /// Every door is open: the sockets are left in good hands, and those that nobody needs any more are closed.
    fn opened(&self) {
        for at in self.kept.close_unwanted() {
            tracing::info!(%at, "closed: the configuration names it no more");
        }
        let names: Vec<String> = self.kept.all().iter().map(|(at, _)| sockets::name(*at)).collect();
        let stale: Vec<String> = self.left.iter().filter(|name| !names.contains(name)).cloned().collect();
        self.overseer.let_go(&stale);
        self.overseer.keep(&self.kept);
    }
}

/// What every process that serves begins with.
pub(crate) fn begin(configuration: &Configuration) {
    crate::logging::begin(configuration.node.log_json);
    // The first provider installed is the one; without this, two in the tree would stop the program later.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    crate::world::gather_randomness();
    raise_open_files();
}

pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")
}

/// Ten thousand idle senders need ten thousand descriptors; the usual soft limit is 1,024.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        tracing::warn!("the limit of open files could not be raised");
    }
}

async fn node(configuration: &Configuration, doorway: &Doorway) -> Result<()> {
    let kept = &doorway.kept;
    let world = crate::world::with_sockets(configuration.node.name_server, kept.clone());
    let mut writers = Writers::default();
    let footing = stores::footing(&world, configuration)?;
    let certificates = doors::certificates(configuration)?;
    // Whoever writes the journal holds this, so that two never do.
    let mut _writing = None;
    // The edge is started before the stores are opened: mail is taken first.
    let (journal, mut edge) = match configuration.node.edge {
        EdgePlace::Process => {
            let view = EdgeView::new(&world, configuration.edge_socket());
            let journal = stores::followed_journal(&world, configuration, &footing, &view);
            let log = journal.reader().log_reader().clone();
            (journal, Some(Supervisor::begin(configuration, view, log, kept.clone())))
        }
        EdgePlace::Inside => {
            // It stands in the doors that are opened here in a moment.
            let _ = sockets::ask(&configuration.edge_doors_socket(), kept);
            edge::end_running(&world, configuration).await?;
            _writing = Some(
                edge::Lock::try_take(&configuration.edge_lock())?.context("another edge has just begun")?,
            );
            (stores::own_journal(&world, configuration, &footing, &mut writers)?, None)
        }
    };
    let (tell, phase) = watch::channel(Phase::Starting);
    let mut telling = JoinSet::new();
    telling.spawn(doorway.overseer.clone().hear(phase, edge.as_ref().map(Supervisor::view)));
    let stop = watch::Sender::new(false);
    let mut roads = Roads { world, stop: stop.subscribe(), running: JoinSet::new() };
    let opened = stores::open(&roads.world, configuration, footing, journal, &mut writers);
    let ended = match opened {
        Ok((stores, applier)) => match until_known(edge.as_mut()).await {
            Some(end) => end,
            None => match roads.start(configuration, stores, applier, certificates).await {
                Ok(()) => {
                    doorway.opened();
                    tell.send_replace(Phase::Ready);
                    until_the_end(configuration, &mut roads, edge.as_mut(), doorway).await
                }
                Err(error) => End::Failed(error),
            },
        },
        Err(error) => End::Failed(error),
    };
    tell.send_replace(Phase::Stopping);
    // Whoever takes our place has them by now; else a door closes when the road behind it ends.
    kept.close();
    let failed = leave_edge(ended, edge).await;
    stop.send_replace(true);
    while roads.running.join_next().await.is_some() {}
    tokio::task::spawn_blocking(move || writers.finish()).await.context("closing the logs")?;
    drop(tell);
    while telling.join_next().await.is_some() {}
    failed.map_or(Ok(()), Err)
}

/// What becomes of the edge, and why the node failed, if it did.
async fn leave_edge(ended: End, edge: Option<Supervisor>) -> Option<anyhow::Error> {
    // The edge stops first: it closes the doors and finishes what is coming in while everything else is still there.
    match (ended, edge) {
        (End::Signal, Some(edge)) => {
            edge.stop().await;
            None
        }
        (End::Signal, None) => None,
        // The next inside adopts the edge, and replaces it if it is of another make.
        (End::HandOver, edge) => {
            if let Some(edge) = edge {
                edge.leave();
            }
            None
        }
        // Mail is taken on meanwhile; the next start adopts the edge.
        (End::Fault(error), edge) => {
            if let Some(edge) = edge {
                edge.leave();
            }
            Some(error)
        }
        (End::Failed(error), edge) => {
            if let Some(edge) = edge {
                edge.stop_if_ours().await;
            }
            Some(error)
        }
    }
}

/// Why a node ends.
enum End {
    /// Somebody said so.
    Signal,
    /// Another node takes its place.
    HandOver,
    /// It could not be started.
    Failed(anyhow::Error),
    /// A part of it ended by itself; a restart brings it back.
    Fault(anyhow::Error),
}

/// Waits until the edge has said how far the journal is durable, or there is a reason to end.
async fn until_known(edge: Option<&mut Supervisor>) -> Option<End> {
    let edge = edge?;
    let view = edge.view();
    tokio::select! {
        biased;
        () = view.known() => None,
        signal = stop_signal() => {
            tracing::info!(signal, "stopping before everything was started");
            Some(End::Signal)
        }
        why = edge.given_up() => Some(End::Failed(why)),
    }
}

async fn until_the_end(
    configuration: &Configuration,
    roads: &mut Roads,
    edge: Option<&mut Supervisor>,
    doorway: &Doorway,
) -> End {
    tracing::info!(node = %configuration.node.name, "serving");
    let leave = watch::Sender::new(false);
    let mut leaving = leave.subscribe();
    let (path, overseen) = (configuration.doors_socket(), doorway.overseer.is_there());
    match sockets::hand_out(&path, doorway.kept.clone(), leave, overseen, roads.stop.clone()) {
        Ok(out) => drop(roads.running.spawn(out)),
        Err(why) => tracing::error!(%why, "no other node can take this one's place without a gap"),
    }
    let edge = async {
        match edge {
            Some(edge) => edge.given_up().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        signal = stop_signal() => {
            tracing::info!(signal, "stopping: what is open is finished");
            End::Signal
        }
        Ok(_) = leaving.wait_for(|leave| *leave) => {
            tracing::info!("another node takes this one's place: what is open is finished");
            End::HandOver
        }
        ended = roads.running.join_next() => {
            tracing::error!(?ended, "a road ended by itself; stopping, so that a restart brings it back");
            End::Fault(anyhow!("a road ended by itself; start again"))
        }
        why = edge => End::Failed(why),
    }
}

/// Live observations on their way to the watch.
const LIVE_MAX: usize = 1_024;

/// The roads of one node, as tasks.
struct Roads {
    world: World,
    stop: watch::Receiver<bool>,
    running: JoinSet<()>,
}

impl Roads {
    async fn start(
        &mut self,
        configuration: &Configuration,
        stores: Stores,
        applier: Applier,
        certificates: Certificates,
    ) -> Result<()> {
        let stores = &stores;
        let stop = self.stop.clone();
        self.running.spawn(async move {
            if let Err(why) = applier.run(stop).await {
                tracing::error!(%why, "the mailboxes cannot be shown");
            }
        });
        let directory = stores.directory.clone();
        let stop = self.stop.clone();
        self.running.spawn(async move { directory.run(stop).await });

        let certificate = doors::certificate(certificates, &self.stop, &mut self.running);
        let primaries = Primaries::open(&self.world, configuration)?;
        let reception = Arc::new(Reception::new(
            stores.directory.clone(),
            stores.ledger.clone(),
            primaries.clone(),
            &self.world,
            configuration.node.name.clone(),
            configuration.limits.sign_in(),
        ));
        self.watch(configuration, stores, &primaries);
        let queue = self.deliver(configuration, stores, &primaries)?;
        let prover = self.mirror(configuration, stores, &primaries, queue.clone());
        let upkeep = Upkeep {
            world: self.world.clone(),
            journal: stores.journal.clone(),
            ledger: stores.ledger.clone(),
            mailboxes: stores.mailboxes.clone(),
            queue: queue.clone(),
            retention: configuration.retention,
        };
        self.running.spawn(upkeep.run(self.stop.clone()));
        let waiting = queue.clone();
        let offsite = self.offsite(configuration, stores)?;
        let looks = (prover, offsite);
        let answers = self.control(configuration, stores, queue, looks, &primaries).await?;
        self.notify(configuration, stores, answers.clone())?;
        let imap =
            doors::imap(&self.world, configuration, stores, certificate.clone(), reception.clone()).await?;
        self.running.spawn(imap.run(self.stop.clone()));
        let taken = match stores.journal.here() {
            Some(journal) => {
                let certificate = (certificate, reception);
                self.doors(configuration, stores, journal, certificate, primaries).await?
            }
            None => self.inside(configuration, stores, reception, primaries).await?,
        };
        self.running.spawn(spool::tell(taken.clone(), waiting, self.stop.clone()));
        self.http(configuration, answers, taken).await
    }

    /// The doors for mail, in this process.
    async fn doors(
        &mut self,
        configuration: &Configuration,
        stores: &Stores,
        journal: &Journal,
        (certificate, reception): (doors::Certificate, Arc<Reception>),
        primaries: Arc<Primaries>,
    ) -> Result<TakenIn> {
        let ground = Ground {
            journal: journal.clone(),
            directory: stores.directory.watch(),
            trace_key: stores.trace_key.clone(),
        };
        let accept =
            doors::accept(&self.world, configuration, ground, certificate, reception, Some(primaries));
        let open = doors::open(&self.world, configuration).await?;
        let local = doors::open_local(&self.world, configuration).await?;
        for (door, listener) in open.into_iter().chain([local]) {
            self.running.spawn(accept.clone().run(door, listener, self.stop.clone()));
        }
        Ok(TakenIn::Here { accept, journal: journal.clone() })
    }

    /// What the edge, in its own process, is answered and told.
    async fn inside(
        &mut self,
        configuration: &Configuration,
        stores: &Stores,
        reception: Arc<Reception>,
        primaries: Arc<Primaries>,
    ) -> Result<TakenIn> {
        let edge = stores.journal.edge().context("the journal has no writer")?.clone();
        let path = configuration.inside_socket();
        let listener = self.world.net.listen_local(&path).await;
        let listener = listener.with_context(|| format!("opening {}", path.display()))?;
        let knowing = Knowing { sign_in: reception, call_out: primaries };
        self.running.spawn(knowing.serve(listener, self.stop.clone()));
        self.running.spawn(edge.clone().tell_of(stores.directory.watch(), self.stop.clone()));
        Ok(TakenIn::Edge(edge))
    }

    fn deliver(
        &mut self,
        configuration: &Configuration,
        stores: &Stores,
        primaries: &Arc<Primaries>,
    ) -> Result<QueueView> {
        let mut settings = deliver::settings(configuration, primaries)?;
        let signer = Arc::new(deliver::signer(configuration)?);
        let world = transport::proving(&self.world, configuration)?;
        if let Some(transport) = transport::transport(&world, configuration)? {
            let run = transport.clone().run(settings.internet.clone(), signer.clone(), self.stop.clone());
            self.running.spawn(run);
            settings.internet.guard = Some(transport);
        }
        let door = deliver::local_door(&self.world, configuration)?;
        let deliver = Deliver::new(
            roads_deliver::Parts {
                world,
                journal: stores.journal.reader(),
                arrivals: Some(stores.journal.durable()),
                ledger: stores.ledger.clone(),
                mailboxes: stores.mailboxes.clone(),
                directory: stores.directory.watch(),
                door: Arc::new(door),
                ask: Some(Arc::new(deliver::Look::new(primaries.clone(), stores.trace_key.clone()))),
                signer,
            },
            settings,
        );
        let view = deliver.view();
        self.running.spawn(deliver.run(self.stop.clone()));
        Ok(view)
    }

    fn notify(&mut self, configuration: &Configuration, stores: &Stores, answers: Answers) -> Result<()> {
        let receivers = notices::receivers(&self.world, configuration)?;
        let certificates = notices::Certificates {
            configuration: Arc::new(configuration.clone()),
            clock: self.world.clock.clone(),
        };
        let worry = Worry {
            world: self.world.clone(),
            ledger: stores.ledger.clone(),
            node: configuration.node.name.clone(),
            couriers: receivers.others.clone(),
            concerns: Arc::new(certificates),
        };
        self.running.spawn(worry.run(self.stop.clone()));
        let notify = Notify {
            world: self.world.clone(),
            ledger: stores.ledger.clone(),
            node: configuration.node.name.clone(),
            receivers,
            repeat: configuration.notify.repeat,
            backlog: Arc::new(notices::Waiting { answers: answers.clone() }),
        };
        self.running.spawn(notify.run(self.stop.clone()));
        for heartbeat in heartbeat::heartbeats(&self.world, configuration, &answers)? {
            self.running.spawn(heartbeat.run(self.stop.clone()));
        }
        Ok(())
    }

    fn watch(&mut self, configuration: &Configuration, stores: &Stores, primaries: &Arc<Primaries>) {
        let reconciled = Arc::new(Reconciled::default());
        let follow = reconciled.clone().follow(stores.ledger.clone(), self.stop.clone());
        self.running.spawn(follow);
        let (tell, live) = mpsc::channel(LIVE_MAX);
        self.running.spawn(owed::follow_live(stores.ledger.clone(), tell, self.stop.clone()));
        let watch = Watch {
            world: self.world.clone(),
            ledger: stores.ledger.clone(),
            node: configuration.node.name.clone(),
            watched: primaries.watched(
                configuration,
                &askable(configuration, &stores.directory.snapshot()),
                stores.directory.learned().takes(),
            ),
            live,
            owed: reconciled,
        };
        self.running.spawn(watch.run(self.stop.clone()));
    }

    fn mirror(
        &mut self,
        configuration: &Configuration,
        stores: &Stores,
        primaries: &Arc<Primaries>,
        queue: QueueView,
    ) -> Prover {
        let mirror = Mirror::new(MirrorParts {
            world: self.world.clone(),
            journal: stores.journal.reader(),
            ledger: stores.ledger.clone(),
            mailboxes: stores.mailboxes.clone(),
            directory: stores.directory.watch(),
            trace_key: stores.trace_key.clone(),
            doors: primaries.clone(),
            primaries: configuration.primaries.iter().map(|primary| primary.id.clone()).collect(),
            options: MirrorOptions::default(),
        });
        let hands = Hands::default();
        let mirror = mirror.asking(Arc::new(move |trace, recipient| queue.waits(trace, recipient)));
        let mirror = mirror.beside(hands.clone());
        let pulled = configuration.primaries.iter().filter_map(|primary| {
            let mirror = primary.mailbox.as_ref()?.mirror?;
            Some((primary.id.clone(), pull_options(mirror)))
        });
        let puller = Puller::new(PullParts {
            world: self.world.clone(),
            mailboxes: stores.mailboxes.clone(),
            ledger: stores.ledger.clone(),
            directory: stores.directory.watch(),
            trace_key: stores.trace_key.clone(),
            doors: primaries.clone(),
            primaries: pulled.collect(),
            hands,
        });
        self.running.spawn(puller.run(self.stop.clone()));
        let prover = mirror.prover();
        self.running.spawn(mirror.run(self.stop.clone()));
        prover
    }

    /// The door for commands.
    async fn control(
        &mut self,
        configuration: &Configuration,
        stores: &Stores,
        queue: QueueView,
        (prover, offsite): (Prover, Option<OffsiteView>),
        primaries: &Arc<Primaries>,
    ) -> Result<Answers> {
        let renewal = match Acme::open(&self.world, configuration)? {
            Some((acme, renewal)) => {
                self.running.spawn(acme.run(self.stop.clone()));
                Some(renewal)
            }
            None => None,
        };
        let answers = Answers::new(answer::Parts {
            world: self.world.clone(),
            configuration: Arc::new(configuration.clone()),
            journal: stores.journal.clone(),
            ledger: stores.ledger.clone(),
            mailboxes: stores.mailboxes.clone(),
            directory: stores.directory.clone(),
            queue,
            prover,
            offsite,
            ask: Arc::new(deliver::Look::new(primaries.clone(), stores.trace_key.clone())),
            renewal,
        });
        self.running.spawn(answers.latest().follow(self.stop.clone()));
        let node = &configuration.node;
        let reports = Reports::new(&self.world, &stores.ledger, &node.name, node.data.clone());
        self.running.spawn(reports.follow(self.stop.clone()));
        let path = configuration.control_socket();
        let listener = self.world.net.listen_local(&path).await;
        let listener = listener.with_context(|| format!("opening {}", path.display()))?;
        let most = configuration.limits.control_connections;
        self.running.spawn(answer::serve(answers.clone(), listener, most, self.stop.clone()));
        Ok(answers)
    }

    /// The copy elsewhere, on a thread of its own.
    fn offsite(&mut self, configuration: &Configuration, stores: &Stores) -> Result<Option<OffsiteView>> {
        let Some(offsite) = configuration.offsite.as_ref().filter(|offsite| !offsite.every.is_zero()) else {
            return Ok(None);
        };
        let keys = stores::keys(&self.world, configuration)?;
        let backup = elsewhere::backup(&self.world, configuration, keys, offsite.keep);
        let place = elsewhere::place(&self.world, &offsite.to, configuration.s3.as_ref());
        let place = place.map_err(|why| anyhow!("[offsite]: {why}"))?;
        let journal = stores.journal.clone();
        let copy = OffsiteCopy::new(backup, place, offsite, Arc::new(move || journal.written().records));
        let (view, stop) = (copy.view(), self.stop.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("starting the copy elsewhere")?;
        self.running.spawn(async move {
            let copying = tokio::task::spawn_blocking(move || runtime.block_on(copy.run(stop)));
            if let Err(fault) = copying.await {
                tracing::error!(%fault, "the copy elsewhere ended by a fault of its own");
            }
        });
        Ok(Some(view))
    }

    /// The health page and the metrics.
    async fn http(&mut self, configuration: &Configuration, answers: Answers, taken: TakenIn) -> Result<()> {
        let mut listeners = Vec::new();
        for at in &configuration.listen.http {
            listeners.push(doors::open_one(&self.world, *at).await?);
        }
        let pages = Pages { answers, taken };
        self.running.spawn(http::serve(pages, listeners, self.stop.clone()));
        Ok(())
    }
}

/// Waits for the word to end, and tells which it was.
pub(crate) async fn stop_signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        // The terminal was closed: nothing is to be left behind that nobody sees.
        signal(SignalKind::hangup()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        _ = hangup.recv() => "SIGHUP",
    }
}

/// An address at each primary that a probe may ask about: the first account there.
fn askable(configuration: &Configuration, directory: &Snapshot) -> BTreeMap<PrimaryId, Address> {
    let mut askable = BTreeMap::new();
    for account in directory.accounts() {
        if let Some(primary) = directory.primary_of(&account.id()) {
            askable.entry(primary.clone()).or_insert_with(|| account.address.clone());
        }
    }
    // A primary whose accounts nobody listed is asked about its postmaster (RFC 5321 §4.5.1).
    for domain in configuration.directory_domains() {
        if let Some(primary) = domain.primary
            && let Ok(postmaster) = Address::new("postmaster", &domain.name)
        {
            askable.entry(primary).or_insert(postmaster);
        }
    }
    askable
}

/// How a primary is pulled, out of the configuration.
fn pull_options(mirror: MirrorSettings) -> PullOptions {
    PullOptions {
        days: mirror.days,
        look_every: mirror.look_every,
        pace: PaceOptions { connections: mirror.connections, ..PaceOptions::default() },
        ..PullOptions::default()
    }
}
