//! The lines that go on top of an accepted message. Nothing below them is changed.

use std::fmt::Write;
use std::net::IpAddr;
use words_mail::{Envelope, Time, TraceId, TraceKey, TraceTag};

/// Writes the `Authentication-Results:`, `Received:` and trace lines, in this order.
pub(crate) fn prefix(
    host: &str,
    envelope: &Envelope,
    trace: TraceId,
    key: &TraceKey,
    now: Time,
    results: Option<&str>,
) -> String {
    let mut text = String::with_capacity(512);
    if let Some(results) = results {
        let _ = write!(text, "Authentication-Results: {host}{results}\r\n");
    }
    let peer = &envelope.peer;
    let literal = match peer.ip {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    };
    // RFC 5321 §4.4; the name is what the peer said, the literal is what we know.
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

/// A word that can stand in a `Received:` line.
fn word(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
    if clean.is_empty() { "unknown".to_owned() } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use words_mail::{Address, Peer, Recipient, Sender, Source};

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
            },
        }
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
        let two =
            prefix("mx", &envelope(&["a@b.example", "c@d.example"], "x\r\nEvil: y"), id, &key, Time(0), None);
        assert!(!two.contains("for <"));
        assert!(two.starts_with("Received: from x??Evil:?y ("));
        let own = prefix("mx", &envelope(&["\u{e9}@b.example"], "x"), id, &key, Time(0), None);
        assert!(own.is_ascii());
    }
}
