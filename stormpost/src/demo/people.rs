//! The people of the company: they read, file, answer and write, with the protocols their mail programs speak.

use super::mail::NUMBER_HEADER;
use super::outside::send;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stores_primary::imap::{self, ImapStore, SignIn};
use stores_primary::smtp::Hop;
use stores_primary::store::{MailStore, StoreError, Summary};
use words_imap::{Flag, StoreHow};
use words_mail::Address;
use words_smtp::Credentials;
use words_world::World;

/// Numbers of messages that people write begin here, above those from outside.
pub const OWN_NUMBERS: usize = 1_000_000_000;

/// One person.
#[derive(Clone, Debug)]
pub struct Person {
    /// The address, also the name to sign in with.
    pub address: Address,
    /// The password.
    pub password: String,
}

/// A mail host as people's programs know it.
#[derive(Clone)]
pub struct Desk {
    /// The real world.
    pub world: World,
    /// Where they read.
    pub imap: imap::Hop,
    /// Where they send.
    pub submission: Hop,
}

/// One copy of a numbered message in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// In which folder.
    pub folder: String,
    /// Its flags.
    pub flags: Vec<Flag>,
}

/// What people did, and what should be found again.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Messages read in the outage: whose, which number.
    pub read: BTreeSet<(Address, usize)>,
    /// Messages put into Archive.
    pub filed: BTreeSet<(Address, usize)>,
    /// Messages sent: number, from, to.
    pub sent: Vec<(usize, Address, Address)>,
    /// When the first message was read and the first was sent.
    pub first: (Option<Instant>, Option<Instant>),
    /// Tries that failed, in words.
    pub failures: Vec<String>,
}

/// The notes of all people together.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Done>>);

impl Notes {
    /// What was done so far.
    pub fn done(&self) -> Done {
        self.inner().clone()
    }

    fn inner(&self) -> MutexGuard<'_, Done> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// Signs in to read.
    ///
    /// # Errors
    /// When nobody answers or the sign-in fails.
    pub async fn sign_in(&self, person: &Person) -> Result<ImapStore, StoreError> {
        let sign_in = SignIn::own(&person.address.to_string(), &person.password);
        ImapStore::open(&self.world, &self.imap, &sign_in).await
    }

    /// One look at the mail: reads what is new in INBOX and marks it so, files every fifth message.
    ///
    /// # Errors
    /// When the mail host does not do its part.
    pub async fn read(&self, person: &Person, notes: &Notes) -> Result<(), StoreError> {
        let mut store = self.sign_in(person).await?;
        store.select("INBOX", false).await?;
        let mut unread: Vec<(u32, usize)> = Vec::new();
        let mut each = |summary: Summary| {
            if let Some(number) = number(&summary)
                && !summary.flags.contains(&Flag::Seen)
            {
                unread.push((summary.uid, number));
            }
        };
        store.headers_above(0, &[NUMBER_HEADER], &mut each).await?;
        for (uid, number) in unread {
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
        }
        Box::new(store).leave().await;
        Ok(())
    }

    /// Writes one message.
    ///
    /// # Errors
    /// In words, when it was not taken.
    pub async fn write(
        &self,
        person: &Person,
        to: &Address,
        number: usize,
        notes: &Notes,
    ) -> Result<(), String> {
        let mut hop = self.submission.clone();
        hop.sign_in =
            Some(Credentials { user: person.address.to_string(), password: person.password.clone() });
        let message = format!(
            "{NUMBER_HEADER}: {number}\r\nFrom: <{0}>\r\nTo: <{to}>\r\nSubject: written in the outage ({number})\r\n\
             Message-ID: <own-{number}@{1}>\r\n\r\nThe mail system is down, and this goes out all the same.\r\n",
            person.address,
            person.address.domain(),
        );
        send(&self.world, &hop, &person.address, to, message.as_bytes()).await?;
        let mut done = notes.inner();
        done.first.1.get_or_insert_with(Instant::now);
        done.sent.push((number, person.address.clone(), to.clone()));
        Ok(())
    }

    /// Every numbered message in a person's mail, by number.
    ///
    /// # Errors
    /// When the mail host does not tell.
    pub async fn count(&self, person: &Person) -> Result<BTreeMap<usize, Vec<Copy>>, StoreError> {
        let mut store = self.sign_in(person).await?;
        let mut found: BTreeMap<usize, Vec<Copy>> = BTreeMap::new();
        for folder in store.folders().await?.into_iter().filter(|folder| folder.selectable) {
            store.select(&folder.name, true).await?;
            let mut each = |summary: Summary| {
                if let Some(number) = number(&summary) {
                    let copy = Copy { folder: folder.name.clone(), flags: summary.flags };
                    found.entry(number).or_default().push(copy);
                }
            };
            store.headers_above(0, &[NUMBER_HEADER], &mut each).await?;
        }
        Box::new(store).leave().await;
        Ok(found)
    }

    /// A working day in the outage: reads, and writes now and then, until `until`.
    pub async fn work(
        &self,
        person: Person,
        colleagues: Vec<Address>,
        first_number: usize,
        until: Instant,
        notes: Notes,
    ) {
        let mut number = first_number;
        while Instant::now() < until {
            if let Err(why) = self.read(&person, &notes).await {
                notes.inner().failures.push(format!("{} could not read: {why}", person.address));
            }
            let to = &colleagues[number % colleagues.len()];
            match self.write(&person, to, number, &notes).await {
                Ok(()) => number += 1,
                Err(why) => notes.inner().failures.push(format!("{} could not send: {why}", person.address)),
            }
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
    }
}

fn number(summary: &Summary) -> Option<usize> {
    summary.field(NUMBER_HEADER)?.parse().ok()
}
