//! Every method of every path, with a key of each scope and without a key.

use model_registry::{domain::ScopeKind, http};
use serde_json::json;

use crate::support::TestApp;

/// Returns a key for each kind of scope: the kind, and a token with such a scope alone.
fn one_key_each(app: &TestApp) -> Vec<(&'static str, String)> {
    let of = |kind: &'static str| {
        let scope = match kind {
            "promote:STATUS" => "promote:*",
            "alias:NAME" => "alias:*",
            kind => kind,
        };
        let name = format!("only-{}", kind.split(':').next().unwrap());
        (kind, app.key(&name, &[scope], &[]))
    };
    ScopeKind::NAMES.into_iter().map(of).collect()
}

/// Fills the parameters of a path with what exists nowhere, so that an allowed call changes nothing.
fn filled(path: &str) -> String {
    let mut filled = String::new();
    for (index, part) in path.split('{').enumerate() {
        let Some((name, rest)) = part.split_once('}').filter(|_| index > 0) else {
            filled.push_str(part);
            continue;
        };
        filled.push_str(match name {
            "model_id" | "id" | "number" => "999",
            "reference" => "999",
            "status" => "staging",
            "digest" => "sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "upload" => "00000000-0000-4000-8000-000000000000",
            "revision" => "main",
            _ => "nothing",
        });
        filled.push_str(rest);
    }
    filled
}

#[test]
fn every_route_lets_through_the_keys_with_its_scopes_and_no_others() {
    let app = TestApp::spawn();
    let keys = one_key_each(&app);
    let before = app.get("/v1/events?limit=1").ok()["events"][0]["id"].clone();
    let routes = http::routes();
    assert!(routes.len() > 85, "{}", routes.len());
    let (mut allowed, mut refused) = (0, 0);
    for route in &routes {
        let path = filled(&route.path);
        let methods = if route.method == "GET" { vec!["GET", "HEAD"] } else { vec![route.method.as_str()] };
        for method in methods {
            let call = format!("{method} {path}");
            let body = (!matches!(method, "GET" | "HEAD")).then(|| json!({}));
            let without = app.request(method, &path, &[("X-API-Key", "")], body.as_ref().map(|_| "{}"));
            if (method, without.status) == ("HEAD", 405) {
                continue;
            }
            assert_eq!(without.status == 401, !route.is_public, "{call}: {}", without.text);
            for (kind, token) in keys.iter().filter(|_| !route.is_public) {
                let answer = app.with_key(token, method, &path, body.as_ref());
                let may = *kind == "admin" || route.scopes.is_empty() || route.scopes.contains(kind);
                let needed = route.scopes.join(" or ");
                let says = format!("lacks the scope {needed}; use a key that has it");
                // HEAD has no body that tells why; the Hub's API has headers.
                let only_reads =
                    answer.header("x-error-message").is_some_and(|why| why.contains("only reads"));
                let says_why = if method == "HEAD" { !only_reads } else { answer.text.contains(&says) };
                let is_refused = answer.status == 403 && says_why;
                assert_eq!(is_refused, !may, "{call} with {kind}: {answer:?}");
                if may {
                    allowed += 1;
                    continue;
                }
                refused += 1;
            }
        }
    }
    assert!(allowed > 200 && refused > 700, "{allowed} {refused}");
    assert_eq!(app.get("/v1/events?limit=1").ok()["events"][0]["id"], before, "nothing was changed");
}

#[test]
fn each_api_refuses_in_its_own_form() {
    let app = TestApp::spawn();
    let key = app.key("none", &["approve"], &[]);
    let says = "key:none lacks the scope read; use a key that has it";
    let native = app.with_key(&key, "GET", "/models", None);
    assert_eq!((native.status, native.json()), (403, json!({"detail": says})));
    let v1 = app.with_key(&key, "GET", "/v1/models", None);
    assert_eq!((v1.status, v1.json()), (403, json!({"error": {"code": "forbidden", "message": says}})));
    let mlflow = app.with_key(&key, "GET", "/api/2.0/mlflow/registered-models/search", None);
    assert_eq!(
        (mlflow.status, mlflow.json()),
        (403, json!({"error_code": "PERMISSION_DENIED", "message": says}))
    );
    let hub = app.with_key(&key, "GET", "/api/models/m", None);
    assert_eq!((hub.status, hub.json()), (403, json!({"error": says})));
    assert_eq!(hub.header("x-error-message"), Some(says));
    let digest = "0".repeat(64);
    let oci = app.with_key(&key, "GET", &format!("/v2/m/blobs/sha256:{digest}"), None);
    assert_eq!(
        (oci.status, oci.json()),
        (403, json!({"errors": [{"code": "DENIED", "message": says, "detail": null}]}))
    );
}

#[test]
fn the_description_names_the_scopes_of_each_call() {
    let app = TestApp::spawn();
    let document = app.get("/openapi.json").ok();
    for route in http::routes() {
        let operation = &document["paths"][&route.path][route.method.to_lowercase()];
        if operation.is_null() {
            continue;
        }
        if route.is_public {
            assert!(operation["x-scopes"].is_null() && operation["security"] == json!([]), "{route:?}");
            continue;
        }
        assert_eq!(operation["x-scopes"], json!(route.scopes), "{route:?}");
        let is_scoped = !route.scopes.is_empty();
        assert_eq!(operation["responses"].get("403").is_some(), is_scoped, "{route:?}");
        for scope in &route.scopes {
            assert!(operation["description"].as_str().unwrap().contains(&format!("`{scope}`")), "{route:?}");
        }
    }
}
