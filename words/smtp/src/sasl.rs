//! The two sign-in mechanisms that every mail client speaks, both only under TLS (RFC 4954, RFC 4616).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use words_mail::Reply;

/// What a person presented to sign in. The password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?}, ..)", self.user)
    }
}

/// One response line, from base 64. A lone `=` is an empty one (RFC 4954 §4).
pub(crate) fn decode(line: &str) -> Result<String, Reply> {
    let text = line.trim_matches(' ');
    if text == "=" {
        return Ok(String::new());
    }
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| Reply::new(501, (5, 5, 2), "the sign-in line is not base64; nothing was checked"))?;
    String::from_utf8(bytes)
        .map_err(|_| Reply::new(501, (5, 5, 2), "the sign-in line is not UTF-8; nothing was checked"))
}

/// `PLAIN`: `[authzid] NUL authcid NUL password` (RFC 4616 §2).
pub(crate) fn plain(text: &str) -> Result<Credentials, Reply> {
    let parts: Vec<&str> = text.split('\0').collect();
    let [acting_as, user, password] = parts[..] else {
        return Err(Reply::new(501, (5, 5, 2), "AUTH PLAIN wants authzid NUL user NUL password"));
    };
    if user.is_empty() || password.is_empty() {
        return Err(Reply::new(501, (5, 5, 2), "AUTH PLAIN without a user or password"));
    }
    if !acting_as.is_empty() && acting_as != user {
        return Err(Reply::new(535, (5, 7, 8), "nobody may act as somebody else here; sign in as yourself"));
    }
    Ok(Credentials { user: user.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_read_as_rfc_4616_writes_it() {
        let expected = Credentials { user: "tim".into(), password: "tanstaaftanstaaf".into() };
        assert_eq!(plain(&decode("AHRpbQB0YW5zdGFhZnRhbnN0YWFm").unwrap()), Ok(expected.clone()));
        assert_eq!(plain("tim\0tim\0tanstaaftanstaaf"), Ok(expected));
        for bad in ["", "tim", "\0tim", "\0tim\0", "\0\0x", "\0a\0b\0c", "kurt\0tim\0x"] {
            assert!(plain(bad).is_err(), "{bad:?}");
        }
        assert!(decode("not base64!").is_err());
        assert_eq!(decode("="), Ok(String::new()));
    }

    #[test]
    fn a_password_is_not_printed() {
        let text = format!("{:?}", Credentials { user: "tim".into(), password: "secret".into() });
        assert!(!text.contains("secret"));
    }
}
