//! JSON as text: limits of what a client may send, repair of what 0.2.0 wrote, and the canonical form for digests.
//!
//! Numbers keep their digits (`1.0` stays `1.0`, a big integer stays exact) and objects keep their order. If a key
//! occurs twice, the last value counts.

use std::{borrow::Cow, fmt::Write as _};

use serde::de::IgnoredAny;
pub use serde_json::{Map, Number, Value};

/// A JSON object that keeps the order of its fields.
pub type Object = Map<String, Value>;

/// The most levels of what a client sends. The parser takes 128, and the registry stores metrics two levels deeper and
/// reads them again.
pub const MAX_DEPTH: usize = 96;

/// A key by which `serde_json` marks numbers; it would parse a client's object with this key as a number.
const RESERVED_KEY: &str = "$serde_json::private::Number";

/// Returns true if `key` can't be a key of an object, because the parser uses it.
#[must_use]
pub fn is_reserved_key(key: &str) -> bool {
    key == RESERVED_KEY
}

/// Returns true if an object in `text` has a reserved key, escaped or not. `text` need not be JSON.
#[must_use]
pub fn has_reserved_key(text: &str) -> bool {
    if !text.contains(RESERVED_KEY) && !text.contains("\\u") {
        return false;
    }
    let mut rest = text;
    while let Some(start) = rest.find('"') {
        let token = &rest[start..];
        let mut escaped = false;
        let end = token[1..].find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some(end) = end.map(|end| end + 2) else { return false };
        rest = &token[end..];
        if rest.trim_start().starts_with(':')
            && serde_json::from_str(&token[..end]).is_ok_and(|key: String| is_reserved_key(&key))
        {
            return true;
        }
    }
    false
}

/// Levels of lists and objects in `value`; 0 for a number or a text.
#[must_use]
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// `object` as text without spaces.
#[must_use]
pub fn compact(object: &Object) -> String {
    // serde_json fails only on keys that are no text and on its writer.
    serde_json::to_string(object).unwrap_or_default()
}

/// Reads an object that the store holds. It repairs what 0.2.0 could write and is not JSON: `NaN` and `Infinity`
/// become `null`, and a lone surrogate the replacement character. `None` if it is not an object, or too deep.
#[must_use]
pub fn read_object(text: &str) -> Option<Object> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&repaired(text))).ok()
}

/// Text of the store as it can go into an answer: unchanged if it is JSON, repaired like [`read_object`], or `null` if
/// it is not JSON at all.
#[must_use]
pub fn servable(text: &str) -> Cow<'_, str> {
    // `IgnoredAny` skips texts without decoding their escapes, so it does not notice a lone surrogate.
    let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
    let may_have_surrogate = text.contains("\\ud") || text.contains("\\uD");
    if !may_have_surrogate && is_json(text) {
        return Cow::Borrowed(text.trim_ascii());
    }
    let repaired = repaired(text);
    if is_json(&repaired) { Cow::Owned(repaired.trim_ascii().to_owned()) } else { Cow::Borrowed("null") }
}

/// `text` in the form that answers have: compact, and without needless escapes. `None` if it has that form already or
/// can't be read.
#[must_use]
pub fn respelled(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).or_else(|_| serde_json::from_str(&repaired(text))).ok()?;
    let normalized = value.to_string();
    (normalized != text).then_some(normalized)
}

/// Replaces `NaN`, `Infinity` and `-Infinity` outside texts by `null`, and lone surrogates in texts by `\ufffd`.
fn repaired(text: &str) -> String {
    const TOKENS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    let mut repaired = String::with_capacity(text.len());
    let mut rest = text;
    let mut inside_text = false;
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        let mut replacement = None;
        match first {
            '"' => inside_text = !inside_text,
            '\\' if inside_text => (taken, replacement) = escape(rest),
            _ if !inside_text => {
                if let Some(token) = TOKENS.into_iter().find(|token| rest.starts_with(token)) {
                    (taken, replacement) = (token.len(), Some("null"));
                }
            }
            _ => {}
        }
        repaired.push_str(replacement.unwrap_or(&rest[..taken]));
        rest = &rest[taken..];
    }
    repaired
}

/// Length in bytes of the escape at the start of `text`, and its replacement if it is a lone surrogate.
fn escape(text: &str) -> (usize, Option<&'static str>) {
    let unit = |at: usize| {
        let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    match (unit(0), unit(6)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, None),
        (Some(0xd800..=0xdfff), _) => (6, Some("\\ufffd")),
        _ => (1 + text[1..].chars().next().map_or(0, char::len_utf8), None),
    }
}

/// The canonical form that `prior_metrics_sha256` is computed from. As in 0.2.0 it equals Python's
/// `json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`.
#[must_use]
pub fn canonical(object: &Object) -> String {
    let mut text = String::new();
    write_canonical_object(object, &mut text);
    text
}

fn write_canonical_object(object: &Object, text: &mut String) {
    let mut fields: Vec<_> = object.iter().collect();
    // UTF-8 sorts by code point, and so does Python.
    fields.sort_unstable_by_key(|(key, _)| key.as_str());
    text.push('{');
    for (position, (key, value)) in fields.into_iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        write_canonical_text(key, text);
        text.push(':');
        write_canonical(value, text);
    }
    text.push('}');
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => write_canonical_number(number.as_str(), text),
        Value::String(string) => write_canonical_text(string, text),
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Object(object) => write_canonical_object(object, text),
    }
}

fn write_canonical_text(string: &str, text: &mut String) {
    // serde_json escapes just what Python does without ensure_ascii: quote, backslash, controls.
    if string.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        text.push_str(&serde_json::to_string(string).unwrap_or_default());
        return;
    }
    text.push('"');
    text.push_str(string);
    text.push('"');
}

/// A number as Python prints it after reading it: integers digit by digit, floats by `repr`.
fn write_canonical_number(number: &str, text: &mut String) {
    if !number.contains(['.', 'e', 'E']) {
        text.push_str(if number == "-0" { "0" } else { number });
        return;
    }
    if is_shortest(number) {
        text.push_str(number);
        return;
    }
    write_float(number.parse().unwrap_or(f64::NAN), text);
}

fn write_float(float: f64, text: &mut String) {
    if float.is_infinite() {
        text.push_str(if float > 0.0 { "Infinity" } else { "-Infinity" });
        return;
    }
    // The shortest digits that read back the same, as "d.ddde-7"; Python's repr writes the same digits.
    let scientific = format!("{float:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    text.push_str(sign);
    if (-4..16).contains(&exponent) {
        write_positional(&digits, exponent, text);
        return;
    }
    text.push_str(&digits[..1]);
    if digits.len() > 1 {
        text.push('.');
        text.push_str(&digits[1..]);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    // Writing to a String can't fail.
    let _ = write!(text, "e{sign}{:02}", exponent.unsigned_abs());
}

/// Returns true if Python prints this JSON number as it stands, which most scores allow: up to 15 digits identify a
/// float, so no shorter text reads back the same.
fn is_shortest(number: &str) -> bool {
    let unsigned = number.strip_prefix('-').unwrap_or(number);
    let Some((whole, fraction)) = unsigned.split_once('.') else { return false };
    // Python writes `1e-05` and `1.0`.
    let is_tiny = whole == "0" && fraction.starts_with("000");
    let has_needless_zero = fraction.len() > 1 && fraction.ends_with('0');
    unsigned.len() <= 16 && !fraction.contains(['e', 'E']) && !is_tiny && !has_needless_zero
}

fn write_positional(digits: &str, exponent: i32, text: &mut String) {
    let Ok(whole) = usize::try_from(exponent + 1) else {
        text.push_str("0.");
        text.extend(std::iter::repeat_n('0', exponent.unsigned_abs() as usize - 1));
        text.push_str(digits);
        return;
    };
    if whole == 0 {
        text.push_str("0.");
        text.push_str(digits);
    } else if digits.len() > whole {
        text.push_str(&digits[..whole]);
        text.push('.');
        text.push_str(&digits[whole..]);
    } else {
        text.push_str(digits);
        text.extend(std::iter::repeat_n('0', whole - digits.len()));
        text.push_str(".0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digested_as_python_prints_them() {
        // Left as sent, right what CPython 3.11 prints for json.dumps(json.loads(left)).
        for (sent, printed) in [
            ("1.0", "1.0"),
            ("1e5", "100000.0"),
            ("1E+2", "100.0"),
            ("1e16", "1e+16"),
            ("1e15", "1000000000000000.0"),
            ("123456789012345680", "123456789012345680"),
            ("123456789012345680.0", "1.2345678901234568e+17"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("1e22", "1e+22"),
            ("1.5e-7", "1.5e-07"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("0.1", "0.1"),
            ("0.012", "0.012"),
            ("100", "100"),
            ("1e400", "Infinity"),
            ("-2.50", "-2.5"),
            ("9007199254740993.0", "9007199254740992.0"),
            ("123456.789e3", "123456789.0"),
        ] {
            let mut text = String::new();
            write_canonical(&serde_json::from_str(sent).unwrap(), &mut text);
            assert_eq!(text, printed, "{sent}");
        }
    }

    #[test]
    fn a_number_that_is_taken_for_the_shortest_text_is_what_a_float_prints() {
        let mut shortest = 0;
        for whole in ["0", "1", "-7", "10", "900", "-12345", "99999999", "123456789012345"] {
            for fraction in
                ["0", "1", "5", "10", "25", "01", "001", "0001", "00012", "120", "999999999", "12345678901"]
            {
                let number = format!("{whole}.{fraction}");
                if is_shortest(&number) {
                    let mut text = String::new();
                    write_float(number.parse().unwrap(), &mut text);
                    assert_eq!(text, number);
                    shortest += 1;
                }
            }
        }
        assert!(shortest > 40, "{shortest}");
    }

    #[test]
    fn the_canonical_form_sorts_keys_and_leaves_text_unescaped() {
        let sent = r#"{ "suites": {"s": {"\u00e9": "тег\n\"\\\/\u007f\u001f", "b": [1, 2.50, null, true,
            {"z": 1e16, "a": -0.0}]}}, "a": {} }"#;
        let expected = "{\"a\":{},\"suites\":{\"s\":{\"b\":[1,2.5,null,true,{\"a\":-0.0,\"z\":1e+16}],\"é\":\"тег\\n\\\"\\\\/\u{7f}\\u001f\"}}}";
        assert_eq!(canonical(&read_object(sent).unwrap()), expected);
    }

    #[test]
    fn stored_text_is_answered_unchanged_if_it_is_json() {
        for (kept, served) in [
            (r#"{"a":1.0,"b":[1e5]}"#, r#"{"a":1.0,"b":[1e5]}"#),
            (r#"{"a": NaN, "b": [-Infinity, Infinity]}"#, r#"{"a": null, "b": [null, null]}"#),
            (r#"{"t": "NaN \" Infinity", "n": NaN}"#, r#"{"t": "NaN \" Infinity", "n": null}"#),
            (r#"["\ud83d\uDE00", "\\ud800"]"#, r#"["\ud83d\uDE00", "\\ud800"]"#),
            (r#"{"\ud800": "a\uDC00\ud83d\n"}"#, r#"{"\ufffd": "a\ufffd\ufffd\n"}"#),
            (r#"["\ud800\ud83d\ude00", "\ud8", NaN]"#, "null"),
            (" [1] ", "[1]"),
            ("", "null"),
            ("{half", "null"),
            ("\"\\", "null"),
            ("\\é", "null"),
        ] {
            assert_eq!(servable(kept), served, "{kept}");
        }
        assert!(matches!(servable("{\"a\":1}"), Cow::Borrowed(_)));
    }

    #[test]
    fn text_of_old_files_is_normalized_once() {
        for (kept, normalized) in [
            (r#"{"a": 1.50, "t": "\u0442"}"#, Some(r#"{"a":1.50,"t":"т"}"#)),
            (r#"{"a": NaN}"#, Some(r#"{"a":null}"#)),
            (r#"{"a": "\ud800\ud83d\ude00"}"#, Some("{\"a\":\"\u{fffd}😀\"}")),
            (r#"{"a":1,"t":"т"}"#, None),
            ("{half", None),
        ] {
            assert_eq!(respelled(kept).as_deref(), normalized, "{kept}");
        }
    }

    #[test]
    fn a_reserved_key_is_found_however_it_is_escaped() {
        for (text, found) in [
            (r#"{"$serde_json::private::Number": "1"}"#, true),
            (r#"{"a": [{"b\"": 1, "\u0024serde_json::private::N\u0075mber" : "1"}]}"#, true),
            (r#"{"a": "$serde_json::private::Number"}"#, false),
            (r#"{"a": "\u0024"}"#, false),
            (r#"{"\\": "$serde_json::private::Number", "b": 1}"#, false),
            (r#"{"$serde_json::private::Number"#, false),
            ("\"\\u", false),
            ("", false),
        ] {
            assert_eq!(has_reserved_key(text), found, "{text}");
        }
    }

    #[test]
    fn depth_counts_lists_and_objects() {
        for (text, levels) in [("1", 0), ("[]", 1), ("[[1],2]", 2), (r#"{"a":{"b":[{}]}}"#, 4)] {
            assert_eq!(depth(&serde_json::from_str(text).unwrap()), levels, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_store_holds_the_answer_is_json(text in r#"([\[\]{}:,"\\ntuINaf0-9eE.é -]|NaN|-?Infinity|null|"(\\ud8|\\uDC|00|\\u|é){0,6}"|\PC){0,40}"#) {
            let served = servable(&text);
            assert!(serde_json::from_str::<Value>(&served).is_ok(), "{text:?} became {served:?}");
            if let Some(spelled) = respelled(&text) {
                assert_eq!(respelled(&spelled), None, "{text:?} became {spelled:?}");
            }
        }
    }
}
