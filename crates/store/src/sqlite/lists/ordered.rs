//! Walks along an index that has the rows in the order of the list.

use std::ops::ControlFlow;

use rusqlite::{Row, params_from_iter, types::Value};

use registry_domain::{Cursor, Order, Sort, Status};

use crate::sqlite::schema::known_statuses;

use super::{
    Asked, Found,
    wanted::{bound_key, sort_key},
};

/// Which rows an index has in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Along<'q> {
    /// All, by the sort of the list.
    All,
    /// Those of a status, by `created_at` or `updated_at`.
    Status(Status),
    /// Those of a name, by `created_at`.
    Name(&'q str),
}

/// A walk: along which rows, in which order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk<'q> {
    pub(super) along: Along<'q>,
    pub(super) sort: Sort,
    pub(super) order: Order,
}

/// A stretch of a walk. SQLite seeks by a key and by an id behind equal keys, but not by both as one value.
enum Stretch<'c> {
    Whole,
    /// Behind the cursor's row, of the rows that have its key.
    Ties(&'c Cursor),
    /// Those that come behind all with the cursor's key.
    Beyond(&'c Cursor),
}

/// Visits rows by id from one on, `columns` of each, until `visit` has enough.
pub(super) fn each_by_id(
    asked: &Asked<'_>,
    columns: &str,
    order: Order,
    from: i64,
    offset: u64,
    mut visit: impl FnMut(&Row<'_>) -> Found<ControlFlow<()>>,
) -> Found<()> {
    let (direction, beyond) = match order {
        Order::Descending => ("DESC", "<="),
        Order::Ascending => ("ASC", ">="),
    };
    let mut rows = asked.prepare(&format!(
        "SELECT {columns} FROM models WHERE id {beyond} ?1 ORDER BY id {direction} LIMIT -1 OFFSET ?2"
    ))?;
    let mut rows = rows.query((from, offset))?;
    while let Some(row) = rows.next()? {
        if visit(row)?.is_break() {
            break;
        }
    }
    Ok(())
}

impl Walk<'_> {
    /// What is read of a row where only its id is wanted. SQLite puts several indexes together by what it reads.
    pub(super) fn id_column(self) -> &'static str {
        if self.sort == Sort::UpdatedAt { "id, updated_at" } else { "id" }
    }

    /// Visits rows, `columns` of each, until `visit` has enough. Some may be passed over first, which reads the
    /// index alone where `columns` are in it.
    pub(super) fn each(
        self,
        asked: &Asked<'_>,
        columns: &str,
        after: Option<&Cursor>,
        limit: Option<u64>,
        offset: u64,
        mut visit: impl FnMut(&Row<'_>) -> Found<ControlFlow<()>>,
    ) -> Found<()> {
        let stretches = match after {
            None => vec![Stretch::Whole],
            Some(cursor) => vec![Stretch::Ties(cursor), Stretch::Beyond(cursor)],
        };
        for stretch in stretches {
            let (sql, values) = self.sql(columns, &stretch, limit, offset);
            let mut statement = asked.prepare(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                if visit(row)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn sql(
        self,
        columns: &str,
        stretch: &Stretch<'_>,
        limit: Option<u64>,
        offset: u64,
    ) -> (String, Vec<Value>) {
        let mut values = Vec::new();
        let mut bind = |value: Value| {
            values.push(value);
            format!("?{}", values.len())
        };
        let (direction, beyond) = match self.order {
            Order::Descending => ("DESC", "<"),
            Order::Ascending => ("ASC", ">"),
        };
        let key = sort_key(self.sort);
        let from = match stretch {
            Stretch::Whole => None,
            Stretch::Ties(cursor) => {
                let (from, id) = (bind(bound_key(cursor)), bind(cursor.id.into()));
                Some(format!("{key} = {from} AND id {beyond} {id}"))
            }
            Stretch::Beyond(cursor) => Some(format!("{key} {beyond} {}", bind(bound_key(cursor)))),
        };
        let branches = match self.along {
            Along::Status(status) => {
                vec![Some(format!("status = {}", bind(status.as_str().to_owned().into())))]
            }
            Along::Name(name) => vec![Some(format!("name = {}", bind(name.to_owned().into())))],
            Along::All if self.sort == Sort::UpdatedAt => Status::NAMES
                .iter()
                .map(|status| Some(format!("status = '{status}'")))
                .chain([Some(concat!("ifnull(status, '') NOT IN ", known_statuses!()).to_owned())])
                .collect(),
            Along::All => vec![None],
        };
        let selects: Vec<_> = branches
            .into_iter()
            .map(|of| {
                let conditions: Vec<_> = [of, from.clone()].into_iter().flatten().collect();
                let filter = if conditions.is_empty() { "" } else { " WHERE " };
                format!("SELECT {columns} FROM models{filter}{}", conditions.join(" AND "))
            })
            .collect();
        let by = match stretch {
            // SQLite does not see that an expression is the same in all of them.
            Stretch::Ties(_) => format!("id {direction}"),
            _ => format!("{key} {direction}, id {direction}"),
        };
        let mut sql = format!("{} ORDER BY {by}", selects.join(" UNION ALL "));
        if limit.is_some() || offset > 0 {
            // -1 is SQLite's "all".
            let limit = limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
            sql.push_str(&format!(" LIMIT {}", bind(limit.into())));
        }
        if offset > 0 {
            sql.push_str(&format!(" OFFSET {}", bind(i64::try_from(offset).unwrap_or(i64::MAX).into())));
        }
        (sql, values)
    }
}
