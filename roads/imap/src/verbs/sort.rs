//! SORT and THREAD (RFC 5256): what SEARCH finds, in an order or as conversations.

use crate::session::Session;
use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use stores_mailbox::content::Keys;
use stores_mailbox::{MailboxError, Message, UidRanges};
use words_imap::{
    Code, Sort, SortBy, SortWhat, Thread, ThreadHow, Threadable, base_subject, by_references, by_subject,
};

/// More messages are not put in order at once; each costs memory until the answer is written.
pub(crate) const MESSAGES_MAX: u64 = 250_000;

/// How many sessions put messages in order at once; the others wait for their turn.
pub(crate) const AT_ONCE: usize = 2;

/// How many messages are looked up at once.
const PAGE: u32 = 256;

/// As much of a text decides the order, in bytes; what is alike so far stays in the order of the mailbox.
const TEXT_BYTES_MAX: usize = 200;

/// What one criterion compares.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i64),
    Text(Box<str>),
}

/// The form of a text in which letter case plays no part, as far as it decides the order.
fn folded(text: &str) -> Box<str> {
    let mut folded = text.to_uppercase();
    if folded.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|at| folded.is_char_boundary(*at));
        folded.truncate(end.unwrap_or(0));
    }
    folded.into_boxed_str()
}

fn value(what: SortWhat, message: &Message, keys: &Keys) -> Value {
    match what {
        // In whole seconds, as it is shown.
        SortWhat::Arrival => Value::Number(message.date.seconds()),
        SortWhat::Size => Value::Number(i64::try_from(message.size).unwrap_or(i64::MAX)),
        SortWhat::Date => Value::Number(sent(message, keys)),
        SortWhat::Cc => Value::Text(folded(&keys.cc)),
        SortWhat::From => Value::Text(folded(&keys.from)),
        SortWhat::To => Value::Text(folded(&keys.to)),
        SortWhat::Subject => Value::Text(folded(&base_subject(&keys.subject).0)),
    }
}

/// When it was sent; when it arrived if nobody can tell (RFC 5256 §2.2).
fn sent(message: &Message, keys: &Keys) -> i64 {
    keys.sent.unwrap_or_else(|| message.date.seconds())
}

fn compared(by: &[SortBy], one: &[Value], other: &[Value]) -> Ordering {
    for ((one, other), by) in one.iter().zip(other).zip(by) {
        let order = if by.reverse { other.cmp(one) } else { one.cmp(other) };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn threadable(number: u32, message: &Message, keys: Keys) -> Threadable {
    let (base, answers) = base_subject(&keys.subject);
    let subject = (!base.is_empty()).then(|| {
        let mut hasher = DefaultHasher::new();
        base.to_uppercase().hash(&mut hasher);
        hasher.finish()
    });
    let date = sent(message, &keys);
    Threadable { number, date, subject, answers, id: keys.id, references: keys.references }
}

impl Session {
    pub(crate) async fn sort(&mut self, tag: String, sort: Sort) -> io::Result<()> {
        let Some(found) = self.find(&tag, &sort.key).await else { return Ok(()) };
        let Some(_turn) = self.turn(&tag, &found.uids).await else { return Ok(()) };
        let by_header = |by: &SortBy| !matches!(by.what, SortWhat::Arrival | SortWhat::Size);
        let by_header = sort.by.iter().any(by_header);
        let mut rows: Vec<(Box<[Value]>, u32)> = Vec::new();
        for chunk in found.uids.chunks(PAGE) {
            let page = match self.page_with_keys(&chunk, by_header).await {
                Ok(page) => page,
                Err(error) => {
                    self.refuse(&tag, &error);
                    return Ok(());
                }
            };
            for (message, keys) in page {
                let values = sort.by.iter().map(|by| value(by.what, &message, &keys)).collect();
                rows.push((values, message.uid));
            }
        }
        // By UID before: what compares alike stays in the order of the mailbox.
        rows.sort_by(|(one, _), (other, _)| compared(&sort.by, one, other));
        let mut order: Vec<u32> = rows.into_iter().map(|(_, uid)| uid).collect();
        if !sort.uid {
            let numbers = self.numbers(&found.uids);
            order.retain_mut(|uid| match numbers.binary_search_by_key(uid, |(uid, _)| *uid) {
                Ok(at) => {
                    *uid = numbers[at].1;
                    true
                }
                Err(_) => false,
            });
        }
        let modseq = found.modseq.filter(|_| found.by_modseq);
        self.out.sort(order, modseq);
        self.done(&tag, None, "done", sort.uid).await
    }

    pub(crate) async fn thread(&mut self, tag: String, thread: Thread) -> io::Result<()> {
        let Some(found) = self.find(&tag, &thread.key).await else { return Ok(()) };
        let Some(_turn) = self.turn(&tag, &found.uids).await else { return Ok(()) };
        let numbers = if thread.uid { Vec::new() } else { self.numbers(&found.uids) };
        let mut messages = Vec::new();
        for chunk in found.uids.chunks(PAGE) {
            let page = match self.page_with_keys(&chunk, true).await {
                Ok(page) => page,
                Err(error) => {
                    self.refuse(&tag, &error);
                    return Ok(());
                }
            };
            for (message, keys) in page {
                let number = match numbers.binary_search_by_key(&message.uid, |(uid, _)| *uid) {
                    _ if thread.uid => message.uid,
                    Ok(at) => numbers[at].1,
                    Err(_) => continue,
                };
                messages.push(threadable(number, &message, keys));
            }
        }
        let threads = match thread.how {
            ThreadHow::OrderedSubject => by_subject(&messages),
            ThreadHow::References => by_references(&messages),
        };
        self.out.thread(&threads);
        self.done(&tag, None, "done", thread.uid).await
    }

    /// The right to put so many messages in order now; `None` when it was refused.
    async fn turn(&mut self, tag: &str, uids: &UidRanges) -> Option<tokio::sync::OwnedSemaphorePermit> {
        if uids.count() > MESSAGES_MAX {
            self.out.no(
                tag,
                Some(&Code::Limit),
                "too many messages to put in order at once; search for fewer",
            );
            return None;
        }
        let turn = self.shared.sorting.clone().acquire_owned().await.ok();
        if turn.is_none() {
            self.out.no(tag, Some(&Code::Unavailable), "try again later");
        }
        turn
    }

    async fn page_with_keys(
        &mut self,
        chunk: &UidRanges,
        by_header: bool,
    ) -> Result<Vec<(Message, Keys)>, MailboxError> {
        let messages = self.messages(chunk)?;
        let keys = if by_header {
            self.mailboxes().keys(&messages).await?
        } else {
            vec![Keys::default(); messages.len()]
        };
        // Others are served meanwhile.
        tokio::task::yield_now().await;
        Ok(messages.into_iter().zip(keys).collect())
    }

    /// UIDs with their message numbers, ascending.
    fn numbers(&self, uids: &UidRanges) -> Vec<(u32, u32)> {
        let Some(selected) = &self.selected else { return Vec::new() };
        selected.uids.numbered(uids).map(|(number, uid)| (uid, number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_criterion_counts_most_and_reverse_turns_only_itself() {
        let by = |reverse, what| SortBy { reverse, what };
        let row = |text: &str, n: i64| vec![Value::Text(folded(text)), Value::Number(n)];
        let sorted = |by: &[SortBy]| {
            let mut rows = vec![(row("b", 1), 1), (row("A", 2), 2), (row("a", 1), 3), (row("B", 2), 4)];
            rows.sort_by(|(one, _), (other, _)| compared(by, one, other));
            rows.into_iter().map(|(_, n)| n).collect::<Vec<u32>>()
        };
        assert_eq!(sorted(&[by(false, SortWhat::Subject), by(false, SortWhat::Size)]), [3, 2, 1, 4]);
        assert_eq!(sorted(&[by(true, SortWhat::Subject), by(false, SortWhat::Size)]), [1, 4, 3, 2]);
        // What is alike stays in the order of the mailbox, also in reverse.
        assert_eq!(sorted(&[by(true, SortWhat::Subject)]), [1, 4, 2, 3]);
        assert!(folded(&"ü".repeat(300)).len() <= TEXT_BYTES_MAX);
    }
}
