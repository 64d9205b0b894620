//! Passing on who brought a message, so that the server behind judges that client and not us
//! (<https://www.postfix.org/XCLIENT_README.html>; Dovecot's LMTP knows the same).

use super::{Hop, NotSent, Session, Stage, Transaction, said};
use words_mail::{Peer, Reply};
use words_smtp::client::{self, Protocol};
use words_smtp::reply::Answer;
use words_world::World;

/// Whether a server lets us say who brought a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passing {
    /// It does.
    Taken,
    /// It offers it and refuses it, in these words.
    Refused(Reply),
    /// It does not offer it to us.
    NotOffered,
}

/// Asks a server whether it lets us say who brought a message. Nothing is handed over.
///
/// # Errors
/// When there is no dialogue with it.
pub async fn passing(world: &World, hop: &Hop) -> Result<Passing, NotSent> {
    let mut session = Session::open(world, hop).await?;
    // An address of a documentation (RFC 5737), which no client has.
    let client = Peer {
        ip: std::net::IpAddr::from([192, 0, 2, 1]),
        helo: hop.helo.clone(),
        protocol: "ESMTP".to_owned(),
        tls: None,
        account: None,
        name: None,
        port: None,
    };
    let passing = session.say_client(&client).await?;
    session.quit().await;
    Ok(passing)
}

impl Session {
    /// Whether this dialogue can carry the message. One in which the server takes us for a client cannot carry what is our
    /// own, as there is no way back; and Postfix lets that client speak for no other.
    pub fn suits(&self, transaction: &Transaction) -> bool {
        match (&self.client, &transaction.client) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(before), Some(now)) => before == now || self.offered.xclient.iter().any(|a| a == "ADDR"),
        }
    }

    /// Says who brought the message, when that is wanted, offered, and not known to the server already.
    pub(super) async fn pass_client(&mut self, transaction: &Transaction) -> Result<(), NotSent> {
        if !self.suits(transaction) {
            self.wire.give_up();
            let why = "the server takes us for the client before; another connection is needed";
            return Err(NotSent::new(Stage::Mail, why));
        }
        let Some(client) = transaction.client.as_ref().filter(|_| self.hop.pass_client) else {
            return Ok(());
        };
        if self.client.as_ref() == Some(client) || self.client_refused {
            return Ok(());
        }
        if let Passing::Refused(reply) = self.say_client(client).await? {
            // The mail goes on: judged by our address it is better off than waiting.
            tracing::warn!(
                hop = %self.hop.place, %reply,
                "XCLIENT is offered and was refused: the server judges our address and not the sender's"
            );
        }
        Ok(())
    }

    async fn say_client(&mut self, client: &Peer) -> Result<Passing, NotSent> {
        let Some(command) = said(Stage::Mail, client::xclient(client, &self.offered))? else {
            return Ok(Passing::NotOffered);
        };
        let answer = self.ask(Stage::Mail, &command, self.hop.limits.hello).await?;
        if !answer.is_yes() {
            self.client_refused = true;
            if answer.code == 421 {
                self.wire.give_up();
                return Err(NotSent::reply(Stage::Mail, &answer));
            }
            return Ok(Passing::Refused(answer.reply()));
        }
        // The session begins anew, with this client.
        self.open = false;
        self.client = Some(client.clone());
        let hello = self.hello_for(client).await?;
        if !hello.is_yes() {
            self.wire.give_up();
            return Err(NotSent::reply(Stage::Hello, &hello));
        }
        Ok(Passing::Taken)
    }

    /// The greeting after XCLIENT is the client's own, as the server would have heard it; where the client called itself
    /// something that cannot be said, or that the server does not take, it is ours: that is a matter of the message, not of
    /// the connection.
    async fn hello_for(&mut self, client: &Peer) -> Result<Answer, NotSent> {
        if self.hop.protocol == Protocol::Smtp && client::hello(Protocol::Smtp, &client.helo).is_ok() {
            let answer = self.hello_as(&client.helo.clone()).await?;
            if answer.is_yes() || answer.code == 421 {
                return Ok(answer);
            }
        }
        self.hello().await
    }
}
