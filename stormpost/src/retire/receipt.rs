//! The receipt: what was done, when, by whom, and what is left for a person.

use super::progress::Progress;
use crate::command::{Failure, moment};
use crate::configuration::Configuration;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use stores_log::FileDisk;
use words_mail::Time;
use words_world::Disk;

/// Writes the receipt as text beside its JSON, and gives the text.
pub(super) fn write(
    folder: &Path,
    configuration: &Configuration,
    progress: &Progress,
) -> Result<String, Failure> {
    let left = left(configuration);
    let text = text(progress, &left);
    let json = serde_json::json!({ "stormpost": 1, "receipt": progress, "left_for_a_person": left });
    FileDisk.replace(&folder.join("receipt.json"), &serde_json::to_vec_pretty(&json)?)?;
    FileDisk.replace(&folder.join("receipt.txt"), text.as_bytes())?;
    Ok(text)
}

/// Files with secrets that are not in the data folder: they are the operator's own.
fn left(configuration: &Configuration) -> Vec<PathBuf> {
    let mut left: Vec<PathBuf> = vec![configuration.path.clone()];
    left.extend(configuration.tls.iter().map(|files| files.key.clone()));
    left.extend(
        configuration.domains.iter().filter_map(|domain| Some(domain.dkim.as_ref()?.key_file.clone())),
    );
    left.extend(configuration.domains.iter().filter_map(|domain| domain.table.clone()));
    left.retain(|path| path.exists());
    left.sort();
    left.dedup();
    left
}

fn text(progress: &Progress, left: &[PathBuf]) -> String {
    let mut out = String::new();
    let at = |time: Option<Time>| time.map_or_else(|| "-".to_owned(), |time| format!("{} UTC", moment(time)));
    let _ = writeln!(
        out,
        "RECEIPT: {} was taken out of service by Stormpost {}\n",
        progress.node,
        env!("CARGO_PKG_VERSION")
    );
    let _ = writeln!(out, "asked by     {}, {}: {}", progress.by, at(Some(progress.began)), progress.reason);
    match &progress.assumed_moved {
        Some(reason) => _ = writeln!(out, "mail moved   not looked at: {reason}"),
        None => {
            for (domain, seen) in &progress.moved {
                let _ = writeln!(
                    out,
                    "mail moved   the MX of {domain} was seen to lead elsewhere {}",
                    at(Some(*seen))
                );
            }
        }
    }
    let _ = writeln!(
        out,
        "settled      {}: nothing waited, nothing was owed; {} messages refused or expired are in the export",
        at(progress.settled_at),
        progress.listed
    );
    if let Some(exported) = &progress.exported {
        let _ = writeln!(
            out,
            "written out  {} messages of the journal, {} of {} mailboxes, {} entries of the ledger, {} files",
            exported.messages, exported.filed, exported.accounts, exported.entries, exported.files
        );
        let _ = writeln!(
            out,
            "             manifest.json has the BLAKE3 hash of each file; its own is\n             {}",
            exported.manifest
        );
        if !exported.unreadable.is_empty() {
            let _ = writeln!(
                out,
                "             {} messages could not be read and are missing: {}",
                exported.unreadable.len(),
                exported.unreadable.join(", ")
            );
        }
    }
    let _ = writeln!(out, "read again   {}: every file is as the manifest says", at(progress.verified_at));
    let _ = writeln!(
        out,
        "destroyed    {}: the key of all stored mail, then {} files in {}",
        at(progress.wiped_at),
        progress.removed.saturating_sub(1),
        progress.data.display()
    );
    out.push_str(
        "             What the disk, its snapshots or copies elsewhere may still hold is encrypted; who has a copy\n             \
         of the key can read it: destroy those copies too (of the key first).\n",
    );
    if !left.is_empty() {
        out.push_str("left for you\n");
        for path in left {
            let _ = writeln!(out, "             {}", path.display());
        }
        out.push_str(
            "             the sign-ins for it at the primary, its DNS (address, reverse name, SPF a:, DKIM selector,\n             \
             MTA-STS mx, TLSA), firewall rules, XCLIENT or connector at the primary\n",
        );
    }
    out
}
