//! Addresses and headers beyond ASCII, chunked bodies, eight-bit bodies: real clients in front, real servers behind.

use std::fs;
use std::process::Command;
use std::time::Duration;

use stories::lab::wait_for;
use stories::load::SmtpTalk;
use stories::stormpost::{Company, Setup};
use stories::tools::{Said, run};
use stories::{Lab, PrimaryOptions, Stormpost};

use crate::scene::{Scene, by_lmtp};

/// Umlauts in local parts and in the sender's domain.
const PERSON: &str = "jörg@company.test";
const WRITER: &str = "müller@bücher.test";

/// How the person is called in Dovecot, which of this version knows no other local parts than ASCII.
const MAILBOX: &str = "joerg@company.test";

/// A primary with a person of that name. Postfix hands to Dovecot by its delivery program, since Dovecot's LMTP of this
/// version does not offer SMTPUTF8 and Postfix then sends such mail back.
fn options() -> PrimaryOptions {
    PrimaryOptions {
        people: ["anna", "joerg"].map(str::to_owned).to_vec(),
        postfix: format!(
            "virtual_transport = deliver\ndeliver_destination_recipient_limit = 1\n\
             virtual_alias_maps = inline:{{ {{ {PERSON} = {MAILBOX} }} }}\n"
        ),
        services: "deliver unix - n n - 4 pipe flags=DRhu user=mail:mail argv=/usr/lib/dovecot/dovecot-lda \
                   -o log_path=/dev/stderr -c {dir}/dv/conf/dovecot.conf -f ${sender} -d ${recipient}\n"
            .to_owned(),
        // The delivery program runs as no more than the mail's owner, and must be let ask who people are.
        dovecot: "service stats {\n  unix_listener stats-writer {\n    mode = 0666\n  }\n}\n\
                  service auth {\n  unix_listener auth-userdb {\n    mode = 0777\n  }\n}\n"
            .to_owned(),
        ..PrimaryOptions::default()
    }
}

/// Sends as Python's own SMTP client does.
fn smtplib(scene: &Scene, script: &str) -> Said {
    let head = format!(
        "import smtplib\nfrom email.message import EmailMessage\nfrom email.policy import SMTPUTF8\n\
         s=smtplib.SMTP('127.0.0.1',{})\ns.ehlo('mail.example.test')\n\
         def mail(subject,to,sender='{WRITER}'):\n m=EmailMessage(policy=SMTPUTF8)\n m['From']=sender\n\
         \x20m['To']=', '.join(to)\n m['Subject']=subject\n m['Message-ID']='<'+str(abs(hash(subject)))+'@x.test>'\n\
         \x20m.set_content('Schöne Grüße\\n',cte='8bit')\n return m\n",
        scene.stormpost.smtp
    );
    run(Command::new("/usr/bin/python3").arg("-c").arg(head + script))
}

/// Everything that Dovecot's own tool finds of a person.
fn stored(scene: &Scene, person: &str) -> String {
    scene.primary.doveadm(&["fetch", "-u", person, "text", "all"])
}

#[test]
fn an_umlaut_in_local_part_domain_and_header_reaches_dovecot_and_comes_back_out() {
    let scene = Scene::with("international", &options(), |setup, _| {
        setup.companies[0].people.push("jörg".to_owned())
    });
    smtplib(
        &scene,
        &format!(
            "s.send_message(mail('Prüfung eins',['{PERSON}']))\n\
             s.sendmail('plain@outside.test',['anna@company.test','{PERSON}'],b'From: <plain@outside.test>\\r\\nSubject: \
             header in ASCII\\r\\n\\r\\nhello\\r\\n',mail_options=['SMTPUTF8'])\ns.quit()\n"
        ),
    )
    .must("smtplib");
    scene.drained(Duration::from_secs(40));
    let text = stored(&scene, MAILBOX);
    assert!(text.contains("Subject: Prüfung eins") && text.contains("Schöne Grüße"), "{text}");
    assert!(text.contains(&format!("for <{PERSON}>")), "our Received: line may say it too: {text}");
    assert!(
        text.contains("header in ASCII"),
        "SMTPUTF8 is asked for where only a recipient needs it: {text}"
    );
    assert!(stored(&scene, "anna@company.test").contains("header in ASCII"));
    let here = scene.stormpost.maildrop(PERSON).unwrap();
    assert_eq!(here.folder("INBOX").len(), 2, "the warm mailbox here has them too");

    // The person answers by a signed-in session of the same client.
    let answer = format!(
        "import ssl\nc=ssl._create_unverified_context()\ns=smtplib.SMTP_SSL('127.0.0.1',{},context=c)\n\
         s.ehlo('laptop')\ns.login('anna@company.test','pw-anna')\n\
         s.send_message(mail('Antwort',['{WRITER}'],'anna@company.test'))\ns.quit()\n",
        scene.stormpost.submissions
    );
    smtplib(&scene, &answer).must("smtplib");
    wait_for("the answer to be outside", Duration::from_secs(20), || {
        scene.world.for_recipient(WRITER).len() == 1
    });
}

#[test]
fn a_next_hop_without_smtputf8_gets_what_it_can_take_and_the_sender_hears_of_the_rest() {
    let scene = Scene::with("international_lmtp", &options(), |setup, primary| {
        by_lmtp(setup, primary);
        setup.companies[0].people.push("jörg".to_owned());
        // Twelve seconds are enough for a sender's policy to be found.
        setup.limits.push_str("authentication_timeout = \"12s\"\n");
    });
    // A-label of bücher.test, under which its policy stands.
    scene.names.txt("xn--bcher-kva.test", "v=spf1 ip4:127.0.0.1 -all");
    scene.names.txt("outside.test", "v=spf1 ip4:127.0.0.1 -all");
    smtplib(
        &scene,
        &format!(
            "s.send_message(mail('Prüfung zwei',['anna@company.test']))\n\
             s.sendmail('plain@outside.test',['anna@company.test','{PERSON}'],b'From: <plain@outside.test>\\r\\nSubject: \
             both\\r\\n\\r\\nhello\\r\\n',mail_options=['SMTPUTF8'])\n\
             s.sendmail('plain@outside.test',['anna@company.test'],b'From: <plain@outside.test>\\r\\nSubject: needlessly \
             declared\\r\\n\\r\\nhello\\r\\n',mail_options=['SMTPUTF8'])\ns.quit()\n"
        ),
    )
    .must("smtplib");
    wait_for("the queue to run empty", Duration::from_secs(30), || scene.stormpost.queued() == 0);
    let text = stored(&scene, "anna@company.test");
    assert!(text.contains("needlessly") && text.contains("Subject: both"), "{text}");
    assert!(!text.contains("zwei"), "what needs SMTPUTF8 is never sent without it (RFC 6531 §3.2)");
    wait_for("both senders to hear of it", Duration::from_secs(20), || scene.world.caught().len() == 2);
    for sender in ["plain@outside.test", WRITER] {
        let reports = scene.world.for_recipient(sender);
        assert_eq!(reports.len(), 1, "one report to {sender}");
        let report = String::from_utf8_lossy(&reports[0].message).into_owned();
        assert!(report.contains("5.6.7") && report.contains("needs SMTPUTF8"), "{report}");
    }
}

#[test]
fn mail_for_an_international_domain_comes_in_either_spelling_and_lands_in_one_mailbox() {
    let lab = Lab::open("international_domain");
    let companies = vec![Company::alone("home.test", &["ben"]), Company::alone("bücher.test", &["anna"])];
    let stormpost = Stormpost::start(&lab, "stormpost", &Setup::with(companies));
    let script = format!(
        "import smtplib\ns=smtplib.SMTP('127.0.0.1',{})\nm=b'Subject: x\\r\\n\\r\\nx\\r\\n'\n\
         s.sendmail('a@outside.test',['anna@xn--bcher-kva.test'],m+b'1\\r\\n')\n\
         s.sendmail('a@outside.test',['anna@bücher.test'],m+b'2\\r\\n',mail_options=['SMTPUTF8'])\ns.quit()\n",
        stormpost.smtp
    );
    run(Command::new("/usr/bin/python3").arg("-c").arg(script)).must("smtplib");
    wait_for("both to be in one mailbox", Duration::from_secs(10), || {
        stormpost.maildrop("anna@bücher.test").is_ok_and(|drop| drop.folder("INBOX").len() == 2)
    });
}

fn said(talk: &mut SmtpTalk, line: &str) -> String {
    talk.command(line).unwrap()
}

/// Names sender and recipient.
fn begin(talk: &mut SmtpTalk, with: &str) {
    assert!(said(talk, &format!("MAIL FROM:<c@outside.test>{with}")).starts_with("250"));
    assert!(said(talk, "RCPT TO:<anna@company.test>").starts_with("250"));
}

/// Sends one chunk; `last` is empty or ` LAST`.
fn chunk(talk: &mut SmtpTalk, bytes: &[u8], last: &str) -> String {
    talk.write(format!("BDAT {}{last}\r\n", bytes.len()).as_bytes()).unwrap();
    talk.write(bytes).unwrap();
    talk.reply().unwrap()
}

#[test]
fn chunks_arrive_as_one_message_and_wrong_ones_are_refused_without_losing_the_place() {
    let options = PrimaryOptions {
        // The next hop knows none of it: what came in chunks and eight bits leaves by DATA, byte for byte.
        postfix: "smtpd_discard_ehlo_keywords = chunking, 8bitmime, smtputf8\n".to_owned(),
        ..PrimaryOptions::default()
    };
    let scene = Scene::with("chunks", &options, |_, _| {});
    let mut talk = SmtpTalk::open(([127, 0, 0, 1], scene.stormpost.smtp).into(), "chunks.test").unwrap();
    let body =
        "Subject: in chunks\r\nX-Story-Id: chunks-1\r\nFrom: c@outside.test\r\nDate: Sun, 22 Nov 2026 \
                10:00:00 +0000\r\nMessage-ID: <chunks-1@outside.test>\r\n\r\n.dot\r\n.\r\nGrüße\r\n"
            .as_bytes();

    // Split inside a line end, inside a character and before the end; the last one is empty.
    begin(&mut talk, " BODY=8BITMIME");
    let (one, rest) = body.split_at(19);
    let (two, three) = rest.split_at(rest.len() - 5);
    for part in [one, two, three] {
        let reply = chunk(&mut talk, part, "");
        assert!(reply.starts_with("250 2.0.0"), "{reply}");
    }
    let reply = chunk(&mut talk, b"", " LAST");
    assert!(reply.starts_with("250 2.0.0 stored as"), "{reply}");

    // Chunks first and DATA then (RFC 3030 §2: 503), and the message can still be finished.
    begin(&mut talk, "");
    assert!(chunk(&mut talk, b"Subject: mixed\r\nX-Story-Id: chunks-2\r\n\r\n", "").starts_with("250"));
    let mixed = said(&mut talk, "DATA");
    assert!(mixed.starts_with("503 5.5.1"), "{mixed}");
    assert!(chunk(&mut talk, b"end\r\n", " LAST").starts_with("250 2.0.0 stored as"));

    // Without a transaction, or after MAIL was refused, the octets are read all the same and are no commands.
    let reply = chunk(&mut talk, b"RSET\r\nQUIT\r\n", " LAST");
    assert!(reply.starts_with("503"), "{reply}");
    assert!(said(&mut talk, "MAIL FROM:<no address>").starts_with('5'));
    let reply = chunk(&mut talk, b"QUIT\r\n", " LAST");
    assert!(reply.starts_with("503"), "{reply}");
    // A chunk that promises fewer octets than come, and ends inside a line end.
    begin(&mut talk, "");
    talk.write(b"BDAT 3 LAST\r\nab\r\nQU\r\n").unwrap();
    let first = talk.reply().unwrap();
    assert!(!first.starts_with("250 2.0.0 stored"), "a bare CR at the end: {first}");
    let then = talk.reply().unwrap();
    assert!(
        then.starts_with("421"),
        "whoever counts otherwise than we do is not talked to any longer: {then}"
    );
    let mut talk = SmtpTalk::open(([127, 0, 0, 1], scene.stormpost.smtp).into(), "chunks.test").unwrap();
    // What is not offered: BINARYMIME (RFC 3030 §3), and a size that is none.
    let reply = said(&mut talk, "MAIL FROM:<c@outside.test> BODY=BINARYMIME");
    assert!(
        reply.starts_with("501 5.5.4") || reply.starts_with("504 5.5.4") || reply.starts_with("555 5.5.4"),
        "{reply}"
    );
    talk.command("RSET").unwrap();
    begin(&mut talk, "");
    let whole = chunk(&mut talk, b"Subject: after all that\r\nX-Story-Id: chunks-3\r\n\r\nx\r\n", " LAST");
    assert!(whole.starts_with("250 2.0.0 stored as"), "{whole}");
    drop(talk);

    scene.drained(Duration::from_secs(30));
    let drop = scene.primary.maildrop("anna");
    for id in ["chunks-1", "chunks-2", "chunks-3"] {
        assert_eq!(drop.with_story(id).len(), 1, "{id}");
    }
    assert_eq!(drop.messages.len(), 3, "and nothing else came of it");
    let user = format!("anna@company.test*{}", stories::primary::READER.0);
    let whole =
        stories::Maildrop::look_whole("127.0.0.1", scene.primary.imap, &user, stories::primary::READER.1);
    assert!(
        whole.with_story("chunks-1")[0].text.ends_with(body),
        "byte for byte, through a hop without 8BITMIME"
    );
    let log = fs::read_to_string(scene.stormpost.log_file()).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
