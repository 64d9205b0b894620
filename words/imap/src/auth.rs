//! The SASL exchange inside AUTHENTICATE (RFC 3501 §6.2.2, RFC 4616).

use crate::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Decodes what a client or server wrote as base 64.
pub fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Writes base 64.
pub fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The message of the PLAIN mechanism (RFC 4616 §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    /// As whom to act; empty: as oneself.
    pub authorize: String,
    /// Who signs in.
    pub user: String,
    /// The password.
    pub password: Secret,
}

impl Plain {
    /// Reads a decoded message.
    pub fn read(message: &[u8]) -> Option<Plain> {
        let mut parts = message.split(|b| *b == 0);
        let mut text = || parts.next().and_then(|p| String::from_utf8(p.to_vec()).ok());
        let (authorize, user) = (text()?, text()?);
        let password = Secret(parts.next()?.to_vec());
        (parts.next().is_none() && !user.is_empty()).then_some(Plain { authorize, user, password })
    }

    /// Writes the message, not yet as base 64.
    pub fn write(&self) -> Vec<u8> {
        [self.authorize.as_bytes(), self.user.as_bytes(), &self.password.0].join(&0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_read_and_written() {
        let plain = Plain::read(b"tim\0boss\0pa ss").unwrap();
        assert_eq!((plain.authorize.as_str(), plain.user.as_str()), ("tim", "boss"));
        assert_eq!(plain.write(), b"tim\0boss\0pa ss");
        assert!(!format!("{plain:?}").contains("pa ss"));
        for wrong in [&b""[..], b"a", b"a\0b", b"a\0\0c", b"a\0b\0c\0d", b"\xff\0b\0c"] {
            assert_eq!(Plain::read(wrong), None);
        }
    }
}
