//! The tables of copies.

use super::{
    Key,
    Kind::{Count, Duration, Secret, Switch, Text},
    TRUST_WORDS, key,
};

/// What the tables hold, in their order.
pub(super) const OFFSITE: &[Key] = &[
    key(
        "offsite",
        "to",
        Text,
        None,
        "Where copies are kept: the path of a folder on another machine or disk, or `s3://BUCKET/PREFIX`. Needed.",
    ),
    key(
        "offsite",
        "every",
        Duration,
        Some("60s"),
        "How often the copy is brought up to now, while the node runs. What was accepted after the last copy is what can be \
         lost with this machine. `0s`: only by `stormpost backup`.",
    ),
    key("offsite", "keep", Count, Some("7"), "How many full copies are kept; one is made every hour."),
    key(
        "offsite",
        "behind",
        Duration,
        Some("15m"),
        "When the copy is further behind than this, `status`, the metrics and the health page say so.",
    ),
    key(
        "s3",
        "endpoint",
        Text,
        None,
        "The address of the object store, as in `https://s3.example.net`. Needed.",
    ),
    key("s3", "region", Text, Some("us-east-1"), "Its region."),
    key(
        "s3",
        "path_style",
        Switch,
        Some("false"),
        "Whether the bucket stands in the path (`https://HOST/BUCKET/…`) instead of in the host's name.",
    ),
    key("s3", "key_id", Text, None, "The name of the access key. Needed."),
    key(
        "s3",
        "secret_file",
        Secret,
        None,
        "The file with the secret of the access key, readable by nobody else (mode 0600). `credential:NAME` takes the \
         systemd credential of that name. Needed.",
    ),
    key("s3", "trust", Text, Some("public"), TRUST_WORDS),
];
