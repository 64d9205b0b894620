//! NOOP, CHECK and IDLE: nothing is asked but to be told.

use crate::session::{Session, Waiting};
use std::io;

impl Session {
    pub(crate) async fn noop(&mut self, tag: String) -> io::Result<()> {
        self.done(&tag, None, "done", true).await
    }

    pub(crate) async fn idle(&mut self, tag: String) -> io::Result<()> {
        // Watched from before what is there is told, so that nothing falls between.
        let changes = self.account.as_ref().map(|account| self.mailboxes().watch(account));
        self.out.continuation("idling");
        self.sync(true).await?;
        self.reader.expect_line();
        self.waiting = Some(Waiting::Idle { tag, changes });
        Ok(())
    }

    /// The line that ends an IDLE.
    pub(crate) async fn idle_line(&mut self, tag: String, line: Vec<u8>) -> io::Result<()> {
        if line.eq_ignore_ascii_case(b"DONE") {
            return self.done(&tag, None, "done", true).await;
        }
        self.out.bad(&tag, "only DONE ends IDLE");
        Ok(())
    }
}
