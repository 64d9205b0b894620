//! Several messages put into a folder all or none (RFC 3502 §6.3.11).

use super::*;
use stores_log::{AppendError, Body, Draft};

async fn file(run: &Running, folder: &str, texts: &[&str]) -> Result<Vec<Placed>, MailboxError> {
    let mut all = Vec::new();
    for text in texts {
        let mut append = run.mailboxes.begin_append(&anna(), folder).await?;
        append.write(text.as_bytes()).await?;
        all.push((append, appendix(&["\\Seen"])));
    }
    Append::finish_together(all).await
}

#[tokio::test(start_paused = true)]
async fn all_of_them_are_there_at_once_and_each_is_a_change_of_its_own() {
    let mut node = Node::new(31);
    let run = node.start();
    run.mailboxes.open_account(&anna()).await.unwrap();
    let placed = file(&run, "INBOX", &["A: 1\r\n\r\n", "A: 2\r\n\r\n", "A: 3\r\n\r\n"]).await.unwrap();
    assert_eq!(
        placed.iter().map(|p| (p.uid, p.fresh)).collect::<Vec<_>>(),
        [(1, true), (2, true), (3, true)]
    );
    let inbox = run.messages(&anna(), "INBOX");
    assert!(inbox.iter().all(|m| m.modseq == inbox[0].modseq && m.flags.has(Flags::SEEN)));
    assert_eq!(run.text(&inbox[1]), "A: 2\r\n\r\n");
    let changes = run.mailboxes.changes_since(&anna(), 0, 10).unwrap();
    let told: Vec<u32> = changes.iter().flat_map(|c| &c.messages).map(|m| m.uid).collect();
    assert_eq!(told, [1, 2, 3]);
    assert!(changes.is_sorted_by_key(|c| c.seq));
    let dump = run.mailboxes.dump().unwrap();
    run.stop().await;
    let run = node.start();
    assert_eq!(run.mailboxes.dump().unwrap(), dump);
    assert_eq!(file(&run, "INBOX", &[]).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn one_that_sent_has_already_is_given_back_among_the_others() {
    let mut node = Node::new(32);
    let text = "From: a@x\r\nSubject: sent\r\nMessage-ID: <1@x>\r\n\r\nText\r\n";
    let mut ours = node.message(1, text);
    ours.folder = "Sent".into();
    let run = node.start();
    let filed = run.mailboxes.arrive(&anna(), &ours).await.unwrap();
    let placed = file(&run, "Sent", &["A: 1\r\n\r\n", text, "A: 3\r\n\r\n"]).await.unwrap();
    let told: Vec<_> = placed.iter().map(|p| (p.uid, p.fresh)).collect();
    assert_eq!(told, [(filed.uid + 1, true), (filed.uid, false), (filed.uid + 2, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_missing_voids_the_others_for_ever_and_their_uids_too() {
    for missing in 0..3 {
        let mut node = Node::new(33);
        let run = node.start();
        run.mailboxes.open_account(&anna()).await.unwrap();
        let folder = run.mailboxes.folder(&anna(), "INBOX").unwrap().id;
        for n in (0..3).filter(|n| *n != missing) {
            let event = Event::Appended {
                account: anna(),
                folder,
                uid: n + 1,
                modseq: 2,
                trace: None,
                date: START,
                size: 8,
                flags: Flags::none(),
                by: By::Person,
                together: Some(Together { first: 1, of: 3 }),
            };
            let (meta, body) = (serde_json::to_vec(&event).unwrap(), Body::Inline(b"A: b\r\n\r\n".to_vec()));
            run.mailboxes.log().append(Draft { kind: 1, meta, body }).await.unwrap();
        }
        run.stop().await;
        let run = node.start();
        assert_eq!(run.uids(&anna(), "INBOX"), "", "without {missing}");
        assert_eq!(run.mailboxes.changes_since(&anna(), 0, 10).unwrap(), []);
        let placed = file(&run, "INBOX", &["A: 1\r\n\r\n", "A: 2\r\n\r\n"]).await.unwrap();
        assert_eq!(placed.iter().map(|p| p.uid).collect::<Vec<_>>(), [4, 5], "without {missing}");
        // Nobody will ever read what is left of them: it is collected.
        let day = std::time::Duration::from_secs(86_400);
        assert_eq!(run.mailboxes.collect(START.after(day)).await.unwrap(), 2);
        assert_eq!(run.mailboxes.collect(START.after(day)).await.unwrap(), 0);
        let dump = run.mailboxes.dump().unwrap();
        run.stop().await;
        assert_eq!(node.start().mailboxes.dump().unwrap(), dump);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_in_the_middle_leaves_none_of_them() {
    for writes in 0..4 {
        let mut node = Node::new(40 + writes);
        let run = node.start();
        run.mailboxes.open_account(&anna()).await.unwrap();
        run.stop().await;
        let run = node.start();
        node.disk.fail_append(writes);
        let long = format!("A: 1\r\n\r\n{}", "x".repeat(70_000));
        let told = file(&run, "INBOX", &[&long, "A: 2\r\n\r\n", &long]).await;
        run.kill();
        node.disk.power_off();
        node.disk.restart();
        let run = node.start();
        run.mailboxes.serving().await.unwrap();
        let there = run.messages(&anna(), "INBOX").len();
        match told {
            Ok(placed) => assert_eq!((placed.len(), there), (3, 3)),
            Err(_) => assert!(there == 0 || there == 3, "{writes}: {there}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_room_nothing_is_stored() {
    let mut node = Node::new(50);
    let run = node.start();
    run.mailboxes.open_account(&anna()).await.unwrap();
    node.disk.set_capacity(Some(node.disk.used()));
    let refused = file(&run, "INBOX", &["A: 1\r\n\r\n", "A: 2\r\n\r\n"]).await;
    assert_eq!(refused, Err(MailboxError::Append(AppendError::NoSpace)));
    assert_eq!(run.uids(&anna(), "INBOX"), "");
}
