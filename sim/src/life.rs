//! One seed, one life: a node with its primary, strangers, people and troubles, from its first minute to the judges.

use crate::clock::SimClock;
use crate::dice::Dice;
use crate::fate::{Plan, Trouble};
use crate::judge::{self, Findings, Holdings, Standings};
use crate::net::{Internet, SimNames};
use crate::node::{Build, DOMAIN, Desk, Machine, edge, submissions};
use crate::person::{Diary, Person};
use crate::power::Power;
use crate::primary::{Mood, Port, Primary};
use crate::record::Record;
use crate::sender::{Outbox, Sender};
use crate::supervisor::Supervisor;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stores_ledger::{Act, Entry, QueueAct};
use stores_log::FaultDisk;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use words_mail::{AccountId, Outcome, Time};

/// How a life is lived, beside its plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Which build of the node.
    pub build: Build,
    /// Keeps the lines of the record.
    pub keep: bool,
    /// Prints them.
    pub aloud: bool,
}

/// What came of a life.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What was wrong; nothing, if all is well.
    pub findings: Findings,
    /// The hash of the record, and how many events are in it.
    pub hash: (u64, u64),
    /// The lines of the record, if they were kept.
    pub lines: Vec<String>,
    /// The named places that were passed, and how often.
    pub passed: BTreeMap<&'static str, u64>,
    /// Those at which the node died.
    pub died_at: BTreeSet<&'static str>,
    /// Messages acknowledged.
    pub acknowledged: usize,
    /// Lives of the node.
    pub lives: u64,
    /// Simulated seconds.
    pub seconds: f64,
}

const NODE: [u8; 4] = [10, 0, 0, 1];
const HEADQUARTERS: [u8; 4] = [10, 0, 0, 2];
const OUTSIDE: [u8; 4] = [203, 0, 113, 1];
const PEOPLE: [&str; 3] = ["anna@company.example", "bert@company.example", "cara@company.example"];
/// Every life begins then: 1 March 2026.
const BEGIN: Time = Time(1_772_323_200_000_000);
/// How long those who work may need after the last trouble is over.
const WORK_MAX: Duration = Duration::from_secs(1_800);
/// How long everything may need to be settled after that.
const DRAIN_MAX: Duration = Duration::from_secs(1_800);
/// How much longer everything is watched after it looks settled: for what comes twice.
const AFTERWARDS: Duration = Duration::from_secs(30);

/// Lives a life and judges it.
pub fn live(plan: &Plan, options: Options) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|why| panic!("no runtime: {why}"));
    runtime.block_on(async {
        let life = Life::begin(plan, options);
        let power = life.power.clone();
        words_world::on_crash_point(false, move |name| power.pass(name));
        let verdict = life.run().await;
        words_world::on_crash_point(false, |_| {});
        verdict
    })
}

/// One life.
struct Life {
    plan: Plan,
    dice: Dice,
    record: Record,
    clock: SimClock,
    disk: FaultDisk,
    internet: Internet,
    power: Power,
    primary: Primary,
    primary_up: watch::Sender<bool>,
    outside: Primary,
    outbox: Outbox,
    diaries: BTreeMap<String, Arc<Mutex<Diary>>>,
    desk: watch::Sender<Option<Desk>>,
    supervisor: Supervisor,
    findings: Findings,
}

/// One thing that is done at one moment.
#[derive(Clone, Debug)]
enum Deed {
    Mood(Port, Mood),
    Up(bool),
    Cut(bool),
    Full(bool),
    Other(Trouble),
}

fn ip(bytes: [u8; 4]) -> IpAddr {
    IpAddr::from(bytes)
}

impl Life {
    fn begin(plan: &Plan, options: Options) -> Life {
        let record = Record::new(options.keep, options.aloud);
        let dice = Dice::new(plan.seed);
        let internet = Internet::new(dice.fork());
        let disk = FaultDisk::new(dice.next());
        let clock = SimClock::new(BEGIN);
        let power = Power::new(disk.clone(), internet.clone(), ip(NODE), record.clone());
        let people: Vec<&str> = PEOPLE[..plan.people.0.clamp(1, PEOPLE.len())].to_vec();
        let primary =
            Primary::new("primary", internet.host(ip(HEADQUARTERS)), &people, dice.fork(), record.clone());
        let senders: Vec<String> = (0..4).map(|n| format!("sender{n}@outside.example")).collect();
        let mut strangers: Vec<&str> = senders.iter().map(String::as_str).collect();
        strangers.push("stranger@outside.example");
        let outside =
            Primary::new("outside", internet.host(ip(OUTSIDE)), &strangers, dice.fork(), record.clone());
        let machine = Machine {
            clock: clock.clone(),
            disk: disk.clone(),
            host: internet.host(ip(NODE)),
            names: SimNames::default().with("outside.example", ip(OUTSIDE)).with(DOMAIN, ip(NODE)),
            dice: dice.fork(),
            power: power.clone(),
            primary: ip(HEADQUARTERS),
            people: people.iter().map(|who| (*who).to_owned()).collect(),
            build: options.build,
        };
        let desk = watch::Sender::new(None);
        let supervisor =
            Supervisor::new(machine, desk.clone(), dice.fork(), record.clone(), plan.view_in_file);
        let diaries = people.iter().map(|who| ((*who).to_owned(), Arc::default())).collect();
        Life {
            plan: plan.clone(),
            dice,
            record,
            clock,
            disk,
            internet,
            power,
            primary,
            primary_up: watch::Sender::new(true),
            outside,
            outbox: Outbox::default(),
            diaries,
            desk,
            supervisor,
            findings: Findings::new(),
        }
    }

    async fn run(mut self) -> Verdict {
        let mut world: JoinSet<()> = JoinSet::new();
        world.spawn(keep_up(self.primary.clone(), self.primary_up.subscribe()));
        let outside = self.outside.clone();
        world.spawn(async move { drop(outside.run().await) });
        let supervisor = self.supervisor.clone();
        world.spawn(async move { supervisor.run().await });
        let mut workers = self.put_to_work();
        self.troubles().await;
        self.heal();
        let deadline = Instant::now() + WORK_MAX;
        let done = async { while workers.join_next().await.is_some() {} };
        if tokio::time::timeout_at(deadline, done).await.is_err() {
            self.findings.push(format!("somebody never got through: {:?}", self.unanswered()));
        }
        self.drain().await;
        self.power.disarm(false);
        sleep(AFTERWARDS).await;
        self.judge().await;
        self.close().await;
        drop(workers);
        drop(world);
        let (passed, died_at) = self.power.places();
        self.findings.extend(self.supervisor.findings());
        Verdict {
            findings: self.findings,
            hash: self.record.hash(),
            lines: self.record.lines(),
            passed,
            died_at,
            acknowledged: self.outbox.all().iter().filter(|sent| sent.acknowledged).count(),
            lives: self.supervisor.lives(),
            seconds: self.record.seconds(),
        }
    }

    /// Senders and people begin.
    fn put_to_work(&self) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        let (senders, messages) = self.plan.senders;
        let pause = |count: usize| (self.plan.length.as_millis() as u64 * 3 / 2 / count.max(1) as u64).max(2);
        for number in 0..senders {
            let sender = Sender {
                host: self.internet.host(IpAddr::from([203, 0, 113, 10 + number as u8])),
                to: edge(ip(NODE)),
                addresses: self.diaries.keys().cloned().collect(),
                dice: self.dice.fork(),
                outbox: self.outbox.clone(),
                record: self.record.clone(),
                number,
            };
            workers.spawn(sender.run(messages, pause(messages)));
        }
        for (who, diary) in &self.diaries {
            let person = self.person(who, diary);
            workers.spawn(person.run(self.plan.people.1, pause(self.plan.people.1), self.plan.tidy));
        }
        workers
    }

    fn person(&self, who: &str, diary: &Arc<Mutex<Diary>>) -> Person {
        Person {
            account: AccountId::new(who),
            host: self.internet.host(IpAddr::from([10, 0, 1, 1])),
            submissions: submissions(ip(NODE)),
            dice: self.dice.fork(),
            desk: self.desk.subscribe(),
            outbox: self.outbox.clone(),
            diary: diary.clone(),
            primary: self.primary.clone(),
            record: self.record.clone(),
        }
    }

    /// Everything that is to go wrong goes wrong.
    async fn troubles(&mut self) {
        let began = Instant::now();
        for (at, act) in self.acts() {
            sleep_until(began + at).await;
            self.record.note("fate", format_args!("{act:?}"));
            self.commit(act);
        }
        sleep_until(began + self.plan.length).await;
    }

    fn acts(&self) -> Vec<(Duration, Deed)> {
        let mut acts = Vec::new();
        for (at, trouble) in self.plan.troubles.clone() {
            let mut during = |long: Duration, begin: Deed, end: Deed| {
                acts.push((at, begin));
                acts.push((at + long, end));
            };
            match trouble {
                Trouble::Mood(port, mood, long) => {
                    during(long, Deed::Mood(port, mood), Deed::Mood(port, Mood::Well));
                }
                Trouble::Dies(long) => during(long, Deed::Up(false), Deed::Up(true)),
                Trouble::Partition(long) => during(long, Deed::Cut(true), Deed::Cut(false)),
                Trouble::Full(long) => during(long, Deed::Full(true), Deed::Full(false)),
                Trouble::Flaps(times) => {
                    for n in 0..times {
                        let at = at + Duration::from_secs(6 * n);
                        acts.push((at, Deed::Up(false)));
                        acts.push((at + Duration::from_secs(3), Deed::Up(true)));
                    }
                }
                other => acts.push((at, Deed::Other(other))),
            }
        }
        acts.sort_by_key(|(at, _)| *at);
        acts
    }

    fn commit(&self, act: Deed) {
        let (node, headquarters) = (ip(NODE), ip(HEADQUARTERS));
        match act {
            Deed::Mood(port, mood) => self.primary.set_mood(port, mood),
            Deed::Up(up) => {
                self.primary_up.send_replace(up);
            }
            Deed::Cut(true) => self.internet.partition(node, headquarters),
            Deed::Cut(false) => self.internet.heal(node, headquarters),
            Deed::Full(full) => {
                let room = self.dice.range(0, 60 << 10);
                self.disk.set_capacity(full.then(|| self.disk.used() + room));
            }
            Deed::Other(Trouble::Cables) => self.internet.break_cables(node, headquarters),
            Deed::Other(Trouble::Clock(micros)) => self.clock.jump(micros),
            Deed::Other(Trouble::FailSync(after)) => self.disk.fail_sync(after),
            Deed::Other(Trouble::FailAppend(after)) => self.disk.fail_append(after),
            Deed::Other(Trouble::Crash(crash)) => self.power.strike(crash, "fate"),
            Deed::Other(Trouble::At(armed)) => self.power.arm(armed),
            Deed::Other(_) => self.supervisor.ask_to_stop(),
        }
    }

    /// All troubles end.
    fn heal(&self) {
        self.record.note("fate", format_args!("all is well again"));
        self.primary.set_mood(Port::Smtp, Mood::Well);
        self.primary.set_mood(Port::Imap, Mood::Well);
        self.primary_up.send_replace(true);
        self.internet.heal(ip(NODE), ip(HEADQUARTERS));
        self.disk.set_capacity(None);
        self.disk.fail_sync(u64::MAX);
        self.disk.fail_append(u64::MAX);
        // Some places are passed only on the way to the end.
        self.power.disarm(true);
    }

    fn unanswered(&self) -> Vec<String> {
        let all = self.outbox.all();
        all.into_iter().filter(|sent| !sent.acknowledged && !sent.refused).map(|sent| sent.mark).collect()
    }

    /// Waits until nothing is left to be done, as far as the node itself says.
    async fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN_MAX;
        let mut calm = 0;
        let mut why = String::new();
        while Instant::now() < deadline {
            sleep(Duration::from_secs(2)).await;
            let desk = self.desk.borrow().clone();
            let Some(desk) = desk else {
                calm = 0;
                "the node does not run".clone_into(&mut why);
                continue;
            };
            if desk.queue.counts().parked > 0 {
                self.take_up_parked(&desk).await;
            }
            match self.owed(&desk) {
                None => calm += 1,
                Some(owed) => {
                    calm = 0;
                    why = owed;
                }
            }
            if calm == 3 {
                self.record.note("fate", format_args!("all is settled"));
                return;
            }
        }
        self.findings.push(format!("never settled: {why}"));
    }

    /// What is not settled; `None`: nothing.
    fn owed(&self, desk: &Desk) -> Option<String> {
        let counts = desk.queue.counts();
        if counts.recipients > 0 || !counts.caught_up {
            return Some(format!("the queue: {counts:?}"));
        }
        let orders = desk.ledger.in_force();
        if let Some(event) = orders.open_events().next() {
            return Some(format!("an event is open: {event:?}; {:?}", orders.unready()));
        }
        if !orders.unready().is_empty() {
            return Some(format!("not ready: {:?}", orders.unready()));
        }
        for who in self.diaries.keys() {
            let account = AccountId::new(who);
            let replayed = desk.mailboxes.replayed(&account).unwrap_or(0);
            match desk.mailboxes.changes_since(&account, replayed, 1) {
                Ok(changes) if changes.is_empty() => {}
                other => return Some(format!("what {who} did is not carried over: {other:?}")),
            }
        }
        None
    }

    /// Does what the postmaster does: what was set aside because nobody knows what became of it is tried again.
    async fn take_up_parked(&self, desk: &Desk) {
        let mut last = BTreeMap::new();
        for entered in desk.ledger.reader().scan_settlements(None).map_while(Result::ok) {
            match entered.entry {
                Entry::Settlement(settlement) => {
                    let key =
                        (settlement.trace, settlement.recipient.clone(), settlement.destination.clone());
                    last.insert(key, matches!(settlement.outcome, Outcome::Parked { .. }));
                }
                Entry::QueueAct(act) => {
                    if let (Some(trace), Some(recipient), Some(destination)) =
                        (act.trace, act.recipient, act.destination)
                    {
                        last.insert((trace, recipient, destination), false);
                    }
                }
                _ => {}
            }
        }
        for ((trace, recipient, destination), parked) in last {
            if parked {
                self.record.note("postmaster", format_args!("tries {trace} for {recipient} again"));
                let act = QueueAct {
                    at: BEGIN,
                    by: "postmaster".to_owned(),
                    reason: "the primary is back".to_owned(),
                    act: Act::Retry,
                    trace: Some(trace),
                    recipient: Some(recipient),
                    destination: Some(destination),
                };
                let _ = desk.ledger.append(Entry::QueueAct(act)).await;
            }
        }
    }

    async fn judge(&mut self) {
        let diaries: Vec<(String, Arc<Mutex<Diary>>)> =
            self.diaries.iter().map(|(who, diary)| (who.clone(), diary.clone())).collect();
        for (who, diary) in &diaries {
            let person = self.person(who, diary);
            for folder in ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash", "Projects"] {
                person.look(folder).await;
            }
        }
        let desk = self.desk.borrow().clone();
        let Some(desk) = desk else {
            self.findings.push("the node does not run at the end".to_owned());
            return;
        };
        let diaries: BTreeMap<String, Diary> = diaries
            .iter()
            .map(|(who, diary)| (who.clone(), diary.lock().unwrap_or_else(PoisonError::into_inner).clone()))
            .collect();
        let outbox = self.outbox.all();
        let (there, outside) =
            (judge::holdings(&self.primary.accounts()), judge::holdings(&self.outside.accounts()));
        let here = self.own_mailboxes(&desk);
        let mut gone = judge::removed(&diaries);
        let refused = self.primary.refused();
        let findings = &mut self.findings;
        findings.extend(judge::reported(&outbox, &refused, &self.primary.ever_refused(), &outside));
        findings.extend(judge::carried_over(&diaries, &here, &there, &refused));
        findings.extend(judge::arrived("here", &outbox, &here, &gone, 1));
        // Nobody can look into a stranger's mailbox: one that died before it answered may have two.
        findings.extend(judge::arrived("outside", &outbox, &outside, &gone, 2));
        gone.extend(refused);
        findings.extend(judge::arrived("at the primary", &outbox, &there, &gone, 1));
        findings.extend(judge::filed("here", &outbox, &here));
        findings.extend(judge::filed("at the primary", &outbox, &there));
        let refused = outbox.iter().filter(|sent| sent.refused);
        findings.extend(refused.map(|sent| format!("{} was refused for ever", sent.mark)));
        self.judge_ledger(&desk);
    }

    /// Everything in the mailboxes here, as a client would read it.
    fn own_mailboxes(&mut self, desk: &Desk) -> Holdings {
        let mut holdings = Holdings::new();
        for who in self.diaries.keys() {
            match read_all(desk, &AccountId::new(who)) {
                Ok(all) => {
                    holdings.insert(who.clone(), all);
                }
                Err(why) => self.findings.push(format!("the mailbox of {who} cannot be read: {why}")),
            }
        }
        holdings
    }

    /// No storms, nothing left open, no number twice.
    fn judge_ledger(&mut self, desk: &Desk) {
        let mut numbers = Vec::new();
        for entered in desk.ledger.scan(None) {
            match entered {
                Ok(entered) => match entered.entry {
                    Entry::Order(order) => {
                        self.record.note(
                            "order",
                            format_args!("{} {} {} {}", order.number, order.plane, order.to, order.why),
                        );
                        numbers.push(order.number.0);
                    }
                    Entry::Reconciliation(found) => {
                        self.record.note("reconciliation", format_args!("{} {}", found.event, found.report));
                        let lost = found.report["lost"].as_u64();
                        let doubled = found.report["doubled"].as_u64();
                        if lost != Some(0) || doubled != Some(0) {
                            self.findings.push(format!("a reconciliation is not clean: {}", found.report));
                        }
                    }
                    _ => {}
                },
                Err(why) => {
                    self.findings.push(format!("the ledger cannot be read: {why}"));
                    break;
                }
            }
        }
        if !numbers.is_sorted_by(|a, b| a < b) {
            self.findings.push(format!("the numbers of orders do not rise: {numbers:?}"));
        }
        let episodes: u64 =
            self.plan.troubles.iter().map(|(_, t)| if let Trouble::Flaps(n) = t { *n } else { 1 }).sum();
        // Three planes, each at most four steps from READY to READY.
        let most = 3 * 4 * (episodes + self.supervisor.lives());
        if numbers.len() as u64 > most {
            self.findings.push(format!("{} orders, for {episodes} troubles", numbers.len()));
        }
        let unready = desk.ledger.in_force().unready();
        if !unready.is_empty() {
            self.findings.push(format!("not ready at the end: {unready:?}"));
        }
    }

    /// The node stops, and everything in the mailboxes comes back from the logs alone.
    async fn close(&mut self) {
        let desk = self.desk.borrow().clone();
        let before = desk.as_ref().and_then(|desk| desk.mailboxes.dump().ok());
        drop(desk);
        if tokio::time::timeout(DRAIN_MAX, self.supervisor.end()).await.is_err() {
            self.findings.push("the node does not end when it is asked to".to_owned());
            return;
        }
        match self.supervisor.machine().inspect() {
            Ok((after, wrong)) => {
                self.findings.extend(wrong);
                if let Some(before) = before
                    && before != after
                {
                    self.findings.push(difference(&before, &after));
                }
            }
            Err(why) => self.findings.push(format!("the logs cannot be opened at the end: {why}")),
        }
    }
}

fn difference(before: &str, after: &str) -> String {
    let lines = before.lines().zip(after.lines()).find(|(a, b)| a != b);
    let (a, b) = lines.unwrap_or(("(one is longer)", ""));
    format!("made anew from the log the mailboxes are others: {a:?} is now {b:?}")
}

fn read_all(desk: &Desk, account: &AccountId) -> Result<Vec<Standings>, stores_mailbox::MailboxError> {
    let mailboxes = &desk.mailboxes;
    let mut all = Vec::new();
    if !mailboxes.is_open(account)? {
        return Ok(all);
    }
    for folder in mailboxes.folders(account)? {
        for message in mailboxes.page(folder.id, 1, u32::MAX, 1_000)? {
            let mut bytes = Vec::new();
            let read = mailboxes.body(&message.body)?.read_to_end(&mut bytes);
            read.map_err(|e| stores_mailbox::MailboxError::Body(e.to_string()))?;
            let flags = message.flags.names().map(str::to_lowercase).collect();
            all.push(Standings { folder: folder.name.clone(), flags, bytes });
        }
    }
    Ok(all)
}

/// Keeps a primary running while it is to be up.
async fn keep_up(primary: Primary, mut up: watch::Receiver<bool>) {
    // Ends with the life, when nobody can switch it any more.
    while up.wait_for(|up| *up).await.is_ok() {
        tokio::select! {
            biased;
            _ = up.wait_for(|up| !*up) => {}
            _ = primary.clone().run() => {}
        }
        sleep(Duration::from_millis(100)).await;
    }
}
