//! Sending through us without being a person: a real Postfix that proves who it is, and a printer that cannot sign in.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use stories::lab::{program, wait_for};
use stories::load::SmtpTalk;
use stories::stormpost::{Company, Hop, Setup};
use stories::tools::{run, swaks};
use stories::{Catcher, Lab, Names, Primary, PrimaryOptions, Stormpost, ports};

const DOMAIN: &str = "company.test";
/// Stands in the configuration until the primary's own ports are known.
const LATER: (u16, u16) = (64_001, 64_002);

struct Scene {
    stormpost: Stormpost,
    primary: Primary,
    world: Catcher,
    _names: Names,
    _lab: Lab,
}

/// A primary that relays through us by this proof, with the lines pasted as they are printed; `paste` puts the lab's places
/// into them.
fn scene(
    story: &str,
    relay: &str,
    prepare: impl FnOnce(&Lab),
    paste: impl FnOnce(&Lab, String) -> String,
) -> Scene {
    let lab = Lab::open(story);
    prepare(&lab);
    let (world, names) = (Catcher::start(), Names::start());
    names.here("mx.company.test");
    let company = Company {
        hop: Some(Hop::Smtp(LATER.0)),
        imap: Some(LATER.1),
        extra: format!("relay = {{ {} }}\n", relay.replace("{lab}", &lab.dir().display().to_string())),
        ..Company::alone(DOMAIN, &["anna", "ben"])
    };
    let setup =
        Setup { smart_host: Some(world.port), names: Some(names.address), ..Setup::with(vec![company]) };
    let mut stormpost = Stormpost::prepare(&lab, "stormpost", &setup);
    let lines = stormpost.tell(&["lines", "postfix", "--address", "127.0.0.1"]).must("lines").out;
    let lines = paste(&lab, lines.replace("[mx.company.test]", "[127.0.0.1]"));
    // The lab's Postfix sends nothing to others unless it is told.
    let options =
        PrimaryOptions { postfix: format!("default_transport = smtp\n{lines}"), ..PrimaryOptions::default() };
    let primary = Primary::start(&lab, DOMAIN, &options);
    let text = fs::read_to_string(&stormpost.configuration).unwrap();
    let text = text.replace(&LATER.0.to_string(), &primary.smtp.to_string());
    fs::write(&stormpost.configuration, text.replace(&LATER.1.to_string(), &primary.imap.to_string()))
        .unwrap();
    stormpost.restart();
    Scene { stormpost, primary, world, _names: names, _lab: lab }
}

impl Scene {
    /// The primary's people write to somebody outside, and a stranger tries what the primary may.
    fn proves(&self) {
        let mut talk =
            SmtpTalk::open(SocketAddr::from(([127, 0, 0, 1], self.primary.smtp)), "desk.company.test")
                .unwrap();
        let letter =
            "From: Anna <anna@company.test>\r\nTo: <friend@outside.test>\r\nSubject: out\r\n\r\nhello\r\n";
        let (reply, _) = talk.send("anna@company.test", &["friend@outside.test"], letter.as_bytes()).unwrap();
        assert!(reply.starts_with("250"), "{reply}");
        wait_for("the letter outside", Duration::from_secs(30), || !self.world.caught().is_empty());
        let caught = self.world.caught();
        let text = String::from_utf8_lossy(&caught[0].message).into_owned();
        assert_eq!((caught[0].from.as_str(), caught.len()), ("anna@company.test", 1));
        assert!(text.contains("DKIM-Signature: ") && text.contains("d=company.test"), "{text}");
        assert!(
            !text.contains("Authentication-Results:"),
            "its own people's mail is judged by no SPF:\n{text}"
        );
        let mut stranger = SmtpTalk::connect_from(
            Ipv4Addr::new(127, 66, 9, 9),
            SocketAddr::from(([127, 0, 0, 1], self.stormpost.smtp)),
        )
        .unwrap();
        stranger.reply().unwrap();
        stranger.command("EHLO company.test").unwrap();
        let (reply, _) =
            stranger.send("anna@company.test", &["friend@outside.test"], letter.as_bytes()).unwrap();
        assert!(reply.starts_with("550 5.7.1 relaying denied"), "{reply}");
        let traced = self.stormpost.ask(&["trace", "--to", "friend@outside.test"]);
        let checks: Vec<&str> = traced[0]["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["check"].as_str().unwrap())
            .collect();
        assert_eq!(checks.len(), 12, "judged by the same rules as everything: {checks:?}");
    }
}

#[test]
fn a_postfix_sends_its_peoples_mail_through_us_by_its_address() {
    scene("relay-address", "addresses = [\"127.0.0.1\"]", |_| {}, |_, lines| lines).proves();
}

#[test]
fn a_postfix_sends_its_peoples_mail_through_us_by_signing_in() {
    let secret = |lab: &Lab, name: &str, text: &str| {
        let path = lab.dir().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let scene = scene(
        "relay-login",
        "user = \"relay\", password_file = \"{lab}/relay.password\"",
        |lab| secret(lab, "relay.password", "a long secret of machines\n"),
        |lab, lines| {
            let host = lines.lines().find_map(|line| line.strip_prefix("relayhost = ")).unwrap().to_owned();
            secret(lab, "stormpost.password", &format!("{host} relay:a long secret of machines\n"));
            lines.replace("/etc/postfix", &lab.dir().display().to_string())
        },
    );
    scene.proves();
}

#[test]
fn a_postfix_sends_its_peoples_mail_through_us_by_its_certificate() {
    let scratch = std::env::temp_dir().join(format!("relay-certificate-{}", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    let (pem, key) = (scratch.join("stormpost-client.pem"), scratch.join("stormpost-client.key"));
    let mut openssl = Command::new(program("openssl", "openssl"));
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=mail.company.test",
    ]);
    run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&pem)).must("openssl req");
    let mut openssl = Command::new(program("openssl", "openssl"));
    let said = run(openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(&pem))
        .must("openssl x509")
        .out;
    let print = said.trim().rsplit_once('=').unwrap().1;
    let relay = format!("fingerprints = [\"{print}\"]");
    let scene = scene(
        "relay-certificate",
        &relay,
        |_| {},
        |_, lines| lines.replace("/etc/postfix", &scratch.display().to_string()),
    );
    scene.proves();
    fs::remove_dir_all(&scratch).unwrap();
}

#[test]
fn a_printer_that_cannot_sign_in_sends_as_it_is_listed_and_nobody_else_does() {
    let lab = Lab::open("devices");
    let (world, names, door) = (Catcher::start(), Names::start(), ports::free_port());
    let setup = Setup {
        smart_host: Some(world.port),
        names: Some(names.address),
        limits: "\n[internal]\nclients = [\"127.66.7.0/24\"]\nsenders = [\"scanner@company.test\"]\nrecipients = \"anywhere\"\n\
                 messages_per_minute = 4\n"
            .to_owned(),
        ..Setup::with(vec![Company::alone(DOMAIN, &["anna"])])
    };
    let mut stormpost = Stormpost::prepare(&lab, "stormpost", &setup);
    let text = fs::read_to_string(&stormpost.configuration).unwrap();
    let listen = format!("[listen]\ninternal = \"127.0.0.1:{door}\"\n");
    fs::write(&stormpost.configuration, text.replace("[listen]\n", &listen)).unwrap();
    stormpost.restart();
    let send = |from_ip: &str, from: &str, to: &str| {
        let header = format!("From: {from}");
        let said = swaks(
            door,
            &[
                "--local-interface",
                from_ip,
                "--from",
                from,
                "--to",
                to,
                "--h-From",
                from,
                "--header",
                &header,
            ],
        );
        (said.ok, said.out + &said.err)
    };
    let (ok, out) = send("127.66.7.20", "scanner@company.test", "friend@outside.test");
    assert!(ok && out.contains("stored as"), "{out}");
    wait_for("the scan outside", Duration::from_secs(20), || world.caught().len() == 1);
    let text = String::from_utf8_lossy(&world.caught()[0].message).into_owned();
    assert!(text.contains("DKIM-Signature: "), "signed like other mail of our own:\n{text}");
    let (ok, out) = send("127.66.7.20", "scanner@company.test", "anna@company.test");
    assert!(ok, "{out}");
    for (ip, from, words) in [
        ("127.66.7.20", "anna@company.test", "550 5.7.1 devices send as listed addresses only"),
        ("127.66.8.20", "scanner@company.test", "550 5.7.1 this door is for listed devices"),
    ] {
        let (ok, out) = send(ip, from, "friend@outside.test");
        assert!(!ok && out.contains(words), "{ip} {from}: {out}");
    }
    for _ in 0..2 {
        send("127.66.7.20", "scanner@company.test", "anna@company.test");
    }
    let (ok, out) = send("127.66.7.20", "scanner@company.test", "anna@company.test");
    assert!(!ok && out.contains("450 4.7.1 too many messages"), "a stolen printer is no spam cannon: {out}");
}
