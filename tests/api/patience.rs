//! Slow clients, and too many of them: requests that take too long are ended, excess ones are refused at once, and other
//! clients notice nothing.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{Answer, KEY, TestApp, at_once};

const REQUEST_TIMEOUT: Duration = Duration::from_millis(400);
/// How long a test waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(20);

fn impatient() -> TestApp {
    TestApp::with(|settings| settings.request_timeout = REQUEST_TIMEOUT)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    stream
}

/// Sends a byte each time that no answer comes for a moment, until the server closes; returns the answer.
fn drip(mut stream: TcpStream, bytes: &[u8]) -> String {
    let begun = Instant::now();
    let (mut said, mut bytes) = (Vec::new(), bytes.iter().cycle());
    loop {
        assert!(begun.elapsed() < PATIENCE, "it was never closed: {}", String::from_utf8_lossy(&said));
        let mut piece = [0; 1024];
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => said.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // If the server has closed it, the next read says so.
                let _ = stream.write_all(&[*bytes.next().unwrap()]);
            }
            Err(_) => break,
        }
    }
    assert!(begun.elapsed() >= REQUEST_TIMEOUT / 2, "it was closed at once");
    String::from_utf8(said).unwrap()
}

fn assert_timed_out(said: &str, part: &str) {
    assert!(said.starts_with("HTTP/1.1 408 "), "{part}: {said}");
    assert!(said.contains(&format!("the request's {part} did not come in time")), "{said}");
}

#[test]
fn a_head_or_body_that_comes_byte_by_byte_is_given_up() {
    let app = impatient();
    let id = app.register("m", "1");
    assert_timed_out(&drip(connect(app.address), b"GET /health?xxxxxxxxxxxxxxxxxxxxxxxxxx"), "head");
    let mut stream = connect(app.address);
    let head = format!(
        "POST /models/{id}/metrics HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 9999\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_timed_out(&drip(stream, b" "), "body");
    let mut stream = connect(app.address);
    stream.write_all(head.replace("Content-Length: 9999", "Transfer-Encoding: chunked").as_bytes()).unwrap();
    assert_timed_out(&drip(stream, b"1\r\n \r\n"), "body");
    assert_eq!(app.event_types(id), ["create"]);
}

#[test]
fn the_second_head_of_a_connection_has_a_deadline_too() {
    let app = impatient();
    let mut stream = connect(app.address);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut piece = [0; 1024];
    let length = stream.read(&mut piece).unwrap();
    assert!(piece[..length].starts_with(b"HTTP/1.1 200 OK"));
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert_timed_out(&drip(stream, b"GET /health?xxxxxxxxxxxxxxxxxxxxxxxxxx"), "head");
}

#[test]
fn a_silent_connection_is_closed_without_an_answer() {
    let app = impatient();
    let mut stream = connect(app.address);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn an_answer_that_its_client_does_not_read_is_given_up() {
    let app = impatient();
    let notes = "x".repeat(60_000);
    for version in 0..40 {
        app.register_with("m", &version.to_string(), &json!({"description": notes}));
    }
    let mut stream = connect(app.address);
    // Several megabytes more than the buffers of both ends hold.
    let get = format!("GET /models?limit=200 HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n");
    for _ in 0..16 {
        stream.write_all(get.as_bytes()).unwrap();
    }
    let gone = || app.get("/queues").ok()["read"]["depth"] == 0 && !is_open(&stream);
    let begun = Instant::now();
    while !gone() {
        assert!(begun.elapsed() < PATIENCE, "it is still held open");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns true if the server still accepts bytes.
fn is_open(stream: &TcpStream) -> bool {
    let mut stream = stream;
    stream.write_all(b"\r").is_ok()
}

#[test]
fn connections_beyond_the_limit_are_refused_at_once_and_closed_ones_make_space() {
    let app = TestApp::with(|settings| settings.max_connections = 20);
    let held: Vec<_> = (0..20).map(|_| connect(app.address)).collect();
    // Once the last of them has its answer, all are admitted.
    for mut stream in held.iter() {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
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
        assert!(begun.elapsed() < PATIENCE, "no connection was admitted");
    }
}

/// The number of slow clients, of three kinds. Thousands are tried by hand (docs/RELIABILITY.md).
fn slow_connections() -> usize {
    std::env::var("REGISTRY_SLOW_CONNECTIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(300)
}

#[test]
fn many_slow_connections_do_no_harm_and_are_all_given_up() {
    let app = TestApp::with(|settings| settings.request_timeout = Duration::from_secs(3));
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
            at_once(8, |place| {
                let record = |step| {
                    let begun = Instant::now();
                    app.record(id, &format!("s{place}"), json!({"step": step})).ok();
                    begun.elapsed()
                };
                (0..20).map(record).collect::<Vec<_>>()
            })
        });
        // A byte from each that is not silent, again and again, until the server has closed all of them.
        while !slow.is_empty() {
            assert!(begun.elapsed() < 3 * PATIENCE, "{} are still held", slow.len());
            slow.retain_mut(|(kind, stream)| {
                let goes_on = *kind == 0 || stream.write_all(b"x").is_ok();
                goes_on && matches!(stream.read(&mut [0; 1024]), Err(error) if error.kind() == ErrorKind::WouldBlock)
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
fn writes_that_do_not_fit_into_the_queue_are_refused_at_once_and_admitted_ones_are_done() {
    let app = TestApp::with(|settings| {
        settings.database.write_queue = 4;
        settings.database.store.busy_timeout = PATIENCE;
    });
    let id = app.register("m", "1");
    let other = app.other_process();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    let refused = std::sync::atomic::AtomicUsize::new(0);
    let statuses = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..32)
            .map(|place| {
                let (app, refused) = (&app, &refused);
                scope.spawn(move || {
                    let answer = app.record(id, &format!("s{place}"), json!({"score": 1}));
                    if answer.status == 503 {
                        assert_eq!(answer.header("retry-after"), Some("1"));
                        refused.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    }
                    answer.status
                })
            })
            .collect();
        // The writer holds at most one batch, which it took before the queue filled; all other writes are refused.
        while refused.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            assert!(begun.elapsed() < PATIENCE, "no write was refused");
            std::thread::yield_now();
        }
        other.execute_batch("ROLLBACK").unwrap();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    let done = statuses.iter().filter(|status| **status == 200).count();
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert_eq!(app.event_types(id).len(), 1 + done, "{statuses:?}");
    app.record(id, "after", json!({"score": 1})).ok();
}

#[test]
fn each_write_waits_for_a_foreign_lock_only_once_however_many_are_queued() {
    const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
    // More than two batches of the writer.
    const WRITES: usize = 300;
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
        assert!(waited < BUSY_TIMEOUT + Duration::from_secs(1), "{waited:?}");
    }
    app.record(id, "after", json!({"score": 1})).ok();
    assert_eq!(app.event_types(id), ["create", "eval"]);
}

/// The answer to a request that calls the server by this name, on its own connection.
fn by_name(app: &TestApp, host: &str) -> Answer {
    app.exchange(format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
}

#[test]
fn a_page_that_points_its_own_name_to_this_server_is_refused() {
    let app = TestApp::spawn();
    for host in ["localhost", "127.0.0.1:8001", "[::1]:8001", "x"] {
        by_name(&app, host).ok();
    }
    for host in ["evil.example", "localhost.evil.example:8001", "10.0.0.1"] {
        let detail = by_name(&app, host).refused(421);
        assert!(detail.contains("--allowed-host"), "{detail}");
    }
    let open = TestApp::with(|settings| settings.host = "0.0.0.0".to_owned());
    // The test's own name was allowed, so others are not.
    by_name(&open, "evil.example").refused(421);
    let open = TestApp::with(|settings| {
        settings.host = "0.0.0.0".to_owned();
        settings.allowed_hosts.clear();
    });
    by_name(&open, "ml.example.org").ok();
}
