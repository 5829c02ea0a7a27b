//! Slow clients, and many of them: a slow one times out, one too many is refused at once, and others are not affected.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use model_registry::http::{Deadlines, Hosts};
use serde_json::json;

use crate::support::{Answer, KEY, TestApp, at_once, over_postgres};

const REQUEST_TIMEOUT: Duration = Duration::from_millis(400);
/// How long a test waits for an expected effect.
const DEADLINE: Duration = Duration::from_secs(20);

fn with_short_timeout() -> TestApp {
    TestApp::with(|settings| settings.http.deadlines = Deadlines::of_request(REQUEST_TIMEOUT))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    stream
}

/// Sends a byte whenever nothing has arrived for a moment, until the server closes the connection. Returns its answer.
fn drip(mut stream: TcpStream, bytes: &[u8]) -> String {
    let begun = Instant::now();
    let (mut received, mut bytes) = (Vec::new(), bytes.iter().cycle());
    loop {
        assert!(begun.elapsed() < DEADLINE, "it was never closed: {}", String::from_utf8_lossy(&received));
        let mut piece = [0; 1024];
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => received.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // If the server has closed it, the next read shows that.
                let _ = stream.write_all(&[*bytes.next().unwrap()]);
            }
            Err(_) => break,
        }
    }
    assert!(begun.elapsed() >= REQUEST_TIMEOUT / 2, "it was closed at once");
    String::from_utf8(received).unwrap()
}

fn assert_timeout(answer: &str, part: &str) {
    assert!(answer.starts_with("HTTP/1.1 408 "), "{part}: {answer}");
    assert!(answer.contains(&format!("the request's {part} did not come in time")), "{answer}");
}

#[test]
fn a_head_or_body_that_arrives_byte_by_byte_times_out() {
    let app = with_short_timeout();
    let id = app.register("m", "1");
    assert_timeout(&drip(connect(app.address), b"GET /health?xxxxxxxxxxxxxxxxxxxxxxxxxx"), "head");
    let mut stream = connect(app.address);
    let head = format!(
        "POST /models/{id}/metrics HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 9999\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_timeout(&drip(stream, b" "), "body");
    let mut stream = connect(app.address);
    stream.write_all(head.replace("Content-Length: 9999", "Transfer-Encoding: chunked").as_bytes()).unwrap();
    assert_timeout(&drip(stream, b"1\r\n \r\n"), "body");
    assert_eq!(app.event_types(id), ["create"]);
}

#[test]
fn the_second_head_of_a_connection_has_a_deadline_too() {
    let app = with_short_timeout();
    let mut stream = connect(app.address);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut piece = [0; 1024];
    let length = stream.read(&mut piece).unwrap();
    assert!(piece[..length].starts_with(b"HTTP/1.1 200 OK"));
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert_timeout(&drip(stream, b"GET /health?xxxxxxxxxxxxxxxxxxxxxxxxxx"), "head");
}

#[test]
fn a_silent_connection_is_closed_without_an_answer() {
    let app = with_short_timeout();
    let mut stream = connect(app.address);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut received = String::new();
    stream.read_to_string(&mut received).unwrap();
    assert_eq!(received, "");
}

#[test]
fn an_unread_answer_times_out() {
    let app = with_short_timeout();
    let notes = "x".repeat(60_000);
    for version in 0..40 {
        app.register_with("m", &version.to_string(), &json!({"description": notes}));
    }
    let mut stream = connect(app.address);
    // Some megabytes more than the buffers of both ends hold.
    let get = format!("GET /models?limit=200 HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n");
    for _ in 0..16 {
        stream.write_all(get.as_bytes()).unwrap();
    }
    let is_closed = || app.get("/queues").ok()["read"]["depth"] == 0 && !is_open(&stream);
    let begun = Instant::now();
    while !is_closed() {
        assert!(begun.elapsed() < DEADLINE, "it is still held open");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns true if the other end accepts what is sent.
fn is_open(stream: &TcpStream) -> bool {
    let mut stream = stream;
    stream.write_all(b"\r").is_ok()
}

#[test]
fn connections_over_the_limit_are_refused_at_once_and_closed_ones_free_their_permits() {
    let app = TestApp::with(|settings| settings.http.max_connections = 20);
    let held: Vec<_> = (0..20).map(|_| connect(app.address)).collect();
    // An answer shows that the server has accepted the connection.
    for mut stream in held.iter() {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
    }
    for _ in 0..50 {
        let answer = app.exchange(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(answer.header("retry-after"), Some("1"));
        let detail = answer.refused(503);
        assert!(detail.contains("connections"), "{detail}");
    }
    drop(held);
    let begun = Instant::now();
    while app.exchange(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").status != 200 {
        assert!(begun.elapsed() < DEADLINE, "closed connections still count");
    }
}

/// Returns how many slow clients there are, of three kinds; docs/RELIABILITY.md describes a run with thousands.
fn slow_connections() -> usize {
    std::env::var("REGISTRY_SLOW_CONNECTIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(300)
}

#[test]
fn many_slow_connections_do_not_affect_others_and_all_time_out() {
    let app =
        TestApp::with(|settings| settings.http.deadlines = Deadlines::of_request(Duration::from_secs(3)));
    let id = app.register("m", "1");
    let heads = [
        String::new(),
        "GET /mod".to_owned(),
        format!(
            "POST /models/{id}/metrics HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 999\r\n\r\n{{"
        ),
    ];
    let mut slow: Vec<_> = (0..slow_connections())
        .map(|number| {
            let mut stream = connect(app.address);
            stream.write_all(heads[number % 3].as_bytes()).unwrap();
            stream.set_nonblocking(true).unwrap();
            (number % 3, stream)
        })
        .collect();
    let begun = Instant::now();
    let latencies = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            at_once(8, |index| {
                let record = |step| {
                    let begun = Instant::now();
                    app.record(id, &format!("s{index}"), json!({"step": step})).ok();
                    begun.elapsed()
                };
                (0..20).map(record).collect::<Vec<_>>()
            })
        });
        // Each sends a byte in turn, except the silent ones, until the server has closed all of them.
        while !slow.is_empty() {
            assert!(begun.elapsed() < 3 * DEADLINE, "{} are still open", slow.len());
            slow.retain_mut(|(kind, stream)| {
                let is_open = *kind == 0 || stream.write_all(b"x").is_ok();
                is_open && matches!(stream.read(&mut [0; 1024]), Err(error) if error.kind() == ErrorKind::WouldBlock)
            });
            std::thread::sleep(Duration::from_millis(100));
        }
        others.join().unwrap()
    });
    let mut latencies = latencies.concat();
    latencies.sort();
    println!(
        "others: median {:?}, longest {:?}",
        latencies[latencies.len() / 2],
        latencies[latencies.len() - 1]
    );
    assert_eq!(app.event_types(id).len(), 161);
}

#[test]
fn each_write_waits_for_a_foreign_lock_only_once_however_many_are_queued() {
    if over_postgres() {
        return;
    }
    const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
    // Six batches of the writer, which would wait six times as long one after the other.
    const WRITES: usize = 700;
    let app = TestApp::with(|settings| settings.database.store.busy_timeout = BUSY_TIMEOUT);
    let id = app.register("m", "1");
    let other = app.other_process();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answers = at_once(WRITES, |client| {
        let begun = Instant::now();
        let answer = app.record(id, &format!("s{client}"), json!({"score": 1}));
        (answer.refused(503), begun.elapsed())
    });
    other.execute_batch("ROLLBACK").unwrap();
    for (detail, waited) in answers {
        assert!(detail.contains("locked by another process"), "{detail}");
        assert!(waited < 3 * BUSY_TIMEOUT, "{waited:?}");
    }
    app.record(id, "after", json!({"score": 1})).ok();
    assert_eq!(app.event_types(id), ["create", "eval"]);
}

/// Asks over its own connection, with this `Host`.
fn with_host(app: &TestApp, host: &str) -> Answer {
    app.exchange(format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
}

#[test]
fn requests_for_another_host_name_are_refused() {
    let app = TestApp::spawn();
    for host in ["localhost", "127.0.0.1:8001", "[::1]:8001", "x"] {
        with_host(&app, host).ok();
    }
    for host in ["evil.example", "localhost.evil.example:8001", "10.0.0.1"] {
        let detail = with_host(&app, host).refused(421);
        assert!(detail.contains("--allowed-host"), "{detail}");
    }
    let open = TestApp::with(|settings| settings.http.hosts = Hosts::of("0.0.0.0", &["x".to_owned()]));
    with_host(&open, "evil.example").refused(421);
    let open = TestApp::with(|settings| settings.http.hosts = Hosts::of("0.0.0.0", &[]));
    with_host(&open, "ml.example.org").ok();
}
