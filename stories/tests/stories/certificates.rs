//! A certificate is renewed while the program runs, as a renewal program does it: at every door, in both processes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stories::lab::wait_for;
use stories::stormpost::{Company, Setup};
use stories::tools::run;
use stories::{Lab, Stormpost, tls};

/// A key and a certificate signed by itself, in the files that the configuration names.
fn certificate(dir: &Path, name: &str) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"]);
    command.arg(format!("/CN={name}")).arg("-keyout").arg(dir.join("new.key"));
    run(command.arg("-out").arg(dir.join("new.crt"))).must("openssl req");
}

/// Puts the new pair into place. Its files are older than those they replace: they may come from a backup.
fn renew(dir: &Path, files: &[&str]) {
    for file in files {
        run(Command::new("touch").args(["-d", "2001-01-01"]).arg(dir.join(format!("new.{file}"))))
            .must("touch");
        fs::rename(dir.join(format!("new.{file}")), dir.join(format!("tls.{file}"))).unwrap();
    }
}

/// The name in the certificate that a door shows.
fn shown(port: u16, starttls: Option<&str>) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]);
    if let Some(protocol) = starttls {
        command.args(["-starttls", protocol]);
    }
    let out = run(command.stdin(Stdio::null())).out;
    let subject = out.lines().find_map(|line| line.strip_prefix("subject="));
    subject.unwrap_or("nothing").replace(' ', "")
}

#[test]
fn a_renewed_certificate_is_shown_at_every_door_and_nobody_is_cut_off() {
    let lab = Lab::open("certificates");
    let dir = lab.room("tls");
    certificate(&dir, "first.test");
    renew(&dir, &["key", "crt"]);
    let mut setup = Setup::with(vec![Company::alone("home.test", &["anna"])]);
    let (crt, key) = (dir.join("tls.crt"), dir.join("tls.key"));
    setup.limits = format!("\n[tls]\ncertificate = {crt:?}\nkey = {key:?}\n");
    let stormpost = Stormpost::start(&lab, "stormpost", &setup);
    let doors = [
        (stormpost.smtp, Some("smtp")),
        (stormpost.submission, Some("smtp")),
        (stormpost.submissions, None),
        (stormpost.imap, Some("imap")),
        (stormpost.imaps, None),
    ];
    let all_show = |name: &str| doors.iter().all(|(port, starttls)| shown(*port, *starttls) == name);
    assert!(all_show("CN=first.test"));

    // Two sessions under the first certificate, one in each process.
    let mut reading = stormpost.imap_as("anna@home.test").unwrap();
    let stream = TcpStream::connect(("127.0.0.1", stormpost.submissions)).unwrap();
    let mut sending = BufReader::new(tls::begin(stream).unwrap());
    let mut line = String::new();
    sending.read_line(&mut line).unwrap();

    // A renewal that is only half there: the certificate belongs to a key that has not come yet.
    certificate(&dir, "second.test");
    renew(&dir, &["crt"]);
    let refusals =
        || stormpost.log().matches("the changed certificate is not used, the old one stays").count();
    wait_for("both processes to say that they keep the old one", Duration::from_secs(30), || refusals() == 2);
    assert!(all_show("CN=first.test"), "the old one stays in use");
    renew(&dir, &["key"]);
    let took =
        wait_for("all doors to show the new one", Duration::from_secs(30), || all_show("CN=second.test"));
    lab.say(&format!("all doors showed the new certificate {:.1} s after its key came", took.as_secs_f64()));
    fs::write(&crt, "no certificate at all\n").unwrap();
    wait_for("both to refuse what is none", Duration::from_secs(30), || refusals() == 4);
    assert!(all_show("CN=second.test"));

    reading.command("NOOP").unwrap();
    sending.get_mut().write_all(b"NOOP\r\n").unwrap();
    line.clear();
    sending.read_line(&mut line).unwrap();
    assert!(line.starts_with("250"), "{line}");
}
