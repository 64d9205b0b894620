//! Events applied to the tables. What comes out depends on nothing but the tables and the event, so that the same
//! log gives the same view on every node and after every crash.

use super::schema::{self, number, signed};
use super::{Applied, Derived, Found, View};
use crate::event::{Attempt, By, Event, Opened, Together};
use crate::mirror::Mirrored;
use crate::{Flags, FolderId, UidRanges};
use rusqlite::{Connection, OptionalExtension, Result, params};
use stores_log::Position;
use words_mail::{AccountId, Time, TraceId};

/// Where and when a record was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) seq: u64,
    pub(crate) position: Position,
    pub(crate) at: Time,
}

/// One record of the log.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Event(Event),
    Attempt(Attempt),
    Mirrored(Mirrored),
}

/// What an event did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// The messages it really changed, copied or removed: those that were still there.
    pub(crate) uids: UidRanges,
    /// The messages it left alone, because they had changed.
    pub(crate) left: UidRanges,
    /// Where a message now is.
    pub(crate) placed: Option<(FolderId, u32)>,
    /// Whether the folder it was about did not exist any more, or its name was taken.
    pub(crate) missed: bool,
    /// Whether it waits for others, without which it is void.
    pub(crate) held: bool,
}

impl Effect {
    pub(crate) fn missed() -> Effect {
        Effect { missed: true, ..Effect::default() }
    }
}

impl View {
    /// Applies entries and the position they lead to in one transaction.
    pub(crate) fn apply(&self, batch: &[(Stamp, Entry)]) -> Result<Vec<Effect>> {
        let Some((last, _)) = batch.last() else { return Ok(Vec::new()) };
        self.write(|sql| {
            let effects = batch.iter().map(|(stamp, entry)| Apply { sql, stamp }.entry(entry)).collect();
            schema::set_applied(sql, Applied { seq: last.seq, position: last.position })?;
            effects
        })
    }

    /// Keeps what was found out about a message; it may be lost at any time.
    pub(crate) fn keep(&self, found: &[Found]) -> Result<()> {
        self.write(|sql| {
            let mut facts = sql.prepare_cached("INSERT OR REPLACE INTO facts VALUES(?1, ?2, ?3, ?4)")?;
            let mut keys = sql.prepare_cached("INSERT OR REPLACE INTO keys VALUES(?1, ?2, ?3, ?4)")?;
            for Found { what, own, position, content } in found {
                let insert = match what {
                    Derived::Facts => &mut facts,
                    Derived::Keys => &mut keys,
                };
                insert.execute(params![own, signed(position.segment), signed(position.offset), content])?;
            }
            Ok(())
        })
    }

    /// Notes bodies that were collected, so that they are not looked for again.
    pub(crate) fn note_collected(&self, gone: &[Position]) -> Result<()> {
        self.write(|sql| {
            let mut insert = sql.prepare_cached("INSERT OR IGNORE INTO collected VALUES(?1, ?2)")?;
            let mut forget =
                sql.prepare_cached("DELETE FROM facts WHERE own = 1 AND segment = ?1 AND place = ?2")?;
            let mut forget_keys =
                sql.prepare_cached("DELETE FROM keys WHERE own = 1 AND segment = ?1 AND place = ?2")?;
            for position in gone {
                insert.execute(params![signed(position.segment), signed(position.offset)])?;
                forget.execute(params![signed(position.segment), signed(position.offset)])?;
                forget_keys.execute(params![signed(position.segment), signed(position.offset)])?;
            }
            Ok(())
        })
    }

    /// Forgets attempts older than `before`: their queue time is long over.
    pub(crate) fn forget_attempts(&self, before: Time) -> Result<()> {
        self.write(|sql| sql.execute("DELETE FROM attempts WHERE at < ?1", [before.0]).map(|_| ()))
    }
}

pub(super) struct Apply<'a> {
    pub(super) sql: &'a Connection,
    pub(super) stamp: &'a Stamp,
}

/// A row of `messages` as far as changes need it.
pub(super) struct Row {
    pub(super) uid: u32,
    pub(super) modseq: u64,
    pub(super) date: i64,
    pub(super) size: i64,
    pub(super) flags: Flags,
    pub(super) trace: Option<Vec<u8>>,
    pub(super) own: bool,
    pub(super) segment: i64,
    pub(super) place: i64,
}

impl Apply<'_> {
    fn entry(&self, entry: &Entry) -> Result<Effect> {
        match self.applied(entry) {
            // Cannot happen while numbers are allotted once; if it does, one event must not stop all that follow.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                tracing::error!(seq = self.stamp.seq, %error, "an event contradicts those before it and is passed over");
                Ok(Effect::missed())
            }
            other => other,
        }
    }

    fn applied(&self, entry: &Entry) -> Result<Effect> {
        match entry {
            Entry::Event(event) => {
                let effect = self.event(event)?;
                self.follow_links(event, &effect.uids)?;
                if let Some(account) = event.account()
                    && event.by() == By::Person
                    && !effect.missed
                    && !effect.held
                {
                    let Stamp { seq, position, .. } = *self.stamp;
                    self.note_change(account, seq, position)?;
                }
                Ok(effect)
            }
            Entry::Attempt(attempt) => self.attempt(attempt),
            Entry::Mirrored(fact) => self.mirrored(fact),
        }
    }

    fn event(&self, event: &Event) -> Result<Effect> {
        match event {
            Event::AccountOpened { account, folders } => {
                let id = self.account(account)?;
                for opened in folders {
                    self.create(id, opened)?;
                    self.subscribe(id, &opened.name, true)?;
                }
                Ok(Effect::default())
            }
            Event::FolderCreated { account, opened, .. } => self.create(self.account(account)?, opened),
            Event::FolderRenamed { account, folder, from, to, .. } => self.rename(account, *folder, from, to),
            Event::FolderDeleted { folder, .. } => self.delete(*folder),
            Event::Subscribed { account, name, on, .. } => {
                self.subscribe(self.account(account)?, name, *on)?;
                Ok(Effect::default())
            }
            Event::Arrived { account, trace, .. } => self.arrive(event, account, *trace),
            Event::Appended { account, folder, uid, modseq, trace, date, size, flags, by, together } => {
                let row = Row {
                    uid: *uid,
                    modseq: *modseq,
                    date: date.0,
                    size: signed(*size),
                    flags: flags.clone(),
                    trace: trace.map(|t| t.bytes().to_vec()),
                    own: true,
                    segment: signed(self.stamp.position.segment),
                    place: signed(self.stamp.position.offset),
                };
                match together {
                    None => self.place(*folder, &row),
                    Some(together) => self.hold(account, *folder, &row, *by, *together),
                }
            }
            Event::Recognised { account, folder, uid, trace } => {
                self.recognise(account, *folder, *uid, *trace)
            }
            Event::FlagsChanged { .. } => self.change_flags(event),
            Event::Copied { from, uids, to, first, modseq, .. } => {
                self.copy(*from, uids, *to, *first, *modseq)
            }
            Event::Moved { from, uids, left, to, first, modseq, .. } => {
                let effect = self.copy(*from, uids, *to, *first, *modseq)?;
                if !effect.missed {
                    self.expunge(*from, &effect.uids, *left)?;
                }
                Ok(effect)
            }
            Event::Expunged { folder, uids, modseq, .. } => self.expunge(*folder, uids, *modseq),
            Event::Jumped { by } => {
                self.sql.execute(
                    "UPDATE folders SET uidnext = min(uidnext + ?1, 4294967295), modseq = modseq + ?1",
                    [by],
                )?;
                Ok(Effect::default())
            }
            Event::Replayed { account, up_to } => {
                let id = self.account(account)?;
                self.sql.execute(
                    "UPDATE accounts SET replayed = max(replayed, ?2) WHERE id = ?1",
                    params![id, signed(*up_to)],
                )?;
                Ok(Effect::default())
            }
        }
    }

    /// The row number of an account, which is made when it is new.
    pub(super) fn account(&self, account: &AccountId) -> Result<i64> {
        let mut select = self.sql.prepare_cached("SELECT id FROM accounts WHERE name = ?1")?;
        if let Some(id) = select.query_row([account.as_str()], |row| row.get(0)).optional()? {
            return Ok(id);
        }
        self.sql
            .prepare_cached("INSERT INTO accounts(name, uidvalidity, replayed) VALUES(?1, 0, 0)")?
            .execute([account.as_str()])?;
        Ok(self.sql.last_insert_rowid())
    }

    fn note_change(&self, account: &AccountId, seq: u64, position: Position) -> Result<()> {
        let id = self.account(account)?;
        self.sql.prepare_cached("INSERT OR IGNORE INTO changes VALUES(?1, ?2, ?3, ?4)")?.execute(params![
            id,
            signed(seq),
            signed(position.segment),
            signed(position.offset)
        ])?;
        Ok(())
    }

    fn create(&self, account: i64, opened: &Opened) -> Result<Effect> {
        let made = self
            .sql
            .prepare_cached(
                "INSERT OR IGNORE INTO folders(id, account, name, special, uidvalidity, uidnext, modseq)
                 VALUES(?1, ?2, ?3, ?4, ?5, 1, 1)",
            )?
            .execute(params![
                signed(opened.folder.0),
                account,
                opened.name,
                opened.special.map(|s| s.attribute()),
                opened.uidvalidity
            ])?;
        self.sql
            .prepare_cached("UPDATE accounts SET uidvalidity = max(uidvalidity, ?2) WHERE id = ?1")?
            .execute(params![account, opened.uidvalidity])?;
        self.sql
            .prepare_cached("UPDATE state SET folder_next = max(folder_next, ?1 + 1)")?
            .execute([signed(opened.folder.0)])?;
        Ok(Effect { missed: made == 0, placed: Some((opened.folder, 0)), ..Effect::default() })
    }

    fn rename(&self, account: &AccountId, folder: FolderId, from: &str, to: &str) -> Result<Effect> {
        let id = self.account(account)?;
        let taken = self
            .sql
            .prepare_cached(
                "SELECT 1 FROM folders WHERE account = ?1 AND (name = ?2 OR substr(name, 1, length(?2) + 1) = ?2 || '/')",
            )?
            .exists(params![id, to])?;
        let there = self
            .sql
            .prepare_cached("SELECT 1 FROM folders WHERE account = ?1 AND id = ?2 AND name = ?3")?
            .exists(params![id, signed(folder.0), from])?;
        if taken || !there {
            return Ok(Effect::missed());
        }
        self.sql
            .prepare_cached(
                "UPDATE folders SET name = ?3 || substr(name, length(?2) + 1)
                 WHERE account = ?1 AND (name = ?2 OR substr(name, 1, length(?2) + 1) = ?2 || '/')",
            )?
            .execute(params![id, from, to])?;
        Ok(Effect::default())
    }

    fn delete(&self, folder: FolderId) -> Result<Effect> {
        let modseq = self.modseq(folder)?;
        let Some(modseq) = modseq else { return Ok(Effect::missed()) };
        self.expunge(folder, &UidRanges::span(1, u32::MAX), modseq)?;
        self.sql.prepare_cached("DELETE FROM folders WHERE id = ?1")?.execute([signed(folder.0)])?;
        Ok(Effect::default())
    }

    fn modseq(&self, folder: FolderId) -> Result<Option<u64>> {
        self.sql
            .prepare_cached("SELECT modseq FROM folders WHERE id = ?1")?
            .query_row([signed(folder.0)], |row| row.get(0).map(number))
            .optional()
    }

    fn subscribe(&self, account: i64, name: &str, on: bool) -> Result<()> {
        let text = if on {
            "INSERT OR IGNORE INTO subscriptions VALUES(?1, ?2)"
        } else {
            "DELETE FROM subscriptions WHERE account = ?1 AND name = ?2"
        };
        self.sql.prepare_cached(text)?.execute(params![account, name])?;
        Ok(())
    }

    fn arrive(&self, event: &Event, account: &AccountId, trace: TraceId) -> Result<Effect> {
        let Event::Arrived { folder, uid, modseq, journal, date, size, flags, .. } = event else {
            return Ok(Effect::missed());
        };
        let id = self.account(account)?;
        if let Some(placed) = arrival(self.sql, id, trace)? {
            return Ok(Effect { placed: Some(placed), ..Effect::default() });
        }
        let row = Row {
            uid: *uid,
            modseq: *modseq,
            date: date.0,
            size: signed(*size),
            flags: flags.clone(),
            trace: Some(trace.bytes().to_vec()),
            own: false,
            segment: signed(journal.segment),
            place: signed(journal.offset),
        };
        let effect = self.place(*folder, &row)?;
        if !effect.missed {
            self.note_arrival(id, trace, *folder, *uid)?;
        }
        Ok(effect)
    }

    fn note_arrival(&self, account: i64, trace: TraceId, folder: FolderId, uid: u32) -> Result<()> {
        self.sql
            .prepare_cached("INSERT OR IGNORE INTO arrivals VALUES(?1, ?2, ?3, ?4)")?
            .execute(params![account, trace.bytes(), signed(folder.0), uid])?;
        Ok(())
    }

    fn recognise(&self, account: &AccountId, folder: FolderId, uid: u32, trace: TraceId) -> Result<Effect> {
        let there = self
            .sql
            .prepare_cached("UPDATE messages SET trace = ?3 WHERE folder = ?1 AND uid = ?2")?
            .execute(params![signed(folder.0), uid, trace.bytes()])?;
        if there == 0 {
            return Ok(Effect::missed());
        }
        self.note_arrival(self.account(account)?, trace, folder, uid)?;
        Ok(Effect { placed: Some((folder, uid)), ..Effect::default() })
    }

    pub(super) fn place(&self, folder: FolderId, row: &Row) -> Result<Effect> {
        let there = self
            .sql
            .prepare_cached(
                "UPDATE folders SET uidnext = max(uidnext, ?2 + 1), modseq = max(modseq, ?3) WHERE id = ?1",
            )?
            .execute(params![signed(folder.0), row.uid, signed(row.modseq)])?;
        if there == 0 {
            return Ok(Effect::missed());
        }
        self.sql
            .prepare_cached("INSERT INTO messages VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")?
            .execute(params![
                signed(folder.0),
                row.uid,
                signed(row.modseq),
                row.date,
                row.size,
                row.flags.bits(),
                row.flags.keyword_text(),
                row.trace,
                row.own,
                row.segment,
                row.place,
                self.stamp.at.0
            ])?;
        self.count(folder, 1, &row.flags, row.size)?;
        Ok(Effect {
            uids: UidRanges::span(row.uid, row.uid),
            placed: Some((folder, row.uid)),
            ..Effect::default()
        })
    }

    /// One of several messages that are put into a folder all or none: with the last of them all are.
    fn hold(
        &self,
        account: &AccountId,
        folder: FolderId,
        row: &Row,
        by: By,
        together: Together,
    ) -> Result<Effect> {
        let Together { first, of } = together;
        // Whatever becomes of them, their UIDs are given.
        let next = u64::from(first) + u64::from(of);
        let there = self
            .sql
            .prepare_cached("UPDATE folders SET uidnext = min(max(uidnext, ?2), 4294967295) WHERE id = ?1")?
            .execute(params![signed(folder.0), signed(next)])?;
        if u64::from(row.uid) + 1 < next {
            self.put_aside(folder, first, row)?;
            return Ok(Effect { held: true, ..Effect::default() });
        }
        let halves = self.halves(folder, first)?;
        if halves.len() + 1 != of as usize || there == 0 {
            // Kept where its body can be found and collected.
            self.put_aside(folder, first, row)?;
            return Ok(Effect::missed());
        }
        for (seq, half) in &halves {
            self.place(folder, half)?;
            if by == By::Person {
                let position = Position { segment: number(half.segment), offset: number(half.place) };
                self.note_change(account, *seq, position)?;
            }
        }
        self.sql
            .prepare_cached("DELETE FROM halves WHERE folder = ?1 AND first = ?2")?
            .execute(params![signed(folder.0), first])?;
        let effect = self.place(folder, row)?;
        Ok(Effect { uids: UidRanges::span(first, row.uid), ..effect })
    }

    fn put_aside(&self, folder: FolderId, first: u32, row: &Row) -> Result<()> {
        self.sql
            .prepare_cached(
                "INSERT INTO halves VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                signed(folder.0),
                first,
                row.uid,
                signed(row.modseq),
                row.date,
                row.size,
                row.flags.bits(),
                row.flags.keyword_text(),
                row.trace,
                row.segment,
                row.place,
                signed(self.stamp.seq),
                self.stamp.at.0
            ])?;
        Ok(())
    }

    fn halves(&self, folder: FolderId, first: u32) -> Result<Vec<(u64, Row)>> {
        let mut select = self.sql.prepare_cached(
            "SELECT uid, date, size, flags, keywords, trace, segment, place, modseq, seq FROM halves
             WHERE folder = ?1 AND first = ?2 ORDER BY uid",
        )?;
        let rows = select.query_map(params![signed(folder.0), first], |row| {
            let half = Row {
                uid: row.get(0)?,
                date: row.get(1)?,
                size: row.get(2)?,
                flags: Flags::from_parts(row.get(3)?, row.get_ref(4)?.as_str()?),
                trace: row.get(5)?,
                own: true,
                segment: row.get(6)?,
                place: row.get(7)?,
                modseq: number(row.get(8)?),
            };
            Ok((number(row.get(9)?), half))
        })?;
        rows.collect()
    }

    fn count(&self, folder: FolderId, sign: i64, flags: &Flags, size: i64) -> Result<()> {
        self.sql
            .prepare_cached(
                "UPDATE folders SET messages = messages + ?2, unseen = unseen + ?3, deleted = deleted + ?4,
                 bytes = bytes + ?5 WHERE id = ?1",
            )?
            .execute(params![
                signed(folder.0),
                sign,
                sign * i64::from(!flags.has(Flags::SEEN)),
                sign * i64::from(flags.has(Flags::DELETED)),
                sign * size
            ])?;
        Ok(())
    }

    fn rows(&self, folder: FolderId, first: u32, last: u32) -> Result<Vec<Row>> {
        let mut select = self.sql.prepare_cached(
            "SELECT uid, date, size, flags, keywords, trace, own, segment, place, modseq FROM messages
             WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid",
        )?;
        let rows = select.query_map(params![signed(folder.0), first, last], |row| {
            Ok(Row {
                uid: row.get(0)?,
                date: row.get(1)?,
                size: row.get(2)?,
                flags: Flags::from_parts(row.get(3)?, row.get_ref(4)?.as_str()?),
                trace: row.get(5)?,
                own: row.get(6)?,
                segment: row.get(7)?,
                place: row.get(8)?,
                modseq: number(row.get(9)?),
            })
        })?;
        rows.collect()
    }

    fn raise(&self, folder: FolderId, modseq: u64) -> Result<()> {
        self.sql
            .prepare_cached("UPDATE folders SET modseq = max(modseq, ?2) WHERE id = ?1")?
            .execute(params![signed(folder.0), signed(modseq)])?;
        Ok(())
    }

    fn change_flags(&self, event: &Event) -> Result<Effect> {
        let Event::FlagsChanged { folder, uids, how, flags: by, modseq, unchanged_since, .. } = event else {
            return Ok(Effect::missed());
        };
        let (folder, modseq) = (*folder, *modseq);
        let mut left = UidRanges::new();
        let mut changed = UidRanges::new();
        let mut update = self.sql.prepare_cached(
            "UPDATE messages SET flags = ?3, keywords = ?4, modseq = ?5 WHERE folder = ?1 AND uid = ?2",
        )?;
        for (first, last) in uids.spans() {
            for row in self.rows(folder, first, last)? {
                if unchanged_since.is_some_and(|since| row.modseq > since) {
                    left.insert(row.uid);
                    continue;
                }
                let flags = row.flags.changed(*how, by);
                if flags == row.flags {
                    continue;
                }
                let keywords = flags.keyword_text();
                update.execute(params![signed(folder.0), row.uid, flags.bits(), keywords, signed(modseq)])?;
                if flags.bits() != row.flags.bits() {
                    self.count(folder, -1, &row.flags, row.size)?;
                    self.count(folder, 1, &flags, row.size)?;
                }
                changed.insert(row.uid);
            }
        }
        if !changed.is_empty() {
            self.raise(folder, modseq)?;
        }
        Ok(Effect { uids: changed, left, ..Effect::default() })
    }

    fn copy(
        &self,
        from: FolderId,
        uids: &UidRanges,
        to: FolderId,
        first: u32,
        modseq: u64,
    ) -> Result<Effect> {
        let mut copied = UidRanges::new();
        let mut before = 0;
        for (low, high) in uids.spans() {
            for mut row in self.rows(from, low, high)? {
                let source = row.uid;
                row.uid = first + before + (source - low);
                row.modseq = modseq;
                if self.place(to, &row)?.missed {
                    return Ok(Effect::missed());
                }
                copied.insert(source);
            }
            before += high - low + 1;
        }
        Ok(Effect { uids: copied, ..Effect::default() })
    }

    fn expunge(&self, folder: FolderId, uids: &UidRanges, modseq: u64) -> Result<Effect> {
        let mut gone = UidRanges::new();
        let mut bury = self
            .sql
            .prepare_cached("INSERT OR REPLACE INTO expunged VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        for (first, last) in uids.spans() {
            for row in self.rows(folder, first, last)? {
                let at = self.stamp.at.0;
                let Row { uid, trace, own, segment, place, .. } = &row;
                bury.execute(params![signed(folder.0), uid, signed(modseq), at, trace, own, segment, place])?;
                self.count(folder, -1, &row.flags, row.size)?;
                gone.insert(row.uid);
            }
            self.sql
                .prepare_cached("DELETE FROM messages WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3")?
                .execute(params![signed(folder.0), first, last])?;
        }
        if !gone.is_empty() {
            self.raise(folder, modseq)?;
        }
        Ok(Effect { uids: gone, ..Effect::default() })
    }

    fn attempt(&self, attempt: &Attempt) -> Result<Effect> {
        self.sql.prepare_cached("INSERT OR REPLACE INTO attempts VALUES(?1, ?2, ?3, ?4, ?5)")?.execute(
            params![
                attempt.trace.bytes(),
                attempt.recipient.to_string(),
                serde_json::to_string(&attempt.destination).unwrap_or_default(),
                attempt.number,
                self.stamp.at.0
            ],
        )?;
        Ok(Effect::default())
    }
}

/// Where a message of the journal was put for an account, if it was.
pub(super) fn arrival(sql: &Connection, account: i64, trace: TraceId) -> Result<Option<(FolderId, u32)>> {
    sql.prepare_cached("SELECT folder, uid FROM arrivals WHERE account = ?1 AND trace = ?2")?
        .query_row(params![account, trace.bytes()], |row| Ok((FolderId(number(row.get(0)?)), row.get(1)?)))
        .optional()
}
