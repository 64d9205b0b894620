//! Nothing is wrong: mail in, mail out, mail between colleagues.

use std::fs;
use std::process::Command;
use std::time::Duration;

use stories::lab::wait_for;
use stories::load::{SmtpTalk, story_message};
use stories::tools::{run, swaks};
use stories::{Load, Maildrop};

use crate::scene::Scene;

/// A key for signing mail from outside, and the record that publishes it; made by openssl.
fn outside_key(scene: &Scene) -> std::path::PathBuf {
    let key = scene.lab.dir().join("outside.key");
    run(Command::new("openssl").args(["genrsa", "-traditional", "-out"]).arg(&key).arg("2048"))
        .must("openssl genrsa");
    let public =
        run(Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&key)).must("openssl rsa").out;
    let base64: String = public.lines().filter(|line| !line.starts_with('-')).collect();
    scene.names.txt("story._domainkey.outside.test", &format!("v=DKIM1; k=rsa; p={base64}"));
    key
}

/// Signs (with a private key file) or checks (with the record's text) by Debian's python3-dkim.
fn dkimpy(scene: &Scene, message: &[u8], sign_with: Option<&std::path::Path>, record: &str) -> Vec<u8> {
    let dir = scene.lab.dir();
    fs::write(dir.join("dkim.in"), message).unwrap();
    let script = match sign_with {
        Some(key) => format!(
            "import dkim,sys\nm=open('{d}/dkim.in','rb').read()\n\
             s=dkim.sign(m,b'story',b'outside.test',open('{k}','rb').read(),canonicalize=(b'simple',b'simple'))\n\
             open('{d}/dkim.out','wb').write(s+m)\n",
            d = dir.display(),
            k = key.display()
        ),
        None => format!(
            "import dkim,sys\nm=open('{d}/dkim.in','rb').read()\nr='''{record}'''.encode()\n\
             ok=dkim.verify(m,dnsfunc=lambda name,timeout=5:r)\n\
             open('{d}/dkim.out','wb').write(b'valid' if ok else b'invalid')\n",
            d = dir.display()
        ),
    };
    run(Command::new("/usr/bin/python3").arg("-c").arg(script)).must("python3-dkim");
    fs::read(dir.join("dkim.out")).unwrap()
}

#[test]
fn in_peace_a_signed_message_arrives_with_every_byte_and_a_valid_signature() {
    let scene = Scene::open("peace_bytes");
    let key = outside_key(&scene);
    let mut plain = story_message("signed-1", "writer@outside.test", "anna@company.test", 3_000);
    // What a careless gateway breaks: a leading dot, trailing blanks, a long line, eight-bit text, an empty end.
    plain.extend_from_slice(b".leading dot\r\n..two\r\ntrailing blanks   \t\r\n");
    plain.extend_from_slice(&b"x".repeat(900));
    plain.extend_from_slice("\r\nGrüße aus Zürich\r\n\r\n\r\n".as_bytes());
    let signed = dkimpy(&scene, &plain, Some(&key), "");
    let target = ([127, 0, 0, 1], scene.stormpost.smtp).into();
    let mut talk = SmtpTalk::open(target, "outside.test").unwrap();
    let (reply, _) = talk.send("writer@outside.test", &["anna@company.test"], &signed).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    scene.drained(Duration::from_secs(30));

    let user = format!("anna@company.test*{}", stories::primary::READER.0);
    let seen = Maildrop::look_whole("127.0.0.1", scene.primary.imap, &user, stories::primary::READER.1);
    let found = seen.with_story("signed-1");
    assert_eq!(found.len(), 1);
    let text = &found[0].text;
    assert!(text.ends_with(&signed), "the bytes below our header lines are not those that were sent");
    let results = found[0].headers("Authentication-Results");
    assert!(results.iter().any(|line| line.contains("dkim=pass")), "{results:?}");
    let record = run(Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&key)).out;
    let base64: String = record.lines().filter(|line| !line.starts_with('-')).collect();
    let verdict = dkimpy(&scene, text, None, &format!("v=DKIM1; k=rsa; p={base64}"));
    assert_eq!(verdict, b"valid", "an independent checker must find the signature valid as delivered");
    // The reply named the id under which the message can be found again.
    let received = found[0].headers("Received").join(" ");
    let id = received
        .split_whitespace()
        .find(|word| reply.contains(word.trim_end_matches(';')) && word.len() > 20);
    assert!(id.is_some(), "no trace id of {reply:?} in {received}");
}

#[test]
fn in_peace_a_hundred_messages_arrive_once_within_a_second_each() {
    let scene = Scene::open("peace_flow");
    let sent = Load::new(scene.stormpost.smtp, "in", &scene.primary.addresses()).run();
    let took = scene.drained(Duration::from_secs(30));
    scene
        .lab
        .say(&format!("the last of 100 was settled {:.2} s after its acknowledgement", took.as_secs_f64()));
    let tally = scene.judge(&sent);
    assert_eq!(tally.acknowledged, 100);
    for (address, drop) in scene.stormpost.maildrops() {
        let there = sent.iter().filter(|one| one.to == address).count();
        assert_eq!(drop.folder("INBOX").len(), there, "{address}'s own warm mailbox here");
    }
}

#[test]
fn in_peace_people_write_out_and_to_each_other_and_it_stands_once_in_sent() {
    let scene = Scene::open("peace_out");
    let record = scene.stormpost.tell(&["dkim", "company.test"]).must("stormpost dkim").out;
    let submit = |to: &str, id: &str| {
        swaks(
            scene.stormpost.submission,
            &[
                "--tls",
                "--auth",
                "PLAIN",
                "--auth-user",
                "anna@company.test",
                "--auth-password",
                "pw-anna",
                "--from",
                "anna@company.test",
                "--to",
                to,
                "--header",
                &format!("X-Story-Id: {id}"),
                "--header",
                &format!("Message-Id: <{id}@company.test>"),
                "--body",
                "hello",
            ],
        )
        .must("swaks")
    };
    submit("friend@outside.test", "out-1");
    submit("ben@company.test", "between-1");
    wait_for("the world to have Anna's message", Duration::from_secs(20), || {
        scene.world.for_recipient("friend@outside.test").len() == 1
    });
    let caught = scene.world.for_recipient("friend@outside.test").remove(0);
    assert_eq!(caught.from, "anna@company.test");
    let record =
        record.split_once("p=").map_or("", |(_, rest)| rest.split(['"', '\n', ' ']).next().unwrap_or(""));
    let kind = if record.len() > 100 { "rsa" } else { "ed25519" };
    let verdict = dkimpy(&scene, &caught.message, None, &format!("v=DKIM1; k={kind}; p={record}"));
    assert_eq!(verdict, b"valid", "what people send carries a valid signature of the company");

    scene.drained(Duration::from_secs(30));
    let ben = scene.primary.maildrop("ben");
    assert_eq!(ben.with_story("between-1").len(), 1, "mail between colleagues reaches the primary once");
    wait_for("Anna's sent mail to stand in her Sent folder", Duration::from_secs(20), || {
        scene.stormpost.maildrop("anna@company.test").is_ok_and(|drop| drop.folder("Sent").len() == 2)
    });
}

#[test]
fn twenty_ordinary_restarts_of_the_primary_open_no_event_and_tell_nobody() {
    let mut scene = Scene::with("peace_restarts", &Default::default(), |setup, _| {
        // The default: a restart is over long before.
        setup.dwell = 120;
    });
    let load = Load {
        messages: 10_000,
        pause: Duration::from_millis(50),
        ..Load::new(scene.stormpost.smtp, "restarts", &scene.primary.addresses())
    };
    let running = load.start();
    for _ in 0..20 {
        scene.primary.kill_postfix();
        std::thread::sleep(Duration::from_millis(300));
        scene.primary.restart();
    }
    let sent = running.stop();
    scene.drained(Duration::from_secs(60));
    scene.judge(&sent);
    let events = scene.stormpost.ask(&["event", "list"]);
    assert_eq!(events.as_array().map(Vec::len), Some(0), "{events}");
    assert!(scene.world.caught().is_empty(), "no notice and no bounce: {:?}", scene.world.caught().first());
}
