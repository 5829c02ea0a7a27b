//! The use cases of the artifact store.

use crate::{
    actors::{Artifacts, UploadWriter},
    artifact::blobs::{BlobError, BlobInfo, Chunks, OpenBlob, UploadId},
    domain::{Digest, Manifest, Refusal},
};

use super::{Registry, RegistryError, Result};

pub use crate::actors::Bytes;

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

    /// Looks up a blob. One that is damaged counts as missing, so that clients upload it again.
    pub async fn find_blob(&self, digest: Digest) -> Result<Option<BlobInfo>> {
        Ok(self.artifacts()?.find(digest).await?)
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
