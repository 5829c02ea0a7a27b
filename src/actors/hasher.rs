//! The actors that digest files of the server's disk. They have their own threads: a long file never
//! stands in the way of a query.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use tokio::sync::oneshot;

use crate::{
    artifact::{ArtifactError, FileIdentity, MAX_JSON_BYTES, MeasureOptions, Measured, Opened, parse_config},
    domain::{Measurement, json::Object},
    telemetry::{Hashing, Telemetry},
};

use super::{
    ActorError, QueueDepth,
    mailbox::{Mailbox, Serve},
    panic_text,
};

/// How files are digested.
#[derive(Debug, Clone)]
pub struct HasherOptions {
    /// Threads that digest; at least one.
    pub hashers: usize,
    /// Files that may wait.
    pub hash_queue: usize,
    /// Files that are never opened: those of the database. Closing any descriptor of them would drop
    /// the locks that SQLite holds on them for this process.
    pub forbidden: Vec<PathBuf>,
}

/// A handle to the actors; clones share them.
#[derive(Clone)]
pub struct Hasher {
    actors: Arc<Mailbox<HashJob>>,
}

/// Reads a file and replies.
type HashJob = Box<dyn FnOnce(&Digester) + Send>;

struct Digester {
    forbidden: Arc<[PathBuf]>,
    counts: Hashing,
}

impl Hasher {
    /// Starts the actors. Must be called inside an actix system.
    #[must_use]
    pub fn start(options: HasherOptions, telemetry: &Telemetry) -> Self {
        let forbidden: Arc<[PathBuf]> = options.forbidden.into();
        let digester = |_| Digester { forbidden: Arc::clone(&forbidden), counts: telemetry.hashing.clone() };
        let servers = (0..options.hashers.max(1)).map(digester).collect();
        let refused = telemetry.queues.refused("hash");
        Self { actors: Arc::new(Mailbox::start("hash", options.hash_queue, servers, refused)) }
    }

    /// Reads a file once, from end to end: its size and, up to `digest_limit_bytes`, its digest. Gives up as
    /// soon as the caller is gone.
    ///
    /// # Errors
    /// [`ActorError::File`] for what can't be read, is no regular file, or changes meanwhile.
    pub async fn measure(&self, path: PathBuf, digest_limit_bytes: u64) -> Result<Measurement, ActorError> {
        let options = MeasureOptions { digest_limit_bytes: Some(digest_limit_bytes), keep_up_to_bytes: 0 };
        let read = move |opened: &Opened, go_on: &mut dyn FnMut(u64) -> bool| {
            Ok(opened.measure_while(&options, go_on)?.measurement)
        };
        self.submit(path, read).await
    }

    /// The same of a configuration, and what it says.
    ///
    /// # Errors
    /// As [`Hasher::measure`], and for what is no JSON object or larger than one can sensibly be.
    pub async fn read_config(
        &self,
        path: PathBuf,
        digest_limit_bytes: u64,
    ) -> Result<(Measurement, Object), ActorError> {
        let options = MeasureOptions {
            digest_limit_bytes: Some(digest_limit_bytes),
            keep_up_to_bytes: usize::try_from(MAX_JSON_BYTES).unwrap_or(usize::MAX),
        };
        let read = move |opened: &Opened, go_on: &mut dyn FnMut(u64) -> bool| {
            let path = opened.path();
            let too_large = || ArtifactError::TooLarge { path: path.to_owned(), limit_bytes: MAX_JSON_BYTES };
            if opened.size_bytes() > MAX_JSON_BYTES {
                return Err(too_large());
            }
            let Measured { measurement, content } = opened.measure_while(&options, go_on)?;
            Ok((measurement, parse_config(&content.ok_or_else(too_large)?, path)?))
        };
        self.submit(path, read).await
    }

    async fn submit<T: Send + 'static>(
        &self,
        path: PathBuf,
        read: impl FnOnce(&Opened, &mut dyn FnMut(u64) -> bool) -> Result<T, ArtifactError> + Send + 'static,
    ) -> Result<T, ActorError> {
        let (reply, answer) = oneshot::channel();
        let job = move |digester: &Digester| {
            if reply.is_closed() {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(|| {
                let opened = digester.open(path)?;
                digester.counted(|count| {
                    read(&opened, &mut |bytes| {
                        count(bytes);
                        !reply.is_closed()
                    })
                })
            }));
            let result = match result {
                Ok(result) => result.map_err(ActorError::from),
                Err(panic) => Err(ActorError::Panicked(panic_text(&*panic))),
            };
            let _ = reply.send(result);
        };
        self.actors.post(Box::new(job))?;
        answer.await.unwrap_or(Err(ActorError::Closed))
    }

    /// How full the queue is.
    #[must_use]
    pub fn depth(&self) -> QueueDepth {
        self.actors.depth()
    }

    /// Does what is waiting and ends the actors. Blocks; to be called once.
    pub fn close(&self) {
        self.actors.close();
    }
}

impl Serve for Digester {
    type Job = HashJob;

    fn serve(&mut self, job: HashJob, _waiting: &mut dyn Iterator<Item = HashJob>) {
        job(self);
    }
}

impl Digester {
    /// Counts what `read` reads; it tells how many bytes it has done each time that is more.
    fn counted<T, E>(&self, read: impl FnOnce(&mut dyn FnMut(u64)) -> Result<T, E>) -> Result<T, E> {
        let (mut counted_bytes, mut since) = (0, Instant::now());
        let result = read(&mut |bytes| {
            self.counts.add(bytes.saturating_sub(counted_bytes), since.elapsed());
            (counted_bytes, since) = (bytes, Instant::now());
        });
        if result.is_ok() && counted_bytes > 0 {
            self.counts.files.inc();
        }
        result
    }

    /// Opens a file, but none of the database's.
    fn open(&self, path: PathBuf) -> Result<Opened, ArtifactError> {
        let is_forbidden = |identity: FileIdentity| {
            self.forbidden.iter().any(|file| FileIdentity::at(file) == Some(identity))
        };
        if FileIdentity::at(&path).is_some_and(is_forbidden) {
            return Err(ArtifactError::Forbidden { path });
        }
        let opened = Opened::open(&path)?;
        if is_forbidden(opened.identity()) {
            // Swapped in since. The descriptor is left open on purpose: closing it would drop SQLite's locks.
            std::mem::forget(opened);
            return Err(ArtifactError::Forbidden { path });
        }
        Ok(opened)
    }
}
