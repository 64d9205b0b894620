//! One test for each extension, the RFC named.

use super::*;

/// Messages to sort and thread, by subject and what they refer to.
const LETTERS: [(&str, &str, &str, &str); 6] = [
    // Name, Date, From, the rest.
    ("b", "Thu, 05 Mar 2026 10:00:00 +0000", "carl@x", "Subject: Budget\r\nMessage-ID: <1@x>\r\n"),
    (
        "a",
        "Wed, 04 Mar 2026 10:00:00 +0000",
        "Anna@x",
        "Subject: apples\r\nMessage-ID: <2@x>\r\nTo: zoe@x\r\n",
    ),
    (
        "re b",
        "Fri, 06 Mar 2026 10:00:00 +0000",
        "bob@x",
        "Subject: Re: budget\r\nMessage-ID: <3@x>\r\nReferences: <1@x>\r\n",
    ),
    // Earlier than it reads: another zone.
    ("c", "Fri, 06 Mar 2026 10:30:00 +0100", "\"Eve\" <eve@x>", "Subject: [list] cherries (fwd)\r\n"),
    (
        "re re b",
        "Sat, 07 Mar 2026 10:00:00 +0000",
        "carl@x",
        "Subject: Re: Re: budget\r\nMessage-ID: <5@x>\r\nIn-Reply-To: your mail <3@x>\r\nTo: ann@x\r\n",
    ),
    ("no date", "no date", "carl@x", "Subject: =?utf-8?q?=C3=84pfel?=\r\nMessage-ID: <6@x>\r\nCc: x@x\r\n"),
];

async fn with_letters() -> (Server, Client) {
    let server = Server::start().await;
    for (name, date, from, rest) in LETTERS {
        let text = format!("Date: {date}\r\nFrom: {from}\r\n{rest}\r\n{}\r\n", name.repeat(10));
        server.put("INBOX", &text, &[]).await;
    }
    let client = server.inbox().await;
    (server, client)
}

#[tokio::test(start_paused = true)]
async fn sort_rfc_5256() {
    let (_server, mut client) = with_letters().await;
    for (criteria, order) in [
        ("(SUBJECT)", "2 1 3 5 4 6"),
        ("(REVERSE SUBJECT)", "6 4 1 3 5 2"),
        ("(SUBJECT REVERSE DATE)", "2 5 3 1 4 6"),
        // The one without a date counts as it arrived, in November.
        ("(DATE)", "2 1 4 3 5 6"),
        ("(FROM REVERSE DATE)", "2 3 6 5 1 4"),
        ("(TO)", "1 3 4 6 5 2"),
        ("(CC)", "1 2 3 4 5 6"),
        ("(ARRIVAL)", "1 2 3 4 5 6"),
        ("(REVERSE SIZE)", "5 6 3 2 4 1"),
    ] {
        let answer = client.ask(&format!("s SORT {criteria} UTF-8 ALL")).await;
        assert_eq!(answer, [&format!("* SORT {order}"), "s OK done"], "{criteria}");
    }
    client
        .play(
            r#"C: a SORT (DATE) UTF-8 SUBJECT budget
               S: * SORT 1 3 5
               S: a OK done
               C: b SORT (DATE) US-ASCII SUBJECT nothing
               S: * SORT
               S: b OK done
               C: c STORE 2 +FLAGS.SILENT (\Deleted)
               S: c OK done
               C: d EXPUNGE
               S: * 2 EXPUNGE
               S: d OK done
               C: e SORT (REVERSE DATE) UTF-8 ALL
               S: * SORT 5 4 2 3 1
               S: e OK done
               C: f UID SORT (REVERSE DATE) UTF-8 ALL
               S: * SORT 6 5 3 4 1
               S: f OK done
               C: g UID SORT (DATE) UTF-8 MODSEQ 1
               S: * SORT 1 4 3 5 6 (MODSEQ 7)
               S: g OK done
               C: h SORT (DATE) KOI8-R ALL
               S: h NO [BADCHARSET (US-ASCII UTF-8)]..."#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn thread_rfc_5256() {
    let (server, mut client) = with_letters().await;
    client
        .play(
            "C: a THREAD REFERENCES UTF-8 ALL
             S: * THREAD (2)(1 3 5)(4)(6)
             S: a OK done
             C: b THREAD ORDEREDSUBJECT UTF-8 ALL
             S: * THREAD (2)(1 (3)(5))(4)(6)
             S: b OK done
             C: c UID THREAD REFERENCES UTF-8 FROM carl
             S: * THREAD (1 5)(6)
             S: c OK done
             C: d THREAD REFERENCES UTF-8 SUBJECT nothing
             S: * THREAD
             S: d OK done",
        )
        .await;
    // The same from what was kept, without a look at the messages.
    server.put("INBOX", "Subject: Re: apples\r\nMessage-ID: <7@x>\r\n\r\n", &[]).await;
    client
        .play(
            "C: e NOOP
             S: * 7 EXISTS
             S: * 1 RECENT
             S: e OK done
             C: f THREAD REFERENCES UTF-8 ALL
             S: * THREAD (2 7)(1 3 5)(4)(6)
             S: f OK done",
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn objectid_rfc_8474() {
    let server = Server::start().await;
    server.put("INBOX", "Subject: 1\r\nMessage-ID: <1@x>\r\n\r\n", &[]).await;
    server.put("INBOX", "Subject: 2\r\nReferences: <1@x>\r\nMessage-ID: <2@x>\r\n\r\n", &[]).await;
    server.put("INBOX", "Subject: 3\r\n\r\n", &[]).await;
    let mut client = server.inbox().await;
    client.ask("a COPY 1 Archive").await;
    let ids = |lines: &[String]| {
        let id = |name: &str, line: &str| {
            line.split_once(name).unwrap().1.split(['(', ')']).nth(1).unwrap().to_owned()
        };
        let lines = lines.iter().filter(|line| line.starts_with("* "));
        lines.map(|line| (id("EMAILID", line), id("THREADID", line))).collect::<Vec<_>>()
    };
    let inbox = ids(&client.ask("b FETCH 1:3 (EMAILID THREADID)").await);
    let (one, two, three) = (&inbox[0], &inbox[1], &inbox[2]);
    assert!(one.0 != two.0 && two.0 != three.0 && one.1 == two.1 && two.1 != three.1, "{inbox:?}");
    for (id, _) in &inbox {
        // RFC 8474 §7: letters, digits, `-` and `_`.
        assert!(id.len() <= 255 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
    }
    let found = client.ask(&format!("c SEARCH EMAILID {}", two.0)).await;
    assert_eq!(found[0], "* SEARCH 2");
    let found = client.ask(&format!("d SEARCH THREADID {}", two.1)).await;
    assert_eq!(found[0], "* SEARCH 1 2");
    client.ask("e SELECT Archive").await;
    assert_eq!(ids(&client.ask("f FETCH 1 (EMAILID THREADID)").await), std::slice::from_ref(one));
    // A mailbox keeps its id whatever it is called; another of the same name has its own.
    client
        .play(
            r#"C: g CREATE one
               S: g OK [MAILBOXID (F7)] done
               C: h RENAME one two
               S: h OK done
               C: i STATUS two (MESSAGES MAILBOXID)
               S: * STATUS "two" (MESSAGES 0 MAILBOXID (F7))
               S: i OK done
               C: j CREATE one
               S: j OK [MAILBOXID (F8)] done"#,
        )
        .await;
    let selected = client.ask("k EXAMINE two").await;
    assert!(selected.iter().any(|line| line.starts_with("* OK [MAILBOXID (F7)]")), "{selected:?}");
    // Ids are facts of the log, not of the view.
    let again = Server::start_on(server.disk.clone(), ImapLimits::default()).await;
    let mut client = again.inbox().await;
    assert_eq!(ids(&client.ask("l FETCH 1:3 (EMAILID THREADID)").await), inbox);
}

#[tokio::test(start_paused = true)]
async fn quota_rfc_9208() {
    let server = Server::start().await;
    server.put("INBOX", &format!("A: b\r\n\r\n{}", "x".repeat(2_000)), &["\\Deleted"]).await;
    let mut client = server.client().await;
    client
        .play(
            r#"C: a GETQUOTAROOT INBOX
               S: * QUOTAROOT "INBOX" ""
               S: * QUOTA "" ()
               S: a OK done
               C: b GETQUOTA other
               S: b NO [NONEXISTENT] there is no such quota root
               C: c GETQUOTAROOT nowhere
               S: c NO [NONEXISTENT] there is no such folder
               C: d SETQUOTA "" (STORAGE 512)
               S: d BAD...
               C: e STATUS INBOX (DELETED DELETED-STORAGE)
               S: * STATUS "INBOX" (DELETED 1 DELETED-STORAGE 2008)
               S: e OK done"#,
        )
        .await;
    let limits =
        ImapLimits { account_bytes: Some(1 << 20), account_messages: Some(10), ..ImapLimits::default() };
    let server = Server::start_on(server.disk.clone(), limits).await;
    let mut client = server.client().await;
    client
        .play(
            r#"C: a GETQUOTA ""
               S: * QUOTA "" (STORAGE 2 1024 MESSAGE 1 10)
               S: a OK done"#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn utf8_accept_rfc_6855() {
    let server = Server::start().await;
    let text = "From: =?utf-8?q?Zo=C3=AB?= <z@x>\r\nSubject: Grüße\r\nContent-Type: text/plain; name*=utf-8''%C3%BC\r\n\r\nx";
    server.put("INBOX", text, &["\\Seen"]).await;
    let mut client = server.inbox().await;
    client
        .play(
            r#"C: a FETCH 1 ENVELOPE
               S: * 1 FETCH (ENVELOPE (NIL "=?utf-8?B?R3LDvMOfZQ==?="...
               S: a OK done
               C: b APPEND INBOX UTF8 (~{10+}
               C: Subject: 1)
               S: b NO [CANNOT] enable UTF8=ACCEPT first
               C: c ENABLE UTF8=ACCEPT
               S: * ENABLED UTF8=ACCEPT
               S: c OK done
               C: d CREATE "Entwürfe & mehr"
               S: d OK...
               C: e LIST "" "Entw*"
               S: * LIST (\HasNoChildren) "/" "Entwürfe & mehr"
               S: e OK done
               C: f SEARCH CHARSET UTF-8 SUBJECT x
               S: f BAD...
               C: g SEARCH SUBJECT "GRÜSSE"
               S: * SEARCH
               S: g OK done
               C: h SEARCH SUBJECT "grüße"
               S: * SEARCH 1
               S: h OK done
               C: i APPEND "Entwürfe & mehr" (\Seen) UTF8 (~{18+}
               C: Subject: Grüße
               C: )
               S: i OK [APPENDUID ...
               C: j STATUS "Entwürfe & mehr" (MESSAGES)
               S: * STATUS "Entwürfe & mehr" (MESSAGES 1)
               S: j OK done
               C: k FETCH 1 ENVELOPE
               S: * 1 FETCH (ENVELOPE (NIL {7}
               S: Grüße ((...
               S: Zoë NIL "z" "x")) ((...
               S: Zoë NIL "z" "x")) ((...
               S: Zoë NIL "z" "x")) NIL NIL NIL NIL NIL))
               S: k OK done"#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn binary_rfc_3516() {
    let server = Server::start().await;
    let text = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\n\
        --b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe=\r\n!\r\n\
        --b\r\nContent-Transfer-Encoding: x-own\r\n\r\nwhat\r\n\
        --b\r\nContent-Transfer-Encoding: base64\r\n\r\nYQBi\r\n--b--\r\n";
    server.put("INBOX", text, &["\\Seen"]).await;
    let mut client = server.inbox().await;
    client
        .play(
            &format!(
                r#"C: a FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1] BINARY[2]<2.4> BINARY.SIZE[2])
               S: * 1 FETCH (BINARY[1] {{5}}
               S: hello BINARY.SIZE[1] 5 BINARY[2]<2> {{4}}
               S: üß BINARY.SIZE[2] 8)
               S: a OK done
               C: b FETCH 1 (BINARY.PEEK[3])
               S: * 1 FETCH (BINARY[3] NIL)
               S: b NO [UNKNOWN-CTE]...
               C: c FETCH 1 BINARY.SIZE[3]
               S: * 1 FETCH ()
               S: c NO [UNKNOWN-CTE]...
               C: d FETCH 1 (BINARY.PEEK[9] BINARY.SIZE[9] BINARY.SIZE[])
               S: * 1 FETCH (BINARY[9] NIL BINARY.SIZE[9] 0 BINARY.SIZE[] {size})
               S: d OK done
               C: e FETCH 1 BINARY.PEEK[4]
               S: * 1 FETCH (BINARY[4] ~{{3}}
               S: a{zero}b)
               S: e OK done
               C: f APPEND INBOX ~{{4+}}
               C: a{zero}bc
               S: f NO [UNKNOWN-CTE]..."#,
                size = text.len(),
                zero = '\0',
            )
            .replace("C:\n", "C: \n"),
        )
        .await;
    // A literal8 without zero bytes is a message like any other.
    client.send("g APPEND INBOX ~{6+}\r\nA: b\r\n\r\n").await;
    client.play("S: * 2 EXISTS\nS: * 1 RECENT\nS: g OK [APPENDUID ...").await;
    // A long part, whole and in pieces.
    let line = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWZnaGlqa2xtbm9wcXJzdHV2\r\n";
    let text = format!("Content-Transfer-Encoding: base64\r\n\r\n{}", line.repeat(40_000));
    server.put("INBOX", &text, &["\\Seen"]).await;
    let mut client = server.inbox().await;
    let plain = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuv".repeat(40_000);
    client.send("h FETCH 3 (BINARY.SIZE[1] BINARY.PEEK[1])\r\n").await;
    let first = client.line().await;
    assert_eq!(first, format!("* 3 FETCH (BINARY.SIZE[1] {0} BINARY[1] {{{0}}}", plain.len()));
    while client.read.len() < plain.len() {
        assert!(client.stream.read_buf(&mut client.read).await.unwrap() > 0);
    }
    let got: Vec<u8> = client.read.drain(..plain.len()).collect();
    assert!(got == plain.as_bytes());
    client.answer("h").await;
    client.play("C: i FETCH 3 BINARY.PEEK[1]<1919990.50>\nS: * 3 FETCH (BINARY[1]<1919990> {10}\nS: mnopqrstuv)\nS: i OK done").await;
}

#[tokio::test(start_paused = true)]
async fn list_extended_rfc_5258_and_rfc_6154() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for command in ["CREATE a/b/c", "CREATE a/s (USE (\\Drafts))", "SUBSCRIBE a/b/c", "SUBSCRIBE gone/x"] {
        client.ask(&format!("x {command}")).await;
    }
    client
        .play(
            r#"C: a LIST (SUBSCRIBED) "" "a*"
               S: * LIST (\HasNoChildren \Subscribed) "/" "a/b/c"
               S: a OK done
               C: b LIST (SUBSCRIBED RECURSIVEMATCH) "" "a*"
               S: * LIST (\HasNoChildren \Subscribed) "/" "a/b/c"
               S: b OK done
               C: c LIST (SUBSCRIBED RECURSIVEMATCH) "" ("a" "gone")
               S: * LIST (\HasChildren) "/" "a" ("CHILDINFO" ("SUBSCRIBED"))
               S: * LIST (\NonExistent \HasNoChildren) "/" "gone" ("CHILDINFO" ("SUBSCRIBED"))
               S: c OK done
               C: d LIST (SPECIAL-USE RECURSIVEMATCH) "" "a" RETURN (SPECIAL-USE)
               S: * LIST () "/" "a" ("CHILDINFO" ("SPECIAL-USE"))
               S: d OK done
               C: e LIST "" "a/s" RETURN (SPECIAL-USE SUBSCRIBED STATUS (UIDNEXT HIGHESTMODSEQ SIZE))
               S: * LIST (\Drafts) "/" "a/s"
               S: * STATUS "a/s" (UIDNEXT 1 HIGHESTMODSEQ 1 SIZE 0)
               S: e OK done
               C: f LIST (SUBSCRIBED) "" "gone/x"
               S: * LIST (\NonExistent \HasNoChildren \Subscribed) "/" "gone/x"
               S: f OK done"#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn esearch_rfc_4731_with_modseq() {
    let server = Server::start().await;
    for n in 0..3 {
        server.put("INBOX", &format!("Subject: {n}\r\n\r\n"), &[]).await;
    }
    let mut client = server.inbox().await;
    // The first changed last: MODSEQs 7, 3, 6.
    for command in ["STORE 3 +FLAGS (x)", "STORE 3 +FLAGS (y)", "STORE 1 +FLAGS (y)"] {
        client.ask(&format!("s {command}")).await;
    }
    for (returns, told) in [
        ("MIN", "MIN 1 MODSEQ 7"),
        ("MAX", "MAX 3 MODSEQ 6"),
        ("MIN MAX", "MIN 1 MAX 3 MODSEQ 7"),
        ("MAX COUNT", "MAX 3 COUNT 3 MODSEQ 7"),
        ("ALL", "ALL 1:3 MODSEQ 7"),
    ] {
        let answer = client.ask(&format!("x SEARCH RETURN ({returns}) MODSEQ 1")).await;
        assert_eq!(answer[0], format!("* ESEARCH (TAG \"x\") {told}"), "{returns}");
    }
    let answer = client.ask("x SEARCH RETURN (MIN COUNT) MODSEQ 100").await;
    assert_eq!(answer[0], "* ESEARCH (TAG \"x\") COUNT 0");
}

#[tokio::test(start_paused = true)]
async fn multiappend_rfc_3502_stores_all_or_none() {
    let server = Server::start().await;
    let mut client = server.inbox().await;
    let before = server.mailboxes.folder(&anna(), "INBOX").unwrap().modseq;
    client.send("a APPEND INBOX {4+}\r\nA: 1 (\\Seen) {4+}\r\nA: 2 {4+}\r\nA: 3\r\n").await;
    client.play("S: * 3 EXISTS\nS: * 3 RECENT\nS: a OK [APPENDUID 1795343827 1:3] stored").await;
    assert_eq!(server.mailboxes.folder(&anna(), "INBOX").unwrap().modseq, before + 1);
    // An empty message takes all of it back; so do a fault and a full disk.
    client.send("b APPEND INBOX {4+}\r\nA: 4 {0+}\r\n\r\n").await;
    client.play("S: b NO an empty message takes the APPEND back; nothing was stored").await;
    client.send("c APPEND INBOX {4+}\r\nA: 5 nonsense {4+}\r\nA: 6\r\n").await;
    client.play("S: c BAD...").await;
    server.disk.set_capacity(Some(server.disk.used()));
    client.send("d APPEND INBOX {4+}\r\nA: 7 {4+}\r\nA: 8\r\n").await;
    client.play("S: d NO [UNAVAILABLE]...\nC: e SEARCH ALL\nS: * SEARCH 1 2 3\nS: e OK done").await;
}

#[tokio::test(start_paused = true)]
async fn commands_with_uids_are_answered_with_removals_rfc_3501_7_4_1() {
    let server = Server::start().await;
    for n in 0..3 {
        server.put("INBOX", &format!("Subject: {n}\r\n\r\n"), &["\\Deleted"]).await;
    }
    let (mut one, mut two) = (server.inbox().await, server.inbox().await);
    one.ask("a UID EXPUNGE 1").await;
    two.play("C: a FETCH 2 UID\nS: * 2 FETCH (UID 2)\nS: a OK done").await;
    two.play("C: b UID SEARCH ALL\nS: * SEARCH 2 3\nS: * 1 EXPUNGE\nS: b OK done").await;
}
