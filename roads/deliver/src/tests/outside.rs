//! What people send: signed, routed by MX, filed once; and no open relay.

use super::*;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};
use std::borrow::Borrow;
use std::hash::Hash;

fn from_anna<'a>(to: &'a [&'a str], subject: &'a str) -> Mail<'a> {
    Mail {
        source: Source::Submission,
        account: Some("anna@x.example"),
        from: "anna@x.example",
        ..mail(to, subject)
    }
}

#[tokio::test(start_paused = true)]
async fn what_people_send_leaves_signed_and_stands_in_sent_once() {
    for kind in [KeyKind::Ed25519, KeyKind::Rsa] {
        let mut house = House::new();
        let key = make_key("x.example", "storm", kind).unwrap();
        assert_eq!(key.record_name, "storm._domainkey.x.example");
        assert!(key.zone_line().starts_with("storm._domainkey.x.example. IN TXT ( \"v=DKIM1;"));
        let mut signer = Signer::new();
        signer.add("x.example", "storm", &key.private_pem).unwrap();
        house.signer = Arc::new(signer);
        let life = house.live();
        let trace = life.accept(from_anna(&["b@far.example", "bert@x.example"], "hello")).await;
        life.settle_down(10 * SECOND).await;
        let sent = house.town.world().stored();
        assert_eq!((sent.len(), sent[0].to.as_slice()), (1, ["b@far.example".to_owned()].as_slice()));
        assert!(sent[0].content.starts_with("DKIM-Signature: "), "{}", sent[0].content);
        assert!(verified(&sent[0].content, &key.record_value).await);
        assert!(!verified(&sent[0].content.replace("hello", "hullo"), &key.record_value).await);
        let inside = house.office().stored();
        assert_eq!(inside.len(), 1);
        assert!(!inside[0].content.contains("DKIM-Signature"), "colleagues get it as it was written");
        assert_eq!(life.folders("anna@x.example", trace), ["Sent"]);
        assert_eq!(life.folders("bert@x.example", trace), ["INBOX"]);
        life.stop().await;
    }
}

/// As a stranger's server verifies it, with the DNS answering what `make_key` printed.
async fn verified(message: &str, record: &str) -> bool {
    let cache = Dns(Arc::new(DomainKey::parse(record.as_bytes()).unwrap()));
    let authenticator = MessageAuthenticator::new_cloudflare().unwrap();
    let message = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
    let results = authenticator.verify_dkim(Parameters::new(&message).with_txt_cache(&cache)).await;
    !results.is_empty() && results.iter().all(|result| *result.result() == DkimResult::Pass)
}

struct Dns(Arc<DomainKey>);

impl ResolverCache<Box<str>, Txt> for Dns {
    fn get<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        Some(Txt::DomainKey(self.0.clone()))
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: std::time::Instant) {}
}

#[tokio::test(start_paused = true)]
async fn a_strangers_mail_is_never_relayed_whatever_the_journal_says() {
    let mut house = House::new();
    let life = house.live();
    let trace = life.accept(mail(&["b@far.example"], "relay")).await;
    sleep(10 * SECOND).await;
    assert_eq!(life.outcomes(trace), ["b parked 0"]);
    assert_eq!((house.town.world().connections(), life.letters().len()), (0, 0));
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_is_not_there_is_told_and_a_dns_that_fails_is_waited_for() {
    let mut house = House::new();
    house.change = |settings| settings.poll = Duration::from_secs(60);
    let life = house.live();
    let gone = life.accept(from_anna(&["b@nowhere.example"], "gone")).await;
    let slow = life.accept(from_anna(&["b@slow.example"], "slow")).await;
    sleep(600 * SECOND).await;
    assert_eq!(life.outcomes(gone), ["b bounced 0"]);
    assert!(life.outcomes(slow).is_empty());
    assert_eq!(life.letters().len(), 1);
    assert_eq!(life.letters()[0].1, [address("anna@x.example")]);
    sleep(5 * 3_600 * SECOND).await;
    assert_eq!(life.letters().len(), 2, "late mail is told of once");
    assert!(life.letters()[1].2.contains("Action: delayed"));
    sleep(5 * 86_400 * SECOND).await;
    assert_eq!(life.outcomes(slow), ["b expired 0"]);
    assert_eq!(life.letters().len(), 3);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_to_leave_through_a_dead_primary_leaves_from_here() {
    let mut house = House::new();
    house.change = |settings| {
        let route = settings.primaries.get_mut(&office()).unwrap();
        route.outbound = Some(hop("192.0.2.1", Protocol::Smtp));
    };
    house.town = Town::speaking(Protocol::Smtp);
    let life = house.live();
    life.accept(from_anna(&["b@far.example"], "peace")).await;
    life.settle_down(5 * SECOND).await;
    assert_eq!(house.office().subjects(), ["peace"]);
    house.office().mood(|mood| mood.down = true);
    life.accept(from_anna(&["b@far.example"], "outage")).await;
    sleep(30 * SECOND).await;
    assert!(house.town.world().stored().is_empty(), "nothing is switched without an order");
    life.switch(Some(OrderKind::OutboundDirect), None, Scope::All, false).await;
    life.settle_down(5 * SECOND).await;
    assert_eq!(house.town.world().subjects(), ["outage"]);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_to_oneself_has_one_place() {
    let mut house = House::new();
    let life = house.live();
    let trace = life.accept(from_anna(&["anna@x.example"], "note")).await;
    life.settle_down(5 * SECOND).await;
    assert_eq!(life.folders("anna@x.example", trace), ["INBOX"]);
    life.stop().await;
}
