//! `[notify]`: who is told of what happens, and that this node lives.

use super::build::{url, values};
use super::reader::{At, Section, parse_address};
use super::source::Fault;
use super::{DomainSettings, HeartbeatPlace, Notices};
use std::time::Duration;
use words_mail::Address;
use words_world::Url;

/// Signs of life more often than this tell nobody more.
const HEARTBEAT_LEAST: Duration = Duration::from_secs(1);
/// Places that hear signs of life at most.
const HEARTBEAT_PLACES: usize = 8;

pub(super) fn notices(section: &Section<'_>, node: &str) -> Option<Notices> {
    let from = match section.has("from") {
        true => section.address("from").map(|at| at.value),
        false => Address::new("stormpost", node).ok(),
    };
    let repeat = section.duration("repeat");
    let mut heartbeat: Vec<HeartbeatPlace> = values(section.list("heartbeat", heartbeat_place));
    if heartbeat.len() > HEARTBEAT_PLACES {
        let words = format!("more than {HEARTBEAT_PLACES} places for signs of life");
        section.fault(Fault::error(section.span_of("heartbeat"), words).hint("one or two are enough"));
        heartbeat.truncate(HEARTBEAT_PLACES);
    }
    Some(Notices {
        mail: values(section.list("mail", parse_address)),
        webhook: values(section.list("webhook", url)),
        from: from?,
        repeat: Some(repeat).filter(|repeat| !repeat.is_zero()),
        heartbeat,
        heartbeat_every: section.duration("heartbeat_every").max(HEARTBEAT_LEAST),
        heartbeat_mail_every: section.duration("heartbeat_mail_every").max(HEARTBEAT_LEAST),
        heartbeat_fail: section.switch("heartbeat_fail").is_some_and(|at| at.value),
    })
}

fn heartbeat_place(text: &str) -> Result<HeartbeatPlace, String> {
    match text.contains("://") {
        true => Url::parse(text).map(HeartbeatPlace::Web).map_err(|why| format!("{text:?}: {why}")),
        false => parse_address(text).map(HeartbeatPlace::Mail),
    }
}

/// A notice that goes to the dead primary tells nobody.
pub(super) fn check_notices(section: &Section<'_>, notify: &Notices, domains: &[DomainSettings]) {
    let mut named: Vec<At<Address>> = section.list("mail", parse_address);
    for At { value, span } in section.list("heartbeat", heartbeat_place) {
        if let HeartbeatPlace::Mail(value) = value {
            named.push(At { value, span });
        }
    }
    for At { value, span } in named {
        let ours = domains.iter().find(|d| d.domain.name == value.domain());
        if ours.is_some_and(|d| d.domain.primary.is_some()) {
            let words =
                format!("{value} lives at a primary, so a notice of its failure would wait for its return");
            section.fault(Fault::warning(span, words).hint("name an address somewhere else"));
        }
    }
    let has_primary = domains.iter().any(|d| d.domain.primary.is_some());
    if has_primary && notify.mail.is_empty() && notify.webhook.is_empty() {
        let words = "nobody is told when a primary fails: [notify] names no address and no webhook";
        section
            .fault(Fault::warning(section.span.clone(), words).hint("add mail = [\"you@provider.example\"]"));
    }
}
