//! What a server answers (RFC 3501 §7).

use crate::command::{SearchReturn, Section, StatusItem};
use crate::structure::{BodyStructure, Envelope};
use crate::thread::Threads;
use crate::{Code, Fault, Flag, Ranges, Status, encode_utf7, format_date_time};
use std::fmt::Display;
use std::io::Write;
use words_mail::Time;

/// Longer strings are written as literals: RFC 3501 sets no limit, but clients have line buffers.
const QUOTED_MAX: usize = 1_024;

/// Writes a string the shortest legal way: quoted, or as a literal when it has bytes that no quoting allows. Zero
/// bytes, which no string may hold, are left out.
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() <= QUOTED_MAX && text.iter().all(|b| (0x20..0x7f).contains(b)) {
        out.push(b'"');
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
    } else {
        let len = text.iter().filter(|b| **b != 0).count();
        out.extend_from_slice(format!("{{{len}}}\r\n").as_bytes());
        out.extend(text.iter().filter(|b| **b != 0));
    }
}

/// NIL or a string.
pub(crate) fn nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        None => out.extend_from_slice(b"NIL"),
        Some(text) => string(out, text),
    }
}

/// Text that people may read: one line of ASCII (RFC 3501 §9 `text`). Never empty, which the grammar forbids.
fn human(out: &mut Vec<u8>, text: &str) {
    if text.is_empty() {
        return out.push(b'-');
    }
    out.extend(text.chars().map(|c| if matches!(c, ' '..='~') { c as u8 } else { b'?' }));
}

/// LIST or LSUB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// LIST
    List,
    /// LSUB
    Lsub,
}

/// The answer to a SEARCH with RETURN (RFC 4731). Only what is set is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchResult {
    /// The lowest.
    pub min: Option<u32>,
    /// The highest.
    pub max: Option<u32>,
    /// All.
    pub all: Option<Ranges>,
    /// How many.
    pub count: Option<u64>,
    /// The highest MODSEQ among them, when the search asked for MODSEQ.
    pub modseq: Option<u64>,
}

impl SearchResult {
    /// The answer when `found`, ascending, was found.
    pub fn of(wanted: SearchReturn, found: &Ranges) -> SearchResult {
        let some = !found.is_empty();
        SearchResult {
            min: found.ranges().first().map(|(n, _)| *n).filter(|_| wanted.min),
            max: found.ranges().last().map(|(_, n)| *n).filter(|_| wanted.max),
            all: (wanted.all && some).then(|| found.clone()),
            count: wanted.count.then(|| found.len()),
            modseq: None,
        }
    }
}

/// Collects responses as bytes; [`ResponseWriter::take`] them as often as they should go out.
#[derive(Debug, Default)]
pub struct ResponseWriter {
    out: Vec<u8>,
    /// Mailbox names are written as UTF-8 (RFC 6855).
    utf8: bool,
    /// An item of the present FETCH has been written.
    within: bool,
}

impl ResponseWriter {
    /// An empty writer.
    pub fn new() -> ResponseWriter {
        ResponseWriter::default()
    }

    /// Mailbox names are UTF-8 from now on (`ENABLE UTF8=ACCEPT`).
    pub fn set_utf8(&mut self, utf8: bool) {
        self.utf8 = utf8;
    }

    /// Takes what was written so far; also in the middle of a FETCH.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// What was written and not taken.
    pub fn as_bytes(&self) -> &[u8] {
        &self.out
    }

    /// Bytes written and not taken.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Forgets what was written, keeping the memory for the next.
    pub fn clear(&mut self) {
        self.out.clear();
    }

    fn put(&mut self, text: impl Display) {
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "{text}");
    }

    fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn status_line(&mut self, tag: &str, status: Status, code: Option<&Code>, text: &str) {
        self.put(format_args!("{tag} {status} "));
        if let Some(code) = code {
            self.out.push(b'[');
            // `]` would end the code early, and no code of the RFCs has one.
            let code: String = code.to_string().chars().map(|c| if c == ']' { '?' } else { c }).collect();
            human(&mut self.out, &code);
            self.out.extend_from_slice(b"] ");
        }
        human(&mut self.out, text);
        self.end();
    }

    /// The answer that ends a command.
    pub fn tagged(&mut self, tag: &str, status: Status, code: Option<&Code>, text: &str) {
        self.status_line(tag, status, code, text);
    }

    /// `tag OK text`
    pub fn ok(&mut self, tag: &str, text: &str) {
        self.status_line(tag, Status::Ok, None, text);
    }

    /// `tag NO [code] text`
    pub fn no(&mut self, tag: &str, code: Option<&Code>, text: &str) {
        self.status_line(tag, Status::No, code, text);
    }

    /// `tag BAD text`
    pub fn bad(&mut self, tag: &str, text: &str) {
        self.status_line(tag, Status::Bad, None, text);
    }

    /// `* OK [code] text` and its like; the greeting too.
    pub fn untagged(&mut self, status: Status, code: Option<&Code>, text: &str) {
        self.status_line("*", status, code, text);
    }

    /// The answer to what could not be obeyed.
    pub fn fault(&mut self, fault: &Fault) {
        let tag = fault.tag.as_deref().unwrap_or("*");
        self.status_line(tag, fault.status, fault.code.as_ref(), fault.text);
    }

    /// `+ text`: go on.
    pub fn continuation(&mut self, text: &str) {
        self.out.extend_from_slice(b"+ ");
        // An AUTHENTICATE challenge may be empty, so nothing is put in its place.
        if !text.is_empty() {
            human(&mut self.out, text);
        }
        self.end();
    }

    fn words<T: Display>(&mut self, name: &str, words: impl IntoIterator<Item = T>) {
        self.put(format_args!("* {name}"));
        for word in words {
            self.put(format_args!(" {word}"));
        }
        self.end();
    }

    /// `* CAPABILITY ...`
    pub fn capability(&mut self, words: &[&str]) {
        self.words("CAPABILITY", words);
    }

    /// `* ENABLED ...`
    pub fn enabled(&mut self, words: &[&str]) {
        self.words("ENABLED", words);
    }

    /// `* n EXISTS`
    pub fn exists(&mut self, count: u32) {
        self.put(format_args!("* {count} EXISTS\r\n"));
    }

    /// `* n RECENT`
    pub fn recent(&mut self, count: u32) {
        self.put(format_args!("* {count} RECENT\r\n"));
    }

    /// `* n EXPUNGE`, a message number.
    pub fn expunge(&mut self, number: u32) {
        self.put(format_args!("* {number} EXPUNGE\r\n"));
    }

    /// `* VANISHED`, UIDs (RFC 7162 §3.2.10).
    pub fn vanished(&mut self, earlier: bool, uids: &Ranges) {
        if !uids.is_empty() {
            let earlier = if earlier { "(EARLIER) " } else { "" };
            self.put(format_args!("* VANISHED {earlier}{uids}\r\n"));
        }
    }

    /// `* FLAGS (...)`
    pub fn flags(&mut self, flags: &[Flag]) {
        self.out.extend_from_slice(b"* FLAGS ");
        self.flag_list(flags);
        self.end();
    }

    fn flag_list(&mut self, flags: &[Flag]) {
        self.parenthesised(flags);
    }

    fn parenthesised<T: Display>(&mut self, words: impl IntoIterator<Item = T>) {
        self.out.push(b'(');
        for (at, word) in words.into_iter().enumerate() {
            self.put(format_args!("{}{word}", if at == 0 { "" } else { " " }));
        }
        self.out.push(b')');
    }

    /// A mailbox name, always quoted.
    fn mailbox(&mut self, name: &str) {
        if self.utf8 && !name.contains(['\r', '\n', '\0']) {
            self.put(format_args!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")));
        } else {
            string(&mut self.out, encode_utf7(name).as_bytes());
        }
    }

    /// `* LIST (attributes) "/" name`. `child_info` tells by which selections a child was found (RFC 5258 §3.5); it is
    /// written as `("CHILDINFO" ("SUBSCRIBED"))`.
    pub fn list(
        &mut self,
        kind: ListKind,
        attributes: &[&str],
        separator: Option<char>,
        name: &str,
        child_info: &[&str],
    ) {
        self.out.extend_from_slice(if kind == ListKind::List { b"* LIST " } else { b"* LSUB " });
        self.parenthesised(attributes);
        match separator {
            Some(separator) => self.put(format_args!(
                " \"{}{separator}\" ",
                if matches!(separator, '"' | '\\') { "\\" } else { "" }
            )),
            None => self.out.extend_from_slice(b" NIL "),
        }
        self.mailbox(name);
        if !child_info.is_empty() {
            self.out.extend_from_slice(b" (\"CHILDINFO\" ");
            self.parenthesised(child_info.iter().map(|selection| format!("\"{selection}\"")));
            self.out.push(b')');
        }
        self.end();
    }

    /// `* STATUS name (...)`. The MAILBOXID goes in `id`.
    pub fn status(&mut self, name: &str, items: &[(StatusItem, u64)], id: Option<&str>) {
        self.out.extend_from_slice(b"* STATUS ");
        self.mailbox(name);
        self.out.push(b' ');
        let id = id.map(|id| format!("MAILBOXID ({id})"));
        let items = items.iter().map(|(item, n)| format!("{} {n}", item.as_str()));
        self.parenthesised(items.chain(id));
        self.end();
    }

    /// `* NAMESPACE ((prefix separator)) NIL NIL`: one personal namespace.
    pub fn namespace(&mut self, prefix: &str, separator: char) {
        self.out.extend_from_slice(b"* NAMESPACE ((");
        self.mailbox(prefix);
        self.put(format_args!(" \"{separator}\")) NIL NIL\r\n"));
    }

    /// `* ID (...)`
    pub fn id(&mut self, fields: &[(&str, &str)]) {
        self.out.extend_from_slice(b"* ID (");
        for (at, (name, value)) in fields.iter().enumerate() {
            if at > 0 {
                self.out.push(b' ');
            }
            string(&mut self.out, name.as_bytes());
            self.out.push(b' ');
            string(&mut self.out, value.as_bytes());
        }
        self.out.extend_from_slice(b")\r\n");
    }

    /// `* SEARCH ...`, with the highest MODSEQ among what was found when the search asked for MODSEQ.
    pub fn search(&mut self, found: impl IntoIterator<Item = u32>, modseq: Option<u64>) {
        self.found("SEARCH", found, modseq);
    }

    /// `* SORT ...` (RFC 5256 §4), in the order given; with a MODSEQ as [`ResponseWriter::search`].
    pub fn sort(&mut self, found: impl IntoIterator<Item = u32>, modseq: Option<u64>) {
        self.found("SORT", found, modseq);
    }

    fn found(&mut self, name: &str, found: impl IntoIterator<Item = u32>, modseq: Option<u64>) {
        self.put(format_args!("* {name}"));
        let mut some = false;
        for number in found {
            some = true;
            self.put(format_args!(" {number}"));
        }
        if let (Some(modseq), true) = (modseq, some) {
            self.put(format_args!(" (MODSEQ {modseq})"));
        }
        self.end();
    }

    /// `* THREAD ...` (RFC 5256 §4).
    pub fn thread(&mut self, threads: &Threads) {
        self.out.extend_from_slice(b"* THREAD");
        if !threads.is_empty() {
            self.out.push(b' ');
            threads.write(&mut self.out);
        }
        self.end();
    }

    /// `* QUOTAROOT name root`: the quota roots of a mailbox (RFC 9208 §5.2).
    pub fn quota_root(&mut self, mailbox: &str, roots: &[&str]) {
        self.out.extend_from_slice(b"* QUOTAROOT ");
        self.mailbox(mailbox);
        for root in roots {
            self.out.push(b' ');
            string(&mut self.out, root.as_bytes());
        }
        self.end();
    }

    /// `* QUOTA root (name usage limit ...)` (RFC 9208 §5.1): only what has a limit stands there.
    pub fn quota(&mut self, root: &str, resources: &[(&str, u64, u64)]) {
        self.out.extend_from_slice(b"* QUOTA ");
        string(&mut self.out, root.as_bytes());
        self.out.push(b' ');
        self.parenthesised(resources.iter().map(|(name, usage, limit)| format!("{name} {usage} {limit}")));
        self.end();
    }

    /// `* ESEARCH (TAG "tag") UID ...`
    pub fn esearch(&mut self, tag: &str, uid: bool, result: &SearchResult) {
        self.out.extend_from_slice(b"* ESEARCH (TAG ");
        string(&mut self.out, tag.as_bytes());
        self.out.push(b')');
        self.out.extend_from_slice(if uid { b" UID" } else { b"" });
        let number = |n: Option<u64>| n.map(|n| n.to_string());
        for (name, value) in [
            ("MIN", number(result.min.map(u64::from))),
            ("MAX", number(result.max.map(u64::from))),
            ("ALL", result.all.as_ref().filter(|a| !a.is_empty()).map(Ranges::to_string)),
            ("COUNT", number(result.count)),
            ("MODSEQ", number(result.modseq)),
        ] {
            if let Some(value) = value {
                self.put(format_args!(" {name} {value}"));
            }
        }
        self.end();
    }

    /// Opens `* n FETCH (`; items follow, then [`ResponseWriter::fetch_end`].
    pub fn fetch_begin(&mut self, number: u32) {
        self.put(format_args!("* {number} FETCH ("));
        self.within = false;
    }

    /// Closes a FETCH.
    pub fn fetch_end(&mut self) {
        self.out.extend_from_slice(b")\r\n");
    }

    fn item(&mut self, label: impl Display) {
        let gap = if self.within { " " } else { "" };
        self.put(format_args!("{gap}{label} "));
        self.within = true;
    }

    /// `UID n`
    pub fn fetch_uid(&mut self, uid: u32) {
        self.item("UID");
        self.put(uid);
    }

    /// `FLAGS (...)`
    pub fn fetch_flags(&mut self, flags: &[Flag]) {
        self.item("FLAGS");
        self.flag_list(flags);
    }

    /// `INTERNALDATE "..."`
    pub fn fetch_internal_date(&mut self, time: Time) {
        self.item("INTERNALDATE");
        self.put(format_args!("\"{}\"", format_date_time(time)));
    }

    /// `RFC822.SIZE n`
    pub fn fetch_size(&mut self, size: u64) {
        self.item("RFC822.SIZE");
        self.put(size);
    }

    /// `MODSEQ (n)`
    pub fn fetch_modseq(&mut self, modseq: u64) {
        self.item("MODSEQ");
        self.put(format_args!("({modseq})"));
    }

    /// `EMAILID (id)`
    pub fn fetch_email_id(&mut self, id: &str) {
        self.item("EMAILID");
        self.put(format_args!("({id})"));
    }

    /// `THREADID (id)` or NIL.
    pub fn fetch_thread_id(&mut self, id: Option<&str>) {
        self.item("THREADID");
        match id {
            Some(id) => self.put(format_args!("({id})")),
            None => self.out.extend_from_slice(b"NIL"),
        }
    }

    /// `ENVELOPE (...)`
    pub fn fetch_envelope(&mut self, envelope: &Envelope) {
        self.item("ENVELOPE");
        envelope.write(&mut self.out);
    }

    /// `BODYSTRUCTURE (...)`, or `BODY (...)` without the extension fields.
    pub fn fetch_structure(&mut self, body: &BodyStructure, extended: bool) {
        self.item(if extended { "BODYSTRUCTURE" } else { "BODY" });
        body.write(&mut self.out, extended);
    }

    /// A section that is short enough to be held; `None` is NIL.
    pub fn fetch_section(&mut self, section: &Section, content: Option<&[u8]>) {
        match content {
            None => {
                self.item(section);
                self.out.extend_from_slice(b"NIL");
            }
            Some(content) => {
                self.fetch_literal(section, content.len() as u64, content.contains(&0));
                self.out.extend_from_slice(content);
            }
        }
    }

    /// Announces a section as a literal of `size` bytes, which the caller sends right after taking what is written
    /// here; then the FETCH goes on. `binary` makes it a literal8, for content with zero bytes, which only the
    /// answer to BINARY may be.
    pub fn fetch_literal(&mut self, section: &Section, size: u64, binary: bool) {
        self.item(section);
        let binary = binary && section.name == crate::SectionName::Binary;
        self.put(format_args!("{}{{{size}}}\r\n", if binary { "~" } else { "" }));
    }

    /// `BINARY.SIZE[part] n`
    pub fn fetch_binary_size(&mut self, part: &[u32], size: u64) {
        let part: Vec<String> = part.iter().map(u32::to_string).collect();
        self.item(format_args!("BINARY.SIZE[{}]", part.join(".")));
        self.put(size);
    }
}

#[cfg(test)]
mod tests;
