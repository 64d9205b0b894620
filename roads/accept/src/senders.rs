//! How many people one account has written to lately: a stolen password must not make a spam cannon.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use words_mail::AccountId;

/// Accounts remembered at once; those whose hour is over are forgotten first.
const ACCOUNTS_MAX: usize = 50_000;

const HOUR: Duration = Duration::from_secs(3_600);

/// Recipients of each account in its present hour.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    hours: Mutex<HashMap<AccountId, (Instant, u32)>>,
}

impl Senders {
    /// Recipients of an account in its hour, these included. Those that go beyond `most` are told and not counted, so
    /// that trying again makes it no worse.
    pub(crate) fn count(&self, account: &AccountId, recipients: usize, most: u32) -> u32 {
        let now = Instant::now();
        let mut hours = self.hours.lock().unwrap_or_else(PoisonError::into_inner);
        if hours.len() >= ACCOUNTS_MAX && !hours.contains_key(account) {
            hours.retain(|_, (since, _)| now.duration_since(*since) < HOUR);
        }
        let (since, sent) = hours.entry(account.clone()).or_insert((now, 0));
        if now.duration_since(*since) >= HOUR {
            (*since, *sent) = (now, 0);
        }
        let with = sent.saturating_add(u32::try_from(recipients).unwrap_or(u32::MAX));
        if with <= most {
            *sent = with;
        }
        with
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_account_writes_to_so_many_people_in_an_hour() {
        let senders = Senders::default();
        let (anna, bert) = (AccountId::new("anna@x.example"), AccountId::new("bert@x.example"));
        assert_eq!(senders.count(&anna, 6, 10), 6);
        assert_eq!(senders.count(&anna, 5, 10), 11, "too many, and not counted");
        assert_eq!(senders.count(&anna, 4, 10), 10);
        assert_eq!(senders.count(&bert, 1, 10), 1, "each has an hour of its own");
        tokio::time::advance(HOUR).await;
        assert_eq!(senders.count(&anna, 1, 10), 1);
    }
}
