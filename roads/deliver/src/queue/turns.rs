//! What came of handing something over, and what follows from it for the item, the person and the place.

use super::{Key, Next, Queue, State, Turn};
use crate::lane::{Lane, LaneName, Person, back_off};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use words_mail::Outcome;

impl Queue {
    /// What came of one item; its job has landed.
    pub(crate) fn turn(
        &mut self,
        key: Key,
        turn: Turn,
        now: Instant,
        random: &mut dyn FnMut(u64) -> u64,
    ) -> Next {
        let Some(item) = self.items.get_mut(&key) else { return Next::Stays };
        let name = item.lane.clone();
        let person = item.recipient.key();
        let pace = self.rules.pace(&name);
        let lane = self.lanes.entry(name.clone()).or_insert_with(|| Lane::new(pace));
        match turn {
            Turn::Final(outcome) => {
                let was_down = lane.failures() > 0;
                lane.up();
                self.release(&name, &person);
                if was_down {
                    self.wake(&name, now);
                }
                Next::Settle(outcome)
            }
            Turn::Person { words, .. } => {
                item.said = words;
                self.hold(key, &name, person, now, random);
                self.rest_alarm(&name);
                Next::Stays
            }
            Turn::Message { words, wedge } => {
                if !wedge {
                    lane.ease(now);
                    lane.not_now(now, random);
                }
                item.said = words;
                item.tries += 1;
                let wait = back_off(pace.wait, pace.wait_most, item.tries, random);
                self.rest_alarm(&name);
                self.free_trial(key, now);
                self.wedged(key, wedge).unwrap_or_else(|| {
                    self.place(key, State::Later(now + wait));
                    Next::Stays
                })
            }
            Turn::Doubted(words) => {
                item.said = words;
                item.tries += 1;
                let wait = back_off(pace.wait, pace.wait_most, item.tries, random);
                self.free_trial(key, now);
                self.place(key, State::Later(now + wait));
                Next::Stays
            }
            Turn::Place { words, wedge } => self.place_trouble(key, &name, words, wedge, now, random),
            Turn::Ours(words) => {
                item.said = words;
                lane.down(now, random);
                self.rest_alarm(&name);
                self.place(key, State::Ready { fresh: false });
                Next::Stays
            }
            Turn::Broken(words) => {
                item.said = words;
                item.wedges += 1;
                self.wedge_verdict(key).unwrap_or_else(|| {
                    self.place(key, State::Later(now + Duration::from_secs(1)));
                    Next::Stays
                })
            }
            Turn::Unknown(words) => {
                item.said = words;
                item.unknowns += 1;
                let next = now + self.rules.ask_after;
                self.free_trial(key, now);
                self.place(key, State::Doubtful { since: now, next, asked: 0 });
                Next::Stays
            }
        }
    }

    /// Trouble with the place itself, or perhaps with this message.
    fn place_trouble(
        &mut self,
        key: Key,
        name: &LaneName,
        words: String,
        wedge: bool,
        now: Instant,
        random: &mut dyn FnMut(u64) -> u64,
    ) -> Next {
        let (Some(item), Some(lane)) = (self.items.get_mut(&key), self.lanes.get_mut(name)) else {
            return Next::Stays;
        };
        lane.said.clone_from(&words);
        item.said = words;
        lane.down(now, random);
        let rest = lane.rests_until().map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        self.rest_alarm(name);
        if !wedge {
            self.place(key, State::Ready { fresh: false });
            return Next::Stays;
        }
        // Perhaps it is this message that breaks the dialogue: it rests longer than the place, so that another one finds
        // out whether the place is well. If it is, everything goes at once, this one too.
        self.free_trial(key, now);
        self.wedged(key, wedge).unwrap_or_else(|| {
            self.place(key, State::Later(now + rest * 2 + Duration::from_secs(1)));
            Next::Stays
        })
    }

    fn rest_alarm(&mut self, name: &LaneName) {
        if let Some(until) = self.lanes.get(name).and_then(Lane::rests_until) {
            self.lane_alarm(until, name.clone());
        }
    }

    /// If this item was tried for a person whose other mail waits for it, another one is.
    pub(super) fn free_trial(&mut self, key: Key, now: Instant) {
        let Some(item) = self.items.get(&key) else { return };
        let (name, person) = (item.lane.clone(), item.recipient.key());
        let Some(lane) = self.lanes.get_mut(&name) else { return };
        if let Some(person) = lane.persons.get_mut(&person)
            && person.trying == Some(key)
        {
            person.trying = None;
            self.lane_alarm(now, name);
        }
    }

    /// Counts a broken dialogue against the message, but only when the place answered other mail since the last time:
    /// a place that is dying breaks every dialogue.
    fn wedged(&mut self, key: Key, wedge: bool) -> Option<Next> {
        let item = self.items.get_mut(&key)?;
        let answers = self.lanes.get(&item.lane)?.answers;
        if !wedge {
            return None;
        }
        if item.wedge_mark.is_none_or(|mark| answers > mark) {
            item.wedges += 1;
            item.wedge_mark = Some(answers);
        }
        self.wedge_verdict(key)
    }

    fn wedge_verdict(&self, key: Key) -> Option<Next> {
        let item = self.items.get(&key)?;
        (item.wedges >= self.rules.wedges_most).then(|| {
            let reason = format!("it broke delivery {} times: {}", item.wedges, item.said);
            Next::Settle(Outcome::Parked { reason })
        })
    }

    /// An attempt that reached, or may have reached, the final dot used this number.
    pub(crate) fn attempted(&mut self, key: Key, number: u32) {
        if let Some(item) = self.items.get_mut(&key) {
            item.number = item.number.max(number);
        }
    }

    fn hold(
        &mut self,
        key: Key,
        name: &LaneName,
        who: String,
        now: Instant,
        random: &mut dyn FnMut(u64) -> u64,
    ) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        let pace = lane.pace;
        let person = lane.persons.entry(who.clone()).or_insert_with(|| Person {
            held: BTreeSet::new(),
            failures: 0,
            until: now,
            trying: Some(key),
        });
        // Other mail to the same person that was already on its way is the same refusal.
        if person.trying == Some(key) {
            person.failures += 1;
            person.until = now + back_off(pace.wait, pace.wait_most, person.failures, random);
            person.trying = None;
            lane.not_now(now, random);
        }
        let until = lane.persons.get(&who).map_or(now, |person| person.until);
        self.place(key, State::Held);
        self.lane_alarm(until, name.clone());
    }

    /// The person is well again: all of their mail goes, oldest first.
    fn release(&mut self, name: &LaneName, person: &str) {
        let Some(person) = self.lanes.get_mut(name).and_then(|lane| lane.persons.remove(person)) else {
            return;
        };
        for key in person.held {
            if let Some(item) = self.items.get_mut(&key) {
                item.state = State::Settling;
            }
            self.place(key, State::Ready { fresh: false });
        }
    }
}
