//! The lab by itself: what it counts must be right before anything is proved with it.

use std::collections::HashMap;
use std::time::Duration;

use stories::{Fault, Lab, Load, Maildrop, Primary, PrimaryOptions, SmtpProxy, Stage, Tally};

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
