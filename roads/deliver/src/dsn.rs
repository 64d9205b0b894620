//! Reports to senders (RFC 3464): undelivered, late, relayed. Whether one may be sent at all is decided elsewhere; a
//! report to a forged sender is spam of our own.

use words_mail::{Notify, Recipient, Reply, Ret, Sender, Time, TraceId};
use words_smtp::reply::escape;

/// The most bytes of a message that a report quotes.
const QUOTE_MAX: usize = 64 * 1024;

/// What is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It will not be delivered.
    Failed,
    /// It is late, and still being tried.
    Delayed,
    /// It was handed to a server that gives no reports itself.
    Relayed,
    /// It is in the mailbox.
    Delivered,
}

/// One report, about one recipient.
pub(crate) struct Report<'a> {
    pub(crate) kind: Kind,
    /// Our name.
    pub(crate) node: &'a str,
    pub(crate) now: Time,
    pub(crate) trace: TraceId,
    /// When the message was accepted.
    pub(crate) accepted: Time,
    /// Who sent it, and gets the report.
    pub(crate) to: &'a words_mail::Address,
    pub(crate) recipient: &'a Recipient,
    pub(crate) envid: Option<&'a str>,
    pub(crate) ret: Option<Ret>,
    /// What was said last.
    pub(crate) reply: &'a Reply,
    /// When trying ends, for a delay.
    pub(crate) until: Option<Time>,
    /// The message's own bytes, as many as were read.
    pub(crate) message: &'a [u8],
    /// Whether these are all of them.
    pub(crate) whole: bool,
}

/// Whether the sender wants to hear of it (RFC 3461 §4.1). Without `NOTIFY` failures are reported, and delays may be.
pub(crate) fn is_wanted(kind: Kind, notify: Option<&Notify>) -> bool {
    match (kind, notify) {
        (_, Some(notify)) if notify.never => false,
        (Kind::Failed, notify) => notify.is_none_or(|notify| notify.failure),
        (Kind::Delayed, notify) => notify.is_none_or(|notify| notify.delay),
        (Kind::Relayed | Kind::Delivered, notify) => notify.is_some_and(|notify| notify.success),
    }
}

/// Whether a report may go to this sender: known, and believed when the message came in.
pub(crate) fn addressee(sender: &Sender, may_bounce: bool) -> Option<&words_mail::Address> {
    sender.address().filter(|address| may_bounce && !address.domain().is_empty())
}

/// How many bytes of the message the report will quote.
pub(crate) fn quote_max() -> usize {
    QUOTE_MAX
}

impl Report<'_> {
    /// Whether the report's header needs SMTPUTF8 (RFC 6531).
    pub(crate) fn is_international(&self) -> bool {
        self.to.is_international() || self.recipient.address.is_international()
    }

    /// The whole report. Made only of what is given: handed in twice it is the same message.
    pub(crate) fn compose(&self) -> Vec<u8> {
        let id = format!("{}.{}", self.trace, self.suffix());
        let boundary = format!("=_{id}");
        let mut out = String::new();
        self.header(&mut out, &id, &boundary);
        out.push_str(&format!("--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n"));
        out.push_str("Content-Transfer-Encoding: 8bit\r\n\r\n");
        self.words(&mut out);
        let status = if self.is_international() {
            "message/global-delivery-status"
        } else {
            "message/delivery-status"
        };
        out.push_str(&format!("\r\n--{boundary}\r\nContent-Type: {status}\r\n\r\n"));
        self.status(&mut out);
        let (kind, quote) = self.quote();
        out.push_str(&format!(
            "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        ));
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(&quote);
        bytes.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        bytes
    }

    /// Tells the reports about one message apart.
    fn suffix(&self) -> String {
        let kind = match self.kind {
            Kind::Failed => "failed",
            Kind::Delayed => "delayed",
            Kind::Relayed => "relayed",
            Kind::Delivered => "delivered",
        };
        let key = self.recipient.address.key();
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{kind}.{hash:016x}")
    }

    fn header(&self, out: &mut String, id: &str, boundary: &str) {
        let subject = match self.kind {
            Kind::Failed => "Undelivered mail returned to you",
            Kind::Delayed => "Your mail is late and still being tried",
            Kind::Relayed => "Your mail was handed on",
            Kind::Delivered => "Your mail was delivered",
        };
        let node = self.node;
        for line in [
            format!("From: Mail delivery <postmaster@{node}>"),
            format!("To: <{}>", self.to),
            format!("Subject: {subject}"),
            format!("Date: {}", self.now.rfc5322()),
            format!("Message-ID: <{id}@{node}>"),
            // RFC 3834 §5: nobody's out-of-office answers this.
            "Auto-Submitted: auto-replied".to_owned(),
            "MIME-Version: 1.0".to_owned(),
            format!(
                "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\""
            ),
        ] {
            out.push_str(&line);
            out.push_str("\r\n");
        }
        out.push_str("\r\n");
    }

    fn words(&self, out: &mut String) {
        let who = &self.recipient.address;
        let reply = self.shown_reply();
        let first = match self.kind {
            Kind::Failed => {
                format!("Your message to <{who}> could not be delivered, and will not be tried again.")
            }
            Kind::Delayed => format!(
                "Your message to <{who}> could not be delivered yet. It is safe and still being tried."
            ),
            Kind::Relayed => {
                format!("Your message to <{who}> was handed to a server that sends no further reports.")
            }
            Kind::Delivered => format!("Your message to <{who}> is in the mailbox."),
        };
        out.push_str(&wrap(&first));
        if self.kind != Kind::Delivered {
            out.push_str(&format!("\r\nThe last answer was:\r\n\r\n{}", wrap(&format!("  {reply}"))));
        }
        if let Some(until) = self.until {
            out.push_str(&wrap(&format!("\nTrying ends on {}. You need do nothing.", until.rfc5322())));
        }
        out.push_str(&format!("\r\nIt was accepted on {} as {}.\r\n", self.accepted.rfc5322(), self.trace));
    }

    /// RFC 3464 §2: one block about the message, one about the recipient.
    fn status(&self, out: &mut String) {
        if let Some(envid) = self.envid.map(unxtext) {
            field(out, "Original-Envelope-Id", &envid);
        }
        field(out, "Reporting-MTA", &format!("dns; {}", self.node));
        field(out, "Arrival-Date", &self.accepted.rfc5322());
        out.push_str("\r\n");
        if let Some(orcpt) = self.recipient.orcpt.as_deref().map(unxtext) {
            field(out, "Original-Recipient", &orcpt);
        }
        let kind = if self.recipient.address.is_international() { "utf-8" } else { "rfc822" };
        field(out, "Final-Recipient", &format!("{kind}; {}", self.recipient.address));
        let action = match self.kind {
            Kind::Failed => "failed",
            Kind::Delayed => "delayed",
            Kind::Relayed => "relayed",
            Kind::Delivered => "delivered",
        };
        field(out, "Action", action);
        field(out, "Status", &self.status_code());
        if self.kind != Kind::Delivered {
            field(out, "Diagnostic-Code", &format!("smtp; {}", cut(&self.shown_reply(), 900)));
        }
        field(out, "Last-Attempt-Date", &self.now.rfc5322());
        if let Some(until) = self.until {
            field(out, "Will-Retry-Until", &until.rfc5322());
        }
    }

    fn status_code(&self) -> String {
        // The class says what is reported, whatever the last answer was (an expired message was last told "later").
        let class = match self.kind {
            Kind::Failed => 5,
            Kind::Delayed => 4,
            Kind::Relayed | Kind::Delivered => 2,
        };
        let (_, subject, detail) = self.reply.enhanced.unwrap_or((0, 0, 0));
        format!("{class}.{subject}.{detail}")
    }

    fn shown_reply(&self) -> String {
        escape(self.reply.to_string().as_bytes())
    }

    /// The header, or with `RET=FULL` the whole message if it is small (RFC 3461 §4.3).
    fn quote(&self) -> (&'static str, Vec<u8>) {
        let end = header_end(self.message);
        let full = self.kind == Kind::Failed && self.ret == Some(Ret::Full) && self.whole;
        let global = self.is_international();
        match (full, global) {
            (true, false) => ("message/rfc822", self.message.to_vec()),
            (true, true) => ("message/global", self.message.to_vec()),
            (false, false) => ("text/rfc822-headers", self.message[..end].to_vec()),
            (false, true) => ("message/global-headers", self.message[..end].to_vec()),
        }
    }
}

fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(&format!("{name}: {value}\r\n"));
}

/// Where the header ends; a header that was cut off ends with its last whole line.
fn header_end(message: &[u8]) -> usize {
    match message.windows(4).position(|w| w == b"\r\n\r\n") {
        Some(at) => at + 2,
        None => message.windows(2).rposition(|w| w == b"\r\n").map_or(0, |at| at + 2),
    }
}

/// Text as it was before xtext (RFC 3461 §4), made safe for a header field.
fn unxtext(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'+')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        match hex {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    cut(&escape(&out), 500).to_owned()
}

fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Lines of at most 76 characters, each ended by CRLF; a word that is longer is cut (RFC 5322 §2.1.1).
fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut len = 0;
    let text = text.replace('\n', "\r\n");
    let indent: String = text.chars().take_while(|c| *c == ' ').collect();
    for word in text.split(' ') {
        let word = cut(word, 900);
        let width = word.chars().count();
        if len > 0 && len + 1 + width > 76 {
            out.push_str("\r\n");
            out.push_str(&indent);
            len = indent.len();
        } else if len > 0 || out.is_empty() && !indent.is_empty() {
            out.push(' ');
            len += 1;
        }
        out.push_str(word);
        len += width;
    }
    out.push_str("\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use words_mail::Address;

    const MESSAGE: &[u8] = b"From: a@sender.example\r\nSubject: hello\r\n\r\nThe body.\r\n";

    fn report<'a>(to: &'a Address, recipient: &'a Recipient, reply: &'a Reply) -> Report<'a> {
        Report {
            kind: Kind::Failed,
            node: "edge.example",
            now: Time::from_seconds(1_800_000_000),
            trace: TraceId::new(Time::from_seconds(1_799_999_000), [7; 10]),
            accepted: Time::from_seconds(1_799_999_000),
            to,
            recipient,
            envid: Some("a+2Bb"),
            ret: None,
            reply,
            until: None,
            message: MESSAGE,
            whole: true,
        }
    }

    #[test]
    fn a_report_says_what_happened_to_whom_in_both_languages() {
        let to = Address::parse("a@sender.example").unwrap();
        let mut recipient = Recipient::new(Address::parse("b@x.example").unwrap());
        recipient.orcpt = Some("rfc822;alias+2Bx@x.example".into());
        let reply = Reply::new(550, (5, 1, 1), "no such user");
        let mut report = report(&to, &recipient, &reply);
        let text = String::from_utf8(report.compose()).unwrap();
        for expected in [
            "From: Mail delivery <postmaster@edge.example>\r\n",
            "To: <a@sender.example>\r\n",
            "Auto-Submitted: auto-replied\r\n",
            "report-type=delivery-status",
            "Your message to <b@x.example> could not be delivered",
            "Reporting-MTA: dns; edge.example\r\n",
            "Original-Envelope-Id: a+b\r\n",
            "\r\n\r\nOriginal-Recipient: rfc822;alias+x@x.example\r\nFinal-Recipient: rfc822; b@x.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
            "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n",
            "text/rfc822-headers",
            "Subject: hello\r\n\r\n--",
        ] {
            assert!(text.contains(expected), "{expected:?} is missing in\n{text}");
        }
        assert!(!text.contains("The body."), "only the header is quoted unless RET=FULL");
        assert_eq!(report.compose(), text.as_bytes(), "made again it is the same message");
        report.ret = Some(Ret::Full);
        assert!(String::from_utf8(report.compose()).unwrap().contains("The body."));
        report.whole = false;
        assert!(!String::from_utf8(report.compose()).unwrap().contains("The body."));
        report.kind = Kind::Delayed;
        report.until = Some(Time::from_seconds(1_800_300_000));
        let late = String::from_utf8(report.compose()).unwrap();
        assert!(
            late.contains("Action: delayed\r\nStatus: 4.1.1\r\n") && late.contains("Will-Retry-Until:"),
            "{late}"
        );
    }

    #[test]
    fn only_who_wants_to_hear_and_is_believed_is_told() {
        let notify = |text: &str| Notify {
            never: text == "never",
            success: text.contains("success"),
            failure: text.contains("failure"),
            delay: text.contains("delay"),
        };
        for (kind, notified, wanted) in [
            (Kind::Failed, None, true),
            (Kind::Failed, Some(notify("never")), false),
            (Kind::Failed, Some(notify("success")), false),
            (Kind::Failed, Some(notify("failure")), true),
            (Kind::Delayed, None, true),
            (Kind::Delayed, Some(notify("failure")), false),
            (Kind::Relayed, None, false),
            (Kind::Relayed, Some(notify("success")), true),
        ] {
            assert_eq!(is_wanted(kind, notified.as_ref()), wanted, "{kind:?} {notified:?}");
        }
        let sender = Sender(Some(Address::parse("a@b.example").unwrap()));
        assert!(addressee(&sender, true).is_some());
        assert!(addressee(&sender, false).is_none());
        assert!(addressee(&Sender::NOBODY, true).is_none());
    }

    proptest! {
        /// Whatever a server, a sender or a client said, it makes no header line, no part and no long line.
        #[test]
        fn nothing_from_outside_breaks_out_of_its_place(
            words in "\\PC{0,40}|[\\r\\n\\t a-z:-]{0,200}",
            orcpt in "[!-~]{0,40}",
            envid in "(\\+0[AD]|[a-z]){0,20}",
            message in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let to = Address::parse("a@sender.example").unwrap();
            let mut recipient = Recipient::new(Address::parse("b@x.example").unwrap());
            recipient.orcpt = Some(orcpt);
            let reply = Reply { code: 550, enhanced: None, text: words };
            let mut report = report(&to, &recipient, &reply);
            report.message = &[];
            report.envid = Some(&envid);
            let text = String::from_utf8(report.compose()).unwrap();
            let without = text.replace("\r\n", "");
            prop_assert!(!without.contains('\r') && !without.contains('\n'));
            let header = &text[..text.find("\r\n\r\n").unwrap()];
            prop_assert_eq!(header.matches("\r\n").count(), 8);
            prop_assert_eq!(text.matches("\r\n--=_").count(), 4);
            prop_assert!(text.lines().all(|line| line.len() <= 998), "{}", text);
            report.message = &message;
            report.compose();
        }
    }
}
