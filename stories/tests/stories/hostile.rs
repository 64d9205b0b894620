//! The hostile: what comes in from the open internet, and what must not go out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use stories::crowd::Crowd;
use stories::lab::wait_for;
use stories::load::SmtpTalk;
use stories::stormpost::Hop;
use stories::tools::run;
use stories::{Fault, Load, PrimaryOptions, SmtpProxy, Stage};

use crate::scene::Scene;

fn talk(port: u16) -> SmtpTalk {
    SmtpTalk::open(([127, 0, 0, 1], port).into(), "attacker.test").unwrap()
}

/// Ends of a message that some server somewhere has taken for the end, and that are not.
const ENDINGS: [&[u8]; 16] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\n.\r",
    b"\r.\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\n\n.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n..\r\n",
    b"\n\r.\n\r",
    b"\r\n.\x85\r\n",
];

/// Sends a message with a second one hidden behind `ending`, cut in two at `split`; gives everything answered.
fn smuggle(port: u16, ending: &[u8], split: usize, id: &str) -> String {
    let mut talk = talk(port);
    for line in ["MAIL FROM:<attacker@outside.test>", "RCPT TO:<anna@company.test>", "DATA"] {
        talk.command(line).unwrap();
    }
    let first = format!("Subject: outer\r\nX-Story-Id: outer-{id}\r\n\r\nbody");
    let second = format!(
        "MAIL FROM:<admin@company.test>\r\nRCPT TO:<anna@company.test>\r\nDATA\r\nSubject: hidden\r\n\
         X-Story-Id: smuggled-{id}\r\n\r\nhidden\r\n.\r\nQUIT\r\n"
    );
    let mut stream = talk.stream().try_clone().unwrap();
    stream.write_all(&[first.as_bytes(), &ending[..split]].concat()).unwrap();
    // The pieces must come as pieces.
    std::thread::sleep(Duration::from_millis(3));
    let _ = stream.write_all(&[&ending[split..], second.as_bytes()].concat());
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut answers = String::new();
    while let Ok(answer) = talk.reply() {
        answers.push_str(&answer);
        answers.push('\n');
    }
    answers
}

#[test]
fn no_smuggled_ending_makes_two_messages_of_one_however_it_is_cut() {
    let scene = Scene::open("smuggling");
    let mut tried = 0;
    for (form, ending) in ENDINGS.iter().enumerate() {
        for split in 0..=ending.len() {
            let id = format!("{form}-{split}");
            let answers = smuggle(scene.stormpost.smtp, ending, split, &id);
            assert!(
                !answers.contains("354"),
                "form {form} cut at {split}: a second DATA was taken:\n{answers}"
            );
            tried += 1;
        }
    }
    scene.drained(Duration::from_secs(60));
    let smuggled: Vec<String> = scene
        .mailboxes()
        .values()
        .flat_map(|drop| drop.messages.clone())
        .filter_map(|message| message.story())
        .filter(|id| id.starts_with("smuggled"))
        .collect();
    assert!(smuggled.is_empty(), "{smuggled:?}");
    scene.lab.say(&format!("{} endings, {tried} ways to cut them", ENDINGS.len()));
}

#[test]
fn what_is_sent_on_is_clean() {
    let scene = Scene::open("clean_out");
    let lines = ["..", "...", ". ", ".x", "a", "", "."];
    let body: String = lines.iter().map(|line| format!(".{line}\r\n")).collect();
    let message = format!("Subject: dots\r\nX-Story-Id: dots-1\r\nFrom: <anna@company.test>\r\n\r\n{body}");
    let file = scene.lab.dir().join("dots.eml");
    std::fs::write(&file, &message).unwrap();
    stories::tools::curl(&[
        "--insecure",
        "--user",
        "anna@company.test:pw-anna",
        "--mail-from",
        "anna@company.test",
        "--mail-rcpt",
        "friend@outside.test",
        "--upload-file",
        file.to_str().unwrap(),
        &format!("smtps://127.0.0.1:{}", scene.stormpost.submissions),
    ])
    .must("curl");
    wait_for("the message to leave", Duration::from_secs(20), || !scene.world.caught().is_empty());
    let caught = scene.world.caught().remove(0);
    let wire = &caught.wire;
    for (at, byte) in wire.iter().enumerate() {
        let pair = match byte {
            b'\n' => at > 0 && wire[at - 1] == b'\r',
            b'\r' => wire.get(at + 1) == Some(&b'\n'),
            _ => true,
        };
        assert!(pair, "a bare CR or LF at byte {at}");
    }
    assert!(wire.split(|b| *b == b'\n').all(|line| !line.starts_with(b".") || line.starts_with(b"..")));
    assert!(caught.message.ends_with(body.as_bytes()), "the dots arrive as they were written");
}

#[test]
fn an_unknown_recipient_is_refused_in_peace_and_in_an_outage() {
    let mut scene = Scene::open("unknown_recipient");
    let ask = |scene: &Scene, to: &str| {
        let mut talk = talk(scene.stormpost.smtp);
        talk.command("MAIL FROM:<someone@outside.test>").unwrap();
        talk.command(&format!("RCPT TO:<{to}>")).unwrap()
    };
    for phase in ["READY", "SUSPECT", "ACTIVE"] {
        match phase {
            "SUSPECT" => scene.primary.kill(),
            "ACTIVE" => {
                let state = || scene.stormpost.state("company", "inbound");
                wait_for("the event", Duration::from_secs(30), || state() == "ACTIVE");
            }
            _ => {}
        }
        let answer = ask(&scene, "nobody@company.test");
        assert!(answer.starts_with("550 5.1.1"), "{phase}: {answer}");
        let answer = ask(&scene, "anna@company.test");
        assert!(answer.starts_with("250"), "{phase}: {answer}");
        let answer = ask(&scene, "anna+list@company.test");
        assert!(answer.starts_with("250"), "{phase}: {answer}");
        let answer = ask(&scene, "postmaster@company.test");
        assert!(answer.starts_with("250"), "{phase}: {answer}");
    }
    scene.primary.restart();
}

#[test]
fn a_learned_list_of_recipients_never_refuses_for_good_in_an_outage() {
    let mut scene = Scene::with("learned", &PrimaryOptions::default(), |setup, _| {
        setup.companies[0].learned = true;
        setup.companies[0].people = vec!["anna".to_owned()];
    });
    let ask = |scene: &Scene, to: &str| {
        let mut talk = talk(scene.stormpost.smtp);
        talk.command("MAIL FROM:<someone@outside.test>").unwrap();
        talk.command(&format!("RCPT TO:<{to}>")).unwrap()
    };
    assert!(ask(&scene, "ben@company.test").starts_with("250"), "asked of the primary, which knows Ben");
    assert!(ask(&scene, "nobody@company.test").starts_with("550"), "asked of the primary, which refused");
    scene.primary.kill();
    assert!(ask(&scene, "ben@company.test").starts_with("250"), "learned before");
    let answer = ask(&scene, "carla@company.test");
    assert!(answer.starts_with("450 4.1.1"), "never seen, nobody to ask: {answer}");
    let answer = ask(&scene, "never@company.test");
    assert!(answer.starts_with("450 4.1.1"), "never seen, nobody to ask: {answer}");
}

#[test]
fn nobody_is_relayed_for() {
    let scene = Scene::open("relay");
    for to in [
        "victim@outside.test",
        "victim%outside.test@company.test",
        "\"victim@outside.test\"@company.test",
        "outside.test!victim@company.test",
        "@company.test:victim@outside.test",
        "victim@[127.0.0.1]",
        "victim@outside.test@company.test",
        "victim",
        "victim@company.test.outside.test",
        "victim@COMPANY.TEST.",
    ] {
        for from in ["attacker@outside.test", "", "anna@company.test"] {
            let mut talk = talk(scene.stormpost.smtp);
            talk.command(&format!("MAIL FROM:<{from}>")).unwrap();
            let answer = talk.command(&format!("RCPT TO:<{to}>")).unwrap();
            assert!(answer.starts_with('5'), "from <{from}> to <{to}>: {answer}");
        }
    }
    assert!(scene.world.caught().is_empty());
}

#[test]
fn too_much_is_refused_with_a_word_for_what() {
    let scene = Scene::with("oversize", &PrimaryOptions::default(), |setup, _| {
        setup.message_size = Some(5_000_000);
    });
    let mut open = talk(scene.stormpost.smtp);
    let hello = open.command("EHLO attacker.test").unwrap();
    let limit: u64 =
        hello.lines().find_map(|line| line.get(4..)?.strip_prefix("SIZE ")?.parse().ok()).unwrap();
    assert_eq!(limit, 5_000_000);
    let answer = open.command(&format!("MAIL FROM:<a@outside.test> SIZE={}", limit + 1)).unwrap();
    assert!(answer.starts_with("552"), "announced too large: {answer}");

    let before = scene.stormpost.resident();
    let message = [b"x".repeat(78), b"\r\n".to_vec()].concat().repeat(usize::try_from(limit / 40).unwrap());
    let (answer, _) = open.send("a@outside.test", &["anna@company.test"], &message).unwrap();
    assert!(answer.starts_with("552"), "too large without announcement: {answer}");
    let grown = scene.stormpost.resident().saturating_sub(before);
    assert!(grown < 30_000_000, "{grown} bytes more for a message that was refused");

    let mut long = talk(scene.stormpost.smtp);
    let answer = long.command(&format!("NOOP {}", "x".repeat(200_000))).unwrap();
    assert!(answer.starts_with('5'), "a command line of 200,000 bytes: {answer}");

    let mut many = talk(scene.stormpost.smtp);
    many.command("MAIL FROM:<a@outside.test>").unwrap();
    let mut last = String::new();
    for n in 0..2_000 {
        last = many.command(&format!("RCPT TO:<anna+{n}@company.test>")).unwrap();
        if !last.starts_with("250") {
            break;
        }
    }
    assert!(last.starts_with("452"), "recipients have a limit, told as temporary: {last}");
    assert!(Load::new(scene.stormpost.smtp, "after", &scene.primary.addresses()).run().len() == 100);
}

#[test]
fn a_password_is_never_asked_for_or_taken_in_clear() {
    let scene = Scene::open("auth_before_tls");
    let mut open = talk(scene.stormpost.submission);
    let hello = open.command("EHLO attacker.test").unwrap();
    assert!(hello.contains("STARTTLS") && !hello.contains("AUTH"), "{hello}");
    let answer = open.command("AUTH PLAIN AGFubmFAY29tcGFueS50ZXN0AHB3LWFubmE=").unwrap();
    assert!(answer.starts_with('5'), "{answer}");
    let answer = open.command("MAIL FROM:<anna@company.test>").unwrap();
    assert!(answer.starts_with("530"), "{answer}");

    let mut imap = stories::maildrop::ImapTalk::connect("127.0.0.1", scene.stormpost.imap).unwrap();
    let clear = imap.sign_in("anna@company.test", "pw-anna");
    assert!(clear.is_err_and(|words| words.contains("PRIVACYREQUIRED")), "the right password, in clear");
}

#[test]
fn nobody_signed_in_writes_as_somebody_else() {
    let scene = Scene::open("as_somebody_else");
    let send = |from: &str, header: &str| {
        stories::tools::swaks(
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
                from,
                "--to",
                "friend@outside.test",
                "--header",
                &format!("From: <{header}>"),
            ],
        )
    };
    for (from, header, what) in [
        ("ben@company.test", "anna@company.test", "envelope"),
        ("anna@company.test", "ben@company.test", "From line"),
    ] {
        let said = send(from, header);
        let refused = said.out.lines().any(|line| line.starts_with("<") && line.contains("* 55"));
        assert!(!said.ok && refused, "Ben's {what} was taken: {}", said.out);
    }
    send("anna@company.test", "anna@company.test").must("her own");
    wait_for("hers to leave", Duration::from_secs(20), || scene.world.caught().len() == 1);
}

#[test]
fn nothing_said_before_starttls_counts_after_it() {
    let scene = Scene::open("starttls_injection");
    let script = format!(
        "import socket,ssl\ns=socket.create_connection(('127.0.0.1',{port}))\ns.recv(999)\n\
         s.sendall(b'EHLO a.test\\r\\n'); s.recv(9999)\n\
         s.sendall(b'STARTTLS\\r\\nMAIL FROM:<injected@outside.test>\\r\\n')\n\
         c=s.recv(9999)\nif c.startswith(b'5') and s.recv(9999) in (b'', c): print('held'); raise SystemExit\n\
         assert c.startswith(b'220') and c.count(b'\\r\\n')==1, c\n\
         x=ssl.create_default_context(); x.check_hostname=False; x.verify_mode=ssl.CERT_NONE\n\
         try:\n t=x.wrap_socket(s)\n t.sendall(b'RCPT TO:<anna@company.test>\\r\\n'); r=t.recv(9999)\n\
         \x20assert r.startswith(b'503'), r\nexcept (ssl.SSLError, ConnectionError): pass\nprint('held')\n",
        port = scene.stormpost.smtp
    );
    let said = run(Command::new("/usr/bin/python3").arg("-c").arg(script)).must("the injection");
    assert_eq!(said.out.trim(), "held");
}

#[test]
fn ten_thousand_idle_and_slow_connections_cost_little_and_stop_nobody() {
    let scene = Scene::open("ten_thousand");
    let mut crowd = Crowd::gather(scene.stormpost.smtp, 10_000);
    assert_eq!(crowd.refused, 0, "connections refused or cut");
    crowd.say(b"EHLO slow");
    let resident = scene.stormpost.resident();
    scene.lab.say(&format!("{} connections, {} MB resident", crowd.streams.len(), resident / 1_000_000));
    assert!(resident < 300_000_000, "{resident} bytes resident");
    let begun = Instant::now();
    let sent = Load::new(scene.stormpost.smtp, "among", &scene.primary.addresses()).run();
    scene.lab.say(&format!("a hundred messages among them in {:.2} s", begun.elapsed().as_secs_f64()));
    assert!(begun.elapsed() < Duration::from_secs(20));
    crowd.say(b".outside.test\r\n");
    drop(crowd);
    scene.drained(Duration::from_secs(60));
    scene.judge(&sent);
}

#[test]
fn fifty_messages_of_thirty_megabytes_at_once_stay_out_of_memory() {
    let scene = Scene::open("fifty_large");
    let most = std::sync::Mutex::new(0);
    let line = [b"y".repeat(76), b"\r\n".to_vec()].concat();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..50)
            .map(|n| {
                let (line, port) = (&line, scene.stormpost.smtp);
                scope.spawn(move || large(port, n, line))
            })
            .collect();
        while senders.iter().any(|sender| !sender.is_finished()) {
            let now = scene.stormpost.resident();
            let mut most = most.lock().unwrap();
            *most = now.max(*most);
            drop(most);
            std::thread::sleep(Duration::from_millis(50));
        }
        for sender in senders {
            let answer = sender.join().unwrap();
            assert!(answer.starts_with("250"), "{answer}");
        }
    });
    let most = *most.lock().unwrap();
    scene.lab.say(&format!("at most {} MB resident", most / 1_000_000));
    assert!(most < 300_000_000, "{most} bytes resident");
}

fn large(port: u16, number: usize, line: &[u8]) -> String {
    let mut talk = talk(port);
    talk.patience(Duration::from_secs(300));
    for command in ["MAIL FROM:<big@outside.test>", "RCPT TO:<anna@company.test>", "DATA"] {
        talk.command(command).unwrap();
    }
    talk.write(format!("Subject: large {number}\r\nX-Story-Id: large-{number}\r\n\r\n").as_bytes()).unwrap();
    let block = line.repeat(4_000);
    for _ in 0..30_000_000 / block.len() {
        talk.write(&block).unwrap();
    }
    talk.command(".").unwrap()
}

#[test]
fn garbage_is_answered_and_hurts_nobody() {
    let scene = Scene::open("garbage");
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    for round in 0..200_usize {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", scene.stormpost.smtp)) else {
            panic!("refused")
        };
        let mut bytes = Vec::new();
        let lines: [&[u8]; 6] = [
            b"EHLO a.test\r\n",
            b"MAIL FROM:<a@outside.test>\r\n",
            b"RCPT TO:<anna@company.test>\r\n",
            b"DATA\r\n",
            b"RSET\r\n",
            b"BDAT 9999999999\r\n",
        ];
        for _ in 0..40 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            if seed.is_multiple_of(3) {
                bytes.extend_from_slice(lines[usize::try_from(seed >> 8).unwrap_or(0) % lines.len()]);
            } else {
                bytes.extend_from_slice(&seed.to_le_bytes());
                if seed.is_multiple_of(5) {
                    bytes.extend_from_slice(b"\r\n");
                }
            }
        }
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap_or_else(|e| panic!("round {round} hangs: {e}"));
        assert!(answers.starts_with(b"220"), "round {round}");
    }
    let sent = Load::new(scene.stormpost.smtp, "after", &scene.primary.addresses()).run();
    scene.drained(Duration::from_secs(60));
    scene.judge(&sent);
}

#[test]
fn a_hundred_forged_spams_refused_by_the_primary_make_no_bounce() {
    let mut between = None;
    let scene = Scene::with("backscatter", &PrimaryOptions::default(), |setup, primary| {
        let proxy = SmtpProxy::start(primary.smtp);
        setup.companies[0].hop = Some(Hop::Smtp(proxy.port));
        between = Some(proxy);
    });
    let proxy = between.unwrap();
    proxy.fail(Stage::Dot, Fault::Reply("554 5.7.1 this is spam".to_owned()));
    let load = Load {
        sessions: 5,
        messages: 20,
        from: "innocent@victim.test".to_owned(),
        ..Load::new(scene.stormpost.smtp, "spam", &scene.primary.addresses())
    };
    let sent = load.run();
    assert!(sent.iter().all(stories::Sent::acknowledged));
    wait_for("the primary to refuse them all", Duration::from_secs(60), || proxy.hits() >= 100);
    wait_for("the queue to run empty", Duration::from_secs(30), || scene.stormpost.queued() == 0);
    std::thread::sleep(Duration::from_secs(2));
    assert!(scene.world.caught().is_empty(), "a bounce went to somebody who sent nothing");
    assert_eq!(scene.stormpost.queued_as("refused"), 100, "they are listed as refused");
    for (address, drop) in scene.stormpost.maildrops() {
        assert!(drop.folder("INBOX").is_empty(), "{address} still sees what the primary refused");
    }
}
