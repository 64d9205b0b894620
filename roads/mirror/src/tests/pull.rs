//! A mailbox pulled, followed, and given back: here and there the same, whatever both sides did.

mod points;

use super::*;
use crate::pull::{PullOptions, Visit, gate};
use proptest::prelude::*;
use rules_merge::{Brake, BrakeOptions};
use std::collections::BTreeMap;
use std::io::Read;
use words_imap::Flag;
use words_world::Clock;

/// The two sides, and what is between them.
struct Both {
    house: House,
    mail: Mail,
    clock: Arc<TestClock>,
    brake: Mutex<Brake>,
    accepted: bool,
}

/// Folder, flags, text.
type Row = (String, Vec<String>, String);

impl Both {
    async fn open(mail: Mail) -> Both {
        let house = House::open().await;
        let brake = Mutex::new(Brake::new(BrakeOptions::default()));
        Both { house, mail, clock: Arc::new(TestClock::new(START)), brake, accepted: false }
    }

    async fn look(&self) -> Result<bool, Trouble> {
        let mut store = self.mail.connect();
        let mut visit = Visit {
            mailboxes: &self.house.mailboxes,
            trace_key: &KEY,
            account: &anna(),
            store: &mut store,
            options: &PullOptions::default(),
            brake: &self.brake,
            gate: &gate::Gate::new(rules_merge::PaceOptions::default()),
            clock: self.clock.as_ref() as &dyn Clock,
            accepted: self.accepted,
        };
        visit.look().await
    }

    async fn settle(&self) {
        for _ in 0..8 {
            self.look().await.unwrap();
            let _ = self.house.give_back_knowing(&self.mail, Some(Fate::Delivered)).await;
            if self.here() == self.there() {
                return;
            }
        }
        assert_eq!(self.here(), self.there(), "the two sides do not come together");
    }

    fn here(&self) -> Vec<Row> {
        let boxes = &self.house.mailboxes;
        let mut rows = Vec::new();
        for folder in boxes.folders(&anna()).unwrap() {
            for message in boxes.page(folder.id, 1, u32::MAX, 1_000).unwrap() {
                let mut text = String::new();
                boxes.body(&message.body).unwrap().read_to_string(&mut text).unwrap();
                let mut flags: Vec<String> = message.flags.names().map(str::to_owned).collect();
                flags.sort();
                rows.push((folder.name.replace('/', "."), flags, subject(&text)));
            }
        }
        rows.sort();
        rows
    }

    fn there(&self) -> Vec<Row> {
        self.mail.view()
    }

    /// The folders that stand for one another.
    fn folders(&self) -> BTreeMap<String, String> {
        let boxes = &self.house.mailboxes;
        let name = |id| boxes.folders(&anna()).unwrap().into_iter().find(|f| f.id == id).map(|f| f.name);
        let pairings = boxes.pairings(&anna()).unwrap();
        pairings.into_iter().filter_map(|p| Some((name(p.folder)?, p.there))).collect()
    }

    fn put(&self, folder: &str, text: &str, flags: &[Flag]) {
        let bytes = format!("Subject: {text}\r\n\r\nof {text}\r\n").into_bytes();
        self.mail.inside(|inside| store::put(inside, folder, flags.to_vec(), bytes));
    }
}

fn subject(text: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or("").to_owned()
}

fn mail() -> Mail {
    Mail::with(&["INBOX", "Sent", "Drafts", "Trash", "Work", "Work.2026"])
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_is_copied_and_followed() {
    let both = Both::open(mail()).await;
    both.put("INBOX", "one", &[Flag::Seen]);
    both.put("INBOX", "two", &[]);
    both.put("Work.2026", "three", &[Flag::Flagged]);
    both.look().await.unwrap();
    assert_eq!(both.here(), both.there());
    assert_eq!(both.folders().get("Work/2026").map(String::as_str), Some("Work.2026"));
    let boxes = &both.house.mailboxes;
    let inbox = boxes.folder(&anna(), "INBOX").unwrap();
    assert_eq!(
        (inbox.uidvalidity, boxes.snapshot(inbox.id).unwrap().uids.to_string()),
        (store::validity("INBOX"), "1:2".into())
    );

    // The primary's own changes: a flag, a move, a removal, a new folder, another name for one.
    both.mail.inside(|inside| {
        let inbox = inside.folders.get_mut("INBOX").unwrap();
        inbox[1].flags.push(Flag::Answered);
        let moved = inbox.remove(0);
        store::put(inside, "Trash", moved.flags, moved.bytes);
        inside.folders.insert("New".into(), Vec::new());
    });
    both.mail.connect().rename("Work.2026", "Work.2027").await.unwrap();
    both.put("New", "four", &[]);
    both.look().await.unwrap();
    assert_eq!(both.here(), both.there());
    assert!(both.folders().contains_key("Work/2027") && !both.folders().contains_key("Work/2026"));
    both.mail.inside(|inside| inside.folders.remove("New"));
    both.mail.inside(|inside| inside.folders.get_mut("Trash").unwrap().clear());
    both.look().await.unwrap();
    assert_eq!(both.here(), both.there());
    assert!(!both.folders().contains_key("New"));
}

#[tokio::test(start_paused = true)]
async fn what_came_through_us_is_recognised_and_what_the_primary_did_with_it_is_followed() {
    let both = Both::open(mail()).await;
    for n in 1..=3 {
        both.house.arrive(n, "INBOX", By::Own).await;
    }
    both.mail.deliver(&message(1));
    both.mail.inside(|inside| store::put(inside, "Work", vec![Flag::Seen], message(2)));
    both.settle_but(&["3"]).await;
    assert_eq!(both.here().len(), 3, "nothing is stored twice: {:?}", both.here());
    both.mail.deliver(&message(3));
    both.settle().await;
    let filed: Vec<String> = both.here().into_iter().map(|(folder, _, _)| folder).collect();
    assert_eq!(filed, ["INBOX", "INBOX", "Work"]);
}

impl Both {
    async fn settle_but(&self, missing: &[&str]) {
        self.look().await.unwrap();
        let here: Vec<Row> =
            self.here().into_iter().filter(|(_, _, subject)| !missing.contains(&subject.as_str())).collect();
        assert_eq!(here, self.there());
    }
}

#[tokio::test(start_paused = true)]
async fn another_uidvalidity_is_survived_by_identity_and_another_look_does_nothing() {
    let both = Both::open(mail()).await;
    for n in 0..20 {
        both.put("INBOX", &format!("message {n}"), &[]);
    }
    both.look().await.unwrap();
    let boxes = &both.house.mailboxes;
    let inbox = boxes.folder(&anna(), "INBOX").unwrap();
    boxes.claim(&anna(), inbox.id).await.unwrap();
    let before = boxes.snapshot(inbox.id).unwrap().uids;
    both.mail.inside(|inside| {
        inside.validities.insert("INBOX".into(), 4_711);
        let all = std::mem::take(inside.folders.get_mut("INBOX").unwrap());
        for message in all {
            store::put(inside, "INBOX", message.flags, message.bytes);
        }
    });
    both.look().await.unwrap();
    let after = boxes.snapshot(inbox.id).unwrap();
    assert_eq!(
        (after.uids, after.folder.uidvalidity),
        (before, inbox.uidvalidity),
        "clients see nothing of it"
    );
    let dump = boxes.dump().unwrap();
    both.look().await.unwrap();
    assert_eq!(boxes.dump().unwrap(), dump);
    both.put("INBOX", "new", &[]);
    both.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_disaster_is_not_copied_until_a_person_says_so() {
    let mut both = Both::open(mail()).await;
    for n in 0..150 {
        both.put("Work", &format!("message {n}"), &[]);
    }
    both.look().await.unwrap();
    both.mail.inside(|inside| inside.folders.get_mut("Work").unwrap().clear());
    both.look().await.unwrap();
    assert_eq!(both.here().len(), 150);
    let why = both.house.mailboxes.braked(&anna()).unwrap().unwrap();
    assert!(why.starts_with("150 of 150 messages vanished"), "{why}");
    both.house.mailboxes.brake(&anna(), None).await.unwrap();
    both.accepted = true;
    both.look().await.unwrap();
    assert_eq!(both.here().len(), 0);

    // Emptying Trash, or moving everything, is none.
    for n in 0..150 {
        both.put("Trash", &format!("old {n}"), &[]);
        both.put("Work", &format!("new {n}"), &[]);
    }
    both.accepted = false;
    both.look().await.unwrap();
    both.mail.inside(|inside| {
        inside.folders.get_mut("Trash").unwrap().clear();
        let all = std::mem::take(inside.folders.get_mut("Work").unwrap());
        for message in all {
            store::put(inside, "INBOX", message.flags, message.bytes);
        }
    });
    both.look().await.unwrap();
    assert_eq!(both.house.mailboxes.braked(&anna()).unwrap(), None);
    assert_eq!(both.here(), both.there());
}

#[derive(Clone, Debug)]
enum Act {
    Flag(bool, u8, u8),
    Move(bool, u8, u8),
    Delete(bool, u8),
    Put(bool, u8),
    Copy(u8, u8),
    Rename(bool, u8),
    Create(bool, u8),
    Look,
    GiveBack,
    /// The primary cuts off at this command, done or not.
    Cut(u32, bool),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => any::<(bool, u8, u8)>().prop_map(|(here, n, flag)| Act::Flag(here, n, flag)),
        4 => any::<(bool, u8, u8)>().prop_map(|(here, n, to)| Act::Move(here, n, to)),
        2 => any::<(bool, u8)>().prop_map(|(here, n)| Act::Delete(here, n)),
        2 => any::<(bool, u8)>().prop_map(|(here, to)| Act::Put(here, to)),
        1 => any::<(u8, u8)>().prop_map(|(n, to)| Act::Copy(n, to)),
        1 => any::<(bool, u8)>().prop_map(|(here, n)| Act::Rename(here, n)),
        1 => any::<(bool, u8)>().prop_map(|(here, n)| Act::Create(here, n)),
        2 => Just(Act::Look),
        2 => Just(Act::GiveBack),
        1 => (1u32..4, any::<bool>()).prop_map(|(at, done)| Act::Cut(at, done)),
    ]
}

const FLAGS: [&str; 4] = ["\\Seen", "\\Flagged", "\\Answered", "work"];

impl Both {
    fn all_here(&self) -> Vec<(FolderId, u32)> {
        let boxes = &self.house.mailboxes;
        let folders = boxes.folders(&anna()).unwrap();
        let uids = |id: FolderId| {
            boxes.snapshot(id).unwrap().uids.iter().map(move |uid| (id, uid)).collect::<Vec<_>>()
        };
        folders.iter().flat_map(|f| uids(f.id)).collect()
    }

    async fn act(&self, act: &Act, put: &mut u32) {
        let boxes = &self.house.mailboxes;
        let folders: Vec<String> = boxes.folders(&anna()).unwrap().into_iter().map(|f| f.name).collect();
        let all = self.all_here();
        let pick = |n: &u8| all.get(usize::from(*n) % all.len().max(1)).copied();
        let to = |n: &u8| folders[usize::from(*n) % folders.len()].clone();
        match act {
            Act::Flag(true, n, flag) => {
                let Some((folder, uid)) = pick(n) else { return };
                let flags: Flags = [FLAGS[usize::from(*flag) % 4]].into_iter().collect();
                let how = if flag & 64 == 0 { How::Add } else { How::Remove };
                let uids = UidRanges::span(uid, uid);
                boxes.store(&anna(), folder, &uids, (how, &flags), None, By::Person).await.unwrap();
            }
            Act::Move(true, n, folder) => {
                let Some((from, uid)) = pick(n) else { return };
                let uids = UidRanges::span(uid, uid);
                boxes.move_to(&anna(), from, &uids, &to(folder), By::Person).await.unwrap();
            }
            Act::Delete(true, n) => {
                let Some((from, uid)) = pick(n) else { return };
                boxes.expunge(&anna(), from, &UidRanges::span(uid, uid), By::Person).await.unwrap();
            }
            Act::Put(true, folder) => {
                *put += 1;
                let text = format!("Subject: here {put}\r\n\r\nof here {put}\r\n");
                let appendix = Appendix { flags: Flags::none(), date: Some(START), by: By::Person };
                boxes.append(&anna(), &to(folder), text.as_bytes(), appendix).await.unwrap();
            }
            Act::Copy(n, folder) => {
                let Some((from, uid)) = pick(n) else { return };
                let uids = UidRanges::span(uid, uid);
                boxes.copy(&anna(), from, &uids, &to(folder), By::Person).await.unwrap();
            }
            Act::Rename(true, n) => {
                let _ = boxes.rename(&anna(), "Work", &format!("Work{}", n % 3), By::Person).await;
            }
            Act::Create(true, n) => {
                let _ = boxes.create(&anna(), &format!("Made{}", n % 3), None, By::Person).await;
            }
            Act::Look => {
                let _ = self.look().await;
            }
            Act::GiveBack => {
                let _ = self.house.give_back_knowing(&self.mail, Some(Fate::Delivered)).await;
            }
            Act::Cut(at, done) => self.mail.inside(|inside| {
                let how = if *done { Fail::After } else { Fail::Before };
                inside.fail = Some((inside.changes + at, how));
            }),
            there => self.mail.inside(|inside| act_there(inside, there, put)),
        }
    }
}

fn act_there(inside: &mut store::Inside, act: &Act, put: &mut u32) {
    let names: Vec<String> = inside.folders.keys().cloned().collect();
    let all: Vec<(String, usize)> = inside
        .folders
        .iter()
        .flat_map(|(name, all)| (0..all.len()).map(move |at| (name.clone(), at)))
        .collect();
    let pick = |n: &u8| all.get(usize::from(*n) % all.len().max(1)).cloned();
    let to = |n: &u8| names[usize::from(*n) % names.len()].clone();
    match act {
        Act::Flag(_, n, flag) => {
            let Some((folder, at)) = pick(n) else { return };
            let message = &mut inside.folders.get_mut(&folder).unwrap()[at];
            let spoken = Flag::parse(FLAGS[usize::from(*flag) % 4]).unwrap();
            message.flags.retain(|other| *other != spoken);
            if flag & 64 == 0 {
                message.flags.push(spoken);
            }
        }
        Act::Move(_, n, folder) => {
            let Some((from, at)) = pick(n) else { return };
            let message = inside.folders.get_mut(&from).unwrap().remove(at);
            store::put(inside, &to(folder), message.flags, message.bytes);
        }
        Act::Delete(_, n) => {
            let Some((from, at)) = pick(n) else { return };
            inside.folders.get_mut(&from).unwrap().remove(at);
        }
        Act::Put(_, folder) => {
            *put += 1;
            let bytes = format!("Subject: there {put}\r\n\r\nof there {put}\r\n").into_bytes();
            store::put(inside, &to(folder), Vec::new(), bytes);
        }
        Act::Rename(_, n) => {
            let to = format!("Work{}", n % 3);
            if inside.folders.contains_key("Work") && !inside.folders.contains_key(&to) {
                let all = inside.folders.remove("Work").unwrap();
                inside.folders.insert(to.clone(), all);
                inside.validities.insert(to, store::validity("Work"));
            }
        }
        Act::Create(_, n) => {
            inside.folders.entry(format!("Made{}", n % 3)).or_default();
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_on_both_sides_they_come_together(story in prop::collection::vec(acts(), 0..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(comes_together(&story));
    }
}

/// What was done, at both sides, until they come together.
async fn comes_together(story: &[Act]) {
    let both = Both::open(Mail::with(&["INBOX", "Sent", "Drafts", "Trash", "Work"])).await;
    both.put("INBOX", "one", &[]);
    both.put("INBOX", "two", &[]);
    both.put("Work", "three", &[]);
    both.look().await.unwrap();
    let mut put = 0;
    for act in story {
        both.act(act, &mut put).await;
    }
    both.mail.inside(|inside| inside.fail = None);
    both.settle().await;
}

/// Short histories in which the two sides once did not come together, each by what it is about.
#[rustfmt::skip]
const STORIES: [(&str, &[Act]); 16] = [
    ("a folder that both sides gave another name", &[Act::Rename(true, 1), Act::Rename(false, 2)]),
    ("the same, given back before it was looked at", &[Act::Rename(true, 1), Act::Rename(false, 2), Act::GiveBack]),
    ("two copies of one message in one folder",
        &[Act::Delete(false, 63), Act::Move(true, 70, 18), Act::Copy(15, 42), Act::GiveBack, Act::Copy(200, 0), Act::Flag(false, 0, 0)]),
    ("a copy moved at the primary, and another made",
        &[Act::Delete(true, 150), Act::Copy(5, 0), Act::Move(false, 143, 108), Act::GiveBack, Act::Copy(50, 184), Act::GiveBack]),
    ("a copy deleted there, and another made",
        &[Act::Delete(true, 17), Act::Copy(19, 30), Act::GiveBack, Act::Delete(false, 153), Act::Copy(7, 21), Act::Move(false, 43, 0)]),
    ("a copy whose append was not answered, and its original deleted there",
        &[Act::Flag(true, 0, 0), Act::Copy(15, 46), Act::Cut(2, true), Act::GiveBack, Act::Delete(false, 52)]),
    ("taken out of Trash before that was given back",
        &[Act::Flag(true, 21, 128), Act::Delete(false, 24), Act::Look, Act::Delete(true, 65), Act::Move(true, 187, 0)]),
    ("taken out of Trash to where it stood",
        &[Act::Delete(false, 33), Act::Flag(true, 63, 0), Act::Delete(true, 203), Act::Look, Act::Move(true, 91, 37)]),
    ("touched in Trash, and deleted there",
        &[Act::Move(false, 63, 218), Act::Flag(true, 87, 128), Act::Look, Act::Move(false, 146, 5), Act::Delete(false, 134)]),
    ("given back, then moved on both sides",
        &[Act::Put(true, 114), Act::Create(true, 0), Act::Move(true, 154, 7), Act::Move(true, 115, 118), Act::GiveBack, Act::Move(true, 182, 7), Act::Move(false, 30, 0)]),
    ("a copy given back, then moved on both sides",
        &[Act::Move(true, 179, 7), Act::Copy(0, 166), Act::Put(false, 130), Act::GiveBack, Act::Move(true, 3, 20), Act::Move(false, 109, 0)]),
    ("two copies given back, one moved there",
        &[Act::Put(true, 64), Act::Copy(0, 9), Act::Copy(0, 16), Act::Delete(true, 0), Act::Move(true, 213, 72), Act::GiveBack, Act::Move(false, 38, 7)]),
    ("given back, thrown away here and moved there",
        &[Act::Copy(0, 208), Act::Put(true, 0), Act::Put(true, 0), Act::Delete(true, 18), Act::GiveBack, Act::Move(false, 108, 0), Act::Move(true, 218, 0)]),
    ("copied and moved on with deletes between",
        &[Act::Delete(true, 132), Act::Copy(0, 9), Act::Delete(true, 95), Act::Copy(0, 7), Act::Delete(true, 64), Act::Move(true, 29, 0)]),
    ("a flagged copy moved on after a delete",
        &[Act::Flag(true, 151, 0), Act::Copy(28, 140), Act::Delete(true, 1), Act::Move(true, 183, 0)]),
    ("moved to Trash here and deleted there",
        &[Act::Move(false, 21, 18), Act::Delete(true, 2), Act::Put(true, 0), Act::Put(false, 0), Act::Put(true, 159), Act::Delete(true, 254), Act::Put(false, 0), Act::Look,
          Act::GiveBack, Act::Move(true, 108, 0), Act::Delete(false, 214)]),
];

#[tokio::test(start_paused = true)]
async fn histories_that_once_parted_the_two_sides_bring_them_together() {
    for (about, story) in STORIES {
        println!("{about}");
        comes_together(story).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_keyword_in_capital_letters_is_given_back_and_nothing_is_left_to_do() {
    let both = Both::open(mail()).await;
    both.look().await.unwrap();
    for n in 1..=3 {
        let appendix =
            Appendix { flags: ["$Forwarded"].into_iter().collect(), date: Some(START), by: By::Person };
        let text = format!("Subject: {n}\r\n\r\nb\r\n");
        both.house.mailboxes.append(&anna(), "Work", text.as_bytes(), appendix).await.unwrap();
        let carried = both.house.give_back_knowing(&both.mail, None).await.unwrap();
        assert!(carried.done, "{carried:?}");
        assert_eq!(both.there().len(), n);
        both.look().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_person_put_into_trash_and_the_primary_removed_is_given_back_there() {
    comes_together(&[Act::Delete(false, 221), Act::Move(true, 101, 215), Act::Delete(true, 63)]).await;
}
