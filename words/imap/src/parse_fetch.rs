//! FETCH (RFC 3501 §6.4.5, RFC 3516, RFC 7162, RFC 8474).

use crate::SequenceSet;
use crate::command::*;
use crate::scan::{Cursor, Parsed, Problem, utf8};

/// Different items of one FETCH; each may cost a reading of the message.
const ITEMS_MAX: usize = 128;
/// Levels of a part number.
const PART_LEVELS_MAX: usize = 100;
/// Names in one HEADER.FIELDS.
const FIELDS_MAX: usize = 256;

pub(crate) fn fetch(c: &mut Cursor<'_>, uid: bool) -> Parsed<Fetch> {
    let set = SequenceSet::scan(c)?;
    c.space()?;
    let mut items: Vec<FetchItem> = Vec::new();
    if uid {
        // RFC 3501 §6.4.8: the UID is told whether or not it was asked for.
        items.push(FetchItem::Uid);
    }
    if c.peek() == Some(b'(') {
        c.list(false, |c| {
            let one = item(c)?;
            add(&mut items, one)
        })?;
    } else if let Some(expanded) = expand(c) {
        expanded.into_iter().try_for_each(|i| add(&mut items, i))?;
    } else {
        let one = item(c)?;
        add(&mut items, one)?;
    }
    let mut fetch = Fetch { uid, set, items, changed_since: None, vanished: false };
    if c.take(b' ') {
        c.list(false, |c| {
            match c.keyword()?.as_str() {
                "CHANGEDSINCE" => {
                    c.space()?;
                    fetch.changed_since = Some(c.number64()?);
                }
                "VANISHED" => fetch.vanished = true,
                _ => return Err(Problem::bad("FETCH knows no such modifier")),
            }
            Ok(())
        })?;
    }
    if fetch.vanished && !(uid && fetch.changed_since.is_some()) {
        return Err(Problem::bad("VANISHED goes with UID FETCH and CHANGEDSINCE (RFC 7162 3.2.6)"));
    }
    // RFC 7162 §3.1.4.1: CHANGEDSINCE implies the MODSEQ of each.
    if fetch.changed_since.is_some() && !fetch.items.contains(&FetchItem::ModSeq) {
        fetch.items.push(FetchItem::ModSeq);
    }
    Ok(fetch)
}

fn add(items: &mut Vec<FetchItem>, item: FetchItem) -> Parsed<()> {
    if !items.contains(&item) {
        items.push(item);
    }
    if items.len() > ITEMS_MAX {
        return Err(Problem::bad("FETCH has too many items"));
    }
    Ok(())
}

/// The macros ALL, FAST and FULL.
fn expand(c: &mut Cursor<'_>) -> Option<Vec<FetchItem>> {
    use FetchItem::{Body, Envelope, Flags, InternalDate, Size};
    for (word, items) in [
        ("ALL", vec![Flags, InternalDate, Size, Envelope]),
        ("FAST", vec![Flags, InternalDate, Size]),
        ("FULL", vec![Flags, InternalDate, Size, Envelope, Body]),
    ] {
        if c.take_word(word) {
            return Some(items);
        }
    }
    None
}

fn item(c: &mut Cursor<'_>) -> Parsed<FetchItem> {
    let word = c.run(|b| b.is_ascii_alphanumeric() || b == b'.').to_ascii_uppercase();
    let bracket = c.peek() == Some(b'[');
    let old =
        |name, peek, text| FetchItem::Section(Section { name, peek, part: Vec::new(), text, partial: None });
    Ok(match (word.as_slice(), bracket) {
        (b"FLAGS", false) => FetchItem::Flags,
        (b"UID", false) => FetchItem::Uid,
        (b"INTERNALDATE", false) => FetchItem::InternalDate,
        (b"RFC822.SIZE", false) => FetchItem::Size,
        (b"ENVELOPE", false) => FetchItem::Envelope,
        (b"BODY", false) => FetchItem::Body,
        (b"BODYSTRUCTURE", false) => FetchItem::BodyStructure,
        (b"MODSEQ", false) => FetchItem::ModSeq,
        (b"EMAILID", false) => FetchItem::EmailId,
        (b"THREADID", false) => FetchItem::ThreadId,
        (b"RFC822", false) => old(SectionName::Rfc822, false, SectionText::Whole),
        (b"RFC822.HEADER", false) => old(SectionName::Rfc822Header, true, SectionText::Header),
        (b"RFC822.TEXT", false) => old(SectionName::Rfc822Text, false, SectionText::Text),
        (b"BODY", true) => FetchItem::Section(section(c, SectionName::Body, false)?),
        (b"BODY.PEEK", true) => FetchItem::Section(section(c, SectionName::Body, true)?),
        (b"BINARY", true) => FetchItem::Section(section(c, SectionName::Binary, false)?),
        (b"BINARY.PEEK", true) => FetchItem::Section(section(c, SectionName::Binary, true)?),
        (b"BINARY.SIZE", true) => {
            let section = section(c, SectionName::Binary, true)?;
            if section.partial.is_some() {
                return Err(Problem::bad("BINARY.SIZE has no partial form"));
            }
            FetchItem::BinarySize(section.part)
        }
        _ => return Err(Problem::bad("FETCH knows no such item")),
    })
}

fn section(c: &mut Cursor<'_>, name: SectionName, peek: bool) -> Parsed<Section> {
    c.expect(b'[', "a bracket is missing")?;
    let mut part = Vec::new();
    let mut text = SectionText::Whole;
    loop {
        if c.peek().is_some_and(|b| b.is_ascii_digit()) {
            part.push(c.nonzero()?);
            if part.len() > PART_LEVELS_MAX {
                return Err(Problem::bad("a part number has too many levels"));
            }
            if c.take(b'.') {
                continue;
            }
        } else if !part.is_empty() || c.peek() != Some(b']') {
            text = section_text(c, !part.is_empty())?;
        }
        break;
    }
    c.expect(b']', "a closing bracket is missing")?;
    if name == SectionName::Binary && text != SectionText::Whole {
        return Err(Problem::bad("BINARY takes a part number only"));
    }
    let partial = if c.take(b'<') {
        let first = c.number()?;
        c.expect(b'.', "a partial fetch is written <first.count>")?;
        let count = c.nonzero()?;
        c.expect(b'>', "a partial fetch is written <first.count>")?;
        Some((first, count))
    } else {
        None
    };
    Ok(Section { name, peek, part, text, partial })
}

fn section_text(c: &mut Cursor<'_>, of_part: bool) -> Parsed<SectionText> {
    let word = c.run(|b| b.is_ascii_alphabetic() || b == b'.').to_ascii_uppercase();
    let not = word == b"HEADER.FIELDS.NOT";
    Ok(match word.as_slice() {
        b"HEADER" => SectionText::Header,
        b"TEXT" => SectionText::Text,
        b"MIME" if of_part => SectionText::Mime,
        b"HEADER.FIELDS" | b"HEADER.FIELDS.NOT" => {
            c.space()?;
            let names = c.list(false, field_name)?;
            if names.len() > FIELDS_MAX {
                return Err(Problem::bad("too many header fields"));
            }
            SectionText::Fields { names, not }
        }
        _ => return Err(Problem::bad("FETCH knows no such section")),
    })
}

/// The name of a header field (RFC 5322 §2.2): anything else could not be written back into a label.
pub(crate) fn field_name(c: &mut Cursor<'_>) -> Parsed<String> {
    let name = utf8(c.astring()?)?;
    if !name.is_empty() && name.len() <= 256 && name.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b':') {
        Ok(name)
    } else {
        Err(Problem::bad("a header field's name is wrong"))
    }
}
