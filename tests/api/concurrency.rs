//! Many clients at once: nothing is lost, and the rules hold.

use serde_json::json;

use crate::support::{TestApp, at_once};

const CLIENTS: usize = 64;

#[test]
fn a_write_is_seen_by_every_reader_once_it_is_acknowledged() {
    let app = TestApp::spawn();
    at_once(8, |client| {
        let id = app.register("m", &client.to_string());
        for round in 0..25 {
            let written = app.record(id, "s", json!({ "round": round })).ok();
            let read = app.model(id);
            assert_eq!(read, written);
            assert_eq!(read["metrics"]["suites"]["s"]["round"], round);
        }
    });
}

#[test]
fn many_clients_writing_many_suites_of_one_model_lose_none() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    at_once(CLIENTS, |client| {
        app.record(id, &format!("suite-{client}"), json!({ "score": client })).ok();
    });
    let suites = app.get(&format!("/models/{id}/metrics")).ok();
    for client in 0..CLIENTS {
        assert_eq!(suites[format!("suite-{client}")]["score"], client);
    }
    let types = app.event_types(id);
    assert_eq!(types.iter().filter(|kind| *kind == "eval").count(), CLIENTS);
}

#[test]
fn many_promotions_of_one_name_leave_one_production_version_and_an_event_for_each_demotion() {
    let app = TestApp::spawn();
    let ids: Vec<_> = (0..CLIENTS).map(|version| app.register("m", &version.to_string())).collect();
    at_once(CLIENTS, |client| app.promote(ids[client]).ok());

    let production = app.get("/models/status/production").ok();
    assert_eq!(production.as_array().unwrap().len(), 1);
    assert_eq!(app.get("/models/status/staging").ok().as_array().unwrap().len(), CLIENTS - 1);
    let standing = production[0]["id"].as_i64().unwrap();
    for id in ids {
        let stepped_down = if id == standing { vec![] } else { vec!["auto_demote"] };
        assert_eq!(app.event_types(id)[2..], stepped_down, "{id}");
    }
}

#[test]
fn one_of_many_writers_that_have_seen_the_same_state_wins() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let seen = app.model(id)["updated_at"].as_str().unwrap().to_owned();
    let body = |client| json!({"suite": "s", "metrics": {"client": client}}).to_string();
    let answers = at_once(CLIENTS, |client| {
        let path = format!("/models/{id}/metrics");
        app.request("POST", &path, &[("If-Updated-At", &seen)], Some(&body(client))).status
    });
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|status| **status == 409).count(), CLIENTS - 1);
    assert_eq!(app.event_types(id), ["create", "eval"]);
}

#[test]
fn one_of_many_writers_with_the_same_etag_wins() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    let path = format!("/models/{id}");
    let tag = app.get(&path).header("etag").unwrap().to_owned();
    let answers = at_once(CLIENTS, |client| {
        let body = json!({ "description": client.to_string() }).to_string();
        app.request("PATCH", &path, &[("If-Match", &tag)], Some(&body)).status
    });
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|status| **status == 412).count(), CLIENTS - 1);
}

#[test]
fn one_of_many_registrations_of_the_same_version_wins() {
    let app = TestApp::spawn();
    let body = json!({"name": "m", "version": "1", "artifact_uri": "s3://b"});
    let answers = at_once(CLIENTS, |_| app.post("/models", &body).status);
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|status| **status == 409).count(), CLIENTS - 1);
    assert_eq!(app.get("/stats").ok()["total_models"], 1);
}

#[test]
fn updated_at_rises_within_a_millisecond_and_when_the_clock_steps_back() {
    let app = TestApp::spawn();
    app.clock.stop_at(1_769_864_709_250);
    let id = app.register("m", "1");
    let mut last = app.model(id)["updated_at"].as_str().unwrap().to_owned();
    for (now, expected) in [
        (1_769_864_709_250, "2026-01-31 13:05:09.251"),
        (1_769_864_709_250, "2026-01-31 13:05:09.252"),
        (1_769_861_109_250, "2026-01-31 13:05:09.253"),
        (1_769_864_709_300, "2026-01-31 13:05:09.300"),
    ] {
        app.clock.stop_at(now);
        let updated_at = app.record(id, "s", json!({})).ok()["updated_at"].as_str().unwrap().to_owned();
        assert_eq!(updated_at, expected);
        assert!(updated_at > last);
        last = updated_at;
    }
}
