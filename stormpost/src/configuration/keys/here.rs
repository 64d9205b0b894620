//! The tables of this machine and of whom it serves: node, doors, certificate, organisations, domains.

use super::{
    Key,
    Kind::{Accounts, Choice, Mailbox, Mailboxes, Path, Secret, Size, Sockets, Switch, Table, Text, Texts},
    key,
};

/// What the tables hold, in their order.
pub(super) const HERE: &[Key] = &[
    // [node]
    key(
        "node",
        "name",
        Text,
        None,
        "The host name of this machine as the DNS knows it, for example `mx.example.org`: in greetings, `Received:` lines \
         and the certificate made at the first start. Needed.",
    ),
    key(
        "node",
        "data",
        Path,
        Some("/var/lib/stormpost"),
        "The folder of everything that must not be lost. On a disk that keeps what it confirms.",
    ),
    key(
        "node",
        "key_file",
        Secret,
        None,
        "The key that all stored mail is encrypted with; made at the first start if it is not there. **Without it the mail \
         cannot be read by anybody: keep a copy elsewhere.** By default `key` in the data folder; a better place is another \
         disk or a systemd credential.",
    ),
    key("node", "log", Choice(&["human", "json"]), Some("human"), "How log lines are written."),
    key(
        "node",
        "name_server",
        Text,
        None,
        "The DNS server to ask, as `192.0.2.53:53`. By default those of the machine.",
    ),
    key(
        "node",
        "edge",
        Choice(&["process", "inside"]),
        Some("process"),
        "Where mail is taken in. `process`: in a process of its own, which goes on taking mail while everything else is \
         dead, hung or being replaced. `inside`: in the one process that does everything, for small hosts and trials.",
    ),
    // [listen]
    key("listen", "smtp", Sockets, None, "Mail from other servers, port 25: what the MX points to."),
    key("listen", "submission", Sockets, None, "People's mail programs sending, port 587, with STARTTLS."),
    key("listen", "submissions", Sockets, None, "The same with TLS from the first byte, port 465."),
    key("listen", "imap", Sockets, None, "People's mail programs reading, port 143, with STARTTLS."),
    key("listen", "imaps", Sockets, None, "The same with TLS from the first byte, port 993."),
    key(
        "listen",
        "internal",
        Sockets,
        None,
        "Devices that cannot sign in, see `[internal]`. At an address of the inner network, for example `192.168.7.1:25`.",
    ),
    key(
        "listen",
        "http",
        Sockets,
        None,
        "Health page and metrics. Not for the open internet: it has no sign-in.",
    ),
    key(
        "listen",
        "lmtp_local",
        Path,
        None,
        "The local socket by which the other parts of Stormpost hand mail to the edge. By default `lmtp.sock` in the data \
         folder.",
    ),
    // [tls]
    key(
        "tls",
        "certificate",
        Path,
        None,
        "The certificate chain, PEM, our own certificate first. Needed, unless there is `[tls.acme]`.",
    ),
    key("tls", "key", Secret, None, "Its private key, PEM. Needed, unless there is `[tls.acme]`."),
    key("tls", "acme", Table, None, "How one is fetched and renewed by itself."),
    // [[tenant]]
    key("tenant", "name", Text, None, "Its name. Needed."),
    key(
        "tenant",
        "mail",
        Mailboxes,
        None,
        "Who is told of this organisation's events. By default those of `[notify]`.",
    ),
    key("tenant", "webhook", Texts, None, "The same by webhook."),
    key(
        "tenant",
        "message_size",
        Size,
        None,
        "The largest message that is taken from or for its people; by default, and at most, that of `[limits]`.",
    ),
    // [[domain]]
    key("domain", "name", Text, None, "The domain. Needed."),
    key("domain", "tenant", Text, None, "Whose it is. By default the only tenant there is."),
    key(
        "domain",
        "primary",
        Text,
        None,
        "The `id` of the primary behind it. Without one the mail lives here only, as in a plain mail server.",
    ),
    key(
        "domain",
        "accounts",
        Accounts,
        None,
        "The accounts: the path of a CSV table with the columns `address,name,aliases,class`, or a list such as \
         `[\"anna@example.org\", { address = \"bert@example.org\", aliases = [\"b@example.org\"], class = \"admin\" }]`. \
         Classes are `person`, `admin`, `shared`, `device`. More can be added with `stormpost account import`.",
    ),
    key(
        "domain",
        "authoritative",
        Switch,
        None,
        "Whether these accounts are all there are, so that mail for anybody else is refused for good. By default `true` \
         where accounts are named or there is no primary. With `false` the primary is asked about others, and while it \
         cannot answer they get `450`, never `550`.",
    ),
    key("domain", "catch_all", Mailbox, None, "The account that gets mail for addresses nobody has."),
    key(
        "domain",
        "postmaster",
        Mailbox,
        None,
        "The account that gets `postmaster@` (which every domain must have). By default the first account of class `admin`.",
    ),
    key("domain", "dkim", Table, None, "How its outgoing mail is signed."),
    key("account", "address", Mailbox, None, "Its main address. Needed."),
    key("account", "name", Text, None, "The name to show."),
    key("account", "aliases", Mailboxes, None, "Its further addresses."),
    key("account", "class", Choice(&["person", "admin", "shared", "device"]), Some("person"), "What it is."),
    key("domain.dkim", "selector", Text, Some("stormpost"), "The name under `_domainkey` in the DNS."),
    key("domain.dkim", "key_file", Secret, None, "The private key, made by `stormpost dkim`. Needed."),
];
