//! The people of the company: they read, file, answer and write, with the protocols their mail programs speak.

use super::debian;
use super::mail::NUMBER_HEADER;
use super::outside::{No, send};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stores_primary::imap::{self, ImapStore, SignIn};
use stores_primary::smtp::Hop;
use stores_primary::store::{MailStore, StoreError, Summary};
use words_imap::{Flag, StoreHow};
use words_mail::{Address, TraceId, TraceTag};
use words_smtp::Credentials;
use words_world::World;

/// Numbers of messages that people write begin here, above those from outside.
pub(super) const OWN_NUMBERS: usize = 1_000_000_000;
/// Messages that a person reads at one look.
const LOOK_MAX: usize = 10;
/// Failures whose words are kept.
const FAILURES_MAX: usize = 1_000;

/// One person.
#[derive(Clone, Debug)]
pub(super) struct Person {
    /// The address, also the name to sign in with.
    pub(super) address: Address,
    /// The password.
    pub(super) password: String,
}

/// A mail host as people's programs know it.
#[derive(Clone)]
pub(super) struct Desk {
    /// The real world.
    pub(super) world: World,
    /// Where they read.
    pub(super) imap: imap::Hop,
    /// Where they send.
    pub(super) submission: Hop,
}

/// One copy of a numbered message in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// In which folder.
    pub(super) folder: String,
    /// Its flags.
    pub(super) flags: Vec<Flag>,
    /// The value of its topmost trace header.
    pub(super) stamp: Option<String>,
    /// Under which queue id the primary's own Postfix carried it, if one did.
    pub(super) carried: Option<String>,
}

/// Something that a person tried and that did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// When it was begun.
    pub(super) began: Instant,
    /// When it had failed.
    pub(super) ended: Instant,
    /// Who could not do what, and why.
    pub(super) words: String,
}

/// A message that a person sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// The number in its top header.
    pub(super) number: usize,
    /// Who.
    pub(super) from: Address,
    /// To whom.
    pub(super) to: Address,
    /// The trace id in the `250`.
    pub(super) trace: Option<TraceId>,
}

/// What people did, and what should be found again.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    /// Messages read in the outage: whose, which number.
    pub(super) read: BTreeSet<(Address, usize)>,
    /// Messages put into Archive.
    pub(super) filed: BTreeSet<(Address, usize)>,
    /// Messages sent.
    pub(super) sent: Vec<Sent>,
    /// How many of these answer one that was read.
    pub(super) answered: usize,
    /// When the first message was read and the first was sent.
    pub(super) first: (Option<Instant>, Option<Instant>),
    /// What failed at somebody's very first try.
    pub(super) first_failures: Vec<String>,
    /// Tries that failed, the first thousand.
    pub(super) failures: Vec<Failure>,
}

/// The notes of all people together.
#[derive(Clone, Default)]
pub(super) struct Notes(Arc<Mutex<Done>>);

impl Notes {
    /// What was done so far.
    pub(super) fn done(&self) -> Done {
        self.inner().clone()
    }

    fn failed(&self, began: Instant, is_first: bool, words: String) {
        let mut done = self.inner();
        if is_first {
            done.first_failures.push(words.clone());
        }
        if done.failures.len() < FAILURES_MAX {
            done.failures.push(Failure { began, ended: Instant::now(), words });
        }
    }

    fn inner(&self) -> MutexGuard<'_, Done> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that a person has read.
struct Unread {
    uid: u32,
    number: usize,
    id: Option<String>,
}

/// A working day in the outage.
#[derive(Clone)]
pub(super) struct Shift {
    /// To whom they write.
    pub(super) colleagues: Vec<Address>,
    /// To whom they answer.
    pub(super) stranger: Address,
    /// The number of the first message they write.
    pub(super) first_number: usize,
    /// How long they wait between two looks.
    pub(super) pause: Duration,
    /// When it ends.
    pub(super) until: Instant,
}

impl Desk {
    /// Signs in to read.
    ///
    /// # Errors
    /// When nobody answers or the sign-in fails.
    pub(super) async fn sign_in(&self, person: &Person) -> Result<ImapStore, StoreError> {
        let sign_in = SignIn::own(&person.address.to_string(), &person.password);
        ImapStore::open(&self.world, &self.imap, &sign_in).await
    }

    /// Signs in once and leaves.
    ///
    /// # Errors
    /// When nobody answers or the sign-in fails.
    pub(super) async fn knock(&self, person: &Person) -> Result<(), StoreError> {
        Box::new(self.sign_in(person).await?).leave().await;
        Ok(())
    }

    /// One look at the mail: reads what is new in INBOX and marks it so, files every fifth message. Gives the
    /// Message-ID of the last one that can be answered.
    ///
    /// # Errors
    /// When the mail host does not do its part.
    pub(super) async fn read(&self, person: &Person, notes: &Notes) -> Result<Option<String>, StoreError> {
        let mut store = self.sign_in(person).await?;
        store.select("INBOX", false).await?;
        let mut unread = Vec::new();
        let mut each = |summary: Summary| {
            if let Some(number) = number(&summary)
                && !summary.flags.contains(&Flag::Seen)
            {
                unread.push(Unread { uid: summary.uid, number, id: summary.field("Message-ID") });
            }
        };
        store.headers_above(0, &[NUMBER_HEADER, "Message-ID"], &mut each).await?;
        // Nobody reads everything at once; the rest is there at the next look.
        unread.truncate(LOOK_MAX);
        let mut answerable = None;
        for Unread { uid, number, id } in unread {
            if store.open_body(uid).await?.is_none() {
                continue;
            }
            while store.body_part().await?.is_some() {}
            store.change_flags(&[uid], StoreHow::Add, &[Flag::Seen]).await?;
            {
                let mut done = notes.inner();
                done.first.0.get_or_insert_with(Instant::now);
                done.read.insert((person.address.clone(), number));
            }
            if number.is_multiple_of(5) {
                store.move_to(&[uid], "Archive").await?;
                notes.inner().filed.insert((person.address.clone(), number));
            }
            answerable = id.filter(|_| number < OWN_NUMBERS).or(answerable);
        }
        Box::new(store).leave().await;
        Ok(answerable)
    }

    /// Writes one message, which answers another if `answers` names one.
    ///
    /// # Errors
    /// When it was not taken.
    pub(super) async fn write(
        &self,
        person: &Person,
        to: &Address,
        number: usize,
        answers: Option<&str>,
        notes: &Notes,
    ) -> Result<(), No> {
        let mut hop = self.submission.clone();
        hop.sign_in =
            Some(Credentials { user: person.address.to_string(), password: person.password.clone() });
        let message = letter(person, to, number, answers);
        let trace = send(&self.world, &hop, &person.address, to, message.as_bytes()).await?;
        let mut done = notes.inner();
        done.first.1.get_or_insert_with(Instant::now);
        done.sent.push(Sent { number, from: person.address.clone(), to: to.clone(), trace });
        done.answered += usize::from(answers.is_some());
        Ok(())
    }

    /// Every numbered message in a person's mail, by number.
    ///
    /// # Errors
    /// When the mail host does not tell.
    pub(super) async fn count(&self, person: &Person) -> Result<BTreeMap<usize, Vec<Copy>>, StoreError> {
        let mut store = self.sign_in(person).await?;
        let mut found: BTreeMap<usize, Vec<Copy>> = BTreeMap::new();
        for folder in store.folders().await?.into_iter().filter(|folder| folder.selectable) {
            store.select(&folder.name, true).await?;
            let mut each = |summary: Summary| {
                if let Some(number) = number(&summary) {
                    let copy = Copy {
                        folder: folder.name.clone(),
                        stamp: summary.field(TraceTag::HEADER),
                        carried: debian::queue_id(&summary.header),
                        flags: summary.flags,
                    };
                    found.entry(number).or_default().push(copy);
                }
            };
            store.headers_above(0, &[NUMBER_HEADER, TraceTag::HEADER, "Received"], &mut each).await?;
        }
        Box::new(store).leave().await;
        Ok(found)
    }

    /// A working day in the outage: reads, answers and writes, again and again. What fails is tried again at the next
    /// look.
    pub(super) async fn work(&self, person: Person, shift: Shift, notes: Notes) {
        let (mut number, mut looks) = (shift.first_number, 0_usize);
        let mut answers = None;
        // Who heard no answer sends the same again, to the same address.
        let mut pending: Option<(Address, Option<String>)> = None;
        while Instant::now() < shift.until {
            let began = Instant::now();
            match self.read(&person, &notes).await {
                Ok(answerable) => answers = answerable.or(answers),
                Err(why) => {
                    notes.failed(began, looks == 0, format!("{} could not read: {why}", person.address));
                }
            }
            let (to, answer) = pending.take().unwrap_or_else(|| match answers.take() {
                // Every second message is an answer, when there is something to answer.
                Some(id) if !looks.is_multiple_of(2) => (shift.stranger.clone(), Some(id)),
                other => {
                    answers = other;
                    (shift.colleagues[number % shift.colleagues.len()].clone(), None)
                }
            });
            let began = Instant::now();
            match self.write(&person, &to, number, answer.as_deref(), &notes).await {
                Ok(()) => number += 1,
                Err(why) => {
                    let words = format!("{} could not send: {}", person.address, why.words());
                    notes.failed(began, looks == 0, words);
                    pending = Some((to, answer));
                }
            }
            looks += 1;
            tokio::time::sleep(shift.pause).await;
        }
    }
}

fn letter(person: &Person, to: &Address, number: usize, answers: Option<&str>) -> String {
    let from = &person.address;
    let (subject, reference, words) = match answers {
        Some(id) => (
            "Re: your message",
            format!("In-Reply-To: {id}\r\nReferences: {id}\r\n"),
            "Thank you. Our mail system is down, and this answer goes out all the same.",
        ),
        None => (
            "written in the outage",
            String::new(),
            "The mail system is down, and this goes out all the same.",
        ),
    };
    format!(
        "{NUMBER_HEADER}: {number}\r\nFrom: <{from}>\r\nTo: <{to}>\r\nSubject: {subject} ({number})\r\n\
         Message-ID: <own-{number}@{}>\r\n{reference}\r\n{words}\r\n",
        from.domain(),
    )
}

fn number(summary: &Summary) -> Option<usize> {
    summary.field(NUMBER_HEADER)?.parse().ok()
}
