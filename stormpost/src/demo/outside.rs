//! The world outside: mail servers that write to the company, remember what they were told, and try again.

use super::mail::Stock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stores_primary::smtp::{Begun, Fate, Hop, Session, Transaction};
use tokio::sync::watch;
use words_mail::{Address, Recipient, Sender};
use words_world::World;

/// What one sender knows of one message.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The number in its top header.
    pub number: usize,
    /// To whom.
    pub to: Address,
    /// When it was first tried.
    pub began: Instant,
    /// When a `250` was read.
    pub acknowledged: Option<Instant>,
    /// What was last said, while it is not acknowledged.
    pub last: String,
}

/// What the outside knows: who was told what, and when.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Mutex<Vec<Letter>>>);

impl Outbox {
    /// Everything so far.
    pub fn letters(&self) -> Vec<Letter> {
        self.inner().clone()
    }

    /// How many were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.inner().iter().filter(|l| l.acknowledged.is_some()).count()
    }

    fn inner(&self) -> MutexGuard<'_, Vec<Letter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream of mail to the company.
pub struct Outside {
    /// The real world.
    pub world: World,
    /// The server that receives it.
    pub hop: Hop,
    /// The messages.
    pub stock: Arc<Stock>,
    /// The sender's address.
    pub from: Address,
    /// Who gets mail.
    pub people: Vec<Address>,
    /// Where it is written down.
    pub outbox: Outbox,
}

/// How long a sender waits before it tries again; real servers wait minutes, a demonstration cannot.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

impl Outside {
    /// Sends `count` messages, `each` apart, every one tried until it is acknowledged. Several are on their way at once.
    pub async fn run(self, count: usize, each: Duration, mut stop: watch::Receiver<bool>) {
        let outside = Arc::new(self);
        let mut on_their_way = tokio::task::JoinSet::new();
        for number in 0..count {
            if *stop.borrow() {
                break;
            }
            let sender = outside.clone();
            on_their_way.spawn(async move { sender.deliver(number).await });
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(each) => {}
            }
        }
        // What was begun is finished: a sender does not forget its mail when we want to count.
        while on_their_way.join_next().await.is_some() {}
    }

    async fn deliver(&self, number: usize) {
        let to = self.people[number % self.people.len()].clone();
        let message = self.stock.message(number, &self.from.to_string(), &to.to_string());
        let at = {
            let mut letters = self.outbox.inner();
            letters.push(Letter {
                number,
                to: to.clone(),
                began: Instant::now(),
                acknowledged: None,
                last: String::new(),
            });
            letters.len() - 1
        };
        loop {
            match send(&self.world, &self.hop, &self.from, &to, &message).await {
                Ok(()) => {
                    self.outbox.inner()[at].acknowledged = Some(Instant::now());
                    return;
                }
                Err(why) => self.outbox.inner()[at].last = why,
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

/// One try over a connection of its own. `Ok` means that a `250` to the final dot was read.
///
/// # Errors
/// In words, when it must be tried again.
pub async fn send(
    world: &World,
    hop: &Hop,
    from: &Address,
    to: &Address,
    message: &[u8],
) -> Result<(), String> {
    let mut session = Session::open(world, hop).await.map_err(|e| e.to_string())?;
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
    let Begun { accepted, refused } = session.begin(&transaction).await.map_err(|e| e.to_string())?;
    if accepted.is_empty() {
        return Err(refused.first().map(|r| r.reply.to_string()).unwrap_or_default());
    }
    session.data(message).await.map_err(|e| e.to_string())?;
    let fates = session.finish().await.map_err(|e| e.to_string())?;
    let answer = match fates.into_iter().next() {
        Some((_, Fate::Answered(reply))) if reply.is_yes() => Ok(()),
        Some((_, Fate::Answered(reply))) => Err(reply.to_string()),
        Some((_, Fate::Unknown(why))) => Err(why),
        None => Err("no answer".to_owned()),
    };
    session.quit().await;
    answer
}
