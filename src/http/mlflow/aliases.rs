//! `registered-models/alias`

use crate::{
    domain::{
        Refusal, VersionRef,
        mlflow::{check_alias, check_name, check_new_alias},
    },
    registry::RegistryError,
};

use super::{
    super::{answer::Answer, request::Call},
    answer,
    arguments::Arguments,
    error::{MlflowCode, OrMissing as _, invalid, refused},
};

/// The alias of the newest version, in any case. It can't be set.
const LATEST: &str = "latest";

pub(super) async fn set(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let (name, alias, number) = (given.required("name")?, given.required("alias")?, given.version()?);
    check_name("name", &name)?;
    check_new_alias(&alias)?;
    let set = call.registry().set_mlflow_alias(name.clone(), alias, number, call.caller());
    set.await.or_no_version(&name, number)?;
    answer::done()
}

pub(super) async fn get(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let (name, alias) = (given.required("name")?, given.required("alias")?);
    check_name("name", &name)?;
    check_alias(&alias)?;
    if alias.eq_ignore_ascii_case(LATEST) {
        let model = call.registry().registered_model(name.clone()).await.or_no_model(&name)?;
        let Some(number) = model.latest else {
            let message = format!("Latest version not found for model {name}.");
            return Err(refused(MlflowCode::ResourceDoesNotExist, message));
        };
        let version = VersionRef::Number(name.clone(), number);
        return answer::version(answer::version_json(&call, version).await.or_no_version(&name, number)?);
    }
    match answer::version_json(&call, VersionRef::Alias(name.clone(), alias.clone())).await {
        Err(RegistryError::Refused(Refusal::NotFound(_))) => {
            call.registry().registered_model(name.clone()).await.or_no_model(&name)?;
            Err(invalid(format!("Registered model alias {alias} not found.")))
        }
        found => answer::version(found?),
    }
}

pub(super) async fn delete(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let (name, alias) = (given.required("name")?, given.required("alias")?);
    check_name("name", &name)?;
    check_alias(&alias)?;
    call.registry().delete_mlflow_alias(name.clone(), alias, call.caller()).await.or_no_model(&name)?;
    answer::done()
}
