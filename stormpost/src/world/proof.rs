//! Answers of the DNS that are proved here, by DNSSEC (RFC 4035): by signatures up to the root's keys, or to keys of one's
//! own. The resolver that is asked need not be trusted; it must hand signatures on.

use super::dns::{QUESTION_MAX, absolute, builder, tuned};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use words_world::{Mx, NameError, Proved, Tlsa};

/// How long it is believed that answers can be proved here.
const ABLE: Duration = Duration::from_secs(3_600);
/// How long it is believed that they cannot.
const UNABLE: Duration = Duration::from_secs(300);

/// A resolver that proves what it says.
pub(super) struct Proving {
    resolver: TokioResolver,
    /// Whether the root's own records could be proved, and when that was seen.
    able: Mutex<Option<(Instant, bool)>>,
}

impl Proving {
    /// The machine's resolvers, or only `server`; the root's keys, or those in the file `anchor` (DNSKEY records as in a
    /// zone file).
    ///
    /// # Errors
    /// When the file cannot be read, or there is no resolver.
    pub(super) fn new(server: Option<SocketAddr>, anchor: Option<&Path>) -> Result<Proving, String> {
        let anchors = match anchor {
            None => TrustAnchors::default(),
            Some(path) => {
                TrustAnchors::from_file(path).map_err(|e| format!("the keys in {}: {e}", path.display()))?
            }
        };
        let mut builder = builder(server).map_err(|e| e.to_string())?;
        tuned(builder.options_mut());
        builder.options_mut().validate = true;
        builder.options_mut().preserve_intermediates = true;
        let resolver = builder.with_trust_anchor(Arc::new(anchors)).build().map_err(|e| e.to_string())?;
        Ok(Proving { resolver, able: Mutex::default() })
    }

    /// Whether answers can be proved at all: a resolver that drops signatures makes everything look forged. Who is between
    /// us and the DNS can bring this about, and then mail goes as it went before there was DNSSEC.
    pub(super) async fn is_able(&self) -> bool {
        let known = *self.able.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, able)) = known
            && at.elapsed() < if able { ABLE } else { UNABLE }
        {
            return able;
        }
        let root = self.ask(".", RecordType::SOA).await;
        let able = matches!(&root, Ok(found) if found.secure);
        let changed = known.is_none_or(|(_, before)| before != able);
        match &root {
            _ if !changed => {}
            _ if able => tracing::info!("the DNS can be proved here: TLSA records are obeyed"),
            Ok(_) => {
                tracing::warn!("the DNS's root is not signed as it should be; TLSA records are not obeyed")
            }
            Err(why) => {
                tracing::warn!(%why, "the resolver gives no DNSSEC proofs; TLSA records are not obeyed");
            }
        }
        *self.able.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), able));
        able
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Proved<Vec<RData>>, NameError> {
        let asked = timeout(QUESTION_MAX, self.resolver.lookup(absolute(name), kind)).await;
        let lookup = match asked {
            Ok(Ok(lookup)) => lookup,
            Ok(Err(error)) => return Err(reason(&error)),
            Err(_) => return Err(NameError::Temporary("no answer in 10 s".to_owned())),
        };
        sorted(lookup.answers(), kind)
    }

    pub(super) async fn mx(&self, domain: &str) -> Result<Proved<Vec<Mx>>, NameError> {
        let Proved { found, secure, alias } = self.ask(domain, RecordType::MX).await?;
        let mut found: Vec<Mx> = found
            .iter()
            .filter_map(|data| match data {
                RData::MX(mx) => Some(Mx {
                    preference: mx.preference,
                    host: mx.exchange.to_ascii().trim_end_matches('.').to_lowercase(),
                }),
                _ => None,
            })
            .collect();
        found.sort();
        Ok(Proved { found, secure, alias })
    }

    pub(super) async fn addresses(&self, host: &str) -> Result<Proved<Vec<IpAddr>>, NameError> {
        let (old, new) = tokio::join!(self.ask(host, RecordType::A), self.ask(host, RecordType::AAAA));
        let mut all = Proved { found: Vec::new(), secure: true, alias: String::new() };
        let mut failed = NameError::NotFound;
        for answer in [old, new] {
            match answer {
                Ok(Proved { found, secure, alias }) => {
                    all.secure &= secure;
                    all.alias = alias;
                    all.found.extend(found.iter().filter_map(RData::ip_addr));
                }
                Err(NameError::NotFound) => {}
                Err(temporary) => failed = temporary,
            }
        }
        if all.found.is_empty() { Err(failed) } else { Ok(all) }
    }

    pub(super) async fn tlsa(&self, name: &str) -> Result<Proved<Vec<Tlsa>>, NameError> {
        let Proved { found, secure, alias } = self.ask(name, RecordType::TLSA).await?;
        let found = found
            .into_iter()
            .filter_map(|data| match data {
                RData::TLSA(tlsa) => Some(Tlsa {
                    usage: tlsa.cert_usage.into(),
                    selector: tlsa.selector.into(),
                    matching: tlsa.matching.into(),
                    association: tlsa.cert_data,
                }),
                _ => None,
            })
            .collect();
        Ok(Proved { found, secure, alias })
    }
}

/// The records of a kind, whether all of the answer was proved, and where aliases led.
fn sorted(answers: &[Record], kind: RecordType) -> Result<Proved<Vec<RData>>, NameError> {
    let mut proved = Proved { found: Vec::new(), secure: true, alias: String::new() };
    for record in answers.iter().filter(|record| record.record_type() != RecordType::RRSIG) {
        match record.proof {
            Proof::Secure => {}
            Proof::Insecure => proved.secure = false,
            Proof::Bogus | Proof::Indeterminate => {
                let words =
                    format!("the answer about {} cannot be proved (DNSSEC: {})", record.name, record.proof);
                return Err(NameError::Temporary(words));
            }
        }
        match &record.data {
            RData::CNAME(alias) => proved.alias = alias.to_ascii().trim_end_matches('.').to_lowercase(),
            data if data.record_type() == kind => proved.found.push(data.clone()),
            _ => {}
        }
    }
    if proved.found.is_empty() { Err(NameError::NotFound) } else { Ok(proved) }
}

/// As for the resolver that proves nothing; and a "no" that is not proved where it should be is no answer.
fn reason(error: &NetError) -> NameError {
    match error {
        NetError::Dns(DnsError::Nsec { proof: Proof::Insecure | Proof::Secure, .. }) => NameError::NotFound,
        NetError::Dns(DnsError::Nsec { proof, .. }) => {
            NameError::Temporary(format!("that there is no such record cannot be proved (DNSSEC: {proof})"))
        }
        NetError::Dns(DnsError::NoRecordsFound(no))
            if matches!(no.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
        {
            NameError::NotFound
        }
        other => NameError::Temporary(other.to_string()),
    }
}
