//! The bars, measured.

use std::path::PathBuf;

use bench::accept::Accept;
use bench::{bars, imap, small, spam};
use clap::{Args, Parser, Subcommand};

/// Measures Stormpost against its bars; see bench/README.md.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Durable accept with simultaneous relay to a sink: Stormpost, Postfix, tuned Postfix, in turns.
    Accept(Accept),
    /// Resident memory under 10,000 idle connections and fifty messages of 30 MB at once.
    Memory(Place),
    /// Time to the first acknowledgement after kill -9 with many messages queued.
    Restart {
        #[command(flatten)]
        place: Place,
        /// Messages in the queue.
        #[arg(long, default_value_t = 100_000)]
        queued: usize,
    },
    /// Starts what is measured and says where it is, so that it can be looked at while it works; ends with its input.
    Stand(Place),
    /// Memory of connections that wait in IMAP's IDLE, beside Dovecot's.
    ImapIdle {
        #[command(flatten)]
        place: Place,
        /// Connections.
        #[arg(long, default_value_t = 2_000)]
        connections: usize,
    },
    /// Headers of a large mailbox by IMAP, Stormpost and Dovecot in turns.
    ImapFetch {
        #[command(flatten)]
        place: Place,
        /// Messages in the mailbox.
        #[arg(long, default_value_t = 10_000)]
        messages: usize,
        /// Rounds; the median is reported.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// LOGIN with a password that was checked a moment ago, Stormpost and Dovecot in turns.
    ImapLogin {
        #[command(flatten)]
        place: Place,
        /// Sign-ins of each.
        #[arg(long, default_value_t = 200)]
        times: usize,
    },
    /// One processor, 768 MB and fifty people: memory of both processes, and rates.
    Small {
        #[command(flatten)]
        place: Place,
        /// How long the steady load lasts, seconds.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Mail taken with rspamd asked in the session, beside rspamd's own rate, in turns.
    Spam {
        #[command(flatten)]
        place: Place,
        /// Messages at once.
        #[arg(long, default_value_t = 24)]
        sessions: usize,
        /// Messages of each session in a round.
        #[arg(long, default_value_t = 100)]
        each: usize,
        /// Rounds that count.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// The delay added in peace, from acknowledgement to the primary.
    Delay {
        #[command(flatten)]
        place: Place,
        /// Messages.
        #[arg(long, default_value_t = 1_000)]
        messages: usize,
    },
}

#[derive(Args)]
struct Place {
    /// Where the servers keep their files: the disk that is measured.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    on: PathBuf,
}

fn main() {
    match Arguments::parse().what {
        What::Accept(accept) => accept.run(),
        What::Spam { place, sessions, each, rounds } => spam::run(&place.on, sessions, each, rounds),
        What::Stand(place) => bars::stand(&place.on),
        What::Memory(place) => bars::memory(&place.on),
        What::Restart { place, queued } => bars::restart(&place.on, queued),
        What::ImapIdle { place, connections } => imap::idle(&place.on, connections),
        What::ImapFetch { place, messages, rounds } => imap::fetch(&place.on, messages, rounds),
        What::ImapLogin { place, times } => imap::login(&place.on, times),
        What::Small { place, seconds } => small::small(&place.on, seconds),
        What::Delay { place, messages } => bars::delay(&place.on, messages),
    }
}
