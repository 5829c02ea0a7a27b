//! `model-versions/…`

use crate::domain::{
    VersionRef,
    mlflow::{Submission, check_name},
};

use super::{
    super::{answer::Answer, request::Call},
    answer,
    arguments::Arguments,
    error::OrMissing as _,
};

pub(super) async fn create(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let submission = Submission {
        model: given.required("name")?,
        source: given.required("source")?,
        run_id: given.text("run_id")?,
        run_link: given.text("run_link")?,
        model_id: given.text("model_id")?,
        description: given.text("description")?,
        tags: given.tags()?,
    };
    check_name("name", &submission.model)?;
    let created = call.registry().create_mlflow_version(submission, call.caller()).await?;
    answer::changed(created)
}

pub(super) async fn get(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let (name, number) = (given.required("name")?, given.version()?);
    check_name("name", &name)?;
    let version = VersionRef::Number(name.clone(), number);
    answer::version(answer::version_json(&call, version).await.or_no_version(&name, number)?)
}
