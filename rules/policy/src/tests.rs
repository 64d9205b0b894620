use super::*;
use words_mail::Address;

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
    }
}

fn verdict(facts: &Facts<'_>) -> Verdict {
    match judge(facts, &Policy::default()) {
        Judgement::Accept(verdict) => verdict,
        Judgement::Refuse(reply) => panic!("refused: {reply}"),
    }
}

fn code(facts: &Facts<'_>, policy: &Policy) -> Option<u16> {
    match judge(facts, policy) {
        Judgement::Accept(_) => None,
        Judgement::Refuse(reply) => Some(reply.code),
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
