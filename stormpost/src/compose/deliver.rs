//! Delivery out of the configuration, and the look into a primary's mailboxes that it asks for.

use super::primaries::{Primaries, server, trust};
use crate::configuration::{Configuration, TrustWanted, read_private};
use anyhow::{Context, Result, anyhow};
use roads_deliver::{Answer, Ask, LocalDoor, Pace, PrimaryRoute, Question, Settings, Signer};
use roads_mirror::{Doors, Right};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use stores_primary::internet::Internet;
use stores_primary::smtp::{Hop, Limits, Place};
use stores_primary::store::{MailStore, StoreError, Summary};
use stores_primary::tls::TlsMode;
use words_mail::{AccountId, PrimaryId, TraceId, TraceKey, TraceTag};
use words_smtp::client::Protocol;
use words_world::{Boxed, World};

/// How mail leaves for other organisations.
///
/// # Errors
/// When the smart host's password or certificate cannot be read.
pub fn internet(configuration: &Configuration) -> Result<Internet> {
    let outbound = &configuration.outbound;
    let smart_host = outbound.smart_host.as_ref();
    let smart_host = smart_host
        .map(|host| server(host, &outbound.helo, Limits::internet()))
        .transpose()
        .context("the smart host")?;
    let own_names = [configuration.node.name.clone(), outbound.helo.clone()];
    Ok(Internet {
        smart_host,
        helo: outbound.helo.clone(),
        own_names: own_names.into(),
        own_addresses: configuration.listen.smtp.iter().map(std::net::SocketAddr::ip).collect(),
        port: outbound.trial.port,
        tls: TlsMode::Opportunistic,
        trust: trust(&TrustWanted::Anybody)?,
        limits: Limits::internet(),
        allow_loopback: outbound.trial.private_addresses,
        guard: None,
    })
}

/// Paces, ages and bounds of delivery.
///
/// # Errors
/// When the smart host's password or certificate cannot be read.
pub fn settings(configuration: &Configuration, primaries: &Primaries) -> Result<Settings> {
    let limits = &configuration.limits;
    let mut routes = BTreeMap::new();
    for settings in &configuration.primaries {
        let Some(hop) = primaries.deliver(&settings.id) else { continue };
        let most = u32::try_from(settings.connections).unwrap_or(u32::MAX);
        let pace = Pace { most, start: Pace::primary().start.min(most), ..Pace::primary() };
        let route = PrimaryRoute { hop: hop.clone(), pace, outbound: None, queue_time: settings.queue_time };
        routes.insert(settings.id.clone(), route);
    }
    let per_domain = u32::try_from(limits.deliveries_per_domain).unwrap_or(u32::MAX);
    Ok(Settings {
        primaries: routes,
        internet_pace: Pace {
            most: per_domain,
            start: Pace::internet().start.min(per_domain),
            wait: limits.retry_first,
            wait_most: limits.retry_max,
            ..Pace::internet()
        },
        in_flight_most: limits.deliveries,
        queue_most: limits.queue_recipients,
        listed_most: limits.listed_recipients,
        quarantine_age: configuration.filter.quarantine_age,
        delay_after: Some(limits.delay_notice).filter(|after| !after.is_zero()),
        outbound_age: limits.outbound_age,
        spool_age: limits.spool_age,
        budget_bytes: limits.spool_size,
        file_sent_themselves: configuration
            .primaries
            .iter()
            .filter(|primary| !primary.filed_by_us)
            .map(|primary| primary.id.clone())
            .collect(),
        ..Settings::new(&configuration.node.name, internet(configuration)?)
    })
}

/// The edge's local door.
///
/// # Errors
/// When TLS cannot be set up.
pub fn local_door(world: &World, configuration: &Configuration) -> Result<LocalDoor> {
    let hop = Hop {
        protocol: Protocol::Lmtp,
        place: Place::Local(configuration.listen.lmtp_local.clone()),
        addresses: Vec::new(),
        tls: TlsMode::None,
        trust: trust(&TrustWanted::Anybody)?,
        sign_in: None,
        helo: configuration.node.name.clone(),
        limits: Limits::primary(),
        safety: None,
        pass_client: false,
    };
    Ok(LocalDoor::new(world.clone(), hop))
}

/// The keys that outgoing mail is signed with.
///
/// # Errors
/// When a key cannot be read; the text names the domain.
pub fn signer(configuration: &Configuration) -> Result<Signer> {
    let mut signer = Signer::new();
    for domain in &configuration.domains {
        let Some(dkim) = &domain.dkim else { continue };
        let name = &domain.domain.name;
        let pem = read_private(&dkim.key_file).map_err(|why| anyhow!("the signing key of {name}: {why}"))?;
        signer.add(name, &dkim.selector, &pem).map_err(|why| anyhow!("the signing key of {name}: {why}"))?;
    }
    Ok(signer)
}

/// Messages that are searched for one by one in a folder; for more of them the folder is read through.
const SEARCHES_MAX: usize = 8;

/// Looks into a primary's mailboxes for messages whose fate is not known.
pub struct Look {
    primaries: Arc<Primaries>,
    trace_key: TraceKey,
}

impl Look {
    /// Somebody who can look.
    pub fn new(primaries: Arc<Primaries>, trace_key: TraceKey) -> Look {
        Look { primaries, trace_key }
    }

    /// The answers for one account's questions, by their place among all.
    async fn account(
        &self,
        primary: &PrimaryId,
        account: &AccountId,
        questions: &[(usize, &Question)],
        answers: &mut [Answer],
    ) -> Result<(), String> {
        let store = self.primaries.enter(primary, account, Right::Look).await.map_err(|e| e.to_string())?;
        let mut store = store.ok_or("no credential to look there is configured")?;
        let found = self.search(store.as_mut(), questions, answers).await;
        store.leave().await;
        found.map_err(|e| e.to_string())
    }

    async fn search(
        &self,
        store: &mut dyn MailStore,
        questions: &[(usize, &Question)],
        answers: &mut [Answer],
    ) -> Result<(), StoreError> {
        for (at, _) in questions {
            answers[*at] = Answer::NotFound;
        }
        for folder in store.folders().await?.into_iter().filter(|folder| folder.selectable) {
            match store.select(&folder.name, true).await {
                Ok(_) => {}
                Err(StoreError::NoFolder(_)) => continue,
                Err(error) => return Err(error),
            }
            if questions.len() > SEARCHES_MAX {
                self.all_of(store, &folder.name, questions, answers).await?;
                continue;
            }
            for (at, question) in questions {
                let uids = store.find_header(TraceTag::HEADER, &question.trace.to_string()).await?;
                // Servers search as they like: only our own genuine header counts.
                let mut genuine = false;
                let mut each = |summary: Summary| {
                    genuine |= TraceTag::find(&summary.header, &self.trace_key) == Some(question.trace);
                };
                store.headers_of(&uids, &[TraceTag::HEADER], &mut each).await?;
                if genuine {
                    answers[*at] = Answer::Found { folder: folder.name.clone() };
                }
            }
        }
        Ok(())
    }
}

impl Look {
    /// Every trace header of the folder that is open, instead of a search for each: after a restoring, or when a primary
    /// lost what it had, there are thousands of questions.
    async fn all_of(
        &self,
        store: &mut dyn MailStore,
        folder: &str,
        questions: &[(usize, &Question)],
        answers: &mut [Answer],
    ) -> Result<(), StoreError> {
        let mut wanted: HashMap<TraceId, Vec<usize>> = HashMap::new();
        for (at, question) in questions {
            wanted.entry(question.trace).or_default().push(*at);
        }
        let mut each = |summary: Summary| {
            let found = TraceTag::find(&summary.header, &self.trace_key);
            for at in found.and_then(|trace| wanted.get(&trace)).into_iter().flatten() {
                answers[*at] = Answer::Found { folder: folder.to_owned() };
            }
        };
        store.headers_above(0, &[TraceTag::HEADER], &mut each).await
    }
}

impl Ask for Look {
    fn ask<'a>(&'a self, primary: &'a PrimaryId, questions: &'a [Question]) -> Boxed<'a, Vec<Answer>> {
        Box::pin(async move {
            let cannot = || Answer::CannotTell("nobody knows whose mailbox to look into".to_owned());
            let mut answers: Vec<Answer> = questions.iter().map(|_| cannot()).collect();
            let mut accounts: BTreeMap<&AccountId, Vec<(usize, &Question)>> = BTreeMap::new();
            for (at, question) in questions.iter().enumerate() {
                if let Some(account) = &question.account {
                    accounts.entry(account).or_default().push((at, question));
                }
            }
            for (account, of_account) in accounts {
                if let Err(why) = self.account(primary, account, &of_account, &mut answers).await {
                    for (at, _) in &of_account {
                        answers[*at] = Answer::CannotTell(why.clone());
                    }
                }
            }
            answers
        })
    }
}
