//! A person with a mailbox: reads, flags, files, deletes, writes drafts, sends. Keeps a diary of everything that was
//! told, and notices when something told before is no longer so.

use crate::dialogue::{Line, NODE_NAME, Spoken, begin_tls, say, send_message};
use crate::dice::Dice;
use crate::judge::mark_of;
use crate::net::Host;
use crate::node::Desk;
use crate::primary::Primary;
use crate::record::Record;
use crate::sender::{Outbox, Sent};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stores_mailbox::{Appendix, By, Flags, Folder, How, MailboxError, Mailboxes, Message, UidRanges};
use tokio::sync::watch;
use tokio::task::JoinSet;
use words_mail::AccountId;

/// Where a message stands: folder and flags in lower case; `None` when it was removed for good.
pub type Standing = Option<(String, BTreeSet<String>)>;

/// Folder, UIDVALIDITY, UID: what IMAP says stands for one message for ever.
pub type Place = (String, u32, u32);

/// What one person was told.
#[derive(Clone, Debug, Default)]
pub struct Diary {
    /// By folder, UIDVALIDITY and UID the mark of the message.
    pub uids: BTreeMap<Place, String>,
    /// By folder name UIDVALIDITY, and the greatest UIDNEXT and MODSEQ seen.
    pub folders: BTreeMap<String, (u32, u32, u64)>,
    /// Where each message may stand, after everything the person did to it. More than one place when the node died
    /// before it answered.
    pub standing: BTreeMap<String, BTreeSet<Standing>>,
    /// Messages that may stand elsewhere than where they came, by what the person did.
    pub touched: BTreeSet<String>,
    /// In which life of the node an act on a message was last left unanswered: what it led to is certain only later.
    unanswered: BTreeMap<String, u64>,
    /// What was wrong.
    pub wrong: Vec<String>,
}

/// One person.
#[derive(Clone)]
pub struct Person {
    /// Whose mailbox.
    pub account: AccountId,
    /// The person's own machine.
    pub host: Host,
    /// Where mail is handed in.
    pub submissions: SocketAddr,
    /// The person's whims.
    pub dice: Dice,
    /// The way to the node while it runs.
    pub desk: watch::Receiver<Option<Desk>>,
    /// What was sent.
    pub outbox: Outbox,
    /// What was told.
    pub diary: Arc<Mutex<Diary>>,
    /// The primary, whose refusals are followed here.
    pub primary: Primary,
    /// Where it is told what happened.
    pub record: Record,
}

/// How long a program waits for an answer.
const PATIENCE: Duration = Duration::from_secs(45);
/// The password of everybody.
pub const PASSWORD: &str = "right";

impl Person {
    /// Works for `acts` times, with pauses of up to `gap` milliseconds. One who is `tidy` removes most of what comes.
    pub async fn run(self, acts: usize, gap: u64, tidy: bool) {
        for n in 0..acts {
            tokio::time::sleep(Duration::from_millis(self.dice.range(1, gap))).await;
            match self.dice.range(0, 12) {
                _ if tidy && !self.dice.one_in(3) => self.delete().await,
                0 => self.send(n).await,
                1 => self.draft(n).await,
                2..=4 => {
                    let folder = *self.dice.pick(&["INBOX", "Archive", "Trash", "Drafts", "Sent"]);
                    drop(self.look(folder).await);
                }
                5..=7 => self.flag().await,
                8 | 9 => self.file().await,
                10 => self.delete().await,
                _ => drop(self.look("INBOX").await),
            }
        }
    }

    /// Runs something at the node as a task of its own, so that a crash takes down nobody else. `None`: no answer came.
    pub(crate) async fn ask<T, F, W>(&self, work: F) -> Option<T>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
        F: FnOnce(Mailboxes) -> W,
    {
        let mut desk = self.desk.clone();
        let present = desk.borrow_and_update().clone()?;
        let mut task = JoinSet::new();
        task.spawn(work(present.mailboxes.clone()));
        let answer = tokio::select! {
            biased;
            _ = desk.wait_for(|now| now.as_ref().is_none_or(|now| now.life != present.life)) => None,
            answer = task.join_next() => answer.and_then(Result::ok),
            () = tokio::time::sleep(PATIENCE) => None,
        };
        // An answer that was given in the instant of the crash was never heard.
        if present.power.is_off() { None } else { answer }
    }

    fn life(&self) -> u64 {
        self.desk.borrow().as_ref().map_or(0, |desk| desk.life)
    }

    fn diary(&self) -> MutexGuard<'_, Diary> {
        self.diary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.record.note(self.account.as_str(), what);
    }

    /// Looks into a folder and compares with what was told before. The messages that are there.
    pub async fn look(&self, folder: &str) -> Vec<(Folder, Message, String)> {
        let life = self.life();
        let (account, name) = (self.account.clone(), folder.to_owned());
        let known: BTreeMap<Place, String> = self.diary().uids.clone();
        let seen = self.ask(move |mailboxes| async move { see(&mailboxes, &account, &name, &known) }).await;
        let seen = match seen {
            Some(Ok(seen)) => seen,
            Some(Err(MailboxError::NoFolder)) => {
                if self.diary().folders.contains_key(folder) {
                    self.wrong(format!("the folder {folder} was told of and is gone"));
                }
                return Vec::new();
            }
            Some(Err(why)) => {
                self.note(format_args!("cannot look into {folder}: {why}"));
                return Vec::new();
            }
            None => return Vec::new(),
        };
        self.compare(folder, &seen, life);
        self.note(format_args!("sees {} in {folder}", seen.messages.len()));
        seen.messages.into_iter().map(|(message, mark)| (seen.folder.clone(), message, mark)).collect()
    }

    fn wrong(&self, what: String) {
        self.note(format_args!("WRONG: {what}"));
        self.diary().wrong.push(format!("{}: {what}", self.account));
    }

    fn compare(&self, name: &str, seen: &Seen, life: u64) {
        let mut wrong = Vec::new();
        let mut diary = self.diary();
        let Folder { uidvalidity, uidnext, modseq, .. } = seen.folder;
        if let Some((validity, next, changed)) = diary.folders.get(name) {
            if *validity != uidvalidity {
                wrong.push(format!("UIDVALIDITY of {name} was {validity} and is {uidvalidity}"));
            }
            if *next > uidnext || *changed > modseq {
                let was = format!("UIDNEXT {next}, MODSEQ {changed}");
                wrong.push(format!("{name} went back: {was}, now {uidnext}, {modseq}"));
            }
        }
        diary.folders.insert(name.to_owned(), (uidvalidity, uidnext, modseq));
        let mut here = BTreeSet::new();
        for (message, mark) in &seen.messages {
            let key = (name.to_owned(), uidvalidity, message.uid);
            if message.uid >= uidnext {
                wrong.push(format!("UID {} in {name} is not below UIDNEXT {uidnext}", message.uid));
            }
            let told = diary.uids.entry(key).or_insert_with(|| mark.clone());
            if told != mark {
                wrong.push(format!("UID {} in {name} was {told} and is {mark}", message.uid));
            }
            if !here.insert(mark.clone()) {
                wrong.push(format!("{mark} is twice in {name}"));
            }
            let flags: BTreeSet<String> = message.flags.names().map(str::to_lowercase).collect();
            let found: Standing = Some((name.to_owned(), flags));
            if name == "Junk" && self.primary.has_refused(self.account.as_str(), mark) {
                diary.standing.entry(mark.clone()).or_default().insert(found.clone());
            }
            wrong.extend(diary.meet(mark, found, life));
        }
        for (mark, standing) in &diary.standing {
            let must = standing.iter().all(|s| s.as_ref().is_some_and(|(folder, _)| folder == name));
            let refused = || self.primary.has_refused(self.account.as_str(), mark);
            if must && !here.contains(mark) && !refused() {
                wrong.push(format!("{mark} was in {name} and is not there any more"));
            }
        }
        drop(diary);
        wrong.into_iter().for_each(|what| self.wrong(what));
    }

    async fn flag(&self) {
        let seen = self.look("INBOX").await;
        if seen.is_empty() {
            return;
        }
        let (folder, message, mark) = self.dice.pick(&seen).clone();
        let how = if self.dice.one_in(3) { How::Remove } else { How::Add };
        let named: Flags =
            [*self.dice.pick(&["\\Seen", "\\Flagged", "\\Answered", "work"])].into_iter().collect();
        let change: BTreeSet<String> = named.names().map(str::to_lowercase).collect();
        self.act(
            &mark,
            format!("{how:?} {change:?}"),
            move |standing| {
                let (folder, mut flags) = standing?;
                match how {
                    How::Remove => flags.retain(|flag| !change.contains(flag)),
                    _ => flags.extend(change.iter().cloned()),
                }
                Some((folder, flags))
            },
            |mailboxes, account| async move {
                let uids = UidRanges::span(message.uid, message.uid);
                mailboxes.store(&account, folder.id, &uids, (how, &named), None, By::Person).await?;
                Ok(Vec::new())
            },
        )
        .await;
    }

    async fn file(&self) {
        let seen = self.look("INBOX").await;
        if seen.is_empty() {
            return;
        }
        let (folder, message, mark) = self.dice.pick(&seen).clone();
        let to = (*self.dice.pick(&["Archive", "Trash", "Projects"])).to_owned();
        let target = to.clone();
        self.act(
            &mark,
            format!("move to {to}"),
            move |standing| standing.map(|(_, flags)| (to.clone(), flags)),
            |mailboxes, account| async move {
                match mailboxes.create(&account, &target, None, By::Person).await {
                    Ok(_) | Err(MailboxError::Exists) => {}
                    Err(why) => return Err(why),
                }
                let uids = UidRanges::span(message.uid, message.uid);
                let copied = mailboxes.move_to(&account, folder.id, &uids, &target, By::Person).await?;
                let new = copied.pairs.iter().flat_map(|(_, new)| new.iter().collect::<Vec<_>>());
                Ok(new.map(|uid| (target.clone(), copied.uidvalidity, uid)).collect())
            },
        )
        .await;
    }

    async fn delete(&self) {
        let from = *self.dice.pick(&["INBOX", "Trash"]);
        let seen = self.look(from).await;
        if seen.is_empty() {
            return;
        }
        let (folder, message, mark) = self.dice.pick(&seen).clone();
        self.act(
            &mark,
            "remove".to_owned(),
            |_| None,
            |mailboxes, account| async move {
                let uids = UidRanges::span(message.uid, message.uid);
                mailboxes.expunge(&account, folder.id, &uids, By::Person).await?;
                Ok(Vec::new())
            },
        )
        .await;
    }

    async fn draft(&self, n: usize) {
        let local = self.account.as_str().split('@').next().unwrap_or_default().to_owned();
        let mark = format!("mark-draft-{local}-{n}-");
        let content = format!("From: {}\r\nSubject: {mark}\r\n\r\nto be written\r\n", self.account);
        self.diary().standing.insert(mark.clone(), BTreeSet::from([None]));
        let flags = BTreeSet::from(["\\draft".to_owned()]);
        self.act(
            &mark,
            "write".to_owned(),
            move |_| Some(("Drafts".to_owned(), flags.clone())),
            |mailboxes, account| async move {
                let flags = Flags::system(Flags::DRAFT);
                let appendix = Appendix { flags, date: None, by: By::Person };
                let placed = mailboxes.append(&account, "Drafts", content.as_bytes(), appendix).await?;
                Ok(vec![(placed.folder, placed.uidvalidity, placed.uid)])
            },
        )
        .await;
    }

    /// Does something to a message: what it leads to is certain when it is answered, and possible when it is not. The
    /// answer tells the UIDs that it gave.
    async fn act<F, W>(&self, mark: &str, what: String, becomes: impl Fn(Standing) -> Standing, work: F)
    where
        F: FnOnce(Mailboxes, AccountId) -> W,
        W: Future<Output = Result<Vec<Place>, MailboxError>> + Send + 'static,
    {
        if mark.is_empty() || self.desk.borrow().is_none() {
            return;
        }
        let life = self.life();
        let account = self.account.clone();
        let answer = self.ask(|mailboxes| work(mailboxes, account)).await;
        self.note(format_args!("{what} {mark}: {answer:?}"));
        let mut wrong = Vec::new();
        {
            let mut diary = self.diary();
            diary.touched.insert(mark.to_owned());
            let before = diary.standing.get(mark).cloned().unwrap_or_default();
            let after: BTreeSet<Standing> = before.iter().cloned().map(&becomes).collect();
            let standing = match &answer {
                Some(Ok(_)) => after,
                _ => {
                    diary.unanswered.insert(mark.to_owned(), life);
                    before.union(&after).cloned().collect()
                }
            };
            diary.standing.insert(mark.to_owned(), standing);
            for key in answer.and_then(Result::ok).unwrap_or_default() {
                let told = diary.uids.entry(key.clone()).or_insert_with(|| mark.to_owned());
                if told != mark {
                    wrong.push(format!("UID {} in {} was {told} and was given to {mark}", key.2, key.0));
                }
            }
        }
        wrong.into_iter().for_each(|what| self.wrong(what));
    }

    async fn send(&self, n: usize) {
        let local = self.account.as_str().split('@').next().unwrap_or_default();
        let mark = format!("mark-{local}-{n}-");
        let to = vec![(*self.dice.pick(&["sender0@outside.example", "stranger@outside.example"])).to_owned()];
        let from = self.account.as_str().to_owned();
        let bytes = format!(
            "From: {from}\r\nTo: {}\r\nSubject: {mark}\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n\
             Message-ID: <{mark}@company.example>\r\n\r\nas discussed\r\n",
            to[0]
        );
        let sent = Sent { mark, from, to, bytes: bytes.into_bytes(), acknowledged: false, refused: false };
        let at = self.outbox.add(sent.clone());
        // A mail program asks its person, who tries again; for ever, here.
        loop {
            let answer = self.submit(&sent).await;
            self.note(format_args!("sends {}: {answer:?}", sent.mark));
            if let Ok(spoken) = answer {
                self.outbox.answered(at, spoken);
                return;
            }
            tokio::time::sleep(Duration::from_millis(self.dice.range(1_000, 10_000))).await;
        }
    }

    async fn submit(&self, sent: &Sent) -> std::io::Result<Spoken> {
        let mut wire = begin_tls(&self.host, self.submissions).await?;
        say(&mut wire, Line::Silent, 2).await?;
        say(&mut wire, Line::Says(&format!("EHLO {NODE_NAME}")), 2).await?;
        say(&mut wire, Line::Says("AUTH LOGIN"), 3).await?;
        say(&mut wire, Line::Says(&base64(self.account.as_str())), 3).await?;
        say(&mut wire, Line::Says(&base64(PASSWORD)), 2).await?;
        let spoken = send_message(&mut wire, sent).await?;
        let _ = say(&mut wire, Line::Says("QUIT"), 2).await;
        Ok(spoken)
    }
}

impl Diary {
    /// A message is met: it must stand where it may stand, and from then on stands where it was met.
    fn meet(&mut self, mark: &str, found: Standing, life: u64) -> Option<String> {
        let Some(possible) = self.standing.get_mut(mark) else {
            self.standing.insert(mark.to_owned(), BTreeSet::from([found]));
            return None;
        };
        let wrong = (!possible.contains(&found))
            .then(|| format!("{mark} may stand at {possible:?} and stands at {found:?}"));
        // What failed in this life of the node may still come true in the next.
        if wrong.is_some() || self.unanswered.get(mark).is_none_or(|unanswered| *unanswered < life) {
            *possible = BTreeSet::from([found]);
        }
        wrong
    }
}

/// A folder as it was seen.
struct Seen {
    folder: Folder,
    messages: Vec<(Message, String)>,
}

fn see(
    mailboxes: &Mailboxes,
    account: &AccountId,
    name: &str,
    known: &BTreeMap<Place, String>,
) -> Result<Seen, MailboxError> {
    let found = mailboxes.folder(account, name)?;
    let snapshot = mailboxes.snapshot(found.id)?;
    let mut messages = Vec::new();
    for message in mailboxes.page(found.id, 1, u32::MAX, 1_000)? {
        let mark = match known.get(&(name.to_owned(), snapshot.folder.uidvalidity, message.uid)) {
            // Bytes are read now and then only; at the end of the life all are.
            Some(mark) if message.uid % 4 != 0 => mark.clone(),
            _ => {
                let mut content = Vec::new();
                let read = mailboxes.body(&message.body)?.read_to_end(&mut content);
                read.map_err(|e| MailboxError::Body(e.to_string()))?;
                mark_of(&content).unwrap_or_default()
            }
        };
        messages.push((message, mark));
    }
    if snapshot.uids.count() != messages.len() as u64 {
        return Err(MailboxError::View("the number of UIDs is not the number of messages".to_owned()));
    }
    Ok(Seen { folder: snapshot.folder, messages })
}

/// RFC 4648 §4.
fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_is_as_the_rfc_has_it() {
        let pairs = [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        pairs.iter().for_each(|(text, coded)| assert_eq!(base64(text), *coded));
    }

    #[test]
    fn a_message_met_elsewhere_than_it_may_stand_is_noticed() {
        let mut diary = Diary::default();
        let inbox: Standing = Some(("INBOX".into(), BTreeSet::new()));
        assert_eq!(diary.meet("m", inbox.clone(), 1), None);
        assert_eq!(diary.meet("m", inbox, 2), None);
        assert!(diary.meet("m", Some(("Trash".into(), BTreeSet::new())), 2).is_some());
    }
}
