use super::*;

#[tokio::test(start_paused = true)]
async fn a_session_from_greeting_to_good_bye() {
    let server = Server::start().await;
    let mut client = server.connect();
    client
        .play(
            "S: * OK [CAPABILITY IMAP4rev1 ... Stormpost is ready
             C: 1 CAPABILITY
             S: * CAPABILITY IMAP4rev1 LITERAL+ SASL-IR...AUTH=PLAIN
             S: 1 OK...
             C: 2 SELECT INBOX
             S: 2 BAD sign in first
             C: 3 LOGIN anna@example.org secret
             S: 3 OK [CAPABILITY IMAP4rev1 ...] you are signed in
             C: 4 NAMESPACE
             S: * NAMESPACE ((\"\" \"/\")) NIL NIL
             S: 4 OK done
             C: 5 ID (\"name\" \"test\")
             S: * ID (\"name\" \"Stormpost\" \"version\" ...)
             S: 5 OK done
             C: 6 FETCH 1 FLAGS
             S: 6 BAD select a mailbox first
             C: 7 LOGIN bob secret
             S: 7 BAD you are signed in already
             C: 8 XYZZY
             S: 8 BAD...
             C: 9 LOGOUT
             S: * BYE good-bye
             S: 9 OK done",
        )
        .await;
    assert_eq!(client.try_line().await, None);
}

#[tokio::test(start_paused = true)]
async fn signing_in_by_each_way() {
    let server = Server::start().await;
    // \0anna@example.org\0secret
    let plain = "AGFubmFAZXhhbXBsZS5vcmcAc2VjcmV0";
    let mut client = server.connect();
    client.play(&format!("S: * OK...\nC: a AUTHENTICATE PLAIN {plain}\nS: a OK...")).await;
    let mut client = server.connect();
    client
        .play(
            &format!("S: * OK...\nC: a AUTHENTICATE PLAIN\nS: + \nC: {plain}\nS: a OK...")
                .replace("S: + \n", "S: +...\n"),
        )
        .await;
    let mut client = server.connect();
    client.play("S: * OK...\nC: a AUTHENTICATE PLAIN\nS: +...\nC: *\nS: a BAD...\nC: b AUTHENTICATE GSSAPI\nS: b NO...").await;
    let mut client = server.connect();
    client.send("a LOGIN {16+}\r\nanna@example.org {6+}\r\nsecret\r\n").await;
    client.play("S: * OK...\nS: a OK...").await;
    let mut client = server.connect();
    client.play("S: * OK...\nC: a LOGIN anna@example.org later\nS: a NO [UNAVAILABLE] the directory does not answer; try again").await;
    // In the clear, where TLS is demanded.
    let mut client = server.connect_with(Security::StartTls, 1024);
    client.play("S: * OK [CAPABILITY ...LOGINDISABLED] mail.example.org Stormpost is ready\nC: a LOGIN anna@example.org secret\nS: a NO [PRIVACYREQUIRED]...").await;
    client
        .play(&format!(
            "C: b AUTHENTICATE PLAIN {plain}\nS: b NO [PRIVACYREQUIRED]...\nC: c STARTTLS\nS: c BAD..."
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn folders_are_listed_made_and_removed() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client
        .play(
            r#"C: a LIST "" ""
               S: * LIST (\Noselect) "/" ""
               S: a OK done
               C: b LIST "" "%"
               S: * LIST (\HasNoChildren \Archive) "/" "Archive"
               S: * LIST (\HasNoChildren \Drafts) "/" "Drafts"
               S: * LIST (\HasNoChildren) "/" "INBOX"
               S: * LIST (\HasNoChildren \Junk) "/" "Junk"
               S: * LIST (\HasNoChildren \Sent) "/" "Sent"
               S: * LIST (\HasNoChildren \Trash) "/" "Trash"
               S: b OK done
               C: c CREATE Projects/2026/Gr&APwA3w-e
               S: c OK [MAILBOXID (F9)] done
               C: d CREATE projects*
               S: d BAD...
               C: e CREATE Projects
               S: e NO [ALREADYEXISTS] a folder with that name is there already
               C: f LIST "Projects/" "*"
               S: * LIST (\HasChildren) "/" "Projects/2026"
               S: * LIST (\HasNoChildren) "/" "Projects/2026/Gr&APwA3w-e"
               S: f OK done
               C: g RENAME Projects/2026 Old/2026
               S: g OK done
               C: h LIST "" "Old/*"
               S: * LIST (\HasChildren) "/" "Old/2026"
               S: * LIST (\HasNoChildren) "/" "Old/2026/Gr&APwA3w-e"
               S: h OK done
               C: i DELETE Old
               S: i OK done
               C: j LIST "" "Old"
               S: * LIST (\Noselect \HasChildren) "/" "Old"
               S: j OK done
               C: k SELECT Old
               S: k NO [NONEXISTENT] there is no such folder
               C: l DELETE INBOX
               S: l NO [CANNOT] INBOX cannot be removed
               C: m SUBSCRIBE Old/2026
               S: m OK done
               C: n LSUB "" "%"
               S: * LSUB () "/" "Archive"
               S: * LSUB () "/" "Drafts"
               S: * LSUB () "/" "INBOX"
               S: * LSUB () "/" "Junk"
               S: * LSUB (\Noselect) "/" "Old"
               S: * LSUB () "/" "Sent"
               S: * LSUB () "/" "Trash"
               S: n OK done
               C: o UNSUBSCRIBE Trash
               S: o OK done
               C: p LIST (SUBSCRIBED) "" "T*"
               S: p OK done
               C: q LIST (SPECIAL-USE) "" "*" RETURN (SPECIAL-USE STATUS (MESSAGES))
               S: * LIST (\Archive) "/" "Archive"
               S: * STATUS "Archive" (MESSAGES 0)
               S: * LIST (\Drafts) "/" "Drafts"
               S: * STATUS "Drafts" (MESSAGES 0)
               S: * LIST (\Junk) "/" "Junk"
               S: * STATUS "Junk" (MESSAGES 0)
               S: * LIST (\Sent) "/" "Sent"
               S: * STATUS "Sent" (MESSAGES 0)
               S: * LIST (\Trash) "/" "Trash"
               S: * STATUS "Trash" (MESSAGES 0)
               S: q OK done
               C: r LIST (SUBSCRIBED RECURSIVEMATCH) "" "Old"
               S: * LIST (\NonExistent \HasChildren) "/" "Old" ("CHILDINFO" ("SUBSCRIBED"))
               S: r OK done
               C: s CREATE Mine (USE (\Sent))
               S: s OK [MAILBOXID (F11)] done
               C: t CREATE Yours (USE (\Flagged))
               S: t NO [USEATTR] that use is not known here"#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_is_selected_examined_and_closed() {
    let server = Server::start().await;
    server.put("INBOX", "Subject: 1\r\n\r\nx", &["\\Seen", "$Label"]).await;
    server.put("INBOX", "Subject: 2\r\n\r\nx", &["\\Deleted"]).await;
    let mut client = server.client().await;
    client
        .play(
            r#"C: a EXAMINE inbox
               S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Label)
               S: * OK [PERMANENTFLAGS ()] flags that stay
               S: * 2 EXISTS
               S: * 0 RECENT
               S: * OK [UNSEEN 2] the first unseen
               S: * OK [UIDVALIDITY 1795343827] UIDs are valid
               S: * OK [UIDNEXT 3] the next UID
               S: * OK [HIGHESTMODSEQ 3] the highest MODSEQ
               S: * OK [MAILBOXID (F1)]...
               S: a OK [READ-ONLY] done
               C: b STORE 1 +FLAGS (\Deleted)
               S: b NO [READ-ONLY]...
               C: c EXPUNGE
               S: c NO [READ-ONLY]...
               C: d CLOSE
               S: d OK done
               C: e STATUS INBOX (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN SIZE)
               S: * STATUS "INBOX" (MESSAGES 2 RECENT 0 UIDNEXT 3 UIDVALIDITY 1795343827 UNSEEN 1 SIZE 30)
               S: e OK done
               C: f SELECT INBOX
               S: * FLAGS...
               S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $Label \*)] flags that stay
               S: * 2 EXISTS
               S: * 0 RECENT
               S: * OK [UNSEEN 2]...
               S: * OK [UIDVALIDITY 1795343827]...
               S: * OK [UIDNEXT 3]...
               S: * OK [HIGHESTMODSEQ 3]...
               S: * OK [MAILBOXID (F1)]...
               S: f OK [READ-WRITE] done
               C: g UNSELECT
               S: g OK done
               C: h STATUS INBOX (MESSAGES)
               S: * STATUS "INBOX" (MESSAGES 2)
               S: h OK done
               C: i SELECT INBOX
               S: * FLAGS...
               S: * OK...
               S: * 2 EXISTS
               S: * 0 RECENT
               S: * OK...
               S: * OK...
               S: * OK...
               S: * OK...
               S: * OK...
               S: i OK [READ-WRITE] done
               C: j CLOSE
               S: j OK done
               C: k STATUS INBOX (MESSAGES)
               S: * STATUS "INBOX" (MESSAGES 1)
               S: k OK done
               C: l SELECT nowhere
               S: l NO [NONEXISTENT] there is no such folder
               C: m FETCH 1 FLAGS
               S: m BAD select a mailbox first"#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn messages_are_appended_copied_moved_and_expunged() {
    let server = Server::start().await;
    let mut client = server.inbox().await;
    client
        .play(
            r#"C: a APPEND INBOX (\Seen) " 7-Feb-2026 21:52:25 +0100" {10}
               S: + send it
               C: Subject: 1
               S: * 1 EXISTS
               S: * 1 RECENT
               S: a OK [APPENDUID 1795343827 1] stored
               C: b APPEND nowhere {10}
               S: b NO [TRYCREATE] there is no such folder
               C: c FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE)
               S: * 1 FETCH (FLAGS (\Seen \Recent) INTERNALDATE " 7-Feb-2026 20:52:25 +0000" RFC822.SIZE 10)
               S: c OK done"#,
        )
        .await;
    // Non-synchronising, refused: what follows is understood.
    client.send("d APPEND nowhere {4+}\r\nX: y\r\ne NOOP\r\n").await;
    client.play("S: d NO [TRYCREATE]...\nS: e OK done").await;
    // Two at once.
    client.send("f APPEND INBOX {4+}\r\nX: 2 (\\Draft) {4+}\r\nX: 3\r\n").await;
    client
        .play(
            r#"S: * 3 EXISTS
               S: * 3 RECENT
               S: f OK [APPENDUID 1795343827 2:3] stored
               C: g COPY 1,3 Archive
               S: g OK [COPYUID 1795343827 1,3 1:2] done
               C: h UID COPY 9 Archive
               S: h OK done
               C: i COPY 9 Archive
               S: i BAD there is no message of that number
               C: j COPY 1 nowhere
               S: j NO [TRYCREATE] there is no such folder
               C: k MOVE 2 Trash
               S: * OK [COPYUID 1795343827 2 1] moved
               S: * 2 EXPUNGE
               S: k OK done
               C: l STORE 1:2 +FLAGS.SILENT (\Deleted)
               S: l OK done
               C: m UID EXPUNGE 1
               S: * 1 EXPUNGE
               S: m OK done
               C: n EXPUNGE
               S: * 1 EXPUNGE
               S: n OK done
               C: o UID SEARCH ALL
               S: * SEARCH
               S: o OK done
               C: p EXAMINE Archive
               S: * FLAGS...
               S: * OK...
               S: * 2 EXISTS
               S: * 0 RECENT
               S: * OK...
               S: * OK...
               S: * OK...
               S: * OK...
               S: * OK [MAILBOXID (F2)]...
               S: p OK [READ-ONLY] done
               C: q FETCH 1:2 (UID FLAGS)
               S: * 1 FETCH (UID 1 FLAGS (\Seen))
               S: * 2 FETCH (UID 2 FLAGS (\Draft))
               S: q OK done"#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_append_that_breaks_off_leaves_nothing() {
    let server = Server::start().await;
    let mut client = server.inbox().await;
    client.send("a APPEND INBOX {1000000+}\r\nSubject: half").await;
    drop(client);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let mut client = server.inbox().await;
    assert_eq!(client.ask("b STATUS INBOX (MESSAGES)").await[0], "* STATUS \"INBOX\" (MESSAGES 0)");
    // A full disk: read to its end, refused with words, and the session goes on.
    server.disk.set_capacity(Some(server.disk.used()));
    client.send(&format!("c APPEND INBOX {{300000+}}\r\n{}\r\n", "x".repeat(300_000))).await;
    let refused = client.answer("c").await;
    assert!(refused[0].starts_with("c NO [UNAVAILABLE] not enough room"), "{refused:?}");
    assert_eq!(client.ask("d NOOP").await, ["d OK done"]);
    // Over the limit of one message.
    client.send("e APPEND INBOX {9999999999}\r\n").await;
    assert!(client.answer("e").await[0].starts_with("e NO"));
}

#[tokio::test(start_paused = true)]
async fn flags_are_stored_and_searched() {
    let server = Server::start().await;
    for (n, flags) in [(1, &["\\Seen"][..]), (2, &["\\Flagged"]), (3, &["work"])] {
        let text = format!(
            "From: a{n}@x\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= {n}\r\nDate: Thu, 0{n} Jan 2026 23:00:00 -0500\r\n\r\nThe needle {n}\r\n"
        );
        server.put("INBOX", &text, flags).await;
    }
    let mut client = server.inbox().await;
    client
        .play(
            r#"C: a STORE 1 +FLAGS (\Flagged newword)
               S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft newword work)
               S: * 1 FETCH (UID 1 FLAGS (\Flagged \Seen newword))
               S: a OK done
               C: b UID STORE 2:3 -FLAGS.SILENT (\Flagged)
               S: b OK done
               C: c STORE 3 FLAGS (\Seen)
               S: * 3 FETCH (UID 3 FLAGS (\Seen))
               S: c OK done
               C: d STORE 7 FLAGS (\Seen)
               S: d BAD there is no message of that number"#,
        )
        .await;
    for (search, found) in [
        ("ALL", "1 2 3"),
        ("SEEN", "1 3"),
        ("UNSEEN", "2"),
        ("FLAGGED SEEN", "1"),
        ("KEYWORD newword", "1"),
        ("UNKEYWORD newword", "2 3"),
        ("OR FLAGGED 3", "1 3"),
        ("NOT 1:2", "3"),
        ("UID 2:*", "2 3"),
        ("SUBJECT \"e 2\"", "2"),
        ("FROM A1@X", "1"),
        ("HEADER Date Jan", "1 2 3"),
        ("HEADER Message-ID \"\"", ""),
        ("BODY \"needle 3\"", "3"),
        ("TEXT a2@", "2"),
        ("SENTON 2-Jan-2026", "2"),
        ("SENTBEFORE 2-Jan-2026", "1"),
        ("SENTSINCE 2-Jan-2026", "2 3"),
        ("ON 22-Nov-2026", "1 2 3"),
        ("BEFORE 22-Nov-2026", ""),
        ("LARGER 10 SMALLER 5000", "1 2 3"),
        ("LARGER 5000", ""),
        ("YOUNGER 10", "1 2 3"),
        ("OLDER 10", ""),
        ("NEW", ""),
    ] {
        let answer = client.ask(&format!("x SEARCH {search}")).await;
        assert_eq!(answer, [format!("* SEARCH {found}").trim(), "x OK done"], "{search}");
    }
    client.send("y SEARCH CHARSET UTF-8 SUBJECT {7+}\r\nGrüßE\r\n").await;
    assert_eq!(client.answer("y").await, ["* SEARCH 1 2 3", "y OK done"]);
    client
        .play(
            r#"C: e UID SEARCH RETURN (MIN MAX COUNT) 2:3
               S: * ESEARCH (TAG "e") UID MIN 2 MAX 3 COUNT 2
               S: e OK done
               C: f SEARCH RETURN () ALL
               S: * ESEARCH (TAG "f") ALL 1:3
               S: f OK done"#,
        )
        .await;
}

/// RFC 7162 from ENABLE to a second SELECT.
const CONDSTORE: &str = r#"C: a ENABLE QRESYNC
               S: * ENABLED QRESYNC
               S: a OK done
               C: b SELECT INBOX
               S: * FLAGS...
               S: * OK...
               S: * 3 EXISTS
               S: * 0 RECENT
               S: * OK [UNSEEN 1]...
               S: * OK...
               S: * OK...
               S: * OK [HIGHESTMODSEQ 4]...
               S: * OK [MAILBOXID (F1)]...
               S: b OK...
               C: c UID STORE 2 (UNCHANGEDSINCE 4) +FLAGS.SILENT (\Seen)
               S: * 2 FETCH (UID 2 FLAGS (\Seen) MODSEQ (5))
               S: c OK done
               C: d UID STORE 1:2 (UNCHANGEDSINCE 4) +FLAGS.SILENT (\Flagged)
               S: * 1 FETCH (UID 1 FLAGS (\Flagged) MODSEQ (6))
               S: d OK [MODIFIED 2] done
               C: e UID FETCH 1:* FLAGS (CHANGEDSINCE 5)
               S: * 1 FETCH (UID 1 FLAGS (\Flagged) MODSEQ (6))
               S: e OK done
               C: f UID STORE 3 +FLAGS.SILENT (\Deleted)
               S: * 3 FETCH (UID 3 FLAGS (\Deleted) MODSEQ (7))
               S: f OK done
               C: g EXPUNGE
               S: * VANISHED 3
               S: g OK [HIGHESTMODSEQ 8] done
               C: h SEARCH MODSEQ 6
               S: * SEARCH 1 (MODSEQ 6)
               S: h OK done
               C: i UID FETCH 1:* FLAGS (CHANGEDSINCE 5 VANISHED)
               S: * VANISHED (EARLIER) 3
               S: * 1 FETCH (UID 1 FLAGS (\Flagged) MODSEQ (6))
               S: i OK done
               C: j SELECT INBOX (QRESYNC (1795343827 5 1:3))
               S: * OK [CLOSED]...
               S: * FLAGS...
               S: * OK...
               S: * 2 EXISTS
               S: * 0 RECENT
               S: * OK...
               S: * OK...
               S: * OK...
               S: * OK [HIGHESTMODSEQ 8]...
               S: * OK [MAILBOXID (F1)]...
               S: * VANISHED (EARLIER) 3
               S: * 1 FETCH (UID 1 FLAGS (\Flagged) MODSEQ (6))
               S: j OK...
               C: k SELECT INBOX (QRESYNC (7 5))
               S: * OK [CLOSED]...
               S: * FLAGS...
               S: * OK...
               S: * 2 EXISTS
               S: * 0 RECENT
               S: * OK...
               S: * OK...
               S: * OK...
               S: * OK [HIGHESTMODSEQ 8]...
               S: * OK [MAILBOXID (F1)]...
               S: k OK..."#;

#[tokio::test(start_paused = true)]
async fn a_client_that_speaks_condstore_hears_modseqs() {
    let server = Server::start().await;
    for _ in 0..3 {
        server.put("INBOX", "X: y\r\n\r\n", &[]).await;
    }
    let mut client = server.client().await;
    client.play(CONDSTORE).await;
}
