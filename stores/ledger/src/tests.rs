use crate::*;
use std::time::Duration;
use stores_log::{FaultDisk, TestClock, fault_world};
use words_mail::{
    AccountId, Address, Destination, EventId, Evidence, Finding, Observation, Order, OrderKind, OrderNumber,
    Outcome, Plane, PrimaryId, Reply, Request, RequestKind, Scope, State, Time, TraceId,
};
use words_world::Clock as _;

mod contract;

struct House {
    clock: Arc<TestClock>,
    world: World,
}

fn keys() -> KeyRing {
    KeyRing::new([9; 32], &[])
}

impl House {
    fn new(seed: u64) -> House {
        let clock = Arc::new(TestClock::new(Time::from_seconds(1_795_343_827)));
        let world = fault_world(&FaultDisk::new(seed), &clock, seed);
        House { clock, world }
    }

    fn options() -> LogOptions {
        let mut options = LogOptions::new("/ledger", LogKind::Ledger, "node-1");
        options.reserve_bytes = 0;
        options
    }

    fn with<T, F: Future<Output = T>>(&self, act: impl FnOnce(Ledger) -> F) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let (ledger, writer, _) = Ledger::open(&self.world, keys(), House::options()).unwrap();
            let (stop, shutdown) = watch::channel(false);
            let act = act(ledger);
            let work = async {
                let result = act.await;
                stop.send_replace(true);
                result
            };
            tokio::join!(work, writer.run(shutdown)).0
        })
    }

    fn reader(&self) -> LedgerReader {
        LedgerReader::open(&self.world, keys(), &House::options().dir).unwrap()
    }
}

fn hq() -> PrimaryId {
    PrimaryId("hq".into())
}

fn order(number: u64, plane: Plane, from: State, to: State, scope: Scope, event: Option<u64>) -> Order {
    let pause = |state: State| matches!(state, State::Suspect | State::Active);
    let (on, off) = match (plane, pause(from), pause(to)) {
        (Plane::Inbound, false, true) => (vec![OrderKind::PauseDeliveries], vec![]),
        (Plane::Inbound, true, false) => (vec![], vec![OrderKind::PauseDeliveries]),
        _ => (vec![], vec![]),
    };
    Order {
        number: OrderNumber(number),
        at: Time::from_seconds(1_795_343_827 + number as i64),
        primary: hq(),
        plane,
        from,
        to,
        on,
        off,
        scope,
        event: event.map(EventId),
        by: "watch".into(),
        why: "test".into(),
        began: None,
        until: None,
        answers: None,
    }
}

fn anna() -> AccountId {
    AccountId::new("anna@example.org")
}

fn bob() -> AccountId {
    AccountId::new("bob@example.org")
}

fn observation(at: Time, n: u64) -> Entry {
    Entry::Observation(Observation {
        primary: hq(),
        plane: Plane::Inbound,
        vantage: "node-1".into(),
        at,
        evidence: Evidence::Probe,
        finding: Finding::Up,
        micros: n,
        detail: "220 ready".into(),
        account: None,
    })
}

fn settlement(n: u8) -> Settlement {
    Settlement {
        trace: TraceId::new(Time::from_seconds(1), [n; 10]),
        recipient: Address::parse("anna@example.org").unwrap(),
        destination: Destination::Primary(hq()),
        outcome: Outcome::HandedOver { reply: Reply::new(250, (2, 0, 0), "queued") },
        at: Time::from_seconds(2),
        attempt: 1,
    }
}

#[test]
fn an_order_is_in_force_when_it_is_durable_and_after_a_restart() {
    let house = House::new(1);
    house.with(|ledger| async move {
        let mut orders = ledger.orders();
        assert!(!orders.borrow_and_update().paused(&hq(), None));
        let suspect = order(1, Plane::Inbound, State::Ready, State::Suspect, Scope::All, None);
        assert_eq!(ledger.append(Entry::Order(suspect)).await, Ok(1));
        assert!(orders.has_changed().unwrap());
        let now = orders.borrow_and_update().clone();
        assert!(now.paused(&hq(), None) && now.paused(&hq(), Some(&anna())));
        assert_eq!(now.state(&hq(), Plane::Inbound), State::Suspect);
        assert_eq!(now.next_order(), OrderNumber(2));
    });
    house.with(|ledger| async move {
        assert!(ledger.in_force().paused(&hq(), None));
        let ready = order(2, Plane::Inbound, State::Suspect, State::Ready, Scope::All, None);
        ledger.append(Entry::Order(ready)).await.unwrap();
        assert!(!ledger.in_force().paused(&hq(), None));
    });
    assert_eq!(house.reader().in_force().unwrap().0.last_order(), OrderNumber(2));
}

#[test]
fn what_is_said_of_an_account_wins_over_what_is_said_of_all() {
    let one = |account| Scope::Accounts(vec![account]);
    let steps: &[(bool, Scope, [bool; 3])] = &[
        // (switched on?, for whom, in force for: all, anna, bob)
        (true, one(anna()), [false, true, false]),
        (true, Scope::All, [true, true, true]),
        (false, one(bob()), [true, true, false]),
        (false, Scope::All, [false, true, false]),
        (true, Scope::All, [true, true, true]),
        (false, one(anna()), [true, true, true]),
        (false, one(anna()), [true, false, true]),
        (true, one(anna()), [true, true, true]),
        (false, one(anna()), [true, true, true]),
        (false, Scope::All, [false, false, false]),
        (false, one(bob()), [false, false, false]),
        (true, Scope::All, [true, true, true]),
    ];
    let mut in_force = InForce::default();
    for (number, (on, scope, expected)) in steps.iter().enumerate() {
        let (from, to) = if *on { (State::Ready, State::Active) } else { (State::Active, State::Ready) };
        in_force.obey(&order(number as u64 + 1, Plane::Inbound, from, to, scope.clone(), None));
        let found = [
            in_force.paused(&hq(), None),
            in_force.paused(&hq(), Some(&anna())),
            in_force.paused(&hq(), Some(&bob())),
        ];
        assert_eq!(&found, expected, "after step {}", number + 1);
    }
    assert!(!in_force.paused(&PrimaryId("branch".into()), None), "another primary is not touched");
}

#[test]
fn an_event_lasts_from_the_order_that_opens_it_until_every_plane_is_ready() {
    let mut in_force = InForce::default();
    let all = || Scope::All;
    in_force.obey(&order(1, Plane::Inbound, State::Ready, State::Suspect, all(), None));
    assert_eq!(in_force.open_event(&hq()), None);
    in_force.obey(&order(2, Plane::Inbound, State::Suspect, State::Active, all(), Some(1)));
    in_force.obey(&order(3, Plane::Access, State::Ready, State::Active, all(), Some(1)));
    in_force.obey(&order(4, Plane::Inbound, State::Active, State::Returning, all(), Some(1)));
    in_force.obey(&order(5, Plane::Inbound, State::Returning, State::Ready, all(), Some(1)));
    let event = in_force.open_event(&hq()).unwrap();
    assert_eq!((event.opened_by, event.returned_by), (OrderNumber(2), Some(OrderNumber(4))));
    in_force.obey(&order(6, Plane::Access, State::Active, State::Returning, all(), Some(1)));
    in_force.obey(&order(7, Plane::Access, State::Returning, State::Ready, all(), Some(1)));
    assert_eq!(in_force.open_event(&hq()), None);
    let event = in_force.event(EventId(1)).unwrap();
    assert_eq!(event.closed_by, Some(OrderNumber(7)));
    assert_eq!(event.planes, [Plane::Inbound, Plane::Access]);
    assert_eq!(in_force.next_event(), EventId(2));
}

#[test]
fn one_person_can_be_failed_over_alone() {
    let mut in_force = InForce::default();
    let scope = Scope::Accounts(vec![anna()]);
    in_force.obey(&order(1, Plane::Inbound, State::Ready, State::Active, scope.clone(), Some(1)));
    assert_eq!(in_force.state(&hq(), Plane::Inbound), State::Ready);
    assert_eq!(in_force.state_for(&hq(), Plane::Inbound, &anna()), State::Active);
    assert_eq!(in_force.state_for(&hq(), Plane::Inbound, &bob()), State::Ready);
    assert!(in_force.open_event(&hq()).is_some());
    in_force.obey(&order(2, Plane::Inbound, State::Active, State::Ready, scope, Some(1)));
    assert_eq!(in_force.state_for(&hq(), Plane::Inbound, &anna()), State::Ready);
    assert!(in_force.open_event(&hq()).is_none() && in_force.unready().is_empty());
}

#[test]
fn a_request_waits_until_an_order_answers_it() {
    let house = House::new(2);
    let request = |kind| {
        Entry::Request(Request {
            at: Time::from_seconds(5),
            by: "anna".into(),
            reason: "a drill".into(),
            primary: hq(),
            planes: vec![],
            scope: Scope::All,
            kind,
        })
    };
    house.with(|ledger| async move {
        let seq = ledger.append(request(RequestKind::Failover)).await.unwrap();
        ledger.append(request(RequestKind::NoticeTest)).await.unwrap();
        assert_eq!(ledger.in_force().waiting_requests().keys().copied().collect::<Vec<u64>>(), [seq]);
        let mut answer = order(1, Plane::Inbound, State::Ready, State::Active, Scope::All, Some(1));
        ledger.append(Entry::Order(answer.clone())).await.unwrap();
        assert_eq!(ledger.in_force().waiting_requests().len(), 1, "only the last order of an answer ends it");
        answer.answers = Some(seq);
        ledger.append(Entry::Order(answer)).await.unwrap();
        assert!(ledger.in_force().waiting_requests().is_empty());
    });
}

#[test]
fn observations_of_a_range_of_time_are_found_again() {
    let house = House::new(3);
    let begin = house.world.clock.now();
    for day in 0..20u64 {
        let clock = house.clock.clone();
        house.with(|ledger| async move {
            for hour in 0..24 {
                ledger.note(observation(clock.now(), day * 24 + hour));
                tokio::time::sleep(Duration::from_millis(60)).await;
                clock.advance(Duration::from_secs(3_600));
            }
        });
    }
    let day = |n: u64| begin.after(Duration::from_secs(n * 86_400));
    let found: Vec<u64> = house
        .reader()
        .between(day(7), day(9))
        .unwrap()
        .filter_map(|entered| match entered.unwrap().entry {
            Entry::Observation(observation) => Some(observation.micros),
            _ => None,
        })
        .collect();
    assert_eq!(found, (7 * 24..9 * 24).collect::<Vec<u64>>());
}

#[test]
fn delivery_reads_settlements_without_reading_observations() {
    let house = House::new(4);
    house.with(|ledger| async move {
        for n in 0..50 {
            ledger.note(observation(Time::from_seconds(1), u64::from(n)));
            ledger.append(Entry::Settlement(settlement(n))).await.unwrap();
        }
        let all: Vec<Settlement> = ledger.reader().settlements(None).collect();
        assert_eq!(all, (0..50).map(settlement).collect::<Vec<Settlement>>());
    });
    assert_eq!(house.reader().scan(None).count(), 100);
}

#[test]
fn a_checkpoint_and_the_orders_after_it_give_the_same_as_all_orders() {
    let house = House::new(5);
    for round in 0..6u64 {
        house.with(|ledger| async move {
            for step in 0..40 {
                let number = round * 40 + step + 1;
                let scope = match number % 3 {
                    0 => Scope::All,
                    1 => Scope::Accounts(vec![anna()]),
                    _ => Scope::Accounts(vec![bob(), anna()]),
                };
                let states = [State::Ready, State::Suspect, State::Active, State::Returning];
                let (from, to) = (states[(number % 4) as usize], states[(number * 7 / 2 % 4) as usize]);
                let event = (to == State::Active).then_some(number / 10);
                let plane = Plane::ALL[(number % 5) as usize];
                let order = order(number, plane, from, to, scope, event);
                ledger.append(Entry::Order(order)).await.unwrap();
                ledger.note(observation(Time::from_seconds(1), number));
            }
        });
        let reader = house.reader();
        let mut from_all = InForce::default();
        reader.advance(&mut from_all, Position::default()).unwrap();
        let (derived, _) = reader.in_force().unwrap();
        assert_eq!(derived, from_all);
    }
    let checkpoints = house.reader().log_reader().scan(None).of_kinds(&[kind::CHECKPOINT]).count();
    assert!(checkpoints >= 5, "{checkpoints} checkpoints");
}

#[test]
fn old_observations_are_collected_and_nothing_else() {
    let house = House::new(6);
    let before = house.world.clock.now();
    for _ in 0..3 {
        house.with(|ledger| async move {
            for n in 0..30 {
                ledger.note(observation(Time::from_seconds(1), n));
                let number = ledger.in_force().next_order().0;
                let states = [State::Ready, State::Suspect, State::Ready];
                let (from, to) = (states[(number % 2) as usize], states[(number % 2 + 1) as usize]);
                let order = order(number, Plane::Inbound, from, to, Scope::All, None);
                ledger.append(Entry::Order(order)).await.unwrap();
                ledger.append(Entry::Settlement(settlement(n as u8))).await.unwrap();
            }
        });
    }
    let in_force = house.reader().in_force().unwrap().0;
    let (ledger, _writer, _) = Ledger::open(&house.world, keys(), House::options()).unwrap();
    assert_eq!(ledger.collect(before.before(Duration::from_secs(86_400))).unwrap().records, 0);
    let collected = ledger.collect(before.after(Duration::from_secs(1))).unwrap().records;
    assert!(collected >= 90, "{collected}");
    let left: Vec<Entry> = ledger.scan(None).map(|entered| entered.unwrap().entry).collect();
    assert_eq!(left.len(), 180);
    assert!(!left.iter().any(|entry| matches!(entry, Entry::Observation(_))));
    assert_eq!(house.reader().in_force().unwrap().0, in_force);
    assert!(house.reader().log_reader().verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_disk_that_reads_no_more_ends_a_scan_of_settlements() {
    let disk = FaultDisk::new(3);
    let world = fault_world(&disk, &Arc::new(TestClock::new(Time::from_seconds(1))), 3);
    let house = House { clock: Arc::new(TestClock::new(Time::from_seconds(1))), world };
    house.with(|ledger| async move {
        let settlement = Settlement {
            trace: TraceId::new(Time::from_seconds(1), [1; 10]),
            recipient: Address::parse("anna@company.example").unwrap(),
            destination: Destination::Mailbox,
            outcome: Outcome::Unknown,
            at: Time::from_seconds(1),
            attempt: 1,
        };
        ledger.append(Entry::Settlement(settlement)).await.unwrap();
        assert_eq!(ledger.reader().settlements(None).count(), 1);
        disk.power_off();
        assert_eq!(ledger.reader().settlements(None).count(), 0, "and does not go on for ever");
    });
}
