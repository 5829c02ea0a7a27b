//! Bodies of answers: a small one is one buffer, a large one is streamed as its client takes it.
//!
//! A client that asks for megabytes and does not read them must not make the server hold them. Memory is bounded twice.
//! A connection holds one slice beside the 32 KiB that actix buffers before it stops polling a body. All connections
//! together hold [`BUDGET_KIB`] of chunks that were read ahead. A client for which no budget is left is served slice by
//! slice: each slice costs another read of its rows, but no client waits for another one to finish. A part of the budget
//! is reserved for clients that are known to read. Ending clients that take too long is up to the connection's deadlines.
//!
//! This module knows bytes, the budget and backpressure; what is read is behind [`Source`].

use std::time::Duration;

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
/// More than the sockets of a client that reads nothing take in, given [`SOCKET_BYTES`].
const PROVEN_BYTES: u64 = 1024 * 1024;
/// The send buffer of a connection in the kernel. Without it, each client that reads nothing would pull megabytes into it.
pub(super) const SOCKET_BYTES: usize = 256 * 1024;
/// No chunk is charged more than this, in KiB, so that a row larger than the budget can be held too.
const MOST_CHARGED_KIB: usize = BUDGET_KIB / 4;
/// The pause before a read is tried again that the readers' queue had no space for.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

static BUDGET: Semaphore = Semaphore::const_new(BUDGET_KIB);
/// Reads for large answers, one at a time, which leaves readers to all other requests. Clients that have taken
/// [`PROVEN_BYTES`] take turns of their own, so that they don't queue behind those that may read nothing.
static READING: Semaphore = Semaphore::const_new(1);
static READING_PROVEN: Semaphore = Semaphore::const_new(1);

type Permit = SemaphorePermit<'static>;

/// What is left of an answer to be read. Reading a clone again yields the same bytes unless the rows have changed.
pub(super) trait Source: Clone + 'static {
    /// Looks up what a read needs to know, such as the ids of the next rows.
    async fn prepare(self) -> Result<Self, RegistryError>;

    /// Reads rows until there are `limit_bytes` of them, at least one, and returns what is left after them.
    async fn read(self, limit_bytes: usize) -> Result<(Vec<u8>, Option<Self>), RegistryError>;
}

/// The first bytes of an answer, and its source before and after these were read.
pub(super) struct Begun<S> {
    pub(super) bytes: Vec<u8>,
    pub(super) before: S,
    pub(super) after: Option<S>,
    pub(super) limit_bytes: usize,
}

/// How many bytes the first read of an answer should yield.
pub(super) fn first_limit_bytes() -> usize {
    limit_bytes(0).max(SMALL_BYTES)
}

fn limit_bytes(taken_bytes: u64) -> usize {
    if available_kib(taken_bytes) >= CHUNK_BYTES / 1024 { CHUNK_BYTES } else { SLICE_BYTES }
}

/// The budget that is left for a client which has taken so much of its answer, in KiB.
fn available_kib(taken_bytes: u64) -> usize {
    let reserved = if taken_bytes < PROVEN_BYTES { RESERVED_KIB } else { 0 };
    BUDGET.available_permits().saturating_sub(reserved)
}

impl<S: Source> Begun<S> {
    /// The body. It has a length if all of it has been read.
    pub(super) fn into_body(self, is_head: bool) -> BoxBody {
        let Self { bytes, before, after, limit_bytes } = self;
        let length = after.is_none().then_some(bytes.len());
        match length {
            Some(..=SMALL_BYTES) => return BoxBody::new(bytes),
            Some(length) if is_head => {
                return BoxBody::new(SizedStream::new(
                    length as u64,
                    stream::empty::<Result<_, RegistryError>>(),
                ));
            }
            // The answer to HEAD has no body, so no more rows are read.
            None if is_head => {
                return BoxBody::new(BodyStream::new(stream::empty::<Result<_, RegistryError>>()));
            }
            _ => {}
        }
        let slices = slices(Held::new(bytes, Progress::default(), before, after, limit_bytes));
        match length {
            Some(length) => BoxBody::new(SizedStream::new(length as u64, slices)),
            None => BoxBody::new(BodyStream::new(slices)),
        }
    }
}

/// A body that is complete and can't be read again; `None` if it is large and no budget is left.
pub(super) fn whole(bytes: Vec<u8>) -> Option<BoxBody> {
    if bytes.len() <= SMALL_BYTES {
        return Some(BoxBody::new(bytes));
    }
    let permit = charge(&bytes, 0)?;
    Some(sliced(bytes.into(), Some(permit)))
}

/// A body that the program holds anyway.
pub(super) fn shared(bytes: Bytes) -> BoxBody {
    sliced(bytes, None)
}

fn sliced(bytes: Bytes, permit: Option<Permit>) -> BoxBody {
    let length = bytes.len() as u64;
    let held = Held::<NoSource> { bytes, permit, next: None, taken_bytes: 0 };
    BoxBody::new(SizedStream::new(length, slices(held)))
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

/// What a client has taken, of the answer and of the read that it is at.
#[derive(Default)]
struct Progress {
    answer_bytes: u64,
    read_bytes: usize,
}

/// How much of a read the client has got, if not all of it could be held.
struct Resume {
    taken_bytes: usize,
    limit_bytes: usize,
    /// Of the whole read: the rest fits only if the rows have not changed.
    hash: u64,
}

impl<S: Source> Held<S> {
    /// Holds what is left of `read` if the budget allows, else one slice of it.
    fn new(read: Vec<u8>, taken: Progress, before: S, after: Option<S>, limit_bytes: usize) -> Self {
        let taken_bytes = taken.answer_bytes;
        let next = after.map(|source| Next { source, resume: None });
        if let permit @ Some(_) = charge(&read, taken_bytes) {
            return Self { bytes: Bytes::from(read).split_off(taken.read_bytes), permit, next, taken_bytes };
        }
        let left = &read[taken.read_bytes..];
        if left.len() <= SLICE_BYTES {
            return Self { bytes: Bytes::copy_from_slice(left), permit: None, next, taken_bytes };
        }
        let bytes = Bytes::copy_from_slice(&left[..SLICE_BYTES]);
        let resume = Resume { taken_bytes: taken.read_bytes + SLICE_BYTES, limit_bytes, hash: hash(&read) };
        let next = Some(Next { source: before, resume: Some(resume) });
        Self { bytes, permit: None, next, taken_bytes }
    }
}

impl<S: Source> Next<S> {
    async fn read(self, taken_bytes: u64) -> Result<Held<S>, RegistryError> {
        // Never closed.
        let turns = if taken_bytes < PROVEN_BYTES { &READING } else { &READING_PROVEN };
        let _turn = turns.acquire().await;
        let source = patiently(async || self.source.clone().prepare().await).await?;
        let resumed = self.resume.as_ref().map(|resume| resume.limit_bytes);
        let limit_bytes = resumed.unwrap_or_else(|| limit_bytes(taken_bytes));
        let (read, after) = patiently(async || source.clone().read(limit_bytes).await).await?;
        let read_bytes = match self.resume {
            None => 0,
            Some(resume) if resume.hash == hash(&read) => resume.taken_bytes,
            Some(_) => {
                let why = "a large answer was cut off: its rows changed while a slow client took it";
                return Err(RegistryError::Failed(why.to_owned()));
            }
        };
        let taken = Progress { answer_bytes: taken_bytes, read_bytes };
        Ok(Held::new(read, taken, source, after, limit_bytes))
    }
}

/// Repeats a read that the readers' queue had no space for: the answer is under way, so it can't become a 503.
async fn patiently<T>(mut read: impl AsyncFnMut() -> Result<T, RegistryError>) -> Result<T, RegistryError> {
    loop {
        match read().await {
            Err(RegistryError::Overloaded { .. }) => actix_web::rt::time::sleep(RETRY_PAUSE).await,
            done => return done,
        }
    }
}

/// Takes what a chunk costs from the budget; `None` if too little is left.
fn charge(chunk: &Vec<u8>, taken_bytes: u64) -> Option<Permit> {
    let kib = chunk.capacity().div_ceil(1024).min(MOST_CHARGED_KIB);
    let permits = u32::try_from(kib).ok().filter(|_| kib <= available_kib(taken_bytes))?;
    BUDGET.try_acquire_many(permits).ok()
}

/// FxHash of the bytes: a read is hashed once for each slice, so speed matters more than strength.
fn hash(bytes: &[u8]) -> u64 {
    let word = |chunk: &[u8]| chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let add = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let (words, rest) = bytes.as_chunks();
    let hash = words.iter().fold(bytes.len() as u64, |hash, chunk| add(hash, u64::from_le_bytes(*chunk)));
    add(hash, word(rest))
}

/// The body as slices; the next chunk is read once the connection has taken the last slice of this one.
fn slices<S: Source>(held: Held<S>) -> impl Stream<Item = Result<Bytes, RegistryError>> {
    stream::try_unfold(held, |mut held| async move {
        while held.bytes.is_empty() {
            held = match held.next.take() {
                None => return Ok(None),
                Some(next) => next.read(held.taken_bytes).await?,
            };
        }
        let slice = held.bytes.split_to(held.bytes.len().min(SLICE_BYTES));
        held.taken_bytes += slice.len() as u64;
        if held.bytes.is_empty() {
            (held.bytes, held.permit) = (Bytes::new(), None);
        }
        Ok(Some((slice, held)))
    })
}

/// The source of a body that has been read.
#[derive(Clone)]
enum NoSource {}

impl Source for NoSource {
    async fn prepare(self) -> Result<Self, RegistryError> {
        match self {}
    }

    async fn read(self, _limit_bytes: usize) -> Result<(Vec<u8>, Option<Self>), RegistryError> {
        match self {}
    }
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
        async fn prepare(self) -> Result<Self, RegistryError> {
            Ok(self)
        }

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
