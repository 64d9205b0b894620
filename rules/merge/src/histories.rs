//! Random histories on both sides, brought together by the rules with crashes in between: the rules' own mirror in
//! small, judged by what people may expect.

use crate::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use words_mail::{Time, TraceId};

pub(super) const INBOX: u32 = 1;
pub(super) const TRASH: u32 = 2;

#[derive(Clone, Debug)]
struct Message {
    /// Here it stays for ever; there a move gives a new one.
    key: u32,
    folder: u32,
    content: u32,
    trace: Option<u32>,
    received: bool,
    flags: Flags,
}

#[derive(Clone, Debug, Default)]
struct Side {
    folders: BTreeMap<u32, String>,
    messages: Vec<Message>,
}

#[derive(Clone, Debug)]
struct Link {
    here: u32,
    there: u32,
    folder: u32,
    flags: Flags,
    identity: Identity,
    /// It was about to be put there, and nobody wrote down that it was: an attempt that is asked about.
    trying: bool,
}

#[derive(Clone, Debug)]
struct FolderLink {
    id: u32,
    here: u32,
    there: u32,
    name: String,
}

/// What somebody does. Messages and folders are named by their order, whatever there is of them.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Flag(u8, &'static str, bool),
    Move(u8, u8),
    Copy(u8, u8),
    Delete(u8),
    Append(u8),
    /// A draft is edited: another is written, the old one removed.
    Edit(u8),
    /// Mail comes in; by transport it reaches the primary later.
    Arrive,
    Create(u8),
    Rename(u8, u8),
    Remove(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Here,
    There,
}

/// Both sides, what is remembered of them, and what people may expect.
#[derive(Clone, Debug, Default)]
pub(super) struct House {
    here: Side,
    there: Side,
    links: Vec<Link>,
    folders: Vec<FolderLink>,
    next: u32,
    /// Accepted, but not delivered to the primary yet.
    transit: Vec<Message>,
    pub(super) listed: BTreeSet<Listed>,
    contents: u32,
    copies: BTreeMap<u32, usize>,
    /// Contents somebody removed a copy of.
    removed: BTreeSet<u32>,
    /// Contents that must be gone in the end: removed on one side, untouched on the other.
    dead: BTreeMap<u32, Who>,
    /// Contents touched on a side since both agreed.
    touched: BTreeSet<(bool, u32)>,
    /// A crash since both agreed: whose change it was may not be known any more.
    crashed: bool,
    /// Removed when that was so: gone, or in Trash.
    unsure: BTreeSet<u32>,
}

struct Crash;

fn spend(fuel: &mut u32) -> Result<(), Crash> {
    *fuel = fuel.checked_sub(1).ok_or(Crash)?;
    Ok(())
}

fn name(n: u8) -> String {
    ["Work", "Home", "Lists", "Archive"][usize::from(n) % 4].to_owned()
}

impl House {
    /// Both sides agree on two folders of their own, three more, and these many messages in INBOX.
    pub(super) fn new(messages: usize) -> House {
        let mut house = House { next: 10, ..House::default() };
        for (folder, name) in [(INBOX, "INBOX"), (TRASH, "Trash")] {
            house.here.folders.insert(folder, name.to_owned());
            house.there.folders.insert(folder, name.to_owned());
        }
        house.act(Who::There, &Act::Create(0));
        for _ in 0..messages {
            house.act(Who::There, &Act::Append(0));
        }
        house.settle();
        house
    }

    /// Both sides agree on Work with message 1 in it, and on Home.
    pub(super) fn with_a_message_in_work() -> House {
        let mut house = House::new(0);
        house.act(Who::There, &Act::Create(1));
        house.act(Who::There, &Act::Append(2));
        house.settle();
        house.listed.clear();
        house
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn side(&mut self, who: Who) -> &mut Side {
        if who == Who::Here { &mut self.here } else { &mut self.there }
    }

    fn pick(&mut self, who: Who, n: u8) -> Option<usize> {
        let count = self.side(who).messages.len();
        (count > 0).then(|| usize::from(n) % count)
    }

    fn pick_folder(&mut self, who: Who, n: u8) -> u32 {
        let side = self.side(who);
        let at = usize::from(n) % side.folders.len();
        *side.folders.keys().nth(at).unwrap()
    }

    fn touch(&mut self, who: Who, content: u32) {
        self.touched.insert((who == Who::Here, content));
        // Whoever touches it takes it up again, wherever it was removed.
        self.dead.remove(&content);
    }

    fn delete(&mut self, who: Who, at: usize) {
        let gone = self.side(who).messages.remove(at);
        let linked = self.links.iter().any(|l| if who == Who::Here { l.here } else { l.there } == gone.key);
        self.removed.insert(gone.content);
        let other = self.touched.contains(&(who != Who::Here, gone.content));
        if linked && !other && !self.copies.contains_key(&gone.content) {
            self.dead.insert(gone.content, who);
            if self.crashed {
                self.unsure.insert(gone.content);
            }
        }
    }

    fn add(&mut self, who: Who, folder: u32, received: bool) -> Message {
        self.contents += 1;
        let key = self.number();
        let trace = (received || who == Who::Here).then_some(self.contents);
        let message = Message { key, folder, content: self.contents, trace, received, flags: Flags::new() };
        self.side(who).messages.push(message.clone());
        message
    }

    pub(super) fn act(&mut self, who: Who, act: &Act) {
        match act {
            Act::Flag(n, flag, on) => {
                let Some(at) = self.pick(who, *n) else { return };
                let message = &mut self.side(who).messages[at];
                let flag = (*flag).to_owned();
                let changed = if *on { message.flags.insert(flag) } else { message.flags.remove(&flag) };
                let content = message.content;
                if changed {
                    self.touch(who, content);
                }
            }
            Act::Move(n, to) => {
                let (Some(at), to) = (self.pick(who, *n), self.pick_folder(who, *to)) else { return };
                let key = self.number();
                let message = &mut self.side(who).messages[at];
                if message.folder == to {
                    return;
                }
                message.folder = to;
                if who == Who::There {
                    message.key = key;
                }
                let content = message.content;
                self.touch(who, content);
            }
            Act::Copy(n, to) => {
                let (Some(at), to) = (self.pick(who, *n), self.pick_folder(who, *to)) else { return };
                let key = self.number();
                let copy = Message { key, folder: to, ..self.side(who).messages[at].clone() };
                // A copy that a person makes here is imported, not delivered.
                let copy = Message { received: false, ..copy };
                *self.copies.entry(copy.content).or_default() += 1;
                self.dead.remove(&copy.content);
                self.touch(who, copy.content);
                self.side(who).messages.push(copy);
            }
            Act::Delete(n) => {
                if let Some(at) = self.pick(who, *n) {
                    self.delete(who, at);
                }
            }
            Act::Append(folder) => {
                let folder = self.pick_folder(who, *folder);
                self.add(who, folder, false);
            }
            Act::Edit(n) => {
                let Some(at) = self.pick(who, *n) else { return };
                let folder = self.side(who).messages[at].folder;
                self.delete(who, at);
                self.add(who, folder, false);
            }
            Act::Arrive => {
                let message = self.add(Who::Here, INBOX, true);
                let key = self.number();
                self.transit.push(Message { key, ..message });
            }
            Act::Create(n) => {
                let id = self.number();
                let side = self.side(who);
                if !side.folders.values().any(|taken| *taken == name(*n)) {
                    side.folders.insert(id, name(*n));
                }
            }
            Act::Rename(n, to) => self.rename(who, *n, *to),
            Act::Remove(n) => self.remove(who, *n),
        }
    }

    fn rename(&mut self, who: Who, n: u8, to: u8) {
        let folder = self.pick_folder(who, n);
        let side = self.side(who);
        if folder <= TRASH || side.folders.values().any(|taken| *taken == name(to)) {
            return;
        }
        side.folders.insert(folder, name(to));
        let inside: Vec<u32> =
            side.messages.iter().filter(|m| m.folder == folder).map(|m| m.content).collect();
        inside.into_iter().for_each(|content| self.touch(who, content));
    }

    fn remove(&mut self, who: Who, n: u8) {
        let folder = self.pick_folder(who, n);
        if folder <= TRASH {
            return;
        }
        self.side(who).folders.remove(&folder);
        while let Some(at) = self.side(who).messages.iter().position(|m| m.folder == folder) {
            self.delete(who, at);
        }
    }

    /// Transport hands over what waits.
    fn deliver(&mut self) {
        let come = std::mem::take(&mut self.transit);
        self.there.messages.extend(come.into_iter().map(|m| Message { folder: INBOX, ..m }));
    }

    /// Brings both sides together until nothing more is asked for.
    pub(super) fn settle(&mut self) {
        self.deliver();
        for _ in 0..8 {
            let before = (self.view(Who::Here), self.view(Who::There));
            assert!(self.sync(&mut u32::MAX.clone()).is_ok());
            if before == (self.view(Who::Here), self.view(Who::There)) && before.0 == before.1 {
                self.touched.clear();
                self.crashed = false;
                self.must_be_right();
                // Whatever landed in Trash is a message like any other from now on.
                let left: BTreeSet<u32> = self.here.messages.iter().map(|m| m.content).collect();
                self.dead.retain(|content, _| !left.contains(content));
                return;
            }
        }
    }

    /// The same with a crash after so many steps.
    fn sync_and_crash(&mut self, mut fuel: u32) {
        if self.sync(&mut fuel).is_err() {
            self.crashed = true;
            self.unsure.extend(self.dead.keys());
        }
    }

    fn sync(&mut self, fuel: &mut u32) -> Result<(), Crash> {
        self.unite_folders(fuel)?;
        self.messages(fuel)?;
        self.empty_folders(fuel)
    }

    fn sides(&self, link: &FolderLink, holds: bool) -> FolderSides {
        let at = |name: Option<&String>| name.map_or(At::Gone, |name| At::Named(name.clone()));
        FolderSides {
            agreed: Some(link.name.clone()),
            here: at(self.here.folders.get(&link.here)),
            there: at(self.there.folders.get(&link.there)),
            holds,
        }
    }

    fn unite_folders(&mut self, fuel: &mut u32) -> Result<(), Crash> {
        for at in 0..self.folders.len() {
            let link = self.folders[at].clone();
            let sides = self.sides(&link, false);
            let both = matches!((&sides.here, &sides.there), (At::Named(_), At::Named(_)));
            let merged = merge_folder(&sides);
            if both || merged.listed.is_some() {
                self.carry_folder(at, &merged, fuel)?;
            }
        }
        let linked = |side: Who, id: u32, folders: &[FolderLink]| {
            folders.iter().any(|l| if side == Who::Here { l.here } else { l.there } == id)
        };
        let here: Vec<(u32, String)> = self.here.folders.clone().into_iter().collect();
        let there: Vec<(u32, String)> = self.there.folders.clone().into_iter().collect();
        for (id, name) in
            here.into_iter().filter(|(id, _)| !linked(Who::Here, *id, &self.folders)).collect::<Vec<_>>()
        {
            let twin =
                there.iter().find(|(other, n)| *n == name && !linked(Who::There, *other, &self.folders));
            let other = match twin {
                Some((other, _)) => *other,
                None => self.create(Who::There, id, &name, fuel)?,
            };
            self.link_folder(id, other, name, fuel)?;
        }
        for (id, name) in
            there.into_iter().filter(|(id, _)| !linked(Who::There, *id, &self.folders)).collect::<Vec<_>>()
        {
            let other = self.create(Who::Here, id, &name, fuel)?;
            self.link_folder(other, id, name, fuel)?;
        }
        Ok(())
    }

    fn link_folder(&mut self, here: u32, there: u32, name: String, fuel: &mut u32) -> Result<(), Crash> {
        spend(fuel)?;
        let id = if here <= TRASH { here } else { self.number() };
        let name = self.here.folders.get(&here).cloned().unwrap_or(name);
        self.folders.push(FolderLink { id, here, there, name });
        Ok(())
    }

    /// A folder made on the other side too; both get another name where another folder has this one.
    fn create(&mut self, who: Who, id: u32, name: &str, fuel: &mut u32) -> Result<u32, Crash> {
        let other = if who == Who::Here { Who::There } else { Who::Here };
        let free = self.free(name, who, &[(other, id)]);
        if free != name {
            spend(fuel)?;
            self.side(other).folders.insert(id, free.clone());
        }
        spend(fuel)?;
        let made = self.number();
        self.side(who).folders.insert(made, free);
        Ok(made)
    }

    /// The name itself where `who` has no other folder of that name; else one that is free on both sides.
    fn free(&self, name: &str, who: Who, this: &[(Who, u32)]) -> String {
        let others = |side: Who| {
            let folders = if side == Who::Here { &self.here.folders } else { &self.there.folders };
            let others = folders.iter().filter(move |(id, _)| !this.contains(&(side, **id)));
            others.map(|(_, name)| name.clone()).collect::<BTreeSet<_>>()
        };
        match others(who).contains(name) {
            true => free_name(name, &(&others(Who::Here) | &others(Who::There))),
            false => name.to_owned(),
        }
    }

    fn carry_folder(&mut self, at: usize, merged: &FolderMerged, fuel: &mut u32) -> Result<(), Crash> {
        let link = self.folders[at].clone();
        let both = [(Who::Here, link.here), (Who::There, link.there)];
        let mut agreed = merged.agreed.clone();
        for (n, step) in [&merged.here, &merged.there].into_iter().enumerate() {
            let ((who, id), (other, twin)) = (both[n], both[1 - n]);
            match step {
                None => {}
                Some(FolderStep::Create(name)) => {
                    let made = self.create(who, twin, name, fuel)?;
                    agreed = self.side(who).folders.get(&made).cloned();
                    let link = &mut self.folders[at];
                    if who == Who::Here {
                        link.here = made
                    } else {
                        link.there = made
                    };
                }
                Some(FolderStep::Rename(name)) => {
                    let free = self.free(name, who, &both);
                    if free != *name {
                        spend(fuel)?;
                        self.side(other).folders.insert(twin, free.clone());
                    }
                    spend(fuel)?;
                    self.side(who).folders.insert(id, free.clone());
                    agreed = Some(free);
                }
                Some(FolderStep::Delete) => {
                    spend(fuel)?;
                    self.side(who).folders.remove(&id);
                }
            }
        }
        self.listed.extend(merged.listed);
        spend(fuel)?;
        if let Some(name) = agreed {
            self.folders[at].name = name;
            if merged.listed.is_some_and(|l| l != Listed::FolderRenamedTwice) {
                // It is another folder from now on: what stood in it was removed with the one that is gone.
                self.folders[at].id = self.number();
            }
        }
        Ok(())
    }

    /// Folders that one side removed go on the other side too, when nothing stands in them any more.
    fn empty_folders(&mut self, fuel: &mut u32) -> Result<(), Crash> {
        for at in 0..self.folders.len() {
            let link = self.folders[at].clone();
            let holds = self.here.messages.iter().any(|m| m.folder == link.here)
                || self.there.messages.iter().any(|m| m.folder == link.there);
            let merged = merge_folder(&self.sides(&link, holds));
            if merged.here == Some(FolderStep::Delete) || merged.there == Some(FolderStep::Delete) {
                self.carry_folder(at, &merged, fuel)?;
            }
        }
        let (here, there) = (&self.here.folders, &self.there.folders);
        self.folders.retain(|l| here.contains_key(&l.here) && there.contains_key(&l.there));
        Ok(())
    }

    /// The name by which the rules know a folder: of its link, for both sides.
    fn called(&self, who: Who, folder: u32) -> String {
        let found = self.folders.iter().find(|l| if who == Who::Here { l.here } else { l.there } == folder);
        found.map_or_else(|| format!("{who:?}{folder}"), |l| l.id.to_string())
    }

    fn sighted(&self, who: Who) -> Vec<Sighted> {
        let side = if who == Who::Here { &self.here } else { &self.there };
        let sight = |m: &Message| Sighted { folder: self.called(who, m.folder), identity: identity(m) };
        side.messages.iter().map(sight).collect()
    }

    fn messages(&mut self, fuel: &mut u32) -> Result<(), Crash> {
        let linked: BTreeSet<u32> = self.links.iter().map(|link| link.here).collect();
        // What came and is not linked yet stands, for all that is known, where it came: a copy of it elsewhere is a copy.
        let came =
            self.here.messages.iter().enumerate().filter(|(_, m)| m.received && !linked.contains(&m.key));
        let came = came.map(|(at, m)| Known {
            folder: INBOX.to_string(),
            identity: identity(m),
            here: Some(at),
            there: None,
        });
        let known: Vec<Known> = self
            .links
            .iter()
            .map(|link| Known {
                folder: link.folder.to_string(),
                identity: link.identity,
                here: self.here.messages.iter().position(|m| m.key == link.here),
                there: self.there.messages.iter().position(|m| m.key == link.there),
            })
            .chain(came)
            .collect();
        let joined = join(&known, &self.sighted(Who::Here), &self.sighted(Who::There));
        let (links, here, there) =
            (self.links.clone(), self.here.messages.clone(), self.there.messages.clone());
        for one in joined {
            let link = one.known.and_then(|at| links.get(at).cloned());
            let sides = (one.here.map(|at| here[at].clone()), one.there.map(|at| there[at].clone()));
            self.message(link, sides, fuel)?;
        }
        Ok(())
    }

    fn message(
        &mut self,
        link: Option<Link>,
        (here, there): (Option<Message>, Option<Message>),
        fuel: &mut u32,
    ) -> Result<(), Crash> {
        let place =
            |who: Who, m: &Message| Place { folder: self.called(who, m.folder), flags: m.flags.clone() };
        let received = here.as_ref().is_some_and(|m| m.received && link.is_none());
        // What transport has handed over was agreed to stand where it was shown when it came.
        let came = || Place { folder: INBOX.to_string(), flags: Flags::new() };
        let waits = here.as_ref().is_some_and(|m| self.transit.iter().any(|t| t.content == m.content));
        // Asked about and not found: it was not put there.
        let tried = link.as_ref().is_some_and(|l| l.trying) && there.is_none();
        let sides = Sides {
            origin: if received { Origin::Received } else { Origin::Written },
            agreed: match &link {
                Some(link) => Some(Place { folder: link.folder.to_string(), flags: link.flags.clone() }),
                None => received.then(came),
            }
            .filter(|_| !tried),
            here: match (&here, &link) {
                (Some(m), _) => Here::At(place(Who::Here, m)),
                (None, Some(_)) => Here::Gone,
                (None, None) => Here::Never,
            },
            there: match (&there, &link) {
                (Some(m), _) => There::At(place(Who::There, m)),
                (None, Some(_)) if tried => There::Never,
                (None, Some(_)) => There::Gone,
                (None, None) if received && !waits => There::Gone,
                (None, None) => There::Never,
            },
        };
        let merged = merge(&sides, &TRASH.to_string());
        if merged.waits {
            return Ok(());
        }
        self.listed.extend(merged.listed);
        let from = here.clone().or_else(|| there.clone());
        let (mut at_here, mut at_there) = (here.map(|m| m.key), there.map(|m| m.key));
        for step in &merged.there {
            let target = self.target(Who::There, step, fuel)?;
            if let (Step::Append(place), Some(here), Some(from)) = (step, at_here, &from) {
                spend(fuel)?;
                self.links.retain(|l| l.here != here);
                let (flags, folder) = (place.flags.clone(), place.folder.parse().unwrap());
                let identity = identity(from);
                self.links.push(Link { here, there: 0, folder, flags, identity, trying: true });
            }
            spend(fuel)?;
            at_there = self.step(Who::There, step, target, at_there, from.as_ref());
        }
        for (n, step) in merged.here.iter().enumerate() {
            let target = self.target(Who::Here, step, fuel)?;
            spend(fuel)?;
            at_here = self.step(Who::Here, step, target, at_here, from.as_ref());
            if let (Step::Append(_), true) = (step, n + 1 == merged.here.len()) {
                // What is appended here says in the same record where it stands at the primary.
                self.remember(link.as_ref(), &merged, at_here, at_there, from.as_ref());
                return Ok(());
            }
        }
        spend(fuel)?;
        self.remember(link.as_ref(), &merged, at_here, at_there, from.as_ref());
        Ok(())
    }

    fn remember(
        &mut self,
        link: Option<&Link>,
        merged: &Merged,
        here: Option<u32>,
        there: Option<u32>,
        from: Option<&Message>,
    ) {
        if let Some(old) = link {
            self.links.retain(|l| l.here != old.here);
        }
        self.links.retain(|l| Some(l.here) != here);
        if let (Some(place), Some(here), Some(there), Some(from)) = (&merged.agreed, here, there, from) {
            let folder = place.folder.parse().unwrap();
            let identity = link.map_or_else(|| identity(from), |l| l.identity);
            self.links.push(Link {
                here,
                there,
                folder,
                flags: place.flags.clone(),
                identity,
                trying: false,
            });
        }
    }

    /// The folder that a step puts a message into; it is made again where it was removed.
    fn target(&mut self, who: Who, step: &Step, fuel: &mut u32) -> Result<u32, Crash> {
        let (Step::Append(Place { folder, .. }) | Step::Move(folder)) = step else { return Ok(0) };
        let at =
            self.folders.iter().position(|l| l.id.to_string() == *folder).expect("a folder that is linked");
        let link = self.folders[at].clone();
        let id = if who == Who::Here { link.here } else { link.there };
        if self.side(who).folders.contains_key(&id) {
            return Ok(id);
        }
        let merged = merge_folder(&self.sides(&link, true));
        let id = self.folders[at].id;
        self.carry_folder(at, &merged, fuel)?;
        self.folders[at].id = id;
        let link = &self.folders[at];
        Ok(if who == Who::Here { link.here } else { link.there })
    }

    fn step(
        &mut self,
        who: Who,
        step: &Step,
        target: u32,
        key: Option<u32>,
        from: Option<&Message>,
    ) -> Option<u32> {
        let new = self.number();
        let trace = |m: &Message| m.trace;
        let side = self.side(who);
        let at = key.and_then(|key| side.messages.iter().position(|m| m.key == key));
        match (step, at) {
            (Step::Append(place), _) => {
                let from = from.expect("what is appended is somewhere");
                let message = Message {
                    key: new,
                    folder: target,
                    flags: place.flags.clone(),
                    trace: trace(from),
                    received: false,
                    content: from.content,
                };
                side.messages.push(message);
                return Some(new);
            }
            (Step::Flag(change), Some(at)) => {
                let flags = &mut side.messages[at].flags;
                flags.extend(change.add.iter().cloned());
                flags.retain(|flag| !change.remove.contains(flag));
            }
            (Step::Move(_), Some(at)) => {
                side.messages[at].folder = target;
                if who == Who::There {
                    side.messages[at].key = new;
                    return Some(new);
                }
            }
            (Step::Expunge, Some(at)) => {
                side.messages.remove(at);
                return None;
            }
            (_, None) => panic!("a step with a message that is not there"),
        }
        key
    }

    /// What stands where: folder, content, flags.
    pub(super) fn view(&self, who: Who) -> Vec<(String, u32, Flags)> {
        let side = if who == Who::Here { &self.here } else { &self.there };
        let folders = side.folders.values().map(|name| (format!("{name}/"), 0, Flags::new()));
        let row = |m: &Message| (side.folders[&m.folder].clone(), m.content, m.flags.clone());
        let mut view: Vec<_> = side.messages.iter().map(row).chain(folders).collect();
        view.sort();
        view
    }

    fn must_be_right(&self) {
        assert_eq!(self.view(Who::Here), self.view(Who::There), "the sides differ");
        let mut count: BTreeMap<u32, usize> = BTreeMap::new();
        for message in &self.here.messages {
            *count.entry(message.content).or_default() += 1;
        }
        for content in 1..=self.contents {
            let (found, copies) =
                (count.get(&content).copied().unwrap_or(0), self.copies.get(&content).copied().unwrap_or(0));
            assert!(found <= 1 + copies, "{content} is doubled: {found}");
            assert!(found > 0 || self.removed.contains(&content), "{content} is lost");
            if found > 0 && self.dead.contains_key(&content) {
                let binned = |m: &&Message| m.content == content && m.folder != TRASH;
                let elsewhere = self.here.messages.iter().any(|m| binned(&m));
                assert!(self.unsure.contains(&content) && !elsewhere, "{content} has risen from the dead");
            }
        }
    }
}

fn identity(message: &Message) -> Identity {
    let trace = message.trace.map(|n| TraceId::new(Time::from_seconds(i64::from(n)), [1; 10]));
    let mut content = [0; 32];
    content[..4].copy_from_slice(&message.content.to_le_bytes());
    Identity { trace, content: Some(ContentHash(content)) }
}

fn acts() -> impl Strategy<Value = Act> {
    let flag = prop_oneof![Just("\\seen"), Just("\\flagged"), Just("work")];
    prop_oneof![
        4 => (any::<u8>(), flag, any::<bool>()).prop_map(|(n, flag, on)| Act::Flag(n, flag, on)),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(n, to)| Act::Move(n, to)),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(n, to)| Act::Copy(n, to)),
        3 => any::<u8>().prop_map(Act::Delete),
        2 => any::<u8>().prop_map(Act::Append),
        2 => any::<u8>().prop_map(Act::Edit),
        2 => Just(Act::Arrive),
        2 => any::<u8>().prop_map(Act::Create),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(n, to)| Act::Rename(n, to)),
        2 => any::<u8>().prop_map(Act::Remove),
    ]
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happens {
    Act(Who, Act),
    Deliver,
    Sync,
    Crash(u32),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => acts().prop_map(|act| Happens::Act(Who::Here, act)),
        4 => acts().prop_map(|act| Happens::Act(Who::There, act)),
        1 => Just(Happens::Deliver),
        1 => Just(Happens::Sync),
        2 => (0u32..12).prop_map(Happens::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_on_both_sides_they_converge_and_neither_lose_nor_double(
        story in prop::collection::vec(happens(), 0..16),
    ) {
        let mut house = House::new(3);
        for one in &story {
            match one {
                Happens::Act(who, act) => house.act(*who, act),
                Happens::Deliver => house.deliver(),
                Happens::Sync => house.settle(),
                Happens::Crash(fuel) => house.sync_and_crash(*fuel),
            }
        }
        house.settle();
        house.must_be_right();
    }
}
