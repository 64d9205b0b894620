//! One record in a segment: a head in clear, two encrypted sections.
//!
//! The head is enough to walk a segment, to check its chain and to find the way again after damage. The first
//! section holds the salt and `meta`, the second the body; each can be decrypted without the other, so that a
//! queue is recovered without reading bodies.

use crate::body::StoredName;
use crate::header::Hash;
use crate::keys::{DataKey, TAG_LEN, nonce};
use crate::options::{FRAME_MAX, META_MAX};
use crate::pack;
use serde::{Deserialize, Serialize};
use words_mail::Time;

/// What every frame begins with. Chosen by throwing dice, so that it does not occur in anything else.
pub(crate) const MARK: [u8; 8] = [0xD7, 0x1B, 0xF0, 0x5C, 0x83, 0xA9, 0x2E, 0x64];
/// Bytes of the head.
pub(crate) const HEAD_LEN: usize = 120;
/// The part of the head that its checksum and both sections are bound to.
const BOUND_LEN: usize = 112;
/// Bytes of the salt.
pub(crate) const SALT_LEN: usize = 16;
/// Bytes in the first section before the note and `meta`: salt, length of the body, length of the note.
const PREAMBLE_LEN: usize = SALT_LEN + 8 + 4;

const META_PACKED: u8 = 1;
const BODY_PACKED: u8 = 2;
/// The body is in a file of its own.
const BODY_FILE: u8 = 4;
/// The record was erased: what is left is the note, and `meta` where it was kept.
const ERASED: u8 = 8;

/// Stands for several records that were collected: everything up to this sequence number since the frame before.
const RUN: u8 = 16;

const META_PART: u8 = 1;
const BODY_PART: u8 = 2;

/// Who removed a record's content, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Who asked for it.
    pub who: String,
    /// When it was done.
    pub at: Time,
    /// Why.
    pub why: String,
}

/// What a frame's head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the whole frame.
    pub(crate) len: u32,
    pub(crate) kind: u8,
    flags: u8,
    /// Its place in the batch that was made durable with one sync, from 0.
    pub(crate) ordinal: u16,
    pub(crate) seq: u64,
    pub(crate) at: Time,
    /// Where the frame stood when it was acknowledged; stays when the segment is written anew.
    pub(crate) origin: u64,
    /// How long it was then.
    pub(crate) span: u32,
    /// Bytes of the first section.
    meta_len: u32,
    pub(crate) content: Hash,
    pub(crate) chain: Hash,
    payload_crc: u32,
}

impl Head {
    /// Reads a head; `None` when its mark or checksum is wrong or a length cannot be.
    pub(crate) fn read(bytes: &[u8]) -> Option<Head> {
        if bytes.len() < HEAD_LEN || bytes[..8] != MARK {
            return None;
        }
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
        let hash = |at: usize| {
            let mut hash = [0; 32];
            hash.copy_from_slice(&bytes[at..at + 32]);
            hash
        };
        if crc32fast::hash(&bytes[..BOUND_LEN]) != four(BOUND_LEN) {
            return None;
        }
        let head = Head {
            len: four(8),
            kind: bytes[12],
            flags: bytes[13],
            ordinal: u16::from_le_bytes([bytes[14], bytes[15]]),
            seq: eight(16),
            at: Time(eight(24).cast_signed()),
            origin: eight(32),
            span: four(40),
            meta_len: four(44),
            content: hash(48),
            chain: hash(80),
            payload_crc: four(116),
        };
        let (len, meta_len) = (head.len as usize, head.meta_len as usize);
        let possible = (HEAD_LEN + TAG_LEN + PREAMBLE_LEN..=FRAME_MAX).contains(&len)
            && (TAG_LEN..=len - HEAD_LEN).contains(&meta_len);
        possible.then_some(head)
    }

    /// Whether `payload`, everything behind the head, is what was written.
    pub(crate) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_len() && crc32fast::hash(payload) == self.payload_crc
    }

    pub(crate) fn payload_len(&self) -> usize {
        self.len as usize - HEAD_LEN
    }

    pub(crate) fn meta_len(&self) -> usize {
        self.meta_len as usize
    }

    pub(crate) fn body_len(&self) -> usize {
        self.payload_len() - self.meta_len()
    }

    pub(crate) fn body_in_file(&self) -> bool {
        self.flags & BODY_FILE != 0
    }

    /// The sequence number of the first record of its batch. Everything before was durable when it was written.
    pub(crate) fn batch_start(&self) -> u64 {
        self.seq.saturating_sub(u64::from(self.ordinal))
    }

    pub(crate) fn is_run(&self) -> bool {
        self.flags & RUN != 0
    }

    pub(crate) fn is_erased(&self) -> bool {
        self.flags & ERASED != 0
    }
}

/// The decrypted first section of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) salt: [u8; SALT_LEN],
    /// Bytes of the body as it was handed over; 0 when there is none or it was erased.
    pub(crate) body_len: u64,
    pub(crate) erased: Option<Tombstone>,
    pub(crate) meta: Vec<u8>,
}

/// What goes into the second section.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    None,
    Inline(&'a [u8]),
    File(&'a StoredName),
}

/// A frame about to be written.
pub(crate) struct Frame<'a> {
    pub(crate) kind: u8,
    pub(crate) ordinal: u16,
    pub(crate) seq: u64,
    pub(crate) at: Time,
    pub(crate) origin: u64,
    /// `None` when this is its first writing: its length then is its span.
    pub(crate) span: Option<u32>,
    pub(crate) content: Hash,
    pub(crate) chain: Hash,
    pub(crate) facts: &'a Facts,
    pub(crate) body: Content<'a>,
    /// Whether it stands for several collected records.
    pub(crate) run: bool,
}

impl Frame<'_> {
    /// Adds the frame to `out`, its sections compressed where `pack` says and where that makes them shorter.
    /// Returns its length.
    pub(crate) fn write(&self, key: &DataKey, pack: bool, out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        out.resize(start + HEAD_LEN, 0);
        let mut flags = if self.facts.erased.is_some() { ERASED } else { 0 };
        if self.run {
            flags |= RUN;
        }
        if write_section(self.facts.write(), pack, out) {
            flags |= META_PACKED;
        }
        let meta_end = out.len();
        match self.body {
            Content::None => {}
            Content::Inline(body) => {
                // Written straight into the batch: a large body is not copied twice.
                if write_bytes(body, pack, out) {
                    flags |= BODY_PACKED;
                }
                out.extend_from_slice(&[0; TAG_LEN]);
            }
            Content::File(name) => {
                flags |= BODY_FILE;
                out.extend_from_slice(&name.bytes());
                out.extend_from_slice(&[0; TAG_LEN]);
            }
        }
        let len = (out.len() - start) as u32;
        let meta_len = meta_end - start - HEAD_LEN;
        let frame = &mut out[start..];
        self.write_head(flags, len, meta_len as u32, &mut frame[..BOUND_LEN]);
        let (head, payload) = frame.split_at_mut(HEAD_LEN);
        let (meta, body) = payload.split_at_mut(meta_len);
        seal_section(key, META_PART, self.seq, &head[..BOUND_LEN], meta);
        if !body.is_empty() {
            seal_section(key, BODY_PART, self.seq, &head[..BOUND_LEN], body);
        }
        let head_crc = crc32fast::hash(&head[..BOUND_LEN]);
        head[BOUND_LEN..BOUND_LEN + 4].copy_from_slice(&head_crc.to_le_bytes());
        let payload_crc = crc32fast::hash(payload);
        head[BOUND_LEN + 4..].copy_from_slice(&payload_crc.to_le_bytes());
        len
    }

    fn write_head(&self, flags: u8, len: u32, meta_len: u32, head: &mut [u8]) {
        head[..8].copy_from_slice(&MARK);
        head[8..12].copy_from_slice(&len.to_le_bytes());
        head[12] = self.kind;
        head[13] = flags;
        head[14..16].copy_from_slice(&self.ordinal.to_le_bytes());
        head[16..24].copy_from_slice(&self.seq.to_le_bytes());
        head[24..32].copy_from_slice(&self.at.0.to_le_bytes());
        head[32..40].copy_from_slice(&self.origin.to_le_bytes());
        head[40..44].copy_from_slice(&self.span.unwrap_or(len).to_le_bytes());
        head[44..48].copy_from_slice(&meta_len.to_le_bytes());
        head[48..80].copy_from_slice(&self.content);
        head[80..112].copy_from_slice(&self.chain);
    }
}

impl Facts {
    fn write(&self) -> Vec<u8> {
        let note = match &self.erased {
            Some(tombstone) => serde_json::to_vec(tombstone).unwrap_or_default(),
            None => Vec::new(),
        };
        let mut text = Vec::with_capacity(PREAMBLE_LEN + note.len() + self.meta.len());
        text.extend_from_slice(&self.salt);
        text.extend_from_slice(&self.body_len.to_le_bytes());
        text.extend_from_slice(&(note.len() as u32).to_le_bytes());
        text.extend_from_slice(&note);
        text.extend_from_slice(&self.meta);
        text
    }

    /// Decrypts the first section, which begins `payload`. `None` when it was altered.
    pub(crate) fn read(key: &DataKey, head: &Head, head_bytes: &[u8], payload: &[u8]) -> Option<Facts> {
        let sealed = payload.get(..head.meta_len())?;
        let packed = head.flags & META_PACKED != 0;
        let limit = META_MAX + PREAMBLE_LEN + META_MAX;
        let text = open_section(key, META_PART, head.seq, head_bytes, sealed, packed.then_some(limit))?;
        let mut salt = [0; SALT_LEN];
        salt.copy_from_slice(text.get(..SALT_LEN)?);
        let body_len = u64::from_le_bytes(text.get(SALT_LEN..SALT_LEN + 8)?.try_into().ok()?);
        let note_len = u32::from_le_bytes(text.get(SALT_LEN + 8..PREAMBLE_LEN)?.try_into().ok()?) as usize;
        let note = text.get(PREAMBLE_LEN..PREAMBLE_LEN.checked_add(note_len)?)?;
        let erased = match head.is_erased() {
            true => Some(serde_json::from_slice(note).ok()?),
            false => None,
        };
        Some(Facts { salt, body_len, erased, meta: text[PREAMBLE_LEN + note_len..].to_vec() })
    }
}

/// Decrypts the second section of a frame: the body itself, or the name of its file.
pub(crate) fn read_body(
    key: &DataKey,
    head: &Head,
    head_bytes: &[u8],
    sealed: &[u8],
    body_len: u64,
) -> Option<Vec<u8>> {
    if sealed.is_empty() {
        return Some(Vec::new());
    }
    let packed = head.flags & BODY_PACKED != 0;
    let limit = usize::try_from(body_len).ok()?.min(FRAME_MAX);
    open_section(key, BODY_PART, head.seq, head_bytes, sealed, packed.then_some(limit))
}

/// The salted hash of a record's content: kind, `meta`, and length and hash of the body.
pub(crate) fn content_hash(
    salt: &[u8; SALT_LEN],
    kind: u8,
    meta: &[u8],
    body_len: u64,
    body_hash: &Hash,
) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(salt);
    hasher.update(&[kind]);
    hasher.update(&(meta.len() as u64).to_le_bytes());
    hasher.update(meta);
    hasher.update(&body_len.to_le_bytes());
    hasher.update(body_hash);
    *hasher.finalize().as_bytes()
}

/// The chain's next value.
pub(crate) fn chain_hash(before: &Hash, seq: u64, content: &Hash) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before);
    hasher.update(&seq.to_le_bytes());
    hasher.update(content);
    *hasher.finalize().as_bytes()
}

/// Adds `text`, compressed when that is wanted and shorter, and room for the tag. Tells whether it was compressed.
fn write_section(text: Vec<u8>, pack: bool, out: &mut Vec<u8>) -> bool {
    let packed = write_bytes(&text, pack, out);
    out.extend_from_slice(&[0; TAG_LEN]);
    packed
}

fn write_bytes(text: &[u8], pack: bool, out: &mut Vec<u8>) -> bool {
    if pack {
        match pack::pack(text) {
            Ok(shorter) if shorter.len() < text.len() => {
                out.extend_from_slice(&shorter);
                return true;
            }
            _ => {}
        }
    }
    out.extend_from_slice(text);
    false
}

fn seal_section(key: &DataKey, part: u8, seq: u64, head: &[u8], section: &mut [u8]) {
    let (text, tag) = section.split_at_mut(section.len() - TAG_LEN);
    let made = key.seal(nonce(part, seq), head, text);
    tag.copy_from_slice(&made);
}

/// Decrypts a section and, when `unpack_to` gives the longest it may become, decompresses it.
fn open_section(
    key: &DataKey,
    part: u8,
    seq: u64,
    head: &[u8],
    sealed: &[u8],
    unpack_to: Option<usize>,
) -> Option<Vec<u8>> {
    let mut text = sealed.to_vec();
    let len = key.open(nonce(part, seq), head.get(..BOUND_LEN)?, &mut text)?.len();
    text.truncate(len);
    match unpack_to {
        Some(limit) => pack::unpack(&text, limit),
        None => Some(text),
    }
}
