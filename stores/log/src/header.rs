//! The header of a segment: what it is, where it stands in the chain, and its data key, wrapped.
//!
//! It is written twice, so that one flipped bit in it costs nothing.

use crate::keys::{DataKey, KEY_ID_LEN, KeyId, KeyRing, UnwrapError, WRAPPED_LEN};
use words_mail::Time;
use words_world::Random;

/// Bytes of one copy.
const COPY_LEN: usize = 512;
/// Bytes of the header, both copies.
pub(crate) const HEADER_LEN: usize = 2 * COPY_LEN;
const MAGIC: &[u8; 8] = b"STORMLOG";
const VERSION: u16 = 1;
const NODE_MAX: usize = 64;
/// Everything before the wrapped key; the wrapping is bound to it.
const BOUND_LEN: usize = 180;
const CRC_AT: usize = COPY_LEN - 4;
/// The segment was written anew when it was sealed or when records were erased from it.
const REWRITTEN: u8 = 1;
/// The segment is the first since the log was opened: what stands at the end of the one before may never have been
/// acknowledged.
const FIRST: u8 = 2;

/// A hash in the chain.
pub(crate) type Hash = [u8; 32];

/// What a segment's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) rewritten: bool,
    pub(crate) first: bool,
    pub(crate) segment: u64,
    /// The sequence number that its first record has or would have.
    pub(crate) first_seq: u64,
    pub(crate) created: Time,
    /// The last segment before this one that records were accepted in; 0 when there was none.
    pub(crate) previous: u64,
    /// Where that one ends: what stands behind was never acknowledged and does not count.
    pub(crate) previous_end: u64,
    /// The chain's value at that end.
    pub(crate) previous_chain: Hash,
    pub(crate) node: String,
}

/// Why a header could not be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Neither copy is whole: cut short, or altered.
    Damaged,
    /// Written by a later version of this program.
    Version(u16),
    /// It belongs to another log.
    Kind(u8),
    /// The key ring lacks the key with this name.
    NoKey(KeyId),
}

impl Header {
    /// The bytes of both copies, with a new data key, and the cipher for what follows. `None` when the ring is empty.
    pub(crate) fn write(&self, keys: &KeyRing, random: &dyn Random) -> Option<(Vec<u8>, DataKey)> {
        let mut copy = Vec::with_capacity(HEADER_LEN);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.push(self.kind);
        let rewritten = if self.rewritten { REWRITTEN } else { 0 };
        copy.push(rewritten | if self.first { FIRST } else { 0 });
        for number in
            [self.segment, self.first_seq, self.created.0.cast_unsigned(), self.previous, self.previous_end]
        {
            copy.extend_from_slice(&number.to_le_bytes());
        }
        copy.extend_from_slice(&self.previous_chain);
        copy.extend_from_slice(&keys.present_id());
        let node = &self.node.as_bytes()[..self.node.len().min(NODE_MAX)];
        copy.push(node.len() as u8);
        copy.extend_from_slice(node);
        copy.resize(BOUND_LEN, 0);
        let (data_key, wrapped) = keys.new_data_key(random, &copy)?;
        copy.extend_from_slice(&wrapped);
        copy.resize(CRC_AT, 0);
        let crc = crc32fast::hash(&copy);
        copy.extend_from_slice(&crc.to_le_bytes());
        copy.extend_from_within(..);
        Some((copy, data_key))
    }

    /// Reads the first whole copy in `bytes`. The checksum returned names this very writing of the header.
    pub(crate) fn read(bytes: &[u8], kind: u8, keys: &KeyRing) -> Result<(Header, DataKey), HeaderError> {
        let (header, key_id, copy) = Header::parse(bytes, kind)?;
        let wrapped: &[u8; WRAPPED_LEN] =
            copy[BOUND_LEN..BOUND_LEN + WRAPPED_LEN].try_into().map_err(|_| HeaderError::Damaged)?;
        match keys.data_key(&key_id, wrapped, &copy[..BOUND_LEN]) {
            Ok(key) => Ok((header, key)),
            Err(UnwrapError::NoKey) => Err(HeaderError::NoKey(key_id)),
            Err(UnwrapError::Damaged) => Err(HeaderError::Damaged),
        }
    }

    /// Reads the first whole copy without needing a key.
    pub(crate) fn parse(bytes: &[u8], kind: u8) -> Result<(Header, KeyId, &[u8]), HeaderError> {
        let whole = |copy: &&[u8]| {
            copy.len() == COPY_LEN
                && &copy[..8] == MAGIC
                && crc32fast::hash(&copy[..CRC_AT]).to_le_bytes() == copy[CRC_AT..]
        };
        let copy = bytes.chunks(COPY_LEN).take(2).find(whole).ok_or(HeaderError::Damaged)?;
        let version = u16::from_le_bytes([copy[8], copy[9]]);
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        if copy[10] != kind {
            return Err(HeaderError::Kind(copy[10]));
        }
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&copy[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let mut previous_chain = [0; 32];
        previous_chain.copy_from_slice(&copy[52..84]);
        let mut key_id = [0; KEY_ID_LEN];
        key_id.copy_from_slice(&copy[84..92]);
        let node_len = usize::from(copy[92]).min(NODE_MAX);
        let header = Header {
            kind,
            rewritten: copy[11] & REWRITTEN != 0,
            first: copy[11] & FIRST != 0,
            segment: number(12),
            first_seq: number(20),
            created: Time(number(28).cast_signed()),
            previous: number(36),
            previous_end: number(44),
            previous_chain,
            node: String::from_utf8_lossy(&copy[93..93 + node_len]).into_owned(),
        };
        Ok((header, key_id, copy))
    }
}
