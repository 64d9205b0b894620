//! The main job: the primary is killed, people go on working, everything is given back once.

use std::time::{Duration, Instant};

use stories::lab::wait_for;
use stories::tools::{Mbsync, curl, swaks};
use stories::{Load, PrimaryOptions};

use crate::scene::{Scene, by_lmtp};

#[test]
fn the_main_job_with_postfix_and_dovecot_killed_under_load() {
    // Postfix delivers again what it was delivering when it was killed: its own doubling, counted apart. With one
    // delivery at a time there is at most one.
    let options = PrimaryOptions {
        postfix: "lmtp_destination_concurrency_limit = 1\n".to_owned(),
        ..PrimaryOptions::default()
    };
    main_job(Scene::with("main_job", &options, |_, _| {}));
}

#[test]
fn the_main_job_straight_into_dovecot() {
    main_job(Scene::with("main_job_lmtp", &PrimaryOptions::default(), by_lmtp));
}

fn main_job(mut scene: Scene) {
    let load = Load {
        sessions: 4,
        messages: 100_000,
        pause: Duration::from_millis(100),
        ..Load::new(scene.stormpost.smtp, "flow", &scene.primary.addresses())
    };
    let running = load.start();
    wait_for("mail to flow", Duration::from_secs(30), || running.acknowledged() >= 100);

    scene.lab.say("SIGKILL to the primary");
    let killed = Instant::now();
    scene.primary.kill();
    wait_for("SUSPECT", Duration::from_secs(5), || scene.stormpost.state("company", "inbound") != "READY");
    scene.lab.say(&format!("in doubt after {:.2} s", killed.elapsed().as_secs_f64()));
    scene.becomes("inbound", "ACTIVE", Duration::from_secs(20));
    scene.lab.say(&format!("event opened after {:.2} s", killed.elapsed().as_secs_f64()));

    let marked =
        Load { sessions: 1, messages: 4, ..Load::new(scene.stormpost.smtp, "marked", &to_anna()) }.run();
    let (replied, copied) = people_work(&scene);

    let during = running.acknowledged();
    scene.primary.restart();
    let back = Instant::now();
    scene.lab.say(&format!("the primary is back; {during} were acknowledged so far"));
    scene.becomes("inbound", "READY", Duration::from_secs(90));
    scene.lab.say(&format!("READY again {:.2} s after the return", back.elapsed().as_secs_f64()));
    let mut sent = running.stop();
    sent.extend(marked);
    scene.drained(Duration::from_secs(60));
    scene.judge(&sent);

    given_back(&scene, &replied, copied);
}

fn to_anna() -> Vec<String> {
    vec!["anna@company.test".to_owned()]
}

/// During the outage: curl reads and marks, mbsync copies, swaks answers. Gives the id of the answer and how many
/// messages mbsync had.
fn people_work(scene: &Scene) -> (String, usize) {
    let url = format!("imaps://127.0.0.1:{}", scene.stormpost.imaps);
    let as_anna = |arguments: &[&str]| {
        let all = [&["--insecure", "--user", "anna@company.test:pw-anna"], arguments].concat();
        curl(&all)
    };
    let inbox = format!("{url}/INBOX");
    as_anna(&[&format!("{inbox};MAILINDEX=1")]).must("the first read at the first try");
    // The number in the line `* SEARCH 17`; empty while nothing is found.
    let uid = |id: &str| {
        let said = as_anna(&[&inbox, "-X", &format!("UID SEARCH HEADER X-Story-Id {id}")]).must("UID SEARCH");
        let found = said.out.lines().find_map(|line| line.trim().strip_prefix("* SEARCH "));
        found.unwrap_or("").to_owned()
    };
    wait_for("the marked messages to be shown", Duration::from_secs(10), || {
        uid("marked-0-3").parse::<u32>().is_ok()
    });
    let act = |command: String| as_anna(&[&inbox, "-X", &command]).must(&command);
    act(format!("UID STORE {} +FLAGS (\\Seen \\Answered)", uid("marked-0-0")));
    act(format!("UID STORE {} +FLAGS (\\Flagged)", uid("marked-0-1")));
    act(format!("UID MOVE {} Trash", uid("marked-0-2")));
    act("CREATE Projects".to_owned());
    act(format!("UID MOVE {} Projects", uid("marked-0-3")));

    let mbsync = Mbsync::new(
        &scene.lab,
        "anna",
        scene.stormpost.imaps,
        "anna@company.test",
        "pw-anna",
        "IMAPS",
        "Pull",
    );
    mbsync.sync().must("mbsync");
    let copied = mbsync.stories();
    let mut once = copied.clone();
    once.dedup();
    assert_eq!(copied, once, "mbsync's copy has nothing twice");
    assert!(copied.len() >= 20, "only {} messages in mbsync's copy", copied.len());

    let id = "answer-1".to_owned();
    swaks(
        scene.stormpost.submissions,
        &[
            "--tlsc",
            "--auth",
            "PLAIN",
            "--auth-user",
            "anna@company.test",
            "--auth-password",
            "pw-anna",
            "--from",
            "anna@company.test",
            "--to",
            "friend@outside.test,ben@company.test",
            "--header",
            &format!("X-Story-Id: {id}"),
            "--header",
            &format!("Message-Id: <{id}@company.test>"),
            "--body",
            "yes",
        ],
    )
    .must("the first send at the first try");
    wait_for("the answer to leave", Duration::from_secs(10), || {
        scene.world.for_recipient("friend@outside.test").len() == 1
    });
    let mut talk = scene.stormpost.imap_as("ben@company.test").unwrap();
    let draft =
        b"From: <ben@company.test>\r\nSubject: not finished\r\nMessage-ID: <draft-1@company.test>\r\n\
                  X-Story-Id: draft-1\r\n\r\nto be continued\r\n";
    talk.append("Drafts", "\\Draft \\Seen", draft).unwrap();
    (id, copied.len())
}

/// What people did stands in the primary, once, as they did it; and the event says so itself.
fn given_back(scene: &Scene, replied: &str, copied: usize) {
    wait_for("Anna's answer to stand in her Sent folder at the primary", Duration::from_secs(60), || {
        scene.primary.maildrop("anna").folder("Sent").len() == 1
    });
    let anna = scene.primary.maildrop("anna");
    let only = |id: &str| {
        let found = anna.with_story(id);
        assert_eq!(found.len(), 1, "{id} stands {} times in Anna's mailbox", found.len());
        found[0].clone()
    };
    let has = |id: &str, flag: &str| only(id).flags.iter().any(|one| one.eq_ignore_ascii_case(flag));
    assert!(has("marked-0-0", "\\Seen") && has("marked-0-0", "\\Answered"), "{:?}", only("marked-0-0").flags);
    assert!(has("marked-0-1", "\\Flagged"), "{:?}", only("marked-0-1").flags);
    assert_eq!(only("marked-0-2").folder, "Trash");
    assert_eq!(only("marked-0-3").folder, "Projects");
    assert_eq!(only(replied).folder, "Sent");
    assert_eq!(scene.primary.maildrop("ben").with_story(replied).len(), 1);
    assert_eq!(scene.primary.maildrop("ben").with_story("draft-1").len(), 1, "Ben's draft");
    assert_eq!(scene.world.for_recipient("friend@outside.test").len(), 1, "the friend has the answer once");
    assert!(anna.messages.len() >= copied);

    let events = scene.stormpost.ask(&["event", "list"]);
    let list = events.as_array().cloned().unwrap_or_default();
    assert_eq!(list.len(), 1, "one outage is one event: {events}");
    wait_for("the event to be closed", Duration::from_secs(60), || {
        let events = scene.stormpost.ask(&["event", "list"]);
        events[0].get("closed").is_some_and(|at| !at.is_null())
    });
    let counted: usize = scene.primary.people.iter().map(|person| scene.primary.doveadm_count(person)).sum();
    let seen: usize = scene.mailboxes().values().map(|drop| drop.messages.len()).sum();
    assert_eq!(counted, seen, "doveadm counts what the lab counts");
}
