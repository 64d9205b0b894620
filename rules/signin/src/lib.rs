//! Which evidence lets whom in, and when.
//!
//! Signing in is a dialogue of evidence: [`next`] is asked again and again with all that is [`Known`], and says what
//! to find out next, or that the person is in or out. In peace the primary is asked. A verifier captured earlier, at
//! a sign-in that the primary said yes to, answers only when the primary gives *no answer*, from SUSPECT on.
//!
//! A *no* of the primary counts against a verifier only if the presented password is the one the verifier knows (a
//! mistyped password says nothing about it) and the answer is an authentication failure. It suspends the verifier,
//! never deletes it. Many such at once are an observation on the sign-in plane and suspend nobody.

mod limits;
mod step;
#[cfg(test)]
mod tests;

pub use limits::{Asked, DIGEST_SERVES, EVIDENCE_SERVES, Limits, digest_serves, evidence_serves, many_noes};
pub use step::{
    AccountStanding, Allowance, Answer, Door, Evidence, Follow, Known, Match, Presented, Question, Refusal,
    Step, Verifier, next,
};
