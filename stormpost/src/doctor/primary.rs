//! The primaries: what they answer and offer, where they set narrower bounds than we do, and whether our sign-ins work.

use super::doors::judge_theirs;
use super::finding::Finding;
use super::patient::Patient;
use super::wire::{Talked, Tongue, talk};
use crate::configuration::{DeliverKind, PrimarySettings, ServerPlace, TlsWanted, TrustWanted, write_size};
use roads_mirror::{Doors, Right};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use stores_primary::smtp::{CallOut, Hop, call_out};
use stores_primary::store::{MailStore, StoreError};
use tokio::time::timeout;
use words_world::Boxed;

/// How long each step towards a primary may take.
const STEP: Duration = Duration::from_secs(8);
/// How long a sign-in may take.
const SIGN_IN: Duration = Duration::from_secs(15);

/// Topic `primary`.
pub(super) fn answers(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let ways = match &patient.primaries {
            Ok(ways) => ways.clone(),
            Err(why) => {
                return vec![
                    Finding::fail("ways to the primaries", why)
                        .today("the node does not start so at its next restart")
                        .mend("stormpost check"),
                ];
            }
        };
        let mut found = Vec::new();
        for settings in &patient.configuration.primaries {
            let Some(hop) = ways.deliver(&settings.id) else { continue };
            let mut hop = hop.clone();
            hop.limits = hop.limits.at_most(STEP);
            let talked = greet(&patient, settings).await;
            let asked = match patient.account_at(&settings.id) {
                Some(account) if talked.is_ok() => Some(call_out(&patient.world, &hop, &account, true).await),
                _ => None,
            };
            found.extend(judge(&patient, settings, &hop, talked, asked));
        }
        if patient.configuration.primaries.is_empty() {
            found.push(Finding::ok("primaries", "there are none: this is a mail server by itself"));
        }
        found
    })
}

async fn greet(patient: &Patient, settings: &PrimarySettings) -> Result<Talked, String> {
    let deliver = &settings.deliver;
    let ServerPlace::Host(host, port) = &deliver.place else {
        return Err("a local socket, which is not greeted".to_owned());
    };
    let tongue = if deliver.kind == DeliverKind::Lmtp { Tongue::Lmtp } else { Tongue::Smtp };
    let found = patient.world.names.addresses(host).await.map_err(|why| format!("{host}: {why}"))?;
    let mut why = format!("{host} has no address");
    for ip in found.into_iter().take(4) {
        let to = SocketAddr::new(ip, *port);
        let implicit = deliver.tls == TlsWanted::Implicit;
        match talk(&patient.world, to, tongue, implicit, host, &patient.configuration.outbound.helo).await {
            Ok(talked) => return Ok(talked),
            Err(failed) => why = failed,
        }
    }
    Err(why)
}

fn judge(
    patient: &Patient,
    settings: &PrimarySettings,
    hop: &Hop,
    talked: Result<Talked, String>,
    asked: Option<CallOut>,
) -> Vec<Finding> {
    let id = &settings.id;
    let about = format!("{id} at {}", hop.place);
    let local = matches!(settings.deliver.place, ServerPlace::Local(_));
    let mut found = Vec::new();
    match talked {
        Err(why) if local => found.push(Finding::unseen(&about, why)),
        Err(why) => {
            return vec![
                Finding::fail(&about, format!("does not answer: {why}"))
                    .today("mail waits here until it does; people work here meanwhile")
                    .mend("is it running, and does its firewall let this machine in?"),
            ];
        }
        Ok(talked) => {
            let limits = Limits {
                size: patient.configuration.limits.message_size,
                lmtp: settings.deliver.kind == DeliverKind::Lmtp,
                pass_client: settings.deliver.pass_client,
                tls: settings.deliver.tls,
            };
            found.extend(judge_offers(&about, &talked, limits));
            if let Some(certificate) = &talked.certificate {
                let host = match &settings.deliver.place {
                    ServerPlace::Host(host, _) => host.as_str(),
                    ServerPlace::Local(_) => "",
                };
                let insists = matches!(settings.deliver.tls, TlsWanted::Required | TlsWanted::Implicit);
                let verified = insists && settings.deliver.trust == TrustWanted::Public;
                found.push(match certificate {
                    Ok(shown) => judge_theirs(&about, shown, host, verified, patient.now),
                    Err(why) => Finding::warn(&about, format!("encryption fails: {why}"))
                        .today(match insists {
                            true => "nothing is handed over: mail waits here",
                            false => "mail is handed over as plain text",
                        })
                        .mend("look at its certificate and TLS settings"),
                });
            }
        }
    }
    found.extend(asked.map(|asked| judge_recipient(&about, &asked)));
    found
}

/// What we would offer to senders, and how we go there.
#[derive(Clone, Copy)]
struct Limits {
    size: u64,
    lmtp: bool,
    pass_client: bool,
    tls: TlsWanted,
}

fn judge_offers(about: &str, talked: &Talked, ours: Limits) -> Vec<Finding> {
    let mut found = vec![Finding::ok(about, format!("greets: {}", talked.greeting))];
    let size: Option<u64> =
        talked.value("SIZE").and_then(|size| size.trim().parse().ok()).filter(|size| *size > 0);
    if let Some(size) = size {
        let (theirs, mine) = (write_size(size), write_size(ours.size));
        found.push(match size < ours.size {
            // Senders hear of it before they send; people who write to each other do not.
            true => Finding::warn(format!("largest message of {about}"), format!("{theirs}, and ours is {mine}"))
                .today(format!(
                    "senders are told {theirs}; what people here send to each other and is larger comes back to them"
                ))
                .mend(format!("[limits] message_size = {size}")),
            false => Finding::ok(format!("largest message of {about}"), format!("{theirs}, ours is {mine}")),
        });
    }
    if !talked.offers("8BITMIME") {
        found.push(
            Finding::warn(about, "does not offer 8BITMIME")
                .today("mail with raw eight-bit text may be refused there")
                .mend("nearly every mail server can: look at its settings, or at a proxy in between"),
        );
    }
    if !talked.offers("SMTPUTF8") {
        found.push(Finding::ok(
            about,
            "does not offer SMTPUTF8: mail for and from addresses outside ASCII cannot be handed over",
        ));
    }
    if !talked.encrypts {
        found.push(match ours.tls {
            TlsWanted::Required | TlsWanted::Implicit => Finding::fail(about, "does not offer STARTTLS, and the configuration demands it")
                .today("nothing is handed over: mail waits here")
                .mend("turn TLS on at the primary"),
            TlsWanted::Opportunistic if !ours.lmtp => Finding::warn(about, "does not offer STARTTLS")
                .today("mail crosses the network between the two as plain text")
                .mend("turn TLS on at the primary; on a wire of your own: [primary.deliver] tls = \"none\" says so"),
            _ => Finding::ok(about, "plain text, as configured"),
        });
    }
    if ours.pass_client && !ours.lmtp && !talked.offers("XCLIENT") {
        found.push(
            Finding::warn(about, "does not offer XCLIENT to us")
                .today("its own SPF checks, block lists and rate limits see this machine instead of the sender's")
                .mend("Postfix: smtpd_authorized_xclient_hosts = THIS-MACHINE; else see: stormpost init --help; or: pass_client = false"),
        );
    }
    found
}

fn judge_recipient(about: &str, asked: &CallOut) -> Finding {
    let about = format!("recipients at {about}");
    match asked {
        CallOut::Yes { takes_anything: true, .. } => Finding::warn(about, "it takes mail for a random address too")
            .today("nobody can be asked whether an address exists: mail for nobody is taken, and bounced later")
            .mend("let it refuse unknown recipients while they are named; or give us the whole list: [[domain]] accounts, authoritative = true"),
        CallOut::Yes { .. } => Finding::ok(about, "it takes mail for an account, and not for a random address"),
        CallOut::No(reply) => Finding::fail(about, format!("it refuses an account that is configured here: {reply}"))
            .today("mail for that account is refused there and kept here for a person")
            .mend("does the account exist there? does it let this machine in? (stormpost status says how the plane stands)"),
        CallOut::CannotTell(why) => Finding::warn(about, format!("it puts us off: {why}"))
            .today("mail waits here and is tried again; give-back after an outage would crawl")
            .mend("no greylisting and no rate limits there for this machine's address"),
    }
}

/// Topic `sign-in`.
pub(super) fn sign_ins(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let Ok(ways) = patient.primaries.clone() else { return Vec::new() };
        let mut found = Vec::new();
        for settings in &patient.configuration.primaries {
            let id = &settings.id;
            let Some(mailbox) = &settings.mailbox else {
                found.push(
                    Finding::warn(format!("mailboxes of {id}"), "no way to them is configured")
                        .today("nothing proves a give-back, and what people do here is not given back")
                        .mend("[primary.mailbox] host, reader, writer"),
                );
                continue;
            };
            let Some(account) = patient.account_at(id) else {
                found.push(Finding::unseen(
                    format!("sign-ins at {id}"),
                    "no account there is known to try one with",
                ));
                continue;
            };
            for (right, name, configured) in [
                (Right::Look, "reader", mailbox.reader.is_some()),
                (Right::Change, "writer", mailbox.writer.is_some()),
            ] {
                let about = format!("{name} of {id}, mailbox of {account}");
                if !configured {
                    found.push(
                        Finding::warn(about, "not configured")
                            .today(match right {
                                Right::Look => "nothing proves a give-back",
                                Right::Change => "what people do here in an outage is not given back",
                            })
                            .mend(format!("[primary.mailbox] {name} = {{ user = …, password_file = … }}")),
                    );
                    continue;
                }
                let account = words_mail::AccountId::new(&account.key());
                let entered = timeout(SIGN_IN, ways.enter(id, &account, right)).await;
                let entered = entered.unwrap_or_else(|_| {
                    Err(StoreError::NoAnswer(format!("nothing within {} s", SIGN_IN.as_secs())))
                });
                found.push(judge_sign_in(&about, name, leave(entered).await));
            }
            found.push(match &settings.canary {
                Some(canary) => Finding::ok(
                    format!("canary of {id}"),
                    format!("{canary}, every {} s", settings.canary_every.as_secs()),
                ),
                None => Finding::warn(format!("canary of {id}"), "none")
                    .today("that mail really reaches a mailbox there is seen only when real mail does")
                    .mend("make an account of its own there, and: [[primary]] canary = \"canary@…\""),
            });
        }
        found
    })
}

/// Signs out again; `false` when there was no sign-in for the account.
async fn leave(entered: Result<Option<Box<dyn MailStore>>, StoreError>) -> Result<bool, StoreError> {
    match entered? {
        None => Ok(false),
        Some(mut store) => {
            let seen = timeout(SIGN_IN, store.select("INBOX", true)).await;
            let _ = timeout(Duration::from_secs(2), store.leave()).await;
            match seen {
                Ok(selected) => selected.map(|_| true),
                Err(_) => Err(StoreError::NoAnswer("INBOX could not be opened in time".to_owned())),
            }
        }
    }
}

fn judge_sign_in(about: &str, name: &str, tried: Result<bool, StoreError>) -> Finding {
    let today = match name {
        "reader" => "the primary is not watched as people see it, and no give-back can be proved",
        _ => "what people do here in an outage waits and is not given back",
    };
    match tried {
        Ok(true) => Finding::ok(about, "signs in and opens INBOX"),
        Ok(false) => Finding::warn(about, "the table of sign-ins has none for this account")
            .today(today)
            .mend("add the account to accounts_file"),
        Err(StoreError::SignIn(why)) => Finding::fail(about, format!("refused: {why}"))
            .today(today)
            .mend(format!("put the right password into the file that [primary.mailbox.{name}] names, and restart; or set it anew at the primary")),
        Err(StoreError::Throttled { why, .. }) => Finding::warn(about, format!("put off: {why}"))
            .today(today)
            .mend("no limits on sign-ins at the primary for this machine's address"),
        Err(why) => Finding::fail(about, why.to_string())
            .today(today)
            .mend("do the mailboxes answer, and does the firewall let this machine in?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;
    use words_mail::Reply;

    #[test]
    fn what_a_primary_offers_is_held_against_what_we_do() {
        let talked = |offers: &[&str], encrypts| Talked {
            greeting: "mail".into(),
            offers: offers.iter().map(|offer| (*offer).to_owned()).collect(),
            encrypts,
            certificate: None,
        };
        let ours = Limits { size: 50_000_000, lmtp: false, pass_client: true, tls: TlsWanted::Opportunistic };
        let all = ["SIZE 60000000", "8BITMIME", "SMTPUTF8", "STARTTLS", "XCLIENT NAME ADDR"];
        let without =
            |word: &str| all.iter().filter(|offer| !offer.starts_with(word)).copied().collect::<Vec<_>>();
        for (offers, encrypts, ours, worst, words) in [
            (all.to_vec(), true, ours, Grade::Ok, "57.2 MiB"),
            ([without("SIZE"), vec!["SIZE 10000000"]].concat(), true, ours, Grade::Warn, "9.5"),
            ([without("SIZE"), vec!["SIZE 0"]].concat(), true, ours, Grade::Ok, "greets"),
            (without("8BITMIME"), true, ours, Grade::Warn, "8BITMIME"),
            (without("SMTPUTF8"), true, ours, Grade::Ok, "SMTPUTF8"),
            (without("XCLIENT"), true, ours, Grade::Warn, "XCLIENT"),
            (without("XCLIENT"), true, Limits { pass_client: false, ..ours }, Grade::Ok, "greets"),
            (all.to_vec(), false, ours, Grade::Warn, "STARTTLS"),
            (all.to_vec(), false, Limits { tls: TlsWanted::Required, ..ours }, Grade::Fail, "demands"),
            (all.to_vec(), false, Limits { tls: TlsWanted::None, ..ours }, Grade::Ok, "plain text"),
        ] {
            let found = judge_offers("office", &talked(&offers, encrypts), ours);
            assert_eq!(found.iter().map(|f| f.grade).max(), Some(worst), "{offers:?} {found:?}");
            assert!(found.iter().any(|f| f.words.contains(words)), "{words}: {found:?}");
        }
    }

    #[test]
    fn what_it_says_of_recipients_and_sign_ins_is_told() {
        let yes = |takes_anything| CallOut::Yes { reply: Reply::new(250, (2, 1, 5), "ok"), takes_anything };
        for (asked, grade) in [
            (yes(false), Grade::Ok),
            (yes(true), Grade::Warn),
            (CallOut::No(Reply::new(550, (5, 1, 1), "nobody")), Grade::Fail),
            (CallOut::CannotTell("rcpt: 450 greylisted".into()), Grade::Warn),
        ] {
            assert_eq!(judge_recipient("office", &asked).grade, grade);
        }
        for (tried, grade, words) in [
            (Ok(true), Grade::Ok, "opens INBOX"),
            (Ok(false), Grade::Warn, "has none"),
            (Err(StoreError::SignIn("bad".into())), Grade::Fail, "refused: bad"),
            (Err(StoreError::NoAnswer("gone".into())), Grade::Fail, "gone"),
        ] {
            let found = judge_sign_in("x", "reader", tried);
            assert_eq!(found.grade, grade, "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
        }
    }
}
