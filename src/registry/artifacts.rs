//! The use cases of the artifact store.

use std::time::Duration;

use crate::{
    actors::{Artifacts, UploadWriter},
    artifact::blobs::{BlobError, BlobInfo, Chunks, OpenBlob, UploadId},
    domain::{Digest, Manifest, Refusal},
};

use super::{Registry, RegistryError, Result};

pub use crate::actors::Bytes;

/// The shortest grace time of garbage collection beside servers.
pub const MIN_GRACE: Duration = Duration::from_secs(24 * 3_600);
/// After this time a blob that no version has counts as missing. A client that found the blob just before has
/// the rest of [`MIN_GRACE`] to register its version.
const MAX_UNUSED: Duration = Duration::from_secs(12 * 3_600);

/// Blobs that are looked up in one job: few, so that transfers don't wait long.
const BLOBS_PER_JOB: usize = 256;

#[allow(clippy::missing_errors_doc, reason = "as `RegistryError` says; each fails without an artifact store")]
impl Registry {
    /// Adds the artifact store.
    #[must_use]
    pub fn with_artifacts(mut self, artifacts: Option<Artifacts>) -> Self {
        self.artifacts = artifacts;
        self
    }

    /// Returns true if this server has an artifact store.
    #[must_use]
    pub fn has_artifacts(&self) -> bool {
        self.artifacts.is_some()
    }

    fn artifacts(&self) -> Result<&Artifacts> {
        self.artifacts.as_ref().ok_or(RegistryError::NoArtifactStore)
    }

    /// Looks up a blob that a client wants to use for a version. One that is damaged counts as missing, and so does one that
    /// garbage collection may remove soon: the client uploads it again, and so makes it new.
    pub async fn find_blob(&self, digest: Digest) -> Result<Option<BlobInfo>> {
        let Some(info) = self.artifacts()?.find(digest).await? else { return Ok(None) };
        if info.stored_at.elapsed().is_ok_and(|age| age > MAX_UNUSED) {
            let is_used = self.read(move |store| store.has_file(&digest.to_string())).await?;
            return Ok(is_used.then_some(info));
        }
        Ok(Some(info))
    }

    /// Returns an address at which a client can read the blob without this server, if clients are to be sent there.
    pub async fn blob_address(&self, digest: Digest) -> Result<Option<String>> {
        Ok(self.artifacts()?.address(digest).await?)
    }

    /// Checks that the store has the files of a manifest.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] names the first that it lacks; [`Refusal::Invalid`] if one has another size.
    pub(super) async fn expect_blobs(&self, manifest: &Manifest) -> Result<()> {
        let artifacts = self.artifacts.as_ref().ok_or_else(|| {
            Refusal::Invalid(
                "this server has no artifact store, so it can't have the files; leave out stored".to_owned(),
            )
        })?;
        for files in manifest.files().chunks(BLOBS_PER_JOB) {
            let found = artifacts.find_all(files.iter().map(|file| file.sha256).collect()).await?;
            for (file, found) in files.iter().zip(found) {
                let Some(found) = found else {
                    return Err(Refusal::Conflict(format!(
                        "the artifact store has no blob sha256:{}, which is {:?}; upload it, then register again",
                        file.sha256, file.path
                    ))
                    .into());
                };
                if i64::try_from(found.size_bytes) != Ok(file.size_bytes) {
                    return Err(Refusal::Invalid(format!(
                        "{:?} is given as {} bytes, and the blob sha256:{} has {}; send the size of the file",
                        file.path, file.size_bytes, file.sha256, found.size_bytes
                    ))
                    .into());
                }
            }
        }
        Ok(())
    }

    /// Opens a blob. All of it is verified while it is read, unless that was done since its file was last changed.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Damaged`].
    pub async fn open_blob(&self, digest: Digest) -> Result<OpenBlob> {
        Ok(self.artifacts()?.read(digest).await?)
    }

    /// Verifies a blob of which a part will be read, unless that was done since its file was last changed.
    ///
    /// # Errors
    /// [`BlobError::Damaged`].
    pub async fn verified_blob(&self, blob: OpenBlob) -> Result<OpenBlob> {
        if blob.is_verified() { Ok(blob) } else { Ok(self.artifacts()?.verify(blob).await?) }
    }

    /// Reads the next bytes of a blob, at most `limit_bytes`.
    pub async fn next_chunk(&self, chunks: Chunks, limit_bytes: usize) -> Result<(Bytes, Chunks)> {
        Ok(self.artifacts()?.next(chunks, limit_bytes).await?)
    }

    /// Begins an upload.
    pub async fn begin_upload(&self) -> Result<UploadId> {
        Ok(self.artifacts()?.begin_upload().await?)
    }

    /// Returns how many bytes of an upload have arrived.
    pub async fn upload_size(&self, id: UploadId) -> Result<u64> {
        Ok(self.artifacts()?.upload_size(id).await?)
    }

    /// Continues an upload, in place of the request that did so before.
    pub async fn continue_upload(&self, id: UploadId) -> Result<UploadWriter> {
        Ok(self.artifacts()?.continue_upload(id).await?)
    }

    /// Ends an upload and removes what has arrived.
    pub async fn cancel_upload(&self, id: UploadId) -> Result<()> {
        Ok(self.artifacts()?.cancel_upload(id).await?)
    }
}

impl From<BlobError> for RegistryError {
    fn from(error: BlobError) -> Self {
        Self::Blob(error)
    }
}
