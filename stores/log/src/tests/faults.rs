//! Disks that refuse, and disks that are full.

use super::*;

#[test]
fn a_failed_sync_is_not_believed_again() {
    let house = House::new(1);
    let disk = house.disk.clone();
    house.with(|log| async move {
        let good = log.append(draft("good")).await.unwrap();
        assert_eq!(good.seq, 1);
        disk.fail_sync(0);
        let batch: Vec<Pending> = (0..10).map(|n| log.enqueue(draft(&n.to_string())).unwrap()).collect();
        for one in batch {
            assert_eq!(one.await, Err(AppendError::Failed), "the whole batch hears it");
        }
        assert!(matches!(log.health(), LogHealth::Failed(_)));
        // The disk would say yes from now on, as a real one does.
        let before = disk.counts();
        assert_eq!(log.append(draft("later")).await, Err(AppendError::Failed));
        assert_eq!(disk.counts(), before, "the file is not touched again");
        assert_eq!(log.begin_body().await.map(drop), Err(AppendError::Failed));
        assert_eq!(*log.durable().borrow(), good.next);
    });
    house.disk.restart();
    let records = house.records();
    assert_eq!(records[0].seq, 1);
    house.with(|log| async move { log.append(draft("after the restart")).await.unwrap() });
}

#[test]
fn what_a_failed_sync_gave_up_is_not_believed_after_a_restart_without_a_power_cut() {
    let house = House::new(5);
    let disk = house.disk.clone();
    let good = house.with(|log| async move {
        let good = log.append(draft("good")).await.unwrap();
        disk.fail_sync(0);
        assert_eq!(log.append(draft("given up")).await, Err(AppendError::Failed));
        good
    });
    // Only the program ends: the system still shows the bytes, and would sync them with success.
    house.disk.kill_process();
    let (log, writer, recovery) = house.open();
    assert!(recovery.tail_doubtful);
    assert_eq!((recovery.last_seq, recovery.end), (good.seq, good.next));
    drop((log, writer));
    house.disk.kill_process();
    house.with(|log| async move { log.append(draft("after the restart")).await.unwrap() });
    house.disk.restart();
    let bodies: Vec<Vec<u8>> = house.records().iter().map(|record| body(&house.reader(), record)).collect();
    assert_eq!(bodies, [b"body of good".to_vec(), b"body of after the restart".to_vec()]);
}

#[test]
fn a_failed_write_closes_the_log() {
    let house = House::new(2);
    let disk = house.disk.clone();
    house.with(|log| async move {
        log.append(draft("good")).await.unwrap();
        disk.fail_append(0);
        assert_eq!(log.append(draft("bad")).await, Err(AppendError::Failed));
        assert!(matches!(log.health(), LogHealth::Failed(_)));
    });
}

#[test]
fn a_failed_sync_of_a_body_closes_the_log() {
    let house = House::new(3);
    let disk = house.disk.clone();
    house.with(|log| async move {
        let mut body = log.begin_body().await.unwrap();
        body.write(&[1; 10]).await.unwrap();
        disk.fail_sync(0);
        assert_eq!(body.finish().await.map(drop), Err(AppendError::Failed));
        assert!(matches!(log.health(), LogHealth::Failed(_)));
    });
}

#[test]
fn the_reserve_is_kept_and_the_log_recovers_by_itself() {
    let mut house = House::new(4);
    house.options.reserve_bytes = 50_000;
    house.options.batch_bytes = 10_000;
    let disk = house.disk.clone();
    house.with(|log| async move {
        disk.set_capacity(Some(100_000));
        let mut stored = 0;
        let refused = loop {
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            match log.append(Draft { kind: 1, meta: vec![b' '; 2_000], body: Body::None }).await {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refused, AppendError::NoSpace);
        assert!((15..25).contains(&stored), "{stored} records were stored");
        assert!(disk.used() <= 50_000 && log.health() == LogHealth::NoSpace);
        assert_eq!(log.begin_body().await.map(drop), Err(AppendError::NoSpace));
        disk.set_capacity(Some(300_000));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(log.health(), LogHealth::Open, "nobody had to ask");
        log.append(draft("there is room")).await.unwrap();
    });
    assert!(house.reader().verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_disk_that_fills_up_in_the_middle_of_a_write_stores_nothing_of_it() {
    for free in [0, 1, 100, 1_000, 1_500, 2_500, 3_000] {
        let house = House::new(free);
        let disk = house.disk.clone();
        let kept = house.with(|log| async move {
            let mut kept = vec![log.append(draft("before")).await.unwrap()];
            disk.set_capacity(Some(disk.used() + free));
            // The free space is asked for once a second, so the log does not know yet.
            let batch: Vec<Pending> = (0..20).map(|n| log.enqueue(draft(&n.to_string())).unwrap()).collect();
            for one in batch {
                assert_eq!(one.await, Err(AppendError::NoSpace));
            }
            disk.set_capacity(None);
            tokio::time::sleep(Duration::from_secs(2)).await;
            let after = log.append(draft("after")).await.unwrap();
            assert_eq!(after.seq, kept[0].seq + 1, "the numbers of the refused are used again");
            kept.push(after);
            let here: Vec<u64> = log.reader().scan_durable(None).map(|r| r.unwrap().seq).collect();
            assert_eq!(here, [1, 2]);
            kept
        });
        let found: Vec<Position> = house.records().iter().map(|record| record.position).collect();
        assert_eq!(found, kept.iter().map(|k| k.position).collect::<Vec<_>>(), "{free} bytes were free");
        let (log, _writer, _) = house.open();
        log.seal_pending().unwrap();
        assert_eq!(house.records().len(), 2, "after sealing, with {free} bytes free");
        let verified = house.reader().verify(&mut |_| {}).unwrap();
        assert!(verified.is_clean(), "{:?}", verified.problems);
    }
}

#[test]
fn a_full_queue_says_busy_and_forgets_nothing() {
    let mut house = House::new(5);
    house.options.queue_max = 100;
    house.with(|log| async move {
        let taken: Vec<Pending> = (0..100).map(|n| log.enqueue(draft(&n.to_string())).unwrap()).collect();
        assert_eq!(log.enqueue(draft("one more")).map(drop), Err(AppendError::Busy));
        for one in taken {
            one.await.unwrap();
        }
        log.append(draft("now")).await.unwrap();
    });
    assert_eq!(house.records().len(), 101);
}

#[test]
fn too_many_open_bodies_say_busy_and_an_abandoned_one_leaves_no_file() {
    let mut house = House::new(6);
    house.options.bodies_max = 2;
    house.with(|log| async move {
        let mut one = log.begin_body().await.unwrap();
        let two = log.begin_body().await.unwrap();
        assert_eq!(log.begin_body().await.map(drop), Err(AppendError::Busy));
        one.write(&vec![7; 600_000]).await.unwrap();
        drop(one);
        let three = log.begin_body().await.unwrap();
        drop(three.finish().await.unwrap());
        drop(two);
    });
    let left: Vec<PathBuf> =
        house.disk.paths().into_iter().filter(|p| p.to_string_lossy().contains("body")).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn a_writer_that_is_gone_leaves_nobody_waiting() {
    let house = House::new(7);
    run(async {
        let (log, writer, _) = house.open();
        let waiting = log.enqueue(draft("x")).unwrap();
        drop(writer);
        assert_eq!(waiting.await, Err(AppendError::Closed));
        assert_eq!(log.enqueue(draft("y")).map(drop), Err(AppendError::Closed));
    });
}
