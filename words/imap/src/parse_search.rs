//! SEARCH (RFC 3501 §6.4.4, RFC 4731, RFC 5032, RFC 7162, RFC 8474), SORT and THREAD (RFC 5256).

use crate::command::{Search, SearchKey, SearchReturn, Sort, SortBy, SortWhat, Thread, ThreadHow, When};
use crate::scan::{Cursor, Parsed, Problem};
use crate::{Code, Date, Flag, SequenceSet};

/// Parentheses, NOT and OR within one another. Reading and evaluating recurse.
const DEPTH_MAX: usize = 32;

pub(crate) fn search(c: &mut Cursor<'_>, uid: bool) -> Parsed<Search> {
    let mut returns = None;
    if c.take_word("RETURN ") {
        let mut wanted = SearchReturn::default();
        c.list(true, |c| {
            match c.keyword()?.as_str() {
                "MIN" => wanted.min = true,
                "MAX" => wanted.max = true,
                "ALL" => wanted.all = true,
                "COUNT" => wanted.count = true,
                _ => return Err(Problem::bad("SEARCH knows no such RETURN option")),
            }
            Ok(())
        })?;
        // RFC 4731 §3.1: an empty list means ALL.
        wanted.all |= wanted == SearchReturn::default();
        returns = Some(wanted);
        c.space()?;
    }
    if c.take_word("CHARSET ") {
        // RFC 6855 §3: everything is UTF-8 then, and nothing may say so.
        if c.utf8 {
            return Err(Problem::bad("after ENABLE UTF8=ACCEPT a SEARCH names no character set"));
        }
        charset(c)?;
        c.space()?;
    }
    Ok(Search { uid, returns, key: keys(c)? })
}

/// A character set that is understood here.
fn charset(c: &mut Cursor<'_>) -> Parsed<()> {
    let charset = c.text()?;
    if ["UTF-8", "US-ASCII", "ASCII", "UTF8"].iter().any(|known| known.eq_ignore_ascii_case(&charset)) {
        Ok(())
    } else {
        Err(Problem::no(Code::BadCharset, "the character sets are US-ASCII and UTF-8"))
    }
}

/// Search keys up to the end, all of which must hold.
fn keys(c: &mut Cursor<'_>) -> Parsed<SearchKey> {
    let mut keys = vec![key(c, 0)?];
    while c.take(b' ') {
        keys.push(key(c, 0)?);
    }
    Ok(all_of(keys))
}

/// SORT: criteria, a character set, which is not optional, and search keys (RFC 5256 §5).
pub(crate) fn sort(c: &mut Cursor<'_>, uid: bool) -> Parsed<Sort> {
    let mut by = Vec::new();
    c.list(false, |c| {
        let mut word = c.keyword()?;
        let reverse = word == "REVERSE";
        if reverse {
            c.space()?;
            word = c.keyword()?;
        }
        let what = match word.as_str() {
            "ARRIVAL" => SortWhat::Arrival,
            "CC" => SortWhat::Cc,
            "DATE" => SortWhat::Date,
            "FROM" => SortWhat::From,
            "SIZE" => SortWhat::Size,
            "SUBJECT" => SortWhat::Subject,
            "TO" => SortWhat::To,
            _ => return Err(Problem::bad("SORT knows no such criterion")),
        };
        // What was compared already decides nothing more.
        if !by.iter().any(|known: &SortBy| known.what == what) {
            by.push(SortBy { reverse, what });
        }
        Ok(())
    })?;
    c.space()?;
    charset(c)?;
    c.space()?;
    Ok(Sort { uid, by, key: keys(c)? })
}

/// THREAD: the rule, a character set and search keys (RFC 5256 §5).
pub(crate) fn thread(c: &mut Cursor<'_>, uid: bool) -> Parsed<Thread> {
    let how = match c.keyword()?.as_str() {
        "ORDEREDSUBJECT" => ThreadHow::OrderedSubject,
        "REFERENCES" => ThreadHow::References,
        _ => return Err(Problem::bad("THREAD knows no such rule")),
    };
    c.space()?;
    charset(c)?;
    c.space()?;
    Ok(Thread { uid, how, key: keys(c)? })
}

fn all_of(mut keys: Vec<SearchKey>) -> SearchKey {
    match keys.pop() {
        Some(only) if keys.is_empty() => only,
        Some(last) => {
            keys.push(last);
            SearchKey::And(keys)
        }
        None => SearchKey::All,
    }
}

fn key(c: &mut Cursor<'_>, depth: usize) -> Parsed<SearchKey> {
    if depth > DEPTH_MAX {
        return Err(Problem::bad("the search is nested too deeply"));
    }
    match c.peek() {
        Some(b'(') => return Ok(all_of(c.list(false, |c| key(c, depth + 1))?)),
        Some(b'0'..=b'9' | b'*') => return Ok(SearchKey::Sequence(SequenceSet::scan(c)?)),
        _ => {}
    }
    // `*` is no atom character, so that a word may be followed by a set only after a space.
    let word = c.keyword()?;
    if let Some(key) = flag_key(&word) {
        return Ok(key);
    }
    c.space()?;
    Ok(match word.as_str() {
        "NOT" => SearchKey::Not(Box::new(key(c, depth + 1)?)),
        "OR" => {
            let one = key(c, depth + 1)?;
            c.space()?;
            SearchKey::Or(Box::new(one), Box::new(key(c, depth + 1)?))
        }
        "UID" => SearchKey::Uid(SequenceSet::scan(c)?),
        "KEYWORD" => SearchKey::Has(keyword(c)?),
        "UNKEYWORD" => SearchKey::Not(Box::new(SearchKey::Has(keyword(c)?))),
        "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => SearchKey::Header { name: word, text: c.text()? },
        "HEADER" => {
            let name = crate::parse_fetch::field_name(c)?;
            c.space()?;
            SearchKey::Header { name, text: c.text()? }
        }
        "BODY" => SearchKey::Body(c.text()?),
        "TEXT" => SearchKey::Text(c.text()?),
        "BEFORE" => SearchKey::Arrived(When::Before, Date::scan(c)?),
        "ON" => SearchKey::Arrived(When::On, Date::scan(c)?),
        "SINCE" => SearchKey::Arrived(When::Since, Date::scan(c)?),
        "SENTBEFORE" => SearchKey::Sent(When::Before, Date::scan(c)?),
        "SENTON" => SearchKey::Sent(When::On, Date::scan(c)?),
        "SENTSINCE" => SearchKey::Sent(When::Since, Date::scan(c)?),
        "LARGER" => SearchKey::Larger(c.number64()?),
        "SMALLER" => SearchKey::Smaller(c.number64()?),
        "OLDER" => SearchKey::Older(c.nonzero()?),
        "YOUNGER" => SearchKey::Younger(c.nonzero()?),
        "MODSEQ" => modseq(c)?,
        "EMAILID" => SearchKey::EmailId(c.atom()?.to_owned()),
        "THREADID" => SearchKey::ThreadId(c.atom()?.to_owned()),
        _ => return Err(Problem::bad("SEARCH knows no such key")),
    })
}

/// Keys that are one word.
fn flag_key(word: &str) -> Option<SearchKey> {
    let has = |flag| SearchKey::Has(flag);
    let lacks = |flag| SearchKey::Not(Box::new(SearchKey::Has(flag)));
    Some(match word {
        "ALL" => SearchKey::All,
        "ANSWERED" => has(Flag::Answered),
        "DELETED" => has(Flag::Deleted),
        "DRAFT" => has(Flag::Draft),
        "FLAGGED" => has(Flag::Flagged),
        "RECENT" => has(Flag::Recent),
        "SEEN" => has(Flag::Seen),
        "UNANSWERED" => lacks(Flag::Answered),
        "UNDELETED" => lacks(Flag::Deleted),
        "UNDRAFT" => lacks(Flag::Draft),
        "UNFLAGGED" => lacks(Flag::Flagged),
        "UNSEEN" => lacks(Flag::Seen),
        "OLD" => lacks(Flag::Recent),
        "NEW" => SearchKey::And(vec![has(Flag::Recent), lacks(Flag::Seen)]),
        _ => return None,
    })
}

fn keyword(c: &mut Cursor<'_>) -> Parsed<Flag> {
    let flag = Flag::parse(c.atom()?);
    flag.ok_or(Problem::bad("a keyword is missing"))
}

/// RFC 7162 §3.1.5: an entry name and type may stand before the number. All flags share one MODSEQ here, so they
/// change nothing.
fn modseq(c: &mut Cursor<'_>) -> Parsed<SearchKey> {
    if c.peek() == Some(b'"') {
        c.string()?;
        c.space()?;
        if !["ALL", "SHARED", "PRIV"].contains(&c.keyword()?.as_str()) {
            return Err(Problem::bad("MODSEQ knows no such entry type"));
        }
        c.space()?;
    }
    Ok(SearchKey::ModSeq(c.number64()?))
}
