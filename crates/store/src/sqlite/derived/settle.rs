//! Working through `index_pending`: tags and letters of versions that were written since.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, types::ValueRef};

use super::letters;

const PENDING: &str = "SELECT model_id FROM index_pending LIMIT ?1";
const IS_PENDING: &str = "SELECT 1 FROM index_pending LIMIT 1 OFFSET ?1";
const TEXTS: &str = "SELECT name, version, description, tags FROM models WHERE id = ?1";
const KNOWN_TAGS: &str = "SELECT tag FROM model_tags WHERE model_id = ?1 ORDER BY tag";
const FORGET_TAG: &str = "DELETE FROM model_tags WHERE tag = ?1 AND model_id = ?2";
const ONE_LESS: &str = "UPDATE tag_counts SET n = n - 1 WHERE tag = ?1";
const NONE_LEFT: &str = "DELETE FROM tag_counts WHERE tag = ?1 AND n <= 0";
const ADD_TAG: &str = "INSERT INTO model_tags (tag, model_id) VALUES (?1, ?2)";
const ONE_MORE: &str = "INSERT INTO tag_counts VALUES (?1, 1) ON CONFLICT DO UPDATE SET n = n + 1";
const SET_LETTERS: &str = "REPLACE INTO model_grams (rowid, grams) VALUES (?1, ?2)";
const FORGET_LETTERS: &str = "DELETE FROM model_grams WHERE rowid = ?1";
const SETTLED: &str = "DELETE FROM index_pending WHERE model_id = ?1";

/// Indexes up to `most` of the versions that are pending, and begins none once `time` has passed, but always the
/// first; how many it were. One with very long texts may take two tenths of a second. Inside a transaction, which is to be
/// undone to where it was when this errs.
pub(in super::super) fn settle(
    connection: &Connection,
    most: usize,
    time: Duration,
) -> rusqlite::Result<usize> {
    let begun = Instant::now();
    let mut pending = connection.prepare_cached(PENDING)?;
    let pending = pending.query_map([i64::try_from(most).unwrap_or(i64::MAX)], |row| row.get(0))?;
    let pending = pending.collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut settled = 0;
    for id in &pending {
        if settled > 0 && begun.elapsed() >= time {
            break;
        }
        settle_one(connection, *id)?;
        settled += 1;
    }
    Ok(settled)
}

/// Whether at least so many versions are pending.
pub(in super::super) fn are_pending(connection: &Connection, least: usize) -> rusqlite::Result<bool> {
    let before = i64::try_from(least.saturating_sub(1)).unwrap_or(i64::MAX);
    Ok(connection.prepare_cached(IS_PENDING)?.query_row([before], |_| Ok(())).optional()?.is_some())
}

fn settle_one(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    let mut texts = connection.prepare_cached(TEXTS)?;
    let mut texts = texts.query([id])?;
    let tags = match texts.next()? {
        Some(row) => {
            let searched = [row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?];
            let letters = letters::runs(searched.iter().filter_map(|text| text.as_str().ok()));
            connection.prepare_cached(SET_LETTERS)?.execute((id, letters))?;
            tags_of(row.get_ref(3)?)
        }
        None => {
            connection.prepare_cached(FORGET_LETTERS)?.execute([id])?;
            Vec::new()
        }
    };
    let mut known = connection.prepare_cached(KNOWN_TAGS)?;
    let known = known.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    // Both are sorted; a version may have thousands.
    for tag in known.iter().filter(|tag| tags.binary_search(tag).is_err()) {
        connection.prepare_cached(FORGET_TAG)?.execute((tag, id))?;
        connection.prepare_cached(ONE_LESS)?.execute([tag])?;
        connection.prepare_cached(NONE_LEFT)?.execute([tag])?;
    }
    for tag in tags.iter().filter(|tag| known.binary_search(tag).is_err()) {
        connection.prepare_cached(ADD_TAG)?.execute((tag, id))?;
        connection.prepare_cached(ONE_MORE)?.execute([tag])?;
    }
    connection.prepare_cached(SETTLED)?.execute([id])?;
    Ok(())
}

/// The tags that a column holds, each once: the texts of a JSON list. Another process may have written an object
/// or a bare text, whose texts count too, as they always did.
pub(in super::super) fn tags_of(value: ValueRef<'_>) -> Vec<String> {
    let Ok(text) = value.as_str() else { return Vec::new() };
    let mut tags =
        serde_json::from_str::<Vec<String>>(text).unwrap_or_else(|_| match serde_json::from_str(text) {
            Ok(serde_json::Value::Array(values)) => values.into_iter().filter_map(into_text).collect(),
            Ok(serde_json::Value::Object(fields)) => {
                fields.into_iter().filter_map(|(_, value)| into_text(value)).collect()
            }
            Ok(value) => into_text(value).into_iter().collect(),
            Err(_) => Vec::new(),
        });
    tags.sort_unstable();
    tags.dedup();
    tags
}

fn into_text(value: serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_the_texts_of_a_list_each_once_and_of_what_else_holds_texts() {
        for (text, tags) in [
            (r#"["b","a","b"]"#, &["a", "b"][..]),
            (r#"["\u0442", 1, null, ["x"], {"y": "z"}, "nul\u0000"]"#, &["nul\0", "т"]),
            (r#"{"k": "v", "n": 1}"#, &["v"]),
            (r#""bare""#, &["bare"]),
            ("1", &[]),
            ("no json", &[]),
            ("", &[]),
            ("[\"a\"", &[]),
        ] {
            assert_eq!(tags_of(ValueRef::Text(text.as_bytes())), tags, "{text}");
        }
        assert_eq!(tags_of(ValueRef::Null), [] as [&str; 0]);
    }
}
