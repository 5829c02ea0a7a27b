//! The actor that moves committed pages from the WAL into the database, so that no writer has to wait for it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    store::{StoreError, sqlite::Checkpointer as Store},
    telemetry::Writing,
};

use super::mailbox::Serve;

/// What the writer and the checkpointer tell each other of the WAL.
#[derive(Default)]
pub(super) struct WalState {
    /// Set by the checkpointer when it is through.
    pub(super) moved: AtomicBool,
    /// Set for good where a checkpoint could not be synced: nothing is moved or begun anew from then on.
    kept: AtomicBool,
}

impl WalState {
    /// Whether the WAL is to be left as it is.
    pub(super) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// Takes down why a checkpoint failed.
    pub(super) fn failed(&self, error: &StoreError) {
        if matches!(error, StoreError::InDoubt(_)) && !self.kept.swap(true, Ordering::Relaxed) {
            tracing::error!(
                %error,
                "the write-ahead log is kept whole from now on and grows; look after the disk, then end the server and \
                 start it again: it recovers all of the log"
            );
        }
    }
}

/// Move what can be moved now.
pub(super) struct CheckpointJob;

pub(super) struct Checkpointer {
    store: Store,
    log: Arc<WalState>,
    counts: Writing,
}

impl Checkpointer {
    pub(super) fn new(store: Store, log: Arc<WalState>, counts: Writing) -> Self {
        Self { store, log, counts }
    }
}

impl Serve for Checkpointer {
    type Job = CheckpointJob;

    fn serve(&mut self, _: CheckpointJob, _waiting: &mut dyn Iterator<Item = CheckpointJob>) {
        if self.log.is_kept() {
            return;
        }
        let done = self.store.run().inspect_err(|error| self.log.failed(error));
        match done {
            Ok(done) => {
                self.log.moved.store(true, Ordering::Relaxed);
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
