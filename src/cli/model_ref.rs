//! Parses the name of a version on the command line: `name:version`, its id, or `name@production`.

use std::{fmt, str::FromStr};

use serde_json::Value;

use super::{exit::Failure, print};
use crate::{
    client::{Client, ClientError},
    domain::VersionId,
};

const PRODUCTION: &str = "@production";

/// A version as it was named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelRef {
    text: String,
    /// Names and versions may contain colons, and versions may end with `@production`, so a text can have several.
    readings: Vec<Reading>,
}

/// One way to read the text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reading {
    Id(VersionId),
    Version { name: String, version: String },
    Production { name: String },
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print::one_line(&match self {
            Self::Id(id) => format!("id {id}"),
            Self::Version { name, version } => format!("version {version} of {name}"),
            Self::Production { name } => format!("production of {name}"),
        }))
    }
}

impl FromStr for ModelRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(id) = text.parse() {
            return Ok(Self::of_id(id));
        }
        let versions = text.match_indices(':').map(|(at, _)| Reading::Version {
            name: text[..at].to_owned(),
            version: text[at + 1..].to_owned(),
        });
        let production =
            text.strip_suffix(PRODUCTION).map(|name| Reading::Production { name: name.to_owned() });
        // No model has a blank name or version.
        let is_possible = |reading: &Reading| match reading {
            Reading::Id(_) => true,
            Reading::Version { name, version } => !name.trim().is_empty() && !version.trim().is_empty(),
            Reading::Production { name } => !name.trim().is_empty(),
        };
        let readings: Vec<_> = versions.chain(production).filter(is_possible).collect();
        if readings.is_empty() {
            return Err("expected name:version, like tiny-gpt:v1, an id, or name@production".to_owned());
        }
        Ok(Self { text: text.to_owned(), readings })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print::one_line(&self.text))
    }
}

impl ModelRef {
    /// Returns the version with this name and version, even if they contain colons.
    pub(super) fn named(name: &str, version: &str) -> Self {
        let reading = Reading::Version { name: name.to_owned(), version: version.to_owned() };
        Self::of(format!("{name}:{version}"), reading)
    }

    /// Returns the version with this id.
    pub(super) fn of_id(id: VersionId) -> Self {
        Self::of(id.to_string(), Reading::Id(id))
    }

    /// Returns the version of this name that is in production.
    pub(super) fn production_of(name: &str) -> Self {
        Self::of(format!("{name}{PRODUCTION}"), Reading::Production { name: name.to_owned() })
    }

    fn of(text: String, reading: Reading) -> Self {
        Self { text, readings: vec![reading] }
    }

    /// Fetches the version. It tries every reading of the text, because a guess could name another version, or
    /// change its meaning once one of them is deleted.
    ///
    /// # Errors
    /// If no reading names a version, or several do; or as any call.
    pub(super) fn fetch(&self, client: &Client) -> Result<Value, Failure> {
        let mut found: Vec<(Value, &Reading)> = Vec::new();
        for reading in &self.readings {
            let answer = match reading {
                Reading::Id(id) => client.model(*id),
                Reading::Version { name, version } => client.model_by_name(name, version),
                Reading::Production { name } => client.production(name),
            };
            match answer {
                Ok(model) if found.iter().all(|(known, _)| known.get("id") != model.get("id")) => {
                    found.push((model, reading));
                }
                Ok(_) | Err(ClientError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if found.len() > 1 {
            let models: Vec<_> = found
                .iter()
                .map(|(model, reading)| format!("model {} ({reading})", id_text(model)))
                .collect();
            return Err(Failure::failed(format!("{self} may be {}; use the id", models.join(" or "))));
        }
        found.pop().map(|(model, _)| model).ok_or_else(|| match self.readings[..] {
            [Reading::Production { .. }] => {
                Failure::failed(format!("{self}: no version is in production; {LIST_ALL}"))
            }
            _ => missing(self),
        })
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
            [Reading::Id(id)] => Ok(id),
            _ => self.id_in(&self.fetch(client)?),
        }
    }

    /// Returns the id in the registry's answer for this version.
    pub(super) fn id_in(&self, model: &Value) -> Result<VersionId, Failure> {
        model.get("id").and_then(Value::as_i64).ok_or_else(|| {
            Failure::failed(format!("the registry's answer for {self} has no id; is it a registry?"))
        })
    }
}

const LIST_ALL: &str = "`registry list` shows all versions";

/// Returns the failure for a version that does not exist.
pub(super) fn missing(model: impl fmt::Display) -> Failure {
    Failure::failed(format!("there is no model {model}; {LIST_ALL}"))
}

/// Returns `name:version` of a model.
pub(super) fn label(model: &Value) -> String {
    let text = |field: &str| model.get(field).and_then(Value::as_str).unwrap_or("?");
    print::one_line(&format!("{}:{}", text("name"), text("version")))
}

/// `tiny:v1 (model 3)`
pub(super) fn label_with_id(model: &Value) -> String {
    format!("{} (model {})", label(model), id_text(model))
}

fn id_text(model: &Value) -> String {
    model.get("id").map_or_else(|| "?".to_owned(), Value::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str, version: &str) -> Reading {
        Reading::Version { name: name.to_owned(), version: version.to_owned() }
    }

    fn production(name: &str) -> Reading {
        Reading::Production { name: name.to_owned() }
    }

    #[test]
    fn a_version_is_named_in_three_ways() {
        for (text, expected) in [
            ("7", vec![Reading::Id(7)]),
            (" 12 ", vec![Reading::Id(12)]),
            ("m:v1", vec![version("m", "v1")]),
            ("m:7", vec![version("m", "7")]),
            ("host:5000/m:v1", vec![version("host", "5000/m:v1"), version("host:5000/m", "v1")]),
            ("über:ü", vec![version("über", "ü")]),
            ("m@production", vec![production("m")]),
            ("m@production:v1", vec![version("m@production", "v1")]),
            ("a:b@production", vec![version("a", "b@production"), production("a:b")]),
            ("m", vec![]),
            (":v1", vec![]),
            ("m:", vec![]),
            ("m: ", vec![]),
            ("@production", vec![]),
            ("m@staging", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(text.parse::<ModelRef>().map_or(vec![], |read| read.readings), expected, "{text:?}");
        }
        assert_eq!(ModelRef::named("a:b", "v").readings, [version("a:b", "v")]);
    }
}
