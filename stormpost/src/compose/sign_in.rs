//! Signing in: the rule asks its questions, and this finds out.

use super::pass::{self, Pass};
use super::questions::Questions;
use roads_accept::SignInRefusal;
use rules_signin::{
    AccountStanding, Answer, Door, Evidence, Follow, Known, Limits, Match, Presented, Question, Refusal,
    Step, Verifier, many_noes, next,
};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stores_directory::{Captured, Directory, Refusal as Denied, SignIn};
use stores_ledger::{Entry, Ledger};
use tokio::time::{Instant, timeout};
use words_mail::{
    AccountId, Evidence as Class, Finding, Observation, OrderKind, Plane, PrimaryId, State, Time,
};
use words_world::{Boxed, Clock, Random, World};

/// Asks a primary whether a password is right.
pub trait AskPrimary: Send + Sync {
    /// Asks once, for a person who is connected from `peer`; the caller limits the time.
    fn ask<'a>(
        &'a self,
        primary: &'a PrimaryId,
        account: &'a AccountId,
        password: &'a str,
        peer: IpAddr,
    ) -> Boxed<'a, Answer>;
}

/// What a reception is held to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Wrong passwords that are put to a primary.
    pub questions: Limits,
    /// How long a session goes on after its primary's last yes.
    pub evidence_age: Duration,
}

/// Contradicted verifiers remembered; the rule looks at those of the last minutes.
const CONTRADICTED_MAX: usize = 1_000;

/// Where people are let in, for every door.
pub struct Reception {
    /// Who is here.
    pub directory: Directory,
    /// What is in force.
    pub ledger: Ledger,
    /// The way to the primaries.
    pub primaries: Arc<dyn AskPrimary>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The name of this node in observations.
    pub vantage: String,
    contradicted: Mutex<VecDeque<Time>>,
    questions: Arc<Questions>,
    random: Arc<dyn Random>,
    /// How long the primary's yes serves a session.
    evidence_age: Duration,
}

impl Reception {
    /// A reception with nobody turned away yet.
    pub fn new(
        directory: Directory,
        ledger: Ledger,
        primaries: Arc<dyn AskPrimary>,
        world: &World,
        vantage: String,
        bounds: Bounds,
    ) -> Reception {
        Reception {
            directory,
            ledger,
            primaries,
            clock: world.clock.clone(),
            vantage,
            contradicted: Mutex::default(),
            questions: Arc::new(Questions::new(bounds.questions, world.random.as_ref())),
            random: world.random.clone(),
            evidence_age: bounds.evidence_age,
        }
    }

    /// Whether `user` with `password` from `peer` is let in, and as whom.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self, user: &str, password: &str, peer: IpAddr) -> Result<AccountId, Refusal> {
        match self.directory.sign_in(user, password, peer).await {
            SignIn::Yes(account) => {
                tracing::info!(%account, %peer, evidence = "own", "signed in");
                Ok(account)
            }
            SignIn::No(why) => {
                tracing::info!(user = user.escape_debug().to_string(), %peer, %why, "not signed in");
                Err(match why {
                    Denied::Wrong | Denied::Suspended => Refusal::Wrong,
                    Denied::TooMany(_) | Denied::Busy => Refusal::TooMany,
                })
            }
            SignIn::Ask(question) => self.dialogue(&question, password, peer).await,
        }
    }

    /// The directory has no word of its own about this password: the rule decides, step by step.
    async fn dialogue(
        &self,
        question: &stores_directory::Question,
        password: &str,
        peer: IpAddr,
    ) -> Result<AccountId, Refusal> {
        let began = Instant::now();
        let mut known = self.begin(question);
        loop {
            match next(&known) {
                Step::Ask(Question::Allowance) => {
                    let allowance = self.questions.allowance(
                        &question.primary,
                        &question.account,
                        password,
                        Instant::now(),
                    );
                    known.allowance = Some(allowance);
                }
                Step::Ask(Question::Primary(patience)) => {
                    known.primary = Some(self.put(question, password, peer, patience, known.plane).await);
                }
                Step::Ask(Question::Verifier) => {
                    known.verifier = Some(self.verifier(question, password).await?)
                }
                Step::Ask(Question::Directory) => known.directory = Some(Answer::NoAnswer),
                // The directory has looked at these before it told us to ask.
                Step::Ask(Question::Limits) => known.within_limits = Some(true),
                Step::Ask(Question::Digest) => known.digest = Some(false),
                Step::Ask(Question::Device) => known.device = Some(Match::None),
                Step::Ask(Question::Local) => known.local = Some(Match::None),
                Step::In(evidence, follow) => {
                    if evidence == Evidence::Verifier {
                        self.directory.verifier_said_yes(question, password, peer);
                    }
                    self.follow(question, password, peer, follow, began.elapsed()).await;
                    tracing::info!(account = %question.account, %peer, ?evidence, "signed in");
                    return Ok(question.account.clone());
                }
                Step::Out(refusal, follow) => {
                    self.follow(question, password, peer, follow, began.elapsed()).await;
                    tracing::info!(account = %question.account, %peer, ?refusal, "not signed in");
                    return Err(refusal);
                }
            }
        }
    }

    fn begin(&self, question: &stores_directory::Question) -> Known {
        let orders = self.ledger.in_force();
        let (primary, account) = (&question.primary, &question.account);
        Known {
            door: Door::Program,
            presented: Presented::Password,
            standing: AccountStanding::Live,
            ours_alone: false,
            has_directory: false,
            plane: orders.state_for(primary, Plane::SignIn, account),
            captured_allowed: orders.on(OrderKind::CapturedSignIn, primary, Some(account)),
            many_noes: self.many_noes(),
            within_limits: None,
            digest: None,
            device: None,
            local: None,
            allowance: None,
            primary: None,
            verifier: None,
            directory: None,
        }
    }

    /// Puts the password to the primary, and remembers what it says.
    async fn put(
        &self,
        question: &stores_directory::Question,
        password: &str,
        peer: IpAddr,
        patience: Duration,
        plane: State,
    ) -> Answer {
        let (primary, account) = (&question.primary, &question.account);
        self.questions.begin(primary, account, Instant::now());
        let asked = timeout(patience, self.primaries.ask(primary, account, password, peer)).await;
        // One that is too slow may have counted it all the same; one that is down has not.
        let counted = asked.is_err() && plane == State::Ready;
        let answer = asked.unwrap_or(Answer::NoAnswer);
        self.questions.end(primary, account, password, answer, counted, Instant::now());
        answer
    }

    async fn verifier(
        &self,
        question: &stores_directory::Question,
        password: &str,
    ) -> Result<Verifier, Refusal> {
        match self.directory.captured(&question.account, &question.primary, password).await {
            Ok(Captured::None) => Ok(Verifier::None),
            Ok(Captured::Matches { suspended }) => Ok(Verifier::Same { suspended }),
            Ok(Captured::Differs) => Ok(Verifier::Other),
            Err(_) => Err(Refusal::TooMany),
        }
    }

    fn many_noes(&self) -> bool {
        let contradicted = self.contradicted.lock().unwrap_or_else(PoisonError::into_inner);
        let times: Vec<Time> = contradicted.iter().copied().collect();
        many_noes(&times, self.directory.snapshot().accounts().len(), self.clock.now())
    }

    async fn follow(
        &self,
        question: &stores_directory::Question,
        password: &str,
        peer: IpAddr,
        follow: Follow,
        took: Duration,
    ) {
        let account = &question.account;
        if follow.capture
            && let Err(why) = self.directory.primary_said_yes(question, password, peer).await
        {
            tracing::warn!(%account, %why, "the verifier was not kept; the sign-in counts");
        }
        if follow.count_failure {
            self.directory.primary_said_no(question, peer);
        }
        if follow.contradicted {
            let mut contradicted = self.contradicted.lock().unwrap_or_else(PoisonError::into_inner);
            contradicted.truncate(CONTRADICTED_MAX - 1);
            contradicted.push_front(self.clock.now());
        }
        if follow.suspend_verifier
            && let Err(why) = self.directory.suspend_verifier(account, &question.primary)
        {
            tracing::warn!(%account, %why, "the verifier could not be suspended");
        }
        if follow.suspend_account
            && let Err(why) = self.directory.suspend(account, true)
        {
            tracing::warn!(%account, %why, "the account could not be suspended");
        }
        if follow.no_answer {
            self.observe(question, Finding::Down, took, "no answer to a sign-in");
        } else if follow.capture {
            self.observe(question, Finding::Up, took, "a person signed in");
        }
    }

    fn observe(&self, question: &stores_directory::Question, finding: Finding, took: Duration, detail: &str) {
        self.ledger.note(Entry::Observation(Observation {
            primary: question.primary.clone(),
            plane: Plane::SignIn,
            vantage: self.vantage.clone(),
            at: self.clock.now(),
            evidence: Class::Live,
            finding,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            detail: detail.to_owned(),
            account: None,
        }));
    }
}

impl roads_accept::SignIn for Reception {
    fn check<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
        peer: IpAddr,
    ) -> Boxed<'a, Result<AccountId, SignInRefusal>> {
        Box::pin(async move {
            Reception::check(self, user, password, peer).await.map_err(|refusal| match refusal {
                refusal if refusal.is_temporary() => SignInRefusal::Later(refusal.words().to_owned()),
                _ => SignInRefusal::Wrong,
            })
        })
    }
}

/// Of the time that a yes serves, so much is drawn away at most, in hundredths.
const BOUND_DRAWN: u64 = 20;

impl roads_imap::SignIn for Reception {
    fn pass(&self, account: &AccountId, password: &str) -> Option<Arc<dyn roads_imap::Pass>> {
        let evidence = match self.directory.own_password(account, password) {
            Some(stamp) => pass::Evidence::Own(stamp),
            None => pass::Evidence::Primary(self.questions.digest(account, password)),
        };
        let hundredths = 100 - u32::try_from(self.random.below(BOUND_DRAWN)).unwrap_or_default();
        Some(Arc::new(Pass {
            directory: self.directory.clone(),
            ledger: self.ledger.clone(),
            questions: self.questions.clone(),
            account: account.clone(),
            evidence,
            bound: self.evidence_age * hundredths / 100,
            unasked: Mutex::default(),
        }))
    }

    fn check<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
        peer: IpAddr,
    ) -> Boxed<'a, Result<AccountId, roads_imap::SignInRefusal>> {
        Box::pin(async move {
            Reception::check(self, user, password, peer).await.map_err(|refusal| match refusal {
                refusal if refusal.is_temporary() => {
                    roads_imap::SignInRefusal::Later(refusal.words().to_owned())
                }
                _ => roads_imap::SignInRefusal::Wrong,
            })
        })
    }
}
