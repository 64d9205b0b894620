//! The control socket: connections, lines, bounds.

use super::{ANSWERS_MAX, Answers, Caller, No};
use crate::control::protocol::{Answer, CALL_BYTES_MAX, Call, Refused, VERSION};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use words_world::{Listener, Stream};

/// How long a caller may take to say what it wants.
const CALL_TIME: Duration = Duration::from_secs(30);
/// How long a caller may take to read one answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How long open calls may go on after the word to end.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The rest after an error at the door, so that it does not fill the log.
const REST: Duration = Duration::from_millis(200);

/// Answers calls until `stop` says so, `most` at a time; further callers wait at the door.
pub async fn serve(
    answers: Answers,
    listener: Box<dyn Listener>,
    most: usize,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(most.max(1)));
    let mut calls = JoinSet::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            loop {
                match listener.accept().await {
                    Ok(connected) => return (place, connected),
                    Err(error) => tracing::warn!(%error, "the control socket gave no connection"),
                }
                sleep(REST).await;
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = calls.join_next() => {}
            (place, connected) = next => {
                let answers = answers.clone();
                calls.spawn(async move {
                    converse(&answers, connected.stream).await;
                    drop(place);
                });
            }
        }
    }
    let _ = timeout(LAST_WORDS, async { while calls.join_next().await.is_some() {} }).await;
}

/// One call and its answers.
async fn converse(answers: &Answers, stream: Box<dyn Stream>) {
    let (read, mut write) = tokio::io::split(stream);
    let mut line = Vec::new();
    let mut reader = BufReader::new(read).take(CALL_BYTES_MAX as u64);
    match timeout(CALL_TIME, reader.read_until(b'\n', &mut line)).await {
        Ok(Ok(0)) | Ok(Err(_)) | Err(_) => return,
        Ok(Ok(_)) => {}
    }
    let (out, mut told) = mpsc::channel(ANSWERS_MAX);
    let work = async {
        let ended = match read_call(&line) {
            Ok(call) => {
                let caller = Caller::new(&call.by, out.clone());
                answers.answer(call, &caller).await
            }
            Err(no) => Err(no),
        };
        let last = match ended {
            Ok(words) => Answer::Done { words },
            Err(No { why, words }) => Answer::Refused { why, words },
        };
        let _ = out.send(last).await;
        drop(out);
    };
    let tell = async {
        while let Some(answer) = told.recv().await {
            let mut line = serde_json::to_vec(&answer).unwrap_or_default();
            line.push(b'\n');
            let written = timeout(ANSWER_TIME, write.write_all(&line)).await;
            if !matches!(written, Ok(Ok(()))) {
                return;
            }
            if matches!(answer, Answer::Done { .. } | Answer::Refused { .. }) {
                let _ = timeout(ANSWER_TIME, write.shutdown()).await;
                return;
            }
        }
    };
    // When nobody listens any more, what was not done yet is left; what was begun on the disk is finished there.
    tokio::select! {
        biased;
        () = tell => {}
        () = async { work.await; std::future::pending().await } => {}
    }
}

fn read_call(line: &[u8]) -> Result<Call, No> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    if !line.ends_with(b"\n") && line.len() >= CALL_BYTES_MAX {
        return Err(No::wrong(format!("the call is longer than {CALL_BYTES_MAX} bytes; split it")));
    }
    let senseless = |error: serde_json::Error| No::wrong(format!("the call makes no sense: {error}"));
    let Versioned { version } = serde_json::from_slice(line).map_err(senseless)?;
    if version != VERSION {
        let words = format!(
            "the caller speaks version {version} of the protocol and this node version {VERSION}; use the program that \
             serves"
        );
        return Err(No { why: Refused::Version, words });
    }
    serde_json::from_slice(line).map_err(senseless)
}
