//! The head of an answer: its status, the length of its body, and whether the connection stays open.

use std::ops::Range;

use super::ExchangeError;

/// More than any server or proxy sends.
const MAX_FIELDS: usize = 64;
pub(super) const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Far above a page of 200 versions with the largest metrics.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

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
    /// The place of the next page's URL in the buffer.
    pub(super) next: Option<Range<usize>>,
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
    let (mut length, mut chunked, mut coded, mut next) = (None, false, false, None);
    for field in answer.headers.iter() {
        let value = field.value.trim_ascii();
        if field.name.eq_ignore_ascii_case("content-length") {
            let found = read_length(value).ok_or(ExchangeError::Malformed("its Content-Length"))?;
            if length.replace(found).is_some_and(|before| before != found) {
                return Err(ExchangeError::Malformed("its Content-Length"));
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            coded = true;
            chunked = last_item(value).eq_ignore_ascii_case(b"chunked");
        } else if field.name.eq_ignore_ascii_case("connection") {
            for item in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if item.eq_ignore_ascii_case(b"close") {
                    keep_alive = false;
                } else if item.eq_ignore_ascii_case(b"keep-alive") {
                    keep_alive = true;
                }
            }
        } else if field.name.eq_ignore_ascii_case("link") {
            // The value borrows the buffer; its place outlives that borrow.
            let start = value.as_ptr() as usize - buffer.as_ptr() as usize;
            next = next_link(value).map(|link| start + link.start..start + link.end);
        }
    }
    let framing = match (status, chunked, length) {
        (100..=199 | 204 | 304, _, _) => Framing::Length(0),
        (_, true, _) => Framing::Chunked,
        (_, false, Some(length)) if !coded => Framing::Length(length),
        _ => Framing::UntilClose,
    };
    if matches!(framing, Framing::Length(length) if length > MAX_BODY_BYTES) {
        return Err(ExchangeError::TooLarge("its body"));
    }
    Ok(Some(Head { bytes, status, framing, keep_alive: keep_alive && framing != Framing::UntilClose, next }))
}

/// Only digits: other readers treat signs and spaces differently.
fn read_length(value: &[u8]) -> Option<usize> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

fn last_item(value: &[u8]) -> &[u8] {
    value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii()
}

/// The URL of `<URL>; rel="next"`.
fn next_link(value: &[u8]) -> Option<Range<usize>> {
    let mut from = 0;
    while let Some(open) = value[from..].iter().position(|byte| *byte == b'<') {
        let start = from + open + 1;
        let end = start + value[start..].iter().position(|byte| *byte == b'>')?;
        let rest = &value[end..];
        let parameters = &rest[..rest.iter().position(|byte| *byte == b'<').unwrap_or(rest.len())];
        if [b"rel=\"next\"".as_slice(), b"rel=next"]
            .iter()
            .any(|wanted| parameters.windows(wanted.len()).any(|found| found.eq_ignore_ascii_case(wanted)))
        {
            return Some(start..end);
        }
        from = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Head>, ExchangeError> {
        read_head(text.as_bytes())
    }

    #[test]
    fn the_end_of_a_body_is_found_as_rfc_9112_says() {
        for (head, framing, keep_alive) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", Framing::Length(12), true),
            ("HTTP/1.1 200 OK\r\ncontent-length:12\r\ncontent-length: 12\r\n\r\n", Framing::Length(12), true),
            ("HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked, true),
            (
                "HTTP/1.1 200\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n",
                Framing::Chunked,
                true,
            ),
            (
                "HTTP/1.1 200\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\n",
                Framing::UntilClose,
                false,
            ),
            ("HTTP/1.1 200\r\n\r\n", Framing::UntilClose, false),
            ("HTTP/1.1 204\r\n\r\n", Framing::Length(0), true),
            ("HTTP/1.1 200\r\nContent-Length: 1\r\nConnection: x, Close\r\n\r\n", Framing::Length(1), false),
            ("HTTP/1.0 200\r\nContent-Length: 1\r\n\r\n", Framing::Length(1), false),
            ("HTTP/1.0 200\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n", Framing::Length(1), true),
        ] {
            let read = read(head).unwrap().unwrap();
            assert_eq!(
                (read.framing, read.keep_alive, read.bytes),
                (framing, keep_alive, head.len()),
                "{head}"
            );
        }
    }

    #[test]
    fn a_malformed_head_is_an_error() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(65));
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(MAX_HEAD_BYTES));
        for (text, error) in [
            ("SSH-2.0-OpenSSH\r\n", ExchangeError::Malformed("its head")),
            ("HTTP/1.1 099 x\r\n\r\n", ExchangeError::Malformed("its status")),
            ("HTTP/1.1 200\r\nContent-Length: -1\r\n\r\n", ExchangeError::Malformed("its Content-Length")),
            (
                "HTTP/1.1 200\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                ExchangeError::Malformed("its Content-Length"),
            ),
            ("HTTP/1.1 200\r\nContent-Length: 99999999999\r\n\r\n", ExchangeError::TooLarge("its body")),
            (&many, ExchangeError::TooLarge("its head")),
            (&long, ExchangeError::TooLarge("its head")),
        ] {
            assert_eq!(read(text), Err(error), "{text:.60}");
        }
    }

    #[test]
    fn an_incomplete_head_needs_more_bytes() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        for (link, next) in [
            ("</models?cursor=a>; rel=\"next\"", Some("/models?cursor=a")),
            ("</a>; rel=\"prev\", </b>; title=x; rel=next", Some("/b")),
            ("</a>; rel=\"prev\"", None),
            ("<half", None),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\nLink: {link}\r\nContent-Length: 0\r\n\r\n");
            let head = read(&text).unwrap().unwrap();
            assert_eq!(head.next.map(|range| &text[range]), next, "{link}");
        }
    }
}
