//! A block of bytes, written within its time.

use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use words_world::Stream;

/// A write that did not end well.
pub(crate) struct Unwritten {
    /// How many bytes were taken off our hands: when it is all of them, they may be on their way.
    pub(crate) taken: usize,
    pub(crate) why: String,
}

/// Writes all of `bytes` and sees them off, within `limit`.
pub(crate) async fn write(
    stream: &mut Box<dyn Stream>,
    bytes: &[u8],
    limit: Duration,
) -> Result<(), Unwritten> {
    let mut taken = 0;
    let result: Result<io::Result<()>, _> = timeout(limit, async {
        while taken < bytes.len() {
            match stream.write(&bytes[taken..]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => taken += n,
            }
        }
        stream.flush().await
    })
    .await;
    let why = match result {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(e)) => format!("connection lost while writing ({e})"),
        Err(_) => format!("the peer took nothing for {} s", limit.as_secs_f32()),
    };
    Err(Unwritten { taken, why })
}
