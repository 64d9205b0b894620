//! FETCH.

use super::binary::Sent;
use super::sections::needs_facts;
use super::structure::{envelope, structure};
use crate::select::ranges;
use crate::session::Session;
use std::io;
use std::sync::Arc;
use stores_mailbox::content::{Facts, Keys};
use stores_mailbox::{By, Flags, How, MailboxError, Message, UidRanges};
use words_imap::{Code, Fetch, FetchItem, SectionName, Status};

/// How many messages are looked up at once.
const PAGE: u32 = 128;

impl Session {
    pub(crate) async fn fetch(&mut self, tag: String, fetch: Fetch) -> io::Result<()> {
        self.condstore |= fetch.changed_since.is_some() || fetch.items.contains(&FetchItem::ModSeq);
        let Some(selected) = &self.selected else { return Ok(()) };
        if selected.is_beyond(&fetch.set, fetch.uid) {
            self.out.bad(&tag, "there is no message of that number");
            return Ok(());
        }
        let uids = selected.resolve(&fetch.set, fetch.uid);
        if let (true, Some(since)) = (fetch.vanished && fetch.uid, fetch.changed_since) {
            if !self.qresync {
                self.out.bad(&tag, "enable QRESYNC first");
                return Ok(());
            }
            self.tell_vanished(&fetch, since);
        }
        let (mut missing, mut unreadable, mut unknown) = (false, false, false);
        for chunk in uids.chunks(PAGE) {
            let page = match self.fetch_page(&chunk, &fetch).await {
                Ok(page) => page,
                Err(error) => {
                    self.refuse(&tag, &error);
                    return Ok(());
                }
            };
            missing |= (page.len() as u64) < chunk.count();
            for (number, message, seen_now) in page {
                if fetch.changed_since.is_some_and(|since| message.modseq <= since) {
                    continue;
                }
                let sent = self.tell_message(number, &message, &fetch, seen_now).await?;
                unreadable |= sent == Sent::Unreadable;
                unknown |= sent == Sent::UnknownEncoding;
                self.flush_if_full().await?;
            }
        }
        if unreadable {
            self.sync(false).await?;
            let text = "some of it cannot be read just now; nothing is lost, try again later";
            self.out.tagged(&tag, Status::No, Some(&Code::Unavailable), text);
            return Ok(());
        }
        if unknown {
            self.sync(false).await?;
            // RFC 3516 §4.3.
            let text = "the transfer encoding of a part is not known here; BODY gives it as it stands";
            self.out.tagged(&tag, Status::No, Some(&Code::UnknownCte), text);
            return Ok(());
        }
        // RFC 5530: removed by somebody else; the client hears which now or with its next NOOP. A command with UIDs
        // may be answered with removals (RFC 3501 §7.4.1).
        let code = missing.then_some(Code::ExpungeIssued);
        self.done(&tag, code, "done", fetch.uid).await
    }

    /// What is gone since, of all that was asked for (RFC 7162 §3.2.6).
    fn tell_vanished(&mut self, fetch: &Fetch, since: u64) {
        let Some(selected) = &self.selected else { return };
        let Ok(changed) = self.mailboxes().changed(selected.id(), since) else { return };
        self.out.vanished(true, &ranges(&changed.expunged.common(&selected.meant(&fetch.set))));
    }

    /// Messages with their numbers, and whether they became `\Seen` just now because they are read.
    async fn fetch_page(
        &mut self,
        chunk: &UidRanges,
        fetch: &Fetch,
    ) -> Result<Vec<(u32, Message, bool)>, MailboxError> {
        let Some(selected) = &self.selected else { return Ok(Vec::new()) };
        let (id, read_only) = (selected.id(), selected.read_only);
        let mut messages = self.messages(chunk)?;
        let reads = fetch.items.iter().any(|item| matches!(item, FetchItem::Section(s) if s.sets_seen()));
        let mut seen = UidRanges::new();
        if reads && !read_only {
            let unseen: UidRanges =
                messages.iter().filter(|m| !m.flags.has(Flags::SEEN)).map(|m| m.uid).collect();
            if !unseen.is_empty() {
                seen = self.mark_seen(id, &unseen).await;
                messages = self.messages(chunk)?;
            }
        }
        let Some(selected) = &self.selected else { return Ok(Vec::new()) };
        let numbers = selected.uids.numbered(&messages.iter().map(|m| m.uid).collect());
        Ok(numbers
            .zip(messages)
            .map(|((number, uid), message)| (number, message, seen.contains(uid)))
            .collect())
    }

    /// Marks messages as seen; those for which it was done. When it cannot be, people can read all the same.
    async fn mark_seen(&mut self, id: stores_mailbox::FolderId, unseen: &UidRanges) -> UidRanges {
        let (account, seen) = (self.account(), Flags::system(Flags::SEEN));
        match self.mailboxes().store(&account, id, unseen, (How::Add, &seen), None, By::Person).await {
            Ok(stored) => {
                if let Some(selected) = &mut self.selected {
                    selected.told(&stored.changed, &stored.modseqs);
                }
                stored.changed
            }
            Err(error) => {
                tracing::warn!(%account, %error, "messages that are read could not be marked as seen");
                UidRanges::new()
            }
        }
    }

    /// The messages of a small set of UIDs.
    pub(crate) fn messages(&self, chunk: &UidRanges) -> Result<Vec<Message>, MailboxError> {
        let Some(selected) = &self.selected else { return Ok(Vec::new()) };
        let mut messages = Vec::new();
        for (first, last) in chunk.spans() {
            messages.extend(self.mailboxes().page(selected.id(), first, last, last - first + 1)?);
        }
        Ok(messages)
    }

    /// Tells what was asked of one message.
    async fn tell_message(
        &mut self,
        number: u32,
        message: &Message,
        fetch: &Fetch,
        seen_now: bool,
    ) -> io::Result<Sent> {
        let facts = match self.facts_for(message, fetch) {
            Ok(facts) => facts,
            Err(error) => {
                self.note_unreadable(message, &error);
                return Ok(Sent::Unreadable);
            }
        };
        let facts = facts.as_deref();
        let mut sent = Sent::Whole;
        self.out.fetch_begin(number);
        if fetch.uid && !fetch.items.contains(&FetchItem::Uid) {
            self.out.fetch_uid(message.uid);
        }
        for item in &fetch.items {
            match (item, facts) {
                (FetchItem::Uid, _) => self.out.fetch_uid(message.uid),
                (FetchItem::Flags, _) => self.tell_own_flags(message),
                (FetchItem::InternalDate, _) => self.out.fetch_internal_date(message.date),
                (FetchItem::Size, _) => self.out.fetch_size(message.size),
                (FetchItem::ModSeq, _) => self.out.fetch_modseq(message.modseq),
                (FetchItem::Envelope, Some(facts)) => {
                    self.out.fetch_envelope(&envelope(&facts.envelope, self.utf8));
                }
                (FetchItem::Body, Some(facts)) => {
                    self.out.fetch_structure(&structure(&facts.part, self.utf8), false);
                }
                (FetchItem::BodyStructure, Some(facts)) => {
                    self.out.fetch_structure(&structure(&facts.part, self.utf8), true);
                }
                (FetchItem::EmailId, _) => self.out.fetch_email_id(&message.email_id()),
                (FetchItem::ThreadId, _) => self.tell_thread_id(message).await,
                (FetchItem::BinarySize(part), facts) => {
                    sent = sent.and(self.tell_binary_size(message, part, facts).await);
                }
                (FetchItem::Section(section), facts) if section.name == SectionName::Binary => {
                    sent = sent.and(self.tell_binary(message, section, facts).await?);
                }
                (FetchItem::Section(section), facts) => {
                    let whole = self.tell_section(message, section, facts).await?;
                    sent = sent.and(if whole { Sent::Whole } else { Sent::Unreadable });
                }
                _ => {}
            }
        }
        if seen_now && !fetch.items.contains(&FetchItem::Flags) {
            self.tell_own_flags(message);
        }
        let with_modseq = fetch.changed_since.is_some() || seen_now && self.condstore;
        if with_modseq && !fetch.items.contains(&FetchItem::ModSeq) {
            self.out.fetch_modseq(message.modseq);
        }
        self.out.fetch_end();
        Ok(sent)
    }

    /// RFC 8474 §5.2: messages without any id are threads of their own.
    async fn tell_thread_id(&mut self, message: &Message) {
        let keys = self.mailboxes().keys(std::slice::from_ref(message)).await.ok();
        let id = keys.and_then(|keys| keys.first().map(|keys| thread_id(message, keys)));
        self.out.fetch_thread_id(id.as_deref());
    }

    fn tell_own_flags(&mut self, message: &Message) {
        if let Some(selected) = &self.selected {
            let flags = selected.shown(message.uid, &message.flags);
            self.out.fetch_flags(&flags);
        }
    }

    fn facts_for(&self, message: &Message, fetch: &Fetch) -> Result<Option<Arc<Facts>>, MailboxError> {
        let needed = fetch.items.iter().any(|item| match item {
            FetchItem::Envelope | FetchItem::Body | FetchItem::BodyStructure => true,
            FetchItem::Section(section) => needs_facts(section),
            FetchItem::BinarySize(part) => !part.is_empty(),
            _ => false,
        });
        if needed { self.mailboxes().facts(message).map(Some) } else { Ok(None) }
    }
}

/// The lasting id of the conversation a message belongs to (RFC 8474 §5.2).
pub(crate) fn thread_id(message: &Message, keys: &Keys) -> String {
    if keys.thread.is_empty() { message.email_id() } else { format!("T{}", keys.thread) }
}
