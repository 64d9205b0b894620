//! People's programs reading: long messages, clients that do not read, mail that comes while one waits, searching.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use stories::lab::wait_for;
use stories::load::{SmtpTalk, story_message};
use stories::stormpost::{Company, Setup};
use stories::tls::Stream;
use stories::tools::run;
use stories::{Lab, Stormpost, tls};

const MEGABYTE: usize = 1 << 20;
const ANNA: &str = "anna@home.test";

fn host(lab: &Lab) -> Stormpost {
    Stormpost::start(lab, "stormpost", &Setup::with(vec![Company::alone("home.test", &["anna"])]))
}

/// A bare connection that is signed in.
fn signed_in(stormpost: &Stormpost) -> BufReader<Box<dyn Stream>> {
    let stream = TcpStream::connect(("127.0.0.1", stormpost.imaps)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut talk = BufReader::new(tls::begin(stream).unwrap());
    hear(&mut talk, "* OK");
    say(&mut talk, &format!("l LOGIN {ANNA} pw-anna\r\n"));
    hear(&mut talk, "l OK");
    talk
}

fn say(talk: &mut BufReader<Box<dyn Stream>>, text: &str) {
    talk.get_mut().write_all(text.as_bytes()).unwrap();
    talk.get_mut().flush().unwrap();
}

/// Reads lines until one begins so.
fn hear(talk: &mut BufReader<Box<dyn Stream>>, begin: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(talk.read_line(&mut line).unwrap() > 0, "closed while waiting for {begin}");
        if line.starts_with(begin) {
            return line;
        }
    }
}

#[test]
fn thirty_megabytes_come_and_go_in_little_memory_even_to_those_who_do_not_read() {
    let lab = Lab::open("reading_long");
    let stormpost = host(&lab);
    let message = story_message("long-1", "a@outside.test", ANNA, 30 * MEGABYTE);
    let mut talk = signed_in(&stormpost);
    let before = stormpost.resident();
    let mut most = before;
    // LITERAL+ (RFC 7888): nobody asks, it just comes.
    say(&mut talk, &format!("a APPEND INBOX {{{}+}}\r\n", message.len()));
    for piece in message.chunks(MEGABYTE) {
        talk.get_mut().write_all(piece).unwrap();
        most = most.max(stormpost.resident());
    }
    say(&mut talk, "\r\n");
    let answer = hear(&mut talk, "a ");
    assert!(answer.starts_with("a OK [APPENDUID "), "{answer}");
    let coming = most.saturating_sub(before);

    // Eight clients ask for all of it and read nothing.
    let deaf: Vec<_> = (0..8)
        .map(|_| {
            let mut deaf = signed_in(&stormpost);
            say(&mut deaf, "s SELECT INBOX\r\nf FETCH 1 BODY.PEEK[]\r\n");
            deaf
        })
        .collect();
    let begun = Instant::now();
    let mut most = stormpost.resident();
    while begun.elapsed() < Duration::from_secs(4) {
        most = most.max(stormpost.resident());
        std::thread::sleep(Duration::from_millis(50));
    }
    let going = most.saturating_sub(before);
    let mib = |bytes: u64| bytes / MEGABYTE as u64;
    lab.say(&format!(
        "resident {} MiB; {} MiB more while 30 MiB came in, {} MiB more with eight who do not read",
        mib(before),
        mib(coming),
        mib(going)
    ));
    assert!(mib(coming) <= 30 && mib(going) <= 48, "{} and {}", mib(coming), mib(going));

    // Somebody who reads gets it, at once and as it was.
    say(&mut talk, "s SELECT INBOX\r\n");
    hear(&mut talk, "s OK");
    say(&mut talk, "f FETCH 1 BODY.PEEK[]\r\n");
    hear(&mut talk, "* 1 FETCH (BODY[] {");
    let mut read = vec![0; message.len()];
    talk.read_exact(&mut read).unwrap();
    assert!(read == message, "what comes out is not what went in");
    hear(&mut talk, "f OK");
    // And so does one who was deaf for a while.
    let mut late = deaf.into_iter().next().unwrap();
    hear(&mut late, "* 1 FETCH (BODY[] {");
    late.read_exact(&mut read).unwrap();
    assert!(read == message);
    hear(&mut late, "f OK");
}

#[test]
fn who_waits_for_mail_hears_of_it_within_a_second() {
    let lab = Lab::open("reading_idle");
    let stormpost = host(&lab);
    let mut waiting = signed_in(&stormpost);
    say(&mut waiting, "s SELECT INBOX\r\n");
    hear(&mut waiting, "s OK");
    say(&mut waiting, "i IDLE\r\n");
    hear(&mut waiting, "+ ");
    let mut sender = SmtpTalk::open(([127, 0, 0, 1], stormpost.smtp).into(), "outside.test").unwrap();
    let mut slowest = Duration::ZERO;
    for number in 1..=10 {
        let message = story_message(&format!("idle-{number}"), "a@outside.test", ANNA, 100);
        let (reply, _) = sender.send("a@outside.test", &[ANNA], &message).unwrap();
        let accepted = Instant::now();
        assert!(reply.starts_with("250"), "{reply}");
        hear(&mut waiting, &format!("* {number} EXISTS"));
        slowest = slowest.max(accepted.elapsed());
    }
    lab.say(&format!("the slowest of ten was told {} ms after its 250", slowest.as_millis()));
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // A flag set by another program is told to who waits, too.
    let mut other = stormpost.imap_as(ANNA).unwrap();
    other.command("SELECT INBOX").unwrap();
    let begun = Instant::now();
    other.command("STORE 3 +FLAGS (\\Flagged)").unwrap();
    let told = hear(&mut waiting, "* 3 FETCH");
    assert!(
        told.contains("\\Flagged") && begun.elapsed() < Duration::from_secs(1),
        "{told} {:?}",
        begun.elapsed()
    );
    say(&mut waiting, "DONE\r\n");
    hear(&mut waiting, "i OK");
}

#[test]
fn umlauts_are_found_by_pythons_own_client_in_subject_and_body_and_of_any_case() {
    let lab = Lab::open("reading_search");
    let stormpost = host(&lab);
    let mut talk = stormpost.imap_as(ANNA).unwrap();
    for (subject, body) in [
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe_aus_Z=C3=BCrich?=", "nothing"),
        ("plain", "Schöne Grüße"),
        ("plain", "nothing"),
    ] {
        let text = format!(
            "From: a@x.test\r\nSubject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\n{body}\r\n"
        );
        talk.append("INBOX", "", text.as_bytes()).unwrap();
    }
    let script = format!(
        r#"
import imaplib, ssl
c = ssl._create_unverified_context()
m = imaplib.IMAP4_SSL('127.0.0.1', {}, ssl_context=c)
m.login('{ANNA}', 'pw-anna')
m.select('INBOX')
def search(key, text):
    m.literal = text.encode()
    return m.search('UTF-8', key)
assert search('SUBJECT', 'Zürich') == ('OK', [b'1']), search('SUBJECT', 'Zürich')
assert search('SUBJECT', 'ZÜRICH') == ('OK', [b'1']), search('SUBJECT', 'ZÜRICH')
assert search('BODY', 'Grüße') == ('OK', [b'2']), search('BODY', 'Grüße')
assert search('TEXT', 'grüße') == ('OK', [b'1 2']), search('TEXT', 'grüße')
assert search('TEXT', 'Genf') == ('OK', [b'']), search('TEXT', 'Genf')
assert m.search('US-ASCII', 'SUBJECT', 'plain') == ('OK', [b'2 3'])
m.literal = 'Zürich'.encode('latin-1')
typ, words = m.search('KOI8-X', 'SUBJECT')
assert typ == 'NO' and b'BADCHARSET' in words[0], (typ, words)
m.logout()
"#,
        stormpost.imaps
    );
    run(Command::new("/usr/bin/python3").arg("-c").arg(script)).must("imaplib");
    wait_for("the program to live on", Duration::from_secs(1), || !stormpost.log().contains("panicked"));
}
