//! Changes that only MLflow's API makes: a version whose label is its number, copies of versions, and stages.

use registry_domain::{
    Draft, LabelReuse, Manifest, Model, Provenance, Refusal, Scope, Status, Tags, Version,
    mlflow::{CopyOf, Origin, Source, Submission, Transition, check_copy, is_prompt, prompt_copied},
};

use super::{
    Context, free_label, load_model,
    policies::Candidate,
    production::{admit, change_status},
    references::{find_holder, find_number},
    register,
};
use crate::{StoreError, WriteStore};

/// Registers a version of a model that exists. Its label is its number, unless another version has that label.
///
/// A copy gets the run, the location and the files of the version that it copies, so it stays usable when that one is deleted. A
/// label that a deleted version had is given out again, as MLflow counts from 1 after a model was deleted.
///
/// # Errors
/// [`Refusal::NotFound`] if there is no such model, or nothing to copy; [`Refusal::Invalid`]; [`Refusal::TooLarge`].
pub fn create_version(
    store: &mut dyn WriteStore,
    submission: &Submission,
    host: Option<&str>,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    context.require(&Scope::Register, &submission.model)?;
    let source = submission.source()?;
    let model = find_named(store, &submission.model)?;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut origin = Origin {
        location: None,
        run_link: given(&submission.run_link),
        model_id: given(&submission.model_id),
    };
    let (mut uri, mut run_id) = (submission.source.clone(), given(&submission.run_id));
    let mut copied_files = None;
    if let Source::Copy(name, of) = source {
        let copied = find_copied(store, submission, name, &of)?;
        let copied_origin = Origin::read(copied.origin.as_deref());
        uri = format!("models:/{name}/{}", copied.number);
        run_id = copied.run_id;
        origin.model_id = copied_origin.model_id;
        origin.location = copied_origin.location.or(copied.artifact_uri);
        if let Some(summary) = copied.manifest {
            copied_files = Some((Manifest::of(store.manifest_files(copied.id)?)?, summary.is_stored));
        }
    }
    let label = free_label(store, &model.name, model.next_number, LabelReuse::Allowed)?;
    let mut draft = Draft::named(&submission.model, label)?;
    if let Some((manifest, is_stored)) = copied_files {
        draft.set_manifest(manifest, is_stored);
    }
    draft.artifact_uri = Some(uri);
    draft.provenance = Provenance {
        run_id,
        created_by: Some(context.actor.to_owned()),
        source_host: host.map(str::to_owned),
        git_commit: None,
    };
    // Not given, it is answered as an empty text, and only a change removes it.
    draft.description = Some(submission.description.clone().unwrap_or_default());
    draft.origin = origin;
    for (key, value) in &submission.tags {
        if value.is_empty() {
            draft.tags.push(key.clone());
        } else {
            draft.properties.insert(key.clone(), value.clone());
        }
    }
    let mut draft = draft.check()?;
    draft.resolve_artifact_uri()?;
    register(store, draft, LabelReuse::Allowed, context)
}

/// Returns the model with this name, or a refusal in the words of MLflow: a copy names two models.
fn find_named(store: &mut dyn WriteStore, name: &str) -> Result<Model, StoreError> {
    let missing = || Refusal::NotFound(format!("Registered Model with name={name} not found"));
    Ok(store.find_model(name)?.ok_or_else(missing)?)
}

/// Returns the version that a submission copies.
fn find_copied(
    store: &mut dyn WriteStore,
    submission: &Submission,
    name: &str,
    of: &CopyOf<'_>,
) -> Result<Version, StoreError> {
    let model = find_named(store, name)?;
    let newest = |store: &mut dyn WriteStore, status| store.versions_with_status(model.key, status);
    let copied = match of {
        CopyOf::Number(number) => match store.find_number(model.key, *number)? {
            Some(id) => store.find(id)?,
            None => None,
        }
        .ok_or_else(|| Refusal::NotFound(format!("Model Version (name={name}, version={number}) not found"))),
        CopyOf::Alias(alias) => find_holder(store, model.key, name, alias)?
            .ok_or_else(|| Refusal::Invalid(format!("Registered model alias {alias} not found."))),
        CopyOf::Latest => match store.summarize(model.clone())?.latest {
            Some(number) => Ok(find_number(store, model.key, name, number)?),
            None => Err(Refusal::NotFound(format!("Latest version not found for model {name}."))),
        },
        CopyOf::Status(status) => match newest(store, *status)?.first() {
            Some(id) => store.find(*id)?,
            None => None,
        }
        .ok_or_else(|| {
            Refusal::NotFound(format!("No version of {name} has the stage of {:?}.", submission.source))
        }),
    }?;
    let tags = Tags::of(&copied);
    let is_prompt_version = tags.get(registry_domain::mlflow::PROMPT_TAG).is_some();
    if is_prompt(&model.tags) || is_prompt_version {
        return Err(prompt_copied(&submission.source).into());
    }
    check_copy(
        &submission.source,
        [submission.run_id.as_deref(), submission.model_id.as_deref()],
        [copied.run_id.as_deref(), Origin::read(copied.origin.as_deref()).model_id.as_deref()],
    )?;
    Ok(copied)
}

/// Changes the status of a version, and archives the others that have it, if that is asked for: of production the one before,
/// which otherwise goes to staging.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Conflict`] if the gate refuses the version; [`Refusal::Invalid`].
pub fn transition(
    store: &mut dyn WriteStore,
    transition: &Transition,
    context: &Context<'_>,
) -> Result<Version, StoreError> {
    transition.check()?;
    let Transition { model: name, number, to, archive_others } = transition;
    let model = load_model(store, name)?;
    let version = find_number(store, model.key, name, *number)?;
    context.require_status(Some(version.status), *to, name)?;
    let after = Version { status: *to, ..version.clone() };
    let mut admission = admit(store, Candidate::from(&after), Some(version.status), None, context)?;
    if let (Some(incumbent), true) = (&mut admission.incumbent, archive_others) {
        context.require_status(None, Status::Archived, name)?;
        incumbent.to = Status::Archived;
    }
    if *archive_others && *to != Status::Production {
        for id in store.versions_with_status(model.key, *to)? {
            if let Some(other) = store.find(id)?.filter(|other| other.id != version.id) {
                context.require_status(None, Status::Archived, name)?;
                let archived = Version { status: Status::Archived, ..other.clone() };
                let admission = admit(store, Candidate::from(&archived), Some(*to), None, context)?;
                change_status(store, other, Status::Archived, admission, None, context)?;
            }
        }
    }
    if version.status == *to {
        return Ok(version);
    }
    change_status(store, version, *to, admission, None, context)
}

/// Deletes an alias, if there is one. Deleting `production` moves its holder to staging.
///
/// # Errors
/// [`Refusal::NotFound`] if there is no such model.
pub fn delete_alias(
    store: &mut dyn WriteStore,
    name: &str,
    alias: &str,
    context: &Context<'_>,
) -> Result<(), StoreError> {
    super::aliases::require(name, alias, Status::AFTER_PRODUCTION, context)?;
    let model = load_model(store, name)?;
    if find_holder(store, model.key, name, alias)?.is_some() {
        super::delete_alias(store, name, alias, None, None, context)?;
    }
    Ok(())
}
