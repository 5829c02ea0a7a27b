//! Checks a database against every rule of the registry, as of one moment, in streams of rows.
//!
//! [`soundness`](registry_domain::soundness) has the rules of single values, and [`crate::maintenance`] those that span
//! rows. Only findings are collected, a bounded number of them.

use std::{collections::BTreeMap, ops::ControlFlow};

use tokio_postgres::{
    Row,
    types::{FromSql, Type},
};

use registry_domain::soundness::{
    EVENT_RULES, MODEL_RULES, NO_NEED, Rule,
    Severity::{self, Error, Warning},
    StoredValue,
};

use super::{
    MaintenanceError, in_snapshot,
    trail::{self, EVENTS},
};
use crate::{
    copy::tables::NUMBERED,
    maintenance::{
        Finding, Report, Stage, Watch, derived,
        manifests::{self, Manifests},
        rules::{self, RESTORE},
        trail::Trail,
    },
    postgres::{
        connection::{Connection, Parameter, Request},
        error::Failure,
        keys,
        lists::number,
        lookup,
        options::Options,
        rows::{COLUMNS, columns, owned_text, version},
        schema::{self, SCHEMA_VERSION},
        text::decoded,
    },
};

/// Rows between two reports of progress.
const ROWS_PER_REPORT: u64 = 1000;

const CORRECT: &str = "correct it by hand with SQL, or restore a backup";
const CREATE_AGAIN: &str = "create it again, as `pg_dump --schema-only` shows it of a new registry";
const RAISE_SEQUENCE: &str = "raise the sequence with setval, so that no id is reused";

/// Indexes that PostgreSQL names itself. They guard rules.
const NAMED_BY_POSTGRES: [&str; 2] = ["models_name_version_key", "models_model_key_number_key"];

/// Each version with its rows in the other tables; each column of these is a list.
const VERSIONS: &str = concat!(
    "SELECT ",
    columns!("models."),
    ", tag_keys, tag_values, suites, metric_names, score_values, paths, sizes, digests, roles, folded FROM models \
     LEFT JOIN LATERAL (SELECT array_agg(key) AS tag_keys, array_agg(value) AS tag_values \
         FROM model_tags WHERE version_id = models.id) AS tagged ON true \
     LEFT JOIN LATERAL (SELECT array_agg(suite) AS suites, array_agg(metric) AS metric_names, \
             array_agg(value) AS score_values \
         FROM scores LEFT JOIN score_keys ON score_keys.id = key_id WHERE version_id = models.id) AS scored ON true \
     LEFT JOIN LATERAL (SELECT array_agg(path) AS paths, array_agg(size_bytes) AS sizes, \
             array_agg(sha256) AS digests, array_agg(role) AS roles \
         FROM version_files WHERE version_id = models.id) AS filed ON true \
     LEFT JOIN model_texts ON version_id = models.id ORDER BY models.id"
);

/// Checks it against every rule of the registry, in one snapshot, beside servers that write it.
///
/// # Errors
/// [`MaintenanceError`], if it is no registry's, is newer, or can't be read at all. The report has every other finding.
pub fn check(options: &Options, watch: &Watch) -> Result<Report, MaintenanceError> {
    in_snapshot(options, watch, |connection| {
        let report = Report { schema_version: SCHEMA_VERSION.into(), ..Report::default() };
        let mut check = Check { connection, watch, report };
        if check.schema()? {
            check.section("models", Check::models)?;
            check.section("manifest_files", Check::manifests)?;
            check.section("model_events", Check::events)?;
            check.section("schema", Check::spanning)?;
            check.section("model_counts", Check::derived)?;
            check.section("api_keys", Check::keys)?;
            check.section("schema", Check::sequences)?;
        }
        Ok(check.report)
    })
}

struct Check<'c> {
    connection: &'c mut Connection,
    watch: &'c Watch,
    report: Report,
}

impl Check<'_> {
    /// If a table is damaged or lacks a column, that becomes a finding, and the check continues with the others.
    fn section(
        &mut self,
        table: &'static str,
        check: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.connection.batch("SAVEPOINT section")?;
        match check(self) {
            Err(error) if is_damage(&error) && !self.watch.cancelled() => {
                self.connection.batch("ROLLBACK TO section")?;
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
        self.report.add(severity, Finding { table, id, problem, remedy });
    }

    /// Checks that tables and indexes are there. Returns false if a table is missing, as nothing more can be checked then.
    fn schema(&mut self) -> Result<bool, Failure> {
        let mut has_all = true;
        let tables: Vec<_> = schema::created("CREATE TABLE ").collect();
        for table in self.missing(&tables, "to_regclass(name) IS NULL")? {
            self.add(Error, "schema", None, format!("there is no table {table}"), RESTORE);
            has_all = false;
        }
        let unique: Vec<_> = schema::created("CREATE UNIQUE INDEX ").chain(NAMED_BY_POSTGRES).collect();
        let indexes: Vec<_> = schema::created("CREATE INDEX ").collect();
        for (names, severity, what) in
            [(unique, Error, "which guards a rule"), (indexes, Warning, "which speeds up lists")]
        {
            let condition =
                "NOT EXISTS (SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(name) AND indisvalid)";
            for index in self.missing(&names, condition)? {
                let problem = format!("the index {index} is missing or not valid, {what}");
                self.add(severity, "schema", None, problem, CREATE_AGAIN);
            }
        }
        Ok(has_all)
    }

    /// Returns those of the names for which the condition is true.
    fn missing(&mut self, names: &[&str], condition: &str) -> Result<Vec<String>, Failure> {
        let sql = format!("SELECT name FROM unnest($1) AS name WHERE {condition}");
        let names: [Parameter<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
        self.connection.one(&sql, &names)?.iter().map(|row| owned_text(row, 0)).collect()
    }

    /// Checks each version and its rows in the other tables.
    fn models(&mut self) -> Result<(), Failure> {
        let Self { connection, watch, report } = self;
        let total = number(connection, "SELECT count(*) FROM models", &[])?;
        let mut rules = Vec::new();
        // The first version that each table is wrong about.
        let mut firsts = BTreeMap::new();
        connection.each(&Request::unprepared(VERSIONS, &[]), &mut |row| {
            if rules.is_empty() {
                rules = placed(row, &MODEL_RULES);
            }
            check_values(report, "models", row, &rules)?;
            report.models += 1;
            progress(watch, "models", report.models, total);
            let version = version(row)?;
            let mut add = |table, problem: String| {
                firsts.entry(table).or_insert(Finding {
                    table,
                    id: Some(version.id),
                    problem,
                    remedy: CORRECT,
                });
            };
            if !manifests::has_own_digest(&version) {
                add("models", manifests::WRONG_DIGEST.to_owned());
            }
            let own = derived::of_version(&version, lookup::tag_key);
            for (((table, what), own), found) in derived::TABLES.into_iter().zip(own).zip(sums(row)?) {
                if own != found {
                    add(table, derived::not_its_own(what));
                }
            }
            match row.try_get::<_, Option<&str>>(COLUMNS + 9)? {
                None => add("model_texts", "it is not indexed".to_owned()),
                Some(folded) if folded != lookup::folded(&version) => {
                    add("model_texts", derived::not_its_own("texts"));
                }
                Some(_) => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        firsts.into_values().for_each(|finding| report.add(Error, finding));
        self.each(rules::SEVERAL_IN_PRODUCTION, |check, name, count, first| {
            check.add(Error, "models", first, rules::several_in_production(&name, count), rules::PROMOTE);
        })?;
        self.each(rules::REGISTERED_TWICE, |check, version, count, first| {
            check.add(Error, "models", first, rules::registered_twice(&version, count), CORRECT);
        })
    }

    /// Compares the files of manifests with the digests of their versions.
    fn manifests(&mut self) -> Result<(), Failure> {
        let mut manifests = Manifests::default();
        self.connection.each(&Request::unprepared(manifests::DIGESTS, &[]), &mut |row| {
            manifests.expect(row.try_get(0)?, row.try_get(1)?);
            Ok(ControlFlow::Continue(()))
        })?;
        self.connection.each(&Request::unprepared(manifests::FILES, &[]), &mut |row| {
            let path = owned_text(row, 1)?;
            manifests.follow(row.try_get(0)?, &path, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some((id, problem)) = manifests.end() {
            self.add(Error, "manifest_files", Some(id), problem, RESTORE);
        }
        Ok(())
    }

    /// Checks each event, and follows the trail.
    fn events(&mut self) -> Result<(), Failure> {
        let (given, highest) = self.ids("models")?;
        let highest_id = given.max(highest);
        let Self { connection, watch, report } = self;
        let total = number(connection, "SELECT count(*) FROM model_events", &[])?;
        let mut trail = Trail::default();
        let mut rules = Vec::new();
        connection.each(&Request::unprepared(EVENTS, &[]), &mut |row| {
            if rules.is_empty() {
                rules = placed(row, &EVENT_RULES);
                rules.retain(|(.., rule)| *rule != Rule::EventType);
            }
            check_values(report, "model_events", row, &rules)?;
            report.events += 1;
            progress(watch, "model_events", report.events, total);
            let version: i64 = row.try_get(1)?;
            if version > highest_id {
                let problem = rules::unknown_version(version, highest_id);
                let id = row.try_get(0)?;
                report.add(Error, Finding { table: "model_events", id, problem, remedy: CORRECT });
            }
            trail::follow(&mut trail, row, &mut |_| ())?;
            Ok(ControlFlow::Continue(()))
        })?;
        trail::compare_ends(connection, &mut trail)?;
        trail.findings().for_each(|finding| report.add(Error, finding));
        self.each(rules::EVENT_TYPES, |check, event_type, count, first| {
            if let Some(found) = Rule::EventType.check("event_type", StoredValue::Text(&event_type)) {
                let problem = rules::many_events(&found.problem, count);
                check.add(found.severity, "model_events", first, problem, found.remedy);
            }
        })?;
        if let Some((count, first)) = self.first(rules::WITHOUT_EVENT)? {
            let problem = rules::without_event(count);
            self.add(Warning, "models", Some(first), problem, NO_NEED);
        }
        Ok(())
    }

    /// Checks that models, aliases and holdings agree with the versions.
    fn spanning(&mut self) -> Result<(), Failure> {
        for rule in &rules::SPANNING {
            for row in self.connection.one(&rule.first(), &[])? {
                let (count, name) = (count(&row, 0)?, owned_text(&row, 2)?);
                self.report.add(Error, rule.finding(count, row.try_get(1)?, &name, CORRECT));
            }
        }
        for row in self.connection.one(rules::WEBHOOKS, &[])? {
            let finding = rules::unreadable_webhook(row.try_get(0)?, &owned_text(&row, 1)?, CORRECT);
            finding.into_iter().for_each(|finding| self.report.add(Error, finding));
        }
        Ok(())
    }

    /// Checks each stored API key.
    fn keys(&mut self) -> Result<(), Failure> {
        for row in self.connection.one(keys::ALL, &[])? {
            let key = keys::read(&row)?;
            if let Some(problem) = key.problem() {
                self.add(Error, "api_keys", Some(key.id), problem, crate::keys::CORRECT);
            }
        }
        Ok(())
    }

    /// Compares the counters, and finds rows of versions that are gone.
    fn derived(&mut self) -> Result<(), Failure> {
        for (kind, column, table) in rules::COUNTED {
            let stored = format!(
                "SELECT value, sum(count)::bigint FROM model_counts WHERE kind = '{kind}' \
                 GROUP BY value HAVING sum(count) <> 0"
            );
            let counted = format!("SELECT {column}, count(*) FROM {table} GROUP BY {column}");
            let wrong = number(self.connection, &rules::count_differences(&stored, &counted), &[])?;
            if wrong > 0 {
                self.add(Error, "model_counts", None, rules::wrong_counts(wrong, kind), CORRECT);
            }
        }
        for (table, what) in derived::TABLES.into_iter().chain([("model_texts", "texts")]) {
            let first = self.first(&format!(
                "SELECT count(*), min(version_id) FROM {table} \
                 WHERE NOT EXISTS (SELECT 1 FROM models WHERE models.id = version_id)"
            ))?;
            if let Some((_, id)) = first {
                self.add(Error, table, Some(id), derived::without_version(what), CORRECT);
            }
        }
        Ok(())
    }

    /// Checks that ids are not reused: a sequence that is too low would give the events of a deleted version to a new one.
    fn sequences(&mut self) -> Result<(), Failure> {
        for table in NUMBERED.into_iter().chain(["score_keys"]) {
            let (given, highest) = self.ids(table)?;
            if given < highest {
                let problem =
                    format!("the sequence of its ids is at {given}, and the highest id is {highest}");
                self.add(Error, table, None, problem, RAISE_SEQUENCE);
            }
        }
        Ok(())
    }

    /// Returns the last id that the sequence of a table has given out, and the highest id in the table. Sequences are in no
    /// snapshot, so the first may belong to a row that is newer.
    fn ids(&mut self, table: &str) -> Result<(i64, i64), Failure> {
        let trash = if table == "models" { "(SELECT max(id) FROM deleted_models)" } else { "0" };
        let rows = self.connection.one(
            &format!(
                "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('{table}', 'id')::regclass), 0), \
                 coalesce(greatest((SELECT max(id) FROM {table}), {trash}), 0)"
            ),
            &[],
        )?;
        rows.first().map_or(Ok((0, 0)), |row| Ok((row.try_get(0)?, row.try_get(1)?)))
    }

    /// Returns how many rows a query counts, and the first of them.
    fn first(&mut self, sql: &str) -> Result<Option<(u64, i64)>, Failure> {
        let rows = self.connection.one(sql, &[])?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(row.try_get::<_, Option<i64>>(1)?.zip(Some(count(row, 0)?)).map(|(id, count)| (count, id)))
    }

    /// Calls `report` with each row of a text, a count and an id.
    fn each(
        &mut self,
        sql: &str,
        mut report: impl FnMut(&mut Self, String, u64, Option<i64>),
    ) -> Result<(), Failure> {
        for row in self.connection.one(sql, &[])? {
            report(self, owned_text(&row, 0)?, count(&row, 1)?, row.try_get(2)?);
        }
        Ok(())
    }
}

/// Returns true if a part of the database can't be read, and the others perhaps can.
fn is_damage(error: &Failure) -> bool {
    match error.code().map(tokio_postgres::error::SqlState::code) {
        // The user lacks a privilege.
        Some("42501") => false,
        Some(code) => ["XX", "42"].iter().any(|class| code.starts_with(class)),
        // A column has another type.
        None => !error.is_lost(),
    }
}

fn progress(watch: &Watch, table: &'static str, done: u64, total: u64) {
    if done.is_multiple_of(ROWS_PER_REPORT) {
        watch.report(Stage::Reading(table), done, total);
    }
}

fn count(row: &Row, column: usize) -> Result<u64, Failure> {
    Ok(u64::try_from(row.try_get::<_, i64>(column)?).unwrap_or_default())
}

/// Returns the rules with the places of their columns in a row.
fn placed(row: &Row, rules: &[(&'static str, Rule)]) -> Vec<(usize, &'static str, Rule)> {
    let place = |name: &str| row.columns().iter().position(|column| column.name() == name);
    rules.iter().filter_map(|(name, rule)| Some((place(name)?, *name, *rule))).collect()
}

/// Checks the values of a row.
fn check_values(
    report: &mut Report,
    table: &'static str,
    row: &Row,
    rules: &[(usize, &'static str, Rule)],
) -> Result<(), Failure> {
    for (place, column, rule) in rules {
        if let Some(found) = rule.check(column, stored_value(row, *place)?) {
            let (id, problem, remedy) = (row.try_get(0)?, found.problem, found.remedy);
            report.add(found.severity, Finding { table, id, problem, remedy });
        }
    }
    Ok(())
}

fn stored_value(row: &Row, place: usize) -> Result<StoredValue<'_>, Failure> {
    let kind = row.columns().get(place).map(tokio_postgres::Column::type_);
    let value = match kind {
        Some(&Type::INT8) => row.try_get::<_, Option<i64>>(place)?.map(StoredValue::Integer),
        Some(&Type::FLOAT8) => row.try_get::<_, Option<f64>>(place)?.map(StoredValue::Real),
        Some(&Type::BOOL) => {
            row.try_get::<_, Option<bool>>(place)?.map(|flag| StoredValue::Integer(flag.into()))
        }
        _ => row.try_get::<_, Option<&str>>(place)?.map(StoredValue::Text),
    };
    Ok(value.unwrap_or(StoredValue::Null))
}

/// Returns what the rows of a version in each of the derived tables sum up to.
fn sums(row: &Row) -> Result<[u64; 3], Failure> {
    let text = |text: Option<&'_ str>| text.map(|text| decoded(text).into_owned());
    let sum = |rows: &mut dyn Iterator<Item = u64>| rows.fold(0, u64::wrapping_add);
    let keys = list::<&str>(row, COLUMNS)?;
    let values = list(row, COLUMNS + 1)?.into_iter().map(text);
    let suites = list(row, COLUMNS + 2)?.into_iter().map(text);
    let metrics = list(row, COLUMNS + 3)?.into_iter().map(text);
    let scores = list(row, COLUMNS + 4)?;
    let paths = list(row, COLUMNS + 5)?.into_iter().map(text);
    let sizes = list(row, COLUMNS + 6)?;
    let digests = list(row, COLUMNS + 7)?.into_iter().map(text);
    let roles = list(row, COLUMNS + 8)?.into_iter().map(text);
    Ok([
        // A key is compared as it is stored: a long one is a digest.
        sum(&mut keys
            .into_iter()
            .zip(values)
            .map(|(key, value)| derived::row(&[stored(key), stored(value.as_deref())]))),
        sum(&mut suites.zip(metrics).zip(scores).map(|((suite, metric), value)| {
            let value = value.map_or(StoredValue::Null, StoredValue::Real);
            derived::row(&[stored(suite.as_deref()), stored(metric.as_deref()), value])
        })),
        sum(&mut paths.zip(sizes).zip(digests).zip(roles).map(|(((path, size), digest), role)| {
            let size = size.map_or(StoredValue::Null, StoredValue::Integer);
            derived::row(&[stored(path.as_deref()), size, stored(digest.as_deref()), stored(role.as_deref())])
        })),
    ])
}

/// Returns the elements of a column that is a list, or null if it would be empty.
fn list<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<Vec<Option<T>>, Failure> {
    Ok(row.try_get::<_, Option<Vec<Option<T>>>>(column)?.unwrap_or_default())
}

fn stored(text: Option<&str>) -> StoredValue<'_> {
    text.map_or(StoredValue::Null, StoredValue::Text)
}
