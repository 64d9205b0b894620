//! What our IMAP server answers to the commands of the extensions, beside what Dovecot answers to the same ones.

use stories::maildrop::{Answer, LITERAL};
use stories::stormpost::{Company, Setup};
use stories::{ImapTalk, Lab, Primary, PrimaryOptions, Stormpost};

/// The mailbox both have: date, from and the rest of the header.
const LETTERS: &[(&str, &str, &str)] = &[
    (
        "Thu, 05 Mar 2026 10:00:00 +0000",
        "carl@x.test",
        "Subject: Budget\nMessage-ID: <1@x.test>\nTo: zoe@x.test\n",
    ),
    ("Wed, 04 Mar 2026 10:00:00 +0000", "Anna@x.test", "Subject: apples\nMessage-ID: <2@x.test>\n"),
    (
        "Fri, 06 Mar 2026 10:00:00 +0000",
        "bob@x.test",
        "Subject: Re: budget\nMessage-ID: <3@x.test>\nReferences: <1@x.test>\nCc: m@x.test\n",
    ),
    (
        "Fri, 06 Mar 2026 10:30:00 +0100",
        "\"Eve\" <eve@x.test>",
        "Subject: [list] cherries (fwd)\nTo: ann@x.test\n",
    ),
    (
        "Sat, 07 Mar 2026 10:00:00 +0000",
        "carl@x.test",
        "Subject: Re: Re: budget\nMessage-ID: <5@x.test>\nIn-Reply-To: <3@x.test>\n",
    ),
    (
        "Sun, 08 Mar 2026 10:00:00 +0000",
        "dora@x.test",
        "Subject: =?utf-8?q?RE=3A_apples?=\nMessage-ID: <6@x.test>\nReferences: <0@x.test> <gone@x.test>\n",
    ),
    (
        "Sun, 08 Mar 2026 11:00:00 +0000",
        "dora@x.test",
        "Subject: pears\nMessage-ID: <7@x.test>\nReferences: <gone@x.test>\n",
    ),
    ("Mon, 09 Mar 2026 10:00:00 +0000", "fred@x.test", "Message-ID: <8@x.test>\n"),
    ("Mon, 09 Mar 2026 09:00:00 +0000", "fred@x.test", "Subject: Fwd: [x] pears\nMessage-ID: <9@x.test>\n"),
];

/// The last message: parts in three encodings.
const PARTS: &str = "Date: Tue, 10 Mar 2026 10:00:00 +0000\nFrom: g@x.test\nSubject: parts\nMIME-Version: 1.0\n\
     Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n\
     aGVsbG8gYmFzZTY0\n--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n\
     Gr=C3=BC=C3=9Fe und =\nmehr\n--b\nContent-Type: text/plain\n\nas it is\n--b--\n";

/// What is said to both, in order. `{m}` is the HIGHESTMODSEQ at the last `MARK`, `{v}` the UIDVALIDITY.
const COMMANDS: &[&str] = &[
    // RFC 5256
    "SORT (DATE) UTF-8 ALL",
    "SORT (REVERSE DATE) UTF-8 ALL",
    "SORT (SUBJECT) UTF-8 ALL",
    "SORT (SUBJECT REVERSE DATE) US-ASCII ALL",
    "SORT (FROM REVERSE DATE) UTF-8 ALL",
    "SORT (TO CC REVERSE ARRIVAL) UTF-8 ALL",
    "SORT (SIZE) UTF-8 1:3",
    "UID SORT (DATE) UTF-8 SUBJECT budget",
    "SORT (DATE) UTF-8 SUBJECT nothing",
    "SORT (DATE) KOI8-X ALL",
    "SORT (FOO) UTF-8 ALL",
    "THREAD ORDEREDSUBJECT UTF-8 ALL",
    "THREAD REFERENCES UTF-8 ALL",
    "UID THREAD REFERENCES UTF-8 FROM carl",
    "THREAD REFERENCES UTF-8 SUBJECT nothing",
    "THREAD JWZ UTF-8 ALL",
    // RFC 4731
    "SEARCH RETURN (MIN MAX ALL COUNT) SUBJECT budget",
    "UID SEARCH RETURN () 2:4",
    "SEARCH RETURN (MIN) SUBJECT nothing",
    "SEARCH RETURN (COUNT) SUBJECT nothing",
    "SEARCH RETURN (ALL) 1,3:4,7:*",
    "SEARCH RETURN (FOO) ALL",
    // RFC 5032
    "SEARCH YOUNGER 3600",
    "SEARCH OLDER 3600",
    // RFC 8438, RFC 3501
    "STATUS INBOX (MESSAGES UIDNEXT UNSEEN SIZE)",
    // RFC 3516
    "FETCH 10 (BINARY.SIZE[1] BINARY.PEEK[1])",
    "FETCH 10 (BINARY.SIZE[2] BINARY.PEEK[2] BINARY.PEEK[2]<1.6>)",
    "FETCH 10 (BINARY.SIZE[3] BINARY.PEEK[3])",
    // RFC 5258, RFC 6154, RFC 5819
    "CREATE way/to/one",
    "SUBSCRIBE way/to/one",
    "LIST (SUBSCRIBED) \"\" \"way*\"",
    "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"way\"",
    "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"way*\"",
    "LIST \"\" (\"way\" \"way/to\") RETURN (CHILDREN SUBSCRIBED)",
    "LIST \"\" \"way/to/one\" RETURN (STATUS (MESSAGES UIDNEXT))",
    "LIST (SPECIAL-USE) \"\" \"Drafts\" RETURN (SPECIAL-USE)",
    "LIST (FOO) \"\" \"*\"",
    // RFC 7162, CONDSTORE
    "ENABLE CONDSTORE",
    "MARK",
    "STORE 2 +FLAGS (\\Answered)",
    "FETCH 1:* (FLAGS) (CHANGEDSINCE {m})",
    "STORE 1:3 (UNCHANGEDSINCE {m}) +FLAGS.SILENT (\\Flagged)",
    "UID STORE 2 (UNCHANGEDSINCE {m}) +FLAGS (\\Draft)",
    "SEARCH MODSEQ 1 SUBJECT apples",
    "SEARCH RETURN (MIN COUNT) MODSEQ 1",
    "UID SORT (DATE) UTF-8 MODSEQ 1 SUBJECT budget",
    "STATUS INBOX (HIGHESTMODSEQ)",
    "FETCH 2 (MODSEQ)",
    // RFC 3502
    "APPEND INBOX (\\Seen) {4+}\r\nA: 1 (\\Draft) {4+}\r\nA: 2",
    // QRESYNC
    "ENABLE QRESYNC",
    "MARK",
    "UID STORE 4,6 +FLAGS.SILENT (\\Deleted)",
    "UID EXPUNGE 4",
    "EXPUNGE",
    "UID FETCH 1:* (FLAGS) (CHANGEDSINCE {m} VANISHED)",
    "STORE 1 +FLAGS (key)",
    "UNSELECT",
    "SELECT INBOX (QRESYNC ({v} {m}))",
    "UNSELECT",
    "SELECT INBOX (QRESYNC ({v} {m} 1:5))",
    "UNSELECT",
    "SELECT INBOX (QRESYNC (1 {m}))",
    "UID MOVE 1 Trash",
    "UID COPY 2,3 Trash",
];

/// Where we differ on purpose, and why.
const ON_PURPOSE: &[(&str, &str)] = &[
    (
        "THREAD REFERENCES UTF-8 SUBJECT nothing",
        "a space after THREAD that RFC 5256 §5 has not; we send none",
    ),
    ("STATUS INBOX (MESSAGES UIDNEXT UNSEEN SIZE)", SELECTED),
    ("STATUS INBOX (HIGHESTMODSEQ)", SELECTED),
    ("FETCH 10 (BINARY.SIZE[1] BINARY.PEEK[1])", LITERAL8),
    ("FETCH 10 (BINARY.SIZE[2] BINARY.PEEK[2] BINARY.PEEK[2]<1.6>)", LITERAL8),
    ("LIST (SUBSCRIBED) \"\" \"way*\"", CHILDREN),
    ("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"way\"", PARENTS),
    ("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"way*\"", CHILDREN),
    ("LIST \"\" (\"way\" \"way/to\") RETURN (CHILDREN SUBSCRIBED)", PARENTS),
    (
        "STORE 2 +FLAGS (\\Answered)",
        "once CONDSTORE is enabled we name the UID too (RFC 7162 §3.2 asks for it with QRESYNC)",
    ),
    ("STORE 1:3 (UNCHANGEDSINCE {m}) +FLAGS.SILENT (\\Flagged)", FLAGS_TOO),
    ("UID STORE 4,6 +FLAGS.SILENT (\\Deleted)", FLAGS_TOO),
    (
        "UID STORE 2 (UNCHANGEDSINCE {m}) +FLAGS (\\Draft)",
        "what was left alone is told as it is, so that the client need not ask (RFC 7162 §3.1.3)",
    ),
];

const SELECTED: &str = "Dovecot scolds who asks for the status of the selected mailbox";
const LITERAL8: &str =
    "Dovecot writes every answer to BINARY as literal8, we only those with zero bytes (RFC 3516 §4.2)";
const CHILDREN: &str = "whether there are children is told unasked (RFC 5258 §4 allows it)";
const PARENTS: &str =
    "CREATE makes the folders above too, and they are folders; Dovecot's cannot be selected";
const FLAGS_TOO: &str = "a MODSEQ is told with the flags it belongs to";

/// One answer without what says nothing: words for people, tags, orders that mean nothing, the numbers of MODSEQs, which
/// each server counts in its own way.
fn plain(answer: &Answer) -> Option<String> {
    let mut literals = answer.literals.iter();
    let mut text = String::new();
    for c in answer.text.chars() {
        if c == LITERAL {
            text.push_str(&format!("{:?}", String::from_utf8_lossy(literals.next().unwrap())));
        } else {
            text.push(c);
        }
    }
    let (first, rest) = text.split_once(' ').unwrap_or((&text, ""));
    if first != "*" {
        return Some(status(rest));
    }
    let word = |at: usize| rest.split(' ').nth(at).unwrap_or_default();
    let kept = match (word(0), word(1)) {
        ("OK" | "FLAGS" | "CAPABILITY", _) | (_, "RECENT" | "EXISTS") => return None,
        ("LIST" | "STATUS", _) | (_, "FETCH") => {
            let (before, inside) = rest.split_once('(')?;
            let (inside, after) = inside.rsplit_once(')').unwrap_or((inside, ""));
            let (inside, after) = match before.trim() {
                // Attributes come first here, and what follows is the name and more.
                "LIST" => rest.split_once('(')?.1.split_once(')')?,
                _ => (inside, after),
            };
            format!("{before}({}){}", sorted(inside, word(0) == "LIST"), after.replace('"', ""))
        }
        _ => rest.to_owned(),
    };
    Some(numbered(&kept.replace('"', "")))
}

/// Status and code of a tagged answer.
fn status(rest: &str) -> String {
    let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let code = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(code, _)| code);
    match code.split(' ').next().unwrap_or_default() {
        "MODIFIED" => format!("{word} [{code}]"),
        "READ-WRITE" | "HIGHESTMODSEQ" | "MAILBOXID" | "" => word.to_owned(),
        "APPENDUID" | "COPYUID" => {
            let numbers: Vec<&str> = code.split(' ').collect();
            format!("{word} [{} {}]", numbers[0], numbers[2..].join(" "))
        }
        code => format!("{word} [{code}]"),
    }
}

/// The items of a list in one order: words, or names each with its value.
fn sorted(inside: &str, words: bool) -> String {
    let mut items: Vec<String> = Vec::new();
    let (mut item, mut depth, mut quoted, mut names) = (String::new(), 0, false, 0);
    for c in inside.chars().chain([' ']) {
        quoted ^= c == '"';
        depth += i32::from(!quoted && matches!(c, '(' | '[')) - i32::from(!quoted && matches!(c, ')' | ']'));
        if c == ' ' && depth == 0 && !quoted {
            names += 1;
            if words || names % 2 == 0 {
                items.push(std::mem::take(&mut item));
                continue;
            }
        }
        item.push(c);
    }
    let flags = |item: &String| match item.strip_prefix("FLAGS (").and_then(|rest| rest.strip_suffix(')')) {
        Some(flags) => {
            let mut flags: Vec<&str> = flags.split(' ').filter(|flag| *flag != "\\Recent").collect();
            flags.sort_unstable();
            format!("FLAGS ({})", flags.join(" "))
        }
        None => item.clone(),
    };
    items = items.iter().map(flags).filter(|item| !item.is_empty()).collect();
    items.sort();
    items.join(" ")
}

/// Without tags and the numbers of MODSEQs.
fn numbered(text: &str) -> String {
    let mut out = String::new();
    let mut last = "";
    for word in text.split_inclusive([' ', '(', ')']) {
        let digits = word.trim_end_matches([' ', '(', ')']);
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if last == "TAG" || is_number && matches!(last, "MODSEQ" | "HIGHESTMODSEQ") {
            out.push('N');
            out.push_str(&word[digits.len()..]);
        } else {
            out.push_str(word);
        }
        if !digits.is_empty() {
            last = digits;
        }
    }
    out
}

/// One side: a connection, and what it has told of its INBOX.
struct Side {
    talk: ImapTalk,
    validity: u64,
    mark: u64,
}

impl Side {
    fn fill(&mut self) {
        let parts = PARTS.replace('\n', "\r\n");
        for (at, (date, from, rest)) in LETTERS.iter().enumerate() {
            let text = format!("Date: {date}\nFrom: {from}\n{rest}\nsome words\n").replace('\n', "\r\n");
            // Two came in each second.
            let came = format!("01-Apr-2026 10:00:{:02} +0000", 50 - at / 2);
            let command = format!("APPEND INBOX \"{came}\" {{{}+}}\r\n{text}", text.len());
            self.talk.command(&command).unwrap();
        }
        self.talk.append("INBOX", "", parts.as_bytes()).unwrap();
        let selected = self.talk.command("SELECT INBOX").unwrap();
        self.validity = number(&selected, "[UIDVALIDITY ");
    }

    fn tell(&mut self, command: &str) -> Vec<String> {
        if command == "MARK" {
            let told = self.talk.command("STATUS INBOX (HIGHESTMODSEQ)").unwrap();
            self.mark = number(&told, "HIGHESTMODSEQ ");
            return Vec::new();
        }
        let command =
            command.replace("{m}", &self.mark.to_string()).replace("{v}", &self.validity.to_string());
        match self.talk.command(&command) {
            Ok(answers) => {
                let mut lines: Vec<String> = answers.iter().filter_map(plain).collect();
                lines.sort();
                lines
            }
            Err(words) => vec![status(words.split_once("was answered ").map_or(&*words, |(_, rest)| rest))],
        }
    }
}

fn number(answers: &[Answer], before: &str) -> u64 {
    let text = answers.iter().find_map(|answer| answer.text.split_once(before)).unwrap().1;
    text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn to_the_commands_of_the_extensions_we_answer_what_dovecot_answers() {
    let lab = Lab::open("commands");
    let primary = Primary::start(&lab, "company.test", &PrimaryOptions::default());
    let stormpost =
        Stormpost::start(&lab, "stormpost", &Setup::with(vec![Company::alone("home.test", &["anna"])]));
    let mut theirs = ImapTalk::connect("127.0.0.1", primary.imap).unwrap();
    theirs.sign_in("anna@company.test", "pw-anna").unwrap();
    let side = |talk| Side { talk, validity: 0, mark: 0 };
    let mut sides = [side(stormpost.imap_as("anna@home.test").unwrap()), side(theirs)];
    sides.iter_mut().for_each(Side::fill);
    let (mut differ, mut excused) = (Vec::new(), 0);
    for command in COMMANDS {
        let [ours, theirs] = sides.each_mut().map(|side| side.tell(command));
        let known = ON_PURPOSE.iter().any(|(about, _)| about == command);
        if ours == theirs {
            assert!(!known, "{command} is answered the same by now");
        } else if known {
            excused += 1;
        } else {
            differ.push(format!("{command}\n    ours   {ours:#?}\n    theirs {theirs:#?}"));
        }
    }
    lab.say(&format!("{} commands, {excused} known differences, {} others", COMMANDS.len(), differ.len()));
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
