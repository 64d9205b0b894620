//! Compressing and decompressing sections.
//!
//! What zstd works with is kept for each thread: it is hundreds of kilobytes, and to make it anew for every record costs
//! several times what the work itself costs.

use std::cell::RefCell;
use std::io;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::get_frame_content_size;

/// The level used when a segment is sealed.
const LEVEL: i32 = 3;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// `text`, compressed.
pub(crate) fn pack(text: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(text),
        None => kept.insert(Compressor::new(LEVEL)?).compress(text),
    })
}

/// What was packed, when it is at most `limit` bytes long.
pub(crate) fn unpack(packed: &[u8], limit: usize) -> Option<Vec<u8>> {
    // We always write the length; room for the whole limit would be asked of the system for each record.
    let len = usize::try_from(get_frame_content_size(packed).ok()??).ok()?;
    if len > limit {
        return None;
    }
    DECOMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(decompressor) => decompressor.decompress(packed, len).ok(),
        None => kept.insert(Decompressor::new().ok()?).decompress(packed, len).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_up_to_its_limit() {
        for text in [b"".to_vec(), b"a".repeat(100_000), (0..=255).collect::<Vec<u8>>()] {
            let packed = pack(&text).unwrap();
            assert_eq!(packed, zstd::bulk::compress(&text, LEVEL).unwrap(), "what was kept changes nothing");
            assert_eq!(unpack(&packed, text.len()), Some(text.clone()));
            assert_eq!(
                unpack(&packed, text.len().wrapping_sub(1).min(text.len())).is_some(),
                text.is_empty()
            );
        }
    }

    #[test]
    fn nonsense_is_none_and_spoils_nothing_for_the_next() {
        let packed = pack(b"hello hello hello hello").unwrap();
        for cut in 0..packed.len() {
            assert_eq!(unpack(&packed[..cut], 1 << 20), None, "cut at {cut}");
        }
        assert_eq!(unpack(b"nonsense", 1 << 20), None);
        assert_eq!(unpack(&packed, 1 << 20).as_deref(), Some(&b"hello hello hello hello"[..]));
    }
}
