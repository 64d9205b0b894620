//! How far the retirement came; the file by which it goes on.

use super::export::Exported;
use crate::command::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stores_log::{FileDisk, Position};
use words_mail::Time;
use words_world::Disk;

/// The file's name.
const NAME: &str = "retire.json";

/// What was done last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Step {
    /// Nothing yet.
    #[default]
    Begun,
    /// Everything was settled, and mail goes elsewhere.
    Settled,
    /// Everything was written out.
    Exported,
    /// What was written out was read again; from here on there is no way back.
    Wiping,
    /// Nothing is left.
    Wiped,
}

/// How far it came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) node: String,
    pub(super) data: PathBuf,
    pub(super) step: Step,
    pub(super) began: Time,
    pub(super) by: String,
    pub(super) reason: String,
    /// The longest time, seconds, that each domain's MX was seen to be remembered while it led here.
    #[serde(default)]
    pub(super) remembered: BTreeMap<String, u32>,
    /// When each domain's MX was first seen to lead elsewhere.
    #[serde(default)]
    pub(super) moved: BTreeMap<String, Time>,
    #[serde(default)]
    pub(super) assumed_moved: Option<String>,
    #[serde(default)]
    pub(super) settled_at: Option<Time>,
    /// Messages that were refused or expired, kept and listed.
    #[serde(default)]
    pub(super) listed: u64,
    /// The end of the journal when everything was settled.
    #[serde(default)]
    pub(super) end: Option<Position>,
    #[serde(default)]
    pub(super) exported: Option<Exported>,
    #[serde(default)]
    pub(super) verified_at: Option<Time>,
    #[serde(default)]
    pub(super) wiped_at: Option<Time>,
    /// Which key is to be destroyed: one that a new node made later is left alone.
    #[serde(default)]
    pub(super) key: Option<String>,
    /// Files removed.
    #[serde(default)]
    pub(super) removed: u64,
}

impl Progress {
    /// What an earlier run left.
    pub(super) fn load(folder: &Path) -> Result<Option<Progress>, Failure> {
        let path = folder.join(NAME);
        match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
            Ok(text) => {
                let read = serde_json::from_slice(&text);
                read.map(Some).map_err(|why| format!("{} makes no sense: {why}", path.display()).into())
            }
        }
    }

    /// Durable on return.
    pub(super) fn save(&self, folder: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(self)?;
        FileDisk.replace(&folder.join(NAME), &text)?;
        Ok(())
    }
}
