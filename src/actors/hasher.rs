//! The actors that digest files of the server's disk. They have their own threads: a long file never
//! stands in the way of a query.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::oneshot;

use crate::{
    artifact::{
        ArtifactError, FileIdentity, Found, LocalRoot, MAX_JSON_BYTES, MeasureOptions, Measured, Opened,
        parse_config,
    },
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
    /// Files that no client is to learn anything of: those that hold keys.
    pub secrets: Vec<PathBuf>,
    /// The folder that paths have to stay in. Without one, whatever this process may read is digested.
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

/// Files that are never opened, whatever they are called.
struct Forbidden {
    database: Vec<PathBuf>,
    /// Those that were ever seen at these paths: one that has been moved away since is open all the same.
    seen: Mutex<HashSet<FileIdentity>>,
    /// Replaced now and then; what was there before is gone, and others may get its number.
    secrets: Vec<PathBuf>,
}

impl Forbidden {
    fn new(database: Vec<PathBuf>, secrets: Vec<PathBuf>) -> Self {
        let seen = database.iter().filter_map(|path| FileIdentity::at(path)).collect();
        Self { database, seen: Mutex::new(seen), secrets }
    }

    fn holds(&self, identity: FileIdentity) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Some come while the server runs, and another process may put new ones in their place.
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

    /// Opens a file that clients may have digested: one of a disk, beneath the root if there is one, and none of the
    /// registry's own. It is judged before it is opened.
    fn open(&self, path: PathBuf) -> Result<Opened, ArtifactError> {
        let found = match &self.root {
            Some(root) => root.find(path)?,
            None => Found::at(path)?,
        };
        let path = || found.path().to_owned();
        if self.forbidden.holds(found.identity()) {
            return Err(ArtifactError::Forbidden { path: path() });
        }
        if let Some(file_system) = found.made_up_by() {
            return Err(ArtifactError::MadeUp { path: path(), file_system });
        }
        found.open()
    }
}
