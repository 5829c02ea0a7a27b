//! Whether what is derived is what the versions say. For `registry maintenance`, which tells, or mends by making it
//! all anew.

use rusqlite::{Connection, ErrorCode, OptionalExtension as _};

use super::{
    settle::tags_of,
    tables::{self, TABLES},
};

/// Something that is not as the versions say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Drift {
    pub(in super::super) table: &'static str,
    /// The first version it is about.
    pub(in super::super) id: Option<i64>,
    pub(in super::super) problem: String,
}

/// All that has drifted. It takes a look at every version.
pub(in super::super) fn drifts(connection: &Connection) -> rusqlite::Result<Vec<Drift>> {
    let mut drifts = Vec::new();
    for table in TABLES {
        let known = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        if connection.query_row(known, [table], |_| Ok(())).optional()?.is_none() {
            drifts.push(Drift { table, id: None, problem: format!("there is no table {table}") });
        }
    }
    if !drifts.is_empty() {
        return Ok(drifts);
    }
    for (table, wrong) in tables::miscounts() {
        let count: u64 = connection.query_row(&wrong, [], |row| row.get(0))?;
        if count > 0 {
            let problem = format!("{count} of its counts are not those of the rows they count");
            drifts.push(Drift { table, id: None, problem });
        }
    }
    for (table, what, rows) in [
        (
            "model_grams",
            "is not indexed and not noted to be",
            "SELECT id FROM models WHERE NOT EXISTS (SELECT 1 FROM model_grams_docsize AS kept WHERE kept.id = models.id)",
        ),
        (
            "model_grams",
            "is gone and still indexed",
            "SELECT id FROM model_grams_docsize AS kept WHERE NOT EXISTS (SELECT 1 FROM models WHERE id = kept.id)",
        ),
        (
            "model_tags",
            "is gone and still has tags",
            "SELECT model_id AS id FROM model_tags WHERE NOT EXISTS (SELECT 1 FROM models WHERE id = model_id)",
        ),
    ] {
        let counted = format!(
            "SELECT count(*), min(id) FROM ({rows}) WHERE id NOT IN (SELECT model_id FROM index_pending)"
        );
        let (count, first): (u64, Option<i64>) =
            match connection.query_row(&counted, [], |row| Ok((row.get(0)?, row.get(1)?))) {
                // The tables that FTS5 keeps for itself may be gone or spoiled, each in a way of its own.
                Err(error)
                    if table == "model_grams"
                        && !matches!(
                            error.sqlite_error_code(),
                            Some(ErrorCode::OperationInterrupted | ErrorCode::DatabaseBusy)
                        ) =>
                {
                    let problem = format!("it can't be read: {error}");
                    drifts.push(Drift { table, id: None, problem });
                    continue;
                }
                counted => counted?,
            };
        if count > 0 {
            let problem = format!("this version, the first of {count}, {what}");
            drifts.push(Drift { table, id: first, problem });
        }
    }
    drifts.extend(wrong_tags(connection)?);
    drifts.extend(wrong_steps(connection)?);
    Ok(drifts)
}

fn wrong_tags(connection: &Connection) -> rusqlite::Result<Option<Drift>> {
    let mut known = connection.prepare("SELECT tag FROM model_tags WHERE model_id = ?1 ORDER BY tag")?;
    let mut rows = connection.prepare(
        "SELECT id, tags FROM models WHERE id NOT IN (SELECT model_id FROM index_pending) ORDER BY id",
    )?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let known = known.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        if known != tags_of(row.get_ref(1)?) {
            let problem = "the tags that this version is found by are not those it has".to_owned();
            return Ok(Some(Drift { table: "model_tags", id: Some(id), problem }));
        }
    }
    Ok(None)
}

/// Order by id is taken for order by `created_at` between two steps, so that has to be so.
fn wrong_steps(connection: &Connection) -> rusqlite::Result<Option<Drift>> {
    let Some(steps) = tables::steps(connection)? else { return Ok(None) };
    let mut steps = steps.into_iter().peekable();
    let mut rows = connection.prepare("SELECT id, created_at FROM models ORDER BY id")?;
    let mut rows = rows.query([])?;
    let (mut previous, mut latest, mut first) = (String::new(), String::new(), String::new());
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let created = row.get_ref(1)?.as_str().unwrap_or_default();
        let mut late = false;
        while let Some(step) = steps.next_if(|step| step.id <= id) {
            late |= latest > step.earlier_latest;
            (previous, first) = (String::new(), step.first);
        }
        if late || created < previous.as_str() || created < first.as_str() {
            let problem = "created_at does not rise to this version as creation_steps says".to_owned();
            return Ok(Some(Drift { table: "creation_steps", id: Some(id), problem }));
        }
        created.clone_into(&mut previous);
        if created > latest.as_str() {
            created.clone_into(&mut latest);
        }
    }
    Ok(None)
}
