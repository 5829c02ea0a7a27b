//! Upgrades a file of an older server to this schema, and normalizes its values.
//!
//! Each step looks at what the file has instead of its version number, so one sequence serves every older schema.

use std::{borrow::Cow, collections::HashMap};

use rusqlite::{
    Connection, Transaction,
    types::{Value, ValueRef},
};

use registry_domain::{
    EventDraft, Status, Timestamp,
    json::normalized,
    manifest::computed_digest,
    promotion::{demotion_reason, surplus},
    soundness::{EVENT_RULES, MODEL_RULES, Rule},
};

use super::{
    super::{
        lookup,
        rows::{columns, read},
    },
    models,
    tables::{
        CREATE_EVENTS, CREATE_MODELS, CREATE_TRIGGER, DETAILS_COLUMN, INDEXES, LATER_COLUMNS, add_columns,
        holds_nothing,
    },
};

/// The actor of the events that the upgrade adds.
const UPGRADE_ACTOR: &str = "registry:migration";

/// Tables of schema 301 that nothing reads any more.
const FORMER_TABLES: [&str; 8] = [
    "name_counts",
    "status_counts",
    "tag_counts",
    "model_blocks",
    "creation_steps",
    "model_conflicts",
    "index_pending",
    "model_grams",
];

const INSERT_EVENT: &str = "INSERT INTO model_events (model_id, event_type, payload_json, actor, created_at) \
    VALUES (?1, ?2, ?3, ?4, ?5)";

/// Fills gaps that older servers left. An absent URI becomes one that names the row.
const FILL_GAPS: &str = "
UPDATE models SET status = 'experimental'
    WHERE status IS NULL OR status NOT IN ('experimental', 'staging', 'production', 'archived');
UPDATE models SET artifact_uri = 'legacy:' || id WHERE artifact_uri IS NULL OR trim(artifact_uri) = '';
UPDATE models SET created_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE created_at IS NULL;
UPDATE models SET updated_at = created_at WHERE updated_at IS NULL;
UPDATE models SET frozen = 0 WHERE frozen IS NULL;
";

/// Creates the tables, or upgrades older ones to this schema. Runs inside a transaction.
pub(super) fn run(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
    let is_new = holds_nothing(transaction)?;
    // A large file takes minutes, during which the server does not answer.
    let report = |step: &str| {
        if !is_new {
            tracing::info!("upgrading the database: {step}");
        }
    };
    report("tables");
    drop_outdated(transaction)?;
    if !transaction.table_exists(None, "models")? {
        transaction.execute_batch(CREATE_MODELS)?;
    }
    add_columns(transaction, "models", &LATER_COLUMNS)?;
    create_events(transaction)?;
    add_columns(transaction, "model_events", &[DETAILS_COLUMN])?;
    report("values");
    normalize_rows(transaction, "models", &MODEL_RULES)?;
    normalize_rows(transaction, "model_events", &EVENT_RULES)?;
    transaction.execute_batch(FILL_GAPS)?;
    demote_surplus(transaction, now)?;
    report("models and history");
    models::create(transaction)?;
    report("indexes");
    INDEXES.iter().try_for_each(|index| index.create(transaction))?;
    models::reconcile(transaction, now)?;
    fill_digests(transaction)?;
    report("counts and search");
    lookup::rebuild(transaction)?;
    transaction.execute_batch(CREATE_TRIGGER)?;
    report("commit");
    Ok(())
}

/// Drops indexes and triggers, which are recreated later, and tables that nothing reads any more. Without triggers the
/// upgrade changes no `updated_at`.
fn drop_outdated(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let names = transaction
        .prepare(
            "SELECT type || ' ' || quote(name) FROM sqlite_schema WHERE sql NOT NULL \
             AND (type = 'trigger' AND name GLOB 'trg_models_*' OR type = 'index' AND name GLOB 'idx_*')",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    for name in names {
        transaction.execute_batch(&format!("DROP {name}"))?;
    }
    for table in FORMER_TABLES {
        transaction.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    Ok(())
}

fn create_events(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    if !transaction.table_exists(None, "model_events")? {
        return transaction.execute_batch(CREATE_EVENTS);
    }
    let foreign_keys: i64 =
        transaction.query_row("SELECT count(*) FROM pragma_foreign_key_list('model_events')", [], |row| {
            row.get(0)
        })?;
    if foreign_keys == 0 {
        return Ok(());
    }
    // 0.2.0 declared a foreign key that it never enforced. It would now forbid deleting a version that has events.
    transaction.execute_batch("ALTER TABLE model_events RENAME TO model_events_bound")?;
    transaction.execute_batch(CREATE_EVENTS)?;
    transaction.execute_batch(
        "INSERT INTO model_events (id, model_id, event_type, payload_json, actor, created_at)
            SELECT id, model_id, event_type, payload_json, actor,
                ifnull(created_at, strftime('%Y-%m-%d %H:%M:%f', 'now'))
            FROM model_events_bound ORDER BY id;
         DELETE FROM sqlite_sequence WHERE name = 'model_events';
         INSERT INTO sqlite_sequence (name, seq)
            SELECT 'model_events', seq FROM sqlite_sequence WHERE name = 'model_events_bound';
         DROP TABLE model_events_bound;",
    )
}

/// Converts each value to the type of its column, and JSON to the form of answers.
fn normalize_rows(connection: &Connection, table: &str, columns: &[(&str, Rule)]) -> rusqlite::Result<()> {
    let mut updates = Vec::new();
    for (column, _) in columns {
        updates.push(connection.prepare(&format!("UPDATE {table} SET {column} = ?2 WHERE id = ?1"))?);
    }
    let names: Vec<_> = columns.iter().map(|(column, _)| *column).collect();
    let mut rows = connection.prepare(&format!("SELECT {} FROM {table} NOT INDEXED", names.join(", ")))?;
    let mut rows = rows.query([])?;
    // Rows change while they are read, which is safe because ids, and so the order of the rows, stay.
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        for (position, ((column, rule), update)) in columns.iter().zip(&mut updates).enumerate() {
            let stored = row.get_ref(position)?;
            let value = match normalized_value(stored, *rule, id) {
                // The column can't be empty.
                Value::Null if *column == "checkpoint_path" => Value::Text(String::new()),
                value => value,
            };
            if ValueRef::from(&value) != stored {
                update.execute((id, value))?;
            }
        }
    }
    Ok(())
}

/// Computes the digests of versions, also of deleted ones. The triggers, which would change `updated_at`, are created later.
fn fill_digests(connection: &Connection) -> rusqlite::Result<()> {
    for table in ["models", "deleted_models"] {
        let mut update = connection.prepare(&format!("UPDATE {table} SET digest = ?2 WHERE id = ?1"))?;
        let sql = format!("SELECT {} FROM {table} NOT INDEXED WHERE file_count IS NULL", columns!());
        let mut rows = connection.prepare(&sql)?;
        let mut rows = rows.query([])?;
        // Rows change while they are read, which is safe because the order of the rows stays.
        while let Some(row) = rows.next()? {
            let version = read(row)?;
            let digest = computed_digest(&version);
            if version.digest.as_deref() != digest.as_deref() {
                update.execute((version.id, digest))?;
            }
        }
    }
    Ok(())
}

fn normalized_value(stored: ValueRef<'_>, rule: Rule, id: i64) -> Value {
    let text = || text(stored).map(Cow::into_owned);
    let value: Option<Value> = match (rule, stored) {
        (_, ValueRef::Null) => None,
        (Rule::Id | Rule::Subject | Rule::Size | Rule::Whole, ValueRef::Integer(number)) => {
            Some(number.into())
        }
        (Rule::Id | Rule::Subject, _) => Some(0.into()),
        (Rule::Size | Rule::Whole, _) => None,
        (Rule::Flag, _) => Some(i64::from(matches!(stored, ValueRef::Integer(number) if number != 0)).into()),
        (Rule::Number, _) => text()
            .and_then(|text| text.trim().parse::<f64>().ok())
            .filter(|number| number.is_finite())
            .map(Value::from),
        (Rule::Label | Rule::EventType, _) => Some(text().unwrap_or_else(|| format!("legacy:{id}")).into()),
        (Rule::Status | Rule::Time, _) => Some(text().unwrap_or_default().into()),
        (Rule::Uri | Rule::Digest | Rule::Text, _) => text().map(Value::from),
        (Rule::Tags | Rule::Properties | Rule::Metrics | Rule::Payload, _) => {
            text().and_then(|text| normalized(&text)).filter(|json| json != "null").map(Value::from)
        }
    };
    value.unwrap_or(Value::Null)
}

/// Returns a value as text, with replacement characters if it is not UTF-8; `None` for null and bytes.
fn text(stored: ValueRef<'_>) -> Option<Cow<'_, str>> {
    match stored {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes)),
        ValueRef::Integer(number) => Some(number.to_string().into()),
        ValueRef::Real(number) => Some(number.to_string().into()),
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}

/// If a name has several production versions, sends all but the newest to staging.
fn demote_surplus(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
    let production = transaction
        .prepare("SELECT name, updated_at, id FROM models WHERE status = 'production'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<Vec<(String, String, i64)>>>()?;
    let times: HashMap<i64, String> = production.iter().map(|(_, time, id)| (*id, time.clone())).collect();
    for (id, successor) in surplus(production) {
        let updated_at = now.after(times.get(&id).map_or("", String::as_str)).to_string();
        transaction.execute(
            "UPDATE models SET status = ?2, updated_at = ?3 WHERE id = ?1",
            (id, Status::AFTER_PRODUCTION.as_str(), updated_at),
        )?;
        let event = EventDraft::auto_demote(&demotion_reason(successor));
        let event = (id, event.kind.as_str(), event.payload, UPGRADE_ACTOR, now.to_string());
        transaction.execute(INSERT_EVENT, event)?;
    }
    Ok(())
}
