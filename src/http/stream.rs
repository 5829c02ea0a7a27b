//! Bodies of answers: a small one is one buffer, a large one is streamed as its client takes it.
//!
//! A client that asks for megabytes and does not read them must not make the server hold them. Memory is bounded twice.
//! A connection holds one slice beside the 32 KiB that actix buffers before it stops polling a body. All connections
//! together hold [`BUDGET_KIB`] of chunks that were read ahead. A client for which no budget is left is served slice by
//! slice: each slice costs another read of its rows, but no client waits for another one to finish. A part of the budget
//! is reserved for clients that are known to read. The connection's deadlines end clients that take too long.
//!
//! This module knows bytes, the budget and backpressure; a [`Source`] knows what to read.

use std::{
    hash::{DefaultHasher, Hasher as _},
    time::Duration,
};

use actix_web::{
    body::{BodyStream, BoxBody, SizedStream},
    web::Bytes,
};
use futures_util::stream::{self, Stream};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::registry::RegistryError;

/// The largest answer that goes to the connection as one buffer, in bytes.
pub(super) const SMALL_BYTES: usize = 64 * 1024;
/// What one read yields while the budget lasts, in bytes; a single larger row exceeds it.
const CHUNK_BYTES: usize = 256 * 1024;
/// What a connection gets at a time, and holds if no budget is left, in bytes. With less than 32 KiB in it, actix's
/// buffer takes one more slice and its capacity stays at 64 KiB.
const SLICE_BYTES: usize = 24 * 1024;
/// Chunks that wait for their clients, in all connections together, in KiB.
const BUDGET_KIB: usize = 16 * 1024;
/// The part of the budget that is reserved for clients which have taken [`PROVEN_BYTES`], in KiB.
const RESERVED_KIB: usize = BUDGET_KIB / 2;
/// More than the sockets of a client that reads nothing accept, given [`SOCKET_BYTES`].
const PROVEN_BYTES: u64 = 1024 * 1024;
/// The send buffer of a connection in the kernel. Without it, each client that reads nothing would pull megabytes into it.
pub(super) const SOCKET_BYTES: usize = 256 * 1024;
/// No chunk is charged more than this, in KiB, so that a row larger than the budget can be held too.
const MAX_CHARGED_KIB: usize = BUDGET_KIB / 4;
/// The pause before a read is repeated that found the queue of the readers full.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

static BUDGET: Semaphore = Semaphore::const_new(BUDGET_KIB);
/// Reads for large answers, one at a time, which leaves readers to all other requests. Clients that have taken
/// [`PROVEN_BYTES`] take turns of their own, so that they don't queue behind clients that may read nothing.
static READING: Semaphore = Semaphore::const_new(1);
static READING_PROVEN: Semaphore = Semaphore::const_new(1);

/// First reads of answers that may be large. Readers are faster than the threads that take the results, so without a limit
/// hundreds of results would wait in memory before the budget is asked.
static STARTING: Semaphore = Semaphore::const_new(16);
/// Requests that wait for such a turn. More get 503 at once, as by any full queue.
static WAITING: Semaphore = Semaphore::const_new(4_096);

type Permit = SemaphorePermit<'static>;

/// The rest of an answer that is read in chunks. Reading a clone again yields the same bytes unless the rows have changed.
pub(super) trait Source: Clone + 'static {
    /// Reads rows until there are `limit_bytes` of them, at least one, and returns the rest after them.
    async fn read(self, limit_bytes: usize) -> Result<(Vec<u8>, Option<Self>), RegistryError>;
}

/// The first bytes of an answer, and its source before and after these were read.
pub(super) struct Begun<S> {
    pub(super) bytes: Vec<u8>,
    pub(super) before: S,
    pub(super) after: Option<S>,
    pub(super) limit_bytes: usize,
}

/// Waits for a turn to make the first read of an answer. The caller keeps it until it has the result.
///
/// # Errors
/// [`RegistryError::Overloaded`] if too many wait.
pub(super) async fn turn_to_start() -> Result<Permit, RegistryError> {
    let overloaded = || RegistryError::Overloaded { queue: "large answers" };
    let _waiting = WAITING.try_acquire().map_err(|_| overloaded())?;
    STARTING.acquire().await.map_err(|_| overloaded())
}

/// Returns how many bytes the first read of an answer should yield.
pub(super) fn first_limit_bytes() -> usize {
    limit_bytes(0).max(SMALL_BYTES)
}

fn limit_bytes(taken_bytes: u64) -> usize {
    if available_kib(taken_bytes) >= CHUNK_BYTES / 1024 { CHUNK_BYTES } else { SLICE_BYTES }
}

/// Returns the budget for a client that has taken this much of its answer, in KiB.
fn available_kib(taken_bytes: u64) -> usize {
    let reserved = if taken_bytes < PROVEN_BYTES { RESERVED_KIB } else { 0 };
    BUDGET.available_permits().saturating_sub(reserved)
}

impl<S: Source> Begun<S> {
    pub(super) async fn read(before: S, limit_bytes: usize) -> Result<Self, RegistryError> {
        let (bytes, after) = before.clone().read(limit_bytes).await?;
        Ok(Self { bytes, before, after, limit_bytes })
    }

    /// Returns the body. It has a length if all of it has been read.
    pub(super) fn into_body(self, is_head: bool) -> BoxBody {
        let length = self.after.is_none().then_some(self.bytes.len() as u64);
        if length.is_some() && self.bytes.len() <= SMALL_BYTES {
            return BoxBody::new(self.bytes);
        }
        let held = if is_head {
            // The answer to HEAD has no body, so no more rows are read.
            Held { bytes: Bytes::new(), permit: None, next: None, taken_bytes: 0 }
        } else {
            self.hold(0, 0)
        };
        match length {
            Some(length) => BoxBody::new(SizedStream::new(length, slices(held))),
            None => BoxBody::new(BodyStream::new(slices(held))),
        }
    }

    /// Holds what was read, without the first `skipped_bytes`, if the budget allows; else one slice of it. The client has
    /// taken `taken_bytes` of the whole answer.
    fn hold(self, skipped_bytes: usize, taken_bytes: u64) -> Held<S> {
        let Self { bytes: read, before, after, limit_bytes } = self;
        let next = after.map(|source| Next { source, resume: None });
        if let permit @ Some(_) = charge(&read, taken_bytes) {
            return Held { bytes: Bytes::from(read).split_off(skipped_bytes), permit, next, taken_bytes };
        }
        let rest = &read[skipped_bytes..];
        if rest.len() <= SLICE_BYTES {
            return Held { bytes: Bytes::copy_from_slice(rest), permit: None, next, taken_bytes };
        }
        let bytes = Bytes::copy_from_slice(&rest[..SLICE_BYTES]);
        let skipped_bytes = skipped_bytes + SLICE_BYTES;
        let resume = Some(Resume { skipped_bytes, limit_bytes, hash: hash(&read) });
        Held { bytes, permit: None, next: Some(Next { source: before, resume }), taken_bytes }
    }
}

/// Returns a body that is complete and can't be read again; `None` if it is large and no budget is left.
pub(super) fn whole(bytes: Vec<u8>) -> Option<BoxBody> {
    if bytes.len() <= SMALL_BYTES {
        return Some(BoxBody::new(bytes));
    }
    let permit = charge(&bytes, 0)?;
    Some(sliced(bytes.into(), Some(permit)))
}

/// Returns a body that the program holds anyway.
pub(super) fn shared(bytes: Bytes) -> BoxBody {
    sliced(bytes, None)
}

fn sliced(bytes: Bytes, permit: Option<Permit>) -> BoxBody {
    let length = bytes.len() as u64;
    let slices = stream::unfold((bytes, permit), async |(mut bytes, permit)| {
        let slice = next_slice(&mut bytes)?;
        Some((Ok::<_, RegistryError>(slice), (bytes, permit)))
    });
    BoxBody::new(SizedStream::new(length, slices))
}

/// Splits a slice off; `None` if there is nothing left.
fn next_slice(bytes: &mut Bytes) -> Option<Bytes> {
    Some(bytes.split_to(bytes.len().min(SLICE_BYTES))).filter(|slice| !slice.is_empty())
}

/// Bytes that wait for their client, and what comes after them.
struct Held<S> {
    bytes: Bytes,
    permit: Option<Permit>,
    next: Option<Next<S>>,
    /// What the client has taken of the answer.
    taken_bytes: u64,
}

struct Next<S> {
    source: S,
    resume: Option<Resume>,
}

/// How much of a read the client has received, if not all of it could be held.
struct Resume {
    skipped_bytes: usize,
    limit_bytes: usize,
    /// Of the whole read: the rest fits only if the rows have not changed.
    hash: u64,
}

impl<S: Source> Next<S> {
    async fn read(self, taken_bytes: u64) -> Result<Held<S>, RegistryError> {
        let turns = if taken_bytes < PROVEN_BYTES { &READING } else { &READING_PROVEN };
        let limit_bytes =
            self.resume.as_ref().map_or_else(|| limit_bytes(taken_bytes), |resume| resume.limit_bytes);
        let read = retry_while_overloaded(async || {
            // Never closed. The turn ends before a pause.
            let _turn = turns.acquire().await;
            Begun::read(self.source.clone(), limit_bytes).await
        });
        let read = read.await?;
        match self.resume {
            None => Ok(read.hold(0, taken_bytes)),
            Some(resume) if resume.hash == hash(&read.bytes) => {
                Ok(read.hold(resume.skipped_bytes, taken_bytes))
            }
            Some(_) => {
                let why = "a large answer was cut off: its rows changed while a slow client took it";
                Err(RegistryError::Failed(why.to_owned()))
            }
        }
    }
}

/// Repeats a read that found the queue of the readers full: the answer is under way, so it can't become a 503.
pub(super) async fn retry_while_overloaded<T>(
    mut read: impl AsyncFnMut() -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    loop {
        match read().await {
            Err(RegistryError::Overloaded { .. }) => actix_web::rt::time::sleep(RETRY_PAUSE).await,
            done => return done,
        }
    }
}

/// Takes what a chunk costs from the budget; `None` if too little is left.
fn charge(chunk: &Vec<u8>, taken_bytes: u64) -> Option<Permit> {
    let kib = chunk.capacity().div_ceil(1024).min(MAX_CHARGED_KIB);
    let permits = u32::try_from(kib).ok().filter(|_| kib <= available_kib(taken_bytes))?;
    BUDGET.try_acquire_many(permits).ok()
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Returns the body as slices; the next chunk is read once the connection has taken the last slice of this one.
fn slices<S: Source>(held: Held<S>) -> impl Stream<Item = Result<Bytes, RegistryError>> {
    stream::try_unfold(held, |mut held| async move {
        loop {
            if let Some(slice) = next_slice(&mut held.bytes) {
                held.taken_bytes += slice.len() as u64;
                if held.bytes.is_empty() {
                    (held.bytes, held.permit) = (Bytes::new(), None);
                }
                return Ok(Some((slice, held)));
            }
            let Some(next) = held.next.take() else { return Ok(None) };
            held = next.read(held.taken_bytes).await?;
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::StreamExt as _;

    use super::*;

    /// Rows of these sizes, each filled with its own letter.
    #[derive(Clone)]
    struct Letters {
        sizes: Arc<Mutex<Vec<usize>>>,
        at: usize,
    }

    impl Source for Letters {
        async fn read(mut self, limit_bytes: usize) -> Result<(Vec<u8>, Option<Self>), RegistryError> {
            let sizes = self.sizes.lock().unwrap().clone();
            let mut read = Vec::new();
            while read.len() < limit_bytes && self.at < sizes.len() {
                read.resize(read.len() + sizes[self.at], b'a' + self.at as u8);
                self.at += 1;
            }
            Ok((read, (self.at < sizes.len()).then_some(self)))
        }
    }

    const SIZES: [usize; 6] = [10, 700_000, 5_000, 90_000, 1, 300_000];

    fn begin(sizes: &Arc<Mutex<Vec<usize>>>) -> impl Stream<Item = Result<Bytes, RegistryError>> {
        let before = Letters { sizes: Arc::clone(sizes), at: 0 };
        slices(Held {
            bytes: Bytes::new(),
            permit: None,
            next: Some(Next { source: before, resume: None }),
            taken_bytes: 0,
        })
    }

    /// One test, because the process has one budget.
    #[tokio::test]
    async fn a_body_is_the_same_with_and_without_budget_and_is_cut_off_if_its_rows_change() {
        let sizes = Arc::new(Mutex::new(SIZES.to_vec()));
        let expected: Vec<u8> =
            (0..).zip(SIZES).flat_map(|(row, size): (u8, _)| std::iter::repeat_n(b'a' + row, size)).collect();
        for is_exhausted in [false, true] {
            let taken = is_exhausted.then(|| BUDGET.try_acquire_many(BUDGET_KIB as u32).unwrap());
            let mut body = std::pin::pin!(begin(&sizes));
            let mut read = Vec::new();
            while let Some(slice) = body.next().await {
                let slice = slice.unwrap();
                assert!((1..=SLICE_BYTES).contains(&slice.len()));
                read.extend_from_slice(&slice);
            }
            assert!(read == expected, "{is_exhausted}");
            assert_eq!(taken.is_some(), BUDGET.available_permits() == 0);
        }
        assert_eq!(BUDGET.available_permits(), BUDGET_KIB, "all of it is given back");

        let _taken = BUDGET.try_acquire_many(BUDGET_KIB as u32).unwrap();
        let mut body = std::pin::pin!(begin(&sizes));
        body.next().await.unwrap().unwrap();
        sizes.lock().unwrap()[1] += 1;
        assert!(body.next().await.unwrap().is_err());
    }
}
