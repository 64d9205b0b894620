//! New messages: recognised where they are here already, else streamed into the mailbox.

use super::look::{Scan, Visit, flags_of};
use crate::replay::{Trouble, own_trace};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;
use stores_mailbox::{
    Append, By, Flags, FolderId, Link, LinkNote, MailboxError, Pairing, Pulled, Pulling, UidRanges,
};
use stores_primary::store::{Piece, StoreError, Summary};
use words_mail::{Time, TraceId, TraceTag};
use words_world::crash_point;

/// Messages that are asked for in one go; the newest go first.
const GO: usize = 250;
/// Messages that are on their way into the log at once.
const FLYING_MAX: usize = 256;
/// Messages here that are read to be compared with new ones of the same folder.
const COMPARED_MAX: u32 = 1_000;
/// Fewer new messages than this are asked for their trace header before their bodies are.
const TRACED_MAX: usize = 1_000;

/// What a folder's new messages are compared with.
struct Known<'a> {
    /// What is missed elsewhere.
    missing: &'a mut Vec<Link>,
    /// Messages of the folder here that stand for none there, by content; read when first needed.
    unlinked: Option<HashMap<[u8; 32], VecDeque<u32>>>,
    /// The same by the trace id under which they are given back.
    given: Option<HashMap<TraceId, VecDeque<u32>>>,
    /// Messages here that were recognised in this look.
    taken: BTreeSet<(FolderId, u32)>,
}

impl Visit<'_> {
    /// Brings the new messages of a folder here. What was `missing` and is found again leaves that list.
    pub(super) async fn bring(&mut self, scan: &Scan, missing: &mut Vec<Link>) -> Result<(), Trouble> {
        if scan.new.is_empty() {
            return Ok(());
        }
        let pairing = &scan.paired.pairing;
        self.gate.pace().await;
        let selected = match self.store.select(&pairing.there, true).await {
            Ok(selected) => selected,
            Err(StoreError::NoFolder(_)) => return Ok(()),
            Err(why) => return Err(why.into()),
        };
        if selected.validity != pairing.validity {
            return Ok(());
        }
        let mut known = Known { missing, unlinked: None, given: None, taken: BTreeSet::new() };
        let wanted = self.traced(scan, &mut known).await?;
        // In a folder with UIDs of our own the order of UIDs is the order there, whatever comes first.
        let first = match pairing.follow {
            true => 0,
            false => {
                self.mailboxes.reserve(pairing.folder, u32::try_from(wanted.len()).unwrap_or(u32::MAX))?
            }
        };
        let uid_of = |there: u32| match pairing.follow {
            true => there,
            false => first + u32::try_from(wanted.partition_point(|uid| *uid < there)).unwrap_or(0),
        };
        let mut flying: VecDeque<Pulling> = VecDeque::new();
        for go in wanted.rchunks(GO) {
            self.gate.pace().await;
            self.store.begin_bodies(go).await?;
            let mut append: Option<Append> = None;
            while let Some(piece) = self.store.next_piece().await? {
                match piece {
                    Piece::Begin(_) => {
                        append = Some(self.mailboxes.begin_append(self.account, &scan.paired.name).await?);
                    }
                    Piece::Data(data) => {
                        if let Some(append) = &mut append {
                            append.write(&data).await?;
                        }
                    }
                    Piece::End(summary) => {
                        let Some(append) = append.take() else { continue };
                        let uid = uid_of(summary.uid);
                        if let Some(pulling) = self.place(scan, &summary, append, uid, &mut known).await? {
                            flying.push_back(pulling);
                        }
                        if flying.len() >= FLYING_MAX
                            && let Some(first) = flying.pop_front()
                        {
                            first.done().await?;
                        }
                    }
                }
            }
            self.gate.hear(rules_merge::Answer::Well);
        }
        for pulling in flying {
            pulling.done().await?;
        }
        crash_point("mirror.pulled");
        Ok(())
    }

    /// Recognises by trace id what came through us; what is left has to be read.
    async fn traced(&mut self, scan: &Scan, known: &mut Known<'_>) -> Result<Vec<u32>, Trouble> {
        if scan.new.len() > TRACED_MAX && self.options.days.is_none() {
            return Ok(scan.new.clone());
        }
        let oldest = self
            .options
            .days
            .map(|days| self.clock.now().before(Duration::from_secs(u64::from(days) * 86_400)));
        let mut found = Vec::new();
        self.gate.pace().await;
        self.store.headers_of(&scan.new, &[TraceTag::HEADER], &mut |summary| found.push(summary)).await?;
        found.sort_by_key(|summary| summary.uid);
        let mut wanted = Vec::new();
        for summary in found {
            if let Some(trace) = TraceTag::find(&summary.header, self.trace_key)
                && self.is_ours(scan, &summary, trace, known).await?
            {
                continue;
            }
            if oldest.is_none_or(|oldest| summary.arrived.is_none_or(|arrived| arrived >= oldest)) {
                wanted.push(summary.uid);
            }
        }
        Ok(wanted)
    }

    /// Whether the message with this trace id is here already and stands for no other there; then it is linked.
    async fn is_ours(
        &mut self,
        scan: &Scan,
        summary: &Summary,
        trace: TraceId,
        known: &mut Known<'_>,
    ) -> Result<bool, Trouble> {
        let pairing = &scan.paired.pairing;
        if let Some(uid) = self.given(pairing, trace, known)? {
            known.taken.insert((pairing.folder, uid));
            self.link_here(pairing, summary, (pairing.folder, uid), None).await?;
            return Ok(true);
        }
        if let Some(at) = known.missing.iter().position(|link| link.trace == Some(trace)) {
            let link = known.missing.swap_remove(at);
            return self.moved(scan, summary, link).await;
        }
        let mut free = Vec::new();
        for (folder, uid) in self.mailboxes.copies(self.account, trace)? {
            if !known.taken.contains(&(folder, uid)) && !self.mailboxes.is_linked(folder, uid)? {
                free.push((folder, uid));
            }
        }
        let same = free.iter().copied().find(|(folder, _)| *folder == pairing.folder);
        let Some((folder, uid)) = same.or(free.first().copied()) else { return Ok(false) };
        known.taken.insert((folder, uid));
        let mut at = (folder, uid);
        if folder != pairing.folder && self.is_where_it_came(folder)? {
            // The primary filed it elsewhere: one message, moved.
            at = self.shift((folder, uid), scan).await?.unwrap_or(at);
        }
        self.link_here(pairing, summary, at, None).await?;
        Ok(true)
    }

    /// A message of the folder here that was put there under this id of ours, which was not written down.
    fn given(
        &self,
        pairing: &Pairing,
        trace: TraceId,
        known: &mut Known<'_>,
    ) -> Result<Option<u32>, MailboxError> {
        let given = match &mut known.given {
            Some(given) => given,
            None => {
                let mut given: HashMap<TraceId, VecDeque<u32>> = HashMap::new();
                for message in self.mailboxes.unlinked(pairing.folder, COMPARED_MAX)? {
                    let trace = message.trace.unwrap_or_else(|| own_trace(self.account, message.body));
                    given.entry(trace).or_default().push_front(message.uid);
                }
                known.given.insert(given)
            }
        };
        let Some(same) = given.get_mut(&trace) else { return Ok(None) };
        while let Some(uid) = same.pop_front() {
            if !known.taken.contains(&(pairing.folder, uid)) {
                return Ok(Some(uid));
            }
        }
        Ok(None)
    }

    /// Whether it is a folder that mail arrives in: a message there was not filed by a person.
    fn is_where_it_came(&self, folder: FolderId) -> Result<bool, MailboxError> {
        let inbox = self.mailboxes.folder(self.account, stores_mailbox::INBOX)?;
        Ok(inbox.id == folder)
    }

    /// Moves a message here into the folder; where it stands then.
    async fn shift(
        &mut self,
        (folder, uid): (FolderId, u32),
        scan: &Scan,
    ) -> Result<Option<(FolderId, u32)>, Trouble> {
        let uids = UidRanges::span(uid, uid);
        crash_point("mirror.before_shift");
        let copied =
            self.mailboxes.move_to(self.account, folder, &uids, &scan.paired.name, By::Primary).await?;
        let now = copied.pairs.first().and_then(|(_, now)| now.first());
        Ok(now.map(|uid| (scan.paired.pairing.folder, uid)))
    }

    /// A message here stands for this one there. Flags of both are united: nobody knows which came first.
    async fn link_here(
        &mut self,
        pairing: &Pairing,
        summary: &Summary,
        (folder, uid): (FolderId, u32),
        content: Option<[u8; 32]>,
    ) -> Result<(), Trouble> {
        let flags = flags_of(&summary.flags);
        let note = LinkNote {
            pairing: pairing.folder,
            there: summary.uid,
            folder,
            uid,
            flags: flags.clone(),
            content,
        };
        crash_point("mirror.before_link");
        self.mailboxes.link(self.account, vec![note]).await?;
        if flags != Flags::none() {
            let change = (stores_mailbox::How::Add, &flags);
            let uids = UidRanges::span(uid, uid);
            self.mailboxes.store(self.account, folder, &uids, change, None, By::Primary).await?;
        }
        let Some(here) = self.mailboxes.page(folder, uid, uid, 1)?.pop() else { return Ok(()) };
        if folder != pairing.folder || !super::look::differences(&flags, &here.flags).is_empty() {
            // What it has here is given back, and must be due for that: when people did it, it was not linked yet.
            let change = (stores_mailbox::How::Add, &here.flags);
            let uids = UidRanges::span(uid, uid);
            self.mailboxes.store(self.account, folder, &uids, change, None, By::Person).await?;
        }
        Ok(())
    }

    /// What was missed elsewhere stands here: it was moved there. Where a person moved it here too, that wins.
    async fn moved(&mut self, scan: &Scan, summary: &Summary, link: Link) -> Result<bool, Trouble> {
        let pairing = &scan.paired.pairing;
        if link.gone {
            // Removed here, moved there: it is shown again where it stands now.
            self.mailboxes
                .unlink(self.account, link.pairing, UidRanges::span(link.there, link.there))
                .await?;
            return Ok(false);
        }
        let mut at = (link.folder, link.uid);
        if link.folder == link.pairing && link.folder != pairing.folder {
            at = self.shift(at, scan).await?.unwrap_or(at);
        } else if link.folder != pairing.folder {
            tracing::info!(account = %self.account, folder = %scan.paired.name, listed = "moved-twice", "moved on both sides");
        }
        // The flags it had at the last agreement are not known to be those it has now.
        let before = LinkNote {
            pairing: pairing.folder,
            there: summary.uid,
            folder: at.0,
            uid: at.1,
            flags: link.flags.clone(),
            content: link.content,
        };
        self.mailboxes.link(self.account, vec![before]).await?;
        let now = flags_of(&summary.flags);
        for (how, flags) in super::look::differences(&link.flags, &now) {
            let uids = UidRanges::span(at.1, at.1);
            self.mailboxes.store(self.account, at.0, &uids, (how, &flags), None, By::Primary).await?;
        }
        self.mailboxes.unlink(self.account, link.pairing, UidRanges::span(link.there, link.there)).await?;
        Ok(true)
    }

    /// A message is here whole: it is one that is known, or it goes into the log.
    async fn place(
        &mut self,
        scan: &Scan,
        summary: &Summary,
        append: Append,
        uid: u32,
        known: &mut Known<'_>,
    ) -> Result<Option<Pulling>, Trouble> {
        let pairing = &scan.paired.pairing;
        let (trace, content) = append.known_by();
        if let Some(trace) = trace
            && self.is_ours(scan, summary, trace, known).await?
        {
            return Ok(None);
        }
        let same = |link: &Link| link.content == Some(content) && (trace.is_none() || link.trace.is_none());
        if let Some(at) = known.missing.iter().position(same) {
            let link = known.missing.swap_remove(at);
            if self.moved(scan, summary, link).await? {
                return Ok(None);
            }
        }
        if let Some(twin) = self.twin(pairing, content, known)? {
            known.taken.insert((pairing.folder, twin));
            self.link_here(pairing, summary, (pairing.folder, twin), Some(content)).await?;
            return Ok(None);
        }
        let date = summary.arrived.unwrap_or_else(|| self.clock.now());
        let flags = flags_of(&summary.flags);
        let modseq = summary.modseq.filter(|_| pairing.follow);
        crash_point("mirror.before_pull");
        let pulled = Pulled { there: summary.uid, uid, flags, date: whole_seconds(date), modseq };
        Ok(Some(append.pull(pulled).await?))
    }

    /// A message of the folder here that stands for none there and has this content.
    fn twin(
        &self,
        pairing: &Pairing,
        content: [u8; 32],
        known: &mut Known<'_>,
    ) -> Result<Option<u32>, MailboxError> {
        let unlinked = match &mut known.unlinked {
            Some(unlinked) => unlinked,
            None => {
                let mut unlinked: HashMap<[u8; 32], VecDeque<u32>> = HashMap::new();
                for message in self.mailboxes.unlinked(pairing.folder, COMPARED_MAX)? {
                    if let Ok(content) = self.mailboxes.content(&message.body) {
                        unlinked.entry(content).or_default().push_front(message.uid);
                    }
                }
                known.unlinked.insert(unlinked)
            }
        };
        let Some(same) = unlinked.get_mut(&content) else { return Ok(None) };
        while let Some(uid) = same.pop_front() {
            if !known.taken.contains(&(pairing.folder, uid)) {
                return Ok(Some(uid));
            }
        }
        Ok(None)
    }
}

/// INTERNALDATE has no parts of a second.
fn whole_seconds(time: Time) -> Time {
    Time::from_seconds(time.seconds())
}
