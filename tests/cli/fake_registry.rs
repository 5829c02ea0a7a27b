//! Servers with prepared answers, to test clients against answers that a real registry rarely gives.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
};

/// A received request.
pub(crate) struct Received {
    /// Request line and headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A server of one thread, which closes each connection after its answer.
pub(crate) struct FakeRegistry {
    pub(crate) url: String,
    thread: JoinHandle<Vec<Received>>,
}

impl FakeRegistry {
    /// Listens on a free port and answers one request with each of `answers`.
    pub(crate) fn answering(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers: Vec<String> = answers.into_iter().collect();
        let thread =
            thread::spawn(move || answers.into_iter().map(|answer| exchange(&listener, &answer)).collect());
        Self { url, thread }
    }

    /// Returns the received requests, once every answer is sent.
    pub(crate) fn received(self) -> Vec<Received> {
        self.thread.join().unwrap()
    }
}

fn exchange(listener: &TcpListener, answer: &str) -> Received {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "the request ends in its head: {head}");
    }
    head.make_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(answer.as_bytes()).unwrap();
    Received { head, body: String::from_utf8(body).unwrap() }
}

/// Returns an answer in bytes; `head` holds further header lines, each with its line break.
pub(crate) fn answer(status: u16, head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} -\r\nContent-Length: {length}\r\nConnection: close\r\n{head}\r\n{body}")
}

/// Returns a JSON answer.
pub(crate) fn json(status: u16, body: &str) -> String {
    answer(status, "Content-Type: application/json\r\n", body)
}

/// Starts a server that keeps its connections; `answer` returns the body for a request line.
pub(crate) fn serving(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    let converse = move |mut stream: TcpStream, answer: &dyn Fn(&str) -> String| -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body)?;
            let body = answer(head.lines().next().unwrap());
            // In chunks, for a change.
            let chunks =
                format!("{:x}\r\n{}\r\n{:x};x\r\n{}\r\n0\r\n\r\n", 1, &body[..1], body.len() - 1, &body[1..]);
            stream.write_all(
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes(),
            )?;
        }
    };
    // They end with the test process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || converse(stream?, &*answer));
        }
    });
    url
}
