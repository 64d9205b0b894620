//! How fetching the certificate has gone, in `acme/state.json`.

use crate::certificates::write_private;
use serde::{Deserialize, Serialize};
use std::path::Path;
use words_mail::Time;

/// How it has gone. Times are UTC; what is unknown is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// When it was last tried.
    pub last_try: Option<Time>,
    /// When it last succeeded.
    pub last_success: Option<Time>,
    /// Failures since.
    pub failures: u32,
    /// The words of the last one.
    pub last_error: Option<String>,
    /// The authority wants to hear nothing before then.
    pub not_before: Option<Time>,
    /// When it is tried next.
    pub next: Option<Time>,
    /// A number drawn for this certificate, of `u32::MAX`: so that not everybody's renewals fall on one hour.
    pub draw: u64,
}

impl Record {
    /// Reads it; what is not there or makes no sense is a blank one.
    pub fn read(data: &Path) -> Record {
        let text = std::fs::read(data.join("acme").join("state.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn write(&self, data: &Path) -> Result<(), String> {
        let text = serde_json::to_vec_pretty(self).map_err(|why| why.to_string())?;
        write_private(&data.join("acme").join("state.json"), &text).map_err(|why| format!("{why:#}"))
    }
}
