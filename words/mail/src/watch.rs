//! What is watched, decided and ordered.

use crate::{AccountId, Time};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of a mail system of record in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrimaryId(pub String);

impl fmt::Display for PrimaryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing a person can or cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plane {
    /// Mail reaches the primary.
    Inbound,
    /// People's mail leaves through the primary.
    Outbound,
    /// People read in the primary.
    Access,
    /// People prove who they are.
    SignIn,
    /// The names by which the primary is found (DNS, MX).
    Names,
}

impl Plane {
    /// Every plane.
    pub const ALL: [Plane; 5] = [Plane::Inbound, Plane::Outbound, Plane::Access, Plane::SignIn, Plane::Names];
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Plane::Inbound => "inbound",
            Plane::Outbound => "outbound",
            Plane::Access => "access",
            Plane::SignIn => "sign-in",
            Plane::Names => "names",
        })
    }
}

/// How an observation was made. The three are independent: none follows from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Real mail or a real person's command.
    Live,
    /// A dialogue begun only to look.
    Probe,
    /// A message of our own, sent to be found at the other end.
    Canary,
}

/// What an observation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// It worked.
    Up,
    /// It failed in a way that a person would notice.
    Down,
}

/// One measured fact about one plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Of which primary.
    pub primary: PrimaryId,
    /// Of which plane.
    pub plane: Plane,
    /// From where it was made: the node's name.
    pub vantage: String,
    /// When it was finished.
    pub at: Time,
    /// How it was made.
    pub evidence: Evidence,
    /// What it found.
    pub finding: Finding,
    /// How long it took, microseconds.
    pub micros: u64,
    /// The words of the answer or of the failure, with control bytes escaped.
    pub detail: String,
    /// The one account it is about (its quota, its password), or all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
}

/// Where one plane of one primary stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// All well.
    Ready,
    /// In doubt: mail already queues, nobody is told.
    Suspect,
    /// Down: we carry the mail.
    Active,
    /// Back: what was kept is being given back.
    Returning,
    /// Fixed by a person, whatever is observed.
    Pinned,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Ready => "READY",
            State::Suspect => "SUSPECT",
            State::Active => "ACTIVE",
            State::Returning => "RETURNING",
            State::Pinned => "PINNED",
        })
    }
}

/// Who may open an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The watch itself, after the dwell.
    #[default]
    Automatic,
    /// The watch proposes, a person confirms.
    Confirm,
    /// Only a person.
    Manual,
}

/// To whom an order applies. Narrower wins over wider, then the higher number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Everybody at the primary.
    All,
    /// The named accounts only.
    Accounts(Vec<AccountId>),
}

impl Scope {
    /// Whether the scope reaches `account`.
    pub fn covers(&self, account: &AccountId) -> bool {
        match self {
            Scope::All => true,
            Scope::Accounts(accounts) => accounts.contains(account),
        }
    }
}

/// The closed list of what an order can switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderKind {
    /// Received mail waits here instead of being handed to the primary.
    PauseDeliveries,
    /// What people changed waits here instead of being replayed.
    PauseReplay,
    /// What people send leaves from here instead of through the primary.
    OutboundDirect,
    /// Verifiers captured in peace let people in.
    CapturedSignIn,
    /// Distribution lists are expanded here.
    ExpandLists,
    /// Senders are to go round us, straight to the primary.
    Bypass,
}

impl OrderKind {
    /// Every kind.
    pub const ALL: [OrderKind; 6] = [
        OrderKind::PauseDeliveries,
        OrderKind::PauseReplay,
        OrderKind::OutboundDirect,
        OrderKind::CapturedSignIn,
        OrderKind::ExpandLists,
        OrderKind::Bypass,
    ];
}

/// The number of an order: one sequence over all primaries, never reused; the ledger's own numbering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderNumber(pub u64);

impl fmt::Display for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a continuity event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub u64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A numbered decision that changes what roads do. Nothing is switched without one; `watch` alone writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub number: OrderNumber,
    /// When it was decided.
    pub at: Time,
    /// Which primary it is about.
    pub primary: PrimaryId,
    /// Which plane's state changed, and to what.
    pub plane: Plane,
    /// The state before.
    pub from: State,
    /// The state from now on.
    pub to: State,
    /// What is switched on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<OrderKind>,
    /// What is switched off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<OrderKind>,
    /// To whom it applies.
    pub scope: Scope,
    /// The continuity event it belongs to, once one is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// Who decided: `watch`, or the person's name.
    pub by: String,
    /// Why, in words that a person reads later.
    pub why: String,
    /// When the first observation failed that led to it: where a measured outage begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
    /// When a pin, or an announced maintenance (then `from` and `to` are the same), ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// The ledger's sequence number of the request that this order answers; on the last order of an answer only,
    /// so that a crash in the middle of an answer leaves the request open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<u64>,
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum RequestKind {
    /// Open an event now.
    Failover,
    /// The primary is well again: begin to give back.
    Failback,
    /// Keep the present state whatever is observed, until unpinned or until a moment.
    Pin {
        /// When it ends by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
    },
    /// End a pin.
    Unpin,
    /// Announced maintenance: observations until then open no event.
    Maintenance {
        /// When it ends.
        until: Time,
    },
    /// Somebody has seen the notice of an event.
    Acknowledge {
        /// Which event.
        event: EventId,
    },
    /// No notices until then.
    Mute {
        /// When notices start again.
        until: Time,
    },
    /// Send a test notice.
    NoticeTest,
}

/// A person's request, appended to the ledger; `watch` answers it with an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// When it was made.
    pub at: Time,
    /// Who made it.
    pub by: String,
    /// Why, in the person's words.
    pub reason: String,
    /// Of which primary.
    pub primary: PrimaryId,
    /// Which planes; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planes: Vec<Plane>,
    /// For whom.
    pub scope: Scope,
    /// What is asked.
    pub kind: RequestKind,
}

/// A continuity event: the time any plane of a primary is not READY, between two orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// Of which primary.
    pub primary: PrimaryId,
    /// The order that opened it.
    pub opened_by: OrderNumber,
    /// When it was opened.
    pub opened: Time,
    /// When the first observation failed that led to it: where the measured outage begins.
    pub began: Time,
    /// The order that began the return, if it came to that.
    pub returned_by: Option<OrderNumber>,
    /// The order that closed it, if it is closed.
    pub closed_by: Option<OrderNumber>,
    /// When it was closed.
    pub closed: Option<Time>,
    /// Every plane that was not READY at some time during it.
    pub planes: Vec<Plane>,
}
