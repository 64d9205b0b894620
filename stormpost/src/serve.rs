//! `stormpost serve`: one node, from opening its stores to closing its doors.

use crate::certificates::{CertificateFiles, Certificates};
use crate::compose::owed::{self, Reconciled};
use crate::compose::primaries::Primaries;
use crate::compose::sign_in::Reception;
use crate::compose::stores::Stores;
use crate::compose::upkeep::Upkeep;
use crate::compose::{deliver, doors, notices, stores};
use crate::configuration::Configuration;
use crate::control::answer::{self, Answers};
use crate::report::Reports;
use anyhow::{Context, Result};
use roads_accept::CallOut;
use roads_deliver::{Deliver, QueueView};
use roads_mirror::{Mirror, MirrorOptions, MirrorParts, Prover};
use roads_notify::Notify;
use roads_watch::Watch;
use std::collections::BTreeMap;
use std::sync::Arc;
use stores_directory::Snapshot;
use stores_mailbox::Applier;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use words_mail::{Address, PrimaryId};
use words_world::World;

/// Serves until SIGTERM or SIGINT, then finishes what is open.
///
/// # Errors
/// When something needed cannot be opened, in words that say what to do.
pub fn serve(configuration: Configuration) -> Result<()> {
    crate::logging::begin(configuration.node.log_json);
    // The first provider installed is the one; without this, two in the tree would stop the program later.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    raise_open_files();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let data = &configuration.node.data;
    std::fs::create_dir_all(data).with_context(|| format!("making the data folder {}", data.display()))?;
    let lock = stores::lock(data)?;
    let served = runtime.block_on(node(&configuration));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    drop(lock);
    served
}

/// Serves the edge alone, as a process of its own.
///
/// # Errors
/// When something needed cannot be opened.
pub fn edge(_: Configuration) -> Result<()> {
    anyhow::bail!("the edge does not run as a process of its own yet; `stormpost serve` runs it")
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

async fn node(configuration: &Configuration) -> Result<()> {
    let world = crate::world::real(configuration.node.name_server);
    let (stores, writers, applier) = stores::open(&world, configuration)?;
    let stop = watch::Sender::new(false);
    let mut roads = Roads { world, stop: stop.subscribe(), running: JoinSet::new() };
    let started = roads.start(configuration, &stores, applier).await;
    if started.is_ok() {
        tracing::info!(node = %configuration.node.name, "serving");
        tokio::select! {
            signal = stop_signal() => tracing::info!(signal, "stopping: what is open is finished"),
            ended = roads.running.join_next() => {
                tracing::error!(?ended, "a road ended by itself; stopping, so that a restart brings it back");
            }
        }
    }
    stop.send_replace(true);
    while roads.running.join_next().await.is_some() {}
    drop(stores);
    tokio::task::spawn_blocking(move || writers.finish()).await.context("closing the logs")?;
    started
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
        stores: &Stores,
        applier: Applier,
    ) -> Result<()> {
        let stop = self.stop.clone();
        self.running.spawn(async move {
            if let Err(why) = applier.run(stop).await {
                tracing::error!(%why, "the mailboxes cannot be shown");
            }
        });
        let directory = stores.directory.clone();
        let stop = self.stop.clone();
        self.running.spawn(async move { directory.run(stop).await });

        let certificate = self.certificate(configuration)?;
        let primaries = Primaries::open(&self.world, configuration)?;
        let reception = Arc::new(Reception::new(
            stores.directory.clone(),
            stores.ledger.clone(),
            primaries.clone(),
            self.world.clock.clone(),
            configuration.node.name.clone(),
        ));
        self.watch(configuration, stores, &primaries);
        let prover = self.mirror(configuration, stores, &primaries);
        let queue = self.deliver(configuration, stores, &primaries)?;
        self.notify(configuration, stores, queue.clone())?;
        let upkeep = Upkeep {
            world: self.world.clone(),
            journal: stores.journal.clone(),
            ledger: stores.ledger.clone(),
            mailboxes: stores.mailboxes.clone(),
            queue: queue.clone(),
            retention: configuration.retention,
        };
        self.running.spawn(upkeep.run(self.stop.clone()));
        self.control(configuration, stores, queue, prover).await?;
        let imap =
            doors::imap(&self.world, configuration, stores, certificate.clone(), reception.clone()).await?;
        self.running.spawn(imap.run(self.stop.clone()));
        let call_out = Some(primaries as Arc<dyn CallOut>);
        let accept = doors::accept(&self.world, configuration, stores, certificate, reception, call_out);
        for (door, listener) in doors::open(&self.world, configuration).await? {
            let (accept, stop) = (accept.clone(), self.stop.clone());
            self.running.spawn(async move { accept.run(door, listener, stop).await });
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        configuration: &Configuration,
        stores: &Stores,
        primaries: &Arc<Primaries>,
    ) -> Result<QueueView> {
        let settings = deliver::settings(configuration, primaries)?;
        let door = deliver::local_door(&self.world, configuration)?;
        let deliver = Deliver::new(
            roads_deliver::Parts {
                world: self.world.clone(),
                journal: stores.reader.clone(),
                arrivals: Some(stores.journal.durable()),
                ledger: stores.ledger.clone(),
                mailboxes: stores.mailboxes.clone(),
                directory: stores.directory.watch(),
                door: Arc::new(door),
                ask: Some(Arc::new(deliver::Look::new(primaries.clone(), stores.trace_key.clone()))),
                signer: Arc::new(deliver::signer(configuration)?),
            },
            settings,
        );
        let view = deliver.view();
        self.running.spawn(deliver.run(self.stop.clone()));
        Ok(view)
    }

    fn notify(&mut self, configuration: &Configuration, stores: &Stores, queue: QueueView) -> Result<()> {
        let notify = Notify {
            world: self.world.clone(),
            ledger: stores.ledger.clone(),
            node: configuration.node.name.clone(),
            receivers: notices::receivers(&self.world, configuration)?,
            repeat: configuration.notify.repeat,
            backlog: Arc::new(notices::Waiting { queue }),
        };
        self.running.spawn(notify.run(self.stop.clone()));
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
            watched: primaries.watched(configuration, &askable(configuration, &stores.directory.snapshot())),
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
    ) -> Prover {
        let mirror = Mirror::new(MirrorParts {
            world: self.world.clone(),
            journal: stores.reader.clone(),
            ledger: stores.ledger.clone(),
            mailboxes: stores.mailboxes.clone(),
            directory: stores.directory.watch(),
            trace_key: stores.trace_key.clone(),
            doors: primaries.clone(),
            primaries: configuration.primaries.iter().map(|primary| primary.id.clone()).collect(),
            options: MirrorOptions::default(),
        });
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
        prover: Prover,
    ) -> Result<()> {
        let answers = Answers::new(answer::Parts {
            world: self.world.clone(),
            configuration: Arc::new(configuration.clone()),
            journal: stores.journal.clone(),
            ledger: stores.ledger.clone(),
            mailboxes: stores.mailboxes.clone(),
            directory: stores.directory.clone(),
            queue,
            prover,
        });
        self.running.spawn(answers.latest().follow(self.stop.clone()));
        let node = &configuration.node;
        let reports = Reports::new(&self.world, &stores.ledger, &node.name, node.data.clone());
        self.running.spawn(reports.follow(self.stop.clone()));
        let path = configuration.control_socket();
        let listener = self.world.net.listen_local(&path).await;
        let listener = listener.with_context(|| format!("opening {}", path.display()))?;
        let most = configuration.limits.control_connections;
        self.running.spawn(answer::serve(answers, listener, most, self.stop.clone()));
        Ok(())
    }

    /// The certificate in use, and the task that rereads it.
    fn certificate(&mut self, configuration: &Configuration) -> Result<doors::Certificate> {
        let certificates = match &configuration.tls {
            Some(files) => Certificates::open(CertificateFiles {
                certificate: files.certificate.clone(),
                key: files.key.clone(),
            })?,
            None => {
                let names = [configuration.node.name.clone(), "localhost".to_owned()];
                let (certificates, made) = Certificates::self_signed(&configuration.node.data, &names)?;
                if made {
                    tracing::warn!(
                        "no certificate is configured: one was made and signed by itself. Other mail servers accept \
                         that, people's mail programs warn; see [tls] in the configuration"
                    );
                }
                certificates
            }
        };
        let (publish, certificate) = watch::channel(Some(certificates.subscribe().borrow().clone()));
        let mut changes = certificates.subscribe();
        let mut stop = self.stop.clone();
        self.running.spawn(async move {
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
        Ok(certificate)
    }
}

/// Waits for the word to end, and tells which it was.
async fn stop_signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
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
