//! The actors of the artifact store: lookups, bytes in and out, and the slow work of verifying and committing blobs.
//!
//! Slow work has threads of its own, so that no transfer waits for the sync of a large file. A transfer waits for its turn, since
//! it is under way and can't be refused; all else is refused at once if a queue is full.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Mutex, Semaphore, oneshot},
    task::JoinError,
};

use crate::{
    artifact::blobs::{
        BlobError, BlobInfo, BlobOptions, Blobs, Chunks, FileChunks, OpenBlob, SendError, Sent, Upload,
        UploadId,
    },
    domain::Digest,
    telemetry::Telemetry,
};

pub use bytes::Bytes;

use super::{
    ActorError, QueueDepth,
    mailbox::{Mailbox, Worker},
    panic_text,
};

/// Threads for slow work. Each keeps a core or a disk busy.
const COMMITTERS: usize = 2;
/// Slow jobs that may wait.
const COMMIT_QUEUE: usize = 64;
/// How long a client may use an address in the bucket. A download that has begun may take longer.
const ADDRESS_VALIDITY: Duration = Duration::from_secs(3_600);
/// Blobs that are verified at the same time without waiting for each other. More than this would not be faster.
const VERIFYING: usize = 16;
/// The pause before a transfer tries again to get into a full queue.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Options of the artifact store.
#[derive(Debug, Clone)]
pub struct ArtifactOptions {
    /// Where the blobs are.
    pub store: BlobOptions,
    /// Threads for transfers; at least one.
    pub threads: usize,
    /// Jobs that may wait for them.
    pub queue: usize,
    /// Send clients to the bucket for downloads.
    pub redirect: bool,
}

/// A handle to the actors; clones share them.
#[derive(Clone)]
pub struct Artifacts {
    actors: Arc<Actors>,
}

struct Actors {
    redirect: bool,
    blobs: Arc<Blobs>,
    transfers: Mailbox<Job>,
    commits: Mailbox<Job>,
    /// Half of the queue of transfers: those under way take no more.
    turns: Arc<Semaphore>,
    /// Held while a blob is verified; which one is by its digest.
    verifying: [Arc<Mutex<()>>; VERIFYING],
}

type Job = Box<dyn FnOnce() + Send>;

struct Runner;

impl Worker for Runner {
    type Job = Job;

    fn work(&mut self, job: Job, _waiting: &mut dyn Iterator<Item = Job>) {
        job();
    }
}

impl Artifacts {
    /// Opens the store and starts its actors. Must be called inside an actix system. `variable` looks up the environment
    /// variables of buckets.
    ///
    /// # Errors
    /// If the store can't be used.
    pub async fn open(
        options: &ArtifactOptions,
        telemetry: &Telemetry,
        variable: impl Fn(&str) -> Option<String> + Send + 'static,
    ) -> Result<Self, BlobError> {
        let store = options.store.clone();
        let opened = tokio::task::spawn_blocking(move || Blobs::open(&store, &variable)).await;
        let failed = |error: JoinError| BlobError::Unavailable { reason: error.to_string() };
        let blobs = Arc::new(opened.map_err(failed)??);
        let runners = |count: usize| (0..count.max(1)).map(|_| Runner).collect();
        let refused = |queue| telemetry.queues.refused(queue);
        let actors = Actors {
            redirect: options.redirect,
            blobs,
            transfers: Mailbox::start("blob", options.queue, runners(options.threads), refused("blob")),
            commits: Mailbox::start("blob_commit", COMMIT_QUEUE, runners(COMMITTERS), refused("blob_commit")),
            turns: Arc::new(Semaphore::new((options.queue / 2).max(1))),
            verifying: Default::default(),
        };
        Ok(Self { actors: Arc::new(actors) })
    }

    /// Looks up a blob.
    ///
    /// # Errors
    /// [`ActorError`].
    pub async fn find(&self, digest: Digest) -> Result<Option<BlobInfo>, ActorError> {
        self.run(&self.actors.transfers, move |blobs| blobs.find(digest)).await
    }

    /// Looks up several blobs.
    ///
    /// # Errors
    /// [`ActorError`].
    pub async fn find_all(&self, digests: Vec<Digest>) -> Result<Vec<Option<BlobInfo>>, ActorError> {
        self.transfer(move |blobs| digests.into_iter().map(|digest| blobs.find(digest)).collect()).await
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`BlobError::Missing`] or [`BlobError::Damaged`], and others of [`ActorError`].
    pub async fn read(&self, digest: Digest) -> Result<OpenBlob, ActorError> {
        self.run(&self.actors.transfers, move |blobs| blobs.read(digest)).await
    }

    /// Verifies a blob that was opened: once, if several callers ask at the same time. It goes on if the caller is gone, so that
    /// the next one need not wait as long.
    ///
    /// # Errors
    /// [`BlobError::Damaged`], and others of [`ActorError`].
    pub async fn verify(&self, mut blob: OpenBlob) -> Result<OpenBlob, ActorError> {
        let digest = blob.digest();
        let verifying = &self.actors.verifying[usize::from(digest.as_bytes()[0]) % VERIFYING];
        let turn = Arc::clone(verifying).lock_owned().await;
        let verify = move |_: &Blobs| {
            let _turn = turn;
            blob.verify().map(|()| blob)
        };
        self.run(&self.actors.commits, verify).await
    }

    /// Reads the next bytes of a blob, at most `limit_bytes`.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] if they can't be trusted, and others of [`ActorError`].
    pub async fn next(&self, chunks: Chunks, limit_bytes: usize) -> Result<(Bytes, Chunks), ActorError> {
        match chunks {
            Chunks::File(mut chunks) => {
                let next =
                    move |_: &Blobs| chunks.next(limit_bytes).map(|bytes| (bytes, Chunks::File(chunks)));
                self.transfer(next).await
            }
            #[cfg(feature = "objects")]
            Chunks::Object(mut chunks) => Ok((chunks.next().await?, Chunks::Object(chunks))),
        }
    }

    /// Sends the next bytes of a blob to a socket that does not block, without a copy in this process.
    ///
    /// # Errors
    /// [`SendError`], and others of [`ActorError`].
    pub async fn send(
        &self,
        mut chunks: FileChunks,
        socket: Arc<OwnedFd>,
        patience: Duration,
    ) -> Result<(Result<Sent, SendError>, FileChunks), ActorError> {
        self.transfer(move |_| Ok((chunks.send(socket.as_fd(), patience), chunks))).await
    }

    /// Returns an address at which a client can read the blob for a while, if clients are to be sent there.
    ///
    /// # Errors
    /// [`ActorError`].
    pub async fn address(&self, digest: Digest) -> Result<Option<String>, ActorError> {
        if !self.actors.redirect {
            return Ok(None);
        }
        self.run(&self.actors.transfers, move |blobs| blobs.signed_url(digest, ADDRESS_VALIDITY)).await
    }

    /// Begins an upload.
    ///
    /// # Errors
    /// [`ActorError`].
    pub async fn begin_upload(&self) -> Result<UploadId, ActorError> {
        self.run(&self.actors.transfers, |blobs| blobs.begin_upload().map(|upload| upload.id())).await
    }

    /// Returns how many bytes of an upload have arrived.
    ///
    /// # Errors
    /// [`BlobError::UploadUnknown`], and others of [`ActorError`].
    pub async fn upload_size(&self, id: UploadId) -> Result<u64, ActorError> {
        self.run(&self.actors.transfers, move |blobs| blobs.upload_size(id)).await
    }

    /// Continues an upload. A request that continued it before can't write any more.
    ///
    /// # Errors
    /// [`BlobError::UploadUnknown`], [`BlobError::UploadBusy`], and others of [`ActorError`].
    pub async fn continue_upload(&self, id: UploadId) -> Result<UploadWriter, ActorError> {
        let resume = move |blobs: &Blobs| {
            let upload = blobs.resume_upload(id)?;
            let (turn, size_bytes) = upload.take_turn();
            Ok((upload, turn, size_bytes))
        };
        let (upload, turn, size_bytes) = self.run(&self.actors.commits, resume).await?;
        Ok(UploadWriter { artifacts: self.clone(), upload, turn, size_bytes })
    }

    /// Ends an upload and removes what has arrived.
    ///
    /// # Errors
    /// [`BlobError::UploadUnknown`], and others of [`ActorError`].
    pub async fn cancel_upload(&self, id: UploadId) -> Result<(), ActorError> {
        self.run(&self.actors.commits, move |blobs| blobs.cancel_upload(id)).await
    }

    /// Returns the depth of each queue.
    #[must_use]
    pub fn depths(&self) -> [QueueDepth; 2] {
        [self.actors.transfers.depth(), self.actors.commits.depth()]
    }

    /// Finishes what is queued and stops the actors. Blocks; called once.
    pub fn close(&self) {
        self.actors.transfers.close();
        self.actors.commits.close();
    }

    async fn run<T: Send + 'static>(
        &self,
        queue: &Mailbox<Job>,
        work: impl FnOnce(&Blobs) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, ActorError> {
        let (job, answer) = self.job(work);
        queue.send(job)?;
        answer.await.unwrap_or(Err(ActorError::Closed))
    }

    /// Runs work that is a part of a longer transfer: it waits for a turn.
    async fn transfer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Blobs) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, ActorError> {
        let turn = Arc::clone(&self.actors.turns).acquire_owned().await.map_err(|_| ActorError::Closed)?;
        let (mut job, answer) = self.job(move |blobs| {
            let _turn = turn;
            work(blobs)
        });
        while let Err((error, refused)) = self.actors.transfers.try_send(job) {
            if !matches!(error, ActorError::Overloaded { .. }) {
                return Err(error);
            }
            job = refused;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        answer.await.unwrap_or(Err(ActorError::Closed))
    }

    fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Blobs) -> Result<T, BlobError> + Send + 'static,
    ) -> (Job, oneshot::Receiver<Result<T, ActorError>>) {
        let (reply, answer) = oneshot::channel();
        let blobs = Arc::clone(&self.actors.blobs);
        let job = move || {
            let result = match catch_unwind(AssertUnwindSafe(|| work(&blobs))) {
                Ok(result) => result.map_err(ActorError::from),
                Err(panic) => Err(ActorError::Panicked(panic_text(&*panic))),
            };
            let _ = reply.send(result);
        };
        (Box::new(job), answer)
    }
}

/// The right to append to an upload, until another request continues it.
pub struct UploadWriter {
    artifacts: Artifacts,
    upload: Arc<Upload>,
    turn: u64,
    size_bytes: u64,
}

impl UploadWriter {
    /// Returns the name of the upload.
    #[must_use]
    pub fn id(&self) -> UploadId {
        self.upload.id()
    }

    /// Returns how many bytes have arrived.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Appends pieces. They are written once this returns, though perhaps not yet to the disk.
    ///
    /// # Errors
    /// As [`Upload::append`], and others of [`ActorError`].
    pub async fn append(&mut self, pieces: Vec<Bytes>) -> Result<(), ActorError> {
        let (upload, turn, at) = (Arc::clone(&self.upload), self.turn, self.size_bytes);
        self.size_bytes = self.artifacts.transfer(move |_| upload.append(turn, at, &pieces)).await?;
        Ok(())
    }

    /// Makes the upload a blob, on the disk, and returns its size.
    ///
    /// # Errors
    /// As [`Blobs::finish_upload`], and others of [`ActorError`].
    pub async fn finish(self, digest: Digest) -> Result<u64, ActorError> {
        let Self { artifacts, upload, turn, .. } = self;
        let finish = move |blobs: &Blobs| blobs.finish_upload(&upload, turn, digest);
        artifacts.run(&artifacts.actors.commits, finish).await
    }
}
