//! A certificate is fetched from an authority, shown at every door, and renewed; and what goes wrong with that costs nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stories::lab::wait_for;
use stories::pebble::{CUSTOMER, Pebble};
use stories::stormpost::{Company, Setup};
use stories::tools::{curl, run};
use stories::{Lab, Stormpost};

/// A node that asks `pebble`, with these lines more in `[tls.acme]`.
fn setup(pebble: &Pebble, further: &str) -> Setup {
    let mut setup = Setup::with(vec![Company::alone("home.test", &["anna"])]);
    setup.limits = format!(
        "\n[tls.acme]\nagree = true\ndirectory = \"{}\"\ntrust = {:?}\nnames = [\"imap.home.test\"]\n\
         retry_first = \"1s\"\nretry_max = \"2s\"\n{further}",
        pebble.directory, pebble.trust
    );
    setup
}

/// Issuer and serial number of the certificate that a door shows.
fn shown(port: u16, starttls: Option<&str>) -> (String, String) {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]);
    if let Some(protocol) = starttls {
        command.args(["-starttls", protocol]);
    }
    let certificate = run(command.stdin(Stdio::null())).out;
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-issuer", "-serial"]);
    let said = stories::tools::run_with(&mut command, &certificate).out;
    let line =
        |head: &str| said.lines().find_map(|line| line.strip_prefix(head)).unwrap_or("none").to_owned();
    (line("issuer="), line("serial="))
}

fn doors(stormpost: &Stormpost) -> [(u16, Option<&'static str>); 5] {
    [
        (stormpost.smtp, Some("smtp")),
        (stormpost.submission, Some("smtp")),
        (stormpost.submissions, None),
        (stormpost.imap, Some("imap")),
        (stormpost.imaps, None),
    ]
}

/// The serial number of the authority's certificate, once every door shows the same one.
fn fetched(stormpost: &Stormpost, after: &str) -> Option<String> {
    let all: Vec<_> = doors(stormpost).iter().map(|(port, starttls)| shown(*port, *starttls)).collect();
    let (issuer, serial) = &all[0];
    let new = issuer.contains("Pebble") && serial != after && all.iter().all(|one| one == &all[0]);
    new.then(|| serial.clone())
}

fn until_fetched(stormpost: &Stormpost, after: &str) -> String {
    let mut serial = None;
    wait_for("every door to show a new certificate of the authority", Duration::from_secs(20), || {
        serial = fetched(stormpost, after);
        serial.is_some()
    });
    serial.unwrap()
}

fn private(path: &Path) {
    let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{} has mode {mode:o}", path.display());
}

#[test]
fn a_certificate_is_fetched_by_each_challenge_and_shown_at_every_door() {
    let lab = Lab::open("acme");
    let pebble = Pebble::start(&lab, 86_400, true);
    let dir = lab.room("customer");
    let key = dir.join("eab.key");
    fs::write(&key, format!("{}\n", CUSTOMER.1)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let customer = format!("eab_id = \"{}\"\neab_key_file = {key:?}\n", CUSTOMER.0);
    let (hook, told) = pebble.hook(&dir);
    for (name, lines) in [
        ("http-01", format!("http_listen = \"127.0.0.1:{}\"\n", pebble.http)),
        ("tls-alpn-01", format!("tls_listen = \"127.0.0.1:{}\"\n", pebble.tls)),
        ("dns-01", format!("dns_hook = {hook:?}\n")),
    ] {
        let further = format!("challenge = \"{name}\"\n{lines}{customer}contact = \"anna@elsewhere.test\"\n");
        let mut stormpost = Stormpost::start(&lab, name, &setup(&pebble, &further));
        until_fetched(&stormpost, "");
        let certificates = stormpost.ask(&["certificate", "show"]);
        assert_eq!(certificates[0]["source"], "acme");
        let names = certificates[0]["facts"]["names"].as_array().unwrap();
        assert!(
            names.contains(&"mx.home.test".into()) && names.contains(&"imap.home.test".into()),
            "{names:?}"
        );
        assert!(certificates[0]["next_renewal"].is_number() || certificates[0]["next_renewal"].is_string());
        let acme = lab.room(name).join("state/acme");
        for file in ["account.json", "certificate.pem", "state.json"] {
            private(&acme.join(file));
        }
        let metrics = curl(&[&format!("http://127.0.0.1:{}/metrics", stormpost.web)]).out;
        assert!(
            metrics.contains("certificate_not_after_seconds{source=\"acme\",shown=\"yes\"}"),
            "{metrics}"
        );
        // Nothing is left open that only the authority was to use.
        for port in [pebble.http, pebble.tls] {
            assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "{port} is still open");
        }
        lab.say(&format!("{name}: every door shows the authority's certificate"));
        stormpost.stop();
    }
    let told = fs::read_to_string(told).unwrap();
    let lines = |deed: &str| told.lines().filter(|line| line.starts_with(deed)).count();
    assert_eq!((lines("add _acme-challenge."), lines("remove _acme-challenge.")), (2, 2), "{told}");
}

#[test]
fn a_certificate_is_renewed_in_time_and_an_authority_that_is_down_costs_nothing() {
    let lab = Lab::open("acme-renewal");
    let mut pebble = Pebble::start(&lab, 12, false);
    let further = format!("http_listen = \"127.0.0.1:{}\"\n", pebble.http);
    let stormpost = Stormpost::start(&lab, "stormpost", &setup(&pebble, &further));
    let first = until_fetched(&stormpost, "");
    let mut reading = stormpost.imap_as("anna@home.test").unwrap();
    let second = until_fetched(&stormpost, &first);
    lab.say("renewed before its end");
    reading.command("NOOP").unwrap();

    pebble.kill();
    wait_for("status to say that renewing fails", Duration::from_secs(20), || {
        let status = stormpost.ask(&["status"]);
        status["warnings"].to_string().contains("renewing it failed")
    });
    assert_eq!(fetched(&stormpost, ""), Some(second.clone()), "the old one stays in use");
    let said = stormpost.tell(&["certificate", "show"]);
    assert!(!said.ok && said.out.contains("renewing it failed"), "{}", said.out);
    let said = stormpost.tell(&["certificate", "renew", "--now"]);
    assert!(!said.ok && said.err.contains("the old one stays in use"), "{} {}", said.out, said.err);

    // It comes back and knows nobody any more.
    pebble.restart();
    until_fetched(&stormpost, &second);
    assert!(stormpost.tell(&["certificate", "show"]).ok);
    lab.say("renewed by an authority that had forgotten the account");
}

#[test]
fn an_authority_that_does_not_believe_us_is_not_hammered_and_its_words_are_told() {
    let lab = Lab::open("acme-refused");
    let pebble = Pebble::start(&lab, 86_400, false);
    // It looks on one port, and is answered on another.
    let further = format!("http_listen = \"127.0.0.1:{}\"\n", stories::ports::free_port());
    let stormpost = Stormpost::start(&lab, "stormpost", &setup(&pebble, &further));
    let tries = || stormpost.log().matches("a certificate is asked for").count();
    wait_for("three tries", Duration::from_secs(20), || tries() >= 3);
    std::thread::sleep(Duration::from_secs(4));
    assert!((4..=6).contains(&tries()), "{} tries", tries());
    let status = stormpost.ask(&["status"])["warnings"].to_string();
    assert!(status.contains("no certificate could be fetched yet"), "{status}");
    // It speaks of the one of the two names that it looked for first.
    assert!(status.contains(".home.test:") && status.contains("refused"), "the authority's words: {status}");
    let (issuer, _) = shown(stormpost.imaps, None);
    assert!(issuer.contains("rcgen"), "the one signed by itself is shown: {issuer}");
    let said = stormpost.tell(&["certificate", "renew"]).must("certificate renew");
    assert!(said.out.contains("nothing was asked of anybody"), "{}", said.out);
}
