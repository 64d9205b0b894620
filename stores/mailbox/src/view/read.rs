//! Questions to the tables.

use super::schema::{number, signed};
use super::{View, apply};
use crate::body::BodyAt;
use crate::event::Attempt;
use crate::folder::{Counts, Folder, SpecialUse};
use crate::{Flags, FolderId, MailboxError, UidRanges};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use std::collections::BTreeSet;
use stores_log::Position;
use words_mail::{AccountId, Time, TraceId};

/// One message in a folder, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its UID.
    pub uid: u32,
    /// Its MODSEQ (RFC 7162).
    pub modseq: u64,
    /// INTERNALDATE.
    pub date: Time,
    /// Its size in bytes.
    pub size: u64,
    /// Its flags.
    pub flags: Flags,
    /// Our trace id, if it came through us.
    pub trace: Option<TraceId>,
    /// Where its bytes are.
    pub body: BodyAt,
    /// When it was put into this folder.
    pub filed: Time,
}

/// A folder at the moment of its selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder.
    pub folder: Folder,
    /// The UIDs in it.
    pub uids: UidRanges,
    /// The least UID without `\Seen`.
    pub first_unseen: Option<u32>,
    /// Keywords in use.
    pub keywords: BTreeSet<String>,
}

/// What changed in a folder after some MODSEQ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The MODSEQ this takes the asker to.
    pub modseq: u64,
    /// Messages that are new or have other flags, by UID.
    pub messages: Vec<(u32, Flags, u64)>,
    /// Messages that are gone.
    pub expunged: UidRanges,
}

const FOLDER: &str = "SELECT id, name, special, uidvalidity, uidnext, modseq FROM folders";
const MESSAGE: &str =
    "SELECT uid, modseq, date, size, flags, keywords, trace, own, segment, place, filed FROM messages";

fn folder(row: &Row<'_>) -> Result<Folder> {
    Ok(Folder {
        id: FolderId(number(row.get(0)?)),
        name: row.get(1)?,
        special: row.get_ref(2)?.as_str_or_null()?.and_then(SpecialUse::from_attribute),
        uidvalidity: row.get(3)?,
        uidnext: row.get(4)?,
        modseq: number(row.get(5)?),
    })
}

pub(super) fn message(row: &Row<'_>) -> Result<Message> {
    let trace = row.get_ref(6)?.as_blob_or_null()?.and_then(trace_id);
    Ok(Message {
        uid: row.get(0)?,
        modseq: number(row.get(1)?),
        date: Time(row.get(2)?),
        size: number(row.get(3)?),
        flags: Flags::from_parts(row.get(4)?, row.get_ref(5)?.as_str()?),
        trace,
        body: body_at(row.get(7)?, trace, row.get(8)?, row.get(9)?),
        filed: Time(row.get(10)?),
    })
}

fn body_at(own: bool, trace: Option<TraceId>, segment: i64, place: i64) -> BodyAt {
    let position = Position { segment: number(segment), offset: number(place) };
    match trace {
        Some(trace) if !own => BodyAt::Journal { trace, position },
        _ => BodyAt::Own { position },
    }
}

/// The id that was taken apart by [`TraceId::bytes`].
pub(crate) fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    let (millis, random) = bytes.split_at_checked(6)?;
    let millis = millis.iter().fold(0i64, |sum, byte| sum << 8 | i64::from(*byte));
    Some(TraceId::new(Time(millis * 1_000), random.try_into().ok()?))
}

impl Message {
    /// An id that says the same of every copy of the message and of no other, for ever (RFC 8474 §5.1).
    pub fn email_id(&self) -> String {
        match &self.body {
            BodyAt::Journal { trace, .. } => format!("M{trace}"),
            BodyAt::Own { position } => format!("P{}-{}", position.segment, position.offset),
        }
    }
}

impl View {
    fn account_row(sql: &Connection, account: &AccountId) -> Result<Option<i64>> {
        sql.prepare_cached("SELECT id FROM accounts WHERE name = ?1")?
            .query_row([account.as_str()], |row| row.get(0))
            .optional()
    }

    /// Every account that was opened.
    pub(crate) fn accounts(&self) -> Result<Vec<AccountId>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached("SELECT name FROM accounts ORDER BY name")?;
            select.query_map([], |row| Ok(AccountId::new(row.get_ref(0)?.as_str()?)))?.collect()
        })
    }

    /// The greatest UIDVALIDITY an account has given, and up to where its changes were replayed.
    pub(crate) fn account(&self, account: &AccountId) -> Result<Option<(u32, u64)>, MailboxError> {
        self.read(|sql| {
            sql.prepare_cached("SELECT uidvalidity, replayed FROM accounts WHERE name = ?1")?
                .query_row([account.as_str()], |row| Ok((row.get(0)?, number(row.get(1)?))))
                .optional()
        })
    }

    /// The number the next folder gets.
    pub(crate) fn folder_next(&self) -> Result<u64, MailboxError> {
        self.read(|sql| sql.query_row("SELECT folder_next FROM state", [], |row| row.get(0).map(number)))
    }

    /// The folders of an account, by name.
    pub(crate) fn folders(&self, account: &AccountId) -> Result<Vec<Folder>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached(&format!(
                "{FOLDER} WHERE account = (SELECT id FROM accounts WHERE name = ?1) ORDER BY name"
            ))?;
            select.query_map([account.as_str()], folder)?.collect()
        })
    }

    /// A folder by its name.
    pub(crate) fn folder(&self, account: &AccountId, name: &str) -> Result<Option<Folder>, MailboxError> {
        self.read(|sql| {
            sql.prepare_cached(&format!(
                "{FOLDER} WHERE account = (SELECT id FROM accounts WHERE name = ?1) AND name = ?2"
            ))?
            .query_row(params![account.as_str(), name], folder)
            .optional()
        })
    }

    /// A folder by its number.
    pub(crate) fn folder_by_id(&self, id: FolderId) -> Result<Option<Folder>, MailboxError> {
        self.read(|sql| {
            sql.prepare_cached(&format!("{FOLDER} WHERE id = ?1"))?
                .query_row([signed(id.0)], folder)
                .optional()
        })
    }

    /// The figures `STATUS` shows.
    pub(crate) fn counts(&self, id: FolderId) -> Result<Option<Counts>, MailboxError> {
        self.read(|sql| {
            sql.prepare_cached("SELECT messages, unseen, deleted, bytes FROM folders WHERE id = ?1")?
                .query_row([signed(id.0)], |row| {
                    Ok(Counts {
                        messages: number(row.get(0)?),
                        unseen: number(row.get(1)?),
                        deleted: number(row.get(2)?),
                        bytes: number(row.get(3)?),
                    })
                })
                .optional()
        })
    }

    /// The names an account is subscribed to.
    pub(crate) fn subscriptions(&self, account: &AccountId) -> Result<Vec<String>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached(
                "SELECT name FROM subscriptions WHERE account = (SELECT id FROM accounts WHERE name = ?1) ORDER BY name",
            )?;
            select.query_map([account.as_str()], |row| row.get(0))?.collect()
        })
    }

    /// A folder with the UIDs in it.
    pub(crate) fn snapshot(&self, id: FolderId) -> Result<Option<Snapshot>, MailboxError> {
        self.read(|sql| {
            let found = sql
                .prepare_cached(&format!("{FOLDER} WHERE id = ?1"))?
                .query_row([signed(id.0)], folder)
                .optional()?;
            let Some(folder) = found else { return Ok(None) };
            let (mut uids, mut keywords) = (UidRanges::new(), BTreeSet::new());
            let mut select =
                sql.prepare_cached("SELECT uid, keywords FROM messages WHERE folder = ?1 ORDER BY uid")?;
            let mut rows = select.query([signed(id.0)])?;
            while let Some(row) = rows.next()? {
                uids.insert(row.get(0)?);
                for keyword in row.get_ref(1)?.as_str()?.split(' ').filter(|k| !k.is_empty()) {
                    if !keywords.contains(keyword) {
                        keywords.insert(keyword.to_owned());
                    }
                }
            }
            let first_unseen = sql
                .prepare_cached("SELECT min(uid) FROM messages WHERE folder = ?1 AND flags & 8 = 0")?
                .query_row([signed(id.0)], |row| row.get(0))?;
            Ok(Some(Snapshot { folder, uids, first_unseen, keywords }))
        })
    }

    /// The messages of a folder with UIDs from `first` to `last`, at most `limit` of them.
    pub(crate) fn page(
        &self,
        id: FolderId,
        first: u32,
        last: u32,
        limit: u32,
    ) -> Result<Vec<Message>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached(&format!(
                "{MESSAGE} WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid LIMIT ?4"
            ))?;
            select.query_map(params![signed(id.0), first, last, limit], message)?.collect()
        })
    }

    /// The last messages that were put into a folder.
    pub(crate) fn latest(&self, id: FolderId, limit: u32) -> Result<Vec<Message>, MailboxError> {
        self.read(|sql| {
            let mut select =
                sql.prepare_cached(&format!("{MESSAGE} WHERE folder = ?1 ORDER BY uid DESC LIMIT ?2"))?;
            select.query_map(params![signed(id.0), limit], message)?.collect()
        })
    }

    /// Which of `uids` are in the folder; only those with `\Deleted` when `deleted`.
    pub(crate) fn existing(
        &self,
        id: FolderId,
        uids: &UidRanges,
        deleted: bool,
    ) -> Result<UidRanges, MailboxError> {
        let text = if deleted {
            "SELECT uid FROM messages WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 AND flags & 4 != 0 ORDER BY uid"
        } else {
            "SELECT uid FROM messages WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid"
        };
        self.read(|sql| {
            let mut there = UidRanges::new();
            let mut select = sql.prepare_cached(text)?;
            for (first, last) in uids.spans() {
                let mut rows = select.query(params![signed(id.0), first, last])?;
                while let Some(row) = rows.next()? {
                    there.insert(row.get(0)?);
                }
            }
            Ok(there)
        })
    }

    /// What changed after `since`; `None` when the folder is gone.
    pub(crate) fn changed(&self, id: FolderId, since: u64) -> Result<Option<Changed>, MailboxError> {
        self.read(|sql| {
            let modseq = sql
                .prepare_cached("SELECT modseq FROM folders WHERE id = ?1")?
                .query_row([signed(id.0)], |row| row.get(0).map(number))
                .optional()?;
            let Some(modseq) = modseq else { return Ok(None) };
            let mut changed = Changed { modseq, ..Changed::default() };
            if modseq == since {
                return Ok(Some(changed));
            }
            let mut select = sql.prepare_cached(
                "SELECT uid, flags, keywords, modseq FROM messages WHERE folder = ?1 AND modseq > ?2",
            )?;
            let rows = select.query_map(params![signed(id.0), signed(since)], |row| {
                let flags = Flags::from_parts(row.get(1)?, row.get_ref(2)?.as_str()?);
                Ok((row.get(0)?, flags, number(row.get(3)?)))
            })?;
            changed.messages = rows.collect::<Result<_>>()?;
            changed.messages.sort_by_key(|(uid, ..)| *uid);
            let mut select = sql
                .prepare_cached("SELECT uid FROM expunged WHERE folder = ?1 AND modseq > ?2 ORDER BY uid")?;
            let mut rows = select.query(params![signed(id.0), signed(since)])?;
            while let Some(row) = rows.next()? {
                changed.expunged.insert(row.get(0)?);
            }
            Ok(Some(changed))
        })
    }

    /// Where a message of the journal was put for an account, if it was.
    pub(crate) fn arrival(
        &self,
        account: &AccountId,
        trace: TraceId,
    ) -> Result<Option<(FolderId, u32)>, MailboxError> {
        self.read(|sql| match Self::account_row(sql, account)? {
            Some(id) => apply::arrival(sql, id, trace),
            None => Ok(None),
        })
    }

    /// Where copies of a message are now, in the folders of an account.
    pub(crate) fn copies(
        &self,
        account: &AccountId,
        trace: TraceId,
    ) -> Result<Vec<(FolderId, u32)>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached(
                "SELECT m.folder, m.uid FROM messages m JOIN folders f ON f.id = m.folder
                 WHERE m.trace = ?2 AND f.account = (SELECT id FROM accounts WHERE name = ?1) ORDER BY 1, 2",
            )?;
            let rows = select.query_map(params![account.as_str(), trace.bytes()], |row| {
                Ok((FolderId(number(row.get(0)?)), row.get(1)?))
            })?;
            rows.collect()
        })
    }

    /// What the messages `uids` of a folder are or were: also of those that are gone.
    pub(crate) fn known(
        &self,
        id: FolderId,
        uids: &UidRanges,
    ) -> Result<Vec<(u32, Option<TraceId>, BodyAt)>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached(
                "SELECT uid, trace, own, segment, place FROM messages WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3
                 UNION ALL
                 SELECT uid, trace, own, segment, place FROM expunged WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3
                 ORDER BY uid",
            )?;
            let mut known = Vec::new();
            for (first, last) in uids.spans() {
                let rows = select.query_map(params![signed(id.0), first, last], |row| {
                    let trace = row.get_ref(1)?.as_blob_or_null()?.and_then(trace_id);
                    Ok((row.get(0)?, trace, body_at(row.get(2)?, trace, row.get(3)?, row.get(4)?)))
                })?;
                for row in rows {
                    known.push(row?);
                }
            }
            Ok(known)
        })
    }

    /// Where the changes of people stand in the log, after the sequence number `after`.
    pub(crate) fn changes(
        &self,
        account: &AccountId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Position>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached(
                "SELECT segment, place FROM changes WHERE account = (SELECT id FROM accounts WHERE name = ?1)
                 AND seq > ?2 ORDER BY seq LIMIT ?3",
            )?;
            let rows = select.query_map(params![account.as_str(), signed(after), limit], |row| {
                Ok(Position { segment: number(row.get(0)?), offset: number(row.get(1)?) })
            })?;
            rows.collect()
        })
    }

    /// Attempts, of one message or of all.
    pub(crate) fn attempts(&self, of: Option<TraceId>) -> Result<Vec<(Attempt, Time)>, MailboxError> {
        let attempt = |row: &Row<'_>| {
            let recipient = words_mail::Address::parse(row.get_ref(1)?.as_str()?);
            let destination = serde_json::from_str(row.get_ref(2)?.as_str()?);
            let trace = trace_id(row.get_ref(0)?.as_blob()?);
            let (Some(trace), Ok(recipient), Ok(destination)) = (trace, recipient, destination) else {
                return Ok(None);
            };
            Ok(Some((Attempt { trace, recipient, destination, number: row.get(3)? }, Time(row.get(4)?))))
        };
        const ATTEMPT: &str = "SELECT trace, recipient, destination, number, at FROM attempts";
        self.read(|sql| {
            let rows: Result<Vec<_>> = match of {
                Some(trace) => sql
                    .prepare_cached(&format!("{ATTEMPT} WHERE trace = ?1"))?
                    .query_map([trace.bytes()], attempt)?
                    .collect(),
                None => sql.prepare_cached(ATTEMPT)?.query_map([], attempt)?.collect(),
            };
            Ok(rows?.into_iter().flatten().collect())
        })
    }

    /// What was found out about a message before.
    pub(crate) fn facts(&self, own: bool, position: Position) -> Result<Option<Vec<u8>>, MailboxError> {
        self.read(|sql| {
            sql.prepare_cached("SELECT content FROM facts WHERE own = ?1 AND segment = ?2 AND place = ?3")?
                .query_row(params![own, signed(position.segment), signed(position.offset)], |row| row.get(0))
                .optional()
        })
    }

    /// What these messages are put in order by, as far as it is known.
    pub(crate) fn keys(&self, messages: &[Message]) -> Result<Vec<Option<Vec<u8>>>, MailboxError> {
        self.read(|sql| {
            let mut select = sql
                .prepare_cached("SELECT content FROM keys WHERE own = ?1 AND segment = ?2 AND place = ?3")?;
            let known = messages.iter().map(|message| {
                let (own, position) = message.body.key();
                select
                    .query_row(params![own, signed(position.segment), signed(position.offset)], |row| {
                        row.get(0)
                    })
                    .optional()
            });
            known.collect()
        })
    }

    /// Messages and bytes of an account, in all its folders.
    pub(crate) fn usage(&self, account: &AccountId) -> Result<(u64, u64), MailboxError> {
        self.read(|sql| {
            sql.prepare_cached(
                "SELECT coalesce(sum(messages), 0), coalesce(sum(bytes), 0) FROM folders
                 WHERE account = (SELECT id FROM accounts WHERE name = ?1)",
            )?
            .query_row([account.as_str()], |row| Ok((number(row.get(0)?), number(row.get(1)?))))
        })
    }

    /// Bytes of the messages with `\Deleted` in a folder.
    pub(crate) fn deleted_bytes(&self, id: FolderId) -> Result<u64, MailboxError> {
        self.read(|sql| {
            sql.prepare_cached(
                "SELECT coalesce(sum(size), 0) FROM messages WHERE folder = ?1 AND flags & 4 != 0",
            )?
            .query_row([signed(id.0)], |row| row.get(0).map(number))
        })
    }

    /// Whether a message is in any folder, or was removed from one at or after `since`.
    pub(crate) fn refers_to(&self, trace: TraceId, since: Time) -> Result<bool, MailboxError> {
        self.read(|sql| {
            let there = sql
                .prepare_cached("SELECT 1 FROM messages WHERE trace = ?1 AND own = 0")?
                .exists([trace.bytes()])?;
            let was = sql
                .prepare_cached("SELECT 1 FROM expunged WHERE trace = ?1 AND own = 0 AND at >= ?2")?
                .exists(params![trace.bytes(), since.0])?;
            Ok(there || was)
        })
    }

    /// Where bodies of ours stand that are in no folder, and in none since `before`.
    pub(crate) fn collectable(&self, before: Time, limit: u32) -> Result<Vec<Position>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached(
                "SELECT DISTINCT segment, place FROM expunged AS e WHERE own = 1 AND at < ?1
                 AND NOT EXISTS (SELECT 1 FROM collected AS c WHERE c.segment = e.segment AND c.place = e.place)
                 AND NOT EXISTS (SELECT 1 FROM messages AS m
                     WHERE m.own = 1 AND m.segment = e.segment AND m.place = e.place)
                 AND NOT EXISTS (SELECT 1 FROM expunged AS o
                     WHERE o.own = 1 AND o.at >= ?1 AND o.segment = e.segment AND o.place = e.place)
                 UNION SELECT segment, place FROM halves AS h WHERE at < ?1
                 AND NOT EXISTS (SELECT 1 FROM collected AS c WHERE c.segment = h.segment AND c.place = h.place)
                 ORDER BY 1, 2 LIMIT ?2",
            )?;
            let rows = select.query_map(params![before.0, limit], |row| {
                Ok(Position { segment: number(row.get(0)?), offset: number(row.get(1)?) })
            })?;
            rows.collect()
        })
    }
}
