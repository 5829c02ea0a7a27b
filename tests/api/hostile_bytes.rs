//! Bytes that are not an HTTP/1 request, or that could be read as two: they are refused, and nothing after them is run.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use serde_json::json;

use crate::support::{KEY, TestApp, over_postgres};

/// Returns a registration, whose effect would show that it was run.
fn registration(name: &str) -> String {
    let body = json!({"name": name, "version": "1", "artifact_uri": "s3://b"}).to_string();
    format!(
        "POST /models HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn post(framing: &str, body: &str) -> String {
    format!("POST /models HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n{framing}\r\n\r\n{body}")
}

/// Returns all answers on a connection whose client has closed its side.
fn all_answers(app: &TestApp, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // A server that has answered may close the connection before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn ambiguous_requests_are_refused_and_nothing_after_them_is_run() {
    let app = TestApp::spawn();
    let hidden = registration("hidden");
    let both = format!("Content-Length: {}\r\nTransfer-Encoding: chunked", hidden.len() + 5);
    for (what, status, request) in [
        ("both lengths", 400, post(&both, "0\r\n\r\n")),
        ("lengths that differ", 400, post("Content-Length: 0\r\nContent-Length: 5", "")),
        ("lengths that are the same", 400, post("Content-Length: 0\r\nContent-Length: 0", "")),
        ("a list of lengths", 400, post("Content-Length: 0, 0", "")),
        ("a length with a sign", 400, post("Content-Length: +0", "")),
        ("a length beyond 64 bits", 400, post("Content-Length: 18446744073709551616", "")),
        ("another coding", 400, post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n")),
        ("a coding that looks like chunked", 400, post("Transfer-Encoding: \u{b}chunked", "0\r\n\r\n")),
        ("two codings", 400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n")),
        ("a folded header", 400, post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n")),
        ("a space before the colon", 400, post("Content-Length : 0", "")),
        ("a bare line feed in the head", 400, post("Content-Length: 0\nX: y", "")),
        ("a bare carriage return in the head", 400, post("Content-Length: 0\rX: y", "")),
        ("a head of bare line feeds", 400, format!("GET /models HTTP/1.1\nHost: x\nX-API-Key: {KEY}\n\n")),
        ("a NUL in the head", 400, post("X: a\0b", "")),
        ("a bare line feed behind a chunk's length", 400, post("Transfer-Encoding: chunked", "0\n\n")),
        ("a chunk's length that overflows", 400, post("Transfer-Encoding: chunked", "FFFFFFFFFFFFFFFFF\r\n")),
        ("a chunk's length with a sign", 400, post("Transfer-Encoding: chunked", "-1\r\n")),
        ("a chunk's length that is a word", 400, post("Transfer-Encoding: chunked", "0x1\r\nA\r\n0\r\n\r\n")),
        (
            "a chunk that is longer than it says",
            400,
            post("Transfer-Encoding: chunked", "1\r\nAB\r\n0\r\n\r\n"),
        ),
        // actix reads the next head as more trailers: it is not run, and its body is refused.
        ("a bare line feed in the trailers", 422, post("Transfer-Encoding: chunked", "0\r\nX: y\n\r\n")),
        ("two hosts", 400, "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned()),
        ("no host", 400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (
            "another protocol",
            400,
            post("Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2", "{}"),
        ),
        ("a tunnel", 400, "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
        ("HTTP/2", 400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("no HTTP", 400, "hello\r\n\r\n".to_owned()),
        ("TLS", 400, "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n".to_owned()),
    ] {
        let said = all_answers(&app, (request.clone() + &hidden).as_bytes());
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {said}");
        // actix may add a 400 without a body to the answer of a handler.
        let statuses = statuses(&said);
        assert!(statuses[1..].iter().all(|status| *status == "400"), "{what}: {said}");
        assert!(said.contains("connection: close") || statuses.len() == 2, "{what}: {said}");
        assert_eq!(app.get("/stats").ok()["total_models"], 0, "{what}");
    }
}

/// Returns the statuses of all answers.
fn statuses(said: &str) -> Vec<&str> {
    said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

#[test]
fn a_client_that_closes_its_side_after_a_request_gets_its_answer() {
    let app = TestApp::spawn();
    let said = all_answers(&app, (registration("first") + &registration("second")).as_bytes());
    assert_eq!(statuses(&said), ["200", "200"], "{said}");
    let cut = all_answers(&app, &registration("third").as_bytes()[..120]);
    assert!(statuses(&cut).is_empty() || cut.starts_with("HTTP/1.1 400 "), "{cut}");
    assert_eq!(app.get("/stats").ok()["total_models"], 2);
}

#[test]
fn the_rest_of_a_refused_chunked_body_is_not_read_as_a_request() {
    let app = TestApp::spawn();
    let refused = post("Transfer-Encoding: chunked", "").replace(KEY, "wrong");
    let said = all_answers(&app, (refused + &registration("hidden")).as_bytes());
    assert!(said.starts_with("HTTP/1.1 401 ") && said.contains("connection: close"), "{said}");
    assert_eq!(app.get("/stats").ok()["total_models"], 0);
}

#[test]
fn requests_before_a_malformed_one_are_run_and_those_in_it_are_not() {
    let app = TestApp::spawn();
    app.exchange(registration("first").as_bytes()).ok();
    let mixed =
        post("Content-Length: 0\r\nTransfer-Encoding: chunked", "0\r\n\r\n") + &registration("hidden");
    all_answers(&app, mixed.as_bytes());
    assert_eq!(app.get("/stats").ok()["by_name"], json!({"first": 1}));
}

#[test]
fn a_request_before_a_malformed_one_gets_its_own_answer_first() {
    if over_postgres() {
        return;
    }
    let app = TestApp::spawn();
    let other = app.other_process();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut stream = TcpStream::connect(app.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
        .write_all((registration("first") + &registration("second") + "GET / HTTP/9\r\n\r\n").as_bytes())
        .unwrap();
    while app.get("/queues").ok()["write"]["depth"] != 0 {
        std::thread::yield_now();
    }
    other.execute_batch("ROLLBACK").unwrap();
    let mut said = String::new();
    let _ = stream.read_to_string(&mut said);
    assert_eq!(statuses(&said), ["200", "200", "400"], "{said}");
    assert_eq!(app.get("/stats").ok()["total_models"], 2);
}

#[test]
fn huge_heads_are_refused_and_large_ones_are_not() {
    let app = TestApp::spawn();
    let with =
        |field: String| format!("GET /stats HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n{field}\r\n\r\n");
    app.exchange(with(format!("X: {}", "y".repeat(60_000))).as_bytes()).ok();
    let endless = "GET /".to_owned() + &"a".repeat(1 << 20);
    for huge in [with(format!("X: {}", "y".repeat(140_000))), with("X: y\r\n".repeat(95)), endless] {
        assert_eq!(app.exchange(huge.as_bytes()).status, 431);
    }
}

#[test]
fn an_endless_body_is_refused_at_its_cap_and_read_no_further() {
    let app = TestApp::spawn();
    let mut stream = TcpStream::connect(app.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(post("Transfer-Encoding: chunked", "").as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut sent = 0;
    // Until the server stops reading.
    while stream.write_all(chunk.as_bytes()).is_ok() {
        sent += chunk.len();
        assert!(sent < 8 << 30, "it is read without end");
    }
    let mut said = String::new();
    let _ = stream.read_to_string(&mut said);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 413 "), "{said}");
    assert_eq!(app.get("/stats").ok()["total_models"], 0);
}

#[test]
fn unusual_but_valid_requests_are_answered() {
    let app = TestApp::spawn();
    let body = r#"{"name":"c","version":"1","artifact_uri":"s3://b"}"#;
    let chunks = format!(
        "{:X};ext=\"x\"\r\n{}\r\n{:04x}\r\n{}\r\n0\r\nTrailer: x\r\n\r\n",
        20,
        &body[..20],
        body.len() - 20,
        &body[20..]
    );
    for request in [
        format!("\r\n{}", registration("a")),
        format!(
            "POST /models HTTP/1.0\r\nX-API-Key: {KEY}\r\nContent-Length: 51\r\n\r\n{:51}",
            r#"{"name":"b","version":"1","artifact_uri":"s3://b"}"#
        ),
        post("transfer-encoding:  Chunked ", &chunks),
        format!("GET http://x/stats HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n"),
        format!(
            "GET /stats HTTP/1.1\r\nhOST:x\r\nX-api-KEY:{KEY}\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n"
        ),
    ] {
        app.exchange(request.as_bytes()).ok();
    }
    assert_eq!(app.get("/stats").ok()["by_name"], json!({"a": 1, "b": 1, "c": 1}));
}
