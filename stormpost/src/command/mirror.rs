//! `stormpost mirror`: how far the copies of the primary's mailboxes are, and what holds them.

use super::{Desk, Ended, code};
use crate::control::protocol::{Item, Mirrored, Request};
use clap::Subcommand;
use words_mail::AccountId;

/// `stormpost mirror`.
#[derive(Debug, Subcommand)]
pub enum MirrorVerb {
    /// How far each account's copy is. Exit code 4 when a person has to decide about one.
    Status {
        /// Only of this account.
        account: Option<String>,
    },
    /// Follow what vanished at the primary, for an account that is held because so much vanished at once.
    Accept {
        /// Which account.
        account: String,
    },
}

pub(super) fn run(desk: &Desk, verb: MirrorVerb) -> Ended {
    match verb {
        MirrorVerb::Status { account } => status(desk, account),
        MirrorVerb::Accept { account } => {
            let (_, words) = desk.call(Request::MirrorAccept { account: AccountId::new(&account) })?;
            desk.output.say(&words);
            desk.output.value(&serde_json::json!({ "done": words }));
            Ok(code::WELL)
        }
    }
}

fn status(desk: &Desk, account: Option<String>) -> Ended {
    let account = account.as_deref().map(AccountId::new);
    let (items, _) = desk.call(Request::MirrorStatus { account })?;
    let items: Vec<Mirrored> = items
        .into_iter()
        .filter_map(|item| match item {
            Item::Mirrored(one) => Some(one),
            _ => None,
        })
        .collect();
    let row = |one: &Mirrored| {
        let part = (one.messages * 100).checked_div(one.total).unwrap_or(100).min(100);
        let state = match (&one.braked, one.whole == one.folders) {
            (Some(why), _) => format!("held: {why}"),
            (None, true) => "in step".to_owned(),
            (None, false) => format!("being copied, {part} %"),
        };
        vec![
            one.account.to_string(),
            format!("{} of {}", one.whole, one.folders),
            format!("{} of {}", one.messages, one.total),
            state,
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    match rows.is_empty() {
        true => desk.output.say("no mailbox is copied; see mirror in [primary.mailbox]"),
        false => desk.output.table(&["account", "folders", "messages", ""], &rows),
    }
    desk.output.value(&serde_json::json!(items));
    Ok(if items.iter().any(|one| one.braked.is_some()) { code::FOUND } else { code::WELL })
}
