//! The artifact store of a server: blobs under their SHA-256, each kept once, and the uploads that become blobs.
//!
//! All calls block. An upload is a file in a folder of its own until it is complete and its digest agrees; then it becomes a blob,
//! at once and whole. This module must not know the registry, HTTP, or which versions have which blobs.

mod error;
mod folder;
mod location;
mod uploads;

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use registry_domain::Digest;

pub use error::BlobError;
use error::Result;
use folder::Folder;
pub use folder::{Chunks, OpenBlob};
pub use location::StoreLocation;
use uploads::Uploads;
pub use uploads::{Upload, UploadId};

/// Where an artifact store keeps its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobOptions {
    /// Where the blobs are.
    pub location: StoreLocation,
    /// The folder of unfinished uploads. Without one, it is `uploads` beside the blobs.
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
    folder: Folder,
    uploads: Uploads,
}

#[allow(clippy::missing_errors_doc, reason = "see `BlobError`")]
impl Blobs {
    /// Opens a store and creates its folders.
    pub fn open(options: &BlobOptions) -> Result<Self> {
        let StoreLocation::Folder(root) = &options.location else {
            return Err(BlobError::Unavailable { reason: "not yet".to_owned() });
        };
        let uploads = options.uploads.clone().unwrap_or_else(|| root.join("uploads"));
        Ok(Self { folder: Folder::open(root.clone())?, uploads: Uploads::open(uploads)? })
    }

    /// Looks up a blob.
    pub fn find(&self, digest: Digest) -> Result<Option<BlobInfo>> {
        self.folder.find(digest)
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`BlobError::Missing`], and [`BlobError::Damaged`] if it is known to be or is small and found to be.
    pub fn read(&self, digest: Digest) -> Result<OpenBlob> {
        self.folder.read(digest)
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
        let finished = upload.finish(turn, digest, |path, file, _| self.folder.put(path, file, digest));
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
