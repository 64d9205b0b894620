use super::*;
use std::sync::atomic::{AtomicU32, Ordering};
use stores_log::{FaultDisk, TestClock, fault_world};
use words_mail::Time;

/// Answers after a second, and counts.
struct Slow {
    asked: AtomicU32,
    answer: fn(&str) -> Answer,
}

impl CallOut for Slow {
    fn ask<'a>(&'a self, _: &'a PrimaryId, to: &'a Address) -> Boxed<'a, Answer> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            (self.answer)(to.local())
        })
    }
}

fn no() -> Answer {
    Answer::No(Reply::new(550, (5, 1, 1), "no"))
}

fn gate(answer: fn(&str) -> Answer) -> (Arc<Slow>, CallOuts) {
    let slow = Arc::new(Slow { asked: AtomicU32::new(0), answer });
    let world = fault_world(&FaultDisk::new(1), &Arc::new(TestClock::new(Time(0))), 1);
    (slow.clone(), CallOuts::new(slow, world))
}

fn to(local: &str) -> Address {
    Address::new(local, "learn.example").unwrap()
}

fn primary() -> PrimaryId {
    PrimaryId("hq".into())
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_about_one_recipient_ask_once() {
    let (slow, gate) = gate(|local| if local == "karl" { Answer::Yes } else { no() });
    let limits = AcceptLimits::default();
    let (hq, karl) = (primary(), to("karl"));
    let ask = || gate.ask(&hq, &karl, &limits);
    let all = tokio::join!(ask(), ask(), ask());
    assert_eq!(all, (Known::Yes, Known::Yes, Known::Yes));
    assert_eq!(slow.asked.load(Ordering::Relaxed), 2, "once about nobody, once about karl");
    assert_eq!(gate.ask(&hq, &karl, &limits).await, Known::Yes);
    assert_eq!(slow.asked.load(Ordering::Relaxed), 2, "remembered");
    assert!(gate.lock().flights.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_takes_everything_is_not_asked_again() {
    let (slow, gate) = gate(|_| Answer::Yes);
    let limits = AcceptLimits::default();
    for n in 0..5 {
        assert_eq!(gate.ask(&primary(), &to(&format!("user{n}")), &limits).await, Known::Anything);
    }
    assert_eq!(slow.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_primary_is_asked_little_at_once_and_little_in_a_minute() {
    let (slow, gate) = gate(|_| no());
    let limits = AcceptLimits { call_outs: 1, call_outs_per_minute: 2, ..AcceptLimits::default() };
    let (hq, a, b, c, d) = (primary(), to("a"), to("b"), to("c"), to("d"));
    let (first, second) = tokio::join!(gate.ask(&hq, &a, &limits), gate.ask(&hq, &b, &limits));
    assert!(matches!(first, Known::No(_)));
    assert_eq!(second, Known::CannotTell, "one at a time");
    assert!(matches!(gate.ask(&hq, &c, &limits).await, Known::No(_)));
    assert_eq!(gate.ask(&hq, &d, &limits).await, Known::CannotTell, "two in a minute");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(matches!(gate.ask(&hq, &d, &limits).await, Known::No(_)));
    assert_eq!(slow.asked.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_no_knowledge_and_frees_its_place() {
    let (_, gate) = gate(|_| Answer::NoAnswer);
    let limits = AcceptLimits { call_outs: 1, ..AcceptLimits::default() };
    for _ in 0..3 {
        assert_eq!(gate.ask(&primary(), &to("a"), &limits).await, Known::CannotTell);
    }
    let hasty = AcceptLimits { call_out_time: Duration::from_millis(10), ..limits.clone() };
    assert_eq!(gate.ask(&primary(), &to("a"), &hasty).await, Known::CannotTell);
    let given_up = timeout(Duration::from_millis(10), gate.ask(&primary(), &to("a"), &limits)).await;
    assert!(given_up.is_err());
    assert!(gate.lock().flights.is_empty());
    assert_eq!(gate.lock().primaries[&primary()].at_once, 0);
}
