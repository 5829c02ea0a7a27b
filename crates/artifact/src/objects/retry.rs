//! When a request is retried, and for how long.
//!
//! The stores' client retries each request for some seconds: long enough for a busy store, and short enough to report a
//! missing one soon. A part of an upload is retried for longer, because its failure would waste all parts before it.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, RetryConfig,
    client::HttpErrorKind,
    retry::{RetryContext, RetryFailure, RetryPolicy},
};

/// No retry starts later than this after the first try.
const RETRY_WITHIN: Duration = Duration::from_secs(120);
/// Retries of a request, with about 6 s of waiting in all.
const RETRIES: usize = 7;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How long parts of an upload are retried while the store is away.
const PART_RETRY_WITHIN: Duration = Duration::from_secs(120);
/// The pause between two rounds of retries of a part.
const PART_PAUSE: Duration = Duration::from_secs(2);

/// Returns the retries of any request, for the stores' client.
pub(super) fn for_requests() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: FIRST_WAIT, max_backoff: LONGEST_WAIT, base: 3.0 };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_WITHIN }
}

/// Returns the further retries of the parts of an upload.
pub(super) fn for_parts() -> Arc<dyn RetryPolicy> {
    Arc::new(PartRetries)
}

#[derive(Debug)]
struct PartRetries;

impl RetryPolicy for PartRetries {
    // An asynchronous method as its trait declares it, spelled out.
    fn retry<'a, 'b>(&'a self, context: RetryContext) -> Pin<Box<dyn Future<Output = bool> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let again = context.elapsed < PART_RETRY_WITHIN && is_transient(context.failure);
            if again {
                tokio::time::sleep(PART_PAUSE).await;
            }
            again
        })
    }
}

fn is_transient(failure: RetryFailure) -> bool {
    match failure {
        RetryFailure::Status(status) => {
            status.is_server_error() || matches!(status.as_u16(), 200 | 408 | 429)
        }
        RetryFailure::Transport(kind) => !matches!(kind, HttpErrorKind::Decode),
        _ => false,
    }
}

/// The waits between retries that this crate makes itself. Each is about twice the one before, with jitter, so that many
/// clients do not return to a store at the same moment.
pub(super) fn waits() -> impl Iterator<Item = Duration> {
    let longest = std::iter::successors(Some(FIRST_WAIT), |wait| Some((*wait * 2).min(LONGEST_WAIT)));
    longest.take(RETRIES).map(|wait| wait.mul_f64(0.5 + fastrand::f64()).min(LONGEST_WAIT))
}
