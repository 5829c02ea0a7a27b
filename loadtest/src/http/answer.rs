//! Parses answers: the head, with the length of the body, and chunks.

use super::ExchangeError;

/// More than any server or proxy sends.
const MAX_FIELDS: usize = 64;
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Far above a page of 200 versions with the largest metrics.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// The length of a chunk with its extensions, or the trailer after the last chunk.
const MAX_CHUNK_LINES_BYTES: usize = 16 * 1024;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Its length with the empty line.
    pub(super) bytes: usize,
    pub(super) status: u16,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    /// The URL of the next page.
    pub(super) next: Option<String>,
}

/// Parses a head; `None` if it is incomplete. Interim answers (100, 103) are heads too.
pub(super) fn read_head(buffer: &[u8]) -> Result<Option<Head>, ExchangeError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let bytes = match answer.parse(buffer) {
        Ok(httparse::Status::Complete(bytes)) if bytes <= MAX_HEAD_BYTES => bytes,
        Ok(httparse::Status::Partial) if buffer.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(ExchangeError::TooLarge("its head")),
        Err(_) => return Err(ExchangeError::Malformed("its head")),
    };
    let status = answer.code.unwrap_or_default();
    if !(100..=599).contains(&status) {
        return Err(ExchangeError::Malformed("its status"));
    }
    let mut keep_alive = answer.version == Some(1);
    let (mut length, mut coding, mut next) = (None, None, None);
    for field in answer.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or_default().trim();
        let mut items = value.split(',').map(str::trim);
        if field.name.eq_ignore_ascii_case("content-length") {
            let parsed = value.parse::<usize>().ok().filter(|_| length.is_none());
            length = Some(parsed.ok_or(ExchangeError::Malformed("its Content-Length"))?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            coding = items.next_back();
        } else if field.name.eq_ignore_ascii_case("connection") {
            keep_alive &= !items.any(|item| item.eq_ignore_ascii_case("close"));
        } else if field.name.eq_ignore_ascii_case("link") {
            next = next.or_else(|| next_link(value));
        }
    }
    let framing = match (status, coding, length) {
        (100..=199 | 204 | 304, _, _) => Framing::Length(0),
        (_, Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        (_, None, Some(MAX_BODY_BYTES..)) => return Err(ExchangeError::TooLarge("its body")),
        (_, None, Some(length)) => Framing::Length(length),
        _ => Framing::UntilClose,
    };
    Ok(Some(Head { bytes, status, framing, keep_alive: keep_alive && framing != Framing::UntilClose, next }))
}

/// Returns the URL of `<URL>; rel="next"`.
fn next_link(value: &str) -> Option<String> {
    let mut links = value.split('<').skip(1).filter_map(|link| link.split_once('>'));
    let is_next = |parameters: &str| parameters.contains("rel=\"next\"") || parameters.contains("rel=next");
    links.find(|(_, parameters)| is_next(parameters)).map(|(url, _)| url.to_owned())
}

/// Appends the complete chunks of `buffer` to `body`, and moves `at` past them. Returns true once the body has ended.
pub(super) fn read_chunks(buffer: &[u8], at: &mut usize, body: &mut Vec<u8>) -> Result<bool, ExchangeError> {
    const MALFORMED: ExchangeError = ExchangeError::Malformed("its chunks");
    loop {
        let rest = &buffer[*at..];
        // httparse reads an empty length as 0.
        if rest.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            return Err(MALFORMED);
        }
        let (head, length) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete((head, length))) => (head, length),
            Ok(httparse::Status::Partial) if rest.len() <= MAX_CHUNK_LINES_BYTES => return Ok(false),
            _ => return Err(MALFORMED),
        };
        if length > (MAX_BODY_BYTES - body.len()) as u64 {
            return Err(ExchangeError::TooLarge("its body"));
        }
        if length == 0 {
            // The line break of the length ends an empty trailer too.
            let trailer = rest[head - 2..].windows(4).position(|bytes| bytes == b"\r\n\r\n");
            return match trailer {
                Some(trailer) => {
                    *at += head + 2 + trailer;
                    Ok(true)
                }
                None if rest.len() <= MAX_CHUNK_LINES_BYTES => Ok(false),
                None => Err(MALFORMED),
            };
        }
        let end = head + length as usize;
        match rest.get(end..end + 2) {
            None => return Ok(false),
            Some(b"\r\n") => body.extend_from_slice(&rest[head..end]),
            Some(_) => return Err(MALFORMED),
        }
        *at += end + 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Option<Head>, ExchangeError> {
        read_head(text.as_bytes())
    }

    #[test]
    fn the_end_of_a_body_is_found_as_rfc_9112_says() {
        use Framing::{Chunked, Length, UntilClose};
        for (fields, framing, keep_alive) in [
            ("content-length:12", Length(12), true),
            ("Transfer-Encoding: Chunked", Chunked, true),
            ("Transfer-Encoding: gzip, chunked\r\nContent-Length: 1", Chunked, true),
            ("Transfer-Encoding: gzip\r\nContent-Length: 1", UntilClose, false),
            ("A: b", UntilClose, false),
            ("Content-Length: 1\r\nConnection: x, Close", Length(1), false),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            let read = read(&head).unwrap().unwrap();
            assert_eq!(
                (read.framing, read.keep_alive, read.bytes),
                (framing, keep_alive, head.len()),
                "{head}"
            );
        }
        assert_eq!(read("HTTP/1.1 204\r\n\r\n").unwrap().unwrap().framing, Length(0));
        assert!(!read("HTTP/1.0 200\r\nContent-Length: 1\r\n\r\n").unwrap().unwrap().keep_alive);
    }

    #[test]
    fn a_malformed_head_is_an_error() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(65));
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(MAX_HEAD_BYTES));
        let twice = "HTTP/1.1 200\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        for (text, error) in [
            ("SSH-2.0-OpenSSH\r\n", ExchangeError::Malformed("its head")),
            ("HTTP/1.1 099 x\r\n\r\n", ExchangeError::Malformed("its status")),
            ("HTTP/1.1 200\r\nContent-Length: -1\r\n\r\n", ExchangeError::Malformed("its Content-Length")),
            (twice, ExchangeError::Malformed("its Content-Length")),
            ("HTTP/1.1 200\r\nContent-Length: 99999999999\r\n\r\n", ExchangeError::TooLarge("its body")),
            (&many, ExchangeError::TooLarge("its head")),
            (&long, ExchangeError::TooLarge("its head")),
        ] {
            assert_eq!(read(text), Err(error), "{text:.60}");
        }
        assert_eq!(read(&twice[..50]), Ok(None), "it is incomplete");
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        for (link, next) in [
            ("</models?cursor=a>; rel=\"next\"", Some("/models?cursor=a")),
            ("</a>; rel=\"prev\", </b>; title=x; rel=next", Some("/b")),
            ("</a>; rel=\"prev\"", None),
            ("<half", None),
        ] {
            assert_eq!(next_link(link).as_deref(), next, "{link}");
        }
    }

    /// Decodes `wire` as it arrives up to each cut: the body, whether it has ended, and the bytes after it.
    fn decode(wire: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool, usize), ExchangeError> {
        let (mut at, mut body, mut done) = (0, Vec::new(), false);
        for cut in cuts.iter().copied().chain([wire.len()]) {
            done = done || read_chunks(&wire[..cut], &mut at, &mut body)?;
        }
        Ok((body, done, wire.len() - at))
    }

    proptest! {
        #[test]
        fn a_chunked_body_is_the_same_in_any_pieces(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            extension in prop::sample::select(vec!["", ";a=b", ";x=\"1;2\""]),
            trailer in prop::sample::select(vec!["", "X-A: b\r\n", "X-A: b\r\nX-C: d\r\n"]),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            rest_of_wire in prop::sample::select(vec!["", "H"]),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(format!("0{extension}\r\n{trailer}\r\n{rest_of_wire}").as_bytes());
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
            cuts.sort_unstable();
            prop_assert_eq!(decode(&wire, &cuts), Ok((chunks.concat(), true, rest_of_wire.len())));
        }
    }

    #[test]
    fn malformed_and_huge_chunks_are_refused() {
        for wire in ["\r\n", "g\r\n", "1\r\nab\r\n", "1\r\na\n\n", "ffffffffffffffffff\r\n", "-1\r\n"] {
            assert_eq!(decode(wire.as_bytes(), &[]), Err(ExchangeError::Malformed("its chunks")), "{wire:?}");
        }
        assert_eq!(decode(b"fffffff\r\n", &[]), Err(ExchangeError::TooLarge("its body")));
        assert_eq!(decode(b"3\r\nab", &[]), Ok((Vec::new(), false, 5)));
    }
}
