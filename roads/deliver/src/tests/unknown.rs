//! The connection dies between the final dot and its answer: never lost, never doubled.

use super::primary::Dot;
use super::*;

mod brought_back;

#[tokio::test(start_paused = true)]
async fn stored_and_unanswered_is_found_and_not_sent_again() {
    let mut house = House::new();
    let life = house.live();
    house.office().mood(|mood| mood.dot = Dot::Breaks { stored: true });
    let trace = life.accept(mail(&["anna@x.example"], "cut")).await;
    sleep(200 * Duration::from_millis(1)).await;
    house.office().mood(|mood| mood.dot = Dot::Takes);
    life.settle_down(60 * SECOND).await;
    assert_eq!((house.office().dots(), house.office().stored().len()), (1, 1));
    assert_eq!(life.outcomes(trace), ["anna unknown 1", "anna seen 1"]);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn not_stored_is_looked_for_waited_for_and_sent_once_more() {
    let mut house = House::new();
    let life = house.live();
    house.office().mood(|mood| mood.dot = Dot::Breaks { stored: false });
    let trace = life.accept(mail(&["anna@x.example"], "cut")).await;
    sleep(200 * Duration::from_millis(1)).await;
    house.office().mood(|mood| mood.dot = Dot::Takes);
    sleep(4 * SECOND).await;
    assert_eq!(house.office().dots(), 1, "the primary may still have it in a queue of its own");
    life.settle_down(60 * SECOND).await;
    assert_eq!((house.office().dots(), house.office().stored().len()), (2, 1));
    assert_eq!(life.outcomes(trace), ["anna unknown 1", "anna over 2"]);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn while_nobody_can_look_it_waits() {
    let mut house = House::new();
    let life = house.live();
    *life.looker.allowed.lock().unwrap() = false;
    house.office().mood(|mood| mood.dot = Dot::Breaks { stored: true });
    let trace = life.accept(mail(&["anna@x.example"], "cut")).await;
    sleep(SECOND).await;
    house.office().mood(|mood| mood.dot = Dot::Takes);
    sleep(3_600 * SECOND).await;
    assert_eq!((house.office().dots(), life.view.counts().unknown), (1, 1));
    let asked = *life.looker.asked.lock().unwrap();
    assert!((30..120).contains(&asked), "asked {asked} times in an hour");
    assert_eq!(life.view.show(trace).unwrap().recipients[0].standing, Standing::Unknown);
    *life.looker.allowed.lock().unwrap() = true;
    life.settle_down(90 * SECOND).await;
    assert_eq!((house.office().dots(), life.outcomes(trace).last().unwrap().as_str()), (1, "anna seen 1"));
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_primary_is_asked_at_once_and_given_its_time_to_file_what_it_took() {
    for stored in [true, false] {
        let mut house = House::new();
        let life = house.live();
        house.office().mood(|mood| mood.dot = Dot::Breaks { stored });
        let trace = life.accept(mail(&["anna@x.example"], "cut")).await;
        sleep(200 * Duration::from_millis(1)).await;
        life.pause(true).await;
        // What it stored lies in a queue of its own, and is in no mailbox yet.
        *life.looker.allowed.lock().unwrap() = false;
        house.office().mood(|mood| mood.dot = Dot::Takes);
        sleep(3_600 * SECOND).await;
        let asked = *life.looker.asked.lock().unwrap();
        life.pause(false).await;
        sleep(3 * SECOND).await;
        assert!(*life.looker.asked.lock().unwrap() > asked, "asked at once, not after a long back-off");
        *life.looker.allowed.lock().unwrap() = true;
        sleep(3 * SECOND).await;
        assert_eq!(house.office().dots(), 1, "it had its five seconds from its return, not from the cut");
        life.settle_down(60 * SECOND).await;
        assert_eq!(house.office().stored().len(), 1);
        let last = if stored { "anna seen 1" } else { "anna over 2" };
        assert_eq!(life.outcomes(trace).last().unwrap(), last);
        life.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_look_it_is_sent_once_more_and_never_a_third_time() {
    let mut house = House::new();
    house.ask = false;
    let life = house.live();
    house.office().mood(|mood| mood.dot = Dot::Breaks { stored: false });
    let trace = life.accept(mail(&["anna@x.example"], "cut")).await;
    sleep(50 * SECOND).await;
    assert_eq!(house.office().dots(), 1, "not before its time");
    sleep(3_600 * SECOND).await;
    assert_eq!(house.office().dots(), 2);
    assert_eq!(life.outcomes(trace), ["anna unknown 1", "anna unknown 2", "anna parked 2"]);
    life.kill().await;
    house.office().mood(|mood| mood.dot = Dot::Takes);
    let life = house.live();
    sleep(3_600 * SECOND).await;
    assert_eq!(house.office().dots(), 2, "a restart forgets nothing");
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn we_die_ourselves_while_the_answer_is_on_its_way() {
    for stored in [true, false] {
        let mut house = House::new();
        let life = house.live();
        house.office().mood(|mood| mood.dot = Dot::Hangs);
        let trace = life.accept(mail(&["anna@x.example"], "cut")).await;
        sleep(SECOND).await;
        assert_eq!(house.office().dots(), 1);
        life.kill().await;
        house.office().mood(|mood| mood.dot = Dot::Takes);
        if stored {
            // It was stored; only we never heard.
            let life = house.live();
            *life.looker.allowed.lock().unwrap() = false;
            sleep(30 * SECOND).await;
            assert_eq!(house.office().dots(), 1, "not sent again without asking");
            assert_eq!(life.view.counts().unknown, 1);
            life.kill().await;
        }
        let life = house.live();
        life.settle_down(60 * SECOND).await;
        assert_eq!(house.office().stored().len(), 1, "asked, not found, sent once more");
        assert_eq!(life.outcomes(trace), ["anna over 2"]);
        assert_eq!(life.folders("anna@x.example", trace), ["INBOX"]);
        life.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn told_later_at_the_final_dot_is_no_unknown_outcome_after_a_restart() {
    let mut house = House::new();
    let life = house.live();
    house.office().mood(|mood| mood.dot = Dot::Says("451 4.3.0 not now".into()));
    let trace = life.accept(mail(&["anna@x.example"], "later")).await;
    sleep(5 * SECOND).await;
    assert_eq!(life.outcomes(trace), ["anna deferred 1"]);
    life.kill().await;
    let life = house.live();
    sleep(SECOND).await;
    assert_eq!(life.view.counts().unknown, 0);
    house.office().mood(|mood| mood.dot = Dot::Takes);
    life.settle_down(60 * SECOND).await;
    assert_eq!((house.office().stored().len(), *life.looker.asked.lock().unwrap()), (1, 0));
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_durable_attempt_there_is_no_final_dot() {
    let mut house = House::new();
    let life = house.live();
    let warm = life.accept(mail(&["anna@x.example"], "warm")).await;
    life.settle_down(5 * SECOND).await;
    assert_eq!(life.outcomes(warm), ["anna over 1"]);
    life.pause(true).await;
    let trace = life.accept(mail(&["anna@x.example"], "x")).await;
    sleep(SECOND).await;
    // From now on the next sync fails; the mailbox log is the one that an attempt goes to.
    house.disk.fail_sync(0);
    life.ledger.note(Entry::QueueAct(QueueAct {
        at: Time(0),
        by: "nobody".into(),
        reason: String::new(),
        act: Act::Resume,
        trace: Some(trace),
        recipient: None,
        destination: None,
    }));
    sleep(SECOND).await;
    assert_eq!(house.office().dots(), 1, "only the first");
    life.kill().await;
    let life = house.live();
    life.pause(false).await;
    life.settle_down(20 * SECOND).await;
    assert_eq!(house.office().dots(), 2);
    life.stop().await;
}
