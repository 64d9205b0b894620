//! How safe the way to another organisation is: its policies are looked up and kept, each server is held to them, and what
//! came of it is counted and told (RFC 8461, RFC 7672, RFC 8460).

mod counts;
mod policies;
mod report;
#[cfg(test)]
mod tests;

pub use report::ReportOptions;

use crate::sign::Signer;
use counts::Counts;
use policies::{Found, Policies};
use rules_transport::{Applied, AppliedKind, Choice, Dane, Failure, Policy, Trouble, choose};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use stores_primary::internet::{Exchanger, Guard, Internet, NoWay};
use stores_primary::smtp::{Hop, Safety, Went};
use stores_primary::tls::{Proof, Tls, TlsFault, TlsTrouble, usable};
use stores_primary::web::Web;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use words_world::{Boxed, NameError, Proved, Tlsa, World};

/// How long one look-up of what a domain says may take.
const NAMES: Duration = Duration::from_secs(20);

/// What an organisation chooses about it.
#[derive(Clone)]
pub struct TransportOptions {
    /// Whether MTA-STS policies are looked up and obeyed.
    pub mta_sts: bool,
    /// Whether TLSA records are looked up and obeyed, where the DNS proves them.
    pub dane: bool,
    /// The port of exchangers, which is part of where their TLSA records stand.
    pub port: u16,
    /// Whose certificates are valid, where a policy wants a valid one.
    pub trust: Tls,
    /// The way to the web servers of policies, and of those who want reports.
    pub web: Web,
    /// Where policies and counts are kept.
    pub folder: PathBuf,
    /// Reports about how encryption went, if any are sent.
    pub reports: Option<ReportOptions>,
}

/// Holds the servers of other organisations to what their domains say.
pub struct Transport {
    world: World,
    options: TransportOptions,
    policies: Policies,
    counts: Arc<Counts>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("mta_sts", &self.options.mta_sts)
            .field("dane", &self.options.dane)
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// Reads what was kept; what cannot be read is looked up anew.
    pub fn open(world: &World, options: TransportOptions) -> Arc<Transport> {
        let policies = Policies::read(world, &options.web, options.folder.join("mta-sts"));
        let period = options.reports.as_ref().map(|reports| reports.period);
        let counts = Arc::new(Counts::read(world, options.folder.join("tls-reports"), period));
        Arc::new(Transport { world: world.clone(), options, policies, counts })
    }

    /// Refreshes policies before they end, keeps the counts, and sends reports, until told to stop. `internet` is the way
    /// that reports go by, `signer` signs them.
    pub async fn run(
        self: Arc<Self>,
        internet: Internet,
        signer: Arc<Signer>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        // RFC 8460 §5.3: reports are sent whatever the encryption is like, and are not counted themselves.
        let internet = Internet { guard: None, ..internet };
        let tick = self.options.reports.as_ref().map_or(counts::TICK, ReportOptions::tick);
        loop {
            let round = async {
                sleep(tick).await;
                if self.options.mta_sts {
                    self.policies.refresh().await;
                }
                self.counts.keep();
                if let Some(reports) = &self.options.reports {
                    self.counts.send_due(reports, &self.options.web, &internet, &signer).await;
                }
            };
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => break,
                () = round => {}
            }
        }
        self.counts.keep();
    }

    /// What the DNS says about the certificates of a server (RFC 7672 §2.2).
    async fn dane(&self, exchanger: &Exchanger) -> (Dane, Vec<Tlsa>) {
        if !self.options.dane || !exchanger.secure {
            return (Dane::Nothing, Vec::new());
        }
        // Where the name is an alias, the records of its end go first (RFC 7672 §2.2.3).
        for base in [&exchanger.alias, &exchanger.host].into_iter().filter(|base| !base.is_empty()) {
            let name = format!("_{}._tcp.{base}", self.options.port);
            let found = timeout(NAMES, self.world.names.tlsa(&name)).await;
            match found.unwrap_or_else(|_| Err(NameError::Temporary("too slow".to_owned()))) {
                Ok(Proved { found, secure: true, .. }) if !found.is_empty() => {
                    let records = usable(&found);
                    let dane = if records.is_empty() { Dane::Unusable } else { Dane::Usable };
                    return (dane, if records.is_empty() { found } else { records });
                }
                Ok(_) | Err(NameError::NotFound) => {}
                Err(NameError::Temporary(why)) => return (Dane::NoAnswer(why), Vec::new()),
            }
        }
        (Dane::Nothing, Vec::new())
    }

    /// What is held against a server, and how it is counted.
    fn safety(
        &self,
        domain: &str,
        exchanger: &Exchanger,
        choice: &Choice,
        applied: Applied,
        records: Vec<Tlsa>,
    ) -> Safety {
        let (proof, demanded, by) = match choice {
            Choice::Opportunistic | Choice::Not(_) => (Proof::Nothing, false, ""),
            Choice::Observed => (Proof::Valid, false, "MTA-STS"),
            Choice::Valid => (Proof::Valid, true, "MTA-STS"),
            Choice::Encrypted => (Proof::Nothing, true, "DANE"),
            Choice::Dane => {
                let names = [exchanger.alias.as_str(), &exchanger.host, domain];
                let names = names.into_iter().filter(|name| !name.is_empty()).map(str::to_owned);
                (Proof::Dane { records, names: names.collect() }, true, "DANE")
            }
        };
        // A server that the policy does not name fails it, however good its certificate is.
        let stranger =
            *choice == Choice::Observed && !applied.mx.is_empty() && !covered(&applied, &exchanger.host);
        let told = self.options.reports.is_some().then(|| {
            let (counts, world) = (self.counts.clone(), self.world.clone());
            let (domain, host) = (domain.to_owned(), exchanger.host.clone());
            let told: Arc<dyn Fn(Went) + Send + Sync> = Arc::new(move |went: Went| {
                let address = went.address.map(|address| address.to_string());
                let went = match went.trouble {
                    _ if stranger => Err(not_named()),
                    None => Ok(()),
                    Some(trouble) => Err((trouble_of(&trouble), trouble.why)),
                };
                let host = host.clone();
                let went = went.map_err(|(trouble, reason)| Failure { trouble, host, address, reason });
                counts.count(world.clock.now(), &domain, &applied, went);
            });
            told
        });
        Safety { proof, trust: self.options.trust.clone(), demanded, by, told }
    }

    fn count_failure(&self, domain: &str, applied: &Applied, trouble: Trouble, host: &str, reason: &str) {
        let failure = Failure { trouble, host: host.to_owned(), address: None, reason: reason.to_owned() };
        self.counts.count(self.world.clock.now(), domain, applied, Err(failure));
    }

    /// The policy of a domain that counts now; trouble with getting it is counted.
    async fn policy(&self, domain: &str) -> Option<Policy> {
        if !self.options.mta_sts {
            return None;
        }
        match self.policies.of(domain).await {
            Found::Policy(policy) => Some(policy),
            Found::Nothing => None,
            Found::Trouble(trouble, why) => {
                let applied = Applied { kind: AppliedKind::Sts, ..Applied::default() };
                self.count_failure(domain, &applied, trouble, &format!("mta-sts.{domain}"), &why);
                None
            }
        }
    }
}

fn not_named() -> (Trouble, String) {
    (Trouble::ValidationFailure, "the policy does not name this server".to_owned())
}

fn covered(applied: &Applied, host: &str) -> bool {
    let policy = Policy { mode: rules_transport::Mode::Testing, max_age: 0, mx: applied.mx.clone() };
    policy.covers(host)
}

/// RFC 8460 §4.3.
fn trouble_of(trouble: &TlsTrouble) -> Trouble {
    match trouble.fault {
        TlsFault::NotOffered => Trouble::StarttlsNotSupported,
        TlsFault::OtherName => Trouble::CertificateHostMismatch,
        TlsFault::Expired => Trouble::CertificateExpired,
        TlsFault::Untrusted => Trouble::CertificateNotTrusted,
        TlsFault::NotNamed => Trouble::TlsaInvalid,
        TlsFault::Other => Trouble::ValidationFailure,
    }
}

fn applied(dane: &Dane, policy: Option<&Policy>, records: &[Tlsa]) -> Applied {
    match (dane, policy) {
        (Dane::Usable | Dane::Unusable | Dane::NoAnswer(_), _) => {
            Applied { kind: AppliedKind::Tlsa, lines: records.iter().map(line_of).collect(), mx: Vec::new() }
        }
        (Dane::Nothing, Some(policy)) => {
            Applied { kind: AppliedKind::Sts, lines: policy.lines(), mx: policy.mx.clone() }
        }
        (Dane::Nothing, None) => Applied::default(),
    }
}

/// A record as it stands in a zone file (RFC 6698 §2.2).
fn line_of(record: &Tlsa) -> String {
    let hex: String = record.association.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {} {} {hex}", record.usage, record.selector, record.matching)
}

impl Guard for Transport {
    fn wants_proof(&self) -> bool {
        self.options.dane
    }

    fn secure<'a>(
        &'a self,
        domain: &'a str,
        exchangers: Vec<Exchanger>,
    ) -> Boxed<'a, Result<Vec<Hop>, NoWay>> {
        Box::pin(async move {
            let mut judged = Vec::with_capacity(exchangers.len());
            for exchanger in exchangers {
                let (dane, records) = self.dane(&exchanger).await;
                judged.push((exchanger, dane, records));
            }
            // Where every server has records of its own, the policy has nothing to say.
            let policy = match judged.iter().any(|(_, dane, _)| *dane == Dane::Nothing) {
                true => self.policy(domain).await,
                false => None,
            };
            let mut hops = Vec::with_capacity(judged.len());
            let mut refused = Vec::new();
            for (exchanger, dane, records) in judged {
                let choice = choose(&dane, policy.as_ref(), &exchanger.host);
                let applied = applied(&dane, policy.as_ref(), &records);
                if let Choice::Not(why) = choice {
                    tracing::warn!(domain, host = %exchanger.host, %why, "this server is not gone to");
                    let trouble = match dane {
                        Dane::NoAnswer(_) => Trouble::DnssecInvalid,
                        _ => Trouble::ValidationFailure,
                    };
                    self.count_failure(domain, &applied, trouble, &exchanger.host, &why);
                    refused.push(format!("{}: {why}", exchanger.host));
                    continue;
                }
                let safety = self.safety(domain, &exchanger, &choice, applied, records);
                hops.push(Hop { safety: Some(safety), ..exchanger.hop });
            }
            if hops.is_empty() {
                // X.7.5: cryptographic failure (RFC 3463 §3.8). Later it may be mended; then the sender gets it back.
                return Err(NoWay::Later(format!(
                    "4.7.5 no server of {domain} may be gone to: {}",
                    refused.join("; ")
                )));
            }
            Ok(hops)
        })
    }
}
