//! APPEND, also of several messages (RFC 3502): streamed to the disk while it comes in.

use super::kept_flags;
use crate::session::Session;
use std::io;
use stores_mailbox::{Append, Appendix, By, MailboxError};
use words_imap::{AppendBegin, Code, SequenceSet, Status};

/// An APPEND that is under way.
pub(crate) struct Appending {
    messages: Vec<(Append, Appendix)>,
    /// Why none of it will be stored, once that is known; the rest is read and dropped.
    failed: Option<(Code, String)>,
    /// Whether the message at hand is a literal8.
    binary: bool,
    /// A message of no bytes takes the whole command back (RFC 3502 §6.3.11).
    taken_back: bool,
}

impl Session {
    pub(crate) async fn append_begin(&mut self, begin: AppendBegin) -> io::Result<()> {
        if self.account.is_none() {
            self.refuse_append(&begin.tag, None, "sign in first");
            return Ok(());
        }
        if begin.first {
            self.appending = Some(Box::new(Appending {
                messages: Vec::new(),
                failed: None,
                binary: false,
                taken_back: false,
            }));
        }
        if begin.utf8 && !self.utf8 {
            self.refuse_append(&begin.tag, Some(Code::Cannot), "enable UTF8=ACCEPT first");
            return Ok(());
        }
        let Some(appending) = &mut self.appending else { return Ok(()) };
        appending.binary = begin.binary;
        if appending.messages.len() >= self.shared.options.limits.messages_per_append {
            self.refuse_append(&begin.tag, Some(Code::Limit), "too many messages in one APPEND");
            return Ok(());
        }
        let account = self.account();
        match self.mailboxes().begin_append(&account, &begin.mailbox).await {
            Ok(append) => {
                let flags = kept_flags(&begin.flags);
                let appendix = Appendix { flags, date: begin.date, by: By::Person };
                if let Some(appending) = &mut self.appending {
                    appending.taken_back |= begin.size == 0;
                    appending.messages.push((append, appendix));
                }
            }
            Err(MailboxError::NoFolder) => {
                self.refuse_append(&begin.tag, Some(Code::TryCreate), "there is no such folder");
                return Ok(());
            }
            Err(error) => {
                let (code, text) = crate::refusal::refusal(&error);
                self.refuse_append(&begin.tag, Some(code), &text);
                return Ok(());
            }
        }
        if begin.sync {
            self.out.continuation("send it");
            return self.flush().await;
        }
        Ok(())
    }

    fn refuse_append(&mut self, tag: &str, code: Option<Code>, text: &str) {
        self.appending = None;
        self.reader.refuse_append();
        self.out.tagged(tag, Status::No, code.as_ref(), text);
    }

    pub(crate) async fn append_data(&mut self, data: &[u8]) -> io::Result<()> {
        let Some(appending) = &mut self.appending else { return Ok(()) };
        if appending.failed.is_some() {
            return Ok(());
        }
        // RFC 3516 §4.4: a mailbox that cannot hold zero bytes, which nothing but BINARY could carry, says so.
        if appending.binary && data.contains(&0) {
            appending.messages.clear();
            let text = "messages with zero bytes are not taken; encode them as base64".to_owned();
            appending.failed = Some((Code::UnknownCte, text));
            return Ok(());
        }
        if let Some((append, _)) = appending.messages.last_mut()
            && let Err(error) = append.write(data).await
        {
            appending.messages.clear();
            appending.failed = Some(crate::refusal::refusal(&error));
        }
        Ok(())
    }

    pub(crate) async fn append_done(&mut self, tag: String) -> io::Result<()> {
        let Some(appending) = self.appending.take() else { return Ok(()) };
        if let Some((code, text)) = &appending.failed {
            self.out.no(&tag, Some(code), text);
            return Ok(());
        }
        if appending.taken_back {
            self.out.no(&tag, None, "an empty message takes the APPEND back; nothing was stored");
            return Ok(());
        }
        let placed = match Append::finish_together(appending.messages).await {
            Ok(placed) => placed,
            Err(error) => {
                self.refuse(&tag, &error);
                return Ok(());
            }
        };
        let uids = SequenceSet::of(placed.iter().map(|p| p.uid));
        let code = uids
            .zip(placed.first())
            .map(|(uids, first)| Code::AppendUid { validity: first.uidvalidity, uids });
        self.done(&tag, code, "stored", true).await
    }
}
