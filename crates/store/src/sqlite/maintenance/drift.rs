//! Compares the lookup tables, from which lists and counts are answered, with the versions.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher},
};

use rusqlite::{Connection, ErrorCode, types::ValueRef};

use registry_domain::{Tags, VersionFile, VersionRow, scores::scores, soundness::MODEL_RULES};

use super::Finding;
use crate::sqlite::{
    lookup::{COUNTED, TABLES},
    rows::{columns, read},
};

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

/// Compares the dates of versions, and the tables with several rows per version.
fn wrong_rows(connection: &Connection) -> rusqlite::Result<Vec<Finding>> {
    for (column, _) in MODEL_RULES {
        if !connection.column_exists(None, "models", column)? {
            // The check of the schema reports it.
            return Ok(Vec::new());
        }
    }
    let mut tables = [
        ("model_tags", "tags", "SELECT version_id, key, value FROM model_tags"),
        (
            "scores",
            "scores",
            "SELECT version_id, suite, metric, value FROM scores LEFT JOIN score_keys ON score_keys.id = key_id",
        ),
        ("version_files", "files", "SELECT version_id, path, size_bytes, sha256, role FROM version_files"),
    ]
    .map(|(table, what, sql)| (table, what, sql, HashMap::new()));
    for (_, _, sql, prints) in &mut tables {
        let mut rows = connection.prepare(sql)?;
        let columns = rows.column_count();
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let mut hasher = DefaultHasher::new();
            for column in 1..columns {
                hash(row.get_ref(column)?, &mut hasher);
            }
            let print: &mut u64 = prints.entry(row.get::<_, i64>(0)?).or_default();
            *print = print.wrapping_add(hasher.finish());
        }
    }
    let mut findings: Vec<Finding> = Vec::new();
    let mut add = |table, id, problem: String| {
        if findings.iter().all(|finding| finding.table != table) {
            findings.push(drift(table, Some(id), problem));
        }
    };
    let mut rows = connection.prepare(concat!(
        "SELECT ",
        columns!(),
        ", id IN (SELECT model_id FROM backdated_models) AS is_backdated FROM models ORDER BY id"
    ))?;
    let mut rows = rows.query([])?;
    let mut latest = String::new();
    while let Some(row) = rows.next()? {
        let Ok(version) = read(row) else {
            // The check of single values reports it.
            let id: i64 = row.get(0)?;
            for (.., prints) in &mut tables {
                prints.remove(&id);
            }
            continue;
        };
        for ((table, what, _, prints), own) in tables.iter_mut().zip(prints_of(&version)) {
            if prints.remove(&version.id).unwrap_or(0) != own {
                add(*table, version.id, format!("its {what} in the index are not its own"));
            }
        }
        let is_backdated = *version.created_at < *latest;
        if is_backdated && !row.get("is_backdated")? {
            let problem = "it was created before a version with a lower id".to_owned();
            add("backdated_models", version.id, problem);
        }
        if !is_backdated {
            latest = version.created_at.into_owned();
        }
    }
    for (table, what, _, prints) in &tables {
        if let Some(id) = prints.keys().min() {
            add(*table, *id, format!("this version is deleted and still has {what}"));
        }
    }
    Ok(findings)
}

/// Returns what the rows of a version in each of the tables hash to.
fn prints_of(version: &VersionRow<'_>) -> [u64; 3] {
    let print = |values: &[ValueRef<'_>]| {
        let mut hasher = DefaultHasher::new();
        for value in values {
            hash(*value, &mut hasher);
        }
        hasher.finish()
    };
    let sum = |prints: &mut dyn Iterator<Item = u64>| prints.fold(0, u64::wrapping_add);
    let tags = Tags::of(version);
    fn text(text: &str) -> ValueRef<'_> {
        ValueRef::Text(text.as_bytes())
    }
    [
        sum(&mut tags.by_key().into_iter().map(|(key, value)| print(&[text(key), text(value)]))),
        sum(&mut scores(version.metrics.as_deref())
            .iter()
            .map(|score| print(&[text(&score.suite), text(&score.metric), ValueRef::Real(score.value)]))),
        sum(&mut VersionFile::of(version).iter().map(|file| {
            let sha256 = file.sha256.as_deref().map_or(ValueRef::Null, text);
            let size = file.size_bytes.map_or(ValueRef::Null, ValueRef::Integer);
            print(&[text(&file.path), size, sha256, text(file.role.as_str())])
        })),
    ]
}

fn hash(value: ValueRef<'_>, hasher: &mut impl Hasher) {
    match value {
        ValueRef::Null => hasher.write_u8(0),
        ValueRef::Integer(number) => (1_u8, number).hash(hasher),
        // Zero has two signs, and SQLite stores one.
        ValueRef::Real(number) => (2_u8, (number + 0.0).to_bits()).hash(hasher),
        ValueRef::Text(bytes) => (3_u8, bytes).hash(hasher),
        ValueRef::Blob(bytes) => (4_u8, bytes).hash(hasher),
    }
}
