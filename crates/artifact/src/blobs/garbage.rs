//! Garbage: blobs that no version has, and uploads that no client continues, both older than a grace time.
//!
//! It is collected beside servers. A client may begin to use a blob at the moment that it is removed, so a blob is put aside
//! first, and judged again where no upload reaches it.

use std::time::SystemTime;

use registry_domain::Digest;

use super::{Blobs, Place, error::BlobError, uploads};

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Garbage {
    /// The digests of blobs.
    pub blobs: Vec<Digest>,
    /// Their bytes.
    pub blob_bytes: u64,
    /// The number of uploads.
    pub uploads: u64,
    /// Their bytes.
    pub upload_bytes: u64,
    /// Blobs that stay.
    pub kept: u64,
}

/// Decides about each blob.
pub trait Judge {
    /// Why it could not decide.
    type Error: From<BlobError>;

    /// Returns true if a version has the blob: with `is_fresh` as of now, else as of any time since the collection began.
    ///
    /// # Errors
    /// If the versions can't be read. The collection ends then.
    fn is_used(&mut self, digest: Digest, is_fresh: bool) -> std::result::Result<bool, Self::Error>;

    /// Receives the number of blobs that were looked at. An error ends the collection.
    ///
    /// # Errors
    /// If it was cancelled.
    fn progress(&mut self, blobs: u64) -> std::result::Result<(), Self::Error>;
}

impl Blobs {
    /// Finds garbage that was stored before a time and, if `is_done`, removes it. `garbage` has what was removed even if this
    /// fails.
    ///
    /// # Errors
    /// Those of the judge and of the store.
    pub fn collect_garbage<J: Judge>(
        &self,
        before: SystemTime,
        is_done: bool,
        judge: &mut J,
        garbage: &mut Garbage,
    ) -> std::result::Result<(), J::Error> {
        let mut seen = 0;
        self.place.each::<J::Error>(&mut |digest, info| {
            seen += 1;
            judge.progress(seen)?;
            if info.stored_at >= before || judge.is_used(digest, false)? {
                garbage.kept += 1;
                return Ok(());
            }
            if is_done && !self.place.remove(digest, before, &mut || judge.is_used(digest, true))? {
                garbage.kept += 1;
                return Ok(());
            }
            garbage.blobs.push(digest);
            garbage.blob_bytes += info.size_bytes;
            Ok(())
        })?;
        let (count, bytes) = uploads::remove_abandoned(self.uploads.folder(), before, is_done)?;
        (garbage.uploads, garbage.upload_bytes) = (count, bytes);
        Ok(())
    }
}

impl Place {
    /// Visits all blobs.
    fn each<E: From<BlobError>>(
        &self,
        visit: &mut dyn FnMut(Digest, super::BlobInfo) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        match self {
            Self::Folder(folder) => folder.each(visit),
            #[cfg(feature = "objects")]
            Self::Bucket(bucket) => bucket.each(visit),
        }
    }

    /// Removes a blob unless it was stored again since `before` or is used by now. Returns true if it is gone.
    fn remove<E: From<BlobError>>(
        &self,
        digest: Digest,
        before: SystemTime,
        is_used: &mut dyn FnMut() -> std::result::Result<bool, E>,
    ) -> std::result::Result<bool, E> {
        match self {
            Self::Folder(folder) => folder.remove(digest, before, is_used),
            #[cfg(feature = "objects")]
            Self::Bucket(bucket) => bucket.remove(digest, before, is_used),
        }
    }
}

/// Parses the name of a blob.
pub(super) fn digest_of(name: &str) -> Option<Digest> {
    Digest::parse("name", name).ok().flatten().filter(|digest| digest.to_string() == name)
}
