use crate::*;
use std::io::Read;
use std::time::Duration;
use stores_log::{FaultDisk, TestClock, fault_world};
mod contract;
mod export;
mod resending;

use words_mail::{Address, Peer, Recipient, Sender, Source, Time};

struct House {
    disk: FaultDisk,
    clock: Arc<TestClock>,
    world: World,
}

fn keys() -> KeyRing {
    KeyRing::new([9; 32], &[])
}

impl House {
    fn new(seed: u64) -> House {
        let disk = FaultDisk::new(seed);
        let clock = Arc::new(TestClock::new(Time::from_seconds(1_795_343_827)));
        let world = fault_world(&disk, &clock, seed);
        House { disk, clock, world }
    }

    fn options() -> LogOptions {
        let mut options = LogOptions::new("/journal", LogKind::Journal, "node-1");
        options.reserve_bytes = 0;
        options
    }

    fn with<T, F: Future<Output = T>>(&self, act: impl FnOnce(Journal) -> F) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let (journal, writer, _) = Journal::open(&self.world, keys(), House::options()).unwrap();
            let (stop, shutdown) = watch::channel(false);
            let act = act(journal);
            let work = async {
                let result = act.await;
                stop.send_replace(true);
                result
            };
            tokio::join!(work, writer.run(shutdown)).0
        })
    }

    fn reader(&self) -> JournalReader {
        JournalReader::open(&self.world, keys(), &House::options().dir).unwrap()
    }
}

fn envelope(to: &str) -> Envelope {
    Envelope {
        sender: Sender(Address::parse("anna@example.org").ok()),
        recipients: vec![Recipient::new(Address::parse(to).unwrap())],
        eight_bit: false,
        utf8: false,
        ret: None,
        envid: None,
        source: Source::Edge,
        peer: Peer {
            ip: "192.0.2.1".parse().unwrap(),
            helo: "mx.example.org".into(),
            protocol: "ESMTP".into(),
            tls: None,
            account: None,
            name: None,
            port: None,
        },
    }
}

fn message(journal: &Journal, to: &str, text: &str) -> NewMessage {
    let trace = journal.trace_id();
    NewMessage {
        trace,
        tenant: Tenant("acme".into()),
        primary: Some(PrimaryId("hq".into())),
        envelope: envelope(to),
        verdict: serde_json::json!({"rules": 1}),
        prefix: format!("Received: by us with {trace}\r\n"),
        body: IncomingBody::Inline(text.as_bytes().to_vec()),
    }
}

#[test]
fn an_accepted_message_is_read_back_with_its_prefix_on_top() {
    let house = House::new(1);
    let (trace, position) = house.with(|journal| async move {
        let new = message(&journal, "bob@example.com", "Subject: hi\r\n\r\nhello\r\n");
        let trace = new.trace;
        let receipt = journal.accept(new).await.unwrap();
        assert_eq!((receipt.trace, receipt.repeated), (trace, false));
        (trace, receipt.position)
    });
    let reader = house.reader();
    let entry = reader.find(trace).unwrap().unwrap();
    assert_eq!(entry, reader.read(position).unwrap());
    assert_eq!(entry, reader.scan(None).next().unwrap().unwrap());
    let mut text = String::new();
    let mut whole = reader.message(&entry).unwrap();
    whole.read_to_string(&mut text).unwrap();
    assert_eq!(text, format!("Received: by us with {trace}\r\nSubject: hi\r\n\r\nhello\r\n"));
    assert_eq!((text.len() as u64, text.len() as u64), (entry.accepted.size, whole.len()));
}

#[test]
fn a_sender_cut_off_before_the_reply_is_not_stored_twice() {
    let house = House::new(2);
    house.with(|journal| async move {
        let first = journal.accept(message(&journal, "bob@example.com", "once")).await.unwrap();
        let trace = first.trace;
        drop(first);
        let again = journal.accept(message(&journal, "bob@example.com", "once")).await.unwrap();
        assert_eq!((again.trace, again.repeated), (trace, true));
        again.heard();
        let third = journal.accept(message(&journal, "bob@example.com", "once")).await.unwrap();
        assert!(!third.repeated, "the sender heard the 250, so this is a new message");
    });
    assert_eq!(house.reader().scan(None).count(), 2);
}

#[test]
fn a_sender_who_waits_is_not_mistaken_for_another() {
    let house = House::new(3);
    house.with(|journal| async move {
        let one = journal.accept(message(&journal, "bob@example.com", "same")).await.unwrap();
        let two = journal.accept(message(&journal, "bob@example.com", "same")).await.unwrap();
        assert!(!two.repeated && one.trace != two.trace);
    });
}

#[test]
fn a_repeat_after_our_own_death_is_recognised_for_a_day() {
    for (hours, to, text, repeated) in [
        (1, "bob@example.com", "once", true),
        (1, "BOB@example.com", "once", true),
        (23, "bob@example.com", "once", true),
        (25, "bob@example.com", "once", false),
        (1, "eve@example.com", "once", false),
        (1, "bob@example.com", "twice", false),
    ] {
        let house = House::new(4);
        let disk = house.disk.clone();
        let trace = house.with(|journal| async move {
            for n in 0..5 {
                let told = journal.accept(message(&journal, "carl@example.com", &n.to_string())).await;
                told.unwrap().heard();
            }
            let receipt = journal.accept(message(&journal, "bob@example.com", "once")).await.unwrap();
            let trace = receipt.trace;
            disk.power_off();
            trace
        });
        house.disk.restart();
        house.clock.advance(Duration::from_secs(hours * 3_600));
        let receipt = house.with(|journal| async move {
            journal.accept(message(&journal, to, text)).await.map(|r| (r.trace, r.repeated)).unwrap()
        });
        assert_eq!(receipt.1, repeated, "after {hours} hours to {to}: {text}");
        assert_eq!(receipt.0 == trace, repeated);
    }
}

#[test]
fn a_checkpoint_spares_reading_and_forgets_nothing() {
    let house = House::new(5);
    let unheard = house.with(|journal| async move {
        let mut unheard = Vec::new();
        for n in 0..2_500 {
            let receipt = journal.accept(message(&journal, "b@example.com", &n.to_string())).await.unwrap();
            if n % 100 == 0 {
                unheard.push((n, receipt.trace));
            } else {
                receipt.heard();
            }
        }
        unheard
    });
    house.with(|journal| async move {
        for (n, trace) in unheard {
            let receipt = journal.accept(message(&journal, "b@example.com", &n.to_string())).await.unwrap();
            assert_eq!((receipt.trace, receipt.repeated), (trace, true), "message {n}");
        }
        let heard = journal.accept(message(&journal, "b@example.com", "1")).await.unwrap();
        assert!(!heard.repeated);
    });
}

#[test]
fn a_message_that_was_not_stored_is_not_taken_for_a_first_one() {
    let house = House::new(6);
    let disk = house.disk.clone();
    house.with(|journal| async move {
        journal.accept(message(&journal, "b@example.com", "makes the segment")).await.unwrap().heard();
        disk.set_capacity(Some(disk.used() + 100));
        let refused = journal.accept(message(&journal, "b@example.com", "x")).await;
        assert_eq!(refused.map(|r| r.trace), Err(AppendError::NoSpace));
        disk.set_capacity(None);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!journal.accept(message(&journal, "b@example.com", "x")).await.unwrap().repeated);
    });
}
