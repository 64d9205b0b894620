//! Every key of the configuration: its kind, its default, what it means. The reader takes the defaults from here and
//! `docs/configuration.md` is written from here, so neither can say anything else.

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A file or folder, relative to the configuration file's folder.
    Path,
    /// A file with a secret in it, or `credential:NAME`.
    Secret,
    /// Addresses to listen at.
    Sockets,
    /// `30s`, `5m`.
    Duration,
    /// `64MiB`.
    Size,
    /// A whole number.
    Count,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A mail address.
    Mailbox,
    /// Mail addresses.
    Mailboxes,
    /// Texts.
    Texts,
    /// The path of a table of accounts, or a list of addresses and tables.
    Accounts,
    /// A table with keys of its own.
    Table,
    /// Several such tables.
    Tables,
}

impl Kind {
    /// For "must be …" and for the documentation.
    pub fn words(self) -> String {
        match self {
            Kind::Text => "text in quotes".to_owned(),
            Kind::Path => "a path in quotes".to_owned(),
            Kind::Secret => "the path of a file, or \"credential:NAME\"".to_owned(),
            Kind::Sockets => "an address like \"0.0.0.0:25\", or a list of them".to_owned(),
            Kind::Duration => "a duration like \"30s\", \"5m\" or \"1h30m\"".to_owned(),
            Kind::Size => "a size like \"64MiB\"".to_owned(),
            Kind::Count => "a whole number".to_owned(),
            Kind::Choice(words) => super::reader::one_of(words),
            Kind::Switch => "true or false".to_owned(),
            Kind::Mailbox => "a mail address in quotes".to_owned(),
            Kind::Mailboxes => "a list of mail addresses".to_owned(),
            Kind::Texts => "a list of texts".to_owned(),
            Kind::Accounts => "the path of a CSV table, or a list of accounts".to_owned(),
            Kind::Table => "a table".to_owned(),
            Kind::Tables => "a list of tables".to_owned(),
        }
    }
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The table it stands in; empty at the top.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// Its value when it is not there; `None` when then there is none.
    pub default: Option<&'static str>,
    /// What it means.
    pub words: &'static str,
}

const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    words: &'static str,
) -> Key {
    Key { section, name, kind, default, words }
}

/// One table and what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its name, as in [`Key::section`].
    pub section: &'static str,
    /// How it is written in the file.
    pub heading: &'static str,
    /// What it is for.
    pub words: &'static str,
}

const fn part(section: &'static str, heading: &'static str, words: &'static str) -> Part {
    Part { section, heading, words }
}

/// Every table, in the order of the documentation.
pub const PARTS: &[Part] = &[
    part("node", "[node]", "This machine: what it is called and where it keeps what it must not lose."),
    part(
        "listen",
        "[listen]",
        "The doors. A door that is not named stays shut. Each takes one address or a list.",
    ),
    part(
        "tls",
        "[tls]",
        "The certificate shown at every door. Without this table one is made at the first start, signed by itself: good \
         enough for other mail servers, not for people's mail programs. The files are reread when they change.",
    ),
    part(
        "tenant",
        "[[tenant]]",
        "An organisation served here. With only one there is no need to name it: without any `[[tenant]]` there is one, \
         called `default`.",
    ),
    part("domain", "[[domain]]", "A domain whose mail is taken in."),
    part("account", "{ … } in a domain's accounts", "An account listed in the configuration itself."),
    part(
        "domain.dkim",
        "dkim = { … } in a [[domain]]",
        "How mail that people of the domain send from here is signed. `stormpost dkim` makes the key and prints the \
         DNS record.",
    ),
    part(
        "primary",
        "[[primary]]",
        "A mail system of record that we stand in front of, and how its health is judged.",
    ),
    part("primary.deliver", "[primary.deliver]", "Where received mail is handed to the primary."),
    part(
        "primary.mailbox",
        "[primary.mailbox]",
        "How the primary's mailboxes are reached. Without it mail is proved up to the primary's `250` and not into the \
         mailboxes, and what people did here during an outage is not carried back.",
    ),
    part(
        "primary.mailbox.reader",
        "[primary.mailbox.reader]",
        "The sign-in that looks into the primary's mailboxes. It needs no right to change anything. Either a user with a \
         password for all (a master user), or a table with one sign-in per account.",
    ),
    part(
        "primary.mailbox.writer",
        "[primary.mailbox.writer]",
        "The sign-in that gives back what people did here: appends, flags, moves. Apart from the reader's, so that the one \
         can be taken away without the other.",
    ),
    part(
        "outbound",
        "[outbound]",
        "How mail that people send leaves from here, and notices and reports of our own.",
    ),
    part(
        "outbound.smart_host",
        "[outbound.smart_host]",
        "A server that takes all mail for other organisations. Without it each goes to its domain's MX.",
    ),
    part(
        "notify",
        "[notify]",
        "Who is told when an event opens, changes or closes, on paths that avoid the primary.",
    ),
    part(
        "filter",
        "[filter]",
        "Who looks at mail before it is taken, in and out alike, in peace and in an outage. Every answer is recorded with \
         the message; see docs/policy.md.",
    ),
    part(
        "filter.rspamd",
        "[filter.rspamd]",
        "The spam filter rspamd: its normal worker, asked by HTTP in the session.",
    ),
    part(
        "filter.clamav",
        "[filter.clamav]",
        "The virus scanner ClamAV: its daemon clamd, asked in the session.",
    ),
    part("filter.dnsbl", "[filter.dnsbl]", "Lists of addresses that send spam, asked by the DNS (RFC 5782)."),
    part(
        "filter.attachments",
        "[filter.attachments]",
        "Files that are not wanted, in messages and in messages inside them.",
    ),
    part("retention", "[retention]", "How long things are kept after they have been settled."),
    part(
        "limits",
        "[limits]",
        "The bounds. Over a bound the other side gets a temporary failure that says which; nothing accepted is ever \
         dropped for one.",
    ),
];

use Kind::{
    Accounts, Choice, Count, Duration, Mailbox, Mailboxes, Path, Secret, Size, Sockets, Switch, Table,
    Tables, Text, Texts,
};

const TLS_MODES: Kind = Choice(&["none", "opportunistic", "required", "implicit"]);
const TLS_WORDS: &str = "`none`: never. `opportunistic`: when it is offered. `required`: STARTTLS or nothing. `implicit`: from the \
     first byte.";
const DEEDS: Kind = Choice(&["note", "tag", "quarantine", "defer", "refuse"]);
const WITHOUT: Kind = Choice(&["deliver", "defer"]);
const WITHOUT_WORDS: &str = "What happens while it gives no answer. `deliver` (fail open): mail is judged without it, and that is recorded. \
     `defer` (fail closed): senders hear `451` and come again.";
const TRUST_WORDS: &str = "Whose certificate is believed: `public` authorities, `anybody` (encrypted, but not proved who it is), or the path \
     of a PEM file with the certificates to believe.";
const PASSWORD_FILE_WORDS: &str = "The file with the password, readable by nobody else (mode 0600). `credential:NAME` takes the systemd credential \
     of that name.";
const PASSWORD_WORDS: &str =
    "The password itself. Works, with a warning: whoever reads this file has it. Better use `password_file`.";

/// Every key.
pub const KEYS: &[Key] = &[
    key("", "node", Table, None, "This machine."),
    key("", "listen", Table, None, "The doors."),
    key("", "tls", Table, None, "The certificate."),
    key("", "tenant", Tables, None, "The organisations."),
    key("", "domain", Tables, None, "The domains."),
    key("", "primary", Tables, None, "The mail systems of record."),
    key("", "outbound", Table, None, "How mail leaves."),
    key("", "notify", Table, None, "Who is told."),
    key("", "filter", Table, None, "Who looks at mail before it is taken."),
    key("", "retention", Table, None, "How long things are kept."),
    key("", "limits", Table, None, "The bounds."),
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
    key("tls", "certificate", Path, None, "The certificate chain, PEM, our own certificate first. Needed."),
    key("tls", "key", Secret, None, "Its private key, PEM. Needed."),
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
    // [[primary]]
    key(
        "primary",
        "id",
        Text,
        None,
        "A short name of your choice, as in `stormpost failover office`. Needed.",
    ),
    key("primary", "deliver", Table, None, "Where mail is handed to it. Needed."),
    key("primary", "mailbox", Table, None, "How its mailboxes are reached."),
    key(
        "primary",
        "mode",
        Choice(&["automatic", "confirm", "manual"]),
        Some("automatic"),
        "Who may open an event: `automatic`: the watch, after the dwell. `confirm`: the watch proposes, a person confirms. \
         `manual`: only a person. Mail waits within seconds of trouble in every mode.",
    ),
    key(
        "primary",
        "dwell",
        Duration,
        Some("120s"),
        "How long it must be down, confirmed, before an event opens.",
    ),
    key(
        "primary",
        "return_dwell",
        Duration,
        Some("30s"),
        "How long it must be well before giving back begins.",
    ),
    key(
        "primary",
        "return_dwell_max",
        Duration,
        Some("10m"),
        "Each relapse doubles `return_dwell`, up to this.",
    ),
    key("primary", "clear", Duration, Some("4s"), "How long it must be well before a doubt ends."),
    key("primary", "clear_max", Duration, Some("30s"), "Each new doubt doubles `clear`, up to this."),
    key(
        "primary",
        "unsteady",
        Duration,
        Some("15m"),
        "A doubt that neither ends nor stays down for so long opens an event.",
    ),
    key("primary", "probe_every", Duration, Some("2s"), "How often it is probed."),
    key("primary", "probe_timeout", Duration, Some("3s"), "How long each step of a probe may take."),
    key(
        "primary",
        "live_window",
        Duration,
        Some("60s"),
        "How far back live deliveries count when its health is judged.",
    ),
    key(
        "primary",
        "canary",
        Mailbox,
        None,
        "An account of its own at the primary to which test messages go; they are found there and deleted at both ends.",
    ),
    key("primary", "canary_every", Duration, Some("10m"), "How often a canary is sent."),
    key(
        "primary",
        "queue_time",
        Duration,
        Some("10m"),
        "How long the primary itself may hold a message it said yes to before it is in the mailbox. A message whose fate \
         is unknown is sent once more only after it has been looked for and is older than this.",
    ),
    key(
        "primary",
        "connections",
        Count,
        Some("20"),
        "The most connections to it at once. Fewer are used when it answers slowly.",
    ),
    key(
        "primary",
        "filed_by",
        Choice(&["us", "primary"]),
        Some("us"),
        "Who puts what people send into their Sent folder at the primary.",
    ),
    key("primary.deliver", "kind", Choice(&["smtp", "lmtp"]), Some("smtp"), "The protocol."),
    key("primary.deliver", "host", Text, None, "Its name or address. Needed, unless `socket` is given."),
    key(
        "primary.deliver",
        "port",
        Count,
        None,
        "By default 25 for SMTP, 465 with implicit TLS, 24 for LMTP.",
    ),
    key("primary.deliver", "socket", Path, None, "A local socket instead of host and port."),
    key("primary.deliver", "tls", TLS_MODES, Some("opportunistic"), TLS_WORDS),
    key("primary.deliver", "trust", Text, Some("public"), TRUST_WORDS),
    key("primary.deliver", "user", Text, None, "The name to sign in with, if the primary wants that."),
    key("primary.deliver", "password_file", Secret, None, PASSWORD_FILE_WORDS),
    key("primary.deliver", "password", Text, None, PASSWORD_WORDS),
    key(
        "primary.deliver",
        "pass_client",
        Switch,
        Some("true"),
        "Whether the address of the sender's server is passed on by XCLIENT where the primary offers it, so that its own \
         checks judge as before.",
    ),
    key("primary.mailbox", "kind", Choice(&["imap"]), Some("imap"), "The protocol."),
    key("primary.mailbox", "host", Text, None, "Its name or address. Needed."),
    key("primary.mailbox", "port", Count, None, "By default 993 with implicit TLS, else 143."),
    key("primary.mailbox", "tls", TLS_MODES, Some("implicit"), TLS_WORDS),
    key("primary.mailbox", "trust", Text, Some("public"), TRUST_WORDS),
    key("primary.mailbox", "reader", Table, None, "The sign-in that looks."),
    key(
        "primary.mailbox",
        "writer",
        Table,
        None,
        "The sign-in that gives back. Without it nothing is replayed.",
    ),
    key(
        "primary.mailbox.reader",
        "user",
        Text,
        None,
        "The name to sign in with. `{account}` stands for the account's address and `{local}` for the part before the @, so \
         a Dovecot master user is `{account}*reader`.",
    ),
    key("primary.mailbox.reader", "password_file", Secret, None, PASSWORD_FILE_WORDS),
    key("primary.mailbox.reader", "password", Text, None, PASSWORD_WORDS),
    key(
        "primary.mailbox.reader",
        "accounts_file",
        Secret,
        None,
        "Instead of one user for all: a CSV table `account,user,password`, readable by nobody else.",
    ),
    key("primary.mailbox.writer", "user", Text, None, "As for the reader."),
    key("primary.mailbox.writer", "password_file", Secret, None, PASSWORD_FILE_WORDS),
    key("primary.mailbox.writer", "password", Text, None, PASSWORD_WORDS),
    key("primary.mailbox.writer", "accounts_file", Secret, None, "As for the reader."),
    // [outbound]
    key("outbound", "helo", Text, None, "Our name towards other servers. By default the node's name."),
    key("outbound", "smart_host", Table, None, "A server that takes all of it."),
    key("outbound.smart_host", "host", Text, None, "Its name or address. Needed."),
    key("outbound.smart_host", "port", Count, None, "By default 587, or 465 with implicit TLS."),
    key("outbound.smart_host", "tls", TLS_MODES, Some("required"), TLS_WORDS),
    key("outbound.smart_host", "trust", Text, Some("public"), TRUST_WORDS),
    key("outbound.smart_host", "user", Text, None, "The name to sign in with."),
    key("outbound.smart_host", "password_file", Secret, None, PASSWORD_FILE_WORDS),
    key("outbound.smart_host", "password", Text, None, PASSWORD_WORDS),
    // [notify]
    key(
        "notify",
        "mail",
        Mailboxes,
        None,
        "Addresses that do not live at the primary: a notice must not wait for what it is about.",
    ),
    key("notify", "webhook", Texts, None, "URLs that get each notice as JSON by POST."),
    key(
        "notify",
        "from",
        Mailbox,
        None,
        "The sender of notices. By default `stormpost@` and the node's name.",
    ),
    key(
        "notify",
        "repeat",
        Duration,
        Some("4h"),
        "How often a notice comes again until somebody acknowledges it. `0` for never.",
    ),
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
    // [retention]
    key(
        "retention",
        "settled",
        Duration,
        Some("30d"),
        "How long a settled message stays in the journal for search and export.",
    ),
    key(
        "retention",
        "removed",
        Duration,
        Some("30d"),
        "How long a message stays here after it was removed at the primary.",
    ),
    key(
        "retention",
        "observations",
        Duration,
        Some("400d"),
        "How long raw observations and heartbeats are kept; uptime is computed from them.",
    ),
    // [limits]
    key("limits", "connections", Count, Some("12000"), "Connections at the edge."),
    key("limits", "people_connections", Count, Some("4000"), "Connections at the submission doors."),
    key("limits", "local_connections", Count, Some("256"), "Connections at the local socket."),
    key(
        "limits",
        "connections_per_address",
        Count,
        Some("200"),
        "Connections from one IP address (IPv6: one /64) to the edge and to submission.",
    ),
    key(
        "limits",
        "recipients_per_account_hour",
        Count,
        Some("5000"),
        "Recipients of one account in an hour.",
    ),
    key("limits", "messages_per_minute", Count, Some("6000"), "Messages in a minute from one IP address."),
    key("limits", "receiving", Count, Some("2000"), "Messages coming in at once."),
    key(
        "limits",
        "body_memory",
        Size,
        Some("128MiB"),
        "Memory for all messages coming in; over it they go to the disk earlier.",
    ),
    key("limits", "message_size", Size, Some("64MiB"), "The largest message."),
    key("limits", "header_size", Size, Some("256KiB"), "The largest header of a message."),
    key(
        "limits",
        "recipients",
        Count,
        Some("1000"),
        "Recipients of one message; over it the sender splits it.",
    ),
    key("limits", "command_octets", Size, Some("4096"), "The longest command line."),
    key("limits", "commands", Count, Some("5000"), "Commands in one session since its last message."),
    key("limits", "bad_commands", Count, Some("20"), "Wrong commands in one session."),
    key(
        "limits",
        "refused_recipients",
        Count,
        Some("100"),
        "Unknown recipients in one session: somebody may be guessing.",
    ),
    key(
        "limits",
        "command_timeout",
        Duration,
        Some("5m"),
        "How long a client may be silent between commands (RFC 5321 §4.5.3.2.7).",
    ),
    key("limits", "data_timeout", Duration, Some("3m"), "How long a client may be silent inside a message."),
    key("limits", "message_timeout", Duration, Some("1h"), "How long one message may take."),
    key(
        "limits",
        "handshake_timeout",
        Duration,
        Some("30s"),
        "How long a TLS handshake may take, at every door.",
    ),
    key("limits", "write_timeout", Duration, Some("2m"), "How long a client may take to read an answer."),
    key(
        "limits",
        "authentication_timeout",
        Duration,
        Some("5s"),
        "How long SPF, DKIM and DMARC may take together; then the message is taken without them.",
    ),
    key(
        "limits",
        "shutdown_timeout",
        Duration,
        Some("10s"),
        "How long open transactions may take to finish when the node stops.",
    ),
    key(
        "limits",
        "hops",
        Count,
        Some("100"),
        "`Received:` lines after which a message is taken for a loop and parked.",
    ),
    key("limits", "callouts", Count, Some("10"), "Questions about recipients to one primary at once."),
    key("limits", "callouts_per_minute", Count, Some("120"), "Such questions to one primary in a minute."),
    key("limits", "callout_timeout", Duration, Some("5s"), "How long a primary may take to answer one."),
    key("limits", "learned", Count, Some("100000"), "Recipients remembered from such answers."),
    key("limits", "learned_age", Duration, Some("30d"), "How long each is remembered unconfirmed."),
    key(
        "limits",
        "sign_in_failures",
        Count,
        Some("5"),
        "Failed sign-ins of one account from strange places within the window. Keep it below what makes the primary lock an account.",
    ),
    key(
        "limits",
        "sign_in_failures_per_address",
        Count,
        Some("30"),
        "Failed sign-ins from one IP address within the window.",
    ),
    key(
        "limits",
        "sign_in_failures_per_session",
        Count,
        Some("3"),
        "Failed sign-ins on one connection; then it is closed.",
    ),
    key("limits", "sign_in_window", Duration, Some("15m"), "The window for counting failed sign-ins."),
    key(
        "limits",
        "sign_in_timeout",
        Duration,
        Some("30s"),
        "How long a sign-in may take, the primary's answer included.",
    ),
    key(
        "limits",
        "password_checks",
        Count,
        Some("2"),
        "Passwords checked at once; each takes 19 MiB and some 30 ms.",
    ),
    key(
        "limits",
        "password_memory",
        Duration,
        Some("15m"),
        "How long a right password is remembered (as a keyed digest, in memory) instead of checked anew. At most 15m.",
    ),
    key("limits", "imap_connections", Count, Some("10000"), "Connections at all IMAP doors together."),
    key(
        "limits",
        "imap_connections_per_address",
        Count,
        Some("500"),
        "From one IP address: a whole office must fit.",
    ),
    key("limits", "imap_connections_per_account", Count, Some("50"), "Of one account."),
    key(
        "limits",
        "imap_idle",
        Duration,
        Some("31m"),
        "How long an IMAP client may be silent (RFC 3501 §5.4: at least 30m).",
    ),
    key(
        "limits",
        "imap_data_timeout",
        Duration,
        Some("5m"),
        "How long an IMAP client may be silent inside a command, or take to read a piece of an answer.",
    ),
    key(
        "limits",
        "imap_command_size",
        Size,
        Some("64KiB"),
        "The longest IMAP command, appended messages apart.",
    ),
    key("limits", "imap_append_messages", Count, Some("64"), "Messages in one APPEND."),
    key("limits", "deliveries", Count, Some("512"), "Deliveries at once, to all places together."),
    key(
        "limits",
        "deliveries_per_domain",
        Count,
        Some("5"),
        "Of these, to one domain of another organisation.",
    ),
    key(
        "limits",
        "queue_recipients",
        Count,
        Some("1000000"),
        "Recipients of waiting mail in memory; further ones stay in the journal until there is room.",
    ),
    key("limits", "listed_recipients", Count, Some("10000"), "Parked and refused recipients in memory."),
    key(
        "limits",
        "retry_first",
        Duration,
        Some("1m"),
        "The first wait after a temporary failure at another organisation; each next one is longer. A primary has a pace \
         of its own: it is tried again the moment it is seen well.",
    ),
    key("limits", "retry_max", Duration, Some("30m"), "The longest such wait."),
    key(
        "limits",
        "delay_notice",
        Duration,
        Some("4h"),
        "After which age senders are told once that their mail is late, never during an event. `0` for never.",
    ),
    key(
        "limits",
        "outbound_age",
        Duration,
        Some("5d"),
        "How long mail to other organisations is tried before the sender gets it back.",
    ),
    key(
        "limits",
        "spool_age",
        Duration,
        Some("60d"),
        "How long mail waits for a primary before it is listed as expired, not counting events; alarms come long before.",
    ),
    key(
        "limits",
        "spool_size",
        Size,
        Some("100GiB"),
        "How much undelivered mail may wait. At 80 % of it there is an alarm; when it is used up senders are told to come \
         back (`452 4.3.1`) until some of it has gone. Our own reports and notices are taken all the same.",
    ),
    key(
        "limits",
        "reserve",
        Size,
        Some("256MiB"),
        "Free disk that mail never uses up: `452 4.3.1` before that.",
    ),
    key("limits", "seal_size", Size, Some("64MiB"), "A log segment is closed when it has grown to this, …"),
    key("limits", "seal_after", Duration, Some("60s"), "… or is so old."),
    key("limits", "batch_size", Size, Some("1MiB"), "The most written with one sync."),
    key("limits", "queue_records", Count, Some("4096"), "Records that may wait for the writer of a log."),
    key("limits", "queue_size", Size, Some("64MiB"), "Their bytes."),
    key("limits", "inline_size", Size, Some("1MiB"), "Larger messages get a file of their own."),
    key("limits", "control_connections", Count, Some("16"), "Commands talking to the running node at once."),
];

/// `docs/configuration.md`.
pub fn page() -> String {
    use std::fmt::Write;
    let mut out = String::from(PREFACE);
    for part in PARTS {
        let _ = write!(out, "\n## `{}`\n\n{}\n\n", part.heading, part.words);
        let _ = writeln!(out, "| key | value | default | meaning |\n|---|---|---|---|");
        for key in KEYS.iter().filter(|key| key.section == part.section) {
            let default = key.default.map_or_else(|| "–".to_owned(), |d| format!("`{d}`"));
            let value = key.kind.words().replace('|', "\\|");
            let _ = writeln!(out, "| `{}` | {value} | {default} | {} |", key.name, key.words);
        }
    }
    out.push_str(AFTERWORD);
    out
}

const PREFACE: &str = "\
<!-- Written by the test `the_page_of_keys_is_up_to_date` from stormpost/src/configuration/keys.rs; change it there. -->

# The configuration

One [TOML](https://toml.io) file, by default `/etc/stormpost/stormpost.toml`. `stormpost init` writes a working one;
`stormpost check` reads it as `serve` would, looks at every file it names, and says what to do about each finding, with
line and column. An unknown key is an error, never ignored.

- Paths are relative to the folder of the file.
- Durations: `250ms`, `30s`, `5m`, `1h30m`, `7d`. Sizes: `4096`, `512KiB`, `64MiB`, `20GB`.
- Secrets stand in files of their own that nobody else can read, or come as systemd credentials:
  `password_file = \"credential:office\"` reads `$CREDENTIALS_DIRECTORY/office`.
- A change counts after a restart; the certificate's files are reread by themselves.

The smallest one that does something, a plain mail server for one domain:

```toml
[node]
name = \"mx.example.org\"

[listen]
smtp = \"0.0.0.0:25\"
submission = \"0.0.0.0:587\"
imaps = \"0.0.0.0:993\"

[[domain]]
name = \"example.org\"
accounts = [\"anna@example.org\"]
```

In front of a Postfix and Dovecot:

```toml
[node]
name = \"mx.example.org\"
data = \"/var/lib/stormpost\"
key_file = \"credential:stormpost-key\"

[listen]
smtp = \"0.0.0.0:25\"
submissions = \"0.0.0.0:465\"
imaps = \"0.0.0.0:993\"

[tls]
certificate = \"/etc/letsencrypt/live/mx.example.org/fullchain.pem\"
key = \"/etc/letsencrypt/live/mx.example.org/privkey.pem\"

[[domain]]
name = \"example.org\"
primary = \"office\"
accounts = \"accounts.csv\"
dkim = { selector = \"stormpost\", key_file = \"dkim-example.org.pem\" }

[[primary]]
id = \"office\"

[primary.deliver]
host = \"mail.office.example.org\"
tls = \"required\"

[primary.mailbox]
host = \"mail.office.example.org\"
reader = { user = \"{account}*reader\", password_file = \"reader.password\" }
writer = { user = \"{account}*writer\", password_file = \"writer.password\" }

[notify]
mail = [\"anna.private@provider.example\"]
```
";

const AFTERWORD: &str = "
## An account table

```csv
address,name,aliases,class
anna@example.org,Anna Berg,a.berg@example.org anna@example.com,admin
bert@example.org,Bert Dahl,,person
info@example.org,Info,sales@example.org|office@example.org,shared
```

The first line names the columns, in any order; only `address` is needed. Several aliases are separated by blanks or
`|`. Semicolons instead of commas are understood. Plus-tags (`anna+news@…`) work for every account and need no alias.
";
