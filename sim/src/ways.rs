//! The node's ways to the primary: hops, doors into mailboxes, questions about messages, probes.

use crate::node::TRACE_KEY;
use roads_deliver::{Answer, Ask, Question};
use roads_mirror::{Doors, Right};
use roads_watch::{Probe, Seen};
use std::net::IpAddr;
use std::time::Duration;
use stores_primary::imap::{self, ImapStore, SignIn};
use stores_primary::smtp::{Hop, Limits, Place};
use stores_primary::store::{MailStore, StoreError, Summary};
use stores_primary::tls::{Tls, TlsMode, Trust};
use words_mail::{AccountId, Finding, Plane, PrimaryId, TraceTag};
use words_smtp::client::Protocol;
use words_world::{Boxed, World};

/// How the primary is reached.
pub struct Ways {
    pub(crate) world: World,
    pub(crate) smtp: Hop,
    pub(crate) imap: imap::Hop,
}

/// A hop without encryption, for nobody listens in a simulation.
pub(crate) fn plain(protocol: Protocol, place: Place, limits: Limits) -> Result<Hop, String> {
    Ok(Hop {
        protocol,
        place,
        addresses: Vec::new(),
        tls: TlsMode::None,
        trust: Tls::new(&Trust::Anybody)?,
        sign_in: None,
        helo: crate::dialogue::NODE_NAME.to_owned(),
        limits,
        safety: None,
        pass_client: false,
    })
}

impl Ways {
    /// The ways to the primary at `ip`.
    ///
    /// # Errors
    /// When the machine cannot encrypt at all.
    pub fn new(world: &World, ip: IpAddr) -> Result<Ways, String> {
        let smtp = plain(Protocol::Smtp, Place::Host(ip.to_string(), 25), Limits::primary())?;
        let imap = imap::Hop {
            place: Place::Host(ip.to_string(), 143),
            addresses: Vec::new(),
            tls: TlsMode::None,
            trust: Tls::new(&Trust::Anybody)?,
            limits: imap::Limits::primary(),
        };
        Ok(Ways { world: world.clone(), smtp, imap })
    }

    pub(crate) async fn enter(&self, account: &AccountId) -> Result<ImapStore, StoreError> {
        ImapStore::open(&self.world, &self.imap, &SignIn::own(account.as_str(), "whatever")).await
    }

    /// A look at people's access.
    pub fn probe(&self, who: &str) -> ImapProbe {
        let mut hop = self.imap.clone();
        hop.limits = hop.limits.at_most(Duration::from_secs(3));
        ImapProbe { world: self.world.clone(), hop, sign_in: SignIn::own(who, "whatever") }
    }
}

impl Doors for Ways {
    fn enter<'a>(
        &'a self,
        _: &'a PrimaryId,
        account: &'a AccountId,
        _: Right,
    ) -> Boxed<'a, Result<Option<Box<dyn MailStore>>, StoreError>> {
        Box::pin(async move { Ok(Some(Box::new(Ways::enter(self, account).await?) as Box<dyn MailStore>)) })
    }
}

/// IMAP as far as `SELECT`.
pub struct ImapProbe {
    world: World,
    hop: imap::Hop,
    sign_in: SignIn,
}

impl Probe for ImapProbe {
    fn look(&self) -> Boxed<'_, Vec<Seen>> {
        Box::pin(async move {
            let seen = imap::probe(&self.world, &self.hop, &self.sign_in).await;
            let finding = if seen.is_up() { Finding::Up } else { Finding::Down };
            let of = |plane| Seen { plane, finding, micros: seen.micros(), detail: seen.words() };
            self.planes().into_iter().map(of).collect()
        })
    }

    fn planes(&self) -> Vec<Plane> {
        vec![Plane::Access, Plane::SignIn]
    }
}

impl Ask for Ways {
    fn ask<'a>(&'a self, _: &'a PrimaryId, questions: &'a [Question]) -> Boxed<'a, Vec<Answer>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(questions.len());
            for question in questions {
                let answer = self.find(question).await;
                answers.push(answer.unwrap_or_else(|why| Answer::CannotTell(why.to_string())));
            }
            answers
        })
    }
}

impl Ways {
    /// Looks for one message in all folders of its recipient.
    async fn find(&self, question: &Question) -> Result<Answer, StoreError> {
        let Some(account) = &question.account else { return Ok(Answer::CannotTell("whose?".to_owned())) };
        let mut store = self.enter(account).await?;
        let mut found = None;
        for folder in store.folders().await? {
            store.select(&folder.name, true).await?;
            let mut each = |summary: Summary| {
                if TraceTag::find(&summary.header, &TRACE_KEY) == Some(question.trace) {
                    found = Some(folder.name.clone());
                }
            };
            store.headers_above(0, &[TraceTag::HEADER], &mut each).await?;
        }
        Box::new(store).leave().await;
        Ok(found.map_or(Answer::NotFound, |folder| Answer::Found { folder }))
    }
}
