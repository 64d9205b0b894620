//! Who really sent a message: SPF, DKIM and DMARC, behind a trait.

use crate::BodyDigests;
use rules_policy::DmarcAsks;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use words_mail::{Grade, Sender};
use words_world::Boxed;

/// What is asked about.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The peer's address.
    pub ip: IpAddr,
    /// What it called itself.
    pub helo: &'a str,
    /// The envelope sender.
    pub sender: &'a Sender,
    /// The message's header, with its empty line.
    pub header: &'a [u8],
    /// The digests of the body that the header's signatures ask for.
    pub digests: BodyDigests,
}

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// SPF of the envelope sender, or of the name in the greeting when there is none.
    pub spf: Grade,
    /// The best DKIM signature.
    pub dkim: Grade,
    /// The domains whose signatures hold.
    pub dkim_domains: Vec<String>,
    /// DMARC.
    pub dmarc: Grade,
    /// What the author's domain asks for when it fails.
    pub dmarc_asks: DmarcAsks,
    /// ARC.
    pub arc: Grade,
    /// Whose words it takes to believe that DMARC passed once; see [`rules_policy::Facts::arc_vouchers`].
    pub arc_vouchers: Vec<String>,
    /// The `Authentication-Results:` value behind our name: `; spf=pass …`, lines folded by CRLF and a tab.
    pub results: String,
}

impl Findings {
    /// Nothing could be found out in time: the message is taken all the same, because it must not be lost to a slow
    /// name server, and whoever judges it later can see that nobody did.
    pub fn out_of_time() -> Findings {
        Findings {
            spf: Grade::TempError,
            dkim: Grade::TempError,
            dmarc: Grade::TempError,
            arc: Grade::TempError,
            results: "; spf=temperror; dkim=temperror; dmarc=temperror".to_owned(),
            ..Findings::default()
        }
    }
}

/// Checks who sent a message.
pub trait Authentication: Send + Sync {
    /// Looks up what is needed and judges. The caller limits the time.
    fn judge<'a>(&'a self, asked: Asked<'a>) -> Boxed<'a, Findings>;
}

/// Whether the name servers are waited for. While they are dead every message would else wait its full time, and the
/// door would be as slow as if it were closed; so then one message at a time waits and finds out, and the others are
/// taken unchecked.
///
/// The same holds for every other scanner that is asked in the session.
#[derive(Debug)]
pub(crate) struct Patience {
    /// Who is waited for, in words.
    who: &'static str,
    silences: AtomicU32,
    waiting: AtomicBool,
}

/// So many silences in a row mean that the name servers are dead.
const SILENCES: u32 = 10;

/// The leave to wait for the name servers. Dropped without an answer it counts as silence.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    patience: &'a Patience,
    alone: bool,
    answered: bool,
}

impl Patience {
    pub(crate) fn new(who: &'static str) -> Patience {
        Patience { who, silences: AtomicU32::new(0), waiting: AtomicBool::new(false) }
    }

    /// Leave to wait, or none.
    pub(crate) fn wait(&self) -> Option<Wait<'_>> {
        let alone = self.silences.load(Ordering::Relaxed) >= SILENCES;
        if alone && self.waiting.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(Wait { patience: self, alone, answered: false })
    }
}

impl Wait<'_> {
    /// The answer came in time.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.alone {
            self.patience.waiting.store(false, Ordering::Relaxed);
        }
        if self.answered {
            self.patience.silences.store(0, Ordering::Relaxed);
        } else if self.patience.silences.fetch_add(1, Ordering::Relaxed) + 1 == SILENCES {
            let who = self.patience.who;
            tracing::warn!(
                who,
                "no answer from who is asked about mail; until there is one, one message at a time waits"
            );
        }
    }
}

/// Makes a results text safe to stand in a header: no line break but a fold, no control byte, nothing that is not ASCII.
pub(crate) fn clean_results(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for (n, line) in text.split("\r\n").enumerate() {
        if n > 0 {
            clean.push_str("\r\n\t");
        }
        let line = if n > 0 { line.trim_start() } else { line };
        clean.extend(line.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }));
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_name_servers_are_dead_one_at_a_time_waits_for_them() {
        let patience = Patience::new("nobody");
        let crowd: Vec<_> = (0..SILENCES).map(|_| patience.wait().unwrap()).collect();
        drop(crowd);
        let one = patience.wait().unwrap();
        assert!(patience.wait().is_none());
        drop(one);
        let one = patience.wait().unwrap();
        assert!(patience.wait().is_none());
        one.answered();
        let _crowd: Vec<_> = (0..SILENCES).map(|_| patience.wait().unwrap()).collect();
    }

    #[test]
    fn results_cannot_break_out_of_their_field() {
        assert_eq!(clean_results("; a=b\r\n\tc=d"), "; a=b\r\n\tc=d");
        assert_eq!(clean_results("; a\r\nEvil: x\n\0\u{e9}"), "; a\r\n\tEvil: x???");
    }
}
