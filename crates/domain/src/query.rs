//! Queries: filters, sorting and pages.

use std::cmp::Ordering;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{refusal::Refusal, status::Status, text_enum::text_enum, version::VersionId};

text_enum! {
    /// The sort key of a list. Ties are broken by id, in the same direction.
    #[allow(missing_docs, reason = "the fields of a model")]
    #[derive(Default)]
    Sort {
        #[default]
        CreatedAt = "created_at",
        UpdatedAt = "updated_at",
        /// Absent steps sort lowest.
        TrainingStep = "training_step",
    }
}

text_enum! {
    /// The direction of a list.
    #[allow(missing_docs, reason = "the names are self-explanatory")]
    #[derive(Default)]
    Order {
        #[default]
        Descending = "desc",
        Ascending = "asc",
    }
}

/// A query for a page of the versions that pass all filters.
#[derive(Debug, Clone, PartialEq)]
pub struct ListQuery {
    /// Exactly this status.
    pub status: Option<Status>,
    /// Exactly this name.
    pub name: Option<String>,
    /// A case-insensitive substring of name, version or description.
    pub q: Option<String>,
    /// One whole tag.
    pub tag: Option<String>,
    /// The maximum number of rows on the page; `None` for all.
    pub limit: Option<u32>,
    /// Rows to skip.
    pub offset: u64,
    /// The sort key.
    pub sort: Sort,
    /// The direction.
    pub order: Order,
    /// The end of the previous page.
    pub after: Option<Cursor>,
}

impl ListQuery {
    /// Versions on a page by default.
    pub const DEFAULT_LIMIT: i64 = 50;
    /// Versions on a page at most.
    pub const MAX_LIMIT: i64 = 200;

    /// Returns the name of this list in its cursors.
    #[must_use]
    pub fn list_name(&self) -> String {
        format!("{}.{}", self.sort.as_str(), self.order.as_str())
    }
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            status: None,
            name: None,
            q: None,
            tag: None,
            limit: Some(Self::DEFAULT_LIMIT as u32),
            offset: 0,
            sort: Sort::default(),
            order: Order::default(),
            after: None,
        }
    }
}

/// A query for a page of a version's audit trail, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct EventQuery {
    /// The version.
    pub version_id: VersionId,
    /// The maximum number of events on the page.
    pub limit: u32,
    /// Events to skip, starting with the newest.
    pub offset: u64,
    /// The end of the previous page.
    pub after: Option<Cursor>,
}

impl EventQuery {
    /// Events on a page by default.
    pub const DEFAULT_LIMIT: i64 = 100;
    /// Events on a page at most.
    pub const MAX_LIMIT: i64 = 500;
    /// The name of this list in its cursors.
    pub const LIST_NAME: &str = "events.desc";
}

/// A query for a part of the audit trail: a page, newest first, or what follows an event, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrailQuery {
    /// Only events of this model and its versions.
    pub model: Option<String>,
    /// Only events of the version of this model with this number.
    pub number: Option<i64>,
    /// Only events of this type.
    pub event_type: Option<String>,
    /// Only events of this actor.
    pub actor: Option<String>,
    /// The maximum number of events on the page.
    pub limit: u32,
    /// Only events with lower ids: the end of the previous page.
    pub before: Option<i64>,
    /// Only events with higher ids, which come in order.
    pub after: Option<i64>,
    /// No events with higher ids, of those that come in order.
    pub until: Option<i64>,
}

impl TrailQuery {
    /// The name of this list in its cursors.
    pub const LIST_NAME: &str = "trail.desc";
    /// The name of the list of what follows an event.
    pub const LIST_NAME_IN_ORDER: &str = "trail.asc";
}

/// A query for a page of a model's deleted versions, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct DeletedQuery {
    /// The model.
    pub model: String,
    /// The maximum number of versions on the page.
    pub limit: u32,
    /// Only versions with lower numbers: the end of the previous page.
    pub before: Option<i64>,
}

impl DeletedQuery {
    /// The name of this list in its cursors.
    pub const LIST_NAME: &str = "deleted.desc";
}

/// A query for a page of models, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelQuery {
    /// Only names that contain this text, ignoring case.
    pub q: Option<String>,
    /// Only models with this tag: its key and, unless any will do, its value.
    pub tag: Option<(String, Option<String>)>,
    /// Deleted models instead.
    pub deleted: bool,
    /// Prompts instead: models with the tag [`PROMPT_TAG`](crate::mlflow::PROMPT_TAG).
    pub prompts: bool,
    /// The maximum number of models on the page.
    pub limit: u32,
    /// The end of the previous page.
    pub after: Option<Cursor>,
}

impl ModelQuery {
    /// The name of this list in its cursors.
    pub const LIST_NAME: &str = "name.asc";
}

/// A query for the versions that held aliases of a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistoryQuery {
    /// The model.
    pub model: String,
    /// Only this alias, which may be `production`.
    pub alias: Option<String>,
    /// Only holdings at this moment, as [`Timestamp`](crate::Timestamp) writes it.
    pub at: Option<String>,
    /// The maximum number of holdings.
    pub limit: u32,
}

/// The end of a page: sort key and id of its last row. A client gets it as opaque text, and the next page starts right
/// after that row, even if rows were added or deleted in between.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// The list it belongs to; a cursor of another list is refused.
    pub list: String,
    /// The sort key of the last row.
    pub key: CursorKey,
    /// The id of the last row.
    pub id: i64,
}

/// The value by which a row is sorted.
#[derive(Debug, Clone)]
pub enum CursorKey {
    /// A text or a time.
    Text(String),
    /// A whole number, or a flag as 0 or 1. `None` if the row has no value, of any type, or if the list has only ids.
    Integer(Option<i64>),
    /// A score or a loss.
    Number(f64),
}

impl CursorKey {
    /// Returns a number that orders keys of different types.
    fn rank(&self) -> u8 {
        match self {
            Self::Text(_) => 0,
            Self::Integer(_) => 1,
            Self::Number(_) => 2,
        }
    }
}

impl Ord for CursorKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            (Self::Integer(left), Self::Integer(right)) => left.cmp(right),
            (Self::Number(left), Self::Number(right)) => left.total_cmp(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for CursorKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for CursorKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for CursorKey {}

impl Cursor {
    /// Creates the cursor after the row with this id, or number, in a list that has no other sort key.
    #[must_use]
    pub fn at(list: &str, id: i64) -> Self {
        Self { list: list.to_owned(), key: CursorKey::Integer(None), id }
    }

    /// Returns the text that a client gets.
    #[must_use]
    pub fn encode(&self) -> String {
        let key = match &self.key {
            CursorKey::Text(text) => Value::from(text.as_str()),
            CursorKey::Integer(number) => Value::from(*number),
            CursorKey::Number(number) => Value::from(*number),
        };
        let fields = Value::from(vec![Value::from(self.list.as_str()), key, Value::from(self.id)]);
        BASE64_URL_SAFE_NO_PAD.encode(fields.to_string())
    }

    /// Parses the text that [`Cursor::encode`] returned for the same list, which [`ListQuery`] or [`EventQuery`] names.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for anything else.
    pub fn decode(text: &str, list: &str) -> Result<Self, Refusal> {
        let by_text =
            ["created_at.", "updated_at.", "name.", "path."].iter().any(|key| list.starts_with(key));
        Self::decode_if(text, list, |key| match key {
            CursorKey::Text(_) => by_text,
            CursorKey::Integer(_) => !by_text,
            CursorKey::Number(_) => false,
        })
    }

    /// Parses a cursor of `list` whose key `fits`: a key of another type can't be compared with the rows of the list.
    pub(crate) fn decode_if(
        text: &str,
        list: &str,
        fits: impl Fn(&CursorKey) -> bool,
    ) -> Result<Self, Refusal> {
        let invalid = || {
            Refusal::Invalid(
                "invalid cursor; send the one that came with the previous page, as it is".to_owned(),
            )
        };
        let cursor = Self::read(text).ok_or_else(invalid)?;
        if cursor.list != list {
            return Err(Refusal::Invalid(format!(
                "cursor belongs to a list sorted by {}; keep sort and order of the previous page",
                cursor.list
            )));
        }
        if fits(&cursor.key) { Ok(cursor) } else { Err(invalid()) }
    }

    fn read(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (list, key, id): (String, Value, i64) = serde_json::from_slice(&bytes).ok()?;
        let key = match key {
            Value::String(text) => CursorKey::Text(text),
            Value::Null => CursorKey::Integer(None),
            // A double is written with a point or an exponent, so it is not read as an integer.
            Value::Number(number) => match number.as_i64() {
                Some(integer) => CursorKey::Integer(Some(integer)),
                None => CursorKey::Number(number.as_f64().filter(|number| number.is_finite())?),
            },
            _ => return None,
        };
        Some(Self { list, key, id })
    }
}

/// The context of a page in its list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Rows on all pages; `None` if counting them takes longer than finding this page.
    pub total: Option<u64>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<Cursor>,
}

/// Counts of versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// All versions.
    pub total_models: u64,
    /// By status, without statuses that no version has.
    pub by_status: Vec<(String, u64)>,
    /// By name.
    pub by_name: Vec<(String, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_decodes_only_for_its_own_list() {
        for (list, key) in [
            ("created_at.desc", CursorKey::Text("2026-01-31 13:05:09.250".to_owned())),
            ("training_step.asc", CursorKey::Integer(Some(-5))),
            ("training_step.asc", CursorKey::Integer(None)),
            ("events.desc", CursorKey::Integer(None)),
        ] {
            let cursor = Cursor { list: list.to_owned(), key, id: 7 };
            assert_eq!(Cursor::decode(&cursor.encode(), list), Ok(cursor.clone()));
            assert!(Cursor::decode(&cursor.encode(), "updated_at.asc").is_err());
        }
    }

    #[test]
    fn other_text_is_refused() {
        let made = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        for text in [
            String::new(),
            "!".to_owned(),
            made("[]"),
            made(r#"["created_at.desc",5,7]"#),
            made(r#"["created_at.desc",null,7]"#),
            made(r#"["created_at.desc","x",7.5]"#),
            made(r#"["created_at.desc","x",99999999999999999999]"#),
            made(r#"["training_step.desc","x",7]"#),
            made(r#"["created_at.desc","x",7,8]"#),
            made(r#"["created_at.desc",0.5,7]"#),
            made(r#"["training_step.desc",0.5,7]"#),
        ] {
            for list in ["created_at.desc", "training_step.desc"] {
                assert!(Cursor::decode(&text, list).is_err(), "{text}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn a_cursor_of_any_row_decodes(key in ".*", step: Option<i64>, id: i64) {
            for (list, key) in [("updated_at.asc", CursorKey::Text(key)), ("training_step.desc", CursorKey::Integer(step))] {
                let cursor = Cursor { list: list.to_owned(), key, id };
                assert_eq!(Cursor::decode(&cursor.encode(), list), Ok(cursor));
            }
        }

        #[test]
        fn decoding_any_text_does_not_panic(text in ".*") {
            let _ = Cursor::decode(&text, "created_at.desc");
            let _ = Cursor::decode(&BASE64_URL_SAFE_NO_PAD.encode(&text), "created_at.desc");
        }
    }
}
