//! Compares the lookup tables, from which lists and counts are answered, with the versions.

use rusqlite::{Connection, ErrorCode};

use super::Finding;
use crate::sqlite::lookup::{COUNTED, TABLES, tags_of};

fn drift(table: &'static str, id: Option<i64>, problem: String) -> Finding {
    Finding { table, id, problem, remedy: "run `registry maintenance --optimize`, which rebuilds it" }
}

/// Compares the lookup tables with every version.
pub(super) fn find(connection: &Connection) -> rusqlite::Result<Vec<Finding>> {
    let mut drifts = Vec::new();
    for table in TABLES {
        if !connection.table_exists(None, table)? {
            drifts.push(drift(table, None, format!("there is no table {table}")));
        }
    }
    if !drifts.is_empty() {
        return Ok(drifts);
    }
    for (of, column, table) in COUNTED {
        let stored = "SELECT value, count FROM model_counts WHERE kind = ?1";
        let counted = format!("SELECT {column}, count(*) FROM {table} GROUP BY {column}");
        let wrong = format!(
            "SELECT count(*) FROM (SELECT * FROM ({stored} EXCEPT {counted}) UNION ALL SELECT * FROM ({counted} EXCEPT {stored}))"
        );
        let wrong: u64 = connection.query_row(&wrong, [of.as_str()], |row| row.get(0))?;
        if wrong > 0 {
            let problem = format!("{wrong} of its counts of each {} are wrong", of.as_str());
            drifts.push(drift("model_counts", None, problem));
        }
    }
    for (table, what, rows) in [
        (
            "model_texts",
            "is not indexed",
            "SELECT id FROM models WHERE id NOT IN (SELECT id FROM model_texts_docsize)",
        ),
        (
            "model_texts",
            "is deleted and still indexed",
            "SELECT id FROM model_texts_docsize WHERE id NOT IN (SELECT id FROM models)",
        ),
        (
            "model_tags",
            "is deleted and still has tags",
            "SELECT model_id AS id FROM model_tags WHERE model_id NOT IN (SELECT id FROM models)",
        ),
    ] {
        let counted = format!("SELECT count(*), min(id) FROM ({rows})");
        match connection.query_row(&counted, [], |row| Ok((row.get::<_, u64>(0)?, row.get(1)?))) {
            Ok((0, _)) => {}
            Ok((count, id)) => {
                let problem = format!("this version, the first of {count}, {what}");
                drifts.push(drift(table, id, problem));
            }
            // FTS5's own tables may be missing or damaged.
            Err(error) if table == "model_texts" && !is_interruption(&error) => {
                drifts.push(drift(table, None, format!("it can't be read: {error}")));
            }
            Err(error) => return Err(error),
        }
    }
    drifts.extend(wrong_rows(connection)?);
    Ok(drifts)
}

fn is_interruption(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::OperationInterrupted | ErrorCode::DatabaseBusy))
}

/// Compares tags and dates of each version.
fn wrong_rows(connection: &Connection) -> rusqlite::Result<Option<Finding>> {
    let mut tagged = connection.prepare("SELECT model_id, tag FROM model_tags ORDER BY model_id, tag")?;
    let mut tagged = tagged.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let mut next_tagged = || tagged.next().transpose();
    let mut rows = connection.prepare(
        "SELECT id, tags, created_at, id IN (SELECT model_id FROM backdated_models) FROM models ORDER BY id",
    )?;
    let mut rows = rows.query([])?;
    let (mut latest, mut pending) = (String::new(), next_tagged()?);
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let mut known: Vec<String> = Vec::new();
        while let Some((_, tag)) = pending.take_if(|(of, _)| *of <= id) {
            known.push(tag);
            pending = next_tagged()?;
        }
        if known != tags_of(row.get_ref(1)?.as_str().ok()) {
            let problem = "its tags in the index are not its own".to_owned();
            return Ok(Some(drift("model_tags", Some(id), problem)));
        }
        let created_at = row.get_ref(2)?.as_str().unwrap_or_default();
        let is_backdated = created_at < latest.as_str();
        if is_backdated && !row.get(3)? {
            let problem = "it was created before a version with a lower id".to_owned();
            return Ok(Some(drift("backdated_models", Some(id), problem)));
        }
        if !is_backdated {
            created_at.clone_into(&mut latest);
        }
    }
    Ok(None)
}
