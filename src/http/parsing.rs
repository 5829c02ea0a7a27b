//! Where bodies are parsed: a short one on the thread that serves its connection, a long one on a thread of its own.
//!
//! The list of a hundred thousand files takes a second, and the thread of a connection serves others too.

use tokio::sync::Semaphore;

use crate::registry::RegistryError;

/// The longest body that is parsed at once, in bytes. It takes a few milliseconds.
const SHORT_BYTES: usize = 256 << 10;
/// Threads that parse long bodies. A parsed body takes many times its length in memory.
const THREADS: usize = 2;

static TURNS: Semaphore = Semaphore::const_new(THREADS);

/// Runs `parse`, which parses a body of this length. If it is long, this waits for one of [`THREADS`].
///
/// # Errors
/// [`RegistryError::Failed`] if `parse` panics, [`RegistryError::ShuttingDown`].
pub(super) async fn run<T: Send + 'static>(
    length_bytes: usize,
    parse: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RegistryError> {
    if length_bytes <= SHORT_BYTES {
        return Ok(parse());
    }
    let turn = TURNS.acquire().await.map_err(|_| RegistryError::ShuttingDown)?;
    let parsed = tokio::task::spawn_blocking(move || {
        // Also if the client disconnects and nothing waits for the result.
        let _turn = turn;
        parse()
    });
    parsed.await.map_err(|error| match error.is_panic() {
        true => RegistryError::Failed("the parser of a body panicked".to_owned()),
        false => RegistryError::ShuttingDown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_body_waits_for_a_turn_and_a_panic_gives_it_back() {
        for _ in 0..=THREADS {
            let failed = run(SHORT_BYTES + 1, || panic!("injected")).await;
            assert!(matches!(failed, Err::<(), _>(RegistryError::Failed(_))), "{failed:?}");
        }
        let turns = TURNS.acquire_many(THREADS as u32).await.unwrap();
        let mut long = Box::pin(run(SHORT_BYTES + 1, || "parsed"));
        assert!(futures_util::poll!(&mut long).is_pending());
        assert_eq!(run(SHORT_BYTES, || "parsed").await.unwrap(), "parsed");
        drop(turns);
        assert_eq!(long.await.unwrap(), "parsed");
    }
}
