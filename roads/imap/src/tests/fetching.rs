use super::*;

const MIXED: &str = "From: Anna <anna@example.org>\r\nTo: bob@example.org\r\nSubject: mixed\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\r\nplain\r\n--b\r\n\
    Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninside\r\n--b\r\n\
    Content-Type: image/png; name=\"=?utf-8?q?=C3=BC?=.png\"\r\nContent-Transfer-Encoding: base64\r\n\
    Content-Disposition: attachment; filename=a.png\r\n\r\nAAAA\r\n--b--\r\n";

impl Client {
    /// What one item of one message is, as its literal.
    async fn literal(&mut self, item: &str) -> Option<String> {
        self.send(&format!("l UID FETCH 1 ({item})\r\n")).await;
        let first = self.line().await;
        let found = match first.rsplit_once('{') {
            Some((_, size)) => {
                let size: usize = size.trim_end_matches('}').parse().unwrap();
                while self.read.len() < size {
                    assert!(self.stream.read_buf(&mut self.read).await.unwrap() > 0);
                }
                Some(String::from_utf8(self.read.drain(..size).collect()).unwrap())
            }
            None => None,
        };
        self.answer("l").await;
        found
    }
}

#[tokio::test(start_paused = true)]
async fn every_section_gives_the_bytes_it_names() {
    let server = Server::start().await;
    server.put("INBOX", MIXED, &["\\Seen"]).await;
    let mut client = server.inbox().await;
    let header = &MIXED[..MIXED.find("pre").unwrap()];
    for (item, expected) in [
        ("BODY[]", Some(MIXED)),
        ("RFC822", Some(MIXED)),
        ("BODY.PEEK[HEADER]", Some(header)),
        ("RFC822.HEADER", Some(header)),
        ("BODY[TEXT]", Some(&MIXED[header.len()..])),
        ("BODY[HEADER.FIELDS (SUBJECT To)]", Some("To: bob@example.org\r\nSubject: mixed\r\n\r\n")),
        ("BODY[HEADER.FIELDS.NOT (SUBJECT TO CONTENT-TYPE)]", Some("From: Anna <anna@example.org>\r\n\r\n")),
        ("BODY[1]", Some("plain")),
        ("BODY[1.MIME]", Some("\r\n")),
        ("BODY[2]", Some("Subject: inner\r\n\r\ninside")),
        ("BODY[2.HEADER]", Some("Subject: inner\r\n\r\n")),
        ("BODY[2.TEXT]", Some("inside")),
        ("BODY[2.1]", Some("inside")),
        ("BODY[2.HEADER.FIELDS (Subject)]", Some("Subject: inner\r\n\r\n")),
        ("BODY[2.MIME]", Some("Content-Type: message/rfc822\r\n\r\n")),
        ("BODY[3]", Some("AAAA")),
        ("BODY[4]", None),
        ("BODY[1.HEADER]", None),
        ("BODY[]<0.4>", Some("From")),
        ("BODY[1]<2.100>", Some("ain")),
        ("BODY[1]<100.5>", Some("")),
        ("BODY[HEADER.FIELDS (TO)]<4.3>", Some("bob")),
    ] {
        assert_eq!(client.literal(item).await.as_deref(), expected, "{item}");
    }
}

#[tokio::test(start_paused = true)]
async fn envelope_and_structure_are_told() {
    let server = Server::start().await;
    server.put("INBOX", MIXED, &["\\Seen"]).await;
    let text = "Date: Thu, 01 Jan 2026 10:00:00 +0000\r\nFrom: =?utf-8?q?Zo=C3=AB?= <z@x>\r\nTo: Team: a@x, b@y;\r\nSubject: =?iso-8859-1?q?Gr=FC=DFe?=\r\nMessage-ID: <1@x>\r\n\r\none\r\n";
    server.put("INBOX", text, &["\\Seen"]).await;
    let mut client = server.inbox().await;
    client
        .play(
            r#"C: a FETCH 1 BODYSTRUCTURE
               S: * 1 FETCH (BODYSTRUCTURE (("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 5 0 NIL NIL NIL NIL)("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 24 (NIL "inner" NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 6 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL)("IMAGE" "PNG" ("NAME*" "utf-8''%C3%BC.png") NIL NIL "BASE64" 4 NIL ("attachment" ("FILENAME" "a.png")) NIL NIL) "MIXED" ("BOUNDARY" "b") NIL NIL NIL))
               S: a OK done
               C: b FETCH 2 (ENVELOPE BODY)
               S: * 2 FETCH (ENVELOPE ("Thu, 01 Jan 2026 10:00:00 +0000" "=?utf-8?B?R3LDvMOfZQ==?=" (("=?utf-8?B?Wm/Dqw==?=" NIL "z" "x")) (("=?utf-8?B?Wm/Dqw==?=" NIL "z" "x")) (("=?utf-8?B?Wm/Dqw==?=" NIL "z" "x")) ((NIL NIL "Team" NIL)(NIL NIL "a" "x")(NIL NIL "b" "y")(NIL NIL NIL NIL)) NIL NIL NIL "<1@x>") BODY ("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 5 1))
               S: b OK done"#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn reading_marks_as_seen_and_peeking_does_not() {
    let server = Server::start().await;
    for _ in 0..3 {
        server.put("INBOX", "Subject: s\r\n\r\nbody", &[]).await;
    }
    let mut client = server.inbox().await;
    client
        .play(
            r#"C: a FETCH 1:3 (FLAGS BODY.PEEK[TEXT])
               S: * 1 FETCH (FLAGS () BODY[TEXT] {4}
               S: body)
               S: * 2 FETCH (FLAGS () BODY[TEXT] {4}
               S: body)
               S: * 3 FETCH (FLAGS () BODY[TEXT] {4}
               S: body)
               S: a OK done
               C: b FETCH 2 BODY[TEXT]
               S: * 2 FETCH (BODY[TEXT] {4}
               S: body FLAGS (\Seen))
               S: b OK done
               C: c FETCH 2 BODY[TEXT]
               S: * 2 FETCH (BODY[TEXT] {4}
               S: body)
               S: c OK done
               C: d FETCH 9 FLAGS
               S: d BAD there is no message of that number
               C: e UID FETCH 9 FLAGS
               S: e OK done
               C: f UID FETCH 3:* FLAGS
               S: * 3 FETCH (UID 3 FLAGS ())
               S: f OK done"#,
        )
        .await;
    // A disk that takes nothing does not keep people from reading.
    server.disk.set_capacity(Some(server.disk.used()));
    client.play("C: g FETCH 1 BODY[TEXT]\nS: * 1 FETCH (BODY[TEXT] {4}\nS: body)\nS: g OK done").await;
}

#[tokio::test(start_paused = true)]
async fn a_large_message_is_fetched_whole_and_in_pieces() {
    let server = Server::start().await;
    let mut text = String::from("Subject: large\r\n\r\n");
    for n in 0..40_000 {
        text.push_str(&format!("line {n:06} of a message that is larger than any buffer\r\n"));
    }
    server.put("INBOX", &text, &["\\Seen"]).await;
    let mut client = server.inbox().await;
    assert_eq!(client.literal("BODY[]").await.as_deref(), Some(&*text));
    let mut pieces = String::new();
    while let Some(piece) = client.literal(&format!("BODY[]<{}.50000>", pieces.len())).await
        && !piece.is_empty()
    {
        pieces.push_str(&piece);
    }
    assert!(pieces == text, "the pieces are not the message");
}
