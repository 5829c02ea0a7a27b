//! Versions: register, read by every reference, change and delete.

use serde_json::{Value, json};

use crate::support::TestApp;

use super::{each, model, version};

pub(super) fn digest(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

/// SHA-256 over the raw digests of `config` (01…) and `model.pt` (ab…), by sha256sum.
const ROOT: &str = "a96bdfde2d39abb7a84176ca7ee6d69434935534d3f577bc47415b7b428dd39d";

#[test]
fn each_field_is_written_and_read_back() {
    let app = TestApp::spawn();
    app.clock.stop_at(1_769_864_709_250);
    let fields = json!({
        "label": "v1", "status": "staging", "artifact_uri": " s3://b/run/model.pt ", "sha256": format!("sha256:{}", digest(0xab)),
        "size_bytes": 5, "config_sha256": digest(1), "config_size_bytes": 6, "run_id": "r", "git_commit": "g",
        "created_by": "ann", "source_host": "h", "frozen": true, "d_model": 1, "n_layers": 2, "n_heads": 3, "vocab_size": 4,
        "params": 7, "training_step": 8, "training_loss": 0.5, "dataset": "d", "description": "x",
        "tags": {"team": "nlp", "bare": ""}, "metrics": {"suites": {"s": {"score": 0.25}}, "loss": 1},
        "origin": {"model_id": "m-1", "run_link": "http://r", "location": "s3://b/l"},
    });
    let created = app.v1("POST", "/v1/models/m/versions", fields).created();
    let expected = json!({
        "id": 1, "model": "m", "number": 1, "label": "v1", "status": "staging", "artifact_uri": "s3://b/run/model.pt",
        "origin": {"location": "s3://b/l", "run_link": "http://r", "model_id": "m-1"}, "sha256": digest(0xab), "size_bytes": 5,
        "digest": ROOT, "revision": &ROOT[..40], "file_count": 2, "total_bytes": 11, "manifest": false,
        "stored": false,
        "run_id": "r", "git_commit": "g", "created_by": "ann", "source_host": "h", "frozen": true,
        "d_model": 1, "n_layers": 2, "n_heads": 3, "vocab_size": 4, "params": 7, "training_step": 8, "training_loss": 0.5,
        "dataset": "d", "description": "x", "tags": {"bare": "", "team": "nlp"}, "scores": {"s": {"score": 0.25}},
        "metrics": {"suites": {"s": {"score": 0.25}}, "loss": 1},
        "created_at": "2026-01-31T13:05:09.250Z", "updated_at": "2026-01-31T13:05:09.250Z",
    });
    assert_eq!(created.to_string(), expected.to_string());
    assert_eq!(app.get("/v1/versions/1").ok(), expected);
    assert_eq!(app.get("/v1/models/m/versions").ok(), json!({"versions": [expected], "next": null}));
    let native = app.model(1);
    assert_eq!(
        (&native["version"], &native["tags"]),
        (&json!("v1"), &json!(["bare"])),
        "as the frozen API shows it"
    );

    let bare = app.v1("POST", "/v1/models/m/versions", json!({"label": "v2", "sha256": digest(2)})).created();
    assert_eq!(bare["artifact_uri"], format!("sha256:{}", digest(2)));
    assert_eq!(bare["created_by"], "key:test…");
    assert_eq!((&bare["source_host"], &bare["origin"]), (&json!("127.0.0.1"), &Value::Null));
    assert_eq!((&bare["tags"], &bare["scores"], &bare["metrics"]), (&json!({}), &json!({}), &Value::Null));
}

#[test]
fn an_import_gives_number_and_times_and_the_trail_keeps_the_clock() {
    let app = TestApp::spawn();
    app.clock.stop_at(1_769_864_709_250);
    let model = json!({"name": "m", "created_at": "2024-01-01", "updated_at": "2025-01-01T01:00:00+01:00"});
    let model = app.v1("POST", "/v1/models", model).created();
    assert_eq!(
        (&model["created_at"], &model["updated_at"]),
        (&json!("2024-01-01T00:00:00.000Z"), &json!("2025-01-01T00:00:00.000Z"))
    );
    let register = |fields: &[(&str, Value)]| {
        let mut body = json!({"label": "v", "artifact_uri": "s3://b/m"});
        for (field, value) in fields {
            body[*field] = value.clone();
        }
        app.v1("POST", "/v1/models/m/versions", body)
    };
    let third =
        [("number", json!(3)), ("created_at", json!("2024-05-01T12:00:00.125Z")), ("label", json!("3"))];
    let third = register(&third).created();
    assert_eq!((&third["number"], &third["created_at"]), (&json!(3), &json!("2024-05-01T12:00:00.125Z")));
    assert_eq!(third["updated_at"], "2026-01-31T13:05:09.250Z", "it was not given");
    assert_eq!(register(&[]).created()["number"], 4);
    for event in app.trail("") {
        assert_eq!(event["created_at"], "2026-01-31T13:05:09.250Z");
    }

    let other = ("label", json!("other"));
    for number in [1, 3, 4] {
        let error = register(&[other.clone(), ("number", json!(number))]).error(409, "conflict");
        assert!(error.contains("numbers are not reused; the next one is 5"), "{error}");
    }
    for fields in [
        &[("created_at", json!("2026-01-31T13:05:09.251Z"))][..],
        &[("updated_at", json!("2027-01-01"))],
        &[("updated_at", json!("2026-01-01"))],
        &[("created_at", json!("2025-01-02")), ("updated_at", json!("2025-01-01"))],
    ] {
        register(&[std::slice::from_ref(&other), fields].concat()).error(400, "invalid");
    }
    for (field, value) in [
        ("origin", json!("s3://b/m")),
        ("origin", Value::Null),
        ("number", json!(0)),
        ("number", json!(-1)),
        ("number", json!(2_000_000_001)),
        ("number", json!(1.5)),
        ("number", json!("5")),
        ("number", Value::Null),
        ("created_at", json!("soon")),
        ("created_at", json!("1969-12-31")),
        ("created_at", json!("2025-01-01T00:00:00")),
        ("created_at", json!(5)),
        ("created_at", Value::Null),
        ("updated_at", Value::Null),
    ] {
        register(&[other.clone(), (field, value)]).unfit(&[field]);
    }
    let origin = json!({"location": 5, "nonsense": "x", "run_link": null});
    register(&[other.clone(), ("origin", origin)]).unfit(&["origin.location", "origin.nonsense"]);
    app.v1("POST", "/v1/models", json!({"name": "late", "created_at": "2027-01-01"})).error(400, "invalid");
    app.v1("POST", "/v1/models", json!({"name": "late", "number": 1})).unfit(&["number"]);
    assert_eq!(app.trail("").len(), 3, "nothing that was refused is in the trail");
    let last = register(&[other, ("number", json!(2_000_000_000))]).created();
    assert_eq!(last["number"], 2_000_000_000);
    assert_eq!(register(&[("label", json!("next"))]).created()["number"], 2_000_000_001_i64);
}

#[test]
fn a_version_is_found_by_number_label_alias_and_id() {
    let app = TestApp::spawn();
    app.add("m", "1");
    app.add("m", "x");
    app.add("m", "@champion");
    app.set_alias("m", "champion", json!({"version": 2})).ok();
    app.set_alias("m", "production", json!({"version": 3})).ok();
    for (reference, number) in [
        ("1", 1),
        ("label:1", 1),
        ("label:x", 2),
        ("@champion", 2),
        ("label:@champion", 3),
        ("@production", 3),
    ] {
        let found = app.get(&format!("/v1/models/m/versions/{reference}"));
        assert_eq!(found.ok()["number"], number, "{reference}");
    }
    for reference in ["4", "0", "-1", "label:", "label:X", "@Champion", "@", "@latest"] {
        app.get(&format!("/v1/models/m/versions/{reference}")).error(404, "not_found");
    }
    let revision = app.get("/v1/models/m/versions/1").ok()["revision"].clone();
    assert_eq!(revision, Value::Null, "without a digest there is none");
    app.get(&format!("/v1/models/m/versions/{}", "0".repeat(40))).error(404, "not_found");
    for reference in ["x", "01x", "1.0", "+1", "%201", "1_0", "99999999999999999999", &"A".repeat(40)] {
        app.get(&format!("/v1/models/m/versions/{reference}")).unfit(&["reference"]);
    }
    app.get("/v1/versions/99").error(404, "not_found");
    app.get("/v1/versions/x").unfit(&["id"]);
}

#[test]
fn versions_are_listed_newest_first_filtered_and_paged() {
    let app = TestApp::spawn();
    for label in 0..7 {
        app.add_with(
            "m",
            &label.to_string(),
            json!({"status": if label % 2 == 0 { "staging" } else { "archived" }}),
        );
    }
    app.add("other", "0");
    for (query, numbers) in [("", &[7, 6, 5, 4, 3, 2, 1][..]), ("&status=archived", &[6, 4, 2])] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app.get(&format!("/v1/models/m/versions?limit=3{query}{cursor}")).ok();
            found.extend(each(&page["versions"], "number"));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, numbers, "{query}");
    }
    app.v1("POST", "/v1/models", json!({"name": "empty"})).created();
    assert_eq!(app.get("/v1/models/empty/versions").ok(), json!({"versions": [], "next": null}));
}

#[test]
fn only_given_fields_and_tags_change_and_the_trail_has_the_values() {
    let app = TestApp::spawn();
    app.add_with("m", "1", json!({"description": "old", "tags": {"a": "1", "b": ""}}));
    let path = version("m", 1);
    let changed = app
        .v1("PATCH", &path, json!({"description": "new", "params": 3, "tags": {"a": null, "c": "x"}}))
        .ok();
    assert_eq!((&changed["description"], &changed["params"]), (&json!("new"), &json!(3)));
    assert_eq!(changed["tags"], json!({"b": "", "c": "x"}));
    let trail = app.trail("model=m&version=1");
    let update = trail.iter().find(|event| event["type"] == "update").unwrap();
    assert_eq!(update["before"], json!({"description": "old", "params": null, "tags": {"a": "1", "b": ""}}));
    assert_eq!(update["after"], json!({"description": "new", "params": 3, "tags": {"b": "", "c": "x"}}));

    let events = trail.len();
    let same = app.v1("PATCH", &path, json!({})).ok();
    let tag_again = app.v1("PUT", &format!("{path}/tags/c"), json!({"value": "x"})).ok();
    assert_eq!((&same, &tag_again), (&changed, &changed), "nothing changes");
    assert_eq!(app.trail("model=m&version=1").len(), events);

    let tagged = app.v1("PUT", "/v1/models/m/versions/label:1/tags/d%2Fe", json!({"value": "y"})).ok();
    assert_eq!(tagged["tags"]["d/e"], "y");
    app.v1("DELETE", &format!("{path}/tags/d%2Fe"), Value::Null).ok();
    assert_eq!(app.get(&path).ok()["tags"], changed["tags"]);
    app.v1("PUT", &format!("{path}/tags/%20"), json!({"value": "y"})).error(400, "invalid");
    app.v1("PATCH", &path, json!({"tags": {"k": "x".repeat(100_001)}, "params": 4})).error(400, "invalid");
    assert_eq!(app.get(&path).ok()["params"], 3, "a refused change changes nothing");
}

#[test]
fn an_immutable_field_and_a_status_past_the_gate_are_refused() {
    let app = TestApp::with(|settings| {
        settings.rules.gate.required_suite = Some("s".to_owned());
    });
    app.add_with("m", "1", json!({"frozen": true}));
    app.v1("PATCH", &version("m", 1), json!({"artifact_uri": "s3://other"})).error(409, "conflict");
    app.v1("PATCH", &version("m", 1), json!({"frozen": false})).error(409, "conflict");
    app.v1("PATCH", &version("m", 1), json!({"status": "production"})).error(409, "conflict");
    app.set_alias("m", "production", json!({"version": 1})).error(409, "conflict");
    app.v1("POST", &format!("{}/scores", version("m", 1)), json!({"suite": "s", "metrics": {"score": 1}}))
        .ok();
    app.set_alias("m", "production", json!({"version": 1})).ok();
}

#[test]
fn scores_are_recorded_and_read_by_suite() {
    let app = TestApp::spawn();
    app.add("m", "1");
    let path = format!("{}/scores", version("m", 1));
    assert_eq!(app.get(&path).ok(), json!({"suites": {}}));
    let body = json!({"suite": "s", "metrics": {"score": 0.5}, "dataset": "d", "notes": "n"});
    let changed = app.v1("POST", &path, body).ok();
    assert_eq!(changed["scores"], json!({"s": {"score": 0.5}}));
    let suites = app.get(&path).ok()["suites"].clone();
    assert_eq!((&suites["s"]["score"], &suites["s"]["_meta"]["dataset"]), (&json!(0.5), &json!("d")));
    app.v1("POST", &path, json!({"suite": " ", "metrics": {}})).error(400, "invalid");
    app.v1("POST", &path, json!({"suite": "s"})).unfit(&["metrics"]);
    app.get("/v1/models/m/versions/2/scores").error(404, "not_found");
}

#[test]
fn files_on_the_disk_of_the_server_are_never_read() {
    let app = TestApp::with(|settings| settings.rules.allow_local_paths = true);
    let file = app.folder.path().join("model.pt");
    std::fs::write(&file, "weights").unwrap();
    for field in ["checkpoint_path", "config_path"] {
        let body = json!({"label": "1", "artifact_uri": "s3://b", field: file});
        app.v1("POST", "/v1/models/m/versions", body).unfit(&[field]);
        app.add("m", field);
        app.v1("PATCH", "/v1/models/m/versions/1", json!({field: file})).unfit(&[field]);
    }
}

#[test]
fn a_registration_without_bytes_or_with_bad_values_is_refused() {
    let app = TestApp::spawn();
    for body in [
        json!({"label": "1"}),
        json!({"label": " ", "artifact_uri": "s3://b"}),
        json!({"label": "x".repeat(1_025), "artifact_uri": "s3://b"}),
        json!({"label": "1", "artifact_uri": "s3://b", "tags": {"": ""}}),
    ] {
        app.v1("POST", "/v1/models/m/versions", body).error(400, "invalid");
    }
    for (field, value) in [("sha256", json!("abc")), ("sha256", json!("")), ("size_bytes", json!(-1))] {
        let body = json!({"label": "1", "artifact_uri": "s3://b", field: value});
        app.v1("POST", "/v1/models/m/versions", body).unfit(&[field]);
    }
    app.get("/v1/models/m").error(404, "not_found");
}

#[test]
fn a_version_is_read_and_changed_conditionally() {
    let app = TestApp::spawn();
    let created = app.v1("POST", "/v1/models/m/versions", json!({"label": "1", "artifact_uri": "s3://b"}));
    let tag = created.header("etag").unwrap().to_owned();
    let path = version("m", 1);
    let cached = app.request("GET", &path, &[("If-None-Match", &tag)], None);
    assert_eq!((cached.status, cached.header("etag")), (304, Some(tag.as_str())));
    assert_eq!(app.get("/models/1").header("etag"), Some(tag.as_str()), "the frozen API has the same tag");
    let change = |tag: &str| app.request("PATCH", &path, &[("If-Match", tag)], Some(r#"{"params": 1}"#));
    let changed = change(&tag);
    assert_eq!(changed.status, 200);
    for (method, path, body) in [
        ("PATCH", path.clone(), Some(r#"{"params": 2}"#)),
        ("DELETE", path.clone(), None),
        ("PUT", format!("{path}/tags/t"), Some(r#"{"value": ""}"#)),
        ("DELETE", format!("{path}/tags/t"), None),
        ("POST", format!("{path}/scores"), Some(r#"{"suite": "s", "metrics": {}}"#)),
    ] {
        app.request(method, &path, &[("If-Match", &tag)], body).error(412, "precondition_failed");
    }
    assert_eq!(change(changed.header("etag").unwrap()).status, 200);
}

#[test]
fn head_has_the_headers_and_no_body() {
    let app = TestApp::spawn();
    app.add("m", "1");
    for path in [model("m"), version("m", 1), "/v1/models".to_owned(), "/v1/events".to_owned()] {
        let (head, get) = (app.request("HEAD", &path, &[], None), app.get(&path));
        assert_eq!((head.status, head.text.as_str()), (200, ""));
        assert_eq!(head.header("etag"), get.header("etag"), "{path}");
    }
}

#[test]
fn a_condition_that_a_call_does_not_support_is_refused() {
    let app = TestApp::spawn();
    app.add("m", "1");
    app.add("m", "2");
    let reason = json!({"reason": "r"}).to_string();
    let holder = json!({"version": 2}).to_string();
    let new = json!({"label": "3", "artifact_uri": "s3://b"}).to_string();
    for (method, path, body) in [
        ("PUT", "/v1/models/m/aliases/champion", Some(holder.as_str())),
        ("DELETE", "/v1/models/m/aliases/champion", None),
        ("POST", "/v1/models/m/rollback", Some(&reason)),
        ("POST", "/v1/models/m/restore", None),
        ("POST", "/v1/models/m/versions/1/restore", None),
        ("POST", "/v1/models/m/versions", Some(&new)),
    ] {
        let answer = app.request(method, path, &[("If-Match", "\"x\"")], body);
        let message = answer.error(422, "invalid");
        assert!(message.contains("If-Match"), "{method} {path}: {message}");
    }
    assert_eq!(app.get("/v1/models/m/aliases").ok(), json!({"aliases": {}}));
}

#[test]
fn faults_of_v1_name_its_own_fields() {
    let app = TestApp::spawn();
    app.add("m", "1");
    let register = |body: Value| app.v1("POST", "/v1/models/m/versions", body);
    let named = |answer: crate::support::Answer, field: &str| {
        assert_eq!(answer.status, 422, "{}", answer.text);
        assert_eq!(answer.json()["error"]["fields"][0]["path"], field, "{}", answer.text);
    };
    named(register(json!({"label": "2", "sha256": "ab"})), "sha256");
    named(register(json!({"label": "2", "sha256": ""})), "sha256");
    named(register(json!({"label": "2", "config_sha256": "zz", "artifact_uri": "s3://b"})), "config_sha256");
    named(register(json!({"label": "2", "artifact_uri": "s3://b", "size_bytes": -1})), "size_bytes");
    named(app.v1("PATCH", &version("m", 1), json!({"config_sha256": "x"})), "config_sha256");
    for (answer, status) in [
        (register(json!({"label": " ", "artifact_uri": "s3://b"})), 400),
        (register(json!({"label": "2"})), 400),
        (register(json!({"label": "1", "artifact_uri": "s3://b"})), 409),
        (app.get("/v1/versions/9"), 404),
        (app.v1("DELETE", "/v1/models/m/versions/9", Value::Null), 404),
        (app.request("PATCH", &version("m", 1), &[("If-Match", "\"x\"")], Some("{}")), 412),
    ] {
        assert_eq!(answer.status, status, "{}", answer.text);
        for native in ["checkpoint_sha256", "model 1", "version is blank", "no model with"] {
            assert!(!answer.text.contains(native), "{}", answer.text);
        }
    }
}

#[test]
fn a_number_in_a_path_is_written_in_one_way() {
    let app = TestApp::spawn();
    app.add("m", "1");
    app.get("/v1/models/m/versions/1").ok();
    for number in ["01", "-0", "+1", "1.0", "%201"] {
        app.get(&format!("/v1/models/m/versions/{number}")).error(422, "invalid");
        app.v1("POST", &format!("/v1/models/m/versions/{number}/restore"), Value::Null).error(422, "invalid");
    }
    app.get("/v1").error(404, "not_found");
}
