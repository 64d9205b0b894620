//! What the primary will not have: never a source of backscatter, and nothing vanishes unseen.

use super::primary::Dot;
use super::*;

fn spam() -> Dot {
    Dot::Says("554 5.7.1 spam".into())
}

#[tokio::test(start_paused = true)]
async fn a_hundred_forged_spams_make_no_report_and_leave_inbox() {
    let mut house = House::new();
    let life = house.live();
    house.office().mood(|mood| mood.dot = spam());
    let mut traces = Vec::new();
    for n in 0..100 {
        traces
            .push(life.accept(Mail { believed: false, ..mail(&["anna@x.example"], &format!("s{n}")) }).await);
    }
    life.settle_down(30 * SECOND).await;
    assert!(life.letters().is_empty());
    assert!(traces.iter().all(|trace| life.outcomes(*trace) == ["anna refused 1"]));
    assert!(traces.iter().all(|trace| life.folders("anna@x.example", *trace) == ["Junk"]));
    let refused = Filter { standing: Some(Standing::Refused), ..Filter::default() };
    let page = life.view.list(&refused, None, 60);
    assert_eq!(page.queued.len(), 60);
    let rest = life.view.list(&refused, page.next, 60);
    assert_eq!((rest.queued.len(), rest.next), (40, None));
    assert_eq!(life.view.counts().refused, 100);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_refuses_everybody_from_one_moment_on_does_not_send_the_queue_back() {
    let mut house = House::new();
    let life = house.live();
    life.accept(mail(&["anna@x.example"], "before")).await;
    life.settle_down(5 * SECOND).await;
    sleep(10 * SECOND).await;
    let denied = |who: &str| (who.to_owned(), "554 5.7.1 relay denied".to_owned());
    house.office().mood(|mood| mood.says = ["anna@x.example", "bert@x.example"].map(denied).into());
    let mut traces = Vec::new();
    for n in 0..20 {
        traces.push(life.accept(mail(&["anna@x.example", "bert@x.example"], &format!("m{n}"))).await);
    }
    sleep(15 * SECOND).await;
    assert!(life.letters().is_empty() && traces.iter().all(|trace| life.outcomes(*trace).is_empty()));
    let shown = life.view.show(traces[0]).unwrap();
    let last = shown.recipients.iter().find_map(|r| r.last.clone()).unwrap();
    assert!(last.contains("554 5.7.1 relay denied (kept and asked again"), "{last}");
    house.office().mood(|mood| mood.says.clear());
    life.settle_down(900 * SECOND).await;
    let taken: usize = house.office().stored().iter().map(|stored| stored.to.len()).sum();
    assert_eq!(taken, 41, "each for each of the two, once");
    assert!(life.letters().is_empty());
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_who_is_refused_while_others_are_taken_is_refused_and_one_alone_after_a_few_doubts() {
    let mut house = House::new();
    let life = house.live();
    let gone = [("bert@x.example".to_owned(), "550 5.1.1 gone".to_owned())];
    house.office().mood(|mood| mood.says = gone.into());
    let alone = life.accept(mail(&["bert@x.example"], "alone")).await;
    sleep(SECOND).await;
    assert!(life.outcomes(alone).is_empty(), "nobody else was taken: it may be everybody");
    life.accept(mail(&["anna@x.example"], "other")).await;
    life.settle_down(3_600 * SECOND).await;
    assert_eq!(life.outcomes(alone), ["bert bounced 0"]);
    sleep(60 * SECOND).await;
    let quiet = life.accept(mail(&["bert@x.example"], "quiet")).await;
    life.settle_down(86_400 * SECOND).await;
    assert_eq!(life.outcomes(quiet), ["bert bounced 0"]);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_believed_sender_is_told_once_and_nobody_is_told_about_reports() {
    let mut house = House::new();
    let life = house.live();
    house
        .office()
        .mood(|mood| mood.says = [("bert@x.example".to_owned(), "550 5.1.1 gone".to_owned())].into());
    let told = life.accept(mail(&["anna@x.example", "bert@x.example"], "half")).await;
    let report = life.accept(Mail { from: "", ..mail(&["bert@x.example"], "a report") }).await;
    life.settle_down(30 * SECOND).await;
    let mut outcomes = life.outcomes(told);
    outcomes.sort();
    assert_eq!(outcomes, ["anna over 1", "bert bounced 0"]);
    assert_eq!(life.outcomes(report), ["bert refused 0"]);
    let letters = life.letters();
    assert_eq!(letters.len(), 1);
    let (sender, to, text) = &letters[0];
    assert_eq!((sender, to.as_slice()), (&Sender::NOBODY, [address("sender@far.example")].as_slice()));
    assert!(
        text.contains("Final-Recipient: rfc822; bert@x.example") && text.contains("5.1.1 gone"),
        "{text}"
    );
    assert_eq!(life.folders("bert@x.example", told), ["Junk"]);
    assert_eq!(life.folders("anna@x.example", told), ["INBOX"]);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_is_never_bounced_and_holds_up_nobody_else() {
    let mut house = House::new();
    let life = house.live();
    house
        .office()
        .mood(|mood| mood.says = [("full@x.example".to_owned(), "552 5.2.2 over quota".to_owned())].into());
    for n in 0..30 {
        life.accept(mail(&["full@x.example", "anna@x.example"], &format!("m{n}"))).await;
    }
    sleep(5 * SECOND).await;
    assert_eq!(house.office().stored().len(), 30, "everybody else has theirs");
    sleep(3_600 * SECOND).await;
    assert!(life.letters().is_empty());
    assert_eq!(life.view.counts().recipients, 30);
    let down = life.ledger.scan(None).filter(|entered| {
        matches!(&entered.as_ref().unwrap().entry, Entry::Observation(seen)
            if seen.finding == words_mail::Finding::Down && seen.account.is_none())
    });
    assert_eq!(down.count(), 0, "one person's quota is no outage");
    house.office().mood(|mood| mood.says.clear());
    life.settle_down(900 * SECOND).await;
    let full: Vec<_> =
        house.office().stored().into_iter().filter(|s| s.to.contains(&"full@x.example".to_owned())).collect();
    assert_eq!(full.len(), 30);
    // Oldest first; neighbours under way at once may overtake each other.
    for (at, subject) in house.office().subjects().split_off(30).iter().enumerate() {
        let n: usize = subject[1..].parse().unwrap();
        assert!(n.abs_diff(at) < 8, "{subject} came as number {at}");
    }
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn mail_expires_after_its_time_but_never_in_an_event() {
    let mut house = House::new();
    house.change = |settings| {
        settings.spool_age = Duration::from_secs(86_400);
        settings.poll = Duration::from_secs(60);
    };
    let life = house.live();
    house.office().mood(|mood| mood.down = true);
    life.switch(Some(OrderKind::PauseDeliveries), None, Scope::All, true).await;
    let trace = life.accept(mail(&["anna@x.example"], "old")).await;
    sleep(200_000 * SECOND).await;
    assert!(life.outcomes(trace).is_empty(), "an outage of two days expires nothing");
    assert!(life.letters().is_empty(), "and calls nothing late");
    life.switch(None, Some(OrderKind::PauseDeliveries), Scope::All, false).await;
    sleep(120 * SECOND).await;
    assert_eq!(life.outcomes(trace), ["anna expired 0"]);
    assert_eq!(life.letters().len(), 1);
    assert_eq!(life.view.show(trace).unwrap().recipients[0].standing, Standing::Expired);
    assert_eq!(life.folders("anna@x.example", trace), ["INBOX"], "it is still read here");
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn twenty_restarts_of_the_primary_tell_nobody_anything() {
    let mut house = House::new();
    let life = house.live();
    for n in 0..20 {
        house.office().mood(|mood| mood.down = true);
        life.accept(mail(&["anna@x.example"], &format!("m{n}"))).await;
        sleep(5 * SECOND).await;
        house.office().mood(|mood| mood.down = false);
        sleep(55 * SECOND).await;
    }
    assert_eq!((house.office().stored().len(), life.letters().len()), (20, 0));
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_report_of_success_comes_from_whoever_is_last_to_give_one() {
    for (offers_dsn, reports) in [(false, 1), (true, 0)] {
        let mut house = House::new();
        let life = house.live();
        house.office().mood(|mood| mood.offers_dsn = offers_dsn);
        let trace = life.journal.trace_id();
        let mut recipient = Recipient::new(address("anna@x.example"));
        recipient.notify = Some(words_mail::Notify { success: true, ..words_mail::Notify::default() });
        let message = NewMessage {
            trace,
            tenant: Tenant("acme".into()),
            primary: Some(office()),
            envelope: Envelope {
                sender: Sender(Some(address("sender@far.example"))),
                recipients: vec![recipient],
                eight_bit: false,
                utf8: false,
                ret: None,
                envid: None,
                source: Source::Edge,
                peer: Peer {
                    ip: "198.51.100.1".parse().unwrap(),
                    helo: "far.example".into(),
                    protocol: "ESMTP".into(),
                    tls: None,
                    account: None,
                    name: None,
                    port: None,
                },
            },
            verdict: serde_json::json!({"rules": 1, "action": {"do": "deliver"}, "may_bounce": true}),
            prefix: String::new(),
            body: IncomingBody::Inline(b"Subject: x\r\n\r\n".to_vec()),
        };
        life.journal.accept(message).await.unwrap().heard();
        life.settle_down(10 * SECOND).await;
        let letters = life.letters();
        assert_eq!(letters.len(), reports, "DSN offered: {offers_dsn}");
        assert!(letters.iter().all(|(_, _, text)| text.contains("Action: relayed")));
        life.stop().await;
    }
}
