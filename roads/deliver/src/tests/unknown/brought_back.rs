//! A node that was brought back from a backup does not know what it did after that was made; a primary that lost what it
//! had gets it again: both are asked about first.

use super::*;
use std::path::Path;
use stores_ledger::Restored;
use words_world::Disk;

/// The logs as they stand now, on another disk.
fn copied(from: &FaultDisk) -> FaultDisk {
    let to = FaultDisk::new(2);
    for dir in ["/j", "/j/bodies", "/l", "/l/bodies", "/m", "/m/bodies"] {
        let dir = Path::new(dir);
        to.make_dir(dir).unwrap();
        for entry in from.list(dir).unwrap().into_iter().filter(|entry| !entry.is_dir) {
            let file = to.create(&dir.join(&entry.name)).unwrap();
            file.append(&from.read(&dir.join(&entry.name)).unwrap()).unwrap();
            file.sync().unwrap();
        }
        to.sync_dir(dir).unwrap();
    }
    to
}

impl Life {
    async fn is_restored(&self) {
        let restored = Restored {
            at: self.world.clock.now(),
            by: "anna".into(),
            from: "/mnt".into(),
            sequence: 1,
            until: self.world.clock.now(),
            journal: *self.journal.durable().borrow(),
        };
        self.ledger.append(Entry::Restored(restored)).await.unwrap();
    }

    async fn redeliver(&self, trace: TraceId, to: &str) {
        let position = self.journal.reader().find(trace).unwrap().unwrap().position;
        let act = QueueAct {
            at: self.world.clock.now(),
            by: "anna".into(),
            reason: "its disk died".into(),
            act: Act::Redeliver { position },
            trace: Some(trace),
            recipient: Some(address(to)),
            destination: Some(Destination::Primary(office())),
        };
        self.ledger.append(Entry::QueueAct(act)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_restoring_what_was_handed_over_since_the_backup_is_found_and_the_rest_is_sent() {
    let mut house = House::new();
    let life = house.live();
    life.pause(true).await;
    let there = life.accept(mail(&["anna@x.example"], "there")).await;
    let lost = life.accept(mail(&["bert@x.example"], "lost")).await;
    sleep(SECOND).await;
    let backup = copied(&house.disk);
    life.pause(false).await;
    life.settle_down(20 * SECOND).await;
    assert_eq!(house.office().dots(), 2);
    life.kill().await;
    // The machine is gone, and the primary has lost one of them.
    house.office().lose("lost");
    house.disk = backup;
    let life = house.live();
    life.is_restored().await;
    life.kill().await;
    for patience in [2, 60] {
        // The primary is asked, however often we start.
        let life = house.live();
        life.pause(false).await;
        life.settle_down(patience * SECOND).await;
        if patience > 2 {
            assert_eq!(life.outcomes(there), ["anna seen 0"]);
            assert_eq!(life.outcomes(lost), ["bert over 1"]);
        }
        life.kill().await;
    }
    assert_eq!((house.office().dots(), house.office().subjects()), (3, vec!["there".into(), "lost".into()]));
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_after_a_restoring_is_not_asked_about() {
    let mut house = House::new();
    let life = house.live();
    life.is_restored().await;
    life.kill().await;
    let life = house.live();
    life.pause(true).await;
    let trace = life.accept(mail(&["anna@x.example"], "new")).await;
    sleep(SECOND).await;
    life.kill().await;
    let life = house.live();
    life.pause(false).await;
    life.settle_down(20 * SECOND).await;
    assert_eq!((life.outcomes(trace), *life.looker.asked.lock().unwrap()), (vec!["anna over 1".into()], 0));
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn told_later_after_a_restoring_it_is_tried_again_without_being_asked_about_twice() {
    let mut house = House::new();
    let life = house.live();
    life.pause(true).await;
    let trace = life.accept(mail(&["anna@x.example"], "later")).await;
    life.is_restored().await;
    life.kill().await;
    house.office().mood(|mood| mood.dot = Dot::Says("451 4.3.0 not now".into()));
    let life = house.live();
    life.pause(false).await;
    life.settle_down(20 * SECOND).await;
    assert_eq!(life.outcomes(trace).first().unwrap(), "anna deferred 1");
    life.kill().await;
    house.office().mood(|mood| mood.dot = Dot::Takes);
    let life = house.live();
    life.settle_down(60 * SECOND).await;
    assert_eq!((house.office().stored().len(), *life.looker.asked.lock().unwrap()), (1, 0));
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_primary_lost_is_handed_over_again_once_and_what_it_has_is_not() {
    for dies in [false, true] {
        let mut house = House::new();
        let mut life = house.live();
        let there = life.accept(mail(&["anna@x.example"], "there")).await;
        let lost = life.accept(mail(&["bert@x.example", "anna@x.example"], "lost")).await;
        life.settle_down(20 * SECOND).await;
        let dots = house.office().dots();
        house.office().lose("lost");
        for _ in 0..2 {
            life.redeliver(there, "anna@x.example").await;
            life.redeliver(lost, "bert@x.example").await;
            if dies {
                life.kill().await;
                life = house.live();
            }
            sleep(60 * SECOND).await;
        }
        assert_eq!(house.office().dots(), dots + 1, "dies: {dies}");
        let stored = house.office().stored();
        let again: Vec<_> = stored.iter().filter(|stored| stored.content.contains("Subject: lost")).collect();
        assert_eq!((again.len(), again[0].to.clone()), (1, vec!["bert@x.example".to_owned()]));
        assert_eq!(life.outcomes(there), ["anna over 1", "anna seen 1", "anna seen 1"]);
        let of_bert: Vec<_> =
            life.outcomes(lost).into_iter().filter(|outcome| outcome.starts_with("bert")).collect();
        assert_eq!(of_bert, ["bert over 1", "bert over 2", "bert seen 2"]);
        life.kill().await;
        let life = house.live();
        sleep(60 * SECOND).await;
        assert_eq!((house.office().dots(), life.view.counts().recipients), (dots + 1, 0));
        life.stop().await;
    }
}
