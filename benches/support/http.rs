//! One connection that is kept alive, with so little of its own around a request that it is not measured too.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use super::Result;

/// No answer takes longer, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection to a server.
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
    key: String,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    /// The `Link` header, if there is one.
    pub link: Option<String>,
    pub body: Vec<u8>,
}

impl Connection {
    /// Connects to `http://host:port`.
    pub fn to(url: &str, key: &str) -> Result<Self> {
        let host = url.strip_prefix("http://").ok_or("an http:// address is wanted")?.trim_end_matches('/');
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), host: host.to_owned(), key: key.to_owned() })
    }

    /// Sends a request and reads its answer, whatever its status.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let (host, key) = (&self.host, &self.key);
        let length = if method == "GET" {
            String::new()
        } else {
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
        };
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n{length}\r\n{body}");
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.read().map_err(|error| format!("{method} {path}: {error}").into())
    }

    /// The answer to a request that must succeed.
    pub fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let answer = self.send(method, path, body)?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let body = String::from_utf8_lossy(&answer.body);
        Err(format!("{method} {path} was answered with {}: {body}", answer.status).into())
    }

    fn read(&mut self) -> Result<Answer> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err("the server closed the connection".into());
        }
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or("no status line")?;
        let (mut length, mut link) = (None, None);
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok(),
                "link" => link = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length.ok_or("an answer without its length")?];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, link, body })
    }
}
