//! Which message is which, with what was agreed before: by number where the numbers still hold, else by identity.

use crate::{Identity, pair};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use words_mail::TraceId;

/// A message of which both sides knew once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The folder it was agreed to stand in, as here.
    pub folder: String,
    /// What it is known by.
    pub identity: Identity,
    /// Where it is now among those here, if it is.
    pub here: Option<usize>,
    /// Where it is now among those at the primary, as far as its number there tells.
    pub there: Option<usize>,
}

/// A message on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighted {
    /// The folder it stands in, as here.
    pub folder: String,
    /// What it is known by.
    pub identity: Identity,
}

/// One message and where it is found, by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Joined {
    /// Among what was known.
    pub known: Option<usize>,
    /// Among those here.
    pub here: Option<usize>,
    /// Among those at the primary.
    pub there: Option<usize>,
}

/// Brings together what was known with what is found on both sides. Every index stands in exactly one answer.
///
/// What is known and not found at the primary by its number was moved there, or its folder has other numbers now: it is
/// looked for by identity, in its own folder first. What nobody knew is paired within a folder by identity, and over
/// folders by trace id alone: two equal messages in two folders may be a copy that somebody wanted.
pub fn join(known: &[Known], here: &[Sighted], there: &[Sighted]) -> Vec<Joined> {
    let mut joined: Vec<Joined> = known
        .iter()
        .enumerate()
        .map(|(at, known)| Joined { known: Some(at), here: known.here, there: known.there })
        .collect();
    let mut free_here: BTreeSet<usize> = (0..here.len()).collect();
    let mut free_there: BTreeSet<usize> = (0..there.len()).collect();
    for one in &joined {
        one.here.map(|at| free_here.remove(&at));
        one.there.map(|at| free_there.remove(&at));
    }
    let open: Vec<usize> = (0..joined.len()).filter(|at| joined[*at].there.is_none()).collect();
    let places: Vec<(&str, Identity)> =
        open.iter().map(|at| (known[*at].folder.as_str(), known[*at].identity)).collect();
    for (at, found) in found(&places, there, &mut free_there, Reach::Identity) {
        joined[open[at]].there = Some(found);
    }
    let new: Vec<usize> = free_here.into_iter().collect();
    let places: Vec<(&str, Identity)> =
        new.iter().map(|at| (here[*at].folder.as_str(), here[*at].identity)).collect();
    // Of a message that is known elsewhere two copies in two folders are two copies.
    let copied: HashSet<TraceId> = known.iter().filter_map(|known| known.identity.trace).collect();
    let mut partners: BTreeMap<usize, usize> =
        found(&places, there, &mut free_there, Reach::Trace(&copied)).into_iter().collect();
    joined.extend(new.iter().enumerate().map(|(at, index)| Joined {
        known: None,
        here: Some(*index),
        there: partners.remove(&at),
    }));
    joined.extend(free_there.into_iter().map(|at| Joined { there: Some(at), ..Joined::default() }));
    joined
}

/// What counts over the borders of folders.
#[derive(Clone, Copy)]
enum Reach<'a> {
    Identity,
    /// Only the trace id, and none of these.
    Trace(&'a HashSet<TraceId>),
}

/// Finds `wanted` among the free ones there and takes them: in the same folder, then in any.
fn found(
    wanted: &[(&str, Identity)],
    there: &[Sighted],
    free: &mut BTreeSet<usize>,
    reach: Reach<'_>,
) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut open: BTreeSet<usize> = (0..wanted.len()).collect();
    let mut folders: BTreeMap<&str, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for at in &open {
        folders.entry(wanted[*at].0).or_default().0.push(*at);
    }
    for at in free.iter() {
        if let Some((_, others)) = folders.get_mut(there[*at].folder.as_str()) {
            others.push(*at);
        }
    }
    for (ours, theirs) in folders.into_values() {
        take(wanted, there, (&ours, &theirs), &|identity| identity, &mut found);
    }
    for (at, index) in &found {
        open.remove(at);
        free.remove(index);
    }
    let far = |identity: Identity| match reach {
        Reach::Identity => identity,
        Reach::Trace(known) => {
            Identity { content: None, trace: identity.trace.filter(|trace| !known.contains(trace)) }
        }
    };
    let (ours, theirs): (Vec<usize>, Vec<usize>) =
        (open.into_iter().collect(), free.iter().copied().collect());
    let near = found.len();
    take(wanted, there, (&ours, &theirs), &far, &mut found);
    for (_, index) in &found[near..] {
        free.remove(index);
    }
    found
}

fn take(
    wanted: &[(&str, Identity)],
    there: &[Sighted],
    (ours, theirs): (&[usize], &[usize]),
    seen: &dyn Fn(Identity) -> Identity,
    found: &mut Vec<(usize, usize)>,
) {
    if ours.is_empty() || theirs.is_empty() {
        return;
    }
    let left: Vec<Identity> = ours.iter().map(|at| seen(wanted[*at].1)).collect();
    let right: Vec<Identity> = theirs.iter().map(|at| seen(there[*at].identity)).collect();
    found.extend(pair(&left, &right).both.into_iter().map(|(a, b)| (ours[a], theirs[b])));
}
