//! Every key of the configuration: its kind, its default, what it means. The reader takes the defaults from here and
//! `docs/configuration.md` is written from here, so neither can say anything else.

mod acme;
mod bounds;
mod filters;
mod here;
mod offsite;
mod outbound;
mod page;
mod primaries;

pub use page::page;

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
        "tls.acme",
        "[tls.acme]",
        "A certificate that is fetched from an authority (ACME, RFC 8555) and renewed by itself, instead of the files \
         above. Until the first one is there, the one signed by itself is shown. `stormpost certificate show` tells how it \
         stands; see docs/certificates.md.",
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
        "primary.relay",
        "[primary.relay]",
        "Whether the primary may send to other organisations through us, as the domains behind which it stands. One proof \
         is enough. Microsoft 365 and Google send from addresses and with certificates that all their customers share, so \
         neither can prove itself here: let them send by themselves.",
    ),
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
        "internal",
        "[internal]",
        "Devices that cannot sign in: printers, scanners, alarm systems. They send through a door of their own, \
         `internal` in `[listen]`, which belongs on an inner network. Their mail is judged and signed like people's.",
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
        "outbound.trial",
        "[outbound.trial]",
        "Only for trials on one machine and for closed networks: other ports, private addresses and authorities of one's own. \
         `stormpost check` warns of it.",
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
        "offsite",
        "[offsite]",
        "Where copies of everything are kept, for the day this machine is lost with its disk; see docs/backup.md.",
    ),
    part("s3", "[s3]", "How the object store is spoken to that an `s3://` place is in."),
    part(
        "limits",
        "[limits]",
        "The bounds. Over a bound the other side gets a temporary failure that says which; nothing accepted is ever \
         dropped for one.",
    ),
];

use Kind::{Choice, Table, Tables};

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

const TOP: &[Key] = &[
    key("", "node", Table, None, "This machine."),
    key("", "listen", Table, None, "The doors."),
    key("", "tls", Table, None, "The certificate."),
    key("", "tenant", Tables, None, "The organisations."),
    key("", "domain", Tables, None, "The domains."),
    key("", "primary", Tables, None, "The mail systems of record."),
    key("", "internal", Table, None, "Devices that cannot sign in."),
    key("", "outbound", Table, None, "How mail leaves."),
    key("", "notify", Table, None, "Who is told."),
    key("", "filter", Table, None, "Who looks at mail before it is taken."),
    key("", "retention", Table, None, "How long things are kept."),
    key("", "offsite", Table, None, "Where copies of everything are kept."),
    key("", "s3", Table, None, "How an object store is spoken to."),
    key("", "limits", Table, None, "The bounds."),
];

/// Every key, in the order of the documentation.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    [
        TOP,
        here::HERE,
        acme::ACME,
        primaries::PRIMARIES,
        outbound::OUTBOUND,
        filters::FILTERS,
        offsite::OFFSITE,
        bounds::BOUNDS,
    ]
    .into_iter()
    .flatten()
}
