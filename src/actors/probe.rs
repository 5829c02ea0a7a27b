//! The readiness probe: commits a write that changes nothing, through the queue and the commit of all others.
//!
//! Callers within one second share one result, so that unauthenticated callers can't load the writer.

use std::{
    mem,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex, oneshot},
    time::timeout,
};

use crate::store::StoreError;

use super::{
    ActorError,
    mailbox::Mailbox,
    writer::{BoxedWriteJob, job},
};

/// How long a result is shared.
const RESULT_LIFETIME: Duration = Duration::from_secs(1);
/// A writer that takes longer is not ready.
const WRITER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the writer can't write. The message contains no path, since unauthenticated callers see it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotReady {
    /// The writer is stuck or far behind.
    #[error("the writer has not answered for {} seconds", WRITER_TIMEOUT.as_secs())]
    Stuck,
    /// The queue is full.
    #[error("the queue of writes is full")]
    Overloaded,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Closed,
    /// A commit failed for this reason.
    #[error(transparent)]
    Store(StoreError),
    /// The server itself failed.
    #[error("the writer failed; the server's log says how")]
    Failed {
        /// For the log only.
        cause: String,
    },
}

impl From<ActorError> for NotReady {
    fn from(error: ActorError) -> Self {
        match error {
            ActorError::Overloaded { .. } => Self::Overloaded,
            ActorError::Closed => Self::Closed,
            ActorError::Store(error @ (StoreError::Refused(_) | StoreError::Failed(_))) => {
                Self::Failed { cause: error.to_string() }
            }
            ActorError::Store(error) => Self::Store(error),
            error @ (ActorError::Panicked(_) | ActorError::File(_) | ActorError::Blob(_)) => {
                Self::Failed { cause: error.to_string() }
            }
        }
    }
}

/// The last result, and the probe that is running.
#[derive(Default)]
pub(super) struct Probe {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answered: Option<(Instant, Result<(), NotReady>)>,
    /// The probe in the queue, of which there is at most one, even if its caller has left.
    pending: Option<oneshot::Receiver<Result<(), ActorError>>>,
}

impl Probe {
    pub(super) async fn ask(&self, writer: &Mailbox<BoxedWriteJob>) -> Result<(), NotReady> {
        // Concurrent callers wait here and share the result.
        let mut state = self.state.lock().await;
        if let Some((when, answer)) = &state.answered
            && when.elapsed() < RESULT_LIFETIME
        {
            return answer.clone();
        }
        let answer = state.answer(writer).await;
        log_change(
            state.answered.as_ref().and_then(|(_, before)| before.as_ref().err()),
            answer.as_ref().err(),
        );
        state.answered = Some((Instant::now(), answer.clone()));
        answer
    }
}

/// Logs a result that differs from the last one: probes come every few seconds, for as long as a disk is full.
fn log_change(before: Option<&NotReady>, now: Option<&NotReady>) {
    if before.map(mem::discriminant) == now.map(mem::discriminant) {
        return;
    }
    match now {
        None => tracing::info!("the writer can write again"),
        Some(NotReady::Closed) => {}
        Some(NotReady::Failed { cause }) => tracing::error!(error = cause, "the writer can't write"),
        Some(error) => tracing::error!(%error, "the writer can't write"),
    }
}

impl State {
    async fn answer(&mut self, writer: &Mailbox<BoxedWriteJob>) -> Result<(), NotReady> {
        let pending = match &mut self.pending {
            Some(pending) => pending,
            none => {
                let (job, answer) = job(|store| store.touch(), true);
                writer.send(job)?;
                none.insert(answer)
            }
        };
        let answer = timeout(WRITER_TIMEOUT, pending).await.map_err(|_| NotReady::Stuck)?;
        self.pending = None;
        Ok(answer.unwrap_or(Err(ActorError::Closed))?)
    }
}
