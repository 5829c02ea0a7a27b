//! Many clients at once move the aliases of one model.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::{
    set_on_drop::SetOnDrop,
    support::{TestApp, at_once},
};

use super::{each, version};

const CLIENTS: usize = 64;

/// Asserts that the holdings of an alias follow each other without overlap, and returns the holders, oldest first.
#[track_caller]
fn holders(app: &TestApp, alias: &str) -> Vec<Value> {
    let history = app.get(&format!("/v1/models/m/history?limit=500&alias={alias}")).ok()["history"].clone();
    let mut holdings = history.as_array().unwrap().clone();
    holdings.reverse();
    for pair in holdings.windows(2) {
        assert!(pair[0]["until"].as_str().unwrap() <= pair[1]["since"].as_str().unwrap(), "{pair:?}");
        assert_ne!(pair[0]["id"], pair[1]["id"]);
    }
    assert!(
        holdings.iter().rev().skip(1).all(|holding| holding["until"].is_string()),
        "one of them is open at most"
    );
    each(&json!(holdings), "version")
}

#[test]
fn one_version_is_in_production_at_each_look_and_each_step_has_its_event() {
    let app = TestApp::spawn();
    for client in 0..CLIENTS {
        app.add("m", &client.to_string());
    }
    app.set_alias("m", "production", json!({"version": 1})).ok();
    let (done, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let production = app.get("/v1/models/m/versions?status=production").ok();
                assert_eq!(production["versions"].as_array().unwrap().len(), 1, "{production}");
                assert!(app.holder("m", "production").is_i64());
                looks.fetch_add(1, Ordering::SeqCst);
            }
        });
        let _done = SetOnDrop(&done);
        at_once(CLIENTS, |client| {
            app.set_alias("m", "production", json!({"version": client + 1})).ok();
        });
    });
    assert!(looks.load(Ordering::SeqCst) > 1);
    let holders = holders(&app, "production");
    let mut each_once: Vec<_> = holders[1..].iter().map(|number| number.as_i64().unwrap()).collect();
    let last = each_once.last().copied().unwrap();
    each_once.sort_unstable();
    // Version 1 comes again, unless it still held the alias when its client came.
    let twos: Vec<_> = (2..=CLIENTS as i64).collect();
    let all: Vec<_> = (1..=CLIENTS as i64).collect();
    assert!(each_once == twos || each_once == all, "{each_once:?}");
    assert_eq!(app.holder("m", "production"), last);
    assert_eq!(app.trail("model=m&type=promote").len(), holders.len());
    assert_eq!(app.trail("model=m&type=auto_demote").len(), holders.len() - 1);
}

#[test]
fn one_of_many_clients_that_expect_the_same_holder_wins() {
    let app = TestApp::spawn();
    for client in 0..=CLIENTS {
        app.add("m", &client.to_string());
    }
    for alias in ["champion", "production"] {
        app.set_alias("m", alias, json!({"version": 1})).ok();
        let answers = at_once(CLIENTS, |client| {
            app.set_alias("m", alias, json!({"version": client + 2, "expected": 1})).status
        });
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{alias}");
        assert_eq!(answers.iter().filter(|status| **status == 409).count(), CLIENTS - 1, "{alias}");
        assert_eq!(holders(&app, alias).len(), 2, "{alias}");
    }
}

#[test]
fn a_change_by_number_hits_no_other_version_while_the_model_is_replaced() {
    let app = TestApp::spawn();
    app.add("m", "1");
    at_once(8, |client| {
        for round in 0..10 {
            if client == 0 {
                // A new model takes the name; the old one goes, with its version number 1.
                app.v1("DELETE", "/v1/models/m", Value::Null).ok();
                app.add("m", &format!("new-{round}"));
            } else {
                let answer = app.v1("PATCH", &version("m", 1), json!({"description": "number 1"}));
                assert!([200, 404].contains(&answer.status), "{}", answer.text);
                if answer.status == 200 {
                    assert_eq!(answer.json()["number"], 1);
                }
            }
        }
    });
    let now = app.get("/v1/models/m/versions").ok();
    assert_eq!(
        now["versions"][0]["description"],
        Value::Null,
        "number 1 is deleted, and no other has changed"
    );
}

#[test]
fn one_of_many_registrations_of_a_label_wins_and_numbers_have_no_gaps() {
    let app = TestApp::spawn();
    let body = json!({"label": "1", "artifact_uri": "s3://b"});
    let answers = at_once(CLIENTS, |_| app.v1("POST", "/v1/models/m/versions", body.clone()).status);
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|status| **status == 409).count(), CLIENTS - 1);
    let mut numbers = at_once(CLIENTS, |client| app.add("m", &format!("client {client}")));
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=CLIENTS as i64 + 1).collect::<Vec<_>>());
}
