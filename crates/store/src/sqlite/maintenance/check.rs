//! Checks a file against every rule of the registry, in one pass and as of one moment.
//!
//! [`soundness`](registry_domain::soundness) has the rules of single values; this module has those that span rows, and the
//! schema. Rows are checked as they are read; only findings are collected, a bounded number of them.

use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, types::ValueRef};

use super::{Finding, MAX_INTEGRITY_FINDINGS, Report, Stage, Watch, integrity};
use registry_domain::soundness::{EVENT_RULES, Fault, Kept, MODEL_RULES, Rule, Severity};

use crate::sqlite::lookup::{self, Drift};
use crate::sqlite::schema::{SCHEMA_VERSION, has_column, has_table, reference, user_version};

/// Event types of other tools that are counted one by one.
const MAX_FOREIGN_TYPES: usize = 20;
/// Rows between two reports of progress.
const ROWS_PER_REPORT: u64 = 1000;

const CORRECTED_BY_UPGRADE: &str = "start `registry serve` on it once, which corrects this";
const RESTORE: &str = "restore a backup; until then change nothing";
const REBUILD: &str = "run `PRAGMA user_version = 0` on the file with another SQLite tool and start \
                       `registry serve`, which rebuilds it";
const PROMOTE: &str = "promote the right one again with `registry promote ID`";
const BY_HAND: &str = "correct it by hand with another SQLite tool, or restore a backup";
const RAISE_SEQUENCE: &str =
    "raise seq in the table sqlite_sequence to the highest id by hand, so that no id is reused";
const OPTIMIZE: &str = "run `registry maintenance --optimize`, which rebuilds it";
const NO_NEED: &str = "nothing needs to be done";

pub(super) fn run(connection: &Connection, watch: &Watch) -> rusqlite::Result<Report> {
    let schema_version = user_version(connection)?;
    let mut check = Check {
        connection,
        watch,
        is_current: schema_version == SCHEMA_VERSION,
        report: Report { schema_version, ..Report::default() },
    };
    if !check.is_current {
        let problem = format!("its schema is older ({schema_version}, not {SCHEMA_VERSION})");
        check.warn(
            "schema",
            None,
            problem,
            "start `registry serve` on it once, which backs it up and upgrades it",
        );
    }
    check.section("file", Check::integrity)?;
    check.section("file", Check::foreign_keys)?;
    check.section("schema", Check::schema)?;
    check.section("models", Check::models)?;
    check.section("models", Check::names)?;
    check.section("model_events", Check::events)?;
    check.section("sqlite_sequence", Check::sequences)?;
    check.section("index", Check::lookup_tables)?;
    Ok(check.report)
}

struct Check<'c> {
    connection: &'c Connection,
    watch: &'c Watch,
    /// False for an older file, which is upgraded before it is served; that corrects some faults.
    is_current: bool,
    report: Report,
}

impl Check<'_> {
    /// If a part of the file can't be read, that is one more finding, and the check goes on with the others.
    fn section(
        &mut self,
        table: &'static str,
        look: impl FnOnce(&mut Self) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        match look(self) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                self.fail(table, None, format!("it can't be read to its end: {error}"), RESTORE);
                Ok(())
            }
            looked => looked,
        }
    }

    fn fail(&mut self, table: &'static str, id: Option<i64>, problem: String, remedy: &str) {
        self.report.errors.add(Finding { table, id, problem, remedy: remedy.to_owned() });
    }

    fn warn(&mut self, table: &'static str, id: Option<i64>, problem: String, remedy: &str) {
        self.report.warnings.add(Finding { table, id, problem, remedy: remedy.to_owned() });
    }

    /// What an upgrade corrects is only a warning in an older file.
    fn fail_unless_older(&mut self, table: &'static str, id: Option<i64>, problem: String, remedy: &str) {
        if self.is_current {
            self.fail(table, id, problem, remedy);
        } else {
            self.warn(table, id, problem, CORRECTED_BY_UPGRADE);
        }
    }

    fn integrity(&mut self) -> rusqlite::Result<()> {
        let findings = integrity(self.connection, self.watch)?;
        let more = if findings.len() >= MAX_INTEGRITY_FINDINGS { ", and perhaps more" } else { "" };
        for (position, finding) in findings.iter().enumerate() {
            let more = if position + 1 == findings.len() { more } else { "" };
            self.fail("file", None, format!("SQLite finds: {finding}{more}"), RESTORE);
        }
        Ok(())
    }

    /// 0.2.0 declared a foreign key and did not enforce it; the events of a deleted version break it by design.
    fn foreign_keys(&mut self) -> rusqlite::Result<()> {
        let mut broken = self.connection.prepare(
            "SELECT \"table\", parent, count(*), min(rowid) FROM pragma_foreign_key_check GROUP BY 1, 2",
        )?;
        let mut rows = broken.query([])?;
        while let Some(row) = rows.next()? {
            let (table, parent, count): (String, String, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let first: Option<i64> = row.get(3)?;
            let (noun, verb) = if count == 1 { ("row", "refers") } else { ("rows", "refer") };
            let problem = format!("{count} {noun} of {table} {verb} to no row of {parent}");
            if table == "model_events" {
                self.fail_unless_older("model_events", first, problem, BY_HAND);
            } else {
                self.fail("schema", first, problem, BY_HAND);
            }
        }
        Ok(())
    }

    /// Compares tables, indexes and triggers with those of a new database.
    fn schema(&mut self) -> rusqlite::Result<()> {
        if !self.is_current {
            return Ok(());
        }
        let reference = reference()?;
        for (table, rules) in [("models", &MODEL_RULES[..]), ("model_events", &EVENT_RULES[..])] {
            if !has_table(self.connection, table)? {
                self.fail("schema", None, format!("there is no table {table}"), REBUILD);
                continue;
            }
            for (column, _) in rules {
                if !has_column(self.connection, table, column)? {
                    self.fail("schema", None, format!("{table} has no column {column}"), RESTORE);
                }
            }
        }
        self.constraints()?;
        let wanted =
            "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql NOT NULL";
        let mut wanted = reference.prepare(wanted)?;
        let mut rows = wanted.query([])?;
        while let Some(row) = rows.next()? {
            let (kind, name, sql): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let found: Option<String> = self
                .connection
                .query_row(
                    "SELECT sql FROM sqlite_schema WHERE type = ?1 AND name = ?2",
                    [&kind, &name],
                    |row| row.get(0),
                )
                .optional()?;
            let problem = match found {
                Some(found) if found == sql => continue,
                Some(_) => format!("the {kind} {name} is not the registry's"),
                None => format!("the {kind} {name} is missing"),
            };
            let guards = kind == "trigger" || sql.starts_with("CREATE UNIQUE");
            if guards {
                self.fail("schema", None, format!("{problem}, which guards a rule"), REBUILD);
            } else {
                self.warn("schema", None, format!("{problem}, which speeds up lists"), REBUILD);
            }
        }
        let others = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name IN ('models', 'model_events')";
        let mut others = self.connection.prepare(others)?;
        let mut rows = others.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let known = "SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name = ?1";
            if reference.query_row(known, [&name], |_| Ok(())).optional()?.is_none() {
                let problem = format!("the trigger {name} is not the registry's, and acts on every change");
                self.warn("schema", None, problem, "find out which other tool made it");
            }
        }
        Ok(())
    }

    /// Counters and the index of tags and texts, which answer in place of the versions.
    fn lookup_tables(&mut self) -> rusqlite::Result<()> {
        if self.is_current {
            for Drift { table, id, problem } in lookup::drifts(self.connection)? {
                self.fail(table, id, problem, OPTIMIZE);
            }
        }
        Ok(())
    }

    /// What the tables themselves guard; a tool that copies rows into tables of its own loses it.
    fn constraints(&mut self) -> rusqlite::Result<()> {
        let once = "SELECT 1 FROM pragma_index_list('models') AS listed WHERE \"unique\" AND NOT partial AND \
                    (SELECT group_concat(name, ' ' ORDER BY name) FROM pragma_index_info(listed.name)) = 'name version'";
        if has_table(self.connection, "models")?
            && self.connection.query_row(once, [], |_| Ok(())).optional()?.is_none()
        {
            let problem = "models lets the same name and version be registered twice".to_owned();
            self.fail("schema", None, problem, RESTORE);
        }
        // Only the text of the statement shows this word.
        let never_again = "SELECT 1 FROM sqlite_schema JOIN pragma_table_info(sqlite_schema.name) AS key \
            WHERE sqlite_schema.type = 'table' AND sqlite_schema.name = ?1 AND key.name = 'id' AND key.pk = 1 \
            AND upper(key.type) = 'INTEGER' AND sqlite_schema.sql LIKE '%AUTOINCREMENT%'";
        for table in ["models", "model_events"] {
            if has_table(self.connection, table)?
                && self.connection.query_row(never_again, [table], |_| Ok(())).optional()?.is_none()
            {
                let problem = format!("{table} reuses the id of a deleted row");
                self.fail("schema", None, problem, RESTORE);
            }
        }
        Ok(())
    }

    fn models(&mut self) -> rusqlite::Result<()> {
        self.rows("models", &MODEL_RULES, |check, _, checked| {
            check.report.models += 1;
            for fault in checked.faults.drain(..) {
                check.fault("models", checked.id, fault);
            }
        })
    }

    fn events(&mut self) -> rusqlite::Result<()> {
        if !has_table(self.connection, "model_events")? {
            return Ok(());
        }
        let highest = self.highest_used("models")?;
        let mut foreign: BTreeMap<String, (u64, i64)> = BTreeMap::new();
        self.rows("model_events", &EVENT_RULES, |check, row, checked| {
            check.report.events += 1;
            if let Some(Kept::Integer(model)) = checked.kept(row, "model_id")
                && model > highest
            {
                let problem = format!("model_id is {model}, but the highest id ever used is {highest}");
                check.fail("model_events", Some(checked.id), problem, BY_HAND);
            }
            for fault in checked.faults.drain(..) {
                // One finding for each type: another server may have written a million of them.
                if fault.severity == Severity::Warning && fault.problem.starts_with("event_type ") {
                    let has_room = foreign.len() < MAX_FOREIGN_TYPES;
                    if let Some((count, _)) = foreign.get_mut(&fault.problem) {
                        *count += 1;
                        continue;
                    } else if has_room {
                        foreign.insert(fault.problem, (1, checked.id));
                        continue;
                    }
                }
                check.fault("model_events", checked.id, fault);
            }
        })?;
        for (problem, (count, first)) in foreign {
            let problem = format!("{problem}: {count} times, first here");
            self.warn("model_events", Some(first), problem, NO_NEED);
        }
        let silent = "SELECT count(*), min(id) FROM models WHERE NOT EXISTS \
                      (SELECT 1 FROM model_events WHERE model_id = models.id)";
        let (count, first): (u64, Option<i64>) =
            self.connection.query_row(silent, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if count > 0 {
            let problem = format!(
                "this version, the first of {count}, has no event: another tool or an old server registered it"
            );
            self.warn("models", first, problem, NO_NEED);
        }
        Ok(())
    }

    /// One production version a name, and each label once.
    fn names(&mut self) -> rusqlite::Result<()> {
        let several = "SELECT name, count(*), min(id) FROM models WHERE status = 'production' \
                       GROUP BY name HAVING count(*) > 1";
        self.each(several, |check, name, count, first| {
            let problem = format!("{name:?} has {count} production versions, this one first");
            check.fail_unless_older("models", first, problem, PROMOTE);
        })?;
        let twice = "SELECT name || ':' || version, count(*), min(id) FROM models \
                     GROUP BY name, version HAVING count(*) > 1";
        self.each(twice, |check, version, count, first| {
            let problem = format!("{version:?} is registered {count} times, this one first");
            check.fail("models", first, problem, BY_HAND);
        })
    }

    /// A sequence that is too low would give the id of a deleted version, and so its events, to a new one.
    fn sequences(&mut self) -> rusqlite::Result<()> {
        for table in ["models", "model_events"] {
            if !has_table(self.connection, table)? {
                continue;
            }
            let (given, highest) = (self.sequence(table)?, self.highest(table)?);
            if given.unwrap_or(0) < highest {
                let given = given.map_or("nothing".to_owned(), |given| given.to_string());
                let problem = format!("{given} is kept as the highest id of {table}, but there is {highest}");
                self.fail("sqlite_sequence", None, problem, RAISE_SEQUENCE);
            }
        }
        Ok(())
    }

    fn sequence(&self, table: &str) -> rusqlite::Result<Option<i64>> {
        if !has_table(self.connection, "sqlite_sequence")? {
            return Ok(None);
        }
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
        self.connection.query_row(sql, [table], |row| row.get(0)).optional()
    }

    fn highest(&self, table: &str) -> rusqlite::Result<i64> {
        let highest: Option<i64> =
            self.connection.query_row(&format!("SELECT max(id) FROM {table}"), [], |row| row.get(0))?;
        Ok(highest.unwrap_or(0))
    }

    /// The highest id that a row of the table has, or a deleted one had.
    fn highest_used(&self, table: &str) -> rusqlite::Result<i64> {
        Ok(self.sequence(table)?.unwrap_or(0).max(self.highest(table)?))
    }

    fn fault(&mut self, table: &'static str, id: i64, fault: Fault) {
        match fault.severity {
            Severity::Error => self.fail(table, Some(id), fault.problem, fault.remedy),
            Severity::FixedByUpgrade => self.fail_unless_older(table, Some(id), fault.problem, fault.remedy),
            Severity::Warning => self.warn(table, Some(id), fault.problem, fault.remedy),
        }
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
            let name = match kept(row.get_ref(0)?) {
                Kept::Text(text) => text.to_owned(),
                _ => String::new(),
            };
            report(self, name, row.get(1)?, row.get(2)?);
        }
        Ok(())
    }

    /// Checks every row of a table by the rules of the columns that it has.
    fn rows(
        &mut self,
        table: &'static str,
        rules: &[(&'static str, Rule)],
        mut report: impl FnMut(&mut Self, &rusqlite::Row<'_>, &mut CheckedRow<'_>),
    ) -> rusqlite::Result<()> {
        let mut present = Vec::new();
        for (column, rule) in rules {
            if has_column(self.connection, table, column)? {
                present.push((*column, *rule));
            }
        }
        let columns: Vec<_> = present.iter().map(|(column, _)| *column).collect();
        let total =
            self.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        let sql = format!("SELECT {} FROM {table} NOT INDEXED ORDER BY id", columns.join(", "));
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut checked = CheckedRow { id: 0, columns: &columns, faults: Vec::new() };
        let mut done = 0;
        while let Some(row) = rows.next()? {
            checked.id = row.get(0).unwrap_or(0);
            for (position, (column, rule)) in present.iter().enumerate() {
                checked.faults.extend(rule.judge(column, kept(row.get_ref(position)?)));
            }
            report(self, row, &mut checked);
            done += 1;
            if done % ROWS_PER_REPORT == 0 {
                self.watch.report(Stage::Reading(table), done, total);
            }
        }
        Ok(())
    }
}

/// A row and what is wrong with its values.
struct CheckedRow<'c> {
    id: i64,
    columns: &'c [&'static str],
    faults: Vec<Fault>,
}

impl CheckedRow<'_> {
    fn kept<'r>(&self, row: &'r rusqlite::Row<'_>, column: &str) -> Option<Kept<'r>> {
        let position = self.columns.iter().position(|known| *known == column)?;
        row.get_ref(position).ok().map(kept)
    }
}

fn kept(value: ValueRef<'_>) -> Kept<'_> {
    match value {
        ValueRef::Null => Kept::Null,
        ValueRef::Integer(number) => Kept::Integer(number),
        ValueRef::Real(number) => Kept::Real(number),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_or(Kept::Bytes, Kept::Text),
        ValueRef::Blob(_) => Kept::Bytes,
    }
}
