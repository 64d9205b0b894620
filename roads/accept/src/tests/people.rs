use super::*;
use words_mail::Source;

#[tokio::test(start_paused = true)]
async fn people_send_to_anybody_as_themselves() {
    let house = House::new();
    let mut anna = house.person("\0anna@example.org\0right").await;
    assert!(anna.last.starts_with("235 2.7.0"), "{}", anna.last);
    let message = "From: Anna <a@example.org>\r\nTo: friend@elsewhere.example\r\n\r\nhi\r\n";
    trace(&anna.send("anna@example.org", &["friend@elsewhere.example"], message).await);
    let (accepted, _) = house.stored().remove(0);
    assert_eq!(accepted.envelope.source, Source::Submission);
    assert_eq!(accepted.envelope.peer.account, Some(AccountId::new("anna@example.org")));
    assert_eq!(accepted.envelope.peer.protocol, "ESMTPSA");
    assert_eq!((&accepted.tenant.0[..], accepted.primary), ("acme", Some(PrimaryId("acme-hq".into()))));
    // Another organisation's people are written to like anybody's.
    let reply = anna.send("anna@example.org", &["rita@rival.example", "berta@example.org"], message).await;
    trace(&reply);
    assert_eq!(house.stored()[1].0.tenant.0, "acme");
}

#[tokio::test(start_paused = true)]
async fn nobody_sends_as_somebody_else() {
    let house = House::new();
    let mut anna = house.person("\0anna@example.org\0right").await;
    for from in ["berta@example.org", "anna@elsewhere.example", "nobody@example.org"] {
        let reply = anna.ask(&format!("MAIL FROM:<{from}>\r\n")).await;
        assert!(reply.starts_with("553 5.7.1"), "{from}: {reply}");
    }
    for (header, expected) in [
        ("From: a@example.org\r\n", "250 2.0.0"),
        ("From: \"berta@example.org\" <anna@example.org>\r\n", "250 2.0.0"),
        ("From: berta@example.org\r\n", "550 5.7.1"),
        ("From: anna@example.org, berta@example.org\r\n", "550 5.7.1"),
        ("From: \"anna@example.org\" <berta@example.org>\r\n", "550 5.7.1"),
        ("From: anna@example.org\r\nFrom: berta@example.org\r\n", "550 5.6.0"),
        ("From: anna@example.org\r\nFrom : berta@example.org\r\n", "550 5.6.0"),
        ("Subject: no author\r\n", "550 5.6.0"),
        ("From:\r\n", "550 5.6.0"),
        ("From: undisclosed\r\n", "550 5.6.0"),
    ] {
        for sender in ["anna@example.org", ""] {
            let reply = anna.send(sender, &["friend@elsewhere.example"], &format!("{header}\r\nx\r\n")).await;
            assert!(reply.starts_with(expected), "{header:?}: {reply}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_sends_without_signing_in_and_no_password_travels_in_the_clear() {
    let house = House::new();
    let mut client = house.greet(Door::Submission).await;
    assert!(client.ask("MAIL FROM:<anna@example.org>\r\n").await.starts_with("530 5.7.0"));
    assert!(client.ask("AUTH PLAIN AGEAcmlnaHQ=\r\n").await.starts_with("538 5.7.11"));
    client.ask("STARTTLS\r\n").await;
    let mut client = house.encrypt(client).await;
    assert!(client.ask("EHLO c\r\n").await.contains("AUTH PLAIN LOGIN"));
    assert!(client.ask("MAIL FROM:<anna@example.org>\r\n").await.starts_with("530 5.7.0"));
    for _ in 0..2 {
        assert!(client.ask("AUTH PLAIN AGEAYg==\r\n").await.starts_with("535 5.7.8"));
    }
    assert!(client.ask("AUTH PLAIN AGEAYg==\r\n").await.starts_with("535 5.7.8"));
    assert!(client.hear().await.starts_with("421 4.7.0"));
    assert_eq!(client.hear().await, "");
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_that_cannot_be_checked_says_so() {
    let house = House::new();
    for (password, words) in [("later", "the primary does not answer"), ("never", "takes too long")] {
        let anna = house.person(&format!("\0anna@example.org\0{password}")).await;
        assert!(anna.last.starts_with("454 4.7.0") && anna.last.contains(words), "{}", anna.last);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_serves_the_next_connection() {
    let (tls, current) = watch::channel(None);
    let house = House::with(|parts| parts.tls = current);
    let mut before = house.knock(Door::Edge, "203.0.113.9").await;
    before.hear().await;
    assert!(!before.ask("EHLO c\r\n").await.contains("STARTTLS"));
    tls.send_replace(Some(certificate().0));
    let mut after = house.knock(Door::Edge, "203.0.113.9").await;
    after.hear().await;
    assert!(after.ask("EHLO c\r\n").await.contains("STARTTLS"));
}

#[tokio::test(start_paused = true)]
async fn a_stolen_password_writes_to_so_many_people_in_an_hour() {
    let house = House::with(|parts| parts.limits.recipients_per_account_hour = 3);
    let mut anna = house.person("\0anna@example.org\0right").await;
    let own = |n: u32| format!("From: anna@example.org\r\nSubject: {n}\r\n\r\nx\r\n");
    trace(&anna.send("anna@example.org", &["a@away.example", "b@away.example"], &own(1)).await);
    let reply = anna.send("anna@example.org", &["c@away.example", "d@away.example"], &own(2)).await;
    assert!(reply.starts_with("450 4.7.1 your account has written to as many people"), "{reply}");
    trace(&anna.send("anna@example.org", &["c@away.example"], &own(3)).await);
    tokio::time::advance(3_600 * SECOND).await;
    let mut anna = house.person("\0anna@example.org\0right").await;
    trace(&anna.send("anna@example.org", &["c@away.example", "d@away.example"], &own(4)).await);
    assert_eq!(house.stored().len(), 3);
}
