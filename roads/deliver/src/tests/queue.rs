//! People act on the queue.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_person_pauses_deletes_bounces_and_redirects() {
    let mut house = House::new();
    let life = house.live();
    life.pause(true).await;
    let mut traces = Vec::new();
    for n in 0..4 {
        traces
            .push(life.accept(Mail { believed: false, ..mail(&["anna@x.example"], &format!("m{n}")) }).await);
    }
    sleep(SECOND).await;
    life.act(Act::Pause, Some(traces[0])).await;
    life.act(Act::Delete, Some(traces[1])).await;
    life.act(Act::Bounce, Some(traces[2])).await;
    life.act(Act::Redirect { to: address("bert@x.example") }, Some(traces[3])).await;
    life.pause(false).await;
    sleep(5 * SECOND).await;
    assert!(house.office().stored().is_empty(), "nothing of these four goes to the primary");
    assert!(life.outcomes(traces[0]).is_empty());
    assert_eq!(life.outcomes(traces[1]), ["anna deleted 0"]);
    assert_eq!(life.outcomes(traces[2]), ["anna bounced 0"]);
    assert_eq!(life.outcomes(traces[3]), ["anna deleted 0"]);
    let letters = life.letters();
    assert_eq!(letters.len(), 2);
    assert!(letters[0].2.contains("given back by anna: because"));
    assert_eq!(letters[1].1, [address("bert@x.example")]);
    assert!(letters[1].2.contains("Subject: m3") && letters[1].0 != Sender::NOBODY);

    // What a person let wait still waits after a restart, until they say otherwise.
    life.kill().await;
    let life = house.live();
    sleep(60 * SECOND).await;
    assert!(house.office().stored().is_empty());
    assert_eq!(life.view.show(traces[0]).unwrap().recipients[0].standing, Standing::Paused);
    life.act(Act::Resume, Some(traces[0])).await;
    life.settle_down(5 * SECOND).await;
    assert_eq!(house.office().subjects(), ["m0"]);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn everything_may_be_paused_and_resumed_at_once() {
    let mut house = House::new();
    let life = house.live();
    life.act(Act::Pause, None).await;
    for n in 0..3 {
        life.accept(mail(&["anna@x.example"], &format!("m{n}"))).await;
    }
    sleep(60 * SECOND).await;
    assert!(house.office().stored().is_empty());
    let first = life.view.list(&Filter::default(), None, 2);
    assert_eq!(first.queued.len(), 2);
    assert_eq!(life.view.list(&Filter::default(), first.next, 2).queued.len(), 1);
    let nobody = Filter { to: Some("@y.example".into()), ..Filter::default() };
    assert!(life.view.list(&nobody, None, 10).queued.is_empty());
    life.act(Act::Resume, None).await;
    life.settle_down(5 * SECOND).await;
    assert_eq!(house.office().stored().len(), 3);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_resumed_goes_on_while_all_else_waits_also_after_a_restart() {
    let mut house = House::new();
    let life = house.live();
    life.act(Act::Pause, None).await;
    life.accept(mail(&["anna@x.example"], "m0")).await;
    sleep(5 * SECOND).await;
    assert!(house.office().stored().is_empty());
    let resume = QueueAct {
        at: life.world.clock.now(),
        by: "anna".into(),
        reason: "because".into(),
        act: Act::Resume,
        trace: None,
        recipient: None,
        destination: Some(Destination::Primary(PrimaryId("office".into()))),
    };
    assert!(matches!(life.view.still_paused(std::slice::from_ref(&resume))[..], [(Holds::Pause(_), 1)]));
    life.ledger.append(Entry::QueueAct(resume.clone())).await.unwrap();
    life.settle_down(5 * SECOND).await;
    assert_eq!(house.office().subjects(), ["m0"]);
    life.kill().await;
    let life = house.live();
    life.accept(mail(&["anna@x.example"], "m1")).await;
    life.settle_down(5 * SECOND).await;
    assert_eq!(house.office().subjects(), ["m0", "m1"], "the exception outlives a restart");

    // An order holds whatever people resume, and that is told.
    life.pause(true).await;
    life.accept(mail(&["anna@x.example"], "m2")).await;
    sleep(5 * SECOND).await;
    let held = life.view.still_paused(&[resume]);
    assert!(matches!(held[..], [(Holds::Order(_, None), 1)]), "{held:?}");
    life.pause(false).await;
    life.settle_down(5 * SECOND).await;
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_act_recorded_before_a_crash_is_carried_out_after_it() {
    let mut house = House::new();
    let life = house.live();
    life.pause(true).await;
    let trace = life.accept(mail(&["anna@x.example"], "x")).await;
    sleep(SECOND).await;
    let act = QueueAct {
        at: life.world.clock.now(),
        by: "anna".into(),
        reason: "spam".into(),
        act: Act::Delete,
        trace: Some(trace),
        recipient: None,
        destination: None,
    };
    life.ledger.append(Entry::QueueAct(act)).await.unwrap();
    life.kill().await;
    let life = house.live();
    sleep(60 * SECOND).await;
    assert_eq!(life.outcomes(trace), ["anna deleted 0"]);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_spools_budget_is_seen_before_it_is_used_up() {
    let mut house = House::new();
    house.change = |settings| settings.budget_bytes = 1_000;
    let life = house.live();
    house.office().mood(|mood| mood.down = true);
    for n in 0..9 {
        life.accept(mail(&["anna@x.example"], &format!("m{n}"))).await;
    }
    sleep(60 * SECOND).await;
    let counts = life.view.counts();
    assert!(counts.alarm.as_ref().is_some_and(|words| words.contains('%')), "{counts:?}");
    house.office().mood(|mood| mood.down = false);
    life.settle_down(120 * SECOND).await;
    sleep(60 * SECOND).await;
    assert_eq!(life.view.counts().alarm, None);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_redirected_waits_for_a_person_and_is_not_sent_after_all() {
    let mut house = House::new();
    let life = house.live();
    life.pause(true).await;
    let trace = life.accept(mail(&["anna@x.example"], "x")).await;
    sleep(SECOND).await;
    *life.letters.says.lock().unwrap() = Some(NotTaken::Never("550 5.1.1 no such address".into()));
    let nobody = Act::Redirect { to: address("nobody@x.example") };
    life.act(nobody, Some(trace)).await;
    life.pause(false).await;
    sleep(60 * SECOND).await;
    assert!(house.office().stored().is_empty());
    assert_eq!(life.view.show(trace).unwrap().recipients[0].standing, Standing::Paused);
    *life.letters.says.lock().unwrap() = Some(NotTaken::Later("the edge is restarting".into()));
    life.act(Act::Redirect { to: address("bert@x.example") }, Some(trace)).await;
    life.settle_down(20 * SECOND).await;
    assert_eq!((life.outcomes(trace), life.letters().len()), (vec!["anna deleted 0".to_owned()], 1));
    life.stop().await;
}
