//! Decisions about a primary: each is recorded with who, when and why, and followed by a numbered order.

use super::output::moment;
use super::{Desk, Ended, Failure, code};
use crate::configuration::parse_duration;
use crate::control::protocol::{Decide, Item, Request};
use clap::Args;
use std::time::Duration;
use words_mail::{AccountId, Address, Plane, PrimaryId, RequestKind, Scope, Time};

/// Which primary, which of it, and why.
#[derive(Clone, Debug, Args)]
pub struct DecideArguments {
    /// Which primary; may be left out when there is only one.
    pub primary: Option<String>,
    /// Only this plane (repeat for more): inbound, outbound, access, sign-in, names.
    #[arg(long = "plane", value_name = "PLANE", value_delimiter = ',', value_parser = parse_plane)]
    pub planes: Vec<Plane>,
    /// Only for these accounts, separated by commas.
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',', value_parser = parse_account)]
    pub accounts: Vec<AccountId>,
    /// Why; recorded with your name and the time.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// `stormpost pin`.
#[derive(Debug, Args)]
pub struct PinArguments {
    #[command(flatten)]
    decide: DecideArguments,
    /// Unpin by itself after so long, for example 2h.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    length: Option<Duration>,
}

/// `stormpost maintenance`.
#[derive(Debug, Args)]
pub struct MaintenanceArguments {
    #[command(flatten)]
    decide: DecideArguments,
    /// How long, for example 30m.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    length: Duration,
}

fn parse_plane(text: &str) -> Result<Plane, String> {
    Plane::ALL.into_iter().find(|plane| plane.to_string() == text).ok_or_else(|| {
        let names: Vec<String> = Plane::ALL.iter().map(ToString::to_string).collect();
        format!("there are: {}", names.join(", "))
    })
}

/// An account named on the command line.
pub(super) fn parse_account(text: &str) -> Result<AccountId, String> {
    match Address::parse(text) {
        Ok(address) if !address.domain().is_empty() => Ok(AccountId::new(&address.to_string())),
        Ok(_) => Err("it has no domain".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

pub(super) fn failover(desk: &Desk, arguments: DecideArguments) -> Ended {
    decide(desk, arguments, RequestKind::Failover)
}

pub(super) fn failback(desk: &Desk, arguments: DecideArguments) -> Ended {
    decide(desk, arguments, RequestKind::Failback)
}

pub(super) fn unpin(desk: &Desk, arguments: DecideArguments) -> Ended {
    decide(desk, arguments, RequestKind::Unpin)
}

pub(super) fn pin(desk: &Desk, arguments: PinArguments) -> Ended {
    let until = arguments.length.map(|length| desk.now().after(length));
    decide(desk, arguments.decide, RequestKind::Pin { until })
}

pub(super) fn maintenance(desk: &Desk, arguments: MaintenanceArguments) -> Ended {
    if arguments.length.is_zero() {
        return Err(Failure { code: code::USAGE, words: "--for must be longer than nothing".to_owned() });
    }
    let until: Time = desk.now().after(arguments.length);
    decide(desk, arguments.decide, RequestKind::Maintenance { until })
}

fn decide(desk: &Desk, arguments: DecideArguments, kind: RequestKind) -> Ended {
    let configuration = desk.configuration()?;
    let primary = match (&arguments.primary, configuration.primaries.as_slice()) {
        (_, []) => return Err("there is no [[primary]] in the configuration".into()),
        (None, [_]) => None,
        (None, many) => {
            let names: Vec<&str> = many.iter().map(|p| p.id.0.as_str()).collect();
            let words = format!("there are several primaries, so say which: {}", names.join(", "));
            return Err(Failure { code: code::USAGE, words });
        }
        (Some(name), all) => {
            let id = PrimaryId(name.clone());
            if !all.iter().any(|p| p.id == id) {
                let names: Vec<&str> = all.iter().map(|p| p.id.0.as_str()).collect();
                let words = format!("there is no primary {name:?}; there are: {}", names.join(", "));
                return Err(Failure { code: code::USAGE, words });
            }
            Some(id)
        }
    };
    let DecideArguments { planes, accounts, reason, .. } = arguments;
    let scope = if accounts.is_empty() { Scope::All } else { Scope::Accounts(accounts) };
    let (items, words) = desk.call(Request::Decide(Decide { primary, planes, scope, kind, reason }))?;
    let orders: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            Item::Order(order) => Some(order),
            _ => None,
        })
        .collect();
    desk.output.value(&serde_json::json!({ "done": words, "orders": orders }));
    for order in &orders {
        let until = order.until.map_or_else(String::new, |t| format!(" until {} UTC", moment(t)));
        let (number, plane, from, to) = (order.number, order.plane, order.from, order.to);
        desk.output.say(&format!("order {number}: {} {plane} {from} -> {to}{until}", order.primary));
    }
    words.lines().for_each(|line| desk.output.say(line));
    Ok(code::WELL)
}
