//! The actor that maintains the database on its own connection, so that no write waits for it.

use crate::{store::Maintenance, telemetry::Writing};

use super::mailbox::Worker;

/// A request to run one round.
pub(super) struct MaintenanceJob;

pub(super) struct Maintainer<M> {
    pub(super) store: M,
    pub(super) counts: Writing,
}

impl<M: Maintenance + Send + Unpin + 'static> Worker for Maintainer<M> {
    type Job = MaintenanceJob;

    fn work(&mut self, _: MaintenanceJob, _waiting: &mut dyn Iterator<Item = MaintenanceJob>) {
        match self.store.run() {
            Ok(true) => {
                self.counts.checkpoints.inc();
            }
            Ok(false) => {}
            Err(error) => {
                self.counts.failed_checkpoints.inc();
                tracing::warn!(%error, "maintenance of the database failed; it is retried later");
            }
        }
    }
}
