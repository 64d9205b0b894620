//! Our own doors, as a stranger finds them, and the certificates they show.

use super::certificate::Shown;
use super::finding::Finding;
use super::patient::Patient;
use super::records::Kind;
use super::wire::{Talked, Tongue, talk};
use crate::command::moment;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use words_mail::Time;
use words_world::Boxed;

/// A certificate that ends sooner is a warning.
const ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);

/// Where a door that listens everywhere is reached from here.
pub(super) fn reachable(at: SocketAddr) -> SocketAddr {
    match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), at.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), at.port()),
        _ => at,
    }
}

/// Talks with a door of our own.
pub(super) async fn ask_door(
    patient: &Patient,
    at: SocketAddr,
    tongue: Tongue,
    implicit: bool,
) -> Result<Talked, String> {
    let name = &patient.configuration.node.name;
    talk(&patient.world, at, tongue, implicit, name, &format!("doctor.{name}")).await
}

/// For whom a door is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Servers,
    PeopleSending,
    PeopleReading,
}

/// Topic `doors`.
pub(super) fn look(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let listen = &patient.configuration.listen;
        let mut doors = JoinSet::new();
        let mut place = 0;
        for (name, addresses, tongue, implicit, whom) in [
            ("smtp", &listen.smtp, Tongue::Smtp, false, For::Servers),
            ("submission", &listen.submission, Tongue::Smtp, false, For::PeopleSending),
            ("submissions", &listen.submissions, Tongue::Smtp, true, For::PeopleSending),
            ("imap", &listen.imap, Tongue::Imap, false, For::PeopleReading),
            ("imaps", &listen.imaps, Tongue::Imap, true, For::PeopleReading),
        ] {
            for at in addresses {
                let (patient, at) = (patient.clone(), *at);
                let mine = place;
                place += 1;
                doors.spawn(async move {
                    let talked = ask_door(&patient, reachable(at), tongue, implicit).await;
                    let host = &patient.configuration.node.name;
                    (mine, judge_door(&format!("{name} at {at}"), whom, talked, host, patient.now))
                });
            }
        }
        let mut found = Vec::new();
        while let Some(ended) = doors.join_next().await {
            found.extend(ended.ok());
        }
        found.sort_by_key(|(place, _)| *place);
        let mut found: Vec<Finding> = found.into_iter().flat_map(|(_, findings)| findings).collect();
        if listen.smtp.is_empty() {
            found.push(
                Finding::fail("door for mail", "[listen] smtp names none")
                    .today("no mail comes in")
                    .mend("[listen] smtp = \"0.0.0.0:25\""),
            );
        }
        found.extend(by_name(&patient).await);
        found
    })
}

/// The door for mail by the name that others know. From here that proves the name and the door, not the way.
async fn by_name(patient: &Patient) -> Vec<Finding> {
    let Some(at) = patient.configuration.listen.smtp.first() else { return Vec::new() };
    let node = &patient.configuration.node.name;
    let Ok(rows) = patient.ask(node, Kind::Address).await else { return Vec::new() };
    let mut found = Vec::new();
    for ip in rows.addresses() {
        let to = SocketAddr::new(ip, at.port());
        let about = format!("{node} port {} by its public address {ip}", at.port());
        found.push(match ask_door(patient, to, Tongue::Smtp, false).await {
            Ok(_) => Finding::ok(
                about,
                "answers this machine; whether it answers the internet only another machine can say",
            ),
            Err(why) => Finding::warn(about, format!("does not answer this machine: {why}"))
                .today("perhaps no mail comes in; behind a router that does not lead back inside this is as it should be")
                .mend(format!("from another machine: openssl s_client -starttls smtp -connect {node}:{}", at.port())),
        });
    }
    if at.port() != 25 {
        found.push(Finding::ok(
            "port 25",
            format!("the door is at port {}; something else must lead port 25 to it", at.port()),
        ));
    }
    found
}

fn judge_door(about: &str, whom: For, talked: Result<Talked, String>, host: &str, now: Time) -> Vec<Finding> {
    let fails = match whom {
        For::Servers => "no mail comes in by it",
        For::PeopleSending => "nobody can send by it",
        For::PeopleReading => "nobody can read by it",
    };
    let talked = match talked {
        Ok(talked) => talked,
        Err(why) => {
            return vec![
                Finding::fail(about, format!("does not answer as it should: {why}"))
                    .today(fails)
                    .mend("systemctl status stormpost; stormpost status"),
            ];
        }
    };
    let mut found = vec![Finding::ok(about, format!("greets: {}", talked.greeting))];
    if whom == For::PeopleSending && !talked.offers("AUTH") {
        found.push(
            Finding::fail(about, "offers no sign-in (AUTH)")
                .today(fails)
                .mend("stormpost check; look at the log"),
        );
    }
    match &talked.certificate {
        None => found.push(
            Finding::fail(about, "does not encrypt")
                .today(match whom {
                    For::Servers => "mail comes in as plain text, and senders that demand TLS give up",
                    _ => fails,
                })
                .mend("[tls] certificate = \"fullchain.pem\", key = \"privkey.pem\""),
        ),
        Some(Err(why)) => {
            found.push(
                Finding::fail(about, format!("encryption fails: {why}")).today(fails).mend("stormpost check"),
            );
        }
        Some(Ok(shown)) => found.push(judge_certificate(about, shown, host, whom == For::Servers, now)),
    }
    found
}

/// A certificate as it is shown. Mail servers encrypt with any; people's programs look closely.
fn judge_certificate(about: &str, shown: &Shown, host: &str, for_servers: bool, now: Time) -> Finding {
    let about = format!("certificate of {about}");
    let until = format!("until {} UTC", moment(shown.until));
    let mend = "renew it and put it where [tls] says; it is reread by itself";
    let today = match for_servers {
        true => "senders that honour MTA-STS or DANE hand us no mail; others do not look",
        false => "people's mail programs refuse to talk to us",
    };
    if shown.until <= now {
        return Finding::fail(about, format!("ended: {until}")).today(today).mend(mend);
    }
    if shown.from > now {
        return Finding::fail(about, format!("begins only {} UTC", moment(shown.from)))
            .today(today)
            .mend("look at the clock; or a certificate that is valid now");
    }
    if !shown.is_for(host) {
        let names = shown.names.join(", ");
        let words = format!("is for {names}, not for {host}");
        return Finding::fail(about, words)
            .today(today)
            .mend(format!("a certificate whose names include {host}"));
    }
    if shown.self_signed {
        return Finding::warn(about, format!("signed by itself, {until}"))
            .today(match for_servers {
                true => "nothing while nobody demands more: mail servers encrypt with it all the same",
                false => "people's mail programs warn, and some refuse",
            })
            .mend("[tls] certificate = \"fullchain.pem\", key = \"privkey.pem\" (or [tls.acme])");
    }
    let left = shown.until.since(now);
    if left < ENDS_SOON {
        let words = format!("ends in {} days, {until}", left.as_secs() / 86_400);
        return Finding::warn(about, words).today("nothing yet").mend(mend);
    }
    Finding::ok(about, format!("for {}, {until}", shown.names.join(", ")))
}

/// A certificate at the primary, by which we hand mail over.
pub(super) fn judge_theirs(about: &str, shown: &Shown, host: &str, verified: bool, now: Time) -> Finding {
    let about = format!("certificate of {about}");
    let until = format!("until {} UTC", moment(shown.until));
    let bad = |words: String, mend: &str| match verified {
        true => {
            Finding::fail(&about, words).today("nothing is handed to the primary: mail waits here").mend(mend)
        }
        false => Finding::warn(&about, words)
            .today("nothing while we believe any certificate there; senders that go round us may look closer")
            .mend(mend),
    };
    let left = shown.until.since(now);
    if shown.until <= now {
        bad(format!("ended: {until}"), "renew it at the primary")
    } else if verified && host.parse::<IpAddr>().is_err() && !shown.is_for(host) {
        bad(
            format!("is for {}, not for {host}", shown.names.join(", ")),
            "name the primary as its certificate does, or set trust",
        )
    } else if left < ENDS_SOON {
        let words = format!("ends in {} days, {until}", left.as_secs() / 86_400);
        Finding::warn(about, words).today("nothing yet").mend("renew it at the primary")
    } else {
        Finding::ok(about, until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;

    fn shown(names: &[&str], from: (i32, u8, u8), until: (i32, u8, u8), by_authority: bool) -> Shown {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut wanted = rcgen::CertificateParams::new(names).unwrap();
        wanted.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        wanted.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = rcgen::KeyPair::generate().unwrap();
        wanted.distinguished_name.push(rcgen::DnType::CommonName, "end");
        if !by_authority {
            return Shown::read(wanted.self_signed(&key).unwrap().der()).unwrap();
        }
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::Issuer::new(authority, rcgen::KeyPair::generate().unwrap());
        Shown::read(wanted.signed_by(&key, &issuer).unwrap().der()).unwrap()
    }

    #[test]
    fn a_certificate_is_judged_by_its_dates_its_names_and_its_issuer() {
        let now = Time::from_civil(2026, 6, 15, 0, 0, 0);
        let (begin, end) = ((2026, 1, 1), (2026, 12, 31));
        let us: &[&str] = &["mx.example.org"];
        for (shown, servers, grade, words) in [
            (shown(us, begin, end, true), false, Grade::Ok, "for mx.example.org, until 2026-12-31"),
            (shown(us, begin, end, false), false, Grade::Warn, "signed by itself"),
            (shown(us, begin, (2026, 6, 14), true), true, Grade::Fail, "ended: until 2026-06-14"),
            (shown(us, (2026, 7, 1), end, true), true, Grade::Fail, "begins only 2026-07-01"),
            (shown(us, begin, (2026, 6, 20), true), false, Grade::Warn, "ends in 5 days"),
            (
                shown(&["www.example.org"], begin, end, true),
                false,
                Grade::Fail,
                "is for www.example.org, not for mx",
            ),
        ] {
            let found = judge_certificate("imaps", &shown, "mx.example.org", servers, now);
            assert_eq!(found.grade, grade, "{found:?}");
            assert!(found.words.contains(words), "{words}: {found:?}");
            assert!(grade == Grade::Ok || found.mend.is_some(), "{found:?}");
        }
    }

    #[test]
    fn a_door_that_is_shut_or_half_open_is_found() {
        let now = Time::from_civil(2026, 6, 15, 0, 0, 0);
        let good = shown(&["mx.example.org"], (2026, 1, 1), (2026, 12, 31), true);
        let talked = |offers: &[&str], certificate| {
            Ok(Talked {
                greeting: "mx".into(),
                offers: offers.iter().map(|offer| (*offer).to_owned()).collect(),
                encrypts: true,
                certificate,
            })
        };
        for (talked, whom, worst, words) in [
            (Err("refused".to_owned()), For::Servers, Grade::Fail, "does not answer"),
            (talked(&["SIZE 1"], Some(Ok(good.clone()))), For::Servers, Grade::Ok, ""),
            (talked(&[], None), For::Servers, Grade::Fail, "does not encrypt"),
            (talked(&[], Some(Ok(good.clone()))), For::PeopleSending, Grade::Fail, "no sign-in"),
            (talked(&["AUTH PLAIN"], Some(Ok(good))), For::PeopleSending, Grade::Ok, ""),
            (
                talked(&["AUTH PLAIN"], Some(Err("alert".into()))),
                For::PeopleSending,
                Grade::Fail,
                "encryption fails",
            ),
        ] {
            let found = judge_door("door", whom, talked, "mx.example.org", now);
            assert_eq!(found.iter().map(|f| f.grade).max(), Some(worst), "{found:?}");
            assert!(found.iter().any(|f| f.words.contains(words)), "{found:?}");
        }
    }
}
