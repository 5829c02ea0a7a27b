//! The actors that read: as many as there are cores, each with a connection that can't write.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::oneshot;

use crate::store::{
    ReadStore, StoreError,
    sqlite::{OpenError, Options, SqliteReader},
};

use super::{ActorError, mailbox::Serve, panic_text};

/// One operation over the store, and where its answer goes.
pub(super) type ReadJob = Box<dyn FnOnce(Result<&mut dyn ReadStore, StoreError>) -> Outcome + Send>;

/// Whether the database is open for writing. While it is not, readers hold this for as long as they have it open, so that
/// whoever opens it for writing does so alone.
pub(super) type Writable = Arc<RwLock<bool>>;

/// Whether the connection can go on being used.
#[derive(PartialEq, Eq)]
pub(super) enum Outcome {
    Sound,
    Panicked,
}

pub(super) struct Reader {
    /// Absent while the database can't be written: it is then opened for each read.
    pub(super) store: Option<SqliteReader>,
    pub(super) writable: Writable,
    pub(super) options: Options,
}

/// Wraps `read` so that its answer, or that it panicked, reaches whoever holds the receiver.
pub(super) fn job<T: Send + 'static>(
    read: impl FnOnce(&mut dyn ReadStore) -> Result<T, StoreError> + Send + 'static,
) -> (ReadJob, oneshot::Receiver<Result<T, ActorError>>) {
    let (reply, answer) = oneshot::channel();
    let job = move |store: Result<&mut dyn ReadStore, StoreError>| {
        // Whoever asked has gone; nobody would see the answer.
        if reply.is_closed() {
            return Outcome::Sound;
        }
        let (result, outcome) = match catch_unwind(AssertUnwindSafe(|| read(store?))) {
            Ok(result) => (result.map_err(ActorError::from), Outcome::Sound),
            Err(panic) => (Err(ActorError::Panicked(panic_text(&*panic))), Outcome::Panicked),
        };
        let _ = reply.send(result);
        outcome
    };
    (Box::new(job), answer)
}

impl Serve for Reader {
    type Job = ReadJob;

    fn serve(&mut self, first: ReadJob, _waiting: &mut dyn Iterator<Item = ReadJob>) {
        let Some(store) = &mut self.store else { return self.serve_without_connection(first) };
        if first(Ok(store)) == Outcome::Sound {
            return;
        }
        // The panic may have left a snapshot open.
        match SqliteReader::open(&self.options) {
            Ok(fresh) => self.store = Some(fresh),
            Err(error) => tracing::error!(%error, "a reader could not open its database again"),
        }
    }
}

impl Reader {
    fn serve_without_connection(&mut self, job: ReadJob) {
        let writable = Arc::clone(&self.writable);
        let writable = writable.read().unwrap_or_else(PoisonError::into_inner);
        let opened = if *writable {
            SqliteReader::open(&self.options)
        } else {
            SqliteReader::open_without_writing(&self.options)
        };
        match opened {
            Ok(mut store) => {
                let outcome = job(Ok(&mut store));
                // Kept once the writer has the database open too.
                self.store = Some(store).filter(|_| *writable && outcome == Outcome::Sound);
            }
            Err(error) => {
                job(Err(unreadable(&error)));
            }
        }
    }
}

/// What is said to who wants to read; the log says more.
fn unreadable(error: &OpenError) -> StoreError {
    tracing::error!(%error, "a reader could not open its database");
    StoreError::Failing("it can't be opened".to_owned())
}
