//! `stormpost check`: everything the configuration names, looked at before it matters.

mod certificate;
mod outbound;

use crate::certificates::{CertificateFiles, Certificates};
use crate::command::{Ended, Output, code};
use crate::configuration::{
    Configuration, Fault, Faults, FilterStands, Login, MailServer, MailboxLogin, SecretSource, ServerPlace,
    Severity, Source, TrustWanted, read_private, reason, write_size,
};
use crate::control::client::is_running;
use clap::Args;
use roads_accept::ScannerPlace;
use serde::Serialize;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use stores_directory::{Account, Learned, NewAccount, Origin, Snapshot};
use words_mail::Address;

/// `stormpost check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Also connect to the primaries and the smart host.
    #[arg(long)]
    online: bool,
    /// With --online and without a smart host: mail servers that are tried, to see whether port 25 to the internet is open;
    /// one that answers is enough. `none` for not at all.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_values = crate::init::outbound::WELL_KNOWN)]
    test_outbound: Vec<String>,
}

/// The longest path of a local socket, bytes; the system's own bound.
const SOCKET_PATH_MAX: usize = 107;
/// With less free disk than this a warning is due.
const FREE_LEAST: u64 = 1 << 30;
/// How long a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// One finding, for programs.
#[derive(Serialize)]
struct Finding<'a> {
    severity: Severity,
    line: Option<usize>,
    column: Option<usize>,
    words: &'a str,
    hint: Option<&'a str>,
}

/// Looks, says what it found, and gives the exit code.
///
/// # Errors
/// Never; what is wrong is a finding.
pub fn run(path: &Path, output: Output, arguments: &CheckArguments) -> Ended {
    let faults = match Configuration::load(path) {
        Err(faults) => faults,
        Ok((configuration, mut faults)) => {
            look(&configuration, &mut faults.list);
            if arguments.online {
                online(&configuration, &mut faults.list);
                outbound::online(&configuration, &arguments.test_outbound, &mut faults.list);
            }
            faults
        }
    };
    report(&faults, output);
    let worst = faults.list.iter().map(|fault| fault.severity).max();
    Ok(match worst {
        None => code::WELL,
        Some(Severity::Warning) => code::FOUND,
        Some(Severity::Error) => code::FAILED,
    })
}

/// Everything that can be looked at without the network.
pub(crate) fn findings(configuration: &Configuration) -> Vec<Fault> {
    let mut found = Vec::new();
    look(configuration, &mut found);
    found
}

fn report(faults: &Faults, output: Output) {
    let findings: Vec<Finding<'_>> = faults
        .list
        .iter()
        .map(|fault| {
            let place = fault.span.as_ref().map(|span| faults.source.place(span.start));
            Finding {
                severity: fault.severity,
                line: place.map(|p| p.line),
                column: place.map(|p| p.column),
                words: &fault.words,
                hint: fault.hint.as_deref(),
            }
        })
        .collect();
    output.value(&findings);
    let bare = Source::default();
    for fault in &faults.list {
        // A finding about a file says which in its words; the configuration's name beneath would mislead.
        let source = if fault.span.is_some() { &faults.source } else { &bare };
        output.text(&format!("{}\n", source.show(fault)));
    }
    let count = |severity| faults.list.iter().filter(|fault| fault.severity == severity).count();
    output.say(&match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => format!("{}: all well", faults.source.name),
        (0, warnings) => format!("{}: {warnings} to look at; it can run so", faults.source.name),
        (errors, warnings) => format!("{}: {errors} errors, {warnings} to look at", faults.source.name),
    });
}

fn error(words: impl Into<String>, hint: impl Into<String>) -> Fault {
    Fault::error(None, words).hint(hint)
}

fn warning(words: impl Into<String>, hint: impl Into<String>) -> Fault {
    Fault::warning(None, words).hint(hint)
}

/// Everything that can be looked at without the network.
fn look(configuration: &Configuration, found: &mut Vec<Fault>) {
    data_folder(configuration, found);
    key_file(configuration, found);
    if let Some(tls) = &configuration.tls {
        let files = CertificateFiles { certificate: tls.certificate.clone(), key: tls.key.clone() };
        if let Err(why) = Certificates::open(files) {
            found.push(error(
                format!("{why:#}"),
                "certificate and key must be PEM files that belong together",
            ));
        }
        others_may_read(&tls.key, "the certificate's private key", found);
    } else if let Some(acme) = &configuration.acme {
        certificate::look(configuration, acme, found);
    } else if !configuration.listen.imap.is_empty() || !configuration.listen.imaps.is_empty() {
        let words = "without [tls] people's mail programs are shown a certificate nobody vouches for";
        found.push(warning(words, "add [tls.acme], or [tls] with certificate and key"));
    }
    directory(configuration, found);
    filter(configuration, found);
    for domain in &configuration.domains {
        let Some(dkim) = &domain.dkim else { continue };
        let name = &domain.domain.name;
        if !dkim.key_file.exists() {
            let words = format!("the signing key {} of {name} is not there", dkim.key_file.display());
            found.push(error(words, format!("run: stormpost dkim {name}")));
        } else if let Err(why) = read_private(&dkim.key_file) {
            found.push(Fault::error(None, why));
        }
    }
    for primary in &configuration.primaries {
        server(&primary.deliver, found);
        let Some(mailbox) = &primary.mailbox else { continue };
        trust(&mailbox.trust, found);
        for login in [&mailbox.reader, &mailbox.writer].into_iter().flatten() {
            match login {
                MailboxLogin::Master(login) => secret(&login.password, found),
                MailboxLogin::Table(path) => table_of_logins(path, found),
            }
        }
    }
    if let Some(smart_host) = &configuration.outbound.smart_host {
        server(smart_host, found);
    }
    outbound::look(configuration, found);
    doors(configuration, found);
}

fn data_folder(configuration: &Configuration, found: &mut Vec<Fault>) {
    let data = &configuration.node.data;
    let shown = data.display();
    for path in [configuration.control_socket(), configuration.listen.lmtp_local.clone()] {
        if path.as_os_str().len() > SOCKET_PATH_MAX {
            let words = format!(
                "{} is too long for a local socket, which has at most {SOCKET_PATH_MAX} bytes",
                path.display()
            );
            found.push(error(words, "choose a shorter [node] data"));
        }
    }
    match fs::metadata(data) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = data.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("/"));
            if rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_err() {
                let words = format!("the data folder {shown} is not there, and this user cannot make it");
                found.push(error(
                    words,
                    format!("as root: install -d -m 700 -o {} {shown}", crate::control::client::who()),
                ));
            }
        }
        Err(e) => found
            .push(error(format!("the data folder {shown}: {}", reason(&e)), "run check as the node's user")),
        Ok(facts) if !facts.is_dir() => {
            found.push(error(format!("the data folder {shown} is not a folder"), "name another [node] data"));
        }
        Ok(facts) => {
            if facts.permissions().mode() & 0o077 != 0 {
                let words = format!("others on this machine may look into the data folder {shown}");
                found.push(warning(words, format!("run: chmod 700 {shown}")));
            }
            if rustix::fs::access(data, rustix::fs::Access::WRITE_OK).is_err() {
                let words = format!("this user may not write into the data folder {shown}");
                found.push(error(words, "run check as the node's user, or chown the folder"));
            }
            free(configuration, found);
        }
    }
}

fn free(configuration: &Configuration, found: &mut Vec<Fault>) {
    let Ok(facts) = rustix::fs::statvfs(&configuration.node.data) else { return };
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    let limits = &configuration.limits;
    if free <= limits.reserve {
        let words = format!(
            "only {} of disk are free, less than [limits] reserve: no mail would be accepted",
            write_size(free)
        );
        found.push(error(words, "make room, or choose another disk for [node] data"));
    } else if free < FREE_LEAST {
        found.push(warning(format!("only {} of disk are free", write_size(free)), "make room"));
    }
}

fn key_file(configuration: &Configuration, found: &mut Vec<Fault>) {
    let path = &configuration.node.key_file;
    let shown = path.display();
    if path.exists() {
        others_may_read(path, "the key of all stored mail", found);
        return;
    }
    let has_journal = configuration.node.data.join("journal").exists();
    if has_journal {
        let words =
            format!("the key {shown} is not there, and without it nothing that is stored can be read");
        found.push(error(words, "put it back from your copy"));
    } else if !path.parent().is_some_and(Path::is_dir) && path.parent() != Some(&configuration.node.data) {
        found.push(error(
            format!("the folder of the key {shown} is not there"),
            "make it, or name another key_file",
        ));
    }
}

/// An MX with no filter at all is an open door for spam and viruses.
fn filter(configuration: &Configuration, found: &mut Vec<Fault>) {
    let filter = &configuration.filter;
    if !configuration.listen.smtp.is_empty() && !filter.looks() && filter.stands == FilterStands::Unsaid {
        let words = "mail is taken from the internet, and nothing looks for spam and viruses in it";
        let hint = "add [filter.rspamd] or [filter.clamav]; or, when the primary's own filter judges what we hand over, write \
                    [filter] stands = \"primary\"";
        found.push(error(words, hint));
    }
    for local in [&filter.scanners.rspamd, &filter.scanners.clamd].into_iter().flatten() {
        if let ScannerPlace::Local(path) = &local.place
            && !path.exists()
        {
            let words = format!("the scanner's socket {} is not there", path.display());
            found.push(warning(words, "start the scanner, or correct its address"));
        }
    }
}

fn others_may_read(path: &Path, what: &str, found: &mut Vec<Fault>) {
    let shown = path.display();
    match fs::metadata(path) {
        Err(e) => found.push(error(format!("{what}, {shown}: {}", reason(&e)), "put it there")),
        Ok(facts) if facts.permissions().mode() & 0o007 != 0 => {
            let words = format!("{what}, {shown}, can be read by everybody on this machine");
            found.push(error(words, format!("run: chmod 600 {shown}")));
        }
        Ok(_) => {}
    }
}

/// The accounts as the directory would take them.
fn directory(configuration: &Configuration, found: &mut Vec<Fault>) {
    let accounts = match configuration.directory_accounts() {
        Ok(accounts) => accounts,
        Err(faults) => {
            found.extend(faults.into_iter().map(|words| Fault::error(None, words)));
            return;
        }
    };
    let has_any = |name: &str| accounts.iter().any(|a| a.address.domain() == name);
    for domain in configuration.domains.iter().map(|d| &d.domain) {
        if domain.primary.is_none() && domain.postmaster.is_none() && !has_any(&domain.name) {
            let words =
                format!("nobody gets mail for postmaster@{}, which every domain must have", domain.name);
            found.push(warning(words, "name an account, or add one with: stormpost account add"));
        }
    }
    let configured = |new: NewAccount| {
        let NewAccount { address, name, aliases, class } = new;
        Account { address, name, aliases, class, suspended: false, origin: Origin::Configured }
    };
    let accounts = accounts.into_iter().map(configured).collect();
    let (_, conflicts) = Snapshot::build(0, &configuration.directory_domains(), accounts, Learned::default());
    for conflict in conflicts {
        // A postmaster may be an account that was added by hand; the node itself knows.
        let fault = if conflict.account.is_some() { Fault::error } else { Fault::warning };
        found.push(fault(None, conflict.to_string()));
    }
}

fn server(server: &MailServer, found: &mut Vec<Fault>) {
    trust(&server.trust, found);
    if let Some(Login { password, .. }) = &server.login {
        secret(password, found);
    }
    if let ServerPlace::Local(path) = &server.place
        && !path.exists()
    {
        found.push(warning(
            format!("nobody listens at {}", path.display()),
            "start that server, or name its socket",
        ));
    }
}

fn trust(trust: &TrustWanted, found: &mut Vec<Fault>) {
    let TrustWanted::File(path) = trust else { return };
    let shown = path.display();
    match fs::read_to_string(path) {
        Err(e) => {
            let hint = "trust is \"public\", \"anybody\" or the path of a PEM file";
            found.push(error(format!("the certificates to believe, {shown}: {}", reason(&e)), hint));
        }
        Ok(text) if !text.contains("-----BEGIN CERTIFICATE-----") => {
            found.push(error(
                format!("{shown} holds no certificate"),
                "it must be PEM text with BEGIN CERTIFICATE",
            ));
        }
        Ok(_) => {}
    }
}

fn secret(source: &SecretSource, found: &mut Vec<Fault>) {
    if let Err(words) = source.read() {
        let fault = Fault::error(None, words);
        found.push(match source {
            SecretSource::File(path) if !path.exists() => {
                let shown = path.display();
                fault.hint(format!(
                    "run: install -m 600 /dev/null {shown}; then put the password on its first line"
                ))
            }
            _ => fault,
        });
    }
}

/// A table `account,user,password`.
fn table_of_logins(path: &Path, found: &mut Vec<Fault>) {
    match read_private(path) {
        Err(words) => found.push(Fault::error(None, words)),
        Ok(text) => {
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let fields: Vec<&str> = line.splitn(3, ',').map(str::trim).collect();
                let good = match fields.as_slice() {
                    [account, user, password] => {
                        number == 0 && *account == "account"
                            || Address::parse(account).is_ok() && !user.is_empty() && !password.is_empty()
                    }
                    _ => false,
                };
                if !good {
                    let words = format!("{}, line {}: not account,user,password", path.display(), number + 1);
                    found.push(Fault::error(None, words));
                }
            }
        }
    }
}

/// Whether the doors can be opened; not while the node itself has them open.
fn doors(configuration: &Configuration, found: &mut Vec<Fault>) {
    if is_running(&configuration.control_socket()) {
        return;
    }
    let listen = &configuration.listen;
    let all =
        [&listen.smtp, &listen.submission, &listen.submissions, &listen.imap, &listen.imaps, &listen.http];
    for at in all.into_iter().flatten() {
        let hint = match TcpListener::bind(at) {
            Ok(_) => continue,
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                "ports below 1024 need root or CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities)".to_owned()
            }
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                format!("another program listens there; see: ss -ltnp 'sport = :{}'", at.port())
            }
            Err(e) => reason(&e),
        };
        found.push(warning(format!("the door {at} cannot be opened now"), hint));
    }
}

/// Whether the servers answer.
fn online(configuration: &Configuration, found: &mut Vec<Fault>) {
    let deliver =
        configuration.primaries.iter().map(|p| (format!("primary {}", p.id), p.deliver.place.clone()));
    let mailbox = configuration.primaries.iter().filter_map(|p| {
        let server = p.mailbox.as_ref()?;
        Some((format!("mailboxes of {}", p.id), ServerPlace::Host(server.host.clone(), server.port)))
    });
    let smart_host =
        configuration.outbound.smart_host.iter().map(|s| ("smart host".to_owned(), s.place.clone()));
    for (what, place) in deliver.chain(mailbox).chain(smart_host) {
        let ServerPlace::Host(host, port) = place else { continue };
        let addresses: Vec<SocketAddr> = match (host.as_str(), port).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(e) => {
                found.push(warning(
                    format!("{what}: {host} has no address ({e})"),
                    "look at the name and the DNS",
                ));
                continue;
            }
        };
        let answers = addresses.iter().any(|at| TcpStream::connect_timeout(at, CONNECT_TIME).is_ok());
        if !answers {
            let words = format!("{what}: nobody answers at {host} port {port}");
            found.push(warning(words, "is it running, and does its firewall let this machine in?"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Place {
            Place(tempfile::tempdir().unwrap())
        }

        fn put(&self, name: &str, content: &str, mode: u32) {
            let path = self.0.path().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }

        /// The findings about a configuration in this folder.
        fn found(&self, text: &str) -> Vec<String> {
            let path = self.0.path().join("stormpost.toml");
            let (configuration, mut faults) = Configuration::parse(&path, text.to_owned()).unwrap();
            faults.list.clear();
            look(&configuration, &mut faults.list);
            let name = self.0.path().display().to_string();
            faults.list.iter().map(|f| format!("{}: {}", f.severity, f.words.replace(&name, "DIR"))).collect()
        }
    }

    const PLAIN: &str = "\
[node]
name = \"mx.example.org\"
data = \"data\"
[filter]
stands = \"primary\"
[limits]
spool_size = \"2MiB\"
[listen]
smtp = \"127.0.0.1:0\"
[[domain]]
name = \"example.org\"
accounts = \"people.csv\"
";

    #[test]
    fn a_good_place_has_no_findings() {
        let place = Place::new();
        place.put("people.csv", "address\nanna@example.org\n", 0o644);
        let found: Vec<String> =
            place.found(PLAIN).into_iter().filter(|f| !f.contains("disk are free")).collect();
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn an_mx_with_no_filter_at_all_is_an_error() {
        let place = Place::new();
        place.put("people.csv", "address\nanna@example.org\n", 0o644);
        let found = |filter: &str| {
            let found = place.found(&PLAIN.replace("stands = \"primary\"\n", filter));
            found.into_iter().filter(|f| f.contains("spam") || f.contains("scanner")).collect::<Vec<_>>()
        };
        assert_eq!(
            found(""),
            ["error: mail is taken from the internet, and nothing looks for spam and viruses in it"]
        );
        assert!(found("stands = \"here\"\nrspamd = { address = \"127.0.0.1\" }\n").is_empty());
        let socket = "clamav = { address = \"./clamd.ctl\" }\n";
        assert_eq!(found(socket), ["warning: the scanner's socket DIR/./clamd.ctl is not there"]);
    }

    #[test]
    fn every_missing_or_open_file_is_found_and_named() {
        let place = Place::new();
        place.put("people.csv", "address\nanna@example.org\nnobody\n", 0o644);
        place.put("tls.key", "x", 0o644);
        place.put("reader.password", "x", 0o604);
        place.put("logins.csv", "account,user,password\nanna@example.org,anna\n", 0o600);
        place.put("key", "x", 0o644);
        let text = format!(
            "{PLAIN}dkim = {{ key_file = \"dkim.pem\" }}\nprimary = \"a\"\n\
             [tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\n\
             [[primary]]\nid = \"a\"\ndeliver = {{ host = \"h\", trust = \"ca.pem\", user = \"u\", password_file = \"reader.password\" }}\n\
             mailbox = {{ host = \"h\", reader = {{ accounts_file = \"logins.csv\" }} }}\n"
        )
        .replace("data = \"data\"", "data = \"data\"\nkey_file = \"key\"");
        let found = place.found(&text).join("\n");
        for expected in [
            "error: the key of all stored mail, DIR/key, can be read by everybody on this machine",
            "tls.crt",
            "error: the certificate's private key, DIR/tls.key, can be read by everybody",
            "error: DIR/people.csv, line 3: \"nobody\" is not an address",
            "error: the signing key DIR/dkim.pem of example.org is not there",
            "error: the certificates to believe, DIR/ca.pem: there is no such file",
            "error: DIR/reader.password can be read by everybody on this machine",
            "error: DIR/logins.csv, line 2: not account,user,password",
        ] {
            assert!(found.contains(expected), "{expected}\n--\n{found}");
        }
    }

    #[test]
    fn a_lost_key_beside_stored_mail_is_an_error_and_not_made_anew() {
        let place = Place::new();
        place.put("people.csv", "address\nanna@example.org\n", 0o644);
        fs::create_dir_all(place.0.path().join("data/journal")).unwrap();
        fs::set_permissions(place.0.path().join("data"), fs::Permissions::from_mode(0o755)).unwrap();
        let found = place.found(PLAIN).join("\n");
        assert!(
            found.contains("error: the key DIR/data/key is not there, and without it nothing"),
            "{found}"
        );
        assert!(
            found.contains("warning: others on this machine may look into the data folder DIR/data"),
            "{found}"
        );
    }

    #[test]
    fn accounts_that_contradict_each_other_are_found() {
        let place = Place::new();
        place.put(
            "people.csv",
            "address,aliases\nanna@example.org,x@example.org\nbert@elsewhere.org,\n",
            0o644,
        );
        let text = PLAIN.replace("accounts = ", "catch_all = \"zoe@example.org\"\naccounts = ");
        let found = place.found(&text).join("\n");
        assert!(
            found.contains("error: bert@elsewhere.org: its domain elsewhere.org is not in the configuration"),
            "{found}"
        );
        assert!(found.contains("catch_all goes to zoe@example.org, which is no account here"), "{found}");
        let empty = PLAIN.replace("accounts = \"people.csv\"\n", "");
        assert!(place.found(&empty).join("\n").contains("nobody gets mail for postmaster@example.org"));
    }

    #[test]
    fn a_taken_door_and_a_path_too_long_for_a_socket_are_found() {
        let place = Place::new();
        place.put("people.csv", "address\nanna@example.org\n", 0o644);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = PLAIN.replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string());
        let found = place.found(&text.replace("\"data\"", &format!("\"{}\"", "d".repeat(120)))).join("\n");
        assert!(found.contains("cannot be opened now"), "{found}");
        assert!(found.contains("is too long for a local socket"), "{found}");
    }
}
