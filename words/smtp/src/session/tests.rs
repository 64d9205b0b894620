use super::*;
use crate::receive::tests::SMUGGLING;
use proptest::prelude::*;

/// Everything that came of a dialogue.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    replies: String,
    events: Vec<String>,
    /// Bodies of the messages that were taken.
    stored: Vec<String>,
}

impl Heard {
    fn codes(&self) -> Vec<u16> {
        let last = |l: &&str| l.as_bytes().get(3) == Some(&b' ');
        self.replies.split("\r\n").filter(last).map(|l| l[..3].parse().unwrap()).collect()
    }
}

struct Driver {
    session: ServerSession,
    heard: Heard,
    body: Vec<u8>,
}

fn config(dialect: Dialect) -> ServerConfig {
    ServerConfig {
        dialect,
        host: "mx.example.org".into(),
        extensions: Extensions::default(),
        starttls: true,
        limits: SessionLimits { size: 1_000, discarded: 5_000, ..SessionLimits::default() },
    }
}

impl Driver {
    fn new(config: ServerConfig, tls: bool) -> Driver {
        let session = ServerSession::new(Arc::new(config), tls.then(|| "TLSv1.3".into()));
        Driver { session, heard: Heard::default(), body: Vec::new() }
    }

    /// Feeds one chunk; `false` once the session is closed.
    fn feed(&mut self, mut input: &[u8]) -> bool {
        let mut open = true;
        loop {
            let (used, event) = self.session.advance(input);
            input = &input[used..];
            match &event {
                Event::More | Event::Content(_) => {}
                Event::Mail => {
                    let mail = self.session.mail().unwrap();
                    self.heard.events.push(format!("mail {} {:?}", mail.sender, mail.size));
                }
                Event::Rcpt => {
                    let to = &self.session.candidate().unwrap().address;
                    self.heard.events.push(format!("rcpt {to}"));
                }
                Event::SignIn => {
                    let user = &self.session.credentials().unwrap().user;
                    self.heard.events.push(format!("sign-in {user}"));
                }
                other => self.heard.events.push(format!("{other:?}")),
            }
            match event {
                Event::More => {
                    assert!(input.is_empty(), "More with input left");
                    break;
                }
                Event::Content(bytes) => self.body.extend_from_slice(bytes),
                Event::Mail => self.session.answer(&Reply::new(250, (2, 1, 0), "sender ok")),
                Event::Rcpt => {
                    let unknown = self.session.candidate().unwrap().address.local() == "unknown";
                    self.session.answer(&match unknown {
                        true => Reply::new(550, (5, 1, 1), "nobody of that name"),
                        false => Reply::new(250, (2, 1, 5), "recipient ok"),
                    });
                }
                Event::SignIn => {
                    let right = self.session.credentials().unwrap().password == "right";
                    self.session.answer(&match right {
                        true => Reply::new(235, (2, 7, 0), "welcome"),
                        false => Reply::new(535, (5, 7, 8), "wrong"),
                    });
                }
                Event::Body => self.session.answer(&Reply::new(354, (3, 0, 0), "go")),
                Event::End(End::Whole) => {
                    self.heard.stored.push(String::from_utf8_lossy(&self.body).into_owned());
                    self.body.clear();
                    self.session.answer(&Reply::new(250, (2, 0, 0), "stored"));
                }
                Event::End(End::Refused(_)) | Event::Reset => self.body.clear(),
                Event::StartTls => {
                    if self.session.begin_tls(false) {
                        self.session.secured("TLSv1.3".into());
                    }
                }
                Event::Close => {
                    open = false;
                    break;
                }
            }
        }
        let out = self.session.take_output();
        self.heard.replies.push_str(&String::from_utf8(out).unwrap());
        open
    }
}

fn talk_as(config: ServerConfig, tls: bool, chunks: &[&[u8]]) -> Heard {
    let mut driver = Driver::new(config, tls);
    driver.session.take_output();
    for chunk in chunks {
        if !driver.feed(chunk) {
            break;
        }
    }
    driver.heard
}

fn talk(text: &str) -> Heard {
    talk_as(config(Dialect::Smtp), false, &[text.as_bytes()])
}

const START: &str = "EHLO c.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\n";

#[test]
fn the_typical_dialogue_of_rfc_5321_works() {
    let heard = talk(
        "EHLO bar.com\r\nMAIL FROM:<Smith@bar.com>\r\nRCPT TO:<Jones@foo.com>\r\nRCPT TO:<unknown@foo.com>\r\n\
         RCPT TO:<Brown@foo.com>\r\nDATA\r\nBlah blah blah...\r\n...etc. etc. etc.\r\n.\r\nQUIT\r\n",
    );
    assert_eq!(heard.codes(), [250, 250, 250, 550, 250, 354, 250, 221]);
    assert_eq!(heard.stored, ["Blah blah blah...\r\n..etc. etc. etc.\r\n"]);
}

#[test]
fn an_aborted_dialogue_leaves_nothing() {
    let heard = talk(&format!("{START}RSET\r\nDATA\r\nQUIT\r\n"));
    assert_eq!(heard.codes(), [250, 250, 250, 250, 503, 221]);
    assert_eq!(heard.events.iter().filter(|e| *e == "Reset").count(), 1);
    assert!(heard.stored.is_empty());
}

#[test]
fn ehlo_offers_what_is_to_be_had_and_no_more() {
    let offered = |config: ServerConfig, tls: bool, verb: &str| {
        let heard = talk_as(config, tls, &[format!("{verb} c\r\n").as_bytes()]);
        heard.replies.lines().skip(1).map(|l| l[4..].trim().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let basic = "PIPELINING ENHANCEDSTATUSCODES SIZE 1000 8BITMIME SMTPUTF8 DSN CHUNKING";
    assert_eq!(offered(config(Dialect::Smtp), false, "EHLO"), format!("{basic} STARTTLS"));
    assert_eq!(offered(config(Dialect::Smtp), true, "EHLO"), basic);
    assert_eq!(offered(config(Dialect::Submission), false, "EHLO"), format!("{basic} STARTTLS"));
    assert_eq!(offered(config(Dialect::Submission), true, "EHLO"), format!("{basic} AUTH PLAIN LOGIN"));
    assert_eq!(offered(config(Dialect::Lmtp), true, "LHLO"), basic);
    let none = Extensions { eight_bit: false, utf8: false, dsn: false, chunking: false };
    let bare = ServerConfig { extensions: none, starttls: false, ..config(Dialect::Smtp) };
    assert_eq!(offered(bare.clone(), false, "EHLO"), "PIPELINING ENHANCEDSTATUSCODES SIZE 1000");
    for line in ["MAIL FROM:<> SMTPUTF8", "MAIL FROM:<> BODY=8BITMIME", "MAIL FROM:<> RET=FULL", "BDAT 0"] {
        let heard = talk_as(bare.clone(), false, &[format!("EHLO c\r\n{line}\r\n").as_bytes()]);
        assert!(matches!(heard.codes()[1], 502 | 555), "{line}: {}", heard.replies);
    }
}

#[test]
fn commands_out_of_order_are_refused_and_change_nothing() {
    for (text, codes) in [
        ("MAIL FROM:<a@b>\r\n", &[503][..]),
        ("RCPT TO:<a@b>\r\n", &[503]),
        ("DATA\r\n", &[503]),
        ("EHLO c\r\nRCPT TO:<a@b>\r\n", &[250, 503]),
        ("EHLO c\r\nDATA\r\n", &[250, 503]),
        ("EHLO c\r\nMAIL FROM:<a@b>\r\nDATA\r\n", &[250, 250, 554]),
        ("EHLO c\r\nMAIL FROM:<a@b>\r\nMAIL FROM:<c@d>\r\n", &[250, 250, 503]),
        ("EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<unknown@d>\r\nDATA\r\n", &[250, 250, 550, 554]),
        ("EHLO c\r\nMAIL FROM:<a@b>\r\nEHLO c\r\nRCPT TO:<a@b>\r\n", &[250, 250, 250, 503]),
        ("LHLO c\r\n", &[500]),
        ("HELO c\r\nNOOP\r\nVRFY a\r\nEXPN l\r\nHELP\r\n", &[250, 250, 252, 502, 214]),
        ("EHLO c\r\nAUTH PLAIN AGEAYg==\r\n", &[250, 502]),
        ("EHLO c\r\nMAIL FROM:<a@b> SIZE=1001\r\n", &[250, 552]),
        ("EHLO c\r\nMAIL FROM:<a@b> SIZE=1000\r\n", &[250, 250]),
        ("EHLO c\r\nMAIL FROM:<\u{e9}@b>\r\n", &[250, 553]),
        ("EHLO c\r\nMAIL FROM:<\u{e9}@b> SMTPUTF8\r\nRCPT TO:<\u{e9}@b>\r\n", &[250, 250, 250]),
        ("EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<\u{e9}@b>\r\n", &[250, 250, 553]),
        ("GET / HTTP/1.1\r\nHost: x\r\n", &[421]),
        ("NOOP\nQUIT\r\n", &[500, 421]),
        ("NOOP\r\r\n", &[500, 421]),
        ("MAIL FROM:<a@b>\rRCPT TO:<a@b>\r\nNOOP\r\n", &[500, 421]),
    ] {
        assert_eq!(talk(text).codes(), codes, "{text:?}");
    }
}

#[test]
fn every_reply_has_an_enhanced_code_of_its_own_class() {
    let heard = talk(
        "FOO\r\nDATA\r\nHELO c\r\nEXPN x\r\nMAIL FROM:<x\r\nRCPT TO:<>\r\nVRFY x\r\nHELP\r\nNOOP\r\nRSET\r\n\
         MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 0 LAST\r\nAUTH PLAIN =\r\nQUIT\r\n",
    );
    // RFC 2034 §3: none in the answer to the greeting.
    for line in heard.replies.lines().filter(|l| *l != "250 mx.example.org") {
        let (status, words) = line[4..].split_once(' ').unwrap();
        assert_eq!(status.split('.').count(), 3, "{line}");
        assert_eq!(&status[..1], &line[..1], "{line}");
        assert!(words.len() > 1, "{line}");
    }
}

#[test]
fn no_smuggling_ending_works_however_it_is_split() {
    for (ending, _) in SMUGGLING {
        let evil = "MAIL FROM:<evil@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nevil";
        let body = format!("Subject: one\r\n\r\na{ending}{evil}\r\n.\r\n");
        let wire = format!("{START}DATA\r\n{body}NOOP\r\n");
        for split in 0..=wire.len() {
            let (a, b) = wire.as_bytes().split_at(split);
            let heard = talk_as(config(Dialect::Smtp), false, &[a, b]);
            assert!(heard.stored.is_empty(), "{ending:?} split at {split}");
            assert_eq!(heard.events.iter().filter(|e| e.starts_with("mail")).count(), 1, "{ending:?}");
            let nul = heard.replies.contains("554 5.6.0");
            let bare = heard.replies.contains("550 5.6.11") && heard.replies.contains("SMTP smuggling");
            assert!(nul != bare, "{ending:?} split at {split}: {}", heard.replies);
            // After a bare line end nothing more of the connection is obeyed.
            assert_eq!(heard.codes().last(), Some(if bare { &421 } else { &250 }), "{ending:?}");
        }
    }
}

#[test]
fn chunks_carry_a_message_without_dots_meaning_anything() {
    let heard = talk(&format!(
        "{START}BDAT 8\r\nA: b\r\n\r\nBDAT 5\r\n.\r\n.\rBDAT 3 LAST\r\n\nxyBDAT 0 LAST\r\nRSET\r\n"
    ));
    assert_eq!(heard.codes(), [250, 250, 250, 250, 250, 250, 503, 250]);
    assert_eq!(heard.stored, ["A: b\r\n\r\n.\r\n.\r\nxy"]);
}

#[test]
fn bare_line_ends_are_found_across_chunks() {
    for body in ["a\rb", "a\nb", "ab\r", "\r\r\n", "a\r\n\n"] {
        for split in 0..=body.len() {
            let (a, b) = body.split_at(split);
            let heard = talk(&format!("{START}BDAT {}\r\n{a}BDAT {} LAST\r\n{b}NOOP\r\n", a.len(), b.len()));
            assert!(heard.stored.is_empty(), "{body:?}");
            assert_eq!(heard.codes(), [250, 250, 250, 250, 550, 421], "{body:?} split at {split}");
        }
    }
}

#[test]
fn a_refused_chunk_is_read_and_not_obeyed() {
    let heard = talk("EHLO c\r\nBDAT 10 LAST\r\nRSET\r\nNOOPNOOP\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n");
    assert_eq!(heard.codes(), [250, 503, 250, 503, 250]);
    let endless = talk("EHLO c\r\nBDAT 99999999\r\n");
    assert_eq!(endless.codes(), [250, 503, 421], "too much to be thrown away");
    let unknown = talk(&format!("{START}BDAT 99999999999999999999999\r\nNOOP\r\n"));
    assert_eq!(unknown.codes(), [250, 250, 250, 501, 421], "its length is not known");
    let mixed = talk(&format!("{START}BDAT 2\r\nabDATA\r\nRCPT TO:<c@d>\r\nBDAT 0 LAST\r\n"));
    assert_eq!(mixed.codes(), [250, 250, 250, 250, 503, 503, 250]);
    assert_eq!(mixed.stored, ["ab"]);
}

#[test]
fn a_message_that_is_too_big_is_told_so_at_its_end() {
    let fits = talk(&format!("{START}DATA\r\n{}\r\n.\r\nNOOP\r\n", "x".repeat(998)));
    assert_eq!(fits.codes(), [250, 250, 250, 354, 250, 250]);
    let too_big = talk(&format!("{START}DATA\r\n{}\r\n.\r\nNOOP\r\n", "x".repeat(999)));
    assert_eq!(too_big.codes(), [250, 250, 250, 354, 552, 250]);
    let chunked = talk(&format!("{START}BDAT 1001 LAST\r\n{}NOOP\r\n", "x".repeat(1_001)));
    assert_eq!(chunked.codes(), [250, 250, 250, 552, 250]);
    let endless = talk(&format!("{START}DATA\r\n{}", "x".repeat(7_000)));
    assert_eq!(endless.codes(), [250, 250, 250, 354, 552, 421]);
}

#[test]
fn an_empty_message_is_a_message() {
    let heard = talk(&format!("{START}DATA\r\n.\r\n{START}BDAT 0 LAST\r\n"));
    assert_eq!(heard.stored, ["", ""]);
}

#[test]
fn people_sign_in_under_tls_only() {
    let submission = || config(Dialect::Submission);
    let plain = "AHRpbQByaWdodA=="; // tim, right
    let clear = format!("EHLO c\r\nAUTH PLAIN {plain}\r\nAUTH LOGIN\r\nMAIL FROM:<tim@x>\r\n");
    let heard = talk_as(submission(), false, &[clear.as_bytes()]);
    assert_eq!(heard.codes(), [250, 538, 538, 530]);
    assert!(heard.events.is_empty(), "a password in the clear was looked at");

    for (sign_in, codes) in [
        (format!("AUTH PLAIN {plain}\r\n"), &[235][..]),
        (format!("AUTH PLAIN\r\n{plain}\r\n"), &[334, 235]),
        ("AUTH LOGIN\r\ndGlt\r\ncmlnaHQ=\r\n".into(), &[334, 334, 235]),
        ("AUTH LOGIN dGlt\r\ncmlnaHQ=\r\n".into(), &[334, 235]),
    ] {
        let text = format!("EHLO c\r\nMAIL FROM:<tim@x>\r\n{sign_in}MAIL FROM:<tim@x>\r\n");
        let heard = talk_as(submission(), true, &[text.as_bytes()]);
        assert_eq!(heard.codes(), [&[250, 530], codes, &[250]].concat(), "{sign_in}");
        assert!(heard.events.contains(&"sign-in tim".to_owned()));
    }
    for (sign_in, codes) in [
        ("AUTH LOGIN\r\n*\r\n", &[334, 501][..]),
        ("AUTH LOGIN\r\ndGlt\r\n!\r\n", &[334, 334, 501]),
        ("AUTH LOGIN\r\n=\r\n", &[334, 501]),
        ("AUTH PLAIN\r\n\r\n", &[334, 501]),
        ("AUTH PLAIN AHRpbQB3cm9uZw==\r\n", &[535]),
        ("AUTH CRAM-MD5\r\n", &[504]),
    ] {
        let text = format!("EHLO c\r\n{sign_in}MAIL FROM:<tim@x>\r\n");
        let heard = talk_as(submission(), true, &[text.as_bytes()]);
        assert_eq!(heard.codes(), [&[250], codes, &[530]].concat(), "{sign_in}");
    }
    let guesses = "AUTH PLAIN AHRpbQB3cm9uZw==\r\n".repeat(5);
    let heard = talk_as(submission(), true, &[format!("EHLO c\r\n{guesses}").as_bytes()]);
    assert_eq!(heard.codes(), [250, 535, 535, 535, 421]);
}

#[test]
fn nothing_sent_before_starttls_counts_after_it() {
    let text = format!("{START}STARTTLS\r\n");
    let heard = talk_as(
        config(Dialect::Smtp),
        false,
        &[text.as_bytes(), b"MAIL FROM:<a@b>\r\nEHLO c\r\nSTARTTLS\r\n"],
    );
    assert_eq!(heard.codes(), [250, 250, 250, 220, 503, 250, 503]);

    let mut session = ServerSession::new(Arc::new(config(Dialect::Smtp)), None);
    let wire = b"EHLO c\r\nSTARTTLS\r\nEHLO evil\r\n";
    let (used, event) = session.advance(wire);
    assert_eq!((event, &wire[used..]), (Event::StartTls, &b"EHLO evil\r\n"[..]));
    assert!(!session.begin_tls(true), "bytes behind STARTTLS");
    assert_eq!(session.advance(&wire[used..]), (0, Event::Close));
    assert!(String::from_utf8(session.take_output()).unwrap().contains("554 5.5.1"));

    let mut session = ServerSession::new(Arc::new(config(Dialect::Smtp)), None);
    session.advance(b"EHLO c\r\nSTARTTLS\r\n");
    assert!(session.begin_tls(false));
    assert_eq!(session.advance(b"NOOP\r\n").1, Event::Close, "clear text where the handshake should come");
}

#[test]
fn lmtp_gives_one_reply_for_each_recipient() {
    let start = "LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\nRCPT TO:<unknown@x>\r\nRCPT TO:<b@x>\r\n";
    let heard =
        talk_as(config(Dialect::Lmtp), false, &[format!("{start}DATA\r\nhello\r\n.\r\nNOOP\r\n").as_bytes()]);
    assert_eq!(heard.codes(), [250, 250, 250, 550, 250, 354, 250, 250, 250]);
    let bare = talk_as(config(Dialect::Lmtp), false, &[format!("{start}DATA\r\na\nb\r\n.\r\n").as_bytes()]);
    assert_eq!(bare.codes(), [250, 250, 250, 550, 250, 354, 550, 550, 421]);
    let nobody = talk_as(config(Dialect::Lmtp), false, &[b"EHLO c\r\nLHLO c\r\nMAIL FROM:<>\r\nDATA\r\n"]);
    assert_eq!(nobody.codes(), [500, 250, 250, 503]);

    let mut session = ServerSession::new(Arc::new(config(Dialect::Lmtp)), None);
    let wire = "LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n.\r\n";
    let mut input = wire.as_bytes();
    loop {
        let (used, event) = session.advance(input);
        input = &input[used..];
        match event {
            Event::End(End::Whole) => break,
            _ => session.answer(&Reply::new(250, (2, 0, 0), "ok")),
        }
    }
    session.take_output();
    session.settle(&[Reply::new(250, (2, 0, 0), "one"), Reply::new(452, (4, 2, 2), "two")]);
    assert_eq!(session.take_output(), b"250 2.0.0 one\r\n452 4.2.2 two\r\n");
}

#[test]
fn a_message_sent_without_leave_is_not_obeyed() {
    let heard = talk("EHLO c\r\nMAIL FROM:<a@b>\r\nDATA\r\nSubject: x\r\nMAIL FROM:<evil@x>\r\n");
    assert_eq!(heard.codes(), [250, 250, 554, 503, 421]);
    let patient = talk("EHLO c\r\nMAIL FROM:<a@b>\r\nDATA\r\nRSET\r\nFOO\r\nNOOP\r\n");
    assert_eq!(patient.codes(), [250, 250, 554, 250, 500, 250]);
}

#[test]
fn limits_are_named_when_they_are_met() {
    let limits = SessionLimits {
        recipients: 2,
        bad_commands: 3,
        refused_recipients: 2,
        commands: 20,
        line_octets: 64,
        ..SessionLimits::default()
    };
    let small = || ServerConfig { limits: limits.clone(), ..config(Dialect::Smtp) };
    let say = |text: String| talk_as(small(), false, &[text.as_bytes()]);
    let crowd = say(format!("{START}{}DATA\r\n.\r\n", "RCPT TO:<c@d>\r\n".repeat(2)));
    assert_eq!(crowd.codes(), [250, 250, 250, 250, 452, 354, 250]);
    assert_eq!(say("FOO\r\n".repeat(9)).codes(), [500, 500, 500, 500, 421]);
    let guesses = say(format!("{START}{}", "RCPT TO:<unknown@d>\r\n".repeat(9)));
    assert_eq!(guesses.codes(), [250, 250, 250, 550, 550, 550, 421]);
    assert_eq!(say("NOOP\r\n".repeat(30)).codes().last(), Some(&421));
    assert_eq!(say(format!("NOOP {}\r\nNOOP\r\n", "x".repeat(57))).codes(), [250, 250], "64 octets fit");
    assert_eq!(say(format!("NOOP {}\r\nNOOP\r\n", "x".repeat(58))).codes(), [500, 250], "65 do not");
    assert_eq!(say("x".repeat(70_000)).codes(), [500, 421]);
}

#[test]
fn the_protocol_word_says_how_it_came() {
    let word = |dialect, tls, text: &str| {
        let mut driver = Driver::new(config(dialect), tls);
        driver.feed(text.as_bytes());
        driver.session.protocol()
    };
    assert_eq!(word(Dialect::Smtp, false, "HELO c\r\n"), "SMTP");
    assert_eq!(word(Dialect::Smtp, false, "EHLO c\r\n"), "ESMTP");
    assert_eq!(word(Dialect::Smtp, true, "EHLO c\r\n"), "ESMTPS");
    assert_eq!(word(Dialect::Submission, true, "EHLO c\r\nAUTH PLAIN AHRpbQByaWdodA==\r\n"), "ESMTPSA");
    assert_eq!(word(Dialect::Lmtp, false, "LHLO c\r\n"), "LMTP");
    assert_eq!(word(Dialect::Smtp, true, "EHLO c\r\nMAIL FROM:<> SMTPUTF8\r\n"), "UTF8SMTPS");
}

#[test]
fn hanging_up_says_why() {
    let mut session = ServerSession::new(Arc::new(config(Dialect::Smtp)), None);
    session.take_output();
    session.hang_up(&Reply::new(421, (4, 4, 2), "idle for too long; connect again"));
    assert_eq!(session.advance(b"NOOP\r\n"), (0, Event::Close));
    assert_eq!(session.take_output(), b"421 4.4.2 idle for too long; connect again\r\n");
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect()
}

fn dialogue() -> impl Strategy<Value = String> {
    let lines = prop::sample::select(vec![
        "EHLO c\r\n",
        "HELO c\r\n",
        "LHLO c\r\n",
        "MAIL FROM:<a@b> SIZE=10\r\n",
        "RCPT TO:<c@d>\r\n",
        "RCPT TO:<unknown@d>\r\n",
        "DATA\r\n",
        "text\r\n",
        ".\r\n",
        "..\r\n",
        ".\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        "BDAT 7\r\n",
        "BDAT 3 LAST\r\n",
        "BDAT 0 LAST\r\n",
        "RSET\r\n",
        "QUIT\r\n",
        "STARTTLS\r\n",
        "AUTH LOGIN\r\n",
        "AUTH PLAIN AHRpbQByaWdodA==\r\n",
        "dGlt\r\n",
        "MAIL FROM:<>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ]);
    prop::collection::vec(lines, 0..14).prop_map(|l| l.concat())
}

proptest! {
    #[test]
    fn any_chunking_of_a_dialogue_gives_the_same_events(
        text in dialogue(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
        dialect in prop::sample::select(vec![Dialect::Smtp, Dialect::Submission, Dialect::Lmtp]),
        tls in any::<bool>(),
    ) {
        let limits = SessionLimits { line_octets: 80, size: 40, discarded: 100, ..SessionLimits::default() };
        let config = ServerConfig { limits, ..config(dialect) };
        let whole = talk_as(config.clone(), tls, &[text.as_bytes()]);
        let split = talk_as(config.clone(), tls, &pieces(text.as_bytes(), &cuts));
        prop_assert_eq!(&whole, &split);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        prop_assert_eq!(&whole, &talk_as(config, tls, &bytes));
    }

    #[test]
    fn arbitrary_bytes_never_break_it(bytes in prop::collection::vec(any::<u8>(), 0..400), tls in any::<bool>()) {
        let heard = talk_as(config(Dialect::Submission), tls, &[&bytes]);
        prop_assert!(heard.stored.is_empty());
    }

    #[test]
    fn what_is_stored_has_clean_line_ends(text in dialogue()) {
        for body in talk(&format!("{START}DATA\r\n{text}\r\n.\r\n")).stored {
            let clean = body.replace("\r\n", "");
            prop_assert!(!clean.contains(['\r', '\n', '\0']), "{:?}", body);
        }
    }
}
