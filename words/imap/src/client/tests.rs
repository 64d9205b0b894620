use super::*;
use crate::*;
use proptest::prelude::*;

/// What was heard, owned; neighbouring pieces of a body are one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Tagged(String, Status, Option<Code>, String),
    Continue(String),
    Untagged(Untagged),
    Begin(u32, u64),
    Data(Vec<u8>),
    End,
    Garbled,
}

fn tell(pieces: &[&[u8]]) -> Vec<Told> {
    let mut reader = ResponseReader::new();
    let mut told: Vec<Told> = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            let heard = match reader.next(&mut input) {
                Ok(Some(heard)) => heard,
                Ok(None) => break,
                Err(_) => {
                    told.push(Told::Garbled);
                    return told;
                }
            };
            let said = match heard {
                Heard::Tagged { tag, status, code, text } => Told::Tagged(tag, status, code, text),
                Heard::Continue(text) => Told::Continue(text),
                Heard::Untagged(said) => Told::Untagged(said),
                Heard::BodyBegin { number, size } => Told::Begin(number, size),
                Heard::BodyData(data) => {
                    if let Some(Told::Data(before)) = told.last_mut() {
                        before.extend_from_slice(data);
                        continue;
                    }
                    Told::Data(data.to_vec())
                }
                Heard::BodyEnd => Told::End,
            };
            told.push(said);
        }
        assert!(input.is_empty());
    }
    told
}

fn all(text: &str) -> Vec<Told> {
    tell(&[text.as_bytes()])
}

fn one(line: &str) -> Untagged {
    match all(&format!("* {line}\r\n")).as_slice() {
        [Told::Untagged(said)] => said.clone(),
        other => panic!("{line}: {other:?}"),
    }
}

fn fetched(line: &str) -> Fetched {
    match one(line) {
        Untagged::Fetch(fetched) => fetched,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn responses_of_real_servers_are_understood() {
    let code = |line: &str| match one(line) {
        Untagged::Status { status, code, .. } => (status, code),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(
        code("OK [UIDVALIDITY 3857529045] UIDs valid"),
        (Status::Ok, Some(Code::UidValidity(3_857_529_045)))
    );
    assert_eq!(code("BYE Disconnected for inactivity."), (Status::Bye, None));
    assert_eq!(code("ok [unseen 12]"), (Status::Ok, Some(Code::Unseen(12))));
    assert_eq!(code("PREAUTH hello"), (Status::PreAuth, None));
    assert_eq!(code("OK [broken"), (Status::Ok, None));
    assert_eq!(one("23 EXISTS"), Untagged::Exists(23));
    assert_eq!(one("5 recent"), Untagged::Recent(5));
    assert_eq!(one("44 EXPUNGE"), Untagged::Expunge(44));
    assert_eq!(one("SEARCH"), Untagged::Search(vec![]));
    assert_eq!(one("SEARCH 2 84 882 "), Untagged::Search(vec![2, 84, 882]));
    assert_eq!(one("SEARCH 2 5 (MODSEQ 917162500)"), Untagged::Search(vec![2, 5]));
    assert_eq!(
        one("CAPABILITY imap4rev1 Idle"),
        Untagged::Capability(vec!["IMAP4REV1".into(), "IDLE".into()])
    );
    assert_eq!(
        one("FLAGS (\\Seen $Junk \\* x)"),
        Untagged::Flags(["\\Seen", "$Junk", "x"].iter().filter_map(|f| Flag::parse(f)).collect())
    );
    assert_eq!(
        one("STATUS \"Entw&APw-rfe\" (MESSAGES 231 XFOO (a b) UIDNEXT 44292 MAILBOXID (F1))"),
        Untagged::StatusOf {
            name: "Entwürfe".into(),
            items: vec![(StatusItem::Messages, 231), (StatusItem::UidNext, 44_292)]
        }
    );
    assert_eq!(
        one("VANISHED (EARLIER) 300:310,405"),
        Untagged::Vanished { earlier: true, uids: SequenceSet::parse(b"300:310,405").unwrap() }
    );
    assert_eq!(
        one("ID (\"name\" \"Dovecot\" \"x\" NIL)"),
        Untagged::Id(vec![("name".into(), Some("Dovecot".into())), ("x".into(), None)])
    );
    for unknown in [
        "XFOO bar (baz",
        "QUOTA \"\" (STORAGE 10 512)",
        "NAMESPACE ((\"\" \"/\")) NIL NIL",
        "",
        "12",
        "12 FOO",
        "é",
    ] {
        assert!(matches!(one(unknown), Untagged::Other(_)), "{unknown}");
    }
    assert_eq!(
        all("a1 OK [READ-WRITE] Select completed (0.001 secs).\r\n+ idling\r\n+\r\na2 NO\r\nwhat\r\n"),
        [
            Told::Tagged(
                "a1".into(),
                Status::Ok,
                Some(Code::ReadWrite),
                "Select completed (0.001 secs).".into()
            ),
            Told::Continue("idling".into()),
            Told::Continue(String::new()),
            Told::Tagged("a2".into(), Status::No, None, String::new()),
            Told::Untagged(Untagged::Other("what".into())),
        ]
    );
}

#[test]
fn mailboxes_are_listed_with_names_that_go_back_as_they_came() {
    let listed = |line: &str| match one(line) {
        Untagged::List(listed) => listed,
        other => panic!("{line}: {other:?}"),
    };
    let sent = listed("LIST (\\HasNoChildren \\Sent) \".\" Sent");
    assert!(sent.has("\\sent") && sent.is_selectable() && sent.separator == Some('.') && sent.name == "Sent");
    let odd = listed("LIST (\\Noselect) NIL {7}\r\na\"b\\c d (\"CHILDINFO\" (\"SUBSCRIBED\"))");
    assert!(!odd.is_selectable() && odd.separator.is_none() && odd.name == "a\"b\\c d");
    for (wire, written) in [
        ("Entw&APw-rfe", "\"Entw&APw-rfe\""),
        ("R&D", "\"R&D\""),
        ("&AGE-", "\"&AGE-\""),
        ("\"a\\\\b\"", "\"a\\\\b\""),
        ("inbox", "\"INBOX\""),
    ] {
        let name = listed(&format!("LIST () \"/\" {wire}")).name;
        let pieces = Request::new("t", "SELECT", Literals::Any).mailbox(&name).pieces().unwrap();
        assert_eq!(String::from_utf8(pieces.concat()).unwrap(), format!("t SELECT {written}\r\n"));
    }
    // Neither two names that break the rules nor one that keeps them fall together.
    assert_ne!(listed("LIST () \"/\" R&D").name, listed("LIST () \"/\" R&-D").name);
}

#[test]
fn a_fetch_is_read_whatever_else_is_in_it() {
    let told = fetched(
        "12 FETCH (X-GM-MSGID 1278455344230334865 FLAGS (\\Seen $x) UID 7 ENVELOPE (\"a)\" NIL ((NIL NIL {3}\r\n(\"x \"b\"))) \
         INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" RFC822.SIZE 44827 MODSEQ (65) EMAILID (M1) THREADID NIL \
         BODYSTRUCTURE ((\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 1 1) \"MIXED\") \
         BODY[HEADER.FIELDS (\"SUBJECT\" DATE)] {14}\r\nSubject: x)\r\n\r BODY[1.MIME] NIL BODY[TEXT]<5> \"abc\")",
    );
    assert_eq!((told.number, told.uid, told.size, told.modseq), (12, Some(7), Some(44_827), Some(65)));
    assert_eq!(told.flags.as_ref().map(Vec::len), Some(2));
    assert_eq!(told.email_id.as_deref(), Some("M1"));
    assert_eq!(told.internal_date, parse_date_time("17-Jul-1996 02:44:25 -0700"));
    assert_eq!(told.section("BODY[HEADER"), Some(&b"Subject: x)\r\n\r"[..]));
    assert_eq!(told.section("BODY[TEXT]<5>"), Some(&b"abc"[..]));
    assert_eq!(told.sections[1], ("BODY[1.MIME]".to_owned(), None));
    assert!(!told.streamed && !told.cut);
    // Unfinished or wrong: stepped over, not believed in part.
    for broken in ["1 FETCH (UID", "1 FETCH UID 5", "1 FETCH (UID x)", "1 FETCH (BODY[)"] {
        assert!(matches!(one(broken), Untagged::Other(_)), "{broken}");
    }
    assert!(matches!(one(&format!("1 FETCH (X {}", "(".repeat(100_000))), Untagged::Other(_)));
}

#[test]
fn whole_messages_pass_by() {
    for (label, rest) in [("BODY[]", ""), ("RFC822", ""), ("BODY[]<0>", " FLAGS ()"), ("BINARY[]", "")] {
        let told = all(&format!("* 3 FETCH (UID 9 {label} {{7}}\r\nab\r\n* x{rest})\r\na OK done\r\n"));
        let [
            Told::Begin(3, 7),
            Told::Data(data),
            Told::End,
            Told::Untagged(Untagged::Fetch(fetch)),
            Told::Tagged(..),
        ] = told.as_slice()
        else {
            panic!("{label}: {told:?}");
        };
        assert_eq!(data, b"ab\r\n* x");
        assert!(fetch.streamed && fetch.uid == Some(9));
    }
    // Short ones may come quoted, and may be missing.
    assert_eq!(fetched("3 FETCH (BODY[] \"abc\")").section("BODY[]"), Some(&b"abc"[..]));
    assert_eq!(fetched("3 FETCH (BODY[] NIL)").sections, [("BODY[]".to_owned(), None)]);
}

#[test]
fn an_endless_header_is_cut_and_the_rest_goes_on() {
    let header = format!("Subject: {}\r\n\r\n", "x".repeat(3_000_000));
    let told = all(&format!(
        "* 1 FETCH (BODY[HEADER.FIELDS (SUBJECT)] {{{}}}\r\n{header} UID 5)\r\n* 2 EXISTS\r\n",
        header.len()
    ));
    let [Told::Untagged(Untagged::Fetch(fetch)), Told::Untagged(Untagged::Exists(2))] = told.as_slice()
    else {
        panic!("{} events", told.len());
    };
    assert!(fetch.cut && fetch.uid == Some(5) && fetch.sections[0].1.as_ref().unwrap().len() == 64 << 10);
}

#[test]
fn a_server_cannot_make_the_client_hold_more_than_its_bound() {
    let mut reader = ResponseReader::new();
    let piece = vec![b'x'; 1 << 20];
    let ended = (0..20).find(|_| reader.next(&mut piece.as_slice()).is_err());
    assert!(ended.is_some_and(|n| n <= 8));
    assert_eq!(all("* LIST () \"/\" {99999999999999999999}\r\n"), [Told::Garbled]);
}

#[test]
fn prose_that_looks_like_a_literal_is_prose() {
    assert_eq!(all("* OK see {5}\r\n* 1 EXISTS\r\na OK and {7}\r\n+ more {9}\r\n").len(), 4);
    // A line feed alone starts no response: here a name that its maker wrote to look like one.
    let told = all("* LIST () \"/\" \"x\na OK done\"\r\na OK really\r\n");
    assert!(matches!(told.as_slice(), [Told::Untagged(_), Told::Tagged(.., text)] if text == "really"));
}

#[test]
fn arguments_cannot_become_commands() {
    let write = |request: Request| request.pieces().map(|p| String::from_utf8(p.concat()).unwrap());
    let new = || Request::new("t", "X", Literals::Any);
    assert_eq!(write(new().mailbox("a\r\nb DELETE c")).unwrap(), "t X \"a&AA0ACg-b DELETE c\"\r\n");
    assert_eq!(write(new().string(b"a\r\nb")).unwrap(), "t X {4+}\r\na\r\nb\r\n");
    assert_eq!(write(new().string(b"\"\\")).unwrap(), "t X \"\\\"\\\\\"\r\n");
    for wrong in [
        write(new().word("a\r\nb")),
        write(new().string(b"a\0b")),
        write(new().mailbox("\u{FFFD}\u{100}")),
        write(new().mailbox("\u{FFFD}a\0")),
        write(new().flags(&[Flag::Keyword("a) b".into())])),
        write(new().flags(&[Flag::Keyword("a\r\nb".into())])),
        write(new().set(&SequenceSet::default())),
    ] {
        assert_eq!(wrong, Err(Unsayable));
    }
    assert_eq!(write(new().flags(&[Flag::Seen, Flag::Recent])).unwrap(), "t X (\\Seen)\r\n");
}

#[test]
fn a_command_falls_into_pieces_where_the_server_must_be_asked() {
    let login = |literals| {
        Request::new("t", "LOGIN", literals).string("ü".as_bytes()).string("é".as_bytes()).pieces().unwrap()
    };
    assert_eq!(
        login(Literals::Synchronising),
        [&b"t LOGIN {2}\r\n"[..], "ü {2}\r\n".as_bytes(), "é\r\n".as_bytes()]
    );
    assert_eq!(login(Literals::Short).len(), 1);
    let long = vec![b'\n'; 5_000];
    assert_eq!(Request::new("t", "X", Literals::Short).string(&long).pieces().unwrap().len(), 2);
    assert_eq!(Request::new("t", "X", Literals::Any).string(&long).pieces().unwrap().len(), 1);
    let append = |literals| Request::new("t", "APPEND", literals).mailbox("a").message(5_000).unwrap();
    assert_eq!(append(Literals::Any), (vec![b"t APPEND \"a\" {5000+}\r\n".to_vec()], false));
    assert_eq!(append(Literals::Short), (vec![b"t APPEND \"a\" {5000}\r\n".to_vec()], true));
    assert_eq!(Literals::of(&["IMAP4REV1", "LITERAL+"]), Literals::Any);
    assert_eq!(Literals::of(&["IMAP4REV2"]), Literals::Short);
}

/// What one side writes the other reads as the same.
fn understood(request: Request) -> Command {
    let bytes = request.pieces().unwrap().concat();
    let mut reader = CommandReader::new(Limits::default());
    let mut input = bytes.as_slice();
    loop {
        match reader.next(&mut input) {
            Some(Event::Command(tagged)) => return tagged.command,
            Some(Event::Continue) => {}
            other => panic!("{other:?} {}", String::from_utf8_lossy(&bytes)),
        }
    }
}

fn literals() -> impl Strategy<Value = Literals> {
    prop_oneof![Just(Literals::Any), Just(Literals::Short), Just(Literals::Synchronising)]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let lines: [&[u8]; 8] = [
        b"* 12 FETCH (UID 7 BODY[] {5}\r\nab\r\nc FLAGS (\\Seen))\r\n",
        b"* 12 FETCH (BODY[HEADER] {3}\r\na\r\n X (y {2}\r\n)) z))\r\n",
        b"* LIST (\\Sent) \"/\" {4}\r\nSent\r\n",
        b"* OK [UIDNEXT 5] next {9}\r\n",
        b"a1 NO [TRYCREATE] none\r\n",
        b"+ go\r\n",
        b"* SEARCH 1 2 3\r\n",
        b"\r\n\n* XFOO (\r\n",
    ];
    let line = proptest::sample::select(lines.to_vec()).prop_map(<[u8]>::to_vec);
    let line = prop_oneof![6 => line, 1 => proptest::collection::vec(any::<u8>(), 0..30),
        2 => "\\* [0-9]?[A-Z]{0,6}[ (){}~\"\\[\\]<>\\\\A-Z0-9\r\n]{0,30}\r\n".prop_map(String::into_bytes)];
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_the_same_responses(
        input in stream(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
    ) {
        let whole = tell(&[&input]);
        let mut at: Vec<usize> = cuts.iter().map(|i| i.index(input.len() + 1)).collect();
        at.extend([0, input.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|w| &input[w[0]..w[1]]).collect();
        prop_assert_eq!(&whole, &tell(&pieces));
        prop_assert_eq!(&whole, &tell(&input.chunks(1).collect::<Vec<_>>()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        tell(&[&input]);
    }

    #[test]
    fn any_password_arrives(user in "\\PC{1,20}", password in proptest::collection::vec(1u8..=255, 0..40), l in literals()) {
        let login = Request::new("t", "LOGIN", l).string(user.as_bytes()).string(&password);
        prop_assert_eq!(understood(login), Command::Login { user, password: Secret(password) });
    }

    #[test]
    fn any_mailbox_name_arrives(name in "[^\r\n\0\u{FFFD}]{1,30}", l in literals()) {
        let name = if name.eq_ignore_ascii_case("inbox") { "INBOX".to_owned() } else { name };
        let delete = Request::new("t", "DELETE", l).mailbox(&name);
        prop_assert_eq!(understood(delete), Command::Delete { mailbox: name });
    }

    #[test]
    fn a_server_that_says_it_is_understood_by_a_client_that_hears_it(
        name in "[^\r\n\0\u{FFFD}]{1,30}",
        header in proptest::collection::vec(any::<u8>(), 0..200),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        subject in proptest::collection::vec(1u8..=255, 0..40),
    ) {
        let name = if name.eq_ignore_ascii_case("inbox") { "INBOX".to_owned() } else { name };
        let mut writer = ResponseWriter::new();
        writer.list(ListKind::List, &["\\Sent"], Some('/'), &name, &[]);
        writer.fetch_begin(3);
        writer.fetch_uid(9);
        writer.fetch_envelope(&Envelope { subject: Some(subject), ..Envelope::default() });
        writer.fetch_section(&Section::fields(["SUBJECT", "DATE"]), Some(&header));
        writer.fetch_section(&Section::message(), Some(&body));
        writer.fetch_flags(&[Flag::Seen]);
        writer.fetch_end();
        writer.ok("t", "done");
        let told = tell(&[writer.as_bytes()]);
        let [Told::Untagged(Untagged::List(listed)), Told::Begin(3, size), rest @ .., Told::Tagged(..)] = told.as_slice() else {
            panic!("{told:?}");
        };
        prop_assert_eq!(&listed.name, &name);
        prop_assert_eq!(*size, body.len() as u64);
        let data: Vec<u8> =
            rest.iter().filter_map(|t| if let Told::Data(d) = t { Some(d.clone()) } else { None }).flatten().collect();
        prop_assert_eq!(data, body);
        let Some(Told::Untagged(Untagged::Fetch(fetch))) = rest.last() else { panic!("{rest:?}") };
        prop_assert_eq!(fetch.section("BODY[HEADER"), Some(header.as_slice()));
        prop_assert_eq!((fetch.uid, fetch.flags.clone()), (Some(9), Some(vec![Flag::Seen])));
    }
}
