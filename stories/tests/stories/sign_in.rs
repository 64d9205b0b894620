//! Who is shut out at the mail system is out here soon, and nobody who guesses here gets anybody locked out there.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stories::lab::wait_for;
use stories::maildrop::ImapTalk;
use stories::primary::PrimaryOptions;
use stories::stormpost::Setup;
use stories::tools::swaks;
use stories::{Lab, Primary, Stormpost};

/// A node that knows no password of its own, so that the primary is asked, with these lines more in `[limits]`.
fn asking(lab: &Lab, primary: &Primary, limits: &str) -> Stormpost {
    let mut setup = Setup::of(primary);
    setup.limits = limits.to_owned();
    let stormpost = Stormpost::start(lab, "stormpost", &setup);
    for address in primary.addresses() {
        stormpost.tell(&["account", "password", &address, "--clear"]).must("account password --clear");
    }
    stormpost
}

/// Dovecot tells of every wrong password. It also slows down addresses that send some, for minutes; what is to be seen here
/// is how many there are.
fn with_words() -> PrimaryOptions {
    let dovecot = "auth_verbose = yes\nauth_failure_delay = 0\n\
                   service anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n";
    PrimaryOptions { dovecot: dovecot.to_owned(), ..Default::default() }
}

/// Wrong passwords of an account that Dovecot has seen.
fn seen_wrong(primary: &Primary, person: &str) -> usize {
    let address = primary.address(person);
    let log = primary.dovecot_log();
    log.lines().filter(|line| line.contains(&address) && line.contains("Password mismatch")).count()
}

#[test]
fn an_account_that_the_primary_shuts_out_is_out_here_within_the_bound() {
    let lab = Lab::open("shut-out");
    let mut primary = Primary::start(&lab, "home.test", &with_words());
    let stormpost = asking(&lab, &primary, "sign_in_age = \"5s\"\npassword_memory = \"3s\"\n");
    let mut anna = stormpost.imap_as("anna@home.test").unwrap();
    let mut carla = stormpost.imap_as("carla@home.test").unwrap();
    let mut idle = stormpost.imap_as("anna@home.test").unwrap();
    anna.command("NOOP").unwrap();
    stormpost.imap_as("ben@home.test").unwrap();

    let begun = Instant::now();
    primary.change_password("anna", "another-one");
    stormpost.tell(&["account", "suspend", "carla@home.test"]).must("account suspend");
    // Her sessions, and no new one by what is remembered of her.
    wait_for("anna's sessions to be ended", Duration::from_secs(20), || {
        anna.command("NOOP").is_err() && idle.command("NOOP").is_err()
    });
    wait_for("carla's session to be ended", Duration::from_secs(20), || carla.command("NOOP").is_err());
    lab.say(&format!("out {:.1} s after the password was changed", begun.elapsed().as_secs_f64()));
    assert!(stormpost.imap_as("anna@home.test").is_err(), "the old password is refused");
    let mut ben = stormpost.imap_as("ben@home.test").unwrap();

    // In an outage sessions go on, and only those are let in whom the primary did not shut out.
    primary.kill();
    wait_for("the outage to be noticed", Duration::from_secs(30), || {
        stormpost.state("home", "sign-in") != "READY" && stormpost.imap_as("ben@home.test").is_ok()
    });
    let mut late = stormpost.imap_as("ben@home.test").unwrap();
    assert!(stormpost.imap_as("anna@home.test").is_err(), "nor does what was captured let her in");
    assert!(stormpost.imap_as("carla@home.test").is_err());
    std::thread::sleep(Duration::from_secs(7));
    late.command("NOOP").unwrap();
    let _ = ben.command("NOOP");
}

/// Ten guesses of one guesser, from some addresses.
fn guess(stormpost: &Stormpost, tried: &AtomicUsize, guesser: u8) {
    let mut talk = None;
    for n in 0..10_u8 {
        // Most at one account from everywhere; some at others, and at names that nobody has.
        let (who, from) = match n {
            0..7 => ("anna".to_owned(), Ipv4Addr::new(127, 7, guesser, n / 4 + 1)),
            7 => ("ben".to_owned(), Ipv4Addr::new(127, 8, guesser, 1)),
            8 => ("carla".to_owned(), Ipv4Addr::new(127, 9, 9, 9)),
            _ => (format!("nobody{}", guesser % 10), Ipv4Addr::new(127, 9, 9, 8)),
        };
        // A few tries on each connection, as long as the other side bears it.
        if matches!(n, 0 | 4 | 7..) {
            talk = None;
        }
        if talk.is_none() {
            talk = ImapTalk::connect_tls_from(from, stormpost.imaps).ok();
        }
        let Some(open) = &mut talk else { continue };
        let password = format!("guess-{guesser}-{n}");
        let said = open.sign_in(&format!("{who}@home.test"), &password).unwrap_err();
        match said.contains("NO") {
            true => tried.fetch_add(1, Ordering::Relaxed),
            false => {
                talk = None;
                0
            }
        };
    }
}

#[test]
fn a_thousand_wrong_passwords_never_reach_what_locks_an_account_at_the_primary() {
    let lab = Lab::open("guessing");
    let primary = Primary::start(&lab, "home.test", &with_words());
    // What is right is remembered for no moment: each time the primary is asked.
    let stormpost = asking(&lab, &primary, "password_memory = \"0s\"\n");
    stormpost.imap_as("anna@home.test").unwrap();

    let (tried, let_in, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let guessers: Vec<_> = (0..100_u8)
            .map(|guesser| {
                let (stormpost, tried) = (&stormpost, &tried);
                scope.spawn(move || {
                    guess(stormpost, tried, guesser);
                })
            })
            .collect();
        let (stormpost, over, let_in, failed) = (&stormpost, &over, &let_in, &failed);
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                match stormpost.imap_as("anna@home.test") {
                    Ok(_) => let_in.fetch_add(1, Ordering::Relaxed),
                    Err(why) => {
                        eprintln!("anna: {why}");
                        failed.fetch_add(1, Ordering::Relaxed)
                    }
                };
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        for guesser in guessers {
            guesser.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    // And at the door for sending.
    for n in 0..4 {
        let password = format!("sent-{n}");
        let server = [
            "--tls-on-connect",
            "--auth",
            "PLAIN",
            "--auth-user",
            "anna@home.test",
            "--auth-password",
            &password,
        ];
        assert!(!swaks(stormpost.submissions, &[&server[..], &["--quit-after", "AUTH"]].concat()).ok);
    }
    let tried = tried.into_inner();
    let seen: Vec<usize> = ["anna", "ben", "carla"].iter().map(|who| seen_wrong(&primary, who)).collect();
    lab.say(&format!(
        "{tried} wrong passwords here, {seen:?} there; anna was let in {} times meanwhile",
        let_in.load(Ordering::Relaxed)
    ));
    assert!(tried >= 900, "only {tried} tries");
    assert!(seen.iter().all(|count| *count <= 3), "the primary saw {seen:?}");
    assert!(seen.iter().any(|count| *count > 0), "some must have been put to it: {seen:?}");
    assert!(let_in.into_inner() >= 3 && failed.into_inner() == 0, "the attacked person works on");
}
