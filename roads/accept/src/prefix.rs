//! The lines that go on top of an accepted message. Nothing below them is changed.

use std::fmt::Write;
use std::net::IpAddr;
use words_mail::{
    Action, Check, CheckResult, Envelope, PeerName, Reason, Time, TraceId, TraceKey, TraceTag, Verdict,
};

/// Writes the lines that mark it, then `Authentication-Results:`, `Received:` and trace lines, in this order.
pub(crate) fn prefix(
    host: &str,
    envelope: &Envelope,
    trace: TraceId,
    key: &TraceKey,
    now: Time,
    results: Option<&str>,
    verdict: &Verdict,
) -> String {
    let mut text = String::with_capacity(512);
    mark(&mut text, verdict);
    if let Some(results) = results {
        let _ = write!(text, "Authentication-Results: {host}{results}\r\n");
    }
    let peer = &envelope.peer;
    let literal = match peer.ip {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    };
    let literal = match &peer.name {
        Some(PeerName::Verified(name)) => format!("{name} {literal}"),
        _ => literal,
    };
    // RFC 5321 §4.4; the first name is what the peer said, what stands behind it is what we know.
    let _ = write!(
        text,
        "Received: from {} ({literal})\r\n\tby {host} (Stormpost) with {}",
        word(&peer.helo),
        peer.protocol
    );
    if let Some(tls) = &peer.tls {
        let _ = write!(text, " ({tls})");
    }
    let _ = write!(text, "\r\n\tid {trace}");
    // With more than one recipient the line would tell each about the others.
    if let [recipient] = &envelope.recipients[..]
        && recipient.address.to_string().len() < 256
        && (envelope.utf8 || !recipient.address.is_international())
    {
        let _ = write!(text, "\r\n\tfor <{}>", recipient.address);
    }
    let _ = write!(text, ";\r\n\t{}\r\n", now.rfc5322());
    let _ = write!(text, "{}: {}\r\n", TraceTag::HEADER, TraceTag::new(trace, key));
    text
}

/// The lines that say what was found. `X-Spam:` is what mail programs and servers sort by; the topmost one is ours.
fn mark(text: &mut String, verdict: &Verdict) {
    // What SPF, DKIM, DMARC and ARC say stands in `Authentication-Results:` already.
    let elsewhere = |check| matches!(check, Check::Spf | Check::Dkim | Check::Dmarc | Check::Arc);
    if verdict.checks.iter().all(|answer| answer.result <= CheckResult::Noted || elsewhere(answer.check)) {
        return;
    }
    if let Action::Tag { .. } = verdict.action {
        text.push_str("X-Spam: Yes\r\nX-Spam-Status: Yes");
        for answer in verdict.checks.iter().filter(|answer| answer.result == CheckResult::Tag) {
            let _ = write!(text, ", {}={}", answer.check, answer.reason.unwrap_or(Reason::Unknown));
            if let Some(score) = answer.score {
                let _ = write!(text, " score={}", rules_policy::points(score));
            }
        }
        text.push_str("\r\n");
    }
    // Names only, so nothing of it comes from outside; folded where it is long.
    let findings = verdict.findings().replace(") ", ")\r\n\t");
    let _ = write!(
        text,
        "Stormpost-Verdict: {} rules={}\r\n\t{findings}\r\n",
        verdict.action.name(),
        verdict.rules
    );
}

/// A word that can stand in a `Received:` line.
fn word(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
    if clean.is_empty() { "unknown".to_owned() } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use words_mail::{Address, CheckAnswer, Grade, Peer, Recipient, Sender, Source};

    fn envelope(recipients: &[&str], helo: &str) -> Envelope {
        let recipients = recipients.iter().map(|r| Recipient::new(Address::parse(r).unwrap())).collect();
        Envelope {
            sender: Sender::NOBODY,
            recipients,
            eight_bit: false,
            utf8: false,
            ret: None,
            envid: None,
            source: Source::Edge,
            peer: Peer {
                ip: "192.0.2.7".parse().unwrap(),
                helo: helo.into(),
                protocol: "ESMTPS".into(),
                tls: Some("TLSv1.3 X".into()),
                account: None,
                name: None,
                port: None,
            },
        }
    }

    fn verdict(action: Action, checks: Vec<CheckAnswer>) -> Verdict {
        let none = Grade::None;
        Verdict { rules: 2, action, may_bounce: false, spf: none, dkim: none, dmarc: none, hops: 0, checks }
    }

    #[test]
    fn tagged_mail_says_so_on_top_with_its_reasons() {
        let key = TraceKey([1; 32]);
        let id = TraceId::new(Time(0), [0; 10]);
        let mut spam =
            CheckAnswer::new(Check::Rspamd, CheckResult::Tag, Some(Reason::ProbablySpam)).detail("\r\nX: y");
        spam.score = Some(1_240);
        let silent = CheckAnswer::new(Check::Clamav, CheckResult::Unanswered, Some(Reason::NoAnswer));
        let tag = Action::Tag { reason: "spam\r\nX: y".into() };
        let lines = |verdict: &Verdict| {
            prefix("mx", &envelope(&["a@b.example"], "x"), id, &key, Time(0), None, verdict)
        };
        assert!(lines(&verdict(tag, vec![spam, silent.clone()])).starts_with(
            "X-Spam: Yes\r\nX-Spam-Status: Yes, rspamd=probably-spam score=12.40\r\n\
             Stormpost-Verdict: tag rules=2\r\n\trspamd=tag(probably-spam)\r\n\tclamav=unanswered(no-answer)\r\nReceived: "
        ));
        assert!(
            lines(&verdict(Action::Deliver, vec![silent])).starts_with("Stormpost-Verdict: deliver rules=2")
        );
        assert!(lines(&verdict(Action::Deliver, vec![])).starts_with("Received: "));
    }

    #[test]
    fn the_lines_read_as_rfc_5321_wants_them() {
        let key = TraceKey([1; 32]);
        let id = TraceId::new(Time::from_seconds(0), [0; 10]);
        let text = prefix(
            "mx.example.org",
            &envelope(&["a@b.example"], "c.example"),
            id,
            &key,
            Time(0),
            Some("; spf=pass"),
            &verdict(Action::Deliver, vec![]),
        );
        let tag = TraceTag::new(id, &key);
        assert_eq!(
            text,
            format!(
                "Authentication-Results: mx.example.org; spf=pass\r\n\
                 Received: from c.example ([192.0.2.7])\r\n\tby mx.example.org (Stormpost) with ESMTPS (TLSv1.3 X)\r\n\
                 \tid {id}\r\n\tfor <a@b.example>;\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\nStormpost-Trace: {tag}\r\n"
            )
        );
        assert_eq!(TraceTag::find(text.as_bytes(), &key), Some(id));
    }

    #[test]
    fn recipients_do_not_learn_of_each_other_and_foreign_words_forge_no_line() {
        let key = TraceKey([1; 32]);
        let id = TraceId::new(Time(0), [0; 10]);
        let plain = verdict(Action::Deliver, vec![]);
        let two = prefix(
            "mx",
            &envelope(&["a@b.example", "c@d.example"], "x\r\nEvil: y"),
            id,
            &key,
            Time(0),
            None,
            &plain,
        );
        assert!(!two.contains("for <"));
        assert!(two.starts_with("Received: from x??Evil:?y ("));
        let own = prefix("mx", &envelope(&["\u{e9}@b.example"], "x"), id, &key, Time(0), None, &plain);
        assert!(own.is_ascii());
    }
}
