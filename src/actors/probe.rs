//! Asking the writer whether it can write, by having it write.
//!
//! A page that changes nothing is committed in its turn, with everything a commit needs: the queue, the lock, the disk's
//! room and its sync, and files that are where they were. All who ask within a second share one answer, so that strangers
//! can't load the writer by asking.

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
    writer::{WriteJob, job},
};

/// How long an answer is good for.
const SHARED: Duration = Duration::from_secs(1);
/// A writer that takes longer is not ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the writer can't write. Names no path: it is said to strangers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotReady {
    /// It is stuck, or far behind.
    #[error("the writer has not answered for {} seconds", PATIENCE.as_secs())]
    Stuck,
    /// No more writes are taken.
    #[error("the queue of writes is full")]
    Overloaded,
    /// The server is ending.
    #[error("the server is shutting down")]
    Closed,
    /// A commit failed for this reason.
    #[error(transparent)]
    Store(StoreError),
    /// A fault of ours.
    #[error("the writer failed; the server's log says how")]
    Failed {
        /// For the log: it may name what strangers are not told.
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
            error @ (ActorError::Panicked(_) | ActorError::File(_)) => {
                Self::Failed { cause: error.to_string() }
            }
        }
    }
}

/// What was asked last, and what is being asked.
#[derive(Default)]
pub(super) struct Probe {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answered: Option<(Instant, Result<(), NotReady>)>,
    /// Asked and not answered yet, be it that its caller has gone: there is never more than one in the queue.
    asked: Option<oneshot::Receiver<Result<(), ActorError>>>,
}

impl Probe {
    pub(super) async fn ask(&self, writer: &Mailbox<Box<dyn WriteJob>>) -> Result<(), NotReady> {
        // Whoever comes while one asks waits here and takes over the answer.
        let mut state = self.state.lock().await;
        if let Some((when, answer)) = &state.answered
            && when.elapsed() < SHARED
        {
            return answer.clone();
        }
        let answer = state.answer(writer).await;
        tell(state.answered.as_ref().and_then(|(_, before)| before.as_ref().err()), answer.as_ref().err());
        state.answered = Some((Instant::now(), answer.clone()));
        answer
    }
}

/// Tells the log where it is another answer than the last one; probes come every few seconds, also through a night of a full disk.
fn tell(before: Option<&NotReady>, now: Option<&NotReady>) {
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
    async fn answer(&mut self, writer: &Mailbox<Box<dyn WriteJob>>) -> Result<(), NotReady> {
        let asked = match &mut self.asked {
            Some(asked) => asked,
            none => {
                let (job, answer) = job(|store| store.touch());
                writer.post(job)?;
                none.insert(answer)
            }
        };
        let answer = timeout(PATIENCE, asked).await.map_err(|_| NotReady::Stuck)?;
        self.asked = None;
        Ok(answer.unwrap_or(Err(ActorError::Closed))?)
    }
}
