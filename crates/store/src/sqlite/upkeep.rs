//! Decides when the WAL is checkpointed and restarted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::StoreError;

/// The WAL is checkpointed each time it has grown by this many pages (16 MB). SQLite's default is a quarter of that; under
/// load, the writer would restart the WAL, which takes two syncs, after every dozen commits.
const CHECKPOINT_PAGES: u32 = 4_000;
/// From this many pages (64 MB), the writer waits for readers as long as the busy timeout.
const MAX_WAL_PAGES: u32 = 16_384;

/// What the writer and the checkpointer share about the WAL.
#[derive(Debug, Default)]
pub(super) struct WalState {
    /// Set by the checkpointer after each round.
    pub(super) checkpointed: AtomicBool,
    /// Set for good after a checkpoint could not be synced: from then on the WAL is neither moved nor restarted.
    retained: AtomicBool,
}

impl WalState {
    pub(super) fn is_retained(&self) -> bool {
        self.retained.load(Ordering::Relaxed)
    }

    pub(super) fn record_failure(&self, error: &StoreError) {
        if matches!(error, StoreError::InDoubt(_)) && !self.retained.swap(true, Ordering::Relaxed) {
            tracing::error!(
                %error,
                "the write-ahead log is kept whole and grows from now on; check the disk, then restart the server, \
                 which recovers all of the log"
            );
        }
    }
}

/// The maintenance that the WAL needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// By the checkpointer, while the writer keeps writing.
    Checkpoint,
    /// By the writer, now that few pages remain.
    Restart,
    /// By the writer, even if it has to wait. Due again once the WAL has grown by the same amount.
    BlockingRestart,
}

/// The writer's view of the WAL: decides from its number of pages what is due.
#[derive(Debug)]
pub(super) struct WalUpkeep {
    pub(super) state: Arc<WalState>,
    last_pages: u32,
    next_checkpoint_pages: u32,
    next_restart_pages: u32,
}

impl WalUpkeep {
    pub(super) fn new(state: Arc<WalState>) -> Self {
        let (next_checkpoint_pages, next_restart_pages) = (CHECKPOINT_PAGES, MAX_WAL_PAGES);
        Self { state, last_pages: 0, next_checkpoint_pages, next_restart_pages }
    }

    pub(super) fn due(&mut self, pages: u32) -> Due {
        if pages < self.last_pages {
            // The WAL was restarted.
            *self = Self::new(Arc::clone(&self.state));
        }
        self.last_pages = pages;
        let checkpointed = self.state.checkpointed.swap(false, Ordering::Relaxed);
        if pages >= self.next_restart_pages {
            self.next_restart_pages = pages.saturating_add(MAX_WAL_PAGES);
            return Due::BlockingRestart;
        }
        if checkpointed {
            return Due::Restart;
        }
        if pages >= self.next_checkpoint_pages {
            self.next_checkpoint_pages = pages.saturating_add(CHECKPOINT_PAGES);
            return Due::Checkpoint;
        }
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_wal_is_checkpointed_and_then_restarted() {
        let mut wal = WalUpkeep::new(Arc::default());
        for (pages, checkpointed, due) in [
            (1, false, Due::Nothing),
            (3_999, false, Due::Nothing),
            (4_005, false, Due::Checkpoint),
            (4_006, false, Due::Nothing),
            (4_200, true, Due::Restart),
            (4_210, false, Due::Nothing),
            (8_004, false, Due::Nothing),
            (8_005, false, Due::Checkpoint),
            (16_384, true, Due::BlockingRestart),
            (16_385, false, Due::Checkpoint),
            (32_767, false, Due::Checkpoint),
            (32_768, false, Due::BlockingRestart),
            (3, false, Due::Nothing),
            (4_000, false, Due::Checkpoint),
            (16_384, false, Due::BlockingRestart),
        ] {
            wal.state.checkpointed.store(checkpointed, Ordering::Relaxed);
            assert_eq!(wal.due(pages), due, "{pages}");
        }
    }
}
