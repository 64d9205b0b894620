//! A log read by a process that does not write it.

use super::*;

#[test]
fn a_follower_is_given_what_the_writer_stated_and_nothing_beyond() {
    let house = House::new(1);
    let mut at = Vec::new();
    for n in 0..3 {
        at.push(house.with(|log| async move { log.append(draft(&n.to_string())).await.unwrap() }));
    }
    let (state, durable) = watch::channel(Position::default());
    let reader = Reader::following(&house.world, keys(), &house.options.dir, LogKind::Journal, durable);
    let mut scan = reader.scan_durable(None);
    assert!(scan.next().is_none(), "nothing was stated yet");
    for one in &at {
        state.send_replace(one.next);
        assert_eq!(scan.next().unwrap().unwrap().seq, one.seq);
        assert!(scan.next().is_none());
    }
}

#[test]
fn the_tail_of_a_log_that_nobody_writes_is_all_of_it() {
    let house = House::new(2);
    let tail = || house.reader().durable_tail().unwrap();
    assert_eq!(tail(), Position::default(), "there is no log yet");
    for _ in 0..2 {
        let last = house.with(|log| async move {
            log.append(draft("one")).await.unwrap();
            log.append(draft("another")).await.unwrap()
        });
        assert_eq!(tail(), last.next);
    }
}

#[test]
fn a_whole_record_that_was_never_synced_survives_power_loss_once_it_counted() {
    let house = House::new(3);
    let disk = house.disk.clone();
    words_world::on_crash_point(false, move |place| {
        if place == "log.after_write" {
            disk.kill_process();
        }
    });
    let answer = house.with(|log| async move { log.append(draft("unsynced")).await });
    words_world::on_crash_point(false, |_| {});
    assert!(answer.is_err(), "the writer died before its sync");
    let counted = house.reader().durable_tail().unwrap();
    assert!(counted > Position::default());
    house.disk.restart();
    assert_eq!(house.records().len(), 1);
}
