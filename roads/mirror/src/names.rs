//! Folder names here and there.

use rules_merge::{Folder, Use, unite};
use std::collections::BTreeMap;
use stores_mailbox::{Pairing, SEPARATOR, SpecialUse};
use stores_primary::store;

/// Which folder here is which folder there.
#[derive(Debug, Default)]
pub(crate) struct Names {
    there: BTreeMap<String, String>,
    here: BTreeMap<String, String>,
    separator: char,
    /// Our Trash.
    pub(crate) trash: String,
}

impl Names {
    pub(crate) fn of(here: &[stores_mailbox::Folder], there: &[store::Folder]) -> Names {
        let separator = there.iter().find_map(|folder| folder.separator).unwrap_or(SEPARATOR);
        let ours: Vec<Folder> = here
            .iter()
            .map(|folder| Folder {
                path: split(&folder.name, SEPARATOR),
                special: folder.special.map(use_here),
            })
            .collect();
        let theirs: Vec<Folder> = there
            .iter()
            .map(|folder| Folder {
                path: split(&folder.name, folder.separator.unwrap_or(separator)),
                special: folder.special_use.as_deref().and_then(use_there),
            })
            .collect();
        let join = |path: &[String], separator: char| path.join(&separator.to_string());
        let mut names = Names { separator, ..Names::default() };
        for (ours, theirs) in unite(&ours, &theirs).there {
            let (ours, theirs) = (join(&ours, SEPARATOR), join(&theirs, separator));
            names.here.insert(theirs.clone(), ours.clone());
            names.there.insert(ours, theirs);
        }
        let trash = here.iter().find(|folder| folder.special == Some(SpecialUse::Trash));
        names.trash = trash.map_or_else(|| "Trash".to_owned(), |folder| folder.name.clone());
        names
    }

    /// What is known to stand for what goes before what names suggest.
    pub(crate) fn paired(&mut self, here: &[stores_mailbox::Folder], pairings: &[Pairing]) {
        for pairing in pairings {
            if let Some(folder) = here.iter().find(|folder| folder.id == pairing.folder) {
                self.made(&folder.name, &pairing.there);
            }
        }
    }

    /// The name there of a folder of ours, and whether it has to be made first.
    pub(crate) fn there(&self, here: &str) -> (String, bool) {
        match self.there.get(here) {
            Some(name) => (name.clone(), false),
            None => (here.replace(SEPARATOR, &self.separator.to_string()), true),
        }
    }

    /// The name here of a folder there.
    pub(crate) fn here(&self, there: &str) -> String {
        match self.here.get(there) {
            Some(name) => name.clone(),
            None => there.replace(self.separator, &SEPARATOR.to_string()),
        }
    }

    /// A folder was made there.
    pub(crate) fn made(&mut self, here: &str, there: &str) {
        self.there.insert(here.to_owned(), there.to_owned());
        self.here.insert(there.to_owned(), here.to_owned());
    }
}

fn split(name: &str, separator: char) -> Vec<String> {
    name.split(separator).map(str::to_owned).collect()
}

fn use_here(special: SpecialUse) -> Use {
    match special {
        SpecialUse::Archive => Use::Archive,
        SpecialUse::Drafts => Use::Drafts,
        SpecialUse::Junk => Use::Junk,
        SpecialUse::Sent => Use::Sent,
        SpecialUse::Trash => Use::Trash,
    }
}

fn use_there(attribute: &str) -> Option<Use> {
    let uses = [
        ("\\Archive", Use::Archive),
        ("\\Drafts", Use::Drafts),
        ("\\Junk", Use::Junk),
        ("\\Sent", Use::Sent),
        ("\\Trash", Use::Trash),
    ];
    uses.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute)).map(|(_, special)| special)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(name: &str, special: Option<&str>) -> store::Folder {
        store::Folder {
            name: name.into(),
            separator: Some('.'),
            selectable: true,
            special_use: special.map(str::to_owned),
            subscribed: None,
        }
    }

    #[test]
    fn folders_meet_by_use_then_by_name_and_others_are_made() {
        let here: Vec<_> =
            stores_mailbox::STANDARD.iter().map(|(name, special)| here(name, *special)).collect();
        let names = Names::of(
            &here,
            &[there("INBOX", None), there("Gesendet", Some("\\Sent")), there("Trash", None)],
        );
        assert_eq!(names.there("Sent"), ("Gesendet".to_owned(), false));
        assert_eq!(names.there("Trash"), ("Trash".to_owned(), false));
        assert_eq!(names.there("Projects/2026"), ("Projects.2026".to_owned(), true));
        assert_eq!(names.here("Gesendet"), "Sent");
        assert_eq!(names.here("Other.Place"), "Other/Place");
        assert_eq!(names.trash, "Trash");
    }

    fn here(name: &str, special: Option<SpecialUse>) -> stores_mailbox::Folder {
        stores_mailbox::Folder {
            id: stores_mailbox::FolderId(1),
            name: name.into(),
            special,
            uidvalidity: 1,
            uidnext: 1,
            modseq: 1,
        }
    }
}
