//! Mail addresses, as they stand in an envelope.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An envelope address: local part and domain (RFC 5321 §4.1.2).
///
/// The local part is kept without its quotes and in the letter case given; the domain is lower case. A bare
/// `postmaster` (RFC 5321 §4.5.1) has an empty domain. Comparison ignores the local part's letter case, because
/// no mail system we stand in front of tells people apart by it.
#[derive(Clone, Debug, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    local: String,
    domain: String,
}

/// Why text is not an address; the words can be shown to the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(pub &'static str);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for AddressError {}

/// RFC 5321 §4.5.3.1.1 and §4.5.3.1.2.
const LOCAL_OCTETS_MAX: usize = 64;
const DOMAIN_OCTETS_MAX: usize = 255;

impl Address {
    /// An address of an unquoted local part and a domain (`example.org`, `[192.0.2.1]`, or empty for a bare
    /// `postmaster`).
    ///
    /// # Errors
    /// When a part is empty, too long, or holds a byte that no quoting makes legal.
    pub fn new(local: &str, domain: &str) -> Result<Address, AddressError> {
        if local.is_empty() {
            return Err(AddressError("the part before the @ is empty"));
        }
        if local.len() > LOCAL_OCTETS_MAX {
            return Err(AddressError("the part before the @ is longer than 64 octets"));
        }
        if local.chars().any(char::is_control) {
            return Err(AddressError("the part before the @ has a control character"));
        }
        let domain = domain.to_lowercase();
        if domain.is_empty() {
            if !local.eq_ignore_ascii_case("postmaster") {
                return Err(AddressError("the address has no domain"));
            }
        } else {
            check_domain(&domain)?;
        }
        Ok(Address { local: local.to_owned(), domain })
    }

    /// Reads `local@domain` or `"quoted local"@domain`, without angle brackets or route.
    ///
    /// # Errors
    /// When the text is not one address (RFC 5321 §4.1.2).
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        if let Some(quoted) = text.strip_prefix('"') {
            return parse_quoted(quoted);
        }
        let (local, domain) = match text.rsplit_once('@') {
            Some((_, "")) => return Err(AddressError("the part after the @ is empty")),
            Some(parts) => parts,
            None => (text, ""),
        };
        if !is_dot_atom(local) {
            return Err(AddressError("the part before the @ needs quotes or is empty"));
        }
        Address::new(local, domain)
    }

    /// The part before the `@`, without quotes.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The part after the `@`, in lower case; empty for a bare `postmaster`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether any character needs SMTPUTF8 (RFC 6531) on the wire.
    pub fn is_international(&self) -> bool {
        !self.local.is_ascii() || !self.domain.is_ascii()
    }

    /// The address in one spelling: all lower case. The key under which directories look it up.
    pub fn key(&self) -> String {
        self.to_string().to_lowercase()
    }

    /// The address without its plus-tag: `anna+list@x` is `anna@x`; `None` when there is no tag.
    pub fn without_tag(&self) -> Option<Address> {
        let (plain, _) = self.local.split_once('+')?;
        Address::new(plain, &self.domain).ok()
    }
}

fn parse_quoted(quoted: &str) -> Result<Address, AddressError> {
    let mut local = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let domain = quoted[at + 1..].strip_prefix('@');
                return match domain {
                    Some("") => Err(AddressError("the part after the @ is empty")),
                    Some(domain) => Address::new(&local, domain),
                    None if at + 1 == quoted.len() => Address::new(&local, ""),
                    None => Err(AddressError("text follows the closing quote")),
                };
            }
            '\\' => match chars.next() {
                Some((_, escaped)) => local.push(escaped),
                None => break,
            },
            _ => local.push(c),
        }
    }
    Err(AddressError("the quoted part before the @ is not closed"))
}

/// RFC 5321 §4.1.2 `Atom`, widened by RFC 6531 §3.3 to any non-ASCII character.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_control())
}

/// A dot-string. Empty atoms (`a..b`, `a.`) are against the grammar but exist in the wild as real addresses of
/// large providers, so they are let through: refusing them would lose people's mail.
fn is_dot_atom(local: &str) -> bool {
    !local.is_empty() && local.chars().all(|c| is_atext(c) || c == '.')
}

fn check_domain(domain: &str) -> Result<(), AddressError> {
    if domain.len() > DOMAIN_OCTETS_MAX {
        return Err(AddressError("the domain is longer than 255 octets"));
    }
    if let Some(literal) = domain.strip_prefix('[') {
        let inside = literal.strip_suffix(']').ok_or(AddressError("the address literal is not closed"))?;
        let text = inside.strip_prefix("ipv6:").unwrap_or(inside);
        return match text.parse::<std::net::IpAddr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(AddressError("the address literal is not an IP address")),
        };
    }
    let good_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| {
                c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && !c.is_control())
            })
    };
    if domain.split('.').all(good_label) {
        Ok(())
    } else {
        Err(AddressError("the domain is not a host name"))
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Address) -> bool {
        self.domain == other.domain && self.local.to_lowercase() == other.local.to_lowercase()
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Address) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// By domain, then by local part; letter case counts for nothing, as in equality.
impl Ord for Address {
    fn cmp(&self, other: &Address) -> std::cmp::Ordering {
        let local = || self.local.to_lowercase().cmp(&other.local.to_lowercase());
        self.domain.cmp(&other.domain).then_with(local)
    }
}

impl std::hash::Hash for Address {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.local.to_lowercase().hash(state);
        self.domain.hash(state);
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_atom(&self.local) {
            f.write_str(&self.local)?;
        } else {
            f.write_str("\"")?;
            for c in self.local.chars() {
                if c == '"' || c == '\\' {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            f.write_str("\"")?;
        }
        if self.domain.is_empty() { Ok(()) } else { write!(f, "@{}", self.domain) }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Address, AddressError> {
        Address::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

/// The reverse-path of an envelope: an address, or nobody (`<>`), which marks mail that must never be answered
/// by a bounce (RFC 5321 §4.5.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sender(pub Option<Address>);

impl Sender {
    /// The null reverse-path `<>`.
    pub const NOBODY: Sender = Sender(None);

    /// The address, if there is one.
    pub fn address(&self) -> Option<&Address> {
        self.0.as_ref()
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(address) => address.fmt(f),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_back() {
        for (text, local, domain) in [
            ("anna@example.org", "anna", "example.org"),
            ("Anna.B+tag@EXAMPLE.org", "Anna.B+tag", "example.org"),
            ("\"a b\"@example.org", "a b", "example.org"),
            ("\"a@b\"@example.org", "a@b", "example.org"),
            ("\"a\\\"b\"@example.org", "a\"b", "example.org"),
            ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
            ("a@[IPv6:2001:db8::1]", "a", "[ipv6:2001:db8::1]"),
            ("Postmaster", "Postmaster", ""),
            ("zoë@exämple.org", "zoë", "exämple.org"),
            ("a..b@example.org", "a..b", "example.org"),
        ] {
            let address = Address::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((address.local(), address.domain()), (local, domain), "{text}");
            assert_eq!(Address::parse(&address.to_string()), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_words() {
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a b@c",
            "a@b c",
            "a@-b",
            "a@b..c",
            "\"a@b",
            "\"a\"x@b",
            "a@[300.0.0.1]",
            "a@[1.2.3.4",
            "nobody",
            "a\r\n@b",
            "\"a\rb\"@c",
            "a@b\r\nRCPT TO:<x@y>",
            "<a@b>",
            "a@@b",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?} was taken for an address");
        }
    }

    #[test]
    fn letter_case_does_not_tell_people_apart() {
        assert_eq!(Address::parse("Anna@Example.org"), Address::parse("anna@example.ORG"));
        assert_eq!(Address::parse("Anna@Example.org").map(|a| a.key()), Ok("anna@example.org".into()));
    }

    #[test]
    fn a_plus_tag_is_dropped_once() {
        let tagged = Address::parse("anna+a+b@example.org").unwrap();
        assert_eq!(tagged.without_tag(), Address::parse("anna@example.org").ok());
        assert_eq!(Address::parse("anna@example.org").unwrap().without_tag(), None);
    }
}
