//! Stormpost itself is gone: for an hour, so that mail goes round it; and for good, so that nothing of it is left.

use std::fs;
use std::path::Path;
use std::time::Duration;

use stories::lab::wait_for;
use stories::load::{Load, SmtpTalk, story_message};
use stories::{Sender, Sent};

use crate::scene::Scene;

/// Messages from a sender whose queue tries again soon, each after the one before was taken over by it.
fn post(sender: &Sender, ids: std::ops::Range<usize>, people: &[String]) -> Vec<(String, String)> {
    let mut talk = SmtpTalk::open(([127, 0, 0, 1], sender.smtp).into(), "writer.test").unwrap();
    let mut sent = Vec::new();
    for number in ids {
        let (id, to) = (format!("round-{number}"), people[number % people.len()].clone());
        let message = story_message(&id, "writer@outside.test", &to, 1_000);
        let (reply, _) = talk.send("writer@outside.test", &[&to], &message).unwrap();
        assert!(reply.starts_with("250"), "{reply}");
        sent.push((id, to));
    }
    sent
}

#[test]
fn stopped_for_an_hour_mail_goes_round_it_and_nothing_is_lost_doubled_or_alarming() {
    let mut scene = Scene::open("bypass");
    let people = scene.primary.addresses();
    // MX 10 is Stormpost, MX 20 the primary: Postfix tries one after the other, as it does with exchangers.
    let sender = Sender::start(&scene.lab, "sender", &[scene.stormpost.smtp, scene.primary.smtp]);
    let mut all = post(&sender, 0..20, &people);
    wait_for("the first to go through", Duration::from_secs(20), || sender.queued() == 0);
    scene.drained(Duration::from_secs(30));

    // An outage of the primary is open when Stormpost dies: what waits here must not be lost by going round.
    scene.stormpost.tell(&["failover", "--reason", "story"]).must("failover");
    scene.becomes("inbound", "ACTIVE", Duration::from_secs(10));
    all.extend(post(&sender, 20..30, &people));
    wait_for("those to wait in Stormpost", Duration::from_secs(20), || scene.stormpost.queued() == 10);

    scene.stormpost.kill();
    let gone = std::time::Instant::now();
    all.extend(post(&sender, 30..60, &people));
    wait_for("mail to go round", Duration::from_secs(30), || sender.queued() == 0);
    scene.primary.settle(Duration::from_secs(30));
    let round = people.iter().map(|to| {
        let person = to.split('@').next().unwrap();
        let drop = scene.primary.maildrop(person);
        (30..60).filter(|n| drop.with_story(&format!("round-{n}")).len() == 1).count()
    });
    assert_eq!(round.sum::<usize>(), 30, "everything sent while Stormpost was gone stands at the primary");
    scene.lab.say(&format!("30 messages went round within {:.1} s", gone.elapsed().as_secs_f64()));

    scene.stormpost.restart();
    all.extend(post(&sender, 60..70, &people));
    wait_for("mail to come in again", Duration::from_secs(30), || sender.queued() == 0);
    scene.stormpost.tell(&["failback", "--reason", "story"]).must("failback");
    scene.becomes("inbound", "READY", Duration::from_secs(40));
    scene.drained(Duration::from_secs(30));
    let boxes = scene.mailboxes();
    for (id, to) in &all {
        assert_eq!(boxes[to].with_story(id).len(), 1, "{id} for {to}");
    }
    // Nothing that went round is an alarm: it was never here, so it is neither owed nor extra.
    let event = scene.stormpost.ask(&["event", "show"]);
    assert_eq!(event["exceptions"].as_array().map(Vec::len), Some(0), "{event}");
    let said = scene.stormpost.tell(&["reconcile"]);
    assert!(said.ok, "{}{}", said.out, said.err);
    let status = scene.stormpost.ask(&["status"]);
    let warnings = status["warnings"].to_string();
    assert!(!warnings.contains("look at"), "{warnings}");
}

/// Every file below a folder.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path.display().to_string()),
        }
    }
    found
}

#[test]
fn taken_out_of_service_nothing_is_left_but_the_export_and_a_receipt() {
    let mut scene = Scene::open("retire");
    let sent: Vec<Sent> =
        Load { messages: 30, ..Load::new(scene.stormpost.smtp, "retire", &scene.primary.addresses()) }.run();
    scene.drained(Duration::from_secs(30));
    let to = scene.lab.dir().join("export");
    let folder = to.display().to_string();
    let retire = ["retire", "--to", &folder, "--reason", "moved away"];

    // Refused while something waits, and told what.
    scene.stormpost.tell(&["queue", "pause", "--all", "--reason", "story"]).must("pause");
    let mut talk = SmtpTalk::open(([127, 0, 0, 1], scene.stormpost.smtp).into(), "x.test").unwrap();
    let late = story_message("late-1", "w@outside.test", "anna@company.test", 500);
    talk.send("w@outside.test", &["anna@company.test"], &late).unwrap();
    drop(talk);
    let said = scene.stormpost.tell(&retire);
    assert!(
        !said.ok && said.err.contains("not everything is settled") && said.err.contains("anna@company.test"),
        "{}",
        said.err
    );
    scene.stormpost.tell(&["queue", "resume", "--all"]).must("resume");
    scene.drained(Duration::from_secs(30));

    let dry = scene.stormpost.tell(&[&retire[..], &["--dry-run"]].concat());
    assert!(
        dry.out.contains("the MX of company.test leads here")
            && dry.out.contains(&format!("{} messages", sent.len() + 1)),
        "{}",
        dry.out
    );
    assert!(!to.join("export").exists(), "a dry run writes nothing");

    // It waits for the DNS, sees it, and waits until the old answer is forgotten.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| scene.stormpost.tell(&retire));
        std::thread::sleep(Duration::from_secs(2));
        scene.names.no_mx("company.test");
        scene.names.mx("company.test", "elsewhere.test");
        let said = waiting.join().unwrap();
        assert!(said.err.contains("the MX of company.test leads here"), "{}", said.err);
        assert!(said.out.contains("now stop the node"), "{}{}", said.out, said.err);
    });

    // Killed in the middle, twice; it goes on where it was.
    scene.stormpost.stop();
    wait_for("the edge to end", Duration::from_secs(20), || scene.stormpost.edge_pid().is_none());
    for place in ["retire.exporting", "retire.key-destroyed"] {
        let said = scene.stormpost.tell_with(&retire, &[("STORMPOST_CRASH_AT", place)]);
        assert!(!said.ok, "{place}: {}", said.out);
    }
    let said = scene.stormpost.tell(&retire).must("retire");
    assert!(said.out.contains("RECEIPT: mx.company.test"), "{}", said.out);

    let data = scene.stormpost.configuration.parent().unwrap().join("state");
    assert_eq!(files(&data), Vec::<String>::new(), "nothing is left");
    let mbox = fs::read_to_string(to.join("export/journal.mbox")).unwrap();
    for one in sent.iter().filter(|one| one.acknowledged()) {
        assert!(mbox.contains(&one.id), "{} is not in the export", one.id);
    }
    assert_eq!(mbox.lines().filter(|line| line.starts_with("From ")).count(), sent.len() + 1);
    for person in &scene.primary.people {
        let home = to.join("export/mailboxes").join(scene.primary.address(person)).join("cur");
        let there = files(&home).len();
        let expected = scene.primary.maildrop(person).folder("INBOX").len();
        assert_eq!(there, expected, "{person}: as many as at the primary");
    }
    let receipt: serde_json::Value =
        serde_json::from_slice(&fs::read(to.join("receipt.json")).unwrap()).unwrap();
    assert_eq!(receipt["receipt"]["step"], "wiped");
    assert!(fs::read_to_string(to.join("receipt.txt")).unwrap().contains("seen to lead elsewhere"));
}
