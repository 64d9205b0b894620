//! What is known of a message, and what the rules say about it.

use crate::authentication::{Asked as Question, Findings};
use crate::dialogue::Dialogue;
use crate::door::Accept;
use crate::header::HeaderFacts;
use crate::incoming::{Arrived, Share};
use crate::scanners::{Pieces, Subject, look_at_parts};
use rules_policy::{Asked, Attachments, Author, Facts, Judgement, Listing, Rate, Refusal, Spam, judge};
use stores_journal::IncomingBody;
use tokio::time::timeout;
use words_mail::{Action, Address, Envelope, Reason, Reply, Source, TraceId, Verdict, findings};

/// Why a message is not taken.
pub(crate) struct NotTaken {
    pub(crate) reply: Reply,
    /// The name of the reason and what each check found, where the rules decided.
    pub(crate) why: Option<(Reason, String)>,
}

impl From<Reply> for NotTaken {
    fn from(reply: Reply) -> NotTaken {
        NotTaken { reply, why: None }
    }
}

impl From<Refusal> for NotTaken {
    fn from(refusal: Refusal) -> NotTaken {
        NotTaken { why: Some((refusal.reason, findings(&refusal.checks))), reply: refusal.reply }
    }
}

/// A message that was judged and is to be taken.
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) body: IncomingBody,
    /// The `Authentication-Results:` value behind our name.
    pub(crate) results: Option<String>,
    /// What it takes of the memory for messages, given back when it is stored.
    pub(crate) share: Share,
}

/// Everything that was found out so far.
struct Known<'a> {
    source: Source,
    header: &'a HeaderFacts,
    returned: bool,
    author: Author,
    found: &'a Findings,
    size: u64,
    size_max: Option<u64>,
    rate: Rate,
    attachments: Option<Attachments>,
    dnsbl: Asked<Option<Listing>>,
    rspamd: Asked<Spam>,
    clamav: Asked<Option<String>>,
}

impl Known<'_> {
    fn judge(&self, accept: &Accept, envelope: &Envelope) -> Judgement {
        let facts = Facts {
            source: self.source,
            sender: &envelope.sender,
            hops: self.header.hops,
            returned: self.returned,
            author: self.author,
            spf: self.found.spf,
            dkim: self.found.dkim,
            dkim_domains: &self.found.dkim_domains,
            dmarc: self.found.dmarc,
            dmarc_asks: self.found.dmarc_asks,
            arc: self.found.arc,
            arc_vouchers: &self.found.arc_vouchers,
            size: self.size,
            size_max: self.size_max,
            rate: self.rate,
            attachments: self.attachments.as_ref(),
            dnsbl: &self.dnsbl,
            rspamd: &self.rspamd,
            clamav: &self.clamav,
        };
        judge(&facts, &accept.parts.policy)
    }
}

/// Judges a message: first by what costs nothing, then, when that has not decided, by those who must be asked.
pub(crate) async fn judged(
    dialogue: &Dialogue,
    envelope: &Envelope,
    size_max: Option<u64>,
    trace: TraceId,
    arrived: Arrived,
) -> Result<Judged, NotTaken> {
    let accept = &*dialogue.accept;
    let Arrived { facts: header, header: header_text, digests, body, share } = arrived;
    let findings = match &accept.parts.authentication {
        Some(authentication) if envelope.source == Source::Edge => {
            let question = Question {
                ip: envelope.peer.ip,
                helo: &envelope.peer.helo,
                sender: &envelope.sender,
                header: &header_text,
                digests,
            };
            Some(authenticate(accept, &**authentication, question).await)
        }
        _ => None,
    };
    let nothing = Findings::default();
    let source = envelope.source;
    let (dnsbl, rspamd, clamav) = accept.scanners.unasked(source);
    let mut known = Known {
        source,
        returned: accept.returned.knows(&header.tags, source, &envelope.recipients),
        author: match &envelope.peer.account {
            Some(account) if source == Source::Submission => {
                let snapshot = accept.parts.directory.borrow();
                author(&header, |address| snapshot.may_send_as(account, address))
            }
            _ if source == Source::Internal => {
                let devices = accept.parts.devices.as_ref();
                author(&header, |address| devices.is_some_and(|devices| devices.may_send_as(address)))
            }
            _ => Author::NotAsked,
        },
        header: &header,
        found: findings.as_ref().unwrap_or(&nothing),
        size: body.len(),
        size_max,
        rate: rate(dialogue, envelope),
        attachments: None,
        dnsbl: Asked::Not(dnsbl),
        rspamd: Asked::Not(rspamd),
        clamav: Asked::Not(clamav),
    };
    if source != Source::Own && !accept.parts.policy.attachments.unwanted.is_empty() {
        let looked = Pieces::of(&accept.parts.journal, &body).and_then(look_at_parts);
        known.attachments = Some(looked.map_err(|error| {
            tracing::error!(%error, "a message that came in cannot be read back");
            Reply::new(451, (4, 3, 0), "the message could not be looked at; nothing was stored; try again")
        })?);
    }
    let subject =
        Subject { envelope, trace, host: &accept.parts.host, journal: &accept.parts.journal, body: &body };
    let mut judgement = known.judge(accept, envelope);
    if is_open(&judgement) && dnsbl == Reason::Decided {
        known.dnsbl = accept.scanners.listed(envelope.peer.ip).await;
        judgement = known.judge(accept, envelope);
    }
    if is_open(&judgement) && (rspamd == Reason::Decided || clamav == Reason::Decided) {
        (known.rspamd, known.clamav) =
            tokio::join!(accept.scanners.spam(&subject), accept.scanners.virus(&subject));
        judgement = known.judge(accept, envelope);
    }
    match judgement {
        Judgement::Accept(verdict) => {
            Ok(Judged { verdict, body, results: findings.map(|f| f.results), share })
        }
        Judgement::Refuse(refusal) => Err(refusal.into()),
    }
}

fn rate(dialogue: &Dialogue, envelope: &Envelope) -> Rate {
    let accept = &dialogue.accept;
    let limits = &accept.parts.limits;
    if let (Some(account), Source::Submission) = (&envelope.peer.account, envelope.source) {
        let most = limits.recipients_per_account_hour;
        let sent = accept.senders.count(account, envelope.recipients.len(), most);
        return Rate::Account { sent, most };
    }
    match dialogue.seat.sent() {
        Some(sent) => Rate::Address { sent, most: accept.messages_per_minute(dialogue.door) },
        None => Rate::Uncounted,
    }
}

/// Whether asking further could still change what becomes of it.
fn is_open(judgement: &Judgement) -> bool {
    match judgement {
        Judgement::Accept(verdict) => !matches!(verdict.action, Action::Park { .. }),
        Judgement::Refuse(_) => false,
    }
}

async fn authenticate(
    accept: &Accept,
    authentication: &dyn crate::Authentication,
    question: Question<'_>,
) -> Findings {
    let Some(wait) = accept.patience.wait() else { return Findings::out_of_time() };
    match timeout(accept.parts.limits.authentication_time, authentication.judge(question)).await {
        Ok(findings) => {
            wait.answered();
            findings
        }
        Err(_) => Findings::out_of_time(),
    }
}

/// Whether the `From:` field names nobody but the one who sends it.
fn author(header: &HeaderFacts, is_own: impl Fn(&Address) -> bool) -> Author {
    match header.from_fields {
        0 => Author::Missing,
        1 if header.authors.is_empty() || header.authors.contains(&None) => Author::Missing,
        1 if header.authors.iter().flatten().all(is_own) => Author::Own,
        1 => Author::Foreign,
        _ => Author::Several,
    }
}
