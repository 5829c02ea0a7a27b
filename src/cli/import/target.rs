//! What the registry has already of the models of an import.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::client::{ClientError, V1, V1Page, mlflow::PROMPT_TAG};

/// Items on a page.
const PAGE: (&str, &str) = ("limit", "200");

/// A model of the registry.
#[derive(Debug, Default)]
pub(super) struct Present {
    pub(super) is_prompt: bool,
    /// By number.
    pub(super) versions: BTreeMap<i64, PresentVersion>,
    /// The numbers of versions in the trash.
    pub(super) deleted: BTreeSet<i64>,
    /// Numbers by alias, `production` included.
    pub(super) aliases: BTreeMap<String, i64>,
    /// True if this import creates it, so that it has no history.
    pub(super) is_new: bool,
}

/// A version of the registry.
#[derive(Debug)]
pub(super) struct PresentVersion {
    pub(super) source: Option<String>,
    pub(super) run_id: Option<String>,
    /// True if the artifact store has its files.
    pub(super) is_stored: bool,
}

impl Present {
    /// Reads a model and its versions; `None` if there is no model of this name.
    pub(super) fn find(v1: &V1<'_>, name: &str) -> Result<Option<Self>, ClientError> {
        let model = match v1.model(name) {
            Err(ClientError::NotFound { .. }) => return Ok(None),
            model => model?,
        };
        let mut present = Self {
            is_prompt: text(&model["tags"], PROMPT_TAG).as_deref() == Some("true"),
            aliases: numbers(&model["aliases"]),
            ..Self::default()
        };
        each(
            |page| v1.versions(name, page),
            &[],
            |version| {
                if let Some(number) = version["number"].as_i64() {
                    let found = PresentVersion {
                        source: text(version, "artifact_uri"),
                        run_id: text(version, "run_id"),
                        is_stored: version["stored"] == true,
                    };
                    present.versions.insert(number, found);
                }
            },
        )?;
        each(
            |page| v1.versions(name, page),
            &[("deleted", "true")],
            |version| {
                present.deleted.extend(version["number"].as_i64());
            },
        )?;
        Ok(Some(present))
    }
}

/// Returns the names of the models and prompts in the trash.
pub(super) fn deleted_models(v1: &V1<'_>) -> Result<BTreeSet<String>, ClientError> {
    let mut names = BTreeSet::new();
    for prompts in ["false", "true"] {
        let query = [("deleted", "true"), ("prompts", prompts)];
        each(|page| v1.models(page), &query, |model| names.extend(text(model, "name")))?;
    }
    Ok(names)
}

/// Returns true if the alias ever pointed to a version.
pub(super) fn was_ever_set(v1: &V1<'_>, name: &str, alias: &str) -> Result<bool, ClientError> {
    Ok(!v1.history(name, &[("alias", alias), ("limit", "1")])?.is_empty())
}

/// Visits the items of all pages.
fn each(
    fetch: impl Fn(&[(&str, &str)]) -> Result<V1Page, ClientError>,
    query: &[(&str, &str)],
    mut visit: impl FnMut(&Value),
) -> Result<(), ClientError> {
    let mut next: Option<String> = None;
    loop {
        let mut query = [&[PAGE], query].concat();
        query.extend(next.iter().map(|cursor| ("cursor", cursor.as_str())));
        let page = fetch(&query)?;
        page.items.iter().for_each(&mut visit);
        next = page.next;
        if next.is_none() {
            return Ok(());
        }
    }
}

fn text(object: &Value, field: &str) -> Option<String> {
    object.get(field).and_then(Value::as_str).map(str::to_owned)
}

fn numbers(object: &Value) -> BTreeMap<String, i64> {
    let numbers = object.as_object().into_iter().flatten();
    numbers.filter_map(|(name, number)| Some((name.clone(), number.as_i64()?))).collect()
}
