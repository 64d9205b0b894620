use super::*;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn what_one_client_does_another_hears_where_it_may() {
    let server = Server::start().await;
    for n in 1..=4 {
        server.put("INBOX", &format!("Subject: {n}\r\n\r\n"), &[]).await;
    }
    let (mut one, mut two) = (server.inbox().await, server.inbox().await);
    one.ask("a STORE 1,3 +FLAGS (\\Deleted)").await;
    one.ask("b EXPUNGE").await;
    one.ask("c STORE 1 +FLAGS (\\Flagged)").await;
    server.put("INBOX", "Subject: 5\r\n\r\n", &[]).await;
    // Numbers stay while FETCH, STORE and SEARCH are answered: 2 is still UID 2, 4 is still UID 4.
    two.play(
        r#"C: a FETCH 2 UID
           S: * 2 FETCH (UID 2)
           S: * 2 FETCH (UID 2 FLAGS (\Flagged))
           S: * 5 EXISTS
           S: * 1 RECENT
           S: a OK done
           C: b FETCH 1:4 UID
           S: * 2 FETCH (UID 2)
           S: * 4 FETCH (UID 4)
           S: b OK [EXPUNGEISSUED] done
           C: c SEARCH ALL
           S: * SEARCH 2 4 5
           S: c OK done
           C: d STORE 4 +FLAGS (\Answered)
           S: * 4 FETCH (UID 4 FLAGS (\Answered))
           S: d OK done
           C: e NOOP
           S: * 3 EXPUNGE
           S: * 1 EXPUNGE
           S: e OK done
           C: f FETCH 1:* UID
           S: * 1 FETCH (UID 2)
           S: * 2 FETCH (UID 4)
           S: * 3 FETCH (UID 5)
           S: f OK done"#,
    )
    .await;
    one.play(
        r#"C: d NOOP
           S: * 2 FETCH (UID 4 FLAGS (\Answered))
           S: * 3 EXISTS
           S: * 0 RECENT
           S: d OK done"#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_idling_client_hears_of_new_mail_at_once() {
    let server = Server::start().await;
    server.put("INBOX", "Subject: 1\r\n\r\n", &[]).await;
    let (mut idler, mut other) = (server.inbox().await, server.inbox().await);
    idler.play("C: a IDLE\nS: + idling").await;
    server.put("INBOX", "Subject: 2\r\n\r\n", &[]).await;
    idler.play("S: * 2 EXISTS\nS: * 1 RECENT").await;
    other.ask("a STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    idler.play("S: * 1 FETCH (UID 1 FLAGS (\\Deleted))").await;
    other.ask("b EXPUNGE").await;
    idler
        .play("S: * 1 EXPUNGE\nC: DONE\nS: a OK done\nC: b IDLE\nS: + idling\nC: NONSENSE\nS: b BAD...")
        .await;
    // DONE that was sent together with the command.
    idler.send("c IDLE\r\nDONE\r\nd NOOP\r\n").await;
    idler.play("S: + idling\nS: c OK done\nS: d OK done").await;
}

#[tokio::test(start_paused = true)]
async fn who_idles_in_a_folder_that_is_removed_is_told_so() {
    let server = Server::start().await;
    let (mut idler, mut other) = (server.client().await, server.client().await);
    other.ask("a CREATE short").await;
    idler.ask("a SELECT short").await;
    idler.play("C: b IDLE\nS: + idling").await;
    other.ask("b DELETE short").await;
    idler.play("S: * BYE the selected folder was removed").await;
    assert_eq!(idler.try_line().await, None);
    // One that removes the folder it has selected goes on, with none selected.
    other.ask("c CREATE mine").await;
    other.ask("d SELECT mine").await;
    other.play("C: e DELETE mine\nS: e OK done\nC: f FETCH 1 FLAGS\nS: f BAD select a mailbox first").await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_announced() {
    let server = Server::start().await;
    let mut idler = server.inbox().await;
    idler.play("C: a IDLE\nS: + idling").await;
    server.stop.send_replace(true);
    idler.play("S: * BYE the server is shutting down; nothing is lost").await;
    assert_eq!(idler.try_line().await, None);
    tokio::time::timeout(Duration::from_secs(1), idler.session).await.unwrap().unwrap();
}
