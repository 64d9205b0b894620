//! What our IMAP server says of awkward messages, beside what Dovecot says of the same ones.

use std::collections::BTreeMap;

use stories::maildrop::{Answer, LITERAL};
use stories::stormpost::{Company, Setup};
use stories::{ImapTalk, Lab, Primary, PrimaryOptions, Stormpost};

/// Awkward messages, by name. Line ends are written as line feeds here.
const MESSAGES: &[(&str, &str)] = &[
    (
        "plain",
        "From: Anna <anna@x.test>\nTo: ben@x.test\nSubject: plain\nDate: Sun, 22 Nov 2026 10:00:00 +0000\nMessage-ID: <1@x.test>\n\none\ntwo\n",
    ),
    ("nothing but a body", "\njust a body\n"),
    ("an empty line", "\n"),
    ("header without an end", "Subject: no end\nFrom: a@b.test\n"),
    ("no header at all", "this is no header field\nnor this\n\nbody\n"),
    (
        "mixed and alternative",
        "Subject: nested\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"out er\"\n\npreamble\n--out er\n\
         Content-Type: multipart/alternative; boundary=in\n\n--in\nContent-Type: text/plain; charset=utf-8; format=flowed\n\
         Content-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe\n--in\nContent-Type: text/html\n\n<p>x</p>\n--in--\n\
         --out er\nContent-Type: application/pdf; name=\"a b.pdf\"\nContent-Disposition: attachment; filename*=utf-8''f%C3%BC.pdf; size=3\n\
         Content-Transfer-Encoding: base64\nContent-ID: <c1@x>\nContent-Description: a file\nContent-Language: de, en\n\
         Content-Location: http://x.test/a\nContent-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\n\nYWJj\n--out er--\nepilogue\n",
    ),
    (
        "a message in a message",
        "Subject: outer\nContent-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: text/plain\n\nsee below\n--o\n\
         Content-Type: message/rfc822\nContent-Disposition: inline\n\nSubject: inner\nFrom: \"In, Ner\" <in@x.test>\nTo: a@x.test, b@x.test\n\
         Content-Type: multipart/mixed; boundary=i\n\n--i\nContent-Type: text/plain\n\nfirst\n--i\nContent-Type: image/gif\n\
         Content-Transfer-Encoding: base64\n\nR0lG\n--i--\n--o--\n",
    ),
    (
        "only a message",
        "Subject: forwarded\nContent-Type: message/rfc822\n\nSubject: in it\nX-A: b\n\ntext\nof it\n",
    ),
    (
        "an empty message inside",
        "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: message/rfc822\n\n--o--\n",
    ),
    (
        "a digest",
        "Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: one\n\n1\n--d\n\nSubject: two\n\n2\n--d--\n",
    ),
    ("no boundary named", "Content-Type: multipart/mixed\n\n--x\n\nA part?\n--x--\n"),
    ("a boundary that never comes", "Content-Type: multipart/mixed; boundary=never\n\nnothing\nbut text\n"),
    (
        "never closed",
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nopen end\n--b\nContent-Type: text/html\n\n<p>",
    ),
    (
        "inner never closed",
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nin\n--b\n\nout\n--b--\n",
    ),
    (
        "boundaries that begin alike",
        "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=ab\n\n--ab\n\nx\n--ab--\n--a\n\ny\n--a--\n",
    ),
    (
        "blanks behind boundaries",
        "Content-Type: multipart/mixed; boundary=b\n\n--b  \t\nContent-Type: text/plain\n\none\n--b--   \nrest\n",
    ),
    (
        "parts without header",
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\ntwo: no\n\n--b\n--b--\n",
    ),
    ("empty parts", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--b\n\n--b--\n"),
    (
        "eight bits in the header",
        "Subject: Gr\u{fc}\u{df}e aus Z\u{fc}rich\nFrom: J\u{f6}rg <j@x.test>\nTo: \"M\u{fc}ller, A\" <m@x.test>\n\nk\u{f6}rper\n",
    ),
    (
        "encoded words",
        "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n =?utf-8?q?_zwei?=\nFrom: =?utf-8?q?J=C3=B6rg?= <j@x.test>\n\nx\n",
    ),
    (
        "addresses of all kinds",
        "From: \"Quoted \\\"Name\\\"\" <a@x.test>\nSender: b@x.test (a comment)\nReply-To: <c@x.test>\nTo: Team: d@x.test, E <e@x.test>;\n\
         Cc: undisclosed-recipients:;\nBcc: \nSubject: addresses\n\nx\n",
    ),
    (
        "addresses that are none",
        "From: nobody\nTo: <>, @, a@, <x@y.test\nCc: two words@x.test, f@x.test,,\n\nx\n",
    ),
    ("routes and literals", "From: <@one.test,@two.test:a@x.test>\nTo: \"a b\"@x.test, c@[192.0.2.1]\n\nx\n"),
    (
        "fields twice",
        "Subject: one\nSubject: two\nTo: a@x.test\nTo: b@x.test\nMessage-ID: <1@x>\nMessage-ID: <2@x>\n\nx\n",
    ),
    (
        "folded fields",
        "Subject:\n  first\n\tsecond   third\nTo: a@x.test,\n b@x.test\nIn-Reply-To: <1@x>\n <2@x>\nDate:   Sun, 22 Nov 2026\n 10:00:00 +0000\n\nx\n",
    ),
    ("a type that is none", "Content-Type: text\nContent-Transfer-Encoding: magic\n\nx\n"),
    ("a type with odd parameters", "Content-Type: text/plain; charset; name=\"a;b\\\"c\"; x = y ; =z\n\nx\n"),
    (
        "a type in capitals",
        "CONTENT-TYPE: TEXT/HTML; CHARSET=\"ISO-8859-1\"\ncontent-transfer-encoding: BASE64\n\neA==\n",
    ),
    ("a type of one's own", "Content-Type: x-own/thing; a=b\nContent-Disposition: attachment\n\nx\n"),
];

/// Parts and what is asked of each.
const PARTS: [&str; 11] = ["1", "2", "3", "1.1", "1.2", "2.1", "2.2", "2.3", "1.1.1", "2.1.1", "2.2.1"];

/// A value of IMAP, without how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Nil,
    Text(String),
    List(Vec<Value>),
}

/// Reads values: a literal and a quoted string that hold the same are the same.
struct Reading<'a> {
    text: std::iter::Peekable<std::str::Chars<'a>>,
    literals: std::slice::Iter<'a, Vec<u8>>,
}

impl Reading<'_> {
    fn values(&mut self) -> Vec<Value> {
        let mut values = Vec::new();
        while let Some(next) = self.text.next() {
            match next {
                ')' => return values,
                ' ' => {}
                '(' => values.push(Value::List(self.values())),
                LITERAL => {
                    let literal =
                        self.literals.next().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                    values.push(Value::Text(literal.unwrap()));
                }
                '"' => {
                    let mut text = String::new();
                    while let Some(next) = self.text.next().filter(|c| *c != '"') {
                        text.push(if next == '\\' { self.text.next().unwrap() } else { next });
                    }
                    values.push(Value::Text(text));
                }
                first => {
                    let mut text = String::from(first);
                    // A section's brackets belong to its name, with what stands in them.
                    let mut depth = 0;
                    while let Some(next) = self.text.next_if(|c| depth > 0 || !" ()\"\u{1}".contains(*c)) {
                        depth += i32::from(next == '[') - i32::from(next == ']');
                        text.push(next);
                    }
                    values.push(if text == "NIL" { Value::Nil } else { Value::Text(text) });
                }
            }
        }
        values
    }
}

/// The items of one FETCH answer, by name.
fn items(answers: &[Answer]) -> BTreeMap<String, Value> {
    let mut items = BTreeMap::new();
    for answer in answers.iter().filter(|answer| answer.text.contains(" FETCH (")) {
        let text = answer.text.split_once(" FETCH (").unwrap().1;
        let values = Reading { text: text.chars().peekable(), literals: answer.literals.iter() }.values();
        for pair in values.chunks(2) {
            if let [Value::Text(name), value] = pair
                && name != "FLAGS"
            {
                items.insert(name.to_ascii_uppercase(), value.clone());
            }
        }
    }
    items
}

/// Everything that is asked of a message.
fn questions() -> Vec<String> {
    let mut asked: Vec<String> =
        ["RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE", "BODY"].map(str::to_owned).into();
    for section in ["", "HEADER", "TEXT", "HEADER.FIELDS (SUBJECT X-None)", "HEADER.FIELDS.NOT (SUBJECT TO)"]
    {
        asked.push(format!("BODY.PEEK[{section}]"));
    }
    asked.push("BODY.PEEK[TEXT]<3.7>".to_owned());
    for part in PARTS {
        for what in ["", ".MIME", ".HEADER", ".TEXT"] {
            asked.push(format!("BODY.PEEK[{part}{what}]"));
        }
    }
    asked
}

fn is_default_charset(list: &[Value]) -> bool {
    let is =
        |value: &Value, word: &str| matches!(value, Value::Text(text) if text.eq_ignore_ascii_case(word));
    matches!(list, [name, value] if is(name, "charset") && is(value, "us-ascii"))
}

/// The case of types and parameters' names says nothing (RFC 2045 §5.1); of a section that is not there one says NIL
/// and another says the empty string.
fn plain(question: &str, value: Option<&Value>) -> Value {
    let lower = |text: &str| Value::Text(text.to_ascii_lowercase());
    match (question, value) {
        (_, None) => Value::Nil,
        // Text without a charset is in this one (RFC 2046 §4.1.2); Dovecot writes it out.
        ("BODYSTRUCTURE" | "BODY", Some(Value::List(list))) if is_default_charset(list) => Value::Nil,
        ("BODYSTRUCTURE" | "BODY", Some(Value::List(list))) => {
            Value::List(list.iter().map(|value| plain(question, Some(value))).collect())
        }
        ("BODYSTRUCTURE" | "BODY", Some(Value::Text(text))) => lower(text),
        (_, Some(Value::Nil)) if question.starts_with("BODY.PEEK[") => Value::Text(String::new()),
        (_, Some(value)) => value.clone(),
    }
}

fn ask(talk: &mut ImapTalk, number: usize, question: &str) -> Result<Value, String> {
    let answers = talk.command(&format!("FETCH {number} ({question})"))?;
    let items = items(&answers);
    let value = items.values().next();
    if items.len() > 1 {
        return Err(format!("{} items for one question: {items:?}", items.len()));
    }
    Ok(plain(question, value))
}

/// What closes a multipart ends before the line end in front of the outer boundary: that belongs to the boundary
/// (RFC 2046 §5.1.1). Dovecot counts it to the inner multipart, two bytes more.
const CLOSING: &str = "the line end before the outer boundary";
/// A single empty line both ends the part's header and stands before the boundary.
const EMPTY: &str = "an empty line that is two things at once";

/// Where we differ on purpose: message, question, why.
const ON_PURPOSE: &[(&str, &str, &str)] = &[
    (
        "header without an end",
        "BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT TO)]",
        "every subset of a header ends with an empty line",
    ),
    (
        "no header at all",
        "BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT TO)]",
        "what is no field is in no list of fields",
    ),
    ("mixed and alternative", "BODYSTRUCTURE", "the order of parameters says nothing"),
    ("mixed and alternative", "BODY.PEEK[1]", CLOSING),
    ("a message in a message", "BODYSTRUCTURE", CLOSING),
    ("a message in a message", "BODY", CLOSING),
    ("a message in a message", "BODY.PEEK[2]", CLOSING),
    ("a message in a message", "BODY.PEEK[2.TEXT]", CLOSING),
    ("boundaries that begin alike", "BODY.PEEK[1]", CLOSING),
    ("an empty message inside", "BODY.PEEK[1.MIME]", EMPTY),
    ("parts without header", "BODY.PEEK[2.MIME]", EMPTY),
    ("parts without header", "BODY.PEEK[2.1.MIME]", EMPTY),
    ("empty parts", "BODY.PEEK[1.MIME]", EMPTY),
    ("empty parts", "BODY.PEEK[2.MIME]", EMPTY),
    (
        "eight bits in the header",
        "ENVELOPE",
        "Latin-1 is sent as encoded words, which every client can read; Dovecot sends the bytes",
    ),
    ("encoded words", "ENVELOPE", "the same text, encoded anew"),
    ("addresses that are none", "ENVELOPE", "guesses at what somebody meant"),
    (
        "fields twice",
        "ENVELOPE",
        "of a subject and an id that stand there twice the first counts, with Dovecot the last",
    ),
    ("routes and literals", "ENVELOPE", "routes are to be ignored (RFC 5322 §4.4); Dovecot still tells them"),
    ("folded fields", "ENVELOPE", "three blanks stay three"),
    ("a type that is none", "BODYSTRUCTURE", "what cannot be understood is text/plain (RFC 2045 §5.2)"),
    ("a type that is none", "BODY", "as above"),
    (
        "a type with odd parameters",
        "BODYSTRUCTURE",
        "we find the quoted one and leave out the one without a name",
    ),
    ("a type with odd parameters", "BODY", "as above"),
];

/// Dovecot takes `X.1` of a part without parts for `X` itself; we say that there is no such part.
fn is_part_of_a_leaf(ours: &mut ImapTalk, number: usize, question: &str, our: &Value, their: &Value) -> bool {
    let above = question.replacen(".1]", "]", 1).replacen(".1.MIME]", ".MIME]", 1);
    above != question
        && *our == Value::Text(String::new())
        && ask(ours, number, &above).is_ok_and(|above| above == *their)
}

#[test]
fn of_awkward_messages_we_say_what_dovecot_says() {
    let lab = Lab::open("mime");
    let primary = Primary::start(&lab, "company.test", &PrimaryOptions::default());
    let stormpost =
        Stormpost::start(&lab, "stormpost", &Setup::with(vec![Company::alone("home.test", &["anna"])]));
    let mut ours = stormpost.imap_as("anna@home.test").unwrap();
    let mut theirs = ImapTalk::connect("127.0.0.1", primary.imap).unwrap();
    theirs.sign_in("anna@company.test", "pw-anna").unwrap();
    for (name, text) in MESSAGES {
        // Latin-1 where a name says so: one byte a character.
        let text = text.replace('\n', "\r\n");
        let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        for talk in [&mut ours, &mut theirs] {
            talk.append("INBOX", "", &bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
    for talk in [&mut ours, &mut theirs] {
        talk.examine("INBOX").unwrap();
    }
    let (mut asked, mut differ, mut excused) = (0, Vec::new(), vec![false; ON_PURPOSE.len()]);
    for (number, (name, _)) in MESSAGES.iter().enumerate() {
        for question in questions() {
            asked += 1;
            let both = [&mut ours, &mut theirs].map(|talk| ask(talk, number + 1, &question));
            let [Ok(our), Ok(their)] = &both else {
                differ.push(format!("{name}: {question}\n    {both:?}"));
                continue;
            };
            let known =
                ON_PURPOSE.iter().position(|(message, about, _)| message == name && *about == question);
            if our == their {
                // What is the same needs no excuse.
                assert_eq!(known, None, "{name}: {question} is the same by now");
            } else if let Some(known) = known {
                excused[known] = true;
            } else if !is_part_of_a_leaf(&mut ours, number + 1, &question, our, their) {
                differ.push(format!("{name}: {question}\n    ours   {our:?}\n    theirs {their:?}"));
            }
        }
    }
    let known = excused.iter().filter(|excused| **excused).count();
    let (messages, unknown) = (MESSAGES.len(), differ.len());
    lab.say(&format!("{messages} messages, {asked} questions, {known} known differences, {unknown} others"));
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
