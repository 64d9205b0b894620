//! When an outage begins, when it is over, and what is switched meanwhile.
//!
//! One machine per primary, plane and scope. It has three parts, all pure; time arrives as an argument:
//!
//! * [`Window`] turns observations into a [`Reading`]: what the evidence says at this moment. Silence is never
//!   health: without fresh evidence it reads *unmeasured*, which opens and closes nothing.
//! * [`Track`] holds one state and names the one [`Condition`] that holds for it now: dwell, hold-down, pins,
//!   announced maintenance and people's requests.
//! * [`TABLE`] says where each state goes under each condition, and [`switches`] what a state switches on.
//!
//! `docs/failover.md` is generated from the table and the switches, so it cannot drift from what runs.

mod doc;
mod evidence;
mod refusal;
mod table;
#[cfg(test)]
mod tests;
mod track;

pub use doc::page;
pub use evidence::{Reading, Window};
pub use refusal::{DOUBTS_MAX, Refusal, front_door, refusal};
pub use table::{Condition, Row, TABLE, kinds, orders, row, switches};
pub use track::{Answer, Decision, Now, Owing, Settings, Track};
