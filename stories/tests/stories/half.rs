//! Half outages: the primary is there and does not work.

use std::time::{Duration, Instant};

use stories::lab::wait_for;
use stories::stormpost::Hop;
use stories::{Fault, Lab, Load, PrimaryOptions, SmtpProxy, Stage, TcpMode, TcpProxy};

use crate::scene::{Scene, by_lmtp};

/// A scene in which a proxy stands before Postfix.
fn behind_proxy(story: &str, options: &PrimaryOptions) -> (Scene, SmtpProxy) {
    behind_proxy_with(story, options, "opportunistic")
}

fn behind_proxy_with(story: &str, options: &PrimaryOptions, tls: &'static str) -> (Scene, SmtpProxy) {
    let mut proxy = None;
    let scene = Scene::with(story, options, |setup, primary| {
        let between = SmtpProxy::start(primary.smtp);
        setup.companies[0].hop = Some(Hop::Smtp(between.port));
        setup.companies[0].tls = tls;
        proxy = Some(between);
    });
    (scene, proxy.unwrap())
}

/// The fault begins, mail keeps coming, the fault ends: everything arrives once, senders noticed nothing.
fn carried_through(scene: &Scene, proxy: &SmtpProxy, stage: Stage, fault: &Fault) {
    let name = format!("{stage:?}-{}", proxy.connections()).to_lowercase();
    let before = proxy.hits();
    proxy.fail(stage, fault.clone());
    let begun = Instant::now();
    let load = Load {
        sessions: 2,
        messages: 3,
        ..Load::new(scene.stormpost.smtp, &name, &scene.primary.addresses())
    };
    let sent = load.run();
    assert!(begun.elapsed() < Duration::from_secs(5), "{stage:?} {fault:?} held up the senders");
    assert!(sent.iter().all(|one| one.tries == 1), "{stage:?} {fault:?} was seen by a sender");
    wait_for("the fault to strike", Duration::from_secs(30), || proxy.hits() > before);
    // Behind the stage that a probe reaches, only real mail can tell, and only after its own longer limits.
    if !matches!(stage, Stage::Data | Stage::Dot | Stage::Quit) {
        wait_for("doubt", Duration::from_secs(30), || scene.stormpost.state("company", "inbound") != "READY");
    }
    proxy.heal();
    scene.drained(Duration::from_secs(90));
    scene.judge(&sent);
}

/// One story a stage, so that a failure says which.
macro_rules! stages {
    ($($name:ident: $stage:expr;)*) => {$(
        #[test]
        fn $name() {
            let (scene, proxy) = behind_proxy(stringify!($name), &PrimaryOptions::default());
            carried_through(&scene, &proxy, $stage, &Fault::Hang);
        }
    )*};
}

stages! {
    a_primary_silent_before_its_greeting: Stage::Banner;
    a_primary_silent_at_ehlo: Stage::Ehlo;
    a_primary_silent_at_mail: Stage::Mail;
    a_primary_silent_at_rcpt: Stage::Rcpt;
    a_primary_silent_at_data: Stage::Data;
    a_primary_silent_at_the_final_dot: Stage::Dot;
    a_primary_silent_at_quit: Stage::Quit;
}

#[test]
fn a_primary_that_denies_everybody_after_a_reload_refuses_no_message_for_good() {
    let scene = Scene::open("denies_everybody");
    let load = |name: &str| Load {
        sessions: 2,
        messages: 10,
        ..Load::new(scene.stormpost.smtp, name, &scene.primary.addresses())
    };
    let mut sent = load("before").run();
    scene.drained(Duration::from_secs(60));
    scene.primary.deny_everybody(true);
    sent.extend(load("denied").run());
    scene.becomes("inbound", "SUSPECT", Duration::from_secs(30));
    assert_eq!(scene.stormpost.queued_as("refused"), 0);
    scene.primary.deny_everybody(false);
    scene.drained(Duration::from_secs(120));
    assert_eq!(scene.stormpost.queued_as("refused"), 0);
    scene.judge(&sent);
}

#[test]
fn a_primary_that_says_451_to_everything() {
    let (scene, proxy) = behind_proxy("says_451", &PrimaryOptions::default());
    for stage in [Stage::Mail, Stage::Rcpt, Stage::Dot] {
        carried_through(&scene, &proxy, stage, &Fault::Reply("451 4.3.0 not now".to_owned()));
    }
}

#[test]
fn a_primary_that_resets_drips_or_talks_garbage() {
    let (scene, proxy) = behind_proxy("resets", &PrimaryOptions::default());
    for (stage, fault) in [
        (Stage::Ehlo, Fault::Reset),
        (Stage::Rcpt, Fault::Garbage),
        (Stage::Banner, Fault::Garbage),
        (Stage::Mail, Fault::Reset),
        (Stage::Banner, Fault::Drip),
    ] {
        carried_through(&scene, &proxy, stage, &fault);
    }
}

#[test]
fn a_primary_whose_tls_handshake_hangs() {
    let key = Lab::open("tls_key");
    let (pem, private) = (key.dir().join("cert.pem"), key.dir().join("key.pem"));
    stories::tools::run(
        std::process::Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=mx.company.test",
            ])
            .arg("-keyout")
            .arg(&private)
            .arg("-out")
            .arg(&pem),
    )
    .must("openssl req");
    let options = PrimaryOptions {
        postfix: format!(
            "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n",
            pem.display(),
            private.display()
        ),
        ..PrimaryOptions::default()
    };
    // Where encryption is a must; where it is not, mail goes unencrypted after a while.
    let (scene, proxy) = behind_proxy_with("tls_hangs", &options, "required");
    carried_through(&scene, &proxy, Stage::Tls, &Fault::Hang);
}

#[test]
fn imap_dead_while_smtp_lives_is_an_outage_of_reading_alone() {
    let mut between = None;
    let scene = Scene::with("imap_dead", &PrimaryOptions::default(), |setup, primary| {
        let proxy = TcpProxy::start(primary.imap);
        setup.companies[0].imap = Some(proxy.port);
        between = Some(proxy);
    });
    let proxy = between.unwrap();
    scene.becomes("access", "READY", Duration::from_secs(30));
    proxy.set(TcpMode::Silent);
    scene.becomes("access", "ACTIVE", Duration::from_secs(60));
    assert_eq!(scene.stormpost.state("company", "inbound"), "READY", "mail still goes through");
    let sent =
        Load { messages: 4, ..Load::new(scene.stormpost.smtp, "dead", &scene.primary.addresses()) }.run();
    scene.drained(Duration::from_secs(30));
    scene.judge(&sent);
    proxy.set(TcpMode::Pass);
    scene.becomes("access", "READY", Duration::from_secs(90));
}

#[test]
fn a_slow_primary_gets_its_mail_and_no_event() {
    let (scene, proxy) = behind_proxy("slow", &PrimaryOptions::default());
    for stage in [Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Dot] {
        proxy.fail(stage, Fault::Delay(Duration::from_millis(200)));
    }
    let sent = Load::new(scene.stormpost.smtp, "slow", &scene.primary.addresses()).run();
    scene.drained(Duration::from_secs(120));
    scene.judge(&sent);
    let events = scene.stormpost.ask(&["event", "list"]);
    assert_eq!(events.as_array().map(Vec::len), Some(0), "{events}");
}

#[test]
fn a_flapping_primary_makes_no_storm_of_events() {
    let mut scene = Scene::open("flapping");
    let load = Load {
        messages: 100_000,
        pause: Duration::from_millis(50),
        ..Load::new(scene.stormpost.smtp, "flaps", &scene.primary.addresses())
    };
    let running = load.start();
    for _ in 0..6 {
        scene.primary.kill();
        std::thread::sleep(Duration::from_millis(2_500));
        scene.primary.restart();
        std::thread::sleep(Duration::from_millis(1_500));
    }
    let sent = running.stop();
    scene.becomes("inbound", "READY", Duration::from_secs(90));
    scene.drained(Duration::from_secs(90));
    scene.judge(&sent);
    let events = scene.stormpost.ask(&["event", "list"]);
    let count = events.as_array().map_or(0, Vec::len);
    assert!(count <= 2, "{count} events from six short outages: {events}");
}

#[test]
fn one_person_over_quota_queues_alone() {
    let options = PrimaryOptions {
        dovecot: "mail_plugins = $mail_plugins quota\nquota_full_tempfail = yes\n\
                  plugin {\n  quota = count:User quota\n  quota_vsizes = yes\n}\n"
            .to_owned(),
        extra: vec![("anna".to_owned(), "userdb_quota_rule=*:messages=2".to_owned())],
        ..PrimaryOptions::default()
    };
    let scene = Scene::with("over_quota", &options, by_lmtp);
    let sent = Load {
        sessions: 3,
        messages: 6,
        ..Load::new(scene.stormpost.smtp, "quota", &scene.primary.addresses())
    }
    .run();
    let ours = |who: &str| sent.iter().filter(|one| one.to.starts_with(who)).count();
    wait_for("the others to have theirs", Duration::from_secs(30), || {
        ["ben", "carla"].iter().all(|who| scene.primary.maildrop(who).messages.len() == ours(who))
    });
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(scene.stormpost.state("company", "inbound"), "READY", "one person's quota is nobody's outage");
    let events = scene.stormpost.ask(&["event", "list"]);
    assert_eq!(events.as_array().map(Vec::len), Some(0), "{events}");
    // Deliveries that begin together may all still find room, so she may have a few more than her quota.
    let hers = scene.primary.maildrop("anna").messages.len();
    assert!((2..ours("anna")).contains(&hers), "{hers} of hers are at the primary");
    assert_eq!(scene.stormpost.queued(), ours("anna") - hers, "the rest of hers waits, and nobody else's");
    let here = scene.stormpost.maildrop("anna@company.test").unwrap();
    assert_eq!(here.folder("INBOX").len(), ours("anna"), "she reads all of hers here meanwhile");
    assert!(scene.world.caught().is_empty(), "nobody is told that a full mailbox refused mail for good");
}
