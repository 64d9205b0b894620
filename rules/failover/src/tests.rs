//! The table is whole, the page is the table, and no stream of observations wedges or storms a machine.

use crate::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;
use words_mail::*;

const STATES: [State; 5] = [State::Ready, State::Suspect, State::Active, State::Returning, State::Pinned];

fn secs(s: f64) -> Duration {
    Duration::from_secs_f64(s)
}

/// One plane of one primary with a watch in front of it, on clocks of its own.
struct Life {
    window: Window,
    track: Track,
    settings: Settings,
    now: Now,
    orders: Vec<(Duration, Order)>,
    given_back: bool,
    listed: bool,
}

impl Life {
    fn new(settings: Settings) -> Life {
        let now = Now { steady: Duration::ZERO, wall: Time::from_seconds(1_795_000_000) };
        let (window, track) = (Window::default(), Track::new(Duration::ZERO));
        Life { window, track, settings, now, orders: Vec::new(), given_back: true, listed: false }
    }

    fn pass(&mut self, by: Duration) {
        self.now.steady += by;
        self.now.wall = self.now.wall.after(by);
    }

    fn see(&mut self, evidence: Evidence, finding: Finding) {
        self.see_from("here", evidence, finding);
    }

    fn see_from(&mut self, vantage: &str, evidence: Evidence, finding: Finding) {
        let observation = Observation {
            primary: PrimaryId("main".into()),
            plane: Plane::Inbound,
            vantage: vantage.into(),
            at: self.now.wall,
            evidence,
            finding,
            micros: 1,
            detail: String::new(),
            account: None,
        };
        self.window.hear(&observation, self.now.steady, &self.settings);
        self.look();
    }

    fn reading(&self) -> Reading {
        self.window.read(self.now.steady, &self.settings)
    }

    fn owing(&self) -> Owing {
        match (self.given_back, self.listed) {
            (false, _) => Owing::Open,
            (true, false) => Owing::Nothing,
            (true, true) => Owing::Listed,
        }
    }

    /// Decides until nothing is left to decide, as the road does.
    fn look(&mut self) {
        for _ in 0..4 {
            let reading = self.reading();
            match self.track.watch(self.now, reading, self.owing(), &self.settings) {
                Some(decision) => self.write(decision, "watch"),
                None => return,
            }
        }
        panic!("a machine changed its mind four times at one moment");
    }

    fn write(&mut self, decision: Decision, by: &str) {
        let (on, off) = orders(Plane::Inbound, decision.row.to, self.track.in_force());
        let order = Order {
            number: OrderNumber(self.orders.len() as u64 + 1),
            at: self.now.wall,
            primary: PrimaryId("main".into()),
            plane: Plane::Inbound,
            from: decision.row.from,
            to: decision.row.to,
            on,
            off,
            scope: Scope::All,
            event: None,
            by: by.into(),
            why: decision.row.comment.into(),
            began: None,
            until: decision.until,
            answers: None,
        };
        self.track.obey(&order, by == "watch", self.now.steady);
        self.orders.push((self.now.steady, order));
    }

    fn ask(&mut self, kind: RequestKind) {
        let reading = match kind {
            RequestKind::Failback => self.window.read_without_live(self.now.steady, &self.settings),
            _ => self.reading(),
        };
        match self.track.ask(&kind, self.now, reading) {
            Answer::Decided(decision) => {
                self.write(decision, "anna");
                if decision.condition == Condition::FailbackAsked {
                    self.window.forget_live();
                }
            }
            Answer::Quiet(until) => {
                let row = row(self.track.state(), Condition::Unmeasured).unwrap();
                let decision = Decision { condition: Condition::Unmeasured, row, until: Some(until) };
                self.write(decision, "anna");
            }
            Answer::NotMine => {}
        }
        self.look();
    }

    /// Probes every two seconds while `up` tells how the primary is; a failed probe is asked again after half a
    /// second, as the road does.
    fn live(&mut self, seconds: f64, up: impl Fn(f64) -> bool) {
        let began = self.now.steady;
        loop {
            let at = (self.now.steady - began).as_secs_f64();
            if at >= seconds {
                return;
            }
            let finding = if up(at) { Finding::Up } else { Finding::Down };
            self.see(Evidence::Probe, finding);
            let doubt = finding == Finding::Down && self.track.state() == State::Ready;
            self.pass(secs(if doubt { 0.5 } else { 2.0 }));
        }
    }

    fn states(&self) -> Vec<State> {
        self.orders.iter().map(|(_, o)| o.to).collect()
    }

    fn events(&self) -> usize {
        self.orders
            .iter()
            .filter(|(_, o)| o.to == State::Active && matches!(o.from, State::Ready | State::Suspect))
            .count()
    }
}

#[test]
fn each_state_meets_each_condition_in_exactly_one_row() {
    for from in STATES {
        for condition in Condition::ALL {
            let count = TABLE.iter().filter(|r| r.from == from && r.when.contains(&condition)).count();
            assert_eq!(count, 1, "{from} under {condition:?}");
        }
    }
    let ranked: Vec<Condition> = Condition::ALL.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(ranked, Condition::ALL, "the list is in order of rank and whole");
}

fn reachable(from: State) -> BTreeSet<State> {
    let mut known = BTreeSet::from([from]);
    loop {
        let next: BTreeSet<State> =
            TABLE.iter().filter(|r| known.contains(&r.from)).map(|r| r.to).chain(known.clone()).collect();
        if next == known {
            return known;
        }
        known = next;
    }
}

#[test]
fn every_state_is_reachable_and_every_state_has_a_way_back_to_ready() {
    assert_eq!(reachable(State::Ready), STATES.into_iter().collect());
    for state in STATES {
        assert!(reachable(state).contains(&State::Ready), "{state} is a trap");
    }
}

#[test]
fn silence_moves_no_state() {
    for state in STATES {
        assert_eq!(row(state, Condition::Unmeasured).unwrap().to, state);
        assert!(!row(state, Condition::Unmeasured).unwrap().tell);
    }
}

#[test]
fn nothing_but_a_person_or_its_end_leaves_pinned() {
    for condition in Condition::ALL {
        let leaves = row(State::Pinned, condition).unwrap().to != State::Pinned;
        assert_eq!(
            leaves,
            matches!(condition, Condition::Unpinned | Condition::UnpinnedDown),
            "{condition:?}"
        );
    }
}

#[test]
fn no_switch_has_two_hands_on_it_and_ready_switches_everything_off() {
    for kind in OrderKind::ALL {
        let planes: BTreeSet<Plane> = Plane::ALL
            .into_iter()
            .filter(|p| STATES.iter().any(|s| switches(*p, *s).is_some_and(|k| k.contains(&kind))))
            .collect();
        assert!(planes.len() <= 1, "{kind:?} is switched by {planes:?}");
        assert_eq!(
            Plane::ALL.into_iter().filter(|p| kinds(*p).contains(&kind)).collect::<BTreeSet<_>>(),
            planes
        );
    }
    for plane in Plane::ALL {
        assert_eq!(switches(plane, State::Ready), Some(&[][..]), "{plane}");
        let active = switches(plane, State::Active).unwrap();
        assert_eq!(orders(plane, State::Ready, active), (vec![], active.to_vec()));
        assert_eq!(orders(plane, State::Active, &[]), (active.to_vec(), vec![]));
        assert_eq!(orders(plane, State::Active, active), (vec![], vec![]), "no order repeats itself");
        assert_eq!(orders(plane, State::Pinned, active), (vec![], vec![]), "a pin keeps what is");
    }
}

#[test]
fn the_page_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/failover.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs")).unwrap();
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/failover.md is not what the table says; UPDATE_DOCS=1 cargo test -p rules-failover writes it anew"
    );
}

#[test]
fn a_killed_primary_is_in_doubt_within_five_seconds_and_down_after_the_dwell() {
    for killed in [0.1, 0.7, 1.3, 1.9] {
        let mut life = Life::new(Settings::default());
        life.live(60.0, |_| true);
        let kill = life.now.steady;
        life.pass(secs(killed));
        life.live(200.0, |_| false);
        assert_eq!(life.states(), [State::Suspect, State::Active]);
        let delay = |n: usize| (life.orders[n].0 - kill).as_secs_f64() - killed;
        assert!(delay(0) <= 5.0, "in doubt only after {}", delay(0));
        assert!((119.0..126.0).contains(&delay(1)), "event after {}", delay(1));
        assert_eq!(life.orders[0].1.on, [OrderKind::PauseDeliveries]);
        assert!(life.orders[1].1.on.is_empty() && life.orders[1].1.off.is_empty());
    }
}

#[test]
fn real_mail_that_fails_and_one_failed_probe_confirm_each_other() {
    let mut life = Life::new(Settings::default());
    life.live(10.0, |_| true);
    life.see(Evidence::Live, Finding::Down);
    assert_eq!(life.track.state(), State::Ready, "one dialogue alone is no doubt");
    life.pass(secs(0.1));
    life.see(Evidence::Probe, Finding::Down);
    assert_eq!(life.track.state(), State::Suspect);
}

#[test]
fn the_event_closes_only_when_all_is_given_back() {
    let mut life = Life::new(Settings::default());
    life.given_back = false;
    life.live(200.0, |_| false);
    life.live(600.0, |_| true);
    assert_eq!(life.states(), [State::Suspect, State::Active, State::Returning]);
    assert_eq!(life.orders[2].1.off, [OrderKind::PauseDeliveries]);
    life.given_back = true;
    life.live(10.0, |_| true);
    assert_eq!(life.states()[3..], [State::Ready]);
}

#[test]
fn what_the_reconciliation_lists_is_said_when_the_event_closes() {
    let mut life = Life::new(Settings::default());
    life.listed = true;
    life.live(200.0, |_| false);
    life.live(60.0, |_| true);
    assert_eq!(life.states(), [State::Suspect, State::Active, State::Returning, State::Ready]);
    assert!(life.orders[3].1.why.contains("a person must look"), "{}", life.orders[3].1.why);
}

#[test]
fn failback_asked_while_it_is_down_is_refused_in_words_and_flips_nothing() {
    for ask_at in [20.0, 400.0] {
        let mut life = Life::new(Settings::default());
        life.live(ask_at, |_| false);
        let (state, before) = (life.track.state(), life.orders.len());
        for _ in 0..3 {
            life.ask(RequestKind::Failback);
            life.live(if state == State::Suspect { 20.0 } else { 300.0 }, |_| false);
        }
        let said = &life.orders[before..];
        assert_eq!(said.len(), 3, "one answer each and nothing else: {:?}", life.states());
        for (_, order) in said {
            assert!(order.from == state && order.to == state && order.by == "anna", "{order:?}");
            assert!(order.why.contains("not possible while it is down"), "{}", order.why);
        }
        life.live(60.0, |_| true);
        assert_eq!(life.track.state(), State::Ready, "it ends by itself as if nobody had asked");
    }
}

#[test]
fn a_persons_word_counts_for_more_than_what_real_mail_said_before_it_had_to_wait() {
    let mut life = Life::new(Settings::default());
    life.given_back = false;
    let trouble = |life: &mut Life| {
        for _ in 0..4 {
            life.see(Evidence::Live, Finding::Down);
            life.see(Evidence::Probe, Finding::Up);
        }
    };
    life.live(10.0, |_| true);
    // Probes prove blind to it, so they do not overrule real mail any more.
    for _ in 0..4 {
        trouble(&mut life);
        life.live(8.0, |_| true);
    }
    trouble(&mut life);
    assert!(matches!(life.reading(), Reading::Down(_)), "{:?} {:?}", life.reading(), life.states());
    let before = life.orders.len();
    life.ask(RequestKind::Failback);
    let left: Vec<State> = life.states()[before..].to_vec();
    assert!(matches!(left[..], [State::Ready | State::Returning]), "{left:?}");
    life.live(60.0, |_| true);
    assert_eq!(life.orders.len(), before + 1, "and it does not come back by itself: {:?}", life.states());
}

#[test]
fn twenty_ordinary_restarts_are_no_event() {
    for spacing in [8.0, 15.0, 40.0, 300.0] {
        for down in [1.0, 3.0, 6.0] {
            let mut life = Life::new(Settings::default());
            for _ in 0..20 {
                life.live(down, |_| false);
                for _ in 0..3 {
                    life.see(Evidence::Live, Finding::Down);
                }
                life.live(spacing, |_| true);
            }
            life.live(120.0, |_| true);
            assert_eq!(life.events(), 0, "down {down} s every {spacing} s");
            assert_eq!(life.track.state(), State::Ready);
        }
    }
}

#[test]
fn flapping_every_few_seconds_makes_no_storm_of_orders() {
    let mut life = Life::new(Settings::default());
    life.live(3_600.0, |at| at % 10.0 < 5.0);
    assert_eq!(life.events(), 1, "after long enough it is an outage of its own kind");
    assert!(life.orders.len() <= 14, "{:?}", life.states());
    let mut slow = Life::new(Settings::default());
    slow.live(4.0 * 3_600.0, |at| at % 300.0 < 150.0);
    assert!(slow.orders.len() <= 60 && slow.events() <= 8, "{} orders", slow.orders.len());
}

#[test]
fn a_half_outage_that_probes_cannot_see_still_becomes_an_event() {
    let mut life = Life::new(Settings::default());
    life.given_back = false;
    for _ in 0..300 {
        life.see(Evidence::Probe, Finding::Up);
        // Everything is refused for now at the final dot, whenever delivery is allowed to try.
        if matches!(life.track.state(), State::Ready | State::Returning) {
            for _ in 0..4 {
                life.see(Evidence::Live, Finding::Down);
            }
        }
        life.pass(secs(2.0));
    }
    assert_eq!(life.events(), 1, "{:?}", life.states());
    assert!(life.orders.len() <= 16, "{:?}", life.states());
}

#[test]
fn announced_maintenance_opens_no_event_and_its_end_starts_the_dwell() {
    let mut life = Life::new(Settings::default());
    let until = life.now.wall.after(secs(1_800.0));
    life.ask(RequestKind::Maintenance { until });
    assert!(life.track.is_quiet(life.now));
    life.live(1_790.0, |_| false);
    assert_eq!((life.events(), life.track.state()), (0, State::Suspect), "mail waits, nobody is told");
    life.live(100.0, |_| false);
    assert_eq!(life.events(), 0);
    life.live(60.0, |_| false);
    assert_eq!(life.events(), 1, "it is still down 120 s after the announced end");
}

#[test]
fn who_may_open_an_event_is_a_setting() {
    for mode in [Mode::Confirm, Mode::Manual] {
        let mut life = Life::new(Settings { mode, ..Settings::default() });
        life.live(1_000.0, |_| false);
        assert_eq!(life.states(), [State::Suspect, State::Suspect], "a person is asked, once");
        life.ask(RequestKind::Failover);
        assert_eq!(life.track.state(), State::Active);
        life.live(1_000.0, |_| true);
        let by_itself = life.track.state() == State::Ready;
        assert_eq!(by_itself, mode == Mode::Confirm, "{mode:?}");
        life.ask(RequestKind::Failback);
        life.live(4.0, |_| true);
        assert_eq!(life.track.state(), State::Ready);
    }
}

#[test]
fn an_event_that_a_person_opened_in_peace_is_ended_by_a_person() {
    let mut life = Life::new(Settings::default());
    life.live(10.0, |_| true);
    life.ask(RequestKind::Failover);
    life.live(5_000.0, |_| true);
    assert_eq!(life.states(), [State::Active]);
    life.ask(RequestKind::Failback);
    assert_eq!(life.states(), [State::Active, State::Returning, State::Ready]);
}

#[test]
fn a_plane_that_nobody_measures_is_closed_by_a_persons_word() {
    let mut life = Life::new(Settings::default());
    life.ask(RequestKind::Failover);
    life.given_back = false;
    life.ask(RequestKind::Failback);
    assert_eq!(life.track.state(), State::Returning, "a word does not stand in for what is still owed");
    life.given_back = true;
    life.look();
    assert_eq!(life.track.state(), State::Ready);
}

#[test]
fn a_pin_stays_whatever_is_observed_until_its_end() {
    let mut life = Life::new(Settings::default());
    life.live(200.0, |_| false);
    let until = life.now.wall.after(secs(3_600.0));
    life.ask(RequestKind::Pin { until: Some(until) });
    assert_eq!(life.track.pinned_until(), Some(until));
    life.live(3_000.0, |_| true);
    life.ask(RequestKind::Failback);
    assert_eq!((life.track.state(), life.track.pinned_until()), (State::Pinned, Some(until)));
    assert_eq!(life.track.in_force(), [OrderKind::PauseDeliveries], "what was switched stays switched");
    life.live(700.0, |_| true);
    assert_eq!(life.track.state(), State::Ready);
    assert!(life.track.in_force().is_empty());
}

#[test]
fn a_plane_nobody_measures_comes_back_when_its_pin_ends_by_itself() {
    let mut life = Life::new(Settings::default());
    let until = life.now.wall.after(secs(600.0));
    life.ask(RequestKind::Pin { until: Some(until) });
    assert_eq!(life.track.state(), State::Pinned);
    for _ in 0..700 {
        life.pass(secs(1.0));
        life.look();
    }
    assert_eq!(life.track.state(), State::Ready, "it stays RETURNING for ever otherwise");
}

#[test]
fn unpinned_while_down_it_goes_on_being_down() {
    let mut life = Life::new(Settings::default());
    life.live(10.0, |_| true);
    life.ask(RequestKind::Pin { until: None });
    life.live(300.0, |_| false);
    assert_eq!(life.states(), [State::Pinned]);
    life.ask(RequestKind::Unpin);
    assert_eq!(life.states(), [State::Pinned, State::Active]);
    assert_eq!(life.track.in_force(), [OrderKind::PauseDeliveries]);
}

#[test]
fn several_vantages_vote() {
    let mut life = Life::new(Settings::default());
    for _ in 0..100 {
        life.see_from("a", Evidence::Probe, Finding::Down);
        life.see_from("b", Evidence::Probe, Finding::Up);
        life.see_from("c", Evidence::Probe, Finding::Up);
        life.pass(secs(2.0));
    }
    assert!(life.orders.is_empty(), "one of three cannot open an event");
    for _ in 0..100 {
        life.see_from("a", Evidence::Probe, Finding::Down);
        life.see_from("b", Evidence::Probe, Finding::Down);
        life.see_from("c", Evidence::Probe, Finding::Up);
        life.pass(secs(2.0));
    }
    assert_eq!(life.states(), [State::Suspect, State::Active]);
}

#[test]
fn one_persons_trouble_says_nothing_about_the_plane() {
    let mut life = Life::new(Settings::default());
    let observation = Observation {
        primary: PrimaryId("main".into()),
        plane: Plane::Inbound,
        vantage: "here".into(),
        at: life.now.wall,
        evidence: Evidence::Live,
        finding: Finding::Down,
        micros: 0,
        detail: "452 4.2.2 mailbox full".into(),
        account: Some(AccountId::new("anna@example.org")),
    };
    for _ in 0..50 {
        life.window.hear(&observation, life.now.steady, &life.settings);
    }
    assert_eq!(life.reading(), Reading::Unmeasured);
}

#[test]
fn what_a_probe_said_long_ago_says_nothing() {
    let mut life = Life::new(Settings::default());
    life.live(60.0, |_| false);
    assert_eq!(life.track.state(), State::Suspect);
    life.pass(secs(40.0));
    assert_eq!(life.reading(), Reading::Unmeasured);
    life.pass(secs(4_000.0));
    life.look();
    assert_eq!(life.track.state(), State::Suspect, "silence opens and closes nothing");
}

#[test]
fn a_restart_in_the_middle_of_a_doubt_does_not_start_the_dwell_anew() {
    let mut life = Life::new(Settings::default());
    life.live(100.0, |_| false);
    let order = life.orders[0].1.clone();
    let mut again = Life::new(Settings::default());
    again.now.wall = life.now.wall;
    again.track.resume(&order, true, again.now, &again.settings);
    assert_eq!(again.track.state(), State::Suspect);
    again.live(40.0, |_| false);
    assert_eq!(again.states(), [State::Active]);
}

#[derive(Clone, Debug)]
enum Step {
    See(Evidence, Finding),
    Pass(u32),
    Jump(i64),
    GivenBack(bool),
    Ask(u8, u32),
}

fn step() -> impl Strategy<Value = Step> {
    let evidence =
        prop_oneof![4 => Just(Evidence::Probe), 2 => Just(Evidence::Live), 1 => Just(Evidence::Canary)];
    let finding = prop_oneof![Just(Finding::Up), Just(Finding::Down)];
    prop_oneof![
        12 => (evidence, finding).prop_map(|(e, f)| Step::See(e, f)),
        8 => (0u32..5_000).prop_map(Step::Pass),
        1 => (0u32..400_000).prop_map(Step::Pass),
        1 => (-100_000_000i64..100_000_000).prop_map(Step::Jump),
        1 => any::<bool>().prop_map(Step::GivenBack),
        1 => (0u8..5, 0u32..4_000).prop_map(|(a, s)| Step::Ask(a, s)),
    ]
}

fn play(life: &mut Life, steps: &[Step]) {
    for step in steps {
        let (before, orders, wall) = (life.track.state(), life.orders.len(), life.now.wall);
        let mut asked = None;
        match step {
            Step::See(evidence, finding) => life.see(*evidence, *finding),
            Step::Pass(millis) => {
                life.pass(Duration::from_millis(u64::from(*millis)));
                life.look();
            }
            Step::Jump(seconds) => {
                life.now.wall = Time(life.now.wall.0.saturating_add(seconds * 1_000_000));
                life.look();
            }
            Step::GivenBack(yes) => {
                life.given_back = *yes;
                life.look();
            }
            Step::Ask(which, seconds) => {
                let until = life.now.wall.after(secs(f64::from(*seconds)));
                let kind = match which {
                    0 => RequestKind::Failover,
                    1 => RequestKind::Failback,
                    2 => RequestKind::Pin { until: (seconds % 2 == 0).then_some(until) },
                    3 => RequestKind::Unpin,
                    _ => RequestKind::Maintenance { until },
                };
                asked = Some(kind.clone());
                life.ask(kind);
            }
        }
        let pin = life.orders.iter().rev().find(|(_, o)| o.to == State::Pinned);
        let end = pin.and_then(|(steady, o)| Some((o.until?, *steady + o.until?.since(o.at))));
        if before == State::Pinned && life.track.state() != State::Pinned {
            let ended = end
                .is_some_and(|(until, steady)| until <= life.now.wall.max(wall) || steady <= life.now.steady);
            assert!(ended || matches!(asked, Some(RequestKind::Unpin)), "PINNED was left by {step:?}");
        }
        for (_, order) in &life.orders[orders..] {
            assert!(row(order.from, Condition::Unmeasured).is_some());
            let wanted = switches(Plane::Inbound, order.to);
            assert!(order.on.iter().all(|k| wanted.is_some_and(|w| w.contains(k))));
        }
        if let Some(wanted) = switches(Plane::Inbound, life.track.state()) {
            assert_eq!(life.track.in_force(), wanted, "the switches are those of the state");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_anything_a_well_primary_ends_in_ready(steps in prop::collection::vec(step(), 0..200)) {
        let mut life = Life::new(Settings::default());
        play(&mut life, &steps);
        // The primary is well, a person lets go of everything, and all is given back.
        for _ in 0..3 {
            life.see(Evidence::Live, Finding::Up);
            life.see(Evidence::Canary, Finding::Up);
        }
        life.live(10.0, |_| true);
        life.ask(RequestKind::Unpin);
        life.ask(RequestKind::Failback);
        life.given_back = true;
        life.live(1_500.0, |_| true);
        prop_assert_eq!(life.track.state(), State::Ready);
        prop_assert!(life.track.in_force().is_empty());
    }

    #[test]
    fn after_anything_a_dead_primary_ends_in_an_event(steps in prop::collection::vec(step(), 0..200)) {
        let mut life = Life::new(Settings::default());
        play(&mut life, &steps);
        life.ask(RequestKind::Unpin);
        // Any maintenance that was announced is over by then.
        life.pass(secs(5_000.0));
        life.live(200.0, |_| false);
        prop_assert_eq!(life.track.state(), State::Active);
    }

    #[test]
    fn orders_are_few_whatever_the_observations(steps in prop::collection::vec(step(), 0..400)) {
        let mut life = Life::new(Settings::default());
        let quiet: Vec<Step> = steps.into_iter().filter(|s| !matches!(s, Step::Ask(..))).collect();
        play(&mut life, &quiet);
        let seconds = life.now.steady.as_secs() as usize;
        prop_assert!(life.orders.len() <= 4 + seconds / 4, "{} orders in {seconds} s", life.orders.len());
    }
}
