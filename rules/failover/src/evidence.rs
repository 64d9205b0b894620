//! From observations to what they say together.

use crate::Settings;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use words_mail::{Evidence, Finding, Observation};

/// What the evidence says at a moment. `since` is steady time: the first observation of the present run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Down, confirmed, since then.
    Down(Duration),
    /// Well, since then.
    Up(Duration),
    /// A failure that nothing has confirmed yet, or vantages that disagree.
    Doubt,
    /// Nothing fresh is known.
    Unmeasured,
}

/// A probe or canary must say the same twice before its word changes.
const CONFIRM: u32 = 2;
/// A failed dialogue of live traffic and a failed probe this close together confirm each other.
const TOGETHER: Duration = Duration::from_secs(10);
/// Live traffic says "down" from so many failures on …
const LIVE_FAILURES_MIN: usize = 3;
/// … that are at least half of the latest dialogues, of which so many are remembered.
const LIVE_SAMPLES_MAX: usize = 20;
/// After so many times that real mail failed while the probe was content, the probe is blind to what is wrong, and
/// no longer overrules real mail.
const BLIND_MAX: u32 = 3;
/// Vantages that are listened to; further ones are ignored, so that new names cannot fill the memory.
const VANTAGES_MAX: usize = 16;

/// What one kind of evidence at one vantage said lately.
#[derive(Clone, Debug, Default)]
struct Voice {
    /// Its settled word, once it has one, …
    word: Option<Finding>,
    /// … and when the run of observations behind it began.
    word_since: Duration,
    /// What it said last, …
    latest: Option<Finding>,
    /// … when, …
    heard: Duration,
    /// … how often in a row, …
    streak: u32,
    /// … and since when.
    streak_began: Duration,
}

impl Voice {
    fn hear(&mut self, finding: Finding, now: Duration) {
        if self.latest == Some(finding) {
            self.streak = self.streak.saturating_add(1);
        } else {
            (self.streak, self.streak_began) = (1, now);
        }
        (self.latest, self.heard) = (Some(finding), now);
    }

    fn settle(&mut self, finding: Finding, since: Duration) {
        if self.word != Some(finding) {
            (self.word, self.word_since) = (Some(finding), since);
        }
    }

    /// A first "up" contradicts nothing and counts at once; every change needs to be said twice.
    fn settle_repeated(&mut self, finding: Finding, confirmed: bool) {
        let first = self.word.is_none() && finding == Finding::Up;
        if self.streak >= CONFIRM || first || confirmed {
            self.settle(finding, self.streak_began);
        }
    }

    fn failed_lately(&self, now: Duration) -> bool {
        self.latest == Some(Finding::Down) && now.saturating_sub(self.heard) <= TOGETHER
    }
}

/// All that one vantage said about the plane.
#[derive(Clone, Debug, Default)]
struct Vantage {
    probe: Voice,
    canary: Voice,
    live: Voice,
    /// The latest dialogues of real mail.
    samples: VecDeque<(Duration, Finding)>,
    /// Whether the probe failed, too, since real mail began to fail.
    probe_saw_it: bool,
    /// Good probes in a row since the last failure of real mail.
    good_since: u32,
    /// How often it did not.
    blind: u32,
}

enum Vote {
    Down(Duration),
    Up(Duration),
    Doubt,
}

impl Vantage {
    fn hear(&mut self, evidence: Evidence, finding: Finding, now: Duration, settings: &Settings) {
        match evidence {
            Evidence::Probe => {
                self.probe.hear(finding, now);
                let confirmed = finding == Finding::Down && self.live.failed_lately(now);
                self.probe.settle_repeated(finding, confirmed);
                self.probe_saw_it |= finding == Finding::Down;
                self.good_since = if finding == Finding::Up { self.good_since.saturating_add(1) } else { 0 };
                self.overrule_live();
            }
            Evidence::Canary => {
                self.canary.hear(finding, now);
                self.canary.settle_repeated(finding, false);
            }
            Evidence::Live => self.hear_live(finding, now, settings),
        }
    }

    fn hear_live(&mut self, finding: Finding, now: Duration, settings: &Settings) {
        self.live.hear(finding, now);
        self.samples.push_back((now, finding));
        while self.samples.len() > LIVE_SAMPLES_MAX
            || self.samples.front().is_some_and(|(at, _)| now.saturating_sub(*at) > settings.live_window)
        {
            self.samples.pop_front();
        }
        match finding {
            Finding::Up => {
                // One dialogue that goes well among many that fail is not health.
                if self.live.word.is_none() || self.live.streak >= CONFIRM {
                    self.live.settle(Finding::Up, self.live.streak_began);
                    self.blind = 0;
                    self.samples.clear();
                }
            }
            Finding::Down => {
                self.good_since = 0;
                // The probe waits for its own next turn, unless it, too, has just failed.
                if self.probe.failed_lately(now) {
                    self.probe.settle(Finding::Down, self.probe.streak_began.min(self.live.streak_began));
                }
                let failures = || self.samples.iter().filter(|(_, f)| *f == Finding::Down);
                let count = failures().count();
                if count >= LIVE_FAILURES_MIN && count * 2 >= self.samples.len() {
                    let first = failures().next().map_or(now, |(at, _)| *at);
                    if self.live.word != Some(Finding::Down) {
                        self.probe_saw_it = self.probe.latest == Some(Finding::Down);
                    }
                    self.live.settle(Finding::Down, first);
                }
            }
        }
    }

    /// While deliveries wait, no real mail can say that all is well again, so a probe that succeeds twice after
    /// the last failure of real mail sets that failure aside; unless probes have proved blind to it.
    fn overrule_live(&mut self) {
        let well = self.probe.word == Some(Finding::Up) && self.good_since >= CONFIRM;
        if !(well && self.live.latest == Some(Finding::Down)) {
            return;
        }
        if self.live.word == Some(Finding::Down) {
            if !self.probe_saw_it {
                self.blind = self.blind.saturating_add(1);
            }
            if self.blind >= BLIND_MAX {
                return;
            }
        }
        self.forget_live();
    }

    fn forget_live(&mut self) {
        self.live = Voice::default();
        self.samples.clear();
    }

    fn vote(&self, now: Duration, settings: &Settings, with_live: bool) -> Option<Vote> {
        let live_stale = match self.live.word {
            // Deliveries wait by then: real mail could not say that it is well again.
            Some(Finding::Down) => settings.dwell + settings.live_window,
            _ => settings.live_window,
        };
        let voices = [
            (&self.probe, settings.probe_stale()),
            (&self.canary, settings.canary_stale),
            (&self.live, live_stale),
        ];
        let fresh = || {
            voices
                .iter()
                .filter(|(voice, stale)| voice.latest.is_some() && now.saturating_sub(voice.heard) <= *stale)
                .filter(|(voice, _)| with_live || !std::ptr::eq(*voice, &self.live))
                .map(|(voice, _)| *voice)
        };
        let down = fresh().filter(|v| v.word == Some(Finding::Down)).map(|v| v.word_since).min();
        if let Some(since) = down {
            return Some(Vote::Down(since));
        }
        // A lone failure of real mail (greylisting, one recipient) is no doubt; one of a probe is.
        let doubtful = |v: &Voice| v.latest == Some(Finding::Down) && !std::ptr::eq(v, &self.live);
        if fresh().any(doubtful) {
            return Some(Vote::Doubt);
        }
        let up = fresh().filter(|v| v.word == Some(Finding::Up));
        let since = |v: &Voice| if std::ptr::eq(v, &self.live) { v.word_since } else { v.streak_began };
        up.map(since).max().map(Vote::Up)
    }
}

/// What is remembered of one plane's observations, bounded, with the rule how they are read.
#[derive(Clone, Debug, Default)]
pub struct Window {
    vantages: BTreeMap<String, Vantage>,
}

impl Window {
    /// Takes an observation in, at steady time `now`. Those about one account say nothing about the plane.
    pub fn hear(&mut self, observation: &Observation, now: Duration, settings: &Settings) {
        if observation.account.is_some() {
            return;
        }
        let known = self.vantages.contains_key(&observation.vantage);
        if known || self.vantages.len() < VANTAGES_MAX {
            let vantage = self.vantages.entry(observation.vantage.clone()).or_default();
            vantage.hear(observation.evidence, observation.finding, now, settings);
        }
    }

    /// What the evidence says at steady time `now`: the vantages that have fresh evidence vote, and more than half
    /// of them must agree.
    pub fn read(&self, now: Duration, settings: &Settings) -> Reading {
        self.count(now, settings, true)
    }

    /// The same without what real mail said. While deliveries wait real mail cannot say that it is well again, so a
    /// person's word that it is counts for more; probes and canaries go on looking.
    pub fn read_without_live(&self, now: Duration, settings: &Settings) -> Reading {
        self.count(now, settings, false)
    }

    /// A person said that it is well again, and that was obeyed: real mail is asked anew.
    pub fn forget_live(&mut self) {
        self.vantages.values_mut().for_each(Vantage::forget_live);
    }

    fn count(&self, now: Duration, settings: &Settings, with_live: bool) -> Reading {
        let votes: Vec<Vote> =
            self.vantages.values().filter_map(|v| v.vote(now, settings, with_live)).collect();
        if votes.is_empty() {
            return Reading::Unmeasured;
        }
        let downs = || votes.iter().filter_map(|v| if let Vote::Down(at) = v { Some(*at) } else { None });
        let ups = || votes.iter().filter_map(|v| if let Vote::Up(at) = v { Some(*at) } else { None });
        match (downs().min(), ups().max()) {
            (Some(since), _) if downs().count() * 2 > votes.len() => Reading::Down(since),
            (_, Some(since)) if ups().count() * 2 > votes.len() => Reading::Up(since),
            _ => Reading::Doubt,
        }
    }
}
