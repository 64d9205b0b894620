//! `stormpost redeliver`: for a primary that lost what it had taken.

use super::output::{moment, parse_moment};
use super::{Desk, Ended, Failure, code};
use crate::control::protocol::{Item, RedeliverStanding, Redelivered, Request};
use clap::Args;
use words_mail::{AccountId, PrimaryId};

/// `stormpost redeliver`.
#[derive(Debug, Args)]
pub struct RedeliverArguments {
    /// What was handed over since then: 2h (ago), 2026-11-22, 2026-11-22T10:42 (UTC).
    #[arg(long, value_name = "WHEN")]
    since: String,
    /// To this primary; needed when there are several.
    #[arg(long, value_name = "ID")]
    primary: Option<String>,
    /// Only of this account.
    #[arg(long, value_name = "ADDRESS")]
    account: Option<String>,
    /// Only look, and list what is missing.
    #[arg(long)]
    dry_run: bool,
    /// Why; recorded with your name and the time.
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
}

pub(super) fn run(desk: &Desk, arguments: RedeliverArguments) -> Ended {
    let since =
        parse_moment(&arguments.since, desk.now()).map_err(|words| Failure { code: code::USAGE, words })?;
    let kept = desk.configuration()?.retention.settled;
    let (items, words) = desk.call(Request::Redeliver {
        since,
        primary: arguments.primary.map(PrimaryId),
        account: arguments.account.as_deref().map(AccountId::new),
        dry: arguments.dry_run,
        reason: arguments.reason.unwrap_or_default(),
    })?;
    let items: Vec<Redelivered> = items
        .into_iter()
        .filter_map(|item| match item {
            Item::Redelivered(one) => Some(one),
            _ => None,
        })
        .collect();
    let row = |one: &Redelivered| {
        let words = match &one.standing {
            RedeliverStanding::CannotTell { why } => format!("cannot be looked for: {why}"),
            other => other.words().to_owned(),
        };
        vec![one.trace.to_string(), one.recipient.to_string(), moment(one.settled), words]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    if !rows.is_empty() {
        desk.output.table(&["message", "recipient", "settled (UTC)", ""], &rows);
    }
    desk.output.say(&words);
    if desk.now().since(since) > kept {
        desk.output.say(&format!(
            "mail is kept for {} after it was settled ([retention] settled): what was let go before cannot be handed over again",
            crate::configuration::write_duration(kept)
        ));
    }
    desk.output.value(&serde_json::json!({ "done": words, "listed": items }));
    let open = |one: &Redelivered| match one.standing {
        RedeliverStanding::Missing => arguments.dry_run,
        RedeliverStanding::NotKept | RedeliverStanding::CannotTell { .. } => true,
        RedeliverStanding::UnderWay | RedeliverStanding::RemovedHere => false,
    };
    Ok(if items.iter().any(open) { code::FOUND } else { code::WELL })
}
