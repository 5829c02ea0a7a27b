//! Lenient reading of values, as in 0.2.0: numbers and booleans from texts, whole floats as integers.
//!
//! The tables in the tests were checked against pydantic 2 in lax mode. The contract departs from it in two points:
//! integers have 64 bits, and numbers are finite.

use std::mem::take;

use serde_json::{Number, Value};

use crate::domain::{
    ApprovalState, Digest, FileRole, Order, Sort, Status, Timestamp,
    json::Object,
    policy::Action,
    webhook::{WebhookStatus, delivery::DeliveryState},
};

use super::fault::{FaultType, Problem};

/// The smallest float that does not fit into 64 bits.
const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;

/// A value of a path or a query.
pub(super) trait FromText: Sized {
    fn from_text(text: &str) -> Result<Self, Problem>;

    /// Checks that the text needs no leniency, for `/v1`.
    fn check_strict(_text: &str) -> Result<(), Problem> {
        Ok(())
    }
}

/// A value of a field in a body.
pub(super) trait FromField: Sized {
    /// Reads the value, and takes its texts instead of copying them. An invalid value is left as it is.
    fn from_field(value: &mut Value) -> Result<Self, Problem>;

    /// Checks that the value needs no leniency, for `/v1`.
    fn check_strict(_value: &Value) -> Result<(), Problem> {
        Ok(())
    }
}

fn strict(is_strict: bool, otherwise: FaultType) -> Result<(), Problem> {
    if is_strict { Ok(()) } else { Err(otherwise.into()) }
}

impl FromText for i64 {
    fn from_text(text: &str) -> Result<Self, Problem> {
        Ok(integer_text(text)?)
    }

    fn check_strict(text: &str) -> Result<(), Problem> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        // Written as the server writes it, since a number in a path names something.
        let is_strict = text == "0"
            || digits.bytes().all(|byte| byte.is_ascii_digit())
                && !digits.is_empty()
                && !digits.starts_with('0');
        strict(is_strict, FaultType::IntParsing)
    }
}

impl FromField for i64 {
    fn from_field(value: &mut Value) -> Result<Self, Problem> {
        Ok(integer(value)?)
    }

    fn check_strict(value: &Value) -> Result<(), Problem> {
        // As JSON Schema has it, 1.0 is an integer.
        strict(value.is_number(), FaultType::IntType)
    }
}

impl FromText for bool {
    fn from_text(text: &str) -> Result<Self, Problem> {
        Ok(boolean_text(text)?)
    }

    fn check_strict(text: &str) -> Result<(), Problem> {
        strict(matches!(text, "true" | "false"), FaultType::BoolParsing)
    }
}

impl FromField for bool {
    fn from_field(value: &mut Value) -> Result<Self, Problem> {
        Ok(boolean(value)?)
    }

    fn check_strict(value: &Value) -> Result<(), Problem> {
        strict(value.is_boolean(), FaultType::BoolType)
    }
}

impl FromField for f64 {
    fn from_field(value: &mut Value) -> Result<Self, Problem> {
        Ok(float(value)?)
    }

    fn check_strict(value: &Value) -> Result<(), Problem> {
        strict(value.is_number(), FaultType::FloatType)
    }
}

impl FromField for String {
    fn from_field(value: &mut Value) -> Result<Self, Problem> {
        if let Value::String(text) = value { Ok(take(text)) } else { Err(FaultType::StringType.into()) }
    }
}

/// For `/v1`, where a blank digest is a mistake.
impl FromField for Digest {
    fn from_field(value: &mut Value) -> Result<Self, Problem> {
        let text = value.as_str().ok_or(FaultType::StringType)?;
        let digest = Self::parse("", text).ok().flatten();
        digest.ok_or_else(|| Problem::described("Input should be 64 hex digits"))
    }
}

/// For `/v1`.
impl FromField for Timestamp {
    fn from_field(value: &mut Value) -> Result<Self, Problem> {
        let text = value.as_str().ok_or(FaultType::StringType)?;
        Self::parse_rfc3339(text).ok_or_else(|| {
            Problem::described("Input should be a time like 2026-11-24T12:00:00Z or a date, from 1970 on")
        })
    }
}

impl FromField for Object {
    fn from_field(value: &mut Value) -> Result<Self, Problem> {
        if let Value::Object(object) = value { Ok(take(object)) } else { Err(FaultType::DictType.into()) }
    }
}

/// For `/v1`.
impl FromField for FileRole {
    fn from_field(value: &mut Value) -> Result<Self, Problem> {
        value.as_str().and_then(Self::parse).ok_or_else(|| Problem::not_one_of(&Self::NAMES))
    }
}

/// For `/v1`.
impl FromField for WebhookStatus {
    fn from_field(value: &mut Value) -> Result<Self, Problem> {
        value.as_str().and_then(Self::parse).ok_or_else(|| Problem::not_one_of(&Self::NAMES))
    }
}

/// For `/v1`.
impl FromField for Vec<String> {
    fn from_field(value: &mut Value) -> Result<Self, Problem> {
        let Value::Array(items) = value else { return Err(FaultType::ListType.into()) };
        let texts = items.iter_mut().map(String::from_field);
        texts.collect::<Result<_, _>>().map_err(|_| Problem::described("Input should be a list of strings"))
    }
}

impl FromField for Status {
    fn from_field(value: &mut Value) -> Result<Self, Problem> {
        value.as_str().and_then(Self::parse).ok_or_else(|| Problem::not_one_of(&Self::NAMES))
    }
}

impl FromField for Action {
    fn from_field(value: &mut Value) -> Result<Self, Problem> {
        value.as_str().and_then(Self::parse).ok_or_else(|| Problem::not_one_of(&Self::NAMES))
    }
}

macro_rules! choices {
    ($($choice:ty),+) => {
        $(impl FromText for $choice {
            fn from_text(text: &str) -> Result<Self, Problem> {
                Self::parse(text).ok_or_else(|| Problem::not_one_of(&Self::NAMES))
            }
        })+
    };
}

choices!(ApprovalState, Status, Sort, Order, DeliveryState);

impl FromText for Timestamp {
    fn from_text(text: &str) -> Result<Self, Problem> {
        Self::parse_rfc3339(text).ok_or_else(|| {
            Problem::described(
                "Input should be a time like 2026-11-24T12:00:00Z or a date, from 1970 on; a + in an offset is sent as %2B",
            )
        })
    }
}

/// Reads an integer: a whole JSON number, a boolean, or a text that [`integer_text`] accepts.
fn integer(value: &Value) -> Result<i64, FaultType> {
    match value {
        Value::Number(number) => integer_number(number),
        Value::String(text) => integer_text(text),
        Value::Bool(flag) => Ok(i64::from(*flag)),
        _ => Err(FaultType::IntType),
    }
}

fn integer_number(number: &Number) -> Result<i64, FaultType> {
    let text = number.to_string();
    if !text.contains(['.', 'e', 'E']) {
        return text.parse().map_err(|_| FaultType::IntParsingSize);
    }
    let float: f64 = text.parse().map_err(|_| FaultType::IntParsing)?;
    if !(-TOO_LARGE..TOO_LARGE).contains(&float) {
        return Err(FaultType::IntParsingSize);
    }
    if float.fract() != 0.0 {
        return Err(FaultType::IntFromFloat);
    }
    Ok(float as i64)
}

/// Reads an integer from a text: spaces around it, a sign, single underscores between digits and a fraction of zeros are allowed.
fn integer_text(text: &str) -> Result<i64, FaultType> {
    let trimmed = text.trim();
    let (negative, digits) = match trimmed.as_bytes().first() {
        Some(b'-') => (true, &trimmed[1..]),
        Some(b'+') => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    let digits = match digits.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        _ => digits,
    };
    let well_formed = !digits.is_empty()
        && digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit()));
    if !well_formed {
        return Err(FaultType::IntParsing);
    }
    let sign = if negative { "-" } else { "" };
    // Only the size can still be wrong.
    format!("{sign}{}", digits.replace('_', "")).parse().map_err(|_| FaultType::IntParsingSize)
}

/// Reads a finite number: a JSON number, a boolean, or a text that holds a number.
fn float(value: &Value) -> Result<f64, FaultType> {
    let number = match value {
        Value::Number(number) => number.to_string().parse(),
        Value::String(text) => text.trim().replace('_', "").parse(),
        Value::Bool(flag) => Ok(f64::from(u8::from(*flag))),
        _ => return Err(FaultType::FloatType),
    };
    // SQLite has no negative zero, and the answer must equal what is stored.
    let number = number.map(|number: f64| if number == 0.0 { 0.0 } else { number });
    number.ok().filter(|number| number.is_finite()).ok_or(FaultType::FloatParsing)
}

/// Reads a boolean: a JSON boolean, 0 or 1, or a word such as `yes`.
fn boolean(value: &Value) -> Result<bool, FaultType> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) => boolean_text(text),
        Value::Number(number) => match number.to_string().parse() {
            Ok(1.0) => Ok(true),
            Ok(0.0) => Ok(false),
            Ok(other) if f64::fract(other) == 0.0 => Err(FaultType::BoolParsing),
            _ => Err(FaultType::BoolType),
        },
        _ => Err(FaultType::BoolType),
    }
}

/// Reads a boolean from a text, ignoring case.
fn boolean_text(text: &str) -> Result<bool, FaultType> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" | "t" | "y" => Ok(true),
        "0" | "false" | "no" | "off" | "f" | "n" => Ok(false),
        _ => Err(FaultType::BoolParsing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn integers_are_read_as_0_2_0_reads_them() {
        use FaultType::*;
        for (sent, read) in [
            ("12", Ok(12)),
            ("true", Ok(1)),
            ("1.0", Ok(1)),
            ("8.5", Err(IntFromFloat)),
            ("1e3", Ok(1000)),
            ("1e20", Err(IntParsingSize)),
            ("1e400", Err(IntParsingSize)),
            ("-0", Ok(0)),
            ("123456789012345678901234567890", Err(IntParsingSize)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("-9223372036854775808.0", Ok(i64::MIN)),
            ("9223372036854775808.0", Err(IntParsingSize)),
            (r#""8.0""#, Ok(8)),
            (r#""8.""#, Err(IntParsing)),
            (r#""8.5""#, Err(IntParsing)),
            (r#"" 4 ""#, Ok(4)),
            (r#""+5""#, Ok(5)),
            (r#""-5""#, Ok(-5)),
            (r#""1_000""#, Ok(1000)),
            (r#""_1""#, Err(IntParsing)),
            (r#""1_""#, Err(IntParsing)),
            (r#""1__0""#, Err(IntParsing)),
            (r#""0x1""#, Err(IntParsing)),
            (r#""""#, Err(IntParsing)),
            (r#"" ""#, Err(IntParsing)),
            (r#""007""#, Ok(7)),
            (r#""-007""#, Ok(-7)),
            (r#""１２""#, Err(IntParsing)),
            (r#""1e3""#, Err(IntParsing)),
            (r#"".0""#, Err(IntParsing)),
            (r#""--1""#, Err(IntParsing)),
            (r#""+-1""#, Err(IntParsing)),
            (r#""- 1""#, Err(IntParsing)),
            (r#""1_0.0""#, Ok(10)),
            (r#""9223372036854775808""#, Err(IntParsingSize)),
            ("[]", Err(IntType)),
            ("null", Err(IntType)),
        ] {
            assert_eq!(integer(&json(sent)), read, "{sent}");
        }
    }

    #[test]
    fn floats_are_read_as_0_2_0_reads_them_and_are_finite() {
        use FaultType::*;
        for (sent, read) in [
            ("3", Ok(3.0)),
            ("0.25", Ok(0.25)),
            ("true", Ok(1.0)),
            ("-0", Ok(0.0)),
            (r#""0.25""#, Ok(0.25)),
            (r#"" 1.5 ""#, Ok(1.5)),
            (r#""1_000.5""#, Ok(1000.5)),
            (r#""1e5""#, Ok(1e5)),
            (r#""+1""#, Ok(1.0)),
            (r#"".5""#, Ok(0.5)),
            ("123456789012345678901234567890", Ok(1.234_567_890_123_456_8e29)),
            ("1e400", Err(FloatParsing)),
            (r#""nan""#, Err(FloatParsing)),
            (r#""-inf""#, Err(FloatParsing)),
            (r#""infinity""#, Err(FloatParsing)),
            (r#""""#, Err(FloatParsing)),
            (r#""low""#, Err(FloatParsing)),
            (r#""0x1p3""#, Err(FloatParsing)),
            ("[]", Err(FloatType)),
            ("null", Err(FloatType)),
        ] {
            let found = float(&json(sent));
            assert_eq!(found, read, "{sent}");
            assert!(!found.is_ok_and(|number| number == 0.0 && number.is_sign_negative()), "{sent}");
        }
    }

    #[test]
    fn booleans_are_read_as_0_2_0_reads_them() {
        use FaultType::*;
        for (sent, read) in [
            ("true", Ok(true)),
            ("1", Ok(true)),
            ("0", Ok(false)),
            ("1.0", Ok(true)),
            ("-0", Ok(false)),
            ("2", Err(BoolParsing)),
            ("-1", Err(BoolParsing)),
            ("0.5", Err(BoolType)),
            (r#""TRUE""#, Ok(true)),
            (r#""Yes""#, Ok(true)),
            (r#""ON""#, Ok(true)),
            (r#""t""#, Ok(true)),
            (r#""n""#, Ok(false)),
            (r#""F""#, Ok(false)),
            (r#""off""#, Ok(false)),
            (r#"" yes""#, Err(BoolParsing)),
            (r#""1.0""#, Err(BoolParsing)),
            (r#""""#, Err(BoolParsing)),
            ("[]", Err(BoolType)),
            ("null", Err(BoolType)),
        ] {
            assert_eq!(boolean(&json(sent)), read, "{sent}");
        }
    }
}
