//! The DNS by the machine's resolvers.

use super::proof::Proving;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use words_world::{Boxed, Mx, NameError, Names, Proved, Tlsa};

/// A caching resolver. When the machine has no usable resolver configuration, every look-up is a temporary
/// failure: mail waits, nothing is refused for it.
#[derive(Clone)]
pub struct Resolver {
    inner: Result<TokioResolver, String>,
    proving: Option<Arc<Proving>>,
}

/// One question, over all its tries.
pub(super) const QUESTION_MAX: Duration = Duration::from_secs(10);

impl Resolver {
    /// The machine's resolvers, or only `server` when given.
    pub fn new(server: Option<SocketAddr>) -> Resolver {
        Resolver::with(server, ResolveHosts::default())
    }

    /// As others see it: only the DNS is asked, and not what stands in this machine's `/etc/hosts`.
    pub fn of_the_world(server: Option<SocketAddr>) -> Resolver {
        Resolver::with(server, ResolveHosts::Never)
    }

    fn with(server: Option<SocketAddr>, hosts: ResolveHosts) -> Resolver {
        let inner = builder(server).and_then(|mut builder| {
            tuned(builder.options_mut());
            builder.options_mut().use_hosts_file = hosts;
            builder.build()
        });
        Resolver { inner: inner.map_err(|e| e.to_string()), proving: None }
    }

    /// The same, proving answers by DNSSEC where that matters: by the root's keys, or those in the file `anchor`.
    ///
    /// # Errors
    /// When the file cannot be read, or there is no resolver; in words.
    pub fn proving(self, server: Option<SocketAddr>, anchor: Option<&Path>) -> Result<Resolver, String> {
        Ok(Resolver { proving: Some(Arc::new(Proving::new(server, anchor)?)), ..self })
    }

    /// Whether answers can be proved here; `None` when that is not wanted.
    pub async fn is_able(&self) -> Option<bool> {
        Some(self.proving.as_ref()?.is_able().await)
    }

    /// Who proves, where that is wanted and can be done.
    async fn prover(&self) -> Option<&Proving> {
        let proving = self.proving.as_deref()?;
        proving.is_able().await.then_some(proving)
    }

    /// The resolver itself, for a library that asks by its own rules.
    ///
    /// # Errors
    /// Why there is none.
    pub fn library(self) -> Result<TokioResolver, String> {
        self.inner
    }

    /// The records of one type that a name has, each with the seconds it may be remembered. Empty when there are only
    /// others.
    ///
    /// # Errors
    /// That there is no such name or record, or that no answer could be had.
    pub async fn records(&self, name: &str, record: RecordType) -> Result<Vec<(RData, u32)>, NameError> {
        let lookup = bounded(self.resolver()?.lookup(absolute(name), record)).await?;
        Ok(lookup.answers().iter().map(|record| (record.data.clone(), record.ttl)).collect())
    }

    fn resolver(&self) -> Result<&TokioResolver, NameError> {
        self.inner.as_ref().map_err(|why| NameError::Temporary(format!("no resolver: {why}")))
    }
}

/// The machine's resolvers, or only `server` when given.
pub(super) fn builder(server: Option<SocketAddr>) -> Result<ResolverBuilder<TokioRuntimeProvider>, NetError> {
    let Some(at) = server else { return TokioResolver::builder_tokio() };
    let mut udp = ConnectionConfig::udp();
    udp.port = at.port();
    let mut tcp = ConnectionConfig::tcp();
    tcp.port = at.port();
    let server = NameServerConfig::new(at.ip(), true, vec![udp, tcp]);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
}

pub(super) fn tuned(options: &mut ResolverOpts) {
    options.timeout = Duration::from_secs(3);
    options.attempts = 2;
}

/// Only an authority that answered "no such name" or "no such record" is believed; SERVFAIL and silence are not.
fn reason(error: &NetError) -> NameError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(no))
            if matches!(no.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
        {
            NameError::NotFound
        }
        other => NameError::Temporary(other.to_string()),
    }
}

/// The root label makes a name absolute, so that no search list of this machine can lead mail elsewhere.
pub(super) fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}

async fn bounded<T>(question: impl Future<Output = Result<T, NetError>>) -> Result<T, NameError> {
    match tokio::time::timeout(QUESTION_MAX, question).await {
        Ok(answer) => answer.map_err(|e| reason(&e)),
        Err(_) => Err(NameError::Temporary("no answer in 10 s".to_owned())),
    }
}

impl Names for Resolver {
    fn mx<'a>(&'a self, domain: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>> {
        Box::pin(async move {
            let lookup = bounded(self.resolver()?.mx_lookup(absolute(domain))).await?;
            let mut found: Vec<Mx> = lookup
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::MX(mx) => Some(Mx {
                        preference: mx.preference,
                        host: mx.exchange.to_ascii().trim_end_matches('.').to_lowercase(),
                    }),
                    _ => None,
                })
                .collect();
            found.sort();
            if found.is_empty() { Err(NameError::NotFound) } else { Ok(found) }
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Boxed<'a, Result<Vec<IpAddr>, NameError>> {
        Box::pin(async move {
            if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
                return Ok(vec![ip]);
            }
            if host.eq_ignore_ascii_case("localhost") {
                return Ok(vec![IpAddr::from([127, 0, 0, 1])]);
            }
            let lookup = bounded(self.resolver()?.lookup_ip(absolute(host))).await?;
            let found: Vec<IpAddr> = lookup.iter().collect();
            if found.is_empty() { Err(NameError::NotFound) } else { Ok(found) }
        })
    }

    fn reverse<'a>(&'a self, ip: IpAddr) -> Boxed<'a, Result<Vec<String>, NameError>> {
        Box::pin(async move {
            let lookup = bounded(self.resolver()?.reverse_lookup(ip)).await?;
            let found: Vec<String> = lookup
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::PTR(name) => Some(name.to_ascii().trim_end_matches('.').to_lowercase()),
                    _ => None,
                })
                .collect();
            if found.is_empty() { Err(NameError::NotFound) } else { Ok(found) }
        })
    }

    fn txt<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Vec<String>, NameError>> {
        Box::pin(async move {
            let lookup = bounded(self.resolver()?.txt_lookup(absolute(name))).await?;
            let found: Vec<String> = lookup
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::TXT(txt) => {
                        let parts: Vec<u8> =
                            txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
                        Some(String::from_utf8_lossy(&parts).into_owned())
                    }
                    _ => None,
                })
                .collect();
            if found.is_empty() { Err(NameError::NotFound) } else { Ok(found) }
        })
    }

    fn mx_proved<'a>(&'a self, domain: &'a str) -> Boxed<'a, Result<Proved<Vec<Mx>>, NameError>> {
        Box::pin(async move {
            match self.prover().await {
                Some(prover) => prover.mx(domain).await,
                None => self.mx(domain).await.map(Proved::insecure),
            }
        })
    }

    fn addresses_proved<'a>(&'a self, host: &'a str) -> Boxed<'a, Result<Proved<Vec<IpAddr>>, NameError>> {
        Box::pin(async move {
            match self.prover().await {
                Some(prover) => prover.addresses(host).await,
                None => self.addresses(host).await.map(Proved::insecure),
            }
        })
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Proved<Vec<Tlsa>>, NameError>> {
        Box::pin(async move {
            match self.prover().await {
                Some(prover) => prover.tlsa(name).await,
                None => Err(NameError::NotFound),
            }
        })
    }
}
