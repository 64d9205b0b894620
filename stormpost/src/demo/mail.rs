//! The messages of the demonstration: made up, or the caller's own.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The header that numbers a message of the demonstration; it goes on top and is how copies are counted.
pub const NUMBER_HEADER: &str = "X-Stormpost-Demo";

/// Larger messages of the caller are left out: the edge of a default configuration would refuse them.
const MESSAGE_MAX: u64 = 30 * 1024 * 1024;
/// No more than so many are taken from the caller's mail.
const MESSAGES_MAX: usize = 100_000;

/// Messages to send, in wire form (CRLF line ends), without envelope.
pub struct Stock {
    messages: Vec<Vec<u8>>,
}

impl Stock {
    /// Reads an mbox file, a Maildir, a folder of `.eml` files, or one `.eml` file.
    ///
    /// # Errors
    /// When nothing readable is there; the text says what was looked for.
    pub fn read(path: &Path) -> Result<Stock> {
        let messages = if path.is_dir() { read_folder(path)? } else { read_file(path)? };
        if messages.is_empty() {
            bail!(
                "{} holds no messages; give an mbox file, a Maildir or a folder of .eml files",
                path.display()
            );
        }
        Ok(Stock { messages })
    }

    /// Made-up mail of a small company, for when the caller brings none.
    pub fn invented() -> Stock {
        Stock { messages: Vec::new() }
    }

    /// The message numbered `number`, for `to`, in wire form. The caller's messages come round again when more are
    /// asked for than there are.
    pub fn message(&self, number: usize, from: &str, to: &str) -> Vec<u8> {
        let top = format!("{NUMBER_HEADER}: {number}\r\n");
        let mut message = top.into_bytes();
        match self.messages.get(number % self.messages.len().max(1)) {
            Some(own) => message.extend_from_slice(own),
            None => message.extend_from_slice(invent(number, from, to).as_bytes()),
        }
        message
    }

    /// How many different messages there are; zero when they are made up.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether messages are made up.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

const SUBJECTS: [&str; 8] = [
    "Minutes of Monday's meeting",
    "Delivery on Thursday",
    "Question about invoice",
    "Shift plan for next week",
    "Results are in",
    "Contract, second draft",
    "Lunch?",
    "The printer on the third floor",
];
const LINES: [&str; 8] = [
    "Could you have a look before noon, please?",
    "I have put the figures below as we said on the telephone.",
    "Nobody was at the desk, so I am writing instead.",
    "The second item is still open; the rest can go ahead.",
    "..and yes, two dots at the start of a line are meant.",
    "We will send the signed copy by post as well.",
    "Please ring me when you have read this.",
    "From here on it is only for the record.",
];

fn invent(number: usize, from: &str, to: &str) -> String {
    let mut text = format!(
        "From: <{from}>\r\nTo: <{to}>\r\nSubject: {} ({number})\r\nMessage-ID: <demo-{number}@{}>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\r\n",
        SUBJECTS[number % SUBJECTS.len()],
        from.rsplit('@').next().unwrap_or("outside.example"),
    );
    // Lengths vary from a note to a few pages, by the number alone: a run can be repeated.
    for line in 0..3 + number * 7 % 60 {
        text.push_str(LINES[(number + line * 3) % LINES.len()]);
        text.push_str("\r\n");
    }
    text
}

fn read_folder(path: &Path) -> Result<Vec<Vec<u8>>> {
    let is_maildir = path.join("cur").is_dir() || path.join("new").is_dir();
    let mut files = Vec::new();
    if is_maildir {
        for part in ["cur", "new"] {
            list(&path.join(part), |_| true, &mut files)?;
        }
    } else {
        list(path, |name| name.to_lowercase().ends_with(".eml"), &mut files)?;
    }
    files.sort();
    files.truncate(MESSAGES_MAX);
    let mut messages = Vec::new();
    for file in files {
        if let Some(bytes) = read_bounded(&file)? {
            messages.push(wire_form(&bytes));
        }
    }
    Ok(messages)
}

fn list(dir: &Path, wanted: impl Fn(&str) -> bool, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
        if entry.file_type().is_ok_and(|t| t.is_file()) && wanted(&entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn read_bounded(file: &Path) -> Result<Option<Vec<u8>>> {
    let name = || format!("reading {}", file.display());
    if fs::metadata(file).with_context(name)?.len() > MESSAGE_MAX {
        return Ok(None);
    }
    fs::read(file).with_context(name).map(Some)
}

fn read_file(path: &Path) -> Result<Vec<Vec<u8>>> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    if !bytes.starts_with(b"From ") {
        return Ok(vec![wire_form(&bytes)]);
    }
    Ok(split_mbox(&bytes).into_iter().take(MESSAGES_MAX).map(|m| wire_form(&m)).collect())
}

/// Splits an mbox at lines that begin with `From ` after an empty line (RFC 4155), and takes one `>` off quoted ones.
fn split_mbox(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut after_empty = true;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        if after_empty && line.starts_with(b"From ") {
            messages.push(Vec::new());
            after_empty = false;
            continue;
        }
        after_empty = line == b"\n" || line == b"\r\n";
        let quoted =
            line.iter().position(|b| *b != b'>').is_some_and(|at| at > 0 && line[at..].starts_with(b"From "));
        if let Some(message) = messages.last_mut() {
            message.extend_from_slice(if quoted { &line[1..] } else { line });
        }
    }
    messages.retain(|m| m.len() as u64 <= MESSAGE_MAX && !m.is_empty());
    messages
}

/// Line ends as they stand on the wire: every CR, LF or CRLF becomes CRLF. A last line without an end gets one.
fn wire_form(bytes: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(bytes.len() + bytes.len() / 30);
    let mut rest = bytes.iter().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'\r' => {
                rest.next_if(|next| **next == b'\n');
                wire.extend_from_slice(b"\r\n");
            }
            b'\n' => wire.extend_from_slice(b"\r\n"),
            other => wire.push(*other),
        }
    }
    if !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mbox_is_split_where_messages_begin() {
        let mbox = b"From a@b Mon\nSubject: 1\n\nbody\n>From here\n\nFrom c@d Tue\nSubject: 2\n\nbody\nFrom is no start here\n";
        let messages = split_mbox(mbox);
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0], b"Subject: 1\n\nbody\nFrom here\n\n");
    }

    #[test]
    fn a_line_that_says_from_in_the_first_line_of_a_body_is_a_start_only_after_an_empty_line() {
        // The separator between header and body is an empty line too: mbox writers quote such a line with `>`.
        let mbox = b"From a@b Mon\nSubject: 1\n\n>From the start\n";
        assert_eq!(split_mbox(mbox), vec![b"Subject: 1\n\nFrom the start\n".to_vec()]);
    }

    #[test]
    fn line_ends_become_what_the_wire_wants() {
        assert_eq!(wire_form(b"a\nb\r\nc\rd"), b"a\r\nb\r\nc\r\nd\r\n");
        assert_eq!(wire_form(b""), b"\r\n");
    }

    #[test]
    fn every_message_carries_its_number_on_top_and_is_the_same_each_time() {
        let stock = Stock::invented();
        let first = stock.message(7, "x@outside.example", "anna@company.example");
        assert!(first.starts_with(b"X-Stormpost-Demo: 7\r\nFrom: "));
        assert_eq!(first, stock.message(7, "x@outside.example", "anna@company.example"));
        assert!(!first.split(|b| *b == b'\n').any(|line| !line.is_empty() && !line.ends_with(b"\r")));
    }
}
