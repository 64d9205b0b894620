//! Whether one message still waits for one recipient: asked by those who compare promises with what became of them.

use crate::queue::Way;
use crate::view::QueueView;
use words_mail::{Address, TraceId};

impl QueueView {
    /// Whether a message is still to be delivered to a recipient beyond the mailboxes here. `None` while that is not
    /// known: the queue is being read after a start, or there is more in the journal than it may hold.
    pub fn waits(&self, trace: TraceId, recipient: &Address) -> Option<bool> {
        let queue = self.road.queue();
        let stands = queue.find(trace).is_some_and(|position| {
            let keys = queue.of_mail(position).into_iter().filter(|key| key.way == Way::Onward);
            keys.filter_map(|key| queue.item(&key)).any(|item| item.recipient == *recipient)
        });
        // What did not fit is taken in as soon as there is room, so a queue that is half empty has all of it.
        let is_whole = queue.len() < self.road.settings.queue_most / 2;
        drop(queue);
        if stands { Some(true) } else { (is_whole && self.road.knows_all()).then_some(false) }
    }
}
