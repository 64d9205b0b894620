//! What an organisation chooses about delivery, and what delivery is given to work with.

use crate::{Ask, Door, Pace, Signer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use stores_directory::Snapshot;
use stores_journal::JournalReader;
use stores_ledger::Ledger;
use stores_log::Position;
use stores_mailbox::Mailboxes;
use stores_primary::internet::Internet;
use stores_primary::smtp::Hop;
use tokio::sync::watch;
use words_mail::PrimaryId;
use words_world::World;

/// How one primary gets its mail.
#[derive(Clone, Debug)]
pub struct PrimaryRoute {
    /// Where received mail is handed to it.
    pub hop: Hop,
    /// How hard it may be pushed.
    pub pace: Pace,
    /// Its outgoing server, when what its people send is to leave through it while all is well.
    pub outbound: Option<Hop>,
    /// How long it may hold a message it said yes to before the message is in the mailbox. A message whose fate is
    /// unknown is sent once more only when it was looked for and is older than this.
    pub queue_time: Duration,
}

/// Paces, ages and bounds. [`Settings::new`] gives every one a default.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node's name: the vantage of observations, and who reports of undelivered mail come from.
    pub node: String,
    /// The primaries.
    pub primaries: BTreeMap<PrimaryId, PrimaryRoute>,
    /// The way to everybody else.
    pub internet: Internet,
    /// How hard one domain of the internet may be pushed.
    pub internet_pace: Pace,
    /// How hard the mailboxes here may be pushed.
    pub mailbox_pace: Pace,
    /// Deliveries at once, to all places together.
    pub in_flight_most: u32,
    /// How long mail to other organisations is tried before the sender gets it back.
    pub outbound_age: Duration,
    /// How long mail waits for a primary, never counting while an event is open.
    pub spool_age: Duration,
    /// After which age senders are told once that their mail is late; never while an event is open.
    pub delay_after: Option<Duration>,
    /// How long after an unknown outcome a message is sent once more where nobody can be asked.
    pub unknown_wait: Duration,
    /// How long after an unknown outcome it is asked about first.
    pub ask_after: Duration,
    /// How often a message may break the dialogue before it is parked.
    pub wedges_most: u32,
    /// Recipients in memory at most; further ones stay in the journal until there is room.
    pub queue_most: usize,
    /// Parked and refused recipients in memory at most.
    pub listed_most: usize,
    /// How long what is in quarantine is kept.
    pub quarantine_age: Duration,
    /// Settlements under way at most; beyond it nothing new is handed over.
    pub settling_most: usize,
    /// How long an idle connection is kept.
    pub idle: Duration,
    /// Messages on one connection at most.
    pub session_messages: u32,
    /// How often the journal is looked at when another process writes it; a tenth as often where it wakes us.
    pub poll: Duration,
    /// Bytes that may wait before an alarm.
    pub budget_bytes: u64,
    /// The age that waiting mail may reach before an alarm.
    pub budget_age: Duration,
    /// Primaries that file what their people send by themselves. For everybody else it is filed into the Sent folder
    /// here.
    pub file_sent_themselves: BTreeSet<PrimaryId>,
}

impl Settings {
    /// The defaults.
    pub fn new(node: &str, internet: Internet) -> Settings {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Settings {
            node: node.to_owned(),
            primaries: BTreeMap::new(),
            internet,
            internet_pace: Pace::internet(),
            mailbox_pace: Pace::mailbox(),
            in_flight_most: 512,
            outbound_age: days(5),
            spool_age: days(60),
            delay_after: Some(Duration::from_secs(4 * 3_600)),
            unknown_wait: Duration::from_secs(60),
            ask_after: Duration::from_secs(1),
            wedges_most: 3,
            queue_most: 1_000_000,
            listed_most: 10_000,
            quarantine_age: days(30),
            settling_most: 2_000,
            idle: Duration::from_secs(10),
            session_messages: 1_000,
            poll: Duration::from_millis(500),
            budget_bytes: 100 << 30,
            budget_age: days(3),
            file_sent_themselves: BTreeSet::new(),
        }
    }
}

/// What delivery works with.
#[derive(Clone)]
pub struct Parts {
    /// The outside.
    pub world: World,
    /// Accepted mail.
    pub journal: JournalReader,
    /// The wake-up for new mail, when this process writes the journal.
    pub arrivals: Option<watch::Receiver<Position>>,
    /// Orders, and settlements.
    pub ledger: Ledger,
    /// The mailboxes here.
    pub mailboxes: Mailboxes,
    /// Who is here.
    pub directory: watch::Receiver<Arc<Snapshot>>,
    /// By which door reports to senders go out.
    pub door: Arc<dyn Door>,
    /// Who can look into a primary's mailboxes, if somebody can.
    pub ask: Option<Arc<dyn Ask>>,
    /// Signs what people send.
    pub signer: Arc<Signer>,
}
