//! What must hold of every body whatsoever, for the fuzzers in `fuzz/` and for the tests beneath: a body is refused with faults that
//! can be told, or read into something that is answered as it was sent.
//!
//! Built for tests and fuzzers only. Each function takes any bytes and panics where something does not hold.

#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "to panic is what they are for")]

use serde_json::{Value, json};

use crate::domain::{Draft, Patch, Refusal, Timestamp, json::MAX_DEPTH, json::depth};

use super::{
    super::{body::Fields, fault::Faults},
    answer::write_model,
    metrics::read_evaluation,
    models::{read_draft, read_patch},
};

/// Fields of an answer that no registration has.
const ANSWERED_ONLY: [&str; 5] =
    ["id", "created_at", "updated_at", "local_checkpoint_path", "local_config_path"];

/// Reads a body as handlers do; `None` where it was refused, which is held against what a refusal must be.
fn read<T>(body: &[u8], read: impl FnOnce(&mut Fields<'_>) -> Result<T, Refusal>) -> Option<T> {
    let mut faults = Faults::default();
    let mut fields = Fields::parse(body, &mut faults);
    let found = read(&mut fields);
    fields.finish();
    if !faults.is_empty() {
        let told = serde_json::to_string(&faults).expect("faults can be told");
        let told: Value = serde_json::from_str(&told).expect("what is told is JSON");
        let told = told.as_array().expect("faults are a list");
        assert!(!told.is_empty());
        for fault in told {
            assert!(fault["type"].as_str().is_some_and(|kind| !kind.is_empty()), "{fault}");
            assert!(fault["msg"].as_str().is_some_and(|message| !message.is_empty()), "{fault}");
            assert_eq!(fault["loc"][0], "body");
        }
        return None;
    }
    let sent: Value = serde_json::from_slice(body).expect("what is taken is JSON");
    assert!(sent.is_object() && depth(&sent) <= MAX_DEPTH);
    match found {
        Ok(found) => Some(found),
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            None
        }
    }
}

fn read_registration(body: &[u8]) -> Option<Draft> {
    let mut draft = read(body, read_draft)?;
    draft.resolve_artifact_uri().ok()?;
    Some(draft)
}

/// A registration that is taken is answered as JSON, and that answer registers the same again.
pub fn draft(body: &[u8]) {
    let Some(mut draft) = read_registration(body) else { return };
    let mut answer = Vec::new();
    write_model(&mut answer, &draft.clone().into_model(7, Timestamp::from_unix_millis(0)), false);
    let mut answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    let sent: Value = serde_json::from_slice(body).expect("what is taken is JSON");
    for field in ["name", "version", "description", "run_id"] {
        assert_eq!(answer[field], sent[field], "{field}");
    }
    for (field, empty) in [("tags", json!([])), ("metrics", json!({}))] {
        let kept = if sent[field] == empty { &Value::Null } else { &sent[field] };
        assert_eq!(&answer[field], kept, "{field}");
    }
    let fields = answer.as_object_mut().expect("an answer is an object");
    fields.retain(|field, _| !ANSWERED_ONLY.contains(&field.as_str()));
    let again = read_registration(answer.to_string().as_bytes()).expect("an answer is a registration");
    (draft.checkpoint.path, draft.config.path) = (None, None);
    assert_eq!(again, draft);
}

/// A change that is taken leaves a version that is answered as JSON, with what was sent in it.
pub fn patch(body: &[u8]) {
    let Some(patch): Option<Patch> = read(body, read_patch) else { return };
    let draft = Draft::named("m", "1").expect("a name and a version are given");
    let mut model = draft.into_model(7, Timestamp::from_unix_millis(0));
    patch.apply(&mut model);
    let mut answer = Vec::new();
    write_model(&mut answer, &model, true);
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    let sent: Value = serde_json::from_slice(body).expect("what is taken is JSON");
    for field in ["description", "run_id", "tags", "metrics"] {
        if !sent[field].is_null() {
            assert_eq!(answer[field], sent[field], "{field}");
        }
    }
}

/// Scores that are taken merge into what they made before, and stay what they were.
pub fn evaluation(body: &[u8]) {
    let Some(evaluation) = read(body, read_evaluation) else { return };
    let record = |prior: Option<&str>| {
        evaluation.clone().record(prior, "key:test…", Timestamp::from_unix_millis(0)).ok()
    };
    let Some(first) = record(None) else { return };
    let second = record(Some(&first.metrics)).expect("what was recorded is recorded again");
    assert_eq!(first.metrics, second.metrics);
    let kept: Value = serde_json::from_str(&second.metrics).expect("what is kept is JSON");
    let told: Value = serde_json::from_str(&second.event.payload).expect("an event is JSON");
    let scores = &kept["suites"][&evaluation.suite];
    for (key, score) in evaluation.metrics.iter().filter(|(key, _)| *key != "_meta") {
        assert_eq!(&scores[key], score);
        assert_eq!(&told["metrics"][key], score);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces that bodies are made of, some of them whole and some broken.
    const PIECES: [&str; 44] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1e400",
        "1.5",
        "12345678901234567890",
        "\"name\"",
        "\"version\"",
        "\"m\"",
        "\"artifact_uri\"",
        "\"metrics\"",
        "\"tags\"",
        "\"suite\"",
        "\"_meta\"",
        "\"params\"",
        "\"frozen\"",
        "\"status\"",
        "\"staging\"",
        "\"training_loss\"",
        "\"checkpoint_sha256\"",
        "\"suites\"",
        "\"config_json\"",
        "\"architecture\"",
        "\"d_model\"",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "\"$serde_json::private::Number\"",
        " ",
        "\n",
        "\u{feff}",
        "\"é\"",
        "\"yes\"",
        "\" 4 \"",
        "\"x\"",
    ];

    fn value() -> impl Strategy<Value = Value> {
        let number = "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            number.prop_map(|text| serde_json::from_str(&text).unwrap()),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".*", inner), 0..5)
                    .prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    /// A body that is taken more often than not, with any value in one of its fields.
    fn body() -> impl Strategy<Value = Value> {
        let fields = prop::sample::select(vec![
            "name",
            "version",
            "status",
            "artifact_uri",
            "checkpoint_sha256",
            "config_size_bytes",
            "frozen",
            "config_json",
            "d_model",
            "params",
            "training_loss",
            "description",
            "tags",
            "metrics",
            "suite",
            "eval_config",
            "unknown",
        ]);
        (prop::collection::vec((fields, value()), 0..3), any::<bool>()).prop_map(|(fields, scores)| {
            let mut body = if scores {
                json!({"suite": "s", "metrics": {}})
            } else {
                json!({"name": "m", "version": "1", "artifact_uri": "s3://x"})
            };
            for (field, value) in fields {
                body[field] = value;
            }
            body
        })
    }

    fn all(body: &[u8]) {
        draft(body);
        patch(body);
        evaluation(body);
    }

    #[test]
    fn what_is_meant_well_is_taken() {
        for body in [
            r#"{"name": "m", "version": "1", "artifact_uri": "s3://x", "metrics": {"a": [1.50, {"b": null}]}, "tags": ["a"]}"#,
            r#"{"suite": "s", "metrics": {"score": 0.5, "_meta": {"x": 1}}, "eval_config": {"k": []}}"#,
        ] {
            all(body.as_bytes());
        }
        assert!(read_registration(br#"{"name": "m", "version": "1", "artifact_uri": "s3://x"}"#).is_some());
        assert!(read(br#"{"suite": "s", "metrics": {}}"#, read_evaluation).is_some());
        assert!(read(br#"{"description": "d"}"#, read_patch).is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_break_a_reader(body in prop::collection::vec(any::<u8>(), 0..64)) {
            all(&body);
        }

        #[test]
        fn no_pieces_of_json_break_a_reader(pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..40)) {
            all(pieces.concat().as_bytes());
        }

        #[test]
        fn what_is_taken_is_answered_as_it_was_sent(body in body()) {
            all(body.to_string().as_bytes());
        }
    }
}
