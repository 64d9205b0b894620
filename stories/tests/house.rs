//! The rules of the house, read from the files themselves.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Words that say nothing about what a thing is.
const REFUSED: [&str; 11] = [
    "manager",
    "handler",
    "helper",
    "util",
    "common",
    "core",
    "service",
    "engine",
    "processor",
    "misc",
    "info",
];
const ROOMS: [&str; 4] = ["words", "rules", "stores", "roads"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// One crate of the workspace.
struct Crate {
    name: String,
    room: String,
    dir: PathBuf,
    /// What it imports when it is built, without what only its tests import.
    imports: BTreeSet<String>,
}

fn crates() -> Vec<Crate> {
    let top = top();
    let mut found = Vec::new();
    for room in ROOMS {
        for entry in fs::read_dir(top.join(room)).unwrap().flatten() {
            if entry.path().join("Cargo.toml").is_file() {
                found.push(read_crate(room, entry.path()));
            }
        }
    }
    for alone in ["stormpost", "sim", "stories", "bench"] {
        found.push(read_crate(alone, top.join(alone)));
    }
    assert!(found.len() > 10, "the walk found only {} crates", found.len());
    found
}

fn read_crate(room: &str, dir: PathBuf) -> Crate {
    let text = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let name = table["package"]["name"].as_str().unwrap().to_owned();
    let mut imports = BTreeSet::new();
    for section in ["dependencies", "build-dependencies"] {
        if let Some(list) = table.get(section).and_then(toml::Value::as_table) {
            imports.extend(list.keys().cloned());
        }
    }
    Crate { name, room: room.to_owned(), dir, imports }
}

fn room_of(name: &str) -> Option<&str> {
    ROOMS.into_iter().find(|room| name.strip_prefix(room).is_some_and(|rest| rest.starts_with('-')))
}

/// Why `from` may not import `to`, when it may not.
fn objection(from: &Crate, to: &str) -> Option<&'static str> {
    let into = match to {
        "stormpost" | "sim" | "stories" | "bench" => to,
        _ => room_of(to)?,
    };
    let allowed = match from.room.as_str() {
        "words" => to == "words-mail" || to == "words-world",
        "rules" => into == "words",
        "stores" => into == "words" || to == "stores-log",
        "roads" => matches!(into, "words" | "rules" | "stores"),
        "bench" => to == "stories",
        "stories" => false,
        _ => true,
    };
    if allowed {
        return None;
    }
    Some(match from.room.as_str() {
        "words" => "words import nothing of ours but words/mail and words/world",
        "rules" => "rules import words and nothing else",
        "stores" => "stores meet only in durable state: words and stores/log, never another store",
        "roads" => "roads meet only in durable state: words, rules and stores, never another road",
        _ => "stories and bench look from outside and share no code with the product",
    })
}

#[test]
fn rooms_import_only_in_the_allowed_directions() {
    let crates = crates();
    let known: BTreeSet<&str> = crates.iter().map(|one| one.name.as_str()).collect();
    let mut wrong = Vec::new();
    for one in &crates {
        for import in one.imports.iter().filter(|import| known.contains(import.as_str())) {
            if let Some(why) = objection(one, import) {
                wrong.push(format!("{} imports {import}: {why}", one.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_import_check_can_say_no() {
    let one = |room: &str, name: &str| Crate {
        name: name.to_owned(),
        room: room.to_owned(),
        dir: PathBuf::new(),
        imports: BTreeSet::new(),
    };
    for (room, from, to, allowed) in [
        ("words", "words-smtp", "words-mail", true),
        ("words", "words-smtp", "rules-policy", false),
        ("rules", "rules-merge", "words-mail", true),
        ("rules", "rules-merge", "stores-log", false),
        ("stores", "stores-journal", "stores-log", true),
        ("stores", "stores-journal", "stores-mailbox", false),
        ("roads", "roads-accept", "stores-journal", true),
        ("roads", "roads-accept", "roads-deliver", false),
        ("roads", "roads-accept", "stormpost", false),
        ("stories", "stories", "stormpost", false),
        ("stormpost", "stormpost", "roads-accept", true),
    ] {
        assert_eq!(objection(&one(room, from), to).is_none(), allowed, "{from} → {to}");
    }
}

#[test]
fn a_crate_is_called_what_its_folder_is_called() {
    for one in crates() {
        let folder = one.dir.file_name().unwrap().to_str().unwrap();
        let expected = if ROOMS.contains(&one.room.as_str()) {
            format!("{}-{folder}", one.room)
        } else {
            folder.to_owned()
        };
        assert_eq!(one.name, expected);
    }
}

/// All files that git would keep, as paths below the top: everything but what `.gitignore` names and `.git` itself.
fn files() -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let name = entry.file_name();
            if name == "target" || name == ".git" {
                continue;
            }
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let top = top();
    let mut found = Vec::new();
    walk(&top, &mut found);
    found.iter().map(|path| path.strip_prefix(&top).unwrap().to_owned()).collect()
}

fn sources() -> Vec<(PathBuf, String)> {
    let rust = files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    rust.map(|path| (path.clone(), fs::read_to_string(top().join(&path)).unwrap())).collect()
}

/// Whether a name contains a refused word as a word of its own: `helper_a`, `AHelper`, `helpers`, not `scored`.
fn refused(name: &str) -> Option<&'static str> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter == '-' || letter == '.' || letter.is_uppercase() {
            words.push(String::new());
        }
        if letter.is_alphanumeric() {
            words.last_mut().unwrap().extend(letter.to_lowercase());
        }
    }
    let named = |word: &str| words.iter().any(|w| w == word || w.strip_suffix('s') == Some(word));
    // `data` alone says nothing; as SMTP's DATA command or SQL's words it stands inside longer names.
    if words.iter().filter(|w| !w.is_empty()).count() == 1 && named("data") {
        return Some("data");
    }
    REFUSED.into_iter().find(|word| named(word))
}

#[test]
fn names_say_what_a_thing_is() {
    let mut wrong = Vec::new();
    for one in crates() {
        wrong.extend(refused(&one.name).map(|word| format!("crate {}: {word}", one.name)));
    }
    for (path, text) in sources() {
        for part in path.with_extension("").iter().filter_map(|part| part.to_str()) {
            wrong.extend(refused(part).map(|word| format!("{}: {word}", path.display())));
        }
        for line in text.lines().map(str::trim_start) {
            let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line);
            let kind =
                ["struct ", "enum ", "trait ", "type ", "mod "].iter().find_map(|k| line.strip_prefix(k));
            let name = kind.and_then(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next());
            wrong.extend(name.and_then(refused).map(|word| format!("{}: {line}: {word}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "refused words in names:\n{}", wrong.join("\n"));
    assert_eq!(refused("QueueManager"), Some("manager"));
    assert_eq!(refused("utils"), Some("util"));
    assert_eq!(refused("scored_hits"), None);
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > 1_000)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "more than 1,000 lines:\n{}", long.join("\n"));
}

#[test]
fn every_crate_says_what_it_is() {
    let mut silent = Vec::new();
    for one in crates() {
        let root =
            ["src/lib.rs", "src/main.rs"].iter().map(|file| one.dir.join(file)).find(|file| file.is_file());
        let text = fs::read_to_string(root.unwrap()).unwrap();
        let first = text.lines().next().unwrap_or("");
        if !first.starts_with("//! ") || first.contains("arrives with its code") {
            silent.push(one.name);
        }
    }
    assert!(silent.is_empty(), "no words at the head of: {}", silent.join(", "));
}

#[test]
fn the_lock_stays_small() {
    let lock: toml::Table = fs::read_to_string(top().join("Cargo.lock")).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap().len();
    assert!(packages <= 340, "{packages} packages in Cargo.lock, 340 is the bound");
}

#[test]
fn every_crate_takes_the_houses_lints_and_versions() {
    let mut wrong = Vec::new();
    let top_table: toml::Table = fs::read_to_string(top().join("Cargo.toml")).unwrap().parse().unwrap();
    let shared = top_table["workspace"]["dependencies"].as_table().unwrap();
    for one in crates() {
        let table: toml::Table = fs::read_to_string(one.dir.join("Cargo.toml")).unwrap().parse().unwrap();
        if table.get("lints").and_then(|lints| lints.get("workspace")) != Some(&toml::Value::Boolean(true)) {
            wrong.push(format!("{} sets lints of its own", one.name));
        }
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in table.get(section).and_then(toml::Value::as_table).into_iter().flatten() {
                let inherits = value.get("workspace") == Some(&toml::Value::Boolean(true));
                if !inherits || !shared.contains_key(name) {
                    wrong.push(format!("{} names a version of {name} of its own", one.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    // Put together here, so that this file does not name them either.
    let places = ["/wo", "/ho", "/ro", "/fa"].iter().zip(["rk/", "me/", "ot/", "rm/"]);
    let places: Vec<String> = places.map(|(a, b)| format!("{a}{b}")).collect();
    let mut wrong = BTreeMap::new();
    for path in files() {
        let Ok(text) = fs::read_to_string(top().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if places.iter().any(|place| names(line, place)) {
                wrong.insert(format!("{}:{}", path.display(), number + 1), line.trim().to_owned());
            }
        }
    }
    assert!(wrong.is_empty(), "paths of a machine: {wrong:#?}");
}

/// Whether a line names a path that begins at this place: at the line's start or after something that is no path.
fn names(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        line[..at]
            .chars()
            .next_back()
            .is_none_or(|before| !before.is_alphanumeric() && !"/.-_}".contains(before))
    })
}

#[test]
fn every_named_crash_point_is_explained() {
    let page = fs::read_to_string(top().join("docs/crash-states.md")).unwrap_or_default();
    let points = stories::crash::points(&top());
    assert!(points.len() > 20, "only {} named places found", points.len());
    let silent: Vec<&String> = points.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(silent.is_empty(), "docs/crash-states.md says nothing of {silent:?}");
}
