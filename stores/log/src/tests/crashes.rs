//! Lives of a log that end at a random moment with whatever a disk may make of it.

use super::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use words_world::on_crash_point;

/// What somebody outside knows: what was acknowledged, and what was in it.
#[derive(Default)]
struct Memory {
    acknowledged: BTreeMap<u64, (Position, Vec<u8>, Vec<u8>)>,
    erased: BTreeMap<u64, Position>,
    asked: u64,
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }

    fn bytes(&mut self, limit: u64) -> Vec<u8> {
        let (len, first, step) =
            (self.below(limit) as usize, self.below(256) as u8, self.below(255) as u8 + 1);
        let mut bytes = vec![first; len];
        for at in (0..len).step_by(101) {
            bytes[at] = first.wrapping_add(step).wrapping_add(at as u8);
        }
        bytes
    }
}

/// What is wrong, compared with what is remembered; shares nothing with recovery or verifying.
fn check(house: &House, memory: &Memory) -> Result<(), String> {
    let reader = house.reader();
    let mut found = BTreeMap::new();
    let mut last = (0, Position::default());
    for record in reader.scan(None) {
        let record = record.map_err(|e| format!("a scan failed: {e}"))?;
        if record.seq <= last.0 || record.position <= last.1 {
            return Err(format!("record {} at {} comes after {last:?}", record.seq, record.position));
        }
        last = (record.seq, record.position);
        found.insert(record.seq, record);
    }
    for (seq, (position, meta, bytes)) in &memory.acknowledged {
        let record = found.get(seq).ok_or(format!("acknowledged record {seq} is gone"))?;
        if record.position != *position || record.meta != *meta {
            return Err(format!("acknowledged record {seq} is another one"));
        }
        let mut body = Vec::new();
        let read = reader.body(record).and_then(|mut b| Ok(b.read_to_end(&mut body)?));
        if read.is_err() || body != *bytes {
            return Err(format!("the body of acknowledged record {seq} is not what it was: {read:?}"));
        }
        let direct = reader.read(*position).map_err(|e| format!("record {seq} by its position: {e}"))?;
        if direct != *record {
            return Err(format!("record {seq} is another one by its position"));
        }
    }
    for seq in memory.erased.keys() {
        let record = found.get(seq).ok_or(format!("erased record {seq} has no tombstone"))?;
        if record.erased.is_none() || !record.meta.is_empty() || !record.body.is_empty() {
            return Err(format!("erased record {seq} still says something"));
        }
    }
    Ok(())
}

/// One life: random work until the power fails at crash point number `crash_at`.
async fn live(house: &House, memory: &mut Memory, dice: &mut Dice, crash_at: u64) {
    fail_power_at(&house.disk, crash_at);
    let Ok((log, mut writer, _)) = Log::open(&house.world, keys(), house.options.clone()) else { return };
    let (stop, shutdown) = watch::channel(false);
    let bodies = (dice.below(2) == 0).then(|| writer.split_bodies());
    let second = shutdown.clone();
    let body_loop = async move {
        if let Some(bodies) = bodies {
            bodies.run(second).await;
        }
    };
    let work = async {
        for _ in 0..12 {
            if house.disk.is_off() {
                break;
            }
            work(&log, memory, dice).await;
        }
        stop.send_replace(true);
    };
    tokio::join!(work, writer.run(shutdown), body_loop);
}

fn fail_power_at(disk: &FaultDisk, crash_at: u64) {
    let disk = disk.clone();
    let passed = AtomicU64::new(0);
    on_crash_point(false, move |_| {
        if passed.fetch_add(1, Ordering::Relaxed) == crash_at {
            disk.power_off();
        }
    });
}

async fn work(log: &Log, memory: &mut Memory, dice: &mut Dice) {
    match dice.below(8) {
        0 => drop(log.seal_pending()),
        1 => drop(log.roll().await),
        2 => {
            let choice = dice.below(memory.acknowledged.len() as u64 + 1) as usize;
            let Some((seq, (position, ..))) = memory.acknowledged.iter().nth(choice) else { return };
            let (seq, position) = (*seq, *position);
            let erasure = Erasure { who: "test".into(), why: "asked".into(), keep_meta: false };
            let erased = log.erase(&[position], &erasure).await;
            // Half done counts as neither; it is finished or not by a later life.
            memory.acknowledged.remove(&seq);
            if erased.is_ok() {
                memory.erased.insert(seq, position);
            }
        }
        _ => {
            let mut pending = Vec::new();
            for _ in 0..=dice.below(6) {
                memory.asked += 1;
                let meta = format!("{{\"asked\":{}}}", memory.asked).into_bytes();
                let (body, bytes) = if dice.below(5) == 0 {
                    let Ok(mut writer) = log.begin_body().await else { continue };
                    let bytes = dice.bytes(100_000);
                    if writer.write(&bytes).await.is_err() {
                        continue;
                    }
                    if dice.below(6) == 0 {
                        continue;
                    }
                    match writer.finish().await {
                        Ok(stored) => (Body::File(stored), bytes),
                        Err(_) => continue,
                    }
                } else {
                    let bytes = dice.bytes(3_000);
                    (Body::Inline(bytes.clone()), bytes)
                };
                if let Ok(one) = log.enqueue(Draft { kind: 1, meta: meta.clone(), body }) {
                    pending.push((one, meta, bytes));
                }
            }
            for (one, meta, bytes) in pending {
                if let Ok(appended) = one.await {
                    memory.acknowledged.insert(appended.seq, (appended.position, meta, bytes));
                }
            }
        }
    }
}

/// Several lives in a row; what was found wrong first.
fn lives(seed: u64, change: impl Fn(&mut LogOptions)) -> Result<(), String> {
    let mut house = House::new(seed);
    house.options.seal_bytes = 20_000;
    change(&mut house.options);
    let mut dice = Dice(seed);
    let mut memory = Memory::default();
    for life in 0..4 {
        let crash_at = dice.below(60);
        run(live(&house, &mut memory, &mut dice, crash_at));
        on_crash_point(false, |_| {});
        if dice.below(4) == 0 {
            house.disk.kill_process()
        } else {
            house.disk.restart()
        }
        check(&house, &memory).map_err(|wrong| format!("seed {seed}, life {life}: {wrong}"))?;
    }
    // A last life in which nothing happens: everything pending is done, and all is found in order.
    let (log, writer, _) = house.open();
    log.seal_pending().map_err(|e| format!("seed {seed}: {e}"))?;
    drop((log, writer));
    check(&house, &memory).map_err(|wrong| format!("seed {seed}, at the end: {wrong}"))?;
    let verified = house.reader().verify(&mut |_| {}).map_err(|e| format!("seed {seed}: {e}"))?;
    if verified.problems.iter().any(|problem| !matches!(problem, Problem::Tail(_))) {
        return Err(format!("seed {seed}: verify says {:?}", verified.problems));
    }
    no_orphans(&house).map_err(|wrong| format!("seed {seed}: {wrong}"))
}

/// Every body file is one that a record refers to.
fn no_orphans(house: &House) -> Result<(), String> {
    let mut referred: Vec<String> = Vec::new();
    let mut scan = house.reader().scan(None);
    for record in &mut scan {
        referred.extend(record.map_err(|e| e.to_string())?.body.file().map(|name| name.file_name()));
    }
    if !scan.damage().is_empty() {
        return Ok(());
    }
    for path in house.disk.paths() {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.ends_with(".body") && !referred.contains(&name) {
            return Err(format!("{name} belongs to no record"));
        }
        if name.ends_with(".new") {
            return Err(format!("{name} was left behind"));
        }
    }
    Ok(())
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    for seed in 0..150 {
        if let Err(wrong) = lives(seed, |_| {}) {
            panic!("{wrong}");
        }
    }
}

#[test]
fn a_log_that_acknowledges_before_the_sync_is_caught() {
    let caught = (0..150).filter(|seed| lives(*seed, |o| o.acknowledge_before_sync = true).is_err()).count();
    assert!(caught > 10, "the checker caught a broken log only {caught} times in 150");
}
