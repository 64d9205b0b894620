//! Messages out of a folder: headers by the thousand, searches, one body at a time.

use super::wire::Said;
use super::{ImapStore, PACE, refusal};
use crate::store::{StoreError, Summary};
use std::time::Duration;
use tokio::time::Instant;
use words_imap::client::{Fetched, Untagged};
use words_imap::{Section, SequenceSet, Status};

/// UIDs that one search may find.
const FOUND_MAX: usize = 5_000_000;
/// A message that is being read.
pub(super) struct Reading {
    uid: u32,
    /// A short message that came as part of the response.
    whole: Option<Vec<u8>>,
    /// Its bytes are still coming.
    open: bool,
    end: Instant,
}

impl ImapStore {
    pub(super) async fn headers(
        &mut self,
        set: &SequenceSet,
        above: u32,
        fields: &[&str],
        each: &mut (dyn FnMut(Summary) + Send),
    ) -> Result<(), StoreError> {
        let section = match fields {
            [] => String::new(),
            fields => format!(" {}", Section::fields(fields.iter().copied()).request()),
        };
        let request = self
            .request("UID FETCH")
            .set(set)
            .word(format_args!("(UID FLAGS INTERNALDATE RFC822.SIZE{section})"));
        let limit = self.limits.scan;
        self.ask(request, limit, |said| {
            // A FETCH without a UID or without a size is news of a flag, not an answer.
            if let Untagged::Fetch(Fetched { uid: Some(uid), size: Some(_), .. }) = &said
                && *uid > above
                && let Untagged::Fetch(fetched) = said
            {
                each(summary(fetched));
            }
        })
        .await
        .map(|_| ())
    }

    pub(super) async fn find(&mut self, name: &str, text: &str) -> Result<Vec<u32>, StoreError> {
        let request =
            self.request("UID SEARCH").word("HEADER").string(name.as_bytes()).string(text.as_bytes());
        let mut found = Vec::new();
        let limit = self.limits.scan;
        self.ask(request, limit, |said| {
            if let Untagged::Search(uids) = said {
                found.extend(uids.into_iter().take(FOUND_MAX - found.len()));
            }
        })
        .await?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    pub(super) async fn begin_reading(&mut self, uid: u32) -> Result<Option<u64>, StoreError> {
        let request = self
            .request("UID FETCH")
            .set(&SequenceSet::one(uid))
            .word(format_args!("(UID {})", Section::message().request()));
        let end = Instant::now() + self.limits.answer;
        self.begin()?;
        self.send(request, end).await?;
        loop {
            match self.wire.next(self.limits.answer, end).await? {
                Said::BodyBegin(size) => {
                    let end = end + Duration::from_secs(size / PACE);
                    self.reading = Some(Reading { uid, whole: None, open: true, end });
                    return Ok(Some(size));
                }
                Said::Untagged(Untagged::Fetch(mut fetched)) if fetched.uid == Some(uid) => {
                    let content = fetched.sections.iter_mut().find(|(label, _)| label == "BODY[]");
                    if let Some(content) = content.and_then(|(_, content)| content.take()) {
                        let size = content.len() as u64;
                        self.reading = Some(Reading { uid, whole: Some(content), open: false, end });
                        return Ok(Some(size));
                    }
                }
                Said::Tagged { tag, status, code, text } if tag == self.tag => {
                    self.busy = false;
                    return match status {
                        Status::Ok => Ok(None),
                        _ => Err(refusal(status, code.as_ref(), &text)),
                    };
                }
                Said::Tagged { .. } => return Err(self.wire.fail("an answer to another command")),
                _ => {}
            }
        }
    }

    pub(super) async fn read_on(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(reading) = &mut self.reading else {
            return Ok(None);
        };
        if let Some(whole) = reading.whole.take() {
            return Ok(Some(whole));
        }
        let (uid, end) = (reading.uid, reading.end);
        while self.reading.as_ref().is_some_and(|r| r.open) {
            match self.wire.next(self.limits.answer, end).await? {
                Said::BodyData(data) => return Ok(Some(data)),
                Said::BodyEnd => self.reading.iter_mut().for_each(|r| r.open = false),
                _ => return Err(self.wire.fail("something else stands in the middle of a message")),
            }
        }
        let mut other = false;
        let answered = self
            .finish(self.limits.answer, end, |said| {
                if let Untagged::Fetch(Fetched { uid: Some(told), streamed: true, .. }) = said {
                    other |= told != uid;
                }
            })
            .await;
        self.reading = None;
        answered?;
        if other {
            return Err(self.wire.fail("the server gave another message than was asked for"));
        }
        Ok(None)
    }
}

pub(super) fn summary(mut fetched: Fetched) -> Summary {
    let header = fetched.sections.iter_mut().find(|(label, _)| label.starts_with("BODY[HEADER"));
    let header = header.and_then(|(_, content)| content.take()).unwrap_or_default();
    let flags = super::following::kept(fetched.flags.unwrap_or_default());
    Summary {
        uid: fetched.uid.unwrap_or(0),
        flags,
        arrived: fetched.internal_date,
        size: fetched.size.unwrap_or(0),
        header,
        cut: fetched.cut,
        modseq: fetched.modseq,
    }
}
