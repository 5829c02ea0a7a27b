//! JSON as text: limits of what a client may send, repair of what 0.2.0 wrote, and the canonical form for digests.
//!
//! Numbers keep their digits (`1.0` stays `1.0`, a big integer stays exact) and objects keep their order. If a key
//! occurs twice, the last value counts.

use std::io::{self, Write};

use serde::{Serialize, de::IgnoredAny};
use serde_json::ser::{Formatter, Serializer};
pub use serde_json::{Map, Number, Value};

/// A JSON object that keeps the order of its fields.
pub type Object = Map<String, Value>;

/// The maximum nesting depth of JSON from a client. The parser accepts 128 levels, and the registry stores metrics two
/// levels deeper and must read them back.
pub const MAX_DEPTH: usize = 96;

/// A key by which `serde_json` marks numbers; it would parse a client's object with this key as a number.
const RESERVED_KEY: &str = "$serde_json::private::Number";

/// Returns true if an object can't have this key because the parser reserves it.
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

/// Returns the nesting depth of lists and objects in `value`; 0 for a number or a string.
#[must_use]
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Serializes `object` without spaces.
#[must_use]
pub fn compact(object: &Object) -> String {
    // serde_json fails only on keys that are not strings or if its writer fails.
    serde_json::to_string(object).unwrap_or_default()
}

/// Parses a stored object. It repairs what 0.2.0 could write although it is not JSON: `NaN` and `Infinity` become
/// `null`, and a lone surrogate becomes the replacement character. Returns `None` if the text is not an object or is
/// nested too deeply.
#[must_use]
pub fn read_object(text: &str) -> Option<Object> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&repaired(text))).ok()
}

/// Converts stored text to the form used in answers: compact, without needless escapes, and repaired as in
/// [`read_object`]. Returns `None` if it is not JSON at all.
#[must_use]
pub fn normalized(text: &str) -> Option<String> {
    let value = serde_json::from_str(text).or_else(|_| serde_json::from_str(&repaired(text)));
    if let Ok(value) = value {
        return Some(Value::to_string(&value));
    }
    // JSON nested deeper than the parser's limit can be skipped, but not parsed.
    let repaired = repaired(text);
    serde_json::from_str::<IgnoredAny>(&repaired).is_ok().then(|| repaired.trim_ascii().to_owned())
}

/// Replaces `NaN`, `Infinity` and `-Infinity` outside strings with `null`, and lone surrogates in strings with `\ufffd`.
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

/// Returns the length in bytes of the escape at the start of `text`, and its replacement if it is a lone surrogate.
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

/// Returns the canonical form that `prior_metrics_sha256` is computed from. As in 0.2.0 it equals Python's
/// `json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`.
#[must_use]
pub fn canonical(object: &Object) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing to memory can't fail, and all keys are strings.
    let _ = SortedObject(object).serialize(&mut Serializer::with_formatter(&mut text, PythonNumbers));
    text
}

/// Serializes an object, and the objects in it, with sorted keys.
struct SortedObject<'a>(&'a Object);

impl Serialize for SortedObject<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields: Vec<_> = self.0.iter().map(|(key, value)| (key, Sorted(value))).collect();
        // UTF-8 sorts by code point, and so does Python.
        fields.sort_unstable_by_key(|(key, _)| *key);
        serializer.collect_map(fields)
    }
}

struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(Sorted)),
            Value::Object(object) => SortedObject(object).serialize(serializer),
            value => value.serialize(serializer),
        }
    }
}

/// Writes numbers as Python prints them after reading them: integers digit by digit, floats by `repr`.
struct PythonNumbers;

impl Formatter for PythonNumbers {
    fn write_number_str<W: ?Sized + Write>(&mut self, writer: &mut W, number: &str) -> io::Result<()> {
        if !number.contains(['.', 'e', 'E']) {
            writer.write_all(if number == "-0" { b"0" } else { number.as_bytes() })
        } else if is_shortest(number) {
            writer.write_all(number.as_bytes())
        } else {
            writer.write_all(python_float(number.parse().unwrap_or(f64::NAN)).as_bytes())
        }
    }
}

fn python_float(float: f64) -> String {
    if float.is_infinite() {
        return if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    // Rust prints the same digits as Python, and an exponent for the same numbers, but that as `1e-5` instead of `1e-05`.
    let text = format!("{float:?}");
    match text.split_once('e').map(|(digits, exponent)| (digits, exponent.parse::<i32>())) {
        Some((digits, Ok(exponent))) => format!("{digits}e{exponent:+03}"),
        _ => text,
    }
}

/// Returns true if Python prints this JSON number unchanged, as it does with most scores: up to 15 digits identify a
/// float, so no shorter text reads back the same.
fn is_shortest(number: &str) -> bool {
    let unsigned = number.strip_prefix('-').unwrap_or(number);
    let Some((whole, fraction)) = unsigned.split_once('.') else { return false };
    // Python writes `1e-05` and `1.0`.
    let is_tiny = whole == "0" && fraction.starts_with("000");
    let has_needless_zero = fraction.len() > 1 && fraction.ends_with('0');
    unsigned.len() <= 16 && !fraction.contains(['e', 'E']) && !is_tiny && !has_needless_zero
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_text(object: &Object) -> String {
        String::from_utf8(canonical(object)).unwrap()
    }

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
            let object = read_object(&format!(r#"{{"n":{sent}}}"#)).unwrap();
            assert_eq!(canonical_text(&object), format!(r#"{{"n":{printed}}}"#), "{sent}");
        }
    }

    #[test]
    fn a_number_considered_shortest_is_what_a_float_prints() {
        let mut shortest = 0;
        for whole in ["0", "1", "-7", "10", "900", "-12345", "99999999", "123456789012345"] {
            for fraction in
                ["0", "1", "5", "10", "25", "01", "001", "0001", "00012", "120", "999999999", "12345678901"]
            {
                let number = format!("{whole}.{fraction}");
                if is_shortest(&number) {
                    assert_eq!(python_float(number.parse().unwrap()), number);
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
        assert_eq!(canonical_text(&read_object(sent).unwrap()), expected);
    }

    #[test]
    fn stored_text_is_converted_to_the_form_of_answers() {
        let deep = format!("{} NaN {}", "[".repeat(200), "]".repeat(200));
        let repaired_deep = deep.replace("NaN", "null");
        for (stored, expected) in [
            (r#"{"a":1.0,"b":[1e5],"t":"т"}"#, Some(r#"{"a":1.0,"b":[1e+5],"t":"т"}"#)),
            (r#"{"a": 1.50, "t": "\u0442"}"#, Some(r#"{"a":1.50,"t":"т"}"#)),
            (r#"{"a": NaN, "b": [-Infinity, Infinity]}"#, Some(r#"{"a":null,"b":[null,null]}"#)),
            (r#"{"t": "NaN \" Infinity", "n": NaN}"#, Some(r#"{"t":"NaN \" Infinity","n":null}"#)),
            (r#"["\ud83d\uDE00", "\\ud800"]"#, Some(r#"["😀","\\ud800"]"#)),
            (r#"{"\ud800": "a\uDC00\ud83d\n"}"#, Some("{\"\u{fffd}\":\"a\u{fffd}\u{fffd}\\n\"}")),
            (r#"["\ud800\ud83d\ude00", "\ud8", NaN]"#, None),
            (" [1] ", Some("[1]")),
            (&deep, Some(&repaired_deep)),
            ("", None),
            ("{half", None),
            ("\"\\", None),
            ("\\é", None),
        ] {
            assert_eq!(normalized(stored).as_deref(), expected, "{stored}");
        }
    }

    #[test]
    fn a_reserved_key_is_found_in_any_escaping() {
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
        fn normalizing_any_text_yields_json_and_is_idempotent(text in r#"([\[\]{}:,"\\ntuINaf0-9eE.é -]|NaN|-?Infinity|null|"(\\ud8|\\uDC|00|\\u|é){0,6}"|\PC){0,40}"#) {
            if let Some(once) = normalized(&text) {
                assert!(serde_json::from_str::<Value>(&once).is_ok(), "{text:?} became {once:?}");
                assert_eq!(normalized(&once).as_ref(), Some(&once), "{text:?}");
            }
        }
    }
}
