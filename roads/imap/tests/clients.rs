//! Real clients against a server on loopback: curl, mbsync, Python's imaplib.

// What cannot be had ends the test: that is what unwrap does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use rustls::pki_types::PrivatePkcs8KeyDer;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use stores_log::{FileDisk, KeyRing, LogKind, LogOptions, Position, SeededRandom};
use stores_mailbox::{
    Appendix, Bodies, By, Flags, MailboxOptions, Mailboxes, MessageReader, Ready, ViewPlace,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::watch;
use words_mail::{AccountId, Time, TraceId};
use words_world::{Boxed, Clock, Connected, Listener, Mx, NameError, Names, Net, Stream, World};

/// The network of this machine, and no other world than that.
struct Loopback;

struct Door(tokio::net::TcpListener);

impl Listener for Door {
    fn accept(&self) -> Boxed<'_, io::Result<Connected>> {
        Box::pin(async {
            let (stream, peer) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            let local = stream.local_addr()?;
            Ok(Connected { stream: Box::new(stream), peer, local })
        })
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

impl Net for Loopback {
    fn connect(&self, _to: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn listen(&self, at: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(
            async move { Ok(Box::new(Door(tokio::net::TcpListener::bind(at).await?)) as Box<dyn Listener>) },
        )
    }

    fn connect_local<'a>(&'a self, _to: &'a Path) -> Boxed<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn listen_local<'a>(&'a self, _at: &'a Path) -> Boxed<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

impl Names for Loopback {
    fn mx<'a>(&'a self, _domain: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>> {
        Box::pin(async { Err(NameError::NotFound) })
    }

    fn addresses<'a>(&'a self, _host: &'a str) -> Boxed<'a, Result<Vec<IpAddr>, NameError>> {
        Box::pin(async { Err(NameError::NotFound) })
    }
}

impl Clock for Loopback {
    fn now(&self) -> Time {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Time(i64::try_from(since.as_micros()).unwrap())
    }
}

impl Bodies for Loopback {
    fn open(&self, _trace: TraceId, _position: Position) -> io::Result<MessageReader> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl roads_imap::SignIn for Loopback {
    fn check<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
        _peer: IpAddr,
    ) -> Boxed<'a, Result<AccountId, roads_imap::SignInRefusal>> {
        Box::pin(async move {
            if password == "secret" {
                Ok(AccountId::new(user))
            } else {
                Err(roads_imap::SignInRefusal::Wrong)
            }
        })
    }
}

struct Server {
    mailboxes: Mailboxes,
    plain: SocketAddr,
    encrypted: SocketAddr,
    trusting: Arc<rustls::ClientConfig>,
    dir: tempfile::TempDir,
    _stop: watch::Sender<bool>,
}

fn anna() -> AccountId {
    AccountId::new("anna@example.org")
}

/// A server's side and the side of a client that trusts it.
fn certificate() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    (Arc::new(server), Arc::new(client))
}

impl Server {
    async fn start() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let here = Arc::new(Loopback);
        let world = World {
            clock: here.clone(),
            random: Arc::new(SeededRandom::new(1)),
            disk: Arc::new(FileDisk),
            net: here.clone(),
            names: here.clone(),
        };
        let log = LogOptions {
            reserve_bytes: 0,
            ..LogOptions::new(dir.path().join("mailbox"), LogKind::Mailbox, "node")
        };
        let options =
            MailboxOptions { log, view: ViewPlace::File(dir.path().join("view.sqlite")), trace_key: None };
        let Ready { mailboxes, writer, applier, .. } =
            Mailboxes::open(&world, KeyRing::new([1; 32], &[]), options, here.clone()).unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(writer.run(stopped.clone()));
        tokio::spawn(applier.run(stopped.clone()));
        mailboxes.open_account(&anna()).await.unwrap();
        let (certificate, trusting) = certificate();
        let (_, tls) = watch::channel(Some(certificate));
        let options = roads_imap::ImapOptions { host: "localhost".into(), limits: Default::default() };
        let door = |security| roads_imap::Door { at: "127.0.0.1:0".parse().unwrap(), security };
        let doors = [door(roads_imap::Security::Optional), door(roads_imap::Security::Implicit)];
        let imap =
            roads_imap::Imap::open(&world, mailboxes.clone(), here, tls, options, &doors).await.unwrap();
        let (plain, encrypted) = (imap.addresses()[0], imap.addresses()[1]);
        tokio::spawn(imap.run(stopped));
        Server { mailboxes, plain, encrypted, trusting, dir, _stop: stop }
    }

    async fn put(&self, folder: &str, text: &str, flags: &[&str]) {
        let flags: Flags = flags.iter().copied().collect();
        let appendix = Appendix { flags, date: None, by: By::Own };
        self.mailboxes.append(&anna(), folder, text.as_bytes(), appendix).await.unwrap();
    }

    /// What is in a folder: the subject of each message with its flags, in order of subject.
    fn content(&self, folder: &str) -> Vec<String> {
        let folder = self.mailboxes.folder(&anna(), folder).unwrap();
        let messages = self.mailboxes.page(folder.id, 1, u32::MAX, 1_000).unwrap();
        let mut all = messages.iter().map(|message| {
            let facts = self.mailboxes.facts(message).unwrap();
            let flags = message.flags.names().collect::<Vec<_>>().join(" ");
            format!("{} [{flags}]", facts.envelope.subject.clone().unwrap_or_default())
        });
        let mut all = all.by_ref().collect::<Vec<_>>();
        all.sort();
        all
    }
}

/// Runs a program to its end; what it wrote.
async fn run(package: &str, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match tokio::time::timeout(std::time::Duration::from_secs(60), output).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            panic!("this test needs {program}: install the Debian package {package}")
        }
        other => other.expect("it did not end within a minute").unwrap(),
    };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_reads_searches_and_appends() {
    let server = Server::start().await;
    server.put("INBOX", "Subject: one\r\n\r\nfirst\r\n", &[]).await;
    server.put("INBOX", "Subject: two\r\n\r\nsecond\r\n", &[]).await;
    let user = "anna@example.org:secret";
    let plain = format!("imap://{}", server.plain);
    let encrypted = format!("imaps://{}", server.encrypted);
    let listed = run("curl", "curl", &["-sS", "-u", user, &format!("{plain}/")]).await;
    assert!(listed.contains("* LIST (\\HasNoChildren) \"/\" \"INBOX\""), "{listed}");
    for (url, extra) in [(&plain, "--silent"), (&plain, "--ssl-reqd"), (&encrypted, "--silent")] {
        let read =
            run("curl", "curl", &["-sS", "-k", extra, "-u", user, &format!("{url}/INBOX;UID=2")]).await;
        assert_eq!(read, "Subject: two\r\n\r\nsecond\r\n", "{url} {extra}");
    }
    let found = run("curl", "curl", &["-sS", "-u", user, &format!("{plain}/INBOX?TEXT%20second")]).await;
    assert_eq!(found.trim(), "* SEARCH 2");
    let file = server.dir.path().join("message.eml");
    fs::write(&file, "Subject: three\r\n\r\nthird\r\n").unwrap();
    let file = file.display().to_string();
    run("curl", "curl", &["-sS", "-u", user, "-T", &file, &format!("{plain}/Drafts")]).await;
    assert_eq!(server.content("Drafts"), ["three [\\Seen]"]);
    assert_eq!(server.content("INBOX"), ["one []", "two [\\Seen]"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mbsync_carries_everything_both_ways() {
    let server = Server::start().await;
    for n in 0..120 {
        let flags: &[&str] = if n % 3 == 0 { &["\\Seen"] } else { &[] };
        server
            .put("INBOX", &format!("Subject: m{n:03}\r\nMessage-ID: <{n}@x>\r\n\r\nbody {n}\r\n"), flags)
            .await;
    }
    server.mailboxes.create(&anna(), "Projects/Größe", None, By::Own).await.unwrap();
    server
        .put("Projects/Größe", &format!("Subject: big\r\n\r\n{}\r\n", "x".repeat(400_000)), &["\\Flagged"])
        .await;
    let dir = server.dir.path();
    let (copy, config) = (dir.join("copy"), dir.join("mbsyncrc"));
    fs::create_dir(&copy).unwrap();
    let text = format!(
        "IMAPAccount a\nHost 127.0.0.1\nPort {}\nUser anna@example.org\nPass secret\nSSLType None\n\n\
         IMAPStore far\nAccount a\n\nMaildirStore near\nPath {1}/\nInbox {1}/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nRemove Both\nSyncState *\n",
        server.plain.port(),
        copy.display(),
    );
    fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let arguments = ["-c", config.as_str(), "-a"];
    let sync = || run("isync", "mbsync", &arguments);

    sync().await;
    let files = |folder: &str| {
        let mut names = BTreeMap::new();
        for state in ["cur", "new"] {
            for file in fs::read_dir(copy.join(folder).join(state)).unwrap() {
                let path = file.unwrap().path();
                let text = fs::read_to_string(&path).unwrap();
                names.insert(text.lines().find(|l| l.starts_with("Subject")).unwrap_or("").to_owned(), path);
            }
        }
        names
    };
    let inbox = files("INBOX");
    assert_eq!(inbox.len(), 120);
    assert_eq!(files("Projects/Gr&APYA3w-e").len(), 1);

    // Here a message is read, one is written, one is removed; there one is flagged, one removed, one arrives.
    let read = &inbox["Subject: m001"];
    let name = read.file_name().unwrap().to_string_lossy().into_owned();
    let base = name.split(":2,").next().unwrap();
    fs::rename(read, copy.join("INBOX/cur").join(format!("{base}:2,S"))).unwrap();
    fs::remove_file(&inbox["Subject: m002"]).unwrap();
    fs::write(copy.join("INBOX/new/1.local.here"), "Subject: local\n\nwritten here\n").unwrap();
    let folder = server.mailboxes.folder(&anna(), "INBOX").unwrap().id;
    let one = |uid| stores_mailbox::UidRanges::span(uid, uid);
    let flagged = Flags::system(Flags::FLAGGED);
    let change = (stores_mailbox::How::Add, &flagged);
    server.mailboxes.store(&anna(), folder, &one(5), change, None, By::Own).await.unwrap();
    server.mailboxes.expunge(&anna(), folder, &one(6), By::Own).await.unwrap();
    server.put("INBOX", "Subject: far\r\n\r\nwritten there\r\n", &[]).await;

    sync().await;
    sync().await;
    let there = server.content("INBOX");
    assert_eq!(there.len(), 120, "{there:?}");
    for expected in ["m001 [\\Seen]", "m004 [\\Flagged]", "local []", "far []"] {
        assert!(there.contains(&expected.to_owned()), "{expected} is not in {there:?}");
    }
    let here = files("INBOX");
    assert_eq!(here.len(), 120);
    assert!(here.contains_key("Subject: far") && !here.contains_key("Subject: m002"));
    assert!(!here.contains_key("Subject: m005"), "what was removed there is gone here");
    assert!(here["Subject: m004"].to_string_lossy().ends_with(":2,F"), "{:?}", here["Subject: m004"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_imaplib_works_through_its_commands() {
    let server = Server::start().await;
    let script = format!(
        r#"
import imaplib, ssl
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
m = imaplib.IMAP4('127.0.0.1', {})
m.starttls(context)
m.authenticate('PLAIN', lambda _: b'\0anna@example.org\0secret')
assert m.create('Work')[0] == 'OK'
big = b'Subject: big\r\n\r\n' + b'x' * 3000000 + b'\r\n'
assert m.append('Work', '(\\Seen)', None, big)[0] == 'OK'
assert m.select('Work') == ('OK', [b'1']), 'select'
typ, data = m.fetch('1', '(RFC822)')
assert data[0][1] == big, 'what came back is not what was sent'
assert m.uid('STORE', '1', '+FLAGS', '(\\Deleted custom)')[0] == 'OK'
assert m.search(None, 'KEYWORD', 'custom') == ('OK', [b'1'])
assert m.copy('1', 'Archive')[0] == 'OK'
assert m.expunge() == ('OK', [b'1'])
assert m.list('""', 'W*')[1] == [b'(\\HasNoChildren) "/" "Work"'], m.list('""', 'W*')
assert m.status('Archive', '(MESSAGES UIDNEXT)')[1] == [b'"Archive" (MESSAGES 1 UIDNEXT 2)']
assert m.namespace()[0] == 'OK' and m.noop()[0] == 'OK' and m.close()[0] == 'OK'
m.logout()
"#,
        server.plain.port()
    );
    run("python3", "python3", &["-c", &script]).await;
    assert_eq!(server.content("Archive"), ["big [\\Deleted \\Seen custom]"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_before_the_handshake_counts_for_nothing() {
    let server = Server::start().await;
    let mut plain = tokio::net::TcpStream::connect(server.plain).await.unwrap();
    let mut heard = String::new();
    // Somebody in the middle slips commands in behind the client's STARTTLS.
    plain.write_all(b"a STARTTLS\r\nb LOGIN anna@example.org secret\r\nc SELECT").await.unwrap();
    while !heard.contains("a OK") {
        let mut piece = [0; 1024];
        let n = plain.read(&mut piece).await.unwrap();
        heard.push_str(std::str::from_utf8(&piece[..n]).unwrap());
    }
    assert!(heard.ends_with("a OK begin the handshake\r\n"), "{heard}");
    let connector = tokio_rustls::TlsConnector::from(server.trusting.clone());
    let mut secure = connector.connect("localhost".try_into().unwrap(), plain).await.unwrap();
    secure.write_all(b" INBOX\r\nd CAPABILITY\r\ne LOGOUT\r\n").await.unwrap();
    let mut heard = String::new();
    secure.read_to_string(&mut heard).await.unwrap();
    assert!(!heard.contains("b OK") && !heard.contains("c "), "{heard}");
    assert!(heard.contains("AUTH=PLAIN") && !heard.contains("STARTTLS") && heard.contains("d OK"), "{heard}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offlineimap_copies_and_carries_flags_back() {
    let server = Server::start().await;
    for n in 0..30 {
        server
            .put("INBOX", &format!("Subject: m{n:02}\r\nMessage-ID: <{n}@x>\r\n\r\nbody {n}\r\n"), &[])
            .await;
    }
    let dir = server.dir.path();
    let copy = dir.join("copy");
    fs::create_dir(&copy).unwrap();
    let config = dir.join("offlineimaprc");
    let text = format!(
        "[general]\naccounts = a\nmetadata = {0}/meta\nui = quiet\n\n\
         [Account a]\nlocalrepository = near\nremoterepository = far\n\n\
         [Repository near]\ntype = Maildir\nlocalfolders = {1}\n\n\
         [Repository far]\ntype = IMAP\nremotehost = 127.0.0.1\nremoteport = {2}\nssl = no\nstarttls = no\n\
         auth_mechanisms = PLAIN\nremoteuser = anna@example.org\nremotepass = secret\n",
        dir.display(),
        copy.display(),
        server.plain.port(),
    );
    fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let arguments = ["-o", "-1", "-c", config.as_str()];
    run("offlineimap3", "offlineimap", &arguments).await;
    let files = || {
        let states = ["cur", "new"].into_iter();
        let all = states.flat_map(|state| fs::read_dir(copy.join("INBOX").join(state)).unwrap());
        all.map(|file| file.unwrap().path()).collect::<Vec<_>>()
    };
    assert_eq!(files().len(), 30);
    let of = |subject: &str| {
        files().into_iter().find(|path| fs::read_to_string(path).unwrap().contains(subject)).unwrap()
    };
    let read = of("Subject: m07");
    let name = read.file_name().unwrap().to_string_lossy().into_owned();
    let base = name.split(":2,").next().unwrap();
    fs::rename(&read, copy.join("INBOX/cur").join(format!("{base}:2,FS"))).unwrap();
    fs::remove_file(of("Subject: m08")).unwrap();
    run("offlineimap3", "offlineimap", &arguments).await;
    let there = server.content("INBOX");
    assert_eq!(there.len(), 29, "{there:?}");
    assert!(there.contains(&"m07 [\\Flagged \\Seen]".to_owned()), "{there:?}");
    assert_eq!(files().len(), 29);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neomutt_works_and_comes_back_with_its_cache() {
    let server = Server::start().await;
    let text = |n: u32| format!("From: a@x\r\nSubject: m{n}\r\nMessage-ID: <{n}@x>\r\n\r\nbody {n}\r\n");
    for n in 0..6 {
        server.put("INBOX", &text(n), &[]).await;
    }
    let dir = server.dir.path();
    fs::create_dir(dir.join("cache")).unwrap();
    let rc = dir.join("neomuttrc");
    let settings = format!(
        "set folder=imap://127.0.0.1:{}/\nset spoolfile=+INBOX\nset imap_user=anna@example.org\nset imap_pass=secret\n\
         set ssl_starttls=no\nset ssl_force_tls=no\nset imap_condstore=yes\nset imap_qresync=yes\n\
         set confirmappend=no\nset delete=yes\nset wait_key=no\nset sleep_time=0\nunset mark_old\n\
         set header_cache={}/cache/\n",
        server.plain.port(),
        dir.display()
    );
    fs::write(&rc, settings).unwrap();
    let play = async |keys: &str| {
        let command = format!("TERM=xterm neomutt -n -F {} -e 'push \"{keys}<quit>\"'", rc.display());
        run("neomutt bsdutils coreutils", "timeout", &["30", "script", "-qec", &command, "/dev/null"]).await;
    };
    play(
        "<tag-pattern>m[12]<enter><tag-prefix><set-flag>!<search>m3<enter><delete-message>\
         <search>m0<enter><save-message>=Archive<enter><sync-mailbox>",
    )
    .await;
    assert_eq!(server.content("INBOX"), ["m1 [\\Flagged]", "m2 [\\Flagged]", "m4 []", "m5 []"]);
    assert_eq!(server.content("Archive"), ["m0 []"]);
    // While it is away one goes, one comes, one is read; it copies all that it then believes to be there.
    let folder = server.mailboxes.folder(&anna(), "INBOX").unwrap().id;
    let one = |uid| stores_mailbox::UidRanges::span(uid, uid);
    server.mailboxes.expunge(&anna(), folder, &one(5), By::Own).await.unwrap();
    let seen = Flags::system(Flags::SEEN);
    let change = (stores_mailbox::How::Add, &seen);
    server.mailboxes.store(&anna(), folder, &one(6), change, None, By::Own).await.unwrap();
    server.put("INBOX", &text(6), &[]).await;
    play("<tag-pattern>~A<enter><tag-prefix><copy-message>=Drafts<enter><untag-pattern>~A<enter><tag-pattern>~R<enter><tag-prefix><copy-message>=Junk<enter>").await;
    let copied = server.content("Drafts");
    let subjects = copied.iter().map(|m| m.split(' ').next().unwrap()).collect::<Vec<_>>();
    assert_eq!(subjects, ["m1", "m2", "m5", "m6"], "{copied:?}");
    assert_eq!(server.content("Junk"), ["m5 [\\Seen]"]);
}
