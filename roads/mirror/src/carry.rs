//! Giving back what people did to messages and folders of which it is known what they are at the primary: by number, many
//! in one command, and nothing is looked for.

use crate::pull::differences;
use crate::replay::{Carried, Replay, Trouble};
use rules_merge::{Here, Listed, Origin, Place, Sides, Step, There, merge};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use stores_mailbox::{Change, Event, Flags, FolderId, How, Link, LinkNote, Pairing, SEPARATOR, UidRanges};
use stores_primary::store::{MailStore, StoreError, Summary};
use words_imap::{Flag, StoreHow};
use words_world::crash_point;

/// Links that are carried over in one go.
const PENDING_MAX: u32 = 5_000;

/// What has to be done in one folder there.
#[derive(Default)]
struct Work {
    flags: BTreeMap<(bool, Vec<String>), Vec<Link>>,
    moves: BTreeMap<FolderId, Vec<Link>>,
    removals: Vec<Link>,
    lost: Vec<Link>,
}

impl Replay<'_> {
    /// Carries over what people did to linked messages, and to folders that have a counterpart there; whether nothing of
    /// it is left.
    pub(crate) async fn carry_linked(
        &self,
        store: &mut dyn MailStore,
        changes: &[Change],
        carried: &mut Carried,
    ) -> Result<bool, Trouble> {
        if self.mailboxes.pairings(self.account)?.is_empty() {
            return Ok(true);
        }
        let named = self.carry_folders(store, changes).await?;
        let mut before = Vec::new();
        loop {
            let pending = self.mailboxes.pending(self.account, PENDING_MAX)?;
            let which: Vec<(FolderId, u32)> = pending.iter().map(|link| (link.pairing, link.there)).collect();
            // What cannot be carried over now waits for the next look at the primary.
            if pending.is_empty() || which == before {
                return Ok(named && pending.is_empty());
            }
            before = which;
            let mut folders: BTreeMap<FolderId, Vec<Link>> = BTreeMap::new();
            for link in pending {
                folders.entry(link.pairing).or_default().push(link);
            }
            for (folder, links) in folders {
                self.carry_folder(store, folder, links, carried).await?;
            }
        }
    }

    async fn carry_folder(
        &self,
        store: &mut dyn MailStore,
        folder: FolderId,
        links: Vec<Link>,
        carried: &mut Carried,
    ) -> Result<(), Trouble> {
        let pairings = self.mailboxes.pairings(self.account)?;
        let Some(pairing) = pairings.iter().find(|pairing| pairing.folder == folder) else { return Ok(()) };
        match store.select(&pairing.there, false).await {
            Ok(selected) if selected.validity == pairing.validity => {}
            Ok(_) | Err(StoreError::NoFolder(_)) => return Ok(()),
            Err(why) => return Err(why.into()),
        }
        let uids: Vec<u32> = links.iter().map(|link| link.there).collect();
        let mut standing: HashMap<u32, Flags> = HashMap::new();
        let mut each = |summary: Summary| {
            standing.insert(summary.uid, crate::pull::flags_of(&summary.flags));
        };
        store.headers_of(&uids, &[], &mut each).await?;
        let mut work = Work::default();
        for link in links {
            let Some(there) = standing.get(&link.there) else { continue };
            carried.messages += 1;
            self.plan(link, there, &mut work, carried);
        }
        self.carry_flags(store, std::mem::take(&mut work.flags)).await?;
        for (to, links) in std::mem::take(&mut work.moves) {
            self.carry_moves(store, pairing, to, links).await?;
            store.select(&pairing.there, false).await?;
        }
        self.carry_removals(store, pairing, std::mem::take(&mut work.removals)).await?;
        self.carry_lost(store, pairing, work.lost).await
    }

    /// What has to happen to one message there.
    fn plan(&self, link: Link, there: &Flags, work: &mut Work, carried: &mut Carried) {
        let place = |folder: FolderId, flags: &Flags| Place {
            folder: folder.to_string(),
            flags: flags.names().map(str::to_lowercase).collect(),
        };
        let here = link.here.clone().filter(|_| !link.gone);
        let sides = Sides {
            origin: Origin::Written,
            agreed: Some(place(link.pairing, &link.flags)),
            here: here.as_ref().map_or(Here::Gone, |flags| Here::At(place(link.folder, flags))),
            there: There::At(place(link.pairing, there)),
        };
        let merged = merge(&sides, "Trash");
        carried.listed.extend(merged.listed);
        if merged.listed == Some(Listed::DeletedHereTouchedThere) {
            work.lost.push(link);
            return;
        }
        if merged.there.contains(&Step::Expunge) {
            carried.changed += 1;
            work.removals.push(link);
            return;
        }
        let Some(here) = here else { return };
        let flags = differences(&link.flags, &here);
        carried.changed += u64::from(!flags.is_empty() || link.folder != link.pairing);
        for (how, flags) in flags {
            let names = flags.names().map(str::to_owned).collect();
            work.flags.entry((how == How::Add, names)).or_default().push(link.clone());
        }
        if link.folder != link.pairing {
            work.moves.entry(link.folder).or_default().push(link);
        }
    }

    async fn carry_flags(
        &self,
        store: &mut dyn MailStore,
        flags: BTreeMap<(bool, Vec<String>), Vec<Link>>,
    ) -> Result<(), Trouble> {
        let mut notes: BTreeMap<(FolderId, u32), LinkNote> = BTreeMap::new();
        for ((add, names), links) in flags {
            let uids: Vec<u32> = links.iter().map(|link| link.there).collect();
            let spoken: Vec<Flag> = names.iter().filter_map(|name| Flag::parse(name)).collect();
            let how = if add { StoreHow::Add } else { StoreHow::Remove };
            crash_point("mirror.before_step");
            match store.change_flags(&uids, how, &spoken).await {
                Ok(()) => {}
                // A server that keeps no such keyword: it stays here, and is not asked for again.
                Err(StoreError::Refused(why) | StoreError::Unsupported(why)) => {
                    tracing::warn!(account = %self.account, flags = ?names, %why, "the primary does not keep these flags");
                }
                Err(why) => return Err(why.into()),
            }
            for link in links {
                let note = LinkNote {
                    pairing: link.pairing,
                    there: link.there,
                    folder: link.folder,
                    uid: link.uid,
                    flags: link.here.unwrap_or_default(),
                    content: link.content,
                };
                notes.insert((link.pairing, link.there), note);
            }
        }
        crash_point("mirror.after_step");
        self.mailboxes.link(self.account, notes.into_values().collect()).await?;
        Ok(())
    }

    async fn carry_moves(
        &self,
        store: &mut dyn MailStore,
        from: &Pairing,
        to: FolderId,
        links: Vec<Link>,
    ) -> Result<(), Trouble> {
        let pairings = self.mailboxes.pairings(self.account)?;
        let target = match pairings.into_iter().find(|pairing| pairing.folder == to) {
            Some(pairing) => pairing,
            None => match self.make_there(store, to).await? {
                Some(pairing) => pairing,
                None => return Ok(()),
            },
        };
        store.select(&from.there, false).await?;
        let uids: Vec<u32> = links.iter().map(|link| link.there).collect();
        crash_point("mirror.before_step");
        let told = store.move_to(&uids, &target.there).await?;
        crash_point("mirror.after_step");
        let now: HashMap<u32, u32> = match told {
            Some(told) if told.validity == target.validity => told.uids.into_iter().collect(),
            _ => HashMap::new(),
        };
        let notes = links.iter().filter_map(|link| {
            Some(LinkNote {
                pairing: to,
                there: *now.get(&link.there)?,
                folder: link.folder,
                uid: link.uid,
                flags: link.here.clone().unwrap_or_default(),
                content: link.content,
            })
        });
        // Those whose new UID was not told keep their link: they are recognised there at the next look.
        self.mailboxes.link(self.account, notes.collect()).await?;
        Ok(())
    }

    async fn carry_removals(
        &self,
        store: &mut dyn MailStore,
        pairing: &Pairing,
        links: Vec<Link>,
    ) -> Result<(), Trouble> {
        if links.is_empty() {
            return Ok(());
        }
        for link in &links {
            if let Some(body) = self.mailboxes.body_of(link.folder, link.uid)? {
                self.deliveries.note_seen(body, &pairing.there).await?;
            }
        }
        let uids: Vec<u32> = links.iter().map(|link| link.there).collect();
        crash_point("mirror.before_step");
        store.remove(&uids).await?;
        crash_point("mirror.after_step");
        self.mailboxes.unlink(self.account, pairing.folder, uids.into_iter().collect()).await?;
        Ok(())
    }

    /// Removed here and touched there: they go to Trash there, and the next look brings them into Trash here.
    async fn carry_lost(
        &self,
        store: &mut dyn MailStore,
        pairing: &Pairing,
        links: Vec<Link>,
    ) -> Result<(), Trouble> {
        if links.is_empty() {
            return Ok(());
        }
        let folders = self.mailboxes.folders(self.account)?;
        let trash =
            folders.iter().find(|f| f.special == Some(stores_mailbox::SpecialUse::Trash)).map(|f| f.id);
        let pairings = self.mailboxes.pairings(self.account)?;
        let target = match (pairings.into_iter().find(|p| Some(p.folder) == trash), trash) {
            (Some(pairing), _) => Some(pairing.there),
            (None, Some(trash)) => self.make_there(store, trash).await?.map(|pairing| pairing.there),
            (None, None) => None,
        };
        let uids: Vec<u32> = links.iter().map(|link| link.there).collect();
        if let Some(target) = target
            && target != pairing.there
        {
            store.select(&pairing.there, false).await?;
            crash_point("mirror.before_step");
            store.move_to(&uids, &target).await?;
            crash_point("mirror.after_step");
        }
        self.mailboxes.unlink(self.account, pairing.folder, uids.into_iter().collect()).await?;
        Ok(())
    }

    /// Makes the counterpart of a folder.
    async fn make_there(
        &self,
        store: &mut dyn MailStore,
        folder: FolderId,
    ) -> Result<Option<Pairing>, Trouble> {
        let folders = self.mailboxes.folders(self.account)?;
        let Some(here) = folders.iter().find(|f| f.id == folder) else { return Ok(None) };
        let there = self.name_there(store, &here.name).await?;
        crash_point("mirror.before_step");
        match store.create(&there).await {
            Ok(()) | Err(StoreError::Exists(_)) => {}
            Err(why) => return Err(why.into()),
        }
        match store.subscribe(&there, true).await {
            Ok(()) | Err(StoreError::Refused(_)) => {}
            Err(why) => return Err(why.into()),
        }
        if self.mailboxes.pairings(self.account)?.iter().any(|pairing| pairing.there == there) {
            // It stands for another folder here already; the next look sorts that out.
            return Ok(None);
        }
        let status = store.status(&there).await?;
        let look = (status.validity, status.next, status.modseq);
        let pairing = self.mailboxes.pair(self.account, folder, &there, look, false).await?;
        crash_point("mirror.after_step");
        Ok(Some(pairing))
    }

    /// A folder there was made or found under this name: in a mailbox that is pulled it stands for the one here.
    pub(crate) async fn pair_made(
        &self,
        store: &mut dyn MailStore,
        here: &str,
        there: &str,
    ) -> Result<(), Trouble> {
        let pairings = self.mailboxes.pairings(self.account)?;
        let Some(here) = self.mailboxes.folders(self.account)?.into_iter().find(|f| f.name == here) else {
            return Ok(());
        };
        let paired = pairings.iter().any(|pairing| pairing.there == there || pairing.folder == here.id);
        if pairings.is_empty() || paired {
            return Ok(());
        }
        let status = store.status(there).await?;
        let look = (status.validity, status.next, status.modseq);
        self.mailboxes.pair(self.account, here.id, there, look, false).await?;
        Ok(())
    }

    /// The name there that a folder here gets: below what stands for the folder above it.
    async fn name_there(&self, store: &mut dyn MailStore, name: &str) -> Result<String, Trouble> {
        let listed = store.folders().await?;
        let separator = listed.iter().find_map(|folder| folder.separator).unwrap_or(SEPARATOR);
        let folders = self.mailboxes.folders(self.account)?;
        let pairings = self.mailboxes.pairings(self.account)?;
        if let Some((above, last)) = name.rsplit_once(SEPARATOR)
            && let Some(above) = folders.iter().find(|f| f.name == above)
            && let Some(pairing) = pairings.iter().find(|p| p.folder == above.id)
        {
            return Ok(format!("{}{separator}{last}", pairing.there));
        }
        Ok(name.replace(SEPARATOR, &separator.to_string()))
    }

    /// Folders that people made or renamed; whether none is left that the next look at the primary has to find again.
    async fn carry_folders(&self, store: &mut dyn MailStore, changes: &[Change]) -> Result<bool, Trouble> {
        let paired: BTreeSet<FolderId> =
            self.mailboxes.pairings(self.account)?.into_iter().map(|p| p.folder).collect();
        for change in changes {
            if let Event::FolderCreated { opened, .. } = &change.event
                && !paired.contains(&opened.folder)
            {
                self.make_there(store, opened.folder).await?;
            }
        }
        let folders = self.mailboxes.folders(self.account)?;
        let mut renamed: Vec<(Pairing, String)> = self
            .mailboxes
            .pairings(self.account)?
            .into_iter()
            .filter_map(|pairing| {
                let name = folders.iter().find(|f| f.id == pairing.folder)?.name.clone();
                (name != pairing.name).then_some((pairing, name))
            })
            .collect();
        renamed.sort_by_key(|(_, name)| name.len());
        let mut all = true;
        for (pairing, name) in renamed {
            let there = self.name_there(store, &name).await?;
            let listed = store.folders().await?;
            if !listed.iter().any(|folder| folder.name == there) {
                crash_point("mirror.before_step");
                match store.rename(&pairing.there, &there).await {
                    Ok(()) => {}
                    Err(StoreError::NoFolder(_)) => {
                        all = false;
                        continue;
                    }
                    Err(StoreError::Exists(_)) => continue,
                    Err(why) => return Err(why.into()),
                }
                crash_point("mirror.after_step");
                if let Err(why) = store.subscribe(&there, true).await {
                    tracing::debug!(account = %self.account, folder = %there, %why, "not subscribed at the primary");
                }
            }
            let look = (pairing.validity, pairing.look.next, pairing.look.modseq);
            self.mailboxes.pair_again(self.account, pairing.folder, &name, &there, look).await?;
        }
        Ok(all)
    }

    /// Folders that people removed go there too, when nothing is left in them.
    pub(crate) async fn carry_removed_folders(&self, store: &mut dyn MailStore) -> Result<(), Trouble> {
        let folders: BTreeSet<FolderId> =
            self.mailboxes.folders(self.account)?.into_iter().map(|f| f.id).collect();
        let pairings = self.mailboxes.pairings(self.account)?;
        for pairing in pairings.iter().filter(|pairing| !folders.contains(&pairing.folder)) {
            match store.status(&pairing.there).await {
                Ok(status) if status.messages == 0 && status.validity == pairing.validity => {
                    crash_point("mirror.before_step");
                    match store.delete(&pairing.there).await {
                        Ok(()) | Err(StoreError::NoFolder(_)) => {}
                        Err(StoreError::Refused(why)) => {
                            tracing::info!(account = %self.account, folder = %pairing.there, %why, "the folder stays");
                        }
                        Err(why) => return Err(why.into()),
                    }
                    crash_point("mirror.after_step");
                }
                // Something came or was touched since: the next look makes it anew here.
                Ok(_) | Err(StoreError::NoFolder(_)) => {}
                Err(why) => return Err(why.into()),
            }
            let gone: UidRanges =
                self.mailboxes.links(pairing.folder)?.iter().map(|link| link.there).collect();
            self.mailboxes.unlink(self.account, pairing.folder, gone).await?;
            self.mailboxes.unpair(self.account, pairing.folder).await?;
        }
        Ok(())
    }
}
