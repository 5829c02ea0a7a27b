//! The actor that moves committed pages from the WAL into the database, so that no writer has to wait for it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::store::sqlite::Checkpointer as Store;

use super::mailbox::Serve;

/// Move what can be moved now.
pub(super) struct CheckpointJob;

pub(super) struct Checkpointer {
    pub(super) store: Store,
    /// Tells the writer that it is through.
    pub(super) moved: Arc<AtomicBool>,
}

impl Serve for Checkpointer {
    type Job = CheckpointJob;

    fn serve(&mut self, _: CheckpointJob, _waiting: &mut dyn Iterator<Item = CheckpointJob>) {
        match self.store.run() {
            Ok(done) => {
                self.moved.store(true, Ordering::Relaxed);
                tracing::debug!(done.wal_pages, done.moved_pages, "checkpoint");
            }
            Err(error) => tracing::warn!(%error, "a checkpoint failed; the write-ahead log keeps its pages"),
        }
    }
}
