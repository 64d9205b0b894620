//! The named places where a crash leaves a state of its own, read from the product's sources.

use std::fs;
use std::path::Path;

/// The environment variable by which a build with debug assertions is told where to kill itself: `name`, or `name:3`
/// for the third passage.
pub const CRASH_AT: &str = "STORMPOST_CRASH_AT";

/// Every name given to `crash_point(…)` in the workspace below `top`, sorted; tests are left out.
pub fn points(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for room in ["words", "rules", "stores", "roads", "stormpost"] {
        walk(&top.join(room), &mut found);
    }
    found.sort();
    found.dedup();
    found
}

fn walk(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "tests" && name != "target" {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|end| end == "rs") && name != "tests.rs" {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or("");
            let calls = product.split("crash_point(\"").skip(1);
            found.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
}
