use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::time::Duration;

/// An authority, and a server it signed for `mx.a.example`.
struct Chain {
    authority: CertificateDer<'static>,
    server: CertificateDer<'static>,
}

fn chain(expired: bool) -> Chain {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["mx.a.example".to_owned()]).unwrap();
    if expired {
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }
    let server = params.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap();
    Chain { authority: authority.der().clone(), server: server.der().clone() }
}

fn key_of(certificate: &CertificateDer<'_>) -> Vec<u8> {
    ParsedCertificate::try_from(certificate).unwrap().subject_public_key_info().as_ref().to_vec()
}

fn record(usage: u8, selector: u8, matching: u8, certificate: &CertificateDer<'_>) -> Tlsa {
    let what = if selector == 0 { certificate.to_vec() } else { key_of(certificate) };
    let association = match matching {
        0 => what,
        1 => digest(&SHA256, &what).as_ref().to_vec(),
        _ => digest(&SHA512, &what).as_ref().to_vec(),
    };
    Tlsa { usage, selector, matching, association }
}

fn now() -> UnixTime {
    // 2026-11-22
    UnixTime::since_unix_epoch(Duration::from_secs(1_795_305_600))
}

fn judged(
    records: &[Tlsa],
    names: &[&str],
    server: &CertificateDer<'_>,
    with: &[CertificateDer<'_>],
) -> bool {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let dane = Dane::new(&usable(records), &names);
    // The name on the connection is not what counts.
    let asked = ServerName::try_from("whatever.example").unwrap();
    dane.verify_server_cert(server, with, &asked, &[], now()).is_ok()
}

#[test]
fn a_server_is_known_by_its_own_certificate_or_key_whatever_it_says() {
    let (good, other, expired) = (chain(false), chain(false), chain(true));
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let own = record(3, selector, matching, &good.server);
            let case = format!("3 {selector} {matching}");
            assert!(judged(std::slice::from_ref(&own), &[], &good.server, &[]), "{case}");
            assert!(!judged(std::slice::from_ref(&own), &[], &other.server, &[]), "{case}");
            // RFC 7672 §3.1.1: dates and names are not looked at.
            let old = record(3, selector, matching, &expired.server);
            assert!(judged(&[own, old], &["else.example"], &expired.server, &[]), "{case}");
        }
    }
}

#[test]
fn a_server_is_known_by_who_signed_it_for_its_name_and_time() {
    let (good, other, expired) = (chain(false), chain(false), chain(true));
    let names = ["a.example", "mx.a.example"];
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let case = format!("2 {selector} {matching}");
            let authority = [record(2, selector, matching, &good.authority)];
            let with = [good.authority.clone()];
            assert!(judged(&authority, &names, &good.server, &with), "{case}");
            assert!(!judged(&authority, &["a.example"], &good.server, &with), "{case}: another name");
            assert!(!judged(&authority, &[], &good.server, &with), "{case}: no name");
            assert!(
                !judged(&authority, &names, &other.server, std::slice::from_ref(&other.authority)),
                "{case}: another's"
            );
            assert!(!judged(&authority, &names, &other.server, &with), "{case}: not signed by it");
            // A whole certificate in the DNS need not be sent once more.
            let alone = (selector, matching) == (0, 0);
            assert_eq!(judged(&authority, &names, &good.server, &[]), alone, "{case}: without it");
            let old = [record(2, selector, matching, &expired.authority)];
            assert!(
                !judged(&old, &names, &expired.server, std::slice::from_ref(&expired.authority)),
                "{case}: expired"
            );
            // The server's own certificate is no authority.
            let own = [record(2, selector, matching, &good.server)];
            assert!(!judged(&own, &names, &good.server, &with), "{case}: itself");
        }
    }
}

#[test]
fn records_that_cannot_be_used_are_left_out() {
    let made = |usage, selector, matching, length: usize| Tlsa {
        usage,
        selector,
        matching,
        association: vec![0; length],
    };
    for (record, fits) in [
        (made(0, 1, 1, 32), false),
        (made(1, 1, 1, 32), false),
        (made(2, 1, 1, 32), true),
        (made(3, 1, 1, 32), true),
        (made(3, 0, 2, 64), true),
        (made(3, 0, 0, 800), true),
        (made(3, 0, 0, 0), false),
        (made(3, 0, 0, 100_000), false),
        (made(3, 1, 1, 31), false),
        (made(3, 1, 2, 32), false),
        (made(3, 2, 1, 32), false),
        (made(3, 1, 3, 32), false),
        (made(4, 1, 1, 32), false),
        (made(255, 255, 255, 32), false),
    ] {
        assert_eq!(usable(std::slice::from_ref(&record)).len(), usize::from(fits), "{record:?}");
    }
    let both = [made(3, 1, 1, 32), made(3, 1, 2, 64), made(2, 1, 1, 32)];
    assert_eq!(usable(&both), both[1..], "the stronger digest of the same thing counts");
    let many: Vec<Tlsa> = (0..100).map(|_| made(3, 1, 1, 32)).collect();
    assert_eq!(usable(&many).len(), RECORDS_MAX);
}
