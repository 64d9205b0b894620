//! What people send to other organisations: to servers that prove who they are, through a smart host, and to a receiver
//! that checks DMARC.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use stories::lab::wait_for;
use stories::outside::{Authority, SignedNames, Site};
use stories::receiver::Receiver;
use stories::stormpost::{Company, Setup};
use stories::tools::{Said, swaks};
use stories::{Catcher, Lab, Maildrop, Names, Primary, PrimaryOptions, Stormpost, ports};

/// Anna of `domain` writes.
fn writes(stormpost: &Stormpost, domain: &str, to: &str, id: &str) -> Said {
    let from = format!("anna@{domain}");
    let mut arguments = vec!["--tls", "--auth", "PLAIN", "--auth-user", &from, "--auth-password", "pw-anna"];
    let (subject, message_id) = (format!("X-Story-Id: {id}"), format!("Message-Id: <{id}@{domain}>"));
    arguments.extend(["--from", &from, "--to", to, "--header", &subject, "--header", &message_id]);
    arguments.extend(["--body", "hello"]);
    swaks(stormpost.submission, &arguments).must("swaks")
}

/// What the queue says about mail to this address; nothing when none waits.
fn words_about(stormpost: &Stormpost, to: &str) -> String {
    stormpost.ask(&["queue", "list", "--to", to]).to_string()
}

/// A port that nobody listens at on any of these addresses.
fn shared_port(addresses: &[&str]) -> u16 {
    loop {
        let port = ports::free_port();
        let free = |ip: &&str| std::net::TcpListener::bind((*ip, port)).is_ok();
        if addresses.iter().all(free) {
            return port;
        }
    }
}

fn unpacked(gzip: &[u8]) -> serde_json::Value {
    let mut child = Command::new("gzip");
    child.args(["-d", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(gzip).unwrap();
    let out = child.wait_with_output().unwrap();
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("no report: {e}: {out:?}"))
}

/// Other organisations, and a Stormpost that is told where they are.
struct Abroad {
    /// Their certificates nobody signed.
    unsigned: Catcher,
    /// Theirs are signed.
    signed: Catcher,
    /// They do not encrypt.
    plain: Catcher,
    site: Site,
    setup: Setup,
    _names: SignedNames,
}

/// Who has which servers: at 127.0.0.2 those whose certificates nobody signed, at 3 the signed ones, at 4 those without any.
const SERVERS: [(&str, &str, u8); 10] = [
    ("dane.test", "mx", 2),
    ("wrong.test", "mx", 2),
    ("forged.test", "mx", 2),
    ("policy.test", "mx", 3),
    ("broken.test", "mx", 2),
    ("half.test", "mx1", 2),
    ("half.test", "mx2", 3),
    ("trying.test", "mx", 2),
    ("old.test", "mx", 4),
    ("reports.test", "mx", 4),
];
const WITH_POLICY: [&str; 4] = ["policy.test", "broken.test", "half.test", "trying.test"];

fn zone() -> String {
    let mut zone = String::new();
    for (domain, mx, ip) in SERVERS {
        let preference = if mx == "mx2" { 20 } else { 10 };
        // One address is changed after it was signed.
        let ip = if domain == "forged.test" { 77 } else { ip };
        zone.push_str(&format!(
            "{domain}. IN MX {preference} {mx}.{domain}.\n{mx}.{domain}. IN A 127.0.0.{ip}\n"
        ));
    }
    for domain in WITH_POLICY {
        zone.push_str(&format!(
            "_mta-sts.{domain}. IN TXT \"v=STSv1; id=1\"\nmta-sts.{domain}. IN A 127.0.0.1\n"
        ));
    }
    zone.push_str(
        "r.test. IN A 127.0.0.1\n\
         _smtp._tls.broken.test. IN TXT \"v=TLSRPTv1; rua=mailto:tls@reports.test,https://r.test/tls\"\n",
    );
    zone
}

fn abroad(lab: &Lab) -> Abroad {
    let authority = Authority::new(lab);
    let port = shared_port(&["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    let at = |ip: u8| SocketAddr::from(([127, 0, 0, ip], port));
    let alone = authority.leaves_alone(&["mx.dane.test"]);
    let good = authority.signs(&["mx.policy.test", "mx2.half.test"]);
    let mut hosts: Vec<String> = WITH_POLICY.map(|domain| format!("mta-sts.{domain}")).into();
    hosts.push("r.test".to_owned());
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let web = ports::free_port();
    let site = Site::start(([127, 0, 0, 1], web).into(), &authority.signs(&hosts));
    for domain in WITH_POLICY {
        let mode = if domain == "trying.test" { "testing" } else { "enforce" };
        let policy = format!("version: STSv1\r\nmode: {mode}\r\nmx: *.{domain}\r\nmax_age: 86400\r\n");
        site.put(&format!("mta-sts.{domain}/.well-known/mta-sts.txt"), &policy);
    }
    let tlsa = |domain: &str, digest: &str| format!("_{port}._tcp.mx.{domain}. IN TLSA 3 1 1 {digest}\n");
    let zone = zone() + &tlsa("dane.test", &alone.key_digest) + &tlsa("wrong.test", &good.key_digest);
    let names = SignedNames::start(lab, &zone, &[("127.0.0.77", "127.0.0.2")]);
    let mut setup = Setup::with(vec![Company::alone("company.test", &["anna"])]);
    setup.names = Some(names.address);
    setup.limits = format!(
        "\n[outbound]\ndane = \"auto\"\ntrust_anchor = \"{}\"\ntls_reports = \"anna@company.test\"\n\
         [outbound.trial]\nport = {port}\nhttps_port = {web}\nprivate_addresses = true\ntrust = \"{}\"\n\
         report_period = \"4s\"\n",
        names.anchor.display(),
        authority.pem().display()
    );
    Abroad {
        unsigned: Catcher::at(at(2), Some(&alone)),
        signed: Catcher::at(at(3), Some(&good)),
        plain: Catcher::at(at(4), None),
        site,
        setup,
        _names: names,
    }
}

/// Whether mail to this address came encrypted; nothing when none came.
fn encrypted(server: &Catcher, to: &str) -> Option<bool> {
    server.for_recipient(to).first().map(|one| one.encrypted)
}

#[test]
fn mail_goes_only_to_servers_that_prove_themselves_as_their_domain_demands_and_the_domain_hears_of_it() {
    let lab = Lab::open("outbound_proved");
    let far = abroad(&lab);
    let stormpost = Stormpost::start(&lab, "stormpost", &far.setup);
    for domain in ["dane", "wrong", "forged", "policy", "broken", "half", "trying", "old"] {
        writes(&stormpost, "company.test", &format!("friend@{domain}.test"), &format!("to-{domain}"));
    }
    for (server, domain, expected) in [
        (&far.unsigned, "dane.test", true),
        (&far.signed, "policy.test", true),
        (&far.signed, "half.test", true),
        (&far.unsigned, "trying.test", true),
        (&far.plain, "old.test", false),
    ] {
        let to = format!("friend@{domain}");
        wait_for(&format!("mail to arrive at {domain}"), Duration::from_secs(30), || {
            encrypted(server, &to).is_some()
        });
        assert_eq!(encrypted(server, &to), Some(expected), "{domain}");
    }
    assert_eq!(encrypted(&far.unsigned, "friend@half.test"), None, "the first of its servers proves nothing");
    for (domain, words) in [
        ("wrong.test", "4.7.5 its domain demands safety (DANE)"),
        ("forged.test", "DNSSEC"),
        ("broken.test", "4.7.5 its domain demands safety (MTA-STS)"),
    ] {
        let to = format!("friend@{domain}");
        wait_for(&format!("the queue to say {words} about {domain}"), Duration::from_secs(20), || {
            words_about(&stormpost, &to).contains(words)
        });
        for server in [&far.unsigned, &far.signed, &far.plain] {
            assert_eq!(encrypted(server, &to), None, "{to} got mail without proof");
        }
    }
    lab.say("delivered where it was proved; three kept");
    reported(&far);
    let kept = fs::read_dir(lab.dir().join("stormpost/state/transport/mta-sts")).unwrap().count();
    assert_eq!(kept, WITH_POLICY.len(), "policies are kept over a restart");
}

/// The domain whose policy could not be met asked for reports, by mail and over the web.
fn reported(far: &Abroad) {
    wait_for("the reports", Duration::from_secs(20), || {
        !far.site.posted().is_empty() && !far.plain.for_recipient("tls@reports.test").is_empty()
    });
    let (place, gzip) = far.site.posted().remove(0);
    assert_eq!(place, "r.test/tls");
    let report = unpacked(&gzip);
    let policy = &report["policies"][0];
    assert_eq!(policy["policy"]["policy-type"], "sts", "{report}");
    assert_eq!(policy["policy"]["policy-domain"], "broken.test");
    assert_eq!(policy["failure-details"][0]["result-type"], "certificate-not-trusted", "{report}");
    assert_eq!(policy["failure-details"][0]["receiving-mx-hostname"], "mx.broken.test");
    let mail = far.plain.for_recipient("tls@reports.test").remove(0);
    let text = String::from_utf8(mail.message).unwrap();
    assert!(text.starts_with("DKIM-Signature:") && text.contains("d=company.test"), "{text}");
    assert!(text.contains("report-type=\"tlsrpt\"") && text.contains("application/tlsrpt+gzip"), "{text}");
    assert!(text.contains("Report Domain: broken.test"), "{text}");
}

/// The text of a domain's DKIM record.
fn dkim_record(stormpost: &Stormpost, domain: &str) -> String {
    let made = stormpost.ask(&["dkim", domain]);
    made["text"].as_str().unwrap_or_else(|| panic!("no record: {made}")).to_owned()
}

#[test]
fn a_receiver_that_checks_dmarc_takes_what_people_send_in_an_outage_and_nothing_that_is_not_signed() {
    let lab = Lab::open("outbound_dmarc");
    let names = Names::start();
    let port = shared_port(&["127.0.0.2"]);
    let receiver = Receiver::start(&lab, "outside.test", ([127, 0, 0, 2], port).into(), names.address);
    names.mx("outside.test", "mx.outside.test");
    names.add_address("mx.outside.test", [127, 0, 0, 2]);
    names.here("mx.company.test");
    let mut primary = Primary::start(&lab, "company.test", &PrimaryOptions::default());
    let mut setup = Setup::of(&primary);
    // A domain whose selector nobody published, and that names no server: what a mail system in trouble often looks like.
    setup.companies.push(Company::alone("naked.test", &["anna"]));
    setup.names = Some(names.address);
    setup.limits = format!("\n[outbound.trial]\nport = {port}\nprivate_addresses = true\n");
    let stormpost = Stormpost::start(&lab, "stormpost", &setup);
    names.txt("stormpost._domainkey.company.test", &dkim_record(&stormpost, "company.test"));
    names.txt("company.test", "v=spf1 ip4:127.0.0.0/8 -all");
    names.txt("naked.test", "v=spf1 -all");
    for domain in ["company.test", "naked.test"] {
        names.txt(&format!("_dmarc.{domain}"), "v=DMARC1; p=reject; adkim=s; aspf=s");
    }
    primary.kill();
    wait_for("the outage to be seen", Duration::from_secs(30), || {
        stormpost.state("company", "inbound") != "ready"
    });
    writes(&stormpost, "company.test", "ben@outside.test", "aligned-1");
    writes(&stormpost, "naked.test", "ben@outside.test", "naked-1");
    wait_for("the receiver to have what is signed", Duration::from_secs(30), || {
        receiver.mail.maildrop("ben").with_story("aligned-1").len() == 1
    });
    let whole = Maildrop::look_whole(
        "127.0.0.1",
        receiver.mail.imap,
        &format!("ben@outside.test*{}", stories::primary::READER.0),
        stories::primary::READER.1,
    );
    let results = whole.with_story("aligned-1")[0].headers("Authentication-Results").join(" ");
    for pass in ["dkim=pass", "spf=pass", "dmarc=pass"] {
        assert!(results.contains(pass), "{pass} is not in {results}\n{}", receiver.judged());
    }
    // The control: the same server, the same way, and refused for good; Anna hears of it.
    wait_for("the sender of what is not signed to hear of it", Duration::from_secs(30), || {
        stormpost.maildrop("anna@naked.test").is_ok_and(|drop| drop.folder("INBOX").len() == 1)
    });
    assert!(receiver.mail.maildrop("ben").with_story("naked-1").is_empty(), "the check checks nothing");
    wait_for("the judge's log to say that it was for DMARC", Duration::from_secs(10), || {
        receiver.judged().contains("DMARC_POLICY_REJECT")
    });
    lab.say(&format!("taken: {results}"));
}

#[test]
fn a_smart_host_is_signed_in_to_only_encrypted_and_its_moods_cost_no_mail() {
    let lab = Lab::open("outbound_smart_host");
    let authority = Authority::new(&lab);
    let shown = authority.signs(&["smart.test"]);
    let names = Names::start();
    names.here("smart.test");
    let at = SocketAddr::from(([127, 0, 0, 1], ports::free_port()));
    let smart_host = |password: &str| {
        format!(
            "\n[outbound.smart_host]\nhost = \"smart.test\"\nport = {}\ntrust = \"{}\"\nuser = \"us\"\n\
             password = \"{password}\"\n",
            at.port(),
            authority.pem().display()
        )
    };
    let mut setup = Setup::with(vec![Company::alone("company.test", &["anna"])]);
    setup.names = Some(names.address);
    setup.limits = smart_host("wrong");
    let catcher = Catcher::for_login(at, &shown, "us", "right");
    let mut stormpost = Stormpost::start(&lab, "stormpost", &setup);
    writes(&stormpost, "company.test", "friend@far.test", "smart-1");
    wait_for("the queue to say that the password is wrong", Duration::from_secs(20), || {
        words_about(&stormpost, "friend@far.test").contains("535 5.7.8")
    });
    assert!(catcher.caught().is_empty());

    stormpost.stop();
    let text = fs::read_to_string(&stormpost.configuration).unwrap();
    fs::write(&stormpost.configuration, text.replace("\"wrong\"", "\"right\"")).unwrap();
    stormpost.reopen();
    wait_for("the smart host to have it", Duration::from_secs(20), || catcher.caught().len() == 1);
    assert!(catcher.caught()[0].encrypted);

    // Down, and back.
    drop(catcher);
    writes(&stormpost, "company.test", "friend@far.test", "smart-2");
    wait_for("the queue to say that nobody answers", Duration::from_secs(20), || {
        words_about(&stormpost, "friend@far.test").contains("connect:")
    });
    let catcher = Catcher::for_login(at, &shown, "us", "right");
    catcher.refuse("smart-3", "554 5.7.1 we do not send such things");
    stormpost.tell(&["queue", "retry", "--to", "friend@far.test"]).must("queue retry");
    wait_for("the smart host to have the second", Duration::from_secs(60), || catcher.caught().len() == 1);

    // Its words are passed on.
    writes(&stormpost, "company.test", "friend@far.test", "smart-3");
    wait_for("Anna to hear why", Duration::from_secs(30), || {
        stormpost.maildrop("anna@company.test").is_ok_and(|drop| drop.folder("INBOX").len() == 1)
    });
    assert_eq!(catcher.caught().len(), 1);
    assert_eq!(stormpost.queued(), 0);

    // In plain text nothing is said to it, least of all the password.
    drop(catcher);
    let plain = Catcher::at(at, None);
    writes(&stormpost, "company.test", "friend@far.test", "smart-4");
    wait_for("the queue to say that STARTTLS is missing", Duration::from_secs(30), || {
        words_about(&stormpost, "friend@far.test").contains("STARTTLS is required and not offered")
    });
    assert!(plain.caught().is_empty());
}
