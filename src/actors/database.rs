//! The handle to the database: `read` and `write` take an operation over the store and give its answer.

use std::sync::Arc;

use crate::{
    domain::Timestamp,
    store::{
        ReadStore, StoreError, WriteStore,
        sqlite::{self, OpenError, SqliteReader, SqliteWriter},
    },
    telemetry::Telemetry,
};

use super::{
    ActorError, QueueDepth,
    checkpointer::{CheckpointJob, Checkpointer, WalState},
    mailbox::Mailbox,
    probe::{NotReady, Probe},
    reader::{self, ReadJob, Reader},
    writer::{self, WriteJob, Writer, WriterParts},
};

/// Checkpoints that may wait: one is enough, a second finds nothing left to do.
const CHECKPOINT_QUEUE: usize = 1;

/// How the database is served.
#[derive(Debug, Clone)]
pub struct DatabaseOptions {
    /// The file.
    pub store: sqlite::Options,
    /// Threads that read; at least one.
    pub readers: usize,
    /// Reads that may wait.
    pub read_queue: usize,
    /// Writes that may wait.
    pub write_queue: usize,
}

/// A handle to the actors; clones share them.
#[derive(Clone)]
pub struct Database {
    actors: Arc<Actors>,
}

struct Actors {
    readers: Mailbox<ReadJob>,
    writer: Mailbox<Box<dyn WriteJob>>,
    checkpointer: Arc<Mailbox<CheckpointJob>>,
    probe: Probe,
}

impl Database {
    /// Opens the database and starts its actors. Must be called inside an actix system.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: &DatabaseOptions, now: Timestamp, telemetry: &Telemetry) -> Result<Self, OpenError> {
        let store = &options.store;
        let writer = SqliteWriter::open(store, now)?;
        let log = Arc::new(WalState::default());
        let counts = telemetry.writing.clone();
        let checkpointer = sqlite::Checkpointer::open(store)?;
        let checkpointer = Checkpointer::new(checkpointer, Arc::clone(&log), counts.clone());
        let readers = (0..options.readers.max(1))
            .map(|_| {
                let store = SqliteReader::open(&options.store)?;
                Ok(Reader { store, options: options.store.clone() })
            })
            .collect::<Result<Vec<_>, OpenError>>()?;

        let refused = |queue| telemetry.queues.refused(queue);
        let checkpointer = vec![checkpointer];
        // A full queue of checkpoints refuses nobody anything: one is under way already.
        let checkpointer =
            Arc::new(Mailbox::start("checkpoint", CHECKPOINT_QUEUE, checkpointer, Default::default()));
        let parts = WriterParts { checkpointer: Arc::clone(&checkpointer), log, counts };
        let writer = Writer::new(writer, store.clone(), parts);
        let actors = Actors {
            readers: Mailbox::start("read", options.read_queue, readers, refused("read")),
            writer: Mailbox::start("write", options.write_queue, vec![writer], refused("write")),
            checkpointer,
            probe: Probe::default(),
        };
        Ok(Self { actors: Arc::new(actors) })
    }

    /// Whether the writer can write, found out by writing; one answer is shared by all who ask within a second.
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
        self.actors.readers.post(job)?;
        answer.await.unwrap_or(Err(ActorError::Closed))
    }

    /// Runs an operation that writes, in a transaction; all of it is kept or, where it errs, none. The
    /// answer comes after the commit.
    ///
    /// # Errors
    /// See [`ActorError`].
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut dyn WriteStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ActorError> {
        let (job, answer) = writer::job(write);
        self.actors.writer.post(job)?;
        answer.await.unwrap_or(Err(ActorError::Closed))
    }

    /// How full the queues are.
    #[must_use]
    pub fn depths(&self) -> Vec<QueueDepth> {
        vec![self.actors.readers.depth(), self.actors.writer.depth(), self.actors.checkpointer.depth()]
    }

    /// Does what is waiting, moves the WAL into the database and ends the actors. Blocks; to be called once.
    pub fn close(&self) {
        self.actors.checkpointer.close();
        self.actors.readers.close();
        self.actors.writer.close();
    }
}
