//! `registered-models/…`

use std::collections::BTreeMap;

use crate::{
    domain::{
        Refusal,
        mlflow::{check_name, check_tag, is_prompt},
        model::ModelPatch,
    },
    registry::RegistryError,
};

use super::{
    super::{answer::Answer, error::ApiError, request::Call},
    answer,
    arguments::Arguments,
    error::{MlflowCode, refused},
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
