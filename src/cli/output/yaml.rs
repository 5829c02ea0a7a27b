//! YAML of an answer.

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::DoubleQuoted;

use crate::{cli::exit::Failure, domain::text::is_bidi_control};

/// Formats `value` as YAML with a line break at its end.
pub(in crate::cli) fn yaml(value: &Value) -> Result<String, Failure> {
    let text = serde_saphyr::to_string(&Plain(value)).map_err(Failure::failed)?;
    let mut escaped = String::with_capacity(text.len());
    for letter in text.trim_end_matches('\n').chars() {
        match letter {
            // The library does not escape these. They are in double quotes, except in keys.
            letter if is_bidi_control(letter) => escaped.push_str(&format!("\\u{:04X}", u32::from(letter))),
            letter => escaped.push(letter),
        }
    }
    Ok(escaped + "\n")
}

/// JSON for a serializer without numbers of arbitrary length. Whole numbers keep their digits, as a text if they are too
/// long for YAML; other numbers become floats, so that 2.50 becomes 2.5.
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
                let text = number.to_string();
                if text.trim_start_matches('-').bytes().all(|digit| digit.is_ascii_digit()) {
                    return serializer.serialize_str(&text);
                }
                match number.as_f64() {
                    Some(float) if float.is_finite() => serializer.serialize_f64(float),
                    // Too large for a number in YAML.
                    _ => serializer.serialize_str(&text),
                }
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Plain)),
            Value::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(key, value)| (key.as_str(), Plain(value))))
            }
            Value::Null => serializer.serialize_unit(),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::String(text) if text.contains(is_bidi_control) => DoubleQuoted(text).serialize(serializer),
            Value::String(text) => serializer.serialize_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::is_unsafe_to_display;

    #[test]
    fn ambiguous_texts_are_quoted_and_none_controls_a_terminal() {
        for (value, text) in [
            (json!("plain"), "plain"),
            (json!("yes"), "\"yes\""),
            (json!("0x1f"), "\"0x1f\""),
            (json!("2.50"), "\"2.50\""),
            (json!("null"), "\"null\""),
            (json!(null), "null"),
            (json!(2.5), "2.5"),
            (json!(true), "true"),
            (json!("a\u{1b}[2J\u{9b}"), "\"a\\e[2J\\x9B\""),
            (json!([]), "[]"),
            (json!({}), "{}"),
        ] {
            assert_eq!(yaml(&value).unwrap().trim_end(), text, "{value}");
        }
        for (number, text) in [
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "18446744073709551616"),
            ("-123456789012345678901234567890", "-123456789012345678901234567890"),
            ("2.50", "2.5"),
            ("1e999", "1e+999"),
            ("-7", "-7"),
        ] {
            let value: Value = serde_json::from_str(number).unwrap();
            assert_eq!(yaml(&value).unwrap().trim_end().trim_matches('"'), text);
        }
    }

    #[test]
    fn bidi_controls_are_escaped() {
        for (value, text) in [
            (json!("\u{202e}"), r#""\u202E""#),
            (json!(["x \u{202e}\nnew \"line\" \\"]), "- \"x \\u202E\\nnew \\\"line\\\" \\\\\""),
        ] {
            assert_eq!(yaml(&value).unwrap().trim_end(), text);
        }
    }

    #[test]
    fn no_text_controls_a_terminal() {
        for unsafe_text in ["a\u{202e}b", "\u{2066}\nnew \"line\" \\", "a\u{2028}b\u{2029}", "a\u{7f}b"] {
            let text = yaml(&json!({unsafe_text: [unsafe_text]})).unwrap();
            assert!(!text.contains(|c| is_unsafe_to_display(c) && c != '\n'), "{text:?}");
        }
    }
}
