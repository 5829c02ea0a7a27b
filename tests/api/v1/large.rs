//! Lists of `/v1` that are larger than one buffer.

use serde_json::json;

use crate::support::TestApp;

use super::each;

#[test]
fn a_large_page_is_streamed_whole_and_leads_to_the_next_one() {
    let app = TestApp::spawn();
    for label in 0..12 {
        app.add_with("m", &label.to_string(), json!({"metrics": {"text": "x".repeat(60_000)}}));
    }
    let page = app.get("/v1/models/m/versions?limit=10");
    assert!(page.header("content-length").is_none(), "it is larger than one chunk");
    let page = page.ok();
    assert_eq!(each(&page["versions"], "number"), [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
    let cursor = page["next"].as_str().unwrap();
    let next = app.get(&format!("/v1/models/m/versions?cursor={cursor}")).ok();
    assert_eq!((each(&next["versions"], "number"), next["next"].is_null()), (vec![json!(2), json!(1)], true));
    let found = app.get("/v1/versions?limit=10&sort=number:desc").ok();
    assert_eq!(found["versions"], page["versions"]);
}

#[test]
fn a_large_page_of_the_trail_is_streamed_whole() {
    let app = TestApp::spawn();
    app.add("m", "1");
    for round in 0..100 {
        let metrics = json!({"round": round, "text": "x".repeat(5_000)});
        app.v1("POST", "/v1/models/m/versions/1/scores", json!({"suite": "s", "metrics": metrics})).ok();
    }
    let page = app.get("/v1/events?model=m&limit=90");
    assert!(page.header("content-length").is_none(), "it is larger than one chunk");
    let page = page.ok();
    assert_eq!(each(&page["events"], "id"), (12..=101).rev().collect::<Vec<_>>());
    let next = app.get(&format!("/v1/events?model=m&cursor={}", page["next"].as_str().unwrap())).ok();
    assert_eq!((next["events"].as_array().unwrap().len(), next["next"].is_null()), (11, true));
}
