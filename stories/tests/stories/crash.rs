//! Stormpost itself is killed: at random moments, at every named place.

use std::collections::HashMap;
use std::time::Duration;

use stories::crash::{CRASH_AT, points};
use stories::lab::wait_for;
use stories::{Load, Maildrop, PrimaryOptions, Sent};

use crate::scene::{Scene, by_lmtp};

/// Rounds of the random kills.
const ROUNDS: u64 = 50;

/// Which message every UID has meant so far, as Stormpost's own front told it.
#[derive(Default)]
struct Uids {
    shown: HashMap<(String, String, u64, u64), String>,
    looked: usize,
}

impl Uids {
    /// # Panics
    /// When a UID means another message than before.
    fn note(&mut self, address: &str, drop: &Maildrop) {
        self.looked += 1;
        for message in &drop.messages {
            let Some(id) = message.story() else { continue };
            let place = (address.to_owned(), message.folder.clone(), message.uidvalidity, message.uid);
            let before = self.shown.entry(place.clone()).or_insert_with(|| id.clone());
            assert_eq!(*before, id, "the UID {place:?} was given to another message");
        }
    }
}

#[test]
fn fifty_kills_at_random_moments_lose_nothing_double_nothing_and_reuse_no_uid() {
    let mut scene = Scene::with("fifty_kills", &PrimaryOptions::default(), by_lmtp);
    let load = Load {
        sessions: 4,
        messages: 100_000,
        size: 1_000,
        pause: Duration::from_millis(20),
        ..Load::new(scene.stormpost.smtp, "kills", &scene.primary.addresses())
    };
    let running = load.start();
    let mut uids = Uids::default();
    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        // Spread over the life of a message: taken in, written, handed over, noted.
        std::thread::sleep(Duration::from_millis(40 + round * 37 % 400));
        scene.stormpost.kill();
        slowest = slowest.max(scene.stormpost.reopen());
        if round % 5 == 4 {
            scene.stormpost.comes_up();
            for address in scene.primary.addresses() {
                uids.note(&address, &scene.stormpost.maildrop(&address).unwrap());
            }
            scene.lab.say(&format!(
                "{} kills, {} acknowledged, slowest start {:.2} s",
                round + 1,
                running.acknowledged(),
                slowest.as_secs_f64()
            ));
        }
    }
    let sent = running.stop();
    scene.stormpost.comes_up();
    assert!(sent.iter().any(|one| one.tries > 1), "no kill met a sender, so nothing was proved");
    scene.drained(Duration::from_secs(120));
    scene.judge(&sent);
    for (address, drop) in scene.stormpost.maildrops() {
        uids.note(&address, &drop);
        let expected = sent.iter().filter(|one| one.acknowledged() && one.to == address).count();
        let mut ids: Vec<String> =
            drop.messages.iter().filter_map(stories::maildrop::Message::story).collect();
        ids.sort();
        let all = ids.len();
        ids.dedup();
        assert_eq!(all, ids.len(), "{address} has something twice in the mailbox here");
        assert!(ids.len() >= expected, "{address} misses something in the mailbox here");
    }
    assert!(uids.looked > 30);
    scene.stormpost.tell(&["journal", "verify"]).must("journal verify");
}

#[test]
fn the_inside_killed_again_and_again_closes_no_door_to_anybody() {
    let mut scene = Scene::with("inside_killed", &PrimaryOptions::default(), by_lmtp);
    let edge = scene.stormpost.edge_pid();
    let load = Load {
        sessions: 4,
        messages: 100_000,
        size: 1_000,
        pause: Duration::from_millis(10),
        ..Load::new(scene.stormpost.smtp, "doors", &scene.primary.addresses())
    };
    let running = load.start();
    for round in 0..10_u64 {
        std::thread::sleep(Duration::from_millis(150 + round * 37));
        scene.stormpost.kill_inside();
        std::thread::sleep(Duration::from_millis(100));
        scene.stormpost.launch();
    }
    let sent = running.stop();
    assert_eq!(scene.stormpost.edge_pid(), edge, "the edge was adopted each time");
    let turned_away: Vec<_> = sent.iter().filter(|one| one.tries > 1).collect();
    assert!(sent.len() > 100 && turned_away.is_empty(), "{} sent, turned away: {turned_away:?}", sent.len());
    scene.stormpost.comes_up();
    scene.drained(Duration::from_secs(60));
    scene.judge(&sent);
}

#[test]
fn a_crash_at_every_named_place_is_survived() {
    // One process passes all of the places; where the edge has one of its own, it would be started again at once.
    let mut scene = Scene::with("every_crash_point", &PrimaryOptions::default(), |setup, primary| {
        by_lmtp(setup, primary);
        setup.one_process = true;
    });
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let of_mail =
        |name: &String| !is_of_copies(name) && !name.starts_with("mirror.") && !name.starts_with("report.");
    let points: Vec<String> = points(top).into_iter().filter(of_mail).collect();
    let mut sent = Vec::new();
    let mut passed = Vec::new();
    for (number, point) in points.iter().enumerate() {
        let mut struck = false;
        // At the first passage, and at one when everything is under way.
        for time in [1, 4] {
            struck |=
                dies_at(&mut scene, &format!("{point}:{time}"), &format!("point{number}-{time}"), &mut sent);
        }
        if !struck {
            passed.push(point.clone());
        }
    }
    scene.drained(Duration::from_secs(60));
    scene.judge(&sent);
    let struck = points.len() - passed.len();
    scene.lab.say(&format!(
        "{struck} of {} named places struck; plain mail does not pass {passed:?}",
        points.len()
    ));
    assert!(struck * 2 > points.len(), "most places must be passed by plain mail: {passed:?}");
    scene.stormpost.tell(&["journal", "verify"]).must("journal verify");
}

/// One life that ends at a named place, and the next one; says whether the place was passed at all.
fn dies_at(scene: &mut Scene, place: &str, name: &str, sent: &mut Vec<Sent>) -> bool {
    scene.stormpost.kill();
    scene.stormpost.environment(&[(CRASH_AT, place)]);
    scene.stormpost.launch();
    let load = Load {
        sessions: 2,
        messages: 4,
        ..Load::new(scene.stormpost.smtp, name, &scene.primary.addresses())
    };
    let running = load.start();
    // One message that is too large to stand in the journal's own lines.
    let large =
        Load { sessions: 1, messages: 1, size: 1_300_000, name: format!("{name}-large"), ..load.clone() };
    let large = large.start();
    // What needs mail to be taken, handed over and noted is passed by half a second after the last of it.
    let mut patience = 25;
    while scene.stormpost.lives() && patience > 0 {
        std::thread::sleep(Duration::from_millis(20));
        patience -= usize::from(running.acknowledged() + large.acknowledged() == 9);
    }
    let struck = !scene.stormpost.lives();
    scene.stormpost.kill();
    scene.stormpost.environment(&[]);
    scene.stormpost.restart();
    sent.extend(running.finish());
    sent.extend(large.finish());
    struck
}

#[test]
fn sigterm_finishes_what_is_open_and_loses_nothing() {
    let mut scene = Scene::open("sigterm");
    let load = Load {
        messages: 100_000,
        pause: Duration::from_millis(20),
        ..Load::new(scene.stormpost.smtp, "terms", &scene.primary.addresses())
    };
    let running = load.start();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(400));
        scene.stormpost.stop();
        scene.stormpost.restart();
    }
    let sent = running.stop();
    scene.drained(Duration::from_secs(60));
    scene.judge(&sent);
}

#[test]
fn stormpost_and_the_primary_killed_together_in_an_outage_lose_nothing() {
    let mut scene = Scene::with("killed_together", &PrimaryOptions::default(), by_lmtp);
    let load = Load {
        messages: 100_000,
        pause: Duration::from_millis(20),
        ..Load::new(scene.stormpost.smtp, "together", &scene.primary.addresses())
    };
    let running = load.start();
    for round in 0..5_u64 {
        std::thread::sleep(Duration::from_millis(300 + round * 90));
        scene.primary.kill();
        std::thread::sleep(Duration::from_millis(200));
        scene.stormpost.kill();
        scene.stormpost.restart();
        scene.primary.restart();
    }
    let sent = running.stop();
    scene.becomes("inbound", "READY", Duration::from_secs(90));
    scene.drained(Duration::from_secs(90));
    scene.judge(&sent);
}

/// Places that neither mail nor an outage comes by, for nothing is copied in these stories: mailboxes that are pulled
/// (killed there in roads/mirror), backups (in stores/backup), restoring and retiring (in their own stories).
fn is_of_copies(name: &str) -> bool {
    const PULLING: &str = "mailbox.mirrored mirror.appended mirror.before_close mirror.before_expunge \
                           mirror.before_flags mirror.before_folder mirror.before_link mirror.before_looked \
                           mirror.before_pair mirror.before_pull mirror.before_shift mirror.before_trash \
                           mirror.before_unlink mirror.paired mirror.pulled";
    PULLING.split_whitespace().any(|place| place == name)
        || name.starts_with("backup.")
        || name.starts_with("retire.")
        || name.starts_with("restore.")
}

/// What only happens around an outage: its places begin so.
const OF_AN_OUTAGE: [&str; 3] = ["mirror.", "primary.", "report."];

#[test]
fn a_crash_at_every_named_place_of_a_return_is_survived() {
    let mut scene = Scene::with("every_return_point", &PrimaryOptions::default(), |setup, primary| {
        by_lmtp(setup, primary);
        setup.dwell = 1;
    });
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let points =
        points(top).into_iter().filter(|name| OF_AN_OUTAGE.iter().any(|room| name.starts_with(room)));
    let points: Vec<String> = points.filter(|name| !is_of_copies(name)).collect();
    assert!(points.len() >= 8, "{points:?}");
    let mut sent = Vec::new();
    let mut passed = Vec::new();
    for (number, point) in points.iter().enumerate() {
        sent.extend(an_outage_with_work(&mut scene, number));
        // The return, with a death in the middle of it.
        scene.stormpost.kill();
        scene.stormpost.environment(&[(CRASH_AT, point)]);
        scene.stormpost.launch();
        scene.primary.restart();
        let mut patience = 150;
        while scene.stormpost.lives() && patience > 0 {
            std::thread::sleep(Duration::from_millis(100));
            patience -= 1;
        }
        if scene.stormpost.lives() {
            passed.push(point.clone());
        }
        scene.stormpost.kill();
        scene.stormpost.environment(&[]);
        scene.stormpost.restart();
        scene.becomes("inbound", "READY", Duration::from_secs(60));
        scene.becomes("access", "READY", Duration::from_secs(60));
    }
    scene.drained(Duration::from_secs(60));
    scene.judge(&sent);
    for number in 0..points.len() {
        work_is_there(&scene, number);
    }
    scene.lab.say(&format!(
        "{} of {} places struck; not passed: {passed:?}",
        points.len() - passed.len(),
        points.len()
    ));
    assert!(passed.len() * 2 < points.len(), "the return must pass most of its places: {passed:?}");
}

/// The primary dies, mail comes, Anna flags one message, moves another, and keeps a draft.
fn an_outage_with_work(scene: &mut Scene, number: usize) -> Vec<Sent> {
    scene.primary.kill();
    scene.becomes("access", "ACTIVE", Duration::from_secs(30));
    let to = [scene.primary.address("anna")];
    let name = format!("work{number}");
    let sent = Load { sessions: 1, messages: 2, ..Load::new(scene.stormpost.smtp, &name, &to) }.run();
    wait_for("the mail to be shown here", Duration::from_secs(20), || {
        scene.stormpost.maildrop(&to[0]).unwrap().with_story(&format!("{name}-0-1")).len() == 1
    });
    let here = scene.stormpost.maildrop(&to[0]).unwrap();
    let mut anna = scene.stormpost.imap_as(&to[0]).unwrap();
    anna.command("SELECT INBOX").unwrap();
    let uid = |id: &str| here.with_story(id)[0].uid;
    anna.command(&format!("UID STORE {} +FLAGS (\\Flagged)", uid(&format!("{name}-0-0")))).unwrap();
    anna.command(&format!("UID MOVE {} Trash", uid(&format!("{name}-0-1")))).unwrap();
    let draft = format!(
        "From: <{to}>\r\nSubject: draft {number}\r\nMessage-ID: <draft{number}@company.test>\r\n\
         X-Story-Id: draft{number}\r\n\r\nto be continued\r\n",
        to = to[0]
    );
    anna.append("Drafts", "\\Draft \\Seen", draft.as_bytes()).unwrap();
    sent
}

/// Her work of that outage stands in the primary as she left it, once.
fn work_is_there(scene: &Scene, number: usize) {
    let anna = scene.primary.maildrop("anna");
    let only = |id: &str| {
        let found = anna.with_story(id);
        assert_eq!(found.len(), 1, "{id} stands {} times in Anna's mailbox", found.len());
        found[0].clone()
    };
    let flags = only(&format!("work{number}-0-0")).flags;
    assert!(flags.iter().any(|flag| flag.eq_ignore_ascii_case("\\Flagged")), "outage {number}: {flags:?}");
    assert_eq!(only(&format!("work{number}-0-1")).folder, "Trash", "outage {number}");
    assert_eq!(only(&format!("draft{number}")).folder, "Drafts", "outage {number}");
}
