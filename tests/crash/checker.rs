//! Reads a file at rest and judges it, by its own rules too.

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

use crate::{
    judge::{Event, Row, Rows, Unsure, judge},
    ledger::Ledger,
    registry,
};

/// Checks the file, and records in the ledgers the fate of unanswered writes.
#[track_caller]
pub(crate) fn check(path: &Path, ledgers: &mut [Ledger]) -> Unsure {
    let file = Connection::open(path).unwrap();
    file.busy_timeout(crate::DEADLINE).unwrap();
    // One connection wrote all events, so those of all models are in order.
    let unsure = judge(&[events(&file)], &rows(&file), ledgers);
    drop(file);
    is_sound(path);
    unsure
}

/// Checks the file by SQLite's and the registry's own rules.
#[track_caller]
pub(crate) fn is_sound(path: &Path) {
    let file = Connection::open(path).unwrap();
    file.busy_timeout(crate::DEADLINE).unwrap();
    let checked: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(checked, "ok");
    let count = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    let several = "SELECT count(*) FROM (SELECT 1 FROM models WHERE status = 'production' \
                   GROUP BY name HAVING count(*) > 1)";
    assert_eq!(count(several), 0, "production versions of a name");
    drop(file);
    let checked = registry(["maintenance", "--check", "--json", "--db-path"]).arg(path).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(report["check"]["error_count"], 0, "{report}");
}

fn events(file: &Connection) -> Vec<Event> {
    let mut events =
        file.prepare("SELECT model_id, event_type, payload_json FROM model_events ORDER BY id").unwrap();
    let events = events.query_map([], |row| {
        let payload = serde_json::from_str(&row.get::<_, String>(2)?).unwrap();
        Ok(Event { model: row.get(0)?, kind: row.get(1)?, payload })
    });
    events.unwrap().map(Result::unwrap).collect()
}

fn rows(file: &Connection) -> Rows {
    let mut rows = file.prepare("SELECT id, status, metrics ->> '$.suites.s.n' FROM models").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, Row { status: row.get(1)?, number: row.get(2)? })));
    rows.unwrap().map(Result::unwrap).collect()
}
