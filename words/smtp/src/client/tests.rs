use super::*;
use crate::reply::ReplyReader;

fn offered(text: &str) -> Capabilities {
    let mut reader = ReplyReader::new();
    reader.feed(text.as_bytes()).unwrap();
    Capabilities::read(&reader.answer().unwrap().unwrap())
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn said(command: Result<Vec<u8>, CannotSay>) -> String {
    String::from_utf8(command.unwrap()).unwrap()
}

#[test]
fn an_ehlo_answer_is_read_whatever_its_spelling() {
    let all = offered(
        "250-mx Hello\r\n250-size 1000\r\n250-Pipelining\r\n250-8BITMIME\r\n250-AUTH=LOGIN\r\n250-AUTH PLAIN LOGIN\r\n\
         250-DSN\r\n250-STARTTLS\r\n250-XCLIENT NAME ADDR HELO\r\n250-X-UNKNOWN 3\r\n250 SMTPUTF8\r\n",
    );
    assert!(all.pipelining && all.eight_bit && all.dsn && all.starttls && all.utf8 && !all.chunking);
    assert_eq!(all.size, Some(1000));
    assert_eq!(all.auth, ["LOGIN", "PLAIN", "LOGIN"]);
    assert_eq!(all.xclient, ["NAME", "ADDR", "HELO"]);
    assert_eq!(offered("250 STARTTLS\r\n"), Capabilities::default(), "the greeting line offers nothing");
    assert_eq!(offered("250-x\r\n250 SIZE\r\n").size, Some(0));
}

#[test]
fn only_what_was_offered_is_said() {
    let with = MailParameters {
        size: Some(10),
        eight_bit: true,
        utf8: false,
        ret: Some(Ret::Headers),
        envid: Some("a+2Bb".into()),
    };
    let sender = Sender(Some(address("a@b.example")));
    let nothing = Capabilities::default();
    assert_eq!(said(mail(&sender, &with, &nothing)), "MAIL FROM:<a@b.example>\r\n");
    assert_eq!(said(mail(&Sender::NOBODY, &MailParameters::default(), &nothing)), "MAIL FROM:<>\r\n");
    let all =
        Capabilities { size: Some(0), eight_bit: true, dsn: true, utf8: true, ..Capabilities::default() };
    assert_eq!(
        said(mail(&sender, &with, &all)),
        "MAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=a+2Bb\r\n"
    );
    let mut recipient = Recipient::new(address("\"odd one\"@x.example"));
    recipient.notify = Some(Notify { failure: true, delay: true, ..Notify::default() });
    recipient.orcpt = Some("rfc822;odd@x".into());
    assert_eq!(said(rcpt(&recipient, &nothing)), "RCPT TO:<\"odd one\"@x.example>\r\n");
    assert_eq!(
        said(rcpt(&recipient, &all)),
        "RCPT TO:<\"odd one\"@x.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;odd@x\r\n"
    );
}

#[test]
fn what_the_next_hop_cannot_take_is_known_before_it_is_said() {
    let small = Capabilities { size: Some(9), ..Capabilities::default() };
    let sized = MailParameters { size: Some(10), ..MailParameters::default() };
    assert_eq!(mail(&Sender::NOBODY, &sized, &small), Err(CannotSay::TooLarge(9)));
    let umlaut = Recipient::new(address("zoë@x.example"));
    assert_eq!(rcpt(&umlaut, &small), Err(CannotSay::NeedsUtf8));
    let utf8 = Capabilities { utf8: true, ..Capabilities::default() };
    assert_eq!(said(rcpt(&umlaut, &utf8)), "RCPT TO:<zoë@x.example>\r\n");
    assert!(said(mail(&Sender(Some(umlaut.address)), &sized, &utf8)).ends_with(" SMTPUTF8\r\n"));
}

#[test]
fn no_argument_starts_a_second_command() {
    let dsn =
        Capabilities { dsn: true, xclient: vec!["ADDR".into(), "HELO".into()], ..Capabilities::default() };
    assert_eq!(hello(Protocol::Smtp, "a\r\nQUIT"), Err(CannotSay::ControlByte));
    assert_eq!(helo("a b"), Err(CannotSay::ControlByte));
    let with = MailParameters { envid: Some("x\r\nRSET".into()), ..MailParameters::default() };
    assert_eq!(mail(&Sender::NOBODY, &with, &dsn), Err(CannotSay::ControlByte));
    let mut recipient = Recipient::new(address("a@b.example"));
    recipient.orcpt = Some("x SIZE=1".into());
    assert_eq!(rcpt(&recipient, &dsn), Err(CannotSay::ControlByte));
    assert_eq!(auth_plain("a\0b", "c"), Err(CannotSay::ControlByte));
    let evil = Peer { ip: "::1".parse().unwrap(), helo: "evil\r\nDATA".into(), ..client() };
    assert_eq!(xclient(&evil, &dsn).unwrap().unwrap(), b"XCLIENT ADDR=IPV6:::1 HELO=evil+0D+0ADATA\r\n");
}

fn client() -> Peer {
    Peer {
        ip: "192.0.2.7".parse().unwrap(),
        helo: "a.example".into(),
        protocol: "ESMTPS".into(),
        tls: None,
        account: None,
        name: None,
        port: Some(40_001),
    }
}

#[test]
fn the_client_is_told_in_every_attribute_that_is_taken() {
    let all = ["NAME", "ADDR", "PROTO", "HELO", "REVERSE_NAME", "PORT", "LOGIN", "DESTADDR", "DESTPORT"];
    let all = Capabilities { xclient: all.map(str::to_owned).to_vec(), ..Capabilities::default() };
    for (name, protocol, expected) in [
        (
            Some(PeerName::Verified("mail.a.example".into())),
            "ESMTPS",
            "NAME=mail.a.example REVERSE_NAME=mail.a.example PORT=40001 PROTO=ESMTP",
        ),
        (
            Some(PeerName::Unverified("odd name=+.example".into())),
            "SMTP",
            "NAME=[UNAVAILABLE] REVERSE_NAME=odd+20name+3D+2B.example PORT=40001 PROTO=SMTP",
        ),
        (
            Some(PeerName::Nameless),
            "ESMTP",
            "NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] PORT=40001 PROTO=ESMTP",
        ),
        (None, "ESMTP", "NAME=[TEMPUNAVAIL] REVERSE_NAME=[TEMPUNAVAIL] PORT=40001 PROTO=ESMTP"),
    ] {
        let client = Peer { name, protocol: protocol.into(), ..client() };
        let expected = format!("XCLIENT ADDR=192.0.2.7 {expected} HELO=a.example LOGIN=[UNAVAILABLE]\r\n");
        assert_eq!(said(xclient(&client, &all).map(Option::unwrap)), expected);
    }
    assert_eq!(xclient(&client(), &Capabilities::default()), Ok(None));
}

#[test]
fn sign_in_is_said_as_servers_expect() {
    assert_eq!(said(auth_plain("anna", "s3cret")), "AUTH PLAIN AGFubmEAczNjcmV0\r\n");
    assert_eq!(auth_login_answer("anna"), b"YW5uYQ==\r\n");
    assert_eq!(said(hello(Protocol::Lmtp, "here.example")), "LHLO here.example\r\n");
}
