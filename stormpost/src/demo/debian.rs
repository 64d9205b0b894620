//! The installed Postfix and Dovecot as a company's mail system: Postfix takes mail and hands it to Dovecot by LMTP.
//!
//! Only their programs are used. Configuration, queue, mailboxes and sockets stand in a folder of the demonstration, the
//! ports are its own, and the installed servers' configuration is neither read nor changed.

use super::company::{Program, Server};
use crate::certificates::Certificates;
use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One person with a mailbox here.
#[derive(Clone, Debug)]
pub(super) struct Mailbox {
    /// The address, also the name to sign in with.
    pub(super) address: String,
    /// The password.
    pub(super) password: String,
}

/// What the mail system is to be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// A folder of its own. Every folder on the way to it must let other users through.
    pub(super) home: PathBuf,
    /// The company's domain.
    pub(super) domain: String,
    /// Where Postfix takes mail from other servers.
    pub(super) smtp: SocketAddr,
    /// Where Postfix takes mail from people.
    pub(super) submission: SocketAddr,
    /// Where Dovecot takes mail from Postfix.
    pub(super) lmtp: SocketAddr,
    /// Where people read.
    pub(super) imap: SocketAddr,
    /// Where Postfix hands mail to everybody else.
    pub(super) relay: SocketAddr,
    /// The company's people.
    pub(super) people: Vec<Mailbox>,
    /// Master users: `ADDRESS*NAME` with this password opens the mailbox of ADDRESS.
    pub(super) masters: Vec<(String, String)>,
    /// A folder with `self-signed.crt` and `self-signed.key`, made if they are not there.
    pub(super) certificates: PathBuf,
}

const PACKAGES: &str = "apt-get install postfix dovecot-core dovecot-imapd dovecot-lmtpd";
/// Where a system keeps its servers; a person's PATH often lacks them.
const PLACES: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/sbin"];
/// Where Dovecot keeps the programs that it begins itself.
const DOVECOT_PARTS: [&str; 3] = ["/usr/lib/dovecot", "/usr/libexec/dovecot", "/usr/local/libexec/dovecot"];
/// The sockets below the home are longer than it by so many bytes at most; a socket's path has 107.
const SOCKET_NAME_MAX: usize = 40;

/// The programs of a mail system.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    postfix: PathBuf,
    dovecot: PathBuf,
}

impl Programs {
    /// Finds them, and makes sure that they can do their work.
    ///
    /// # Errors
    /// When a program is missing, too new, or may not change its user; the text says what to install or to do.
    pub(super) fn find() -> Result<Programs> {
        if !rustix::process::geteuid().is_root() {
            bail!(
                "Postfix and Dovecot start as root and then give it up, so --primary debian needs root: run it with sudo, \
                 or leave --primary debian out and a Stormpost plays the mail system"
            );
        }
        let found = (program("postfix"), program("dovecot"));
        let (Some(postfix), Some(dovecot)) = found else {
            let missing = match found {
                (None, None) => "postfix and dovecot",
                (None, _) => "postfix",
                _ => "dovecot",
            };
            bail!("not installed: {missing}. Install with: {PACKAGES}");
        };
        for (part, package) in [("imap", "dovecot-imapd"), ("lmtp", "dovecot-lmtpd")] {
            let parts = DOVECOT_PARTS.map(Path::new);
            if parts.iter().any(|place| place.is_dir())
                && !parts.iter().any(|place| place.join(part).exists())
            {
                bail!("not installed: Dovecot's {part}. Install with: apt-get install {package}");
            }
        }
        let told =
            Command::new(&dovecot).arg("--version").output().context("asking Dovecot for its version")?;
        let version = String::from_utf8_lossy(&told.stdout).trim().to_owned();
        if !version.starts_with("2.3.") {
            bail!(
                "Dovecot {version} is installed, and the configuration written here is for 2.3 (Debian 11 and 12): leave \
                 --primary debian out"
            );
        }
        Ok(Programs { postfix, dovecot })
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(PLACES.map(PathBuf::from));
    places.map(|place| place.join(name)).find(|path| path.is_file())
}

/// Makes sure that Postfix's and Dovecot's own users can reach a folder.
///
/// # Errors
/// When a folder on the way lets nobody through, or a socket in it would have too long a path.
pub(super) fn reachable(folder: &Path) -> Result<()> {
    for place in folder.ancestors() {
        let mode =
            fs::metadata(place).with_context(|| format!("looking at {}", place.display()))?.permissions();
        if mode.mode() & 0o001 == 0 {
            bail!(
                "the users of Postfix and Dovecot may not pass through {}; name another place, as --folder /var/tmp/demo",
                place.display()
            );
        }
    }
    let most = 107 - SOCKET_NAME_MAX;
    if folder.as_os_str().len() > most {
        bail!(
            "{} is longer than {most} bytes, too long for sockets in it; name a shorter --folder",
            folder.display()
        );
    }
    Ok(())
}

impl Wanted {
    /// Writes the configuration and gives the server, not started yet.
    ///
    /// # Errors
    /// When a file cannot be written or handed to its user.
    pub(super) fn set(&self, programs: &Programs) -> Result<Server> {
        room(&self.home, 0o755)?;
        room(&self.certificates, 0o755)?;
        let names = [format!("mx.{}", self.domain), "localhost".to_owned()];
        Certificates::self_signed(&self.certificates, &names)?;
        self.write_dovecot()?;
        self.write_postfix()?;
        let dovecot = Program {
            name: "Dovecot".to_owned(),
            path: programs.dovecot.clone(),
            arguments: ["-F".into(), "-c".into(), self.home.join("dovecot/dovecot.conf").into()].into(),
            greets_at: vec![self.imap, self.lmtp],
            log: self.home.join("dovecot.out"),
            own_logs: vec![self.home.join("dovecot.log")],
        };
        let postfix = Program {
            name: "Postfix".to_owned(),
            path: programs.postfix.clone(),
            arguments: ["-c".into(), self.home.join("postfix").into(), "start-fg".into()].into(),
            greets_at: vec![self.smtp, self.submission],
            log: self.home.join("postfix.out"),
            own_logs: vec![self.home.join("postfix.log")],
        };
        // Dovecot first: Postfix hands on at once what lay in its queue.
        Ok(Server::new(vec![dovecot, postfix]))
    }

    fn write_postfix(&self) -> Result<()> {
        let rooms = [("postfix", 0o755), ("postfix-queue", 0o755), ("postfix-state", 0o700)];
        for (name, mode) in rooms {
            room(&self.home.join(name), mode)?;
        }
        give("postfix", &self.home.join("postfix-state"))?;
        // After a kill `postsuper` finds half a file, and must be able to say so as Postfix's own user: it ends otherwise.
        let log = self.home.join("postfix.log");
        write(&log, "", 0o644)?;
        give("postfix", &log)?;
        let mut users = String::new();
        for person in &self.people {
            let _ = writeln!(users, "{} x", person.address);
        }
        let conf = self.home.join("postfix");
        write(&conf.join("users"), &users, 0o644)?;
        write(&conf.join("main.cf"), &self.main_cf(), 0o644)?;
        write(&conf.join("master.cf"), &self.master_cf(), 0o644)
    }

    fn main_cf(&self) -> String {
        let Wanted { domain, lmtp, relay, .. } = self;
        let (home, certificates) = (self.home.display(), self.certificates.display());
        format!(
            "compatibility_level = 3.6\n\
             queue_directory = {home}/postfix-queue\ndata_directory = {home}/postfix-state\n\
             maillog_file = {home}/postfix.log\nmaillog_file_prefixes = {home}\n\
             mail_owner = postfix\nsetgid_group = postdrop\n\
             myhostname = mx.{domain}\nmydestination =\nalias_maps =\nlocal_recipient_maps =\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks =\n\
             smtp_dns_support_level = disabled\nsmtpd_peername_lookup = no\n\
             smtpd_client_connection_count_limit = 0\nsmtpd_authorized_xclient_hosts = 127.0.0.1\n\
             default_process_limit = 150\nmessage_size_limit = 104857600\nmailbox_size_limit = 0\n\
             smtpd_soft_error_limit = 1000\nsmtpd_hard_error_limit = 2000\n\
             virtual_mailbox_domains = {domain}\nvirtual_mailbox_maps = texthash:{home}/postfix/users\n\
             virtual_mailbox_limit = 0\nrecipient_delimiter = +\n\
             virtual_transport = lmtp:inet:{lmtp}\n\
             # Killed between Dovecot's yes and its own note of it, Postfix delivers again: one at a time, then.\n\
             lmtp_destination_concurrency_limit = 1\n\
             minimal_backoff_time = 2s\nmaximal_backoff_time = 5s\nqueue_run_delay = 2s\n\
             smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination\n\
             smtpd_recipient_restrictions = reject_unlisted_recipient, permit_sasl_authenticated, \
             reject_unauth_destination\n\
             smtpd_sasl_type = dovecot\nsmtpd_sasl_path = {home}/sign-in.sock\n\
             smtpd_tls_security_level = may\nsmtpd_tls_auth_only = yes\n\
             smtpd_tls_cert_file = {certificates}/self-signed.crt\n\
             smtpd_tls_key_file = {certificates}/self-signed.key\n\
             smtp_tls_security_level = may\nrelayhost = [{}]:{}\n",
            relay.ip(),
            relay.port(),
        )
    }

    /// Postfix's process table: two doors on the loopback, nothing in a chroot.
    fn master_cf(&self) -> String {
        let Wanted { smtp, submission, .. } = self;
        format!(
            "{smtp} inet n - n - - smtpd\n\
             {submission} inet n - n - - smtpd\n  -o smtpd_tls_security_level=encrypt\n  -o smtpd_sasl_auth_enable=yes\n\
             \x20 -o smtpd_client_restrictions=permit_sasl_authenticated,reject\n\
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

    fn write_dovecot(&self) -> Result<()> {
        let conf = self.home.join("dovecot");
        let mail = self.home.join("mail");
        for (place, mode) in [(&conf, 0o755), (&conf.join("run"), 0o755), (&mail, 0o700)] {
            room(place, mode)?;
        }
        give("mail:mail", &mail)?;
        let mut users = String::new();
        for person in &self.people {
            let _ = writeln!(users, "{}:{{PLAIN}}{}::::::", person.address, person.password);
        }
        let mut masters = String::new();
        for (name, password) in &self.masters {
            let _ = writeln!(masters, "{name}:{{PLAIN}}{password}");
        }
        for (name, text) in [("users", users), ("masters", masters)] {
            write(&conf.join(name), &text, 0o640)?;
            give("root:dovecot", &conf.join(name))?;
        }
        write(&conf.join("dovecot.conf"), &self.dovecot_conf(), 0o644)
    }

    fn dovecot_conf(&self) -> String {
        let mut folders = String::new();
        for name in ["Sent", "Drafts", "Trash", "Junk", "Archive"] {
            let _ = writeln!(
                folders,
                "  mailbox {name} {{\n    auto = subscribe\n    special_use = \\{name}\n  }}"
            );
        }
        let (home, certificates) = (self.home.display(), self.certificates.display());
        format!(
            "protocols = imap lmtp\nlisten = 127.0.0.1\n\
             ssl = yes\nssl_cert = <{certificates}/self-signed.crt\nssl_key = <{certificates}/self-signed.key\n\
             base_dir = {home}/dovecot/run\nstate_dir = {home}/dovecot/run\nlog_path = {home}/dovecot.log\n\
             auth_master_user_separator = *\nauth_mechanisms = plain login\nauth_cache_size = 0\n\
             mail_max_userip_connections = 100\n\
             mail_location = sdbox:{home}/mail/%u\nmail_home = {home}/mail/home/%u\nmail_uid = mail\nmail_gid = mail\n\
             first_valid_uid = 1\nfirst_valid_gid = 1\nrecipient_delimiter = +\n\
             lmtp_save_to_detail_mailbox = no\nlda_mailbox_autocreate = yes\n\
             passdb {{\n  driver = passwd-file\n  master = yes\n  args = {home}/dovecot/masters\n\
             \x20 result_success = continue\n}}\n\
             passdb {{\n  driver = passwd-file\n  args = {home}/dovecot/users\n}}\n\
             userdb {{\n  driver = passwd-file\n  args = {home}/dovecot/users\n}}\n\
             service auth {{\n  unix_listener {home}/sign-in.sock {{\n    mode = 0660\n    user = postfix\n  }}\n}}\n\
             service imap-login {{\n  chroot =\n  process_min_avail = 1\n\
             \x20 inet_listener imap {{\n    port = {imap}\n  }}\n  inet_listener imaps {{\n    port = 0\n  }}\n}}\n\
             service imap {{\n  process_limit = 1024\n}}\n\
             service lmtp {{\n  process_min_avail = 1\n  inet_listener lmtp {{\n    address = {lmtp_ip}\n\
             \x20   port = {lmtp}\n  }}\n}}\n\
             namespace inbox {{\n  inbox = yes\n{folders}}}\n",
            imap = self.imap.port(),
            lmtp_ip = self.lmtp.ip(),
            lmtp = self.lmtp.port(),
        )
    }
}

/// A folder with exactly these rights, whatever the program's own habit.
fn room(path: &Path, mode: u32) -> Result<()> {
    let name = || format!("making {}", path.display());
    fs::create_dir_all(path).with_context(name)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(name)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let name = || format!("writing {}", path.display());
    fs::write(path, text).with_context(name)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(name)
}

fn give(owner: &str, path: &Path) -> Result<()> {
    let done = Command::new("chown").arg(owner).arg(path).output().context("starting chown")?;
    if !done.status.success() {
        let why = String::from_utf8_lossy(&done.stderr);
        bail!("giving {} to {owner}: {} (is everything installed? {PACKAGES})", path.display(), why.trim());
    }
    Ok(())
}

/// The queue id under which Postfix carried a message, out of its `Received:` lines. Two copies with the same one were
/// handed to Postfix once: it was killed between Dovecot's yes and its own note of it, and delivered again.
pub(super) fn queue_id(header: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(header);
    let (_, rest) = text.split_once("(Postfix) with ")?;
    let (_, rest) = rest.split_once(" id ")?;
    let id = rest.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(home: &Path) -> Wanted {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Wanted {
            home: home.to_owned(),
            domain: "company.example".into(),
            smtp: at(10_001),
            submission: at(10_002),
            lmtp: at(10_003),
            imap: at(10_004),
            relay: at(10_005),
            people: vec![Mailbox { address: "anna@company.example".into(), password: "secret".into() }],
            masters: vec![("reader".into(), "other".into())],
            certificates: home.join("data"),
        }
    }

    #[test]
    fn nothing_of_the_installed_servers_is_named() {
        let wanted = wanted(Path::new("/var/tmp/x/primary"));
        for text in [wanted.main_cf(), wanted.master_cf(), wanted.dovecot_conf()] {
            for place in ["/etc", "/var/spool", "/var/mail", "/var/lib", "/run"] {
                let own = text.replace("/var/tmp/x/primary/dovecot/run", "");
                assert!(!own.contains(place), "{place} in {own}");
            }
        }
        assert!(wanted.main_cf().contains("virtual_transport = lmtp:inet:127.0.0.1:10003\n"));
        assert!(wanted.main_cf().contains("relayhost = [127.0.0.1]:10005\n"));
        assert!(wanted.master_cf().starts_with("127.0.0.1:10001 inet"));
    }

    #[test]
    fn a_queue_id_is_found_in_the_line_that_postfix_wrote() {
        let header =
            b"Received: from x by mx with LMTP id abc\r\nReceived: from mx.example (unknown [127.0.0.1])\r\n\
            \tby mx.company.example (Postfix) with ESMTPS id 4F2A61\r\n\tfor <anna@company.example>; Mon\r\n";
        assert_eq!(queue_id(header).as_deref(), Some("4F2A61"));
        assert_eq!(queue_id(b"Received: from x by mx with ESMTP id 4F2A61\r\n"), None);
        assert_eq!(queue_id(b""), None);
    }

    #[test]
    fn a_folder_that_others_may_not_pass_through_is_refused_in_words() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let shut = folder.path().join("shut");
        let demo = shut.join("demo");
        room(&demo, 0o711).unwrap();
        for mode in [0o755, 0o700] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(&shut, fs::Permissions::from_mode(mode)).unwrap();
            let found = reachable(&demo);
            assert_eq!(found.is_ok(), mode == 0o755, "{found:?}");
        }
        let words = reachable(&demo).unwrap_err().to_string();
        assert!(words.contains("--folder") && words.contains("shut"), "{words}");
        let long = folder.path().join("x".repeat(80));
        room(&long, 0o711).unwrap();
        assert!(reachable(&long).unwrap_err().to_string().contains("too long"));
    }
}
