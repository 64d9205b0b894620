//! The node dies at every named place of copying and following, by a power cut, and goes on where it was.

use super::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use words_world::on_crash_point;

/// The places that this road comes by; the others belong to giving back after an outage, where the simulation dies.
const PLACES: &str = "mailbox.mirrored mirror.appended mirror.before_close mirror.before_expunge mirror.before_flags \
                      mirror.before_folder mirror.before_link mirror.before_looked mirror.before_pair \
                      mirror.before_pull mirror.before_shift mirror.before_trash mirror.before_unlink mirror.paired \
                      mirror.pulled";
/// How often each place is passed before the node dies there.
const TIMES: u64 = 3;

/// A node that can die: its disk, and the primary that lives on.
struct Mortal {
    disk: FaultDisk,
    both: Both,
}

impl Mortal {
    async fn new() -> Mortal {
        let disk = FaultDisk::new(1);
        let mail = Mail::with(&["INBOX", "Sent", "Drafts", "Trash", "Work", "Old"]);
        let both = Both { house: House::on(&disk).await, ..Both::open(mail).await };
        Mortal { disk, both }
    }

    /// Looks and gives back; a node that dies meanwhile starts again and does both anew.
    async fn round(&mut self) {
        for _ in 0..2 {
            let _ = self.both.look().await;
            let _ = self.both.house.give_back_knowing(&self.both.mail, Some(Fate::Delivered)).await;
            if !self.disk.is_off() {
                return;
            }
            self.disk.restart();
            self.both.mail.inside(|inside| inside.fail = None);
            let mail = self.both.mail.clone();
            self.both = Both { house: House::on(&self.disk).await, ..Both::open(mail).await };
        }
        assert!(!self.disk.is_off(), "it dies once");
    }

    /// What happens on both sides, a bit at a time, with the road at work in between.
    async fn live(&mut self) {
        for n in 1..=4 {
            self.both.put("INBOX", &format!("inbox {n}"), &[]);
        }
        self.both.put("Work", "work 1", &[Flag::Seen]);
        self.both.put("Work", "work 2", &[]);
        self.both.put("Old", "old", &[]);
        self.both.put("Sent", "sent", &[]);
        // Two came through us: one the primary filed by itself.
        for n in [1, 2] {
            self.both.house.arrive(n, "INBOX", By::Own).await;
        }
        self.both.mail.deliver(&message(1));
        self.both.mail.inside(|inside| store::put(inside, "Work", Vec::new(), message(2)));
        self.round().await;

        // There: a flag, a move, a removal, a folder less and one more. Here: another flag, what was written, a folder.
        self.both.mail.inside(|inside| {
            let inbox = inside.folders.get_mut("INBOX").unwrap();
            inbox[0].flags.push(Flag::Answered);
            let moved = inbox.remove(1);
            store::put(inside, "Work", moved.flags, moved.bytes);
            inside.folders.get_mut("Sent").unwrap().clear();
            inside.folders.remove("Old");
            inside.folders.insert("New".into(), Vec::new());
        });
        self.both.put("New", "new", &[]);
        let appendix = Appendix { flags: Flags::none(), date: Some(START), by: By::Person };
        let text = b"Subject: written here\r\n\r\nby anna\r\n";
        let boxes = &self.both.house.mailboxes;
        boxes.append(&anna(), "Drafts", text, appendix).await.unwrap();
        let _ = boxes.create(&anna(), "Mine", None, By::Person).await;
        self.round().await;

        // Removed there and flagged here since: it goes to Trash.
        let boxes = &self.both.house.mailboxes;
        let work = boxes.folder(&anna(), "Work").unwrap();
        let first = boxes.snapshot(work.id).unwrap().uids.iter().next().unwrap();
        let flags: Flags = ["\\Flagged"].into_iter().collect();
        let uids = UidRanges::span(first, first);
        boxes.store(&anna(), work.id, &uids, (How::Add, &flags), None, By::Person).await.unwrap();
        self.both.mail.inside(|inside| drop(inside.folders.get_mut("Work").unwrap().remove(0)));
        self.round().await;

        // Another name there, and a folder's numbers are all new.
        self.both.mail.connect().rename("Work", "Jobs").await.unwrap();
        self.both.mail.inside(|inside| inside.validities.insert("Drafts".into(), 4_711));
        self.round().await;
        self.both.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn wherever_the_node_dies_it_goes_on_and_both_sides_are_as_if_it_had_lived() {
    let passed: Arc<Mutex<BTreeSet<&'static str>>> = Arc::default();
    let seen = passed.clone();
    on_crash_point(false, move |name| _ = seen.lock().unwrap().insert(name));
    let mut undisturbed = Mortal::new().await;
    undisturbed.live().await;
    on_crash_point(false, |_| {});
    let expected = undisturbed.both.there();

    for name in PLACES.split(' ') {
        assert!(passed.lock().unwrap().contains(name), "nothing comes by {name}");
        for nth in 0..TIMES {
            let mut node = Mortal::new().await;
            let (disk, mail, times) = (node.disk.clone(), node.both.mail.clone(), AtomicU64::new(0));
            on_crash_point(false, move |at| {
                if at == name && times.fetch_add(1, Ordering::Relaxed) == nth {
                    disk.power_off();
                    // Nor does it change anything there any more.
                    mail.inside(|inside| inside.fail = Some((inside.changes + 1, Fail::Before)));
                }
            });
            node.live().await;
            on_crash_point(false, |_| {});
            assert_eq!(node.both.there(), expected, "died at {name}, after {nth}");
        }
    }
}
