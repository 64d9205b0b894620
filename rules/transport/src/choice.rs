//! What must be proved of one server before mail is given to it.

use crate::mta_sts::{Mode, Policy};

/// What the DNS says about a server's certificates (RFC 7672 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dane {
    /// Nothing that was proved: its name, its address or its domain's MX are not signed, or it has no such records.
    Nothing,
    /// Records by which its certificate can be judged.
    Usable,
    /// Records, none of which can be used here.
    Unusable,
    /// The answer is bogus, or there is none: nobody may go on without it (RFC 7672 §2.1.2).
    NoAnswer(String),
}

/// How a server is gone to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Encrypted if it offers that, whoever it is (RFC 7435).
    Opportunistic,
    /// As [`Choice::Opportunistic`]; but who it is gets looked at, and told.
    Observed,
    /// Only if it is encrypted; who it is cannot be proved (RFC 7672 §2.2: all records unusable).
    Encrypted,
    /// Only if it is encrypted and its certificate is valid for its name (RFC 8461 §4.2).
    Valid,
    /// Only if it is encrypted and its certificate is one of those that the DNS names.
    Dane,
    /// Not at all, with the reason.
    Not(String),
}

/// What must be proved of the server `host` of a domain with this policy. DANE goes before MTA-STS: where there are records
/// for the server, the policy can neither loosen nor replace them (RFC 8461 §2).
pub fn choose(dane: &Dane, policy: Option<&Policy>, host: &str) -> Choice {
    match dane {
        Dane::NoAnswer(why) => return Choice::Not(format!("its TLSA records cannot be had: {why}")),
        Dane::Usable => return Choice::Dane,
        Dane::Unusable => return Choice::Encrypted,
        Dane::Nothing => {}
    }
    match policy {
        Some(policy) if policy.mode == Mode::Enforce => match policy.covers(host) {
            true => Choice::Valid,
            false => Choice::Not("the domain's MTA-STS policy does not name it".to_owned()),
        },
        Some(policy) if policy.mode == Mode::Testing => Choice::Observed,
        _ => Choice::Opportunistic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dane_goes_before_mta_sts_and_testing_never_stops_mail() {
        let policy = |mode| Policy { mode, max_age: 1, mx: vec!["mx.a.example".into()] };
        let (enforce, testing, none) = (policy(Mode::Enforce), policy(Mode::Testing), policy(Mode::None));
        let word = |choice: Choice| match choice {
            Choice::Not(_) => "not".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        for (dane, policy, host, expected) in [
            (Dane::Nothing, None, "mx.a.example", "opportunistic"),
            (Dane::Nothing, Some(&none), "mx.a.example", "opportunistic"),
            (Dane::Nothing, Some(&testing), "mx.a.example", "observed"),
            (Dane::Nothing, Some(&testing), "other.example", "observed"),
            (Dane::Nothing, Some(&enforce), "mx.a.example", "valid"),
            (Dane::Nothing, Some(&enforce), "other.example", "not"),
            (Dane::Usable, None, "mx.a.example", "dane"),
            (Dane::Usable, Some(&enforce), "other.example", "dane"),
            (Dane::Usable, Some(&testing), "mx.a.example", "dane"),
            (Dane::Unusable, None, "mx.a.example", "encrypted"),
            (Dane::Unusable, Some(&enforce), "mx.a.example", "encrypted"),
            (Dane::NoAnswer("bogus".into()), None, "mx.a.example", "not"),
            (Dane::NoAnswer("bogus".into()), Some(&testing), "mx.a.example", "not"),
        ] {
            assert_eq!(word(choose(&dane, policy, host)), expected, "{dane:?} {policy:?} {host}");
        }
    }
}
