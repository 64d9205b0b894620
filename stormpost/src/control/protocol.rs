//! What is said over the control socket.
//!
//! The caller writes one [`Call`] as a line of JSON. The node answers with lines of JSON, each an [`Answer`]: any number
//! of [`Answer::Progress`] and [`Answer::Item`], then exactly one [`Answer::Done`] or [`Answer::Refused`], and closes.
//! A connection that ends without one of these two broke off: the caller does not know whether it was done.

use crate::certificates::CertificateState;
use crate::compose::offsite::OffsiteStanding;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stores_directory::{Class, Coverage, Imported, Origin};
use stores_ledger::ContentDeed;
use words_mail::{
    AccountId, Address, CheckAnswer, Destination, Event, EventId, Finding, Mode, Order, OrderKind,
    OrderNumber, Outcome, Plane, PrimaryId, RequestKind, Scope, Sender, State, Tenant, Time, TraceId,
};

/// The version of this protocol. A node refuses calls of another one, in words.
pub const VERSION: u32 = 1;
/// The longest call, bytes: a hundred thousand accounts have room in it.
pub const CALL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest answer line, bytes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most items of one list, unless the caller wants fewer.
pub const ITEMS_MAX: usize = 1_000_000;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// [`VERSION`].
    pub version: u32,
    /// Who calls: the person behind `sudo`, else the user. Recorded with everything that changes something.
    pub by: String,
    /// What is wanted.
    pub request: Request,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum Request {
    /// Whether the node lives. Answered by `Done` alone.
    Ping,
    /// How everything stands. One [`Item::Status`].
    Status,
    /// A decision about a primary, recorded in the ledger; answered by `Done` when the order that follows is in force,
    /// with one [`Item::Order`] for each.
    Decide(Decide),
    /// The latest events, newest first. [`Item::Event`] each.
    EventList {
        /// At most so many.
        limit: usize,
    },
    /// One event with its orders and report. One [`Item::EventShown`].
    EventShow {
        /// Which; none for the latest.
        event: Option<EventId>,
    },
    /// Reconcile now. `Progress` while it runs, one [`Item::EventShown`] each.
    Reconcile {
        /// Of which primary; none for all.
        primary: Option<PrimaryId>,
        /// For which event; none for the latest of each.
        event: Option<EventId>,
    },
    /// Compare what was accepted since then, in no event in particular. `Progress`, then one [`Item::EventShown`] each, of
    /// an event that has the number 0.
    ReconcileSince {
        /// Of which primary; none for all.
        primary: Option<PrimaryId>,
        /// Since when.
        since: Time,
    },
    /// How the copies of mailboxes stand. One [`Item::Mirrored`] for each account that has one.
    MirrorStatus {
        /// Of which account; none for all.
        account: Option<AccountId>,
    },
    /// Follow what vanished at the primary, for an account that the brake holds.
    MirrorAccept {
        /// Which.
        account: AccountId,
    },
    /// Hand over again what a primary lost. `Progress`, and one [`Item::Redelivered`] for each message that is not there.
    Redeliver {
        /// What was settled since then.
        since: Time,
        /// At which primary; none for the only one.
        primary: Option<PrimaryId>,
        /// Of which account; none for all.
        account: Option<AccountId>,
        /// Only look.
        dry: bool,
        /// Why.
        reason: String,
    },
    /// What became of messages. [`Item::Traced`] each, newest first.
    Trace(TraceQuery),
    /// Every account. [`Item::Account`] each.
    AccountList,
    /// Add accounts, or change those that are here; all or none. One [`Item::Imported`].
    AccountImport {
        /// The accounts, with the line each stands on.
        accounts: Vec<AccountRow>,
    },
    /// Suspend or resume an account.
    AccountSuspend {
        /// Which.
        account: AccountId,
        /// Suspend, or resume.
        suspended: bool,
    },
    /// Remove an account that a person added.
    AccountRemove {
        /// Which.
        account: AccountId,
    },
    /// Set an account's own password here.
    AccountPassword {
        /// Which.
        account: AccountId,
        /// The password; none takes it away.
        password: Option<Password>,
    },
    /// The queue. [`Item::Queued`] each, oldest first.
    QueueList(QueueQuery),
    /// One message of the queue. One [`Item::Queued`].
    QueueShow {
        /// Which.
        trace: TraceId,
    },
    /// Something done to the queue, recorded in the ledger.
    QueueAct(QueueAct),
    /// Tell each person by mail what of theirs is in quarantine.
    QuarantineDigest,
    /// Take a message's content out of the journal for good; its hash and this act stay.
    JournalErase {
        /// Which.
        trace: TraceId,
        /// Why.
        reason: String,
    },
    /// Write down that the content of messages is about to be opened. Whoever asks opens it himself when this is `Done`.
    ContentOpened {
        /// Read, or written into a file.
        deed: ContentDeed,
        /// Which message; none for those that `which` tells of.
        trace: Option<TraceId>,
        /// Which messages, in words.
        which: String,
        /// Why.
        reason: String,
    },
    /// Fetch a new certificate from the authority. `Progress` first.
    CertificateRenew,
    /// Send a test notice on every path.
    NoticeTest {
        /// Of which primary's notices; none for all.
        primary: Option<PrimaryId>,
    },
    /// Somebody has seen the notice of an event.
    NoticeAck {
        /// Which event; none for the latest open one.
        event: Option<EventId>,
    },
    /// No notices until then.
    NoticeMute {
        /// Of which primary; none for all.
        primary: Option<PrimaryId>,
        /// When they start again.
        until: Time,
        /// Why.
        reason: String,
    },
}

/// A person's decision about a primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decide {
    /// Which primary; none when there is only one.
    pub primary: Option<PrimaryId>,
    /// Which planes; empty means all.
    #[serde(default)]
    pub planes: Vec<Plane>,
    /// For whom.
    pub scope: Scope,
    /// What.
    pub kind: RequestKind,
    /// Why, in the person's words.
    pub reason: String,
}

/// Which messages to trace. Every condition given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceQuery {
    /// The message with this trace id.
    pub trace: Option<TraceId>,
    /// The envelope sender: an address, or a domain as `@example.org`; `<>` for nobody.
    pub from: Option<String>,
    /// An envelope recipient, likewise.
    pub to: Option<String>,
    /// The `Message-ID:`, with or without its angle brackets.
    pub message_id: Option<String>,
    /// Accepted at or after.
    pub since: Option<Time>,
    /// Accepted before.
    pub until: Option<Time>,
    /// At most so many.
    pub limit: usize,
}

/// Which messages of the queue. Every condition given must hold; none given means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueQuery {
    /// This message.
    #[serde(default)]
    pub trace: Option<TraceId>,
    /// For this primary.
    #[serde(default)]
    pub primary: Option<PrimaryId>,
    /// For this other organisation's domain.
    #[serde(default)]
    pub domain: Option<String>,
    /// From this address or `@domain`.
    #[serde(default)]
    pub from: Option<String>,
    /// To this address or `@domain`.
    #[serde(default)]
    pub to: Option<String>,
    /// In this state. None means all that are not settled: neither refused nor expired.
    #[serde(default)]
    pub state: Option<QueueState>,
    /// At most so many; none for [`ITEMS_MAX`].
    #[serde(default)]
    pub limit: Option<usize>,
}

impl QueueQuery {
    /// Whether no condition is given, so that everything is meant.
    pub fn is_all(&self) -> bool {
        QueueQuery { limit: None, ..self.clone() } == QueueQuery::default()
    }
}

/// Something done to messages of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueAct {
    /// Which messages.
    pub which: QueueQuery,
    /// What.
    pub deed: QueueDeed,
    /// Why.
    pub reason: String,
}

/// What can be done to messages of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueDeed {
    /// Let them wait until resumed.
    Pause,
    /// End such a wait.
    Resume,
    /// Try at once; also ends parking.
    Retry,
    /// Deliver to this address instead.
    Redirect(Address),
    /// Let out of quarantine, and deliver.
    Release,
    /// Remove, telling nobody. The content stays in the journal as long as settled mail does.
    Delete,
    /// Give back to the sender.
    Bounce,
}

/// How a message of the queue stands, for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueState {
    /// Waits for its turn or its next try.
    Waiting,
    /// Waits because an order or a person paused it.
    Paused,
    /// Being handed over now.
    Trying,
    /// It is not known whether the other side has it; to be asked about.
    Unknown,
    /// Set aside; a person decides.
    Parked,
    /// The primary refused it; kept and listed.
    Refused,
    /// Nobody took it in the time that was set; kept and listed.
    Expired,
    /// Kept back before it was delivered.
    Quarantined,
}

/// A password on its way. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// One account to add or change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    /// The line it stands on in the caller's table; 0 for none.
    pub line: u64,
    /// Its main address.
    pub address: Address,
    /// The name to show.
    #[serde(default)]
    pub name: String,
    /// Its further addresses.
    #[serde(default)]
    pub aliases: Vec<Address>,
    /// What it is.
    pub class: Class,
}

impl From<stores_directory::Row> for AccountRow {
    fn from(row: stores_directory::Row) -> AccountRow {
        let stores_directory::NewAccount { address, name, aliases, class } = row.account;
        AccountRow { line: row.line, address, name, aliases, class }
    }
}

impl From<AccountRow> for stores_directory::Row {
    fn from(row: AccountRow) -> stores_directory::Row {
        let AccountRow { line, address, name, aliases, class } = row;
        let account = stores_directory::NewAccount { address, name, aliases, class };
        stores_directory::Row { line, account }
    }
}

/// One line of the node's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Answer {
    /// It is going on; for people who wait.
    Progress {
        /// What is going on.
        words: String,
    },
    /// One thing that was asked for.
    Item {
        /// The thing.
        item: Box<Item>,
    },
    /// It is done, and this was all.
    Done {
        /// What was done, for people; may be empty.
        words: String,
    },
    /// It was not done, and this was all.
    Refused {
        /// Why, for scripts.
        why: Refused,
        /// Why, and what to do.
        words: String,
    },
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// The call is not of this protocol's version.
    Version,
    /// The call makes no sense as it is.
    Wrong,
    /// There is no such thing.
    NotFound,
    /// Not in the present state.
    NotNow,
    /// It was tried and failed.
    Failed,
}

/// One thing that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "it")]
pub enum Item {
    /// How everything stands.
    Status(Status),
    /// An order that follows from a decision.
    Order(Order),
    /// An event.
    Event(Event),
    /// An event with everything about it.
    EventShown(EventShown),
    /// What became of a message.
    Traced(Traced),
    /// An account.
    Account(AccountShown),
    /// What an import did.
    Imported(Imported),
    /// A message of the queue.
    Queued(Queued),
    /// A message that was handed over, and is not there.
    Redelivered(Redelivered),
    /// How an account's copy stands.
    Mirrored(Mirrored),
}

/// How the copy of one account's mailboxes stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirrored {
    /// Whose.
    pub account: AccountId,
    /// Folders that stand for one at the primary.
    pub folders: u64,
    /// Of these, those whose first copy is finished.
    pub whole: u64,
    /// Messages here that stand for one there.
    pub messages: u64,
    /// Messages there, as far as that is known.
    pub total: u64,
    /// Why nothing is followed or given back, if a person has to decide.
    pub braked: Option<String>,
}

/// A message that was handed over, and is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redelivered {
    /// Which.
    pub trace: TraceId,
    /// For whom.
    pub recipient: Address,
    /// When that was settled.
    pub settled: Time,
    /// How it stands.
    #[serde(flatten)]
    pub standing: RedeliverStanding,
}

/// How a message stands that was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "standing")]
pub enum RedeliverStanding {
    /// It is not there.
    Missing,
    /// It is being handed over again already.
    UnderWay,
    /// Its owner removed it here.
    RemovedHere,
    /// Its content was let go: it was settled too long ago, or erased.
    NotKept,
    /// Nobody could look.
    CannotTell {
        /// Why.
        why: String,
    },
}

impl RedeliverStanding {
    /// In words that follow a number.
    pub fn words(&self) -> &'static str {
        match self {
            RedeliverStanding::Missing => "missing",
            RedeliverStanding::UnderWay => "handed over again already, and not settled yet",
            RedeliverStanding::RemovedHere => "removed here by their owners, and left so",
            RedeliverStanding::NotKept => "not kept any more, and not looked for",
            RedeliverStanding::CannotTell { .. } => "could not be looked for",
        }
    }
}

/// How everything stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The program's version.
    pub version: String,
    /// When this was said.
    pub now: Time,
    /// When the node was started.
    pub started: Time,
    /// Each mail system of record, by its id.
    pub primaries: BTreeMap<String, PrimaryStatus>,
    /// What waits.
    pub queue: QueueTotals,
    /// Where it is kept.
    pub disk: DiskStatus,
    /// The process that takes mail in; none when it is taken in by the one process that does everything.
    #[serde(default)]
    pub edge: Option<EdgeStatus>,
    /// How the copy elsewhere stands; none when there is none.
    #[serde(default)]
    pub offsite: Option<OffsiteStanding>,
    /// Who could sign in here if the primaries were gone.
    pub coverage: Coverage,
    /// The certificates, those shown at the doors first.
    #[serde(default)]
    pub certificates: Vec<CertificateState>,
    /// What somebody should see to, each in a sentence.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Status {
    /// Whether there is nothing to see to.
    pub fn is_well(&self) -> bool {
        self.warnings.is_empty() && self.primaries.values().all(|primary| primary.state == State::Ready)
    }
}

/// How the process stands that takes mail in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeStatus {
    /// Whether it answers.
    pub up: bool,
    /// Its process, when it is up.
    #[serde(default)]
    pub pid: Option<u32>,
    /// When it was started; its version may be older than the node's until then.
    #[serde(default)]
    pub started: Option<Time>,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// How it stands, for people.
    pub words: String,
}

/// How one primary stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrimaryStatus {
    /// The state of its worst plane.
    pub state: State,
    /// In people's words: `Down since 10:42, we carry the mail`.
    pub words: String,
    /// Who may open an event.
    pub mode: Mode,
    /// Each plane, by its name.
    pub planes: BTreeMap<String, PlaneStatus>,
    /// The event that is open.
    #[serde(default)]
    pub event: Option<EventId>,
    /// What is switched on.
    #[serde(default)]
    pub on: Vec<OrderKind>,
    /// How far it is behind.
    pub lag: Lag,
    /// Who fixed its state, and why.
    #[serde(default)]
    pub pinned: Option<Pinned>,
    /// When a give-back was last proved by a reconciliation.
    #[serde(default)]
    pub proved: Option<Time>,
}

/// How one plane stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlaneStatus {
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// What was last found; none when nothing was measured lately.
    #[serde(default)]
    pub finding: Option<Finding>,
    /// In which words.
    #[serde(default)]
    pub detail: String,
    /// The order that put it into this state.
    #[serde(default)]
    pub order: Option<OrderNumber>,
}

/// How far a primary is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// Messages it has not got yet.
    pub messages: u64,
    /// Changes people made that it has not got yet.
    pub changes: u64,
    /// When the oldest of them came.
    #[serde(default)]
    pub oldest: Option<Time>,
}

/// Who fixed a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Until when; none for until unpinned.
    #[serde(default)]
    pub until: Option<Time>,
}

/// What waits, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueTotals {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was accepted.
    #[serde(default)]
    pub oldest: Option<Time>,
    /// Messages set aside for a person.
    pub parked: u64,
}

/// Where it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Bytes that can still be written.
    pub free: u64,
    /// Bytes of undelivered mail that may wait.
    pub budget: u64,
    /// Whether so much waits, and senders are told to come back.
    #[serde(default)]
    pub full: bool,
    /// For how many days there is room at the pace of the last days; none when nobody can tell yet.
    #[serde(default)]
    pub days: Option<f64>,
    /// Each log by its name: `open`, or what is wrong with it.
    #[serde(default)]
    pub logs: BTreeMap<String, String>,
}

/// An event with everything about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventShown {
    /// The event.
    pub event: Event,
    /// Its orders, in order.
    #[serde(default)]
    pub orders: Vec<Order>,
    /// Who was told what and when, each in a sentence.
    #[serde(default)]
    pub notices: Vec<String>,
    /// The report of its reconciliation, once there is one.
    #[serde(default)]
    pub report: Option<serde_json::Value>,
    /// Where the report stands as a page for people.
    #[serde(default)]
    pub page: Option<String>,
    /// What a person has to look at; empty when everything is proved.
    #[serde(default)]
    pub exceptions: Vec<String>,
}

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traced {
    /// Its trace id.
    pub trace: TraceId,
    /// When it was accepted.
    pub at: Time,
    /// Whose it is.
    pub tenant: Tenant,
    /// The envelope sender.
    pub from: Sender,
    /// The `Message-ID:`, without its angle brackets.
    #[serde(default)]
    pub message_id: Option<String>,
    /// Its bytes.
    pub size: u64,
    /// Who handed it over.
    pub peer: String,
    /// What was judged of it.
    #[serde(default)]
    pub verdict: String,
    /// What each check answered.
    #[serde(default)]
    pub checks: Vec<CheckAnswer>,
    /// Each recipient.
    pub recipients: Vec<TracedRecipient>,
    /// Its content was erased, and with it who sent it and what was judged; what became of it is still known.
    #[serde(default)]
    pub erased: Option<Erased>,
}

/// Who erased a message, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// When.
    pub at: Time,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What became of a message for one recipient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedRecipient {
    /// Who.
    pub address: Address,
    /// What happened, in order.
    pub steps: Vec<Step>,
}

/// One step in the life of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When.
    pub at: Time,
    /// Where.
    pub destination: Destination,
    /// What.
    pub outcome: Outcome,
    /// At which attempt, from 1.
    pub attempt: u32,
}

/// An account as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountShown {
    /// Its main address.
    pub account: AccountId,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its further addresses.
    #[serde(default)]
    pub aliases: Vec<Address>,
    /// What it is.
    pub class: Class,
    /// Where it came from.
    pub origin: Origin,
    /// Nobody may sign in.
    pub suspended: bool,
    /// Its primary.
    #[serde(default)]
    pub primary: Option<PrimaryId>,
    /// Whether it has a password of its own here.
    pub password: bool,
    /// Whether a verifier was captured and is not suspended.
    pub verifier: bool,
}

impl AccountShown {
    /// Every account of a directory.
    pub fn all(directory: &stores_directory::Directory) -> Vec<AccountShown> {
        let snapshot = directory.snapshot();
        let shown = snapshot.accounts().iter().map(|account| {
            let id = account.id();
            let primary = snapshot.primary_of(&id).cloned();
            let verifiers = directory.verifiers(&id);
            AccountShown {
                name: account.name.clone(),
                aliases: account.aliases.clone(),
                class: account.class,
                origin: account.origin,
                suspended: account.suspended,
                password: directory.has_password(&id),
                verifier: verifiers.iter().any(|(source, _, off)| Some(source) == primary.as_ref() && !off),
                account: id,
                primary,
            }
        });
        shown.collect()
    }
}

/// A message of the queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queued {
    /// Its trace id.
    pub trace: TraceId,
    /// When it was accepted.
    pub at: Time,
    /// The envelope sender.
    pub from: Sender,
    /// Its bytes.
    pub size: u64,
    /// How it stands: the state of the recipient a person should look at first.
    pub state: QueueState,
    /// The recipients that are asked for.
    pub recipients: Vec<QueuedRecipient>,
}

/// One recipient of a message of the queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueuedRecipient {
    /// Who.
    pub address: Address,
    /// Where it goes.
    pub destination: Destination,
    /// How it stands.
    pub state: QueueState,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is tried next.
    #[serde(default)]
    pub next: Option<Time>,
    /// What was last heard.
    #[serde(default)]
    pub last: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(value: &T) -> String {
        let text = serde_json::to_string(value).unwrap();
        assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value, "{text}");
        assert!(!text.contains('\n'), "one line each");
        text
    }

    #[test]
    fn calls_are_lines_that_read_back() {
        let decide = Decide {
            primary: Some(PrimaryId("office".into())),
            planes: vec![Plane::Inbound],
            scope: Scope::Accounts(vec![AccountId::new("anna@example.org")]),
            kind: RequestKind::Pin { until: Some(Time(5)) },
            reason: "two\nlines".into(),
        };
        for request in [
            Request::Ping,
            Request::Decide(decide),
            Request::QueueList(QueueQuery { state: Some(QueueState::Parked), ..QueueQuery::default() }),
            Request::QueueAct(QueueAct {
                which: QueueQuery::default(),
                deed: QueueDeed::Redirect(Address::parse("b@example.org").unwrap()),
                reason: String::new(),
            }),
            Request::NoticeAck { event: None },
        ] {
            round(&Call { version: VERSION, by: "anna".into(), request });
        }
        assert_eq!(
            round(&Call { version: 1, by: "anna".into(), request: Request::Status }),
            r#"{"version":1,"by":"anna","request":{"ask":"status"}}"#
        );
    }

    #[test]
    fn answers_are_lines_that_read_back() {
        let item = Item::Status(Status { node: "mx.example.org".into(), ..Status::default() });
        for answer in [
            Answer::Progress { words: "1 of 2".into() },
            Answer::Item { item: Box::new(item) },
            Answer::Item { item: Box::new(Item::Imported(Imported { added: 1, changed: 2, same: 3 })) },
            Answer::Done { words: String::new() },
            Answer::Refused { why: Refused::NotNow, words: "no".into() },
        ] {
            round(&answer);
        }
    }

    #[test]
    fn a_password_on_its_way_is_not_shown_by_debug() {
        let request = Request::AccountPassword {
            account: AccountId::new("anna@example.org"),
            password: Some(Password("s3cret".into())),
        };
        assert!(!format!("{request:?}").contains("s3cret"));
    }
}
