//! Copies of everything in another place: what is copied, and how the place is reached.

use crate::configuration::{Configuration, S3Settings, bucket};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use stores_backup::{Backup, Copied, Extra, Folder, Place};
use stores_log::KeyRing;
use words_mail::Time;
use words_world::World;

/// The place that `to` names.
///
/// # Errors
/// When it is an object store and how to speak to it is not known, in words.
pub fn place(world: &World, to: &str, s3: Option<&S3Settings>) -> Result<Arc<dyn Place>, String> {
    if !to.starts_with("s3:") {
        return Ok(Arc::new(Folder::new(Path::new(to))));
    }
    let (bucket, prefix) =
        bucket(to).ok_or_else(|| format!("{to:?} is no bucket; write s3://BUCKET/PREFIX"))?;
    let settings =
        s3.ok_or("how to speak to the object store is not known: add [s3] to the configuration")?;
    super::object_store::open(world, settings, bucket, prefix)
}

/// What is copied of a node, and what is not.
pub fn backup(world: &World, configuration: &Configuration, keys: KeyRing, keep: usize) -> Backup {
    let mut extras = Vec::new();
    let mut add = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Files of several folders may have one name.
        let name = format!("restored/{}-{name}", extras.len());
        extras.push(Extra { name, path: path.to_owned() });
    };
    add(&configuration.path);
    for domain in &configuration.domains {
        domain.table.iter().for_each(|table| add(table));
        domain.dkim.iter().for_each(|dkim| add(&dkim.key_file));
    }
    let key_file = configuration.node.key_file.display();
    let left_out = vec![
        format!("the key file {key_file}: without it nothing of the backup can be read, so keep a copy of it elsewhere"),
        "passwords for the primary, the smart host and the object store, and the private key of the certificate".to_owned(),
        "the view of the mailboxes, which is made anew from their log".to_owned(),
    ];
    Backup {
        world: world.clone(),
        keys,
        data: configuration.node.data.clone(),
        node: configuration.node.name.clone(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        extras,
        left_out,
        keep,
        copied: HashMap::new(),
    }
}

/// The last copy that was made to one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCopy {
    /// The place.
    pub to: String,
    /// Its number there.
    pub sequence: u64,
    /// When it was made.
    pub ended: Time,
    /// Until when accepted mail is in it.
    pub until: Time,
}

/// The file that says which copies were made.
const LAST: &str = "backup.last";

/// The last copy to each place, as this node remembers it; none was ever made when it is empty.
pub fn last_copies(data: &Path) -> Vec<LastCopy> {
    let text = std::fs::read(data.join(LAST)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Remembers that a copy was made.
pub(crate) fn remember(world: &World, data: &Path, to: &str, copied: &Copied) {
    let manifest = &copied.manifest;
    let mut all = last_copies(data);
    all.retain(|last| last.to != to);
    all.push(LastCopy {
        to: to.to_owned(),
        sequence: manifest.sequence,
        ended: manifest.ended,
        until: manifest.until(),
    });
    let text = serde_json::to_vec(&all).unwrap_or_default();
    if let Err(error) = world.disk.replace(&data.join(LAST), &text) {
        tracing::warn!(%error, "that a copy was made could not be written down");
    }
}
