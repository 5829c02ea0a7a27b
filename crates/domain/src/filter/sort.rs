//! Sort keys: a field and a direction.

use std::{cmp::Ordering, fmt};

use super::{
    field::{Field, FieldType, Scope},
    scanner::{FilterError, Scanner},
    value::Value,
};
use crate::{
    query::{Cursor, CursorKey, Order},
    refusal::Refusal,
    timestamp::Timestamp,
};

/// The order of a list: `created_at`, `name:asc`, `scores.smoke-v1.score:desc`.
///
/// Items without a value come last in both directions. Ties are broken by id, in the same direction. The `Display` form
/// names the list in its cursors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// The field, which has at most one value.
    pub field: Field,
    /// The direction.
    pub order: Order,
}

impl SortKey {
    /// Parses a field and a direction, `:asc` (the default) or `:desc`. A blank may stand for the colon.
    ///
    /// # Errors
    /// [`FilterError`] for anything else, and for a field that items can't be sorted by.
    pub fn parse(text: &str, scope: Scope) -> Result<Self, FilterError> {
        let mut scanner = Scanner::new(text);
        let mark = scanner.mark();
        let field = Field::scan(&mut scanner, scope)?;
        if !field.is_sortable() {
            return Err(scanner.error_at(mark, format!("can't sort by {field}; expected another field")));
        }
        let colon = scanner.symbol(":");
        let order = match (scanner.keyword("desc"), scanner.keyword("asc")) {
            (true, false) => Order::Descending,
            (false, true) => Order::Ascending,
            (false, false) if !colon => Order::Ascending,
            _ => return Err(scanner.expected("asc or desc")),
        };
        if !scanner.rest().is_empty() {
            return Err(scanner.expected("the end"));
        }
        Ok(Self { field, order })
    }

    /// Compares the places of two items in the list, given the value of the field and the id of each.
    #[must_use]
    pub fn compare(&self, left: (Option<&Value>, i64), right: (Option<&Value>, i64)) -> Ordering {
        let directed = |order: Ordering| match self.order {
            Order::Ascending => order,
            Order::Descending => order.reverse(),
        };
        let by_value = match (left.0, right.0) {
            (Some(left), Some(right)) => directed(left.compare(right).unwrap_or(Ordering::Equal)),
            (left, right) => left.is_none().cmp(&right.is_none()),
        };
        by_value.then(directed(left.1.cmp(&right.1)))
    }

    /// Parses a cursor of this list. Its key has the type of the field, or is null.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for anything else.
    pub fn cursor(&self, text: &str) -> Result<Cursor, Refusal> {
        let field_type = self.field.field_type();
        Cursor::decode_if(text, &self.to_string(), |key| match key {
            CursorKey::Integer(None) => true,
            CursorKey::Integer(Some(_)) => matches!(field_type, FieldType::Integer | FieldType::Flag),
            CursorKey::Number(_) => field_type == FieldType::Number,
            CursorKey::Text(text) if field_type == FieldType::Time => Timestamp::parse(text).is_some(),
            CursorKey::Text(_) => matches!(field_type, FieldType::Text | FieldType::Status),
        })
    }
}

impl fmt::Display for SortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.field, self.order.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> SortKey {
        SortKey::parse(text, Scope::Versions).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_sort_key_is_a_field_and_a_direction() {
        for (text, canonical) in [
            ("created_at", "created_at:asc"),
            ("name:desc", "name:desc"),
            (" name : DESC ", "name:desc"),
            ("version_number DESC", "number:desc"),
            ("`name` asc", "name:asc"),
            ("scores.smoke-v1.score:desc", "scores.smoke-v1.score:desc"),
            ("scores.`a:desc`.b", "scores.`a:desc`.b:asc"),
            ("tags.team", "tags.team:asc"),
        ] {
            assert_eq!(key(text).to_string(), canonical);
            assert_eq!(key(canonical), key(text));
        }
        for (text, position, message) in [
            ("", 1, "expected a field, found the end"),
            ("nam", 1, "unknown field \"nam\""),
            ("name:", 6, "expected asc or desc, found the end"),
            ("name:up", 6, "expected asc or desc, found \"up\""),
            ("name up", 6, "expected the end, found \"up\""),
            ("name desc asc", 14, "expected asc or desc"),
            ("name,number", 5, "expected the end, found \",\""),
            ("sha256", 1, "can't sort by sha256; expected another field"),
            ("alias:desc", 1, "can't sort by alias"),
            ("description", 1, "can't sort by description"),
        ] {
            let error = SortKey::parse(text, Scope::Versions).expect_err(text);
            assert_eq!(error.position, position, "{text}: {error}");
            assert!(error.message.contains(message), "{text}: {error}");
        }
        assert!(SortKey::parse("scores.a.b", Scope::Models).is_err());
    }

    #[test]
    fn items_without_a_value_come_last_and_ties_are_broken_by_id() {
        let score = |number: f64| Some(Value::Number(number));
        let items =
            [(score(0.5), 1), (None, 2), (score(0.9), 3), (score(-1.0), 4), (None, 5), (score(0.5), 6)];
        for (text, sorted) in
            [("scores.s.m:asc", [4, 1, 6, 3, 2, 5]), ("scores.s.m:desc", [3, 6, 1, 4, 5, 2])]
        {
            let mut items = items.clone();
            items.sort_by(|left, right| {
                key(text).compare((left.0.as_ref(), left.1), (right.0.as_ref(), right.1))
            });
            assert_eq!(items.map(|(_, id)| id), sorted, "{text}");
        }
    }

    #[test]
    fn a_cursor_has_a_key_of_the_fields_type_or_none() {
        let text = |text: &str| CursorKey::Text(text.to_owned());
        let time = "2026-01-31 13:05:09.250";
        for (sort, key_of_row, accepted) in [
            ("name:asc", text("x"), true),
            ("name:asc", CursorKey::Integer(Some(1)), false),
            ("status:desc", text("staging"), true),
            ("tags.`a b`:asc", text("é"), true),
            ("number:asc", CursorKey::Integer(Some(i64::MIN)), true),
            ("number:asc", CursorKey::Number(1.0), false),
            ("number:asc", text("1"), false),
            ("frozen:asc", CursorKey::Integer(Some(1)), true),
            ("scores.s.m:desc", CursorKey::Number(1.0), true),
            ("scores.s.m:desc", CursorKey::Number(-1e300), true),
            ("scores.s.m:desc", CursorKey::Number(0.1 + 0.2), true),
            ("scores.s.m:desc", CursorKey::Integer(Some(1)), false),
            ("scores.s.m:desc", CursorKey::Integer(None), true),
            ("created_at:asc", text(time), true),
            ("created_at:asc", text("soon"), false),
            ("created_at:asc", CursorKey::Integer(None), true),
        ] {
            let sort = key(sort);
            let cursor = Cursor { list: sort.to_string(), key: key_of_row, id: 7 };
            let read = sort.cursor(&cursor.encode());
            if accepted { assert_eq!(read, Ok(cursor)) } else { assert!(read.is_err(), "{sort} {cursor:?}") }
        }
        let other = Cursor { list: "name:desc".to_owned(), key: text("x"), id: 7 };
        let refusal = key("name").cursor(&other.encode()).unwrap_err();
        assert!(refusal.to_string().contains("sorted by name:desc"), "{refusal}");
    }
}
