//! CORS: the origins whose scripts may read answers.

use crate::support::{Answer, TestApp};

fn with_origins(origins: &[&str]) -> TestApp {
    TestApp::with(|settings| {
        settings.http.cors_origins = origins.iter().map(|origin| (*origin).to_owned()).collect()
    })
}

fn from(app: &TestApp, origin: &str) -> Answer {
    app.request("GET", "/models", &[("Origin", origin)], None)
}

fn preflight(app: &TestApp, path: &str, origin: &str, method: &str) -> Answer {
    let request = format!(
        "OPTIONS {path} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n\
         Access-Control-Request-Headers: x-api-key, content-type, if-match\r\n\r\n"
    );
    app.exchange(request.as_bytes())
}

#[test]
fn the_default_origins_are_those_of_0_2_0() {
    let app = TestApp::spawn();
    for origin in ["http://localhost", "http://localhost:3000", "http://127.0.0.1", "http://127.0.0.1:3000"] {
        let answer = from(&app, origin);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        let exposed = answer.header("access-control-expose-headers").unwrap().to_lowercase();
        for name in ["etag", "link", "x-total-count", "x-request-id", "retry-after"] {
            assert!(exposed.split(',').any(|one| one.trim() == name), "{name} in {exposed}");
        }
        answer.ok();
    }
    for origin in [
        "http://evil.example",
        "https://localhost",
        "http://localhost:3001",
        "null",
        "http://localhost.evil.example",
    ] {
        let answer = from(&app, origin);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
        assert_eq!(answer.status, 200, "the browser hides the answer from the script");
    }
}

#[test]
fn only_the_listed_origins_are_allowed() {
    let app = with_origins(&["https://a.example", "https://b.example"]);
    for (origin, allowed) in [
        ("https://a.example", true),
        ("https://b.example", true),
        ("https://c.example", false),
        ("http://a.example", false),
        ("http://localhost", false),
    ] {
        let answer = from(&app, origin);
        assert_eq!(answer.header("access-control-allow-origin"), allowed.then_some(origin));
        assert!(answer.header("vary").unwrap().to_lowercase().contains("origin"));
    }
}

#[test]
fn a_star_allows_every_origin() {
    let app = with_origins(&["*"]);
    assert_eq!(from(&app, "https://any.example").header("access-control-allow-origin"), Some("*"));
    assert_eq!(from(&app, "https://any.example").header("access-control-allow-credentials"), None);
}

#[test]
fn without_origins_answers_have_no_cors_headers() {
    let app = with_origins(&[]);
    let answer = from(&app, "http://localhost:3000");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    answer.ok();
    preflight(&app, "/models", "http://localhost:3000", "POST").refused(405);
}

#[test]
fn a_preflight_needs_no_key_and_lists_what_is_allowed() {
    let app = TestApp::spawn();
    for (path, method) in [
        ("/models", "POST"),
        ("/models/1", "PATCH"),
        ("/models/1", "DELETE"),
        ("/models/1/metrics", "POST"),
        ("/stats", "GET"),
    ] {
        let answer = preflight(&app, path, "http://localhost:3000", method);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:3000"));
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(methods.contains(method), "{methods}");
        let headers = answer.header("access-control-allow-headers").unwrap().to_lowercase();
        assert!(headers.contains("x-api-key") && headers.contains("if-match"), "{headers}");
        assert!(answer.header("x-request-id").is_some());
    }
}

#[test]
fn a_refused_preflight_has_the_form_of_all_errors() {
    let app = TestApp::spawn();
    for (origin, method) in [("http://evil.example", "POST"), ("http://localhost:3000", "PUT")] {
        let answer = preflight(&app, "/models", origin, method);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(answer.header("access-control-allow-methods"), None);
        answer.refused(400);
    }
}

#[test]
fn scripts_of_allowed_origins_can_read_error_answers() {
    let app = TestApp::spawn();
    for (path, key, status) in [
        ("/models", "wrong", 401),
        ("/models/999", "test-key", 404),
        ("/models?limit=0", "test-key", 422),
        ("/nowhere", "test-key", 404),
    ] {
        let headers = [("Origin", "http://localhost:3000"), ("X-API-Key", key)];
        let answer = app.request("GET", path, &headers, None);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:3000"), "{path}");
    }
}
