//! Values of expressions. Those of the inputs are views of JSON, so nothing is copied.

use std::{borrow::Borrow, cmp::Ordering, collections::BTreeMap, ops::Deref, rc::Rc};

use super::types::{Shape, Type};
use crate::{
    json::{Object, Value as Json},
    timestamp::Timestamp,
};

#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Text<'a>),
    /// Milliseconds since 1970.
    Time(i64),
    /// Milliseconds.
    Duration(i64),
    List(Rc<Vec<Value<'a>>>),
    Map(Rc<BTreeMap<Text<'a>, Value<'a>>>),
    /// Lists and maps of the inputs, with the type of their elements.
    InputList(&'a [Json], &'static Type),
    InputMap(&'a Object, &'static Type),
    Object(&'a Object, &'static Shape),
}

/// A text of the inputs or of the expression, or one that was computed.
#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Computed(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Computed(text) => text,
        }
    }
}

impl Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

/// What to iterate over or to count.
pub(super) enum Elements<'v, 'a> {
    Values(&'v [Value<'a>]),
    Inputs(&'a [Json], &'static Type),
    Keys(Vec<Text<'a>>),
}

impl<'a> Elements<'_, 'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Inputs(values, _) => values.len(),
            Self::Keys(keys) => keys.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Values(values) => values.get(index).cloned(),
            Self::Inputs(values, kind) => values.get(index).map(|value| Value::view(value, **kind)),
            Self::Keys(keys) => keys.get(index).cloned().map(Value::Text),
        }
    }
}

impl<'a> Value<'a> {
    /// Views a JSON value of the inputs as a value of this type. A number of unknown type is a double, whichever way it is
    /// written, so that `1` and `1.0` are the same score.
    pub(super) fn view(json: &'a Json, kind: Type) -> Self {
        match (json, kind) {
            (Json::Null, _) => Self::Null,
            (Json::Bool(value), _) => Self::Bool(*value),
            (Json::Number(number), Type::Int) => number.as_i64().map_or(Self::Null, Self::Int),
            (Json::Number(number), _) => Self::Double(number.as_str().parse().unwrap_or(f64::NAN)),
            (Json::String(text), Type::Time) => {
                Timestamp::parse_rfc3339(text).map_or(Self::Null, |time| Self::Time(time.unix_millis()))
            }
            (Json::String(text), _) => Self::Text(Text::Borrowed(text)),
            (Json::Array(values), Type::List(element)) => Self::InputList(values, element),
            (Json::Array(values), _) => Self::InputList(values, &Type::Any),
            (Json::Object(fields), Type::Object(shape)) => Self::Object(fields, shape),
            (Json::Object(fields), Type::Map(element)) => Self::InputMap(fields, element),
            (Json::Object(fields), _) => Self::InputMap(fields, &Type::Any),
        }
    }

    pub(super) fn text(text: String) -> Self {
        Self::Text(Text::Computed(text.into()))
    }

    /// Returns how many keys a map has, and 0 for other values.
    pub(super) fn key_count(&self) -> usize {
        match self {
            Self::Map(map) => map.len(),
            Self::InputMap(map, _) => map.len(),
            _ => 0,
        }
    }

    /// Returns the elements of a list, or the keys of a map, which it copies.
    pub(super) fn elements(&self) -> Option<Elements<'_, 'a>> {
        Some(match self {
            Self::List(values) => Elements::Values(values),
            Self::InputList(values, kind) => Elements::Inputs(values, kind),
            Self::Map(map) => Elements::Keys(map.keys().cloned().collect()),
            Self::InputMap(map, _) => Elements::Keys(map.keys().map(|key| Text::Borrowed(key)).collect()),
            _ => return None,
        })
    }

    /// Returns the value of a key or field; `None` if this is no map or object, or lacks it.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        match self {
            Self::Map(map) => map.get(key).cloned(),
            Self::InputMap(map, kind) => map.get(key).map(|value| Self::view(value, **kind)),
            Self::Object(fields, shape) => {
                let kind = shape.field(key)?;
                Some(fields.get(key).map_or(Self::Null, |value| Self::view(value, kind)))
            }
            _ => None,
        }
    }

    pub(super) fn kind(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Double(_) => Type::Double,
            Self::Text(_) => Type::Text,
            Self::Time(_) => Type::Time,
            Self::Duration(_) => Type::Duration,
            Self::List(_) => Type::List(&Type::Any),
            Self::InputList(_, element) => Type::List(element),
            Self::Map(_) => Type::Map(&Type::Any),
            Self::InputMap(_, element) => Type::Map(element),
            Self::Object(_, shape) => Type::Object(shape),
        }
    }

    /// Describes the value for an error, shortened.
    pub(super) fn describe(&self) -> String {
        const SHOWN_CHARS: usize = 40;
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(number) => format!("the number {number}"),
            Self::Double(number) => format!("the number {number}"),
            Self::Text(text) => match text.char_indices().nth(SHOWN_CHARS) {
                Some((end, _)) => format!("the text {:?}…", text.get(..end).unwrap_or_default()),
                None => format!("the text {:?}", &**text),
            },
            Self::Time(millis) => format!("the time {}", Timestamp::from_unix_millis(*millis).to_rfc3339()),
            value => value.kind().describe().to_owned(),
        }
    }
}

/// Compares an integer and a double exactly.
pub(super) fn compare_numbers(integer: i64, double: f64) -> Option<Ordering> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() {
        return None;
    }
    if double >= LIMIT {
        return Some(Ordering::Less);
    }
    if double < -LIMIT {
        return Some(Ordering::Greater);
    }
    // In range, so the whole part fits.
    #[allow(clippy::cast_possible_truncation, reason = "it is in range")]
    let whole = double.trunc() as i64;
    Some(integer.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&double.fract()).unwrap_or(Ordering::Equal)))
}
