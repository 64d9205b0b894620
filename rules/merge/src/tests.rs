use crate::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use words_mail::{Time, TraceId};

const MESSAGE: &str = "Received: from a by b\r\nMessage-ID: <1@x>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\
    From: Anna <anna@x>\r\nTo: ben@y,\r\n carl@z\r\nSubject: hello\r\n\tthere\r\n\r\nLine 1\r\n\r\nLine 2\r\n";

fn same(text: &str) -> bool {
    ContentHasher::hash(text.as_bytes()) == ContentHasher::hash(MESSAGE.as_bytes())
}

#[test]
fn what_mail_systems_do_in_passing_does_not_change_the_content() {
    for (what, text) in [
        ("a trace header on top", format!("Stormpost-Trace: x\r\n{MESSAGE}")),
        ("bare line feeds", MESSAGE.replace("\r\n", "\n")),
        ("blank lines at the end", format!("{MESSAGE}\r\n\r\n")),
        ("no line end at the end", MESSAGE.trim_end().to_owned()),
        ("refolded", MESSAGE.replace("\r\n carl@z", " carl@z").replace("hello\r\n\tthere", "hello there")),
        ("letter case of names", MESSAGE.replace("Message-ID", "MESSAGE-Id").replace("Subject", "subject")),
        ("space before the colon", MESSAGE.replace("Subject:", "Subject :")),
        ("white space at the end", MESSAGE.replace("<1@x>\r\n", "<1@x>  \r\n")),
        (
            "order",
            MESSAGE.replace("Message-ID: <1@x>\r\n", "").replace("From:", "Message-ID: <1@x>\r\nFrom:"),
        ),
        ("an mbox line", format!("From anna@x Sun Nov 22\n{MESSAGE}")),
    ] {
        assert!(same(&text), "{what}");
    }
}

#[test]
fn another_message_has_another_content() {
    for (what, text) in [
        ("message id", MESSAGE.replace("<1@x>", "<2@x>")),
        ("no message id", MESSAGE.replace("Message-ID: <1@x>\r\n", "")),
        ("recipient", MESSAGE.replace("carl@z", "dora@z")),
        ("recipient in another field", MESSAGE.replace("To:", "Cc:")),
        ("subject", MESSAGE.replace("there", "where")),
        ("a second subject", MESSAGE.replace("\r\n\tthere", "\r\nSubject: there")),
        ("body", MESSAGE.replace("Line 2", "Line 3")),
        ("a blank line lost", MESSAGE.replace("1\r\n\r\nL", "1\r\nL")),
        ("a line end inside", MESSAGE.replace("Line 2", "Line\r\n2")),
        ("a space in the body", MESSAGE.replace("Line 2", "Line 2 ")),
    ] {
        assert!(!same(&text), "{what}");
    }
}

fn trace(n: u8) -> TraceId {
    TraceId::new(Time::from_seconds(1), [n; 10])
}

fn id(trace_n: Option<u8>, content: Option<u8>) -> Identity {
    Identity { trace: trace_n.map(trace), content: content.map(|c| ContentHash([c; 32])) }
}

#[test]
fn messages_are_paired_as_multisets() {
    let (a, b) = (Some(1), Some(2));
    type Row = (&'static str, Vec<Identity>, Vec<Identity>, Vec<(usize, usize)>);
    let table: Vec<Row> = vec![
        ("by trace id", vec![id(a, None)], vec![id(a, Some(9))], vec![(0, 0)]),
        ("by content", vec![id(None, a)], vec![id(None, a)], vec![(0, 0)]),
        ("by content, the header lost there", vec![id(a, a)], vec![id(None, a)], vec![(0, 0)]),
        ("two acceptances of equal words stay two", vec![id(a, a)], vec![id(b, a)], vec![]),
        ("two equal ones need two there", vec![id(None, a), id(None, a)], vec![id(None, a)], vec![(0, 0)]),
        (
            "the second carrier of a trace id that differs is its own message",
            vec![id(a, a)],
            vec![id(a, b), id(a, a)],
            vec![(0, 1)],
        ),
        ("a disclaimer was added there", vec![id(a, a)], vec![id(a, b)], vec![(0, 0)]),
        ("unread contents are not equal", vec![id(None, None)], vec![id(None, None)], vec![]),
        (
            "the one without a header prefers the one without",
            vec![id(None, a), id(a, a)],
            vec![id(a, a), id(None, a)],
            vec![(0, 1), (1, 0)],
        ),
    ];
    for (what, here, there, both) in table {
        let pairing = pair(&here, &there);
        assert_eq!(pairing.both, both, "{what}");
        assert_eq!(pairing.both.len() + pairing.here.len(), here.len(), "{what}");
        assert_eq!(pairing.both.len() + pairing.there.len(), there.len(), "{what}");
    }
}

fn place(folder: &str, flags: &[&str]) -> Place {
    Place::new(folder, flags)
}

#[test]
fn what_people_did_in_the_outage_is_carried_to_the_settled_copy() {
    let base = || Some(place("INBOX", &[]));
    let received = |here: Here, there: There| Sides { origin: Origin::Received, agreed: base(), here, there };
    let untouched = || There::At(place("INBOX", &[]));
    let change = |add: &[&str]| {
        Step::Flag(FlagChange { add: add.iter().map(|f| (*f).to_owned()).collect(), remove: Flags::new() })
    };
    for (what, copy, steps) in [
        ("nothing", received(Here::At(place("INBOX", &[])), untouched()), vec![]),
        ("read", received(Here::At(place("INBOX", &["\\Seen"])), untouched()), vec![change(&["\\seen"])]),
        (
            "read and filed",
            received(Here::At(place("Work", &["\\Seen"])), untouched()),
            vec![change(&["\\seen"]), Step::Move("Work".into())],
        ),
        ("deleted", received(Here::Gone, untouched()), vec![Step::Expunge]),
    ] {
        let merged = merge(&copy, "Trash");
        assert_eq!((merged.there, merged.here, merged.listed), (steps, vec![], None), "{what}");
    }
    for here in [Here::At(place("Work", &["\\Seen"])), Here::Gone] {
        let merged = merge(&received(here, There::Never), "Trash");
        assert!(merged.waits && merged.there.is_empty() && merged.here.is_empty(), "transport comes first");
    }
}

#[test]
fn what_people_wrote_is_imported_once() {
    let written = |there| Sides {
        origin: Origin::Written,
        agreed: None,
        here: Here::At(place("Sent", &["\\Seen"])),
        there,
    };
    let merged = merge(&written(There::Never), "Trash");
    assert_eq!(merged.there, [Step::Append(place("Sent", &["\\Seen"]))]);
    assert_eq!(merged.agreed, Some(place("Sent", &["\\Seen"])));
    let filed = merge(&written(There::At(place("Sent", &["\\Seen"]))), "Trash");
    assert!(filed.there.is_empty() && filed.here.is_empty(), "the primary has filed it already");
    let gone = Sides { origin: Origin::Written, agreed: None, here: Here::Gone, there: There::Never };
    assert_eq!(merge(&gone, "Trash"), Merged::default(), "a draft thrown away stays here");
}

#[test]
fn the_primarys_judgement_is_followed_and_a_delete_loses_against_a_touch() {
    let base = Some(place("INBOX", &[]));
    let copy =
        |here: Here, there: There| Sides { origin: Origin::Received, agreed: base.clone(), here, there };
    let junked = merge(&copy(Here::At(place("INBOX", &[])), There::At(place("Junk", &[]))), "Trash");
    assert_eq!((junked.here, junked.there), (vec![Step::Move("Junk".into())], vec![]));
    let twice = merge(&copy(Here::At(place("Work", &[])), There::At(place("Junk", &[]))), "Trash");
    assert_eq!((twice.agreed, twice.listed), (Some(place("Work", &[])), Some(Listed::MovedTwice)));
    let answered = merge(&copy(Here::Gone, There::At(place("INBOX", &["\\Answered"]))), "Trash");
    assert_eq!(answered.there, [Step::Move("Trash".into())]);
    assert_eq!(answered.here, [Step::Append(place("Trash", &["\\answered"]))]);
    assert_eq!(answered.listed, Some(Listed::DeletedHereTouchedThere));
    let removed = merge(&copy(Here::At(place("INBOX", &[])), There::Gone), "Trash");
    assert_eq!((removed.here, removed.agreed), (vec![Step::Expunge], None));
}

#[test]
fn folders_are_united_by_use_then_by_name() {
    let folder =
        |path: &[&str], special| Folder { path: path.iter().map(|p| (*p).to_owned()).collect(), special };
    let here = [
        folder(&["INBOX"], None),
        folder(&["Sent"], Some(Use::Sent)),
        folder(&["Trash"], Some(Use::Trash)),
        folder(&["Work", "2026"], None),
        folder(&["Work"], None),
    ];
    let there = [
        folder(&["Inbox"], None),
        folder(&["Sent"], None),
        folder(&["Sent Items"], Some(Use::Sent)),
        folder(&["Trash"], Some(Use::Junk)),
        folder(&["Work"], None),
    ];
    let united = unite(&here, &there);
    let path = |p: &[&str]| p.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    assert_eq!(united.there[&path(&["INBOX"])], path(&["Inbox"]));
    assert_eq!(united.there[&path(&["Sent"])], path(&["Sent Items"]));
    assert_eq!(united.there[&path(&["Work"])], path(&["Work"]));
    assert_eq!(
        united.make,
        [path(&["Trash"]), path(&["Work", "2026"])],
        "what they call Trash is their Junk"
    );
}

fn places() -> impl Strategy<Value = Place> {
    let folder = prop_oneof![Just("INBOX"), Just("Work"), Just("Junk"), Just("Trash")];
    let flag = prop_oneof![Just("\\seen"), Just("\\flagged"), Just("\\answered"), Just("work")];
    (folder, prop::collection::vec(flag, 0..4)).prop_map(|(folder, flags)| Place::new(folder, &flags))
}

fn copies() -> impl Strategy<Value = Sides> {
    let here = prop_oneof![4 => places().prop_map(Here::At), 1 => Just(Here::Gone), 1 => Just(Here::Never)];
    let there =
        prop_oneof![4 => places().prop_map(There::At), 1 => Just(There::Gone), 1 => Just(There::Never)];
    let origin = prop_oneof![Just(Origin::Received), Just(Origin::Written)];
    // Often untouched on a side, or nothing interesting would meet.
    (origin, prop::option::of(places()), here, there, any::<[bool; 2]>()).prop_map(
        |(origin, agreed, mut here, mut there, untouched)| {
            if let (Some(base), Here::At(at), true) = (&agreed, &mut here, untouched[0]) {
                *at = base.clone();
            }
            if let (Some(base), There::At(at), true) = (&agreed, &mut there, untouched[1]) {
                *at = base.clone();
            }
            Sides { origin, agreed, here, there }
        },
    )
}

/// Carries steps out on one side; how many copies there are afterwards is what the tests count.
fn carry_out(mut side: Vec<Place>, steps: &[Step]) -> Vec<Place> {
    for step in steps {
        match step {
            Step::Append(place) => side.push(place.clone()),
            Step::Expunge => {
                side.pop().expect("nothing to expunge");
            }
            Step::Move(folder) => side.last_mut().expect("nothing to move").folder = folder.clone(),
            Step::Flag(change) => {
                let flags = &mut side.last_mut().expect("nothing to flag").flags;
                flags.extend(change.add.iter().cloned());
                flags.retain(|flag| !change.remove.contains(flag));
            }
        }
    }
    side
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_merge_converges_and_neither_loses_nor_doubles(copy in copies()) {
        let merged = merge(&copy, "Trash");
        let here = if let Here::At(place) = &copy.here { vec![place.clone()] } else { vec![] };
        let there = if let There::At(place) = &copy.there { vec![place.clone()] } else { vec![] };
        let (after_here, after_there) =
            (carry_out(here.clone(), &merged.here), carry_out(there.clone(), &merged.there));
        prop_assert!(after_here.len() <= 1 && after_there.len() <= 1, "doubled");
        if merged.waits {
            prop_assert_eq!((&after_here, &after_there), (&here, &there), "what waits is left alone");
            return Ok(());
        }
        prop_assert_eq!(&after_here, &after_there, "both sides agree");
        prop_assert_eq!(after_here.first(), merged.agreed.as_ref());
        // Gone only if a person removed it on one side and nobody touched it on the other.
        if after_here.is_empty() && !(here.is_empty() && there.is_empty()) {
            let left = here.first().or(there.first());
            prop_assert!(left == copy.agreed.as_ref());
            prop_assert!(copy.here == Here::Gone || copy.there == There::Gone);
        }
        // A flag that one side set since is still there, unless the other cleared it.
        if let (Some(now), Some(base)) = (&merged.agreed, &copy.agreed) {
            let set = |side: &[Place]| side.first().map(|p| p.flags.difference(&base.flags).cloned().collect::<BTreeSet<_>>());
            for flags in [set(&here), set(&there)].into_iter().flatten() {
                prop_assert!(flags.is_subset(&now.flags));
            }
        }
        // Planning again, from what was agreed, asks for nothing more.
        if let Some(place) = merged.agreed {
            let again = Sides {
                origin: copy.origin,
                agreed: Some(place.clone()),
                here: Here::At(place.clone()),
                there: There::At(place.clone()),
            };
            let second = merge(&again, "Trash");
            prop_assert!(second.here.is_empty() && second.there.is_empty() && second.listed.is_none());
        }
    }

    #[test]
    fn pairing_pairs_nothing_twice_and_everything_it_can(
        here in prop::collection::vec((prop::option::of(0u8..4), prop::option::of(0u8..4)), 0..12),
        there in prop::collection::vec((prop::option::of(0u8..4), prop::option::of(0u8..4)), 0..12),
    ) {
        let ids = |list: &[(Option<u8>, Option<u8>)]| list.iter().map(|(t, c)| id(*t, *c)).collect::<Vec<_>>();
        let (here, there) = (ids(&here), ids(&there));
        let pairing = pair(&here, &there);
        let mut left: Vec<usize> = pairing.both.iter().map(|p| p.0).chain(pairing.here.clone()).collect();
        let mut right: Vec<usize> = pairing.both.iter().map(|p| p.1).chain(pairing.there.clone()).collect();
        left.sort_unstable();
        right.sort_unstable();
        prop_assert_eq!(left, (0..here.len()).collect::<Vec<_>>());
        prop_assert_eq!(right, (0..there.len()).collect::<Vec<_>>());
        let may = |a: &Identity, b: &Identity| {
            let by_trace = a.trace.is_some() && a.trace == b.trace;
            let by_content = a.content.is_some() && a.content == b.content;
            by_trace || (by_content && (a.trace.is_none() || b.trace.is_none()))
        };
        for (a, b) in &pairing.both {
            prop_assert!(may(&here[*a], &there[*b]));
        }
        for a in &pairing.here {
            for b in &pairing.there {
                prop_assert!(!may(&here[*a], &there[*b]), "these two should have been paired");
            }
        }
    }

    #[test]
    fn however_a_message_is_cut_its_hash_is_the_same(
        bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), Just(b' '), any::<u8>()], 0..300),
        header in any::<bool>(),
        cuts in prop::collection::vec(1usize..40, 0..30),
    ) {
        let mut message = if header { MESSAGE.as_bytes().to_vec() } else { Vec::new() };
        message.extend(bytes);
        let mut hasher = ContentHasher::new();
        let mut rest = &message[..];
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            hasher.write(piece);
            rest = after;
        }
        hasher.write(rest);
        prop_assert_eq!(hasher.finish(), ContentHasher::hash(&message));
    }
}
