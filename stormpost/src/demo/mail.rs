//! The messages of the demonstration: made up, or the caller's own.

use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The header that numbers a message of the demonstration; it goes on top and is how copies are counted.
pub(super) const NUMBER_HEADER: &str = "X-Stormpost-Demo";

/// Larger messages of the caller are left out: the edge of a default configuration would refuse them.
const MESSAGE_MAX: usize = 30 * 1024 * 1024;
/// No more than so many bytes are taken from the caller's mail: they are held in memory.
const BYTES_MAX: usize = 256 * 1024 * 1024;
/// Files looked at in the caller's folder, and how deep.
const FILES_MAX: usize = 1_000_000;
const DEPTH_MAX: usize = 8;

/// Messages to send, in wire form (CRLF line ends), without envelope. An empty stock makes up the mail of a small
/// company.
#[derive(Debug, Default)]
pub(super) struct Stock {
    messages: Vec<Vec<u8>>,
    bytes: usize,
    left_out: usize,
}

impl Stock {
    /// Reads at most `most` messages out of an mbox file, a Maildir, a folder of `.eml` files, or one `.eml` file.
    ///
    /// # Errors
    /// When nothing readable is there; the text says what was looked for.
    pub(super) fn read(path: &Path, most: usize) -> Result<Stock> {
        let name = || format!("reading {}", path.display());
        let facts = fs::metadata(path).with_context(name)?;
        let mut stock = Stock::default();
        if facts.is_dir() {
            stock.read_folder(path, most)?;
        } else {
            let file = fs::File::open(path).with_context(name)?;
            stock.read_file(BufReader::new(file), most).with_context(name)?;
        }
        if stock.is_empty() {
            bail!(
                "{} holds no messages up to {} MiB; give an mbox file, a Maildir or a folder of .eml files",
                path.display(),
                MESSAGE_MAX >> 20
            );
        }
        Ok(stock)
    }

    /// The message numbered `number`, for `to`, in wire form. The caller's messages come round again when more are
    /// asked for than there are.
    pub(super) fn message(&self, number: usize, from: &str, to: &str) -> Vec<u8> {
        let top = format!("{NUMBER_HEADER}: {number}\r\n");
        let mut message = top.into_bytes();
        match self.messages.get(number % self.messages.len().max(1)) {
            Some(own) => message.extend_from_slice(own),
            None => message.extend_from_slice(invent(number, from, to).as_bytes()),
        }
        message
    }

    /// What of the caller's own is used, in words; none when everything is made up.
    pub(super) fn words(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let mut words =
            format!("{} of your own messages, {} KiB", self.messages.len(), self.bytes.div_ceil(1024));
        if self.left_out > 0 {
            words += &format!(" ({} larger than {} MiB are left out)", self.left_out, MESSAGE_MAX >> 20);
        }
        Some(words)
    }

    /// Whether messages are made up.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn is_full(&self, most: usize) -> bool {
        self.messages.len() >= most || self.bytes >= BYTES_MAX
    }

    fn take(&mut self, raw: &[u8]) {
        if raw.len() > MESSAGE_MAX {
            self.left_out += 1;
        } else if !raw.is_empty() {
            let wire = wire_form(raw);
            self.bytes += wire.len();
            self.messages.push(wire);
        }
    }

    fn read_folder(&mut self, path: &Path, most: usize) -> Result<()> {
        let mut files = Vec::new();
        list(path, 0, &mut files)?;
        files.sort();
        for file in files {
            if self.is_full(most) {
                break;
            }
            let name = || format!("reading {}", file.display());
            let mut raw = Vec::new();
            let open = fs::File::open(&file).with_context(name)?;
            open.take(MESSAGE_MAX as u64 + 1).read_to_end(&mut raw).with_context(name)?;
            self.take(&raw);
        }
        Ok(())
    }

    /// One message, or an mbox: split at lines that begin with `From ` after an empty line (RFC 4155), with one `>`
    /// taken off quoted ones.
    fn read_file(&mut self, mut file: impl BufRead, most: usize) -> std::io::Result<()> {
        let is_mbox = file.fill_buf()?.starts_with(b"From ");
        if !is_mbox {
            let mut raw = Vec::new();
            file.take(MESSAGE_MAX as u64 + 1).read_to_end(&mut raw)?;
            self.take(&raw);
            return Ok(());
        }
        let (mut message, mut line, mut after_empty) = (Vec::new(), Vec::new(), true);
        while !self.is_full(most) {
            line.clear();
            if (&mut file).take(MESSAGE_MAX as u64).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if after_empty && line.starts_with(b"From ") {
                self.take(&message);
                message.clear();
                after_empty = false;
                continue;
            }
            after_empty = line == b"\n" || line == b"\r\n";
            // What is too long is counted once and not gathered.
            if message.len() <= MESSAGE_MAX {
                message.extend_from_slice(if is_quoted(&line) { &line[1..] } else { &line });
            }
        }
        if !self.is_full(most) {
            self.take(&message);
        }
        Ok(())
    }
}

/// Whether a line of an mbox is a `From ` line of the message itself, with one or more `>` before it.
fn is_quoted(line: &[u8]) -> bool {
    line.iter().position(|b| *b != b'>').is_some_and(|at| at > 0 && line[at..].starts_with(b"From "))
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

/// Files that are messages: whatever stands in a Maildir's `cur` and `new`, and `.eml` files anywhere.
fn list(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let name = || format!("reading {}", dir.display());
    let in_maildir = dir.file_name().is_some_and(|name| name == "cur" || name == "new");
    for entry in fs::read_dir(dir).with_context(name)? {
        let entry = entry.with_context(name)?;
        let kind = entry.file_type().with_context(name)?;
        let is_mail = in_maildir || entry.file_name().to_string_lossy().to_lowercase().ends_with(".eml");
        if kind.is_dir() && depth < DEPTH_MAX {
            list(&entry.path(), depth + 1, files)?;
        } else if kind.is_file() && is_mail && files.len() < FILES_MAX {
            files.push(entry.path());
        }
    }
    Ok(())
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

    fn split(mbox: &[u8], most: usize) -> Vec<Vec<u8>> {
        let mut stock = Stock::default();
        stock.read_file(mbox, most).unwrap();
        stock.messages
    }

    #[test]
    fn an_mbox_is_split_where_messages_begin() {
        let mbox = b"From a@b Mon\nSubject: 1\n\nbody\n>From here\n\nFrom c@d Tue\nSubject: 2\n\nbody\nFrom is no start here\n";
        let messages = split(mbox, 10);
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0], b"Subject: 1\r\n\r\nbody\r\nFrom here\r\n\r\n");
        assert!(messages[1].ends_with(b"From is no start here\r\n"));
        assert_eq!(split(mbox, 1), messages[..1], "no more are read than are wanted");
    }

    #[test]
    fn a_line_that_says_from_in_the_first_line_of_a_body_is_a_start_only_after_an_empty_line() {
        // The separator between header and body is an empty line too: mbox writers quote such a line with `>`.
        let mbox = b"From a@b Mon\nSubject: 1\n\n>From the start\n";
        assert_eq!(split(mbox, 10), vec![b"Subject: 1\r\n\r\nFrom the start\r\n".to_vec()]);
    }

    #[test]
    fn a_maildir_with_folders_and_a_folder_of_eml_files_are_read_and_the_rest_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("cur/1:2,S", "Subject: 1\n\nx");
        put("new/2", "Subject: 2\n\nx");
        put("tmp/3", "half");
        put(".Sent/cur/4", "Subject: 4\n\nx");
        put("dovecot-uidlist", "3 V1");
        put("more/5.EML", "Subject: 5\n\nx");
        let stock = Stock::read(folder.path(), 100).unwrap();
        let subjects: Vec<&[u8]> = stock.messages.iter().map(|m| &m[..10]).collect();
        assert_eq!(subjects, [b"Subject: 4", b"Subject: 1", b"Subject: 5", b"Subject: 2"]);
        assert_eq!(Stock::read(folder.path(), 2).unwrap().messages.len(), 2);
        assert!(stock.words().unwrap().starts_with("4 of your own messages"));
    }

    #[test]
    fn what_holds_no_mail_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let words = Stock::read(folder.path(), 1).unwrap_err().to_string();
        assert!(words.contains("give an mbox file, a Maildir or a folder of .eml files"), "{words}");
        let words = format!("{:#}", Stock::read(&folder.path().join("no"), 1).unwrap_err());
        assert!(words.contains("No such file"), "{words}");
    }

    #[test]
    fn a_message_that_is_too_large_is_left_out_and_counted() {
        let mut mbox = b"From a@b Mon\nSubject: 1\n\n".to_vec();
        mbox.extend(
            std::iter::repeat_n(b"x".repeat(1023).into_iter().chain(*b"\n"), (MESSAGE_MAX >> 10) + 1)
                .flatten(),
        );
        mbox.extend(b"\nFrom c@d Tue\nSubject: 2\n\nbody\n");
        let mut stock = Stock::default();
        stock.read_file(&mbox[..], 10).unwrap();
        assert_eq!((stock.messages.len(), stock.left_out), (1, 1));
        assert!(stock.words().unwrap().contains("(1 larger than 30 MiB"));
    }

    #[test]
    fn line_ends_become_what_the_wire_wants() {
        assert_eq!(wire_form(b"a\nb\r\nc\rd"), b"a\r\nb\r\nc\r\nd\r\n");
        assert_eq!(wire_form(b""), b"\r\n");
    }

    #[test]
    fn every_message_carries_its_number_on_top_and_is_the_same_each_time() {
        let stock = Stock::default();
        let first = stock.message(7, "x@outside.example", "anna@company.example");
        assert!(first.starts_with(b"X-Stormpost-Demo: 7\r\nFrom: "));
        assert_eq!(first, stock.message(7, "x@outside.example", "anna@company.example"));
        assert!(!first.split(|b| *b == b'\n').any(|line| !line.is_empty() && !line.ends_with(b"\r")));
    }
}
