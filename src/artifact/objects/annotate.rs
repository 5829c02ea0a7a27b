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
    Connected, DIGEST_METADATA, ObjectError, ObjectUri, Objects,
    connect::Backend,
    error::{classify, element, unescape},
    path,
    request::Asking,
    upload::attributes,
};
use crate::domain::Digest;

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
    /// Has the object carry `digest`, if it is still at `revision`.
    pub(super) fn annotate(
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
        let path = path(uri);
        let failed = |error: object_store::Error| classify(&shared.target, uri, &error);
        let attributes = attributes(DIGEST_METADATA, &digest.to_string());
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let id = self.runtime.block_on(store.create_multipart_opts(&path, options)).map_err(failed)?;
        let copying = async {
            let parts =
                shared.copy_pieces(uri, &id, size_bytes, self.sizes.copy_part_bytes, revision).await?;
            store.complete_multipart(&path, &id, parts).await.map_err(failed)
        };
        let copied = self
            .wait(interrupted, copying)
            .unwrap_or_else(|| Err(ObjectError::InterruptedLate { uri: uri.clone() }));
        copied.map(drop).map_err(|why| match self.runtime.block_on(store.abort_multipart(&path, &id)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => why,
            Err(error) => ObjectError::PartsLeft {
                uri: uri.clone(),
                why: Box::new(why),
                reason: failed(error).to_string(),
            },
        })
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
