//! The table of the certificate that is fetched by itself.

use super::{
    Key,
    Kind::{Choice, Duration, Mailbox, Path, Secret, Sockets, Switch, Text, Texts},
    key,
};

/// What the table holds, in its order.
pub(super) const ACME: &[Key] = &[
    key(
        "tls.acme",
        "agree",
        Switch,
        Some("false"),
        "Whether you have read the terms of service of the authority and agree to them. It gives no certificate without. Needed.",
    ),
    key(
        "tls.acme",
        "directory",
        Text,
        Some("https://acme-v02.api.letsencrypt.org/directory"),
        "The authority, by the address of its ACME directory. By default Let's Encrypt; to try things out use \
         `https://acme-staging-v02.api.letsencrypt.org/directory`, whose certificates nobody believes.",
    ),
    key("tls.acme", "contact", Mailbox, None, "Where the authority may write to. Not behind the primary."),
    key(
        "tls.acme",
        "names",
        Texts,
        None,
        "Further names for the certificate, besides that of the node: what people's mail programs are set to, or \
         `*.example.org` with `dns-01`.",
    ),
    key(
        "tls.acme",
        "challenge",
        Choice(&["http-01", "tls-alpn-01", "dns-01"]),
        Some("http-01"),
        "How the authority is shown that the names are ours. `http-01`: it asks on port 80 of each name. `tls-alpn-01`: on \
         port 443. `dns-01`: it looks for a TXT record, which a program of yours (`dns_hook`) puts there; needs no open port.",
    ),
    key(
        "tls.acme",
        "http_listen",
        Sockets,
        Some("0.0.0.0:80"),
        "Where `http-01` is answered: open only while the authority asks, and everything else there is `404`.",
    ),
    key(
        "tls.acme",
        "tls_listen",
        Sockets,
        Some("0.0.0.0:443"),
        "Where `tls-alpn-01` is answered: open only while the authority asks, and for nothing else.",
    ),
    key(
        "tls.acme",
        "dns_hook",
        Path,
        None,
        "The program for `dns-01`. It is run as `PROGRAM add NAME VALUE` and, afterwards, `PROGRAM remove NAME VALUE`, \
         where NAME is like `_acme-challenge.mx.example.org` and VALUE the text of the TXT record; not through a shell. \
         It ends with code 0 when the record can be seen at every name server of the zone.",
    ),
    key("tls.acme", "dns_timeout", Duration, Some("5m"), "How long that program may take."),
    key(
        "tls.acme",
        "eab_id",
        Text,
        None,
        "The key identifier for authorities that know their customers (EAB).",
    ),
    key(
        "tls.acme",
        "eab_key_file",
        Secret,
        None,
        "The file with its key as the authority gave it (base64url), readable by nobody else.",
    ),
    key(
        "tls.acme",
        "trust",
        Text,
        Some("public"),
        "Whose certificate the authority's own address may show: `public` authorities, or the path of a PEM file for a private one.",
    ),
    key(
        "tls.acme",
        "keep_key",
        Switch,
        Some("false"),
        "Whether a renewed certificate keeps its private key, as TLSA records of the kind `3 1 1` want it (DANE).",
    ),
    key(
        "tls.acme",
        "retry_first",
        Duration,
        Some("15m"),
        "The wait after a failure, doubled at each further one, …",
    ),
    key("tls.acme", "retry_max", Duration, Some("12h"), "… up to this. Longer when the authority says so."),
];
