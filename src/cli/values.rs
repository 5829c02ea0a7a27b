//! Values of flags: parsers, and the request body that they make.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use super::exit::Failure;
use crate::domain::{Status, json::Object, limits::check_name, model::check_alias};

/// Returns the parser of the four statuses.
pub(super) fn status_parser() -> impl TypedValueParser<Value = Status> {
    // The parser below accepts only the four names, so the default is never used.
    PossibleValuesParser::new(Status::NAMES).map(|name| Status::parse(&name).unwrap_or_default())
}

/// Parses a finite number, since JSON has no other.
pub(super) fn finite(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("expected a finite number, like 2.31".to_owned()),
    }
}

/// Parses a tag that is not blank.
pub(super) fn tag(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("a tag can't be blank".to_owned()) } else { Ok(text.to_owned()) }
}

/// Parses the name of a model, byte for byte.
pub(super) fn model_name(text: &str) -> Result<String, String> {
    check_name("name", text).map(|()| text.to_owned()).map_err(|refusal| refusal.to_string())
}

/// Parses the name of an alias, byte for byte.
pub(super) fn alias(text: &str) -> Result<String, String> {
    check_alias(text).map(|()| text.to_owned()).map_err(|refusal| refusal.to_string())
}

/// Parses the key of a tag.
pub(super) fn tag_key(text: &str) -> Result<String, String> {
    check_name("the key of a tag", text).map(|()| text.to_owned()).map_err(|refusal| refusal.to_string())
}

/// Parses `KEY=VALUE`, or `KEY` for an empty value.
pub(super) fn tag_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    Ok((tag_key(key)?, value.to_owned()))
}

/// Parses a JSON object.
pub(super) fn object(text: &str) -> Result<Object, String> {
    serde_json::from_str(text).map_err(|error| format!("expected a JSON object: {error}"))
}

/// Returns the fields of `flags` that have a value.
pub(super) fn request_body(flags: &impl Serialize) -> Result<Object, Failure> {
    let written = serde_json::to_value(flags).and_then(serde_json::from_value::<Object>);
    let mut body = written.map_err(Failure::failed)?;
    body.retain(|_, value| !value.is_null());
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_must_be_finite() {
        for text in ["2.31", " -1e-3", "5"] {
            assert!(finite(text).is_ok(), "{text}");
        }
        for text in ["NaN", "inf", "-infinity", "1e999", "", "low"] {
            assert!(finite(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tag_is_split_at_its_first_equals_sign_and_nothing_is_trimmed() {
        for (text, expected) in [
            ("team=nlp", Some(("team", "nlp"))),
            ("nightly", Some(("nightly", ""))),
            ("nightly=", Some(("nightly", ""))),
            ("a=b=c", Some(("a", "b=c"))),
            (" k = v ", Some((" k ", " v "))),
            ("=v", None),
            (" =v", None),
            ("", None),
        ] {
            let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert_eq!(tag_pair(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn metrics_must_be_an_object() {
        assert_eq!(object(r#"{"a": 1.50}"#).map(|read| read.len()), Ok(1));
        for text in ["[1]", "1", "null", "{half", "", r#"{"a": NaN}"#] {
            assert!(object(text).unwrap_err().starts_with("expected a JSON object: "), "{text}");
        }
    }
}
