//! A registered model: the name that versions share, with a description and tags.

use std::collections::BTreeMap;

use crate::{
    json::Object,
    limits,
    refusal::Refusal,
    tags::{check_size, check_tag},
    version::{VersionId, revision},
};

/// The key of a registered model; never reused.
pub type ModelKey = i64;
/// The key under which events are chained that happen to the registry itself, such as a new API key.
pub const REGISTRY_KEY: ModelKey = 0;

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Never reused, even after a deletion.
    pub key: ModelKey,
    /// Unique among the models that are not deleted.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Values by key.
    pub tags: BTreeMap<String, String>,
    /// UTC, as [`Timestamp`](crate::Timestamp) writes it.
    pub created_at: String,
    /// UTC; increases with every change of the model itself. Changes of its versions leave it.
    pub updated_at: String,
    /// UTC; `None` unless the model is in the trash.
    pub deleted_at: Option<String>,
    /// UTC: when anything but its tags and aliases changed last, its set of versions and their statuses included; `None` if
    /// that is `updated_at`. MLflow's API shows it.
    pub changed_at: Option<String>,
    /// The number of its next version.
    pub next_number: i64,
}

/// Where the versions of a new model begin to count, if a deleted model had its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// After the numbers of that model, so that a number never names two versions.
    Continued,
    /// At 1, as MLflow counts.
    Restarted,
}

impl Model {
    /// Identifies this state of the model itself, as [`Version::revision`](crate::Version::revision) does for a version.
    #[must_use]
    pub fn revision(&self) -> String {
        revision(self.key, &self.updated_at)
    }

    /// Returns when anything but its tags and aliases changed last.
    #[must_use]
    pub fn changed_at(&self) -> &str {
        self.changed_at.as_ref().unwrap_or(&self.updated_at)
    }

    /// Returns the values that a change can change.
    #[must_use]
    pub fn values(&self) -> Object {
        let tags: Object =
            self.tags.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        Object::from_iter([
            ("name".to_owned(), self.name.as_str().into()),
            ("description".to_owned(), self.description.as_deref().into()),
            ("tags".to_owned(), tags.into()),
        ])
    }
}

/// Tags of a model at most.
pub const MAX_MODEL_TAGS: usize = 1_000;
/// Aliases of a model at most, without `production`.
pub const MAX_ALIASES: usize = 256;

/// Checks that a model with this many aliases may get another one.
///
/// # Errors
/// [`Refusal::Conflict`] at [`MAX_ALIASES`].
pub fn check_alias_count(aliases: usize) -> Result<(), Refusal> {
    if aliases < MAX_ALIASES {
        return Ok(());
    }
    Err(Refusal::Conflict(format!(
        "the model has {aliases} aliases, and at most {MAX_ALIASES} are allowed; delete one first"
    )))
}

/// A change of a model; what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelPatch {
    /// The new name.
    pub name: Option<String>,
    /// The new description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// Tags to set, or, with `None`, to remove. Other tags stay.
    pub tags: BTreeMap<String, Option<String>>,
}

impl ModelPatch {
    /// Applies the patch.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a name or a tag that is blank or too long, or too many tags.
    pub fn apply(&self, model: &mut Model) -> Result<(), Refusal> {
        if let Some(name) = &self.name {
            limits::check_name("name", name)?;
            model.name.clone_from(name);
        }
        if let Some(description) = &self.description {
            model.description.clone_from(description);
        }
        for (key, value) in &self.tags {
            match value {
                None => {
                    model.tags.remove(key);
                }
                Some(value) => {
                    check_tag(key, value)?;
                    model.tags.insert(key.clone(), value.clone());
                }
            }
        }
        check_size(model.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
        if model.tags.len() > MAX_MODEL_TAGS {
            return Err(Refusal::Invalid(format!(
                "the model would have {} tags, and at most {MAX_MODEL_TAGS} are allowed; remove some",
                model.tags.len()
            )));
        }
        Ok(())
    }
}

/// A registered model with a summary of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSummary {
    /// The model.
    pub model: Model,
    /// How many versions it has; deleted ones do not count.
    pub versions: u64,
    /// The number of its newest version.
    pub latest: Option<i64>,
    /// Its aliases by name, `production` included.
    pub aliases: Vec<Alias>,
}

/// A name that points to one version of its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The name of the alias.
    pub name: String,
    /// The version.
    pub version: VersionId,
    /// Its number.
    pub number: i64,
    /// Its label.
    pub label: String,
}

/// The alias that is the status: its holder is the production version.
pub const PRODUCTION_ALIAS: &str = "production";

/// A time in which a version held an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The alias, which may be [`PRODUCTION_ALIAS`].
    pub alias: String,
    /// The version, which may be deleted.
    pub version: VersionId,
    /// Its number.
    pub number: i64,
    /// Its label.
    pub label: String,
    /// UTC.
    pub since: String,
    /// UTC; `None` while it holds the alias.
    pub until: Option<String>,
    /// Who gave it the alias.
    pub actor: Option<String>,
    /// Why, if a reason was given.
    pub reason: Option<String>,
}

/// Checks the name of an alias. [`PRODUCTION_ALIAS`] is one.
///
/// # Errors
/// [`Refusal::Invalid`] if it is blank or too long, or reads as a version number (`12`, `v12`) or as `latest`.
pub fn check_alias(name: &str) -> Result<(), Refusal> {
    limits::check_name("alias", name)?;
    let digits = name.strip_prefix(['v', 'V']).unwrap_or(name);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty() {
        return Err(Refusal::Invalid(format!(
            "alias {name:?} reads as a version number; choose another name"
        )));
    }
    if name.eq_ignore_ascii_case("latest") {
        return Err(Refusal::Invalid(format!(
            "alias {name:?} is reserved for the newest version; choose another name"
        )));
    }
    Ok(())
}

/// Checks that an alias points to the version that the caller expects. `held` and `expected` are numbers of versions, `None` for
/// no version; without an expectation any will do.
///
/// # Errors
/// [`Refusal::Conflict`] if it does not.
pub fn check_holder(alias: &str, held: Option<i64>, expected: Option<Option<i64>>) -> Result<(), Refusal> {
    if expected.is_none_or(|expected| expected == held) {
        return Ok(());
    }
    let held = held.map_or_else(|| "no version".to_owned(), |number| format!("version number {number}"));
    Err(Refusal::Conflict(format!(
        "alias {alias:?} points to {held}, not to the expected one; read the alias again and repeat the change"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_moves_only_from_the_version_that_the_caller_expects() {
        for (held, expected, good) in [
            (None, None, true),
            (Some(1), None, true),
            (None, Some(None), true),
            (Some(1), Some(Some(1)), true),
            (Some(1), Some(None), false),
            (None, Some(Some(1)), false),
            (Some(2), Some(Some(1)), false),
        ] {
            assert_eq!(check_holder("a", held, expected).is_ok(), good, "{held:?}, {expected:?}");
        }
    }

    #[test]
    fn an_alias_is_no_number_and_not_latest() {
        for (name, good) in [
            ("champion", true),
            ("production", true),
            ("v", true),
            ("1a", true),
            ("v1.2", true),
            ("übung/1", true),
            ("", false),
            (" ", false),
            ("12", false),
            ("v12", false),
            ("V3", false),
            ("latest", false),
            ("Latest", false),
        ] {
            assert_eq!(check_alias(name).is_ok(), good, "{name}");
        }
    }
}
