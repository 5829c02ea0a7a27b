//! The actors that digest files on the server's disk, on their own threads, so that no query waits for a long file.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::oneshot;

use crate::{
    artifact::{self, ArtifactError, FileHandle, FileIdentity, LocalRoot, OpenFile},
    domain::{Measurement, json::Object},
    telemetry::{Hashing, Telemetry},
};

use super::{
    ActorError, QueueDepth,
    mailbox::{Mailbox, Worker},
    panic_text,
};

/// Options for digesting files.
#[derive(Debug, Clone)]
pub struct HasherOptions {
    /// Threads that digest; at least one.
    pub hashers: usize,
    /// Files that may wait.
    pub hash_queue: usize,
    /// The database's files, which are never opened: closing any descriptor of them would drop the locks that SQLite
    /// holds for this process.
    pub forbidden: Vec<PathBuf>,
    /// Files that contain keys, about which clients must learn nothing.
    pub secrets: Vec<PathBuf>,
    /// The folder that paths are restricted to. Without one, clients may have any file digested that this process can read.
    pub root: Option<LocalRoot>,
}

/// A handle to the actors; clones share them.
#[derive(Clone)]
pub struct Hasher {
    actors: Arc<Mailbox<HashJob>>,
}

/// Reads a file and replies.
type HashJob = Box<dyn FnOnce(&Digester) + Send>;

struct Digester {
    root: Option<LocalRoot>,
    forbidden: Arc<Forbidden>,
    counts: Hashing,
}

/// Files that are never opened, by any path.
struct Forbidden {
    database: Vec<PathBuf>,
    /// Files ever seen at these paths: SQLite keeps one open even after it has been moved away.
    seen: Mutex<HashSet<FileIdentity>>,
    /// Checked at each call: another file may get the inode number of a replaced key file.
    secrets: Vec<PathBuf>,
}

impl Forbidden {
    fn new(database: Vec<PathBuf>, secrets: Vec<PathBuf>) -> Self {
        let seen = database.iter().filter_map(|path| FileIdentity::at(path)).collect();
        Self { database, seen: Mutex::new(seen), secrets }
    }

    fn contains(&self, identity: FileIdentity) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Some are created while the server runs, or replaced by another process.
        seen.extend(self.database.iter().filter_map(|path| FileIdentity::at(path)));
        seen.contains(&identity) || self.secrets.iter().any(|path| FileIdentity::at(path) == Some(identity))
    }
}

impl Hasher {
    /// Starts the actors. Must be called inside an actix system.
    #[must_use]
    pub fn start(options: HasherOptions, telemetry: &Telemetry) -> Self {
        let forbidden = Arc::new(Forbidden::new(options.forbidden, options.secrets));
        let digester = |_| Digester {
            root: options.root.clone(),
            forbidden: Arc::clone(&forbidden),
            counts: telemetry.hashing.clone(),
        };
        let digesters = (0..options.hashers.max(1)).map(digester).collect();
        let refused = telemetry.queues.refused("hash");
        Self { actors: Arc::new(Mailbox::start("hash", options.hash_queue, digesters, refused)) }
    }

    /// Reads a whole file once and returns its size and, up to `digest_limit_bytes`, its digest. Stops when the caller
    /// is gone.
    ///
    /// # Errors
    /// [`ActorError::File`] if it can't be read, is not a regular file, or changes while it is read.
    pub async fn measure(&self, path: PathBuf, digest_limit_bytes: u64) -> Result<Measurement, ActorError> {
        let read = move |opened: &OpenFile, go_on: &mut dyn FnMut(u64) -> bool| {
            let size_bytes = opened.size_bytes();
            if size_bytes > digest_limit_bytes {
                return Ok(Measurement { sha256: None, size_bytes });
            }
            opened.measure(|_, done| go_on(done))
        };
        self.submit(path, read).await
    }

    /// Measures the file as [`Hasher::measure`] does, and parses it as a configuration.
    ///
    /// # Errors
    /// As [`Hasher::measure`], and if the file is not a JSON object or larger than [`artifact::MAX_JSON_BYTES`].
    pub async fn read_config(
        &self,
        path: PathBuf,
        digest_limit_bytes: u64,
    ) -> Result<(Measurement, Object), ActorError> {
        let read = move |opened: &OpenFile, go_on: &mut dyn FnMut(u64) -> bool| {
            let (mut measurement, config) = artifact::read_config(opened, go_on)?;
            measurement.sha256 = measurement.sha256.filter(|_| measurement.size_bytes <= digest_limit_bytes);
            Ok((measurement, config))
        };
        self.submit(path, read).await
    }

    async fn submit<T: Send + 'static>(
        &self,
        path: PathBuf,
        read: impl FnOnce(&OpenFile, &mut dyn FnMut(u64) -> bool) -> Result<T, ArtifactError> + Send + 'static,
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
        self.actors.send(Box::new(job))?;
        answer.await.unwrap_or(Err(ActorError::Closed))
    }

    /// Returns the depth of the queue.
    #[must_use]
    pub fn depth(&self) -> QueueDepth {
        self.actors.depth()
    }

    /// Finishes what is queued and stops the actors. Blocks; called once.
    pub fn close(&self) {
        self.actors.close();
    }
}

impl Worker for Digester {
    type Job = HashJob;

    fn work(&mut self, job: HashJob, _waiting: &mut dyn Iterator<Item = HashJob>) {
        job(self);
    }
}

impl Digester {
    /// Counts the bytes that `read` reports; each report is a running total.
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

    /// Opens a file that clients may have digested: on a disk, inside the root if there is one, and not one of the
    /// registry's own. The checks run before the file is opened.
    fn open(&self, path: PathBuf) -> Result<OpenFile, ArtifactError> {
        let found = match &self.root {
            Some(root) => root.find(path)?,
            None => FileHandle::at(path)?,
        };
        let path = || found.path().to_owned();
        if self.forbidden.contains(found.identity()) {
            return Err(ArtifactError::Forbidden { path: path() });
        }
        if let Some(file_system) = found.synthetic_file_system() {
            return Err(ArtifactError::Synthetic { path: path(), file_system });
        }
        found.open()
    }
}
