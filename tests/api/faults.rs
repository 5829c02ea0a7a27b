//! Faults injected into a running server: one request fails and leaves nothing behind.

use std::{sync::mpsc, thread, time::Duration};

use serde_json::json;

use crate::support::{TestApp, at_once, over_postgres};

#[test]
fn a_panic_in_an_operation_answers_500_and_the_next_request_is_served() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let before = app.model(id);
    for round in 0..3 {
        app.clock.panic_once();
        let answer = app.record(id, "s", json!({ "round": round }));
        let request_id = answer.header("x-request-id").unwrap().to_owned();
        let detail = answer.refused(500);
        assert!(detail.contains(&request_id), "{detail}");
        assert!(!detail.contains("injected"), "{detail}");
        assert_eq!(app.model(id), before, "no trace of it remains");
    }
    app.record(id, "s", json!({ "round": 4 })).ok();
    assert_eq!(app.event_types(id), ["create", "eval"]);
}

#[test]
fn a_panic_does_not_affect_the_other_operations_of_its_batch() {
    if over_postgres() {
        return;
    }
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    // Another process holds the lock, so the writes queue up and are committed together.
    let other = app.other_process();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    app.clock.panic_once();
    let statuses = thread::scope(|scope| {
        let (app, (sent, arrivals)) = (&app, mpsc::channel());
        let writers: Vec<_> = (0..16)
            .map(|client| {
                let sent = sent.clone();
                scope.spawn(move || {
                    sent.send(()).unwrap();
                    app.record(id, &format!("s{client}"), json!({})).status
                })
            })
            .collect();
        arrivals.iter().take(16).for_each(drop);
        other.execute_batch("COMMIT").unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 15, "{statuses:?}");
    assert_eq!(app.event_types(id).len(), 1 + 15);
}

#[test]
fn a_full_write_queue_answers_503_at_once_and_admitted_writes_complete() {
    if over_postgres() {
        return;
    }
    let app = TestApp::with(|settings| settings.database.write_queue = 1);
    let id = app.register("m", "1");
    let other = app.other_process();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (answered, answers) = mpsc::channel();
    let mut sent = 0;
    thread::scope(|scope| {
        // Some join the batch that waits for the lock, one waits in the queue, and the next is refused
        // while the lock is still held.
        let refused = loop {
            assert!(sent < 100, "none was refused");
            let (app, answered, suite) = (&app, answered.clone(), format!("s{sent}"));
            scope.spawn(move || answered.send(app.record(id, &suite, json!({}))).unwrap());
            sent += 1;
            if let Ok(answer) = answers.recv_timeout(Duration::from_millis(50)) {
                break answer;
            }
        };
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert!(refused.refused(503).contains("write queue"));
        assert_eq!(app.model(id)["metrics"], json!(null), "reads continue");
        other.execute_batch("COMMIT").unwrap();
    });
    drop(answered);
    let rest: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert!(rest.iter().all(|status| [200, 503].contains(status)), "{rest:?}");
    let done = rest.iter().filter(|status| **status == 200).count();
    assert!(done >= 1);
    assert_eq!((rest.len(), app.event_types(id).len()), (sent - 1, 1 + done));
}

#[test]
fn a_lock_held_by_another_process_for_a_second_delays_a_write_and_fails_nothing() {
    if over_postgres() {
        return;
    }
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let other = app.other_process();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    thread::scope(|scope| {
        let writers =
            scope.spawn(|| at_once(8, |client| app.record(id, &format!("s{client}"), json!({})).ok()));
        thread::sleep(Duration::from_secs(1));
        assert!(!writers.is_finished(), "a write waits for the lock");
        assert_eq!(app.model(id)["metrics"], json!(null), "reads do not");
        other.execute_batch("COMMIT").unwrap();
        writers.join().unwrap();
    });
    assert_eq!(app.event_types(id).len(), 1 + 8);
}

#[test]
fn a_lock_held_longer_than_the_busy_timeout_answers_503_and_changes_nothing() {
    if over_postgres() {
        return;
    }
    let app = TestApp::with(|settings| settings.database.store.busy_timeout = Duration::from_millis(50));
    let id = app.register("m", "1");
    let other = app.other_process();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = app.record(id, "s", json!({}));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.refused(503).contains("locked by another process"));
    other.execute_batch("COMMIT").unwrap();
    app.record(id, "s", json!({})).ok();
    assert_eq!(app.event_types(id), ["create", "eval"]);
}

#[test]
fn writes_of_another_process_show_in_the_next_answer() {
    if over_postgres() {
        return;
    }
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let before = app.model(id)["updated_at"].as_str().unwrap().to_owned();
    let other = app.other_process();
    other.execute("UPDATE models SET description = 'theirs' WHERE id = ?1", [id]).unwrap();
    let model = app.model(id);
    assert_eq!(model["description"], "theirs");
    assert!(model["updated_at"].as_str().unwrap() > before.as_str(), "the trigger moved it");
}

#[test]
fn the_queues_show_what_waits_in_them() {
    let app = TestApp::with(|settings| settings.database.write_queue = 7);
    let queues = app.get("/queues").ok();
    assert_eq!(queues["write"], json!({"depth": 0, "capacity": 7}));
    for queue in ["read", "hash", "checkpoint"] {
        assert!(queues[queue]["capacity"].as_u64().unwrap() > 0, "{queue}");
    }
}
