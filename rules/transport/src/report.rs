//! SMTP TLS reporting (RFC 8460): what is counted, who wants to hear of it, and the report.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use words_mail::{Address, Time};

/// Domains counted in one day at most; further ones get no report.
const DOMAINS_MAX: usize = 10_000;
/// Different failures told of one policy at most; further ones are counted in the summary alone.
const FAILURES_MAX: usize = 100;
/// Policies of one domain in one day at most.
const POLICIES_MAX: usize = 16;
/// Receivers of one domain's reports at most.
const RECEIVERS_MAX: usize = 4;

/// The bounds of a day's counts: domains, policies of one, different failures of one.
pub fn bounds_of_tally() -> (usize, usize, usize) {
    (DOMAINS_MAX, POLICIES_MAX, FAILURES_MAX)
}

/// Which kind of policy a connection was held to (RFC 8460 §4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppliedKind {
    /// DANE.
    Tlsa,
    /// MTA-STS.
    Sts,
    /// None.
    #[default]
    NoPolicyFound,
}

/// The policy that a connection was held to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Its kind.
    pub kind: AppliedKind,
    /// Its lines or records.
    pub lines: Vec<String>,
    /// The patterns of servers it names, for MTA-STS.
    pub mx: Vec<String>,
}

/// What went wrong, as reports call it (RFC 8460 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The server offers no STARTTLS.
    StarttlsNotSupported,
    /// The certificate is for other names.
    CertificateHostMismatch,
    /// The certificate's time is over, or has not come.
    CertificateExpired,
    /// Nobody who is believed signed the certificate.
    CertificateNotTrusted,
    /// Anything else about the connection.
    ValidationFailure,
    /// The certificate is none of those that the DNS names.
    TlsaInvalid,
    /// The DNS gave no proved answer.
    DnssecInvalid,
    /// The policy could not be fetched.
    StsPolicyFetchError,
    /// The policy that was fetched is none.
    StsPolicyInvalid,
    /// The certificate of the policy's web server is not valid.
    StsWebpkiInvalid,
}

/// One failed connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub trouble: Trouble,
    /// The server's name; empty when it came to none.
    pub host: String,
    /// Its address, when it came so far.
    pub address: Option<String>,
    /// In words.
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    applied: Applied,
    well: u64,
    failed: u64,
    failures: Vec<(Failure, u64)>,
}

/// What was counted in one day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    domains: BTreeMap<String, Vec<Counts>>,
}

impl Tally {
    /// Counts one connection to a server of `domain`.
    pub fn count(&mut self, domain: &str, applied: &Applied, went: Result<(), Failure>) {
        if !self.domains.contains_key(domain) && self.domains.len() >= DOMAINS_MAX {
            return;
        }
        let policies = self.domains.entry(domain.to_owned()).or_default();
        let at = match policies.iter().position(|counts| counts.applied == *applied) {
            Some(at) => at,
            None if policies.len() >= POLICIES_MAX => return,
            None => {
                policies.push(Counts { applied: applied.clone(), ..Counts::default() });
                policies.len() - 1
            }
        };
        let counts = &mut policies[at];
        let Err(failure) = went else {
            counts.well += 1;
            return;
        };
        counts.failed += 1;
        match counts.failures.iter().position(|(known, _)| *known == failure) {
            Some(at) => counts.failures[at].1 += 1,
            None if counts.failures.len() < FAILURES_MAX => counts.failures.push((failure, 1)),
            None => {}
        }
    }

    /// The domains with counts, in order.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.keys().map(String::as_str)
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: Tally) {
        for (domain, policies) in other.domains {
            for counts in policies {
                for _ in 0..counts.well.min(1) {
                    self.count(&domain, &counts.applied, Ok(()));
                }
                for (failure, _) in &counts.failures {
                    self.count(&domain, &counts.applied, Err(failure.clone()));
                }
                let Some(mine) = self.domains.get_mut(&domain) else { continue };
                let Some(mine) = mine.iter_mut().find(|mine| mine.applied == counts.applied) else {
                    continue;
                };
                mine.well += counts.well - counts.well.min(1);
                mine.failed += counts.failed.saturating_sub(counts.failures.len() as u64);
                for (failure, times) in counts.failures {
                    if let Some((_, mine)) = mine.failures.iter_mut().find(|(known, _)| *known == failure) {
                        *mine += times - 1;
                    }
                }
            }
        }
    }
}

/// Where reports about a domain are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// By mail.
    Mail(Address),
    /// By a POST to this web address, which begins with `https://`.
    Web(String),
}

/// The receivers that the texts at `_smtp._tls` name; none when there is no such text, more than one, or one that is not
/// as it should be (RFC 8460 §3).
pub fn receivers(texts: &[String]) -> Vec<Receiver> {
    let is_ours =
        |text: &&String| text.split(';').next().is_some_and(|version| version.trim() == "v=TLSRPTv1");
    let mut ours = texts.iter().filter(is_ours);
    let (Some(text), None) = (ours.next(), ours.next()) else { return Vec::new() };
    let rua = text.split(';').skip(1).find_map(|field| {
        let (name, value) = field.split_once('=')?;
        (name.trim() == "rua").then_some(value)
    });
    let each = |text: &str| match text.split_once(':')? {
        (scheme, rest) if scheme.eq_ignore_ascii_case("mailto") => {
            // What follows a question mark would be headers of the asker's choice.
            let address = rest.split('?').next().unwrap_or_default();
            Address::parse(&percent_decoded(address)?).ok().map(Receiver::Mail)
        }
        (scheme, _) if scheme.eq_ignore_ascii_case("https") => Some(Receiver::Web(text.to_owned())),
        _ => None,
    };
    rua.into_iter()
        .flat_map(|rua| rua.split(','))
        .filter_map(|uri| each(uri.trim()))
        .take(RECEIVERS_MAX)
        .collect()
}

/// RFC 3986 §2.1.
fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

/// Who reports, and about when.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// The organisation that sends.
    pub organization: &'a str,
    /// Whom to ask about the report.
    pub contact: &'a str,
    /// The report's id.
    pub id: &'a str,
    /// The day: its beginning.
    pub start: Time,
    /// The day: its end.
    pub end: Time,
}

/// The report about a domain (RFC 8460 §4.4), when something was counted.
pub fn report(tally: &Tally, domain: &str, header: &Header<'_>) -> Option<Value> {
    let policies: Vec<Value> =
        tally.domains.get(domain)?.iter().map(|counts| policy(domain, counts)).collect();
    Some(json!({
        "organization-name": header.organization,
        "date-range": {
            "start-datetime": header.start.to_string(),
            "end-datetime": header.end.to_string(),
        },
        "contact-info": header.contact,
        "report-id": header.id,
        "policies": policies,
    }))
}

fn policy(domain: &str, counts: &Counts) -> Value {
    let applied = &counts.applied;
    let mut policy = json!({ "policy-type": applied.kind, "policy-domain": domain });
    if !applied.lines.is_empty() {
        policy["policy-string"] = json!(applied.lines);
    }
    if !applied.mx.is_empty() {
        policy["mx-host"] = json!(applied.mx);
    }
    let failures: Vec<Value> = counts
        .failures
        .iter()
        .map(|(failure, times)| {
            let mut detail = json!({ "result-type": failure.trouble, "failed-session-count": times });
            let mut put = |name: &str, value: &str| {
                if !value.is_empty() {
                    detail[name] = json!(value);
                }
            };
            put("receiving-mx-hostname", &failure.host);
            put("receiving-ip", failure.address.as_deref().unwrap_or_default());
            put("failure-reason-code", &failure.reason);
            detail
        })
        .collect();
    let mut all = json!({
        "policy": policy,
        "summary": {
            "total-successful-session-count": counts.well,
            "total-failure-session-count": counts.failed,
        },
    });
    if !failures.is_empty() {
        all["failure-details"] = Value::Array(failures);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failure(trouble: Trouble) -> Failure {
        Failure {
            trouble,
            host: "mx.a.example".into(),
            address: Some("192.0.2.1".into()),
            reason: "why".into(),
        }
    }

    #[test]
    fn a_report_counts_by_policy_and_tells_each_failure_once() {
        let sts = Applied {
            kind: AppliedKind::Sts,
            lines: vec!["mode: enforce".into()],
            mx: vec!["*.a.example".into()],
        };
        let mut tally = Tally::default();
        for _ in 0..3 {
            tally.count("a.example", &sts, Ok(()));
            tally.count("a.example", &sts, Err(failure(Trouble::CertificateExpired)));
        }
        tally.count("a.example", &sts, Err(failure(Trouble::StarttlsNotSupported)));
        tally.count("a.example", &Applied::default(), Ok(()));
        let day = Time::from_seconds(86_400 * 20_000);
        let end = Time::from_seconds(86_400 * 20_001 - 1);
        let header = Header { organization: "us", contact: "me@us.example", id: "1", start: day, end };
        let made = report(&tally, "a.example", &header).unwrap();
        assert_eq!(made["date-range"]["start-datetime"], "2024-10-04T00:00:00.000Z");
        let first = &made["policies"][0];
        assert_eq!(first["policy"]["policy-type"], "sts");
        assert_eq!(first["policy"]["mx-host"][0], "*.a.example");
        assert_eq!(first["summary"]["total-successful-session-count"], 3);
        assert_eq!(first["summary"]["total-failure-session-count"], 4);
        assert_eq!(first["failure-details"][0]["result-type"], "certificate-expired");
        assert_eq!(first["failure-details"][0]["failed-session-count"], 3);
        assert_eq!(first["failure-details"][1]["receiving-ip"], "192.0.2.1");
        assert_eq!(made["policies"][1]["policy"]["policy-type"], "no-policy-found");
        assert_eq!(report(&tally, "b.example", &header), None);
        let mut twice = tally.clone();
        twice.add(tally.clone());
        let made = report(&twice, "a.example", &header).unwrap();
        assert_eq!(made["policies"][0]["summary"]["total-failure-session-count"], 8);
        assert_eq!(made["policies"][0]["failure-details"][0]["failed-session-count"], 6);
        assert_eq!(made["policies"][1]["summary"]["total-successful-session-count"], 2);
    }

    #[test]
    fn counts_are_bounded_and_come_back_from_text() {
        let mut tally = Tally::default();
        for n in 0..FAILURES_MAX + 5 {
            let failure = Failure { reason: n.to_string(), ..failure(Trouble::TlsaInvalid) };
            tally.count("a.example", &Applied::default(), Err(failure));
        }
        for n in 0..POLICIES_MAX + 5 {
            let applied = Applied { lines: vec![n.to_string()], ..Applied::default() };
            tally.count("b.example", &applied, Ok(()));
        }
        assert_eq!(tally.domains["a.example"][0].failures.len(), FAILURES_MAX);
        assert_eq!(tally.domains["a.example"][0].failed, FAILURES_MAX as u64 + 5);
        assert_eq!(tally.domains["b.example"].len(), POLICIES_MAX);
        let text = serde_json::to_string(&tally).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&text).unwrap(), tally);
    }

    #[test]
    fn reports_go_where_the_domain_says() {
        let mail = |text: &str| Receiver::Mail(Address::parse(text).unwrap());
        let web = |text: &str| Receiver::Web(text.into());
        for (text, expected) in [
            ("v=TLSRPTv1; rua=mailto:tls@a.example", vec![mail("tls@a.example")]),
            (
                "v=TLSRPTv1;rua=mailto:tls%2Bx@a.example?subject=Bcc,https://r.example/x;future=1",
                vec![mail("tls+x@a.example"), web("https://r.example/x")],
            ),
            ("v=TLSRPTv1; rua=http://r.example/", vec![]),
            ("v=TLSRPTv1; rua=mailto:nobody", vec![]),
            ("v=TLSRPTv1; rua=mailto:%0d%0a@x", vec![]),
            ("v=TLSRPTv1", vec![]),
            ("v=spf1 rua=mailto:tls@a.example", vec![]),
        ] {
            assert_eq!(receivers(&[text.to_owned()]), expected, "{text}");
        }
        let one = "v=TLSRPTv1; rua=mailto:tls@a.example".to_owned();
        assert!(receivers(&[one.clone(), one]).is_empty());
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "v=TLSRPTv1; ?rua=(mailto:|https:)?.{0,40}(,mailto:[%a-z0-9@.]{0,9})*") {
            prop_assert!(receivers(&[text]).len() <= RECEIVERS_MAX);
        }
    }
}
