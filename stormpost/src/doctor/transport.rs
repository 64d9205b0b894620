//! Whether others may hand mail to us encrypted and be sure of it: MTA-STS, DANE, and the reports about both.

use super::certificate::Shown;
use super::domains::{bypass, unanswered};
use super::doors::{ask_door, reachable};
use super::finding::Finding;
use super::patient::Patient;
use super::records::{Kind, Row, Rows};
use super::wire::Tongue;
use crate::compose::primaries::trust;
use crate::configuration::TrustWanted;
use roads_notify::Web;
use rules_transport::{Mode, Policy, announced};
use std::sync::Arc;
use words_world::{Boxed, NameError, Url};

/// The largest policy that is read, octets (RFC 8461 §3.2).
const POLICY_MAX: usize = 64 << 10;

/// Topic `mta-sts`.
pub(super) fn policy(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let mut found = Vec::new();
        for domain in &patient.configuration.domains {
            let name = &domain.domain.name;
            let record = patient.ask(&format!("_mta-sts.{name}"), Kind::Text).await;
            let policy = match &record {
                Ok(_) => Some(fetch(&patient, name).await),
                Err(_) => None,
            };
            let round = bypass(&patient.configuration, domain);
            found.push(judge_policy(
                name,
                record,
                policy,
                &patient.configuration.node.name,
                round.as_deref(),
            ));
        }
        found
    })
}

async fn fetch(patient: &Patient, domain: &str) -> Result<String, String> {
    let url =
        Url::parse(&format!("https://mta-sts.{domain}/.well-known/mta-sts.txt")).map_err(str::to_owned)?;
    let tls = trust(&TrustWanted::Public).map_err(|why| format!("{why:#}"))?;
    let web = Web::new(patient.world.clone(), tls);
    let answer = web.get(&url, POLICY_MAX).await?;
    match answer.status {
        200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
        status => Err(format!("it answered with status {status}")),
    }
}

fn judge_policy(
    domain: &str,
    record: Result<Rows, NameError>,
    policy: Option<Result<String, String>>,
    node: &str,
    round: Option<&str>,
) -> Finding {
    let about = format!("MTA-STS of {domain}");
    let texts: Vec<String> = match record {
        Err(NameError::NotFound) => {
            return Finding::ok(
                about,
                "there is none: senders encrypt when they can, and cannot be sure of whom they talk to",
            );
        }
        Err(why) => return unanswered(about, &why),
        Ok(rows) => rows.texts().into_iter().map(str::to_owned).collect(),
    };
    if announced(&texts).is_none() {
        return Finding::warn(about, format!("the record at _mta-sts.{domain} makes no sense"))
            .today("senders see no policy")
            .mend(format!("_mta-sts.{domain}. 3600 IN TXT \"v=STSv1; id=20260101000000\""));
    }
    let address = format!("https://mta-sts.{domain}/.well-known/mta-sts.txt");
    let parsed = match policy.unwrap_or_else(|| Err("not asked".to_owned())) {
        Ok(text) => Policy::parse(&text),
        Err(why) => {
            return Finding::warn(about, format!("the policy at {address} cannot be fetched: {why}"))
                .today("senders that have an old policy go by that; others see none")
                .mend("look at that web server and its certificate");
        }
    };
    let policy = match parsed {
        Ok(policy) => policy,
        Err(why) => {
            return Finding::warn(about, format!("the policy at {address} is not valid: {why}"))
                .today("senders that have an old policy go by that; others see none")
                .mend("correct that file");
        }
    };
    let enforced = policy.mode == Mode::Enforce;
    let missing: Vec<&str> =
        [Some(node), round].into_iter().flatten().filter(|host| !policy.covers(host)).collect();
    let lines = || missing.iter().map(|host| format!("mx: {host}")).collect::<Vec<_>>().join("\n");
    match (missing.contains(&node), enforced) {
        _ if missing.is_empty() => {
            Finding::ok(about, "it lists this machine, and the primary if there is a name for it")
        }
        (true, true) => Finding::fail(about, format!("it does not list {node}, and it is enforced"))
            .today("senders that honour it (Google, Microsoft, many more) hand us no mail")
            .mend(format!(
                "add to {address}, and change the id in the record at _mta-sts.{domain}:\n{}",
                lines()
            )),
        (true, false) => Finding::warn(about, format!("it does not list {node}"))
            .today(
                "nothing while it is only tested; once it is enforced senders that honour it hand us no mail",
            )
            .mend(format!("add to {address}:\n{}", lines())),
        (false, _) => Finding::warn(about, format!("it does not list the primary, {}", missing.join(", ")))
            .today("nothing; when this machine is down, senders that honour it cannot go round it")
            .mend(format!("add to {address}:\n{}", lines())),
    }
}

/// Topic `dane`.
pub(super) fn dane(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let node = patient.configuration.node.name.clone();
        let records = patient.ask(&format!("_25._tcp.{node}"), Kind::Tlsa).await;
        let shown = match patient.configuration.listen.smtp.first() {
            Some(at) if records.is_ok() => {
                let talked = ask_door(&patient, reachable(*at), Tongue::Smtp, false).await;
                talked.and_then(|talked| {
                    talked.certificate.unwrap_or_else(|| Err("it does not encrypt".to_owned()))
                })
            }
            _ => Err("there is no door for mail here".to_owned()),
        };
        vec![judge_dane(&node, records, shown)]
    })
}

fn judge_dane(node: &str, records: Result<Rows, NameError>, shown: Result<Shown, String>) -> Finding {
    let about = format!("TLSA of _25._tcp.{node}");
    let rows = match records {
        Err(NameError::NotFound) => {
            return Finding::ok(about, "there is none; without DNSSEC it would be worth nothing");
        }
        Err(why) => return unanswered(about, &why),
        Ok(rows) => rows.rows,
    };
    let shown = match shown {
        Ok(shown) => shown,
        Err(why) => {
            return Finding::unseen(about, format!("there is one; the door showed no certificate: {why}"));
        }
    };
    let line = format!("_25._tcp.{node}. 3600 IN TLSA {}", shown.tlsa());
    let end_entity = rows.iter().any(|row| match row {
        // RFC 7672 §3.1.3: usages 0 and 1 are not for mail.
        Row::Tlsa(3, selector, matching, bytes) => shown.is_named_by(*selector, *matching, bytes),
        _ => false,
    });
    let authority = rows.iter().any(|row| matches!(row, Row::Tlsa(2, ..)));
    match (end_entity, authority) {
        (true, _) => Finding::ok(about, "it names the key that is shown at the door"),
        (false, true) => Finding::unseen(
            about,
            "it names an authority (usage 2); whether that signed our certificate is not looked at",
        ),
        (false, false) => Finding::fail(about, "it does not name the key that is shown at the door")
            .today("senders that honour DANE hand us no mail")
            .mend(line),
    }
}

/// Topic `tls-rpt`.
pub(super) fn reports(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let mut found = Vec::new();
        let dane =
            patient.ask(&format!("_25._tcp.{}", patient.configuration.node.name), Kind::Tlsa).await.is_ok();
        for domain in &patient.configuration.domains {
            let name = &domain.domain.name;
            let demands = dane || patient.ask(&format!("_mta-sts.{name}"), Kind::Text).await.is_ok();
            let record = patient.ask(&format!("_smtp._tls.{name}"), Kind::Text).await;
            found.push(judge_reports(name, record, demands));
        }
        found
    })
}

fn judge_reports(domain: &str, record: Result<Rows, NameError>, demands: bool) -> Finding {
    let about = format!("TLS-RPT of {domain}");
    let line = format!("_smtp._tls.{domain}. 3600 IN TXT \"v=TLSRPTv1; rua=mailto:postmaster@{domain}\"");
    match record {
        Ok(rows) if rows.texts().iter().any(|text| text.replace(' ', "").starts_with("v=TLSRPTv1;")) => {
            Finding::ok(about, "others report when they could not encrypt")
        }
        Err(NameError::Temporary(why)) => unanswered(about, &NameError::Temporary(why)),
        _ if demands => {
            Finding::warn(about, "there is no record, although encryption is demanded of senders")
                .today("when a sender cannot encrypt and gives up, nobody here hears of it")
                .mend(line)
        }
        _ => Finding::ok(about, "there is none, and nothing is demanded of senders"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;
    use crate::doctor::records::Records;
    use crate::doctor::records::fake::Facts;

    #[tokio::test]
    async fn a_policy_must_list_this_machine_and_the_way_round_it() {
        let both =
            "version: STSv1\nmode: enforce\nmx: mx.example.org\nmx: mail.example.org\nmax_age: 604800\n";
        let text =
            |mode: &str, host: &str| format!("version: STSv1\nmode: {mode}\nmx: {host}\nmax_age: 604800\n");
        for (record, policy, grade, words) in [
            (None, None, Grade::Ok, "there is none"),
            (Some("v=STSv1; id=1"), Some(Ok(both.to_owned())), Grade::Ok, "lists this machine"),
            (
                Some("v=STSv1; id=1"),
                Some(Ok(text("enforce", "*.example.org"))),
                Grade::Ok,
                "lists this machine",
            ),
            (
                Some("v=STSv1; id=1"),
                Some(Ok(text("enforce", "mail.example.org"))),
                Grade::Fail,
                "does not list mx.example.org",
            ),
            (
                Some("v=STSv1; id=1"),
                Some(Ok(text("testing", "mail.example.org"))),
                Grade::Warn,
                "does not list mx.example.org",
            ),
            (
                Some("v=STSv1; id=1"),
                Some(Ok(text("enforce", "mx.example.org"))),
                Grade::Warn,
                "the primary, mail.example.org",
            ),
            (Some("v=STSv1; id=1"), Some(Err("404".to_owned())), Grade::Warn, "cannot be fetched: 404"),
            (Some("v=STSv1; id=1"), Some(Ok("hello".to_owned())), Grade::Warn, "is not valid"),
            (Some("hello"), None, Grade::Warn, "makes no sense"),
        ] {
            let name = "_mta-sts.example.org";
            let facts = record.iter().fold(Facts::default(), |facts, text| facts.text(name, text));
            let asked = facts.ask(name, Kind::Text).await;
            let found =
                judge_policy("example.org", asked, policy, "mx.example.org", Some("mail.example.org"));
            assert_eq!(found.grade, grade, "{found:?}");
            assert!(found.words.contains(words), "{words}: {found:?}");
        }
    }

    #[test]
    fn a_tlsa_record_must_name_the_key_that_is_shown() {
        let made = rcgen::generate_simple_self_signed(vec!["mx.example.org".to_owned()]).unwrap();
        let shown = Shown::read(made.cert.der()).unwrap();
        let hash: Vec<u8> = {
            let text = shown.tlsa();
            let hex = &text[6..];
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        };
        let rows = |row: Row| Ok(Rows { rows: vec![row], ttl: 300 });
        for (records, grade) in [
            (rows(Row::Tlsa(3, 1, 1, hash.clone())), Grade::Ok),
            (rows(Row::Tlsa(3, 1, 1, vec![1; 32])), Grade::Fail),
            (rows(Row::Tlsa(1, 1, 1, hash)), Grade::Fail),
            (rows(Row::Tlsa(2, 1, 1, vec![1; 32])), Grade::Unseen),
            (Err(NameError::NotFound), Grade::Ok),
        ] {
            let found = judge_dane("mx.example.org", records.clone(), Ok(shown.clone()));
            assert_eq!(found.grade, grade, "{records:?} {found:?}");
        }
        let silent = judge_dane("mx.example.org", rows(Row::Tlsa(3, 1, 1, vec![])), Err("no".into()));
        assert_eq!(silent.grade, Grade::Unseen);
    }

    #[test]
    fn who_demands_encryption_wants_to_hear_where_it_fails() {
        let rows = |text: &str| Ok(Rows { rows: vec![Row::Text(text.into())], ttl: 300 });
        for (record, demands, grade) in [
            (rows("v=TLSRPTv1; rua=mailto:x@example.org"), true, Grade::Ok),
            (rows("hello"), true, Grade::Warn),
            (Err(NameError::NotFound), true, Grade::Warn),
            (Err(NameError::NotFound), false, Grade::Ok),
        ] {
            assert_eq!(judge_reports("example.org", record, demands).grade, grade);
        }
    }
}
