//! A scripted server in memory, and the whole table of how it can fail at each stage.

use super::*;
use crate::scripted::{Act, At, Script, Server, world};
use crate::tls::{Tls, Trust};
use words_mail::{Address, Peer};
use words_smtp::Credentials;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn hop(protocol: Protocol) -> Hop {
    Hop {
        protocol,
        place: Place::Host("192.0.2.1".into(), 25),
        addresses: Vec::new(),
        tls: TlsMode::None,
        trust: Tls::new(&Trust::Anybody).unwrap(),
        sign_in: None,
        helo: "edge.example".into(),
        limits: Limits::primary(),
        safety: None,
        pass_client: false,
    }
}

fn transaction(to: &[&str]) -> Transaction {
    Transaction {
        sender: Sender(Some(address("a@sender.example"))),
        recipients: to.iter().map(|text| Recipient::new(address(text))).collect(),
        with: MailParameters::default(),
        client: None,
    }
}

/// The whole dialogue: begun, then the fates.
async fn hand_over(
    session: &mut Session,
    to: &[&str],
    message: &[u8],
) -> Result<(Begun, Vec<(usize, Fate)>), NotSent> {
    let begun = session.begin(&transaction(to)).await?;
    if begun.accepted.is_empty() {
        return Ok((begun, Vec::new()));
    }
    session.data(message).await?;
    let fates = session.finish().await?;
    Ok((begun, fates))
}

fn answered(fates: &[(usize, Fate)]) -> Vec<(usize, u16)> {
    fates
        .iter()
        .map(|(index, fate)| match fate {
            Fate::Answered(reply) => (*index, reply.code),
            Fate::Unknown(_) => (*index, 0),
        })
        .collect()
}

const MESSAGE: &[u8] = b"Subject: x\r\n\r\n.dot\r\nend\r\n";

#[tokio::test(start_paused = true)]
async fn many_messages_go_over_one_connection_byte_for_byte() {
    for protocol in [Protocol::Smtp, Protocol::Lmtp] {
        for offers in ["PIPELINING\nSIZE 1000000\n8BITMIME", "SIZE"] {
            let server = Server::new(Script { offers: offers.into(), ..Script::new(protocol) });
            let mut session = Session::open(&world(&server), &hop(protocol)).await.unwrap();
            for _ in 0..3 {
                let (begun, fates) =
                    hand_over(&mut session, &["b@x.example", "c@x.example"], MESSAGE).await.unwrap();
                assert_eq!(begun.accepted, [0, 1]);
                assert_eq!(answered(&fates), [(0, 250), (1, 250)]);
            }
            session.quit().await;
            let stored = server.stored();
            assert_eq!(stored.len(), 3);
            assert!(stored.iter().all(|m| m.content == MESSAGE && m.to == ["b@x.example", "c@x.example"]));
            assert_eq!(server.connections(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_recipient_has_an_answer_of_its_own() {
    for offers in ["PIPELINING", ""] {
        let server = Server::new(Script {
            offers: offers.into(),
            refuse: vec![
                ("full@x.example".into(), "452 4.2.2 over quota".into()),
                ("gone@x.example".into(), "550 5.1.1 no such user".into()),
            ],
            ..Script::new(Protocol::Lmtp)
        });
        let mut session = Session::open(&world(&server), &hop(Protocol::Lmtp)).await.unwrap();
        let to = ["full@x.example", "b@x.example", "gone@x.example", "c@x.example"];
        let (begun, fates) = hand_over(&mut session, &to, MESSAGE).await.unwrap();
        let refused: Vec<_> = begun.refused.iter().map(|r| (r.index, r.stage, r.reply.code)).collect();
        assert_eq!(refused, [(0, Stage::Rcpt, 452), (2, Stage::Rcpt, 550)]);
        assert_eq!(answered(&fates), [(1, 250), (3, 250)]);
        assert_eq!(begun.refused[1].reply.enhanced, Some((5, 1, 1)));
        // Nobody taken: nothing is sent, and the connection is still good for the next message.
        let (begun, fates) = hand_over(&mut session, &["gone@x.example"], MESSAGE).await.unwrap();
        assert!(begun.accepted.is_empty() && fates.is_empty());
        let (_, fates) = hand_over(&mut session, &["b@x.example"], MESSAGE).await.unwrap();
        assert_eq!(answered(&fates), [(0, 250)]);
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_data_for_nobody_gets_no_empty_message() {
    let server = Server::new(Script {
        offers: "PIPELINING".into(),
        refuse: vec![("gone@x.example".into(), "550 no".into())],
        data_for_nobody: true,
        ..Script::new(Protocol::Smtp)
    });
    let mut session = Session::open(&world(&server), &hop(Protocol::Smtp)).await.unwrap();
    let begun = session.begin(&transaction(&["gone@x.example"])).await.unwrap();
    assert!(begun.accepted.is_empty());
    assert!(!session.is_usable());
    session.quit().await;
    assert!(server.stored().is_empty());
}

/// Before the final dot every failure is `NotSent` at its stage (or a refusal), after it an unknown outcome; and each is
/// over within its limit.
#[tokio::test(start_paused = true)]
async fn every_stage_may_fail_in_every_way_and_nothing_is_believed_too_early() {
    let stages = [
        (At::Banner, Stage::Banner),
        (At::Hello, Stage::Hello),
        (At::Mail, Stage::Mail),
        (At::Rcpt, Stage::Rcpt),
        (At::Data, Stage::Data),
        (At::Dot, Stage::Dot),
    ];
    for (at, stage) in stages {
        for act in [Act::Hang, Act::Close, Act::Drip, Act::Garbage, Act::Later, Act::Never] {
            for (protocol, offers) in
                [(Protocol::Smtp, "PIPELINING"), (Protocol::Smtp, ""), (Protocol::Lmtp, "PIPELINING")]
            {
                let case = format!("{at:?} {act:?} {protocol:?} {offers}");
                let server = Server::new(Script {
                    offers: offers.into(),
                    fault: Some((at, act)),
                    ..Script::new(protocol)
                });
                let world = world(&server);
                let hop = hop(protocol);
                let began = Instant::now();
                let result = async {
                    let mut session = Session::open(&world, &hop).await?;
                    hand_over(&mut session, &["b@x.example"], MESSAGE).await
                }
                .await;
                assert!(began.elapsed() <= Duration::from_secs(61), "{case} took {:?}", began.elapsed());
                let replied = matches!(act, Act::Later | Act::Never);
                let code = if act == Act::Later { 451 } else { 550 };
                match (at, result) {
                    (At::Banner | At::Hello, Err(failed)) => {
                        assert_eq!(failed.stage, stage, "{case}: {failed}");
                        assert_eq!(failed.reply.is_some(), replied, "{case}");
                    }
                    (At::Mail | At::Rcpt | At::Data, Ok((begun, fates))) if replied => {
                        assert!(fates.is_empty(), "{case}");
                        assert_eq!(
                            (begun.refused[0].stage, begun.refused[0].reply.code),
                            (stage, code),
                            "{case}"
                        );
                    }
                    (At::Mail | At::Rcpt | At::Data, Err(failed)) if !replied => {
                        assert_eq!(failed.stage, stage, "{case}: {failed}");
                    }
                    (At::Dot, Ok((_, fates))) => {
                        let expected = if replied { code } else { 0 };
                        assert_eq!(answered(&fates), [(0, expected)], "{case}: {fates:?}");
                    }
                    (_, other) => panic!("{case}: {other:?}"),
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lmtp_answers_that_came_before_the_break_are_kept() {
    let server = Server::new(Script {
        offers: "PIPELINING".into(),
        dot_answers: Some(1),
        ..Script::new(Protocol::Lmtp)
    });
    let mut session = Session::open(&world(&server), &hop(Protocol::Lmtp)).await.unwrap();
    let (_, fates) = hand_over(&mut session, &["b@x.example", "c@x.example"], MESSAGE).await.unwrap();
    assert_eq!(answered(&fates), [(0, 250), (1, 0)]);
    assert!(!session.is_usable());
}

#[tokio::test(start_paused = true)]
async fn a_message_with_a_bare_line_end_never_gets_its_final_dot() {
    let server = Server::new(Script::new(Protocol::Smtp));
    let mut session = Session::open(&world(&server), &hop(Protocol::Smtp)).await.unwrap();
    let failed = hand_over(&mut session, &["b@x.example"], b"a\r\n.\nMAIL FROM:<x@y>\r\n").await.unwrap_err();
    assert!(failed.unsendable, "{failed}");
    assert!(!session.is_usable());
    drop(session);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(server.stored().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_died_while_idle_hands_nothing_over() {
    let server = Server::new(Script { closes_after: Some(1), ..Script::new(Protocol::Smtp) });
    let mut session = Session::open(&world(&server), &hop(Protocol::Smtp)).await.unwrap();
    hand_over(&mut session, &["b@x.example"], MESSAGE).await.unwrap();
    let failed = hand_over(&mut session, &["b@x.example"], MESSAGE).await.unwrap_err();
    assert_eq!((failed.stage, failed.reply), (Stage::Mail, None));
    assert_eq!(server.stored().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_large_message_is_sent_in_blocks() {
    let server = Server::new(Script::new(Protocol::Smtp));
    let mut session = Session::open(&world(&server), &hop(Protocol::Smtp)).await.unwrap();
    let line = b".twenty bytes a line\r\n";
    let begun = session.begin(&transaction(&["b@x.example"])).await.unwrap();
    assert_eq!(begun.accepted, [0]);
    for _ in 0..50_000 {
        session.data(line).await.unwrap();
    }
    assert!(server.stored().is_empty());
    assert_eq!(answered(&session.finish().await.unwrap()), [(0, 250)]);
    assert_eq!(server.stored()[0].content.len(), 50_000 * line.len());
}

#[tokio::test(start_paused = true)]
async fn the_size_limit_of_the_next_hop_is_its_answer() {
    let server = Server::new(Script { offers: "SIZE 10\nPIPELINING".into(), ..Script::new(Protocol::Smtp) });
    let mut session = Session::open(&world(&server), &hop(Protocol::Smtp)).await.unwrap();
    let mut large = transaction(&["b@x.example"]);
    large.with.size = Some(11);
    let begun = session.begin(&large).await.unwrap();
    assert_eq!((begun.refused[0].reply.code, begun.refused[0].reply.enhanced), (552, Some((5, 3, 4))));
    large.with.size = Some(9);
    assert_eq!(session.begin(&large).await.unwrap().accepted, [0]);
}

#[tokio::test(start_paused = true)]
async fn tls_is_used_as_configured() {
    // (mode, server offers STARTTLS, handshake works) → encrypted, or the stage of failure
    for (mode, offered, works, expected) in [
        (TlsMode::None, true, true, Ok(false)),
        (TlsMode::Opportunistic, true, true, Ok(true)),
        (TlsMode::Opportunistic, false, true, Ok(false)),
        (TlsMode::Opportunistic, true, false, Ok(false)),
        (TlsMode::Required, true, true, Ok(true)),
        (TlsMode::Required, false, true, Err(Stage::Tls)),
        (TlsMode::Required, true, false, Err(Stage::Tls)),
        (TlsMode::Implicit, false, true, Ok(true)),
    ] {
        let server = Server::new(Script {
            offers: if offered { "STARTTLS\nPIPELINING".into() } else { "PIPELINING".into() },
            implicit_tls: mode == TlsMode::Implicit,
            fault: (!works).then_some((At::Handshake, Act::Hang)),
            ..Script::new(Protocol::Smtp)
        });
        let hop = Hop { tls: mode, ..hop(Protocol::Smtp) };
        let opened = Session::open(&world(&server), &hop).await;
        let case = format!("{mode:?} offered {offered} works {works}");
        assert_eq!(opened.as_ref().map(Session::encrypted).map_err(|e| e.stage), expected, "{case}");
        if let Ok(mut session) = opened {
            hand_over(&mut session, &["b@x.example"], MESSAGE).await.unwrap();
            assert_eq!(server.stored().len(), 1, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_given_certificate_or_its_authority_is_believed() {
    let server = Server::new(Script { offers: "STARTTLS".into(), ..Script::new(Protocol::Smtp) });
    let stranger = Server::new(Script::new(Protocol::Smtp));
    for (trust, believed) in [
        (Trust::Given(vec![server.certificate()]), true),
        (Trust::Given(vec![stranger.certificate()]), false),
        (Trust::Public, false),
        (Trust::Anybody, true),
    ] {
        let hop = Hop { tls: TlsMode::Required, trust: Tls::new(&trust).unwrap(), ..hop(Protocol::Smtp) };
        let opened = Session::open(&world(&server), &hop).await;
        assert_eq!(opened.is_ok(), believed, "{trust:?}: {:?}", opened.err());
    }
    // Where nobody insists, a certificate that nobody knows is better than plain text, but not for a password.
    let loose =
        Hop { tls: TlsMode::Opportunistic, trust: Tls::new(&Trust::Public).unwrap(), ..hop(Protocol::Smtp) };
    assert!(Session::open(&world(&server), &loose).await.unwrap().encrypted());
    let sign_in = Some(Credentials { user: "us".into(), password: "secret".into() });
    let failed = Session::open(&world(&server), &Hop { sign_in, ..loose }).await.unwrap_err();
    assert_eq!((failed.stage, server.signed_in()), (Stage::SignIn, false));
    assert!(Tls::new(&Trust::Given(Vec::new())).is_err());
    assert!(Trust::from_pem(b"nothing here").is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_injected_behind_starttls_is_not_believed() {
    let server = Server::new(Script {
        offers: "STARTTLS".into(),
        injects: "250-evil\r\n250 AUTH LOGIN\r\n".into(),
        ..Script::new(Protocol::Smtp)
    });
    let hop = Hop { tls: TlsMode::Required, ..hop(Protocol::Smtp) };
    let session = Session::open(&world(&server), &hop).await.unwrap();
    assert!(session.offered().auth.is_empty() && session.encrypted());
}

#[tokio::test(start_paused = true)]
async fn a_password_is_said_only_where_it_is_safe() {
    let sign_in = Some(Credentials { user: "us".into(), password: "secret".into() });
    for (mode, offers, expected) in [
        (TlsMode::Required, "STARTTLS\nAUTH PLAIN LOGIN", Ok(())),
        (TlsMode::Required, "STARTTLS\nAUTH LOGIN", Ok(())),
        (TlsMode::None, "AUTH PLAIN", Ok(())),
        (TlsMode::Opportunistic, "AUTH PLAIN", Err(Stage::SignIn)),
        (TlsMode::Required, "STARTTLS\nAUTH GSSAPI", Err(Stage::SignIn)),
    ] {
        let server = Server::new(Script { offers: offers.into(), ..Script::new(Protocol::Smtp) });
        let hop = Hop { tls: mode, sign_in: sign_in.clone(), ..hop(Protocol::Smtp) };
        let opened = Session::open(&world(&server), &hop).await;
        assert_eq!(opened.map(|_| ()).map_err(|e| e.stage), expected, "{mode:?} {offers}");
        assert_eq!(server.signed_in(), expected.is_ok(), "{mode:?} {offers}");
    }
    let server = Server::new(Script {
        offers: "AUTH PLAIN".into(),
        fault: Some((At::SignIn, Act::Never)),
        ..Script::new(Protocol::Smtp)
    });
    let hop = Hop { sign_in, ..hop(Protocol::Smtp) };
    let failed = Session::open(&world(&server), &hop).await.unwrap_err();
    assert_eq!(failed.stage, Stage::SignIn, "a wrong password of ours is no fault of the mail");
}

fn peer(ip: &str, helo: &str) -> Peer {
    Peer {
        ip: ip.parse().unwrap(),
        helo: helo.into(),
        protocol: "ESMTP".into(),
        tls: None,
        account: None,
        name: None,
        port: None,
    }
}

fn brought_by(ip: &str, helo: &str) -> Transaction {
    Transaction { client: Some(peer(ip, helo)), ..transaction(&["b@x.example"]) }
}

#[tokio::test(start_paused = true)]
async fn the_client_is_passed_on_once_per_client() {
    for (protocol, greetings) in [
        (Protocol::Smtp, &["me.example", "client.example", "client.example", "else.example"][..]),
        (Protocol::Lmtp, &["me.example"; 4]),
    ] {
        let server =
            Server::new(Script { offers: "XCLIENT ADDR HELO\nPIPELINING".into(), ..Script::new(protocol) });
        let hop = Hop { pass_client: true, helo: "me.example".into(), ..hop(protocol) };
        let mut session = Session::open(&world(&server), &hop).await.unwrap();
        for (ip, helo) in [
            ("198.51.100.7", "client.example"),
            ("198.51.100.7", "client.example"),
            ("198.51.100.8", "client.example"),
            ("198.51.100.8", "else.example"),
        ] {
            session.begin(&brought_by(ip, helo)).await.unwrap();
            session.data(MESSAGE).await.unwrap();
            assert_eq!(answered(&session.finish().await.unwrap()), [(0, 250)]);
        }
        assert_eq!(
            server.clients(),
            [
                "ADDR=198.51.100.7 HELO=client.example",
                "ADDR=198.51.100.8 HELO=client.example",
                "ADDR=198.51.100.8 HELO=else.example"
            ]
        );
        assert_eq!(server.greetings(), greetings);
        assert!(!session.suits(&transaction(&["b@x.example"])), "our own mail is no client's");
        let refused = session.begin(&transaction(&["b@x.example"])).await.unwrap_err();
        assert!(refused.reply.is_none() && !session.is_usable(), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dialogue_in_which_we_speak_for_a_client_carries_nobody_elses_mail() {
    let server = Server::new(Script {
        offers: "XCLIENT ADDR HELO\nPIPELINING".into(),
        client_once: true,
        ..Script::new(Protocol::Smtp)
    });
    let hop = Hop { pass_client: true, ..hop(Protocol::Smtp) };
    let mut session = Session::open(&world(&server), &hop).await.unwrap();
    let (first, other) = (brought_by("198.51.100.7", "a.example"), brought_by("198.51.100.8", "a.example"));
    for _ in 0..2 {
        assert!(session.suits(&first));
        session.begin(&first).await.unwrap();
        session.data(MESSAGE).await.unwrap();
        assert_eq!(answered(&session.finish().await.unwrap()), [(0, 250)]);
    }
    assert!(!session.suits(&other), "Postfix would take it for the first one's");
    assert!(session.begin(&other).await.is_err() && !session.is_usable());
    assert_eq!(server.clients(), ["ADDR=198.51.100.7 HELO=a.example"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_let_us_speak_for_clients_gets_the_mail_all_the_same() {
    let offers = "XCLIENT ADDR HELO\nPIPELINING";
    let server = Server::new(Script {
        offers: offers.into(),
        fault: Some((At::Client, Act::Never)),
        ..Script::new(Protocol::Smtp)
    });
    let hop = Hop { pass_client: true, ..hop(Protocol::Smtp) };
    assert!(matches!(passing(&world(&server), &hop).await, Ok(Passing::Refused(_))));
    let mut session = Session::open(&world(&server), &hop).await.unwrap();
    for ip in ["198.51.100.7", "198.51.100.8"] {
        session.begin(&brought_by(ip, "client.example")).await.unwrap();
        session.data(MESSAGE).await.unwrap();
        assert_eq!(answered(&session.finish().await.unwrap()), [(0, 250)]);
    }
    assert_eq!(server.clients().len(), 2, "once by the look and once in the dialogue, not for each message");
    assert!(session.suits(&transaction(&["b@x.example"])));
    for (offers, expected) in [(offers, Passing::Taken), ("PIPELINING", Passing::NotOffered)] {
        let server = Server::new(Script { offers: offers.into(), ..Script::new(Protocol::Smtp) });
        assert_eq!(passing(&world(&server), &hop).await.unwrap(), expected);
        assert!(server.stored().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_called_itself_nonsense_is_greeted_by_our_name() {
    let server =
        Server::new(Script { offers: "XCLIENT ADDR HELO\nPIPELINING".into(), ..Script::new(Protocol::Smtp) });
    let hop = Hop { pass_client: true, helo: "me.example".into(), ..hop(Protocol::Smtp) };
    let mut session = Session::open(&world(&server), &hop).await.unwrap();
    session.begin(&brought_by("198.51.100.7", "two words")).await.unwrap();
    assert_eq!(server.greetings(), ["me.example", "me.example"]);
    assert_eq!(server.clients(), ["ADDR=198.51.100.7 HELO=two+20words"]);
}

#[tokio::test(start_paused = true)]
async fn an_old_server_is_greeted_as_it_knows() {
    let server = Server::new(Script { knows_ehlo: false, ..Script::new(Protocol::Smtp) });
    let mut session = Session::open(&world(&server), &hop(Protocol::Smtp)).await.unwrap();
    hand_over(&mut session, &["b@x.example"], MESSAGE).await.unwrap();
    assert_eq!(server.stored().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_tells_how_far_it_came_and_hands_nothing_over() {
    let someone = [address("canary@x.example")];
    for (fault, up, stage) in [
        (None, true, Stage::Rcpt),
        (Some((At::Banner, Act::Hang)), false, Stage::Banner),
        (Some((At::Hello, Act::Drip)), false, Stage::Hello),
        (Some((At::Mail, Act::Later)), false, Stage::Mail),
        (Some((At::Mail, Act::Never)), false, Stage::Mail),
        (Some((At::Rcpt, Act::Later)), false, Stage::Rcpt),
        (Some((At::Rcpt, Act::Never)), true, Stage::Rcpt),
        (Some((At::Rcpt, Act::Close)), false, Stage::Rcpt),
        (Some((At::Connect, Act::Close)), false, Stage::Connect),
    ] {
        let server = Server::new(Script { fault, ..Script::new(Protocol::Smtp) });
        let hop = hop(Protocol::Smtp);
        let hop = Hop { limits: hop.limits.at_most(Duration::from_secs(3)), ..hop };
        let began = Instant::now();
        let seen = probe(&world(&server), &hop, &Sender::NOBODY, &someone).await;
        assert_eq!(
            (seen.is_up(), seen.steps.last().unwrap().stage),
            (up, stage),
            "{fault:?}: {}",
            seen.words()
        );
        assert!(began.elapsed() < Duration::from_secs(5), "{fault:?}");
        assert!(server.stored().is_empty());
        assert!(!seen.words().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn asking_about_a_recipient_knows_yes_no_and_nothing() {
    let refuse = |everything: bool| Script {
        refuse: vec![
            ("gone@x.example".into(), "550 5.1.1 no".into()),
            ("grey@x.example".into(), "451 4.7.1 later".into()),
            (if everything { "*".into() } else { "-".into() }, "550 5.1.1 no".into()),
        ],
        known: vec!["b@x.example".into()],
        ..Script::new(Protocol::Smtp)
    };
    let ask = async |script: Script, text: &str| {
        let server = Server::new(script);
        call_out(&world(&server), &hop(Protocol::Smtp), &address(text), true).await
    };
    let strict = ask(refuse(true), "b@x.example").await;
    assert!(matches!(strict, CallOut::Yes { takes_anything: false, .. }), "{strict:?}");
    let loose = ask(refuse(false), "b@x.example").await;
    assert!(matches!(loose, CallOut::Yes { takes_anything: true, .. }), "{loose:?}");
    assert!(matches!(ask(refuse(true), "gone@x.example").await, CallOut::No(reply) if reply.code == 550));
    assert!(matches!(ask(refuse(true), "grey@x.example").await, CallOut::CannotTell(_)));
    let dead = Script { fault: Some((At::Banner, Act::Close)), ..refuse(true) };
    assert!(matches!(ask(dead, "b@x.example").await, CallOut::CannotTell(_)));
}
