//! Giving back what one person did.

use crate::deliveries::{Deliveries, Fate};
use crate::doors::{Doors, Right};
use crate::inventory::{Inventory, Standing, spoken};
use crate::names::Names;
use crate::touched::{Touched, thrown_away, touched};
use rules_merge::{Flags, Here, Listed, Merged, Place, Sides, Step, There, merge};
use std::collections::{HashMap, HashSet};
use std::io::{self, Cursor, Read};
use stores_journal::{AppendError, ReadError};
use stores_mailbox::{
    BodyAt, Change, Event, FolderId, LinkNote, MailboxError, Mailboxes, Pairing, UidRanges,
};
use stores_primary::store::{MailStore, NewCopy, StoreError};
use words_imap::StoreHow;
use words_mail::{AccountId, PrimaryId, Time, TraceId, TraceKey, TraceTag};
use words_world::crash_point;

/// Changes taken in one go: what is read into memory for one account.
const CHANGES_MAX: u32 = 5_000;

/// Why a replay stopped. It goes on later where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The primary.
    #[error("the primary: {0}")]
    Primary(#[from] StoreError),
    /// Our own store.
    #[error("the mailbox: {0}")]
    Mailbox(#[from] MailboxError),
    /// The journal or the ledger cannot be read.
    #[error("the logs: {0}")]
    Read(#[from] ReadError),
    /// The ledger takes nothing.
    #[error("the ledger: {0}")]
    Ledger(#[from] AppendError),
}

/// What came of one go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Messages looked at.
    pub messages: u64,
    /// Of these, changed at the primary.
    pub changed: u64,
    /// Messages that are not at the primary yet and must be delivered first.
    pub waiting: Vec<TraceId>,
    /// Conflicts that a person should be able to look up.
    pub listed: Vec<Listed>,
    /// Whether nothing is left to do.
    pub done: bool,
    /// Whether no credential to give back is configured.
    pub shut: bool,
}

/// What giving back needs.
pub(crate) struct Replay<'a> {
    pub(crate) mailboxes: &'a Mailboxes,
    pub(crate) trace_key: &'a TraceKey,
    pub(crate) doors: &'a dyn Doors,
    pub(crate) primary: &'a PrimaryId,
    pub(crate) account: &'a AccountId,
    /// What delivery knows.
    pub(crate) deliveries: &'a dyn Deliveries,
}

impl Replay<'_> {
    /// Whether the person did anything that is not carried over yet.
    pub(crate) fn is_due(&self) -> Result<bool, MailboxError> {
        let after = self.mailboxes.replayed(self.account)?;
        Ok(!self.mailboxes.changes_since(self.account, after, 1)?.is_empty())
    }

    /// Carries over what is there. Doing it again after a crash at any point does nothing twice: what stands at the
    /// primary is looked at before anything is done.
    pub(crate) async fn run(&self) -> Result<Carried, Trouble> {
        let after = self.mailboxes.replayed(self.account)?;
        let changes = self.mailboxes.changes_since(self.account, after, CHANGES_MAX)?;
        if changes.is_empty() {
            return Ok(Carried { done: true, ..Carried::default() });
        }
        let Some(mut store) = self.doors.enter(self.primary, self.account, Right::Change).await? else {
            return Ok(Carried { shut: true, ..Carried::default() });
        };
        let mut carried = Carried { done: true, ..Carried::default() };
        let thrown_away = thrown_away(&changes);
        carried.done = self.carry_linked(store.as_mut(), &changes, &mut carried).await?;
        for part in parts(&changes) {
            self.part(store.as_mut(), part, &thrown_away, &mut carried).await?;
            if !carried.waiting.is_empty() {
                carried.done = false;
                break;
            }
        }
        self.carry_removed_folders(store.as_mut()).await?;
        store.leave().await;
        Ok(carried)
    }

    /// Carries one part over and writes down that it was.
    async fn part(
        &self,
        store: &mut dyn MailStore,
        changes: &[Change],
        thrown_away: &HashSet<BodyAt>,
        carried: &mut Carried,
    ) -> Result<(), Trouble> {
        let mut messages = touched(changes);
        // What is linked was carried over as such.
        let mut linked = Vec::new();
        for message in &messages {
            linked.push(self.mailboxes.is_linked(message.last.0, message.last.1)?);
        }
        let mut linked = linked.into_iter();
        messages.retain(|_| linked.next() != Some(true));
        if messages.is_empty() {
            return self.note_replayed(changes, carried).await;
        }
        let mut inventory = Inventory::take(store, self.trace_key).await?;
        let folders = self.mailboxes.folders(self.account)?;
        let mut names = Names::of(&folders, &inventory.folders);
        let pairings = self.mailboxes.pairings(self.account)?;
        names.paired(&folders, &pairings);
        let trace =
            |message: &Touched| message.trace.unwrap_or_else(|| own_trace(self.account, message.body));
        for message in &messages {
            for copy in inventory.copies(trace(message)).to_vec() {
                if self.stands_for_another(&pairings, &copy)? {
                    inventory.take_out(&copy);
                }
            }
        }
        let missing: Vec<(TraceId, BodyAt)> = messages
            .iter()
            .map(|message| (trace(message), message.body))
            .filter(|(trace, _)| inventory.find(*trace, &[]).is_none())
            .collect();
        let fates = if missing.is_empty() { HashMap::new() } else { self.deliveries.fates(&missing) };
        let pulled = !pairings.is_empty();
        for message in &messages {
            let trace = trace(message);
            let fate = fates.get(&trace).copied();
            let known = Known { trace, inventory: &inventory, fate, thrown_away, pulled };
            let used = self.one(store, &known, &mut names, message, carried).await?;
            // Two copies of one message carry one trace id; each stands for itself.
            if let Some(used) = used {
                inventory.take_out(&used);
            }
        }
        self.note_replayed(changes, carried).await
    }

    async fn note_replayed(&self, changes: &[Change], carried: &Carried) -> Result<(), Trouble> {
        // With something left that the next look at the primary must sort out, it is all looked at again.
        if carried.waiting.is_empty()
            && carried.done
            && let Some(last) = changes.last()
        {
            crash_point("mirror.replayed");
            self.mailboxes.set_replayed(self.account, last.seq).await?;
        }
        Ok(())
    }

    async fn one(
        &self,
        store: &mut dyn MailStore,
        known: &Known<'_>,
        names: &mut Names,
        message: &Touched,
        carried: &mut Carried,
    ) -> Result<Option<Standing>, Trouble> {
        carried.messages += 1;
        let (began, been) = (self.folder_name(message.began)?, self.been(message)?);
        let trace = known.trace;
        let wanted: Vec<String> = been.iter().map(|name| names.there(name).0).collect();
        let standing = match message.trace {
            // A copy, or what a person sent and may have received too: another that carries this id is another message.
            Some(_) if message.new => known.inventory.find_in(trace, &wanted),
            _ => known.inventory.find(trace, &wanted),
        };
        let there = standing.map(|s| Place { folder: names.here(&s.folder), flags: s.flags.clone() });
        let here = self.here(message, there.as_ref(), known.pulled)?;
        let place = here.as_ref().map(|found| found.place.clone());
        let sides = Sides {
            origin: message.origin,
            agreed: agreed(message, (began.as_deref(), &been), place.as_ref(), there.as_ref()),
            here: place.map_or(Here::Gone, Here::At),
            there: match (there, known.fate) {
                (Some(place), _) => There::At(place),
                (None, Some(Fate::Delivered)) if !message.new => There::Gone,
                (None, _) => There::Never,
            },
        };
        let mut merged = merge(&sides, &names.trash);
        if merged.waits {
            if known.fate != Some(Fate::Never) {
                carried.waiting.push(trace);
            }
            return Ok(None);
        }
        if standing.is_none() && message.new && known.thrown_away.contains(&message.body) {
            return Ok(None);
        }
        if !merged.there.is_empty() {
            carried.changed += 1;
        }
        if known.pulled && standing.is_none() {
            leave_where_it_is(&mut merged, &sides.here);
        }
        carried.listed.extend(merged.listed);
        let copy = here.and_then(|found| found.copy);
        let source = Source { message, trace, copy };
        self.carry_out(store, names, &merged, standing, &source).await?;
        if let (Some(standing), Some(agreed)) = (standing, &merged.agreed)
            && message.new
            && !merged.there.iter().any(|step| matches!(step, Step::Move(_) | Step::Expunge))
        {
            // It was put there before, and that was not written down.
            self.link_given(message, (&standing.folder, standing.validity, standing.uid), agreed).await?;
        }
        Ok(standing.cloned())
    }

    /// Whether a message there is linked: what is linked to one of these changes is not looked for.
    fn stands_for_another(&self, pairings: &[Pairing], copy: &Standing) -> Result<bool, Trouble> {
        let pairing = pairings.iter().find(|p| p.there == copy.folder && p.validity == copy.validity);
        let Some(pairing) = pairing else { return Ok(false) };
        let uid = UidRanges::span(copy.uid, copy.uid);
        Ok(!self.mailboxes.links_of(pairing.folder, &uid)?.is_empty())
    }

    /// Writes down which message there a new one here is, in a mailbox that is pulled.
    async fn link_given(
        &self,
        message: &Touched,
        (folder, validity, there): (&str, u32, u32),
        agreed: &Place,
    ) -> Result<(), Trouble> {
        let Some((here, uid)) = message.now else { return Ok(()) };
        let pairings = self.mailboxes.pairings(self.account)?;
        let pairing = pairings.into_iter().find(|p| p.there == folder && p.validity == validity);
        let Some(pairing) = pairing else { return Ok(()) };
        // Keywords in the letters that they have here: it is the same one in any.
        let letters =
            self.mailboxes.page(here, uid, uid, 1)?.pop().map(|found| found.flags).unwrap_or_default();
        let written = |flag: &String| letters.names().find(|name| name.eq_ignore_ascii_case(flag));
        let flags = agreed.flags.iter().map(|flag| written(flag).unwrap_or(flag)).collect();
        let content = Some(self.mailboxes.content(&message.body)?);
        let note = LinkNote { pairing: pairing.folder, there, folder: here, uid, flags, content };
        crash_point("mirror.appended");
        self.mailboxes.link(self.account, vec![note]).await?;
        Ok(())
    }

    /// The present names of the folders that a message stood in, the one where people found it first.
    fn been(&self, message: &Touched) -> Result<Vec<String>, Trouble> {
        let folders = self.mailboxes.folders(self.account)?;
        let name = |id: FolderId| folders.iter().find(|f| f.id == id).map(|f| f.name.clone());
        let later = message.been.iter().copied().filter(|id| *id != message.began);
        Ok([message.began].into_iter().chain(later).filter_map(name).collect())
    }

    /// Where a message stands here after these changes, and what is known of it.
    ///
    /// People go on while this road is at work: when the message is not there any more, a later change has moved or
    /// removed it, which is that change's matter. Here it stands where these changes put it.
    fn here(&self, message: &Touched, there: Option<&Place>, pulled: bool) -> Result<Option<Found>, Trouble> {
        let Some((folder, uid)) = message.now else { return Ok(None) };
        let Some(name) = self.folder_name(folder)? else { return Ok(None) };
        if let Some(found) = self.mailboxes.page(folder, uid, uid, 1)?.pop() {
            let flags = found.flags.names().map(str::to_lowercase).collect();
            let copy = Some((Some(found.date), Some(found.size)));
            return Ok(Some(Found { place: Place { folder: name, flags }, copy }));
        }
        let came = message.came.as_ref();
        let mut flags: Flags = match (there, came) {
            (Some(there), _) => there.flags.clone(),
            (None, Some((_, flags))) => flags.names().map(str::to_lowercase).collect(),
            (None, None) => Flags::new(),
        };
        for (flag, on) in &message.flagged {
            if *on {
                flags.insert(flag.clone())
            } else {
                flags.remove(flag)
            };
        }
        // In a mailbox that is pulled that later change gives it back, and with it how it is then.
        let later = pulled && matches!(message.body, BodyAt::Own { .. });
        let copy = (message.new && !later).then(|| (came.map(|(date, _)| *date), None));
        Ok(Some(Found { place: Place { folder: name, flags }, copy }))
    }

    fn folder_name(&self, id: FolderId) -> Result<Option<String>, MailboxError> {
        Ok(self.mailboxes.folders(self.account)?.into_iter().find(|f| f.id == id).map(|f| f.name))
    }

    async fn carry_out(
        &self,
        store: &mut dyn MailStore,
        names: &mut Names,
        merged: &Merged,
        standing: Option<&Standing>,
        source: &Source<'_>,
    ) -> Result<(), Trouble> {
        for step in &merged.there {
            crash_point("mirror.before_step");
            match (step, standing) {
                (Step::Append(place), _) => self.append(store, names, place, source).await?,
                (Step::Flag(change), Some(standing)) => {
                    store.select(&standing.folder, false).await?;
                    let uids = [standing.uid];
                    for (how, flags) in [(StoreHow::Add, &change.add), (StoreHow::Remove, &change.remove)] {
                        if !flags.is_empty() {
                            store.change_flags(&uids, how, &spoken(flags)).await?;
                        }
                    }
                }
                (Step::Move(folder), Some(standing)) => {
                    let to = ensure(store, names, folder).await?;
                    store.select(&standing.folder, false).await?;
                    store.move_to(&[standing.uid], &to).await?;
                }
                (Step::Expunge, Some(standing)) => {
                    // Delivery may not know yet that it came: it would look for it, find nothing, and send it again.
                    self.deliveries.note_seen(source.message.body, &standing.folder).await?;
                    store.select(&standing.folder, false).await?;
                    store.remove(&[standing.uid]).await?;
                }
                (Step::Flag(_) | Step::Move(_) | Step::Expunge, None) => {}
            }
            crash_point("mirror.after_step");
        }
        Ok(())
    }

    async fn append(
        &self,
        store: &mut dyn MailStore,
        names: &mut Names,
        place: &Place,
        source: &Source<'_>,
    ) -> Result<(), Trouble> {
        let Some((arrived, size)) = source.copy else { return Ok(()) };
        let folder = ensure(store, names, &place.folder).await?;
        self.pair_made(store, &place.folder, &folder).await?;
        // What a client wrote here carries no trace id; it gets one on top, so that it is found again.
        let header = self.mailboxes.header(&source.message.body)?;
        let top = match TraceTag::find(&header, self.trace_key) {
            Some(carried) if carried == source.trace => String::new(),
            _ => format!("{}: {}\r\n", TraceTag::HEADER, TraceTag::new(source.trace, self.trace_key)),
        };
        let body = &source.message.body;
        let size = match size {
            Some(size) => size,
            None => io::copy(&mut self.mailboxes.body(body)?, &mut io::sink())
                .map_err(|error| MailboxError::Body(error.to_string()))?,
        };
        let size = top.len() as u64 + size;
        let mut content = Cursor::new(top.into_bytes()).chain(self.mailboxes.body(body)?);
        let flags = spoken(&place.flags);
        let new = NewCopy { folder: &folder, flags: &flags, arrived, size, content: &mut content };
        let placed = store.append(new).await?;
        match placed {
            Some(placed) => {
                self.link_given(source.message, (&folder, placed.validity, placed.uid), place).await
            }
            None => Ok(()),
        }
    }
}

/// What is known of one message at the primary.
struct Known<'a> {
    trace: TraceId,
    inventory: &'a Inventory,
    fate: Option<Fate>,
    /// New messages that are gone again before the end of the changes.
    thrown_away: &'a HashSet<BodyAt>,
    /// Whether the mailbox is pulled.
    pulled: bool,
}

/// What the primary removed and people touched since is given back to where they have it. In a mailbox that is pulled a
/// look has put it into Trash here before, and who takes it out of there wants it where it is then.
fn leave_where_it_is(merged: &mut Merged, here: &Here) {
    if let Here::At(here) = here {
        *merged = Merged {
            there: vec![Step::Append(here.clone())],
            agreed: Some(here.clone()),
            ..Merged::default()
        };
    }
}

/// Date and size of a copy to be made; the size is counted when it is not known. `None`: it is not ours to make.
type Copy = Option<(Option<Time>, Option<u64>)>;

/// A message here.
struct Found {
    place: Place,
    copy: Copy,
}

/// Changes in parts that are carried over one after the other. A part ends with each removal: of a message that is gone
/// on both sides nobody can tell later whether it was removed or has not come yet, so that must be written down at once.
fn parts(changes: &[Change]) -> impl Iterator<Item = &[Change]> {
    changes.split_inclusive(|change| matches!(change.event, Event::Expunged { .. }))
}

/// What an append is made of.
struct Source<'a> {
    message: &'a Touched,
    trace: TraceId,
    copy: Copy,
}

/// The folder's name there; it is made when it is missing.
async fn ensure(store: &mut dyn MailStore, names: &mut Names, here: &str) -> Result<String, StoreError> {
    let (there, missing) = names.there(here);
    if missing {
        match store.create(&there).await {
            Ok(()) | Err(StoreError::Exists(_)) => names.made(here, &there),
            Err(error) => return Err(error),
        }
    }
    Ok(there)
}

/// The id of a message that was written here and has none: the same each time, so that a second try finds the first.
pub(crate) fn own_trace(account: &AccountId, body: BodyAt) -> TraceId {
    let position = match body {
        BodyAt::Journal { position, .. } | BodyAt::Own { position } => position,
    };
    let hash = blake3::hash(format!("{account}\n{}\n{}", position.segment, position.offset).as_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&hash.as_bytes()[..10]);
    TraceId::new(Time::default(), random)
}

/// Where both sides last agreed the message stands: where it stood before people touched it.
///
/// Found there in a folder into which people put it here, it was put there by us, and a crash or a broken connection kept
/// that from being written down; it is not the primary's change.
///
/// Of a message that is gone here the flags it had are not known any more. Flags alone are no touch that a delete
/// loses against; another folder is.
fn agreed(
    message: &Touched,
    (began, been): (Option<&str>, &[String]),
    here: Option<&Place>,
    there: Option<&Place>,
) -> Option<Place> {
    let folder = match there {
        Some(there) if been.contains(&there.folder) => there.folder.clone(),
        _ if message.new => return None,
        _ => began?.to_owned(),
    };
    let flags = match here {
        Some(here) => {
            let mut flags: Flags = here.flags.clone();
            for (flag, on) in &message.flagged {
                if *on {
                    flags.remove(flag)
                } else {
                    flags.insert(flag.clone())
                };
            }
            flags
        }
        None => there.map(|there| there.flags.clone()).unwrap_or_default(),
    };
    Some(Place { folder, flags })
}
