//! The actors that digest files of the server's disk. They have their own threads: a long file never
//! stands in the way of a query.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::artifact::{ArtifactError, FileIdentity, MeasureOptions, Measured, Opened};

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

struct HashJob {
    path: PathBuf,
    options: MeasureOptions,
    reply: oneshot::Sender<Result<Measured, ActorError>>,
}

struct Digester {
    forbidden: Arc<[PathBuf]>,
}

impl Hasher {
    /// Starts the actors. Must be called inside an actix system.
    #[must_use]
    pub fn start(options: HasherOptions) -> Self {
        let forbidden: Arc<[PathBuf]> = options.forbidden.into();
        let servers =
            (0..options.hashers.max(1)).map(|_| Digester { forbidden: Arc::clone(&forbidden) }).collect();
        Self { actors: Arc::new(Mailbox::start("hash", options.hash_queue, servers)) }
    }

    /// Reads a file once, from end to end: its size and, up to `digest_limit_bytes`, its digest. Up to
    /// `keep_up_to_bytes` its content is kept as well.
    ///
    /// # Errors
    /// [`ActorError::File`] for what can't be read, is no regular file, or changes meanwhile.
    pub async fn measure(
        &self,
        path: PathBuf,
        digest_limit_bytes: u64,
        keep_up_to_bytes: usize,
    ) -> Result<Measured, ActorError> {
        let (reply, answer) = oneshot::channel();
        let options = MeasureOptions { digest_limit_bytes: Some(digest_limit_bytes), keep_up_to_bytes };
        self.actors.post(HashJob { path, options, reply })?;
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
        // Whoever asked has gone; nobody would see the digest.
        if job.reply.is_closed() {
            return;
        }
        let HashJob { path, options, reply } = job;
        let measured = catch_unwind(AssertUnwindSafe(|| self.measure(path, &options)));
        let result = measured.unwrap_or_else(|panic| Err(ActorError::Panicked(panic_text(&*panic))));
        let _ = reply.send(result);
    }
}

impl Digester {
    fn measure(&self, path: PathBuf, options: &MeasureOptions) -> Result<Measured, ActorError> {
        let is_forbidden = |identity: FileIdentity| {
            self.forbidden.iter().any(|file| FileIdentity::at(file) == Some(identity))
        };
        if FileIdentity::at(&path).is_some_and(is_forbidden) {
            return Err(ArtifactError::Forbidden { path }.into());
        }
        let opened = Opened::open(&path)?;
        if is_forbidden(opened.identity()) {
            // Swapped in since. The descriptor is left open on purpose: closing it would drop SQLite's locks.
            std::mem::forget(opened);
            return Err(ArtifactError::Forbidden { path }.into());
        }
        Ok(opened.measure(options, |_| {})?)
    }
}
