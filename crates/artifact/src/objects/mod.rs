//! Artifacts in object stores: `s3://`, `gs://` and `az://`.
//!
//! A blocking facade over the stores' asynchronous client; callbacks report progress and ask for interruption. An
//! uploaded object carries its SHA-256 as metadata, so its identity can be read without its bytes. This module knows
//! files, digests and the network; it must not know the registry or the terminal.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use object_store::{Attribute, GetOptions, path::Path};
use tokio::runtime::Runtime;

use registry_domain::Digest;

mod connect;
mod download;
mod error;
mod http;
mod parts;
mod patience;
mod settings;
mod upload;
mod uri;

use connect::{Connected, Shared};
pub use connect::{DEFAULT_S3_REGION, ObjectOptions, S3_ENDPOINT_VARIABLES};
pub use error::ObjectError;
pub use upload::{Replace, Sizes};
pub use uri::{ObjectUri, Scheme};

/// The name of the metadata that holds the SHA-256 of an object's bytes, as 64 hex digits.
pub const DIGEST_METADATA: &str = "sha256";

/// How often a caller that waits for the network is asked for interruption.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long a short request may still take after an interruption.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

/// Threads of the runtime; requests have their own.
const RUNTIME_THREADS: usize = 2;

/// A connection to the store of one bucket.
#[derive(Debug)]
pub struct Objects {
    runtime: Runtime,
    of: ObjectUri,
    shared: Shared,
    sizes: upload::Sizes,
}

/// What a store knows about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its digest, if its metadata has one; else [`Objects::measure`] computes it.
    pub sha256: Option<Digest>,
}

impl ObjectInfo {
    /// Returns true if the object is known to have these bytes.
    fn is(&self, size_bytes: u64, digest: Digest) -> bool {
        self.size_bytes == size_bytes && self.sha256 == Some(digest)
    }
}

impl Objects {
    /// Connects to the bucket of `uri`. `variable` looks up environment variables; blank ones count as unset.
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
            .map_err(|error| ObjectError::BadSettings(format!("the network has no threads: {error}")))?;
        let connected = runtime.block_on(connect::connect(uri, options, variable))?;
        Ok(Self { runtime, of: uri.clone(), shared: Arc::new(connected), sizes: upload::Sizes::default() })
    }

    /// Looks up the object at `uri`; `None` only if the bucket exists and has no such object.
    ///
    /// # Errors
    /// [`ObjectError::NoBucket`], [`ObjectError::Interrupted`], and any reason why the store did not answer.
    pub fn find(
        &self,
        uri: &ObjectUri,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<ObjectInfo>, ObjectError> {
        self.check_bucket(uri)?;
        let found = self.wait(interrupted, self.shared.find(uri));
        found.unwrap_or_else(|| Err(ObjectError::Interrupted { uri: uri.clone() }))
    }

    /// The stores' client knows one bucket and would look for any key in it.
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
                    () = tokio::time::sleep(POLL_INTERVAL) => if interrupted() {
                        return None;
                    },
                }
            }
        })
    }
}

impl Objects {
    /// Runs `work` whose outcome would be unknown if it were dropped. After an interruption it has [`FINISH_WITHIN`]
    /// left; returns `None` if it takes longer.
    fn see_through<T>(&self, interrupted: &dyn Fn() -> bool, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            let mut work = pin!(work);
            let mut until = None;
            loop {
                tokio::select! {
                    biased;
                    done = &mut work => return Some(done),
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
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
    async fn find(&self, uri: &ObjectUri) -> Result<Option<ObjectInfo>, ObjectError> {
        let path = path(uri)?;
        let asked = self.backend.store().get_opts(&path, GetOptions::new().with_head(true)).await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => return self.explain(uri, &path, error).await,
        };
        let digest = answer.attributes.get(&Attribute::Metadata(DIGEST_METADATA.into()));
        let sha256 = digest.and_then(|text| Digest::parse(DIGEST_METADATA, text).ok().flatten());
        Ok(Some(ObjectInfo { size_bytes: answer.meta.size, sha256 }))
    }

    /// A refused HEAD has no body, so a missing bucket looks like a missing object, and a wrong secret like a missing
    /// permission. The same request as a GET is refused in words; if it succeeds, only its head is read.
    async fn explain(
        &self,
        uri: &ObjectUri,
        path: &Path,
        error: object_store::Error,
    ) -> Result<Option<ObjectInfo>, ObjectError> {
        use object_store::Error as E;
        let is_bare =
            matches!(error, E::NotFound { .. } | E::PermissionDenied { .. } | E::Unauthenticated { .. });
        let with_reason = match is_bare {
            true => self.backend.store().get_opts(path, GetOptions::new()).await.err(),
            false => None,
        };
        match error::classify(&self.target, uri, with_reason.as_ref().unwrap_or(&error)) {
            ObjectError::Missing { .. } => Ok(None),
            other => Err(other),
        }
    }
}

/// Returns the object's name for the stores' client.
fn path(uri: &ObjectUri) -> Result<Path, ObjectError> {
    Path::parse(uri.key())
        .map_err(|error| ObjectError::BadUri { uri: uri.to_string(), reason: error.to_string() })
}
