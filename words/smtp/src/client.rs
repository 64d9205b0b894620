//! The client's side of the dialogue: what a server offers, and commands that never say more than was offered.

use crate::reply::Answer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::net::IpAddr;
use words_mail::{Address, Notify, Peer, PeerName, Recipient, Ret, Sender};

/// The most recipients of one transaction. RFC 5321 §4.5.3.1.8 obliges every server to take 100.
pub const RECIPIENTS_MAX: usize = 100;

/// Which of the two protocols is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// SMTP (RFC 5321): one answer to the final dot.
    Smtp,
    /// LMTP (RFC 2033): one answer to the final dot for each accepted recipient.
    Lmtp,
}

/// What a server offered in answer to `EHLO` or `LHLO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `SIZE` (RFC 1870): the largest message in bytes; `Some(0)` means no stated limit.
    pub size: Option<u64>,
    /// `PIPELINING` (RFC 2920).
    pub pipelining: bool,
    /// `8BITMIME` (RFC 6152).
    pub eight_bit: bool,
    /// `SMTPUTF8` (RFC 6531).
    pub utf8: bool,
    /// `DSN` (RFC 3461).
    pub dsn: bool,
    /// `STARTTLS` (RFC 3207).
    pub starttls: bool,
    /// `CHUNKING` (RFC 3030).
    pub chunking: bool,
    /// `AUTH` mechanisms (RFC 4954), upper case.
    pub auth: Vec<String>,
    /// `XCLIENT` attributes (Postfix), upper case; empty when not offered.
    pub xclient: Vec<String>,
}

impl Capabilities {
    /// Reads the answer to `EHLO`; its first line is the server's greeting. Unknown keywords are left out.
    pub fn read(answer: &Answer) -> Capabilities {
        let mut offered = Capabilities::default();
        for line in answer.lines.iter().skip(1) {
            // Some old servers write `AUTH=LOGIN PLAIN`.
            let line = line.to_ascii_uppercase().replacen("AUTH=", "AUTH ", 1);
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default() {
                "SIZE" => offered.size = Some(words.next().and_then(|w| w.parse().ok()).unwrap_or(0)),
                "PIPELINING" => offered.pipelining = true,
                "8BITMIME" => offered.eight_bit = true,
                "SMTPUTF8" => offered.utf8 = true,
                "DSN" => offered.dsn = true,
                "STARTTLS" => offered.starttls = true,
                "CHUNKING" => offered.chunking = true,
                "AUTH" => offered.auth.extend(words.map(str::to_owned)),
                "XCLIENT" => offered.xclient.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        offered
    }
}

/// Why a command cannot be said to this server. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CannotSay {
    /// The text holds a control byte that would end the command early.
    ControlByte,
    /// The address or message needs SMTPUTF8 and the server does not offer it (RFC 6531 §3.2).
    NeedsUtf8,
    /// The message is larger than the server takes (RFC 1870 §6.1): its limit.
    TooLarge(u64),
}

impl fmt::Display for CannotSay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CannotSay::ControlByte => f.write_str("a control byte inside a command"),
            CannotSay::NeedsUtf8 => f.write_str("needs SMTPUTF8, which the next hop does not offer"),
            CannotSay::TooLarge(limit) => write!(f, "larger than the {limit} bytes the next hop takes"),
        }
    }
}

impl std::error::Error for CannotSay {}

/// `EHLO` or `LHLO` with our name.
///
/// # Errors
/// When the name holds a control byte or a space.
pub fn hello(protocol: Protocol, name: &str) -> Result<Vec<u8>, CannotSay> {
    let verb = match protocol {
        Protocol::Smtp => "EHLO",
        Protocol::Lmtp => "LHLO",
    };
    line(&format!("{verb} {}", word(name)?))
}

/// `HELO`, for a server that knows no `EHLO` (RFC 5321 §3.2).
///
/// # Errors
/// When the name holds a control byte or a space.
pub fn helo(name: &str) -> Result<Vec<u8>, CannotSay> {
    line(&format!("HELO {}", word(name)?))
}

/// `AUTH PLAIN` with its initial response (RFC 4616).
///
/// # Errors
/// When user or password holds a NUL.
pub fn auth_plain(user: &str, password: &str) -> Result<Vec<u8>, CannotSay> {
    if user.contains('\0') || password.contains('\0') {
        return Err(CannotSay::ControlByte);
    }
    line(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}"))))
}

/// One answer to a `334` of `AUTH LOGIN`: the user, then the password.
pub fn auth_login_answer(text: &str) -> Vec<u8> {
    format!("{}\r\n", STANDARD.encode(text)).into_bytes()
}

/// What `MAIL FROM` says beside the sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// The size of the message in bytes, for `SIZE=`.
    pub size: Option<u64>,
    /// `BODY=8BITMIME`.
    pub eight_bit: bool,
    /// Whether envelope or header cannot be sent without SMTPUTF8.
    pub utf8: bool,
    /// `RET=`.
    pub ret: Option<Ret>,
    /// `ENVID=`, xtext.
    pub envid: Option<String>,
}

/// `MAIL FROM` with those parameters the server offered.
///
/// An 8-bit body goes to a server without 8BITMIME as it is, without the parameter: every server in use passes it,
/// and recoding it would break DKIM signatures.
///
/// # Errors
/// When the message cannot be sent to this server at all.
pub fn mail(sender: &Sender, with: &MailParameters, offered: &Capabilities) -> Result<Vec<u8>, CannotSay> {
    let international = sender.address().is_some_and(Address::is_international);
    if (with.utf8 || international) && !offered.utf8 {
        return Err(CannotSay::NeedsUtf8);
    }
    let mut text = format!("MAIL FROM:<{sender}>");
    if let (Some(size), Some(limit)) = (with.size, offered.size) {
        if limit > 0 && size > limit {
            return Err(CannotSay::TooLarge(limit));
        }
        text.push_str(&format!(" SIZE={size}"));
    }
    if with.eight_bit && offered.eight_bit {
        text.push_str(" BODY=8BITMIME");
    }
    if with.utf8 || international {
        text.push_str(" SMTPUTF8");
    }
    if offered.dsn {
        match with.ret {
            Some(Ret::Full) => text.push_str(" RET=FULL"),
            Some(Ret::Headers) => text.push_str(" RET=HDRS"),
            None => {}
        }
        if let Some(envid) = &with.envid {
            text.push_str(&format!(" ENVID={}", word(envid)?));
        }
    }
    line(&text)
}

/// `RCPT TO` with those parameters the server offered.
///
/// # Errors
/// When the address cannot be said to this server.
pub fn rcpt(recipient: &Recipient, offered: &Capabilities) -> Result<Vec<u8>, CannotSay> {
    if recipient.address.is_international() && !offered.utf8 {
        return Err(CannotSay::NeedsUtf8);
    }
    let mut text = format!("RCPT TO:<{}>", recipient.address);
    if offered.dsn {
        if let Some(notify) = &recipient.notify {
            text.push_str(&format!(" NOTIFY={}", notify_words(notify)));
        }
        if let Some(orcpt) = &recipient.orcpt {
            text.push_str(&format!(" ORCPT={}", word(orcpt)?));
        }
    }
    line(&text)
}

/// RFC 3461 §4.1: `NEVER` stands alone.
fn notify_words(notify: &Notify) -> String {
    let wanted = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let words: Vec<&str> = wanted.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
    if notify.never || words.is_empty() { "NEVER".to_owned() } else { words.join(",") }
}

/// `XCLIENT` with those of the client's attributes that the server takes; `None` when it takes no address.
///
/// The server answers `220` and starts again: the caller says `EHLO` once more. Every attribute the server takes is said,
/// as one that is left out would keep its last value, which is about us or about the client before.
///
/// # Errors
/// When the command cannot be written.
pub fn xclient(client: &Peer, offered: &Capabilities) -> Result<Option<Vec<u8>>, CannotSay> {
    let takes = |attribute: &str| offered.xclient.iter().any(|a| a == attribute);
    if !takes("ADDR") {
        return Ok(None);
    }
    const NONE: &str = "[UNAVAILABLE]";
    const LATER: &str = "[TEMPUNAVAIL]";
    let mut text = match client.ip {
        IpAddr::V4(ip) => format!("XCLIENT ADDR={ip}"),
        IpAddr::V6(ip) => format!("XCLIENT ADDR=IPV6:{ip}"),
    };
    let mut say = |attribute: &str, value: String| {
        if takes(attribute) {
            text.push_str(&format!(" {attribute}={value}"));
        }
    };
    let (name, reverse) = match &client.name {
        Some(PeerName::Verified(name)) => (xtext(name), xtext(name)),
        Some(PeerName::Unverified(name)) => (NONE.to_owned(), xtext(name)),
        Some(PeerName::Nameless) => (NONE.to_owned(), NONE.to_owned()),
        Some(PeerName::Untold) | None => (LATER.to_owned(), LATER.to_owned()),
    };
    say("NAME", name);
    say("REVERSE_NAME", reverse);
    if let Some(port) = client.port {
        say("PORT", port.to_string());
    }
    say("PROTO", if client.protocol.starts_with("ESMTP") { "ESMTP" } else { "SMTP" }.to_owned());
    say("HELO", if client.helo.is_empty() { NONE.to_owned() } else { xtext(&client.helo) });
    // Whoever signed in did so here, not there.
    say("LOGIN", NONE.to_owned());
    line(&text).map(Some)
}

/// RFC 3461 §4: every byte outside printable ASCII, `+` and `=` in hex.
pub fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b'!'..=b'~').contains(&byte) && byte != b'+' && byte != b'=' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("+{byte:02X}"));
        }
    }
    out
}

fn word(text: &str) -> Result<&str, CannotSay> {
    let bad = text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace());
    if bad { Err(CannotSay::ControlByte) } else { Ok(text) }
}

/// The last gate before the wire: no argument, however it came to be, starts a second command.
fn line(text: &str) -> Result<Vec<u8>, CannotSay> {
    if text.chars().any(char::is_control) {
        return Err(CannotSay::ControlByte);
    }
    Ok(format!("{text}\r\n").into_bytes())
}

#[cfg(test)]
mod tests;
