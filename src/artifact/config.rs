//! Reading JSON files: a model's configuration, and objects in general.
//!
//! What is kept is judged by the bytes alone; where they came from serves only the error's text.

use std::path::Path;

use super::ArtifactError;
use crate::domain::json::{Object, Value, read_object};

/// Reads a model's configuration. `NaN` and `Infinity`, which Python writes into such files, are `null`.
///
/// # Errors
/// [`ArtifactError::NotJson`] with line and column, [`ArtifactError::NotAnObject`]; both name `path`.
pub fn parse_config(bytes: &[u8], path: &Path) -> Result<Object, ArtifactError> {
    match parse_object(bytes, path) {
        Err(ArtifactError::NotJson { path, reason }) => std::str::from_utf8(bytes)
            .ok()
            .and_then(read_object)
            .ok_or(ArtifactError::NotJson { path, reason }),
        read => read,
    }
}

/// Reads an object from strict JSON.
///
/// # Errors
/// As [`parse_config`].
pub fn parse_object(bytes: &[u8], path: &Path) -> Result<Object, ArtifactError> {
    let found = match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => return Ok(object),
        Ok(Value::Array(_)) => "a list",
        Ok(Value::String(_)) => "a text",
        Ok(Value::Number(_)) => "a number",
        Ok(Value::Bool(_)) => "a boolean",
        Ok(Value::Null) => "null",
        Err(error) => {
            return Err(ArtifactError::NotJson { path: path.to_owned(), reason: error.to_string() });
        }
    };
    Err(ArtifactError::NotAnObject { path: path.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &[u8]) -> String {
        parse_config(text, Path::new("c.json")).unwrap_err().to_string()
    }

    #[test]
    fn an_object_is_read_in_its_order() {
        let config = parse_config(br#"{"b": 1.50, "a": {"c": []}}"#, Path::new("c.json")).unwrap();
        assert_eq!(Value::Object(config).to_string(), r#"{"b":1.50,"a":{"c":[]}}"#);
    }

    #[test]
    fn a_syntax_error_says_where() {
        let text = refusal(b"{\n  \"a\": 1,\n  b\n}");
        assert!(text.starts_with("c.json is not JSON: "), "{text}");
        assert!(text.contains("line 3 column 3"), "{text}");
        for bad in [&b""[..], b"{half", b"\xff\xfe", b"{\"a\": \"\xff\"}", b"{} {}"] {
            let text = refusal(bad);
            assert!(text.contains("is not JSON") && text.contains("line 1 column"), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_named() {
        for (text, found) in [
            ("[1]", "a list"),
            ("\"x\"", "a text"),
            ("1", "a number"),
            ("true", "a boolean"),
            ("null", "null"),
        ] {
            let refused = refusal(text.as_bytes());
            assert!(refused.contains(&format!("c.json holds {found} where a JSON object")), "{refused}");
        }
    }

    #[test]
    fn nan_is_null_in_a_configuration_and_an_error_elsewhere() {
        let text = br#"{"d_model": 8, "clip": Infinity, "loss": NaN}"#;
        let config = parse_config(text, Path::new("c.json")).unwrap();
        assert_eq!(Value::Object(config).to_string(), r#"{"d_model":8,"clip":null,"loss":null}"#);
        assert!(matches!(parse_object(text, Path::new("m.json")), Err(ArtifactError::NotJson { .. })));
    }

    #[test]
    fn a_configuration_may_not_nest_without_end() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(refusal(deep.as_bytes()).contains("recursion limit"));
    }
}
