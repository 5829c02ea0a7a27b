//! Values in a filter, and of the fields it tests.

use std::cmp::Ordering;

use super::{
    field::{Field, FieldType},
    scanner::{FilterError, Scanner, quoted},
};
use crate::{digest::Digest, status::Status, timestamp::Timestamp};

/// Whole numbers up to here are exact as doubles.
const MAX_EXACT_DOUBLE: f64 = 9_007_199_254_740_992.0;

/// A value of a field. Statuses and digests are texts, in the form in which they are stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of [`FieldType::Text`], [`FieldType::Status`] or [`FieldType::Digest`].
    Text(String),
    /// Of [`FieldType::Integer`].
    Integer(i64),
    /// Of [`FieldType::Number`].
    Number(f64),
    /// Of [`FieldType::Flag`].
    Flag(bool),
    /// Of [`FieldType::Time`].
    Time(Timestamp),
}

/// A value as it is written, before the type of its field is applied.
enum Literal<'a> {
    Text(String),
    Numeral(&'a str),
    Flag(bool),
}

impl Value {
    /// Compares two values of one type; `None` if the types differ.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            (Self::Integer(left), Self::Integer(right)) => Some(left.cmp(right)),
            (Self::Number(left), Self::Number(right)) => left.partial_cmp(right),
            (Self::Flag(left), Self::Flag(right)) => Some(left.cmp(right)),
            (Self::Time(left), Self::Time(right)) => Some(left.cmp(right)),
            _ => None,
        }
    }

    /// Reads a value that fits `field`.
    pub(super) fn scan(scanner: &mut Scanner<'_>, field: &Field) -> Result<Self, FilterError> {
        let field_type = field.field_type();
        let what = format!("{} for {field}", expectation(field_type));
        let mark = scanner.mark();
        let literal = Literal::scan(scanner, &what)?;
        let found = literal.shown();
        literal
            .typed(field_type)
            .ok_or_else(|| scanner.error_at(mark, format!("expected {what}, found {found}")))
    }

    /// Reads the text of a pattern.
    pub(super) fn scan_text(scanner: &mut Scanner<'_>) -> Result<String, FilterError> {
        let what = "a pattern between single quotes";
        let mark = scanner.mark();
        match Literal::scan(scanner, what)? {
            Literal::Text(text) => Ok(text),
            other => Err(scanner.error_at(mark, format!("expected {what}, found {}", other.shown()))),
        }
    }
}

impl<'a> Literal<'a> {
    fn scan(scanner: &mut Scanner<'a>, what: &str) -> Result<Self, FilterError> {
        for quote in ['\'', '"'] {
            if let Some(text) = scanner.quoted(quote)? {
                return Ok(Self::Text(text));
            }
        }
        for (keyword, flag) in [("true", true), ("false", false)] {
            if scanner.keyword(keyword) {
                return Ok(Self::Flag(flag));
            }
        }
        if scanner.rest().starts_with(|c: char| c.is_ascii_digit() || ['+', '-', '.'].contains(&c)) {
            return Ok(Self::Numeral(scanner.numeral()));
        }
        Err(scanner.expected(what))
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Numeral(numeral) => quoted(numeral),
            Self::Flag(flag) => flag.to_string(),
        }
    }

    /// Converts to the type of a field; `None` if it does not fit. A number may stand between quotes, as in MLflow.
    fn typed(self, field_type: FieldType) -> Option<Value> {
        match (field_type, self) {
            (FieldType::Text, Self::Text(text)) => Some(Value::Text(text)),
            (FieldType::Integer, Self::Numeral(numeral)) => integer(numeral).map(Value::Integer),
            (FieldType::Integer, Self::Text(text)) => integer(&text).map(Value::Integer),
            (FieldType::Number, Self::Numeral(numeral)) => number(numeral).map(Value::Number),
            (FieldType::Number, Self::Text(text)) => number(&text).map(Value::Number),
            (FieldType::Flag, Self::Flag(flag)) => Some(Value::Flag(flag)),
            (FieldType::Time, Self::Text(text)) => Timestamp::parse_rfc3339(&text).map(Value::Time),
            (FieldType::Status, Self::Text(text)) => {
                Status::parse(&text).map(|status| Value::Text(status.as_str().to_owned()))
            }
            (FieldType::Digest, Self::Text(text)) => {
                let digest = Digest::parse("sha256", &text).ok()??;
                Some(Value::Text(digest.to_string()))
            }
            _ => None,
        }
    }
}

/// Returns what a value of this type looks like.
fn expectation(field_type: FieldType) -> String {
    match field_type {
        FieldType::Text => "a text between single quotes".to_owned(),
        FieldType::Integer => "a whole number of at most 64 bits".to_owned(),
        FieldType::Number => "a decimal number".to_owned(),
        FieldType::Flag => "true or false".to_owned(),
        FieldType::Time => "a time like '2026-01-31' or '2026-01-31T13:05:09Z', from 1970 on,".to_owned(),
        FieldType::Status => format!("one of '{}'", Status::NAMES.join("', '")),
        FieldType::Digest => "64 hex digits between single quotes".to_owned(),
    }
}

fn integer(numeral: &str) -> Option<i64> {
    numeral.parse().ok().or_else(|| {
        let number = number(numeral)?;
        (number.fract() == 0.0 && number.abs() <= MAX_EXACT_DOUBLE).then_some(number as i64)
    })
}

/// Reads a decimal number. Rust would also read `inf` and `nan`.
fn number(numeral: &str) -> Option<f64> {
    let decimal = numeral.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let number: f64 = numeral.parse().ok().filter(|_| decimal)?;
    number.is_finite().then_some(number)
}
