//! Faults: errors in the form of a request. All faults of a request go into one 422 answer.
//!
//! Types and messages are those of 0.2.0, which took them from pydantic; its clients may depend on them.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Faults that are listed. Each takes far more space in the answer than in the request, so further ones are only counted.
const MAX_LISTED: usize = 1_000;

/// One fault and its location.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    kind: FaultKind,
    location: Vec<Value>,
    input: Value,
}

/// The kinds of faults.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are the wire's `type`")]
pub(super) enum FaultKind {
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
    Literal(&'static [&'static str]),
    GreaterThanEqual(i64),
    LessThanEqual(i64),
    /// More values than this. The frozen list of types has none of its own for it.
    TooMany(usize),
    ModelAttributesType,
    JsonInvalid(String),
}

impl FaultKind {
    /// Their names on the wire.
    pub(super) const TYPE_NAMES: [&str; 18] = [
        "missing",
        "extra_forbidden",
        "string_type",
        "int_parsing",
        "int_type",
        "int_from_float",
        "int_parsing_size",
        "float_parsing",
        "float_type",
        "bool_parsing",
        "bool_type",
        "list_type",
        "dict_type",
        "literal_error",
        "greater_than_equal",
        "less_than_equal",
        "model_attributes_type",
        "json_invalid",
    ];

    fn type_name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::ExtraForbidden => "extra_forbidden",
            Self::StringType => "string_type",
            Self::IntParsing => "int_parsing",
            Self::IntType => "int_type",
            Self::IntFromFloat => "int_from_float",
            Self::IntParsingSize => "int_parsing_size",
            Self::FloatParsing => "float_parsing",
            Self::FloatType => "float_type",
            Self::BoolParsing => "bool_parsing",
            Self::BoolType => "bool_type",
            Self::ListType => "list_type",
            Self::DictType => "dict_type",
            Self::Literal(_) => "literal_error",
            Self::GreaterThanEqual(_) => "greater_than_equal",
            Self::LessThanEqual(_) | Self::TooMany(_) => "less_than_equal",
            Self::ModelAttributesType => "model_attributes_type",
            Self::JsonInvalid(_) => "json_invalid",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Missing => "Field required".to_owned(),
            Self::ExtraForbidden => "Extra inputs are not permitted".to_owned(),
            Self::StringType => "Input should be a valid string".to_owned(),
            Self::IntParsing => {
                "Input should be a valid integer, unable to parse string as an integer".to_owned()
            }
            Self::IntType => "Input should be a valid integer".to_owned(),
            Self::IntFromFloat => {
                "Input should be a valid integer, got a number with a fractional part".to_owned()
            }
            Self::IntParsingSize => {
                "Input should be a valid integer that fits into 64 bits, exceeded maximum size".to_owned()
            }
            Self::FloatParsing => {
                "Input should be a valid finite number, unable to parse string as a number".to_owned()
            }
            Self::FloatType => "Input should be a valid number".to_owned(),
            Self::BoolParsing => "Input should be a valid boolean, unable to interpret input".to_owned(),
            Self::BoolType => "Input should be a valid boolean".to_owned(),
            Self::ListType => "Input should be a valid list".to_owned(),
            Self::DictType => "Input should be a valid dictionary".to_owned(),
            Self::Literal(expected) => format!("Input should be {}", alternatives(expected)),
            Self::GreaterThanEqual(least) => format!("Input should be greater than or equal to {least}"),
            Self::LessThanEqual(most) => format!("Input should be less than or equal to {most}"),
            Self::TooMany(most) => format!("Input should have at most {most} values"),
            Self::ModelAttributesType => {
                "Input should be a valid dictionary or object to extract fields from".to_owned()
            }
            Self::JsonInvalid(why) => format!("JSON decode error: {why}"),
        }
    }
}

/// `'a', 'b' or 'c'`.
fn alternatives(texts: &[&str]) -> String {
    let quoted: Vec<_> = texts.iter().map(|text| format!("'{text}'")).collect();
    match quoted.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// The faults of a request so far. They serialize as the `detail` of the 422 answer.
#[derive(Debug, Default)]
pub(super) struct Faults {
    listed: Vec<Fault>,
    unlisted: usize,
}

impl Faults {
    /// Notes a fault at `location`: `path`, `query` or `body`, and the names and indexes below it.
    pub(super) fn note(&mut self, kind: FaultKind, location: impl IntoIterator<Item = Value>, input: Value) {
        if self.listed.len() < MAX_LISTED {
            self.listed.push(Fault { kind, location: location.into_iter().collect(), input });
        } else {
            self.unlisted += 1;
        }
    }

    /// Returns the value of `read`, or notes its fault at `part` and `name`.
    pub(super) fn catch<T>(
        &mut self,
        read: Result<T, FaultKind>,
        part: &str,
        name: &str,
        input: impl FnOnce() -> Value,
    ) -> Option<T> {
        read.map_err(|kind| self.note(kind, [part.into(), name.into()], input())).ok()
    }

    /// Returns true if no fault was noted.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}

impl Serialize for Faults {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Listed<'f> {
            r#type: &'static str,
            loc: &'f [Value],
            msg: String,
            input: &'f Value,
        }
        let last = self.listed.len().saturating_sub(1);
        serializer.collect_seq(self.listed.iter().enumerate().map(|(index, fault)| {
            let mut msg = fault.kind.message();
            if index == last && self.unlisted > 0 {
                msg.push_str(&format!("; {} more faults are not listed", self.unlisted));
            }
            Listed { r#type: fault.kind.type_name(), loc: &fault.location, msg, input: &fault.input }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_listed_type_name() {
        use FaultKind::*;
        let kinds = [
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
            Literal(&[]),
            GreaterThanEqual(0),
            LessThanEqual(0),
            ModelAttributesType,
            JsonInvalid(String::new()),
        ];
        assert_eq!(kinds.map(|kind| kind.type_name()), FaultKind::TYPE_NAMES);
    }

    #[test]
    fn a_fault_has_type_location_message_and_input() {
        let mut faults = Faults::default();
        faults.note(FaultKind::Literal(&["a", "b", "c"]), ["query".into(), "sort".into()], "x".into());
        faults.note(FaultKind::StringType, ["body".into(), "tags".into(), 1.into()], 5.into());
        assert_eq!(
            serde_json::to_string(&faults).unwrap(),
            r#"[{"type":"literal_error","loc":["query","sort"],"msg":"Input should be 'a', 'b' or 'c'","input":"x"},{"type":"string_type","loc":["body","tags",1],"msg":"Input should be a valid string","input":5}]"#
        );
    }

    #[test]
    fn faults_beyond_the_limit_are_counted() {
        let mut faults = Faults::default();
        for place in 0..MAX_LISTED + 7 {
            faults.note(FaultKind::StringType, ["body".into(), "tags".into(), place.into()], 5.into());
        }
        let listed = serde_json::to_value(&faults).unwrap();
        let listed = listed.as_array().unwrap();
        assert_eq!(listed.len(), MAX_LISTED);
        assert_eq!(listed[0]["msg"], "Input should be a valid string");
        let last = &listed[MAX_LISTED - 1];
        assert_eq!(last["msg"], "Input should be a valid string; 7 more faults are not listed");
        assert_eq!(last["loc"][2], MAX_LISTED - 1);
    }
}
