//! `stormpost init`: a working configuration from flags or a few questions, and everything around it that must be done.

use crate::command::{DkimRecord, Ended, Failure, Output, code, ensure_key};
use crate::configuration::{Configuration, reason};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use words_mail::Address;
use words_world::Random;

/// `stormpost init`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_long_help = "Examples:\n  stormpost init\n  stormpost init --config ./stormpost.toml --data ./data --name mx.example.org --domain \
                       example.org \\\n    --account anna@example.org --primary mail.example.org --imap mail.example.org \
                       --notify me@provider.example"
)]
pub struct InitArguments {
    /// The host name of this machine, as the MX will say it.
    #[arg(long, value_name = "HOST")]
    name: Option<String>,
    /// The folder of everything that must not be lost [default: /var/lib/stormpost].
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// A domain to take in mail for; repeat for more.
    #[arg(long = "domain", value_name = "DOMAIN", value_delimiter = ',')]
    domains: Vec<String>,
    /// An account; repeat for more. The first one gets postmaster's mail.
    #[arg(long = "account", value_name = "ADDRESS", value_delimiter = ',')]
    accounts: Vec<String>,
    /// The mail system to stand in front of, as HOST or HOST:PORT. Without it this is a plain mail server.
    #[arg(long, value_name = "HOST[:PORT]")]
    primary: Option<String>,
    /// How mail is handed to it.
    #[arg(long, value_enum, default_value_t = Protocol::Smtp)]
    protocol: Protocol,
    /// Where its mailboxes are read by IMAP, as HOST or HOST:PORT.
    #[arg(long, value_name = "HOST[:PORT]")]
    imap: Option<String>,
    /// Who is told when the primary fails: addresses that do not live at it.
    #[arg(long = "notify", value_name = "ADDRESS", value_delimiter = ',')]
    notify: Vec<String>,
    /// Where today's filter against spam and viruses stands: `rspamd` or `clamav` on this machine, both, or `primary`.
    #[arg(long = "filter", value_enum, value_name = "WHERE", value_delimiter = ',')]
    filter: Vec<FilterPlace>,
    /// The address to listen at.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    listen: String,
    /// The public address of this machine, for the DNS records.
    #[arg(long, value_name = "IP")]
    address: Option<String>,
    /// Ask nothing.
    #[arg(long, short = 'y')]
    yes: bool,
}

/// How mail is handed to the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// SMTP, as any mail server takes it.
    #[default]
    Smtp,
    /// LMTP, as Dovecot and Cyrus take it.
    Lmtp,
}

/// Where a filter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FilterPlace {
    /// rspamd on this machine, at its usual port.
    Rspamd,
    /// ClamAV on this machine, at its usual socket.
    Clamav,
    /// At the primary, or behind it.
    Primary,
}

/// The id of the primary in what is written.
const PRIMARY: &str = "office";

/// What was written and what is to be done, for programs.
#[derive(Serialize)]
struct Done {
    configuration: PathBuf,
    written: Vec<PathBuf>,
    dkim: Vec<DkimRecord>,
    next: String,
}

/// Asks, writes, prints.
///
/// # Errors
/// When something needed is not said, does not make sense, or a file cannot be written; nothing is overwritten.
pub fn run(path: &Path, output: Output, mut arguments: InitArguments) -> Ended {
    let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if at_terminal && !arguments.yes && !output.json {
        ask_all(&mut arguments)?;
    }
    let usage = |words: &str| Failure { code: code::USAGE, words: words.to_owned() };
    if arguments.name.is_none() {
        return Err(usage("say the host name of this machine with --name mx.example.org"));
    }
    if arguments.domains.is_empty() {
        return Err(usage("say the domain to take in mail for with --domain example.org"));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let text = configuration(&arguments);
    // What is wrong with the answers is told in the same words as of any configuration.
    let parsed = Configuration::parse(path, text.clone());
    let (parsed, _) = parsed.map_err(|faults| Failure { code: code::FAILED, words: faults.to_string() })?;
    let table = accounts(&arguments)?;
    let mut written = Vec::new();
    make_folder(folder)?;
    let mut put = |path: &Path, content: &str, mode: u32| -> Result<(), Failure> {
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(mode).open(path);
        let result =
            file.and_then(|mut file| file.write_all(content.as_bytes()).and_then(|()| file.sync_all()));
        match result {
            Ok(()) => {
                written.push(path.to_owned());
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                Err(format!("{} is there already and is not overwritten; move it away first", path.display())
                    .into())
            }
            Err(e) => Err(format!("{} cannot be written: {}", path.display(), reason(&e)).into()),
        }
    };
    put(path, &text, 0o640)?;
    put(&folder.join("accounts.csv"), &table, 0o640)?;
    if !parsed.node.key_file.exists() {
        put(&parsed.node.key_file, &new_key(), 0o600)?;
    }
    let mut dkim = Vec::new();
    for domain in &parsed.domains {
        let Some(settings) = &domain.dkim else { continue };
        dkim.push(ensure_key(&settings.key_file, &settings.selector, &domain.domain.name)?);
        written.push(settings.key_file.clone());
    }
    let next = instructions(&arguments, &parsed, &dkim);
    for path in &written {
        output.say(&format!("written: {}", path.display()));
    }
    output.text(&next);
    output.value(&Done { configuration: path.to_owned(), written, dkim, next });
    Ok(code::WELL)
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|e| {
        format!("{} cannot be made: {}; name another place with --config", folder.display(), reason(&e))
            .into()
    })
}

/// One line from the terminal, or the default.
fn ask(question: &str, default: &str) -> Result<String, Failure> {
    let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    print!("{question}{shown}: ");
    io::stdout().flush()?;
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err("the questions were not answered; nothing was written".into());
    }
    let line = line.trim();
    Ok(if line.is_empty() { default.to_owned() } else { line.to_owned() })
}

fn words(text: &str) -> Vec<String> {
    text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn ask_all(arguments: &mut InitArguments) -> Result<(), Failure> {
    if arguments.domains.is_empty() {
        arguments.domains = words(&ask("Which domains is mail taken in for? (example.org)", "")?);
    }
    let first = arguments.domains.first().cloned().unwrap_or_default();
    if arguments.name.is_none() {
        let guess = if first.is_empty() { String::new() } else { format!("mx.{first}") };
        arguments.name =
            Some(ask("What is this machine called in the DNS?", &guess)?).filter(|n| !n.is_empty());
    }
    if arguments.data.is_none() {
        arguments.data = Some(PathBuf::from(ask("Where is everything kept?", "/var/lib/stormpost")?));
    }
    if arguments.primary.is_none() {
        let question = "Which mail system stands behind it? (HOST or HOST:PORT, empty for none)";
        arguments.primary = Some(ask(question, "")?).filter(|host| !host.is_empty());
    }
    if arguments.primary.is_some() && arguments.imap.is_none() {
        let host = arguments.primary.as_deref().map_or("", |primary| host_and_port(primary).0);
        let question = "Where are its mailboxes read by IMAP? (- for not at all)";
        arguments.imap = Some(ask(question, host)?).filter(|host| host != "-");
    }
    if arguments.accounts.is_empty() {
        arguments.accounts = words(&ask("Which accounts are there? (the first gets postmaster's mail)", "")?);
    }
    if arguments.filter.is_empty() {
        let question = "Where does the filter against spam and viruses stand? (rspamd, clamav: here; primary; empty for none)";
        let default = if arguments.primary.is_some() { "primary" } else { "" };
        for word in words(&ask(question, default)?) {
            let place = FilterPlace::from_str(&word, true).map_err(|_| Failure {
                code: code::USAGE,
                words: format!("{word:?} is none of: rspamd, clamav, primary"),
            })?;
            arguments.filter.push(place);
        }
    }
    if arguments.primary.is_some() && arguments.notify.is_empty() {
        arguments.notify = words(&ask("Who is told when it fails? (an address somewhere else)", "")?);
    }
    Ok(())
}

/// `host:25`, `host`, `[2001:db8::1]:25`.
fn host_and_port(text: &str) -> (&str, Option<u16>) {
    if let Some(rest) = text.strip_prefix('[')
        && let Some((host, port)) = rest.split_once(']')
    {
        return (host, port.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.parse::<u16>().is_ok() => (host, port.parse().ok()),
        _ => (text, None),
    }
}

/// Text as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", quoted.join(", "))
}

fn filter(out: &mut String, places: &[FilterPlace]) {
    let is_there = |place| places.contains(&place);
    out.push_str("\n[filter]\n");
    match (is_there(FilterPlace::Primary), places.is_empty()) {
        (_, true) => {
            out.push_str("# Until a filter is named here, stormpost check is red.\n# stands = \"primary\"\n")
        }
        (true, _) => out.push_str("stands = \"primary\"\n"),
        (false, _) => out.push_str("stands = \"here\"\n"),
    }
    if is_there(FilterPlace::Rspamd) {
        out.push_str("\n[filter.rspamd]\naddress = \"127.0.0.1:11333\"\n");
    }
    if is_there(FilterPlace::Clamav) {
        out.push_str("\n[filter.clamav]\naddress = \"/run/clamav/clamd.ctl\"\n");
    }
}

fn configuration(arguments: &InitArguments) -> String {
    let mut out =
        String::from("# Every key: docs/configuration.md. After a change: stormpost check\n\n[node]\n");
    let _ = writeln!(out, "name = {}", quoted(arguments.name.as_deref().unwrap_or_default()));
    let data = arguments.data.as_deref().unwrap_or(Path::new("/var/lib/stormpost"));
    let _ = writeln!(out, "data = {}", quoted(&data.to_string_lossy()));
    out.push_str("# Without this key nobody can read the stored mail: keep a copy elsewhere.\nkey_file = \"stormpost.key\"\n\n[listen]\n");
    let ip = if arguments.listen.contains(':') && !arguments.listen.starts_with('[') {
        format!("[{}]", arguments.listen)
    } else {
        arguments.listen.clone()
    };
    for (door, port) in
        [("smtp", 25), ("submission", 587), ("submissions", 465), ("imap", 143), ("imaps", 993)]
    {
        let _ = writeln!(out, "{door} = {}", quoted(&format!("{ip}:{port}")));
    }
    out.push_str(
        "http = \"127.0.0.1:8025\"\n\n# [tls]\n# certificate = \"fullchain.pem\"\n# key = \"privkey.pem\"\n",
    );
    for (at, domain) in arguments.domains.iter().enumerate() {
        let _ = write!(out, "\n[[domain]]\nname = {}\n", quoted(domain));
        if at == 0 {
            out.push_str("accounts = \"accounts.csv\"\n");
        }
        if arguments.primary.is_some() {
            let _ = writeln!(out, "primary = \"{PRIMARY}\"");
            // Until somebody says that the table is complete, the primary is asked about others.
            out.push_str("authoritative = false\n");
        }
        let file = format!("dkim-{}.pem", domain.to_lowercase());
        let _ = writeln!(out, "dkim = {{ selector = \"stormpost\", key_file = {} }}", quoted(&file));
    }
    filter(&mut out, &arguments.filter);
    if let Some(primary) = &arguments.primary {
        let (host, port) = host_and_port(primary);
        let _ = write!(out, "\n[[primary]]\nid = \"{PRIMARY}\"\nmode = \"automatic\"\n\n[primary.deliver]\n");
        let kind = if arguments.protocol == Protocol::Lmtp { "lmtp" } else { "smtp" };
        let _ = writeln!(out, "kind = \"{kind}\"\nhost = {}", quoted(host));
        if let Some(port) = port {
            let _ = writeln!(out, "port = {port}");
        }
        out.push_str("tls = \"opportunistic\"\n");
    }
    if let (Some(imap), true) = (&arguments.imap, arguments.primary.is_some()) {
        let (host, port) = host_and_port(imap);
        let _ = write!(out, "\n[primary.mailbox]\nhost = {}\n", quoted(host));
        match port {
            Some(143) => out.push_str("port = 143\ntls = \"required\"\n"),
            Some(port) => {
                let _ = writeln!(out, "port = {port}");
            }
            None => {}
        }
        out.push_str(
            "# Dovecot master users; see docs/configuration.md for one sign-in per account.\n\
             reader = { user = \"{account}*stormpost-reader\", password_file = \"reader.password\" }\n\
             writer = { user = \"{account}*stormpost-writer\", password_file = \"writer.password\" }\n",
        );
    }
    if !arguments.notify.is_empty() {
        let _ = write!(out, "\n[notify]\nmail = {}\n", list(&arguments.notify));
    }
    out
}

/// The account table.
fn accounts(arguments: &InitArguments) -> Result<String, Failure> {
    let mut out = String::from("address,name,aliases,class\n");
    for (at, text) in arguments.accounts.iter().enumerate() {
        let address = Address::parse(text).map_err(|why| format!("{text:?} is not a mail address: {why}"))?;
        if text.contains([',', '"']) {
            return Err(format!("{text:?} cannot stand in a table without quotes").into());
        }
        let _ = writeln!(out, "{address},,,{}", if at == 0 { "admin" } else { "person" });
    }
    Ok(out)
}

fn new_key() -> String {
    let mut key = [0u8; 32];
    crate::world::SystemRandom.fill(&mut key);
    let mut out =
        String::from("# The key that Stormpost's stored mail is encrypted with. Keep a copy elsewhere.\n");
    for byte in key {
        let _ = write!(out, "{byte:02x}");
    }
    out.push('\n');
    out
}

/// Everything around the configuration that somebody must do.
fn instructions(arguments: &InitArguments, parsed: &Configuration, dkim: &[DkimRecord]) -> String {
    let mut out = String::new();
    let name = &parsed.node.name;
    let address = arguments.address.as_deref().unwrap_or("THIS-MACHINE'S-ADDRESS");
    let kind = if address.contains(':') { "AAAA" } else { "A" };
    let _ = writeln!(
        out,
        "\n1. DNS\n   {name}. IN {kind} {address}\n   and the reverse name of {address} must be {name}"
    );
    for domain in parsed.domains.iter().map(|d| &d.domain.name) {
        let _ = writeln!(out, "   {domain}. IN MX 10 {name}.          (when you are ready to switch)");
        let _ = writeln!(
            out,
            "   {domain}. IN TXT \"v=spf1 mx a:{name} -all\"  (or add a:{name} to the SPF record you have)"
        );
    }
    for record in dkim {
        let _ = writeln!(out, "   {}", record.zone_line());
    }
    out.push_str(
        "   If a domain has an MTA-STS policy (a TXT record at _mta-sts), add this machine's name to its mx lines, and wait for its\n   \
         max_age, before the MX changes.\n",
    );
    out.push_str("\n2. Firewall: let in\n");
    for (door, sockets) in [
        ("mail from other servers", &parsed.listen.smtp),
        ("people's programs sending", &parsed.listen.submission),
        ("people's programs sending, TLS", &parsed.listen.submissions),
        ("people's programs reading", &parsed.listen.imap),
        ("people's programs reading, TLS", &parsed.listen.imaps),
    ] {
        for socket in sockets {
            let _ = writeln!(
                out,
                "   nft add rule inet filter input tcp dport {} accept   # {door}",
                socket.port()
            );
        }
    }
    out.push_str("   and out: tcp 25 to everywhere, udp and tcp 53 to your name servers\n");
    for primary in &parsed.primaries {
        primary_part(&mut out, address, parsed, primary);
    }
    let config = parsed.path.display();
    let _ =
        writeln!(out, "\nNext:\n   stormpost check --config {config}\n   stormpost serve --config {config}");
    let _ = writeln!(
        out,
        "   keep a copy of {} somewhere else: without it nobody can read the stored mail",
        parsed.node.key_file.display()
    );
    out
}

fn primary_part(
    out: &mut String,
    address: &str,
    parsed: &Configuration,
    primary: &crate::configuration::PrimarySettings,
) {
    use crate::configuration::ServerPlace;
    let _ = writeln!(out, "\n3. The primary {:?} must", primary.id.0);
    let host = match &primary.deliver.place {
        ServerPlace::Host(host, port) => {
            let _ = writeln!(
                out,
                "   - take mail from {address} on port {port}, without greylisting, rate limits or SPF checks for it"
            );
            host.clone()
        }
        ServerPlace::Local(path) => {
            let _ = writeln!(out, "   - take mail at {}", path.display());
            "THE-PRIMARY".to_owned()
        }
    };
    out.push_str(
        "   - judge the original sender, not us: Postfix: smtpd_authorized_xclient_hosts = this machine; Microsoft 365: a\n     \
         connector with enhanced filtering; Google Workspace: this machine as an inbound gateway\n",
    );
    if let Some(mailbox) = &primary.mailbox {
        let _ = writeln!(
            out,
            "   - let two sign-ins into every mailbox by IMAP at {} port {}: one that reads, one that writes (Dovecot: \
             auth_master_user_separator = *, two master users)\n     and their passwords must stand in reader.password and \
             writer.password beside the configuration, mode 0600",
            mailbox.host, mailbox.port
        );
    }
    out.push_str("\n4. If Stormpost itself ever has to be gone round (print this page)\n");
    for domain in &parsed.domains {
        if domain.domain.primary.as_ref() == Some(&primary.id) {
            let _ = writeln!(out, "   {}. IN MX 20 {host}.", domain.domain.name);
        }
    }
    out.push_str(
        "   as a second MX, from now on: senders use it while this machine is down. The primary must then take mail from\n   \
         everywhere on port 25 and do its own spam checks. To leave for good, make it MX 10 and remove this machine.\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn arguments() -> InitArguments {
        InitArguments {
            name: Some("mx.example.org".into()),
            data: Some("data".into()),
            domains: vec!["example.org".into(), "example.com".into()],
            accounts: vec!["anna@example.org".into(), "bert@example.com".into()],
            primary: Some("mail.example.org:2525".into()),
            imap: Some("mail.example.org".into()),
            notify: vec!["me@provider.example".into()],
            listen: "127.0.0.1".into(),
            address: Some("192.0.2.1".into()),
            ..InitArguments::default()
        }
    }

    const QUIET: Output = Output { json: true };

    #[test]
    fn what_init_writes_is_a_configuration_that_loads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etc/stormpost.toml");
        assert_eq!(run(&path, QUIET, arguments()).unwrap(), code::WELL);
        let (configuration, warnings) = Configuration::load(&path).unwrap();
        assert_eq!(warnings.to_string(), "");
        assert_eq!(configuration.directory_accounts().unwrap().len(), 2);
        assert_eq!(configuration.domains.len(), 2);
        let primary = &configuration.primaries[0];
        assert_eq!(
            primary.deliver.place,
            crate::configuration::ServerPlace::Host("mail.example.org".into(), 2525)
        );
        for secret in ["stormpost.key", "dkim-example.org.pem", "dkim-example.com.pem"] {
            let mode = fs::metadata(folder.path().join("etc").join(secret)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{secret}");
        }
    }

    #[test]
    fn what_init_wrote_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stormpost.toml");
        run(&path, QUIET, arguments()).unwrap();
        let key = fs::read(folder.path().join("stormpost.key")).unwrap();
        let again = run(&path, QUIET, arguments()).unwrap_err();
        assert!(again.words.contains("is there already and is not overwritten"), "{}", again.words);
        fs::remove_file(&path).unwrap();
        fs::remove_file(folder.path().join("accounts.csv")).unwrap();
        run(&path, QUIET, arguments()).unwrap();
        assert_eq!(
            fs::read(folder.path().join("stormpost.key")).unwrap(),
            key,
            "a key is worth more than a file"
        );
    }

    #[test]
    fn the_key_file_is_one_the_log_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stormpost.toml");
        run(&path, QUIET, arguments()).unwrap();
        let ring =
            stores_log::KeyRing::from_file(&folder.path().join("stormpost.key"), &crate::world::SystemRandom);
        assert!(ring.is_ok(), "{ring:?}");
    }

    #[test]
    fn the_instructions_name_everything_that_must_be_done() {
        let folder = tempfile::tempdir().unwrap();
        let (parsed, _) =
            Configuration::parse(&folder.path().join("stormpost.toml"), configuration(&arguments())).unwrap();
        let text = instructions(&arguments(), &parsed, &[]);
        for expected in [
            "mx.example.org. IN A 192.0.2.1",
            "example.org. IN MX 10 mx.example.org.",
            "v=spf1 mx a:mx.example.org -all",
            "MTA-STS",
            "tcp dport 25 accept",
            "take mail from 192.0.2.1 on port 2525",
            "smtpd_authorized_xclient_hosts",
            "example.com. IN MX 20 mail.example.org.",
            "keep a copy of",
        ] {
            assert!(text.contains(expected), "{expected}\n--\n{text}");
        }
        let plain = InitArguments { primary: None, imap: None, ..arguments() };
        let (parsed, _) = Configuration::parse(Path::new("stormpost.toml"), configuration(&plain)).unwrap();
        assert!(parsed.primaries.is_empty() && parsed.domains[0].domain.authoritative);
    }

    #[test]
    fn answers_that_make_no_sense_are_told_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stormpost.toml");
        for (wrong, expected) in [
            (InitArguments { name: None, ..arguments() }, "--name"),
            (InitArguments { domains: vec![], ..arguments() }, "--domain"),
            (InitArguments { domains: vec!["exam ple".into()], ..arguments() }, "is not a host name"),
            (InitArguments { name: Some("a\"\nb".into()), ..arguments() }, "is not a host name"),
            (InitArguments { accounts: vec!["anna".into()], ..arguments() }, "is not a mail address"),
            (InitArguments { notify: vec!["nobody".into()], ..arguments() }, "is not a mail address"),
            (InitArguments { listen: "everywhere".into(), ..arguments() }, "is not an address to listen at"),
        ] {
            let failure = run(&path, QUIET, wrong).unwrap_err();
            assert!(failure.words.contains(expected), "{expected}: {}", failure.words);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{expected}");
        }
    }

    #[test]
    fn where_the_filter_stands_is_written() {
        use crate::configuration::FilterStands;
        for (filter, stands, rspamd, clamd) in [
            (vec![], FilterStands::Unsaid, false, false),
            (vec![FilterPlace::Primary], FilterStands::Primary, false, false),
            (vec![FilterPlace::Rspamd, FilterPlace::Clamav], FilterStands::Here, true, true),
            (vec![FilterPlace::Primary, FilterPlace::Clamav], FilterStands::Primary, false, true),
        ] {
            let text = configuration(&InitArguments { filter, ..arguments() });
            let (parsed, _) = Configuration::parse(Path::new("stormpost.toml"), text).unwrap();
            let scanners = &parsed.filter.scanners;
            assert_eq!(parsed.filter.stands, stands);
            assert_eq!((scanners.rspamd.is_some(), scanners.clamd.is_some()), (rspamd, clamd));
        }
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (text, expected) in [
            ("mail.example.org", ("mail.example.org", None)),
            ("mail.example.org:2525", ("mail.example.org", Some(2525))),
            ("[2001:db8::1]:25", ("2001:db8::1", Some(25))),
            ("2001:db8::1", ("2001:db8::1", None)),
        ] {
            assert_eq!(host_and_port(text), expected);
        }
    }
}
