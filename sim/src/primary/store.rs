//! What the primary keeps: accounts, folders, messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One message in a folder.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Its UID.
    pub uid: u32,
    /// Its flags, in lower case.
    pub flags: BTreeSet<String>,
    /// Its bytes as they came in.
    pub bytes: Arc<Vec<u8>>,
}

/// One folder.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Its UIDVALIDITY.
    pub validity: u32,
    /// The UID the next message gets.
    pub next: u32,
    /// What is in it, by UID.
    pub messages: Vec<Copy>,
}

/// The folders of one account.
pub type Account = BTreeMap<String, Folder>;

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// By address in lower case.
    pub accounts: BTreeMap<String, Account>,
    validity: u32,
}

impl Store {
    pub(super) fn new(addresses: &[&str]) -> Store {
        let mut store = Store { accounts: BTreeMap::new(), validity: 1_000 };
        for address in addresses {
            store.accounts.insert((*address).to_owned(), Account::new());
            for folder in ["INBOX", "Drafts", "Sent", "Trash"] {
                store.create(address, folder);
            }
        }
        store
    }

    /// Makes a folder; `false` when it is there.
    pub(super) fn create(&mut self, address: &str, name: &str) -> bool {
        self.validity += 1;
        let validity = self.validity;
        let Some(account) = self.accounts.get_mut(address) else { return false };
        if account.contains_key(name) {
            return false;
        }
        account.insert(name.to_owned(), Folder { validity, next: 1, messages: Vec::new() });
        true
    }

    /// A message comes in.
    pub(super) fn arrive(&mut self, address: &str, bytes: Arc<Vec<u8>>) {
        if let Some(inbox) = self.folder(address, "INBOX") {
            inbox.add(bytes, BTreeSet::new());
        }
    }

    pub(super) fn folder(&mut self, address: &str, name: &str) -> Option<&mut Folder> {
        self.accounts.get_mut(address)?.get_mut(name)
    }
}

impl Folder {
    /// Adds a message; its UID.
    pub(super) fn add(&mut self, bytes: Arc<Vec<u8>>, flags: BTreeSet<String>) -> u32 {
        let uid = self.next;
        self.next += 1;
        self.messages.push(Copy { uid, flags, bytes });
        uid
    }
}
