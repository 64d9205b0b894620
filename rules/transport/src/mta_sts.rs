//! SMTP MTA Strict Transport Security (RFC 8461): the record, the policy, and whom it covers.

/// The longest time a policy may be believed, seconds (RFC 8461 §3.2: about a year).
const MAX_AGE_MOST: u32 = 31_557_600;
/// Patterns of one policy at most.
const PATTERNS_MAX: usize = 256;
/// The longest id of a policy (RFC 8461 §3.1).
const ID_MAX: usize = 32;

/// What a domain wants done with servers that fail its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is sent to them.
    Enforce,
    /// It is sent, and reported.
    Testing,
    /// There is no policy any more.
    None,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is done with servers that fail it.
    pub mode: Mode,
    /// How long it may be believed after it was fetched, seconds.
    pub max_age: u32,
    /// Names of servers, in lower case; one that begins with `*.` stands for one label more.
    pub mx: Vec<String>,
}

/// The id of the policy that the texts at `_mta-sts` announce; none when there is no such text, more than one, or one
/// that is not as it should be (RFC 8461 §3.1).
pub fn announced(texts: &[String]) -> Option<String> {
    let mut ours = texts.iter().filter(|text| is_version(text));
    let (Some(text), None) = (ours.next(), ours.next()) else { return None };
    let id = text.split(';').skip(1).find_map(|field| {
        let (name, value) = field.split_once('=')?;
        (name.trim() == "id").then(|| value.trim().to_owned())
    })?;
    let fits = (1..=ID_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    fits.then_some(id)
}

fn is_version(text: &str) -> bool {
    text.split_once(';').is_some_and(|(version, _)| version.trim_end() == "v=STSv1")
}

impl Policy {
    /// Reads a policy (RFC 8461 §3.2). Fields that are not known are passed over; of one that stands twice the first
    /// counts.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for line in text.lines() {
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() {
                continue;
            }
            let Some((name, value)) = line.split_once(':') else {
                return Err("a line of the policy has no colon".to_owned());
            };
            let value = value.trim();
            match name.trim() {
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                "mx" => mx.push(pattern(value)?),
                _ => {}
            }
            if mx.len() > PATTERNS_MAX {
                return Err(format!("the policy names more than {PATTERNS_MAX} servers"));
            }
        }
        if version != Some("STSv1") {
            return Err("the policy is not of version STSv1".to_owned());
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err("the policy's mode is none of enforce, testing, none".to_owned()),
        };
        let digits =
            max_age.filter(|age| age.bytes().all(|b| b.is_ascii_digit()) && (1..=10).contains(&age.len()));
        let Some(age) = digits.and_then(|age| age.parse::<u64>().ok()) else {
            return Err("the policy has no max_age".to_owned());
        };
        if mx.is_empty() && mode != Mode::None {
            return Err("the policy names no mx".to_owned());
        }
        let max_age = u32::try_from(age).unwrap_or(MAX_AGE_MOST).min(MAX_AGE_MOST);
        Ok(Policy { mode, max_age, mx })
    }

    /// Whether a server's name is one of the policy's (RFC 8461 §4.1): a `*` stands for one label, the leftmost.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(rest) => host.split_once('.').is_some_and(|(label, of)| !label.is_empty() && of == rest),
            None => *pattern == host,
        })
    }

    /// Its lines, as reports name them (RFC 8460 §4.2).
    pub fn lines(&self) -> Vec<String> {
        let mode = match self.mode {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        };
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {mode}")];
        lines.extend(self.mx.iter().map(|mx| format!("mx: {mx}")));
        lines.push(format!("max_age: {}", self.max_age));
        lines
    }
}

fn pattern(text: &str) -> Result<String, String> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let rest = name.strip_prefix("*.").unwrap_or(&name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if rest.len() <= 253 && rest.contains('.') && rest.split('.').all(label) {
        return Ok(name);
    }
    Err("an mx of the policy is no host name".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_domain_announces_one_policy_or_none() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (list, id) in [
            (&["v=STSv1; id=20160831085700Z;"][..], Some("20160831085700Z")),
            (&["v=STSv1;id=1"], Some("1")),
            (&["v=STSv1 ; x=y; id = a1 ; "], Some("a1")),
            (&["v=spf1 -all", "v=STSv1; id=1"], Some("1")),
            (&["v=STSv1; id=1", "v=STSv1; id=2"], None),
            (&["v=STSv1; id=1-2"], None),
            (&["v=STSv1; id="], None),
            (&["v=STSv1; id=123456789012345678901234567890123"], None),
            (&["v=STSv1"], None),
            (&["v=STSv10; id=1"], None),
            (&["V=STSv1; id=1"], None),
            (&["id=1; v=STSv1"], None),
            (&[], None),
        ] {
            assert_eq!(announced(&texts(list)).as_deref(), id, "{list:?}");
        }
    }

    #[test]
    fn a_policy_is_read_or_refused_with_words() {
        let policy = |mode, max_age, mx: &[&str]| {
            Ok(Policy { mode, max_age, mx: mx.iter().map(|mx| (*mx).to_owned()).collect() })
        };
        for (text, read) in [
            (
                "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\nmax_age: 604800\r\n",
                policy(Mode::Enforce, 604_800, &["mail.example.com", "*.example.net"]),
            ),
            (
                "max_age:1\nmode:testing\n\nfuture: x:y\nmx: a.b.\nversion:STSv1",
                policy(Mode::Testing, 1, &["a.b"]),
            ),
            ("version: STSv1\nmode: none\nmax_age: 0\n", policy(Mode::None, 0, &[])),
            (
                "version: STSv1\nmode: enforce\nmode: none\nmx: a.b\nmax_age: 9999999999\nmax_age: 1\n",
                policy(Mode::Enforce, MAX_AGE_MOST, &["a.b"]),
            ),
        ] {
            assert_eq!(Policy::parse(text), read, "{text}");
        }
        for (text, why) in [
            ("", "version"),
            ("version: STSv2\nmode: enforce\nmx: a.b\nmax_age: 1", "version"),
            ("version: STSv1\nmode: Enforce\nmx: a.b\nmax_age: 1", "mode"),
            ("version: STSv1\nmx: a.b\nmax_age: 1", "mode"),
            ("version: STSv1\nmode: enforce\nmax_age: 1", "names no mx"),
            ("version: STSv1\nmode: enforce\nmx: a.b", "max_age"),
            ("version: STSv1\nmode: enforce\nmx: a.b\nmax_age: -1", "max_age"),
            ("version: STSv1\nmode: enforce\nmx: a.b\nmax_age: 99999999999", "max_age"),
            ("version: STSv1\nmode: enforce\nmx: *\nmax_age: 1", "no host name"),
            ("version: STSv1\nmode: enforce\nmx: a.*.b\nmax_age: 1", "no host name"),
            ("version: STSv1\nmode: enforce\nmx: a..b\nmax_age: 1", "no host name"),
            ("<html>\n<title>404</title>", "no colon"),
        ] {
            assert!(
                Policy::parse(text).is_err_and(|said| said.contains(why)),
                "{text}: {:?}",
                Policy::parse(text)
            );
        }
        let many: String = (0..300).map(|n| format!("mx: m{n}.example.com\n")).collect();
        assert!(Policy::parse(&format!("version: STSv1\nmode: enforce\nmax_age: 1\n{many}")).is_err());
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let policy =
            Policy { mode: Mode::Enforce, max_age: 1, mx: vec!["*.example.net".into(), "mx.a.b".into()] };
        for (host, covered) in [
            ("mx1.example.net", true),
            ("MX1.Example.NET.", true),
            ("mx.a.b", true),
            ("example.net", false),
            (".example.net", false),
            ("a.mx1.example.net", false),
            ("mx1.example.net.evil.test", false),
            ("evilexample.net", false),
            ("a.b", false),
        ] {
            assert_eq!(policy.covers(host), covered, "{host}");
        }
    }

    proptest! {
        #[test]
        fn no_policy_is_too_strange(text in "(version: STSv1\n|mode: (enforce|none)\n|mx: [*.a-z]{0,9}\n|max_age: [0-9]{0,12}\r\n|.{0,20}\n){0,9}", any in ".{0,80}") {
            for text in [&text, &any] {
                if let Ok(policy) = Policy::parse(text) {
                    prop_assert!(policy.max_age <= MAX_AGE_MOST);
                    prop_assert_eq!(Policy::parse(&policy.lines().join("\r\n")), Ok(policy.clone()));
                    prop_assert!(!policy.covers(""));
                }
                let _ = announced(std::slice::from_ref(text));
            }
        }
    }
}
