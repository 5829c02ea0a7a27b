//! What a list wants of a row, and where a row stands in it.

use std::cmp::Ordering;

use rusqlite::{Row, types::Value, types::ValueRef};

use registry_domain::{Cursor, ListQuery, Order, Sort, Status, query::CursorKey};

use crate::sqlite::{
    derived::{
        letters::{contains, folded},
        settle::tags_of,
    },
    schema::step_key,
};

/// The columns that [`Wanted::holds`] and [`Place::of`] read, in their order.
macro_rules! judged {
    ($key:expr) => {
        concat!("id, ", $key, ", status, name, version, description, tags")
    };
}

/// The filters of a list.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'q> {
    pub(super) status: Option<Status>,
    pub(super) name: Option<&'q str>,
    pub(super) tag: Option<&'q str>,
    /// Folded, and not empty: every version has the empty part.
    pub(super) part: Option<String>,
}

impl<'q> Wanted<'q> {
    pub(super) fn of(query: &'q ListQuery) -> Self {
        Self {
            status: query.status,
            name: query.name.as_deref(),
            tag: query.tag.as_deref(),
            part: query.q.as_deref().map(folded).filter(|part| !part.is_empty()),
        }
    }

    /// Whether a row of [`judged_columns`] passes all of them.
    pub(super) fn holds(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        let is = |column: usize, text: &str| row.get_ref(column).map(|value| value.as_str() == Ok(text));
        if let Some(status) = self.status
            && !is(2, status.as_str())?
        {
            return Ok(false);
        }
        if let Some(name) = self.name
            && !is(3, name)?
        {
            return Ok(false);
        }
        if let Some(part) = &self.part {
            let texts = [row.get_ref(3)?, row.get_ref(4)?, row.get_ref(5)?];
            if !texts.iter().any(|text| text.as_str().is_ok_and(|text| contains(text, part))) {
                return Ok(false);
            }
        }
        match self.tag {
            None => Ok(true),
            Some(tag) => Ok(tags_of(row.get_ref(6)?).iter().any(|known| known == tag)),
        }
    }
}

/// As it stands in the index.
pub(super) fn sort_key(sort: Sort) -> &'static str {
    match sort {
        Sort::CreatedAt => "created_at",
        Sort::UpdatedAt => "updated_at",
        Sort::TrainingStep => step_key!(),
    }
}

/// What is read of a row to judge it.
pub(super) fn judged_columns(sort: Sort) -> &'static str {
    match sort {
        Sort::CreatedAt => judged!("created_at"),
        Sort::UpdatedAt => judged!("updated_at"),
        Sort::TrainingStep => judged!(step_key!()),
    }
}

/// A value as SQLite sorts it: nothing, then numbers, then texts, then bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Nothing,
    Number(i64),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
}

impl Key {
    pub(super) fn of(value: ValueRef<'_>) -> Self {
        match value {
            // The columns' affinity leaves no floats.
            ValueRef::Null | ValueRef::Real(_) => Self::Nothing,
            ValueRef::Integer(number) => Self::Number(number),
            ValueRef::Text(text) => Self::Text(text.to_owned()),
            ValueRef::Blob(bytes) => Self::Bytes(bytes.to_owned()),
        }
    }
}

/// Where a row stands in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) key: Key,
    pub(super) id: i64,
}

impl Place {
    /// Of a row of [`judged_columns`].
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { key: Key::of(row.get_ref(1)?), id: row.get(0)? })
    }

    pub(super) fn of_cursor(cursor: &Cursor) -> Self {
        let key = match &cursor.key {
            CursorKey::Text(text) => Key::Text(text.clone().into_bytes()),
            CursorKey::Integer(step) => Key::Number(step.unwrap_or(i64::MIN)),
        };
        Self { key, id: cursor.id }
    }

    /// How it comes to stand to another one in a list of this order.
    pub(super) fn compare(&self, other: &Self, order: Order) -> Ordering {
        match order {
            Order::Ascending => self.cmp(other),
            Order::Descending => other.cmp(self),
        }
    }

    /// Whether it stands behind another one.
    pub(super) fn is_behind(&self, other: &Self, order: Order) -> bool {
        self.compare(other, order) == Ordering::Greater
    }
}

/// The key a cursor stands on, as it is bound.
pub(super) fn bound_key(cursor: &Cursor) -> Value {
    match &cursor.key {
        CursorKey::Text(text) => Value::from(text.clone()),
        CursorKey::Integer(step) => Value::from(step.unwrap_or(i64::MIN)),
    }
}
