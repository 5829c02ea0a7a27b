//! How a person names a version: `name:version`, its id, or `name@production`.

use std::{fmt, str::FromStr};

use serde_json::Value;

use super::{exit::Failure, print};
use crate::{
    client::{Client, ClientError},
    domain::ModelId,
};

const PRODUCTION: &str = "@production";

/// A version as it was named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    text: String,
    kind: Kind,
    /// Whether name and version were given apart, so that there is one way to read them.
    is_exact: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Id(ModelId),
    /// Where the colons stand. A name or a version may itself hold some, so each of them may be the one.
    Named(Vec<usize>),
    Production,
}

impl FromStr for ModelRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        // A colon at either end leaves a blank name or version, which no model has.
        let is_inside = |at: usize| !text[..at].trim().is_empty() && !text[at + 1..].trim().is_empty();
        let colons: Vec<_> = text.match_indices(':').map(|(at, _)| at).filter(|at| is_inside(*at)).collect();
        let kind = if let Ok(id) = text.parse() {
            Kind::Id(id)
        } else if !colons.is_empty() {
            Kind::Named(colons)
        } else if text.strip_suffix(PRODUCTION).is_some_and(|name| !name.trim().is_empty()) {
            Kind::Production
        } else {
            return Err(
                "a version is named name:version, like tiny-gpt:v1, or by its id, or name@production"
                    .to_owned(),
            );
        };
        Ok(Self { text: text.to_owned(), kind, is_exact: false })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print::one_line(&self.text))
    }
}

impl ModelRef {
    /// The version with that name and version.
    #[must_use]
    pub fn named(name: &str, version: &str) -> Self {
        Self { text: format!("{name}:{version}"), kind: Kind::Named(vec![name.len()]), is_exact: true }
    }

    /// The version with that id.
    #[must_use]
    pub(super) fn of_id(id: ModelId) -> Self {
        Self { text: id.to_string(), kind: Kind::Id(id), is_exact: true }
    }

    /// The version of that name that is in production.
    #[must_use]
    pub(super) fn production_of(name: &str) -> Self {
        Self { text: format!("{name}{PRODUCTION}"), kind: Kind::Production, is_exact: false }
    }

    /// Asks the registry for the version. Where colons, or `@production` behind one, can be read in several
    /// ways, it asks for each of them: a guess might be wrong, and another one once the first is deleted.
    ///
    /// # Errors
    /// Where there is none, saying how to find one, or several, saying which; or as any call.
    pub fn fetch(&self, client: &Client) -> Result<Value, Failure> {
        let production = self.text.strip_suffix(PRODUCTION).filter(|name| !name.trim().is_empty());
        let mut found: Vec<(Value, String)> = Vec::new();
        let mut add = |answer: Result<Value, ClientError>, read_as: String| match answer {
            Ok(model) if found.iter().all(|(known, _)| known.get("id") != model.get("id")) => {
                found.push((model, read_as));
                Ok(())
            }
            Ok(_) | Err(ClientError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        };
        match &self.kind {
            Kind::Id(id) => add(client.model(*id), String::new())?,
            Kind::Production => {}
            Kind::Named(colons) => {
                for at in colons {
                    let (name, version) = (&self.text[..*at], &self.text[at + 1..]);
                    add(client.model_by_name(name, version), format!("version {version} of {name}"))?;
                }
            }
        }
        if let (false, Some(name)) = (matches!(self.kind, Kind::Id(_)) || self.is_exact, production) {
            add(client.production(name), format!("production of {name}"))?;
        }
        if found.len() > 1 {
            let models: Vec<_> = found
                .iter()
                .map(|(model, read_as)| format!("model {} ({})", id_text(model), print::one_line(read_as)))
                .collect();
            return Err(Failure::failed(format!("{self} may be {}; use the id", models.join(" or "))));
        }
        found.pop().map(|(model, _)| model).ok_or_else(|| {
            Failure::failed(match self.kind {
                Kind::Production => {
                    format!("{self}: no version is in production; `registry list` shows what there is")
                }
                _ => format!("there is no model {self}; `registry list` shows what there is"),
            })
        })
    }

    /// What to say where an id turns out to name nothing; other failures are told as they are.
    pub(super) fn or_missing(&self, error: ClientError) -> Failure {
        match error {
            ClientError::NotFound { .. } => {
                Failure::failed(format!("there is no model {self}; `registry list` shows what there is"))
            }
            other => other.into(),
        }
    }

    /// The id of the version; asks the registry only where it was not named by it.
    ///
    /// # Errors
    /// As [`ModelRef::fetch`].
    pub fn resolve(&self, client: &Client) -> Result<ModelId, Failure> {
        match self.kind {
            Kind::Id(id) => Ok(id),
            _ => self.id_in(&self.fetch(client)?),
        }
    }

    /// The id in what the registry answered for this version.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn id_in(&self, model: &Value) -> Result<ModelId, Failure> {
        model.get("id").and_then(Value::as_i64).ok_or_else(|| {
            Failure::failed(format!("the registry's answer for {self} holds no id; is it a registry?"))
        })
    }
}

/// `name:version` of an answer.
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

    #[test]
    fn a_version_is_named_in_three_ways() {
        for (text, expected) in [
            ("7", Some(Kind::Id(7))),
            (" 12 ", Some(Kind::Id(12))),
            ("m:v1", Some(Kind::Named(vec![1]))),
            ("m:7", Some(Kind::Named(vec![1]))),
            ("host:5000/m:v1", Some(Kind::Named(vec![4, 11]))),
            ("über:ü", Some(Kind::Named(vec![5]))),
            ("m@production", Some(Kind::Production)),
            ("m@production:v1", Some(Kind::Named(vec![12]))),
            ("m", None),
            (":v1", None),
            ("m:", None),
            ("m: ", None),
            ("@production", None),
            ("m@staging", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<ModelRef>().ok().map(|read| read.kind), expected, "{text:?}");
        }
        assert_eq!(ModelRef::named("a:b", "v").kind, Kind::Named(vec![3]));
    }
}
