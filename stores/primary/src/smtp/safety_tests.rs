use super::*;
use crate::scripted::{Act, At, Script, Server, world};
use crate::tls::{Proof, Tls, TlsFault, TlsMode, Trust};
use std::sync::{Arc, Mutex};
use words_smtp::client::Protocol;
use words_world::Tlsa;

fn hop(safety: Option<Safety>) -> Hop {
    Hop {
        protocol: Protocol::Smtp,
        place: Place::Host("192.0.2.1".into(), 25),
        addresses: Vec::new(),
        tls: TlsMode::Opportunistic,
        trust: Tls::new(&Trust::Anybody).unwrap(),
        sign_in: None,
        helo: "edge.example".into(),
        limits: Limits::primary(),
        safety,
        pass_client: false,
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_domain_demands_is_proved_or_nothing_is_sent() {
    use TlsFault::{NotNamed, NotOffered, Other, Untrusted};
    let offers = |tls: bool| Script {
        offers: if tls { "STARTTLS\nPIPELINING".into() } else { "PIPELINING".into() },
        ..Script::new(Protocol::Smtp)
    };
    let dane = |association: Vec<u8>| Proof::Dane {
        records: vec![Tlsa { usage: 3, selector: 0, matching: 0, association }],
        names: vec![],
    };
    // what is to be proved: (nothing, a valid certificate, a named one), whether it is so, whether it is demanded, STARTTLS
    // offered → encrypted or not, and what is told
    for (proof, so, demanded, tls, opened, told) in [
        ("nothing", true, false, true, Some(true), None),
        ("nothing", true, false, false, Some(false), Some(NotOffered)),
        ("nothing", true, true, true, Some(true), None),
        ("nothing", true, true, false, None, Some(NotOffered)),
        ("valid", true, true, true, Some(true), None),
        ("valid", false, true, true, None, Some(Untrusted)),
        ("valid", false, false, true, Some(true), Some(Untrusted)),
        ("valid", true, true, false, None, Some(NotOffered)),
        ("valid", true, false, false, Some(false), Some(NotOffered)),
        ("dane", true, true, true, Some(true), None),
        ("dane", false, true, true, None, Some(NotNamed)),
        ("dane", true, true, false, None, Some(NotOffered)),
    ] {
        let case = format!("{proof} {so} demanded {demanded} tls {tls}");
        let server = Server::new(offers(tls));
        let stranger = Server::new(offers(true));
        let certificate = if so { server.certificate() } else { stranger.certificate() };
        let heard: Arc<Mutex<Vec<Option<TlsFault>>>> = Arc::default();
        let hears = heard.clone();
        let safety = Safety {
            trust: Tls::new(&Trust::Given(vec![certificate.clone()])).unwrap(),
            proof: match proof {
                "nothing" => Proof::Nothing,
                "valid" => Proof::Valid,
                _ => dane(certificate.to_vec()),
            },
            demanded,
            by: "DANE",
            told: Some(Arc::new(move |went: Went| {
                assert_eq!(went.address, Some("192.0.2.1".parse().unwrap()));
                hears.lock().unwrap().push(went.trouble.map(|trouble| trouble.fault));
            })),
        };
        let result = Session::open(&world(&server), &hop(Some(safety))).await;
        assert_eq!(result.as_ref().map(Session::encrypted).ok(), opened, "{case}: {:?}", result.err());
        assert_eq!(*heard.lock().unwrap(), [told], "{case}");
        if let Err(failed) = result {
            assert_eq!(failed.stage, Stage::Tls, "{case}");
            assert!(failed.why.starts_with("4.7.5 its domain demands safety (DANE)"), "{}", failed.why);
        }
    }
    let hangs = Server::new(Script { fault: Some((At::Handshake, Act::Hang)), ..offers(true) });
    let heard: Arc<Mutex<Vec<Option<TlsFault>>>> = Arc::default();
    let hears = heard.clone();
    let safety = Safety {
        trust: Tls::new(&Trust::Public).unwrap(),
        proof: Proof::Nothing,
        demanded: false,
        by: "",
        told: Some(Arc::new(move |went| hears.lock().unwrap().push(went.trouble.map(|t| t.fault)))),
    };
    let session = Session::open(&world(&hangs), &hop(Some(safety))).await.unwrap();
    assert!(!session.encrypted(), "nobody demanded it, so the mail goes on in plain text");
    assert_eq!(*heard.lock().unwrap(), [Some(Other)]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_dead_says_nothing_about_encryption() {
    let server = Server::new(Script { fault: Some((At::Banner, Act::Close)), ..Script::new(Protocol::Smtp) });
    let heard = Arc::new(Mutex::new(0));
    let hears = heard.clone();
    let safety = Safety {
        trust: Tls::new(&Trust::Public).unwrap(),
        proof: Proof::Valid,
        demanded: true,
        by: "MTA-STS",
        told: Some(Arc::new(move |_| *hears.lock().unwrap() += 1)),
    };
    let failed = Session::open(&world(&server), &hop(Some(safety))).await.unwrap_err();
    assert_eq!((failed.stage, *heard.lock().unwrap()), (Stage::Banner, 0));
}
