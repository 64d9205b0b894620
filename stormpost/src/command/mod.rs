//! The command line. Verbs that look at or change a running node talk to it over its control socket; those that can
//! work without one take the data folder's lock and work on the files.

mod account;
mod backup;
mod certificate;
mod decide;
mod dkim;
mod event;
mod journal;
mod mirror;
mod notice;
mod output;
mod page;
mod quarantine;
mod queue;
mod redeliver;
mod restore;
mod status;
mod trace;

#[cfg(test)]
mod tests;

pub use dkim::{DkimRecord, ensure_key};
pub use output::{Output, complain, moment, parse_moment, span, table};
pub use page::page;

use crate::configuration::{Configuration, DEFAULT_PATH};
use crate::control::client::{CallError, Told, call};
use crate::control::protocol::{Item, Request};
use crate::{check, doctor, init, retire};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use words_mail::Time;
use words_world::Clock;

/// Exit codes; `docs/commands.md` explains them.
pub mod code {
    /// Done; all well.
    pub const WELL: u8 = 0;
    /// Failed or refused; the words are on stderr.
    pub const FAILED: u8 = 1;
    /// Wrong usage.
    pub const USAGE: u8 = 2;
    /// The node is not running.
    pub const NOT_RUNNING: u8 = 3;
    /// Done, and something was found that a person must look at.
    pub const FOUND: u8 = 4;
    /// The node broke off; whether it was done is not known.
    pub const UNKNOWN: u8 = 5;

    /// Each with its meaning, for the documentation.
    pub const ALL: [(u8, &str); 6] = [
        (WELL, "done; for a question: all well"),
        (FAILED, "failed or refused; nothing was changed unless the words on stderr say so"),
        (USAGE, "wrong usage: no such verb, option or value"),
        (NOT_RUNNING, "the node is not running, or this user may not talk to it"),
        (FOUND, "done, and something was found that a person must look at"),
        (
            UNKNOWN,
            "the connection to the node broke: whether it was done is not known, look with `stormpost status`",
        ),
    ];
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What happened and what to do.
    pub words: String,
}

impl<E: std::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { code: code::FAILED, words: format!("{error:#}") }
    }
}

/// The exit code of a command that did what it should.
pub type Ended = Result<u8, Failure>;

/// What runs a program of its own; the composition root has them.
#[derive(Clone, Copy)]
pub struct Programs {
    /// `stormpost serve`.
    pub serve: fn(Configuration, ServeArguments) -> anyhow::Result<()>,
    /// `stormpost edge`.
    pub edge: fn(Configuration) -> anyhow::Result<()>,
    /// `stormpost demo`; `true` when nothing was lost, doubled or left open.
    pub demo: fn(DemoArguments) -> anyhow::Result<bool>,
}

const FIRST_STEPS: &str = concat!(
    "Begin with one of:\n",
    "  stormpost demo      see it work, without installing anything\n",
    "  stormpost init      write a configuration, from a few questions\n",
    "  stormpost check     look at everything the configuration names\n",
    "  stormpost serve     run\n",
    "  stormpost status    how everything stands\n\n",
    "Exit codes: 0 done or well, 1 failed or refused, 2 wrong usage, 3 the node is not running,\n",
    "4 something was found that a person must look at, 5 not known whether it was done.",
);

/// Keeps a company's email working while its mail system is down, and gives everything back with proof.
#[derive(Debug, Parser)]
#[command(
    name = "stormpost",
    version,
    long_about = "Keeps a company's email working while its mail system is down, and afterwards gives everything back with \
                  proof that nothing was lost and nothing arrived twice.\n\nStormpost stands in front of the mail system \
                  (the primary). Every message is safe here before it is acknowledged and handed on from here. When the \
                  primary fails, mail waits, and people go on reading and writing here.",
    after_long_help = FIRST_STEPS,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 110
)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, short = 'c', global = true, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// Answer in JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the node.
    #[command(
        long_about = "Runs the node until it gets SIGTERM or SIGINT; then it finishes what is open and ends. SIGKILL at any \
                      moment loses nothing that was acknowledged.",
        after_long_help = "Examples:\n  stormpost serve --config /etc/stormpost/stormpost.toml\n  stormpost serve --take-over      \
                           the newer program takes the place of the one that runs"
    )]
    Serve(ServeArguments),
    /// Run the edge alone, as a process of its own.
    #[command(
        long_about = "Runs only the part that mail comes in by: it accepts and journals, and needs nothing else to be alive: \
                      no database, no primary, no DNS, no identity provider, no other part of Stormpost. It reads the \
                      address list that `stormpost serve` keeps in the data folder, so that must have run once."
    )]
    Edge,
    /// Write a configuration, from flags and questions.
    #[command(
        long_about = "Writes a configuration, an account table, the key that stored mail is encrypted with, and a signing key for \
                      each domain; then prints what to put into the DNS, what to open in the firewall, what the primary \
                      must allow, and how mail goes round Stormpost if it ever has to. What is not given as a flag is \
                      asked for when this is a terminal. Never overwrites a file."
    )]
    Init(init::InitArguments),
    /// Look at everything the configuration names, and say what to do.
    #[command(
        long_about = "Reads the configuration as `serve` would and looks at every file it names: that it is there, that it can be \
                      read by us and by nobody else, that accounts and domains fit together. Every finding says what to \
                      do. Exit code 1 when the node could not run so, 4 when there are only warnings.",
        after_long_help = "Examples:\n  stormpost check\n  stormpost check --online      also connect to the primaries"
    )]
    Check(check::CheckArguments),
    /// Look at everything around the node that must be right, and say what fails today.
    #[command(
        long_about = "Looks at everything that must be right for this node to carry a company's mail: files, room, clock, doors and \
                      their certificates, MX, reverse name, SPF, DKIM, DMARC, MTA-STS, DANE, what the primary answers and \
                      offers, sign-ins there, people who could work here, notices that reach, copies, what was forgotten. \
                      Every finding says what was looked at, what fails today because of it, and the line that mends it. \
                      Changes nothing. Works beside a running node and without one; what could not be seen is said. Exit \
                      code 1 when something fails, 4 when there is something to look at, 0 when all is well.",
        after_long_help = "Examples:\n  stormpost doctor\n  stormpost doctor --only mx,spf,dkim\n  stormpost doctor --offline --json"
    )]
    Doctor(doctor::DoctorArguments),
    /// The bypass card: one page by which mail goes round this machine when it is gone.
    #[command(
        long_about = "Prints one page that is usable when nothing of Stormpost is left: the DNS to set, what the primary must accept \
                      then, MTA-STS and TLSA for both, firewall, reverse names, how mail leaves, what people's programs use, and \
                      how to come back. Print it, fill in the telephone numbers, and keep it elsewhere.",
        after_long_help = "Examples:\n  stormpost bypass | lpr\n  stormpost bypass --html > bypass.html"
    )]
    Bypass(init::bypass::BypassArguments),
    /// How everything stands.
    #[command(
        long_about = "How each primary stands, what waits, how much room there is, and who could work if the primary failed now.",
        after_long_help = "Examples:\n  stormpost status\n  stormpost status --json\n  stormpost status --exit-code && echo all \
                           well"
    )]
    Status(status::StatusArguments),
    /// Open an event now: mail waits here, people work here.
    #[command(
        after_long_help = "Examples:\n  stormpost failover --reason \"rack 4 is on fire\"\n  stormpost failover office --plane \
                           inbound --reason \"relay broken\"\n  stormpost failover office --accounts \
                           anna@example.org --reason \"her mailbox is corrupt\""
    )]
    Failover(decide::DecideArguments),
    /// The primary is well again: begin to give back.
    #[command(
        after_long_help = "Example:\n  stormpost failback office --reason \"repaired, tested by Anna\""
    )]
    Failback(decide::DecideArguments),
    /// Fix the present state, whatever is observed.
    #[command(
        after_long_help = "Examples:\n  stormpost pin office --for 2h --reason \"moving the rack\"\n  stormpost pin office --reason \
                           \"until we know more\""
    )]
    Pin(decide::PinArguments),
    /// End a pin.
    #[command(after_long_help = "Example:\n  stormpost unpin office --reason \"rack moved\"")]
    Unpin(decide::DecideArguments),
    /// Announce maintenance: what is observed until then opens no event.
    #[command(
        after_long_help = "Example:\n  stormpost maintenance office --for 30m --reason \"kernel update\""
    )]
    Maintenance(decide::MaintenanceArguments),
    /// Continuity events and their reports.
    #[command(subcommand)]
    Event(event::EventVerb),
    /// Compare what was accepted with what stands in the primary's mailboxes, now.
    #[command(
        long_about = "Looks for every message of an event in the primary's mailboxes and reports each one: seen, handed over but \
                      not seen, refused, waiting, or something a person must look at. Exit code 4 when there is such a \
                      thing: a message that is lost, doubled, set aside, expired or removed, and one that was handed over \
                      and cannot be found. While the event is open mail that waits is as it should be, and what is told is \
                      how it stands (exit code 0); after the end it is listed like the others (exit code 4)."
    )]
    Reconcile(event::ReconcileArguments),
    /// What became of a message.
    #[command(
        long_about = "What became of messages: who handed each over, and for every recipient each step with its time and the \
                      other side's words. Every condition given must hold.",
        after_long_help = "Examples:\n  stormpost trace --from anna@example.org --since 2h\n  stormpost trace --to @example.com --since \
                           2026-11-21T08:00 --until 2026-11-21T12:00\n  stormpost trace --message-id \
                           '<5f3a@example.org>'\n  stormpost trace 01KAN8ZV9M6T4S2R0Q8P6N4M2K"
    )]
    Trace(trace::TraceArguments),
    /// The accounts.
    #[command(subcommand)]
    Account(account::AccountVerb),
    /// The mail that waits.
    #[command(subcommand)]
    Queue(queue::QueueVerb),
    /// The mail that is kept back.
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineVerb),
    /// The journal: every accepted message.
    #[command(subcommand)]
    Journal(journal::JournalVerb),
    /// Copy everything to another place, while the node runs.
    #[command(
        long_about = "Copies journal, ledger, mailbox log, directory, configuration and signing keys to a folder or an object store, \
                      encrypted with the key that they are encrypted with here; the key itself is never in it. Only what is \
                      new is copied. The run counts when its manifest is written, at its very end: one that breaks off \
                      leaves the backup before as good as it was. What was erased here goes from all earlier backups too. \
                      Exit code 4 when something of what was copied is damaged here already.",
        after_long_help = "Examples:\n  stormpost backup --to /mnt/elsewhere/stormpost\n  stormpost backup --to s3://mail-backup/mx1 --keep \
                           30\n  stormpost backup list --from /mnt/elsewhere/stormpost\n  stormpost backup verify"
    )]
    Backup(backup::BackupArguments),
    /// Bring a copy back, into a new data folder.
    #[command(
        long_about = "Brings a copy back into a folder that is not there yet or empty. Key, format and every hash are looked at \
                      first; it is put together beside the folder and gets there at once. Afterwards `serve` starts from \
                      it. What was handed over after the copy was made is asked about at the primary before anything is \
                      sent, so nothing arrives there twice; what was accepted after the copy was made is not here.",
        after_long_help = "Example:\n  stormpost restore --from /mnt/elsewhere/stormpost --data /var/lib/stormpost --key-file \
                           /media/usb/stormpost.key"
    )]
    Restore(restore::RestoreArguments),
    /// Hand over again what a primary lost after it had taken it.
    #[command(
        long_about = "For a primary that lost mail it had taken: looks for everything that was handed over since then in its \
                      mailboxes, by trace id, and hands over again what is not there, once. What people removed here stays \
                      removed; what they removed there since comes back, so look at --dry-run first. May be repeated and \
                      broken off at any time. Mail is kept as long as `[retention] settled` says. Exit code 4 when something \
                      is missing and was not handed over.",
        after_long_help = "Examples:\n  stormpost redeliver --since 2026-11-21T08:00 --dry-run\n  stormpost redeliver --since 2d --reason \
                           \"restored from the backup of Friday\""
    )]
    Redeliver(redeliver::RedeliverArguments),
    /// The copies of the primary's mailboxes: how far they are, and what holds them.
    #[command(subcommand)]
    Mirror(mirror::MirrorVerb),
    /// The notices that people get.
    #[command(subcommand)]
    Notice(notice::NoticeVerb),
    /// The certificates that are shown at the doors.
    #[command(subcommand)]
    Certificate(certificate::CertificateVerb),
    /// Make a domain's signing key and print its DNS record.
    #[command(
        long_about = "Makes the key with which mail that people of the domain send from here is signed, unless it is there, and \
                      prints the DNS record that publishes it. Safe to repeat.",
        after_long_help = "Example:\n  stormpost dkim example.org"
    )]
    Dkim(dkim::DkimArguments),
    /// Take this node out of service for good: written out, read again, destroyed, with a receipt.
    #[command(
        long_about = "Takes this node out of service for good. Refuses while anything is unsettled, and says what. Looks at the DNS \
                      until mail goes elsewhere and the old answer is forgotten. Then, once the node is stopped, writes out every \
                      message that is kept (mbox), the ledger (JSON) and every mailbox (Maildir), reads all of it again, destroys \
                      the key of all stored mail and removes the files, and writes a receipt. Broken off in the middle, the same \
                      command goes on where it was. Exit code 4: something is for you to do, and the words say what.",
        after_long_help = "Examples:\n  stormpost retire --to /mnt/export --reason \"moved to another provider\" --dry-run\n  stormpost retire \
                           --to /mnt/export --reason \"moved to another provider\""
    )]
    Retire(retire::RetireArguments),
    /// The lines to paste at the primary.
    #[command(
        long_about = "Prints the lines to paste at the primary: so that it judges who sent a message and not us, takes our mail without \
                      brakes, and lets us into its mailboxes. The same lines as `stormpost init` prints; see docs/primary.md.",
        after_long_help = "Examples:\n  stormpost lines postfix dovecot --address 192.0.2.25\n  stormpost lines m365 --address 192.0.2.25"
    )]
    Lines(init::lines::LinesArguments),
    /// Show an outage and the way back, on this machine, without installing anything.
    #[command(
        long_about = "Starts a small company's mail system as a process of its own and an unprotected twin of it, puts Stormpost \
                      in front of the first, keeps mail coming to both, kills both mail systems and Stormpost once too, \
                      lets people read and write meanwhile, restarts them, gives everything back, and compares. Needs no \
                      root and no installed servers. Exit code 0 only when nothing was lost, doubled or left open."
    )]
    Demo(DemoArguments),
}

/// `stormpost serve`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ServeArguments {
    /// Take the place of the node that runs on the same data folder: it hands over its listening sockets, finishes what
    /// is open and ends, and no connection is refused. For an upgrade without a service manager; under systemd a plain
    /// restart does the same.
    #[arg(long)]
    pub take_over: bool,
}

/// `stormpost demo`.
#[derive(Clone, Debug, Args)]
#[command(
    after_long_help = "Examples:\n  stormpost demo\n  stormpost demo --people 20 --messages 2000 --outage 30\n  stormpost demo --mail \
                       ~/Maildir --keep\n  stormpost demo --primary debian --report report.json"
)]
pub struct DemoArguments {
    /// Use these messages: an mbox file, a Maildir, or a folder of .eml files.
    #[arg(long, value_name = "PATH")]
    pub mail: Option<PathBuf>,
    /// How many people the company has.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub people: u32,
    /// How many messages come in.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub messages: u32,
    /// How long the mail systems stay dead, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub outage: u64,
    /// How long the primary must be down before an event opens, seconds. The product's own default is 120.
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    pub dwell: u64,
    /// Leave everything running at the end, and say how to look around.
    #[arg(long)]
    pub keep: bool,
    /// What plays the mail system: a Stormpost without a primary of its own, or installed Postfix and Dovecot.
    #[arg(long, value_enum, default_value_t = DemoPrimary::Own)]
    pub primary: DemoPrimary,
    /// Write the figures here, as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write the story here, as a page.
    #[arg(long, value_name = "FILE", default_value = "demo.html")]
    pub page: PathBuf,
    /// Keep everything in this folder instead of a temporary one.
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// What plays the mail system in the demonstration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DemoPrimary {
    /// A Stormpost without a primary of its own.
    Own,
    /// The installed Postfix and Dovecot, with a configuration and folders of their own.
    Debian,
}

/// Reads the command line, does what it says, and gives the exit code.
pub fn main(programs: Programs) -> ExitCode {
    // Everything this program writes is its user's alone, unless a mode is set on purpose.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let cli = Cli::parse();
    match run(cli, programs) {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, words }) => {
            for line in words.lines() {
                complain(line);
            }
            ExitCode::from(code)
        }
    }
}

fn run(cli: Cli, programs: Programs) -> Ended {
    let desk = Desk { config: cli.config, output: Output { json: cli.json } };
    match cli.verb {
        Verb::Serve(arguments) => {
            (programs.serve)(desk.configuration()?, arguments).map(|()| code::WELL).map_err(Failure::from)
        }
        Verb::Edge => (programs.edge)(desk.configuration()?).map(|()| code::WELL).map_err(Failure::from),
        Verb::Demo(arguments) => (programs.demo)(arguments)
            .map(|clean| if clean { code::WELL } else { code::FOUND })
            .map_err(Failure::from),
        Verb::Init(arguments) => init::run(&desk.config, desk.output, arguments),
        Verb::Check(arguments) => check::run(&desk.config, desk.output, &arguments),
        Verb::Doctor(arguments) => doctor::run(&desk, arguments),
        Verb::Bypass(arguments) => init::bypass::run(&desk, &arguments),
        Verb::Status(arguments) => status::run(&desk, &arguments),
        Verb::Failover(arguments) => decide::failover(&desk, arguments),
        Verb::Failback(arguments) => decide::failback(&desk, arguments),
        Verb::Pin(arguments) => decide::pin(&desk, arguments),
        Verb::Unpin(arguments) => decide::unpin(&desk, arguments),
        Verb::Maintenance(arguments) => decide::maintenance(&desk, arguments),
        Verb::Event(verb) => event::run(&desk, verb),
        Verb::Reconcile(arguments) => event::reconcile(&desk, arguments),
        Verb::Trace(arguments) => trace::run(&desk, arguments),
        Verb::Account(verb) => account::run(&desk, verb),
        Verb::Queue(verb) => queue::run(&desk, verb),
        Verb::Quarantine(verb) => quarantine::run(&desk, verb),
        Verb::Journal(verb) => journal::run(&desk, verb),
        Verb::Backup(arguments) => backup::run(&desk, arguments),
        Verb::Restore(arguments) => restore::run(&desk, &arguments),
        Verb::Redeliver(arguments) => redeliver::run(&desk, arguments),
        Verb::Mirror(verb) => mirror::run(&desk, verb),
        Verb::Notice(verb) => notice::run(&desk, verb),
        Verb::Certificate(verb) => certificate::run(&desk, verb),
        Verb::Dkim(arguments) => dkim::run(&desk, &arguments),
        Verb::Retire(arguments) => retire::run(&desk, &arguments),
        Verb::Lines(arguments) => init::lines::run(&desk, &arguments),
    }
}

/// What every verb needs: the configuration and the way out.
pub(crate) struct Desk {
    config: PathBuf,
    pub(crate) output: Output,
}

impl Desk {
    /// The configuration; warnings go to stderr.
    pub(crate) fn configuration(&self) -> Result<Configuration, Failure> {
        let loaded = Configuration::load(&self.config);
        let (configuration, warnings) =
            loaded.map_err(|faults| Failure { code: code::FAILED, words: faults.to_string() })?;
        for warning in &warnings.list {
            tracing::debug!(warning = %warning.words, "configuration");
        }
        Ok(configuration)
    }

    /// Whether there is a configuration at all.
    pub(crate) fn has_configuration(&self) -> bool {
        self.config.is_file()
    }

    /// Calls the node, and gives what it answered and its last words. Progress goes to stderr.
    pub(crate) fn call(&self, request: Request) -> Result<(Vec<Item>, String), Failure> {
        let socket = self.configuration()?.control_socket();
        let mut items = Vec::new();
        let words = call(&socket, request, |told| match told {
            Told::Progress(words) => complain(&words),
            Told::Item(item) => items.push(*item),
        })
        .map_err(|error| call_failure(&error))?;
        Ok((items, words))
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Time {
        crate::world::SystemClock.now()
    }

    /// Ends a command that changed something: with the node's words, or as JSON `{"done": "…"}`.
    pub(crate) fn done(&self, words: &str) -> u8 {
        words.lines().for_each(|line| self.output.say(line));
        self.output.value(&serde_json::json!({ "done": words }));
        code::WELL
    }
}

/// A failed call as the command's failure, with the exit code of its kind.
pub(crate) fn call_failure(error: &CallError) -> Failure {
    let code = match error {
        CallError::NotRunning(_) | CallError::Forbidden(_) => code::NOT_RUNNING,
        CallError::BrokeOff(_) => code::UNKNOWN,
        CallError::TooLong(_) | CallError::Refused { .. } | CallError::TooLarge(_) => code::FAILED,
    };
    Failure { code, words: error.to_string() }
}
