//! The DNS by the machine's resolvers.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use words_world::{Boxed, Mx, NameError, Names};

/// A caching resolver. When the machine has no usable resolver configuration, every look-up is a temporary
/// failure: mail waits, nothing is refused for it.
#[derive(Clone)]
pub struct Resolver {
    inner: Result<TokioResolver, String>,
}

/// One question, over all its tries.
const QUESTION_MAX: Duration = Duration::from_secs(10);

impl Resolver {
    /// The machine's resolvers, or only `server` when given.
    pub fn new(server: Option<SocketAddr>) -> Resolver {
        let builder = match server {
            None => TokioResolver::builder_tokio(),
            Some(at) => {
                let mut udp = ConnectionConfig::udp();
                udp.port = at.port();
                let mut tcp = ConnectionConfig::tcp();
                tcp.port = at.port();
                let server = NameServerConfig::new(at.ip(), true, vec![udp, tcp]);
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
            }
        };
        let inner = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.timeout = Duration::from_secs(3);
            options.attempts = 2;
            builder.build()
        });
        Resolver { inner: inner.map_err(|e| e.to_string()) }
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
fn absolute(name: &str) -> String {
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
}
