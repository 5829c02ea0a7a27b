//! Reads the counters.

use rusqlite::OptionalExtension as _;

use registry_domain::Stats;

use super::statements::Statements;
use crate::sqlite::lookup::CountOf;

pub(super) fn stats(statements: &Statements<'_>) -> rusqlite::Result<Stats> {
    let mut counts =
        statements.prepare("SELECT value, count FROM model_counts WHERE kind = ?1 ORDER BY value")?;
    let mut counts = |of: CountOf| -> rusqlite::Result<Vec<(String, u64)>> {
        counts.query_map([of.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let (by_status, by_name) = (counts(CountOf::Status)?, counts(CountOf::Name)?);
    Ok(Stats { total_models: by_status.iter().map(|(_, count)| count).sum(), by_status, by_name })
}

/// Counts all versions.
pub(super) fn all(statements: &Statements<'_>) -> rusqlite::Result<u64> {
    let sql = "SELECT ifnull(sum(count), 0) FROM model_counts WHERE kind = ?1";
    statements.prepare(sql)?.query_row([CountOf::Status.as_str()], |row| row.get(0))
}

/// Counts the versions with a name, a status or a tag.
pub(super) fn of(statements: &Statements<'_>, of: CountOf, value: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT count FROM model_counts WHERE kind = ?1 AND value = ?2";
    let count = statements.prepare(sql)?.query_row([of.as_str(), value], |row| row.get(0)).optional()?;
    Ok(count.unwrap_or(0))
}
