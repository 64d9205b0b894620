//! The simulation as a test: many lives, the controls, and whether a seed lives the same life twice.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use sim::fate::Plan;
use sim::life::{Options, Verdict, live};
use sim::lives::lives;
use sim::node::Build;
use std::collections::BTreeMap;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn replay(seed: u64) -> String {
    format!("SIM_SEED={seed} cargo run -p sim")
}

#[test]
fn no_life_loses_doubles_or_forgets_anything() {
    let (first, count) = (number("SIM_FIRST", 1), number("SIM_SEEDS", 2_000));
    let mut failed: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let (mut acknowledged, mut crashed) = (0, 0);
    lives(first, count, Options::default(), |seed, verdict| {
        acknowledged += verdict.acknowledged;
        crashed += verdict.lives - 1;
        if !verdict.findings.is_empty() {
            failed.insert(seed, verdict.findings);
        }
        failed.len() < 5
    });
    for (seed, findings) in &failed {
        println!("seed {seed}: {findings:#?}\n  {}", replay(*seed));
    }
    assert!(failed.is_empty(), "{} lives failed; each is lived again by the line below it", failed.len());
    // A simulation in which nothing happens finds nothing.
    assert!(acknowledged as u64 > count * 4, "only {acknowledged} messages in {count} lives");
    assert!(crashed > count / 2, "only {crashed} crashes in {count} lives");
}

#[test]
fn a_seed_lives_the_same_life_twice() {
    for seed in [3, 7, 31, 178, 196, 1001] {
        let options = Options { keep: true, ..Options::default() };
        let lived = || live(&Plan::of(seed), options);
        let (first, second) = (lived(), lived());
        if first.hash != second.hash {
            panic!("seed {seed} lived two lives: {}", first_difference(&first, &second));
        }
        assert!(first.hash.1 > 20, "seed {seed}: hardly anything happened");
    }
}

fn first_difference(first: &Verdict, second: &Verdict) -> String {
    let pairs = first.lines.iter().zip(&second.lines).enumerate();
    match pairs.into_iter().find(|(_, (a, b))| a != b) {
        Some((at, (a, b))) => format!("line {at}\n  {a}\n  {b}"),
        None => format!("{} lines and {} lines", first.lines.len(), second.lines.len()),
    }
}

#[test]
fn a_build_that_acknowledges_before_the_sync_is_caught() {
    caught(Build::AcknowledgesBeforeSync, "lost");
}

#[test]
fn a_build_that_repeats_without_asking_is_caught() {
    caught(Build::RepeatsWithoutAsking, "doubled at the primary");
}

/// A build that is broken on purpose must be caught by what it does, or the judges are blind.
fn caught(build: Build, how: &str) {
    let mut by = None;
    lives(1, number("SIM_SEEDS", 2_000), Options { build, ..Options::default() }, |seed, verdict| {
        if verdict.findings.iter().any(|finding| finding.starts_with(how)) {
            by.get_or_insert(seed);
        }
        by.is_none()
    });
    println!("{build:?} was caught by seed {}", by.expect("it was not caught: the judges are blind"));
}
