//! Look-ups in the DNS.

use crate::Boxed;
use std::fmt;
use std::net::IpAddr;

/// Why a look-up gave nothing. The two must never be mixed up: only the first may refuse mail for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The name, or the record asked for, does not exist.
    NotFound,
    /// No answer could be had; asking later may help.
    Temporary(String),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::NotFound => f.write_str("no such name"),
            NameError::Temporary(why) => write!(f, "no answer from the DNS ({why})"),
        }
    }
}

impl std::error::Error for NameError {}

/// One mail exchanger of a domain (RFC 5321 §5.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// Its host name, without the final dot; empty for the null MX of RFC 7505.
    pub host: String,
}

/// What a host says about its certificates in the DNS (RFC 6698 §2.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tlsa {
    /// Which certificate is meant, and what is asked of it: 2 an authority's, 3 the server's own.
    pub usage: u8,
    /// What of it is compared: 0 the whole certificate, 1 its public key.
    pub selector: u8,
    /// How it is compared: 0 as it is, 1 by SHA-256, 2 by SHA-512.
    pub matching: u8,
    /// What it is compared with.
    pub association: Vec<u8>,
}

/// An answer, and whether it was proved by DNSSEC (RFC 4035 §4.3). One that is bogus is no answer: it is
/// [`NameError::Temporary`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proved<T> {
    /// The answer.
    pub found: T,
    /// Whether a chain of signatures leads from a trust anchor to all of it.
    pub secure: bool,
    /// The name at the end of its aliases; empty when there are none.
    pub alias: String,
}

impl<T> Proved<T> {
    /// An answer that nobody signed.
    pub fn insecure(found: T) -> Proved<T> {
        Proved { found, secure: false, alias: String::new() }
    }
}

/// The DNS.
pub trait Names: Send + Sync {
    /// The mail exchangers of a domain, in order of preference.
    fn mx<'a>(&'a self, domain: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>>;

    /// The addresses of a host.
    fn addresses<'a>(&'a self, host: &'a str) -> Boxed<'a, Result<Vec<IpAddr>, NameError>>;

    /// The names of an address, without their final dots. One that looks up no addresses says so.
    fn reverse<'a>(&'a self, ip: IpAddr) -> Boxed<'a, Result<Vec<String>, NameError>> {
        Box::pin(
            async move { Err(NameError::Temporary(format!("names of addresses ({ip}) are not looked up"))) },
        )
    }

    /// The texts of a name, each with its parts joined (RFC 7208 §3.3). By default there are none.
    fn txt<'a>(&'a self, _name: &'a str) -> Boxed<'a, Result<Vec<String>, NameError>> {
        Box::pin(async { Err(NameError::NotFound) })
    }

    /// As [`Names::mx`], saying whether the answer was proved. By default nothing ever is.
    fn mx_proved<'a>(&'a self, domain: &'a str) -> Boxed<'a, Result<Proved<Vec<Mx>>, NameError>> {
        Box::pin(async { Ok(Proved::insecure(self.mx(domain).await?)) })
    }

    /// As [`Names::addresses`], saying whether the answer was proved. By default nothing ever is.
    fn addresses_proved<'a>(&'a self, host: &'a str) -> Boxed<'a, Result<Proved<Vec<IpAddr>>, NameError>> {
        Box::pin(async { Ok(Proved::insecure(self.addresses(host).await?)) })
    }

    /// The TLSA records of a name such as `_25._tcp.mx.example.org`. By default there are none.
    fn tlsa<'a>(&'a self, _name: &'a str) -> Boxed<'a, Result<Proved<Vec<Tlsa>>, NameError>> {
        Box::pin(async { Err(NameError::NotFound) })
    }
}
