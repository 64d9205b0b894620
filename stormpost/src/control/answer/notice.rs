//! Notices: tests, acknowledgements, silence. All are requests in the ledger, which the road of notices reads.

use super::{Answers, Caller, Ended, No, reason};
use crate::report;
use roads_notify::Cause;
use std::collections::BTreeMap;
use std::time::Duration;
use stores_ledger::{Entry, Notice, NoticeResult, Position};
use tokio::time::{Instant, timeout};
use words_mail::{EventId, PrimaryId, Request, RequestKind, Scope, Time};

/// How long the results of test notices are waited for.
const WAIT: Duration = Duration::from_secs(45);
/// When nothing new was begun for so long, all are known.
const QUIET: Duration = Duration::from_secs(2);

impl Answers {
    /// The primaries whose notices are meant.
    fn told_about(&self, named: Option<PrimaryId>) -> Result<Vec<PrimaryId>, No> {
        match named {
            Some(named) => Ok(vec![self.primary(Some(&named))?]),
            None => {
                let all = self.parts.configuration.primaries.iter().map(|p| p.id.clone());
                let all: Vec<PrimaryId> = all.collect();
                match all.is_empty() {
                    true => {
                        Err(No::not_found("this node stands in front of no primary, so there are no notices"))
                    }
                    false => Ok(all),
                }
            }
        }
    }

    async fn ask_for(
        &self,
        primary: PrimaryId,
        kind: RequestKind,
        reason: String,
        caller: &Caller,
    ) -> Result<u64, No> {
        let request = Request {
            at: self.now(),
            by: caller.by.clone(),
            reason,
            primary,
            planes: Vec::new(),
            scope: Scope::All,
            kind,
        };
        let written = self.parts.ledger.append(Entry::Request(request)).await;
        written
            .map_err(|error| No::failed(format!("it could not be written down, so nothing changed: {error}")))
    }

    pub(crate) async fn notice_test(&self, primary: Option<PrimaryId>, caller: &Caller) -> Ended {
        let configuration = &self.parts.configuration;
        let is_told = |mail: bool, webhook: bool| mail || webhook;
        let notify = &configuration.notify;
        let anybody = is_told(!notify.mail.is_empty(), !notify.webhook.is_empty())
            || configuration.tenants.iter().any(|t| is_told(!t.mail.is_empty(), !t.webhook.is_empty()));
        if !anybody {
            return Err(No::not_found(
                "nobody is told of anything: name people under [notify] in the configuration",
            ));
        }
        let before = *self.parts.ledger.durable().borrow();
        let mut causes = Vec::new();
        for primary in self.told_about(primary)? {
            let seq = self.ask_for(primary, RequestKind::NoticeTest, String::new(), caller).await?;
            causes.push(Cause::Test(seq).to_string());
        }
        let results = self.results(before, &causes).await?;
        let mut words: Vec<String> = results.values().map(report::told).collect();
        let is_well = |notice: &Notice| notice.result == NoticeResult::Sent;
        match results.values().all(is_well) {
            _ if results.is_empty() => {
                Err(No::failed("no test notice was begun; is anybody named for this primary under [notify]?"))
            }
            true => Ok(words.join("\n")),
            false => {
                words.push("what was not told is tried again for a day".to_owned());
                Err(No::failed(words.join("\n")))
            }
        }
    }

    /// What became of the notices of some causes, by way and receiver.
    async fn results(
        &self,
        before: Position,
        causes: &[String],
    ) -> Result<BTreeMap<(String, String, String), Notice>, No> {
        let ledger = &self.parts.ledger;
        let mut durable = ledger.durable();
        let mut scan = ledger.reader().scan_notices(Some(before));
        let mut results = BTreeMap::new();
        let (began, mut news) = (Instant::now(), Instant::now());
        loop {
            durable.borrow_and_update();
            for entered in &mut scan {
                let Entry::Notice(notice) = entered.map_err(No::failed)?.entry else { continue };
                if causes.contains(&notice.cause) {
                    news = Instant::now();
                    let key = (notice.cause.clone(), notice.channel.clone(), notice.to.clone());
                    results.insert(key, notice);
                }
            }
            let open = results.values().any(|notice| notice.result == NoticeResult::Begun);
            if began.elapsed() > WAIT || !open && !results.is_empty() && news.elapsed() > QUIET {
                return Ok(results);
            }
            let _ = timeout(QUIET / 4, durable.changed()).await;
        }
    }

    pub(crate) async fn notice_ack(&self, event: Option<EventId>, caller: &Caller) -> Ended {
        let in_force = self.parts.ledger.in_force();
        let found = match event {
            Some(id) => in_force.event(id).cloned(),
            None => in_force.open_events().max_by_key(|event| event.id).cloned(),
        };
        let event = found.ok_or_else(|| match event {
            Some(id) => No::not_found(format!("there is no event {id}")),
            None => No::not_found("no event is open"),
        })?;
        let kind = RequestKind::Acknowledge { event: event.id };
        self.ask_for(event.primary, kind, String::new(), caller).await?;
        Ok(format!("event {} is acknowledged; what does not change is not told again", event.id))
    }

    pub(crate) async fn notice_mute(
        &self,
        primary: Option<PrimaryId>,
        until: Time,
        why: String,
        caller: &Caller,
    ) -> Ended {
        if until <= self.now() {
            return Err(No::wrong("it would end before it begins"));
        }
        let why = reason(&why)?;
        for primary in self.told_about(primary)? {
            self.ask_for(primary, RequestKind::Mute { until }, why.clone(), caller).await?;
        }
        Ok(format!("no notices until {until}; what happens meanwhile is written down all the same"))
    }
}
