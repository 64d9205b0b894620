//! The package: built, installed, run, upgraded while it runs, removed and purged, for real.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stories::Lab;
use stories::stormpost::program;
use stories::tools::{Said, run};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Builds a package of the program beside the tests.
fn package(folder: &Path, name: &str, version: &str) -> PathBuf {
    let out = folder.join(name);
    let mut command = Command::new(top().join("packaging/build-deb"));
    // Quick rather than small.
    command.arg(program()).arg(&out).env("VERSION", version).env("COMPRESS", "-Zgzip -z1");
    command.env("SOURCE_DATE_EPOCH", "1793359200");
    run(&mut command).must("packaging/build-deb");
    out
}

#[test]
fn a_package_is_installed_upgraded_while_it_runs_and_purged_and_no_mail_is_deleted() {
    let allowed = ["--mount", "--net", "--pid", "--fork", "--mount-proc"];
    if !run(Command::new("unshare").args(allowed).arg("true")).ok {
        eprintln!("skipped: this machine lets nobody make a root of his own (unshare)");
        return;
    }
    let lab = Lab::open("package");
    let folder = lab.room("packages");
    let older = package(&folder, "older.deb", "0.1.0-1");
    let again = package(&folder, "again.deb", "0.1.0-1");
    assert!(fs::read(&older).unwrap() == fs::read(&again).unwrap(), "two packages of one program differ");
    let newer = package(&folder, "newer.deb", "0.1.0-2");
    let mut command = Command::new("unshare");
    command.args(allowed).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/install.sh"));
    let Said { ok, out, err, .. } = run(command.arg(lab.room("box")).arg(older).arg(newer));
    assert!(ok && out.ends_with("== done\n"), "{out}\n{err}");
    for line in out.lines().filter(|line| line.contains("exposure") || line.contains("greeted")) {
        lab.say(line);
    }
}
