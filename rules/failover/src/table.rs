//! The transition table.

use Condition as C;
use State::{Active, Pinned, Ready, Returning, Suspect};
use words_mail::{OrderKind, Plane, State};

/// What holds for a machine at a moment. Exactly one holds: they are ranked, people's words before observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// A person pins the present state.
    PinAsked,
    /// A pin ends, by a person or by its own end, while the plane is measured down.
    UnpinnedDown,
    /// A pin ends otherwise.
    Unpinned,
    /// A person opens an event.
    FailoverAsked,
    /// A person says the primary is well again, and it does not answer.
    FailbackAskedDown,
    /// A person says the primary is well again.
    FailbackAsked,
    /// Down for the whole dwell, and the watch may act by itself.
    DownLong,
    /// Down for the whole dwell, and a person has to decide.
    PersonNeeded,
    /// Up and down for so long that nobody can work with it, and the watch may act by itself.
    Unsteady,
    /// Down, confirmed.
    Down,
    /// Up, and all that was kept is given back and reconciled.
    GivenBack,
    /// Up, and all that was kept is given back or listed: the reconciliation names what a person must look at.
    GivenBackListed,
    /// Up, for as long as this state asks for.
    UpLong,
    /// Up.
    Up,
    /// A failure that nothing has confirmed yet, or vantages that disagree.
    Doubt,
    /// Nothing fresh is known.
    Unmeasured,
}

impl Condition {
    /// Every condition, in order of rank.
    pub const ALL: [Condition; 16] = [
        Condition::PinAsked,
        Condition::UnpinnedDown,
        Condition::Unpinned,
        Condition::FailoverAsked,
        Condition::FailbackAskedDown,
        Condition::FailbackAsked,
        Condition::DownLong,
        Condition::PersonNeeded,
        Condition::Unsteady,
        Condition::Down,
        Condition::GivenBack,
        Condition::GivenBackListed,
        Condition::UpLong,
        Condition::Up,
        Condition::Doubt,
        Condition::Unmeasured,
    ];

    /// Its name in log lines and in the document.
    pub fn name(self) -> &'static str {
        match self {
            Condition::PinAsked => "pin asked",
            Condition::UnpinnedDown => "pin ended, down",
            Condition::Unpinned => "pin ended",
            Condition::FailoverAsked => "failover asked",
            Condition::FailbackAskedDown => "failback asked, down",
            Condition::FailbackAsked => "failback asked",
            Condition::DownLong => "down for the dwell",
            Condition::PersonNeeded => "down for the dwell, a person decides",
            Condition::Unsteady => "unsteady for long",
            Condition::Down => "down",
            Condition::GivenBack => "given back",
            Condition::GivenBackListed => "given back or listed",
            Condition::UpLong => "up for long enough",
            Condition::Up => "up",
            Condition::Doubt => "doubt",
            Condition::Unmeasured => "unmeasured",
        }
    }
}

/// One row: from a state, under any of these conditions, to a state.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The state it leaves.
    pub from: State,
    /// The conditions it fires under.
    pub when: &'static [Condition],
    /// The state it goes to; the same one when it stays.
    pub to: State,
    /// Whether an order is written even though the state stays: somebody is waiting for it.
    pub tell: bool,
    /// Why. This is the log line, the order's reason and the document.
    pub comment: &'static str,
}

const fn go(from: State, when: &'static [Condition], to: State, comment: &'static str) -> Row {
    Row { from, when, to, tell: false, comment }
}

const fn tell(from: State, when: &'static [Condition], to: State, comment: &'static str) -> Row {
    Row { from, when, to, tell: true, comment }
}

/// Every transition. A test proves that each state meets each condition in exactly one row, that every state can be
/// reached, and that every state has a way back to READY.
pub const TABLE: &[Row] = &[
    go(
        Ready,
        &[C::Down, C::DownLong, C::PersonNeeded, C::Unsteady],
        Suspect,
        "it failed twice in a row: what would reach it waits here from now on, and nobody is told yet",
    ),
    tell(
        Ready,
        &[C::FailoverAsked],
        Active,
        "a person opened an event while the primary was not seen to be down",
    ),
    tell(Ready, &[C::PinAsked], Pinned, "a person pinned it as it is"),
    tell(Ready, &[C::FailbackAsked], Ready, "all was well already; nothing changed"),
    tell(
        Ready,
        &[C::FailbackAskedDown],
        Ready,
        "no event is open, so there is nothing to give back; just now it does not answer",
    ),
    go(
        Ready,
        &[
            C::UnpinnedDown,
            C::Unpinned,
            C::GivenBack,
            C::GivenBackListed,
            C::UpLong,
            C::Up,
            C::Doubt,
            C::Unmeasured,
        ],
        Ready,
        "all is well, or nothing new is known",
    ),
    go(
        Suspect,
        &[C::UpLong, C::GivenBack, C::GivenBackListed],
        Ready,
        "it answers again and keeps answering: what waited goes on, and nobody noticed",
    ),
    go(
        Suspect,
        &[C::DownLong],
        Active,
        "it was down for the whole dwell: an event is open and we carry the mail",
    ),
    go(
        Suspect,
        &[C::Unsteady],
        Active,
        "it came and went for so long that nobody can work with it: an event is open and we carry the mail",
    ),
    tell(
        Suspect,
        &[C::PersonNeeded],
        Suspect,
        "it was down for the whole dwell: a person has to open the event; the mail waits here meanwhile",
    ),
    tell(Suspect, &[C::FailoverAsked], Active, "a person opened the event: we carry the mail"),
    tell(
        Suspect,
        &[C::FailbackAsked],
        Ready,
        "a person says the primary is well: what waited goes on; should it fail again, it is in doubt again",
    ),
    tell(
        Suspect,
        &[C::FailbackAskedDown],
        Suspect,
        "a person asked for failback; not possible while it is down: what would reach it goes on waiting here",
    ),
    tell(Suspect, &[C::PinAsked], Pinned, "a person pinned it as it is"),
    go(
        Suspect,
        &[C::Down, C::Up, C::Doubt, C::Unmeasured, C::Unpinned, C::UnpinnedDown],
        Suspect,
        "still in doubt: what would reach it waits here",
    ),
    go(
        Active,
        &[C::UpLong, C::GivenBack, C::GivenBackListed],
        Returning,
        "it has been well long enough: what was kept is being given back",
    ),
    tell(
        Active,
        &[C::FailbackAsked],
        Returning,
        "a person says the primary is well again: what was kept is being given back",
    ),
    tell(
        Active,
        &[C::FailbackAskedDown],
        Active,
        "a person asked for failback; not possible while it is down: the event stays open and we carry the mail",
    ),
    tell(
        Active,
        &[C::PinAsked],
        Pinned,
        "a person pinned it as it is: we carry the mail until it is unpinned",
    ),
    tell(Active, &[C::FailoverAsked], Active, "the event was open already; nothing changed"),
    go(
        Active,
        &[
            C::DownLong,
            C::PersonNeeded,
            C::Unsteady,
            C::Down,
            C::Up,
            C::Doubt,
            C::Unmeasured,
            C::Unpinned,
            C::UnpinnedDown,
        ],
        Active,
        "down, or not well for long enough: we carry the mail",
    ),
    go(
        Returning,
        &[C::GivenBack],
        Ready,
        "everything is given back and the reconciliation is clean: the event is closed",
    ),
    go(
        Returning,
        &[C::GivenBackListed],
        Ready,
        "everything is given back or listed, and a person must look at what the reconciliation lists: the event is closed",
    ),
    go(
        Returning,
        &[C::Down, C::DownLong, C::PersonNeeded, C::Unsteady],
        Active,
        "it failed again while mail was being given back: we carry the mail, and the next return waits longer",
    ),
    tell(Returning, &[C::FailoverAsked], Active, "a person stopped the return: we carry the mail"),
    tell(Returning, &[C::PinAsked], Pinned, "a person pinned it as it is"),
    tell(
        Returning,
        &[C::FailbackAsked],
        Returning,
        "a person says the primary is well; it is being given back already",
    ),
    tell(
        Returning,
        &[C::FailbackAskedDown],
        Returning,
        "it is being given back already, and just now it does not answer",
    ),
    go(
        Returning,
        &[C::UpLong, C::Up, C::Doubt, C::Unmeasured, C::Unpinned, C::UnpinnedDown],
        Returning,
        "what was kept is being given back",
    ),
    tell(
        Pinned,
        &[C::Unpinned],
        Returning,
        "the pin has ended: what was kept is given back, and the plane is judged afresh",
    ),
    tell(
        Pinned,
        &[C::UnpinnedDown],
        Active,
        "the pin has ended while the primary is down: we carry the mail",
    ),
    tell(Pinned, &[C::PinAsked], Pinned, "a person pinned it anew"),
    tell(
        Pinned,
        &[C::FailoverAsked, C::FailbackAsked, C::FailbackAskedDown],
        Pinned,
        "it is pinned, so nothing changed: unpin it first",
    ),
    go(
        Pinned,
        &[
            C::DownLong,
            C::PersonNeeded,
            C::Unsteady,
            C::Down,
            C::GivenBack,
            C::GivenBackListed,
            C::UpLong,
            C::Up,
            C::Doubt,
            C::Unmeasured,
        ],
        Pinned,
        "pinned by a person, whatever is observed",
    ),
];

/// The row that fires for a state under a condition. A test proves there is exactly one; were there none, nothing
/// would change.
pub fn row(from: State, condition: Condition) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.from == from && row.when.contains(&condition))
}

/// What a state of a plane switches on; `None` means: whatever is switched stays, for as long as it is pinned.
///
/// No kind is switched by two planes, so that two machines never pull at one switch. `expand-lists` and `bypass`
/// are never switched by the watch.
pub fn switches(plane: Plane, state: State) -> Option<&'static [OrderKind]> {
    match (plane, state) {
        (_, State::Pinned) => None,
        (Plane::Inbound, State::Suspect | State::Active) => Some(&[OrderKind::PauseDeliveries]),
        (Plane::Access, State::Suspect | State::Active) => Some(&[OrderKind::PauseReplay]),
        // In doubt, what people send waits: leaving by another way is noticed (SPF, the Sent folder of the primary).
        (Plane::Outbound, State::Active) => Some(&[OrderKind::OutboundDirect]),
        // While it returns, sign-in is the last thing people should lose again.
        (Plane::SignIn, State::Suspect | State::Active | State::Returning) => {
            Some(&[OrderKind::CapturedSignIn])
        }
        _ => Some(&[]),
    }
}

/// Every kind that a plane ever switches.
pub fn kinds(plane: Plane) -> Vec<OrderKind> {
    let states = [Ready, Suspect, Active, Returning];
    let all = states.into_iter().filter_map(|state| switches(plane, state)).flatten();
    OrderKind::ALL.into_iter().filter(|kind| all.clone().any(|other| other == kind)).collect()
}

/// What an order has to switch on and off, so that a plane with `in_force` on is in `to`.
pub fn orders(plane: Plane, to: State, in_force: &[OrderKind]) -> (Vec<OrderKind>, Vec<OrderKind>) {
    let Some(wanted) = switches(plane, to) else { return (Vec::new(), Vec::new()) };
    let on = wanted.iter().filter(|kind| !in_force.contains(kind)).copied().collect();
    let off = in_force.iter().filter(|kind| !wanted.contains(kind)).copied().collect();
    (on, off)
}
