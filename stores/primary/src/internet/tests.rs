use super::*;
use crate::scripted::{Script, Server, Zone, world_with};
use crate::tls::Trust;
use std::sync::Mutex;

fn internet() -> Internet {
    Internet {
        smart_host: None,
        helo: "edge.example".into(),
        own_names: vec!["mx.edge.example".into()],
        own_addresses: vec!["192.0.2.99".parse().unwrap()],
        port: 25,
        tls: TlsMode::Opportunistic,
        trust: Tls::new(&Trust::Anybody).unwrap(),
        limits: Limits::internet(),
        allow_loopback: false,
        guard: None,
    }
}

fn zone() -> Zone {
    let mx = |list: &[(u16, &str)]| {
        Ok(list
            .iter()
            .map(|(preference, host)| Mx { preference: *preference, host: (*host).into() })
            .collect())
    };
    let ip = |list: &[&str]| Ok(list.iter().map(|text| text.parse().unwrap()).collect());
    let later = || Err(NameError::Temporary("SERVFAIL".into()));
    Zone {
        mx: [
            ("two.example", mx(&[(20, "b.example"), (10, "a.example")])),
            ("none.example", mx(&[(0, "")])),
            ("slow.example", Err(NameError::Temporary("SERVFAIL".into()))),
            ("ours.example", mx(&[(10, "MX.edge.example"), (20, "b.example")])),
            ("backup.example", mx(&[(10, "a.example"), (20, "mx.edge.example"), (30, "b.example")])),
            ("dead.example", mx(&[(10, "nowhere.example")])),
            ("unsure.example", mx(&[(10, "unsure-host.example")])),
            ("half.example", mx(&[(10, "unsure-host.example"), (20, "b.example")])),
            ("evil.example", mx(&[(10, "loop.example")])),
            ("ourip.example", mx(&[(10, "us-by-address.example")])),
        ]
        .into_iter()
        .map(|(domain, found)| (domain.to_owned(), found))
        .collect(),
        addresses: [
            ("a.example", ip(&["192.0.2.1"])),
            ("b.example", ip(&["192.0.2.2", "2001:db8::2"])),
            ("plain.example", ip(&["192.0.2.3"])),
            ("unsure-host.example", later()),
            ("slowplain.example", later()),
            ("loop.example", ip(&["127.0.0.1", "0.0.0.0"])),
            ("us-by-address.example", ip(&["192.0.2.99"])),
        ]
        .into_iter()
        .map(|(host, found)| (host.to_owned(), found))
        .collect(),
    }
}

async fn way(domain: &str) -> Result<Vec<String>, String> {
    let server = Server::new(Script::new(Protocol::Smtp));
    match route(&world_with(&server, zone()), &internet(), domain).await {
        Ok(hops) => Ok(hops.iter().map(|hop| format!("{} {:?}", hop.place, hop.addresses)).collect()),
        Err(NoWay::Later(_)) => Err("later".into()),
        Err(NoWay::Never(reply)) => {
            let (a, b, c) = reply.enhanced.unwrap();
            Err(format!("{} {a}.{b}.{c}", reply.code))
        }
    }
}

#[tokio::test]
async fn mail_finds_its_way_and_a_dns_that_fails_never_bounces_it() {
    for (domain, expected) in [
        ("two.example", Ok(vec!["a.example:25 [192.0.2.1]", "b.example:25 [192.0.2.2, 2001:db8::2]"])),
        ("plain.example", Ok(vec!["plain.example:25 [192.0.2.3]"])),
        ("[192.0.2.7]", Ok(vec!["192.0.2.7:25 [192.0.2.7]"])),
        ("[ipv6:2001:db8::7]", Ok(vec!["2001:db8::7:25 [2001:db8::7]"])),
        ("[127.0.0.1]", Err("550 5.4.4")),
        ("none.example", Err("556 5.1.10")),
        ("nosuch.example", Err("550 5.1.2")),
        ("slow.example", Err("later")),
        ("slowplain.example", Err("later")),
        ("ours.example", Err("550 5.4.6")),
        ("backup.example", Ok(vec!["a.example:25 [192.0.2.1]"])),
        ("dead.example", Err("550 5.4.4")),
        ("unsure.example", Err("later")),
        ("half.example", Ok(vec!["b.example:25 [192.0.2.2, 2001:db8::2]"])),
        ("evil.example", Err("550 5.4.4")),
        ("ourip.example", Err("550 5.4.4")),
    ] {
        let expected = expected
            .map(|hops| hops.into_iter().map(str::to_owned).collect::<Vec<_>>())
            .map_err(str::to_owned);
        assert_eq!(way(domain).await, expected, "{domain}");
    }
}

#[tokio::test]
async fn a_smart_host_takes_everything_without_a_look_up() {
    let server = Server::new(Script::new(Protocol::Smtp));
    let world = world_with(&server, zone());
    let smart = route(&world, &internet(), "two.example").await.unwrap().remove(0);
    let internet = Internet { smart_host: Some(smart.clone()), ..internet() };
    let hops = route(&world, &internet, "nosuch.example").await.unwrap();
    assert_eq!(hops.iter().map(|hop| &hop.place).collect::<Vec<_>>(), [&smart.place]);
}

/// Lets nobody through but one, and remembers what it was shown.
#[derive(Debug, Default)]
struct Doorkeeper(Mutex<Vec<(String, bool)>>);

impl Guard for Doorkeeper {
    fn wants_proof(&self) -> bool {
        true
    }

    fn secure<'a>(
        &'a self,
        domain: &'a str,
        exchangers: Vec<Exchanger>,
    ) -> Boxed<'a, Result<Vec<Hop>, NoWay>> {
        let shown = exchangers.iter().map(|e| (format!("{domain} {}", e.host), e.secure));
        self.0.lock().unwrap().extend(shown);
        let kept: Vec<Hop> =
            exchangers.into_iter().filter(|e| e.host == "b.example").map(|e| e.hop).collect();
        Box::pin(async move { if kept.is_empty() { Err(NoWay::Later("nobody".into())) } else { Ok(kept) } })
    }
}

#[tokio::test]
async fn who_may_be_gone_to_is_asked_for_each_domain_and_not_for_a_smart_host() {
    let server = Server::new(Script::new(Protocol::Smtp));
    let world = world_with(&server, zone());
    let keeper = Arc::new(Doorkeeper::default());
    let guarded = Internet { guard: Some(keeper.clone()), ..internet() };
    let hops = route(&world, &guarded, "two.example").await.unwrap();
    assert_eq!(hops.iter().map(|hop| hop.place.to_string()).collect::<Vec<_>>(), ["b.example:25"]);
    assert_eq!(route(&world, &guarded, "plain.example").await.unwrap_err(), NoWay::Later("nobody".into()));
    // This DNS proves nothing.
    let shown = |text: &str| (text.to_owned(), false);
    assert_eq!(
        *keeper.0.lock().unwrap(),
        [
            shown("two.example a.example"),
            shown("two.example b.example"),
            shown("plain.example plain.example")
        ]
    );
    let smart = Internet { smart_host: Some(hops[0].clone()), ..guarded };
    assert_eq!(route(&world, &smart, "nosuch.example").await.unwrap().len(), 1);
    assert_eq!(keeper.0.lock().unwrap().len(), 3);
}
