//! Webhooks of MLflow's API, beyond the recorded case: what a receiver gets, and the other API.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    receiver::{Received, Receiver, Reply},
    support::TestApp,
};

fn app() -> TestApp {
    TestApp::with(|settings| {
        settings.deliveries.allowed = vec!["127.0.0.0/8".parse().unwrap()];
        settings.deliveries.first_pause_ms = 20;
    })
}

/// Creates a webhook through MLflow's API, which takes https only, and sends it to a receiver by `/v1`.
#[track_caller]
fn create(app: &TestApp, receiver: &Receiver, secret: Option<&str>, events: &[(&str, &str)]) -> String {
    let events: Vec<_> =
        events.iter().map(|(entity, action)| json!({"entity": entity, "action": action})).collect();
    let mut body = json!({"name": "hook", "url": "https://1.1.1.1/", "events": events});
    body["secret"] = secret.into();
    let id = app.mlflow("POST", "webhooks", body).ok()["webhook"]["webhook_id"].as_str().unwrap().to_owned();
    let url = json!({"url": receiver.url("/")}).to_string();
    app.request("PATCH", &format!("/v1/webhooks/{id}"), &[], Some(&url)).ok();
    id
}

fn signature(received: &Received, secret: &str) -> String {
    let header = |name: &str| received.headers[name].as_str();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let signed =
        format!("{}.{}.{}", header("x-mlflow-delivery-id"), header("x-mlflow-timestamp"), received.body);
    mac.update(signed.as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[test]
fn a_receiver_gets_mlflows_payloads_and_signature() {
    let (app, receiver) = (app(), Receiver::start());
    create(
        &app,
        &receiver,
        Some("s3cret"),
        &[
            ("REGISTERED_MODEL", "CREATED"),
            ("MODEL_VERSION", "CREATED"),
            ("MODEL_VERSION_TAG", "SET"),
            ("MODEL_VERSION_ALIAS", "DELETED"),
        ],
    );
    let model = json!({"name": "m", "description": "d", "tags": [{"key": "team", "value": "nlp"}]});
    app.mlflow("POST", "registered-models/create", model).ok();
    app.mlflow_version("m");
    let tag = json!({"name": "m", "version": "1", "key": "k", "value": "v"});
    app.mlflow("POST", "model-versions/set-tag", tag).ok();
    let alias = json!({"name": "m", "alias": "a", "version": "1"});
    app.mlflow("POST", "registered-models/alias", alias).ok();
    app.mlflow("DELETE", "registered-models/alias", json!({"name": "m", "alias": "a"})).ok();
    let received = receiver.wait_for(4);
    let expected = [
        json!({"entity": "registered_model", "action": "created",
            "data": {"name": "m", "tags": {"team": "nlp"}, "description": "d"}}),
        json!({"entity": "model_version", "action": "created",
            "data": {"name": "m", "version": "1", "source": "s3://b/m", "run_id": null, "tags": {}, "description": null}}),
        json!({"entity": "model_version_tag", "action": "set",
            "data": {"name": "m", "version": "1", "key": "k", "value": "v"}}),
        json!({"entity": "model_version_alias", "action": "deleted", "data": {"name": "m", "alias": "a"}}),
    ];
    for (received, expected) in received.iter().zip(expected) {
        let mut body = received.json();
        assert!(body.as_object_mut().unwrap().shift_remove("timestamp").unwrap().is_string());
        assert_eq!(body, expected);
        assert_eq!(received.headers["x-mlflow-signature"], signature(received, "s3cret"));
        assert!(!received.headers.contains_key("webhook-signature"));
    }
}

#[test]
fn a_test_answers_with_what_the_receiver_said() {
    let (app, receiver) = (app(), Receiver::with(|_| Reply::Status(403)));
    let id = create(&app, &receiver, None, &[("MODEL_VERSION", "CREATED"), ("PROMPT_TAG", "SET")]);
    let test = |body: Value| app.mlflow("POST", &format!("webhooks/{id}/test"), body).ok()["result"].clone();
    assert_eq!(test(json!({})), json!({"success": false, "response_status": 403, "response_body": ""}));
    test(json!({"event": {"entity": "PROMPT_TAG", "action": "SET"}}));
    let received = receiver.received();
    assert_eq!(received[0].json()["data"]["name"], "example_model");
    assert_eq!(
        received[1].json()["data"],
        json!({"name": "example_prompt", "key": "example_key", "value": "example_value"})
    );
    assert!(!received[0].headers.contains_key("x-mlflow-signature"), "it has no secret");
    let nowhere = json!({"url": "http://127.0.0.1:1/"}).to_string();
    app.request("PATCH", &format!("/v1/webhooks/{id}"), &[], Some(&nowhere)).ok();
    let failed = test(json!({}));
    assert_eq!(
        failed,
        json!({"success": false, "error_message": "Failed to test webhook: connection refused"})
    );
}

#[test]
fn webhooks_of_v1_are_not_those_of_mlflow() {
    let app = app();
    let own = json!({"name": "own", "url": "https://1.1.1.1/"}).to_string();
    let own = app.request("POST", "/v1/webhooks", &[], Some(&own)).json()["id"].as_str().unwrap().to_owned();
    assert_eq!(app.mlflow("GET", "webhooks", json!({})).ok(), json!({}));
    app.mlflow("DELETE", &format!("webhooks/{own}"), json!({})).mlflow_error(404, "RESOURCE_DOES_NOT_EXIST");
    let receiver = Receiver::start();
    let id = create(&app, &receiver, Some("s"), &[("MODEL_VERSION", "CREATED")]);
    let shown = app.get(&format!("/v1/webhooks/{id}")).ok();
    assert_eq!((&shown["api"], &shown["events"]), (&json!("mlflow"), &json!(["model_version.created"])));
    let wrong = json!({"events": ["promote"]}).to_string();
    assert_eq!(app.request("PATCH", &format!("/v1/webhooks/{id}"), &[], Some(&wrong)).status, 422);
    app.mlflow("PATCH", &format!("webhooks/{id}"), json!({"secret": "s3cret", "status": "DISABLED"})).ok();
    app.mlflow("DELETE", &format!("webhooks/{id}"), json!({})).ok();
    let trail = app.get("/v1/events").ok();
    let types: Vec<_> = trail["events"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(
        types,
        ["delete_webhook", "update_webhook", "update_webhook", "create_webhook", "create_webhook"]
    );
    assert_eq!(trail["events"][1]["payload"]["updated_fields"], json!(["status", "secret"]));
    assert!(!trail.to_string().contains("s3cret"), "{trail}");
}

#[test]
fn bad_input_has_mlflows_code() {
    let app = TestApp::spawn();
    let base = json!({"name": "h", "url": "https://1.1.1.1/", "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}]});
    for change in [
        json!({"events": []}),
        json!({"events": "x"}),
        json!({"events": ["x"]}),
        json!({"events": [{"entity": "NONE", "action": "CREATED"}]}),
        json!({"status": "ON"}),
        json!({"url": "https://"}),
        json!({"url": "https://u:p@e.org/"}),
        json!({"url": "https://[::ffff:127.0.0.1]/"}),
        json!({"url": "https://2130706433/"}),
        json!({"name": 7}),
    ] {
        let mut body = base.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        app.mlflow("POST", "webhooks", body).mlflow_error(400, "INVALID_PARAMETER_VALUE");
    }
    app.mlflow("GET", "webhooks?page_token=x", json!({})).mlflow_error(400, "INVALID_PARAMETER_VALUE");
    app.mlflow("POST", "webhooks/none/test", json!({})).mlflow_error(404, "RESOURCE_DOES_NOT_EXIST");
}
