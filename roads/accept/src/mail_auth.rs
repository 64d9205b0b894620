//! The real check of SPF, DKIM, DMARC and ARC, by the mail-auth library and the system's resolver.

mod arc;

use crate::authentication::{Asked, Authentication, Findings, clean_results};
use mail_auth::dmarc::Policy;
use mail_auth::hickory_resolver::TokioResolver;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, AuthenticationResults, DkimOutput, DkimResult, DmarcResult, MessageAuthenticator,
    Parameters, ResolverCache, SpfOutput, SpfResult, Txt,
};
use rules_policy::DmarcAsks;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use words_mail::Grade;
use words_world::Boxed;

/// Signatures looked at in one message (RFC 6376 §6.1 lets a verifier limit them).
const SIGNATURES_MAX: usize = 5;

/// TXT records kept, parsed.
const RECORDS_MAX: usize = 4_096;

/// Checks by way of the DNS.
pub struct MailAuth {
    host: String,
    resolver: MessageAuthenticator,
    records: Records,
}

impl MailAuth {
    /// With the name servers of the system. `host` is the name our results carry.
    ///
    /// # Errors
    /// When the system's configuration cannot be read.
    pub fn system(host: &str) -> Result<MailAuth, String> {
        let resolver = MessageAuthenticator::new_system_conf().map_err(|e| e.to_string())?;
        Ok(MailAuth { host: host.to_owned(), resolver, records: Records::default() })
    }

    /// With name servers of one's own choice.
    pub fn new(host: &str, resolver: TokioResolver) -> MailAuth {
        MailAuth {
            host: host.to_owned(),
            resolver: MessageAuthenticator(resolver),
            records: Records::default(),
        }
    }

    async fn look(&self, mut asked: Asked<'_>) -> Findings {
        let sender = asked.sender.address().map(ToString::to_string).unwrap_or_default();
        let mut message = AuthenticatedMessage::parse(asked.header).unwrap_or_default();
        message.errors.truncate(SIGNATURES_MAX);
        message.dkim_headers.truncate(SIGNATURES_MAX);
        message.body_hashes = std::mem::take(&mut asked.digests).finish();
        // A signature that wants a digest that was not made cannot be checked.
        let made = &message.body_hashes;
        message.dkim_headers.retain(|signature| {
            let (c, l) = (signature.header.cb, signature.header.l);
            made.iter().any(|(canonical, algorithm, length, _)| {
                *canonical == c && *length == l && *algorithm == signature.header.a.into()
            })
        });
        let spf = async {
            let parameters = if sender.is_empty() {
                SpfParameters::verify_ehlo(asked.ip, asked.helo, &self.host)
            } else {
                SpfParameters::verify_mail_from(asked.ip, asked.helo, &self.host, &sender)
            };
            self.resolver.verify_spf(Parameters::new(parameters).with_txt_cache(&self.records)).await
        };
        let dkim = async {
            self.resolver.verify_dkim(Parameters::new(&message).with_txt_cache(&self.records)).await
        };
        let (spf, dkim, (arc, arc_vouchers)) = tokio::join!(spf, dkim, arc::look(self, &message));
        let domain = sender.rsplit_once('@').map_or(asked.helo, |(_, domain)| domain);
        let parameters = mail_auth::dmarc::verify::DmarcParameters::new(&message, &dkim, domain, &spf);
        let dmarc =
            self.resolver.verify_dmarc(Parameters::new(parameters).with_txt_cache(&self.records)).await;
        let author = message.from.first().map_or("", String::as_str);
        Findings {
            spf: spf_grade(&spf),
            dkim: dkim.iter().map(dkim_grade).min_by_key(|g| rank(*g)).unwrap_or_default(),
            dkim_domains: passed(&dkim),
            dmarc: dmarc_grade(&dmarc.result()),
            dmarc_asks: match dmarc.policy() {
                Policy::Reject => DmarcAsks::Reject,
                Policy::Quarantine => DmarcAsks::Quarantine,
                _ => DmarcAsks::Nothing,
            },
            results: self.results(&asked, &sender, author, &spf, &dkim, &dmarc, arc),
            arc,
            arc_vouchers,
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn results(
        &self,
        asked: &Asked<'_>,
        sender: &str,
        author: &str,
        spf: &SpfOutput,
        dkim: &[DkimOutput<'_>],
        dmarc: &mail_auth::DmarcOutput,
        arc: Grade,
    ) -> String {
        let mut results = AuthenticationResults::new(&self.host);
        results = if sender.is_empty() {
            results.with_spf_ehlo_result(spf, asked.ip, asked.helo)
        } else {
            results.with_spf_mailfrom_result(spf, asked.ip, sender, asked.helo)
        };
        results = results.with_dkim_results(dkim, author).with_dmarc_result(dmarc);
        let mut text = results.to_string();
        if arc != Grade::None {
            // RFC 8617 §5.3: the address that the chain was looked at from.
            text.push_str(&format!(";\r\n\tarc={arc} smtp.remote-ip={}", arc::pvalue(asked.ip)));
        }
        clean_results(text.strip_prefix(&self.host).unwrap_or_default())
    }
}

impl Authentication for MailAuth {
    fn judge<'a>(&'a self, asked: Asked<'a>) -> Boxed<'a, Findings> {
        Box::pin(self.look(asked))
    }
}

fn spf_grade(spf: &SpfOutput) -> Grade {
    match spf.result() {
        SpfResult::Pass => Grade::Pass,
        SpfResult::Fail => Grade::Fail,
        SpfResult::SoftFail => Grade::SoftFail,
        SpfResult::Neutral => Grade::Neutral,
        SpfResult::TempError => Grade::TempError,
        SpfResult::PermError => Grade::PermError,
        SpfResult::None => Grade::None,
    }
}

fn dkim_grade(dkim: &DkimOutput<'_>) -> Grade {
    match dkim.result() {
        DkimResult::Pass => Grade::Pass,
        DkimResult::Neutral(_) => Grade::Neutral,
        DkimResult::Fail(_) => Grade::Fail,
        DkimResult::PermError(_) => Grade::PermError,
        DkimResult::TempError(_) => Grade::TempError,
        DkimResult::None => Grade::None,
    }
}

fn dmarc_grade(dmarc: &DmarcResult) -> Grade {
    match dmarc {
        DmarcResult::Pass => Grade::Pass,
        DmarcResult::Fail(_) => Grade::Fail,
        DmarcResult::TempError(_) => Grade::TempError,
        DmarcResult::PermError(_) => Grade::PermError,
        DmarcResult::None => Grade::None,
    }
}

/// The best first: a signature that could not be checked now may still be a good one.
fn rank(grade: Grade) -> u8 {
    match grade {
        Grade::Pass => 0,
        Grade::TempError => 1,
        Grade::Fail | Grade::SoftFail => 2,
        Grade::Neutral => 3,
        Grade::PermError => 4,
        Grade::None => 5,
    }
}

fn passed(dkim: &[DkimOutput<'_>]) -> Vec<String> {
    let passed = dkim.iter().filter(|d| *d.result() == DkimResult::Pass);
    passed.filter_map(|d| d.signature()).map(|s| s.d.to_lowercase()).collect()
}

/// Parsed TXT records until they expire.
#[derive(Default)]
struct Records(Mutex<HashMap<Box<str>, (Txt, Instant)>>);

impl ResolverCache<Box<str>, Txt> for Records {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.get(name).filter(|(_, until)| *until > Instant::now()).map(|(record, _)| record.clone())
    }

    fn remove<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.remove(name).map(|(record, _)| record)
    }

    fn insert(&self, name: Box<str>, record: Txt, until: Instant) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() >= RECORDS_MAX {
            let now = Instant::now();
            records.retain(|_, (_, until)| *until > now);
            // Full of living records: begin anew; they are only copies.
            if records.len() >= RECORDS_MAX {
                records.clear();
            }
        }
        records.insert(name, (record, until));
    }
}

#[cfg(test)]
mod tests;
