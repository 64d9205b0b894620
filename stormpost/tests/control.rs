//! A whole node as a person meets it: `stormpost serve` on free ports, the other commands against it, its pages, and the
//! report of an event. The mail system it stands in front of is a listener of this test that says yes to everything.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by ending")]

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A free port below those that the kernel gives out by itself.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 20_000 + (std::process::id() % 10_000) as u16;
    loop {
        let port = begin + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A name server that knows no name, so that nobody waits for one.
fn names() -> u16 {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((n @ 12.., from)) = socket.recv_from(&mut query) {
            // Response, recursion available, NXDOMAIN (RFC 1035 §4.1.1); the question only, without EDNS.
            query[2] |= 0x80;
            query[3] = 0x83;
            let question = query[12..n].iter().position(|length| *length == 0).map_or(n, |end| 12 + end + 5);
            query[6..12].fill(0);
            let _ = socket.send_to(&query[..question.min(n)], from);
        }
    });
    port
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The node, its folder, and its ports.
struct Node {
    folder: tempfile::TempDir,
    child: Child,
    smtp: u16,
    http: u16,
    primary: u16,
}

impl Node {
    fn start() -> Node {
        Node::telling("")
    }

    /// A node with further lines in its configuration.
    fn telling(more: &str) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let (smtp, http, primary) = (port(), port(), port());
        let configuration = format!(
            "[node]\nname = \"mx.example.org\"\ndata = \"data\"\nedge = \"inside\"\nname_server = \"127.0.0.1:{}\"\n\
             [listen]\nsmtp = \"127.0.0.1:{smtp}\"\nhttp = \"127.0.0.1:{http}\"\n\
             [[domain]]\nname = \"example.org\"\nprimary = \"office\"\n\
             accounts = [\"anna@example.org\", \"bert@example.org\"]\n\
             [[primary]]\nid = \"office\"\ndwell = \"1h\"\nreturn_dwell = \"1s\"\nclear = \"1s\"\n\
             probe_every = \"1s\"\nprobe_timeout = \"2s\"\n\
             [primary.deliver]\nhost = \"127.0.0.1\"\nport = {primary}\ntls = \"none\"\n{more}",
            names()
        );
        fs::write(folder.path().join("stormpost.toml"), configuration).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_stormpost"))
            .args(["serve", "--config"])
            .arg(folder.path().join("stormpost.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut node = Node { folder, child, smtp, http, primary };
        until("the node answers", || {
            assert!(node.child.try_wait().unwrap().is_none(), "{}", node.log());
            TcpStream::connect(("127.0.0.1", smtp)).ok()
        });
        node
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn output(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_stormpost"))
            .args(arguments)
            .arg("--config")
            .arg(self.folder.path().join("stormpost.toml"))
            .env("USER", "anna")
            .env_remove("SUDO_USER")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What a command prints for people; it must end with `code`.
    fn said(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}\n{}", self.log());
        text
    }

    /// What a command prints for programs; it must end with `code`.
    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.output(&[arguments, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
    }

    fn send(&self, id: &str, recipients: &[&str]) {
        let mut smtp = Smtp::connect(self.smtp);
        smtp.expect("220");
        smtp.say("EHLO outside.example", "250");
        smtp.say("MAIL FROM:<x@outside.example>", "250");
        for recipient in recipients {
            smtp.say(&format!("RCPT TO:<{recipient}>"), "250");
        }
        smtp.say("DATA", "354");
        let message =
            format!("From: x@outside.example\r\nMessage-ID: <{id}@outside.example>\r\n\r\nsecret words\r\n.");
        smtp.say(&message, "250");
        smtp.say("QUIT", "221");
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Smtp(BufReader<TcpStream>);

impl Smtp {
    fn connect(port: u16) -> Smtp {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Smtp(BufReader::new(stream))
    }

    fn expect(&mut self, code: &str) {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "expected {code}, and it ended");
            if line.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
        assert!(line.starts_with(code), "expected {code}: {line}");
    }

    fn say(&mut self, line: &str, code: &str) {
        write!(self.0.get_mut(), "{line}\r\n").unwrap();
        self.expect(code);
    }
}

/// A mail system that takes everything.
fn primary(port: u16) -> Arc<AtomicU32> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    let taken = Arc::new(AtomicU32::new(0));
    let count = taken.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = count.clone();
            std::thread::spawn(move || {
                let _ = take(stream, &count);
            });
        }
    });
    taken
}

fn take(stream: TcpStream, count: &AtomicU32) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut out = stream;
    out.write_all(b"220 office\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let reply: &[u8] = match line.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => b"250-office\r\n250-8BITMIME\r\n250 PIPELINING\r\n",
            "DATA" => {
                out.write_all(b"354 go on\r\n")?;
                for line in lines.by_ref() {
                    if line? == "." {
                        break;
                    }
                }
                count.fetch_add(1, Ordering::SeqCst);
                b"250 taken\r\n"
            }
            "QUIT" => {
                out.write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ => b"250 ok\r\n",
        };
        out.write_all(reply)?;
    }
    Ok(())
}

fn text(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("{path}: {value}")).to_owned()
}

fn length(value: &Value) -> usize {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}")).len()
}

#[test]
fn an_outage_decided_by_a_person_is_carried_given_back_and_reported() {
    let node = Node::start();
    decisions(&node);
    queue(&node);
    accounts(&node);
    pages(&node);

    // The mail system is back, and is seen to be.
    let taken = primary(node.primary);
    until("it answers", || {
        let status = node.json(0, &["status"]);
        (text(&status, "/primaries/office/planes/inbound/finding") == "up").then_some(())
    });
    // A probe's word counts when it was said twice.
    std::thread::sleep(Duration::from_millis(2_500));
    node.said(0, &["failback", "--reason", "it is back"]);
    until("everything is given back", || (taken.load(Ordering::SeqCst) >= 2).then_some(()));
    let shown = until("the event closes and is reported", || {
        let shown = node.json(0, &["event", "show", "1"]);
        (shown["event"]["closed"].is_i64() && shown["page"].is_string()).then_some(shown)
    });
    reported(&node, &shown);
    traced(&node);
}

fn decisions(node: &Node) {
    let status = node.json(0, &["status"]);
    assert_eq!(text(&status, "/node"), "mx.example.org");
    until("nobody answers there", || {
        let status = node.json(0, &["status"]);
        (text(&status, "/primaries/office/state") == "SUSPECT").then_some(())
    });
    assert!(node.said(4, &["status", "--exit-code"]).contains("In doubt, nothing changed yet"));

    assert!(node.said(1, &["event", "show"]).contains("no event yet"));
    let done = node.json(0, &["failover", "office", "--reason", "the \"rack\"\u{1b}[2J burns"]);
    assert_eq!(text(&done, "/orders/0/to"), "ACTIVE");
    assert!(text(&done, "/orders/0/why").contains("\\u{1b}"), "{done}");
    assert_eq!(text(&done, "/orders/0/by"), "anna");
    let status = node.said(0, &["status"]);
    assert!(status.contains("Down since") && status.contains("we carry the mail"), "{status}");

    let refused = node.said(1, &["failback", "--plane", "inbound", "--reason", "it looks well"]);
    assert!(
        refused.contains("not possible while it is down") && refused.contains("last seen there:"),
        "{refused}"
    );
    assert_eq!(text(&node.json(0, &["status"]), "/primaries/office/state"), "ACTIVE", "and nothing flips");

    assert!(node.said(2, &["failover", "nowhere"]).contains("there is no primary"));
    let wrong = node.said(1, &["failover", "--accounts", "nobody@example.org"]);
    assert!(wrong.contains("there is no account nobody@example.org"), "{wrong}");
    assert!(node.said(0, &["pin", "--for", "2h", "--reason", "wait"]).contains("is pinned"));
    let status = node.json(0, &["status"]);
    assert_eq!(text(&status, "/primaries/office/pinned/by"), "anna");
    assert_eq!(text(&status, "/primaries/office/pinned/reason"), "wait");
    assert!(text(&status, "/primaries/office/words").starts_with("Pinned by anna until"), "{status}");
    node.said(0, &["unpin"]);
    let events = node.json(0, &["event", "list"]);
    assert_eq!((length(&events), text(&events, "/0/primary")), (1, "office".to_owned()));
    assert!(node.said(1, &["event", "show", "99"]).contains("there is no event 99"));
}

fn queue(node: &Node) {
    node.send("first", &["anna@example.org"]);
    node.send("second", &["anna@example.org", "bert@example.org"]);
    node.send("third", &["bert@example.org"]);
    let list = until("three wait", || {
        let list = node.json(0, &["queue", "list", "--primary", "office"]);
        (length(&list) == 3).then_some(list)
    });
    let third = text(&list, "/2/trace");
    assert_eq!(length(&node.json(0, &["queue", "list", "--to", "bert@example.org"])), 2);
    assert_eq!(length(&node.json(0, &["queue", "list", "--from", "@elsewhere.example"])), 0);
    assert_eq!(text(&node.json(0, &["queue", "show", &third]), "/state"), "paused");
    node.said(0, &["queue", "pause", &third, "--reason", "later"]);
    let resumed = node.said(0, &["queue", "resume", &third]);
    assert!(resumed.contains("0 of 1 message go on"), "{resumed}");
    assert!(resumed.contains("an order pauses deliveries to office (event 1)"), "{resumed}");
    node.said(0, &["queue", "pause", "--all", "--reason", "moving house"]);
    node.said(0, &["queue", "pause", "--to", "bert@example.org", "--reason", "he asked"]);
    let status = node.said(0, &["status"]);
    assert!(status.contains("anna paused everything (moving house)"), "a pause is not forgotten: {status}");
    let resumed = node.said(0, &["queue", "resume", "--all"]);
    assert!(resumed.contains("anna paused what is for bert@example.org (he asked)"), "{resumed}");
    assert!(resumed.contains("end it with: stormpost queue resume --to bert@example.org"), "{resumed}");
    node.said(0, &["queue", "resume", "--to", "bert@example.org"]);
    assert!(node.said(1, &["queue", "retry", "--to", "nobody@example.org"]).contains("nothing was done"));
    assert!(node.said(1, &["journal", "erase", &third, "--reason", "asked to"]).contains("still waits"));
    assert!(node.said(0, &["queue", "delete", &third, "--reason", "spam"]).contains("1 message"));
    until("it is gone", || (node.output(&["queue", "show", &third]).status.code() == Some(1)).then_some(()));
    let status = node.json(0, &["status"]);
    assert_eq!(status["queue"]["messages"], 2, "{status}");
    assert_eq!(status["primaries"]["office"]["lag"]["messages"], 2, "not one for each recipient: {status}");
    let erased = node.said(0, &["journal", "erase", &third, "--reason", "asked to"]);
    assert!(erased.contains("its hash stays"), "{erased}");
    let said = node.said(0, &["trace", &third]);
    assert!(said.contains("by anna: asked to") && said.contains("deleted: anna: spam"), "{said}");
    let traced = node.json(0, &["trace", &third]);
    assert_eq!(
        (text(&traced, "/0/erased/by"), text(&traced, "/0/erased/reason")),
        ("anna".into(), "asked to".into())
    );
    let first = text(&list, "/0/trace");
    let content = ["journal", "show", &first, "--content"];
    assert!(node.said(2, &content).contains("--reason"), "content is opened by nobody without a reason");
    assert!(node.said(2, &[&content[..], &["--reason", " "]].concat()).contains("say why"));
    let message = node.said(0, &[&content[..], &["--reason", "she asked"]].concat());
    assert!(message.contains("secret words"), "{message}");
    assert!(node.log().contains("she asked"), "{}", node.log());
    node.said(0, &["journal", "verify"]);
}

fn accounts(node: &Node) {
    assert_eq!(length(&node.json(0, &["account", "list"])), 2);
    node.said(0, &["account", "add", "carl@example.org"]);
    assert_eq!(length(&node.json(0, &["account", "list"])), 3);
    node.said(0, &["account", "suspend", "carl@example.org"]);
    assert!(node.said(0, &["account", "list"]).contains("suspended"));
    node.said(0, &["account", "remove", "carl@example.org"]);
    assert!(node.said(1, &["account", "suspend", "carl@example.org"]).contains("there is no account"));
    assert!(node.said(1, &["account", "remove", "anna@example.org"]).contains("configuration"));
    assert!(node.said(1, &["notice", "test"]).contains("[notify]"));
    assert!(node.said(0, &["notice", "ack"]).contains("event 1 is acknowledged"));
    assert!(node.said(0, &["notice", "mute", "--for", "1h"]).contains("no notices until"));
}

fn pages(node: &Node) {
    let (code, health) = node.get("/health");
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!((code, health["well"].as_bool()), (200, Some(true)), "{health}");
    assert_eq!(text(&health, "/primaries/office/state"), "ACTIVE");
    let (code, metrics) = node.get("/metrics");
    assert_eq!(code, 200);
    for line in [
        "stormpost_messages_accepted_total 3",
        "stormpost_plane_state{primary=\"office\",plane=\"inbound\",state=\"ACTIVE\"} 1",
        "stormpost_plane_up{primary=\"office\",plane=\"inbound\"} 0",
        "stormpost_queue_recipients{destination=\"office\",state=\"paused\"} 3",
        "stormpost_lag_messages{primary=\"office\"} 2",
        "stormpost_log_open{log=\"journal\"} 1",
        "stormpost_settlements_total{destination=\"mailbox\",outcome=\"handed_over\"} 4",
        "stormpost_settlements_total{destination=\"office\",outcome=\"deleted\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    assert!(!metrics.contains('@') && !health.to_string().contains('@'), "nobody is named");
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(line.starts_with("stormpost_") && value.parse::<f64>().is_ok(), "{line}");
    }
    assert_eq!((node.get("/").0, node.get("/metrics/../etc").0), (404, 404));
    for which in [&["reconcile", "office"][..], &["reconcile", "--event", "1"]] {
        let said = node.said(0, which);
        assert!(said.contains("still open") && said.contains("3 wait, 0 are lost"), "{said}");
        let shown = node.json(0, which);
        let figures =
            ["accepted", "settled", "waiting", "lost"].map(|name| shown[0]["report"][name].as_u64());
        assert_eq!(figures, [3, 0, 3, 0].map(Some), "what waits is not lost: {shown}");
        assert_eq!(length(&shown[0]["exceptions"]), 0, "{shown}");
    }
}

fn reported(node: &Node, shown: &Value) {
    let page = fs::read_to_string(text(shown, "/page")).unwrap();
    assert!(page.contains("Event 1 of office") && page.contains("Recovery time (RTO)"), "{page}");
    assert!(!page.contains("secret words") && !page.contains('\u{1b}'), "{page}");
    let json = fs::read_to_string(PathBuf::from(text(shown, "/page")).with_extension("json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["outcomes"]["lost"], 0, "{json}");
    assert_eq!(json["measured"]["rpo_messages"], 0, "{json}");
    assert!(!json.to_string().contains("secret words"));
    let said = node.said(0, &["reconcile", "--event", "1"]);
    assert!(said.contains("proved to the primary") || said.contains("accounted for"), "{said}");
    until("all is well", || {
        let status = node.json(0, &["status"]);
        (text(&status, "/primaries/office/words") == "All well").then_some(())
    });
}

fn traced(node: &Node) {
    let all = node.json(0, &["trace", "--from", "@outside.example", "--since", "1h"]);
    assert_eq!(length(&all), 2, "the erased one is gone: {all}");
    assert_eq!(text(&all, "/0/message_id"), "second@outside.example", "newest first");
    let one = node.json(0, &["trace", "--message-id", "<first@outside.example>"]);
    assert_eq!(length(&one), 1);
    let steps = one.pointer("/0/recipients/0/steps").and_then(Value::as_array).unwrap();
    let at_primary = steps.iter().filter(|s| s["destination"]["primary"] == "office");
    assert!(at_primary.clone().any(|s| s["outcome"]["outcome"] == "handed_over"), "{one}");
    let said = node.said(0, &["trace", &text(&one, "/0/trace")]);
    assert!(said.contains("handed over: 250 taken"), "{said}");
    assert_eq!(node.json(4, &["trace", "--to", "nobody@example.org"]), Value::Array(Vec::new()));
    assert!(node.said(1, &["trace", "--from", "no address"]).contains("neither an address"));
}

/// A web server that answers `204` to everything and keeps the bodies.
fn webhook() -> (u16, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (port, got) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let keep = got.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                let (name, value) = line.split_once(':').unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            keep.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            let _ = reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        }
    });
    (port, got)
}

#[test]
fn notices_reach_a_webhook_and_are_muted_acknowledged_and_repeated_as_people_say() {
    let (port, got) = webhook();
    let node =
        Node::telling(&format!("[notify]\nwebhook = [\"http://127.0.0.1:{port}/hook\"]\nrepeat = \"2s\"\n"));
    let last = |wanted: &str| {
        until(wanted, || {
            let got = got.lock().unwrap();
            got.iter()
                .rev()
                .find(|notice| notice["cause"].as_str().is_some_and(|c| c.starts_with(wanted)))
                .cloned()
        })
    };
    let count = || got.lock().unwrap().len();
    let said = node.said(0, &["notice", "test"]);
    assert!(said.contains("by webhook told"), "{said}");
    let test = last("test");
    assert_eq!(
        (text(&test, "/primary"), text(&test, "/state"), text(&test, "/by")),
        ("office".into(), "test".into(), "anna".into())
    );
    assert!(test["stormpost"] == 1 && text(&test, "/id").starts_with("test-"), "{test}");

    node.said(0, &["failover", "--reason", "rack 4 burns"]);
    let change = last("change");
    assert_eq!((text(&change, "/state"), text(&change, "/before")), ("down".into(), "well".into()));
    assert_eq!((change["event"].as_u64(), text(&change, "/by")), (Some(1), "anna".into()), "{change}");
    assert!(text(&change, "/why").contains("rack 4 burns") && change["planes"].is_array(), "{change}");
    assert!(
        change["waiting"]["messages"].is_u64() && text(&change, "/text").contains("Nothing is lost"),
        "{change}"
    );

    let repeat = last("repeat");
    assert_eq!((repeat["event"].as_u64(), text(&repeat, "/state")), (Some(1), "down".into()));
    assert_ne!(text(&repeat, "/id"), text(&change, "/id"));
    node.said(0, &["notice", "ack"]);
    std::thread::sleep(Duration::from_secs(1));
    let known = count();
    std::thread::sleep(Duration::from_millis(3_500));
    assert_eq!(count(), known, "what is acknowledged is not repeated");

    node.said(0, &["notice", "mute", "--for", "1h", "--reason", "everybody knows"]);
    node.said(0, &["pin", "--reason", "wait"]);
    std::thread::sleep(Duration::from_millis(3_500));
    assert_eq!(count(), known, "muted");
    let shown = node.said(0, &["event", "show", "1"]);
    assert!(shown.contains("by webhook not told, muted until"), "{shown}");
    node.said(0, &["notice", "test"]);
    assert_eq!(count(), known + 1, "a test is sent all the same");
}

#[test]
fn callers_beyond_the_bound_wait_and_nonsense_is_refused_in_words() {
    use std::os::unix::net::UnixStream;
    let node = Node::start();
    let socket = node.folder.path().join("data/control.sock");
    let answers = |call: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(stream, "{call}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert_eq!(answers("{\"version\":1,\"by\":\"x\",\"request\":{\"ask\":\"ping\"}}").lines().count(), 1);
    for (call, why) in [
        ("hello", "wrong"),
        ("{\"version\":7}", "version"),
        ("{\"version\":1,\"by\":\"x\",\"request\":{\"ask\":\"dance\"}}", "wrong"),
        ("{\"version\":1,\"by\":\"x\",\"request\":{\"ask\":\"event-show\",\"event\":5}}", "not-found"),
    ] {
        let answer: Value = serde_json::from_str(&answers(call)).unwrap();
        assert_eq!(
            (text(&answer, "/answer"), text(&answer, "/why")),
            ("refused".into(), why.into()),
            "{call}"
        );
    }

    // Sixteen callers who say nothing fill the place; the next one waits until one of them goes.
    let mut silent: Vec<UnixStream> = (0..16).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(100));
    let done = Arc::new(Mutex::new(false));
    std::thread::scope(|scope| {
        let marked = done.clone();
        scope.spawn(move || {
            answers("{\"version\":1,\"by\":\"x\",\"request\":{\"ask\":\"ping\"}}");
            *marked.lock().unwrap() = true;
        });
        std::thread::sleep(Duration::from_millis(200));
        assert!(!*done.lock().unwrap(), "the seventeenth waits");
        silent.pop();
    });
    assert!(*done.lock().unwrap());
    drop(silent);
}
