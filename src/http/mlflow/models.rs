//! `registered-models/…`

use std::collections::BTreeMap;

use crate::{
    domain::{
        Precondition, Refusal, Status,
        mlflow::{check_name, check_tag, check_tag_key, is_prompt, parse_stage},
        model::ModelPatch,
    },
    registry::RegistryError,
};

use super::{
    super::{answer::Answer, error::ApiError, request::Call},
    answer,
    arguments::Arguments,
    error::{MlflowCode, OrMissing as _, refused},
};

pub(super) async fn create(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let name = given.required("name")?;
    let (tags, description) = (given.tags()?, given.text("description")?);
    check_name("name", &name)?;
    tags.iter().try_for_each(|(key, value)| check_tag(key, value))?;
    let as_prompt = is_prompt(&tags);
    let tags: BTreeMap<_, _> = tags.into_iter().map(|(key, value)| (key, Some(value))).collect();
    let patch = ModelPatch { name: None, description: Some(description), tags };
    match call.registry().create_mlflow_model(name.clone(), patch, call.caller()).await {
        Ok(_) => answer::model(&call, name).await,
        Err(RegistryError::Refused(Refusal::ModelExists(_))) => Err(taken(&call, name, as_prompt).await?),
        Err(error) => Err(error.into()),
    }
}

/// Returns the refusal of a name that a model or a prompt has.
async fn taken(call: &Call, name: String, as_prompt: bool) -> Result<ApiError, ApiError> {
    let existing = call.registry().registered_model(name.clone()).await?;
    let message = match (as_prompt, is_prompt(&existing.model.tags)) {
        (false, false) => format!("Registered Model (name={name}) already exists."),
        (true, true) => format!("Prompt (name={name}) already exists."),
        (is_prompt, _) => {
            let [new, old] = ["registered model", "prompt"];
            let (new, old) = if is_prompt { (old, new) } else { (new, old) };
            format!(
                "Tried to create a {new} with name '{name}', but the name is already taken by a {old}. MLflow does not \
                 allow creating a model and a prompt with the same name."
            )
        }
    };
    Ok(refused(MlflowCode::ResourceAlreadyExists, message))
}

pub(super) async fn get(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let name = given.required("name")?;
    check_name("name", &name)?;
    answer::model(&call, name).await
}

pub(super) async fn update(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let (name, description) = (given.required("name")?, given.text("description")?);
    check_name("name", &name)?;
    let patch = ModelPatch { description: Some(description), ..ModelPatch::default() };
    change(&call, &name, patch).await?;
    answer::model(&call, name).await
}

pub(super) async fn rename(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let (name, new_name) = (given.required("name")?, given.required("new_name")?);
    check_name("name", &name)?;
    check_name("new_name", &new_name)?;
    change(&call, &name, ModelPatch { name: Some(new_name.clone()), ..ModelPatch::default() }).await?;
    answer::model(&call, new_name).await
}

pub(super) async fn delete(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let name = given.required("name")?;
    check_name("name", &name)?;
    call.registry().delete_mlflow_model(name.clone(), call.caller()).await.or_no_model(&name)?;
    answer::done()
}

pub(super) async fn set_tag(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let (name, key) = (given.required("name")?, given.required("key")?);
    let value = given.text("value")?.unwrap_or_default();
    check_name("name", &name)?;
    check_tag(&key, &value)?;
    change(&call, &name, tag(key, Some(value))).await?;
    answer::done()
}

pub(super) async fn delete_tag(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let (name, key) = (given.required("name")?, given.required("key")?);
    check_name("name", &name)?;
    check_tag_key(&key)?;
    change(&call, &name, tag(key, None)).await?;
    answer::done()
}

fn tag(key: String, value: Option<String>) -> ModelPatch {
    ModelPatch { tags: BTreeMap::from([(key, value)]), ..ModelPatch::default() }
}

async fn change(call: &Call, name: &str, patch: ModelPatch) -> Result<(), ApiError> {
    let precondition = Precondition::default();
    let changed = call.registry().update_model(name.to_owned(), patch, precondition, call.caller());
    changed.await.or_no_model(name).map(drop)
}

pub(super) async fn latest_versions(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let (name, stages) = (given.required("name")?, given.texts("stages")?);
    check_name("name", &name)?;
    let statuses: Vec<_> = stages.iter().map(|stage| parse_stage(stage)).collect::<Result<_, _>>()?;
    let statuses = if statuses.is_empty() { Status::ALL.to_vec() } else { statuses };
    answer::latest_versions(&call, name, statuses).await
}
