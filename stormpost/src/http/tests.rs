use super::*;
use crate::control::protocol::{DiskStatus, PrimaryStatus, Status};
use std::collections::BTreeMap;
use words_mail::{State, Time};

#[test]
fn a_request_is_a_line_and_a_header_and_nothing_else_is_one() {
    for (text, meant) in [
        ("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", Some(("GET", "/health"))),
        ("HEAD /metrics?a=b HTTP/1.0\n\n", Some(("HEAD", "/metrics?a=b"))),
        ("GET  /health HTTP/1.1\r\n\r\n", None),
        ("GET http://x/health HTTP/1.1\r\n\r\n", None),
        ("GET /health\r\n\r\n", None),
        ("GET /health HTTP/2\r\n\r\n", None),
        ("\r\n\r\n", None),
        ("\u{1}\u{2}\u{3}\r\n\r\n", None),
    ] {
        assert!(is_whole(text.as_bytes()), "{text:?}");
        let found = parse(text.as_bytes());
        let found = found.as_ref().map(|(method, path)| (method.as_str(), path.as_str()));
        assert_eq!(found, meant, "{text:?}");
    }
    assert!(!is_whole(b"GET /health HTTP/1.1\r\nHost: x\r\n"));
}

#[tokio::test]
async fn what_is_too_long_or_ends_early_is_no_request() {
    for bytes in [vec![b'a'; 100 * 1024], b"GET /health HTTP/1.1\r\n".to_vec()] {
        let (mut caller, here) = tokio::io::duplex(1_024);
        let mut stream: Box<dyn Stream> = Box::new(here);
        let speak = tokio::spawn(async move {
            let _ = caller.write_all(&bytes).await;
        });
        assert_eq!(request(&mut stream).await, None);
        drop(stream);
        speak.await.unwrap();
    }
}

fn status(health: &str, state: State) -> Status {
    let primary = PrimaryStatus {
        state,
        words: "Pinned by Anna until 18:00 UTC".into(),
        mode: words_mail::Mode::Automatic,
        planes: BTreeMap::new(),
        event: None,
        on: Vec::new(),
        lag: Default::default(),
        pinned: None,
        proved: None,
    };
    Status {
        now: Time::from_seconds(100),
        started: Time::from_seconds(90),
        primaries: [("office".to_owned(), primary)].into(),
        disk: DiskStatus {
            logs: [("journal".to_owned(), health.to_owned())].into(),
            ..DiskStatus::default()
        },
        warnings: vec!["office: inbound is ACTIVE for anna@example.org".into()],
        ..Status::default()
    }
}

#[test]
fn the_node_is_well_while_it_takes_in_mail_whatever_its_primary_does() {
    let well = health::of(&status("open", State::Active));
    assert_eq!(well.status, "200 OK");
    let shut = health::of(&status("the disk is nearly full", State::Ready));
    assert_eq!(shut.status, "503 Service Unavailable");
    assert!(shut.body.contains("journal takes nothing"), "{}", shut.body);
    let mut headless = status("open", State::Ready);
    headless.edge = Some(crate::control::protocol::EdgeStatus {
        up: false,
        pid: None,
        started: None,
        version: String::new(),
        words: "is starting".into(),
    });
    assert_eq!(health::of(&headless).status, "503 Service Unavailable");
    let mut full = status("open", State::Active);
    full.disk.full = true;
    let full = health::of(&full);
    assert_eq!(full.status, "503 Service Unavailable");
    assert!(full.body.contains("as much waits as may wait"), "{}", full.body);
    let value: serde_json::Value = serde_json::from_str(&well.body).unwrap();
    assert_eq!((value["well"].as_bool(), value["up_seconds"].as_u64()), (Some(true), Some(10)));
}

#[test]
fn the_health_page_names_nobody() {
    let page = health::of(&status("open", State::Pinned));
    assert!(!page.body.contains("Anna") && !page.body.contains("anna@"), "{}", page.body);
    assert!(page.body.contains("\"warnings\": 1"), "{}", page.body);
}

#[test]
fn labels_cannot_break_out_of_their_quotes() {
    assert_eq!(metrics::escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
}
