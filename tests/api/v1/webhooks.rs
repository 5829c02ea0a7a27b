//! `/v1/webhooks`, with real receivers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use model_registry::domain::EventKind;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    receiver::{Received, Receiver, Reply, until},
    support::{Answer, TestApp},
};

use super::each;

const HOUR_MS: i64 = 3_600_000;

/// A server that may call loopback and soon tries again.
fn app() -> TestApp {
    TestApp::with(|settings| {
        settings.deliveries.allowed = vec!["127.0.0.0/8".parse().unwrap()];
        settings.deliveries.first_pause_ms = 20;
    })
}

#[track_caller]
fn create(app: &TestApp, body: Value) -> Value {
    let mut webhook = json!({"name": "w"});
    webhook.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    app.v1("POST", "/v1/webhooks", webhook).created()
}

fn path(webhook: &Value) -> String {
    format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap())
}

#[track_caller]
fn deliveries(app: &TestApp, webhook: &Value) -> Vec<Value> {
    let page = app.get(&format!("{}/deliveries?limit=500", path(webhook))).ok();
    page["deliveries"].as_array().unwrap().iter().rev().cloned().collect()
}

/// Waits until the states of a webhook's deliveries are these, from the oldest on, and returns the deliveries.
#[track_caller]
fn wait_for_states(app: &TestApp, webhook: &Value, states: &[&str]) -> Vec<Value> {
    until(&format!("{states:?}"), || {
        let found = deliveries(app, webhook);
        (each(&json!(found), "state") == states).then_some(found)
    })
}

fn is_signed_by(received: &Received, secret: &str) -> bool {
    let header = |name: &str| received.headers[name].as_str();
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), received.body);
    mac.update(signed.as_bytes());
    let expected = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    header("webhook-signature").split(' ').any(|signature| signature == expected)
}

#[test]
fn events_are_delivered_in_order_signed_and_with_the_fields_of_the_trail() {
    let (app, receiver) = (app(), Receiver::start());
    app.add("before", "1");
    let webhook = create(&app, json!({"url": receiver.url("/hook?x=1")}));
    app.add("m", "a");
    app.v1("PUT", "/v1/models/m/aliases/production", json!({"version": 1, "reason": "it is good"})).ok();
    app.v1("PUT", "/v1/models/m/versions/1/tags/team", json!({"value": "nlp"})).ok();
    app.v1("PATCH", "/v1/models/m", json!({"description": "d"})).ok();
    let received = receiver.wait_for(4);
    let trail = app.trail("model=m");
    for (received, event) in received.iter().zip(&trail) {
        assert_eq!(received.path, "/hook?x=1");
        assert!(is_signed_by(received, webhook["secret"].as_str().unwrap()));
        let body = received.json();
        assert_eq!((&body["type"], &body["timestamp"]), (&event["type"], &event["created_at"]));
        let mut data = body["data"].clone();
        let of_version = event["version"].is_number();
        let label = data.as_object_mut().unwrap().shift_remove("label").unwrap();
        assert_eq!(label, if of_version { json!("a") } else { Value::Null });
        data.as_object_mut().unwrap().shift_remove("status").unwrap();
        let mut event = event.clone();
        event.as_object_mut().unwrap().shift_remove("hash").unwrap();
        assert_eq!(data, event);
    }
    assert_eq!(received[1].json()["data"]["status"], "production");
    let log = wait_for_states(&app, &webhook, &["delivered"; 4]);
    assert_eq!(each(&json!(log), "event"), each(&json!(trail), "id"));
    assert_eq!(log[0]["message_id"], received[0].headers["webhook-id"]);
    assert_eq!(
        (&log[0]["status"], &log[0]["attempts"], &log[0]["error"]),
        (&json!(204), &json!(1), &Value::Null)
    );
    assert!(log[0]["latency_ms"].as_i64().unwrap() < 10_000);
    let metrics = app.get("/metrics").text;
    assert!(metrics.contains("registry_webhook_deliveries_delivered_total 4"), "{metrics}");
    assert!(metrics.contains("registry_webhook_deliveries_pending 0"), "{metrics}");
}

#[test]
fn only_events_of_its_types_models_and_versions_go_to_a_webhook() {
    let (app, receiver) = (app(), Receiver::start());
    for (path, body) in [
        ("/types", json!({"events": ["promote", "auto_demote"]})),
        ("/model", json!({"model": "n*"})),
        ("/filter", json!({"filter": "tags.team = 'nlp'"})),
        ("/off", json!({"status": "disabled"})),
    ] {
        let mut body = body;
        body["url"] = receiver.url(path).into();
        create(&app, body);
    }
    app.add("m", "1");
    app.add_with("n/1", "1", json!({"tags": {"team": "nlp"}}));
    app.v1("PUT", "/v1/models/m/aliases/production", json!({"version": 1})).ok();
    let mut received: Vec<_> = receiver
        .wait_for(3)
        .iter()
        .map(|got| format!("{} {} {}", got.path, got.json()["data"]["model"], got.json()["type"]))
        .collect();
    received.sort();
    let expected = [r#"/filter "n/1" "create""#, r#"/model "n/1" "create""#, r#"/types "m" "promote""#];
    assert_eq!(received, expected);
}

#[test]
fn a_delivery_that_fails_is_repeated_and_holds_back_only_its_own_model() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    let (app, receiver) = (
        app(),
        Receiver::with(move |got| {
            let fails = got.json()["data"]["model"] == "m" && down.load(Ordering::SeqCst);
            Reply::Status(if fails { 503 } else { 200 })
        }),
    );
    let webhook = create(&app, json!({"url": receiver.url("/")}));
    app.add("m", "1");
    app.add("m", "2");
    app.add("n", "1");
    let log = wait_for_states(&app, &webhook, &["pending", "pending", "delivered"]);
    assert_eq!(log[1]["attempts"], 0, "{log:?}");
    receiver.wait_for(5);
    is_down.store(false, Ordering::SeqCst);
    let log = wait_for_states(&app, &webhook, &["delivered"; 3]);
    assert!(log[0]["attempts"].as_i64().unwrap() > 1, "{log:?}");
    let received = receiver.received();
    let of_m: Vec<_> = received.iter().filter(|got| got.json()["data"]["model"] == "m").collect();
    let (last, first) = of_m.split_last().unwrap();
    assert_eq!(last.json()["data"]["label"], "2");
    assert!(first.iter().all(|got| got.json()["data"]["label"] == "1"));
    assert!(first.iter().all(|got| got.headers["webhook-id"] == first[0].headers["webhook-id"]));
    assert_ne!(last.headers["webhook-id"], first[0].headers["webhook-id"]);
}

#[test]
fn a_delivery_that_fails_for_a_day_is_parked_and_can_be_replayed() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    let (app, receiver) = (
        app(),
        Receiver::with(move |got| {
            let fails = got.json()["data"]["label"] == "1" && down.load(Ordering::SeqCst);
            Reply::Status(if fails { 500 } else { 200 })
        }),
    );
    let start = 1_769_864_709_250;
    app.clock.stop_at(start);
    let webhook = create(&app, json!({"url": receiver.url("/")}));
    app.add("m", "1");
    app.add("m", "2");
    receiver.wait_for(1);
    wait_for_states(&app, &webhook, &["pending", "pending"]);
    app.clock.stop_at(start + 25 * HOUR_MS);
    let log = wait_for_states(&app, &webhook, &["parked", "delivered"]);
    assert_eq!((&log[0]["status"], &log[0]["next_attempt_at"]), (&json!(500), &Value::Null));
    let parked = app.get(&format!("{}/deliveries?state=parked", path(&webhook))).ok();
    assert_eq!(each(&parked["deliveries"], "event"), [log[0]["event"].clone()]);
    is_down.store(false, Ordering::SeqCst);
    let replay = |body: Value| app.v1("POST", &format!("{}/replay", path(&webhook)), body);
    assert_eq!(replay(json!({"event": log[0]["event"]})).ok(), json!({"replayed": 1}));
    wait_for_states(&app, &webhook, &["delivered", "delivered"]);
    let before = receiver.received().len();
    assert_eq!(replay(json!({"since": "2026-01-31T13:00:00Z"})).ok(), json!({"replayed": 2}));
    let again = receiver.wait_for(before + 2).split_off(before);
    let labels: Vec<_> = again.iter().map(|got| got.json()["data"]["label"].clone()).collect();
    assert_eq!(labels, ["1", "2"]);
    assert_eq!(replay(json!({"since": "2026-02-07"})).ok(), json!({"replayed": 0}));
    replay(json!({"event": 999})).error(404, "not_found");
    for body in [json!({}), json!({"event": 1, "since": "2026-01-31"}), json!({"event": null})] {
        assert_eq!(replay(body.clone()).status, 422, "{body}");
    }
}

#[test]
fn a_receiver_that_never_answers_or_answers_nonsense_holds_back_no_other() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let target = Receiver::start();
    let inner = target.url("/inner");
    let bad = Receiver::with(move |got| match got.path.as_str() {
        "/silent" => Reply::Silence,
        "/large" => Reply::Bytes(100 << 20),
        "/redirect" => Reply::Redirect(inner.clone()),
        _ => {
            counted.fetch_add(1, Ordering::SeqCst);
            Reply::HangUp
        }
    });
    let (app, good) = (app(), Receiver::start());
    let webhook = |url: String| create(&app, json!({"url": url}));
    let silent: Vec<_> = (0..3).map(|_| webhook(bad.url("/silent"))).collect();
    let (large, redirect, hang_up) =
        (webhook(bad.url("/large")), webhook(bad.url("/redirect")), webhook(bad.url("/hang-up")));
    let refused = webhook("http://127.0.0.1:1/".to_owned());
    let well = webhook(good.url("/"));
    for number in 0..20 {
        app.add(&format!("m{}", number % 4), &number.to_string());
    }
    // All of this happens while three receivers are silent, for 10 seconds each.
    wait_for_states(&app, &well, &["delivered"; 20]);
    wait_for_states(&app, &large, &["delivered"; 20]);
    let last = |webhook: &Value| {
        until("a failed attempt", || {
            let log = deliveries(&app, webhook);
            log.into_iter().find(|one| one["attempts"].as_i64() > Some(1))
        })
    };
    let redirected = last(&redirect);
    assert_eq!((&redirected["status"], &redirected["state"]), (&json!(302), &json!("pending")));
    assert!(redirected["error"].as_str().unwrap().starts_with("it redirects"), "{redirected}");
    assert!(target.received().is_empty(), "a redirect is not followed");
    assert_eq!(last(&refused)["error"], "connection refused");
    assert_eq!((&last(&hang_up)["status"], seen.load(Ordering::SeqCst) > 1), (&Value::Null, true));
    assert!(deliveries(&app, &silent[0]).iter().all(|one| one["state"] == "pending"));
}

#[test]
fn a_test_sends_a_ping_and_says_what_came_of_it() {
    let (app, receiver) =
        (app(), Receiver::with(|got| Reply::Status(if got.path == "/bad" { 418 } else { 200 })));
    let (good, bad) =
        (create(&app, json!({"url": receiver.url("/")})), create(&app, json!({"url": receiver.url("/bad")})));
    let test = |webhook: &Value| app.v1("POST", &format!("{}/test", path(webhook)), Value::Null).ok();
    let answer = test(&good);
    assert_eq!(
        (&answer["delivered"], &answer["status"], &answer["error"]),
        (&json!(true), &json!(200), &Value::Null)
    );
    assert!(answer["latency_ms"].is_number());
    let ping = receiver.received().remove(0);
    assert_eq!(
        (&ping.json()["type"], &ping.json()["data"]),
        (&json!("ping"), &json!({"webhook": good["id"]}))
    );
    assert!(is_signed_by(&ping, good["secret"].as_str().unwrap()));
    assert_eq!((&test(&bad)["delivered"], &test(&bad)["status"]), (&json!(false), &json!(418)));
    let nowhere = create(&app, json!({"url": "http://127.0.0.1:1/"}));
    assert_eq!(test(&nowhere)["error"], "connection refused");
    assert_eq!(deliveries(&app, &good), Vec::<Value>::new());
    app.v1("POST", "/v1/webhooks/none/test", Value::Null).error(404, "not_found");
}

#[test]
fn a_key_of_some_models_tests_and_redirects_only_webhooks_about_them() {
    let (app, receiver) = (app(), Receiver::start());
    let ours = create(&app, json!({"url": receiver.url("/"), "model": "a/*"}));
    let theirs = create(&app, json!({"url": receiver.url("/")}));
    let key = json!({"name": "a", "scopes": ["webhooks"], "models": ["a/*"]});
    let key = app.v1("POST", "/v1/keys", key).created()["token"].as_str().unwrap().to_owned();
    let change = json!({"url": receiver.url("/mine")}).to_string();
    for (webhook, status) in [(&ours, 200), (&theirs, 403)] {
        let (path, headers) = (path(webhook), [("X-API-Key", key.as_str())]);
        let answer = app.request("POST", &format!("{path}/test"), &headers, None);
        assert_eq!(answer.status, status, "{}", answer.text);
        let answer = app.request("PATCH", &path, &headers, Some(&change));
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn a_secret_is_shown_once_and_its_former_one_signs_for_a_day() {
    let (app, receiver) = (app(), Receiver::start());
    let webhook = create(&app, json!({"url": receiver.url("/")}));
    let former = webhook["secret"].as_str().unwrap().to_owned();
    let shown = app.get(&path(&webhook)).text + &app.get("/v1/webhooks").text;
    assert!(!shown.contains("whsec_") && !shown.contains("secret"), "{shown}");
    let now = 1_769_864_709_250;
    app.clock.stop_at(now);
    let rotated = app.v1("PATCH", &path(&webhook), json!({"rotate_secret": true})).ok();
    let secret = rotated["secret"].as_str().unwrap().to_owned();
    assert_ne!(secret, former);
    app.add("m", "1");
    let first = receiver.wait_for(1).remove(0);
    assert!(is_signed_by(&first, &secret) && is_signed_by(&first, &former));
    app.clock.stop_at(now + 25 * HOUR_MS);
    app.add("m", "2");
    let second = receiver.wait_for(2).remove(1);
    assert!(is_signed_by(&second, &secret) && !is_signed_by(&second, &former));
    let own = format!("whsec_{}", BASE64_STANDARD.encode([9; 32]));
    let given = app.v1("PATCH", &path(&webhook), json!({"secret": own})).ok();
    assert_eq!(given["secret"], own);
    let untouched = app.v1("PATCH", &path(&webhook), json!({"name": "other"})).ok();
    assert_eq!((&untouched["name"], untouched.get("secret")), (&json!("other"), None));
    app.v1("PATCH", &path(&webhook), json!({"secret": own, "rotate_secret": true})).unfit(&["rotate_secret"]);
}

#[test]
fn an_answer_of_410_disables_the_webhook_until_it_is_enabled_again() {
    let (app, receiver) = (app(), Receiver::with(|_| Reply::Status(410)));
    let webhook = create(&app, json!({"url": receiver.url("/")}));
    app.add("m", "1");
    let disabled = until("the webhook is disabled", || {
        let webhook = app.get(&path(&webhook)).ok();
        (webhook["status"] == "disabled").then_some(webhook)
    });
    assert_eq!(disabled["disabled_because"], "its receiver answered 410 Gone");
    app.add("m", "2");
    let parked = wait_for_states(&app, &webhook, &["parked"]).remove(0);
    assert_eq!((&parked["status"], &parked["error"]), (&json!(410), &json!("the webhook was disabled")));
    let replay = || app.v1("POST", &format!("{}/replay", path(&webhook)), json!({"event": parked["event"]}));
    assert!(replay().error(409, "conflict").contains("enable it first"));
    let enabled = app.v1("PATCH", &path(&webhook), json!({"status": "active"})).ok();
    assert_eq!((&enabled["status"], &enabled["disabled_because"]), (&json!("active"), &Value::Null));
    assert_eq!(replay().ok(), json!({"replayed": 1}));
    receiver.wait_for(2);
    app.v1("DELETE", &path(&webhook), Value::Null).ok();
    app.get(&path(&webhook)).error(404, "not_found");
    app.get(&format!("{}/deliveries", path(&webhook))).error(404, "not_found");
    assert_eq!(app.get("/v1/webhooks").ok(), json!({"webhooks": []}));
}

#[test]
fn changes_of_webhooks_are_events_of_the_registry_which_no_webhook_gets() {
    let (app, receiver) = (app(), Receiver::with(|_| Reply::Status(410)));
    let url = receiver.url("/T0KEN");
    let (every, webhook) =
        (create(&app, json!({"url": url})), create(&app, json!({"url": url, "model": "n*"})));
    app.v1("PATCH", &path(&webhook), json!({"rotate_secret": true, "model": "m*"})).ok();
    app.v1("PATCH", &path(&webhook), json!({"model": "m*"})).ok();
    app.v1("POST", &format!("{}/test", path(&webhook)), Value::Null).ok();
    app.v1("POST", &format!("{}/replay", path(&webhook)), json!({"since": "2026-01-01"})).ok();
    app.v1("DELETE", &path(&webhook), Value::Null).ok();
    assert_eq!(deliveries(&app, &every), [] as [Value; 0]);
    app.add("m", "1");
    until("the webhook is disabled", || (app.get(&path(&every)).ok()["status"] == "disabled").then_some(()));

    let text = app.get("/v1/events").text;
    assert!(!text.contains("whsec_") && !text.contains("T0KEN"), "{text}");
    let events = app.trail("");
    let types =
        ["create_webhook", "create_webhook", "update_webhook", "delete_webhook", "create", "update_webhook"];
    assert_eq!(each(&json!(events), "type"), types);
    let id = &webhook["id"];
    let created = &events[1];
    assert_eq!((&created["model"], &created["actor"]), (&Value::Null, &json!("key:test…")));
    assert_eq!(created["payload"], json!({"id": id, "name": "w"}));
    let values = json!({"name": "w", "description": null, "url": url.trim_end_matches("/T0KEN"), "events": [],
        "model": "n*", "filter": null, "status": "active"});
    assert_eq!(created["after"], values);
    let changed = &events[2];
    assert_eq!(changed["payload"], json!({"id": id, "name": "w", "updated_fields": ["model", "secret"]}));
    assert_eq!((&changed["before"], &changed["after"]), (&json!({"model": "n*"}), &json!({"model": "m*"})));
    assert_eq!(events[3]["before"]["model"], "m*");
    let disabled = &events[5];
    assert_eq!(
        (&disabled["actor"], &disabled["reason"], &disabled["after"]),
        (
            &json!("registry:webhooks"),
            &json!("its receiver answered 410 Gone"),
            &json!({"status": "disabled"})
        )
    );
}

#[test]
fn a_webhook_can_have_the_types_of_events_that_the_description_names() {
    let app = TestApp::spawn();
    let description = app.get("/openapi.json").ok();
    let named = description["components"]["schemas"]["EventTypeName"]["enum"].as_array().unwrap().clone();
    for kind in EventKind::NAMES {
        let body = json!({"name": "w", "url": "https://1.1.1.1/", "events": [kind]});
        let status = app.v1("POST", "/v1/webhooks", body).status;
        assert_eq!(status == 201, named.contains(&json!(kind)), "{kind}: {status}");
    }
}

#[test]
fn a_url_that_leads_to_this_network_is_refused_in_every_form() {
    let app = TestApp::spawn();
    let refused = |url: &str| app.v1("POST", "/v1/webhooks", json!({"name": "w", "url": url}));
    for url in [
        "http://127.0.0.1/",
        "http://localhost/",
        "https://localhost:8443/hook",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://0/",
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://224.0.0.1/",
        "http://user:pw@example.org/",
        "http://user@example.org/",
        "http://",
        "ftp://example.org/",
        "example.org",
        "",
        "https://example.org/#part",
    ] {
        let answer: Answer = refused(url);
        answer.unfit(&["url"]);
    }
    assert!(refused("http://127.0.0.1/").text.contains("leads to 127.0.0.1, which is not public"));
    app.v1(
        "POST",
        "/v1/webhooks",
        json!({"name": "w", "url": format!("https://e.org/{}", "x".repeat(2_048))}),
    )
    .unfit(&["url"]);
    create(&app, json!({"url": "http://1.1.1.1/"}));
    create(&app, json!({"url": "https://[2606:4700:4700::1111]/"}));
    assert_eq!(app.get("/v1/webhooks").ok()["webhooks"].as_array().unwrap().len(), 2);
}

#[test]
fn the_address_that_is_connected_to_is_judged_whatever_it_was_when_the_webhook_was_created() {
    let (app, receiver) = (app(), Receiver::start());
    let port = receiver.url("").rsplit(':').next().unwrap().to_owned();
    // A name that leads there, as one does whose address was changed after the creation.
    let webhook = create(&app, json!({"url": format!("http://localhost:{port}/")}));
    app.add("m", "1");
    receiver.wait_for(1);
    wait_for_states(&app, &webhook, &["delivered"]);
    let folder = app.stop();
    let strict = TestApp::over(folder, |settings| settings.deliveries.first_pause_ms = 20);
    strict.add("m", "2");
    let failed = until("a failed attempt", || {
        deliveries(&strict, &webhook)
            .into_iter()
            .find(|one| one["state"] == "pending" && one["attempts"] != 0)
    });
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("is not public, and so it is not called"), "{error}");
    let test = strict.v1("POST", &format!("{}/test", path(&webhook)), Value::Null).ok();
    assert_eq!(test["delivered"], false, "{test}");
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn bodies_are_read_strictly() {
    let app = TestApp::spawn();
    let base = json!({"name": "w", "url": "https://1.1.1.1/"});
    for (change, fields) in [
        (json!({"events": ["promoted"]}), &["events"][..]),
        (json!({"events": "promote"}), &["events"]),
        (json!({"events": [1]}), &["events"]),
        (json!({"events": ["create_key"]}), &["events"]),
        (json!({"events": ["purge"]}), &["events"]),
        (json!({"filter": "status ="}), &["filter"]),
        (json!({"filter": "alias = 'a'"}), &["filter"]),
        (json!({"model": ""}), &["model"]),
        (json!({"model": "a\n*"}), &["model"]),
        (json!({"secret": "short"}), &["secret"]),
        (json!({"status": "on"}), &["status"]),
        (json!({"unknown": 1}), &["unknown"]),
        (json!({"name": " "}), &["name"]),
        (json!({"name": " ", "url": "x"}), &["name", "url"]),
    ] {
        let mut body = base.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        app.v1("POST", "/v1/webhooks", body).unfit(fields);
    }
    app.v1("POST", "/v1/webhooks", json!({})).unfit(&["name", "url"]);
    let webhook = create(&app, json!({"url": "https://1.1.1.1/", "model": "m", "description": "d"}));
    for (change, fields) in
        [(json!({"url": "http://127.0.0.1/"}), &["url"][..]), (json!({"name": null}), &["name"])]
    {
        app.v1("PATCH", &path(&webhook), change).unfit(fields);
    }
    let changed = app.v1("PATCH", &path(&webhook), json!({"model": null, "description": null})).ok();
    assert_eq!((&changed["model"], &changed["description"]), (&Value::Null, &Value::Null));
    app.v1("PATCH", "/v1/webhooks/none", json!({"name": "x"})).error(404, "not_found");
    app.get(&format!("{}/deliveries?state=lost", path(&webhook))).unfit(&["state"]);
    app.get(&format!("{}/deliveries?cursor=x", path(&webhook))).error(400, "invalid");
}
