//! Kinds of files that an organisation does not want: by the end of their names, and by what they really are.

use crate::{Attachments, Facts, Opinion, Policy};
use words_mail::{Check, Reason};

pub(crate) fn check(facts: &Facts<'_>, policy: &Policy) -> Opinion {
    let rule = &policy.attachments;
    if rule.unwanted.is_empty() {
        return Opinion::not_asked(Check::Attachments, Reason::NotConfigured);
    }
    let Some(Attachments { files, cut_short }) = facts.attachments else {
        return Opinion::not_asked(Check::Attachments, Reason::OwnMail);
    };
    let unwanted = |ending: &str| rule.unwanted.iter().any(|one| one == ending);
    for file in files {
        let name = file.name.to_lowercase();
        // A name like "invoice.exe." or "invoice.exe " is opened as if the end were not there.
        let trimmed = name.trim_end_matches(['.', ' ', '"', '\'']);
        let ending = trimmed.rsplit_once('.').map(|(_, ending)| ending);
        let found = ending.filter(|e| unwanted(e)).or_else(|| file.really.filter(|e| unwanted(e)));
        if let Some(found) = found {
            let text = format!(
                "files of the kind .{found} are not taken here ({}); nothing was stored",
                Reason::AttachmentType
            );
            let words = format!(".{found}: {:?}, said to be {}", file.name, file.says);
            return Opinion::wish(Check::Attachments, rule.deed, Reason::AttachmentType, (5, 7, 1), &text)
                .words(words);
        }
    }
    if *cut_short {
        // Who hides a file behind a thousand others must not get it through by that.
        let text = format!(
            "the message has too many parts to be looked at ({}); nothing was stored",
            Reason::TooManyParts
        );
        return Opinion::wish(Check::Attachments, rule.deed, Reason::TooManyParts, (5, 7, 1), &text);
    }
    Opinion::pass(Check::Attachments)
}
