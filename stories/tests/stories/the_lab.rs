//! The lab by itself: what it counts must be right before anything is proved with it.

use std::collections::HashMap;
use std::time::Duration;

use stories::lab::wait_for;
use stories::tools::{Mbsync, curl, swaks};
use stories::{Catcher, Fault, Lab, Load, Maildrop, Names, Primary, PrimaryOptions, SmtpProxy, Stage, Tally};

fn look(primary: &Primary) -> HashMap<String, Maildrop> {
    primary.people.iter().map(|person| (primary.address(person), primary.maildrop(person))).collect()
}

#[test]
fn the_lab_stands() {
    let lab = Lab::open("the_lab_stands");
    let mut primary = Primary::start(&lab, "company.test", &PrimaryOptions::default());
    let mut sent = Load::new(primary.smtp, "before", &primary.addresses()).run();
    assert_eq!(sent.iter().filter(|one| one.acknowledged()).count(), 100);
    primary.settle(Duration::from_secs(60));

    lab.say("a hundred delivered; SIGKILL to Postfix and Dovecot under load");
    let load = Load { messages: 1_000, ..Load::new(primary.smtp, "during", &primary.addresses()) };
    let running = load.start();
    while running.acknowledged() < 50 {
        std::thread::sleep(Duration::from_millis(5));
    }
    primary.kill();
    let during = running.stop();
    assert!(during.iter().any(|one| !one.acknowledged()), "the kill must interrupt somebody");
    sent.extend(during);

    primary.restart();
    sent.extend(Load::new(primary.smtp, "after", &primary.addresses()).run());
    primary.settle(Duration::from_secs(60));
    let tally = Tally::of(&sent, &look(&primary));
    lab.say(&tally.to_string());
    tally.must_be_whole();

    let counted: usize = look(&primary).values().map(|drop| drop.messages.len()).sum();
    let doveadm: usize = primary.people.iter().map(|person| primary.doveadm_count(person)).sum();
    assert_eq!(counted, doveadm, "the lab's count and doveadm's must agree");
}

#[test]
fn the_lab_notices_a_loss_and_a_double() {
    let lab = Lab::open("the_lab_notices");
    let primary = Primary::start(&lab, "company.test", &PrimaryOptions::default());
    let proxy = SmtpProxy::start(primary.smtp);
    proxy.fail_times(Stage::Dot, Fault::ReplyLost, 1);
    let load =
        Load { sessions: 1, messages: 3, ..Load::new(proxy.port, "noticed", &primary.addresses()[..1]) };
    let mut sent = load.run();
    assert_eq!(proxy.hits(), 1);
    primary.settle(Duration::from_secs(60));
    let tally = Tally::of(&sent, &look(&primary));
    assert_eq!(tally.doubled, ["noticed-0-0"], "a reply lost after the dot makes a sender send twice");

    sent[2].id = "never-sent".to_owned();
    let tally = Tally::of(&sent, &look(&primary));
    assert_eq!(tally.lost, ["never-sent"]);
}

#[test]
fn the_labs_clients_see_what_is_there() {
    let lab = Lab::open("the_clients");
    let world = Catcher::start();
    let options = PrimaryOptions {
        relay: Some(([127, 0, 0, 1], world.port).into()),
        sieve: vec![("anna".to_owned(), "redirect \"far@outside.test\"; keep;".to_owned())],
        ..PrimaryOptions::default()
    };
    let primary = Primary::start(&lab, "company.test", &options);
    let to = primary.addresses()[..1].to_vec();
    let sent = Load { sessions: 2, messages: 5, ..Load::new(primary.smtp, "seen", &to) }.run();
    primary.settle(Duration::from_secs(60));
    assert_eq!(primary.maildrop("anna").folder("INBOX").len(), 10);

    let mbsync = Mbsync::new(&lab, "anna", primary.imap, "anna@company.test", "pw-anna", "None", "Pull");
    mbsync.sync().must("mbsync");
    let mut expected: Vec<String> = sent.into_iter().map(|one| one.id).collect();
    expected.sort();
    assert_eq!(mbsync.stories(), expected);

    let url = format!("imap://127.0.0.1:{}/INBOX", primary.imap);
    let found =
        curl(&["--user", "anna@company.test:pw-anna", &url, "-X", "SEARCH HEADER X-Story-Id seen-1-2"]);
    assert_eq!(found.must("curl").out.trim().split(' ').count(), 3);

    let arguments = ["--from", "anna@company.test", "--to", "far@outside.test", "--body", ".dotted"];
    swaks(primary.smtp, &arguments).must("swaks");
    wait_for("the world to have all", Duration::from_secs(30), || {
        world.for_recipient("far@outside.test").len() == 11
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let dotted = world.caught().into_iter().find(|one| text(&one.message).contains("\r\n.dotted\r\n"));
    assert!(dotted.is_some_and(|one| text(&one.wire).contains("\r\n..dotted\r\n")));
}

#[test]
fn the_labs_name_server_knows_its_zone_and_nothing_else() {
    let names = Names::start();
    names.mx("company.test", "mx.company.test");
    names.here("mx.company.test");
    names.txt("key.company.test", &"k".repeat(300));
    let ask = |name: &str, kind: u8| {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend_from_slice(label.as_bytes());
        }
        query.extend([0, 0, kind, 0, 1]);
        socket.send_to(&query, names.address).unwrap();
        let mut answer = [0; 1500];
        let size = socket.recv(&mut answer).unwrap();
        (answer[3] & 0x0F, answer[7], answer[..size].to_vec())
    };
    let (code, count, answer) = ask("mx.company.test", 1);
    assert_eq!((code, count, &answer[answer.len() - 4..]), (0, 1, &[127, 0, 0, 1][..]));
    assert_eq!(ask("company.test", 15).1, 1);
    let (_, count, text) = ask("key.company.test", 16);
    assert!(count == 1 && text.iter().filter(|byte| **byte == b'k').count() >= 300);
    assert_eq!((ask("company.test", 1).0, ask("company.test", 1).1), (0, 0), "there, but has no address");
    assert_eq!(ask("nowhere.test", 1).0, 3, "no such name");
}
