//! The chain of servers that vouch for what they saw (RFC 8617).

use super::MailAuth;
use mail_auth::{AuthenticatedMessage, DkimResult, Parameters};
use std::net::IpAddr;
use words_mail::Grade;

/// Seals looked at in one message. Each needs a key from the DNS; no honest chain is that long.
const SEALS_MAX: usize = 10;

/// Whether the chain holds, and whose words it takes to believe that DMARC passed once.
pub(super) async fn look(by: &MailAuth, message: &AuthenticatedMessage<'_>) -> (Grade, Vec<String>) {
    let seals = message.as_headers.len();
    if seals == 0 && message.ams_headers.is_empty() && !message.has_arc_errors {
        return (Grade::None, Vec::new());
    }
    // The library takes for granted that the digest of the last signature was made.
    let is_made = message.ams_headers.last().is_some_and(|last| {
        message.body_hashes.iter().any(|(canonical, algorithm, length, _)| {
            let signature = &last.header;
            *canonical == signature.cb && *length == signature.l && *algorithm == signature.a.into()
        })
    });
    if seals > SEALS_MAX || (!is_made && !message.has_arc_errors) {
        return (Grade::PermError, Vec::new());
    }
    let output = by.resolver.verify_arc(Parameters::new(message).with_txt_cache(&by.records)).await;
    let grade = match output.result() {
        DkimResult::Pass => Grade::Pass,
        // RFC 8617 §5.2: a chain holds or it does not.
        DkimResult::Neutral(_) | DkimResult::Fail(_) => Grade::Fail,
        DkimResult::PermError(_) => Grade::PermError,
        DkimResult::TempError(_) => Grade::TempError,
        DkimResult::None => Grade::None,
    };
    if grade != Grade::Pass {
        return (grade, Vec::new());
    }
    let sets = output.sets().iter().rev();
    let said = sets.map(|set| (set.seal.header.d.to_lowercase(), Said::read(set.results.value)));
    (grade, vouchers(said))
}

/// What one server said of the message as it got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    dmarc: bool,
    arc: bool,
}

impl Said {
    /// Reads the results, each behind a semicolon (RFC 8601 §2.2).
    fn read(results: &[u8]) -> Said {
        let text = String::from_utf8_lossy(results).to_lowercase();
        let passes = |method: &str| {
            text.split(';').skip(1).any(|result| {
                let words: String = result.split_whitespace().take(1).collect();
                words.strip_prefix(method).is_some_and(|rest| rest == "=pass")
            })
        };
        Said { dmarc: passes("dmarc"), arc: passes("arc") }
    }
}

/// From the last server back to the one that saw DMARC pass; nobody when none says so.
fn vouchers(said: impl Iterator<Item = (String, Said)>) -> Vec<String> {
    let mut vouchers = Vec::new();
    for (domain, said) in said {
        vouchers.push(domain);
        if said.dmarc {
            return vouchers;
        }
        if !said.arc {
            break;
        }
    }
    Vec::new()
}

/// An address as a value of a property: one with colons stands in quotes (RFC 2045 §5.1).
pub(super) fn pvalue(ip: IpAddr) -> String {
    if ip.is_ipv4() { ip.to_string() } else { format!("\"{ip}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_saw_dmarc_pass_vouches_for_it() {
        let said = |text: &str| Said::read(text.as_bytes());
        assert!(said("i=1; mx.example; spf=fail; dmarc=pass header.from=a.example").dmarc);
        for no in
            ["i=1; mx.example; dmarc=fail", "i=1; dmarc=passed", "i=1; x; spf=pass dmarc=pass", "dmarc=pass"]
        {
            assert!(!said(no).dmarc, "{no}");
        }
        let chain = |list: &[(&str, &str)]| {
            vouchers(list.iter().map(|(domain, text)| ((*domain).to_owned(), said(text))))
        };
        let passes = "i=1; mx; dmarc=pass";
        let handed_on = "i=2; mx; dmarc=fail; arc=pass";
        assert_eq!(chain(&[("list", passes)]), ["list"]);
        assert_eq!(chain(&[("fwd", handed_on), ("list", passes)]), ["fwd", "list"]);
        assert!(chain(&[("fwd", "i=2; mx; dmarc=fail"), ("list", passes)]).is_empty(), "it saw no chain");
        assert!(chain(&[("fwd", handed_on), ("list", "i=1; mx; dmarc=fail")]).is_empty());
    }
}
