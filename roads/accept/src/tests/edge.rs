use super::*;
use words_mail::{Action, Grade, Source, Verdict};

const MESSAGE: &str = "From: x@sender.example\r\nSubject: hello\r\n\r\nDear Anna,\r\n..\r\nbye\r\n";

#[tokio::test(start_paused = true)]
async fn a_message_is_on_the_disk_when_its_sender_hears_the_250() {
    let house = House::new();
    let mut client = house.greet(Door::Edge).await;
    let reply = client.send("x@sender.example", &["anna@example.org"], MESSAGE).await;
    let id = trace(&reply);
    house.disk.power_off();
    house.disk.restart();
    let stored = house.stored();
    let [(accepted, message)] = &stored[..] else { panic!("{} messages", stored.len()) };
    assert_eq!(accepted.trace, id);
    assert_eq!(message, &format!("{}{}", accepted.prefix, MESSAGE.replace("..", ".")));
    assert!(accepted.prefix.contains(&format!("id {id}")));
    assert!(accepted.prefix.contains("for <anna@example.org>"));
    assert!(accepted.prefix.contains("from c.example ([203.0.113.9])"));
    assert_eq!(TraceTag::find(accepted.prefix.as_bytes(), &KEY), Some(id));
    assert_eq!((&accepted.tenant.0[..], accepted.envelope.source), ("acme", Source::Edge));
    assert_eq!(accepted.primary, Some(PrimaryId("acme-hq".into())));
    assert_eq!(accepted.envelope.peer.protocol, "ESMTP");
}

#[tokio::test(start_paused = true)]
async fn a_failing_disk_is_never_answered_with_250() {
    for (fail, expected) in [(0, "451 4.3.0"), (1, "452 4.3.1")] {
        let house = House::new();
        let mut client = house.greet(Door::Edge).await;
        trace(&client.send("x@sender.example", &["anna@example.org"], MESSAGE).await);
        match fail {
            0 => house.disk.fail_sync(0),
            _ => house.disk.set_capacity(Some(house.disk.used())),
        }
        let reply = client.send("x@sender.example", &["anna@example.org"], "A: b\r\n\r\nlost?\r\n").await;
        assert!(reply.starts_with(expected), "{reply}");
        assert!(reply.contains("nothing was stored"), "{reply}");
        assert!(client.ask("NOOP\r\n").await.starts_with("250"), "the session goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn recipients_are_judged_by_what_is_known() {
    let house = House::new();
    let mut client = house.greet(Door::Edge).await;
    client.ask("MAIL FROM:<x@sender.example>\r\n").await;
    for (to, expected) in [
        ("anna@example.org", "250 2.1.5"),
        ("A@EXAMPLE.ORG", "250 2.1.5"),
        ("anna+list@example.org", "250 2.1.5"),
        ("Postmaster", "250 2.1.5"),
        ("postmaster@example.org", "250 2.1.5"),
        ("nobody@example.org", "550 5.1.1"),
        ("anna@learn.example", "450 4.1.1"),
        // No open relay, in whatever dress.
        ("victim@example.net", "550 5.7.1"),
        ("@example.org:victim@example.net", "550 5.7.1"),
        ("victim%example.net@example.org", "550 5.1.1"),
        ("example.net!victim@example.org", "550 5.1.1"),
        ("\"victim@example.net\"@example.org", "550 5.1.1"),
        ("victim@[192.0.2.1]", "550 5.7.1"),
        ("victim@sub.example.org", "550 5.7.1"),
        ("anna@example.org@example.net", "501 5.1.3"),
    ] {
        let reply = client.ask(&format!("RCPT TO:<{to}>\r\n")).await;
        assert!(reply.starts_with(expected), "{to}: {reply}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_belongs_to_one_organisation() {
    let house = House::new();
    let mut client = house.greet(Door::Edge).await;
    client.ask("MAIL FROM:<x@sender.example>\r\n").await;
    assert!(client.ask("RCPT TO:<rita@rival.example>\r\n").await.starts_with("250"));
    assert!(client.ask("RCPT TO:<anna@example.org>\r\n").await.starts_with("452 4.5.3"));
    client.ask("RSET\r\n").await;
    client.send("x@sender.example", &["anna@example.org", "berta@example.org"], MESSAGE).await;
    assert_eq!(house.stored()[0].0.tenant.0, "acme");
    assert!(!house.stored()[0].0.prefix.contains("for <"), "recipients do not learn of each other");
}

#[tokio::test(start_paused = true)]
async fn a_recipient_named_twice_is_one_recipient() {
    let house = House::new();
    let twice = ["anna@example.org", "Anna@Example.org", "berta@example.org"];
    let mut client = house.greet(Door::Edge).await;
    trace(&client.send("x@s.example", &twice, MESSAGE).await);
    let mut own = house.greet(Door::Local).await;
    own.begin("x@s.example", &twice).await;
    own.say("A: b\r\n\r\nx\r\n.\r\n").await;
    for _ in 0..3 {
        trace(&own.hear().await);
    }
    for (accepted, _) in house.stored() {
        assert_eq!(accepted.envelope.recipients.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn pipelined_transactions_are_taken_in_order() {
    let house = House::new();
    let mut client = house.greet(Door::Edge).await;
    let one = |n: u32| {
        format!(
            "MAIL FROM:<x@s.example>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\nSubject: {n}\r\n\r\n{n}\r\n.\r\n"
        )
    };
    client.say(&format!("{}{}{}QUIT\r\n", one(1), one(2), one(3))).await;
    let mut replies = Vec::new();
    loop {
        match client.hear().await {
            reply if reply.is_empty() => break,
            reply => replies.push(reply[..3].to_owned()),
        }
    }
    assert_eq!(
        replies,
        ["250", "250", "354", "250", "250", "250", "354", "250", "250", "250", "354", "250", "221"]
    );
    let bodies: Vec<bool> =
        (1..=3).map(|n| house.stored()[n - 1].1.ends_with(&format!("\r\n\r\n{n}\r\n"))).collect();
    assert_eq!(bodies, [true; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_died_before_the_reply_is_not_stored_twice() {
    let house = House::new();
    let mut client = house.greet(Door::Edge).await;
    client.begin("x@sender.example", &["anna@example.org"]).await;
    client.say(&format!("{MESSAGE}.\r\n")).await;
    drop(client);
    tokio::time::sleep(SECOND).await;
    let first = house.stored()[0].0.trace;
    let mut again = house.greet(Door::Edge).await;
    let reply = again.send("x@sender.example", &["anna@example.org"], MESSAGE).await;
    assert_eq!(trace(&reply), first);
    assert_eq!(house.stored().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn power_lost_at_any_step_loses_and_doubles_nothing() {
    for (point, heard) in [
        ("accept.before_store", false),
        ("accept.after_store", false),
        ("accept.before_reply", false),
        ("accept.after_reply", true),
    ] {
        let house = House::new();
        let mut client = house.greet(Door::Edge).await;
        let (disk, passed) = (house.disk.clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let reached = passed.clone();
        words_world::on_crash_point(false, move |name| {
            if name == point && !reached.swap(true, std::sync::atomic::Ordering::Relaxed) {
                disk.power_off();
            }
        });
        client.begin("x@sender.example", &["anna@example.org"]).await;
        client.say(&format!("{MESSAGE}.\r\n")).await;
        if heard {
            trace(&client.hear().await);
        }
        tokio::time::sleep(SECOND).await;
        words_world::on_crash_point(false, |_| {});
        assert!(passed.load(std::sync::atomic::Ordering::Relaxed), "{point} is not on the way");
        let disk = house.disk.clone();
        drop((house, client));
        disk.restart();
        let house = House::on(disk, |_| {});
        let before = house.stored().len();
        assert_eq!(before, usize::from(point != "accept.before_store"), "{point}");
        let mut client = house.greet(Door::Edge).await;
        let again = trace(&client.send("x@sender.example", &["anna@example.org"], MESSAGE).await);
        let stored = house.stored();
        assert_eq!(stored.len(), 1, "{point}");
        assert_eq!(stored[0].0.trace, again, "{point}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_after_the_250_proves_that_it_was_heard() {
    for (said, messages) in [("NOOP\r\n", 2), ("QUIT\r\n", 2), ("", 1)] {
        let house = House::new();
        let mut client = house.greet(Door::Edge).await;
        trace(&client.send("x@sender.example", &["anna@example.org"], MESSAGE).await);
        if !said.is_empty() {
            client.ask(said).await;
        }
        drop(client);
        tokio::time::sleep(SECOND).await;
        let mut again = house.greet(Door::Edge).await;
        trace(&again.send("x@sender.example", &["anna@example.org"], MESSAGE).await);
        assert_eq!(house.stored().len(), messages, "after {said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_the_250_proves_nothing() {
    let house = House::new();
    let mut client = house.greet(Door::Edge).await;
    client.begin("x@sender.example", &["anna@example.org"]).await;
    client.say(&format!("{MESSAGE}.\r\nQUIT\r\n")).await;
    drop(client);
    tokio::time::sleep(SECOND).await;
    let mut again = house.greet(Door::Edge).await;
    trace(&again.send("x@sender.example", &["anna@example.org"], MESSAGE).await);
    assert_eq!(house.stored().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_inside_a_message_leaves_nothing() {
    let house = House::new();
    for size in [10, 3_000_000] {
        let mut client = house.greet(Door::Edge).await;
        client.begin("x@sender.example", &["anna@example.org"]).await;
        client.say(&format!("A: b\r\n\r\n{}", "x".repeat(size))).await;
        drop(client);
        tokio::time::sleep(SECOND).await;
    }
    assert!(house.stored().is_empty());
    assert_eq!(house.disk.paths().iter().filter(|p| p.to_string_lossy().contains("bodies/")).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn long_messages_go_to_a_file_and_come_back_whole() {
    let house = House::new();
    let line = "0123456789".repeat(7) + "\r\n";
    for (size, chunked) in [(1 << 20, false), (5 << 20, false), (5 << 20, true)] {
        let body = format!("Subject: big\r\n\r\n{}", line.repeat(size / line.len()));
        let mut client = house.greet(Door::Edge).await;
        let reply = if chunked {
            client.ask("MAIL FROM:<x@s.example>\r\n").await;
            client.ask("RCPT TO:<anna@example.org>\r\n").await;
            client.ask(&format!("BDAT {} LAST\r\n{body}", body.len())).await
        } else {
            client.send("x@s.example", &["anna@example.org"], &body).await
        };
        let id = trace(&reply);
        let stored = house.stored();
        let (accepted, message) = stored.iter().find(|(a, _)| a.trace == id).unwrap();
        assert_eq!(message.len() as u64, accepted.size);
        assert!(*message == format!("{}{body}", accepted.prefix), "{size} {chunked}");
    }
}

#[tokio::test(start_paused = true)]
async fn smuggled_messages_are_refused_and_the_connection_ends() {
    let house = House::new();
    let mut client = house.greet(Door::Edge).await;
    client.begin("x@sender.example", &["anna@example.org"]).await;
    client
        .say("A: b\r\n\r\nx\n.\nMAIL FROM:<evil@x.example>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\nevil\r\n.\r\nNOOP\r\n")
        .await;
    assert!(client.hear().await.starts_with("550 5.6.11"));
    assert!(client.hear().await.starts_with("421"));
    assert_eq!(client.hear().await, "");
    assert!(house.stored().is_empty());
}

#[tokio::test(start_paused = true)]
async fn results_that_claim_our_name_are_taken_out() {
    let house = House::new();
    let mut client = house.greet(Door::Edge).await;
    let forged = "Authentication-Results: mx.example.org; dmarc=pass\r\n";
    let other = "Authentication-Results: relay.example; dmarc=fail\r\n";
    let message = format!("{forged}{other}A: b\r\n\r\n{forged}");
    trace(&client.send("x@sender.example", &["anna@example.org"], &message).await);
    let (accepted, text) = house.stored().remove(0);
    assert_eq!(text, format!("{}{other}A: b\r\n\r\n{forged}", accepted.prefix));
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_parked_and_a_list_is_not() {
    let house = House::new();
    let mut client = house.greet(Door::Edge).await;
    let id = trace(&client.send("x@s.example", &["anna@example.org"], "A: 1\r\n\r\nfirst\r\n").await);
    let back = format!("Received: by x; y\r\n{}A: 1\r\n\r\nback\r\n", tag(id));
    let hops = |n| format!("{}A: 1\r\n\r\nhops {n}\r\n", "Received: by x; y\r\n".repeat(n));
    let forged = format!("Stormpost-Trace: {}\r\n\r\nforged\r\n", TraceTag::new(id, &TraceKey([6; 32])));
    for (to, message, parked) in [
        ("anna@example.org", &back, true),
        ("berta@example.org", &back, false),
        ("anna@example.org", &hops(50), false),
        ("anna@example.org", &hops(51), true),
        ("anna@example.org", &forged, false),
    ] {
        let id = trace(&client.send("x@s.example", &[to], message).await);
        let stored = house.stored();
        let (accepted, _) = stored.iter().find(|(a, _)| a.trace == id).unwrap();
        let verdict: Verdict = serde_json::from_value(accepted.verdict.clone()).unwrap();
        assert_eq!(verdict.action != Action::Deliver, parked, "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_sent_before_the_handshake_counts_after_it() {
    let house = House::new();
    let mut client = house.greet(Door::Edge).await;
    client.say("STARTTLS\r\nEHLO evil\r\n").await;
    assert!(client.hear().await.starts_with("554 5.5.1"));
    assert!(client.hear().await.starts_with("421"));
    assert_eq!(client.hear().await, "");

    let mut client = house.greet(Door::Edge).await;
    client.ask("MAIL FROM:<x@s.example>\r\n").await;
    assert!(client.ask("STARTTLS\r\n").await.starts_with("220"));
    let mut client = house.encrypt(client).await;
    assert!(client.ask("RCPT TO:<anna@example.org>\r\n").await.starts_with("503"));
    assert!(!client.ask("EHLO c.example\r\n").await.contains("STARTTLS"));
    trace(&client.send("x@s.example", &["anna@example.org"], MESSAGE).await);
    let (accepted, _) = house.stored().remove(0);
    assert_eq!(accepted.envelope.peer.protocol, "ESMTPS");
    assert!(accepted.envelope.peer.tls.unwrap().starts_with("TLSv1.3 TLS13_"));
}

/// Says what it is told to, after some time.
struct Oracle(Findings, Duration);

impl Authentication for Oracle {
    fn judge<'a>(&'a self, asked: Asked<'a>) -> Boxed<'a, Findings> {
        Box::pin(async move {
            assert_eq!(asked.header, b"From: x@sender.example\r\nSubject: hello\r\n\r\n");
            tokio::time::sleep(self.1).await;
            self.0.clone()
        })
    }
}

#[tokio::test(start_paused = true)]
async fn senders_are_checked_and_a_slow_name_server_loses_nothing() {
    let findings = Findings {
        spf: Grade::Pass,
        dkim_domains: vec!["sender.example".into()],
        results: "; spf=pass\r\n\tsmtp.mailfrom=x".into(),
        ..Findings::default()
    };
    for (delay, results, spf, may_bounce) in [
        (SECOND, "mx.example.org; spf=pass\r\n\tsmtp.mailfrom=x\r\n", Grade::Pass, true),
        (
            60 * SECOND,
            "mx.example.org; spf=temperror; dkim=temperror; dmarc=temperror\r\n",
            Grade::TempError,
            false,
        ),
    ] {
        let oracle = Oracle(findings.clone(), delay);
        let house = House::with(|parts| parts.authentication = Some(Arc::new(oracle)));
        let began = tokio::time::Instant::now();
        let mut client = house.greet(Door::Edge).await;
        trace(&client.send("x@sender.example", &["anna@example.org"], MESSAGE).await);
        assert!(began.elapsed() <= 6 * SECOND);
        let (accepted, _) = house.stored().remove(0);
        assert!(accepted.prefix.starts_with(&format!("Authentication-Results: {results}Received: ")));
        let verdict: Verdict = serde_json::from_value(accepted.verdict).unwrap();
        assert_eq!((verdict.spf, verdict.may_bounce), (spf, may_bounce));
        let mut own = house.greet(Door::Local).await;
        trace(&own.send("", &["anna@example.org"], MESSAGE).await);
        assert!(house.stored()[1].0.prefix.starts_with("Received: "), "our own is not checked");
    }
}

#[tokio::test(start_paused = true)]
async fn with_dead_name_servers_mail_flows_all_the_same() {
    let oracle = Oracle(Findings::default(), 3_600 * SECOND);
    let house = House::with(|parts| parts.authentication = Some(Arc::new(oracle)));
    let began = tokio::time::Instant::now();
    let mut client = house.greet(Door::Edge).await;
    for _ in 0..10 {
        trace(&client.send("x@sender.example", &["anna@example.org"], MESSAGE).await);
    }
    let mut waiting = house.greet(Door::Edge).await;
    waiting.begin("x@sender.example", &["anna@example.org"]).await;
    waiting.say(&format!("{MESSAGE}.\r\n")).await;
    tokio::task::yield_now().await;
    let slow = began.elapsed();
    for _ in 0..100 {
        trace(&client.send("x@sender.example", &["anna@example.org"], MESSAGE).await);
    }
    assert!(began.elapsed() < slow + 6 * SECOND, "all but one were taken at once");
    trace(&waiting.hear().await);
}

/// A primary that knows `karl` only, or that says yes to everything.
struct Primary {
    everything: bool,
    asked: std::sync::Mutex<Vec<String>>,
}

impl CallOut for Primary {
    fn ask<'a>(&'a self, primary: &'a PrimaryId, to: &'a Address) -> Boxed<'a, Answer> {
        assert_eq!(primary.0, "acme-hq");
        self.asked.lock().unwrap().push(to.local().to_owned());
        let no = words_mail::Reply::new(550, (5, 1, 1), "no such user");
        let yes = self.everything || to.local() == "karl";
        Box::pin(async move { if yes { Answer::Yes } else { Answer::No(no) } })
    }
}

#[tokio::test(start_paused = true)]
async fn a_primary_is_asked_about_recipients_that_no_list_names() {
    let primary = Arc::new(Primary { everything: false, asked: Default::default() });
    let call_out = primary.clone();
    let house = House::with(|parts| parts.call_out = Some(call_out));
    let mut client = house.greet(Door::Edge).await;
    client.ask("MAIL FROM:<x@sender.example>\r\n").await;
    for _ in 0..2 {
        assert!(client.ask("RCPT TO:<karl@learn.example>\r\n").await.starts_with("250 2.1.5"));
    }
    let refused = client.ask("RCPT TO:<nobody@learn.example>\r\n").await;
    assert!(refused.starts_with("550 5.1.1") && refused.contains("no such user"), "{refused}");
    let asked = primary.asked.lock().unwrap().clone();
    assert!(asked[0].starts_with("no-such-recipient-"));
    assert_eq!(asked[1..], ["karl", "nobody"]);
    let learned = house.accept.parts.directory.borrow().resolve(&address("karl@learn.example"));
    assert!(matches!(learned, stores_directory::Resolved::Learned { .. }));
}

#[tokio::test(start_paused = true)]
async fn our_own_parts_hand_mail_over_for_anybody() {
    let house = House::new();
    let mut client = house.greet(Door::Local).await;
    client.begin("postmaster@example.org", &["friend@elsewhere.example", "anna@example.org"]).await;
    let first = client.ask("Subject: notice\r\n\r\nhello\r\n.\r\n").await;
    assert_eq!(trace(&first), trace(&client.hear().await), "one reply for each recipient");
    let (accepted, _) = house.stored().remove(0);
    assert_eq!((accepted.envelope.source, &accepted.tenant.0[..]), (Source::Own, "acme"));
    assert_eq!(accepted.envelope.peer.protocol, "LMTP");
    let only = client.send("anna@example.org", &["friend@elsewhere.example"], "A: b\r\n\r\nx\r\n").await;
    trace(&only);
    assert_eq!(house.stored()[1].0.tenant.0, "acme", "by its sender");
    client.ask("MAIL FROM:<>\r\n").await;
    assert!(client.ask("RCPT TO:<nobody@example.org>\r\n").await.starts_with("550 5.1.1"));
}
