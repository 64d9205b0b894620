//! One look at an account: which folders changed, which messages in them, and what follows from it here.

use super::PullOptions;
use super::gate::Gate;
use super::tree::Paired;
use crate::replay::Trouble;
use rules_merge::Brake;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use stores_mailbox::{By, Flags, FolderId, How, Link, Look, Mailboxes, UidRanges};
use stores_primary::store::{Changes, MailStore, StoreError, Summary};
use words_imap::Flag;
use words_mail::{AccountId, TraceKey};
use words_world::{Clock, crash_point};

/// What a visit needs.
pub(crate) struct Visit<'a> {
    pub(crate) mailboxes: &'a Mailboxes,
    pub(crate) trace_key: &'a TraceKey,
    pub(crate) account: &'a AccountId,
    pub(crate) store: &'a mut dyn MailStore,
    pub(crate) options: &'a PullOptions,
    pub(crate) brake: &'a Mutex<Brake>,
    pub(crate) gate: &'a Gate,
    pub(crate) clock: &'a dyn Clock,
    /// A person said that what vanished there is to vanish here.
    pub(crate) accepted: bool,
}

/// A folder that was gone through.
pub(super) struct Scan {
    pub(super) paired: Paired,
    /// Messages there that stand for none here, ascending.
    pub(super) new: Vec<u32>,
    /// Links whose message is not there any more.
    pub(super) missing: Vec<Link>,
}

impl Visit<'_> {
    /// Looks once; whether it should look again at once.
    pub(crate) async fn look(&mut self) -> Result<bool, Trouble> {
        let tree = self.tree().await?;
        let mut scans = Vec::new();
        for paired in tree.paired {
            if is_changed(&paired)
                && let Some(scan) = self.scan(paired).await?
            {
                scans.push(scan);
            }
        }
        let mut missing: Vec<Link> = Vec::new();
        for scan in &mut scans {
            missing.append(&mut scan.missing);
            missing.append(&mut scan.paired.orphans);
        }
        for pairing in &tree.gone {
            missing.extend(self.mailboxes.links(pairing.folder)?);
        }
        for scan in &scans {
            self.bring(scan, &mut missing).await?;
        }
        if !self.let_go(missing, &tree.gone).await? {
            return Ok(false);
        }
        for scan in &scans {
            let status = &scan.paired.status;
            let look = Look { whole: true, total: status.messages, next: status.next, modseq: status.modseq };
            if look != scan.paired.pairing.look {
                crash_point("mirror.before_looked");
                self.mailboxes.looked(self.account, scan.paired.pairing.folder, look).await?;
            }
        }
        Ok(false)
    }

    /// Goes through one folder and follows its flags. `None`: it changed its nature meanwhile, and the next look sees.
    async fn scan(&mut self, paired: Paired) -> Result<Option<Scan>, Trouble> {
        let pairing = &paired.pairing;
        self.gate.pace().await;
        match self.store.select(&pairing.there, true).await {
            Ok(selected) if selected.validity == pairing.validity => {}
            Ok(_) | Err(StoreError::NoFolder(_)) => return Ok(None),
            Err(why) => return Err(why.into()),
        }
        let since = pairing.look.modseq.filter(|_| pairing.look.whole);
        let mut seen: BTreeMap<u32, Flags> = BTreeMap::new();
        let mut each = |summary: Summary| {
            seen.insert(summary.uid, flags_of(&summary.flags));
        };
        self.gate.pace().await;
        let changes = self.store.changes(since, &mut each).await?;
        let uids: UidRanges = seen.keys().copied().collect();
        let (links, missing) = match changes {
            Changes::All => {
                let (there, missing): (Vec<Link>, Vec<Link>) =
                    self.mailboxes.links(pairing.folder)?.into_iter().partition(|l| uids.contains(l.there));
                (there, missing)
            }
            Changes::Since { vanished } => {
                let mut gone = UidRanges::new();
                vanished.iter().for_each(|(first, last)| gone.insert_span(*first, *last));
                let missing = self.mailboxes.links_of(pairing.folder, &gone)?;
                (self.mailboxes.links_of(pairing.folder, &uids)?, missing)
            }
        };
        self.follow_flags(&links, &seen).await?;
        let linked: UidRanges = links.iter().map(|link| link.there).collect();
        // What is below what was looked at before was left out on purpose: it is older than the window.
        let least = if pairing.look.whole && self.options.days.is_some() { pairing.look.next } else { 0 };
        let new: Vec<u32> =
            seen.keys().copied().filter(|uid| !linked.contains(*uid) && *uid >= least).collect();
        if !pairing.look.whole && pairing.look.total != paired.status.messages {
            let look = Look { whole: false, total: paired.status.messages, ..Look::default() };
            self.mailboxes.looked(self.account, pairing.folder, look).await?;
        }
        Ok(Some(Scan { paired, new, missing }))
    }

    /// What the primary changed since both agreed is changed here. A flag that a person changed here meanwhile has two
    /// values only, so it is as the primary has it now, or is given back.
    async fn follow_flags(&mut self, links: &[Link], seen: &BTreeMap<u32, Flags>) -> Result<(), Trouble> {
        let mut changes: HashMap<(FolderId, How, Vec<String>), UidRanges> = HashMap::new();
        for link in links.iter().filter(|link| !link.gone) {
            let Some(there) = seen.get(&link.there) else { continue };
            for (how, flags) in differences(&link.flags, there) {
                let names = flags.names().map(str::to_owned).collect();
                changes.entry((link.folder, how, names)).or_default().insert(link.uid);
            }
        }
        for ((folder, how, flags), uids) in changes {
            let flags: Flags = flags.iter().map(String::as_str).collect();
            crash_point("mirror.before_flags");
            self.mailboxes.store(self.account, folder, &uids, (how, &flags), None, By::Primary).await?;
        }
        Ok(())
    }
}

/// What leads from some flags to others.
pub(crate) fn differences(from: &Flags, to: &Flags) -> Vec<(How, Flags)> {
    let beyond = |a: &Flags, b: &Flags| -> Flags {
        let has = |name: &str| b.names().any(|other| other.eq_ignore_ascii_case(name));
        a.names().filter(|name| !has(name)).collect()
    };
    let all = [(How::Add, beyond(to, from)), (How::Remove, beyond(from, to))];
    all.into_iter().filter(|(_, flags)| *flags != Flags::none()).collect()
}

pub(crate) fn flags_of(flags: &[Flag]) -> Flags {
    flags.iter().filter(|flag| **flag != Flag::Recent).map(Flag::as_str).collect()
}

/// Whether anything in a folder may be other than at the last look. Where no MODSEQs are kept nothing tells of flags.
fn is_changed(paired: &Paired) -> bool {
    let (look, status) = (&paired.pairing.look, &paired.status);
    !look.whole
        || status.modseq.is_none()
        || status.modseq != look.modseq
        || status.next != look.next
        || status.messages != look.total
}
