//! The use cases of the registry, which every API calls.
//!
//! A use case takes a well-formed request, digests the files that it names, and runs operations over the store. This module
//! must not know HTTP or SQL.

mod artifacts;
mod error;
mod hub;
mod keys;
mod mlflow;
mod models;
mod ordered;
mod policies;
mod webhooks;

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    actors::{Artifacts, Database, Deliverer, Feed, Hasher, NotReady, QueueDepth, Render},
    domain::{
        Architecture, Draft, Evaluation, Force, Gate, LabelReuse, Measurement, Patch, Precondition,
        Principal, Refusal, Scope, Status, Timestamp, Version, VersionRef, VersionRow, files::FileQuery,
        json::compact, suites::suites,
    },
    store::{FilePage, WriteStore, list_files, operations},
};

pub use crate::store::{Followed, ReadStore, StoreError, VisitVersions};
pub use artifacts::{Bytes, MIN_GRACE};
pub use error::RegistryError;
pub use hub::{HubFiles, HubModels, HubRefs};
pub use keys::{KeyCheck, REFRESH_INTERVAL};
pub use models::AliasChange;
pub use policies::{ListedApproval, PolicyTest};

use keys::StoredKeys;

/// Returns the current time. Each run of a change calls it once.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Returns the clock of this machine.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Timestamp::from_unix_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
    })
}

/// The configured rules and limits.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The condition for production.
    pub gate: Gate,
    /// The largest payload of an event, in bytes.
    pub max_event_payload_bytes: usize,
    /// The largest metrics of a version, in bytes of JSON.
    pub max_metrics_bytes: usize,
    /// True if MLflow's API deletes no version that is in production.
    pub protect_production: bool,
    /// True if clients may name files on the server's disk, which it then reads.
    pub allow_local_paths: bool,
    /// The largest file that is digested, in bytes.
    pub max_hash_bytes: u64,
}

/// Who requests a change.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name in the audit trail.
    pub actor: String,
    /// What it may do.
    pub principal: Arc<Principal>,
    /// The address that the request came from.
    pub host: Option<String>,
    /// What policies warn of, once the change is committed.
    pub warnings: Warnings,
}

/// What policies warn of; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Takes what was noted.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, warnings: Vec<String>) {
        if !warnings.is_empty() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(warnings);
        }
    }
}

/// A change of a version: who requests it, and the state that it requires.
#[derive(Debug, Clone)]
pub struct Change {
    /// The version, which is looked up in the transaction of the change.
    pub version: VersionRef,
    /// The state that the caller expects.
    pub precondition: Precondition,
    /// Who requests the change.
    pub caller: Caller,
}

/// The result of a use case.
pub type Result<T> = std::result::Result<T, RegistryError>;

/// The registry; clones share it.
#[derive(Clone)]
pub struct Registry {
    parts: Arc<Parts>,
    artifacts: Option<Artifacts>,
    deliverer: Option<Deliverer>,
}

struct Parts {
    database: Database,
    hasher: Hasher,
    rules: Rules,
    clock: Clock,
    keys: StoredKeys,
}

/// Reading.
#[allow(clippy::missing_errors_doc, reason = "as `RegistryError` says")]
impl Registry {
    /// Creates a registry from its actors.
    #[must_use]
    pub fn new(database: Database, hasher: Hasher, rules: Rules, clock: Clock) -> Self {
        Self {
            parts: Arc::new(Parts { database, hasher, rules, clock, keys: StoredKeys::default() }),
            artifacts: None,
            deliverer: None,
        }
    }

    /// Reads the store, on one of its readers.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn ReadStore) -> std::result::Result<T, StoreError> + Send + 'static,
    ) -> Result<T> {
        Ok(self.parts.database.read(read).await?)
    }

    /// Starts the feed of new events, which `render` writes. Must be called inside an actix system.
    #[must_use]
    pub fn feed(&self, render: Render) -> Feed {
        Feed::start(self.parts.database.clone(), render)
    }

    /// Views a version: `view` writes the answer from the row while the database holds it in memory.
    pub async fn model<T: Send + 'static>(
        &self,
        version: VersionRef,
        view: impl FnOnce(&VersionRow<'_>) -> T + Send + 'static,
    ) -> Result<T> {
        let answer = self.read(move |store| {
            let (mut view, mut answer) = (Some(view), None);
            let mut visit = |row: VersionRow<'_>| answer = view.take().map(|view| view(&row));
            store.version(&version, &mut visit)?;
            Ok(answer.ok_or_else(|| version.missing()))
        });
        Ok(answer.await??)
    }

    /// Returns the scores of a version by suite, as JSON text; with `suite`, only the scores of that suite.
    pub async fn suites(&self, version: VersionRef, suite: Option<String>) -> Result<String> {
        let read = |model: &VersionRow<'_>| (model.id, suites(model.metrics.as_deref()));
        let (id, mut suites) = self.model(version, read).await?;
        let Some(suite) = suite else { return Ok(compact(&suites)) };
        suites.retain(|name, _| *name == suite);
        if suites.is_empty() {
            return Err(Refusal::NotFound(format!(
                "the version with id {id} has no scores of the suite {suite:?}"
            ))
            .into());
        }
        Ok(compact(&suites))
    }

    /// Returns a page of the files of a version.
    pub async fn files(&self, query: FileQuery) -> Result<FilePage> {
        self.read(move |store| list_files(store, &query)).await
    }

    /// Checks that a change can be committed now.
    ///
    /// # Errors
    /// [`NotReady`] says why not.
    pub async fn ready(&self) -> std::result::Result<(), NotReady> {
        self.parts.database.ready().await
    }

    /// Returns the depth of each queue.
    #[must_use]
    pub fn queue_depths(&self) -> Vec<QueueDepth> {
        let mut depths = self.parts.database.depths();
        depths.push(self.parts.hasher.depth());
        depths.extend(self.artifacts.iter().flat_map(Artifacts::depths));
        depths
    }
}

/// Changing. Each method returns once the change is committed, with the version as it then is.
#[allow(clippy::missing_errors_doc, reason = "see `RegistryError` and the operations")]
impl Registry {
    /// Registers a version.
    pub async fn register(&self, mut draft: Draft, reuse: LabelReuse, caller: Caller) -> Result<Version> {
        // The operation checks this again; files and blobs are only for callers that may register.
        caller.principal.require(&Scope::Register, Some(&draft.name))?;
        if draft.checkpoint.path.is_some() || draft.config.path.is_some() {
            self.require_local_paths()?;
            // The operation checks this again; checking it here avoids digesting a long file needlessly.
            let (name, version) = (draft.name.clone(), draft.label.clone());
            let taken = self.read(move |store| {
                let mut taken = None;
                let version = VersionRef::Label(name, version);
                store.version(&version, &mut |row| taken = Some(row.id))?;
                Ok(taken)
            });
            if let Some(id) = taken.await? {
                return Err(Refusal::taken(&draft.name, &draft.label, id).into());
            }
            let limit = self.parts.rules.max_hash_bytes;
            let config = async |path: Option<&str>| match path {
                None => Ok(None),
                Some(path) => self.parts.hasher.read_config(path.into(), limit).await.map(Some),
            };
            let (checkpoint, config) = tokio::join!(
                self.measure(draft.checkpoint.path.as_deref()),
                config(draft.config.path.as_deref())
            );
            if let Some(measurement) = checkpoint? {
                draft.checkpoint.measured("checkpoint", &measurement)?;
            }
            if let Some((measurement, config)) = config? {
                draft.config.measured("config", &measurement)?;
                draft.architecture = draft.architecture.or(Architecture::from_config(&config));
            }
        }
        if let Some(manifest) = draft.manifest.as_deref().filter(|_| draft.is_stored) {
            self.expect_blobs(manifest).await?;
        }
        draft.resolve_artifact_uri()?;
        draft.provenance.created_by.get_or_insert_with(|| caller.actor.clone());
        draft.provenance.source_host = draft.provenance.source_host.or_else(|| caller.host.clone());
        self.change(caller, move |store, context| operations::register(store, draft.clone(), reuse, context))
            .await
    }

    /// Changes the fields that `patch` gives.
    pub async fn update(&self, change: Change, mut patch: Patch) -> Result<Version> {
        let Change { version, precondition, caller } = change;
        if patch.checkpoint.path.is_some() || patch.config.path.is_some() {
            self.require_local_paths()?;
            // As in `register`.
            self.model(version.clone(), {
                let (patch, precondition) = (patch.clone(), precondition.clone());
                let principal = Arc::clone(&caller.principal);
                move |row| {
                    principal.require(&Scope::Register, Some(&row.name))?;
                    precondition.check(row).and_then(|()| patch.check_allowed(row))
                }
            })
            .await??;
            let (checkpoint, config) = tokio::join!(
                self.measure(patch.checkpoint.path.as_deref()),
                self.measure(patch.config.path.as_deref())
            );
            patch.measured(checkpoint?.as_ref(), config?.as_ref())?;
        }
        self.change(caller, move |store, context| {
            let id = operations::find_version(store, &version)?;
            operations::update(store, id, &patch, &precondition, context)
        })
        .await
    }

    /// Changes the status of a version.
    pub async fn promote(&self, change: Change, to: Status) -> Result<Version> {
        let Change { version, precondition, caller } = change;
        self.change(caller, move |store, context| {
            let id = operations::find_version(store, &version)?;
            operations::promote(store, id, to, None, &precondition, context)
        })
        .await
    }

    /// Merges the scores of a suite into a version's metrics.
    pub async fn record_metrics(&self, change: Change, evaluation: Evaluation) -> Result<Version> {
        let Change { version, precondition, caller } = change;
        self.change(caller, move |store, context| {
            let id = operations::find_version(store, &version)?;
            operations::record_metrics(store, id, &evaluation, &precondition, context)
        })
        .await
    }

    /// Deletes a version; an immutable one only with `force`.
    pub async fn delete(&self, change: Change, force: Force) -> Result<()> {
        let Change { version, precondition, caller } = change;
        self.change(caller, move |store, context| {
            let id = operations::find_version(store, &version)?;
            operations::delete(store, id, force, &precondition, context)
        })
        .await
    }

    /// Finishes the queued jobs and stops the actors. Blocks; call it once.
    pub fn close(&self) {
        self.deliverer.iter().for_each(Deliverer::close);
        self.parts.hasher.close();
        self.artifacts.iter().for_each(Artifacts::close);
        self.parts.database.close();
    }

    async fn change<T: Send + 'static>(
        &self,
        caller: Caller,
        operation: impl Fn(&mut dyn WriteStore, &operations::Context<'_>) -> std::result::Result<T, StoreError>
        + Send
        + 'static,
    ) -> Result<T> {
        let parts = Arc::clone(&self.parts);
        let warnings = caller.warnings.clone();
        let write = move |store: &mut dyn WriteStore| {
            let context = operations::Context {
                actor: &caller.actor,
                principal: &caller.principal,
                now: (parts.clock)(),
                gate: &parts.rules.gate,
                max_event_payload_bytes: parts.rules.max_event_payload_bytes,
                max_metrics_bytes: parts.rules.max_metrics_bytes,
                warnings: RefCell::default(),
            };
            let done = operation(store, &context)?;
            Ok((done, context.warnings.into_inner()))
        };
        let (done, noted) = self.parts.database.write(write).await?;
        warnings.note(noted);
        Ok(done)
    }

    fn require_local_paths(&self) -> Result<()> {
        if self.parts.rules.allow_local_paths {
            return Ok(());
        }
        Err(Refusal::Invalid(
            "this server does not read files on its own disk; send digests and sizes in place of \
             checkpoint_path and config_path, or set CAIA_REGISTRY_ALLOW_LOCAL_PATHS=1 on the server"
                .to_owned(),
        )
        .into())
    }

    async fn measure(&self, path: Option<&str>) -> Result<Option<Measurement>> {
        let Some(path) = path else { return Ok(None) };
        let limit = self.parts.rules.max_hash_bytes;
        Ok(Some(self.parts.hasher.measure(path.into(), limit).await?))
    }
}

/// Returns bytes from the system's source of randomness, such as for a secret.
fn random<const BYTES: usize>() -> Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| RegistryError::Failed(format!("the system has no randomness: {error}")))?;
    Ok(bytes)
}
