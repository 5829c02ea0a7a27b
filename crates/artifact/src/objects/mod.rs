//! Artifacts in object stores: `s3://`, `gs://` and `az://`.
//!
//! A facade that blocks: the runtime that the network needs lives inside, and callers are told of progress
//! and asked whether to go on. What is uploaded carries its SHA-256 as metadata, so that later its identity
//! can be asked for without reading it. This room knows files, digests and the network; neither the
//! registry nor the terminal.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use object_store::{Attribute, GetOptions, path::Path};
use tokio::runtime::Runtime;

use registry_domain::Digest;

mod annotate;
mod connect;
mod download;
mod error;
mod parts;
mod patience;
mod request;
mod settings;
mod upload;
mod uri;

use annotate::Revision;
use connect::{Connected, Shared};
pub use connect::{DEFAULT_S3_REGION, ObjectOptions, S3_ENDPOINT_VARIABLES};
pub use error::ObjectError;
use request::Asking;
pub use upload::{Replace, Sizes};
pub use uri::{ObjectUri, Scheme};

/// The name of the metadata that holds the SHA-256 of an object's bytes, as 64 hex digits.
pub const DIGEST_METADATA: &str = "sha256";

/// How often somebody who waits for the network is asked whether to go on waiting.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// How long a short request may still take after somebody wanted all of it to end.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

/// Requests at once, each on its way through a thread of the runtime.
const RUNTIME_THREADS: usize = 2;

/// A connection to the store of one bucket.
#[derive(Debug)]
pub struct Objects {
    runtime: Runtime,
    of: ObjectUri,
    shared: Shared,
    sizes: upload::Sizes,
}

/// What a store says of an object without sending it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The bytes of the object.
    pub size_bytes: u64,
    /// Its digest, where whoever put it there said so; else it can be had by [`Objects::measure`].
    pub sha256: Option<Digest>,
    revision: Revision,
    /// Whether it carries no metadata of somebody else's.
    is_bare: bool,
    /// A mark of the upload that has not got its digest yet.
    upload_mark: Option<String>,
}

impl Objects {
    /// A connection for objects in the bucket of `uri`. `variable` is asked for the variables of the
    /// environment; blank ones count as unset.
    ///
    /// # Errors
    /// [`ObjectError::BadSettings`], [`ObjectError::NoCredentials`].
    pub fn connect(
        uri: &ObjectUri,
        options: &ObjectOptions,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ObjectError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .thread_name("objects")
            .enable_all()
            .build()
            .map_err(|error| ObjectError::BadSettings(format!("no threads for the network: {error}")))?;
        let connected = runtime.block_on(connect::connect(uri, options, variable))?;
        Ok(Self { runtime, of: uri.clone(), shared: Arc::new(connected), sizes: upload::Sizes::default() })
    }

    /// What lies at `uri`; `None` only where the bucket is there and has no such object.
    ///
    /// # Errors
    /// [`ObjectError::NoBucket`], [`ObjectError::Interrupted`], and any reason why the store could not be asked.
    pub fn find(
        &self,
        uri: &ObjectUri,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Found>, ObjectError> {
        self.check_bucket(uri)?;
        let found = self.wait(interrupted, self.shared.find(uri));
        found.unwrap_or_else(|| Err(ObjectError::Interrupted { uri: uri.clone() }))
    }

    /// The client of the stores knows one bucket, and would look there for whatever key it is given.
    fn check_bucket(&self, uri: &ObjectUri) -> Result<(), ObjectError> {
        if (uri.scheme(), uri.bucket()) == (self.of.scheme(), self.of.bucket()) {
            return Ok(());
        }
        Err(ObjectError::Failed {
            uri: uri.clone(),
            reason: format!("this connection is for the bucket of {}", self.of),
        })
    }

    /// Runs `work` until it is done or `interrupted`.
    fn wait<T>(&self, interrupted: &dyn Fn() -> bool, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            let mut work = pin!(work);
            loop {
                tokio::select! {
                    biased;
                    done = &mut work => return Some(done),
                    () = tokio::time::sleep(ASK_EVERY) => if interrupted() {
                        return None;
                    },
                }
            }
        })
    }
}

impl Objects {
    /// Runs `work` that must not be dropped half done, since nobody would know what came of it. Once interrupted
    /// it has [`FINISH_WITHIN`] left; `None` where it took longer.
    fn see_through<T>(&self, interrupted: &dyn Fn() -> bool, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            let mut work = pin!(work);
            let mut until = None;
            loop {
                tokio::select! {
                    biased;
                    done = &mut work => return Some(done),
                    () = tokio::time::sleep(ASK_EVERY) => {}
                }
                if until.is_none() && interrupted() {
                    until = Some(Instant::now() + FINISH_WITHIN);
                }
                if until.is_some_and(|until| Instant::now() >= until) {
                    return None;
                }
            }
        })
    }
}

impl Connected {
    async fn find(&self, uri: &ObjectUri) -> Result<Option<Found>, ObjectError> {
        let path = path(uri)?;
        let asked = self.backend.store().get_opts(&path, GetOptions::new().with_head(true)).await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => return self.explain(uri, &path, error).await,
        };
        let metadata = |name: &'static str| answer.attributes.get(&Attribute::Metadata(name.into()));
        let sha256 =
            metadata(DIGEST_METADATA).and_then(|text| Digest::parse(DIGEST_METADATA, text).ok().flatten());
        let sha256 = match sha256 {
            None if uri.scheme() == Scheme::S3 => self.checksum(uri).await,
            stated => stated,
        };
        let is_bare = answer.attributes.iter().all(|(name, value)| match name {
            Attribute::Metadata(name) => name == upload::MARK_METADATA,
            Attribute::ContentType => value.as_ref().ends_with("/octet-stream"),
            _ => false,
        });
        Ok(Some(Found {
            is_bare,
            size_bytes: answer.meta.size,
            sha256,
            revision: Revision { e_tag: answer.meta.e_tag.clone(), version: answer.meta.version.clone() },
            upload_mark: metadata(upload::MARK_METADATA).map(|mark| mark.as_ref().to_owned()),
        }))
    }

    /// The digest that S3 itself took, where whoever put the object there in one piece asked for that. One
    /// over the digests of several parts says nothing of the bytes.
    async fn checksum(&self, uri: &ObjectUri) -> Option<Digest> {
        let asking = Asking::new("HEAD", self.url(uri)).with("x-amz-checksum-mode", "ENABLED");
        let (headers, _) = self.answer(uri, &asking).await.ok()?;
        let header = |name: &str| headers.get(name)?.to_str().ok();
        if header("x-amz-checksum-type").is_some_and(|of| of != "FULL_OBJECT") {
            return None;
        }
        let bytes = BASE64_STANDARD.decode(header("x-amz-checksum-sha256")?).ok()?;
        Some(Digest::from_bytes(bytes.try_into().ok()?))
    }

    /// The refusal of a HEAD has no body, so a missing bucket looks like a missing object and a wrong secret
    /// like a lack of rights. Another question tells them apart.
    async fn explain(
        &self,
        uri: &ObjectUri,
        path: &Path,
        error: object_store::Error,
    ) -> Result<Option<Found>, ObjectError> {
        use object_store::Error as E;
        let missing = matches!(error, E::NotFound { .. });
        if missing && uri.scheme() == Scheme::S3 {
            return match self.ask(uri, &Asking::new("HEAD", self.bucket_url(uri))).await {
                // Whoever may not list a bucket hears nothing else of it, and the object is missing all the same.
                Ok(_) | Err(ObjectError::CredentialsRefused { .. }) => Ok(None),
                Err(ObjectError::Missing { .. }) => Err(ObjectError::NoBucket {
                    bucket: uri.bucket().to_owned(),
                    endpoint: self.target.endpoint.clone(),
                }),
                Err(other) => Err(other),
            };
        }
        let with_reason =
            if missing || matches!(error, E::PermissionDenied { .. } | E::Unauthenticated { .. }) {
                // The same as a GET is answered with words; of a success nothing but the head is read.
                self.backend.store().get_opts(path, GetOptions::new()).await.err()
            } else {
                None
            };
        match error::classify(&self.target, uri, with_reason.as_ref().unwrap_or(&error)) {
            ObjectError::Missing { .. } => Ok(None),
            other => Err(other),
        }
    }
}

/// The object's name for the client of the stores. A URI that exists should have no key that this refuses.
fn path(uri: &ObjectUri) -> Result<Path, ObjectError> {
    Path::parse(uri.key())
        .map_err(|error| ObjectError::BadUri { uri: uri.to_string(), reason: error.to_string() })
}
