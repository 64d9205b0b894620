//! What the certificates of this node say, and how they stand: for `certificate show`, `status`, the metrics, notices and
//! the doctor, in one place.

use super::CertificateFiles;
use crate::acme::Record;
use crate::configuration::Configuration;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use words_mail::Time;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A day.
const DAY: Duration = Duration::from_secs(86_400);
/// So long before the end somebody is told, and told again. Of a certificate that lives shorter than
/// [`USUAL_LIFE`] it is the same share.
const WARN_BEFORE: [Duration; 3] = [Duration::from_secs(14 * 86_400), Duration::from_secs(7 * 86_400), DAY];
/// The life that these are meant for.
const USUAL_LIFE: u32 = 90;
/// Failures to renew in a row that are told to people; one or two may pass.
const FAILURES_TOLD: u32 = 3;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The host names it is for.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// Valid from.
    pub not_before: Time,
    /// Valid until.
    pub not_after: Time,
    /// Whether it signed itself.
    pub self_signed: bool,
}

impl Facts {
    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// When there is none, in words.
    pub fn of_file(path: &Path) -> Result<Facts, String> {
        let shown = path.display();
        let pem = std::fs::read(path)
            .map_err(|why| format!("{shown} cannot be read: {}", crate::configuration::reason(&why)))?;
        Facts::of_pem(&pem).map_err(|why| format!("{shown}: {why}"))
    }

    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// When there is none, in words.
    pub fn of_pem(pem: &[u8]) -> Result<Facts, String> {
        let first = CertificateDer::pem_slice_iter(pem).next();
        let der = first.and_then(Result::ok).ok_or_else(|| "it holds no certificate".to_owned())?;
        let (_, certificate) = X509Certificate::from_der(&der)
            .map_err(|why| format!("the certificate makes no sense: {why}"))?;
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let names = alternative.iter().flat_map(|extension| &extension.value.general_names);
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_lowercase()),
            _ => None,
        });
        let validity = certificate.validity();
        Ok(Facts {
            names: names.collect(),
            issuer: certificate.issuer().to_string(),
            not_before: Time::from_seconds(validity.not_before.timestamp()),
            not_after: Time::from_seconds(validity.not_after.timestamp()),
            self_signed: certificate.subject().as_raw() == certificate.issuer().as_raw(),
        })
    }

    /// How long it lives in all.
    pub fn life(&self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// How near the end is: 0 for not near, 1 from 14 days before, 2 from 7, 3 from 1.
    pub fn lateness(&self, now: Time) -> u32 {
        let left = self.not_after.since(now);
        let share = self.life() / USUAL_LIFE;
        let late = |before: &Duration| {
            let days = u32::try_from(before.as_secs() / DAY.as_secs()).unwrap_or(1);
            left <= (*before).min(share * days)
        };
        u32::try_from(WARN_BEFORE.iter().filter(|before| late(before)).count()).unwrap_or(0)
    }
}

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The files that the configuration names; somebody else renews them.
    Files,
    /// An authority that is asked by this node.
    Acme,
    /// This node, for itself.
    Own,
}

/// How one certificate stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateState {
    /// Where it comes from.
    pub source: Source,
    /// Its file.
    pub file: PathBuf,
    /// What it says; none when it cannot be read.
    pub facts: Option<Facts>,
    /// Why not.
    pub fault: Option<String>,
    /// Whether it is the one that is shown at the doors.
    pub shown: bool,
    /// When it is renewed, as far as that is known here.
    pub next_renewal: Option<Time>,
    /// Failures to fetch it since the last success.
    pub failures: u32,
    /// The words of the last of them.
    pub last_error: Option<String>,
}

impl CertificateState {
    /// What a person should see to, in a sentence; and how urgent: 0 (it may pass by itself), 1 (in time) to 4 (it is
    /// over).
    pub fn trouble(&self, now: Time) -> Option<(u32, String)> {
        let file = self.file.display();
        let error = self.last_error.as_deref().unwrap_or("no words");
        if !self.shown {
            let failed = self.source == Source::Acme && self.failures > 0;
            return failed.then(|| {
                let level = u32::from(self.failures >= FAILURES_TOLD);
                (level, format!("no certificate could be fetched yet ({} tries): {error}", self.failures))
            });
        }
        let Some(facts) = &self.facts else {
            let why = self.fault.as_deref().unwrap_or("it cannot be read");
            return Some((3, format!("the certificate: {why}")));
        };
        if facts.not_after <= now {
            return Some((4, format!("the certificate {file} ended at {}", facts.not_after)));
        }
        let renewing = match (self.source, self.failures) {
            (Source::Acme, 0) => String::new(),
            (Source::Acme, n) => format!("; renewing it failed {n} times: {error}"),
            (Source::Files, _) => {
                "; whatever renews these files has not done so, and Stormpost shows a new one as soon as it is there"
                    .to_owned()
            }
            (Source::Own, _) => "; remove its two files and restart, and a new one is made".to_owned(),
        };
        match facts.lateness(now) {
            0 if self.failures > 0 => {
                let level = u32::from(self.failures >= FAILURES_TOLD);
                Some((level, format!("the certificate is good until {}{renewing}", facts.not_after)))
            }
            0 => None,
            level => Some((level, format!("the certificate ends at {}{renewing}", facts.not_after))),
        }
    }
}

/// The state of every certificate of the node, the one that is shown at the doors first. Reads files; does not ask the node.
pub fn states(configuration: &Configuration) -> Vec<CertificateState> {
    let data = &configuration.node.data;
    if let Some(files) = &configuration.tls {
        return vec![state(Source::Files, &files.certificate, true)];
    }
    let own = CertificateFiles::self_signed(data).certificate;
    if configuration.acme.is_none() {
        return vec![state(Source::Own, &own, true)];
    }
    let file = CertificateFiles::fetched(data).certificate;
    let there = file.exists();
    let record = Record::read(data);
    let fetched = CertificateState {
        next_renewal: record.next,
        failures: record.failures,
        last_error: record.last_error,
        fault: (!there).then(|| "none was fetched yet".to_owned()),
        ..state(Source::Acme, &file, there)
    };
    let mut states = vec![fetched];
    if !there {
        states.insert(0, state(Source::Own, &own, true));
    }
    states
}

fn state(source: Source, file: &Path, shown: bool) -> CertificateState {
    let (facts, fault) = match Facts::of_file(file) {
        Ok(facts) => (Some(facts), None),
        Err(why) => (None, Some(why)),
    };
    let (next_renewal, last_error) = (None, None);
    CertificateState {
        source,
        file: file.to_owned(),
        facts,
        fault,
        shown,
        next_renewal,
        failures: 0,
        last_error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(life_days: u64, left: Duration) -> (Facts, Time) {
        let (begin, life) = (Time::from_seconds(1_000_000), DAY * u32::try_from(life_days).unwrap());
        let facts = Facts {
            names: vec!["mx.example.org".into()],
            issuer: "CN=x".into(),
            not_before: begin,
            not_after: begin.after(life),
            self_signed: false,
        };
        let now = facts.not_after.before(left);
        (facts, now)
    }

    #[test]
    fn people_are_told_at_14_7_and_1_days_and_in_proportion_where_certificates_are_short() {
        let hours = |n: u64| Duration::from_secs(n * 3_600);
        for (life, left, level) in [
            (90, hours(15 * 24), 0),
            (90, hours(14 * 24), 1),
            (90, hours(7 * 24), 2),
            (90, hours(24), 3),
            (365, hours(15 * 24), 0),
            (365, hours(13 * 24), 1),
            // A certificate of six days is renewed when two are left.
            (6, hours(48), 0),
            (6, hours(22), 1),
            (6, hours(1), 3),
        ] {
            let (facts, now) = facts(life, left);
            assert_eq!(facts.lateness(now), level, "{life} days, {left:?} left");
        }
    }

    #[test]
    fn what_fails_is_told_long_before_the_end() {
        let (facts, now) = facts(90, DAY * 29);
        let end = facts.not_after;
        let well = CertificateState {
            source: Source::Acme,
            file: "/d/acme/certificate.pem".into(),
            facts: Some(facts),
            fault: None,
            shown: true,
            next_renewal: None,
            failures: 0,
            last_error: None,
        };
        assert_eq!(well.trouble(now), None);
        let failing =
            |failures| CertificateState { failures, last_error: Some("refused".into()), ..well.clone() };
        let (level, words) = failing(1).trouble(now).unwrap();
        assert!(level == 0 && words.contains("refused") && words.contains("is good until"), "{words}");
        assert_eq!(failing(3).trouble(now).unwrap().0, 1);
        assert_eq!(well.trouble(end).unwrap().0, 4);
        let none_yet = CertificateState { shown: false, facts: None, ..failing(3) };
        assert!(none_yet.trouble(now).unwrap().1.contains("could be fetched yet"));
    }

    #[test]
    fn a_certificate_is_read_with_its_names_and_what_is_none_says_so() {
        let made = rcgen::generate_simple_self_signed(["MX.example.org".to_owned()]).unwrap();
        let facts = Facts::of_pem(made.cert.pem().as_bytes()).unwrap();
        assert_eq!(facts.names, ["mx.example.org"]);
        assert!(facts.self_signed && facts.not_before < facts.not_after);
        assert!(Facts::of_pem(b"nothing").unwrap_err().contains("no certificate"));
    }
}
