use super::*;
use std::collections::BTreeMap;
use stores_log::AppendError;

/// What was acknowledged to a client, by folder and UID: the message's text.
type Acknowledged = BTreeMap<(String, u32), String>;

async fn work(run: &Running, round: u64, acknowledged: &mut Acknowledged) {
    for n in 0..6 {
        let text = format!("Subject: {round} {n}\r\n\r\n{}\r\n", "x".repeat((n * 700) as usize));
        let folder = if n % 2 == 0 { "INBOX" } else { "Archive" };
        let Ok(placed) = run.mailboxes.append(&anna(), folder, text.as_bytes(), appendix(&[])).await else {
            return;
        };
        let twice = acknowledged.insert((folder.into(), placed.uid), text);
        assert_eq!(twice, None, "UID {} of {folder} was given twice", placed.uid);
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_write_loses_nothing_acknowledged_and_gives_no_uid_twice() {
    for seed in 0..16 {
        let mut node = Node::new(seed);
        let run = node.start();
        run.mailboxes.open_account(&anna()).await.unwrap();
        run.stop().await;
        let mut acknowledged = Acknowledged::new();
        for round in 0..4 {
            let run = node.start();
            // The machine dies at one of the next writes, in the middle of it.
            node.disk.fail_append((seed + round * 7) % 9);
            work(&run, round, &mut acknowledged).await;
            run.kill();
            node.disk.power_off();
            node.disk.restart();
        }
        let run = node.start();
        run.mailboxes.serving().await.unwrap();
        for ((folder, uid), text) in &acknowledged {
            let found = run.messages(&anna(), folder).into_iter().find(|m| m.uid == *uid);
            let found = found.unwrap_or_else(|| panic!("seed {seed}: UID {uid} of {folder} is lost"));
            assert_eq!(run.text(&found), *text, "seed {seed}");
        }
    }
}

/// The places where this store can be when the machine dies.
const POINTS: [&str; 4] =
    ["mailbox.enqueued", "mailbox.durable", "mailbox.view-before-commit", "mailbox.visible"];

#[tokio::test(start_paused = true)]
async fn power_lost_at_any_crash_point_loses_nothing_acknowledged_and_doubles_no_arrival() {
    for point in POINTS {
        for pass in 0..8 {
            let mut node = Node::new(pass);
            let run = node.start();
            run.mailboxes.open_account(&anna()).await.unwrap();
            run.stop().await;
            let arrivals = [1, 2, 3].map(|n| node.message(n, &format!("Subject: {n}\r\n\r\n")));

            let run = node.start();
            let (disk, passes) = (node.disk.clone(), std::sync::atomic::AtomicU64::new(0));
            words_world::on_crash_point(false, move |name| {
                if name == point && passes.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == pass {
                    disk.power_off();
                }
            });
            let mut acknowledged = Acknowledged::new();
            let mut arrived = Vec::new();
            for arrival in &arrivals {
                if let Ok(placed) = run.mailboxes.arrive(&anna(), arrival).await {
                    arrived.push((arrival.trace, placed.uid));
                }
            }
            work(&run, 0, &mut acknowledged).await;
            words_world::on_crash_point(false, |_| ());
            assert!(node.disk.is_off(), "{point} was not passed {pass} times");
            run.kill();
            node.disk.power_off();
            node.disk.restart();

            let run = node.start();
            for ((folder, uid), text) in &acknowledged {
                let found = run.messages(&anna(), folder).into_iter().find(|m| m.uid == *uid);
                let found = found.unwrap_or_else(|| panic!("{point} {pass}: UID {uid} of {folder} is lost"));
                assert_eq!(run.text(&found), *text);
            }
            // Delivery brings everything again: each is there once, where it was.
            for arrival in &arrivals {
                let placed = run.mailboxes.arrive(&anna(), arrival).await.unwrap();
                let before = arrived.iter().find(|(trace, _)| *trace == arrival.trace);
                assert!(
                    before.is_none_or(|(_, uid)| *uid == placed.uid),
                    "{point} {pass}: {before:?} {placed:?}"
                );
            }
            let here = run.messages(&anna(), "INBOX");
            for arrival in &arrivals {
                let copies = here.iter().filter(|m| m.trace == Some(arrival.trace)).count();
                assert_eq!(copies, 1, "{point} {pass}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_is_never_an_acknowledgement() {
    let mut node = Node::new(77);
    let run = node.start();
    run.mailboxes.open_account(&anna()).await.unwrap();
    let account = anna();
    let append = || run.mailboxes.append(&account, "INBOX", b"A: b\r\n\r\n", appendix(&[]));
    assert_eq!(append().await.unwrap().uid, 1);
    node.disk.fail_sync(0);
    assert_eq!(append().await, Err(MailboxError::Append(AppendError::Failed)));
    assert_eq!(append().await, Err(MailboxError::Append(AppendError::Failed)));
    assert_eq!(run.uids(&anna(), "INBOX"), "1");
}

#[tokio::test(start_paused = true)]
async fn when_the_end_of_the_log_may_be_missing_uids_jump_before_anything_is_served() {
    let mut node = Node::new(78);
    let run = node.start();
    run.mailboxes.open_account(&anna()).await.unwrap();
    run.mailboxes.append(&anna(), "INBOX", b"A: b\r\n\r\n", appendix(&[])).await.unwrap();
    let before = run.mailboxes.folder(&anna(), "INBOX").unwrap();
    run.stop().await;
    // The last record rots: a client may have been told of it.
    let segment =
        node.disk.paths().into_iter().filter(|p| node.disk.content(p).is_some_and(|c| c.len() > 300)).max();
    let segment = segment.unwrap();
    let len = node.disk.content(&segment).unwrap().len();
    node.disk.truncate(&segment, len - 5);

    let ready = node.open();
    assert!(ready.recovery.tail_doubtful);
    assert_eq!(ready.mailboxes.folder(&anna(), "INBOX"), Err(MailboxError::NotShownYet));
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(ready.writer.run(stopped.clone()));
    tokio::spawn(ready.applier.run(stopped));
    let placed = ready.mailboxes.append(&anna(), "INBOX", b"C: d\r\n\r\n", appendix(&[])).await.unwrap();
    assert!(placed.uid > 1_000_000, "{placed:?}");
    for folder in ready.mailboxes.folders(&anna()).unwrap() {
        assert!(folder.uidnext > 1_000_000 && folder.modseq > 1_000_000, "{folder:?}");
        assert_eq!(folder.uidvalidity, before.uidvalidity);
    }
    // Recorded: the next start, which finds nothing doubtful, keeps it.
    let dump = ready.mailboxes.dump().unwrap();
    drop(ready.mailboxes);
    let again = node.open();
    assert!(!again.recovery.tail_doubtful);
    assert_eq!(again.mailboxes.dump().unwrap(), dump);
}

#[tokio::test(start_paused = true)]
async fn after_a_backup_was_brought_back_no_uid_means_another_message() {
    let mut node = Node::new(79);
    let run = node.start();
    run.mailboxes.open_account(&anna()).await.unwrap();
    run.mailboxes.append(&anna(), "INBOX", b"A: b\r\n\r\n", appendix(&[])).await.unwrap();
    run.stop().await;
    // Copies are whole to their last record, so nothing in the log says that anything is missing.
    let before = node.open();
    assert!(!before.recovery.tail_doubtful);
    drop(before);
    let world = fault_world(&node.disk, &node.clock, 9);
    let log = LogOptions { reserve_bytes: 0, ..LogOptions::new("/mailbox", LogKind::Mailbox, "node") };
    let options = MailboxOptions { log, view: ViewPlace::Memory, trace_key: Some(KEY) };
    let keys = KeyRing::new([1; 32], &[]);
    let ready = Mailboxes::open_restored(&world, keys, options, node.journal.clone()).unwrap();
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(ready.writer.run(stopped.clone()));
    tokio::spawn(ready.applier.run(stopped));
    let placed = ready.mailboxes.append(&anna(), "INBOX", b"C: d\r\n\r\n", appendix(&[])).await.unwrap();
    assert!(placed.uid > 1_000_000, "{placed:?}");
}
