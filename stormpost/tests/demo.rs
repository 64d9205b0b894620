//! The demonstration as people run it: the whole path, killed and given back, and nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by ending")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn demo(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stormpost"));
    command.arg("demo").current_dir(home).env("TMPDIR", home.join("tmp")).stdin(Stdio::null());
    command
}

/// A folder for pages and reports, and in it one for what the demonstration makes and removes.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("tmp")).unwrap();
    home
}

/// Processes that were begun with something of this folder.
fn processes_of(home: &Path) -> Vec<String> {
    let name = home.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&name) {
            found.push(line);
        }
    }
    found
}

fn nothing_is_left(home: &Path) {
    assert_eq!(fs::read_dir(home.join("tmp")).unwrap().count(), 0, "the folder is removed");
    assert_eq!(processes_of(home), [""; 0]);
}

#[test]
fn an_outage_is_lived_through_and_everything_is_given_back_once() {
    let home = home();
    let mut command = demo(home.path());
    command.args(["--people", "3", "--messages", "40", "--outage", "8", "--dwell", "2"]);
    let out = command.args(["--report", "report.json", "--page", "page.html"]).output().unwrap();
    let told = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{told}\n{}", String::from_utf8_lossy(&out.stderr));

    let report = fs::read_to_string(home.path().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let number = |name: &str| report[name].as_u64().unwrap();
    assert_eq!((number("lost"), number("doubled")), (0, 0), "{told}");
    assert_eq!(report["exceptions"], serde_json::json!([]), "{told}");
    assert!(number("accepted") >= 40 + number("sent_in_outage"), "{report}");
    assert_eq!(number("accepted"), number("seen"));
    assert_eq!(number("accepted"), number("settled"));
    for name in ["read_in_outage", "sent_in_outage", "changes_replayed"] {
        assert!(number(name) > 0, "{name}: {report}");
    }
    for name in ["suspect", "event_open", "first_read", "first_send", "return_detect", "drain", "reconcile"] {
        assert!(report["seconds"][name].is_number(), "{name}: {report}");
    }
    assert!(report["seconds"]["suspect"].as_f64().unwrap() > 0.0, "{report}");

    for words in ["killed with SIGKILL", "Stormpost is back after", "the event is closed", "Nothing was lost"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    let page = fs::read_to_string(home.path().join("page.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("Nothing was lost"), "{page}");
    nothing_is_left(home.path());
}

#[test]
fn a_demonstration_ended_in_the_middle_leaves_nothing_behind() {
    let home = home();
    let mut child = demo(home.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("mail begins")), "it begins");
    assert!(processes_of(home.path()).len() >= 4, "a mail system, its twin, Stormpost and the world");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let asked = Instant::now();
    let told: Vec<String> = lines.collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1), "{told:?}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert!(told.iter().any(|line| line.contains("SIGTERM")), "{told:?}");
    nothing_is_left(home.path());
}

#[test]
fn what_cannot_work_is_said_before_anything_is_begun() {
    let home = home();
    fs::create_dir(home.path().join("full")).unwrap();
    fs::write(home.path().join("full/file"), "x").unwrap();
    for (arguments, words) in [
        (["--mail", "nowhere"], "nowhere"),
        (["--mail", "full"], "give an mbox file, a Maildir or a folder of .eml files"),
        (["--folder", "full"], "is not empty"),
        (["--report", "no/report.json"], "--report"),
        (["--page", "no/page.html"], "--page"),
    ] {
        let out = demo(home.path()).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(out.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stdout));
        nothing_is_left(home.path());
    }
}
