//! One connection: bytes in, bytes out, each with a limit of time.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use words_world::Stream;

/// How much is read at once while a message streams in.
const READ_BYTES: usize = 32 * 1024;

/// How much is read at once otherwise: commands are short, and an idle connection keeps nothing.
const READ_BYTES_IDLE: usize = 2 * 1024;

/// How much is written at once: a client that does not read costs no more than this.
pub(crate) const WRITE_BYTES: usize = 32 * 1024;

pub(crate) struct Wire {
    /// `None` while TLS is being begun.
    stream: Option<Box<dyn Stream>>,
    write_time: Duration,
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Wire {
    pub(crate) fn new(stream: Box<dyn Stream>, write_time: Duration) -> Wire {
        Wire { stream: Some(stream), write_time }
    }

    /// Reads what is there into `buffer`, which is emptied first; `Ok(0)` at the end of the connection. Safe to drop.
    pub(crate) async fn read(&mut self, buffer: &mut Vec<u8>, streaming: bool) -> io::Result<usize> {
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        buffer.clear();
        let room = if streaming { READ_BYTES } else { READ_BYTES_IDLE };
        buffer.reserve_exact(room);
        let mut limited = (&mut *stream).take(room as u64);
        limited.read_buf(buffer).await
    }

    /// Writes all of it, piece by piece; `TimedOut` when the client takes none of a piece for too long.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        for mut piece in bytes.chunks(WRITE_BYTES) {
            while !piece.is_empty() {
                match tokio::time::timeout(self.write_time, stream.write(piece)).await {
                    Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(Ok(n)) => piece = &piece[n..],
                    Ok(Err(error)) => return Err(error),
                    Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                }
            }
        }
        Ok(())
    }

    /// Sends what TLS may still hold back.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        tokio::time::timeout(self.write_time, stream.flush())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The stream, to put TLS around it; the wire is dead until it is given back.
    pub(crate) fn take(&mut self) -> io::Result<Box<dyn Stream>> {
        self.stream.take().ok_or_else(gone)
    }

    pub(crate) fn give(&mut self, stream: Box<dyn Stream>) {
        self.stream = Some(stream);
    }

    /// Says good-bye to TLS and the network, and does not wait long for it.
    pub(crate) async fn close(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            let _ = tokio::time::timeout(Duration::from_secs(1), stream.shutdown()).await;
        }
    }
}
