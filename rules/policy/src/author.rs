//! What a person sends says who wrote it, and tells the truth (RFC 6409 §6.1).

use crate::{Author, Facts, Opinion};
use words_mail::{Check, CheckResult, Reason, Reply};

pub(crate) fn check(facts: &Facts<'_>) -> Opinion {
    let (reason, detail, text) = match facts.author {
        Author::NotAsked => return Opinion::not_asked(Check::Author, Reason::NotThisDoor),
        Author::Own => return Opinion::pass(Check::Author),
        Author::Foreign => (
            Reason::ForeignAuthor,
            (7, 1),
            "the From: address is not one of yours; nothing was sent; send it from your own address",
        ),
        Author::Missing => (
            Reason::NoAuthor,
            (6, 0),
            "the message has no From: address that can be read; nothing was sent; add one",
        ),
        Author::Several => (
            Reason::SeveralAuthors,
            (6, 0),
            "the message has more than one From: field; nothing was sent; leave one",
        ),
    };
    let reply = Reply::new(550, (5, detail.0, detail.1), text);
    Opinion::new(Check::Author, CheckResult::Refuse, reason).reply(reply)
}
