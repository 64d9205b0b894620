use super::*;
use crate::content::Span;
use words_mail::{Address, Destination, PrimaryId, TraceTag};

#[tokio::test(start_paused = true)]
async fn an_account_opens_with_its_standard_folders_once() {
    let mut node = Node::new(1);
    let run = node.start();
    run.mailboxes.open_account(&anna()).await.unwrap();
    let dump = run.mailboxes.dump().unwrap();
    run.mailboxes.open_account(&anna()).await.unwrap();
    assert_eq!(run.mailboxes.dump().unwrap(), dump);
    let folders = run.mailboxes.folders(&anna()).unwrap();
    let shown = folders.iter().map(|f| (f.name.as_str(), f.special.map(SpecialUse::attribute), f.uidnext));
    let expected = [
        ("Archive", Some("\\Archive"), 1),
        ("Drafts", Some("\\Drafts"), 1),
        ("INBOX", None, 1),
        ("Junk", Some("\\Junk"), 1),
        ("Sent", Some("\\Sent"), 1),
        ("Trash", Some("\\Trash"), 1),
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
    assert_eq!(run.mailboxes.subscriptions(&anna()).unwrap().len(), 6);
    assert!(folders.iter().all(|f| i64::from(f.uidvalidity) == START.seconds()));
}

#[tokio::test(start_paused = true)]
async fn a_message_arrives_once_however_often_it_is_brought() {
    let mut node = Node::new(2);
    let message = node.message(1, "Subject: hello\r\n\r\nText\r\n");
    let run = node.start();
    // Twice at the same moment, into an account that is not open yet.
    let (account, mailboxes) = (anna(), &run.mailboxes);
    let (a, b) = tokio::join!(mailboxes.arrive(&account, &message), mailboxes.arrive(&account, &message));
    assert_eq!((a.as_ref().unwrap().uid, b.as_ref().unwrap().uid), (1, 1));
    assert_eq!(a.unwrap().folder, "INBOX");
    // Again after a person has moved it away, and after a restart.
    let inbox = run.mailboxes.folder(&anna(), "inbox").unwrap().id;
    run.mailboxes.move_to(&anna(), inbox, &uids("1"), "Archive", By::Person).await.unwrap();
    run.stop().await;
    let run = node.start();
    let again = run.mailboxes.arrive(&anna(), &message).await.unwrap();
    assert_eq!((again.uid, again.fresh), (1, false));
    assert_eq!((run.uids(&anna(), "INBOX"), run.uids(&anna(), "Archive")), (String::new(), "1".into()));
    let found = run.messages(&anna(), "Archive");
    assert_eq!(run.text(&found[0]), "Subject: hello\r\n\r\nText\r\n");
    assert_eq!((found[0].trace, found[0].date), (Some(message.trace), START));
    let archive = run.mailboxes.folder(&anna(), "Archive").unwrap().id;
    assert_eq!(run.mailboxes.copies(&anna(), message.trace).unwrap(), [(archive, 1)]);
    // Another account gets a copy of its own.
    assert!(run.mailboxes.arrive(&AccountId::new("bob@example.org"), &message).await.unwrap().fresh);
}

#[tokio::test(start_paused = true)]
async fn nobody_sees_or_hears_of_a_message_before_it_is_durable() {
    let mut node = Node::new(3);
    let run = node.start();
    run.mailboxes.open_account(&anna()).await.unwrap();
    run.stop().await;
    // The log's writer does not run: nothing can become durable.
    let Ready { mailboxes, applier, writer, .. } = node.open();
    let (_stop, stopped) = watch::channel(false);
    let also = stopped.clone();
    tokio::spawn(async move { applier.run(also).await });
    let inbox = mailboxes.folder(&anna(), "INBOX").unwrap();
    let handle = mailboxes.clone();
    let mut told = mailboxes.watch(&anna());
    let append =
        tokio::spawn(async move { handle.append(&anna(), "INBOX", b"X: y\r\n\r\n", appendix(&[])).await });
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert!(!append.is_finished() && !told.has_changed().unwrap());
    assert_eq!(mailboxes.folder(&anna(), "INBOX").unwrap(), inbox);
    assert_eq!(mailboxes.counts(inbox.id).unwrap(), Counts::default());
    tokio::spawn(writer.run(stopped));
    assert_eq!(append.await.unwrap().unwrap().uid, 1);
    told.changed().await.unwrap();
    assert_eq!(mailboxes.counts(inbox.id).unwrap().messages, 1);
}

#[tokio::test(start_paused = true)]
async fn people_change_what_is_there() {
    let mut node = Node::new(4);
    let run = node.start();
    let mailboxes = &run.mailboxes;
    mailboxes.open_account(&anna()).await.unwrap();
    for n in 1..=5 {
        let text = format!("Subject: {n}\r\n\r\n{n}\r\n");
        mailboxes.append(&anna(), "INBOX", text.as_bytes(), appendix(&["\\Flagged"])).await.unwrap();
    }
    let inbox = mailboxes.folder(&anna(), "INBOX").unwrap().id;
    let before = mailboxes.folder(&anna(), "INBOX").unwrap().modseq;
    let seen: Flags = ["\\Seen", "$Forwarded"].into_iter().collect();
    let stored =
        mailboxes.store(&anna(), inbox, &uids("2:3,9"), (How::Add, &seen), None, By::Person).await.unwrap();
    assert_eq!(stored.changed, uids("2:3"));
    let changed = mailboxes.changed(inbox, before).unwrap();
    assert_eq!(changed.messages.iter().map(|m| m.0).collect::<Vec<_>>(), [2, 3]);
    assert!(changed.messages[0].1.has(Flags::SEEN | Flags::FLAGGED) && changed.expunged.is_empty());
    // Nothing changes: no MODSEQ moves.
    mailboxes.store(&anna(), inbox, &uids("2:3"), (How::Add, &seen), None, By::Person).await.unwrap();
    assert_eq!(mailboxes.changed(inbox, changed.modseq).unwrap().messages, []);

    // Only what has not changed since.
    let since = Some(changed.modseq - 1);
    let flagged = Flags::system(Flags::FLAGGED);
    let stored = mailboxes
        .store(&anna(), inbox, &uids("1:3"), (How::Remove, &flagged), since, By::Person)
        .await
        .unwrap();
    assert_eq!((stored.changed, stored.left), (uids("1"), uids("2:3")));

    let copied = mailboxes.copy(&anna(), inbox, &uids("1,3"), "Archive", By::Person).await.unwrap();
    assert_eq!(copied.pairs, [(uids("1,3"), uids("1:2"))]);
    let moved = mailboxes.move_to(&anna(), inbox, &uids("3:4"), "archive/2026", By::Person).await;
    assert_eq!(moved, Err(MailboxError::NoFolder));
    mailboxes.create(&anna(), "Archive/2026", None, By::Person).await.unwrap();
    let moved = mailboxes.move_to(&anna(), inbox, &uids("3:4"), "Archive/2026", By::Person).await.unwrap();
    assert_eq!(moved.pairs, [(uids("3:4"), uids("1:2"))]);
    let gone = mailboxes.expunge(&anna(), inbox, &uids("1,3"), By::Person).await.unwrap();
    assert_eq!(gone, uids("1"));
    assert_eq!((run.uids(&anna(), "INBOX"), run.uids(&anna(), "Archive/2026")), ("2,5".into(), "1:2".into()));
    assert_eq!(mailboxes.changed(inbox, before).unwrap().expunged, uids("1,3:4"));
    let counts = mailboxes.counts(inbox).unwrap();
    assert_eq!((counts.messages, counts.unseen, counts.deleted, counts.bytes), (2, 1, 0, 34));
    let first = &run.messages(&anna(), "Archive/2026")[0];
    assert_eq!(first.flags, ["\\Seen", "\\Flagged", "$Forwarded"].into_iter().collect());
    assert_eq!(run.text(first), "Subject: 3\r\n\r\n3\r\n");
    assert_eq!(mailboxes.folder(&anna(), "INBOX").unwrap().uidnext, 6);
}

#[tokio::test(start_paused = true)]
async fn folders_are_made_renamed_and_removed() {
    let mut node = Node::new(5);
    let run = node.start();
    let mailboxes = &run.mailboxes;
    let (account, by) = (anna(), By::Person);
    mailboxes.open_account(&account).await.unwrap();
    mailboxes.append(&account, "INBOX", b"X: y\r\n\r\n", appendix(&[])).await.unwrap();
    let deep = mailboxes.create(&account, "a/b/c", None, by).await.unwrap();
    assert_eq!(mailboxes.create(&account, "a/b", None, by).await, Err(MailboxError::Exists));
    assert!(matches!(mailboxes.rename(&account, "a", "a/x", by).await, Err(MailboxError::Refused(_))));
    assert_eq!(mailboxes.rename(&account, "a", "Sent", by).await, Err(MailboxError::Exists));
    assert_eq!(mailboxes.rename(&account, "nowhere", "x", by).await, Err(MailboxError::NoFolder));
    mailboxes.rename(&account, "a", "z/a", by).await.unwrap();
    assert_eq!(mailboxes.folder(&account, "z/a/b/c").unwrap().id, deep);
    assert_eq!(mailboxes.folder(&account, "a"), Err(MailboxError::NoFolder));
    assert!(matches!(mailboxes.delete(&account, "inbox", by).await, Err(MailboxError::Refused(_))));
    // A name used again is another folder.
    let old = mailboxes.folder(&account, "z/a/b/c").unwrap();
    mailboxes.delete(&account, "z/a/b/c", by).await.unwrap();
    mailboxes.create(&account, "z/a/b/c", None, by).await.unwrap();
    let new = mailboxes.folder(&account, "z/a/b/c").unwrap();
    assert!(new.uidvalidity > old.uidvalidity && new.id != old.id);
    // INBOX renamed: its messages go, it stays.
    mailboxes.rename(&account, "INBOX", "old", by).await.unwrap();
    assert_eq!((run.uids(&account, "INBOX"), run.uids(&account, "old")), (String::new(), "1".into()));
    mailboxes.subscribe(&account, "nowhere", true, by).await.unwrap();
    assert!(mailboxes.subscriptions(&account).unwrap().contains(&"nowhere".to_owned()));
    mailboxes.subscribe(&account, "nowhere", false, by).await.unwrap();
    assert!(!mailboxes.subscriptions(&account).unwrap().contains(&"nowhere".to_owned()));
}

const SENT: &str =
    "From: anna@example.org\r\nTo: bob@example.org\r\nSubject: hi\r\nMessage-ID: <1@x>\r\n\r\nText\r\n";

#[tokio::test(start_paused = true)]
async fn what_a_person_sent_is_in_sent_once_whoever_files_it_first() {
    let mut node = Node::new(6);
    let mut ours = node.message(1, &format!("Received: by us\r\n{SENT}"));
    ours.folder = "Sent".into();
    let mut late = node.message(2, &format!("Received: by us\r\n{}", SENT.replace("<1@", "<2@")));
    late.folder = "Sent".into();
    let run = node.start();
    let mailboxes = &run.mailboxes;
    mailboxes.open_account(&anna()).await.unwrap();
    // We first, then the client.
    let placed = mailboxes.arrive(&anna(), &ours).await.unwrap();
    let append = mailboxes.append(&anna(), "Sent", SENT.as_bytes(), appendix(&["\\Seen"])).await.unwrap();
    assert_eq!((append.uid, append.uidvalidity, append.fresh), (placed.uid, placed.uidvalidity, false));
    // The client first, then we; and again after a restart.
    let copy = SENT.replace("<1@", "<2@");
    let append = mailboxes.append(&anna(), "Sent", copy.as_bytes(), appendix(&[])).await.unwrap();
    let placed = mailboxes.arrive(&anna(), &late).await.unwrap();
    assert_eq!((placed.uid, placed.fresh), (append.uid, false));
    run.stop().await;
    node.clock.advance(std::time::Duration::from_secs(3_600));
    let run = node.start();
    assert_eq!(run.mailboxes.arrive(&anna(), &late).await.unwrap().uid, append.uid);
    // An hour later the same text is another message; so is another text at once.
    for text in [SENT, &SENT.replace("Text", "Other text")] {
        assert!(run.mailboxes.append(&anna(), "Sent", text.as_bytes(), appendix(&[])).await.unwrap().fresh);
    }
    assert_eq!(run.uids(&anna(), "Sent"), "1:4");
}

#[tokio::test(start_paused = true)]
async fn our_trace_header_is_recognised_in_what_clients_append() {
    let mut node = Node::new(7);
    let arrival = node.message(1, "x");
    let run = node.start();
    run.mailboxes.open_account(&anna()).await.unwrap();
    let text = format!("{}: {}\r\nSubject: x\r\n\r\n", TraceTag::HEADER, TraceTag::new(arrival.trace, &KEY));
    run.mailboxes.append(&anna(), "Archive", text.as_bytes(), appendix(&[])).await.unwrap();
    let forged =
        format!("{}: {}\r\n\r\n", TraceTag::HEADER, TraceTag::new(arrival.trace, &TraceKey([8; 32])));
    run.mailboxes.append(&anna(), "Archive", forged.as_bytes(), appendix(&[])).await.unwrap();
    let traces = run.messages(&anna(), "Archive").into_iter().map(|m| m.trace).collect::<Vec<_>>();
    assert_eq!(traces, [Some(arrival.trace), None]);
    // An appended copy is read from the mailbox log, trace or no trace.
    assert_eq!(run.text(&run.messages(&anna(), "Archive")[0]), text);
}

#[tokio::test(start_paused = true)]
async fn a_large_message_streams_in_and_out() {
    let mut node = Node::new(8);
    let run = node.start();
    run.mailboxes.open_account(&anna()).await.unwrap();
    let mut append = run.mailboxes.begin_append(&anna(), "Drafts").await.unwrap();
    let head = b"Subject: large\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n";
    append.write(head).await.unwrap();
    for _ in 0..64 {
        append.write(&[b'x'; 64 * 1024]).await.unwrap();
    }
    append.write(b"\r\n--b--\r\n").await.unwrap();
    append.finish(appendix(&["\\Draft"])).await.unwrap();
    let message = &run.messages(&anna(), "Drafts")[0];
    assert_eq!(message.size, head.len() as u64 + 64 * 65_536 + 9);
    let facts = run.mailboxes.facts(message).unwrap();
    assert_eq!(facts.envelope.subject.as_deref(), Some("large"));
    assert_eq!(facts.part.find(&[1]).unwrap().body.len(), 64 * 65_536);
    let span = Span { start: message.size - 9, end: message.size };
    let end = io::read_to_string(run.mailboxes.stretch(&message.body, span).unwrap()).unwrap();
    assert_eq!(end, "\r\n--b--\r\n");
    // Found out once, then kept.
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    let kept = run.mailboxes.inner.view.facts(true, message.body.key().1).unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<crate::content::Facts>(&kept).unwrap(), *facts);
}

#[tokio::test(start_paused = true)]
async fn what_people_did_is_listed_in_order_with_the_messages_it_was_done_to() {
    let mut node = Node::new(9);
    let message = node.message(1, "Subject: x\r\n\r\n");
    let run = node.start();
    let mailboxes = &run.mailboxes;
    mailboxes.arrive(&anna(), &message).await.unwrap();
    let inbox = mailboxes.folder(&anna(), "INBOX").unwrap().id;
    let seen = Flags::system(Flags::SEEN);
    mailboxes.store(&anna(), inbox, &uids("1"), (How::Add, &seen), None, By::Primary).await.unwrap();
    let flagged = Flags::system(Flags::FLAGGED);
    mailboxes.store(&anna(), inbox, &uids("1"), (How::Add, &flagged), None, By::Person).await.unwrap();
    mailboxes.move_to(&anna(), inbox, &uids("1"), "Trash", By::Person).await.unwrap();
    let trash = mailboxes.folder(&anna(), "Trash").unwrap().id;
    mailboxes.expunge(&anna(), trash, &uids("1"), By::Person).await.unwrap();
    mailboxes.arrive(&AccountId::new("bob@example.org"), &message).await.unwrap();

    let changes = mailboxes.changes_since(&anna(), 0, 100).unwrap();
    let kinds = changes.iter().map(|c| match &c.event {
        Event::FlagsChanged { flags, .. } => format!("{flags:?} in {:?}", c.folder),
        Event::Moved { .. } => format!("{:?} to {:?}", c.folder, c.to),
        Event::Expunged { .. } => format!("gone from {:?}", c.folder),
        other => format!("{other:?}"),
    });
    let kinds = kinds.collect::<Vec<_>>();
    assert_eq!(kinds[1..], ["Some(\"INBOX\") to Some(\"Trash\")", "gone from Some(\"Trash\")"]);
    assert_eq!(changes.len(), 3);
    for change in &changes {
        assert_eq!(change.messages.len(), 1, "{change:?}");
        assert_eq!((change.messages[0].uid, change.messages[0].trace), (1, Some(message.trace)));
    }
    mailboxes.set_replayed(&anna(), changes[0].seq).await.unwrap();
    assert_eq!(mailboxes.replayed(&anna()).unwrap(), changes[0].seq);
    assert_eq!(mailboxes.changes_since(&anna(), changes[0].seq, 100).unwrap(), changes[1..]);
    assert_eq!(mailboxes.changes_since(&anna(), 0, 1).unwrap(), changes[..1]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_known_after_a_crash() {
    let mut node = Node::new(10);
    let trace = node.message(1, "x").trace;
    let recipient = Address::parse("anna@example.org").unwrap();
    let attempt = |number| Attempt {
        trace,
        recipient: recipient.clone(),
        destination: Destination::Primary(PrimaryId("p".into())),
        number,
    };
    let run = node.start();
    run.mailboxes.attempt(attempt(1)).await.unwrap();
    run.mailboxes.attempt(attempt(2)).await.unwrap();
    run.kill();
    node.disk.power_off();
    node.disk.restart();
    let run = node.start();
    assert_eq!(run.mailboxes.attempts().unwrap(), [(attempt(2), START)]);
    assert_eq!(run.mailboxes.attempts_of(trace).unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_and_the_uid_it_cost_is_not_given_again() {
    let mut node = Node::new(11);
    let run = node.start();
    run.mailboxes.open_account(&anna()).await.unwrap();
    let account = anna();
    let append = |text: &'static str| run.mailboxes.append(&account, "INBOX", text.as_bytes(), appendix(&[]));
    assert_eq!(append("A: 1\r\n\r\n").await.unwrap().uid, 1);
    node.disk.set_capacity(Some(node.disk.used()));
    assert_eq!(append("A: 2\r\n\r\n").await, Err(MailboxError::Append(stores_log::AppendError::NoSpace)));
    node.disk.set_capacity(None);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(append("A: 3\r\n\r\n").await.unwrap().uid, 3);
    assert_eq!(run.uids(&anna(), "INBOX"), "1,3");
}

#[tokio::test(start_paused = true)]
async fn a_body_leaves_when_no_folder_has_needed_it_for_long_enough() {
    let mut node = Node::new(14);
    let arrival = node.message(1, "Subject: from the journal\r\n\r\n");
    let run = node.start();
    let mailboxes = &run.mailboxes;
    mailboxes.arrive(&anna(), &arrival).await.unwrap();
    for text in ["A: 1\r\n\r\none", "A: 2\r\n\r\ntwo", "A: 3\r\n\r\nthree"] {
        mailboxes.append(&anna(), "INBOX", text.as_bytes(), appendix(&[])).await.unwrap();
    }
    let inbox = mailboxes.folder(&anna(), "INBOX").unwrap().id;
    let bodies = run.messages(&anna(), "INBOX");
    // One is copied, then all but the last are removed.
    mailboxes.copy(&anna(), inbox, &uids("2"), "Archive", By::Person).await.unwrap();
    mailboxes.expunge(&anna(), inbox, &uids("1:3"), By::Person).await.unwrap();
    let day = std::time::Duration::from_secs(86_400);
    assert!(mailboxes.refers_to(arrival.trace, START.before(day)).unwrap());
    assert!(!mailboxes.refers_to(arrival.trace, START.after(day)).unwrap());
    assert_eq!(mailboxes.collect(START).await.unwrap(), 0, "not old enough");
    let dump = mailboxes.dump().unwrap();
    assert_eq!(mailboxes.collect(START.after(day)).await.unwrap(), 1);
    assert_eq!(mailboxes.collect(START.after(day)).await.unwrap(), 0);
    let readable = bodies[1..].iter().map(|m| mailboxes.body(&m.body).is_ok()).collect::<Vec<_>>();
    assert_eq!(readable, [true, false, true]);
    assert_eq!(mailboxes.dump().unwrap(), dump);
    // The events stay: the view comes back as it was.
    run.stop().await;
    let run = node.start();
    assert_eq!(run.mailboxes.dump().unwrap(), dump);
}
