//! Parses the name of a version on the command line: `name:label`, `name@alias`, `name#number`, or its id.

use std::{fmt, str::FromStr};

use serde_json::Value;

use super::{exit::Failure, print};
use crate::{
    client::{Client, ClientError, V1},
    domain::{PRODUCTION_ALIAS, VersionId, VersionRef, model::check_alias},
};

/// What names a version on a registry without `/v1`, as in "or …".
const WITHOUT_V1: &str = "name the version as name:label or by its id";

/// A version as it was named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VersionArg {
    text: String,
    /// Names, labels and aliases may contain `:`, `@` and `#`, so a text can have several.
    readings: Vec<VersionRef>,
}

impl FromStr for VersionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(id) = exact_number(text) {
            return Ok(Self::of_id(id));
        }
        let readings: Vec<_> =
            text.match_indices([':', '@', '#']).filter_map(|at| reading(text, at)).collect();
        if readings.is_empty() {
            return Err(
                "expected name:label, name@alias or name#number, like tiny-gpt:v1, or an id".to_owned()
            );
        }
        Ok(Self { text: text.to_owned(), readings })
    }
}

/// Reads the text with the separator at this place; `None` if no version has such a name.
fn reading(text: &str, (at, separator): (usize, &str)) -> Option<VersionRef> {
    let (name, rest) = (text[..at].to_owned(), &text[at + separator.len()..]);
    // No model has a blank name, and no version a blank label.
    if name.trim().is_empty() || rest.trim().is_empty() {
        return None;
    }
    match separator {
        ":" => Some(VersionRef::Label(name, rest.to_owned())),
        "@" => check_alias(rest).is_ok().then(|| VersionRef::Alias(name, rest.to_owned())),
        _ => exact_number(rest).filter(|number| *number > 0).map(|number| VersionRef::Number(name, number)),
    }
}

/// Parses a number in its only spelling: `07` and `+7` are not 7.
fn exact_number(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

impl fmt::Display for VersionArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print::one_line(&self.text))
    }
}

impl VersionArg {
    /// Returns the version with this name and label, even if they contain colons.
    pub(super) fn named(name: &str, label: &str) -> Self {
        Self::of(format!("{name}:{label}"), VersionRef::Label(name.to_owned(), label.to_owned()))
    }

    /// Returns the version with this id.
    pub(super) fn of_id(id: VersionId) -> Self {
        Self::of(id.to_string(), VersionRef::Id(id))
    }

    /// Returns the version of this name that is in production.
    pub(super) fn production_of(name: &str) -> Self {
        Self::of(format!("{name}@{PRODUCTION_ALIAS}"), VersionRef::production(name.to_owned()))
    }

    fn of(text: String, reading: VersionRef) -> Self {
        Self { text, readings: vec![reading] }
    }

    /// Returns the text as it was given.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the ways to read the text.
    pub(super) fn readings(&self) -> &[VersionRef] {
        &self.readings
    }

    /// Fetches the version as the native API shows it.
    ///
    /// # Errors
    /// If no reading names a version, or several do; or as any call.
    pub(super) fn fetch(&self, client: &Client) -> Result<Value, Failure> {
        let v1 = client.v1(WITHOUT_V1);
        self.find(|reading| match reading {
            VersionRef::Id(id) => client.model(*id),
            VersionRef::Label(name, label) => client.model_by_name(name, label),
            VersionRef::Alias(name, alias) if alias == PRODUCTION_ALIAS => client.production(name),
            // The native API knows neither aliases nor numbers.
            VersionRef::Alias(..) | VersionRef::Number(..) | VersionRef::Revision(..) => {
                client.model(v1.version(reading)?["id"].as_i64().unwrap_or_default())
            }
        })
    }

    /// Fetches the version as `/v1` shows it, with its model and its number.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub(super) fn fetch_v1(&self, v1: &V1<'_>) -> Result<Value, Failure> {
        self.find(|reading| v1.version(reading))
    }

    /// Tries every reading of the text, because a guess could name another version, or change its meaning once one of
    /// them is deleted.
    fn find(&self, fetch: impl Fn(&VersionRef) -> Result<Value, ClientError>) -> Result<Value, Failure> {
        let mut found: Vec<(Value, &VersionRef)> = Vec::new();
        let mut too_old = None;
        for reading in &self.readings {
            match fetch(reading) {
                Ok(version) if found.iter().all(|(known, _)| known.get("id") != version.get("id")) => {
                    found.push((version, reading));
                }
                Ok(_) | Err(ClientError::NotFound { .. }) => {}
                // Without `/v1` there are no aliases and no numbers, so another reading is meant, if there is one.
                Err(error @ ClientError::TooOld { .. }) => too_old = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        if found.len() > 1 {
            let versions: Vec<_> = found
                .iter()
                .map(|(version, reading)| format!("version {} ({})", id_text(version), described(reading)))
                .collect();
            return Err(Failure::failed(format!("{self} may be {}; use the id", versions.join(" or "))));
        }
        match (found.pop(), too_old) {
            (Some((version, _)), _) => Ok(version),
            (None, Some(error)) => Err(error.into()),
            (None, None) => Err(self.not_found()),
        }
    }

    fn not_found(&self) -> Failure {
        match &self.readings[..] {
            [VersionRef::Alias(_, alias)] if alias == PRODUCTION_ALIAS => {
                Failure::failed(format!("{self}: no version is in production; {LIST_ALL}"))
            }
            [VersionRef::Alias(name, alias)] => Failure::failed(print::one_line(&format!(
                "no version of {name} has the alias {alias}; `registry alias list {name}` shows its aliases"
            ))),
            _ => missing(self),
        }
    }

    /// Returns the failure for a call by id; if it found nothing, the message names the version as the user did.
    pub(super) fn or_missing(&self, error: ClientError) -> Failure {
        match error {
            ClientError::NotFound { .. } => missing(self),
            other => other.into(),
        }
    }

    /// Returns the id of the version, fetched unless the user gave it.
    pub(super) fn resolve(&self, client: &Client) -> Result<VersionId, Failure> {
        match self.readings[..] {
            [VersionRef::Id(id)] => Ok(id),
            _ => self.id_in(&self.fetch(client)?),
        }
    }

    /// Returns the id in the registry's answer for this version.
    pub(super) fn id_in(&self, model: &Value) -> Result<VersionId, Failure> {
        model.get("id").and_then(Value::as_i64).ok_or_else(|| {
            Failure::failed(format!("the registry's answer for {self} has no id; is it a registry?"))
        })
    }

    /// Returns the number of the version, as `/v1` shows it, within the model `name`.
    ///
    /// # Errors
    /// If it is a version of another model.
    pub(super) fn number_in(&self, version: &Value, name: &str) -> Result<i64, Failure> {
        match version.get("number").and_then(Value::as_i64) {
            Some(number) if version.get("model").is_some_and(|model| model == name) => Ok(number),
            _ => Err(Failure::usage(format!(
                "{self} is {}, not a version of {name}; name one as {name}:LABEL or {name}#NUMBER",
                label_with_id(version)
            ))),
        }
    }
}

/// `version b:c of a`
fn described(reading: &VersionRef) -> String {
    print::one_line(&match reading {
        VersionRef::Id(id) => format!("id {id}"),
        VersionRef::Label(name, label) => format!("version {label} of {name}"),
        VersionRef::Number(name, number) => format!("number {number} of {name}"),
        VersionRef::Alias(name, alias) => format!("alias {alias} of {name}"),
        VersionRef::Revision(name, revision) => format!("revision {revision} of {name}"),
    })
}

const LIST_ALL: &str = "`registry list` shows all versions";

/// Returns the failure for a version that does not exist.
pub(super) fn missing(version: impl fmt::Display) -> Failure {
    Failure::failed(format!("there is no version {version}; {LIST_ALL}"))
}

/// Returns `name:label` of a version, as the native API or `/v1` shows it.
pub(super) fn label(version: &Value) -> String {
    let text =
        |fields: [&str; 2]| fields.iter().find_map(|field| version.get(field)?.as_str()).unwrap_or("?");
    print::one_line(&format!("{}:{}", text(["name", "model"]), text(["version", "label"])))
}

/// `tiny:v1 (id 3)`
pub(super) fn label_with_id(model: &Value) -> String {
    format!("{} (id {})", label(model), id_text(model))
}

fn id_text(model: &Value) -> String {
    model.get("id").map_or_else(|| "?".to_owned(), Value::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str, label: &str) -> VersionRef {
        VersionRef::Label(name.to_owned(), label.to_owned())
    }

    fn alias(name: &str, alias: &str) -> VersionRef {
        VersionRef::Alias(name.to_owned(), alias.to_owned())
    }

    fn number(name: &str, number: i64) -> VersionRef {
        VersionRef::Number(name.to_owned(), number)
    }

    #[test]
    fn a_version_is_named_in_four_ways_byte_for_byte() {
        for (text, expected) in [
            ("7", vec![VersionRef::Id(7)]),
            ("07", vec![]),
            ("+7", vec![]),
            (" 12 ", vec![]),
            ("99999999999999999999", vec![]),
            ("m:v1", vec![label("m", "v1")]),
            (" m:v1 ", vec![label(" m", "v1 ")]),
            ("m:7", vec![label("m", "7")]),
            ("host:5000/m:v1", vec![label("host", "5000/m:v1"), label("host:5000/m", "v1")]),
            ("über:ü", vec![label("über", "ü")]),
            ("m@production", vec![alias("m", "production")]),
            ("m@champion", vec![alias("m", "champion")]),
            ("m@production:v1", vec![alias("m", "production:v1"), label("m@production", "v1")]),
            ("a:b@production", vec![label("a", "b@production"), alias("a:b", "production")]),
            ("a@b@c", vec![alias("a", "b@c"), alias("a@b", "c")]),
            ("m#2", vec![number("m", 2)]),
            ("m:v1#2", vec![label("m", "v1#2"), number("m:v1", 2)]),
            ("m#v2", vec![]),
            ("m#0", vec![]),
            ("m#-1", vec![]),
            ("m#02", vec![]),
            ("m#2 ", vec![]),
            ("m@2", vec![]),
            ("m@latest", vec![]),
            ("m", vec![]),
            (":v1", vec![]),
            ("m:", vec![]),
            ("m: ", vec![]),
            ("@production", vec![]),
            ("#1", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(text.parse::<VersionArg>().map_or(vec![], |read| read.readings), expected, "{text:?}");
        }
        assert_eq!(VersionArg::named("a:b", "v").readings, [label("a:b", "v")]);
    }
}
