use super::*;
use crate::demo::people::Failure;
use words_mail::Time;

fn anna() -> Address {
    Address::parse("anna@company.example").unwrap()
}

fn bert() -> Address {
    Address::parse("bert@company.example").unwrap()
}

fn copy(folder: &str, carried: Option<&str>) -> Copy {
    Copy {
        folder: folder.to_owned(),
        flags: Vec::new(),
        stamp: Some("AAAA".to_owned()),
        carried: carried.map(str::to_owned),
    }
}

fn found(account: &Address, number: usize, copies: &[Copy]) -> Found {
    Found(BTreeMap::from([(account.clone(), BTreeMap::from([(number, copies.to_vec())]))]))
}

fn figures(found: &Found, promised: &[(usize, Address)]) -> Figures {
    let promised = promised.iter().map(|key| (key.clone(), None)).collect();
    found.figures(&promised, &Done::default(), &Listed::default())
}

#[test]
fn what_was_promised_and_is_not_there_is_lost() {
    let there = found(&anna(), 1, &[copy("INBOX", None)]);
    let figures = figures(&there, &[(1, anna()), (2, anna())]);
    assert_eq!((figures.accepted, figures.seen, figures.lost, figures.doubled), (2, 1, 1, 0));
    assert_eq!(figures.exceptions, ["message 2 for anna@company.example is not there"]);
}

#[test]
fn twice_in_a_folder_is_doubled_and_a_copy_elsewhere_is_not() {
    let inbox = copy("INBOX", None);
    for (copies, doubled) in [
        (vec![inbox.clone()], 0),
        (vec![inbox.clone(), copy("Projects", None)], 0),
        (vec![inbox.clone(), inbox.clone()], 1),
        (vec![copy("INBOX", Some("4F2A61")), copy("INBOX", Some("4F2A99"))], 1),
        (vec![copy("INBOX", Some("4F2A61")), inbox.clone()], 1),
        // Handed over once; Postfix delivered it twice.
        (vec![copy("INBOX", Some("4F2A61")), copy("INBOX", Some("4F2A61"))], 0),
    ] {
        let there = found(&anna(), 1, &copies);
        assert_eq!(figures(&there, &[(1, anna())]).doubled, doubled, "{copies:?}");
    }
}

#[test]
fn a_double_of_a_message_that_was_never_acknowledged_counts_too() {
    let there = found(&anna(), 1, &[copy("INBOX", None), copy("INBOX", None)]);
    assert_eq!(figures(&there, &[]).doubled, 1);
}

#[test]
fn a_message_in_a_strangers_mailbox_is_an_exception() {
    let there = found(&bert(), 1, &[copy("INBOX", None)]);
    let figures = figures(&there, &[(1, anna())]);
    assert_eq!(figures.lost, 1);
    assert!(figures.exceptions.iter().any(|line| line.contains("bert@company.example, for whom it was not")));
}

#[test]
fn changes_that_were_not_carried_over_are_exceptions() {
    let done =
        Done { read: BTreeSet::from([(anna(), 5)]), filed: BTreeSet::from([(anna(), 5)]), ..Done::default() };
    let promised = Promised::from([((5, anna()), None)]);
    let nothing = Listed::default();
    let untouched = found(&anna(), 5, &[copy("INBOX", None)]);
    let figures = untouched.figures(&promised, &done, &nothing);
    assert_eq!((figures.changes_replayed, figures.exceptions.len()), (0, 2));
    assert!(!untouched.is_whole(&promised, &done, &nothing));
    let touched = found(&anna(), 5, &[Copy { flags: vec![Flag::Seen], ..copy("Archive", None) }]);
    let figures = touched.figures(&promised, &done, &nothing);
    assert_eq!((figures.changes_replayed, figures.exceptions.len()), (2, 0));
    assert!(touched.is_whole(&promised, &done, &nothing));
}

#[test]
fn only_what_the_primary_doubled_by_itself_is_taken_off_the_list() {
    let listed = Listed(vec![
        "AAAA from <x@y> to <z>: it stands 2 times in \"INBOX\"".into(),
        "BBBB from <x@y> to <z>: it stands 2 times in \"INBOX\"".into(),
        "AAAA from <x@y> to <z>: set aside: why".into(),
    ]);
    let by_primary = found(&anna(), 1, &[copy("INBOX", Some("4F2A61")), copy("INBOX", Some("4F2A61"))]);
    assert_eq!(by_primary.unexplained(&listed).len(), 2);
    let by_us = found(&anna(), 1, &[copy("INBOX", None), copy("INBOX", None)]);
    assert_eq!(by_us.unexplained(&listed).len(), 3);
}

#[test]
fn what_stormpost_keeps_and_lists_is_an_exception_and_not_lost() {
    let kept = TraceId::new(Time::from_seconds(1), [1; 10]);
    let gone = TraceId::new(Time::from_seconds(1), [2; 10]);
    let promised =
        Promised::from([((1, anna()), Some(kept)), ((2, anna()), Some(gone)), ((3, anna()), None)]);
    let listed = Listed(vec![format!("{kept}.0123 from <x@y> to <z>: set aside: loop")]);
    let figures = Found::default().figures(&promised, &Done::default(), &listed);
    assert_eq!((figures.seen, figures.lost, figures.exceptions.len()), (0, 2, 3), "{:?}", figures.exceptions);
    assert!(figures.exceptions[2].contains("set aside: loop"), "{:?}", figures.exceptions);
    let promised = Promised::from([((1, anna()), Some(kept))]);
    assert!(Found::default().is_whole(&promised, &Done::default(), &listed));
    assert!(!Found::default().is_whole(&promised, &Done::default(), &Listed::default()));
}

#[test]
fn failures_while_stormpost_was_dead_are_told_together() {
    let killed = Instant::now();
    let at = |ms: u64| killed + Duration::from_millis(ms);
    let times = Times { killed, dead: (at(5_000), at(5_400)), returned: at(20_000) };
    let failure =
        |from, until| Failure { began: at(from), ended: at(until), words: format!("anna, begun at {from}") };
    let done = Done {
        failures: vec![
            failure(4_990, 5_001),
            failure(5_100, 5_101),
            failure(5_399, 6_000),
            failure(9_000, 9_100),
        ],
        ..Done::default()
    };
    let remarks = Found::default().remarks(&[], &done, &times);
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    assert!(remarks[0].starts_with("3 tries of people failed while Stormpost itself was dead, for 0.4 s"));
    assert_eq!(remarks[1], "9.1 s after the kill anna, begun at 9000");
}

#[test]
fn who_was_refused_for_good_waits_no_longer() {
    let killed = Instant::now();
    let at = |ms: u64| killed + Duration::from_millis(ms);
    let times = Times { killed, dead: (at(5_000), at(5_400)), returned: at(20_000) };
    let letter = |acknowledged, refused: Option<&str>| Letter {
        number: 1,
        to: anna(),
        began: at(1_000),
        acknowledged,
        trace: None,
        refused: refused.map(str::to_owned),
    };
    let outbox = Outbox::with(vec![
        letter(Some(at(1_001)), None),
        letter(Some(at(21_000)), None),
        letter(None, None),
        letter(None, Some("554 5.6.0 a NUL byte")),
    ]);
    assert_eq!(twin(&outbox, &Done::default(), &times).waiting_outside, 2);
}
