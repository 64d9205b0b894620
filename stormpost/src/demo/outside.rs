//! The world outside: mail servers that write to the company, remember what they were told, and try again.

use super::mail::Stock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stores_primary::smtp::{Begun, Fate, Hop, Session, Transaction};
use tokio::sync::watch;
use tokio::task::JoinSet;
use words_mail::{Address, Recipient, Reply, Sender, TraceId};
use words_world::World;

/// What one sender knows of one message.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    /// The number in its top header.
    pub(super) number: usize,
    /// To whom.
    pub(super) to: Address,
    /// When it was first tried.
    pub(super) began: Instant,
    /// When a `250` was read.
    pub(super) acknowledged: Option<Instant>,
    /// The trace id that stood in it.
    pub(super) trace: Option<TraceId>,
    /// In which words it was refused for good, if it was.
    pub(super) refused: Option<String>,
}

/// What the outside knows: who was told what, and when.
#[derive(Clone, Default)]
pub(super) struct Outbox(Arc<Mutex<Vec<Letter>>>);

impl Outbox {
    /// Everything so far.
    pub(super) fn letters(&self) -> Vec<Letter> {
        self.inner().clone()
    }

    /// How many were acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        self.inner().iter().filter(|l| l.acknowledged.is_some()).count()
    }

    /// How many the senders still hold.
    pub(super) fn held(&self) -> usize {
        self.inner().iter().filter(|l| l.acknowledged.is_none() && l.refused.is_none()).count()
    }

    /// An outbox with these in it.
    #[cfg(test)]
    pub(super) fn with(letters: Vec<Letter>) -> Outbox {
        Outbox(Arc::new(Mutex::new(letters)))
    }

    /// A new letter; its place.
    fn begin(&self, number: usize, to: &Address) -> usize {
        let mut letters = self.inner();
        letters.push(Letter {
            number,
            to: to.clone(),
            began: Instant::now(),
            acknowledged: None,
            trace: None,
            refused: None,
        });
        letters.len() - 1
    }

    fn inner(&self) -> MutexGuard<'_, Vec<Letter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream of mail to the company.
pub(super) struct Outside {
    /// The real world.
    pub(super) world: World,
    /// The server that receives it.
    pub(super) hop: Hop,
    /// The messages.
    pub(super) stock: Arc<Stock>,
    /// The sender's address.
    pub(super) from: Address,
    /// Who gets mail.
    pub(super) people: Vec<Address>,
    /// Where it is written down.
    pub(super) outbox: Outbox,
}

/// How long a sender waits before it tries again, and how long at most after many tries. Real servers wait minutes and
/// hours, a demonstration cannot.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// Messages under way at once; the next begins when one of these is taken.
const UNDER_WAY_MAX: usize = 20_000;

impl Outside {
    /// Sends `count` messages, `each` apart, every one tried until it is taken, refused for good, or `stop` says so.
    /// Several are on their way at once.
    pub(super) async fn run(self, count: usize, each: Duration, mut stop: watch::Receiver<bool>) {
        let mut under_way = JoinSet::new();
        let outside = Arc::new(self);
        let send_all = async {
            let began = tokio::time::Instant::now();
            for number in 0..count {
                while under_way.len() >= UNDER_WAY_MAX {
                    under_way.join_next().await;
                }
                let sender = outside.clone();
                under_way.spawn(async move { sender.deliver(number).await });
                while under_way.try_join_next().is_some() {}
                // By the clock of the whole, so that a busy machine does not slow the stream down.
                let next = each.as_secs_f64() * (number + 1) as f64;
                tokio::time::sleep_until(began + Duration::from_secs_f64(next)).await;
            }
            while under_way.join_next().await.is_some() {}
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = send_all => {}
        }
    }

    async fn deliver(&self, number: usize) {
        let to = &self.people[number % self.people.len()];
        let message = self.stock.message(number, &self.from.to_string(), &to.to_string());
        let at = self.outbox.begin(number, to);
        let mut wait = AGAIN_AFTER.0;
        loop {
            match send(&self.world, &self.hop, &self.from, to, &message).await {
                Ok(trace) => {
                    let letter = &mut self.outbox.inner()[at];
                    (letter.acknowledged, letter.trace) = (Some(Instant::now()), trace);
                    return;
                }
                Err(No::Never(words)) => return self.outbox.inner()[at].refused = Some(words),
                Err(No::Later(_)) => {}
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 3 / 2).min(AGAIN_AFTER.1);
        }
    }
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum No {
    /// It may be tried again.
    Later(String),
    /// Refused for good.
    Never(String),
}

impl No {
    /// The words.
    pub(super) fn words(&self) -> &str {
        let (No::Later(words) | No::Never(words)) = self;
        words
    }

    fn said(reply: &Reply) -> No {
        if reply.is_never() { No::Never(reply.to_string()) } else { No::Later(reply.to_string()) }
    }
}

/// One try over a connection of its own. `Ok` means that a `250` to the final dot was read, with the trace id in it if
/// there is one.
///
/// # Errors
/// See [`No`].
pub(super) async fn send(
    world: &World,
    hop: &Hop,
    from: &Address,
    to: &Address,
    message: &[u8],
) -> Result<Option<TraceId>, No> {
    let later = |why: &dyn std::fmt::Display| No::Later(why.to_string());
    let mut session = Session::open(world, hop).await.map_err(|why| later(&why))?;
    let transaction = Transaction {
        sender: Sender(Some(from.clone())),
        recipients: vec![Recipient::new(to.clone())],
        with: words_smtp::client::MailParameters {
            size: Some(message.len() as u64),
            eight_bit: true,
            ..Default::default()
        },
        client: None,
    };
    let Begun { accepted, refused } = session.begin(&transaction).await.map_err(|why| later(&why))?;
    if accepted.is_empty() {
        return Err(refused.first().map_or(No::Later("no answer".to_owned()), |r| No::said(&r.reply)));
    }
    session.data(message).await.map_err(|why| later(&why))?;
    let fates = session.finish().await.map_err(|why| later(&why))?;
    let answer = match fates.into_iter().next() {
        Some((_, Fate::Answered(reply))) if reply.is_yes() => {
            Ok(reply.text.split_ascii_whitespace().find_map(|word| word.parse().ok()))
        }
        Some((_, Fate::Answered(reply))) => Err(No::said(&reply)),
        Some((_, Fate::Unknown(why))) => Err(No::Later(why)),
        None => Err(No::Later("no answer".to_owned())),
    };
    session.quit().await;
    answer
}
