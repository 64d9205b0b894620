use super::*;
use proptest::prelude::*;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn wrong_passwords_cost_time_and_then_the_connection() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.line().await;
    let begun = tokio::time::Instant::now();
    client
        .play(
            "C: a LOGIN anna@example.org wrong
             S: a NO [AUTHENTICATIONFAILED] the name or the password is wrong
             C: b LOGIN nobody@example.org wrong
             S: b NO [AUTHENTICATIONFAILED] the name or the password is wrong
             C: c LOGIN anna@example.org wrong
             S: c NO [AUTHENTICATIONFAILED] the name or the password is wrong
             S: * BYE too many failed sign-ins",
        )
        .await;
    assert_eq!(client.try_line().await, None);
    assert_eq!(begun.elapsed().as_secs(), 2 + 4 + 8);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_guesses_is_shut_out_for_a_while() {
    let limits = ImapLimits { failures_per_address: 2, ..ImapLimits::default() };
    let server = Server::start_with(limits).await;
    for _ in 0..2 {
        let mut client = server.connect();
        client.play("S: * OK...\nC: a LOGIN x wrong\nS: a NO...").await;
    }
    let mut client = server.connect();
    client.play("S: * OK...\nC: a LOGIN anna@example.org secret\nS: * BYE too many failed sign-ins from your address; try again in ten minutes").await;
    tokio::time::advance(Duration::from_secs(600)).await;
    server.client().await;
}

#[tokio::test(start_paused = true)]
async fn too_many_connections_are_refused_with_words() {
    let limits = ImapLimits { connections: 2, connections_per_account: 1, ..ImapLimits::default() };
    let server = Server::start_with(limits).await;
    let first = server.client().await;
    let mut second = server.connect();
    second.play("S: * OK...\nC: a LOGIN anna@example.org secret\nS: a NO [LIMIT]...").await;
    let mut third = server.connect();
    third.play("S: * BYE [UNAVAILABLE] too many connections; try again later").await;
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    second.play("C: b LOGIN anna@example.org secret\nS: b OK...").await;
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_is_let_go() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.line().await;
    let begun = tokio::time::Instant::now();
    client.play("S: * BYE you were silent too long").await;
    assert_eq!(begun.elapsed().as_secs(), 60);
    // Signed in, thirty minutes are a right.
    let mut client = server.client().await;
    tokio::time::sleep(Duration::from_secs(30 * 60 + 30)).await;
    client.play("C: a NOOP\nS: a OK done\nC: b IDLE\nS: + idling").await;
    let begun = tokio::time::Instant::now();
    client.play("S: * BYE you were silent too long").await;
    assert_eq!(begun.elapsed().as_secs(), 31 * 60);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_costs_little_and_is_let_go() {
    let server = Server::start().await;
    server.put("INBOX", &format!("X: y\r\n\r\n{}", "z".repeat(3_000_000)), &[]).await;
    let mut client = server.connect_with(Security::Optional, 4_096);
    client.ask("a LOGIN anna@example.org secret").await;
    client.ask("b SELECT INBOX").await;
    for n in 0..100 {
        client.send(&format!("c{n} FETCH 1 BODY.PEEK[]\r\n")).await;
    }
    let begun = tokio::time::Instant::now();
    (&mut client.session).await.unwrap();
    // Nothing was taken for so long.
    assert_eq!(begun.elapsed().as_secs(), 300);
    client.stream.read_to_end(&mut client.read).await.unwrap();
    assert!(client.read.len() <= 8_192, "{} bytes were waiting", client.read.len());
}

#[tokio::test(start_paused = true)]
async fn a_command_that_never_ends_is_refused() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.line().await;
    client.send(&format!("a LOGIN {}\r\nb NOOP\r\n", "x".repeat(20_000))).await;
    let answer = client.line().await;
    assert!(answer.starts_with("a BAD") || answer.starts_with("* BAD"), "{answer}");
    assert_eq!(client.line().await, "b OK done");
    // Before signing in no message is taken.
    client.play("C: c APPEND INBOX {10}\nS: c NO sign in first\nC: d NOOP\nS: d OK done").await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_client_sends_the_server_goes_on(
        words in prop::collection::vec(prop::sample::select(vec![
            "a ", "b ", "SELECT ", "INBOX", "FETCH ", "1:* ", "(FLAGS)", "BODY[]", "<0.5>", "\r\n", "IDLE", "DONE", "UID ",
            "STORE ", "+FLAGS ", "(\\Seen)", "SEARCH ", "ALL", "NOT ", "{3}", "{4+}", "APPEND ", "x\ry", "\n", "\0", "EXPUNGE",
            "LIST \"\" *", "AUTHENTICATE PLAIN", "LOGIN a secret", "COPY 1 Trash", "CLOSE", "ENABLE QRESYNC", "é", "RENAME INBOX z",
        ]), 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let server = Server::start().await;
            server.put("INBOX", "X: y\r\n\r\nz", &[]).await;
            let mut client = server.inbox().await;
            client.send(&words.concat()).await;
            let (mut reading, mut writing) = tokio::io::split(client.stream);
            writing.shutdown().await.unwrap();
            let mut all = Vec::new();
            reading.read_to_end(&mut all).await.unwrap();
            client.session.await.unwrap();
            // Another is served as if nothing had been.
            server.inbox().await;
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_waits_is_small() {
    let server = Server::start().await;
    let (_ours, theirs) = tokio::io::duplex(64);
    let visit = Visit { peer: "192.0.2.1".parse().unwrap(), security: Security::Optional };
    let session = Session::serve(server.shared.clone(), Box::new(theirs), visit, server.stop.subscribe());
    let size = size_of_val(&session);
    assert!(size <= 4_096, "the future of a session has {size} bytes");
}
