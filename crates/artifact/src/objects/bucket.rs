//! A connection to one bucket: the runtime, interruption, and lookups of objects.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use object_store::{Attribute, GetOptions, path::Path};
use tokio::runtime::Runtime;

use super::{
    connect::{self, ObjectOptions, StoreClient},
    error::{self, ObjectError},
    uri::{ObjectUri, UriError},
};
use registry_domain::Digest;

/// The name of the metadata that holds the SHA-256 of an object's bytes, as 64 hex digits.
pub(super) const DIGEST_METADATA: &str = "sha256";

/// How often a caller that waits for the network checks for an interruption.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long a short request may still take after an interruption.
pub(super) const GRACE_PERIOD: Duration = Duration::from_secs(10);

/// The maximum number of parts that S3 and GCS allow.
const MAX_PARTS: u64 = 10_000;

/// How files are split into parts. The defaults suit every store; tests set smaller ones.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Bytes of a part; larger only if `MAX_PARTS` of them would not hold the file. S3 requires at least 5 MiB.
    pub part_bytes: usize,
    /// Parts in flight at once. One more is being filled, and that is all the memory an upload takes.
    pub parts_at_once: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { part_bytes: 8 << 20, parts_at_once: 4 }
    }
}

impl Sizes {
    /// Returns the bytes of a part for a file of this size: whole MiB if it is not the default.
    pub(super) fn part_for(&self, size_bytes: u64) -> usize {
        let needed = size_bytes.div_ceil(MAX_PARTS).next_multiple_of(1 << 20);
        self.part_bytes.max(usize::try_from(needed).unwrap_or(usize::MAX))
    }
}

/// A connection to the store of one bucket.
#[derive(Debug)]
pub struct Objects {
    pub(super) runtime: Runtime,
    pub(super) client: Arc<StoreClient>,
    pub(super) sizes: Sizes,
    /// Any object of the bucket.
    bucket_of: ObjectUri,
}

/// What a store knows about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was stored.
    pub stored_at: SystemTime,
    /// Its digest, if its metadata has one; else [`Objects::measure`] computes it.
    pub sha256: Option<Digest>,
}

impl ObjectInfo {
    /// Returns true if the object is known to have these bytes.
    pub(super) fn matches(&self, size_bytes: u64, digest: Digest) -> bool {
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
            // Requests have their own.
            .worker_threads(1)
            .thread_name("objects")
            .enable_all()
            .build()
            .map_err(|error| ObjectError::BadSettings(format!("no thread for the network: {error}")))?;
        let client = runtime.block_on(connect::connect(uri, options, variable))?;
        let sizes = Sizes::default();
        Ok(Self { runtime, client: Arc::new(client), sizes, bucket_of: uri.clone() })
    }

    /// Splits files differently than by default.
    #[must_use]
    pub fn with_sizes(mut self, sizes: Sizes) -> Self {
        self.sizes = sizes;
        self
    }

    /// Returns true if this connection serves the bucket of `uri`.
    #[must_use]
    pub fn serves(&self, uri: &ObjectUri) -> bool {
        (uri.scheme(), uri.bucket()) == (self.bucket_of.scheme(), self.bucket_of.bucket())
    }

    /// Looks up the object at `uri`; `None` only if the bucket exists and has no such object.
    ///
    /// # Errors
    /// [`ObjectError::NoBucket`], [`ObjectError::Interrupted`], and any failure of the store.
    pub fn find(
        &self,
        uri: &ObjectUri,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<ObjectInfo>, ObjectError> {
        self.check_bucket(uri)?;
        let found = self.run(interrupted, Duration::ZERO, self.client.find(uri));
        found.unwrap_or_else(|| Err(ObjectError::Interrupted { uri: uri.clone() }))
    }

    /// Refuses an object of another bucket: the stores' client knows one bucket and would look for any key in it.
    pub(super) fn check_bucket(&self, uri: &ObjectUri) -> Result<(), ObjectError> {
        if self.serves(uri) {
            return Ok(());
        }
        let reason = format!("this connection is for the bucket of {}", self.bucket_of);
        Err(ObjectError::Failed { uri: uri.clone(), reason })
    }

    /// Runs `work`. After an interruption it has `grace` left, for work whose outcome would be unknown if it were dropped;
    /// returns `None` if it takes longer.
    pub(super) fn run<T>(
        &self,
        interrupted: &dyn Fn() -> bool,
        grace: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        self.runtime.block_on(async {
            let mut work = pin!(work);
            let mut deadline = None;
            loop {
                tokio::select! {
                    biased;
                    done = &mut work => return Some(done),
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
                }
                if deadline.is_none() && interrupted() {
                    deadline = Some(Instant::now() + grace);
                }
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return None;
                }
            }
        })
    }
}

impl StoreClient {
    pub(super) async fn find(&self, uri: &ObjectUri) -> Result<Option<ObjectInfo>, ObjectError> {
        let path = path(uri)?;
        let answer = match self.store.get_opts(&path, GetOptions::new().with_head(true)).await {
            Ok(answer) => answer,
            Err(error) => return self.explain(uri, &path, error).await,
        };
        let digest = answer.attributes.get(&Attribute::Metadata(DIGEST_METADATA.into()));
        let sha256 = digest.and_then(|text| Digest::parse(DIGEST_METADATA, text).ok().flatten());
        let stored_at = answer.meta.last_modified.into();
        Ok(Some(ObjectInfo { size_bytes: answer.meta.size, stored_at, sha256 }))
    }

    /// Explains a refused HEAD, which has no body: a missing bucket looks like a missing object, and a wrong secret like a
    /// missing permission. The same request as a GET has a reason; if it succeeds, only its head is read.
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
            true => self.store.get_opts(path, GetOptions::new()).await.err(),
            false => None,
        };
        match error::classify(&self.target, uri, with_reason.as_ref().unwrap_or(&error)) {
            ObjectError::Missing { .. } => Ok(None),
            other => Err(other),
        }
    }
}

/// Returns the object's name for the stores' client.
pub(super) fn path(uri: &ObjectUri) -> Result<Path, ObjectError> {
    Path::parse(uri.key()).map_err(|error| UriError::new(&uri.to_string(), error.to_string()).into())
}
