//! The ledger on the disk in memory and on a real one, with an entry of every kind.

use super::*;
use stores_log::FileDisk;

fn entries() -> Vec<Entry> {
    let at = Time::from_seconds(9);
    let (primary, event) = (hq(), EventId(1));
    vec![
        observation(at, 1),
        Entry::Request(Request {
            at,
            by: "anna".into(),
            reason: "a drill".into(),
            primary: primary.clone(),
            planes: vec![Plane::Inbound],
            scope: Scope::Accounts(vec![anna()]),
            kind: RequestKind::Pin { until: Some(at) },
        }),
        Entry::Order(order(1, Plane::Inbound, State::Ready, State::Suspect, Scope::All, None)),
        Entry::Notice(Notice {
            at,
            primary: Some(primary.clone()),
            event: Some(event),
            order: Some(OrderNumber(1)),
            channel: "mail".into(),
            to: "anna@elsewhere.example".into(),
            subject: "In doubt".into(),
            result: NoticeResult::Failed { why: "no answer".into() },
            cause: "change".into(),
        }),
        Entry::Settlement(settlement(1)),
        Entry::Heartbeat(Heartbeat { at, node: "node-1".into(), since: at }),
        Entry::QueueAct(QueueAct {
            at,
            by: "anna".into(),
            reason: "wrong address".into(),
            act: Act::Redirect { to: Address::parse("bob@example.org").unwrap() },
            trace: Some(TraceId::new(at, [1; 10])),
            recipient: Address::parse("anna@example.org").ok(),
            destination: Some(Destination::Mailbox),
        }),
        Entry::Reconciliation(Reconciliation {
            at,
            event,
            primary: primary.clone(),
            clean: true,
            report: serde_json::json!({"accepted": 3}),
        }),
        Entry::EventReport(EventReport { at, event, primary, report: serde_json::json!({"lost": 0}) }),
        Entry::ContentAct(ContentAct {
            at,
            by: "anna".into(),
            reason: "a judge asked".into(),
            deed: ContentDeed::Shown,
            trace: Some(TraceId::new(at, [1; 10])),
            which: String::new(),
        }),
        Entry::Restored(Restored {
            at,
            by: "anna".into(),
            from: "/mnt/backup".into(),
            sequence: 7,
            until: at,
            journal: Position { segment: 3, offset: 1024 },
        }),
    ]
}

fn contract(world: &World, options: &LogOptions) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    for life in 0..2u64 {
        runtime.block_on(async {
            let (ledger, writer, _) = Ledger::open(world, keys(), options.clone()).unwrap();
            let (stop, shutdown) = watch::channel(false);
            let work = async {
                assert_eq!(ledger.in_force().paused(&hq(), None), life > 0);
                for entry in entries() {
                    ledger.append(entry).await.unwrap();
                }
                ledger.note(observation(Time::from_seconds(1), 2));
                stop.send_replace(true);
            };
            tokio::join!(work, writer.run(shutdown));
        });
    }
    let reader = LedgerReader::open(world, keys(), &options.dir).unwrap();
    let found: Vec<Entry> = reader.scan(None).map(|entered| entered.unwrap().entry).collect();
    let mut expected = entries();
    expected.push(observation(Time::from_seconds(1), 2));
    assert_eq!(found, [expected.clone(), expected].concat());
    assert_eq!(reader.scan_orders(None).count(), 4);
    assert_eq!(reader.scan_settlements(None).count(), 6);
    assert_eq!(reader.scan_observations(None).count(), 6);
    assert!(reader.in_force().unwrap().0.paused(&hq(), Some(&anna())));
    assert!(reader.log_reader().verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_ledger_keeps_its_contract_on_a_disk_in_memory() {
    contract(&House::new(1).world, &House::options());
}

#[test]
fn a_ledger_keeps_its_contract_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = House::new(1).world;
    world.disk = Arc::new(FileDisk);
    contract(&world, &LogOptions { dir: dir.path().join("ledger"), ..House::options() });
}
