//! A stream of events (`text/event-stream`), read line by line.

use std::{
    io::{self, BufRead as _, BufReader, Read as _},
    time::Duration,
};

use serde_json::Value;
use ureq::{
    BodyReader,
    http::{HeaderName, Request, header},
};
use url::Url;

use crate::{answer, calls::with_query, error::ClientError, transport, v1::V1};

/// How long a server may be silent: a live one sends a heartbeat every 15 seconds.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(45);
/// The longest line that is read, in bytes.
const MAX_LINE_BYTES: u64 = 64 << 20;
/// The largest error that is read, in bytes.
const MAX_ERROR_BYTES: u64 = 64 << 10;
const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a stream yields next.
#[derive(Debug, Clone, PartialEq)]
pub struct Streamed {
    /// Where to go on after this.
    pub id: Option<String>,
    /// The event; `None` if only the place has changed.
    pub event: Option<Value>,
}

/// An open stream of events.
pub struct EventStream {
    url: String,
    lines: BufReader<BodyReader<'static>>,
}

impl V1<'_> {
    /// Opens a stream of events: those after `last`, which a stream gave as an id, or those from now on. `query` has the filters of
    /// `GET /v1/events`, unescaped.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn follow(&self, query: &[(&str, &str)], last: Option<&str>) -> Result<EventStream, ClientError> {
        let client = self.client;
        let agent = transport::silence_agent(Url::parse(&client.base_url).ok().as_ref(), SILENCE_TIMEOUT);
        let mut request = Request::builder()
            .uri(format!("{}{}", client.base_url, with_query("/v1/events", query)))
            .header(header::ACCEPT, EVENT_STREAM);
        if let Some(last) = last {
            request = request.header(LAST_EVENT_ID, last);
        }
        let mut request =
            request.body(()).map_err(|error| ClientError::BadUrl(format!("can't be used: {error}")))?;
        request.headers_mut().extend(client.key_header());
        let response = agent.run(request).map_err(|error| client.no_answer(error))?;
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if parts.status.is_success() && kind.is_some_and(|kind| kind.starts_with(EVENT_STREAM)) {
            let lines = BufReader::new(body.into_reader());
            return Ok(EventStream { url: client.base_url.clone(), lines });
        }
        let body = body.into_with_config().limit(MAX_ERROR_BYTES).read_to_vec();
        let body = body.map_err(|error| client.no_answer(error))?;
        let url = client.base_url.clone();
        match answer::interpret(&url, parts.status.as_u16(), &parts.headers, &body) {
            // A server that knows no streams answers with a page.
            Ok(page) if page.get("events").is_some_and(Value::is_array) => {
                Err(ClientError::TooOld { url, instead: self.instead })
            }
            Ok(_) => Err(client.not_a_registry("its answer is no stream of events")),
            // A healthy registry is at this URL, so only `/v1` is missing.
            Err(ClientError::NoSuchPath { url }) if client.health(false).is_ok() => {
                Err(ClientError::TooOld { url, instead: self.instead })
            }
            Err(error) => Err(client.with_key_source(error)),
        }
    }
}

impl EventStream {
    /// Waits for what comes next. `None` is the end of the stream.
    ///
    /// # Errors
    /// [`ClientError::AnswerLost`] if the connection is lost or silent, [`ClientError::NotARegistry`] if this is no stream of
    /// events.
    pub fn read(&mut self) -> Result<Option<Streamed>, ClientError> {
        let (mut id, mut data) = (None, None::<String>);
        loop {
            let mut line = String::new();
            match self.lines.by_ref().take(MAX_LINE_BYTES).read_line(&mut line) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) => return Err(self.lost(&error)),
            }
            let line = line.trim_end_matches(['\n', '\r']);
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                // A block ends with an empty line.
                "" if !line.starts_with(':') && (id.is_some() || data.is_some()) => {
                    let event = data.as_deref().map(serde_json::from_str).transpose();
                    let event = event.map_err(|error| {
                        let reason = format!("an event of its stream is not JSON: {error}");
                        ClientError::NotARegistry { url: self.url.clone(), reason }
                    })?;
                    return Ok(Some(Streamed { id, event }));
                }
                "id" => id = Some(value.to_owned()),
                "data" => match &mut data {
                    None => data = Some(value.to_owned()),
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                },
                // Comments, and fields of no use here.
                _ => {}
            }
        }
    }

    fn lost(&self, error: &io::Error) -> ClientError {
        let reason = error.to_string();
        ClientError::AnswerLost { url: self.url.clone(), reason, timed_out: false }
    }
}
