use super::latest::Latest;
use super::status::{Look, clock, grouped};
use crate::control::protocol::{Lag, PrimaryStatus, QueueDeed, QueueQuery, QueueState};
use std::sync::Arc;
use std::time::Duration;
use stores_ledger::{Entry, KeyRing, Ledger, LogOptions, Reconciliation, Settlement};
use stores_log::{FaultDisk, LogKind, TestClock, fault_world};
use tokio::sync::watch;
use words_mail::{
    AccountId, Address, Destination, EventId, Evidence, Finding, Observation, Order, OrderKind, OrderNumber,
    Outcome, Plane, PrimaryId, Reply, Request, RequestKind, Scope, State, Time, TraceId,
};
use words_world::{Clock as _, World};

/// 22 November 2026, 10:37:07 UTC.
const BEGAN: i64 = 1_795_343_827;

fn office() -> PrimaryId {
    PrimaryId("office".into())
}

/// A ledger, and what is derived from it.
struct House {
    clock: Arc<TestClock>,
    world: World,
    ledger: Ledger,
    latest: Latest,
    orders: u64,
    stop: watch::Sender<bool>,
    writing: tokio::task::JoinHandle<()>,
}

impl House {
    fn new() -> House {
        let clock = Arc::new(TestClock::new(Time::from_seconds(BEGAN)));
        let world = fault_world(&FaultDisk::new(3), &clock, 3);
        let mut options = LogOptions::new("/ledger", LogKind::Ledger, "n");
        options.reserve_bytes = 0;
        let (ledger, writer, _) = Ledger::open(&world, KeyRing::new([9; 32], &[]), options).unwrap();
        let latest = Latest::new(&ledger, &world);
        let (stop, stopped) = watch::channel(false);
        let writing = tokio::spawn(writer.run(stopped));
        House { clock, world, ledger, latest, orders: 0, stop, writing }
    }

    async fn order(&mut self, plane: Plane, from: State, to: State) -> Order {
        self.orders += 1;
        let carried = |state: State| matches!(state, State::Suspect | State::Active);
        let switched = |on: bool| if on { vec![OrderKind::PauseDeliveries] } else { Vec::new() };
        let inbound = plane == Plane::Inbound;
        let order = Order {
            number: OrderNumber(self.orders),
            at: self.clock.now(),
            primary: office(),
            plane,
            from,
            to,
            on: switched(inbound && !carried(from) && carried(to)),
            off: switched(inbound && carried(from) && !carried(to) && to != State::Pinned),
            scope: Scope::All,
            event: (from != State::Ready || to == State::Active).then_some(EventId(1)),
            by: "watch".into(),
            why: "because".into(),
            began: None,
            until: None,
            answers: None,
        };
        self.write(order.clone()).await;
        order
    }

    async fn write(&self, order: Order) {
        self.ledger.append(Entry::Order(order)).await.unwrap();
    }

    async fn settle(&self, message: u8, to: Destination, outcome: Outcome) {
        let settlement = Settlement {
            trace: TraceId::new(self.clock.now(), [message; 10]),
            recipient: Address::parse("anna@example.org").unwrap(),
            destination: to,
            outcome,
            at: self.clock.now(),
            attempt: 1,
        };
        self.ledger.append(Entry::Settlement(settlement)).await.unwrap();
    }

    fn status(&self, waiting: u64) -> PrimaryStatus {
        let (in_force, seen) = (self.ledger.in_force(), self.latest.seen());
        let lag = Lag { messages: waiting, ..Lag::default() };
        Look { primary: &office(), in_force: &in_force, seen: &seen, now: self.world.clock.now(), lag }
            .status()
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.writing.await.unwrap();
    }
}

fn handed_over() -> Outcome {
    Outcome::HandedOver { reply: Reply::new(250, (2, 0, 0), "ok") }
}

fn pass(house: &House, seconds: u64) {
    house.clock.advance(Duration::from_secs(seconds));
}

#[tokio::test]
async fn each_state_is_told_in_peoples_words() {
    let mut house = House::new();
    assert_eq!(house.status(0).words, "All well");

    house.order(Plane::Inbound, State::Ready, State::Suspect).await;
    let status = house.status(3);
    assert_eq!((status.state, status.words.as_str()), (State::Suspect, "In doubt, nothing changed yet"));

    pass(&house, 300);
    house.order(Plane::Inbound, State::Suspect, State::Active).await;
    let status = house.status(3);
    assert_eq!(status.words, "Down since 10:42 UTC, we carry the mail");
    assert_eq!(
        (status.event, status.on.as_slice()),
        (Some(EventId(1)), [OrderKind::PauseDeliveries].as_slice())
    );
    let inbound = &status.planes["inbound"];
    assert_eq!((inbound.state, inbound.order), (State::Active, Some(OrderNumber(2))));
    assert_eq!(inbound.finding, None, "nothing was measured, and silence is not health");

    house.settle(1, Destination::Primary(office()), handed_over()).await;
    pass(&house, 60);
    house.order(Plane::Inbound, State::Active, State::Returning).await;
    for message in 0..214 {
        house.settle(message, Destination::Primary(office()), handed_over()).await;
    }
    // Another recipient of the same message, and a delivery to elsewhere.
    house.settle(7, Destination::Primary(office()), handed_over()).await;
    house.settle(215, Destination::Mailbox, handed_over()).await;
    assert_eq!(house.status(2_096).words, "Coming back, 214 of 2,310 given back");

    house.order(Plane::Inbound, State::Returning, State::Ready).await;
    assert_eq!(house.status(0).words, "All well");
    house.end().await;
}

#[tokio::test]
async fn a_plane_of_its_own_that_is_down_is_named() {
    let mut house = House::new();
    house.order(Plane::Access, State::Ready, State::Active).await;
    assert_eq!(house.status(0).words, "Partly down since 10:37 UTC: access");
    house.end().await;
}

#[tokio::test]
async fn a_pin_says_whose_it_is_until_when_and_why() {
    let mut house = House::new();
    let request = Request {
        at: house.clock.now(),
        by: "Anna".into(),
        reason: "moving the rack".into(),
        primary: office(),
        planes: Vec::new(),
        scope: Scope::All,
        kind: RequestKind::Pin { until: None },
    };
    house.order(Plane::Inbound, State::Ready, State::Active).await;
    let seq = house.ledger.append(Entry::Request(request)).await.unwrap();
    for (number, plane, answers) in [(2, Plane::Inbound, None), (3, Plane::Access, Some(seq))] {
        let mut order = house.order(plane, State::Active, State::Pinned).await;
        order.number = OrderNumber(number + 100);
        order.by = "Anna".into();
        order.until = Some(Time::from_civil(2026, 11, 22, 18, 0, 0));
        order.answers = answers;
        house.write(order).await;
    }
    let status = house.status(0);
    assert_eq!(status.words, "Pinned by Anna until 18:00 UTC; we carry the mail");
    let pinned = status.pinned.unwrap();
    assert_eq!((pinned.by.as_str(), pinned.reason.as_str()), ("Anna", "moving the rack"));
    house.end().await;
}

#[tokio::test]
async fn what_was_observed_is_told_while_it_is_fresh_and_only_if_it_concerns_everybody() {
    let house = House::new();
    let observation = |finding, account: Option<&str>| {
        Entry::Observation(Observation {
            primary: office(),
            plane: Plane::Inbound,
            vantage: "n".into(),
            at: house.clock.now(),
            evidence: Evidence::Probe,
            finding,
            micros: 1,
            detail: "said so".into(),
            account: account.map(AccountId::new),
        })
    };
    house.ledger.append(observation(Finding::Up, None)).await.unwrap();
    house.ledger.append(observation(Finding::Down, Some("anna@example.org"))).await.unwrap();
    let inbound = house.status(0).planes["inbound"].clone();
    assert_eq!((inbound.finding, inbound.detail.as_str()), (Some(Finding::Up), "said so"));
    pass(&house, 61);
    assert_eq!(house.status(0).planes["inbound"].finding, None);
    // After a long silence what was said long ago is not read again, what is new is.
    pass(&house, 7 * 86_400);
    house.ledger.append(observation(Finding::Down, None)).await.unwrap();
    assert_eq!(house.status(0).planes["inbound"].finding, Some(Finding::Down));
    house.end().await;
}

#[tokio::test]
async fn the_last_proof_counts_only_when_it_came_out_clean() {
    let house = House::new();
    let proof = |clean| {
        Entry::Reconciliation(Reconciliation {
            at: house.clock.now(),
            event: EventId(1),
            primary: office(),
            clean,
            report: serde_json::Value::Null,
        })
    };
    house.ledger.append(proof(false)).await.unwrap();
    assert_eq!(house.status(0).proved, None);
    pass(&house, 5);
    house.ledger.append(proof(true)).await.unwrap();
    assert_eq!(house.status(0).proved, Some(Time::from_seconds(BEGAN + 5)));
    house.end().await;
}

#[tokio::test]
async fn a_proof_of_months_ago_is_remembered_after_a_restart() {
    let mut house = House::new();
    house.order(Plane::Inbound, State::Ready, State::Active).await;
    house.order(Plane::Inbound, State::Active, State::Returning).await;
    pass(&house, 5);
    let proof = Reconciliation {
        at: house.clock.now(),
        event: EventId(1),
        primary: office(),
        clean: true,
        report: serde_json::Value::Null,
    };
    house.ledger.append(Entry::Reconciliation(proof)).await.unwrap();
    house.order(Plane::Inbound, State::Returning, State::Ready).await;
    pass(&house, 100 * 86_400);
    // The log begins a new segment; what is older than a month is not followed any more.
    house.ledger.log().roll().await.unwrap();
    house.latest = Latest::new(&house.ledger, &house.world);
    assert_eq!(house.status(0).proved, Some(Time::from_seconds(BEGAN + 5)));
    house.end().await;
}

#[tokio::test]
async fn settlements_are_counted_by_place_and_outcome_and_domains_together() {
    let house = House::new();
    for domain in ["a.example", "b.example"] {
        house.settle(1, Destination::Internet(domain.into()), handed_over()).await;
    }
    house.settle(1, Destination::Primary(office()), Outcome::Unknown).await;
    let settled = house.latest.seen().settled;
    let settled: Vec<_> = settled.into_iter().map(|((to, how), count)| (to, how, count)).collect();
    assert_eq!(settled, [("internet".to_owned(), "handed_over", 2), ("office".to_owned(), "unknown", 1)]);
    house.end().await;
}

#[test]
fn moments_and_numbers_are_written_as_people_write_them() {
    let now = Time::from_civil(2026, 11, 22, 18, 0, 0);
    assert_eq!(clock(Time::from_civil(2026, 11, 22, 10, 42, 7), now), "10:42 UTC");
    assert_eq!(clock(Time::from_civil(2026, 11, 21, 10, 42, 7), now), "2026-11-21 10:42 UTC");
    for (number, words) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(number), words);
    }
}

#[test]
fn a_whole_destination_is_paused_as_one_and_everything_else_one_by_one() {
    let by_primary = QueueQuery { primary: Some(office()), ..QueueQuery::default() };
    let by_domain = QueueQuery { domain: Some("A.example".into()), ..QueueQuery::default() };
    let parked = QueueQuery { state: Some(QueueState::Parked), ..by_primary.clone() };
    for (query, deed, whole) in [
        (QueueQuery::default(), QueueDeed::Pause, Some(None)),
        (by_primary.clone(), QueueDeed::Resume, Some(Some(Destination::Primary(office())))),
        (by_domain, QueueDeed::Pause, Some(Some(Destination::Internet("a.example".into())))),
        (parked, QueueDeed::Pause, None),
        (by_primary, QueueDeed::Delete, None),
        (QueueQuery::default(), QueueDeed::Bounce, None),
    ] {
        let found = super::queue::whole(&query, &deed).map(|about| about.destination);
        assert_eq!(found, whole, "{query:?} {deed:?}");
    }
}
