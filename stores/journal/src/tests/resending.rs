//! Senders that try again until they hear a `250`, while we are killed over and over.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use words_world::on_crash_point;

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[derive(Default)]
struct Senders {
    /// What they still have to hand over.
    waiting: BTreeSet<u64>,
    /// What they were told `250` for, and with which id.
    heard: BTreeMap<u64, TraceId>,
}

/// Drives all of them together, as the sessions of an edge do.
pub(super) async fn all_at_once<F: Future + Unpin>(mut waiting: Vec<(u64, F)>) -> Vec<(u64, F::Output)> {
    let mut done = Vec::new();
    std::future::poll_fn(move |context| {
        waiting.retain_mut(|(number, one)| match Pin::new(one).poll(context) {
            Poll::Ready(output) => {
                done.push((*number, output));
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() { Poll::Ready(std::mem::take(&mut done)) } else { Poll::Pending }
    })
    .await
}

async fn hand_over(journal: &Journal, senders: &mut Senders, dice: &mut Dice) {
    let mut under_way = Vec::new();
    let (skip, count) = (dice.below(senders.waiting.len() as u64) as usize, 1 + dice.below(5) as usize);
    for number in senders.waiting.iter().skip(skip).take(count) {
        let text = format!("message {number}\r\n");
        let new = message(journal, "bob@example.com", &text);
        under_way.push((*number, Box::pin(journal.accept(new))));
    }
    for (number, receipt) in all_at_once(under_way).await {
        let Ok(receipt) = receipt else { continue };
        match dice.below(4) {
            // The connection breaks before the 250 arrives: the sender will come again.
            0 => drop(receipt),
            // It arrives, and then the connection breaks.
            1 => {
                senders.waiting.remove(&number);
                senders.heard.insert(number, receipt.trace);
            }
            _ => {
                senders.waiting.remove(&number);
                senders.heard.insert(number, receipt.trace);
                receipt.heard();
            }
        }
    }
}

fn lives(seed: u64) {
    let house = House::new(seed);
    let mut dice = Dice(seed * 7 + 1);
    let mut senders = Senders { waiting: (0..30).collect(), ..Senders::default() };
    for life in 0..100 {
        let (disk, passed) = (house.disk.clone(), AtomicU64::new(0));
        // The last lives are left in peace, so that all are handed over.
        let crash_at = if life < 8 { dice.below(25) } else { u64::MAX };
        on_crash_point(false, move |_| {
            if passed.fetch_add(1, Ordering::Relaxed) == crash_at {
                disk.power_off();
            }
        });
        let disk = house.disk.clone();
        let (senders_now, dice_now) = (&mut senders, &mut dice);
        house.with(|journal| async move {
            while !disk.is_off() && !senders_now.waiting.is_empty() {
                hand_over(&journal, senders_now, dice_now).await;
            }
            // Whether a process ends in peace or not must not matter.
            disk.power_off();
        });
        house.disk.restart();
        house.clock.advance(Duration::from_secs(600));
        if senders.waiting.is_empty() && life >= 8 {
            break;
        }
    }
    on_crash_point(false, |_| {});
    assert!(senders.waiting.is_empty(), "seed {seed}: {:?} were never taken", senders.waiting);
    let reader = house.reader();
    let mut stored: BTreeMap<String, Vec<TraceId>> = BTreeMap::new();
    for entry in reader.scan(None) {
        let entry = entry.unwrap();
        let mut text = String::new();
        reader.message(&entry).unwrap().read_to_string(&mut text).unwrap();
        let body = text.split_once("\r\n").unwrap().1.to_owned();
        stored.entry(body).or_default().push(entry.accepted.trace);
    }
    for (number, trace) in &senders.heard {
        let found = stored.get(&format!("message {number}\r\n")).cloned().unwrap_or_default();
        assert_eq!(found, [*trace], "seed {seed}: message {number}");
    }
    assert_eq!(stored.len(), 30, "seed {seed}");
}

#[test]
fn a_message_sent_until_it_is_acknowledged_is_stored_exactly_once() {
    for seed in 0..60 {
        lives(seed);
    }
}
