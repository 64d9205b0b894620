//! What stands at the primary, as tables.

use super::Message;
use super::View;
use super::apply::{Apply, Effect, Row};
use super::read::{message, trace_id};
use super::schema::{number, signed};
use crate::event::{By, Event};
use crate::mirror::{Link, LinkNote, Look, Mirrored, Pairing};
use crate::{Flags, FolderId, How, MailboxError, UidRanges};
use rusqlite::{OptionalExtension, Result, params};
use words_mail::AccountId;

/// The tables of the mirror.
pub(super) const TABLES: &str = "
CREATE TABLE pairings(folder INTEGER PRIMARY KEY, account INTEGER NOT NULL, name TEXT NOT NULL, there TEXT NOT NULL,
    validity INTEGER NOT NULL, follow INTEGER NOT NULL, whole INTEGER NOT NULL, total INTEGER NOT NULL,
    next INTEGER NOT NULL, modseq INTEGER);
CREATE INDEX pairings_account ON pairings(account);
CREATE TABLE links(pairing INTEGER NOT NULL, there INTEGER NOT NULL, folder INTEGER NOT NULL, uid INTEGER NOT NULL,
    gone INTEGER NOT NULL, flags INTEGER NOT NULL, keywords TEXT NOT NULL, content BLOB,
    PRIMARY KEY(pairing, there)) WITHOUT ROWID;
CREATE INDEX links_here ON links(folder, uid);
CREATE TABLE brakes(account INTEGER PRIMARY KEY, why TEXT NOT NULL);
";

impl Apply<'_> {
    pub(super) fn mirrored(&self, fact: &Mirrored) -> Result<Effect> {
        match fact {
            Mirrored::Paired { .. } => self.pair(fact),
            Mirrored::Looked { folder, look, .. } => {
                self.sql
                    .prepare_cached(
                        "UPDATE pairings SET whole = ?2, total = ?3, next = ?4, modseq = ?5 WHERE folder = ?1",
                    )?
                    .execute(params![
                        signed(folder.0),
                        look.whole,
                        look.total,
                        look.next,
                        look.modseq.map(signed)
                    ])?;
                Ok(Effect::default())
            }
            Mirrored::Pulled { .. } => self.pulled(fact),
            Mirrored::Linked { links, .. } => {
                links.iter().try_for_each(|link| self.link(link))?;
                Ok(Effect::default())
            }
            Mirrored::Unlinked { folder, uids, .. } => {
                let mut delete = self
                    .sql
                    .prepare_cached("DELETE FROM links WHERE pairing = ?1 AND there BETWEEN ?2 AND ?3")?;
                for (first, last) in uids.spans() {
                    delete.execute(params![signed(folder.0), first, last])?;
                }
                Ok(Effect::default())
            }
            Mirrored::Unpaired { folder, .. } => {
                let folder = signed(folder.0);
                self.sql.prepare_cached("DELETE FROM links WHERE pairing = ?1")?.execute([folder])?;
                self.sql.prepare_cached("DELETE FROM pairings WHERE folder = ?1")?.execute([folder])?;
                Ok(Effect::default())
            }
            Mirrored::Owned { folder, uidnext, modseq, .. } => {
                self.floor(*folder, *uidnext, *modseq)?;
                self.sql
                    .prepare_cached("UPDATE pairings SET follow = 0 WHERE folder = ?1")?
                    .execute([signed(folder.0)])?;
                Ok(Effect::default())
            }
            Mirrored::Braked { account, why } => {
                let id = self.account(account)?;
                match why {
                    Some(why) => self
                        .sql
                        .prepare_cached("INSERT OR REPLACE INTO brakes VALUES(?1, ?2)")?
                        .execute(params![id, why])?,
                    None => {
                        self.sql.prepare_cached("DELETE FROM brakes WHERE account = ?1")?.execute([id])?
                    }
                };
                Ok(Effect::default())
            }
        }
    }

    fn floor(&self, folder: FolderId, uidnext: u32, modseq: u64) -> Result<()> {
        self.sql
            .prepare_cached(
                "UPDATE folders SET uidnext = max(uidnext, ?2), modseq = max(modseq, ?3) WHERE id = ?1",
            )?
            .execute(params![signed(folder.0), uidnext, signed(modseq)])?;
        Ok(())
    }

    fn pair(&self, fact: &Mirrored) -> Result<Effect> {
        let Mirrored::Paired { account, folder, name, there, validity, follow, uidnext, modseq } = fact
        else {
            return Ok(Effect::missed());
        };
        let id = self.account(account)?;
        self.sql
            .prepare_cached(
                "DELETE FROM links WHERE pairing = ?1
                 AND NOT EXISTS (SELECT 1 FROM pairings WHERE folder = ?1 AND validity = ?2)",
            )?
            .execute(params![signed(folder.0), validity])?;
        self.sql
            .prepare_cached(
                "INSERT INTO pairings VALUES(?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, NULL)
                 ON CONFLICT(folder) DO UPDATE SET name = ?3, there = ?4, follow = ?6,
                     whole = whole AND (validity = ?5 OR NOT follow), modseq = NULL, next = 0, validity = ?5",
            )?
            .execute(params![signed(folder.0), id, name, there, validity, follow])?;
        self.floor(*folder, *uidnext, *modseq)?;
        if *follow {
            self.sql
                .prepare_cached("UPDATE folders SET uidvalidity = ?2 WHERE id = ?1")?
                .execute(params![signed(folder.0), validity])?;
            self.sql
                .prepare_cached("UPDATE accounts SET uidvalidity = max(uidvalidity, ?2) WHERE id = ?1")?
                .execute(params![id, validity])?;
        }
        Ok(Effect::default())
    }

    fn pulled(&self, fact: &Mirrored) -> Result<Effect> {
        let Mirrored::Pulled { folder, uid, there, modseq, trace, content, date, size, flags, .. } = fact
        else {
            return Ok(Effect::missed());
        };
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
        let effect = self.place(*folder, &row)?;
        if !effect.missed {
            let (pairing, there, folder, uid) = (*folder, *there, *folder, *uid);
            self.link(&LinkNote { pairing, there, folder, uid, flags: flags.clone(), content: *content })?;
        }
        Ok(effect)
    }

    fn link(&self, link: &LinkNote) -> Result<()> {
        let (folder, pairing) = (signed(link.folder.0), signed(link.pairing.0));
        let stands = self
            .sql
            .prepare_cached("SELECT 1 FROM messages WHERE folder = ?1 AND uid = ?2")?
            .exists(params![folder, link.uid])?;
        if !stands {
            // A person moved or removed it before this was written down: the link, if there is one, has followed that.
            self.sql
                .prepare_cached(
                    "UPDATE links SET flags = ?3, keywords = ?4 WHERE pairing = ?1 AND there = ?2",
                )?
                .execute(params![pairing, link.there, link.flags.bits(), link.flags.keyword_text()])?;
            return Ok(());
        }
        // A message here stands for one there, and not for the one it stood for before.
        self.sql
            .prepare_cached(
                "DELETE FROM links WHERE folder = ?1 AND uid = ?2 AND NOT (pairing = ?3 AND there = ?4)",
            )?
            .execute(params![folder, link.uid, pairing, link.there])?;
        self.sql
            .prepare_cached(
                "INSERT INTO links VALUES(?1, ?2, ?3, ?4, 0, ?5, ?6, ?7)
                 ON CONFLICT(pairing, there) DO UPDATE SET folder = ?3, uid = ?4, gone = 0, flags = ?5, keywords = ?6,
                     content = coalesce(?7, content)",
            )?
            .execute(params![
                pairing,
                link.there,
                folder,
                link.uid,
                link.flags.bits(),
                link.flags.keyword_text(),
                link.content.map(|hash| hash.to_vec())
            ])?;
        Ok(())
    }

    /// What an event does to the links of the messages it is about. `uids` are those that it changed.
    pub(super) fn follow_links(&self, event: &Event, uids: &UidRanges) -> Result<()> {
        match event {
            // What the primary changed is agreed as soon as it is followed.
            Event::FlagsChanged { folder, uids, how, flags, by: By::Primary, .. } => {
                self.agree(*folder, uids, *how, flags)
            }
            Event::Moved { from, uids: named, to, first, .. } => {
                let mut update = self.sql.prepare_cached(
                    "UPDATE links SET folder = ?3, uid = ?4 WHERE folder = ?1 AND uid = ?2 AND gone = 0",
                )?;
                // Back to front where both are the same folder: no row takes another's place before that one moved.
                for (n, uid) in (0u32..).zip(named.iter()).filter(|(_, uid)| uids.contains(*uid)) {
                    update.execute(params![signed(from.0), uid, signed(to.0), first.saturating_add(n)])?;
                }
                Ok(())
            }
            Event::Expunged { folder, by, .. } => self.bury_links(*folder, uids, *by),
            Event::FolderDeleted { folder, by, .. } => {
                self.bury_links(*folder, &UidRanges::span(1, u32::MAX), *by)
            }
            _ => Ok(()),
        }
    }

    fn bury_links(&self, folder: FolderId, uids: &UidRanges, by: By) -> Result<()> {
        let text = match by {
            By::Primary => "DELETE FROM links WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3",
            By::Person | By::Own => "UPDATE links SET gone = 1 WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3",
        };
        let mut bury = self.sql.prepare_cached(text)?;
        for (first, last) in uids.spans() {
            bury.execute(params![signed(folder.0), first, last])?;
        }
        Ok(())
    }

    fn agree(&self, folder: FolderId, uids: &UidRanges, how: How, flags: &Flags) -> Result<()> {
        let mut select = self.sql.prepare_cached(
            "SELECT pairing, there, flags, keywords FROM links WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3",
        )?;
        let mut update = self
            .sql
            .prepare_cached("UPDATE links SET flags = ?3, keywords = ?4 WHERE pairing = ?1 AND there = ?2")?;
        for (first, last) in uids.spans() {
            let rows = select.query_map(params![signed(folder.0), first, last], |row| {
                let before = Flags::from_parts(row.get(2)?, row.get_ref(3)?.as_str()?);
                Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, before))
            })?;
            for row in rows.collect::<Result<Vec<_>>>()? {
                let (pairing, there, before) = row;
                let after = before.changed(how, flags);
                update.execute(params![pairing, there, after.bits(), after.keyword_text()])?;
            }
        }
        Ok(())
    }
}

const PAIRING: &str =
    "SELECT p.folder, p.name, p.there, p.validity, p.follow, p.whole, p.total, p.next, p.modseq,
     (SELECT count(*) FROM links l WHERE l.pairing = p.folder) FROM pairings p";

fn pairing(row: &rusqlite::Row<'_>) -> Result<Pairing> {
    Ok(Pairing {
        folder: FolderId(number(row.get(0)?)),
        name: row.get(1)?,
        there: row.get(2)?,
        validity: row.get(3)?,
        follow: row.get(4)?,
        look: Look {
            whole: row.get(5)?,
            total: row.get(6)?,
            next: row.get(7)?,
            modseq: row.get::<_, Option<i64>>(8)?.map(number),
        },
        linked: number(row.get(9)?),
    })
}

const LINK: &str =
    "SELECT l.pairing, l.there, l.folder, l.uid, l.gone, l.flags, l.keywords, l.content, m.trace, m.flags,
     m.keywords FROM links l LEFT JOIN messages m ON m.folder = l.folder AND m.uid = l.uid";

fn link(row: &rusqlite::Row<'_>) -> Result<Link> {
    let content = row.get_ref(7)?.as_blob_or_null()?.and_then(|hash| hash.try_into().ok());
    let here = match row.get::<_, Option<u8>>(9)? {
        Some(bits) => Some(Flags::from_parts(bits, row.get_ref(10)?.as_str()?)),
        None => None,
    };
    Ok(Link {
        pairing: FolderId(number(row.get(0)?)),
        there: row.get(1)?,
        folder: FolderId(number(row.get(2)?)),
        uid: row.get(3)?,
        gone: row.get(4)?,
        flags: Flags::from_parts(row.get(5)?, row.get_ref(6)?.as_str()?),
        content,
        trace: row.get_ref(8)?.as_blob_or_null()?.and_then(trace_id),
        here,
    })
}

impl View {
    pub(crate) fn pairings(&self, account: &AccountId) -> std::result::Result<Vec<Pairing>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached(&format!(
                "{PAIRING} WHERE p.account = (SELECT id FROM accounts WHERE name = ?1) ORDER BY p.name"
            ))?;
            select.query_map([account.as_str()], pairing)?.collect()
        })
    }

    pub(crate) fn pairing(&self, folder: FolderId) -> std::result::Result<Option<Pairing>, MailboxError> {
        self.read(|sql| {
            sql.prepare_cached(&format!("{PAIRING} WHERE p.folder = ?1"))?
                .query_row([signed(folder.0)], pairing)
                .optional()
        })
    }

    pub(crate) fn links(&self, pairing: FolderId) -> std::result::Result<Vec<Link>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached(&format!("{LINK} WHERE l.pairing = ?1 ORDER BY l.there"))?;
            select.query_map([signed(pairing.0)], link)?.collect()
        })
    }

    pub(crate) fn links_of(
        &self,
        pairing: FolderId,
        there: &UidRanges,
    ) -> std::result::Result<Vec<Link>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached(&format!(
                "{LINK} WHERE l.pairing = ?1 AND l.there BETWEEN ?2 AND ?3 ORDER BY l.there"
            ))?;
            let mut links = Vec::new();
            for (first, last) in there.spans() {
                let rows = select.query_map(params![signed(pairing.0), first, last], link)?;
                for row in rows {
                    links.push(row?);
                }
            }
            Ok(links)
        })
    }

    pub(crate) fn pending(
        &self,
        account: &AccountId,
        limit: u32,
    ) -> std::result::Result<Vec<Link>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached(&format!(
                "{LINK} JOIN pairings p ON p.folder = l.pairing
                 WHERE p.account = (SELECT id FROM accounts WHERE name = ?1)
                 AND (l.gone OR l.folder <> l.pairing OR m.flags <> l.flags OR m.keywords <> l.keywords)
                 ORDER BY l.pairing, l.there LIMIT ?2"
            ))?;
            select.query_map(params![account.as_str(), limit], link)?.collect()
        })
    }

    pub(crate) fn is_linked(&self, folder: FolderId, uid: u32) -> std::result::Result<bool, MailboxError> {
        self.read(|sql| {
            sql.prepare_cached("SELECT 1 FROM links WHERE folder = ?1 AND uid = ?2")?
                .exists(params![signed(folder.0), uid])
        })
    }

    pub(crate) fn unlinked(
        &self,
        folder: FolderId,
        limit: u32,
    ) -> std::result::Result<Vec<Message>, MailboxError> {
        self.read(|sql| {
            let mut select = sql.prepare_cached(
                "SELECT uid, modseq, date, size, flags, keywords, trace, own, segment, place, filed FROM messages m
                 WHERE folder = ?1 AND NOT EXISTS (SELECT 1 FROM links l WHERE l.folder = m.folder AND l.uid = m.uid)
                 ORDER BY uid DESC LIMIT ?2",
            )?;
            select.query_map(params![signed(folder.0), limit], message)?.collect()
        })
    }

    pub(crate) fn braked(&self, account: &AccountId) -> std::result::Result<Option<String>, MailboxError> {
        self.read(|sql| {
            sql.prepare_cached(
                "SELECT why FROM brakes WHERE account = (SELECT id FROM accounts WHERE name = ?1)",
            )?
            .query_row([account.as_str()], |row| row.get(0))
            .optional()
        })
    }
}
