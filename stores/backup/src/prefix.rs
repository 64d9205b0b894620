//! What stands in a place: the lines of copies, each of one life of one node.

use crate::BackupError;
use crate::manifest::{Manifest, read_manifest, sequence_of};
use crate::place::Place;
use std::collections::BTreeMap;

/// The copies of one life of a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The folder they are in.
    pub root: String,
    /// Their numbers, ascending.
    pub sequences: Vec<u64>,
}

/// A copy that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The folder it is in.
    pub root: String,
    /// What it says.
    pub manifest: Manifest,
}

/// The folder of a node's life.
pub(crate) fn root_of(node: &str, line: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' };
    let node: String = node.chars().map(plain).collect();
    format!("{}-{line}", node.trim_start_matches('.'))
}

/// All lines of copies in a place.
///
/// # Errors
/// When the place says no.
pub async fn lines(place: &dyn Place) -> Result<Vec<Line>, BackupError> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for object in place.list("").await? {
        if let Some(sequence) = sequence_of(&object.name)
            && let Some((root, _)) = object.name.split_once('/')
        {
            found.entry(root.to_owned()).or_default().push(sequence);
        }
    }
    Ok(found.into_iter().map(|(root, sequences)| Line { root, sequences }).collect())
}

/// The copy that is meant: `ROOT/NUMBER`, the last of `ROOT`, or the last of all.
///
/// # Errors
/// When there is none, or it cannot be read.
pub async fn find(place: &dyn Place, wanted: Option<&str>) -> Result<Found, BackupError> {
    let none = |what: &str| BackupError::Wrong(format!("there is no backup {what} in {}", place.shown()));
    let (root, number) = match wanted.map(|wanted| wanted.split_once('/').unwrap_or((wanted, ""))) {
        None => (None, None),
        Some((root, "")) => (Some(root), None),
        Some((root, number)) => (Some(root), Some(number.parse::<u64>().map_err(|_| none(number))?)),
    };
    let mut best: Option<Found> = None;
    for line in lines(place).await? {
        if root.is_some_and(|root| root != line.root) {
            continue;
        }
        let sequence = match number {
            None => line.sequences.last().copied(),
            Some(number) => line.sequences.contains(&number).then_some(number),
        };
        let Some(sequence) = sequence else { continue };
        let manifest = read_manifest(place, &crate::manifest::manifest_name(&line.root, sequence)).await?;
        if best.as_ref().is_none_or(|best| best.manifest.ended < manifest.ended) {
            best = Some(Found { root: line.root, manifest });
        }
    }
    best.ok_or_else(|| none(wanted.unwrap_or("")))
}
