//! Faults: errors in the form of a request. All faults of a request go into one 422 answer.
//!
//! Types and messages are 0.2.0's, which took them from pydantic; its clients may depend on them.

use std::{borrow::Cow, fmt::Display};

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Faults that are listed. Each takes far more space in the answer than in the request, so further ones are only counted.
const MAX_LISTED: usize = 1_000;

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FaultType {
    Missing,
    ExtraForbidden,
    StringType,
    IntParsing,
    IntType,
    IntFromFloat,
    IntParsingSize,
    FloatParsing,
    FloatType,
    BoolParsing,
    BoolType,
    ListType,
    DictType,
    LiteralError,
    GreaterThanEqual,
    LessThanEqual,
    ModelAttributesType,
    JsonInvalid,
}

/// One error in the form of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Fault {
    #[schema(inline)]
    r#type: FaultType,
    /// `path`, `query` or `body`, and the names and indexes below it.
    #[schema(min_items = 1)]
    loc: Vec<Value>,
    /// A sentence for people.
    msg: Cow<'static, str>,
    /// The value that was sent.
    input: Value,
}

/// What is wrong with a value: the type of its fault, and the message.
#[derive(Debug, PartialEq)]
pub(super) struct Problem(FaultType, Cow<'static, str>);

impl Problem {
    pub(super) fn not_one_of(names: &[&str]) -> Self {
        let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
        let names = match quoted.as_slice() {
            [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => quoted.concat(),
        };
        Self(FaultType::LiteralError, format!("Input should be {names}").into())
    }

    pub(super) fn less_than(least: i64) -> Self {
        let message = format!("Input should be greater than or equal to {least}");
        Self(FaultType::GreaterThanEqual, message.into())
    }

    pub(super) fn more_than(most: i64) -> Self {
        Self(FaultType::LessThanEqual, format!("Input should be less than or equal to {most}").into())
    }

    /// Uses the type closest to this, since the frozen list has no better one.
    pub(super) fn more_values_than(most: usize) -> Self {
        Self(FaultType::LessThanEqual, format!("Input should have at most {most} values").into())
    }

    /// For `/v1`, whose answers have messages without types.
    pub(super) fn described(message: impl Into<Cow<'static, str>>) -> Self {
        Self(FaultType::LiteralError, message.into())
    }

    pub(super) fn invalid_json(why: impl Display) -> Self {
        Self(FaultType::JsonInvalid, format!("JSON decode error: {why}").into())
    }
}

impl From<FaultType> for Problem {
    fn from(kind: FaultType) -> Self {
        let message = match kind {
            FaultType::Missing => "Field required",
            FaultType::ExtraForbidden => "Extra inputs are not permitted",
            FaultType::StringType => "Input should be a valid string",
            FaultType::IntParsing => "Input should be a valid integer, unable to parse string as an integer",
            FaultType::IntType => "Input should be a valid integer",
            FaultType::IntFromFloat => "Input should be a valid integer, got a number with a fractional part",
            FaultType::IntParsingSize => {
                "Input should be a valid integer that fits into 64 bits, exceeded maximum size"
            }
            FaultType::FloatParsing => {
                "Input should be a valid finite number, unable to parse string as a number"
            }
            FaultType::FloatType => "Input should be a valid number",
            FaultType::BoolParsing => "Input should be a valid boolean, unable to interpret input",
            FaultType::BoolType => "Input should be a valid boolean",
            FaultType::ListType => "Input should be a valid list",
            FaultType::DictType => "Input should be a valid dictionary",
            FaultType::ModelAttributesType => {
                "Input should be a valid dictionary or object to extract fields from"
            }
            // The functions above name what is valid.
            FaultType::LiteralError
            | FaultType::GreaterThanEqual
            | FaultType::LessThanEqual
            | FaultType::JsonInvalid => "Input is invalid",
        };
        Self(kind, message.into())
    }
}

impl Fault {
    /// Returns the path and the message in the form of `/v1`: `tags.team`, without `body` or `query` before it.
    pub(super) fn described(&self) -> (String, &str) {
        let part = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
        let message = match self.r#type {
            FaultType::Missing => "missing; give it",
            FaultType::ExtraForbidden => "unknown; leave it out, or check its name",
            FaultType::IntParsing | FaultType::IntType => "Input should be a whole number",
            FaultType::IntFromFloat => "Input should be a whole number, without a fraction",
            FaultType::IntParsingSize => "Input should be a whole number that fits into 64 bits",
            FaultType::FloatParsing | FaultType::FloatType => "Input should be a number",
            FaultType::BoolParsing | FaultType::BoolType => "Input should be true or false",
            FaultType::StringType => "Input should be a string",
            FaultType::ListType => "Input should be a list",
            FaultType::DictType | FaultType::ModelAttributesType => "Input should be an object",
            _ => &self.msg,
        };
        let below: Vec<_> = self.loc.iter().skip(1).map(part).collect();
        let whole = || self.loc.first().map(part).unwrap_or_default();
        (if below.is_empty() { whole() } else { below.join(".") }, message)
    }
}

/// The faults of a request so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    listed: Vec<Fault>,
    unlisted: usize,
}

impl Faults {
    /// Records a fault at `location`: `path`, `query` or `body`, and the names and indexes below it.
    pub(super) fn record(
        &mut self,
        problem: impl Into<Problem>,
        location: impl IntoIterator<Item = Value>,
        input: Value,
    ) {
        if self.listed.len() == MAX_LISTED {
            self.unlisted += 1;
            return;
        }
        let Problem(kind, msg) = problem.into();
        self.listed.push(Fault { r#type: kind, loc: location.into_iter().collect(), msg, input });
    }

    /// Takes the faults that are listed in an answer, and the number of the others.
    pub(super) fn take_listed(&mut self) -> (Vec<Fault>, usize) {
        let Self { listed, unlisted } = std::mem::take(self);
        (listed, unlisted)
    }

    /// Takes the faults as they are listed in an answer of the native API.
    pub(super) fn take(&mut self) -> Vec<Fault> {
        let (mut listed, unlisted) = self.take_listed();
        if let Some(last) = listed.last_mut().filter(|_| unlisted > 0) {
            last.msg.to_mut().push_str(&format!("; {unlisted} more faults are not listed"));
        }
        listed
    }
}
