//! Tells whoever takes mail in how much of it still waits, so that the spool's budget holds.

use crate::edge::{Mark, TakenIn};
use roads_deliver::QueueView;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// How often it is told.
const EVERY: Duration = Duration::from_millis(500);
/// How often it is looked whether the queue has read as far as the journal was.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// An edge that was told the same before is told again after so many rounds: it may have been started anew.
const SAME_MAX: u32 = 20;

/// Tells until `stop` says so. What was taken after a mark is counted by whoever took it.
pub async fn tell(taken: TakenIn, queue: QueueView, mut stop: watch::Receiver<bool>) {
    let telling = async {
        let (mut last, mut same) = (None, 0);
        loop {
            let (mark, waiting) = known(&taken, &queue).await;
            if last == Some((mark, waiting)) && same < SAME_MAX {
                same += 1;
            } else {
                (last, same) = (Some((mark, waiting)), 0);
                if let Err(why) = taken.tell_waiting(mark, waiting).await {
                    tracing::debug!(why, "the edge was not told how much waits");
                    last = None;
                }
            }
            sleep(EVERY).await;
        }
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = telling => {}
    }
}

/// How much waits, once the queue knows everything that the mark covers.
async fn known(taken: &TakenIn, queue: &QueueView) -> (Mark, u64) {
    let mut mark = taken.mark();
    loop {
        if let (Some(mark), Some((waiting, through))) = (mark, queue.waiting())
            && through >= mark.durable
        {
            return (mark, waiting);
        }
        sleep(LOOK_EVERY).await;
        // Another edge counts from nothing.
        let now = taken.mark();
        if now.map(|mark| mark.taker) != mark.map(|mark| mark.taker) {
            mark = now;
        }
    }
}
