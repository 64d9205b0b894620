//! A folder that follows the primary until somebody selects it, and what is remembered of both sides.

use super::*;

async fn pull(run: &Running, folder: &str, there: u32, uid: u32, flags: &[&str]) -> bool {
    let mut append = run.mailboxes.begin_append(&anna(), folder).await.unwrap();
    append.write(format!("Subject: {there}\r\n\r\ntext\r\n").as_bytes()).await.unwrap();
    let flags = flags.iter().copied().collect();
    let pulled = Pulled { there, uid, flags, date: START, modseq: Some(u64::from(there)) };
    append.pull(pulled).await.unwrap().done().await.unwrap()
}

fn links(run: &Running, folder: FolderId) -> Vec<(u32, u32, bool)> {
    run.mailboxes.links(folder).unwrap().into_iter().map(|l| (l.there, l.uid, l.gone)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_folder_follows_until_it_is_selected_and_then_owns_its_uids() {
    let mut node = Node::new(1);
    let run = node.start();
    let boxes = run.mailboxes.clone();
    boxes.open_account(&anna()).await.unwrap();
    let inbox = boxes.folder(&anna(), "INBOX").unwrap().id;
    let pairing = boxes.pair(&anna(), inbox, "INBOX", (77, 2_007, Some(3_000)), true).await.unwrap();
    assert!(pairing.follow && !pairing.look.whole);
    assert_eq!(boxes.claim(&anna(), inbox).await, Err(MailboxError::Copying(0)), "its copy is unfinished");
    for there in [2_006, 2_003, 17] {
        assert!(pull(&run, "INBOX", there, there, &["\\Seen"]).await);
    }
    boxes
        .looked(&anna(), inbox, Look { whole: true, total: 3, next: 2_008, modseq: Some(3_001) })
        .await
        .unwrap();
    assert_eq!(
        (run.uids(&anna(), "INBOX").as_str(), boxes.folder(&anna(), "INBOX").unwrap().uidvalidity),
        ("17,2003,2006", 77)
    );

    boxes.claim(&anna(), inbox).await.unwrap();
    boxes.claim(&anna(), inbox).await.unwrap();
    let folder = boxes.folder(&anna(), "INBOX").unwrap();
    assert_eq!(
        (folder.uidnext, folder.uidvalidity),
        (1_002_008, 77),
        "a million above the primary's UIDNEXT"
    );
    assert!(folder.modseq >= 1_003_001);
    let arrival = node.message(1, "Subject: new\r\n\r\n");
    assert_eq!(boxes.arrive(&anna(), &arrival).await.unwrap().uid, 1_002_008);
    assert!(!boxes.pairings(&anna()).unwrap()[0].follow);

    // Another one, where something stood already, never follows.
    boxes.append(&anna(), "Archive", b"x", appendix(&[])).await.unwrap();
    let archive = boxes.folder(&anna(), "Archive").unwrap();
    let pairing = boxes.pair(&anna(), archive.id, "Archive", (78, 5, None), true).await.unwrap();
    assert!(!pairing.follow);
    assert_eq!(boxes.folder(&anna(), "Archive").unwrap().uidvalidity, archive.uidvalidity);
    boxes.claim(&anna(), archive.id).await.unwrap();

    let before = boxes.dump().unwrap();
    run.stop().await;
    let again = node.start();
    assert_eq!(again.mailboxes.dump().unwrap(), before, "made anew from the log, it is the same");
}

#[tokio::test(start_paused = true)]
async fn what_was_agreed_follows_what_the_primary_changes_and_shows_what_people_change() {
    let mut node = Node::new(2);
    let run = node.start();
    let boxes = run.mailboxes.clone();
    boxes.open_account(&anna()).await.unwrap();
    let inbox = boxes.folder(&anna(), "INBOX").unwrap().id;
    boxes.pair(&anna(), inbox, "INBOX", (77, 10, None), true).await.unwrap();
    for there in [1, 2, 3, 4] {
        pull(&run, "INBOX", there, there, &[]).await;
    }
    let pending = || boxes.pending(&anna(), 10).unwrap().iter().map(|l| l.there).collect::<Vec<_>>();
    assert_eq!(pending(), [0u32; 0]);
    let seen: Flags = ["\\Seen"].into_iter().collect();
    boxes.store(&anna(), inbox, &uids("1"), (How::Add, &seen), None, By::Primary).await.unwrap();
    assert_eq!(pending(), [0u32; 0], "the primary's own change is agreed");
    boxes.store(&anna(), inbox, &uids("2"), (How::Add, &seen), None, By::Person).await.unwrap();
    boxes.move_to(&anna(), inbox, &uids("3"), "Archive", By::Person).await.unwrap();
    boxes.expunge(&anna(), inbox, &uids("4"), By::Person).await.unwrap();
    assert_eq!(pending(), [2, 3, 4]);
    assert_eq!(links(&run, inbox), [(1, 1, false), (2, 2, false), (3, 1, false), (4, 4, true)]);

    // Carried over: the flag is agreed, the other stands in the primary's Archive, the third is gone there too.
    let archive = boxes.folder(&anna(), "Archive").unwrap().id;
    boxes.pair(&anna(), archive, "Archive", (78, 1, None), true).await.unwrap();
    let note = |pairing, there, folder, uid, flags: &Flags| LinkNote {
        pairing,
        there,
        folder,
        uid,
        flags: flags.clone(),
        content: None,
    };
    let none = Flags::none();
    let notes = vec![note(inbox, 2, inbox, 2, &seen), note(archive, 50, archive, 1, &none)];
    boxes.link(&anna(), notes).await.unwrap();
    boxes.unlink(&anna(), inbox, uids("4")).await.unwrap();
    assert_eq!(pending(), [0u32; 0]);
    assert_eq!(links(&run, inbox), [(1, 1, false), (2, 2, false)]);
    assert_eq!(links(&run, archive), [(50, 1, false)]);
    assert!(boxes.unlinked(inbox, 10).unwrap().is_empty());

    // The primary removes one; its UIDVALIDITY changes: what was linked is void, what is here stays.
    boxes.expunge(&anna(), inbox, &uids("1"), By::Primary).await.unwrap();
    assert_eq!(links(&run, inbox), [(2, 2, false)]);
    let pairing = boxes.pair(&anna(), inbox, "INBOX", (99, 3, None), true).await.unwrap();
    assert!(!pairing.follow, "its UIDs are the old ones, and ours to keep");
    assert_eq!(boxes.folder(&anna(), "INBOX").unwrap().uidvalidity, 77);
    assert_eq!(boxes.unlinked(inbox, 10).unwrap().len(), 1);

    boxes.brake(&anna(), Some("901 of 1000 vanished".into())).await.unwrap();
    assert_eq!(boxes.braked(&anna()).unwrap().as_deref(), Some("901 of 1000 vanished"));
    let before = boxes.dump().unwrap();
    run.kill();
    let again = node.start();
    assert_eq!(again.mailboxes.dump().unwrap(), before);
    again.mailboxes.brake(&anna(), None).await.unwrap();
    assert_eq!(again.mailboxes.braked(&anna()).unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_moves_or_removes_before_its_link_is_written_down_keeps_its_link_or_has_none() {
    let mut node = Node::new(3);
    let run = node.start();
    let boxes = run.mailboxes.clone();
    boxes.open_account(&anna()).await.unwrap();
    let inbox = boxes.folder(&anna(), "INBOX").unwrap().id;
    let archive = boxes.folder(&anna(), "Archive").unwrap().id;
    boxes.pair(&anna(), inbox, "INBOX", (77, 10, None), true).await.unwrap();
    boxes.pair(&anna(), archive, "Archive", (78, 1, None), true).await.unwrap();
    for there in [1, 2, 3] {
        pull(&run, "INBOX", there, there, &[]).await;
    }
    let seen: Flags = ["\\Seen"].into_iter().collect();
    let note = |pairing, there, uid| {
        let flags = seen.clone();
        LinkNote { pairing, there, folder: inbox, uid, flags, content: None }
    };
    boxes.move_to(&anna(), inbox, &uids("1"), "Archive", By::Person).await.unwrap();
    boxes.expunge(&anna(), inbox, &uids("2:3"), By::Person).await.unwrap();
    // What was done to them there was planned before.
    boxes.link(&anna(), vec![note(inbox, 1, 1), note(inbox, 2, 2), note(archive, 50, 3)]).await.unwrap();
    let standing = boxes.links(inbox).unwrap();
    assert_eq!(
        standing.iter().map(|l| (l.there, l.folder, l.gone)).collect::<Vec<_>>(),
        [(1, archive, false), (2, inbox, true), (3, inbox, true)]
    );
    assert_eq!(standing[0].flags, seen, "the flags there are as they were given");
    assert_eq!(links(&run, archive), [], "no message there stands for one that is not here");
    assert_eq!(boxes.pending(&anna(), 10).unwrap().len(), 3);
}
