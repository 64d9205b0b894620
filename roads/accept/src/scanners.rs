//! Who else looks at a message before it is taken: the spam filter, the virus scanner, lists in the DNS.
//!
//! Each is asked in the session, for a bounded time, by a bounded number of messages at once. What its silence means is
//! for `rules/policy` to say. While one is dead, one message at a time waits for it and finds out, and the others are
//! judged without it at once: the door would else be as slow as if it were closed.

mod clamd;
mod content;
mod dnsbl;
mod parts;
mod rspamd;

pub(crate) use content::Pieces;
pub(crate) use parts::look as look_at_parts;

use crate::authentication::Patience;
use rules_policy::{Asked, Listing, Spam};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use stores_journal::{IncomingBody, Journal};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use words_mail::{Envelope, Reason, Source, TraceId};
use words_world::{Stream, World};

/// Where a scanner listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannerPlace {
    /// By TCP.
    Host(String, u16),
    /// A socket on this machine.
    Local(PathBuf),
}

/// A scanner and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannerOptions {
    /// Where it listens.
    pub place: ScannerPlace,
    /// How long it may take for one message, waiting for a turn included.
    pub time: Duration,
    /// Larger messages are not sent to it, octets.
    pub largest: u64,
    /// Messages that it is asked about at once.
    pub at_once: usize,
}

/// Lists of addresses in the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsblOptions {
    /// Their names.
    pub zones: Vec<String>,
    /// How long all of them together may take.
    pub time: Duration,
}

/// Who is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScannerParts {
    /// The spam filter.
    pub rspamd: Option<ScannerOptions>,
    /// The virus scanner.
    pub clamd: Option<ScannerOptions>,
    /// The lists.
    pub dnsbl: Option<DnsblOptions>,
}

/// What is asked about.
pub(crate) struct Subject<'a> {
    pub(crate) envelope: &'a Envelope,
    pub(crate) trace: TraceId,
    pub(crate) host: &'a str,
    pub(crate) journal: &'a Journal,
    pub(crate) body: &'a IncomingBody,
}

/// Everybody who is asked.
pub(crate) struct Scanners {
    world: World,
    rspamd: Option<Scanner>,
    clamd: Option<Scanner>,
    dnsbl: Option<(DnsblOptions, Patience)>,
}

/// One scanner.
struct Scanner {
    options: ScannerOptions,
    patience: Patience,
    turns: Semaphore,
}

/// Why a scanner gave no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing was heard.
    Silent(String),
    /// What was heard is no answer.
    Wrong(String),
    /// It says itself that the message is too large for it.
    TooLarge,
}

impl Scanners {
    pub(crate) fn new(world: &World, parts: &ScannerParts) -> Scanners {
        let scanner = |who, options: &Option<ScannerOptions>| {
            options.clone().map(|options| Scanner {
                patience: Patience::new(who),
                turns: Semaphore::new(options.at_once.clamp(1, Semaphore::MAX_PERMITS)),
                options,
            })
        };
        Scanners {
            world: world.clone(),
            rspamd: scanner("rspamd", &parts.rspamd),
            clamd: scanner("clamd", &parts.clamd),
            dnsbl: parts.dnsbl.clone().map(|options| (options, Patience::new("the lists of addresses"))),
        }
    }

    /// Why the scanners were not asked yet, or never will be.
    pub(crate) fn unasked(&self, source: Source) -> (Reason, Reason, Reason) {
        let reason = |is_there: bool| match (is_there, source) {
            (false, _) => Reason::NotConfigured,
            (true, Source::Own) => Reason::OwnMail,
            (true, _) => Reason::Decided,
        };
        let dnsbl = match (reason(self.dnsbl.is_some()), source) {
            (Reason::Decided, Source::Submission | Source::Relay | Source::Internal) => Reason::NotThisDoor,
            (reason, _) => reason,
        };
        (dnsbl, reason(self.rspamd.is_some()), reason(self.clamd.is_some()))
    }

    /// Asks the spam filter.
    pub(crate) async fn spam(&self, subject: &Subject<'_>) -> Asked<Spam> {
        let Some(scanner) = &self.rspamd else { return Asked::Not(Reason::NotConfigured) };
        scanner.ask(subject, rspamd::ask(&self.world, &scanner.options.place, subject)).await
    }

    /// Asks the virus scanner.
    pub(crate) async fn virus(&self, subject: &Subject<'_>) -> Asked<Option<String>> {
        let Some(scanner) = &self.clamd else { return Asked::Not(Reason::NotConfigured) };
        scanner.ask(subject, clamd::ask(&self.world, &scanner.options.place, subject)).await
    }

    /// Asks the lists about an address.
    pub(crate) async fn listed(&self, ip: IpAddr) -> Asked<Option<Listing>> {
        let Some((options, patience)) = &self.dnsbl else { return Asked::Not(Reason::NotConfigured) };
        let Some(reversed) = dnsbl::reversed(ip) else { return Asked::Not(Reason::NotThisDoor) };
        let began = Instant::now();
        let Some(wait) = patience.wait() else { return Asked::Silent { why: silent_lately(), millis: 0 } };
        match timeout(options.time, dnsbl::ask(&self.world, &reversed, &options.zones)).await {
            Ok(Ok(answer)) => {
                wait.answered();
                Asked::Answered { answer, millis: millis(began) }
            }
            Ok(Err(why)) => Asked::Silent { why, millis: millis(began) },
            Err(_) => Asked::Silent { why: "the DNS is too slow".to_owned(), millis: millis(began) },
        }
    }
}

impl Scanner {
    async fn ask<T>(
        &self,
        subject: &Subject<'_>,
        question: impl Future<Output = Result<T, Failure>>,
    ) -> Asked<T> {
        let most = self.options.largest;
        if subject.body.len() > most {
            return Asked::TooLarge { most };
        }
        let began = Instant::now();
        let Some(wait) = self.patience.wait() else {
            return Asked::Silent { why: silent_lately(), millis: 0 };
        };
        let asking = async {
            let _turn = self.turns.acquire().await;
            question.await
        };
        let answer = timeout(self.options.time, asking).await;
        let millis = millis(began);
        match answer {
            Ok(Ok(answer)) => {
                wait.answered();
                Asked::Answered { answer, millis }
            }
            // It lives, and that is what counts for the next one.
            Ok(Err(Failure::TooLarge)) => {
                wait.answered();
                Asked::Not(Reason::TooLargeToAsk)
            }
            Ok(Err(Failure::Wrong(why))) => {
                wait.answered();
                Asked::Wrong { why, millis }
            }
            Ok(Err(Failure::Silent(why))) => Asked::Silent { why, millis },
            Err(_) => Asked::Silent { why: "no answer in time".to_owned(), millis },
        }
    }
}

fn silent_lately() -> String {
    "it did not answer others lately, so this one did not wait for it".to_owned()
}

fn millis(began: Instant) -> u32 {
    u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX)
}

/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;

/// Opens a connection to a scanner.
async fn connect(world: &World, place: &ScannerPlace) -> Result<Box<dyn Stream>, Failure> {
    let (host, port) = match place {
        ScannerPlace::Local(path) => {
            let words = |error| Failure::Silent(format!("{}: {error}", path.display()));
            return world.net.connect_local(path).await.map_err(words);
        }
        ScannerPlace::Host(host, port) => (host, *port),
    };
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => {
            let found = world.names.addresses(host).await;
            found.map_err(|error| Failure::Silent(format!("{host}: {error}")))?
        }
    };
    let mut why = format!("{host} has no address");
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let to = SocketAddr::new(address, port);
        match world.net.connect(to).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = format!("{to}: {error}"),
        }
    }
    Err(Failure::Silent(why))
}
