//! What stands at the primary: which folder here is which there, which message is which, and what both sides last
//! agreed on. Written to the mailbox log like everything else, so that a deleted view comes back with all of it.

use crate::append::Append;
use crate::desk::Ticket;
use crate::open::Mailboxes;
use crate::view::{Effect, Entry, Message};
use crate::{Flags, FolderId, MailboxError, UidRanges};
use serde::{Deserialize, Serialize};
use stores_log::{Body, Draft};
use tokio::sync::oneshot;
use words_mail::{AccountId, Time, TraceId, TraceTag};

/// The record kind of a [`Mirrored`] fact.
pub(crate) const MIRRORED_V1: u8 = 3;

/// By how much UIDs and MODSEQs of our own are above those of the primary: clients that move late meet holes, never
/// another message.
const ABOVE: u32 = 1_000_000;

/// How many links one record carries.
const LINKS_PER_RECORD: usize = 2_000;

/// One message here and there, and the flags both agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkNote {
    /// The folder here that stands for the one there.
    pub pairing: FolderId,
    /// The UID there.
    pub there: u32,
    /// The folder it stands in here.
    pub folder: FolderId,
    /// Its UID here.
    pub uid: u32,
    /// The flags it has there.
    #[serde(default)]
    pub flags: Flags,
    /// What it is known by, where that is known.
    #[serde(default, with = "hex", skip_serializing_if = "Option::is_none")]
    pub content: Option<[u8; 32]>,
}

/// A fact about the two sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mirrored", rename_all = "kebab-case")]
pub(crate) enum Mirrored {
    /// A folder here stands for one at the primary. With another UIDVALIDITY than before its links are void.
    Paired {
        account: AccountId,
        folder: FolderId,
        /// Its name here, which both sides agree on.
        name: String,
        /// Its name there.
        there: String,
        /// UIDVALIDITY there.
        validity: u32,
        /// Whether UIDVALIDITY and UIDs here are the primary's.
        follow: bool,
        /// UIDs of our own begin here.
        uidnext: u32,
        modseq: u64,
    },
    /// How far the copy of a folder has come.
    Looked { account: AccountId, folder: FolderId, look: Look },
    /// A message of the primary; its bytes are the body of this record.
    Pulled {
        account: AccountId,
        folder: FolderId,
        uid: u32,
        there: u32,
        modseq: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<TraceId>,
        #[serde(default, with = "hex", skip_serializing_if = "Option::is_none")]
        content: Option<[u8; 32]>,
        date: Time,
        size: u64,
        #[serde(default)]
        flags: Flags,
    },
    /// Messages here are these there.
    Linked { account: AccountId, links: Vec<LinkNote> },
    /// These UIDs there stand for nothing here any more.
    Unlinked { account: AccountId, folder: FolderId, uids: UidRanges },
    /// The folder stands for none there any more.
    Unpaired { account: AccountId, folder: FolderId },
    /// From now on UIDs are ours.
    Owned { account: AccountId, folder: FolderId, uidnext: u32, modseq: u64 },
    /// Nothing is followed or given back until a person decides; `None`: a person did.
    Braked { account: AccountId, why: Option<String> },
}

impl Mirrored {
    pub(crate) fn account(&self) -> &AccountId {
        match self {
            Mirrored::Paired { account, .. }
            | Mirrored::Looked { account, .. }
            | Mirrored::Pulled { account, .. }
            | Mirrored::Linked { account, .. }
            | Mirrored::Unlinked { account, .. }
            | Mirrored::Unpaired { account, .. }
            | Mirrored::Owned { account, .. }
            | Mirrored::Braked { account, .. } => account,
        }
    }
}

/// How a folder at the primary stood when it was looked at last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Whether all of its messages were here at the end of a look: the first copy is finished.
    pub whole: bool,
    /// Messages there.
    pub total: u32,
    /// UIDNEXT there.
    pub next: u32,
    /// HIGHESTMODSEQ there, if it keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modseq: Option<u64>,
}

/// A folder here that stands for one at the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// The folder here.
    pub folder: FolderId,
    /// The name both sides agreed on, as here.
    pub name: String,
    /// Its name there.
    pub there: String,
    /// UIDVALIDITY there.
    pub validity: u32,
    /// Whether UIDVALIDITY and UIDs here are the primary's, until somebody selects it here.
    pub follow: bool,
    /// How it stood at the last look; `None` before the first has ended.
    pub look: Look,
    /// Messages that are linked.
    pub linked: u64,
}

impl Pairing {
    /// How much of it is copied, in percent.
    pub fn percent(&self) -> u8 {
        if self.look.whole {
            return 100;
        }
        let part = self.linked.saturating_mul(100) / u64::from(self.look.total.max(1));
        u8::try_from(part.min(99)).unwrap_or(99)
    }
}

/// A message here and there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The folder here that stands for the one there.
    pub pairing: FolderId,
    /// The UID there.
    pub there: u32,
    /// Where it stands here, or stood last.
    pub folder: FolderId,
    /// Its UID there.
    pub uid: u32,
    /// A person removed it here.
    pub gone: bool,
    /// The flags both agreed on.
    pub flags: Flags,
    /// What it is known by (K1), where that is known.
    pub content: Option<[u8; 32]>,
    /// Our trace id (K0), if it has one.
    pub trace: Option<TraceId>,
    /// Its flags here; `None` when it is gone.
    pub here: Option<Flags>,
}

/// What is said of a message that is pulled.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Its UID there.
    pub there: u32,
    /// Its UID here: the one there in a folder that follows, else one that was [reserved](Mailboxes::reserve).
    pub uid: u32,
    /// Its flags.
    pub flags: Flags,
    /// INTERNALDATE.
    pub date: Time,
    /// Its MODSEQ, in a folder that follows.
    pub modseq: Option<u64>,
}

/// A message on its way into the log.
pub struct Pulling(Ticket);

impl Pulling {
    /// Waits until it is durable and visible; whether it was put there.
    ///
    /// # Errors
    /// When the log did not take it.
    pub async fn done(self) -> Result<bool, MailboxError> {
        Ok(!self.0.done().await?.missed)
    }
}

impl Mailboxes {
    /// The folders of an account that stand for one at the primary.
    ///
    /// # Errors
    /// When the view cannot be read; so with all that only look.
    pub fn pairings(&self, account: &AccountId) -> Result<Vec<Pairing>, MailboxError> {
        self.view()?.pairings(account)
    }

    /// The messages that stand for those of one folder at the primary, by UID there.
    ///
    /// # Errors
    /// As above.
    pub fn links(&self, pairing: FolderId) -> Result<Vec<Link>, MailboxError> {
        self.view()?.links(pairing)
    }

    /// The same for these UIDs there.
    ///
    /// # Errors
    /// As above.
    pub fn links_of(&self, pairing: FolderId, there: &UidRanges) -> Result<Vec<Link>, MailboxError> {
        self.view()?.links_of(pairing, there)
    }

    /// The links of an account whose message here is not as it was agreed: flags, folder, or gone. At most `limit`.
    ///
    /// # Errors
    /// As above.
    pub fn pending(&self, account: &AccountId, limit: u32) -> Result<Vec<Link>, MailboxError> {
        self.view()?.pending(account, limit)
    }

    /// Whether a message here, or one that stood here last, is linked to one there.
    ///
    /// # Errors
    /// As above.
    pub fn is_linked(&self, folder: FolderId, uid: u32) -> Result<bool, MailboxError> {
        self.view()?.is_linked(folder, uid)
    }

    /// Where the bytes of a message are that stands or stood in a folder.
    ///
    /// # Errors
    /// As above.
    pub fn body_of(&self, folder: FolderId, uid: u32) -> Result<Option<crate::BodyAt>, MailboxError> {
        let known = self.view()?.known(folder, &UidRanges::span(uid, uid))?;
        Ok(known.into_iter().next().map(|(_, _, body)| body))
    }

    /// Messages of a folder that stand for none at the primary, the newest first, at most `limit`.
    ///
    /// # Errors
    /// As above.
    pub fn unlinked(&self, folder: FolderId, limit: u32) -> Result<Vec<Message>, MailboxError> {
        self.view()?.unlinked(folder, limit)
    }

    /// Why nothing is followed or given back for an account, if a person has to decide.
    ///
    /// # Errors
    /// As above.
    pub fn braked(&self, account: &AccountId) -> Result<Option<String>, MailboxError> {
        self.view()?.braked(account)
    }

    /// Records that a folder here stands for one at the primary. It follows the primary's numbers when `follow` is wished
    /// and nothing was ever put into it here.
    ///
    /// # Errors
    /// When the log does not take it; so with all below.
    pub async fn pair(
        &self,
        account: &AccountId,
        folder: FolderId,
        there: &str,
        look: (u32, u32, Option<u64>),
        follow: bool,
    ) -> Result<Pairing, MailboxError> {
        self.pair_as(account, folder, None, there, look, follow).await
    }

    /// Records that a folder that is paired has another name or other numbers there. `agreed` is the name, as here, that
    /// both sides agree on now; it is not the present one when a person gave the folder another that the primary does not
    /// have yet.
    ///
    /// # Errors
    /// As above.
    pub async fn pair_again(
        &self,
        account: &AccountId,
        folder: FolderId,
        agreed: &str,
        there: &str,
        look: (u32, u32, Option<u64>),
    ) -> Result<Pairing, MailboxError> {
        self.pair_as(account, folder, Some(agreed.to_owned()), there, look, false).await
    }

    async fn pair_as(
        &self,
        account: &AccountId,
        folder: FolderId,
        agreed: Option<String>,
        there: &str,
        look: (u32, u32, Option<u64>),
        follow: bool,
    ) -> Result<Pairing, MailboxError> {
        self.serving().await?;
        let (validity, next, highest) = look;
        let before = self.pairings(account)?.into_iter().find(|pairing| pairing.folder == folder);
        let (account, there) = (account.clone(), there.to_owned());
        let who = account.clone();
        let ticket = self.enqueue_mirrored(Body::None, |numbers, inner| {
            let found = inner.view.folder_by_id(folder)?.ok_or(MailboxError::NoFolder)?;
            let follow = match &before {
                Some(before) => before.follow && before.validity == validity,
                None => follow && numbers.is_untouched(inner, folder)?,
            };
            let (uid, modseq) = match follow && before.is_none() {
                true => (next.saturating_add(ABOVE), highest.unwrap_or(0) + u64::from(ABOVE)),
                false => (1, 1),
            };
            let (uidnext, modseq) = numbers.raise(inner, folder, uid, modseq)?;
            Ok(Mirrored::Paired {
                account,
                folder,
                name: agreed.unwrap_or(found.name),
                there,
                validity,
                follow,
                uidnext,
                modseq,
            })
        })?;
        ticket.done().await?;
        self.pairings(&who)?
            .into_iter()
            .find(|pairing| pairing.folder == folder)
            .ok_or(MailboxError::NoFolder)
    }

    /// Records how a folder stood at the primary at the end of a look.
    ///
    /// # Errors
    /// As above.
    pub async fn looked(
        &self,
        account: &AccountId,
        folder: FolderId,
        look: Look,
    ) -> Result<(), MailboxError> {
        self.note(Mirrored::Looked { account: account.clone(), folder, look }).await
    }

    /// Records which messages here are which there, and the flags they have there.
    ///
    /// # Errors
    /// As above.
    pub async fn link(&self, account: &AccountId, links: Vec<LinkNote>) -> Result<(), MailboxError> {
        for part in links.chunks(LINKS_PER_RECORD) {
            self.note(Mirrored::Linked { account: account.clone(), links: part.to_vec() }).await?;
        }
        Ok(())
    }

    /// Records that these UIDs there stand for nothing here any more.
    ///
    /// # Errors
    /// As above.
    pub async fn unlink(
        &self,
        account: &AccountId,
        pairing: FolderId,
        uids: UidRanges,
    ) -> Result<(), MailboxError> {
        if uids.is_empty() {
            return Ok(());
        }
        self.note(Mirrored::Unlinked { account: account.clone(), folder: pairing, uids }).await
    }

    /// Records that a folder stands for none there any more.
    ///
    /// # Errors
    /// As above.
    pub async fn unpair(&self, account: &AccountId, folder: FolderId) -> Result<(), MailboxError> {
        self.note(Mirrored::Unpaired { account: account.clone(), folder }).await
    }

    /// Stops following an account and giving back to it, or lets it go on.
    ///
    /// # Errors
    /// As above.
    pub async fn brake(&self, account: &AccountId, why: Option<String>) -> Result<(), MailboxError> {
        self.note(Mirrored::Braked { account: account.clone(), why }).await
    }

    /// A folder is about to be shown to a client: from now on its UIDs are ours. Once only, and recorded.
    ///
    /// # Errors
    /// [`MailboxError::Copying`] while its first copy is unfinished under the primary's UIDVALIDITY: a client would
    /// delete what it does not see.
    pub async fn claim(&self, account: &AccountId, folder: FolderId) -> Result<(), MailboxError> {
        let Some(pairing) = self.view()?.pairing(folder)?.filter(|pairing| pairing.follow) else {
            return Ok(());
        };
        if !pairing.look.whole {
            return Err(MailboxError::Copying(pairing.percent()));
        }
        self.serving().await?;
        let (next, highest) = (pairing.look.next, pairing.look.modseq.unwrap_or(0));
        let account = account.clone();
        let ticket = self.enqueue_mirrored(Body::None, |numbers, inner| {
            let (uidnext, modseq) =
                numbers.raise(inner, folder, next.saturating_add(ABOVE), highest + u64::from(ABOVE))?;
            Ok(Mirrored::Owned { account, folder, uidnext, modseq })
        })?;
        ticket.done().await.map(|_| ())
    }

    /// The first of `count` UIDs of a folder that are given to nobody else.
    ///
    /// # Errors
    /// When the folder has none left.
    pub fn reserve(&self, folder: FolderId, count: u32) -> Result<u32, MailboxError> {
        self.numbers().uids(&self.inner, folder, count)
    }

    async fn note(&self, fact: Mirrored) -> Result<(), MailboxError> {
        self.serving().await?;
        self.enqueue_mirrored(Body::None, |_, _| Ok(fact))?.done().await.map(|_| ())
    }

    fn enqueue_mirrored(
        &self,
        body: Body,
        make: impl FnOnce(&mut crate::desk::Numbers, &crate::open::Inner) -> Result<Mirrored, MailboxError>,
    ) -> Result<Ticket, MailboxError> {
        let mut numbers = self.numbers();
        let place = self.place()?;
        let fact = make(&mut numbers, &self.inner)?;
        let meta = serde_json::to_vec(&fact).map_err(|e| MailboxError::Log(e.to_string()))?;
        let pending = self.inner.log.enqueue(Draft { kind: MIRRORED_V1, meta, body })?;
        words_world::crash_point("mailbox.mirrored");
        let (tell, ticket) = oneshot::channel();
        let done = Box::new(move |effect: Result<Effect, MailboxError>| {
            let _ = tell.send(effect);
        });
        place.send(crate::applier::Waiting { entry: Entry::Mirrored(fact), pending, done });
        Ok(Ticket::of(ticket))
    }
}

impl Append {
    /// What the message is known by, now that it is whole: our trace id, if its topmost trace header is genuine, and its
    /// content.
    pub fn known_by(&self) -> (Option<TraceId>, [u8; 32]) {
        let key = self.mailboxes.inner.trace_key.as_ref();
        let trace = key.and_then(|key| TraceTag::find(self.identity.header(), key));
        (trace, self.identity.clone().finish().content())
    }

    /// Puts a message of the primary into the folder; it is on its way when this returns.
    ///
    /// # Errors
    /// When the log does not take it.
    pub async fn pull(mut self, pulled: Pulled) -> Result<Pulling, MailboxError> {
        let (trace, content) = self.known_by();
        let body = match self.file.take() {
            Some(file) => Body::File(file.finish().await?),
            None => Body::Inline(std::mem::take(&mut self.inline)),
        };
        let (mailboxes, account, folder, size) =
            (self.mailboxes.clone(), self.account.clone(), self.folder.id, self.size);
        let ticket = mailboxes.enqueue_mirrored(body, |numbers, inner| {
            let Pulled { there, uid, flags, date, modseq } = pulled;
            let modseq = match modseq {
                Some(modseq) => modseq,
                None => numbers.modseq(inner, folder)?,
            };
            let content = Some(content);
            Ok(Mirrored::Pulled { account, folder, uid, there, modseq, trace, content, date, size, flags })
        })?;
        Ok(Pulling(ticket))
    }
}

impl Mailboxes {
    /// What a message that is here is known by (K1). Reads it to its end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn content(&self, at: &crate::BodyAt) -> Result<[u8; 32], MailboxError> {
        let read = crate::content::Identity::read(self.body(at)?);
        Ok(read.map_err(|e| MailboxError::Body(e.to_string()))?.content())
    }
}

/// Hashes as hexadecimal text.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(hash: &Option<[u8; 32]>, to: S) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) => to.serialize_some(&blake3::Hash::from_bytes(*hash).to_hex().as_str()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<[u8; 32]>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| blake3::Hash::from_hex(text).map(|hash| *hash.as_bytes()).map_err(D::Error::custom))
            .transpose()
    }
}
