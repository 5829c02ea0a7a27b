//! `registry health`: the exit code for container engines.

use std::net::TcpListener;

use crate::{
    Ran, at,
    fake_registry::{FakeRegistry, answer, json},
    registry,
    server::Server,
};

/// `registry health` of what is at `url`.
fn health(url: &str, arguments: &[&str]) -> Ran {
    Ran::of(registry(["health", "--registry-url", url]).args(arguments))
}

#[test]
fn a_running_server_is_healthy() {
    let server = Server::start();
    let port = server.url.rsplit(':').next().unwrap();
    let healthy = format!("{} is healthy\n", server.url);
    assert_eq!(health(&server.url, &[]).shown(), healthy);
    assert_eq!(health(&server.url, &["--ready"]).shown(), format!("{} is ready\n", server.url));
    let by_variable = |name, value: &str| Ran::of(registry(["health"]).env(name, value)).shown();
    assert_eq!(by_variable("CAIA_REGISTRY_URL", &server.url), healthy);
    assert_eq!(by_variable("CAIA_REGISTRY_PORT", port), healthy, "the server's own variables work too");
}

#[test]
fn a_server_without_keys_is_healthy() {
    let server = Server::with(tempfile::tempdir().unwrap(), 0, |_| {});
    assert!(health(&server.url, &[]).shown().ends_with(" is healthy\n"));
}

#[test]
fn ready_asks_another_path_and_sends_no_key() {
    let fake = FakeRegistry::answering([json(200, r#"{"status":"ready"}"#)]);
    let url = fake.url.clone();
    let mut command = registry(["health", "--ready", "--url", &url]);
    assert_eq!(
        Ran::of(command.env("CAIA_REGISTRY_API_KEY", crate::KEY)).shown(),
        format!("{url} is ready\n")
    );
    let received = fake.received();
    assert!(received[0].head.starts_with("get /ready http/1.1\r\n"), "{}", received[0].head);
    assert!(!received[0].head.contains("x-api-key") && !received[0].head.contains(crate::KEY));
}

#[test]
fn any_error_is_one_line_and_code_1_after_one_request() {
    for (reply, said) in [
        (json(503, r#"{"detail":"the disk is full"}"#), "is not ready: the disk is full"),
        (json(500, r#"{"detail":"internal error"}"#), "failed (500): internal error"),
        (json(200, r#"{"status":"sick"}"#), "its answer does not state its health"),
        (json(404, r#"{"detail":"Not Found"}"#), "it has no such path (404)"),
        (answer(200, "Content-Type: text/html\r\n", "<html>"), "not JSON but text/html"),
        (answer(302, "Location: https://elsewhere/\r\n", ""), "it redirects to https://elsewhere/"),
        (String::new(), "did not answer: "),
    ] {
        let fake = FakeRegistry::answering([reply]);
        let line = health(&fake.url, &["--ready"]).failed(1);
        assert!(line.contains(said), "{line}");
        assert!(!line.contains("may have been executed"), "{line}");
        assert_eq!(fake.received().len(), 1);
    }
}

#[test]
fn a_server_that_does_not_listen_or_answer_is_not_healthy() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = health(&format!("http://{free}"), &[]).failed(1);
    assert!(line.contains("connection refused"), "{line}");

    // Connections wait in the backlog and are never accepted.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let line = health(&url, &["--timeout-ms", "200"]).failed(1);
    assert!(line.contains("no complete answer within 0.2 s"), "{line}");
}

#[test]
fn an_invalid_url_is_a_usage_error() {
    let line = health("localhost:8001", &[]).failed(2);
    assert!(line.contains("set one like http://localhost:8001 with --registry-url"), "{line}");
}

#[test]
fn a_url_of_another_api_is_no_registry_without_versions() {
    let server = Server::start();
    for path in ["api", "v1", "v2", "api/2.0/mlflow", "models"] {
        let url = format!("{}/{path}", server.url);
        for arguments in [
            &["list"][..],
            &["model", "list"],
            &["show", "m:v"],
            &["files", "m:v"],
            &["pull", "m:v"],
            &["promote", "m:v", "--to", "staging"],
        ] {
            let line = Ran::of(&mut at(&url, arguments)).failed(1);
            assert!(line.contains(&format!("{url} does not answer like a registry: ")), "{path}: {line}");
        }
    }
    let (_, said) = Ran::of(&mut at(&format!("{}/", server.url), ["list"])).done();
    assert_eq!(said, "no versions match\n");
}
