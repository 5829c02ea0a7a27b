//! The filters of a list, and the position of a row in its order.

use std::cmp::Ordering;

use rusqlite::{Row, types::Value, types::ValueRef};

use registry_domain::{Cursor, ListQuery, Order, Sort, Status, Tags, query::CursorKey};

use crate::sqlite::{
    ngrams::{contains, fold},
    schema::step_key,
};

/// All but the times precede `metrics` in a row, which may be large.
macro_rules! filtered {
    ($key:expr) => {
        concat!("id, ", $key, ", status, name, version, description, tags")
    };
}

/// The filters of a list.
#[derive(Debug, Clone)]
pub(super) struct RowFilter<'q> {
    pub(super) status: Option<Status>,
    pub(super) name: Option<&'q str>,
    pub(super) tag: Option<&'q str>,
    /// Folded, and not empty: every version contains the empty text.
    pub(super) text: Option<String>,
}

impl<'q> RowFilter<'q> {
    pub(super) fn of(query: &'q ListQuery) -> Self {
        Self {
            status: query.status,
            name: query.name.as_deref(),
            tag: query.tag.as_deref(),
            text: query.q.as_deref().map(fold).filter(|text| !text.is_empty()),
        }
    }

    /// Returns true if a row of [`filtered_columns`] passes all filters.
    pub(super) fn accepts(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        let text = |column| row.get_ref(column).map(|value| value.as_str().unwrap_or_default());
        if self.status.is_some_and(|status| text(2) != Ok(status.as_str())) {
            return Ok(false);
        }
        if self.name.is_some_and(|name| text(3) != Ok(name)) {
            return Ok(false);
        }
        if let Some(part) = &self.text {
            let found = [text(3)?, text(4)?, text(5)?].iter().any(|text| contains(text, part));
            if !found {
                return Ok(false);
            }
        }
        let Some(tag) = self.tag else { return Ok(true) };
        Ok(Tags::stored(Some(text(6)?), None).get(tag).is_some())
    }
}

/// Returns the column that a list is sorted by, as it appears in the index.
pub(super) fn sort_key(sort: Sort) -> &'static str {
    match sort {
        Sort::CreatedAt => "created_at",
        Sort::UpdatedAt => "updated_at",
        Sort::TrainingStep => step_key!(),
    }
}

/// Returns the columns that [`RowFilter::accepts`] and [`SortPosition::of`] read, in their order.
pub(super) fn filtered_columns(sort: Sort) -> &'static str {
    match sort {
        Sort::CreatedAt => filtered!("created_at"),
        Sort::UpdatedAt => filtered!("updated_at"),
        Sort::TrainingStep => filtered!(step_key!()),
    }
}

/// The position of a row in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SortPosition {
    /// An absent step is the lowest number, as in the index.
    key: CursorKey,
    pub(super) id: i64,
}

impl SortPosition {
    /// Reads the position of a row of [`filtered_columns`].
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let key = match row.get_ref(1)? {
            ValueRef::Integer(step) => CursorKey::Integer(Some(step)),
            time => CursorKey::Text(time.as_str()?.to_owned()),
        };
        Ok(Self { key, id: row.get(0)? })
    }

    pub(super) fn of_cursor(cursor: &Cursor) -> Self {
        let key = match &cursor.key {
            CursorKey::Integer(None) => CursorKey::Integer(Some(i64::MIN)),
            key => key.clone(),
        };
        Self { key, id: cursor.id }
    }

    /// Returns the key as a parameter of a statement.
    pub(super) fn key_value(&self) -> Value {
        match &self.key {
            CursorKey::Integer(step) => Value::from(*step),
            CursorKey::Text(time) => Value::from(time.clone()),
            CursorKey::Number(number) => Value::from(*number),
        }
    }

    /// Compares two positions in a list of this order.
    pub(super) fn compare(&self, other: &Self, order: Order) -> Ordering {
        match order {
            Order::Ascending => self.cmp(other),
            Order::Descending => other.cmp(self),
        }
    }
}
