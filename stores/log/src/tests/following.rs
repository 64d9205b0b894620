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

/// A file of which only the beginning is there until somebody has read up to its end: its writer was in the middle.
struct HalfWritten {
    content: Vec<u8>,
    seen: std::sync::Mutex<usize>,
}

impl words_world::DiskFile for HalfWritten {
    fn append(&self, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<usize> {
        let mut seen = self.seen.lock().unwrap();
        let from = (offset as usize).min(*seen);
        let to = (from + into.len()).min(*seen);
        into[..to - from].copy_from_slice(&self.content[from..to]);
        if to == *seen {
            *seen = self.content.len();
        }
        Ok(to - from)
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(*self.seen.lock().unwrap() as u64)
    }
}

#[test]
fn a_record_that_was_being_written_when_it_was_looked_at_is_not_taken_for_damage() {
    use crate::segment::{Step, Walk};
    let house = House::new(7);
    house.with(|log| async move {
        for n in 0..6 {
            log.append(draft(&format!("message {n}"))).await.unwrap();
        }
    });
    let content = house.disk.content(&house.segment(1)).unwrap();
    let Ok(segment) = house.reader().segment(1) else { panic!("the segment opens") };
    for cut in crate::header::HEADER_LEN + 1..content.len() {
        let file = HalfWritten { content: content.clone(), seen: std::sync::Mutex::new(cut) };
        let mut walk = Walk::new(&segment.header, 0);
        let mut frames = 0;
        // The end may be met once, in the middle of the writing; then the rest is there.
        for _ in 0..40 {
            match walk.next(&file).unwrap() {
                Step::Frame(_) => frames += 1,
                Step::Damage { from, to } => panic!("cut at {cut}: {from} to {to} was taken for damage"),
                Step::End { from, .. } => walk.at = from,
            }
        }
        let whole = Walk::new(&segment.header, 0);
        assert_eq!(frames, count(whole, &*segment.file), "cut at {cut}");
    }
}

fn count(mut walk: crate::segment::Walk, file: &dyn words_world::DiskFile) -> usize {
    let mut frames = 0;
    while let crate::segment::Step::Frame(_) = walk.next(file).unwrap() {
        frames += 1;
    }
    frames
}
