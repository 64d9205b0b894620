//! The journal on the disk in memory and on a real one.

use super::*;
use stores_log::FileDisk;

fn contract(house: &House, options: &LogOptions) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let live = |act: &mut dyn FnMut(&Journal) -> Vec<IncomingBody>| {
        runtime.block_on(async {
            let (journal, writer, _) = Journal::open(&house.world, keys(), options.clone()).unwrap();
            let (stop, shutdown) = watch::channel(false);
            let mut receipts = Vec::new();
            let work = async {
                for body in act(&journal) {
                    let new = NewMessage { body, ..message(&journal, "bob@example.com", "") };
                    let receipt = journal.accept(new).await.unwrap();
                    receipts.push((receipt.trace, receipt.position, receipt.repeated));
                }
                let mut long = journal.begin_body().await.unwrap();
                long.write(&vec![b'x'; 200_000]).await.unwrap();
                let body = IncomingBody::File(long.finish().await.unwrap());
                let new = NewMessage { body, ..message(&journal, "bob@example.com", "") };
                let receipt = journal.accept(new).await.unwrap();
                receipts.push((receipt.trace, receipt.position, receipt.repeated));
                assert_eq!(
                    journal.reader().scan(None).last().unwrap().unwrap().next,
                    *journal.durable().borrow()
                );
                stop.send_replace(true);
            };
            tokio::join!(work, writer.run(shutdown));
            receipts
        })
    };
    let texts = |texts: &[&str]| {
        texts.iter().map(|t| IncomingBody::Inline(t.as_bytes().to_vec())).collect::<Vec<IncomingBody>>()
    };
    let first = live(&mut |_| texts(&["one", "two"]));
    let again = live(&mut |_| texts(&["two", "three"]));
    assert_eq!(again[0], (first[1].0, first[1].1, true), "the sender of the first life never heard");
    assert!(!again[1].2 && again[2].2);
    let reader = JournalReader::open(&house.world, keys(), &options.dir).unwrap();
    let traces: Vec<TraceId> = reader.scan(None).map(|entry| entry.unwrap().accepted.trace).collect();
    assert_eq!(traces, [first[0].0, first[1].0, first[2].0, again[1].0]);
    let long = reader.find(first[2].0).unwrap().unwrap();
    let mut bytes = Vec::new();
    reader.message(&long).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, long.accepted.size);
    assert!(reader.verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_journal_keeps_its_contract_on_a_disk_in_memory() {
    contract(&House::new(1), &House::options());
}

#[test]
fn a_journal_keeps_its_contract_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = House::new(1);
    house.world.disk = Arc::new(FileDisk);
    contract(&house, &LogOptions { dir: dir.path().join("journal"), ..House::options() });
}

/// `cargo test --release -p stores-journal -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn measure() {
    for heard in [true, false] {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let mut house = House::new(1);
        house.world.disk = Arc::new(FileDisk);
        let options = LogOptions { dir: dir.path().join("journal"), ..House::options() };
        let (journal, writer, _) = Journal::open(&house.world, keys(), options.clone()).unwrap();
        let (stop, shutdown) = watch::channel(false);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(writer.run(shutdown));
        });
        let text = "x".repeat(4_096);
        let begun = std::time::Instant::now();
        let clock = house.clock.clone();
        let session = |n: u32| {
            let (journal, text, clock) = (journal.clone(), &text, &clock);
            async move {
                for m in 0..1_000 {
                    clock.advance(Duration::from_micros(20));
                    let new = message(&journal, "bob@example.com", &format!("{n} {m} {text}"));
                    let receipt = journal.accept(new).await.unwrap();
                    if heard {
                        receipt.heard();
                    }
                }
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(super::resending::all_at_once(
            (0..100).map(|n| (u64::from(n), Box::pin(session(n)))).collect(),
        ));
        println!("heard {heard}: {:.0} messages/s", 100_000.0 / begun.elapsed().as_secs_f64());
        stop.send_replace(true);
        thread.join().unwrap();
        let begun = std::time::Instant::now();
        let (journal, _writer, recovery) = Journal::open(&house.world, keys(), options.clone()).unwrap();
        println!("opened {} segments in {:?}", recovery.segments, begun.elapsed());
        let begun = std::time::Instant::now();
        println!("scanned {} messages in {:?}", journal.reader().scan(None).count(), begun.elapsed());
        let last = journal.reader().scan(None).last().unwrap().unwrap().accepted.trace;
        let begun = std::time::Instant::now();
        assert!(journal.reader().find(last).unwrap().is_some());
        println!("found one in {:?}", begun.elapsed());
    }
}
