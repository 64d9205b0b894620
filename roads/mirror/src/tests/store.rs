//! A primary's mailboxes in memory, which fail on demand: before a command was done, or after, with the answer lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stores_primary::store::{
    Carried, Changes, Folder, FolderStatus, MailStore, NewCopy, Piece, Placed, Selected, Standing,
    StoreError, Summary,
};
use words_imap::{Flag, StoreHow};
use words_world::Boxed;

/// One message there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct There {
    pub(crate) uid: u32,
    pub(crate) flags: Vec<Flag>,
    pub(crate) bytes: Vec<u8>,
}

/// How the next failure looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fail {
    /// The command was not done.
    Before,
    /// It was done, and the answer is lost.
    After,
}

#[derive(Default)]
pub(crate) struct Inside {
    pub(crate) folders: BTreeMap<String, Vec<There>>,
    next: u32,
    /// UIDVALIDITY of folders that were renamed; of others it follows from the name.
    pub(crate) validities: BTreeMap<String, u32>,
    /// Commands that change something, so far.
    pub(crate) changes: u32,
    /// Which of them fails, and how.
    pub(crate) fail: Option<(u32, Fail)>,
}

/// The mailboxes; connections share them.
#[derive(Clone, Default)]
pub(crate) struct Mail(pub(crate) Arc<Mutex<Inside>>);

impl Mail {
    /// With these folders; a special use is known by its name.
    pub(crate) fn with(folders: &[&str]) -> Mail {
        let mail = Mail::default();
        for folder in folders {
            mail.inside(|inside| inside.folders.insert((*folder).to_owned(), Vec::new()));
        }
        mail
    }

    pub(crate) fn inside<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// Transport puts a message into INBOX.
    pub(crate) fn deliver(&self, bytes: &[u8]) {
        self.inside(|inside| put(inside, "INBOX", Vec::new(), bytes.to_vec()));
    }

    /// What stands where: folder, flags in alphabetical order, subject.
    pub(crate) fn view(&self) -> Vec<(String, Vec<String>, String)> {
        self.inside(|inside| {
            let mut view = Vec::new();
            for (folder, messages) in &inside.folders {
                for message in messages {
                    let mut flags: Vec<String> = message.flags.iter().map(ToString::to_string).collect();
                    flags.sort();
                    let text = String::from_utf8_lossy(&message.bytes).into_owned();
                    let subject =
                        text.lines().find_map(|l| l.strip_prefix("Subject: ")).unwrap_or("").to_owned();
                    view.push((folder.clone(), flags, subject));
                }
            }
            view.sort();
            view
        })
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection { mail: self.clone(), selected: String::new(), pieces: VecDeque::new() }
    }
}

/// The UIDVALIDITY of a folder that was made under this name.
pub(crate) fn validity(name: &str) -> u32 {
    name.bytes().fold(7, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) | 1
}

fn numbers(inside: &Inside, folder: &str) -> Option<FolderStatus> {
    let messages = inside.folders.get(folder)?;
    Some(FolderStatus {
        validity: inside.validities.get(folder).copied().unwrap_or_else(|| validity(folder)),
        next: inside.next + 1,
        messages: messages.len() as u32,
        unseen: 0,
        modseq: None,
    })
}

pub(crate) fn put(inside: &mut Inside, folder: &str, flags: Vec<Flag>, bytes: Vec<u8>) -> u32 {
    inside.next += 1;
    let uid = inside.next;
    inside.folders.entry(folder.to_owned()).or_default().push(There { uid, flags, bytes });
    uid
}

pub(crate) struct Connection {
    mail: Mail,
    selected: String,
    pieces: VecDeque<Piece>,
}

impl Connection {
    /// One command that changes something.
    fn change<T>(&self, act: impl FnOnce(&mut Inside) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.mail.inside(|inside| {
            inside.changes += 1;
            match inside.fail {
                Some((at, Fail::Before)) if at == inside.changes => {
                    Err(StoreError::NoAnswer("cut off".into()))
                }
                Some((at, Fail::After)) if at == inside.changes => {
                    act(inside)?;
                    Err(StoreError::Unknown("cut off".into()))
                }
                _ => act(inside),
            }
        })
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> Boxed<'a, T> {
    Box::pin(async move { value })
}

impl MailStore for Connection {
    fn is_usable(&self) -> bool {
        true
    }

    fn folders(&mut self) -> Boxed<'_, Result<Vec<Folder>, StoreError>> {
        let special = |name: &str| ["Sent", "Drafts", "Trash"].contains(&name).then(|| format!("\\{name}"));
        let folder = |name: &String| Folder {
            name: name.clone(),
            separator: Some('.'),
            selectable: true,
            special_use: special(name),
            subscribed: None,
        };
        ready(Ok(self.mail.inside(|inside| inside.folders.keys().map(folder).collect())))
    }

    fn select<'a>(&'a mut self, folder: &'a str, read_only: bool) -> Boxed<'a, Result<Selected, StoreError>> {
        self.selected = folder.to_owned();
        let found = self.mail.inside(|inside| inside.folders.get(folder).map(Vec::len));
        let number = self.mail.inside(|inside| inside.validities.get(folder).copied());
        ready(match found {
            Some(n) => Ok(Selected {
                messages: n as u32,
                validity: number.unwrap_or_else(|| validity(folder)),
                read_only,
                ..Selected::default()
            }),
            None => Err(StoreError::NoFolder(folder.to_owned())),
        })
    }

    fn status<'a>(&'a mut self, folder: &'a str) -> Boxed<'a, Result<FolderStatus, StoreError>> {
        ready(match self.mail.inside(|inside| numbers(inside, folder)) {
            Some(status) => Ok(status),
            None => Err(StoreError::NoFolder(folder.to_owned())),
        })
    }

    fn look(&mut self) -> Boxed<'_, Result<Standing, StoreError>> {
        Box::pin(async move {
            let folders = self.folders().await?;
            let with = |folder: Folder| {
                let status = self.mail.inside(|inside| numbers(inside, &folder.name));
                (folder, status)
            };
            Ok(folders.into_iter().map(with).collect())
        })
    }

    fn changes<'a>(
        &'a mut self,
        _: Option<u64>,
        each: &'a mut (dyn FnMut(Summary) + Send),
    ) -> Boxed<'a, Result<Changes, StoreError>> {
        let all = self.mail.inside(|inside| inside.folders.get(&self.selected).cloned().unwrap_or_default());
        for There { uid, flags, .. } in all {
            each(Summary { uid, flags, ..Summary::default() });
        }
        ready(Ok(Changes::All))
    }

    fn begin_bodies<'a>(&'a mut self, uids: &'a [u32]) -> Boxed<'a, Result<(), StoreError>> {
        let all = self.mail.inside(|inside| inside.folders.get(&self.selected).cloned().unwrap_or_default());
        for There { uid, flags, bytes } in all.into_iter().filter(|message| uids.contains(&message.uid)) {
            self.pieces.push_back(Piece::Begin(bytes.len() as u64));
            // In two parts, as a network may cut them.
            let (one, two) = bytes.split_at(bytes.len() / 2);
            self.pieces.extend([one, two].map(|part| Piece::Data(part.to_vec())));
            self.pieces.push_back(Piece::End(Summary { uid, flags, ..Summary::default() }));
        }
        ready(Ok(()))
    }

    fn next_piece(&mut self) -> Boxed<'_, Result<Option<Piece>, StoreError>> {
        ready(Ok(self.pieces.pop_front()))
    }

    fn rename<'a>(&'a mut self, from: &'a str, to: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        ready(self.change(|inside| match inside.folders.remove(from) {
            Some(messages) => {
                inside.folders.insert(to.to_owned(), messages);
                let number = inside.validities.get(from).copied().unwrap_or_else(|| validity(from));
                inside.validities.insert(to.to_owned(), number);
                Ok(())
            }
            None => Err(StoreError::NoFolder(from.to_owned())),
        }))
    }

    fn delete<'a>(&'a mut self, folder: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        ready(self.change(|inside| match inside.folders.remove(folder) {
            Some(_) => Ok(()),
            None => Err(StoreError::NoFolder(folder.to_owned())),
        }))
    }

    fn subscribe<'a>(&'a mut self, _: &'a str, _: bool) -> Boxed<'a, Result<(), StoreError>> {
        ready(Ok(()))
    }

    fn headers_above<'a>(
        &'a mut self,
        uid: u32,
        _: &'a [&'a str],
        each: &'a mut (dyn FnMut(Summary) + Send),
    ) -> Boxed<'a, Result<(), StoreError>> {
        let all = self.mail.inside(|inside| inside.folders.get(&self.selected).cloned().unwrap_or_default());
        for message in all.into_iter().filter(|message| message.uid > uid) {
            let (uid, flags, header) = (message.uid, message.flags, message.bytes);
            each(Summary { uid, flags, header, ..Summary::default() });
        }
        ready(Ok(()))
    }

    fn headers_of<'a>(
        &'a mut self,
        uids: &'a [u32],
        _: &'a [&'a str],
        each: &'a mut (dyn FnMut(Summary) + Send),
    ) -> Boxed<'a, Result<(), StoreError>> {
        let all = self.mail.inside(|inside| inside.folders.get(&self.selected).cloned().unwrap_or_default());
        for message in all.into_iter().filter(|message| uids.contains(&message.uid)) {
            let (uid, flags, header) = (message.uid, message.flags, message.bytes);
            each(Summary { uid, flags, header, ..Summary::default() });
        }
        ready(Ok(()))
    }

    fn find_header<'a>(&'a mut self, _: &'a str, _: &'a str) -> Boxed<'a, Result<Vec<u32>, StoreError>> {
        ready(Ok(Vec::new()))
    }

    fn open_body(&mut self, _: u32) -> Boxed<'_, Result<Option<u64>, StoreError>> {
        ready(Ok(None))
    }

    fn body_part(&mut self) -> Boxed<'_, Result<Option<Vec<u8>>, StoreError>> {
        ready(Ok(None))
    }

    fn append<'a>(&'a mut self, new: NewCopy<'a>) -> Boxed<'a, Result<Option<Placed>, StoreError>> {
        let mut bytes = Vec::new();
        let read = new.content.read_to_end(&mut bytes).map_err(|e| StoreError::Source(e.to_string()));
        assert_eq!(bytes.len() as u64, new.size, "the size announced is the size sent");
        let flags = new.flags.to_vec();
        ready(read.and_then(|_| {
            self.change(|inside| {
                if !inside.folders.contains_key(new.folder) {
                    return Err(StoreError::NoFolder(new.folder.to_owned()));
                }
                Ok(Some(Placed {
                    validity: inside
                        .validities
                        .get(new.folder)
                        .copied()
                        .unwrap_or_else(|| validity(new.folder)),
                    uid: put(inside, new.folder, flags, bytes),
                }))
            })
        }))
    }

    fn change_flags<'a>(
        &'a mut self,
        uids: &'a [u32],
        how: StoreHow,
        flags: &'a [Flag],
    ) -> Boxed<'a, Result<(), StoreError>> {
        let folder = self.selected.clone();
        ready(self.change(|inside| {
            for message in
                inside.folders.entry(folder).or_default().iter_mut().filter(|m| uids.contains(&m.uid))
            {
                message.flags.retain(|flag| how != StoreHow::Set && !flags.contains(flag));
                if how != StoreHow::Remove {
                    message.flags.extend(flags.iter().cloned());
                }
            }
            Ok(())
        }))
    }

    fn copy<'a>(&'a mut self, _: &'a [u32], _: &'a str) -> Boxed<'a, Result<Option<Carried>, StoreError>> {
        ready(Ok(None))
    }

    fn move_to<'a>(
        &'a mut self,
        uids: &'a [u32],
        to: &'a str,
    ) -> Boxed<'a, Result<Option<Carried>, StoreError>> {
        let from = self.selected.clone();
        ready(self.change(|inside| {
            if !inside.folders.contains_key(to) {
                return Err(StoreError::NoFolder(to.to_owned()));
            }
            let all = std::mem::take(inside.folders.entry(from.clone()).or_default());
            let (moved, stay): (Vec<_>, Vec<_>) = all.into_iter().partition(|m| uids.contains(&m.uid));
            inside.folders.insert(from, stay);
            let mut carried = Carried { validity: validity(to), uids: Vec::new() };
            for message in moved {
                let new = put(inside, to, message.flags, message.bytes);
                carried.uids.push((message.uid, new));
            }
            carried.validity = inside.validities.get(to).copied().unwrap_or(carried.validity);
            Ok(Some(carried))
        }))
    }

    fn remove<'a>(&'a mut self, uids: &'a [u32]) -> Boxed<'a, Result<(), StoreError>> {
        let folder = self.selected.clone();
        ready(self.change(|inside| {
            inside.folders.entry(folder).or_default().retain(|message| !uids.contains(&message.uid));
            Ok(())
        }))
    }

    fn create<'a>(&'a mut self, folder: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        ready(self.change(|inside| match inside.folders.contains_key(folder) {
            true => Err(StoreError::Exists(folder.to_owned())),
            false => {
                inside.folders.insert(folder.to_owned(), Vec::new());
                Ok(())
            }
        }))
    }

    fn ping(&mut self) -> Boxed<'_, Result<(), StoreError>> {
        ready(Ok(()))
    }

    fn wait(&mut self, _: Duration) -> Boxed<'_, Result<bool, StoreError>> {
        ready(Ok(false))
    }

    fn leave(self: Box<Self>) -> Boxed<'static, ()> {
        ready(())
    }
}
