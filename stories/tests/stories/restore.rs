//! The machine is lost with its disk, and a backup becomes a new one.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use stories::lab::wait_for;
use stories::object_store::{ACCESS, ObjectStore};
use stories::stormpost::Stormpost;
use stories::{Load, PrimaryOptions, Sent};

use crate::scene::{Scene, by_lmtp};

/// Which message each UID has meant so far, by person, folder, UIDVALIDITY and UID.
type Shown = HashMap<(String, String, u64, u64), String>;

fn shown(stormpost: &Stormpost, known: &mut Shown) {
    for (address, drop) in stormpost.maildrops() {
        for message in &drop.messages {
            let Some(id) = message.story() else { continue };
            let place = (address.clone(), message.folder.clone(), message.uidvalidity, message.uid);
            let before = known.entry(place.clone()).or_insert_with(|| id.clone());
            assert_eq!(*before, id, "the UID {place:?} was given to another message");
        }
    }
}

fn load(scene: &Scene, name: &str, messages: usize) -> Load {
    Load { sessions: 2, messages, ..Load::new(scene.stormpost.smtp, name, &scene.primary.addresses()) }
}

#[test]
fn a_new_machine_loses_only_what_came_after_the_backup_and_doubles_nothing() {
    let mut scene = Scene::with("restored", &PrimaryOptions::default(), by_lmtp);
    let state = scene.stormpost.configuration.with_file_name("state");
    let (key, place) = (scene.lab.dir().join("key"), scene.lab.dir().join("elsewhere"));
    let mut sent = load(&scene, "peace", 20).run();
    scene.drained(Duration::from_secs(30));
    fs::copy(state.join("key"), &key).unwrap();
    // Some waits when the backup is made, and more comes in meanwhile.
    scene.stormpost.tell(&["queue", "pause", "--all", "--reason", "story"]).must("queue pause");
    sent.extend(load(&scene, "waiting", 10).run());
    let running = Load { pause: Duration::from_millis(10), ..load(&scene, "meanwhile", 100_000) }.start();
    let begun = Instant::now();
    let place = place.to_str().unwrap().to_owned();
    scene.stormpost.tell(&["backup", "--to", &place]).must("backup");
    let checked = scene.stormpost.ask(&["backup", "verify", "--from", &place]);
    assert_eq!(checked["problem_count"], 0, "{checked}");
    sent.extend(running.stop());
    // After the backup: all of it is handed over, and more.
    scene.stormpost.tell(&["queue", "resume", "--all", "--reason", "story"]).must("queue resume");
    sent.extend(load(&scene, "after", 10).run());
    scene.drained(Duration::from_secs(60));
    // This is here alone when the machine dies.
    scene.stormpost.tell(&["queue", "pause", "--all", "--reason", "story"]).must("queue pause");
    let only_here = load(&scene, "only-here", 3).run();
    let mut uids = Shown::new();
    shown(&scene.stormpost, &mut uids);
    scene.stormpost.kill();
    fs::remove_dir_all(&state).unwrap();

    let (state_name, key_name) = (state.to_str().unwrap(), key.to_str().unwrap());
    let restore = ["restore", "--from", &place, "--data", state_name, "--key-file", key_name];
    let said = scene.stormpost.tell(&restore).must("restore");
    assert!(said.out.contains("senders were told yes"), "{}", said.out);
    let again = scene.stormpost.tell(&restore);
    assert!(!again.ok && again.err.contains("not empty"), "{}", again.err);
    fs::copy(&key, state.join("key")).unwrap();
    scene.stormpost.restart();
    scene.stormpost.tell(&["queue", "resume", "--all", "--reason", "story"]).must("queue resume");
    scene.drained(Duration::from_secs(90));
    let tally = scene.judge(&sent);
    assert!(tally.acknowledged > 60, "{tally}");
    // What is lost is what was said to be: accepted after the backup and handed over to nobody.
    let there: HashSet<String> = scene
        .mailboxes()
        .values()
        .flat_map(|drop| drop.messages.iter().filter_map(stories::maildrop::Message::story))
        .collect();
    assert!(only_here.iter().all(|one| one.acknowledged() && !there.contains(&one.id)));
    let reconciled = scene.stormpost.ask(&["reconcile", "--since", "1h"]);
    let report = &reconciled[0]["report"];
    for count in ["lost", "doubled", "unseen", "waiting"] {
        assert_eq!(report[count], 0, "{count}: {report}");
    }
    let before: Vec<&Sent> = sent.iter().filter(|one| one.at < begun && one.acknowledged()).collect();
    assert!(report["accepted"].as_u64().unwrap() >= before.len() as u64, "{report}");
    // New mail meets people whose clients remember what they were shown.
    let new = load(&scene, "new", 5).run();
    scene.drained(Duration::from_secs(30));
    scene.judge(&new);
    shown(&scene.stormpost, &mut uids);
    scene.stormpost.tell(&["journal", "verify"]).must("journal verify");
    // The new life is copied apart from the old one.
    let said = scene.stormpost.tell(&["backup", "--to", &place]).must("backup");
    assert!(said.out.contains("earlier life"), "{}", said.out);
}

#[test]
fn what_a_primary_lost_is_handed_over_again_once() {
    let scene = Scene::with("redelivered", &PrimaryOptions::default(), by_lmtp);
    let sent = load(&scene, "lost", 15).run();
    scene.drained(Duration::from_secs(30));
    scene.judge(&sent);
    let looked = scene.stormpost.ask(&["redeliver", "--since", "1h", "--dry-run"]);
    assert_eq!(looked["listed"], serde_json::json!([]), "{looked}");
    // One person's mailbox is lost with everything that was settled.
    let person = scene.primary.people[0].clone();
    let address = scene.primary.address(&person);
    scene.primary.doveadm(&["expunge", "-u", &address, "mailbox", "*", "all"]);
    let lost = sent.iter().filter(|one| one.to == address).count();
    assert!(lost > 0);
    let dry = scene.stormpost.tell(&["redeliver", "--since", "1h", "--dry-run", "--json"]);
    assert!(!dry.ok, "something is missing, and nothing was done about it");
    let dry: serde_json::Value = serde_json::from_str(&dry.out).unwrap();
    assert_eq!(dry["listed"].as_array().unwrap().len(), lost, "{dry}");
    assert_eq!(scene.primary.maildrop(&person).messages.len(), 0);
    let again = ["redeliver", "--since", "1h", "--reason", "its disk died"];
    scene.stormpost.tell(&again).must("redeliver");
    // At once again: what is under way is not begun a second time.
    scene.stormpost.tell(&again).must("redeliver");
    scene.drained(Duration::from_secs(60));
    scene.judge(&sent);
    let third = scene.stormpost.ask(&again);
    assert_eq!(third["listed"], serde_json::json!([]), "{third}");
    scene.drained(Duration::from_secs(60));
    scene.judge(&sent);
}

#[test]
fn the_copy_in_an_object_store_follows_while_mail_comes_in() {
    let mut store = None;
    let scene = Scene::with("offsite", &PrimaryOptions::default(), |setup, primary| {
        by_lmtp(setup, primary);
        let lab = stories::Lab::open("offsite_store");
        let secret = lab.dir().join("secret");
        fs::write(&secret, format!("{}\n", ACCESS.1)).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let started = ObjectStore::start(&lab);
        setup.limits = format!(
            "\n[offsite]\nto = \"s3://mail/mx\"\nevery = \"1s\"\nbehind = \"2s\"\n{}",
            started.toml(&secret)
        );
        store = Some((started, secret, lab));
    });
    let (mut store, secret, _lab) = store.unwrap();
    let state = scene.stormpost.configuration.with_file_name("state");
    let copied = || scene.stormpost.ask(&["status"])["offsite"].clone();
    let running = Load { pause: Duration::from_millis(20), ..load(&scene, "offsite", 100_000) }.start();
    wait_for("the first copy", Duration::from_secs(20), || !copied()["until"].is_null());
    // A long body, so that a part is not all of an object.
    let long = Load { size: 9_500_000, sessions: 1, ..load(&scene, "long", 1) }.run();
    store.kill();
    wait_for("it to be told", Duration::from_secs(40), || {
        let standing = copied();
        standing["late"] == true && standing["failing"].is_string()
    });
    assert!(scene.stormpost.tell(&["status"]).out.contains("further behind than it may be"));
    store.restart();
    let mut sent = running.stop();
    sent.extend(long);
    scene.drained(Duration::from_secs(60));
    wait_for("it to catch up", Duration::from_secs(60), || copied()["records_behind"] == 0);
    assert!(copied()["failing"].is_null());
    let checked = scene.stormpost.ask(&["backup", "verify"]);
    assert_eq!(checked["problem_count"], 0, "{checked}");
    let (key, new) = (scene.lab.dir().join("key"), scene.lab.dir().join("new"));
    fs::copy(state.join("key"), &key).unwrap();
    let said = scene.stormpost.ask(&[
        "restore",
        "--from",
        "s3://mail/mx",
        "--data",
        new.to_str().unwrap(),
        "--key-file",
        key.to_str().unwrap(),
    ]);
    assert_eq!(said["node"], "mx.company.test");
    assert!(new.join("journal").is_dir() && new.join("directory").is_dir());
    // Told in words, and nothing is made.
    fs::write(&secret, "another secret\n").unwrap();
    let refused = scene.stormpost.tell(&["backup"]);
    assert!(!refused.ok && refused.err.contains("refuses us"), "{}", refused.err);
    fs::write(&secret, format!("{}\n", ACCESS.1)).unwrap();
    let missing = scene.stormpost.tell(&["backup", "--to", "s3://nowhere/mx"]);
    assert!(!missing.ok && missing.err.contains("no such bucket"), "{}", missing.err);
    scene.stormpost.tell(&["backup"]).must("backup");
    scene.judge(&sent);
}
