//! Where an IMAP server is, as whom to sign in, and how long to wait.

use crate::smtp::Place;
use crate::tls::{Tls, TlsMode};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use words_imap::Secret;

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Finding the addresses of the host.
    pub names: Duration,
    /// Opening the connection, per address.
    pub connect: Duration,
    /// The greeting.
    pub greeting: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// The answer to a sign-in: some servers delay a refusal.
    pub sign_in: Duration,
    /// Silence within a command, and the whole of a short one.
    pub answer: Duration,
    /// The whole of a command that goes through a folder.
    pub scan: Duration,
    /// Each block written.
    pub block: Duration,
    /// The answer to a message that was appended.
    pub append: Duration,
    /// The answer to LOGOUT.
    pub leave: Duration,
}

impl Limits {
    /// For one's own mail system.
    pub fn primary() -> Limits {
        let seconds = Duration::from_secs;
        Limits {
            names: seconds(5),
            connect: seconds(5),
            greeting: seconds(10),
            tls: seconds(10),
            sign_in: seconds(20),
            answer: seconds(60),
            scan: seconds(3_600),
            block: seconds(30),
            append: seconds(120),
            leave: seconds(1),
        }
    }

    /// For a look that must be over soon: no step longer than `each`.
    pub fn at_most(self, each: Duration) -> Limits {
        Limits {
            names: self.names.min(each),
            connect: self.connect.min(each),
            greeting: self.greeting.min(each),
            tls: self.tls.min(each),
            sign_in: self.sign_in.min(each),
            answer: self.answer.min(each),
            scan: self.scan.min(each),
            block: self.block.min(each),
            append: self.append.min(each),
            leave: self.leave.min(each),
        }
    }
}

/// As whom to sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// As whom to act (SASL authzid, RFC 4616); needs AUTH=PLAIN. Empty: as oneself.
    pub authorize: String,
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// The person's address, when we act for a person who is connected to us: the server's own log, limits and penalties
    /// are about it then, where the server believes us.
    pub client: Option<IpAddr>,
}

impl SignIn {
    /// As oneself.
    pub fn own(user: &str, password: &str) -> SignIn {
        SignIn {
            authorize: String::new(),
            user: user.to_owned(),
            password: Secret(password.as_bytes().to_vec()),
            client: None,
        }
    }

    /// As this, for a person who is connected from there.
    pub fn for_client(self, ip: IpAddr) -> SignIn {
        SignIn { client: Some(ip.to_canonical()), ..self }
    }

    /// As another, by a master user whom the server lets act for `account` (SASL PLAIN with authzid).
    pub fn for_account(account: &str, master: &str, password: &str) -> SignIn {
        SignIn { authorize: account.to_owned(), ..SignIn::own(master, password) }
    }

    /// As another, by a master user in Dovecot's notation: `account*master`.
    pub fn suffixed(account: &str, separator: char, master: &str, password: &str) -> SignIn {
        SignIn::own(&format!("{account}{separator}{master}"), password)
    }
}

/// An IMAP server and how to speak with it.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Where it is.
    pub place: Place,
    /// Its addresses when they are known already; else they are looked up.
    pub addresses: Vec<IpAddr>,
    /// When to encrypt. A password is never risked: [`TlsMode::Opportunistic`] means the same as
    /// [`TlsMode::Required`] here, and only [`TlsMode::None`] sends it in plain text.
    pub tls: TlsMode,
    /// Whom to believe.
    pub trust: Tls,
    /// How long to wait for what.
    pub limits: Limits,
}

/// A step of opening a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Looking up the host.
    Names,
    /// Opening the connection.
    Connect,
    /// Waiting for the greeting.
    Greeting,
    /// STARTTLS and handshake.
    Tls,
    /// Signing in.
    SignIn,
    /// Selecting a folder.
    Select,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Names => "names",
            Stage::Connect => "connect",
            Stage::Greeting => "greeting",
            Stage::Tls => "tls",
            Stage::SignIn => "sign-in",
            Stage::Select => "select",
        })
    }
}
