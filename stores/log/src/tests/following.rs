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
fn a_tail_that_is_being_written_counts_only_once_its_writer_is_gone() {
    let house = House::new(2);
    let tail = |alone| house.reader().durable_tail(alone).unwrap();
    assert_eq!(tail(true), Position::default(), "there is no log yet");
    let first = house.with(|log| async move { log.append(draft("first")).await.unwrap() });
    let second = house.with(|log| async move {
        log.append(draft("second")).await.unwrap();
        log.append(draft("third")).await.unwrap()
    });
    // The header of the last segment says where the log ended before it.
    assert_eq!(tail(false), first.next);
    assert_eq!(tail(true), second.next);
    house.with(|log| async move {
        log.append(draft("fourth")).await.unwrap();
        log.roll().await.unwrap();
        log.seal_pending().unwrap();
        // A sealed segment is closed, so all of it counts.
        assert!(tail(false) > second.next);
    });
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
    let counted = house.reader().durable_tail(true).unwrap();
    assert!(counted > Position::default());
    house.disk.restart();
    assert_eq!(house.records().len(), 1);
}
