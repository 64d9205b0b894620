//! Where each recipient's copy goes.

use crate::history::{Errand, History};
use crate::lane::LaneName;
use crate::queue::{Key, NewItem, Way};
use crate::settings::Settings;
use std::time::Duration;
use stores_directory::{Resolved, Snapshot};
use stores_journal::JournalEntry;
use stores_ledger::InForce;
use words_mail::{
    AccountId, Action, Address, Destination, OrderKind, Outcome, PrimaryId, Reply, Source, Time, Verdict,
};

/// The index of the copy in the sender's Sent folder.
pub(crate) const SENT: u32 = u32::MAX;

/// What is to be done about one recipient.
pub(crate) enum Errands {
    /// It waits to be handed over.
    Wait(NewItem),
    /// It is settled at once.
    Settle(NewItem, Outcome),
}

/// What routing goes by.
pub(crate) struct Map<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) directory: &'a Snapshot,
    pub(crate) orders: &'a InForce,
    pub(crate) history: &'a History,
    pub(crate) now: Time,
    /// Accepted just now, not found at a start.
    pub(crate) fresh: bool,
    /// Whether it is let out of quarantine just now.
    pub(crate) release: bool,
}

/// Why a message goes nowhere.
pub(crate) enum Aside {
    /// It goes round in a loop.
    Parked(String),
    /// It is kept back.
    Quarantined(String),
}

impl Aside {
    fn outcome(&self) -> Outcome {
        match self {
            Aside::Parked(reason) => Outcome::Parked { reason: reason.clone() },
            Aside::Quarantined(reason) => Outcome::Quarantined { reason: reason.clone() },
        }
    }
}

/// The verdict that was stored with a message; one that cannot be read lets it through and bounces nothing.
pub(crate) fn verdict(entry: &JournalEntry) -> (Option<Aside>, bool) {
    let Ok(verdict) = serde_json::from_value::<Verdict>(entry.accepted.verdict.clone()) else {
        return (None, false);
    };
    match verdict.action {
        Action::Park { reason } => (Some(Aside::Parked(reason)), false),
        // Released, it is mail like any other.
        Action::Quarantine { reason } => (Some(Aside::Quarantined(reason)), verdict.may_bounce),
        Action::Deliver | Action::Tag { .. } => (None, verdict.may_bounce),
    }
}

impl Map<'_> {
    /// What is to be done about a message: nothing more for errands that are done.
    pub(crate) fn errands(&self, entry: &JournalEntry) -> Vec<Errands> {
        let envelope = &entry.accepted.envelope;
        let (aside, _) = verdict(entry);
        let released =
            |recipient: &Address| self.release || self.history.is_released(entry.accepted.trace, recipient);
        let mut errands = Vec::new();
        for (index, recipient) in (0u32..).zip(&envelope.recipients) {
            let aside = aside.as_ref().filter(|aside| match aside {
                Aside::Quarantined(_) => !released(&recipient.address),
                Aside::Parked(_) => true,
            });
            for (way, account, destination, settled) in self.ways(entry, &recipient.address) {
                if let Some(settled) = settled {
                    errands.extend(self.errand(
                        entry,
                        index,
                        way,
                        &recipient.address,
                        account,
                        destination,
                        Some(settled),
                    ));
                } else if let Some(aside) = aside {
                    // It goes nowhere, and into no mailbox either.
                    if way == Way::Onward || !self.goes_onward(entry, &recipient.address) {
                        errands.extend(self.errand(
                            entry,
                            index,
                            way,
                            &recipient.address,
                            account,
                            destination,
                            Some(aside.outcome()),
                        ));
                    }
                } else {
                    errands.extend(self.errand(
                        entry,
                        index,
                        way,
                        &recipient.address,
                        account,
                        destination,
                        None,
                    ));
                }
            }
        }
        let sent = match aside {
            None => true,
            Some(Aside::Parked(_)) => false,
            Some(Aside::Quarantined(_)) => envelope.recipients.iter().any(|r| released(&r.address)),
        };
        if sent {
            errands.extend(self.sent_copy(entry));
        }
        errands
    }

    fn goes_onward(&self, entry: &JournalEntry, recipient: &Address) -> bool {
        self.ways(entry, recipient).iter().any(|(way, ..)| *way == Way::Onward)
    }

    /// The ways of one recipient; with an outcome when it is settled at once.
    fn ways(
        &self,
        entry: &JournalEntry,
        recipient: &Address,
    ) -> Vec<(Way, Option<AccountId>, Destination, Option<Outcome>)> {
        let onward = |account: Option<AccountId>, primary: PrimaryId| {
            (Way::Onward, account, Destination::Primary(primary), None)
        };
        match self.directory.resolve(recipient) {
            Resolved::Account { account, primary, .. } => {
                let mut ways = vec![(Way::Here, Some(account.clone()), Destination::Mailbox, None)];
                ways.extend(primary.map(|primary| onward(Some(account), primary)));
                ways
            }
            Resolved::Learned { primary, .. } | Resolved::CannotTell { primary, .. } => {
                vec![onward(None, primary)]
            }
            Resolved::Unknown { .. } => match &entry.accepted.primary {
                // Taken in when it was known: the primary has the last word.
                Some(primary) if self.settings.primaries.contains_key(primary) => {
                    vec![onward(None, primary.clone())]
                }
                _ => {
                    let reply =
                        Reply::new(550, (5, 1, 1), "the account was removed after the message was accepted");
                    vec![(
                        Way::Here,
                        None,
                        Destination::Mailbox,
                        Some(Outcome::Refused { reply, bounced: false }),
                    )]
                }
            },
            Resolved::NotOurs => {
                let destination = Destination::Internet(recipient.domain().to_owned());
                // No open relay, whatever changed since the message was accepted.
                let outcome = (entry.accepted.envelope.source == Source::Edge).then(|| Outcome::Parked {
                    reason: "its domain is not served here any more, and mail of strangers is not relayed"
                        .to_owned(),
                });
                vec![(Way::Onward, None, destination, outcome)]
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn errand(
        &self,
        entry: &JournalEntry,
        index: u32,
        way: Way,
        recipient: &Address,
        account: Option<AccountId>,
        destination: Destination,
        settled: Option<Outcome>,
    ) -> Option<Errands> {
        let errand = Errand::new(entry.accepted.trace, recipient, &destination);
        if self.history.done.contains(&errand) {
            return None;
        }
        let tried = self.history.tried(&errand, entry.position);
        let age = self.now.since(entry.accepted.at);
        let item = NewItem {
            key: Key { position: entry.position, way, index },
            recipient: recipient.clone(),
            account,
            lane: self.lane(&destination, entry),
            number: tried.number,
            unknowns: if way == Way::Here { 0 } else { tried.unknowns },
            fresh: self.fresh,
            delay_told: !self.fresh && self.settings.delay_after.is_some_and(|after| age > after),
            destination,
        };
        let unserved = match &item.destination {
            Destination::Primary(primary) if !self.settings.primaries.contains_key(primary) => {
                Some(Outcome::Parked {
                    reason: format!("there is no primary {primary} in the configuration"),
                })
            }
            _ => None,
        };
        Some(match settled.or(unserved) {
            Some(outcome) => Errands::Settle(item, outcome),
            None => Errands::Wait(item),
        })
    }

    /// The lane of a destination, under the orders in force.
    pub(crate) fn lane(&self, destination: &Destination, entry: &JournalEntry) -> LaneName {
        match destination {
            Destination::Mailbox => LaneName::Mailbox,
            Destination::Primary(primary) => LaneName::Primary(primary.clone()),
            Destination::Internet(domain) => self.outward(domain, self.sender_primary(entry).as_ref()),
        }
    }

    /// The primary behind who sent a message, when its mail leaves through it in peace.
    pub(crate) fn sender_primary(&self, entry: &JournalEntry) -> Option<PrimaryId> {
        let envelope = &entry.accepted.envelope;
        let account = envelope.peer.account.as_ref();
        let primary = account.and_then(|account| self.directory.primary_of(account)).cloned();
        primary.or_else(|| entry.accepted.primary.clone()).filter(|_| envelope.source == Source::Submission)
    }

    fn outward(&self, domain: &str, via: Option<&PrimaryId>) -> LaneName {
        let relay = via.filter(|via| {
            let offers = self.settings.primaries.get(via).is_some_and(|p| p.outbound.is_some());
            offers && !self.orders.on(OrderKind::OutboundDirect, via, None)
        });
        match relay {
            Some(via) => LaneName::Relay(via.clone()),
            None if self.settings.internet.smart_host.is_some() => LaneName::SmartHost,
            None => LaneName::Domain(domain.to_owned()),
        }
    }

    /// What a person sent goes into their Sent folder here, once. Not when it is addressed to themselves: one message
    /// has one place in an account, and then that is where mail arrives.
    fn sent_copy(&self, entry: &JournalEntry) -> Option<Errands> {
        let envelope = &entry.accepted.envelope;
        let account = envelope.peer.account.as_ref()?;
        let theirs = &self.settings.file_sent_themselves;
        if envelope.source != Source::Submission
            || self.directory.primary_of(account).is_some_and(|primary| theirs.contains(primary))
        {
            return None;
        }
        let known = self.directory.account(account)?;
        let to_self = envelope.recipients.iter().any(|recipient| {
            matches!(self.directory.resolve(&recipient.address), Resolved::Account { account: a, .. } if a == *account)
        });
        if to_self {
            return None;
        }
        let account = Some(account.clone());
        self.errand(entry, SENT, Way::Here, &known.address, account, Destination::Mailbox, None)
    }
}

/// How long a message may wait for a destination before it expires; `None` while it may wait without end.
pub(crate) fn patience(settings: &Settings, orders: &InForce, destination: &Destination) -> Option<Duration> {
    match destination {
        Destination::Mailbox => None,
        Destination::Primary(primary) => orders.open_event(primary).is_none().then_some(settings.spool_age),
        Destination::Internet(_) => Some(settings.outbound_age),
    }
}
