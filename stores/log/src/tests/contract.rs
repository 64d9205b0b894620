//! What any disk has to be good for: one log lived through on the disk in memory and on a real one.

use super::*;
use std::sync::Barrier;

/// Two lives of a log with everything a log can do.
fn contract(world: &World, options: &LogOptions) {
    let house = House { disk: FaultDisk::new(0), world: world.clone(), options: options.clone() };
    let first = house.with(|log| async move {
        let pending: Vec<Pending> = (0..50).map(|n| log.enqueue(draft(&n.to_string())).unwrap()).collect();
        let mut appended = Vec::new();
        for one in pending {
            appended.push(one.await.unwrap());
        }
        let mut writer = log.begin_body().await.unwrap();
        writer.write(&vec![1; 200_000]).await.unwrap();
        let long = Draft { kind: 9, meta: b"{}".to_vec(), body: Body::File(writer.finish().await.unwrap()) };
        appended.push(log.append(long).await.unwrap());
        log.append_lazy(draft("lazy"));
        assert_eq!(log.health(), LogHealth::Open);
        assert_eq!(*log.durable().borrow(), appended[50].next);
        appended
    });
    let second = house.with(|log| async move {
        log.seal_pending().unwrap();
        let erasure = Erasure { who: "anna".into(), why: "asked".into(), keep_meta: false };
        log.erase(&[first[3].position, first[50].position], &erasure).await.unwrap();
        let last = log.append(draft("last")).await.unwrap();
        assert_eq!(last.seq, 53);
        (first, last)
    });
    let (first, last) = second;
    let reader = house.reader();
    let records = house.records();
    assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<u64>>(), (1..=53).collect::<Vec<u64>>());
    for (record, appended) in records.iter().zip(&first) {
        assert_eq!((record.position, record.next), (appended.position, appended.next));
        assert_eq!(record.erased.is_some(), [4, 51].contains(&record.seq));
    }
    assert_eq!(body(&reader, &records[52]), b"body of last");
    assert_eq!(reader.scan(Some(last.position)).count(), 1);
    assert_eq!(reader.scan(None).until(last.position).count(), 52);
    assert_eq!(reader.scan(None).of_kinds(&[9]).count(), 1);
    let verified = reader.verify(&mut |_| {}).unwrap();
    assert!(verified.is_clean() && verified.erased == 2 && verified.bodies == 0, "{verified:?}");
}

#[test]
fn a_log_keeps_its_contract_on_a_disk_in_memory() {
    let house = House::new(1);
    contract(&house.world, &house.options);
}

#[test]
fn a_log_keeps_its_contract_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(1);
    let world = World { disk: Arc::new(FileDisk), ..house.world };
    contract(&world, &LogOptions { dir: dir.path().join("log"), ..house.options });
}

#[test]
fn many_threads_write_and_each_finds_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(1);
    let world = World { disk: Arc::new(FileDisk), ..house.world.clone() };
    let options = LogOptions { dir: dir.path().join("log"), ..house.options.clone() };
    let (log, mut writer, _) = Log::open(&world, keys(), options).unwrap();
    let (stop, shutdown) = watch::channel(false);
    let (bodies, second) = (writer.split_bodies(), shutdown.clone());
    let here = |future: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(future);
        })
    };
    let writers = [here(Box::pin(writer.run(shutdown))), here(Box::pin(bodies.run(second)))];
    let barrier = Arc::new(Barrier::new(4));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (log, barrier) = (log.clone(), barrier.clone());
            here(Box::pin(async move {
                barrier.wait();
                for n in 0..50 {
                    let text = format!("{sender} {n}");
                    let mut long = log.begin_body().await.unwrap();
                    long.write(text.as_bytes()).await.unwrap();
                    let stored = Body::File(long.finish().await.unwrap());
                    let given = Draft { body: stored, ..draft(&text) };
                    let at = log.append(given).await.unwrap().position;
                    let record = log.reader().read(at).unwrap();
                    assert_eq!(body(&log.reader(), &record), text.as_bytes());
                    let at = log.append(draft(&text)).await.unwrap().position;
                    assert_eq!(log.reader().read(at).unwrap().meta, draft(&text).meta);
                }
            }))
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    stop.send_replace(true);
    for writer in writers {
        writer.join().unwrap();
    }
    assert_eq!(log.reader().scan_durable(None).count(), 400);
    assert!(log.reader().verify(&mut |_| {}).unwrap().is_clean());
}
