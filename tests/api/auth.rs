//! Keys and actors: checked from the head of a request, before the rest is read.

use model_registry::http::{Keys, Proxies};
use serde_json::json;

use crate::support::{Answer, KEY, TestApp};

/// Every path that needs a key, with its methods.
const PRIVATE: [(&str, &[&str]); 11] = [
    ("/models", &["GET", "HEAD", "POST"]),
    ("/models/1", &["GET", "HEAD", "PATCH", "DELETE"]),
    ("/models/by-name/m/1", &["GET", "HEAD"]),
    ("/models/status/staging", &["GET", "HEAD"]),
    ("/models/1/promote", &["POST"]),
    ("/models/1/metrics", &["GET", "HEAD", "POST"]),
    ("/models/1/events", &["GET", "HEAD"]),
    ("/production/m", &["GET", "HEAD"]),
    ("/compare", &["GET", "HEAD"]),
    ("/stats", &["GET", "HEAD"]),
    ("/queues", &["GET", "HEAD"]),
];
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Returns a request with only these headers and no body.
fn bare(app: &TestApp, method: &str, path: &str, headers: &str) -> Answer {
    app.exchange(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes())
}

#[test]
fn a_key_comes_by_header_or_bearer_token_and_the_header_wins() {
    let app = TestApp::with(|settings| settings.http.keys = Keys::of(["first", "sch lüssel"]));
    for (headers, status) in [
        ("X-API-Key: first\r\n", 200),
        ("x-api-key:   first  \r\n", 200),
        ("X-API-Key: sch lüssel\r\n", 200),
        ("Authorization: Bearer first\r\n", 200),
        ("authorization: bearer  first \r\n", 200),
        ("Authorization: Bearer sch lüssel\r\n", 200),
        ("X-API-Key: first\r\nAuthorization: Bearer wrong\r\n", 200),
        ("X-API-Key: wrong\r\nAuthorization: Bearer first\r\n", 401),
        ("X-API-Key: \r\nAuthorization: Bearer first\r\n", 200),
        ("X-API-Key:  \t \r\nAuthorization: Bearer first\r\n", 200),
        ("X-API-Key: \r\nAuthorization: Bearer wrong\r\n", 401),
        ("X-API-Key: \r\nAuthorization: Bearer \r\n", 401),
        ("X-API-Key: First\r\n", 401),
        ("X-API-Key: firs\r\n", 401),
        ("X-API-Key: firstfirst\r\n", 401),
        ("X-API-Key: first,sch lüssel\r\n", 401),
        ("Authorization: first\r\n", 401),
        ("Authorization: Bearer\r\n", 401),
        ("Authorization: Bearer \r\n", 401),
        ("Authorization: Basic first\r\n", 401),
        ("X-Api-Keys: first\r\n", 401),
        ("Cookie: X-API-Key=first\r\n", 401),
    ] {
        let answer = bare(&app, "GET", "/models", headers);
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text);
    }
    assert_eq!(bare(&app, "GET", "/models?api_key=first", "").status, 401);
}

#[test]
fn a_key_that_is_not_text_is_a_wrong_one() {
    let app = TestApp::spawn();
    for key in [&b"caf\xe9"[..], b"\xff\xfe", b"test-key\xff", "test‑key".as_bytes()] {
        for name in ["X-API-Key: ", "Authorization: Bearer "] {
            let request =
                [b"GET /models HTTP/1.1\r\nHost: x\r\n", name.as_bytes(), key, b"\r\n\r\n"].concat();
            app.exchange(&request).refused(401);
        }
    }
}

#[test]
fn without_a_key_configured_nothing_private_is_served() {
    let app = TestApp::with(|settings| settings.http.keys = Keys::of([]));
    for headers in ["", "X-API-Key: test-key\r\n", "X-API-Key: \r\n"] {
        for (path, methods) in PRIVATE {
            for method in methods.iter().filter(|method| **method != "HEAD") {
                let answer = bare(&app, method, path, headers);
                assert_eq!(answer.header("retry-after"), None, "trying again does not help");
                let detail = answer.refused(503);
                assert!(detail.contains("CAIA_REGISTRY_API_KEY"), "{detail}");
            }
        }
    }
    bare(&app, "GET", "/", "").ok();
    bare(&app, "GET", "/health", "").ok();
    bare(&app, "GET", "/nowhere", "").refused(404);
    bare(&app, "PUT", "/models", "").refused(405);
}

#[test]
fn unknown_paths_and_methods_are_reported_with_or_without_a_key() {
    let app = TestApp::spawn();
    for headers in ["".to_owned(), format!("X-API-Key: {KEY}\r\n"), "X-API-Key: wrong\r\n".to_owned()] {
        for path in [
            "/nowhere",
            "/models/",
            "/models/1/",
            "/models/1/x",
            "//models",
            "/Models",
            "/production",
            "/models/by-name/m",
        ] {
            if path == "/models/by-name/m" {
                // It matches `/models/{id}/…`, where `m` is not a known call.
                bare(&app, "GET", path, &headers).refused(404);
                continue;
            }
            for method in METHODS.iter().filter(|method| **method != "HEAD") {
                bare(&app, method, path, &headers).refused(404);
            }
        }
        let public: [(&str, &[&str]); 2] = [("/", &["GET", "HEAD"]), ("/health", &["GET", "HEAD"])];
        for (path, allowed) in PRIVATE.into_iter().chain(public) {
            for method in METHODS.iter().filter(|method| !allowed.contains(method)) {
                if *method == "HEAD" {
                    assert_eq!(app.request("HEAD", path, &[], None).status, 405, "{path}");
                    continue;
                }
                let answer = bare(&app, method, path, &headers);
                assert_eq!(answer.header("allow"), Some(allowed.join(", ").as_str()), "{method} {path}");
                let detail = answer.refused(405);
                assert!(detail.contains(allowed[0]), "{detail}");
            }
        }
    }
}

#[test]
fn a_refused_key_is_answered_without_waiting_for_the_body() {
    let app = TestApp::spawn();
    let id = app.register("m", "1");
    for (method, path) in [
        ("POST", "/models".to_owned()),
        ("PATCH", format!("/models/{id}")),
        ("POST", format!("/models/{id}/metrics")),
    ] {
        for framing in ["Content-Length: 50", "Content-Length: 1000000000", "Transfer-Encoding: chunked"] {
            for key in ["", "X-API-Key: wrong\r\n"] {
                bare(&app, method, &path, &format!("{key}{framing}\r\n")).refused(401);
            }
        }
    }
}

/// Returns the actor of a version registered with this `X-Actor`, which may be of any bytes.
fn actor(app: &TestApp, version: usize, sent: &[u8]) -> String {
    let body = json!({"name": "m", "version": version.to_string(), "artifact_uri": "s3://x"}).to_string();
    let head = format!(
        "POST /models HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {}\r\nX-Actor: ",
        body.len()
    );
    let model = app.exchange(&[head.as_bytes(), sent, b"\r\n\r\n", body.as_bytes()].concat()).ok();
    let actor = app.events(model["id"].as_i64().unwrap())[0]["actor"].as_str().unwrap().to_owned();
    assert_eq!(model["created_by"], actor);
    actor
}

#[test]
fn the_actor_is_the_key_unless_its_header_is_trusted() {
    let own = "key:test…".to_owned();
    let app = TestApp::spawn();
    assert_eq!(actor(&app, 0, b"alice"), own);
    let app = TestApp::with(|settings| settings.http.trust_actor_header = true);
    let long = "é".repeat(250);
    for (version, (sent, expected)) in [
        (&b"alice"[..], "alice".to_owned()),
        (b"  alice of ops  ", "alice of ops".to_owned()),
        (b"", own.clone()),
        (b"   ", own),
        ("José".as_bytes(), "José".to_owned()),
        (b"Jos\xe9", "José".to_owned()),
        (long.as_bytes(), "é".repeat(200)),
        (&[b'a'; 200], "a".repeat(200)),
        (&[b'a'; 201], "a".repeat(200)),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(actor(&app, version, sent), expected);
    }
}

#[test]
fn every_change_records_its_actor() {
    let app = TestApp::with(|settings| {
        settings.http.trust_actor_header = true;
        settings.http.keys = Keys::of([KEY, "bob-key"]);
    });
    let id = app.register("m", "1");
    let (path, body) = (format!("/models/{id}"), Some(r#"{"description": "d"}"#));
    app.request("PATCH", &path, &[("X-Actor", "ann")], body).ok();
    app.request("POST", &format!("{path}/promote"), &[("X-API-Key", "bob-key")], None).ok();
    let scores = Some(r#"{"suite": "s", "metrics": {}}"#);
    let model = app.request("POST", &format!("{path}/metrics"), &[("X-Actor", "ann")], scores).ok();
    assert_eq!(model["metrics"]["suites"]["s"]["_meta"]["actor"], "ann");
    let other = app.register("m", "2");
    app.request("POST", &format!("/models/{other}/promote"), &[("X-Actor", "cy")], None).ok();
    app.request("DELETE", &path, &[("X-Actor", "dee")], None).ok();
    let actors: Vec<_> = app.events(id).iter().map(|event| event["actor"].clone()).collect();
    assert_eq!(actors, ["key:test…", "ann", "key:bob-…", "ann", "cy", "dee"]);
}

#[test]
fn a_valid_request_id_is_kept_and_an_invalid_one_is_replaced() {
    let app = TestApp::spawn();
    let echoed = |path: &str, id: &str| {
        let answer = bare(&app, "GET", path, &format!("X-API-Key: {KEY}\r\nX-Request-Id: {id}\r\n"));
        answer.header("x-request-id").unwrap().to_owned()
    };
    for path in ["/health", "/models", "/models/999", "/models/abc", "/nowhere"] {
        for sane in ["abc-123_x.y:z/1+2=", "a", &"a".repeat(128)] {
            assert_eq!(echoed(path, sane), sane, "{path}");
        }
        for other in ["", "two words", "\"quoted\"", "{}", "café", "a;b", &"a".repeat(129)] {
            let made = echoed(path, other);
            assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{other}: {made}");
        }
    }
    let made = || bare(&app, "GET", "/models", "").header("x-request-id").unwrap().to_owned();
    assert_ne!(made(), made());
}

#[test]
fn an_address_that_tries_many_keys_is_throttled_and_others_are_not() {
    let app = TestApp::with(|settings| settings.http.proxies = Proxies::parse(["127.0.0.0/8"]).unwrap());
    let from = |address: &str, key: &str| {
        app.request("GET", "/stats", &[("X-API-Key", key), ("X-Forwarded-For", address)], None)
    };
    let guesses: Vec<_> = (0..60).map(|number| from("198.51.100.7", &format!("guess-{number}"))).collect();
    assert!(guesses[..20].iter().all(|answer| answer.status == 401));
    let refused = guesses.iter().filter(|answer| answer.status == 429).count();
    assert!(refused >= 20, "{refused}");
    for answer in guesses.into_iter().filter(|answer| answer.status == 429) {
        assert_eq!(answer.header("retry-after"), Some("1"));
        let detail = answer.refused(429);
        assert!(detail.contains("wrong API keys") && !detail.contains("guess"), "{detail}");
    }
    for address in ["198.51.100.8", "2001:db8::1"] {
        from(address, KEY).ok();
    }
    // Public calls are not throttled.
    app.request("GET", "/health", &[("X-Forwarded-For", "198.51.100.7")], None).ok();
}

#[test]
fn wrong_keys_do_not_lock_out_the_right_key_of_the_same_address() {
    let app = TestApp::with(|settings| settings.http.proxies = Proxies::parse(["127.0.0.1"]).unwrap());
    let from_there = |key: &str| {
        app.request("GET", "/stats", &[("X-API-Key", key), ("X-Forwarded-For", "198.51.100.7")], None)
    };
    from_there(KEY).ok();
    let refused = (0..60).filter(|number| from_there(&format!("guess-{number}")).status == 429).count();
    assert!(refused >= 20, "{refused}");
    from_there(KEY).ok();
}

#[test]
fn the_callers_address_is_the_one_that_a_trusted_proxy_names() {
    let register = |app: &TestApp, version: &str, chain: &str| {
        let body = json!({"name": "m", "version": version, "artifact_uri": "s3://b"}).to_string();
        app.request("POST", "/models", &[("X-Forwarded-For", chain)], Some(&body)).ok()["source_host"].clone()
    };
    let behind = TestApp::with(|settings| settings.http.proxies = Proxies::parse(["127.0.0.1"]).unwrap());
    assert_eq!(register(&behind, "1", "6.6.6.6, 198.51.100.7"), "198.51.100.7");
    assert_eq!(register(&behind, "2", "nonsense"), "127.0.0.1");
    let open = TestApp::spawn();
    assert_eq!(register(&open, "1", "198.51.100.7"), "127.0.0.1");
}

#[test]
fn answers_have_security_headers_for_browsers() {
    let app = TestApp::spawn();
    for answer in
        [app.get("/health"), app.get("/stats"), app.get("/nowhere"), bare(&app, "GET", "/stats", "")]
    {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cache-control", "private, no-cache"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{answer:?}");
        }
        assert_eq!(answer.header("strict-transport-security"), None);
    }
}
