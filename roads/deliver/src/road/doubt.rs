//! Outcomes nobody knows: asked about, sent once more at most, never a third time.

use super::{BATCH, Ended, Journey, Road, lock};
use crate::door::{Answer, Question};
use crate::lane::LaneName;
use crate::queue::{Key, State};
use std::collections::BTreeMap;
use std::time::Duration;
use stores_log::Position;
use tokio::time::Instant;
use words_mail::{Outcome, PrimaryId};

impl Road {
    /// Whether everything that was accepted before the start is in the queue or settled.
    pub(crate) fn knows_all(&self) -> bool {
        lock(&self.totals).caught_up
    }

    /// Up to where the ledger was obeyed.
    pub(crate) fn obeyed(&self) -> Position {
        lock(&self.totals).obeyed
    }
}

impl Journey {
    /// Asks about messages whose fate is unknown, or decides where nobody can be asked.
    pub(super) fn doubts(&mut self, now: Instant) {
        let due = self.road.queue().questions(now, BATCH);
        let mut by_primary: BTreeMap<PrimaryId, Vec<(Key, Question)>> = BTreeMap::new();
        let mut paused = Vec::new();
        for key in due {
            let (lane, since, question) = {
                let queue = self.road.queue();
                let Some((item, mail)) = queue.item(&key).zip(queue.mail(&key.position)) else { continue };
                let State::Doubtful { since, .. } = item.state else { continue };
                if let LaneName::Primary(primary) = &item.lane
                    && self.orders.paused(primary, item.account.as_ref())
                {
                    paused.push(key);
                    continue;
                }
                let question = Question {
                    trace: mail.trace,
                    recipient: item.recipient.clone(),
                    account: item.account.clone(),
                };
                (item.lane.clone(), since, question)
            };
            match (&lane, &self.road.parts.ask) {
                (LaneName::Primary(primary), Some(_)) => {
                    by_primary.entry(primary.clone()).or_default().push((key, question));
                }
                _ if now.saturating_duration_since(since) >= self.road.settings.unknown_wait => {
                    self.once_more(key, "and nobody can look");
                }
                _ => {}
            }
        }
        // One that is believed to be down is asked when it is back, and its time for filing what it took begins then.
        paused.into_iter().for_each(|key| self.road.queue().ask_later(key, now));
        for (primary, asked) in by_primary {
            let Some(ask) = self.road.parts.ask.clone() else { continue };
            self.spawn(super::About::Other, async move {
                let (keys, questions): (Vec<Key>, Vec<Question>) = asked.into_iter().unzip();
                let answers = ask.ask(&primary, &questions).await;
                Ended::Asked(keys.into_iter().zip(answers).collect())
            });
        }
    }

    pub(super) fn answered(&mut self, answers: Vec<(Key, Answer)>) {
        // The mirror removes what people removed. It writes down before that a message was there: one that was seen and
        // is gone must not be sent again.
        self.follow_ledger();
        let now = Instant::now();
        for (key, answer) in answers {
            let (since, patience) = {
                let queue = self.road.queue();
                let Some(item) = queue.item(&key) else { continue };
                let State::Doubtful { since, .. } = item.state else { continue };
                let LaneName::Primary(primary) = &item.lane else { continue };
                let patience =
                    self.road.settings.primaries.get(primary).map_or(Duration::ZERO, |p| p.queue_time);
                (since, patience)
            };
            match answer {
                Answer::Found { folder } => {
                    self.settle_item(key, Outcome::Seen { folder }, false, None);
                }
                Answer::NotFound if now.saturating_duration_since(since) >= patience => {
                    self.once_more(key, "and it was not found");
                }
                Answer::NotFound => {}
                Answer::CannotTell(why) => {
                    tracing::debug!(%why, "nobody can tell yet what became of a message");
                    self.road.queue().nobody_told(key, now);
                }
            }
        }
    }

    /// Sends a message of unknown fate once more, listed as possibly doubled; never a third time.
    fn once_more(&mut self, key: Key, why: &str) {
        let Some((unknowns, trace, to)) = ({
            let queue = self.road.queue();
            let found = queue.item(&key).zip(queue.mail(&key.position));
            found.map(|(item, mail)| (item.unknowns, mail.trace, item.recipient.clone()))
        }) else {
            return;
        };
        if unknowns < 2 {
            tracing::warn!(%trace, %to, "sent once more, possibly doubled: its outcome is unknown {why}");
            self.road.queue().send_again(key);
        } else {
            let reason = format!(
                "its outcome is unknown after {unknowns} attempts {why}; it is not sent a third time"
            );
            self.settle_item(key, Outcome::Parked { reason }, false, None);
        }
    }
}
