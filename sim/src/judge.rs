//! The judges at the end of a life: they compare what those outside were told with what stands where.
//!
//! They read bytes, and know nothing of the product's ids, hashes, merges or states.

use crate::person::{Diary, Standing};
use crate::primary::Account;
use crate::sender::Sent;
use std::collections::{BTreeMap, BTreeSet};

/// What was found wrong, in words that name the message.
pub type Findings = Vec<String>;

/// One message in a mailbox: folder, flags in lower case, bytes.
#[derive(Clone, Debug)]
pub struct Standings {
    /// In which folder.
    pub folder: String,
    /// Its flags.
    pub flags: BTreeSet<String>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Everything in some mailboxes, by the address of their owner.
pub type Holdings = BTreeMap<String, Vec<Standings>>;

/// The mark in a message: what stands between `mark-` and the last hyphen of that word.
pub fn mark_of(message: &[u8]) -> Option<String> {
    let at = message.windows(5).position(|w| w == b"mark-")?;
    let rest = &message[at..];
    let end = rest.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'-'))?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

/// What a primary holds, as a judge sees it.
pub fn holdings(accounts: &BTreeMap<String, Account>) -> Holdings {
    let of = |account: &Account| {
        let all = account.iter().flat_map(|(folder, content)| {
            content.messages.iter().map(move |copy| Standings {
                folder: folder.clone(),
                flags: copy.flags.clone(),
                bytes: copy.bytes.to_vec(),
            })
        });
        all.collect()
    };
    accounts.iter().map(|(address, account)| (address.clone(), of(account))).collect()
}

/// Every acknowledged message must stand in each of its mailboxes exactly once, its own bytes unchanged below what was
/// put on top; one that was never acknowledged may be there once. `gone` were removed by their owners; more than one
/// copy is allowed up to `most`.
pub fn arrived(
    where_: &str,
    outbox: &[Sent],
    found: &Holdings,
    gone: &BTreeSet<(String, String)>,
    most: usize,
) -> Findings {
    let mut wrong = Findings::new();
    for sent in outbox {
        for to in &sent.to {
            let Some(mailbox) = found.get(to) else { continue };
            let copies: Vec<&Standings> = mailbox.iter().filter(|m| contains(&m.bytes, &sent.mark)).collect();
            let mark = &sent.mark;
            let removed = gone.contains(&(to.clone(), mark.clone()));
            match (copies.len(), sent.acknowledged && !sent.refused) {
                (0, true) if !removed => {
                    wrong.push(format!("lost {where_}: {mark} for {to} was acknowledged and is not there"));
                }
                (0, _) => {}
                (n, _) if n > most => {
                    let folders: Vec<&str> = copies.iter().map(|c| c.folder.as_str()).collect();
                    wrong.push(format!("doubled {where_}: {mark} for {to} stands in {folders:?}"));
                }
                _ => {}
            }
            if copies.iter().any(|copy| !copy.bytes.ends_with(&sent.bytes)) {
                wrong.push(format!("changed {where_}: {mark} for {to} is not as it was sent"));
            }
        }
    }
    wrong
}

/// What the owners removed for good, by address and mark.
pub fn removed(diaries: &BTreeMap<String, Diary>) -> BTreeSet<(String, String)> {
    let each = diaries.iter().flat_map(|(address, diary)| {
        let maybe_gone = diary.standing.iter().filter(|(_, standing)| standing.contains(&None));
        maybe_gone.map(move |(mark, _)| (address.clone(), mark.clone()))
    });
    each.collect()
}

/// Senders who are believed hear of each message that was refused for ever; nobody else hears of anything. One that
/// was refused, and taken when a crash made it come again, may have been reported.
pub fn reported(
    outbox: &[Sent],
    refused: &BTreeSet<(String, String)>,
    ever: &BTreeSet<(String, String)>,
    outside: &Holdings,
) -> Findings {
    let mut wrong = Findings::new();
    for sent in outbox {
        let Some(mailbox) = outside.get(&sent.from) else { continue };
        let reports = mailbox.iter().filter(|m| contains(&m.bytes, &sent.mark)).count();
        let count = |refused: &BTreeSet<(String, String)>| {
            let one = |to: &&String| refused.contains(&((*to).clone(), sent.mark.clone()));
            if crate::node::is_believed(&sent.from) { sent.to.iter().filter(one).count() } else { 0 }
        };
        // A stranger's server that died before it answered may have one twice.
        let (least, most) = (count(refused), 2 * count(ever));
        if !(least..=most).contains(&reports) {
            wrong.push(format!("{}: {reports} reports of {}, not {least} to {most}", sent.from, sent.mark));
        }
    }
    wrong
}

/// What people did must have come true here, and what stands here must stand at the primary, unless it was refused there.
pub fn carried_over(
    diaries: &BTreeMap<String, Diary>,
    here: &Holdings,
    there: &Holdings,
    refused: &BTreeSet<(String, String)>,
) -> Findings {
    let mut wrong = Findings::new();
    for (address, diary) in diaries {
        wrong.extend(diary.wrong.iter().cloned());
        let (here, there) = (by_mark(here.get(address)), by_mark(there.get(address)));
        for mark in diary.touched.iter().filter(|mark| !refused.contains(&(address.clone(), (*mark).clone())))
        {
            let none = Vec::new();
            let (ours, theirs) = (here.get(mark).unwrap_or(&none), there.get(mark).unwrap_or(&none));
            let possible = diary.standing.get(mark).cloned().unwrap_or_default();
            let ours: Standing = match &ours[..] {
                [] => None,
                [one] => Some(one.clone()),
                several => {
                    wrong.push(format!("{address}: {mark} stands here {} times: {several:?}", several.len()));
                    continue;
                }
            };
            if !possible.contains(&ours) {
                wrong.push(format!("{address}: {mark} may stand at {possible:?}, and stands at {ours:?}"));
            }
            let theirs: Vec<_> = theirs.iter().cloned().map(Some).collect();
            if theirs != ours.iter().cloned().map(Some).collect::<Vec<_>>() {
                wrong
                    .push(format!("{address}: {mark} stands here at {ours:?}, at the primary at {theirs:?}"));
            }
        }
    }
    wrong
}

/// What people sent must stand in their Sent folder, once.
pub fn filed(where_: &str, outbox: &[Sent], found: &Holdings) -> Findings {
    let mut wrong = Findings::new();
    for sent in outbox.iter().filter(|sent| sent.acknowledged && found.contains_key(&sent.from)) {
        let mailbox = &found[&sent.from];
        let copies = mailbox.iter().filter(|m| contains(&m.bytes, &sent.mark) && m.folder == "Sent").count();
        if copies != 1 {
            wrong.push(format!("{}: {} stands in Sent {where_} {copies} times", sent.from, sent.mark));
        }
    }
    wrong
}

fn by_mark(messages: Option<&Vec<Standings>>) -> BTreeMap<String, Vec<(String, BTreeSet<String>)>> {
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for message in messages.into_iter().flatten() {
        let mark = mark_of(&message.bytes).unwrap_or_default();
        found.entry(mark).or_default().push((message.folder.clone(), message.flags.clone()));
    }
    found
}

pub(crate) fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(acknowledged: bool) -> Sent {
        Sent {
            mark: "mark-1-1-".into(),
            from: "x@y".into(),
            to: vec!["anna@x".into()],
            bytes: b"Subject: mark-1-1-\r\n\r\n".to_vec(),
            acknowledged,
            refused: false,
        }
    }

    fn holding(copies: &[&[u8]]) -> Holdings {
        let standing = |bytes: &&[u8]| Standings {
            folder: "INBOX".into(),
            flags: BTreeSet::new(),
            bytes: bytes.to_vec(),
        };
        Holdings::from([("anna@x".to_owned(), copies.iter().map(standing).collect())])
    }

    const ONCE: &[u8] = b"Received: x\r\nSubject: mark-1-1-\r\n\r\n";

    #[test]
    fn the_judge_sees_loss_doubles_and_changes() {
        let none = BTreeSet::new();
        let judge = |acknowledged, copies: &[&[u8]], most| {
            arrived("there", &[sent(acknowledged)], &holding(copies), &none, most).len()
        };
        assert_eq!(judge(true, &[ONCE], 1), 0);
        assert_eq!(judge(false, &[], 1), 0);
        assert_eq!(judge(true, &[], 1), 1);
        assert_eq!(judge(true, &[ONCE, ONCE], 1), 1);
        assert_eq!(judge(true, &[ONCE, ONCE], 2), 0);
        assert_eq!(judge(true, &[b"Received: x\r\nSubject: mark-1-1- \r\n\r\n"], 1), 1);
        let gone = BTreeSet::from([("anna@x".to_owned(), "mark-1-1-".to_owned())]);
        assert!(arrived("there", &[sent(true)], &holding(&[]), &gone, 1).is_empty());
    }

    #[test]
    fn the_judge_sees_what_was_not_carried_over() {
        let none = BTreeSet::new();
        let mark = "mark-1-1-".to_owned();
        let standing: Standing = Some(("INBOX".into(), BTreeSet::new()));
        let mut diary = Diary::default();
        diary.touched.insert(mark.clone());
        diary.standing.insert(mark.clone(), BTreeSet::from([standing]));
        let diaries = BTreeMap::from([("anna@x".to_owned(), diary.clone())]);
        assert!(carried_over(&diaries, &holding(&[ONCE]), &holding(&[ONCE]), &none).is_empty());
        assert_eq!(carried_over(&diaries, &holding(&[ONCE]), &holding(&[]), &none).len(), 1);
        assert_eq!(carried_over(&diaries, &holding(&[ONCE, ONCE]), &holding(&[ONCE]), &none).len(), 1);
        diary.standing.insert(mark, BTreeSet::from([None]));
        let diaries = BTreeMap::from([("anna@x".to_owned(), diary)]);
        assert_eq!(removed(&diaries).len(), 1);
        assert_eq!(carried_over(&diaries, &holding(&[ONCE]), &holding(&[ONCE]), &none).len(), 1);
    }

    #[test]
    fn a_mark_is_read_out_of_a_message() {
        assert_eq!(mark_of(ONCE).as_deref(), Some("mark-1-1-"));
        assert_eq!(mark_of(b"Subject: none\r\n"), None);
    }
}
