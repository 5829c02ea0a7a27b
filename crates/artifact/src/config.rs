//! JSON files: the configuration of a model, and objects in general.
//!
//! A path only appears in error texts; the result depends on the bytes alone.

use std::path::Path;

use crate::{error::ArtifactError, open_file::OpenFile};
use registry_domain::{
    Measurement,
    json::{Object, Value, read_object},
};

/// The largest JSON file that is read, in bytes. A configuration with a whole vocabulary is about half of this; parsed, it
/// takes some ten times its size.
pub const MAX_JSON_BYTES: u64 = 32 * 1024 * 1024;

/// Digests and parses a configuration in one pass. `progress` receives the bytes done so far, and returns false to stop.
///
/// # Errors
/// [`ArtifactError::TooLarge`] over [`MAX_JSON_BYTES`], else as [`OpenFile::measure`], [`ArtifactError::NotJson`] and
/// [`ArtifactError::NotAnObject`].
pub fn read_config(
    opened: &OpenFile,
    progress: impl FnMut(u64) -> bool,
) -> Result<(Measurement, Object), ArtifactError> {
    let (measurement, content) = read(opened, progress)?;
    Ok((measurement, parse_config(&content, opened.path())?))
}

/// Parses the JSON object in the file at `path`.
///
/// # Errors
/// As [`OpenFile::open`] and [`read_config`].
pub fn read_object_file(path: &Path) -> Result<Object, ArtifactError> {
    let (_, content) = read(&OpenFile::open(path)?, |_| true)?;
    parse_object(&content, path)
}

fn read(
    opened: &OpenFile,
    mut progress: impl FnMut(u64) -> bool,
) -> Result<(Measurement, Vec<u8>), ArtifactError> {
    if opened.size_bytes() > MAX_JSON_BYTES {
        return Err(ArtifactError::TooLarge { path: opened.path().to_owned(), limit_bytes: MAX_JSON_BYTES });
    }
    let mut content = Vec::new();
    let measurement = opened.measure(|chunk, done| {
        content.extend_from_slice(chunk);
        progress(done)
    })?;
    Ok((measurement, content))
}

/// Parses a model's configuration. `NaN` and `Infinity`, which Python writes into such files, become `null`.
fn parse_config(bytes: &[u8], path: &Path) -> Result<Object, ArtifactError> {
    match parse_object(bytes, path) {
        Err(ArtifactError::NotJson { path, reason }) => std::str::from_utf8(bytes)
            .ok()
            .and_then(read_object)
            .ok_or(ArtifactError::NotJson { path, reason }),
        read => read,
    }
}

/// Parses an object from strict JSON.
///
/// # Errors
/// [`ArtifactError::NotJson`] with line and column, [`ArtifactError::NotAnObject`]; both name `path`.
pub fn parse_object(bytes: &[u8], path: &Path) -> Result<Object, ArtifactError> {
    let found = match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => return Ok(object),
        Ok(Value::Array(_)) => "a list",
        Ok(Value::String(_)) => "a string",
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
    use std::fs::{self, File};

    use super::*;

    fn refusal(text: &[u8]) -> String {
        parse_config(text, Path::new("c.json")).unwrap_err().to_string()
    }

    #[test]
    fn an_object_keeps_its_order() {
        let config = parse_config(br#"{"b": 1.50, "a": {"c": []}}"#, Path::new("c.json")).unwrap();
        assert_eq!(Value::Object(config).to_string(), r#"{"b":1.50,"a":{"c":[]}}"#);
    }

    #[test]
    fn a_syntax_error_has_line_and_column() {
        let text = refusal(b"{\n  \"a\": 1,\n  b\n}");
        assert!(text.starts_with("c.json is not JSON: "), "{text}");
        assert!(text.contains("line 3 column 3"), "{text}");
        for bad in [&b""[..], b"{half", b"\xff\xfe", b"{\"a\": \"\xff\"}", b"{} {}"] {
            let text = refusal(bad);
            assert!(text.contains("is not JSON") && text.contains("line 1 column"), "{text}");
        }
    }

    #[test]
    fn json_that_is_not_an_object_is_refused_by_its_type() {
        for (text, found) in [
            ("[1]", "a list"),
            ("\"x\"", "a string"),
            ("1", "a number"),
            ("true", "a boolean"),
            ("null", "null"),
        ] {
            let refused = refusal(text.as_bytes());
            assert!(
                refused.contains(&format!("c.json contains {found}, expected a JSON object")),
                "{refused}"
            );
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
    fn the_nesting_of_a_configuration_is_limited() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(refusal(deep.as_bytes()).contains("recursion limit"));
    }

    #[test]
    fn a_configuration_is_digested_and_read_in_one_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        fs::write(&path, "{}").unwrap();
        let (measurement, config) = read_config(&OpenFile::open(&path).unwrap(), |_| true).unwrap();
        // `{}`, by `sha256sum`.
        let digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(measurement.sha256.unwrap().to_string(), digest);
        assert_eq!((measurement.size_bytes, config), (2, Object::new()));
        assert_eq!(read_object_file(&path).unwrap(), Object::new());
    }

    #[test]
    fn a_file_that_is_too_large_for_json_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        File::create(&path).unwrap().set_len(MAX_JSON_BYTES + 1).unwrap();
        let refused = read_config(&OpenFile::open(&path).unwrap(), |_| panic!("it was read")).unwrap_err();
        assert!(refused.to_string().contains("model.pt is larger than 32 MiB"), "{refused}");
        assert!(matches!(read_object_file(&path), Err(ArtifactError::TooLarge { .. })));
    }
}
