//! A local socket at which the two processes ask each other: each connection is one question or one long talk.

use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use words_world::{Listener, Stream};

/// The rest after an error at the door.
const REST: Duration = Duration::from_millis(50);

/// Gives every connection to `converse` until `stop` says so; beyond `most` at once, callers wait at the door.
pub(super) async fn attend<Talk>(
    listener: Box<dyn Listener>,
    most: usize,
    mut stop: watch::Receiver<bool>,
    converse: impl Fn(Box<dyn Stream>) -> Talk,
) where
    Talk: Future<Output = ()> + Send + 'static,
{
    let mut talks = JoinSet::new();
    loop {
        let connected = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            Some(_) = talks.join_next(), if !talks.is_empty() => continue,
            connected = listener.accept(), if talks.len() < most => connected,
        };
        match connected {
            Ok(connected) => drop(talks.spawn(converse(connected.stream))),
            Err(error) => {
                tracing::warn!(%error, "the socket between edge and inside gave no connection");
                sleep(REST).await;
            }
        }
    }
}
