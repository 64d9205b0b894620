//! The tables of who looks at mail before it is taken.

use super::{
    DEEDS, Key,
    Kind::{Choice, Count, Duration, Size, Switch, Table, Text, Texts},
    WITHOUT, WITHOUT_WORDS, key,
};

/// What the tables hold, in their order.
pub(super) const FILTERS: &[Key] = &[
    // [filter]
    key(
        "filter",
        "stands",
        Choice(&["here", "primary"]),
        None,
        "Where the filter of this organisation stands: `here`, as configured below, or `primary`: at the primary or behind \
         it. `stormpost check` fails for a node that takes mail from the internet while neither is said.",
    ),
    key(
        "filter",
        "refuse_dmarc",
        Switch,
        Some("false"),
        "Whether mail that fails DMARC is refused where its author's domain asks for that.",
    ),
    key(
        "filter",
        "trusted_sealers",
        Texts,
        None,
        "Domains whose servers are believed when they vouch, by ARC, that a message passed DMARC before they changed it: \
         the mailing lists and forwarders of your people. What they vouch for is not refused for DMARC.",
    ),
    key(
        "filter",
        "quarantine_age",
        Duration,
        Some("30d"),
        "How long what is in quarantine is kept; then it is deleted, and that is recorded. Settled mail's own time \
         (`[retention] settled`) counts from there.",
    ),
    key("filter", "rspamd", Table, None, "The spam filter."),
    key("filter", "clamav", Table, None, "The virus scanner."),
    key("filter", "dnsbl", Table, None, "Lists of addresses."),
    key("filter", "attachments", Table, None, "Files that are not wanted."),
    key("filter.rspamd", "address", Text, None, "`HOST:PORT`, or the path of a socket. Needed."),
    key("filter.rspamd", "timeout", Duration, Some("10s"), "How long it may take for one message."),
    key("filter.rspamd", "without", WITHOUT, Some("deliver"), WITHOUT_WORDS),
    key(
        "filter.rspamd",
        "largest",
        Size,
        Some("20MiB"),
        "Larger messages are not sent to it, which is recorded.",
    ),
    key(
        "filter.rspamd",
        "at_once",
        Count,
        Some("32"),
        "Messages that it is asked about at once; others wait their turn.",
    ),
    key(
        "filter.rspamd",
        "probably_spam",
        DEEDS,
        Some("tag"),
        "What happens to mail that it would mark (`add header`, `rewrite subject`). `tag`: lines `X-Spam:` and \
         `X-Spam-Status:` on top.",
    ),
    key(
        "filter.rspamd",
        "spam",
        DEEDS,
        Some("refuse"),
        "What happens to mail that it would refuse (`reject`).",
    ),
    key("filter.clamav", "address", Text, None, "`HOST:PORT`, or the path of clamd's socket. Needed."),
    key("filter.clamav", "timeout", Duration, Some("20s"), "How long it may take for one message."),
    key("filter.clamav", "without", WITHOUT, Some("defer"), WITHOUT_WORDS),
    key(
        "filter.clamav",
        "largest",
        Size,
        Some("25MB"),
        "Larger messages are not sent to it, which is recorded. Not more than clamd's own `StreamMaxLength`.",
    ),
    key(
        "filter.clamav",
        "at_once",
        Count,
        Some("10"),
        "Messages that it is asked about at once; others wait their turn.",
    ),
    key("filter.clamav", "found", DEEDS, Some("refuse"), "What happens to mail with something in it."),
    key("filter.dnsbl", "zones", Texts, None, "The names of the lists, at most eight."),
    key(
        "filter.dnsbl",
        "timeout",
        Duration,
        Some("3s"),
        "How long all together may take; then mail is judged without them.",
    ),
    key(
        "filter.dnsbl",
        "listed",
        DEEDS,
        Some("refuse"),
        "What happens to mail from an address that is on one.",
    ),
    key(
        "filter.attachments",
        "unwanted",
        Texts,
        None,
        "The ends of names of files that are not wanted, as in `[\"exe\", \"js\"]`. A file is also known by how it begins \
         (`exe`, `elf`, `sh`, `pdf`, `zip`, `rar`, `7z`, `doc`, `lnk`), whatever its name.",
    ),
    key("filter.attachments", "found", DEEDS, Some("refuse"), "What happens to mail that has one."),
];
