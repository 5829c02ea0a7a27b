//! Who held an alias, from when to when.

use serde_json::{Value, json};

use crate::support::TestApp;

use super::{each, version};

/// 2026-01-31T13:05:09.000Z
const START: i64 = 1_769_864_709_000;

#[test]
fn the_holder_at_a_moment_is_found_at_the_boundaries_too() {
    let app = TestApp::spawn();
    app.clock.stop_at(START);
    app.add("m", "a");
    app.add("m", "b");
    for (seconds, number) in [(1, Some(1)), (3, Some(2)), (5, None)] {
        app.clock.stop_at(START + seconds * 1_000);
        match number {
            Some(number) => app.set_alias("m", "production", json!({"version": number})).ok(),
            None => app.v1("DELETE", "/v1/models/m/aliases/production", Value::Null).ok(),
        };
    }
    app.set_alias("m", "champion", json!({"version": 2})).ok();
    for (at, numbers) in [
        ("2026-01-31T13:05:09Z", &[][..]),
        ("2026-01-31T13:05:09.999Z", &[]),
        ("2026-01-31T13:05:10Z", &[1]),
        ("2026-01-31T13:05:10.0009Z", &[1]),
        ("2026-01-31T14:05:11.999%2B01:00", &[1]),
        ("2026-01-31T13:05:12.000Z", &[2]),
        ("2026-01-31T08:05:13.999-05:00", &[2]),
        ("2026-01-31T13:05:14Z", &[]),
        ("2030-01-01T00:00:00Z", &[]),
        ("1970-01-01", &[]),
    ] {
        let found = app.get(&format!("/v1/models/m/history?alias=production&at={at}")).ok();
        assert_eq!(each(&found["history"], "version"), numbers, "{at}");
    }
    let history = app.get("/v1/models/m/history").ok();
    assert_eq!(each(&history["history"], "alias"), ["champion", "production", "production"]);
    assert_eq!(
        history["history"][2],
        json!({
            "alias": "production", "version": 1, "label": "a", "id": 1, "since": "2026-01-31T13:05:10.000Z",
            "until": "2026-01-31T13:05:12.000Z", "actor": "key:test…", "reason": null,
        })
    );
    assert_eq!(history["history"][0]["until"], Value::Null);
    let one = app.get("/v1/models/m/history?limit=1").ok();
    assert_eq!(each(&one["history"], "alias"), ["champion"]);
}

#[test]
fn a_deleted_version_stays_in_the_history() {
    let app = TestApp::spawn();
    app.add("m", "a");
    app.set_alias("m", "champion", json!({"version": 1})).ok();
    app.v1("DELETE", &version("m", 1), Value::Null).ok();
    let history = app.get("/v1/models/m/history").ok();
    assert_eq!(
        (&history["history"][0]["label"], &history["history"][0]["version"]),
        (&json!("a"), &json!(1))
    );
    assert!(history["history"][0]["until"].is_string(), "its alias has ended");
}

#[test]
fn a_bad_time_is_a_fault() {
    let app = TestApp::spawn();
    app.add("m", "a");
    for at in [
        "",
        "yesterday",
        "1969-12-31T00:00:00Z",
        "2026-01-31T13:05:09",
        "2026-01-31T13:05:09+01:00",
        "2026-13-01T00:00:00Z",
    ] {
        app.get(&format!("/v1/models/m/history?at={at}")).unfit(&["at"]);
    }
    app.get("/v1/models/m/history?limit=0&alias=&nonsense=1").unfit(&["limit", "alias", "nonsense"]);
}
