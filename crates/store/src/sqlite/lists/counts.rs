//! What is counted already.

use rusqlite::{OptionalExtension as _, ToSql};

use registry_domain::{Stats, Status};

use crate::sqlite::{derived::settle::tags_of, derived::tables::BLOCK_BITS, models::text};

use super::{Asked, Found};

/// Pending versions that are looked at to correct the count of a tag.
const MAX_CORRECTIONS: usize = 1_000;

pub(super) fn stats(asked: &Asked<'_>) -> Found<Stats> {
    let counts = |sql: &str| -> Found<Vec<(String, u64)>> {
        let mut statement = asked.prepare(sql)?;
        let rows = statement
            .query_map([], |row| Ok((text(row.get_ref(0)?).unwrap_or_default().into_owned(), row.get(1)?)))?;
        let mut counts = rows.collect::<Found<Vec<_>>>()?;
        // What is no text, another process's blob, is answered as the empty one.
        let blank: u64 = counts.iter().filter(|(key, _)| key.is_empty()).map(|(_, count)| count).sum();
        counts.retain(|(key, _)| !key.is_empty());
        if blank > 0 {
            counts.insert(0, (String::new(), blank));
        }
        Ok(counts)
    };
    let by_status = counts("SELECT status, n FROM status_counts ORDER BY status")?;
    let by_name = counts("SELECT name, n FROM name_counts ORDER BY name")?;
    Ok(Stats { total_models: by_status.iter().map(|(_, count)| count).sum(), by_status, by_name })
}

pub(super) fn all(asked: &Asked<'_>) -> Found<u64> {
    asked.prepare("SELECT ifnull(sum(n), 0) FROM status_counts")?.query_row([], |row| row.get(0))
}

pub(super) fn of_status(asked: &Asked<'_>, status: Status) -> Found<u64> {
    count(asked, "SELECT n FROM status_counts WHERE status = ?1", status.as_str())
}

pub(super) fn of_name(asked: &Asked<'_>, name: &str) -> Found<u64> {
    count(asked, "SELECT n FROM name_counts WHERE name = ?1", name)
}

/// How many versions the index has with this tag.
pub(super) fn of_indexed_tag(asked: &Asked<'_>, tag: &str) -> Found<u64> {
    count(asked, "SELECT n FROM tag_counts WHERE tag = ?1", tag)
}

/// How many versions have this tag; `None` where too many are pending to tell.
pub(super) fn of_tag(asked: &Asked<'_>, tag: &str) -> Found<Option<u64>> {
    let mut total = of_indexed_tag(asked, tag)?;
    let mut pending = asked.prepare(
        "SELECT tags, EXISTS (SELECT 1 FROM model_tags WHERE tag = ?1 AND model_id = index_pending.model_id) \
         FROM index_pending LEFT JOIN models ON models.id = index_pending.model_id LIMIT ?2",
    )?;
    let mut rows = pending.query((tag, MAX_CORRECTIONS as i64 + 1))?;
    let mut looked_at = 0;
    while let Some(row) = rows.next()? {
        looked_at += 1;
        if looked_at > MAX_CORRECTIONS {
            return Ok(None);
        }
        let has = tags_of(row.get_ref(0)?).iter().any(|known| known == tag);
        total = (total + u64::from(has)).saturating_sub(u64::from(row.get::<_, bool>(1)?));
    }
    Ok(Some(total))
}

/// The block of ids where the row stands that has `offset` rows before it, from either end, and how many of them
/// stand in that block; `None` where there are not so many rows.
pub(super) fn block_at(asked: &Asked<'_>, offset: u64, direction: &str) -> Found<Option<(Block, u64)>> {
    let mut blocks =
        asked.prepare(&format!("SELECT block, n FROM model_blocks ORDER BY block {direction}"))?;
    let mut rows = blocks.query([])?;
    let mut left = offset;
    while let Some(row) = rows.next()? {
        let (block, rows_in_it): (i64, u64) = (row.get(0)?, row.get(1)?);
        match left.checked_sub(rows_in_it) {
            Some(rest) => left = rest,
            None => return Ok(Some((Block(block), left))),
        }
    }
    Ok(None)
}

/// A stretch of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block(i64);

impl Block {
    /// The lowest id that can be in it, and the highest.
    pub(super) fn ids(self) -> (i64, i64) {
        let lowest = self.0 << BLOCK_BITS;
        (lowest, lowest + ((1 << BLOCK_BITS) - 1))
    }
}

fn count(asked: &Asked<'_>, sql: &str, key: impl ToSql) -> Found<u64> {
    Ok(asked.prepare(sql)?.query_row([key], |row| row.get(0)).optional()?.unwrap_or(0))
}
