use super::*;
use proptest::prelude::*;
use stores_log::AppendError;

/// Something somebody does.
#[derive(Clone, Debug)]
enum Act {
    Arrive(u8, usize),
    Append(usize, u8),
    Together(usize, u8),
    Store(usize, u32, u32, How, u8),
    Copy(usize, u32, u32, usize),
    Move(usize, u32, u32, usize),
    Expunge(usize, u32, u32),
    Create(usize),
    Delete(usize),
    Rename(usize, usize),
    Subscribe(usize, bool),
    Wait(u8),
    Restart,
}

const NAMES: [&str; 8] = ["INBOX", "Sent", "Trash", "Archive", "a", "a/b", "c", "c/d/e"];

fn act() -> impl Strategy<Value = Act> {
    let name = 0..NAMES.len();
    let span = || (1u32..12, 0u32..6).prop_map(|(first, more)| (first, first + more));
    prop_oneof![
        3 => (0u8..20, name.clone()).prop_map(|(n, f)| Act::Arrive(n, f)),
        3 => (name.clone(), 0u8..20).prop_map(|(f, n)| Act::Append(f, n)),
        2 => (name.clone(), 0u8..4).prop_map(|(f, n)| Act::Together(f, n)),
        3 => (name.clone(), span(), prop::sample::select(vec![How::Add, How::Remove, How::Set]), 0u8..32)
            .prop_map(|(f, (a, b), how, bits)| Act::Store(f, a, b, how, bits)),
        2 => (name.clone(), span(), name.clone()).prop_map(|(f, (a, b), t)| Act::Copy(f, a, b, t)),
        2 => (name.clone(), span(), name.clone()).prop_map(|(f, (a, b), t)| Act::Move(f, a, b, t)),
        2 => (name.clone(), span()).prop_map(|(f, (a, b))| Act::Expunge(f, a, b)),
        2 => name.clone().prop_map(Act::Create),
        1 => name.clone().prop_map(Act::Delete),
        1 => (name.clone(), name.clone()).prop_map(|(a, b)| Act::Rename(a, b)),
        1 => (name, any::<bool>()).prop_map(|(f, on)| Act::Subscribe(f, on)),
        1 => (0u8..100).prop_map(Act::Wait),
        1 => Just(Act::Restart),
    ]
}

/// What a client must not find contradicted: what a UID in a folder was.
type Shown = HashMap<(u32, u32), BodyAt>;

async fn perform(node: &Node, run: &Running, act: &Act) -> Result<(), MailboxError> {
    let (account, by, boxes) = (anna(), By::Person, &run.mailboxes);
    match act {
        Act::Arrive(n, folder) => {
            let mut arrival = node.message(*n, &format!("Subject: {n}\r\n\r\n{n}\r\n"));
            arrival.folder = NAMES[*folder].into();
            boxes.arrive(&account, &arrival).await.map(|_| ())
        }
        Act::Append(folder, n) => {
            let text = format!("Subject: {n}\r\n\r\n{n}\r\n");
            boxes
                .append(&account, NAMES[*folder], text.as_bytes(), appendix(&["\\Seen", "key"]))
                .await
                .map(|_| ())
        }
        Act::Together(folder, count) => {
            let mut all = Vec::new();
            for n in 0..*count {
                let mut append = boxes.begin_append(&account, NAMES[*folder]).await?;
                append.write(format!("Subject: together {n}\r\n\r\n").as_bytes()).await?;
                all.push((append, appendix(&["\\Draft"])));
            }
            Append::finish_together(all).await.map(|_| ())
        }
        Act::Store(folder, first, last, how, bits) => {
            let folder = boxes.folder(&account, NAMES[*folder])?.id;
            let flags = Flags::system(*bits);
            boxes
                .store(&account, folder, &UidRanges::span(*first, *last), (*how, &flags), None, by)
                .await
                .map(|_| ())
        }
        Act::Copy(from, first, last, to) => {
            let from = boxes.folder(&account, NAMES[*from])?.id;
            boxes.copy(&account, from, &UidRanges::span(*first, *last), NAMES[*to], by).await.map(|_| ())
        }
        Act::Move(from, first, last, to) => {
            let from = boxes.folder(&account, NAMES[*from])?.id;
            boxes.move_to(&account, from, &UidRanges::span(*first, *last), NAMES[*to], by).await.map(|_| ())
        }
        Act::Expunge(folder, first, last) => {
            let folder = boxes.folder(&account, NAMES[*folder])?.id;
            boxes.expunge(&account, folder, &UidRanges::span(*first, *last), by).await.map(|_| ())
        }
        Act::Create(name) => boxes.create(&account, NAMES[*name], None, by).await.map(|_| ()),
        Act::Delete(name) => boxes.delete(&account, NAMES[*name], by).await,
        Act::Rename(from, to) => boxes.rename(&account, NAMES[*from], NAMES[*to], by).await,
        Act::Subscribe(name, on) => boxes.subscribe(&account, NAMES[*name], *on, by).await,
        Act::Wait(minutes) => {
            node.clock.advance(std::time::Duration::from_secs(u64::from(*minutes) * 60));
            Ok(())
        }
        Act::Restart => Ok(()),
    }
}

/// Looks at everything as a client would, and holds it against all that was seen before.
fn look(run: &Running, shown: &mut Shown) {
    for folder in run.mailboxes.folders(&anna()).unwrap() {
        let snapshot = run.mailboxes.snapshot(folder.id).unwrap();
        let messages = run.mailboxes.page(folder.id, 1, u32::MAX, 1_000).unwrap();
        assert_eq!(
            messages.iter().map(|m| m.uid).collect::<Vec<_>>(),
            snapshot.uids.iter().collect::<Vec<_>>()
        );
        let counts = run.mailboxes.counts(folder.id).unwrap();
        let count = |bits: u8| messages.iter().filter(|m| m.flags.has(bits)).count() as u64;
        assert_eq!(counts.messages, messages.len() as u64);
        assert_eq!(
            (counts.unseen, counts.deleted),
            (counts.messages - count(Flags::SEEN), count(Flags::DELETED))
        );
        assert_eq!(counts.bytes, messages.iter().map(|m| m.size).sum::<u64>());
        for message in messages {
            assert!(
                message.uid < folder.uidnext && message.modseq <= folder.modseq,
                "{message:?} {folder:?}"
            );
            let before = shown.entry((folder.uidvalidity, message.uid)).or_insert(message.body);
            // UIDVALIDITY and UID together name one message for ever, within a folder; the standard folders share
            // one UIDVALIDITY, which is why the folder's number is looked at too.
            if folder.special.is_none() && folder.name != INBOX {
                assert_eq!(*before, message.body, "UID {} of {} was given twice", message.uid, folder.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_view_that_was_thrown_away_comes_back_the_same(acts in prop::collection::vec(act(), 1..40), seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let mut node = Node::new(seed);
            let mut run = node.start();
            run.mailboxes.open_account(&anna()).await.unwrap();
            let mut shown = Shown::new();
            for act in &acts {
                match perform(&node, &run, act).await {
                    Err(error @ (MailboxError::View(_) | MailboxError::Log(_) | MailboxError::NotShownYet | MailboxError::Append(AppendError::Closed))) => panic!("{act:?}: {error}"),
                    _ => look(&run, &mut shown),
                }
                if matches!(act, Act::Restart) {
                    // In memory: the view is made anew at each start.
                    let dump = run.mailboxes.dump().unwrap();
                    run.stop().await;
                    run = node.start();
                    assert_eq!(run.mailboxes.dump().unwrap(), dump);
                    look(&run, &mut shown);
                }
            }
            let dump = run.mailboxes.dump().unwrap();
            run.stop().await;
            let Ready { mailboxes, .. } = node.open();
            assert_eq!(mailboxes.dump().unwrap(), dump);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_on_disk_goes_on_where_it_was_and_comes_back_when_it_is_damaged_or_foreign() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view.sqlite");
    let mut node = Node::new(12);
    node.view = ViewPlace::File(path.clone());
    let run = node.start();
    run.mailboxes.open_account(&anna()).await.unwrap();
    for _ in 0..3 {
        run.mailboxes.append(&anna(), "INBOX", b"A: b\r\n\r\n", appendix(&[])).await.unwrap();
    }
    let dump = run.mailboxes.dump().unwrap();
    run.stop().await;

    let remove = |end: &str| {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    };
    // As it was; deleted; a file that is no view; cut in the middle.
    for damage in 0..4 {
        match damage {
            1 => ["", "-wal", "-shm"].into_iter().for_each(remove),
            2 => {
                ["-wal", "-shm"].into_iter().for_each(remove);
                std::fs::write(&path, "this is no database, however long one looks at it".repeat(100))
                    .unwrap();
            }
            3 => {
                ["-wal", "-shm"].into_iter().for_each(remove);
                let whole = std::fs::read(&path).unwrap();
                std::fs::write(&path, &whole[..whole.len().min(600)]).unwrap();
            }
            _ => {}
        }
        let run = node.start();
        assert_eq!(run.mailboxes.dump().unwrap(), dump, "damage {damage}");
        run.stop().await;
    }

    // An older copy put back catches up.
    let old = std::fs::read(&path).unwrap();
    let run = node.start();
    run.mailboxes.append(&anna(), "Archive", b"C: d\r\n\r\n", appendix(&[])).await.unwrap();
    let dump = run.mailboxes.dump().unwrap();
    run.stop().await;
    ["-wal", "-shm"].into_iter().for_each(remove);
    std::fs::write(&path, old).unwrap();
    let run = node.start();
    assert_eq!(run.mailboxes.dump().unwrap(), dump);
    run.stop().await;

    // The view of another log is not believed.
    let mut other = Node::new(13);
    other.view = ViewPlace::File(path.clone());
    let run = other.start();
    assert_eq!(run.mailboxes.accounts().unwrap(), []);
    run.mailboxes.open_account(&AccountId::new("bob@example.org")).await.unwrap();
    run.stop().await;
    let run = node.start();
    assert_eq!(run.mailboxes.dump().unwrap(), dump);
}
