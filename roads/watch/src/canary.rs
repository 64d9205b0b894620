//! A canary that flies by SMTP into the primary and is looked for by IMAP.

use crate::probe::{Canary, escaped};
use stores_primary::imap::{Hop as ImapHop, ImapStore, SignIn};
use stores_primary::smtp::{Fate, Hop, Session, Transaction};
use stores_primary::store::{MailStore, StoreError, Summary};
use words_mail::{Address, Plane, Recipient, Sender};
use words_smtp::client::MailParameters;
use words_world::{Boxed, World};

/// The field that carries the mark.
const FIELD: &str = "Stormpost-Canary";
/// Old canaries cleared away at a time.
const CLEARED_MAX: usize = 100;

/// The way of real mail: handed to the primary's front door, found in the mailbox of an account that is the canary's
/// own. It passes neither journal nor queue, so no count has it.
pub struct MailCanary {
    /// The outside.
    pub world: World,
    /// The primary's front door.
    pub hop: Hop,
    /// Its mailboxes.
    pub mailboxes: ImapHop,
    /// The canary's own account there.
    pub sign_in: SignIn,
    /// The sender; reports about a canary go there.
    pub from: Address,
    /// The canary's address.
    pub to: Address,
}

impl MailCanary {
    fn message(&self, mark: &str) -> Vec<u8> {
        let date = self.world.clock.now().rfc5322();
        let domain = if self.from.domain().is_empty() { "localhost" } else { self.from.domain() };
        format!(
            "From: <{}>\r\nTo: <{}>\r\nDate: {date}\r\nMessage-ID: <{mark}.canary@{domain}>\r\n\
             Subject: canary\r\n{FIELD}: {mark}\r\nAuto-Submitted: auto-generated\r\n\r\n\
             Stormpost sends this to see whether mail arrives, and removes it again.\r\n",
            self.from, self.to
        )
        .into_bytes()
    }

    async fn hand_over(&self, mark: &str) -> Result<(), String> {
        let words = |e: stores_primary::smtp::NotSent| e.to_string();
        let message = self.message(mark);
        let transaction = Transaction {
            sender: Sender(Some(self.from.clone())),
            recipients: vec![Recipient::new(self.to.clone())],
            with: MailParameters { size: Some(message.len() as u64), ..MailParameters::default() },
            client: None,
        };
        let mut session = Session::open(&self.world, &self.hop).await.map_err(words)?;
        let begun = session.begin(&transaction).await.map_err(words)?;
        if let Some(refusal) = begun.refused.first() {
            return Err(refusal.reply.to_string());
        }
        session.data(&message).await.map_err(words)?;
        let fates = session.finish().await.map_err(words)?;
        session.quit().await;
        match fates.first() {
            Some((_, Fate::Answered(reply))) if reply.is_yes() => Ok(()),
            Some((_, Fate::Answered(reply))) => Err(reply.to_string()),
            // It may be there: looking for it tells.
            Some((_, Fate::Unknown(_))) | None => Ok(()),
        }
    }

    async fn look(&self, mark: &str) -> Result<bool, StoreError> {
        let mut store = ImapStore::open(&self.world, &self.mailboxes, &self.sign_in).await?;
        let mut found = take_from(&mut store, "INBOX", mark).await?;
        if !found {
            // A canary that was taken for spam has arrived all the same.
            let folders = store.folders().await?;
            let junk =
                folders.into_iter().find(|f| f.special_use.as_deref() == Some("\\Junk") && f.selectable);
            if let Some(junk) = junk {
                found = take_from(&mut store, &junk.name, mark).await?;
            }
        }
        Box::new(store).leave().await;
        Ok(found)
    }
}

/// Removes every canary from a folder; whether the one with `mark` was among them.
async fn take_from(store: &mut ImapStore, folder: &str, mark: &str) -> Result<bool, StoreError> {
    store.select(folder, false).await?;
    let mut uids = store.find_header(FIELD, "").await?;
    uids.truncate(CLEARED_MAX);
    let mut canaries = Vec::new();
    let mut found = false;
    let mut each = |summary: Summary| {
        // Servers search in their own ways; only what carries the field is a canary.
        if let Some(value) = summary.field(FIELD) {
            found |= value == mark;
            canaries.push(summary.uid);
        }
    };
    if !uids.is_empty() {
        store.headers_of(&uids, &[FIELD], &mut each).await?;
    }
    if !canaries.is_empty() {
        store.remove(&canaries).await?;
    }
    Ok(found)
}

impl Canary for MailCanary {
    fn send<'a>(&'a self, mark: &'a str) -> Boxed<'a, Result<(), String>> {
        Box::pin(async move { self.hand_over(mark).await.map_err(|why| escaped(&why)) })
    }

    fn take<'a>(&'a self, mark: &'a str) -> Boxed<'a, Result<bool, String>> {
        Box::pin(async move { self.look(mark).await.map_err(|why| escaped(&why.to_string())) })
    }

    fn plane(&self) -> Plane {
        Plane::Inbound
    }
}
