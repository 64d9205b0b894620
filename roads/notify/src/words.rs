//! What people read.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use stores_ledger::Reconciliation;
use words_mail::{EventId, OrderNumber, Plane, PrimaryId, Time};

/// Where a primary stands as a whole, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// All well, or in doubt, which nobody is told.
    #[default]
    Well,
    /// Down for the whole dwell, and a person has to open the event.
    PersonNeeded,
    /// Everything that was down is well again, and is being given back.
    Returning,
    /// Fixed by a person.
    Pinned,
    /// Down, we carry the mail.
    Down,
}

impl Standing {
    /// Its name in JSON; never changes.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Well => "well",
            Standing::PersonNeeded => "person-needed",
            Standing::Returning => "returning",
            Standing::Pinned => "pinned",
            Standing::Down => "down",
        }
    }
}

/// How far a primary is behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages that wait for it.
    pub messages: u64,
    /// Messages given back in this event already.
    pub given_back: u64,
    /// People's changes that wait for it.
    pub changes: u64,
    /// Since when the oldest of them waits.
    pub oldest: Option<Time>,
}

/// Who knows how far a primary is behind.
pub trait Backlog: Send + Sync {
    /// How far; `None` when that is not known. Must not wait.
    fn lag(&self, primary: &PrimaryId) -> Option<Lag>;
}

/// A change that people are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turning {
    /// Of which primary.
    pub primary: PrimaryId,
    /// For whom it holds, when it is not everybody.
    pub account: Option<String>,
    /// Where it stands now.
    pub standing: Standing,
    /// Where it stood before.
    pub before: Standing,
    /// The event.
    pub event: Option<EventId>,
    /// The order that turned it.
    pub order: OrderNumber,
    /// When.
    pub at: Time,
    /// When the trouble began.
    pub began: Option<Time>,
    /// When a pin ends.
    pub until: Option<Time>,
    /// The planes that are not well.
    pub planes: Vec<Plane>,
    /// Who decided.
    pub by: String,
    /// Why.
    pub why: String,
    /// How the reconciliation came out that ended the event, once there is one.
    pub proof: Option<Proof>,
}

/// How a reconciliation came out, for a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Whether nobody has to look at anything.
    pub clean: bool,
    /// Its counts, as its maker names them.
    pub counts: BTreeMap<String, u64>,
}

impl Proof {
    /// Of a reconciliation.
    pub fn of(found: &Reconciliation) -> Proof {
        let fields = found.report.as_object().into_iter().flatten();
        let counts = fields.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)));
        // The event has a field of its own.
        let counts = counts.filter(|(name, _)| name != "event" && !TIMES.contains(&name.as_str()));
        Proof { clean: found.clean, counts: counts.collect() }
    }
}

/// Moments in a reconciliation; they are numbers, too.
const TIMES: [&str; 3] = ["from", "until", "looked"];

/// A notice, ready to be sent by any way.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// Its own id. The same notice sent again, after a crash between sending and knowing, has the same.
    pub id: String,
    /// When it was written.
    pub at: Time,
    /// The first line.
    pub subject: String,
    /// The words.
    pub text: String,
    /// The same for programs.
    pub json: Value,
}

/// A moment to the minute, as people write it.
fn clock(time: Time) -> String {
    let (year, month, day, hour, minute, _) = time.civil();
    format!("{hour:02}:{minute:02} UTC on {year}-{month:02}-{day:02}")
}

fn plane_words(plane: Plane) -> &'static str {
    match plane {
        Plane::Inbound => "receiving mail",
        Plane::Outbound => "sending mail",
        Plane::Access => "reading mail",
        Plane::SignIn => "signing in",
        Plane::Names => "its names in the DNS",
    }
}

/// The state in people's words, for a first line.
fn headline(turning: &Turning, lag: Option<&Lag>) -> String {
    match turning.standing {
        Standing::Well if turning.lists() => {
            "working again, and somebody must look at what is listed".to_owned()
        }
        Standing::Well => "all well".to_owned(),
        Standing::PersonNeeded => "down, and waiting for you to decide".to_owned(),
        Standing::Down => "down, we carry the mail".to_owned(),
        Standing::Returning => match lag {
            Some(lag) if lag.messages + lag.given_back > 0 => {
                format!("coming back, {} of {} given back", lag.given_back, lag.given_back + lag.messages)
            }
            _ => "coming back".to_owned(),
        },
        Standing::Pinned => match turning.until {
            Some(until) => format!("pinned by {} until {}", turning.by, clock(until)),
            None => format!("pinned by {}", turning.by),
        },
    }
}

impl Turning {
    /// Whether its event ended with something that a person must look at.
    fn lists(&self) -> bool {
        self.standing == Standing::Well && self.proof.as_ref().is_some_and(|proof| !proof.clean)
    }
}

/// Which notice a letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Something changed.
    Change,
    /// It is still so, and nobody has acknowledged it.
    Repeat(u32),
    /// Somebody wants to know whether notices arrive: the request's number in the ledger.
    Test(u64),
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::Change => f.write_str("change"),
            Cause::Repeat(n) => write!(f, "repeat {n}"),
            Cause::Test(seq) => write!(f, "test {seq}"),
        }
    }
}

impl std::str::FromStr for Cause {
    type Err = ();

    fn from_str(text: &str) -> Result<Cause, ()> {
        match text.split_once(' ') {
            None if text == "change" => Ok(Cause::Change),
            Some(("repeat", n)) => n.parse().map(Cause::Repeat).map_err(drop),
            Some(("test", seq)) => seq.parse().map(Cause::Test).map_err(drop),
            _ => Err(()),
        }
    }
}

/// Writes the letter of a change.
pub fn change(turning: &Turning, cause: Cause, lag: Option<&Lag>, node: &str, now: Time) -> Letter {
    let whose = match &turning.account {
        Some(account) => format!("{} for {account}", turning.primary),
        None => turning.primary.to_string(),
    };
    let again = if matches!(cause, Cause::Repeat(_)) { "still " } else { "" };
    let subject = format!("[Stormpost] {whose}: {again}{}", headline(turning, lag));
    let mut lines = vec![what(turning, &whose)];
    if !turning.planes.is_empty() && matches!(turning.standing, Standing::Down | Standing::PersonNeeded) {
        let planes: Vec<&str> = turning.planes.iter().map(|plane| plane_words(*plane)).collect();
        lines.push(format!("Not working there: {}.", planes.join(", ")));
    }
    match (turning.lists(), turning.event) {
        (false, _) => lines.push(meanwhile(turning.standing).to_owned()),
        (true, event) => lines.push(listed(turning, event)),
    }
    if let Some(lag) = lag.filter(|lag| lag.messages + lag.changes > 0) {
        let since = lag.oldest.map(|at| format!(", the oldest since {}", clock(at))).unwrap_or_default();
        lines.push(format!("Waiting for it: {} messages and {} changes{since}.", lag.messages, lag.changes));
    }
    lines.push(format!("Decided by {} at {}: {}.", turning.by, clock(turning.at), turning.why));
    if matches!(turning.standing, Standing::Down | Standing::PersonNeeded) {
        lines.push("Acknowledge it, and this notice is not repeated.".to_owned());
    }
    let event = turning.event.map(|event| format!("event {event}, ")).unwrap_or_default();
    let text =
        format!("{}\n\n-- \nStormpost on {node}, {event}order {}\n", lines.join("\n\n"), turning.order);
    let json = json!({
        "stormpost": 1,
        "id": id(turning.order.0, cause),
        "cause": cause.to_string(),
        "at": now.to_string(),
        "node": node,
        "primary": turning.primary,
        "account": turning.account,
        "state": turning.standing.name(),
        "before": turning.before.name(),
        "event": turning.event,
        "order": turning.order,
        "since": turning.at.to_string(),
        "began": turning.began.map(|at| at.to_string()),
        "until": turning.until.map(|at| at.to_string()),
        "planes": turning.planes,
        "by": turning.by,
        "why": turning.why,
        "reconciliation": turning.proof.as_ref().map(|proof| json!({ "clean": proof.clean, "counts": proof.counts })),
        "waiting": lag.map(|lag| json!({
            "messages": lag.messages,
            "changes": lag.changes,
            "given_back": lag.given_back,
            "oldest": lag.oldest.map(|at| at.to_string()),
        })),
        "subject": subject,
        "text": format!("{subject}\n{}", lines.join("\n")),
    });
    Letter { id: id(turning.order.0, cause), at: now, subject, text, json }
}

/// What a person has to look at, and where it stands.
fn listed(turning: &Turning, event: Option<EventId>) -> String {
    let proof = turning.proof.iter().flat_map(|proof| &proof.counts);
    let counts: Vec<String> =
        proof.filter(|(_, count)| **count > 0).map(|(name, count)| format!("{count} {name}")).collect();
    let see =
        event.map_or_else(|| "stormpost event list".to_owned(), |id| format!("stormpost event show {id}"));
    format!("The reconciliation counts {}. Somebody must look at what it lists: {see}", counts.join(", "))
}

fn what(turning: &Turning, whose: &str) -> String {
    let since = turning.began.unwrap_or(turning.at);
    match turning.standing {
        Standing::Down => format!("Your mail system {whose} has been down since {}.", clock(since)),
        Standing::PersonNeeded => {
            format!(
                "Your mail system {whose} has been down since {}, and it is set up so that a person decides \
                 whether to open an event.",
                clock(since)
            )
        }
        Standing::Returning => format!("Your mail system {whose} is well again since {}.", clock(turning.at)),
        Standing::Well if turning.lists() => format!(
            "Your mail system {whose} is working. Not everything that was kept for it could be shown to be there."
        ),
        Standing::Well => format!("Your mail system {whose} is working, and nothing is owed to it any more."),
        Standing::Pinned => format!("{whose} was pinned: it stays as it is, whatever is observed."),
    }
}

fn meanwhile(standing: Standing) -> &'static str {
    match standing {
        Standing::Down => {
            "Mail keeps arriving here and is kept safe. People can read and answer it here. Nothing is lost, and \
             nothing is returned to senders."
        }
        Standing::PersonNeeded => {
            "Mail for it waits here and is kept safe; nothing is lost. People are not told to work here before you \
             open the event: stormpost failover --reason ..."
        }
        Standing::Returning => "What was kept is being given back now. You need not do anything.",
        Standing::Well => "You need not do anything.",
        Standing::Pinned => "To end it: stormpost unpin --reason ...",
    }
}

/// Writes a test letter.
pub fn test(seq: u64, primary: &PrimaryId, by: &str, node: &str, now: Time) -> Letter {
    let cause = Cause::Test(seq);
    let subject = "[Stormpost] test: this is what a notice looks like".to_owned();
    let text = format!(
        "{by} asked for a test notice about {primary}. Nothing has happened.\n\nIf you read this, notices reach you \
         on this way.\n\n-- \nStormpost on {node}\n"
    );
    let json = json!({
        "stormpost": 1,
        "id": id(seq, cause),
        "cause": "test",
        "at": now.to_string(),
        "node": node,
        "primary": primary,
        "state": "test",
        "by": by,
        "subject": subject,
        "text": format!("{subject}\n{by} asked for it; nothing has happened."),
    });
    Letter { id: id(seq, cause), at: now, subject, text, json }
}

fn id(number: u64, cause: Cause) -> String {
    match cause {
        Cause::Change => format!("order-{number}"),
        Cause::Repeat(n) => format!("order-{number}-repeat-{n}"),
        Cause::Test(seq) => format!("test-{seq}"),
    }
}
