//! The primary judges as before: a real Postfix with an SPF policy service and rspamd comes to the same verdicts of the same
//! messages with Stormpost in front of it and without.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use base64::Engine as _;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;
use stories::judges::eicar;
use stories::lab::wait_for;
use stories::load::{STORY_HEADER, SmtpTalk};
use stories::maildrop::Message;
use stories::stormpost::Setup;
use stories::{Lab, Names, Primary, PrimaryOptions, Rspamd, Stormpost};

const DOMAIN: &str = "company.test";
const TO: &str = "anna@company.test";

/// One who sends.
#[derive(Clone, Copy)]
struct Client {
    ip: Ipv4Addr,
    helo: &'static str,
}

/// Listed in SPF; not listed; with an address for a greeting; on the primary's own list of addresses.
const CLIENTS: [Client; 4] = [
    Client { ip: Ipv4Addr::new(127, 66, 1, 1), helo: "mail.pass.test" },
    Client { ip: Ipv4Addr::new(127, 66, 2, 1), helo: "forged.pass.test" },
    Client { ip: Ipv4Addr::new(127, 66, 3, 1), helo: "[127.66.3.1]" },
    Client { ip: Ipv4Addr::new(127, 66, 4, 1), helo: "a.dynamic.test" },
];

struct Case {
    id: String,
    client: Client,
    from: String,
    message: String,
}

fn zone(names: &Names, key: &[u8]) {
    for domain in [
        "pass.test",
        "fail.test",
        "soft.test",
        "neutral.test",
        "none.test",
        "incl.test",
        "perm.test",
        "dkim.test",
        "far.test",
    ] {
        names.mx(domain, "mail.pass.test");
        names.address(domain, Ipv4Addr::new(127, 66, 1, 1));
    }
    names.mx(DOMAIN, "mx.company.test");
    names.here("mx.company.test");
    for (domain, record) in [
        ("pass.test", "v=spf1 ip4:127.66.1.0/24 -all"),
        ("fail.test", "v=spf1 ip4:192.0.2.1 -all"),
        ("soft.test", "v=spf1 ip4:127.66.1.0/24 ~all"),
        ("neutral.test", "v=spf1 ?all"),
        ("incl.test", "v=spf1 include:pass.test -all"),
        ("perm.test", "v=spf1 nonsense:x -all"),
        ("dkim.test", "v=spf1 ip4:127.66.1.0/24 ~all"),
        ("far.test", "v=spf1 ip4:127.66.0.0/16 -all"),
        ("_dmarc.dkim.test", "v=DMARC1; p=reject"),
    ] {
        names.txt(domain, record);
    }
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    names.txt("s._domainkey.dkim.test", &format!("v=DKIM1; k=ed25519; p={key}"));
    names.address("mail.pass.test", CLIENTS[0].ip);
    names.address("forged.pass.test", Ipv4Addr::new(192, 0, 2, 9));
}

fn letter(id: &str, from: &str, more: &str, body: &str) -> String {
    format!(
        "{STORY_HEADER}: {id}\r\nFrom: Sender <{from}>\r\nTo: <{TO}>\r\nSubject: story {id}\r\n\
         Date: Sun, 22 Nov 2026 20:00:00 +0000\r\nMessage-ID: <{id}@far.test>\r\n{more}\r\n{body}\r\n"
    )
}

fn signed(pkcs8: &[u8], text: &str) -> String {
    let key = Ed25519Key::from_pkcs8_der(pkcs8).unwrap();
    let signature = DkimSigner::from_key(key)
        .domain("dkim.test")
        .selector("s")
        .headers(["From", "Subject", "Date", "Message-ID"])
        .sign(text.as_bytes())
        .unwrap();
    format!("{}{text}", signature.to_header())
}

/// The messages: who may send, said in every way, and every odd form of a message, from each kind of client.
fn cases(pkcs8: &[u8]) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |id: String, client: Client, from: &str, message: String| {
        cases.push(Case { id, client, from: from.to_owned(), message });
    };
    let html = "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n";
    for (at, client) in CLIENTS.into_iter().enumerate() {
        for domain in ["pass", "fail", "soft", "neutral", "none", "incl", "perm"] {
            let from = format!("sender@{domain}.test");
            let id = format!("spf-{domain}-{at}");
            add(id.clone(), client, &from, letter(&id, &from, "", "Hello Anna,\r\n\r\nas agreed."));
            let id = format!("html-{domain}-{at}");
            let body = "<html><body><a href=\"http://192.0.2.7/x\">http://bank.test</a> FREE MONEY <img src=\"http://x.test/1.png\"></body></html>";
            add(id.clone(), client, &from, letter(&id, &from, html, body));
        }
        let from = "sender@dkim.test";
        let id = format!("dkim-good-{at}");
        add(id.clone(), client, from, signed(pkcs8, &letter(&id, from, "", "a signed letter")));
        let id = format!("dkim-body-{at}");
        let text = signed(pkcs8, &letter(&id, from, "", "a signed letter")).replace("a signed", "a changed");
        add(id, client, from, text);
        let id = format!("dkim-subject-{at}");
        let text = signed(pkcs8, &letter(&id, from, "", "a signed letter"))
            .replace("Subject: story", "Subject: win");
        add(id, client, from, text);
        let id = format!("dmarc-list-{at}");
        let list = "List-Id: <list.far.test>\r\nPrecedence: list\r\nSender: list@far.test\r\n";
        add(id.clone(), client, "list-bounces@far.test", letter(&id, from, list, "through a list"));
        odd(at, client, &mut add);
    }
    cases
}

/// Odd forms of messages.
fn odd(at: usize, client: Client, add: &mut impl FnMut(String, Client, &str, String)) {
    let from = "sender@far.test";
    let gtube = ["XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"].concat();
    let mixed = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n";
    let exe = "--b\r\nContent-Type: text/plain\r\n\r\nsee there\r\n--b\r\nContent-Type: application/octet-stream; name=\"invoice.exe\"\r\n\
               Content-Disposition: attachment; filename=\"invoice.exe\"\r\n\
               Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA//8AALgAAAA=\r\n--b--";
    let forms: [(&str, &str, String); 14] = [
        ("gtube", "", gtube),
        ("eicar", "", eicar()),
        (
            "eight-bit",
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
            "Gr\u{fc}\u{df}e aus K\u{f6}ln".to_owned(),
        ),
        (
            "odd-mime",
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"never closed\r\n",
            "--x\r\n\r\n--y".to_owned(),
        ),
        ("exe", mixed, exe.to_owned()),
        (
            "forged-results",
            "Authentication-Results: mx.company.test; spf=pass; dkim=pass; dmarc=pass\r\nX-Spam: No\r\nX-Spam-Status: No\r\n",
            "believe me".to_owned(),
        ),
        ("dots", "", ".\r\n..\r\n.hidden\r\n".to_owned()),
        (
            "travelled",
            "Received: from a.test (a.test [192.0.2.1]) by b.test with ESMTP; Sun, 22 Nov 2026 19:00:00 +0000\r\n\
                       Received: from c.test (c.test [192.0.2.2]) by a.test with ESMTP; Sun, 22 Nov 2026 18:00:00 +0000\r\n",
            "a long way".to_owned(),
        ),
        ("reply-to", "Reply-To: <other@free.test>\r\nX-Priority: 1\r\n", "pay at once".to_owned()),
        ("long", "", "All work and no play makes a long letter.\r\n".repeat(900)),
        ("word-encoded", "Comments: =?utf-8?q?gr=C3=BC=C3=9Fe?= =?x-nothing?b?!!!?=\r\n", "hello".to_owned()),
        ("empty", "", String::new()),
        ("two-from", "From: <second@pass.test>\r\n", "who am I".to_owned()),
        (
            "capitals",
            "X-Mailer: The Bat!\r\nX-Spam-Level: *****\r\n",
            "CLICK HERE NOW http://192.0.2.7/buy http://x.test/?q=1".to_owned(),
        ),
    ];
    for (name, more, body) in forms {
        let id = format!("{name}-{at}");
        add(id.clone(), client, from, letter(&id, from, more, &body));
    }
    let id = format!("bounce-{at}");
    add(
        id.clone(),
        client,
        "",
        letter(&id, "MAILER-DAEMON@far.test", "Auto-Submitted: auto-replied\r\n", "it did not go"),
    );
    let id = format!("careless-{at}");
    add(
        id.clone(),
        client,
        from,
        format!("From: {from}\r\n{STORY_HEADER}: {id}\r\n\r\nno date, no id, no subject, no To:\r\n"),
    );
}

/// Says the whole dialogue from the client's own address; the answer that decided.
fn hand_over(case: &Case, target: SocketAddr) -> String {
    let mut talk = SmtpTalk::connect_from(case.client.ip, target).unwrap();
    let greeting = talk.reply().unwrap();
    assert!(greeting.starts_with("220"), "{greeting}");
    let hello = talk.command(&format!("EHLO {}", case.client.helo)).unwrap();
    if !hello.starts_with("250") {
        return hello;
    }
    let (reply, _) = talk.send(&case.from, &[TO], case.message.as_bytes()).unwrap();
    let _ = talk.command("QUIT");
    reply
}

/// What was decided, and what the filters wrote on top.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Verdict {
    /// Taken, or the words of the refusal but for what is never twice the same.
    decided: String,
    /// The SPF policy service's word.
    spf: String,
    /// rspamd's marks.
    spam: String,
    /// The client as Postfix saw it: greeting, name, address.
    client: String,
}

impl Verdict {
    fn refused(reply: &str) -> Verdict {
        // Who refuses, and why: SPF's explanation holds the address, which is the same; a queue id is not.
        let words: Vec<&str> = reply.split_whitespace().take(9).collect();
        Verdict { decided: words.join(" "), spf: String::new(), spam: String::new(), client: String::new() }
    }

    fn of(message: &Message) -> Verdict {
        let first = |name: &str| message.headers(name).into_iter().next().unwrap_or_default();
        // Postfix writes its line over all that it got; the filters theirs over it.
        let received = message
            .headers("Received")
            .into_iter()
            .find(|line| line.contains("(Postfix)"))
            .unwrap_or_default();
        let client = received
            .split(" by ")
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        Verdict {
            decided: "250".to_owned(),
            spf: first("Received-SPF").split_whitespace().next().unwrap_or_default().to_owned(),
            spam: ["X-Spam", "X-Spam-Status", "X-Rspamd-Action"]
                .map(|name| message.headers(name).join("|"))
                .join(";"),
            client,
        }
    }
}

fn delivered(primary: &Primary, through_us: bool) -> BTreeMap<String, Verdict> {
    let drop = primary.maildrop("anna");
    let messages = drop.messages.iter().filter(|m| m.headers("Stormpost-Trace").is_empty() != through_us);
    messages.map(|message| (message.story().unwrap(), Verdict::of(message))).collect()
}

/// What the primary said of each message that we handed on, by its story: the last word of each in our log. A refusal that
/// is doubted, because so many are refused alike, is the primary's word all the same.
fn answered(stormpost: &Stormpost, by_trace: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let log = stormpost.log();
    let mut answers = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("deliver trace=") && line.contains("primary company"))
    {
        let between = |begin: &str, end: &str| Some(line.split_once(begin)?.1.split_once(end)?.0.to_owned());
        let story = between("deliver trace=", " ").and_then(|trace| by_trace.get(&trace));
        if let (Some(story), Some(reply)) = (story, between("reply=\"", "\" ms=")) {
            answers.insert(story.clone(), reply);
        }
    }
    answers
}

struct Scene {
    stormpost: Stormpost,
    primary: Primary,
    _rspamd: Rspamd,
    _names: Names,
    lab: Lab,
}

fn scene(key: &[u8]) -> Scene {
    let lab = Lab::open("verdicts");
    let names = Names::at_usual_port();
    zone(&names, key);
    let rspamd = Rspamd::with(&lab, names.address, &["spf", "dkim", "dmarc"]);
    let policy = lab.room("policy").join("conf");
    std::fs::write(
        &policy,
        "debugLevel = 1\nTestOnly = 1\nHELO_reject = Fail\nMail_From_reject = Fail\nPermError_reject = False\n\
         TempError_Defer = False\nskip_addresses = 192.0.2.254/32\nHeader_Type = SPF\n",
    )
    .unwrap();
    let postfix = format!(
        "mynetworks = 127.0.0.1/32\nsmtp_dns_support_level = enabled\n\
         smtpd_authorized_xclient_hosts =\nsmtpd_forbid_bare_newline = yes\n\
         smtpd_milters = inet:127.0.0.1:{}\nmilter_default_action = tempfail\nmilter_protocol = 6\n\
         policyd-spf_time_limit = 3600\nsmtpd_helo_required = yes\n\
         smtpd_helo_restrictions = permit_mynetworks, reject_invalid_helo_hostname\n\
         smtpd_client_restrictions = check_client_access inline:{{ {{127.66.4.1=REJECT no dynamic addresses}} }}\n\
         smtpd_recipient_restrictions = reject_unlisted_recipient, reject_unauth_destination, \
         check_policy_service unix:private/policyd-spf\n",
        rspamd.milter
    );
    let mut options = PrimaryOptions {
        postfix,
        services: format!(
            "policyd-spf unix - n n - 0 spawn user=policyd-spf argv=/usr/bin/policyd-spf {}\n",
            policy.display()
        ),
        names: Some(names.address.ip()),
        people: vec!["anna".into()],
        ..PrimaryOptions::default()
    };
    // The lines that an operator pastes, as they are printed.
    let dry = Stormpost::prepare(
        &lab,
        "dry",
        &Setup { names: Some(names.address), ..Setup::with(vec![company(25, 143)]) },
    );
    let lines = dry.tell(&["lines", "postfix", "--address", "127.0.0.1"]).must("lines").out;
    assert!(lines.contains("smtpd_authorized_xclient_hosts = 127.0.0.1\n"), "{lines}");
    options.postfix.push_str(&lines);
    let primary = Primary::start(&lab, DOMAIN, &options);
    let setup = Setup {
        names: Some(names.address),
        limits: "\n[filter]\nstands = \"primary\"\n".to_owned(),
        ..Setup::with(vec![company(primary.smtp, primary.imap)])
    };
    let stormpost = Stormpost::start(&lab, "stormpost", &setup);
    Scene { stormpost, primary, _rspamd: rspamd, _names: names, lab }
}

fn company(smtp: u16, imap: u16) -> stories::stormpost::Company {
    stories::stormpost::Company {
        hop: Some(stories::stormpost::Hop::Smtp(smtp)),
        imap: Some(imap),
        ..stories::stormpost::Company::alone(DOMAIN, &["anna"])
    }
}

#[test]
fn a_postfix_with_spf_and_rspamd_judges_the_same_with_and_without_stormpost_in_front() {
    let pkcs8 = Ed25519Key::generate_pkcs8().unwrap();
    let scene = scene(&Ed25519Key::from_pkcs8_der(&pkcs8).unwrap().public_key());
    let Scene { stormpost, primary, lab, .. } = &scene;
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let cases = cases(&pkcs8);
    let begun = Instant::now();
    let mut without: BTreeMap<String, Verdict> = BTreeMap::new();
    let mut taken = 0;
    for case in &cases {
        let reply = hand_over(case, at(primary.smtp));
        if reply.starts_with("250") {
            taken += 1;
        } else {
            without.insert(case.id.clone(), Verdict::refused(&reply));
        }
    }
    wait_for("Dovecot to have all", Duration::from_secs(60), || {
        primary.maildrop("anna").messages.len() == taken
    });
    without.extend(delivered(primary, false));
    lab.say(&format!("{} messages judged without us in {:?}", cases.len(), begun.elapsed()));

    let begun = Instant::now();
    let mut with: BTreeMap<String, Verdict> = BTreeMap::new();
    let mut by_trace = BTreeMap::new();
    for case in &cases {
        let reply = hand_over(case, at(stormpost.smtp));
        match reply.strip_prefix("250 2.0.0 stored as ") {
            Some(trace) => drop(by_trace.insert(trace.to_owned(), case.id.clone())),
            None => drop(with.insert(case.id.clone(), Verdict::refused(&reply))),
        }
    }
    let mut answers = BTreeMap::new();
    wait_for("the primary to have answered each", Duration::from_secs(60), || {
        answers = answered(stormpost, &by_trace);
        answers.len() == by_trace.len()
    });
    let handed_over = answers.values().filter(|reply| reply.starts_with('2')).count();
    let refused = answers.iter().filter(|(_, reply)| !reply.starts_with('2'));
    with.extend(refused.map(|(story, reply)| (story.clone(), Verdict::refused(reply))));
    wait_for("Dovecot to have all of it again", Duration::from_secs(60), || {
        primary.maildrop("anna").messages.len() >= taken + handed_over
    });
    with.extend(delivered(primary, true));
    lab.say(&format!("{} messages judged behind us in {:?}", cases.len(), begun.elapsed()));

    compare(lab, &cases, &without, &with);
}

/// Prints how many verdicts of each kind are the same, and ends the story when one is not.
fn compare(lab: &Lab, cases: &[Case], without: &BTreeMap<String, Verdict>, with: &BTreeMap<String, Verdict>) {
    let mut table: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut different = Vec::new();
    for case in cases {
        let (a, b) = (without.get(&case.id), with.get(&case.id));
        let name = |v: Option<&Verdict>| {
            v.map_or("nothing".to_owned(), |v| {
                let words: String = v.decided.chars().take(44).collect();
                format!(
                    "{words} {} {}",
                    v.spf,
                    if v.spam.contains("Yes") || v.spam.contains("add header") { "spam" } else { "" }
                )
            })
        };
        let row = table.entry(name(a)).or_default();
        row.0 += 1;
        if a == b && a.is_some() {
            row.1 += 1;
        } else {
            different.push(format!("{}:\n  without {a:?}\n  with    {b:?}", case.id));
        }
    }
    lab.say("verdict without us                                     messages  the same behind us");
    for (name, (all, same)) in &table {
        lab.say(&format!("{name:<56} {all:>6} {same:>10}"));
    }
    let same = cases.len() - different.len();
    lab.say(&format!("{same} of {} verdicts are the same", cases.len()));
    assert!(cases.len() >= 100 && table.len() >= 5, "a mixed set");
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}
