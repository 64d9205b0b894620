//! Sealing, erasing, collecting.

use super::*;

fn erasure(keep_meta: bool) -> Erasure {
    Erasure { who: "anna".into(), why: "a person asked for it".into(), keep_meta }
}

/// Text that compresses well.
fn long_draft(n: usize) -> Draft {
    Draft {
        kind: (n % 3) as u8 + 1,
        meta: format!("{{\"n\":{n}}}").into_bytes(),
        body: Body::Inline(format!("line {n} of a very repetitive message\r\n").repeat(50).into_bytes()),
    }
}

#[test]
fn positions_given_out_before_sealing_stay_good() {
    let mut house = House::new(1);
    house.options.seal_bytes = 100_000;
    let positions = house.with(|log| async move {
        let mut positions = Vec::new();
        for n in 0..300 {
            positions.push(log.append(long_draft(n)).await.unwrap().position);
        }
        positions
    });
    let before = house.records();
    let (used, reader) = (house.disk.used(), house.reader());
    let first = reader.read(positions[0]).unwrap();
    let (log, _writer, _) = house.open();
    let sealed = log.seal_pending().unwrap();
    assert!(sealed.segments >= 5 && sealed.left == 0, "{sealed:?}");
    assert!(house.disk.used() * 3 < used, "{used} bytes became {}", house.disk.used());
    assert_eq!(log.seal_pending().unwrap(), Sealed::default(), "sealed once is sealed");
    assert_eq!(house.records(), before);
    for (n, position) in positions.iter().enumerate() {
        // The first reader remembers nothing of before that would mislead it.
        for reader in [&reader, &house.reader()] {
            let record = reader.read(*position).unwrap();
            assert_eq!(record, before[n]);
            assert_eq!(
                body(reader, &record).len(),
                first.body.len() as usize + 50 * (n.to_string().len() - 1)
            );
        }
        let from_here: Vec<u64> = reader.scan(Some(*position)).map(|r| r.unwrap().seq).collect();
        assert_eq!(from_here, (n as u64 + 1..=300).collect::<Vec<u64>>());
    }
    assert!(reader.verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_scan_under_way_goes_on_while_its_segment_is_sealed() {
    let mut house = House::new(2);
    house.options.seal_bytes = 50_000;
    house.with(|log| async move {
        for n in 0..100 {
            log.append(long_draft(n)).await.unwrap();
        }
        let mut scan = log.reader().scan_durable(None);
        let mut seqs: Vec<u64> = scan.by_ref().take(7).map(|r| r.unwrap().seq).collect();
        log.roll().await.unwrap();
        log.seal_pending().unwrap();
        for n in 100..120 {
            log.append(long_draft(n)).await.unwrap();
        }
        seqs.extend(scan.map(|r| r.unwrap().seq));
        assert_eq!(seqs, (1..=120).collect::<Vec<u64>>());
    });
}

#[test]
fn what_is_erased_is_gone_and_the_chain_still_holds() {
    let house = House::new(3);
    let secret = b"a very private sentence";
    let position = house.with(|log| async move {
        log.append(draft("before")).await.unwrap();
        let draft = Draft { kind: 7, meta: secret.to_vec(), body: Body::Inline(secret.to_vec()) };
        let position = log.append(draft).await.unwrap().position;
        log.append(super::draft("after")).await.unwrap();
        let erased = log.erase(&[position], &erasure(false)).await.unwrap();
        assert_eq!(erased, Erased { records: 1, bodies: 0 });
        assert_eq!(log.erase(&[position], &erasure(false)).await.unwrap().records, 0, "once");
        log.append(super::draft("and on")).await.unwrap();
        position
    });
    let reader = house.reader();
    let record = reader.read(position).unwrap();
    assert!(record.meta.is_empty() && record.body.is_empty());
    let tombstone = record.erased.as_ref().unwrap();
    assert_eq!((tombstone.who.as_str(), tombstone.why.as_str()), ("anna", "a person asked for it"));
    assert_eq!(house.records().len(), 4);
    let verified = reader.verify(&mut |_| {}).unwrap();
    assert!(verified.is_clean() && verified.erased == 1 && verified.records == 3, "{verified:?}");
}

#[test]
fn collecting_a_settled_message_keeps_what_is_told_about_it() {
    let house = House::new(4);
    let (position, next) = house.with(|log| async move {
        let mut writer = log.begin_body().await.unwrap();
        writer.write(&vec![9; 500_000]).await.unwrap();
        let stored = writer.finish().await.unwrap();
        let draft = Draft { kind: 7, meta: b"who and when".to_vec(), body: Body::File(stored) };
        let appended = log.append(draft).await.unwrap();
        let erased = log.erase(&[appended.position], &erasure(true)).await.unwrap();
        assert_eq!(erased, Erased { records: 1, bodies: 1 });
        (appended.position, appended.next)
    });
    let record = house.reader().read(position).unwrap();
    assert_eq!((record.meta.as_slice(), record.body.len(), record.next), (&b"who and when"[..], 0, next));
    assert!(record.erased.is_some());
    assert!(!house.disk.paths().iter().any(|path| path.to_string_lossy().ends_with(".body")));
    assert!(house.reader().verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn collected_kinds_leave_one_small_mark_for_many_records() {
    let mut house = House::new(5);
    house.options.seal_bytes = 200_000;
    let positions = house.with(|log| async move {
        let mut positions = Vec::new();
        for n in 0..300 {
            let kind = if n % 50 == 0 { 2 } else { 1 };
            let draft = Draft { kind, meta: vec![b'x'; 1_000], body: Body::None };
            positions.push(log.append(draft).await.unwrap().position);
        }
        positions
    });
    let before = house.records();
    let (log, _writer, _) = house.open();
    let long_ago = Time::from_seconds(1);
    assert_eq!(log.collect(long_ago, &|kind| kind == 2).unwrap().records, 0, "nothing is that old");
    let now = Time::from_seconds(2_000_000);
    assert_eq!(log.collect(now, &|kind| kind == 2).unwrap().records, 294);
    assert_eq!(log.collect(now, &|kind| kind == 2).unwrap().records, 0, "once");
    let after = house.records();
    assert_eq!(after, before.iter().filter(|r| r.kind == 2).cloned().collect::<Vec<Record>>());
    assert!(house.disk.used() < 15_000, "{} bytes", house.disk.used());
    assert_eq!(house.reader().scan(Some(positions[51])).map(|r| r.unwrap().seq).next(), Some(101));
    assert!(matches!(house.reader().read(positions[51]), Err(ReadError::NoRecord(_))));
    let verified = house.reader().verify(&mut |_| {}).unwrap();
    assert!(verified.is_clean() && verified.collected == 294 && verified.records == 6, "{verified:?}");
    assert_eq!(verified.last_seq, 300);
}

#[test]
fn an_old_segment_is_closed_and_the_sealer_seals_it() {
    let house = House::new(6);
    let reader = house.reader();
    house.with(|log| async move {
        let (stop, shutdown) = watch::channel(false);
        let work = async {
            log.append(draft("x")).await.unwrap();
            tokio::time::sleep(Duration::from_secs(50)).await;
            assert!(!reader.segment(1).ok().unwrap().header.rewritten);
            tokio::time::sleep(Duration::from_secs(15)).await;
            assert!(
                reader.segment(1).ok().unwrap().header.rewritten,
                "sealed a minute after its first record"
            );
            stop.send_replace(true);
        };
        tokio::join!(work, log.sealer().run(shutdown));
    });
}

#[test]
fn bodies_that_nothing_refers_to_are_removed_and_others_stay() {
    let house = House::new(7);
    let disk = house.disk.clone();
    house.with(|log| async move {
        for kept in [true, false, true, false] {
            let mut writer = log.begin_body().await.unwrap();
            writer.write(&vec![1; 70_000]).await.unwrap();
            let stored = writer.finish().await.unwrap();
            if kept {
                let draft = Draft { kind: 1, meta: vec![], body: Body::File(stored) };
                log.append(draft).await.unwrap();
            } else {
                // As after a crash between body and record.
                std::mem::forget(stored);
            }
        }
        disk.power_off();
    });
    house.disk.restart();
    let bodies = || house.disk.paths().iter().filter(|p| p.to_string_lossy().ends_with(".body")).count();
    assert_eq!(bodies(), 4);
    let (log, _writer, _) = house.open();
    log.seal_pending().unwrap();
    assert_eq!(bodies(), 2);
    assert!(house.reader().verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn bodies_stay_while_a_range_of_the_log_cannot_be_read() {
    let house = House::new(8);
    let disk = house.disk.clone();
    house.with(|log| async move {
        let mut writer = log.begin_body().await.unwrap();
        writer.write(&vec![1; 70_000]).await.unwrap();
        let draft = Draft { kind: 1, meta: vec![], body: Body::File(writer.finish().await.unwrap()) };
        log.append(draft).await.unwrap();
        log.append(super::draft("x")).await.unwrap();
        disk.power_off();
    });
    house.disk.restart();
    house.disk.flip(&house.segment(1), 8 * 1_200);
    let (log, _writer, recovery) = house.open();
    assert!(recovery.tail_doubtful);
    log.seal_pending().unwrap();
    assert!(house.disk.paths().iter().any(|p| p.to_string_lossy().ends_with(".body")));
    // Nor is the doubtful segment written anew.
    assert!(!house.reader().segment(1).ok().unwrap().header.rewritten);
}
