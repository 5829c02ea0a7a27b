//! Names, labels, aliases and tag keys of any characters, byte for byte.

use serde_json::{Value, json};

use crate::support::{TestApp, encoded};

use super::model;

#[test]
fn any_text_that_is_not_blank_is_a_name_a_label_an_alias_and_a_key() {
    let app = TestApp::spawn();
    let long = "é".repeat(512);
    let texts = [
        "org/model",
        "100%",
        "%2F",
        "a b",
        " padded ",
        "🚀",
        "..",
        ".",
        "a/../b",
        "#?&=+",
        "@x",
        "label:x",
        "\"q\"",
        "new\nline",
        "null",
        "versions",
        "é",
        "e\u{301}",
        &long,
    ];
    assert_eq!(long.len(), 1_024);
    for text in texts {
        let path = model(text);
        assert_eq!(app.add(text, text), 1, "{text:?}");
        let found = app.get(&format!("{path}/versions/label:{}", encoded(text))).ok();
        assert_eq!((&found["model"], &found["label"]), (&json!(text), &json!(text)));
        app.set_alias(text, text, json!({"version": 1})).ok();
        let held = app.get(&format!("{path}/versions/@{}", encoded(text))).ok();
        assert_eq!(held["id"], found["id"], "{text:?}");
        for path in
            [format!("{path}/tags/{}", encoded(text)), format!("{path}/versions/1/tags/{}", encoded(text))]
        {
            let tagged = app.v1("PUT", &path, json!({"value": text})).ok();
            assert_eq!(tagged["tags"], json!({text: text}), "{path}");
            let untagged = app.v1("DELETE", &path, Value::Null).ok();
            assert_eq!(untagged["tags"], json!({}), "{path}");
        }
        let history = app.get(&format!("{path}/history?alias={}", encoded(text))).ok();
        assert_eq!(history["history"].as_array().unwrap().len(), 1);
        let trail = app.trail(&format!("model={}", encoded(text)));
        assert!(trail.iter().all(|event| event["model"] == text), "{text:?}");
        app.v1("DELETE", &format!("{path}/aliases/{}", encoded(text)), Value::Null).ok();
    }
    assert_eq!(app.get("/v1/models?limit=200").ok()["models"].as_array().unwrap().len(), texts.len());
}

#[test]
fn a_path_that_is_not_utf_8_leads_nowhere() {
    let app = TestApp::spawn();
    for path in ["/v1/models/%FF", "/v1/models/m/versions/%C3%28", "/v1/models/m/aliases/%FF"] {
        let method = if path.contains("aliases") { "DELETE" } else { "GET" };
        app.request(method, path, &[], None).error(404, "not_found");
    }
}

#[test]
fn an_empty_segment_is_no_name() {
    let app = TestApp::spawn();
    for path in
        ["/v1/models/", "/v1/models//versions", "/v1/models/m/versions/", "/v1/", "/v1/models/m/nothing"]
    {
        app.get(path).error(404, "not_found");
    }
}
