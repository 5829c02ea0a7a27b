//! The actors that read: as many as there are cores, each with a connection that can't write.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use crate::store::{
    ReadStore, StoreError,
    sqlite::{Options, SqliteReader},
};

use super::{ActorError, mailbox::Serve, panic_text};

/// One operation over the store, and where its answer goes.
pub(super) type ReadJob = Box<dyn FnOnce(Result<&mut dyn ReadStore, StoreError>) -> Outcome + Send>;

/// Whether the connection can go on being used.
#[derive(PartialEq, Eq)]
pub(super) enum Outcome {
    Sound,
    Panicked,
}

pub(super) struct Reader {
    pub(super) store: SqliteReader,
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
        if first(Ok(&mut self.store)) == Outcome::Sound {
            return;
        }
        // The panic may have left a snapshot open.
        match SqliteReader::open(&self.options) {
            Ok(fresh) => self.store = fresh,
            Err(error) => tracing::error!(%error, "a reader could not open its database again"),
        }
    }
}
