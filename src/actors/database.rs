//! The handle to the database: `read` and `write` take an operation over the store and give its answer.

use std::sync::{Arc, atomic::AtomicBool};

use crate::{
    domain::Timestamp,
    store::{
        ReadStore, StoreError, WriteStore,
        sqlite::{self, OpenError, SqliteReader, SqliteWriter},
    },
};

use super::{
    ActorError, QueueDepth,
    checkpointer::{CheckpointJob, Checkpointer},
    mailbox::Mailbox,
    reader::{self, ReadJob, Reader},
    writer::{self, WriteJob, Writer},
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
}

impl Database {
    /// Opens the database and starts its actors. Must be called inside an actix system.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: &DatabaseOptions, now: Timestamp) -> Result<Self, OpenError> {
        let writer = SqliteWriter::open(&options.store, now)?;
        let moved = Arc::new(AtomicBool::new(false));
        let checkpointer =
            Checkpointer { store: sqlite::Checkpointer::open(&options.store)?, moved: Arc::clone(&moved) };
        let readers = (0..options.readers.max(1))
            .map(|_| {
                let store = SqliteReader::open(&options.store)?;
                Ok(Reader { store, options: options.store.clone() })
            })
            .collect::<Result<Vec<_>, OpenError>>()?;

        let checkpointer = Arc::new(Mailbox::start("checkpoint", CHECKPOINT_QUEUE, vec![checkpointer]));
        let writer = Writer::new(writer, options.store.clone(), Arc::clone(&checkpointer), moved);
        let actors = Actors {
            readers: Mailbox::start("read", options.read_queue, readers),
            writer: Mailbox::start("write", options.write_queue, vec![writer]),
            checkpointer,
        };
        Ok(Self { actors: Arc::new(actors) })
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
