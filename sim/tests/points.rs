//! Every named place in the source where a crash leaves a state of its own: in some life the node dies exactly there,
//! by the kill of its process and by a power cut, and the judges find nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use sim::fate::Plan;
use sim::life::{Options, Verdict, live};
use sim::lives::{Shared, in_turn};
use sim::power::{Armed, Crash};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Places that no life comes by, and where they are tested instead.
const ELSEWHERE: [(&str, &str); 5] = [
    ("log.erase.", "erasing is asked for by a person; stores/log kills it at each place"),
    ("mailbox.collected", "collecting is asked for by the program's upkeep; stores/mailbox kills it there"),
    ("deliver.redirect.before", "redirecting is asked for by a person; roads/deliver kills it there"),
    ("notify.", "notices leave the house; roads/notify kills it at each place"),
    ("backup.", "copies are made by the program; stores/backup kills it there"),
];
/// Lives copy no mailboxes; `roads/mirror/src/tests/pull/points.rs` kills the node at each of these.
const PULLING: [&str; 15] = [
    "mailbox.mirrored",
    "mirror.appended",
    "mirror.before_close",
    "mirror.before_expunge",
    "mirror.before_flags",
    "mirror.before_folder",
    "mirror.before_link",
    "mirror.before_looked",
    "mirror.before_pair",
    "mirror.before_pull",
    "mirror.before_shift",
    "mirror.before_trash",
    "mirror.before_unlink",
    "mirror.paired",
    "mirror.pulled",
];
/// Lives in which it is seen where lives come by.
const SCOUTS: u64 = 100;
/// Scouts that came by a place and are sent to die there, for each way of dying.
const DEATHS: usize = 2;

/// The same where nobody hears what became of a message. Other places are passed only after a death there, while people
/// throw away what came.
const DEATHS_AT_THE_DOT: usize = 20;
const DOT: &str = "deliver.dot.after";

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_test {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            found.push(path);
        }
    }
}

/// The names in the production code: arguments of `crash_point`, and those of tables of places.
fn names() -> BTreeSet<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for room in ["words", "rules", "stores", "roads"] {
        for entry in fs::read_dir(top.join(room)).unwrap().flatten() {
            rust_files(&entry.path().join("src"), &mut files);
        }
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        if !production.contains("crash_point") {
            continue;
        }
        for (at, _) in production.match_indices('"') {
            let before = production[..at].trim_end();
            let name: String = production[at + 1..].chars().take_while(|c| *c != '"').collect();
            let is_argument = before.ends_with("crash_point(");
            let is_in_table = before.ends_with(':') && name.starts_with("log.");
            if (is_argument || is_in_table) && name.contains('.') {
                names.insert(name);
            }
        }
    }
    names
}

fn is_elsewhere(name: &str) -> bool {
    PULLING.contains(&name) || ELSEWHERE.iter().any(|(start, _)| name.starts_with(start))
}

/// A life that comes by a place.
#[derive(Clone, Copy, Debug)]
struct Way {
    seed: u64,
    /// How often it comes by.
    times: u64,
    /// Where the node died before, for a place that is only passed after a death elsewhere.
    before: Option<Armed>,
    /// Whether people threw away most of what came.
    tidy: bool,
}

type Ways = BTreeMap<&'static str, Vec<Way>>;

/// Lives, and dies where it is told; notes which places are passed.
fn lived(seed: u64, tidy: bool, deaths: &[Armed], ways: &Shared<Ways>) -> Verdict {
    let plan = Plan { tidy, ..Plan::of(seed) }.with_deaths(deaths.iter().copied());
    let verdict = live(&plan, Options::default());
    let (mut ways, before) = (ways.lock(), deaths.last().copied());
    for (name, times) in &verdict.passed {
        ways.entry(name).or_default().push(Way { seed, times: *times, before, tidy });
    }
    verdict
}

/// The lives in which the node is to die at a place: early there, and in the middle of what happens there; each by kill
/// and by power cut.
fn deaths(name: &'static str, ways: &[Way]) -> Vec<(Armed, Way)> {
    let mut deaths = Vec::new();
    let most = if name == DOT { DEATHS_AT_THE_DOT } else { DEATHS };
    let mut ways = ways.to_vec();
    ways.sort_by_key(|way| way.seed);
    for (nth, way) in ways.iter().take(most).enumerate() {
        let after = if nth == 0 { 0 } else { way.times / 2 };
        let armed = |crash| Armed { name: Some(name), after, crash };
        let way = Way { tidy: way.tidy || name == DOT, ..*way };
        deaths.extend([Crash::Kill, Crash::Power].map(|crash| (armed(crash), way)));
    }
    deaths
}

fn replay(way: &Way, deaths: &[Armed]) -> String {
    let said = |armed: &Armed| {
        let name = armed.name.unwrap_or_default();
        format!("{name}/{}/{:?}", armed.after, armed.crash).to_lowercase()
    };
    let deaths: Vec<String> = deaths.iter().map(said).collect();
    let (deaths, Way { seed, tidy, .. }) = (deaths.join(","), way);
    format!("SIM_SEED={seed} SIM_TIDY={tidy} SIM_DEATHS={deaths} cargo run -p sim")
}

#[test]
fn the_node_dies_at_every_named_place_and_nothing_is_lost() {
    let names = names();
    assert!(names.len() > 40, "only {} names were found in the source", names.len());
    let (scouted, found) = (Shared::default(), Shared::default());
    in_turn((1..=SCOUTS).collect(), |seed| drop(lived(seed, Plan::of(seed).tidy, &[], &scouted)));
    let scouted: Ways = scouted.take();

    let died: Shared<BTreeSet<&str>> = Shared::default();
    let wrong: Shared<Vec<String>> = Shared::default();
    let die = |(armed, way): (Armed, Way)| {
        let both: Vec<Armed> = way.before.into_iter().chain([armed]).collect();
        let verdict = lived(way.seed, way.tidy, &both, &found);
        died.lock().extend(verdict.died_at.iter());
        if !verdict.findings.is_empty() {
            wrong.lock().push(format!("{:#?}\n  {}", verdict.findings, replay(&way, &both)));
        }
    };
    in_turn(scouted.iter().flat_map(|(name, ways)| deaths(name, ways)).collect(), die);
    // Places that are passed only where the node died a moment ago.
    let mut later: Ways = found.take();
    later.retain(|name, _| !scouted.contains_key(name));
    in_turn(later.iter().flat_map(|(name, ways)| deaths(name, ways)).collect(), die);

    let passed: BTreeSet<&str> = scouted.keys().chain(later.keys()).copied().collect();
    let unknown: Vec<&&str> = passed.iter().filter(|name| !names.contains(**name)).collect();
    assert!(unknown.is_empty(), "passed and not found in the source: {unknown:?}");
    let missed: Vec<&String> =
        names.iter().filter(|name| !passed.contains(name.as_str()) && !is_elsewhere(name)).collect();
    assert!(missed.is_empty(), "no life comes by {missed:?}");
    let wrong = wrong.take();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let died = died.take();
    let alive: Vec<&&str> = passed.iter().filter(|name| !died.contains(**name)).collect();
    assert!(alive.is_empty(), "nobody died at {alive:?}");
}
