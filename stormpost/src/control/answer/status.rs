//! How everything stands.

use super::latest::{STALE, Seen};
use super::queue::paused;
use super::{Answers, No, off_loop};
use crate::compose::offsite::{OffsiteStanding, OffsiteView};
use crate::configuration::{PrimarySettings, write_size};
use crate::control::protocol::{
    DiskStatus, EdgeStatus, Lag, Pinned, PlaneStatus, PrimaryStatus, QueueTotals, Status,
};
use crate::edge::{EdgeView, SPOOL_FULL, Standing};
use roads_deliver::Counts;
use std::path::Path;
use std::time::Duration;
use stores_ledger::{InForce, QueueAct};
use stores_log::LogHealth;
use words_mail::{Order, OrderKind, Plane, PrimaryId, RequestKind, Scope, State, Time};

/// Room for fewer days than this is a warning.
const DAYS_LOW: f64 = 3.0;
/// Pauses of the queue that are named.
const PAUSES_SHOWN: usize = 5;
/// Changes of one account that are counted; beyond it there are many.
const CHANGES_MAX: u32 = 1_000;
/// A journal younger than this says nothing about a day.
const PACE_AFTER: Duration = Duration::from_secs(6 * 3_600);
/// A request that waits so long for its order is a warning, microseconds.
const ORDER_LATE: i64 = 15_000_000;

impl Answers {
    /// How everything stands now.
    pub(crate) async fn status(&self) -> Result<Status, No> {
        let answers = self.clone();
        off_loop(move || Ok(answers.look())).await
    }

    /// The same; blocks on the disk.
    pub(crate) fn look(&self) -> Status {
        let parts = &self.parts;
        let now = self.now();
        let in_force = parts.ledger.in_force();
        let seen = self.latest.seen();
        let counts = parts.queue.counts();
        let mut status = Status {
            node: parts.configuration.node.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now,
            started: self.started,
            queue: QueueTotals {
                messages: counts.messages,
                bytes: counts.bytes,
                oldest: counts.oldest,
                parked: counts.parked,
            },
            disk: self.disk(now, counts.bytes),
            edge: parts.journal.edge().map(|edge| edge_status(edge.standing())),
            offsite: parts.offsite.as_ref().map(OffsiteView::standing),
            coverage: parts.directory.coverage(),
            certificates: crate::certificates::states(&parts.configuration),
            ..Status::default()
        };
        for settings in &parts.configuration.primaries {
            let lag = self.lag(settings, &counts);
            let look = Look { primary: &settings.id, in_force: &in_force, seen: &seen, now, lag };
            let mut primary = look.status();
            primary.mode = settings.mode;
            status.primaries.insert(settings.id.0.clone(), primary);
        }
        status.warnings = self.warnings(&status, &in_force, &seen);
        let troubles = status.certificates.iter().filter_map(|certificate| certificate.trouble(now));
        status.warnings.extend(troubles.map(|(_, words)| words));
        status.warnings.extend(self.pulse().warnings());
        status.warnings.extend(status.offsite.as_ref().and_then(OffsiteStanding::warning));
        status.warnings.extend(counts.alarm);
        status.warnings.extend(pauses(&parts.queue.pauses()));
        if !counts.caught_up {
            status
                .warnings
                .push("the queue is still being read after the start; its figures grow".to_owned());
        }
        status
    }

    /// How far a primary is behind, for a notice. Blocks on the disk, for a moment.
    pub(crate) fn behind(&self, primary: &PrimaryId) -> Option<roads_notify::Lag> {
        let settings = self.parts.configuration.primaries.iter().find(|known| known.id == *primary)?;
        let Lag { messages, changes, oldest } = self.lag(settings, &self.parts.queue.counts());
        let given_back = self.latest.seen().given(primary);
        Some(roads_notify::Lag { messages, given_back, changes, oldest })
    }

    fn lag(&self, settings: &PrimarySettings, counts: &Counts) -> Lag {
        let messages = counts.by_primary.get(&settings.id).copied().unwrap_or_default();
        let oldest = counts.oldest_for.get(&settings.id).copied();
        Lag { messages, changes: self.changes(settings), oldest }
    }

    /// What people did that the primary has not got yet. Where nobody may give back, nothing is owed.
    fn changes(&self, settings: &PrimarySettings) -> u64 {
        if settings.mailbox.as_ref().is_none_or(|mailbox| mailbox.writer.is_none()) {
            return 0;
        }
        let mailboxes = &self.parts.mailboxes;
        let directory = self.parts.directory.snapshot();
        let accounts = mailboxes.accounts().unwrap_or_default();
        let there = accounts.iter().filter(|account| directory.primary_of(account) == Some(&settings.id));
        let owed = there.map(|account| {
            let replayed = mailboxes.replayed(account).unwrap_or_default();
            mailboxes.changes_since(account, replayed, CHANGES_MAX).map_or(0, |changes| changes.len() as u64)
        });
        owed.sum()
    }

    fn disk(&self, now: Time, waiting: u64) -> DiskStatus {
        let parts = &self.parts;
        let limits = &parts.configuration.limits;
        let health = |health: LogHealth| match health {
            LogHealth::Open => "open".to_owned(),
            LogHealth::NoSpace => "the disk is nearly full: nothing is taken until there is room".to_owned(),
            LogHealth::Failed(why) => format!("the disk did not confirm ({why}); restart the node"),
        };
        // Where the edge is a process of its own, it knows best what it does.
        let full = match parts.journal.edge().map(EdgeView::counts) {
            Some(counts) => counts.get(SPOOL_FULL).is_some_and(|full| *full > 0),
            None => waiting >= limits.spool_size,
        };
        let free = parts.world.disk.free(&parts.configuration.node.data).unwrap_or_default();
        let free = free.saturating_sub(limits.reserve);
        let room = free.min(limits.spool_size.saturating_sub(waiting));
        DiskStatus {
            free,
            budget: limits.spool_size,
            full,
            days: self.bytes_a_day(now).map(|pace| room as f64 / pace),
            logs: [
                ("journal".to_owned(), health(parts.journal.health())),
                ("ledger".to_owned(), health(parts.ledger.health())),
                ("mailbox".to_owned(), health(parts.mailboxes.health())),
            ]
            .into(),
        }
    }

    /// How much the journal has grown a day since its oldest segment, which retention keeps near; `None` in the first
    /// hours, or while there is nothing to judge by.
    fn bytes_a_day(&self, now: Time) -> Option<f64> {
        let parts = &self.parts;
        let times = parts.journal.reader().log_reader().segment_times().ok()?;
        let age = now.since(times.first()?.1);
        if age < PACE_AFTER {
            return None;
        }
        let folder = parts.configuration.node.data.join("journal");
        let of = |folder: &Path| -> u64 {
            parts.world.disk.list(folder).unwrap_or_default().iter().map(|entry| entry.len).sum()
        };
        let bytes = of(&folder) + of(&folder.join("bodies"));
        let days = age.as_secs_f64() / 86_400.0;
        (bytes > 0).then(|| (bytes as f64 / days).max(1.0))
    }

    fn warnings(&self, status: &Status, in_force: &InForce, seen: &Seen) -> Vec<String> {
        let mut warnings = Vec::new();
        for (log, health) in status.disk.logs.iter().filter(|(_, health)| *health != "open") {
            warnings.push(format!("{log}: {health}"));
        }
        if let Some(edge) = status.edge.as_ref().filter(|edge| !edge.up) {
            warnings.push(format!("perhaps no mail is taken in: {}", edge.words));
        }
        if status.disk.full {
            let budget = write_size(status.disk.budget);
            warnings.push(format!(
                "no mail is taken in: {budget} wait, which is all that may (spool_size); senders are told to come back. It is \
                 taken again by itself as what waits goes"
            ));
        }
        if let Some(days) = status.disk.days.filter(|days| *days < DAYS_LOW) {
            warnings.push(format!("at the pace of the last days there is room for {days:.1} days only"));
        }
        if status.queue.parked > 0 {
            let parked = status.queue.parked;
            warnings.push(format!("{parked} messages are set aside; see: stormpost queue list --parked"));
        }
        if status.coverage.accounts > 0 && status.coverage.able == 0 {
            warnings.push(
                "nobody could sign in here if the mail system were gone: no password was captured yet".into(),
            );
        }
        for (id, primary) in &status.primaries {
            let measured =
                |plane: &Plane| primary.planes.get(&plane.to_string()).is_some_and(|p| p.finding.is_some());
            if !measured(&Plane::Inbound) && status.now.since(self.started) > STALE {
                warnings.push(format!("{id}: nothing has measured for a minute whether mail reaches it"));
            }
        }
        for (primary, plane, scope, state) in in_force.unready() {
            if let Scope::Accounts(accounts) = scope {
                let who = accounts.first().map(ToString::to_string).unwrap_or_default();
                warnings.push(format!("{primary}: {plane} is {state} for {who}"));
            }
        }
        let late = |at: Time| status.now.0.saturating_sub(at.0) > ORDER_LATE;
        for (seq, request) in in_force.waiting_requests().iter().filter(|(_, request)| late(request.at)) {
            warnings.push(format!("request {seq} of {} has had no order yet", request.by));
        }
        for event in in_force.events().iter().rev().take(1) {
            if event.closed.is_some() && seen.proofs.get(&event.id) == Some(&false) {
                let id = event.id;
                warnings
                    .push(format!("event {id} left something to look at; see: stormpost event show {id}"));
            }
        }
        warnings
    }
}

/// A pause that was forgotten is an outage of one's own making.
fn pauses(acts: &[QueueAct]) -> Vec<String> {
    let mut warnings: Vec<String> = acts.iter().take(PAUSES_SHOWN).map(paused).collect();
    if acts.len() > PAUSES_SHOWN {
        warnings.push(format!("{} pauses of the queue more", acts.len() - PAUSES_SHOWN));
    }
    warnings
}

fn edge_status(standing: Standing) -> EdgeStatus {
    let down = |words| EdgeStatus { up: false, pid: None, started: None, version: String::new(), words };
    match standing {
        Standing::Up { pid, since, version } => EdgeStatus {
            up: true,
            pid: Some(pid),
            started: Some(since),
            version,
            words: "takes mail".to_owned(),
        },
        Standing::Starting => down("is starting".to_owned()),
        Standing::Away(words) | Standing::Failed(words) => down(words),
    }
}

/// What is known of one primary.
pub(crate) struct Look<'a> {
    pub(crate) primary: &'a PrimaryId,
    pub(crate) in_force: &'a InForce,
    pub(crate) seen: &'a Seen,
    pub(crate) now: Time,
    pub(crate) lag: Lag,
}

/// The worse, the higher.
pub(crate) fn rank(state: State) -> u8 {
    match state {
        State::Ready => 0,
        State::Suspect => 1,
        State::Returning => 2,
        State::Pinned => 3,
        State::Active => 4,
    }
}

impl Look<'_> {
    pub(crate) fn status(&self) -> PrimaryStatus {
        let state = |plane: Plane| self.in_force.state(self.primary, plane);
        let worst = Plane::ALL.into_iter().map(state).max_by_key(|state| rank(*state));
        let worst = worst.unwrap_or(State::Ready);
        let planes = Plane::ALL.into_iter().map(|plane| (plane.to_string(), self.plane(plane)));
        let on = |kind: &OrderKind| self.in_force.on(*kind, self.primary, None);
        PrimaryStatus {
            state: worst,
            words: self.words(worst),
            mode: words_mail::Mode::default(),
            planes: planes.collect(),
            event: self.in_force.open_event(self.primary).map(|event| event.id),
            on: OrderKind::ALL.into_iter().filter(on).collect(),
            lag: self.lag,
            pinned: self.pinned(),
            proved: self.seen.proved.get(self.primary).copied(),
        }
    }

    fn plane(&self, plane: Plane) -> PlaneStatus {
        let key = (self.primary.clone(), plane);
        let fresh = self.seen.observations.get(&key).filter(|seen| self.now.since(seen.at) <= STALE);
        let order = self.seen.order_of(self.primary, plane);
        PlaneStatus {
            state: self.in_force.state(self.primary, plane),
            since: order.map(|(_, at)| at).unwrap_or_default(),
            finding: fresh.map(|seen| seen.finding),
            detail: fresh.map(|seen| seen.detail.clone()).unwrap_or_default(),
            order: order.map(|(number, _)| number),
        }
    }

    /// The order that put a plane into this state, the first of them.
    fn order(&self, state: State) -> Option<&Order> {
        let standing = |plane: Plane| self.seen.planes.get(&(self.primary.clone(), plane));
        let orders = Plane::ALL.into_iter().filter_map(standing).map(|standing| &standing.order);
        orders.filter(|order| order.to == state).min_by_key(|order| order.number)
    }

    fn pinned(&self) -> Option<Pinned> {
        if !Plane::ALL.into_iter().any(|plane| self.in_force.state(self.primary, plane) == State::Pinned) {
            return None;
        }
        let order = self.order(State::Pinned)?;
        let standing = self.seen.planes.get(&(self.primary.clone(), order.plane));
        let request = standing.and_then(|standing| standing.request.as_ref());
        let asked = request.filter(|request| matches!(request.kind, RequestKind::Pin { .. }));
        let reason = asked.map_or_else(|| order.why.clone(), |request| request.reason.clone());
        Some(Pinned { by: order.by.clone(), reason, until: order.until })
    }

    /// In people's words.
    fn words(&self, worst: State) -> String {
        let carried = self.in_force.paused(self.primary, None);
        match worst {
            State::Ready => "All well".to_owned(),
            State::Suspect => "In doubt, nothing changed yet".to_owned(),
            State::Active => {
                let began = self.in_force.open_event(self.primary).map(|event| event.began);
                let began = began.or_else(|| self.order(State::Active).map(|order| order.at));
                let since = began.map_or_else(String::new, |at| format!(" since {}", clock(at, self.now)));
                let does = if carried { ", we carry the mail" } else { "" };
                let inbound = self.in_force.state(self.primary, Plane::Inbound) == State::Active;
                match inbound {
                    true => format!("Down{since}{does}"),
                    false => format!("Partly down{since}: {}{does}", self.planes_in(State::Active)),
                }
            }
            State::Returning => {
                let given = self.seen.given(self.primary);
                let all = given + self.lag.messages;
                match all {
                    0 => "Coming back, nothing left to give back but the proof".to_owned(),
                    all => format!("Coming back, {} of {} given back", grouped(given), grouped(all)),
                }
            }
            State::Pinned => match self.pinned() {
                None => "Pinned".to_owned(),
                Some(Pinned { by, until, .. }) => {
                    let until =
                        until.map_or_else(String::new, |at| format!(" until {}", clock(at, self.now)));
                    let does = if carried { "; we carry the mail" } else { "" };
                    format!("Pinned by {by}{until}{does}")
                }
            },
        }
    }

    fn planes_in(&self, state: State) -> String {
        let there = |plane: &Plane| self.in_force.state(self.primary, *plane) == state;
        Plane::ALL.iter().filter(|p| there(p)).map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// A moment as people say it: the time, and the day when it is not today. UTC.
pub(crate) fn clock(at: Time, now: Time) -> String {
    let (year, month, day, hour, minute, _) = at.civil();
    let (this_year, this_month, this_day, ..) = now.civil();
    match (year, month, day) == (this_year, this_month, this_day) {
        true => format!("{hour:02}:{minute:02} UTC"),
        false => format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC"),
    }
}

/// A number with its thousands apart: `2,310`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
