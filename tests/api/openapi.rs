//! The published description against the server it describes: the same calls, fields, bounds and answers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Answer, KEY, TestApp};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// A call as it is described.
pub struct Call {
    /// In capitals.
    pub method: String,
    /// With what is in braces replaced by values.
    pub path: String,
    pub is_public: bool,
    pub operation: Value,
}

/// Returns the calls of a server's description.
#[track_caller]
pub fn calls(document: &Value) -> Vec<Call> {
    let mut calls = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = [
            ("{model_id}", "1"),
            ("{id}", "1"),
            ("{reference}", "1"),
            ("{number}", "1"),
            ("{name}", "m"),
            ("{version}", "1"),
            ("{status}", "staging"),
            ("{alias}", "champion"),
            ("{key}", "team"),
            ("{policy}", "quality"),
        ]
        .into_iter()
        .fold(path.clone(), |path, (name, value)| path.replace(name, value));
        assert!(!path.contains('{'), "{path} has a parameter that this test does not know");
        for (method, operation) in operations.as_object().unwrap() {
            let is_public = operation["security"] == json!([]);
            let (path, operation) = (path.clone(), operation.clone());
            calls.push(Call { method: method.to_uppercase(), path, is_public, operation });
        }
    }
    assert!(calls.len() > 30);
    calls
}

/// Returns the part of the document that a `$ref` in `part` leads to, or `part` itself.
#[track_caller]
fn followed<'d>(document: &'d Value, part: &'d Value) -> &'d Value {
    let Some(pointer) = part.get("$ref") else { return part };
    let pointer = pointer.as_str().unwrap().strip_prefix('#').unwrap();
    document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} leads nowhere"))
}

fn schema<'d>(document: &'d Value, name: &str) -> &'d Value {
    &document["components"]["schemas"][name]
}

fn fields(document: &Value, name: &str) -> Vec<String> {
    schema(document, name)["properties"].as_object().unwrap().keys().cloned().collect()
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn each_reference(part: &Value, see: &mut impl FnMut(&Value)) {
    match part {
        Value::Object(fields) => {
            if fields.contains_key("$ref") {
                see(part);
            }
            fields.values().for_each(|inner| each_reference(inner, see));
        }
        Value::Array(items) => items.iter().for_each(|inner| each_reference(inner, see)),
        _ => {}
    }
}

#[test]
fn the_described_calls_are_the_served_ones() {
    let app = TestApp::spawn();
    let document = app.get("/openapi.json").ok();
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in calls(&document) {
        methods.entry(call.path).or_default().insert(call.method);
    }
    for (path, described) in &methods {
        for method in METHODS {
            let answer = app.request(method, path, &[("X-API-Key", "")], None);
            assert_eq!(answer.status != 405, described.contains(method), "{method} {path}");
            if answer.status == 405 {
                let allowed = answer.header("allow").unwrap().split(", ").map(str::to_owned).collect();
                assert_eq!(*described, allowed, "{path}");
            }
        }
    }
}

#[test]
fn every_call_describes_what_a_client_generator_needs() {
    let app = TestApp::spawn();
    let document = app.get("/openapi.json").ok();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    each_reference(&document, &mut |part| {
        followed(&document, part);
    });
    let tags: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let schemes = keys(&document["components"]["securitySchemes"]);
    for demand in document["security"].as_array().unwrap() {
        assert!(schemes.contains(&keys(demand)[0]), "{demand}");
    }
    let mut ids = BTreeSet::new();
    for Call { method, path, is_public, operation } in calls(&document) {
        let call = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{call}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{call}");
        assert!(operation["tags"].as_array().unwrap().iter().all(|tag| tags.contains(&tag)), "{call}");
        let answers = operation["responses"].as_object().unwrap();
        let refusals = ["400", "401", "429", "500"];
        assert!(refusals.iter().all(|status| answers.contains_key(*status) != is_public), "{call}");
        for (status, answer) in answers {
            let answer = followed(&document, answer);
            assert!(!answer["description"].as_str().unwrap().is_empty(), "{call} {status}");
            let id = followed(&document, &answer["headers"]["X-Request-Id"]);
            assert_eq!(id["required"], true, "{call} {status}");
        }
        assert_eq!(answers.contains_key("413"), answers.contains_key("507"), "{call}");
    }
}

#[test]
fn answers_contain_the_described_fields() {
    let app = TestApp::spawn();
    let document = app.get("/openapi.json").ok();
    let id = app.register("m", "1");
    let service = app.get("/").ok();
    let health = app.get("/health").ok();
    let model = app.model(id);
    let stats = app.get("/stats").ok();
    let comparison = app.get("/compare?ids=1").ok();
    let queues = app.get("/queues").ok();
    let event = app.events(id)[0].clone();
    let missing = app.get("/models/9").json();
    let unfit = app.get("/models/x").json();
    let deleted = app.delete(id).ok();
    for (name, answer) in [
        ("Service", &service),
        ("Health", &health),
        ("Model", &model),
        ("Event", &event),
        ("Deleted", &deleted),
        ("Stats", &stats),
        ("Comparison", &comparison),
        ("ComparisonOrders", &comparison["comparison"]),
        ("Queue", &queues["write"]),
        ("Error", &missing),
        ("Faults", &unfit),
        ("Fault", &unfit["detail"][0]),
    ] {
        assert_eq!(fields(&document, name), keys(answer), "{name}");
        let required = schema(&document, name)["required"].as_array().unwrap();
        assert_eq!(required.len(), keys(answer).len(), "{name}: all its fields are always there");
    }
}

#[test]
fn answers_of_v1_contain_the_described_fields() {
    let app = TestApp::spawn();
    let document = app.get("/openapi.json").ok();
    let send =
        |method: &str, path: &str, body: Value| app.request(method, path, &[], Some(&body.to_string()));
    let mut version = schema(&document, "NewVersion")["examples"][0].clone();
    version["config_size_bytes"] = 1.into();
    let version = send("POST", "/v1/models/m/versions", version).json();
    let files = app.get("/v1/models/m/versions/1/files").ok();
    let whoami = app.get("/v1/whoami").ok();
    let aliases = send("PUT", "/v1/models/m/aliases/champion", json!({"version": 1}));
    assert_eq!(aliases.status, 200);
    let aliases = app.get("/v1/models/m/aliases").ok();
    let history = app.get("/v1/models/m/history").ok();
    let events = app.get("/v1/events").ok();
    let models = app.get("/v1/models").ok();
    let versions = app.get("/v1/models/m/versions").ok();
    let suites = app.get("/v1/models/m/versions/1/scores").ok();
    let created = app.post("/v1/webhooks", &schema(&document, "NewWebhook")["examples"][0]).json();
    let webhooks = app.get("/v1/webhooks").ok();
    let webhook = format!("/v1/webhooks/{}", created["id"].as_str().unwrap());
    let test = app.post(&format!("{webhook}/test"), &json!({})).ok();
    send("POST", "/v1/models/minilm/versions", json!({"label": "a", "artifact_uri": "s3://b"}));
    send("PUT", "/v1/models/minilm/aliases/production", json!({"version": 1}));
    let deliveries = app.get(&format!("{webhook}/deliveries")).ok();
    let replayed =
        app.post(&format!("{webhook}/replay"), &schema(&document, "ReplayRequest")["examples"][0]).ok();
    let policy = send("PUT", "/v1/policies/p", schema(&document, "NewPolicy")["examples"][0].clone()).ok();
    let policies = app.get("/v1/policies").ok();
    let trial = json!({"model": "m", "version": "1"});
    let verdicts = send("POST", "/v1/policies/test", trial).ok();
    let denied = send("PATCH", "/v1/models/m/versions/1", json!({"status": "production"})).json();
    let request = json!({"target": "production", "request": true});
    let approval = send("POST", "/v1/models/m/versions/1/approvals", request).json();
    let of_version = app.get("/v1/models/m/versions/1/approvals").ok();
    let approvals = app.get("/v1/approvals").ok();
    send("DELETE", "/v1/models/m/versions/1", json!({}));
    let deleted_version = app.get("/v1/models/m/versions?deleted=true").ok()["versions"][0].clone();
    let deleted = send("DELETE", "/v1/models/m", json!({})).ok();
    let trash = app.get("/v1/models?deleted=true").ok();
    let mut unfit = app.get("/v1/models?limit=x").json();
    // No answer has both.
    unfit["error"]["policies"] = denied["error"]["policies"].clone();
    for (name, answer) in [
        ("RegisteredVersion", &deleted_version),
        ("VersionFiles", &files),
        ("VersionFile", &files["files"][0]),
        ("VersionFile", &files["files"][1]),
        ("WhoAmI", &whoami),
        ("Aliases", &aliases),
        ("History", &history),
        ("Holding", &history["history"][0]),
        ("EventPage", &events),
        ("TrailEvent", &events["events"][0]),
        ("ModelPage", &models),
        ("RegisteredModel", &trash["models"][0]),
        ("VersionPage", &versions),
        ("Suites", &suites),
        ("Webhook", &created),
        ("Webhooks", &webhooks),
        ("WebhookTest", &test),
        ("Deliveries", &deliveries),
        ("WebhookDelivery", &deliveries["deliveries"][0]),
        ("Replayed", &replayed),
        ("DeletedV1", &deleted),
        ("ErrorV1", &unfit),
        ("ErrorDetails", &unfit["error"]),
        ("InvalidField", &unfit["error"]["fields"][0]),
        ("DeniedCondition", &denied["error"]["policies"][0]),
        ("StoredPolicy", &policy),
        ("PolicyList", &policies),
        ("Verdicts", &verdicts),
        ("PolicyVerdict", &verdicts["policies"][0]),
        ("JudgedCondition", &verdicts["policies"][0]["conditions"][0]),
        ("GivenApproval", &approval),
        ("ApprovalList", &of_version),
        ("ApprovalPage", &approvals),
    ] {
        assert_eq!(fields(&document, name), keys(answer), "{name}");
        let optional = match name {
            "RegisteredModel" | "Webhook" => 1,
            "RegisteredVersion" | "ErrorDetails" => 2,
            _ => 0,
        };
        let required = schema(&document, name)["required"].as_array().unwrap();
        assert_eq!(
            required.len() + optional,
            keys(answer).len(),
            "{name}: all other fields are always there"
        );
    }
    assert_eq!(keys(&schema(&document, "RegisteredModel")["examples"][0]), keys(&models["models"][0]));
    assert!(version.get("deleted_at").is_none() && version.get("deleted_by").is_none(), "{version}");
}

#[test]
fn the_examples_of_bodies_of_v1_are_accepted() {
    let app = TestApp::spawn();
    let document = app.get("/openapi.json").ok();
    let version = "/v1/models/minilm/versions";
    let tag = |of: &str| format!("{of}/tags/team");
    for (method, path, body) in [
        ("POST", "/v1/models", "NewRegisteredModel"),
        ("PATCH", "/v1/models/minilm", "ModelChangesV1"),
        ("POST", version, "NewVersion"),
        ("PATCH", &format!("{version}/1"), "VersionChanges"),
        ("POST", &format!("{version}/1/scores"), "NewScores"),
        ("PUT", &tag("/v1/models/minilm"), "TagValue"),
        ("PUT", &tag(&format!("{version}/1")), "TagValue"),
    ] {
        let example = schema(&document, body)["examples"][0].to_string();
        let answer = app.request(method, path, &[], Some(&example));
        assert!([200, 201].contains(&answer.status), "{body}: {}", answer.text);
    }
    let send =
        |method: &str, path: &str, body: Value| app.request(method, path, &[], Some(&body.to_string()));
    let example = |name: &str| schema(&document, name)["examples"][0].clone();
    let webhook = send("POST", "/v1/webhooks", example("NewWebhook")).json();
    let webhook = format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    send("POST", &format!("{webhook}/replay"), example("ReplayRequest")).ok();
    send("PATCH", &webhook, example("WebhookChanges")).ok();
    assert_eq!(send("POST", version, json!({"label": "v3", "artifact_uri": "s3://b"})).status, 201);
    let production = "/v1/models/minilm/aliases/production";
    send("PUT", production, json!({"version": 1})).ok();
    send("PUT", production, schema(&document, "NewHolder")["examples"][0].clone()).ok();
    let back =
        send("POST", "/v1/models/minilm/rollback", schema(&document, "Rollback")["examples"][0].clone());
    assert_eq!(back.ok()["number"], 1);
    send("PUT", "/v1/policies/quality", schema(&document, "NewPolicy")["examples"][0].clone()).ok();
    send("POST", "/v1/policies/test", schema(&document, "PolicyTrial")["examples"][0].clone()).ok();
}

/// Sends `body` as a field of what `name` describes, and returns true if the field is known.
fn accepts(app: &TestApp, name: &str, field: &str) -> bool {
    // No field accepts this value; some accept any text.
    let odd = json!([[]]);
    let answer = match name {
        "NewModel" => app.post("/models", &json!({ field: odd })),
        "ModelChanges" => app.patch(1, &json!({ field: odd })),
        _ => app.post("/models/1/metrics", &json!({ field: odd })),
    };
    assert_eq!(answer.status, 422, "{}", answer.text);
    let (kind, faults) = ("extra_forbidden", answer.json());
    let mut faults = faults["detail"].as_array().unwrap().iter();
    !faults.any(|fault| fault["type"] == kind && fault["loc"][1] == field)
}

#[test]
fn bodies_accept_exactly_the_described_fields() {
    let app = TestApp::spawn();
    let document = app.get("/openapi.json").ok();
    let bodies = ["NewModel", "ModelChanges", "NewScores"];
    let mut names: BTreeSet<_> = bodies.iter().flat_map(|body| fields(&document, body)).collect();
    names.extend(fields(&document, "Model"));
    names.extend(["nonsense", "_meta", "force"].map(str::to_owned));
    for body in bodies {
        assert_eq!(schema(&document, body)["additionalProperties"], false);
        let described = fields(&document, body);
        for name in &names {
            assert_eq!(accepts(&app, body, name), described.contains(name), "{body}.{name}");
        }
    }
}

#[test]
fn the_examples_of_bodies_are_accepted() {
    let app = TestApp::spawn();
    let document = app.get("/openapi.json").ok();
    let example = |name: &str| schema(&document, name)["examples"][0].clone();
    let model = app.post("/models", &example("NewModel")).ok();
    assert_eq!((&model["d_model"], &model["tags"]), (&json!(384), &json!(["embedding"])));
    app.post("/models/1/metrics", &example("NewScores")).ok();
    app.patch(1, &example("ModelChanges")).ok();
    let shown = keys(&schema(&document, "Model")["examples"][0]);
    assert_eq!(shown, keys(&app.model(1)));
}

/// Returns the parameters of a call, by name and schema.
fn parameters<'d>(document: &'d Value, call: &'d Call) -> impl Iterator<Item = (&'d str, &'d Value)> {
    let parameters = call.operation["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.map(move |parameter| followed(document, parameter));
    let in_query = parameters.filter(|parameter| parameter["in"] == "query");
    in_query.map(|parameter| (parameter["name"].as_str().unwrap(), followed(document, &parameter["schema"])))
}

#[test]
fn bounds_and_choices_of_parameters_are_those_of_the_server() {
    let app = TestApp::spawn();
    app.register_with("m", "1", &json!({"status": "production"}));
    let document = app.get("/openapi.json").ok();
    let webhook = app.post("/v1/webhooks", &schema(&document, "NewWebhook")["examples"][0]).json();
    let webhook = format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    let mut tried = 0;
    for call in calls(&document).iter().filter(|call| call.method == "GET" || call.method == "POST") {
        let mut status = |name: &str, value: String| {
            tried += 1;
            let path = call.path.replace("/v1/webhooks/1", &webhook);
            app.request(&call.method, &format!("{path}?{name}={value}"), &[], None).status
        };
        for (name, schema) in parameters(&document, call) {
            for (bound, beyond) in [("minimum", -1), ("maximum", 1)] {
                let Some(bound) = schema[bound].as_i64() else { continue };
                assert_eq!(status(name, bound.to_string()), 200, "{} {name}={bound}", call.path);
                assert_eq!(status(name, (bound + beyond).to_string()), 422, "{} {name}", call.path);
            }
            for choice in schema["enum"].as_array().into_iter().flatten() {
                assert_eq!(status(name, choice.as_str().unwrap().to_owned()), 200, "{} {name}", call.path);
                assert_eq!(status(name, "nonsense".to_owned()), 422, "{} {name}", call.path);
            }
        }
    }
    assert!(tried > 20, "{tried}");
}

/// Returns a request with just these headers.
fn get(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Answer {
    app.request("GET", path, headers, None)
}

#[test]
fn description_and_page_are_public_and_sent_again_only_if_they_have_changed() {
    let app = TestApp::spawn();
    for path in ["/openapi.json", "/docs", "/docs/swagger-ui.css", "/docs/start.js"] {
        for key in ["", "wrong", KEY] {
            let answer = get(&app, path, &[("X-API-Key", key)]);
            assert_eq!(answer.status, 200, "{path}");
            assert!(answer.header("cache-control").is_some(), "{path}");
            let tag = answer.header("etag").unwrap();
            let again = get(&app, path, &[("X-API-Key", key), ("If-None-Match", tag)]);
            assert_eq!(
                (again.status, again.text.as_str(), again.header("etag")),
                (304, "", Some(tag)),
                "{path}"
            );
            let other = get(&app, path, &[("X-API-Key", key), ("If-None-Match", "\"other\"")]);
            assert_eq!(other.text, answer.text);
            let head = app.request("HEAD", path, &[("X-API-Key", key)], None);
            assert_eq!(
                (head.status, head.text.as_str(), head.header("etag")),
                (200, "", Some(tag)),
                "{path}"
            );
        }
        app.request("POST", path, &[], Some("{}")).refused(405);
    }
    assert_eq!(get(&app, "/openapi.json", &[]).header("content-type"), Some("application/json"));
    get(&app, "/docs/", &[]).refused(404);
    get(&app, "/docs/nothing", &[]).refused(404);
}

#[test]
fn the_page_loads_its_own_files_only_and_runs_nothing_else() {
    let app = TestApp::spawn();
    let page = get(&app, "/docs", &[]);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy: BTreeMap<_, _> = page
        .header("content-security-policy")
        .unwrap()
        .split("; ")
        .filter_map(|rule| rule.split_once(' '))
        .collect();
    for (rule, sources) in [
        ("default-src", "'none'"),
        ("script-src", "'self'"),
        ("style-src", "'self'"),
        ("connect-src", "'self'"),
        ("frame-ancestors", "'none'"),
    ] {
        assert_eq!(policy[rule], sources, "{rule}");
    }
    let mut loaded = 0;
    for attribute in ["src=\"", "href=\""] {
        for address in page.text.split(attribute).skip(1) {
            let address = address.split('"').next().unwrap();
            if address == "data:," {
                continue;
            }
            assert!(!address.contains(':') && !address.starts_with('/'), "{address} leads elsewhere");
            let file = get(&app, &format!("/{address}"), &[("X-API-Key", ""), ("Accept-Encoding", "gzip")]);
            assert_eq!(file.status, 200, "{address}");
            loaded += 1;
        }
    }
    assert_eq!(loaded, 5);
    for tag in page.text.split("<script").skip(1) {
        assert!(tag.split_once('>').unwrap().1.starts_with("</script>"), "a script inside the page");
    }
    assert!(!page.text.contains("style=") && !page.text.contains("<style") && !page.text.contains(" on"));
}
