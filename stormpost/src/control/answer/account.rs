//! The accounts.

use super::{Answers, Caller, Ended, No, off_loop};
use crate::control::protocol::{AccountRow, AccountShown, Item, Password, Refused};
use stores_directory::{Directory, DirectoryError, Row};
use words_mail::AccountId;

impl From<DirectoryError> for No {
    fn from(error: DirectoryError) -> No {
        let why = match &error {
            DirectoryError::NoAccount(_) => Refused::NotFound,
            DirectoryError::Busy(_) => Refused::NotNow,
            DirectoryError::File(_) => Refused::Failed,
            DirectoryError::Conflicts(_)
            | DirectoryError::Table(_)
            | DirectoryError::Listed(_)
            | DirectoryError::TooMany(_)
            | DirectoryError::Password(_) => Refused::Wrong,
        };
        No { why, words: error.to_string() }
    }
}

impl Answers {
    /// Works on the directory's files, on a thread where it may block.
    async fn directory<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, DirectoryError> + Send + 'static,
    ) -> Result<T, No> {
        let directory = self.parts.directory.clone();
        off_loop(move || Ok(work(&directory)?)).await
    }

    pub(crate) async fn account_list(&self, caller: &Caller) -> Ended {
        let accounts = self.directory(|directory| Ok(AccountShown::all(directory))).await?;
        for account in accounts {
            caller.item(Item::Account(account)).await?;
        }
        Ok(String::new())
    }

    pub(crate) async fn account_import(&self, accounts: Vec<AccountRow>, caller: &Caller) -> Ended {
        let rows: Vec<Row> = accounts.into_iter().map(Row::from).collect();
        let imported = self.directory(|directory| directory.import(rows)).await?;
        tracing::info!(by = %caller.by, added = imported.added, changed = imported.changed, "accounts taken in");
        caller.item(Item::Imported(imported)).await?;
        Ok(String::new())
    }

    pub(crate) async fn account_suspend(&self, id: AccountId, suspended: bool, caller: &Caller) -> Ended {
        let of = id.clone();
        self.directory(move |directory| directory.suspend(&of, suspended)).await?;
        tracing::info!(by = %caller.by, account = %id, suspended, "account");
        Ok(String::new())
    }

    pub(crate) async fn account_remove(&self, id: AccountId, caller: &Caller) -> Ended {
        let of = id.clone();
        self.directory(move |directory| directory.remove(&of)).await?;
        tracing::info!(by = %caller.by, account = %id, "account removed");
        Ok(String::new())
    }

    pub(crate) async fn account_password(
        &self,
        id: AccountId,
        password: Option<Password>,
        caller: &Caller,
    ) -> Ended {
        let (of, set) = (id.clone(), password.is_some());
        let work = move |directory: &Directory| match &password {
            Some(Password(text)) => directory.set_password(&of, text),
            None => directory.clear_password(&of),
        };
        self.directory(work).await?;
        tracing::info!(by = %caller.by, account = %id, set, "the account's own password");
        Ok(String::new())
    }
}
