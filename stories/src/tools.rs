//! The clients that people really use, run as programs.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::Lab;
use crate::lab::program;

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Whether its exit status was 0.
    pub ok: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    fn from(output: &Output) -> Said {
        Said {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Ends the story with the program's own words unless it ended well.
    ///
    /// # Panics
    /// When the exit status was not 0.
    pub fn must(self, what: &str) -> Said {
        assert!(self.ok, "{what} failed:\n{}\n{}", self.out, self.err);
        self
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command) -> Said {
    let output = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    Said::from(&output)
}

/// Runs a command to its end with this on its standard input.
///
/// # Panics
/// When it cannot be started.
pub fn run_with(command: &mut Command, input: &str) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Said::from(&child.wait_with_output().unwrap())
}

/// swaks against a loopback port, with further arguments.
pub fn swaks(port: u16, arguments: &[&str]) -> Said {
    let mut command = Command::new(program("swaks", "swaks"));
    run(command.arg("--server").arg("127.0.0.1").arg("--port").arg(port.to_string()).args(arguments))
}

/// curl with these arguments and a limit of a minute.
pub fn curl(arguments: &[&str]) -> Said {
    let mut command = Command::new(program("curl", "curl"));
    run(command.args(["--silent", "--show-error", "--max-time", "60"]).args(arguments))
}

/// mbsync: all folders of one account into a Maildir of the lab, one way or both ways as `sync` says
/// (`Pull`, `All`).
pub struct Mbsync {
    rc: std::path::PathBuf,
    /// Where the copy lies.
    pub maildir: std::path::PathBuf,
}

impl Mbsync {
    /// Writes the configuration for one account. `tls` is mbsync's word: `None`, `STARTTLS` or `IMAPS`.
    pub fn new(
        lab: &Lab,
        name: &str,
        port: u16,
        user: &str,
        password: &str,
        tls: &str,
        sync: &str,
    ) -> Mbsync {
        let dir = lab.room(&format!("mbsync-{name}"));
        let maildir = dir.join("mail");
        fs::create_dir_all(&maildir).unwrap();
        let certificates = if tls == "None" { String::new() } else { certificate_line(port, &dir, tls) };
        let rc = dir.join("rc");
        let text = format!(
            "IMAPAccount far\nHost 127.0.0.1\nPort {port}\nUser {user}\nPass {password}\nSSLType {tls}\n{certificates}\
             AuthMechs *\nTimeout 60\n\nIMAPStore far\nAccount far\n\n\
             MaildirStore near\nPath {mail}/\nInbox {mail}/INBOX\nSubFolders Verbatim\n\n\
             Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Near\nExpunge None\nSync {sync}\n\
             SyncState {dir}/state-\n",
            mail = maildir.display(),
            dir = dir.display(),
        );
        fs::write(&rc, text).unwrap();
        Mbsync { rc, maildir }
    }

    /// One run.
    pub fn sync(&self) -> Said {
        let mut command = Command::new(program("mbsync", "isync"));
        run(command.arg("-c").arg(&self.rc).arg("all"))
    }

    /// The messages of the local copy that carry a story id, sorted, each as often as it is there.
    pub fn stories(&self) -> Vec<String> {
        let mut found = Vec::new();
        messages(&self.maildir, &mut |file| {
            let text = fs::read(file).unwrap_or_default();
            found.extend(crate::maildrop::headers(&text, crate::load::STORY_HEADER));
        });
        found.sort();
        found
    }
}

/// mbsync insists on a certificate it can check: the server's own, fetched once, as a person would accept it.
fn certificate_line(port: u16, dir: &Path, tls: &str) -> String {
    let mut command = Command::new(program("openssl", "openssl"));
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-showcerts"]);
    if tls == "STARTTLS" {
        command.args(["-starttls", "imap"]);
    }
    let out = run(command.stdin(std::process::Stdio::null())).out;
    let begin = out.find("-----BEGIN CERTIFICATE-----");
    let end = out.find("-----END CERTIFICATE-----");
    let (Some(begin), Some(end)) = (begin, end) else { panic!("no certificate on port {port}") };
    let file = dir.join("server.pem");
    fs::write(&file, format!("{}-----END CERTIFICATE-----\n", &out[begin..end])).unwrap();
    format!("CertificateFile {}\n", file.display())
}

fn messages(dir: &Path, each: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            messages(&path, each);
        } else if path.parent().is_some_and(|up| up.ends_with("cur") || up.ends_with("new")) {
            each(&path);
        }
    }
}
