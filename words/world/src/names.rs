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

/// The DNS.
pub trait Names: Send + Sync {
    /// The mail exchangers of a domain, in order of preference.
    fn mx<'a>(&'a self, domain: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>>;

    /// The addresses of a host.
    fn addresses<'a>(&'a self, host: &'a str) -> Boxed<'a, Result<Vec<IpAddr>, NameError>>;
}
