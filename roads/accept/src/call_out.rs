//! Asking a primary whether it knows a recipient, where no list of the organisation says so.
//!
//! Never authoritative: a yes is remembered, a no is passed on only as the primary's own answer of this moment, and no
//! answer means `450`. Each recipient is asked about once at a time, each primary gets few questions at once and in a
//! minute. A primary that says yes to an address that cannot exist says yes to everything; then asking is given up for
//! that domain.

use crate::AcceptLimits;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use words_mail::{Address, PrimaryId, Reply};
use words_world::{Boxed, World};

/// What a primary said to `RCPT TO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 2xx.
    Yes,
    /// 5xx.
    No(Reply),
    /// Anything else, or nothing at all.
    NoAnswer,
}

/// Asks a primary about a recipient, by `RCPT TO` without a message.
pub trait CallOut: Send + Sync {
    /// Asks once. The caller limits the time.
    fn ask<'a>(&'a self, primary: &'a PrimaryId, recipient: &'a Address) -> Boxed<'a, Answer>;
}

/// What is known after asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The primary takes it.
    Yes,
    /// The primary takes every address of that domain, so its yes means little.
    Anything,
    /// The primary refuses it, now.
    No(Reply),
    /// Nobody could be asked.
    CannotTell,
}

/// For so long an answer counts without being asked for again.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// For so long a domain keeps the name of taking, or not taking, everything.
const DOMAIN_TIME: Duration = Duration::from_secs(3_600);
/// Answers remembered.
const ANSWERS_MAX: usize = 10_000;

#[derive(Default)]
struct Asking {
    at_once: u32,
    minute: Option<Instant>,
    asked: u32,
}

#[derive(Default)]
struct State {
    primaries: HashMap<PrimaryId, Asking>,
    flights: HashMap<String, watch::Receiver<Option<Known>>>,
    answers: HashMap<String, (Known, Instant)>,
    /// Domains and whether everything is taken there.
    domains: HashMap<String, (bool, Instant)>,
}

/// The gate before [`CallOut`].
pub(crate) struct CallOuts {
    call_out: Arc<dyn CallOut>,
    world: World,
    state: Mutex<State>,
}

/// A question under way; dropping it, however that comes about, frees its place.
struct Flight<'a> {
    gate: &'a CallOuts,
    key: String,
    primary: PrimaryId,
    answer: watch::Sender<Option<Known>>,
}

enum Turn<'a> {
    Known(Known),
    Follow(watch::Receiver<Option<Known>>),
    Ask(Flight<'a>),
}

impl CallOuts {
    pub(crate) fn new(call_out: Arc<dyn CallOut>, world: World) -> CallOuts {
        CallOuts { call_out, world, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out about a recipient.
    pub(crate) async fn ask(&self, primary: &PrimaryId, to: &Address, limits: &AcceptLimits) -> Known {
        match self.turn(primary, to, limits) {
            Turn::Known(known) => known,
            Turn::Follow(mut flight) => {
                let landed = timeout(limits.call_out_time * 2, flight.wait_for(Option::is_some)).await;
                match landed {
                    Ok(Ok(known)) => known.clone().unwrap_or(Known::CannotTell),
                    _ => Known::CannotTell,
                }
            }
            Turn::Ask(flight) => {
                let known = self.find_out(primary, to, limits).await;
                if known != Known::CannotTell {
                    let mut state = self.lock();
                    if state.answers.len() >= ANSWERS_MAX {
                        state.answers.retain(|_, (_, at)| at.elapsed() < ANSWER_TIME);
                    }
                    if state.answers.len() < ANSWERS_MAX {
                        state.answers.insert(flight.key.clone(), (known.clone(), Instant::now()));
                    }
                }
                flight.answer.send_replace(Some(known.clone()));
                known
            }
        }
    }

    fn turn(&self, primary: &PrimaryId, to: &Address, limits: &AcceptLimits) -> Turn<'_> {
        let key = to.key();
        let mut state = self.lock();
        if let Some((known, at)) = state.answers.get(&key)
            && at.elapsed() < ANSWER_TIME
        {
            return Turn::Known(known.clone());
        }
        if let Some(flight) = state.flights.get(&key) {
            return Turn::Follow(flight.clone());
        }
        let asking = state.primaries.entry(primary.clone()).or_default();
        if asking.minute.is_none_or(|m| m.elapsed() >= Duration::from_secs(60)) {
            asking.minute = Some(Instant::now());
            asking.asked = 0;
        }
        if asking.at_once >= limits.call_outs || asking.asked >= limits.call_outs_per_minute {
            return Turn::Known(Known::CannotTell);
        }
        asking.at_once += 1;
        asking.asked += 1;
        let (answer, follow) = watch::channel(None);
        state.flights.insert(key.clone(), follow);
        Turn::Ask(Flight { gate: self, key, primary: primary.clone(), answer })
    }

    async fn find_out(&self, primary: &PrimaryId, to: &Address, limits: &AcceptLimits) -> Known {
        match self.takes_everything(primary, to.domain(), limits).await {
            None => return Known::CannotTell,
            Some(true) => return Known::Anything,
            Some(false) => {}
        }
        match timeout(limits.call_out_time, self.call_out.ask(primary, to)).await {
            Ok(Answer::Yes) => Known::Yes,
            Ok(Answer::No(reply)) => Known::No(reply),
            Ok(Answer::NoAnswer) | Err(_) => Known::CannotTell,
        }
    }

    /// Whether the primary says yes to an address of that domain which cannot exist.
    async fn takes_everything(
        &self,
        primary: &PrimaryId,
        domain: &str,
        limits: &AcceptLimits,
    ) -> Option<bool> {
        if let Some((everything, at)) = self.lock().domains.get(domain)
            && at.elapsed() < DOMAIN_TIME
        {
            return Some(*everything);
        }
        let mut random = [0; 8];
        self.world.random.fill(&mut random);
        let local = format!("no-such-recipient-{:016x}", u64::from_be_bytes(random));
        let nobody = Address::new(&local, domain).ok()?;
        let everything = match timeout(limits.call_out_time, self.call_out.ask(primary, &nobody)).await {
            Ok(Answer::Yes) => true,
            Ok(Answer::No(_)) => false,
            Ok(Answer::NoAnswer) | Err(_) => return None,
        };
        if everything {
            tracing::warn!(
                %primary, domain,
                "the primary takes any address of this domain, so it is not asked about recipients; give a list instead"
            );
        }
        let mut state = self.lock();
        // As many as there are domains of ours, which the configuration bounds.
        state.domains.insert(domain.to_owned(), (everything, Instant::now()));
        Some(everything)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.flights.remove(&self.key);
        if let Some(asking) = state.primaries.get_mut(&self.primary) {
            asking.at_once = asking.at_once.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
