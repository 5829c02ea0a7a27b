//! SQLite as a [`Backend`]: one writer that also decides when the WAL is checkpointed, and a connection that does it.
//!
//! The maintenance connection moves pages while the writer goes on, so it never quite catches up. The writer moves
//! the few pages that remain and restarts the WAL: overwriting a file and syncing it costs a third less than growing it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use registry_domain::Timestamp;

use crate::{Backend, Maintenance, StoreError, StoreSize, Transaction, Upkeep};

use super::{Checkpointer, OpenError, Options, SqliteReader, SqliteWriter};

/// The WAL is checkpointed each time it has grown by this many pages (16 MB). SQLite's default is a quarter of that; under
/// load, the writer would restart the WAL, which takes two syncs, after every dozen commits.
const CHECKPOINT_PAGES: u32 = 4_000;
/// How long the writer waits for readers before it restarts a WAL that has just been checkpointed. Readers of this
/// process finish within a millisecond; if another process reads for longer, the WAL grows.
const RESTART_PATIENCE: Duration = Duration::from_millis(4);
/// From this many pages (64 MB), the writer waits for readers as long as the busy timeout.
const MAX_WAL_PAGES: u32 = 16_384;

/// A SQLite file, with what its connections share.
pub struct Sqlite {
    options: Options,
    wal: Arc<WalState>,
}

/// What the writer and the checkpointer share about the WAL.
#[derive(Debug, Default)]
pub(super) struct WalState {
    /// Set by the checkpointer after each round.
    checkpointed: AtomicBool,
    /// Set for good after a checkpoint could not be synced: from then on the WAL is neither moved nor restarted.
    retained: AtomicBool,
}

impl WalState {
    fn is_retained(&self) -> bool {
        self.retained.load(Ordering::Relaxed)
    }

    fn record_failure(&self, error: &StoreError) {
        if matches!(error, StoreError::InDoubt(_)) && !self.retained.swap(true, Ordering::Relaxed) {
            tracing::error!(
                %error,
                "the write-ahead log is kept whole and grows from now on; check the disk, then restart the server, \
                 which recovers all of the log"
            );
        }
    }
}

/// The writer's view of the WAL.
#[derive(Debug, Default)]
pub(super) struct WalUpkeep {
    state: Arc<WalState>,
    watch: WalWatch,
}

/// Decides from the number of pages in the WAL what is due.
#[derive(Debug)]
struct WalWatch {
    last_pages: u32,
    next_checkpoint_pages: u32,
    next_restart_pages: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// By the checkpointer, while the writer goes on.
    Checkpoint,
    /// By the writer, now that few pages remain.
    Restart,
    /// By the writer, even if it has to wait. Due again when the WAL has grown as much again.
    PatientRestart,
}

impl Default for WalWatch {
    fn default() -> Self {
        Self { last_pages: 0, next_checkpoint_pages: CHECKPOINT_PAGES, next_restart_pages: MAX_WAL_PAGES }
    }
}

impl WalWatch {
    /// `checkpointed` is true if the checkpointer has finished a round since the last call.
    fn due(&mut self, pages: u32, checkpointed: bool) -> Due {
        if pages < self.last_pages {
            // The WAL was restarted.
            *self = Self::default();
        }
        self.last_pages = pages;
        if pages >= self.next_restart_pages {
            self.next_restart_pages = pages.saturating_add(MAX_WAL_PAGES);
            return Due::PatientRestart;
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

impl Backend for Sqlite {
    type Options = Options;
    type OpenError = OpenError;
    type Reader = SqliteReader;
    type Writer = SqliteWriter;
    type Maintenance = SqliteMaintenance;

    fn open(options: &Options, now: Timestamp) -> Result<(Self, SqliteWriter), OpenError> {
        let mut writer = SqliteWriter::open(options, now)?;
        let wal = Arc::<WalState>::default();
        writer.upkeep = WalUpkeep { state: Arc::clone(&wal), watch: WalWatch::default() };
        Ok((Self { options: options.clone(), wal }, writer))
    }

    fn reader(&self) -> Result<SqliteReader, OpenError> {
        SqliteReader::open(&self.options)
    }

    fn maintenance(&self) -> Result<SqliteMaintenance, OpenError> {
        Ok(SqliteMaintenance { checkpointer: Checkpointer::open(&self.options)?, wal: Arc::clone(&self.wal) })
    }

    fn reopen(&self, writer: &mut SqliteWriter) -> Result<(), OpenError> {
        writer.reopen(&self.options)
    }

    fn write_patience(&self) -> Duration {
        self.options.busy_timeout
    }
}

impl Transaction for SqliteWriter {
    fn begin(&mut self, patience: Duration) -> Result<(), StoreError> {
        self.begin_within(patience)
    }

    fn rows_written(&self) -> u64 {
        self.connection.total_changes()
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.commit()
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        self.rollback()
    }

    fn in_transaction(&self) -> bool {
        self.in_transaction()
    }

    fn maintain(&mut self) -> Result<Upkeep, StoreError> {
        if self.upkeep.state.is_retained() {
            return Ok(Upkeep::Nothing);
        }
        let pages = self.wal_pages();
        let checkpointed = self.upkeep.state.checkpointed.swap(false, Ordering::Relaxed);
        let due = self.upkeep.watch.due(pages, checkpointed);
        let patience = match due {
            Due::Nothing => return Ok(Upkeep::Nothing),
            Due::Checkpoint => return Ok(Upkeep::Background),
            Due::Restart => RESTART_PATIENCE,
            Due::PatientRestart => self.busy_timeout(),
        };
        match self.restart_wal(patience) {
            Ok(_) => Ok(Upkeep::Done),
            Err(StoreError::Busy) if due == Due::Restart => {
                tracing::debug!(pages, "a reader still needs the write-ahead log, which grows");
                Ok(Upkeep::Nothing)
            }
            Err(error) => {
                self.upkeep.state.record_failure(&error);
                Err(error)
            }
        }
    }

    fn size(&self) -> StoreSize {
        let (database_bytes, wal_bytes) = self.file_bytes();
        StoreSize { database_bytes, wal_bytes, wal_pages: self.wal_pages() }
    }

    fn close(&mut self) {
        if self.upkeep.state.is_retained() {
            if let Err(error) = self.keep_wal_on_close() {
                tracing::error!(%error, "the write-ahead log could not be left whole");
            }
            return;
        }
        if let Err(error) = self.truncate_wal() {
            if matches!(error, StoreError::InDoubt(_)) {
                let _ = self.keep_wal_on_close();
            }
            tracing::warn!(%error, "the write-ahead log stays beside the database; the next start recovers it");
        }
    }
}

/// The connection that checkpoints the WAL.
pub struct SqliteMaintenance {
    checkpointer: Checkpointer,
    wal: Arc<WalState>,
}

impl Maintenance for SqliteMaintenance {
    fn run(&mut self) -> Result<Upkeep, StoreError> {
        if self.wal.is_retained() {
            return Ok(Upkeep::Nothing);
        }
        let done = self.checkpointer.run().inspect_err(|error| self.wal.record_failure(error))?;
        self.wal.checkpointed.store(true, Ordering::Relaxed);
        tracing::debug!(done.wal_pages, done.moved_pages, "checkpoint");
        Ok(Upkeep::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_wal_is_checkpointed_and_then_restarted() {
        let mut wal = WalWatch::default();
        for (pages, checkpointed, due) in [
            (1, false, Due::Nothing),
            (3_999, false, Due::Nothing),
            (4_005, false, Due::Checkpoint),
            (4_006, false, Due::Nothing),
            (4_200, true, Due::Restart),
            (4_210, false, Due::Nothing),
            (8_004, false, Due::Nothing),
            (8_005, false, Due::Checkpoint),
            (16_384, true, Due::PatientRestart),
            (16_385, false, Due::Checkpoint),
            (32_767, false, Due::Checkpoint),
            (32_768, false, Due::PatientRestart),
            (3, false, Due::Nothing),
            (4_000, false, Due::Checkpoint),
            (16_384, false, Due::PatientRestart),
        ] {
            assert_eq!(wal.due(pages, checkpointed), due, "{pages}");
        }
    }
}
