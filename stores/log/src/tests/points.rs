//! Every named crash point, one after the other, and the page that lists them.

use super::*;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use words_world::on_crash_point;

/// Passes through everything that has a crash point; what was acknowledged.
async fn everything(house: &House) -> Vec<Appended> {
    let mut acknowledged = Vec::new();
    let Ok((log, writer, _)) = Log::open(&house.world, keys(), house.options.clone()) else {
        return acknowledged;
    };
    let (stop, shutdown) = watch::channel(false);
    let work = async {
        for round in 0..3 {
            let mut body = log.begin_body().await.ok();
            if let Some(writer) = &mut body {
                let _ = writer.write(&vec![round; 300_000]).await;
            }
            let stored = match body {
                Some(writer) => writer.finish().await.ok(),
                None => None,
            };
            acknowledged.extend(log.append(draft("short")).await);
            if let Some(stored) = stored {
                let draft = Draft { kind: 7, meta: b"{}".to_vec(), body: Body::File(stored) };
                acknowledged.extend(log.append(draft).await);
            }
            let _ = log.roll().await;
            let _ = log.seal_pending();
            if let Some(last) = acknowledged.pop() {
                let erasure = Erasure { who: "test".into(), why: "asked".into(), keep_meta: true };
                let _ = log.erase(&[last.position], &erasure).await;
            }
        }
        stop.send_replace(true);
    };
    tokio::join!(work, writer.run(shutdown));
    acknowledged
}

/// A log with a body that no record refers to, so that there is something to sweep.
fn house_with_an_orphan(seed: u64) -> House {
    let house = House::new(seed);
    let disk = house.disk.clone();
    house.with(|log| async move {
        log.append(draft("before")).await.unwrap();
        let mut writer = log.begin_body().await.unwrap();
        writer.write(&vec![1; 100_000]).await.unwrap();
        std::mem::forget(writer.finish().await.unwrap());
        disk.power_off();
    });
    house.disk.restart();
    house
}

#[test]
fn a_crash_at_every_named_point_loses_nothing_acknowledged() {
    let names: Arc<Mutex<BTreeSet<&'static str>>> = Arc::default();
    let seen = names.clone();
    on_crash_point(false, move |name| {
        seen.lock().unwrap().insert(name);
    });
    run(everything(&house_with_an_orphan(1)));
    on_crash_point(false, |_| {});
    let names = names.lock().unwrap().clone();
    assert_eq!(names, points_in_the_source(), "a crash point is never passed by this test");
    for name in names {
        for nth in 0..3 {
            let house = house_with_an_orphan(nth);
            let (disk, passed) = (house.disk.clone(), AtomicU64::new(0));
            on_crash_point(false, move |at| {
                if at == name && passed.fetch_add(1, Ordering::Relaxed) == nth {
                    disk.power_off();
                }
            });
            let acknowledged = run(everything(&house));
            on_crash_point(false, |_| {});
            house.disk.restart();
            let (log, writer, _) = house.open();
            log.seal_pending().unwrap();
            drop((log, writer));
            let reader = house.reader();
            for appended in acknowledged {
                let record = reader.read(appended.position).unwrap();
                assert_eq!(record.seq, appended.seq, "{name}, {nth}");
                assert!(!body(&reader, &record).is_empty(), "{name}, {nth}");
            }
            let verified = reader.verify(&mut |_| {}).unwrap();
            let faults: Vec<&Problem> =
                verified.problems.iter().filter(|p| !matches!(p, Problem::Tail(_))).collect();
            assert!(faults.is_empty(), "{name}, {nth}: {faults:?}");
        }
    }
}

#[test]
fn every_crash_point_is_in_the_list_of_crash_states() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/crash-states.md")).unwrap();
    for name in points_in_the_source() {
        assert!(page.contains(&format!("`{name}`")), "docs/crash-states.md does not list {name}");
    }
}

/// Everything in quotes in the production code that looks like the name of a crash point.
fn points_in_the_source() -> BTreeSet<&'static str> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text: &'static str = Box::leak(std::fs::read_to_string(path).unwrap().into_boxed_str());
        let quoted = text.split('"').filter(|part| part.starts_with("log.") && !part.contains(' '));
        names.extend(quoted);
    }
    names
}
