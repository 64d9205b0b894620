//! Another organisation's Postfix: it takes what it is handed and sends it on, again and again, until somebody takes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::lab::{program, wait_for};
use crate::primary::{greets, master_cf};
use crate::{Lab, Tree, ports};

/// A Postfix that sends.
pub struct Sender {
    /// Where it takes mail.
    pub smtp: u16,
    dir: PathBuf,
    _tree: Tree,
}

impl Sender {
    /// Starts one that sends everything to the first of these loopback ports that takes it, in their order, as it does with the
    /// exchangers of a domain. It tries again after a second or two.
    pub fn start(lab: &Lab, name: &str, exchangers: &[u16]) -> Sender {
        let dir = lab.room(name);
        for room in ["conf", "queue", "data"] {
            fs::create_dir_all(dir.join(room)).unwrap();
        }
        own(&dir.join("data"));
        fs::write(dir.join("log"), "").unwrap();
        own(&dir.join("log"));
        let smtp = ports::free_port();
        let relays: Vec<String> = exchangers.iter().map(|port| format!("[127.0.0.1]:{port}")).collect();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {dir}/queue\ndata_directory = {dir}/data\n\
             maillog_file = {dir}/log\nmaillog_file_prefixes = {dir}\nmail_owner = postfix\nsetgid_group = postdrop\n\
             myhostname = mx.writer.test\nmydestination =\nalias_maps =\nlocal_recipient_maps =\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\nsmtp_dns_support_level = disabled\n\
             smtpd_peername_lookup = no\nrelayhost = {relays}\nsmtp_destination_rate_delay = 0s\n\
             smtp_connection_cache_on_demand = no\nminimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\n\
             smtp_connect_timeout = 3s\nsmtp_helo_timeout = 5s\n",
            dir = dir.display(),
            relays = relays.join(", ")
        );
        fs::write(dir.join("conf/main.cf"), main).unwrap();
        fs::write(dir.join("conf/master.cf"), master_cf(smtp)).unwrap();
        let mut command = Command::new(program("postfix", "postfix"));
        command.arg("-c").arg(dir.join("conf")).arg("start-fg");
        let tree = Tree::start(
            "the sender's Postfix",
            command,
            &dir.join("out"),
            Some(dir.join("queue/pid/master.pid")),
        );
        wait_for("the sender's Postfix to answer", Duration::from_secs(60), || greets(smtp));
        Sender { smtp, dir, _tree: tree }
    }

    /// How much it has not got rid of.
    pub fn queued(&self) -> usize {
        ["maildrop", "incoming", "active", "deferred"]
            .iter()
            .map(|q| files(&self.dir.join("queue").join(q)))
            .sum()
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

fn own(path: &Path) {
    let out = Command::new("chown").arg("postfix").arg(path).output().unwrap();
    assert!(out.status.success(), "chown: {}", String::from_utf8_lossy(&out.stderr));
}

fn files(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}
