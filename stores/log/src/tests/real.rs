//! The real disk and the key file.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;
use words_world::Disk;

fn world() -> World {
    let clock = Arc::new(TestClock::new(Time::from_seconds(1_795_343_827)));
    World { disk: Arc::new(FileDisk), ..fault_world(&FaultDisk::new(0), &clock, 1) }
}

#[test]
fn a_log_on_a_real_disk_is_read_back_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let house = House {
        disk: FaultDisk::new(0),
        world: world(),
        options: LogOptions {
            reserve_bytes: 0,
            ..LogOptions::new(dir.path().join("deep/log"), LogKind::Journal, "node-1")
        },
    };
    let positions = house.with(|log| async move {
        let mut writer = log.begin_body().await.unwrap();
        writer.write(&vec![5; 3_000_000]).await.unwrap();
        let long = Draft { kind: 1, meta: vec![], body: Body::File(writer.finish().await.unwrap()) };
        [log.append(draft("short")).await.unwrap().position, log.append(long).await.unwrap().position]
    });
    let (log, _writer, recovery) = house.open();
    assert!(!recovery.tail_doubtful && recovery.last_seq == 2, "{recovery:?}");
    assert_eq!(log.seal_pending().unwrap().segments, 1);
    let reader = house.reader();
    let record = reader.read(positions[1]).unwrap();
    assert_eq!(body(&reader, &record), vec![5; 3_000_000]);
    assert!(reader.verify(&mut |_| {}).unwrap().is_clean());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&house.segment(1)), 0o600);
    assert_eq!(mode(&house.options.dir), 0o700);
}

#[test]
fn a_directory_is_held_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let held = FileDisk.lock(dir.path()).unwrap();
    let second = FileDisk.lock(dir.path()).map(drop).map_err(|e| e.kind());
    assert_eq!(second, Err(std::io::ErrorKind::WouldBlock));
    drop(held);
    FileDisk.lock(dir.path()).unwrap();
}

#[test]
fn names_listed_and_replaced_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small");
    for content in [&b"one"[..], b"two"] {
        FileDisk.replace(&path, content).unwrap();
        assert_eq!(FileDisk.read(&path).unwrap(), content);
    }
    let names: Vec<String> = FileDisk.list(dir.path()).unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["small"]);
    assert_eq!(
        FileDisk.create(&path).map(drop).map_err(|e| e.kind()),
        Err(std::io::ErrorKind::AlreadyExists)
    );
    assert!(FileDisk.free(dir.path()).unwrap() > 0);
}

#[test]
fn a_key_file_is_made_once_private_and_refused_when_others_can_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let random = SeededRandom::new(1);
    let made = KeyRing::from_file(&path, &random).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = KeyRing::from_file(&path, &SeededRandom::new(2)).unwrap();
    assert_eq!(made.present_id(), again.present_id());
    for open in [0o604, 0o644, 0o660, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
        assert!(matches!(KeyRing::from_file(&path, &random), Err(KeyError::Readable(_))), "{open:o}");
    }
    for closed in [0o400, 0o440, 0o600] {
        fs::set_permissions(&path, fs::Permissions::from_mode(closed)).unwrap();
        KeyRing::from_file(&path, &random).unwrap_or_else(|why| panic!("{closed:o}: {why}"));
    }
    let text = fs::read_to_string(&path).unwrap();
    let base64 = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    fs::write(&path, format!("{base64}\n{text}")).unwrap();
    let rotated = KeyRing::from_file(&path, &random).unwrap();
    assert_eq!(rotated.present_id(), KeyRing::new([1; 32], &[]).present_id());
    for wrong in ["", "# nothing\n", "abc", "é", &"g".repeat(64)] {
        fs::write(&path, wrong).unwrap();
        assert!(KeyRing::from_file(&path, &random).is_err(), "{wrong:?}");
    }
}

/// `cargo test --release -p stores-log -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn measure() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let world = world();
    let options = LogOptions::new(dir.path().join("log"), LogKind::Journal, "node-1");
    for (senders, count) in [(1, 2_000), (20, 20_000), (100, 100_000)] {
        let (log, writer, _) = Log::open(&world, keys(), options.clone()).unwrap();
        let (stop, shutdown) = watch::channel(false);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(writer.run(shutdown));
        });
        let begun = Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut waiting = std::collections::VecDeque::new();
            for n in 0..count {
                let body = Body::Inline(vec![(n % 251) as u8; 4_096]);
                waiting.push_back(log.enqueue(Draft { kind: 1, meta: vec![b'm'; 600], body }).unwrap());
                if waiting.len() == senders {
                    waiting.pop_front().unwrap().await.unwrap();
                }
            }
            for one in waiting {
                one.await.unwrap();
            }
        });
        let taken = begun.elapsed();
        println!("{senders} senders: {:.0} records/s", f64::from(count) / taken.as_secs_f64());
        stop.send_replace(true);
        thread.join().unwrap();
    }
    let begun = Instant::now();
    let (log, _writer, recovery) = Log::open(&world, keys(), options.clone()).unwrap();
    println!("opened {} segments in {:?}", recovery.segments, begun.elapsed());
    let begun = Instant::now();
    println!("scanned {} records in {:?}", log.reader().scan(None).count(), begun.elapsed());
    let begun = Instant::now();
    let sealed = log.seal_pending().unwrap();
    println!("sealed {sealed:?} in {:?}", begun.elapsed());
    let begun = Instant::now();
    println!("scanned {} sealed records in {:?}", log.reader().scan(None).count(), begun.elapsed());
    let begun = Instant::now();
    assert!(log.reader().verify(&mut |_| {}).unwrap().is_clean());
    println!("verified in {:?}", begun.elapsed());
}
