//! Why a blob or an upload could not be used, in words that say what to do.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use registry_domain::Digest;

use super::uploads::UploadId;

/// Why a blob or an upload could not be used. No text is for the client alone: an operator may have to act.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the fields")]
pub enum BlobError {
    /// There is no such blob.
    #[error("the artifact store has no blob sha256:{digest}; upload it first")]
    Missing { digest: Digest },
    /// The bytes in the store are not those that were stored.
    #[error(
        "the blob sha256:{digest} is damaged in the artifact store and is not served: {reason}; upload the same file \
         again, which replaces it, and check the disk"
    )]
    Damaged { digest: Digest, reason: String },
    /// The upload was never begun, has ended, or was removed as abandoned.
    #[error("there is no upload {id:?}; begin another one")]
    UploadUnknown { id: String },
    /// Another server works on it.
    #[error(
        "another server continues the upload {id}; send its requests to that one, or try again in a minute"
    )]
    UploadBusy { id: UploadId },
    /// Another request took over the upload.
    #[error("another request continues the upload {id}; ask for its offset and continue from there")]
    UploadTaken { id: UploadId },
    /// Bytes were sent for another place than the end of what has arrived.
    #[error("the upload {id} has {offset_bytes} bytes; continue there, not at byte {given_bytes}")]
    UploadOffset { id: UploadId, offset_bytes: u64, given_bytes: u64 },
    /// The uploaded bytes have another digest.
    #[error(
        "the {size_bytes} uploaded bytes have the digest sha256:{found}, and not sha256:{expected} as given; nothing was \
         stored, so upload the file again"
    )]
    WrongDigest { expected: Digest, found: Digest, size_bytes: u64 },
    /// No space is left for more bytes.
    #[error(
        "the disk of the artifact store is full; what has arrived is kept, so free space there and resume"
    )]
    Full,
    /// The system refused to use the store's files.
    #[error("the artifact store can't use {}: {source}; check its permissions and its disk", .path.display())]
    Unusable { path: PathBuf, source: io::Error },
    /// The bucket can't be used now.
    #[error("the bucket of the artifact store can't be used: {reason}")]
    Unavailable { reason: String },
}

impl BlobError {
    /// Returns that there is no upload with this name.
    #[must_use]
    pub fn no_upload(id: impl ToString) -> Self {
        Self::UploadUnknown { id: id.to_string() }
    }

    /// Classifies an error of the system at `path`.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Self::Full,
            _ => Self::Unusable { path: path.to_owned(), source },
        }
    }
}

/// The result of work in the artifact store.
pub(super) type Result<T> = std::result::Result<T, BlobError>;
