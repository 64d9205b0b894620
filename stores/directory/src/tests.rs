//! Stories of the directory, over a disk in memory that can crash between any two operations.

pub(crate) mod disk;

use crate::*;
use disk::{FixedClock, MemoryDisk, world};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use words_mail::{AccountId, Address, PrimaryId, Tenant, Time};
use words_world::Disk;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn id(text: &str) -> AccountId {
    AccountId::new(text)
}

fn office() -> PrimaryId {
    PrimaryId("office".into())
}

fn domain(name: &str, primary: Option<&str>, authoritative: bool) -> Domain {
    Domain {
        name: name.into(),
        tenant: Tenant("acme".into()),
        primary: primary.map(|p| PrimaryId(p.into())),
        authoritative,
        catch_all: None,
        postmaster: None,
    }
}

fn account(main: &str, aliases: &[&str], class: Class) -> NewAccount {
    NewAccount {
        address: address(main),
        name: String::new(),
        aliases: aliases.iter().map(|a| address(a)).collect(),
        class,
    }
}

const WEAK: Hashing = Hashing { memory_kib: 8, passes: 1, parallel: 2, waiting_max: 64, inline: true };

fn options() -> Options {
    Options { hashing: WEAK, ..Options::new("/data/directory") }
}

/// acme.example has a primary and a full list, lab.example a primary and no list, home.example neither.
fn company(disk: &Arc<MemoryDisk>) -> Directory {
    let directory = Directory::open(&world(disk), options()).unwrap();
    let mut acme = domain("acme.example", Some("office"), true);
    acme.postmaster = Some(address("anna@acme.example"));
    let mut catch = domain("catch.example", None, true);
    catch.catch_all = Some(address("bert@acme.example"));
    let domains =
        vec![acme, domain("lab.example", Some("office"), false), domain("home.example", None, false), catch];
    let accounts = vec![
        account("anna@acme.example", &["a.b@acme.example", "anna@lab.example"], Class::Person),
        account("bert@acme.example", &[], Class::Admin),
        account("cleo@home.example", &["postmaster@home.example"], Class::Person),
    ];
    assert_eq!(directory.configure(domains, accounts).unwrap(), []);
    directory
}

fn short(resolved: &Resolved) -> String {
    match resolved {
        Resolved::Account { account, primary, .. } => {
            format!("{account} via {}", primary.as_ref().map_or("nobody", |p| p.0.as_str()))
        }
        Resolved::Learned { primary, .. } => format!("learned via {primary}"),
        Resolved::Unknown { .. } => "unknown".into(),
        Resolved::CannotTell { primary, .. } => format!("ask {primary}"),
        Resolved::NotOurs => "not ours".into(),
    }
}

#[test]
fn an_international_domain_is_one_in_both_spellings() {
    for (configured, other) in
        [("bücher.example", "xn--bcher-kva.example"), ("xn--bcher-kva.example", "bücher.example")]
    {
        let directory = Directory::open(&world(&MemoryDisk::new()), options()).unwrap();
        let anna = format!("anna@{configured}");
        let accounts = vec![account(&anna, &[&format!("jörg@{other}")], Class::Admin)];
        assert_eq!(directory.configure(vec![domain(configured, None, true)], accounts).unwrap(), []);
        let snapshot = directory.snapshot();
        for recipient in [
            format!("anna@{other}"),
            format!("Anna+tag@{}", other.to_uppercase()),
            format!("jörg@{configured}"),
            format!("postmaster@{other}"),
        ] {
            let found = short(&snapshot.resolve(&address(&recipient)));
            assert_eq!(found, format!("{anna} via nobody"), "{recipient}");
        }
        let id = AccountId::new(&anna);
        assert!(snapshot.may_send_as(&id, &address(&format!("anna@{other}"))));
        assert_eq!(snapshot.login(&format!("anna@{other}")).map(|account| account.id()), Some(id.clone()));
        assert!(snapshot.account(&id).is_some() && snapshot.domain(other).is_some());
        assert_eq!(short(&snapshot.resolve(&address(&format!("ben@{other}")))), "unknown");
        assert_eq!(short(&snapshot.resolve(&address("anna@bucher.example"))), "not ours");
        let twice = vec![domain(configured, None, true), domain(other, None, true)];
        assert!(directory.configure(twice, Vec::new()).is_err(), "one domain, configured twice");
    }
}

#[test]
fn every_kind_of_recipient_is_resolved() {
    let directory = company(&MemoryDisk::new());
    directory.learned().learn(&address("dora@lab.example"), &office(), Time::from_seconds(1));
    directory.learned().learn(&address("moved@lab.example"), &PrimaryId("old".into()), Time::from_seconds(1));
    for (recipient, expected) in [
        ("anna@acme.example", "anna@acme.example via office"),
        ("ANNA@Acme.Example", "anna@acme.example via office"),
        ("A.B@acme.example", "anna@acme.example via office"),
        ("anna+news+x@acme.example", "anna@acme.example via office"),
        ("a.b+news@acme.example", "anna@acme.example via office"),
        ("anna@lab.example", "anna@acme.example via office"),
        ("nobody@acme.example", "unknown"),
        ("+anna@acme.example", "unknown"),
        ("PostMaster@acme.example", "anna@acme.example via office"),
        ("postmaster", "anna@acme.example via office"),
        ("postmaster@lab.example", "bert@acme.example via office"),
        ("postmaster@home.example", "cleo@home.example via nobody"),
        ("dora@lab.example", "learned via office"),
        ("dora+tag@lab.example", "learned via office"),
        ("moved@lab.example", "ask office"),
        ("eve@lab.example", "ask office"),
        ("eve@home.example", "unknown"),
        ("whoever@catch.example", "bert@acme.example via nobody"),
        ("anna@elsewhere.example", "not ours"),
        ("anna@sub.acme.example", "not ours"),
        ("anna@[192.0.2.1]", "not ours"),
    ] {
        assert_eq!(short(&directory.snapshot().resolve(&address(recipient))), expected, "{recipient}");
    }
}

#[test]
fn a_domain_without_any_account_still_has_a_postmaster_at_its_primary() {
    let directory = Directory::open(&world(&MemoryDisk::new()), options()).unwrap();
    directory.configure(vec![domain("acme.example", Some("office"), true)], vec![]).unwrap();
    let snapshot = directory.snapshot();
    assert_eq!(short(&snapshot.resolve(&address("postmaster@acme.example"))), "learned via office");
    assert_eq!(short(&snapshot.resolve(&address("anna@acme.example"))), "unknown");
}

#[test]
fn people_send_as_what_they_receive_and_as_nobody_else() {
    let directory = company(&MemoryDisk::new());
    directory.learned().learn(&address("dora@lab.example"), &office(), Time::from_seconds(1));
    for (who, as_whom, may) in [
        ("anna@acme.example", "anna@acme.example", true),
        ("anna@acme.example", "Anna+list@lab.example", true),
        ("anna@acme.example", "postmaster@acme.example", true),
        ("anna@acme.example", "bert@acme.example", false),
        ("bert@acme.example", "postmaster@acme.example", false),
        ("bert@acme.example", "sales@catch.example", true),
        ("anna@acme.example", "dora@lab.example", false),
        ("anna@acme.example", "ceo@elsewhere.example", false),
        ("a.b@acme.example", "a.b@acme.example", false),
        ("nobody@acme.example", "nobody@acme.example", false),
    ] {
        assert_eq!(directory.snapshot().may_send_as(&id(who), &address(as_whom)), may, "{who} as {as_whom}");
    }
    directory.suspend(&id("anna@acme.example"), true).unwrap();
    assert!(!directory.snapshot().may_send_as(&id("anna@acme.example"), &address("anna@acme.example")));
    assert_eq!(
        short(&directory.snapshot().resolve(&address("anna@acme.example"))),
        "anna@acme.example via office",
        "a suspended account still gets its mail"
    );
}

#[test]
fn two_accounts_cannot_have_one_address_and_nothing_changes_when_they_try() {
    let directory = company(&MemoryDisk::new());
    let before = directory.snapshot().generation();
    let error = directory.add(account("carl@acme.example", &["a.b@acme.example"], Class::Person));
    assert_eq!(
        error.unwrap_err().to_string(),
        "a.b@acme.example: this address already belongs to anna@acme.example; take it from one of the two"
    );
    let error = directory.add(account("carl@elsewhere.example", &[], Class::Person)).unwrap_err();
    assert!(error.to_string().contains("elsewhere.example is not in the configuration"), "{error}");
    assert_eq!(directory.snapshot().generation(), before);
    let twice = vec![account("x@acme.example", &[], Class::Person); 2];
    let error = directory.configure(vec![domain("acme.example", None, true)], twice).unwrap_err();
    assert!(error.to_string().contains("listed twice"), "{error}");
}

#[test]
fn an_import_names_the_line_that_is_in_the_way() {
    let directory = company(&MemoryDisk::new());
    let table = b"address,name,aliases,class\nnew@acme.example,New,,\nzed@acme.example,,anna@acme.example,\n";
    let error = directory.import(parse_table(table).unwrap()).unwrap_err().to_string();
    assert_eq!(
        error,
        "line 3: anna@acme.example: this address already belongs to anna@acme.example; take it from one of the two"
    );
    assert!(directory.snapshot().account(&id("new@acme.example")).is_none(), "all of a table or none");
}

#[test]
fn configured_accounts_go_with_the_configuration_and_added_ones_stay() {
    let disk = MemoryDisk::new();
    let directory = company(&disk);
    assert_eq!(directory.add(account("dan@acme.example", &[], Class::Person)).unwrap(), Change::Added);
    assert_eq!(directory.add(account("dan@acme.example", &[], Class::Person)).unwrap(), Change::Same);
    assert_eq!(directory.add(account("dan@acme.example", &[], Class::Shared)).unwrap(), Change::Changed);
    directory.suspend(&id("anna@acme.example"), true).unwrap();
    let accounts = vec![account("anna@acme.example", &[], Class::Person)];
    directory.configure(vec![domain("acme.example", Some("office"), true)], accounts).unwrap();
    let snapshot = directory.snapshot();
    let names: Vec<String> = snapshot.accounts().iter().map(|a| a.id().to_string()).collect();
    assert_eq!(names, ["anna@acme.example", "dan@acme.example"]);
    assert!(snapshot.account(&id("anna@acme.example")).unwrap().suspended, "a suspension outlives it");
    assert!(matches!(directory.remove(&id("anna@acme.example")), Err(DirectoryError::Listed(_))));
    directory.remove(&id("dan@acme.example")).unwrap();
    assert!(matches!(directory.remove(&id("dan@acme.example")), Err(DirectoryError::NoAccount(_))));
}

#[test]
fn an_added_account_that_no_longer_fits_does_not_keep_the_node_from_starting() {
    let directory = company(&MemoryDisk::new());
    directory.add(account("dan@acme.example", &["info@acme.example"], Class::Person)).unwrap();
    let accounts = vec![account("desk@acme.example", &["info@acme.example"], Class::Shared)];
    let left = directory.configure(vec![domain("acme.example", None, true)], accounts).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].account, Some(id("dan@acme.example")));
    assert_eq!(
        short(&directory.snapshot().resolve(&address("info@acme.example"))),
        "desk@acme.example via nobody"
    );
}

#[test]
fn the_directory_is_the_same_after_a_restart() {
    let disk = MemoryDisk::new();
    {
        let directory = company(&disk);
        directory.add(account("dan@acme.example", &["d@acme.example"], Class::Device)).unwrap();
        directory.suspend(&id("dan@acme.example"), true).unwrap();
        directory.set_password(&id("anna@acme.example"), "correct horse").unwrap();
        directory.learned().learn(&address("dora@lab.example"), &office(), FixedClock::START);
        directory.flush().unwrap();
    }
    let directory = Directory::open(&world(&disk), options()).unwrap();
    let snapshot = directory.snapshot();
    assert_eq!(short(&snapshot.resolve(&address("d@acme.example"))), "dan@acme.example via office");
    assert_eq!(short(&snapshot.resolve(&address("dora@lab.example"))), "learned via office");
    assert!(snapshot.account(&id("dan@acme.example")).unwrap().suspended);
    assert!(directory.has_password(&id("anna@acme.example")));
}

#[test]
fn a_damaged_or_later_file_is_refused_with_words_and_left_alone() {
    for (content, expected) in [
        ("{\"format\":2,\"generation\":1}", "later version"),
        ("{\"format\":1,\"generation\":1", "EOF"),
        ("", "EOF"),
    ] {
        let disk = MemoryDisk::new();
        let path = std::path::Path::new("/data/directory/directory.json");
        disk.make_dir(path.parent().unwrap()).unwrap();
        disk.replace(path, content.as_bytes()).unwrap();
        let error = Directory::open(&world(&disk), options()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("directory.json"), "{error}");
        assert_eq!(disk.read(path).unwrap(), content.as_bytes());
    }
}

/// Every operation of the disk is once the last one before a crash.
#[test]
fn a_crash_at_any_moment_leaves_the_old_directory_or_the_new_one() {
    let mut crashes = 0;
    for stop_after in 0.. {
        let disk = MemoryDisk::new();
        let directory = company(&disk);
        directory.set_password(&id("anna@acme.example"), "old").unwrap();
        disk.fail_after(stop_after);
        let added = directory.add(account("dan@acme.example", &[], Class::Person));
        let set = directory.set_password(&id("anna@acme.example"), "new");
        if added.is_err() {
            assert!(
                directory.snapshot().account(&id("dan@acme.example")).is_none(),
                "not shown, as not written"
            );
        }
        disk.crash();
        let again = Directory::open(&world(&disk), options()).unwrap();
        let there = again.snapshot().account(&id("dan@acme.example")).is_some();
        assert!(there || added.is_err(), "what was acknowledged is lost after {stop_after} operations");
        assert_eq!(
            short(&again.snapshot().resolve(&address("a.b@acme.example"))),
            "anna@acme.example via office"
        );
        let verifier = again.credentials(&id("anna@acme.example")).local;
        assert!(verifier.is_some(), "after {stop_after}");
        if added.is_ok() && set.is_ok() {
            break;
        }
        crashes += 1;
    }
    assert!(crashes >= 8, "only {crashes} crashes were tried");
}

#[test]
fn the_edge_reads_the_directory_alone_and_keeps_the_last_good_one() {
    let disk = MemoryDisk::new();
    let missing = Follower::open(&world(&disk), options()).map(|_| ()).unwrap_err();
    assert!(missing.to_string().contains("start the main process once"), "{missing}");
    let directory = company(&disk);
    let follower = Follower::open(&world(&disk), options()).unwrap();
    let path = std::path::Path::new("/data/directory/credentials.json");
    assert!(disk.read(path).is_err(), "the edge needs no credentials");
    assert_eq!(short(&follower.snapshot().resolve(&address("dan@acme.example"))), "unknown");
    directory.add(account("dan@acme.example", &[], Class::Person)).unwrap();
    follower.look().unwrap();
    let expected = "dan@acme.example via office";
    assert_eq!(short(&follower.snapshot().resolve(&address("dan@acme.example"))), expected);
    let path = std::path::Path::new("/data/directory/directory.json");
    disk.replace(path, b"{\"format\":1,\"generation\":99,").unwrap();
    assert!(follower.look().is_err());
    assert_eq!(short(&follower.snapshot().resolve(&address("dan@acme.example"))), expected);
}

#[test]
fn what_the_edge_learns_reaches_the_main_process_through_the_file() {
    let disk = MemoryDisk::new();
    company(&disk);
    let directory = Directory::open(&world(&disk), Options { learns: false, ..options() }).unwrap();
    let edge = Follower::open(&world(&disk), options()).unwrap();
    edge.learned().learn(&address("dora@lab.example"), &office(), FixedClock::START);
    edge.look().unwrap();
    directory.flush().unwrap();
    assert_eq!(short(&directory.snapshot().resolve(&address("dora@lab.example"))), "learned via office");
    edge.learned().forget(&address("dora@lab.example"));
    edge.look().unwrap();
    directory.flush().unwrap();
    assert_eq!(short(&directory.snapshot().resolve(&address("dora@lab.example"))), "ask office");
}

#[test]
fn learned_recipients_are_bounded_and_grow_old() {
    let learned = Learned::new(100, Duration::from_secs(1_000));
    for n in 0..1_000 {
        learned.learn(&address(&format!("p{n}@lab.example")), &office(), Time::from_seconds(n));
        assert!(learned.len() <= 100);
    }
    assert!(learned.find(&address("p999@lab.example"), &office()).is_some());
    assert!(learned.find(&address("p0@lab.example"), &office()).is_none());
    learned.expire(Time::from_seconds(1_960));
    assert_eq!(learned.len(), 40, "p960 to p999 were confirmed within the last 1,000 s");
    // All learned in one instant: still only a part goes.
    let learned = Learned::new(32, Duration::from_secs(1_000));
    for n in 0..33 {
        learned.learn(&address(&format!("p{n}@lab.example")), &office(), Time::from_seconds(1));
    }
    assert!(learned.len() > 16, "{} left", learned.len());
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

fn is_yes(answer: &SignIn) -> bool {
    matches!(answer, SignIn::Yes(_))
}

fn question(answer: SignIn) -> Question {
    match answer {
        SignIn::Ask(question) => question,
        other => panic!("expected a question, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_local_password_lets_in_by_any_address_and_only_it() {
    let directory = company(&MemoryDisk::new());
    directory.set_password(&id("cleo@home.example"), "correct horse").unwrap();
    assert!(is_yes(&directory.sign_in("Cleo@Home.example", "correct horse", HERE).await));
    assert!(is_yes(&directory.sign_in("postmaster@home.example", "correct horse", HERE).await));
    for (name, password) in [
        ("cleo@home.example", "wrong"),
        ("cleo@home.example", ""),
        ("cleo+tag@home.example", "correct horse"),
        ("who@catch.example", "correct horse"),
        ("nobody@home.example", "correct horse"),
        ("cleo", "correct horse"),
        ("", ""),
    ] {
        let answer = directory.sign_in(name, password, HERE).await;
        assert!(matches!(answer, SignIn::No(Refusal::Wrong)), "{name} {password}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspended_account_is_out_at_once_although_its_password_was_just_right() {
    let directory = company(&MemoryDisk::new());
    directory.set_password(&id("cleo@home.example"), "correct horse").unwrap();
    assert!(is_yes(&directory.sign_in("cleo@home.example", "correct horse", HERE).await));
    directory.suspend(&id("cleo@home.example"), true).unwrap();
    let answer = directory.sign_in("cleo@home.example", "correct horse", HERE).await;
    assert!(matches!(answer, SignIn::No(Refusal::Suspended)), "{answer:?}");
    directory.suspend(&id("cleo@home.example"), false).unwrap();
    assert!(is_yes(&directory.sign_in("cleo@home.example", "correct horse", HERE).await));
}

#[tokio::test(start_paused = true)]
async fn guessing_is_stopped_and_does_not_shut_the_owner_out() {
    let directory = company(&MemoryDisk::new());
    directory.set_password(&id("cleo@home.example"), "correct horse").unwrap();
    assert!(is_yes(&directory.sign_in("cleo@home.example", "correct horse", HERE).await));
    for _ in 0..5 {
        let answer = directory.sign_in("cleo@home.example", "guess", THERE).await;
        assert!(matches!(answer, SignIn::No(Refusal::Wrong)));
    }
    let answer = directory.sign_in("cleo@home.example", "correct horse", THERE).await;
    assert!(matches!(answer, SignIn::No(Refusal::TooMany(_))), "even the right one: {answer:?}");
    assert!(
        is_yes(&directory.sign_in("cleo@home.example", "correct horse", HERE).await),
        "the owner's place"
    );
    tokio::time::advance(Duration::from_secs(15 * 60)).await;
    assert!(is_yes(&directory.sign_in("cleo@home.example", "correct horse", THERE).await));
}

#[tokio::test(start_paused = true)]
async fn guesses_made_at_once_do_not_slip_under_the_limit_together() {
    let hashing = Hashing { inline: false, ..WEAK };
    let disk = MemoryDisk::new();
    company(&disk).set_password(&id("cleo@home.example"), "correct horse").unwrap();
    let directory = Directory::open(&world(&disk), Options { hashing, ..options() }).unwrap();
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let directory = directory.clone();
        guesses.spawn(async move { directory.sign_in("cleo@home.example", "guess", THERE).await });
    }
    let answers = guesses.join_all().await;
    let looked_at = answers.iter().filter(|a| matches!(a, SignIn::No(Refusal::Wrong))).count();
    assert_eq!(looked_at, 5);
}

#[tokio::test(start_paused = true)]
async fn one_address_that_tries_many_names_is_stopped_too() {
    let directory = company(&MemoryDisk::new());
    for n in 0..30 {
        directory.sign_in(&format!("n{n}@home.example"), "guess", THERE).await;
    }
    let answer = directory.sign_in("cleo@home.example", "guess", THERE).await;
    assert!(matches!(answer, SignIn::No(Refusal::TooMany(_))), "{answer:?}");
    let answer = directory.sign_in("cleo@home.example", "guess", HERE).await;
    assert!(matches!(answer, SignIn::No(Refusal::Wrong)), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_verifier_is_captured_only_after_the_primarys_yes_and_dies_only_with_a_new_one() {
    let directory = company(&MemoryDisk::new());
    let anna = id("anna@acme.example");
    assert_eq!(directory.captured(&anna, &office(), "secret").await, Ok(Captured::None));
    let asked = question(directory.sign_in("anna@acme.example", "secret", HERE).await);
    assert_eq!(asked.primary, office());
    directory.primary_said_yes(&asked, "secret", HERE).await.unwrap();
    drop(asked);
    assert_eq!(
        directory.captured(&anna, &office(), "secret").await,
        Ok(Captured::Matches { suspended: false })
    );
    assert_eq!(directory.captured(&anna, &office(), "other").await, Ok(Captured::Differs));
    assert_eq!(directory.captured(&anna, &PrimaryId("b".into()), "secret").await, Ok(Captured::None));
    assert!(is_yes(&directory.sign_in("anna@acme.example", "secret", HERE).await), "the short memory");
    tokio::time::advance(Duration::from_secs(15 * 60)).await;
    let asked = question(directory.sign_in("anna@acme.example", "secret", HERE).await);
    directory.primary_said_no(&asked, HERE);
    directory.suspend_verifier(&anna, &office()).unwrap();
    drop(asked);
    assert_eq!(
        directory.captured(&anna, &office(), "secret").await,
        Ok(Captured::Matches { suspended: true })
    );
    let asked = question(directory.sign_in("anna@acme.example", "new", HERE).await);
    directory.primary_said_yes(&asked, "new", HERE).await.unwrap();
    assert_eq!(directory.captured(&anna, &office(), "new").await, Ok(Captured::Matches { suspended: false }));
    assert_eq!(directory.captured(&anna, &office(), "secret").await, Ok(Captured::Differs));
}

#[tokio::test(start_paused = true)]
async fn captured_verifiers_survive_a_restart_and_count_as_coverage() {
    let disk = MemoryDisk::new();
    let directory = company(&disk);
    assert_eq!(directory.coverage(), Coverage { accounts: 3, able: 0 });
    let asked = question(directory.sign_in("anna@acme.example", "secret", HERE).await);
    directory.primary_said_yes(&asked, "secret", HERE).await.unwrap();
    directory.set_password(&id("cleo@home.example"), "x").unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    stop.send(true).unwrap();
    directory.clone().run(stopped).await;
    let again = Directory::open(&world(&disk), options()).unwrap();
    assert_eq!(again.coverage(), Coverage { accounts: 3, able: 2 });
    again.suspend_verifier(&id("anna@acme.example"), &office()).unwrap();
    assert_eq!(again.coverage(), Coverage { accounts: 3, able: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_client_with_eight_connections_waits_in_line_and_asks_the_primary_once() {
    let directory = company(&MemoryDisk::new());
    let first = question(directory.sign_in("anna@acme.example", "secret", HERE).await);
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..7 {
        let directory = directory.clone();
        others.spawn(async move { directory.sign_in("anna@acme.example", "secret", HERE).await });
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    directory.primary_said_yes(&first, "secret", HERE).await.unwrap();
    drop(first);
    assert!(others.join_all().await.iter().all(is_yes));
}

#[test]
fn password_hashes_never_show_in_debug_output() {
    let disk = MemoryDisk::new();
    let directory = company(&disk);
    directory.set_password(&id("cleo@home.example"), "correct horse").unwrap();
    let file = disk.read(std::path::Path::new("/data/directory/credentials.json")).unwrap();
    let file = String::from_utf8(file).unwrap();
    assert!(file.contains("$argon2id$v=19$m=8,t=1,p=1$"), "argon2id and its cost are in the file");
    assert!(!file.contains("correct horse"));
    let credentials = directory.credentials(&id("cleo@home.example"));
    let shown = format!("{credentials:?} {directory:?} {:?} {:?}", directory.digests(), directory.mill());
    assert!(!shown.contains("argon2id$") && !shown.contains("correct horse"), "{shown}");
    let secret = file.rsplit('$').next().unwrap().split('"').next().unwrap();
    assert!(secret.len() > 20 && !shown.contains(secret));
    let addresses = disk.read(std::path::Path::new("/data/directory/directory.json")).unwrap();
    assert!(!String::from_utf8(addresses).unwrap().contains("argon2"), "the edge's file has no credential");
}

#[test]
fn the_default_cost_is_what_owasp_recommends() {
    let hashing = Hashing::default();
    assert_eq!((hashing.memory_kib, hashing.passes), (19_456, 2));
}

#[test]
fn unusable_passwords_are_refused_with_words() {
    let directory = company(&MemoryDisk::new());
    let long = "x".repeat(1_025);
    for password in ["", "a\nb", "a\0b", long.as_str()] {
        let error = directory.set_password(&id("cleo@home.example"), password).unwrap_err();
        assert!(matches!(error, DirectoryError::Password(_)), "{error}");
    }
    assert!(matches!(directory.set_password(&id("no@home.example"), "x"), Err(DirectoryError::NoAccount(_))));
}

#[test]
fn tables_are_read_as_people_and_spreadsheets_write_them() {
    let expected = vec![
        Row {
            line: 2,
            account: account("anna@acme.example", &["a@acme.example", "b@acme.example"], Class::Admin),
        },
        Row { line: 4, account: account("bert@acme.example", &[], Class::Person) },
    ];
    for table in [
        "address,name,aliases,class\nanna@acme.example,,a@acme.example b@acme.example,admin\n\nbert@acme.example,,,\n",
        "\u{feff}Address;Class;Aliases\r\nanna@acme.example;ADMIN;a@acme.example|b@acme.example\r\n;;\r\nbert@acme.example\r\n",
        " class , address, aliases \nadmin, anna@acme.example ,\" a@acme.example  b@acme.example \"\n\nperson,bert@acme.example",
    ] {
        assert_eq!(parse_table(table.as_bytes()).unwrap(), expected, "{table}");
    }
    assert_eq!(parse_table(b"address\n"), Ok(vec![]));
}

#[test]
fn faults_of_a_table_are_told_by_line_and_all_at_once() {
    let table = "address,name,aliases,class\nanna@acme.example,,,\nno at sign,,,\nbert@acme.example,,anna@acme.example,\n\
                 carl@acme.example,,,boss\ndora@acme.example,Dora, Dr,,,\npostmaster,,,\neve@acme.example,,eve@acme.example,\n";
    let faults: Vec<String> =
        parse_table(table.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "line 3: \"no at sign\" is not an address: the part before the @ needs quotes or is empty",
            "line 4: anna@acme.example is on line 2 too; an address belongs to one account",
            "line 5: unknown class \"boss\"; it is person, admin, shared or device",
            "line 6: 6 fields, but the first line names 4; put quotes around a field with the separator in it",
            "line 7: \"postmaster\" is not an address: it has no domain",
            "line 8: eve@acme.example is there twice; leave one out",
        ]
    );
    let one = |table: &[u8]| parse_table(table).unwrap_err()[0].to_string();
    assert!(one(b"adress,name\n").contains("unknown column \"adress\""));
    assert!(one(b"name\n").contains("no column address"));
    assert!(one(b"").contains("no column address"));
    assert!(one(b"address,address\n").contains("twice"));
    assert!(one(b"address,name\nanna@acme.example,\xff\n").contains("line 2: not UTF-8"));
    let unclosed = one(b"address,name\n\n\nanna@acme.example,\"Anna\nbert@acme.example,Bert\n");
    assert_eq!(unclosed, "line 4: the name has a line break or is too long; is a quote not closed?");
    let many = "address\n".to_owned() + &"x\n".repeat(10_000);
    assert_eq!(parse_table(many.as_bytes()).unwrap_err().len(), 51, "fifty faults and one that says so");
}

#[test]
fn a_hundred_thousand_accounts_are_imported_in_a_moment() {
    let mut table = String::from("address,name,aliases,class\n");
    for n in 0..100_000 {
        table += &format!("p{n}@acme.example,Person {n},alias{n}@acme.example,person\n");
    }
    let directory = company(&MemoryDisk::new());
    let begin = std::time::Instant::now();
    let imported = directory.import(parse_table(table.as_bytes()).unwrap()).unwrap();
    assert_eq!(imported, Imported { added: 100_000, changed: 0, same: 0 });
    // Unoptimised and on a busy machine; anything quadratic would take minutes.
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    assert_eq!(
        short(&directory.snapshot().resolve(&address("alias99999+x@acme.example"))),
        "p99999@acme.example via office"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_a_table_or_faults(content in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_table(&content);
    }

    #[test]
    fn any_table_like_text_is_read_whole_or_not_at_all(
        lines in proptest::collection::vec("[a-c@.;,\"|+ é-]{0,24}", 0..12)
    ) {
        let table = format!("address,name,aliases,class\n{}", lines.join("\n"));
        match parse_table(table.as_bytes()) {
            Err(faults) => prop_assert!(!faults.is_empty()),
            Ok(rows) => {
                let mut keys = std::collections::HashSet::new();
                for row in rows {
                    prop_assert!(row.line >= 2 && row.line <= lines.len() as u64 + 1);
                    prop_assert!(keys.insert(row.account.address.key()), "one address twice");
                }
            }
        }
    }

    #[test]
    fn resolve_never_panics_and_knows_every_account(local in "[a-zA-Z+.]{1,20}", ours in any::<bool>()) {
        let directory = company(&MemoryDisk::new());
        let domain = if ours { "home.example" } else { "else.example" };
        if let Ok(recipient) = Address::new(&local, domain) {
            let before = directory.snapshot().resolve(&recipient);
            prop_assert_eq!(before == Resolved::NotOurs, !ours);
            if before == (Resolved::Unknown { tenant: Tenant("acme".into()) }) {
                directory.add(NewAccount::new(recipient.clone())).unwrap();
                let now_there = matches!(directory.snapshot().resolve(&recipient), Resolved::Account { .. });
                prop_assert!(now_there);
            }
        }
    }
}

#[test]
fn the_loops_can_run_on_any_thread() {
    fn can_move<T: Send>(_: T) {}
    let disk = MemoryDisk::new();
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    can_move(company(&disk).run(stopped.clone()));
    can_move(Follower::open(&world(&disk), options()).unwrap().run(stopped));
    let directory = company(&disk);
    can_move(async move {
        if let SignIn::Ask(question) = directory.sign_in("anna@acme.example", "x", HERE).await {
            let _ = directory.primary_said_yes(&question, "x", HERE).await;
        }
    });
}
