use super::*;
use base64::Engine as _;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::dkim::{Canonicalization, DkimSigner};
use mail_auth::dmarc::Dmarc;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::spf::Spf;
use std::sync::Arc;
use std::time::Duration;
use words_mail::{Address, Sender};

const BODY: &str = "Dear  Anna,\r\n \t \r\n\r\nbye \t\r\n \r\n\t\r\n\r\n";

/// A checker whose only name server is its memory.
fn checker(public: &[u8]) -> MailAuth {
    let resolver = MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()).unwrap();
    let records = Records::default();
    let forever = Instant::now() + Duration::from_secs(3_600);
    let key = base64::engine::general_purpose::STANDARD.encode(public);
    let key = DomainKey::parse(format!("v=DKIM1; k=ed25519; p={key}").as_bytes()).unwrap();
    records.insert("s._domainkey.sender.example.".into(), Txt::DomainKey(Arc::new(key)), forever);
    let spf = Spf::parse(b"v=spf1 ip4:203.0.113.9 -all").unwrap();
    records.insert("sender.example.".into(), Txt::Spf(Arc::new(spf)), forever);
    let dmarc = Dmarc::parse(b"v=DMARC1; p=reject; psd=n").unwrap();
    records.insert("_dmarc.sender.example.".into(), Txt::Dmarc(Arc::new(dmarc)), forever);
    MailAuth { host: "mx.example.org".into(), resolver, records }
}

/// A signed message's header and body, and the public key.
fn signed(body: &str, canonical: Canonicalization) -> (String, Vec<u8>) {
    let pkcs8 = Ed25519Key::generate_pkcs8().unwrap();
    let key = Ed25519Key::from_pkcs8_der(&pkcs8).unwrap();
    let public = key.public_key();
    // What is signed is the canonical form, which no library can get wrong when it is given plainly.
    let canonical_body = match canonical {
        Canonicalization::Relaxed => "Dear Anna,\r\n\r\n\r\nbye\r\n".to_owned(),
        Canonicalization::Simple => body.to_owned(),
    };
    let header = "From: x@sender.example\r\nSubject: hello\r\n";
    let signature = DkimSigner::from_key(key)
        .domain("sender.example")
        .selector("s")
        .headers(["From", "Subject"])
        .header_canonicalization(canonical)
        .body_canonicalization(canonical)
        .sign(format!("{header}\r\n{canonical_body}").as_bytes())
        .unwrap();
    (format!("{}{header}\r\n", signature.to_header()), public)
}

async fn judge(checker: &MailAuth, ip: &str, header: &str, body: &str) -> Findings {
    let mut digests = crate::BodyDigests::of_header(header.as_bytes());
    for piece in body.as_bytes().chunks(3) {
        digests.see(piece);
    }
    let sender = Sender(Address::parse("x@sender.example").ok());
    let asked = Asked {
        ip: ip.parse().unwrap(),
        helo: "c.example",
        sender: &sender,
        header: header.as_bytes(),
        digests,
    };
    checker.judge(asked).await
}

#[tokio::test]
async fn a_good_signature_passes_however_its_body_ends() {
    for canonical in [Canonicalization::Relaxed, Canonicalization::Simple] {
        let (header, public) = signed(BODY, canonical);
        let found = judge(&checker(&public), "203.0.113.9", &header, BODY).await;
        assert_eq!(
            (found.spf, found.dkim, found.dmarc),
            (Grade::Pass, Grade::Pass, Grade::Pass),
            "{found:?}"
        );
        assert_eq!(found.dkim_domains, ["sender.example"]);
        assert!(found.results.starts_with(';') && found.results.contains("dkim=pass"), "{}", found.results);
    }
}

#[tokio::test]
async fn what_is_forged_or_changed_does_not_pass() {
    let (header, public) = signed(BODY, Canonicalization::Relaxed);
    let checker = checker(&public);
    let stranger = judge(&checker, "198.51.100.1", &header, BODY).await;
    assert_eq!((stranger.spf, stranger.dkim, stranger.dmarc), (Grade::Fail, Grade::Pass, Grade::Pass));
    let changed = judge(&checker, "198.51.100.1", &header, "Dear Berta\r\n").await;
    assert_eq!((changed.spf, changed.dmarc), (Grade::Fail, Grade::Fail));
    assert_ne!(changed.dkim, Grade::Pass);
    assert_eq!(changed.dmarc_asks, DmarcAsks::Reject);
    assert!(changed.dkim_domains.is_empty());
    let subject = header.replace("hello", "hullo");
    assert_eq!(judge(&checker, "198.51.100.1", &subject, BODY).await.dkim, Grade::Fail);
    let unsigned = judge(&checker, "203.0.113.9", "From: x@sender.example\r\n\r\n", BODY).await;
    assert_eq!((unsigned.spf, unsigned.dkim, unsigned.dmarc), (Grade::Pass, Grade::None, Grade::Pass));
}

#[tokio::test]
async fn odd_headers_are_judged_too() {
    let (header, public) = signed(BODY, Canonicalization::Relaxed);
    let checker = checker(&public);
    let many = format!(
        "{}{header}",
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed; d=x; s=s; l=5; h=from; bh=AA; b=AA\r\n".repeat(50)
    );
    assert!(judge(&checker, "203.0.113.9", &many, BODY).await.results.matches("dkim=").count() <= 10);
    for odd in ["", "\r\n", "no header at all", "DKIM-Signature:\r\n\r\n", "From: \u{e9}\0\r\n\r\n"] {
        let found = judge(&checker, "203.0.113.9", odd, BODY).await;
        assert_eq!(found.spf, Grade::Pass, "{odd:?}");
        assert!(found.results.bytes().all(|b| matches!(b, b'\r' | b'\n' | b'\t' | b' '..=b'~')));
    }
}

#[test]
fn records_are_forgotten_when_they_expire_or_are_too_many() {
    let records = Records::default();
    let record = || Txt::Error(mail_auth::Error::NotAligned);
    records.insert("old.".into(), record(), Instant::now());
    assert!(records.get::<str>("old.").is_none());
    let until = Instant::now() + Duration::from_secs(60);
    for n in 0..RECORDS_MAX + 10 {
        records.insert(format!("{n}.").into(), record(), until);
    }
    assert!(records.0.lock().unwrap().len() <= RECORDS_MAX);
    assert!(records.get::<str>(&format!("{}.", RECORDS_MAX + 9)).is_some());
}

/// A message as a list sends it on: subject and body changed, the author's signature broken, sealed by the list.
fn sealed(results: &str) -> (String, String, Vec<u8>) {
    let pkcs8 = Ed25519Key::generate_pkcs8().unwrap();
    let key = || Ed25519Key::from_pkcs8_der(&pkcs8).unwrap();
    let body = "Dear list,\r\nbye\r\n-- \r\na footer\r\n".to_owned();
    let header = "From: x@sender.example\r\nSubject: [list] hello\r\n".to_owned();
    let whole = format!("{header}\r\n{body}");
    let message = AuthenticatedMessage::parse(whole.as_bytes()).unwrap();
    // The library writes results from checks of its own; here they are what the story needs.
    let mut said = AuthenticationResults::new("list.example");
    if results == "pass" {
        let dmarc = mail_auth::DmarcOutput::new("sender.example".into()).with_dkim_result(DmarcResult::Pass);
        said = said.with_dmarc_result(&dmarc);
    }
    let set = mail_auth::arc::ArcSealer::from_key(key())
        .domain("list.example")
        .selector("s")
        .headers(["From", "Subject"])
        .seal(&message, &said, &mail_auth::ArcOutput::default())
        .unwrap();
    (format!("{}{header}\r\n", set.to_header()), body, key().public_key())
}

fn trusting(public: &[u8]) -> MailAuth {
    let checker = checker(&[0; 32]);
    let key = base64::engine::general_purpose::STANDARD.encode(public);
    let key = DomainKey::parse(format!("v=DKIM1; k=ed25519; p={key}").as_bytes()).unwrap();
    let forever = Instant::now() + Duration::from_secs(3_600);
    checker.records.insert("s._domainkey.list.example.".into(), Txt::DomainKey(Arc::new(key)), forever);
    checker
}

#[tokio::test]
async fn a_sealed_message_says_who_vouches_for_it() {
    let (header, body, public) = sealed("pass");
    let found = judge(&trusting(&public), "198.51.100.1", &header, &body).await;
    assert_eq!((found.dmarc, found.arc), (Grade::Fail, Grade::Pass), "{found:?}");
    assert_eq!(found.arc_vouchers, ["list.example"]);
    assert!(found.results.contains("arc=pass smtp.remote-ip=198.51.100.1"), "{}", found.results);
    let (header, body, public) = sealed("nothing");
    let found = judge(&trusting(&public), "198.51.100.1", &header, &body).await;
    assert_eq!((found.arc, found.arc_vouchers.len()), (Grade::Pass, 0), "it saw nothing pass");
}

#[tokio::test]
async fn a_seal_that_was_forged_or_broken_vouches_for_nothing() {
    let (header, body, public) = sealed("pass");
    let (_, _, other) = sealed("pass");
    for (header, body, public) in [
        (header.clone(), body.replace("bye", "pay"), public.clone()),
        (header.replace("[list]", "[evil]"), body.clone(), public.clone()),
        (header.replace("dmarc=pass", "dmarc=none"), body.clone(), public.clone()),
        (header.clone(), body.clone(), other),
        (header.replace("cv=none", "cv=pass"), body.clone(), public.clone()),
        (header.replacen("ARC-Seal:", "X-Seal:", 1), body.clone(), public.clone()),
    ] {
        let found = judge(&trusting(&public), "198.51.100.1", &header, &body).await;
        assert_ne!(found.arc, Grade::Pass, "{header}");
        assert!(found.arc_vouchers.is_empty());
    }
    let odd = "ARC-Seal: i=1; a=rsa-sha256; d=x; s=s; cv=none; b=AA\r\nARC-Message-Signature: i=1; a=rsa-sha256; d=x; s=s; \
               h=from; bh=AA; b=AA; l=7\r\nARC-Authentication-Results: i=1; x\r\n";
    for times in [1, 2, 60] {
        let found =
            judge(&trusting(&public), "198.51.100.1", &format!("{}{header}", odd.repeat(times)), &body).await;
        assert_ne!(found.arc, Grade::Pass);
    }
}
