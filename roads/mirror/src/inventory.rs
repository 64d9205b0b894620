//! What of ours stands in a person's mail at the primary.

use rules_merge::Flags;
use std::collections::HashMap;
use stores_primary::store::{Folder, MailStore, StoreError};
use words_imap::Flag;
use words_mail::{TraceId, TraceKey, TraceTag};

/// One message there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The folder's name there.
    pub(crate) folder: String,
    /// UIDVALIDITY of the folder.
    pub(crate) validity: u32,
    /// Its UID.
    pub(crate) uid: u32,
    /// Its flags, lower case.
    pub(crate) flags: Flags,
}

/// All folders of an account at the primary, and every message in them that carries a trace id of ours on top.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) folders: Vec<Folder>,
    ours: HashMap<TraceId, Vec<Standing>>,
}

impl Inventory {
    /// Looks through all folders.
    pub(crate) async fn take(store: &mut dyn MailStore, key: &TraceKey) -> Result<Inventory, StoreError> {
        let folders = store.folders().await?;
        let mut ours: HashMap<TraceId, Vec<Standing>> = HashMap::new();
        for folder in folders.iter().filter(|folder| folder.selectable) {
            let validity = match store.select(&folder.name, true).await {
                Ok(selected) if selected.messages == 0 => continue,
                Ok(selected) => selected.validity,
                // Removed since it was listed.
                Err(StoreError::NoFolder(_)) => continue,
                Err(error) => return Err(error),
            };
            let mut each = |summary: stores_primary::store::Summary| {
                if let Some(trace) = TraceTag::find(&summary.header, key) {
                    let flags = lower(&summary.flags);
                    let standing =
                        Standing { folder: folder.name.clone(), validity, uid: summary.uid, flags };
                    ours.entry(trace).or_default().push(standing);
                }
            };
            store.headers_above(0, &[TraceTag::HEADER], &mut each).await?;
        }
        Ok(Inventory { folders, ours })
    }

    /// The copy of a message to work with: the first that stands in one of `folders`, in their order, else the first.
    pub(crate) fn find(&self, trace: TraceId, folders: &[String]) -> Option<&Standing> {
        self.find_in(trace, folders).or_else(|| self.ours.get(&trace)?.first())
    }

    /// The copies of a message.
    pub(crate) fn copies(&self, trace: TraceId) -> &[Standing] {
        self.ours.get(&trace).map_or(&[], Vec::as_slice)
    }

    /// A copy that stands for another message here is none to work with.
    pub(crate) fn take_out(&mut self, copy: &Standing) {
        for copies in self.ours.values_mut() {
            copies.retain(|other| (&other.folder, other.uid) != (&copy.folder, copy.uid));
        }
        self.ours.retain(|_, copies| !copies.is_empty());
    }

    /// The first copy of a message that stands in one of `folders`.
    pub(crate) fn find_in(&self, trace: TraceId, folders: &[String]) -> Option<&Standing> {
        let copies = self.ours.get(&trace)?;
        folders.iter().find_map(|folder| copies.iter().find(|copy| copy.folder == *folder))
    }
}

pub(crate) fn lower(flags: &[Flag]) -> Flags {
    flags.iter().filter(|flag| **flag != Flag::Recent).map(|flag| flag.as_str().to_lowercase()).collect()
}

/// Flags as the primary is told them. `\Recent` and what is no flag are left out.
pub(crate) fn spoken(flags: &Flags) -> Vec<Flag> {
    flags.iter().filter_map(|flag| Flag::parse(flag)).filter(|flag| *flag != Flag::Recent).collect()
}
