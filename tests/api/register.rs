//! `POST /models`: accepted values, defaults, and values that are kept as sent.

use serde_json::{Value, json};

use crate::support::{TestApp, encoded};

const NOW: i64 = 1_769_864_709_250;
const DIGEST: &str = "7056f18469ad00720a4b339385cf6344285621d6662997209da4ed56a8612669";

#[test]
fn a_version_with_nothing_but_a_uri_is_answered_byte_for_byte() {
    let app = TestApp::spawn();
    app.clock.stop_at(NOW);
    let answer = app.post("/models", &json!({"name": "m", "version": "1", "artifact_uri": "s3://b/m"}));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        answer.text,
        concat!(
            r#"{"id":1,"name":"m","version":"1","status":"experimental","artifact_uri":"s3://b/m","#,
            r#""checkpoint_sha256":null,"checkpoint_size_bytes":null,"config_sha256":null,"#,
            r#""config_size_bytes":null,"run_id":null,"git_commit":null,"created_by":"key:test…","#,
            r#""source_host":"127.0.0.1","frozen":false,"local_checkpoint_path":null,"#,
            r#""local_config_path":null,"d_model":null,"n_layers":null,"n_heads":null,"vocab_size":null,"#,
            r#""params":null,"training_step":null,"training_loss":null,"dataset":null,"description":null,"#,
            r#""tags":null,"metrics":null,"created_at":"2026-01-31 13:05:09.250","#,
            r#""updated_at":"2026-01-31 13:05:09.250"}"#,
        )
    );
    assert_eq!(app.get("/models/1").text, answer.text);
    assert_eq!(app.get("/models/by-name/m/1").text, answer.text);
    assert_eq!(app.get("/models").text, format!("[{}]", answer.text));
    assert_eq!(
        app.get("/models/1/events").text,
        concat!(
            r#"[{"id":1,"model_id":1,"event_type":"create","payload":{"name":"m","version":"1","#,
            r#""status":"experimental","artifact_uri":"s3://b/m"},"actor":"key:test…","#,
            r#""created_at":"2026-01-31 13:05:09.250"}]"#,
        )
    );
}

#[test]
fn a_version_with_every_field_is_answered_with_all_of_them_in_order() {
    let app = TestApp::spawn();
    app.clock.stop_at(NOW);
    // Last to first, so that the order of the answer is not the order that was sent.
    let answer = app.post(
        "/models",
        &json!({
            "metrics": {"k": 1}, "tags": ["a", "b"], "description": "d", "dataset": "ds",
            "training_loss": 0.25, "training_step": -5, "params": 7, "vocab_size": 4, "n_heads": 3,
            "n_layers": 2, "d_model": 1, "frozen": true, "source_host": "h", "created_by": "ann",
            "git_commit": "g", "run_id": "r", "config_size_bytes": 0, "config_sha256": "b".repeat(64),
            "checkpoint_size_bytes": 5, "checkpoint_sha256": "a".repeat(64), "artifact_uri": " s3://b/m ",
            "status": "staging", "version": "1", "name": "m",
        }),
    );
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    assert_eq!(
        answer.text,
        format!(
            concat!(
                r#"{{"id":1,"name":"m","version":"1","status":"staging","artifact_uri":"s3://b/m","#,
                r#""checkpoint_sha256":"{}","checkpoint_size_bytes":5,"config_sha256":"{}","#,
                r#""config_size_bytes":0,"run_id":"r","git_commit":"g","created_by":"ann","#,
                r#""source_host":"h","frozen":true,"local_checkpoint_path":null,"local_config_path":null,"#,
                r#""d_model":1,"n_layers":2,"n_heads":3,"vocab_size":4,"params":7,"training_step":-5,"#,
                r#""training_loss":0.25,"dataset":"ds","description":"d","tags":["a","b"],"#,
                r#""metrics":{{"k":1}},"created_at":"2026-01-31 13:05:09.250","#,
                r#""updated_at":"2026-01-31 13:05:09.250"}}"#,
            ),
            a, b
        )
    );
    assert_eq!(app.get("/models/1").text, answer.text);
    assert_eq!(app.last_payload(1)["status"], "staging");
}

#[test]
fn digests_are_kept_bare_and_in_lower_case_and_replace_a_missing_uri() {
    let app = TestApp::spawn();
    let from_digest = format!("sha256:{DIGEST}");
    let upper = format!("SHA256:{}", DIGEST.to_uppercase());
    for (version, (uri, digest, kept_uri, kept_digest)) in [
        (json!(null), json!(DIGEST), from_digest.as_str(), json!(DIGEST)),
        (json!(null), json!(upper), &from_digest, json!(DIGEST)),
        (json!("  "), json!(from_digest), &from_digest, json!(DIGEST)),
        (json!("s3://x"), json!(format!("  {DIGEST}  ")), "s3://x", json!(DIGEST)),
        (json!("s3://x"), json!("   "), "s3://x", json!(null)),
        (json!("s3://x"), json!("sha256:"), "s3://x", json!(null)),
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({
            "name": "m", "version": version.to_string(), "artifact_uri": uri,
            "checkpoint_sha256": digest, "config_sha256": digest,
        });
        let model = app.post("/models", &body).ok();
        assert_eq!(model["artifact_uri"], kept_uri, "{body}");
        assert_eq!((&model["checkpoint_sha256"], &model["config_sha256"]), (&kept_digest, &kept_digest));
    }
}

#[test]
fn changes_against_the_rules_are_refused_with_a_message_and_leave_nothing() {
    let app = TestApp::spawn();
    for (change, word) in [
        (json!({"artifact_uri": null}), "artifact_uri"),
        (json!({"artifact_uri": " \t"}), "artifact_uri"),
        (json!({"artifact_uri": "", "checkpoint_sha256": " "}), "artifact_uri"),
        (json!({"artifact_uri": "", "config_sha256": DIGEST}), "artifact_uri"),
        (json!({"checkpoint_sha256": "123"}), "checkpoint_sha256"),
        (json!({"checkpoint_sha256": format!("{DIGEST}0")}), "checkpoint_sha256"),
        (json!({"config_sha256": "z".repeat(64)}), "config_sha256"),
        (json!({"config_sha256": format!("md5:{DIGEST}")}), "config_sha256"),
        (json!({"checkpoint_size_bytes": -1}), "checkpoint_size_bytes"),
        (json!({"config_size_bytes": -1}), "config_size_bytes"),
        (json!({"name": ""}), "name"),
        (json!({"name": " \n"}), "name"),
        (json!({"version": ""}), "version"),
        (json!({"version": "\u{3000}"}), "version"),
    ] {
        let mut body = json!({"name": "m", "version": "1", "artifact_uri": "s3://x"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let detail = app.post("/models", &body).refused(400);
        assert!(detail.contains(word), "{body}: {detail}");
    }
    assert_eq!(app.get("/models").ok(), json!([]));
    assert_eq!(app.register("m", "1"), 1, "no refused registration used an id up");
}

#[test]
fn the_same_name_and_version_again_is_a_conflict_and_changes_nothing() {
    let app = TestApp::spawn();
    app.register("m", "1");
    let before = app.everything();
    let again = json!({"name": "m", "version": "1", "artifact_uri": "s3://other", "status": "production"});
    let detail = app.post("/models", &again).refused(409);
    assert!(detail.contains("registered already"), "{detail}");
    assert_eq!(app.everything(), before);
    // Names and versions differ by every byte.
    for (name, version) in [("M", "1"), ("m", "1 "), ("m ", "1"), ("m", "01"), ("m\u{301}", "1"), ("ḿ", "1")]
    {
        app.register(name, version);
    }
}

#[test]
fn numbers_and_booleans_in_strings_are_accepted() {
    let app = TestApp::spawn();
    for (version, (field, sent, kept)) in [
        ("params", json!("12"), json!(12)),
        ("n_heads", json!(" 4 "), json!(4)),
        ("d_model", json!(8.0), json!(8)),
        ("d_model", json!("8.0"), json!(8)),
        ("n_layers", json!(true), json!(1)),
        ("training_step", json!("-5"), json!(-5)),
        ("training_step", json!("+5"), json!(5)),
        ("params", json!(i64::MAX), json!(i64::MAX)),
        ("params", json!(i64::MIN), json!(i64::MIN)),
        ("checkpoint_size_bytes", json!("0"), json!(0)),
        ("training_loss", json!("0.25"), json!(0.25)),
        ("training_loss", json!(3), json!(3.0)),
        ("training_loss", json!(" 1e-3 "), json!(0.001)),
        ("frozen", json!(1), json!(true)),
        ("frozen", json!("yes"), json!(true)),
        ("frozen", json!("Y"), json!(true)),
        ("frozen", json!("on"), json!(true)),
        ("frozen", json!("t"), json!(true)),
        ("frozen", json!("TRUE"), json!(true)),
        ("frozen", json!(0), json!(false)),
        ("frozen", json!("no"), json!(false)),
        ("frozen", json!("off"), json!(false)),
        ("frozen", json!("f"), json!(false)),
        ("frozen", json!("false"), json!(false)),
        ("frozen", json!("n"), json!(false)),
        ("description", json!("12"), json!("12")),
        ("description", json!(null), json!(null)),
        ("training_step", json!(null), json!(null)),
        ("tags", json!(null), json!(null)),
    ]
    .into_iter()
    .enumerate()
    {
        let id = app.register_with("m", &version.to_string(), &json!({field: sent}));
        assert_eq!(app.model(id)[field].to_string(), kept.to_string(), "{field} {sent}");
    }
}

#[test]
fn the_configuration_fills_the_architecture_that_is_not_given() {
    let app = TestApp::spawn();
    let whole = json!({"d_model": 64, "n_layers": 2, "n_heads": 4, "vocab_size": 100, "other": 1});
    for (version, (fields, expected)) in [
        (json!({"config_json": {"architecture": whole}}), [json!(64), json!(2), json!(4), json!(100)]),
        (json!({"config_json": whole}), [json!(64), json!(2), json!(4), json!(100)]),
        (
            json!({"d_model": 1, "config_json": {"d_model": 64, "n_layers": 3}}),
            [json!(1), json!(3), json!(null), json!(null)],
        ),
        (
            json!({"config_json": {"architecture": "none", "d_model": 8}}),
            [json!(8), json!(null), json!(null), json!(null)],
        ),
        (json!({"config_json": {"d_model": "64"}}), [json!(null), json!(null), json!(null), json!(null)]),
        (json!({"config_json": null}), [json!(null), json!(null), json!(null), json!(null)]),
        (json!({"config_json": {}}), [json!(null), json!(null), json!(null), json!(null)]),
    ]
    .into_iter()
    .enumerate()
    {
        let model = app.model(app.register_with("m", &version.to_string(), &fields));
        let read = ["d_model", "n_layers", "n_heads", "vocab_size"].map(|field| model[field].clone());
        assert_eq!(read, expected, "{fields}");
        assert_eq!((&model["config_sha256"], &model["config_size_bytes"]), (&json!(null), &json!(null)));
        assert!(model.get("config_json").is_none());
    }
}

#[test]
fn empty_tags_and_metrics_are_none() {
    let app = TestApp::spawn();
    let model = app.model(app.register_with("m", "1", &json!({"tags": [], "metrics": {}})));
    assert_eq!((&model["tags"], &model["metrics"]), (&json!(null), &json!(null)));
    let model = app.model(app.register_with("m", "2", &json!({"tags": [""], "metrics": {"": null}})));
    assert_eq!((&model["tags"], &model["metrics"]), (&json!([""]), &json!({"": null})));
}

/// Registers `m` with metrics that are sent as this text, and gives the text they are answered in.
#[track_caller]
fn metrics_as_kept(app: &TestApp, version: usize, metrics: &str) -> String {
    let body =
        format!(r#"{{"name": "m", "version": "{version}", "artifact_uri": "s3://x", "metrics": {metrics}}}"#);
    let posted = app.request("POST", "/models", &[], Some(&body));
    assert_eq!(posted.status, 200, "{}", posted.text);
    let kept = app.get(&format!("/models/by-name/m/{version}")).text;
    assert_eq!(posted.text, kept);
    let (_, rest) = kept.split_once(r#""metrics":"#).unwrap();
    let (metrics, _) = rest.split_once(r#","created_at":"#).unwrap();
    metrics.to_owned()
}

#[test]
fn metrics_keep_their_digits_their_order_and_their_letters() {
    let app = TestApp::spawn();
    for (version, (sent, kept)) in [
        (r#"{"z": 1.0, "a": 1.50, "m": -0.0}"#, r#"{"z":1.0,"a":1.50,"m":-0.0}"#),
        (r#"{"big": 123456789012345678901234567890}"#, r#"{"big":123456789012345678901234567890}"#),
        (r#"{"x": 0.1234567890123456789}"#, r#"{"x":0.1234567890123456789}"#),
        (r#"{"тег": "\u0442\u0435\u0433 \ud83d\ude00"}"#, r#"{"тег":"тег 😀"}"#),
        (
            r#"{"t": "\"\\\/\b\f\n\r\t\u0000\u001f\u007f"}"#,
            "{\"t\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\u{7f}\"}",
        ),
        ("{\"u\": \"\u{2028}</script>\"}", "{\"u\":\"\u{2028}</script>\"}"),
        (r#" { "a" : [ 1 , { } , [ ] , null , true ] } "#, r#"{"a":[1,{},[],null,true]}"#),
        (r#"{"a": 1, "b": 2, "a": 3}"#, r#"{"a":3,"b":2}"#),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(metrics_as_kept(&app, version, sent), kept);
    }
}

#[test]
fn names_may_hold_any_character_and_are_found_by_them() {
    let app = TestApp::spawn();
    for name in [
        "na me/ü",
        "a%2Fb",
        "100%",
        "a+b",
        "?q=1#f",
        "..",
        "\"quoted\"",
        "a\u{0}b",
        "tab\tnewline\n",
        "тег",
        "😀",
        "{name}",
        "a\\b",
        "a;b,c",
        "promote",
        "by-name",
        "\u{202e}x",
    ] {
        let id = app.register(name, name);
        let raw = format!(
            "GET /models/by-name/{0}/{0} HTTP/1.1\r\nHost: x\r\nX-API-Key: test-key\r\n\r\n",
            encoded(name)
        );
        let found = app.exchange(raw.as_bytes()).ok();
        assert_eq!(
            (&found["id"], &found["name"], &found["version"]),
            (&json!(id), &json!(name), &json!(name))
        );
        assert_eq!(app.ids(&format!("/models?name={}", encoded(name))), [id], "{name:?}");
    }
}

#[test]
fn an_id_is_not_reused_after_its_version_is_deleted() {
    let app = TestApp::spawn();
    let first = app.register("m", "1");
    assert_eq!(app.delete(first).text, format!(r#"{{"status":"deleted","id":{first}}}"#));
    app.get(&format!("/models/{first}")).refused(404);
    app.delete(first).refused(404);
    let second = app.register("m", "1");
    assert!(second > first);
    let types: Vec<Value> = app.events(first).into_iter().map(|event| event["payload"].clone()).collect();
    let identity =
        json!({"name": "m", "version": "1", "status": "experimental", "artifact_uri": "s3://b/m/1"});
    assert_eq!(types, [identity.clone(), identity]);
    assert_eq!(app.event_types(first), ["create", "delete"]);
    assert_eq!(app.event_types(second), ["create"]);
}

#[test]
fn an_immutable_version_is_deleted_only_with_force() {
    let app = TestApp::spawn();
    let frozen = app.register_with("m", "1", &json!({"frozen": true}));
    let production = app.register_with("m", "2", &json!({"status": "production"}));
    let before = app.everything();
    for (id, why) in [(frozen, "frozen"), (production, "in production")] {
        for force in ["", "?force=false", "?force=0", "?force=no"] {
            let detail = app.request("DELETE", &format!("/models/{id}{force}"), &[], None).refused(409);
            assert!(detail.contains(why), "{detail}");
        }
        let path = format!("/models/{id}?force=perhaps");
        app.request("DELETE", &path, &[], None).faults(&[("bool_parsing", r#"["query","force"]"#)]);
    }
    assert_eq!(app.everything(), before);
    for (id, force) in [(frozen, "true"), (production, "1")] {
        app.request("DELETE", &format!("/models/{id}?force={force}"), &[], None).ok();
        assert_eq!(app.event_types(id), ["create", "delete"]);
    }
}
