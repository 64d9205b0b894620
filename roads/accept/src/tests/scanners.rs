//! What is found in a message before it is taken, by scanners that are played here.
//!
//! The facts of the played ones: rspamd answers `POST /checkv2` with JSON whose `action`, `score`, `required_score` and
//! `symbols` are read (answer of rspamd 3.4 of Debian to GTUBE, and <https://docs.rspamd.com/developers/protocol/>); clamd
//! takes `zINSTREAM`, pieces with their length in front, and answers `stream: OK`, `stream: NAME FOUND` or `INSTREAM size
//! limit exceeded. ERROR` (clamd(8), ClamAV 1.4). The stories ask the real ones.

use super::*;
use rules_policy::{AttachmentRule, Deed, Policy, VirusRule, Without};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use words_mail::{Action, Check, CheckAnswer, CheckResult, Reason, Verdict};
use words_world::{Mx, NameError, Names, Net};

/// What the scanners were sent, and how they behave.
#[derive(Default)]
struct Town {
    rspamd: Mutex<Mood>,
    clamd: Mutex<Mood>,
    sent: Mutex<Vec<(u16, Vec<u8>)>>,
    listed: HashMap<&'static str, &'static str>,
}

#[derive(Clone, Default)]
enum Mood {
    #[default]
    Dead,
    Silent,
    Says(String),
    /// Closes after so many octets, saying this.
    Enough(usize, String),
}

fn rspamd(action: &str, score: f64) -> Mood {
    let json = format!(
        r#"{{"is_skipped":false,"score":{score},"required_score":15.0,"action":"{action}","symbols":{{"RULE":{{"score":{score}}}}}}}"#
    );
    Mood::Says(format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    ))
}

struct Streets(Arc<Town>);

impl Net for Streets {
    fn connect(&self, to: SocketAddr) -> Boxed<'_, std::io::Result<Box<dyn Stream>>> {
        let mood = if to.port() == 11333 { &self.0.rspamd } else { &self.0.clamd };
        let mood = mood.lock().unwrap().clone();
        let town = self.0.clone();
        Box::pin(async move {
            if let Mood::Dead = mood {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = duplex(1 << 10);
            tokio::spawn(play(town, to.port(), mood, theirs));
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }

    fn listen(&self, _: SocketAddr) -> Boxed<'_, std::io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
    }

    fn connect_local<'a>(&'a self, _: &'a Path) -> Boxed<'a, std::io::Result<Box<dyn Stream>>> {
        self.connect(SocketAddr::from(([127, 0, 0, 1], 3310)))
    }

    fn listen_local<'a>(&'a self, _: &'a Path) -> Boxed<'a, std::io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
    }
}

async fn play(town: Arc<Town>, port: u16, mood: Mood, mut stream: DuplexStream) {
    let mut heard = Vec::new();
    let mut piece = [0; 4096];
    let most = if let Mood::Enough(most, _) = mood { most } else { usize::MAX };
    while heard.len() < most && !is_whole(port, &heard) {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(n) => heard.extend_from_slice(&piece[..n]),
        }
    }
    town.sent.lock().unwrap().push((port, heard));
    match mood {
        Mood::Says(words) | Mood::Enough(_, words) => drop(stream.write_all(words.as_bytes()).await),
        _ => std::future::pending().await,
    }
}

fn is_whole(port: u16, heard: &[u8]) -> bool {
    if port != 11333 {
        return heard.ends_with(&[0; 4]);
    }
    let text = String::from_utf8_lossy(heard);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    body.len() >= length.parse::<usize>().unwrap()
}

impl Names for Streets {
    fn mx<'a>(&'a self, _: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>> {
        Box::pin(async { Err(NameError::NotFound) })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Boxed<'a, Result<Vec<IpAddr>, NameError>> {
        let found = self.0.listed.get(host).map(|ip| vec![ip.parse().unwrap()]);
        Box::pin(async move { found.ok_or(NameError::NotFound) })
    }
}

fn scanner(port: u16) -> ScannerOptions {
    let place = ScannerPlace::Host("127.0.0.1".into(), port);
    ScannerOptions { place, time: 5 * SECOND, largest: 100_000, at_once: 2 }
}

fn house(town: &Arc<Town>, change: impl FnOnce(&mut AcceptParts)) -> House {
    House::with(|parts| {
        parts.world.net = Arc::new(Streets(town.clone()));
        parts.world.names = Arc::new(Streets(town.clone()));
        parts.scanners.rspamd = Some(scanner(11_333));
        change(parts);
    })
}

fn verdict(house: &House) -> Verdict {
    let (accepted, _) = house.stored().pop().unwrap();
    serde_json::from_value(accepted.verdict).unwrap()
}

fn answer(house: &House, check: Check) -> CheckAnswer {
    verdict(house).checks.into_iter().find(|answer| answer.check == check).unwrap()
}

const MESSAGE: &str = "From: x@s.example\r\nSubject: hello\r\n\r\nwords\r\n";

async fn send(house: &House, message: &str) -> String {
    house.greet(Door::Edge).await.send("x@s.example", &["anna@example.org"], message).await
}

#[tokio::test(start_paused = true)]
async fn the_spam_filter_sees_what_came_in_and_what_it_says_is_done_and_recorded() {
    let town = Arc::new(Town::default());
    let house = house(&town, |_| {});
    *town.rspamd.lock().unwrap() = rspamd("no action", 0.5);
    trace(&send(&house, MESSAGE).await);
    let (_, asked) = town.sent.lock().unwrap().pop().unwrap();
    let asked = String::from_utf8(asked).unwrap();
    assert!(asked.starts_with("POST /checkv2 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.ends_with(&format!("\r\n\r\n{MESSAGE}")), "no line of ours: {asked}");
    for field in [
        "IP: 203.0.113.9",
        "Helo: c.example",
        "From: x@s.example",
        "Rcpt: anna@example.org",
        "Deliver-To: anna@example.org",
    ] {
        assert!(asked.contains(&format!("\r\n{field}\r\n")), "{field}: {asked}");
    }
    assert!(!asked.contains("\r\nUser: "));
    let recorded = answer(&house, Check::Rspamd);
    assert_eq!((recorded.result, recorded.score), (CheckResult::Pass, Some(50)));

    *town.rspamd.lock().unwrap() = rspamd("add header", 7.25);
    trace(&send(&house, &MESSAGE.replace("hello", "buy")).await);
    let (_, message) = house.stored().pop().unwrap();
    assert!(
        message.starts_with("X-Spam: Yes\r\nX-Spam-Status: Yes, rspamd=probably-spam score=7.25\r\n"),
        "{message}"
    );
    assert!(message.ends_with(&MESSAGE.replace("hello", "buy")), "nothing below is changed");
    assert_eq!(verdict(&house).action.name(), "tag");

    *town.rspamd.lock().unwrap() = rspamd("reject", 20.0);
    let reply = send(&house, MESSAGE).await;
    assert_eq!(reply, "550 5.7.1 the spam filter here takes this for spam (spam); nothing was stored\r\n");
    *town.rspamd.lock().unwrap() = rspamd("soft reject", 4.0);
    assert!(send(&house, MESSAGE).await.starts_with("451 4.7.1 "));
    assert_eq!(house.stored().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_people_send_is_looked_at_alike_and_our_own_reports_are_not() {
    let town = Arc::new(Town::default());
    let house = house(&town, |_| {});
    *town.rspamd.lock().unwrap() = rspamd("reject", 20.0);
    let mut anna = house.person("\0anna@example.org\0right").await;
    let own = "From: anna@example.org\r\nSubject: s\r\n\r\nx\r\n";
    assert!(anna.send("anna@example.org", &["far@away.example"], own).await.starts_with("550 5.7.1 "));
    let (_, asked) = town.sent.lock().unwrap().pop().unwrap();
    assert!(String::from_utf8(asked).unwrap().contains("\r\nUser: anna@example.org\r\n"));
    let mut inside = house.greet(Door::Local).await;
    trace(&inside.send("", &["anna@example.org"], own).await);
    assert!(town.sent.lock().unwrap().is_empty());
    assert_eq!(answer(&house, Check::Rspamd).reason, Some(Reason::OwnMail));
}

#[tokio::test(start_paused = true)]
async fn mail_flows_past_a_dead_scanner_and_waits_for_one_that_must_look() {
    let town = Arc::new(Town::default());
    let open = house(&town, |_| {});
    trace(&send(&open, MESSAGE).await);
    let recorded = answer(&open, Check::Rspamd);
    assert_eq!((recorded.result, recorded.reason), (CheckResult::Unanswered, Some(Reason::NoAnswer)));
    let (_, message) = open.stored().pop().unwrap();
    assert!(
        message.starts_with("Stormpost-Verdict: deliver rules=3\r\n\trspamd=unanswered(no-answer)\r\n"),
        "{message}"
    );

    *town.rspamd.lock().unwrap() = Mood::Silent;
    let began = tokio::time::Instant::now();
    for n in 0..40 {
        trace(&send(&open, &MESSAGE.replace("hello", &n.to_string())).await);
    }
    // Ten wait their five seconds to find out that it is dead, and then one at a time; alone in line that is each.
    assert!(began.elapsed() < 220 * SECOND, "{:?}", began.elapsed());

    let closed = house(&town, |parts| {
        parts.scanners.rspamd = None;
        parts.scanners.clamd = Some(scanner(3_310));
    });
    let reply = send(&closed, MESSAGE).await;
    assert_eq!(
        reply,
        "451 4.7.1 clamav cannot look at this now (no-answer); nothing was stored; try again\r\n"
    );
    *town.clamd.lock().unwrap() = Mood::Says("nonsense\0".into());
    assert!(
        send(&closed, MESSAGE).await.starts_with("451 4.7.1 clamav cannot look at this now (wrong-answer)")
    );
    *town.clamd.lock().unwrap() = Mood::Says("stream: OK\0".into());
    trace(&send(&closed, MESSAGE).await);
    assert_eq!(closed.stored().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_virus_is_refused_or_kept_back_with_its_name() {
    let town = Arc::new(Town::default());
    *town.clamd.lock().unwrap() = Mood::Says("stream: Eicar-Test FOUND\0".into());
    let clamd = |parts: &mut AcceptParts| {
        parts.scanners.rspamd = None;
        parts.scanners.clamd = Some(scanner(3_310));
    };
    let refusing = house(&town, clamd);
    let reply = send(&refusing, MESSAGE).await;
    assert_eq!(reply, "550 5.7.1 a virus scanner found Eicar-Test in it (virus); nothing was stored\r\n");
    let (_, asked) = town.sent.lock().unwrap().pop().unwrap();
    let length = u32::try_from(MESSAGE.len()).unwrap().to_be_bytes();
    let expected = [b"zINSTREAM\0", &length[..], MESSAGE.as_bytes(), &[0; 4]].concat();
    assert_eq!(asked, expected);

    let keeping = house(&town, |parts| {
        clamd(parts);
        parts.policy.clamav = VirusRule { without: Without::Defer, found: Deed::Quarantine };
    });
    trace(&send(&keeping, MESSAGE).await);
    let Action::Quarantine { reason } = verdict(&keeping).action else { panic!() };
    assert_eq!(reason, "virus (clamav): Eicar-Test");
    assert_eq!(keeping.accept.counts().quarantined.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn long_mail_is_streamed_to_the_scanners_from_its_file_and_too_long_mail_is_not() {
    let town = Arc::new(Town::default());
    *town.clamd.lock().unwrap() = Mood::Says("stream: OK\0".into());
    *town.rspamd.lock().unwrap() = rspamd("no action", 0.0);
    let house = house(&town, |parts| {
        let long = ScannerOptions { largest: 3 << 20, ..scanner(11_333) };
        parts.scanners.rspamd = Some(long);
        parts.scanners.clamd = Some(scanner(3_310));
    });
    let long = format!("{MESSAGE}{}", "0123456789abcdef\r\n".repeat(2 * (1 << 20) / 18));
    trace(&send(&house, &long).await);
    let sent = std::mem::take(&mut *town.sent.lock().unwrap());
    assert_eq!(sent.len(), 1, "clamd's bound is less");
    assert!(sent[0].1.ends_with(long.as_bytes()));
    let recorded = answer(&house, Check::Clamav);
    assert_eq!((recorded.result, recorded.reason), (CheckResult::NotAsked, Some(Reason::TooLargeToAsk)));
    assert_eq!(recorded.detail, "larger than 100000 octets");

    // It says itself that it has had enough.
    *town.clamd.lock().unwrap() = Mood::Enough(2_000, "INSTREAM size limit exceeded. ERROR\0".into());
    let middle = format!("{MESSAGE}{}", "0123456789abcdef\r\n".repeat(5_000));
    trace(&send(&house, &middle).await);
    assert_eq!(answer(&house, Check::Clamav).reason, Some(Reason::TooLargeToAsk));
}

#[tokio::test(start_paused = true)]
async fn an_address_on_a_list_and_an_unwanted_file_are_refused_before_anybody_is_asked() {
    let listed = HashMap::from([("9.113.0.203.bl.example", "127.0.0.3")]);
    let town = Arc::new(Town { listed, ..Town::default() });
    let lists = |zones: &[&str]| {
        let zones = zones.iter().map(|zone| (*zone).to_owned()).collect();
        Some(DnsblOptions { zones, time: SECOND })
    };
    let strict = house(&town, |parts| parts.scanners.dnsbl = lists(&["other.example", "bl.example"]));
    let reply = send(&strict, MESSAGE).await;
    assert_eq!(reply, "550 5.7.1 your address is on the list bl.example (listed); nothing was stored\r\n");
    let clean = house(&town, |parts| {
        parts.scanners.dnsbl = lists(&["other.example"]);
        let attachments = AttachmentRule { unwanted: vec!["exe".into()], deed: Deed::Refuse };
        parts.policy = Policy { attachments, ..Policy::default() };
    });
    let with = "From: x@s.example\r\nContent-Disposition: attachment; filename=\"a.exe\"\r\n\r\nMZ\r\n";
    let reply = send(&clean, with).await;
    assert!(
        reply.starts_with("550 5.7.1 files of the kind .exe are not taken here (attachment-type)"),
        "{reply}"
    );
    assert!(town.sent.lock().unwrap().is_empty());
    trace(&send(&clean, MESSAGE).await);
    assert_eq!(answer(&clean, Check::Dnsbl).result, CheckResult::Pass);
    assert_eq!(answer(&clean, Check::Attachments).result, CheckResult::Pass);
}
