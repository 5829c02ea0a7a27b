//! The actor that moves committed pages from the WAL into the database, so that no writer has to wait for it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    store::sqlite::{Checkpointer as Store, OpenError, Options},
    telemetry::Writing,
};

use super::mailbox::Serve;

/// Move what can be moved now.
pub(super) struct CheckpointJob;

pub(super) struct Checkpointer {
    /// Absent until the first job where the database could not be written when the server started.
    store: Option<Store>,
    options: Options,
    /// Tells the writer that it is through.
    moved: Arc<AtomicBool>,
    counts: Writing,
}

impl Checkpointer {
    pub(super) fn new(
        store: Option<Store>,
        options: Options,
        moved: Arc<AtomicBool>,
        counts: Writing,
    ) -> Self {
        Self { store, options, moved, counts }
    }

    fn store(&mut self) -> Result<&mut Store, OpenError> {
        match &mut self.store {
            Some(store) => Ok(store),
            none => Ok(none.insert(Store::open(&self.options)?)),
        }
    }
}

impl Serve for Checkpointer {
    type Job = CheckpointJob;

    fn serve(&mut self, _: CheckpointJob, _waiting: &mut dyn Iterator<Item = CheckpointJob>) {
        let done = match self.store() {
            Ok(store) => store.run().map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match done {
            Ok(done) => {
                self.moved.store(true, Ordering::Relaxed);
                self.counts.checkpoints.inc();
                tracing::debug!(done.wal_pages, done.moved_pages, "checkpoint");
            }
            Err(error) => {
                self.counts.failed_checkpoints.inc();
                tracing::warn!(%error, "a checkpoint failed; the write-ahead log keeps its pages");
            }
        }
    }
}
