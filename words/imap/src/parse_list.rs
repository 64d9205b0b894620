//! LIST, LSUB and STATUS (RFC 3501 §6.3.8–10, RFC 5258, RFC 5819, RFC 6154).

use crate::command::{List, ListReturn, StatusItem};
use crate::scan::{Cursor, Parsed, Problem};
use std::borrow::Cow;

/// A longer pattern matches no name that exists; matching costs its length for each mailbox.
const PATTERN_MAX: usize = 1_024;
/// Patterns of one LIST.
const PATTERNS_MAX: usize = 64;

pub(crate) fn list(c: &mut Cursor<'_>) -> Parsed<List> {
    let mut list = List::default();
    if c.peek() == Some(b'(') {
        c.list(true, |c| {
            match c.keyword()?.as_str() {
                "SUBSCRIBED" => list.subscribed = true,
                "REMOTE" => list.remote = true,
                "RECURSIVEMATCH" => list.recursive_match = true,
                "SPECIAL-USE" => list.special_use = true,
                _ => return Err(Problem::bad("LIST knows no such selection")),
            }
            Ok(())
        })?;
        // RFC 5258 §3.1: it modifies another selection and means nothing by itself.
        if list.recursive_match && !list.subscribed && !list.special_use {
            return Err(Problem::bad("RECURSIVEMATCH needs another selection beside it"));
        }
        c.space()?;
    }
    list.reference = reference(c)?;
    c.space()?;
    list.patterns = if c.peek() == Some(b'(') { c.list(false, pattern)? } else { vec![pattern(c)?] };
    if list.patterns.len() > PATTERNS_MAX {
        return Err(Problem::bad("LIST has too many patterns"));
    }
    if c.take(b' ') {
        if !c.take_word("RETURN ") {
            return Err(Problem::bad("LIST ends with RETURN and a list, or with its pattern"));
        }
        list.returns = Some(returns(c)?);
    }
    Ok(list)
}

fn returns(c: &mut Cursor<'_>) -> Parsed<ListReturn> {
    let mut returns = ListReturn::default();
    c.list(true, |c| {
        match c.keyword()?.as_str() {
            "SUBSCRIBED" => returns.subscribed = true,
            "CHILDREN" => returns.children = true,
            "SPECIAL-USE" => returns.special_use = true,
            "STATUS" => {
                c.space()?;
                returns.status = Some(status_items(c)?);
            }
            _ => return Err(Problem::bad("LIST knows no such RETURN option")),
        }
        Ok(())
    })?;
    Ok(returns)
}

pub(crate) fn reference(c: &mut Cursor<'_>) -> Parsed<String> {
    decoded(c, Cursor::astring)
}

pub(crate) fn pattern(c: &mut Cursor<'_>) -> Parsed<String> {
    decoded(c, Cursor::list_mailbox)
}

fn decoded<'a>(c: &mut Cursor<'a>, read: fn(&mut Cursor<'a>) -> Parsed<Cow<'a, [u8]>>) -> Parsed<String> {
    let raw = read(c)?;
    if raw.len() > PATTERN_MAX {
        return Err(Problem::bad("a mailbox pattern is too long"));
    }
    // A pattern need not be whole modified UTF-7 ("R&*"); what cannot be decoded is taken as it stands.
    match crate::name::from_wire(&raw, c.utf8) {
        Some(name) => Ok(name),
        None => {
            String::from_utf8(raw.into_owned()).map_err(|_| Problem::bad("a mailbox pattern is not UTF-8"))
        }
    }
}

pub(crate) fn status_items(c: &mut Cursor<'_>) -> Parsed<Vec<StatusItem>> {
    let mut items: Vec<StatusItem> = Vec::new();
    c.list(false, |c| {
        let word = c.keyword()?;
        let item = StatusItem::ALL.into_iter().find(|i| i.as_str() == word);
        let item = item.ok_or(Problem::bad("STATUS knows no such item"))?;
        if !items.contains(&item) {
            items.push(item);
        }
        Ok(())
    })?;
    Ok(items)
}
