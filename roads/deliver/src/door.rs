//! The ways by which delivery reaches what it may not touch itself: the edge's local door, and the primary's mailboxes.

use std::io::Read;
use stores_primary::smtp::{Fate, Hop, NotSent, Session, Transaction};
use words_mail::{AccountId, Address, PrimaryId, Recipient, Reply, Sender, TraceId};
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

/// Why a letter was not taken; nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Handing it in again may help, and doubles nothing.
    #[error("{0}")]
    Later(String),
    /// It will never be taken: an address that does not exist, a message too large.
    #[error("{0}")]
    Never(String),
}

/// Where letters are handed in. They are accepted into the journal like any other mail.
pub trait Door: Send + Sync {
    /// Hands a letter in. `Ok` means that it is durable.
    ///
    /// # Errors
    /// Why not.
    fn hand_in(&self, letter: Letter) -> Boxed<'_, Result<(), NotTaken>>;
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

    async fn try_hand_in(&self, mut letter: Letter) -> Result<(), NotTaken> {
        let mut session = Session::open(&self.world, &self.hop).await.map_err(not_sent)?;
        let transaction = Transaction {
            sender: letter.sender,
            recipients: letter.recipients,
            with: MailParameters { eight_bit: true, utf8: letter.utf8, ..MailParameters::default() },
            client: None,
        };
        let begun = session.begin(&transaction).await.map_err(not_sent)?;
        if let Some(refused) = begun.refused.first() {
            session.abandon();
            return Err(answered(&refused.reply));
        }
        let mut part = [0; 16 * 1024];
        loop {
            // What cannot be read is not ended by a final dot: the session is dropped in the middle.
            match letter.content.read(&mut part).map_err(|e| NotTaken::Later(e.to_string()))? {
                0 => break,
                n => session.data(&part[..n]).await.map_err(not_sent)?,
            }
        }
        for (_, fate) in session.finish().await.map_err(not_sent)? {
            match fate {
                Fate::Answered(reply) if reply.is_yes() => {}
                Fate::Answered(reply) => return Err(answered(&reply)),
                // The edge knows a repeat of it whose answer was not heard.
                Fate::Unknown(why) => return Err(NotTaken::Later(why)),
            }
        }
        // No goodbye: the edge then does not know that its answer was heard, and should we die before what goes with
        // the letter is on record, the same letter handed in again is the same message.
        Ok(())
    }
}

fn not_sent(failed: NotSent) -> NotTaken {
    if failed.unsendable { NotTaken::Never(failed.to_string()) } else { NotTaken::Later(failed.to_string()) }
}

fn answered(reply: &Reply) -> NotTaken {
    if reply.is_never() { NotTaken::Never(reply.to_string()) } else { NotTaken::Later(reply.to_string()) }
}

impl Door for LocalDoor {
    fn hand_in(&self, letter: Letter) -> Boxed<'_, Result<(), NotTaken>> {
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
