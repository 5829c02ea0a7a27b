//! Checks a file against every rule of the registry, in one pass and as of one moment.
//!
//! [`soundness`](registry_domain::soundness) has the rules of single values, and [`crate::maintenance`] those that span
//! rows. Rows are checked as they are read; only findings are collected, a bounded number of them.

use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, types::ValueRef};

use registry_domain::soundness::{
    EVENT_RULES, MODEL_RULES, NO_NEED, Rule,
    Severity::{self, Error, FixedByUpgrade, Warning},
    StoredValue,
};

use super::{Finding, MAX_INTEGRITY_FINDINGS, Report, Stage, Watch, drift, integrity, trail};
use crate::{
    copy::tables::NUMBERED,
    keys::CORRECT,
    maintenance::rules::{self, RESTORE},
    sqlite::keys,
    sqlite::schema::{SCHEMA_VERSION, TABLES, reference, user_version},
};

/// Rows between two reports of progress.
const ROWS_PER_REPORT: u64 = 1000;

const CORRECTED_BY_UPGRADE: &str = "start `registry serve` on it once, which corrects this";
pub(super) const REBUILD: &str = "run `PRAGMA user_version = 0` on the file with another SQLite tool and start \
                       `registry serve`, which rebuilds it";
pub(super) const CORRECT_BY_HAND: &str = "correct it by hand with another SQLite tool, or restore a backup";
const RAISE_SEQUENCE: &str =
    "raise seq in the table sqlite_sequence to the highest id by hand, so that no id is reused";
const UPGRADE: &str = "start `registry serve` on it once, which backs it up and upgrades it";
const FOREIGN_TRIGGER: &str = "find out which other tool made it";

pub(super) fn run(connection: &Connection, watch: &Watch) -> rusqlite::Result<Report> {
    let schema_version = user_version(connection)?;
    let report = Report { schema_version, ..Report::default() };
    let is_current = schema_version == SCHEMA_VERSION;
    let mut check = Check { connection, watch, is_current, has_all_tables: is_current, report };
    if !check.is_current {
        let problem = format!("its schema is older ({schema_version}, not {SCHEMA_VERSION})");
        check.add(Warning, "schema", None, problem, UPGRADE);
    }
    check.section("file", Check::integrity)?;
    check.section("file", Check::foreign_keys)?;
    if check.is_current {
        check.section("schema", Check::schema)?;
    }
    check.section("models", Check::models)?;
    check.section("model_events", Check::events)?;
    check.section("sqlite_sequence", Check::sequences)?;
    if check.is_current {
        check.section("index", Check::lookup_tables)?;
    }
    if check.is_current {
        check.section("api_keys", Check::keys)?;
    }
    if check.has_all_tables {
        check.section("event_chain", Check::trail)?;
    }
    Ok(check.report)
}

struct Check<'c> {
    connection: &'c Connection,
    watch: &'c Watch,
    /// False for an older file, which is upgraded before it is served; that corrects some findings.
    is_current: bool,
    has_all_tables: bool,
    report: Report,
}

/// Returns true if the file is damaged, or has a value of a type that no server writes.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    let is_type = matches!(
        error,
        rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::FromSqlConversionFailure(..)
    );
    is_type || error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

impl Check<'_> {
    /// If a part of the file can't be read, that becomes a finding, and the check continues with the other parts.
    fn section(
        &mut self,
        table: &'static str,
        check: impl FnOnce(&mut Self) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        match check(self) {
            Err(error) if is_unreadable(&error) => {
                let problem = format!("it can't be read to its end: {error}");
                self.add(Error, table, None, problem, RESTORE);
                Ok(())
            }
            checked => checked,
        }
    }

    fn add(
        &mut self,
        severity: Severity,
        table: &'static str,
        id: Option<i64>,
        problem: String,
        remedy: &'static str,
    ) {
        let (severity, remedy) = match severity {
            FixedByUpgrade if !self.is_current => (Warning, CORRECTED_BY_UPGRADE),
            severity => (severity, remedy),
        };
        self.report.add(severity, Finding { table, id, problem, remedy });
    }

    fn integrity(&mut self) -> rusqlite::Result<()> {
        let mut findings = integrity(self.connection, self.watch)?;
        if findings.len() >= MAX_INTEGRITY_FINDINGS
            && let Some(last) = findings.last_mut()
        {
            last.push_str(", and perhaps more");
        }
        for finding in findings {
            self.add(Error, "file", None, format!("SQLite reports: {finding}"), RESTORE);
        }
        Ok(())
    }

    /// Checks foreign keys. 0.2.0 declared one and did not enforce it; the events of a deleted version break it by design.
    fn foreign_keys(&mut self) -> rusqlite::Result<()> {
        let mut broken = self.connection.prepare(
            "SELECT \"table\", parent, count(*), min(rowid) FROM pragma_foreign_key_check GROUP BY 1, 2",
        )?;
        let mut rows = broken.query([])?;
        while let Some(row) = rows.next()? {
            let (table, parent, count): (String, String, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (noun, verb) = if count == 1 { ("row", "refers") } else { ("rows", "refer") };
            let problem = format!("{count} {noun} of {table} {verb} to no row of {parent}");
            let is_event = table == "model_events";
            let (severity, table) =
                if is_event { (FixedByUpgrade, "model_events") } else { (Error, "schema") };
            self.add(severity, table, row.get(3)?, problem, CORRECT_BY_HAND);
        }
        Ok(())
    }

    /// Compares tables, indexes and triggers with a new database.
    fn schema(&mut self) -> rusqlite::Result<()> {
        for table in TABLES {
            if !self.connection.table_exists(None, table)? {
                self.add(Error, "schema", None, format!("there is no table {table}"), REBUILD);
                self.has_all_tables = false;
            }
        }
        for (table, rules) in [("models", &MODEL_RULES[..]), ("model_events", &EVENT_RULES[..])] {
            if !self.connection.table_exists(None, table)? {
                continue;
            }
            for (column, _) in rules {
                if !self.connection.column_exists(None, table, column)? {
                    self.add(Error, "schema", None, format!("{table} has no column {column}"), RESTORE);
                }
            }
        }
        self.constraints()?;
        let (expected, found) =
            (indexes_and_triggers(&reference()?)?, indexes_and_triggers(self.connection)?);
        for (name, sql) in &expected {
            let problem = match found.get(name) {
                Some(found) if found == sql => continue,
                Some(_) => format!("the {name} is not the registry's"),
                None => format!("the {name} is missing"),
            };
            if name.starts_with("trigger") || sql.starts_with("CREATE UNIQUE") {
                self.add(Error, "schema", None, format!("{problem}, which guards a rule"), REBUILD);
            } else {
                self.add(Warning, "schema", None, format!("{problem}, which speeds up lists"), REBUILD);
            }
        }
        for name in found.keys().filter(|name| name.starts_with("trigger") && !expected.contains_key(*name)) {
            let problem = format!("the {name} is not the registry's, and acts on every change");
            self.add(Warning, "schema", None, problem, FOREIGN_TRIGGER);
        }
        Ok(())
    }

    /// Checks the constraints of the tables, which a tool loses if it copies rows into tables of its own.
    fn constraints(&mut self) -> rusqlite::Result<()> {
        let once = "SELECT 1 FROM pragma_index_list('models') AS listed WHERE \"unique\" AND NOT partial AND \
                    (SELECT group_concat(name, ' ' ORDER BY name) FROM pragma_index_info(listed.name)) = 'name version'";
        if self.connection.query_row(once, [], |_| Ok(())).optional()?.is_none() {
            let problem = "models lets the same name and version be registered twice".to_owned();
            self.add(Error, "schema", None, problem, RESTORE);
        }
        for table in ["models", "model_events"] {
            if self.connection.column_exists(None, table, "id")? {
                let (.., never_reuses_ids) = self.connection.column_metadata(None, table, "id")?;
                if !never_reuses_ids {
                    let problem = format!("{table} reuses the id of a deleted row");
                    self.add(Error, "schema", None, problem, RESTORE);
                }
            }
        }
        Ok(())
    }

    /// Compares counters, tags and texts with the versions.
    fn lookup_tables(&mut self) -> rusqlite::Result<()> {
        for Finding { table, id, problem, remedy } in drift::find(self.connection)? {
            self.add(Error, table, id, problem, remedy);
        }
        Ok(())
    }

    /// Checks the chains of events, models, aliases and holdings.
    fn trail(&mut self) -> rusqlite::Result<()> {
        for Finding { table, id, problem, remedy } in trail::find(self.connection)? {
            self.add(Error, table, id, problem, remedy);
        }
        Ok(())
    }

    /// Checks each stored API key.
    fn keys(&mut self) -> rusqlite::Result<()> {
        if !self.connection.table_exists(None, "api_keys")? {
            return Ok(());
        }
        let mut statement = self.connection.prepare(keys::ALL)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key = keys::read(row)?;
            if let Some(problem) = key.problem() {
                self.add(Error, "api_keys", Some(key.id), problem, CORRECT);
            }
        }
        Ok(())
    }

    /// Checks each version, that a name has one production version, and that a label occurs once.
    fn models(&mut self) -> rusqlite::Result<()> {
        self.rows("models", &MODEL_RULES, |report| &mut report.models)?;
        self.each(rules::SEVERAL_IN_PRODUCTION, |check, name, count, first| {
            let problem = rules::several_in_production(&name, count);
            check.add(FixedByUpgrade, "models", first, problem, rules::PROMOTE);
        })?;
        self.each(rules::REGISTERED_TWICE, |check, version, count, first| {
            check.add(Error, "models", first, rules::registered_twice(&version, count), CORRECT_BY_HAND);
        })
    }

    fn events(&mut self) -> rusqlite::Result<()> {
        for (column, _) in EVENT_RULES {
            if !self.connection.column_exists(None, "model_events", column)? {
                return Ok(());
            }
        }
        let rules: Vec<_> = EVENT_RULES.into_iter().filter(|(_, rule)| *rule != Rule::EventType).collect();
        self.rows("model_events", &rules, |report| &mut report.events)?;
        self.event_types()?;
        let highest = self.sequence("models")?.unwrap_or(0).max(self.highest("models")?);
        let mut unknown = self.connection.prepare(
            "SELECT id, model_id FROM model_events WHERE typeof(model_id) = 'integer' AND model_id > ?1",
        )?;
        let mut rows = unknown.query([highest])?;
        while let Some(row) = rows.next()? {
            let model: i64 = row.get(1)?;
            let problem = rules::unknown_version(model, highest);
            self.add(Error, "model_events", row.get(0)?, problem, CORRECT_BY_HAND);
        }
        let (count, first): (u64, _) =
            self.connection.query_row(rules::WITHOUT_EVENT, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if count > 0 {
            self.add(Warning, "models", first, rules::without_event(count), NO_NEED);
        }
        Ok(())
    }

    /// Adds one finding for each unknown type.
    fn event_types(&mut self) -> rusqlite::Result<()> {
        let mut types = self.connection.prepare(rules::EVENT_TYPES)?;
        let mut rows = types.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(found) = Rule::EventType.check("event_type", stored_value(row.get_ref(0)?)) {
                let problem = rules::many_events(&found.problem, row.get(1)?);
                self.add(found.severity, "model_events", row.get(2)?, problem, found.remedy);
            }
        }
        Ok(())
    }

    /// Checks that ids are not reused: a sequence that is too low would give the events of a deleted version to a new one.
    fn sequences(&mut self) -> rusqlite::Result<()> {
        for table in NUMBERED {
            if !self.connection.table_exists(None, table)? {
                continue;
            }
            let (given, highest) = (self.sequence(table)?, self.highest(table)?);
            if given.unwrap_or(0) < highest {
                let given = given.map_or("nothing".to_owned(), |given| given.to_string());
                let problem =
                    format!("sqlite_sequence has {given} for {table}, whose highest id is {highest}");
                self.add(Error, "sqlite_sequence", None, problem, RAISE_SEQUENCE);
            }
        }
        Ok(())
    }

    /// Returns the highest id that a row of the table ever had; the row may be deleted.
    fn sequence(&self, table: &str) -> rusqlite::Result<Option<i64>> {
        if !self.connection.table_exists(None, "sqlite_sequence")? {
            return Ok(None);
        }
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
        self.connection.query_row(sql, [table], |row| row.get(0)).optional()
    }

    /// Returns the highest id of a row, which may be a deleted version.
    fn highest(&self, table: &str) -> rusqlite::Result<i64> {
        let mut source = table;
        if table == "models" && self.connection.table_exists(None, "deleted_models")? {
            source = "(SELECT id FROM models UNION ALL SELECT id FROM deleted_models)";
        }
        self.connection.query_row(&format!("SELECT ifnull(max(id), 0) FROM {source}"), [], |row| row.get(0))
    }

    /// Calls `report` with each row of a text, a count and an id.
    fn each(
        &mut self,
        sql: &str,
        mut report: impl FnMut(&mut Self, String, u64, Option<i64>),
    ) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str().unwrap_or_default().to_owned();
            report(self, name, row.get(1)?, row.get(2)?);
        }
        Ok(())
    }

    /// Checks every row of a table by the rules of the columns that it has, and counts them.
    fn rows(
        &mut self,
        table: &'static str,
        rules: &[(&'static str, Rule)],
        counter: impl Fn(&mut Report) -> &mut u64,
    ) -> rusqlite::Result<()> {
        let mut present = Vec::new();
        for (column, rule) in rules {
            if self.connection.column_exists(None, table, *column)? {
                present.push((*column, *rule));
            }
        }
        let columns: Vec<_> = present.iter().map(|(column, _)| *column).collect();
        let total =
            self.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        let sql = format!("SELECT {} FROM {table} NOT INDEXED ORDER BY id", columns.join(", "));
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0).unwrap_or(0);
            for (position, (column, rule)) in present.iter().enumerate() {
                if let Some(found) = rule.check(column, stored_value(row.get_ref(position)?)) {
                    self.add(found.severity, table, Some(id), found.problem, found.remedy);
                }
            }
            let done = counter(&mut self.report);
            *done += 1;
            if done.is_multiple_of(ROWS_PER_REPORT) {
                self.watch.report(Stage::Reading(table), *done, total);
            }
        }
        Ok(())
    }
}

/// Returns all indexes, and the triggers on versions and events, by a name like `index idx_models_created`.
fn indexes_and_triggers(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut statement = connection.prepare(
        "SELECT type || ' ' || name, sql FROM sqlite_schema WHERE sql NOT NULL \
         AND (type = 'index' OR type = 'trigger' AND tbl_name IN ('models', 'model_events'))",
    )?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

pub(super) fn stored_value(value: ValueRef<'_>) -> StoredValue<'_> {
    match value {
        ValueRef::Null => StoredValue::Null,
        ValueRef::Integer(number) => StoredValue::Integer(number),
        ValueRef::Real(number) => StoredValue::Real(number),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_or(StoredValue::Bytes, StoredValue::Text),
        ValueRef::Blob(_) => StoredValue::Bytes,
    }
}
