//! A scripted server in memory: the dialogues, and how a server can fail or lie in each.

use super::writing::SET_BYTES_MAX;
use super::*;
use crate::scripted::{Script, Server, world};
use crate::smtp::Place;
use crate::tls::{Tls, TlsMode, Trust};
use rustls::pki_types::PrivateKeyDer;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use words_smtp::client::Protocol;
use words_world::{Listener, Net, Stream};

/// A dialogue, one line per turn. `C: text`: the client must send a line with this text in it. `D: text`: one that is no command. `S: text`: the server
/// says it; `$` is the tag of the client's last command, `^` CR LF in the middle. `B: n`: the client sends n bytes.
/// `T:` the TLS handshake. `H:` the server hangs. At the end it closes.
#[derive(Clone)]
struct Dialogue {
    turns: Arc<Vec<String>>,
    /// What the client did that the script does not have.
    wrong: Arc<Mutex<Vec<String>>>,
    received: Arc<Mutex<Vec<u8>>>,
    acceptor: TlsAcceptor,
}

impl Dialogue {
    fn new(script: &str) -> Dialogue {
        let made = rcgen::generate_simple_self_signed(vec!["192.0.2.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Dialogue {
            turns: Arc::new(
                script.lines().map(|l| l.trim_start().to_owned()).filter(|l| !l.is_empty()).collect(),
            ),
            wrong: Arc::default(),
            received: Arc::default(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }

    async fn play(self, stream: Box<dyn Stream>) -> io::Result<()> {
        let mut stream = stream;
        let mut tag = String::new();
        for turn in self.turns.iter() {
            let text = turn.get(3..).unwrap_or("");
            match &turn[..1] {
                "S" => {
                    let said = format!("{}\r\n", text.replace('$', &tag).replace('^', "\r\n"));
                    stream.write_all(said.as_bytes()).await?;
                    stream.flush().await?;
                }
                "C" | "D" => {
                    let mut line = Vec::new();
                    while !line.ends_with(b"\n") {
                        line.push(stream.read_u8().await?);
                    }
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    if !line.contains(text) {
                        self.wrong.lock().unwrap().push(format!("{line:?} without {text:?}"));
                        return Ok(());
                    }
                    if turn.starts_with('C') {
                        line.split(' ').next().unwrap_or("").clone_into(&mut tag);
                    }
                }
                "B" => {
                    let mut bytes = vec![0; text.parse().unwrap()];
                    stream.read_exact(&mut bytes).await?;
                    self.received.lock().unwrap().extend(bytes);
                }
                "T" => stream = Box::new(self.acceptor.accept(stream).await?),
                "H" => tokio::time::sleep(Duration::from_secs(1_000_000)).await,
                other => panic!("no such turn: {other}"),
            }
        }
        stream.shutdown().await
    }
}

impl Net for Dialogue {
    fn connect(&self, _: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Stream>>> {
        let (ours, theirs) = tokio::io::duplex(4 * 1024);
        tokio::spawn(self.clone().play(Box::new(theirs)));
        Box::pin(async {
            let stream: Box<dyn Stream> = Box::new(ours);
            Ok(stream)
        })
    }

    fn listen(&self, _: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect_local<'a>(&'a self, _: &'a Path) -> Boxed<'a, io::Result<Box<dyn Stream>>> {
        self.connect(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    fn listen_local<'a>(&'a self, _: &'a Path) -> Boxed<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

fn hop(tls: TlsMode) -> Hop {
    Hop {
        place: Place::Host("192.0.2.1".into(), 143),
        addresses: Vec::new(),
        tls,
        trust: Tls::new(&Trust::Anybody).unwrap(),
        limits: Limits::primary(),
    }
}

fn world_of(dialogue: &Dialogue) -> World {
    World { net: Arc::new(dialogue.clone()), ..world(&Server::new(Script::new(Protocol::Smtp))) }
}

/// The turns of a sign-in that goes well, with these capabilities.
fn signed_in(capabilities: &str, rest: &str) -> Dialogue {
    Dialogue::new(&format!(
        "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\n\
         C: AUTHENTICATE PLAIN\nS: +\nD: AGFubmEAcHc=\nS: $ OK [CAPABILITY IMAP4rev1 {capabilities}] in\n{rest}"
    ))
}

async fn open(dialogue: &Dialogue) -> Result<ImapStore, StoreError> {
    ImapStore::open(&world_of(dialogue), &hop(TlsMode::None), &SignIn::own("anna", "pw")).await
}

async fn store(dialogue: &Dialogue) -> ImapStore {
    open(dialogue).await.unwrap()
}

fn right(dialogue: &Dialogue) {
    assert_eq!(*dialogue.wrong.lock().unwrap(), Vec::<String>::new());
}

fn is_no_answer(error: &StoreError) -> bool {
    matches!(error, StoreError::NoAnswer(_))
}

#[tokio::test(start_paused = true)]
async fn folders_are_listed_with_their_uses_and_subscriptions() {
    let dialogue = signed_in(
        "LIST-EXTENDED SPECIAL-USE",
        "C: LIST \"\" \"*\" RETURN (SPECIAL-USE SUBSCRIBED)\n\
         S: * LIST (\\Subscribed) \".\" INBOX\n\
         S: * LIST (\\HasNoChildren \\sent) \".\" {4}^Sent\n\
         S: * LIST (\\Noselect) \".\" \"Entw&APw-rfe\"\n\
         S: * XNEWS something {3}^abc\n\
         S: $ OK done",
    );
    let folders = store(&dialogue).await.folders().await.unwrap();
    let names: Vec<&str> = folders.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["INBOX", "Sent", "Entwürfe"]);
    assert_eq!(folders[0].subscribed, Some(true));
    assert_eq!((folders[1].special_use.as_deref(), folders[1].subscribed), (Some("\\Sent"), Some(false)));
    assert!(!folders[2].selectable);
    right(&dialogue);
    let dialogue = signed_in(
        "",
        "C: LIST \"\" \"*\"\nS: * LIST () \"/\" INBOX\nS: $ OK done\nC: LSUB \"\" \"*\"\nS: * LSUB () \"/\" inbox\nS: $ OK done",
    );
    let folders = store(&dialogue).await.folders().await.unwrap();
    assert_eq!(folders[0].subscribed, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_folder_is_selected_and_its_headers_stream_in() {
    let dialogue = signed_in(
        "CONDSTORE",
        "C: SELECT \"INBOX\"\n\
         S: * FLAGS (\\Seen)\n\
         S: * 3 EXISTS\n\
         S: * OK [UIDVALIDITY 38505] ok\n\
         S: * OK [UIDNEXT 12] ok\n\
         S: * OK [HIGHESTMODSEQ 99] ok\n\
         S: * OK [PERMANENTFLAGS (\\Seen \\*)] ok\n\
         S: $ OK [READ-WRITE] done\n\
         C: UID FETCH 8:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (Message-ID Date)])\n\
         S: * 1 FETCH (UID 7 FLAGS () RFC822.SIZE 5 BODY[HEADER.FIELDS (Message-ID Date)] \"\")\n\
         S: * 2 FETCH (UID 8 FLAGS (\\Seen \\Recent) RFC822.SIZE 5 INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" \
            BODY[HEADER.FIELDS (Message-ID Date)] {30}^Message-ID: <a@b>^Date: x^^)\n\
         S: * 2 FETCH (FLAGS (\\Answered))\n\
         S: * 4 EXISTS\n\
         S: $ OK done\n\
         C: STATUS \"Sent\" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)\n\
         S: * STATUS Sent (MESSAGES 2 UIDNEXT 9 UIDVALIDITY 5 UNSEEN 1 HIGHESTMODSEQ 77)\n\
         S: $ OK done\n\
         C: UID SEARCH HEADER \"Stormpost-Trace\" \"X\\\"Y\"\n\
         S: * SEARCH 9 4 4\n\
         S: $ OK done\n\
         C: NOOP\n\
         S: $ OK done",
    );
    let mut store = store(&dialogue).await;
    let selected = store.select("INBOX", false).await.unwrap();
    assert_eq!(
        (selected.validity, selected.next, selected.messages, selected.modseq),
        (38_505, Some(12), 3, Some(99))
    );
    assert!(selected.keywords && !selected.read_only);
    let mut found = Vec::new();
    store.headers_above(7, &["Message-ID", "Date"], &mut |s| found.push(s)).await.unwrap();
    assert_eq!(found.len(), 1, "7 is not above 7, and news of flags is no answer");
    assert_eq!((found[0].uid, found[0].size, found[0].flags.clone()), (8, 5, vec![Flag::Seen]));
    assert_eq!(found[0].field("message-id").as_deref(), Some("<a@b>"));
    let status = store.status("Sent").await.unwrap();
    assert_eq!(status, FolderStatus { validity: 5, next: 9, messages: 2, unseen: 1, modseq: Some(77) });
    assert_eq!(store.find_header("Stormpost-Trace", "X\"Y").await.unwrap(), [4, 9]);
    store.ping().await.unwrap();
    right(&dialogue);
}

#[tokio::test(start_paused = true)]
async fn a_message_streams_by_and_the_connection_serves_on() {
    let body = "ab".repeat(50_000);
    let dialogue = signed_in(
        "",
        &format!(
            "C: UID FETCH 7 (UID BODY.PEEK[])\nS: * 1 FETCH (UID 7 BODY[] {{100000}}^{body} FLAGS ())\nS: $ OK done\n\
             C: UID FETCH 8 (UID BODY.PEEK[])\nS: $ OK done\n\
             C: UID FETCH 9 (UID BODY.PEEK[])\nS: * 3 FETCH (UID 9 BODY[] \"short\")\nS: $ OK done\n\
             C: NOOP\nS: $ OK"
        ),
    );
    let mut store = store(&dialogue).await;
    assert_eq!(store.open_body(7).await.unwrap(), Some(100_000));
    let mut read = Vec::new();
    while let Some(part) = store.body_part().await.unwrap() {
        assert!(part.len() <= 16 * 1024);
        read.extend(part);
    }
    assert_eq!(read, body.as_bytes());
    assert_eq!(store.open_body(8).await.unwrap(), None);
    assert_eq!(store.open_body(9).await.unwrap(), Some(5));
    assert_eq!(store.body_part().await.unwrap().as_deref(), Some(&b"short"[..]));
    assert_eq!(store.body_part().await.unwrap(), None);
    store.ping().await.unwrap();
    right(&dialogue);
}

async fn append(store: &mut ImapStore, text: &str) -> Result<Option<Placed>, StoreError> {
    let mut content = text.as_bytes();
    let flags = [Flag::Seen, Flag::Keyword("$x".into())];
    let size = text.len() as u64;
    let new = NewCopy {
        folder: "Sent",
        flags: &flags,
        arrived: Some(words_mail::Time::from_seconds(0)),
        size,
        content: &mut content,
    };
    store.append(new).await
}

#[tokio::test(start_paused = true)]
async fn a_message_is_appended_with_date_and_flags() {
    let dialogue = signed_in(
        "LITERAL+ UIDPLUS",
        "C: APPEND \"Sent\" (\\Seen $x) \" 1-Jan-1970 00:00:00 +0000\" {7+}\nB: 9\nS: * 5 EXISTS\n\
         S: $ OK [APPENDUID 38505 3955] done\n\
         C: APPEND\nB: 9\nS: $ OK done",
    );
    let mut first = store(&dialogue).await;
    assert_eq!(append(&mut first, "a\r\n.\r\nb").await, Ok(Some(Placed { validity: 38_505, uid: 3_955 })));
    assert_eq!(append(&mut first, "1234567").await, Ok(None));
    assert_eq!(*dialogue.received.lock().unwrap(), b"a\r\n.\r\nb\r\n1234567\r\n");
    assert!(matches!(append(&mut first, "").await, Err(StoreError::Refused(_))));
    right(&dialogue);
    let dialogue = signed_in(
        "",
        "C: {7}\nS: + go\nB: 9\nS: $ OK done\nC: {7}\nS: $ NO [TRYCREATE] no such\nC: NOOP\nS: $ OK",
    );
    let mut second = store(&dialogue).await;
    assert_eq!(append(&mut second, "1234567").await, Ok(None));
    assert!(matches!(append(&mut second, "1234567").await, Err(StoreError::NoFolder(_))));
    second.ping().await.unwrap();
    right(&dialogue);
}

#[tokio::test(start_paused = true)]
async fn an_append_cut_off_is_unknown_only_once_all_was_sent() {
    // Before the `+`, and in the middle of the message: nothing can have been stored.
    for script in ["C: APPEND", "C: APPEND\nS: * BYE down for maintenance", "C: APPEND\nS: + go\nB: 100"] {
        let dialogue = signed_in("", script);
        let mut store = store(&dialogue).await;
        let error = append(&mut store, &"x".repeat(100_000)).await.unwrap_err();
        assert!(matches!(error, StoreError::NoAnswer(_) | StoreError::Bye(_)), "{script}: {error}");
        assert!(!store.is_usable());
    }
    // After the last byte: nobody knows.
    for script in [
        "C: APPEND\nS: + go\nB: 9",
        "C: APPEND\nS: + go\nB: 9\nH:",
        "C: APPEND\nS: + go\nB: 9\nS: * BYE full",
    ] {
        let dialogue = signed_in("", script);
        let mut store = store(&dialogue).await;
        let error = append(&mut store, "1234567").await.unwrap_err();
        assert!(matches!(error, StoreError::Unknown(_)), "{script}: {error}");
        assert!(!store.is_usable());
    }
    // A no is known.
    let dialogue = signed_in("", "C: APPEND\nS: + go\nB: 9\nS: $ NO [OVERQUOTA] full\nC: NOOP\nS: $ OK");
    let mut store = store(&dialogue).await;
    assert!(matches!(append(&mut store, "1234567").await, Err(StoreError::OverQuota(_))));
    store.ping().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_here_is_not_stored_there() {
    let dialogue = signed_in("LITERAL+", "C: APPEND\nB: 50");
    let mut store = store(&dialogue).await;
    let mut content = &b"short"[..];
    let new = NewCopy { folder: "Sent", flags: &[], arrived: None, size: 50, content: &mut content };
    assert!(matches!(store.append(new).await, Err(StoreError::Source(_))));
    assert!(!store.is_usable() && dialogue.received.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn messages_are_moved_by_the_safest_way_there_is() {
    let dialogue = signed_in(
        "MOVE UIDPLUS",
        "C: UID MOVE 3:4,9 \"Trash\"\nS: * OK [COPYUID 5 3:4,9 21:23] moved\nS: * 1 EXPUNGE\nS: $ OK done",
    );
    let carried = store(&dialogue).await.move_to(&[9, 3, 4], "Trash").await.unwrap();
    assert_eq!(carried, Some(Carried { validity: 5, uids: vec![(3, 21), (4, 22), (9, 23)] }));
    right(&dialogue);
    let dialogue = signed_in(
        "UIDPLUS",
        "C: UID COPY 3 \"Trash\"\nS: $ OK [COPYUID 5 3 21] done\nC: UID STORE 3 +FLAGS.SILENT (\\Deleted)\nS: $ OK\n\
         C: UID EXPUNGE 3\nS: $ OK",
    );
    let carried = store(&dialogue).await.move_to(&[3], "Trash").await.unwrap();
    assert_eq!(carried, Some(Carried { validity: 5, uids: vec![(3, 21)] }));
    right(&dialogue);
    let dialogue =
        signed_in("UIDPLUS", "C: UID COPY 3 \"Trash\"\nS: $ OK done\nC: UID STORE\nS: $ NO read-only");
    let error = store(&dialogue).await.move_to(&[3], "Trash").await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown(why) if why.contains("copied, but not removed")));
    // Without UID EXPUNGE nothing is even begun.
    let dialogue = signed_in("", "C: NOOP\nS: $ OK");
    let mut store = store(&dialogue).await;
    assert!(matches!(store.move_to(&[3], "Trash").await, Err(StoreError::Unsupported(_))));
    assert!(matches!(store.remove(&[3]).await, Err(StoreError::Unsupported(_))));
    store.ping().await.unwrap();
    right(&dialogue);
}

#[tokio::test(start_paused = true)]
async fn a_move_cut_off_is_unknown_and_a_flag_change_is_not() {
    let dialogue = signed_in("MOVE", "C: UID MOVE 3 \"Trash\"");
    let error = store(&dialogue).await.move_to(&[3], "Trash").await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown(_)), "{error}");
    let dialogue = signed_in("", "C: UID STORE 3 -FLAGS.SILENT (\\Seen)");
    let error = store(&dialogue).await.change_flags(&[3], StoreHow::Remove, &[Flag::Seen]).await.unwrap_err();
    assert!(is_no_answer(&error));
}

#[tokio::test(start_paused = true)]
async fn long_lists_of_uids_become_several_commands() {
    let uids: Vec<u32> = (1..2_000).map(|n| n * 2).collect();
    let made = sets(&uids);
    assert!(made.len() > 1 && made.iter().all(|set| set.to_string().len() <= SET_BYTES_MAX));
    let all: Vec<u32> = made.iter().flat_map(|set| set.in_order(10_000).unwrap()).collect();
    assert_eq!(all, uids);
    assert_eq!(sets(&[0]), []);
    let dialogue = signed_in("UIDPLUS", "C: +FLAGS.SILENT (\\Deleted)\nS: $ OK\nC: UID EXPUNGE 4,7\nS: $ OK");
    store(&dialogue).await.remove(&[7, 4, 4]).await.unwrap();
    right(&dialogue);
}

#[tokio::test(start_paused = true)]
async fn idle_tells_of_changes_and_ends_in_time() {
    let dialogue = signed_in(
        "IDLE",
        "C: IDLE\nS: + idling\nS: * OK Still here\nS: * 5 EXISTS\nD: DONE\nS: $ OK done\n\
         C: IDLE\nS: + idling\nS: * OK Still here\nD: DONE\nS: $ OK done\n\
         C: IDLE\nS: * 6 EXISTS\nS: + idling\nD: DONE\nS: $ OK done",
    );
    let mut one = store(&dialogue).await;
    let since = Instant::now();
    assert_eq!(one.wait(Duration::from_secs(60)).await, Ok(true));
    assert!(since.elapsed() < Duration::from_secs(1));
    assert_eq!(one.wait(Duration::from_secs(60)).await, Ok(false));
    assert!(since.elapsed() >= Duration::from_secs(60));
    assert_eq!(one.wait(Duration::from_secs(60)).await, Ok(true), "news before the + count");
    right(&dialogue);
    let dialogue = signed_in("IDLE", "C: IDLE\nS: + idling\nD: DONE\nH:");
    let mut two = store(&dialogue).await;
    let since = Instant::now();
    assert!(two.wait(Duration::from_secs(600)).await.is_err());
    assert!(since.elapsed() >= Duration::from_secs(600));
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_uses_what_is_offered() {
    let master = SignIn::suffixed("anna", '*', "boss", "pw");
    assert_eq!(master.user, "anna*boss");
    let dialogue = Dialogue::new(
        "S: * OK hello\nC: CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: $ OK\nC: LOGIN \"anna*boss\" \"pw\"\nS: $ OK in\n\
         C: CAPABILITY\nS: * CAPABILITY IMAP4rev1 ID\nS: $ OK\nC: ID (\"name\" \"Stormpost\")\nS: * ID NIL\nS: $ BAD what",
    );
    ImapStore::open(&world_of(&dialogue), &hop(TlsMode::None), &master).await.unwrap();
    right(&dialogue);
    let other = SignIn::for_account("anna", "boss", "pw");
    let dialogue = Dialogue::new(
        "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello\nC: AUTHENTICATE PLAIN\nS: + \nD: YW5uYQBib3NzAHB3\nS: $ OK [CAPABILITY IMAP4rev1] in",
    );
    ImapStore::open(&world_of(&dialogue), &hop(TlsMode::None), &other).await.unwrap();
    right(&dialogue);
    let dialogue = Dialogue::new("S: * OK [CAPABILITY IMAP4rev1] hello");
    let error = ImapStore::open(&world_of(&dialogue), &hop(TlsMode::None), &other).await.unwrap_err();
    assert!(matches!(error, StoreError::Unsupported(_)));
    let dialogue = Dialogue::new("S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hello");
    assert!(matches!(open(&dialogue).await, Err(StoreError::Unsupported(_))));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_told_apart() {
    let answer = |text: &str| {
        Dialogue::new(&format!(
            "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello\nC: AUTHENTICATE\nS: +\nD: A\nS: $ {text}"
        ))
    };
    for (text, expected) in [
        ("NO [AUTHENTICATIONFAILED] no", StoreError::SignIn("NO [AUTHENTICATIONFAILED] no".into())),
        ("NO LOGIN failed.", StoreError::SignIn("NO LOGIN failed.".into())),
        ("NO [UNAVAILABLE] later", StoreError::Unavailable("NO [UNAVAILABLE] later".into())),
        ("BAD what", StoreError::Refused("BAD what".into())),
        (
            "NO Request is throttled. Suggested Backoff Time: 299961 milliseconds",
            StoreError::Throttled {
                why: "NO Request is throttled. Suggested Backoff Time: 299961 milliseconds".into(),
                after: Some(Duration::from_millis(299_961)),
            },
        ),
        ("NO [THROTTLED] x", StoreError::Throttled { why: "NO [THROTTLED] x".into(), after: None }),
        ("NO \u{1b}[2J", StoreError::SignIn("NO \\u{1b}[2J".into())),
    ] {
        assert_eq!(open(&answer(text)).await.unwrap_err(), expected);
    }
    for text in ["NO Mailbox doesn't exist: Nope (0.001 + 0.000 secs).", "NO [NONEXISTENT] gone"] {
        let dialogue = signed_in("", &format!("C: SELECT \"Nope\"\nS: $ {text}"));
        let error = store(&dialogue).await.select("Nope", false).await.unwrap_err();
        assert_eq!(error, StoreError::NoFolder(text.into()));
    }
    let dialogue = Dialogue::new("S: * BYE too busy");
    assert_eq!(open(&dialogue).await.unwrap_err(), StoreError::Bye("too busy".into()));
}

#[tokio::test(start_paused = true)]
async fn encryption_comes_before_the_password() {
    let sign_in = SignIn::own("anna", "pw");
    let starttls = "S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED X-PLAIN] hello\nC: CAPABILITY\n\
        S: * CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED X-PLAIN\nS: $ OK\nC: STARTTLS\nS: $ OK go";
    let inside = "C: CAPABILITY\nS: * CAPABILITY IMAP4rev1 AUTH=PLAIN\nS: $ OK\nC: AUTHENTICATE PLAIN\nS: +\n\
        D: AGFubmEAcHc=\nS: $ OK [CAPABILITY IMAP4rev1 IDLE] in";
    for mode in [TlsMode::Required, TlsMode::Opportunistic] {
        let dialogue = Dialogue::new(&format!("{starttls}\nT:\n{inside}"));
        let store = ImapStore::open(&world_of(&dialogue), &hop(mode), &sign_in).await.unwrap();
        assert!(store.can("IDLE") && !store.can("X-PLAIN"), "what was said in plain text is forgotten");
        right(&dialogue);
    }
    let dialogue = Dialogue::new(&format!("T:\nS: * OK hello\n{inside}"));
    ImapStore::open(&world_of(&dialogue), &hop(TlsMode::Implicit), &sign_in).await.unwrap();
    right(&dialogue);
    // The password is sent in none of these.
    for script in [
        "S: * OK hello\nC: CAPABILITY\nS: * CAPABILITY IMAP4rev1 AUTH=PLAIN\nS: $ OK\nC: never".to_owned(),
        "S: * PREAUTH [CAPABILITY IMAP4rev1] welcome\nC: never".to_owned(),
        format!("{}^* CAPABILITY IMAP4rev1 AUTH=PLAIN\nC: never", starttls),
        format!("{starttls}\nH:"),
        starttls.replace("S: $ OK go", "S: $ NO not today\nC: never"),
    ] {
        let dialogue = Dialogue::new(&script);
        let opened = ImapStore::open(&world_of(&dialogue), &hop(TlsMode::Required), &sign_in).await;
        assert!(opened.is_err(), "{script}");
        right(&dialogue);
    }
    // A server whose certificate is not believed gets nothing either.
    let dialogue = Dialogue::new(&format!("T:\nS: * OK hello\n{inside}"));
    let strict = Hop { trust: Tls::new(&Trust::Public).unwrap(), ..hop(TlsMode::Implicit) };
    assert!(ImapStore::open(&world_of(&dialogue), &strict, &sign_in).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn preauth_is_refused_even_without_encryption() {
    let dialogue = Dialogue::new("S: * PREAUTH welcome\nC: never");
    assert!(matches!(open(&dialogue).await, Err(StoreError::NoAnswer(why)) if why.contains("PREAUTH")));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_lies_or_floods_is_left_in_bounded_time() {
    let endless = format!("S: * OK {}", "x".repeat(9 << 20));
    let flood = format!("S: {}", "* 1 EXISTS^".repeat(1_000));
    for script in [
        "H:".to_owned(),
        "S: 220 smtp.example ESMTP".to_owned(),
        "S: <html>^H".to_owned(),
        "S: * OK hello\nC: CAPABILITY\nH:".to_owned(),
        "S: * OK hello\nC: CAPABILITY\nS: other OK done\nH:".to_owned(),
        format!("{endless}\nH:"),
        format!("S: * OK hello\nC: CAPABILITY\n{flood}\n{flood}\nH:"),
        "S: * OK hello\nC: CAPABILITY\nS: * CAPABILITY {99999999999999}\nH:".to_owned(),
    ] {
        let dialogue = Dialogue::new(&script);
        let since = Instant::now();
        let error = open(&dialogue).await.unwrap_err();
        assert!(is_no_answer(&error), "{error}");
        assert!(since.elapsed() <= Duration::from_secs(61));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_drips_is_not_waited_for() {
    // Bytes come, but at a byte a second a message of a megabyte would take eleven days.
    let drip = "S: x\n".repeat(3);
    let dialogue = signed_in("", &format!("C: UID FETCH\nS: * 1 FETCH (UID 7 BODY[] {{1000000}}\n{drip}H:"));
    let mut store = store(&dialogue).await;
    store.open_body(7).await.unwrap();
    let since = Instant::now();
    let error = loop {
        match store.body_part().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it has not ended"),
            Err(error) => break error,
        }
    };
    assert!(is_no_answer(&error) && since.elapsed() <= Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn text_that_looks_like_an_answer_is_none() {
    // The tag cannot be guessed, so a line that a message's sender wrote does not end a command.
    let dialogue = signed_in("", "C: NOOP\nS: * LIST () \"/\" \"x^a1 OK done\nS: A1 OK done\nS: $ OK");
    let mut one = store(&dialogue).await;
    assert!(one.ping().await.is_err() && !one.is_usable());
    // Nor does a folder's name become a command.
    let dialogue =
        signed_in("", "C: CREATE \"a&AA0ACg-b LOGOUT\"\nS: $ NO [ALREADYEXISTS] there\nC: NOOP\nS: $ OK");
    let mut two = store(&dialogue).await;
    assert!(matches!(two.create("a\r\nb LOGOUT").await, Err(StoreError::Exists(_))));
    assert!(matches!(two.create("\u{FFFD}a\0").await, Err(StoreError::Unsupported(_))));
    two.ping().await.unwrap();
    right(&dialogue);
}

#[tokio::test(start_paused = true)]
async fn a_command_given_up_in_the_middle_ends_the_connection() {
    let dialogue = signed_in("", "C: NOOP\nH:");
    let mut store = store(&dialogue).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), store.ping()).await.is_err());
    assert!(!store.is_usable());
    assert!(is_no_answer(&store.ping().await.unwrap_err()));
}

#[tokio::test(start_paused = true)]
async fn a_probe_tells_how_far_a_person_would_come() {
    let sign_in = SignIn::own("anna", "pw");
    let probe_of =
        async |dialogue: Dialogue| probe(&world_of(&dialogue), &hop(TlsMode::None), &sign_in).await;
    let up = probe_of(signed_in(
        "",
        "C: EXAMINE \"INBOX\"\nS: * 4 EXISTS\nS: * OK [UIDVALIDITY 5] ok\nS: $ OK done\nC: LOGOUT\nS: * BYE\nS: $ OK",
    ))
    .await;
    assert!(up.is_up() && up.messages == Some(4) && up.failed().is_none(), "{}", up.words());
    assert_eq!(up.steps.last().map(|s| s.stage), Some(Stage::Select));
    let refused = probe_of(Dialogue::new(
        "S: * OK [CAPABILITY AUTH=PLAIN] hi\nC: AUTHENTICATE\nS: +\nD: A\nS: $ NO [AUTHENTICATIONFAILED] no",
    ))
    .await;
    assert!(!refused.is_up() && refused.is_refused());
    assert_eq!(refused.failed().map(|s| s.stage), Some(Stage::SignIn));
    let silent = probe_of(Dialogue::new("H:")).await;
    assert_eq!(silent.failed().map(|s| (s.stage, s.micros)), Some((Stage::Greeting, 10_000_000)));
    let broken = probe_of(signed_in("", "C: EXAMINE\nS: $ NO [UNAVAILABLE] storage is away")).await;
    assert_eq!(broken.failed().map(|s| s.stage), Some(Stage::Select));
    assert!(broken.words().contains("storage is away") && !broken.is_refused());
}

#[tokio::test(start_paused = true)]
async fn the_person_we_act_for_is_told_before_the_sign_in() {
    let dialogue = Dialogue::new(
        "S: * OK [CAPABILITY IMAP4rev1 ID AUTH=PLAIN] ready\n\
         C: ID (\"name\" \"Stormpost\" \"x-originating-ip\" \"2001:db8::7\")\n\
         S: * ID (\"name\" \"Dovecot\")\n\
         S: $ OK\n\
         C: AUTHENTICATE PLAIN\n\
         S: +\n\
         D: AGFubmEAcHc=\n\
         S: $ OK [CAPABILITY IMAP4rev1] in\n",
    );
    let sign_in = SignIn::own("anna", "pw").for_client("2001:db8::7".parse().unwrap());
    ImapStore::open(&world_of(&dialogue), &hop(TlsMode::None), &sign_in).await.unwrap();
    right(&dialogue);
    // One who does not know ID is told nothing, and one who refuses it is asked all the same.
    for (capabilities, id) in
        [("IMAP4rev1 AUTH=PLAIN", ""), ("IMAP4rev1 ID AUTH=PLAIN", "C: ID\nS: $ BAD never\n")]
    {
        let dialogue = Dialogue::new(&format!(
            "S: * OK [CAPABILITY {capabilities}] ready\n{id}C: AUTHENTICATE PLAIN\nS: +\nD: AGFubmEAcHc=\n\
             S: $ OK [CAPABILITY IMAP4rev1] in\n"
        ));
        ImapStore::open(&world_of(&dialogue), &hop(TlsMode::None), &sign_in).await.unwrap();
        right(&dialogue);
    }
}
