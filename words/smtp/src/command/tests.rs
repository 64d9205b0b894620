use super::*;
use proptest::prelude::*;

fn code(line: &str) -> u16 {
    match Command::parse(line.as_bytes()) {
        Ok(command) => panic!("{line:?} was taken for {command:?}"),
        Err(reply) => {
            assert_eq!(reply.enhanced.map(|e| e.0), Some(5), "{line:?}: {reply}");
            assert!(reply.text.len() > 10, "{line:?}: no words");
            reply.code
        }
    }
}

fn sender(line: &str) -> String {
    match Command::parse(line.as_bytes()) {
        Ok(Command::Mail(mail)) => mail.sender.to_string(),
        other => panic!("{line:?}: {other:?}"),
    }
}

fn recipient(line: &str) -> Recipient {
    match Command::parse(line.as_bytes()) {
        Ok(Command::Rcpt(recipient)) => recipient,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[test]
fn plain_commands_are_known_in_any_letter_case() {
    for (line, command) in [
        ("HELO mail.example.org", Command::Helo("mail.example.org".into())),
        ("ehlo [192.0.2.1]", Command::Ehlo("[192.0.2.1]".into())),
        ("EHLO [IPv6:2001:db8::1]", Command::Ehlo("[IPv6:2001:db8::1]".into())),
        ("EHLO under_score", Command::Ehlo("under_score".into())),
        ("lhlo there", Command::Lhlo("there".into())),
        ("EHLO  two-spaces ", Command::Ehlo("two-spaces".into())),
        ("DATA", Command::Data),
        ("data  ", Command::Data),
        ("RSET", Command::Rset),
        ("NOOP", Command::Noop),
        ("NOOP what ever", Command::Noop),
        ("QUIT", Command::Quit),
        ("quit", Command::Quit),
        ("VRFY anna", Command::Vrfy),
        ("VRFY", Command::Vrfy),
        ("EXPN list", Command::Expn),
        ("HELP", Command::Help),
        ("help MAIL", Command::Help),
        ("STARTTLS", Command::StartTls),
        ("BDAT 10", Command::Bdat { octets: 10, last: false }),
        ("bdat 0 last", Command::Bdat { octets: 0, last: true }),
        ("AUTH PLAIN", Command::Auth { mechanism: Mechanism::Plain, initial: None }),
        ("AUTH login", Command::Auth { mechanism: Mechanism::Login, initial: None }),
        ("AUTH LOGIN dGlt", Command::Auth { mechanism: Mechanism::Login, initial: Some("tim".into()) }),
        ("AUTH PLAIN =", Command::Auth { mechanism: Mechanism::Plain, initial: Some("".into()) }),
        ("GET / HTTP/1.1", Command::Http),
        ("POST /x HTTP/1.1", Command::Http),
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{line:?}");
    }
}

#[test]
fn senders_are_read() {
    for (line, address) in [
        ("MAIL FROM:<>", ""),
        ("MAIL FROM: <>", ""),
        ("mail from:<anna@example.org>", "anna@example.org"),
        ("MAIL FROM:<Anna@EXAMPLE.org>", "Anna@example.org"),
        ("MAIL FROM: <anna@example.org>", "anna@example.org"),
        ("MAIL FROM:anna@example.org", "anna@example.org"),
        ("MAIL FROM:anna@example.org SIZE=5", "anna@example.org"),
        ("MAIL FROM:<\"a b\"@example.org>", "\"a b\"@example.org"),
        ("MAIL FROM:<\"a>b\"@example.org>", "\"a>b\"@example.org"),
        ("MAIL FROM:<\"a@b\"@example.org>", "\"a@b\"@example.org"),
        ("MAIL FROM:<\"a\\\"b\"@example.org>", "\"a\\\"b\"@example.org"),
        ("MAIL FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]"),
        ("MAIL FROM:<@one,@two:joe@three>", "joe@three"),
        ("MAIL FROM:<zo\u{eb}@example.org> SMTPUTF8", "zo\u{eb}@example.org"),
    ] {
        assert_eq!(sender(line), address, "{line:?}");
    }
}

#[test]
fn recipients_are_read() {
    for (line, address) in [
        ("RCPT TO:<anna@example.org>", "anna@example.org"),
        ("RCPT TO:<Postmaster>", "Postmaster"),
        ("rcpt to:<postmaster@example.org>", "postmaster@example.org"),
        ("RCPT TO:<@relay.example:anna@example.org>", "anna@example.org"),
        ("RCPT TO:<@a,@b:anna@example.org>", "anna@example.org"),
        // A local part like any other: nobody is asked to relay by it.
        ("RCPT TO:<victim%example.net@example.org>", "victim%example.net@example.org"),
        ("RCPT TO:<example.net!victim@example.org>", "example.net!victim@example.org"),
        ("RCPT TO:<\"victim@example.net\"@example.org>", "\"victim@example.net\"@example.org"),
        ("RCPT TO:<anna+tag@example.org>", "anna+tag@example.org"),
    ] {
        assert_eq!(recipient(line).address.to_string(), address, "{line:?}");
    }
}

#[test]
fn parameters_are_kept() {
    let line = "MAIL FROM:<a@b> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ314+2B159 AUTH=<>";
    assert_eq!(
        Command::parse(line.as_bytes()),
        Ok(Command::Mail(Mail {
            sender: Sender(Address::parse("a@b").ok()),
            size: Some(1000),
            eight_bit: true,
            utf8: true,
            ret: Some(Ret::Headers),
            envid: Some("QQ314+2B159".into()),
        }))
    );
    let got = recipient("RCPT TO:<a@b> NOTIFY=SUCCESS,delay ORCPT=rfc822;George@Tax-ME.GOV");
    assert_eq!(got.notify, Some(Notify { success: true, delay: true, ..Notify::default() }));
    assert_eq!(got.orcpt.as_deref(), Some("rfc822;George@Tax-ME.GOV"));
    let never = recipient("RCPT TO:<a@b> NOTIFY=NEVER");
    assert_eq!(never.notify, Some(Notify { never: true, ..Notify::default() }));
    let Ok(Command::Mail(huge)) = Command::parse(b"MAIL FROM:<> SIZE=99999999999999999999") else { panic!() };
    assert_eq!(huge.size, Some(u64::MAX), "more than any limit, not a small number");
}

#[test]
fn what_is_wrong_is_refused_with_its_own_code() {
    for (line, expected) in [
        ("", 500),
        (" ", 500),
        ("FOO", 500),
        ("MAILFROM:<a@b>", 500),
        ("EHLO", 501),
        ("HELO ", 501),
        ("EHLO a b", 501),
        ("EHLO a(b)", 501),
        ("EHLO <script>", 501),
        ("MAIL", 501),
        ("MAIL FROM", 501),
        ("MAIL TO:<a@b>", 501),
        ("MAIL FROM:", 501),
        ("MAIL FROM:<a@b", 501),
        ("MAIL FROM:<a b@c>", 501),
        ("MAIL FROM:<a@b>SIZE=1", 501),
        ("MAIL FROM:<<a@b>>", 501),
        ("MAIL FROM:<a@b>>", 501),
        ("MAIL FROM:<\"a@b>", 501),
        ("MAIL FROM:<postmaster>", 501),
        ("MAIL FROM:<a@b..c>", 501),
        ("MAIL FROM:<a@b> SIZE=", 501),
        ("MAIL FROM:<a@b> SIZE=1x", 501),
        ("MAIL FROM:<a@b> SIZE=-1", 501),
        ("MAIL FROM:<a@b> SIZE=1 SIZE=2", 501),
        ("MAIL FROM:<a@b> BODY=9BIT", 501),
        ("MAIL FROM:<a@b> BODY=BINARYMIME", 555),
        ("MAIL FROM:<a@b> RET=ALL", 501),
        ("MAIL FROM:<a@b> ENVID=a=b", 501),
        ("MAIL FROM:<a@b> ENVID=a+zz", 501),
        ("MAIL FROM:<a@b> SMTPUTF8=1", 501),
        ("MAIL FROM:<a@b> =1", 501),
        ("MAIL FROM:<a@b> FOO=1", 555),
        ("MAIL FROM:<a@b> REQUIRETLS", 555),
        ("RCPT", 501),
        ("RCPT TO:<>", 501),
        ("RCPT TO:<nobody>", 501),
        ("RCPT FROM:<a@b>", 501),
        ("RCPT TO:<a@b> NOTIFY=NEVER,SUCCESS", 501),
        ("RCPT TO:<a@b> NOTIFY=", 501),
        ("RCPT TO:<a@b> ORCPT=a@b", 501),
        ("RCPT TO:<a@b> ORCPT=;a@b", 501),
        ("RCPT TO:<a@b> SIZE=1", 555),
        ("RCPT TO:<a@b> XFOO", 555),
        ("DATA now", 501),
        ("RSET x", 501),
        ("QUIT x", 501),
        ("STARTTLS x", 501),
        ("BDAT", 501),
        ("BDAT x", 501),
        ("BDAT -1", 501),
        ("BDAT 1 2", 501),
        ("BDAT 1 LAST x", 501),
        ("BDAT 99999999999999999999999", 501),
        ("BDAT 99999999999999999999", 501),
        ("AUTH", 504),
        ("AUTH CRAM-MD5", 504),
        ("AUTH PLAIN !!", 501),
        ("MAIL FROM:<a\0@b>", 500),
        ("MAIL FROM:<a\r@b>", 500),
        ("\u{16}\u{3}\u{1}", 500),
        ("RCPT TO:<a@b\u{7f}>", 500),
    ] {
        assert_eq!(code(line), expected, "{line:?}");
    }
    assert_eq!(Command::parse(b"MAIL FROM:<\xff@b>").map_err(|r| r.code), Err(500));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Command::parse(&line);
    }

    #[test]
    fn nothing_like_a_command_makes_it_panic(
        line in "(MAIL FROM:|RCPT TO:|BDAT |AUTH PLAIN )[<>@\"\\\\a:,=+; \u{e9}A-Z0-9\\[\\].]{0,40}",
    ) {
        if let Ok(Command::Rcpt(recipient)) = Command::parse(line.as_bytes()) {
            // What was read can be written on a wire and read again as the same.
            let again = format!("RCPT TO:<{}>", recipient.address);
            let Ok(Command::Rcpt(second)) = Command::parse(again.as_bytes()) else { panic!("{again:?}") };
            prop_assert_eq!(second.address, recipient.address);
        }
    }
}
