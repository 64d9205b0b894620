//! Messages of the journal come into the mailboxes of their recipients.

use crate::applier::Waiting;
use crate::content::Identity;
use crate::event::{By, Event};
use crate::folder::{Folder, INBOX, STANDARD, SpecialUse, canonical};
use crate::open::Mailboxes;
use crate::view::{Effect, Entry, Message};
use crate::{BodyAt, Flags, FolderId, MailboxError};
use std::time::Duration;
use stores_log::{AppendError, Body, Position};
use tokio::sync::watch;
use words_mail::{AccountId, Time, TraceId};

/// For how long two copies of one sent message, ours and the client's, are taken for one.
const SENT_WINDOW: Duration = Duration::from_secs(600);

/// How many of the latest messages in Sent are looked at.
const SENT_LOOK_BACK: u32 = 50;

/// A message of the journal for one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which message.
    pub trace: TraceId,
    /// Where the journal keeps it.
    pub journal: Position,
    /// Its INTERNALDATE.
    pub at: Time,
    /// Its size in bytes, with the header lines we put on top.
    pub size: u64,
    /// Into which folder; a standard folder is found under its present name, and INBOX stands in for one that does
    /// not exist.
    pub folder: String,
    /// Its flags.
    pub flags: Flags,
    /// Who puts it there: `Own`, or `Primary` when it is shown where the primary filed it.
    pub by: By,
}

impl Arrival {
    /// An ordinary arrival in INBOX.
    pub fn new(trace: TraceId, journal: Position, at: Time, size: u64) -> Arrival {
        Arrival { trace, journal, at, size, folder: INBOX.to_owned(), flags: Flags::none(), by: By::Own }
    }
}

/// Where a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The folder's name.
    pub folder: String,
    /// The folder's number.
    pub id: FolderId,
    /// The folder's UIDVALIDITY.
    pub uidvalidity: u32,
    /// The message's UID.
    pub uid: u32,
    /// Whether it was put there now, and was not there before.
    pub fresh: bool,
}

impl Mailboxes {
    /// Puts a message of the journal into a folder, durable and visible on return. The same message for the same
    /// account again gives the place it was put in first, even if a person has moved it since. An account that is
    /// not open yet is opened.
    ///
    /// # Errors
    /// When the log does not take it. Trying again is safe.
    pub async fn arrive(&self, account: &AccountId, arrival: &Arrival) -> Result<Placed, MailboxError> {
        self.serving().await?;
        if self.inner.view.account(account)?.is_none() {
            self.open_account(account).await?;
        }
        let folder = self.arrival_folder(account, &arrival.folder)?;
        if folder.special != Some(SpecialUse::Sent) {
            return self.file(account, arrival, &folder).await;
        }
        // What a person sent: the client may have filed its own copy a moment ago, or be about to.
        let _filing = self.inner.desk.filing(account).lock().await;
        if self.inner.view.arrival(account, arrival.trace)?.is_none() {
            let at = BodyAt::Journal { trace: arrival.trace, position: arrival.journal };
            if let Some(twin) = self.twin(&folder, &at, true)? {
                return self.recognise(account, arrival, &folder, twin.uid).await;
            }
        }
        self.file(account, arrival, &folder).await
    }

    fn arrival_folder(&self, account: &AccountId, wanted: &str) -> Result<Folder, MailboxError> {
        let name = canonical(wanted).unwrap_or_else(|_| INBOX.to_owned());
        if let Some(folder) = self.inner.view.folder(account, &name)? {
            return Ok(folder);
        }
        let folders = self.inner.view.folders(account)?;
        let special =
            STANDARD.iter().find(|(standard, _)| *standard == name).and_then(|(_, special)| *special);
        let renamed = special.and_then(|special| folders.iter().find(|f| f.special == Some(special)));
        renamed.or_else(|| folders.iter().find(|f| f.name == INBOX)).cloned().ok_or(MailboxError::NoFolder)
    }

    async fn file(
        &self,
        account: &AccountId,
        arrival: &Arrival,
        folder: &Folder,
    ) -> Result<Placed, MailboxError> {
        let mut arriving = match self.begin_arrival(account, arrival, folder)? {
            Ok(placed) => return self.placed(placed.0, placed.1, false),
            Err(arriving) => arriving,
        };
        crate::desk::within(async {
            match arriving.wait_for(Option::is_some).await {
                Ok(answer) => answer.clone().unwrap_or(Err(MailboxError::NotShownYet)),
                Err(_) => Err(MailboxError::Append(AppendError::Closed)),
            }
        })
        .await
    }

    /// The place the message has already, or the way to hear of the one it is getting.
    #[allow(clippy::type_complexity)]
    fn begin_arrival(
        &self,
        account: &AccountId,
        arrival: &Arrival,
        folder: &Folder,
    ) -> Result<Result<(FolderId, u32), watch::Receiver<Option<Result<Placed, MailboxError>>>>, MailboxError>
    {
        let key = (account.clone(), arrival.trace);
        let mut numbers = self.numbers();
        if let Some(arriving) = numbers.arriving.get(&key) {
            return Ok(Err(arriving.clone()));
        }
        // Looked up under the lock: what is no longer on its way is in the view.
        if let Some(placed) = self.inner.view.arrival(account, arrival.trace)? {
            return Ok(Ok(placed));
        }
        let place = self.place()?;
        let event = Event::Arrived {
            account: account.clone(),
            folder: folder.id,
            uid: numbers.uids(&self.inner, folder.id, 1)?,
            modseq: numbers.modseq(&self.inner, folder.id)?,
            trace: arrival.trace,
            journal: arrival.journal,
            date: arrival.at,
            size: arrival.size,
            flags: arrival.flags.clone(),
            by: arrival.by,
        };
        let pending = self.hand_over(&event, Body::None)?;
        let (tell, arriving) = watch::channel(None);
        let folder = folder.clone();
        let done = move |effect: Result<Effect, MailboxError>| {
            let answer = effect.and_then(|effect| match effect.placed {
                Some((id, uid)) => Ok(Placed {
                    fresh: !effect.uids.is_empty(),
                    folder: folder.name,
                    id,
                    uidvalidity: folder.uidvalidity,
                    uid,
                }),
                None => Err(MailboxError::NoFolder),
            });
            tell.send_replace(Some(answer));
        };
        place.send(Waiting { entry: Entry::Event(event), pending, done: Box::new(done) });
        numbers.arriving.insert(key, arriving.clone());
        Ok(Err(arriving))
    }

    async fn recognise(
        &self,
        account: &AccountId,
        arrival: &Arrival,
        folder: &Folder,
        uid: u32,
    ) -> Result<Placed, MailboxError> {
        let (account, id, trace) = (account.clone(), folder.id, arrival.trace);
        let ticket =
            self.enqueue(Body::None, |_, _| Ok(Event::Recognised { account, folder: id, uid, trace }))?;
        if ticket.done().await?.missed {
            // Expunged in the meantime; it was filed and a person removed it.
            return Err(MailboxError::NotShownYet);
        }
        self.placed(id, uid, false)
    }

    pub(crate) fn placed(&self, id: FolderId, uid: u32, fresh: bool) -> Result<Placed, MailboxError> {
        let found = self.inner.view.folder_by_id(id)?;
        // A folder may have been removed since; the message was there.
        let (folder, uidvalidity) = found.map_or((String::new(), 0), |f| (f.name, f.uidvalidity));
        Ok(Placed { folder, id, uidvalidity, uid, fresh })
    }

    /// The copy of a message that stands in Sent since a moment ago: the client's when `own`, else ours.
    fn twin(&self, sent: &Folder, at: &BodyAt, own: bool) -> Result<Option<Message>, MailboxError> {
        let candidates = self.recently_sent(sent, own)?;
        if candidates.is_empty() {
            return Ok(None);
        }
        let identity = self.identity(at)?;
        self.same_as(&identity, candidates)
    }

    /// What was put into Sent a moment ago: by clients when `own`, else by us.
    pub(crate) fn recently_sent(&self, sent: &Folder, own: bool) -> Result<Vec<Message>, MailboxError> {
        let since = self.now().before(SENT_WINDOW);
        let mut latest = self.inner.view.latest(sent.id, SENT_LOOK_BACK)?;
        latest.retain(|message| message.filed >= since && message.body.key().0 == own);
        Ok(latest)
    }

    pub(crate) fn same_as(
        &self,
        identity: &Identity,
        candidates: Vec<Message>,
    ) -> Result<Option<Message>, MailboxError> {
        for candidate in candidates {
            // One that cannot be read is no twin.
            if self.identity(&candidate.body).is_ok_and(|other| other.same(identity)) {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    fn identity(&self, at: &BodyAt) -> Result<Identity, MailboxError> {
        Identity::read(self.body(at)?).map_err(|e| MailboxError::Body(e.to_string()))
    }
}
