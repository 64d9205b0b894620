//! The certificate that is fetched from an authority and renewed in time (ACME, RFC 8555).
//!
//! One task of the inside does it. What it gets is written into one file in the data folder, and both processes reread
//! that file (`certificates.rs`): the edge needs to know nothing of it. Whatever goes wrong leaves the old certificate in
//! use; how often it went wrong, with which words, and when it is tried again is written down beside it, so that neither
//! a restart nor a crash asks the authority sooner.

mod answer;
mod fetch;
mod record;
mod schedule;
mod web;

pub use record::Record;

use crate::certificates::{CertificateFiles, Facts, write_private};
use crate::compose::primaries::trust;
use crate::configuration::{AcmeSettings, Configuration};
use anyhow::{Result, anyhow};
use fetch::Fetch;
use schedule::{Life, Plan};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use words_mail::Time;
use words_world::World;

/// All of one attempt, programs for the DNS included, takes no longer.
const ATTEMPT_MAX: Duration = Duration::from_secs(20 * 60);
/// The wall clock may be set, so it is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The authority is asked no more often when it wants its certificates renewed (RFC 9773 §4.3.2), …
const ADVICE_MIN: Duration = Duration::from_secs(3_600);
/// … and this often when it does not say, or could not be asked.
const ADVICE_DEFAULT: Duration = Duration::from_secs(6 * 3_600);
/// People who may wait for a renewal at once.
const ASKED_MAX: usize = 4;

/// What came of a renewal that a person asked for.
pub type Renewed = Result<String, String>;

/// The way to ask for a renewal now. Cheap to clone.
#[derive(Clone)]
pub struct Renewal {
    asked: mpsc::Sender<oneshot::Sender<Renewed>>,
}

impl Renewal {
    /// Renews now, whatever the plan says.
    ///
    /// # Errors
    /// Why there is no new certificate; the old one stays in use.
    pub async fn now(&self) -> Renewed {
        let (tell, told) = oneshot::channel();
        self.asked.try_send(tell).map_err(|_| "it is being renewed already; wait for that".to_owned())?;
        told.await.unwrap_or_else(|_| Err("the node ends".to_owned()))
    }
}

/// The task.
pub struct Acme {
    world: World,
    settings: AcmeSettings,
    data: PathBuf,
    fetch: Arc<Fetch>,
    record: Record,
    /// When the authority wants the certificate renewed, and when it is asked that again.
    advice: Option<(Time, Time)>,
    ask_advice: Time,
    asked: mpsc::Receiver<oneshot::Sender<Renewed>>,
}

impl Acme {
    /// Ready to run, where `[tls.acme]` is configured.
    ///
    /// # Errors
    /// When the certificates to believe cannot be read, or the folder cannot be made.
    pub fn open(world: &World, configuration: &Configuration) -> Result<Option<(Acme, Renewal)>> {
        let Some(settings) = configuration.acme.clone() else { return Ok(None) };
        let data = configuration.node.data.clone();
        std::fs::create_dir_all(data.join("acme"))?;
        let customer = match &settings.customer {
            Some((id, key)) => {
                Some((id.clone(), key.read().map_err(|why| anyhow!("the key of eab_key_file: {why}"))?))
            }
            None => None,
        };
        let fetch =
            Fetch::new(world.clone(), settings.clone(), customer, data.clone(), trust(&settings.trust)?);
        let (sender, asked) = mpsc::channel(ASKED_MAX);
        let record = Record::take_up(&data);
        let acme = Acme {
            world: world.clone(),
            settings,
            data,
            fetch: Arc::new(fetch),
            record,
            advice: None,
            ask_advice: Time::from_seconds(0),
            asked,
        };
        Ok(Some((acme, Renewal { asked: sender })))
    }

    /// Fetches and renews until `stop` says so.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        tokio::select! {
            biased;
            () = stopped => {}
            () = self.go_on() => {}
        }
    }

    async fn go_on(&mut self) {
        loop {
            self.take_advice().await;
            let next = self.plan();
            if self.record.next != Some(next) {
                self.record.next = Some(next);
                self.keep();
            }
            let now = self.world.clock.now();
            if next <= now {
                let _ = self.attempt().await;
                continue;
            }
            let wait = next.since(now).min(LOOK_EVERY);
            tokio::select! {
                biased;
                asked = self.asked.recv() => match asked {
                    Some(tell) => {
                        let done = self.attempt().await;
                        let _ = tell.send(done);
                    }
                    None => sleep(wait).await,
                },
                () = sleep(wait) => {}
            }
        }
    }

    /// When it is to be fetched or renewed next.
    fn plan(&self) -> Time {
        let facts = Facts::of_file(&CertificateFiles::fetched(&self.data).certificate).ok();
        let wanted = &self.settings.names;
        let fits = |facts: &Facts| wanted.iter().all(|name| facts.names.contains(name));
        let life = facts.filter(fits).map(|facts| Life { begin: facts.not_before, end: facts.not_after });
        Plan {
            life,
            advice: self.advice,
            draw: self.record.draw,
            failures: self.record.failures,
            last_try: self.record.last_try,
            not_before: self.record.not_before,
            retry_first: self.settings.retry_first,
            retry_max: self.settings.retry_max,
        }
        .next()
    }

    /// Asks the authority when it wants the certificate renewed (ARI, RFC 9773). That it does not say is no fault.
    async fn take_advice(&mut self) {
        let now = self.world.clock.now();
        let file = CertificateFiles::fetched(&self.data).certificate;
        if now < self.ask_advice || !file.exists() || !self.fetch.has_account() {
            return;
        }
        let again = match timeout(ATTEMPT_MAX, self.fetch.advice(&file)).await {
            Ok(Ok((begin, end, again))) => {
                self.advice = Some((begin, end));
                again.clamp(ADVICE_MIN, ADVICE_DEFAULT * 4)
            }
            Ok(Err(why)) => {
                tracing::debug!(%why, "the authority does not say when it wants certificates renewed");
                ADVICE_DEFAULT
            }
            Err(_) => ADVICE_DEFAULT,
        };
        self.ask_advice = now.after(again);
    }

    async fn attempt(&mut self) -> Renewed {
        // Before anybody is asked: a crash in the middle is a failed attempt, and the next one waits.
        self.record.last_try = Some(self.world.clock.now());
        self.record.trying = true;
        self.keep();
        tracing::info!(names = %self.settings.names.join(" "), "a certificate is asked for");
        let fetched = timeout(ATTEMPT_MAX, self.fetch.certificate()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("not done in {} s", ATTEMPT_MAX.as_secs())));
        let kept = fetched.and_then(|pem| {
            let facts = Facts::of_pem(pem.as_bytes())?;
            let file = CertificateFiles::fetched(&self.data).certificate;
            write_private(&file, pem.as_bytes()).map_err(|why| format!("{why:#}"))?;
            Ok(facts)
        });
        let now = self.world.clock.now();
        let done = match kept {
            Ok(facts) => {
                let draw = self.world.random.below(u64::from(u32::MAX));
                self.record = Record { last_success: Some(now), draw, ..Record::default() };
                self.advice = None;
                self.ask_advice = now.after(ADVICE_MIN);
                tracing::info!(names = %facts.names.join(" "), until = %facts.not_after, "a new certificate is in use");
                Ok(format!(
                    "a new certificate for {}, good until {}",
                    facts.names.join(", "),
                    facts.not_after
                ))
            }
            Err(why) => {
                let why: String =
                    why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1_000).collect();
                self.record.trying = false;
                self.record.failures = self.record.failures.saturating_add(1);
                tracing::warn!(failures = self.record.failures, %why, "no new certificate; the old one stays in use");
                self.record.not_before = self.fetch.asked_to_wait().map(|wait| now.after(wait));
                self.record.last_error = Some(why.clone());
                Err(why)
            }
        };
        self.record.next = Some(self.plan());
        self.keep();
        done
    }

    fn keep(&self) {
        if let Err(why) = self.record.write(&self.data) {
            tracing::warn!(%why, "how fetching the certificate went could not be written down");
        }
    }
}
