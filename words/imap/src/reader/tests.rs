use super::*;
use crate::*;
use proptest::prelude::*;

/// An event that owns what it tells; neighbouring pieces of a message are one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Continue,
    Command(Tagged),
    Begin(AppendBegin),
    Data(Vec<u8>),
    End,
    Done(String),
    Line(Vec<u8>),
    Fault(Fault),
}

/// Feeds `pieces` one by one. A client that waits for `+ ` is played by feeding on.
fn tell(reader: &mut CommandReader, pieces: &[&[u8]], refuse: bool) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(event) = reader.next(&mut input) {
            assert!(reader.buffer.len() <= reader.limits.command + 1, "the buffer is bounded");
            let event = match event {
                Event::Continue => Told::Continue,
                Event::Command(command) => {
                    if matches!(command.command, Command::Idle | Command::Authenticate { initial: None, .. })
                    {
                        reader.expect_line();
                    }
                    Told::Command(command)
                }
                Event::AppendBegin(begin) => {
                    if refuse {
                        reader.refuse_append();
                    }
                    Told::Begin(begin)
                }
                Event::AppendData(data) => {
                    if let Some(Told::Data(before)) = told.last_mut() {
                        before.extend_from_slice(data);
                        continue;
                    }
                    Told::Data(data.to_vec())
                }
                Event::AppendEnd => Told::End,
                Event::AppendDone { tag } => Told::Done(tag),
                Event::Line(line) => Told::Line(line),
                Event::Fault(fault) => Told::Fault(fault),
            };
            told.push(event);
        }
        assert!(input.is_empty(), "all input is taken");
    }
    told
}

fn all(input: &[u8]) -> Vec<Told> {
    tell(&mut CommandReader::new(Limits::default()), &[input], false)
}

/// The one command that a line without tag and CRLF is.
fn one(line: &str) -> Command {
    let told = all(format!("a1 {line}\r\n").as_bytes());
    match told.into_iter().find(|t| *t != Told::Continue) {
        Some(Told::Command(Tagged { tag, command })) if tag == "a1" => command,
        other => panic!("{line}: {other:?}"),
    }
}

fn set(text: &str) -> SequenceSet {
    SequenceSet::parse(text.as_bytes()).unwrap()
}

fn debug(command: &Command) -> String {
    format!("{command:?}")
}

/// Command lines that must be understood, and a part of what they must be understood as (in `Debug` form).
const GOOD: &[(&str, &str)] = &[
    ("CAPABILITY", "Capability"),
    ("noop", "Noop"),
    ("LOGOUT", "Logout"),
    ("STARTTLS", "StartTls"),
    ("CHECK", "Check"),
    ("CLOSE", "Close"),
    ("UNSELECT", "Unselect"),
    ("IDLE", "Idle"),
    ("NAMESPACE", "Namespace"),
    ("LOGIN smith sesame", "user: \"smith\""),
    ("LOGIN \"smith@example.org\" \"a \\\"b\\\" \\\\c\"", "smith@example.org"),
    ("LOGIN {5}\r\nsmith {6+}\r\nsesame", "user: \"smith\""),
    ("LOGIN smith {0}\r\n", "user: \"smith\""),
    ("LOGIN smith pass]word", "user: \"smith\""),
    ("AUTHENTICATE PLAIN", "mechanism: \"PLAIN\", initial: None"),
    ("AUTHENTICATE plain AHQAcA==", "mechanism: \"PLAIN\", initial: Some"),
    ("AUTHENTICATE EXTERNAL =", "initial: Some"),
    ("AUTHENTICATE XOAUTH2 dXNlcj0BAQ==", "XOAUTH2"),
    ("ID NIL", "Id([])"),
    ("ID ()", "Id([])"),
    ("ID (\"name\" \"mutt\" \"version\" NIL)", "(\"version\", None)"),
    ("ENABLE CONDSTORE", "[\"CONDSTORE\"]"),
    ("ENABLE qresync UTF8=ACCEPT", "[\"QRESYNC\", \"UTF8=ACCEPT\"]"),
    ("SELECT INBOX", "mailbox: \"INBOX\", read_only: false"),
    ("SELECT inbox", "mailbox: \"INBOX\""),
    ("SELECT \"a b\"", "mailbox: \"a b\""),
    ("SELECT {3}\r\na\"b", "mailbox: \"a\\\"b\""),
    ("SELECT ~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
    ("SELECT \"Entwürfe\"", "Entwürfe"),
    ("EXAMINE blurdybloop", "read_only: true"),
    ("SELECT INBOX (CONDSTORE)", "condstore: true"),
    ("SELECT INBOX (QRESYNC (67890007 20050715194045000))", "modseq: 20050715194045000"),
    ("SELECT INBOX (QRESYNC (67890007 20050715194045000 41,43:211,214:541))", "known: Some"),
    ("SELECT INBOX (QRESYNC (67890007 90060115194045000 41:211,214:541 (1,3:4 41,43:44)))", "matching: Some"),
    ("SELECT INBOX (QRESYNC (1 2 (1,3 4,5)) CONDSTORE)", "known: None, matching: Some"),
    ("CREATE owatagusiam/", "owatagusiam/"),
    ("CREATE Everything (USE (\\All))", "[\"\\\\All\"]"),
    ("CREATE MySpecial (USE (\\Drafts \\Sent))", "\\\\Drafts"),
    ("DELETE foo.bar", "Delete { mailbox: \"foo.bar\" }"),
    ("RENAME blurdybloop sarasoop", "from: \"blurdybloop\", to: \"sarasoop\""),
    ("SUBSCRIBE #news.comp.mail.mime", "#news.comp.mail.mime"),
    ("UNSUBSCRIBE #news.comp.mail.mime", "Unsubscribe"),
    ("LIST \"\" \"\"", "patterns: [\"\"]"),
    ("LIST \"\" *", "patterns: [\"*\"], returns: None"),
    ("LIST \"\" %", "patterns: [\"%\"]"),
    ("LIST /usr/staff/jones \"\"", "reference: \"/usr/staff/jones\""),
    ("LIST ~/Mail/ \"%\"", "reference: \"~/Mail/\""),
    ("LIST \"\" (\"INBOX\" \"Drafts\" \"Sent/%\")", "patterns: [\"INBOX\", \"Drafts\", \"Sent/%\"]"),
    ("LIST (SUBSCRIBED) \"\" *", "subscribed: true"),
    ("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %", "recursive_match: true"),
    ("LIST () \"\" % RETURN (CHILDREN)", "children: true"),
    ("LIST (REMOTE) \"\" \"%\" RETURN (CHILDREN SUBSCRIBED)", "remote: true"),
    ("LIST (SPECIAL-USE) \"\" \"*\"", "special_use: true"),
    ("LIST \"\" \"%\" RETURN (SPECIAL-USE)", "special_use: true"),
    ("LIST \"\" \"*\" RETURN ()", "returns: Some"),
    ("LIST \"\" % RETURN (STATUS (MESSAGES UNSEEN) CHILDREN)", "status: Some([Messages, Unseen])"),
    ("LIST \"\" R&*", "R&*"),
    ("LIST \"\" Entw&APw-r%", "Entwür%"),
    ("LSUB \"\" \"*\"", "Lsub"),
    ("LSUB \"#news.\" \"comp.mail.*\"", "#news."),
    ("STATUS blurdybloop (UIDNEXT MESSAGES)", "[UidNext, Messages]"),
    (
        "STATUS INBOX (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ MAILBOXID)",
        "MailboxId",
    ),
    ("STATUS INBOX (SIZE SIZE)", "[Size]"),
    ("EXPUNGE", "uids: None"),
    ("UID EXPUNGE 3000:3002", "uids: Some"),
    ("SEARCH ALL", "key: All"),
    (
        "SEARCH FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"",
        "Arrived(Since, Date { year: 1994, month: 2, day: 1 })",
    ),
    ("SEARCH TEXT \"string not in mailbox\"", "Text(\"string not in mailbox\")"),
    ("SEARCH CHARSET UTF-8 TEXT {6}\r\nпри", "Text(\"при\")"),
    ("SEARCH CHARSET us-ascii SUBJECT x", "name: \"SUBJECT\", text: \"x\""),
    ("SEARCH UNSEEN", "Not(Has(Seen))"),
    ("SEARCH NEW", "And([Has(Recent), Not(Has(Seen))])"),
    ("SEARCH OLD", "Not(Has(Recent))"),
    ("SEARCH ANSWERED DELETED DRAFT FLAGGED RECENT SEEN", "Has(Answered), Has(Deleted)"),
    ("SEARCH UNANSWERED UNDELETED UNDRAFT UNFLAGGED", "Not(Has(Flagged))"),
    ("SEARCH KEYWORD $Forwarded UNKEYWORD Junk", "Has(Keyword(\"$Forwarded\"))"),
    ("SEARCH OR FROM a TO b", "Or(Header"),
    ("SEARCH OR (SEEN FLAGGED) NOT (1:3 DRAFT)", "Or(And"),
    ("SEARCH CC a BCC b BODY c", "Body(\"c\")"),
    ("SEARCH HEADER Message-ID <a@b>", "name: \"Message-ID\", text: \"<a@b>\""),
    ("SEARCH HEADER X-Any \"\"", "text: \"\""),
    ("SEARCH BEFORE 1-Jan-2026 ON \"02-Jan-2026\" SENTBEFORE 3-Jan-2026", "Sent(Before"),
    ("SEARCH SENTON 3-Jan-2026 SENTSINCE 4-Jan-2026", "Sent(On"),
    ("SEARCH LARGER 1000 SMALLER 5000000000", "Smaller(5000000000)"),
    ("SEARCH OLDER 3600 YOUNGER 60", "Older(3600), Younger(60)"),
    ("SEARCH 1,3:5,*", "Sequence"),
    ("SEARCH * UNSEEN", "Sequence"),
    ("UID SEARCH UID 1:* UNDELETED", "uid: true"),
    ("SEARCH MODSEQ 620162338", "ModSeq(620162338)"),
    ("SEARCH MODSEQ \"/flags/\\\\draft\" all 620162338", "ModSeq(620162338)"),
    ("SEARCH RETURN (MIN COUNT) FLAGGED", "min: true, max: false, all: false, count: true"),
    ("SEARCH RETURN () FLAGGED", "all: true"),
    ("UID SEARCH RETURN (ALL MAX) CHARSET UTF-8 1:10", "max: true, all: true"),
    ("SEARCH EMAILID M6d99ac3275bb4e THREADID T64b478a75b7ea9", "EmailId"),
    ("FETCH 2:4 (FLAGS BODY[HEADER.FIELDS (DATE FROM)])", "names: [\"DATE\", \"FROM\"], not: false"),
    ("FETCH 1 ALL", "items: [Flags, InternalDate, Size, Envelope]"),
    ("FETCH 1 FAST", "items: [Flags, InternalDate, Size]"),
    ("FETCH 1 full", "Envelope, Body]"),
    ("FETCH 1:* FLAGS", "items: [Flags]"),
    ("UID FETCH 1:* (FLAGS)", "items: [Uid, Flags]"),
    ("UID FETCH 4,7 UID", "items: [Uid]"),
    ("FETCH 1 BODY", "items: [Body]"),
    ("FETCH 1 BODYSTRUCTURE", "items: [BodyStructure]"),
    ("FETCH 1 BODY[]", "peek: false, part: [], text: Whole, partial: None"),
    ("FETCH 1 BODY.PEEK[]<0.1024>", "peek: true, part: [], text: Whole, partial: Some((0, 1024))"),
    ("FETCH 1 BODY[TEXT]", "text: Text"),
    ("FETCH 1 BODY[HEADER]", "text: Header"),
    ("FETCH 1 BODY[1]", "part: [1], text: Whole"),
    ("FETCH 1 BODY[1.2.3]", "part: [1, 2, 3]"),
    ("FETCH 1 BODY[4.1.MIME]", "part: [4, 1], text: Mime"),
    ("FETCH 1 BODY[4.2.HEADER]", "part: [4, 2], text: Header"),
    ("FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (Received)]<10.20>", "not: true }, partial: Some((10, 20))"),
    ("FETCH 1 BODY[3.HEADER.FIELDS (\"SUBJECT\")]", "names: [\"SUBJECT\"]"),
    ("FETCH 1 (RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE)", "Rfc822Header"),
    ("FETCH 1 (BINARY[1] BINARY.PEEK[2]<0.5> BINARY.SIZE[1.2])", "BinarySize([1, 2])"),
    ("FETCH 1 BINARY[]", "name: Binary"),
    ("FETCH 1 (MODSEQ EMAILID THREADID)", "[ModSeq, EmailId, ThreadId]"),
    ("FETCH 1 (FLAGS FLAGS FLAGS)", "items: [Flags]"),
    ("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345)", "items: [Uid, Flags, ModSeq], changed_since: Some(12345)"),
    ("UID FETCH 300:500 (FLAGS) (CHANGEDSINCE 12345 VANISHED)", "vanished: true"),
    ("STORE 2:4 +FLAGS (\\Deleted)", "how: Add, silent: false, flags: [Deleted]"),
    ("STORE 1 -FLAGS.SILENT \\Seen $Junk", "how: Remove, silent: true"),
    ("UID STORE 1 FLAGS ()", "how: Set, silent: false, flags: []"),
    ("STORE * FLAGS.SILENT (\\Answered \\Flagged \\Draft NonJunk)", "Keyword(\"NonJunk\")"),
    (
        "UID STORE 6,4,8 (UNCHANGEDSINCE 12121230045) +FLAGS.SILENT (\\Deleted)",
        "unchanged_since: Some(12121230045)",
    ),
    ("COPY 2:4 MEETING", "Copy { uid: false"),
    ("UID COPY 1:* {5}\r\nTrash", "mailbox: \"Trash\""),
    ("MOVE 1 \"Deleted Items\"", "Move { uid: false"),
    ("UID MOVE 42:69 foo", "Move { uid: true"),
    ("SORT (SUBJECT) UTF-8 SINCE 1-Feb-1994", "by: [SortBy { reverse: false, what: Subject }]"),
    ("SORT (REVERSE DATE FROM reverse size) us-ascii ALL", "SortBy { reverse: true, what: Size }"),
    ("UID SORT (ARRIVAL CC TO REVERSE ARRIVAL) UTF-8 TEXT x UNSEEN", "what: To }], key: And"),
    ("THREAD ORDEREDSUBJECT UTF-8 SINCE 5-MAR-2000", "how: OrderedSubject"),
    ("UID THREAD references UTF-8 TEXT {4}\r\ngewp", "how: References"),
    ("STATUS INBOX (DELETED DELETED-STORAGE)", "[Deleted, DeletedStorage]"),
    ("GETQUOTA \"\"", "root: \"\""),
    ("GETQUOTAROOT INBOX", "GetQuotaRoot"),
];

#[test]
fn every_form_of_every_command_is_understood() {
    assert!(GOOD.len() >= 100);
    for (line, part) in GOOD {
        let told = debug(&one(line));
        assert!(told.contains(part), "{line}\n  is {told}\n  without {part}");
    }
}

/// Lines that are no command.
const BAD: &[&str] = &[
    "",
    "FOO",
    "UID",
    "UID NOOP",
    "UID LOGIN a b",
    "NOOP x",
    "LOGIN a",
    "LOGIN a b c",
    "LOGIN \"a b",
    "LOGIN \"a\\b\" c",
    "AUTHENTICATE",
    "AUTHENTICATE PLAIN !",
    "ID (\"a\")",
    "SELECT",
    "SELECT a b",
    "SELECT INBOX (FOO)",
    "SELECT INBOX (QRESYNC (0 1))",
    "CREATE x (FOO)",
    "LIST",
    "LIST \"\"",
    "LIST (FOO) \"\" *",
    "LIST (RECURSIVEMATCH) \"\" *",
    "LIST \"\" * RETURN",
    "LIST \"\" ()",
    "STATUS INBOX ()",
    "STATUS INBOX (FOO)",
    "APPEND INBOX",
    "APPEND INBOX \"text\"",
    "EXPUNGE 1",
    "UID EXPUNGE",
    "SEARCH",
    "SEARCH FOO",
    "SEARCH ()",
    "SEARCH (ALL",
    "SEARCH OR ALL",
    "SEARCH NOT",
    "SEARCH ALL ",
    "SEARCH SINCE 31-Feb-2026",
    "SEARCH RETURN (FOO) ALL",
    "SEARCH HEADER a:b c",
    "SEARCH KEYWORD \\Seen",
    "SORT (DATE) UTF-8",
    "SORT () UTF-8 ALL",
    "SORT (FOO) UTF-8 ALL",
    "SORT (REVERSE) UTF-8 ALL",
    "SORT DATE UTF-8 ALL",
    "SORT (DATE)UTF-8 ALL",
    "THREAD REFERENCES UTF-8",
    "THREAD JWZ UTF-8 ALL",
    "THREAD (REFERENCES) UTF-8 ALL",
    "FETCH 1",
    "FETCH 0 FLAGS",
    "FETCH 1 ()",
    "FETCH 1 FOO",
    "FETCH 1 BODY[1.]",
    "FETCH 1 BODY[0]",
    "FETCH 1 BODY[MIME]",
    "FETCH 1 BODY[]<1>",
    "FETCH 1 BODY[]<1.0>",
    "FETCH 1 BINARY[TEXT]",
    "FETCH 1 BODY[HEADER.FIELDS ()]",
    "FETCH 1:* FLAGS (VANISHED)",
    "STORE 1 FLAGS",
    "STORE 1 FOO (\\Seen)",
    "STORE 1 +FLAGS (\\Recent)",
    "STORE 1 +FLAGS (\\Foo)",
    "COPY 1",
    "MOVE INBOX",
    "XYZZY",
];

#[test]
fn what_is_no_command_is_bad_with_its_tag() {
    for line in BAD {
        match all(format!("t9 {line}\r\n").as_bytes()).as_slice() {
            [Told::Fault(Fault { tag: Some(tag), status: Status::Bad, .. })] if tag == "t9" => {}
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn a_line_without_a_tag_is_bad_without_a_tag() {
    for line in ["* OK\r\n", " NOOP\r\n", "+ NOOP\r\n", "a(b NOOP\r\n", "\"x\" NOOP\r\n", "\u{e9} NOOP\r\n"] {
        assert!(
            matches!(all(line.as_bytes()).as_slice(), [Told::Fault(Fault { tag: None, .. })]),
            "{line:?}"
        );
    }
    let long = format!("{} NOOP\r\n", "t".repeat(500));
    assert!(matches!(all(long.as_bytes()).as_slice(), [Told::Fault(Fault { tag: None, .. })]));
    assert_eq!(all(b"\r\n\r\n"), []);
}

#[test]
fn names_and_character_sets_that_cannot_be_are_no() {
    for (line, code) in [
        ("SELECT R&D", Code::Cannot),
        ("SEARCH CHARSET KOI8-R TEXT x", Code::BadCharset),
        ("SORT (DATE) KOI8-R TEXT x", Code::BadCharset),
        ("THREAD REFERENCES KOI8-R TEXT x", Code::BadCharset),
    ] {
        match all(format!("a {line}\r\n").as_bytes()).as_slice() {
            [Told::Fault(fault)] => assert_eq!((fault.status, fault.code.clone()), (Status::No, Some(code))),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn a_search_nested_deeper_than_anyone_needs_is_refused() {
    for line in [
        format!("a SEARCH {}ALL{}\r\n", "(".repeat(4_000), ")".repeat(4_000)),
        format!("a SEARCH {}ALL\r\n", "NOT ".repeat(15_000)),
        format!("a SEARCH {}ALL\r\n", "OR ALL ".repeat(9_000)),
    ] {
        assert!(matches!(
            all(line.as_bytes()).as_slice(),
            [Told::Fault(Fault { status: Status::Bad, tag: Some(_), .. })]
        ));
    }
}

fn begin(mailbox: &str, size: u64) -> AppendBegin {
    AppendBegin {
        tag: "a".into(),
        mailbox: mailbox.into(),
        flags: vec![],
        date: None,
        size,
        sync: true,
        binary: false,
        utf8: false,
        first: true,
    }
}

#[test]
fn an_append_passes_its_message_through() {
    let told =
        all(b"a APPEND saved (\\Seen $x) \"17-Jul-1996 02:44:25 -0700\" {6}\r\na\r\nb\r\n\r\nb NOOP\r\n");
    let begin = AppendBegin {
        flags: vec![Flag::Keyword("$x".into()), Flag::Seen],
        date: parse_date_time("17-Jul-1996 02:44:25 -0700"),
        ..begin("saved", 6)
    };
    assert_eq!(
        told[..4],
        [Told::Begin(begin), Told::Data(b"a\r\nb\r\n".to_vec()), Told::End, Told::Done("a".into())]
    );
    assert!(matches!(&told[4], Told::Command(Tagged { command: Command::Noop, .. })));
}

#[test]
fn an_append_takes_a_mailbox_by_literal_and_many_messages() {
    let told = all(
        b"a APPEND {7}\r\nEntwurf {2+}\r\nxy (\\Draft) {1+}\r\nz \" 1-Feb-2026 00:00:00 +0000\" ~{1+}\r\n\0\r\n",
    );
    let [Told::Continue, Told::Begin(one), _, Told::End, Told::Begin(two), _, Told::End, rest @ ..] =
        told.as_slice()
    else {
        panic!("{told:?}");
    };
    assert_eq!((one.mailbox.as_str(), one.size, one.sync, one.first), ("Entwurf", 2, false, true));
    assert_eq!((two.flags.clone(), two.first), (vec![Flag::Draft], false));
    let [Told::Begin(three), Told::Data(data), Told::End, Told::Done(_)] = rest else { panic!("{rest:?}") };
    assert!(three.binary && three.date.is_some() && three.flags.is_empty() && data == b"\0");
}

#[test]
fn a_utf8_append_ends_with_its_parenthesis() {
    let told = all(b"a APPEND INBOX (\\Seen) UTF8 (~{3+}\r\nabc)\r\nb NOOP\r\n");
    let [Told::Begin(begin), Told::Data(_), Told::End, Told::Done(_), Told::Command(_)] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    assert!(begin.utf8 && begin.binary);
    assert!(matches!(
        all(b"a APPEND INBOX UTF8 (~{3+}\r\nabc\r\nb NOOP\r\n").as_slice(),
        [Told::Begin(_), Told::Data(_), Told::End, Told::Fault(_), Told::Command(_)]
    ));
}

#[test]
fn a_refused_append_never_becomes_commands() {
    let refuse = |input: &[u8]| tell(&mut CommandReader::new(Limits::default()), &[input], true);
    // Synchronising: the client sends nothing more of it.
    let told = refuse(b"a APPEND INBOX {10}\r\nb NOOP\r\n");
    assert!(matches!(told.as_slice(), [Told::Begin(_), Told::Command(Tagged { tag, .. })] if tag == "b"));
    // Not synchronising: the message, and the messages after it, are stepped over.
    let told = refuse(b"a APPEND INBOX {8+}\r\nx DELETE () {9+}\r\ny LOGOUT\n\r\nb NOOP\r\n");
    assert!(matches!(told.as_slice(), [Told::Begin(_), Told::Command(Tagged { tag, .. })] if tag == "b"));
    let told = refuse(b"a APPEND INBOX {0+}\r\n\r\nb NOOP\r\n");
    assert!(matches!(told.as_slice(), [Told::Begin(_), Told::Command(Tagged { tag, .. })] if tag == "b"));
}

const SMALL: Limits = Limits { command: 100, message: 50, skip: 1_000 };

fn small(input: &[u8]) -> Vec<Told> {
    tell(&mut CommandReader::new(SMALL), &[input], false)
}

#[test]
fn what_is_over_a_limit_is_refused_and_stepped_over() {
    let too_big = |told: &[Told]| match told {
        [Told::Fault(fault), Told::Command(next)] => {
            assert_eq!(
                (fault.tag.as_deref(), &fault.code, next.tag.as_str()),
                (Some("a"), &Some(Code::TooBig), "b")
            );
        }
        other => panic!("{other:?}"),
    };
    too_big(&small(format!("a NOOP {}\r\nb NOOP\r\n", "x".repeat(5_000)).as_bytes()));
    too_big(&small(b"a LOGIN {200}\r\nb NOOP\r\n"));
    too_big(&small(format!("a LOGIN {{200+}}\r\n{}\r\nb NOOP\r\n", "c NOOP\r\n".repeat(25)).as_bytes()));
    too_big(&small(
        format!("a LOGIN {{60+}}\r\n{} {{60+}}\r\n{}\r\nb NOOP\r\n", "x".repeat(60), "y\r\n".repeat(20))
            .as_bytes(),
    ));
    too_big(&small(b"a APPEND INBOX {51}\r\nb NOOP\r\n"));
    too_big(&small(
        format!("a APPEND INBOX {{60+}}\r\n{}\r\nb NOOP\r\n", "c DELETE x\r\n".repeat(5)).as_bytes(),
    ));
    // A literal announced at the end of a line that was too long.
    too_big(&small(format!("a SEARCH {} {{8+}}\r\nc NOOP\r\n\r\nb NOOP\r\n", "ALL ".repeat(90)).as_bytes()));
    // A synchronising one there is not sent after the BAD.
    too_big(&small(format!("a SEARCH {} {{8}}\r\nb NOOP\r\n", "ALL ".repeat(90)).as_bytes()));
}

#[test]
fn more_than_will_be_read_ends_the_connection() {
    for announced in ["a LOGIN {5000+}", "a APPEND INBOX {5000+}", "a LOGIN {99999999999999999999999+}"] {
        let told = small(format!("{announced}\r\nb NOOP\r\nc NOOP\r\n").as_bytes());
        assert!(
            matches!(told.as_slice(), [Told::Fault(fault)] if fault.closes() && fault.code == Some(Code::TooBig)),
            "{announced} {told:?}"
        );
    }
    let told = small(b"a LOGIN {99999999999999999999999}\r\nb NOOP\r\n");
    assert!(matches!(told.as_slice(), [Told::Fault(fault), Told::Command(_)] if !fault.closes()));
}

#[test]
fn a_bare_line_feed_ends_no_line() {
    let told = all(b"a SEARCH SUBJECT \"x\nb DELETE INBOX\r\nc NOOP\r\n");
    let [Told::Fault(fault), Told::Command(next)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((fault.tag.as_deref(), fault.status, next.tag.as_str()), (Some("a"), Status::Bad, "c"));
    // A literal at the end of the dropped line is dropped as well.
    let told = all(b"a X\n {10+}\r\nb LOGOUT\r\n\r\nc NOOP\r\n");
    assert!(
        matches!(told.as_slice(), [Told::Fault(_), Told::Command(Tagged { tag, .. })] if tag == "c"),
        "{told:?}"
    );
    for wrong in [&b"a NO\rOP\r\n"[..], b"a NO\0OP\r\n", b"a LOGIN \rx {9+}\r\nd LOGOUT\r\r\n"] {
        assert!(matches!(all(wrong).as_slice(), [Told::Fault(Fault { tag: Some(_), .. })]), "{wrong:?}");
    }
}

#[test]
fn a_fault_after_a_message_voids_its_append() {
    let told = all(b"a APPEND INBOX {1+}\r\nx garbage\r\nb NOOP\r\n");
    let [Told::Begin(_), Told::Data(_), Told::End, Told::Fault(fault), Told::Command(_)] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    assert_eq!(fault.tag.as_deref(), Some("a"));
    let told = all(b"a APPEND INBOX {1+}\r\nx (\\Bad] {3+}\r\nabc\r\nb NOOP\r\n");
    assert!(matches!(told.as_slice(), [.., Told::End, Told::Fault(_), Told::Command(_)]), "{told:?}");
    let told = all(b"a APPEND INBOX (\\Bad] {3+}\r\nabc\r\nb NOOP\r\n");
    assert!(matches!(told.as_slice(), [Told::Fault(_), Told::Command(_)]), "{told:?}");
}

#[test]
fn a_line_that_is_no_command_is_given_as_it_is() {
    let told = all(b"a AUTHENTICATE PLAIN\r\nAHQAcA==\r\nb IDLE\r\nDONE\r\nc NOOP\r\n");
    assert_eq!(told[1], Told::Line(b"AHQAcA==".to_vec()));
    assert_eq!(told[3], Told::Line(b"DONE".to_vec()));
    assert!(matches!(&told[4], Told::Command(Tagged { tag, .. }) if tag == "c"));
    // It is not a command in disguise, and over the limit it has no tag.
    let told = small(format!("a AUTHENTICATE PLAIN\r\n{}\r\nc NOOP\r\n", "A".repeat(300)).as_bytes());
    assert!(
        matches!(told.as_slice(), [_, Told::Fault(Fault { tag: None, .. }), Told::Command(_)]),
        "{told:?}"
    );
}

#[test]
fn a_name_in_utf8_is_taken_as_it_is_once_enabled() {
    let mut reader = CommandReader::new(Limits::default());
    reader.set_utf8(true);
    let told = tell(&mut reader, &["a SELECT \"R&D &- ü\"\r\n".as_bytes()], false);
    let [Told::Command(Tagged { command: Command::Select(select), .. })] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(select.mailbox, "R&D &- ü");
}

#[test]
fn a_password_is_not_in_any_debug_line() {
    for line in ["LOGIN smith sesame", "AUTHENTICATE PLAIN AHNtaXRoAHNlc2FtZQ=="] {
        assert!(!debug(&one(line)).contains("sesame"));
    }
    assert_eq!(
        one("LOGIN smith \"a \\\"b\\\\\""),
        Command::Login { user: "smith".into(), password: Secret(b"a \"b\\".to_vec()) }
    );
}

#[test]
fn labels_repeat_what_was_asked() {
    for (asked, label) in [
        ("BODY[]", "BODY[]"),
        ("BODY.PEEK[]<5.10>", "BODY[]<5>"),
        ("BODY.PEEK[1.2.MIME]", "BODY[1.2.MIME]"),
        ("BODY[HEADER.FIELDS.NOT (A \"B(\")]", "BODY[HEADER.FIELDS.NOT (A \"B(\")]"),
        ("BINARY.PEEK[2]<0.5>", "BINARY[2]<0>"),
        ("RFC822", "RFC822"),
        ("RFC822.HEADER", "RFC822.HEADER"),
        ("RFC822.TEXT", "RFC822.TEXT"),
    ] {
        let Command::Fetch(fetch) = one(&format!("FETCH 1 {asked}")) else { panic!("{asked}") };
        let [FetchItem::Section(section)] = fetch.items.as_slice() else { panic!("{asked}") };
        assert_eq!(section.to_string(), label);
        assert_eq!(section.request(), asked);
        assert_eq!(section.sets_seen(), !asked.contains("PEEK") && asked != "RFC822.HEADER");
    }
    assert_eq!(one("FETCH 2:4 FLAGS"), {
        let items = vec![FetchItem::Flags];
        Command::Fetch(Fetch { uid: false, set: set("2:4"), items, changed_since: None, vanished: false })
    });
}

/// Lines from the table, appends, garbage, in one stream.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        6 => (0..GOOD.len()).prop_map(|at| format!("a{at} {}\r\n", GOOD[at].0).into_bytes()),
        1 => Just(b"p APPEND INBOX (\\Seen) {5+}\r\nhello {3}\r\nabc\r\n".to_vec()),
        1 => Just(b"q APPEND INBOX (\\Seen {5+}\r\nhello {3+}\r\nabc\r\n".to_vec()),
        1 => Just(b"r LOGIN {120+}\r\n".iter().copied().chain([b'x'; 120]).chain(*b"\r\n").collect()),
        1 => Just(b"s NOOP\nt NOOP {3+}\r\nabc\r\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        2 => "[a-z ]{0,3}(APPEND|LOGIN|FETCH|SEARCH)?[ (){}+~\"*%\\\\0-9a-z\r\n]{0,30}\r\n"
            .prop_map(String::into_bytes),
    ];
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_the_same_events(
        input in stream(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        command in 40usize..400,
        refuse: bool,
    ) {
        let limits = Limits { command, message: 50, skip: 300 };
        let whole = tell(&mut CommandReader::new(limits), &[&input], refuse);
        let mut at: Vec<usize> = cuts.iter().map(|i| i.index(input.len() + 1)).collect();
        at.extend([0, input.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|w| &input[w[0]..w[1]]).collect();
        prop_assert_eq!(&whole, &tell(&mut CommandReader::new(limits), &pieces, refuse));
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&whole, &tell(&mut CommandReader::new(limits), &bytes, refuse));
    }

    #[test]
    fn arbitrary_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        tell(&mut CommandReader::new(SMALL), &[&input], false);
    }

    #[test]
    fn what_is_quoted_comes_back(name in "[ -~&&[^&]]{1,40}") {
        prop_assume!(!name.eq_ignore_ascii_case("inbox"));
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        prop_assert_eq!(one(&format!("DELETE \"{quoted}\"")), Command::Delete { mailbox: name.clone() });
        prop_assert_eq!(one(&format!("DELETE {{{}+}}\r\n{name}", name.len())), Command::Delete { mailbox: name });
    }
}
