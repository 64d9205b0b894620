//! Accounts from a table: CSV with a first line that names the columns.
//!
//! Columns, in any order: `address` (needed), `name`, `aliases` (separated by blanks or `|`), `class` (`person`,
//! `admin`, `shared`, `device`). Separated by commas, or by semicolons as some spreadsheets write it.

use crate::account::{Class, NewAccount};
use std::collections::HashMap;
use std::fmt;
use words_mail::Address;

/// The largest table that is read, bytes.
pub const TABLE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The most accounts in one directory.
pub const ACCOUNTS_MAX: usize = 1_000_000;
/// The most aliases of one account.
pub const ALIASES_MAX: usize = 500;
/// The longest name of an account.
const NAME_BYTES_MAX: usize = 500;
/// So many faults are told; a table with more has one cause for all of them.
const FAULTS_MAX: usize = 50;

/// One account and the line it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Counted from 1; the line with the column names is line 1.
    pub line: u64,
    /// The account.
    pub account: NewAccount,
}

/// What is wrong with a table, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFault {
    /// Counted from 1; 0 when it is about the whole table.
    pub line: u64,
    /// What is wrong and what to do.
    pub words: String,
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.words),
            line => write!(f, "line {line}: {}", self.words),
        }
    }
}

const COLUMNS: [&str; 4] = ["address", "name", "aliases", "class"];

/// Reads a table. Either every line is good or the faults are returned, at most fifty of them.
///
/// # Errors
/// Every line that is not an account, with its number.
pub fn parse_table(content: &[u8]) -> Result<Vec<Row>, Vec<TableFault>> {
    let whole = |words: String| vec![TableFault { line: 0, words }];
    if content.len() > TABLE_BYTES_MAX {
        return Err(whole(format!("the table is larger than {TABLE_BYTES_MAX} bytes; split it")));
    }
    let content = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
    let first = content.split(|b| *b == b'\n').next().unwrap_or_default();
    let separator = if first.contains(&b';') && !first.contains(&b',') { b';' } else { b',' };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(content);
    let columns = match reader.headers() {
        Ok(header) => columns(header)?,
        Err(error) => return Err(vec![csv_fault(&error, content)]),
    };
    let mut rows = Vec::new();
    let mut faults = Vec::new();
    let mut lines: HashMap<String, u64> = HashMap::new();
    let mut record = csv::StringRecord::new();
    loop {
        if faults.len() >= FAULTS_MAX {
            let words = format!("more than {FAULTS_MAX} faults; the rest is not shown");
            faults.push(TableFault { line: 0, words });
            break;
        }
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) if record.iter().all(str::is_empty) => continue,
            Ok(true) if rows.len() >= ACCOUNTS_MAX => {
                return Err(whole(format!("the table has more than {ACCOUNTS_MAX} accounts")));
            }
            Ok(true) => {
                let line = record.position().map_or(0, |at| line_of(content, at));
                match read_row(&record, &columns, line, &mut lines) {
                    Ok(account) => rows.push(Row { line, account }),
                    Err(words) => faults.push(TableFault { line, words }),
                }
            }
            Err(error) => {
                let stuck = !matches!(error.kind(), csv::ErrorKind::Utf8 { .. });
                faults.push(csv_fault(&error, content));
                if stuck {
                    break;
                }
            }
        }
    }
    if faults.is_empty() { Ok(rows) } else { Err(faults) }
}

/// The line a record stands on. The reader's own count stops before the empty lines it skips.
fn line_of(content: &[u8], at: &csv::Position) -> u64 {
    let rest = usize::try_from(at.byte()).ok().and_then(|from| content.get(from..)).unwrap_or_default();
    let skipped = rest.iter().take_while(|b| matches!(b, b'\r' | b'\n'));
    at.line() + skipped.filter(|b| **b == b'\n').count() as u64
}

fn csv_fault(error: &csv::Error, content: &[u8]) -> TableFault {
    let line = error.position().map_or(0, |at| line_of(content, at));
    let words = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "not UTF-8 text; save the table as UTF-8".to_owned(),
        _ => format!("not readable as CSV ({error})"),
    };
    TableFault { line, words }
}

/// Which field of a record is which column.
struct Columns([Option<usize>; 4]);

fn columns(header: &csv::StringRecord) -> Result<Columns, Vec<TableFault>> {
    let mut found = [None; 4];
    let mut faults = Vec::new();
    let mut fault = |words: String| faults.push(TableFault { line: 1, words });
    for (at, name) in header.iter().enumerate() {
        match COLUMNS.iter().position(|column| column.eq_ignore_ascii_case(name)) {
            Some(column) if found[column].is_some() => fault(format!("the column {name} is there twice")),
            Some(column) => found[column] = Some(at),
            None => fault(format!(
                "unknown column {:?}; the first line names the columns, which are {}",
                shorten(name),
                COLUMNS.join(", ")
            )),
        }
    }
    if faults.is_empty() && found[0].is_none() {
        let words = "there is no column address; the first line must name the columns, for example \
                     address,name,aliases,class"
            .to_owned();
        faults.push(TableFault { line: 1, words });
    }
    if faults.is_empty() { Ok(Columns(found)) } else { Err(faults) }
}

fn read_row(
    record: &csv::StringRecord,
    columns: &Columns,
    line: u64,
    lines: &mut HashMap<String, u64>,
) -> Result<NewAccount, String> {
    let field = |column: usize| columns.0[column].and_then(|at| record.get(at)).unwrap_or("");
    let width = columns.0.iter().flatten().count();
    if record.len() > width {
        return Err(format!(
            "{} fields, but the first line names {width}; put quotes around a field with the separator in it",
            record.len()
        ));
    }
    let read = |text: &str| {
        Address::parse(text).map_err(|e| format!("{:?} is not an address: {e}", shorten(text))).and_then(
            |a| {
                if a.domain().is_empty() {
                    Err(format!("{:?} is not an address: it has no domain", shorten(text)))
                } else {
                    Ok(a)
                }
            },
        )
    };
    let mut claim = |address: &Address| match lines.insert(address.key(), line) {
        Some(earlier) if earlier != line => {
            Err(format!("{address} is on line {earlier} too; an address belongs to one account"))
        }
        Some(_) => Err(format!("{address} is there twice; leave one out")),
        None => Ok(()),
    };
    let address = read(field(0))?;
    claim(&address)?;
    let mut aliases = Vec::new();
    for text in field(2).split(|c: char| c.is_whitespace() || c == '|').filter(|t| !t.is_empty()) {
        let alias = read(text)?;
        claim(&alias)?;
        aliases.push(alias);
    }
    if aliases.len() > ALIASES_MAX {
        return Err(format!("{} aliases; an account has at most {ALIASES_MAX}", aliases.len()));
    }
    let class = match field(3) {
        "" => Class::Person,
        word => Class::parse(word).ok_or_else(|| {
            format!("unknown class {:?}; it is person, admin, shared or device", shorten(word))
        })?,
    };
    if field(1).chars().any(char::is_control) || field(1).len() > NAME_BYTES_MAX {
        // An unclosed quote swallows the lines after it.
        return Err("the name has a line break or is too long; is a quote not closed?".to_owned());
    }
    Ok(NewAccount { address, name: field(1).to_owned(), aliases, class })
}

/// Enough of a wrong text to recognise it.
fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    if text.chars().count() <= CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CHARS_MAX).chain(['…']).collect()
}
