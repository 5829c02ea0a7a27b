//! The versions that may have a tag or a text, by id: those that the index has, and those that are pending.
//!
//! The index may be behind, and letters in it may stand for others, so each candidate is looked at. None is left
//! out: what was written since it was indexed is pending.

use std::ops::ControlFlow;

use rusqlite::{Row, Rows, types::Value};

use registry_domain::Order;

use crate::sqlite::derived::letters;

use super::{Asked, Found};

/// Where to look for them in the index.
#[derive(Debug, Clone)]
pub(super) struct Candidates {
    table: &'static str,
    id: &'static str,
    condition: &'static str,
    values: Vec<Value>,
}

impl Candidates {
    /// Those that may have a text.
    pub(super) fn of_part(part: &str) -> Self {
        let values = vec![letters::asked(part).into()];
        Self { table: "model_grams", id: "rowid", condition: "model_grams MATCH ?3", values }
    }

    /// Those that may have a tag.
    pub(super) fn of_tag(tag: &str) -> Self {
        Self {
            table: "model_tags",
            id: "model_id",
            condition: "tag = ?3",
            values: vec![tag.to_owned().into()],
        }
    }

    /// Visits those with ids from `lowest` to `highest`, each once, until `visit` has enough.
    pub(super) fn each(
        &self,
        asked: &Asked<'_>,
        (lowest, highest): (i64, i64),
        order: Order,
        mut visit: impl FnMut(i64) -> Found<ControlFlow<()>>,
    ) -> Found<()> {
        let direction = match order {
            Order::Descending => "DESC",
            Order::Ascending => "ASC",
        };
        let Self { table, id, condition, values } = self;
        let mut indexed = asked.prepare(&format!(
            "SELECT {id} FROM {table} WHERE {condition} AND {id} >= ?1 AND {id} <= ?2 ORDER BY {id} {direction}"
        ))?;
        let mut pending = asked.prepare(&format!(
            "SELECT model_id FROM index_pending WHERE model_id >= ?1 AND model_id <= ?2 ORDER BY model_id {direction}"
        ))?;
        let range = [Value::from(lowest), Value::from(highest)];
        let mut indexed = indexed.query(rusqlite::params_from_iter(range.iter().chain(values)))?;
        let mut pending = pending.query(rusqlite::params_from_iter(&range))?;
        let id_of = |row: Option<&Row<'_>>| row.map(|row| row.get::<_, i64>(0)).transpose();
        let next = |rows: &mut Rows<'_>| id_of(rows.next()?);
        let (mut one, mut other) = (next(&mut indexed)?, next(&mut pending)?);
        loop {
            let first = match (one, other) {
                (None, None) => return Ok(()),
                (Some(id), None) | (None, Some(id)) => id,
                (Some(one), Some(other)) => match order {
                    Order::Descending => one.max(other),
                    Order::Ascending => one.min(other),
                },
            };
            if visit(first)?.is_break() {
                return Ok(());
            }
            if one == Some(first) {
                one = next(&mut indexed)?;
            }
            if other == Some(first) {
                other = next(&mut pending)?;
            }
        }
    }
}
