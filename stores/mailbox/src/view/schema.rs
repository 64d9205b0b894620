//! The tables.

use super::Applied;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::path::Path;
use std::time::Duration;
use stores_log::Position;

/// Raised with every change of the tables: a view of another version is made anew from the log.
const VERSION: i64 = 3;

/// Pages of cache for each connection, in KiB.
const CACHE_KIB: i64 = 4_096;

const TABLES: &str = "
CREATE TABLE state(one INTEGER PRIMARY KEY CHECK(one = 1), version INTEGER NOT NULL, seq INTEGER, segment INTEGER,
    place INTEGER, folder_next INTEGER NOT NULL, log BLOB);
CREATE TABLE accounts(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, uidvalidity INTEGER NOT NULL,
    replayed INTEGER NOT NULL);
CREATE TABLE folders(id INTEGER PRIMARY KEY, account INTEGER NOT NULL, name TEXT NOT NULL, special TEXT,
    uidvalidity INTEGER NOT NULL, uidnext INTEGER NOT NULL, modseq INTEGER NOT NULL,
    messages INTEGER NOT NULL DEFAULT 0, unseen INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0, UNIQUE(account, name));
CREATE TABLE subscriptions(account INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY(account, name)) WITHOUT ROWID;
CREATE TABLE messages(folder INTEGER NOT NULL, uid INTEGER NOT NULL, modseq INTEGER NOT NULL, date INTEGER NOT NULL,
    size INTEGER NOT NULL, flags INTEGER NOT NULL, keywords TEXT NOT NULL, trace BLOB, own INTEGER NOT NULL,
    segment INTEGER NOT NULL, place INTEGER NOT NULL, filed INTEGER NOT NULL,
    PRIMARY KEY(folder, uid)) WITHOUT ROWID;
CREATE INDEX messages_modseq ON messages(folder, modseq);
CREATE INDEX messages_unseen ON messages(folder, uid) WHERE flags & 8 = 0;
CREATE INDEX messages_deleted ON messages(folder, uid) WHERE flags & 4 != 0;
CREATE INDEX messages_trace ON messages(trace) WHERE trace IS NOT NULL;
CREATE TABLE expunged(folder INTEGER NOT NULL, uid INTEGER NOT NULL, modseq INTEGER NOT NULL, at INTEGER NOT NULL,
    trace BLOB, own INTEGER NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL,
    PRIMARY KEY(folder, uid)) WITHOUT ROWID;
CREATE INDEX expunged_modseq ON expunged(folder, modseq);
CREATE INDEX expunged_trace ON expunged(trace) WHERE trace IS NOT NULL;
CREATE INDEX expunged_own ON expunged(at) WHERE own = 1;
CREATE INDEX messages_own ON messages(segment, place) WHERE own = 1;
CREATE TABLE collected(segment INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY(segment, place)) WITHOUT ROWID;
CREATE TABLE arrivals(account INTEGER NOT NULL, trace BLOB NOT NULL, folder INTEGER NOT NULL, uid INTEGER NOT NULL,
    PRIMARY KEY(account, trace)) WITHOUT ROWID;
CREATE TABLE attempts(trace BLOB NOT NULL, recipient TEXT NOT NULL, destination TEXT NOT NULL, number INTEGER NOT NULL,
    at INTEGER NOT NULL, PRIMARY KEY(trace, recipient, destination)) WITHOUT ROWID;
CREATE TABLE changes(account INTEGER NOT NULL, seq INTEGER NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL,
    PRIMARY KEY(account, seq)) WITHOUT ROWID;
CREATE TABLE facts(own INTEGER NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY(own, segment, place)) WITHOUT ROWID;
CREATE TABLE keys(own INTEGER NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY(own, segment, place)) WITHOUT ROWID;
CREATE TABLE halves(folder INTEGER NOT NULL, first INTEGER NOT NULL, uid INTEGER NOT NULL, modseq INTEGER NOT NULL,
    date INTEGER NOT NULL, size INTEGER NOT NULL, flags INTEGER NOT NULL, keywords TEXT NOT NULL, trace BLOB,
    segment INTEGER NOT NULL, place INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY(folder, first, uid)) WITHOUT ROWID;
INSERT INTO state VALUES(1, 3, NULL, NULL, NULL, 1, NULL);
";

/// Makes the connection that writes ready, and the tables if they are not there.
pub(super) fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    // Derived data: after a power cut it may be a little behind the log, and never inconsistent.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    settle(connection)?;
    let there =
        connection.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'state'", [], |row| {
            row.get::<_, i64>(0)
        })?;
    if there == 0 {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(super::mirror::TABLES)?;
        transaction.commit()?;
    }
    let version: i64 = connection.query_row("SELECT version FROM state", [], |row| row.get(0))?;
    if version != VERSION {
        return Err(rusqlite::Error::InvalidQuery);
    }
    Ok(())
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    settle(&connection)?;
    Ok(connection)
}

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

pub(super) fn applied(connection: &Connection) -> rusqlite::Result<Option<Applied>> {
    let row = connection
        .query_row("SELECT seq, segment, place FROM state WHERE seq IS NOT NULL", [], |row| {
            Ok(Applied {
                seq: number(row.get(0)?),
                position: Position { segment: number(row.get(1)?), offset: number(row.get(2)?) },
            })
        })
        .optional()?;
    Ok(row)
}

/// Which log the view is of.
pub(super) fn log(connection: &Connection) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.query_row("SELECT log FROM state", [], |row| row.get(0))
}

pub(super) fn set_log(connection: &Connection, log: &[u8]) -> rusqlite::Result<()> {
    connection.execute("UPDATE state SET log = ?1", [log]).map(|_| ())
}

pub(super) fn set_applied(connection: &Connection, applied: Applied) -> rusqlite::Result<()> {
    let Applied { seq, position } = applied;
    connection.prepare_cached("UPDATE state SET seq = ?1, segment = ?2, place = ?3")?.execute(params![
        signed(seq),
        signed(position.segment),
        signed(position.offset)
    ])?;
    Ok(())
}

/// SQLite's integers are signed; ours never reach the sign bit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn number(signed: i64) -> u64 {
    u64::try_from(signed).unwrap_or(0)
}
