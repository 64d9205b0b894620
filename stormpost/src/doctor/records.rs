//! What the DNS says, with how long it may be remembered: everything a doctor asks that mail itself does not.

use crate::world::Resolver;
use hickory_resolver::proto::rr::{RData, RecordType};
use std::net::IpAddr;
use words_world::{Boxed, NameError};

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// MX.
    Mx,
    /// A and AAAA.
    Address,
    /// TXT.
    Text,
    /// PTR.
    Name,
    /// TLSA (RFC 6698).
    Tlsa,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A preference and a host, without the final dot, in lower case.
    Mx(u16, String),
    /// An address.
    Address(IpAddr),
    /// The texts of a TXT record, joined.
    Text(String),
    /// A name, without the final dot, in lower case.
    Name(String),
    /// Usage, selector, matching type and the bytes (RFC 6698 §2.1).
    Tlsa(u8, u8, u8, Vec<u8>),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The records, at least one.
    pub rows: Vec<Row>,
    /// For how many seconds they may be remembered, as far as it was seen: a resolver that remembers says what is left.
    pub ttl: u32,
}

impl Rows {
    /// The addresses among them.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.rows.iter().filter_map(|row| if let Row::Address(ip) = row { Some(*ip) } else { None }).collect()
    }

    /// The texts among them.
    pub fn texts(&self) -> Vec<&str> {
        self.rows
            .iter()
            .filter_map(|row| if let Row::Text(text) = row { Some(&**text) } else { None })
            .collect()
    }

    /// The names among them.
    pub fn names(&self) -> Vec<&str> {
        self.rows
            .iter()
            .filter_map(|row| if let Row::Name(name) = row { Some(&**name) } else { None })
            .collect()
    }

    /// The exchangers among them, the preferred first.
    pub fn exchangers(&self) -> Vec<(u16, &str)> {
        let mx = |row: &'_ Row| matches!(row, Row::Mx(..));
        let mut found: Vec<(u16, &str)> = self
            .rows
            .iter()
            .filter(|row| mx(row))
            .filter_map(
                |row| if let Row::Mx(preference, host) = row { Some((*preference, &**host)) } else { None },
            )
            .collect();
        found.sort_unstable();
        found
    }
}

/// Who is asked.
pub trait Records: Send + Sync {
    /// The records of a kind that a name has. An address literal is its own address.
    fn ask<'a>(&'a self, name: &'a str, kind: Kind) -> Boxed<'a, Result<Rows, NameError>>;
}

/// The name under which the DNS keeps the names of an address (RFC 1035 §3.5, RFC 3596 §2.5).
pub(super) fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            let labels: Vec<String> = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            format!("{}.ip6.arpa", labels.join("."))
        }
    }
}

fn row(data: &RData, kind: Kind) -> Option<Row> {
    let plain =
        |name: &hickory_resolver::proto::rr::Name| name.to_ascii().trim_end_matches('.').to_lowercase();
    match (data, kind) {
        (RData::MX(mx), Kind::Mx) => Some(Row::Mx(mx.preference, plain(&mx.exchange))),
        (RData::A(a), Kind::Address) => Some(Row::Address(IpAddr::V4(a.0))),
        (RData::AAAA(a), Kind::Address) => Some(Row::Address(IpAddr::V6(a.0))),
        (RData::TXT(text), Kind::Text) => {
            let whole: Vec<u8> = text.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
            Some(Row::Text(String::from_utf8_lossy(&whole).into_owned()))
        }
        (RData::PTR(name), Kind::Name) => Some(Row::Name(plain(&name.0))),
        (RData::TLSA(tlsa), Kind::Tlsa) => Some(Row::Tlsa(
            tlsa.cert_usage.into(),
            tlsa.selector.into(),
            tlsa.matching.into(),
            tlsa.cert_data.clone(),
        )),
        _ => None,
    }
}

impl Resolver {
    async fn rows(&self, name: &str, kind: Kind) -> Result<Rows, NameError> {
        let types: &[RecordType] = match kind {
            Kind::Mx => &[RecordType::MX],
            Kind::Address => &[RecordType::A, RecordType::AAAA],
            Kind::Text => &[RecordType::TXT],
            Kind::Name => &[RecordType::PTR],
            Kind::Tlsa => &[RecordType::TLSA],
        };
        let (mut rows, mut ttl, mut why) = (Vec::new(), u32::MAX, NameError::NotFound);
        for record_type in types {
            match self.records(name, *record_type).await {
                Ok(found) => {
                    for (data, seconds) in found {
                        if let Some(row) = row(&data, kind) {
                            ttl = ttl.min(seconds);
                            rows.push(row);
                        }
                    }
                }
                // A temporary failure weighs more than a no: half an answer is none.
                Err(temporary @ NameError::Temporary(_)) => why = temporary,
                Err(NameError::NotFound) => {}
            }
        }
        if rows.is_empty() { Err(why) } else { Ok(Rows { rows, ttl }) }
    }
}

impl Records for Resolver {
    fn ask<'a>(&'a self, name: &'a str, kind: Kind) -> Boxed<'a, Result<Rows, NameError>> {
        Box::pin(async move {
            if kind == Kind::Address {
                let literal = name.trim_matches(['[', ']']).parse().ok();
                let here = name.eq_ignore_ascii_case("localhost").then(|| IpAddr::from([127, 0, 0, 1]));
                if let Some(ip) = literal.or(here) {
                    return Ok(Rows { rows: vec![Row::Address(ip)], ttl: 0 });
                }
            }
            self.rows(name, kind).await
        })
    }
}

#[cfg(test)]
pub(crate) mod fake {
    use super::*;
    use std::collections::HashMap;

    /// A DNS of fixed facts; every other name does not exist.
    #[derive(Clone, Default)]
    pub(crate) struct Facts(pub(crate) HashMap<(String, Kind), Result<Rows, NameError>>);

    impl Facts {
        pub(crate) fn put(mut self, name: &str, row: Row) -> Facts {
            let kind = match row {
                Row::Mx(..) => Kind::Mx,
                Row::Address(_) => Kind::Address,
                Row::Text(_) => Kind::Text,
                Row::Name(_) => Kind::Name,
                Row::Tlsa(..) => Kind::Tlsa,
            };
            let found = self.0.entry((name.to_owned(), kind)).or_insert(Ok(Rows { rows: vec![], ttl: 300 }));
            if let Ok(rows) = found {
                rows.rows.push(row);
            }
            self
        }

        pub(crate) fn mx(self, domain: &str, preference: u16, host: &str) -> Facts {
            self.put(domain, Row::Mx(preference, host.into()))
        }

        pub(crate) fn text(self, name: &str, text: &str) -> Facts {
            self.put(name, Row::Text(text.into()))
        }

        pub(crate) fn address(self, name: &str, ip: &str) -> Facts {
            self.put(name, Row::Address(ip.parse().unwrap()))
        }

        pub(crate) fn ptr(self, ip: &str, name: &str) -> Facts {
            self.put(&reverse(ip.parse().unwrap()), Row::Name(name.into()))
        }

        pub(crate) fn ttl(mut self, name: &str, kind: Kind, ttl: u32) -> Facts {
            if let Some(Ok(rows)) = self.0.get_mut(&(name.to_owned(), kind)) {
                rows.ttl = ttl;
            }
            self
        }

        pub(crate) fn silent(mut self, name: &str, kind: Kind) -> Facts {
            self.0.insert((name.to_owned(), kind), Err(NameError::Temporary("no answer".into())));
            self
        }
    }

    impl Records for Facts {
        fn ask<'a>(&'a self, name: &'a str, kind: Kind) -> Boxed<'a, Result<Rows, NameError>> {
            let found = self.0.get(&(name.to_owned(), kind)).cloned();
            Box::pin(async move { found.unwrap_or(Err(NameError::NotFound)) })
        }
    }

    #[test]
    fn addresses_are_turned_round_for_their_names() {
        for (ip, name) in [
            ("192.0.2.7", "7.2.0.192.in-addr.arpa"),
            ("2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
        ] {
            assert_eq!(reverse(ip.parse().unwrap()), name);
        }
    }
}
