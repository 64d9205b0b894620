//! What an older program wrote is read; what a later one wrote is left alone; what we write is nobody else's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use stories::lab::wait_for;
use stories::load::SmtpTalk;
use stories::stormpost::{Company, Setup, program};
use stories::{Lab, Stormpost};

/// What stands in the fixture: a short message, and one that is long enough for a file of its own.
const MESSAGES: [&str; 2] = ["A short word", "A long story"];
/// Folders and files of a node that are not made anew from others.
const KEPT: [&str; 6] = ["journal", "mailbox", "ledger", "directory", "key", "trace.key"];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format-1")
}

fn setup(state: &Path) -> Setup {
    let mut setup = Setup::with(vec![Company::alone("company.test", &["anna", "bert"])]);
    setup.state = Some(state.to_owned());
    setup.limits = "inline_size = \"1 KiB\"\n".to_owned();
    setup
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => {
                fs::copy(entry.path(), &target).unwrap();
                // A checkout knows no modes.
                fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
    }
}

/// Every file below a folder: what it holds, when it was changed, and who may use it.
fn all(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64, u32)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let facts = entry.metadata().unwrap();
        let content = if facts.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
        if facts.is_dir() {
            found.extend(all(&entry.path()));
        }
        found.insert(entry.path(), (content, facts.mtime(), facts.mtime_nsec(), facts.mode()));
    }
    found
}

fn write(stormpost: &Stormpost, subject: &str, size: usize) {
    let mut talk = SmtpTalk::open(([127, 0, 0, 1], stormpost.smtp).into(), "outside.test").unwrap();
    let body = "Once upon a time.\r\n".repeat(size / 19);
    let message = format!(
        "From: <carl@outside.test>\r\nTo: <anna@company.test>\r\nSubject: {subject}\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\
         Message-ID: <{size}@outside.test>\r\n\r\n{body}"
    );
    let (reply, _) = talk.send("carl@outside.test", &["anna@company.test"], message.as_bytes()).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
}

fn subjects(stormpost: &Stormpost) -> Vec<String> {
    let drop = stormpost.maildrop("anna@company.test").unwrap();
    let mut subjects: Vec<String> =
        drop.messages.iter().flat_map(|message| message.headers("Subject")).collect();
    subjects.sort();
    subjects
}

/// Run with `WRITE_FORMAT=1` when a new format begins: it becomes the one before.
fn write_fixture(lab: &Lab) {
    let state = lab.room("new");
    let mut stormpost = Stormpost::start(lab, "writer", &setup(&state));
    write(&stormpost, MESSAGES[0], 60);
    write(&stormpost, MESSAGES[1], 3_000);
    wait_for("both to be there", Duration::from_secs(20), || subjects(&stormpost).len() == 2);
    stormpost.stop();
    let _ = fs::remove_dir_all(fixture());
    for name in KEPT {
        let (from, to) = (state.join(name), fixture().join(name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn a_data_folder_of_the_format_before_is_opened_and_worked_on() {
    let lab = Lab::open("older_format");
    if std::env::var_os("WRITE_FORMAT").is_some() {
        write_fixture(&lab);
    }
    let state = lab.room("state");
    copy(&fixture(), &state);
    let mut stormpost = Stormpost::start(&lab, "stormpost", &setup(&state));
    assert_eq!(subjects(&stormpost), ["A long story", "A short word"]);
    let whole =
        stormpost.imap_as("anna@company.test").map(|talk| stories::Maildrop::read_all(talk, "BODY.PEEK[]"));
    let whole = whole.unwrap().unwrap();
    assert!(whole.messages.iter().any(|one| one.text.len() > 3_000), "the body in a file of its own");
    write(&stormpost, "A new word", 60);
    wait_for("the new one to be there", Duration::from_secs(20), || subjects(&stormpost).len() == 3);
    stormpost.stop();
    stormpost.tell(&["journal", "verify"]).must("journal verify");
    assert!(fs::read_to_string(state.join("format")).unwrap().starts_with("1\n"));
}

#[test]
fn what_a_later_version_wrote_is_refused_before_anything_is_touched() {
    let lab = Lab::open("later_format");
    let place = |name: &str, spoil: &dyn Fn(&Path)| {
        let state = lab.room(name);
        copy(&fixture(), &state);
        let stormpost = Stormpost::prepare(&lab, &format!("{name}-node"), &setup(&state));
        spoil(&state);
        let before = all(&state);
        for verb in
            [&["serve"][..], &["serve", "--take-over"], &["edge"], &["account", "add", "carl@company.test"]]
        {
            let said = stormpost.tell(verb);
            assert!(!said.ok && said.err.contains("a later version of Stormpost"), "{verb:?}: {}", said.err);
            assert!(said.err.contains("Nothing was touched."), "{verb:?}: {}", said.err);
            assert!(all(&state) == before, "{verb:?} changed something");
        }
    };
    place("whole", &|state| fs::write(state.join("format"), "2\nstormpost 7.0.0\n").unwrap());
    place("one_log", &|state| {
        fs::remove_file(state.join("format")).unwrap();
        let segments = all(&state.join("ledger")).into_keys().filter(|path| path.extension().is_some());
        let newest = segments.max().unwrap();
        let mut bytes = fs::read(&newest).unwrap();
        bytes[8] = 2;
        fs::write(newest, bytes).unwrap();
    });
}

#[test]
fn nothing_that_is_written_can_be_read_by_others_whatever_the_umask_is() {
    let lab = Lab::open("modes");
    for umask in ["000", "022"] {
        let state = lab.room(&format!("state{umask}"));
        fs::remove_dir(&state).unwrap();
        let mut stormpost = Stormpost::prepare(&lab, &format!("node{umask}"), &setup(&state));
        let script = lab.room("scripts").join(umask);
        let text = format!("#!/bin/sh\numask {umask}\nexec {} \"$@\"\n", program().display());
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        stormpost.program = Some(script);
        stormpost.restart();
        write(&stormpost, MESSAGES[0], 60);
        write(&stormpost, MESSAGES[1], 3_000);
        wait_for("both to be there", Duration::from_secs(20), || subjects(&stormpost).len() == 2);
        let running = all(&state);
        stormpost.stop();
        let files = running.into_iter().chain(all(&state));
        let open: Vec<_> =
            files.filter(|(_, (_, _, _, mode))| mode & 0o077 != 0).map(|(path, _)| path).collect();
        assert!(open.is_empty(), "under umask {umask} others may look into {open:?}");
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o077, 0);
    }
}

#[test]
fn a_secret_that_everybody_can_read_is_refused_at_the_start() {
    let lab = Lab::open("open_secrets");
    let state = lab.room("state");
    copy(&fixture(), &state);
    let stormpost = Stormpost::prepare(&lab, "stormpost", &setup(&state));
    let key = state.join("key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let said = stormpost.tell(&["serve"]);
    assert!(!said.ok && said.err.contains(&format!("chmod 600 {}", key.display())), "{}", said.err);
}

#[test]
fn a_second_node_on_one_data_folder_is_told_who_is_there() {
    let lab = Lab::open("second_node");
    let mut first = Stormpost::start(&lab, "stormpost", &setup(&lab.room("state")));
    let said = first.tell(&["serve"]);
    let words = format!("another stormpost (process {}) uses", first.pid());
    assert!(!said.ok && said.err.contains(&words), "{}", said.err);
    assert!(first.lives());
    write(&first, MESSAGES[0], 60);
    first.stop();
}
