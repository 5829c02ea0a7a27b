//! Use cases of registered models: aliases, history, the trash, and the ways by which `/v1` changes versions.

use std::ops::ControlFlow;

use crate::{
    domain::{
        DeletedVersion, Force, GivenTimes, Holding, ModelSummary, Numbering, Page, Patch, Precondition,
        Refusal, Version,
        model::{ModelPatch, check_alias},
        query::{DeletedQuery, HistoryQuery, ModelQuery},
        tags::TagChanges,
    },
    store::operations,
};

use super::{Caller, Change, Registry, Result};

/// A new holder of an alias.
#[derive(Debug, Clone)]
pub struct AliasChange {
    /// The model.
    pub model: String,
    /// The alias.
    pub alias: String,
    /// The number of the version to hold it; `None` deletes the alias.
    pub number: Option<i64>,
    /// The number of the version that must hold it before; `Some(None)` if none may.
    pub expected: Option<Option<i64>>,
    /// The reason, for history and trail.
    pub reason: Option<String>,
}

/// Reading.
#[allow(clippy::missing_errors_doc, reason = "see `RegistryError`")]
impl Registry {
    /// Returns the model with this name.
    pub async fn registered_model(&self, name: String) -> Result<ModelSummary> {
        let found = self.read(move |store| Ok(store.model(&name)?.ok_or_else(|| Refusal::no_model(&name))));
        Ok(found.await??)
    }

    /// Returns a page of models, by name.
    pub async fn registered_models(&self, query: ModelQuery) -> Result<(Vec<ModelSummary>, Page)> {
        self.read(move |store| store.models(&query)).await
    }

    /// Returns a page of a model's versions in the trash, written by `write`, which may end the page early.
    pub async fn deleted_versions(
        &self,
        query: DeletedQuery,
        mut write: impl FnMut(&mut Vec<u8>, &DeletedVersion<'_>) -> ControlFlow<()> + Send + 'static,
    ) -> Result<(Vec<u8>, Page)> {
        let found = self.read(move |store| {
            let mut written = Vec::new();
            let page = store.deleted_versions(&query, &mut |deleted| write(&mut written, &deleted))?;
            let is_known = !written.is_empty() || store.model(&query.model)?.is_some();
            Ok(if is_known { Ok((written, page)) } else { Err(Refusal::no_model(&query.model)) })
        });
        Ok(found.await??)
    }

    /// Returns who held the aliases of a model, newest first.
    pub async fn history(&self, query: HistoryQuery) -> Result<Vec<Holding>> {
        let found = self.read(move |store| {
            let holdings = store.history(&query)?;
            let is_known = !holdings.is_empty() || store.model(&query.model)?.is_some();
            Ok(if is_known { Ok(holdings) } else { Err(Refusal::no_model(&query.model)) })
        });
        Ok(found.await??)
    }
}

/// Changing. Each method returns once the change is committed.
#[allow(clippy::missing_errors_doc, reason = "see `RegistryError` and the operations")]
impl Registry {
    /// Creates a model without versions.
    pub async fn create_model(
        &self,
        name: String,
        patch: ModelPatch,
        times: GivenTimes,
        caller: Caller,
    ) -> Result<ModelSummary> {
        self.change(caller, move |store, context| {
            let numbering = Numbering::Continued;
            let model = operations::create_model(store, &name, &patch, times, numbering, context)?;
            store.summarize(model)
        })
        .await
    }

    /// Changes name, description or tags of a model.
    pub async fn update_model(
        &self,
        name: String,
        patch: ModelPatch,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<ModelSummary> {
        self.change(caller, move |store, context| {
            let model = operations::update_model(store, &name, &patch, &precondition, context)?;
            store.summarize(model)
        })
        .await
    }

    /// Moves a model and its versions to the trash.
    pub async fn delete_model(
        &self,
        name: String,
        force: Force,
        precondition: Precondition,
        caller: Caller,
    ) -> Result<()> {
        self.change(caller, move |store, context| {
            operations::delete_model(store, &name, force, &precondition, context)
        })
        .await
    }

    /// Takes a model and the versions that were deleted with it out of the trash.
    pub async fn restore_model(&self, name: String, caller: Caller) -> Result<ModelSummary> {
        self.change(caller, move |store, context| {
            let model = operations::restore_model(store, &name, context)?;
            store.summarize(model)
        })
        .await
    }

    /// Points an alias to another version, or deletes it. Returns the version that holds it, or held it last.
    pub async fn change_alias(&self, change: AliasChange, caller: Caller) -> Result<Version> {
        let AliasChange { model, alias, number, expected, reason } = change;
        if number.is_some() {
            check_alias(&alias)?;
        }
        self.change(caller, move |store, context| match number {
            Some(number) => {
                operations::set_alias(store, &model, &alias, number, expected, reason.as_deref(), context)
            }
            None => operations::delete_alias(store, &model, &alias, expected, reason.as_deref(), context),
        })
        .await
    }

    /// Puts a version back into production that was there before.
    pub async fn rollback(
        &self,
        model: String,
        to: Option<i64>,
        reason: String,
        caller: Caller,
    ) -> Result<Version> {
        self.change(caller, move |store, context| operations::rollback(store, &model, to, &reason, context))
            .await
    }

    /// Changes fields and single tags of a version.
    pub async fn update_with_tags(&self, change: Change, patch: Patch, tags: TagChanges) -> Result<Version> {
        let Change { version, precondition, caller } = change;
        self.change(caller, move |store, context| {
            let id = operations::find_version(store, &version)?;
            operations::update_with_tags(store, id, &patch, &tags, &precondition, context)
        })
        .await
    }

    /// Takes the version with this number out of the trash.
    pub async fn restore_version(&self, model: String, number: i64, caller: Caller) -> Result<Version> {
        self.change(caller, move |store, context| {
            let id = operations::find_deleted_version(store, &model, number)?;
            operations::restore(store, id, context)
        })
        .await
    }
}
