//! The actors that read: one per core, each with a connection that can't write.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::store::{Backend, ReadStore, StoreError};

use super::{ActorError, mailbox::Worker, panic_text};

/// Runs one operation over the store and replies.
pub(super) type ReadJob = Box<dyn FnOnce(&mut dyn ReadStore) -> Outcome + Send>;

/// Says if the connection is still usable.
#[derive(PartialEq, Eq)]
pub(super) enum Outcome {
    Sound,
    Panicked,
}

pub(super) struct Reader<B: Backend> {
    pub(super) store: B::Reader,
    pub(super) backend: Arc<B>,
}

/// Wraps `read` so that its result, or the fact that it panicked, reaches the receiver.
pub(super) fn job<T: Send + 'static>(
    read: impl FnOnce(&mut dyn ReadStore) -> Result<T, StoreError> + Send + 'static,
) -> (ReadJob, oneshot::Receiver<Result<T, ActorError>>) {
    let (reply, answer) = oneshot::channel();
    let job = move |store: &mut dyn ReadStore| {
        // The caller has gone.
        if reply.is_closed() {
            return Outcome::Sound;
        }
        let (result, outcome) = match catch_unwind(AssertUnwindSafe(|| read(store))) {
            Ok(result) => (result.map_err(ActorError::from), Outcome::Sound),
            Err(panic) => (Err(ActorError::Panicked(panic_text(&*panic))), Outcome::Panicked),
        };
        let _ = reply.send(result);
        outcome
    };
    (Box::new(job), answer)
}

impl<B: Backend> Worker for Reader<B> {
    type Job = ReadJob;

    fn work(&mut self, first: ReadJob, _waiting: &mut dyn Iterator<Item = ReadJob>) {
        if first(&mut self.store) == Outcome::Sound {
            return;
        }
        // The panic may have left a snapshot open.
        match self.backend.reader() {
            Ok(fresh) => self.store = fresh,
            Err(error) => tracing::error!(%error, "a reader could not reopen its database"),
        }
    }
}
