//! The OpenAPI description. The attribute above each handler describes its call; `shared.json` describes what all calls share.

mod answers;

use actix_web::{http::Method, web::Bytes};
use serde_json::{Value, json};

use super::endpoint::Endpoint;

pub(super) use answers::*;

const ABOUT: &str = include_str!("about.md");
const SHARED: &str = include_str!("shared.json");

/// Returns the description of these endpoints and schemas as it is served.
pub(super) fn json(endpoints: &[Endpoint], schemas: Value) -> Bytes {
    // The file is part of the program and the rest comes from types, so parsing can't fail.
    let mut document: Value = serde_json::from_str(SHARED).unwrap_or_default();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["info"]["description"] = ABOUT.into();
    document["components"]["schemas"] = schemas;
    for endpoint in endpoints {
        let mut operation = completed(endpoint);
        if endpoint.path.starts_with("/v1/") {
            with_errors_of_v1(&mut operation);
        }
        let path = &mut document["paths"][&endpoint.path];
        if endpoint.method == Method::GET {
            path["head"] = head_of(&operation);
        }
        path[endpoint.method.as_str().to_lowercase()] = operation;
    }
    let responses = document["components"]["responses"].as_object().cloned().unwrap_or_default();
    for (name, mut response) in responses {
        with_errors_of_v1(&mut response);
        document["components"]["responses"][format!("{name}V1")] = response;
    }
    complete(&mut document);
    document.to_string().into()
}

/// Replaces the forms of errors by the one of `/v1`.
fn with_errors_of_v1(part: &mut Value) {
    match part {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref") {
                match reference.strip_prefix("#/components/") {
                    Some("schemas/Error" | "schemas/Faults") => {
                        *reference = "#/components/schemas/ErrorV1".to_owned()
                    }
                    Some(shared) if shared.starts_with("responses/") => reference.push_str("V1"),
                    _ => {}
                }
            }
            fields.values_mut().for_each(with_errors_of_v1);
        }
        Value::Array(items) => items.iter_mut().for_each(with_errors_of_v1),
        _ => {}
    }
}

fn reference(part: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{part}/{name}") })
}

/// Adds what all calls share: the request's id, and the refusals before a handler runs.
fn completed(endpoint: &Endpoint) -> Value {
    let mut operation = serde_json::to_value(&endpoint.operation).unwrap_or_default();
    operation["tags"] = json!([endpoint.tag]);
    let mut parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    if endpoint.method != Method::GET {
        parameters.push(reference("parameters", "X-Actor"));
    }
    parameters.push(reference("parameters", "X-Request-Id"));
    operation["parameters"] = parameters.into();
    let mut shared = vec![("421", "MisdirectedRequest")];
    if operation.get("requestBody").is_some() {
        shared.push(("408", "RequestTimeout"));
    }
    if endpoint.is_public() {
        operation["security"] = json!([]);
    } else {
        let scopes = endpoint.access.scopes();
        if !scopes.is_empty() {
            let described = operation["description"].as_str().unwrap_or_default();
            let names: Vec<_> = scopes.iter().map(|scope| format!("`{scope}`")).collect();
            let needs = format!("{described}\n\nNeeds the scope {}.", names.join(" or "));
            operation["description"] = needs.trim_start().into();
            shared.push(("403", "Forbidden"));
        }
        operation["x-scopes"] = scopes.into();
        shared.extend([("400", "BadRequest"), ("401", "Unauthorized"), ("429", "TooManyRequests")]);
        shared.extend([("500", "InternalServerError"), ("503", "ServiceUnavailable")]);
    }
    for answer in operation["responses"].as_object_mut().into_iter().flat_map(|answers| answers.values_mut())
    {
        answer["headers"]["X-Request-Id"] = reference("headers", "X-Request-Id");
        // The library's types can't say that a header is always sent.
        if let Some(tag) = answer["headers"].get_mut("ETag") {
            tag["required"] = true.into();
        }
    }
    for (status, name) in shared {
        // A call's own description of a status is more specific.
        if operation["responses"].get(status).is_none() {
            operation["responses"][status] = reference("responses", name);
        }
    }
    operation
}

/// Returns the HEAD operation of a GET operation.
fn head_of(operation: &Value) -> Value {
    let mut head = operation.clone();
    for (field, suffix) in [("operationId", "_head"), ("summary", ": headers only")] {
        head[field] = format!("{}{suffix}", operation[field].as_str().unwrap_or_default()).into();
    }
    head["description"] = "As GET, without the body.".into();
    let answers = head["responses"].as_object_mut().into_iter().flat_map(|answers| answers.values_mut());
    answers.filter_map(Value::as_object_mut).for_each(|answer| {
        answer.remove("content");
    });
    head
}

/// Adds what the library's types can't express.
fn complete(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    // In answers, a field that may be null is still present.
    for name in ["Model", "Event"] {
        let fields = schemas[name]["properties"].as_object().into_iter().flat_map(|fields| fields.keys());
        schemas[name]["required"] = fields.cloned().collect();
    }
    // Regular expressions of JSON Schema do not count U+0085 as a blank, but Unicode and this server do.
    let uri = json!({ "type": "string", "pattern": r"[^\s\u0085]" });
    let digest = json!({ "type": "string", "pattern": "[0-9A-Fa-f]{64}" });
    schemas["NewModel"]["anyOf"] = json!([
        { "required": ["artifact_uri"], "properties": { "artifact_uri": uri } },
        { "required": ["checkpoint_sha256"], "properties": { "checkpoint_sha256": digest } },
    ]);
    // An `Option` would also allow `null`.
    document["paths"]["/models/{model_id}/promote"]["post"]["requestBody"]["required"] = false.into();
}
