//! What most stories begin with: a company, its primary, the rest of the world, and Stormpost between them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use stories::stormpost::{Hop, Setup};
use stories::{Catcher, Lab, Maildrop, Names, Primary, PrimaryOptions, Sent, Stormpost, Tally};

pub(crate) struct Scene {
    // In the order of their ends: the servers before the directory they write to.
    pub(crate) stormpost: Stormpost,
    pub(crate) primary: Primary,
    pub(crate) world: Catcher,
    pub(crate) names: Names,
    pub(crate) lab: Lab,
}

/// The company's domain in the stories.
pub(crate) const DOMAIN: &str = "company.test";

impl Scene {
    /// As usual: Postfix and Dovecot behind, everything healthy.
    pub(crate) fn open(story: &str) -> Scene {
        Scene::with(story, &PrimaryOptions::default(), |_, _| {})
    }

    /// With a primary of these options, and with `change` to what Stormpost is told.
    pub(crate) fn with(
        story: &str,
        options: &PrimaryOptions,
        change: impl FnOnce(&mut Setup, &Primary),
    ) -> Scene {
        let lab = Lab::open(story);
        let world = Catcher::start();
        let names = Names::start();
        names.mx(DOMAIN, "mx.company.test");
        names.here("mx.company.test");
        names.mx("outside.test", "mx.outside.test");
        names.here("mx.outside.test");
        let primary = Primary::start(&lab, DOMAIN, options);
        let mut setup = Setup::of(&primary);
        setup.smart_host = Some(world.port);
        setup.names = Some(names.address);
        change(&mut setup, &primary);
        let stormpost = Stormpost::start(&lab, "stormpost", &setup);
        Scene { stormpost, primary, world, names, lab }
    }

    /// Waits until a plane of the primary stands so; in vain, it ends the story with everything that is known.
    pub(crate) fn becomes(&self, plane: &str, state: &str, limit: Duration) -> Duration {
        let begun = Instant::now();
        while self.stormpost.state("company", plane) != state {
            if begun.elapsed() > limit {
                let status = self.stormpost.tell(&["status"]).out;
                let queue = self.stormpost.tell(&["queue", "list", "--limit", "20"]).out;
                let event = self.stormpost.tell(&["event", "show"]).out;
                panic!("{plane} did not become {state} in {limit:?}\n{status}\n{queue}\n{event}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        begun.elapsed()
    }

    /// Waits until Stormpost's queue is empty and the primary has put everything into mailboxes.
    pub(crate) fn drained(&self, limit: Duration) -> Duration {
        let begun = Instant::now();
        while self.stormpost.queued() > 0 {
            let list = || self.stormpost.tell(&["queue", "list", "--limit", "20"]).out;
            assert!(begun.elapsed() < limit, "the queue did not run empty in {limit:?}:\n{}", list());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.primary.settle(Duration::from_secs(60));
        begun.elapsed()
    }

    /// What stands in everybody's mailbox at the primary.
    pub(crate) fn mailboxes(&self) -> HashMap<String, Maildrop> {
        let look = |person: &String| (self.primary.address(person), self.primary.maildrop(person));
        self.primary.people.iter().map(look).collect()
    }

    /// The verdict: everything acknowledged is in the primary once.
    pub(crate) fn judge(&self, sent: &[Sent]) -> Tally {
        let tally = Tally::of(sent, &self.mailboxes());
        self.lab.say(&tally.to_string());
        tally.must_be_whole();
        tally
    }
}

/// The hop straight to Dovecot, for stories in which Postfix's own queue would hide what happens.
pub(crate) fn by_lmtp(setup: &mut Setup, primary: &Primary) {
    setup.companies[0].hop = Some(Hop::Lmtp(primary.lmtp));
}
