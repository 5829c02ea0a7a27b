//! Reads one score from JSON text without building values: a search may do so for a million versions, and this takes a
//! quarter of the time.

use std::fmt;

use serde::{
    Deserialize as _, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};

use super::MAX_SCORES;
use crate::json::Number;

/// The fewest bytes of a score in an object: `"":0,`.
const MIN_SCORE_BYTES: usize = 5;
/// Below the depth at which the parser that builds values gives up.
const MAX_BRACKETS: usize = 100;

/// Returns a score: `Some(None)` if the metrics lack it, and `None` if they are too large or too deeply nested to be read this
/// way.
pub(super) fn score(metrics: &str, suite: &str, metric: &str) -> Option<Option<f64>> {
    let brackets = metrics.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if metrics.len() > MIN_SCORE_BYTES * MAX_SCORES || brackets > MAX_BRACKETS {
        return None;
    }
    let mut parser = serde_json::Deserializer::from_str(metrics);
    let found = Path(&["suites", suite, metric]).deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    Some(found)
}

/// The names that lead to a number. Of equal names in an object, the last counts.
struct Path<'p>(&'p [&'p str]);

impl<'de> DeserializeSeed<'de> for Path<'_> {
    type Value = Option<f64>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Option<f64>, D::Error> {
        if self.0.is_empty() {
            let number = Number::deserialize(parser)?;
            return Ok(number.as_f64().filter(|number| number.is_finite()));
        }
        parser.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Path<'_> {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Option<f64>, A::Error> {
        let mut found = None;
        let Some((name, rest)) = self.0.split_first() else { return Ok(None) };
        while let Some(is_next) = fields.next_key_seed(Is(name))? {
            if is_next {
                found = fields.next_value_seed(Path(rest))?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Compares a key with a name.
struct Is<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<bool, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}
