//! `[offsite]` and `[s3]`: where copies of everything are kept.

use super::build::{trust, url};
use super::reader::Section;
use super::source::Fault;
use super::{SecretSource, TrustWanted};
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
    // A path counts from the configuration's own folder, as everywhere.
    let folder = section.path("to");
    let every = section.duration("every");
    let keep = usize::try_from(section.count("keep", 1..=1_000)).unwrap_or(1);
    let behind = section.duration("behind");
    let to = section.needed("to").and(to)?;
    let is_store = to.value.starts_with("s3:");
    if is_store && !top.has("s3") {
        let words = "an object store is named, and how to speak to it is not";
        let fault = Fault::error(to.span.clone(), words);
        section.fault(fault.hint("add [s3] with endpoint, key_id and secret_file"));
    }
    let folder = folder.filter(|_| !is_store);
    let to = folder.map_or(to.value, |at| at.value.display().to_string());
    Some(Offsite { to, every, keep, behind })
}

/// Reads `[s3]`.
pub(super) fn s3(top: &Section<'_>) -> Option<S3Settings> {
    let section = top.table("s3", "s3")?;
    let endpoint = section.parsed("endpoint", url);
    let region = section.text("region").map(|at| at.value).unwrap_or_default();
    let path_style = section.switch("path_style").is_some_and(|at| at.value);
    let (key_id, secret) = (section.text("key_id"), section.path("secret_file"));
    let trust = trust(&section).unwrap_or(TrustWanted::Public);
    let needed = ["endpoint", "key_id", "secret_file"].map(|name| section.needed(name).is_some());
    needed.iter().all(|there| *there).then_some(())?;
    Some(S3Settings {
        endpoint: endpoint?.value,
        region,
        path_style,
        key_id: key_id?.value,
        secret: SecretSource::File(secret?.value),
        trust,
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
