//! Where a server is, how to speak with it, and how long to wait.

use super::Safety;
use crate::tls::{Tls, TlsMode};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use words_smtp::Credentials;
use words_smtp::client::Protocol;

/// How long each stage of a dialogue may take (RFC 5321 §4.5.3.2). Each is for the whole stage, so a server that sends
/// a byte a second gains nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Finding the addresses of the host.
    pub names: Duration,
    /// Opening the connection, per address.
    pub connect: Duration,
    /// The server's `220`.
    pub banner: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// The answer to `EHLO`, `STARTTLS`, `AUTH`, `RSET`.
    pub hello: Duration,
    /// The answer to `MAIL`.
    pub mail: Duration,
    /// The answer to each `RCPT`.
    pub rcpt: Duration,
    /// The `354` to `DATA`.
    pub data: Duration,
    /// Each block of the message.
    pub block: Duration,
    /// The answer to the final dot, for LMTP each answer.
    pub dot: Duration,
    /// The answer to `QUIT`.
    pub quit: Duration,
}

impl Limits {
    /// For one's own mail system, near and well known: short, so that trouble is seen in seconds.
    pub fn primary() -> Limits {
        let seconds = Duration::from_secs;
        Limits {
            names: seconds(5),
            connect: seconds(5),
            banner: seconds(10),
            tls: seconds(10),
            hello: seconds(10),
            mail: seconds(10),
            rcpt: seconds(20),
            data: seconds(20),
            block: seconds(30),
            dot: seconds(60),
            quit: seconds(1),
        }
    }

    /// For strangers: RFC 5321 §4.5.3.2.
    pub fn internet() -> Limits {
        let seconds = Duration::from_secs;
        Limits {
            names: seconds(20),
            connect: seconds(30),
            banner: seconds(300),
            tls: seconds(60),
            hello: seconds(300),
            mail: seconds(300),
            rcpt: seconds(300),
            data: seconds(120),
            block: seconds(180),
            dot: seconds(600),
            quit: seconds(2),
        }
    }

    /// For a look that must be over soon: no stage longer than `each`.
    pub fn at_most(self, each: Duration) -> Limits {
        Limits {
            names: self.names.min(each),
            connect: self.connect.min(each),
            banner: self.banner.min(each),
            tls: self.tls.min(each),
            hello: self.hello.min(each),
            mail: self.mail.min(each),
            rcpt: self.rcpt.min(each),
            data: self.data.min(each),
            block: self.block.min(each),
            dot: self.dot.min(each),
            quit: self.quit.min(each),
        }
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A host by name or IP address, and a port.
    Host(String, u16),
    /// A door on this machine.
    Local(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Host(host, port) => write!(f, "{host}:{port}"),
            Place::Local(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A server to hand mail to, and how to speak with it.
#[derive(Clone, Debug)]
pub struct Hop {
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// Where it is.
    pub place: Place,
    /// Its addresses when they are known already (from an MX look-up); else they are looked up.
    pub addresses: Vec<IpAddr>,
    /// When to encrypt.
    pub tls: TlsMode,
    /// Whom to believe.
    pub trust: Tls,
    /// How to sign in, if it wants that.
    pub sign_in: Option<Credentials>,
    /// Our name in `EHLO`.
    pub helo: String,
    /// How long to wait for what.
    pub limits: Limits,
    /// What the server's domain demands of the encryption, where that was looked up; it goes before `tls` and `trust`.
    pub safety: Option<Safety>,
    /// Whether to pass on the address of the client that brought the message (`XCLIENT`), when that is offered.
    pub pass_client: bool,
}

/// A step of the dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Looking up the host.
    Names,
    /// Opening the connection.
    Connect,
    /// Waiting for the `220`.
    Banner,
    /// `EHLO` or `LHLO`.
    Hello,
    /// STARTTLS and handshake.
    Tls,
    /// Signing in.
    SignIn,
    /// `MAIL`.
    Mail,
    /// `RCPT`.
    Rcpt,
    /// `DATA`.
    Data,
    /// The message.
    Body,
    /// The final dot.
    Dot,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Names => "names",
            Stage::Connect => "connect",
            Stage::Banner => "banner",
            Stage::Hello => "hello",
            Stage::Tls => "tls",
            Stage::SignIn => "sign-in",
            Stage::Mail => "mail",
            Stage::Rcpt => "rcpt",
            Stage::Data => "data",
            Stage::Body => "body",
            Stage::Dot => "dot",
        })
    }
}
