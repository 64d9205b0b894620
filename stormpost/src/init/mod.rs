//! `stormpost init`: a working configuration from flags or a few questions, and everything around it that must be done.

pub(crate) mod bypass;
mod instructions;
pub(crate) mod lines;
pub(crate) mod outbound;
mod questions;
mod written;

use crate::command::{DkimRecord, Ended, Failure, Output, code, ensure_key};
use crate::configuration::{Configuration, reason};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use words_world::{Clock, Random};

pub use lines::PrimaryKind;

/// `stormpost init`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_long_help = "Examples:\n  stormpost init\n  stormpost init --config ./stormpost.toml --data ./data --name mx.example.org --domain \
                       example.org \\\n    --account anna@example.org --primary mail.example.org --imap mail.example.org \
                       --notify me@provider.example"
)]
pub struct InitArguments {
    /// The host name of this machine, as the MX will say it.
    #[arg(long, value_name = "HOST")]
    name: Option<String>,
    /// The folder of everything that must not be lost [default: /var/lib/stormpost].
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// A domain to take in mail for; repeat for more.
    #[arg(long = "domain", value_name = "DOMAIN", value_delimiter = ',')]
    domains: Vec<String>,
    /// An account; repeat for more. The first one gets postmaster's mail.
    #[arg(long = "account", value_name = "ADDRESS", value_delimiter = ',')]
    accounts: Vec<String>,
    /// The mail system to stand in front of, as HOST or HOST:PORT. Without it this is a plain mail server.
    #[arg(long, value_name = "HOST[:PORT]")]
    primary: Option<String>,
    /// How mail is handed to it.
    #[arg(long, value_enum, default_value_t = Protocol::Smtp)]
    protocol: Protocol,
    /// Where its mailboxes are read by IMAP, as HOST or HOST:PORT.
    #[arg(long, value_name = "HOST[:PORT]")]
    imap: Option<String>,
    /// What kind of mail system it is, for the lines to paste there [default: guessed by its host].
    #[arg(long = "kind", value_enum, value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<PrimaryKind>,
    /// Who is told when the primary fails: addresses that do not live at it.
    #[arg(long = "notify", value_name = "ADDRESS", value_delimiter = ',')]
    notify: Vec<String>,
    /// Where today's filter against spam and viruses stands: `rspamd` or `clamav` on this machine, both, or `primary`.
    #[arg(long = "filter", value_enum, value_name = "WHERE", value_delimiter = ',')]
    filter: Vec<FilterPlace>,
    /// The address to listen at.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    listen: String,
    /// The public address of this machine, for the DNS records.
    #[arg(long, value_name = "IP")]
    address: Option<String>,
    /// Mail servers that are tried, to see whether port 25 to the internet is open; one that answers is enough. `none` for
    /// not at all.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_values = outbound::WELL_KNOWN)]
    test_outbound: Vec<String>,
    /// Ask nothing.
    #[arg(long, short = 'y')]
    yes: bool,
}

/// How mail is handed to the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// SMTP, as any mail server takes it.
    #[default]
    Smtp,
    /// LMTP, as Dovecot and Cyrus take it.
    Lmtp,
}

/// Where a filter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FilterPlace {
    /// rspamd on this machine, at its usual port.
    Rspamd,
    /// ClamAV on this machine, at its usual socket.
    Clamav,
    /// At the primary, or behind it.
    Primary,
}

/// The id of the primary in what is written.
const PRIMARY: &str = "office";

/// What was written and what is to be done, for programs.
#[derive(Serialize)]
struct Done {
    configuration: PathBuf,
    written: Vec<PathBuf>,
    dkim: Vec<DkimRecord>,
    /// Whether mail can leave by itself.
    outbound: String,
    next: String,
}

/// Asks, writes, prints.
///
/// # Errors
/// When something needed is not said, does not make sense, or a file cannot be written; nothing is overwritten.
pub fn run(path: &Path, output: Output, mut arguments: InitArguments) -> Ended {
    let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if at_terminal && !arguments.yes && !output.json {
        questions::ask_all(&mut arguments)?;
    }
    let usage = |words: &str| Failure { code: code::USAGE, words: words.to_owned() };
    if arguments.name.is_none() {
        return Err(usage("say the host name of this machine with --name mx.example.org"));
    }
    if arguments.domains.is_empty() {
        return Err(usage("say the domain to take in mail for with --domain example.org"));
    }
    let outward = outbound::words(&outbound::look(&arguments.test_outbound));
    output.text(&outward);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let text = written::configuration(&arguments);
    // What is wrong with the answers is told in the same words as of any configuration.
    let parsed = Configuration::parse(path, text.clone());
    let (parsed, _) = parsed.map_err(|faults| Failure { code: code::FAILED, words: faults.to_string() })?;
    let table = written::accounts(&arguments)?;
    let mut written = Vec::new();
    make_folder(folder)?;
    let mut put = |path: &Path, content: &str, mode: u32| -> Result<(), Failure> {
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(mode).open(path);
        let result =
            file.and_then(|mut file| file.write_all(content.as_bytes()).and_then(|()| file.sync_all()));
        match result {
            Ok(()) => {
                written.push(path.to_owned());
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                Err(format!("{} is there already and is not overwritten; move it away first", path.display())
                    .into())
            }
            Err(e) => Err(format!("{} cannot be written: {}", path.display(), reason(&e)).into()),
        }
    };
    put(path, &text, 0o640)?;
    put(&folder.join("accounts.csv"), &table, 0o640)?;
    if !parsed.node.key_file.exists() {
        put(&parsed.node.key_file, &new_key(), 0o600)?;
    }
    let mut dkim = Vec::new();
    for domain in &parsed.domains {
        let Some(settings) = &domain.dkim else { continue };
        dkim.push(ensure_key(&settings.key_file, &settings.selector, &domain.domain.name)?);
        written.push(settings.key_file.clone());
    }
    let mut next = instructions::instructions(&arguments, &parsed, &dkim);
    if !parsed.primaries.is_empty() {
        let now = crate::world::SystemClock.now();
        next.push_str("\nPrint this page and keep it where it can be found without this machine (again: stormpost bypass):\n\n");
        next.push_str(&bypass::card(&parsed, &std::collections::BTreeMap::new(), now));
    }
    for path in &written {
        output.say(&format!("written: {}", path.display()));
    }
    output.text(&next);
    output.value(&Done { configuration: path.to_owned(), written, dkim, outbound: outward, next });
    Ok(code::WELL)
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|e| {
        format!("{} cannot be made: {}; name another place with --config", folder.display(), reason(&e))
            .into()
    })
}

fn new_key() -> String {
    let mut key = [0u8; 32];
    crate::world::SystemRandom.fill(&mut key);
    let mut out =
        String::from("# The key that Stormpost's stored mail is encrypted with. Keep a copy elsewhere.\n");
    for byte in key {
        let _ = write!(out, "{byte:02x}");
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests;
