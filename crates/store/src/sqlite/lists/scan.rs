//! Reads rows along an index that has them in the order of the list.

use std::ops::ControlFlow;

use rusqlite::{Row, params_from_iter, types::Value};

use registry_domain::{Order, Sort, Status};

use super::{
    filter::{SortPosition, sort_key},
    statements::Statements,
};

/// Rows that are adjacent in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows<'q> {
    /// All, by any sort.
    All,
    /// Rows with a status, by `created_at` or `updated_at`.
    Status(Status),
    /// Rows with a name, by `created_at`.
    Name(&'q str),
}

/// A scan of some rows in an order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan<'q> {
    pub(super) rows: Rows<'q>,
    pub(super) sort: Sort,
    pub(super) order: Order,
}

/// A part of a scan. SQLite seeks by a key, and by an id among equal keys, but with both at once only by the key:
/// it would read all rows with the cursor's key.
enum Range<'c> {
    Whole,
    /// Rows with the cursor's key, after the cursor's id.
    Ties(&'c SortPosition),
    /// Rows after all those with the cursor's key.
    Beyond(&'c SortPosition),
}

impl Scan<'_> {
    /// Returns a scan of the same rows in the opposite order.
    pub(super) fn reversed(self) -> Self {
        let order = match self.order {
            Order::Descending => Order::Ascending,
            Order::Ascending => Order::Descending,
        };
        Self { order, ..self }
    }

    /// Returns the columns to read if only the id is needed. SQLite merges several indexes by the columns that it reads.
    pub(super) fn id_columns(&self) -> &'static str {
        if self.rows == Rows::All && self.sort == Sort::UpdatedAt { "id, updated_at" } else { "id" }
    }

    /// Visits `columns` of the rows after a position, or of all, until `visit` breaks or `limit` is reached. SQLite skips
    /// the first `offset` rows.
    pub(super) fn each(
        self,
        statements: &Statements<'_>,
        columns: &str,
        after: Option<&SortPosition>,
        limit: Option<u64>,
        offset: u64,
        visit: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<ControlFlow<()>>,
    ) -> rusqlite::Result<()> {
        let ranges = match after {
            None => vec![Range::Whole],
            Some(position) => vec![Range::Ties(position), Range::Beyond(position)],
        };
        for range in ranges {
            let (sql, values) = self.sql(columns, &range, limit, offset);
            let mut statement = statements.prepare(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                if visit(row)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn sql(self, columns: &str, range: &Range<'_>, limit: Option<u64>, offset: u64) -> (String, Vec<Value>) {
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
        let (range, by_key) = match range {
            Range::Whole => (None, true),
            // SQLite does not notice that an expression has the same value in all of them.
            Range::Ties(at) => {
                let (key_value, id) = (bind(at.key_value()), bind(at.id.into()));
                (Some(format!("{key} = {key_value} AND id {beyond} {id}")), false)
            }
            Range::Beyond(at) => (Some(format!("{key} {beyond} {}", bind(at.key_value()))), true),
        };
        let branches = match self.rows {
            Rows::Status(status) => {
                vec![Some(format!("status = {}", bind(status.as_str().to_owned().into())))]
            }
            Rows::Name(name) => vec![Some(format!("name = {}", bind(name.to_owned().into())))],
            Rows::All if self.sort == Sort::UpdatedAt => {
                Status::NAMES.iter().map(|status| Some(format!("status = '{status}'"))).collect()
            }
            Rows::All => vec![None],
        };
        let selects = branches.into_iter().map(|branch| {
            let conditions: Vec<_> = branch.into_iter().chain(range.clone()).collect();
            let filter = if conditions.is_empty() { "" } else { " WHERE " };
            format!("SELECT {columns} FROM models{filter}{}", conditions.join(" AND "))
        });
        let selects = selects.collect::<Vec<_>>().join(" UNION ALL ");
        let keys = if by_key { format!("{key} {direction}, ") } else { String::new() };
        let mut sql = format!("{selects} ORDER BY {keys}id {direction}");
        if limit.is_some() || offset > 0 {
            let integer = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
            // In SQLite, -1 means no limit.
            sql.push_str(&format!(" LIMIT {}", bind(limit.map_or(Value::from(-1), integer))));
            sql.push_str(&format!(" OFFSET {}", bind(integer(offset))));
        }
        (sql, values)
    }
}
