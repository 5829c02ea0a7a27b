//! Properties of all request bodies, for the fuzzers in `fuzz/` and the tests below: a body is refused with faults that
//! can be serialized, or accepted and answered as it was sent.
//!
//! Built for tests and fuzzers only. Each function accepts any bytes and panics if a property does not hold.

#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a panic is how a property fails")]

use serde_json::{Value, json};

use crate::domain::{Draft, Patch, Refusal, Timestamp, json::MAX_DEPTH, json::depth};

use super::{
    super::{
        fault::Faults,
        fields::{Fields, read_evaluation},
        json::native::write_model,
    },
    models::{read_draft, read_patch},
};

/// Fields that an answer has and a registration does not.
const ANSWER_FIELDS: [&str; 5] =
    ["id", "created_at", "updated_at", "local_checkpoint_path", "local_config_path"];

/// Reads a body as handlers do. Returns `None` if it is refused, after checking the refusal.
fn read<T>(body: &[u8], read: impl FnOnce(&mut Fields<'_>) -> Result<T, Refusal>) -> Option<T> {
    let mut faults = Faults::default();
    let mut fields = Fields::parse(body, false, &mut faults);
    let result = read(&mut fields);
    fields.finish();
    let faults = serde_json::to_value(faults.take()).expect("faults serialize");
    let faults = faults.as_array().expect("faults are a list");
    if !faults.is_empty() {
        for fault in faults {
            assert!(fault["type"].as_str().is_some_and(|name| !name.is_empty()), "{fault}");
            assert!(fault["msg"].as_str().is_some_and(|message| !message.is_empty()), "{fault}");
            assert_eq!(fault["loc"][0], "body");
        }
        return None;
    }
    let sent: Value = serde_json::from_slice(body).expect("an accepted body is JSON");
    assert!(sent.is_object() && depth(&sent) <= MAX_DEPTH);
    result.inspect_err(|refusal| assert!(!refusal.to_string().is_empty())).ok()
}

fn read_registration(body: &[u8]) -> Option<Draft> {
    let mut draft = read(body, read_draft)?;
    draft.resolve_artifact_uri().ok()?;
    Some(draft)
}

/// An accepted registration is answered as JSON, and that answer registers the same again.
pub fn draft(body: &[u8]) {
    let Some(mut draft) = read_registration(body) else { return };
    let mut answer = Vec::new();
    write_model(&mut answer, &draft.clone().into_version(Timestamp::from_unix_millis(0)), false);
    let mut answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    let sent: Value = serde_json::from_slice(body).expect("an accepted body is JSON");
    for field in ["name", "version", "description", "run_id"] {
        assert_eq!(answer[field], sent[field], "{field}");
    }
    for (field, empty) in [("tags", json!([])), ("metrics", json!({}))] {
        let kept = if sent[field] == empty { &Value::Null } else { &sent[field] };
        assert_eq!(&answer[field], kept, "{field}");
    }
    let fields = answer.as_object_mut().expect("an answer is an object");
    fields.retain(|field, _| !ANSWER_FIELDS.contains(&field.as_str()));
    let again = read_registration(answer.to_string().as_bytes()).expect("an answer is a registration");
    (draft.checkpoint.path, draft.config.path) = (None, None);
    assert_eq!(again, draft);
}

/// An accepted change yields a version that is answered as JSON with the values that were sent.
pub fn patch(body: &[u8]) {
    let Some(patch): Option<Patch> = read(body, read_patch) else { return };
    let draft = Draft::named("m", "1").expect("name and version are given");
    let mut model = draft.into_version(Timestamp::from_unix_millis(0));
    patch.apply(&mut model);
    let mut answer = Vec::new();
    write_model(&mut answer, &model, true);
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    let sent: Value = serde_json::from_slice(body).expect("an accepted body is JSON");
    for field in ["description", "run_id", "tags", "metrics"] {
        if !sent[field].is_null() {
            assert_eq!(answer[field], sent[field], "{field}");
        }
    }
}

/// Accepted scores can be merged twice with the same result, and keep their values.
pub fn evaluation(body: &[u8]) {
    let Some(evaluation) = read(body, read_evaluation) else { return };
    let record =
        |prior: Option<&str>| evaluation.record(prior, "key:test…", Timestamp::from_unix_millis(0)).ok();
    let Some(first) = record(None) else { return };
    let second = record(Some(&first.metrics)).expect("recorded scores can be recorded again");
    assert_eq!(first.metrics, second.metrics);
    let kept: Value = serde_json::from_str(&second.metrics).expect("stored metrics are JSON");
    let payload: Value = serde_json::from_str(&second.event.payload).expect("a payload is JSON");
    let scores = &kept["suites"][&evaluation.suite];
    for (key, score) in evaluation.metrics.iter().filter(|(key, _)| *key != "_meta") {
        assert_eq!(&scores[key], score);
        assert_eq!(&payload["metrics"][key], score);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tokens of bodies, separated by spaces; some are broken on purpose.
    const TOKENS: &str = concat!(
        r#"{ } [ ] , : " \ null true false 0 -0 1e400 1.5 12345678901234567890 "name" "version" "m" "artifact_uri" "#,
        r#""metrics" "tags" "suite" "_meta" "params" "frozen" "status" "staging" "training_loss" "checkpoint_sha256" "#,
        r#""suites" "config_json" "architecture" "d_model" "\ud800" "\u0000" "$serde_json::private::Number" "é" "yes" "x" "#,
        "\u{feff}"
    );

    fn all(body: &[u8]) {
        draft(body);
        patch(body);
        evaluation(body);
    }

    #[test]
    fn valid_bodies_are_accepted() {
        assert!(read_registration(br#"{"name": "m", "version": "1", "artifact_uri": "s3://x"}"#).is_some());
        assert!(read(br#"{"suite": "s", "metrics": {}}"#, read_evaluation).is_some());
        assert!(read(br#"{"description": "d"}"#, read_patch).is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            all(&body);
        }

        #[test]
        fn no_json_tokens_make_a_reader_panic(
            tokens in prop::collection::vec(prop::sample::select(TOKENS.split(' ').collect::<Vec<_>>()), 0..40),
        ) {
            all(tokens.concat().as_bytes());
        }
    }
}
