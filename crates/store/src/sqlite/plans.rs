//! How SQLite reads the tables for each statement that the operations and the readers run.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    sync::{Arc, Mutex},
    time::Duration,
};

use registry_domain::{
    Draft, EventQuery, Force, Gate, GivenTimes, LabelReuse, Numbering, PRODUCTION_ALIAS, Patch, Precondition,
    Principal, Status, Timestamp, VersionId, VersionRef,
    json::read_object,
    model::ModelPatch,
    query::{DeletedQuery, HistoryQuery, ModelQuery, TrailQuery},
    webhook::{Webhook, WebhookPatch, delivery::Replay},
};
use rusqlite::{
    Connection,
    trace::{TraceEvent, TraceEventCodes},
};

use super::{Options, SqliteReader, SqliteWriter, Synchronous};
use crate::{
    ReadStore as _, ReadWebhooks as _, StoreError, Transaction as _, WriteStore,
    operations::{self, Context},
};

type Seen = Arc<Mutex<BTreeSet<String>>>;

fn follow(connection: &mut Connection, seen: &Seen) {
    let seen = Arc::clone(seen);
    let note = move |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(statement, _) = event {
            seen.lock().unwrap().insert(statement.sql().into_owned());
        }
    };
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note)).unwrap();
}

/// Runs an operation in a transaction.
fn run<T>(
    writer: &mut SqliteWriter,
    operation: impl FnOnce(&mut dyn WriteStore, &Context<'_>) -> Result<T, StoreError>,
) -> T {
    let context = Context {
        actor: "ann",
        principal: &Principal::administrator("ann"),
        now: Timestamp::from_unix_millis(1_769_817_600_000),
        gate: &Gate::default(),
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
        warnings: Default::default(),
    };
    writer.begin(Duration::from_secs(10)).unwrap();
    let done = operation(writer, &context).unwrap();
    writer.commit().unwrap();
    done
}

fn register(writer: &mut SqliteWriter, name: &str, label: &str) -> VersionId {
    let mut draft = Draft::named(name, label).unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    draft.tags = vec!["nightly".to_owned()];
    draft.metrics = read_object(r#"{"suites":{"smoke":{"score":0.5}}}"#).unwrap();
    run(writer, |store, context| operations::register(store, draft, LabelReuse::ForSameBytes, context)).id
}

fn write_all(writer: &mut SqliteWriter) {
    let none = Precondition::default();
    let ids: Vec<_> = ["1", "2", "3"].map(|label| register(writer, "m", label)).to_vec();
    run(writer, |store, context| operations::set_alias(store, "m", "champion", 1, None, None, context));
    for id in &ids {
        run(writer, |store, context| {
            operations::promote(store, *id, Status::Production, None, &none, context)
        });
    }
    run(writer, |store, context| operations::rollback(store, "m", None, "it fails", context));
    run(writer, |store, context| operations::rollback(store, "m", Some(1), "it fails", context));
    run(writer, |store, context| operations::delete_alias(store, "m", PRODUCTION_ALIAS, None, None, context));
    let patch = Patch { description: Some(Some("d".to_owned())), ..Patch::default() };
    let tags = [("a".to_owned(), Some("1".to_owned())), ("nightly".to_owned(), None)].into();
    run(writer, |store, context| operations::update_with_tags(store, ids[1], &patch, &tags, &none, context));
    run(writer, |store, context| operations::delete(store, ids[0], Force::All, &none, context));
    run(writer, |store, context| {
        let id = operations::find_deleted_version(store, "m", 1)?;
        operations::restore(store, id, context)
    });
    let tags = [("team".to_owned(), Some("nlp".to_owned()))].into();
    let patch = ModelPatch { name: Some("n".to_owned()), tags, ..ModelPatch::default() };
    run(writer, |store, context| {
        operations::create_model(
            store,
            "other",
            &ModelPatch::default(),
            GivenTimes::default(),
            Numbering::Continued,
            context,
        )
    });
    run(writer, |store, context| operations::update_model(store, "m", &patch, &none, context));
    run(writer, |store, context| operations::delete_model(store, "n", Force::All, &none, context));
    run(writer, |store, context| operations::restore_model(store, "n", context));
    run(writer, |store, context| operations::delete_model(store, "n", Force::All, &none, context));
    register(writer, "n", "9");
    call_webhooks(writer);
}

fn call_webhooks(writer: &mut SqliteWriter) {
    let definition = r#"{"uid":"u","name":"w","url":"https://e.org/","form":"v1","events":[],"is_active":true,
        "created_by":"ann","created_at":"2026","updated_at":"2026"}"#;
    let webhook: Webhook = serde_json::from_str(definition).unwrap();
    run(writer, |store, context| operations::create_webhook(store, &webhook, context));
    register(writer, "n", "10");
    run(writer, |store, context| {
        let now_ms = context.now.unix_millis();
        let claim = store.claim_deliveries(1, now_ms, now_ms)?.unwrap();
        store.finish_deliveries(&claim.deliveries)?;
        store.prune_deliveries(i64::MAX, 0)?;
        operations::replay_deliveries(store, "u", &Replay::Event(1), context).unwrap_err();
        let patch = WebhookPatch { name: Some("v".to_owned()), ..WebhookPatch::default() };
        operations::update_webhook(store, "u", patch, context)
    });
}

fn read_all(reader: &mut SqliteReader) {
    let name = || "n".to_owned();
    for version in [
        VersionRef::Id(1),
        VersionRef::Label(name(), "1".to_owned()),
        VersionRef::Number(name(), 1),
        VersionRef::Alias(name(), "champion".to_owned()),
        VersionRef::production(name()),
    ] {
        reader.version(&version, &mut |_| {}).unwrap();
    }
    for deleted in [false, true] {
        reader.models(&ModelQuery { deleted, limit: 10, ..ModelQuery::default() }).unwrap();
    }
    reader.model("n").unwrap();
    reader.history(&HistoryQuery { model: name(), limit: 10, ..HistoryQuery::default() }).unwrap();
    let events = EventQuery { version_id: 1, limit: 10, offset: 0, after: None };
    reader.events(&events, &mut |_| ControlFlow::Continue(())).unwrap();
    for (model, number) in [(None, None), (Some(name()), None), (Some(name()), Some(1))] {
        let query = TrailQuery { model, number, limit: 10, ..TrailQuery::default() };
        reader.trail(&query, &mut |_| ControlFlow::Continue(())).unwrap();
    }
    let deleted = DeletedQuery { model: name(), limit: 10, before: None };
    reader.deleted_versions(&deleted, &mut |_| ControlFlow::Continue(())).unwrap();
    reader.stats().unwrap();
    assert_eq!(reader.due_webhooks(&|| i64::MAX, 2).unwrap(), [(1, 1)]);
    assert_eq!(reader.deliveries(1, None, 10, None).unwrap().0.len(), 1);
}

#[test]
fn no_statement_of_the_operations_or_the_readers_scans_a_table_that_grows() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        path: folder.path().join("registry.db"),
        busy_timeout: Duration::from_secs(30),
        synchronous: Synchronous::Normal,
    };
    let mut writer = SqliteWriter::open(&options, Timestamp::from_unix_millis(0)).unwrap();
    let mut reader = SqliteReader::open(&options).unwrap();
    let seen = Seen::default();
    follow(&mut writer.connection, &seen);
    follow(&mut reader.connection, &seen);
    write_all(&mut writer);
    read_all(&mut reader);
    let seen = seen.lock().unwrap().clone();
    let mut plans = Vec::new();
    for sql in &seen {
        let is_own = !sql.contains("'main'.'model_texts_");
        if !is_own
            || !["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].iter().any(|verb| sql.starts_with(verb))
        {
            // FTS5 runs statements of its own.
            continue;
        }
        let mut explain = reader.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let plan: Vec<String> =
            explain.raw_query().mapped(|row| row.get(3)).collect::<rusqlite::Result<_>>().unwrap();
        for line in &plan {
            // A list reads along the index until its page is full.
            let is_list = sql.contains("ORDER BY name, id") && line.contains("USING INDEX");
            // Of FTS5, `0:=` is one row by its id.
            let is_one_row = line == "SCAN CONSTANT ROW" || line.ends_with("VIRTUAL TABLE INDEX 0:=");
            // There are few webhooks and policies, and a recursive query reads its own rows.
            let is_small = ["SCAN webhooks", "SCAN policies", "SCAN lanes"].contains(&line.as_str());
            assert!(!line.starts_with("SCAN") || is_list || is_one_row || is_small, "{sql}: {plan:#?}");
        }
        plans.push((sql.as_str(), plan.join("\n")));
    }
    for (statement, index) in [
        ("UPDATE holdings", "holdings USING INDEX idx_holdings_open (model_key=? AND alias=?)"),
        ("SELECT CASE WHEN file_count IS NULL", "spent_labels USING PRIMARY KEY (model_key=? AND label=?)"),
        (
            "INSERT INTO registered_models",
            "registered_models USING INDEX idx_registered_models_page (name=?)",
        ),
        ("SELECT count(*), max(number)", "idx_deleted_models_number (model_key=?)"),
        ("WITH RECURSIVE lanes", "idx_webhook_deliveries_pending (webhook_id=? AND model_key=?)"),
        (
            "UPDATE webhook_deliveries SET state = 'pending'",
            "idx_webhook_deliveries_event (webhook_id=? AND event_id=?)",
        ),
        ("INSERT INTO backdated_models SELECT ?1, ?2 WHERE ?2", "models USING INTEGER PRIMARY KEY (rowid<?)"),
    ] {
        let found: Vec<_> = plans.iter().filter(|(sql, _)| sql.starts_with(statement)).collect();
        assert!(!found.is_empty(), "{statement} was not run");
        assert!(found.iter().all(|(_, plan)| plan.contains(index)), "{found:#?}");
    }
}
