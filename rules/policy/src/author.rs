//! What a person sends says who wrote it, and tells the truth (RFC 6409 §6.1).

use crate::{Author, Facts};
use words_mail::Reply;

pub(crate) fn check(facts: &Facts<'_>) -> Option<Reply> {
    let (code, detail, text) = match facts.author {
        Author::NotAsked | Author::Own => return None,
        Author::Foreign => (
            550,
            (7, 1),
            "the From: address is not one of yours; nothing was sent; send it from your own address",
        ),
        Author::Missing => {
            (550, (6, 0), "the message has no From: address that can be read; nothing was sent; add one")
        }
        Author::Several => {
            (550, (6, 0), "the message has more than one From: field; nothing was sent; leave one")
        }
    };
    Some(Reply::new(code, (5, detail.0, detail.1), text))
}
