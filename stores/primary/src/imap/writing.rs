//! Changes: messages in, flags, copies, moves, removals. What must not be repeated blindly says so when it fails.

use super::{ImapStore, PACE, refusal};
use crate::store::{Carried, NewCopy, Placed, StoreError};
use std::io::Read;
use std::time::Duration;
use tokio::time::Instant;
use words_imap::client::{Request, Untagged};
use words_imap::{Code, Flag, SequenceSet, Status, StoreHow};
use words_world::crash_point;

/// Bytes of a UID set in one command; longer ones become several commands.
pub(super) const SET_BYTES_MAX: usize = 4_000;
/// Bytes of a message written at once.
const BLOCK: usize = 32 * 1024;

impl ImapStore {
    /// A command that must not be repeated blindly: without an answer its outcome is unknown.
    async fn act(
        &mut self,
        request: Request,
        each: impl FnMut(Untagged) + Send,
    ) -> Result<Option<Code>, StoreError> {
        let end = Instant::now() + self.limits.append;
        self.begin()?;
        self.send(request, end).await?;
        crash_point("primary.imap.sent");
        let answer = self.finish(self.limits.append, end, each).await;
        crash_point("primary.imap.answered");
        answer.map_err(unknown)
    }

    pub(super) async fn do_append(&mut self, new: NewCopy<'_>) -> Result<Option<Placed>, StoreError> {
        let NewCopy { folder, flags, arrived, size, content } = new;
        if size == 0 {
            // RFC 3502 §6.3.11: a literal of no bytes takes the command back.
            return Err(StoreError::Refused("a message without a byte cannot be appended".to_owned()));
        }
        let mut request = self.request("APPEND").mailbox(folder).flags(flags);
        if let Some(time) = arrived {
            request = request.date_time(time);
        }
        let (pieces, wait) =
            request.message(size).map_err(|unsayable| StoreError::Unsupported(unsayable.to_string()))?;
        let end = Instant::now() + self.limits.append + Duration::from_secs(size / PACE);
        self.begin()?;
        self.send_pieces(&pieces, end).await?;
        if wait {
            self.continued(end).await?;
        }
        crash_point("primary.append.begun");
        self.send_message(content, size).await?;
        crash_point("primary.append.sent");
        let code = self.finish(self.limits.append, end, |_| {}).await.map_err(unknown)?;
        crash_point("primary.append.answered");
        Ok(match code {
            Some(Code::AppendUid { validity, uids }) => {
                let uid = uids.in_order(1).and_then(|uids| uids.first().copied());
                uid.map(|uid| Placed { validity, uid })
            }
            _ => None,
        })
    }

    /// Sends the bytes of a message and the end of its command. Until the last byte was taken off our hands nothing can
    /// have been stored.
    async fn send_message(&mut self, content: &mut (dyn Read + Send), size: u64) -> Result<(), StoreError> {
        let mut block = Vec::with_capacity(BLOCK + 2);
        let mut left = size;
        while left > 0 {
            block.resize(BLOCK.min(usize::try_from(left).unwrap_or(BLOCK)), 0);
            if let Err(e) = content.read_exact(&mut block) {
                // Half a literal: there is no other way out of it than the end of the connection.
                self.wire.fail("a message could not be read to its end");
                return Err(StoreError::Source(e.to_string()));
            }
            left -= block.len() as u64;
            let of_message = block.len();
            if left == 0 {
                block.extend_from_slice(b"\r\n");
            }
            let Err(unwritten) = self.wire.write(&block, self.limits.block).await else { continue };
            if left == 0 && unwritten.taken == block.len() {
                break;
            }
            if left == 0 && unwritten.taken >= of_message {
                return Err(unknown(unwritten.why));
            }
            return Err(match self.wire.last_words().await {
                Some((status @ (Status::No | Status::Bad), code, text)) => {
                    refusal(status, code.as_ref(), &text)
                }
                _ => unwritten.why,
            });
        }
        Ok(())
    }

    pub(super) async fn flags(
        &mut self,
        uids: &[u32],
        how: StoreHow,
        flags: &[Flag],
    ) -> Result<(), StoreError> {
        let verb = match how {
            StoreHow::Set => "FLAGS.SILENT",
            StoreHow::Add => "+FLAGS.SILENT",
            StoreHow::Remove => "-FLAGS.SILENT",
        };
        if flags.is_empty() && how != StoreHow::Set {
            return Ok(());
        }
        for set in sets(uids) {
            let request = self.request("UID STORE").set(&set).word(verb).flags(flags);
            let limit = self.limits.append;
            self.ask(request, limit, |_| {}).await?;
        }
        Ok(())
    }

    /// COPY or MOVE. One set at a time: an unknown outcome then ends it.
    pub(super) async fn carry(
        &mut self,
        verb: &str,
        uids: &[u32],
        folder: &str,
    ) -> Result<Option<Carried>, StoreError> {
        let mut carried: Option<Carried> = None;
        for (at, set) in sets(uids).into_iter().enumerate() {
            let request = self.request(verb).set(&set).mailbox(folder);
            // RFC 6851 §4.3: a MOVE tells its COPYUID in an untagged OK, before the EXPUNGEs.
            let mut told = None;
            let answer = self
                .act(request, |said| {
                    if let Untagged::Status { code: Some(code @ Code::CopyUid { .. }), .. } = said {
                        told = Some(code);
                    }
                })
                .await;
            let answer = match answer {
                // An earlier part was done: the whole is neither done nor undone.
                Err(error) if at > 0 => Err(StoreError::Unknown(format!("done in part; {error}"))),
                answer => answer,
            }?;
            if let Some(Code::CopyUid { validity, source, target }) =
                told.or(answer).filter(|code| matches!(code, Code::CopyUid { .. }))
            {
                let most = uids.len();
                let pairs = source.in_order(most).zip(target.in_order(most));
                let pairs = pairs.filter(|(a, b)| a.len() == b.len());
                if let Some((sources, targets)) = pairs {
                    let carried = carried.get_or_insert_with(Carried::default);
                    carried.validity = validity;
                    carried.uids.extend(sources.into_iter().zip(targets));
                }
            }
        }
        Ok(carried)
    }

    pub(super) async fn do_move(
        &mut self,
        uids: &[u32],
        folder: &str,
    ) -> Result<Option<Carried>, StoreError> {
        if self.can("MOVE") {
            return self.carry("UID MOVE", uids, folder).await;
        }
        if !self.can("UIDPLUS") {
            return Err(StoreError::Unsupported(
                "without MOVE or UIDPLUS a message cannot be moved without touching others".to_owned(),
            ));
        }
        let carried = self.carry("UID COPY", uids, folder).await?;
        let removed = async {
            self.flags(uids, StoreHow::Add, &[Flag::Deleted]).await?;
            self.expunge(uids).await
        };
        match removed.await {
            Ok(()) => Ok(carried),
            Err(error) => Err(StoreError::Unknown(format!("copied, but not removed: {error}"))),
        }
    }

    /// UID EXPUNGE, never EXPUNGE: that would remove whatever else somebody marked.
    pub(super) async fn expunge(&mut self, uids: &[u32]) -> Result<(), StoreError> {
        if !self.can("UIDPLUS") {
            return Err(StoreError::Unsupported("the server has no UID EXPUNGE (UIDPLUS)".to_owned()));
        }
        for set in sets(uids) {
            let request = self.request("UID EXPUNGE").set(&set);
            let limit = self.limits.append;
            self.ask(request, limit, |_| {}).await?;
        }
        Ok(())
    }
}

/// The UIDs, ascending, as sets short enough for one command each.
pub(super) fn sets(uids: &[u32]) -> Vec<SequenceSet> {
    let mut sorted: Vec<u32> = uids.iter().copied().filter(|uid| *uid > 0).collect();
    sorted.sort_unstable();
    sorted.dedup();
    // "4294967295," is the longest a UID can be.
    let chunks = sorted.chunks(SET_BYTES_MAX / 11);
    chunks.filter_map(|chunk| SequenceSet::of(chunk.iter().copied())).collect()
}

/// Without an answer to a whole command nobody knows whether it was obeyed.
fn unknown(error: StoreError) -> StoreError {
    match error {
        StoreError::NoAnswer(why) | StoreError::Bye(why) => StoreError::Unknown(why),
        error => error,
    }
}
