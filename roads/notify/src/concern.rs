//! Tells people of what they should see to on this machine itself, as a certificate that nears its end: once, and again
//! when it grows more urgent. What was told is in the ledger, so a restart does not repeat it.

use crate::courier::{Courier, NotTaken};
use crate::words::Letter;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use stores_ledger::{Entry, Ledger, Notice, NoticeResult};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use words_mail::Time;
use words_world::{Boxed, World};

/// How often it is looked. A notice that was not taken is sent again then.
const LOOK: Duration = Duration::from_secs(60);
/// How long one receiver may take.
const SEND: Duration = Duration::from_secs(300);
/// How far back the ledger is read at a start.
const READ_BACK: Duration = Duration::from_secs(30 * 86_400);
/// Concerns that are told at once; the rest waits for the next look.
const CONCERNS_MAX: usize = 16;

/// Something that a person should see to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// What tells it from all others, and from the same trouble another time: `certificate-1795343827`. No spaces.
    pub name: String,
    /// How urgent; told anew whenever it rises. At least 1.
    pub level: u32,
    /// The first line.
    pub subject: String,
    /// What it is and what to do.
    pub text: String,
}

/// Who knows what a person should see to.
pub trait Concerns: Send + Sync {
    /// Everything at this moment.
    fn now(&self) -> Boxed<'_, Vec<Concern>>;
}

/// The road.
pub struct Worry {
    /// The outside.
    pub world: World,
    /// Where it is written down what was told.
    pub ledger: Ledger,
    /// This node's name, for the text.
    pub node: String,
    /// Who is told.
    pub couriers: Vec<Arc<dyn Courier>>,
    /// What there is to tell.
    pub concerns: Arc<dyn Concerns>,
}

/// What each receiver was told: by way and address, and by concern, how urgent it was.
type Told = BTreeMap<(String, String, String), u32>;

impl Worry {
    /// Tells until shutdown.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let stopped = async move {
            let _ = shutdown.wait_for(|stop| *stop).await;
        };
        let tell = async {
            let mut told = self.told();
            loop {
                for concern in self.concerns.now().await.into_iter().take(CONCERNS_MAX) {
                    for courier in &self.couriers {
                        let key =
                            (courier.channel().to_owned(), courier.to().to_owned(), concern.name.clone());
                        if told.get(&key).is_none_or(|level| *level < concern.level)
                            && self.send(courier.as_ref(), &concern).await
                        {
                            told.insert(key, concern.level);
                        }
                    }
                }
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            biased;
            () = stopped => {}
            () = tell => {}
        }
    }

    /// What was told before this start.
    fn told(&self) -> Told {
        let mut told = Told::new();
        let from = self.ledger.reader().position_at(self.world.clock.now().before(READ_BACK));
        for entered in self.ledger.reader().scan_notices(from.ok()).flatten() {
            if let Entry::Notice(notice) = &entered.entry
                && notice.result == NoticeResult::Sent
                && let Some((name, level)) = named(&notice.cause)
            {
                let known = told.entry((notice.channel.clone(), notice.to.clone(), name)).or_default();
                *known = level.max(*known);
            }
        }
        told
    }

    /// Sends one; tells whether it was taken, or never will be.
    async fn send(&self, courier: &dyn Courier, concern: &Concern) -> bool {
        let now = self.world.clock.now();
        let letter = self.letter(concern, now);
        let mut notice = Notice {
            at: now,
            primary: None,
            event: None,
            order: None,
            channel: courier.channel().to_owned(),
            to: courier.to().to_owned(),
            subject: letter.subject.clone(),
            result: NoticeResult::Begun,
            cause: format!("concern {} {}", concern.name, concern.level),
        };
        self.note(notice.clone()).await;
        let sent = timeout(SEND, courier.send(&letter)).await;
        let late = || NotTaken { why: format!("no answer within {} s", SEND.as_secs()), for_good: false };
        let sent = sent.unwrap_or_else(|_| Err(late()));
        notice.at = self.world.clock.now();
        let done = match sent {
            Ok(()) => {
                tracing::info!(channel = %notice.channel, to = %notice.to, cause = %notice.cause,
                    subject = %notice.subject, "notice sent");
                notice.result = NoticeResult::Sent;
                true
            }
            Err(NotTaken { why, for_good }) => {
                let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                tracing::warn!(channel = %notice.channel, to = %notice.to, cause = %notice.cause, %why, for_good,
                    "notice not sent");
                notice.result = NoticeResult::Failed { why };
                for_good
            }
        };
        self.note(notice).await;
        done
    }

    fn letter(&self, concern: &Concern, now: Time) -> Letter {
        let Concern { name, level, subject, text } = concern;
        let id = format!("concern-{name}-{level}");
        let json = json!({
            "stormpost": 1,
            "id": id,
            "cause": "concern",
            "at": now.to_string(),
            "node": self.node,
            "concern": name,
            "level": level,
            "subject": subject,
            "text": text,
        });
        let text = format!("{text}\n\n-- \nStormpost on {}\n", self.node);
        Letter { id, at: now, subject: subject.clone(), text, json }
    }

    async fn note(&self, notice: Notice) {
        if let Err(error) = self.ledger.append(Entry::Notice(notice)).await {
            tracing::warn!(%error, "what became of a notice could not be written down");
        }
    }
}

/// Name and level out of a notice's cause.
fn named(cause: &str) -> Option<(String, u32)> {
    let mut words = cause.split(' ');
    let (head, name, level) = (words.next()?, words.next()?, words.next()?);
    (head == "concern" && words.next().is_none()).then_some((name.to_owned(), level.parse().ok()?))
}
