use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

#[derive(Default)]
struct Paused {
    all: bool,
    accounts: HashSet<AccountId>,
}

impl Orders for Paused {
    fn is_paused(&self, _: &PrimaryId, account: Option<&AccountId>) -> bool {
        self.all || account.is_some_and(|account| self.accounts.contains(account))
    }
}

fn free() -> Paused {
    Paused::default()
}

fn rules() -> Rules {
    Rules {
        in_flight_most: 64,
        primaries: BTreeMap::new(),
        relay: Pace::primary(),
        internet: Pace::internet(),
        mailbox: Pace::mailbox(),
        wedges_most: 3,
        ask_after: Duration::from_secs(1),
    }
}

fn middle(below: u64) -> u64 {
    below / 2
}

fn lane() -> LaneName {
    LaneName::Primary(PrimaryId("p".into()))
}

fn key(n: u64, index: u32) -> Key {
    Key { position: Position { segment: 1, offset: n }, way: Way::Onward, index }
}

fn add(queue: &mut Queue, n: u64, people: &[&str], fresh: bool) {
    let items = people
        .iter()
        .enumerate()
        .map(|(index, person)| {
            let recipient = Address::parse(&format!("{person}@x.example")).unwrap();
            NewItem {
                key: key(n, index as u32),
                account: Some(AccountId::new(&recipient.to_string())),
                recipient,
                destination: Destination::Primary(PrimaryId("p".into())),
                lane: lane(),
                number: 0,
                unknowns: 0,
                fresh,
                delay_told: false,
            }
        })
        .collect();
    let trace = TraceId::new(Time::from_seconds(n as i64), [n as u8; 10]);
    queue.add((trace, Time::from_seconds(n as i64), 100, Sender::NOBODY), items, Instant::now());
}

fn numbers(job: &Job) -> (u64, Vec<u32>) {
    (job.position.offset, job.items.iter().map(|item| item.key.index).collect())
}

fn yes() -> Turn {
    Turn::Final(Outcome::HandedOver { reply: Reply::new(250, (2, 0, 0), "ok") })
}

fn person_later() -> Turn {
    Turn::Person { words: "452 4.2.2 full".into(), quota: true }
}

fn place_down(wedge: bool) -> Turn {
    Turn::Place { words: "connection refused".into(), wedge }
}

/// Hands a whole job its turn, and settles what is to be settled.
fn play(queue: &mut Queue, job: &Job, turn: &Turn) -> Vec<Outcome> {
    queue.landed(job);
    let now = Instant::now();
    let mut settled = Vec::new();
    for item in &job.items {
        queue.attempted(item.key, item.number);
        if let Next::Settle(outcome) = queue.turn(item.key, turn.clone(), now, &mut middle) {
            queue.settled(item.key, now);
            settled.push(outcome);
        }
    }
    check(queue);
    settled
}

/// Runs everything that may run, in order, telling each job the same.
fn drain(queue: &mut Queue, orders: &Paused, turn: &Turn) -> Vec<(u64, Vec<u32>)> {
    let mut jobs = Vec::new();
    while let Some(job) = queue.pick(Instant::now(), orders) {
        jobs.push(numbers(&job));
        play(queue, &job, turn);
        assert!(jobs.len() < 10_000);
    }
    jobs
}

/// Every item stands in exactly the place its state names, and nothing stands anywhere without an item.
fn check(queue: &Queue) {
    let mut counted = 0;
    for (name, lane) in &queue.lanes {
        for key in lane.fresh.iter() {
            assert_eq!(queue.items[key].state, State::Ready { fresh: true });
        }
        for key in lane.backlog.iter() {
            assert_eq!(queue.items[key].state, State::Ready { fresh: false });
        }
        for key in lane.paused.iter() {
            assert_eq!(queue.items[key].state, State::Paused);
        }
        for key in lane.stopped.iter() {
            assert_eq!(queue.items[key].state, State::Stopped);
        }
        for (at, key) in lane.later.iter() {
            assert_eq!(queue.items[key].state, State::Later(*at));
            assert!(queue.alarms.contains(&(*at, Alarm::Later(*key))));
        }
        let held: usize = lane.persons.values().map(|person| person.held.len()).sum();
        for person in lane.persons.values() {
            assert!(person.held.iter().all(|key| queue.items[key].state == State::Held));
            if let Some(trying) = person.trying {
                assert!(queue.items.contains_key(&trying), "a person waits for mail that is gone");
            } else {
                let comes = queue.lane_alarms.values().any(|names| names.contains(name));
                assert!(comes || person.held.is_empty(), "nobody will wake the person");
            }
        }
        counted += lane.fresh.len() + lane.backlog.len() + lane.paused.len() + lane.stopped.len();
        counted += lane.later.len() + held;
        let may_go = !lane.fresh.is_empty() || !lane.backlog.is_empty();
        let comes = queue.called.contains(name)
            || lane.in_flight > 0
            || lane.halted
            || queue.lane_alarms.values().any(|names| names.contains(name));
        assert!(!may_go || comes, "{name} was forgotten: {lane:?}");
    }
    let elsewhere = queue
        .items
        .values()
        .filter(|item| matches!(item.state, State::InFlight | State::Settling | State::Doubtful { .. }))
        .count();
    assert_eq!(counted + elsewhere, queue.items.len());
    let doubtful = queue.items.values().filter(|item| matches!(item.state, State::Doubtful { .. })).count();
    let alarmed = queue.alarms.iter().filter(|(_, alarm)| matches!(alarm, Alarm::Doubt(_))).count();
    assert_eq!(doubtful, alarmed);
    let open: u32 = queue.mails.values().map(|mail| mail.open).sum();
    assert_eq!(open as usize, queue.items.len());
    assert_eq!(queue.bytes, queue.mails.values().map(|mail| mail.size).sum::<u64>());
    assert_eq!(queue.called.len(), queue.ready.len());
}

#[tokio::test(start_paused = true)]
async fn recipients_of_one_message_go_in_one_transaction_oldest_message_first() {
    let mut queue = Queue::new(rules());
    add(&mut queue, 2, &["a"], true);
    add(&mut queue, 1, &["a", "b", "c"], true);
    assert_eq!(drain(&mut queue, &free(), &yes()), [(1, vec![0, 1, 2]), (2, vec![0])]);
    assert_eq!((queue.len(), queue.bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn new_mail_goes_first_and_the_backlog_still_gets_its_turn() {
    let mut queue = Queue::new(rules());
    (1..=20).for_each(|n| add(&mut queue, n, &["a"], false));
    (101..=120).for_each(|n| add(&mut queue, n, &["b"], true));
    let order: Vec<u64> = drain(&mut queue, &free(), &yes()).into_iter().map(|(n, _)| n).collect();
    assert_eq!(&order[..9], [101, 102, 103, 104, 105, 106, 107, 1, 108]);
    let old: Vec<u64> = order.iter().copied().filter(|n| *n < 100).collect();
    assert!(old.is_sorted(), "the backlog goes oldest first: {old:?}");
}

#[tokio::test(start_paused = true)]
async fn while_paused_nothing_goes_and_afterwards_everything_at_once() {
    let mut queue = Queue::new(rules());
    let paused = Paused { all: true, ..Paused::default() };
    queue.orders_changed(&paused, Instant::now());
    (1..=3).for_each(|n| add(&mut queue, n, &["a"], true));
    assert!(drain(&mut queue, &paused, &yes()).is_empty());
    queue.orders_changed(&paused, Instant::now());
    assert!(drain(&mut queue, &paused, &yes()).is_empty());
    add(&mut queue, 4, &["b"], true);
    queue.orders_changed(&free(), Instant::now());
    assert_eq!(drain(&mut queue, &free(), &yes()).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_account_may_be_paused_alone() {
    let mut queue = Queue::new(rules());
    let mut paused = Paused::default();
    paused.accounts.insert(AccountId::new("a@x.example"));
    add(&mut queue, 1, &["a", "b"], true);
    assert_eq!(drain(&mut queue, &paused, &yes()), [(1, vec![1])]);
    queue.orders_changed(&free(), Instant::now());
    assert_eq!(drain(&mut queue, &free(), &yes()), [(1, vec![0])]);
}

#[tokio::test(start_paused = true)]
async fn trouble_with_the_place_rests_it_and_one_delivery_wakes_all() {
    let mut queue = Queue::new(rules());
    (1..=50).for_each(|n| add(&mut queue, n, &["a"], true));
    let mut tried = 0;
    for expected in [1, 2, 4, 8, 16, 30, 30] {
        tried += drain(&mut queue, &free(), &place_down(false)).len();
        let now = Instant::now();
        let wake = queue.tick(now).expect("it comes again");
        assert_eq!(wake - now, Duration::from_secs(expected));
        tokio::time::advance(wake - now).await;
        queue.tick(Instant::now());
    }
    assert_eq!(tried, 7, "one try a rest");
    assert_eq!(drain(&mut queue, &free(), &yes()).len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_primary_seen_well_is_tried_at_once() {
    let mut queue = Queue::new(rules());
    add(&mut queue, 1, &["a"], true);
    (0..5).for_each(|_| {
        queue.seen_well(&lane());
        drain(&mut queue, &free(), &place_down(false));
    });
    assert!(drain(&mut queue, &free(), &yes()).is_empty(), "it rests");
    queue.seen_well(&lane());
    assert_eq!(drain(&mut queue, &free(), &yes()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_holds_up_only_its_owner() {
    let mut queue = Queue::new(rules());
    (1..=30).for_each(|n| add(&mut queue, n, &["full", "fine"], true));
    let mut fine = 0;
    let mut full = 0;
    while let Some(job) = queue.pick(Instant::now(), &free()) {
        queue.landed(&job);
        for item in &job.items {
            let turn = if item.recipient.local() == "full" { person_later() } else { yes() };
            full += u32::from(turn == person_later());
            if queue.turn(item.key, turn, Instant::now(), &mut middle) != Next::Stays {
                queue.settled(item.key, Instant::now());
                fine += 1;
            }
        }
        check(&queue);
    }
    assert_eq!((fine, full), (30, 1), "one refusal is enough to hold the rest");
    // Ten seconds later one is tried, is refused, and all wait longer.
    for wait in [10, 20, 40] {
        let now = Instant::now();
        assert_eq!(queue.tick(now), Some(now + Duration::from_secs(wait)));
        tokio::time::advance(Duration::from_secs(wait)).await;
        queue.tick(Instant::now());
        assert_eq!(drain(&mut queue, &free(), &person_later()).len(), 1);
    }
    // There is room again: the one that is tried lets all others go, oldest first.
    tokio::time::advance(Duration::from_secs(80)).await;
    queue.tick(Instant::now());
    let order: Vec<u64> = drain(&mut queue, &free(), &yes()).into_iter().map(|(n, _)| n).collect();
    assert_eq!(order, (1..=30).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn the_one_that_is_tried_for_a_person_may_vanish() {
    let mut queue = Queue::new(rules());
    (1..=3).for_each(|n| add(&mut queue, n, &["full"], true));
    drain(&mut queue, &free(), &person_later());
    tokio::time::advance(Duration::from_secs(10)).await;
    queue.tick(Instant::now());
    assert!(queue.take(key(1, 0)));
    queue.settled(key(1, 0), Instant::now());
    check(&queue);
    queue.tick(Instant::now());
    assert_eq!(drain(&mut queue, &free(), &yes()), [(2, vec![0]), (3, vec![0])]);
}

#[tokio::test(start_paused = true)]
async fn later_to_everybody_is_trouble_with_the_place() {
    let mut queue = Queue::new(rules());
    for n in 0..200 {
        add(&mut queue, n, &[&format!("p{n}")], true);
    }
    let tried = drain(&mut queue, &free(), &person_later()).len();
    assert!((10..=45).contains(&tried), "tried {tried} of 200 before it understood");
    // The rest ends, the first is taken, and everybody goes, those too who were told to wait.
    tokio::time::advance(Duration::from_secs(2)).await;
    queue.tick(Instant::now());
    drain(&mut queue, &free(), &yes());
    assert_eq!(queue.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_breaks_every_dialogue_is_parked_after_three_and_the_queue_goes_on() {
    let mut queue = Queue::new(rules());
    add(&mut queue, 1, &["a"], true);
    (2..=9).for_each(|n| add(&mut queue, n, &["a"], true));
    let mut parked = Vec::new();
    let mut broken = 0;
    for _ in 0..40 {
        while let Some(job) = queue.pick(Instant::now(), &free()) {
            let poison = job.position.offset == 1;
            broken += u32::from(poison);
            let turn = if poison { place_down(true) } else { yes() };
            let settled = play(&mut queue, &job, &turn);
            parked.extend(settled.into_iter().filter(|o| matches!(o, Outcome::Parked { .. })));
            if poison {
                add(&mut queue, 1000 + u64::from(broken), &["b"], true);
            }
        }
        tokio::time::advance(Duration::from_secs(40)).await;
        queue.tick(Instant::now());
    }
    assert_eq!((parked.len(), broken), (1, 3));
    assert!(matches!(&parked[0], Outcome::Parked { reason } if reason.contains("connection refused")));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_message_of_a_backlog_cannot_block_it_by_breaking_every_dialogue() {
    let mut queue = Queue::new(rules());
    (1..=50).for_each(|n| add(&mut queue, n, &["a"], false));
    let (mut parked, mut others, mut broken) = (0, 0, 0);
    for _ in 0..60 {
        while let Some(job) = queue.pick(Instant::now(), &free()) {
            let poison = job.position.offset == 1;
            broken += u32::from(poison);
            let settled = play(&mut queue, &job, &if poison { place_down(true) } else { yes() });
            parked += settled.iter().filter(|o| matches!(o, Outcome::Parked { .. })).count();
            others += u32::from(!poison);
        }
        if others >= 49 {
            // Later mail shows each time that the place is well.
            add(&mut queue, 1000 + u64::from(broken), &["b"], true);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        queue.tick(Instant::now());
    }
    assert!(others >= 49, "{others} of 49 others went");
    assert_eq!((parked, broken), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_dying_primary_makes_no_message_a_poison() {
    let mut queue = Queue::new(rules());
    add(&mut queue, 1, &["a"], true);
    for _ in 0..10 {
        assert_eq!(drain(&mut queue, &free(), &place_down(true)).len(), 1);
        tokio::time::advance(Duration::from_secs(90)).await;
        queue.tick(Instant::now());
    }
    assert_eq!(queue.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_waits_to_be_asked_about() {
    let mut queue = Queue::new(rules());
    add(&mut queue, 1, &["a"], true);
    assert_eq!(drain(&mut queue, &free(), &Turn::Unknown("cut".into())).len(), 1);
    assert!(queue.questions(Instant::now(), 10).is_empty(), "not at once");
    assert!(drain(&mut queue, &free(), &yes()).is_empty(), "and never sent again by itself");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(queue.questions(Instant::now(), 10), [key(1, 0)]);
    assert!(queue.questions(Instant::now(), 10).is_empty(), "asked once, then after a while again");
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(queue.questions(Instant::now(), 10).len(), 1);
    queue.send_again(key(1, 0));
    let job = queue.pick(Instant::now(), &free()).unwrap();
    assert_eq!(job.items[0].number, 2);
    play(&mut queue, &job, &Turn::Unknown("cut".into()));
    assert_eq!(queue.item(&key(1, 0)).unwrap().unknowns, 2);
}

#[tokio::test(start_paused = true)]
async fn a_person_stops_retries_and_redirects() {
    let mut queue = Queue::new(rules());
    add(&mut queue, 1, &["a"], true);
    add(&mut queue, 2, &["b"], true);
    queue.stop(key(1, 0), true, Instant::now());
    assert_eq!(drain(&mut queue, &free(), &person_later()), [(2, vec![0])]);
    queue.retry(key(2, 0), Instant::now());
    assert_eq!(drain(&mut queue, &free(), &yes()), [(2, vec![0])]);
    queue.stop(key(1, 0), false, Instant::now());
    let elsewhere = LaneName::Domain("y.example".into());
    queue.redirect(key(1, 0), Destination::Internet("y.example".into()), elsewhere.clone(), Instant::now());
    queue.halt(&elsewhere, true);
    assert!(drain(&mut queue, &free(), &yes()).is_empty());
    queue.halt(&elsewhere, false);
    let job = queue.pick(Instant::now(), &free()).unwrap();
    assert_eq!(job.lane, elsewhere);
    assert_eq!(job.items[0].destination, Destination::Internet("y.example".into()));
}

#[derive(Clone, Debug)]
enum Move {
    Add(u8, bool),
    Run(u8, u8),
    Later(u16),
    Pause(bool),
    Stop(u8, bool),
    Retry(u8),
    Again,
    Gone(u8),
    Well,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0u8..4, any::<bool>()).prop_map(|(people, fresh)| Move::Add(people, fresh)),
        6 => (0u8..8, 1u8..6).prop_map(|(turn, times)| Move::Run(turn, times)),
        3 => (0u16..700).prop_map(Move::Later),
        1 => any::<bool>().prop_map(Move::Pause),
        1 => (0u8..20, any::<bool>()).prop_map(|(n, stop)| Move::Stop(n, stop)),
        1 => (0u8..20).prop_map(Move::Retry),
        1 => Just(Move::Again),
        1 => (0u8..20).prop_map(Move::Gone),
        1 => Just(Move::Well),
    ];
    proptest::collection::vec(one, 0..60)
}

proptest! {
    /// Whatever happens, no item is lost or stands in two places, nothing that may go is forgotten, and once the place
    /// is well again everything goes.
    #[test]
    fn nothing_is_ever_forgotten(moves in moves()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut queue = Queue::new(rules());
            let mut orders = Paused::default();
            let mut next = 0;
            for step in moves {
                let now = Instant::now();
                queue.tick(now);
                let nth = |queue: &Queue, n: u8| queue.items.keys().nth(usize::from(n)).copied();
                match step {
                    Move::Add(people, fresh) => {
                        next += 1;
                        add(&mut queue, next, &["a", "b", "c", "d"][..=usize::from(people)], fresh);
                    }
                    Move::Run(turn, times) => for _ in 0..times {
                        let Some(job) = queue.pick(now, &orders) else { break };
                        let turn = match turn {
                            0 => person_later(),
                            1 => Turn::Message { words: "451".into(), wedge: false },
                            2 => Turn::Message { words: "451".into(), wedge: true },
                            3 => place_down(true),
                            4 => place_down(false),
                            5 => Turn::Ours("disk".into()),
                            6 => Turn::Unknown("cut".into()),
                            _ => yes(),
                        };
                        play(&mut queue, &job, &turn);
                    },
                    Move::Later(seconds) => {
                        tokio::time::advance(Duration::from_secs(u64::from(seconds))).await;
                    }
                    Move::Pause(on) => {
                        orders.all = on;
                        queue.orders_changed(&orders, now);
                    }
                    Move::Stop(n, stop) => if let Some(key) = nth(&queue, n) { queue.stop(key, stop, now) },
                    Move::Retry(n) => if let Some(key) = nth(&queue, n) { queue.retry(key, now) },
                    Move::Again => queue.questions(now, 3).into_iter().for_each(|key| queue.send_again(key)),
                    Move::Gone(n) => if let Some(key) = nth(&queue, n) && queue.take(key) {
                        queue.settled(key, now);
                    },
                    Move::Well => queue.seen_well(&lane()),
                }
                check(&queue);
            }
            orders.all = false;
            queue.orders_changed(&orders, Instant::now());
            for _ in 0..200 {
                let keys: Vec<Key> = queue.items.keys().copied().collect();
                keys.iter().for_each(|key| queue.stop(*key, false, Instant::now()));
                queue.questions(Instant::now(), 1000).into_iter().for_each(|key| queue.send_again(key));
                queue.tick(Instant::now());
                drain(&mut queue, &orders, &yes());
                tokio::time::advance(Duration::from_secs(61)).await;
            }
            assert_eq!(queue.len(), 0, "{queue:#?}");
            assert_eq!(queue.in_flight(), 0);
        });
    }
}
