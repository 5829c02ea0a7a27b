//! An HTTP client with so little overhead that a measurement shows the latency of the server.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use super::Result;

const TIMEOUT: Duration = Duration::from_secs(120);

/// A connection to a server.
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
    key: String,
}

impl Connection {
    /// Connects to `http://host:port`.
    pub fn to(url: &str, key: &str) -> Result<Self> {
        let host = url.strip_prefix("http://").ok_or("the URL is not http://")?.trim_end_matches('/');
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream: BufReader::new(stream), host: host.to_owned(), key: key.to_owned() })
    }

    /// Sends a request that must succeed, and returns the `Link` header of its answer.
    pub fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Option<String>> {
        let (host, key, length) = (&self.host, &self.key, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut head, mut line) = (String::new(), String::new());
        while self.stream.read_line(&mut line)? > 0 && line != "\r\n" {
            head.push_str(&line);
            line.clear();
        }
        let field = |name: &str| {
            let fields = head.lines().filter_map(|line| line.split_once(':'));
            let mut fields = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
            fields.next().map(|(_, value)| value.trim())
        };
        let length = field("content-length").ok_or(format!("{method} {path}: no length in {head:?}"))?;
        let mut body = vec![0; length.parse()?];
        self.stream.read_exact(&mut body)?;
        if !head.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
            return Err(format!("{method} {path}: {head}{}", String::from_utf8_lossy(&body)).into());
        }
        Ok(field("link").map(str::to_owned))
    }
}
