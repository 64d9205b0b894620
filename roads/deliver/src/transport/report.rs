//! Reports about how encryption went: made, and sent by mail or over the web (RFC 8460 §5).

use crate::sign::Signer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use rules_transport::{Header, Receiver, Tally, report};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;
use stores_primary::internet::{Internet, NoWay, route};
use stores_primary::smtp::{Fate, Hop, Session, Transaction};
use stores_primary::web::Web;
use words_mail::{Address, Recipient, Sender, Time};
use words_smtp::client::MailParameters;
use words_world::{Url, World};

/// How reports are sent.
#[derive(Clone, Debug)]
pub struct ReportOptions {
    /// Who sends them, and can be asked about them; of a domain whose mail is signed (RFC 8460 §5.3).
    pub from: Address,
    /// The organisation.
    pub organization: String,
    /// What one report is about: a day.
    pub period: Duration,
}

impl ReportOptions {
    /// How often something is looked for that has to be done.
    pub(super) fn tick(&self) -> Duration {
        (self.period / 10).min(super::counts::TICK)
    }
}

/// A report.
pub(super) struct Made {
    pub(super) id: String,
    domain: String,
    file: String,
    gzip: Vec<u8>,
    at: Time,
}

/// The report about one domain, when something was counted.
pub(super) fn make(
    options: &ReportOptions,
    tally: &Tally,
    domain: &str,
    (start, end): (Time, Time),
) -> Option<Made> {
    let us = options.from.domain();
    let seconds = |time: Time| time.0.div_euclid(1_000_000);
    // The last second of the period is its own; its end is the next one's beginning.
    let last = seconds(end) - 1;
    let id = format!("{}-{domain}@{us}", seconds(start));
    let contact = options.from.to_string();
    let header = Header {
        organization: &options.organization,
        contact: &contact,
        id: &id,
        start,
        end: Time::from_seconds(last),
    };
    let json = report(tally, domain, &header)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(json.to_string().as_bytes()).ok()?;
    let gzip = gzip.finish().ok()?;
    // RFC 8460 §5.1: who, about whom, from, to.
    let file = format!("{us}!{domain}!{}!{last}.json.gz", seconds(start));
    Some(Made { id, domain: domain.to_owned(), file, gzip, at: end })
}

/// By what reports go.
pub(super) struct Way<'a> {
    pub(super) world: &'a World,
    pub(super) web: &'a Web,
    pub(super) internet: &'a Internet,
    pub(super) signer: &'a Signer,
}

impl Way<'_> {
    pub(super) async fn send(
        &self,
        options: &ReportOptions,
        made: &Made,
        to: &Receiver,
    ) -> Result<(), String> {
        match to {
            Receiver::Mail(to) => self.mail(options, made, to).await,
            Receiver::Web(text) => {
                let url = Url::parse(text).map_err(str::to_owned)?;
                let status = self.web.post(&url, "application/tlsrpt+gzip", &made.gzip).await;
                match status.map_err(|e| e.to_string())? {
                    200..=299 => Ok(()),
                    status => Err(format!("{}: status {status}", url.host)),
                }
            }
        }
    }

    async fn mail(&self, options: &ReportOptions, made: &Made, to: &Address) -> Result<(), String> {
        let plain = message(options, made, to);
        let signature =
            self.signer.sign(options.from.domain(), plain.as_bytes()).map_err(|e| e.to_string())?;
        if signature.is_empty() {
            return Err(format!("no key signs for {}", options.from.domain()));
        }
        let message = signature + &plain;
        let hops = route(self.world, self.internet, to.domain()).await.map_err(|no_way| match no_way {
            NoWay::Later(why) => why,
            NoWay::Never(reply) => reply.to_string(),
        })?;
        let mut last = "there is no server to try".to_owned();
        for hop in hops {
            match self.try_hop(&hop, &options.from, to, message.as_bytes()).await {
                Ok(()) => return Ok(()),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    async fn try_hop(&self, hop: &Hop, from: &Address, to: &Address, message: &[u8]) -> Result<(), String> {
        let mut session = Session::open(self.world, hop).await.map_err(|e| e.to_string())?;
        let transaction = Transaction {
            sender: Sender(Some(from.clone())),
            recipients: vec![Recipient::new(to.clone())],
            with: MailParameters { size: Some(message.len() as u64), ..MailParameters::default() },
            client: None,
        };
        let begun = session.begin(&transaction).await.map_err(|e| e.to_string())?;
        if let Some(refusal) = begun.refused.first() {
            return Err(refusal.reply.to_string());
        }
        session.data(message).await.map_err(|e| e.to_string())?;
        let fates = session.finish().await.map_err(|e| e.to_string())?;
        session.quit().await;
        match fates.into_iter().next() {
            Some((_, Fate::Answered(reply))) if reply.is_yes() => Ok(()),
            Some((_, Fate::Answered(reply))) => Err(reply.to_string()),
            // A report twice has the same id.
            Some((_, Fate::Unknown(why))) => Err(why),
            None => Err("no answer".to_owned()),
        }
    }
}

/// Bytes in a base64 line (RFC 2045 §6.8).
const LINE: usize = 57;

/// RFC 8460 §5.3.
fn message(options: &ReportOptions, made: &Made, to: &Address) -> String {
    let Made { id, domain, file, gzip, at } = made;
    let us = options.from.domain();
    let boundary = format!("report-{}", fingerprint(id));
    let mut out = String::new();
    for line in [
        format!("From: <{}>", options.from),
        format!("To: <{to}>"),
        format!("Date: {}", at.rfc5322()),
        format!("Message-ID: <tls-report.{boundary}@{us}>"),
        format!("Subject: Report Domain: {domain}"),
        format!(" Submitter: {us}"),
        format!(" Report-ID: <{id}>"),
        format!("TLS-Report-Domain: {domain}"),
        format!("TLS-Report-Submitter: {us}"),
        // RFC 8689 §5: it is to arrive whatever the encryption is like.
        "TLS-Required: No".to_owned(),
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: multipart/report; report-type=\"tlsrpt\";".to_owned(),
        format!(" boundary=\"{boundary}\""),
        String::new(),
        format!("--{boundary}"),
        "Content-Type: text/plain; charset=us-ascii".to_owned(),
        String::new(),
        format!("This is a report about encryption of mail to {domain} (RFC 8460), sent by {us}."),
        String::new(),
        format!("--{boundary}"),
        "Content-Type: application/tlsrpt+gzip".to_owned(),
        "Content-Transfer-Encoding: base64".to_owned(),
        "Content-Disposition: attachment;".to_owned(),
        format!(" filename=\"{file}\""),
        String::new(),
    ] {
        let _ = write!(out, "{line}\r\n");
    }
    for line in gzip.chunks(LINE) {
        let _ = write!(out, "{}\r\n", STANDARD.encode(line));
    }
    let _ = write!(out, "--{boundary}--\r\n");
    out
}

/// A text that is the same for the same report and stands in no part of it.
fn fingerprint(id: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    digest.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use rules_transport::Applied;
    use std::io::Read;

    #[test]
    fn a_report_is_a_message_that_carries_its_counts() {
        let options = ReportOptions {
            from: Address::parse("tls@us.example").unwrap(),
            organization: "Us".into(),
            period: Duration::from_secs(86_400),
        };
        let mut tally = Tally::default();
        tally.count("a.example", &Applied::default(), Ok(()));
        let bounds = (Time::from_seconds(86_400), Time::from_seconds(2 * 86_400));
        let made = make(&options, &tally, "a.example", bounds).unwrap();
        assert_eq!(made.file, "us.example!a.example!86400!172799.json.gz");
        assert!(make(&options, &tally, "b.example", bounds).is_none());
        let text = message(&options, &made, &Address::parse("rua@a.example").unwrap());
        assert!(text.lines().all(|line| line.len() < 200) && !text.replace("\r\n", "").contains('\n'));
        let (_, part) =
            text.split_once("filename=\"us.example!a.example!86400!172799.json.gz\"\r\n\r\n").unwrap();
        let (body, _) = part.split_once("\r\n--report-").unwrap();
        let gzip = STANDARD.decode(body.replace("\r\n", "")).unwrap();
        let mut json = String::new();
        GzDecoder::new(&gzip[..]).read_to_string(&mut json).unwrap();
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["organization-name"], "Us");
        assert_eq!(read["policies"][0]["summary"]["total-successful-session-count"], 1);
    }
}
