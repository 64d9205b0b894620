//! `stormpost demo`: an outage, and the way back, counted.
//!
//! Four mail hosts are processes of this same binary: a company's mail system, an unprotected twin of it, Stormpost in
//! front of the first, and the rest of the world. Both mail systems are killed while mail is coming in.

mod company;
mod count;
mod mail;
mod names;
mod observer;
mod outside;
mod people;
mod report;
mod stage;
mod story;

use crate::command::{DemoArguments, DemoPrimary};
use anyhow::{Context, Result, bail};
use count::Found;
use mail::Stock;
use observer::Observer;
use outside::{Outbox, Outside};
use people::{Desk, Notes, OWN_NUMBERS};
use report::{Figures, Twin};
use stage::{COMPANY, Host, OUTSIDE, RETURN_DWELL, Stage};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use story::Story;
use tokio::sync::watch;
use tokio::task::JoinSet;
use words_mail::Address;

/// Peace before the kill and after the return, as seen by senders.
const PEACE: Duration = Duration::from_secs(4);
/// Everything must be given back within this after the return, and as much again for every thousand messages.
const GIVE_BACK_MAX: Duration = Duration::from_secs(120);
/// How far apart numbers of two people's messages begin.
const NUMBERS_EACH: usize = 1_000_000;

/// Runs the demonstration; whether it came out clean.
///
/// # Errors
/// When it could not be carried through, with the end of the log that says why.
pub fn run(arguments: DemoArguments) -> Result<bool> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if arguments.primary == DemoPrimary::Debian {
        bail!("--primary debian is not there yet");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let folder = Folder::make(arguments.folder.as_deref())?;
    let clean = runtime.block_on(play(&arguments, &folder.path));
    runtime.shutdown_timeout(Duration::from_secs(1));
    if clean.as_ref().is_ok_and(|clean| *clean) && !arguments.keep {
        folder.remove();
    } else {
        println!("everything is left in {}", folder.path.display());
    }
    clean
}

/// Where the demonstration lives.
struct Folder {
    path: PathBuf,
    ours: bool,
}

impl Folder {
    fn make(given: Option<&Path>) -> Result<Folder> {
        let ours = given.is_none();
        let path = match given {
            Some(path) => path.to_owned(),
            None => {
                let mut random = [0; 6];
                words_world::Random::fill(&crate::world::SystemRandom, &mut random);
                let name: String = random.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
                std::env::temp_dir().join(format!("stormpost-demo-{name}"))
            }
        };
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        if path.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            bail!("{} is not empty; name another folder", path.display());
        }
        let path = path.canonicalize().with_context(|| format!("finding {}", path.display()))?;
        Ok(Folder { path, ours })
    }

    fn remove(&self) {
        if self.ours {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The actors who are on stage all the time.
struct Cast {
    stage: Stage,
    story: Story,
    observer: Observer,
    notes: Notes,
    twin_notes: Notes,
    outbox: Outbox,
    twin_outbox: Outbox,
    tasks: JoinSet<()>,
    senders: JoinSet<()>,
}

async fn play(arguments: &DemoArguments, folder: &Path) -> Result<bool> {
    let stock = Arc::new(match &arguments.mail {
        Some(path) => Stock::read(path)?,
        None => Stock::invented(),
    });
    let stage = Stage::set(folder, arguments)?;
    let observer = Observer::new(stage.front.data.join("control.sock"));
    let mut cast = Cast {
        stage,
        story: Story::default(),
        observer,
        notes: Notes::default(),
        twin_notes: Notes::default(),
        outbox: Outbox::default(),
        twin_outbox: Outbox::default(),
        tasks: JoinSet::new(),
        senders: JoinSet::new(),
    };
    cast.raise_curtain(arguments, &stock).await?;
    let killed = cast.outage(arguments).await?;
    let returned = cast.give_back(arguments).await?;
    cast.senders.join_all().await;
    let found = Found::look(&cast.stage, &cast.outbox, &cast.notes).await?;
    let (figures, twin) = (
        found.figures(&cast.observer.seen(), &cast.notes.done(), killed, returned),
        count::twin(&cast.twin_outbox, &cast.twin_notes.done(), returned),
    );
    ending(arguments, &cast.story, &figures, &twin, &found)?;
    if arguments.keep {
        look_around(&cast.stage).await;
    }
    Ok(figures.is_clean())
}

impl Cast {
    /// Starts everything, lets people sign in once, begins the mail.
    async fn raise_curtain(&mut self, arguments: &DemoArguments, stock: &Arc<Stock>) -> Result<()> {
        let story = self.story.clone();
        story.tell(
            0,
            "starting a company's mail system, its unprotected twin, and Stormpost in front of the first",
        );
        for host in
            [&mut self.stage.outside, &mut self.stage.primary, &mut self.stage.twin, &mut self.stage.front]
        {
            host.server.start().await?;
        }
        self.tasks.spawn(self.observer.clone().run());
        let desk = self.stage.front.desk(&self.stage.world)?;
        for person in &self.stage.people {
            let store =
                desk.sign_in(person).await.with_context(|| format!("{} signing in", person.address))?;
            leave(store).await;
        }
        story.tell(
            0,
            format!(
                "{} people have signed in once through Stormpost, as on any day",
                self.stage.people.len()
            ),
        );
        let time = PEACE * 2 + Duration::from_secs(arguments.outage);
        let each = time / arguments.messages;
        let stranger = self.stage.stranger.address.clone();
        let hosts = [(&self.stage.front, &self.outbox), (&self.stage.twin, &self.twin_outbox)];
        for (host, outbox) in hosts {
            let outside = Outside {
                world: self.stage.world.clone(),
                hop: host.door()?,
                stock: stock.clone(),
                from: stranger.clone(),
                people: self.stage.people.iter().map(|person| person.address.clone()).collect(),
                outbox: outbox.clone(),
            };
            // The senders go on for as long as it takes: nobody tells them to forget their mail.
            let go_on = watch::Sender::new(false);
            let count = arguments.messages as usize;
            self.senders.spawn(async move {
                outside.run(count, each, go_on.subscribe()).await;
            });
        }
        story.tell(
            0,
            format!(
                "mail begins: {} messages to each of the two, one every {:.0} ms",
                arguments.messages,
                each.as_secs_f64() * 1e3
            ),
        );
        tokio::time::sleep(PEACE).await;
        Ok(())
    }

    /// Kills both mail systems, and Stormpost once; people work.
    async fn outage(&mut self, arguments: &DemoArguments) -> Result<Instant> {
        let story = self.story.clone();
        self.stage.primary.server.kill();
        self.stage.twin.server.kill();
        let killed = Instant::now();
        story.tell(-1, "both mail systems are killed with SIGKILL, in the middle of their mail");
        let until = killed + Duration::from_secs(arguments.outage);
        let mut people = JoinSet::new();
        self.send_people_to_work(&mut people, until)?;
        self.wait_for("deliveries wait here: the primary is in doubt", until, |seen| seen.suspect.is_some())
            .await;
        let half = killed + Duration::from_secs(arguments.outage) / 2;
        self.wait_for("an event is open: people are told, we carry the mail", half, |seen| {
            seen.event.is_some()
        })
        .await;
        tokio::time::sleep_until(half.into()).await;
        self.stage.front.server.kill();
        story.tell(-1, "Stormpost itself is killed with SIGKILL");
        let dead = Instant::now();
        self.stage.front.server.start().await?;
        story.tell(1, format!("Stormpost is back after {:.2} s", dead.elapsed().as_secs_f64()));
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_secs(3).min(until.saturating_duration_since(Instant::now())))
                .await;
            let done = self.notes.done();
            story.progress(&format!(
                "{} messages accepted, {} read, {} sent by people; the twin's senders still hold {}",
                self.outbox.acknowledged(),
                done.read.len(),
                done.sent.len(),
                self.twin_outbox.letters().len() - self.twin_outbox.acknowledged(),
            ));
        }
        people.join_all().await;
        Ok(killed)
    }

    fn send_people_to_work(&self, people: &mut JoinSet<()>, until: Instant) -> Result<()> {
        let all: Vec<Address> = self.stage.people.iter().map(|person| person.address.clone()).collect();
        let stranger = self.stage.stranger.address.clone();
        let desks = [
            (self.stage.front.desk(&self.stage.world)?, &self.notes),
            (self.stage.twin.desk(&self.stage.world)?, &self.twin_notes),
        ];
        for (desk, notes) in desks {
            for (n, person) in self.stage.people.iter().enumerate() {
                let others = all.iter().filter(|address| **address != person.address).cloned();
                let to: Vec<Address> = others.chain([stranger.clone()]).collect();
                let (desk, person, notes): (Desk, _, _) = (desk.clone(), person.clone(), notes.clone());
                let first = OWN_NUMBERS + n * NUMBERS_EACH;
                people.spawn(async move { desk.work(person, to, first, until, notes).await });
            }
        }
        Ok(())
    }

    /// Brings the mail systems back and waits until everything is given back and proved.
    async fn give_back(&mut self, arguments: &DemoArguments) -> Result<Instant> {
        let story = self.story.clone();
        // The moment the process answers is the moment it is back; starting it is not our doing.
        self.stage.primary.server.start().await?;
        let returned = Instant::now();
        self.stage.twin.server.start().await?;
        story.tell(1, "both mail systems are started again");
        let most = GIVE_BACK_MAX * (1 + arguments.messages / 1_000);
        let until = returned + most;
        self.wait_for(
            &format!("the primary is judged well (return dwell here: {RETURN_DWELL})"),
            until,
            |seen| seen.returning.is_some(),
        )
        .await;
        self.wait_for("everything that waited is handed over", until, |seen| seen.drained.is_some()).await;
        self.wait_for(
            "looked for every message in the primary's mailboxes; the event is closed",
            until,
            |seen| seen.ready.is_some(),
        )
        .await;
        if self.observer.seen().ready.is_none() {
            let seen = self.observer.seen();
            story.tell(-1, format!("after {} s the event is still open: {:?}", most.as_secs(), seen.silent));
        }
        Ok(returned)
    }

    /// Waits until something was seen, at most until a moment, and tells it.
    async fn wait_for(&self, what: &str, until: Instant, is_seen: impl Fn(&observer::Seen) -> bool) {
        let mut told = Instant::now();
        while Instant::now() < until {
            let seen = self.observer.seen();
            if is_seen(&seen) {
                self.story.tell(1, what);
                return;
            }
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                let waiting = seen.last.map_or(0, |status| status.queue.messages);
                self.story.progress(&format!("{waiting} messages wait here"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.story.tell(-1, format!("not seen in time: {what}"));
    }
}

async fn leave(store: stores_primary::imap::ImapStore) {
    use stores_primary::store::MailStore;
    Box::new(store).leave().await;
}

/// Prints both columns, writes page and report.
fn ending(
    arguments: &DemoArguments,
    story: &Story,
    figures: &Figures,
    twin: &Twin,
    found: &Found,
) -> Result<()> {
    println!();
    println!("{:42} {:>14} {:>14}", "in the outage", "with Stormpost", "without");
    for (what, ours, theirs) in [
        ("messages people read", figures.read_in_outage, twin.read_in_outage),
        ("messages people sent", figures.sent_in_outage, twin.sent_in_outage),
        ("messages left waiting outside", 0, twin.waiting_outside),
    ] {
        println!("{what:42} {ours:>14} {theirs:>14}");
    }
    println!();
    println!("counted in the primary's own mailboxes, over IMAP:");
    println!(
        "  accepted {}  settled {}  seen {}  lost {}  doubled {}  exceptions {}  changes carried over {}",
        figures.accepted,
        figures.settled,
        figures.seen,
        figures.lost,
        figures.doubled,
        figures.exceptions.len(),
        figures.changes_replayed
    );
    let seconds = &figures.seconds;
    println!(
        "  seconds: suspect {:.1}  event {:.1}  first read {:.1}  first send {:.1}  return seen {:.1}  drain {:.1}  \
         reconcile {:.1}",
        seconds.suspect,
        seconds.event_open,
        seconds.first_read,
        seconds.first_send,
        seconds.return_detect,
        seconds.drain,
        seconds.reconcile
    );
    for line in figures.exceptions.iter().chain(&found.remarks).take(20) {
        println!("  ! {line}");
    }
    std::fs::write(&arguments.page, report::page(figures, twin, &story.moments()))
        .with_context(|| format!("writing {}", arguments.page.display()))?;
    println!("  the story as a page: {}", arguments.page.display());
    if let Some(path) = &arguments.report {
        let text = serde_json::to_string_pretty(figures).context("writing the report")?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// `--keep`: says how to look around and waits for the end.
async fn look_around(stage: &Stage) {
    println!("\nEverything goes on running. Look around, and end with Ctrl-C.");
    for (host, name) in
        [(&stage.front, "Stormpost"), (&stage.primary, "the mail system"), (&stage.twin, "its twin")]
    {
        let Host { doors, server, .. } = host;
        println!(
            "  {name:16} IMAP {} (STARTTLS)  sending {} (STARTTLS)  configuration {}",
            doors.imap,
            doors.submission,
            server.configuration.display()
        );
    }
    for person in stage.people.iter().take(3) {
        println!("  sign in as {} with {}", person.address, person.password);
    }
    println!("  stormpost -c {} status", stage.front.server.configuration.display());
    println!("  ({COMPANY} is the company, {OUTSIDE} everybody else)");
    let _ = tokio::signal::ctrl_c().await;
}
