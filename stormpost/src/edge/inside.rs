//! The inside's answers to the edge: sign-ins, and recipients that no list names.

use super::attend::attend;
use super::words::{InsideAnswer, InsideCall, Talk};
use roads_accept::{Answer, CallOut, SignIn, SignInRefusal};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use words_world::{Listener, Stream};

/// Questions at once; further ones wait at the door, where the edge loses its patience.
const QUESTIONS_MAX: usize = 512;
/// How long the edge may take for its question.
const CALL_TIME: Duration = Duration::from_secs(5);
/// How often somebody who waits is told to wait on.
const PULSE: Duration = Duration::from_millis(500);

/// Who knows what the edge does not.
#[derive(Clone)]
pub(crate) struct Knowing {
    /// Who may send.
    pub(crate) sign_in: Arc<dyn SignIn>,
    /// Which recipients there are.
    pub(crate) call_out: Arc<dyn CallOut>,
}

impl Knowing {
    /// Answers until `stop` says so.
    pub(crate) async fn serve(self, listener: Box<dyn Listener>, stop: watch::Receiver<bool>) {
        let converse = |stream| {
            let knowing = self.clone();
            async move { knowing.converse(stream).await }
        };
        attend(listener, QUESTIONS_MAX, stop, converse).await;
    }

    async fn converse(&self, stream: Box<dyn Stream>) {
        let mut talk = Talk::new(stream);
        let Ok(call) = talk.hear(CALL_TIME).await else { return };
        let mut work = std::pin::pin!(self.answer(call));
        loop {
            tokio::select! {
                biased;
                answer = &mut work => {
                    let _ = talk.say(&answer).await;
                    return;
                }
                () = sleep(PULSE) => if talk.say(&InsideAnswer::Wait).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn answer(&self, call: InsideCall) -> InsideAnswer {
        match call {
            InsideCall::SignIn { user, password, peer } => {
                match self.sign_in.check(&user, &password.0, peer).await {
                    Ok(account) => InsideAnswer::In { account },
                    Err(SignInRefusal::Wrong) => InsideAnswer::Wrong,
                    Err(SignInRefusal::Later(words)) => InsideAnswer::Later { words },
                }
            }
            InsideCall::CallOut { primary, recipient } => {
                match self.call_out.ask(&primary, &recipient).await {
                    Answer::Yes => InsideAnswer::Yes,
                    Answer::No(reply) => InsideAnswer::No { reply },
                    Answer::NoAnswer => InsideAnswer::NoAnswer,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::ask::Inside;
    use crate::world;
    use std::net::IpAddr;
    use tokio::time::Instant;
    use words_mail::{AccountId, Address, PrimaryId, Reply};
    use words_world::{Boxed, World};

    /// Knows one person, takes its time for another, and one recipient.
    struct One;

    impl SignIn for One {
        fn check<'a>(
            &'a self,
            user: &'a str,
            password: &'a str,
            _: IpAddr,
        ) -> Boxed<'a, Result<AccountId, SignInRefusal>> {
            Box::pin(async move {
                match (user, password) {
                    ("anna", "right") => Ok(AccountId::new("anna@example.org")),
                    ("slow", _) => {
                        sleep(Duration::from_millis(2_600)).await;
                        Err(SignInRefusal::Later("in a while".to_owned()))
                    }
                    _ => Err(SignInRefusal::Wrong),
                }
            })
        }
    }

    impl CallOut for One {
        fn ask<'a>(&'a self, _: &'a PrimaryId, recipient: &'a Address) -> Boxed<'a, Answer> {
            Box::pin(async move {
                match recipient.local() {
                    "anna" => Answer::Yes,
                    "bert" => Answer::No(Reply::new(550, (5, 1, 1), "nobody")),
                    _ => Answer::NoAnswer,
                }
            })
        }
    }

    async fn with_inside<T>(act: impl AsyncFnOnce(Inside) -> T) -> T {
        let folder = tempfile::tempdir().unwrap();
        let world: World = world::real(None);
        let socket = folder.path().join("inside.sock");
        let listener = world.net.listen_local(&socket).await.unwrap();
        let knowing = Knowing { sign_in: Arc::new(One), call_out: Arc::new(One) };
        let (_stop, stopping) = watch::channel(false);
        tokio::select! {
            () = knowing.serve(listener, stopping) => panic!("the inside ended"),
            done = act(Inside::new(&world, socket)) => done,
        }
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn the_edge_is_told_what_the_inside_knows() {
        with_inside(async |inside| {
            let account = inside.check("anna", "right", HERE).await.unwrap();
            assert_eq!(account, AccountId::new("anna@example.org"));
            assert_eq!(inside.check("anna", "left", HERE).await, Err(SignInRefusal::Wrong));
            let primary = PrimaryId("hq".to_owned());
            let ask = async |local: &str| {
                let recipient = Address::new(local, "example.org").unwrap();
                CallOut::ask(&inside, &primary, &recipient).await
            };
            assert_eq!(ask("anna").await, Answer::Yes);
            assert_eq!(ask("bert").await, Answer::No(Reply::new(550, (5, 1, 1), "nobody")));
            assert_eq!(ask("carl").await, Answer::NoAnswer);
        })
        .await;
    }

    #[tokio::test]
    async fn an_inside_that_finds_out_slowly_is_not_taken_for_a_dead_one() {
        let refusal = with_inside(async |inside| inside.check("slow", "x", HERE).await).await.unwrap_err();
        assert_eq!(refusal, SignInRefusal::Later("in a while".to_owned()));
    }

    #[tokio::test]
    async fn invariant_10_a_dead_or_hung_inside_means_later_and_never_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let world = world::real(None);
        let socket = folder.path().join("inside.sock");
        let inside = Inside::new(&world, socket.clone());
        assert!(matches!(inside.check("anna", "right", HERE).await, Err(SignInRefusal::Later(_))), "dead");
        // Hung: the door is there and nobody answers.
        let _hung = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let began = Instant::now();
        assert!(matches!(inside.check("anna", "right", HERE).await, Err(SignInRefusal::Later(_))), "hung");
        assert!(began.elapsed() < Duration::from_secs(4));
        let recipient = Address::new("anna", "example.org").unwrap();
        assert_eq!(CallOut::ask(&inside, &PrimaryId("hq".to_owned()), &recipient).await, Answer::NoAnswer);
    }
}
