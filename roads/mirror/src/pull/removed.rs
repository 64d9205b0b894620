//! What is not at the primary any more: followed here, unless people touched it, or it is more than anybody would remove.

use super::look::Visit;
use crate::replay::Trouble;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use stores_mailbox::{By, FolderId, INBOX, Link, MailboxError, Pairing, SpecialUse, UidRanges};
use words_world::crash_point;

impl Visit<'_> {
    /// Follows what vanished; `false` when a person has to decide first.
    pub(super) async fn let_go(&mut self, missing: Vec<Link>, gone: &[Pairing]) -> Result<bool, Trouble> {
        if !missing.is_empty() {
            let folders = self.mailboxes.folders(self.account)?;
            let bins: BTreeSet<FolderId> = folders
                .iter()
                .filter(|f| matches!(f.special, Some(SpecialUse::Trash | SpecialUse::Junk)))
                .map(|f| f.id)
                .collect();
            // What people did here is no loss; what stood in Trash or Junk was on its way out.
            let lost =
                missing.iter().filter(|link| !link.gone && !bins.contains(&link.pairing)).count() as u64;
            if !self.accepted && !self.weigh(lost).await? {
                return Ok(false);
            }
            let trash = folders.iter().find(|f| f.special == Some(SpecialUse::Trash));
            let trash = trash.map_or_else(|| "Trash".to_owned(), |f| f.name.clone());
            self.remove(missing, &trash).await?;
        }
        for pairing in gone {
            self.close(pairing).await?;
        }
        Ok(true)
    }

    async fn weigh(&mut self, lost: u64) -> Result<bool, Trouble> {
        let total = self.mailboxes.pairings(self.account)?.iter().map(|pairing| pairing.linked).sum();
        let weighed = {
            let mut brake = self.brake.lock().unwrap_or_else(PoisonError::into_inner);
            brake.weigh(self.account, lost, total, self.clock.now())
        };
        let Err(tripped) = weighed else { return Ok(true) };
        let why = format!(
            "{} of {total} messages vanished at the primary within the hour, and {} may; nothing was removed here. See \
             `stormpost mirror status`; `stormpost mirror accept` follows it",
            tripped.lost, tripped.most
        );
        tracing::error!(account = %self.account, lost = tripped.lost, most = tripped.most, "a mass removal is not followed");
        self.mailboxes.brake(self.account, Some(why)).await?;
        Ok(false)
    }

    /// Untouched ones go; those that a person touched since land in Trash and are given back there.
    async fn remove(&mut self, missing: Vec<Link>, trash: &str) -> Result<(), Trouble> {
        let mut untouched: BTreeMap<FolderId, UidRanges> = BTreeMap::new();
        let mut touched: BTreeMap<FolderId, UidRanges> = BTreeMap::new();
        let mut links: BTreeMap<FolderId, UidRanges> = BTreeMap::new();
        for link in missing {
            links.entry(link.pairing).or_default().insert(link.there);
            if link.gone {
                continue;
            }
            let as_agreed = link.folder == link.pairing && link.here.as_ref() == Some(&link.flags);
            let of = if as_agreed { &mut untouched } else { &mut touched };
            of.entry(link.folder).or_default().insert(link.uid);
        }
        for (folder, uids) in touched {
            tracing::info!(
                account = %self.account, messages = uids.count(), listed = "deleted-there-touched-here",
                "removed at the primary and touched here: kept in Trash"
            );
            // Also what stands there already: so it is known what is to be given back, and from where.
            crash_point("mirror.before_trash");
            match self.mailboxes.move_to(self.account, folder, &uids, trash, By::Person).await {
                Ok(_) | Err(MailboxError::NoFolder) => {}
                Err(why) => return Err(why.into()),
            }
        }
        for (folder, uids) in untouched {
            crash_point("mirror.before_expunge");
            self.mailboxes.expunge(self.account, folder, &uids, By::Primary).await?;
        }
        for (pairing, uids) in links {
            crash_point("mirror.before_unlink");
            self.mailboxes.unlink(self.account, pairing, uids).await?;
        }
        Ok(())
    }

    /// The folder there is gone. Here it goes too when nothing is left in it.
    async fn close(&mut self, pairing: &Pairing) -> Result<(), Trouble> {
        let here = self.mailboxes.folders(self.account)?.into_iter().find(|f| f.id == pairing.folder);
        self.mailboxes.unpair(self.account, pairing.folder).await?;
        let Some(here) = here else { return Ok(()) };
        let empty = self.mailboxes.counts(here.id)?.messages == 0;
        if empty && here.name == pairing.name && here.name != INBOX && here.special.is_none() {
            crash_point("mirror.before_close");
            match self.mailboxes.delete(self.account, &here.name, By::Primary).await {
                Ok(()) | Err(MailboxError::NoFolder) => {}
                Err(why) => return Err(why.into()),
            }
        }
        Ok(())
    }
}
