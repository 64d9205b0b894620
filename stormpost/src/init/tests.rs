use super::instructions::instructions;
use super::written::{configuration, host_and_port};
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
        "take mail from 192.0.2.1 on port 2525",
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
