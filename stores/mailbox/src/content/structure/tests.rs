use super::super::Facts;
use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Part {
    Facts::read(text.as_bytes()).unwrap().part
}

fn slice(text: &str, span: Span) -> &str {
    &text[span.start as usize..span.end as usize]
}

/// A part as one line: its type, or its parts in brackets.
fn shape(part: &Part) -> String {
    match &part.nested {
        Nested::Nothing => format!("{}/{}", part.kind, part.subtype),
        Nested::Parts(parts) => {
            format!("{}({})", part.subtype, parts.iter().map(shape).collect::<Vec<_>>().join(" "))
        }
        Nested::Message(message, _) => format!("message<{}>", shape(message)),
    }
}

const MIXED: &str = "From: a@x\r\nSubject: s\r\nContent-Type: multipart/mixed; boundary=\"out\"\r\n\r\n\
    preamble\r\n--out\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n\
    --in\r\n\r\nplain\r\nsecond\r\n--in\r\nContent-Type: text/html\r\n\r\n<p>\r\n--in--\r\n\r\n\
    --out\r\nContent-Type: message/rfc822\r\n\r\n\
    Subject: inner\r\nContent-Type: multipart/mixed; boundary=deep\r\n\r\n\
    --deep\r\nContent-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\
    Content-Disposition: attachment; filename=a.png\r\nContent-ID: <1>\r\n\r\nAAAA\r\n--deep--\r\n\
    --out--\r\nepilogue\r\n";

#[test]
fn nested_parts_are_found_where_they_stand() {
    let part = read(MIXED);
    assert_eq!(shape(&part), "mixed(alternative(text/plain text/html) message<mixed(image/png)>)");
    assert_eq!(slice(MIXED, part.header), MIXED.split("preamble").next().unwrap());
    assert!(
        slice(MIXED, part.body).starts_with("preamble") && slice(MIXED, part.body).ends_with("epilogue\r\n")
    );
    let text = |section: &[u32]| part.find(section).map(|p| slice(MIXED, p.body));
    assert_eq!(text(&[1, 1]), Some("plain\r\nsecond"));
    assert_eq!(text(&[1, 2]), Some("<p>"));
    assert_eq!(text(&[2, 1]), Some("AAAA"));
    assert_eq!((text(&[3]), text(&[1, 3]), text(&[1, 1, 1]), text(&[0])), (None, None, None, None));
    assert!(text(&[2]).unwrap().starts_with("Subject: inner") && text(&[2]).unwrap().ends_with("--deep--"));
    assert_eq!(part.find(&[1, 1]).unwrap().lines, 1);
    assert_eq!(slice(MIXED, part.find(&[1, 2]).unwrap().header), "Content-Type: text/html\r\n\r\n");
    let image = part.find(&[2, 1]).unwrap();
    assert_eq!((image.encoding.as_str(), image.id.as_deref()), ("base64", Some("<1>")));
    assert_eq!(image.parameter("NAME"), Some("a.png"));
    let disposition = image.disposition.as_ref().unwrap();
    assert_eq!(disposition.kind, "attachment");
    assert_eq!(disposition.parameters, [("filename".to_owned(), "a.png".to_owned())]);
    let Nested::Message(_, envelope) = &part.find(&[2]).unwrap().nested else { panic!("no message") };
    assert_eq!(envelope.subject.as_deref(), Some("inner"));
}

#[test]
fn a_plain_message_has_one_part() {
    let text = "Subject: s\r\n\r\none\r\ntwo\r\n";
    let part = read(text);
    assert_eq!(shape(&part), "text/plain");
    assert_eq!((part.lines, slice(text, part.body)), (2, "one\r\ntwo\r\n"));
    assert_eq!(part.find(&[1]), Some(&part));
    assert_eq!((part.find(&[2]), part.find(&[1, 1])), (None, None));
    assert_eq!(part.parameter("charset"), Some("us-ascii"));
}

#[test]
fn a_message_that_is_a_message_is_counted_below_part_one() {
    let part = read("Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nbody\r\n");
    assert_eq!(shape(&part), "message<text/plain>");
    assert_eq!(part.find(&[1]), Some(&part));
    assert_eq!(part.find(&[1, 1]).map(|p| p.body.len()), Some(6));
}

#[test]
fn broken_messages_are_shown_as_far_as_they_go() {
    for (text, expected) in [
        ("", "text/plain"),
        ("Subject: cut", "text/plain"),
        ("Content-Type: nonsense\r\n\r\nx", "text/plain"),
        ("Content-Type: multipart/mixed\r\n\r\nno boundary", "multipart/mixed"),
        ("Content-Type: multipart/mixed; boundary=b\r\n\r\nnever", "mixed()"),
        ("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nnot closed", "mixed(text/plain)"),
        ("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: y\r\n--b--\r\n", "mixed(text/plain)"),
        (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n--b--\r\n",
            "mixed(message<text/plain>)",
        ),
        (
            "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: x\r\n\r\ny\r\n--b--",
            "digest(message<text/plain>)",
        ),
        (
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nbare line feeds\n--b  \n\n--b--x\n",
            "mixed(text/plain text/plain)",
        ),
        ("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA", "message/rfc822"),
        // The outer boundary ends what the inner one never closed.
        (
            "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nx\r\n--o\r\n\r\ny\r\n--o--",
            "mixed(mixed(text/plain) text/plain)",
        ),
    ] {
        assert_eq!(shape(&read(text)), expected, "{text:?}");
    }
}

#[test]
fn bombs_stay_small() {
    let deep = (0..2_000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
        .collect::<String>();
    assert!(read(&deep).leaves().len() <= DEPTH_MAX);
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(2_000);
    assert!(read(&messages).leaves().len() <= DEPTH_MAX);
    let wide = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\n".repeat(5_000));
    assert!(read(&wide).leaves().len() <= PARTS_MAX);
}

fn lies_within(part: &Part, outer: Span) -> bool {
    let inside = match &part.nested {
        Nested::Nothing => vec![],
        Nested::Parts(parts) => parts.iter().collect(),
        Nested::Message(message, _) => vec![&**message],
    };
    part.header.start >= outer.start
        && part.header.end == part.body.start
        && part.body.end <= outer.end
        && inside.into_iter().all(|p| lies_within(p, part.body))
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same_parts(pieces in prop::collection::vec(prop::sample::select(vec![
        "--b", "--", "\r\n", "\n", "\r", "b", " ", "Content-Type: ", "multipart/mixed; boundary=b", "message/rfc822", "text/html", "\r\n\r\n", ":", "--c", "multipart/digest; boundary=c",
    ]), 0..60), cuts in prop::collection::vec(0usize..400, 0..6)) {
        let text = pieces.concat();
        let whole = read(&text);
        prop_assert!(lies_within(&whole, Span { start: 0, end: text.len() as u64 }), "{:?}", whole);
        prop_assert_eq!(whole.body.end, text.len() as u64);
        let mut cuts = cuts.into_iter().map(|c| c.min(text.len())).chain([0, text.len()]).collect::<Vec<_>>();
        cuts.sort_unstable();
        let mut structure = Structure::new();
        for pair in cuts.windows(2) {
            structure.feed(&text.as_bytes()[pair[0]..pair[1]]);
        }
        prop_assert_eq!(structure.finish().0, whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        Facts::read(&bytes[..]).unwrap();
    }
}
