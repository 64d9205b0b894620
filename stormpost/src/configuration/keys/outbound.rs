//! The tables of how mail leaves for other organisations.

use super::{
    Choice, Key,
    Kind::{Count, Duration, Mailbox, Path, Secret, Switch, Table, Text},
    PASSWORD_FILE_WORDS, PASSWORD_WORDS, TLS_MODES, TLS_WORDS, TRUST_WORDS, key,
};

/// What the tables hold, in their order.
pub(super) const OUTBOUND: &[Key] = &[
    key("outbound", "helo", Text, None, "Our name towards other servers. By default the node's name."),
    key("outbound", "smart_host", Table, None, "A server that takes all of it."),
    key(
        "outbound",
        "mta_sts",
        Switch,
        Some("true"),
        "Whether the MTA-STS policies of other domains are obeyed (RFC 8461): nothing goes to a server that such a policy \
         does not name, or whose certificate is not valid.",
    ),
    key(
        "outbound",
        "dane",
        Choice(&["off", "auto"]),
        Some("off"),
        "Whether the TLSA records of other domains' servers are obeyed (RFC 7672). `auto`: while the resolver that is asked \
         hands DNSSEC signatures on; they are proved here. What cannot be proved then waits. See docs/outbound.md.",
    ),
    key(
        "outbound",
        "trust_anchor",
        Path,
        None,
        "The keys that DNSSEC begins with, as DNSKEY records of a zone file. By default those of the root that came with the \
         program.",
    ),
    key(
        "outbound",
        "tls_reports",
        Mailbox,
        None,
        "Who sends reports about how encryption towards other domains went, to those that ask for them (RFC 8460): an \
         address of a domain that has `dkim`. By default none are sent, and nothing is counted.",
    ),
    key("outbound", "trial", Table, None, "For trials on one machine."),
    key("outbound.smart_host", "host", Text, None, "Its name or address. Needed."),
    key("outbound.smart_host", "port", Count, None, "By default 587, or 465 with implicit TLS."),
    key("outbound.smart_host", "tls", TLS_MODES, Some("required"), TLS_WORDS),
    key("outbound.smart_host", "trust", Text, Some("public"), TRUST_WORDS),
    key("outbound.smart_host", "user", Text, None, "The name to sign in with."),
    key("outbound.smart_host", "password_file", Secret, None, PASSWORD_FILE_WORDS),
    key("outbound.smart_host", "password", Text, None, PASSWORD_WORDS),
    key("outbound.trial", "port", Count, None, "The port of other domains' mail servers, in place of 25."),
    key("outbound.trial", "https_port", Count, None, "The port of their web servers, in place of 443."),
    key(
        "outbound.trial",
        "private_addresses",
        Switch,
        Some("false"),
        "Whether other domains' servers may stand at addresses of this machine or of private networks. In the open internet \
         that lets strangers' DNS records point at what is nobody's business.",
    ),
    key("outbound.trial", "trust", Text, Some("public"), TRUST_WORDS),
    key("outbound.trial", "report_period", Duration, Some("1d"), "What one TLS report is about."),
];
