//! Rot, cuts, wrong keys, two readers.

use super::*;

/// Three segments of records with one long body.
fn house() -> (House, Vec<Record>) {
    let house = House::new(1);
    for _ in 0..3 {
        house.with(|log| async move {
            for n in 0..5 {
                log.append(draft(&format!("message {n}"))).await.unwrap();
            }
        });
    }
    let records = house.records();
    (house, records)
}

#[test]
fn a_single_flipped_bit_is_always_noticed_and_costs_one_record_at_most() {
    let (house, before) = house();
    let path = house.segment(2);
    let len = house.disk.content(&path).unwrap().len();
    for bit in (0..len * 8).step_by(167) {
        house.disk.flip(&path, bit);
        let verified = house.reader().verify(&mut |_| {}).unwrap();
        let in_header = bit < 8 * 1_024;
        assert!(in_header || !verified.is_clean(), "bit {bit} was not noticed");
        let after = house.records();
        // The header is there twice, so a flip in it costs nothing.
        assert!(after.len() >= before.len() - usize::from(!in_header), "bit {bit} cost more than one record");
        assert!(after.iter().all(|record| before.contains(record)), "bit {bit} changed a record");
        house.disk.flip(&path, bit);
    }
    assert!(house.reader().verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_is_noticed() {
    let (house, before) = house();
    let (log, _writer, _) = house.open();
    assert_eq!(log.seal_pending().unwrap().segments, 3);
    let path = house.segment(2);
    let len = house.disk.content(&path).unwrap().len();
    for bit in (8 * 1_024..len * 8).step_by(89) {
        house.disk.flip(&path, bit);
        assert!(!house.reader().verify(&mut |_| {}).unwrap().is_clean(), "bit {bit} was not noticed");
        let reader = house.reader();
        for record in reader.scan(None).flatten() {
            assert!(before.contains(&record), "bit {bit} changed a record");
            let mut bytes = Vec::new();
            if reader.body(&record).is_ok_and(|mut body| body.read_to_end(&mut bytes).is_ok()) {
                assert!(bytes.starts_with(b"body of message "), "bit {bit} changed a body");
            }
        }
        house.disk.flip(&path, bit);
    }
}

#[test]
fn a_flipped_bit_in_a_long_body_is_noticed() {
    let house = House::new(2);
    let position = house.with(|log| async move {
        let mut writer = log.begin_body().await.unwrap();
        writer.write(&vec![3; 150_000]).await.unwrap();
        let draft = Draft { kind: 1, meta: vec![], body: Body::File(writer.finish().await.unwrap()) };
        log.append(draft).await.unwrap().position
    });
    let path = house.disk.paths().into_iter().find(|p| p.to_string_lossy().ends_with(".body")).unwrap();
    let reader = house.reader();
    let record = reader.read(position).unwrap();
    let read = || {
        let mut bytes = Vec::new();
        reader.body(&record).and_then(|mut body| Ok(body.read_to_end(&mut bytes)?))
    };
    assert_eq!(read().unwrap(), 150_000);
    let len = house.disk.content(&path).unwrap().len();
    for bit in (0..len * 8).step_by(16_381) {
        house.disk.flip(&path, bit);
        assert!(read().is_err(), "bit {bit} was not noticed");
        assert_eq!(house.reader().verify(&mut |_| {}).unwrap().problem_count, 1, "bit {bit}");
        house.disk.flip(&path, bit);
    }
    for cut in [0, 100, 511, 512, 66_063, 66_064, len - 17, len - 1] {
        let whole = house.disk.content(&path).unwrap();
        house.disk.truncate(&path, cut);
        assert!(read().is_err(), "cut at {cut}");
        house.disk.put(&path, whole);
    }
    assert_eq!(read().unwrap(), 150_000);
    words_world::Disk::remove(&house.disk, &path).unwrap();
    assert!(matches!(reader.body(&record), Err(ReadError::NoBody(_))));
    let verified = house.reader().verify(&mut |_| {}).unwrap();
    assert!(matches!(verified.problems[..], [Problem::Body { .. }]), "{:?}", verified.problems);
}

#[test]
fn a_tail_cut_anywhere_is_kept_reported_and_not_written_to() {
    let (house, before) = house();
    let path = house.segment(3);
    let whole = house.disk.content(&path).unwrap();
    for cut in (0..whole.len()).step_by(53) {
        house.disk.put(&path, whole[..cut].to_vec());
        let (_log, _writer, recovery) = house.open();
        let complete = house.records().len();
        assert!(complete < before.len() && complete >= 10);
        assert_eq!(recovery.last_seq, complete as u64, "cut at {cut}");
        let torn =
            cut > 1_024 && before.iter().all(|r| r.next.offset != cut as u64 || r.position.segment != 3);
        let doubtful = recovery.tail_doubtful;
        assert_eq!(doubtful, torn, "cut at {cut}: {recovery:?}");
        assert_eq!(house.disk.content(&path).unwrap(), whole[..cut], "nothing is cut off or added");
    }
    house.disk.put(&path, whole[..whole.len() - 1].to_vec());
    house.with(|log| async move { log.append(draft("next")).await.unwrap() });
    let records = house.records();
    assert_eq!((records.len(), records[14].seq, records[14].position.segment), (15, 15, 4));
    let verified = house.reader().verify(&mut |_| {}).unwrap();
    assert!(
        verified.is_clean(),
        "what stands behind the end was never acknowledged: {:?}",
        verified.problems
    );
}

#[test]
fn a_lost_segment_and_a_swapped_one_are_noticed() {
    let (house, _) = house();
    let (two, three) = (house.segment(2), house.segment(3));
    let (second, third) = (house.disk.content(&two).unwrap(), house.disk.content(&three).unwrap());
    words_world::Disk::remove(&house.disk, &two).unwrap();
    let verified = house.reader().verify(&mut |_| {}).unwrap();
    assert_eq!(verified.problems, [Problem::Missing { from: 6, to: 10 }]);
    house.disk.put(&two, third.clone());
    assert!(!house.reader().verify(&mut |_| {}).unwrap().is_clean(), "a segment under another's name");
    house.disk.put(&two, second);
    assert!(house.reader().verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_lost_last_segment_makes_the_tail_doubtful() {
    let (house, _) = house();
    // A crash after the header of a new segment leaves one without records, which names the one before.
    let (disk, header_only) = (house.disk.clone(), house.segment(4));
    words_world::on_crash_point(false, move |name| {
        if name == "log.before_write" {
            disk.power_off();
        }
    });
    house.with(|log| async move {
        assert!(log.append(draft("x")).await.is_err());
    });
    words_world::on_crash_point(false, |_| {});
    house.disk.restart();
    assert!(house.disk.content(&header_only).is_some());
    let (_, _, recovery) = house.open();
    assert_eq!((recovery.tail_doubtful, recovery.last_seq), (false, 15));
    words_world::Disk::remove(&house.disk, &house.segment(3)).unwrap();
    let (_, _, recovery) = house.open();
    assert_eq!((recovery.tail_doubtful, recovery.last_seq), (true, 15));
}

#[test]
fn another_key_reads_nothing_and_a_rotated_ring_reads_everything() {
    let (house, before) = house();
    let other = KeyRing::new([1; 32], &[]);
    let opened = Log::open(&house.world, other.clone(), house.options.clone());
    assert!(matches!(opened.map(drop), Err(LogError::NoKey { .. })));
    let reader = Reader::open(&house.world, other, &house.options.dir, LogKind::Journal).unwrap();
    assert!(matches!(reader.scan(None).next(), Some(Err(ReadError::NoKey))));
    let rotated = KeyRing::new([1; 32], &[KEY]);
    let reader = Reader::open(&house.world, rotated, &house.options.dir, LogKind::Journal).unwrap();
    assert_eq!(reader.scan(None).map(Result::unwrap).collect::<Vec<Record>>(), before);
    let reader = Reader::open(&house.world, keys(), &house.options.dir, LogKind::Ledger).unwrap();
    assert!(matches!(reader.scan(None).next(), Some(Err(ReadError::Foreign))));
}

#[test]
fn nothing_that_was_written_can_be_read_without_a_key() {
    let (house, _) = house();
    for path in house.disk.paths() {
        let bytes = house.disk.content(&path).unwrap();
        assert!(memchr::memmem::find(&bytes, b"message").is_none(), "{}", path.display());
    }
}

#[test]
fn two_readers_follow_a_writer_each_at_its_own_pace() {
    let mut house = House::new(3);
    house.options.seal_bytes = 5_000;
    let world = house.world.clone();
    let dir = house.options.dir.clone();
    house.with(|log| async move {
        let elsewhere = Reader::open(&world, keys(), &dir, LogKind::Journal).unwrap();
        let (mut fast, mut slow) = (log.reader().scan_durable(None), elsewhere.scan(None));
        let (mut by_fast, mut by_slow) = (Vec::new(), Vec::new());
        for n in 0..200 {
            log.append(draft(&n.to_string())).await.unwrap();
            by_fast.extend(fast.by_ref().map(|r| r.unwrap().seq));
            assert_eq!(by_fast.len(), n + 1, "what is durable is there at once");
            if n % 17 == 0 {
                by_slow.extend(slow.by_ref().map(|r| r.unwrap().seq));
            }
            if n % 50 == 0 {
                log.seal_pending().unwrap();
            }
        }
        by_slow.extend(slow.by_ref().map(|r| r.unwrap().seq));
        assert_eq!(by_fast, (1..=200).collect::<Vec<u64>>());
        assert_eq!(by_slow, by_fast);
        assert!(fast.damage().is_empty() && slow.damage().is_empty());
    });
}

#[test]
fn a_reader_elsewhere_stops_before_a_frame_that_is_being_written() {
    let (house, before) = house();
    let path = house.segment(3);
    let whole = house.disk.content(&path).unwrap();
    let mut scan = house.reader().scan(None);
    let mut found = Vec::new();
    for cut in (1_024..=whole.len()).step_by(13).chain([whole.len()]) {
        house.disk.put(&path, whole[..cut].to_vec());
        found.extend(scan.by_ref().map(Result::unwrap));
    }
    assert_eq!(found, before);
    assert!(scan.damage().is_empty());
}

#[test]
fn arbitrary_bytes_in_a_segment_are_passed_over() {
    use proptest::prelude::*;
    let (house, before) = house();
    let path = house.segment(2);
    let whole = house.disk.content(&path).unwrap();
    let strategy = (proptest::collection::vec(any::<u8>(), 0..2_000), 1_024..whole.len());
    proptest!(ProptestConfig::with_cases(64), |((noise, at) in strategy)| {
        let mut bytes = whole[..at].to_vec();
        bytes.extend_from_slice(&noise);
        bytes.extend_from_slice(&whole[at..]);
        house.disk.put(&path, bytes);
        let found = house.records();
        prop_assert!(found.iter().all(|record| before.contains(record)));
        let others = before.iter().filter(|r| r.position.segment != 2);
        prop_assert!(others.into_iter().all(|record| found.contains(record)));
        house.open();
    });
}
