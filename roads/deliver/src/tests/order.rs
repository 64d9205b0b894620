//! Peace, outage, return: what goes where and when.

use super::*;

#[tokio::test(start_paused = true)]
async fn in_peace_mail_is_in_the_primary_and_in_the_mailbox_here_once_and_unchanged() {
    let mut house = House::new();
    let life = house.live();
    let trace = life.accept(mail(&["anna@x.example", "bert@x.example"], "hello")).await;
    life.settle_down(5 * SECOND).await;
    let stored = house.office().stored();
    assert_eq!(stored.len(), 1, "one transaction for both");
    assert_eq!((stored[0].from.as_str(), stored[0].to.len()), ("sender@far.example", 2));
    let expected = format!(
        "Stormpost-Trace: {trace}.0\r\nFrom: <sender@far.example>\r\nSubject: hello\r\n\r\n.hello\r\n"
    );
    assert_eq!(stored[0].content, expected);
    assert_eq!(life.folders("anna@x.example", trace), ["INBOX"]);
    let mut outcomes = life.outcomes(trace);
    outcomes.sort();
    assert_eq!(outcomes, ["anna over 1", "bert over 1"]);
    assert_eq!(life.settlements().len(), 4, "each of two recipients at each of two destinations");
    let counts = life.view.counts();
    assert_eq!((counts.handed_over, counts.arrived, counts.messages), (2, 2, 0));
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_account_without_a_primary_has_its_mail_here_only() {
    let mut house = House::new();
    let life = house.live();
    let trace = life.accept(mail(&["dora@home.example"], "hello")).await;
    life.settle_down(5 * SECOND).await;
    assert_eq!(life.folders("dora@home.example", trace), ["INBOX"]);
    assert!(house.office().stored().is_empty() && life.outcomes(trace).is_empty());
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn while_an_order_pauses_nothing_is_sent_and_people_read_it_here_at_once() {
    let mut house = House::new();
    let life = house.live();
    life.pause(true).await;
    let mut traces = Vec::new();
    for n in 0..5 {
        traces.push(life.accept(mail(&["anna@x.example"], &format!("m{n}"))).await);
    }
    sleep(60 * SECOND).await;
    assert_eq!(house.office().connections(), 0);
    assert!(traces.iter().all(|trace| life.folders("anna@x.example", *trace) == ["INBOX"]));
    assert_eq!(life.view.counts().by_primary[&office()], 5);
    let began = Instant::now();
    life.pause(false).await;
    life.settle_down(5 * SECOND).await;
    assert_eq!(house.office().subjects(), ["m0", "m1", "m2", "m3", "m4"], "oldest first");
    assert!(began.elapsed() < 2 * SECOND);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_account_may_be_paused_alone() {
    let mut house = House::new();
    let life = house.live();
    let anna = Scope::Accounts(vec![AccountId::new("anna@x.example")]);
    life.switch(Some(OrderKind::PauseDeliveries), None, anna, false).await;
    life.accept(mail(&["anna@x.example", "bert@x.example"], "hello")).await;
    life.settle_down(5 * SECOND).await;
    assert_eq!(house.office().stored()[0].to, ["bert@x.example"]);
    assert_eq!(house.office().stored().len(), 1);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_primary_gets_everything_the_moment_it_is_seen_well() {
    let mut house = House::new();
    let life = house.live();
    house.office().mood(|mood| mood.down = true);
    for n in 0..50 {
        life.accept(mail(&["anna@x.example"], &format!("m{n}"))).await;
    }
    sleep(600 * SECOND).await;
    let knocks = house.office().connections();
    assert!(knocks < 60, "{knocks} knocks in ten minutes");
    assert_eq!(life.letters().len(), 0);
    house.office().mood(|mood| mood.down = false);
    let seen = words_mail::Observation {
        primary: office(),
        plane: Plane::Inbound,
        vantage: "probe".into(),
        at: life.world.clock.now(),
        evidence: words_mail::Evidence::Probe,
        finding: words_mail::Finding::Up,
        micros: 0,
        detail: String::new(),
        account: None,
    };
    let began = Instant::now();
    life.ledger.append(Entry::Observation(seen)).await.unwrap();
    life.settle_down(10 * SECOND).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    let mut subjects = house.office().subjects();
    assert_eq!(subjects.len(), 50);
    subjects.sort();
    subjects.dedup();
    assert_eq!(subjects.len(), 50, "each once");
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn live_traffic_tells_of_trouble_within_seconds_and_not_in_floods() {
    let mut house = House::new();
    let life = house.live();
    life.accept(mail(&["anna@x.example"], "well")).await;
    sleep(2 * SECOND).await;
    house.office().mood(|mood| mood.down = true);
    for n in 0..30 {
        life.accept(mail(&["anna@x.example"], &format!("m{n}"))).await;
    }
    sleep(5 * SECOND).await;
    let observations: Vec<_> = life
        .ledger
        .scan(None)
        .filter_map(|entered| match entered.unwrap().entry {
            Entry::Observation(seen) => Some(seen.finding),
            _ => None,
        })
        .collect();
    assert_eq!(observations[0], words_mail::Finding::Up);
    assert!(observations[1..].iter().all(|finding| *finding == words_mail::Finding::Down));
    assert!((2..=8).contains(&observations.len()), "{observations:?}");
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn connections_are_kept_for_the_next_message_and_closed_when_idle() {
    let mut house = House::new();
    let life = house.live();
    for n in 0..20 {
        life.accept(mail(&["anna@x.example"], &format!("m{n}"))).await;
        life.settle_down(5 * SECOND).await;
    }
    assert_eq!(house.office().connections(), 1);
    sleep(60 * SECOND).await;
    life.accept(mail(&["anna@x.example"], "later")).await;
    life.settle_down(5 * SECOND).await;
    assert_eq!((house.office().connections(), house.office().stored().len()), (2, 21));
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_where_it_was_and_doubles_nothing() {
    let mut house = House::new();
    let life = house.live();
    for n in 0..10 {
        life.accept(mail(&["anna@x.example"], &format!("before{n}"))).await;
    }
    life.settle_down(5 * SECOND).await;
    house.office().mood(|mood| mood.down = true);
    for n in 0..30 {
        life.accept(mail(&["anna@x.example", "bert@x.example"], &format!("m{n}"))).await;
    }
    sleep(10 * SECOND).await;
    life.kill().await;
    house.office().mood(|mood| mood.down = false);
    let life = house.live();
    life.settle_down(20 * SECOND).await;
    let mut subjects = house.office().subjects();
    assert_eq!(subjects.len(), 40);
    subjects.sort();
    subjects.dedup();
    assert_eq!(subjects.len(), 40);
    assert_eq!(life.view.counts().unknown, 0);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_handled_is_parked_and_the_queue_goes_on() {
    let mut house = House::new();
    house.town = Town::speaking(Protocol::Smtp);
    let life = house.live();
    house.office().mood(|mood| mood.poison = Some("Subject: poison".into()));
    // Long enough to be on the wire in parts: it breaks the dialogue before its end.
    let subject = format!(
        "poison\r\nX-Long: {}",
        "x".repeat(900)
            .repeat(300)
            .as_bytes()
            .chunks(900)
            .map(|c| String::from_utf8_lossy(c).into_owned())
            .collect::<Vec<_>>()
            .join("\r\n ")
    );
    let poison = life.accept(mail(&["anna@x.example"], &subject)).await;
    for n in 0..200 {
        life.accept(mail(&["bert@x.example"], &format!("m{n}"))).await;
        sleep(SECOND).await;
    }
    assert_eq!(house.office().stored().len(), 200);
    assert_eq!(life.outcomes(poison).last().unwrap(), "anna parked 3");
    let shown = life.view.show(poison).unwrap();
    assert_eq!(shown.recipients[0].standing, Standing::Parked);
    assert!(life.letters().is_empty());
    // A person finds out why, and lets it go.
    house.office().mood(|mood| mood.poison = None);
    life.act(Act::Retry, Some(poison)).await;
    assert_eq!(life.outcomes(poison).last().unwrap(), "anna over 4");
    assert!(life.view.show(poison).is_none());
    life.kill().await;
    let life = house.live();
    sleep(SECOND).await;
    assert_eq!((life.view.counts().unknown, house.office().stored().len()), (0, 201));
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_our_own_parks_one_message_only() {
    let mut house = House::new();
    let life = house.live();
    let submitted = |to| Mail {
        source: Source::Submission,
        account: Some("anna@x.example"),
        from: "anna@x.example",
        ..mail(to, "out")
    };
    let bad = life.accept(submitted(&["b@panic.example"])).await;
    let good = life.accept(submitted(&["b@far.example"])).await;
    sleep(120 * SECOND).await;
    assert_eq!(life.outcomes(bad), ["b parked 0"]);
    assert_eq!(life.outcomes(good), ["b over 1"]);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_parked_and_shown_to_nobody() {
    let mut house = House::new();
    let life = house.live();
    let verdict = serde_json::json!({
        "rules": 1, "action": {"do": "park", "reason": "loop: 60 hops"}, "may_bounce": false
    });
    let trace = life.accept(Mail { verdict: Some(verdict), ..mail(&["anna@x.example"], "round") }).await;
    sleep(5 * SECOND).await;
    assert_eq!(life.outcomes(trace), ["anna parked 0"]);
    assert!(life.folders("anna@x.example", trace).is_empty());
    assert!(house.office().stored().is_empty() && life.letters().is_empty());
    life.kill().await;
    let life = house.live();
    sleep(5 * SECOND).await;
    assert_eq!(life.outcomes(trace), ["anna parked 0"], "decided once");
    assert_eq!(
        life.view
            .list(&Filter { standing: Some(Standing::Parked), ..Filter::default() }, None, 10)
            .queued
            .len(),
        1
    );
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_primary_with_a_new_name_or_a_new_domain_gets_no_old_mail_again() {
    let mut house = House::new();
    let life = house.live();
    life.accept(mail(&["anna@x.example"], "old")).await;
    life.accept(mail(&["dora@home.example"], "home")).await;
    life.settle_down(5 * SECOND).await;
    life.pause(true).await;
    life.accept(mail(&["anna@x.example"], "waiting")).await;
    sleep(SECOND).await;
    life.stop().await;
    (house.name, house.home) = ("headquarters", true);
    let life = house.live();
    life.accept(mail(&["dora@home.example"], "new")).await;
    life.settle_down(10 * SECOND).await;
    let mut subjects = house.office().subjects();
    subjects.sort();
    assert_eq!(subjects, ["new", "old", "waiting"], "what waited goes on, what was settled stays");
    life.stop().await;
}
