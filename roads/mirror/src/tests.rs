//! What a person did in an outage, given back to a primary that fails at every step.

mod pull;
mod store;

use crate::deliveries::{Deliveries, Fate};
use crate::doors::{Doors, Right};
use crate::replay::{Carried, Replay, Trouble};
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use store::{Fail, Mail};
use stores_log::{FaultDisk, KeyRing, LogKind, LogOptions, Position, TestClock, fault_world};
use stores_mailbox::{
    Appendix, Arrival, Bodies, BodyAt, By, Flags, FolderId, How, MailboxOptions, Mailboxes, MessageReader,
    Ready, UidRanges, ViewPlace,
};
use stores_primary::store::{MailStore, StoreError};
use tokio::sync::watch;
use words_mail::{AccountId, PrimaryId, Time, TraceId, TraceKey, TraceTag};
use words_world::Boxed;

const START: Time = Time::from_seconds(1_795_343_827);
const KEY: TraceKey = TraceKey([3; 32]);

fn anna() -> AccountId {
    AccountId::new("anna@company.example")
}

fn trace(n: u8) -> TraceId {
    TraceId::new(START, [n; 10])
}

/// A received message as it is delivered: our lines on top.
fn message(n: u8) -> Vec<u8> {
    format!("{}: {}\r\nSubject: {n}\r\n\r\nbody {n}\r\n", TraceTag::HEADER, TraceTag::new(trace(n), &KEY))
        .into_bytes()
}

struct Journal;

impl Bodies for Journal {
    fn open(&self, trace_id: TraceId, _: Position) -> io::Result<MessageReader> {
        let n = (0..=255).find(|n| trace(*n) == trace_id).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(message(n))))
    }
}

impl Doors for Mail {
    fn enter<'a>(
        &'a self,
        _: &'a PrimaryId,
        _: &'a AccountId,
        _: Right,
    ) -> Boxed<'a, Result<Option<Box<dyn MailStore>>, StoreError>> {
        Box::pin(async move { Ok(Some(Box::new(self.connect()) as Box<dyn MailStore>)) })
    }
}

/// All deliveries ended like this.
struct Known(Option<Fate>);

impl Deliveries for Known {
    fn fates(&self, missing: &[(TraceId, BodyAt)]) -> HashMap<TraceId, Fate> {
        missing.iter().filter_map(|(trace, _)| Some((*trace, self.0?))).collect()
    }

    fn note_seen<'a>(&'a self, _: BodyAt, _: &'a str) -> Boxed<'a, Result<(), Trouble>> {
        Box::pin(async { Ok(()) })
    }
}

struct House {
    mailboxes: Mailboxes,
    _stop: watch::Sender<bool>,
}

impl House {
    async fn open() -> House {
        House::on(&FaultDisk::new(1)).await
    }

    async fn on(disk: &FaultDisk) -> House {
        let world = fault_world(disk, &Arc::new(TestClock::new(START)), 1);
        let log = LogOptions {
            reserve_bytes: 0,
            ..LogOptions::new(PathBuf::from("/mailbox"), LogKind::Mailbox, "node")
        };
        let options = MailboxOptions { log, view: ViewPlace::Memory, trace_key: Some(KEY) };
        let Ready { mailboxes, writer, applier, .. } =
            Mailboxes::open(&world, KeyRing::new([1; 32], &[]), options, Arc::new(Journal)).unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(writer.run(stopped.clone()));
        tokio::spawn(applier.run(stopped));
        mailboxes.open_account(&anna()).await.unwrap();
        House { mailboxes, _stop: stop }
    }

    async fn arrive(&self, n: u8, folder: &str, by: By) -> (stores_mailbox::FolderId, UidRanges) {
        let position = Position { segment: 1, offset: u64::from(n) };
        let mut arrival = Arrival::new(trace(n), position, START, message(n).len() as u64);
        arrival.folder = folder.to_owned();
        arrival.by = by;
        let placed = self.mailboxes.arrive(&anna(), &arrival).await.unwrap();
        (placed.id, UidRanges::span(placed.uid, placed.uid))
    }

    async fn flag(&self, at: &(stores_mailbox::FolderId, UidRanges), flag: &str) {
        let flags: Flags = [flag].into_iter().collect();
        let change = (How::Add, &flags);
        self.mailboxes.store(&anna(), at.0, &at.1, change, None, By::Person).await.unwrap();
    }

    /// What Anna does in an outage: reads one, files one, deletes one for good, answers, drafts.
    async fn a_busy_person(&self) {
        let one = self.arrive(1, "INBOX", By::Own).await;
        let two = self.arrive(2, "INBOX", By::Own).await;
        let three = self.arrive(3, "INBOX", By::Own).await;
        self.arrive(4, "INBOX", By::Own).await;
        self.flag(&one, "\\Seen").await;
        self.flag(&two, "\\Flagged").await;
        self.mailboxes.create(&anna(), "Projects/2026", None, By::Person).await.unwrap();
        self.mailboxes.move_to(&anna(), two.0, &two.1, "Projects/2026", By::Person).await.unwrap();
        self.mailboxes.expunge(&anna(), three.0, &three.1, By::Person).await.unwrap();
        self.arrive(9, "Sent", By::Person).await;
        let draft = b"Subject: a draft\r\n\r\nnot done\r\n";
        let appendix =
            Appendix { flags: ["\\Draft"].into_iter().collect(), date: Some(START), by: By::Person };
        self.mailboxes.append(&anna(), "Drafts", draft, appendix).await.unwrap();
    }

    async fn give_back(&self, mail: &Mail) -> Result<Carried, Trouble> {
        self.give_back_knowing(mail, None).await
    }

    async fn give_back_knowing(&self, mail: &Mail, fate: Option<Fate>) -> Result<Carried, Trouble> {
        self.give_back_through(mail, fate).await
    }

    async fn give_back_through(&self, doors: &dyn Doors, fate: Option<Fate>) -> Result<Carried, Trouble> {
        let replay = Replay {
            mailboxes: &self.mailboxes,
            trace_key: &KEY,
            doors,
            primary: &PrimaryId("office".into()),
            account: &anna(),
            deliveries: &Known(fate),
        };
        replay.run().await
    }
}

/// A primary to which transport has delivered what came in the outage.
fn primary() -> Mail {
    let mail = Mail::with(&["INBOX", "Sent", "Drafts", "Trash"]);
    for n in 1..=4 {
        mail.deliver(&message(n));
    }
    mail
}

fn given_back() -> Vec<(String, Vec<String>, String)> {
    let line = |folder: &str, flags: &[&str], subject: &str| {
        (folder.to_owned(), flags.iter().map(|f| (*f).to_owned()).collect(), subject.to_owned())
    };
    let mut lines = vec![
        line("Drafts", &["\\Draft"], "a draft"),
        line("INBOX", &[], "4"),
        line("INBOX", &["\\Seen"], "1"),
        line("Projects.2026", &["\\Flagged"], "2"),
        line("Sent", &[], "9"),
    ];
    lines.sort();
    lines
}

#[tokio::test(start_paused = true)]
async fn what_a_person_did_is_at_the_primary_afterwards_and_once() {
    let (house, mail) = (House::open().await, primary());
    house.a_busy_person().await;
    let carried = house.give_back(&mail).await.unwrap();
    assert!(carried.done && carried.listed.is_empty(), "{carried:?}");
    assert_eq!(mail.view(), given_back());
    let changes = mail.inside(|inside| inside.changes);
    assert!(house.give_back(&mail).await.unwrap().done);
    assert_eq!(mail.inside(|inside| inside.changes), changes, "doing it again does nothing");
}

#[tokio::test(start_paused = true)]
async fn cut_off_at_any_command_done_or_not_it_converges_and_doubles_nothing() {
    for how in [Fail::Before, Fail::After] {
        for at in 1..=8 {
            let (house, mail) = (House::open().await, primary());
            house.a_busy_person().await;
            mail.inside(|inside| inside.fail = Some((at, how)));
            let first = house.give_back(&mail).await;
            let again = house.give_back_knowing(&mail, Some(Fate::Delivered)).await.unwrap();
            assert!(again.done, "cut off {how:?} command {at}: {first:?} then {again:?}");
            assert_eq!(mail.view(), given_back(), "cut off {how:?} command {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_delivered_yet_is_waited_for_and_nothing_is_forgotten() {
    let (house, mail) = (House::open().await, Mail::with(&["INBOX", "Sent", "Drafts", "Trash"]));
    house.a_busy_person().await;
    let carried = house.give_back(&mail).await.unwrap();
    assert!(!carried.done && carried.waiting.len() == 3, "{carried:?}");
    for n in 1..=4 {
        mail.deliver(&message(n));
    }
    assert!(house.give_back(&mail).await.unwrap().done);
    assert_eq!(mail.view(), given_back());
}

#[tokio::test(start_paused = true)]
async fn a_message_moved_at_the_primary_and_deleted_here_is_kept_in_trash() {
    let (house, mail) = (House::open().await, Mail::with(&["INBOX", "Trash", "Work"]));
    let one = house.arrive(1, "INBOX", By::Own).await;
    mail.deliver(&message(1));
    let moved = mail.inside(|inside| inside.folders.get_mut("INBOX").unwrap().pop().unwrap());
    mail.inside(|inside| inside.folders.get_mut("Work").unwrap().push(moved));
    house.mailboxes.expunge(&anna(), one.0, &one.1, By::Person).await.unwrap();
    let carried = house.give_back(&mail).await.unwrap();
    assert_eq!(carried.listed.len(), 1, "{carried:?}");
    assert_eq!(mail.view(), vec![("Trash".to_owned(), vec![], "1".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_message_flagged_and_later_moved_is_not_removed_when_only_the_flag_is_carried_over() {
    let (house, mail) = (House::open().await, Mail::with(&["INBOX", "Trash", "Work"]));
    house.mailboxes.create(&anna(), "Work", None, By::Person).await.unwrap();
    let one = house.arrive(1, "INBOX", By::Own).await;
    let two = house.arrive(2, "INBOX", By::Own).await;
    mail.deliver(&message(1));
    mail.deliver(&message(2));
    house.flag(&one, "\\Seen").await;
    // With this removal a part of what is carried over ends; the move is in the next.
    house.mailboxes.expunge(&anna(), two.0, &two.1, By::Person).await.unwrap();
    house.mailboxes.move_to(&anna(), one.0, &one.1, "Work", By::Person).await.unwrap();
    let carried = house.give_back(&mail).await.unwrap();
    assert!(carried.done && carried.listed.is_empty(), "{carried:?}");
    assert_eq!(mail.view(), vec![("Work".to_owned(), vec!["\\Seen".to_owned()], "1".to_owned())]);
}

/// A person who does one more thing while the primary is asked to let us in.
struct Busy<'a>(&'a House, &'a Mail, Mutex<Option<(FolderId, UidRanges)>>);

impl Doors for Busy<'_> {
    fn enter<'a>(
        &'a self,
        primary: &'a PrimaryId,
        account: &'a AccountId,
        right: Right,
    ) -> Boxed<'a, Result<Option<Box<dyn MailStore>>, StoreError>> {
        Box::pin(async move {
            let moved = self.2.lock().unwrap().take();
            if let Some((folder, uids)) = moved {
                self.0.mailboxes.move_to(&anna(), folder, &uids, "Work", By::Person).await.unwrap();
            }
            self.1.enter(primary, account, right).await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_person_moves_while_something_else_is_carried_over_is_not_removed_and_not_lost() {
    let (house, mail) = (House::open().await, Mail::with(&["INBOX", "Drafts", "Trash", "Work"]));
    house.mailboxes.create(&anna(), "Work", None, By::Person).await.unwrap();
    let one = house.arrive(1, "INBOX", By::Own).await;
    mail.deliver(&message(1));
    house.flag(&one, "\\Seen").await;
    let go = house.give_back_through(&Busy(&house, &mail, Mutex::new(Some(one))), None).await.unwrap();
    assert!(go.done, "{go:?}");
    let draft = b"Subject: a draft\r\n\r\nnot done\r\n";
    let appendix = Appendix { flags: ["\\Draft"].into_iter().collect(), date: Some(START), by: By::Person };
    let placed = house.mailboxes.append(&anna(), "Drafts", draft, appendix).await.unwrap();
    let folder = house.mailboxes.folder(&anna(), "Drafts").unwrap().id;
    let draft = (folder, UidRanges::span(placed.uid, placed.uid));
    let go = house.give_back_through(&Busy(&house, &mail, Mutex::new(Some(draft))), None).await.unwrap();
    assert!(go.done, "{go:?}");
    house.give_back(&mail).await.unwrap();
    let line = |flag: &str, subject: &str| ("Work".to_owned(), vec![flag.to_owned()], subject.to_owned());
    assert_eq!(mail.view(), vec![line("\\Draft", "a draft"), line("\\Seen", "1")]);
}

#[tokio::test(start_paused = true)]
async fn a_move_of_ours_that_nobody_wrote_down_is_not_taken_for_the_primarys() {
    for ends_in in [None, Some("INBOX"), Some("Work")] {
        let (house, mail) = (House::open().await, Mail::with(&["INBOX", "Trash", "Work"]));
        house.mailboxes.create(&anna(), "Work", None, By::Person).await.unwrap();
        let one = house.arrive(1, "INBOX", By::Own).await;
        mail.deliver(&message(1));
        house.flag(&one, "\\Seen").await;
        let moved = house.mailboxes.move_to(&anna(), one.0, &one.1, "Trash", By::Person).await.unwrap();
        let trash = house.mailboxes.folder(&anna(), "Trash").unwrap().id;
        // It is made there, the answer is lost, and the node is gone before it asks again.
        mail.inside(|inside| inside.fail = Some((2, Fail::After)));
        house.give_back(&mail).await.unwrap_err();
        mail.inside(|inside| inside.fail = None);
        assert_eq!(mail.view()[0].0, "Trash");
        let uids = &moved.pairs[0].1;
        match ends_in {
            None => house.mailboxes.expunge(&anna(), trash, uids, By::Person).await.map(drop).unwrap(),
            Some(folder) => {
                let moved = house.mailboxes.move_to(&anna(), trash, uids, folder, By::Person).await;
                moved.map(drop).unwrap();
            }
        }
        let carried = house.give_back(&mail).await.unwrap();
        assert!(carried.done && carried.listed.is_empty(), "{ends_in:?}: {carried:?}");
        let there = ends_in.map(|folder| (folder.to_owned(), vec!["\\Seen".to_owned()], "1".to_owned()));
        assert_eq!(mail.view(), there.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_draft_that_was_written_and_thrown_away_never_comes_to_the_primary() {
    let (house, mail) = (House::open().await, Mail::with(&["INBOX", "Drafts", "Trash"]));
    let folder = house.mailboxes.folder(&anna(), "Drafts").unwrap().id;
    for n in 0..3 {
        let draft = format!("Subject: try {n}\r\n\r\nnot done\r\n");
        let appendix = Appendix { flags: Flags::default(), date: Some(START), by: By::Person };
        let placed = house.mailboxes.append(&anna(), "Drafts", draft.as_bytes(), appendix).await.unwrap();
        if n < 2 {
            let uids = UidRanges::span(placed.uid, placed.uid);
            house.mailboxes.expunge(&anna(), folder, &uids, By::Person).await.unwrap();
        }
    }
    assert!(house.give_back(&mail).await.unwrap().done);
    assert_eq!(mail.view(), vec![("Drafts".to_owned(), vec![], "try 2".to_owned())]);
    assert_eq!(mail.inside(|inside| inside.changes), 1);
}
