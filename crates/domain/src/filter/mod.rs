//! The filter grammar of every search, and sort keys: parsed, printed and evaluated here, translated to SQL by stores.
//!
//! ```text
//! filter      = conjunction { OR conjunction }
//! conjunction = negation { AND negation }
//! negation    = NOT negation | "(" filter ")" | condition
//! condition   = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
//!             | field [NOT] ( LIKE | ILIKE ) text
//!             | field [NOT] IN "(" value { "," value } ")"
//!             | field IS [NOT] NULL
//! field       = name | tags.KEY | scores.SUITE.METRIC
//! value       = 'text' | "text" | -1.5e3 | true | false
//! ```
//!
//! - Keywords are read in any case, fields and values byte for byte.
//! - A name in a path consists of letters, digits, `_` and `-`; any other name is quoted: ``scores.`eval v2`.f1``.
//!   A quote inside quotes is doubled.
//! - A condition on something absent is false, `!=` and `NOT LIKE` included; only `IS NULL` holds. `NOT` inverts the
//!   result, so `NOT tags.team = 'nlp'` holds for a version without the tag, and `tags.team != 'nlp'` does not.
//! - Texts compare by code point. Times are RFC 3339 texts or dates (midnight UTC).
//! - The grammar of MLflow's `filter_string` is a subset, with its names `tag.KEY`, `attribute.FIELD`, `source_path`
//!   and `version_number`. [`mlflow`] reads it with MLflow's own quoting and refusals.
//!
//! This module must not know SQL, nor how a version is stored.

mod field;
pub mod mlflow;
mod parser;
mod pattern;
mod print;
mod scanner;
mod sort;
mod tree;
mod value;

#[cfg(test)]
mod tests;

pub use field::{Attribute, Field, FieldType, Operator, Scope};
pub use parser::{MAX_CONDITIONS, MAX_DEPTH, MAX_FILTER_BYTES, MAX_LIST_VALUES, MAX_PATTERN_CHARS};
pub use pattern::{Pattern, Piece};
pub use scanner::FilterError;
pub use sort::SortKey;
pub use tree::{Comparator, Condition, Filter, Test};
pub use value::Value;
