//! The configuration: one TOML file, read against a list of keys, every fault shown at its place.

mod acme;
mod bounds;
mod build;
mod filter;
mod keys;
mod mirror;
mod notices;
mod offsite;
mod outbound;
mod reader;
mod secret;
mod source;
mod trusted;
mod values;

#[cfg(test)]
mod tests;

pub use acme::{AcmeChallenge, AcmeSettings};
pub use filter::{Filter, FilterStands};
pub use keys::{Key, Kind, PARTS, Part, keys, page};
pub use mirror::MirrorSettings;
pub use offsite::{Offsite, S3Settings, bucket};
pub use outbound::{Outbound, Trial};
pub use secret::{Secret, SecretSource, read_private, reason};
pub use source::{Fault, Faults, Place, Severity, Source, nearest, visible};
pub use trusted::RelaySettings;
pub use values::{parse_duration, parse_size, write_duration, write_size};

use roads_accept::DeviceParts;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use stores_directory::{Domain, NewAccount};
use words_mail::{Address, Mode, PrimaryId, Tenant};

/// Where the configuration is when nobody says.
pub const DEFAULT_PATH: &str = "/etc/stormpost/stormpost.toml";
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One node's configuration.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The file it came from.
    pub path: PathBuf,
    /// This machine.
    pub node: Node,
    /// The doors.
    pub listen: Listen,
    /// The certificate's files; none means one that is fetched, or one of our own.
    pub tls: Option<TlsFiles>,
    /// How one is fetched and renewed by itself.
    pub acme: Option<AcmeSettings>,
    /// The organisations, at least one.
    pub tenants: Vec<TenantSettings>,
    /// The domains.
    pub domains: Vec<DomainSettings>,
    /// The mail systems of record.
    pub primaries: Vec<PrimarySettings>,
    /// How mail leaves.
    pub outbound: Outbound,
    /// Who is told.
    pub notify: Notices,
    /// Who looks at mail before it is taken.
    pub filter: Filter,
    /// Devices that cannot sign in.
    pub devices: Option<DeviceParts>,
    /// How long things are kept.
    pub retention: Retention,
    /// Where copies are kept.
    pub offsite: Option<Offsite>,
    /// How an object store is spoken to.
    pub s3: Option<S3Settings>,
    /// The bounds.
    pub limits: Limits,
}

/// This machine.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its host name.
    pub name: String,
    /// The folder of everything that must not be lost.
    pub data: PathBuf,
    /// The key that stored mail is encrypted with.
    pub key_file: PathBuf,
    /// Whether log lines are JSON.
    pub log_json: bool,
    /// The DNS server to ask instead of the machine's own.
    pub name_server: Option<SocketAddr>,
    /// Where mail is taken in.
    pub edge: EdgePlace,
}

/// Where mail is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgePlace {
    /// In a process of its own.
    Process,
    /// In the one process that does everything.
    Inside,
}

/// The doors; an empty list is a shut door.
#[derive(Clone, Debug, Default)]
pub struct Listen {
    /// Mail from other servers.
    pub smtp: Vec<SocketAddr>,
    /// People sending, STARTTLS.
    pub submission: Vec<SocketAddr>,
    /// People sending, implicit TLS.
    pub submissions: Vec<SocketAddr>,
    /// People reading, STARTTLS.
    pub imap: Vec<SocketAddr>,
    /// People reading, implicit TLS.
    pub imaps: Vec<SocketAddr>,
    /// Devices that cannot sign in.
    pub internal: Vec<SocketAddr>,
    /// Health and metrics.
    pub http: Vec<SocketAddr>,
    /// The local socket of the edge.
    pub lmtp_local: PathBuf,
}

/// The certificate's files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// An organisation.
#[derive(Clone, Debug)]
pub struct TenantSettings {
    /// Its name.
    pub tenant: Tenant,
    /// Who is told of its events by mail; empty means those of `[notify]`.
    pub mail: Vec<Address>,
    /// By webhook; empty means those of `[notify]`.
    pub webhook: Vec<String>,
    /// The largest message for its people, bytes.
    pub message_size: u64,
}

/// A domain.
#[derive(Clone, Debug)]
pub struct DomainSettings {
    /// As the directory knows it.
    pub domain: Domain,
    /// The table of its accounts.
    pub table: Option<PathBuf>,
    /// The accounts listed in the configuration itself.
    pub listed: Vec<NewAccount>,
    /// How its mail is signed.
    pub dkim: Option<DkimSettings>,
}

/// How a domain's mail is signed.
#[derive(Clone, Debug)]
pub struct DkimSettings {
    /// The name under `_domainkey`.
    pub selector: String,
    /// The private key.
    pub key_file: PathBuf,
}

/// When a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsWanted {
    /// Never.
    None,
    /// When it is offered.
    Opportunistic,
    /// STARTTLS or nothing.
    Required,
    /// From the first byte.
    Implicit,
}

/// Whose certificate is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustWanted {
    /// The public authorities.
    Public,
    /// Anybody.
    Anybody,
    /// The certificates of this PEM file.
    File(PathBuf),
}

/// SMTP or LMTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliverKind {
    /// SMTP.
    Smtp,
    /// LMTP.
    Lmtp,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerPlace {
    /// A host and a port.
    Host(String, u16),
    /// A local socket.
    Local(PathBuf),
}

/// A name and where its password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: SecretSource,
}

/// A server that takes mail.
#[derive(Clone, Debug)]
pub struct MailServer {
    /// The protocol.
    pub kind: DeliverKind,
    /// Where it is.
    pub place: ServerPlace,
    /// When to encrypt.
    pub tls: TlsWanted,
    /// Whom to believe.
    pub trust: TrustWanted,
    /// How to sign in.
    pub login: Option<Login>,
    /// Whether the client's address is passed on by XCLIENT.
    pub pass_client: bool,
}

/// How one signs in to every mailbox of a primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailboxLogin {
    /// One password for all; the name has `{account}` or `{local}` in it.
    Master(Login),
    /// A table `account,user,password`.
    Table(PathBuf),
}

/// A primary's mailboxes.
#[derive(Clone, Debug)]
pub struct MailboxServer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// When to encrypt.
    pub tls: TlsWanted,
    /// Whom to believe.
    pub trust: TrustWanted,
    /// The sign-in that looks.
    pub reader: Option<MailboxLogin>,
    /// The sign-in that gives back.
    pub writer: Option<MailboxLogin>,
    /// How its mailboxes are kept in step here, if they are.
    pub mirror: Option<MirrorSettings>,
}

/// A mail system of record.
#[derive(Clone, Debug)]
pub struct PrimarySettings {
    /// Its name.
    pub id: PrimaryId,
    /// Where mail is handed to it.
    pub deliver: MailServer,
    /// How it proves who it is when it sends to others through us; `None`: it may not.
    pub relay: Option<RelaySettings>,
    /// Its mailboxes.
    pub mailbox: Option<MailboxServer>,
    /// Who may open an event.
    pub mode: Mode,
    /// Down for so long before an event opens.
    pub dwell: Duration,
    /// Well for so long before giving back begins, …
    pub return_dwell: Duration,
    /// … doubled by each relapse up to this.
    pub return_dwell_max: Duration,
    /// Well for so long before a doubt ends, …
    pub clear: Duration,
    /// … doubled by each new doubt up to this.
    pub clear_max: Duration,
    /// A doubt that lasts so long opens an event.
    pub unsteady: Duration,
    /// How often it is probed.
    pub probe_every: Duration,
    /// How long a probe's step may take.
    pub probe_timeout: Duration,
    /// How far back live traffic counts.
    pub live_window: Duration,
    /// The canary's account at the primary.
    pub canary: Option<Address>,
    /// How often a canary is sent.
    pub canary_every: Duration,
    /// How long the primary itself may hold a message.
    pub queue_time: Duration,
    /// The most connections to it.
    pub connections: usize,
    /// Whether we file sent mail at the primary, or it does.
    pub filed_by_us: bool,
}

/// Who is told.
#[derive(Clone, Debug)]
pub struct Notices {
    /// By mail.
    pub mail: Vec<Address>,
    /// By webhook.
    pub webhook: Vec<String>,
    /// The sender of notices.
    pub from: Address,
    /// How often, until acknowledged; none for once.
    pub repeat: Option<Duration>,
    /// Who is told regularly that this node does its work.
    pub heartbeat: Vec<HeartbeatPlace>,
    /// How often.
    pub heartbeat_every: Duration,
    /// How often by mail.
    pub heartbeat_mail_every: Duration,
    /// Whether web addresses hear, at `/fail`, when it does not.
    pub heartbeat_fail: bool,
}

/// Who is told regularly that this node does its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeartbeatPlace {
    /// A web address.
    Web(words_world::Url),
    /// A mail address.
    Mail(Address),
}

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Settled messages in the journal.
    pub settled: Duration,
    /// Messages removed at the primary.
    pub removed: Duration,
    /// Observations and heartbeats.
    pub observations: Duration,
}

/// The bounds; each is explained in `docs/configuration.md`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the list of keys documents each under the same name")]
pub struct Limits {
    pub connections: usize,
    pub people_connections: usize,
    pub local_connections: usize,
    pub connections_per_address: u32,
    pub messages_per_minute: u32,
    pub recipients_per_account_hour: u32,
    pub receiving: usize,
    pub body_memory: usize,
    pub message_size: u64,
    pub header_size: usize,
    pub recipients: usize,
    pub command_octets: usize,
    pub commands: u32,
    pub bad_commands: u32,
    pub refused_recipients: u32,
    pub command_timeout: Duration,
    pub data_timeout: Duration,
    pub message_timeout: Duration,
    pub handshake_timeout: Duration,
    pub write_timeout: Duration,
    pub authentication_timeout: Duration,
    pub shutdown_timeout: Duration,
    pub hops: u32,
    pub callouts: u32,
    pub callouts_per_minute: u32,
    pub callout_timeout: Duration,
    pub learned: usize,
    pub learned_age: Duration,
    pub sign_in_failures: u32,
    pub sign_in_failures_per_address: u32,
    pub sign_in_failures_per_session: u32,
    pub sign_in_window: Duration,
    pub sign_in_timeout: Duration,
    pub password_checks: usize,
    pub password_memory: Duration,
    pub sign_in_age: Duration,
    pub wrong_passwords: u32,
    pub wrong_passwords_quiet: Duration,
    pub wrong_passwords_per_primary: u32,
    pub imap_connections: usize,
    pub imap_connections_per_address: u32,
    pub imap_connections_per_account: u32,
    pub imap_idle: Duration,
    pub imap_data_timeout: Duration,
    pub imap_command_size: usize,
    pub imap_append_messages: usize,
    pub deliveries: u32,
    pub deliveries_per_domain: usize,
    pub queue_recipients: usize,
    pub listed_recipients: usize,
    pub retry_first: Duration,
    pub retry_max: Duration,
    pub delay_notice: Duration,
    pub outbound_age: Duration,
    pub spool_age: Duration,
    pub spool_size: u64,
    pub reserve: u64,
    pub seal_size: u64,
    pub seal_after: Duration,
    pub batch_size: usize,
    pub queue_records: usize,
    pub queue_size: usize,
    pub inline_size: usize,
    pub control_connections: usize,
}

impl Configuration {
    /// Reads a file. Warnings come along.
    ///
    /// # Errors
    /// Everything that is wrong with it, each fault at its place.
    pub fn load(path: &Path) -> Result<(Configuration, Faults), Faults> {
        let name = path.display().to_string();
        let bare = |fault: Fault| Faults {
            source: Source { name: name.clone(), text: String::new() },
            list: vec![fault],
        };
        let size = std::fs::metadata(path).map(|m| m.len()).unwrap_or_default();
        if size > FILE_BYTES_MAX {
            return Err(bare(Fault::error(None, "the file is too large for a configuration")));
        }
        match std::fs::read(path) {
            Err(e) => {
                let words = format!("the configuration cannot be read: {}", reason(&e));
                Err(bare(
                    Fault::error(None, words).hint("stormpost init writes one; --config PATH names another"),
                ))
            }
            Ok(bytes) => match String::from_utf8(bytes) {
                Err(_) => Err(bare(Fault::error(None, "the file is not UTF-8 text"))),
                Ok(text) => Configuration::parse(path, text),
            },
        }
    }

    /// Reads the text of a file that stands (or would stand) at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each fault at its place.
    pub fn parse(path: &Path, text: String) -> Result<(Configuration, Faults), Faults> {
        build::parse(path, text)
    }

    /// The domains as the directory takes them.
    pub fn directory_domains(&self) -> Vec<Domain> {
        self.domains.iter().map(|d| d.domain.clone()).collect()
    }

    /// The accounts of every domain, those of the tables included.
    ///
    /// # Errors
    /// Each table that cannot be read and each line in one that is wrong, in words that name file and line.
    pub fn directory_accounts(&self) -> Result<Vec<NewAccount>, Vec<String>> {
        let mut accounts = Vec::new();
        let mut faults = Vec::new();
        for domain in &self.domains {
            accounts.extend(domain.listed.iter().cloned());
            let Some(table) = &domain.table else { continue };
            let name = table.display();
            match std::fs::read(table) {
                Err(e) => faults.push(format!("{name} cannot be read: {}", reason(&e))),
                Ok(content) => match stores_directory::parse_table(&content) {
                    Ok(rows) => accounts.extend(rows.into_iter().map(|row| row.account)),
                    Err(wrong) => faults.extend(wrong.iter().map(|fault| format!("{name}, {fault}"))),
                },
            }
        }
        if faults.is_empty() { Ok(accounts) } else { Err(faults) }
    }

    /// How the directory is kept under this configuration.
    pub fn directory_options(&self) -> stores_directory::Options {
        let limits = &self.limits;
        stores_directory::Options {
            hashing: stores_directory::Hashing {
                parallel: limits.password_checks,
                ..stores_directory::Hashing::default()
            },
            guards: stores_directory::Guards {
                account_failures: limits.sign_in_failures,
                address_failures: limits.sign_in_failures_per_address,
                window: limits.sign_in_window,
                ..stores_directory::Guards::default()
            },
            digest_age: limits.password_memory,
            learned_max: limits.learned,
            learned_age: limits.learned_age,
            // Whoever takes mail in asks the primaries about recipients, and writes down what they said.
            learns: self.node.edge == EdgePlace::Inside,
            ..stores_directory::Options::new(self.node.data.join("directory"))
        }
    }

    /// The primary of that name.
    pub fn primary(&self, id: &PrimaryId) -> Option<&PrimarySettings> {
        self.primaries.iter().find(|p| p.id == *id)
    }

    /// The local socket that commands talk to the running node by.
    pub fn control_socket(&self) -> PathBuf {
        self.node.data.join("control.sock")
    }

    /// The local socket of the edge's process.
    pub fn edge_socket(&self) -> PathBuf {
        self.node.data.join("edge.sock")
    }

    /// The file whose lock says who writes the journal.
    pub fn edge_lock(&self) -> PathBuf {
        self.node.data.join("edge.lock")
    }

    /// The local socket by which the edge's process asks what it may not know itself.
    pub fn inside_socket(&self) -> PathBuf {
        self.node.data.join("inside.sock")
    }

    /// The local socket by which a node hands its listening sockets to the one that takes its place.
    pub fn doors_socket(&self) -> PathBuf {
        self.node.data.join("doors.sock")
    }

    /// The same of the edge's process.
    pub fn edge_doors_socket(&self) -> PathBuf {
        self.node.data.join("edge-doors.sock")
    }

    /// The file whose lock says that somebody has the data folder for himself.
    pub fn lock_file(&self) -> PathBuf {
        self.node.data.join("lock")
    }
}
