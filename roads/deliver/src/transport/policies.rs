//! MTA-STS policies: fetched, kept on disk, believed for as long as they say (RFC 8461 §3.3, §5).

use rules_transport::{Mode, Policy, Trouble, announced};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stores_primary::web::{Web, WebError};
use tokio::time::timeout;
use words_mail::Time;
use words_world::{NameError, Url, World};

/// Policies kept at most; beyond it the one that ends first makes room.
const KEPT_MAX: usize = 10_000;
/// The longest policy (RFC 8461 §3.3 suggests 64 KiB).
const POLICY_MAX: usize = 64 << 10;
/// How long a fetch may take (RFC 8461 §3.3).
const FETCH: Duration = Duration::from_secs(60);
/// How long the look-up of the announcement may take.
const NAMES: Duration = Duration::from_secs(10);
/// How long a failed fetch is not tried again (RFC 8461 §3.3).
const AGAIN: Duration = Duration::from_secs(300);
/// The longest time without a refresh (RFC 8461 §3.3 suggests daily).
const REFRESH: Duration = Duration::from_secs(86_400);
/// A policy that nobody asked for in this time is not refreshed any more.
const UNUSED: Duration = Duration::from_secs(30 * 86_400);

/// What is known about a domain's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It has one.
    Policy(Policy),
    /// It has none.
    Nothing,
    /// It says that it has one, which cannot be had; nothing older is known.
    Trouble(Trouble, String),
}

/// A policy as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    domain: String,
    id: String,
    fetched: Time,
    used: Time,
    text: String,
}

impl Kept {
    fn policy(&self, now: Time) -> Option<Policy> {
        let policy = Policy::parse(&self.text).ok()?;
        // A clock that was set back makes no policy older than it is.
        let age = now.since(self.fetched);
        (age < Duration::from_secs(policy.max_age.into())).then_some(policy)
    }
}

#[derive(Default)]
struct Slot {
    kept: Option<Kept>,
    failed: Option<(Time, Trouble, String)>,
    /// Held by who fetches, so that others wait for it.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

pub(super) struct Policies {
    world: World,
    web: Web,
    folder: PathBuf,
    slots: Mutex<BTreeMap<String, Slot>>,
}

impl Policies {
    /// Reads what was kept. A file that cannot be read is as if it were not there.
    pub(super) fn read(world: &World, web: &Web, folder: PathBuf) -> Policies {
        let mut slots = BTreeMap::new();
        let names = world.disk.list(&folder).unwrap_or_default();
        for name in names.into_iter().filter(|entry| entry.name.ends_with(".json")).take(KEPT_MAX) {
            let read = world.disk.read(&folder.join(&name.name)).ok();
            let kept = read.and_then(|content| serde_json::from_slice::<Kept>(&content).ok());
            let Some(kept) = kept.filter(|kept| is_plain(&kept.domain)) else { continue };
            slots.insert(kept.domain.clone(), Slot { kept: Some(kept), ..Slot::default() });
        }
        Policies { world: world.clone(), web: web.clone(), folder, slots: Mutex::new(slots) }
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known about the policy of a domain, asking where that is due.
    pub(super) async fn of(&self, domain: &str) -> Found {
        if !is_plain(domain) {
            return Found::Nothing;
        }
        let announced = self.announced(domain).await;
        let fetching = {
            let mut slots = self.slots();
            if announced.is_none() && !slots.contains_key(domain) {
                return Found::Nothing;
            }
            slots.entry(domain.to_owned()).or_default().fetching.clone()
        };
        let _fetching = fetching.lock().await;
        if let Some(id) = announced
            && self.is_due(domain, &id)
        {
            self.fetch(domain, id).await;
        }
        self.known(domain)
    }

    /// The id of the policy that the DNS announces. No answer says nothing: what is known goes on.
    async fn announced(&self, domain: &str) -> Option<String> {
        let name = format!("_mta-sts.{domain}");
        let found = timeout(NAMES, self.world.names.txt(&name)).await;
        let texts = found.unwrap_or_else(|_| Err(NameError::Temporary("too slow".to_owned())));
        announced(&texts.ok()?)
    }

    fn is_due(&self, domain: &str, id: &str) -> bool {
        let now = self.world.clock.now();
        let slots = self.slots();
        let Some(slot) = slots.get(domain) else { return false };
        if slot.failed.as_ref().is_some_and(|(at, ..)| now.since(*at) < AGAIN && now >= *at) {
            return false;
        }
        slot.kept.as_ref().is_none_or(|kept| kept.id != id || kept.policy(now).is_none())
    }

    fn known(&self, domain: &str) -> Found {
        let now = self.world.clock.now();
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(domain) else { return Found::Nothing };
        if let Some(kept) = &mut slot.kept
            && let Some(policy) = kept.policy(now)
        {
            kept.used = now;
            return if policy.mode == Mode::None { Found::Nothing } else { Found::Policy(policy) };
        }
        match &slot.failed {
            Some((_, trouble, why)) => Found::Trouble(*trouble, why.clone()),
            None => Found::Nothing,
        }
    }

    /// Fetches a policy, and keeps it or why it could not be had.
    async fn fetch(&self, domain: &str, id: String) {
        let fetched = timeout(FETCH, self.ask(domain)).await;
        let fetched = fetched
            .unwrap_or_else(|_| Err((Trouble::StsPolicyFetchError, "not done in a minute".to_owned())));
        let now = self.world.clock.now();
        let text = match fetched {
            Ok(text) => text,
            Err((trouble, why)) => {
                tracing::warn!(domain, %why, "the MTA-STS policy cannot be had; an older one counts on");
                if let Some(slot) = self.slots().get_mut(domain) {
                    slot.failed = Some((now, trouble, why));
                }
                return;
            }
        };
        tracing::info!(domain, id, "MTA-STS policy fetched");
        let kept = Kept { domain: domain.to_owned(), id, fetched: now, used: now, text };
        self.write(&kept);
        let mut slots = self.slots();
        let slot = slots.entry(domain.to_owned()).or_default();
        slot.failed = None;
        slot.kept = Some(kept);
        let full = slots.values().filter(|slot| slot.kept.is_some()).count() > KEPT_MAX;
        let first = full.then(|| {
            let ends = |slot: &Slot| slot.kept.as_ref().map(|kept| kept.used);
            slots
                .iter()
                .filter(|(name, slot)| slot.kept.is_some() && *name != domain)
                .min_by_key(|(_, s)| ends(s))
        });
        if let Some(name) = first.flatten().map(|(name, _)| name.clone()) {
            slots.remove(&name);
            let _ = self.world.disk.remove(&self.file(&name));
        }
    }

    /// RFC 8461 §3.3: HTTPS at `mta-sts.` and the domain, no redirects, plain text.
    async fn ask(&self, domain: &str) -> Result<String, (Trouble, String)> {
        let url = Url {
            tls: true,
            host: format!("mta-sts.{domain}"),
            port: 443,
            target: "/.well-known/mta-sts.txt".to_owned(),
        };
        let answer = self.web.get(&url, POLICY_MAX).await.map_err(|error| match error {
            WebError::NotProved(why) => (Trouble::StsWebpkiInvalid, why),
            WebError::Failed(why) => (Trouble::StsPolicyFetchError, why),
        })?;
        if answer.status != 200 {
            return Err((Trouble::StsPolicyFetchError, format!("status {}", answer.status)));
        }
        if answer.content_type != "text/plain" {
            return Err((Trouble::StsPolicyInvalid, "it is not text/plain".to_owned()));
        }
        let text = String::from_utf8(answer.body);
        let text = text.map_err(|_| (Trouble::StsPolicyInvalid, "it is not UTF-8".to_owned()))?;
        Policy::parse(&text).map_err(|why| (Trouble::StsPolicyInvalid, why))?;
        Ok(text)
    }

    fn file(&self, domain: &str) -> PathBuf {
        self.folder.join(format!("{domain}.json"))
    }

    /// What cannot be written is fetched again after a restart.
    fn write(&self, kept: &Kept) {
        let Ok(content) = serde_json::to_vec(kept) else { return };
        let disk = &self.world.disk;
        let written =
            disk.make_dir(&self.folder).and_then(|()| disk.replace(&self.file(&kept.domain), &content));
        if let Err(error) = written {
            tracing::warn!(domain = kept.domain, %error, "the MTA-STS policy could not be kept on disk");
        }
    }

    /// Fetches anew what is old, so that it does not end while its server is blocked, and forgets what ended unused.
    pub(super) async fn refresh(&self) {
        let now = self.world.clock.now();
        let mut due = Vec::new();
        let mut over = Vec::new();
        self.slots().retain(|domain, slot| {
            let Some(kept) = &slot.kept else {
                // A domain without a policy is remembered only while it is not to be asked again.
                return slot.failed.as_ref().is_some_and(|(at, ..)| now.since(*at) < AGAIN)
                    || Arc::strong_count(&slot.fetching) > 1;
            };
            let policy = kept.policy(now);
            let age = now.since(kept.fetched);
            let unused = now.since(kept.used) > UNUSED;
            match policy {
                None if unused || age > UNUSED => {
                    over.push(domain.clone());
                    return false;
                }
                Some(policy)
                    if !unused && age > REFRESH.min(Duration::from_secs(policy.max_age.into()) / 2) =>
                {
                    let recent = slot.failed.as_ref().is_some_and(|(at, ..)| now.since(*at) < AGAIN);
                    if !recent {
                        due.push(domain.clone());
                    }
                }
                _ => {}
            }
            true
        });
        for domain in over {
            let _ = self.world.disk.remove(&self.file(&domain));
        }
        for domain in due {
            let Some(id) = self.announced(&domain).await else { continue };
            let fetching = self.slots().entry(domain.clone()).or_default().fetching.clone();
            let _fetching = fetching.lock().await;
            self.fetch(&domain, id).await;
        }
    }
}

/// A domain whose name can be a file's and a web server's.
fn is_plain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    domain.len() <= 240 && domain.contains('.') && domain.split('.').all(label)
}
