//! The models and versions in MLflow's answers.

use std::collections::BTreeMap;

use registry_domain::{Status, Timestamp};
use serde_json::Value;

/// The tag that makes a model a prompt.
pub const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";

/// A registered model or a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlflowModel {
    /// Its name.
    pub name: String,
    /// `None` if it is empty.
    pub description: Option<String>,
    /// Values by key.
    pub tags: BTreeMap<String, String>,
    /// Numbers of versions by alias.
    pub aliases: BTreeMap<String, i64>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When it was last changed.
    pub updated_at: Option<Timestamp>,
}

impl MlflowModel {
    /// Returns true if it is a prompt.
    #[must_use]
    pub fn is_prompt(&self) -> bool {
        self.tags.get(PROMPT_TAG).is_some_and(|value| value == "true")
    }

    /// Reads a model; `None` if it has no name, or an alias of it has no number.
    pub(super) fn read(row: &Value) -> Option<Self> {
        let aliases = row.get("aliases").and_then(Value::as_array).into_iter().flatten();
        let alias = |alias: &Value| Some((text(alias, "alias")?, number(alias.get("version")?)?));
        Some(Self {
            name: text(row, "name")?,
            description: text(row, "description"),
            tags: tags(row),
            aliases: aliases.map(alias).collect::<Option<_>>()?,
            created_at: time(row, "creation_timestamp"),
            updated_at: time(row, "last_updated_timestamp"),
        })
    }
}

/// A version of a model or of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlflowVersion {
    /// The name of its model.
    pub model: String,
    /// Its number.
    pub number: i64,
    /// The status that its stage is; `None` for a stage that MLflow does not have.
    pub status: Option<Status>,
    /// The source as it was given.
    pub source: String,
    /// `None` if it is empty, as are the other texts.
    pub run_id: Option<String>,
    /// A link to the run.
    pub run_link: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Values by key.
    pub tags: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When it was last changed.
    pub updated_at: Option<Timestamp>,
}

impl MlflowVersion {
    /// Returns true if it is a version of a prompt, which has no files.
    #[must_use]
    pub fn is_prompt(&self) -> bool {
        self.tags.get(PROMPT_TAG).is_some_and(|value| value == "true")
    }

    /// Reads a version; `None` if it has no name or no number.
    pub(super) fn read(row: &Value) -> Option<Self> {
        Some(Self {
            model: text(row, "name")?,
            number: number(row.get("version")?)?,
            status: status(&text(row, "current_stage").unwrap_or_default()),
            source: text(row, "source").unwrap_or_default(),
            run_id: text(row, "run_id"),
            run_link: text(row, "run_link"),
            description: text(row, "description"),
            tags: tags(row),
            created_at: time(row, "creation_timestamp"),
            updated_at: time(row, "last_updated_timestamp"),
        })
    }
}

fn status(stage: &str) -> Option<Status> {
    match stage.to_ascii_lowercase().as_str() {
        "" | "none" => Some(Status::Experimental),
        "staging" => Some(Status::Staging),
        "production" => Some(Status::Production),
        "archived" => Some(Status::Archived),
        _ => None,
    }
}

/// Returns a text that is not empty.
fn text(row: &Value, field: &str) -> Option<String> {
    row.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Reads a number, which some servers send as a text.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Reads milliseconds since 1970.
fn time(row: &Value, field: &str) -> Option<Timestamp> {
    row.get(field).and_then(number).map(Timestamp::from_unix_millis)
}

fn tags(row: &Value) -> BTreeMap<String, String> {
    let tags = row.get("tags").and_then(Value::as_array).into_iter().flatten();
    let value = |tag: &Value| tag.get("value").and_then(Value::as_str).unwrap_or_default().to_owned();
    tags.filter_map(|tag| Some((text(tag, "key")?, value(tag)))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn empty_texts_are_missing_and_numbers_may_be_texts() {
        let version = MlflowVersion::read(&json!({
            "name": "m", "version": "3", "creation_timestamp": 1000, "last_updated_timestamp": "2000",
            "current_stage": "Production", "description": "", "source": "s3://b/m", "run_id": "",
            "tags": [{"key": "a", "value": ""}, {"key": "b"}, {"value": "no key"}], "run_link": "http://r",
        }));
        let tags = ["a", "b"].map(|key| (key.to_owned(), String::new())).into();
        let expected = MlflowVersion {
            model: "m".to_owned(),
            number: 3,
            status: Some(Status::Production),
            source: "s3://b/m".to_owned(),
            run_id: None,
            run_link: Some("http://r".to_owned()),
            description: None,
            tags,
            created_at: Some(Timestamp::from_unix_millis(1000)),
            updated_at: Some(Timestamp::from_unix_millis(2000)),
        };
        assert_eq!(version, Some(expected));
    }

    #[test]
    fn a_row_without_what_names_it_is_no_row() {
        for row in
            [json!({}), json!({"name": ""}), json!(7), json!({"name": "m", "aliases": [{"alias": "a"}]})]
        {
            assert_eq!(MlflowModel::read(&row), None, "{row}");
        }
        for row in [json!({"name": "m"}), json!({"name": "m", "version": "x"}), json!({"version": "1"})] {
            assert_eq!(MlflowVersion::read(&row), None, "{row}");
        }
        let unknown = MlflowVersion::read(&json!({"name": "m", "version": 1, "current_stage": "Live"}));
        assert_eq!(unknown.unwrap().status, None);
    }
}
