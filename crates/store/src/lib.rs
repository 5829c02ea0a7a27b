//! Where versions and their audit trail are kept.
//!
//! A store offers a handful of primitives, [`ReadStore`] and [`WriteStore`]; the operations of the
//! registry are written once over them, in [`operations`], so every store keeps the same rules. This
//! room knows SQL; it must not know HTTP, threads or queues.

mod backend;
pub mod operations;
pub mod sqlite;

pub use backend::{Backend, Maintenance, StoreSize, Transaction, Upkeep};

use std::ops::ControlFlow;

use registry_domain::{
    Contender, Draft, Event, EventDraft, EventQuery, ListQuery, Model, ModelId, ModelRow, Page, Refusal,
    Stats, Status,
};

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The rules forbid it. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another process holds the database longer than the busy timeout. Nothing was changed.
    #[error("the database is locked by another process")]
    Busy,
    /// The disk of the database is full. Nothing was changed.
    #[error("the disk of the database is full")]
    Full,
    /// The database may not be written, or is no longer where it was. Nothing was changed.
    #[error("the database can't be written: {0}")]
    Unwritable(String),
    /// The disk of the database fails at what was asked. Nothing was changed.
    #[error("the disk of the database fails: {0}")]
    Failing(String),
    /// A commit failed in a way that leaves open whether it will be there later. It can't be seen now.
    #[error("a commit is in doubt: {0}")]
    InDoubt(String),
    /// The store itself failed. The text is for the log, not for a client.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// What is done with each row; the row is only lent.
pub type VisitModel<'v> = &'v mut dyn FnMut(ModelRow<'_>);
/// What is done with each event.
pub type VisitEvent<'v> = &'v mut dyn FnMut(Event<'_>);
/// As [`VisitModel`], but may stop, so that no row after it is read.
pub type VisitModelUntil<'v> = &'v mut dyn FnMut(ModelRow<'_>) -> ControlFlow<()>;
/// As [`VisitEvent`], but may stop, so that no event after it is read.
pub type VisitEventUntil<'v> = &'v mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

/// What can be asked of a store. Each call sees one consistent state, as of its start or later.
///
/// Rows are visited in place of being collected: an answer is assembled from the row as it lies in
/// the page. Every call errs as [`StoreError`] says, never with a refusal.
#[allow(clippy::missing_errors_doc, reason = "said above, for all")]
pub trait ReadStore {
    /// Visits the version with this id; whether there is one.
    fn model(&mut self, id: ModelId, visit: VisitModel<'_>) -> Result<bool, StoreError>;
    /// Visits the version with this name and version; whether there is one.
    fn model_by_name(&mut self, name: &str, version: &str, visit: VisitModel<'_>)
    -> Result<bool, StoreError>;
    /// Visits the production version of this name; whether there is one.
    fn production(&mut self, name: &str, visit: VisitModel<'_>) -> Result<bool, StoreError>;
    /// Visits a page of versions, in order.
    fn models(&mut self, query: &ListQuery, visit: VisitModel<'_>) -> Result<Page, StoreError>;
    /// As [`ReadStore::models`], until the visitor stops. Also returns the ids of the versions on the page that were
    /// not visited.
    ///
    /// The default reads those versions too; a store that can read their ids alone should.
    fn models_until(
        &mut self,
        query: &ListQuery,
        visit: VisitModelUntil<'_>,
    ) -> Result<(Page, Vec<ModelId>), StoreError> {
        let (mut flow, mut rest) = (ControlFlow::Continue(()), Vec::new());
        let page = self.models(query, &mut |row| match flow {
            ControlFlow::Continue(()) => flow = visit(row),
            ControlFlow::Break(()) => rest.push(row.id),
        })?;
        Ok((page, rest))
    }
    /// Visits those of `ids` that exist, in the order given, until the visitor stops.
    fn models_with_ids(&mut self, ids: &[ModelId], visit: VisitModelUntil<'_>) -> Result<(), StoreError>;
    /// Returns what versions are compared by: those of `ids` that exist, by rising id, each once.
    ///
    /// The default reads whole versions; a store that can read three columns alone should.
    fn contenders(&mut self, ids: &[ModelId]) -> Result<Vec<Contender>, StoreError> {
        let (mut ids, mut contenders) = (ids.to_vec(), Vec::new());
        ids.sort_unstable();
        ids.dedup();
        self.models_with_ids(&ids, &mut |row| {
            contenders.push(Contender::of(&row));
            ControlFlow::Continue(())
        })?;
        Ok(contenders)
    }
    /// Visits a page of a version's events, newest first.
    fn events(&mut self, query: &EventQuery, visit: VisitEvent<'_>) -> Result<Page, StoreError>;
    /// As [`ReadStore::events`], until the visitor stops; the result still describes the whole page.
    ///
    /// The default reads the events that are not visited too; a store that can read their ids alone should.
    fn events_until(&mut self, query: &EventQuery, visit: VisitEventUntil<'_>) -> Result<Page, StoreError> {
        let mut flow = ControlFlow::Continue(());
        self.events(query, &mut |event| {
            if flow.is_continue() {
                flow = visit(event);
            }
        })
    }
    /// Counts the versions.
    fn stats(&mut self) -> Result<Stats, StoreError>;
}

/// What can be done inside a transaction. A call that errs leaves it to the caller to roll back.
#[allow(clippy::missing_errors_doc, reason = "as `StoreError` says; `insert` says more")]
pub trait WriteStore {
    /// The version with this id; `tags` and `metrics` as they are kept, also where they are no JSON.
    fn find(&mut self, id: ModelId) -> Result<Option<Model>, StoreError>;
    /// The production version of this name, likewise.
    fn find_production(&mut self, name: &str) -> Result<Option<Model>, StoreError>;
    /// Adds a version, which gets an id that was never given before.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] where name and version are taken.
    fn insert(&mut self, draft: Draft, now: registry_domain::Timestamp) -> Result<Model, StoreError>;
    /// Writes what differs between the two states of a version, and nothing else of its row. Id, name, version
    /// and `created_at` never differ.
    fn update(&mut self, before: &Model, after: &Model) -> Result<(), StoreError>;
    /// Writes status and `updated_at`.
    fn set_status(&mut self, id: ModelId, status: Status, updated_at: &str) -> Result<(), StoreError>;
    /// Writes metrics (JSON text) and `updated_at`.
    fn set_metrics(&mut self, id: ModelId, metrics: &str, updated_at: &str) -> Result<(), StoreError>;
    /// Writes what changes nothing, so that the transaction has something to commit: what shows whether writes can be
    /// kept.
    ///
    /// # Errors
    /// [`StoreError::Full`] also where there would be room for this one, but for hardly any other.
    fn touch(&mut self) -> Result<(), StoreError>;
    /// Takes a version away; its events stay.
    fn delete(&mut self, id: ModelId) -> Result<(), StoreError>;
    /// Appends to the audit trail.
    fn append_event(
        &mut self,
        id: ModelId,
        event: &EventDraft,
        actor: &str,
        created_at: &str,
    ) -> Result<(), StoreError>;
}
