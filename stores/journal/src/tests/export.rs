use super::*;
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

/// A journal with some messages; what was handed in.
fn filled(house: &House, texts: &'static [&'static str]) -> Vec<TraceId> {
    house.with(|journal| async move {
        let mut traces = Vec::new();
        for text in texts {
            let mut new = message(&journal, "bob@example.com", text);
            new.prefix = String::new();
            let receipt = journal.accept(new).await.unwrap();
            traces.push(receipt.trace);
            receipt.heard();
        }
        traces
    })
}

/// Takes an mbox apart again.
fn read_mbox(text: &str) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with("From ") {
            messages.push(String::new());
            continue;
        }
        let arrows = line.bytes().take_while(|b| *b == b'>').count();
        let quoted = arrows > 0 && line[arrows..].starts_with("From ");
        messages.last_mut().unwrap().push_str(if quoted { &line[1..] } else { line });
    }
    messages.into_iter().map(|m| m.strip_suffix('\n').unwrap().replace('\n', "\r\n")).collect()
}

#[test]
fn an_mbox_can_be_taken_apart_again() {
    let house = House::new(1);
    let texts: &[&str] = &[
        "Subject: a\r\n\r\nplain\r\n",
        "Subject: b\r\n\r\nFrom here on\r\n>From there\r\n>>From\r\n> From\r\nFro\r\nFrom\r\n",
        "From the first line\r\n",
        "Subject: c\r\n\r\n\r\n\r\n",
        ">>>From  \r\n",
    ];
    filled(&house, texts);
    let mut mbox = Vec::new();
    let mut told = 0;
    let exported = house.reader().export_mbox(&mut |_| true, &mut mbox, &mut |_| told += 1).unwrap();
    assert_eq!((exported.messages, told), (5, 5));
    let mbox = String::from_utf8(mbox).unwrap();
    assert!(mbox.starts_with("From anna@example.org Sun Nov 22 10:37:07 2026\nSubject: a\n"), "{mbox}");
    assert_eq!(read_mbox(&mbox), texts);
}

#[test]
fn single_files_hold_the_very_bytes() {
    let house = House::new(2);
    let texts: &[&str] = &["no line end", "From a\r\n", "b\r\n.\r\n"];
    let traces = filled(&house, texts);

    #[derive(Clone, Default)]
    struct Sheet(Rc<RefCell<Vec<u8>>>);
    impl Write for Sheet {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sheets: Vec<(TraceId, Sheet)> = Vec::new();
    let mut wanted = |entry: &JournalEntry| entry.accepted.trace != traces[1];
    let exported = house.reader().export_each(
        &mut wanted,
        &mut |entry| {
            let sheet = Sheet::default();
            sheets.push((entry.accepted.trace, sheet.clone()));
            Ok(Box::new(sheet))
        },
        &mut |_| {},
    );
    assert_eq!(exported.unwrap().messages, 2);
    let found: Vec<(TraceId, Vec<u8>)> = sheets.iter().map(|(t, s)| (*t, s.0.borrow().clone())).collect();
    assert_eq!(found, [(traces[0], texts[0].into()), (traces[2], texts[2].into())]);
}

#[test]
fn a_message_that_cannot_be_read_is_named_and_the_others_are_exported() {
    let house = House::new(3);
    let trace = house.with(|journal| async move {
        let mut writer = journal.begin_body().await.unwrap();
        writer.write(&vec![b'x'; 200_000]).await.unwrap();
        let body = IncomingBody::File(writer.finish().await.unwrap());
        let long = NewMessage { body, ..message(&journal, "bob@example.com", "") };
        let receipt = journal.accept(long).await.unwrap();
        journal.accept(message(&journal, "bob@example.com", "short")).await.unwrap().heard();
        receipt.trace
    });
    let body = house.disk.paths().into_iter().find(|p| p.to_string_lossy().ends_with(".body")).unwrap();
    house.disk.flip(&body, 8 * 100_000);
    let exported = house.reader().export_mbox(&mut |_| true, &mut Vec::new(), &mut |_| {}).unwrap();
    assert_eq!((exported.messages, exported.unreadable), (1, vec![trace]));
    let verified = house.reader().verify(&mut |_| {}).unwrap();
    assert!(matches!(verified.problems[..], [Problem::Body { .. }]), "{:?}", verified.problems);
}

#[test]
fn an_erased_message_is_gone_and_a_collected_one_still_known() {
    let house = House::new(4);
    let traces = filled(&house, &["erase me", "collect me", "keep me"]);
    let (erased, collected) = (traces[0], traces[1]);
    house.with(|journal| async move {
        assert_eq!(journal.erase(&[erased], "anna", "she asked").await.unwrap().records, 1);
        assert_eq!(journal.collect(&[collected], "settled long ago").await.unwrap().records, 1);
        let again = journal.accept(message(&journal, "bob@example.com", "erase me")).await.unwrap();
        assert!(!again.repeated);
    });
    let reader = house.reader();
    assert!(reader.find(erased).unwrap().is_none());
    let known = reader.find(collected).unwrap().unwrap();
    assert_eq!(known.record.erased.as_ref().unwrap().why, "settled long ago");
    assert!(reader.message(&known).is_err() && reader.read(known.position).is_err());
    assert_eq!(reader.scan(None).count(), 2);
    assert!(reader.verify(&mut |_| {}).unwrap().is_clean());
    let erasure = Erasure { who: "anna".into(), why: "again".into(), keep_meta: false };
    let done = erase_offline(&house.world, keys(), House::options(), &[traces[2]], &erasure).unwrap();
    assert_eq!((done.records, reader.scan(None).count()), (1, 1));
}
