//! The primary dies between the final dot and its reply: was it stored or not?

use std::time::Duration;

use stories::stormpost::Hop;
use stories::{Fault, Load, PrimaryOptions, SmtpProxy, Stage};

use crate::scene::Scene;

fn scene(story: &str, lmtp: bool) -> (Scene, SmtpProxy) {
    let mut proxy = None;
    let scene = Scene::with(story, &PrimaryOptions::default(), |setup, primary| {
        let between = SmtpProxy::start(if lmtp { primary.lmtp } else { primary.smtp });
        setup.companies[0].hop = Some(if lmtp { Hop::Lmtp(between.port) } else { Hop::Smtp(between.port) });
        proxy = Some(between);
    });
    (scene, proxy.unwrap())
}

fn asked_before_repeated(story: &str, lmtp: bool, fault: &Fault) {
    let (scene, proxy) = scene(story, lmtp);
    proxy.fail_times(Stage::Dot, fault.clone(), 6);
    let load = Load {
        sessions: 3,
        messages: 10,
        ..Load::new(scene.stormpost.smtp, story, &scene.primary.addresses())
    };
    let sent = load.run();
    scene.drained(Duration::from_secs(120));
    assert_eq!(proxy.hits(), 6, "the fault must have struck");
    let tally = scene.judge(&sent);
    assert_eq!(tally.acknowledged, 30);
}

#[test]
fn stored_by_dovecot_and_the_reply_lost_is_not_sent_again() {
    asked_before_repeated("stored_lmtp", true, &Fault::ReplyLost);
}

#[test]
fn stored_by_postfix_and_the_reply_lost_is_not_sent_again() {
    asked_before_repeated("stored_smtp", false, &Fault::ReplyLost);
}

#[test]
fn not_stored_and_the_connection_reset_is_sent_again() {
    asked_before_repeated("not_stored", true, &Fault::Reset);
}

#[test]
fn unknown_while_nobody_can_be_asked_waits_and_is_read_here() {
    let (mut scene, proxy) = scene("nobody_to_ask", true);
    proxy.fail_times(Stage::Dot, Fault::ReplyLost, 1);
    let to = scene.primary.addresses()[..1].to_vec();
    let sent = Load { sessions: 1, messages: 1, ..Load::new(scene.stormpost.smtp, "unknown", &to) }.run();
    stories::lab::wait_for("the fault to strike", Duration::from_secs(10), || proxy.hits() == 1);
    scene.primary.kill();
    std::thread::sleep(Duration::from_secs(6));
    let here = scene.stormpost.maildrop(&to[0]).unwrap();
    assert_eq!(here.folder("INBOX").len(), 1, "she reads it here while nobody knows whether it is there");
    scene.primary.restart();
    scene.drained(Duration::from_secs(90));
    scene.judge(&sent);
}
