//! Values of flags: parsers, and the request body that they make.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use super::exit::Failure;
use crate::domain::{Status, json::Object};

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
    fn metrics_must_be_an_object() {
        assert_eq!(object(r#"{"a": 1.50}"#).map(|read| read.len()), Ok(1));
        for text in ["[1]", "1", "null", "{half", "", r#"{"a": NaN}"#] {
            assert!(object(text).unwrap_err().starts_with("expected a JSON object: "), "{text}");
        }
    }
}
