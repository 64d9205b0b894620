//! Where a literal stands: is it an argument of the command, or a message of an APPEND?

use crate::date::parse_date_time;
use crate::parse::{flag_list, tag};
use crate::reader::AppendBegin;
use crate::scan::{Cursor, Parsed, Problem, utf8};

/// The announcement of a literal (RFC 3501 §4.3, RFC 7888, RFC 3516).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) size: u64,
    pub(crate) sync: bool,
    pub(crate) binary: bool,
}

/// What a literal is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Argument,
    Message(AppendBegin),
}

/// The literal that a line without its CRLF announces.
///
/// Digits only, and not too many for a u64: what merely looks like an announcement is part of the line.
pub(crate) fn literal_at_end(line: &[u8]) -> Option<Literal> {
    let inside = line.strip_suffix(b"}")?;
    let (inside, sync) = match inside.strip_suffix(b"+") {
        Some(inside) => (inside, false),
        None => (inside, true),
    };
    let digits = inside.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (before, number) = inside.split_at(inside.len() - digits);
    let before = before.strip_suffix(b"{")?;
    // More digits than a number holds: still a literal, of which nothing is read.
    let size = match number {
        [] => return None,
        number => std::str::from_utf8(number).ok()?.parse().unwrap_or(u64::MAX),
    };
    Some(Literal { size, sync, binary: before.ends_with(b"~") })
}

/// What a literal is that ends a line of a command. `buffer` is the command so far; `first` tells that no other
/// literal stands in it.
pub(crate) fn opening(buffer: &[u8], literal: &Literal, first: bool, utf8: bool) -> Parsed<Place> {
    let Some((tag, len)) = tag(buffer) else {
        return Err(Problem::bad("a command starts with a tag and a space"));
    };
    let mut c = Cursor::new(&buffer[len..], utf8);
    if !c.take_word(" APPEND ") {
        return Ok(Place::Argument);
    }
    if first && matches!(c.rest(), [b'{', ..] | [b'~', b'{', ..]) {
        // The literal at hand is the mailbox name.
        return Ok(Place::Argument);
    }
    let mailbox = c.mailbox()?;
    let begin = AppendBegin {
        tag: tag.to_owned(),
        mailbox,
        flags: Vec::new(),
        date: None,
        size: 0,
        sync: true,
        binary: false,
        utf8: false,
        first: true,
    };
    details(&mut c, begin, literal).map(Place::Message)
}

/// What a literal is that follows a message of the same APPEND. `buffer` is the line since that message.
pub(crate) fn following(buffer: &[u8], literal: &Literal, before: &AppendBegin) -> Parsed<Place> {
    let mut c = Cursor::new(buffer, false);
    if before.utf8 {
        c.expect(b')', "a closing parenthesis is missing")?;
    }
    let begin = AppendBegin { flags: Vec::new(), date: None, utf8: false, first: false, ..before.clone() };
    details(&mut c, begin, literal).map(Place::Message)
}

/// Flags, date and the announcement.
fn details(c: &mut Cursor<'_>, mut begin: AppendBegin, literal: &Literal) -> Parsed<AppendBegin> {
    c.space()?;
    if c.peek() == Some(b'(') {
        begin.flags = flag_list(c)?;
        c.space()?;
    }
    if c.peek() == Some(b'"') {
        let text = utf8(c.string()?)?;
        begin.date = Some(parse_date_time(&text).ok_or(Problem::bad("the date of the APPEND is wrong"))?);
        c.space()?;
    }
    begin.utf8 = c.take_word("UTF8 (");
    begin.binary = c.take(b'~');
    if begin.utf8 && !begin.binary {
        return Err(Problem::bad("UTF8 takes a literal8"));
    }
    let announced = c.rest().strip_suffix(b"\r\n").and_then(literal_at_end);
    let alone = c.take(b'{') && c.run(|b| b.is_ascii_digit() || b == b'+' || b == b'}') != b"";
    if !alone || announced.is_none() || c.rest() != b"\r\n" {
        return Err(Problem::bad("the message of an APPEND is a literal"));
    }
    Ok(AppendBegin { size: literal.size, sync: literal.sync, ..begin })
}
