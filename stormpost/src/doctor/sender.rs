//! Whether what people send from here is believed: SPF, DKIM, DMARC.

use super::domains::unanswered;
use super::finding::Finding;
use super::patient::Patient;
use super::records::{Kind, Rows};
use super::spf::{self, LOOKUPS_MAX, Look, Says};
use crate::command::{DkimRecord, ensure_key};
use std::net::IpAddr;
use std::sync::Arc;
use words_world::{Boxed, NameError};

/// Topic `spf`.
pub(super) fn spf(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let outbound = &patient.configuration.outbound;
        let addresses = patient.ask(&outbound.helo, Kind::Address).await.map(|rows| rows.addresses());
        let addresses: Vec<IpAddr> = addresses.unwrap_or_default();
        if addresses.is_empty() {
            return vec![Finding::unseen("SPF", format!("{} has no address to look for", outbound.helo))];
        }
        let mut found = Vec::new();
        for domain in &patient.configuration.domains {
            for ip in &addresses {
                let look = spf::look(&*patient.records, &domain.domain.name, *ip).await;
                found.push(judge_spf(
                    &domain.domain.name,
                    *ip,
                    look,
                    &outbound.helo,
                    outbound.smart_host.is_none(),
                ));
            }
        }
        found
    })
}

fn judge_spf(domain: &str, ip: IpAddr, look: Look, helo: &str, sends_itself: bool) -> Finding {
    let about = format!("SPF of {domain} for {ip}");
    let line = match &look.record {
        None => format!("{domain}. 3600 IN TXT \"v=spf1 mx a:{helo} -all\""),
        Some(record) => {
            let rest = record.get(6..).unwrap_or_default().trim();
            format!("{domain}. 3600 IN TXT \"v=spf1 a:{helo} {rest}\"")
        }
    };
    let outage = "what people send from here in an outage fails SPF at its receivers";
    let bad = |words: String| match sends_itself {
        true => Finding::fail(&about, words).today(outage).mend(&line),
        false => {
            Finding::ok(&about, format!("{words}; mail leaves by the smart host, whose addresses count"))
        }
    };
    let count = format!("{} of at most {LOOKUPS_MAX} look-ups", look.all);
    if look.all > LOOKUPS_MAX {
        return Finding::fail(
            &about,
            format!("{} look-ups, and a receiver stops after {LOOKUPS_MAX}", look.all),
        )
        .today("receivers take the whole record for broken: no mail of the domain passes SPF")
        .mend("replace include: and a: by the networks they stand for (ip4:, ip6:)");
    }
    match look.says {
        Says::Qualified('+') => Finding::ok(about, format!("passes; {count}")),
        Says::Qualified('?') => bad(format!("neutral, which is no pass; {count}")),
        Says::Qualified(sign) => bad(format!("refused by {sign}all; {count}")),
        Says::Nothing => Finding::warn(&about, "there is no SPF record")
            .today("many receivers trust mail of the domain less")
            .mend(line),
        Says::Depends => Finding::unseen(about, format!("it depends on the message (macros); {count}")),
        Says::Broken(why) => Finding::fail(&about, format!("broken: {why}"))
            .today("no mail of the domain passes SPF, from here or elsewhere")
            .mend(line),
        Says::Unknown(why) => unanswered(about, &NameError::Temporary(why)),
    }
}

/// Topic `dkim`.
pub(super) fn dkim(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let mut found = Vec::new();
        for domain in &patient.configuration.domains {
            let name = &domain.domain.name;
            let Some(dkim) = &domain.dkim else {
                found.push(
                    Finding::warn(format!("DKIM of {name}"), "what people send from here is not signed")
                        .today("in an outage receivers that ask for DKIM junk or refuse it")
                        .mend(format!("[[domain]] dkim = {{ key_file = \"dkim-{name}.pem\" }}; then: stormpost dkim {name}")),
                );
                continue;
            };
            // Only a key that is there: looking makes nothing.
            if !dkim.key_file.exists() {
                found.push(
                    Finding::fail(
                        format!("DKIM of {name}"),
                        format!("the key {} is not there", dkim.key_file.display()),
                    )
                    .today("what people send is not signed")
                    .mend(format!("stormpost dkim {name}")),
                );
                continue;
            }
            match ensure_key(&dkim.key_file, &dkim.selector, name) {
                Ok(ours) => {
                    let published = patient.ask(&ours.name, Kind::Text).await;
                    found.push(judge_dkim(&ours, published));
                }
                Err(why) => found.push(
                    Finding::fail(format!("DKIM of {name}"), why).today("what people send is not signed"),
                ),
            }
        }
        found
    })
}

/// The `p=` of a key record (RFC 6376 §3.6.1), without white space.
fn public_key(record: &str) -> Option<String> {
    let tags = record.split(';').filter_map(|tag| tag.split_once('='));
    let key = tags.into_iter().find(|(name, _)| name.trim() == "p")?.1;
    Some(key.chars().filter(|c| !c.is_whitespace()).collect())
}

fn judge_dkim(ours: &DkimRecord, published: Result<Rows, NameError>) -> Finding {
    let about = format!("DKIM record {}", ours.name);
    let fails = "receivers find the signature of what people send from here false, which is worse than none";
    let rows = match published {
        Err(NameError::NotFound) => {
            return Finding::fail(about, "it is not published")
                .today("the signature of what people send from here cannot be checked")
                .mend(ours.zone_line());
        }
        Err(why) => return unanswered(about, &why),
        Ok(rows) => rows,
    };
    let keys: Vec<String> = rows.texts().into_iter().filter_map(public_key).collect();
    match keys.as_slice() {
        [key] if Some(key) == public_key(&ours.text).as_ref() => {
            Finding::ok(about, "the published key is ours")
        }
        [key] if key.is_empty() => {
            Finding::fail(about, "the key is revoked").today(fails).mend(ours.zone_line())
        }
        [_] => Finding::fail(about, "another key is published than the one that signs")
            .today(fails)
            .mend(ours.zone_line()),
        [] => Finding::fail(about, "what is published is no key").today(fails).mend(ours.zone_line()),
        _ => Finding::fail(about, "several keys are published under one name")
            .today(fails)
            .mend(ours.zone_line()),
    }
}

/// Topic `dmarc`.
pub(super) fn dmarc(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let mut found = Vec::new();
        for domain in &patient.configuration.domains {
            let name = &domain.domain.name;
            let mut rows = patient.ask(&format!("_dmarc.{name}"), Kind::Text).await;
            // A subdomain falls under the record of what it belongs to (RFC 7489 §6.6.3).
            if let (Err(NameError::NotFound), Some((_, parent))) = (&rows, name.split_once('.'))
                && parent.contains('.')
            {
                rows = patient.ask(&format!("_dmarc.{parent}"), Kind::Text).await;
            }
            found.push(judge_dmarc(name, rows));
        }
        found
    })
}

fn judge_dmarc(domain: &str, rows: Result<Rows, NameError>) -> Finding {
    let about = format!("DMARC of {domain}");
    let line =
        format!("_dmarc.{domain}. 3600 IN TXT \"v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}\"");
    let none = |words: &str| {
        Finding::warn(about.clone(), words)
            .today("anybody can send in the domain's name, and large receivers trust its mail less")
            .mend(line.clone())
    };
    let rows = match rows {
        Err(NameError::NotFound) => return none("there is none"),
        Err(why) => return unanswered(about, &why),
        Ok(rows) => rows,
    };
    let is = |text: &&str| text.replace(' ', "").to_ascii_lowercase().starts_with("v=dmarc1");
    let records: Vec<&str> = rows.texts().into_iter().filter(is).collect();
    let policy = |record: &str| {
        let mut tags = record.split(';').filter_map(|tag| tag.split_once('='));
        tags.find(|(name, _)| name.trim() == "p").map(|(_, value)| value.trim().to_ascii_lowercase())
    };
    match records.as_slice() {
        [] => none("there is none"),
        [record] => match policy(record).as_deref() {
            Some("none") => {
                Finding::ok(about, "p=none: only watched; forged mail of the domain is not stopped")
            }
            Some(policy @ ("quarantine" | "reject")) => Finding::ok(about, format!("p={policy}")),
            _ => none("it has no policy p="),
        },
        _ => none("there is more than one, which counts as none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;
    use crate::doctor::records::Records;
    use crate::doctor::records::fake::Facts;

    #[tokio::test]
    async fn what_spf_says_is_told_with_its_count_and_its_line() {
        let ip: IpAddr = "192.0.2.7".parse().unwrap();
        let many: String = (0..11).map(|n| format!(" a:h{n}.example.org")).collect();
        for (record, sends, grade, words, mend) in [
            (Some("v=spf1 ip4:192.0.2.7 -all"), true, Grade::Ok, "passes; 0 of at most 10", ""),
            (
                Some("v=spf1 ip4:192.0.2.8 -all"),
                true,
                Grade::Fail,
                "refused by -all",
                "v=spf1 a:mx.example.org ip4:192.0.2.8 -all",
            ),
            (Some("v=spf1 ip4:192.0.2.8 -all"), false, Grade::Ok, "by the smart host", ""),
            (Some("v=spf1 ip4:192.0.2.8 ?all"), true, Grade::Fail, "neutral", "a:mx.example.org"),
            (Some("v=spf1 oops -all"), true, Grade::Fail, "broken: oops", "a:mx.example.org"),
            (Some(&*format!("v=spf1{many} -all")), true, Grade::Fail, "11 look-ups", "replace include:"),
            (None, true, Grade::Warn, "no SPF record", "v=spf1 mx a:mx.example.org -all"),
        ] {
            let facts = record.iter().fold(Facts::default(), |facts, text| facts.text("example.org", text));
            let look = spf::look(&facts, "example.org", ip).await;
            let found = judge_spf("example.org", ip, look, "mx.example.org", sends);
            assert_eq!(found.grade, grade, "{found:?}");
            assert!(found.words.contains(words) && found.mend.unwrap_or_default().contains(mend), "{words}");
        }
    }

    #[tokio::test]
    async fn the_published_key_must_be_ours() {
        let name = "s._domainkey.example.org";
        let ours = DkimRecord { name: name.into(), text: "v=DKIM1; k=rsa; p=AAAA".into(), made: false };
        for (texts, grade, words) in [
            (vec!["v=DKIM1; k=rsa; p=AA AA"], Grade::Ok, "is ours"),
            (vec!["v=DKIM1; p=BBBB"], Grade::Fail, "another key"),
            (vec!["v=DKIM1; p="], Grade::Fail, "revoked"),
            (vec!["hello"], Grade::Fail, "no key"),
            (vec!["p=AAAA", "p=BBBB"], Grade::Fail, "several"),
            (vec![], Grade::Fail, "not published"),
        ] {
            let facts = texts.iter().fold(Facts::default(), |facts, text| facts.text(name, text));
            let found = judge_dkim(&ours, facts.ask(name, Kind::Text).await);
            assert_eq!(found.grade, grade, "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
            assert!(
                grade == Grade::Ok || found.mend.unwrap_or_default().contains("p=AAAA"),
                "the line to publish"
            );
        }
    }

    #[tokio::test]
    async fn a_dmarc_record_must_be_one_and_have_a_policy() {
        for (texts, grade, words) in [
            (vec!["v=DMARC1; p=reject; rua=mailto:x@example.org"], Grade::Ok, "p=reject"),
            (vec!["v=DMARC1; p=none"], Grade::Ok, "only watched"),
            (vec!["v=DMARC1; rua=mailto:x@example.org"], Grade::Warn, "no policy"),
            (vec!["v=DMARC1; p=reject", "v=DMARC1; p=none"], Grade::Warn, "more than one"),
            (vec!["hello"], Grade::Warn, "there is none"),
            (vec![], Grade::Warn, "there is none"),
        ] {
            let facts =
                texts.iter().fold(Facts::default(), |facts, text| facts.text("_dmarc.example.org", text));
            let found = judge_dmarc("example.org", facts.ask("_dmarc.example.org", Kind::Text).await);
            assert_eq!(found.grade, grade, "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
        }
    }
}
