//! How the copies of mailboxes stand, and what a person decides about them.

use super::{Answers, Caller, Ended, No};
use crate::control::protocol::{Item, Mirrored};
use words_mail::AccountId;

impl Answers {
    pub(crate) async fn mirror_status(&self, account: Option<AccountId>, caller: &Caller) -> Ended {
        let mailboxes = &self.parts.mailboxes;
        let accounts = match account {
            Some(account) => vec![account],
            None => mailboxes.accounts().map_err(|why| No::failed(&why))?,
        };
        for account in accounts {
            let pairings = mailboxes.pairings(&account).map_err(|why| No::failed(&why))?;
            let braked = mailboxes.braked(&account).map_err(|why| No::failed(&why))?;
            if pairings.is_empty() && braked.is_none() {
                continue;
            }
            let item = Mirrored {
                account,
                folders: pairings.len() as u64,
                whole: pairings.iter().filter(|pairing| pairing.look.whole).count() as u64,
                messages: pairings.iter().map(|pairing| pairing.linked).sum(),
                total: pairings.iter().map(|pairing| u64::from(pairing.look.total)).sum(),
                braked,
            };
            caller.item(Item::Mirrored(item)).await?;
        }
        Ok(String::new())
    }

    pub(crate) async fn mirror_accept(&self, account: AccountId, caller: &Caller) -> Ended {
        let mailboxes = &self.parts.mailboxes;
        match mailboxes.braked(&account).map_err(|why| No::failed(&why))? {
            None => Ok(format!("nothing holds {account}")),
            Some(why) => {
                mailboxes.brake(&account, None).await.map_err(|why| No::failed(&why))?;
                tracing::warn!(by = %caller.by, %account, %why, "what vanished at the primary is followed");
                Ok(format!(
                    "{account}: what vanished at the primary is followed; it is kept here for 30 days"
                ))
            }
        }
    }
}
