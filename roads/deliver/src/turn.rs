//! What an answer of the other side means for a recipient: a table, without state.

use crate::lane::LaneName;
use crate::queue::Turn;
use stores_primary::internet::NoWay;
use stores_primary::smtp::{Fate, NotSent, Refusal, Stage};
use words_mail::{Outcome, Reply};
use words_smtp::client::Protocol;

/// No room in one mailbox: RFC 3463 §3.3 `X.2.2`, or a bare 552 to a recipient. Temporary, whatever the first digit says:
/// the person makes room, and then the mail should be there.
fn is_quota(reply: &Reply, stage: Stage) -> bool {
    match reply.enhanced {
        Some((_, subject, detail)) => (subject, detail) == (2, 2),
        None => reply.code == 552 && stage == Stage::Rcpt,
    }
}

/// A refusal that is about us or the server, not about the message: commands it does not know, sign-in it wants, a
/// server that takes no mail at all. For one's own primary that is a fault to be mended, not a reason to send mail back.
fn is_about_the_place(reply: &Reply, lane: &LaneName) -> bool {
    match lane {
        LaneName::Primary(_) | LaneName::Relay(_) | LaneName::SmartHost => {
            matches!(reply.code, 500..=504 | 521 | 530 | 534 | 535 | 538 | 556)
                || matches!(reply.enhanced, Some((5, 3, 2 | 5)))
        }
        LaneName::Domain(_) | LaneName::Mailbox => matches!(reply.code, 500..=504),
    }
}

fn refused(reply: &Reply) -> Turn {
    Turn::Final(Outcome::Refused { reply: reply.clone(), bounced: false })
}

/// A recipient, or the message, was refused before the message was sent.
pub(crate) fn of_refusal(refusal: &Refusal, lane: &LaneName) -> Turn {
    let Refusal { stage, reply, .. } = refusal;
    let words = format!("{stage}: {reply}");
    let quota = is_quota(reply, *stage);
    if *stage == Stage::Rcpt && (quota || reply.is_later()) {
        return Turn::Person { words, quota };
    }
    if is_about_the_place(reply, lane) {
        return Turn::Place { words, wedge: false };
    }
    if reply.is_never() && !quota {
        return refused(reply);
    }
    Turn::Message { words, wedge: false }
}

/// The final dot was answered, or not.
pub(crate) fn of_fate(fate: &Fate, protocol: Protocol, alone: bool, lane: &LaneName) -> Turn {
    let reply = match fate {
        Fate::Unknown(why) => return Turn::Unknown(format!("dot: {why}")),
        Fate::Answered(reply) => reply,
    };
    let words = format!("dot: {reply}");
    if reply.is_yes() {
        return Turn::Final(Outcome::HandedOver { reply: reply.clone() });
    }
    // RFC 5321 §3.8: a server that is shut down says so to whatever it heard last, and does not say whether it had stored
    // the message before; Dovecot's LMTP does both. A primary can be asked; others mean "later" by it.
    if reply.code == 421 && reply.enhanced == Some((4, 3, 2)) && matches!(lane, LaneName::Primary(_)) {
        return Turn::Unknown(words);
    }
    // With one answer for several recipients nobody knows whose mailbox is full.
    let one_person = protocol == Protocol::Lmtp || alone;
    if is_quota(reply, Stage::Dot) {
        return if one_person {
            Turn::Person { words, quota: true }
        } else {
            Turn::Message { words, wedge: false }
        };
    }
    if is_about_the_place(reply, lane) {
        return Turn::Place { words, wedge: false };
    }
    match (reply.is_never(), protocol) {
        (true, _) => refused(reply),
        (false, Protocol::Lmtp) => Turn::Person { words, quota: false },
        (false, Protocol::Smtp) => Turn::Message { words, wedge: false },
    }
}

/// The dialogue failed and nothing was handed over.
pub(crate) fn of_failure(failed: &NotSent) -> Turn {
    if failed.unsendable {
        let reason = format!("it cannot be sent on: {}", failed.why);
        return Turn::Final(Outcome::Parked { reason });
    }
    // From the first word about this very message on, it may be the message that the server cannot bear.
    let words = failed.to_string();
    Turn::Place { words, wedge: failed.stage >= Stage::Mail && failed.reply.is_none() }
}

/// There is no way to a domain.
pub(crate) fn of_no_way(no_way: &NoWay) -> Turn {
    match no_way {
        NoWay::Later(why) => Turn::Place { words: format!("names: {why}"), wedge: false },
        NoWay::Never(reply) => refused(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use words_mail::PrimaryId;

    fn reply(text: &str) -> Reply {
        let (code, rest) = text.split_at(3);
        let enhanced = rest.trim().split('.').map(|n| n.parse().unwrap()).collect::<Vec<u16>>();
        let enhanced = (enhanced.len() == 3).then(|| (enhanced[0] as u8, enhanced[1], enhanced[2]));
        Reply { code: code.parse().unwrap(), enhanced, text: String::new() }
    }

    fn word(turn: &Turn) -> &'static str {
        match turn {
            Turn::Final(Outcome::HandedOver { .. }) => "over",
            Turn::Final(Outcome::Refused { .. }) => "refused",
            Turn::Final(_) => "parked",
            Turn::Person { .. } => "person",
            Turn::Message { .. } => "message",
            Turn::Place { .. } => "place",
            Turn::Unknown(_) => "unknown",
            Turn::Ours(_) | Turn::Broken(_) | Turn::Doubted(_) => "ours",
        }
    }

    #[test]
    fn every_refusal_has_one_meaning() {
        let primary = LaneName::Primary(PrimaryId("p".into()));
        let domain = LaneName::Domain("d".into());
        for (lane, stage, said, meaning) in [
            (&primary, Stage::Rcpt, "450 4.7.1", "person"),
            (&primary, Stage::Rcpt, "452 4.2.2", "person"),
            (&primary, Stage::Rcpt, "552 5.2.2", "person"),
            (&primary, Stage::Rcpt, "550 5.2.2", "person"),
            (&primary, Stage::Rcpt, "5520.0", "person"),
            (&primary, Stage::Rcpt, "550 5.1.1", "refused"),
            (&primary, Stage::Rcpt, "5500.0", "refused"),
            (&primary, Stage::Rcpt, "552 5.3.4", "refused"),
            (&primary, Stage::Mail, "552 5.3.4", "refused"),
            (&primary, Stage::Mail, "451 4.3.0", "message"),
            (&primary, Stage::Mail, "530 5.7.0", "place"),
            (&primary, Stage::Mail, "503 5.5.1", "place"),
            (&primary, Stage::Rcpt, "550 5.3.5", "place"),
            (&primary, Stage::Data, "554 5.7.1", "refused"),
            (&primary, Stage::Data, "451 4.3.0", "message"),
            (&primary, Stage::Mail, "556 5.1.10", "place"),
            (&domain, Stage::Mail, "556 5.1.10", "refused"),
            (&domain, Stage::Mail, "530 5.7.0", "refused"),
            (&domain, Stage::Mail, "502 5.5.1", "place"),
            (&domain, Stage::Rcpt, "451 4.7.1", "person"),
        ] {
            let refusal = Refusal { index: 0, stage, reply: reply(said) };
            assert_eq!(word(&of_refusal(&refusal, lane)), meaning, "{lane} {stage} {said}");
        }
        for (protocol, alone, said, meaning) in [
            (Protocol::Smtp, false, "250 2.0.0", "over"),
            (Protocol::Smtp, false, "451 4.3.0", "message"),
            (Protocol::Lmtp, false, "451 4.3.0", "person"),
            (Protocol::Smtp, false, "554 5.7.1", "refused"),
            (Protocol::Smtp, false, "552 5.2.2", "message"),
            (Protocol::Smtp, true, "552 5.2.2", "person"),
            (Protocol::Lmtp, false, "552 5.2.2", "person"),
        ] {
            let fate = Fate::Answered(reply(said));
            assert_eq!(
                word(&of_fate(&fate, protocol, alone, &primary)),
                meaning,
                "{protocol:?} {alone} {said}"
            );
        }
        let ends = Fate::Answered(reply("421 4.3.2"));
        assert_eq!(
            word(&of_fate(&ends, Protocol::Lmtp, true, &primary)),
            "unknown",
            "stored or not, it shuts down"
        );
        assert_ne!(
            word(&of_fate(&ends, Protocol::Smtp, true, &domain)),
            "unknown",
            "nobody there could be asked"
        );
        let slow = Fate::Answered(reply("421 4.7.0"));
        assert_ne!(
            word(&of_fate(&slow, Protocol::Smtp, true, &primary)),
            "unknown",
            "a bound, and its word counts"
        );
        let lost = Fate::Unknown("cut".into());
        assert_eq!(word(&of_fate(&lost, Protocol::Smtp, true, &primary)), "unknown");
    }

    #[test]
    fn a_failed_dialogue_is_the_places_fault_and_a_bare_line_end_the_messages() {
        let failed = |stage, unsendable| NotSent { stage, why: "x".into(), reply: None, unsendable };
        assert_eq!(of_failure(&failed(Stage::Connect, false)), place("connect: x", false));
        assert_eq!(of_failure(&failed(Stage::Hello, false)), place("hello: x", false));
        assert_eq!(of_failure(&failed(Stage::Rcpt, false)), place("rcpt: x", true));
        assert_eq!(of_failure(&failed(Stage::Body, false)), place("body: x", true));
        assert_eq!(word(&of_failure(&failed(Stage::Body, true))), "parked");
        assert_eq!(word(&of_no_way(&NoWay::Later("SERVFAIL".into()))), "place");
        assert_eq!(word(&of_no_way(&NoWay::Never(reply("550 5.1.2")))), "refused");
    }

    fn place(words: &str, wedge: bool) -> Turn {
        Turn::Place { words: words.into(), wedge }
    }
}
