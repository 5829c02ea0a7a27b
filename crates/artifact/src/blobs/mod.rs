//! The artifact store of a server: blobs under their SHA-256, each kept once, and the uploads that become blobs.
//!
//! All calls block. An upload is a file in a folder of its own until it is complete and its digest agrees; then it becomes a blob,
//! at once and whole. This module must not know the registry, HTTP, or which versions have which blobs.

#[cfg(feature = "objects")]
mod bucket;
mod error;
mod file_blob;
mod folder;
mod garbage;
mod location;
mod uploads;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use registry_domain::Digest;

#[cfg(feature = "objects")]
use bucket::Bucket;
#[cfg(feature = "objects")]
pub use bucket::{BucketBlob, BucketChunks};
pub use error::BlobError;
use error::Result;
pub use file_blob::{FileBlob, FileChunks, SendError, Sent};
use folder::Folder;
pub use garbage::{Garbage, Judge};
pub use location::StoreLocation;
use uploads::Uploads;
pub use uploads::{Upload, UploadId};

/// Where an artifact store keeps its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobOptions {
    /// Where the blobs are.
    pub location: StoreLocation,
    /// The folder of unfinished uploads. Without one, it is `uploads` beside the blobs, or `./uploads` for a bucket.
    pub uploads: Option<PathBuf>,
}

/// What the store knows about a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was uploaded last.
    pub stored_at: SystemTime,
}

/// An artifact store.
#[derive(Debug)]
pub struct Blobs {
    place: Place,
    uploads: Uploads,
}

#[derive(Debug)]
enum Place {
    Folder(Folder),
    #[cfg(feature = "objects")]
    Bucket(Bucket),
}

#[allow(clippy::missing_errors_doc, reason = "see `BlobError`")]
impl Blobs {
    /// Opens a store and creates its folders. `variable` looks up the environment variables of buckets.
    pub fn open(options: &BlobOptions, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        #[cfg(not(feature = "objects"))]
        let _ = variable;
        let (place, uploads) = match &options.location {
            StoreLocation::Folder(root) => (Place::Folder(Folder::open(root.clone())?), root.join("uploads")),
            #[cfg(feature = "objects")]
            StoreLocation::Bucket(root) => {
                (Place::Bucket(Bucket::open(root.clone(), variable)?), PathBuf::from("uploads"))
            }
        };
        let uploads = Uploads::open(options.uploads.clone().unwrap_or(uploads))?;
        match &place {
            Place::Folder(folder) => folder.expect_same_disk(uploads.folder())?,
            #[cfg(feature = "objects")]
            Place::Bucket(_) => {}
        }
        Ok(Self { place, uploads })
    }

    /// Looks up a blob. One that is known to be damaged counts as missing, so that clients upload it again.
    pub fn find(&self, digest: Digest) -> Result<Option<BlobInfo>> {
        match &self.place {
            Place::Folder(folder) => folder.find(digest),
            #[cfg(feature = "objects")]
            Place::Bucket(bucket) => bucket.find(digest),
        }
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`BlobError::Missing`], and [`BlobError::Damaged`] if it is known to be or is small and found to be.
    pub fn read(&self, digest: Digest) -> Result<OpenBlob> {
        match &self.place {
            Place::Folder(folder) => folder.read(digest).map(OpenBlob::File),
            #[cfg(feature = "objects")]
            Place::Bucket(bucket) => bucket.read(digest).map(OpenBlob::Object),
        }
    }

    /// Returns an address at which a client can read the blob without this server; `None` if there is none, as in a folder.
    pub fn signed_url(&self, digest: Digest, valid_for: Duration) -> Result<Option<String>> {
        #[cfg(not(feature = "objects"))]
        let _ = (digest, valid_for);
        match &self.place {
            Place::Folder(_) => Ok(None),
            #[cfg(feature = "objects")]
            Place::Bucket(bucket) => bucket.signed_url(digest, valid_for).map(Some),
        }
    }

    /// Begins an upload, without any bytes.
    pub fn begin_upload(&self) -> Result<Arc<Upload>> {
        self.uploads.begin()
    }

    /// Returns how many bytes of an upload have arrived.
    pub fn upload_size(&self, id: UploadId) -> Result<u64> {
        self.uploads.size_bytes(id)
    }

    /// Returns an upload, to continue or finish it. After a restart this digests what has arrived, which takes a while.
    pub fn resume_upload(&self, id: UploadId) -> Result<Arc<Upload>> {
        self.uploads.resume(id)
    }

    /// Makes the upload a blob if its digest is `digest`, and returns its size.
    ///
    /// # Errors
    /// [`BlobError::WrongDigest`]: then the upload has ended and its bytes are removed.
    pub fn finish_upload(&self, upload: &Arc<Upload>, turn: u64, digest: Digest) -> Result<u64> {
        let finished = upload.finish(turn, digest, |path, file, size_bytes| match &self.place {
            Place::Folder(folder) => folder.put(path, file, digest, size_bytes),
            #[cfg(feature = "objects")]
            Place::Bucket(bucket) => {
                bucket.put(path, digest, size_bytes)?;
                // If this fails, garbage collection removes it later.
                let _ = std::fs::remove_file(path);
                Ok(())
            }
        });
        if matches!(finished, Ok(_) | Err(BlobError::WrongDigest { .. })) {
            self.uploads.forget(upload);
        }
        finished
    }

    /// Ends an upload and removes what has arrived.
    pub fn cancel_upload(&self, id: UploadId) -> Result<()> {
        self.uploads.cancel(id)
    }
}

/// A blob that is open for reading.
#[derive(Debug)]
#[allow(missing_docs, reason = "see their types")]
pub enum OpenBlob {
    File(FileBlob),
    #[cfg(feature = "objects")]
    Object(BucketBlob),
}

impl OpenBlob {
    /// Returns the digest under which it is stored.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::File(blob) => blob.digest(),
            #[cfg(feature = "objects")]
            Self::Object(blob) => blob.digest(),
        }
    }

    /// Returns its size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::File(blob) => blob.size_bytes(),
            #[cfg(feature = "objects")]
            Self::Object(blob) => blob.size_bytes(),
        }
    }

    /// Returns true if any part of it can be served: its bytes were compared with its digest since its file was last changed, or
    /// a bucket guards them.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        match self {
            Self::File(blob) => blob.is_verified(),
            #[cfg(feature = "objects")]
            Self::Object(_) => true,
        }
    }

    /// Reads it whole and compares its digest, unless that was done since it was opened.
    ///
    /// # Errors
    /// [`BlobError::Damaged`], also if it can't be read.
    pub fn verify(&mut self) -> std::result::Result<(), BlobError> {
        match self {
            Self::File(blob) => blob.verify(),
            #[cfg(feature = "objects")]
            Self::Object(_) => Ok(()),
        }
    }

    /// Reads the bytes from `start` to before `end` in chunks. Of all bytes, the last chunk comes only if the digest agrees,
    /// unless that is known.
    #[must_use]
    pub fn chunks(self, start: u64, end: u64) -> Chunks {
        match self {
            Self::File(blob) => Chunks::File(blob.chunks(start, end)),
            #[cfg(feature = "objects")]
            Self::Object(blob) => Chunks::Object(blob.chunks(start, end)),
        }
    }
}

/// Bytes of a blob, in chunks.
#[derive(Debug)]
pub enum Chunks {
    /// Its calls block.
    File(FileChunks),
    /// Its calls are asynchronous.
    #[cfg(feature = "objects")]
    Object(BucketChunks),
}

impl Chunks {
    /// Returns the bytes that are left.
    #[must_use]
    pub fn left_bytes(&self) -> u64 {
        match self {
            Self::File(chunks) => chunks.left_bytes(),
            #[cfg(feature = "objects")]
            Self::Object(chunks) => chunks.left_bytes(),
        }
    }
}
