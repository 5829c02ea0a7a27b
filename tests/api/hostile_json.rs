//! Hostile JSON bodies: each is refused with a reason or stored as sent, a refusal leaves nothing behind, and none costs
//! more than its size.

use std::{cell::Cell, time::Instant};

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::support::{Answer, BOUNDED, TestApp};

/// The limits of bodies.
const WRITE_BYTES: usize = 262_144;
const METRICS_BYTES: usize = 65_536;

#[track_caller]
fn post(app: &TestApp, path: &str, body: impl AsRef<[u8]>) -> Answer {
    app.send("POST", path, "", body)
}

/// Returns a registration whose last field is the text `field`.
fn registration(version: &str, field: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!(r#"{{"name":"m","version":"{version}","artifact_uri":"s3://x","#);
    [head.as_bytes(), field.as_ref(), b"}"].concat()
}

/// `inner` nested in lists, objects, or both in turn.
fn nested(levels: usize, kind: &str, inner: &str) -> String {
    let (open, close) = match kind {
        "lists" => ("[", "]"),
        "objects" => (r#"{"a":"#, "}"),
        _ => (r#"[{"a":"#, "}]"),
    };
    let times = if kind == "both" { levels / 2 } else { levels };
    open.repeat(times) + inner + &close.repeat(times)
}

/// Returns the type of the one fault of a body.
#[track_caller]
fn fault(answer: Answer) -> (String, String) {
    assert_eq!(answer.status, 422, "{}", answer.text);
    let faults = answer.json()["detail"].clone();
    assert_eq!(faults.as_array().map(Vec::len), Some(1), "{faults}");
    assert_eq!(faults[0]["loc"], json!(["body"]));
    let text = |field: &str| faults[0][field].as_str().unwrap().to_owned();
    (text("type"), text("msg"))
}

#[test]
fn values_that_are_not_json_objects_are_refused_with_their_location_and_change_nothing() {
    let app = TestApp::spawn();
    app.register("kept", "1");
    let before = app.everything();
    let whole = registration("2", r#""frozen":false"#);
    let with = |before: &[u8], after: &[u8]| [before, &whole, after].concat();
    for (body, kind, word) in [
        (Vec::new(), "missing", "required"),
        (b" \r\n\t".to_vec(), "json_invalid", "EOF"),
        (b"\0".to_vec(), "json_invalid", "line 1 column 1"),
        (with(b"\xef\xbb\xbf", b""), "json_invalid", "line 1 column 1"),
        (with(b"\xc2\xa0", b""), "json_invalid", "line 1 column 1"),
        (with(b"/**/", b""), "json_invalid", "line 1 column 1"),
        (with(b"", b"x"), "json_invalid", "trailing"),
        (with(b"", b"\0"), "json_invalid", "trailing"),
        (with(b"", b"\n{}"), "json_invalid", "trailing characters at line 2 column 1"),
        (with(b"", &whole), "json_invalid", "trailing"),
        (whole[..whole.len() - 1].to_vec(), "json_invalid", "EOF"),
        (registration("2", r#""frozen":false,"#), "json_invalid", "trailing comma"),
        (b"{'name':'m'}".to_vec(), "json_invalid", "key must be a string"),
        (b"[]".to_vec(), "model_attributes_type", "dictionary"),
        (b"null".to_vec(), "model_attributes_type", "dictionary"),
        (b"\"{}\"".to_vec(), "model_attributes_type", "dictionary"),
        (b"1".to_vec(), "model_attributes_type", "dictionary"),
        (
            String::from_utf8(whole.clone()).unwrap().encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "json_invalid",
            "key must be a string",
        ),
        (registration("2", r#""description":NaN"#), "json_invalid", "expected value"),
        (registration("2", r#""metrics":{"a":Infinity}"#), "json_invalid", "expected value"),
        (registration("2", r#""params":01"#), "json_invalid", "invalid number"),
        (registration("2", r#""params":+1"#), "json_invalid", "expected value"),
        (registration("2", r#""params":1."#), "json_invalid", "invalid number"),
        (registration("2", r#""params":0x1"#), "json_invalid", "expected `,` or `}`"),
        (registration("2", b"\"description\":\"a\x00b\""), "json_invalid", "control character"),
        (registration("2", b"\"description\":\"a\nb\""), "json_invalid", "control character"),
        (registration("2", b"\"description\":\"\xff\""), "json_invalid", "unicode"),
        (registration("2", b"\"description\":\"\xc0\xaf\""), "json_invalid", "unicode"),
        (registration("2", b"\"description\":\"\xed\xa0\x80\""), "json_invalid", "unicode"),
        (registration("2", b"\"description\":\"\xf4\x90\x80\x80\""), "json_invalid", "unicode"),
        (registration("2", b"\"\xff\":1"), "json_invalid", "unicode"),
        (registration("2", r#""description":"\ud800""#), "json_invalid", "hex escape"),
        (registration("2", r#""description":"\udc00""#), "json_invalid", "surrogate"),
        (registration("2", r#""description":"\udc00\ud800""#), "json_invalid", "surrogate"),
        (registration("2", r#""metrics":{"\ud800":1}"#), "json_invalid", "hex escape"),
        (registration("2", r#""tags":["\ud800\u0041"]"#), "json_invalid", "surrogate"),
        (registration("2", r#""description":"\u12g4""#), "json_invalid", "escape"),
        (registration("2", r#""description":"\x41""#), "json_invalid", "escape"),
        (registration("2", r#""metrics":{"$serde_json::private::Number":"1"}"#), "json_invalid", "reserves"),
        (
            registration("2", r#""metrics":{"a":[{"\u0024serde_json::private::Number":1}]}"#),
            "json_invalid",
            "reserves",
        ),
    ] {
        let shown = String::from_utf8_lossy(&body).into_owned();
        for (method, path) in [("POST", "/models"), ("PATCH", "/models/1"), ("POST", "/models/1/metrics")] {
            let (found, message) = fault(app.send(method, path, "", &body));
            assert!(found == kind && message.contains(word), "{method} {shown}: {found}: {message}");
        }
    }
    assert_eq!(app.everything(), before);
}

#[test]
fn too_deep_nesting_is_refused_in_every_field_and_allowed_nesting_is_returned() {
    let app = TestApp::spawn();
    app.register("kept", "1");
    let before = app.everything();
    for kind in ["lists", "objects", "both"] {
        for levels in [96, 126, 128, 10_000] {
            for field in ["metrics", "config_json", "description", "unknown"] {
                let body = registration("2", format!(r#""{field}":{}"#, nested(levels, kind, "1")));
                for (method, path) in
                    [("POST", "/models"), ("PATCH", "/models/1"), ("POST", "/models/1/metrics")]
                {
                    let (found, message) = fault(app.send(method, path, "", &body));
                    assert_eq!(found, "json_invalid", "{levels} {kind}");
                    assert!(message.contains("deeper") || message.contains("recursion"), "{message}");
                }
            }
        }
        for open in [r#"{"a":["#, "[", r#"{"a":"#] {
            fault(post(&app, "/models", open.repeat(WRITE_BYTES / open.len())));
        }
    }
    assert_eq!(app.everything(), before);
    // The body is one level, `metrics` the next.
    for (version, kind) in ["lists", "objects", "both"].into_iter().enumerate() {
        let value: Value = serde_json::from_str(&nested(94, kind, "1")).unwrap();
        let body = registration(&version.to_string(), format!(r#""metrics":{{"deep":{value}}}"#));
        let model = post(&app, "/models", body).ok();
        assert_eq!(model["metrics"], json!({"deep": value}));
        let id = model["id"].as_i64().unwrap();
        // Scores are stored two levels deeper, and merged once more.
        for suite in ["s", "s", "t"] {
            app.record(id, suite, json!({"deep": value})).ok();
        }
        assert_eq!(app.model(id)["metrics"]["suites"]["t"]["deep"], value);
        assert_eq!(app.last_payload(id)["metrics"]["deep"], value);
    }
}

#[test]
fn numbers_of_any_size_are_read_exactly_or_refused() {
    let app = TestApp::spawn();
    let ones = "1".repeat(400);
    let tiny = format!("0.{}1", "0".repeat(400));
    for (index, (sent, loss, step)) in [
        ("1e400", "float_parsing", "int_parsing_size"),
        ("-1e400", "float_parsing", "int_parsing_size"),
        ("1e-400", "0.0", "0"),
        ("-0", "-0.0", "0"),
        ("-0.0", "-0.0", "0"),
        ("1E3", "1000.0", "1000"),
        ("9223372036854775807", "9.223372036854775807e18", "9223372036854775807"),
        ("9223372036854775808", "9.223372036854775807e18", "int_parsing_size"),
        ("-9223372036854775809", "-9.223372036854775807e18", "int_parsing_size"),
        ("1e99999999999999999999", "float_parsing", "int_parsing_size"),
        ("1e-99999999999999999999", "0.0", "0"),
        (&ones, "float_parsing", "int_parsing_size"),
        (&format!("{ones}.5"), "float_parsing", "int_parsing_size"),
        // Its fraction is below the precision of a float.
        (&tiny, "0.0", "0"),
    ]
    .into_iter()
    .enumerate()
    {
        for (field, expected) in [("training_loss", loss), ("training_step", step)] {
            let answer = post(
                &app,
                "/models",
                registration(&format!("{index} {field}"), format!(r#""{field}":{sent}"#)),
            );
            match expected.parse::<f64>() {
                Ok(expected) => assert_eq!(answer.ok()[field].as_f64(), Some(expected), "{field} {sent}"),
                Err(_) => answer.faults(&[(expected, &format!(r#"["body","{field}"]"#))]),
            }
        }
        // In fields of any number, every digit is kept.
        let body = registration(&format!("{index} metrics"), format!(r#""metrics":{{"a":{sent}}}"#));
        let kept = post(&app, "/models", body).ok()["metrics"]["a"].to_string();
        assert_eq!(kept, serde_json::from_str::<Value>(sent).unwrap().to_string());
    }
}

#[test]
fn only_the_last_of_two_fields_with_the_same_name_is_read() {
    let app = TestApp::spawn();
    let body = r#"{"name":5,"version":"1","version":"2","name":"m","artifact_uri":"s3://x","metrics":{"a":1,"b":2,"a":3}}"#;
    let model = post(&app, "/models", body).ok();
    assert_eq!((&model["name"], &model["version"]), (&json!("m"), &json!("2")));
    assert_eq!(model["metrics"].to_string(), r#"{"a":3,"b":2}"#);
    let body = r#"{"name":"m","version":"3","artifact_uri":"s3://x","params":1,"params":"x"}"#;
    post(&app, "/models", body).faults(&[("int_parsing", r#"["body","params"]"#)]);
    assert_eq!(app.get("/stats").ok()["total_models"], 1);
}

/// Returns the worst bodies for a registration: of each kind, the one that should cost the most for its size.
fn heavy() -> Vec<(&'static str, Vec<u8>)> {
    let many = |one: &dyn Fn(usize) -> String, room: usize| {
        let mut text = String::new();
        for index in 0.. {
            let next = one(index);
            if text.len() + next.len() + 1 > room {
                break;
            }
            text.push_str(if text.is_empty() { "" } else { "," });
            text.push_str(&next);
        }
        text
    };
    let room = WRITE_BYTES - 64;
    let number = |text: String| registration("1", format!(r#""params":{text}"#));
    vec![
        ("open lists", "[".repeat(WRITE_BYTES).into()),
        ("open objects", r#"{"a":"#.repeat(WRITE_BYTES / 5).into()),
        ("one key", format!("{{{}}}", many(&|_| r#""a":1"#.to_owned(), room)).into()),
        ("one escaped key", format!("{{{}}}", many(&|_| r#""\u0041":1"#.to_owned(), room)).into()),
        ("unknown fields", format!("{{{}}}", many(&|index| format!(r#""{index:x}":0"#), room)).into()),
        ("wrong tags", format!(r#"{{"tags":[{}]}}"#, many(&|_| "0".to_owned(), room)).into()),
        ("texts", format!(r#"{{"unknown":[{}]}}"#, many(&|_| "\"\"".to_owned(), room)).into()),
        ("quotes", "\"".repeat(WRITE_BYTES).into()),
        ("keys and spaces", r#""\u0041" "#.repeat(WRITE_BYTES / 9).into()),
        ("backslashes", format!(r#"{{"a":"{}"#, "\\".repeat(room)).into()),
        ("spaces", " ".repeat(WRITE_BYTES).into()),
        ("digits", number("1".repeat(room - 64))),
        ("digits behind a point", number(format!("0.{}", "1".repeat(room - 64)))),
        ("digits of an exponent", number(format!("1e{}", "9".repeat(room - 64)))),
        ("digits with underscores", number(format!("\"{}\"", "1_".repeat((room - 64) / 2)))),
        ("bytes that are not text", vec![0xff; WRITE_BYTES]),
    ]
}

#[test]
fn the_worst_bodies_get_quick_and_small_answers() {
    let app = TestApp::spawn();
    app.register("kept", "1");
    let before = app.everything();
    for (what, body) in heavy() {
        assert!(body.len() <= WRITE_BYTES, "{what}");
        let asked = Instant::now();
        let answer = post(&app, "/models", &body);
        assert!(asked.elapsed() < BOUNDED, "{what} took {:?}", asked.elapsed());
        assert!((400..500).contains(&answer.status), "{what}: {}", answer.status);
        // The answer repeats the invalid values, and for two missing fields the whole body.
        assert!(answer.text.len() < 4 * WRITE_BYTES, "{what}: {} bytes", answer.text.len());
    }
    for body in ["[".repeat(METRICS_BYTES), r#"{"a":"#.repeat(METRICS_BYTES / 5)] {
        fault(post(&app, "/models/1/metrics", body));
    }
    assert_eq!(app.everything(), before);
}

#[test]
fn a_request_with_very_many_faults_lists_1000_and_counts_the_rest() {
    let app = TestApp::spawn();
    let tags = vec![0; 1_200];
    let answer =
        app.post("/models", &json!({"name": "m", "version": "1", "artifact_uri": "s3://x", "tags": tags}));
    assert_eq!(answer.status, 422);
    let faults = answer.json()["detail"].clone();
    let faults = faults.as_array().unwrap();
    assert_eq!((faults.len(), &faults[999]["loc"][2]), (1_000, &json!(999)));
    assert!(faults[999]["msg"].as_str().unwrap().ends_with("; 200 more faults are not listed"));
}

/// Any JSON value, with unusual numbers and texts.
fn any_value() -> impl Strategy<Value = Value> {
    let number = "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number.prop_map(|text| serde_json::from_str(&text).unwrap()),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[test]
fn every_body_is_refused_whole_or_stored_and_returned() {
    let app = TestApp::spawn();
    let fields = prop::sample::select(vec![
        "name",
        "version",
        "status",
        "artifact_uri",
        "checkpoint_sha256",
        "frozen",
        "config_json",
        "d_model",
        "training_loss",
        "description",
        "run_id",
        "tags",
        "metrics",
        "unknown",
    ]);
    let objects = prop::collection::vec((any::<String>(), any_value()), 0..6)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()));
    let body = (
        prop::collection::vec((fields, any_value()), 0..3),
        objects,
        prop::collection::vec(any::<String>(), 0..5),
    );
    let total = || app.get("/stats").ok()["total_models"].as_u64().unwrap();
    let (stored, versions) = (Cell::new(0_u64), Cell::new(0_u64));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let ran = runner.run(&body, |(fields, metrics, tags)| {
        versions.set(versions.get() + 1);
        let version = versions.get();
        let mut sent = json!({"name": "m", "version": version.to_string(), "artifact_uri": "s3://x", "metrics": metrics, "tags": tags});
        for (field, value) in fields {
            sent[field] = value;
        }
        let answer = post(&app, "/models", sent.to_string());
        if answer.status != 200 {
            prop_assert!([400, 409, 422].contains(&answer.status), "{} for {sent}: {}", answer.status, answer.text);
            prop_assert!(!answer.json()["detail"].is_null());
            prop_assert_eq!(total(), stored.get());
            return Ok(());
        }
        stored.set(stored.get() + 1);
        let model = answer.json();
        prop_assert_eq!(app.model(model["id"].as_i64().unwrap()), model.clone());
        for (field, empty) in [("name", json!("")), ("version", json!("")), ("description", json!(null)), ("tags", json!([])), ("metrics", json!({}))] {
            let kept = if sent[field] == empty { &Value::Null } else { &sent[field] };
            prop_assert_eq!(&model[field], kept, "{}", field);
        }
        Ok(())
    });
    ran.unwrap();
    let stored = stored.get();
    assert!(stored > 20 && stored < 200, "{stored} of 200 were stored");
    assert_eq!(total(), stored);
}
