//! What the edge may not know itself, asked of the inside. Dead or hung, the inside costs a person a `454` and an unknown
//! recipient a `450`; mail is taken all the same.

use super::words::{InsideAnswer, InsideCall, Talk};
use crate::control::protocol::Password;
use roads_accept::{Answer, CallOut, SignIn, SignInRefusal};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Semaphore;
use words_mail::{AccountId, Address, PrimaryId};
use words_world::{Boxed, World};

/// Questions at once; further ones get no answer.
const QUESTIONS_MAX: usize = 256;
/// The inside says twice a second that it is still finding out; silent for so long it is dead or hung.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// The way to the inside.
pub(crate) struct Inside {
    world: World,
    socket: PathBuf,
    places: Semaphore,
}

impl Inside {
    pub(crate) fn new(world: &World, socket: PathBuf) -> Inside {
        Inside { world: world.clone(), socket, places: Semaphore::new(QUESTIONS_MAX) }
    }

    /// The answer, if there is one.
    async fn ask(&self, call: &InsideCall) -> Option<InsideAnswer> {
        let _place = self.places.try_acquire().ok()?;
        let mut talk = Talk::open(self.world.net.as_ref(), &self.socket, SILENCE_MAX).await.ok()?;
        talk.say(call).await.ok()?;
        loop {
            match talk.hear(SILENCE_MAX).await {
                Ok(InsideAnswer::Wait) => {}
                Ok(answer) => return Some(answer),
                Err(why) => {
                    tracing::debug!(%why, "the inside does not answer");
                    return None;
                }
            }
        }
    }
}

impl SignIn for Inside {
    fn check<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
        peer: IpAddr,
    ) -> Boxed<'a, Result<AccountId, SignInRefusal>> {
        Box::pin(async move {
            let (user, password) = (user.to_owned(), Password(password.to_owned()));
            match self.ask(&InsideCall::SignIn { user, password, peer }).await {
                Some(InsideAnswer::In { account }) => Ok(account),
                Some(InsideAnswer::Wrong) => Err(SignInRefusal::Wrong),
                Some(InsideAnswer::Later { words }) => Err(SignInRefusal::Later(words)),
                _ => Err(SignInRefusal::Later(
                    "passwords cannot be checked at this moment; your message is still with you, try again in a minute"
                        .to_owned(),
                )),
            }
        })
    }
}

impl CallOut for Inside {
    fn ask<'a>(&'a self, primary: &'a PrimaryId, recipient: &'a Address) -> Boxed<'a, Answer> {
        Box::pin(async move {
            let call = InsideCall::CallOut { primary: primary.clone(), recipient: recipient.clone() };
            match Inside::ask(self, &call).await {
                Some(InsideAnswer::Yes) => Answer::Yes,
                Some(InsideAnswer::No { reply }) => Answer::No(reply),
                _ => Answer::NoAnswer,
            }
        })
    }
}
