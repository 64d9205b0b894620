//! The notices that people get.

use super::{Desk, Ended};
use crate::configuration::parse_duration;
use crate::control::protocol::Request;
use clap::Subcommand;
use std::time::Duration;
use words_mail::{EventId, PrimaryId};

/// The notices that people get.
#[derive(Debug, Subcommand)]
pub enum NoticeVerb {
    /// Send a test notice on every path, and say which arrived where it could be seen.
    Test {
        /// Only those of this primary.
        primary: Option<String>,
    },
    /// Say that somebody has seen the notice of an event, so that it is not repeated.
    Ack {
        /// The event; the latest open one when left out.
        event: Option<u64>,
    },
    /// Send no notices for a while.
    #[command(after_long_help = "Example:\n  stormpost notice mute --for 2h --reason \"everybody knows\"")]
    Mute {
        /// Only those of this primary.
        primary: Option<String>,
        /// How long.
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
        length: Duration,
        /// Why; recorded with your name and the time.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

pub(super) fn run(desk: &Desk, verb: NoticeVerb) -> Ended {
    let request = match verb {
        NoticeVerb::Test { primary } => Request::NoticeTest { primary: primary.map(PrimaryId) },
        NoticeVerb::Ack { event } => Request::NoticeAck { event: event.map(EventId) },
        NoticeVerb::Mute { primary, length, reason } => {
            let until = desk.now().after(length);
            Request::NoticeMute { primary: primary.map(PrimaryId), until, reason }
        }
    };
    let (_, words) = desk.call(request)?;
    Ok(desk.done(&words))
}
