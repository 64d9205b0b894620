use super::*;
use crate::*;

fn written(act: impl FnOnce(&mut ResponseWriter)) -> String {
    let mut writer = ResponseWriter::new();
    act(&mut writer);
    String::from_utf8(writer.take()).unwrap()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

#[test]
fn status_lines_are_one_line_whatever_the_text() {
    assert_eq!(written(|w| w.ok("a", "done")), "a OK done\r\n");
    assert_eq!(
        written(|w| w.no("a", Some(&Code::TryCreate), "no such mailbox")),
        "a NO [TRYCREATE] no such mailbox\r\n"
    );
    assert_eq!(written(|w| w.bad("a", "x\r\nb OK y")), "a BAD x??b OK y\r\n");
    assert_eq!(written(|w| w.ok("a", "")), "a OK -\r\n");
    assert_eq!(written(|w| w.no("a", Some(&Code::Other("X] a\r\n".into())), "é")), "a NO [X? a??] ?\r\n");
    assert_eq!(written(|w| w.continuation("")), "+ \r\n");
    let fault = Fault { tag: None, status: Status::Bad, code: None, text: "no tag" };
    assert_eq!(written(|w| w.fault(&fault)), "* BAD no tag\r\n");
}

#[test]
fn codes_are_read_as_they_are_written() {
    let set = |text: &str| SequenceSet::parse(text.as_bytes()).unwrap();
    for (code, text) in [
        (Code::UidValidity(3_857_529_045), "UIDVALIDITY 3857529045"),
        (Code::UidNext(4_392), "UIDNEXT 4392"),
        (Code::Unseen(12), "UNSEEN 12"),
        (Code::HighestModSeq(715_194_045_007), "HIGHESTMODSEQ 715194045007"),
        (Code::AppendUid { validity: 38_505, uids: set("3955") }, "APPENDUID 38505 3955"),
        (
            Code::CopyUid { validity: 38_505, source: set("304,319:320"), target: set("3956:3958") },
            "COPYUID 38505 304,319:320 3956:3958",
        ),
        (
            Code::PermanentFlags { flags: vec![Flag::Deleted, Flag::Seen], any: true },
            "PERMANENTFLAGS (\\Deleted \\Seen \\*)",
        ),
        (Code::PermanentFlags { flags: vec![], any: false }, "PERMANENTFLAGS ()"),
        (Code::Modified(set("7,9")), "MODIFIED 7,9"),
        (Code::MailboxId("F1".into()), "MAILBOXID (F1)"),
        (Code::Capability(vec!["IMAP4rev1".into(), "IDLE".into()]), "CAPABILITY IMAP4rev1 IDLE"),
        (Code::Other("X-FOO bar".into()), "X-FOO bar"),
        (Code::Unavailable, "UNAVAILABLE"),
        (Code::ReadWrite, "READ-WRITE"),
    ] {
        assert_eq!(code.to_string(), text);
        assert_eq!(Code::read(text), code);
    }
    assert_eq!(Code::read("uidnext x"), Code::Other("uidnext x".into()));
    assert_eq!(Code::read("BADCHARSET (KOI8-R)"), Code::BadCharset);
    assert_eq!(Code::read("APPENDUID"), Code::Other("APPENDUID".into()));
}

#[test]
fn mailboxes_are_listed_in_modified_utf7() {
    assert_eq!(
        written(|w| w.list(ListKind::List, &["\\HasNoChildren", "\\Drafts"], Some('/'), "Entwürfe", &[])),
        "* LIST (\\HasNoChildren \\Drafts) \"/\" \"Entw&APw-rfe\"\r\n"
    );
    assert_eq!(
        written(|w| w.list(ListKind::Lsub, &[], None, "a\"b\\c", &[])),
        "* LSUB () NIL \"a\\\"b\\\\c\"\r\n"
    );
    assert_eq!(
        written(|w| w.list(ListKind::List, &[], Some('\\'), "a", &["SUBSCRIBED"])),
        "* LIST () \"\\\\\" \"a\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n"
    );
    assert_eq!(
        written(|w| {
            w.set_utf8(true);
            w.list(ListKind::List, &[], Some('.'), "R&D ü", &[]);
        }),
        "* LIST () \".\" \"R&D ü\"\r\n"
    );
    assert_eq!(
        written(|w| w.status("x", &[(StatusItem::Messages, 231), (StatusItem::UidNext, 44_292)], Some("F2"))),
        "* STATUS \"x\" (MESSAGES 231 UIDNEXT 44292 MAILBOXID (F2))\r\n"
    );
    assert_eq!(written(|w| w.namespace("", '/')), "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
}

#[test]
fn searches_are_answered_plain_and_extended() {
    let found: Ranges = [2, 10, 11].into_iter().collect();
    assert_eq!(written(|w| w.search(found.iter(), None)), "* SEARCH 2 10 11\r\n");
    assert_eq!(written(|w| w.search([], Some(9))), "* SEARCH\r\n");
    assert_eq!(written(|w| w.search([2], Some(917))), "* SEARCH 2 (MODSEQ 917)\r\n");
    let wanted = SearchReturn { min: true, max: true, all: true, count: true };
    assert_eq!(
        written(|w| w.esearch("A282", true, &SearchResult::of(wanted, &found))),
        "* ESEARCH (TAG \"A282\") UID MIN 2 MAX 11 ALL 2,10:11 COUNT 3\r\n"
    );
    assert_eq!(
        written(|w| w.esearch("A", false, &SearchResult::of(wanted, &Ranges::default()))),
        "* ESEARCH (TAG \"A\") COUNT 0\r\n"
    );
    assert_eq!(written(|w| w.vanished(true, &found)), "* VANISHED (EARLIER) 2,10:11\r\n");
    assert_eq!(written(|w| w.vanished(false, &Ranges::default())), "");
}

#[test]
fn orders_conversations_and_quotas_are_told() {
    assert_eq!(written(|w| w.sort([2, 84, 882], None)), "* SORT 2 84 882\r\n");
    assert_eq!(written(|w| w.sort([], Some(3))), "* SORT\r\n");
    assert_eq!(written(|w| w.sort([3, 1], Some(9))), "* SORT 3 1 (MODSEQ 9)\r\n");
    assert_eq!(written(|w| w.thread(&Threads::default())), "* THREAD\r\n");
    let message = |number, references: &[u64]| Threadable {
        number,
        date: i64::from(number),
        id: Some(u64::from(number)),
        references: references.to_vec(),
        ..Threadable::default()
    };
    // The tree of RFC 5256 §4, grown from what would lead to it.
    let messages = [
        message(2, &[]),
        message(3, &[]),
        message(4, &[6]),
        message(6, &[3]),
        message(7, &[44]),
        message(23, &[4]),
        message(44, &[6]),
        message(96, &[7]),
    ];
    assert_eq!(written(|w| w.thread(&by_references(&messages))), "* THREAD (2)(3 6 (4 23)(44 7 96))\r\n");
    assert_eq!(written(|w| w.quota_root("INBOX", &[""])), "* QUOTAROOT \"INBOX\" \"\"\r\n");
    assert_eq!(written(|w| w.quota("", &[("STORAGE", 10, 512)])), "* QUOTA \"\" (STORAGE 10 512)\r\n");
    assert_eq!(written(|w| w.quota("a", &[])), "* QUOTA \"a\" ()\r\n");
}

#[test]
fn a_fetch_can_be_taken_in_pieces_around_a_streamed_body() {
    let mut writer = ResponseWriter::new();
    writer.fetch_begin(12);
    writer.fetch_flags(&[Flag::Seen]);
    writer.fetch_uid(7);
    writer.fetch_modseq(5);
    writer.fetch_size(30_000_000);
    writer.fetch_internal_date(Time::from_seconds(0));
    writer.fetch_literal(&Section::message(), 30_000_000, true);
    assert_eq!(
        writer.take(),
        b"* 12 FETCH (FLAGS (\\Seen) UID 7 MODSEQ (5) RFC822.SIZE 30000000 INTERNALDATE \" 1-Jan-1970 00:00:00 +0000\" BODY[] {30000000}\r\n"
    );
    writer.fetch_section(&Section::fields(["DATE", "FROM"]), Some(b"Date: x\r\n\r\n"));
    writer.fetch_section(&Section { part: vec![9], ..Section::message() }, None);
    writer.fetch_binary_size(&[1, 2], 4);
    writer.fetch_end();
    assert_eq!(
        writer.take(),
        b" BODY[HEADER.FIELDS (DATE FROM)] {11}\r\nDate: x\r\n\r\n BODY[9] NIL BINARY.SIZE[1.2] 4)\r\n"
    );
    let binary = Section { name: SectionName::Binary, part: vec![1], ..Section::message() };
    writer.fetch_begin(1);
    writer.fetch_section(&binary, Some(b"\0"));
    assert_eq!(writer.take(), b"* 1 FETCH (BINARY[1] ~{1}\r\n\0");
}

/// The example of RFC 3501 §7.4.2.
#[test]
fn the_envelope_of_the_rfc() {
    let address = |name: Option<&str>, mailbox: &str, host: &str| EnvelopeAddress {
        name: name.and_then(bytes),
        mailbox: bytes(mailbox),
        host: bytes(host),
    };
    let envelope = Envelope {
        date: bytes("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)"),
        subject: bytes("IMAP4rev1 WG mtg summary and minutes"),
        from: vec![address(Some("Terry Gray"), "gray", "cac.washington.edu")],
        to: vec![address(None, "imap", "cac.washington.edu")],
        cc: vec![
            address(None, "minutes", "CNRI.Reston.VA.US"),
            address(Some("John Klensin"), "KLENSIN", "MIT.EDU"),
        ],
        message_id: bytes("<B27397-0100000@cac.washington.edu>"),
        ..Envelope::default()
    };
    let gray = "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\"))";
    assert_eq!(
        written(|w| {
            w.fetch_begin(1);
            w.fetch_envelope(&envelope);
        }),
        format!(
            "* 1 FETCH (ENVELOPE (\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \
             \"IMAP4rev1 WG mtg summary and minutes\" {gray} {gray} {gray} \
             ((NIL NIL \"imap\" \"cac.washington.edu\")) ((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")\
             (\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL \"<B27397-0100000@cac.washington.edu>\")"
        )
    );
}

fn text_part(size: u64, lines: u64) -> BodyStructure {
    BodyStructure::Single(Box::new(SinglePart {
        kind: b"TEXT".to_vec(),
        subtype: b"PLAIN".to_vec(),
        parameters: vec![(b"CHARSET".to_vec(), b"US-ASCII".to_vec())],
        encoding: b"7BIT".to_vec(),
        size,
        lines,
        ..SinglePart::default()
    }))
}

#[test]
fn body_structures_in_both_forms() {
    let write = |body: &BodyStructure, extended| {
        let mut out = Vec::new();
        body.write(&mut out, extended);
        String::from_utf8(out).unwrap()
    };
    let text = text_part(3_028, 92);
    let plain = "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 3028 92)";
    assert_eq!(write(&text, false), plain);
    let attached = BodyStructure::Single(Box::new(SinglePart {
        kind: b"application".to_vec(),
        subtype: b"pdf".to_vec(),
        id: bytes("<x>"),
        encoding: b"base64".to_vec(),
        size: 4_554,
        extra: PartExtra {
            disposition: Some((b"attachment".to_vec(), vec![(b"filename".to_vec(), "é.pdf".into())])),
            language: vec![b"en".to_vec(), b"de".to_vec()],
            location: None,
        },
        ..SinglePart::default()
    }));
    let multi = BodyStructure::Multi(MultiPart {
        parts: vec![text.clone(), attached],
        subtype: b"MIXED".to_vec(),
        parameters: vec![(b"BOUNDARY".to_vec(), b"b\"c".to_vec())],
        ..MultiPart::default()
    });
    assert_eq!(
        write(&multi, false),
        format!("({plain}(\"application\" \"pdf\" NIL \"<x>\" NIL \"base64\" 4554) \"MIXED\")")
    );
    assert_eq!(
        write(&multi, true),
        format!(
            "({} NIL NIL NIL NIL)(\"application\" \"pdf\" NIL \"<x>\" NIL \"base64\" 4554 NIL \
             (\"attachment\" (\"filename\" {{6}}\r\né.pdf)) (\"en\" \"de\") NIL) \
             \"MIXED\" (\"BOUNDARY\" \"b\\\"c\") NIL NIL NIL)",
            plain.strip_suffix(')').unwrap()
        )
    );
    let message = BodyStructure::Single(Box::new(SinglePart {
        kind: b"MESSAGE".to_vec(),
        subtype: b"RFC822".to_vec(),
        size: 9,
        lines: 2,
        message: Some((Envelope::default(), text)),
        ..SinglePart::default()
    }));
    assert_eq!(
        write(&message, false),
        format!(
            "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 9 \
             (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) {plain} 2)"
        )
    );
    assert!(write(&BodyStructure::Multi(MultiPart::default()), false).starts_with("((\"TEXT\""));
}

#[test]
fn parts_nested_without_end_are_cut() {
    let mut body = text_part(1, 1);
    for _ in 0..1_000 {
        body = BodyStructure::Multi(MultiPart { parts: vec![body], ..MultiPart::default() });
    }
    let mut out = Vec::new();
    body.write(&mut out, true);
    let depth = out.iter().take_while(|b| **b == b'(').count();
    assert_eq!(depth, PART_DEPTH_MAX + 1);
}

#[test]
fn strings_choose_their_form() {
    let text = |bytes: &[u8]| {
        let mut out = Vec::new();
        string(&mut out, bytes);
        out
    };
    assert_eq!(text(b""), b"\"\"");
    assert_eq!(text(b"a \"b\" \\"), b"\"a \\\"b\\\" \\\\\"");
    assert_eq!(text(b"a\r\nb"), b"{4}\r\na\r\nb");
    assert_eq!(text(b"a\0b"), b"{2}\r\nab");
    assert_eq!(text("é".as_bytes()), "{2}\r\né".as_bytes());
    assert!(text(&[b'x'; 2_000]).starts_with(b"{2000}\r\n"));
}
