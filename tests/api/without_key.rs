//! Requests without a valid key: they get only the public answers, and those reveal nothing about the database.

use std::net::Ipv4Addr;

use model_registry::http::Proxies;
use serde_json::{Value, json};

use crate::{
    openapi::{Call, calls},
    support::{Answer, KEY, TestApp},
};

/// Headers without a valid key.
const NO_KEYS: [(&str, &str); 5] = [
    ("X-API-Key", ""),
    ("X-API-Key", "wrong"),
    ("Authorization", "Bearer wrong"),
    ("Authorization", "Bearer "),
    ("Authorization", "Basic dGVzdC1rZXk="),
];

/// A client that calls from another address each time, so that no request is throttled because of earlier ones.
struct Client<'a> {
    app: &'a TestApp,
    address: u32,
}

impl Client<'_> {
    fn send(&mut self, method: &str, path: &str, key: (&str, &str), body: Option<&str>) -> Answer {
        self.address += 1;
        let address = Ipv4Addr::from_bits(self.address).to_string();
        // `request` adds the valid key unless there is a header of that name.
        let headers = [("X-Forwarded-For", address.as_str()), key];
        let bearer = [("X-Forwarded-For", address.as_str()), key, ("X-API-Key", "")];
        let headers = if key.0 == "X-API-Key" { &headers[..] } else { &bearer[..] };
        self.app.request(method, path, headers, body)
    }
}

fn behind_a_proxy() -> TestApp {
    TestApp::with(|settings| settings.http.proxies = Proxies::parse(["127.0.0.1"]).unwrap())
}

/// Returns a path, and its variants with an invalid value in each position.
fn with_invalid_values(path: &str) -> Vec<String> {
    let query = "limit=x&offset=-1&cursor=x&ids=x&force=x&to_status=x";
    let mut paths = vec![path.to_owned(), format!("{path}?{query}")];
    let variants = [
        ("/models/1", "/models/x"),
        ("/models/1", "/models/999999999999999999999"),
        ("/by-name/m/", "/by-name/%FF/"),
        ("/production/m", "/production/%FF"),
        ("/status/staging", "/status/nowhere"),
    ];
    let other = |(valid, other): (&str, &str)| path.contains(valid).then(|| path.replace(valid, other));
    paths.extend(variants.into_iter().filter_map(other));
    paths
}

fn accepts_a_body(call: &Call) -> bool {
    call.operation.get("requestBody").is_some()
}

#[test]
fn every_private_call_is_refused_before_its_path_query_or_body_is_read() {
    let app = behind_a_proxy();
    app.register_with("m", "1", &json!({"status": "staging"}));
    let (before, document) = (app.everything(), app.get("/openapi.json").ok());
    let mut client = Client { app: &app, address: 0 };
    let huge = format!("{{\"name\": \"{}\"", "x".repeat(300 << 10));
    let mut refused = 0;
    for call in calls(&document) {
        for key in NO_KEYS {
            if call.is_public {
                let answer = client.send(&call.method, &call.path, key, None);
                assert_eq!(answer.status, 200, "{} {}", call.method, call.path);
                continue;
            }
            let bodies = [None, Some("{}"), Some("{bad"), Some("[[[["), Some(huge.as_str())];
            let bodies = if accepts_a_body(&call) { &bodies[..] } else { &bodies[..1] };
            for path in with_invalid_values(&call.path) {
                for body in bodies {
                    let answer = client.send(&call.method, &path, key, *body);
                    assert_eq!(answer.status, 401, "{} {path} {key:?}", call.method);
                    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 400, "{refused}");
    assert_eq!(app.everything(), before, "nothing was stored");
}

/// Returns all answers of a server to requests without a key, without the headers that differ each time.
fn everything_without_a_key(app: &TestApp, document: &Value) -> Vec<(String, Answer)> {
    let mut client = Client { app, address: 0 };
    let mut seen = Vec::new();
    let mut paths: Vec<_> = calls(document).into_iter().map(|call| (call.method, call.path)).collect();
    for path in [
        "/docs/start.js",
        "/nowhere",
        "/models/2",
        "/models/by-name/sekret-name/1",
        "/production/sekret-name",
    ] {
        paths.extend(["GET", "PUT", "OPTIONS"].map(|method| (method.to_owned(), path.to_owned())));
    }
    for (method, path) in paths {
        for key in NO_KEYS {
            let mut answer = client.send(&method, &path, key, None);
            for header in ["date", "x-request-id"] {
                answer.headers.remove(header);
            }
            // The order of this list varies.
            answer.headers.remove("access-control-expose-headers");
            seen.push((format!("{method} {path} {key:?}"), answer));
        }
    }
    seen
}

#[test]
fn without_a_key_a_full_registry_looks_like_an_empty_one() {
    let (empty, full) = (behind_a_proxy(), behind_a_proxy());
    for version in 0..7 {
        let id = full.register_with("sekret-name", &version.to_string(), &json!({"tags": ["sekret-tag"]}));
        full.record(id, "sekret-suite", json!({"score": 0.5})).ok();
    }
    full.promote(1).ok();
    let document = full.get("/openapi.json").ok();
    let answers_of_empty = everything_without_a_key(&empty, &document);
    for ((call, seen), (_, of_empty)) in
        everything_without_a_key(&full, &document).into_iter().zip(answers_of_empty)
    {
        assert_eq!((seen.status, &seen.text), (of_empty.status, &of_empty.text), "{call}");
        assert_eq!(seen.headers, of_empty.headers, "{call}");
        let folder = full.folder.path().to_str().unwrap();
        let answer = format!("{} {:?}", seen.text, seen.headers);
        for sekret in ["sekret", KEY, folder, "registry.db"] {
            assert!(!answer.contains(sekret), "{call} reveals {sekret}");
        }
        let is_description = call.contains("/openapi.json");
        assert!(is_description || !answer.contains(env!("CARGO_PKG_VERSION")), "{call} reveals the version");
    }
}
