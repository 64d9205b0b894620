use crate::*;
use std::collections::HashSet;
use std::time::Duration;
use words_mail::{State, Time};

fn blank() -> Known {
    Known {
        door: Door::Program,
        presented: Presented::Password,
        standing: AccountStanding::Live,
        ours_alone: false,
        has_directory: false,
        plane: State::Ready,
        captured_allowed: false,
        many_noes: false,
        within_limits: Some(true),
        digest: Some(false),
        device: Some(Match::None),
        local: Some(Match::None),
        allowance: Some(Allowance::Free),
        primary: None,
        verifier: None,
        directory: None,
    }
}

fn down() -> Known {
    Known { plane: State::Suspect, captured_allowed: true, primary: Some(Answer::NoAnswer), ..blank() }
}

const PLAIN: Follow = Follow {
    capture: false,
    suspend_verifier: false,
    suspend_account: false,
    count_failure: false,
    contradicted: false,
    no_answer: false,
};
const FAILED: Follow = Follow { count_failure: true, ..PLAIN };
const HEARD: Follow = Follow { no_answer: true, ..PLAIN };
const SAME: Verifier = Verifier::Same { suspended: false };
const GONE: Verifier = Verifier::Same { suspended: true };

#[test]
fn in_peace_the_primary_is_asked_and_its_yes_is_captured() {
    assert_eq!(next(&blank()), Step::Ask(Question::Primary(Duration::from_secs(10))));
    let yes = Known { primary: Some(Answer::Yes), ..blank() };
    assert_eq!(next(&yes), Step::In(Evidence::Primary, Follow { capture: true, ..PLAIN }));
}

#[test]
fn a_no_counts_only_against_the_password_the_verifier_knows() {
    let no = Known { primary: Some(Answer::No), ..blank() };
    assert_eq!(next(&no), Step::Ask(Question::Verifier));
    for (verifier, many_noes, follow) in [
        (SAME, false, Follow { suspend_verifier: true, contradicted: true, ..FAILED }),
        (SAME, true, Follow { contradicted: true, ..FAILED }),
        (GONE, false, Follow { contradicted: true, ..FAILED }),
        (Verifier::Other, false, FAILED),
        (Verifier::None, false, FAILED),
    ] {
        for plane in [State::Ready, State::Suspect, State::Active, State::Returning, State::Pinned] {
            let known = Known {
                verifier: Some(verifier),
                many_noes,
                plane,
                captured_allowed: plane != State::Ready,
                ..no
            };
            assert_eq!(
                next(&known),
                Step::Out(Refusal::Wrong, follow),
                "{verifier:?} {plane}: a no is an answer"
            );
        }
    }
}

#[test]
fn a_verifier_answers_only_where_the_primary_does_not_and_only_when_ordered() {
    let peace = Known { captured_allowed: false, plane: State::Ready, ..down() };
    assert_eq!(next(&peace), Step::Out(Refusal::CannotTell, HEARD));
    assert_eq!(next(&down()), Step::Ask(Question::Verifier));
    for (verifier, step) in [
        (SAME, Step::In(Evidence::Verifier, HEARD)),
        (GONE, Step::Out(Refusal::CannotTell, HEARD)),
        (Verifier::None, Step::Out(Refusal::CannotTell, HEARD)),
        (Verifier::Other, Step::Out(Refusal::CannotTellChanged, Follow { no_answer: true, ..FAILED })),
    ] {
        assert_eq!(next(&Known { verifier: Some(verifier), ..down() }), step, "{verifier:?}");
    }
}

#[test]
fn a_living_directory_answers_where_the_verifier_cannot() {
    let changed = Known { has_directory: true, verifier: Some(Verifier::Other), ..down() };
    assert_eq!(next(&changed), Step::Ask(Question::Directory));
    for (answer, step) in [
        (Answer::Yes, Step::In(Evidence::Directory, HEARD)),
        (Answer::No, Step::Out(Refusal::Wrong, Follow { no_answer: true, ..FAILED })),
        (
            Answer::Disabled,
            Step::Out(Refusal::Wrong, Follow { no_answer: true, suspend_account: true, ..FAILED }),
        ),
        (Answer::NoAnswer, Step::Out(Refusal::CannotTellChanged, Follow { no_answer: true, ..FAILED })),
    ] {
        assert_eq!(next(&Known { directory: Some(answer), ..changed }), step, "{answer:?}");
    }
    let known = Known { has_directory: true, verifier: Some(SAME), ..down() };
    assert_eq!(next(&known), Step::In(Evidence::Verifier, HEARD), "the directory is not asked without need");
}

#[test]
fn limits_come_first_and_nobody_outside_is_asked_for_an_account_that_may_not_sign_in() {
    let fresh = Known { within_limits: None, ..blank() };
    assert_eq!(next(&fresh), Step::Ask(Question::Limits));
    assert_eq!(next(&Known { within_limits: Some(false), ..blank() }), Step::Out(Refusal::TooMany, PLAIN));
    for standing in [AccountStanding::Unknown, AccountStanding::Suspended] {
        // Even the right password, checked a minute ago: a suspension acts at once.
        let known = Known { standing, digest: Some(true), ..blank() };
        assert_eq!(next(&known), Step::Out(Refusal::Wrong, FAILED), "{standing:?}");
    }
}

#[test]
fn what_we_issued_ourselves_works_whatever_the_primary_does() {
    for plane in [State::Ready, State::Active] {
        let base = Known { plane, captured_allowed: plane == State::Active, ..blank() };
        let device = Known { device: Some(Match::Same), ..base };
        assert_eq!(next(&device), Step::In(Evidence::Device, PLAIN));
        let local = Known { local: Some(Match::Same), ..base };
        assert_eq!(next(&local), Step::In(Evidence::Local, PLAIN));
        let digest = Known { digest: Some(true), ..base };
        assert_eq!(next(&digest), Step::In(Evidence::Digest, PLAIN));
    }
    let wrong = Known { ours_alone: true, local: Some(Match::Other), ..blank() };
    assert_eq!(next(&wrong), Step::Out(Refusal::Wrong, FAILED));
}

#[test]
fn a_passkey_works_at_the_web_and_a_code_everywhere() {
    for (presented, door, step) in [
        (Presented::Passkey(true), Door::Web, Step::In(Evidence::Passkey, PLAIN)),
        (Presented::Passkey(true), Door::Program, Step::Out(Refusal::Wrong, FAILED)),
        (Presented::Passkey(false), Door::Web, Step::Out(Refusal::Wrong, FAILED)),
        (Presented::Totp(true), Door::Web, Step::In(Evidence::Totp, PLAIN)),
        (Presented::OneTimeCode(true), Door::Program, Step::In(Evidence::OneTimeCode, PLAIN)),
        (Presented::OneTimeCode(false), Door::Web, Step::Out(Refusal::Wrong, FAILED)),
    ] {
        assert_eq!(next(&Known { presented, door, ..blank() }), step, "{presented:?} {door:?}");
    }
    let suspended = Known {
        presented: Presented::Passkey(true),
        door: Door::Web,
        standing: AccountStanding::Suspended,
        ..blank()
    };
    assert_eq!(next(&suspended), Step::Out(Refusal::Suspended, PLAIN));
}

/// Plays every combination of answers to the end: each question is asked once at most, nobody gets in without
/// positive evidence, a verifier only where ordered, and nothing is ever both in and suspended.
#[test]
fn every_dialogue_ends_and_nobody_gets_in_without_evidence() {
    let answers = [Answer::Yes, Answer::No, Answer::NoAnswer, Answer::Disabled];
    let matches = [Match::None, Match::Same, Match::Other];
    let verifiers = [Verifier::None, SAME, GONE, Verifier::Other];
    let allowances = [Allowance::Free, Allowance::KnownWrong, Allowance::Spent];
    let mut played = 0;
    for code in 0..(4 * 4 * 4 * 3 * 3 * 64 * 3usize) {
        let digit = |place: usize, base: usize| code / place % base;
        let (primary, directory) = (answers[digit(1, 4)], answers[digit(4, 4)]);
        let verifier = verifiers[digit(16, 4)];
        let (device, local) = (matches[digit(64, 3)], matches[digit(192, 3)]);
        let bit = |n: usize| digit(576 << n, 2) == 1;
        let allowance = allowances[digit(576 << 6, 3)];
        let mut known = Known {
            captured_allowed: bit(0),
            has_directory: bit(1),
            many_noes: bit(2),
            ours_alone: bit(3),
            within_limits: None,
            digest: None,
            device: None,
            local: None,
            allowance: None,
            ..blank()
        };
        let (limits, digest) = (bit(4), bit(5));
        let mut asked = HashSet::new();
        let (evidence, follow) = loop {
            match next(&known) {
                Step::Ask(question) => {
                    assert!(asked.insert(format!("{question:?}")), "{question:?} was asked twice");
                    match question {
                        Question::Limits => known.within_limits = Some(limits),
                        Question::Digest => known.digest = Some(digest),
                        Question::Device => known.device = Some(device),
                        Question::Local => known.local = Some(local),
                        Question::Allowance => known.allowance = Some(allowance),
                        Question::Primary(_) => {
                            let right_before = known.verifier == Some(SAME);
                            assert!(allowance == Allowance::Free || right_before, "a guess too many");
                            known.primary = Some(primary);
                        }
                        Question::Verifier => known.verifier = Some(verifier),
                        Question::Directory => known.directory = Some(directory),
                    }
                }
                Step::In(evidence, follow) => break (Some(evidence), follow),
                Step::Out(_, follow) => break (None, follow),
            }
        };
        played += 1;
        let true_for = |e| match e {
            Evidence::Digest => digest,
            Evidence::Device => device == Match::Same,
            Evidence::Local => local == Match::Same,
            Evidence::Primary => primary == Answer::Yes,
            Evidence::Verifier => verifier == SAME && primary == Answer::NoAnswer && known.captured_allowed,
            Evidence::Directory => directory == Answer::Yes && primary == Answer::NoAnswer,
            _ => false,
        };
        assert!(evidence.is_none_or(true_for), "{evidence:?} {known:?}");
        assert!(evidence.is_none() || (limits && !follow.suspend_verifier && !follow.suspend_account));
        assert!(!follow.suspend_verifier || (primary == Answer::No && verifier == SAME && !known.many_noes));
        assert!(!follow.capture || primary == Answer::Yes);
    }
    assert_eq!(played, 110_592);
}

#[test]
fn a_guess_is_put_to_the_primary_so_often_and_what_was_right_before_always() {
    let spent = Known { allowance: Some(Allowance::Spent), ..blank() };
    assert_eq!(next(&Known { allowance: None, ..blank() }), Step::Ask(Question::Allowance));
    assert_eq!(next(&spent), Step::Ask(Question::Verifier));
    let ask = Step::Ask(Question::Primary(Duration::from_secs(10)));
    let guarded = Step::Out(Refusal::Guarded, FAILED);
    for (verifier, step) in
        [(SAME, ask), (GONE, guarded), (Verifier::Other, guarded), (Verifier::None, guarded)]
    {
        assert_eq!(next(&Known { verifier: Some(verifier), ..spent }), step, "{verifier:?}");
    }
    let again = Known { allowance: Some(Allowance::KnownWrong), ..blank() };
    assert_eq!(next(&again), Step::Out(Refusal::Wrong, PLAIN), "a repeat costs nobody anything");
    // The attacked person works on through an outage, too.
    let down = Known { verifier: Some(SAME), allowance: Some(Allowance::Spent), ..down() };
    assert_eq!(next(&down), Step::In(Evidence::Verifier, HEARD));
}

#[test]
fn as_many_wrong_passwords_as_may_be_and_then_silence_until_it_was_quiet() {
    let limits = Limits::default();
    let minutes = |n: u64| Duration::from_secs(n * 60);
    for (wrong, quiet, all, may) in [
        (0, minutes(99), 0, true),
        (2, minutes(0), 2, true),
        (3, minutes(0), 3, false),
        (3, minutes(29), 3, false),
        (3, minutes(30), 3, true),
        (0, minutes(99), 59, true),
        (0, minutes(99), 60, false),
    ] {
        assert_eq!(limits.may_ask(Asked { wrong, quiet, all }), may, "{wrong} {quiet:?} {all}");
    }
}

/// A primary that locks at five, and counts on until half an hour has passed without a wrong password, as a directory
/// does. Whatever the pace of the guesser, it is never reached.
#[test]
fn no_pace_of_guessing_locks_an_account_at_the_primary() {
    let limits = Limits::default();
    for pace in [1_u64, 60, 300, 599, 600, 900, 1_799, 1_800, 1_801, 7_200] {
        let (mut ours, mut theirs, mut last) = (0_u32, 0_u32, None);
        for at in (0..20_000).map(|n| n * pace) {
            let quiet = last.map_or(Duration::MAX, |last| Duration::from_secs(at - last));
            if !limits.may_ask(Asked { wrong: ours, quiet, all: 0 }) {
                continue;
            }
            let blank = quiet >= limits.quiet;
            (ours, theirs) = if blank { (1, 1) } else { (ours + 1, theirs + 1) };
            last = Some(at);
            assert!(theirs < 5, "locked at a guess every {pace} s");
        }
    }
}

#[test]
fn a_session_goes_on_for_a_quarter_of_an_hour_after_the_primarys_yes() {
    let minutes = |n: u64| Duration::from_secs(n * 60);
    let bound = minutes(15);
    for (confirmed, unasked, plane, bound, goes_on) in [
        (15, None, State::Ready, bound, true),
        (16, None, State::Ready, bound, false),
        (600, None, State::Suspect, bound, true),
        (600, None, State::Active, bound, true),
        (600, Some(10), State::Ready, bound, true),
        (600, Some(16), State::Ready, bound, false),
        (5, Some(600), State::Ready, bound, true),
        (3, None, State::Ready, minutes(2), false),
        (16, None, State::Ready, minutes(60), false),
    ] {
        let serves = evidence_serves(minutes(confirmed), unasked.map(minutes), plane, bound);
        assert_eq!(serves, goes_on, "{confirmed} {unasked:?} {plane} {bound:?}");
    }
}

#[test]
fn many_contradicted_verifiers_are_about_the_primary() {
    let now = Time::from_seconds(10_000);
    let lately = |n| vec![now.before(Duration::from_secs(60)); n];
    assert!(!many_noes(&lately(4), 50, now) && many_noes(&lately(5), 50, now));
    assert!(!many_noes(&lately(20), 1_000, now) && many_noes(&lately(50), 1_000, now));
    assert!(!many_noes(&[Time::from_seconds(1); 50], 50, now), "what was long ago does not count");
}

#[test]
fn a_digest_serves_for_fifteen_minutes() {
    let checked = Time::from_seconds(1_000);
    for (now, serves) in [(1_000, true), (1_900, true), (1_901, false), (999, false)] {
        assert_eq!(digest_serves(checked, Time::from_seconds(now)), serves, "{now}");
    }
}

#[test]
fn a_temporary_refusal_never_asks_for_another_password() {
    assert!(Refusal::CannotTell.is_temporary() && Refusal::TooMany.is_temporary());
    assert!(!Refusal::Wrong.is_temporary() && !Refusal::Suspended.is_temporary());
}
