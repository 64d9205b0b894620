//! `[offsite]` and `[s3]`: where copies of everything are kept.

use super::build::{trust, url};
use super::reader::Section;
use super::source::Fault;
use super::{SecretSource, TrustWanted};
use std::path::PathBuf;
use std::time::Duration;

/// Where copies are kept, and how often they are brought up to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsite {
    /// A folder, or `s3://BUCKET/PREFIX`.
    pub to: String,
    /// How often; never by itself when zero.
    pub every: Duration,
    /// Full copies that are kept.
    pub keep: usize,
    /// People are told when the copy is further behind than this.
    pub behind: Duration,
}

/// How an object store is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Settings {
    /// Its address.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// Whether the bucket stands in the path instead of in the host's name.
    pub path_style: bool,
    /// The name of the key.
    pub key_id: String,
    /// The key.
    pub secret: SecretSource,
    /// Whose certificate is believed.
    pub trust: TrustWanted,
}

/// The bucket and the prefix of `s3://BUCKET/PREFIX`.
pub fn bucket(to: &str) -> Option<(&str, &str)> {
    let (bucket, prefix) = to.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
    (!bucket.is_empty()).then_some((bucket, prefix.trim_matches('/')))
}

/// Reads `[offsite]`; `None` when it is not there, or only with an error reported.
pub(super) fn offsite(top: &Section<'_>) -> Option<Offsite> {
    let section = top.table("offsite", "offsite")?;
    let to = section.parsed("to", |text| match text {
        text if text.starts_with("s3:") && bucket(text).is_none() => {
            Err(format!("{text:?} is no bucket; write s3://BUCKET/PREFIX"))
        }
        text => Ok(text.to_owned()),
    });
    let to = section.needed("to").and(to)?;
    if to.value.starts_with("s3:") && !top.has("s3") {
        let words = "an object store is named, and how to speak to it is not";
        section.fault(
            Fault::error(to.span.clone(), words).hint("add [s3] with endpoint, key_id and secret_file"),
        );
    }
    // A path counts from the configuration's own folder, as everywhere.
    let folder = (!to.value.starts_with("s3:")).then(|| section.path("to")).flatten();
    Some(Offsite {
        to: folder.map_or(to.value, |at| at.value.display().to_string()),
        every: section.duration("every"),
        keep: usize::try_from(section.count("keep", 1..=1_000)).unwrap_or(1),
        behind: section.duration("behind"),
    })
}

/// Reads `[s3]`.
pub(super) fn s3(top: &Section<'_>) -> Option<S3Settings> {
    let section = top.table("s3", "s3")?;
    let endpoint = section.needed("endpoint").and(section.parsed("endpoint", url));
    let key_id = section.needed("key_id");
    let secret = section.needed("secret_file").and_then(|_| section.path("secret_file"));
    Some(S3Settings {
        endpoint: endpoint?.value,
        region: section.text("region").map(|at| at.value).unwrap_or_default(),
        path_style: section.switch("path_style").is_some_and(|at| at.value),
        key_id: key_id?.value,
        secret: SecretSource::File(PathBuf::from(&secret?.value)),
        trust: trust(&section).unwrap_or(TrustWanted::Public),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_told_from_a_folder() {
        for (text, read) in [
            ("s3://mail/a/b/", Some(("mail", "a/b"))),
            ("s3://mail", Some(("mail", ""))),
            ("s3:///a", None),
            ("/srv/s3", None),
            ("s3:mail", None),
        ] {
            assert_eq!(bucket(text), read, "{text}");
        }
    }
}
