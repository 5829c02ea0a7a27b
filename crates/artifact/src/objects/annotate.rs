//! Giving an object its digest after it was uploaded.
//!
//! The digest of a file that goes up in parts is known when the last part has been read, but stores take
//! metadata when an upload begins. So on the store's side the object is replaced by itself with the metadata
//! that belong to it, provided that nobody put another one there meanwhile. No bytes travel.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{
    MultipartId, PutMultipartOptions,
    aws::AmazonS3,
    multipart::{MultipartStore as _, PartId},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    Connected, DIGEST_METADATA, Found, ObjectError, ObjectUri, Objects,
    connect::Backend,
    error::{classify, element, unescape},
    parts::TAKE_BACK_WITHIN,
    path,
    request::Asking,
    upload::attributes,
};
use registry_domain::Digest;

/// What stands in a URL as it is.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In the path of one too.
const PLAIN_OR_SLASH: AsciiSet = PLAIN.remove(b'/');

/// Pieces of a large object that the store copies at once.
const COPIES_AT_ONCE: usize = 8;

/// Which state of an object is meant, in the store's terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) e_tag: Option<String>,
    /// What Google calls a generation.
    pub(super) version: Option<String>,
}

impl Objects {
    /// Gives an object that was found without a digest the one that reading it back has shown, so that nobody
    /// needs to read it again. Nothing is done where it carries one, or carries metadata of somebody else's
    /// that the store would replace along with it.
    ///
    /// # Errors
    /// [`ObjectError::Replaced`] where it is not the object that was found any more,
    /// [`ObjectError::InterruptedLate`], and any reason why the store did not do it.
    pub fn adopt(
        &self,
        uri: &ObjectUri,
        found: &Found,
        digest: Digest,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), ObjectError> {
        self.check_bucket(uri)?;
        let keeps_others = matches!(self.shared.backend, Backend::Gs(_)) || found.is_bare;
        if found.sha256.is_some() || !keeps_others || found.revision == Revision::default() {
            return Ok(());
        }
        self.annotate(uri, found.size_bytes, digest, &found.revision, interrupted)
    }

    /// Has the object carry `digest`, if it is still at `revision`.
    pub(super) fn annotate(
        &self,
        uri: &ObjectUri,
        size_bytes: u64,
        digest: Digest,
        revision: &Revision,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), ObjectError> {
        match self.replace_by_itself(uri, size_bytes, digest, revision, interrupted) {
            ended @ (Ok(()) | Err(ObjectError::PartsLeft { .. } | ObjectError::InterruptedLate { .. })) => {
                ended
            }
            Err(_) if self.carries(uri, size_bytes, digest) => Ok(()),
            failed => failed,
        }
    }

    /// Whether the object has its digest after all: where an answer was lost the request was repeated, and then
    /// met what it had done itself.
    fn carries(&self, uri: &ObjectUri, size_bytes: u64, digest: Digest) -> bool {
        matches!(self.find(uri, &|| false), Ok(Some(there)) if there.is(size_bytes, digest))
    }

    fn replace_by_itself(
        &self,
        uri: &ObjectUri,
        size_bytes: u64,
        digest: Digest,
        revision: &Revision,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), ObjectError> {
        let shared = &self.shared;
        let late = || Err(ObjectError::InterruptedLate { uri: uri.clone() });
        let asking = match &shared.backend {
            Backend::S3(store) if size_bytes > self.sizes.copy_up_to_bytes => {
                return self.replace_by_pieces(store, uri, size_bytes, digest, revision, interrupted);
            }
            Backend::S3(_) => shared
                .copying(uri, String::new(), revision)
                .with("x-amz-metadata-directive", "REPLACE")
                .with("x-amz-meta-sha256", digest.to_string())
                .with("content-type", "application/octet-stream"),
            Backend::Gs(_) => {
                let key = utf8_percent_encode(uri.key(), &PLAIN);
                let condition =
                    revision.version.as_ref().map(|generation| format!("?ifGenerationMatch={generation}"));
                let body = serde_json::json!({ "metadata": { DIGEST_METADATA: digest.to_string(), "uploadmark": null } });
                let url = format!(
                    "{}/storage/v1/b/{}/o/{key}{}",
                    shared.target.endpoint,
                    uri.bucket(),
                    condition.unwrap_or_default()
                );
                Asking::new("PATCH", url).with("content-type", "application/json").with_body(body.to_string())
            }
            Backend::Az(_) => Asking::new("PUT", format!("{}?comp=metadata", shared.url(uri)))
                .with("content-length", "0")
                .with("x-ms-meta-sha256", digest.to_string())
                .with_some("if-match", revision.e_tag.as_deref()),
        };
        self.wait(interrupted, shared.ask(uri, &asking)).map_or_else(late, |answer| answer.map(drop))
    }

    /// An object that is too large to be copied by one request is copied piece by piece, as a new upload that
    /// has the digest from its start.
    fn replace_by_pieces(
        &self,
        store: &AmazonS3,
        uri: &ObjectUri,
        size_bytes: u64,
        digest: Digest,
        revision: &Revision,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), ObjectError> {
        let shared = &self.shared;
        let path = path(uri)?;
        let failed = |error: object_store::Error| classify(&shared.target, uri, &error);
        let attributes = attributes(DIGEST_METADATA, &digest.to_string());
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let id = self.runtime.block_on(store.create_multipart_opts(&path, options)).map_err(failed)?;
        let pieces = shared.copy_pieces(uri, &id, size_bytes, self.sizes.copy_part_bytes, revision);
        let copied = match self.wait(interrupted, pieces) {
            // Its end is short, and is waited for.
            Some(Ok(parts)) => {
                self.runtime.block_on(store.complete_multipart(&path, &id, parts)).map_err(failed)
            }
            Some(Err(why)) => Err(why),
            None => Err(ObjectError::InterruptedLate { uri: uri.clone() }),
        };
        let Err(why) = copied else { return Ok(()) };
        // An upload that has ended can't be taken back, and not every store says that it has ended.
        if !matches!(why, ObjectError::InterruptedLate { .. }) && self.carries(uri, size_bytes, digest) {
            return Ok(());
        }
        let left = match self.runtime.block_on(async {
            tokio::time::timeout(TAKE_BACK_WITHIN, store.abort_multipart(&path, &id)).await
        }) {
            Ok(Ok(()) | Err(object_store::Error::NotFound { .. })) => return Err(why),
            Ok(Err(error)) => failed(error).to_string(),
            Err(_) => "the store did not answer".to_owned(),
        };
        Err(ObjectError::PartsLeft { uri: uri.clone(), why: Box::new(why), reason: left })
    }
}

impl Connected {
    async fn copy_pieces(
        &self,
        uri: &ObjectUri,
        id: &MultipartId,
        size_bytes: u64,
        piece_bytes: u64,
        revision: &Revision,
    ) -> Result<Vec<PartId>, ObjectError> {
        let id = utf8_percent_encode(id, &PLAIN).to_string();
        let starts = (0..size_bytes).step_by(usize::try_from(piece_bytes).unwrap_or(usize::MAX));
        let copies = starts.enumerate().map(|(index, start)| {
            let last = (start + piece_bytes).min(size_bytes) - 1;
            let query = format!("?partNumber={}&uploadId={id}", index + 1);
            let asking = self
                .copying(uri, query, revision)
                .with("x-amz-copy-source-range", format!("bytes={start}-{last}"));
            async move {
                let answer = self.ask(uri, &asking).await?;
                let e_tag = element(&answer, "ETag").map(unescape).ok_or_else(|| ObjectError::Failed {
                    uri: uri.clone(),
                    reason: "the store copied a piece of it and did not say which one it is".to_owned(),
                })?;
                Ok(PartId { content_id: e_tag })
            }
        });
        stream::iter(copies).buffered(COPIES_AT_ONCE).try_collect().await
    }

    /// A copy of the object, or of a piece of it, onto itself.
    fn copying(&self, uri: &ObjectUri, query: String, revision: &Revision) -> Asking {
        let source = format!("{}/{}", uri.bucket(), utf8_percent_encode(uri.key(), &PLAIN_OR_SLASH));
        Asking::new("PUT", format!("{}{query}", self.url(uri)))
            .with("x-amz-copy-source", source)
            .with_some("x-amz-copy-source-if-match", revision.e_tag.as_deref())
    }

    pub(super) fn url(&self, uri: &ObjectUri) -> String {
        let key = utf8_percent_encode(uri.key(), &PLAIN_OR_SLASH);
        format!("{}/{key}", self.bucket_url(uri))
    }

    pub(super) fn bucket_url(&self, uri: &ObjectUri) -> String {
        format!("{}/{}", self.target.endpoint, uri.bucket())
    }
}
