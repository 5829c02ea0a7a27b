//! The actors that write: one with SQLite, several with PostgreSQL.
//!
//! It commits the operations that wait as one transaction and replies after the commit. It never waits for a batch to
//! fill: under load the queue fills while it syncs.
//!
//! If an operation fails after it wrote, the transaction is undone, the operations before it run again without it, and then
//! it runs again, first. That is rare, since rules come before writes, and it spares all operations a savepoint.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use tokio::sync::{oneshot, watch};

use crate::{
    store::{Backend, StoreError, Transaction, Upkeep, WriteStore},
    telemetry::Writing,
};

use super::{
    ActorError,
    mailbox::{Mailbox, Worker},
    maintenance::MaintenanceJob,
    panic_text,
};

/// How often an idle writer looks for maintenance that is due.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// How long the writer polls for the next operation before it sleeps: slightly longer than a caller takes that sends
/// its next request as soon as it has an answer. Measured with one caller on two cores: a quarter more writes per second.
const LINGER: Duration = Duration::from_micros(300);

/// A [`WriteJob`] in the queue.
pub(super) type BoxedWriteJob = Box<dyn WriteJob>;

/// One operation over the store, and where its result goes.
pub(super) trait WriteJob: Send {
    /// Runs the operation inside the transaction. Runs again if that transaction is undone for another operation.
    fn run(&mut self, store: &mut dyn WriteStore) -> Verdict;
    /// Returns the store's error that the operation ended with.
    fn failure(&self) -> Option<&StoreError>;
    /// Replies with the operation's own result or, if its transaction failed, with that error.
    fn answer(self: Box<Self>, transaction: Result<(), StoreError>);
    /// Returns how long ago the job was admitted to the queue.
    fn age(&self) -> Duration;
    /// Returns true for a readiness probe.
    fn is_probe(&self) -> bool;
}

/// What to do with the writes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    Undo,
    /// Undo, and replace the connection.
    Panicked,
}

struct Job<F, T> {
    admitted: Instant,
    write: F,
    is_probe: bool,
    result: Option<Result<T, ActorError>>,
    reply: oneshot::Sender<Result<T, ActorError>>,
}

/// Wraps `write` so that its result, or the fact that it panicked, reaches the receiver.
pub(super) fn job<F, T>(write: F, is_probe: bool) -> (BoxedWriteJob, oneshot::Receiver<Result<T, ActorError>>)
where
    F: Fn(&mut dyn WriteStore) -> Result<T, StoreError> + Send + 'static,
    T: Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Job { admitted: Instant::now(), write, is_probe, result: None, reply }), answer)
}

impl<F, T> WriteJob for Job<F, T>
where
    F: Fn(&mut dyn WriteStore) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, store: &mut dyn WriteStore) -> Verdict {
        // The caller left before the operation began, so it can't assume that the operation was executed.
        if self.reply.is_closed() {
            return Verdict::Undo;
        }
        let (result, verdict) = match catch_unwind(AssertUnwindSafe(|| (self.write)(store))) {
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

    fn age(&self) -> Duration {
        self.admitted.elapsed()
    }

    fn is_probe(&self) -> bool {
        self.is_probe
    }
}

/// Who hears of commits.
#[derive(Clone)]
pub(super) struct Notices {
    /// Changes with each commit.
    pub(super) committed: watch::Sender<()>,
    /// Gets a message after commits that added deliveries to webhooks.
    pub(super) deliveries: Sender<()>,
}

pub(super) struct Writer<B: Backend> {
    store: B::Writer,
    backend: Arc<B>,
    maintenance: Arc<Mailbox<MaintenanceJob>>,
    counts: Writing,
    notices: Notices,
    /// True if there is no other writer.
    is_alone: bool,
    /// True if the connection must be replaced before it is used again.
    distrusted: bool,
}

impl<B: Backend> Writer<B> {
    pub(super) fn new(
        store: B::Writer,
        backend: Arc<B>,
        maintenance: Arc<Mailbox<MaintenanceJob>>,
        counts: Writing,
        notices: Notices,
        is_alone: bool,
    ) -> Self {
        counts.writable.set(1);
        Self { store, backend, maintenance, counts, notices, is_alone, distrusted: false }
    }

    /// Runs jobs from the front of `waiting` in one transaction and answers them. Leaves those that need another one: the
    /// store ended the transaction by itself, it was undone for a job that failed, or another process holds the lock and
    /// the jobs may wait longer.
    fn transact(&mut self, waiting: &mut VecDeque<BoxedWriteJob>) {
        let begun = Instant::now();
        if let Err(error) = self.begin(waiting) {
            self.record(begun, 0, Some(&error));
            return self.refuse(waiting, &error);
        }
        let mut run = Vec::with_capacity(waiting.len());
        let mut outcome = Ok(());
        while let Some(mut job) = waiting.pop_front() {
            let written_before = self.store.rows_written();
            let verdict = job.run(&mut self.store);
            if !self.store.in_transaction() {
                let ended = job.failure().cloned();
                outcome =
                    Err(ended.unwrap_or_else(|| StoreError::Failing("a transaction was lost".to_owned())));
                run.push(job);
                break;
            }
            self.distrusted |= verdict == Verdict::Panicked;
            let must_undo = verdict == Verdict::Undo && self.store.rows_written() != written_before;
            if must_undo || self.distrusted {
                self.rollback();
                if run.is_empty() || verdict == Verdict::Panicked {
                    run.into_iter().rev().for_each(|job| waiting.push_front(job));
                    return job.answer(Ok(()));
                }
                // Its refusal may rest on what the others wrote, so it runs again after they are committed.
                waiting.push_front(job);
                let mut others = VecDeque::from(run);
                while !others.is_empty() {
                    self.transact(&mut others);
                }
                return;
            }
            run.push(job);
        }
        let outcome = outcome.and_then(|()| self.store.commit());
        self.rollback();
        match &outcome {
            Ok(()) => {
                self.notices.committed.send_replace(());
            }
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, operations = run.len(), "a transaction was not committed");
            }
            Err(error) => {
                tracing::error!(%error, operations = run.len(), "a transaction was not committed");
            }
        }
        self.record(begun, run.len(), outcome.as_ref().err());
        let retried = self.answer(run, &outcome);
        if self.store.take_deliveries() {
            // A message that waits already says the same.
            let _ = self.notices.deliveries.try_send(());
        }
        retried.into_iter().rev().for_each(|job| waiting.push_front(job));
    }

    /// Answers the jobs of a transaction. Returns those that run again: nothing of them was kept, and they may still wait.
    fn answer(&self, run: Vec<BoxedWriteJob>, outcome: &Result<(), StoreError>) -> Vec<BoxedWriteJob> {
        let is_transient = outcome.as_ref().is_err_and(StoreError::is_transient);
        let (retried, done): (Vec<_>, Vec<_>) =
            run.into_iter().partition(|job| is_transient && job.age() < self.backend.write_timeout());
        for job in done {
            job.answer(outcome.clone());
        }
        retried
    }

    /// Undoes the transaction if one is open.
    fn rollback(&mut self) {
        if self.store.in_transaction()
            && let Err(error) = self.store.rollback()
        {
            tracing::error!(%error, "a transaction could not be rolled back");
            self.distrusted = true;
        }
    }

    /// Begins a transaction, waiting for another process until the oldest job has waited long enough.
    fn begin(&mut self, waiting: &VecDeque<BoxedWriteJob>) -> Result<(), StoreError> {
        self.reopen()?;
        let waited = waiting.front().map_or(Duration::ZERO, |job| job.age());
        self.store.begin(self.backend.write_timeout().saturating_sub(waited))
    }

    /// Answers the jobs that can't be run. While another process holds the lock or the database can't be reached, jobs that
    /// may still wait stay queued, so each waits only for its own time, even behind many batches. A probe does not wait for a
    /// lost database.
    fn refuse(&self, waiting: &mut VecDeque<BoxedWriteJob>, error: &StoreError) {
        // The store's timer may be a little early.
        let timeout = self.backend.write_timeout().saturating_sub(Duration::from_millis(5));
        let is_lost = matches!(error, StoreError::Unavailable(_));
        let stays =
            |job: &BoxedWriteJob| error.is_transient() && job.age() < timeout && !(is_lost && job.is_probe());
        while waiting.front().is_some_and(|job| !stays(job))
            && let Some(job) = waiting.pop_front()
        {
            job.answer(Err(error.clone()));
        }
    }

    /// Replaces a connection that can't be trusted.
    fn reopen(&mut self) -> Result<(), StoreError> {
        if self.distrusted {
            if let Err(error) = self.backend.reopen(&mut self.store) {
                tracing::error!(%error, "the writer could not reopen its database");
                return Err(StoreError::Failing("it can't be opened again".to_owned()));
            }
            self.distrusted = false;
        }
        Ok(())
    }

    fn record(&self, begun: Instant, operations: usize, failure: Option<&StoreError>) {
        let counts = &self.counts;
        match failure {
            None => {
                counts.operations.observe(operations as f64);
                counts.commit_seconds.observe(begun.elapsed().as_secs_f64());
                counts.writable.set(1);
            }
            Some(error) => {
                counts.failed_commits.inc();
                // A lock held by another process says nothing about the disk.
                if !matches!(error, StoreError::Busy) {
                    counts.writable.set(0);
                }
            }
        }
        let size = self.store.size();
        counts.database_bytes.set(i64::try_from(size.database_bytes).unwrap_or(i64::MAX));
        counts.wal_bytes.set(i64::try_from(size.wal_bytes).unwrap_or(i64::MAX));
        counts.wal_pages.set(size.wal_pages.into());
    }

    fn maintain(&mut self) {
        if self.reopen().is_err() {
            return;
        }
        match self.store.maintain() {
            Ok(Upkeep::Nothing) => {}
            Ok(Upkeep::Done) => {
                self.counts.checkpoints.inc();
            }
            Ok(Upkeep::Background) => {
                // A full mailbox means that a round is running already.
                let _ = self.maintenance.send(MaintenanceJob);
            }
            Err(error) => {
                self.counts.failed_checkpoints.inc();
                tracing::warn!(%error, "maintenance of the database failed; it is retried later");
            }
        }
    }
}

impl<B: Backend> Worker for Writer<B> {
    type Job = BoxedWriteJob;

    fn work(&mut self, first: Self::Job, waiting: &mut dyn Iterator<Item = Self::Job>) {
        let mut batch: VecDeque<_> =
            std::iter::once(first).chain(waiting.take(self.backend.max_batch() - 1)).collect();
        while !batch.is_empty() {
            self.transact(&mut batch);
        }
        self.maintain();
    }

    fn idle(&mut self) -> Option<Duration> {
        self.maintain();
        Some(IDLE_INTERVAL)
    }

    fn linger(&self) -> Duration {
        // Several writers would poll at once.
        if self.is_alone { LINGER } else { Duration::ZERO }
    }

    fn close(&mut self) {
        self.store.close();
    }
}
