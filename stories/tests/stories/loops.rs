//! Mail that comes back: loops are stopped, lists and redirects are not loops.

use std::time::Duration;

use stories::lab::{Lab, wait_for};
use stories::load::{SmtpTalk, story_message};
use stories::stormpost::{Company, Hop, Setup};
use stories::{Load, PrimaryOptions, Stormpost};

use crate::scene::Scene;

fn send(port: u16, to: &str, message: &[u8]) {
    let mut talk = SmtpTalk::open(([127, 0, 0, 1], port).into(), "outside.test").unwrap();
    let (reply, _) = talk.send("writer@outside.test", &[to], message).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn two_stormposts_that_point_at_each_other_park_the_message_and_show_it() {
    let lab = Lab::open("mail_loop");
    let company =
        |hop: u16| Company { hop: Some(Hop::Smtp(hop)), ..Company::alone("company.test", &["anna"]) };
    let ahead = stories::ports::free_port();
    let mut first = Stormpost::prepare(&lab, "first", &Setup::with(vec![company(ahead)]));
    let mut second = Stormpost::prepare(&lab, "second", &Setup::with(vec![company(first.smtp)]));
    second.move_edge(ahead);
    first.restart();
    second.restart();
    send(
        first.smtp,
        "anna@company.test",
        &story_message("loop-1", "writer@outside.test", "anna@company.test", 500),
    );
    wait_for("the loop to be noticed", Duration::from_secs(60), || {
        first.queued_as("parked") + second.queued_as("parked") > 0
    });
    std::thread::sleep(Duration::from_secs(3));
    let rounds = first.log().matches("loop-1").count() + second.log().matches("loop-1").count();
    lab.say(&format!("parked; the logs name it {rounds} times"));
    assert_eq!(first.queued_as("parked") + second.queued_as("parked"), 1, "parked once");
    assert_eq!(first.queued() + second.queued(), 0, "and nowhere else");
}

#[test]
fn a_list_and_a_redirect_that_carry_our_trace_id_back_are_delivered() {
    // Anna has her primary send a copy of everything to Ben, through Stormpost's front door.
    let edge = stories::ports::free_port();
    let options = PrimaryOptions {
        sieve: vec![(
            "anna".to_owned(),
            "require [\"copy\"];\nredirect :copy \"ben@company.test\";\n".to_owned(),
        )],
        dovecot: format!("submission_host = 127.0.0.1:{edge}\n"),
        ..PrimaryOptions::default()
    };
    let mut scene = Scene::with("redirect", &options, |_, _| {});
    scene.stormpost.kill();
    scene.stormpost.move_edge(edge);
    scene.stormpost.restart();

    let message = story_message("redirected-1", "writer@outside.test", "anna@company.test", 500);
    send(scene.stormpost.smtp, "anna@company.test", &message);
    scene.drained(Duration::from_secs(30));
    wait_for("Ben to have the copy", Duration::from_secs(30), || {
        scene.primary.maildrop("ben").with_story("redirected-1").len() == 1
    });
    let copy = scene.primary.maildrop("ben").with_story("redirected-1")[0].clone();
    assert!(copy.headers("Received").len() > 3, "it came by way of Anna");

    // A list outside sends the message, our lines still in it, on to Carla and back to Anna.
    let list = stories::maildrop::Maildrop::look_whole(
        "127.0.0.1",
        scene.primary.imap,
        &format!("ben@company.test*{}", stories::primary::READER.0),
        stories::primary::READER.1,
    );
    let posted =
        [b"List-Id: <list.outside.test>\r\n".to_vec(), list.with_story("redirected-1")[0].text.clone()]
            .concat();
    send(scene.stormpost.smtp, "carla@company.test", &posted);
    wait_for("Carla to have it from the list", Duration::from_secs(30), || {
        scene.primary.maildrop("carla").with_story("redirected-1").len() == 1
    });
    let sent =
        Load { messages: 2, ..Load::new(scene.stormpost.smtp, "after", &scene.primary.addresses()) }.run();
    scene.drained(Duration::from_secs(30));
    // Ben's copies of Anna's mail are no doubles of his own.
    let own: Vec<_> = sent.into_iter().filter(|one| !one.to.starts_with("ben")).collect();
    assert!(
        own.iter().all(|one| scene
            .primary
            .maildrop(one.to.split('@').next().unwrap())
            .with_story(&one.id)
            .len()
            == 1)
    );
}
