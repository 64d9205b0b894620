use super::*;
use words_mail::Takes;

#[tokio::test(start_paused = true)]
async fn too_many_connections_are_turned_away_with_words() {
    let house = House::with(|parts| {
        parts.limits.connections_per_address = 2;
        parts.limits.connections = 3;
    });
    let mut first = house.knock(Door::Edge, "203.0.113.1").await;
    first.hear().await;
    let mut second = house.knock(Door::Edge, "203.0.113.1").await;
    second.hear().await;
    let mut third = house.knock(Door::Edge, "203.0.113.1").await;
    assert!(third.hear().await.starts_with("421 4.7.0 too many connections from your address"));
    assert_eq!(third.hear().await, "");
    let mut other = house.knock(Door::Edge, "203.0.113.2").await;
    assert!(other.hear().await.starts_with("220"), "service for others goes on");
    let mut last = house.knock(Door::Edge, "203.0.113.3").await;
    assert!(last.hear().await.starts_with("421 4.3.2"));
    for door in [Door::Submission, Door::Local] {
        let mut inside = house.knock(door, "203.0.113.1").await;
        assert!(inside.hear().await.starts_with("220"), "a crowd at the edge keeps nobody from sending");
    }
    drop(first);
    tokio::time::sleep(SECOND).await;
    let mut again = house.knock(Door::Edge, "203.0.113.1").await;
    assert!(again.hear().await.starts_with("220"));
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_or_drips_is_sent_away() {
    let house = House::new();
    let began = tokio::time::Instant::now();
    let mut silent = house.greet(Door::Edge).await;
    assert!(silent.hear().await.starts_with("421 4.4.2"));
    assert_eq!(silent.hear().await, "");
    assert!(began.elapsed() < 310 * SECOND);

    let mut dripping = house.greet(Door::Edge).await;
    let began = tokio::time::Instant::now();
    for _ in 0..100 {
        if dripping.stream.write_all(b"N").await.is_err() {
            break;
        }
        tokio::time::sleep(10 * SECOND).await;
    }
    assert!(dripping.hear().await.starts_with("421 4.4.2"));
    assert!(began.elapsed() < 1_100 * SECOND);

    let mut slow = house.greet(Door::Edge).await;
    slow.begin("x@s.example", &["anna@example.org"]).await;
    let began = tokio::time::Instant::now();
    while slow.stream.write_all(b"x\r\n").await.is_ok() && began.elapsed() < 5_000 * SECOND {
        tokio::time::sleep(100 * SECOND).await;
    }
    assert!(began.elapsed() < 3_800 * SECOND, "a message has an hour");
    assert!(slow.hear().await.starts_with("421 4.4.2"));
    assert!(house.stored().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_holds_up_nobody_else() {
    let house = House::new();
    let mut deaf = house.greet(Door::Edge).await;
    let flood = tokio::spawn(async move {
        for _ in 0..100_000 {
            if deaf.stream.write_all(b"HELP\r\n").await.is_err() {
                return true;
            }
        }
        false
    });
    let mut other = house.greet(Door::Edge).await;
    trace(&other.send("x@s.example", &["anna@example.org"], "A: b\r\n\r\nx\r\n").await);
    assert!(flood.await.unwrap(), "the peer that does not read is cut off");
}

#[tokio::test(start_paused = true)]
async fn one_address_sends_so_many_messages_in_a_minute() {
    let house = House::with(|parts| parts.limits.messages_per_minute = 2);
    let mut client = house.greet(Door::Edge).await;
    for n in 0..2 {
        trace(&client.send("x@s.example", &["anna@example.org"], &format!("A: {n}\r\n\r\nx\r\n")).await);
    }
    assert!(client.ask("MAIL FROM:<x@s.example>\r\n").await.starts_with("450 4.7.1"));
    tokio::time::sleep(61 * SECOND).await;
    assert!(client.ask("MAIL FROM:<x@s.example>\r\n").await.starts_with("250"));
}

#[tokio::test(start_paused = true)]
async fn memory_for_bodies_has_an_end_and_comes_back() {
    let house = House::with(|parts| parts.limits.body_memory = 100_000);
    let mut hog = house.greet(Door::Edge).await;
    hog.begin("x@s.example", &["anna@example.org"]).await;
    hog.say(&format!("A: b\r\n\r\n{}\r\n", "x".repeat(90_000))).await;
    tokio::time::sleep(SECOND).await;
    let mut other = house.greet(Door::Edge).await;
    let big = format!("A: b\r\n\r\n{}\r\n", "y".repeat(20_000));
    assert!(other.send("x@s.example", &["anna@example.org"], &big).await.starts_with("452 4.3.1"));
    trace(&other.send("x@s.example", &["anna@example.org"], "A: b\r\n\r\nsmall\r\n").await);
    trace(&hog.ask(".\r\n").await);
    trace(&other.send("x@s.example", &["anna@example.org"], &big).await);
}

#[tokio::test(start_paused = true)]
async fn over_the_spools_budget_senders_come_back_and_our_own_words_get_through() {
    let house = House::with(|parts| parts.limits.spool = 2_000);
    let mut client = house.greet(Door::Edge).await;
    let body = format!("A: b\r\n\r\n{}\r\n", "x".repeat(900));
    // One that is under way when the last room goes is told at its end.
    let mut late = house.greet(Door::Edge).await;
    late.begin("x@s.example", &["anna@example.org"]).await;
    trace(&client.send("x@s.example", &["anna@example.org"], &body).await);
    trace(&client.send("x@s.example", &["anna@example.org"], &body).await);
    assert!(late.ask("A: b\r\n\r\nx\r\n.\r\n").await.starts_with("452 4.3.1"));
    let refusal = client.ask("MAIL FROM:<x@s.example>\r\n").await;
    assert!(refusal.starts_with("452 4.3.1 as much mail waits here as may wait"), "{refusal}");
    let mut own = house.greet(Door::Local).await;
    trace(&own.send("", &["anna@example.org"], "A: report\r\n\r\nx\r\n").await);
    assert_eq!(house.stored().len(), 3);

    let spool = house.accept.spool();
    assert_eq!(spool.waiting(), house.stored().iter().map(|(accepted, _)| accepted.size).sum::<u64>());
    spool.told(0, spool.stored());
    trace(&client.send("x@s.example", &["anna@example.org"], &body).await);
}

#[tokio::test(start_paused = true)]
async fn an_organisation_that_wants_smaller_messages_gets_them() {
    let house = House::new();
    let snapshot = house.accept.parts.directory.borrow().clone();
    let tenant = snapshot.domain("example.org").unwrap().tenant.clone();
    let house = House::with(|parts| _ = parts.limits.sizes.insert(tenant, 1_000));
    let mut client = house.greet(Door::Edge).await;
    assert!(client.ask("MAIL FROM:<x@s.example> SIZE=1001\r\n").await.starts_with("250"));
    let refusal = client.ask("RCPT TO:<anna@example.org>\r\n").await;
    assert!(refusal.starts_with("552 5.3.4 the message is larger than 1000 octets"), "{refusal}");
    client.ask("RSET\r\n").await;
    let long = format!("A: b\r\n\r\n{}\r\n", "x".repeat(1_000));
    assert!(client.send("x@s.example", &["anna@example.org"], &long).await.starts_with("552 5.3.4"));
    trace(&client.send("x@s.example", &["anna@example.org"], "A: b\r\n\r\nx\r\n").await);
    let mut person = house.person("\0anna@example.org\0right").await;
    assert!(person.last.starts_with("235"), "{}", person.last);
    let long = format!("From: anna@example.org\r\n{long}");
    let reply = person.send("anna@example.org", &["x@s.example"], &long).await;
    assert!(reply.starts_with("552 5.3.4"), "from its people too: {reply}");
}

#[tokio::test(start_paused = true)]
async fn no_more_is_offered_than_the_mail_systems_behind_take() {
    let house = House::new();
    let greeting = async |door| {
        let mut client = house.knock(door, "192.0.2.9").await;
        client.hear().await;
        client.ask("EHLO s.example\r\n").await
    };
    let takes = house.accept.parts.directory.borrow().learned().takes().clone();
    let (acme, rival) = (PrimaryId("acme-hq".into()), PrimaryId("rival-hq".into()));
    assert!(greeting(Door::Edge).await.contains("SMTPUTF8"), "nobody has been heard yet");
    takes.learn(&acme, Takes { size: Some(1_000_000), utf8: false });
    let heard = greeting(Door::Edge).await;
    assert!(heard.contains("SIZE 995904") && !heard.contains("SMTPUTF8"), "{heard}");
    let people = greeting(Door::Submission).await;
    assert!(
        people.contains("SIZE 52428800") && people.contains("SMTPUTF8"),
        "theirs goes everywhere: {people}"
    );
    takes.learn(&rival, Takes { size: None, utf8: true });
    let heard = greeting(Door::Edge).await;
    assert!(
        heard.contains("SIZE 52428800") && heard.contains("SMTPUTF8"),
        "one of the two takes it: {heard}"
    );

    let mut client = house.greet(Door::Edge).await;
    assert!(client.ask("MAIL FROM:<x@s.example> SMTPUTF8 SIZE=995905\r\n").await.starts_with("250"));
    let refusal = client.ask("RCPT TO:<anna@example.org>\r\n").await;
    assert!(refusal.starts_with("552 5.3.4 the message is larger than 995904 octets"), "{refusal}");
    assert!(client.ask("RCPT TO:<rita@rival.example>\r\n").await.starts_with("250"));
    client.ask("RSET\r\n").await;
    assert!(client.ask("MAIL FROM:<x@s.example> SMTPUTF8\r\n").await.starts_with("250"));
    let refusal = client.ask("RCPT TO:<anna@example.org>\r\n").await;
    assert!(refusal.starts_with("550 5.6.7"), "{refusal}");
    client.ask("RSET\r\n").await;
    let long = format!("A: b\r\n\r\n{}", format!("{}\r\n", "x".repeat(98)).repeat(10_000));
    let refusal = client.send("x@s.example", &["anna@example.org"], &long).await;
    assert!(refusal.starts_with("552 5.3.4"), "not declared, and still not taken: {refusal}");
    trace(&client.send("x@s.example", &["rita@rival.example"], &long).await);
}

#[tokio::test(start_paused = true)]
async fn messages_coming_in_at_once_are_bounded() {
    let house = House::with(|parts| parts.limits.receiving = 1);
    let mut first = house.greet(Door::Edge).await;
    first.begin("x@s.example", &["anna@example.org"]).await;
    let mut second = house.greet(Door::Edge).await;
    second.ask("MAIL FROM:<x@s.example>\r\n").await;
    second.ask("RCPT TO:<anna@example.org>\r\n").await;
    assert!(second.ask("DATA\r\n").await.starts_with("452 4.3.2"));
    trace(&first.ask("A: b\r\n\r\nx\r\n.\r\n").await);
    trace(&second.send("x@s.example", &["anna@example.org"], "A: b\r\n\r\ny\r\n").await);
}

#[tokio::test(start_paused = true)]
async fn a_header_without_end_is_refused() {
    let house = House::with(|parts| parts.limits.header_octets = 10_000);
    let mut client = house.greet(Door::Edge).await;
    let line = "X-Padding: xxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n";
    let reply = client.send("x@s.example", &["anna@example.org"], &line.repeat(1_000)).await;
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    trace(&client.send("x@s.example", &["anna@example.org"], "no header, no end\r\n").await);
    trace(&client.send("x@s.example", &["anna@example.org"], "").await);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_what_is_idle_and_waits_for_what_is_open() {
    let mut house = House::new();
    let mut idle = house.greet(Door::Edge).await;
    let mut busy = house.greet(Door::Edge).await;
    busy.begin("x@s.example", &["anna@example.org"]).await;
    house.stop.send_replace(true);
    assert!(idle.hear().await.starts_with("421 4.3.2"));
    assert_eq!(idle.hear().await, "");
    trace(&busy.ask("A: b\r\n\r\nx\r\n.\r\n").await);
    assert!(busy.hear().await.starts_with("421 4.3.2"));
    for _ in 0..4 {
        house.tasks.join_next().await.unwrap().unwrap();
    }
    assert_eq!(house.stored().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pipelined_garbage_gets_answers_and_then_the_door() {
    let house = House::new();
    let mut client = house.greet(Door::Edge).await;
    client.say(&"\u{1}\u{2}garbage\r\n".repeat(100)).await;
    let mut replies = Vec::new();
    loop {
        match client.hear().await {
            reply if reply.is_empty() => break,
            reply => replies.push(reply[..3].to_owned()),
        }
    }
    assert_eq!(replies.len(), 22);
    assert_eq!(replies.last().map(String::as_str), Some("421"));
}
