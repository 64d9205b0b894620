//! The spam filter rspamd, asked by its own protocol: one HTTP `POST /checkv2` with the message as body and the envelope
//! as fields (<https://docs.rspamd.com/developers/protocol/>).

use super::{Failure, Pieces, ScannerPlace, Subject, connect};
use rules_policy::Spam;
use serde_json::Value;
use std::fmt::Write;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use words_mail::{PeerName, Source};
use words_world::{HttpAnswer, World};

/// Octets of an answer that are read.
const ANSWER_MAX: usize = 1 << 20;
/// Recipients that are named; who sends to more is judged by these.
const RECIPIENTS_MAX: usize = 200;
/// Rules that are written down.
const SYMBOLS_MAX: usize = 12;

/// Asks about one message.
pub(super) async fn ask(world: &World, place: &ScannerPlace, subject: &Subject<'_>) -> Result<Spam, Failure> {
    let unread = |error| Failure::Silent(format!("the message cannot be read back: {error}"));
    let mut stream = connect(world, place).await?;
    let mut pieces = Pieces::of(subject.journal, subject.body).map_err(unread)?;
    let broken = |error: std::io::Error| Failure::Silent(format!("while sending: {error}"));
    stream.write_all(head(place, subject).as_bytes()).await.map_err(broken)?;
    while let Some(piece) = pieces.next().map_err(unread)? {
        stream.write_all(piece).await.map_err(broken)?;
    }
    stream.flush().await.map_err(broken)?;
    let mut answer = HttpAnswer::new(ANSWER_MAX);
    let mut piece = vec![0; 8 << 10];
    loop {
        let read = stream.read(&mut piece).await;
        let read = read.map_err(|error| Failure::Silent(format!("while waiting for the answer: {error}")))?;
        answer.push(&piece[..read]);
        match answer.whole(read == 0) {
            Ok(None) => {}
            Ok(Some((200, body))) => return understand(&body).map_err(Failure::Wrong),
            Ok(Some((status, body))) => {
                let words = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
                return Err(Failure::Wrong(format!("it answered with status {status}: {words}")));
            }
            Err(why) if read == 0 => return Err(Failure::Silent(why)),
            Err(why) => return Err(Failure::Wrong(why)),
        }
    }
}

/// The request's header. The message follows as it came in, so that the filter sees what it would see without us; the
/// sender's address is in `IP`, as there is no line of ours about it yet.
fn head(place: &ScannerPlace, subject: &Subject<'_>) -> String {
    let envelope = subject.envelope;
    let host = match place {
        ScannerPlace::Host(host, port) if host.contains(':') => format!("[{host}]:{port}"),
        ScannerPlace::Host(host, port) => format!("{host}:{port}"),
        ScannerPlace::Local(_) => "localhost".to_owned(),
    };
    let mut text = format!(
        "POST /checkv2 HTTP/1.1\r\nHost: {host}\r\nUser-Agent: stormpost\r\nConnection: close\r\n\
         Content-Length: {}\r\n",
        subject.body.len()
    );
    let mut field = |name: &str, value: &str| {
        let _ = write!(text, "{name}: {}\r\n", clean(value));
    };
    field("Queue-Id", &subject.trace.to_string());
    field("MTA-Name", subject.host);
    field("IP", &envelope.peer.ip.to_string());
    match &envelope.peer.name {
        Some(PeerName::Verified(name)) => field("Hostname", name),
        // The word by which Postfix and rspamd know a client without a name that leads back to it.
        Some(PeerName::Unverified(_) | PeerName::Nameless) => field("Hostname", "unknown"),
        Some(PeerName::Untold) | None => {}
    }
    field("Helo", &envelope.peer.helo);
    field("From", &envelope.sender.to_string());
    for recipient in envelope.recipients.iter().take(RECIPIENTS_MAX) {
        field("Rcpt", &recipient.address.to_string());
    }
    if let [only] = envelope.recipients.as_slice() {
        field("Deliver-To", &only.address.to_string());
    }
    if let (Some(account), Source::Submission) = (&envelope.peer.account, envelope.source) {
        field("User", &account.to_string());
    }
    text.push_str("\r\n");
    text
}

/// Nothing that could end the field.
fn clean(value: &str) -> String {
    value.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn understand(body: &[u8]) -> Result<Spam, String> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| "its answer is not JSON".to_owned())?;
    // `is_skipped` says that not every rule was tried, as for GTUBE; what it wants done holds all the same.
    let word = answer.get("action").and_then(Value::as_str).ok_or("its answer names no action")?;
    let wants = Spam::action(word).ok_or_else(|| format!("its action {word:?} is not known here"))?;
    let points = |name| answer.get(name).and_then(Value::as_f64).map(hundredths);
    let score = points("score").ok_or("its answer has no score")?;
    let required = points("required_score").unwrap_or_default();
    Ok(Spam { wants, score, required, symbols: symbols(&answer) })
}

fn hundredths(points: f64) -> i64 {
    // Far beyond any score; what is no number becomes nothing.
    (points.clamp(-1e9, 1e9) * 100.0).round() as i64
}

/// The rules that matched, the heaviest first.
fn symbols(answer: &Value) -> String {
    let Some(Value::Object(all)) = answer.get("symbols") else { return String::new() };
    let score = |value: &Value| value.get("score").and_then(Value::as_f64).map_or(0, hundredths);
    let mut list: Vec<(i64, &str)> = all.iter().map(|(name, value)| (score(value), name.as_str())).collect();
    list.sort_by_key(|(score, name)| (-score.abs(), *name));
    let names: Vec<&str> = list.into_iter().take(SYMBOLS_MAX).map(|(_, name)| name).collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_rspamd_is_understood() {
        // The answer of rspamd 3.4 to GTUBE.
        let answer = br#"{"is_skipped":true,"score":15.0,"required_score":15.0,"action":"reject","symbols":{"GTUBE":{"name":"GTUBE",
            "score":0.0,"metric_score":0.0}},"messages":{"smtp_message":"Gtube pattern"},"message-id":"x@y","time_real":0.75}"#;
        let spam = understand(answer).unwrap();
        assert_eq!((spam.wants, spam.score, spam.required), ("reject", 1_500, 1_500));
        assert_eq!(spam.symbols, "GTUBE");
        let more =
            br#"{"action":"no action","score":-0.5,"symbols":{"A":{"score":0.1},"B":{"score":-2},"C":{}}}"#;
        assert_eq!(understand(more).unwrap().symbols, "B A C");
        for wrong in
            [&b"hello"[..], b"{}", br#"{"action":"explode","score":1}"#, br#"{"action":"reject"}"#, b"[]"]
        {
            assert!(understand(wrong).is_err());
        }
        assert_eq!(hundredths(f64::NAN), 0);
        assert_eq!(hundredths(-1.255e30), -100_000_000_000);
    }
}
