//! A message in pieces, as it came in, from memory or from its file.

use std::io::{self, Read};
use stores_journal::{BodyReader, IncomingBody, Journal};

/// Octets of a piece.
const PIECE: usize = 64 << 10;

/// What is left of a message.
pub(crate) enum Pieces<'a> {
    Memory(&'a [u8]),
    File(Box<BodyReader>, Vec<u8>),
}

impl<'a> Pieces<'a> {
    /// The whole message.
    pub(crate) fn of(journal: &Journal, body: &'a IncomingBody) -> io::Result<Pieces<'a>> {
        Ok(match body {
            IncomingBody::Inline(bytes) => Pieces::Memory(bytes),
            IncomingBody::File(stored) => {
                let reader = journal.log().reader().stored(stored).map_err(io::Error::other)?;
                Pieces::File(Box::new(reader), vec![0; PIECE])
            }
        })
    }

    /// The next piece; `None` at the end. Never an empty one.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        match self {
            Pieces::Memory([]) => Ok(None),
            Pieces::Memory(rest) => {
                let (piece, later) = rest.split_at(rest.len().min(PIECE));
                *rest = later;
                Ok(Some(piece))
            }
            Pieces::File(reader, piece) => match reader.read(piece)? {
                0 => Ok(None),
                read => Ok(Some(&piece[..read])),
            },
        }
    }
}
