//! `model-versions/…`

use serde_json::json;

use crate::{
    domain::{
        Patch, Precondition, VersionRef,
        mlflow::{
            Origin, Submission, Transition, check_name, check_tag, check_tag_key, parse_stage, parse_version,
        },
        tags::TagChanges,
    },
    registry::Change,
};

use super::{
    super::{answer::Answer, error::ApiError, request::Call},
    answer,
    arguments::Arguments,
    error::OrMissing as _,
    files,
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
    answer::changed(&call, created)
}

pub(super) async fn get(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let (name, number) = named(&given)?;
    let version = VersionRef::Number(name.clone(), number);
    answer::version(answer::version_json(&call, version).await.or_no_version(&name, number)?)
}

pub(super) async fn update(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let ((name, number), description) = (named(&given)?, given.text("description")?);
    let described = call.registry().describe_version(change(&call, &name, number), description);
    answer::changed(&call, described.await.or_no_version(&name, number)?)
}

pub(super) async fn delete(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let (name, number) = named(&given)?;
    let deleted = call.registry().delete_mlflow_version(change(&call, &name, number));
    deleted.await.or_no_version(&name, number)?;
    answer::done()
}

pub(super) async fn transition_stage(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let ((name, number), stage) = (named(&given)?, given.required("stage")?);
    let transition = Transition {
        model: name.clone(),
        number,
        to: parse_stage(&stage)?,
        archive_others: given.boolean("archive_existing_versions")?,
    };
    let changed = call.registry().transition(transition, call.caller());
    answer::changed(&call, changed.await.or_no_version(&name, number)?)
}

/// Unlike other calls, this one reads a missing version as an empty one.
pub(super) async fn download_uri(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let name = given.text("name")?.unwrap_or_default();
    check_name("name", &name)?;
    let number = parse_version(&given.text("version")?.unwrap_or_default())?;
    let address = files::address(&call);
    let location = call.registry().model(VersionRef::Number(name.clone(), number), move |row| {
        let location = files::location(address.as_deref(), row);
        let location = location.or_else(|| Origin::read(row.origin.as_deref()).location);
        location.unwrap_or_else(|| row.artifact_uri.as_deref().unwrap_or_default().to_owned())
    });
    let location = location.await.or_no_version(&name, number)?;
    answer::json(json!({ "artifact_uri": location }).to_string().into_bytes())
}

pub(super) async fn set_tag(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let ((name, number), key) = (named(&given)?, given.required("key")?);
    let value = given.text("value")?.unwrap_or_default();
    check_tag(&key, &value)?;
    change_tag(&call, &name, number, (key, Some(value))).await
}

pub(super) async fn delete_tag(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let ((name, number), key) = (named(&given)?, given.required("key")?);
    check_tag_key(&key)?;
    change_tag(&call, &name, number, (key, None)).await
}

async fn change_tag(call: &Call, name: &str, number: i64, tag: (String, Option<String>)) -> Answer {
    let (change, tags) = (change(call, name, number), TagChanges::from([tag]));
    let changed = call.registry().update_with_tags(change, Patch::default(), tags);
    changed.await.or_no_version(name, number)?;
    answer::done()
}

/// Returns the name and the number of the version that a call is about.
fn named(given: &Arguments) -> Result<(String, i64), ApiError> {
    let (name, number) = (given.required("name")?, given.version()?);
    check_name("name", &name)?;
    Ok((name, number))
}

/// Returns a change of a version. MLflow knows no preconditions.
fn change(call: &Call, name: &str, number: i64) -> Change {
    Change {
        version: VersionRef::Number(name.to_owned(), number),
        precondition: Precondition::default(),
        caller: call.caller(),
    }
}
