//! Mail systems of record that send through us, and devices.

use super::*;
use aws_lc_rs::digest::{SHA256, digest};
use words_mail::Source;

const MESSAGE: &str = "From: Anna <anna@example.org>\r\nTo: friend@elsewhere.example\r\n\r\nhi\r\n";
const OUTSIDE: &str = "friend@elsewhere.example";

fn relay() -> RelayParts {
    RelayParts {
        primary: PrimaryId("acme-hq".into()),
        addresses: Vec::new(),
        fingerprints: Vec::new(),
        authority: None,
        login: None,
    }
}

fn house(relay: RelayParts) -> House {
    House::with(|parts| parts.relays = vec![relay])
}

/// What the address outside and an address here are answered, from this sender.
async fn answers<S: Stream>(client: &mut Client<S>, from: &str) -> (String, String) {
    let mail = client.ask(&format!("MAIL FROM:<{from}>\r\n")).await;
    if !mail.starts_with("250") {
        return (mail.clone(), mail);
    }
    let out = client.ask(&format!("RCPT TO:<{OUTSIDE}>\r\n")).await;
    let here = client.ask("RCPT TO:<rita@rival.example>\r\n").await;
    client.ask("RSET\r\n").await;
    (out, here)
}

#[tokio::test(start_paused = true)]
async fn a_mail_system_relays_by_its_address_as_its_own_domains_only() {
    let house = house(RelayParts { addresses: vec!["198.51.100.5".parse().unwrap()], ..relay() });
    let mut primary = house.knock(Door::Edge, "198.51.100.5").await;
    primary.hear().await;
    primary.ask("EHLO mail.example.org\r\n").await;
    trace(&primary.send("anna@example.org", &[OUTSIDE, "berta@example.org"], MESSAGE).await);
    trace(&primary.send("", &[OUTSIDE], MESSAGE).await);
    for (accepted, text) in house.stored() {
        assert_eq!(accepted.envelope.source, Source::Relay);
        assert_eq!((&accepted.tenant.0[..], accepted.primary), ("acme", Some(PrimaryId("acme-hq".into()))));
        assert!(!text.contains("Authentication-Results"), "our own organisation is not judged by SPF");
    }
    for from in ["rita@rival.example", "who@elsewhere.example"] {
        let (out, here) = answers(&mut primary, from).await;
        assert!(
            out.starts_with("550 5.7.1 relaying denied") && here.starts_with("250"),
            "{from}: {out}{here}"
        );
    }
    for stranger in ["198.51.100.4", "198.51.100.6"] {
        let mut client = house.knock(Door::Edge, stranger).await;
        client.hear().await;
        client.ask("EHLO mail.example.org\r\n").await;
        let (out, here) = answers(&mut client, "anna@example.org").await;
        assert!(out.starts_with("550 5.7.1 relaying denied") && here.starts_with("250"), "{out}{here}");
    }
}

fn shown(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Shown {
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    (vec![made.cert.der().clone()], key)
}

#[tokio::test(start_paused = true)]
async fn a_mail_system_relays_by_its_certificate() {
    let own = rcgen::generate_simple_self_signed(["mail.example.org".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["mail.example.org".to_owned()]).unwrap();
    let root_key = rcgen::KeyPair::generate().unwrap();
    let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_cert = root.self_signed(&root_key).unwrap();
    let issuer = rcgen::Issuer::new(root, root_key);
    let signed = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        let cert = params.signed_by(&key, &issuer).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![cert.der().clone()], key)
    };
    let print = digest(&SHA256, own.cert.der()).as_ref().try_into().unwrap();
    let name = rustls::pki_types::ServerName::try_from("relay.example.org").unwrap();
    let authority = (authority(&[root_cert.der().clone()]).unwrap(), vec![name]);
    let house = house(RelayParts { fingerprints: vec![print], authority: Some(authority), ..relay() });
    for (certificate, may) in [
        (Some(shown(&own)), true),
        (Some(shown(&other)), false),
        (Some(signed("relay.example.org")), true),
        (Some(signed("printer.example.org")), false),
        (None, false),
    ] {
        let mut client = house.greet(Door::Edge).await;
        assert!(client.ask("STARTTLS\r\n").await.starts_with("220"));
        let mut client = house.encrypt_as(client, certificate.as_ref()).await;
        client.ask("EHLO mail.example.org\r\n").await;
        let (out, here) = answers(&mut client, "anna@example.org").await;
        assert_eq!(out.starts_with("250"), may, "{out}");
        assert!(here.starts_with("250"), "{here}");
        let (out, _) = answers(&mut client, "rita@rival.example").await;
        assert!(out.starts_with("550 5.7.1"), "{out}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_system_relays_by_signing_in() {
    let secret = "a long secret of machines";
    let house = house(RelayParts { login: Some(("relay".into(), secret.into())), ..relay() });
    let mut client = house.person(&format!("\0relay\0{secret}")).await;
    assert!(client.last.starts_with("235"), "{}", client.last);
    trace(&client.send("berta@example.org", &[OUTSIDE], MESSAGE).await);
    let (accepted, _) = house.stored().remove(0);
    assert_eq!((accepted.envelope.source, accepted.envelope.peer.account), (Source::Relay, None));
    let (out, _) = answers(&mut client, "rita@rival.example").await;
    assert!(out.starts_with("553 5.7.1 acme-hq may send"), "{out}");
    for wrong in ["\0relay\0a long secret of machine", "\0other\0a long secret of machines"] {
        let client = house.person(wrong).await;
        assert!(client.last.starts_with("535 5.7.8"), "{}", client.last);
    }
}

fn devices(anywhere: bool) -> DeviceParts {
    DeviceParts {
        clients: vec![Network { address: "192.168.7.0".parse().unwrap(), bits: 24 }],
        senders: vec![
            DeviceSender::Address(address("anna@example.org")),
            DeviceSender::Domain("devices.example.org".into()),
        ],
        anywhere,
        messages_per_minute: 2,
    }
}

#[tokio::test(start_paused = true)]
async fn listed_devices_send_as_listed_addresses_and_nobody_else_does() {
    for (anywhere, outside) in [(true, "250"), (false, "550 5.7.1 devices write to people here only")] {
        let house = House::with(|parts| parts.devices = Some(devices(anywhere)));
        let mut printer = house.knock(Door::Internal, "192.168.7.20").await;
        printer.hear().await;
        printer.ask("EHLO printer\r\n").await;
        let (out, here) = answers(&mut printer, "scan@devices.example.org").await;
        assert!(out.starts_with(outside) && here.starts_with("250"), "{out}{here}");
        let (out, _) = answers(&mut printer, "berta@example.org").await;
        assert!(out.starts_with("550 5.7.1 devices send as listed addresses only"), "{out}");
        let (out, _) = answers(&mut printer, "").await;
        assert!(out.starts_with("450 4.7.1 too many"), "a device is not a spam cannon: {out}");
        let mut else_where = house.knock(Door::Internal, "192.168.8.20").await;
        else_where.hear().await;
        else_where.ask("EHLO printer\r\n").await;
        let (out, _) = answers(&mut else_where, "scan@devices.example.org").await;
        assert!(out.starts_with("550 5.7.1 this door is for listed devices"), "{out}");
        let mut edge = house.knock(Door::Edge, "192.168.7.20").await;
        edge.hear().await;
        edge.ask("EHLO printer\r\n").await;
        let (out, _) = answers(&mut edge, "scan@devices.example.org").await;
        assert!(out.starts_with("550 5.7.1 relaying denied"), "only at their own door: {out}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_device_sends_is_judged_by_its_author() {
    let house = House::with(|parts| parts.devices = Some(devices(true)));
    let mut printer = house.knock(Door::Internal, "192.168.7.20").await;
    printer.hear().await;
    printer.ask("EHLO printer\r\n").await;
    trace(&printer.send("anna@example.org", &[OUTSIDE], MESSAGE).await);
    let forged = "From: Boss <boss@example.org>\r\n\r\npay\r\n";
    let reply = printer.send("anna@example.org", &[OUTSIDE], forged).await;
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
    let (accepted, _) = house.stored().remove(0);
    assert_eq!(accepted.envelope.source, Source::Internal);
    assert_eq!((&accepted.tenant.0[..], accepted.primary), ("acme", Some(PrimaryId("acme-hq".into()))));
}
