//! How MLflow names what the registry holds: stages, versions, sources, and what may be a name, an alias or a tag.
//!
//! The messages are MLflow's, since its users and tests know them. This module must not know how requests come in.

mod names;
mod source;
mod stored;

pub use names::{check_alias, check_name, check_new_alias, check_tag, check_tag_key};
pub use source::{CopyOf, Source, check_copy, prompt_copied};
pub use stored::{StoredPath, is_only_here, is_stored};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{refusal::Refusal, status::Status};

/// The tag that makes a model, or a version, a prompt.
pub const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";
/// The tag of a prompt's version that holds its text.
const PROMPT_TEXT_TAG: &str = "mlflow.prompt.text";
/// The tag under which MLflow shows the label of a version whose label is not its number.
pub const LABEL_TAG: &str = "registry.label";

/// Returns true if these are the tags of a prompt.
#[must_use]
pub fn is_prompt(tags: &BTreeMap<String, String>) -> bool {
    tags.get(PROMPT_TAG).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// What MLflow knows of the origin of a version, besides its run and its source, which is the artifact's URI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Where the files are, if the source names another version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// A link to the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_link: Option<String>,
    /// The logged model that the version was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_id: Option<String>,
}

impl Origin {
    /// Reads the column of a version; anything else than a JSON object is an empty origin.
    #[must_use]
    pub fn read(column: Option<&str>) -> Self {
        column.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    /// Returns the text of the column; `None` if there is nothing to keep.
    #[must_use]
    pub fn to_json(&self) -> Option<String> {
        (*self != Self::default()).then(|| serde_json::to_string(self).unwrap_or_default())
    }
}

/// A version as MLflow's client registers it. Its label becomes its number.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// The model, which must exist.
    pub model: String,
    /// The source as given.
    pub source: String,
    /// The run; empty is not the same as not given.
    pub run_id: Option<String>,
    /// A link to the run.
    pub run_link: Option<String>,
    /// The logged model that it is made of.
    pub model_id: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Values by key.
    pub tags: BTreeMap<String, String>,
}

impl Submission {
    /// Refuses values that MLflow refuses, and says what the source is.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub fn source(&self) -> Result<Source<'_>, Refusal> {
        let is_prompt = is_prompt(&self.tags);
        let text = self.tags.get(PROMPT_TEXT_TAG).filter(|_| is_prompt);
        if text.is_some_and(|text| text.chars().count() > crate::tags::MAX_TAG_VALUE_CHARS) {
            return Err(Refusal::Invalid("Prompt text exceeds max length of 100000 characters.".to_owned()));
        }
        for (key, value) in &self.tags {
            check_tag(key, value)?;
        }
        Source::parse(&self.source, self.run_id.as_deref(), self.model_id.as_deref(), is_prompt)
    }
}

/// A change of a version's stage.
#[derive(Debug, Clone)]
pub struct Transition {
    /// The model.
    pub model: String,
    /// The number of the version.
    pub number: i64,
    /// The new status.
    pub to: Status,
    /// Archive all other versions that have this status.
    pub archive_others: bool,
}

impl Transition {
    /// Refuses to archive the others of a stage in which MLflow has no active versions.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub fn check(&self) -> Result<(), Refusal> {
        if !self.archive_others || matches!(self.to, Status::Staging | Status::Production) {
            return Ok(());
        }
        Err(Refusal::Invalid(format!(
            "Model version transition cannot archive existing model versions because '{}' is not an Active stage. \
             Valid stages are ['Staging', 'Production']",
            stage(self.to)
        )))
    }
}

/// Returns the stage of a status.
#[must_use]
pub fn stage(status: Status) -> &'static str {
    match status {
        Status::Experimental => "None",
        Status::Staging => "Staging",
        Status::Production => "Production",
        Status::Archived => "Archived",
    }
}

/// Reads a stage, in any case.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn parse_stage(text: &str) -> Result<Status, Refusal> {
    let named = |status: &Status| stage(*status).eq_ignore_ascii_case(text);
    Status::ALL.into_iter().find(named).ok_or_else(|| {
        Refusal::Invalid(format!(
            "Invalid Model Version stage: {text}. Value must be one of None, Staging, Production, Archived."
        ))
    })
}

/// Reads the number of a version as Python's `int()` does: with blanks around it, a sign, leading zeros, and `_` between digits.
/// A number that is too large is no version's.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn parse_version(text: &str) -> Result<i64, Refusal> {
    let trimmed = text.trim();
    let (is_negative, digits) = match trimmed.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let is_number =
        digits.split('_').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_number {
        return Err(Refusal::Invalid(format!("Parameter 'version' must be an integer, got '{text}'.")));
    }
    let number = digits.replace('_', "").parse().unwrap_or(i64::MAX);
    Ok(if is_negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_what_python_reads_as_an_integer() {
        for (text, number) in [
            ("1", Some(1)),
            ("01", Some(1)),
            (" 1 ", Some(1)),
            ("+1", Some(1)),
            ("-1", Some(-1)),
            ("1_0", Some(10)),
            ("99999999999999999999", Some(i64::MAX)),
            ("", None),
            ("+", None),
            ("+-1", None),
            ("1__0", None),
            ("_1", None),
            ("1.0", None),
            ("1e0", None),
            ("v1", None),
            ("latest", None),
        ] {
            assert_eq!(parse_version(text).ok(), number, "{text:?}");
        }
    }

    #[test]
    fn a_stage_is_named_in_any_case_and_each_status_has_one() {
        for status in Status::ALL {
            assert_eq!(parse_stage(&stage(status).to_uppercase()), Ok(status));
        }
        for text in ["", "live", "experimental", " Staging"] {
            assert!(parse_stage(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_origin_is_stored_only_if_there_is_one() {
        assert_eq!(Origin::default().to_json(), None);
        let origin = Origin { run_link: Some("http://r".to_owned()), ..Origin::default() };
        let json = origin.to_json();
        assert_eq!(json.as_deref(), Some(r#"{"run_link":"http://r"}"#));
        assert_eq!(Origin::read(json.as_deref()), origin);
        for column in [None, Some("3"), Some("no json")] {
            assert_eq!(Origin::read(column), Origin::default());
        }
    }
}
