use super::*;
use roads_mirror::Report;
use std::collections::BTreeMap;
use words_mail::{Address, OrderNumber, Plane, PrimaryId, Scope};

const BEGAN: i64 = 1_795_343_827;

fn at(seconds: i64) -> Time {
    Time::from_seconds(BEGAN + seconds)
}

fn event() -> Event {
    Event {
        id: EventId(7),
        primary: PrimaryId("office".into()),
        opened_by: OrderNumber(2),
        opened: at(121),
        began: at(0),
        returned_by: Some(OrderNumber(3)),
        closed_by: Some(OrderNumber(4)),
        closed: Some(at(4_000)),
        planes: vec![Plane::Inbound],
    }
}

fn order(number: u64, seconds: i64, from: State, to: State) -> Order {
    Order {
        number: OrderNumber(number),
        at: at(seconds),
        primary: PrimaryId("office".into()),
        plane: Plane::Inbound,
        from,
        to,
        on: Vec::new(),
        off: Vec::new(),
        scope: Scope::All,
        event: Some(EventId(7)),
        by: "watch".into(),
        why: "because".into(),
        began: None,
        until: None,
        answers: None,
    }
}

fn report(lines: Vec<Line>, reach: Reach) -> Report {
    let exceptions = lines.iter().filter(|l| matches!(l.ended, Ended::Exception { .. })).count() as u64;
    Report {
        event: EventId(7),
        primary: PrimaryId("office".into()),
        from: at(-60),
        until: at(3_990),
        looked: at(3_995),
        reach,
        accepted: 10,
        settled: 10 - exceptions,
        seen: 10 - lines.len() as u64,
        refused: 0,
        unseen: 0,
        waiting: 0,
        changes_wait: false,
        lost: exceptions,
        doubled: 0,
        lines,
        measured: BTreeMap::new(),
    }
}

fn line(from: &str, ended: Ended) -> Line {
    Line {
        stamp: "01A.ff".into(),
        at: at(5),
        from: from.into(),
        to: Address::parse("anna@example.org").unwrap(),
        ended,
    }
}

fn told(report: Option<Report>) -> Told {
    let orders = vec![
        order(1, 2, State::Ready, State::Suspect),
        order(2, 121, State::Suspect, State::Active),
        order(3, 3_900, State::Active, State::Returning),
        order(4, 4_000, State::Returning, State::Ready),
    ];
    let reconciliation = report.map(|report| serde_json::to_value(report).unwrap());
    Told::new("mx.example.org", at(4_001), event(), Gathered { orders, notices: Vec::new(), reconciliation })
}

#[test]
fn three_sentences_say_what_happened_what_became_of_it_and_what_to_do() {
    let told = told(Some(report(Vec::new(), Reach::Mailbox)));
    assert_eq!(
        told.sentences,
        [
            "office counted as down (inbound) from 2026-11-22 10:37:07 UTC until 2026-11-22 11:43:47 UTC; Stormpost carried \
             its mail from 2 min 1 s after the first failed observation on, and took in mail all the time.",
            "Of 10 messages accepted for it, 10 stand in its mailboxes, 0 were lost and 0 arrived twice.",
            "Every one of them was looked for in the primary's mailboxes; nobody needs to do anything.",
        ]
    );
    let Measured { suspect, rto, outage, returning, rpo_messages } = told.measured;
    assert_eq!((suspect, rto, outage, returning), (Some(2.0), 121.0, Some(3_900.0), Some(100.0)));
    assert_eq!(rpo_messages, Some(0));
}

#[test]
fn after_a_relapse_the_outage_lasts_until_the_last_return() {
    let orders = [
        order(2, 121, State::Suspect, State::Active),
        order(3, 300, State::Active, State::Returning),
        order(4, 310, State::Returning, State::Active),
        order(5, 900, State::Active, State::Returning),
        order(6, 905, State::Returning, State::Returning),
    ];
    let measured = measured(&event(), &orders, None);
    assert_eq!((measured.outage, measured.returning), (Some(900.0), Some(3_100.0)));
    assert_eq!(measured.suspect, None);
}

#[test]
fn what_was_not_compared_is_not_called_proved() {
    let told = told(None);
    assert!(told.sentences[1].contains("not been compared"), "{:?}", told.sentences);
    assert!(!told.sentences[2].contains("nobody needs"), "{:?}", told.sentences);
    assert_eq!(told.measured.rpo_messages, None);
    assert!(page::page(&told).contains("not measured"));
}

#[test]
fn without_a_look_into_the_mailboxes_the_report_says_how_far_the_proof_reaches() {
    let unseen = Ended::HandedOverNotSeen { why: "nobody may look further".into() };
    let report = report(vec![line("x@outside.example", unseen)], Reach::Reply);
    assert!(exceptions(&serde_json::to_value(&report).unwrap(), true).is_empty());
    let told = told(Some(report));
    assert!(told.sentences[1].contains("1 were taken by it with a 250"), "{:?}", told.sentences);
    assert!(told.sentences[2].contains("not into the mailbox"), "{:?}", told.sentences);
}

#[test]
fn what_waits_is_for_a_person_to_look_at_once_the_event_is_closed() {
    let waits = Ended::Waits { why: "it waits; last heard: 451 later".into() };
    let report = Report {
        waiting: 1,
        changes_wait: true,
        ..report(vec![line("x@outside.example", waits)], Reach::Mailbox)
    };
    let value = serde_json::to_value(&report).unwrap();
    assert!(exceptions(&value, false).is_empty(), "as it should be");
    assert_eq!(exceptions(&value, true).len(), 2);
    let told = told(Some(report));
    assert!(told.sentences[1].contains("1 still wait here, 0 were lost"), "{:?}", told.sentences);
    assert!(told.sentences[2].contains("needs a person's look"), "{:?}", told.sentences);
    assert!(page::page(&told).contains("it waits; last heard: 451 later"));
}

#[test]
fn what_strangers_write_is_no_markup_in_the_page() {
    let nasty = "\"<script>alert('1')</script>\u{1b}[2J\"@outside.example";
    let why = "550 <img src=x onerror=alert(1)> & more \u{202e}".to_owned();
    let report = report(vec![line(nasty, Ended::Exception { why })], Reach::Mailbox);
    assert_eq!(exceptions(&serde_json::to_value(&report).unwrap(), true).len(), 1);
    let page = page::page(&told(Some(report)));
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{1b}'), "{page}");
    assert!(page.contains("&lt;script&gt;") && page.contains("&amp; more \\u{202e}"));
    assert!(page.contains("needs a person&#39;s look"));
}

#[test]
fn lengths_are_written_as_people_say_them() {
    for (seconds, words) in [(0.0, "0.0 s"), (3.46, "3.5 s"), (252.0, "4 min 12 s"), (7_500.0, "2 h 5 min")] {
        assert_eq!(length(seconds), words);
    }
}

mod written {
    use super::*;
    use crate::report::Reports;
    use std::sync::Arc;
    use stores_ledger::{KeyRing, Ledger, LogOptions, Reconciliation};
    use stores_log::{FaultDisk, LogKind, TestClock, fault_world};
    use tokio::sync::watch;
    use words_world::World;

    fn open(world: &World) -> (Ledger, stores_log::Writer) {
        let mut options = LogOptions::new("/ledger", LogKind::Ledger, "n");
        options.reserve_bytes = 0;
        let (ledger, writer, _) = Ledger::open(world, KeyRing::new([9; 32], &[]), options).unwrap();
        (ledger, writer)
    }

    async fn until(disk: &FaultDisk, wanted: impl Fn(&str) -> bool) -> String {
        for _ in 0..6_000 {
            let page = disk.content(Path::new("/data/reports/event-7.html")).unwrap_or_default();
            let page = String::from_utf8(page).unwrap();
            if wanted(&page) {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no such page came");
    }

    fn reconciliation(report: &Report) -> Entry {
        Entry::Reconciliation(Reconciliation {
            at: report.looked,
            event: EventId(7),
            primary: PrimaryId("office".into()),
            clean: report.is_clean(),
            report: serde_json::to_value(report).unwrap(),
        })
    }

    #[tokio::test]
    async fn a_report_is_written_when_the_event_closes_and_again_when_it_is_reconciled_later() {
        let disk = FaultDisk::new(1);
        let clock = Arc::new(TestClock::new(at(0)));
        let world = fault_world(&disk, &clock, 1);
        let (ledger, writer) = open(&world);
        let (stop_log, log_stopped) = watch::channel(false);
        let writing = tokio::spawn(writer.run(log_stopped));
        let (stop, stopped) = watch::channel(false);
        let reports = Reports::new(&world, &ledger, "mx", PathBuf::from("/data"));
        let following = tokio::spawn(reports.follow(stopped));

        ledger.append(Entry::Order(order(2, 121, State::Ready, State::Active))).await.unwrap();
        ledger.append(Entry::Order(order(3, 300, State::Active, State::Returning))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(disk.content(Path::new("/data/reports/event-7.html")).is_none(), "it is still open");
        ledger.append(reconciliation(&report(Vec::new(), Reach::Mailbox))).await.unwrap();
        ledger.append(Entry::Order(order(4, 400, State::Returning, State::Ready))).await.unwrap();
        until(&disk, |page| page.contains("nobody needs to do anything")).await;

        let lost = Ended::Exception { why: "gone".into() };
        let second = report(vec![line("x@outside.example", lost)], Reach::Mailbox);
        ledger.append(reconciliation(&second)).await.unwrap();
        until(&disk, |page| page.contains("<td>gone</td>")).await;
        assert!(disk.content(Path::new("/data/reports/event-7.json")).is_some());

        stop.send_replace(true);
        following.await.unwrap();

        // What a crash left half done is made good by whoever comes next, and nothing is done twice.
        world.disk.remove(Path::new("/data/reports/event-7.html")).unwrap();
        let (stop_again, stopped) = watch::channel(false);
        let reports = Reports::new(&world, &ledger, "mx", PathBuf::from("/data"));
        let following = tokio::spawn(reports.follow(stopped));
        until(&disk, |page| page.contains("<td>gone</td>")).await;
        stop_again.send_replace(true);
        following.await.unwrap();

        stop_log.send_replace(true);
        writing.await.unwrap();
        let entered = ledger.reader().scan_reports(None).flatten();
        let reports = entered.filter(|entered| matches!(entered.entry, Entry::EventReport(_)));
        assert_eq!(reports.count(), 1, "the closing report stands in the ledger once");
    }
}
