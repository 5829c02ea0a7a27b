//! The use cases of the registry, which every API calls.
//!
//! A use case turns a request of valid form into operations over the store. This module must not know HTTP or SQL.

mod error;

use std::{ops::ControlFlow, sync::Arc};

use crate::{
    actors::{Database, Hasher, NotReady, QueueDepth},
    domain::{
        Architecture, ComparedModel, Draft, Evaluation, Event, EventQuery, Gate, ListQuery, Measurement,
        Model, ModelId, ModelRow, Page, Patch, Precondition, Refusal, Stats, Status, Timestamp,
        json::compact, suites::suites,
    },
    store::{ReadStore, StoreError, WriteStore, operations},
};

pub use error::RegistryError;

/// Returns the current time. Called once for each run of a change.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of this machine.
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
    /// What a production version must show.
    pub gate: Gate,
    /// The largest payload of an event, in bytes.
    pub max_event_payload_bytes: usize,
    /// The largest metrics of a version, in bytes of JSON.
    pub max_metrics_bytes: usize,
    /// Clients may name files on the server's disk, which it then reads.
    pub allow_local_paths: bool,
    /// The largest file that is digested, in bytes.
    pub max_hash_bytes: u64,
}

/// Who requests a change.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name in the audit trail.
    pub actor: String,
    /// The address that the request came from.
    pub host: Option<String>,
}

/// The result of a use case.
pub type Result<T> = std::result::Result<T, RegistryError>;

/// The registry; clones share it.
#[derive(Clone)]
pub struct Registry {
    parts: Arc<Parts>,
}

struct Parts {
    database: Database,
    hasher: Hasher,
    rules: Rules,
    clock: Clock,
}

/// Reading. `view` and `add` write the answer from a row while the database holds it in memory.
#[allow(clippy::missing_errors_doc, reason = "as `RegistryError` says")]
impl Registry {
    /// Makes a registry of its actors.
    #[must_use]
    pub fn new(database: Database, hasher: Hasher, rules: Rules, clock: Clock) -> Self {
        Self { parts: Arc::new(Parts { database, hasher, rules, clock }) }
    }

    /// Views the version with this id.
    pub async fn model<T: Send + 'static>(
        &self,
        id: ModelId,
        view: impl FnOnce(&ModelRow<'_>) -> T + Send + 'static,
    ) -> Result<T> {
        let answer = self.one(view, move |store, visit| store.model(id, visit)).await?;
        answer.ok_or_else(|| Refusal::no_model(id).into())
    }

    /// Views the version with this name and version.
    pub async fn model_by_name<T: Send + 'static>(
        &self,
        name: String,
        version: String,
        view: impl FnOnce(&ModelRow<'_>) -> T + Send + 'static,
    ) -> Result<T> {
        let missing = Refusal::NotFound(format!("there is no version {version:?} of {name:?}"));
        let answer = self.one(view, move |store, visit| store.model_by_name(&name, &version, visit)).await?;
        answer.ok_or_else(|| missing.into())
    }

    /// Views the production version of this name.
    pub async fn production<T: Send + 'static>(
        &self,
        name: String,
        view: impl FnOnce(&ModelRow<'_>) -> T + Send + 'static,
    ) -> Result<T> {
        let missing = Refusal::NotFound(format!("{name:?} has no production version"));
        let answer = self.one(view, move |store, visit| store.production(&name, visit)).await?;
        answer.ok_or_else(|| missing.into())
    }

    /// Adds each version of a page to `answer` until `add` stops. Also returns the ids of the versions that were not added.
    pub async fn models<A: Send + 'static>(
        &self,
        query: ListQuery,
        mut answer: A,
        add: impl Fn(&mut A, &ModelRow<'_>) -> ControlFlow<()> + Send + 'static,
    ) -> Result<(A, Page, Vec<ModelId>)> {
        let read = move |store: &mut dyn ReadStore| {
            let (page, rest) = store.models(&query, &mut |row| add(&mut answer, &row))?;
            Ok((answer, page, rest))
        };
        Ok(self.parts.database.read(read).await?)
    }

    /// Adds each version of `ids` that exists to `answer`, in this order, until `add` stops.
    pub async fn models_with_ids<A: Send + 'static>(
        &self,
        ids: Vec<ModelId>,
        mut answer: A,
        add: impl Fn(&mut A, &ModelRow<'_>) -> ControlFlow<()> + Send + 'static,
    ) -> Result<A> {
        let read = move |store: &mut dyn ReadStore| {
            store.models_with_ids(&ids, &mut |row| add(&mut answer, &row))?;
            Ok(answer)
        };
        Ok(self.parts.database.read(read).await?)
    }

    /// Returns what is needed to compare the versions of `ids` that exist, by ascending id.
    pub async fn compared_models(&self, ids: Vec<ModelId>) -> Result<Vec<ComparedModel>> {
        Ok(self.parts.database.read(move |store| store.compared_models(&ids)).await?)
    }

    /// Adds each event of a page to `answer` until `add` stops.
    pub async fn events<A: Send + 'static>(
        &self,
        query: EventQuery,
        mut answer: A,
        add: impl Fn(&mut A, &Event<'_>) -> ControlFlow<()> + Send + 'static,
    ) -> Result<(A, Page)> {
        let read = move |store: &mut dyn ReadStore| {
            let page = store.events(&query, &mut |event| add(&mut answer, &event))?;
            Ok((answer, page))
        };
        Ok(self.parts.database.read(read).await?)
    }

    /// Returns the scores of a version by suite, as JSON text; with `suite`, only the scores of that suite.
    pub async fn suites(&self, id: ModelId, suite: Option<String>) -> Result<String> {
        let mut suites = self.model(id, |model| suites(model.metrics.as_deref())).await?;
        let Some(suite) = suite else { return Ok(compact(&suites)) };
        suites.retain(|name, _| *name == suite);
        if suites.is_empty() {
            return Err(Refusal::NotFound(format!("model {id} has no scores of the suite {suite:?}")).into());
        }
        Ok(compact(&suites))
    }

    /// Counts the versions.
    pub async fn stats(&self) -> Result<Stats> {
        Ok(self.parts.database.read(|store| store.stats()).await?)
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
        depths
    }

    /// Views the row that `find` visits, if there is one.
    async fn one<T: Send + 'static>(
        &self,
        view: impl FnOnce(&ModelRow<'_>) -> T + Send + 'static,
        find: impl FnOnce(
            &mut dyn ReadStore,
            &mut dyn FnMut(ModelRow<'_>),
        ) -> std::result::Result<bool, StoreError>
        + Send
        + 'static,
    ) -> Result<Option<T>> {
        let read = move |store: &mut dyn ReadStore| {
            let (mut view, mut answer) = (Some(view), None);
            find(store, &mut |row| answer = view.take().map(|view| view(&row)))?;
            Ok(answer)
        };
        Ok(self.parts.database.read(read).await?)
    }
}

/// Changing. Each returns the version as committed.
#[allow(clippy::missing_errors_doc, reason = "as `RegistryError` and the operations say")]
impl Registry {
    /// Registers a version.
    pub async fn register(&self, mut draft: Draft, caller: Caller) -> Result<Model> {
        if draft.checkpoint.path.is_some() || draft.config.path.is_some() {
            self.require_local_paths()?;
            // Spares reading a long file in vain; the operation checks again.
            let (name, version) = (draft.name.clone(), draft.version.clone());
            let find = move |store: &mut dyn ReadStore, visit: &mut dyn FnMut(ModelRow<'_>)| {
                store.model_by_name(&name, &version, visit)
            };
            if let Some(id) = self.one(|taken| taken.id, find).await? {
                return Err(Refusal::taken(&draft.name, &draft.version, id).into());
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
        draft.resolve_artifact_uri()?;
        draft.provenance.created_by.get_or_insert_with(|| caller.actor.clone());
        draft.provenance.source_host = draft.provenance.source_host.or_else(|| caller.host.clone());
        self.change(caller, move |store, context| operations::register(store, draft.clone(), context)).await
    }

    /// Changes the fields that `patch` gives.
    pub async fn update(
        &self,
        id: ModelId,
        mut patch: Patch,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<Model> {
        if patch.checkpoint.path.is_some() || patch.config.path.is_some() {
            self.require_local_paths()?;
            // Spares reading a long file in vain; the operation checks again.
            self.model(id, {
                let (patch, precondition) = (patch.clone(), precondition.clone());
                move |row| precondition.check(row).and_then(|()| patch.permitted(row))
            })
            .await??;
            let (checkpoint, config) = tokio::join!(
                self.measure(patch.checkpoint.path.as_deref()),
                self.measure(patch.config.path.as_deref())
            );
            patch.measured(checkpoint?.as_ref(), config?.as_ref())?;
        }
        self.change(caller, move |store, context| {
            operations::update(store, id, &patch, &precondition, context)
        })
        .await
    }

    /// Gives a version another status.
    pub async fn promote(
        &self,
        id: ModelId,
        to: Status,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<Model> {
        self.change(caller, move |store, context| operations::promote(store, id, to, &precondition, context))
            .await
    }

    /// Merges the scores of a suite into a version's metrics.
    pub async fn record_metrics(
        &self,
        id: ModelId,
        evaluation: Evaluation,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<Model> {
        self.change(caller, move |store, context| {
            operations::record_metrics(store, id, &evaluation, &precondition, context)
        })
        .await
    }

    /// Deletes a version; an immutable one only with `force`.
    pub async fn delete(
        &self,
        id: ModelId,
        force: bool,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        self.change(caller, move |store, context| {
            operations::delete(store, id, force, &precondition, context)
        })
        .await
    }

    /// Finishes what is queued and stops the actors. Blocks; called once.
    pub fn close(&self) {
        self.parts.hasher.close();
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
        let write = move |store: &mut dyn WriteStore| {
            let context = operations::Context {
                actor: &caller.actor,
                now: (parts.clock)(),
                gate: &parts.rules.gate,
                max_event_payload_bytes: parts.rules.max_event_payload_bytes,
                max_metrics_bytes: parts.rules.max_metrics_bytes,
            };
            operation(store, &context)
        };
        Ok(self.parts.database.write(write).await?)
    }

    fn require_local_paths(&self) -> Result<()> {
        if self.parts.rules.allow_local_paths {
            return Ok(());
        }
        Err(Refusal::Invalid(
            "this server reads no files of its own disk; send digests and sizes in place of \
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
