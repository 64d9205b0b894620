//! A message on its way in: its header read and cleaned, its body in memory or streamed to a file.

use crate::digest::BodyDigests;
use crate::header::{self, HeaderFacts};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use stores_journal::{AppendError, BodyWriter, IncomingBody, Journal};
use words_mail::{Reply, TraceKey};

/// What the message needs from its surroundings.
pub(crate) struct Surroundings<'a> {
    pub(crate) journal: &'a Journal,
    pub(crate) host: &'a str,
    pub(crate) key: &'a TraceKey,
    pub(crate) header_octets: usize,
    /// Whether digests for signatures are wanted.
    pub(crate) digests: bool,
}

/// Memory for bodies, shared by all connections.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Budget> {
        Arc::new(Budget { used: AtomicUsize::new(0), max })
    }
}

/// A part of the budget, given back when dropped: kept for as long as the message is in memory.
pub(crate) struct Share {
    budget: Arc<Budget>,
    octets: usize,
}

impl Share {
    /// Makes the share at least so big; `false` when there is not so much.
    fn grow(&mut self, octets: usize) -> bool {
        let more = octets.saturating_sub(self.octets);
        if more == 0 {
            return true;
        }
        if self.budget.used.fetch_add(more, Ordering::AcqRel) + more > self.budget.max {
            self.budget.used.fetch_sub(more, Ordering::AcqRel);
            return false;
        }
        self.octets += more;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.octets, Ordering::AcqRel);
    }
}

/// A message that is coming in.
pub(crate) struct Incoming {
    /// The message so far; once a file has been begun, only its header.
    content: Vec<u8>,
    /// Octets of `content` already searched for the end of the header.
    searched: usize,
    /// Where the header ends, once it has, and what it says.
    header: Option<(usize, HeaderFacts)>,
    file: Option<BodyWriter>,
    digests: BodyDigests,
    /// The first failure; the rest of the message is read and dropped, and this is the answer.
    failed: Option<Reply>,
    share: Share,
}

/// A message that has come in.
pub(crate) struct Arrived {
    pub(crate) facts: HeaderFacts,
    pub(crate) header: Vec<u8>,
    pub(crate) digests: BodyDigests,
    pub(crate) body: IncomingBody,
    pub(crate) share: Share,
}

impl Incoming {
    /// Begins a message of which the sender said that it has so many octets.
    pub(crate) fn new(budget: &Arc<Budget>, declared: Option<u64>) -> Incoming {
        let expected = declared.and_then(|d| usize::try_from(d).ok()).unwrap_or(0).clamp(4 << 10, 64 << 10);
        Incoming {
            content: Vec::with_capacity(expected + 512),
            searched: 0,
            header: None,
            file: None,
            digests: BodyDigests::default(),
            failed: None,
            share: Share { budget: budget.clone(), octets: 0 },
        }
    }

    /// Takes the next bytes.
    pub(crate) async fn push(&mut self, bytes: &[u8], around: &Surroundings<'_>) {
        if self.failed.is_some() {
            return;
        }
        if let Some(file) = &mut self.file {
            self.digests.see(bytes);
            if let Err(error) = file.write(bytes).await {
                self.fail(refusal(error));
            }
            return;
        }
        if !self.share.grow(self.content.len() + bytes.len()) {
            let text = "too much mail is coming in at once; nothing was stored; try again";
            self.fail(Reply::new(452, (4, 3, 1), text));
            return;
        }
        self.content.extend_from_slice(bytes);
        if self.header.is_none() {
            self.look_for_header(around);
        }
        if self.header.is_some() && self.content.len() > around.journal.inline_max() {
            self.begin_file(around).await;
        }
    }

    fn fail(&mut self, reply: Reply) {
        self.failed = Some(reply);
        self.content = Vec::new();
        self.file = None;
    }

    fn look_for_header(&mut self, around: &Surroundings<'_>) {
        match header::end_of_header(&self.content, self.searched) {
            Some(end) if end <= around.header_octets => self.read_header(end, around),
            None if self.content.len() <= around.header_octets => self.searched = self.content.len(),
            _ => {
                let text = format!("the header is longer than {} octets", around.header_octets);
                self.fail(Reply::new(552, (5, 3, 4), text));
            }
        }
    }

    fn read_header(&mut self, end: usize, around: &Surroundings<'_>) {
        let (facts, end) = header::read(&mut self.content, end, around.host, around.key);
        if around.digests {
            self.digests = BodyDigests::of_header(&self.content[..end]);
        }
        self.header = Some((end, facts));
    }

    /// Moves what is in memory into a file of its own.
    async fn begin_file(&mut self, around: &Surroundings<'_>) {
        let Some((end, _)) = self.header else { return };
        let begun = async {
            let mut file = around.journal.begin_body().await?;
            file.write(&self.content).await?;
            Ok(file)
        };
        match begun.await {
            Ok(file) => {
                self.digests.see(&self.content[end..]);
                self.content.truncate(end);
                self.content.shrink_to_fit();
                self.file = Some(file);
            }
            Err(error) => self.fail(refusal(error)),
        }
    }

    /// The message has ended.
    ///
    /// # Errors
    /// The reply that says why it is not taken.
    pub(crate) async fn finish(mut self, around: &Surroundings<'_>) -> Result<Arrived, Reply> {
        if self.header.is_none() && self.failed.is_none() {
            // A message without an empty line is all header.
            self.read_header(self.content.len(), around);
        }
        if let Some(reply) = self.failed {
            return Err(reply);
        }
        let (end, facts) = self.header.unwrap_or_default();
        match self.file {
            None => {
                self.digests.see(&self.content[end..]);
                let header = if self.digests.is_empty() && !around.digests {
                    Vec::new()
                } else {
                    self.content[..end].to_vec()
                };
                let body = IncomingBody::Inline(self.content);
                Ok(Arrived { facts, header, digests: self.digests, body, share: self.share })
            }
            Some(file) => {
                let stored = file.finish().await.map_err(refusal)?;
                let body = IncomingBody::File(stored);
                Ok(Arrived { facts, header: self.content, digests: self.digests, body, share: self.share })
            }
        }
    }
}

/// What a sender is told when the journal did not take its message.
pub(crate) fn refusal(error: AppendError) -> Reply {
    let (code, detail, text) = match error {
        AppendError::NoSpace => (452, (3, 1), "the disk here is nearly full; nothing was stored; try again"),
        AppendError::Failed => (451, (3, 0), "the disk did not confirm; nothing was stored; try again"),
        AppendError::Busy => (451, (3, 2), "too much is waiting to be stored; nothing was stored; try again"),
        AppendError::Closed => (451, (3, 2), "shutting down; nothing was stored; try again"),
        AppendError::TooLarge => {
            return Reply::new(
                552,
                (5, 3, 4),
                "the message's envelope is too large; send it to fewer recipients",
            );
        }
    };
    Reply::new(code, (4, detail.0, detail.1), text)
}
