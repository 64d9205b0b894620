//! A whole message: its facts, its verdict, and the journal.

use crate::AcceptLimits;
use crate::authentication::{Asked, Authentication, Findings};
use crate::counts::count;
use crate::dialogue::{Dialogue, surroundings};
use crate::door::{Accept, Door};
use crate::header::HeaderFacts;
use crate::incoming::{Arrived, Incoming, refusal};
use crate::prefix::prefix;
use rules_policy::{Author, Facts, Judgement, judge};
use std::collections::HashSet;
use stores_journal::{NewMessage, Receipt};
use tokio::time::timeout;
use words_mail::{
    AccountId, Action, Envelope, Peer, PrimaryId, Recipient, Reply, Sender, Source, Tenant, Verdict,
};
use words_world::crash_point;

/// Stores a message. The reply says under which id, or why not.
pub(crate) async fn store(dialogue: &mut Dialogue, incoming: Incoming) -> Result<(Reply, Receipt), Reply> {
    let accept = dialogue.accept.clone();
    let Some(envelope) = take_envelope(dialogue) else {
        return Err(Reply::new(451, (4, 3, 0), "nothing was stored; try again"));
    };
    let (sender, recipients) = (envelope.sender.clone(), envelope.recipients.clone());
    match try_store(dialogue, &accept, envelope, incoming).await {
        Ok((receipt, verdict)) => {
            accept.returned.remember(receipt.trace, dialogue.door.source(), &recipients);
            log_stored(dialogue, &sender, &recipients, &receipt, &verdict);
            Ok((Reply::new(250, (2, 0, 0), format!("stored as {}", receipt.trace)), receipt))
        }
        Err(reply) => {
            count(if reply.is_never() { &accept.counts.refused } else { &accept.counts.deferred });
            log_refused(dialogue, &sender, &recipients, &reply);
            Err(reply)
        }
    }
}

/// RFC 5321 §4.2.2: insufficient system storage; RFC 3463 §3.4: the system is full.
pub(crate) fn spool_full() -> Reply {
    let text = "as much mail waits here as may wait; nothing was stored; try again later";
    Reply::new(452, (4, 3, 1), text)
}

/// Whether a message is no larger than its organisation wants (RFC 1870 §6.1: 552).
pub(crate) fn fits(limits: &AcceptLimits, tenant: &Tenant, size: u64) -> Result<(), Reply> {
    match limits.sizes.get(tenant) {
        Some(most) if size > *most => {
            let text = format!("the message is larger than {most} octets, the most this organisation takes");
            Err(Reply::new(552, (5, 3, 4), text))
        }
        _ => Ok(()),
    }
}

fn take_envelope(dialogue: &mut Dialogue) -> Option<Envelope> {
    let protocol = dialogue.session.protocol();
    let transaction = dialogue.session.take_transaction()?;
    // Named twice, delivered once.
    let mut named = HashSet::new();
    let mut recipients = transaction.recipients;
    recipients.retain(|r| named.insert(r.address.clone()));
    Some(Envelope {
        sender: transaction.mail.sender,
        recipients,
        eight_bit: transaction.mail.eight_bit,
        utf8: transaction.mail.utf8,
        ret: transaction.mail.ret,
        envid: transaction.mail.envid,
        source: dialogue.door.source(),
        peer: Peer {
            ip: dialogue.peer.ip().to_canonical(),
            helo: dialogue.session.hello().unwrap_or_default().to_owned(),
            protocol,
            tls: dialogue.session.tls().map(str::to_owned),
            account: dialogue.account.clone(),
        },
    })
}

async fn try_store(
    dialogue: &mut Dialogue,
    accept: &Accept,
    envelope: Envelope,
    incoming: Incoming,
) -> Result<(Receipt, Verdict), Reply> {
    let door = dialogue.door;
    let arrived = incoming.finish(&surroundings(accept, door)).await?;
    let Arrived { facts, header, digests, body } = arrived;
    let findings = match &accept.parts.authentication {
        Some(authentication) if door == Door::Edge => {
            let asked = Asked {
                ip: envelope.peer.ip,
                helo: &envelope.peer.helo,
                sender: &envelope.sender,
                header: &header,
                digests,
            };
            Some(authenticate(accept, &**authentication, asked).await)
        }
        _ => None,
    };
    let verdict = decide(accept, &envelope, &facts, findings.as_ref())?;
    let (tenant, primary) = owner(accept, dialogue, &envelope);
    fits(&accept.parts.limits, &tenant, body.len())?;
    let trace = accept.parts.journal.trace_id();
    let results = findings.as_ref().map(|f| f.results.as_str());
    let now = accept.parts.world.clock.now();
    let lines = prefix(&accept.parts.host, &envelope, trace, &accept.parts.trace_key, now, results);
    let size = lines.len() as u64 + body.len();
    let room = match door {
        Door::Local => accept.spool.room_for_our_own(size),
        _ => accept.spool.room(size).ok_or_else(spool_full)?,
    };
    let message = NewMessage {
        trace,
        tenant,
        primary,
        envelope,
        // Every field is plain data, which always becomes JSON.
        verdict: serde_json::to_value(&verdict).unwrap_or_default(),
        prefix: lines,
        body,
    };
    crash_point("accept.before_store");
    let receipt = accept.parts.journal.accept(message).await.map_err(refusal)?;
    crash_point("accept.after_store");
    if !receipt.repeated {
        room.stored();
    }
    Ok((receipt, verdict))
}

async fn authenticate(accept: &Accept, authentication: &dyn Authentication, asked: Asked<'_>) -> Findings {
    let Some(wait) = accept.patience.wait() else { return Findings::out_of_time() };
    match timeout(accept.parts.limits.authentication_time, authentication.judge(asked)).await {
        Ok(findings) => {
            wait.answered();
            findings
        }
        Err(_) => Findings::out_of_time(),
    }
}

fn log_stored(
    dialogue: &Dialogue,
    sender: &Sender,
    recipients: &[Recipient],
    receipt: &Receipt,
    verdict: &Verdict,
) {
    let counts = &dialogue.accept.counts;
    let parked = verdict.action != Action::Deliver;
    count(if receipt.repeated { &counts.repeated } else { &counts.accepted });
    if parked {
        count(&counts.parked);
    }
    let done = match (receipt.repeated, parked) {
        (true, _) => "accepted before, not stored again",
        (false, true) => "parked",
        (false, false) => "accepted",
    };
    for recipient in recipients {
        tracing::info!(
            trace = %receipt.trace, door = ?dialogue.door, peer = %dialogue.peer.ip(), from = %sender,
            to = %recipient.address, spf = %verdict.spf, dkim = %verdict.dkim, dmarc = %verdict.dmarc, "{done}"
        );
    }
}

fn decide(
    accept: &Accept,
    envelope: &Envelope,
    header: &HeaderFacts,
    findings: Option<&Findings>,
) -> Result<Verdict, Reply> {
    let nothing = Findings::default();
    let found = findings.unwrap_or(&nothing);
    let facts = Facts {
        source: envelope.source,
        sender: &envelope.sender,
        hops: header.hops,
        returned: accept.returned.knows(&header.tags, envelope.source, &envelope.recipients),
        author: match &envelope.peer.account {
            Some(account) if envelope.source == Source::Submission => author(accept, account, header),
            _ => Author::NotAsked,
        },
        spf: found.spf,
        dkim: found.dkim,
        dkim_domains: &found.dkim_domains,
        dmarc: found.dmarc,
        dmarc_asks: found.dmarc_asks,
    };
    match judge(&facts, &accept.parts.policy) {
        Judgement::Accept(verdict) => Ok(verdict),
        Judgement::Refuse(reply) => Err(reply),
    }
}

/// Whether the `From:` field names nobody but the person who signed in.
fn author(accept: &Accept, account: &AccountId, header: &HeaderFacts) -> Author {
    let snapshot = accept.parts.directory.borrow();
    match header.from_fields {
        0 => Author::Missing,
        1 if header.authors.is_empty() || header.authors.contains(&None) => Author::Missing,
        1 if header.authors.iter().flatten().all(|a| snapshot.may_send_as(account, a)) => Author::Own,
        1 => Author::Foreign,
        _ => Author::Several,
    }
}

/// Whose mail it is: the sender's when a person sends it, else the recipients'.
fn owner(accept: &Accept, dialogue: &mut Dialogue, envelope: &Envelope) -> (Tenant, Option<PrimaryId>) {
    let snapshot = accept.parts.directory.borrow();
    if let Some(account) = &envelope.peer.account
        && let Some(tenant) = snapshot.tenant_of(account)
    {
        return (tenant.clone(), snapshot.primary_of(account).cloned());
    }
    // Notices and reports of our own go to people elsewhere; they belong to whose name they carry.
    let own = || {
        let domain = envelope.sender.address().and_then(|a| snapshot.domain(a.domain()));
        domain.or_else(|| snapshot.domains().next()).map(|d| d.tenant.clone())
    };
    let tenant = dialogue.tenant.take().or_else(own).unwrap_or(Tenant(String::new()));
    (tenant, dialogue.primary.take())
}

/// One line for each recipient of a message that was not taken.
pub(crate) fn log_refused(dialogue: &Dialogue, sender: &Sender, recipients: &[Recipient], reply: &Reply) {
    for recipient in recipients {
        tracing::info!(
            door = ?dialogue.door, peer = %dialogue.peer.ip(), from = %sender, to = %recipient.address, %reply,
            "not taken"
        );
    }
}
