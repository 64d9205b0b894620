//! The whole view as text, so that two can be compared.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result};
use std::fmt::Write;

/// Tables that follow from the log, in a fixed order. `facts`, `keys` and `collected` are not among them: they may be lost at
/// any time.
const TABLES: [(&str, &str); 13] = [
    ("state", "one"),
    ("accounts", "id"),
    ("folders", "id"),
    ("subscriptions", "account, name"),
    ("messages", "folder, uid"),
    ("expunged", "folder, uid"),
    ("arrivals", "account, trace"),
    ("attempts", "trace, recipient, destination"),
    ("changes", "account, seq"),
    ("pairings", "folder"),
    ("links", "pairing, there"),
    ("brakes", "account"),
    ("halves", "folder, first, uid"),
];

pub(super) fn dump(sql: &Connection) -> Result<String> {
    let mut text = String::new();
    for (table, order) in TABLES {
        let mut select = sql.prepare(&format!("SELECT * FROM {table} ORDER BY {order}"))?;
        let columns = select.column_count();
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            text.push_str(table);
            for column in 0..columns {
                // Writing to a string cannot fail.
                let _ = match row.get_ref(column)? {
                    ValueRef::Null => write!(text, " -"),
                    ValueRef::Integer(number) => write!(text, " {number}"),
                    ValueRef::Real(number) => write!(text, " {number}"),
                    ValueRef::Text(bytes) => write!(text, " {:?}", String::from_utf8_lossy(bytes)),
                    ValueRef::Blob(bytes) => write!(text, " {bytes:02x?}"),
                };
            }
            text.push('\n');
        }
    }
    Ok(text)
}
