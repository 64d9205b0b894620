//! Looking into mailboxes over IMAP and counting what is there.
//!
//! The client below is the lab's own and small: EXAMINE (which changes nothing) and FETCH. It shares nothing with
//! the product, and Dovecot's own tool counts the same mailboxes once more (`Primary::doveadm_count`).

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

use crate::load::{Outcome, STORY_HEADER, Sent};
use crate::tls::{self, Stream};

/// One message as the mailbox shows it.
#[derive(Debug, Clone)]
pub struct Message {
    /// The folder's name as the server lists it.
    pub folder: String,
    /// The folder's UIDVALIDITY.
    pub uidvalidity: u64,
    /// Its UID there.
    pub uid: u64,
    /// Its flags.
    pub flags: Vec<String>,
    /// Its size in bytes as the server states it.
    pub size: u64,
    /// The header, or the whole message when it was asked for.
    pub text: Vec<u8>,
}

impl Message {
    /// The values of all header fields of this name, unfolded, in order.
    pub fn headers(&self, name: &str) -> Vec<String> {
        headers(&self.text, name)
    }

    /// The id that the load sender gave it.
    pub fn story(&self) -> Option<String> {
        self.headers(STORY_HEADER).into_iter().next()
    }

    /// The queue id under which the primary's own Postfix carried it. Two copies with the same one were doubled by
    /// Postfix itself (killed between Dovecot's `250` and its own note of it), not by who handed them to Postfix.
    pub fn postfix_id(&self) -> Option<String> {
        let line = self.headers("Received").into_iter().find(|line| line.contains("(Postfix)"))?;
        let rest = line.split_once(" id ")?.1;
        Some(rest.split([';', ' ', '\t']).next()?.to_owned())
    }
}

/// Everything in one account at one moment.
#[derive(Debug, Clone, Default)]
pub struct Maildrop {
    /// All messages of all folders.
    pub messages: Vec<Message>,
    /// All folders, with UIDVALIDITY and UIDNEXT.
    pub folders: BTreeMap<String, (u64, u64)>,
}

impl Maildrop {
    /// Signs in and reads the headers of every message in every folder.
    ///
    /// # Panics
    /// When the server cannot be reached, refuses the sign-in, or answers something that is not IMAP.
    pub fn look(host: &str, port: u16, user: &str, password: &str) -> Maildrop {
        let look = || Self::try_look(host, port, user, password, "BODY.PEEK[HEADER]");
        // A process of Dovecot's gives up now and then when the kernel suspects a deadlock of its locks; clients come again.
        look().or_else(|_| look()).unwrap_or_else(|e| panic!("IMAP: {e}"))
    }

    /// As [`Maildrop::look`], with whole messages.
    ///
    /// # Panics
    /// As [`Maildrop::look`].
    pub fn look_whole(host: &str, port: u16, user: &str, password: &str) -> Maildrop {
        Self::try_look(host, port, user, password, "BODY.PEEK[]").unwrap_or_else(|e| panic!("IMAP: {e}"))
    }

    /// As [`Maildrop::look`], with the error instead of a panic. `section` is what FETCH asks for.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn try_look(
        host: &str,
        port: u16,
        user: &str,
        password: &str,
        section: &str,
    ) -> Result<Maildrop, String> {
        let mut talk = ImapTalk::connect(host, port)?;
        talk.sign_in(user, password)?;
        Self::read_all(talk, section)
    }

    /// Reads everything that the signed-in account has.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn read_all(mut talk: ImapTalk, section: &str) -> Result<Maildrop, String> {
        let mut drop = Maildrop::default();
        for folder in talk.folders()? {
            let (uidvalidity, uidnext) = match talk.examine(&folder) {
                Ok(numbers) => numbers,
                // Dovecot lists a folder that it will make when somebody first wants it.
                Err(words) if words.contains("doesn't exist") || words.contains("NONEXISTENT") => continue,
                Err(words) => return Err(words),
            };
            drop.folders.insert(folder.clone(), (uidvalidity, uidnext));
            let answers = talk.command(&format!("UID FETCH 1:* (UID FLAGS RFC822.SIZE {section})"))?;
            for answer in answers.iter().filter(|answer| answer.text.contains(" FETCH ")) {
                drop.messages.push(message(&folder, uidvalidity, answer));
            }
        }
        let _ = talk.command("LOGOUT");
        Ok(drop)
    }

    /// The messages of one folder.
    pub fn folder(&self, name: &str) -> Vec<&Message> {
        self.messages.iter().filter(|m| m.folder.eq_ignore_ascii_case(name)).collect()
    }

    /// The messages that carry this story id.
    pub fn with_story(&self, id: &str) -> Vec<&Message> {
        self.messages.iter().filter(|m| m.story().as_deref() == Some(id)).collect()
    }
}

/// The comparison of what was acknowledged with what is there.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages acknowledged to the sender.
    pub acknowledged: usize,
    /// Messages with a story id found in the mailboxes.
    pub found: usize,
    /// Acknowledged, and in no mailbox of their recipient.
    pub lost: Vec<String>,
    /// More than once in a mailbox, handed over more than once.
    pub doubled: Vec<String>,
    /// More than once in a mailbox, handed over once: the primary's own Postfix delivered it twice.
    pub doubled_by_primary: Vec<String>,
    /// In a mailbox although the sender was never told so (allowed: the sender tries again or gives up).
    pub stored_unacknowledged: usize,
}

impl Tally {
    /// Compares. `mailboxes` holds, per recipient address, what was found there.
    pub fn of(sent: &[Sent], mailboxes: &HashMap<String, Maildrop>) -> Tally {
        let mut tally = Tally::default();
        let mut copies: HashMap<(String, String), Vec<Option<String>>> = HashMap::new();
        for (address, drop) in mailboxes {
            for message in &drop.messages {
                let Some(id) = message.story() else { continue };
                tally.found += 1;
                copies.entry((address.clone(), id)).or_default().push(message.postfix_id());
            }
        }
        for one in sent {
            let acknowledged = matches!(one.outcome, Outcome::Acknowledged(_));
            tally.acknowledged += usize::from(acknowledged);
            let there = copies.remove(&(one.to.clone(), one.id.clone())).unwrap_or_default();
            if there.is_empty() {
                if acknowledged {
                    tally.lost.push(one.id.clone());
                }
                continue;
            }
            tally.stored_unacknowledged += usize::from(!acknowledged);
            let mut handed = there.clone();
            handed.sort();
            handed.dedup();
            if handed.len() > 1 || (there.len() > 1 && there.iter().all(Option::is_none)) {
                tally.doubled.push(one.id.clone());
            } else if there.len() > 1 {
                tally.doubled_by_primary.push(one.id.clone());
            }
        }
        // What is left belongs to nobody we sent to: a message in a stranger's mailbox is as bad as a lost one.
        tally.lost.extend(
            copies
                .into_keys()
                .filter(|(_, id)| sent.iter().any(|s| &s.id == id))
                .map(|(to, id)| format!("{id} (stands in the mailbox of {to}, who was not its recipient)")),
        );
        tally
    }

    /// Ends the story unless everything acknowledged is there once.
    ///
    /// # Panics
    /// When something was lost or handed over twice; names up to ten of each.
    pub fn must_be_whole(&self) {
        let first = |list: &[String]| list.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
        assert!(self.lost.is_empty(), "{} lost: {}", self.lost.len(), first(&self.lost));
        assert!(self.doubled.is_empty(), "{} doubled: {}", self.doubled.len(), first(&self.doubled));
        assert!(self.acknowledged > 0, "nothing was acknowledged, so nothing was proved");
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} acknowledged, {} found, {} lost, {} doubled, {} doubled inside the primary by its Postfix, {} stored \
             without an acknowledgement",
            self.acknowledged,
            self.found,
            self.lost.len(),
            self.doubled.len(),
            self.doubled_by_primary.len(),
            self.stored_unacknowledged
        )
    }
}

/// The values of all header fields of this name in a message, unfolded.
pub fn headers(text: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let mut values: Vec<String> = Vec::new();
    let mut ours = false;
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            if let (true, Some(last)) = (ours, values.last_mut()) {
                last.push(' ');
                last.push_str(line.trim());
            }
        } else {
            let field = line.split_once(':');
            ours = field.is_some_and(|(field, _)| field.eq_ignore_ascii_case(name));
            if ours {
                values.push(field.map_or("", |(_, value)| value).trim().to_owned());
            }
        }
    }
    values
}

/// One untagged answer: its text, with each literal taken out and kept in order.
#[derive(Debug, Default)]
pub struct Answer {
    /// The text without the literals; [`LITERAL`] stands where each was.
    pub text: String,
    /// The literals.
    pub literals: Vec<Vec<u8>>,
}

/// Stands in an answer's text where a literal was taken out.
pub const LITERAL: char = '\u{1}';

/// A very small IMAP client.
pub struct ImapTalk {
    reader: BufReader<Box<dyn Stream>>,
    tag: u32,
}

impl ImapTalk {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn connect(host: &str, port: u16) -> Result<ImapTalk, String> {
        ImapTalk::over(Box::new(open(host, port)?))
    }

    /// As [`ImapTalk::connect`], with TLS from the first byte.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn connect_tls(host: &str, port: u16) -> Result<ImapTalk, String> {
        ImapTalk::over(tls::begin(open(host, port)?)?)
    }

    /// As [`ImapTalk::connect_tls`] to a loopback port, from this loopback address.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn connect_tls_from(from: Ipv4Addr, port: u16) -> Result<ImapTalk, String> {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).map_err(|e| e.to_string())?;
        bind(&socket, &SocketAddrV4::new(from, 0)).map_err(|e| format!("{from}: {e}"))?;
        connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).map_err(|e| e.to_string())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|e| e.to_string())?;
        ImapTalk::over(tls::begin(stream)?)
    }

    fn over(stream: Box<dyn Stream>) -> Result<ImapTalk, String> {
        let mut talk = ImapTalk { reader: BufReader::new(stream), tag: 0 };
        let greeting = talk.answer()?;
        if greeting.text.starts_with("* OK") {
            Ok(talk)
        } else {
            Err(format!("greeted with {:?}", greeting.text))
        }
    }

    /// LOGIN.
    ///
    /// # Errors
    /// The server's words.
    pub fn sign_in(&mut self, user: &str, password: &str) -> Result<(), String> {
        self.command(&format!("LOGIN {} {}", quoted(user), quoted(password))).map(|_| ())
    }

    /// All folders that can be selected.
    ///
    /// # Errors
    /// The server's words.
    pub fn folders(&mut self) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        for answer in self.command("LIST \"\" \"*\"")? {
            if !answer.text.starts_with("* LIST") || answer.text.to_ascii_lowercase().contains("\\noselect") {
                continue;
            }
            let rest = answer.text.split_once(") ").map_or("", |(_, rest)| rest);
            let name = rest.split_once(' ').map_or("", |(_, name)| name).trim();
            names.push(match answer.literals.first() {
                Some(literal) => String::from_utf8_lossy(literal).into_owned(),
                None => name.trim_matches('"').replace("\\\"", "\"").replace("\\\\", "\\"),
            });
        }
        Ok(names)
    }

    /// EXAMINE; gives UIDVALIDITY and UIDNEXT.
    ///
    /// # Errors
    /// The server's words.
    pub fn examine(&mut self, folder: &str) -> Result<(u64, u64), String> {
        let answers = self.command(&format!("EXAMINE {}", quoted(folder)))?;
        let number = |name: &str| {
            answers.iter().find_map(|answer| {
                let rest = answer.text.split_once(&format!("[{name} "))?.1;
                rest.split(']').next()?.parse::<u64>().ok()
            })
        };
        Ok((number("UIDVALIDITY").unwrap_or(0), number("UIDNEXT").unwrap_or(0)))
    }

    /// Sends one command and gives the untagged answers, the tagged line last.
    ///
    /// # Errors
    /// The server's words when it says NO or BAD, or how the connection failed.
    pub fn command(&mut self, line: &str) -> Result<Vec<Answer>, String> {
        self.tag += 1;
        let tag = format!("s{}", self.tag);
        let bytes = format!("{tag} {line}\r\n");
        self.reader.get_mut().write_all(bytes.as_bytes()).map_err(|e| e.to_string())?;
        let mut answers = Vec::new();
        loop {
            let answer = self.answer()?;
            let tagged = answer.text.strip_prefix(&tag).map(str::trim_start).map(str::to_owned);
            answers.push(answer);
            match tagged {
                Some(text) if text.starts_with("OK") => return Ok(answers),
                Some(text) => return Err(format!("{:?} was answered {text}", line.split(' ').next())),
                None => {}
            }
        }
    }

    /// Sends a command that ends in a literal (APPEND) and gives the untagged answers.
    ///
    /// # Errors
    /// As [`ImapTalk::command`].
    pub fn append(&mut self, folder: &str, flags: &str, message: &[u8]) -> Result<Vec<Answer>, String> {
        self.tag += 1;
        let tag = format!("s{}", self.tag);
        let line = format!("{tag} APPEND {} ({flags}) {{{}}}\r\n", quoted(folder), message.len());
        self.reader.get_mut().write_all(line.as_bytes()).map_err(|e| e.to_string())?;
        let go = self.answer()?;
        if !go.text.starts_with('+') {
            return Err(format!("APPEND was answered {}", go.text));
        }
        let stream = self.reader.get_mut();
        stream.write_all(message).and_then(|()| stream.write_all(b"\r\n")).map_err(|e| e.to_string())?;
        let mut answers = Vec::new();
        loop {
            let answer = self.answer()?;
            let tagged = answer.text.strip_prefix(&tag).map(|rest| rest.trim_start().starts_with("OK"));
            let text = answer.text.clone();
            answers.push(answer);
            match tagged {
                Some(true) => return Ok(answers),
                Some(false) => return Err(text),
                None => {}
            }
        }
    }

    fn answer(&mut self) -> Result<Answer, String> {
        let mut answer = Answer::default();
        loop {
            let mut line = Vec::new();
            let n = self.reader.read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
            if n == 0 {
                return Err("the server closed the connection".to_owned());
            }
            let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            let literal = line
                .strip_suffix('}')
                .and_then(|rest| rest.rsplit_once('{'))
                .and_then(|(before, size)| Some((before.to_owned(), size.parse::<usize>().ok()?)));
            let Some((before, size)) = literal else {
                answer.text.push_str(&line);
                return Ok(answer);
            };
            answer.text.push_str(&before);
            answer.text.push(LITERAL);
            let mut body = vec![0; size];
            self.reader.read_exact(&mut body).map_err(|e| e.to_string())?;
            answer.literals.push(body);
        }
    }
}

fn open(host: &str, port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((host, port)).map_err(|e| format!("connect {host}:{port}: {e}"))?;
    let _ = stream.set_nodelay(true);
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|e| e.to_string())?;
    Ok(stream)
}

/// A quoted string of IMAP.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn message(folder: &str, uidvalidity: u64, answer: &Answer) -> Message {
    let number = |name: &str| {
        let rest = answer.text.split_once(&format!("{name} "))?.1;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    let flags =
        answer.text.split_once("FLAGS (").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(f, _)| f);
    Message {
        folder: folder.to_owned(),
        uidvalidity,
        uid: number("UID").unwrap_or(0),
        flags: flags.split_ascii_whitespace().map(str::to_owned).collect(),
        size: number("RFC822.SIZE").unwrap_or(0),
        text: answer.literals.first().cloned().unwrap_or_default(),
    }
}
