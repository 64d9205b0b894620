//! Folders there brought together with folders here.

use super::look::Visit;
use crate::names::Names;
use crate::replay::Trouble;
use rules_merge::{At, FolderSides, FolderStep, free_name, merge_folder};
use std::collections::{BTreeSet, HashMap};
use stores_mailbox::{By, FolderId, INBOX, Link, MailboxError, Pairing, SEPARATOR, SpecialUse};
use stores_primary::store::{Folder, FolderStatus};
use words_world::crash_point;

/// A folder there and the one here that stands for it.
pub(super) struct Paired {
    pub(super) pairing: Pairing,
    /// The present name here.
    pub(super) name: String,
    pub(super) status: FolderStatus,
    /// What was linked under a UIDVALIDITY that is no more.
    pub(super) orphans: Vec<Link>,
}

/// All folders of an account.
pub(super) struct Tree {
    pub(super) paired: Vec<Paired>,
    /// Folders here whose folder there is gone.
    pub(super) gone: Vec<Pairing>,
}

impl Visit<'_> {
    /// Looks at the folders there, and makes those here that are missing.
    pub(super) async fn tree(&mut self) -> Result<Tree, Trouble> {
        self.gate.pace().await;
        let all = self.store.look().await?;
        self.mailboxes.open_account(self.account).await?;
        let listed: Vec<(Folder, FolderStatus)> =
            all.into_iter().filter_map(|(folder, status)| Some((folder, status?))).collect();
        let pairings = self.mailboxes.pairings(self.account)?;
        let mut of = assign(&listed, &pairings);
        let mut tree = Tree { paired: Vec::new(), gone: Vec::new() };
        let assigned: BTreeSet<FolderId> = of.iter().flatten().map(|at| pairings[*at].folder).collect();
        tree.gone = pairings.iter().filter(|p| !assigned.contains(&p.folder)).cloned().collect();
        // Outer folders first, so that a renamed one takes those below it along.
        let mut order: Vec<usize> = (0..listed.len()).collect();
        order.sort_by_key(|at| listed[*at].0.name.len());
        for at in order {
            let (folder, status) = &listed[at];
            match of[at].take() {
                Some(known) => self.known(&pairings[known], folder, status, &mut tree).await?,
                None => self.meet(&listed, at, &mut tree).await?,
            }
        }
        Ok(tree)
    }

    async fn known(
        &mut self,
        pairing: &Pairing,
        folder: &Folder,
        status: &FolderStatus,
        tree: &mut Tree,
    ) -> Result<(), Trouble> {
        let here = self.mailboxes.folders(self.account)?.into_iter().find(|f| f.id == pairing.folder);
        // A person removed it here: that is carried over, or lost, before anything is followed.
        let Some(here) = here else { return Ok(()) };
        let mut name = here.name.clone();
        let mut pairing = pairing.clone();
        let mut agreed = pairing.name.clone();
        let mut orphans = Vec::new();
        if folder.name != pairing.there {
            let wanted = name_here(folder);
            let merged = merge_folder(&FolderSides {
                agreed: Some(pairing.name.clone()),
                here: At::Named(name.clone()),
                there: At::Named(wanted.clone()),
                holds: true,
            });
            if let Some(FolderStep::Rename(to)) = merged.here {
                name = self.rename(&name, &to).await?;
                agreed = name.clone();
            } else {
                // The name that a person gave it here goes there; until then they agree on the one there.
                agreed = wanted;
            }
            if let Some(listed) = merged.listed {
                tracing::info!(account = %self.account, folder = %name, ?listed, "renamed on both sides");
            }
        }
        if folder.name != pairing.there || status.validity != pairing.validity {
            if status.validity != pairing.validity {
                tracing::warn!(
                    account = %self.account, folder = %name, before = pairing.validity, now = status.validity,
                    "the primary's UIDVALIDITY is another: its messages are recognised one by one"
                );
                orphans = self.mailboxes.links(pairing.folder)?;
            }
            crash_point("mirror.before_pair");
            let look = (status.validity, status.next, status.modseq);
            pairing =
                self.mailboxes.pair_again(self.account, pairing.folder, &agreed, &folder.name, look).await?;
        }
        tree.paired.push(Paired { pairing, name, status: *status, orphans });
        Ok(())
    }

    async fn rename(&mut self, from: &str, to: &str) -> Result<String, Trouble> {
        let taken = self.mailboxes.folders(self.account)?.into_iter().map(|f| f.name).collect();
        let to = free_name(to, &taken);
        match self.mailboxes.rename(self.account, from, &to, By::Primary).await {
            Ok(()) => Ok(to),
            // A name that cannot be here, or taken meanwhile: it keeps the one it has.
            Err(MailboxError::Refused(_) | MailboxError::Exists) => Ok(from.to_owned()),
            Err(why) => Err(why.into()),
        }
    }

    async fn meet(
        &mut self,
        listed: &[(Folder, FolderStatus)],
        at: usize,
        tree: &mut Tree,
    ) -> Result<(), Trouble> {
        let (folder, status) = &listed[at];
        let taken: BTreeSet<FolderId> =
            self.mailboxes.pairings(self.account)?.into_iter().map(|p| p.folder).collect();
        let folders = self.mailboxes.folders(self.account)?;
        let free: Vec<stores_mailbox::Folder> =
            folders.iter().filter(|f| !taken.contains(&f.id)).cloned().collect();
        let there: Vec<Folder> = listed.iter().map(|(folder, _)| folder.clone()).collect();
        let united = Names::of(&free, &there).here(&folder.name);
        let found = free.iter().find(|f| f.name == united);
        let (id, name) = match found {
            Some(found) => (found.id, found.name.clone()),
            None => {
                let names = folders.iter().map(|f| f.name.clone()).collect();
                let name = free_name(&name_here(folder), &names);
                let special = folder.special_use.as_deref().and_then(special);
                let special = special.filter(|s| folders.iter().all(|f| f.special != Some(*s)));
                crash_point("mirror.before_folder");
                match self.mailboxes.create(self.account, &name, special, By::Primary).await {
                    Ok(id) => (id, name),
                    Err(why @ (MailboxError::Refused(_) | MailboxError::Exists)) => {
                        tracing::warn!(account = %self.account, folder = %folder.name, %why, "a folder cannot be copied");
                        return Ok(());
                    }
                    Err(why) => return Err(why.into()),
                }
            }
        };
        if let Some(on) = folder.subscribed {
            self.mailboxes.subscribe(self.account, &name, on, By::Primary).await?;
        }
        // Part of a folder never stands under the primary's UIDVALIDITY.
        let follow = self.options.days.is_none();
        let look = (status.validity, status.next, status.modseq);
        let pairing = self.mailboxes.pair(self.account, id, &folder.name, look, follow).await?;
        crash_point("mirror.paired");
        tree.paired.push(Paired { pairing, name, status: *status, orphans: Vec::new() });
        Ok(())
    }
}

/// Which pairing each folder there belongs to: by name and UIDVALIDITY, then by UIDVALIDITY alone where that is plain (it
/// was renamed), then by name alone (it has other UIDs now).
fn assign(listed: &[(Folder, FolderStatus)], pairings: &[Pairing]) -> Vec<Option<usize>> {
    let mut of: Vec<Option<usize>> = vec![None; listed.len()];
    let mut free: BTreeSet<usize> = (0..pairings.len()).collect();
    for (at, (folder, status)) in listed.iter().enumerate() {
        let same = |p: &Pairing| p.there == folder.name && p.validity == status.validity;
        of[at] = free.iter().copied().find(|n| same(&pairings[*n]));
        of[at].map(|n| free.remove(&n));
    }
    let mut plain: HashMap<u32, usize> = HashMap::new();
    for (at, (_, status)) in listed.iter().enumerate().filter(|(at, _)| of[*at].is_none()) {
        let _ = at;
        *plain.entry(status.validity).or_default() += 1;
    }
    for (at, (_, status)) in listed.iter().enumerate() {
        if of[at].is_some() || plain.get(&status.validity) != Some(&1) {
            continue;
        }
        let renamed = |p: &Pairing| p.validity == status.validity && p.look.next <= status.next;
        let mut found = free.iter().copied().filter(|n| renamed(&pairings[*n]));
        if let (Some(n), None) = (found.next(), found.next()) {
            of[at] = Some(n);
            free.remove(&n);
        }
    }
    for (at, (folder, _)) in listed.iter().enumerate().filter(|(at, _)| of[*at].is_none()).collect::<Vec<_>>()
    {
        of[at] = free.iter().copied().find(|n| pairings[*n].there == folder.name);
        of[at].map(|n| free.remove(&n));
    }
    of
}

/// The name here of a folder there: the same levels, without what a name here cannot hold.
pub(super) fn name_here(folder: &Folder) -> String {
    if folder.name.eq_ignore_ascii_case(INBOX) {
        return INBOX.to_owned();
    }
    let fit = |c: char| if c == SEPARATOR || c == '*' || c == '%' || c.is_control() { '_' } else { c };
    let levels: Vec<String> = match folder.separator {
        Some(separator) => {
            folder.name.split(separator).map(|level| level.chars().map(fit).collect()).collect()
        }
        None => vec![folder.name.chars().map(fit).collect()],
    };
    let levels: Vec<&str> = levels.iter().map(String::as_str).filter(|level| !level.is_empty()).collect();
    match levels.is_empty() {
        true => "_".to_owned(),
        false => levels.join(&SEPARATOR.to_string()),
    }
}

fn special(attribute: &str) -> Option<SpecialUse> {
    [SpecialUse::Archive, SpecialUse::Drafts, SpecialUse::Junk, SpecialUse::Sent, SpecialUse::Trash]
        .into_iter()
        .find(|special| special.attribute().eq_ignore_ascii_case(attribute))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stores_mailbox::Look;

    fn folder(name: &str, validity: u32, next: u32) -> (Folder, FolderStatus) {
        let folder = Folder {
            name: name.into(),
            separator: Some('.'),
            selectable: true,
            special_use: None,
            subscribed: None,
        };
        (folder, FolderStatus { validity, next, ..FolderStatus::default() })
    }

    fn pairing(id: u64, there: &str, validity: u32, next: u32) -> Pairing {
        Pairing {
            folder: FolderId(id),
            name: there.into(),
            there: there.into(),
            validity,
            follow: false,
            look: Look { next, ..Look::default() },
            linked: 0,
        }
    }

    #[test]
    fn a_folder_is_known_by_its_uidvalidity_and_by_its_name() {
        let pairings = [pairing(1, "A", 10, 5), pairing(2, "B", 11, 5), pairing(3, "C", 12, 5)];
        let listed = [folder("B", 10, 6), folder("A", 11, 5), folder("C", 99, 1), folder("D", 13, 1)];
        assert_eq!(
            assign(&listed, &pairings),
            [Some(0), Some(1), Some(2), None],
            "A and B changed names, C its UIDs"
        );
        let listed = [folder("X", 10, 5), folder("Y", 10, 7)];
        assert_eq!(assign(&listed, &pairings), [None, None], "two with one UIDVALIDITY tell nothing");
        assert_eq!(assign(&[folder("X", 10, 4)], &pairings), [None], "UIDNEXT never goes back");
    }

    #[test]
    fn names_are_made_fit_to_stand_here() {
        for (there, here) in [
            ("inbox", "INBOX"),
            ("Work.2026", "Work/2026"),
            ("a/b.c", "a_b/c"),
            ("50%*\r\n* BYE", "50____* BYE".replace("* BYE", "_ BYE").as_str()),
            ("..", "_"),
        ] {
            assert_eq!(name_here(&folder(there, 1, 1).0), here);
        }
    }
}
