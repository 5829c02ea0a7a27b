//! One pass over a file: read, digested and sent at the same time.
//!
//! The file goes up in parts, a few at once, out of buffers that go round between this thread and the
//! network; when all of them are on their way, reading waits. So memory is the buffers, whatever the file's
//! size. Nothing appears under the object's name before the whole file was read and found unchanged;
//! whatever fails before that takes back what was sent.

use object_store::{
    Attribute, AttributeValue, Attributes, PutMode, PutMultipartOptions, PutOptions, PutPayload,
};

use super::{
    Connected, DIGEST_METADATA, Found, ObjectError, ObjectUri, Objects,
    annotate::Revision,
    error::{Refusal, classify},
    parts::Parts,
    path,
    patience::{self, Waits},
};
use registry_domain::{Digest, Measurement};

use crate::{ArtifactError, MeasureOptions, Opened};

/// Metadata that an object carries from when its upload began until it gets its digest. Where the answer
/// to the end of an upload is lost, it tells whether that came about; a size could not, since the versions
/// of a model mostly have the same.
pub(super) const MARK_METADATA: &str = "uploadmark";

/// The most parts that S3 and GCS allow.
const MAX_PARTS: u64 = 10_000;

/// How files are cut up. The defaults are right for every store; tests set smaller ones.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// A part; larger only where `MAX_PARTS` of them would not hold the file. S3 wants 5 MiB at least.
    pub part_bytes: usize,
    /// Parts on their way at once. One more is being filled, and that is all the memory it takes.
    pub parts_at_once: usize,
    /// The largest object that S3 replaces in one request, which is how it gets its digest.
    pub copy_up_to_bytes: u64,
    /// The pieces of a larger one.
    pub copy_part_bytes: u64,
}

/// What an upload may do to an object that lies there by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Nothing: there must be none, or it must be the file already.
    Nothing,
    /// Whatever lies there.
    Anything,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { part_bytes: 8 << 20, parts_at_once: 4, copy_up_to_bytes: 5 << 30, copy_part_bytes: 1 << 30 }
    }
}

impl Sizes {
    /// What a part of a file of this size holds: whole MiB where it is not the default.
    fn part_for(&self, size_bytes: u64) -> usize {
        let needed = size_bytes.div_ceil(MAX_PARTS).next_multiple_of(1 << 20);
        self.part_bytes.max(usize::try_from(needed).unwrap_or(usize::MAX))
    }
}

impl Objects {
    /// Cuts files up differently than by default.
    #[must_use]
    pub fn with_sizes(mut self, sizes: Sizes) -> Self {
        self.sizes = sizes;
        self
    }

    /// Uploads a file to `uri`. `known` is its digest, if that is known already: then the
    /// object has it from the start, and a file that has another by now is not uploaded. `progress` hears how
    /// many bytes the store has taken.
    ///
    /// # Errors
    /// [`ObjectError::Exists`] where another object lies there that is not to be replaced, and any reason why
    /// the object is not there afterwards, whole, with its size and digest. Until the whole file was read
    /// and sent, what lay at `uri` before is untouched.
    pub fn upload(
        &self,
        uri: &ObjectUri,
        file: &Opened,
        known: Option<Digest>,
        replace: Replace,
        progress: impl FnMut(u64),
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Measurement, ObjectError> {
        self.check_bucket(uri)?;
        let part_bytes = self.sizes.part_for(file.size_bytes());
        if usize::try_from(file.size_bytes()).is_ok_and(|size| size <= part_bytes) {
            self.upload_whole(uri, file, known, replace, progress, interrupted)
        } else {
            self.upload_parts(uri, file, known, replace, progress, interrupted)
        }
    }

    /// Small enough to be held: one request, with the digest.
    fn upload_whole(
        &self,
        uri: &ObjectUri,
        file: &Opened,
        known: Option<Digest>,
        replace: Replace,
        mut progress: impl FnMut(u64),
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Measurement, ObjectError> {
        let keep_up_to_bytes = usize::try_from(file.size_bytes()).unwrap_or(usize::MAX);
        let options = MeasureOptions { keep_up_to_bytes, ..MeasureOptions::default() };
        let measured =
            file.measure_while(&options, |_| !interrupted()).map_err(|error| given_up(uri, error))?;
        let measurement = measured.measurement;
        let digest = confirmed(uri, &measurement, known)?;
        let payload = PutPayload::from(measured.content.unwrap_or_default());
        let put = async {
            match replace {
                Replace::Nothing => self.shared.put_new(uri, payload, measurement.size_bytes, digest).await,
                Replace::Anything => {
                    let put = self.shared.put(&path(uri)?, payload, digest, PutMode::Overwrite).await;
                    put.map_err(|error| classify(&self.shared.target, uri, &error))
                }
            }
        };
        if interrupted() {
            return Err(ObjectError::Interrupted { uri: uri.clone() });
        }
        match self.see_through(interrupted, put) {
            None => return Err(ObjectError::InterruptedUnsure { uri: uri.clone() }),
            Some(put) => put?,
        }
        progress(measurement.size_bytes);
        if interrupted() {
            return Err(ObjectError::InterruptedDone { uri: uri.clone() });
        }
        self.confirm(uri, &measurement)?;
        Ok(measurement)
    }

    fn upload_parts(
        &self,
        uri: &ObjectUri,
        file: &Opened,
        known: Option<Digest>,
        replace: Replace,
        progress: impl FnMut(u64),
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Measurement, ObjectError> {
        let mark = format!("{:032x}", fastrand::u128(..));
        let attributes = match known {
            Some(digest) => attributes(DIGEST_METADATA, &digest.to_string()),
            None => attributes(MARK_METADATA, &mark),
        };
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() }
            .with_retry_policy(patience::for_parts());
        let failed = |error: object_store::Error| classify(&self.shared.target, uri, &error);
        let path = path(uri)?;
        let begin = self.shared.backend.store().put_multipart_opts(&path, options);
        // Dropped half done it would leave an upload that nobody knows how to take back.
        let upload = match self.see_through(interrupted, begin) {
            None => {
                return Err(ObjectError::PartsLeft {
                    uri: uri.clone(),
                    why: Box::new(ObjectError::Interrupted { uri: uri.clone() }),
                    reason: "the store did not say whether the upload had begun".to_owned(),
                });
            }
            Some(begun) => begun.map_err(failed)?,
        };

        let part_bytes = self.sizes.part_for(file.size_bytes());
        let mut parts = Parts::new(self, uri, upload, part_bytes, progress, interrupted);
        let (measurement, digest) = match parts
            .send(file)
            .and_then(|measurement| Ok((measurement, confirmed(uri, &measurement, known)?)))
        {
            Ok(sent) => sent,
            Err(why) => return Err(parts.take_back(why)),
        };
        if replace == Replace::Nothing {
            // The client of the stores can make the end of an upload depend on nothing, so this look comes as
            // late as it can.
            match self.find(uri, interrupted) {
                Ok(None) => {}
                Ok(Some(there)) if there.is(measurement.size_bytes, digest) => {
                    // Somebody else has uploaded the same file; that is as good, if this upload goes away.
                    return match parts.take_back(ObjectError::Exists { uri: uri.clone() }) {
                        ObjectError::Exists { .. } => Ok(measurement),
                        left => Err(left),
                    };
                }
                Ok(Some(_)) => return Err(parts.take_back(ObjectError::Exists { uri: uri.clone() })),
                Err(why) => return Err(parts.take_back(why)),
            }
        }
        let revision = match self.runtime.block_on(parts.upload.complete()) {
            Ok(done) => Revision { e_tag: done.e_tag, version: done.version },
            Err(error) => match self.completed_after_all(uri, &measurement, known, &mark) {
                Some(found) => found.revision,
                None => {
                    let why = failed(error);
                    return Err(parts.take_back(why));
                }
            },
        };
        drop(parts);
        if known.is_none() {
            let annotated = self.annotate(uri, measurement.size_bytes, digest, &revision, interrupted);
            annotated.map_err(|why| match why {
                ObjectError::Replaced { .. } | ObjectError::InterruptedLate { .. } => why,
                why => ObjectError::WithoutDigest { uri: uri.clone(), why: Box::new(why) },
            })?;
        }
        self.confirm(uri, &measurement)?;
        Ok(measurement)
    }

    /// Where the answer to the end of an upload was lost: what lies there, if it is that upload's.
    fn completed_after_all(
        &self,
        uri: &ObjectUri,
        measurement: &Measurement,
        known: Option<Digest>,
        mark: &str,
    ) -> Option<Found> {
        let found = self.find(uri, &|| false).ok()??;
        let is_ours = match known {
            // It would do as well if somebody else had uploaded it.
            Some(_) => found.sha256 == known,
            None => found.upload_mark.as_deref() == Some(mark),
        };
        (is_ours && found.size_bytes == measurement.size_bytes).then_some(found)
    }

    /// Asks the store what it holds now. That is not interrupted: by now the object is there.
    fn confirm(&self, uri: &ObjectUri, measurement: &Measurement) -> Result<(), ObjectError> {
        let not_confirmed = |reason| ObjectError::NotConfirmed { uri: uri.clone(), reason };
        match self.find(uri, &|| false)? {
            None => Err(not_confirmed("it was gone".to_owned())),
            Some(found) if found.size_bytes != measurement.size_bytes => Err(not_confirmed(format!(
                "it held {} bytes where {} were sent",
                found.size_bytes, measurement.size_bytes
            ))),
            Some(Found { sha256: None, .. }) => Err(not_confirmed("it did not carry its digest".to_owned())),
            Some(found) if found.sha256 != measurement.sha256 => {
                Err(not_confirmed("it carried another digest".to_owned()))
            }
            Some(_) => Ok(()),
        }
    }
}

impl Found {
    /// Whether it is known to be these bytes.
    pub(super) fn is(&self, size_bytes: u64, digest: Digest) -> bool {
        self.size_bytes == size_bytes && self.sha256 == Some(digest)
    }
}

impl Connected {
    async fn put(
        &self,
        path: &object_store::path::Path,
        payload: PutPayload,
        digest: Digest,
        mode: PutMode,
    ) -> Result<(), object_store::Error> {
        let attributes = attributes(DIGEST_METADATA, &digest.to_string());
        let options = PutOptions { attributes, mode, ..PutOptions::default() };
        self.backend.store().put_opts(path, payload, options).await.map(drop)
    }

    /// Puts an object where none lies. The client of the stores does not repeat such a request where its
    /// answer was lost, since it can't know whether the object that is there by then is its own; its digest
    /// tells.
    async fn put_new(
        &self,
        uri: &ObjectUri,
        payload: PutPayload,
        size_bytes: u64,
        digest: Digest,
    ) -> Result<(), ObjectError> {
        let path = path(uri)?;
        let mut waits = Waits::new();
        loop {
            let Err(error) = self.put(&path, payload.clone(), digest, PutMode::Create).await else {
                return Ok(());
            };
            let refusal = Refusal::of(&error);
            let why = match (&error, refusal) {
                // On S3 another upload that ends at the same time is one too.
                (object_store::Error::AlreadyExists { .. }, _) => ObjectError::Exists { uri: uri.clone() },
                _ => classify(&self.target, uri, &error),
            };
            if refusal == Refusal::Other && !matches!(why, ObjectError::Exists { .. }) {
                return Err(why);
            }
            match self.find(uri).await {
                Ok(Some(there)) if there.is(size_bytes, digest) => return Ok(()),
                Ok(Some(_)) => return Err(ObjectError::Exists { uri: uri.clone() }),
                Ok(None) if refusal == Refusal::OfTheCondition => {
                    let put = self.put(&path, payload, digest, PutMode::Overwrite).await;
                    return put.map_err(|error| classify(&self.target, uri, &error));
                }
                Ok(None) => {}
                Err(_) => return Err(why),
            }
            match waits.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(why),
            }
        }
    }
}

/// The digest of what was read, if it is the one that was announced.
fn confirmed(
    uri: &ObjectUri,
    measurement: &Measurement,
    known: Option<Digest>,
) -> Result<Digest, ObjectError> {
    let unread =
        || ObjectError::Failed { uri: uri.clone(), reason: "the file was read undigested".to_owned() };
    let found = measurement.sha256.ok_or_else(unread)?;
    match known {
        Some(expected) if expected != found => Err(ObjectError::NotTheFile { expected, found }),
        _ => Ok(found),
    }
}

pub(super) fn attributes(name: &'static str, value: &str) -> Attributes {
    let value = AttributeValue::from(value.to_owned());
    [(Attribute::Metadata(name.into()), value)].into_iter().collect()
}

pub(super) fn given_up(uri: &ObjectUri, error: ArtifactError) -> ObjectError {
    match error {
        ArtifactError::Abandoned { .. } => ObjectError::Interrupted { uri: uri.clone() },
        other => other.into(),
    }
}
