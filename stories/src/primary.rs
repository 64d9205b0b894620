//! A small company's mail system: Postfix in front of Dovecot, real programs with a configuration of their own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::lab::{program, wait_for};
use crate::{Lab, Maildrop, Tree, ports};

/// What a story may want otherwise than usual.
#[derive(Clone, Default)]
pub struct PrimaryOptions {
    /// The local parts of the people; `anna`, `ben` and `carla` when empty.
    pub people: Vec<String>,
    /// Further lines for Postfix's `main.cf`.
    pub postfix: String,
    /// Further lines for Postfix's `master.cf`; `{dir}` is the primary's directory.
    pub services: String,
    /// Further lines for Dovecot's configuration.
    pub dovecot: String,
    /// Sieve scripts: local part, script.
    pub sieve: Vec<(String, String)>,
    /// Extra fields in the user file: local part, `userdb_quota_rule=*:messages=5` and the like.
    pub extra: Vec<(String, String)>,
    /// Where Postfix sends mail for other domains; refused when `None`.
    pub relay: Option<SocketAddr>,
    /// The name server that Postfix and its children ask, at the usual port, instead of the machine's.
    pub names: Option<IpAddr>,
}

/// Postfix and Dovecot of one company, running.
pub struct Primary {
    /// The company's domain.
    pub domain: String,
    /// Postfix's SMTP port.
    pub smtp: u16,
    /// Dovecot's LMTP port.
    pub lmtp: u16,
    /// Dovecot's IMAP port.
    pub imap: u16,
    /// The people's local parts.
    pub people: Vec<String>,
    names: Option<IpAddr>,
    dir: PathBuf,
    postfix: Option<Tree>,
    dovecot: Option<Tree>,
}

/// The password of everybody's own sign-in is this, a dash, and the local part.
pub const PASSWORD: &str = "pw";
/// A master user who reads (the lab's counting) and one for the product's writing, with their passwords.
pub const READER: (&str, &str) = ("reader", "pw-reader");
/// See [`READER`].
pub const WRITER: (&str, &str) = ("writer", "pw-writer");

impl Primary {
    /// Writes the configuration, starts both servers and waits until they answer.
    pub fn start(lab: &Lab, domain: &str, options: &PrimaryOptions) -> Primary {
        let people = match options.people.as_slice() {
            [] => ["anna", "ben", "carla"].map(str::to_owned).to_vec(),
            some => some.to_vec(),
        };
        let mut primary = Primary {
            domain: domain.to_owned(),
            smtp: ports::free_port(),
            lmtp: ports::free_port(),
            imap: ports::free_port(),
            people,
            names: options.names,
            dir: lab.room(domain.split('.').next().unwrap_or(domain)),
            postfix: None,
            dovecot: None,
        };
        primary.write_dovecot(options);
        primary.write_postfix(options);
        primary.start_dovecot();
        primary.start_postfix();
        primary
    }

    /// The address of a person.
    pub fn address(&self, person: &str) -> String {
        format!("{person}@{}", self.domain)
    }

    /// The addresses of all.
    pub fn addresses(&self) -> Vec<String> {
        self.people.iter().map(|person| self.address(person)).collect()
    }

    /// The password of a person's own sign-in.
    pub fn password(&self, person: &str) -> String {
        format!("{PASSWORD}-{person}")
    }

    /// SIGKILL to Postfix and Dovecot and all their children.
    pub fn kill(&mut self) {
        self.kill_postfix();
        self.kill_dovecot();
    }

    /// SIGKILL to Postfix alone.
    pub fn kill_postfix(&mut self) {
        if let Some(mut tree) = self.postfix.take() {
            tree.kill();
        }
    }

    /// SIGKILL to Dovecot alone.
    pub fn kill_dovecot(&mut self) {
        if let Some(mut tree) = self.dovecot.take() {
            tree.kill();
        }
    }

    /// Starts whatever is not running, on the same ports.
    pub fn restart(&mut self) {
        if self.dovecot.is_none() {
            self.start_dovecot();
        }
        if self.postfix.is_none() {
            self.start_postfix();
        }
    }

    /// Dovecot's log so far.
    pub fn dovecot_log(&self) -> String {
        fs::read_to_string(self.dir.join("dv/log")).unwrap_or_default()
    }

    /// Gives a person another password, for whoever signs in next.
    pub fn change_password(&self, person: &str, password: &str) {
        let file = self.dir.join("dv/conf/users");
        let text = fs::read_to_string(&file).unwrap();
        let head = format!("{}:", self.address(person));
        let change = |line: &str| match line.strip_prefix(&head).and_then(|rest| rest.split_once(':')) {
            Some((_, rest)) => format!("{head}{{PLAIN}}{password}:{rest}\n"),
            None => format!("{line}\n"),
        };
        let text: String = text.lines().map(change).collect();
        // Dovecot reads it again when its time or size has changed.
        fs::write(file.with_extension("new"), text).unwrap();
        fs::rename(file.with_extension("new"), file).unwrap();
    }

    /// Both servers stay where they are and answer nothing.
    pub fn freeze(&self) {
        self.postfix.iter().chain(&self.dovecot).for_each(Tree::freeze);
    }

    /// Ends [`Primary::freeze`].
    pub fn thaw(&self) {
        self.postfix.iter().chain(&self.dovecot).for_each(Tree::thaw);
    }

    /// Resident memory of Postfix in bytes.
    pub fn postfix_resident(&self) -> u64 {
        self.postfix.as_ref().map_or(0, Tree::resident)
    }

    /// Number of messages still in Postfix's own queue, asked of Postfix's directories.
    pub fn queued(&self) -> usize {
        ["incoming", "active", "deferred", "maildrop"]
            .iter()
            .map(|q| files(&self.dir.join("pf/queue").join(q)))
            .sum()
    }

    /// Waits until Postfix has handed everything on to Dovecot.
    pub fn settle(&self, limit: Duration) {
        self.flush();
        let mut quiet = 0;
        wait_for("Postfix's own queue to run empty", limit, || {
            quiet = if self.queued() == 0 { quiet + 1 } else { 0 };
            quiet >= 3
        });
    }

    /// Makes Postfix try its deferred mail now.
    pub fn flush(&self) {
        let mut command = Command::new(program("postqueue", "postfix"));
        command.arg("-c").arg(self.dir.join("pf/conf")).arg("-f");
        let _ = command.output();
    }

    /// Looks into one person's mailbox over IMAP, as the reading master user.
    pub fn maildrop(&self, person: &str) -> Maildrop {
        let user = format!("{}*{}", self.address(person), READER.0);
        Maildrop::look("127.0.0.1", self.imap, &user, READER.1)
    }

    /// How many messages Dovecot's own tool counts for a person in all folders: the check of the check.
    pub fn doveadm_count(&self, person: &str) -> usize {
        let out = self.doveadm(&["search", "-u", &self.address(person), "ALL"]);
        out.lines().count()
    }

    /// Runs Dovecot's own tool against this instance and gives its output.
    ///
    /// # Panics
    /// When the tool reports failure.
    pub fn doveadm(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(program("doveadm", "dovecot-core"));
        command.arg("-c").arg(self.dir.join("dv/conf/dovecot.conf")).args(arguments);
        let out = command.output().unwrap();
        assert!(out.status.success(), "doveadm {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Lets Postfix refuse every recipient for good, or take them again, by a changed setting and a reload, as after an
    /// upgrade that went wrong.
    pub fn deny_everybody(&self, deny: bool) {
        const WHAT: &str = "smtpd_recipient_restrictions";
        const DENY: &str = "smtpd_recipient_restrictions = reject";
        const KEPT: &str = "#kept ";
        let file = self.dir.join("pf/conf/main.cf");
        let text = fs::read_to_string(&file).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        match deny {
            true => {
                for line in lines.iter_mut().filter(|line| line.starts_with(WHAT)) {
                    line.insert_str(0, KEPT);
                }
                lines.push(DENY.to_owned());
            }
            false => {
                lines.retain(|line| line != DENY);
                if let Some(last) = lines.iter_mut().rfind(|line| line.starts_with(KEPT)) {
                    *last = last.replacen(KEPT, "", 1);
                }
            }
        }
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        // As `postfix reload` does, with nothing to say for the log, neither in its own words nor about a line that stands
        // twice: who writes the log is being started anew, and Postfix may wait for ever for itself.
        let pid = fs::read_to_string(self.dir.join("pf/queue/pid/master.pid")).unwrap();
        let out = Command::new("kill").args(["-HUP", pid.trim()]).output().unwrap();
        assert!(out.status.success(), "postfix reload: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// Gives the master users these passwords, for whoever signs in next.
    pub fn master_passwords(&self, reader: &str, writer: &str) {
        let file = self.dir.join("dv/conf/masters");
        let text = format!("{}:{{PLAIN}}{reader}\n{}:{{PLAIN}}{writer}\n", READER.0, WRITER.0);
        // Dovecot reads it again when its time or size has changed.
        fs::write(file.with_extension("new"), text).unwrap();
        fs::rename(file.with_extension("new"), file).unwrap();
    }

    /// Postfix's log.
    pub fn postfix_log(&self) -> String {
        fs::read_to_string(self.dir.join("pf/log")).unwrap_or_default()
    }

    fn start_postfix(&mut self) {
        let conf = self.dir.join("pf/conf");
        let postfix = program("postfix", "postfix");
        let mut command = match self.names {
            None => Command::new(postfix),
            Some(names) => {
                // Every resolver reads this file: they get one of their own.
                let resolv = self.dir.join("pf/resolv.conf");
                fs::write(&resolv, format!("nameserver {names}\noptions timeout:1 attempts:1\n")).unwrap();
                let mut command = Command::new(program("unshare", "util-linux"));
                command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""]);
                command.arg(resolv).arg(postfix);
                command
            }
        };
        command.arg("-c").arg(&conf).arg("start-fg");
        let pid_file = self.dir.join("pf/queue/pid/master.pid");
        let tree = Tree::start("Postfix", command, &self.dir.join("pf/out"), Some(pid_file));
        self.postfix = Some(tree);
        wait_for("Postfix to answer", Duration::from_secs(60), || greets(self.smtp));
    }

    fn start_dovecot(&mut self) {
        let mut command = Command::new(program("dovecot", "dovecot-core"));
        command.arg("-F").arg("-c").arg(self.dir.join("dv/conf/dovecot.conf"));
        self.dovecot = Some(Tree::start("Dovecot", command, &self.dir.join("dv/out"), None));
        wait_for("Dovecot to answer", Duration::from_secs(60), || greets(self.imap) && greets(self.lmtp));
    }

    fn write_postfix(&self, options: &PrimaryOptions) {
        for room in ["pf/conf", "pf/queue", "pf/data"] {
            fs::create_dir_all(self.dir.join(room)).unwrap();
        }
        chown("postfix", &self.dir.join("pf/data"));
        // What a kill left in the queue is told by a program that runs as this user, before anybody else writes the log.
        fs::write(self.dir.join("pf/log"), "").unwrap();
        chown("postfix", &self.dir.join("pf/log"));
        let dir = self.dir.join("pf");
        let users: String = self.addresses().iter().map(|address| format!("{address} x\n")).collect();
        fs::write(dir.join("conf/users"), users).unwrap();
        fs::write(dir.join("conf/main.cf"), last_of_each(&self.main_cf(&dir, options))).unwrap();
        let services = options.services.replace("{dir}", &self.dir.display().to_string());
        fs::write(dir.join("conf/master.cf"), master_cf(self.smtp) + &services).unwrap();
    }

    fn main_cf(&self, dir: &Path, options: &PrimaryOptions) -> String {
        let relay = options.relay.map_or_else(
            || "default_transport = error:this company's relay is not set\n".to_owned(),
            |at| format!("relayhost = [{}]:{}\n", at.ip(), at.port()),
        );
        format!(
            "compatibility_level = 3.6\n\
             queue_directory = {dir}/queue\ndata_directory = {dir}/data\n\
             maillog_file = {dir}/log\nmaillog_file_prefixes = {dir}\n\
             mail_owner = postfix\nsetgid_group = postdrop\n\
             myhostname = mx.{domain}\nmydestination =\nalias_maps =\nlocal_recipient_maps =\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\n\
             smtp_dns_support_level = disabled\nsmtpd_peername_lookup = no\n\
             smtpd_client_connection_count_limit = 0\nsmtpd_authorized_xclient_hosts = 127.0.0.1\n\
             default_process_limit = 150\nmessage_size_limit = 104857600\nmailbox_size_limit = 0\n\
             smtpd_soft_error_limit = 1000\nsmtpd_hard_error_limit = 2000\n\
             virtual_mailbox_domains = {domain}\nvirtual_mailbox_maps = texthash:{dir}/conf/users\n\
             virtual_mailbox_limit = 0\nrecipient_delimiter = +\n\
             virtual_transport = lmtp:inet:127.0.0.1:{lmtp}\n\
             minimal_backoff_time = 2s\nmaximal_backoff_time = 5s\nqueue_run_delay = 2s\n\
             smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n\
             smtpd_recipient_restrictions = reject_unlisted_recipient, permit_mynetworks, \
             reject_unauth_destination\n{relay}{extra}\n",
            dir = dir.display(),
            domain = self.domain,
            lmtp = self.lmtp,
            extra = options.postfix,
        )
    }

    fn write_dovecot(&self, options: &PrimaryOptions) {
        for room in ["dv/conf", "dv/base", "dv/mail", "dv/sieve"] {
            fs::create_dir_all(self.dir.join(room)).unwrap();
        }
        let dir = self.dir.join("dv");
        let users: String = self
            .people
            .iter()
            .map(|person| {
                let extra =
                    options.extra.iter().find(|(who, _)| who == person).map_or("", |(_, extra)| extra);
                format!("{}:{{PLAIN}}{}::::::{extra}\n", self.address(person), self.password(person))
            })
            .collect();
        fs::write(dir.join("conf/users"), users).unwrap();
        let masters = format!("{}:{{PLAIN}}{}\n{}:{{PLAIN}}{}\n", READER.0, READER.1, WRITER.0, WRITER.1);
        fs::write(dir.join("conf/masters"), masters).unwrap();
        for (person, script) in &options.sieve {
            fs::write(dir.join("sieve").join(format!("{}.sieve", self.address(person))), script).unwrap();
        }
        fs::write(dir.join("conf/dovecot.conf"), self.dovecot_conf(&dir, options)).unwrap();
        chown("mail:mail", &dir.join("mail"));
        chown("mail:mail", &dir.join("sieve"));
    }

    fn dovecot_conf(&self, dir: &Path, options: &PrimaryOptions) -> String {
        let folders: String = ["Sent", "Drafts", "Trash", "Junk"]
            .iter()
            .map(|name| {
                format!("  mailbox {name} {{\n    auto = subscribe\n    special_use = \\{name}\n  }}\n")
            })
            .collect();
        let sieve =
            if options.sieve.is_empty() { "" } else { "protocol lmtp {\n  mail_plugins = sieve\n}\n" };
        format!(
            "protocols = imap lmtp\nlisten = 127.0.0.1\nssl = no\ndisable_plaintext_auth = no\n\
             base_dir = {dir}/base\nstate_dir = {dir}/base\nlog_path = {dir}/log\n\
             auth_master_user_separator = *\nauth_cache_size = 0\nmail_max_userip_connections = 100\n\
             mail_location = sdbox:{dir}/mail/%u\nmail_uid = mail\nmail_gid = mail\n\
             first_valid_uid = 1\nfirst_valid_gid = 1\nrecipient_delimiter = +\n\
             mail_home = {dir}/mail/home/%u\nlmtp_save_to_detail_mailbox = no\nlda_mailbox_autocreate = yes\n\
             submission_host = 127.0.0.1:{smtp}\n\
             passdb {{\n  driver = passwd-file\n  master = yes\n  args = {dir}/conf/masters\n\
             \x20 result_success = continue\n}}\n\
             passdb {{\n  driver = passwd-file\n  args = {dir}/conf/users\n}}\n\
             userdb {{\n  driver = passwd-file\n  args = {dir}/conf/users\n}}\n\
             service imap-login {{\n  chroot =\n  inet_listener imap {{\n    port = {imap}\n  }}\n\
             \x20 inet_listener imaps {{\n    port = 0\n  }}\n}}\n\
             service lmtp {{\n  process_min_avail = 1\n  inet_listener lmtp {{\n    address = 127.0.0.1\n\
             \x20   port = {lmtp}\n  }}\n}}\n\
             namespace inbox {{\n  inbox = yes\n{folders}}}\n\
             plugin {{\n  sieve = file:{dir}/sieve/%u.sieve\n}}\n{sieve}{extra}\n",
            dir = dir.display(),
            smtp = self.smtp,
            imap = self.imap,
            lmtp = self.lmtp,
            extra = options.dovecot,
        )
    }
}

/// Postfix's process table: smtpd on one loopback port, nothing in a chroot.
pub fn master_cf(smtp: u16) -> String {
    format!(
        "127.0.0.1:{smtp} inet n - n - - smtpd\n\
         pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n\
         rewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\nverify unix - - n - 1 verify\nflush unix n - n 1000? 0 flush\n\
         proxymap unix - - n - - proxymap\nsmtp unix - - n - - smtp\nrelay unix - - n - - smtp\n\
         showq unix n - n - - showq\nerror unix - - n - - error\nretry unix - - n - - error\n\
         discard unix - - n - - discard\nlmtp unix - - n - - lmtp\nanvil unix - - n - 1 anvil\n\
         scache unix - - n - 1 scache\ntlsmgr unix - - n 1000? 1 tlsmgr\n\
         postlog unix-dgram n - n - 1 postlogd\n"
    )
}

/// Whether a server on this loopback port says its first line.
pub fn greets(port: u16) -> bool {
    use std::io::Read;
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    matches!(stream.read(&mut [0; 16]), Ok(n) if n > 0)
}

fn chown(owner: &str, path: &Path) {
    let out = Command::new("chown").arg(owner).arg(path).output().unwrap();
    assert!(out.status.success(), "chown {owner}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Whole queue files below a directory of Postfix's queue.
fn files(dir: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        count += match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            // Postfix marks a whole queue file as executable; what a kill left half written was never acknowledged
            // and lies there for days.
            Ok(_) => usize::from(entry.metadata().is_ok_and(|facts| facts.permissions().mode() & 0o100 != 0)),
            Err(_) => 0,
        };
    }
    count
}

/// Each setting once, as it stands last: Postfix warns of one that stands twice, and may wait for ever for the program that
/// writes the warning down.
fn last_of_each(text: &str) -> String {
    let name = |line: &str| {
        let setting = !line.starts_with(['#', ' ', '\t']) && line.contains('=');
        setting.then(|| line.split('=').next().unwrap_or("").trim().to_owned())
    };
    let lines: Vec<&str> = text.lines().collect();
    let is_last = |at: usize| {
        let mine = name(lines[at]);
        mine.is_none() || !lines[at + 1..].iter().any(|line| name(line) == mine)
    };
    (0..lines.len()).filter(|at| is_last(*at)).map(|at| format!("{}\n", lines[at])).collect()
}
