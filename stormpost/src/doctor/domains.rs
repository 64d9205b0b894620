//! Whether mail finds us: the exchangers of each domain, and the name that our address has.

use super::finding::Finding;
use super::patient::Patient;
use super::records::{Kind, Rows, reverse};
use crate::configuration::{Configuration, DomainSettings, ServerPlace};
use std::net::IpAddr;
use std::sync::Arc;
use words_world::{Boxed, NameError};

/// A record that is remembered longer than this, seconds, makes every move slow.
const TTL_MAX: u32 = 3_600;

/// The host to which mail may go round us: where the domain's primary takes mail.
pub(super) fn bypass(configuration: &Configuration, domain: &DomainSettings) -> Option<String> {
    let primary = configuration.primary(domain.domain.primary.as_ref()?)?;
    match &primary.deliver.place {
        ServerPlace::Host(host, _) if host.parse::<IpAddr>().is_err() => Some(host.to_lowercase()),
        _ => None,
    }
}

/// Topic `mx`.
pub(super) fn exchangers(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let node = &patient.configuration.node.name;
        let mut found = vec![own_name(node, patient.ask(node, Kind::Address).await)];
        for domain in &patient.configuration.domains {
            let name = &domain.domain.name;
            let mx = patient.ask(name, Kind::Mx).await;
            let round = bypass(&patient.configuration, domain);
            found.extend(judge_mx(name, mx, node, round.as_deref()));
        }
        found
    })
}

fn own_name(node: &str, found: Result<Rows, NameError>) -> Finding {
    let about = format!("address of {node}");
    match found {
        Ok(rows) => {
            let shown: Vec<String> = rows.addresses().iter().map(ToString::to_string).collect();
            Finding::ok(about, shown.join(", "))
        }
        Err(NameError::NotFound) => Finding::fail(about, "this node's name has no address")
            .today("nobody finds this machine: no mail comes in by its MX")
            .mend(format!("{node}. 3600 IN A THIS-MACHINE'S-ADDRESS")),
        Err(why) => unanswered(about, &why),
    }
}

/// No answer is no finding about the record; about the name servers there is one of its own.
pub(super) fn unanswered(about: String, why: &NameError) -> Finding {
    Finding::unseen(about, why.to_string())
}

/// Topic `dns`.
pub(super) fn name_servers(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let mut names = vec![patient.configuration.node.name.clone()];
        names.extend(patient.configuration.domains.iter().map(|domain| domain.domain.name.clone()));
        let mut silent = None;
        for name in &names {
            match patient.ask(name, Kind::Mx).await {
                Err(NameError::Temporary(why)) => _ = silent.get_or_insert(format!("{name}: {why}")),
                Ok(_) | Err(NameError::NotFound) => return vec![judge_servers(None)],
            }
        }
        vec![judge_servers(silent)]
    })
}

fn judge_servers(silent: Option<String>) -> Finding {
    match silent {
        None => Finding::ok("name servers", "answer"),
        Some(why) => Finding::fail("name servers", format!("do not answer: {why}"))
            .today("outgoing mail and notices wait; SPF, DKIM and DMARC of what comes in cannot be judged; mail is taken in all the same")
            .mend("look at /etc/resolv.conf, or name a working server: [node] name_server = \"…\""),
    }
}

fn judge_mx(domain: &str, mx: Result<Rows, NameError>, node: &str, round: Option<&str>) -> Vec<Finding> {
    let about = format!("MX of {domain}");
    let ours = format!("{domain}. 3600 IN MX 10 {node}.");
    let rows = match mx {
        Ok(rows) => rows,
        Err(NameError::NotFound) => {
            return vec![
                Finding::fail(about, "there is none")
                    .today("mail for it goes to the address of the domain itself, not to this machine")
                    .mend(ours),
            ];
        }
        Err(why) => return vec![unanswered(about, &why)],
    };
    let all = rows.exchangers();
    let shown: Vec<String> = all.iter().map(|(preference, host)| format!("{preference} {host}")).collect();
    let shown = shown.join(", ");
    let mut found = Vec::new();
    let us = all.iter().find(|(_, host)| *host == node).map(|(preference, _)| *preference);
    let others: Vec<&(u16, &str)> =
        all.iter().filter(|(_, host)| *host != node && Some(*host) != round).collect();
    let primary = all.iter().find(|(_, host)| Some(*host) == round).map(|(preference, _)| *preference);
    match (us, primary) {
        (None, _) => found.push(
            Finding::fail(&about, format!("{shown}: not this machine"))
                .today("mail for it does not come in here, so nothing of it is kept when the primary fails")
                .mend(&ours),
        ),
        (Some(us), Some(primary)) if primary <= us => found.push(
            Finding::fail(&about, format!("{shown}: the primary comes before this machine, or beside it"))
                .today("senders hand mail to the primary itself; what it loses is not kept here")
                .mend(format!(
                    "{domain}. 3600 IN MX {} {}.",
                    us.saturating_add(10),
                    round.unwrap_or_default()
                )),
        ),
        (Some(_), _) if others.is_empty() => found.push(Finding::ok(&about, shown.clone())),
        (Some(_), _) => {}
    }
    if let (Some(us), Some((preference, other))) = (us, others.first()) {
        let words = format!("{shown}: {other} is neither this machine nor the primary");
        found.push(match preference <= &us {
            true => Finding::warn(&about, words)
                .today("a share of the mail goes through that machine; when it is another Stormpost, that is as it should be")
                .mend(format!("remove: {domain}. IN MX {preference} {other}.")),
            false => Finding::warn(&about, words)
                .today("while this machine is down senders go there, and spam tries it first")
                .mend(format!("remove: {domain}. IN MX {preference} {other}.")),
        });
    }
    if us.is_some() && primary.is_none() && others.is_empty() {
        found.extend(round.map(|round| no_way_round(domain, round)));
    }
    found.extend((rows.ttl > TTL_MAX).then(|| remembered_long(domain, rows.ttl).mend(ours)));
    found
}

fn no_way_round(domain: &str, round: &str) -> Finding {
    let words = "none; while this machine is down senders wait and come back";
    Finding::ok(format!("way round us for {domain}"), words).mend(format!(
        "if mail shall go round it then: {domain}. 3600 IN MX 20 {round}.   (see: stormpost bypass)"
    ))
}

fn remembered_long(domain: &str, ttl: u32) -> Finding {
    Finding::warn(format!("how long the MX of {domain} is remembered"), format!("{ttl} s"))
        .today(format!("a change of it is seen by everybody only after {} hours", ttl.div_ceil(3_600)))
}

/// Topic `reverse`.
pub(super) fn reverse_names(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let node = patient.configuration.outbound.helo.clone();
        let addresses = patient.ask(&node, Kind::Address).await.map(|rows| rows.addresses());
        let addresses = match addresses {
            Ok(addresses) => addresses,
            Err(why) => {
                return vec![Finding::unseen(
                    "reverse name",
                    format!("{node} has no address to look at: {why}"),
                )];
            }
        };
        let mut found = Vec::new();
        for ip in addresses {
            let names = patient.ask(&reverse(ip), Kind::Name).await;
            let mut back = false;
            if let Ok(rows) = &names {
                for name in rows.names() {
                    let forward = patient.ask(name, Kind::Address).await;
                    back |= forward.is_ok_and(|rows| rows.addresses().contains(&ip));
                }
            }
            let sends_itself = patient.configuration.outbound.smart_host.is_none();
            found.push(judge_reverse(ip, names, back, &node, sends_itself));
        }
        found
    })
}

fn judge_reverse(
    ip: IpAddr,
    names: Result<Rows, NameError>,
    back: bool,
    node: &str,
    sends_itself: bool,
) -> Finding {
    let about = format!("reverse name of {ip}");
    let line = format!("ask whoever gave you {ip}: {}. IN PTR {node}.", reverse(ip));
    let today = match sends_itself {
        true => "many servers refuse or junk what people send from here",
        false => {
            "nothing while the smart host carries outgoing mail; notices sent straight from here may be refused"
        }
    };
    let bad = |words: String| match sends_itself {
        true => Finding::fail(&about, words).today(today).mend(&line),
        false => Finding::warn(&about, words).today(today).mend(&line),
    };
    match names {
        Err(NameError::NotFound) => bad("it has none".to_owned()),
        Err(why) => unanswered(about, &why),
        Ok(rows) => {
            let shown = rows.names().join(", ");
            match (rows.names().contains(&node), back) {
                (true, true) => Finding::ok(about, format!("{shown}, and back")),
                (_, false) => bad(format!("{shown}, which does not lead back to {ip}")),
                (false, true) => Finding::warn(&about, format!("{shown}, not {node}"))
                    .today("some servers trust mail less whose sender names itself otherwise than its address is named")
                    .mend(line),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;
    use crate::doctor::records::Records;
    use crate::doctor::records::fake::Facts;

    const US: &str = "mx.example.org";
    const ROUND: &str = "mail.example.org";

    async fn mx(facts: Facts) -> Vec<(Grade, String)> {
        let rows = facts.ask("example.org", Kind::Mx).await;
        let found = judge_mx("example.org", rows, US, Some(ROUND));
        found.into_iter().map(|f| (f.grade, format!("{}: {}", f.about, f.words))).collect()
    }

    #[tokio::test]
    async fn every_way_an_mx_can_be_wrong_is_told_apart() {
        let (ok, warn, fail) = (Grade::Ok, Grade::Warn, Grade::Fail);
        let none = Facts::default;
        let right = || none().mx("example.org", 10, US).mx("example.org", 20, ROUND);
        for (facts, expected) in [
            (right(), vec![(ok, "10 mx.example.org, 20 mail.example.org")]),
            (
                none().mx("example.org", 10, US),
                vec![(ok, "10 mx.example.org"), (ok, "none; while this machine")],
            ),
            (none(), vec![(fail, "there is none")]),
            (none().mx("example.org", 10, ROUND), vec![(fail, "10 mail.example.org: not this machine")]),
            (none().mx("example.org", 10, US).mx("example.org", 10, ROUND), vec![(fail, "or beside it")]),
            (
                none().mx("example.org", 10, US).mx("example.org", 5, ROUND),
                vec![(fail, "comes before this machine")],
            ),
            (right().mx("example.org", 30, "old.example.net"), vec![(warn, "old.example.net is neither")]),
            (right().ttl("example.org", Kind::Mx, 86_400), vec![(ok, "10 mx"), (warn, "86400 s")]),
            (none().silent("example.org", Kind::Mx), vec![(Grade::Unseen, "no answer from the DNS")]),
        ] {
            let found = mx(facts).await;
            let fits = found.len() == expected.len()
                && found.iter().zip(&expected).all(|(f, e)| f.0 == e.0 && f.1.contains(e.1));
            assert!(fits, "expected {expected:?}\nfound {found:?}");
        }
    }

    #[test]
    fn silent_name_servers_are_one_fault() {
        assert_eq!(judge_servers(None).grade, Grade::Ok);
        let found = judge_servers(Some("mx.example.org: timed out".to_owned()));
        assert!(found.grade == Grade::Fail && found.words.contains("timed out") && found.mend.is_some());
    }

    #[tokio::test]
    async fn a_reverse_name_must_be_ours_and_lead_back() {
        let ip: IpAddr = "192.0.2.7".parse().unwrap();
        let none = Facts::default;
        for (facts, back, sends, grade, words) in [
            (none().ptr("192.0.2.7", US), true, true, Grade::Ok, "and back"),
            (none().ptr("192.0.2.7", US), false, true, Grade::Fail, "does not lead back"),
            (none().ptr("192.0.2.7", "host7.isp.example"), true, true, Grade::Warn, "not mx.example.org"),
            (none(), false, true, Grade::Fail, "it has none"),
            (none(), false, false, Grade::Warn, "it has none"),
            (none().silent(&reverse(ip), Kind::Name), false, true, Grade::Unseen, "no answer"),
        ] {
            let found = judge_reverse(ip, facts.ask(&reverse(ip), Kind::Name).await, back, US, sends);
            assert_eq!(found.grade, grade, "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
            assert!(grade <= Grade::Unseen || found.mend.is_some() && found.today.is_some(), "{found:?}");
        }
    }
}
