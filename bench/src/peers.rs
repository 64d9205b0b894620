//! The servers that are compared, each with its own directory on the disk that the caller names.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use stories::lab::{program, wait_for};
use stories::primary::greets;
use stories::{Tree, ports};

/// A Postfix of its own that relays everything to one next hop.
pub struct Postfix {
    /// Its SMTP port.
    pub port: u16,
    tree: Tree,
}

/// Postfix as installed: nothing of its queueing changed.
pub const DEFAULT: &str = "";
/// Postfix for many sessions to one next hop: no delay of senders, more deliveries at once, kept connections.
pub const TUNED: &str = "in_flow_delay = 0\ndefault_destination_concurrency_limit = 100\n\
     initial_destination_concurrency = 50\ndefault_destination_concurrency_failed_cohort_limit = 10\n";

impl Postfix {
    /// Starts it in `dir`, relaying to `hop`, with further lines for `main.cf`.
    ///
    /// # Panics
    /// When it does not come up within a minute, or when not root.
    pub fn start(dir: &Path, hop: u16, tuning: &str) -> Postfix {
        let port = ports::free_port();
        for room in ["conf", "queue", "own"] {
            fs::create_dir_all(dir.join(room)).unwrap();
        }
        let out = Command::new("chown").arg("postfix").arg(dir.join("own")).output().unwrap();
        assert!(out.status.success(), "chown: {}", String::from_utf8_lossy(&out.stderr));
        let tuning = if tuning == TUNED {
            format!("{TUNED}smtp_connection_cache_destinations = [127.0.0.1]:{hop}\n")
        } else {
            tuning.to_owned()
        };
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {dir}/queue\ndata_directory = {dir}/own\n\
             maillog_file = {dir}/log\nmaillog_file_prefixes = {dir}\nmail_owner = postfix\n\
             setgid_group = postdrop\nmyhostname = postfix.test\nmydestination =\nalias_maps =\n\
             local_recipient_maps =\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
             mynetworks = 127.0.0.0/8\nrelayhost = [127.0.0.1]:{hop}\nsmtp_dns_support_level = disabled\n\
             smtpd_peername_lookup = no\nsmtpd_client_connection_count_limit = 0\ndefault_process_limit = 150\n\
             smtpd_relay_restrictions = permit_mynetworks, reject\nmessage_size_limit = 104857600\n{tuning}",
            dir = dir.display()
        );
        fs::write(dir.join("conf/main.cf"), main).unwrap();
        fs::write(dir.join("conf/master.cf"), stories::primary::master_cf(port)).unwrap();
        let mut command = Command::new(program("postfix", "postfix"));
        command.arg("-c").arg(dir.join("conf")).arg("start-fg");
        let pid_file = dir.join("queue/pid/master.pid");
        let tree = Tree::start("Postfix", command, &dir.join("out"), Some(pid_file));
        wait_for("Postfix to answer", Duration::from_secs(60), || greets(port));
        Postfix { port, tree }
    }

    /// Resident memory of all its processes in bytes.
    pub fn resident(&self) -> u64 {
        self.tree.resident()
    }
}
