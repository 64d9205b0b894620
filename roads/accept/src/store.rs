//! A whole message: its facts, its verdict, and the journal.

use crate::counts::count;
use crate::dialogue::{Dialogue, surroundings};
use crate::door::{Accept, Door};
use crate::incoming::{Incoming, refusal};
use crate::judged::{Judged, NotTaken, judged};
use crate::prefix::prefix;
use crate::reverse;
use std::collections::HashSet;
use stores_journal::{NewMessage, Receipt};
use words_mail::{
    Action, Check, CheckAnswer, CheckResult, Envelope, Peer, PrimaryId, Reason, Recipient, Reply, Sender,
    Source, Tenant, Verdict,
};
use words_world::crash_point;

/// Stores a message. The reply says under which id, or why not.
pub(crate) async fn store(dialogue: &mut Dialogue, incoming: Incoming) -> Result<(Reply, Receipt), Reply> {
    let accept = dialogue.accept.clone();
    if dialogue.name.is_none() {
        dialogue.name = reverse::name(&accept, dialogue.door, dialogue.peer.ip()).await;
    }
    let Some(envelope) = take_envelope(dialogue) else {
        return Err(Reply::new(451, (4, 3, 0), "nothing was stored; try again"));
    };
    let (sender, recipients) = (envelope.sender.clone(), envelope.recipients.clone());
    match try_store(dialogue, &accept, envelope, incoming).await {
        Ok((receipt, verdict)) => {
            accept.returned.remember(receipt.trace, dialogue.source, &recipients);
            log_stored(dialogue, &sender, &recipients, &receipt, &verdict);
            Ok((Reply::new(250, (2, 0, 0), format!("stored as {}", receipt.trace)), receipt))
        }
        Err(NotTaken { reply, why }) => {
            count(if reply.is_never() { &accept.counts.refused } else { &accept.counts.deferred });
            log_not_taken(dialogue, &sender, &recipients, &reply, why.as_ref());
            Err(reply)
        }
    }
}

/// RFC 5321 §4.2.2: insufficient system storage; RFC 3463 §3.4: the system is full.
pub(crate) fn spool_full() -> Reply {
    let text = "as much mail waits here as may wait; nothing was stored; try again later";
    Reply::new(452, (4, 3, 1), text)
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
        source: dialogue.source,
        peer: Peer {
            ip: dialogue.peer.ip().to_canonical(),
            helo: dialogue.session.hello().unwrap_or_default().to_owned(),
            protocol,
            tls: dialogue.session.tls().map(str::to_owned),
            account: dialogue.account.clone(),
            name: dialogue.name.clone(),
            port: Some(dialogue.peer.port()),
        },
    })
}

async fn try_store(
    dialogue: &mut Dialogue,
    accept: &Accept,
    envelope: Envelope,
    incoming: Incoming,
) -> Result<(Receipt, Verdict), NotTaken> {
    let door = dialogue.door;
    let arrived = incoming.finish(&surroundings(accept, door)).await?;
    let (tenant, primary) = owner(accept, dialogue, &envelope);
    // What people send goes to others than the mail system of their own.
    let receiver = primary.as_ref().filter(|_| envelope.source == Source::Edge);
    let size_max = accept.size_max(&tenant, receiver);
    let trace = accept.parts.journal.trace_id();
    let Judged { verdict, body, results, share } =
        judged(dialogue, &envelope, size_max, trace, arrived).await?;
    let now = accept.parts.world.clock.now();
    let (host, key) = (&accept.parts.host, &accept.parts.trace_key);
    let lines = prefix(host, &envelope, trace, key, now, results.as_deref(), &verdict);
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
    drop(share);
    if !receipt.repeated {
        room.stored();
    }
    Ok((receipt, verdict))
}

fn log_stored(
    dialogue: &Dialogue,
    sender: &Sender,
    recipients: &[Recipient],
    receipt: &Receipt,
    verdict: &Verdict,
) {
    let counts = &dialogue.accept.counts;
    let is_new = !receipt.repeated;
    count(if is_new { &counts.accepted } else { &counts.repeated });
    let (counter, done) = match &verdict.action {
        Action::Deliver => (None, "accepted"),
        Action::Tag { .. } => (Some(&counts.tagged), "accepted with a mark"),
        Action::Quarantine { .. } => (Some(&counts.quarantined), "quarantined"),
        Action::Park { .. } => (Some(&counts.parked), "parked"),
    };
    if let Some(counter) = counter.filter(|_| is_new) {
        count(counter);
    }
    let scanners = |answer: &&CheckAnswer| matches!(answer.check, Check::Rspamd | Check::Clamav);
    if verdict.checks.iter().filter(scanners).any(|answer| answer.result == CheckResult::Unanswered) {
        count(&counts.unscanned);
    }
    let done = if is_new { done } else { "accepted before, not stored again" };
    let findings = verdict.findings();
    for recipient in recipients {
        tracing::info!(
            trace = %receipt.trace, door = ?dialogue.door, peer = %dialogue.peer.ip(), from = %sender,
            to = %recipient.address, spf = %verdict.spf, dkim = %verdict.dkim, dmarc = %verdict.dmarc,
            action = verdict.action.name(), rules = verdict.rules, findings, "{done}"
        );
    }
}

/// Whose mail it is: the sender's when a person sends it, else the recipients'.
fn owner(accept: &Accept, dialogue: &mut Dialogue, envelope: &Envelope) -> (Tenant, Option<PrimaryId>) {
    let snapshot = accept.parts.directory.borrow();
    if matches!(envelope.source, Source::Relay | Source::Internal) {
        // Its sender is one of ours; what has none is the mail system's own report.
        let named = envelope.sender.address().and_then(|a| snapshot.domain(a.domain()));
        let behind = || snapshot.domains().find(|d| d.primary.is_some() && d.primary == dialogue.relay);
        if let Some(domain) = named.or_else(behind) {
            return (domain.tenant.clone(), domain.primary.clone());
        }
    }
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
    log_not_taken(dialogue, sender, recipients, reply, None);
}

fn log_not_taken(
    dialogue: &Dialogue,
    sender: &Sender,
    recipients: &[Recipient],
    reply: &Reply,
    why: Option<&(Reason, String)>,
) {
    let reason = why.map_or("-", |(reason, _)| reason.name());
    let findings = why.map_or("-", |(_, findings)| findings.as_str());
    for recipient in recipients {
        tracing::info!(
            door = ?dialogue.door, peer = %dialogue.peer.ip(), from = %sender, to = %recipient.address, %reply,
            reason, findings,
            "not taken"
        );
    }
}
