//! A person's decision: recorded as a request, answered by the watch with an order.

use super::status::rank;
use super::{Answers, Caller, Ended, No, off_loop, reason};
use crate::control::protocol::{Decide, Item};
use std::time::Duration;
use stores_ledger::{Entry, LedgerReader, Position};
use tokio::time::timeout;
use words_mail::{Order, PrimaryId, Request, RequestKind, Scope, State};

/// How long an order is waited for.
const WAIT: Duration = Duration::from_secs(10);
/// The watch takes its time; it is looked again at the latest after this.
const LOOK: Duration = Duration::from_millis(500);

impl Answers {
    pub(crate) async fn decide(&self, decide: Decide, caller: &Caller) -> Ended {
        let request = self.request(decide, caller)?;
        let ledger = &self.parts.ledger;
        let before = *ledger.durable().borrow();
        let primary = request.primary.clone();
        let kind = request.kind.clone();
        let seq = ledger.append(Entry::Request(request)).await.map_err(|error| {
            No::failed(format!("the decision could not be written down, so nothing changed: {error}"))
        })?;
        tracing::info!(by = %caller.by, %primary, request = seq, kind = ?kind, "asked");
        let mut changes = ledger.orders();
        let answered = async {
            while ledger.in_force().waiting_requests().contains_key(&seq) {
                let _ = timeout(LOOK, changes.changed()).await;
            }
        };
        if timeout(WAIT, answered).await.is_err() {
            return Err(No::not_now(format!(
                "written down as request {seq}, and no order has followed in {} s; it stays asked for, look with: stormpost \
                 status",
                WAIT.as_secs()
            )));
        }
        let reader = ledger.reader();
        let of = primary.clone();
        let orders = off_loop(move || orders(&reader, before, seq, &of)).await?;
        let refused = refusal(&kind, &orders);
        let words = words(&primary, &kind, &orders);
        for order in orders {
            caller.item(Item::Order(order)).await?;
        }
        match refused {
            Some(why) => Err(No::not_now(format!("{primary}: {why}"))),
            None => Ok(words),
        }
    }

    fn request(&self, decide: Decide, caller: &Caller) -> Result<Request, No> {
        let Decide { primary, planes, scope, kind, reason: why } = decide;
        let primary = self.primary(primary.as_ref())?;
        let now = self.now();
        let ends = match &kind {
            RequestKind::Pin { until } => *until,
            RequestKind::Maintenance { until } => Some(*until),
            RequestKind::Failover | RequestKind::Failback | RequestKind::Unpin => None,
            RequestKind::Acknowledge { .. } | RequestKind::Mute { .. } | RequestKind::NoticeTest => {
                return Err(No::wrong("that is no decision about a primary"));
            }
        };
        if ends.is_some_and(|ends| ends <= now) {
            return Err(No::wrong("it would end before it begins"));
        }
        if let Scope::Accounts(accounts) = &scope {
            self.check_accounts(&primary, accounts)?;
        }
        Ok(Request { at: now, by: caller.by.clone(), reason: reason(&why)?, primary, planes, scope, kind })
    }

    fn check_accounts(&self, primary: &PrimaryId, accounts: &[words_mail::AccountId]) -> Result<(), No> {
        if accounts.is_empty() {
            return Err(No::wrong("no account is named"));
        }
        if accounts.len() > roads_watch::ACCOUNTS_MAX {
            let most = roads_watch::ACCOUNTS_MAX;
            return Err(No::wrong(format!("{} accounts are named; the most is {most}", accounts.len())));
        }
        let directory = self.parts.directory.snapshot();
        for account in accounts {
            if directory.account(account).is_none() {
                return Err(No::not_found(format!("there is no account {account}")));
            }
            if directory.primary_of(account) != Some(primary) {
                return Err(No::wrong(format!("the mail of {account} is not at {primary}")));
            }
        }
        Ok(())
    }
}

/// The orders that answer a request: only the last of them says so, the others stand right before it.
fn orders(reader: &LedgerReader, from: Position, seq: u64, primary: &PrimaryId) -> Result<Vec<Order>, No> {
    let mut orders: Vec<Order> = Vec::new();
    let mut asked = false;
    for entered in reader.scan_orders(Some(from)) {
        let entered = entered.map_err(No::failed)?;
        asked |= entered.seq == seq;
        let Entry::Order(order) = entered.entry else { continue };
        if !asked || order.primary != *primary || order.by == roads_watch::WATCH && order.answers.is_none() {
            continue;
        }
        let answers = order.answers;
        orders.push(order);
        match answers {
            Some(answered) if answered == seq => return Ok(orders),
            Some(_) => orders.clear(),
            None => {}
        }
    }
    Ok(orders)
}

/// Why a failback did nothing, if the primary is still down: the planes and what was last seen there.
fn refusal(kind: &RequestKind, orders: &[Order]) -> Option<String> {
    let stays = |order: &&Order| matches!(order.to, State::Active | State::Suspect) && order.from == order.to;
    let is_failback = *kind == RequestKind::Failback;
    if !is_failback || orders.is_empty() || !orders.iter().all(|order| stays(&order)) {
        return None;
    }
    let lines = orders.iter().map(|order| format!("{}: {}", order.plane, order.why));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// What came of it, in a sentence.
fn words(primary: &PrimaryId, kind: &RequestKind, orders: &[Order]) -> String {
    let Some(last) = orders.last() else {
        return format!("{primary}: it was answered; look with: stormpost status");
    };
    let changed = orders.iter().any(|order| order.from != order.to);
    let worst = orders.iter().map(|order| order.to).max_by_key(|state| rank(*state)).unwrap_or(last.to);
    let event = orders.iter().find_map(|order| order.event);
    let event = event.map_or_else(String::new, |event| format!(" (event {event})"));
    let announced = matches!(kind, RequestKind::Pin { .. } | RequestKind::Maintenance { .. });
    if !changed && !announced {
        return format!("{primary}: {}", last.why);
    }
    let kept: Vec<String> = orders
        .iter()
        .filter(|order| *kind == RequestKind::Failback && order.from == order.to && order.to == State::Active)
        .map(|order| format!("{primary} {}: {}", order.plane, order.why))
        .collect();
    if !kept.is_empty() {
        return format!("{primary} is coming back{event} only in part\n{}", kept.join("\n"));
    }
    match (kind, worst) {
        (RequestKind::Maintenance { .. }, _) => format!("{primary}: {}", last.why),
        (RequestKind::Pin { .. }, State::Pinned) => format!("{primary} is pinned{event}"),
        (_, State::Active) => format!("{primary} counts as down{event}: we carry the mail"),
        (_, State::Returning) => format!("{primary} is coming back{event}: what was kept is given back"),
        (_, State::Ready) => format!("{primary}: all well"),
        (_, State::Suspect) => format!("{primary} is in doubt; mail waits, nothing else changed"),
        (_, State::Pinned) => format!("{primary} stays pinned{event}"),
    }
}
