use super::*;
use std::net::Ipv4Addr;
use words_mail::{Address, Check};

fn sender(text: &str) -> Sender {
    Sender(Address::parse(text).ok())
}

fn facts<'a>(source: Source, sender: &'a Sender) -> Facts<'a> {
    Facts {
        source,
        sender,
        hops: 0,
        returned: false,
        author: Author::NotAsked,
        spf: Grade::None,
        dkim: Grade::None,
        dkim_domains: &[],
        dmarc: Grade::None,
        dmarc_asks: DmarcAsks::Nothing,
        arc: Grade::None,
        arc_vouchers: &[],
        size: 1_000,
        size_max: None,
        rate: Rate::Address { sent: 1, most: 100 },
        attachments: None,
        dnsbl: &Asked::Not(Reason::NotConfigured),
        rspamd: &Asked::Not(Reason::NotConfigured),
        clamav: &Asked::Not(Reason::NotConfigured),
    }
}

fn verdict(facts: &Facts<'_>) -> Verdict {
    match judge(facts, &Policy::default()) {
        Judgement::Accept(verdict) => verdict,
        Judgement::Refuse(refusal) => panic!("refused: {}", refusal.reply),
    }
}

fn code(facts: &Facts<'_>, policy: &Policy) -> Option<u16> {
    match judge(facts, policy) {
        Judgement::Accept(_) => None,
        Judgement::Refuse(refusal) => Some(refusal.reply.code),
    }
}

#[test]
fn a_loop_is_parked_even_where_it_would_be_refused() {
    let from = sender("a@b.example");
    let plain = facts(Source::Submission, &from);
    assert_eq!(verdict(&Facts { hops: 50, ..plain.clone() }).action, Action::Deliver);
    for looping in [
        Facts { hops: 51, ..plain.clone() },
        Facts { returned: true, ..plain.clone() },
        Facts { returned: true, author: Author::Foreign, ..plain },
    ] {
        let Action::Park { reason } = verdict(&looping).action else { panic!("delivered") };
        assert!(reason.starts_with("loop: "), "{reason}");
    }
}

#[test]
fn a_bounce_goes_only_where_the_sender_is_believed() {
    let nobody = Sender::NOBODY;
    let anna = sender("anna@mail.example.org");
    let domains = |d: &str| vec![d.to_owned()];
    for (source, from, spf, dkim, expected) in [
        (Source::Edge, &anna, Grade::None, vec![], false),
        (Source::Edge, &anna, Grade::Pass, vec![], true),
        (Source::Edge, &anna, Grade::SoftFail, vec![], false),
        (Source::Edge, &anna, Grade::TempError, vec![], false),
        (Source::Edge, &anna, Grade::Fail, domains("example.org"), true),
        (Source::Edge, &anna, Grade::None, domains("MAIL.example.org"), true),
        (Source::Edge, &anna, Grade::None, domains("ample.org"), false),
        (Source::Edge, &anna, Grade::None, domains("org"), false),
        (Source::Edge, &anna, Grade::None, domains("evil.example.net"), false),
        (Source::Edge, &nobody, Grade::Pass, domains("example.org"), false),
        (Source::Submission, &anna, Grade::None, vec![], true),
        (Source::Own, &anna, Grade::None, vec![], true),
        (Source::Submission, &nobody, Grade::None, vec![], false),
    ] {
        let facts = Facts { spf, dkim_domains: &dkim, ..facts(source, from) };
        assert_eq!(verdict(&facts).may_bounce, expected, "{facts:?}");
    }
}

#[test]
fn people_send_as_themselves() {
    let from = sender("a@b.example");
    let policy = Policy::default();
    for (author, expected) in [
        (Author::Own, None),
        (Author::NotAsked, None),
        (Author::Foreign, Some(550)),
        (Author::Missing, Some(550)),
        (Author::Several, Some(550)),
    ] {
        assert_eq!(
            code(&Facts { author, ..facts(Source::Submission, &from) }, &policy),
            expected,
            "{author:?}"
        );
    }
}

#[test]
fn dmarc_refuses_only_where_both_sides_want_it() {
    let from = sender("a@b.example");
    let (lenient, strict) = (Policy::default(), Policy { refuse_dmarc: true, ..Policy::default() });
    let failed = Facts { dmarc: Grade::Fail, dmarc_asks: DmarcAsks::Reject, ..facts(Source::Edge, &from) };
    assert_eq!(code(&failed, &lenient), None);
    assert_eq!(code(&failed, &strict), Some(550));
    for mild in [
        Facts { dmarc_asks: DmarcAsks::Quarantine, ..failed.clone() },
        Facts { dmarc: Grade::TempError, ..failed.clone() },
        Facts { source: Source::Own, ..failed.clone() },
    ] {
        assert_eq!(code(&mild, &strict), None, "{mild:?}");
    }
}

fn result(facts: &Facts<'_>, policy: &Policy, check: Check) -> CheckAnswer {
    let checks = match judge(facts, policy) {
        Judgement::Accept(verdict) => verdict.checks,
        Judgement::Refuse(refusal) => refusal.checks,
    };
    checks.into_iter().find(|answer| answer.check == check).unwrap()
}

fn spam(wants: &str, score: i64) -> Asked<Spam> {
    let wants = Spam::action(wants).unwrap();
    let answer = Spam { wants, score, required: 1_500, symbols: "GTUBE".into() };
    Asked::Answered { answer, millis: 7 }
}

#[test]
fn every_check_is_recorded_once_with_the_version_of_the_rules() {
    let from = sender("a@b.example");
    for source in [Source::Edge, Source::Submission, Source::Own] {
        let verdict = verdict(&facts(source, &from));
        let named: Vec<Check> = verdict.checks.iter().map(|answer| answer.check).collect();
        assert_eq!((verdict.rules, named), (RULES, Check::ALL.to_vec()));
        for answer in verdict.checks {
            assert!(answer.reason.is_some() || answer.result == CheckResult::Pass, "{answer:?}");
        }
    }
}

#[test]
fn each_word_of_the_spam_filter_has_one_meaning() {
    let from = sender("a@b.example");
    let policy = Policy::default();
    for (wants, reply, action, reason) in [
        ("no action", None, "deliver", None),
        ("greylist", Some(451), "", Some(Reason::ComeAgain)),
        ("soft reject", Some(451), "", Some(Reason::ComeAgain)),
        ("add header", None, "tag", Some(Reason::ProbablySpam)),
        ("rewrite subject", None, "tag", Some(Reason::ProbablySpam)),
        ("quarantine", None, "quarantine", Some(Reason::Spam)),
        ("reject", Some(550), "", Some(Reason::Spam)),
    ] {
        for source in [Source::Edge, Source::Submission] {
            let answer = spam(wants, 1_240);
            let facts = Facts { rspamd: &answer, ..facts(source, &from) };
            assert_eq!(code(&facts, &policy), reply, "{wants}");
            let recorded = result(&facts, &policy, Check::Rspamd);
            assert_eq!(
                (recorded.reason, recorded.score, recorded.millis),
                (reason, Some(1_240), 7),
                "{wants}"
            );
            assert!(recorded.detail.contains("12.40 of 15.00") && recorded.detail.contains("GTUBE"));
            if reply.is_none() {
                assert_eq!(verdict(&facts).action.name(), action, "{wants}");
            }
        }
    }
    let kept = Policy { rspamd: SpamRule { spam: Deed::Quarantine, ..policy.rspamd.clone() }, ..policy };
    let answer = spam("reject", 1_600);
    assert_eq!(code(&Facts { rspamd: &answer, ..facts(Source::Edge, &from) }, &kept), None);
}

#[test]
fn a_dead_scanner_lets_mail_through_or_holds_it_up_as_it_was_told() {
    let from = sender("a@b.example");
    let policy = Policy::default();
    let silent = Asked::Silent { why: "no connection".into(), millis: 30 };
    let open = Facts { rspamd: &silent, ..facts(Source::Edge, &from) };
    assert_eq!(code(&open, &policy), None);
    let recorded = result(&open, &policy, Check::Rspamd);
    assert_eq!((recorded.result, recorded.reason), (CheckResult::Unanswered, Some(Reason::NoAnswer)));
    assert_eq!((recorded.detail.as_str(), recorded.millis), ("no connection", 30));
    let silent = Asked::Silent { why: "no connection".into(), millis: 30 };
    let closed = Facts { clamav: &silent, ..facts(Source::Edge, &from) };
    assert_eq!(code(&closed, &policy), Some(451));
    let wrong = Asked::Wrong { why: "not JSON".into(), millis: 3 };
    let closed = Facts { clamav: &wrong, ..facts(Source::Edge, &from) };
    assert_eq!(result(&closed, &policy, Check::Clamav).reason, Some(Reason::WrongAnswer));
    let large = Asked::TooLarge { most: 5 };
    let unasked = Facts { clamav: &large, ..facts(Source::Edge, &from) };
    assert_eq!(code(&unasked, &policy), None, "what is not sent to a scanner does not fail by it");
    assert_eq!(result(&unasked, &policy, Check::Clamav).reason, Some(Reason::TooLargeToAsk));
}

#[test]
fn the_strongest_answer_counts() {
    let from = sender("a@b.example");
    let policy = Policy {
        clamav: VirusRule { without: Without::Defer, found: Deed::Quarantine },
        ..Policy::default()
    };
    let virus = Asked::Answered { answer: Some("Eicar\r\n".to_owned()), millis: 1 };
    let (tag, reject) = (spam("add header", 700), spam("reject", 2_000));
    let both = Facts { clamav: &virus, rspamd: &tag, ..facts(Source::Edge, &from) };
    let Judgement::Accept(Verdict { action: Action::Quarantine { reason }, .. }) = judge(&both, &policy)
    else {
        panic!()
    };
    assert_eq!(reason, "virus (clamav): Eicar??");
    assert_eq!(code(&Facts { rspamd: &reject, ..both.clone() }, &policy), Some(550));
    let looping = Facts { rspamd: &reject, returned: true, ..both };
    let Judgement::Accept(Verdict { action: Action::Park { .. }, .. }) = judge(&looping, &policy) else {
        panic!()
    };
    let refused = Facts { clamav: &virus, ..facts(Source::Edge, &from) };
    let Judgement::Refuse(refusal) = judge(&refused, &Policy::default()) else { panic!() };
    assert_eq!((refusal.reply.code, refusal.reason), (550, Reason::Virus));
    assert!(refusal.reply.text.contains("Eicar??") && refusal.reply.text.is_ascii());
}

#[test]
fn an_address_on_a_list_is_refused_and_a_silent_list_holds_up_nothing() {
    let from = sender("a@b.example");
    let listing = Listing { zone: "bl.example".into(), code: Ipv4Addr::new(127, 0, 0, 2) };
    let listed = Asked::Answered { answer: Some(listing), millis: 2 };
    let facts = Facts { dnsbl: &listed, ..facts(Source::Edge, &from) };
    assert_eq!(code(&facts, &Policy::default()), Some(550));
    assert_eq!(result(&facts, &Policy::default(), Check::Dnsbl).detail, "bl.example 127.0.0.2");
    assert_eq!(code(&facts, &Policy { dnsbl: Deed::Tag, ..Policy::default() }), None);
    let silent = Asked::Silent { why: "the DNS is too slow".into(), millis: 2_000 };
    assert_eq!(code(&Facts { dnsbl: &silent, ..facts }, &Policy::default()), None);
}

#[test]
fn unwanted_files_are_found_by_name_and_by_what_they_are() {
    let from = sender("a@b.example");
    let rule = AttachmentRule { unwanted: vec!["exe".into(), "js".into()], deed: Deed::Refuse };
    let policy = Policy { attachments: rule, ..Policy::default() };
    let file = |name: &str, really| AttachedFile { name: name.into(), says: "text/plain".into(), really };
    for (files, cut_short, reason) in [
        (vec![], false, None),
        (vec![file("a.txt", None), file("b.exe.txt", Some("pdf"))], false, None),
        (vec![file("a.txt", None), file("B.EXE", None)], false, Some(Reason::AttachmentType)),
        (vec![file("b.exe. ", None)], false, Some(Reason::AttachmentType)),
        (vec![file("holiday.jpg", Some("exe"))], false, Some(Reason::AttachmentType)),
        (vec![file("a.txt", None)], true, Some(Reason::TooManyParts)),
    ] {
        let attachments = Attachments { files, cut_short };
        let facts = Facts { attachments: Some(&attachments), ..facts(Source::Edge, &from) };
        assert_eq!(result(&facts, &policy, Check::Attachments).reason, reason, "{attachments:?}");
        assert_eq!(code(&facts, &policy), reason.map(|_| 550), "{attachments:?}");
        assert_eq!(code(&facts, &Policy::default()), None, "nothing is looked at that nobody named");
    }
}

#[test]
fn a_message_larger_than_its_organisation_wants_is_refused() {
    let from = sender("a@b.example");
    let facts = Facts { size: 11, size_max: Some(10), ..facts(Source::Edge, &from) };
    assert_eq!(code(&facts, &Policy::default()), Some(552));
    assert_eq!(code(&Facts { size: 10, ..facts.clone() }, &Policy::default()), None);
    let (sent, most) = (101, 100);
    for rate in [Rate::Address { sent, most }, Rate::Account { sent, most }] {
        assert_eq!(code(&Facts { rate, size: 1, ..facts.clone() }, &Policy::default()), Some(450));
    }
    let all = Facts { rate: Rate::Account { sent: most, most }, size: 1, ..facts };
    assert_eq!(result(&all, &Policy::default(), Check::Rate).detail, "100 of 100 recipients in this hour");
}

#[test]
fn the_operators_page_names_every_check_and_every_reason() {
    let page = include_str!("../../../docs/policy.md");
    let reasons = Reason::ALL.iter().map(|reason| reason.name());
    for name in Check::ALL.map(Check::name).into_iter().chain(reasons) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/policy.md");
    }
}

#[test]
fn only_a_chain_of_trusted_servers_excuses_a_failure_of_dmarc() {
    let from = sender("a@b.example");
    let names = |list: &[&str]| -> Vec<String> { list.iter().map(|name| (*name).to_owned()).collect() };
    let strict = Policy {
        refuse_dmarc: true,
        trusted_sealers: names(&["list.example", "fwd.example"]),
        ..Policy::default()
    };
    for (arc, vouchers, refused) in [
        (Grade::Pass, &["LIST.example"][..], false),
        (Grade::Pass, &["fwd.example", "list.example"], false),
        (Grade::Pass, &["list.example", "evil.example"], true),
        (Grade::Pass, &["evil.example", "list.example"], true),
        (Grade::Pass, &["sub.list.example"], true),
        (Grade::Pass, &[], true),
        (Grade::Fail, &["list.example"], true),
        (Grade::None, &[], true),
    ] {
        let vouchers = names(vouchers);
        let facts = Facts {
            dmarc: Grade::Fail,
            dmarc_asks: DmarcAsks::Reject,
            arc,
            arc_vouchers: &vouchers,
            ..facts(Source::Edge, &from)
        };
        assert_eq!(code(&facts, &strict).is_some(), refused, "{arc} {vouchers:?}");
        assert_eq!(code(&facts, &Policy::default()), None, "by default it is only recorded");
        if !refused {
            let Judgement::Accept(verdict) = judge(&facts, &strict) else { unreachable!() };
            let dmarc = verdict.checks.iter().find(|answer| answer.check == Check::Dmarc).unwrap();
            assert_eq!((dmarc.result, dmarc.reason), (CheckResult::Noted, Some(Reason::ArcVouches)));
        }
    }
}
