//! The actor that writes: one, with the only connection of this process that changes anything.
//!
//! It commits what it finds waiting as one transaction, each operation in a savepoint of its own, and
//! answers each caller only after that commit. It never waits for a batch to fill: under load the
//! queue fills while it syncs.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    store::{
        StoreError, WriteStore,
        sqlite::{Options, SqliteWriter},
    },
    telemetry::Writing,
};

use super::{
    ActorError,
    checkpointer::{CheckpointJob, WalState},
    mailbox::{Mailbox, Serve},
    panic_text,
};

/// Operations in one transaction at most. What one sync costs is shared well before that, and the
/// first of the batch should not wait for too many others.
const MAX_BATCH: usize = 128;
/// The checkpointer is called each time the WAL has grown by so many pages (4 MB; SQLite's own default).
const CHECKPOINT_PAGES: u32 = 1_000;
/// How long the writer waits for readers to let go of a log that the checkpointer has just moved. Those of this
/// process do so within a millisecond; where another process reads for long, the log grows meanwhile.
const RESTART_PATIENCE: Duration = Duration::from_millis(4);
/// Pages in the WAL from which the writer waits for readers as long as the busy timeout (64 MB).
const MAX_WAL_PAGES: u32 = 16_384;

/// How often an idle writer looks at the size of the WAL.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// How long the writer looks for the next operation before it sleeps: somewhat longer than a caller takes who sends the next
/// as soon as the answer is there. Measured with one caller on two cores: a quarter more writes a second.
const LINGER: Duration = Duration::from_micros(300);

/// One operation over the store, and where its answer goes.
pub(super) trait WriteJob: Send {
    /// Runs the operation inside the transaction.
    fn run(&mut self, store: &mut dyn WriteStore) -> Verdict;
    /// The store's own error that the operation ended with.
    fn failure(&self) -> Option<&StoreError>;
    /// Answers: with the operation's own result, or with what became of its transaction.
    fn answer(self: Box<Self>, transaction: Result<(), StoreError>);
}

/// What is to become of what an operation wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    Undo,
    /// Undo, and trust the connection no longer.
    Panicked,
}

struct Job<F, T> {
    write: Option<F>,
    result: Option<Result<T, ActorError>>,
    reply: oneshot::Sender<Result<T, ActorError>>,
}

/// Wraps `write` so that its answer, or that it panicked, reaches whoever holds the receiver.
pub(super) fn job<F, T>(write: F) -> (Box<dyn WriteJob>, oneshot::Receiver<Result<T, ActorError>>)
where
    F: FnOnce(&mut dyn WriteStore) -> Result<T, StoreError> + Send + 'static,
    T: Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Job { write: Some(write), result: None, reply }), answer)
}

impl<F, T> WriteJob for Job<F, T>
where
    F: FnOnce(&mut dyn WriteStore) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, store: &mut dyn WriteStore) -> Verdict {
        // Whoever asked has gone before it was begun, and can't take it for done.
        let Some(write) = self.write.take().filter(|_| !self.reply.is_closed()) else {
            return Verdict::Undo;
        };
        let (result, verdict) = match catch_unwind(AssertUnwindSafe(|| write(store))) {
            Ok(Ok(value)) => (Ok(value), Verdict::Keep),
            Ok(Err(error)) => (Err(error.into()), Verdict::Undo),
            Err(panic) => (Err(ActorError::Panicked(panic_text(&*panic))), Verdict::Panicked),
        };
        self.result = Some(result);
        verdict
    }

    fn failure(&self) -> Option<&StoreError> {
        match &self.result {
            Some(Err(ActorError::Store(error))) => Some(error),
            _ => None,
        }
    }

    fn answer(self: Box<Self>, transaction: Result<(), StoreError>) {
        let result = match transaction {
            Ok(()) => self.result.unwrap_or(Err(ActorError::Closed)),
            Err(error) => Err(error.into()),
        };
        let _ = self.reply.send(result);
    }
}

pub(super) struct Writer {
    store: SqliteWriter,
    options: Options,
    parts: WriterParts,
    wal: WalWatch,
    /// Whether the connection is to be opened anew before it is used again.
    distrusted: bool,
}

/// What the writer works with, besides its connection.
#[derive(Clone)]
pub(super) struct WriterParts {
    pub(super) checkpointer: Arc<Mailbox<CheckpointJob>>,
    pub(super) log: Arc<WalState>,
    pub(super) counts: Writing,
}

impl Writer {
    pub(super) fn new(store: SqliteWriter, options: Options, parts: WriterParts) -> Self {
        parts.counts.writable.set(1);
        Self { store, options, parts, wal: WalWatch::default(), distrusted: false }
    }

    /// Runs jobs from the front of `waiting` in one transaction and answers them. Some may be left: where
    /// SQLite has ended the transaction by itself, what comes after needs a new one.
    fn transact(&mut self, waiting: &mut VecDeque<Box<dyn WriteJob>>) {
        let begun = Instant::now();
        if let Err(error) = self.renew().and_then(|()| self.store.begin()) {
            self.count(begun, 0, Some(&error));
            for job in waiting.drain(..) {
                job.answer(Err(error.clone()));
            }
            return;
        }
        let mut run = Vec::with_capacity(waiting.len());
        let mut outcome = Ok(());
        while let Some(mut job) = waiting.pop_front() {
            let verdict = self.run_one(&mut *job);
            run.push(job);
            match verdict {
                Ok(verdict) => self.distrusted |= verdict == Verdict::Panicked,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let outcome = outcome.and_then(|()| self.store.commit());
        if self.store.in_transaction()
            && let Err(error) = self.store.rollback()
        {
            tracing::error!(%error, "a transaction could not be rolled back");
            self.distrusted = true;
        }
        if let Err(error) = &outcome {
            tracing::error!(%error, operations = run.len(), "a transaction was not committed");
        }
        self.count(begun, run.len(), outcome.as_ref().err());
        for job in run {
            job.answer(outcome.clone());
        }
        // Where that fails, the next one tries again before it begins.
        let _ = self.renew();
    }

    /// Takes a new connection where the one at hand can't be trusted.
    fn renew(&mut self) -> Result<(), StoreError> {
        if self.distrusted {
            if let Err(error) = self.store.reopen(&self.options) {
                tracing::error!(%error, "the writer could not open its database again");
                return Err(StoreError::Failing("it can't be opened again".to_owned()));
            }
            self.distrusted = false;
        }
        Ok(())
    }

    fn count(&self, begun: Instant, operations: usize, failure: Option<&StoreError>) {
        let counts = &self.parts.counts;
        match failure {
            None => {
                counts.operations.observe(operations as f64);
                counts.commit_seconds.observe(begun.elapsed().as_secs_f64());
                counts.writable.set(1);
            }
            Some(error) => {
                counts.failed_commits.inc();
                // Another process that writes for long says nothing of the disk.
                if !matches!(error, StoreError::Busy) {
                    counts.writable.set(0);
                }
            }
        }
        let (database_bytes, wal_bytes) = self.store.file_bytes();
        counts.database_bytes.set(i64::try_from(database_bytes).unwrap_or(i64::MAX));
        counts.wal_bytes.set(i64::try_from(wal_bytes).unwrap_or(i64::MAX));
        counts.wal_pages.set(self.store.wal_pages().into());
    }

    /// Runs one operation in its savepoint. An error is one of the transaction, which is lost whole.
    fn run_one(&mut self, job: &mut dyn WriteJob) -> Result<Verdict, StoreError> {
        self.store.begin_operation()?;
        let verdict = job.run(&mut self.store);
        if !self.store.in_transaction() {
            let ended = job.failure().cloned();
            return Err(ended.unwrap_or_else(|| StoreError::Failing("a transaction was lost".to_owned())));
        }
        match verdict {
            Verdict::Keep => self.store.keep_operation()?,
            Verdict::Undo | Verdict::Panicked => self.store.undo_operation()?,
        }
        Ok(verdict)
    }

    /// Keeps the WAL short. The checkpointer moves its pages while this thread goes on writing, so it is never
    /// quite through; what came in meanwhile is little, and is moved here. From then on the log is overwritten from its
    /// beginning, and to sync bytes that a file has already costs a third less than to sync some that make it longer.
    fn tend_wal(&mut self) {
        if self.parts.log.is_kept() {
            return;
        }
        let pages = self.store.wal_pages();
        let patience = match self.wal.due(pages, self.parts.log.moved.swap(false, Ordering::Relaxed)) {
            Due::Nothing => return,
            Due::Checkpoint => {
                // A full mailbox means one is under way already.
                let _ = self.parts.checkpointer.post(CheckpointJob);
                return;
            }
            Due::Restart => RESTART_PATIENCE,
            Due::PatientRestart => self.options.busy_timeout,
        };
        match self.store.restart_wal(patience) {
            Ok(_) => {
                self.parts.counts.checkpoints.inc();
            }
            Err(StoreError::Busy) if patience == RESTART_PATIENCE => {
                tracing::debug!(pages, "a reader still needs the write-ahead log; it goes on growing");
            }
            Err(error) => {
                self.parts.log.failed(&error);
                self.parts.counts.failed_checkpoints.inc();
                tracing::warn!(%error, pages, "the write-ahead log could not be begun anew");
            }
        }
    }
}

/// When the WAL is to be tended, by how many pages it has.
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
    /// By the writer, now that little is left to be moved.
    Restart,
    /// By the writer, whatever it takes. Where a reader of another process stands in the way, it is tried again when
    /// the log has grown as much again.
    PatientRestart,
}

impl Default for WalWatch {
    fn default() -> Self {
        Self { last_pages: 0, next_checkpoint_pages: CHECKPOINT_PAGES, next_restart_pages: MAX_WAL_PAGES }
    }
}

impl WalWatch {
    /// `moved` is whether the checkpointer has been through since this was last asked.
    fn due(&mut self, pages: u32, moved: bool) -> Due {
        if pages < self.last_pages {
            // The log was begun anew.
            *self = Self::default();
        }
        self.last_pages = pages;
        if pages >= self.next_restart_pages {
            self.next_restart_pages = pages.saturating_add(MAX_WAL_PAGES);
            return Due::PatientRestart;
        }
        if moved {
            return Due::Restart;
        }
        if pages >= self.next_checkpoint_pages {
            self.next_checkpoint_pages = pages.saturating_add(CHECKPOINT_PAGES);
            return Due::Checkpoint;
        }
        Due::Nothing
    }
}

impl Serve for Writer {
    type Job = Box<dyn WriteJob>;

    fn serve(&mut self, first: Self::Job, waiting: &mut dyn Iterator<Item = Self::Job>) {
        let mut batch: VecDeque<_> = std::iter::once(first).chain(waiting.take(MAX_BATCH - 1)).collect();
        while !batch.is_empty() {
            self.transact(&mut batch);
        }
        self.tend_wal();
    }

    fn idle(&mut self) -> Option<Duration> {
        self.tend_wal();
        Some(IDLE_LOOK)
    }

    fn linger(&self) -> Duration {
        LINGER
    }

    fn close(&mut self) {
        if self.parts.log.is_kept() {
            if let Err(error) = self.store.keep_wal_on_close() {
                tracing::error!(%error, "the write-ahead log could not be left whole");
            }
            return;
        }
        if let Err(error) = self.store.truncate_wal() {
            if matches!(error, StoreError::InDoubt(_)) {
                let _ = self.store.keep_wal_on_close();
            }
            tracing::warn!(%error, "the write-ahead log stays beside the database; the next start recovers it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_tended_as_it_grows_and_anew_once_it_was_begun_anew() {
        let mut wal = WalWatch::default();
        for (pages, moved, due) in [
            (1, false, Due::Nothing),
            (999, false, Due::Nothing),
            (1_005, false, Due::Checkpoint),
            (1_006, false, Due::Nothing),
            (1_200, true, Due::Restart),
            (1_210, false, Due::Nothing),
            (2_004, false, Due::Nothing),
            (2_005, false, Due::Checkpoint),
            (16_384, true, Due::PatientRestart),
            (16_385, false, Due::Checkpoint),
            (32_767, false, Due::Checkpoint),
            (32_768, false, Due::PatientRestart),
            (3, false, Due::Nothing),
            (1_000, false, Due::Checkpoint),
            (16_384, false, Due::PatientRestart),
        ] {
            assert_eq!(wal.due(pages, moved), due, "{pages}");
        }
    }
}
