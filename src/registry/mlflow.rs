//! Use cases of MLflow's API.

use std::ops::ControlFlow;

use crate::{
    domain::{
        Digest, Force, GivenTimes, ModelSummary, Numbering, Precondition, Refusal, Status, Version,
        VersionId, VersionRef, VersionRow,
        mlflow::{Submission, Transition, is_stored},
        model::ModelPatch,
    },
    store::{FileRange, ReadStore, StoreError, WriteStore, operations},
};

use super::{Caller, Change, Registry, Result};

/// A version with its aliases, without `production`.
pub(super) type Aliased<T> = (T, Vec<String>);

/// Reading.
#[allow(clippy::missing_errors_doc, reason = "see `RegistryError`")]
impl Registry {
    /// Views a version, and returns its aliases too.
    pub async fn aliased_version<T: Send + 'static>(
        &self,
        version: VersionRef,
        view: impl FnOnce(&VersionRow<'_>) -> T + Send + 'static,
    ) -> Result<Aliased<T>> {
        let found = self.read(move |store| {
            let (mut view, mut viewed) = (Some(view), None);
            store.version(&version, &mut |row| {
                viewed = view.take().map(|view| (row.model, row.id, view(&row)));
            })?;
            let Some((model, id, viewed)) = viewed else { return Ok(Err(version.missing())) };
            Ok(Ok((viewed, store.aliases_of(model, id)?)))
        });
        Ok(found.await??)
    }

    /// Returns a model, with what `view` returns for the newest version of each of these statuses and for its aliases.
    pub async fn model_with_latest<T: Send + 'static>(
        &self,
        name: String,
        statuses: Vec<Status>,
        view: impl Fn(&VersionRow<'_>) -> T + Send + 'static,
    ) -> Result<(ModelSummary, Vec<Aliased<T>>)> {
        let found = self.read(move |store| {
            let Some(model) = store.model(&name)? else { return Ok(Err(Refusal::no_model(&name))) };
            let mut latest = Vec::new();
            store.latest_versions(&[model.model.key], &mut |row| {
                if statuses.contains(&row.status) {
                    let aliases = model.aliases.iter().filter(|alias| alias.version == row.id);
                    let names = aliases.map(|alias| alias.name.clone());
                    let names = names.filter(|name| name != crate::domain::PRODUCTION_ALIAS);
                    latest.push((view(&row), names.collect()));
                }
            })?;
            Ok(Ok((model, latest)))
        });
        Ok(found.await??)
    }
}

/// The files of versions in the artifact store.
#[allow(clippy::missing_errors_doc, reason = "see `RegistryError`")]
impl Registry {
    /// Checks that the artifact store has the files of a version.
    pub async fn expect_stored(&self, version: VersionId) -> Result<()> {
        Ok(self.read(move |store| stored(store, version)).await??)
    }

    /// Returns the digest of a file of a version, which the artifact store has.
    pub async fn stored_file(&self, version: VersionId, path: String) -> Result<Digest> {
        let found = self.read(move |store| {
            if let Err(refusal) = stored(store, version)? {
                return Ok(Err(refusal));
            }
            // No path has this character, so the range has at most one.
            let (mut sha256, before) = (None, format!("{path}\u{1}"));
            store.files(&FileRange { version, from: &path, before: &before, limit: 1 }, &mut |file| {
                sha256 = file.sha256;
                ControlFlow::Break(())
            })?;
            let digest = Digest::parse("sha256", &sha256.unwrap_or_default());
            Ok(digest.and_then(|digest| {
                digest.ok_or_else(|| Refusal::NotFound(format!("the version has no file {path:?}")))
            }))
        });
        Ok(found.await??)
    }
}

/// Refuses a version whose files the artifact store does not have.
fn stored(
    store: &mut dyn ReadStore,
    version: VersionId,
) -> std::result::Result<std::result::Result<(), Refusal>, StoreError> {
    let reference = VersionRef::Id(version);
    let mut found = Err(reference.missing());
    store.version(&reference, &mut |row| {
        found = if is_stored(&row) {
            Ok(())
        } else {
            Err(Refusal::NotFound(format!(
                "the files of version {} of {:?} are not in this registry's store, but at {:?}",
                row.number,
                row.name,
                row.artifact_uri.as_deref().unwrap_or_default()
            )))
        };
    })?;
    Ok(found)
}

/// Changing. Each method returns once the change is committed.
#[allow(clippy::missing_errors_doc, reason = "see `RegistryError` and the operations")]
impl Registry {
    /// Creates a model whose versions count from 1, even if a deleted model had its name.
    pub async fn create_mlflow_model(
        &self,
        name: String,
        patch: ModelPatch,
        caller: Caller,
    ) -> Result<ModelSummary> {
        self.change(caller, move |store, context| {
            let model = operations::create_model(
                store,
                &name,
                &patch,
                GivenTimes::default(),
                Numbering::Restarted,
                context,
            )?;
            store.summarize(model)
        })
        .await
    }

    /// Deletes a model; one with a version in production only if those are not protected.
    pub async fn delete_mlflow_model(&self, name: String, caller: Caller) -> Result<()> {
        self.delete_model(name, self.mlflow_force(), Precondition::default(), caller).await
    }

    /// Deletes a version; one in production only if those are not protected.
    pub async fn delete_mlflow_version(&self, change: Change) -> Result<()> {
        self.delete(change, self.mlflow_force()).await
    }

    fn mlflow_force(&self) -> Force {
        if self.parts.rules.protect_production { Force::None } else { Force::Production }
    }

    /// Registers a version.
    pub async fn create_mlflow_version(
        &self,
        submission: Submission,
        caller: Caller,
    ) -> Result<Aliased<Version>> {
        let host = caller.host.clone();
        self.change(caller, move |store, context| {
            let version = operations::mlflow::create_version(store, &submission, host.as_deref(), context)?;
            Ok((version, Vec::new()))
        })
        .await
    }

    /// Sets or removes the description of a version.
    pub async fn describe_version(
        &self,
        change: Change,
        description: Option<String>,
    ) -> Result<Aliased<Version>> {
        let Change { version, precondition, caller } = change;
        self.change(caller, move |store, context| {
            let id = operations::find_version(store, &version)?;
            let patch = crate::domain::Patch { description: Some(description.clone()), ..Default::default() };
            let version = operations::update(store, id, &patch, &precondition, context)?;
            with_aliases(store, version)
        })
        .await
    }

    /// Changes the stage of a version.
    pub async fn transition(&self, transition: Transition, caller: Caller) -> Result<Aliased<Version>> {
        self.change(caller, move |store, context| {
            let version = operations::mlflow::transition(store, &transition, context)?;
            with_aliases(store, version)
        })
        .await
    }

    /// Points an alias, which the caller has checked, to a version.
    pub async fn set_mlflow_alias(
        &self,
        model: String,
        alias: String,
        number: i64,
        caller: Caller,
    ) -> Result<()> {
        self.change(caller, move |store, context| {
            operations::set_alias(store, &model, &alias, number, None, None, context).map(drop)
        })
        .await
    }

    /// Deletes an alias, if there is one.
    pub async fn delete_mlflow_alias(&self, model: String, alias: String, caller: Caller) -> Result<()> {
        self.change(caller, move |store, context| {
            operations::mlflow::delete_alias(store, &model, &alias, context)
        })
        .await
    }
}

fn with_aliases(
    store: &mut dyn WriteStore,
    version: Version,
) -> std::result::Result<Aliased<Version>, StoreError> {
    let aliases = store.aliases(version.model)?.into_iter().filter(|alias| alias.version == version.id);
    let aliases = aliases.map(|alias| alias.name).collect();
    Ok((version, aliases))
}
