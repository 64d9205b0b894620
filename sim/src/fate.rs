//! What goes wrong in a life, and when: decided by its seed before it begins.

use crate::dice::Dice;
use crate::power::{Armed, Crash};
use crate::primary::{Mood, Port};
use std::time::Duration;

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// A door of the primary behaves badly for a while.
    Mood(Port, Mood, Duration),
    /// The primary's processes are killed, and stay dead for a while.
    Dies(Duration),
    /// It dies and comes back again and again.
    Flaps(u64),
    /// No bytes pass between node and primary for a while.
    Partition(Duration),
    /// Every open connection between node and primary breaks.
    Cables,
    /// The node's clock jumps, microseconds.
    Clock(i64),
    /// A later sync fails.
    FailSync(u64),
    /// A later write fails.
    FailAppend(u64),
    /// The disk is full for a while.
    Full(Duration),
    /// The node dies.
    Crash(Crash),
    /// The node dies at a later named place.
    At(Armed),
    /// The node is told to stop, finishes, and is started again.
    Restart,
}

/// A life as it is planned.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed it follows from.
    pub seed: u64,
    /// What goes wrong, when, in order of time.
    pub troubles: Vec<(Duration, Trouble)>,
    /// Strangers who send, and how many messages each.
    pub senders: (usize, usize),
    /// People, and how often each acts.
    pub people: (usize, usize),
    /// How long the working part of it lasts.
    pub length: Duration,
    /// Whether the view is kept in a file, so that it can outlive a crash.
    pub view_in_file: bool,
    /// Whether people throw away most of what comes, soon.
    pub tidy: bool,
}

/// The longest trouble, in seconds.
const LONGEST: u64 = 50;

impl Plan {
    /// The life of a seed.
    pub fn of(seed: u64) -> Plan {
        let dice = Dice::new(seed).fork();
        let length = Duration::from_secs(dice.range(30, 120));
        let mut troubles = Vec::new();
        for _ in 0..dice.range(1, 7) {
            let at = Duration::from_millis(dice.range(500, length.as_millis() as u64));
            troubles.push((at, Plan::trouble(&dice)));
        }
        troubles.sort_by_key(|(at, _)| *at);
        Plan {
            seed,
            troubles,
            senders: (dice.range(1, 4) as usize, dice.range(2, 7) as usize),
            people: (dice.range(2, 4) as usize, dice.range(4, 12) as usize),
            length,
            view_in_file: dice.one_in(3),
            tidy: dice.one_in(6),
        }
    }

    /// The same life, in which the node also dies at these named places.
    #[must_use]
    pub fn with_deaths(mut self, deaths: impl IntoIterator<Item = Armed>) -> Plan {
        let deaths = deaths.into_iter().map(|armed| (Duration::ZERO, Trouble::At(armed)));
        self.troubles.splice(0..0, deaths);
        self
    }

    fn trouble(dice: &Dice) -> Trouble {
        let long = |dice: &Dice| Duration::from_millis(dice.range(500, LONGEST * 1_000));
        let crash = |dice: &Dice| if dice.one_in(3) { Crash::Kill } else { Crash::Power };
        match dice.range(0, 20) {
            0 | 1 => Trouble::Dies(long(dice)),
            2..=4 => {
                let moods = [
                    Mood::Silent,
                    Mood::Deferring,
                    Mood::Dropping,
                    Mood::Slow,
                    Mood::Lazy,
                    Mood::Refusing,
                    Mood::Quota,
                ];
                Trouble::Mood(Port::Smtp, *dice.pick(&moods), long(dice))
            }
            5 | 6 => {
                let moods = [Mood::Silent, Mood::Deferring, Mood::Dropping, Mood::Slow];
                Trouble::Mood(Port::Imap, *dice.pick(&moods), long(dice))
            }
            7 => Trouble::Partition(long(dice)),
            8 => Trouble::Cables,
            9 => {
                // Less than the day for which a repeat is recognised: afterwards nobody can tell it from a new message.
                let hours = *dice.pick(&[-24i64, -1, 1, 20]);
                Trouble::Clock(hours * 3_600_000_000 + i64::try_from(dice.range(0, 1_000_000)).unwrap_or(0))
            }
            10 => Trouble::FailSync(dice.range(0, 10)),
            11 => Trouble::FailAppend(dice.range(0, 10)),
            12 => Trouble::Full(long(dice)),
            13 | 14 => Trouble::Crash(crash(dice)),
            15 => Trouble::Restart,
            16 => Trouble::Flaps(dice.range(2, 6)),
            _ => Trouble::At(Armed { name: None, after: dice.range(0, 200), crash: crash(dice) }),
        }
    }
}
