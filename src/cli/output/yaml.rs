//! YAML of an answer.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// `value` as YAML with a line break at its end.
///
/// # Errors
/// Where it can't be written so; no answer of a registry is known to be.
pub(super) fn yaml(value: &Value) -> Result<String, String> {
    let mut text = serde_saphyr::to_string(&Plain(value)).map_err(|error| error.to_string())?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// JSON whose numbers keep their digits, in the words of a serializer that knows no such numbers.
struct Plain<'v>(&'v Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => {
                if let Some(number) = number.as_i64() {
                    return serializer.serialize_i64(number);
                }
                if let Some(number) = number.as_u64() {
                    return serializer.serialize_u64(number);
                }
                match number.as_f64() {
                    Some(float) if float.is_finite() => serializer.serialize_f64(float),
                    // Beyond what readers of YAML take for a number.
                    _ => serializer.serialize_str(&number.to_string()),
                }
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Plain)),
            Value::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(key, value)| (key.as_str(), Plain(value))))
            }
            Value::Null => serializer.serialize_unit(),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::String(text) if text.chars().any(|c| c == '\u{7f}') => {
                serializer.serialize_str(&text.replace('\u{7f}', " "))
            }
            Value::String(text) => serializer.serialize_str(text),
        }
    }
}
