//! A PostgreSQL database that goes away, in the middle of a commit and for a while, or that others use too.

use std::time::{Duration, Instant};

use model_registry::store::postgres::Options;
use serde_json::json;

use crate::{
    postgres_cluster::TestDatabase,
    support::{TestApp, at_once, leave_out},
};

/// Returns a server and its database, which no other test uses.
fn spawn() -> (TestApp, TestDatabase) {
    let database = TestDatabase::create_own().unwrap_or_else(leave_out);
    let app = TestApp::with(|settings| {
        let mut options = Options::parse(&database.url()).unwrap();
        options.writers = 2;
        options.write_timeout = Duration::from_millis(1_500);
        settings.postgres = Some(options);
    });
    (app, database)
}

#[test]
fn a_commit_whose_answer_is_lost_is_answered_as_unknown_with_the_id_of_the_request() {
    let (app, database) = spawn();
    let id = app.register("m", "1");
    database.sql(
        "CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER vanish AFTER INSERT ON model_events DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION vanish()",
    );
    let answer = app.record(id, "s", json!({"a": 1}));
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()));
    assert_eq!(answer.header("retry-after"), None);
    let detail = answer.refused(503);
    assert!(detail.contains("not known if this write was kept"), "{detail}");
    database.sql("DROP TRIGGER vanish ON model_events");
    app.record(id, "s", json!({"a": 1})).ok();
    assert_eq!(app.event_types(id), ["create", "eval"]);
}

#[test]
fn a_database_that_is_gone_is_answered_with_503_and_used_again_once_it_is_back() {
    let (app, database) = spawn();
    let id = app.register("m", "1");
    assert_eq!(app.get("/ready").status, 200);
    database.shut();
    let answer = app.get("/models/1");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.refused(503).contains("can't be reached"));
    let begun = Instant::now();
    // More than the writers, so that some wait in the queue.
    let answers = at_once(20, |client| app.record(id, &format!("s{client}"), json!({"a": 1})));
    assert!(begun.elapsed() < Duration::from_secs(8), "each waits only for its own time");
    for answer in answers {
        assert_eq!(answer.header("retry-after"), Some("1"));
        let detail = answer.refused(503);
        assert!(detail.contains("can't be reached, so nothing was changed"), "{detail}");
        assert!(!detail.contains("test_"), "it does not name the database: {detail}");
    }
    // Probes share a result for a second.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = app.get("/ready");
        if answer.status == 503 {
            let detail = answer.refused(503);
            assert!(detail.contains("the database can't be reached"), "{detail}");
            break;
        }
        assert!(Instant::now() < deadline, "it stays ready");
    }
    database.reopen();
    while app.get("/ready").status != 200 {
        assert!(Instant::now() < deadline, "it does not become ready again");
        std::thread::sleep(Duration::from_millis(20));
    }
    app.record(id, "s", json!({"a": 1})).ok();
    assert_eq!(app.event_types(id), ["create", "eval"]);
}

#[test]
fn a_database_that_is_back_in_time_delays_writes_and_fails_none() {
    let (app, database) = spawn();
    let id = app.register("m", "1");
    database.shut();
    std::thread::scope(|scope| {
        let writes = scope.spawn(|| at_once(8, |client| app.record(id, &format!("s{client}"), json!({}))));
        while app.get("/queues").ok()["write"]["depth"] == 0 {
            std::thread::yield_now();
        }
        database.reopen();
        for answer in writes.join().unwrap() {
            answer.ok();
        }
    });
    assert_eq!(app.event_types(id).len(), 1 + 8);
}

#[test]
fn a_server_whose_database_a_newer_one_has_migrated_reads_and_says_why_it_is_not_ready() {
    let (app, database) = spawn();
    let id = app.register("m", "1");
    database.sql("UPDATE schema_version SET version = version + 1");
    let detail = app.record(id, "s", json!({"a": 1})).refused(503);
    assert!(detail.contains("nothing was changed") && detail.contains("use the newer server"), "{detail}");
    let detail = app.get("/ready").refused(503);
    assert!(detail.contains("use the newer server"), "{detail}");
    assert_eq!(app.model(id)["metrics"], json!(null));
    assert_eq!(app.event_types(id), ["create"]);
}

#[test]
fn two_servers_promote_versions_of_one_model_and_one_is_in_production() {
    let (one, database) = spawn();
    let other = TestApp::with(|settings| {
        settings.postgres = Some(Options::parse(&database.url()).unwrap());
    });
    let ids: Vec<_> = (0..8).map(|number| one.register("m", &number.to_string())).collect();
    let answers = at_once(16, |client| {
        let app = if client % 2 == 0 { &one } else { &other };
        (0..5).map(|turn| app.promote(ids[(client + turn) % ids.len()]).status).collect::<Vec<_>>()
    });
    assert_eq!(answers.concat(), [200; 80]);
    assert_eq!(one.get("/stats").ok()["by_status"], json!({"production": 1, "staging": 7}));
    assert_eq!(one.everything(), other.everything());
    let events: Vec<_> = ids.iter().flat_map(|id| one.event_types(*id)).collect();
    let count = |kind: &str| events.iter().filter(|event| *event == kind).count();
    assert_eq!(count("promote"), 80);
    let demotions = "SELECT count(*) FROM model_events WHERE event_type = 'auto_demote'";
    assert_eq!(database.sql(demotions), count("auto_demote").to_string());
}
