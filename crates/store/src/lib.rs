//! Stores versions and their audit trail.
//!
//! A store offers a few primitives, [`ReadStore`] and [`WriteStore`]. The operations of the registry are written once over
//! them, in [`operations`], so that every store follows the same rules. [`Backend`] opens the connections. This crate knows
//! SQL; it must not know HTTP, threads or queues.

mod backend;
pub mod copy;
mod files;
pub mod hub;
mod keys;
pub mod maintenance;
pub mod operations;
mod policies;
pub mod postgres;
pub mod sqlite;
mod webhooks;

pub use backend::{Backend, Maintenance, SnapshotStore, StoreSize, Transaction, Upkeep};
pub use files::{FilePage, FileRange, list_files};
pub use policies::{ApprovalQuery, ReadPolicies, Registration, WritePolicies};
pub use webhooks::{ReadWebhooks, WriteWebhooks};

use std::ops::ControlFlow;

use registry_domain::{
    Alias, ApiKey, ComparedVersion, DeletedVersion, Draft, Event, EventDraft, EventQuery, Holding, KeyQuery,
    KeyRef, ListQuery, Model, ModelKey, ModelSummary, Numbering, OrderedQuery, Page, Place, Refusal,
    ScoreChange, SearchQuery, Stats, Status, Timestamp, TrailEvent, Version, VersionFile, VersionId,
    VersionRef, VersionRow,
    query::{DeletedQuery, HistoryQuery, ModelQuery, TrailQuery},
    trail::HashedEvent,
};

/// Why a store could not run an operation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The rules forbid it. Nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another process held the lock of the database longer than the busy timeout. Nothing was changed.
    #[error("the database is locked by another process")]
    Busy,
    /// The database can't be reached, or the connection to it was lost before a commit. Nothing was changed.
    #[error("the database can't be reached: {0}")]
    Unavailable(String),
    /// The disk of the database is full. Nothing was changed.
    #[error("the disk of the database is full")]
    Full,
    /// The database is read-only, or its files were moved or replaced. Nothing was changed.
    #[error("the database can't be written: {0}")]
    Unwritable(String),
    /// The disk of the database reports an error. Nothing was changed.
    #[error("the disk of the database is failing: {0}")]
    Failing(String),
    /// A commit failed, and after a crash a recovery might still find it. No reader sees it now.
    #[error("a commit is in doubt: {0}")]
    InDoubt(String),
    /// Anything else. The text is for the log, not for clients.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// Returns true if nothing was changed and the same operation may succeed soon.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable(_))
    }
}

/// Called with a row, which is borrowed from the store.
pub type VisitVersion<'v> = &'v mut dyn FnMut(VersionRow<'_>);
/// Called with each row until it breaks; no more rows are read then.
pub type VisitVersions<'v> = &'v mut dyn FnMut(VersionRow<'_>) -> ControlFlow<()>;
/// Called with each file until it breaks; no more files are read then.
pub type VisitFiles<'v> = &'v mut dyn FnMut(VersionFile) -> ControlFlow<()>;
/// Called with each event until it breaks; no more events are read then.
pub type VisitEvents<'v> = &'v mut dyn FnMut(Event<'_>) -> ControlFlow<()>;
/// Called with each deleted version until it breaks; no more are read then.
pub type VisitDeleted<'v> = &'v mut dyn FnMut(DeletedVersion<'_>) -> ControlFlow<()>;
/// Called with each event of the trail until it breaks; no more events are read then.
pub type VisitTrail<'v> = &'v mut dyn FnMut(TrailEvent<'_>) -> ControlFlow<()>;

/// How far the audit trail was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// All events up to this id were visited, if they pass the query.
    pub through: i64,
    /// True if there are more.
    pub has_more: bool,
    /// The model that the query's name stands for.
    pub model: Option<ModelKey>,
}

/// Reads from a store. Each call sees one consistent state, as of its start or later.
///
/// Rows are visited, not collected: an answer is written from the row while the store holds it in memory. Only a search may
/// return [`StoreError::Refused`].
#[allow(clippy::missing_errors_doc, reason = "see `StoreError`")]
pub trait ReadStore: ReadPolicies + ReadWebhooks {
    /// Visits the version that a reference names. Returns true if there is one.
    fn version(&mut self, version: &VersionRef, visit: VisitVersion<'_>) -> Result<bool, StoreError>;
    /// Visits a page of versions, in order. Also returns the ids of the versions on the page that were not visited.
    fn versions(
        &mut self,
        query: &ListQuery,
        visit: VisitVersions<'_>,
    ) -> Result<(Page, Vec<VersionId>), StoreError>;
    /// Visits a page of the versions that pass a filter, in order. Also returns the ids of the versions on the page that
    /// were not visited. A search has no total.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if it would read too many versions.
    fn search(
        &mut self,
        query: &SearchQuery,
        visit: VisitVersions<'_>,
    ) -> Result<(Page, Vec<VersionId>), StoreError>;
    /// Visits a page of the versions that pass a filter, in an order of several keys, until `visit` ends the page. Returns the
    /// place of the last version that was visited, if others follow.
    ///
    /// # Errors
    /// As [`ReadStore::search`].
    fn ordered_versions(
        &mut self,
        query: &OrderedQuery,
        visit: VisitVersions<'_>,
    ) -> Result<Option<Place>, StoreError>;
    /// Visits the versions of `ids` that exist, in the order given.
    fn versions_with_ids(&mut self, ids: &[VersionId], visit: VisitVersions<'_>) -> Result<(), StoreError>;
    /// Visits the newest version of each status of each of these models.
    fn latest_versions(&mut self, models: &[ModelKey], visit: VisitVersion<'_>) -> Result<(), StoreError>;
    /// Returns the aliases of a version, without `production`.
    fn aliases_of(&mut self, model: ModelKey, version: VersionId) -> Result<Vec<String>, StoreError>;
    /// Returns the values that a comparison needs of the versions of `ids` that exist: by ascending id, each once.
    fn compared_versions(&mut self, ids: &[VersionId]) -> Result<Vec<ComparedVersion>, StoreError>;
    /// Visits files of a manifest, in the order of their paths.
    fn files(&mut self, range: &FileRange<'_>, visit: VisitFiles<'_>) -> Result<(), StoreError>;
    /// Returns true if a version, perhaps one in the trash, has a file with this digest (64 lower-case hex digits).
    fn has_file(&mut self, sha256: &str) -> Result<bool, StoreError>;
    /// Visits a page of a version's events, newest first. The result describes the whole page.
    fn events(&mut self, query: &EventQuery, visit: VisitEvents<'_>) -> Result<Page, StoreError>;
    /// Visits a page of the whole audit trail, or of a model's part of it, newest first.
    fn trail(&mut self, query: &TrailQuery, visit: VisitTrail<'_>) -> Result<Page, StoreError>;
    /// Visits what follows the event `after` in the audit trail, in order. An event that was not visited is never passed: one
    /// whose id is lower, but which is committed later, is waited for.
    fn follow(&mut self, query: &TrailQuery, visit: VisitTrail<'_>) -> Result<Followed, StoreError>;
    /// Returns the newest event that [`ReadStore::follow`] would visit.
    fn newest_event(&mut self) -> Result<Option<HashedEvent>, StoreError>;
    /// Returns the hash of an event.
    fn event_hash(&mut self, id: i64) -> Result<Option<Vec<u8>>, StoreError>;
    /// Returns the model with this name.
    fn model(&mut self, name: &str) -> Result<Option<ModelSummary>, StoreError>;
    /// Returns a page of models, by name.
    fn models(&mut self, query: &ModelQuery) -> Result<(Vec<ModelSummary>, Page), StoreError>;
    /// Returns a page of the models that pass a filter, in an order of several keys, and the place of the last one, if others
    /// follow. A page with very large tags ends early.
    fn ordered_models(
        &mut self,
        query: &OrderedQuery,
    ) -> Result<(Vec<ModelSummary>, Option<Place>), StoreError>;
    /// Visits a page of a model's versions in the trash, newest first. The page ends with the last one that was visited.
    fn deleted_versions(&mut self, query: &DeletedQuery, visit: VisitDeleted<'_>)
    -> Result<Page, StoreError>;
    /// Returns who held the aliases of a model, newest first.
    fn history(&mut self, query: &HistoryQuery) -> Result<Vec<Holding>, StoreError>;
    /// Returns stored API keys, by id.
    fn keys(&mut self, query: &KeyQuery) -> Result<Vec<ApiKey>, StoreError>;
    /// Returns the id of the last event of the registry itself, or 0. Each change of a key appends one.
    fn last_registry_event(&mut self) -> Result<i64, StoreError>;
    /// Counts the versions.
    fn stats(&mut self) -> Result<Stats, StoreError>;
}

/// Reads and writes inside a transaction. If a call fails, the caller undoes the writes of the operation. A store may
/// report the failure of a write later: by the next read, or by the commit.
#[allow(clippy::missing_errors_doc, reason = "see `StoreError`; `insert` documents more")]
pub trait WriteStore: WritePolicies + WriteWebhooks {
    /// Returns the version with this id, with `tags` and `metrics` as stored.
    fn find(&mut self, id: VersionId) -> Result<Option<Version>, StoreError>;
    /// Returns the production version of this name.
    fn find_production(&mut self, name: &str) -> Result<Option<Version>, StoreError>;
    /// Returns the id of the version with this name and label.
    fn find_label(&mut self, name: &str, label: &str) -> Result<Option<VersionId>, StoreError>;
    /// Returns the id of the version of this model with this number.
    fn find_number(&mut self, model: ModelKey, number: i64) -> Result<Option<VersionId>, StoreError>;
    /// Returns the files of a version with a manifest.
    fn manifest_files(&mut self, id: VersionId) -> Result<Vec<VersionFile>, StoreError>;
    /// Returns the id of the newest version of this model with this revision, 40 hex digits in lower case.
    fn find_revision(&mut self, model: ModelKey, revision: &str) -> Result<Option<VersionId>, StoreError>;
    /// Adds a version to a model, with the files of its manifest, under an id and a number that were never used before. A number that
    /// the draft gives is not below [`WriteStore::next_number`].
    ///
    /// # Errors
    /// [`Refusal::Conflict`] if name and label are taken.
    fn insert(&mut self, draft: Draft, model: ModelKey, now: Timestamp) -> Result<Version, StoreError>;
    /// Writes the columns that differ between two states of a version. Id, model, number, name, label and `created_at`
    /// never differ.
    fn update(&mut self, before: &Version, after: &Version) -> Result<(), StoreError>;
    /// Writes status, and the time as `updated_at` and `changed_at`.
    fn set_status(&mut self, id: VersionId, status: Status, updated_at: &str) -> Result<(), StoreError>;
    /// Writes metrics (JSON text), the scores in them that changed, and `updated_at`.
    fn set_metrics(
        &mut self,
        id: VersionId,
        metrics: &str,
        scores: &[ScoreChange],
        updated_at: &str,
    ) -> Result<(), StoreError>;
    /// Writes a page without changing data, so that a commit shows whether writes work.
    ///
    /// # Errors
    /// [`StoreError::Full`], even if the disk has space for this write but for hardly any other.
    fn touch(&mut self) -> Result<(), StoreError>;
    /// Moves a version to the trash, alone or together with its model; its events stay.
    fn delete(
        &mut self,
        version: &Version,
        with_model: bool,
        actor: &str,
        now: &str,
    ) -> Result<(), StoreError>;
    /// Returns the version with this id from the trash.
    fn find_deleted(&mut self, id: VersionId) -> Result<Option<Version>, StoreError>;
    /// Returns the id of the version of this model with this number from the trash.
    fn find_deleted_number(&mut self, model: ModelKey, number: i64) -> Result<Option<VersionId>, StoreError>;
    /// Returns the ids of the versions that went to the trash together with their model.
    fn deleted_with_model(&mut self, model: ModelKey) -> Result<Vec<VersionId>, StoreError>;
    /// Returns the different digests of the deleted versions with this name and label, of a manifest or of a checkpoint; `None` for
    /// one without a digest.
    /// Their models may be deleted too. Of the purged versions of a model, only the last digest is known.
    fn spent_digests(&mut self, name: &str, label: &str) -> Result<Vec<Option<String>>, StoreError>;
    /// Takes a version out of the trash, with the values given.
    fn restore(&mut self, version: &Version) -> Result<(), StoreError>;

    /// Returns the model with this name.
    fn find_model(&mut self, name: &str) -> Result<Option<Model>, StoreError>;
    /// Returns the model that was deleted last under this name.
    fn find_deleted_model(&mut self, name: &str) -> Result<Option<Model>, StoreError>;
    /// Returns true if a deleted or purged model had this name last and gave numbers to versions.
    fn has_spent_numbers(&mut self, name: &str) -> Result<bool, StoreError>;
    /// Returns the number of the first version of a new model of this name, if its numbers continue those of deleted models.
    fn first_number(&mut self, name: &str) -> Result<i64, StoreError>;
    /// Adds a model and returns it with its key and the number of its first version.
    fn insert_model(&mut self, model: Model, numbering: Numbering) -> Result<Model, StoreError>;
    /// Writes `changed_at` of a model, as [`WriteStore::insert`] does too.
    fn touch_model(&mut self, model: ModelKey, changed_at: &str) -> Result<(), StoreError>;
    /// Writes name, description, tags, `updated_at` and `changed_at`. A new name goes to all versions.
    fn update_model(&mut self, before: &Model, after: &Model) -> Result<(), StoreError>;
    /// Moves a model to the trash, or out of it if `deleted_at` is `None`. Its versions are moved by [`WriteStore::delete`].
    fn set_model_deleted(
        &mut self,
        model: ModelKey,
        deleted_at: Option<&str>,
        updated_at: &str,
    ) -> Result<(), StoreError>;
    /// Returns a model with a summary of its versions.
    fn summarize(&mut self, model: Model) -> Result<ModelSummary, StoreError>;
    /// Returns the ids of all versions of a model.
    fn versions_of(&mut self, model: ModelKey) -> Result<Vec<VersionId>, StoreError>;
    /// Returns the ids of the versions of a model with this status, the newest first.
    fn versions_with_status(&mut self, model: ModelKey, status: Status)
    -> Result<Vec<VersionId>, StoreError>;

    /// Returns the aliases of a model, without `production`.
    fn aliases(&mut self, model: ModelKey) -> Result<Vec<Alias>, StoreError>;
    /// Points an alias, which is not `production`, to a version; `None` deletes it.
    fn set_alias(
        &mut self,
        model: ModelKey,
        alias: &str,
        version: Option<VersionId>,
    ) -> Result<(), StoreError>;
    /// Begins a holding: from `since`, but not before the last holding has ended, the version holds the alias.
    fn begin_holding(&mut self, model: ModelKey, holding: &Holding) -> Result<(), StoreError>;
    /// Ends the holding of this alias, if there is one.
    fn end_holding(&mut self, model: ModelKey, alias: &str, until: &str) -> Result<(), StoreError>;
    /// Returns the last holding of an alias: of the version `of`, if it is given, and not of `except`.
    fn last_holding(
        &mut self,
        model: ModelKey,
        alias: &str,
        of: Option<VersionId>,
        except: Option<VersionId>,
    ) -> Result<Option<Holding>, StoreError>;

    /// Returns the stored API key that a reference names.
    fn find_key(&mut self, key: &KeyRef) -> Result<Option<ApiKey>, StoreError>;
    /// Adds an API key, and returns its id, which was never used before.
    fn insert_key(&mut self, key: &ApiKey) -> Result<i64, StoreError>;
    /// Writes digest and end of a key, and when it was rotated or revoked.
    fn update_key(&mut self, key: &ApiKey) -> Result<(), StoreError>;
    /// Writes when keys were used last: ids and times. A use that is known already may be an earlier one.
    fn record_key_uses(&mut self, uses: &[(i64, String)]) -> Result<(), StoreError>;

    /// Appends an event of a version, or of the model itself if `version` is `None`, to the audit trail. The
    /// model of events of the registry itself is [`REGISTRY_KEY`](registry_domain::REGISTRY_KEY).
    fn append_event(
        &mut self,
        model: ModelKey,
        version: Option<VersionId>,
        event: &EventDraft,
        actor: &str,
        created_at: &str,
    ) -> Result<(), StoreError>;
}
