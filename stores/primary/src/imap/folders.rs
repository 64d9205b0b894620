//! Folders: which there are, and what is in them by number.

use super::ImapStore;
use crate::store::{Folder, FolderStatus, Selected, StoreError};
use std::collections::HashSet;
use words_imap::client::{Listed, Untagged};
use words_imap::{Code, Status, StatusItem};

/// Folders of one account that are listed.
const FOLDERS_MAX: usize = 50_000;
/// Bytes of a folder's name; longer ones are not listed.
const NAME_MAX: usize = 4_096;
/// Special uses (RFC 6154) that a folder can have.
const USES: [&str; 7] = ["\\Sent", "\\Drafts", "\\Trash", "\\Junk", "\\Archive", "\\All", "\\Flagged"];

impl ImapStore {
    pub(super) async fn list(&mut self) -> Result<Vec<Folder>, StoreError> {
        let extended = self.can("LIST-EXTENDED");
        let special = self.can("SPECIAL-USE");
        let mut request = self.request("LIST").string(b"").string(b"*");
        if extended {
            request =
                request.word(if special { "RETURN (SPECIAL-USE SUBSCRIBED)" } else { "RETURN (SUBSCRIBED)" });
        }
        let mut listed: Vec<Listed> = Vec::new();
        let limit = self.limits.answer;
        self.ask(request, limit, |said| match said {
            Untagged::List(one) if !one.lsub && listed.len() < FOLDERS_MAX && one.name.len() <= NAME_MAX => {
                listed.push(one);
            }
            _ => {}
        })
        .await?;
        let mut subscribed: Option<HashSet<String>> = None;
        if !extended {
            let request = self.request("LSUB").string(b"").string(b"*");
            let mut names = HashSet::new();
            let asked = self
                .ask(request, limit, |said| {
                    if let Untagged::List(one) = said
                        && names.len() < FOLDERS_MAX
                        && one.name.len() <= NAME_MAX
                    {
                        names.insert(one.name);
                    }
                })
                .await;
            match asked {
                Ok(_) => subscribed = Some(names),
                // A server without subscriptions still has folders.
                Err(error) => self.wire.check().map_err(|_| error)?,
            }
        }
        let mut seen = HashSet::new();
        listed.retain(|one| seen.insert(one.name.clone()));
        Ok(listed.into_iter().map(|one| folder(one, extended, subscribed.as_ref())).collect())
    }

    pub(super) async fn do_select(&mut self, folder: &str, read_only: bool) -> Result<Selected, StoreError> {
        let request = self.request(if read_only { "EXAMINE" } else { "SELECT" }).mailbox(folder);
        let mut selected = Selected::default();
        let limit = self.limits.answer;
        let code = self
            .ask(request, limit, |said| match said {
                Untagged::Exists(n) => selected.messages = n,
                Untagged::Status { status: Status::Ok, code: Some(code), .. } => match code {
                    Code::UidValidity(n) => selected.validity = n,
                    Code::UidNext(n) => selected.next = Some(n),
                    Code::HighestModSeq(n) => selected.modseq = Some(n),
                    Code::PermanentFlags { flags, any } => {
                        (selected.flags, selected.keywords) = (flags, any);
                    }
                    _ => {}
                },
                _ => {}
            })
            .await?;
        selected.read_only = read_only || code == Some(Code::ReadOnly);
        if selected.validity == 0 {
            return Err(StoreError::Unavailable("the server tells no UIDVALIDITY".to_owned()));
        }
        Ok(selected)
    }

    pub(super) async fn do_status(&mut self, folder: &str) -> Result<FolderStatus, StoreError> {
        let modseq = if self.can("CONDSTORE") { " HIGHESTMODSEQ" } else { "" };
        let request = self
            .request("STATUS")
            .mailbox(folder)
            .word(format_args!("(MESSAGES UIDNEXT UIDVALIDITY UNSEEN{modseq})"));
        let mut told = None;
        let limit = self.limits.answer;
        self.ask(request, limit, |said| {
            if let Untagged::StatusOf { items, .. } = said {
                told = Some(status(items));
            }
        })
        .await?;
        told.ok_or(StoreError::Unavailable("the server told no numbers of the folder".to_owned()))
    }
}

/// Numbers of a folder as STATUS told them.
pub(super) fn status(items: Vec<(StatusItem, u64)>) -> FolderStatus {
    let mut status = FolderStatus::default();
    for (item, n) in items {
        let short = u32::try_from(n).unwrap_or(u32::MAX);
        match item {
            StatusItem::Messages => status.messages = short,
            StatusItem::UidNext => status.next = short,
            StatusItem::UidValidity => status.validity = short,
            StatusItem::Unseen => status.unseen = short,
            StatusItem::HighestModSeq => status.modseq = Some(n),
            _ => {}
        }
    }
    status
}

fn folder(listed: Listed, extended: bool, subscribed: Option<&HashSet<String>>) -> Folder {
    let special_use = USES.iter().find(|known| listed.has(known)).map(|known| (*known).to_owned());
    Folder {
        separator: listed.separator,
        selectable: listed.is_selectable(),
        special_use,
        subscribed: if extended {
            Some(listed.has("\\Subscribed"))
        } else {
            subscribed.map(|names| names.contains(&listed.name))
        },
        name: listed.name,
    }
}
