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
    /// It is being tried now; found at a start, the program ended in the middle of it.
    pub trying: bool,
    /// Failures since, the one that is being tried not among them.
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

    /// As [`Record::read`]; a try that was not brought to an end has failed.
    pub(super) fn take_up(data: &Path) -> Record {
        let mut record = Record::read(data);
        if std::mem::take(&mut record.trying) {
            record.failures = record.failures.saturating_add(1);
            record.last_error = Some("the program ended in the middle of it".to_owned());
        }
        record
    }

    pub(super) fn write(&self, data: &Path) -> Result<(), String> {
        let text = serde_json::to_vec_pretty(self).map_err(|why| why.to_string())?;
        write_private(&data.join("acme").join("state.json"), &text).map_err(|why| format!("{why:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_that_a_crash_ended_has_failed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("acme")).unwrap();
        assert_eq!(Record::take_up(folder.path()), Record::default());
        let record = Record { trying: true, failures: 1, ..Record::default() };
        record.write(folder.path()).unwrap();
        let found = Record::take_up(folder.path());
        assert_eq!((found.trying, found.failures), (false, 2));
        std::fs::write(folder.path().join("acme/state.json"), "{").unwrap();
        assert_eq!(Record::take_up(folder.path()), Record::default(), "what makes no sense is a blank sheet");
    }
}
