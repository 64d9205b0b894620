//! Looking, without changing anything: how far a person would come who wants to read their mail.

use super::{Hop, ImapStore, SignIn, Stage};
use crate::store::{MailStore, StoreError};
use tokio::time::Instant;
use words_world::World;

/// How one stage went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which stage.
    pub stage: Stage,
    /// How long it took, microseconds.
    pub micros: u64,
    /// Why it failed; `None` when it went well.
    pub failure: Option<StoreError>,
}

/// A dialogue that was held only to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// The stages, in order, up to the first that failed.
    pub steps: Vec<Step>,
    /// How many messages INBOX has.
    pub messages: Option<u32>,
}

impl Probe {
    /// Whether every stage went well.
    pub fn is_up(&self) -> bool {
        self.messages.is_some()
    }

    /// The stage that failed.
    pub fn failed(&self) -> Option<&Step> {
        self.steps.last().filter(|step| step.failure.is_some())
    }

    /// Whether the server answered, and refused name or password. Then reading may well be possible for others.
    pub fn is_refused(&self) -> bool {
        self.failed().is_some_and(|step| matches!(step.failure, Some(StoreError::SignIn(_))))
    }

    /// The whole time, microseconds.
    pub fn micros(&self) -> u64 {
        self.steps.iter().map(|step| step.micros).sum()
    }

    /// One line for a person.
    pub fn words(&self) -> String {
        match (self.steps.last(), self.messages) {
            (Some(Step { stage, failure: Some(why), .. }), _) => format!("{stage}: {why}"),
            (_, Some(messages)) => format!("INBOX has {messages} messages"),
            _ => "nothing was tried".to_owned(),
        }
    }
}

/// Goes through a dialogue up to the selection of INBOX, read-only.
pub async fn probe(world: &World, hop: &Hop, sign_in: &SignIn) -> Probe {
    let mut seen = Probe::default();
    let mut keep = |stage: Stage, took: std::time::Duration, failure: Option<&StoreError>| {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        seen.steps.push(Step { stage, micros, failure: failure.cloned() });
    };
    let Ok(mut store) = super::open::open(world, hop, sign_in, &mut keep).await else {
        return seen;
    };
    let since = Instant::now();
    let selected = store.select("INBOX", true).await;
    keep(Stage::Select, since.elapsed(), selected.as_ref().err());
    seen.messages = selected.ok().map(|s| s.messages);
    leave(store).await;
    seen
}

async fn leave(store: ImapStore) {
    Box::new(store).leave().await;
}
