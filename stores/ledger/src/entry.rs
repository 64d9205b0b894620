//! What is written into the ledger, as JSON.

use serde::{Deserialize, Serialize};
use stores_log::Position;
use words_mail::{
    Address, Destination, EventId, Observation, Order, OrderNumber, Outcome, PrimaryId, Request, Time,
    TraceId,
};

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "entry")]
pub enum Entry {
    /// A measured fact about one plane.
    Observation(Observation),
    /// What a person asked for.
    Request(Request),
    /// A decision; only the watch writes these.
    Order(Order),
    /// People were told, or could not be.
    Notice(Notice),
    /// What became of a message for one recipient.
    Settlement(Settlement),
    /// We were alive.
    Heartbeat(Heartbeat),
    /// A person acted on the queue.
    QueueAct(QueueAct),
    /// Promises compared with what stands in the primary.
    Reconciliation(Reconciliation),
    /// The report that closes an event.
    EventReport(EventReport),
    /// A person opened the content of mail, or erased it.
    ContentAct(ContentAct),
    /// Everything here was brought back from a backup.
    Restored(Restored),
}

/// The kinds of records, by number in the log; 0 to 99 are entries.
pub(crate) mod kind {
    pub(crate) const OBSERVATION: u8 = 1;
    pub(crate) const REQUEST: u8 = 2;
    pub(crate) const ORDER: u8 = 3;
    pub(crate) const NOTICE: u8 = 4;
    pub(crate) const SETTLEMENT: u8 = 5;
    pub(crate) const HEARTBEAT: u8 = 6;
    pub(crate) const QUEUE_ACT: u8 = 7;
    pub(crate) const RECONCILIATION: u8 = 8;
    pub(crate) const EVENT_REPORT: u8 = 9;
    pub(crate) const CONTENT_ACT: u8 = 10;
    pub(crate) const RESTORED: u8 = 11;
    /// Not an entry: what is in force at one moment.
    pub(crate) const CHECKPOINT: u8 = 100;
    /// Every entry.
    pub(crate) const ENTRIES: [u8; 11] = [
        OBSERVATION,
        REQUEST,
        ORDER,
        NOTICE,
        SETTLEMENT,
        HEARTBEAT,
        QUEUE_ACT,
        RECONCILIATION,
        EVENT_REPORT,
        CONTENT_ACT,
        RESTORED,
    ];
}

impl Entry {
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Entry::Observation(_) => kind::OBSERVATION,
            Entry::Request(_) => kind::REQUEST,
            Entry::Order(_) => kind::ORDER,
            Entry::Notice(_) => kind::NOTICE,
            Entry::Settlement(_) => kind::SETTLEMENT,
            Entry::Heartbeat(_) => kind::HEARTBEAT,
            Entry::QueueAct(_) => kind::QUEUE_ACT,
            Entry::Reconciliation(_) => kind::RECONCILIATION,
            Entry::EventReport(_) => kind::EVENT_REPORT,
            Entry::ContentAct(_) => kind::CONTENT_ACT,
            Entry::Restored(_) => kind::RESTORED,
        }
    }
}

/// People were told of something, or could not be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When.
    pub at: Time,
    /// About which primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<PrimaryId>,
    /// About which event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// About which order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderNumber>,
    /// By which way: `mail`, `webhook`.
    pub channel: String,
    /// To whom: the address, or the webhook's name (never its secret).
    pub to: String,
    /// Its first line.
    pub subject: String,
    /// What came of it.
    pub result: NoticeResult,
    /// Why it was sent: `change`, `repeat`, `test` …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
}

/// What came of a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum NoticeResult {
    /// It is about to be sent. When nothing else is said about it, nobody knows whether it was.
    Begun,
    /// The way took it.
    Sent,
    /// It did not, and will be tried again or not.
    Failed {
        /// Why.
        why: String,
    },
    /// Not sent, because somebody muted notices or acknowledged the event.
    Held {
        /// Why.
        why: String,
    },
}

/// What became of a message at one destination, for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Which message.
    pub trace: TraceId,
    /// Which recipient.
    pub recipient: Address,
    /// Where it was handed to.
    pub destination: Destination,
    /// What became of it.
    pub outcome: Outcome,
    /// When.
    pub at: Time,
    /// At which attempt, from 1; 0 when there was none.
    pub attempt: u32,
}

/// We were alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// When.
    pub at: Time,
    /// Which node.
    pub node: String,
    /// Since when its program runs.
    pub since: Time,
}

/// A person acted on the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueAct {
    /// When.
    pub at: Time,
    /// Who.
    pub by: String,
    /// Why, in the person's words.
    pub reason: String,
    /// What was done.
    pub act: Act,
    /// To which message; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
    /// For which recipient; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Address>,
    /// For which destination; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
}

/// What a person can do to the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "act")]
pub enum Act {
    /// Nothing is tried until it is resumed.
    Pause,
    /// Tries go on.
    Resume,
    /// Tried at once.
    Retry,
    /// Handed to another recipient instead.
    Redirect {
        /// To whom.
        to: Address,
    },
    /// Let out of quarantine, and delivered.
    Release,
    /// Handed over again although it was settled: its destination lost it. It is asked about once more before.
    Redeliver {
        /// Where it stands in the journal.
        position: Position,
    },
    /// Taken out, without telling the sender.
    Delete,
    /// Taken out, and the sender told.
    Bounce,
}

/// A person opened the content of mail, or erased it. It is written before that is done, so it may name what then failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentAct {
    /// When.
    pub at: Time,
    /// Who.
    pub by: String,
    /// Why, in the person's words.
    pub reason: String,
    /// What was done.
    pub deed: ContentDeed,
    /// To which message; when absent, to those that `which` tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
    /// Which messages were asked for, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub which: String,
}

/// What a person did with the content of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContentDeed {
    /// Read it.
    Shown,
    /// Wrote it into a file.
    Exported,
    /// Took it away for good.
    Erased,
}

/// Everything here was brought back from a backup. What happened between the end of that and this is not known here: mail may
/// have been settled that looks as if it waited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// When.
    pub at: Time,
    /// Who did it.
    pub by: String,
    /// From where.
    pub from: String,
    /// The number of the backup.
    pub sequence: u64,
    /// Until when accepted mail is in it.
    pub until: Time,
    /// Where the journal ended in it.
    pub journal: Position,
}

/// Promises compared with what stands in the primary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// When.
    pub at: Time,
    /// Of which event.
    pub event: EventId,
    /// Of which primary.
    pub primary: PrimaryId,
    /// Whether nothing was lost, doubled or left over.
    pub clean: bool,
    /// The whole comparison, as its maker writes it.
    pub report: serde_json::Value,
}

/// The report that closes an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventReport {
    /// When.
    pub at: Time,
    /// Of which event.
    pub event: EventId,
    /// Of which primary.
    pub primary: PrimaryId,
    /// The report, as its maker writes it.
    pub report: serde_json::Value,
}
