//! Who is told, and how far behind a primary is, for the text.

use super::deliver::internet;
use super::primaries::trust;
use crate::certificates::{self, CertificateState};
use crate::configuration::{Configuration, TrustWanted};
use crate::control::answer::Answers;
use anyhow::{Result, anyhow};
use roads_notify::{Backlog, Concern, Concerns, Courier, Lag, MailCourier, Receivers, Url, WebhookCourier};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use words_mail::{Address, PrimaryId, Time};
use words_world::{Boxed, Clock, World};

/// The receivers of notices: those of each primary's organisation, and those of the node.
///
/// # Errors
/// When a webhook's address is none, or TLS cannot be set up.
pub fn receivers(world: &World, configuration: &Configuration) -> Result<Receivers> {
    let notify = &configuration.notify;
    let others = couriers(world, configuration, &notify.mail, &notify.webhook)?;
    let mut of: BTreeMap<PrimaryId, Vec<Arc<dyn Courier>>> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for domain in &configuration.domains {
        let Some(primary) = &domain.domain.primary else { continue };
        let tenant = configuration.tenants.iter().find(|tenant| tenant.tenant == domain.domain.tenant);
        // Organisations may share a primary, and one may have several domains there: each is told once.
        if let Some(tenant) = tenant.filter(|t| !(t.mail.is_empty() && t.webhook.is_empty()))
            && named.insert((primary, &tenant.tenant))
        {
            let own = couriers(world, configuration, &tenant.mail, &tenant.webhook)?;
            of.entry(primary.clone()).or_default().extend(own);
        }
    }
    Ok(Receivers { of, others })
}

fn couriers(
    world: &World,
    configuration: &Configuration,
    mail: &[Address],
    webhooks: &[String],
) -> Result<Vec<Arc<dyn Courier>>> {
    let mut couriers: Vec<Arc<dyn Courier>> = Vec::new();
    for to in mail {
        let from = configuration.notify.from.clone();
        couriers.push(Arc::new(MailCourier::new(world.clone(), internet(configuration)?, from, to.clone())));
    }
    for text in webhooks {
        let url = Url::parse(text).map_err(|why| anyhow!("the webhook {text}: {why}"))?;
        couriers.push(Arc::new(WebhookCourier::new(world.clone(), trust(&TrustWanted::Public)?, url)));
    }
    Ok(couriers)
}

/// What people should see to about the certificates.
pub struct Certificates {
    /// Which there are.
    pub configuration: Arc<Configuration>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Concerns for Certificates {
    fn now(&self) -> Boxed<'_, Vec<Concern>> {
        let (configuration, now) = (self.configuration.clone(), self.clock.now());
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || certificates::states(&configuration)).await;
            read.unwrap_or_default().iter().filter_map(|state| concern(state, now)).collect()
        })
    }
}

fn concern(state: &CertificateState, now: Time) -> Option<Concern> {
    let (level, words) = state.trouble(now).filter(|(level, _)| *level > 0)?;
    let end = state.facts.as_ref().map(|facts| facts.not_after);
    let left = end.map(|end| end.since(now).as_secs() / 86_400);
    let subject = match (level, left) {
        (4, _) => "the certificate has ended".to_owned(),
        (_, Some(days)) if days < 60 && state.shown => format!("the certificate ends in {days} days"),
        _ => "the certificate is not renewed".to_owned(),
    };
    Some(Concern {
        // The one after it is another matter.
        name: format!("certificate-{}", end.map_or(0, |end| end.0 / 1_000_000)),
        level,
        subject: format!("[Stormpost] {subject}"),
        text: format!(
            "{words}\n\nWhen it has ended, people's mail programs refuse to work and some servers refuse to send.\n\
             stormpost certificate show         tells more\nstormpost certificate renew --now  tries again at once"
        ),
    })
}

/// How far primaries are behind: the same figures as in `stormpost status`.
pub struct Waiting {
    /// Who answers that.
    pub answers: Answers,
}

impl Backlog for Waiting {
    fn lag(&self, primary: &PrimaryId) -> Option<Lag> {
        self.answers.behind(primary)
    }
}
