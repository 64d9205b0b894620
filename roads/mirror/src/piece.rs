//! Long work in pieces.

/// Steps in one piece: some milliseconds of reading.
const STEPS: u32 = 64;

/// Counts steps, and lets others have their turn after each piece.
#[derive(Default)]
pub(crate) struct Piece(u32);

impl Piece {
    /// One step is about to be done.
    pub(crate) async fn step(&mut self) {
        self.0 += 1;
        if self.0 >= STEPS {
            self.0 = 0;
            tokio::task::yield_now().await;
        }
    }
}
