//! The handle to the database: `read` and `write` run an operation over the store and return its result.

use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use tokio::sync::watch;

use crate::{
    domain::Timestamp,
    store::{Backend, ReadStore, StoreError, WriteStore},
    telemetry::Telemetry,
};

use super::{
    ActorError, QueueDepth,
    mailbox::Mailbox,
    maintenance::{Maintainer, MaintenanceJob},
    probe::{NotReady, Probe},
    reader::{self, ReadJob, Reader},
    writer::{self, BoxedWriteJob, Notices, Writer},
};

/// Rounds of maintenance that may wait: one is enough, a second would find nothing left to do.
const MAINTENANCE_QUEUE: usize = 1;

/// Options for serving the database.
#[derive(Debug, Clone)]
pub struct DatabaseOptions<O> {
    /// The backend's own options: where the database is and how it is used.
    pub store: O,
    /// Threads that read; at least one.
    pub readers: usize,
    /// Reads that may wait.
    pub read_queue: usize,
    /// Writes that may wait.
    pub write_queue: usize,
}

impl<O> DatabaseOptions<O> {
    /// Returns the same options for another backend.
    #[must_use]
    pub fn with_store<P>(&self, store: P) -> DatabaseOptions<P> {
        let Self { readers, read_queue, write_queue, .. } = *self;
        DatabaseOptions { store, readers, read_queue, write_queue }
    }
}

/// A handle to the actors; clones share them.
#[derive(Clone)]
pub struct Database {
    actors: Arc<Actors>,
}

struct Actors {
    readers: Mailbox<ReadJob>,
    writer: Mailbox<BoxedWriteJob>,
    maintenance: Arc<Mailbox<MaintenanceJob>>,
    probe: Probe,
    commits: watch::Receiver<()>,
    /// Receives after commits that added deliveries to webhooks.
    deliveries: Receiver<()>,
}

impl Database {
    /// Opens the database and starts its actors. Must be called inside an actix system.
    ///
    /// # Errors
    /// The backend's error.
    pub fn open<B: Backend>(
        options: &DatabaseOptions<B::Options>,
        now: Timestamp,
        telemetry: &Telemetry,
    ) -> Result<Self, B::OpenError> {
        let (backend, writer) = B::open(&options.store, now)?;
        let backend = Arc::new(backend);
        let counts = telemetry.writing.clone();
        let maintainer = Maintainer { store: backend.maintenance()?, counts: counts.clone() };
        let readers = (0..options.readers.max(1))
            .map(|_| Ok(Reader { store: backend.reader()?, backend: Arc::clone(&backend) }))
            .collect::<Result<Vec<_>, B::OpenError>>()?;

        let refused = |queue| telemetry.queues.refused(queue);
        // A full maintenance queue does not count as a refusal, since a round is already running.
        let maintenance =
            Mailbox::start("checkpoint", MAINTENANCE_QUEUE, vec![maintainer], Default::default());
        let maintenance = Arc::new(maintenance);
        let mut writers = vec![writer];
        writers.extend(backend.further_writers());
        let is_alone = writers.len() == 1;
        let (committed, commits) = watch::channel(());
        let (added, deliveries) = bounded(1);
        let writers = writers.into_iter().map(|writer| {
            let (backend, maintenance) = (Arc::clone(&backend), Arc::clone(&maintenance));
            let notices = Notices { committed: committed.clone(), deliveries: added.clone() };
            Writer::new(writer, backend, maintenance, counts.clone(), notices, is_alone)
        });
        let actors = Actors {
            readers: Mailbox::start("read", options.read_queue, readers, refused("read")),
            writer: Mailbox::start("write", options.write_queue, writers.collect(), refused("write")),
            maintenance,
            probe: Probe::default(),
            commits,
            deliveries,
        };
        Ok(Self { actors: Arc::new(actors) })
    }

    /// Commits a write to check that writes work. Callers within one second share the result.
    ///
    /// # Errors
    /// [`NotReady`] says why not.
    pub async fn ready(&self) -> Result<(), NotReady> {
        self.actors.probe.ask(&self.actors.writer).await
    }

    /// Runs an operation that reads, on one of the readers.
    ///
    /// # Errors
    /// See [`ActorError`].
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn ReadStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ActorError> {
        let (job, answer) = reader::job(read);
        self.actors.readers.send(job)?;
        answer.await.unwrap_or(Err(ActorError::Closed))
    }

    /// Runs an operation that writes, in a transaction that keeps all of it or, if it fails, none of it. The result comes
    /// after the commit. The operation may run more than once; only its last run is kept.
    ///
    /// # Errors
    /// See [`ActorError`].
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl Fn(&mut dyn WriteStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ActorError> {
        let (job, answer) = writer::job(write, false);
        self.actors.writer.send(job)?;
        answer.await.unwrap_or(Err(ActorError::Closed))
    }

    /// Returns a channel that changes with each commit of this server.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<()> {
        self.actors.commits.clone()
    }

    /// Runs an operation as [`Database::read`] does. Blocks; called outside of any asynchronous context.
    ///
    /// # Errors
    /// See [`ActorError`].
    pub(super) fn read_blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn ReadStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ActorError> {
        let (job, answer) = reader::job(read);
        self.actors.readers.send(job)?;
        answer.blocking_recv().unwrap_or(Err(ActorError::Closed))
    }

    /// Runs an operation as [`Database::write`] does. Blocks; called outside of any asynchronous context.
    ///
    /// # Errors
    /// See [`ActorError`].
    pub(super) fn write_blocking<T: Send + 'static>(
        &self,
        write: impl Fn(&mut dyn WriteStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ActorError> {
        let (job, answer) = writer::job(write, false);
        self.actors.writer.send(job)?;
        answer.blocking_recv().unwrap_or(Err(ActorError::Closed))
    }

    /// Returns what receives after commits that added deliveries to webhooks.
    pub(super) fn deliveries(&self) -> Receiver<()> {
        self.actors.deliveries.clone()
    }

    /// Returns the depth of each queue.
    #[must_use]
    pub fn depths(&self) -> Vec<QueueDepth> {
        vec![self.actors.readers.depth(), self.actors.writer.depth(), self.actors.maintenance.depth()]
    }

    /// Finishes what is queued and stops the actors. Blocks; called once.
    pub fn close(&self) {
        self.actors.maintenance.close();
        self.actors.readers.close();
        self.actors.writer.close();
    }
}
