//! When a refusal for good is believed. A mail system that was set up wrongly says 5xx to everybody, and what it says
//! would send a whole queue back.

use words_mail::{Finding, Reply};

/// What a refusal of one recipient means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is what it says: settle it so.
    Believed,
    /// The mail system may be refusing everybody: keep it, and ask again.
    Doubted,
}

/// How often a refusal of somebody known is doubted before it is believed.
pub const DOUBTS_MAX: u8 = 3;

/// Whether a refusal is believed that came before the message was sent.
///
/// | it is about the message or this mailbox | the recipient has an account here | the primary took somebody else since, or at once | doubted before | |
/// |---|---|---|---|---|
/// | yes | | | | believed |
/// | no | no | | | believed |
/// | no | yes | yes | | believed |
/// | no | yes | no | fewer than [`DOUBTS_MAX`] times | doubted |
/// | no | yes | no | so often | believed |
///
/// Whom it took before does not count: it may have been set up anew a moment ago.
pub fn refusal(reply: &Reply, known: bool, took_others: bool, doubted: u8) -> Refusal {
    match (is_particular(reply), known, took_others, doubted) {
        (true, ..) | (_, false, ..) | (_, _, true, _) | (.., DOUBTS_MAX..) => Refusal::Believed,
        (false, true, false, _) => Refusal::Doubted,
    }
}

/// Whether a refusal is about this message or this mailbox by its class (RFC 3463 §3.3, §3.4, §3.7: mailbox status,
/// message too big, message content), so that it says nothing about others.
fn is_particular(reply: &Reply) -> bool {
    matches!(reply.enhanced, Some((_, 2 | 6, _) | (_, 3, 4)))
}

/// What the answer to a probe of the front door says: one that refuses for good the very recipient whom it took before is
/// down, for nobody gets mail there. One that never took it may be set up so.
pub fn front_door(answered: bool, refuses: bool, took_before: bool) -> Finding {
    match (answered, refuses, took_before) {
        (false, ..) | (true, true, true) => Finding::Down,
        (true, ..) => Finding::Up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Refusal::{Believed, Doubted};

    #[test]
    fn a_refusal_is_doubted_only_while_nobody_else_was_taken() {
        for (known, took_others, doubted, meaning) in [
            (false, false, 0, Believed),
            (false, true, 0, Believed),
            (true, true, 0, Believed),
            (true, false, 0, Doubted),
            (true, false, 2, Doubted),
            (true, true, 2, Believed),
            (true, false, 3, Believed),
            (true, false, u8::MAX, Believed),
        ] {
            let reply = Reply::new(554, (5, 7, 1), "denied");
            assert_eq!(
                refusal(&reply, known, took_others, doubted),
                meaning,
                "{known} {took_others} {doubted}"
            );
        }
    }

    #[test]
    fn a_refusal_of_this_message_or_this_mailbox_is_believed_at_once() {
        for (enhanced, meaning) in [
            (Some((5, 1, 1)), Doubted),
            (Some((5, 7, 1)), Doubted),
            (Some((5, 0, 0)), Doubted),
            (Some((5, 3, 2)), Doubted),
            (None, Doubted),
            (Some((5, 2, 1)), Believed),
            (Some((5, 3, 4)), Believed),
            (Some((5, 6, 7)), Believed),
        ] {
            let reply = Reply { enhanced, ..Reply::new(550, (5, 0, 0), "no") };
            assert_eq!(refusal(&reply, true, false, 0), meaning, "{enhanced:?}");
        }
    }

    #[test]
    fn a_front_door_that_refuses_whom_it_took_is_down() {
        for (answered, refuses, took_before, finding) in [
            (false, false, false, Finding::Down),
            (false, false, true, Finding::Down),
            (true, false, false, Finding::Up),
            (true, false, true, Finding::Up),
            (true, true, false, Finding::Up),
            (true, true, true, Finding::Down),
        ] {
            assert_eq!(front_door(answered, refuses, took_before), finding);
        }
    }
}
