//! The judge at the end of a life: compares what senders were told with what the primary holds.
//!
//! It reads bytes and knows nothing of the product's ids, hashes or states.

use crate::primary::Mailboxes;
use crate::sender::Sent;

/// What was found wrong, in words that name the message.
pub type Findings = Vec<String>;

/// Every acknowledged message must be in each of its mailboxes exactly once, its own bytes unchanged below what
/// was put on top; a message that was never acknowledged may be there at most once.
pub fn mailboxes(outbox: &[Sent], mailboxes: &Mailboxes) -> Findings {
    let mut wrong = Findings::new();
    for sent in outbox {
        for to in &sent.to {
            let Some(mailbox) = mailboxes.get(to) else { continue };
            let copies: Vec<&Vec<u8>> =
                mailbox.iter().filter(|m| contains(m, sent.mark.as_bytes())).collect();
            match (copies.len(), sent.acknowledged) {
                (0, true) => {
                    wrong.push(format!("lost: {} for {to} was acknowledged and is not there", sent.mark))
                }
                (0, false) | (1, _) => {}
                (n, _) => wrong.push(format!("doubled: {} is {n} times in the mailbox of {to}", sent.mark)),
            }
            if copies.iter().any(|copy| !copy.ends_with(&sent.bytes)) {
                wrong.push(format!("changed: {} for {to} is not as it was sent", sent.mark));
            }
        }
    }
    wrong
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(acknowledged: bool) -> Sent {
        Sent {
            mark: "mark-1-1-".into(),
            to: vec!["anna@x".into()],
            bytes: b"Subject: mark-1-1-\r\n\r\n".to_vec(),
            acknowledged,
            refused: false,
        }
    }

    #[test]
    fn the_judge_sees_loss_doubles_and_changes() {
        let once = b"Received: x\r\nSubject: mark-1-1-\r\n\r\n".to_vec();
        let changed = b"Received: x\r\nSubject: mark-1-1- \r\n\r\n".to_vec();
        let with = |copies: Vec<Vec<u8>>| Mailboxes::from([("anna@x".to_owned(), copies)]);
        assert!(mailboxes(&[sent(true)], &with(vec![once.clone()])).is_empty());
        assert!(mailboxes(&[sent(false)], &with(vec![])).is_empty());
        assert_eq!(mailboxes(&[sent(true)], &with(vec![])).len(), 1);
        assert_eq!(mailboxes(&[sent(true)], &with(vec![once.clone(), once])).len(), 1);
        assert_eq!(mailboxes(&[sent(true)], &with(vec![changed])).len(), 1);
    }
}
