//! Every pair of things that two sides may do with one message in one folder, both ways round: one cell each.

use crate::Listed;
use crate::histories::{Act, House, Who};
use std::fmt::Write;

/// What one side may do with message 1, which stands in Work; a second folder is Home.
const ACTS: [&str; 12] = [
    "nothing", "flag", "keyword", "move", "copy", "delete", "append", "draft", "arrive", "create", "rename",
    "remove",
];

fn act(name: &str, who: Who) -> Option<Act> {
    let here = who == Who::Here;
    Some(match name {
        "flag" => Act::Flag(0, "\\flagged", true),
        "keyword" => Act::Flag(0, if here { "mine" } else { "theirs" }, true),
        // The two sides mean different folders: Home and INBOX.
        "move" => Act::Move(0, if here { 3 } else { 0 }),
        "copy" => Act::Copy(0, 3),
        "delete" => Act::Delete(0),
        "append" => Act::Append(2),
        "draft" => Act::Edit(0),
        "arrive" => Act::Arrive,
        "create" => Act::Create(2),
        // Work becomes Archive here and Lists there.
        "rename" => Act::Rename(2, if here { 3 } else { 2 }),
        "remove" => Act::Remove(2),
        _ => return None,
    })
}

/// What both sides have in the end, and what is listed.
fn cell(here: &str, there: &str) -> String {
    let mut house = House::with_a_message_in_work();
    for (name, who) in [(here, Who::Here), (there, Who::There)] {
        if let Some(act) = act(name, who) {
            house.act(who, &act);
        }
    }
    house.settle();
    assert_eq!(house.view(Who::Here), house.view(Who::There), "{here} here, {there} there");
    let mut cell = String::new();
    for (folder, content, flags) in house.view(Who::Here) {
        let flags: Vec<&str> = flags.iter().map(|flag| flag.trim_start_matches('\\')).collect();
        match (content, folder.as_str()) {
            (0, "INBOX/" | "Trash/" | "Home/") => continue,
            (0, _) => write!(cell, "{folder} ").unwrap(),
            _ if flags.is_empty() => write!(cell, "{folder}:{content} ").unwrap(),
            _ => write!(cell, "{folder}:{content}+{} ", flags.join("+")).unwrap(),
        }
    }
    for listed in &house.listed {
        let word = match listed {
            Listed::MovedTwice => "moved-twice",
            Listed::DeletedHereTouchedThere => "deleted-here",
            Listed::DeletedThereTouchedHere => "deleted-there",
            Listed::FolderRenamedTwice => "renamed-twice",
            Listed::FolderRemovedHereUsedThere => "removed-here",
            Listed::FolderRemovedThereUsedHere => "removed-there",
        };
        write!(cell, "!{word} ").unwrap();
    }
    cell.trim_end().to_owned()
}

#[test]
fn every_pair_of_acts_ends_as_the_table_says() {
    let mut table = String::new();
    for here in ACTS {
        for there in ACTS {
            writeln!(table, "{here:8} {there:8} {}", cell(here, there)).unwrap();
        }
    }
    let expected = include_str!("table.txt");
    if std::env::var_os("WRITE_TABLE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/table.txt"), &table).unwrap();
        return;
    }
    for (found, wanted) in table.lines().zip(expected.lines()) {
        assert_eq!(found, wanted);
    }
    assert_eq!(table.lines().count(), expected.lines().count());
}
