//! The ways by which delivery reaches what it may not touch itself: the edge's local door, and the primary's mailboxes.

use std::io::Read;
use stores_primary::smtp::{Fate, Hop, Session, Transaction};
use words_mail::{AccountId, Address, PrimaryId, Recipient, Sender, TraceId};
use words_smtp::client::MailParameters;
use words_world::{Boxed, World};

/// A message of our own making.
pub struct Letter {
    /// The envelope sender; nobody for reports.
    pub sender: Sender,
    /// To whom.
    pub recipients: Vec<Recipient>,
    /// The whole message, lines ended by CRLF.
    pub content: Box<dyn Read + Send>,
    /// Whether its header needs SMTPUTF8.
    pub utf8: bool,
}

/// Where letters are handed in. They are accepted into the journal like any other mail.
pub trait Door: Send + Sync {
    /// Hands a letter in. `Ok` means that it is durable.
    ///
    /// # Errors
    /// Why not, in words; handing it in again is safe.
    fn hand_in(&self, letter: Letter) -> Boxed<'_, Result<(), String>>;
}

/// The edge's local door, by LMTP.
pub struct LocalDoor {
    world: World,
    hop: Hop,
}

impl LocalDoor {
    /// The door at `hop`.
    pub fn new(world: World, hop: Hop) -> LocalDoor {
        LocalDoor { world, hop }
    }

    async fn try_hand_in(&self, mut letter: Letter) -> Result<(), String> {
        let mut session = Session::open(&self.world, &self.hop).await.map_err(|e| e.to_string())?;
        let transaction = Transaction {
            sender: letter.sender,
            recipients: letter.recipients,
            with: MailParameters { eight_bit: true, utf8: letter.utf8, ..MailParameters::default() },
            client: None,
        };
        let begun = session.begin(&transaction).await.map_err(|e| e.to_string())?;
        if let Some(refused) = begun.refused.first() {
            return Err(refused.reply.to_string());
        }
        let mut part = [0; 16 * 1024];
        loop {
            match letter.content.read(&mut part).map_err(|e| e.to_string())? {
                0 => break,
                n => session.data(&part[..n]).await.map_err(|e| e.to_string())?,
            }
        }
        let fates = session.finish().await.map_err(|e| e.to_string())?;
        for (_, fate) in fates {
            match fate {
                Fate::Answered(reply) if reply.is_yes() => {}
                Fate::Answered(reply) => return Err(reply.to_string()),
                Fate::Unknown(why) => return Err(why),
            }
        }
        session.quit().await;
        Ok(())
    }
}

impl Door for LocalDoor {
    fn hand_in(&self, letter: Letter) -> Boxed<'_, Result<(), String>> {
        Box::pin(self.try_hand_in(letter))
    }
}

/// Is this message, sent to this recipient, in the primary's mailboxes?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Which message.
    pub trace: TraceId,
    /// For whom it was sent.
    pub recipient: Address,
    /// Whose mailbox to look into, if it is known.
    pub account: Option<AccountId>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there.
    Found {
        /// In which folder, by its name there.
        folder: String,
    },
    /// It is in none of the folders.
    NotFound,
    /// Nobody could look.
    CannotTell(String),
}

/// Somebody who can look into a primary's mailboxes.
pub trait Ask: Send + Sync {
    /// Looks for messages by their trace ids; one answer to each question, in order.
    fn ask<'a>(&'a self, primary: &'a PrimaryId, questions: &'a [Question]) -> Boxed<'a, Vec<Answer>>;
}
