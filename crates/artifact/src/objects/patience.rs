//! What is worth another try, and for how long.
//!
//! Each request is tried again by the client of the stores, for some seconds: enough for a store that
//! is busy, and short enough to be told soon that nothing is there. A part in the middle of a long upload
//! deserves more: everything that went before would be lost with it.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use object_store::{
    client::HttpErrorKind,
    retry::{RetryContext, RetryFailure, RetryPolicy},
};

use super::connect::{FIRST_WAIT, LONGEST_WAIT, RETRIES};

/// How long the store may be away in the middle of an upload.
const AWAY_AT_MOST: Duration = Duration::from_secs(120);
/// Between one round of tries and the next.
const PAUSE: Duration = Duration::from_secs(2);

/// For the parts of an upload.
pub(super) fn for_parts() -> Arc<dyn RetryPolicy> {
    Arc::new(Patience)
}

#[derive(Debug)]
struct Patience;

impl RetryPolicy for Patience {
    // An asynchronous method as its trait has it, spelled out.
    fn retry<'a, 'b>(&'a self, context: RetryContext) -> Pin<Box<dyn Future<Output = bool> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let again = context.elapsed < AWAY_AT_MOST && is_worth_a_retry(context.failure);
            if again {
                tokio::time::sleep(PAUSE).await;
            }
            again
        })
    }
}

fn is_worth_a_retry(failure: RetryFailure) -> bool {
    match failure {
        RetryFailure::Status(status) => {
            status.is_server_error() || matches!(status.as_u16(), 200 | 408 | 429)
        }
        RetryFailure::Transport(kind) => !matches!(kind, HttpErrorKind::Decode),
        _ => false,
    }
}

/// The waiting between the tries of what is tried again here: each about twice the one before, with chance in
/// it, so that many clients of a store that comes back do not all come at once.
pub(super) struct Waits {
    tries: usize,
    next: Duration,
}

impl Waits {
    pub(super) fn new() -> Self {
        Self { tries: 0, next: FIRST_WAIT }
    }

    /// How long to wait before the next try; `None` once it has been tried often enough.
    pub(super) fn next(&mut self) -> Option<Duration> {
        if self.tries == RETRIES {
            return None;
        }
        self.tries += 1;
        let wait = self.next.mul_f64(0.5 + fastrand::f64());
        self.next = (self.next * 2).min(LONGEST_WAIT);
        Some(wait.min(LONGEST_WAIT))
    }
}
