//! Where each request of a connection begins and ends, judged strictly by the bytes as they come.
//!
//! HTTP's own parser behind this is lenient in places (a bare line feed ends a line, a trailer may be of any length).
//! Where a proxy in front reads such bytes otherwise, one of the two sees a request that the other does not. So what RFC 9112
//! does not allow ends the connection here. Heads are read by the parser that reads them again behind this, so that both
//! understand the same. This must not know sockets or time.

use std::mem::MaybeUninit;

use actix_web::http::Uri;
use httparse::{Request, Status};

/// Bytes of a head, from the first of its method to its empty line.
pub(super) const MAX_HEAD_BYTES: usize = 64 << 10;
/// Fields of a head: as many as the parser behind this takes.
const MAX_FIELDS: usize = 96;
/// Bytes of a chunk's line, or of all trailers of a body.
const MAX_CHUNK_LINE_BYTES: usize = 4 << 10;
/// Digits of a length in chunks: 2^60 bytes is more than anybody has.
const MAX_CHUNK_DIGITS: u8 = 15;

/// What is no HTTP/1 request. Each says what was wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub(in crate::http) enum Malformed {
    #[error(
        "the request is malformed: {0} holds a line feed or carriage return by itself; lines end with both"
    )]
    BareLineEnd(&'static str),
    #[error("the request is malformed: its head holds a NUL byte")]
    Nul,
    #[error("the request is malformed: {0}")]
    Head(String),
    #[error("the request is malformed: HTTP/1.1 wants one Host header")]
    Host,
    #[error("the request is malformed: it has several Content-Length headers, or one that is no number")]
    ContentLength,
    #[error("the request is malformed: of Transfer-Encoding only \"chunked\" is taken, once, in HTTP/1.1")]
    TransferEncoding,
    #[error("the request is malformed: Content-Length and Transfer-Encoding exclude each other")]
    BothLengths,
    #[error("the request is malformed: this server is no proxy and takes no CONNECT")]
    Connect,
    #[error("this server speaks no WebSocket; ask without Upgrade")]
    WebSocket,
    #[error("the request is malformed: {0} of its chunked body")]
    Chunk(&'static str),
    #[error("the request's head is larger than the {MAX_HEAD_BYTES} bytes this server takes")]
    HeadTooLarge,
    #[error("the request has more than the {MAX_FIELDS} headers this server takes")]
    TooManyFields,
    #[error("this server speaks HTTP/1.1 and HTTP/1.0 only")]
    Version,
}

/// What is awaited of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The first byte of a request.
    Idle,
    /// The same, behind (a part of) an empty line.
    Blank,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
}

/// The place in the stream of requests.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    /// What has come of a head so far, where it did not come at once.
    partial: Vec<u8>,
    requests: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a request; one empty line is passed over, as old clients send one behind a body.
    Between {
        blank: Blank,
    },
    Head,
    Fixed {
        remaining: u64,
    },
    Chunked(Chunk),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blank {
    None,
    Half,
    Whole,
}

/// The place in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Size { bytes: u64, digits: u8 },
    Space { bytes: u64, line_bytes: usize },
    Extension { bytes: u64, line_bytes: usize },
    SizeEnd { bytes: u64 },
    Data { remaining: u64 },
    DataCr,
    DataLf,
    Trailer { trailer_bytes: usize, line_bytes: usize },
    TrailerLf { trailer_bytes: usize, line_bytes: usize },
    End,
}

/// How a head says that its body is framed.
enum Body {
    None,
    Fixed(u64),
    Chunked,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self { state: State::Between { blank: Blank::None }, partial: Vec::new(), requests: 0 }
    }

    /// Requests that have begun so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// Bytes of a head that is not whole yet.
    pub(super) fn held_bytes(&self) -> usize {
        self.partial.len()
    }

    pub(super) fn stage(&self) -> Stage {
        match self.state {
            State::Between { blank: Blank::None } => Stage::Idle,
            State::Between { .. } => Stage::Blank,
            State::Head => Stage::Head,
            State::Fixed { .. } | State::Chunked(_) => Stage::Body,
        }
    }

    /// Judges what has come next. However the stream is cut into pieces, the verdict is the same.
    ///
    /// # Errors
    /// [`Malformed`] where no request can go on like this, and how many of these bytes belong to what came before that;
    /// nothing more may be asked then.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), (Malformed, usize)> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.step(rest).map_err(|malformed| (malformed, bytes.len() - rest.len()))?;
        }
        Ok(())
    }

    /// Goes on by at least one byte of `bytes`, which are not empty; what is left of them.
    fn step<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        let first = bytes[0];
        match self.state {
            State::Between { blank } => match (blank, first) {
                (Blank::None, b'\r') => {
                    self.state = State::Between { blank: Blank::Half };
                    Ok(&bytes[1..])
                }
                (Blank::Half, b'\n') => {
                    self.state = State::Between { blank: Blank::Whole };
                    Ok(&bytes[1..])
                }
                (Blank::Whole, b'\r') => {
                    Err(Malformed::Head("several empty lines stand before it".to_owned()))
                }
                (_, b'\n') | (Blank::Half, _) => Err(Malformed::BareLineEnd("its head")),
                _ => {
                    self.requests += 1;
                    self.state = State::Head;
                    self.take_head(bytes)
                }
            },
            State::Head => self.take_head(bytes),
            State::Fixed { remaining } => {
                let taken = remaining.min(bytes.len() as u64);
                self.state = match remaining - taken {
                    0 => State::Between { blank: Blank::None },
                    remaining => State::Fixed { remaining },
                };
                // It is no more than there are bytes.
                Ok(&bytes[taken as usize..])
            }
            State::Chunked(chunk) => {
                let (next, rest) = chunk.step(bytes)?;
                self.state = match next {
                    Chunk::End => State::Between { blank: Blank::None },
                    next => State::Chunked(next),
                };
                Ok(rest)
            }
        }
    }

    /// Takes what belongs to the head, and judges it once it is whole; what is left.
    fn take_head<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        if self.partial.is_empty() {
            return match end_of_head(bytes, 0)? {
                Some(end) => {
                    self.begin_body(judge(&bytes[..end])?);
                    Ok(&bytes[end..])
                }
                None => {
                    self.partial.extend_from_slice(bytes);
                    Ok(&[])
                }
            };
        }
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        // The last byte may be half of a line's end.
        let Some(end) = end_of_head(&self.partial, before - 1)? else { return Ok(&[]) };
        let body = judge(&self.partial[..end])?;
        self.partial = Vec::new();
        self.begin_body(body);
        Ok(&bytes[end - before..])
    }

    fn begin_body(&mut self, body: Body) {
        self.state = match body {
            Body::None | Body::Fixed(0) => State::Between { blank: Blank::None },
            Body::Fixed(remaining) => State::Fixed { remaining },
            Body::Chunked => State::Chunked(Chunk::Size { bytes: 0, digits: 0 }),
        };
    }
}

/// Where the head that begins here ends, if all of it is there. What lies before `from` was looked at already.
fn end_of_head(head: &[u8], from: usize) -> Result<Option<usize>, Malformed> {
    for place in memchr::memchr3_iter(b'\r', b'\n', 0, &head[from..]) {
        let place = from + place;
        match head[place] {
            0 => return Err(Malformed::Nul),
            b'\r' if head.get(place + 1).is_some_and(|next| *next != b'\n') => {
                return Err(Malformed::BareLineEnd("its head"));
            }
            b'\n' if !head[..place].ends_with(b"\r") => return Err(Malformed::BareLineEnd("its head")),
            b'\n' if head[..place].ends_with(b"\r\n\r") => {
                let end = place + 1;
                return if end > MAX_HEAD_BYTES { Err(Malformed::HeadTooLarge) } else { Ok(Some(end)) };
            }
            _ => {}
        }
    }
    if head.len() > MAX_HEAD_BYTES { Err(Malformed::HeadTooLarge) } else { Ok(None) }
}

/// How the body behind a whole head is framed.
fn judge(head: &[u8]) -> Result<Body, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err(Malformed::Head("its head ends too early".to_owned())),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooManyFields),
        Err(httparse::Error::Version) => return Err(Malformed::Version),
        Err(error) => return Err(Malformed::Head(error.to_string())),
    }
    // A whole head has all three.
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let is_1_1 = request.version == Some(1);
    if method == "CONNECT" {
        return Err(Malformed::Connect);
    }
    if let Err(error) = target.parse::<Uri>() {
        return Err(Malformed::Head(format!("its target is no path: {error}")));
    }
    let (mut length, mut chunked, mut hosts) = (None, false, 0_u8);
    for field in request.headers.iter() {
        match field.name.len() {
            4 if field.name.eq_ignore_ascii_case("host") => hosts = hosts.saturating_add(1),
            // The parser behind this would take all that follows for its body.
            7 if field.name.eq_ignore_ascii_case("upgrade")
                && field.value.trim_ascii().eq_ignore_ascii_case(b"websocket") =>
            {
                return Err(Malformed::WebSocket);
            }
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                let digits = field.value.trim_ascii();
                let number = digits.iter().all(u8::is_ascii_digit).then_some(digits);
                let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
                if length.replace(number.ok_or(Malformed::ContentLength)?).is_some() {
                    return Err(Malformed::ContentLength);
                }
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                let is_chunked = field.value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                if chunked || !is_chunked || !is_1_1 {
                    return Err(Malformed::TransferEncoding);
                }
                chunked = true;
            }
            _ => {}
        }
    }
    if hosts > 1 || (hosts == 0 && is_1_1) {
        return Err(Malformed::Host);
    }
    match (length, chunked) {
        (Some(_), true) => Err(Malformed::BothLengths),
        (Some(length), false) => Ok(Body::Fixed(length)),
        (None, true) => Ok(Body::Chunked),
        (None, false) => Ok(Body::None),
    }
}

impl Chunk {
    /// Goes on by at least one byte of `bytes`, which are not empty; what is left of them.
    fn step(self, bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let bare = Malformed::BareLineEnd("the framing of its body");
        let (first, rest) = (bytes[0], &bytes[1..]);
        let next = match (self, first) {
            (Self::Size { bytes: size, digits }, digit) if digit.is_ascii_hexdigit() => {
                if digits == MAX_CHUNK_DIGITS {
                    return Err(Malformed::Chunk("a length too large to be meant stands before a chunk"));
                }
                // It is a hexadecimal digit.
                let value = char::from(digit).to_digit(16).unwrap_or_default();
                Self::Size { bytes: size << 4 | u64::from(value), digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => {
                return Err(Malformed::Chunk("no length in hexadecimal digits stands before a chunk"));
            }
            (Self::Size { bytes, .. } | Self::Space { bytes, .. } | Self::Extension { bytes, .. }, b'\r') => {
                Self::SizeEnd { bytes }
            }
            (Self::Size { .. } | Self::Space { .. } | Self::Extension { .. }, b'\n') => return Err(bare),
            (Self::Space { line_bytes, .. } | Self::Extension { line_bytes, .. }, _)
                if line_bytes == MAX_CHUNK_LINE_BYTES =>
            {
                return Err(Malformed::Chunk("a line too long stands before a chunk"));
            }
            (Self::Size { bytes, .. }, b' ' | b'\t') => Self::Space { bytes, line_bytes: 0 },
            (Self::Size { bytes, .. }, b';') => Self::Extension { bytes, line_bytes: 0 },
            (Self::Space { bytes, line_bytes }, b' ' | b'\t') => {
                Self::Space { bytes, line_bytes: line_bytes + 1 }
            }
            (Self::Space { bytes, line_bytes }, b';') => {
                Self::Extension { bytes, line_bytes: line_bytes + 1 }
            }
            (Self::Extension { bytes, line_bytes }, other) if other == b'\t' || !other.is_ascii_control() => {
                Self::Extension { bytes, line_bytes: line_bytes + 1 }
            }
            (Self::Size { .. } | Self::Space { .. } | Self::Extension { .. }, _) => {
                return Err(Malformed::Chunk("what is no length and no extension stands before a chunk"));
            }
            (Self::SizeEnd { bytes: 0 }, b'\n') => Self::Trailer { trailer_bytes: 0, line_bytes: 0 },
            (Self::SizeEnd { bytes }, b'\n') => Self::Data { remaining: bytes },
            (Self::Data { remaining }, _) => {
                let taken = remaining.min(bytes.len() as u64);
                let next = match remaining - taken {
                    0 => Self::DataCr,
                    remaining => Self::Data { remaining },
                };
                // It is no more than there are bytes.
                return Ok((next, &bytes[taken as usize..]));
            }
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { bytes: 0, digits: 0 },
            (Self::DataCr | Self::DataLf, _) => {
                return Err(Malformed::Chunk("more than was announced stands in a chunk"));
            }
            (Self::Trailer { trailer_bytes, line_bytes }, b'\r') => {
                Self::TrailerLf { trailer_bytes, line_bytes }
            }
            (Self::Trailer { .. }, b'\n') | (Self::SizeEnd { .. }, _) => return Err(bare),
            (Self::Trailer { trailer_bytes, .. }, _) if trailer_bytes == MAX_CHUNK_LINE_BYTES => {
                return Err(Malformed::Chunk("trailers too long stand at the end"));
            }
            (Self::Trailer { trailer_bytes, line_bytes }, other)
                if other == b'\t' || !other.is_ascii_control() =>
            {
                Self::Trailer { trailer_bytes: trailer_bytes + 1, line_bytes: line_bytes + 1 }
            }
            (Self::Trailer { .. }, _) => {
                return Err(Malformed::Chunk("a control character stands in the trailers"));
            }
            (Self::TrailerLf { line_bytes: 0, .. }, b'\n') => Self::End,
            (Self::TrailerLf { trailer_bytes, .. }, b'\n') => Self::Trailer { trailer_bytes, line_bytes: 0 },
            (Self::TrailerLf { .. }, _) => return Err(bare),
            (Self::End, _) => return Ok((Self::End, bytes)),
        };
        Ok((next, rest))
    }
}

#[cfg(test)]
mod tests;
