//! The use cases of the artifact store.

use crate::{
    actors::{Artifacts, UploadWriter},
    artifact::blobs::{BlobError, BlobInfo, Chunks, OpenBlob, UploadId},
    domain::Digest,
};

use super::{Registry, RegistryError, Result};

pub use crate::actors::Bytes;

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

    /// Looks up a blob. One that is damaged counts as missing, so that clients upload it again.
    pub async fn find_blob(&self, digest: Digest) -> Result<Option<BlobInfo>> {
        Ok(self.artifacts()?.find(digest).await?)
    }

    /// Opens a blob to read a part of it, or all of it. If not all bytes are requested, the blob is verified first, unless
    /// that was done since its file was last changed. A whole one is verified while it is read.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Damaged`].
    pub async fn read_blob(&self, digest: Digest, is_whole: bool) -> Result<OpenBlob> {
        let artifacts = self.artifacts()?;
        let blob = artifacts.read(digest).await?;
        if is_whole || blob.is_verified() { Ok(blob) } else { Ok(artifacts.verify(blob).await?) }
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
