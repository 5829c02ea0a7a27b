//! Uploads of files whose digest is known: an object carries it from the start as metadata. On S3, each request also
//! carries the SHA-256 of its bytes, which the store verifies.
//!
//! A file is digested again while it is sent, so one that has changed is never completed. It goes up in parts, a few at
//! once, and reading waits for them, so memory does not depend on the file's size. Nothing appears under the object's
//! name before the whole file was read and found unchanged, and a failure aborts the upload.

use object_store::{
    Attribute, AttributeValue, Attributes, PutMode, PutMultipartOptions, PutOptions, PutPayload,
};

use super::{
    bucket::{DIGEST_METADATA, GRACE_PERIOD, ObjectInfo, Objects, path},
    connect::StoreClient,
    error::{ObjectError, classify, is_answer_lost, is_unsupported},
    parts::Parts,
    retry,
    uri::ObjectUri,
};
use crate::{error::ArtifactError, open_file::OpenFile};
use registry_domain::{Digest, Measurement};

/// What an upload does to an existing object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Nothing: there must be none, or it must have the same bytes.
    Nothing,
    /// Replaces it.
    Anything,
}

impl Objects {
    /// Uploads a file, whose digest the caller has computed, to `uri`. `progress` receives the bytes that the store has.
    ///
    /// # Errors
    /// [`ObjectError::Exists`] if there is another object that must not be replaced, [`ArtifactError::Changed`] if the
    /// file has changed, and any reason why the object is not there afterwards, whole, with its size and digest. Until
    /// the whole file was read and sent, an existing object is untouched.
    pub fn upload(
        &self,
        uri: &ObjectUri,
        file: &OpenFile,
        digest: Digest,
        replace: Replace,
        progress: impl FnMut(u64),
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), ObjectError> {
        self.check_bucket(uri)?;
        let part_bytes = self.sizes.part_for(file.size_bytes());
        if usize::try_from(file.size_bytes()).is_ok_and(|size| size <= part_bytes) {
            self.upload_whole(uri, file, digest, replace, progress, interrupted)
        } else {
            self.upload_parts(uri, file, digest, replace, progress, interrupted)
        }
    }

    /// Uploads a file that is small enough to be held in memory, in one request.
    fn upload_whole(
        &self,
        uri: &ObjectUri,
        file: &OpenFile,
        digest: Digest,
        replace: Replace,
        mut progress: impl FnMut(u64),
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), ObjectError> {
        let mut content = Vec::new();
        let measured = file.measure(|chunk, _| {
            content.extend_from_slice(chunk);
            !interrupted()
        });
        let measurement = match measured {
            Err(ArtifactError::Abandoned { .. }) => {
                return Err(ObjectError::Interrupted { uri: uri.clone() });
            }
            measured => measured?,
        };
        check_digest(file, &measurement, digest)?;
        let payload = PutPayload::from(content);
        let put = async {
            match replace {
                Replace::Nothing => self.client.put_new(uri, payload, measurement.size_bytes, digest).await,
                Replace::Anything => {
                    let put = self.client.put(&path(uri)?, payload, digest, PutMode::Overwrite).await;
                    put.map_err(|error| classify(&self.client.target, uri, &error))
                }
            }
        };
        if interrupted() {
            return Err(ObjectError::Interrupted { uri: uri.clone() });
        }
        match self.run(interrupted, GRACE_PERIOD, put) {
            None => return Err(ObjectError::InterruptedUnsure { uri: uri.clone() }),
            Some(put) => put?,
        }
        progress(measurement.size_bytes);
        if interrupted() {
            return Err(ObjectError::InterruptedDone { uri: uri.clone() });
        }
        self.confirm(uri, measurement.size_bytes, digest)
    }

    fn upload_parts(
        &self,
        uri: &ObjectUri,
        file: &OpenFile,
        digest: Digest,
        replace: Replace,
        progress: impl FnMut(u64),
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), ObjectError> {
        let options =
            PutMultipartOptions { attributes: attributes(digest), ..PutMultipartOptions::default() };
        let failed = |error: object_store::Error| classify(&self.client.target, uri, &error);
        let path = path(uri)?;
        let begin = self.client.parts.put_multipart_opts(&path, options);
        // If this request were dropped, its upload could not be aborted.
        let upload = match self.run(interrupted, GRACE_PERIOD, begin) {
            None => {
                return Err(ObjectError::PartsLeft {
                    uri: uri.clone(),
                    why: Box::new(ObjectError::Interrupted { uri: uri.clone() }),
                    reason: "the store did not confirm that the upload began".to_owned(),
                });
            }
            Some(begun) => begun.map_err(failed)?,
        };

        let part_bytes = self.sizes.part_for(file.size_bytes());
        let mut parts = Parts::new(self, uri, upload, part_bytes, progress, interrupted);
        let sent = parts.send(file).and_then(|sent| {
            check_digest(file, &sent, digest)?;
            Ok(sent)
        });
        let measurement = match sent {
            Ok(measurement) => measurement,
            Err(why) => return Err(parts.abort(why)),
        };
        let size_bytes = measurement.size_bytes;
        if replace == Replace::Nothing {
            // The stores' client has no condition for the completion of an upload, so this check comes as late as
            // possible.
            match self.find(uri, interrupted) {
                Ok(None) => {}
                Ok(Some(there)) if there.matches(size_bytes, digest) => {
                    // Another client has uploaded the same file, so this upload is only aborted.
                    return match parts.abort(ObjectError::Exists { uri: uri.clone() }) {
                        ObjectError::Exists { .. } => Ok(()),
                        left => Err(left),
                    };
                }
                Ok(Some(_)) => return Err(parts.abort(ObjectError::Exists { uri: uri.clone() })),
                Err(why) => return Err(parts.abort(why)),
            }
        }
        if let Err(error) = self.runtime.block_on(parts.upload.complete()) {
            let why = failed(error);
            let found = self.find(uri, &|| false).ok().flatten();
            let is_there = found.is_some_and(|found| found.matches(size_bytes, digest));
            // If the upload was completed and the answer lost, there is nothing to abort, and stores may refuse it.
            let left = parts.abort(why);
            return if is_there { Ok(()) } else { Err(left) };
        }
        drop(parts);
        self.confirm(uri, size_bytes, digest)
    }

    /// Asks the store what it holds. This is not interrupted: the object exists by now.
    fn confirm(&self, uri: &ObjectUri, size_bytes: u64, digest: Digest) -> Result<(), ObjectError> {
        let reason = match self.find(uri, &|| false)? {
            Some(found) if found.matches(size_bytes, digest) => return Ok(()),
            Some(ObjectInfo { size_bytes, sha256: Some(digest), .. }) => {
                format!("has {size_bytes} bytes with sha256 {digest}")
            }
            Some(ObjectInfo { size_bytes, sha256: None, .. }) => {
                format!("has {size_bytes} bytes and no digest")
            }
            None => "is missing".to_owned(),
        };
        let reason = format!("it was uploaded, but now it {reason}; upload it again");
        Err(ObjectError::Failed { uri: uri.clone(), reason })
    }
}

impl StoreClient {
    async fn put(
        &self,
        path: &object_store::path::Path,
        payload: PutPayload,
        digest: Digest,
        mode: PutMode,
    ) -> Result<(), object_store::Error> {
        let options = PutOptions { attributes: attributes(digest), mode, ..PutOptions::default() };
        self.store.put_opts(path, payload, options).await.map(drop)
    }

    /// Creates an object that must not exist. If the answer is lost, the stores' client does not retry, since it can't
    /// know if the object that exists by then is its own; the digest tells.
    async fn put_new(
        &self,
        uri: &ObjectUri,
        payload: PutPayload,
        size_bytes: u64,
        digest: Digest,
    ) -> Result<(), ObjectError> {
        let path = path(uri)?;
        let mut waits = retry::waits();
        loop {
            let Err(error) = self.put(&path, payload.clone(), digest, PutMode::Create).await else {
                return Ok(());
            };
            let why = match &error {
                // On S3 this includes another upload that ends at the same time.
                object_store::Error::AlreadyExists { .. } => ObjectError::Exists { uri: uri.clone() },
                _ if is_answer_lost(&error) || is_unsupported(&error) => classify(&self.target, uri, &error),
                _ => return Err(classify(&self.target, uri, &error)),
            };
            match self.find(uri).await {
                Ok(Some(there)) if there.matches(size_bytes, digest) => return Ok(()),
                Ok(Some(_)) => return Err(ObjectError::Exists { uri: uri.clone() }),
                Ok(None) if is_unsupported(&error) => {
                    let put = self.put(&path, payload, digest, PutMode::Overwrite).await;
                    return put.map_err(|error| classify(&self.target, uri, &error));
                }
                Ok(None) => {}
                Err(_) => return Err(why),
            }
            match waits.next() {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(why),
            }
        }
    }
}

/// Checks that the file still has the digest that was computed before.
fn check_digest(file: &OpenFile, measurement: &Measurement, expected: Digest) -> Result<(), ArtifactError> {
    match measurement.sha256 == Some(expected) {
        true => Ok(()),
        false => Err(ArtifactError::Changed { path: file.path().to_owned() }),
    }
}

fn attributes(digest: Digest) -> Attributes {
    let value = AttributeValue::from(digest.to_string());
    [(Attribute::Metadata(DIGEST_METADATA.into()), value)].into_iter().collect()
}
