//! Tells somebody outside regularly that this node does its work, so that he hears when it does not: a dead man's switch.
//!
//! Nothing waits for it and nothing follows from it here. While the node does not do its work no sign of life goes out; a place
//! that wants it hears why. A place that does not take signs of life is a warning.

use crate::courier::Courier;
use crate::web::Web;
use crate::webhook::shown;
use crate::words::Letter;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use words_mail::Time;
use words_world::{Boxed, Url, World};

/// How long the look at oneself may take: who cannot say in time that he is well is not.
const LOOK: Duration = Duration::from_secs(30);
/// How long one place may take.
const BEAT: Duration = Duration::from_secs(60);
/// So many signs of life in a row that were not taken are a warning.
pub const MISSES: u32 = 3;

/// Whether the node does its work.
pub trait Vital: Send + Sync {
    /// Looks; why it does not, in words that may be told outside: no name of a person, no secret.
    fn look(&self) -> Boxed<'_, Result<(), String>>;
}

/// Where signs of life go.
#[derive(Clone)]
pub enum Place {
    /// Asked with `GET`; where `fails` is set, `/fail` behind its path gets a `POST` of the reason when the node is not well.
    Web {
        /// Asks.
        web: Web,
        /// Where.
        url: Url,
        /// Whether it hears when the node is not well.
        fails: bool,
    },
    /// Gets a letter.
    Mail(Arc<dyn Courier>),
}

impl Place {
    /// As it may be shown.
    pub fn shown(&self) -> String {
        match self {
            Place::Web { url, .. } => shown(url),
            Place::Mail(courier) => courier.to().to_owned(),
        }
    }

    async fn beat(
        &self,
        node: &str,
        number: u64,
        now: Time,
        health: &Result<(), String>,
    ) -> Result<(), String> {
        match (self, health) {
            (Place::Web { web, url, .. }, Ok(())) => web.get(url, 64 << 10).await?.yes(),
            (Place::Web { web, url, fails: true }, Err(why)) => {
                let target = match url.target.split_once('?') {
                    Some((path, query)) => format!("{}/fail?{query}", path.trim_end_matches('/')),
                    None => format!("{}/fail", url.target.trim_end_matches('/')),
                };
                let to = Url { target, ..url.clone() };
                let status =
                    web.post(&to, "Content-Type: text/plain; charset=utf-8\r\n", why.as_bytes()).await?;
                if (200..300).contains(&status) {
                    Ok(())
                } else {
                    Err(format!("it answered with status {status}"))
                }
            }
            (Place::Mail(courier), Ok(())) => {
                let letter = Letter {
                    id: format!("heartbeat.{}.{number}", now.seconds()),
                    at: now,
                    subject: format!("{node} does its work"),
                    text: format!(
                        "{node} takes in mail and its disk confirms what is written.\n\nThis comes regularly. When it stops, look at {node}.\n"
                    ),
                    json: serde_json::Value::Null,
                };
                courier.send(&letter).await.map_err(|not| not.why)
            }
            // Silence says it.
            (Place::Web { .. } | Place::Mail(_), Err(_)) => Ok(()),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Record {
    misses: u32,
    why: String,
    taken: Option<Time>,
}

/// What became of the signs of life; shared with whoever tells how the node stands.
#[derive(Clone, Default)]
pub struct Pulse {
    places: Arc<Mutex<BTreeMap<String, Record>>>,
}

impl Pulse {
    /// What somebody should see to, each in a sentence.
    pub fn warnings(&self) -> Vec<String> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = places.iter().filter(|(_, record)| record.misses >= MISSES);
        missed
            .map(|(place, Record { misses, why, taken })| {
                let since = taken.map_or_else(|| "never taken one".to_owned(), |at| format!("last taken one {at}"));
                format!("{place} has not taken {misses} signs of life in a row ({why}; {since}): nobody there hears when this node dies")
            })
            .collect()
    }

    /// When each place last took one.
    pub fn taken(&self) -> BTreeMap<String, Option<Time>> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.iter().map(|(place, record)| (place.clone(), record.taken)).collect()
    }

    fn note(&self, place: &str, now: Time, well: bool, result: Result<(), String>) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let record = places.entry(place.to_owned()).or_default();
        match result {
            Ok(()) if well => *record = Record { misses: 0, why: String::new(), taken: Some(now) },
            Ok(()) => {}
            Err(why) => {
                record.misses = record.misses.saturating_add(1);
                record.why = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                if record.misses == MISSES {
                    tracing::warn!(%place, misses = MISSES, why = %record.why, "signs of life are not taken");
                }
            }
        }
    }
}

/// The road.
pub struct Heartbeat {
    /// The outside.
    pub world: World,
    /// This node's name.
    pub node: String,
    /// Whether the node does its work.
    pub vital: Arc<dyn Vital>,
    /// Where signs of life go.
    pub places: Vec<Place>,
    /// How often.
    pub every: Duration,
    /// What became of them.
    pub pulse: Pulse,
}

impl Heartbeat {
    /// Goes on until shutdown.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut due = interval(self.every.max(Duration::from_millis(100)));
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beating = JoinSet::new();
        let mut number = 0u64;
        let mut was_well = true;
        loop {
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                Some(_) = beating.join_next() => continue,
                _ = due.tick() => {}
            }
            let began = Instant::now();
            let health = match timeout(LOOK, self.vital.look()).await {
                Ok(health) => health,
                Err(_) => Err(format!("it does not know within {} s how it is", LOOK.as_secs())),
            };
            match (&health, was_well) {
                (Err(why), true) => {
                    tracing::warn!(%why, "no sign of life goes out: this node does not do its work")
                }
                (Ok(()), false) => tracing::info!("signs of life go out again"),
                _ => {}
            }
            was_well = health.is_ok();
            number += 1;
            tracing::debug!(number, well = was_well, micros = began.elapsed().as_micros(), "heartbeat");
            for place in &self.places {
                // A place that is still busy with the last one gets no second at the same time.
                if beating.len() >= self.places.len() {
                    break;
                }
                let (place, health, pulse) = (place.clone(), health.clone(), self.pulse.clone());
                let (node, clock) = (self.node.clone(), self.world.clock.clone());
                beating.spawn(async move {
                    let beat = timeout(BEAT, place.beat(&node, number, clock.now(), &health)).await;
                    let result = beat.unwrap_or_else(|_| Err("too slow".to_owned()));
                    pulse.note(&place.shown(), clock.now(), health.is_ok(), result);
                });
            }
        }
    }
}
