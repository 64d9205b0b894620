//! From a whole line to a command.

use crate::auth::decode_base64;
use crate::command::*;
use crate::scan::{Cursor, Parsed, Problem, is_atom, utf8};
use crate::{Code, Flag, SequenceSet};

/// Longer tags are refused: every answer repeats the tag.
const TAG_MAX: usize = 128;
/// RFC 2971 §3.3 allows 30 pairs.
const ID_PAIRS_MAX: usize = 64;
/// Flags of one STORE or APPEND.
const FLAGS_MAX: usize = 256;

/// The tag at the start of a line, if there is one, and the number of bytes it takes.
pub(crate) fn tag(line: &[u8]) -> Option<(&str, usize)> {
    let len = line.iter().position(|b| !is_atom(*b) && *b != b']' || *b == b'+').unwrap_or(line.len());
    let text = std::str::from_utf8(&line[..len]).ok()?;
    let ends = matches!(line.get(len), None | Some(b' ' | b'\r' | b'\n'));
    ((1..=TAG_MAX).contains(&len) && ends).then_some((text, len))
}

/// Reads the command that follows the tag in `rest`.
pub(crate) fn command(rest: &[u8], utf8: bool) -> Parsed<Command> {
    let mut c = Cursor::new(rest, utf8);
    c.space()?;
    let mut verb = c.keyword()?;
    let uid = verb == "UID";
    if uid {
        c.space()?;
        verb = c.keyword()?;
    }
    let command = match simple(&verb) {
        Some(command) if !uid => command,
        _ => {
            if !c.at_end() {
                c.space()?;
            }
            messages(&verb, uid, &mut c)?
        }
    };
    c.end()?;
    Ok(command)
}

/// Commands without arguments.
fn simple(verb: &str) -> Option<Command> {
    Some(match verb {
        "CAPABILITY" => Command::Capability,
        "NOOP" => Command::Noop,
        "LOGOUT" => Command::Logout,
        "STARTTLS" => Command::StartTls,
        "NAMESPACE" => Command::Namespace,
        "IDLE" => Command::Idle,
        "CHECK" => Command::Check,
        "CLOSE" => Command::Close,
        "UNSELECT" => Command::Unselect,
        "EXPUNGE" => Command::Expunge { uids: None },
        _ => return None,
    })
}

/// Commands that have a UID form.
fn messages(verb: &str, uid: bool, c: &mut Cursor<'_>) -> Parsed<Command> {
    Ok(match verb {
        "FETCH" => Command::Fetch(crate::parse_fetch::fetch(c, uid)?),
        "SEARCH" => Command::Search(crate::parse_search::search(c, uid)?),
        "SORT" => Command::Sort(crate::parse_search::sort(c, uid)?),
        "THREAD" => Command::Thread(crate::parse_search::thread(c, uid)?),
        "STORE" => Command::Store(store(c, uid)?),
        "COPY" | "MOVE" => {
            let set = SequenceSet::scan(c)?;
            c.space()?;
            let mailbox = c.mailbox()?;
            if verb == "COPY" {
                Command::Copy { uid, set, mailbox }
            } else {
                Command::Move { uid, set, mailbox }
            }
        }
        "EXPUNGE" => Command::Expunge { uids: Some(SequenceSet::scan(c)?) },
        _ if uid => return Err(Problem::bad("no such command with UID")),
        _ => mailboxes(verb, c)?,
    })
}

/// Commands about mailboxes, and about who one is.
fn mailboxes(verb: &str, c: &mut Cursor<'_>) -> Parsed<Command> {
    Ok(match verb {
        "LOGIN" => {
            let user = c.text()?;
            c.space()?;
            Command::Login { user, password: Secret(c.astring()?.into_owned()) }
        }
        "AUTHENTICATE" => {
            let mechanism = c.keyword()?;
            let initial = if c.take(b' ') { Some(initial_response(c)?) } else { None };
            Command::Authenticate { mechanism, initial }
        }
        "ID" => Command::Id(id(c)?),
        "ENABLE" => {
            let mut words = vec![c.keyword()?];
            while c.take(b' ') {
                words.push(c.keyword()?);
            }
            Command::Enable(words)
        }
        "SELECT" | "EXAMINE" => Command::Select(select(c, verb == "EXAMINE")?),
        "CREATE" => create(c)?,
        "DELETE" => Command::Delete { mailbox: c.mailbox()? },
        "RENAME" => {
            let from = c.mailbox()?;
            c.space()?;
            Command::Rename { from, to: c.mailbox()? }
        }
        "SUBSCRIBE" => Command::Subscribe { mailbox: c.mailbox()? },
        "UNSUBSCRIBE" => Command::Unsubscribe { mailbox: c.mailbox()? },
        "LIST" => Command::List(crate::parse_list::list(c)?),
        "LSUB" => {
            let reference = crate::parse_list::reference(c)?;
            c.space()?;
            Command::Lsub { reference, pattern: crate::parse_list::pattern(c)? }
        }
        "STATUS" => {
            let mailbox = c.mailbox()?;
            c.space()?;
            Command::Status { mailbox, items: crate::parse_list::status_items(c)? }
        }
        "GETQUOTA" => Command::GetQuota { root: c.text()? },
        "GETQUOTAROOT" => Command::GetQuotaRoot { mailbox: c.mailbox()? },
        "APPEND" => return Err(Problem::bad("an APPEND has a mailbox, flags, a date and a literal")),
        _ => return Err(Problem::bad("no such command")),
    })
}

/// RFC 4959 §3: base 64, or `=` for an empty response.
fn initial_response(c: &mut Cursor<'_>) -> Parsed<Secret> {
    let run = c.run(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    if run == b"=" {
        return Ok(Secret(Vec::new()));
    }
    decode_base64(run).map(Secret).ok_or(Problem::bad("the initial response is not base 64"))
}

fn id(c: &mut Cursor<'_>) -> Parsed<Vec<(String, Option<String>)>> {
    if c.take_word("NIL") {
        return Ok(Vec::new());
    }
    let pairs = c.list(true, |c| {
        let name = utf8(c.string()?)?;
        c.space()?;
        Ok((name, c.nstring()?.map(utf8).transpose()?))
    })?;
    if pairs.len() > ID_PAIRS_MAX {
        return Err(Problem::bad("an ID has too many fields"));
    }
    Ok(pairs)
}

fn create(c: &mut Cursor<'_>) -> Parsed<Command> {
    let mailbox = c.mailbox()?;
    let mut uses = Vec::new();
    if c.take(b' ') {
        c.expect(b'(', "an opening parenthesis is missing")?;
        if !c.take_word("USE ") {
            return Err(Problem::bad("CREATE knows no such parameter"));
        }
        uses = c.list(true, |c| {
            c.expect(b'\\', "a special use starts with a backslash")?;
            Ok(format!("\\{}", c.atom()?))
        })?;
        c.expect(b')', "a closing parenthesis is missing")?;
    }
    Ok(Command::Create { mailbox, uses })
}

fn select(c: &mut Cursor<'_>, read_only: bool) -> Parsed<Select> {
    let mut select = Select { mailbox: c.mailbox()?, read_only, condstore: false, qresync: None };
    if c.take(b' ') {
        c.list(false, |c| {
            match c.keyword()?.as_str() {
                "CONDSTORE" => select.condstore = true,
                "QRESYNC" => {
                    c.space()?;
                    select.qresync = Some(qresync(c)?);
                }
                _ => return Err(Problem::bad("SELECT knows no such parameter")),
            }
            Ok(())
        })?;
    }
    Ok(select)
}

fn qresync(c: &mut Cursor<'_>) -> Parsed<Qresync> {
    c.expect(b'(', "an opening parenthesis is missing")?;
    let validity = c.nonzero()?;
    c.space()?;
    let mut qresync = Qresync { validity, modseq: c.number64()?, known: None, matching: None };
    if c.take(b' ') {
        if c.peek() != Some(b'(') {
            qresync.known = Some(SequenceSet::scan(c)?);
        }
        if qresync.known.is_none() || c.take(b' ') {
            c.expect(b'(', "an opening parenthesis is missing")?;
            let numbers = SequenceSet::scan(c)?;
            c.space()?;
            qresync.matching = Some((numbers, SequenceSet::scan(c)?));
            c.expect(b')', "a closing parenthesis is missing")?;
        }
    }
    c.expect(b')', "a closing parenthesis is missing")?;
    Ok(qresync)
}

/// A list of flags in parentheses.
pub(crate) fn flag_list(c: &mut Cursor<'_>) -> Parsed<Vec<Flag>> {
    limited(c.list(true, Flag::scan)?)
}

fn limited(mut flags: Vec<Flag>) -> Parsed<Vec<Flag>> {
    flags.sort_unstable();
    flags.dedup();
    if flags.len() > FLAGS_MAX {
        return Err(Problem::no(Code::Limit, "too many flags at once"));
    }
    Ok(flags)
}

fn store(c: &mut Cursor<'_>, uid: bool) -> Parsed<Store> {
    let set = SequenceSet::scan(c)?;
    c.space()?;
    let mut unchanged_since = None;
    if c.take(b'(') {
        if !c.take_word("UNCHANGEDSINCE ") {
            return Err(Problem::bad("STORE knows no such parameter"));
        }
        unchanged_since = Some(c.number64()?);
        c.expect(b')', "a closing parenthesis is missing")?;
        c.space()?;
    }
    let how = match c.peek() {
        Some(b'+') => StoreHow::Add,
        Some(b'-') => StoreHow::Remove,
        _ => StoreHow::Set,
    };
    if how != StoreHow::Set {
        c.run(|b| b == b'+' || b == b'-');
    }
    let silent = match c.keyword()?.as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        _ => return Err(Problem::bad("only FLAGS can be stored")),
    };
    c.space()?;
    let flags = if c.peek() == Some(b'(') {
        flag_list(c)?
    } else {
        let mut flags = vec![Flag::scan(c)?];
        while c.take(b' ') {
            flags.push(Flag::scan(c)?);
        }
        limited(flags)?
    };
    Ok(Store { uid, set, unchanged_since, how, silent, flags })
}
