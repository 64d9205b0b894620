//! Looking, without handing anything over: how far a dialogue gets, and whether a recipient exists.

use super::{Hop, NotSent, Session, Stage};
use tokio::time::Instant;
use words_mail::{Address, Recipient, Reply, Sender, Takes};
use words_smtp::client::{self, MailParameters};
use words_world::World;

/// How one stage of a dialogue went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which stage.
    pub stage: Stage,
    /// The server's words, if the stage has any.
    pub reply: Option<Reply>,
    /// How long it took, microseconds.
    pub micros: u64,
    /// Why it failed; `None` when it went well.
    pub failure: Option<String>,
}

/// A dialogue that was held only to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// The stages, in order, up to the first that failed.
    pub steps: Vec<Step>,
    /// What was answered to each recipient that was asked about, as far as it came.
    pub answers: Vec<(Address, Reply)>,
    /// What it said it takes, if it came so far.
    pub takes: Option<Takes>,
}

impl Probe {
    /// Whether every stage went well. A refused recipient is no failure: the server answered.
    pub fn is_up(&self) -> bool {
        !self.steps.is_empty() && self.failed().is_none()
    }

    /// The stage that failed. An attempt at TLS that nobody insisted on does not count when the rest went well.
    pub fn failed(&self) -> Option<&Step> {
        self.steps.last().filter(|step| step.failure.is_some())
    }

    /// The whole time, microseconds.
    pub fn micros(&self) -> u64 {
        self.steps.iter().map(|step| step.micros).sum()
    }

    /// One line for a person: the failure, or the last words.
    pub fn words(&self) -> String {
        let Some(last) = self.steps.last() else {
            return "nothing was tried".to_owned();
        };
        match (&last.failure, &last.reply) {
            (Some(why), _) => format!("{}: {why}", last.stage),
            (None, Some(reply)) => format!("{}: {reply}", last.stage),
            (None, None) => last.stage.to_string(),
        }
    }
}

/// Goes through a dialogue up to `RCPT` for each of `to`, then resets it. Nothing is handed over.
///
/// A `4xx` to every recipient counts as failed, since mail would wait; so does any refusal of `MAIL`. A `5xx` to a
/// recipient is an answer.
pub async fn probe(world: &World, hop: &Hop, from: &Sender, to: &[Address]) -> Probe {
    let mut seen = Probe::default();
    let Ok(mut session) = Session::open_step_by_step(world, hop, &mut seen.steps).await else {
        return seen;
    };
    let offered = session.offered();
    // RFC 1870 §4: zero is no bound.
    seen.takes = Some(Takes { size: offered.size.filter(|size| *size > 0), utf8: offered.utf8 });
    let since = Instant::now();
    let mail = match client::mail(from, &MailParameters::default(), session.offered()) {
        Ok(command) => session.ask(Stage::Mail, &command, hop.limits.mail).await,
        Err(cannot) => Err(NotSent::new(Stage::Mail, cannot.to_string())),
    };
    let mail =
        mail.and_then(|a| if a.is_yes() { Ok(a.reply()) } else { Err(NotSent::reply(Stage::Mail, &a)) });
    let begun = mail.is_ok();
    seen.steps.push(step(Stage::Mail, since, mail.map(Some)));
    if begun {
        let since = Instant::now();
        let asked = ask_about(&mut session, hop, to, &mut seen.answers).await;
        seen.steps.push(step(Stage::Rcpt, since, asked));
        if session.is_usable() {
            let _ = session.ask(Stage::Mail, b"RSET\r\n", hop.limits.quit).await;
        }
    }
    session.quit().await;
    seen
}

async fn ask_about(
    session: &mut Session,
    hop: &Hop,
    to: &[Address],
    answers: &mut Vec<(Address, Reply)>,
) -> Result<Option<Reply>, NotSent> {
    for address in to.iter().take(client::RECIPIENTS_MAX) {
        let command = client::rcpt(&Recipient::new(address.clone()), session.offered());
        let command = command.map_err(|cannot| NotSent::new(Stage::Rcpt, cannot.to_string()))?;
        let answer = session.ask(Stage::Rcpt, &command, hop.limits.rcpt).await?;
        answers.push((address.clone(), answer.reply()));
        if answer.code == 421 {
            return Err(NotSent::reply(Stage::Rcpt, &answer));
        }
    }
    let last = answers.last().map(|(_, reply)| reply.clone());
    match &last {
        Some(reply) if answers.iter().all(|(_, reply)| reply.is_later()) => {
            let why = reply.to_string();
            Err(NotSent { reply: last, ..NotSent::new(Stage::Rcpt, why) })
        }
        _ => Ok(last),
    }
}

fn step(stage: Stage, since: Instant, result: Result<Option<Reply>, NotSent>) -> Step {
    let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    match result {
        Ok(reply) => Step { stage, reply, micros, failure: None },
        Err(failed) => Step { stage, reply: failed.reply, micros, failure: Some(failed.why) },
    }
}

/// What a server says about a recipient when it is only asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOut {
    /// It takes mail for the address. `takes_anything` when it took a random address of the domain too: then its yes
    /// says nothing, and asking it again is useless.
    Yes {
        /// Its words.
        reply: Reply,
        /// Whether a random address was taken as well; `false` when that was not asked.
        takes_anything: bool,
    },
    /// It refuses the address for good.
    No(Reply),
    /// It gave no answer, or said later: nothing is known.
    CannotTell(String),
}

/// Asks a server whether it takes mail for `address`, with `also_random` a random address of the same domain first. The
/// sender is `<>`, which no server may refuse (RFC 5321 §4.5.5).
pub async fn call_out(world: &World, hop: &Hop, address: &Address, also_random: bool) -> CallOut {
    let mut ask = Vec::new();
    if also_random {
        let mut random = [0; 12];
        world.random.fill(&mut random);
        let local: String = random.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        ask.extend(Address::new(&local, address.domain()));
    }
    ask.push(address.clone());
    let seen = probe(world, hop, &Sender::NOBODY, &ask).await;
    let said =
        |wanted: &Address| seen.answers.iter().find(|(a, _)| a == wanted).map(|(_, reply)| reply.clone());
    match said(address) {
        Some(reply) if reply.is_yes() => {
            let takes_anything = also_random && ask.first().and_then(said).is_some_and(|r| r.is_yes());
            CallOut::Yes { reply, takes_anything }
        }
        Some(reply) if reply.is_never() => CallOut::No(reply),
        _ => CallOut::CannotTell(seen.words()),
    }
}
