//! A client that records for each request whether it was answered, and sends none twice.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;

use crate::{DEADLINE, KEY};

/// The number of requests of all clients that have no answer yet.
#[derive(Default)]
pub(crate) struct InFlight(AtomicUsize);

impl InFlight {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// The outcome of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answered(u16, Value),
    /// Answered with 503: nothing was done.
    Refused,
    /// Sent, perhaps in part, and the connection died, or answered with 503 and that the outcome is unknown.
    Unsure,
    /// No server was there to send it to.
    NotSent,
}

pub(crate) struct Client<'c> {
    address: SocketAddr,
    in_flight: &'c InFlight,
    stream: Option<TcpStream>,
}

impl<'c> Client<'c> {
    pub(crate) fn new(address: SocketAddr, in_flight: &'c InFlight) -> Self {
        Self { address, in_flight, stream: None }
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, id: &str, body: Option<&Value>) -> Outcome {
        if self.stream.is_none() {
            let Ok(stream) = TcpStream::connect(self.address) else { return Outcome::NotSent };
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            self.stream = Some(stream);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nX-Request-Id: {id}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.in_flight.0.fetch_add(1, Ordering::SeqCst);
        let answer = self.stream.as_mut().and_then(|stream| {
            stream.write_all(request.as_bytes()).ok()?;
            read(stream)
        });
        self.in_flight.0.fetch_sub(1, Ordering::SeqCst);
        match answer {
            Some(Answer { status: 503, may_retry: true, .. }) => Outcome::Refused,
            Some(Answer { status: 503, .. }) | None => Outcome::Unsure,
            Some(Answer { status, body, .. }) => Outcome::Answered(status, body),
        }
    }
}

struct Answer {
    status: u16,
    /// True if it has the header `Retry-After`.
    may_retry: bool,
    body: Value,
}

/// Returns a complete answer; `None` if the connection ended before.
fn read(stream: &mut TcpStream) -> Option<Answer> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 8192]);
    loop {
        if let Some(answer) = parse(&bytes) {
            return Some(answer);
        }
        match stream.read(&mut chunk) {
            Ok(0) => return None,
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer in a minute"),
            Err(_) => return None,
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase(), &bytes[head + 4..]);
    let status = head.split(' ').nth(1)?.parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let body = body.get(..length.trim().parse().unwrap())?;
    let may_retry = head.contains("\r\nretry-after:");
    Some(Answer { status, may_retry, body: serde_json::from_slice(body).unwrap() })
}
