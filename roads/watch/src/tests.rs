//! A watch over a ledger on a disk in memory, primaries that are up or down as the test says, and time that passes
//! only when all sleep.

use crate::*;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use stores_ledger::{InForce, KeyRing, LogOptions};
use stores_log::{FaultDisk, LogKind, TestClock, fault_world};
use tokio::time::sleep;
use words_mail::{AccountId, EventId, Mode, OrderKind, RequestKind};
use words_world::Boxed;

/// The wall clock runs with the test's time, and can be set.
struct Wall {
    began: Instant,
    ahead: Mutex<i64>,
}

impl words_world::Clock for Wall {
    fn now(&self) -> Time {
        let ahead = *self.ahead.lock().unwrap();
        Time(Time::from_seconds(1_795_343_827 + ahead).0 + self.began.elapsed().as_micros() as i64)
    }
}

#[derive(Default)]
struct Primary {
    down: AtomicBool,
    silent: AtomicBool,
    looks: AtomicU64,
}

struct Look(Arc<Primary>, Vec<Plane>);

impl Probe for Look {
    fn look(&self) -> Boxed<'_, Vec<Seen>> {
        Box::pin(async {
            self.0.looks.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(3)).await;
            if self.0.silent.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let down = self.0.down.load(Ordering::Relaxed);
            let finding = if down { Finding::Down } else { Finding::Up };
            let seen =
                |plane: &Plane| Seen { plane: *plane, finding, micros: 3_000, detail: "said\r\nso".into() };
            self.1.iter().map(seen).collect()
        })
    }

    fn planes(&self) -> Vec<Plane> {
        self.1.clone()
    }
}

/// What the tests say is given back.
#[derive(Default)]
struct Books(AtomicBool, Mutex<Option<String>>);

impl Owed for Books {
    fn given_back(&self, _: &PrimaryId, _: Plane, _: Option<&AccountId>, event: EventId) -> bool {
        assert_ne!(event, EventId(0), "something is returned that belongs to no event");
        self.0.load(Ordering::Relaxed)
    }

    fn listed(&self, _: &PrimaryId, _: EventId) -> Option<String> {
        self.1.lock().unwrap().clone()
    }
}

/// One computer: a disk that survives, and what stands outside.
struct House {
    world: World,
    wall: Arc<Wall>,
    disk: FaultDisk,
    primary: Arc<Primary>,
    books: Arc<Books>,
    settings: Settings,
}

/// One run of the program in it.
struct Run {
    ledger: Ledger,
    live: mpsc::Sender<Observation>,
}

fn hq() -> PrimaryId {
    PrimaryId("hq".into())
}

impl House {
    fn new() -> House {
        let disk = FaultDisk::new(7);
        let mut world = fault_world(&disk, &Arc::new(TestClock::new(Time(0))), 7);
        let wall = Arc::new(Wall { began: Instant::now(), ahead: Mutex::new(0) });
        world.clock = wall.clone();
        let books = Arc::new(Books(AtomicBool::new(true), Mutex::default()));
        House { world, wall, disk, primary: Arc::default(), books, settings: Settings::default() }
    }

    /// Runs the program while `act` goes on, then kills it.
    async fn run<T>(&self, act: impl AsyncFnOnce(Run) -> T) -> T {
        let mut options = LogOptions::new("/ledger", LogKind::Ledger, "node-1");
        options.reserve_bytes = 0;
        let (ledger, writer, _) = Ledger::open(&self.world, KeyRing::new([9; 32], &[]), options).unwrap();
        let (live, heard) = mpsc::channel(1_000);
        let probe =
            |planes: &[Plane]| -> Arc<dyn Probe> { Arc::new(Look(self.primary.clone(), planes.to_vec())) };
        let watch_road = Watch {
            world: self.world.clone(),
            ledger: ledger.clone(),
            node: "node-1".into(),
            watched: vec![Watched {
                id: hq(),
                settings: self.settings.clone(),
                probes: vec![probe(&[Plane::Inbound]), probe(&[Plane::Access, Plane::SignIn])],
                probe_limit: Duration::from_secs(5),
                canaries: vec![],
            }],
            live: heard,
            owed: self.books.clone(),
        };
        let (_stop, shutdown) = watch::channel(false);
        tokio::select! {
            biased;
            result = act(Run { ledger, live }) => result,
            () = watch_road.run(shutdown.clone()) => panic!("the watch ended"),
            () = writer.run(shutdown) => panic!("the writer ended"),
        }
    }
}

impl Run {
    async fn ask(&self, house: &House, kind: RequestKind, scope: Scope) {
        let request = Request {
            at: house.world.clock.now(),
            by: "anna".into(),
            reason: "because".into(),
            primary: hq(),
            planes: vec![],
            scope,
            kind,
        };
        self.ledger.append(Entry::Request(request)).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }

    fn state(&self, plane: Plane) -> State {
        self.ledger.in_force().state(&hq(), plane)
    }

    fn orders(&self) -> Vec<Order> {
        let entries = self.ledger.reader().scan_orders(None).map(|e| e.unwrap().entry);
        entries.filter_map(|entry| if let Entry::Order(order) = entry { Some(order) } else { None }).collect()
    }

    fn steps(&self, plane: Plane) -> Vec<State> {
        let all = self.orders().into_iter().filter(|o| o.scope == Scope::All && o.plane == plane);
        all.map(|o| o.to).collect()
    }

    fn observations(&self) -> Vec<Observation> {
        let entries = self.ledger.reader().scan_observations(None).map(|e| e.unwrap().entry);
        entries.filter_map(|e| if let Entry::Observation(o) = e { Some(o) } else { None }).collect()
    }
}

async fn seconds(n: f64) {
    sleep(Duration::from_secs_f64(n)).await;
}

/// The ledger's own summary agrees with the orders it was made from, and no order repeats a number.
fn check(run: &Run) -> Arc<InForce> {
    let orders = run.orders();
    let numbers: BTreeSet<u64> = orders.iter().map(|o| o.number.0).collect();
    assert_eq!(numbers.len(), orders.len(), "an order's number is its own");
    assert!(orders.is_sorted_by_key(|o| o.number), "orders stand in the order of their numbers");
    run.ledger.in_force()
}

#[tokio::test(start_paused = true)]
async fn a_killed_primary_is_in_doubt_within_five_seconds_then_down_then_given_back() {
    let house = House::new();
    house
        .run(async |run| {
            seconds(31.3).await;
            assert!(check(&run).unready().is_empty());
            house.primary.down.store(true, Ordering::Relaxed);
            house.books.0.store(false, Ordering::Relaxed);
            seconds(5.0).await;
            for plane in [Plane::Inbound, Plane::Access, Plane::SignIn] {
                assert_eq!(run.state(plane), State::Suspect, "{plane}");
            }
            let in_force = check(&run);
            assert!(in_force.paused(&hq(), None) && in_force.open_event(&hq()).is_none());
            assert!(in_force.on(OrderKind::CapturedSignIn, &hq(), None));
            seconds(121.0).await;
            let event = check(&run).open_event(&hq()).cloned().unwrap();
            assert_eq!((run.state(Plane::Inbound), event.id), (State::Active, EventId(1)));
            assert!(
                event.opened.since(event.began) >= Duration::from_secs(120),
                "it began with the first failure"
            );
            seconds(600.0).await;
            house.primary.down.store(false, Ordering::Relaxed);
            seconds(34.0).await;
            assert_eq!(run.state(Plane::Inbound), State::Returning);
            assert!(!check(&run).paused(&hq(), None));
            seconds(100.0).await;
            assert_eq!(run.state(Plane::Inbound), State::Returning, "something is still owed");
            house.books.0.store(true, Ordering::Relaxed);
            seconds(2.0).await;
            let in_force = check(&run);
            assert!(in_force.unready().is_empty() && in_force.open_event(&hq()).is_none());
            let event = in_force.event(EventId(1)).unwrap();
            assert_eq!(event.planes, [Plane::Inbound, Plane::Access, Plane::SignIn]);
            assert_eq!(event.closed_by, run.orders().last().map(|o| o.number));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn failback_asked_while_it_is_down_is_refused_with_what_was_seen_and_flips_nothing() {
    let house = House::new();
    house
        .run(async |run| {
            house.primary.down.store(true, Ordering::Relaxed);
            seconds(200.0).await;
            let before = run.orders().len();
            run.ask(&house, RequestKind::Failback, Scope::All).await;
            seconds(600.0).await;
            let said = run.orders().split_off(before);
            assert_eq!(said.len(), 3, "one answer for each plane that is down, and nothing flips: {said:?}");
            for order in said {
                assert_eq!((order.from, order.to), (State::Active, State::Active));
                assert!(order.why.contains("not possible while it is down"), "{}", order.why);
                assert!(order.why.contains("last seen there: said\\r\\nso (anna: because)"), "{}", order.why);
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_person_must_look_at_stands_in_the_order_that_closes_the_event() {
    let house = House::new();
    *house.books.1.lock().unwrap() = Some("2 doubled".to_owned());
    house
        .run(async |run| {
            house.primary.down.store(true, Ordering::Relaxed);
            seconds(200.0).await;
            house.primary.down.store(false, Ordering::Relaxed);
            seconds(60.0).await;
            assert!(check(&run).unready().is_empty());
            let last = run.orders().pop().unwrap();
            assert!(last.to == State::Ready && last.why.ends_with(": 2 doubled"), "{last:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_says_nothing_is_down_too() {
    let house = House::new();
    house
        .run(async |run| {
            seconds(30.0).await;
            house.primary.silent.store(true, Ordering::Relaxed);
            seconds(16.0).await;
            assert_eq!(run.state(Plane::Inbound), State::Suspect);
            assert!(run.observations().iter().any(|o| o.detail.contains("no answer within 5 s")));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn twenty_ordinary_restarts_open_no_event() {
    let house = House::new();
    house
        .run(async |run| {
            for _ in 0..20 {
                house.primary.down.store(true, Ordering::Relaxed);
                seconds(3.7).await;
                house.primary.down.store(false, Ordering::Relaxed);
                seconds(16.0).await;
            }
            seconds(60.0).await;
            assert!(check(&run).events().is_empty());
            assert_eq!(run.state(Plane::Inbound), State::Ready);
            assert!(run.orders().iter().all(|o| o.event.is_none()));
            assert!(run.orders().len() <= 20 * 3 * 2);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn real_mail_that_fails_wakes_the_probes() {
    let mut house = House::new();
    house.settings.probe_every = Duration::from_secs(60);
    house
        .run(async |run| {
            seconds(61.0).await;
            house.primary.down.store(true, Ordering::Relaxed);
            let before = house.primary.looks.load(Ordering::Relaxed);
            let failure = Observation {
                primary: hq(),
                plane: Plane::Inbound,
                vantage: "node-1".into(),
                at: house.world.clock.now(),
                evidence: Evidence::Live,
                finding: Finding::Down,
                micros: 10,
                detail: "connection refused".into(),
                account: None,
            };
            run.live.send(failure).await.unwrap();
            seconds(1.0).await;
            assert!(house.primary.looks.load(Ordering::Relaxed) > before);
            assert_eq!(run.state(Plane::Inbound), State::Suspect);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_it_goes_on_where_the_ledger_says() {
    let house = House::new();
    let primary = &house.primary;
    // Down at 20 s, back at 400 s; killed every 37 s all the while.
    for round in 0..20u32 {
        house
            .run(async |run| {
                for second in 0..37 {
                    let at = round * 37 + second;
                    primary.down.store((20..400).contains(&at), Ordering::Relaxed);
                    seconds(1.0).await;
                }
                check(&run);
            })
            .await;
        house.disk.kill_process();
    }
    house
        .run(async |run| {
            seconds(5.0).await;
            let steps = [State::Suspect, State::Active, State::Returning, State::Ready];
            for plane in [Plane::Inbound, Plane::Access, Plane::SignIn] {
                assert_eq!(run.steps(plane), steps, "{plane}");
            }
            assert_eq!(check(&run).events().len(), 1);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_pin_and_its_end_outlive_a_restart() {
    let house = House::new();
    let until = house.world.clock.now().after(Duration::from_secs(1_000));
    house
        .run(async |run| {
            run.ask(&house, RequestKind::Pin { until: Some(until) }, Scope::All).await;
            assert_eq!(run.state(Plane::Outbound), State::Pinned);
            assert!(check(&run).waiting_requests().is_empty(), "the request is answered");
        })
        .await;
    house.disk.kill_process();
    house
        .run(async |run| {
            house.primary.down.store(true, Ordering::Relaxed);
            seconds(500.0).await;
            assert_eq!(run.state(Plane::Inbound), State::Pinned, "whatever is observed");
            house.primary.down.store(false, Ordering::Relaxed);
            seconds(510.0).await;
            assert_eq!(run.steps(Plane::Inbound), [State::Pinned, State::Returning, State::Ready]);
            // Nobody measures the way out here; whoever pinned it vouched for the end of the pin.
            assert_eq!(run.state(Plane::Outbound), State::Ready);
            assert!(check(&run).unready().is_empty() && check(&run).open_event(&hq()).is_none());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn one_person_can_have_an_event_of_her_own() {
    let house = House::new();
    let anna = AccountId::new("anna@example.org");
    let only = Scope::Accounts(vec![anna.clone()]);
    house
        .run(async |run| {
            seconds(10.0).await;
            run.ask(&house, RequestKind::Failover, only.clone()).await;
            let in_force = check(&run);
            assert!(in_force.paused(&hq(), Some(&anna)) && !in_force.paused(&hq(), None));
            assert_eq!(in_force.state_for(&hq(), Plane::Inbound, &anna), State::Active);
            assert_eq!(run.state(Plane::Inbound), State::Ready);
        })
        .await;
    house.disk.kill_process();
    house
        .run(async |run| {
            seconds(300.0).await;
            assert!(check(&run).paused(&hq(), Some(&anna)), "a person opened it, a person ends it");
            run.ask(&house, RequestKind::Failback, only.clone()).await;
            let in_force = check(&run);
            assert!(!in_force.paused(&hq(), Some(&anna)) && in_force.unready().is_empty());
            assert!(in_force.open_event(&hq()).is_none());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn every_request_is_answered_once_if_only_by_saying_that_nothing_changed() {
    let house = House::new();
    house
        .run(async |run| {
            seconds(5.0).await;
            run.ask(&house, RequestKind::Failback, Scope::All).await;
            run.ask(&house, RequestKind::Unpin, Scope::All).await;
            let mut elsewhere = Request {
                at: house.world.clock.now(),
                by: "anna\n".into(),
                reason: String::new(),
                primary: PrimaryId("nowhere".into()),
                planes: vec![],
                scope: Scope::All,
                kind: RequestKind::Failover,
            };
            run.ledger.append(Entry::Request(elsewhere.clone())).await.unwrap();
            elsewhere.primary = hq();
            elsewhere.at = elsewhere.at.before(Duration::from_secs(7_200));
            run.ledger.append(Entry::Request(elsewhere)).await.unwrap();
            seconds(1.0).await;
            let in_force = check(&run);
            assert!(in_force.waiting_requests().is_empty() && in_force.unready().is_empty());
            let orders = run.orders();
            assert_eq!(orders.len(), 4);
            assert!(
                orders
                    .iter()
                    .all(|o| o.answers.is_some() && o.from == o.to && o.why.contains("nothing changed")
                        || o.why.contains("nothing new")),
                "{orders:?}"
            );
            assert!(orders.iter().all(|o| !o.by.contains('\n')));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn in_confirm_mode_a_person_is_asked_once_and_maintenance_asks_nobody() {
    let mut house = House::new();
    house.settings.mode = Mode::Confirm;
    house
        .run(async |run| {
            let until = house.world.clock.now().after(Duration::from_secs(600));
            run.ask(&house, RequestKind::Maintenance { until }, Scope::All).await;
            house.primary.down.store(true, Ordering::Relaxed);
            seconds(590.0).await;
            let asked = |run: &Run| {
                run.orders().iter().filter(|o| o.from == State::Suspect && o.to == State::Suspect).count()
            };
            assert_eq!(asked(&run), 0);
            seconds(400.0).await;
            assert_eq!((asked(&run), run.state(Plane::Inbound)), (3, State::Suspect), "once for each plane");
            run.ask(&house, RequestKind::Failover, Scope::All).await;
            assert_eq!(run.state(Plane::Inbound), State::Active);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_be_written_switches_nothing_and_is_decided_anew() {
    let house = House::new();
    house
        .run(async |run| {
            seconds(20.0).await;
            house.disk.set_capacity(Some(house.disk.used() + 100));
            house.primary.down.store(true, Ordering::Relaxed);
            seconds(30.0).await;
            assert!(run.orders().is_empty() && run.ledger.in_force().unready().is_empty());
            house.disk.set_capacity(None);
            seconds(30.0).await;
            assert_eq!(run.steps(Plane::Inbound), [State::Suspect]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn peace_is_written_down_sparingly_and_failures_as_they_are() {
    let house = House::new();
    house
        .run(async |run| {
            seconds(600.0).await;
            let peace = run.observations().len();
            assert!((170..=190).contains(&peace), "{peace} observations of three planes in ten minutes");
            house.primary.down.store(true, Ordering::Relaxed);
            seconds(60.0).await;
            let failures: Vec<_> =
                run.observations().into_iter().filter(|o| o.finding == Finding::Down).collect();
            assert!(failures.len() >= 75, "{} failures", failures.len());
            // The record says to the observation when it was last seen well, although peace is thinned.
            let (all, first) = (run.observations(), failures[0].at);
            let last_up = all.iter().filter(|o| o.finding == Finding::Up && o.at < first).map(|o| o.at).max();
            let gap = first.since(last_up.unwrap());
            assert!(gap < Duration::from_millis(2_500), "probes look every two seconds: {gap:?}");
            assert!(failures.iter().all(|o| !o.detail.contains('\r')), "what came from outside is escaped");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_opens_and_closes_nothing() {
    let house = House::new();
    house
        .run(async |run| {
            seconds(10.0).await;
            for jump in [3_600, -7_200, 40_000_000, -40_000_000] {
                *house.wall.ahead.lock().unwrap() += jump;
                seconds(5.0).await;
            }
            assert!(run.orders().is_empty());
            house.primary.down.store(true, Ordering::Relaxed);
            seconds(5.0).await;
            *house.wall.ahead.lock().unwrap() += 40_000_000;
            seconds(60.0).await;
            assert_eq!(run.state(Plane::Inbound), State::Suspect, "the dwell is not over");
        })
        .await;
}

#[derive(Default)]
struct Bird {
    swallowed: AtomicBool,
    unreadable: AtomicBool,
    flying: Mutex<BTreeSet<String>>,
}

impl Canary for Bird {
    fn send<'a>(&'a self, mark: &'a str) -> Boxed<'a, Result<(), String>> {
        Box::pin(async move {
            self.flying.lock().unwrap().insert(mark.to_owned());
            Ok(())
        })
    }

    fn take<'a>(&'a self, mark: &'a str) -> Boxed<'a, Result<bool, String>> {
        Box::pin(async move {
            if self.unreadable.load(Ordering::Relaxed) {
                return Err("no IMAP".into());
            }
            Ok(!self.swallowed.load(Ordering::Relaxed) && self.flying.lock().unwrap().remove(mark))
        })
    }

    fn plane(&self) -> Plane {
        Plane::Inbound
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_one_at_a_time_and_expires() {
    let house = House::new();
    let (out, mut seen) = mpsc::channel(100);
    let eye = Eye { world: house.world.clone(), primary: hq(), vantage: "n".into(), out };
    let bird = Arc::new(Bird::default());
    let life = async {
        seconds(250.0).await;
        bird.unreadable.store(true, Ordering::Relaxed);
        seconds(300.0).await;
        bird.unreadable.store(false, Ordering::Relaxed);
        bird.swallowed.store(true, Ordering::Relaxed);
        seconds(200.0).await;
    };
    let (every, patience) = (Duration::from_secs(100), Duration::from_secs(40));
    tokio::select! {
        () = life => {}
        () = eye.canary(bird.clone(), every, patience) => panic!("it ended"),
    }
    let mut found = Vec::new();
    while let Ok(observation) = seen.try_recv() {
        found.push(observation.finding);
    }
    assert_eq!(found, [Finding::Up, Finding::Up, Finding::Up, Finding::Down, Finding::Down]);
}

#[test]
fn what_an_imap_dialogue_tells_is_told_of_the_right_plane() {
    use stores_primary::imap::{Probe as Dialogue, Stage, Step};
    use stores_primary::store::StoreError as E;
    let told = |stage, failure: Option<E>| {
        let messages = failure.is_none().then_some(3);
        let seen = Dialogue { steps: vec![Step { stage, micros: 1, failure }], messages };
        crate::probe::told_by(&seen).into_iter().map(|s| (s.plane, s.finding)).collect::<Vec<_>>()
    };
    let both = |access, sign_in| vec![(Plane::Access, access), (Plane::SignIn, sign_in)];
    let (up, down) = (Finding::Up, Finding::Down);
    assert_eq!(told(Stage::Select, None), both(up, up));
    for stage in [Stage::Names, Stage::Connect, Stage::Greeting, Stage::Tls, Stage::SignIn] {
        assert_eq!(told(stage, Some(E::NoAnswer("x".into()))), both(down, down), "{stage}");
    }
    assert_eq!(told(Stage::SignIn, Some(E::Unavailable("x".into()))), both(down, down));
    assert_eq!(told(Stage::Select, Some(E::Unavailable("x".into()))), both(down, up));
    assert_eq!(told(Stage::SignIn, Some(E::SignIn("x".into()))), vec![], "our own password may be wrong");
}

#[tokio::test(start_paused = true)]
async fn power_lost_at_any_step_of_an_order_leaves_no_switch_without_a_record() {
    for point in ["watch.order.decided", "watch.order.durable", "watch.order.obeyed"] {
        // Three planes change four times.
        for nth in 0..12u64 {
            let mut house = House::new();
            house.settings.dwell = Duration::from_secs(20);
            house.settings.return_dwell = Duration::from_secs(5);
            let (disk, passed) = (house.disk.clone(), Arc::new(AtomicU64::new(0)));
            words_world::on_crash_point(false, move |name| {
                if name == point && passed.fetch_add(1, Ordering::Relaxed) == nth {
                    disk.power_off();
                }
            });
            let until = async |end: u64| {
                house
                    .run(async |_| {
                        while house.wall.began.elapsed().as_secs() < end && !house.disk.is_off() {
                            let at = house.wall.began.elapsed().as_secs();
                            house.primary.down.store((10..50).contains(&at), Ordering::Relaxed);
                            seconds(1.0).await;
                        }
                    })
                    .await;
            };
            until(90).await;
            assert!(house.disk.is_off(), "{point} was not passed {nth} times");
            house.disk.restart();
            until(130).await;
            house.disk.restart();
            house
                .run(async |run| {
                    let steps = [State::Suspect, State::Active, State::Returning, State::Ready];
                    for plane in [Plane::Inbound, Plane::Access, Plane::SignIn] {
                        assert_eq!(run.steps(plane), steps, "{plane}, {point} {nth}");
                    }
                    let in_force = check(&run);
                    assert!(in_force.unready().is_empty() && in_force.open_event(&hq()).is_none());
                    assert!(OrderKind::ALL.iter().all(|kind| !in_force.on(*kind, &hq(), None)));
                })
                .await;
        }
    }
    words_world::on_crash_point(false, |_| {});
}
