//! What is demanded of the encryption of a connection, and who hears how it went.

use super::{NotSent, Seen, Session, Stage};
use crate::tls::{Proof, Tls, TlsFault, TlsTrouble};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// How the encryption of one connection went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Went {
    /// The server's address, when it came so far.
    pub address: Option<IpAddr>,
    /// What was wrong with it.
    pub trouble: Option<TlsTrouble>,
}

/// What a server has to prove before mail is given to it.
#[derive(Clone)]
pub struct Safety {
    /// What its certificate has to prove.
    pub proof: Proof,
    /// Who is believed, where a certificate has to be valid.
    pub trust: Tls,
    /// Whether nothing is sent to a server that does not prove it, or does not encrypt. Else it is only told.
    pub demanded: bool,
    /// By what it is demanded, for words: `MTA-STS`, `DANE`.
    pub by: &'static str,
    /// Who hears of each connection that came as far as encryption.
    pub told: Option<Arc<dyn Fn(Went) + Send + Sync>>,
}

impl fmt::Debug for Safety {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Safety")
            .field("proof", &self.proof)
            .field("demanded", &self.demanded)
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}

impl Safety {
    /// Tells how an opening went, and puts a failure into words.
    pub(super) fn tell(&self, opened: Result<Session, NotSent>, seen: Seen) -> Result<Session, NotSent> {
        let trouble = match &opened {
            Ok(session) if session.encrypted() => seen.trouble,
            Ok(_) => Some(
                seen.trouble
                    .unwrap_or_else(|| TlsTrouble::new(TlsFault::NotOffered, "it offers no STARTTLS")),
            ),
            Err(failed) if failed.stage == Stage::Tls => {
                Some(seen.trouble.unwrap_or_else(|| TlsTrouble::new(TlsFault::Other, failed.why.clone())))
            }
            // It did not come to encryption, or went wrong after it: neither is about it.
            Err(_) => return opened,
        };
        if let Some(told) = &self.told {
            told(Went { address: seen.address, trouble });
        }
        opened.map_err(|failed| match failed.stage {
            Stage::Tls if self.demanded => {
                let (by, why) = (self.by, &failed.why);
                // X.7.5: cryptographic failure (RFC 3463 §3.8).
                let why = format!(
                    "4.7.5 its domain demands safety ({by}), and this server does not prove it: {why}"
                );
                NotSent { why, ..failed }
            }
            _ => failed,
        })
    }
}
