//! Its IMAP side, as far as it takes to look into mailboxes and to give back: RFC 3501 with UIDPLUS (RFC 4315), MOVE
//! (RFC 6851) and LITERAL+ (RFC 7888). Written from the RFCs, not from the client under test.

use super::{Mood, Port, Primary, Wire};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufStream};
use words_world::Stream;

const CAPABILITIES: &str = "IMAP4rev1 UIDPLUS MOVE LITERAL+ LIST-EXTENDED SPECIAL-USE";
const DATE: &str = "01-Jan-2026 00:00:00 +0000";

/// One connection.
#[derive(Default)]
struct Session {
    account: Option<String>,
    folder: Option<String>,
}

/// What a command changes, and what is said about it.
struct Answer {
    untagged: Vec<u8>,
    tagged: String,
}

impl Answer {
    fn ok(text: &str) -> Answer {
        Answer { untagged: Vec::new(), tagged: format!("OK {text}") }
    }

    fn no(text: &str) -> Answer {
        Answer { untagged: Vec::new(), tagged: format!("NO {text}") }
    }
}

impl Primary {
    pub(super) async fn imap_session(self, stream: Box<dyn Stream>) -> io::Result<()> {
        let mut wire = BufStream::new(stream);
        let greeting = format!("* OK [CAPABILITY {CAPABILITIES}] primary.example\r\n");
        self.say(Port::Imap, &mut wire, greeting.as_bytes()).await?;
        let mut session = Session::default();
        loop {
            let Some(words) = self.command(&mut wire).await? else { return Ok(()) };
            let [tag, rest @ ..] = &words[..] else { return Ok(()) };
            let verb = match rest {
                [uid, verb, ..] if text(uid).eq_ignore_ascii_case("UID") => format!("UID {}", upper(verb)),
                [verb, ..] => upper(verb),
                [] => return Ok(()),
            };
            let arguments = &rest[verb.split(' ').count()..];
            if verb == "LOGOUT" {
                let bye = format!("* BYE\r\n{} OK bye\r\n", text(tag));
                return self.say(Port::Imap, &mut wire, bye.as_bytes()).await;
            }
            let changes = matches!(
                verb.as_str(),
                "APPEND" | "CREATE" | "UID STORE" | "UID COPY" | "UID MOVE" | "UID EXPUNGE"
            );
            let (done, answered) = if changes { self.chance(Port::Imap).await } else { (true, true) };
            self.file_due();
            let answer = if done { self.obey(&mut session, &verb, arguments) } else { Answer::ok("") };
            if changes {
                let who = session.account.as_deref().unwrap_or_default();
                let said = arguments.first().map(|a| text(a)).unwrap_or_default();
                self.note(format_args!("{who} {verb} {said}: done {done}, answered {answered}"));
            }
            if !answered {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let mut said = answer.untagged;
            said.extend_from_slice(format!("{} {}\r\n", text(tag), answer.tagged).as_bytes());
            self.say(Port::Imap, &mut wire, &said).await?;
        }
    }

    /// One command, in words: atoms, quoted strings without their quotes, literals, and parenthesised lists whole.
    async fn command(&self, wire: &mut Wire) -> io::Result<Option<Vec<Vec<u8>>>> {
        let mut words = Vec::new();
        loop {
            let mut line = Vec::new();
            if wire.read_until(b'\n', &mut line).await? == 0 {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let (line, literal) = match line.strip_suffix('}').and_then(|l| l.rsplit_once('{')) {
                Some((before, size)) => (before.to_owned(), Some(size.to_owned())),
                None => (line, None),
            };
            split(&line, &mut words);
            let Some(size) = literal else { return Ok(Some(words)) };
            if !size.ends_with('+') {
                self.say(Port::Imap, wire, b"+ go on\r\n").await?;
            }
            let size = size.trim_end_matches('+').parse().map_err(io::Error::other)?;
            let mut content = vec![0; size];
            wire.read_exact(&mut content).await?;
            words.push(content);
        }
    }

    fn obey(&self, session: &mut Session, verb: &str, arguments: &[Vec<u8>]) -> Answer {
        let argument = |n: usize| arguments.get(n).map(|a| text(a)).unwrap_or_default();
        match verb {
            "CAPABILITY" => Answer {
                untagged: format!("* CAPABILITY {CAPABILITIES}\r\n").into_bytes(),
                tagged: "OK done".to_owned(),
            },
            "NOOP" | "ID" => Answer::ok("done"),
            "LOGIN" => self.login(session, &argument(0)),
            _ if session.account.is_none() => Answer::no("sign in first"),
            "LIST" => self.list(session),
            "CREATE" => {
                let account = session.account.clone().unwrap_or_default();
                match self.inside().store.create(&account, &argument(0)) {
                    true => Answer::ok("made"),
                    false => Answer::no("[ALREADYEXISTS] it is there"),
                }
            }
            "SELECT" | "EXAMINE" => self.select(session, &argument(0)),
            "APPEND" => self.append(session, arguments),
            "UID FETCH" => self.fetch(session, &argument(0), &argument(1)),
            "UID SEARCH" => self.search(session, &argument(1), &argument(2)),
            "UID STORE" => self.store(session, &argument(0), &argument(1), &argument(2)),
            "UID COPY" | "UID MOVE" => self.carry(session, &argument(0), &argument(1), verb == "UID MOVE"),
            "UID EXPUNGE" => self.expunge(session, &argument(0)),
            _ => Answer { untagged: Vec::new(), tagged: "BAD what?".to_owned() },
        }
    }

    fn login(&self, session: &mut Session, user: &str) -> Answer {
        let inside = self.inside();
        if inside.imap == Mood::Deferring {
            return Answer::no("[UNAVAILABLE] not now");
        }
        if !inside.store.accounts.contains_key(user) {
            return Answer::no("[AUTHENTICATIONFAILED] who?");
        }
        session.account = Some(user.to_owned());
        Answer::ok(&format!("[CAPABILITY {CAPABILITIES}] hello"))
    }

    fn list(&self, session: &Session) -> Answer {
        let mut said = String::new();
        let inside = self.inside();
        let account = session.account.as_ref().and_then(|a| inside.store.accounts.get(a));
        for name in account.into_iter().flat_map(|folders| folders.keys()) {
            let special = match name.as_str() {
                "Drafts" | "Sent" | "Trash" => format!(" \\{name}"),
                _ => String::new(),
            };
            let _ = write!(said, "* LIST (\\Subscribed{special}) \"/\" \"{name}\"\r\n");
        }
        Answer { untagged: said.into_bytes(), tagged: "OK done".to_owned() }
    }

    fn select(&self, session: &mut Session, name: &str) -> Answer {
        let mut inside = self.inside();
        let account = session.account.clone().unwrap_or_default();
        let Some(folder) = inside.store.folder(&account, name) else {
            return Answer::no("[NONEXISTENT] no such folder");
        };
        session.folder = Some(name.to_owned());
        let said = format!(
            "* {} EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Seen)\r\n* OK [UIDVALIDITY {}] v\r\n* OK [UIDNEXT {}] n\r\n\
             * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] p\r\n",
            folder.messages.len(),
            folder.validity,
            folder.next
        );
        Answer { untagged: said.into_bytes(), tagged: "OK [READ-WRITE] done".to_owned() }
    }

    fn append(&self, session: &Session, arguments: &[Vec<u8>]) -> Answer {
        let account = session.account.clone().unwrap_or_default();
        let (Some(name), Some(content)) = (arguments.first(), arguments.last()) else {
            return Answer::no("what?");
        };
        let flags = arguments.get(1).map(|a| text(a)).filter(|a| a.starts_with('(')).unwrap_or_default();
        let mut inside = self.inside();
        let Some(folder) = inside.store.folder(&account, &text(name)) else {
            return Answer::no("[TRYCREATE] no such folder");
        };
        let uid = folder.add(Arc::new(content.clone()), flag_set(&flags));
        Answer::ok(&format!("[APPENDUID {} {uid}] stored", folder.validity))
    }

    fn fetch(&self, session: &Session, set: &str, items: &str) -> Answer {
        let mut said = Vec::new();
        self.each(session, |at, copy| {
            if !in_set(set, copy.uid) {
                return true;
            }
            let flags: Vec<&str> = copy.flags.iter().map(String::as_str).collect();
            let head = format!(
                "* {} FETCH (UID {} FLAGS ({}) INTERNALDATE \"{DATE}\" RFC822.SIZE {}",
                at + 1,
                copy.uid,
                flags.join(" "),
                copy.bytes.len()
            );
            said.extend_from_slice(head.as_bytes());
            if items.contains("BODY.PEEK[]") {
                said.extend_from_slice(format!(" BODY[] {{{}}}\r\n", copy.bytes.len()).as_bytes());
                said.extend_from_slice(&copy.bytes);
            } else if let Some((_, fields)) = items.split_once("HEADER.FIELDS (") {
                let fields = fields.split(')').next().unwrap_or_default();
                let header = header_fields(&copy.bytes, fields);
                let label = format!(" BODY[HEADER.FIELDS ({fields})] {{{}}}\r\n", header.len());
                said.extend_from_slice(label.as_bytes());
                said.extend_from_slice(&header);
            }
            said.extend_from_slice(b")\r\n");
            true
        });
        Answer { untagged: said, tagged: "OK done".to_owned() }
    }

    fn search(&self, session: &Session, field: &str, wanted: &str) -> Answer {
        let mut found = String::from("* SEARCH");
        self.each(session, |_, copy| {
            let header = header_fields(&copy.bytes, field);
            if String::from_utf8_lossy(&header).contains(wanted) {
                let _ = write!(found, " {}", copy.uid);
            }
            true
        });
        Answer { untagged: format!("{found}\r\n").into_bytes(), tagged: "OK done".to_owned() }
    }

    fn store(&self, session: &Session, set: &str, how: &str, flags: &str) -> Answer {
        let flags = flag_set(flags);
        self.each(session, |_, copy| {
            if in_set(set, copy.uid) {
                match how.as_bytes().first() {
                    Some(b'+') => copy.flags.extend(flags.iter().cloned()),
                    Some(b'-') => copy.flags.retain(|flag| !flags.contains(flag)),
                    _ => copy.flags.clone_from(&flags),
                }
            }
            true
        });
        Answer::ok("done")
    }

    fn carry(&self, session: &Session, set: &str, to: &str, remove: bool) -> Answer {
        let mut taken = Vec::new();
        {
            let mut inside = self.inside();
            let account = session.account.clone().unwrap_or_default();
            if inside.store.folder(&account, to).is_none() {
                return Answer::no("[TRYCREATE] no such folder");
            }
        }
        self.each(session, |_, copy| {
            let wanted = in_set(set, copy.uid);
            if wanted {
                taken.push(copy.clone());
            }
            !(wanted && remove)
        });
        let mut inside = self.inside();
        let account = session.account.clone().unwrap_or_default();
        let Some(folder) = inside.store.folder(&account, to) else { return Answer::no("gone") };
        let mut pairs: Vec<(String, String)> = Vec::new();
        for copy in taken {
            let uid = folder.add(copy.bytes, copy.flags);
            pairs.push((copy.uid.to_string(), uid.to_string()));
        }
        let (from, now): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        match from.is_empty() {
            true => Answer::ok("nothing to do"),
            false => Answer::ok(&format!(
                "[COPYUID {} {} {}] done",
                folder.validity,
                from.join(","),
                now.join(",")
            )),
        }
    }

    fn expunge(&self, session: &Session, set: &str) -> Answer {
        self.each(session, |_, copy| !(in_set(set, copy.uid) && copy.flags.contains("\\deleted")));
        Answer::ok("done")
    }

    /// Goes through the selected folder; what `keep` refuses is removed.
    fn each(&self, session: &Session, mut keep: impl FnMut(usize, &mut super::Copy) -> bool) {
        let mut inside = self.inside();
        let (Some(account), Some(name)) = (&session.account, &session.folder) else { return };
        let Some(folder) = inside.store.folder(account, name) else { return };
        let mut at = 0;
        folder.messages.retain_mut(|copy| {
            at += 1;
            keep(at - 1, copy)
        });
    }
}

fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

fn upper(word: &[u8]) -> String {
    text(word).to_ascii_uppercase()
}

/// Splits a line into words.
fn split(line: &str, words: &mut Vec<Vec<u8>>) {
    let mut word = String::new();
    let (mut quoted, mut escaped, mut depth, mut begun) = (false, false, 0, false);
    for c in line.chars() {
        match c {
            _ if escaped => {
                word.push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' if depth == 0 => {
                quoted = !quoted;
                begun = true;
            }
            ' ' if !quoted && depth == 0 => {
                if begun {
                    words.push(std::mem::take(&mut word).into_bytes());
                }
                begun = false;
            }
            _ => {
                depth += i32::from(c == '(' && !quoted) - i32::from(c == ')' && !quoted);
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word.into_bytes());
    }
}

fn flag_set(list: &str) -> BTreeSet<String> {
    let words = list.trim_matches(['(', ')']).split_whitespace();
    words.map(str::to_lowercase).collect()
}

fn in_set(set: &str, uid: u32) -> bool {
    let number = |text: &str| if text == "*" { u32::MAX } else { text.parse().unwrap_or(0) };
    set.split(',').any(|part| match part.split_once(':') {
        Some((first, last)) => (number(first)..=number(last)).contains(&uid),
        None => number(part) == uid,
    })
}

/// The named header fields of a message, with an empty line.
fn header_fields(message: &[u8], names: &str) -> Vec<u8> {
    let mut header = Vec::new();
    let mut taking = false;
    for line in message.split_inclusive(|b| *b == b'\n') {
        if line == b"\r\n" {
            break;
        }
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = line.split(|b| *b == b':').next().unwrap_or_default();
            taking =
                names.split(' ').any(|wanted| wanted.trim_matches('"').as_bytes().eq_ignore_ascii_case(name));
        }
        if taking {
            header.extend_from_slice(line);
        }
    }
    header.extend_from_slice(b"\r\n");
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_falls_into_words() {
        let mut words = Vec::new();
        split(r#"a1 UID STORE 1:3,7 +FLAGS.SILENT (\Seen work) "quoted \"name\"""#, &mut words);
        let words: Vec<String> = words.iter().map(|w| text(w)).collect();
        assert_eq!(words[3..], ["1:3,7", "+FLAGS.SILENT", "(\\Seen work)", "quoted \"name\""]);
        assert!(in_set("1:3,7", 2) && in_set("5:*", 900) && !in_set("1:3,7", 4));
    }

    #[test]
    fn fields_come_with_their_folded_lines() {
        let message = b"A: 1\r\nB: 2\r\n\tmore\r\nC: 3\r\n\r\nB: no\r\n";
        assert_eq!(header_fields(message, "b"), b"B: 2\r\n\tmore\r\n\r\n");
    }
}
