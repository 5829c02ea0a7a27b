//! The use cases: what can be asked of the registry and done to it. Every face of it calls these.
//!
//! A use case turns a request, already checked for its form, into operations over the store. This room
//! must not know HTTP or SQL.

mod error;

use std::{ops::ControlFlow, sync::Arc};

use crate::{
    actors::{Database, Hasher, NotReady, QueueDepth},
    domain::{
        Architecture, Contender, Draft, Evaluation, Event, EventQuery, Gate, ListQuery, Measurement, Model,
        ModelId, ModelRow, Page, Patch, Precondition, Refusal, Stats, Status, Timestamp, json::compact,
        suites::suites,
    },
    store::{ReadStore, StoreError, WriteStore, operations},
};

pub use error::RegistryError;

/// Tells the time. Asked once for each change.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of this machine.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Timestamp::from_unix_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
    })
}

/// What this registry is set to keep to.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What a production version has to show.
    pub gate: Gate,
    /// The largest payload of an event, in bytes.
    pub max_event_payload_bytes: usize,
    /// The largest metrics of a version, in bytes of JSON.
    pub max_metrics_bytes: usize,
    /// Whether the server reads files of its own disk that a client names.
    pub allow_local_paths: bool,
    /// The largest file that is digested, in bytes.
    pub max_hash_bytes: u64,
}

/// Who makes a change.
#[derive(Debug, Clone)]
pub struct Caller {
    /// As the audit trail names them.
    pub actor: String,
    /// The address they call from.
    pub host: Option<String>,
}

/// A result of a use case.
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

/// Reading. Each takes a `view` that makes the answer of the row while it lies in the database's page.
#[allow(clippy::missing_errors_doc, reason = "as `RegistryError` says")]
impl Registry {
    /// A registry over its actors.
    #[must_use]
    pub fn new(database: Database, hasher: Hasher, rules: Rules, clock: Clock) -> Self {
        Self { parts: Arc::new(Parts { database, hasher, rules, clock }) }
    }

    /// The version with this id.
    pub async fn model<T: Send + 'static>(
        &self,
        id: ModelId,
        view: impl FnOnce(&ModelRow<'_>) -> T + Send + 'static,
    ) -> Result<T> {
        let found = self.one(view, move |store, visit| store.model(id, visit)).await?;
        found.ok_or_else(|| Refusal::no_model(id).into())
    }

    /// The version with this name and version.
    pub async fn model_by_name<T: Send + 'static>(
        &self,
        name: String,
        version: String,
        view: impl FnOnce(&ModelRow<'_>) -> T + Send + 'static,
    ) -> Result<T> {
        let missing = Refusal::NotFound(format!("there is no version {version:?} of {name:?}"));
        let found = self.one(view, move |store, visit| store.model_by_name(&name, &version, visit)).await?;
        found.ok_or_else(|| missing.into())
    }

    /// The production version of this name.
    pub async fn production<T: Send + 'static>(
        &self,
        name: String,
        view: impl FnOnce(&ModelRow<'_>) -> T + Send + 'static,
    ) -> Result<T> {
        let missing = Refusal::NotFound(format!("{name:?} has no production version"));
        let found = self.one(view, move |store, visit| store.production(&name, visit)).await?;
        found.ok_or_else(|| missing.into())
    }

    /// A page of versions; `add` puts each into `answer`, until it stops. Also returns the ids of the versions on the
    /// page that come after that.
    pub async fn models<A: Send + 'static>(
        &self,
        query: ListQuery,
        mut answer: A,
        add: impl Fn(&mut A, &ModelRow<'_>) -> ControlFlow<()> + Send + 'static,
    ) -> Result<(A, Page, Vec<ModelId>)> {
        let read = move |store: &mut dyn ReadStore| {
            let (page, rest) = store.models_until(&query, &mut |row| add(&mut answer, &row))?;
            Ok((answer, page, rest))
        };
        Ok(self.parts.database.read(read).await?)
    }

    /// Those of `ids` that exist, in this order; `add` puts each into `answer`, until it stops.
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

    /// What versions are compared by: those of `ids` that exist, by rising id.
    pub async fn contenders(&self, ids: Vec<ModelId>) -> Result<Vec<Contender>> {
        Ok(self.parts.database.read(move |store| store.contenders(&ids)).await?)
    }

    /// A page of a version's events; `add` puts each into `answer`, until it stops.
    pub async fn events<A: Send + 'static>(
        &self,
        query: EventQuery,
        mut answer: A,
        add: impl Fn(&mut A, &Event<'_>) -> ControlFlow<()> + Send + 'static,
    ) -> Result<(A, Page)> {
        let read = move |store: &mut dyn ReadStore| {
            let page = store.events_until(&query, &mut |event| add(&mut answer, &event))?;
            Ok((answer, page))
        };
        Ok(self.parts.database.read(read).await?)
    }

    /// The scores of a version by suite, as JSON text; with `suite`, of that one only.
    pub async fn suites(&self, id: ModelId, suite: Option<String>) -> Result<String> {
        let mut suites = self.model(id, |model| suites(model.metrics.as_deref())).await?;
        let Some(suite) = suite else { return Ok(compact(&suites)) };
        suites.retain(|name, _| *name == suite);
        if suites.is_empty() {
            return Err(Refusal::NotFound(format!("model {id} has no scores of the suite {suite:?}")).into());
        }
        Ok(compact(&suites))
    }

    /// How many versions there are.
    pub async fn stats(&self) -> Result<Stats> {
        Ok(self.parts.database.read(|store| store.stats()).await?)
    }

    /// Whether a change could be kept now.
    ///
    /// # Errors
    /// [`NotReady`] says why not.
    pub async fn ready(&self) -> std::result::Result<(), NotReady> {
        self.parts.database.ready().await
    }

    /// How full the queues are.
    #[must_use]
    pub fn queue_depths(&self) -> Vec<QueueDepth> {
        let mut depths = self.parts.database.depths();
        depths.push(self.parts.hasher.depth());
        depths
    }

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

/// Changing. The answer is the version as it is after the commit.
#[allow(clippy::missing_errors_doc, reason = "as `RegistryError` and the operations say")]
impl Registry {
    /// Registers a version.
    pub async fn register(&self, mut draft: Draft, caller: Caller) -> Result<Model> {
        if draft.checkpoint.path.is_some() || draft.config.path.is_some() {
            self.require_local_paths()?;
            // Before a long file is read for nothing; the writer decides.
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
            if let Some(found) = checkpoint? {
                draft.checkpoint.measured("checkpoint", &found)?;
            }
            if let Some((found, config)) = config? {
                draft.config.measured("config", &found)?;
                draft.architecture = draft.architecture.or(Architecture::from_config(&config));
            }
        }
        draft.resolve_artifact_uri()?;
        draft.provenance.created_by.get_or_insert_with(|| caller.actor.clone());
        draft.provenance.source_host = draft.provenance.source_host.or_else(|| caller.host.clone());
        self.change(caller, move |store, context| operations::register(store, draft, context)).await
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
            // Before a long file is read for nothing; the writer decides.
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
            operations::record_metrics(store, id, evaluation, &precondition, context)
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

    /// Ends the actors once they have done what is waiting. Blocks; to be called once.
    pub fn close(&self) {
        self.parts.hasher.close();
        self.parts.database.close();
    }

    async fn change<T: Send + 'static>(
        &self,
        caller: Caller,
        operation: impl FnOnce(
            &mut dyn WriteStore,
            &operations::Context<'_>,
        ) -> std::result::Result<T, StoreError>
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
