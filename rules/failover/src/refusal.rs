//! When a refusal for good is believed. A mail system that was set up wrongly says 5xx to everybody, and what it says
//! would send a whole queue back.

use words_mail::Finding;

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
/// | the recipient has an account here | the primary took mail for somebody else meanwhile | doubted before | |
/// |---|---|---|---|
/// | no | | | believed |
/// | yes | yes | | believed |
/// | yes | no | fewer than [`DOUBTS_MAX`] times | doubted |
/// | yes | no | so often | believed |
pub fn refusal(known: bool, took_others: bool, doubted: u8) -> Refusal {
    match (known, took_others, doubted) {
        (false, ..) | (_, true, _) | (_, _, DOUBTS_MAX..) => Refusal::Believed,
        (true, false, _) => Refusal::Doubted,
    }
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
            assert_eq!(refusal(known, took_others, doubted), meaning, "{known} {took_others} {doubted}");
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
