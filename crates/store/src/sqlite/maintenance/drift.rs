//! Compares the lookup tables, from which lists and counts are answered, with the versions.

use std::collections::HashMap;

use rusqlite::{Connection, ErrorCode};

use registry_domain::soundness::{MODEL_RULES, StoredValue};

use super::{
    Finding,
    check::{REBUILD, stored_value},
};
use crate::{
    maintenance::{
        derived,
        manifests::{self, Manifests},
        rules::{self, RESTORE},
    },
    sqlite::{
        lookup::TABLES,
        rows::{columns, read},
    },
};

/// The rows of each of the tables with several per version.
const ROWS: [&str; 3] = [
    "SELECT version_id, key, value FROM model_tags",
    "SELECT version_id, suite, metric, value FROM scores LEFT JOIN score_keys ON score_keys.id = key_id",
    "SELECT version_id, path, size_bytes, sha256, role FROM version_files",
];

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
    for (kind, column, table) in rules::COUNTED {
        let stored = format!("SELECT value, count FROM model_counts WHERE kind = '{kind}'");
        let counted = format!("SELECT {column}, count(*) FROM {table} GROUP BY {column}");
        let wrong = rules::count_differences(&stored, &counted);
        let wrong: u64 = connection.query_row(&wrong, [], |row| row.get(0))?;
        if wrong > 0 {
            drifts.push(drift("model_counts", None, rules::wrong_counts(wrong, kind)));
        }
    }
    for (what, rows) in [
        ("is not indexed", "SELECT id FROM models WHERE id NOT IN (SELECT id FROM model_texts_docsize)"),
        (
            "is deleted and still indexed",
            "SELECT id FROM model_texts_docsize WHERE id NOT IN (SELECT id FROM models)",
        ),
    ] {
        let counted = format!("SELECT count(*), min(id) FROM ({rows})");
        match connection.query_row(&counted, [], |row| Ok((row.get::<_, u64>(0)?, row.get(1)?))) {
            Ok((0, _)) => {}
            Ok((count, id)) => {
                let problem = format!("this version, the first of {count}, {what}");
                drifts.push(drift("model_texts", id, problem));
            }
            // FTS5's own tables may be missing or damaged.
            Err(error) if !is_interruption(&error) => {
                drifts.push(drift("model_texts", None, format!("it can't be read: {error}")));
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
    let mut sums: [HashMap<i64, u64>; 3] = Default::default();
    for (sums, sql) in sums.iter_mut().zip(ROWS) {
        let mut rows = connection.prepare(sql)?;
        let columns = rows.column_count();
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let values: Vec<StoredValue<'_>> =
                (1..columns).map(|column| row.get_ref(column).map(stored_value)).collect::<Result<_, _>>()?;
            let sum = sums.entry(row.get(0)?).or_default();
            *sum = sum.wrapping_add(derived::row(&values));
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
    let mut wrong_digest = None;
    while let Some(row) = rows.next()? {
        let Ok(version) = read(row) else {
            // The check of single values reports it.
            let id: i64 = row.get(0)?;
            for sums in &mut sums {
                sums.remove(&id);
            }
            continue;
        };
        if !manifests::has_own_digest(&version) {
            wrong_digest = wrong_digest.or(Some(version.id));
        }
        let own = derived::of_version(&version, str::to_owned);
        for (((table, what), sums), own) in derived::TABLES.into_iter().zip(&mut sums).zip(own) {
            if sums.remove(&version.id).unwrap_or(0) != own {
                add(table, version.id, derived::not_its_own(what));
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
    for ((table, what), sums) in derived::TABLES.into_iter().zip(&sums) {
        if let Some(id) = sums.keys().min() {
            add(table, *id, derived::without_version(what));
        }
    }
    if let Some(id) = wrong_digest {
        let problem = manifests::WRONG_DIGEST.to_owned();
        findings.push(Finding { table: "models", id: Some(id), problem, remedy: REBUILD });
    }
    findings.extend(wrong_manifests(connection)?);
    Ok(findings)
}

/// Compares the files of manifests with the digests of their versions.
fn wrong_manifests(connection: &Connection) -> rusqlite::Result<Vec<Finding>> {
    let mut manifests = Manifests::default();
    let mut digests = connection.prepare(manifests::DIGESTS)?;
    let mut digests = digests.query([])?;
    while let Some(row) = digests.next()? {
        manifests.expect(row.get(0)?, row.get(1)?);
    }
    let mut files = connection.prepare(manifests::FILES)?;
    let mut files = files.query([])?;
    while let Some(row) = files.next()? {
        let text = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str().unwrap_or_default());
        manifests.follow(row.get(0)?, text(1)?, row.get(2)?, text(3)?, text(4)?);
    }
    let found = manifests.end().into_iter();
    Ok(found
        .map(|(id, problem)| Finding { table: "manifest_files", id: Some(id), problem, remedy: RESTORE })
        .collect())
}
