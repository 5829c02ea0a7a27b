//! Stores versions and their audit trail.
//!
//! A store offers a few primitives, [`ReadStore`] and [`WriteStore`]. The operations of the registry are written once over
//! them, in [`operations`], so that every store follows the same rules. [`Backend`] opens the connections. This crate knows
//! SQL; it must not know HTTP, threads or queues.

mod backend;
pub mod operations;
pub mod sqlite;

pub use backend::{Backend, Maintenance, SnapshotStore, StoreSize, Transaction, Upkeep};

use std::ops::ControlFlow;

use registry_domain::{
    ComparedVersion, Draft, Event, EventDraft, EventQuery, ListQuery, Page, Refusal, ScoreChange, Stats,
    Status, Timestamp, Version, VersionId, VersionRow,
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

/// Called with a row, which is borrowed from the store.
pub type VisitVersion<'v> = &'v mut dyn FnMut(VersionRow<'_>);
/// Called with each row until it breaks; no more rows are read then.
pub type VisitVersions<'v> = &'v mut dyn FnMut(VersionRow<'_>) -> ControlFlow<()>;
/// Called with each event until it breaks; no more events are read then.
pub type VisitEvents<'v> = &'v mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

/// Reads from a store. Each call sees one consistent state, as of its start or later.
///
/// Rows are visited, not collected: an answer is written from the row while the store holds it in memory. No call returns
/// [`StoreError::Refused`].
#[allow(clippy::missing_errors_doc, reason = "see `StoreError`")]
pub trait ReadStore {
    /// Visits the version with this id. Returns true if there is one.
    fn version(&mut self, id: VersionId, visit: VisitVersion<'_>) -> Result<bool, StoreError>;
    /// Visits the version with this name and version. Returns true if there is one.
    fn version_by_label(
        &mut self,
        name: &str,
        version: &str,
        visit: VisitVersion<'_>,
    ) -> Result<bool, StoreError>;
    /// Visits the production version of this name. Returns true if there is one.
    fn production(&mut self, name: &str, visit: VisitVersion<'_>) -> Result<bool, StoreError>;
    /// Visits a page of versions, in order. Also returns the ids of the versions on the page that were not visited.
    fn versions(
        &mut self,
        query: &ListQuery,
        visit: VisitVersions<'_>,
    ) -> Result<(Page, Vec<VersionId>), StoreError>;
    /// Visits the versions of `ids` that exist, in the order given.
    fn versions_with_ids(&mut self, ids: &[VersionId], visit: VisitVersions<'_>) -> Result<(), StoreError>;
    /// Returns the values that a comparison needs of the versions of `ids` that exist: by ascending id, each once.
    fn compared_versions(&mut self, ids: &[VersionId]) -> Result<Vec<ComparedVersion>, StoreError>;
    /// Visits a page of a version's events, newest first. The result describes the whole page.
    fn events(&mut self, query: &EventQuery, visit: VisitEvents<'_>) -> Result<Page, StoreError>;
    /// Counts the versions.
    fn stats(&mut self) -> Result<Stats, StoreError>;
}

/// Reads and writes inside a transaction. If a call fails, the caller undoes the writes of the operation.
#[allow(clippy::missing_errors_doc, reason = "see `StoreError`; `insert` documents more")]
pub trait WriteStore {
    /// Returns the version with this id, with `tags` and `metrics` as stored.
    fn find(&mut self, id: VersionId) -> Result<Option<Version>, StoreError>;
    /// Returns the production version of this name.
    fn find_production(&mut self, name: &str) -> Result<Option<Version>, StoreError>;
    /// Returns the id of the version with this name and label.
    fn find_label(&mut self, name: &str, label: &str) -> Result<Option<VersionId>, StoreError>;
    /// Adds a version under an id that was never used before.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] if name and version are taken.
    fn insert(&mut self, draft: Draft, now: Timestamp) -> Result<Version, StoreError>;
    /// Writes the columns that differ between two states of a version. Id, name, version and `created_at` never differ.
    fn update(&mut self, before: &Version, after: &Version) -> Result<(), StoreError>;
    /// Writes status and `updated_at`.
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
    /// Deletes a version; its events stay.
    fn delete(&mut self, id: VersionId) -> Result<(), StoreError>;
    /// Appends to the audit trail.
    fn append_event(
        &mut self,
        id: VersionId,
        event: &EventDraft,
        actor: &str,
        created_at: &str,
    ) -> Result<(), StoreError>;
}
