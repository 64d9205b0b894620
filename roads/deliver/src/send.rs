//! One job: one message handed over in one transaction.

use crate::history::HERE_ONLY;
use crate::lane::LaneName;
use crate::queue::{Job, JobItem, Turn, Way};
use crate::road::Road;
use crate::route::SENT;
use crate::settle;
use crate::sign;
use crate::turn;
use std::io::{self, Read};
use std::sync::Arc;
use stores_journal::{JournalEntry, Message, ReadError};
use stores_mailbox::{Arrival, Attempt, By, Flags};
use stores_primary::internet;
use stores_primary::smtp::{Begun, Hop, NotSent, Session, Transaction};
use tokio::task::JoinSet;
use tokio::time::Instant;
use words_mail::{Outcome, Recipient, Reply, Source};
use words_smtp::client::{MailParameters, Protocol};
use words_world::crash_point;

/// Bytes of a message read at once.
const PART: usize = 32 * 1024;
/// The longest header that is looked through for what needs SMTPUTF8.
const HEADER_MAX: usize = 256 * 1024;

/// What came of a job.
pub(crate) struct Handed {
    pub(crate) job: Job,
    pub(crate) turns: Vec<Turn>,
    /// For each item: an attempt that used its number is on record.
    pub(crate) attempted: Vec<bool>,
    pub(crate) micros: u64,
    /// Whether the server reports success itself (RFC 3461).
    pub(crate) reports: bool,
    /// The message, as far as it could be read.
    pub(crate) entry: Option<Arc<JournalEntry>>,
}

impl Handed {
    fn all(job: Job, since: Instant, turn: &Turn, entry: Option<Arc<JournalEntry>>) -> Handed {
        let turns = vec![turn.clone(); job.items.len()];
        let attempted = vec![false; job.items.len()];
        Handed { job, turns, attempted, micros: micros(since), reports: false, entry }
    }

    /// A job whose task ended in a panic.
    pub(crate) fn panicked(job: Job, words: &str) -> Handed {
        Handed::all(job, Instant::now(), &Turn::Broken(words.to_owned()), None)
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// What a journal that cannot be read means: trouble with the disk passes, a damaged record stays as it is.
fn unreadable(error: &ReadError) -> Turn {
    let words = format!("the journal: {error}");
    match error {
        ReadError::Disk(error) if !is_damage(error) => Turn::Ours(words),
        _ => Turn::Broken(words),
    }
}

fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound
    )
}

fn unreadable_part(error: &io::Error) -> Turn {
    let words = format!("the journal: {error}");
    if is_damage(error) { Turn::Broken(words) } else { Turn::Ours(words) }
}

/// Carries a job out.
pub(crate) async fn carry_out(road: Arc<Road>, job: Job) -> Handed {
    let since = Instant::now();
    let entry = match road.parts.journal.read(job.position) {
        Ok(entry) => Arc::new(entry),
        Err(error) => return Handed::all(job, since, &unreadable(&error), None),
    };
    match job.way {
        Way::Here => arrive(&road, job, &entry, since).await,
        Way::Onward => hand_over(&road, job, &entry, since).await,
    }
}

async fn arrive(road: &Road, job: Job, entry: &Arc<JournalEntry>, since: Instant) -> Handed {
    let mut turns = Vec::with_capacity(job.items.len());
    for item in &job.items {
        turns.push(arrive_one(road, item, entry).await);
    }
    let attempted = vec![false; turns.len()];
    Handed { job, turns, attempted, micros: micros(since), reports: true, entry: Some(entry.clone()) }
}

async fn arrive_one(road: &Road, item: &JobItem, entry: &JournalEntry) -> Turn {
    let Some(account) = &item.account else {
        return Turn::Broken("a mailbox copy without an account".to_owned());
    };
    let accepted = &entry.accepted;
    let mut arrival = Arrival::new(accepted.trace, entry.position, accepted.at, accepted.size);
    if item.key.index == SENT {
        arrival.folder = "Sent".to_owned();
        let mut seen = Flags::none();
        seen.insert("\\Seen");
        arrival.flags = seen;
        // Sending is the person's own act: it is carried to the primary like everything else a person does.
        arrival.by = By::Person;
    }
    crash_point("deliver.arrive.before");
    match road.parts.mailboxes.arrive(account, &arrival).await {
        Ok(placed) => {
            crash_point("deliver.arrive.after");
            let mut words = format!("in {} as UID {}", placed.folder, placed.uid);
            if item.key.index != SENT && !settle::has_onward(road, &item.recipient) {
                words.push_str(", ");
                words.push_str(HERE_ONLY);
            }
            let reply = Reply::new(250, (2, 1, 5), words);
            Turn::Final(Outcome::HandedOver { reply })
        }
        Err(error) if error.is_temporary() => Turn::Place { words: error.to_string(), wedge: false },
        Err(error) => Turn::Broken(error.to_string()),
    }
}

async fn hand_over(road: &Arc<Road>, job: Job, entry: &Arc<JournalEntry>, since: Instant) -> Handed {
    let transaction = match transaction(road, &job, entry) {
        Ok(transaction) => transaction,
        Err(error) => {
            return Handed::all(job, since, &unreadable_part(&error), Some(entry.clone()));
        }
    };
    let hops = match hops(road, &job.lane).await {
        Ok(hops) => hops,
        Err(turn) => return Handed::all(job, since, &turn, Some(entry.clone())),
    };
    let (mut session, begun, protocol) = match begin(road, &job.lane, &hops, &transaction).await {
        Ok(begun) => begun,
        Err(failed) => {
            return Handed::all(job, since, &turn::of_failure(&failed), Some(entry.clone()));
        }
    };
    let mut turns: Vec<Option<Turn>> = vec![None; job.items.len()];
    for refusal in &begun.refused {
        turns[refusal.index] = Some(turn::of_refusal(refusal, &job.lane));
    }
    let mut attempted = vec![false; job.items.len()];
    if !begun.accepted.is_empty() {
        let accepted: Vec<JobItem> = begun.accepted.iter().map(|index| job.items[*index].clone()).collect();
        let sent = send(road, &mut session, &job, accepted, entry).await;
        for index in &begun.accepted {
            attempted[*index] = sent.attempted;
            turns[*index] = Some(match &sent.result {
                Ok(fates) => match fates.iter().find(|(i, _)| i == index) {
                    Some((_, fate)) => turn::of_fate(fate, protocol, begun.accepted.len() == 1, &job.lane),
                    None => Turn::Unknown("dot: no answer for this recipient".to_owned()),
                },
                Err(turn) => turn.clone(),
            });
        }
    }
    let reports = session.offered().dsn;
    if let Some(spent) = road.pool.keep(&job.lane, session, road.settings.session_messages) {
        spent.quit().await;
    }
    let turns =
        turns.into_iter().map(|turn| turn.unwrap_or_else(|| Turn::Ours("not asked this time".into())));
    let turns = turns.collect();
    Handed { turns, attempted, micros: micros(since), reports, job, entry: Some(entry.clone()) }
}

fn transaction(road: &Road, job: &Job, entry: &JournalEntry) -> io::Result<Transaction> {
    let envelope = &entry.accepted.envelope;
    let recipients = job.items.iter().map(|item| {
        let given = envelope.recipients.get(item.key.index as usize);
        match given {
            Some(given) => Recipient { address: item.recipient.clone(), ..given.clone() },
            None => Recipient::new(item.recipient.clone()),
        }
    });
    let utf8 = envelope.utf8 && header_is_international(road, entry)?;
    Ok(Transaction {
        sender: envelope.sender.clone(),
        recipients: recipients.collect(),
        with: MailParameters {
            size: Some(entry.accepted.size),
            eight_bit: envelope.eight_bit,
            utf8,
            ret: envelope.ret,
            envid: envelope.envid.clone(),
        },
        client: (envelope.source == Source::Edge).then(|| envelope.peer.clone()),
    })
}

/// Whether the header really holds what needs SMTPUTF8: clients declare it for plain messages too, and a next hop without
/// the extension can well take those.
fn header_is_international(road: &Road, entry: &JournalEntry) -> io::Result<bool> {
    let message = open(road, entry)?;
    let mut header = Vec::new();
    message.take(HEADER_MAX as u64).read_to_end(&mut header)?;
    let end = header.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(header.len());
    Ok(!header[..end].is_ascii())
}

/// The servers of a lane, in order.
async fn hops(road: &Road, lane: &LaneName) -> Result<Vec<Hop>, Turn> {
    let gone = || Turn::Ours(format!("{lane} is not in the configuration"));
    match lane {
        LaneName::Mailbox => Err(gone()),
        LaneName::Primary(id) => {
            road.settings.primaries.get(id).map(|primary| vec![primary.hop.clone()]).ok_or_else(gone)
        }
        LaneName::Relay(id) => {
            let relay = road.settings.primaries.get(id).and_then(|primary| primary.outbound.clone());
            relay.map(|hop| vec![hop]).ok_or_else(gone)
        }
        LaneName::SmartHost => {
            road.settings.internet.smart_host.clone().map(|hop| vec![hop]).ok_or_else(gone)
        }
        LaneName::Domain(domain) => internet::route(&road.parts.world, &road.settings.internet, domain)
            .await
            .map_err(|no_way| turn::of_no_way(&no_way)),
    }
}

/// A dialogue in which sender and recipients were named: on a kept connection, or on a new one to the first server that
/// answers.
async fn begin(
    road: &Road,
    lane: &LaneName,
    hops: &[Hop],
    transaction: &Transaction,
) -> Result<(Session, Begun, Protocol), NotSent> {
    let protocol = hops.first().map_or(Protocol::Smtp, |hop| hop.protocol);
    while let Some(mut session) = road.pool.take(lane) {
        if !session.suits(transaction) {
            session.quit().await;
            continue;
        }
        match session.begin(transaction).await {
            Ok(begun) => return Ok((session, begun, protocol)),
            // Closed while it was idle: that says nothing about the server. The others are as old.
            Err(_) => road.pool.forget(lane),
        }
    }
    let mut last = None;
    for hop in hops {
        let result = async {
            let mut session = Session::open(&road.parts.world, hop).await?;
            let begun = session.begin(transaction).await?;
            Ok((session, begun))
        };
        match result.await {
            Ok((session, begun)) => return Ok((session, begun, hop.protocol)),
            Err(failed) => last = Some(failed),
        }
    }
    Err(last.unwrap_or(NotSent {
        stage: stores_primary::smtp::Stage::Names,
        why: "there is no server to try".to_owned(),
        reply: None,
        unsendable: false,
    }))
}

struct Sent {
    attempted: bool,
    result: Result<Vec<(usize, stores_primary::smtp::Fate)>, Turn>,
}

/// Sends the message; the final dot only after the attempts are durable (`docs/ARCHITECTURE.md`, invariant 6).
async fn send(
    road: &Arc<Road>,
    session: &mut Session,
    job: &Job,
    accepted: Vec<JobItem>,
    entry: &JournalEntry,
) -> Sent {
    // Recorded while the body travels: both have to be done before the dot, in any order.
    let mut attempts = JoinSet::new();
    for item in accepted {
        let road = road.clone();
        let trace = job.trace;
        attempts.spawn(async move {
            let attempt = Attempt {
                trace,
                recipient: item.recipient,
                destination: item.destination,
                number: item.number,
            };
            crash_point("deliver.attempt.before");
            road.parts.mailboxes.attempt(attempt).await
        });
    }
    let streamed = stream(road, session, job, entry).await;
    let mut refused = None;
    while let Some(recorded) = attempts.join_next().await {
        match recorded {
            Ok(Ok(())) => {}
            Ok(Err(error)) => refused = Some(error.to_string()),
            Err(error) => refused = Some(error.to_string()),
        }
    }
    crash_point("deliver.attempt.after");
    if let Err(turn) = streamed {
        return Sent { attempted: true, result: Err(turn) };
    }
    if let Some(why) = refused {
        // The dialogue cannot be ended without a final dot; the session is dropped with it open, so nothing is sent.
        session.abandon();
        return Sent {
            attempted: true,
            result: Err(Turn::Ours(format!("the attempt was not recorded: {why}"))),
        };
    }
    let result = session.finish().await.map_err(|failed| turn::of_failure(&failed));
    crash_point("deliver.dot.after");
    Sent { attempted: true, result }
}

async fn stream(road: &Road, session: &mut Session, job: &Job, entry: &JournalEntry) -> Result<(), Turn> {
    let signature = signature(road, job, entry).map_err(|error| unreadable_part(&error))?;
    if !signature.is_empty() {
        session.data(signature.as_bytes()).await.map_err(|failed| turn::of_failure(&failed))?;
    }
    let mut message = open(road, entry).map_err(|error| unreadable_part(&error))?;
    let mut part = vec![0; PART];
    loop {
        match message.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(n) => session.data(&part[..n]).await.map_err(|failed| turn::of_failure(&failed))?,
            Err(error) => {
                // Half a message stands on the wire: it must not get an end.
                session.abandon();
                return Err(unreadable_part(&error));
            }
        }
    }
}

fn open(road: &Road, entry: &JournalEntry) -> io::Result<Message> {
    road.parts.journal.message(entry).map_err(|error| match error {
        ReadError::Disk(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    })
}

/// The signatures of a message that people here, or we, send to others.
fn signature(road: &Road, job: &Job, entry: &JournalEntry) -> io::Result<String> {
    let envelope = &entry.accepted.envelope;
    let leaves = matches!(job.lane, LaneName::Domain(_) | LaneName::SmartHost | LaneName::Relay(_));
    if !leaves || envelope.source == Source::Edge || road.parts.signer.is_empty() {
        return Ok(String::new());
    }
    let domain = match envelope.sender.address() {
        Some(address) => Some(address.domain().to_owned()),
        None => sign::author_domain(open(road, entry)?),
    };
    match domain {
        Some(domain) => road.parts.signer.sign(&domain, open(road, entry)?),
        None => Ok(String::new()),
    }
}
