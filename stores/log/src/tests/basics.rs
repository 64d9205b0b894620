use super::*;

#[test]
fn what_was_appended_is_read_back_byte_for_byte() {
    let house = House::new(1);
    let appended = house.with(|log| async move {
        let mut appended = Vec::new();
        for n in 0..100 {
            appended.push(log.append(draft(&format!("message {n}"))).await.unwrap());
        }
        appended
    });
    let reader = house.reader();
    let records = house.records();
    assert_eq!(records.len(), 100);
    for (n, (record, appended)) in records.iter().zip(&appended).enumerate() {
        assert_eq!((record.seq, record.position), (n as u64 + 1, appended.position));
        assert_eq!(record.next, appended.next);
        assert_eq!(record.meta, format!("{{\"n\":\"message {n}\"}}").into_bytes());
        assert_eq!(body(&reader, record), format!("body of message {n}").into_bytes());
        assert_eq!(&reader.read(appended.position).unwrap(), record);
        let (same, mut its_body) = reader.read_with_body(appended.position).unwrap();
        let mut bytes = Vec::new();
        its_body.read_to_end(&mut bytes).unwrap();
        assert_eq!((&same, bytes, its_body.len()), (record, body(&reader, record), record.body.len()));
    }
}

#[test]
fn a_batch_costs_one_write_and_one_sync() {
    let house = House::new(2);
    let disk = house.disk.clone();
    house.with(|log| async move {
        log.append(draft("the first, which makes the segment")).await.unwrap();
        let before = disk.counts();
        let pending: Vec<Pending> = (0..500).map(|n| log.enqueue(draft(&n.to_string())).unwrap()).collect();
        for one in pending {
            one.await.unwrap();
        }
        let after = disk.counts();
        assert_eq!((after.appends - before.appends, after.syncs - before.syncs), (1, 1));
        assert_eq!(after.dir_syncs, before.dir_syncs);
    });
}

#[test]
fn a_log_opened_again_goes_on_in_a_new_segment() {
    let house = House::new(3);
    for start in 0..4 {
        let appended = house.with(|log| async move { log.append(draft("x")).await.unwrap() });
        assert_eq!((appended.seq, appended.position.segment), (start + 1, start + 1));
    }
    let seqs: Vec<u64> = house.records().iter().map(|r| r.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
}

#[test]
fn a_long_body_lives_in_a_file_of_its_own() {
    let house = House::new(4);
    for len in [0usize, 1, 65_535, 65_536, 65_537, 262_144, 262_145, 5_000_000] {
        let bytes: Vec<u8> = (0..len).map(|n| (n * 31 + n / 977) as u8).collect();
        let given = bytes.clone();
        let position = house.with(|log| async move {
            let mut writer = log.begin_body().await.unwrap();
            for piece in given.chunks(100_001) {
                writer.write(piece).await.unwrap();
            }
            let stored = writer.finish().await.unwrap();
            assert_eq!((stored.len(), stored.hash()), (len as u64, *blake3::hash(&given).as_bytes()));
            let draft = Draft { kind: 1, meta: b"{}".to_vec(), body: Body::File(stored) };
            log.append(draft).await.unwrap().position
        });
        let reader = house.reader();
        let record = reader.read(position).unwrap();
        assert_eq!(record.body.len(), len as u64);
        assert_eq!(body(&reader, &record), bytes, "{len} bytes");
    }
}

#[test]
fn a_lazy_record_waits_for_company_but_not_long() {
    let house = House::new(5);
    house.with(|log| async move {
        let mut durable = log.durable();
        log.append_lazy(draft("lazy"));
        let begun = tokio::time::Instant::now();
        durable.changed().await.unwrap();
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(50) && waited < Duration::from_millis(60), "{waited:?}");
    });
    assert_eq!(house.records().len(), 1);
}

#[test]
fn a_record_in_no_hurry_waits_a_moment_and_rides_with_one_that_is() {
    let house = House::new(6);
    house.with(|log| async move {
        let begun = tokio::time::Instant::now();
        let (one, two) = tokio::join!(log.append_soon(draft("one")), log.append_soon(draft("two")));
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(5) && waited < Duration::from_millis(10), "{waited:?}");
        assert_eq!((one.unwrap().seq, two.unwrap().seq), (1, 2));
        assert_eq!(log.counts().syncs, 1);
        // An earlier time counts, whoever came first.
        log.append_lazy(draft("lazy"));
        let begun = tokio::time::Instant::now();
        log.append_soon(draft("soon")).await.unwrap();
        assert!(begun.elapsed() < Duration::from_millis(10));
        let begun = tokio::time::Instant::now();
        let (soon, now) = tokio::join!(log.append_soon(draft("soon")), log.append(draft("now")));
        assert_eq!((soon.unwrap().seq, now.unwrap().seq), (5, 6));
        assert_eq!((begun.elapsed(), log.counts().syncs), (Duration::ZERO, 3));
    });
    assert_eq!(house.records().len(), 6);
}

#[test]
fn a_record_read_with_its_body_is_the_same_whatever_its_length() {
    let house = House::new(5);
    for len in [0usize, 1, 7_000, 8_100, 8_192, 20_000, 300_000] {
        let bytes: Vec<u8> = (0..len).map(|n| (n * 7 + n / 13) as u8).collect();
        let draft = Draft { kind: 3, meta: b"{}".to_vec(), body: Body::Inline(bytes.clone()) };
        let position = house.with(|log| async move { log.append(draft).await.unwrap() }).position;
        let reader = house.reader();
        let (record, mut its_body) = reader.read_with_body(position).unwrap();
        let mut read = Vec::new();
        its_body.read_to_end(&mut read).unwrap();
        assert!(read == bytes && record == reader.read(position).unwrap(), "{len}");
        let beside = Position { offset: position.offset + 1, ..position };
        assert!(reader.read_with_body(beside).is_err());
    }
}
