//! Tells people what the ledger says has happened: by mail to addresses outside the primary, and by webhook.
//!
//! One notice for each change of a primary's standing, repeated until somebody acknowledges it. What is to be told
//! follows from orders and requests in the ledger, and what was told is written there, so a restart forgets nothing.
//! Before a notice is sent the ledger hears of it; when the program is killed between sending and knowing, the notice
//! is sent again under the same id (`Message-ID`, `Idempotency-Key`).

mod concern;
mod courier;
mod heartbeat;
mod story;
#[cfg(test)]
mod tests;
mod web;
mod webhook;
mod words;

pub use concern::{Concern, Concerns, Worry};
pub use courier::{Courier, MailCourier, NotTaken};
pub use heartbeat::{Heartbeat, MISSES, Place, Pulse, Vital};
pub use web::{Answered, Web};
pub use webhook::{Url, WebhookCourier};
pub use words::{Backlog, Cause, Lag, Letter, Proof, Standing, Turning, change, test};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use stores_ledger::{Entry, Ledger, Notice, NoticeResult, Position};
use story::{Content, Key, Story, Waiting};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use words_mail::{PrimaryId, Time};
use words_world::{World, crash_point};

/// How far back the ledger is read at a start, and further where an event is open.
const READ_BACK: Duration = Duration::from_secs(7 * 86_400);
/// How long one receiver may take.
const SEND: Duration = Duration::from_secs(300);
/// When nothing is due the story is looked at so often all the same.
const IDLE: Duration = Duration::from_secs(60);
/// Notices on their way at a time; the rest waits.
const SENDING_MAX: usize = 16;

/// Who is told of what.
#[derive(Clone, Default)]
pub struct Receivers {
    /// Those of single primaries.
    pub of: BTreeMap<PrimaryId, Vec<Arc<dyn Courier>>>,
    /// Those of all other primaries.
    pub others: Vec<Arc<dyn Courier>>,
}

/// The road.
pub struct Notify {
    /// The outside.
    pub world: World,
    /// What happened.
    pub ledger: Ledger,
    /// This node's name, for the text.
    pub node: String,
    /// Who is told.
    pub receivers: Receivers,
    /// How often what is still so is told again; `None`: never.
    pub repeat: Option<Duration>,
    /// How far primaries are behind, for the text.
    pub backlog: Arc<dyn Backlog>,
}

impl Notify {
    /// Tells until shutdown.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut teller = Teller::new(self);
        let mut durable = teller.ledger.durable();
        let mut sending: JoinSet<(Key, usize, Notice, Result<(), NotTaken>)> = JoinSet::new();
        loop {
            durable.borrow_and_update();
            teller.read();
            teller.dispatch(&mut sending).await;
            let wake = teller.story.next().unwrap_or_else(|| Instant::now() + IDLE);
            let wake = wake.clamp(Instant::now() + Duration::from_millis(100), Instant::now() + IDLE);
            tokio::select! {
                biased;
                changed = shutdown.changed() => {
                    if changed.is_err() || *shutdown.borrow() {
                        return;
                    }
                }
                Some(ended) = sending.join_next() => {
                    if let Ok((key, to, notice, result)) = ended {
                        teller.ended(key, to, notice, result).await;
                    }
                }
                Ok(()) = durable.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    }
}

struct Teller {
    world: World,
    ledger: Ledger,
    node: String,
    backlog: Arc<dyn Backlog>,
    couriers: Vec<Arc<dyn Courier>>,
    story: Story,
    position: Position,
}

impl Teller {
    fn new(notify: Notify) -> Teller {
        let Notify { world, ledger, node, receivers, repeat, backlog } = notify;
        let mut couriers: Vec<Arc<dyn Courier>> = Vec::new();
        let mut number = |list: Vec<Arc<dyn Courier>>| -> Vec<usize> {
            list.into_iter()
                .map(|courier| {
                    let known = couriers
                        .iter()
                        .position(|c| c.channel() == courier.channel() && c.to() == courier.to());
                    known.unwrap_or_else(|| {
                        couriers.push(courier);
                        couriers.len() - 1
                    })
                })
                .collect()
        };
        let of = receivers.of.into_iter().map(|(primary, list)| (primary, number(list))).collect();
        let others = number(receivers.others);
        let names = couriers.iter().map(|c| (c.channel(), c.to().to_owned())).collect();
        let story = Story::new(repeat, of, others, names);
        let now = world.clock.now();
        let opened = ledger.in_force().open_events().map(|event| event.opened).min().unwrap_or(now);
        let position = ledger.reader().position_at(opened.min(now.before(READ_BACK))).unwrap_or_default();
        Teller { world, ledger, node, backlog, couriers, story, position }
    }

    /// Takes in what is new in the ledger.
    fn read(&mut self) {
        let (now, wall) = (Instant::now(), self.world.clock.now());
        let mut scan = self.ledger.reader().scan_notices(Some(self.position));
        for entered in &mut scan {
            match entered {
                Ok(entered) => self.story.absorb(entered.seq, &entered.entry, now, wall),
                Err(error) => {
                    tracing::error!(%error, "the ledger cannot be read; notices may be late");
                    return;
                }
            }
        }
        self.position = scan.position();
    }

    async fn dispatch(&mut self, sending: &mut JoinSet<(Key, usize, Notice, Result<(), NotTaken>)>) {
        let wall = self.world.clock.now();
        if sending.len() >= SENDING_MAX {
            return;
        }
        for (waiting, to) in self.story.due(Instant::now(), wall) {
            let Some(courier) = self.couriers.get(to).cloned() else { continue };
            let letter = self.letter(&waiting, wall);
            let mut notice = Notice {
                at: wall,
                primary: Some(waiting.primary().clone()),
                event: waiting.event(),
                order: waiting.order,
                channel: courier.channel().to_owned(),
                to: courier.to().to_owned(),
                subject: letter.subject.clone(),
                result: NoticeResult::Begun,
                cause: waiting.cause.to_string(),
            };
            let muted = self.story.muted(waiting.primary(), wall);
            if let (Some(until), false) = (muted, matches!(waiting.cause, Cause::Test(_))) {
                notice.result = NoticeResult::Held { why: format!("muted until {until}") };
                self.story.done(waiting.key(), to, Instant::now());
                self.note(notice).await;
                continue;
            }
            // A ledger that takes nothing is no reason to tell nobody.
            self.note(notice.clone()).await;
            crash_point("notify.begun");
            let key = waiting.key();
            sending.spawn(async move {
                let result = timeout(SEND, courier.send(&letter)).await;
                let late =
                    || NotTaken { why: format!("no answer within {} s", SEND.as_secs()), for_good: false };
                (key, to, notice, result.unwrap_or_else(|_| Err(late())))
            });
        }
    }

    fn letter(&self, waiting: &Waiting, now: Time) -> Letter {
        match (&waiting.content, waiting.cause) {
            (Content::Turning(turning), cause) => {
                let lag = self.backlog.lag(&turning.primary);
                change(turning, cause, lag.as_ref(), &self.node, now)
            }
            (Content::Test { primary, by }, Cause::Test(seq)) => test(seq, primary, by, &self.node, now),
            (Content::Test { primary, by }, _) => test(0, primary, by, &self.node, now),
        }
    }

    async fn ended(&mut self, key: Key, to: usize, mut notice: Notice, result: Result<(), NotTaken>) {
        crash_point("notify.sent");
        notice.at = self.world.clock.now();
        match result {
            Ok(()) => {
                tracing::info!(channel = %notice.channel, to = %notice.to, cause = %notice.cause,
                    subject = %notice.subject, "notice sent");
                self.story.done(key, to, Instant::now());
                notice.result = NoticeResult::Sent;
            }
            Err(NotTaken { why, for_good }) => {
                let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                tracing::warn!(channel = %notice.channel, to = %notice.to, cause = %notice.cause, %why, for_good,
                    "notice not sent");
                self.story.failed(key, to, for_good, Instant::now());
                notice.result = NoticeResult::Failed { why };
            }
        }
        self.note(notice).await;
    }

    async fn note(&self, notice: Notice) {
        if let Err(error) = self.ledger.append(Entry::Notice(notice)).await {
            tracing::warn!(%error, "what became of a notice could not be written down");
        }
    }
}
