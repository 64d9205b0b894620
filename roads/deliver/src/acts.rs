//! What people do to the queue, and what age does.

use crate::history::{Errand, is_about, reaches};
use crate::quarantine::is_kept;
use crate::queue::{Key, NewItem, State, Way};
use crate::road::Journey;
use crate::route::{Errands, patience};
use crate::settle::{ToSettle, tell_delay};
use std::time::Duration;
use stores_ledger::{Act, QueueAct};
use stores_log::Position;
use tokio::time::Instant;
use words_mail::{Address, Outcome, Reply, Time, TraceId};

/// Items looked at for their age at once.
const AGED_MAX: usize = 500;

impl Journey {
    /// Obeys what a person did to the queue.
    pub(crate) fn obey(&mut self, act: &QueueAct) {
        tracing::info!(by = %act.by, reason = %act.reason, act = ?act.act, "queue");
        let stops = {
            let mut stops = self.road.stops();
            stops.add(act);
            stops.clone()
        };
        let now = Instant::now();
        let keys = self.meant(act);
        match &act.act {
            Act::Pause | Act::Resume => {
                let mut queue = self.road.queue();
                stops.halt(&mut queue, act.destination.as_ref());
                for (key, trace) in keys {
                    let stopped = queue
                        .item(&key)
                        .is_some_and(|item| stops.is_stopped(trace, &item.recipient, &item.destination));
                    queue.stop(key, stopped, now);
                }
            }
            Act::Retry => {
                keys.into_iter().for_each(|(key, _)| self.road.queue().retry(key, now));
                self.take_up_listed(act);
            }
            Act::Release => self.release(act),
            Act::Redeliver { position } => self.take_up_settled(act, *position),
            Act::Delete | Act::Bounce | Act::Redirect { .. } => {
                if act.act == Act::Delete {
                    self.delete_kept(act);
                }
                self.take_up_listed(act);
                for (key, _) in self.meant(act) {
                    self.take_out(key, act);
                }
            }
        }
    }

    /// Acts that were recorded before a crash and not carried out: what they are about is still here.
    pub(crate) fn obey_earlier(&mut self) {
        for act in std::mem::take(&mut self.earlier) {
            for (key, _) in self.meant(&act) {
                self.take_out(key, &act);
            }
        }
    }

    /// The items an act is about: those accepted before it, and never copies in the mailboxes here.
    fn meant(&self, act: &QueueAct) -> Vec<(Key, TraceId)> {
        let queue = self.road.queue();
        queue
            .items()
            .filter(|(key, item, mail)| {
                key.way == Way::Onward
                    && mail.at <= act.at
                    && is_about(act, mail.trace, &item.recipient, &item.destination)
            })
            .map(|(key, _, mail)| (*key, mail.trace))
            .collect()
    }

    fn take_out(&mut self, key: Key, act: &QueueAct) {
        let by = format!("{}: {}", act.by, act.reason);
        match &act.act {
            Act::Delete => {
                self.settle_item(key, Outcome::Deleted { reason: by }, false, None);
            }
            Act::Bounce => {
                let reply = Reply::new(550, (5, 0, 0), format!("given back by {by}"));
                self.settle_item(key, Outcome::Refused { reply, bounced: false }, true, None);
            }
            Act::Redirect { to } => self.redirect(key, to.clone(), by),
            _ => {}
        }
    }

    /// Hands the message in again for another recipient; the first errand is settled when that is durable.
    fn redirect(&mut self, key: Key, to: Address, by: String) {
        let outcome = Outcome::Deleted { reason: format!("redirected to {to} by {by}") };
        self.settle_redirected(key, outcome, to);
    }

    /// What was parked, refused or expired goes back into the queue.
    fn take_up_listed(&mut self, act: &QueueAct) {
        for (errand, position, number, _) in self.listed_for(act) {
            let kept = self.road.listed().get(&errand).is_some_and(|l| is_kept(&l.settlement.outcome));
            if kept {
                continue;
            }
            let Ok(entry) = self.road.parts.journal.read(position) else { continue };
            self.road.listed().remove(&errand);
            for one in self.errands(&entry) {
                let (Errands::Wait(item) | Errands::Settle(item, _)) = one;
                if Errand::new(entry.accepted.trace, &item.recipient, &item.destination) == errand {
                    // Numbers go on: an attempt of now is not one of those that were settled.
                    let item = NewItem { fresh: false, unknowns: 0, number, ..item };
                    self.add(&entry, Errands::Wait(item));
                }
            }
        }
    }

    /// What was settled is handed over again, if it is still not there when it is asked about once more.
    fn take_up_settled(&mut self, act: &QueueAct, position: Position) {
        let (Some(trace), Some(recipient), Some(destination)) = (act.trace, &act.recipient, &act.destination)
        else {
            return;
        };
        let entry = match self.road.parts.journal.read(position) {
            Ok(entry) if entry.accepted.trace == trace => entry,
            _ => {
                tracing::warn!(%trace, "it is not in the journal any more and cannot be handed over again");
                return;
            }
        };
        let wanted = Errand::new(trace, recipient, destination);
        let attempts = self.road.parts.mailboxes.attempts_of(trace).unwrap_or_default();
        let of_this = attempts.iter().map(|(attempt, _)| attempt);
        let of_this = of_this.filter(|a| Errand::new(a.trace, &a.recipient, &a.destination) == wanted);
        let number = of_this.map(|attempt| attempt.number).max().unwrap_or(0);
        for one in self.errands(&entry) {
            if let Errands::Wait(item) = one
                && Errand::new(trace, &item.recipient, &item.destination) == wanted
            {
                self.road.listed().remove(&wanted);
                let item = NewItem { fresh: false, unknowns: 1, number, ..item };
                self.add(&entry, Errands::Wait(item));
            }
        }
    }

    /// The listed errands that an act is about, each with its place in the journal, its attempts and its recipient.
    pub(crate) fn listed_for(&self, act: &QueueAct) -> Vec<(Errand, stores_log::Position, u32, Address)> {
        let listed = self.road.listed();
        let meant = listed.iter().filter(|(_, l)| {
            let s = &l.settlement;
            is_about(act, s.trace, &s.recipient, &s.destination) && reaches(&act.act, &s.outcome)
        });
        meant
            .filter_map(|(errand, l)| {
                Some((*errand, l.place?.0, l.settlement.attempt, l.settlement.recipient.clone()))
            })
            .collect()
    }

    /// Expires what nobody took in its time, tells senders of delays, and looks at the spool's budget.
    pub(crate) fn ages(&mut self) {
        self.obey_earlier();
        let now = self.road.parts.world.clock.now();
        self.expire_kept(now);
        let (expired, late, oldest) = self.aged(now);
        for (key, reply) in expired {
            tracing::error!(
                ?key,
                "mail expired: nobody took it in its time; its sender is told, and it is kept and listed"
            );
            self.settle_item(key, Outcome::Expired { reply }, false, None);
        }
        for (what, until) in late {
            let road = self.road.clone();
            self.road.queue().told_delay(what.key);
            self.spawn_other(tell_delay(road, what, until));
        }
        let settings = &self.road.settings;
        let bytes = self.road.queue().bytes();
        let percent = bytes.saturating_mul(100) / settings.budget_bytes.max(1);
        let age = oldest.map(|oldest| now.since(oldest)).unwrap_or_default();
        let alarm = if percent >= 80 {
            Some(format!("{percent} % of the {} bytes that may wait are in use", settings.budget_bytes))
        } else if age > settings.budget_age {
            Some(format!("the oldest mail has waited for {} hours", age.as_secs() / 3_600))
        } else {
            None
        };
        self.road.set_alarm(alarm);
    }

    #[allow(clippy::type_complexity)]
    fn aged(&self, now: Time) -> (Vec<(Key, Reply)>, Vec<(ToSettle, Time)>, Option<Time>) {
        let settings = &self.road.settings;
        let (mut expired, mut late, mut oldest) = (Vec::new(), Vec::new(), None);
        let queue = self.road.queue();
        for (key, item, mail) in queue.items().filter(|(key, ..)| key.way == Way::Onward) {
            let age = now.since(mail.at);
            oldest.get_or_insert(mail.at);
            if matches!(item.state, State::InFlight | State::Settling | State::Doubtful { .. }) {
                continue;
            }
            // While its primary is in an event mail neither expires nor is called late: its people know.
            let Some(patience) = patience(settings, &self.orders, &item.destination) else { continue };
            if age > patience && expired.len() < AGED_MAX {
                expired.push((*key, queue.last_words(key)));
            } else if settings.delay_after.is_some_and(|after| age > after)
                && !item.delay_told
                && item.state != State::Paused
                && late.len() < AGED_MAX
            {
                let what = ToSettle {
                    key: *key,
                    trace: mail.trace,
                    recipient: item.recipient.clone(),
                    destination: item.destination.clone(),
                    account: item.account.clone(),
                    number: item.number,
                    outcome: Outcome::Deferred { reply: queue.last_words(key) },
                    reports: true,
                    tell: false,
                    redirect: None,
                    entry: None,
                };
                late.push((what, mail.at.after(patience)));
            }
            if settings.delay_after.is_none_or(|after| age < after) && age < Duration::from_secs(60) {
                break;
            }
        }
        (expired, late, oldest)
    }
}
