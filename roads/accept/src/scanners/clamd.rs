//! The virus scanner ClamAV, asked by its daemon's `INSTREAM` (clamd(8)): pieces with their length in front, an empty one
//! at the end.

use super::{Failure, Pieces, ScannerPlace, Subject, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use words_world::{Stream, World};

/// Octets of an answer that are read.
const ANSWER_MAX: usize = 4 << 10;

/// Asks about one message: the name of what was found, or nothing.
pub(super) async fn ask(
    world: &World,
    place: &ScannerPlace,
    subject: &Subject<'_>,
) -> Result<Option<String>, Failure> {
    let mut stream = connect(world, place).await?;
    let sent = send(&mut stream, subject).await;
    if let Err(failure @ Failure::Wrong(_)) = sent {
        return Err(failure);
    }
    // When the scanner has had enough it says so and closes: its answer may be there although it took no more.
    let answer = hear(&mut stream).await;
    match (understand(&answer), sent) {
        (Some(answer), _) => answer,
        (None, Err(failure)) => Err(failure),
        (None, Ok(())) if answer.is_empty() => {
            Err(Failure::Silent("it closed the connection without an answer".to_owned()))
        }
        (None, Ok(())) => Err(Failure::Wrong(format!("it answered {:?}", String::from_utf8_lossy(&answer)))),
    }
}

async fn send(stream: &mut Box<dyn Stream>, subject: &Subject<'_>) -> Result<(), Failure> {
    let unread = |error| Failure::Silent(format!("the message cannot be read back: {error}"));
    let broken = |error: std::io::Error| Failure::Silent(format!("while sending: {error}"));
    let mut pieces = Pieces::of(subject.journal, subject.body).map_err(unread)?;
    stream.write_all(b"zINSTREAM\0").await.map_err(broken)?;
    while let Some(piece) = pieces.next().map_err(unread)? {
        let length = u32::try_from(piece.len()).map_err(|e| Failure::Wrong(e.to_string()))?;
        stream.write_all(&length.to_be_bytes()).await.map_err(broken)?;
        stream.write_all(piece).await.map_err(broken)?;
    }
    stream.write_all(&[0; 4]).await.map_err(broken)?;
    stream.flush().await.map_err(broken)
}

async fn hear(stream: &mut Box<dyn Stream>) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    while answer.len() < ANSWER_MAX && !answer.contains(&0) {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.extend_from_slice(&piece[..read]),
        }
    }
    answer
}

/// What an answer says; `None` when it is none.
fn understand(answer: &[u8]) -> Option<Result<Option<String>, Failure>> {
    let text = String::from_utf8_lossy(answer);
    let text = text.trim_end_matches(['\0', '\n', ' ']);
    if text == "stream: OK" {
        return Some(Ok(None));
    }
    if let Some(name) = text.strip_prefix("stream: ").and_then(|rest| rest.strip_suffix(" FOUND")) {
        return Some(Ok(Some(name.to_owned())));
    }
    if text.contains("size limit exceeded") {
        return Some(Err(Failure::TooLarge));
    }
    text.ends_with("ERROR").then(|| Err(Failure::Wrong(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_clamd_are_understood() {
        // As clamd 1.4 answers to zINSTREAM; clamd(8).
        assert_eq!(understand(b"stream: OK\0"), Some(Ok(None)));
        let found = Some(Ok(Some("Win.Test.EICAR_HDB-1".to_owned())));
        assert_eq!(understand(b"stream: Win.Test.EICAR_HDB-1 FOUND\0"), found);
        assert_eq!(understand(b"INSTREAM size limit exceeded. ERROR\0"), Some(Err(Failure::TooLarge)));
        assert!(matches!(understand(b"stream: broken ERROR\0"), Some(Err(Failure::Wrong(_)))));
        assert_eq!(understand(b""), None);
        assert_eq!(understand(b"UNKNOWN COMMAND\0"), None);
    }
}
