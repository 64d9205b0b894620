//! The digest: each person is told by mail what of theirs is kept back.

use super::{Answers, Caller, Ended, No, off_loop};
use crate::compose::deliver;
use roads_deliver::{Cursor, Door, Filter, Letter, Standing};
use std::collections::BTreeMap;
use std::fmt::Write;
use stores_directory::Resolved;
use words_mail::{AccountId, Address, Recipient, Sender, Time};

/// Messages that are read at a time.
const PAGE: usize = 1_000;
/// Messages that one person is told of; the number of the others is told.
const TOLD_MAX: usize = 200;

/// What of one person's is kept back.
#[derive(Default)]
struct Kept {
    to: Option<Address>,
    lines: Vec<String>,
    more: usize,
}

impl Answers {
    pub(crate) async fn quarantine_digest(&self, caller: &Caller) -> Ended {
        let answers = self.clone();
        let kept = off_loop(move || Ok(answers.kept())).await?;
        let door = deliver::local_door(&self.parts.world, &self.parts.configuration).map_err(No::failed)?;
        let from = self.parts.configuration.notify.from.clone();
        let (mut told, mut messages) = (0, 0);
        for kept in kept.into_values() {
            let Some(to) = kept.to.clone() else { continue };
            let content = letter(&kept, &from, &to, self.now());
            let letter = Letter {
                // Nobody: an answer to it that says "away" must reach nobody.
                sender: Sender::NOBODY,
                recipients: vec![Recipient::new(to.clone())],
                utf8: to.is_international() || from.is_international(),
                content: Box::new(std::io::Cursor::new(content.into_bytes())),
            };
            door.hand_in(letter).await.map_err(|why| No::failed(format!("{to} could not be told: {why}")))?;
            told += 1;
            messages += kept.lines.len() + kept.more;
        }
        tracing::info!(by = %caller.by, told, messages, "quarantine digest");
        Ok(match told {
            0 => "nothing is kept back of anybody's, so nobody was told".to_owned(),
            told => format!("{told} people were told of {messages} messages"),
        })
    }

    /// By account, what is kept back. Blocks.
    fn kept(&self) -> BTreeMap<AccountId, Kept> {
        let filter = Filter { standing: Some(Standing::Quarantined), ..Filter::default() };
        let snapshot = self.parts.directory.snapshot();
        let mut all: BTreeMap<AccountId, Kept> = BTreeMap::new();
        let mut after: Option<Cursor> = None;
        loop {
            let page = self.parts.queue.list(&filter, after, PAGE);
            for queued in page.queued {
                for recipient in queued.recipients {
                    let Resolved::Account { account, .. } = snapshot.resolve(&recipient.address) else {
                        continue;
                    };
                    let kept = all.entry(account.clone()).or_default();
                    kept.to = snapshot.account(&account).map(|account| account.address.clone());
                    if kept.lines.len() >= TOLD_MAX {
                        kept.more += 1;
                        continue;
                    }
                    // The reason's name only: what a scanner says about it may have words of the sender's in it.
                    let why =
                        recipient.last.as_deref().and_then(|why| why.split(" (").next()).unwrap_or_default();
                    let (at, trace) = (queued.at.rfc5322(), queued.trace);
                    kept.lines
                        .push(format!("{at}\n  from <{}>, kept back for: {why}\n  {trace}", queued.from));
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    }
}

fn letter(kept: &Kept, from: &Address, to: &Address, now: Time) -> String {
    let count = kept.lines.len() + kept.more;
    let mut text = String::new();
    let id = blake3::hash(format!("{to} {now}").as_bytes()).to_hex();
    let domain = if from.domain().is_empty() { "localhost" } else { from.domain() };
    let _ = write!(
        text,
        "From: Stormpost <{from}>\nTo: <{to}>\nDate: {}\nMessage-ID: <{}.digest@{domain}>\n\
         Subject: {count} messages for you are kept back\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n\
         These messages were addressed to you and not delivered, because a check took them for harmful.\n\
         If you expect one of them, ask your administrator to release it, and give its number.\n\n",
        now.rfc5322(),
        &id[..20]
    );
    for line in &kept.lines {
        let _ = writeln!(text, "{line}\n");
    }
    if kept.more > 0 {
        let _ = writeln!(text, "and {} more.", kept.more);
    }
    text.replace('\n', "\r\n")
}
