//! Blobs in a bucket: objects `blobs/sha256/ab/abcd…` below the store's prefix.
//!
//! An upload is collected in a local folder, since its digest, which names the object, is known only at its end. The bucket verifies
//! what it receives, and a whole blob is digested again when it is read. Garbage collection marks a blob before it removes it:
//! a server that stores the same blob at that time sees the mark and waits.

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use registry_domain::Digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    objects::{ObjectError, ObjectOptions, ObjectStream, ObjectUri, Objects, Replace},
    open_file::OpenFile,
};

use super::{
    BlobInfo,
    error::{BlobError, Result},
    garbage::digest_of,
};

/// Downloads at the same time. Each has a thread and up to a megabyte between the bucket and its client.
const MAX_STREAMS: usize = 128;
/// A blob that was stored this long ago is stored again by an upload, so that its grace time begins again.
const FRESH: Duration = Duration::from_secs(3_600);
/// How long an upload waits for a removal of the same blob, and how long a removal may take.
const REMOVAL: Duration = Duration::from_secs(60);
/// A mark this old is left from a collection that was killed.
const STALE_MARK: Duration = Duration::from_secs(600);
/// How often a removal is checked.
const PAUSE: Duration = Duration::from_millis(500);

/// A bucket of blobs.
#[derive(Debug)]
pub(super) struct Bucket {
    objects: Arc<Objects>,
    /// The object below which the blobs are: `PREFIX/blobs/sha256`.
    root: ObjectUri,
    streams: Arc<Semaphore>,
}

impl Bucket {
    /// Connects to the bucket and looks if it is there. One that can't be reached now may be back later.
    pub(super) fn open(root: ObjectUri, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let objects = Objects::connect(&root, &ObjectOptions::default(), variable).map_err(unavailable)?;
        match objects.find(&root, &|| false) {
            Ok(_) | Err(ObjectError::Unavailable { .. } | ObjectError::Unreachable { .. }) => {}
            Err(error) => return Err(unavailable(error)),
        }
        let objects = Arc::new(objects);
        // Its runtime must not end inside another runtime, and a store is open until the process ends.
        std::mem::forget(Arc::clone(&objects));
        Ok(Self { objects, root, streams: Arc::new(Semaphore::new(MAX_STREAMS)) })
    }

    fn uri_of(&self, digest: Digest) -> Result<ObjectUri> {
        let digest = digest.to_string();
        self.below(&format!("{}/{digest}", &digest[..2]))
    }

    fn mark_of(&self, digest: Digest) -> Result<ObjectUri> {
        let root = self.root.to_string();
        let root = root.trim_end_matches("blobs/sha256");
        parse(&format!("{root}removing/{digest}"))
    }

    fn below(&self, key: &str) -> Result<ObjectUri> {
        parse(&format!("{}/{key}", self.root))
    }

    pub(super) fn find(&self, digest: Digest) -> Result<Option<BlobInfo>> {
        let found = self.objects.find(&self.uri_of(digest)?, &|| false).map_err(unavailable)?;
        Ok(found.map(|found| BlobInfo { size_bytes: found.size_bytes, stored_at: found.stored_at }))
    }

    /// Uploads a file as the blob `digest`, unless it was stored just now.
    pub(super) fn put(&self, from: &Path, digest: Digest, size_bytes: u64) -> Result<()> {
        let uri = self.uri_of(digest)?;
        let waited_since = SystemTime::now();
        loop {
            let found = self.objects.find(&uri, &|| false).map_err(unavailable)?;
            let is_there = found.is_some_and(|found| {
                found.size_bytes == size_bytes
                    && found.sha256 == Some(digest)
                    && found.stored_at.elapsed().is_ok_and(|age| age < FRESH)
            });
            if !is_there {
                let file = OpenFile::open(from).map_err(|error| unavailable(error.into()))?;
                let stored = self.objects.upload(&uri, &file, digest, Replace::Anything, |_| {}, &|| false);
                stored.map_err(unavailable)?;
            }
            // A removal that has not begun by now sees the time of this upload.
            let mark = self.objects.find(&self.mark_of(digest)?, &|| false).map_err(unavailable)?;
            if mark.is_none_or(|mark| mark.stored_at.elapsed().is_ok_and(|age| age > STALE_MARK)) {
                return Ok(());
            }
            if waited_since.elapsed().is_ok_and(|waited| waited > REMOVAL) {
                let reason = format!("garbage collection is removing sha256:{digest}; try again in a minute");
                return Err(BlobError::Unavailable { reason });
            }
            thread::sleep(PAUSE);
        }
    }

    pub(super) fn read(&self, digest: Digest) -> Result<BucketBlob> {
        let info = self.find(digest)?.ok_or(BlobError::Missing { digest })?;
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            let reason = format!("{MAX_STREAMS} downloads from it are under way; try again");
            return Err(BlobError::Unavailable { reason });
        };
        let (objects, uri) = (Arc::clone(&self.objects), self.uri_of(digest)?);
        Ok(BucketBlob { objects, uri, digest, size_bytes: info.size_bytes, permit })
    }

    /// Returns an address at which a client can read the blob for a while.
    pub(super) fn signed_url(&self, digest: Digest, valid_for: Duration) -> Result<String> {
        self.objects.signed_url(&self.uri_of(digest)?, valid_for).map_err(unavailable)
    }

    pub(super) fn each<E: From<BlobError>>(
        &self,
        visit: &mut dyn FnMut(Digest, BlobInfo) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let listed = self.objects.list(&self.root, &mut |key, stored_at, size_bytes| {
            let digest = key.rsplit('/').next().and_then(digest_of);
            match digest {
                Some(digest) => visit(digest, BlobInfo { size_bytes, stored_at }).map_err(Listing::Visit),
                None => Ok(()),
            }
        });
        listed.map_err(|error| match error {
            Listing::Visit(error) => error,
            Listing::Store(error) => unavailable(error).into(),
        })
    }

    /// Removes a blob unless it was stored again since `before` or is used by now. Returns true if it is gone.
    pub(super) fn remove<E: From<BlobError>>(
        &self,
        digest: Digest,
        before: SystemTime,
        is_used: &mut dyn FnMut() -> std::result::Result<bool, E>,
    ) -> std::result::Result<bool, E> {
        let (uri, mark) = (self.uri_of(digest)?, self.mark_of(digest)?);
        let began = SystemTime::now();
        self.objects.mark(&mark).map_err(unavailable)?;
        let judged = match self.find(digest)? {
            Some(info) if info.stored_at < before => is_used(),
            _ => Ok(true),
        };
        // After that, uploads may take the mark for a stale one.
        let is_late = began.elapsed().is_ok_and(|age| age > REMOVAL);
        if matches!(judged, Ok(false)) && !is_late {
            self.objects.remove(&uri).map_err(unavailable)?;
        }
        self.objects.remove(&mark).map_err(unavailable)?;
        Ok(!judged? && !is_late)
    }
}

enum Listing<E> {
    Visit(E),
    Store(ObjectError),
}

impl<E> From<ObjectError> for Listing<E> {
    fn from(error: ObjectError) -> Self {
        Self::Store(error)
    }
}

/// A blob in a bucket that is about to be read.
#[derive(Debug)]
pub struct BucketBlob {
    objects: Arc<Objects>,
    uri: ObjectUri,
    digest: Digest,
    size_bytes: u64,
    permit: OwnedSemaphorePermit,
}

impl BucketBlob {
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub(super) fn chunks(self, start: u64, end: u64) -> BucketChunks {
        let is_whole = start == 0 && end == self.size_bytes;
        let stream = (start < end)
            .then(|| self.objects.stream(&self.uri, start..end, is_whole.then_some(self.digest)));
        BucketChunks { stream, digest: self.digest, left_bytes: end - start, _permit: self.permit }
    }
}

/// The bytes of a blob as they come from a bucket.
#[derive(Debug)]
pub struct BucketChunks {
    stream: Option<ObjectStream>,
    digest: Digest,
    left_bytes: u64,
    _permit: OwnedSemaphorePermit,
}

impl BucketChunks {
    pub(super) fn left_bytes(&self) -> u64 {
        self.left_bytes
    }

    /// Returns the next bytes; none after the last.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] if the digest differs, and [`BlobError::Unavailable`].
    pub async fn next(&mut self) -> Result<Bytes> {
        let Some(stream) = &mut self.stream else { return Ok(Bytes::new()) };
        let damaged = |reason: String| BlobError::Damaged { digest: self.digest, reason };
        match stream.next().await {
            Some(Ok(bytes)) => {
                self.left_bytes = self.left_bytes.saturating_sub(bytes.len() as u64);
                Ok(bytes)
            }
            Some(Err(ObjectError::Failed { reason, .. })) => Err(damaged(reason)),
            Some(Err(error)) => Err(unavailable(error)),
            None if self.left_bytes == 0 => Ok(Bytes::new()),
            None => Err(damaged("its object has become shorter".to_owned())),
        }
    }
}

fn parse(uri: &str) -> Result<ObjectUri> {
    ObjectUri::parse(uri).map_err(|error| unavailable(error.into()))
}

fn unavailable(error: ObjectError) -> BlobError {
    BlobError::Unavailable { reason: error.to_string() }
}
