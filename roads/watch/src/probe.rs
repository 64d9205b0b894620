//! Looking at a primary: dialogues begun only to look, and canary messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stores_primary::imap::{self, Hop as ImapHop, SignIn, Stage};
use stores_primary::smtp::{self, Hop};
use stores_primary::store::StoreError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use words_mail::{Address, Evidence, Finding, Observation, Plane, PrimaryId, Reply, Sender, Takes};
use words_world::{Boxed, NameError, World};

/// After a first failure in peace it is asked again so soon: a doubt is confirmed or gone within a second.
const AGAIN: Duration = Duration::from_millis(500);
/// However often it is woken, a probe does not look more often than this.
const GAP: Duration = Duration::from_millis(200);
/// How often it is looked whether a canary has arrived.
const CANARY_LOOK: Duration = Duration::from_secs(2);
/// Words of an answer that are kept with an observation.
const DETAIL_MAX: usize = 300;

/// What a look at one plane found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which plane.
    pub plane: Plane,
    /// What was found.
    pub finding: Finding,
    /// How long it took, microseconds.
    pub micros: u64,
    /// The words of the answer or of the failure.
    pub detail: String,
}

/// A way of looking at a primary. It may say something about several planes: who cannot connect cannot sign in either.
pub trait Probe: Send + Sync {
    /// Looks once. The road bounds the time.
    fn look(&self) -> Boxed<'_, Vec<Seen>>;

    /// The planes it speaks about: what is down when it gives no answer in time.
    fn planes(&self) -> Vec<Plane>;
}

/// A message of our own that goes the whole way, to an account of its own at the primary.
pub trait Canary: Send + Sync {
    /// Hands over a canary that carries `mark`. It is never queued: what cannot be handed over now has failed.
    fn send<'a>(&'a self, mark: &'a str) -> Boxed<'a, Result<(), String>>;

    /// Whether it has arrived; if so it is removed, with any older one that came late. An error means that nobody
    /// can tell now.
    fn take<'a>(&'a self, mark: &'a str) -> Boxed<'a, Result<bool, String>>;

    /// The plane that its way proves.
    fn plane(&self) -> Plane;
}

/// SMTP or LMTP as far as `RCPT`.
pub struct SmtpProbe {
    /// The outside.
    pub world: World,
    /// Where.
    pub hop: Hop,
    /// Whom to ask about: the canary's address, or `postmaster`, which every server knows (RFC 5321 §4.5.1).
    pub recipient: Address,
    /// What it proves: `Inbound` of the primary's front door, `Outbound` of its way out.
    pub plane: Plane,
}

impl Probe for SmtpProbe {
    fn look(&self) -> Boxed<'_, Vec<Seen>> {
        Box::pin(async move {
            let to = [self.recipient.clone()];
            let seen = smtp::probe(&self.world, &self.hop, &Sender::NOBODY, &to).await;
            let finding = if seen.is_up() { Finding::Up } else { Finding::Down };
            vec![Seen { plane: self.plane, finding, micros: seen.micros(), detail: seen.words() }]
        })
    }

    fn planes(&self) -> Vec<Plane> {
        vec![self.plane]
    }
}

/// The same, by one who remembers that the recipient was taken before: a server that refuses him for good from some moment on
/// refuses everybody. The rule is [`rules_failover::front_door`].
pub struct FrontDoor {
    probe: SmtpProbe,
    took: AtomicBool,
    heard: Box<dyn Fn(Takes) + Send + Sync>,
}

impl FrontDoor {
    /// One that has seen nothing yet. `heard` is told what the server says it takes.
    pub fn new(probe: SmtpProbe, heard: impl Fn(Takes) + Send + Sync + 'static) -> FrontDoor {
        FrontDoor { probe, took: AtomicBool::new(false), heard: Box::new(heard) }
    }
}

impl Probe for FrontDoor {
    fn look(&self) -> Boxed<'_, Vec<Seen>> {
        Box::pin(async move {
            let SmtpProbe { world, hop, recipient, plane } = &self.probe;
            let seen = smtp::probe(world, hop, &Sender::NOBODY, std::slice::from_ref(recipient)).await;
            if let Some(takes) = seen.takes.filter(|_| seen.is_up()) {
                (self.heard)(takes);
            }
            let answers = || seen.answers.iter().map(|(_, reply)| reply);
            let refuses = seen.is_up() && !seen.answers.is_empty() && answers().all(Reply::is_never);
            let took = self.took.load(Ordering::Relaxed);
            if seen.is_up() && answers().any(Reply::is_yes) {
                self.took.store(true, Ordering::Relaxed);
            }
            let mut detail = seen.words();
            if refuses && took {
                let words = answers().map(ToString::to_string).next().unwrap_or_default();
                detail = format!("it refuses {recipient}, whom it took before: {words}");
            }
            let finding = rules_failover::front_door(seen.is_up(), refuses, took);
            vec![Seen { plane: *plane, finding, micros: seen.micros(), detail }]
        })
    }

    fn planes(&self) -> Vec<Plane> {
        self.probe.planes()
    }
}

/// IMAP as far as `SELECT`, as the account that looks.
pub struct ImapProbe {
    /// The outside.
    pub world: World,
    /// Where.
    pub hop: ImapHop,
    /// As whom.
    pub sign_in: SignIn,
}

impl Probe for ImapProbe {
    fn look(&self) -> Boxed<'_, Vec<Seen>> {
        Box::pin(async move { told_by(&imap::probe(&self.world, &self.hop, &self.sign_in).await) })
    }

    fn planes(&self) -> Vec<Plane> {
        vec![Plane::Access, Plane::SignIn]
    }
}

/// What an IMAP dialogue tells about reading and about signing in.
pub(crate) fn told_by(seen: &imap::Probe) -> Vec<Seen> {
    let one = |plane, finding| Seen { plane, finding, micros: seen.micros(), detail: seen.words() };
    let Some(failed) = seen.failed() else {
        return vec![one(Plane::Access, Finding::Up), one(Plane::SignIn, Finding::Up)];
    };
    match (failed.stage, &failed.failure) {
        // Our own password may be wrong, or we ask too much: that says nothing about anybody else.
        (_, Some(StoreError::SignIn(_) | StoreError::Throttled { .. } | StoreError::Unsupported(_))) => {
            tracing::warn!(why = %escaped(&seen.words()), "the account that looks cannot sign in");
            Vec::new()
        }
        (Stage::Select, _) => vec![one(Plane::Access, Finding::Down), one(Plane::SignIn, Finding::Up)],
        // Who cannot connect, or gets no answer to a password, can neither sign in nor read.
        _ => vec![one(Plane::Access, Finding::Down), one(Plane::SignIn, Finding::Down)],
    }
}

/// The names by which a domain's mail is found: its MX, and the addresses of each exchanger.
pub struct NamesProbe {
    /// The outside.
    pub world: World,
    /// The domain.
    pub domain: String,
}

impl Probe for NamesProbe {
    fn look(&self) -> Boxed<'_, Vec<Seen>> {
        Box::pin(async move {
            let began = Instant::now();
            let (finding, detail) = match self.resolve().await {
                Ok(words) => (Finding::Up, words),
                Err(words) => (Finding::Down, words),
            };
            vec![Seen { plane: Plane::Names, finding, micros: micros(began), detail }]
        })
    }

    fn planes(&self) -> Vec<Plane> {
        vec![Plane::Names]
    }
}

impl NamesProbe {
    async fn resolve(&self) -> Result<String, String> {
        let domain = &self.domain;
        let exchangers = self.world.names.mx(domain).await.map_err(|error| match error {
            NameError::NotFound => format!("{domain} has no MX record"),
            NameError::Temporary(why) => format!("MX of {domain}: {why}"),
        })?;
        let mut why = format!("{domain} takes no mail (null MX)");
        for exchanger in exchangers.iter().filter(|mx| !mx.host.is_empty()) {
            match self.world.names.addresses(&exchanger.host).await {
                Ok(addresses) if !addresses.is_empty() => {
                    return Ok(format!(
                        "MX of {domain}: {} and {} more",
                        exchanger.host,
                        exchangers.len() - 1
                    ));
                }
                Ok(_) | Err(NameError::NotFound) => why = format!("{} has no address", exchanger.host),
                Err(NameError::Temporary(what)) => why = format!("{}: {what}", exchanger.host),
            }
        }
        Err(why)
    }
}

/// What a probe is told while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Grows when somebody wants it to look at once.
    pub(crate) wake: u64,
    /// Something is not well: what was settled is not known any more, so a single failure needs no second look.
    pub(crate) doubtful: bool,
}

/// What all looking at one primary has in common.
#[derive(Clone)]
pub(crate) struct Eye {
    pub(crate) world: World,
    pub(crate) primary: PrimaryId,
    pub(crate) vantage: String,
    pub(crate) out: mpsc::Sender<Observation>,
}

impl Eye {
    async fn tell(&self, evidence: Evidence, seen: Seen) {
        let observation = Observation {
            primary: self.primary.clone(),
            plane: seen.plane,
            vantage: self.vantage.clone(),
            at: self.world.clock.now(),
            evidence,
            finding: seen.finding,
            micros: seen.micros,
            detail: escaped(&seen.detail),
            account: None,
        };
        // The road is gone only when this loop is about to be.
        let _ = self.out.send(observation).await;
    }

    /// Looks again and again, until dropped.
    pub(crate) async fn probe(
        self,
        probe: Arc<dyn Probe>,
        every: Duration,
        limit: Duration,
        mut pace: watch::Receiver<Pace>,
    ) {
        // Probes of one primary do not all look in the same instant.
        let mut due = Instant::now() + Duration::from_millis(self.world.random.below(GAP.as_millis() as u64));
        let mut woken = pace.borrow_and_update().wake;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(due) => {}
                changed = pace.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wake = pace.borrow_and_update().wake;
                    if wake == woken {
                        continue;
                    }
                    woken = wake;
                }
            }
            let began = Instant::now();
            let found = match timeout(limit, probe.look()).await {
                Ok(found) => found,
                Err(_) => silent(&*probe, limit),
            };
            let failed = found.iter().any(|seen| seen.finding == Finding::Down);
            for seen in found {
                self.tell(Evidence::Probe, seen).await;
            }
            let wait = if failed && !pace.borrow().doubtful { AGAIN } else { every };
            due = (began + wait).max(Instant::now() + GAP);
            tokio::time::sleep(GAP).await;
        }
    }

    /// Sends canaries, one at a time, until dropped.
    pub(crate) async fn canary(self, canary: Arc<dyn Canary>, every: Duration, patience: Duration) {
        loop {
            let began = Instant::now();
            let mut bytes = [0; 16];
            self.world.random.fill(&mut bytes);
            let mark: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            if let Some((finding, detail)) = self.fly(&*canary, &mark, began + patience).await {
                let seen = Seen { plane: canary.plane(), finding, micros: micros(began), detail };
                self.tell(Evidence::Canary, seen).await;
            }
            sleep_until(began + every).await;
        }
    }

    /// One canary's way. `None`: nobody could look whether it arrived, so nothing is known.
    async fn fly(&self, canary: &dyn Canary, mark: &str, until: Instant) -> Option<(Finding, String)> {
        let left = || until.saturating_duration_since(Instant::now());
        match timeout(left(), canary.send(mark)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                return Some((Finding::Down, format!("a canary could not be handed over: {why}")));
            }
            Err(_) => return Some((Finding::Down, "a canary could not be handed over in time".to_owned())),
        }
        let mut looked = false;
        while !left().is_zero() {
            match timeout(left(), canary.take(mark)).await {
                Ok(Ok(true)) => return Some((Finding::Up, "a canary arrived".to_owned())),
                Ok(Ok(false)) => looked = true,
                Ok(Err(why)) => {
                    tracing::debug!(primary = %self.primary, %why, "nobody can look for the canary")
                }
                Err(_) => {}
            }
            tokio::time::sleep(CANARY_LOOK.min(left())).await;
        }
        looked.then(|| (Finding::Down, "a canary did not arrive in time".to_owned()))
    }
}

fn silent(probe: &dyn Probe, limit: Duration) -> Vec<Seen> {
    let detail = format!("no answer within {} s", limit.as_secs_f64());
    let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
    let one = |plane| Seen { plane, finding: Finding::Down, micros, detail: detail.clone() };
    probe.planes().into_iter().map(one).collect()
}

fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// What came from outside, fit for a log line: control characters escaped, and not too long.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= DETAIL_MAX {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}
