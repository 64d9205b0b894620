//! The command grammar (RFC 5321 §4.1, with the parameters of RFC 1870, 3030, 3461, 4954, 6152 and 6531).

use crate::sasl;
use words_mail::{Address, Notify, Recipient, Reply, Ret, Sender};

/// One command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `HELO name`.
    Helo(String),
    /// `EHLO name`.
    Ehlo(String),
    /// `LHLO name` (RFC 2033).
    Lhlo(String),
    /// `MAIL FROM:<…> …`.
    Mail(Mail),
    /// `RCPT TO:<…> …`.
    Rcpt(Recipient),
    /// `DATA`.
    Data,
    /// `BDAT octets [LAST]` (RFC 3030).
    Bdat {
        /// How many octets follow the line.
        octets: u64,
        /// Whether they are the message's last.
        last: bool,
    },
    /// `RSET`.
    Rset,
    /// `NOOP`.
    Noop,
    /// `QUIT`.
    Quit,
    /// `VRFY …`.
    Vrfy,
    /// `EXPN …`.
    Expn,
    /// `HELP`.
    Help,
    /// `STARTTLS` (RFC 3207).
    StartTls,
    /// `AUTH mechanism [initial response]` (RFC 4954); the response is decoded.
    Auth {
        /// Which mechanism.
        mechanism: Mechanism,
        /// The initial response, if it came with the command.
        initial: Option<String>,
    },
    /// The first line of an HTTP request: a browser was tricked into speaking to a mail server.
    Http,
}

/// The sign-in mechanisms offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The old two-question form that some clients still prefer.
    Login,
}

/// What `MAIL FROM` said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path.
    pub sender: Sender,
    /// `SIZE=`, octets (RFC 1870); more than a `u64` counts as the largest.
    pub size: Option<u64>,
    /// `BODY=8BITMIME`.
    pub eight_bit: bool,
    /// `SMTPUTF8`.
    pub utf8: bool,
    /// `RET=`.
    pub ret: Option<Ret>,
    /// `ENVID=`, still xtext.
    pub envid: Option<String>,
}

fn no(code: u16, detail: (u16, u16), text: &str) -> Reply {
    Reply::new(code, (5, detail.0, detail.1), text)
}

impl Command {
    /// Reads one line, without its CRLF.
    ///
    /// # Errors
    /// The reply that tells the peer what is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Command, Reply> {
        let text = std::str::from_utf8(line)
            .map_err(|_| no(500, (5, 2), "the command is not UTF-8; write addresses as RFC 6531 says"))?;
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(no(500, (5, 2), "the command has a control character; nothing was done"));
        }
        let text = text.trim_end_matches([' ', '\t']);
        let (verb, rest) = match text.find([' ', '\t']) {
            Some(at) => (&text[..at], text[at..].trim_start_matches([' ', '\t'])),
            None => (text, ""),
        };
        let bare = |command: Command| match rest {
            "" => Ok(command),
            _ => Err(no(501, (5, 4), "this command takes no argument; send it alone on its line")),
        };
        match verb.to_ascii_uppercase().as_str() {
            "HELO" => Ok(Command::Helo(host(rest)?)),
            "EHLO" => Ok(Command::Ehlo(host(rest)?)),
            "LHLO" => Ok(Command::Lhlo(host(rest)?)),
            "MAIL" => mail(after_word(rest, "FROM:", "write MAIL FROM:<address>")?).map(Command::Mail),
            "RCPT" => rcpt(after_word(rest, "TO:", "write RCPT TO:<address>")?).map(Command::Rcpt),
            "DATA" => bare(Command::Data),
            "BDAT" => bdat(rest),
            "RSET" => bare(Command::Rset),
            "NOOP" => Ok(Command::Noop),
            "QUIT" => bare(Command::Quit),
            "VRFY" => Ok(Command::Vrfy),
            "EXPN" => Ok(Command::Expn),
            "HELP" => Ok(Command::Help),
            "STARTTLS" => bare(Command::StartTls),
            "AUTH" => auth(rest),
            "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT" => Ok(Command::Http),
            _ => Err(no(500, (5, 2), "unknown command; HELP lists those that are known")),
        }
    }
}

/// The name in a greeting. Anything printable is taken: names of clients behind translation are rarely right, and
/// nothing is decided by them.
fn host(text: &str) -> Result<String, Reply> {
    if text.is_empty() {
        return Err(no(501, (5, 4), "say your host name behind the greeting, as in EHLO mail.example.org"));
    }
    if text.len() > 255 || text.contains([' ', '\t', '(', ')', '<', '>', '"', '\\', ';', ',']) {
        return Err(no(501, (5, 4), "that is not a host name; greet with a name or an [address]"));
    }
    Ok(text.to_owned())
}

fn after_word<'a>(text: &'a str, word: &str, hint: &str) -> Result<&'a str, Reply> {
    match text.get(..word.len()) {
        Some(start) if start.eq_ignore_ascii_case(word) => Ok(text[word.len()..].trim_start_matches(' ')),
        _ => Err(no(501, (5, 4), hint)),
    }
}

/// Cuts a path from the front of `text`: what stood between the angle brackets, and the parameters behind it. Brackets
/// are wanted by the grammar but left out by many scanners and printers, which are heard too.
fn path(text: &str) -> Result<(&str, &str), Reply> {
    let (inside, closed) = match text.strip_prefix('<') {
        Some(inside) => (inside, true),
        None => (text, false),
    };
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '>' if closed => {
                let rest = &inside[at + 1..];
                if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
                    return Err(no(501, (5, 4), "put a space between the address and what follows it"));
                }
                return Ok((&inside[..at], rest));
            }
            ' ' | '\t' if !closed => return Ok((&inside[..at], &inside[at..])),
            '<' | '>' | ' ' | '\t' => break,
            _ => {}
        }
    }
    match closed {
        false if !quoted && !inside.is_empty() && !inside.contains(['<', '>']) => Ok((inside, "")),
        _ => Err(no(501, (1, 7), "the address does not end; write it as <local@domain>")),
    }
}

/// Leaves a source route out (RFC 5321 §4.1.1.3: accepted, ignored).
fn without_route(path: &str) -> &str {
    match path.strip_prefix('@').and_then(|route| route.split_once(':')) {
        Some((_, address)) => address,
        None => path,
    }
}

fn mail(text: &str) -> Result<Mail, Reply> {
    let (path, rest) = path(text)?;
    let sender = match without_route(path) {
        "" => Sender::NOBODY,
        text => {
            let address = Address::parse(text).map_err(|e| no(501, (1, 7), &format!("sender: {e}")))?;
            if address.domain().is_empty() {
                return Err(no(501, (1, 7), "sender: the address has no domain"));
            }
            Sender(Some(address))
        }
    };
    let mut mail = Mail { sender, size: None, eight_bit: false, utf8: false, ret: None, envid: None };
    for (name, value) in parameters(rest)? {
        match (name.as_str(), value) {
            ("SIZE", Some(digits)) if is_number(digits) => {
                mail.size = Some(digits.parse().unwrap_or(u64::MAX));
            }
            ("BODY", Some(body)) if body.eq_ignore_ascii_case("7BIT") => {}
            ("BODY", Some(body)) if body.eq_ignore_ascii_case("8BITMIME") => mail.eight_bit = true,
            ("BODY", Some(body)) if body.eq_ignore_ascii_case("BINARYMIME") => {
                return Err(no(555, (5, 4), "BINARYMIME is not offered; send the message as 8BITMIME"));
            }
            ("SMTPUTF8", None) => mail.utf8 = true,
            ("RET", Some(ret)) if ret.eq_ignore_ascii_case("FULL") => mail.ret = Some(Ret::Full),
            ("RET", Some(ret)) if ret.eq_ignore_ascii_case("HDRS") => mail.ret = Some(Ret::Headers),
            ("ENVID", Some(id)) if id.len() <= 100 && is_xtext(id) => mail.envid = Some(id.to_owned()),
            // Who is said to have written it elsewhere (RFC 4954 §5): heard and not believed.
            ("AUTH", Some(who)) if who == "<>" || is_xtext(who) => {}
            ("SIZE" | "BODY" | "SMTPUTF8" | "RET" | "ENVID" | "AUTH", _) => {
                return Err(no(501, (5, 4), &format!("the value of {name} is not one that it can have")));
            }
            _ => return Err(no(555, (5, 4), "unknown MAIL parameter; use only what EHLO offered")),
        }
    }
    Ok(mail)
}

fn rcpt(text: &str) -> Result<Recipient, Reply> {
    let (path, rest) = path(text)?;
    let address =
        Address::parse(without_route(path)).map_err(|e| no(501, (1, 3), &format!("recipient: {e}")))?;
    let mut recipient = Recipient::new(address);
    for (name, value) in parameters(rest)? {
        match (name.as_str(), value) {
            ("NOTIFY", Some(list)) => recipient.notify = Some(notify(list)?),
            ("ORCPT", Some(text)) if text.len() <= 500 && is_orcpt(text) => {
                recipient.orcpt = Some(text.to_owned());
            }
            ("ORCPT", _) => {
                return Err(no(501, (5, 4), "write ORCPT=type;address with the address in xtext"));
            }
            _ => return Err(no(555, (5, 4), "unknown RCPT parameter; use only what EHLO offered")),
        }
    }
    Ok(recipient)
}

/// RFC 3461 §4.1: `NEVER`, or a list of the others.
fn notify(list: &str) -> Result<Notify, Reply> {
    let mut notify = Notify::default();
    for word in list.split(',') {
        let flag = match word.to_ascii_uppercase().as_str() {
            "NEVER" => &mut notify.never,
            "SUCCESS" => &mut notify.success,
            "FAILURE" => &mut notify.failure,
            "DELAY" => &mut notify.delay,
            _ => return Err(no(501, (5, 4), "NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")),
        };
        *flag = true;
    }
    if notify.never && (notify.success || notify.failure || notify.delay) {
        return Err(no(501, (5, 4), "NOTIFY=NEVER stands alone"));
    }
    Ok(notify)
}

/// `name[=value]` words, names in upper case, each at most once.
fn parameters(text: &str) -> Result<Vec<(String, Option<&str>)>, Reply> {
    let mut list: Vec<(String, Option<&str>)> = Vec::new();
    for word in text.split([' ', '\t']).filter(|w| !w.is_empty()) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let name = name.to_ascii_uppercase();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(no(501, (5, 4), "a parameter is NAME or NAME=value"));
        }
        if list.iter().any(|(other, _)| *other == name) {
            return Err(no(501, (5, 4), "a parameter was given twice"));
        }
        list.push((name, value));
    }
    Ok(list)
}

fn is_number(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// RFC 3461 §4: printable characters without `+` and `=`, which stand as `+2B` and `+3D`.
fn is_xtext(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => {
                let hex = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(b));
                if !hex(bytes.get(at + 1)) || !hex(bytes.get(at + 2)) {
                    return false;
                }
                at += 3;
            }
            b'=' => return false,
            b'!'..=b'~' => at += 1,
            _ => return false,
        }
    }
    !bytes.is_empty()
}

/// RFC 3461 §4.2, and the `utf-8` type of RFC 6533 §3 in its unencoded form.
fn is_orcpt(text: &str) -> bool {
    match text.split_once(';') {
        Some((kind, address)) => {
            let atom = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let ascii: String = address.chars().filter(char::is_ascii).collect();
            let foreign = address.len() > ascii.len();
            atom && if foreign { ascii.is_empty() || is_xtext(&ascii) } else { is_xtext(address) }
        }
        None => false,
    }
}

fn bdat(text: &str) -> Result<Command, Reply> {
    let mut words = text.split([' ', '\t']).filter(|w| !w.is_empty());
    let octets = words.next().filter(|w| is_number(w)).and_then(|w| w.parse().ok());
    let last = match words.next() {
        None => Some(false),
        Some(word) if word.eq_ignore_ascii_case("LAST") => Some(true),
        Some(_) => None,
    };
    match (octets, last, words.next()) {
        (Some(octets), Some(last), None) => Ok(Command::Bdat { octets, last }),
        _ => Err(no(501, (5, 4), "write BDAT octets, or BDAT octets LAST")),
    }
}

fn auth(text: &str) -> Result<Command, Reply> {
    let (name, initial) = match text.split_once([' ', '\t']) {
        Some((name, initial)) => (name, Some(sasl::decode(initial)?)),
        None => (text, None),
    };
    let mechanism = match name.to_ascii_uppercase().as_str() {
        "PLAIN" => Mechanism::Plain,
        "LOGIN" => Mechanism::Login,
        _ => return Err(no(504, (5, 4), "that mechanism is not offered; use PLAIN or LOGIN")),
    };
    Ok(Command::Auth { mechanism, initial })
}

#[cfg(test)]
#[path = "command/tests.rs"]
mod tests;
