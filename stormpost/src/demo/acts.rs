//! The acts: peace, outage, return, and the count.

use super::company::Server;
use super::count::{self, Found, Listed, Promised, Times};
use super::ending;
use super::mail::Stock;
use super::observer::{Observer, Seen};
use super::outside::{Outbox, Outside};
use super::people::{Done, Notes, OWN_NUMBERS, Shift};
use super::report::{Figures, Twin};
use super::stage::{RETURN_DWELL_SECONDS, Stage};
use super::story::Story;
use crate::command::{DemoArguments, DemoPrimary};
use anyhow::{Context, Result};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use words_mail::Address;

/// Peace before the kill and after the return, as seen by senders.
const PEACE: Duration = Duration::from_secs(4);
/// Everything must be given back within this after the return, and as much again for every thousand messages.
const GIVE_BACK_MAX: Duration = Duration::from_secs(120);
/// Senders must have got rid of their mail so long after everything was given back.
const SENDERS_MAX: Duration = Duration::from_secs(60);
/// What nobody holds any more may take so long into a mailbox, before it is called lost.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// Stormpost may hold messages so long before the count begins all the same.
const WAITING_MAX: Duration = Duration::from_secs(120);
/// How far apart numbers of two people's messages begin.
const NUMBERS_EACH: usize = 1_000_000;
/// A person looks at the mail so often; with more people than [`CROWD`] less often, so that the machine keeps up.
const LOOK_PAUSE: Duration = Duration::from_millis(1_500);
const CROWD: u32 = 20;
/// People who sign in at the same time before the story begins.
const SIGN_IN_TOGETHER: usize = 8;
const TICK: Duration = Duration::from_millis(50);

/// Everybody who is on stage, and their notes.
pub(super) struct Cast {
    /// The hosts.
    pub(super) stage: Stage,
    story: Story,
    observer: Observer,
    stock: Arc<Stock>,
    notes: Notes,
    twin_notes: Notes,
    outbox: Outbox,
    twin_outbox: Outbox,
    senders: JoinSet<()>,
    stop_senders: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Everything that was found out.
pub(super) struct Ending {
    /// The figures.
    pub(super) figures: Figures,
    /// The other column.
    pub(super) twin: Twin,
    /// What people did.
    pub(super) done: Done,
    /// What should be told and is no exception.
    pub(super) remarks: Vec<String>,
}

impl Cast {
    /// Everybody, before anything is started.
    pub(super) fn new(stage: Stage, stock: Stock) -> Cast {
        let observer = Observer::new(stage.front.data().join("control.sock"));
        Cast {
            stage,
            story: Story::default(),
            observer,
            stock: Arc::new(stock),
            notes: Notes::default(),
            twin_notes: Notes::default(),
            outbox: Outbox::default(),
            twin_outbox: Outbox::default(),
            senders: JoinSet::new(),
            stop_senders: watch::Sender::new(false),
            tasks: JoinSet::new(),
        }
    }

    /// The whole story; whether it came out clean.
    ///
    /// # Errors
    /// When it could not be carried through.
    pub(super) async fn play(&mut self, arguments: &DemoArguments) -> Result<bool> {
        self.raise_curtain(arguments).await?;
        self.begin_mail(arguments)?;
        self.story.meanwhile(|| self.how_far(), sleep(PEACE)).await;
        let (killed, dead) = self.outage(arguments).await?;
        let returned = self.bring_back().await?;
        let times = Times { killed, dead, returned };
        self.give_back(arguments, &times).await;
        let ending = self.count(&times).await?;
        ending::tell(arguments, &self.story, &ending)?;
        Ok(ending.figures.is_clean())
    }

    /// Ends every server in order.
    pub(super) async fn stop(&mut self) {
        self.senders.abort_all();
        self.tasks.abort_all();
        let [outside, primary, twin, front] = self.stage.hosts().map(|host| &mut host.server);
        tokio::join!(Server::stop(outside), Server::stop(primary), Server::stop(twin), Server::stop(front));
    }

    fn how_far(&self) -> String {
        let (messages, changes) = self.observer.seen().waiting();
        let done = self.notes.done();
        format!(
            "{} accepted, {messages} wait here with {changes} changes; people read {} and sent {}; the twin's senders hold {}",
            self.outbox.acknowledged(),
            done.read.len(),
            done.sent.len(),
            self.twin_outbox.held(),
        )
    }

    /// Starts everything and lets people sign in once.
    async fn raise_curtain(&mut self, arguments: &DemoArguments) -> Result<()> {
        let story = self.story.clone();
        story.tell(
            0,
            format!(
                "a company's mail system ({}), its twin, and Stormpost in front of the first are started",
                played_by(arguments.primary)
            ),
        );
        let start = async {
            for host in self.stage.hosts() {
                host.server.start().await?;
            }
            Ok::<(), anyhow::Error>(())
        };
        story.meanwhile(|| "starting".to_owned(), start).await?;
        self.tasks.spawn(self.observer.clone().run());
        self.tasks.spawn(tell_milestones(self.observer.clone(), story.clone()));
        let (all, inside) = (self.stage.people.len(), Cell::new(0));
        let how_far = || format!("{} of {all} people have signed in", inside.get());
        story.meanwhile(how_far, self.sign_everybody_in(&inside)).await?;
        story.tell(0, format!("{all} people have signed in once through Stormpost, as on any day"));
        Ok(())
    }

    async fn sign_everybody_in(&self, inside: &Cell<usize>) -> Result<()> {
        let desk = self.stage.front.desk(&self.stage.world)?;
        let mut entering = JoinSet::new();
        let mut waiting = self.stage.people.iter();
        loop {
            while entering.len() < SIGN_IN_TOGETHER
                && let Some(person) = waiting.next().cloned()
            {
                let desk = desk.clone();
                entering.spawn(async move {
                    let name = || format!("{} signing in", person.address);
                    desk.knock(&person).await.with_context(name)
                });
            }
            match entering.join_next().await {
                Some(done) => done.context("signing in")??,
                None => return Ok(()),
            }
            inside.set(inside.get() + 1);
        }
    }

    /// Mail begins to come in, to both.
    fn begin_mail(&mut self, arguments: &DemoArguments) -> Result<()> {
        let time = PEACE * 2 + Duration::from_secs(arguments.outage);
        let each = time / arguments.messages;
        let stranger = self.stage.stranger.address.clone();
        for (host, outbox) in [(&self.stage.front, &self.outbox), (&self.stage.twin, &self.twin_outbox)] {
            let outside = Outside {
                world: self.stage.world.clone(),
                hop: host.door()?,
                stock: self.stock.clone(),
                from: stranger.clone(),
                people: self.stage.people.iter().map(|person| person.address.clone()).collect(),
                outbox: outbox.clone(),
            };
            self.senders.spawn(outside.run(arguments.messages as usize, each, self.stop_senders.subscribe()));
        }
        if let Some(words) = self.stock.words() {
            self.story.tell(0, words);
        }
        self.story.tell(
            0,
            format!(
                "mail begins: {} messages to each of the two, one every {:.0} ms",
                arguments.messages,
                each.as_secs_f64() * 1e3
            ),
        );
        Ok(())
    }

    /// Kills both mail systems, and Stormpost once; people work. Gives when the former were killed, and from when until
    /// when the latter was dead.
    async fn outage(&mut self, arguments: &DemoArguments) -> Result<(Instant, (Instant, Instant))> {
        let story = self.story.clone();
        let killed = Instant::now();
        self.stage.primary.server.kill();
        self.stage.twin.server.kill();
        story.tell_of(-1, killed, "both mail systems are killed with SIGKILL, in the middle of their mail");
        let length = Duration::from_secs(arguments.outage);
        let mut people = JoinSet::new();
        self.send_people_to_work(&mut people, arguments, killed + length)?;

        let half = killed + length / 2;
        story.meanwhile(|| self.how_far(), sleep_until(half.into())).await;
        let dead = Instant::now();
        self.stage.front.server.kill();
        story.tell_of(-1, dead, "Stormpost itself is killed with SIGKILL");
        self.stage.front.server.start().await?;
        let back = Instant::now();
        story.tell(1, format!("Stormpost is back after {:.2} s", (back - dead).as_secs_f64()));

        let work = async {
            sleep_until((killed + length).into()).await;
            people.join_all().await;
        };
        story.meanwhile(|| self.how_far(), work).await;
        Ok((killed, (dead, back)))
    }

    fn send_people_to_work(
        &self,
        people: &mut JoinSet<()>,
        arguments: &DemoArguments,
        until: Instant,
    ) -> Result<()> {
        let all: Vec<Address> = self.stage.people.iter().map(|person| person.address.clone()).collect();
        let stranger = self.stage.stranger.address.clone();
        let desks = [
            (self.stage.front.desk(&self.stage.world)?, &self.notes),
            (self.stage.twin.desk(&self.stage.world)?, &self.twin_notes),
        ];
        for (desk, notes) in desks {
            for (n, person) in self.stage.people.iter().enumerate() {
                let others = all.iter().filter(|address| **address != person.address).cloned();
                let shift = Shift {
                    colleagues: others.chain([stranger.clone()]).collect(),
                    stranger: stranger.clone(),
                    first_number: OWN_NUMBERS + n * NUMBERS_EACH,
                    pause: LOOK_PAUSE * arguments.people.div_ceil(CROWD),
                    until,
                };
                let (desk, person, notes) = (desk.clone(), person.clone(), notes.clone());
                people.spawn(async move { desk.work(person, shift, notes).await });
            }
        }
        Ok(())
    }

    /// Starts the mail systems again. Gives when the primary answered.
    async fn bring_back(&mut self) -> Result<Instant> {
        let story = self.story.clone();
        let both = async {
            // The moment it answers is the moment it is back; starting it is not our doing.
            self.stage.primary.server.start().await?;
            let returned = Instant::now();
            story.tell(
                1,
                format!(
                    "the mail system is started again; it must be well for {RETURN_DWELL_SECONDS} s here to be believed"
                ),
            );
            self.stage.twin.server.start().await?;
            Ok(returned)
        };
        story.meanwhile(|| "starting the mail systems again".to_owned(), both).await
    }

    /// Waits until everything is given back and proved.
    async fn give_back(&mut self, arguments: &DemoArguments, times: &Times) {
        let story = self.story.clone();
        let most = GIVE_BACK_MAX * (1 + arguments.messages / 1_000);
        let until = times.returned + most;
        let given_back = |seen: &Seen| {
            let waited = seen.event.is_none() || seen.drained.is_some();
            seen.is_ready() && waited && seen.last.is_some()
        };
        let wait = async {
            while Instant::now() < until && !given_back(&self.observer.seen()) {
                sleep(TICK).await;
            }
        };
        story.meanwhile(|| self.how_far(), wait).await;
        let seen = self.observer.seen();
        if !seen.is_ready() {
            story.tell(-1, format!("after {} s the event is still open", most.as_secs()));
        }
        let mut senders = std::mem::take(&mut self.senders);
        let finish = async { while senders.join_next().await.is_some() {} };
        let patient = async {
            tokio::select! {
                biased;
                () = finish => {}
                () = sleep(SENDERS_MAX) => {}
            }
        };
        story.meanwhile(|| self.how_far(), patient).await;
        self.stop_senders.send_replace(true);
    }

    /// Counts what is where. What was acknowledged a moment ago may still be on its way into a mailbox.
    async fn count(&mut self, times: &Times) -> Result<Ending> {
        let story = self.story.clone();
        let done = self.notes.done();
        let promised = count::promised(&self.outbox, &done);
        let waiting = Cell::new(0);
        let how_far = || match waiting.get() {
            0 => format!("looking for {} messages in every mailbox", promised.len()),
            some => format!(
                "{some} messages still wait here; one whose server was cut off in the middle is tried again after a minute"
            ),
        };
        let (found, listed) = story.meanwhile(how_far, self.look(&promised, &done, &waiting)).await?;

        let seen = self.observer.seen();
        let mut figures = found.figures(&promised, &done, &listed);
        let waiting = usize::try_from(waiting.get()).unwrap_or(usize::MAX);
        // What stands in its mailbox is settled, whoever has not noted it yet.
        figures.settled = figures.accepted.saturating_sub(waiting).max(figures.seen);
        figures.seconds = count::seconds(&seen, &done, times);
        figures.waiting_outside = count::twin(&self.outbox, &done, times).waiting_outside;
        if !seen.is_ready() {
            figures.exceptions.push("the primary is not READY again: its event was not closed".to_owned());
        }
        let letters = self.outbox.letters();
        if self.outbox.held() > 0 {
            let words = format!("{} messages were not taken by Stormpost in time", self.outbox.held());
            figures.exceptions.push(words);
        }
        Ok(Ending {
            twin: count::twin(&self.twin_outbox, &self.twin_notes.done(), times),
            remarks: found.remarks(&letters, &done, times),
            figures,
            done,
        })
    }

    /// Looks into every mailbox, again and again until everything is there or it has had its time. `waiting` gets the
    /// number of messages that wait at Stormpost.
    async fn look(&self, promised: &Promised, done: &Done, waiting: &Cell<u64>) -> Result<(Found, Listed)> {
        let began = Instant::now();
        let mut last_waiting = began;
        loop {
            self.observer.look().await;
            waiting.set(self.observer.seen().waiting().0);
            if waiting.get() > 0 && began.elapsed() < WAITING_MAX {
                last_waiting = Instant::now();
            } else {
                let event =
                    if self.observer.seen().event.is_some() { self.observer.event().await } else { None };
                let (found, listed) = (Found::look(&self.stage).await?, Listed::of(event));
                if found.is_whole(promised, done, &listed) || last_waiting.elapsed() > SETTLE_MAX {
                    return Ok((found, listed));
                }
            }
            sleep(TICK * 10).await;
        }
    }
}

/// What plays the mail system, in words.
pub(super) fn played_by(primary: DemoPrimary) -> &'static str {
    match primary {
        DemoPrimary::Own => "another Stormpost",
        DemoPrimary::Debian => "Postfix and Dovecot",
    }
}

/// A step of the event: what is told, and when it was.
type Milestone = (&'static str, fn(&Seen) -> Option<Instant>);

const MILESTONES: [Milestone; 5] = [
    ("the primary is in doubt: deliveries wait here, and nobody notices", |seen| seen.suspect),
    ("an event is open: people are told, and Stormpost carries the mail", |seen| seen.event),
    ("the primary is judged well again: giving back begins", |seen| seen.returning.map(|mark| mark.at)),
    ("what had waited is handed over", |seen| seen.drained),
    ("every message was found in the primary's mailboxes, and the event is closed", |seen| {
        seen.ready.filter(|_| seen.event.is_some())
    }),
];

/// Tells each step when it is seen.
async fn tell_milestones(observer: Observer, story: Story) {
    for (words, when) in MILESTONES {
        let at = loop {
            if let Some(at) = when(&observer.seen()) {
                break at;
            }
            sleep(TICK).await;
        };
        story.tell_of(1, at, words);
    }
}
