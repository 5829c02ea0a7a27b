//! A backend in memory, for the actors' tests: a transaction is a copy, and faults happen when a test asks for them.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use model_registry::{
    domain::{
        Alias, ApiKey, Approval, ComparedVersion, Draft, EventDraft, EventQuery, Holding, KeyQuery, KeyRef,
        ListQuery, Model, ModelKey, ModelSummary, Numbering, OrderedQuery, Page, Place, Refusal, ScoreChange,
        SearchQuery, Stats, Status, StoredPolicy, Timestamp, Version, VersionFile, VersionId, VersionRef,
        query::{DeletedQuery, HistoryQuery, ModelQuery, TrailQuery},
        trail::HashedEvent,
        webhook::{
            Subscription, Webhook, WebhookId,
            delivery::{Claim, Delivery, DeliveryDraft, DeliveryState, Replay},
        },
    },
    store::{
        ApprovalQuery, Backend, FileRange, Followed, Maintenance, ReadPolicies, ReadStore, ReadWebhooks,
        Registration, SnapshotStore, StoreError, StoreSize, Transaction, Upkeep, VisitDeleted, VisitEvents,
        VisitFiles, VisitTrail, VisitVersion, VisitVersions, WritePolicies, WriteStore, WriteWebhooks,
    },
};

/// The faults to inject, and a record of calls.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// The next transaction does not begin.
    pub(crate) begin: Option<StoreError>,
    /// The next commit fails.
    pub(crate) commit: Option<StoreError>,
    /// The next insert ends the transaction, as SQLite does on a full disk.
    pub(crate) insert_ends_transaction: bool,
    /// Another process holds the lock.
    pub(crate) is_locked: bool,
    /// How long transactions waited for that lock, in all.
    pub(crate) waited: Duration,
    /// How often the writer's connection was replaced.
    pub(crate) reopened: usize,
    /// Transactions that were committed.
    pub(crate) commits: usize,
}

#[derive(Clone, Default)]
pub(crate) struct MemoryOptions {
    pub(crate) faults: Arc<Mutex<Faults>>,
    pub(crate) write_timeout: Duration,
}

pub(crate) struct Memory {
    options: MemoryOptions,
    committed: Arc<Mutex<Vec<Version>>>,
}

pub(crate) struct MemoryReader {
    committed: Arc<Mutex<Vec<Version>>>,
}

pub(crate) struct MemoryWriter {
    faults: Arc<Mutex<Faults>>,
    committed: Arc<Mutex<Vec<Version>>>,
    transaction: Option<Vec<Version>>,
    rows_written: u64,
}

pub(crate) struct NoMaintenance;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn absent<T>() -> Result<T, StoreError> {
    Err(StoreError::Failed("the backend of these tests can't do this".to_owned()))
}

impl Backend for Memory {
    type Options = MemoryOptions;
    type OpenError = Infallible;
    type Reader = MemoryReader;
    type Writer = MemoryWriter;
    type Maintenance = NoMaintenance;

    fn open(options: &MemoryOptions, _: Timestamp) -> Result<(Self, MemoryWriter), Infallible> {
        let committed = Arc::<Mutex<Vec<Version>>>::default();
        let writer = MemoryWriter {
            faults: Arc::clone(&options.faults),
            committed: Arc::clone(&committed),
            transaction: None,
            rows_written: 0,
        };
        Ok((Self { options: options.clone(), committed }, writer))
    }

    fn reader(&self) -> Result<MemoryReader, Infallible> {
        Ok(MemoryReader { committed: Arc::clone(&self.committed) })
    }

    fn maintenance(&self) -> Result<NoMaintenance, Infallible> {
        Ok(NoMaintenance)
    }

    fn reopen(&self, writer: &mut MemoryWriter) -> Result<(), Infallible> {
        writer.transaction = None;
        lock(&self.options.faults).reopened += 1;
        Ok(())
    }

    fn write_timeout(&self) -> Duration {
        self.options.write_timeout
    }
}

impl Maintenance for NoMaintenance {
    fn run(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }
}

impl SnapshotStore for MemoryReader {
    fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn end_snapshot(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl ReadStore for MemoryReader {
    fn version(&mut self, _: &VersionRef, _: VisitVersion<'_>) -> Result<bool, StoreError> {
        absent()
    }

    fn versions(
        &mut self,
        _: &ListQuery,
        _: VisitVersions<'_>,
    ) -> Result<(Page, Vec<VersionId>), StoreError> {
        absent()
    }

    fn search(
        &mut self,
        _: &SearchQuery,
        _: VisitVersions<'_>,
    ) -> Result<(Page, Vec<VersionId>), StoreError> {
        absent()
    }

    fn latest_versions(&mut self, _: &[ModelKey], _: VisitVersion<'_>) -> Result<(), StoreError> {
        absent()
    }

    fn aliases_of(&mut self, _: ModelKey, _: VersionId) -> Result<Vec<String>, StoreError> {
        absent()
    }

    fn compared_versions(&mut self, _: &[VersionId]) -> Result<Vec<ComparedVersion>, StoreError> {
        absent()
    }

    fn versions_with_ids(&mut self, _: &[VersionId], _: VisitVersions<'_>) -> Result<(), StoreError> {
        absent()
    }

    fn files(&mut self, _: &FileRange<'_>, _: VisitFiles<'_>) -> Result<(), StoreError> {
        absent()
    }

    fn has_file(&mut self, _: &str) -> Result<bool, StoreError> {
        absent()
    }

    fn events(&mut self, _: &EventQuery, _: VisitEvents<'_>) -> Result<Page, StoreError> {
        absent()
    }

    fn trail(&mut self, _: &TrailQuery, _: VisitTrail<'_>) -> Result<Page, StoreError> {
        absent()
    }

    fn follow(&mut self, _: &TrailQuery, _: VisitTrail<'_>) -> Result<Followed, StoreError> {
        absent()
    }

    fn newest_event(&mut self) -> Result<Option<HashedEvent>, StoreError> {
        absent()
    }

    fn event_hash(&mut self, _: i64) -> Result<Option<Vec<u8>>, StoreError> {
        absent()
    }

    fn model(&mut self, _: &str) -> Result<Option<ModelSummary>, StoreError> {
        absent()
    }

    fn models(&mut self, _: &ModelQuery) -> Result<(Vec<ModelSummary>, Page), StoreError> {
        absent()
    }

    fn deleted_versions(&mut self, _: &DeletedQuery, _: VisitDeleted<'_>) -> Result<Page, StoreError> {
        absent()
    }

    fn ordered_versions(
        &mut self,
        _: &OrderedQuery,
        _: VisitVersions<'_>,
    ) -> Result<Option<Place>, StoreError> {
        absent()
    }

    fn ordered_models(&mut self, _: &OrderedQuery) -> Result<(Vec<ModelSummary>, Option<Place>), StoreError> {
        absent()
    }

    fn history(&mut self, _: &HistoryQuery) -> Result<Vec<Holding>, StoreError> {
        absent()
    }

    fn keys(&mut self, _: &KeyQuery) -> Result<Vec<ApiKey>, StoreError> {
        absent()
    }

    fn last_registry_event(&mut self) -> Result<i64, StoreError> {
        absent()
    }

    fn stats(&mut self) -> Result<Stats, StoreError> {
        let total_models = lock(&self.committed).len() as u64;
        Ok(Stats { total_models, by_status: Vec::new(), by_name: Vec::new() })
    }
}

impl ReadPolicies for MemoryReader {
    fn policies(&mut self) -> Result<Vec<StoredPolicy>, StoreError> {
        absent()
    }

    fn policy(&mut self, _: &str, _: Option<i64>) -> Result<Option<StoredPolicy>, StoreError> {
        absent()
    }

    fn approvals(&mut self, _: &ApprovalQuery) -> Result<Vec<Approval>, StoreError> {
        absent()
    }
}

impl ReadWebhooks for MemoryReader {
    fn webhooks(&mut self) -> Result<Vec<Webhook>, StoreError> {
        absent()
    }

    fn due_webhooks(&mut self, _: &dyn Fn() -> i64, _: usize) -> Result<Vec<(WebhookId, usize)>, StoreError> {
        absent()
    }

    fn deliveries(
        &mut self,
        _: WebhookId,
        _: Option<DeliveryState>,
        _: u32,
        _: Option<i64>,
    ) -> Result<(Vec<Delivery>, Page), StoreError> {
        absent()
    }

    fn pending_deliveries(&mut self) -> Result<u64, StoreError> {
        absent()
    }
}

/// It has no policies.
impl WritePolicies for MemoryWriter {
    fn active_policies(&mut self) -> Result<Vec<StoredPolicy>, StoreError> {
        Ok(Vec::new())
    }

    fn find_policy(&mut self, _: &str) -> Result<Option<StoredPolicy>, StoreError> {
        absent()
    }

    fn insert_policy(&mut self, _: &StoredPolicy) -> Result<(), StoreError> {
        absent()
    }

    fn approvals_of(&mut self, _: VersionId) -> Result<Vec<Approval>, StoreError> {
        absent()
    }

    fn insert_approval(&mut self, _: &Approval) -> Result<i64, StoreError> {
        absent()
    }

    fn withdraw_approval(&mut self, _: i64, _: &str) -> Result<(), StoreError> {
        absent()
    }

    fn registration(&mut self, _: VersionId) -> Result<Option<Registration>, StoreError> {
        absent()
    }
}

/// It has no webhooks.
impl WriteWebhooks for MemoryWriter {
    fn subscriptions(&mut self) -> Result<Arc<[Subscription]>, StoreError> {
        Ok(Arc::default())
    }

    fn find_webhook(&mut self, _: &str) -> Result<Option<Webhook>, StoreError> {
        absent()
    }

    fn count_webhooks(&mut self) -> Result<usize, StoreError> {
        absent()
    }

    fn save_webhook(&mut self, _: &Webhook) -> Result<(), StoreError> {
        absent()
    }

    fn delete_webhook(&mut self, _: WebhookId) -> Result<(), StoreError> {
        absent()
    }

    fn add_deliveries(&mut self, _: ModelKey, _: &[DeliveryDraft], _: i64) -> Result<(), StoreError> {
        absent()
    }

    fn claim_deliveries(&mut self, _: WebhookId, _: i64, _: i64) -> Result<Option<Claim>, StoreError> {
        absent()
    }

    fn finish_deliveries(&mut self, _: &[Delivery]) -> Result<(), StoreError> {
        absent()
    }

    fn replay_deliveries(&mut self, _: WebhookId, _: &Replay, _: i64) -> Result<u64, StoreError> {
        absent()
    }

    fn prune_deliveries(&mut self, _: i64, _: i64) -> Result<Option<i64>, StoreError> {
        absent()
    }
}

impl MemoryWriter {
    fn versions(&mut self) -> Result<&mut Vec<Version>, StoreError> {
        self.transaction.as_mut().ok_or_else(|| StoreError::Failed("no transaction is open".to_owned()))
    }
}

impl WriteStore for MemoryWriter {
    fn find(&mut self, id: VersionId) -> Result<Option<Version>, StoreError> {
        Ok(self.versions()?.iter().find(|model| model.id == id).cloned())
    }

    fn find_production(&mut self, _: &str) -> Result<Option<Version>, StoreError> {
        absent()
    }

    fn find_label(&mut self, name: &str, label: &str) -> Result<Option<VersionId>, StoreError> {
        let found = self.versions()?.iter().find(|model| model.name == name && model.label == label);
        Ok(found.map(|model| model.id))
    }

    fn find_number(&mut self, _: ModelKey, _: i64) -> Result<Option<VersionId>, StoreError> {
        absent()
    }

    fn find_revision(&mut self, _: ModelKey, _: &str) -> Result<Option<VersionId>, StoreError> {
        absent()
    }

    fn insert(&mut self, draft: Draft, model: ModelKey, now: Timestamp) -> Result<Version, StoreError> {
        if std::mem::take(&mut lock(&self.faults).insert_ends_transaction) {
            self.transaction = None;
            return Err(StoreError::Full);
        }
        if let Some(taken) = self.find_label(&draft.name, &draft.label)? {
            return Err(Refusal::taken(&draft.name, &draft.label, taken).into());
        }
        let models = self.versions()?;
        let id = models.last().map_or(1, |last| last.id + 1);
        let model = Version { id, model, ..draft.into_version(now) };
        models.push(model.clone());
        self.rows_written += 1;
        Ok(model)
    }

    fn update(&mut self, _: &Version, _: &Version) -> Result<(), StoreError> {
        absent()
    }

    fn set_status(&mut self, _: VersionId, _: Status, _: &str) -> Result<(), StoreError> {
        absent()
    }

    fn set_metrics(&mut self, _: VersionId, _: &str, _: &[ScoreChange], _: &str) -> Result<(), StoreError> {
        absent()
    }

    fn touch(&mut self) -> Result<(), StoreError> {
        self.versions().map(drop)
    }

    fn delete(&mut self, _: &Version, _: bool, _: &str, _: &str) -> Result<(), StoreError> {
        absent()
    }

    fn find_deleted(&mut self, _: VersionId) -> Result<Option<Version>, StoreError> {
        absent()
    }

    fn find_deleted_number(&mut self, _: ModelKey, _: i64) -> Result<Option<VersionId>, StoreError> {
        absent()
    }

    fn deleted_with_model(&mut self, _: ModelKey) -> Result<Vec<VersionId>, StoreError> {
        absent()
    }

    fn spent_digests(&mut self, _: &str, _: &str) -> Result<Vec<Option<String>>, StoreError> {
        absent()
    }

    fn restore(&mut self, _: &Version) -> Result<(), StoreError> {
        absent()
    }

    fn find_model(&mut self, _: &str) -> Result<Option<Model>, StoreError> {
        Ok(None)
    }

    fn find_deleted_model(&mut self, _: &str) -> Result<Option<Model>, StoreError> {
        absent()
    }

    fn has_spent_numbers(&mut self, _: &str) -> Result<bool, StoreError> {
        absent()
    }

    fn first_number(&mut self, _: &str) -> Result<i64, StoreError> {
        absent()
    }

    fn insert_model(&mut self, model: Model, _: Numbering) -> Result<Model, StoreError> {
        Ok(model)
    }

    fn touch_model(&mut self, _: ModelKey, _: &str) -> Result<(), StoreError> {
        absent()
    }

    fn update_model(&mut self, _: &Model, _: &Model) -> Result<(), StoreError> {
        absent()
    }

    fn set_model_deleted(&mut self, _: ModelKey, _: Option<&str>, _: &str) -> Result<(), StoreError> {
        absent()
    }

    fn summarize(&mut self, _: Model) -> Result<ModelSummary, StoreError> {
        absent()
    }

    fn manifest_files(&mut self, _: VersionId) -> Result<Vec<VersionFile>, StoreError> {
        absent()
    }

    fn versions_of(&mut self, _: ModelKey) -> Result<Vec<VersionId>, StoreError> {
        absent()
    }

    fn versions_with_status(&mut self, _: ModelKey, _: Status) -> Result<Vec<VersionId>, StoreError> {
        absent()
    }

    fn aliases(&mut self, _: ModelKey) -> Result<Vec<Alias>, StoreError> {
        absent()
    }

    fn set_alias(&mut self, _: ModelKey, _: &str, _: Option<VersionId>) -> Result<(), StoreError> {
        absent()
    }

    fn begin_holding(&mut self, _: ModelKey, _: &Holding) -> Result<(), StoreError> {
        absent()
    }

    fn end_holding(&mut self, _: ModelKey, _: &str, _: &str) -> Result<(), StoreError> {
        absent()
    }

    fn last_holding(
        &mut self,
        _: ModelKey,
        _: &str,
        _: Option<VersionId>,
        _: Option<VersionId>,
    ) -> Result<Option<Holding>, StoreError> {
        absent()
    }

    fn find_key(&mut self, _: &KeyRef) -> Result<Option<ApiKey>, StoreError> {
        absent()
    }

    fn insert_key(&mut self, _: &ApiKey) -> Result<i64, StoreError> {
        absent()
    }

    fn update_key(&mut self, _: &ApiKey) -> Result<(), StoreError> {
        absent()
    }

    fn record_key_uses(&mut self, _: &[(i64, String)]) -> Result<(), StoreError> {
        absent()
    }

    fn append_event(
        &mut self,
        _: ModelKey,
        _: Option<VersionId>,
        _: &EventDraft,
        _: &str,
        _: &str,
    ) -> Result<(), StoreError> {
        absent()
    }
}

impl Transaction for MemoryWriter {
    fn begin(&mut self, timeout: Duration) -> Result<(), StoreError> {
        let mut faults = lock(&self.faults);
        if faults.is_locked {
            faults.waited += timeout;
            drop(faults);
            thread::sleep(timeout);
            return Err(StoreError::Busy);
        }
        if let Some(error) = faults.begin.take() {
            return Err(error);
        }
        self.transaction = Some(lock(&self.committed).clone());
        Ok(())
    }

    fn rows_written(&self) -> u64 {
        self.rows_written
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if let Some(error) = lock(&self.faults).commit.take() {
            self.transaction = None;
            return Err(error);
        }
        let models = std::mem::take(self.versions()?);
        *lock(&self.committed) = models;
        self.transaction = None;
        lock(&self.faults).commits += 1;
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        self.transaction = None;
        Ok(())
    }

    fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    fn maintain(&mut self) -> Result<Upkeep, StoreError> {
        Ok(Upkeep::Nothing)
    }

    fn size(&self) -> StoreSize {
        StoreSize::default()
    }

    fn close(&mut self) {}
}
